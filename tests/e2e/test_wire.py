#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is on the wire, byte by byte, and what a client may send.

The client here is made from the protocol's documentation alone: see
tests/lib/powertest/wire.py.
"""

import random
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, wire            # noqa: E402
from powertest.qmp import QMPError          # noqa: E402

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
# What every SPICE client of the last ten years sets
OLD_CAPS = (wire.CAP_SEMI_SEAMLESS_MIGRATE, wire.CAP_NAME_AND_UUID,
            wire.CAP_AGENT_CONNECTED_TOKENS, wire.CAP_SEAMLESS_MIGRATE)
# The last BUSY in a row, which ends the connection
BUSY_LIMIT = 17
# Something that draws, so that there is more than a main channel; no guest
SCREEN = ('-machine', 'pc', '-accel', 'tcg', '-m', '16', '-nodefaults',
          '-device', 'VGA')


class Wire(case.PowerTestCase):
    def assertServes(self, machine):
        """The machine's monitor, and the server for a new client, work."""
        self.assertEqual(machine.qmp.status, 'running')
        client = self.client(machine)
        self.assertEqual(client.wait_state().state, 'on')
        self.assertEqual(client.act('pause', 1)[1].result, 'ok')
        self.assertEqual(client.act('continue', 2)[1].result, 'ok')
        client.close()

    # --- capabilities and states ---------------------------------------------

    def test_capabilities(self):
        """What is configured is what is advertised, action by action."""
        cases = {'': wire.ACTIONS}
        for action in wire.ACTIONS:
            cases[f',actions={action}'] = (action,)
        cases[',actions=pause:reset'] = ('reset', 'pause')
        for number, (option, actions) in enumerate(cases.items()):
            with self.subTest(option):
                vm = self.machine('power=on' + option, name=f'qemu{number}')
                client = self.client(vm)
                self.assertIn(wire.CAP_POWER_CONTROL, client.caps)
                self.assertEqual(client.configured, actions)
                self.assertEqual(vm.spice()['power']['actions'],
                                 list(actions))
                # possible is always a subset of configured
                possible = client.wait_state().actions
                self.assertEqual(possible, tuple(
                    a for a in ('reset', 'power-off', 'pause')
                    if a in actions))

    def test_state_follows_init(self):
        """One POWER_STATE, right after INIT; its bytes are as documented."""
        vm = self.machine()
        client = wire.Client(vm.connect())
        self.addCleanup(client.close)
        client.wait_init()
        client.fence()
        kinds = [m.type for m in client.received]
        self.assertEqual(kinds.count(wire.MSG_POWER_STATE), 1)
        self.assertLess(kinds.index(wire.MSG_INIT),
                        kinds.index(wire.MSG_POWER_STATE))
        body = next(m.body for m in client.received
                    if m.type == wire.MSG_POWER_STATE)
        # ON; reset, power-off and pause are bits 0, 1 and 3
        self.assertEqual(body, b'\x02' + b'\x0b\0\0\0')

    def test_result_bytes(self):
        """The bytes of a result, with a reason and without."""
        vm = self.machine()
        client = self.client(vm)
        client.request('continue', 0xfedcba98)
        self.assertEqual(client.wait(wire.MSG_POWER_RESULT).body,
                         b'\x98\xba\xdc\xfe' + b'\0' + b'\0\0\0\0')
        vm.qmp.execute('stop')
        client.request('continue', 0)
        body = client.wait(wire.MSG_POWER_RESULT).body
        text = body[9:]
        self.assertEqual(body[:9], struct.pack('<IBI', 0, 2, len(text)))
        self.assertTrue(text.decode())
        self.assertNotIn(b'\0', text)

    def test_full_header(self):
        """The older, longer message header works as well."""
        vm = self.machine()
        client = self.client(vm, mini_header=False)
        self.assertEqual(client.wait_state().state, 'on')
        states, result = client.act('pause', 77)
        self.assertEqual([s.state for s in states], ['paused'])
        self.assertEqual(result, (77, 'ok', ''))

    def test_every_state_change_is_told(self):
        """Changes that the monitor makes are pushed, and only changes."""
        vm = self.machine(extra=('-action', 'shutdown=pause'))
        client = self.client(vm)
        client.wait_state('on')
        for command, state in (('stop', 'paused'), ('cont', 'on'),
                               ('stop', 'paused'), ('cont', 'on')):
            vm.qmp.execute(command)
            self.assertEqual(client.wait_state().state, state)
            self.assertEqual(vm.spice()['power']['state'], state)
        mark = len(client.received)
        vm.qmp.execute('cont')
        vm.qmp.execute('system_reset')
        client.fence()
        self.assertNotIn(wire.MSG_POWER_STATE,
                         [m.type for m in client.received[mark:]])

    # --- those who know nothing of it ----------------------------------------

    def session(self, machine):
        """All that an old client is sent while the machine's state changes.

        Two things differ from run to run: the session's random id and the
        multimedia clock, both in INIT.
        """
        client = self.client(machine, caps=OLD_CAPS)
        caps = client.common_caps, client.caps
        client.fence()
        for command in ('stop', 'cont', 'system_reset', 'stop', 'cont'):
            machine.qmp.execute(command)
            client.fence()
        messages = []
        for kind, body in client.received:
            if kind == wire.MSG_INIT:
                body = bytes(4) + body[4:24] + bytes(4) + body[28:]
            messages.append((kind, body))
        client.close()
        return caps, messages

    def test_old_client(self):
        """A client that does not set POWER_CONTROL is sent the same bytes."""
        hardware = SCREEN + ('-name', 'test', '-uuid',
                             '12345678-1234-1234-1234-123456789abc')
        # a server without power control, too, has no new capability
        (_, caps), without = self.session(
            self.machine('power=off', hardware=hardware, name='without'))
        self.assertEqual(caps, set(OLD_CAPS))
        _, default = self.session(
            self.machine('', hardware=hardware, name='default'))
        (_, caps), with_power = self.session(
            self.machine('power=on', hardware=hardware, name='with'))
        self.assertIn(wire.CAP_POWER_CONTROL, caps)
        kinds = [kind for kind, _ in without]
        for kind in (wire.MSG_INIT, wire.MSG_CHANNELS_LIST, 113, 114):
            self.assertIn(kind, kinds)      # that's a session worth comparing
        self.assertEqual(default, without)
        self.assertEqual(with_power, without)

    def test_request_without_capability(self):
        """Who does not set POWER_CONTROL is denied, and sees no state."""
        vm = self.machine()
        mark = vm.qmp.mark()
        client = self.client(vm, caps=())
        for number, action in enumerate(wire.ACTIONS):
            _, result = client.act(action, number)
            self.assertEqual(result[:2], (number, 'denied'))
            self.assertTrue(result.message)
        client.fence()
        self.assertNotIn(wire.MSG_POWER_STATE,
                         [m.type for m in client.received])
        self.assertFalse(set(vm.qmp.event_names(mark))
                         & {'STOP', 'RESET', 'SHUTDOWN'})
        self.assertServes(vm)

    # --- what is not configured ----------------------------------------------

    def test_not_configured(self):
        """An action that was not advertised is denied, and not done."""
        vm = self.machine('power=on,actions=pause')
        client = self.client(vm)
        self.assertEqual(client.wait_state(), ('on', ('pause',)))
        mark = vm.qmp.mark()
        for number, action in enumerate(('reset', 'power-off', 'power-on',
                                         'continue')):
            states, result = client.act(action, number)
            self.assertEqual(result[:2], (number, 'denied'))
            self.assertTrue(result.message)
            self.assertEqual(states, [])
        self.assertEqual(vm.qmp.event_names(mark), [ASKED, TOLD] * 4)
        self.assertEqual(vm.qmp.status, 'running')
        states, result = client.act('pause', 9)
        self.assertEqual((states, result),
                         ([('paused', ())], (9, 'ok', '')))

    # --- malformed and unusual -----------------------------------------------

    def test_short_body(self):
        """A body of less than 4 bytes ends the connection; nothing is done."""
        vm = self.machine()
        for action in wire.ACTIONS:
            for size in range(4):
                with self.subTest(f'{action}, {size} bytes'):
                    client = self.client(vm)
                    mark = vm.qmp.mark()
                    client.send(wire.MSGC_POWER[action], bytes(size))
                    kinds = [m.type for m in client.until_end()]
                    self.assertNotIn(wire.MSG_POWER_RESULT, kinds)
                    names = vm.qmp.event_names(mark)
                    self.assertFalse(set(names) & {ASKED, TOLD, 'STOP',
                                                   'RESET', 'SHUTDOWN'})
        self.assertServes(vm)

    def test_longer_body(self):
        """What follows the id is ignored: later fields may be there."""
        vm = self.machine()
        client = self.client(vm)
        for number, size in enumerate((1, 3, 4, 60, 1000, 4000)):
            client.send(wire.MSGC_POWER['pause'],
                        struct.pack('<I', number) + b'\xff' * size)
            self.assertEqual(client.wait_result(), (number, 'ok', ''))
            self.assertEqual(client.act('continue', 99)[1].result, 'ok')

    def test_lying_size(self):
        """A header that announces more than can be ends the connection."""
        vm = self.machine()
        client = self.client(vm)
        client.send_raw(client.frame(wire.MSGC_POWER['reset'], bytes(4),
                                     size=0xffffffff))
        kinds = [m.type for m in client.until_end()]
        self.assertNotIn(wire.MSG_POWER_RESULT, kinds)
        self.assertServes(vm)

    def test_byte_by_byte(self):
        """A request may come in pieces."""
        vm = self.machine()
        client = self.client(vm)
        for byte in client.request_frame('pause', 0x01020304):
            client.send_raw(bytes([byte]))
            vm.qmp.execute('query-status')      # the server has a look
        self.assertEqual(client.wait_result(), (0x01020304, 'ok', ''))

    def test_request_id_is_the_clients(self):
        """Any id is fine, the same one again, too."""
        vm = self.machine()
        client = self.client(vm)
        for ident in (0, 5, 5, 0x7fffffff, 0x80000000, 0xffffffff):
            self.assertEqual(client.act('continue', ident)[1],
                             (ident, 'ok', ''))

    # --- too much of it ------------------------------------------------------

    def test_polite_client_is_never_limited(self):
        """200 requests, each after the result of the one before."""
        vm = self.machine()
        mark = vm.qmp.mark()
        client = self.client(vm)
        for number in range(200):
            action = 'continue' if number % 2 else 'pause'
            self.assertEqual(client.act(action, number)[1],
                             (number, 'ok', ''))
        vm.qmp.execute('query-status')
        for name in (ASKED, TOLD):      # each changes something: all reported
            self.assertEqual([e['data']['request-id']
                              for e in vm.qmp.events.since(mark)
                              if e['event'] == name], list(range(200)))

    def check_flood(self, vm, results, sent):
        """One result for each request, in order, up to the limit."""
        self.assertLess(len(results), sent, 'the flood was never stopped')
        self.assertEqual([r.result for r in results[-BUSY_LIMIT:]],
                         ['busy'] * BUSY_LIMIT)
        self.assertTrue(all(r.message for r in results[-BUSY_LIMIT:]))
        idents = [r.request_id for r in results]
        self.assertEqual(len(set(idents)), len(idents), 'answered twice')
        # in a row: never 17 BUSY before the last
        row = 0
        for result in results[:-1]:
            row = row + 1 if result.result == 'busy' else 0
            self.assertLess(row, BUSY_LIMIT)

    def test_flood(self):
        """1000 requests without waiting end the connection at the 17th BUSY.

        Meanwhile the monitor answers, and another client is served.
        """
        vm = self.machine()
        other = self.client(vm)
        other.wait_state('on')
        slowest = 0
        stop = threading.Event()

        def monitor():
            nonlocal slowest
            while not stop.is_set():
                begin = time.monotonic()
                vm.qmp.execute('query-status')
                slowest = max(slowest, time.monotonic() - begin)

        thread = threading.Thread(target=monitor)
        thread.start()
        try:
            for number in range(20):
                client = self.client(vm)
                frames = b''.join(client.request_frame('continue', ident)
                                  for ident in range(1000))
                try:
                    client.send_raw(frames)
                except ConnectionError:
                    pass                # it was thrown out before the last
                results = [wire.PowerResult.parse(m.body)
                           for m in client.until_end()
                           if m.type == wire.MSG_POWER_RESULT]
                self.check_flood(vm, results, 1000)
                self.assertEqual(other.act('continue', number)[1],
                                 (number, 'ok', ''))
        finally:
            stop.set()
            thread.join()
        self.assertLess(slowest, 2, 'the monitor did not answer')
        self.assertServes(vm)

    def test_flood_of_a_client_that_does_not_read(self):
        """A client that never reads can't make the server's memory grow."""
        vm = self.machine(tcp=True)
        client = self.client(vm)
        memory = self.memory(vm)
        frames = b''.join(client.request_frame('continue', ident)
                          for ident in range(10000))
        client.sock.settimeout(2)
        sent = 0
        try:
            while sent < 500:
                client.send_raw(frames)
                sent += 1
        except (ConnectionError, TimeoutError):
            pass                        # thrown out, or not read from any more
        self.assertLess(sent, 500)
        self.assertServes(vm)
        self.assertLess(self.memory(vm) - memory, 8 << 20)

    def test_display_client_vanishes(self):
        """A client that links a display channel and goes crashes nothing.

        spice-server's worker waited for its first message on freed memory.
        """
        vm = self.machine(hardware=SCREEN)
        for _ in range(10):
            main = self.client(vm)
            init = next(message for message in main.received
                        if message.type == wire.MSG_INIT)
            session, = struct.unpack_from('<I', init.body)
            mark = vm.qmp.mark()
            wire.Client(vm.connect(), caps=(), channel=wire.CHANNEL_DISPLAY,
                        session=session).close()
            # when the end of the channel is reported the worker has seen it
            vm.qmp.wait_event('SPICE_DISCONNECTED', mark)
            main.close()
        self.assertServes(vm)

    @staticmethod
    def memory(vm):
        status = Path(f'/proc/{vm.process.pid}/status').read_text()
        line = next(l for l in status.splitlines() if l.startswith('VmRSS'))
        return int(line.split()[1]) << 10

    def test_storm(self):
        """Three clients and the monitor want different things at once.

        Whatever wins: each request has one result, each client is shown the
        state that the machine has in the end, and the monitor agrees.
        """
        vm = self.machine(extra=('-action', 'shutdown=pause'))
        clients = [self.client(vm) for _ in range(3)]
        results = [[] for _ in clients]

        def storm(number):
            chance = random.Random(number)
            for ident in range(200):
                _, result = clients[number].act(chance.choice(wire.ACTIONS),
                                                ident)
                results[number].append(result)

        threads = [threading.Thread(target=storm, args=(number,))
                   for number in range(len(clients))]
        for thread in threads:
            thread.start()
        chance = random.Random(99)
        while any(thread.is_alive() for thread in threads):
            try:
                vm.qmp.execute(chance.choice(('stop', 'cont', 'system_reset')))
            except QMPError:
                pass                    # cont after a shutdown: needs a reset
        for thread in threads:
            thread.join()
        for answers in results:
            self.assertEqual([r.request_id for r in answers],
                             list(range(200)))
            self.assertLessEqual({r.result for r in answers},
                                 {'ok', 'wrong-state', 'busy', 'failed'})
            self.assertIn('ok', [r.result for r in answers])
        power = vm.spice()['power']
        for client in clients:
            client.fence()
            state = [wire.PowerState.parse(m.body) for m in client.received
                     if m.type == wire.MSG_POWER_STATE][-1]
            self.assertEqual(state,
                             (power['state'], tuple(power['possible'])))

    def test_gone_before_the_result(self):
        """A client that asks and leaves harms nobody, and others get nothing.

        Every request that reached QEMU has its one result there.
        """
        vm = self.machine()
        other = self.client(vm)
        mark = vm.qmp.mark()
        for number in range(50):
            client = self.client(vm)
            client.request('pause' if number % 2 else 'continue', number)
            client.close()
        self.assertEqual(other.act('pause', 4711)[1], (4711, 'ok', ''))
        self.assertEqual(other.act('continue', 4712)[1], (4712, 'ok', ''))
        other.fence()
        results = [wire.PowerResult.parse(m.body).request_id
                   for m in other.received if m.type == wire.MSG_POWER_RESULT]
        self.assertEqual(results, [4711, 4712])
        names = vm.qmp.event_names(mark)
        self.assertEqual(names.count(ASKED), names.count(TOLD))
        self.assertServes(vm)


if __name__ == '__main__':
    case.main()
