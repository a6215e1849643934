#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt domain, with spicy-power on one side and virsh on the other.

The daemons, QEMU and the clients are those that we have built. What one side
does the other one sees: as a state, as an event, and in what the guest does.
"""

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import (case, libvirt, places,               # noqa: E402
                       sasl, spicypower, wire)
from powertest.libvirt import VirshError                    # noqa: E402
from powertest.machine import SLEEPER_ARGUMENTS             # noqa: E402
from powertest.record import TIMEOUT, Ended                 # noqa: E402

# what libvirt calls it that a client has asked
PAUSED_BY_CLIENT = ('paused', 'graphics client')
# longer than QEMU waits for libvirt (30 s)
ANSWER = 60


class DomainTestCase(case.PowerTestCase):
    def daemons(self, **options):
        return self.enterContext(libvirt.Libvirt(self.log_dir, **options))

    def booted(self, domain):
        """Start it, and wait until its guest ticks."""
        domain.start()
        domain.wait_tick(domain.wait_boot(0, timeout=120), timeout=120)
        return domain

    def ask(self, client, word, result='ok', message=None, timeout=TIMEOUT):
        told, _ = client.act(word, timeout)
        self.assertEqual(told['result'], result, told)
        if message:
            self.assertRegex(told['message'], message)
        else:
            self.assertEqual(told['message'], '')
        return told

    def wait_event(self, domain, mark, text):
        return domain.events.wait(lambda line: text in line,
                                  f'libvirt event "{text}"', mark)

    def audited(self, domain, mark, action, result='ok', user='?',
                ticket='?'):
        """The audit record of a client's request, in libvirtd's log."""
        line = domain.libvirt.log.wait(
            lambda line: f'op={action} reason=spice-client' in line
            and re.search(f'vm="?{domain.name}"? ', line),
            f'audit record of {action}', mark)
        self.assertIn(f'result={result}', line)
        self.assertRegex(line, r'client="?127\.0\.0\.1:\d+"? tls=no '
                         f'user="?{re.escape(user)}"? '
                         f'ticket={re.escape(ticket)} ')
        self.assertIn('success=' + ('yes' if result == 'ok' else 'no'), line)


class Sides(DomainTestCase):
    """One guest, and everything that both sides can do with it."""

    def setUp(self):
        super().setUp()
        self.lv = self.daemons()
        self.vm = self.booted(self.lv.domain('sides'))
        self.vm.watch()
        self.client = self.spicy_power(self.vm, '-')
        self.watcher = self.spicy_power(self.vm, 'monitor', name='watcher')
        self.watcher.wait_state('on', 0)

    def test_each_side(self):
        """What a client does virsh sees, and the other way round"""
        vm, client = self.vm, self.client
        self.assertEqual(client.status()['state'], 'on')
        client.wait_status(possible=['reset', 'power-off', 'pause'])
        self.assertEqual(set(client.status()['allowed']),
                         {'reset', 'power-off', 'power-on', 'pause',
                          'continue'})

        with self.subTest('a client pauses and continues'):
            mark, log = vm.events.mark, self.lv.log.mark
            self.ask(client, 'pause')
            self.assertEqual(vm.state, PAUSED_BY_CLIENT)
            self.wait_event(vm, mark, 'Suspended Graphics')
            self.audited(vm, log, 'pause')
            client.wait_status(possible=['reset', 'power-off', 'continue'])
            mark = vm.events.mark
            self.ask(client, 'continue')
            self.assertEqual(vm.state[0], 'running')
            self.wait_event(vm, mark, 'Resumed Unpaused')
            client.wait_status(possible=['reset', 'power-off', 'pause'])

        with self.subTest('virsh pauses: a client must not undo that'):
            mark = self.watcher.output.mark
            vm.virsh('suspend')
            self.watcher.wait_state('paused', mark)
            self.assertEqual(vm.state, ('paused', 'user'))
            client.wait_status(possible=['reset', 'power-off'])
            log = self.lv.log.mark
            self.ask(client, 'continue', 'wrong-state', 'paused')
            self.audited(vm, log, 'continue', 'wrong-state')
            self.assertEqual(vm.state, ('paused', 'user'))
            mark = self.watcher.output.mark
            vm.virsh('resume')
            self.watcher.wait_state('on', mark)

        with self.subTest('virsh continues what a client has paused'):
            self.ask(client, 'pause')
            mark = self.watcher.output.mark
            vm.virsh('resume')
            self.watcher.wait_state('on', mark)
            self.assertEqual(vm.state[0], 'running')

        with self.subTest('virsh takes over what a client has paused'):
            self.ask(client, 'pause')
            mark = vm.events.mark
            vm.virsh('suspend')
            self.assertEqual(vm.state, ('paused', 'user'))
            self.wait_event(vm, mark, 'Suspended Paused')
            client.wait_status(possible=['reset', 'power-off'])
            self.ask(client, 'continue', 'wrong-state', 'paused')
            vm.virsh('resume')

        with self.subTest('a client resets'):
            tick, _ = vm.last_tick()
            boot, mark = vm.console.mark, vm.events.mark
            log = self.lv.log.mark
            self.ask(client, 'reset')
            self.wait_event(vm, mark, "event 'reboot'")
            self.audited(vm, log, 'reset')
            vm.wait_tick(vm.wait_boot(boot, timeout=120), timeout=120)

        with self.subTest('virsh resets'):
            boot = vm.console.mark
            vm.virsh('reset')
            vm.wait_tick(vm.wait_boot(boot, timeout=120), timeout=120)
            client.wait_status(state='on')

        with self.subTest('there is nothing to power on'):
            self.ask(client, 'on')

        with self.subTest('a client cuts the power'):
            mark, log = vm.events.mark, self.lv.log.mark
            self.ask(client, 'off')
            self.wait_event(vm, mark, 'Stopped Destroyed')
            self.audited(vm, log, 'power-off')
            # the domain's last job may still be under way
            self.assertEqual(vm.wait_state('shut off'), 'destroyed')

        with self.subTest('virsh starts it again, and ends it'):
            vm.start()
            again = self.spicy_power(vm, 'monitor', name='again')
            again.wait_state('on', 0)
            vm.virsh('destroy')
            again.output.wait_end()

    def test_side_by_side(self):
        """Both sides at once: one result each, and one state in the end"""
        vm, client = self.vm, self.client
        other = self.spicy_power(vm, '-', name='other')
        rounds, results, failures = 25, [], []

        def virsh():
            for action in ('suspend', 'resume') * rounds:
                try:
                    vm.virsh(action)
                except VirshError as error:
                    # the other side was there before
                    if 'already' not in str(error):
                        failures.append(str(error))

        def spice(client):
            for word in ('pause', 'continue', 'reset') * rounds:
                told, _ = client.act(word)
                results.append(told['result'])
        threads = [threading.Thread(target=virsh),
                   *(threading.Thread(target=spice, args=[c])
                     for c in (client, other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(results), 2 * 3 * rounds)
        self.assertLessEqual(set(results), {'ok', 'wrong-state', 'busy'})
        self.assertIn('ok', results)

        # whoever was last: virsh can always make it run
        if vm.state[0] == 'paused':
            vm.virsh('resume')
        vm.wait_tick(vm.console.mark, timeout=120)
        self.assertEqual(vm.qmp('query-status')['status'], 'running')
        client.wait_status(state='on')
        other.wait_status(state='on')
        self.ask(client, 'pause')
        self.assertEqual(vm.state, PAUSED_BY_CLIENT)


class Requests(DomainTestCase):
    """What libvirt makes of a request; most of these need no guest."""

    def setUp(self):
        super().setUp()
        self.lv = self.daemons()

    def started(self, name='machine', guest=False, **options):
        vm = self.lv.domain(name, guest=guest, **options)
        if guest:
            self.booted(vm)
        else:
            vm.start()
        return vm, self.spicy_power(vm, '-', name=f'client of {name}')

    def pending(self, vm, client, word):
        """Ask while libvirtd is stopped, and wait until QEMU has passed it on.

        QEMU's monitor is libvirtd's, so another client tells: to it the
        machine is busy as long as a request is pending.
        """
        def ask():
            with contextlib.suppress(Ended):        # it may be killed
                self.results.append(client.act(word, timeout=ANSWER)[0])
        asker = threading.Thread(target=ask)
        self.results = []
        other = self.spicy_power(vm, '-', name='other')
        other.status()
        os.kill(self.lv.libvirtd.pid, signal.SIGSTOP)
        try:
            asker.start()
            while True:
                # an action that holds already, for which nobody is asked
                told, _ = other.act('continue')
                if told['result'] == 'busy':
                    break
                self.assertEqual(told['result'], 'ok')
        except BaseException:
            os.kill(self.lv.libvirtd.pid, signal.SIGCONT)
            raise
        return asker, other

    def dump(self, vm):
        """A job that does not end before the function returned is called.

        It has a guest's memory to write; without a guest there is too little.
        """
        fifo = vm.run_dir / 'fifo'
        os.mkfifo(fifo)
        # nobody reads it, so the dump waits for somebody
        reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        dump = subprocess.Popen(
            self.lv.command('dump', vm.name, fifo, '--live'),
            env=self.lv.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        @functools.cache
        def done():
            os.close(reading)           # it fails
            dump.wait(TIMEOUT)
        self.addCleanup(done)
        while 'Dump' not in vm.virsh('domjobinfo'):
            self.assertIsNone(dump.poll(), 'the dump has failed')
        return done

    def test_concurrent(self):
        """A second client is busy while the first one's request is pending"""
        vm, client = self.started()
        asker, other = self.pending(vm, client, 'pause')
        os.kill(self.lv.libvirtd.pid, signal.SIGCONT)
        asker.join()
        self.assertEqual(self.results[0]['result'], 'ok')
        self.assertEqual(vm.state, PAUSED_BY_CLIENT)
        self.ask(other, 'continue')

    def test_daemon_is_restarted(self):
        """libvirtd dies with a request pending; the next one sees to it"""
        vm, client = self.started()
        asker, _ = self.pending(vm, client, 'pause')
        self.lv.libvirtd.kill()
        self.lv.libvirtd.wait()
        self.lv.start()
        asker.join()
        self.assertEqual(self.results[0]['result'], 'ok', self.results)
        self.assertEqual(vm.state, PAUSED_BY_CLIENT)
        # what it was paused for has survived, and so has who may continue
        self.lv.stop()
        self.lv.start()
        self.assertEqual(vm.state, PAUSED_BY_CLIENT)
        client.wait_status(possible=['reset', 'power-off', 'continue'])
        self.ask(client, 'continue')

    def test_client_leaves(self):
        """A client that leaves: the next one is not told its result"""
        vm, client = self.started()
        asker, other = self.pending(vm, client, 'pause')
        client.process.kill()
        asker.join()
        # QEMU ends the request; what libvirt does about it is its affair
        while other.act('continue')[0]['result'] == 'busy':
            pass
        os.kill(self.lv.libvirtd.pid, signal.SIGCONT)
        self.ask(other, 'reset')

    def test_job(self):
        """Another job has the domain: busy, with its name, and soon"""
        vm, client = self.started(guest=True)
        done = self.dump(vm)
        mark = self.lv.log.mark
        # an API waits for a job for 30 seconds
        self.ask(client, 'reset', 'busy', r'job: dump \(held by .*CoreDump',
                 timeout=20)
        self.assertEqual(vm.state[0], 'running')
        # nor can it fill the log
        self.assertEqual([line for line in self.lv.log.since(mark)
                          if re.search('Cannot start job|change lock', line)],
                         [])
        done()
        self.ask(client, 'reset')

    def test_dump(self):
        """What a client has paused it may continue after a dump, too"""
        vm, client = self.started()
        self.ask(client, 'pause')
        vm.virsh('dump', vm.run_dir / 'dump')
        self.assertEqual(vm.state, PAUSED_BY_CLIENT)
        self.assertEqual(vm.qmp('query-status')['status'], 'postmigrate')
        client.wait_status(possible=['reset', 'power-off', 'continue'])
        self.ask(client, 'continue')
        self.assertEqual(vm.state[0], 'running')

    def test_narrowed(self):
        """What <power> leaves out is not offered, and denied"""
        vm, client = self.started(
            spice="<power reset='no' powerOff='no' powerOn='no'/>")
        self.assertEqual(set(client.status()['allowed']),
                         {'pause', 'continue'})
        for word in ('reset', 'off', 'on'):
            self.ask(client, word, 'denied', '.')
        self.ask(client, 'pause')
        self.ask(client, 'continue')
        self.assertEqual(vm.state[0], 'running')

    def test_wake_up(self):
        """Power-on wakes up a domain that its guest has suspended"""
        vm = self.lv.domain('sleeper', arguments=SLEEPER_ARGUMENTS,
                            settings='<features><acpi/></features>'
                                     "<pm><suspend-to-mem enabled='yes'/></pm>")
        vm.start()
        vm.watch()
        client = self.spicy_power(vm, '-')
        self.ask(client, 'on')          # nothing to do
        self.wait_event(vm, 0, 'PMSuspended')
        client.wait_status(state='suspended',
                           possible=['reset', 'power-off', 'power-on'])
        mark, log, asleep = vm.events.mark, self.lv.log.mark, vm.console.mark
        self.ask(client, 'on')
        self.audited(vm, log, 'power-on')
        self.wait_event(vm, mark, 'Started Event wakeup')
        self.assertEqual(vm.state, ('running', 'event wakeup'))
        vm.wait_tick(asleep, 6, timeout=120)
        client.wait_status(state='on',
                           possible=['reset', 'power-off', 'pause'])

    def test_off_by_default(self):
        """Without powerControl='yes' there is nothing to see"""
        for power in ('', "powerControl='no'"):
            with self.subTest(power):
                vm = self.lv.domain(f'off{len(power)}', power=power,
                                    guest=False).start()
                self.assertEqual(
                    spicypower.run(vm.uri, 'status').code,
                    spicypower.NO_POWER_CONTROL)

    def test_on_reboot(self):
        """A reset that would end the domain is not made"""
        vm, client = self.started(
            settings='<on_reboot>destroy</on_reboot>')
        client.wait_status(possible=['power-off', 'pause'])
        self.ask(client, 'reset', 'denied', 'reset|reboot')
        self.assertEqual(vm.state[0], 'running')
        self.ask(client, 'pause')
        self.ask(client, 'off')
        self.assertEqual(vm.wait_state('shut off'), 'destroyed')

    def test_on_poweroff(self):
        """Nor a power-off, where libvirt is told to start it again"""
        vm, client = self.started(
            settings='<on_poweroff>restart</on_poweroff>')
        client.wait_status(possible=['reset', 'pause'])
        self.ask(client, 'off', 'denied', 'on_poweroff')
        self.assertEqual(vm.state[0], 'running')
        self.ask(client, 'reset')

    def test_update_device(self):
        """What clients may ask for can be changed while the machine runs"""
        vm, client = self.started(spice="<power powerOff='no'/>")
        client.wait_status(allowed=['reset', 'power-on', 'pause', 'continue'],
                           possible=['reset', 'pause'])
        self.ask(client, 'off', 'denied', 'not enabled')

        with self.subTest('less'):
            vm.update_graphics('<power .*/>',
                               "<power reset='no' powerOff='no'/>")
            client.wait_status(allowed=['power-on', 'pause', 'continue'],
                               possible=['pause'])
            self.ask(client, 'reset', 'denied', 'not enabled')
            self.ask(client, 'pause')
            self.ask(client, 'continue')
            self.assertIn("reset='no'", vm.virsh('dumpxml'))

        with self.subTest('libvirtd is restarted'):
            self.lv.stop()
            self.lv.start()
            self.ask(client, 'reset', 'denied', 'not enabled')
            client.wait_status(allowed=['power-on', 'pause', 'continue'],
                               possible=['pause'])

        with self.subTest('more than it was started with'):
            vm.update_graphics('<power .*/>', '')
            client.wait_status(possible=['reset', 'power-off', 'pause'],
                               allowed=['reset', 'power-off', 'power-on',
                                        'pause', 'continue'])
            self.ask(client, 'reset')

        with self.subTest('all of it'), \
                self.assertRaisesRegex(VirshError, 'power control'):
            vm.update_graphics("powerControl='yes'", "powerControl='no'")
        self.ask(client, 'off')
        self.assertEqual(vm.wait_state('shut off'), 'destroyed')

    def test_too_old_qemu(self):
        """Debian's QEMU has no power control: an error says so"""
        places.need_stock()
        with self.assertRaisesRegex(VirshError, 'power control'):
            self.lv.domain('old', guest=False, emulator=self.old_qemu())
        # and whoever asks beforehand learns it without trying
        self.assertNotIn('spice', self.offers(self.old_qemu()))
        self.assertIn('spice', self.offers(places.QEMU))

    def offers(self, emulator):
        """The types of graphics with power control, for this QEMU."""
        xml = self.lv.virsh('domcapabilities', '--virttype', 'qemu',
                            '--emulatorbin', emulator)
        return re.search(r"<enum name='powerControl'/?>(.*?)</(enum|graphics)>",
                         xml, re.S).group(1)

    def old_qemu(self):
        """A program that runs Debian's QEMU with Debian's libraries."""
        env = places.stock_environment()
        path = self.lv.directory / 'old-qemu'
        words = ' '.join(f"{name}='{env[name]}'" for name in
                         ('LD_LIBRARY_PATH', 'QEMU_MODULE_DIR'))
        path.write_text(f'#!/bin/sh\n{words} exec {places.STOCK_QEMU} "$@"\n')
        path.chmod(0o755)
        return path


class Passwords(DomainTestCase):
    """Two passwords: to look at a domain, and to control its power."""

    ACTIONS = ['reset', 'power-on', 'pause', 'continue']
    PAST, FUTURE = '2010-04-09T15:51:00', '2100-01-01T00:00:00'

    def setUp(self):
        super().setUp()
        self.lv = self.daemons()

    def started(self, *power, **options):
        """A domain whose ordinary password is "look"."""
        vm = self.lv.domain('guarded',
                            power="powerControl='yes' passwd='look'",
                            spice=f"<power powerOff='no' {' '.join(power)}/>",
                            guest=False, **options)
        return vm.start()

    def client(self, vm, password, name=None, word='-'):
        return self.spicy_power(vm, word, options=[f'--password={password}'],
                                name=name or password)

    def check_outside(self, vm, *passwords):
        for password in passwords:
            run = spicypower.run(vm.uri, 'status',
                                 options=[f'--password={password}'])
            self.assertEqual(run.code, spicypower.CONNECT, password)

    def check_looks(self, vm, client):
        """It sees everything, and may do nothing."""
        client.wait_status(state='on', allowed=[], possible=[])
        for word in ('pause', 'reset', 'continue'):
            self.ask(client, word, 'denied', 'password')
        self.assertEqual(vm.state[0], 'running')

    def check_acts(self, vm, client):
        client.wait_status(state='on', possible=['reset', 'pause'])
        self.assertEqual(set(client.status()['allowed']), set(self.ACTIONS))
        log = self.lv.log.mark
        self.ask(client, 'pause')
        self.assertEqual(vm.state, PAUSED_BY_CLIENT)
        self.audited(vm, log, 'pause', ticket='power')
        self.ask(client, 'continue')
        self.assertEqual(vm.state[0], 'running')

    def test_both(self):
        """Who has the ordinary one looks on, who has the other one acts"""
        vm = self.started("passwd='press'")
        looks, acts = self.client(vm, 'look'), self.client(vm, 'press')
        self.check_looks(vm, looks)
        self.check_acts(vm, acts)
        self.check_outside(vm, '', 'other', 'presslook')

        with self.subTest('the one who looks on sees what the other one does'):
            self.ask(acts, 'pause')
            looks.wait_status(state='paused', allowed=[], possible=[])
            self.ask(looks, 'continue', 'denied', 'password')
            self.assertEqual(vm.state, PAUSED_BY_CLIENT)
            self.ask(acts, 'continue')

        with self.subTest('virsh does not show it to everybody'):
            self.assertNotIn('press', vm.virsh('dumpxml'))
            self.assertIn(" passwd='press'",
                          vm.virsh('dumpxml', '--security-info'))

        with self.subTest('it is still there when the domain is restarted'):
            vm.virsh('destroy')
            vm.start()
            self.check_looks(vm, self.client(vm, 'look', 'looks again'))
            self.check_acts(vm, self.client(vm, 'press', 'acts again'))

    def test_update(self):
        """virsh update-device changes it, and when it expires"""
        vm = self.started("passwd='press'")
        looks, acts = self.client(vm, 'look'), self.client(vm, 'press')
        self.check_looks(vm, looks)
        self.check_acts(vm, acts)

        vm.update_graphics("passwd='press'", "passwd='other'")
        self.check_outside(vm, 'press')
        self.check_acts(vm, self.client(vm, 'other'))
        # who has come with the old one stays
        self.check_acts(vm, acts)

        with self.subTest('expired'):
            vm.update_graphics("passwd='other'",
                               f"passwd='other' passwdValidTo='{self.PAST}'")
            self.check_outside(vm, 'other')
            self.check_acts(vm, acts)
            self.check_looks(vm, looks)

        with self.subTest('libvirtd is restarted'):
            self.lv.stop()
            self.lv.start()
            self.check_outside(vm, 'other')
            vm.update_graphics(self.PAST, self.FUTURE)
            self.check_acts(vm, self.client(vm, 'other', 'renewed'))

        with self.subTest('a viewer is connected'), \
                wire.Client(vm.connect(), ticket='look') as viewer:
            viewer.wait_init()
            watchers = [self.client(vm, password, f'{password} watches',
                                    'monitor')
                        for password in ('look', 'other')]
            for watcher in watchers:
                watcher.wait_state('on', 0)
            with self.assertRaisesRegex(VirshError, 'connected'):
                vm.update_graphics(
                    "passwd='other'", "passwd='press' connected='fail'")
            self.check_outside(vm, 'press')
            vm.update_graphics(
                "passwd='other'", "passwd='press' connected='disconnect'")
            viewer.until_end()
            for watcher in watchers:
                watcher.output.wait_end()
            self.check_acts(vm, self.client(vm, 'press', 'in place of acts'))

        with self.subTest('the ordinary one has a time of its own'):
            vm.update_graphics("passwd='look'",
                               f"passwd='look' passwdValidTo='{self.PAST}'")
            self.check_outside(vm, 'look')
            self.check_acts(vm, self.client(vm, 'press', 'after look'))

        with self.subTest('none for the moment'):
            vm.update_graphics("passwd='press'", "passwd=''")
            self.check_outside(vm, 'press', '')

        with self.subTest('it cannot be removed'), \
                self.assertRaisesRegex(VirshError, 'remove'):
            vm.update_graphics(" passwd=''", '')

    def test_add(self):
        """While it runs: clients that are connected lose the power, too"""
        vm = self.started()
        before = self.client(vm, 'look')
        self.ask(before, 'pause')
        self.ask(before, 'continue')
        vm.update_graphics("<power powerOff='no'",
                           "<power powerOff='no' passwd='press'")
        self.check_looks(vm, before)
        self.check_acts(vm, self.client(vm, 'press'))
        self.lv.stop()
        self.lv.start()
        with self.assertRaisesRegex(VirshError, 'remove'):
            vm.update_graphics(" passwd='press'", '')
        self.check_looks(vm, before)

    def test_empty(self):
        """The empty one: nobody may act until there is another one"""
        vm = self.started("passwd=''")
        looks = self.client(vm, 'look')
        self.check_looks(vm, looks)
        self.check_outside(vm, '')
        vm.update_graphics(" passwd=''", " passwd='press'")
        self.check_acts(vm, self.client(vm, 'press'))
        self.check_looks(vm, looks)

    def test_no_ordinary_one(self):
        """Everybody may connect, and it takes the password to act"""
        vm = self.lv.domain('open', spice="<power passwd='press'/>",
                            guest=False).start()
        looks = self.spicy_power(vm, '-', name='looks')
        self.check_looks(vm, looks)
        acts = self.client(vm, 'press')
        self.ask(acts, 'pause')
        self.ask(acts, 'continue')
        self.check_looks(vm, looks)

    def test_one_only(self):
        """With one password, whoever has it may act, and that is on record"""
        vm = self.lv.domain('one', power="powerControl='yes' passwd='look'",
                            guest=False).start()
        log = self.lv.log.mark
        self.ask(self.client(vm, 'look'), 'pause')
        self.audited(vm, log, 'pause', ticket='ordinary')


class Sasl(DomainTestCase):
    def setUp(self):
        super().setUp()
        directory = self.enterContext(
            tempfile.TemporaryDirectory(prefix='spice-power-'))
        self.users = sasl.Users(directory, 'DIGEST-MD5')
        self.users.add('ann', 'open sesame')
        self.lv = self.daemons(qemu_conf='spice_sasl = 1\n'
                                         f'spice_sasl_dir = "{directory}"\n')

    def test_user(self):
        """The user's name is on record"""
        vm = self.lv.domain('users', guest=False).start()
        log = self.lv.log.mark
        run = spicypower.run(vm.uri_of('ann'), 'pause',
                             options=['--password=open sesame'])
        self.assertEqual(run.code, spicypower.OK, run.err)
        self.assertEqual(vm.state, PAUSED_BY_CLIENT)
        self.audited(vm, log, 'pause', user='ann')

    def client(self, vm, user, word='-'):
        class Named:
            uri, log_dir = vm.uri_of(user), vm.log_dir
        return self.spicy_power(Named, word, name=f'{user} {word}'.strip(' -'),
                                options=['--password=open sesame'])

    def test_users(self):
        """Who is named may act; the names change while all are connected"""
        self.users.add('bob', 'open sesame')
        vm = self.lv.domain(
            'named', spice="<power powerOff='no'><user name='an*'/></power>",
            guest=False).start()
        clients = {user: self.client(vm, user) for user in ('ann', 'bob')}
        all_allowed = ['reset', 'power-on', 'pause', 'continue']

        def check(may, may_not):
            clients[may].wait_status(allowed=all_allowed)
            clients[may_not].wait_status(state='on', allowed=[], possible=[])
            log = self.lv.log.mark
            self.ask(clients[may_not], 'pause', 'denied', 'not one of those')
            self.ask(clients[may], 'pause')
            self.assertEqual(vm.state, PAUSED_BY_CLIENT)
            self.audited(vm, log, 'pause', user=may)
            self.ask(clients[may], 'continue')

        check('ann', 'bob')
        vm.update_graphics(r"<user name='an\*'/>", "<user name='bob'/>")
        self.assertIn("<user name='bob'/>", vm.virsh('dumpxml'))
        check('bob', 'ann')
        with self.subTest('libvirtd is restarted'):
            self.lv.stop()
            self.lv.start()
            check('bob', 'ann')
            vm.update_graphics("<user name='bob'/>",
                               "<user name='carol'/><user name='a?n'/>")
            check('ann', 'bob')
        with self.subTest('nobody'):
            vm.update_graphics("<user .*/>", "<user name=''/>")
            for client in clients.values():
                client.wait_status(state='on', allowed=[], possible=[])
                self.ask(client, 'reset', 'denied', 'not one of those')
        with self.subTest('the list cannot be taken away'), \
                self.assertRaisesRegex(VirshError, 'add or remove'):
            vm.update_graphics("<user .*/>", '')

    def test_no_list(self):
        """All may act, and a list cannot be added while it runs"""
        vm = self.lv.domain('all', spice="<power powerOff='no'/>",
                            guest=False).start()
        self.ask(self.client(vm, 'ann'), 'pause')
        with self.assertRaisesRegex(VirshError, 'add or remove'):
            vm.update_graphics("<power powerOff='no'/>", "<power powerOff="
                               "'no'><user name='ann'/></power>")

    def test_no_password(self):
        """A password for power control would have no effect: refused"""
        with self.assertRaisesRegex(VirshError, 'SASL'):
            self.lv.domain('both', spice="<power passwd='press'/>",
                           guest=False)


class Home(DomainTestCase):
    def test_home(self):
        """When the domain ends its clients go where <home> says"""
        home = self.machine('power=on,actions=pause:continue', tcp=True,
                            name='home')
        home.qmp.execute('stop')
        vm = self.daemons().domain(
            'leaving', guest=False,
            spice=f"<home host='127.0.0.1' port='{home.port}'/>")
        for how in ('virsh destroy', 'power-off'):
            with self.subTest(how):
                vm.start()
                monitor = self.spicy_power(vm, 'monitor', name=how)
                monitor.wait_state('on', 0)
                mark = monitor.output.mark
                if how == 'power-off':
                    run = spicypower.run(vm.uri, 'off')
                    self.assertEqual(run.code, spicypower.OK, run.err)
                else:
                    vm.virsh('destroy')
                monitor.wait_state('paused', mark)
                vm.wait_state('shut off')


class Migration(DomainTestCase):
    def test_paused(self):
        """Clients go along; what one has paused is an admin's then"""
        here = self.daemons()
        there = self.daemons(host_uuid=str(uuid.uuid4()))
        vm = here.domain('moving', guest=False).start()
        watcher = self.spicy_power(vm, 'monitor', name='watcher')
        watcher.wait_state('on', 0)
        self.ask(self.spicy_power(vm, '-', name='before'), 'pause')
        vm.virsh('migrate', there.uri, '--live', '--persistent',
                 '--undefinesource', '--migrateuri', 'tcp://127.0.0.1')
        here.domains.remove(vm)
        there.domains.append(vm)
        vm.libvirt = there
        self.assertEqual(vm.state, ('paused', 'user'))
        after = self.spicy_power(vm, '-', name='after')
        after.wait_status(state='paused', possible=['reset', 'power-off'])
        self.ask(after, 'continue', 'wrong-state', 'not paused by a client')
        # who has come along sees what happens there
        mark = watcher.output.mark
        vm.virsh('resume')
        watcher.wait_state('on', mark)
        self.ask(after, 'pause')
        self.assertEqual(vm.state, PAUSED_BY_CLIENT)

        with self.subTest('to a file, and back'):
            vm.virsh('managedsave')
            vm.start()
            self.assertEqual(vm.state[0], 'paused')
            client = self.spicy_power(vm, '-', name='restored')
            client.wait_status(state='paused', possible=['reset', 'power-off'])
            self.ask(client, 'continue', 'wrong-state',
                     'not paused by a client')


class Leases(DomainTestCase):
    def test_lockd(self):
        """A client's pause gives leases back; to continue takes them again"""
        lv = self.daemons(lockd=True)
        # a lease and not a disk, because QEMU has locks of its own for disks
        first, second = (lv.domain(name, guest=False,
                                   devices=lv.lease('disk'))
                         for name in ('first', 'second'))
        first.start()
        client = self.spicy_power(first, '-')
        with self.assertRaisesRegex(VirshError, 'lock'):
            second.virsh('start')
        self.ask(client, 'pause')
        second.start()
        self.ask(client, 'continue', 'busy', 'Lockspace resource')
        self.assertEqual(first.state[0], 'paused')
        other = self.spicy_power(second, '-', name='other')
        self.ask(other, 'off')
        second.wait_state('shut off')
        self.ask(client, 'continue')
        self.assertEqual(first.state[0], 'running')
        with self.assertRaisesRegex(VirshError, 'lock'):
            second.virsh('start')


if __name__ == '__main__':
    case.main()
