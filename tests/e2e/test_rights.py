#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Several people at one machine, each with their own rights."""

import contextlib
import json
import os
import struct
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import (case, ownpam, sasl, spicypower,    # noqa: E402
                       wire)

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
ALL = list(wire.ACTIONS)
MOST = 16               # control clients
DENIED_SERVER, REPLACED = 7, 10     # reasons to be disconnected

# The guest: it lets the speaker sound, and writes what comes from the agent's
# port (COM2) to port 0xe9.
BOOT_SECTOR = bytes.fromhex(
    '31c0'                      # xor ax, ax
    'b0b6e643'                  # the timer's channel 2, a square wave
    'b0a9e642' 'b004e642'       # of 1 kHz
    'e4610c03e661'              # to the speaker
    'bafd02ec' 'a801' '74f8'    # until COM2 has a byte
    'baf802ec' 'e6e9'           # take it, and write it
    'ebf0').ljust(510, b'\0') + b'\x55\xaa'
MSG_PLAYBACK_DATA, MSG_PLAYBACK_MODE, MSG_PLAYBACK_START, MSG_PLAYBACK_STOP \
    = 101, 102, 103, 104


def agent_message(kind, data):
    return struct.pack('<IIQI', 1, kind, 0, len(data)) + data


def in_pieces(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


# A file of 24 KB that is dropped onto the window, as the agent is told of it
FILE = bytes(range(256)) * 96
DROP = [agent_message(13, struct.pack('<I', 1) + b'[vdagent-file-xfer]\n'
                      b'name=dropped\nsize=24576\n\0'),
        *(agent_message(14, struct.pack('<IQ', 1, len(piece)) + piece)
          for piece in in_pieces(FILE, 6000))]


class Beside(case.PowerTestCase):
    """Tools beside somebody who works with the machine."""

    def boot(self, name):
        image = self.log_dir / 'boot.img'
        image.write_bytes(BOOT_SECTOR.ljust(1 << 16, b'\0'))
        self.heard = self.log_dir / f'{name}-heard'
        return self.machine(
            'power=on', name=name,
            hardware=('-machine', 'pc,pcspk-audiodev=snd', '-accel', 'tcg',
                      '-m', '16', '-nodefaults', '-audiodev', 'spice,id=snd'),
            extra=('-drive', f'file={image},format=raw,if=ide',
                   '-chardev', 'spicevmc,id=agent,name=vdagent',
                   '-serial', 'chardev:agent',
                   '-chardev', f'file,id=heard,path={self.heard}',
                   '-device', 'isa-debugcon,iobase=0xe9,chardev=heard'))

    def come(self, vm):
        client = wire.Client(vm.connect(), caps=wire.CONTROL_CAPS)
        client.wait_init()
        return client

    def disturb(self, vm, tools, step):
        """Each does something else at each step, for the viewer to notice."""
        for place, tool in enumerate(tools):
            turn = (place + step) % 4
            if turn == 0:
                # leaves, with answers that nobody reads, and comes again
                tool.send_raw(tool.request_frame('continue', step) * 50)
                tool.close()
                tools[place] = self.come(vm)
            elif turn == 1:
                _, result = tool.act('continue', step)
                # somebody else may just have asked
                self.assertIn(result.result, ('ok', 'busy'))
            elif turn == 2:
                tool.send_raw(tool.request_frame('continue', step) * 20)
                for _ in range(20):
                    tool.wait_result()

    def session(self, number):
        """What a viewer sees beside so many tools, and what the guest hears.
        """
        vm = self.boot(f'beside-{number}')
        tools = [self.come(vm) for _ in range(number)]
        for tool in tools:
            self.addCleanup(lambda tool=tool: tool.close())
        viewer = self.client(vm, caps=(wire.CAP_POWER_CONTROL,
                                       wire.CAP_AGENT_CONNECTED_TOKENS))
        viewer.fence()
        sound = self.enterContext(wire.Client(
            vm.connect(), caps=(), channel=wire.CHANNEL_PLAYBACK,
            session=viewer.session))
        sound.wait(MSG_PLAYBACK_START)
        sound.wait(MSG_PLAYBACK_DATA)
        viewer.send(wire.MSGC_AGENT_START, struct.pack('<I', 1 << 30))
        tokens = 10             # as INIT says
        expected = b''
        for step, piece in enumerate(
                p for message in DROP for p in in_pieces(message, 2048)):
            while not tokens:
                more = viewer.wait(wire.MSG_AGENT_TOKEN)
                tokens += struct.unpack('<I', more.body)[0]
            frame = viewer.frame(wire.MSGC_AGENT_DATA, piece)
            viewer.send_raw(frame[:100])
            self.disturb(vm, tools, step)
            viewer.send_raw(frame[100:])
            tokens -= 1
            expected += struct.pack('<II', 1, len(piece)) + piece
        deadline = time.monotonic() + 60
        while (heard := self.heard.read_bytes()) != expected:
            self.assertEqual(heard, expected[:len(heard)])
            self.assertLess(time.monotonic(), deadline, 'the guest is deaf')
            sound.wait(MSG_PLAYBACK_DATA)
        viewer.fence()
        # it never stopped
        kinds = {message.type for message in sound.received}
        self.assertNotIn(MSG_PLAYBACK_STOP, kinds)
        self.assertEqual(sum(m.type == MSG_PLAYBACK_START
                             for m in sound.received), 1)
        seen = []
        for message in viewer.received:
            if message.type == wire.MSG_INIT:
                # but for the session's id and the time
                body = message.body[4:24] + message.body[28:]
                seen.append((message.type, body))
            elif message.type not in (wire.MSG_PING, wire.MSG_AGENT_TOKEN,
                                      wire.MSG_MULTI_MEDIA_TIME):
                seen.append(message)
        return seen, vm, tools

    def test_sixteen(self):
        """Sixteen tools: the viewer's bytes, file and sound are the same."""
        alone, vm, _ = self.session(0)
        vm.qmp.execute('quit')
        beside, vm, tools = self.session(MOST)
        self.assertEqual(beside, alone)
        with self.assertRaises(wire.LinkError) as caught:
            self.come(vm)
        self.assertEqual(caught.exception.code, 9)      # not available
        # and they have what they came for
        for tool in tools:
            _, result = tool.act('continue', 77)
            self.assertEqual((result.request_id, result.result), (77, 'ok'))

    def test_monitor(self):
        """QMP tells tools from viewers, and counts both."""
        vm = self.machine(many_clients=False)
        mark = vm.qmp.mark()
        viewer = self.client(vm)
        tool = self.client(vm, caps=wire.CONTROL_CAPS)
        # events are in front of the reply
        channels = vm.qmp.execute('query-spice')['channels']
        initialized = [e['data']['client'] for e in vm.qmp.events.since(mark)
                       if e['event'] == 'SPICE_INITIALIZED']
        self.assertEqual([c['control-only'] for c in initialized],
                         [False, True])
        # QMP has them with a sign
        self.assertEqual({c['connection-id'] & 0xffffffff: c['control-only']
                          for c in channels},
                         {viewer.session: False, tool.session: True})
        tool.close()
        vm.qmp.wait_event('SPICE_DISCONNECTED', mark)
        viewer.fence()

    def test_password(self):
        """set_password ... connected= and those who are connected."""
        vm = self.machine(ticket='one')

        def set_password(connected):
            vm.qmp.execute('set_password', protocol='spice', password='two',
                           connected=connected)

        viewer = self.client(vm, ticket='one')
        tool = self.client(vm, ticket='one', caps=wire.CONTROL_CAPS)
        set_password('keep')
        viewer.fence()
        tool.fence()
        with self.assertRaises(Exception):
            set_password('fail')
        viewer.close()
        vm.qmp.wait_event('SPICE_DISCONNECTED', 0)
        # who only watches the power keeps nobody from setting one
        set_password('fail')
        tool.fence()
        viewer = self.client(vm, ticket='two')
        set_password('disconnect')
        for client in (viewer, tool):
            told = [m for m in client.until_end()
                    if m.type == wire.MSG_DISCONNECTING]
            self.assertEqual([struct.unpack('<QI', m.body)[1] for m in told],
                             [DENIED_SERVER])

    def test_replaced(self):
        """Whose place is taken is told so; a tool takes nobody's."""
        vm = self.machine(many_clients=False)
        first = self.client(vm)
        monitor = self.spicy_power(vm, 'monitor')
        monitor.wait_state('on', 0)
        run = spicypower.run(vm.uri, 'pause', 'continue', 'reset', 'status')
        self.assertEqual(run.code, spicypower.OK, run.err)
        first.fence()
        second = self.client(vm)
        told = [m for m in first.until_end()
                if m.type == wire.MSG_DISCONNECTING]
        self.assertEqual(struct.unpack('<QI', told[0].body)[1], REPLACED)
        self.assertTrue(monitor.running)
        second.fence()

    def test_end(self):
        """QEMU ends with tools that wait, and all of them see the end."""
        vm = self.machine('power=managed')
        monitors = [self.spicy_power(vm, 'monitor', name=f'monitor{i}')
                    for i in range(4)]
        for monitor in monitors:
            monitor.wait_state('on', 0)
        tool = self.client(vm, caps=wire.CONTROL_CAPS)
        mark = vm.qmp.mark()
        tool.request('power-off', 5)
        vm.qmp.wait_event(ASKED, mark)
        vm.qmp.execute('quit')
        results = [wire.PowerResult.parse(m.body) for m in tool.until_end()
                   if m.type == wire.MSG_POWER_RESULT]
        self.assertEqual([(r.request_id, r.result) for r in results],
                         [(5, 'ok')])
        for monitor in monitors:
            self.assertEqual(monitor.process.wait(30), spicypower.OK)
            monitor.output.wait_end()
            self.assertEqual(monitor.states()[-1], 'off')


class People(case.PowerTestCase):
    """By SASL user: ann may, bob may only watch."""

    def setUp(self):
        super().setUp()
        self.directory = Path(self.enterContext(
            tempfile.TemporaryDirectory(prefix='spice-power-')))

    def server(self, *mechanisms, authz, spice='power=on', **options):
        users = sasl.Users(self.directory, *mechanisms)
        for name in ('ann', 'bob'):
            users.add(name, f'{name}-secret')
        return self.machine(f'{spice},sasl=on,power-authz=power',
                            extra=('-object', json.dumps(
                                {'id': 'power', **authz})),
                            env=users.environment,
                            **options)

    def options(self, vm, user):
        return (f'--password={user}-secret',
                *(vm.tls.options if vm.tls else ()))

    def run_as(self, vm, user, *words):
        return spicypower.run(vm.uri_of(user), *words,
                              options=self.options(vm, user))

    def check_two(self, vm):
        """Both see the state, one acts; the record tells who."""
        mark = vm.qmp.mark()
        run = self.run_as(vm, 'ann', 'status', 'pause', 'continue')
        self.assertEqual(run.code, spicypower.OK, run.err)
        self.assertEqual(run.objects[0]['allowed'], ALL)
        run = self.run_as(vm, 'bob', 'status')
        self.assertEqual((run.code, run.objects), (spicypower.OK, [
            {'type': 'state', 'state': 'on', 'allowed': [], 'possible': []}]))
        run = self.run_as(vm, 'bob', 'pause')
        self.assertEqual((run.code, run.result),
                         (spicypower.DENIED, 'denied'))
        self.assertIn('not one of those', run.message)
        self.assertEqual(vm.qmp.status, 'running')
        vm.qmp.mark()
        told = [(e['data']['client']['sasl-username'], e['data']['action'],
                 e['data']['result']) for e in vm.qmp.events.since(mark)
                if e['event'] == TOLD]
        self.assertEqual(told, [('ann', 'pause', 'ok'),
                                ('ann', 'continue', 'ok'),
                                ('bob', 'pause', 'denied')])

    def test_over_tls(self):
        """One name, with a mechanism that relies on TLS."""
        self.check_two(self.server(
            'SCRAM-SHA-256', tls=self.authority(),
            authz={'qom-type': 'authz-simple', 'identity': 'ann'}))

    def test_security_layer(self):
        """A list, with a mechanism that encrypts by itself."""
        vm = self.server(
            'DIGEST-MD5', tcp=True,
            authz={'qom-type': 'authz-list', 'policy': 'deny',
                   'rules': [{'match': 'an*', 'policy': 'allow',
                              'format': 'glob'}]})
        self.check_two(vm)

    @unittest.skipIf(os.geteuid(), "PAM's services are root's to change")
    def test_pam(self):
        """PAM cannot tell of a change: it is asked at each request."""
        people = self.directory / 'people'
        services = ownpam.Services(self.directory, {
            'qemu-power': 'account required pam_listfile.so item=user '
                          f'sense=allow onerr=fail file={people}\n'})
        people.write_text('ann\n')
        vm = self.server('SCRAM-SHA-256', tls=self.authority(),
                         prefix=services.prefix,
                         authz={'qom-type': 'authz-pam',
                                'service': 'qemu-power'})
        self.check_two(vm)
        # bob was asked about several times; the log says it once
        self.assertEqual((self.log_dir / 'qemu.log').read_text().count(
            "Unable to authorize user 'bob'"), 1)
        people.write_text('bob\n')
        self.assertEqual(self.run_as(vm, 'bob', 'reset').code, spicypower.OK)
        self.assertEqual(self.run_as(vm, 'ann', 'reset').code,
                         spicypower.DENIED)
        people.unlink()
        self.assertEqual(self.run_as(vm, 'bob', 'reset').code,
                         spicypower.DENIED)

    def monitor(self, vm, user):
        """A spicy-power that stays, as this user."""
        class Named:
            uri, log_dir = vm.uri_of(user), vm.log_dir
        return self.spicy_power(Named, 'monitor', name=f'monitor-{user}',
                                options=self.options(vm, user))

    def test_list_changes(self):
        """The file of the list changes: those who are connected are told."""
        path = self.directory / 'list.json'

        def write(*names):
            # as an editor does it
            new = self.directory / 'new'
            new.write_text(json.dumps({
                'policy': 'deny', 'rules': [
                    {'match': name, 'policy': 'allow'} for name in names]}))
            new.rename(path)

        write('ann')
        vm = self.server('SCRAM-SHA-256', tls=self.authority(),
                         authz={'qom-type': 'authz-list-file',
                                'filename': str(path), 'refresh': True})
        self.check_two(vm)
        monitors = {name: self.monitor(vm, name) for name in ('ann', 'bob')}

        def wait_allowed(name, allowed, mark=0):
            monitors[name].output.wait(
                lambda o: o['allowed'] == allowed,
                f'{name} is allowed {allowed}', mark)

        wait_allowed('ann', ALL)
        wait_allowed('bob', [])
        for first, second in (('bob', 'ann'), ('ann', 'bob')):
            marks = {name: monitor.output.mark
                     for name, monitor in monitors.items()}
            write(first)
            wait_allowed(first, ALL, marks[first])
            wait_allowed(second, [], marks[second])
            run = self.run_as(vm, second, 'reset')
            self.assertEqual(run.code, spicypower.DENIED)
            run = self.run_as(vm, first, 'reset')
            self.assertEqual(run.code, spicypower.OK, run.err)
        # a list that cannot be read allows nobody anything
        marks = {name: monitor.output.mark
                 for name, monitor in monitors.items()}
        path.write_text('{')
        wait_allowed('ann', [], marks['ann'])
        run = self.run_as(vm, 'ann', 'reset')
        self.assertEqual(run.code, spicypower.DENIED)

    def test_managed(self):
        """A management layer is not asked by those who may not."""
        vm = self.server('SCRAM-SHA-256', tls=self.authority(),
                         spice='power=managed',
                         authz={'qom-type': 'authz-simple',
                                'identity': 'ann'})
        mark = vm.qmp.mark()
        run = self.run_as(vm, 'bob', 'reset')
        self.assertEqual(run.code, spicypower.DENIED)
        vm.qmp.mark()
        asked = [e['data'] for e in vm.qmp.events.since(mark)
                 if e['event'] == ASKED]
        self.assertEqual(['id' in data for data in asked], [False])
        client = self.enterContext(wire.Client(
            vm.connect(), caps=wire.CONTROL_CAPS,
            mechanism=sasl.Scram('ann', 'ann-secret')))
        client.wait_init()
        mark = vm.qmp.mark()
        client.request('reset', 3)
        event = vm.qmp.wait_event(ASKED, mark)
        self.assertEqual(event['data']['client']['sasl-username'], 'ann')
        vm.qmp.execute('spice-power-reply', id=event['data']['id'],
                       result='ok')
        self.assertEqual(client.wait_result().result, 'ok')


class Tickets(case.PowerTestCase):
    """Two passwords at once, as Proxmox, oVirt and OpenStack hand them out.

    Their managers decide first, and then give each person a password for one
    use, which expires.
    """

    def server(self, **options):
        return self.machine('power=on,power-password-secret=power',
                            ticket='look',
                            extra=('-object', 'secret,id=power,data=press'),
                            **options)

    def run_with(self, vm, password, *words):
        return spicypower.run(vm.uri, *words,
                              options=(f'--password={password}',))

    def check(self, vm, password, allowed):
        run = self.run_with(vm, password, 'status')
        self.assertEqual(run.code, spicypower.OK, run.err)
        self.assertEqual(run.objects[0]['allowed'], allowed)
        run = self.run_with(vm, password, 'reset')
        self.assertEqual(run.code, spicypower.OK if allowed
                         else spicypower.DENIED, run.err)
        if not allowed:
            self.assertIn('password', run.message)

    def check_wrong(self, vm, password):
        run = self.run_with(vm, password, 'reset')
        self.assertEqual(run.code, spicypower.CONNECT, run.err)

    def test_both(self):
        """Who comes with which may do what; other passwords open nothing."""
        vm = self.server()
        mark = vm.qmp.mark()
        self.check(vm, 'look', [])
        self.check(vm, 'press', ALL)
        for wrong in ('', 'Press', 'lookpress', 'pres'):
            self.check_wrong(vm, wrong)
        vm.qmp.mark()
        self.assertEqual([(e['data']['client']['ticket'], e['data']['result'])
                          for e in vm.qmp.events.since(mark)
                          if e['event'] == TOLD],
                         [('ordinary', 'denied'), ('power', 'ok')])
        info = vm.qmp.execute('query-spice')['power']
        self.assertEqual((info['ticket'], 'authz' in info), (True, False))
        # a client of before, with either, sees the machine
        for password in ('look', 'press'):
            old = self.client(vm, caps=(), ticket=password)
            old.fence()

    def test_two_people(self):
        """One in a viewer, one at a terminal, each with a password."""
        vm = self.server()
        looker = self.client(vm, ticket='look')
        self.assertEqual(looker.wait_state('on').allowed, ())
        presser = self.client(vm, ticket='press', caps=wire.CONTROL_CAPS)
        self.assertEqual(presser.wait_state('on').allowed, wire.ACTIONS)
        _, result = looker.act('pause', 1)
        self.assertEqual(result.result, 'denied')
        _, result = presser.act('pause', 1)
        self.assertEqual(result.result, 'ok')
        looker.wait_state('paused')
        _, result = looker.act('continue', 2)
        self.assertEqual(result.result, 'denied')
        self.assertEqual(vm.qmp.status, 'paused')

    def test_one_time(self):
        """A password for one use: set, used, and gone."""
        vm = self.server()

        def give(password, seconds, power):
            for command, more in (('set_password', {'password': password}),
                                  ('expire_password',
                                   {'time': f'+{seconds}'})):
                vm.qmp.execute(command, protocol='spice', power=power, **more)

        give('fred-1', 60, True)
        give('eve-1', 60, False)
        self.check(vm, 'fred-1', ALL)
        self.check(vm, 'eve-1', [])
        for old in ('look', 'press'):
            self.check_wrong(vm, old)
        fred = self.client(vm, ticket='fred-1', caps=wire.CONTROL_CAPS)
        fred.wait_state('on')
        vm.qmp.execute('expire_password', protocol='spice', power=True,
                       time='now')
        self.check_wrong(vm, 'fred-1')
        self.check(vm, 'eve-1', [])
        # who is in is in
        _, result = fred.act('reset', 1)
        self.assertEqual(result.result, 'ok')
        # unless he is thrown out
        vm.qmp.execute('set_password', protocol='spice', power=True,
                       password='ann-1', connected='disconnect')
        self.assertIn(wire.MSG_DISCONNECTING,
                      [m.type for m in fred.until_end()])
        vm.qmp.execute('expire_password', protocol='spice', power=True,
                       time='+1')
        deadline = time.monotonic() + 30
        with contextlib.suppress(AssertionError):
            while time.monotonic() < deadline:
                self.check(vm, 'ann-1', ALL)
        self.check_wrong(vm, 'ann-1')
        # both the same: whoever has it may act
        give('same', 60, True)
        give('same', 60, False)
        self.check(vm, 'same', ALL)

    def test_none_yet(self):
        """A machine of which nobody has got the second password yet."""
        vm = self.machine(
            'power=managed,power-password-secret=power', ticket='look',
            extra=('-object', 'secret,id=power,data='))
        self.check(vm, 'look', [])
        self.check_wrong(vm, '')
        vm.qmp.execute('set_password', protocol='spice', power=True,
                       password='press')
        run = self.run_with(vm, 'press', 'status')
        self.assertEqual(run.objects[0]['allowed'], ALL)


class Everybody(case.PowerTestCase):
    """One command for all of them."""

    def test_incident(self):
        """Nobody touches the power now; then some may, then all."""
        vm = self.machine(many_clients=False)
        viewer = self.client(vm)
        tool = self.client(vm, caps=wire.CONTROL_CAPS)
        clients = (viewer, tool)
        for client in clients:
            self.assertEqual(client.wait_state('on').allowed, wire.ACTIONS)
        for allowed, reason in (([], 'Disks are being replaced'),
                                (['pause', 'continue'], None), (ALL, None)):
            vm.qmp.execute('spice-power-set-allowed', actions=allowed,
                           **({'reason': reason} if reason else {}))
            for client in clients:
                self.assertEqual(list(client.wait_state('on').allowed),
                                 allowed)
                _, result = client.act('reset', 1)
                self.assertEqual(result.result,
                                 'ok' if allowed == ALL else 'denied')
                if reason:
                    self.assertEqual(result.message, reason)
        vm.qmp.human('spice_power_allow none by hand')
        _, result = tool.act('pause', 2)
        self.assertEqual((result.result, result.message),
                         ('denied', 'by hand'))


if __name__ == '__main__':
    case.main()
