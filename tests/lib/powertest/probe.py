# SPDX-License-Identifier: GPL-2.0-or-later
"""How QEMU is while something is done to it, seen from a process of its own.

One round trip to the monitor after another, and QEMU's memory now and then. A
process of its own, because the threads of a Python program get into each
other's way.

A round trip takes time for two reasons: QEMU does something else, or the
machine lets somebody else run. /proc/PID/schedstat tells how long a thread has
run, and how long it was ready to run and did not. QEMU's time is the round
trip without the waiting of QEMU's threads, one of which may wait for another,
and of ours. They may all wait at once, so that is too little at times, but it
is at least what QEMU's main thread, which serves the monitor, has run.

Memory is what QEMU has allocated: anonymous memory that is there ("Anonymous"
in smaps_rollup). Pages of programs and libraries, which come and go as the
kernel likes, don't count.
"""

import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

PAUSE = 0.001           # seconds between two round trips
MEMORY_EVERY = 0.05     # seconds between two looks at the memory


def anonymous(pid):
    """QEMU's memory in bytes."""
    text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    line = next(line for line in text.splitlines()
                if line.startswith('Anonymous:'))
    return int(line.split()[1]) << 10


def open_files(pid):
    """How many file descriptors QEMU has."""
    return len(os.listdir(f'/proc/{pid}/fd'))


class Seen(NamedTuple):
    trips: int          # round trips to the monitor
    slowest: float      # seconds QEMU has taken for one
    slowest_raw: float  # the same, with the time that the machine took
    memory: int         # bytes, the most that was seen
    seconds: float

    def __str__(self):
        return (f'QMP max {self.slowest * 1000:.1f} ms (with the machine '
                f'{self.slowest_raw * 1000:.1f} ms) of {self.trips} round '
                f'trips in {self.seconds:.1f} s')


class Probe:
    """Looks at QEMU from start to stop()."""

    def __init__(self, path, pid):
        self._process = subprocess.Popen(
            [sys.executable, __file__, path, str(pid)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process.stdout.readline()         # it has begun

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def stop(self):
        out, _ = self._process.communicate('stop\n', timeout=60)
        if self._process.returncode:
            raise RuntimeError('the monitor was lost')
        return Seen(*json.loads(out))


# --- in the process of its own -----------------------------------------------

class Clock:
    """Seconds that a thread has run, and has waited for a processor."""

    def __init__(self, path):
        self._fd = os.open(path, os.O_RDONLY)

    def __call__(self):
        ran, waited, _ = os.pread(self._fd, 64, 0).split()
        return int(ran) / 1e9, int(waited) / 1e9


def measure(path, pid):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    stream = sock.makefile('rwb')

    def trip(command):
        stream.write(b'{"execute": "%s"}\n' % command)
        stream.flush()
        while b'"return"' not in stream.readline():
            pass                                # an event

    stream.readline()                           # the greeting
    trip(b'qmp_capabilities')
    clocks = []
    try:
        # QEMU's main thread is the first
        for thread in sorted(map(int, os.listdir(f'/proc/{pid}/task')),
                             key=lambda thread: thread != pid):
            clocks.append(Clock(f'/proc/{pid}/task/{thread}/schedstat'))
        clocks.append(Clock('/proc/thread-self/schedstat'))
    except FileNotFoundError:           # a kernel that does not tell
        clocks.clear()
    print('begun', flush=True)
    start = time.monotonic()
    trips = slowest = slowest_raw = memory = looked = 0
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        before = [clock() for clock in clocks]
        begin = time.monotonic()
        trip(b'query-status')
        end = time.monotonic()
        took = qemus = end - begin
        if clocks:
            after = [clock() for clock in clocks]
            waited = sum(now[1] - then[1] for now, then in zip(after, before))
            qemus = max(took - waited, min(took, after[0][0] - before[0][0]))
        trips += 1
        slowest_raw = max(slowest_raw, took)
        slowest = max(slowest, qemus)
        if end - looked > MEMORY_EVERY:
            memory = max(memory, anonymous(pid))
            looked = time.monotonic()
    json.dump((trips, slowest, slowest_raw, memory, time.monotonic() - start),
              sys.stdout)


if __name__ == '__main__':
    measure(sys.argv[1], int(sys.argv[2]))
