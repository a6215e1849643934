#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long power control takes, and what it costs.

latency    from the client's send to the event in which QEMU says that it has
           happened, for SPICE, QMP and VNC's XVP; idle, and while the guest
           draws and a client reads what it draws; UNIX socket, TCP and TLS
broadcast  what it costs QEMU to tell N clients of a change
cycles     many times off and on: whether memory or latency drift

All of a comparison is measured in turns, in one run: compare ratios, the
figures themselves are those of the machine at that time.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import places, tls, wire                 # noqa: E402
from powertest.machine import Machine, end_cleanly      # noqa: E402

GUEST = Path(__file__).with_name('guest.S')
HARDWARE = ('-machine', 'pc', '-accel', 'tcg', '-m', '16', '-nodefaults',
            '-device', 'VGA')
# so long between two measurements, for what the last one has left to do
PAUSE = 0.01


def now():
    """The clock of QEMU's events, in seconds."""
    return time.clock_gettime(time.CLOCK_REALTIME)


def summary(values):
    """Median and tails of some values, which are in ms."""
    ordered = sorted(values)

    def quantile(part):
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
    return {'n': len(ordered), 'median': statistics.median(ordered),
            'p95': quantile(0.95), 'p99': quantile(0.99)}


# --- machines ---------------------------------------------------------------

def build_guest(directory):
    """{'idle': ROM, 'drawing': ROM}: what a machine has as its firmware."""
    roms = {}
    for name, flags in (('idle', ['-DIDLE']), ('drawing', [])):
        roms[name] = directory / f'{name}.rom'
        subprocess.run(['gcc', '-m32', '-c', *flags, '-o',
                        directory / f'{name}.o', GUEST], check=True)
        subprocess.run(['objcopy', '-O', 'binary', '-j', '.text',
                        directory / f'{name}.o', roms[name]], check=True)
    return roms


class Bench:
    """What all the measurements share."""

    def __init__(self, directory, stack):
        self.directory = directory
        self.stack = stack
        self.roms = build_guest(directory)
        self.authority = tls.Authority(directory / 'tls')

    def machine(self, guest, name, extra=(), **options):
        return self.stack.enter_context(Machine(
            self.directory, hardware=(*HARDWARE, '-bios',
                                      str(self.roms[guest])),
            extra=('-action', 'shutdown=pause', *extra), name=name,
            **options))


class Event:
    """The time of an event that is not the guest's doing."""

    def __init__(self, vm, name):
        self.vm, self.name = vm, name
        self.mark = vm.qmp.events.mark

    def wait(self):
        event = self.vm.qmp.events.wait(
            lambda event: event['event'] == self.name
            and not event.get('data', {}).get('guest'),
            f'the event {self.name}', self.mark)
        stamp = event['timestamp']
        return stamp['seconds'] + stamp['microseconds'] / 1e6


# --- ways to ask ------------------------------------------------------------

class Spice:
    actions = ('reset', 'pause', 'continue')

    def __init__(self, sock):
        self.client = wire.Client(sock)
        self.client.wait_init()
        self.ident = 0

    def ask(self, action):
        self.ident += 1
        message = self.client.request_frame(action, self.ident)
        sent = now()
        self.client.send_raw(message)
        return sent

    def finish(self):
        result = self.client.wait_result()
        if result.result != 'ok':
            raise RuntimeError(f'refused: {result}')


class Qmp:
    """A monitor of its own: the other one is who tells when it happened."""
    actions = ('reset', 'pause', 'continue')
    words = {'reset': 'system_reset', 'pause': 'stop', 'continue': 'cont'}

    def __init__(self, sock):
        self.sock = sock
        self.replies = sock.makefile('rb')
        self.replies.readline()
        self.ask('capabilities', 'qmp_capabilities')
        self.finish()

    def ask(self, action, word=None):
        message = json.dumps({'execute': word or self.words[action]})
        message = message.encode() + b'\n'
        sent = now()
        self.sock.sendall(message)
        return sent

    def finish(self):
        while True:
            reply = json.loads(self.replies.readline())
            if 'error' in reply:
                raise RuntimeError(f'refused: {reply}')
            if 'return' in reply:
                return


class Xvp:
    """VNC's power control (RFB 3.8 without security, and the XVP messages)."""
    actions = ('reset',)
    CODE_RESET = 4

    def __init__(self, sock):
        self.sock = sock
        self.read = sock.makefile('rb').read
        self.read(12)
        sock.sendall(b'RFB 003.008\n')
        self.read(self.read(1)[0])
        sock.sendall(b'\1')             # no security
        self.read(4)
        sock.sendall(b'\1')             # together with others
        self.read(20)
        self.read(struct.unpack('>I', self.read(4))[0])
        sock.sendall(struct.pack('>BxHi', 2, 1, -309))
        if self.read(4) != b'\xfa\0\1\1':
            raise RuntimeError('VNC has no power control')

    def ask(self, action):
        sent = now()
        self.sock.sendall(bytes((250, 0, 1, self.CODE_RESET)))
        return sent

    def finish(self):
        pass                            # it does not answer


def unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return sock


EVENTS = {'reset': 'RESET', 'pause': 'STOP', 'continue': 'RESUME'}


def read_display(vm, main):
    """A client that reads all that is drawn, in a process of its own."""
    display = wire.Client(vm.connect(), caps=(), channel=wire.CHANNEL_DISPLAY,
                          session=main.session)
    display.send(wire.MSGC_DISPLAY_INIT, struct.pack('<BqBi', 1, 0, 1, 0))
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            while True:
                display.receive(time.monotonic() + 3600)
                display.received.clear()
        os._exit(0)
    display.sock.close()
    return child


def latency(bench, rounds, say):
    """{load: {transport: {action: {way: summary}}}}"""
    machines = {}
    for guest in ('idle', 'drawing'):
        for transport in ('unix', 'tcp+tls'):
            name = f'{guest}-{transport}'
            vnc = bench.directory / f'{name}.vnc'
            vm = bench.machine(
                guest, name, extra=('-vnc', f'unix:{vnc},power-control=on'),
                probe=True, **({} if transport == 'unix' else
                               {'tcp': True, 'tls': bench.authority}))
            ways = {'QMP': Qmp(unix(vm.probe_socket)), 'XVP': Xvp(unix(vnc))}
            if transport == 'unix':
                ways['SPICE'] = Spice(vm.connect())
            else:
                ways['SPICE, TCP'] = Spice(vm.connect(tls=False))
                ways['SPICE, TLS'] = Spice(vm.connect(tls=True))
            main = next(way.client for name, way in ways.items()
                        if name.startswith('SPICE'))
            child = read_display(vm, main)
            bench.stack.callback(os.waitpid, child, 0)
            bench.stack.callback(os.kill, child, 9)
            vm.qmp.execute('stop')
            machines[guest, transport] = vm, ways

    times = {}
    for number in range(rounds):
        if number % max(1, rounds // 10) == 0:
            say(f'round {number} of {rounds}')
        for key in random.sample(list(machines), len(machines)):
            vm, ways = machines[key]
            vm.qmp.execute('cont')      # one runs at a time
            time.sleep(PAUSE)
            for name in random.sample(list(ways), len(ways)):
                way = ways[name]
                for action in way.actions:
                    event = Event(vm, EVENTS[action])
                    sent = way.ask(action)
                    took = (event.wait() - sent) * 1000
                    way.finish()
                    times.setdefault((*key, action, name), []).append(took)
                    time.sleep(PAUSE)
            vm.qmp.execute('stop')
    return [dict(zip(('load', 'transport', 'action', 'way'), key),
                 **summary(values)) for key, values in times.items()]


# --- what it costs ----------------------------------------------------------

def processor_time(pid):
    """That of QEMU's main thread, in ms."""
    path = f'/proc/{pid}/task/{pid}/schedstat'
    return int(Path(path).read_text().split()[0]) / 1e6


def memory(pid):
    """Resident memory, in kB."""
    for line in Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1])
    raise RuntimeError(f'{pid} has no VmRSS')


def broadcast(bench, changes, say, counts=(1, 10, 100, 1000)):
    """What a change of the state costs QEMU, by the number of clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 2 * max(counts) + 200
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE,
                           (min(want, hard), hard))
    vm = bench.machine('idle', 'broadcast')
    pid = vm.process.pid
    waiting = selectors.DefaultSelector()
    clients, rows = [], []
    bench.stack.callback(lambda: [client.sock.close() for client in clients])
    changes += changes % 2              # it runs again after the last one
    for count in counts:
        say(f'{count} clients')
        before = memory(pid), len(clients)
        while len(clients) < count:
            client = wire.Client(vm.connect())
            client.wait_state()
            clients.append(client)
            waiting.register(client.sock, selectors.EVENT_READ, client)
        after = memory(pid)
        costs, last = [], []
        for number in range(changes):
            word, state, name = (('stop', 'paused', 'STOP'),
                                 ('cont', 'on', 'RESUME'))[number % 2]
            event = Event(vm, name)
            spent = processor_time(pid)
            vm.qmp.execute(word)
            left = len(clients)
            while left:
                for key, _ in waiting.select():
                    if key.data.wait_state().state == state:
                        left -= 1
            arrived = now()
            last.append((arrived - event.wait()) * 1000)
            costs.append(processor_time(pid) - spent)
        rows.append({'clients': count, 'cost': summary(costs),
                     'cost per client (us)':
                         statistics.median(costs) / count * 1000,
                     'all have it after': summary(last),
                     'memory per client (kB)':
                         (after - before[0]) / (count - before[1])})
    return rows


def cycles(bench, count, say):
    """Off and on, so many times: memory, and how long it takes."""
    vm = bench.machine('idle', 'cycles')
    client = wire.Client(vm.connect())
    client.wait_init()
    took, resident = [], []
    for number in range(count):
        if number % max(1, count // 5) == 0:
            say(f'cycle {number} of {count}')
        start = time.monotonic()
        for step, action in enumerate(('power-off', 'power-on')):
            states, result = client.act(action, 2 * number + step)
            if result.result != 'ok':
                raise RuntimeError(f'{action} was refused: {result}')
        took.append((time.monotonic() - start) * 1000)
        resident.append(memory(vm.process.pid))
        client.received.clear()
    tenth = max(1, count // 10)
    first, last = took[tenth:2 * tenth], took[-tenth:]
    return {'cycles': count, 'all': summary(took),
            'last tenth to second tenth':
                statistics.median(last) / statistics.median(first),
            'memory, second tenth (kB)':
                statistics.median(resident[tenth:2 * tenth]),
            'memory, last tenth (kB)': statistics.median(resident[-tenth:])}


# --- telling ----------------------------------------------------------------

def tell_latency(rows):
    """The table, and [(what, ratio, goal)]."""
    goals = []
    by_key = {(r['load'], r['transport'], r['action'], r['way']): r
              for r in rows}
    print(f'\n{"latency, in ms":44} {"median":>8} {"p95":>8} {"p99":>8} '
          f'{"ratio":>7}')
    for key in sorted(by_key):
        load, transport, action, way = key
        row = by_key[key]
        best = min(by_key[load, transport, action, other]['median']
                   for other in ('QMP', 'XVP')
                   if (load, transport, action, other) in by_key)
        ratio = row['median'] / best
        print(f'{f"{load}, {transport}: {action}, {way}":44} '
              f'{row["median"]:8.3f} {row["p95"]:8.3f} {row["p99"]:8.3f} '
              f'{ratio:7.2f}')
        if way.startswith('SPICE'):
            goals.append((f'{way}, {load}: {action} to the better of QMP and '
                          'XVP', ratio, 1.00))
            if load == 'drawing':
                goals.append((
                    f'{way}: {action}, drawing to idle', row['median']
                    / by_key['idle', transport, action, way]['median'], 1.2))
    return goals


def tell_broadcast(rows):
    print(f'\n{"clients":>8} {"cost, ms":>10} {"a client, us":>13} '
          f'{"all have it, ms":>16} {"memory, kB":>11}')
    for row in rows:
        print(f'{row["clients"]:8} {row["cost"]["median"]:10.3f} '
              f'{row["cost per client (us)"]:13.1f} '
              f'{row["all have it after"]["median"]:16.3f} '
              f'{row["memory per client (kB)"]:11.1f}')
    return []


def tell_cycles(found):
    print(f'\n{found["cycles"]} times off and on: median '
          f'{found["all"]["median"]:.2f} ms, p99 {found["all"]["p99"]:.2f} ms')
    for name, value in found.items():
        if name not in ('cycles', 'all'):
            print(f'  {name}: {value:.2f}')
    return []


def main():
    measurements = {'latency': (latency, tell_latency, 200),
                    'broadcast': (broadcast, tell_broadcast, 40),
                    'cycles': (cycles, tell_cycles, 1000)}
    parser = argparse.ArgumentParser(
        prog='./stack bench', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='*', metavar='WHAT',
                        help='only these of ' + ', '.join(measurements))
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='how often (default: 200 for latency, 40 for '
                             'broadcast, 1000 for cycles)')
    parser.add_argument('--json', type=Path, metavar='FILE',
                        help='write the figures there, too')
    args = parser.parse_args()
    for name in args.what:
        if name not in measurements:
            parser.error(f"'{name}' is none of " + ', '.join(measurements))
    end_cleanly()

    figures = {'processors': os.cpu_count(), 'load': os.getloadavg()[0]}
    goals = []
    print(f'{figures["processors"]} processors; the load was '
          f'{figures["load"]:.1f} when this began')
    for name in args.what or measurements:
        measure, tell, rounds = measurements[name]
        with tempfile.TemporaryDirectory(prefix='power-bench-') as directory, \
                contextlib.ExitStack() as stack:
            bench = Bench(Path(directory), stack)
            figures[name] = measure(
                bench, args.rounds or rounds, lambda text: print(
                    f'{name}: {text}', file=sys.stderr, flush=True))
        goals += tell(figures[name])
    if goals:
        print('\ngoals')
        for what, ratio, goal in goals:
            print(f'  {"met   " if ratio <= goal else "MISSED"} {ratio:5.2f} '
                  f'(at most {goal:.2f}): {what}')
    figures['goals'] = [dict(zip(('what', 'ratio', 'goal'), goal))
                        for goal in goals]
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except places.Missing as error:
        sys.exit(f'error: {error}\n  next: ./stack build')
