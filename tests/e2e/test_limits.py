#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Floods: whatever clients send, QEMU and the other clients work on.

A machine that draws, with a main and a display channel of somebody else, is
flooded for a while in one way after the other. Each time

- the flooder is cut off, if it is one who does not wait for results;
- the monitor answers within 100 ms of QEMU's time, measured all along by a
  process of its own, which tells QEMU's time from the machine's;
- QEMU's memory is at most 1 MB more than it has been at the most before, and
  at the end of all floods 8 MB more than before the first one;
- the other client has its requests answered, and its display goes on.

And a display's client that takes nothing of what it is sent, or does not even
begin, holds nobody up for longer than a few seconds, whatever the machine does
meanwhile; then it is disconnected, and nobody else.

The figures are told in the test's output. A flood with which the monitor is
too slow, or the memory too much, is repeated, up to three times: an unlucky
moment does not come back, but a QEMU that is kept busy is late each time, and
what it must keep for a flood it must keep each time.
"""

import contextlib
import ctypes
import itertools
import ssl
import struct
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

import tap                                      # noqa: E402
from powertest import case, netns, probe, wire  # noqa: E402

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
IDLE_EVENTS = 50        # so many idle requests are reported in a second
SLOWEST = 0.1           # seconds for a round trip to the monitor
MEMORY = 1 << 20        # bytes more than it ever was before
# and more than when it was idle. Pictures of the whole screen, of 1.1 MB each,
# are on their way to the other client: how many at once is a matter of luck.
IN_ALL = 8 << 20
OTHERS = 4 << 20        # where up to 1000 answers may wait to be read
SILENT = 10             # seconds that are waited for who takes nothing, or does
                        # not begin
SECONDS = 0.7           # how long each flood lasts, at least
MANY = 20               # clients
TRIES = 3
# Something that draws all the time: there is no guest, but the firmware, which
# says when it's done (graphics=off makes it use the serial console, too), and
# a cursor that blinks. The buffer for translated code is small, as it would
# fill bit by bit.
SCREEN = ('-machine', 'pc,graphics=off', '-accel', 'tcg,tb-size=1', '-m', '16',
          '-nodefaults', '-device', 'VGA,vgamem_mb=2')
MSGC_PREFERRED_COMPRESSION = 103        # of the display channel
MSG_SURFACE_CREATE = 314
RESET, OFF, ON, PAUSE, CONTINUE = (wire.MSGC_POWER[action]
                                   for action in wire.ACTIONS)


def requests(*kinds, number=1000, more=b''):
    """So many requests of these types by turns, as they are on the wire."""
    return b''.join(
        struct.pack('<HII', kind, 4 + len(more), ident) + more
        for ident, kind in zip(range(number), itertools.cycle(kinds)))


class FloodCase(case.PowerTestCase):
    """A machine to be flooded, and its other client."""

    many_clients = True

    @classmethod
    def setUpClass(cls):
        # The kernel makes huge pages of 2 MB out of small ones when it likes;
        # not for us and for the QEMU that we start (PR_SET_THP_DISABLE)
        ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)

    def begin(self, spice='power=on', **options):
        self.vm = self.machine(spice, hardware=SCREEN, probe=True,
                               extra=('-action', 'shutdown=pause'), **options)
        self.other = self.client(self.vm)
        self.display = self.enterContext(
            wire.Display(self.vm.connect(), self.other.session))
        self.display.draws.wait(lambda kind: True, 'a drawing')
        self.idents = itertools.count()
        # What is loaded and allocated once, and stays, is there after this
        for _ in range(10):
            self.apart(lambda: self.unread(requests(RESET, CONTINUE)))
            self.others_work()
        for ident in range(300):
            self.other.act('reset', ident)
        if 'power-off' in self.other.configured:
            for _ in range(20):
                self.other.act('power-off', 0)
                self.other.act('power-on', 0)
        # and so many connections take some, whatever comes over them
        for _ in range(3):
            self.many(b'')
            self.half_linked()
        # An idle machine is one that is reset now and then: it draws
        with self.probe() as seeing:
            for number in range(20):
                mark = self.vm.qmp.mark()
                booted = self.vm.console.mark
                self.vm.qmp.execute('system_reset')
                self.vm.qmp.wait_event('RESET', mark)
                if number % 10 == 9:
                    self.vm.console.wait(lambda line: 'No bootable' in line,
                                         "the firmware's end", booted)
                self.others_work()
            seen = seeing.stop()
        self.idle_memory = max(seen.memory,
                               probe.anonymous(self.vm.process.pid))
        self.most_memory = self.idle_memory
        tap.note(f'{self._testMethodName}: idle: {seen}, '
                 f'memory {self.idle_memory / 2 ** 20:.2f} MB')

    def probe(self):
        return probe.Probe(self.vm.probe_socket, self.vm.process.pid)

    @staticmethod
    def apart(flood):
        """In a thread of its own, so that its trouble is not ours.

        OpenSSL keeps errors for each thread, and with Python 3.13 the one with
        which a flooder was cut off is found by the next who reads.
        """
        netns.in_thread(flood)

    # --- one who floods ------------------------------------------------------

    def send_all(self, client, data):
        """Send it, or as much as the server takes until it cuts us off."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            client.send_raw(data)

    def cut_off(self, data, **options):
        """Flood with what is malformed, and read everything until the end."""
        with wire.Client(self.vm.connect(), **options) as client:
            self.send_all(client, data)
            client.until_end(timeout=10)

    def read(self, data, number=1000, **options):
        """Flood with requests, and return the results: one for each."""
        sock = self.vm.connect()
        if options.pop('websocket', False):
            sock = wire.WebSocket(sock)
        with wire.Client(sock, **options) as client:
            client.send_raw(data)
            results = [client.wait_result() for _ in range(number)]
            client.fence()
        self.assertEqual(sorted(r.request_id for r in results),
                         list(range(number)))
        self.assertNotIn('failed', [r.result for r in results])
        self.assertGreater([r.result for r in results].count('busy'),
                           number // 2)
        return results

    def unread(self, data, **options):
        """Flood without reading until the server has ended the connection."""
        with wire.Client(self.vm.connect(), **options) as client:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                end = time.monotonic() + 10
                while time.monotonic() < end:
                    client.send_raw(data)
                self.fail('the flood was never stopped')

    def drip(self):
        """One request after the other is handled, but nothing is read.

        It ends when the results fill what the kernel holds for us, and a
        thousand of them what the server does.
        """
        with wire.Client(self.vm.connect()) as client:
            with contextlib.suppress(ConnectionError):
                for ident in range(10000):
                    client.request('continue', ident)
                    self.vm.qmp.execute('query-status')
                self.fail('the flood was never stopped')
            self.assertGreater(ident, 1000)

    def vanish(self, data):
        """Flood and go at once."""
        with wire.Client(self.vm.connect()) as client:
            self.send_all(client, data)

    def many(self, data, number=MANY):
        """Many at once, and nobody reads before all have sent."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(wire.Client(self.vm.connect()))
                       for _ in range(number)]
            for client in clients:
                self.send_all(client, data)
            for client in clients:
                client.fence()

    def websocket(self, kind):
        """Frames that have nothing for SPICE, before we are let in.

        They may go on for as long as they are no hindrance.
        """
        end = time.monotonic() + SECONDS
        sock = self.vm.connect()
        with wire.Link(wire.WebSocket(sock)), \
                contextlib.suppress(ConnectionError, ssl.SSLError):
            while time.monotonic() < end:
                sock.sendall((kind + b'\x80' + bytes(4)) * 1000)

    def half_linked(self, number=20):
        """Connections that come to nothing."""
        with contextlib.ExitStack() as stack:
            for stop in range(number):
                link = stack.enter_context(wire.Link(self.vm.connect()))
                link.hello()
                if stop % 2:
                    link.read_reply()
                    link.send_raw(requests(PAUSE, number=20))

    # --- the others ----------------------------------------------------------

    def others_work(self):
        ident = next(self.idents)
        # A request of the flood may be under way
        _, result = self.other.act('continue', ident)
        self.assertEqual(result.request_id, ident)
        self.other.fence()

    def restore(self):
        """Let the machine run, whatever the flood has made of it."""
        if self.vm.qmp.status in ('shutdown', 'prelaunch'):
            mark = self.vm.qmp.mark()
            self.vm.qmp.execute('system_reset')
            self.vm.qmp.wait_event('RESET', mark)
        self.vm.qmp.execute('cont')

    # --- what is measured ----------------------------------------------------

    def flood(self, once, title):
        """Again and again, until there has been a drawing, too.

        A machine that is reset or stopped all the time does not get that far:
        then it must draw afterwards.
        """
        begin = time.monotonic()
        mark = self.vm.qmp.mark()
        drawn = self.display.draws.mark
        for rounds in itertools.count(1):
            self.apart(once)
            self.others_work()
            seconds = time.monotonic() - begin
            if seconds > SECONDS:
                moved = any(event['event'] in ('RESET', 'STOP', 'SHUTDOWN')
                            for event in self.vm.qmp.events.since(mark))
                if moved or self.display.draws.mark > drawn:
                    return rounds
                self.assertLess(seconds, 30,
                                f'{title}: the display stands still')

    def check(self, title, once, memory=MEMORY, slowest=SLOWEST):
        """Returns how long the slowest round trip to the monitor took."""
        for _ in range(TRIES):
            with self.probe() as seeing:
                rounds = self.flood(once, title)
                seen = seeing.stop()
            drawn = self.display.draws.mark
            self.restore()
            self.display.draws.wait(lambda kind: True, 'a drawing', drawn)
            more = seen.memory - self.most_memory
            in_all = seen.memory - self.idle_memory
            self.most_memory = max(self.most_memory, seen.memory)
            tap.note(f'{self._testMethodName}: {title}: {rounds} times, '
                     f'{seen}, memory {in_all / 2 ** 20:+.2f} MB')
            self.assertLess(in_all, max(memory, IN_ALL), title)
            if seen.slowest < slowest and more < memory:
                return seen.slowest
        self.assertLess(seen.slowest, slowest, title)
        self.assertLess(more, memory, title)
        return seen.slowest

    def check_floods(self, floods):
        """One after the other, and the last kind from many clients at once.

        So many may take so many times as long as one that does the same.
        """
        alone = {title: self.check(title, once)
                 for title, once in floods.items()}
        mixed = requests(*wire.MSGC_POWER.values())
        self.check(f'{MANY} at once', lambda: self.many(mixed),
                   slowest=max(SLOWEST,
                               MANY * alone['all actions by turns']))


class Limits(FloodCase):
    def test_unix(self):
        """All kinds of floods over a UNIX socket."""
        self.begin('power=on,actions=reset:power-on:pause:continue')
        idle = requests(CONTINUE)
        mixed = requests(RESET, PAUSE, CONTINUE, ON)
        self.check_floods({
                'one action, without effect': lambda: self.read(idle),
                'pause': lambda: self.read(requests(PAUSE)),
                'reset': lambda: self.read(requests(RESET)),
                'all actions by turns': lambda: self.read(mixed),
                'not configured': lambda: self.read(requests(OFF)),
                'without the capability':
                    lambda: self.read(idle, caps=()),
                'before INIT': lambda: self.read(b'', pipelined=idle),
                'full headers': lambda: self.full_headers(),
                'WebSocket': lambda: self.read(idle, websocket=True),
                'WebSocket, nothing': lambda: self.websocket(b'\x82'),
                'WebSocket, PING': lambda: self.websocket(b'\x89'),
                'WebSocket, PONG': lambda: self.websocket(b'\x8a'),
                '4 KB requests':
                    lambda: self.read(requests(CONTINUE, more=bytes(4096))),
                'too large a request':
                    lambda: self.cut_off(requests(CONTINUE, more=bytes(1 << 20),
                                                  number=2)),
                'too small requests': lambda: self.cut_off(
                    struct.pack('<HI', CONTINUE, 0) * 1000),
                'unknown types':
                    lambda: self.cut_off(requests(118, 999, 65535)),
                'not reading': lambda: self.unread(mixed),
                'not reading, little by little': self.drip,
                'vanishing': lambda: self.vanish(mixed),
                'links that come to nothing': self.half_linked,
                })

    def full_headers(self):
        data = b''.join(struct.pack('<QHIII', i, CONTINUE, 4, 0, i)
                        for i in range(1000))
        self.read(data, mini_header=False)

    def check_network(self):
        mixed = requests(*wire.MSGC_POWER.values())
        self.check_floods({
                'one action, without effect':
                    lambda: self.read(requests(CONTINUE)),
                'all actions by turns': lambda: self.read(mixed),
                'not reading': lambda: self.unread(mixed),
                '4 KB requests':
                    lambda: self.read(requests(CONTINUE, more=bytes(4096))),
                })

    def others(self):
        """What else a main channel's client may send, and as often."""
        def message(kind, body=b''):
            return struct.pack('<HI', kind, len(body)) + body
        return {'PONG': message(3, bytes(12)),
                'ACK': message(2),
                'ACK_SYNC': message(1, bytes(4)),
                'DISCONNECTING': message(6, bytes(12)),
                'MIGRATE_CONNECT_ERROR': message(103),
                'ATTACH_CHANNELS': message(104),
                'MOUSE_MODE_REQUEST': message(105, b'\2\0'),
                'AGENT_START': message(106, bytes(4))}

    def all_the_time(self, data):
        """Send without an end, and read nothing; cut off or not."""
        end = time.monotonic() + SECONDS
        with wire.Client(self.vm.connect()) as client:
            # who is cut off starts again, with the next round
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while time.monotonic() < end:
                    client.send_raw(data)

    def test_other_messages(self):
        """Floods of what has nothing to do with power control.

        They may go on for as long as they are no hindrance. Requests beside
        them are answered.
        """
        self.begin(tcp=True)
        for title, data in self.others().items():
            self.check(title, lambda: self.all_the_time(data * 1000), OTHERS)
        mixed = b''.join(self.others().values()) + requests(CONTINUE, number=1)
        self.check('all by turns, and requests',
                   lambda: self.all_the_time(mixed * 100), OTHERS)

    def test_tcp(self):
        """The same over TCP, where a machine can be powered off, too."""
        self.begin(tcp=True)
        self.check_network()

    def test_tls(self):
        """The same over TLS."""
        self.begin(tls=self.authority())
        self.check_network()

    def test_waiting(self):
        """Who waits for each result may ask as often as he likes.

        So may one who sends twenty at a time, reads the results, and so on.
        """
        self.begin()
        client = self.client(self.vm)
        idents = itertools.count()

        def act(*actions):
            for action in actions * 20:
                ident = next(idents)
                _, result = client.act(action, ident)
                self.assertEqual(result.request_id, ident)
                # the other client asks for something now and then
                self.assertIn(result.result, ('ok', 'busy'))

        def bursts():
            for _ in range(20):
                client.send_raw(requests(CONTINUE, number=20))
                results = [client.wait_result() for _ in range(20)]
                self.assertEqual(sorted(r.request_id for r in results),
                                 list(range(20)))
                self.assertIn('ok', [r.result for r in results])

        for title, once in {
                'pause and continue, 40': lambda: act('pause', 'continue'),
                'reset, 20': lambda: act('reset'),
                'power-off and power-on, 40':
                    lambda: act('power-off', 'power-on'),
                'what is the case already, 20': lambda: act('continue'),
                '20 bursts of 20': bursts,
                }.items():
            self.check(title, once)

    def test_record(self):
        """The monitor is told of 50 idle requests a second, and how many more.

        Each request is one of those reported, with one result, or one of those
        counted. What changes something is always reported.
        """
        self.begin()
        other, = self.vm.main_connections()
        mark = self.vm.qmp.mark()
        begin = time.monotonic()
        answered = Counter()
        changing = []
        rounds = 0
        while time.monotonic() < begin + 2.5:
            for result in self.read(requests(CONTINUE)):
                answered[result.result] += 1
            rounds += 1
            if rounds % 10 == 0:
                for action in ('pause', 'continue'):
                    ident = 1000000 + next(self.idents)
                    self.assertEqual(self.other.act(action, ident)[1],
                                     (ident, 'ok', ''))
                    changing.append(ident)
        seconds = time.monotonic() - begin
        # one that changes something flushes the count
        self.assertEqual(self.other.act('reset', 1)[1], (1, 'ok', ''))
        changing.append(1)
        self.vm.qmp.mark()

        events = [event for event in self.vm.qmp.events.since(mark)
                  if event['event'] in (ASKED, TOLD)]
        keys = ('connection-id', 'request-id', 'action')
        pairs = {ASKED: Counter(), TOLD: Counter()}
        times, suppressed, others = [], 0, []
        for event in events:
            data = event['data']
            pairs[event['event']][tuple(data[key] for key in keys)] += 1
            if event['event'] == ASKED:
                suppressed += data.get('suppressed', 0)
                stamp = event['timestamp']
                if data['connection-id'] == other:
                    others.append(data['request-id'])
                else:
                    times.append(stamp['seconds']
                                 + stamp['microseconds'] / 1e6)
        self.assertEqual(pairs[ASKED], pairs[TOLD])
        self.assertEqual(max(pairs[ASKED].values()), 1)
        self.assertEqual(others, changing)
        total = sum(answered.values())
        tap.note(f'test_record: {total} requests of {rounds} floods in '
                 f'{seconds:.1f} s: {len(times)} reported, {suppressed} '
                 f'counted; and {len(changing)} that changed something')
        self.assertEqual(len(times) + suppressed, total)
        self.assertGreater(suppressed, 0)
        # it's clock seconds that are counted: one more than these, and a part
        self.assertLessEqual(len(times), IDLE_EVENTS * (int(seconds) + 2))
        for first, last in zip(times, times[2 * IDLE_EVENTS:]):
            self.assertGreater(last - first, 0.99)


class SilentDisplays(case.PowerTestCase):
    """A display that nobody reads, while the machine stops or is reset."""

    many_clients = True

    def silent(self, vm, session, init=True):
        """A display's client that does nothing more."""
        sock = self.enterContext(wire.Client(
            vm.connect(), caps=(), channel=wire.CHANNEL_DISPLAY,
            session=session))
        if init:
            # As it is, a picture is more than a socket takes; the first one is
            # made when it begins, so this must come before
            sock.send(MSGC_PREFERRED_COMPRESSION, b'\1')
            sock.send(wire.MSGC_DISPLAY_INIT,
                      struct.pack('<BqBi', 1, 0, 1, 0))
            # the first thing that it is sent says that it has begun
            sock.wait(MSG_SURFACE_CREATE)
        return sock

    def slowest(self, vm, seconds):
        """The slowest of the monitor's answers for a while."""
        slowest = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begin = time.monotonic()
            vm.qmp.execute('query-status')
            slowest = max(slowest, time.monotonic() - begin)
            time.sleep(0.01)
        return slowest

    def check(self, device, action, init=True, number=1):
        vm = self.machine(
            hardware=(*SCREEN[:-1], f'{device},vgamem_mb=8'),
            extra=('-action', 'shutdown=pause'),
            name=f'{device}-{action}-{init}-{number}')
        client = self.client(vm)
        display = self.enterContext(wire.Display(vm.connect(),
                                                 client.session))
        display.draws.wait(lambda kind: True, 'a drawing')
        vm.console.wait(lambda line: 'No bootable' in line,
                        "the firmware's end")
        # Each who would be silent has a session of its own: a second display
        # of the same client is refused once the first one is known
        others = [self.client(vm) for _ in range(number)]
        silent = [self.silent(vm, other.session, init) for other in others]
        begin = time.monotonic()
        client.request(action, 1)
        slowest = self.slowest(vm, 1)
        result = client.wait_result()
        tap.note(f'{vm.name}: the slowest answer took {slowest:.2f} s, the '
                 f'result {time.monotonic() - begin:.2f} s')
        self.assertEqual(result, (1, 'ok', ''))
        # one after the other they would take as many times ten seconds
        self.assertLess(slowest, 2 * SILENT)
        # those are gone, if they were waited for, and the others are not
        waited = not init or action == 'power-off' or (
            (device, action) == ('qxl-vga', 'reset'))
        for link in silent:
            if waited:
                link.until_end()
            link.close()
        mark = display.draws.mark
        back = {'power-off': 'power-on', 'pause': 'continue'}.get(action)
        if back:
            self.assertEqual(client.act(back, 2)[1], (2, 'ok', ''))
        display.draws.wait(lambda kind: True, 'a drawing', mark)
        for other in others:
            other.fence()
        vm.close()

    def test_reading_nothing(self):
        """A display's client that begins, and reads nothing."""
        for device in ('VGA', 'qxl-vga'):
            for action in ('reset', 'power-off', 'pause'):
                with self.subTest(f'{device}, {action}'):
                    self.check(device, action)

    def test_not_beginning(self):
        """One that does not even begin."""
        for device in ('VGA', 'qxl-vga'):
            for action in ('reset', 'power-off'):
                with self.subTest(f'{device}, {action}'):
                    self.check(device, action, init=False)

    def test_several(self):
        """Several take no more time than one."""
        for init in (True, False):
            for action in ('reset', 'power-off'):
                with self.subTest(f'{action}, {init}'):
                    self.check('qxl-vga', action, init, number=5)


if __name__ == '__main__':
    case.main()
