#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Power-off where QEMU ends with its machine.

The client is told that it worked before the connection closes: each time, so
this is done many times.
"""

import signal
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, spicypower, wire    # noqa: E402
from powertest.machine import Machine           # noqa: E402
from powertest.record import TIMEOUT, Ended     # noqa: E402

TIMES = case.depth(60, 200)     # for each transport
AT_ONCE = 4             # machines
ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'


class PowerOff(case.PowerTestCase):
    many_clients = True

    def many(self, once, times=TIMES, **options):
        """Do that so many times, with a machine each, several at a time."""
        names = iter(f'qemu{number}' for number in range(AT_ONCE))
        local = threading.local()

        def run(number):
            with Machine(self.log_dir, name=local.name, **options) as vm:
                return once(vm, number)

        def begin():
            local.name = next(names)    # the name of its logs

        with ThreadPoolExecutor(AT_ONCE, initializer=begin) as pool:
            done = list(pool.map(run, range(times)))
        print(f'  {len(done)} of {times}', flush=True)
        return done

    def power_off(self, vm, number):
        """The client gets state and result, and then the connection ends."""
        with wire.Client(vm.connect()) as client:
            client.wait_state('on')
            mark = vm.qmp.mark()
            # nothing reads the monitor's reply here: QEMU is ending
            states, result = client.act('power-off', number)
            self.assertEqual(result, (number, 'ok', ''))
            self.assertEqual([s.state for s in states], ['off'])
            self.assertEqual(states[-1].possible, ())
            kinds = [m.type for m in client.until_end()]
            self.assertNotIn(wire.MSG_POWER_RESULT, kinds)
            self.assertEqual(vm.wait_exit(), 0)
            vm.qmp.wait_event(TOLD, mark, action='power-off', result='ok')
            shutdown = vm.qmp.wait_event('SHUTDOWN', mark)
            self.assertEqual(shutdown['data'],
                             {'guest': False, 'reason': 'host-ui'})

    def test_unix(self):
        """Over a UNIX socket."""
        self.many(self.power_off)

    def test_tcp(self):
        """Over TCP."""
        self.many(self.power_off, tcp=True)

    def test_tls(self):
        """Over TLS."""
        self.many(self.power_off, tls=self.authority())

    def test_many_clients(self):
        """One of 20 clients asks: it gets the result, and nobody else."""
        for options in ({}, {'tcp': True}):
            vm = self.machine(name='-'.join(['qemu', *options]), **options)
            clients = [self.client(vm) for _ in range(20)]
            self.assertEqual(clients[7].act('power-off', 7)[1], (7, 'ok', ''))
            for client in clients:
                kinds = [m.type for m in client.until_end()]
                self.assertNotIn(wire.MSG_POWER_RESULT, kinds)
            self.assertEqual(vm.wait_exit(), 0)

    def test_pause(self):
        """shutdown=pause: the result, and the connection stays."""
        for options in ({}, {'tcp': True}, {'tls': self.authority()}):
            vm = self.machine(name='-'.join(['qemu', *options]),
                              extra=('-action', 'shutdown=pause'), **options)
            client = self.client(vm)
            client.wait_state('on')
            for number in range(TIMES):
                action, state = (('power-off', 'off'),
                                 ('power-on', 'on'))[number % 2]
                states, result = client.act(action, number)
                self.assertEqual(result, (number, 'ok', ''))
                self.assertEqual([s.state for s in states][-1], state)
            print(f'  {number + 1} of {TIMES}', flush=True)

    # --- others end QEMU -----------------------------------------------------

    def told_alike(self, vm, client, mark):
        """The client has what the monitor has: each result, the same."""
        told = [wire.PowerResult.parse(m.body) for m in client.received
                if m.type == wire.MSG_POWER_RESULT]
        vm.qmp.events.wait_end()
        events = vm.qmp.events.since(mark)
        asked = [e['data']['request-id'] for e in events
                 if e['event'] == ASKED]
        self.assertEqual(told, [
            (e['data']['request-id'], e['data']['result'],
             e['data'].get('message', ''))
            for e in events if e['event'] == TOLD])
        self.assertEqual([result.request_id for result in told], asked)
        # what is true is what has happened before, and in this order
        for result in told:
            at = events.index(next(e for e in events if e['event'] == TOLD))
            names = [e['event'] for e in events[:at]]
            if result.result == 'ok':
                self.assertTrue({'reset': 'RESET', 'pause': 'STOP',
                                 'power-off': 'SHUTDOWN'}
                                [events[at]['data']['action']] in names, names)
        return [result.result for result in told]

    def at_once(self, vm, number):
        """A request, and another reason to end, at nearly the same time."""
        action = ('reset', 'power-off', 'pause')[number % 3]
        reason = (self.by_quit, self.by_signal, self.by_powerdown_and_quit)[
            number // 3 % 3]
        frozen = number // 9 % 2
        with wire.Client(vm.connect()) as client:
            client.wait_state('on')
            mark = vm.qmp.mark()
            if frozen:                  # QEMU will see both together
                vm.process.send_signal(signal.SIGSTOP)
            client.request(action, number)
            quitter = threading.Timer(number % 12 * 20e-6, reason, (vm,))
            quitter.start()
            if frozen:
                time.sleep(0.01)        # both are sent, or nearly
                vm.process.send_signal(signal.SIGCONT)
            client.until_end()
            quitter.join()
            self.assertEqual(vm.wait_exit(), 0)
            return self.told_alike(vm, client, mark)

    @staticmethod
    def by_quit(vm):
        try:
            vm.qmp.execute('quit')
        except Ended:
            pass                        # it had no time to answer

    @staticmethod
    def by_signal(vm):
        vm.process.send_signal(signal.SIGTERM)

    def by_powerdown_and_quit(self, vm):
        try:
            vm.qmp.execute('system_powerdown')
        except Ended:
            pass
        self.by_quit(vm)

    def test_others_end_it(self):
        """quit, system_powerdown, SIGTERM: what the client is told is true.

        It may be told nothing where QEMU ends before it looks at the request.
        """
        outcomes = {}
        for options in ({}, {'tls': self.authority()}):
            for results in self.many(self.at_once, times=108, **options):
                for result in results or ['not seen']:
                    outcomes[result] = outcomes.get(result, 0) + 1
        print(f'  {outcomes}', flush=True)
        self.assertGreater(outcomes.get('ok', 0), 0)
        self.assertLessEqual(set(outcomes), {'ok', 'failed', 'busy',
                                             'wrong-state', 'not seen'})

    def asked_as_it_ends(self, directory):
        """A client ends QEMU while 32 monitors ask it something."""
        monitors = [f'{directory}/monitor{number}' for number in range(32)]
        extra = [option for number, path in enumerate(monitors) for option in (
            '-chardev',
            f'socket,id=monitor{number},path={path},server=on,wait=off',
            '-mon', f'chardev=monitor{number},mode=control')]
        with ExitStack() as stack:
            vm = stack.enter_context(Machine(self.log_dir, extra=extra))
            client = stack.enter_context(wire.Client(vm.connect()))
            client.wait_state('on')
            asking = []
            for path in monitors:
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.settimeout(TIMEOUT)
                sock.connect(path)
                lines = stack.enter_context(sock.makefile('rb'))
                lines.readline()                        # the greeting
                sock.sendall(b'{"execute": "qmp_capabilities"}')
                self.assertIn(b'return', lines.readline())
                asking.append(sock)
            client.request('power-off', 1)
            self.assertEqual(client.wait_result(), (1, 'ok', ''))
            try:
                for sock in asking:
                    sock.sendall(b'{"execute": "query-status"}')
            except OSError:
                pass                    # QEMU has closed it
            self.assertEqual(vm.wait_exit(), 0)

    def test_asked_as_it_ends(self):
        """Commands of monitors while QEMU ends.

        A command that came when the monitors were being closed was a crash.
        """
        with tempfile.TemporaryDirectory(prefix='spice-power-') as directory:
            for _ in range(50):
                self.asked_as_it_ends(directory)

    # --- clients that are slow -----------------------------------------------

    def test_slow_reader(self):
        """The result is behind much that the client has not read yet.

        Over TCP the server begins with a ping of 256 KB, more than fits into
        this client's socket.
        """
        def once(vm, number):
            with wire.Client(vm.connect(receive_buffer=4096)) as client:
                client.wait_init()
                mark = vm.qmp.mark()
                client.request('power-off', number)
                vm.qmp.wait_event('SHUTDOWN', mark)
                self.assertEqual(client.wait_result(), (number, 'ok', ''))
                client.until_end()
                self.assertEqual(vm.wait_exit(), 0)

        for options in ({'tcp': True}, {'tls': self.authority()}):
            self.many(once, **options)

    def test_no_ack(self):
        """A client that answers nothing: no ping, no request for an ack."""
        for options in ({}, {'tcp': True}):
            vm = self.machine(name='-'.join(['qemu', *options]), **options)
            client = self.client(vm)
            client._answer = lambda message: None
            for number in range(TIMES):
                self.assertEqual(client.act('continue', number)[1],
                                 (number, 'ok', ''))
            self.assertEqual(client.act('power-off', 0)[1], (0, 'ok', ''))
            self.assertEqual(vm.wait_exit(), 0)

    def test_does_not_read(self):
        """A client that never reads delays QEMU's end by 5 seconds at most."""
        vm = self.machine(tcp=True)
        client = self.enterContext(
            wire.Client(vm.connect(receive_buffer=4096)))
        client.wait_init()
        mark = vm.qmp.mark()
        begin = time.monotonic()
        client.request('power-off', 1)
        vm.qmp.wait_event('SHUTDOWN', mark)
        self.assertEqual(vm.wait_exit(), 0)
        self.assertLess(time.monotonic() - begin, 5 + 2)

    def test_spicy_power(self):
        """spicy-power says ok, and exits with 0."""
        authority = self.authority()
        for options in ({}, {'tcp': True}, {'tls': authority}):
            def once(vm, number):
                run = spicypower.run(vm.uri, 'off',
                                     options=authority.options)
                self.assertEqual((run.code, run.result), (0, 'ok'), run.err)
                self.assertEqual(vm.wait_exit(), 0)
            self.many(once, times=10, **options)

    def test_guest(self):
        """The real guest: off, and QEMU is gone."""
        vm = self.guest(extra=())
        run = spicypower.run(vm.uri, 'off')
        self.assertEqual((run.code, run.result), (0, 'ok'), run.err)
        self.assertEqual(vm.wait_exit(), 0)

    def test_paused_guest(self):
        """The same while it is paused."""
        vm = self.guest(extra=())
        run = spicypower.run(vm.uri, 'pause', 'off')
        self.assertEqual((run.code, run.result), (0, 'ok'), run.err)
        self.assertEqual(vm.wait_exit(), 0)


if __name__ == '__main__':
    case.main()
