#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Power-off where QEMU ends with its machine.

The client is told that it worked before the connection closes: each time, so
this is done many times.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, spicypower, wire    # noqa: E402

TIMES = 50


class PowerOff(case.PowerTestCase):
    def check(self, **options):
        for number in range(TIMES):
            vm = self.machine(name='qemu', **options)
            client = self.client(vm)
            client.wait_state('on')
            mark = vm.qmp.mark()
            # nothing reads the monitor's reply here: QEMU is ending
            states, result = client.act('power-off', number)
            self.assertEqual(result, (number, 'ok', ''))
            self.assertEqual([s.state for s in states], ['off'])
            self.assertEqual(states[-1].actions, ())
            kinds = [m.type for m in client.until_end()]
            self.assertNotIn(wire.MSG_POWER_RESULT, kinds)
            self.assertEqual(vm.wait_exit(), 0)
            vm.qmp.wait_event('SPICE_POWER_RESULT', mark, action='power-off',
                              result='ok')
            shutdown = vm.qmp.wait_event('SHUTDOWN', mark)
            self.assertEqual(shutdown['data'],
                             {'guest': False, 'reason': 'host-ui'})
            client.close()
            vm.close()

    def test_unix(self):
        """Over a UNIX socket."""
        self.check()

    def test_tcp(self):
        """Over TCP."""
        self.check(tcp=True)

    def test_tls(self):
        """Over TLS."""
        self.check(tls=self.authority())

    def test_slow_reader(self):
        """The result is behind much that the client has not read yet.

        Over TCP the server begins with a ping of 256 KB, more than fits into
        this client's socket.
        """
        authority = self.authority()
        for options in ({'tcp': True}, {'tls': authority}):
            with self.subTest(tuple(options)):
                vm = self.machine(name=next(iter(options)), **options)
                client = self.enterContext(
                    wire.Client(vm.connect(receive_buffer=4096)))
                client.wait_init()
                mark = vm.qmp.mark()
                client.request('power-off', 1)
                vm.qmp.wait_event('SHUTDOWN', mark)
                self.assertEqual(client.wait_result(), (1, 'ok', ''))
                client.until_end()
                self.assertEqual(vm.wait_exit(), 0)

    def test_spicy_power(self):
        """spicy-power says ok, and exits with 0."""
        authority = self.authority()
        for options in ({}, {'tcp': True}, {'tls': authority}):
            for _ in range(10):
                vm = self.machine(**options)
                run = spicypower.run(vm.uri, 'off',
                                     options=authority.options)
                self.assertEqual((run.code, run.result), (0, 'ok'), run.err)
                self.assertEqual(vm.wait_exit(), 0)
                vm.close()

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
