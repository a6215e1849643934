#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long power control takes, and what it costs.

latency    from the client's send to the event in which QEMU says that it has
           happened, for SPICE, QMP, VNC's XVP and virsh; idle, and while the
           guest draws and a client reads what it draws; over a UNIX socket,
           TCP and TLS
cost       instructions for a message of the main channel, and memory for a
           client, with and without power control
broadcast  what it costs QEMU to tell N clients of a change
cycles     many times off and on: whether memory or latency drift

All of a comparison is measured in turns, in one run: compare ratios, the
figures themselves are those of the machine at that time.
"""

import argparse
import contextlib
import functools
import json
import os
import platform
import random
import resource
import selectors
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import libvirt, places, tls, wire        # noqa: E402
from powertest.machine import Machine, end_cleanly      # noqa: E402
from powertest.probe import anonymous                   # noqa: E402
from powertest.qmp import QMP                           # noqa: E402

import cost                                             # noqa: E402
import plot                                             # noqa: E402
from ways import (Gvnc, Qmp, Spice, Virsh, VirshProcess, Xvp,  # noqa: E402
                  tcp, unix)

GUEST = Path(__file__).with_name('guest.S')
HARDWARE = ('-machine', 'pc', '-accel', 'tcg', '-m', '16', '-nodefaults',
            '-device', 'VGA')
# so long between two measurements, for what the last one has left to do
PAUSE = 0.01
EVENTS = {'reset': 'RESET', 'pause': 'STOP', 'continue': 'RESUME'}
LOADS = ('idle', 'drawing')


def summary(values):
    """Median and tails of some values, which are in ms."""
    ordered = sorted(values)

    def quantile(part):
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
    return {'n': len(ordered), 'median': statistics.median(ordered),
            'p95': quantile(0.95), 'p99': quantile(0.99)}


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as sock:
        return sock.getsockname()[1]


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

    def __init__(self, directory, stack, counts):
        self.directory = directory
        self.stack = stack
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
        return self.stack.enter_context(Machine(
            self.directory, hardware=(*HARDWARE, '-bios',
                                      str(self.roms[guest])),
            extra=('-action', 'shutdown=pause', *extra), name=name,
            **options))

    def read_display(self, sock, main):
        """A client that reads all that is drawn, in a process of its own."""
        display = wire.Client(sock, caps=(), channel=wire.CHANNEL_DISPLAY,
                              session=main.session)
        display.send(wire.MSGC_DISPLAY_INIT,
                     struct.pack('<BqBi', 1, 0, 1, 0))
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                while True:
                    display.receive(time.monotonic() + 3600)
                    display.received.clear()
            os._exit(0)
        display.sock.close()
        self.stack.callback(os.waitpid, child, 0)
        self.stack.callback(os.kill, child, signal.SIGKILL)


# --- latency ------------------------------------------------------------------

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
            qmp_port, vnc_port = free_port(), free_port()
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
            monitor, screen = unix(f'{base}.qmp'), unix(f'{base}.vnc')
        else:
            monitor, screen = tcp(qmp_port, context), tcp(vnc_port)

        def connect():
            if transport == 'unix':
                return self.vm.connect()
            return tcp(self.vm.port, context)
        main = Spice(connect())
        self.ways = {'SPICE': main, 'QMP': Qmp(monitor),
                     'XVP': Xvp(screen, context)}
        if transport != 'tls':
            # it looks for certificates in /etc and in the home directory only
            self.ways['XVP by gvnc'] = bench.closing(Gvnc(
                unix(f'{base}.vnc') if transport == 'unix'
                else tcp(vnc_port)))
        bench.read_display(connect(), main.client)
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

    def xml(self):
        loader = f"<loader readonly='yes' type='rom'>{self.rom}</loader>"
        monitor = ''.join(f"<qemu:arg value='{word}'/>" for word in (
            '-chardev', f'socket,id=bench,server=on,wait=off,'
            f'path={self.run_dir}/monitor',
            '-mon', 'chardev=bench,mode=control'))
        return (super().xml().replace('</os>', f'{loader}</os>')
                .replace("<memory unit='MiB'>256", "<memory unit='MiB'>16")
                .replace('<qemu:commandline>',
                         f'<qemu:commandline>{monitor}'))


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
        bench.read_display(tcp(port), main.client)
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


def latency(bench, rounds, say):
    """[{load, transport, action, way, and its summary}]"""
    machines = {}
    for load in LOADS:
        for transport in ('unix', 'tcp', 'tls'):
            machines[load, transport] = Direct(bench, load, transport)
        machines[load, 'libvirt'] = Managed(bench, load)

    times = {}
    for number in range(rounds):
        if number % max(1, rounds // 10) == 0:
            say(f'round {number} of {rounds}')
        for key in random.sample(list(machines), len(machines)):
            machine = machines[key]
            machine.run()               # one runs at a time
            time.sleep(PAUSE)
            for name in random.sample(list(machine.ways), len(machine.ways)):
                way = machine.ways[name]
                for action in way.actions:
                    event = Event(machine, EVENTS[action])
                    sent = way.ask(action)
                    took = (event.wait() - sent) * 1000
                    way.finish()
                    times.setdefault((*key, action, name), []).append(took)
                    time.sleep(PAUSE)
            machine.halt()
    return [dict(zip(('load', 'transport', 'action', 'way'), key),
                 **summary(values)) for key, values in times.items()]


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
                         'cost': summary(values), 'cost per client (us)':
                             statistics.median(values) / count * 1000,
                         'memory per client (kB)': grown})
    return rows


def cycles(bench, count, say):
    """Off and on, so many times: memory, and how long it takes."""
    vm = bench.machine('idle', 'cycles')
    client = wire.Client(vm.connect())
    client.wait_init()
    took, memory = [], []
    # the allocator takes some thousand to settle, with any kind of reset
    for number in range(-3 * count, count):
        if number % count == 0:
            say(f'cycle {number}' if number < 0 else f'{count} cycles')
        start = time.monotonic()
        for step, action in enumerate(('power-off', 'power-on')):
            _, result = client.act(action, 2 * (3 * count + number) + step)
            if result.result != 'ok':
                raise RuntimeError(f'{action} was refused: {result}')
        if number >= 0:
            took.append((time.monotonic() - start) * 1000)
            memory.append(anonymous(vm.process.pid))
        client.received.clear()
    tenth = max(1, count // 10)

    def tenths(values):
        return [statistics.median(values[place:place + tenth])
                for place in range(0, tenth * 10, tenth)
                if values[place:place + tenth]]
    times, sizes = tenths(took), tenths(memory)
    return {'cycles': count, 'all (ms)': summary(took),
            'tenths (ms)': times,
            'tenths (kB)': [size / 1024 for size in sizes],
            'last tenth to second tenth': times[-1] / times[min(1, len(times)
                                                                - 1)],
            'growth (bytes a cycle)':
                (sizes[-1] - sizes[min(1, len(sizes) - 1)])
                / max(1, count - 2 * tenth)}


# --- telling ----------------------------------------------------------------

def tell_latency(rows):
    """The table, and [(what, ratio, goal)]."""
    goals = []
    by_key = {(r['load'], r['transport'], r['action'], r['way']): r['median']
              for r in rows}
    width = 52
    print(f'\n{"latency, in ms":{width}} {"median":>8} {"p95":>8} {"p99":>8} '
          f'{"ratio":>6}')
    for row in sorted(rows, key=lambda row: (
            row['load'] == 'drawing', row['transport'], row['action'],
            row['way'])):
        key = row['load'], row['transport'], row['action']

        def best(*ways):
            return min(by_key[(*key, way)] for way in ways
                       if (*key, way) in by_key)
        others = [way for *where, way in by_key if tuple(where) == key
                  and not way.startswith('SPICE')]
        ratio = row['median'] / best(*others)
        what = f'{", ".join(key)}: {row["way"]}'
        print(f'{what:{width}} {row["median"]:8.3f} {row["p95"]:8.3f} '
              f'{row["p99"]:8.3f} {ratio:6.2f}')
        if not row['way'].startswith('SPICE'):
            continue
        if row['way'] == 'SPICE':
            xvp = ('XVP by gvnc' if (*key, 'XVP by gvnc') in by_key
                   else 'XVP')
            goals.append((f'{", ".join(key)}: SPICE to the better of QMP and '
                          f'{xvp}', row['median'] / best('QMP', xvp), 1.00))
        else:
            goals.append((f'{", ".join(key)}: SPICE to virsh',
                          row['median'] / best('virsh'), 1.00))
        if row['load'] == 'drawing':
            def grown(way):
                return (by_key[(*key, way)]
                        / by_key[('idle', *key[1:], way)])
            others = ', '.join(f'{way} {grown(way):.2f}' for way in others)
            goals.append((f'{", ".join(key[1:])}: SPICE, drawing to idle '
                          f'({others})', grown(row['way']), 1.2))
    return goals


def tell_broadcast(rows):
    print(f'\n{"told of":12} {"clients":>8} {"cost, ms":>10} '
          f'{"a client, us":>13} {"memory, kB":>11}')
    per_client = {}
    for row in rows:
        each = row['cost per client (us)']
        per_client[row['message'], row['clients']] = each
        print(f'{row["message"]:12} {row["clients"]:8} '
              f'{row["cost"]["median"]:10.3f} {each:13.1f} '
              f'{row["memory per client (kB)"]:11.1f}')
    most = max(count for _, count in per_client)
    return [(f'power state: {most} clients to {count}, each',
             per_client['power state', most] / per_client['power state',
                                                          count], 1.2)
            for count in (10, 100) if ('power state', count) in per_client
            and count < most]


def tell_cycles(found):
    print(f'\n{found["cycles"]} times off and on: median '
          f'{found["all (ms)"]["median"]:.2f} ms, '
          f'p99 {found["all (ms)"]["p99"]:.2f} ms')
    for name, unit in (('tenths (ms)', 'ms'), ('tenths (kB)', 'kB')):
        print('  by tenths: ' + ' '.join(
            f'{value:.{2 if unit == "ms" else 0}f}'
            for value in found[name]) + f' {unit}')
    return [('latency, the last tenth of the cycles to the second',
             found['last tenth to second tenth'], 1.1),
            ('memory, bytes for each cycle after the second tenth',
             found['growth (bytes a cycle)'], 64)]


MEASUREMENTS = {'latency': (latency, tell_latency, 200),
                'cost': (cost.cost, cost.tell, 1),
                'broadcast': (broadcast, tell_broadcast, 40),
                'cycles': (cycles, tell_cycles, 1000)}


def measure(args):
    """All the figures."""
    figures = {'date': time.strftime('%Y-%m-%d'),
               'machine': f'{platform.machine()}, {os.cpu_count()} '
                          'processors, TCG',
               'load before': os.getloadavg()[0]}
    for name in args.what or MEASUREMENTS:
        function, _, rounds = MEASUREMENTS[name]
        with tempfile.TemporaryDirectory(prefix='power-bench-') as directory, \
                contextlib.ExitStack() as stack:
            bench = Bench(Path(directory), stack,
                          (1, 10) if args.quick else (1, 10, 100, 1000))
            if args.quick:
                rounds = 10 if name == 'cycles' else 2
            figures[name] = function(
                bench, args.rounds or rounds, lambda text: print(
                    f'{name}: {text}', file=sys.stderr, flush=True))
    figures['load after'] = os.getloadavg()[0]
    return figures


def tell(figures):
    """Print them; returns what of the goals is met, and what not."""
    print(f'{figures["date"]}, {figures["machine"]}; load '
          f'{figures["load before"]:.1f} before, '
          f'{figures["load after"]:.1f} after')
    goals = []
    for name, (_, function, _) in MEASUREMENTS.items():
        if name in figures:
            goals += function(figures[name])
    print('\ngoals')
    for what, ratio, goal in goals:
        print(f'  {"met   " if ratio <= goal else "MISSED"} {ratio:7.3f} '
              f'(at most {goal:g}): {what}')
    return [{'what': what, 'ratio': ratio, 'goal': goal,
             'met': ratio <= goal} for what, ratio, goal in goals]


def main():
    parser = argparse.ArgumentParser(
        prog='./stack bench', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='*', metavar='WHAT',
                        help='only these of ' + ', '.join(MEASUREMENTS))
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='how often (default: 200 for latency, 40 for '
                             'broadcast, 1000 for cycles)')
    parser.add_argument('--quick', action='store_true',
                        help='only see whether it works')
    parser.add_argument('--json', type=Path, metavar='FILE',
                        help='write the figures there, too')
    parser.add_argument('--from', type=Path, metavar='FILE', dest='source',
                        help='measure nothing, take the figures from there')
    parser.add_argument('--plot', type=Path, metavar='FILE',
                        help='draw the figures as SVG (with gnuplot)')
    args = parser.parse_args()
    for name in args.what:
        if name not in MEASUREMENTS:
            parser.error(f"'{name}' is none of " + ', '.join(MEASUREMENTS))
    if args.plot and not shutil.which('gnuplot'):
        parser.error('--plot needs gnuplot: apt-get install gnuplot-nox')
    end_cleanly()

    figures = (json.loads(args.source.read_text()) if args.source
               else measure(args))
    figures['goals'] = tell(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + '\n')
    if args.plot:
        plot.draw(figures, args.plot)
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except places.Missing as error:
        sys.exit(f'error: {error}\n  next: ./stack build')
    except cost.CostError as error:
        sys.exit(f'error: {error}')
