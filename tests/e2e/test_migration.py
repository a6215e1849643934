#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration from one host to another, with the SPICE client following.

Each of source, target and client has a network namespace of its own; they are
connected by cables that can be pulled. In a semi-seamless migration (QEMU's
default) the client starts anew at the target; in a seamless one it carries on
where it was, with the state of each channel handed over.
"""

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, netns, spicegtk, spicypower, wire   # noqa: E402
from powertest.asleep import PC, qtest_listener                 # noqa: E402
from powertest.record import TIMEOUT                            # noqa: E402
import tap                                                      # noqa: E402

ALL = list(wire.ACTIONS)
ON = dict(state='on', possible=['reset', 'power-off', 'pause'])
PAUSED = dict(state='paused', possible=['reset', 'power-off', 'continue'])
OTHERS_PAUSE = dict(state='paused', possible=['reset', 'power-off'])
OFF = dict(state='off', possible=['power-on'])
SUSPENDED = dict(state='suspended',
                 possible=['reset', 'power-off', 'power-on', 'pause'])
MIGRATING = dict(state='paused', possible=[])

SHUTDOWN_PAUSE = ('-action', 'shutdown=pause')
MIGRATION_PORT = 4444

# A new client ends the one before, and one that waits at the target for its
# machine counts: there is one at a time, but where it says otherwise.

# what every SPICE client of the last ten years sets, and power control
CAPS = (wire.CAP_SEMI_SEAMLESS_MIGRATE, wire.CAP_NAME_AND_UUID,
        wire.CAP_AGENT_CONNECTED_TOKENS, wire.CAP_SEAMLESS_MIGRATE,
        wire.CAP_POWER_CONTROL)
MSG_MIGRATE, MSG_MIGRATE_DATA = 1, 2
MSG_MIGRATE_BEGIN, MSG_MULTI_MEDIA_TIME, MSG_MIGRATE_END, \
    MSG_BEGIN_SEAMLESS, MSG_SEAMLESS_ACK = 101, 106, 112, 116, 117
MSGC_FLUSH_MARK, MSGC_MIGRATE_DATA = 4, 5
MSGC_MIGRATE_CONNECTED, MSGC_MIGRATE_END, MSGC_DO_SEAMLESS, \
    MSGC_CONNECTED_SEAMLESS = 102, 109, 110, 111


class MigrationTestCase(case.PowerTestCase):
    seamless = False

    def setUp(self):
        super().setUp()
        try:
            self.desk, self.here, self.there = self.enterContext(
                netns.network('client', 'source', 'target'))
        except netns.Unavailable as reason:
            self.skipTest(str(reason))
        self.machines = 0
        self.viewers = []

    def tearDown(self):
        for viewer in self.viewers:
            self.check_viewer(viewer)
        super().tearDown()

    # --- machines and clients ------------------------------------------------

    def authority(self):
        """For the SPICE servers on both hosts."""
        return case.Authority(
            self.enterContext(tempfile.TemporaryDirectory()),
            [host.addresses['client'] for host in (self.here, self.there)])

    def qemu(self, host, power='power=on', tls=None, extra=SHUTDOWN_PAUSE,
             many_clients=False, **options):
        self.machines += 1
        seamless = 'on' if self.seamless else 'off'
        machine = self.machine(
            f'{power},seamless-migration={seamless}', extra=extra, tls=tls,
            tcp=not tls, host=host, address=host.addresses['client'],
            name=f'{self.machines}-{host.name}', many_clients=many_clients,
            **options)
        self.set(machine, 'events')
        return machine

    def incoming(self, source, host=None, extra=SHUTDOWN_PAUSE, **options):
        """A machine that waits for one to be migrated in from source."""
        host = host or self.there
        target = self.qemu(host, extra=(*extra, '-incoming', 'defer'),
                           **options)
        address = host.addresses[source.host.name]
        target.migrate_uri = f'tcp:{address}:{MIGRATION_PORT}'
        target.qmp.execute('migrate-incoming', uri=target.migrate_uri)
        return target

    def pair(self, source='power=on', target='power=on', **options):
        source = self.qemu(self.here, source, **options)
        return source, self.incoming(source, power=target, **options)

    def viewer(self, machine, **options):
        """A client with spice-gtk; each of its requests ends once."""
        ca_file = machine.tls.ca_file if machine.tls else None
        viewer = self.enterContext(spicegtk.Client(
            self.log_dir, machine.uri, host=self.desk, ca_file=ca_file,
            **options))
        self.viewers.append(viewer)
        viewer.wait('event', event='opened', channel='MainChannel')
        return viewer

    def check_viewer(self, viewer):
        self.assertIsNone(viewer.process.poll(), 'the client has ended')
        for number in range(1, viewer.number + 1):
            viewer.wait_result(number)
            self.assertEqual(len(viewer.results(number)), 1)
        self.assertEqual(viewer.complaints(), [])

    # --- migration -----------------------------------------------------------

    @staticmethod
    def set(machine, capability, state=True):
        machine.qmp.execute('migrate-set-capabilities', capabilities=[
            {'capability': capability, 'state': state}])

    @staticmethod
    def tell(source, target, port=None):
        """Tell source's clients where to go."""
        # 0 is none; a port that is left out reaches the client as 65535
        ports = {'port': 0, 'tls-port': 0,
                 'tls-port' if target.tls else 'port': port or target.port}
        source.qmp.execute('client_migrate_info', protocol='spice',
                           hostname=target.address, **ports)

    def invite(self, source, target, viewer, fence='power-on'):
        """The client connects to the target, too, and source knows that.

        A client's messages are handled in order, so the result of a request
        (one that changes nothing) tells that those before it were. No fence
        is for a source without power control.
        """
        mark = viewer.mark
        self.tell(source, target)
        viewer.wait('migration', mark, state='migrating')
        if fence:
            viewer.act(fence)
            return
        # The source's loop looks at its client's socket whenever it looks at
        # the monitor's: what is there before the one is seen by the next
        viewer.flush()
        for _ in range(2):
            source.qmp.execute('query-status')

    def start(self, source, target, hold=True):
        """Migrate, but let it wait before the switch if hold is set."""
        self.set(source, 'pause-before-switchover', hold)
        mark = source.qmp.mark()
        source.qmp.execute('migrate', uri=target.migrate_uri)
        if hold:
            source.qmp.wait_event('MIGRATION', mark, status='pre-switchover')
        return mark

    def switch(self, source, target):
        """Go on from where start() has held it, until it's complete."""
        source.qmp.execute('migrate-continue', state='pre-switchover')
        source.qmp.wait_event('MIGRATION', 0, status='completed')
        target.qmp.wait_event('MIGRATION', 0, status='completed')
        while source.qmp.status != 'postmigrate':
            pass                        # there is no event for this
        source.qmp.execute('query-status')      # its clients were told now

    def migrate(self, source, target, viewer, fence='power-on'):
        """All of it. Returns the viewer's mark before the switch."""
        self.invite(source, target, viewer, fence)
        mark = viewer.mark
        self.start(source, target)
        viewer.wait_state(mark, **MIGRATING)
        mark = viewer.mark
        self.switch(source, target)
        viewer.wait('migration', mark, state='none')
        self.left(source)
        return mark

    def left(self, source):
        """The clients have left, and the source is finished with them.

        After 10 seconds it drops those who stay.
        """
        source.qmp.wait_event('SPICE_MIGRATE_COMPLETED', 0, timeout=9)
        # the last of a client's connections that ends is its main channel's
        deadline = time.monotonic() + TIMEOUT
        while source.main_connections():
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(source.qmp.status, 'postmigrate')
        if 'power' in source.spice():
            self.assertShows(source, **MIGRATING)

    # --- what is seen --------------------------------------------------------

    def assertShows(self, machine, state, possible):
        power = machine.spice()['power']
        self.assertEqual((power['state'], power['possible']),
                         (state, possible))

    def assertSees(self, viewer, machine, since=0, allowed=ALL, **expected):
        """A client is told what the monitor says, and that lasts."""
        expected['allowed'] = allowed
        found = {}
        while found != expected:
            since, _ = viewer.wait('state', since, **expected)
            found = viewer.status()
            found = {key: found[key] for key in expected}
        self.assertShows(machine, expected['state'], expected['possible'])

    def assertControls(self, viewer, machine):
        """Power control of a running machine works for a client."""
        for action, expected in (('pause', PAUSED), ('continue', ON),
                                 ('reset', ON), ('power-off', OFF),
                                 ('power-on', ON)):
            mark, told = viewer.mark, machine.qmp.mark()
            self.assertEqual(viewer.act(action), ('ok', ''))
            if action != 'reset':
                self.assertSees(viewer, machine, mark, **expected)
            for event in ('SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'):
                event = machine.qmp.wait_event(event, told, action=action)
                self.assertEqual(event['data']['client']['host'],
                                 self.desk.addresses[machine.host.name])


class Both:
    """What must be so in semi-seamless and in seamless migrations."""

    seamless = None

    def test_guest(self):
        """A real guest, there and back again, with TLS and all channels."""
        options = dict(tls=self.authority(), hardware=case.GUEST)
        source, target = self.pair(**options)
        source.wait_tick(source.wait_boot(0))
        viewer = self.viewer(source, all_channels=True)
        for kind in ('Display', 'Inputs', 'Cursor'):
            viewer.wait('event', event='opened', channel=kind + 'Channel')
        self.assertSees(viewer, source, **ON)
        connection, = source.main_connections()

        # before, and during
        self.assertEqual(target.qmp.status, 'inmigrate')
        self.assertShows(target, **MIGRATING)
        self.invite(source, target, viewer)
        self.assertShows(source, **ON)
        mark = viewer.mark
        self.start(source, target)
        self.assertEqual((source.qmp.status, target.qmp.status),
                         ('finish-migrate', 'inmigrate'))
        self.assertShows(target, **MIGRATING)
        self.assertSees(viewer, source, mark, **MIGRATING)
        for action in ALL:
            result, message = viewer.act(action)
            self.assertEqual(result, 'wrong-state')
            self.assertIn('migrated', message)

        # after
        mark, tick = viewer.mark, source.last_tick()[0]
        self.switch(source, target)
        self.assertSees(viewer, target, mark, **ON)
        self.left(source)
        target.wait_tick(0, tick + 2)
        self.assertEqual(target.boots(), 0)
        self.assertEqual(target.main_connections(), [connection])
        self.assertEqual(viewer.act('pause'), ('ok', ''))
        self.assertTrue(target.silent())
        self.assertEqual(viewer.act('continue'), ('ok', ''))
        tick, place = target.last_tick()
        target.wait_tick(place, tick + 1)

        # and back
        source.close()
        back = self.incoming(target, host=self.here, **options)
        mark = self.migrate(target, back, viewer)
        self.assertSees(viewer, back, mark, **ON)
        back.wait_tick(0)
        mark = back.console.mark
        self.assertEqual(viewer.act('reset'), ('ok', ''))
        back.wait_tick(back.wait_boot(mark))
        self.assertControls(viewer, back)

    def test_main_channel_only(self):
        """A client that has no other channel follows, twice, and at once."""
        source, target = self.pair()
        viewer = self.viewer(source)
        self.assertSees(viewer, source, **ON)
        mark = self.migrate(source, target, viewer)
        self.assertSees(viewer, target, mark, **ON)
        self.assertControls(viewer, target)
        source.close()
        back = self.incoming(target, host=self.here, extra=())
        mark = self.migrate(target, back, viewer)
        self.assertSees(viewer, back, mark, **ON)
        self.assertEqual(viewer.act('reset'), ('ok', ''))
        self.assertEqual(viewer.act('pause'), ('ok', ''))
        # this QEMU ends with its machine, and answers before
        self.assertEqual(viewer.act('power-off'), ('ok', ''))
        self.assertEqual(back.wait_exit(), 0)
        viewer.wait('event', event='closed', channel='MainChannel')

    def test_spicy_power(self):
        """spicy-power, which has no part in it, follows when it's done.

        What it is told to do meanwhile it does there.
        """
        source, target = self.pair()
        acting = self.enterContext(
            spicypower.Client(source, '-', host=self.desk))
        self.assertEqual(acting.status(), {
            'type': 'state', 'allowed': ALL, **ON})
        self.tell(source, target)
        self.assertEqual(acting.act('on')[0]['result'], 'ok')
        self.start(source, target)
        self.assertEqual(acting.act('reset')[0]['result'], 'wrong-state')
        mark = target.qmp.mark()
        self.switch(source, target)
        # it connects anew
        target.qmp.wait_event('SPICE_INITIALIZED', mark)
        self.assertEqual(acting.act('pause')[0]['result'], 'ok')
        while source.main_connections():
            pass
        self.assertEqual(acting.status(), {
            'type': 'state', 'allowed': ALL, **PAUSED})
        self.assertShows(target, **PAUSED)
        self.assertEqual(acting.act('off')[0]['result'], 'ok')
        self.assertEqual(acting.finish(), spicypower.WRONG_STATE)
        self.assertEqual(acting.errors.since(), [])

    def test_requests_all_the_way(self):
        """Who asks all the time has each request answered, and once."""
        source, target = self.pair()
        viewer = self.viewer(source)
        self.invite(source, target, viewer)
        done = threading.Event()
        results = []

        def ask():
            while not done.is_set():
                # one is on its way at the switch, and one waits its turn
                numbers = [viewer.ask('continue'), viewer.ask('power-on')]
                results.extend(viewer.wait_result(n)[0] for n in numbers)
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            mark = viewer.mark
            self.start(source, target)
            self.switch(source, target)
            viewer.wait('migration', mark, state='none')
            viewer.wait('result', viewer.mark, result='ok')
        finally:
            done.set()
            asking.join()
        self.assertLessEqual(set(results),
                             {'ok', 'wrong-state', 'unknown', 'not sent'})
        self.left(source)
        self.assertSees(viewer, target, **ON)
        self.assertControls(viewer, target)

    def test_request_crosses_the_switch(self):
        """A request that is sent when the source has finished ends, too."""
        for _ in range(3):
            source, target = self.pair()
            viewer = self.viewer(source, name=f'viewer-{self.machines}')
            self.invite(source, target, viewer)
            self.start(source, target)
            viewer.wait_state(**MIGRATING)
            mark = viewer.mark
            viewer.process.send_signal(signal.SIGSTOP)
            self.switch(source, target)
            # it wakes up with the end in one ear, and the button in the other
            number = viewer.ask('reset')
            viewer.process.send_signal(signal.SIGCONT)
            self.assertIn(viewer.wait_result(number)[0],
                          ('ok', 'wrong-state', 'unknown', 'not sent'))
            viewer.wait('migration', mark, state='none')
            self.assertSees(viewer, target, mark, **ON)
            self.assertEqual(viewer.act('pause'), ('ok', ''))
            self.left(source)
            self.check_viewer(viewer)
            self.viewers.remove(viewer)
            viewer.close()
            source.close()
            target.close()

    # --- what is configured differently there --------------------------------

    def test_other_actions(self):
        """The target's configured actions count, once it's there."""
        source, target = self.pair('power=on,actions=reset:pause:continue',
                                   'power=on,actions=power-off:pause')
        viewer = self.viewer(source)
        self.assertSees(viewer, source, state='on',
                        allowed=['reset', 'pause', 'continue'],
                        possible=['reset', 'pause'])
        self.assertEqual(viewer.act('power-off')[0], 'denied')
        mark = self.migrate(source, target, viewer, fence='continue')
        self.assertSees(viewer, target, mark, state='on',
                        allowed=['power-off', 'pause'],
                        possible=['power-off', 'pause'])
        self.assertEqual(viewer.act('reset')[0], 'denied')
        self.assertEqual(viewer.act('pause'), ('ok', ''))
        self.assertEqual(viewer.act('power-off'), ('ok', ''))
        self.assertShows(target, state='off', possible=[])

    def test_power_off_there(self):
        """From power=on to power=off: there is no power control; and back."""
        source, target = self.pair(target='power=off')
        viewer = self.viewer(source)
        mark = self.migrate(source, target, viewer)
        viewer.wait_state(mark, state='unknown', allowed=[], possible=[])
        for action in ALL:
            result, message = viewer.act(action)
            self.assertEqual(result, 'unsupported')
            self.assertIn('power control', message)
        self.assertEqual(target.qmp.status, 'running')
        source.close()
        back = self.incoming(target, host=self.here)
        self.invite(target, back, viewer, fence=None)
        self.start(target, back)
        mark = viewer.mark
        self.switch(target, back)
        self.assertSees(viewer, back, mark, **ON)
        self.assertControls(viewer, back)

    def test_while_copied(self):
        """Until the source stops, the machine is the client's as ever."""
        source, target = self.pair(hardware=PC)
        viewer = self.viewer(source)
        self.invite(source, target, viewer)
        # 32 MB are a lot at 1 kB/s, even if they are empty
        source.qmp.execute('migrate-set-parameters', **{'max-bandwidth': 1024})
        begin = self.start(source, target, hold=False)
        source.qmp.wait_event('MIGRATION', begin, status='active')
        self.assertShows(target, **MIGRATING)
        self.assertControls(viewer, source)
        self.assertEqual(viewer.act('pause'), ('ok', ''))
        self.assertSees(viewer, source, **PAUSED)
        info = source.qmp.execute('query-migrate')
        self.assertEqual(info['status'], 'active')
        mark = viewer.mark
        source.qmp.execute('migrate-set-parameters',
                           **{'max-bandwidth': 1 << 30})
        target.qmp.wait_event('MIGRATION', 0, status='completed')
        viewer.wait('migration', mark, state='none')
        self.assertSees(viewer, target, mark, **OTHERS_PAUSE)
        self.left(source)

    # --- machines that do not run --------------------------------------------

    def test_paused(self):
        """A client's pause is at the target that of who has migrated it."""
        source, target = self.pair()
        viewer = self.viewer(source)
        self.assertEqual(viewer.act('pause'), ('ok', ''))
        mark = self.migrate(source, target, viewer)
        self.assertEqual(target.qmp.status, 'paused')
        self.assertSees(viewer, target, mark, **OTHERS_PAUSE)
        result, message = viewer.act('continue')
        self.assertEqual(result, 'wrong-state')
        self.assertIn('paused', message)
        mark = viewer.mark
        target.qmp.execute('cont')
        self.assertSees(viewer, target, mark, **ON)
        self.assertControls(viewer, target)

    def test_started_later(self):
        """With -S the target stays paused, and that's not a client's pause."""
        source = self.qemu(self.here)
        target = self.incoming(source, extra=(*SHUTDOWN_PAUSE, '-S'))
        viewer = self.viewer(source)
        mark = self.migrate(source, target, viewer)
        self.assertSees(viewer, target, mark, **OTHERS_PAUSE)
        self.assertEqual(viewer.act('continue')[0], 'wrong-state')
        mark = viewer.mark
        target.qmp.execute('cont')
        self.assertSees(viewer, target, mark, **ON)

    def test_off(self):
        """A machine that is off is off there, and can be powered on there."""
        source, target = self.pair()
        viewer = self.viewer(source)
        self.assertEqual(viewer.act('power-off'), ('ok', ''))
        mark = self.migrate(source, target, viewer, fence='power-off')
        self.assertEqual(target.qmp.status, 'shutdown')
        self.assertSees(viewer, target, mark, **OFF)
        self.assertEqual(viewer.act('continue')[0], 'wrong-state')
        mark = viewer.mark
        self.assertEqual(viewer.act('power-on'), ('ok', ''))
        self.assertSees(viewer, target, mark, **ON)
        self.assertControls(viewer, target)

    def test_suspended(self):
        """A suspended machine is suspended there, and can wake up there."""
        with qtest_listener(self) as (options, suspend):
            source = self.qemu(self.here, hardware=PC + options)
            suspend()
        target = self.incoming(source, hardware=PC)
        viewer = self.viewer(source, all_channels=True)
        self.assertSees(viewer, source, **SUSPENDED)
        # power-on would wake it up
        mark = self.migrate(source, target, viewer, fence='continue')
        self.assertEqual(target.qmp.status, 'suspended')
        self.assertSees(viewer, target, mark, **SUSPENDED)
        self.assertEqual(viewer.act('continue')[0], 'wrong-state')
        mark = viewer.mark
        self.assertEqual(viewer.act('power-on'), ('ok', ''))
        self.assertSees(viewer, target, mark, **ON)
        self.assertControls(viewer, target)

    # --- migrations that fail ------------------------------------------------

    def test_cancelled(self):
        """After migrate_cancel everything is as before."""
        self.fail_and_retry('cancelled', lambda source, target:
                            source.qmp.execute('migrate_cancel'))

    def test_target_dies(self):
        """When the target has died everything is as before."""
        def kill(source, target):
            target.process.kill()
            target.wait_exit()
            source.qmp.execute('migrate-continue', state='pre-switchover')
        self.fail_and_retry('failed', kill)

    def fail_and_retry(self, status, fail):
        """Fail at the last moment, with the machine in one state or another,
        and then migrate it after all."""
        source = self.qemu(self.here)
        viewer = self.viewer(source)
        connection = source.main_connections()
        for action, fence, expected in (
                (None, 'power-on', ON), ('pause', 'power-on', PAUSED),
                ('reset', 'power-on', PAUSED), ('power-off', 'pause', OFF)):
            if action:
                self.assertEqual(viewer.act(action), ('ok', ''))
            run_state = source.qmp.status
            target = self.incoming(source)
            self.invite(source, target, viewer, fence)
            mark = viewer.mark
            begin = self.start(source, target)
            self.assertSees(viewer, source, mark, **MIGRATING)
            mark = viewer.mark
            fail(source, target)
            source.qmp.wait_event('MIGRATION', begin, status=status)
            self.assertSees(viewer, source, mark, **expected)
            self.assertEqual(source.qmp.status, run_state)
            self.assertEqual(source.main_connections(), connection)
            viewer.wait('migration', mark, state='none')
            if expected is PAUSED:
                # the client's pause is still the client's
                self.assertEqual(viewer.act('continue'), ('ok', ''))
                self.assertSees(viewer, source, **ON)
                self.assertEqual(viewer.act('pause'), ('ok', ''))
            elif expected is OFF:
                self.assertEqual(viewer.act('power-on'), ('ok', ''))
            target.close()
        self.assertControls(viewer, source)
        target = self.incoming(source)
        mark = self.migrate(source, target, viewer)
        self.assertSees(viewer, target, mark, **ON)
        self.assertControls(viewer, target)

    def test_refused(self):
        """A target that cannot be reached, or is another machine."""
        source = self.qemu(self.here, hardware=PC)
        viewer = self.viewer(source)
        target = self.incoming(source)          # an empty machine
        for uri in (f'tcp:{self.there.addresses["source"]}:1',
                    target.migrate_uri):
            self.invite(source, target, viewer)
            mark, begin = viewer.mark, source.qmp.mark()
            source.qmp.execute('migrate', uri=uri)
            source.qmp.wait_event('MIGRATION', begin, status='failed')
            viewer.wait('migration', mark, state='none')
            self.assertSees(viewer, source, **ON)
            self.assertControls(viewer, source)

    # --- clients that cannot go there, or go another way ---------------------

    def invite_in_vain(self, source, target, viewer, **where):
        """Like invite(), but the client does not get there."""
        mark = viewer.mark
        self.tell(source, target, **where)
        viewer.wait('migration', mark, state='none')
        viewer.act('power-on')

    def test_unreachable(self):
        """A client that cannot reach the target loses the machine, and is
        told so; nobody else notices."""
        source, target = self.pair()
        viewer = self.viewer(source)
        self.invite_in_vain(source, target, viewer, port=1)
        self.start(source, target)
        viewer.wait_state(**MIGRATING)
        # what it asks for at the very end has an end as well
        viewer.process.send_signal(signal.SIGSTOP)
        self.switch(source, target)
        number = viewer.ask('pause')
        viewer.process.send_signal(signal.SIGCONT)
        viewer.wait('event', event='switching')
        viewer.wait('event', event='error-connect')
        self.assertIn(viewer.wait_result(number)[0],
                      ('wrong-state', 'unknown', 'not sent'))
        self.assertEqual(viewer.act('pause')[0], 'not sent')
        self.left(source)
        other = self.viewer(target, name='other')
        self.assertSees(other, target, **ON)
        self.assertControls(other, target)

    def test_client_dies(self):
        """Nobody else is hurt by a client that dies on its way."""
        source, target = self.pair()
        viewer = self.viewer(source)
        self.invite(source, target, viewer)
        self.start(source, target)
        viewer.ask('reset')
        self.viewers.remove(viewer)
        viewer.close()
        self.switch(source, target)
        self.left(source)
        other = self.viewer(target, name='other')
        self.assertSees(other, target, **ON)
        self.assertControls(other, target)

    def test_switch_host(self):
        """A client that could not connect before the switch does so then."""
        source, target = self.pair()
        viewer = self.viewer(source)
        self.desk.unplug(self.there)
        self.invite_in_vain(source, target, viewer)
        self.start(source, target)
        self.desk.plug(self.there)
        mark = viewer.mark
        self.switch(source, target)
        viewer.wait('event', mark, event='switching')
        self.assertSees(viewer, target, mark, **ON)
        self.left(source)
        self.assertControls(viewer, target)

    def monitor(self, source):
        """A spicy-power that watches."""
        monitor = self.enterContext(
            spicypower.Client(source, 'monitor', host=self.desk))
        monitor.wait_state('on', 0)
        return monitor

    def test_monitor(self):
        """spicy-power monitor goes after it, and tells what is there."""
        for power in 'power=on', 'power=off':
            with self.subTest(power):
                source, target = self.pair(target=power)
                monitor = self.monitor(source)
                self.tell(source, target)
                mark = monitor.output.mark
                self.start(source, target)
                found = monitor.wait_state('paused', mark)
                self.assertEqual(found['possible'], [])
                mark = monitor.output.mark
                self.switch(source, target)
                if power == 'power=on':
                    monitor.wait_state('on', mark)
                    for command, state in ('stop', 'paused'), ('cont', 'on'):
                        mark = monitor.output.mark
                        target.qmp.execute(command)
                        found = monitor.wait_state(state, mark)
                    self.assertEqual(found, dict(type='state', allowed=ALL,
                                                 **ON))
                    monitor.close()
                    self.assertEqual(monitor.errors.since(), [])
                else:
                    # where it has nothing to look for, and leaves
                    self.assertEqual(monitor.process.wait(30),
                                     spicypower.NO_POWER_CONTROL)
                source.close()
                target.close()

    def test_two_clients(self):
        """One that acts and one that watches, and both go along."""
        source, target = self.pair()
        viewer = self.viewer(source)
        monitor = self.monitor(source)
        self.assertEqual(len(source.main_connections()), 2)
        self.invite(source, target, viewer)
        mark, viewers = monitor.output.mark, viewer.mark
        self.start(source, target)
        self.assertEqual(monitor.wait_state('paused', mark)['possible'], [])
        viewer.wait_state(viewers, **MIGRATING)
        mark, viewers = monitor.output.mark, viewer.mark
        self.switch(source, target)
        self.assertSees(viewer, target, viewers, **ON)
        self.assertEqual(monitor.wait_state('on', mark)['possible'],
                         ON['possible'])
        self.left(source)
        self.assertEqual(len(target.main_connections()), 2)
        mark = monitor.output.mark
        self.assertControls(viewer, target)
        for state in ('paused', 'on', 'off', 'on'):
            monitor.wait_state(state, mark)
        self.assertEqual(monitor.errors.since(), [])


class SemiSeamless(Both, MigrationTestCase):
    seamless = False


class Seamless(Both, MigrationTestCase):
    seamless = True

    def test_request_while_handed_over(self):
        """What a client is asked for between the two servers goes to none.

        Its main channel has left the source, and waits for the data that it
        has to take to the target.
        """
        for power in 'power=on', 'power=off':
            with self.subTest(power):
                source, target = self.pair(target=power)
                viewer = self.viewer(source, debug=True, name=power)
                self.invite(source, target, viewer)
                self.start(source, target)
                viewer.wait_state(**MIGRATING)
                viewer.process.send_signal(signal.SIGSTOP)
                self.switch(source, target)
                source.process.send_signal(signal.SIGSTOP)
                mark = viewer.mark
                viewer.process.send_signal(signal.SIGCONT)
                viewer.errors.wait(lambda line: 'handle_migrate: ' in line,
                                   'the end of the migration')
                numbers = [viewer.ask('pause'), viewer.ask('reset')]
                viewer.status()         # they have been asked for
                source.process.send_signal(signal.SIGCONT)
                for number in numbers:
                    self.assertEqual(viewer.wait_result(number)[0],
                                     'not sent')
                viewer.wait('migration', mark, state='none')
                if power == 'power=on':
                    self.assertSees(viewer, target, mark, **ON)
                    self.assertEqual(viewer.act('pause'), ('ok', ''))
                    asked = target.qmp.event_names(0)
                    self.assertEqual(asked.count('SPICE_POWER_REQUEST'), 1)
                else:
                    self.assertEqual(viewer.act('pause')[0], 'unsupported')
                    self.assertEqual(target.qmp.status, 'running')
                    self.assertEqual(len(target.main_connections()), 1)
                self.left(source)
                source.close()
                self.check_viewer(viewer)
                self.viewers.remove(viewer)
                viewer.close()
                target.close()


class WireTestCase(MigrationTestCase):
    """The bytes, with a client that is no library."""

    def link(self, machine, session=0):
        sock = self.desk.call(machine.connect)
        return self.enterContext(wire.Client(sock, caps=CAPS, session=session))

    def enter(self, source):
        """A client, and the session's id."""
        client = self.link(source)
        session, = struct.unpack_from('<I', client.wait_init().body)
        client.wait_state('on')
        return client, session


class SemiSeamlessWire(WireTestCase):
    seamless = False

    def test_messages(self):
        """The target says nothing until the client has come, and then all."""
        source, target = self.pair()
        here, session = self.enter(source)
        self.tell(source, target)
        here.wait(MSG_MIGRATE_BEGIN)
        there = self.link(target, session)
        here.send(MSGC_MIGRATE_CONNECTED)
        self.assertEqual(here.act('power-on', 1)[1], (1, 'ok', ''))
        self.start(source, target)
        self.assertEqual(here.act('pause', 2)[1].result, 'wrong-state')
        self.switch(source, target)
        here.wait(MSG_MIGRATE_END)
        # the source still answers who still asks
        self.assertEqual(here.act('pause', 3)[1].result, 'wrong-state')
        here.close()
        there.send(MSGC_MIGRATE_END)
        self.assertEqual(there.wait_state().shown,
                         ('on', tuple(ON['possible'])))
        kinds = [message.type for message in there.received]
        self.assertEqual(kinds[0], wire.MSG_INIT)
        self.assertEqual(kinds.count(wire.MSG_POWER_STATE), 1)
        # its numbers begin anew where it likes
        self.assertEqual(there.act('pause', 1)[1], (1, 'ok', ''))
        self.left(source)

    def test_request_before_the_switch(self):
        """The target does not listen yet to who will come over later."""
        source, target = self.pair()
        here, session = self.enter(source)
        mark = target.qmp.mark()
        for action in wire.ACTIONS:
            there = self.link(target, session)
            there.request(action, 1)
            self.assertEqual(there.until_end(), [])
        self.assertEqual({'SPICE_CONNECTED', 'SPICE_INITIALIZED',
                          'SPICE_DISCONNECTED'},
                         set(target.qmp.event_names(mark)))
        self.start(source, target)
        self.switch(source, target)
        self.assertShows(target, **ON)

    def test_newcomer(self):
        """A new client at the target can look, but not touch, until then."""
        source, target = self.pair()
        client = self.link(target)
        client.wait_init()
        self.assertEqual(client.wait_state().shown, ('paused', ()))
        self.start(source, target)
        for number, action in enumerate(wire.ACTIONS):
            states, result = client.act(action, number)
            self.assertEqual((states, result.result), ([], 'wrong-state'))
            self.assertIn('migrated', result.message)
        self.switch(source, target)
        self.assertEqual(client.wait_state().shown,
                         ('on', tuple(ON['possible'])))
        self.assertEqual(client.act('pause', 9)[1], (9, 'ok', ''))

    def test_two_clients_that_lie(self):
        """Two who say that they take part in a seamless migration."""
        source, target = self.pair(many_clients=True)
        clients = [self.enter(source) for _ in range(2)]
        self.tell(source, target)
        for client, session in clients:
            client.wait(MSG_MIGRATE_BEGIN)
            self.link(target, session)
        for client, _ in clients:
            client.send(MSGC_CONNECTED_SEAMLESS)
            self.assertEqual(client.act('power-on', 1)[1], (1, 'ok', ''))
        self.start(source, target)
        self.switch(source, target)
        for client, _ in clients:
            client.wait(MSG_MIGRATE_END)
            client.close()
        self.left(source)
        self.assertShows(target, **ON)

    def test_bad_messages(self):
        """Messages of a migration that is none end a client, not QEMU."""
        bad_data = [(MSGC_DO_SEAMLESS, struct.pack('<I', 1)),
                    (MSGC_MIGRATE_DATA, b'x' * 200)]
        short_data = [bad_data[0], (MSGC_MIGRATE_DATA, b'x')]
        for session, messages in ((0, [(MSGC_FLUSH_MARK, b'')]),
                                  (7, [(MSGC_FLUSH_MARK, b'')]),
                                  (7, bad_data), (7, short_data)):
            with self.subTest(session=session, messages=messages):
                # one that is being migrated in is for who has a session
                machine = self.qemu(self.here, extra=(
                    ('-incoming', 'defer') if session else ()))
                client = self.link(machine, session)
                for kind, body in messages:
                    client.send(kind, body)
                client.until_end()
                client = self.link(machine)
                client.wait_init()
                self.assertEqual(client.act('pause', 1)[1].result,
                                 'wrong-state' if session else 'ok')
                machine.close()


class SeamlessWire(WireTestCase):
    seamless = True

    def test_messages(self):
        """Nothing of ours comes where a client expects the handed-over data.

        A request that reaches the source too late for that has no result, but
        it's in the record, and the source does nothing.
        """
        source, target = self.pair()
        here, session = self.enter(source)
        self.tell(source, target)
        begin = here.wait(MSG_BEGIN_SEAMLESS)
        there = self.link(target, session)
        there.send(MSGC_DO_SEAMLESS, begin.body[20:24])     # the version
        there.wait(MSG_SEAMLESS_ACK)
        here.send(MSGC_CONNECTED_SEAMLESS)
        self.assertEqual(here.act('power-on', 1)[1], (1, 'ok', ''))
        self.start(source, target)
        here.wait_state('paused')
        self.assertEqual(here.act('reset', 2)[1].result, 'wrong-state')
        self.switch(source, target)
        here.wait(MSG_MIGRATE)
        mark = source.qmp.mark()
        here.request('reset', 3)
        source.qmp.wait_event('SPICE_POWER_RESULT', mark, result='failed',
                              **{'request-id': 3})
        here.send(MSGC_FLUSH_MARK)
        data = here.receive()
        self.assertEqual(data.type, MSG_MIGRATE_DATA)
        here.close()
        there.send(MSGC_MIGRATE_DATA, data.body)
        self.assertEqual(there.wait_state().shown,
                         ('on', tuple(ON['possible'])))
        # the clock is what the data is answered with
        self.assertEqual([message.type for message in there.received
                          if message.type != wire.MSG_PING],
                         [MSG_SEAMLESS_ACK, MSG_MULTI_MEDIA_TIME,
                          wire.MSG_POWER_STATE])
        self.assertEqual(there.act('pause', 3)[1], (3, 'ok', ''))
        self.left(source)


class NothingIsLeft(MigrationTestCase):
    def test_killed(self):
        """However a test ends, its machines and clients end as well, and with
        them their hosts, which nothing else holds."""
        program = (
            "import select, signal, sys; from pathlib import Path\n"
            "from powertest import machine, netns, spicegtk\n"
            "machine.end_cleanly()\n"
            # who runs this in the background may have made it ignored
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "with netns.network('here', 'there') as (a, b), machine.Machine(\n"
            "        Path(sys.argv[1]), tcp=True, host=a,\n"
            "        address=a.addresses['there']) as m, spicegtk.Client(\n"
            "        m.log_dir, m.uri, host=b) as client:\n"
            "    client.wait_state(state='on')\n"
            "    print(m.process.pid, client.process.pid, flush=True)\n"
            # not one long read: a signal just before that would not end it
            "    while not select.select([sys.stdin], [], [], 0.05)[0]:\n"
            "        pass\n")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number), \
                    tempfile.TemporaryDirectory() as directory:
                process = subprocess.Popen(
                    [sys.executable, '-c', program, directory],
                    env=dict(os.environ, PYTHONPATH=sys.path[0],
                             TMPDIR=directory),
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                with process, contextlib.ExitStack() as stack:
                    stack.callback(process.kill)
                    ids = process.stdout.readline().split()
                    self.assertEqual(len(ids), 2, 'see standard error')
                    waiting = [os.pidfd_open(int(pid)) for pid in ids]
                    spaces = {os.readlink(f'/proc/{int(pid)}/ns/net')
                              for pid in ids}
                    self.assertEqual(len(spaces), 2)
                    process.send_signal(number)
                    process.wait(TIMEOUT)
                for pidfd in waiting:
                    self.assertTrue(select.select([pidfd], [], [], TIMEOUT)[0],
                                    'a process has not ended')
                    os.close(pidfd)


class Resets(case.PowerTestCase):
    """A reset that meets the switch-over must not start the source again."""

    ROUNDS = case.depth(10, 200)

    def resets(self, client, stop, results):
        """One after the other without a pause, as long as there is a server."""
        with contextlib.suppress(wire.Disconnected, OSError):
            while not stop.is_set():
                number = len(results) + 1
                results.append(client.act('reset', number)[1])

    def test_resets(self):
        """A busy machine is reset all the time while it is migrated."""
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        hardware = ('-machine', 'pc', '-accel', 'tcg,thread=multi', '-smp', '4',
                    '-m', '32', '-nodefaults', '-device', 'VGA')
        told = {}
        source = self.machine(hardware=hardware, extra=SHUTDOWN_PAUSE,
                              name='machine-0')
        for number in range(1, self.ROUNDS + 1):
            uri = f'unix:{directory}/{number}'
            target = self.machine(hardware=hardware,
                                  extra=(*SHUTDOWN_PAUSE, '-incoming', uri),
                                  name=f'machine-{number}')
            source.qmp.execute('migrate-set-capabilities', capabilities=[
                {'capability': 'events', 'state': True}])
            client, results = self.client(source), []
            stop = threading.Event()
            asker = threading.Thread(target=self.resets,
                                     args=(client, stop, results))
            mark = source.qmp.mark()
            asker.start()
            try:
                source.qmp.wait_event('RESET', mark)
                source.qmp.execute('migrate', uri=uri)
                source.qmp.wait_event('MIGRATION', mark, status='completed')
                target.qmp.wait_event('RESUME', 0)
            finally:
                stop.set()
                asker.join()
            # there is no event for this
            while (status := source.qmp.status) == 'finish-migrate':
                pass
            self.assertIn(status, ('postmigrate', 'prelaunch'))
            self.assertEqual([r.request_id for r in results],
                             list(range(1, len(results) + 1)))
            # nor does anything else that a client may ask for
            for action in wire.ACTIONS:
                result = client.act(action, 1)[1]
                self.assertEqual(result.result, 'wrong-state', action)
            source.qmp.execute('query-status')
            self.assertNotIn('RESUME', source.qmp.event_names(mark))
            self.assertEqual(target.qmp.status, 'running')
            for result in results:
                told[result.result] = told.get(result.result, 0) + 1
            source.close()
            source = target
        tap.note(f'{self.ROUNDS} migrations, resets: {told}')


if __name__ == '__main__':
    case.main()
