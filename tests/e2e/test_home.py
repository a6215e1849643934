#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU that sends its clients home when it ends.

Home is another server, which is there while the machine is off; here it is
another QEMU, with another state.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places, spicypower, wire    # noqa: E402

HOME = 'home=home.example.org,home-port=5900,home-tls-port=5901'
THERE = wire.SwitchHost('home.example.org', 5900, 5901)
# how long QEMU waits for a client that does not go, in seconds
WAITS = 3
KINDS = {'an old client': (), 'a viewer': (wire.CAP_POWER_CONTROL,),
         'a control client': wire.CONTROL_CAPS}


class Home(case.PowerTestCase):
    def connected(self, vm, caps):
        client = self.client(vm, caps=caps)
        client.fence()
        return client

    def sent(self, *clients, there=THERE):
        """What each was told, last of it where to go, and that once."""
        told = [client.until_sent_away() for client in clients]
        for client, messages in zip(clients, told):
            self.assertEqual(client.until_end(), [])
            self.assertEqual([wire.SwitchHost.parse(m.body) for m in messages
                              if m.type == wire.MSG_MIGRATE_SWITCH_HOST],
                             [there])
        return told

    def test_all_ends(self):
        """However QEMU ends, and whatever kind the clients are of."""
        def by_signal(vm):
            os.kill(vm.process.pid, signal.SIGTERM)

        ends = {'SIGTERM': by_signal,
                'quit': lambda vm: vm.qmp.execute('quit')}
        for how, end in ends.items():
            for kind, caps in KINDS.items():
                with self.subTest(f'{how}, {kind}'):
                    vm = self.machine(f'power=on,{HOME}', tcp=True,
                                      name=f'{how}-{kind}'.replace(' ', '-'))
                    client = self.connected(vm, caps)
                    end(vm)
                    self.sent(client)
                    self.assertEqual(vm.wait_exit(), 0)

    def test_power_off(self):
        """The client that powers it off has its result before."""
        vm = self.machine(f'power=on,{HOME}', tcp=True)
        viewer = self.connected(vm, (wire.CAP_POWER_CONTROL,))
        control = self.connected(vm, wire.CONTROL_CAPS)
        control.request('power-off', 1)
        told, _ = self.sent(control, viewer)
        self.assertEqual(
            [m.type for m in told if m.type in (wire.MSG_POWER_RESULT,
                                                wire.MSG_MIGRATE_SWITCH_HOST)],
            [wire.MSG_POWER_RESULT, wire.MSG_MIGRATE_SWITCH_HOST])
        self.assertEqual(vm.wait_exit(), 0)

    def test_without_power_control(self):
        """It has nothing to do with power control."""
        vm = self.machine(f'home={THERE.host},home-port=5900', tcp=True)
        client = self.connected(vm, ())
        vm.qmp.execute('quit')
        self.sent(client, there=wire.SwitchHost(THERE.host, 5900, 0))

    def test_stays(self):
        """Nobody goes home while QEMU is there."""
        vm = self.machine(f'power=on,{HOME}', extra=('-action',
                                                     'shutdown=pause'))
        client = self.connected(vm, (wire.CAP_POWER_CONTROL,))
        for number, action in enumerate(('reset', 'pause', 'continue',
                                         'power-off', 'power-on')):
            _, result = client.act(action, number)
            self.assertEqual(result.result, 'ok', result)
        self.assertNotIn(wire.MSG_MIGRATE_SWITCH_HOST,
                         [m.type for m in client.received])
        vm.qmp.execute('quit')
        self.sent(client)

    def leave(self, vm, *, told):
        """The machine goes to another QEMU, and this one ends."""
        target = self.machine(tcp=True, extra=('-incoming', 'defer'),
                              name='target')
        where = f'unix:{target.run_dir}/migration'
        target.qmp.execute('migrate-incoming', uri=where)
        mark = target.qmp.mark()
        if told:
            vm.qmp.execute('client_migrate_info', protocol='spice',
                           hostname='127.0.0.1', port=target.port)
        vm.qmp.execute('migrate', uri=where)
        target.qmp.wait_event('RESUME', mark)
        while vm.qmp.status != 'postmigrate':
            pass                        # there is no event for this
        vm.qmp.execute('quit')
        return wire.SwitchHost('127.0.0.1', target.port, 0)

    def test_migrated(self):
        """Who was told to go with the machine is told nothing else."""
        vm = self.machine(f'power=on,{HOME}')
        client = self.connected(vm, wire.CONTROL_CAPS)
        there = self.leave(vm, told=True)
        self.assertEqual([wire.SwitchHost.parse(m.body)
                          for m in client.until_end()
                          if m.type == wire.MSG_MIGRATE_SWITCH_HOST], [there])

    def test_migrated_alone(self):
        """Who was not told where it has gone can ask at home."""
        vm = self.machine(f'power=on,{HOME}')
        client = self.connected(vm, wire.CONTROL_CAPS)
        self.leave(vm, told=False)
        self.sent(client)

    def test_saved(self):
        """A machine that is saved is off, and its clients are at home."""
        for kind, caps in KINDS.items():
            with self.subTest(kind):
                vm = self.machine(f'power=on,{HOME}', tcp=True,
                                  name=f'saved-{kind}'.replace(' ', '-'))
                client = self.connected(vm, caps)
                vm.qmp.execute('migrate', uri=f'file:{vm.run_dir}/saved')
                while vm.qmp.status != 'postmigrate':
                    pass                # there is no event for this
                vm.qmp.execute('quit')
                self.sent(client)

    def test_still_here(self):
        """QEMU waits for who has not gone yet, but not for ever."""
        vm = self.machine(f'power=on,{HOME}')
        client = self.connected(vm, wire.CONTROL_CAPS)
        before = time.monotonic()
        vm.qmp.execute('quit')
        while client.receive().type != wire.MSG_MIGRATE_SWITCH_HOST:
            pass
        # what it says is for nobody, and does not reset the connection
        client.send(wire.MSGC_ATTACH_CHANNELS)
        with self.assertRaises(wire.Disconnected):
            client.receive()
        self.assertGreater(time.monotonic() - before, WAITS - 0.5)
        self.assertEqual(vm.wait_exit(), 0)

    def test_not_reading(self):
        """Nor for one who reads nothing; the others have gone then."""
        vm = self.machine(f'power=on,{HOME}')
        client = self.enterContext(wire.Client(
            vm.connect(receive_buffer=4096)))
        for _ in range(900):
            client.send(wire.MSGC_ATTACH_CHANNELS)
        other = self.connected(vm, wire.CONTROL_CAPS)
        vm.qmp.execute('quit')
        self.sent(other)
        # with a limit of its own for what hangs
        self.assertEqual(vm.wait_exit(), 0)

    def test_follow(self):
        """spicy-power goes on there, with the password that it has."""
        home = self.machine('power=on,actions=pause:continue', tcp=True,
                            ticket='sesame', name='home')
        home.qmp.execute('stop')
        vm = self.machine(f'power=on,home=127.0.0.1,home-port={home.port}',
                          tcp=True, ticket='sesame')
        monitor = self.spicy_power(vm, 'monitor',
                                   options=['--password=sesame'])
        monitor.wait_state('on', 0)
        mark = monitor.output.mark
        run = spicypower.run(vm.uri, 'off', options=['--password=sesame'])
        self.assertEqual(run.code, spicypower.OK, run.err)
        state = monitor.wait_state('paused', mark)
        self.assertEqual(state['allowed'], ['pause', 'continue'])
        mark = monitor.output.mark
        home.qmp.execute('cont')
        monitor.wait_state('on', mark)

    def test_wrong_options(self):
        """A home that is none is an error at start."""
        for options, error in (
                ('home=a.example.org', 'no port is given'),
                ('home-port=5900', 'no home is given'),
                ('home=,home-port=5900', 'no home is given'),
                ('home=a,home-port=65536', 'home-port=65536 is no port'),
                ('home=a,home-tls-port=100000', 'home-tls-port=100000 is no'),
                ('home=a,home-port=x', "home-port")):
            with self.subTest(options):
                run = subprocess.run(
                    [places.qemu().path, '-machine', 'none', '-display',
                     'none', '-spice', f'unix=on,addr={self.log_dir}/none,'
                     f'disable-ticketing=on,{options}'],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True,
                    env={**os.environ, **places.qemu().env}, timeout=60)
                self.assertEqual(run.returncode, 1, run)
                self.assertIn(error, run.stderr)


if __name__ == '__main__':
    case.main()
