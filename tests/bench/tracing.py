# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the time of a reset goes: when QEMU has got how far.

By uprobes, the kernel's: QEMU is the one that is measured otherwise, not one
with trace points. Not all that matters has one of those, and with the backend
that QEMU is built with each is a write(). That needs root, and tracefs, which
is mounted where nobody else sees it if it is not there.

Probes take time, too: every second reset of each way is one without them, so
that it is known how much.
"""

import contextlib
import ctypes
import os
import random
import re
import statistics
import subprocess
import time
from pathlib import Path

from powertest import places

from figures import Unavailable
from ways import turn

TRACEFS = Path('/sys/kernel/tracing')
CLONE_NEWNS = 0x20000
# the file of the machine's own process ids, include/linux/proc_ns.h in Linux
INIT_PID_NS = 0xEFFFFFFC
WAYS = ('SPICE', 'QMP', 'XVP', 'SPICE by spice-gtk', 'XVP by gvnc')
# what is told: where it is entered (p) or left (r)
PROBES = {
    'it reads the request': ('p', ('watch_read', 'monitor_qmp_read',
                                   'vnc_client_io')),
    'power_request()': ('p', ('power_request',)),
    'qmp_system_reset()': ('p', ('qmp_system_reset',)),
    'SPICE_POWER_REQUEST is to be written':
        ('p', ('qapi_event_send_spice_power_request',)),
    'SPICE_POWER_REQUEST is written':
        ('r', ('qapi_event_send_spice_power_request',)),
    'qemu_system_reset_request()': ('p', ('qemu_system_reset_request',)),
    'the vCPUs are to stop': ('p', ('pause_all_vcpus',)),
    'the vCPUs have stopped': ('r', ('pause_all_vcpus',)),
    'RESET is to be written': ('p', ('qapi_event_send_reset',)),
}
READS = 'it reads the request'
ASKED = 'qemu_system_reset_request()'
LINE = re.compile(r'-(\d+)\s+\[\d+\]\s+\S+\s+(\d+\.\d+): (\w+): ')


def offsets(program):
    """{symbol: where it is in the file}"""
    def lines(*command):
        return subprocess.run([*command, str(program)], check=True, text=True,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE).stdout.splitlines()
    segments = []
    for line in lines('readelf', '--segments', '--wide'):
        words = line.split()
        if words[:1] == ['LOAD']:
            offset, address, _, size = (int(word, 16) for word in words[1:5])
            segments.append((address, address + size, offset - address))
    found = {}
    for line in lines('nm'):
        words = line.split()
        if len(words) == 3 and words[1] in 'tT':
            address = int(words[0], 16)
            for start, end, move in segments:
                if start <= address < end:
                    found[words[2]] = address + move
    return found


def mount():
    if os.stat('/proc/self/ns/pid').st_ino != INIT_PID_NS:
        raise Unavailable("no uprobes: they tell the machine's process ids, "
                          'and in here there are others')
    if (TRACEFS / 'uprobe_events').exists():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() or libc.unshare(CLONE_NEWNS):
        raise Unavailable('no uprobes without root')
    for command in (['--make-rprivate', '/'],
                    ['-t', 'tracefs', 'tracefs', str(TRACEFS)]):
        subprocess.run(['mount', *command], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not (TRACEFS / 'uprobe_events').exists():
        raise Unavailable(f'no uprobes: there is nothing in {TRACEFS}')


class Probes:
    """Those of a QEMU, and a buffer of our own for what they see."""

    def __init__(self, stack):
        mount()
        where = offsets(places.qemu().path)
        group = f'power{os.getpid()}'
        self.directory = TRACEFS / 'instances' / group
        self.steps, number = {}, 0
        try:
            self.directory.mkdir()
            stack.callback(self.directory.rmdir)
            for what, (kind, symbols) in PROBES.items():
                for symbol in symbols:
                    if symbol not in where:
                        raise Unavailable(f'no uprobes: this QEMU has no '
                                          f'{symbol}()')
                    number += 1
                    self._define(f'{kind}:{group}/step{number} '
                                 f'{places.qemu().path}:{where[symbol]:#x}')
                    stack.callback(self._define, f'-:{group}/step{number}')
                    self.steps[f'step{number}'] = what
            (self.directory / 'trace_clock').write_text('mono')
        except OSError as error:
            raise Unavailable(f'no uprobes: {TRACEFS}: {error.strerror}')
        self.enable = self.directory / 'events' / group / 'enable'
        stack.callback(self.enable.write_text, '0')

    def _define(self, text):
        # neither emptied nor sought in, as open() would
        file = os.open(TRACEFS / 'uprobe_events', os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, text.encode() + b'\n')
        finally:
            os.close(file)

    @contextlib.contextmanager
    def watching(self):
        """Nothing else is to be seen in it than what is done within."""
        (self.directory / 'trace').write_text('')
        self.enable.write_text('1')
        try:
            yield
        finally:
            self.enable.write_text('0')

    def seen(self, pid, since):
        """{step: when it was there}, from a time of the clock "mono" on."""
        threads = os.listdir(f'/proc/{pid}/task')
        found = {}
        for line in (self.directory / 'trace').read_text().splitlines():
            match = LINE.search(line)
            if not match or match.group(1) not in threads:
                continue
            step, when = self.steps[match.group(3)], float(match.group(2))
            # of what it reads, the last before it does something about it
            if when >= since and (step not in found
                                  or step == READS and len(found) == 1):
                found[step] = when
        return found


def trace(bench, rounds, say):
    """{load: {way: when, in us from the send, it has got how far}}"""
    probes = Probes(bench.stack)
    machines = {load: bench.direct(load, 'tcp') for load in
                ('idle', 'drawing')}
    pause = bench.pause
    steps, totals = {}, {}
    for number in range(rounds):
        if number % max(1, rounds // 10) == 0:
            say(f'round {number} of {rounds}')
        for load in random.sample(list(machines), len(machines)):
            machine = machines[load]
            machine.run()
            if load == 'drawing':
                machine.reader.wait()
            tries = [(name, probed) for name in WAYS
                     for probed in (True, False)]
            for name, probed in random.sample(tries, len(tries)):
                way = machine.ways[name]
                watched = (probes.watching if probed
                           else contextlib.nullcontext)
                # CLOCK_REALTIME to that of the probes
                shift = (time.clock_gettime(time.CLOCK_MONOTONIC)
                         - time.clock_gettime(time.CLOCK_REALTIME))
                with turn(way), watched():
                    time.sleep(pause)
                    event = bench.event(machine, 'RESET')
                    sent = way.ask('reset')
                    came = event.wait()
                    way.finish()
                totals.setdefault((load, name, probed), []).append(
                    (came - sent) * 1e6)
                if probed:
                    seen = probes.seen(machine.vm.process.pid, sent + shift)
                    for step, when in seen.items():
                        steps.setdefault((load, name, step), []).append(
                            (when - shift - sent) * 1e6)
            machine.halt()

    def median(values):
        return round(statistics.median(values), 1)
    return {'rounds': rounds, 'loads': {load: {name: {
        'steps (us)': {step: median(steps[load, name, step])
                       for step in PROBES if (load, name, step) in steps},
        'RESET (us)': median(totals[load, name, True]),
        'RESET without probes (us)': median(totals[load, name, False])}
        for name in WAYS} for load in machines}}


def table(ways):
    """(Header, rows) of one load, in the order of SPICE's."""
    ours = ways['SPICE']['steps (us)']
    steps = sorted(ours, key=ours.get)
    place = steps.index(ASKED)
    steps[place:place] = [
        step for step in PROBES if step not in ours
        and any(step in found['steps (us)'] for found in ways.values())]
    rows = [(step, *(ways[name]['steps (us)'].get(step) for name in WAYS))
            for step in steps]
    rows += [(title, *(ways[name][key] for name in WAYS)) for title, key in (
        ("RESET, by the event's time", 'RESET (us)'),
        ('the same without probes', 'RESET without probes (us)'))]
    return ('', 'SPICE', 'QMP', 'XVP', 'spice-gtk', 'gvnc'), rows


def tell(found):
    for load, ways in found['loads'].items():
        header, rows = table(ways)
        print(f'\n{load + ", TCP: us from the send":38}'
              + ''.join(f'{name:>10}' for name in header[1:]))
        for title, *values in rows:
            print(f'{title:38}' + ''.join(
                f'{"" if value is None else f"{value:.0f}":>10}'
                for value in values))
    print(f'medians of {found["rounds"]} resets of each')
    return []
