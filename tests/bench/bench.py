#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long power control takes, and what it costs.

latency    from the client's send to the event in which QEMU says that it has
           happened, for SPICE, QMP, VNC's XVP and virsh; idle, and while the
           guest draws and a client reads what it draws; over a UNIX socket,
           TCP and TLS
cost       instructions for a message of the main channel, and memory for a
           client, with and without power control
trace      how far QEMU has got when, in a reset
broadcast  what it costs QEMU to tell N clients of a change
cycles     many times off and on: whether memory or latency drift
browser    from a click in a browser to the reset: SPICE's page and noVNC's

All of a comparison is measured in turns, in one run: compare ratios, the
figures themselves are those of the machine at that time. That is why it is one
file: all parts share the machines that they are measured on.
"""

import argparse
import contextlib
import functools
import json
import mmap
import os
import platform
import random
import re
import resource
import selectors
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import libvirt, netns, places, ports, tls, wire  # noqa: E402
from powertest.machine import Machine, end_cleanly      # noqa: E402
from powertest.probe import anonymous                   # noqa: E402
from powertest.qmp import QMP                           # noqa: E402
from powertest.record import TIMEOUT                    # noqa: E402

import cost                                             # noqa: E402
import pages                                            # noqa: E402
import plot                                             # noqa: E402
import tables                                           # noqa: E402
import telling                                          # noqa: E402
import tracing                                          # noqa: E402
from figures import Unavailable, summary                # noqa: E402
from ways import (Gspice, Gvnc, Qmp, Spice, Virsh,      # noqa: E402
                  VirshProcess, Xvp, tcp, turn, unix)

GUEST = Path(__file__).with_name('guest.S')
HARDWARE = ('-machine', 'pc', '-accel', 'tcg', '-m', '16', '-nodefaults',
            '-device', 'VGA')
# so long between two measurements, for what the last one has left to do
PAUSE = 0.01
EVENTS = {'reset': 'RESET', 'pause': 'STOP', 'continue': 'RESUME'}
LOADS = ('idle', 'drawing')
# so many updates a second the client of a machine that draws has to read
LEAST = 30


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

    pause = PAUSE

    def __init__(self, directory, stack, counts, novnc=None):
        self.directory = directory
        self.stack = stack
        self.novnc = novnc
        self.counts = counts            # of clients
        self.roms = build_guest(directory)

    @functools.cached_property
    def authority(self):
        return tls.Authority(self.directory / 'tls')

    @functools.cached_property
    def libvirt(self):
        log = self.directory / 'libvirt'
        log.mkdir()
        return self.stack.enter_context(libvirt.Libvirt(log))

    def closing(self, thing):
        self.stack.callback(thing.close)
        return thing

    def machine(self, guest, name, extra=(), **options):
        # what is compared with power control takes a viewer's place
        options.setdefault('many_clients', True)
        return self.stack.enter_context(Machine(
            self.directory, hardware=(*HARDWARE, '-bios',
                                      str(self.roms[guest])),
            extra=('-action', 'shutdown=pause', *extra), name=name,
            **options))

    def direct(self, load, transport):
        return Direct(self, load, transport)

    def event(self, machine, name):
        return Event(machine, name)

    def read_display(self, sock, main):
        return self.closing(Reader(sock, main))


class Reader:
    """A client that reads all that is drawn, in a process of its own."""

    def __init__(self, sock, main):
        display = wire.Client(sock, caps=(), channel=wire.CHANNEL_DISPLAY,
                              session=main.session)
        display.send(wire.MSGC_DISPLAY_INIT,
                     struct.pack('<BqBi', 1, 0, 1, 0))
        self.shared = mmap.mmap(-1, self.COUNTS.size)
        self.child = os.fork()
        if not self.child:
            with contextlib.suppress(BaseException):
                self._read(display)
            os._exit(1)
        display.sock.close()
        self.before = self.counts()

    COUNTS = struct.Struct('=QQ')       # updates of the display, bytes

    def _read(self, display):
        updates = size = 0
        while True:
            message = display.receive(time.monotonic() + 24 * 3600)
            display.received.clear()
            updates += message.type in wire.MSG_DRAW
            size += len(message.body)
            self.COUNTS.pack_into(self.shared, 0, updates, size)

    def counts(self):
        return self.COUNTS.unpack_from(self.shared)

    def check(self):
        if os.waitpid(self.child, os.WNOHANG)[0]:
            self.child = None
            raise RuntimeError('the client that reads the display has ended')

    def wait(self):
        """Wait until something is drawn and read."""
        updates, _ = self.counts()
        deadline = time.monotonic() + TIMEOUT
        while self.counts()[0] == updates:
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError('nothing is drawn that a client could read')
            time.sleep(0.001)

    def since(self):
        """(Updates, bytes) since the last time."""
        self.check()
        now = self.counts()
        more = [late - early for late, early in zip(now, self.before)]
        self.before = now
        return more

    def close(self):
        if self.child:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        self.shared.close()


# --- latency -----------------------------------------------------------------

class Direct:
    """A QEMU with all there is to ask it through, over one transport."""

    def __init__(self, bench, load, transport):
        self.name = f'{load}, {transport}'
        base = bench.directory / f'{load}-{transport}'
        context = None
        if transport == 'unix':
            qmp = f'path={base}.qmp'
            vnc = f'unix:{base}.vnc'
            spice = {}
        else:
            qmp_port, vnc_port = ports.free(), ports.free()
            qmp = f'host=127.0.0.1,port={qmp_port}'
            vnc = f'127.0.0.1:{vnc_port - 5900}'
            spice = {'tcp': True}
        extra = []
        if transport == 'tls':
            extra = ['-object', 'tls-creds-x509,id=tls,endpoint=server,'
                     f'verify-peer=off,dir={bench.authority.directory}']
            qmp += ',tls-creds=tls'
            vnc += ',tls-creds=tls'
            spice = {'tls': bench.authority}
            context = bench.authority.client_context()
        self.vm = bench.machine(
            load, f'{load}-{transport}', **spice, extra=(
                *extra, '-chardev', f'socket,id=way,server=on,wait=off,{qmp}',
                '-mon', 'chardev=way,mode=control',
                '-vnc', f'{vnc},power-control=on'))
        self.qmp = self.vm.qmp
        if transport == 'unix':
            screen = unix(f'{base}.vnc')
        else:
            screen = tcp(vnc_port)

        def monitor():
            if transport == 'unix':
                return unix(f'{base}.qmp')
            return tcp(qmp_port, context)

        def connect():
            if transport == 'unix':
                return self.vm.connect()
            return tcp(self.vm.port, context)
        main = Spice(connect())
        self.ways = {'SPICE': main, 'QMP': Qmp(monitor),
                     'XVP': Xvp(screen, context)}
        if transport != 'tls':
            # gvnc looks for certificates in /etc and in the home directory
            # only, so there would be nothing to compare spice-gtk with
            self.ways['SPICE by spice-gtk'] = bench.closing(
                Gspice(self.vm.uri))
            self.ways['XVP by gvnc'] = bench.closing(Gvnc(
                unix(f'{base}.vnc') if transport == 'unix'
                else tcp(vnc_port)))
        self.reader = bench.read_display(connect(), main.client)
        self.halt()

    def run(self):
        self.qmp.execute('cont')

    def halt(self):
        self.qmp.execute('stop')


class BenchDomain(libvirt.Domain):
    """A domain with the same guest, and a monitor for us."""

    def __init__(self, daemons, name, rom):
        self.rom = rom
        super().__init__(daemons, name, guest=False)
        self.monitor = self.run_dir / 'monitor'
        self.extra = ('-chardev', 'socket,id=bench,server=on,wait=off,'
                      f'path={self.monitor}',
                      '-mon', 'chardev=bench,mode=control')

    def xml(self):
        loader = f"<loader readonly='yes' type='rom'>{self.rom}</loader>"
        return (super().xml().replace('</os>', f'{loader}</os>')
                .replace("<memory unit='MiB'>256", "<memory unit='MiB'>16"))


class Managed:
    """A domain of libvirt's: power=managed, over TCP."""

    def __init__(self, bench, load):
        self.name = f'{load}, libvirt'
        domain = BenchDomain(bench.libvirt, load, bench.roms[load])
        bench.libvirt.domains.append(domain)
        domain.define().start()
        log = bench.stack.enter_context(
            open(bench.directory / f'{load}-domain-qmp.log', 'w'))
        self.qmp = bench.closing(QMP(unix(domain.monitor), log))
        port = int(domain.uri.rsplit(':', 1)[1])
        main = Spice(tcp(port))
        self.virsh = bench.closing(Virsh(domain))
        self.ways = {'SPICE, managed': main, 'virsh': self.virsh,
                     'virsh, started for it': VirshProcess(domain)}
        self.reader = bench.read_display(tcp(port), main.client)
        self.halt()

    def run(self):
        self.virsh.ask('continue')
        self.virsh.finish()

    def halt(self):
        self.virsh.ask('pause')
        self.virsh.finish()


class Event:
    """The time of an event that is not the guest's doing."""

    def __init__(self, machine, name):
        self.machine, self.name = machine, name
        self.mark = machine.qmp.events.mark

    def wait(self):
        event = self.machine.qmp.events.wait(
            lambda event: event['event'] == self.name
            and not event.get('data', {}).get('guest'),
            f'the event {self.name} of {self.machine.name}', self.mark)
        stamp = event['timestamp']
        return stamp['seconds'] + stamp['microseconds'] / 1e6


def one_round(machine, drawing):
    """({(action, way): ms}, and what the client of its display has read in a
    second: updates, MB)"""
    took = {}
    machine.run()                       # one runs at a time
    if drawing:
        machine.reader.wait()
    else:
        time.sleep(PAUSE)
    began = time.monotonic()
    machine.reader.since()
    for name in random.sample(list(machine.ways), len(machine.ways)):
        way = machine.ways[name]
        with turn(way):
            time.sleep(PAUSE)
            for action in way.actions:
                event = Event(machine, EVENTS[action])
                sent = way.ask(action)
                took[action, name] = (event.wait() - sent) * 1000
                way.finish()
                time.sleep(PAUSE)
    updates, size = machine.reader.since()
    seconds = time.monotonic() - began
    machine.halt()
    return took, updates / seconds, size / seconds / 1e6


def latency(bench, rounds, say):
    """The times of each way, and how much of the display was read."""
    machines = {}
    for load in LOADS:
        for transport in ('unix', 'tcp', 'tls'):
            machines[load, transport] = Direct(bench, load, transport)
        machines[load, 'libvirt'] = Managed(bench, load)

    times, rates = {}, {key: [] for key in machines}
    again = dict.fromkeys(machines, 0)
    for number in range(rounds):
        if number % max(1, rounds // 10) == 0:
            say(f'round {number} of {rounds}')
        for key in random.sample(list(machines), len(machines)):
            while True:
                took, updates, size = one_round(machines[key],
                                                key[0] == 'drawing')
                if key[0] == 'idle' or updates >= LEAST:
                    break
                # that was no load; it does not count
                again[key] += 1
                if again[key] > 10 + rounds // 10:
                    raise RuntimeError(
                        f'{machines[key].name}: the client has read '
                        f'{updates:.0f} updates of the display a second')
            for what, value in took.items():
                times.setdefault((*key, *what), []).append(value)
            rates[key].append((updates, size))
    return {'rounds': rounds,
            'ways': [{**dict(zip(('load', 'transport', 'action', 'way'), key)),
                      **summary(values),
                      'ms': [round(value, 4) for value in values]}
                     for key, values in times.items()],
            'display': [{'load': load, 'transport': transport,
                         'updates a second': statistics.median(
                             updates for updates, _ in values),
                         'at least': min(updates for updates, _ in values),
                         'MB a second': statistics.median(
                             size for _, size in values),
                         'rounds again': again[load, transport]}
                        for (load, transport), values in rates.items()]}


# --- what it costs ----------------------------------------------------------

def processor_time(pid):
    """That of QEMU's main thread, in ms."""
    path = f'/proc/{pid}/task/{pid}/schedstat'
    return int(Path(path).read_text().split()[0]) / 1e6


class State:
    """A change of the power state, which all are told."""
    message = wire.MSG_POWER_STATE

    def __init__(self, vm):
        self.vm, self.number = vm, 0

    def change(self):
        self.vm.qmp.execute(('stop', 'cont')[self.number % 2])
        self.number += 1


class MouseMode:
    """The same for what SPICE has always had: another mouse."""
    message = 105               # SPICE_MSG_MAIN_MOUSE_MODE

    def __init__(self, vm):
        self.vm, self.number = vm, 0
        mice = vm.qmp.execute('query-mice')
        self.mice = [next(mouse['index'] for mouse in mice
                          if mouse['absolute'] == absolute)
                     for absolute in (True, False)]

    def change(self):
        self.vm.qmp.human(f'mouse_set {self.mice[self.number % 2]}')
        self.number += 1


def broadcast(bench, changes, say):
    """What a change costs QEMU, by the number of clients that are told."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    vm = bench.machine('idle', 'broadcast',
                       extra=('-usb', '-device', 'usb-tablet'))
    pid = vm.process.pid
    waiting = selectors.DefaultSelector()
    clients, rows = [], []
    bench.stack.callback(lambda: [client.sock.close() for client in clients])
    kinds = {'power state': State(vm), 'mouse mode': MouseMode(vm)}
    changes += changes % 2              # it is then as it was before
    for count in bench.counts:
        say(f'{count} clients')
        before = anonymous(pid), len(clients)
        while len(clients) < count:
            client = wire.Client(vm.connect())
            client.wait_state()
            clients.append(client)
            waiting.register(client.sock, selectors.EVENT_READ, client)
        grown = ((anonymous(pid) - before[0]) / 1024 / (count - before[1]))
        costs = {name: [] for name in kinds}
        for number in range(changes):
            for name, kind in kinds.items():
                spent = processor_time(pid)
                kind.change()
                while len(waiting.select()) < count:
                    time.sleep(0.001)
                costs[name].append(processor_time(pid) - spent)
                for client in clients:
                    while client.receive().type != kind.message:
                        pass
                    client.received.clear()
                time.sleep(PAUSE)
        for name, values in costs.items():
            rows.append({'message': name, 'clients': count,
                         **summary(values),
                         'ms': [round(value, 4) for value in values],
                         'cost per client (us)':
                             statistics.median(values) / count * 1000,
                         'memory per client (kB)': grown})
    return rows


class SpiceCycle:
    """A machine that is powered off and on by a SPICE client."""

    def __init__(self, bench):
        self.vm = bench.machine('idle', 'cycles-spice')
        self.client = wire.Client(self.vm.connect())
        self.client.wait_init()
        self.number = 0

    def run(self):
        for action in 'power-off', 'power-on':
            self.number += 1
            _, result = self.client.act(action, self.number)
            if result.result != 'ok':
                raise RuntimeError(f'{action} was refused: {result}')
        self.client.received.clear()


class QmpCycle:
    """One without power control. No command of QMP's powers a machine off that
    stays: what is done to this one is the same, stopped, reset and started."""

    def __init__(self, bench):
        self.vm = bench.machine('idle', 'cycles-qmp', spice='')

    def run(self):
        event = Event(self.vm, 'RESET')
        self.vm.qmp.execute('stop')
        self.vm.qmp.execute('system_reset')
        event.wait()
        self.vm.qmp.execute('cont')


# the allocator takes some thousand cycles to settle, with any kind of reset
WARM_UP = 3


def cycles(bench, count, say):
    """Off and on, so many times: memory, and how long it takes.

    Before that WARM_UP times as many, which are told, too.
    """
    ways = {'SPICE': SpiceCycle(bench), 'QMP': QmpCycle(bench)}
    took = {name: [] for name in ways}
    sizes = {name: [anonymous(way.vm.process.pid)]
             for name, way in ways.items()}
    tenth = max(1, count // 10)
    for number in range((WARM_UP + 1) * count):
        if number % count == 0:
            say(f'{number} of {(WARM_UP + 1) * count} cycles, the last {count}'
                ' of which count')
        for name in random.sample(list(ways), len(ways)):
            start = time.monotonic()
            ways[name].run()
            took[name].append((time.monotonic() - start) * 1000)
            if (number + 1) % tenth == 0:
                sizes[name].append(anonymous(ways[name].vm.process.pid))
    return {'cycles': count, 'warm-up': WARM_UP * count, 'a tenth': tenth,
            'ways': {name: {
                **summary(took[name][-count:]),
                'tenths (ms)': [
                    round(statistics.median(took[name][place:place + tenth]),
                          4)
                    for place in range(0, len(took[name]), tenth)],
                'tenths (kB)': [size // 1024 for size in sizes[name]],
                'ms': [round(value, 4) for value in took[name][-count:]]}
                for name in ways}}


# --- all of it --------------------------------------------------------------

# how it is measured and told, and how often
MEASUREMENTS = {'latency': (latency, telling.latency, 200),
                'trace': (tracing.trace, tracing.tell, 40),
                'cost': (cost.cost, cost.tell, 1),
                'broadcast': (broadcast, telling.broadcast, 40),
                'cycles': (cycles, telling.cycles, 1000),
                'browser': (pages.browse, pages.tell, 100)}


def measure(args, save, figures):
    """All the figures; save() is called with them after each part.

    There may be figures of an earlier run, in which some are measured anew.
    """
    now = {'date': time.strftime('%Y-%m-%d'),
           'load before': os.getloadavg()[0]}
    anew = bool(figures)
    if not anew:
        figures = {**now, 'machine': f'{platform.machine()}, {os.cpu_count()} '
                                     'processors, TCG'}
    for name in args.what or MEASUREMENTS:
        function, _, rounds = MEASUREMENTS[name]
        with tempfile.TemporaryDirectory(prefix='power-bench-') as directory, \
                contextlib.ExitStack() as stack:
            bench = Bench(Path(directory), stack,
                          (1, 5, 10) if args.quick else (1, 10, 100, 1000),
                          args.novnc)
            if args.quick:
                rounds = 10 if name == 'cycles' else 2

            def say(text):
                print(f'{name}: {text}', file=sys.stderr, flush=True)
            try:
                figures[name] = function(bench, args.rounds or rounds, say)
            except Unavailable as error:
                if name in args.what:
                    raise
                say(f'left out: {error}')
        if anew:
            figures.setdefault('anew', {})[name] = now
        else:
            figures['load after'] = os.getloadavg()[0]
        save(figures)
    return figures


def tell(figures):
    """Print them; returns what of the goals is met, and what not."""
    print(f'{figures["date"]}, {figures["machine"]}; load '
          f'{figures["load before"]:.1f} before, '
          f'{figures["load after"]:.1f} after')
    for name, run in figures.get('anew', {}).items():
        print(f'{name}: {run["date"]}; load {run["load before"]:.1f} before')
    goals = []
    for name, (_, function, _) in MEASUREMENTS.items():
        if name in figures:
            goals += function(figures[name])
    telling.verdicts(goals)
    return goals


def as_json(figures):
    """With each list of numbers in one line."""
    return re.sub(r'\[\s+([-\d.,e\s]+?)\s+\]',
                  lambda found: f"[{' '.join(found.group(1).split())}]",
                  json.dumps(figures, indent=1)) + '\n'


def save(path, text):
    """All of it, or what was there before."""
    with tempfile.NamedTemporaryFile('w', dir=path.parent, delete=False,
                                     prefix=f'.{path.name}.') as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def check_writable(parser, path):
    try:
        if path.is_dir():
            raise IsADirectoryError('this is a directory')
        tempfile.NamedTemporaryFile(dir=path.parent).close()
    except OSError as error:
        parser.error(f'{path} could not be written: '
                     f'{error.strerror or error}')


def main():
    parser = argparse.ArgumentParser(
        prog='./stack bench', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='*', metavar='WHAT',
                        help='only these of ' + ', '.join(MEASUREMENTS))
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='how often (default: 200 for latency, 40 for '
                             'trace and broadcast, 1000 for cycles, 100 for '
                             'browser)')
    parser.add_argument('--quick', action='store_true',
                        help='only see whether it works')
    parser.add_argument('--strict', action='store_true',
                        help='exit with 1 if a goal is missed')
    parser.add_argument('--json', type=Path, metavar='FILE',
                        help='write the figures there, too, after each part')
    parser.add_argument('--from', type=Path, metavar='FILE', dest='source',
                        help='take the figures from there, and measure '
                             'nothing but WHAT')
    parser.add_argument('--novnc', type=Path, metavar='DIR',
                        help="another noVNC than Debian's, for browser")
    parser.add_argument('--plot', type=Path, metavar='FILE',
                        help='draw the figures as SVG (with gnuplot)')
    parser.add_argument('--rst', type=Path, metavar='FILE',
                        help='put the tables into FILE, '
                             'docs/measurements.rst, between its comments')
    args = parser.parse_args()
    for name in args.what:
        if name not in MEASUREMENTS:
            parser.error(f"'{name}' is none of " + ', '.join(MEASUREMENTS))
    if args.plot and not shutil.which('gnuplot'):
        parser.error('--plot needs gnuplot: apt-get install gnuplot-nox')
    for path in args.json, args.plot, args.rst:
        if path:
            check_writable(parser, path)
    if args.rst:
        tables.write({}, args.rst.read_text())      # it has places for them
    end_cleanly()
    shared = netns.alone()
    if shared:
        print(shared)

    def keep(figures):
        if args.json:
            save(args.json, as_json(figures))
    figures = json.loads(args.source.read_text()) if args.source else {}
    if args.what or not args.source:
        figures = measure(args, keep, figures)
    figures['goals'] = tell(figures)
    keep(figures)
    if args.plot:
        plot.draw(figures, args.plot)
    if args.rst:
        save(args.rst, tables.write(figures, args.rst.read_text()))
    missed = any(goal['verdict'] == 'MISSED' for goal in figures['goals'])
    return 1 if args.strict and missed else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except places.Missing as error:
        sys.exit(f'error: {error}\n  next: ./stack build')
    except (cost.CostError, tables.UnknownTable, Unavailable) as error:
        sys.exit(f'error: {error}')
