#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is on the wire, byte by byte, and what a client may send.

The client here is made from the protocol's documentation alone: see
tests/lib/powertest/wire.py.
"""

import contextlib
import random
import socket
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, probe, wire     # noqa: E402
from powertest.machine import Machine, StartError   # noqa: E402
from powertest.qmp import QMPError          # noqa: E402

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
# What every SPICE client of the last ten years sets
OLD_CAPS = (wire.CAP_SEMI_SEAMLESS_MIGRATE, wire.CAP_NAME_AND_UUID,
            wire.CAP_AGENT_CONNECTED_TOKENS, wire.CAP_SEAMLESS_MIGRATE)
# Messages with which a client carries a server's state to another one
MSGC_MIGRATE_FLUSH_MARK, MSGC_MIGRATE_DATA = 4, 5
# Something that draws, so that there is more than a main channel; no guest
SCREEN = ('-machine', 'pc', '-accel', 'tcg', '-m', '16', '-nodefaults',
          '-device', 'VGA')


class Wire(case.PowerTestCase):
    many_clients = True

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
                possible = client.wait_state().possible
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
        # ON; all of them allowed; reset, power-off and pause (bits 0, 1 and 3)
        # possible
        self.assertEqual(body, b'\x02' + b'\x1f\0\0\0' + b'\x0b\0\0\0')

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
        self.assertEqual(client.wait_state(), ('on', ('pause',), ('pause',)))
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
                         ([('paused', ('pause',), ())], (9, 'ok', '')))

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

    def check_flood(self, results, sent):
        """One result for each request, and most of them BUSY."""
        self.assertEqual(sorted(r.request_id for r in results),
                         list(range(sent)))
        self.assertLessEqual({r.result for r in results}, {'ok', 'busy'})
        for result in results:
            self.assertEqual(result.message == '', result.result == 'ok')
        self.assertGreater([r.result for r in results].count('busy'), sent // 2)

    def test_flood(self):
        """1000 requests without waiting have 1000 results, most of them BUSY.

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
                client.send_raw(frames)
                self.check_flood([client.wait_result() for _ in range(1000)],
                                 1000)
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
        line = next(line for line in status.splitlines()
                    if line.startswith('VmRSS'))
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
            self.assertEqual(state.shown,
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


class BadInput(case.PowerTestCase):
    """What no client should send. QEMU, the machine and others don't mind."""

    many_clients = True

    def setUp(self):
        super().setUp()
        self.watch(self.machine(hardware=SCREEN))

    def watch(self, vm):
        """This is the machine that must not mind."""
        self.vm = vm
        self.other = self.client(vm)
        self.other.fence()
        self.files = probe.open_files(vm.process.pid)

    def tearDown(self):
        """What the other client asks for is still done."""
        for action, status in (('pause', 'paused'), ('continue', 'running')):
            self.assertEqual(self.other.act(action, 1)[1], (1, 'ok', ''))
            self.assertEqual(self.vm.qmp.status, status)

    @contextlib.contextmanager
    def harmless(self, asked=0):
        """Nothing but so many requests is noticed, and nothing stays behind.

        A file descriptor that is still open will be closed soon, or never.
        """
        mark = self.vm.qmp.mark()
        yield
        self.other.fence()
        deadline = time.monotonic() + 30
        while probe.open_files(self.vm.process.pid) != self.files:
            self.assertLess(time.monotonic(), deadline, 'a descriptor leaks')
            self.vm.qmp.execute('query-status')
        names = self.vm.qmp.event_names(mark)
        self.assertEqual(names.count(ASKED), names.count(TOLD))
        # of many in a second not all are reported
        self.assertLessEqual(names.count(ASKED), asked)
        self.assertLessEqual(set(names), {
            ASKED, TOLD, 'SPICE_CONNECTED', 'SPICE_INITIALIZED',
            'SPICE_DISCONNECTED'})
        self.assertEqual(self.vm.qmp.status, 'running')

    def send(self, data, results=None, **options):
        """Say this as a client that has been let in; return what comes back.

        This ends the connection, unless so many results are expected.
        """
        with wire.Client(self.vm.connect(), **options) as client:
            client.wait_init()
            with contextlib.suppress(ConnectionError):
                client.send_raw(data)
            if results is None:
                client.until_end()
            else:
                for _ in range(results):
                    client.wait_result()
                client.fence()
            return client.received

    @staticmethod
    def results(messages):
        return [wire.PowerResult.parse(m.body) for m in messages
                if m.type == wire.MSG_POWER_RESULT]

    @staticmethod
    def frame(mini, kind, body=b'', size=None, sub_list=0, serial=1):
        size = len(body) if size is None else size
        if mini:
            return struct.pack('<HI', kind, size) + body
        return struct.pack('<QHII', serial, kind, size, sub_list) + body

    # --- messages ------------------------------------------------------------

    def test_sizes(self):
        """Sizes from zero to the largest, with both kinds of header."""
        for mini in (True, False):
            for action, kind in wire.MSGC_POWER.items():
                for size in (0, 1, 2, 3, 1 << 16, 0x7fffffff, 0x80000000,
                             0xfffffffc, 0xffffffff):
                    with self.subTest(f'{action}, {size}, {mini}'), \
                            self.harmless():
                        messages = self.send(
                            self.frame(mini, kind, bytes(min(size, 4)), size),
                            mini_header=mini)
                        self.assertEqual(self.results(messages), [])

    def test_truncated(self):
        """A message whose end never comes is none."""
        for mini in (True, False):
            whole = self.frame(mini, wire.MSGC_POWER['pause'], bytes(4))
            for length in range(len(whole)):
                with self.subTest(f'{length}, {mini}'), self.harmless(), \
                        wire.Client(self.vm.connect(),
                                    mini_header=mini) as client:
                    client.wait_init()
                    client.send_raw(whole[:length])
                    client.sock.shutdown(socket.SHUT_WR)
                    self.assertEqual(self.results(client.until_end()), [])

    def test_types(self):
        """Types that mean nothing, or are the server's, end the connection."""
        for mini in (True, False):
            for kind in (0, 99, 118, 119, 120, 121, 122, 127, 128, 255, 256,
                         369, 0x7fff, 0x8000, 0xff71, 0xffff):
                for body in (b'', bytes(4), b'\xff' * 9):
                    with self.subTest(f'{kind}, {body}, {mini}'), \
                            self.harmless():
                        self.send(self.frame(mini, kind, body),
                                  mini_header=mini)

    def test_every_type_lies(self):
        """All that a main channel client may send, too short or too long.

        What is announced need not come; it must not be paid for, either.
        """
        self.watch(self.machine(name='empty'))  # its size is steady
        for _ in range(10):
            self.client(self.vm).close()
        memory = probe.anonymous(self.vm.process.pid)
        for kind in [*range(1, 9), *range(101, 113)]:
            for size in (1, 0xffff, 0x7fffffff, 0xfffffff8, 0xffffffff):
                with self.subTest(f'{kind}, {size}'), self.harmless():
                    with wire.Client(self.vm.connect()) as client:
                        client.wait_init()
                        try:
                            client.send_raw(self.frame(True, kind, b'', size))
                            client.send_raw(bytes(min(size, 8 << 20)))
                            client.sock.shutdown(socket.SHUT_WR)
                        except OSError:
                            pass
                        client.until_end()
                    self.assertLess(probe.anonymous(self.vm.process.pid),
                                    memory + (4 << 20))

    def test_sub_messages(self):
        """The long header's list of further messages is not for clients."""
        power_off = struct.pack('<HII', wire.MSGC_POWER['power-off'], 4, 1)
        pause = struct.pack('<HII', wire.MSGC_POWER['pause'], 4, 2)
        id_size = 4
        lists = {
            'one': struct.pack('<HI', 1, id_size + 6) + power_off,
            'two': struct.pack('<HII', 2, id_size + 10, id_size + 20)
            + power_off + pause,
            'many': struct.pack('<H', 0xffff) + bytes(60),
            'itself': struct.pack('<HI', 1, id_size),
            'outside': struct.pack('<HIII', 3, 0xffffffff, 0x80000000, 4096),
            'none': struct.pack('<H', 0),
            'half': b'\1',
        }
        for title, tail in lists.items():
            for offset in (id_size, 1, 0, len(tail), 0x7fffffff, 0x80000000,
                           0xffffffff):
                with self.subTest(f'{title}, {offset}'), \
                        self.harmless(asked=1):
                    data = self.frame(False, wire.MSGC_POWER['continue'],
                                      struct.pack('<I', 9) + tail,
                                      sub_list=offset, serial=offset)
                    messages = self.send(data, results=1, mini_header=False)
                    self.assertEqual(self.results(messages), [(9, 'ok', '')])

    def test_two_in_one_write(self):
        """Two requests at once are not one: the second has to wait."""
        for mini in (True, False):
            with self.harmless(asked=2):
                kind = wire.MSGC_POWER['continue']
                messages = self.send(
                    self.frame(mini, kind, struct.pack('<I', 0))
                    + self.frame(mini, kind, struct.pack('<I', 0xffffffff)),
                    results=2, mini_header=mini)
                self.assertEqual(sorted(r[:2] for r in
                                        self.results(messages)),
                                 [(0, 'ok'), (0xffffffff, 'busy')])

    def test_all_byte_by_byte(self):
        """Link, authentication and a request, each byte on its own."""
        class Slow:
            """A socket that sends what it is given byte by byte."""
            def __init__(self, sock):
                self._sock = sock

            def __getattr__(self, name):
                return getattr(self._sock, name)

            def sendall(self, data):
                for byte in data:
                    self._sock.sendall(bytes([byte]))

        for mini in (True, False):
            with self.harmless(asked=1), \
                    wire.Client(Slow(self.vm.connect()),
                                mini_header=mini) as client:
                client.wait_init()
                self.assertEqual(client.act('continue', 3)[1], (3, 'ok', ''))

    def test_websocket(self):
        """The same server speaks WebSocket, where nothing else is true."""
        def connect():
            return wire.WebSocket(self.vm.connect())
        request = wire.MSGC_POWER['continue']
        for mini in (True, False):
            with self.harmless(asked=3), \
                    wire.Client(connect(), mini_header=mini) as client:
                client.wait_init()
                self.assertEqual(client.act('continue', 3)[1], (3, 'ok', ''))
                for byte in client.request_frame('continue', 4):
                    client.send_raw(bytes([byte]))      # a frame for each
                self.assertEqual(client.wait_result(), (4, 'ok', ''))
                # the next one's beginning is in this frame
                data = client.request_frame('continue', 5) + \
                    client.frame(wire.MSGC_ATTACH_CHANNELS)
                client.send_raw(data[:-3])
                client.send_raw(data[-3:])
                self.assertEqual(client.wait_result(), (5, 'ok', ''))
                client.fence()
        for size in (0, 3, 0x80000000, 0xffffffff):
            with self.subTest(size), self.harmless(), \
                    wire.Client(connect()) as client:
                client.wait_init()
                client.send_raw(self.frame(True, request, bytes(min(size, 4)),
                                           size))
                self.assertEqual(self.results(client.until_end()), [])
        # frames that are none
        for noise in (b'\x82\xff' + b'\xff' * 12, b'\x82\x04' + bytes(4),
                      b'\xff' * 100, b'\0' * 100, b'\x82\xfe\0\0'):
            with self.subTest(noise), self.harmless(), \
                    wire.Client(connect()) as client:
                client.wait_init()
                client.sock._sock.sendall(noise)
                client.sock.shutdown(socket.SHUT_WR)
                client.until_end()

    def test_noise(self):
        """Random bytes, and random changes to what is right."""
        for seed in range(60):
            chance = random.Random(seed)
            with self.subTest(seed):
                good = b''.join(
                    self.frame(True, chance.choice(
                        (1, 2, 3, 101, 104, 105, 106, 107, 108)),
                        chance.randbytes(chance.randrange(16)))
                    for _ in range(20))
                data = bytearray(chance.randbytes(500) if seed % 3 == 0
                                 else good)
                if seed % 3 == 2:
                    for _ in range(5):
                        data[chance.randrange(len(data))] \
                            = chance.randrange(256)
                # nothing that would be a request
                for kind in wire.MSGC_POWER.values():
                    data = data.replace(struct.pack('<H', kind), b'xx')
                with self.harmless(), \
                        wire.Client(self.vm.connect()) as client:
                    client.wait_init()
                    try:
                        client.send_raw(data)
                        client.sock.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                    client.until_end()

    # --- before a client is let in -------------------------------------------

    def test_bad_links(self):
        """Link messages that lie end the connection, and leave nothing."""
        body = wire.link_body(caps=(wire.CAP_POWER_CONTROL,))
        whole = wire.link_header(len(body)) + body
        pause = self.frame(True, wire.MSGC_POWER['pause'], bytes(4)) * 50
        cases = {
            'requests only': pause,
            'another magic': wire.link_header(len(body), magic=b'QDER') + body,
            'version 1': wire.link_header(len(body), major=1) + body,
            'version 3': wire.link_header(len(body), major=3) + body,
            'version 0': wire.link_header(len(body), major=0) + body,
            'size 0': wire.link_header(0) + pause,
            'size 17': wire.link_header(17) + body,
            'size 4097': wire.link_header(4097) + bytes(4097),
            'size 4 GB': wire.link_header(0xffffffff) + body,
            'another channel type': wire.link_header(len(body))
            + wire.link_body(caps=(4,), channel=99),
            'channel type 0': wire.link_header(len(body))
            + wire.link_body(caps=(4,), channel=0),
        }
        for name, value in (('n_caps', 0xffffffff), ('n_caps', 1025),
                            ('n_caps', 3), ('n_common', 0x40000000),
                            ('n_common', 1024), ('offset', 0),
                            ('offset', 17), ('offset', 0xfffffff8),
                            ('offset', 4096), ('offset', 0x80000000)):
            lie = wire.link_body(caps=(4,), **{name: value})
            cases[f'{name}={value:#x}'] = wire.link_header(len(lie)) + lie
        for title, data in cases.items():
            with self.subTest(title), self.harmless(), \
                    wire.Link(self.vm.connect()) as link:
                try:
                    link.send_raw(data + pause)
                    link.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                link.until_end_raw()
        # and this one would have been right
        with self.harmless(), wire.Link(self.vm.connect()) as link:
            link.send_raw(whole)
            link.read_reply()
            self.assertIn(wire.CAP_POWER_CONTROL, link.caps)

    def test_requests_in_the_midst_of_linking(self):
        """Who has not been let in can't ask: it's taken for something else."""
        pause = self.frame(True, wire.MSGC_POWER['pause'], bytes(4)) * 50
        vm = self.machine(ticket='sesame', name='ticket')
        mark = vm.qmp.mark()
        for stage in range(5):
            with self.subTest(stage), wire.Link(vm.connect()) as link:
                if stage >= 1:
                    link.hello(caps=(wire.CAP_POWER_CONTROL,))
                if stage >= 2:
                    link.read_reply()
                if stage >= 3:
                    link.select(wire.CAP_AUTH_SPICE)
                if stage >= 4:
                    link.send_raw(link.ticket_bytes('sesame')[:100])
                try:
                    link.send_raw(pause)
                    link.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                link.until_end_raw()
        for mechanism in (0, 3, 99, 0xffffffff):
            with self.subTest(mechanism), wire.Link(vm.connect()) as link:
                link.hello(caps=(wire.CAP_POWER_CONTROL,))
                link.read_reply()
                link.select(mechanism)
                try:
                    link.send_raw(link.ticket_bytes('sesame') + pause)
                except OSError:
                    pass
                link.until_end_raw()
        self.assertLessEqual(set(vm.qmp.event_names(mark)),
                             {'SPICE_CONNECTED', 'SPICE_DISCONNECTED'})
        self.assertEqual(vm.qmp.status, 'running')
        with wire.Client(vm.connect(), ticket='sesame') as client:
            client.wait_init()
            self.assertEqual(client.act('pause', 1)[1], (1, 'ok', ''))

    # --- other channels, other sessions --------------------------------------

    def test_other_channels(self):
        """A request's number on another channel is another thing, or none."""
        for name, channel in (('display', wire.CHANNEL_DISPLAY),
                              ('inputs', wire.CHANNEL_INPUTS),
                              ('cursor', wire.CHANNEL_CURSOR)):
            for kind in wire.MSGC_POWER.values():
                with self.subTest(f'{name}, {kind}'), self.harmless(), \
                        wire.Client(self.vm.connect()) as main:
                    main.wait_init()
                    with wire.Client(self.vm.connect(), caps=(),
                                     channel=channel,
                                     session=main.session) as client:
                        try:
                            for number in range(20):
                                client.send(kind, struct.pack('<I', number))
                            client.sock.shutdown(socket.SHUT_WR)
                        except OSError:
                            pass
                        kinds = [m.type for m in client.until_end()]
                        self.assertNotIn(wire.MSG_POWER_RESULT, kinds)

    def test_other_channels_of_nobody(self):
        """Only a main channel's session may have further channels."""
        for session in (0, 1, 0xffffffff, self.other.session ^ 1):
            for channel in range(2, 7):
                with self.subTest(f'{session}, {channel}'), self.harmless(), \
                        self.assertRaises((wire.LinkError,
                                           wire.Disconnected)):
                    wire.Client(self.vm.connect(), caps=(), channel=channel,
                                session=session)

    def test_foreign_session(self):
        """Nobody can follow a migration to where the machine runs already."""
        for session in (1, 0x7fffffff, 0xffffffff, self.other.session):
            with self.subTest(f'{session}'), self.harmless(), \
                    self.assertRaises(wire.LinkError):
                wire.Client(self.vm.connect(), session=session)

    def test_foreign_session_before_the_start(self):
        """Who links as the target of a migration, but none is under way.

        There is no INIT for him, and no power control: what he asks for ends
        the connection.
        """
        vm = self.machine(name='not-started', extra=('-S',))
        for session in (1, 0x7fffffff, 0xffffffff):
            for action in wire.ACTIONS:
                with self.subTest(f'{session}, {action}'), \
                        wire.Client(vm.connect(), session=session) as client:
                    client.request(action, 1)
                    kinds = [m.type for m in client.until_end()]
                    for kind in (wire.MSG_INIT, wire.MSG_POWER_STATE,
                                 wire.MSG_POWER_RESULT):
                        self.assertNotIn(kind, kinds)
        self.assertEqual(vm.qmp.status, 'prelaunch')

    def test_migration_that_is_none(self):
        """Messages of a migration, when there is none, end no QEMU."""
        seamless = self.frame(True, wire.MSGC_MIGRATE_DST_DO_SEAMLESS,
                              struct.pack('<I', 1))
        end = self.frame(True, wire.MSGC_MIGRATE_END)
        data = self.frame(True, MSGC_MIGRATE_DATA, bytes(100))
        mark = self.frame(True, MSGC_MIGRATE_FLUSH_MARK)
        connected = b''.join(self.frame(True, kind)
                             for kind in (102, 103, 111))
        for many in (False, True):
            # once it has been started it is no target any more
            vm = self.machine(many_clients=many, name=f'many-{many}',
                              extra=('-S',))
            for session in (0, 4711):
                for pieces in ((seamless,), (end,), (data,), (mark,),
                               (connected,), (seamless, seamless),
                               (seamless, end), (end, seamless), (end, end),
                               (seamless, data), (seamless, mark),
                               (seamless, connected), (data, end)):
                    with self.subTest(f'{many}, {session}, {pieces}'):
                        events = vm.qmp.mark()
                        with wire.Client(vm.connect(), session=session,
                                         caps=OLD_CAPS) as client:
                            try:
                                client.send_raw(b''.join(pieces))
                                client.sock.shutdown(socket.SHUT_WR)
                            except OSError:
                                pass
                            client.until_end()
                        self.assertLessEqual(
                            set(vm.qmp.event_names(events)),
                            {'SPICE_CONNECTED', 'SPICE_INITIALIZED',
                             'SPICE_DISCONNECTED', 'SPICE_MIGRATE_COMPLETED'})
            client = self.client(vm)
            self.assertEqual(client.act('pause', 1)[1], (1, 'ok', ''))

    # --- whose result it is --------------------------------------------------

    def test_results_of_who_has_gone(self):
        """A asks and goes, B comes with the same ids: B has its own results.

        What B asks for is denied, so its result can't be taken for A's.
        """
        vm = self.machine('power=on,actions=reset', name='reset')
        for ident in (0, 1, 0xffffffff) * 5:
            with wire.Client(vm.connect()) as first:
                first.wait_init()
                first.request('reset', ident)
            with wire.Client(vm.connect()) as second:
                second.wait_init()
                result = second.act('pause', ident)[1]
                self.assertEqual(result[:2], (ident, 'denied'))
                second.fence()
                self.assertEqual(self.results(second.received), [result])


class Origins(case.PowerTestCase):
    """Web pages, which a browser lets connect to whatever it can reach."""

    def reach(self, vm, *origins, ticket=''):
        """Connect as a page does; what comes of a reset that it asks for."""
        headers = [f'Origin: {origin}' for origin in origins]
        try:
            sock = wire.WebSocket(vm.connect(), headers)
        except ValueError as refused:
            self.assertIn('HTTP/1.1 403 ', str(refused))
            return 'refused'
        with wire.Client(sock, ticket=ticket) as client:
            client.wait_init()
            return client.act('reset', 1)[1].result

    def check(self, vm, expected, **options):
        mark = vm.qmp.mark()
        for origins, result in expected.items():
            with self.subTest(origins):
                self.assertEqual(self.reach(vm, *origins, **options), result)
        vm.qmp.mark()
        self.assertEqual(vm.qmp.event_names(mark).count('RESET'),
                         list(expected.values()).count('ok'))

    def test_without_password(self):
        """No page may connect where nothing else is asked for."""
        vm = self.machine()
        self.check(vm, {(): 'ok', ('https://evil.example',): 'refused',
                        ('http://localhost',): 'refused', ('null',): 'refused',
                        ('',): 'refused'})

    def test_with_password(self):
        """A page from the very same host may, if it knows the password."""
        vm = self.machine(ticket='secret')
        self.check(vm, {(): 'ok', ('http://localhost',): 'ok',
                        ('http://localhost:80',): 'ok',
                        ('http://localhost:8080',): 'refused',
                        ('http://localhost.evil.example',): 'refused',
                        ('https://evil.example',): 'refused',
                        ('null',): 'refused',
                        ('http://localhost', 'https://evil.example'):
                            'refused'}, ticket='secret')

    def test_listed(self):
        """Those that are listed may, and no others."""
        vm = self.machine('power=on,websocket-origins='
                          'https://a.example:8443 http://b.example')
        self.check(vm, {(): 'ok', ('https://a.example:8443',): 'ok',
                        ('http://B.Example:80',): 'ok',
                        ('https://a.example',): 'refused',
                        ('https://b.example',): 'refused',
                        ('http://localhost',): 'refused'})
        vm.close()
        vm = self.machine('power=on,websocket-origins=*', name='any')
        self.check(vm, {('https://evil.example',): 'ok', ('null',): 'ok'})

    def test_bad_list(self):
        """What is no origin is an error at start."""
        machine = Machine(self.log_dir, 'power=on,websocket-origins=a.example')
        with self.assertRaisesRegex(StartError, 'a.example'), machine:
            pass
        self.assertEqual(machine.process.returncode, 1)


if __name__ == '__main__':
    case.main()
