#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Again and again: nothing leaks, on neither side.

Memory and file descriptors are looked at after each round. In the second half,
when all that is allocated once is there, the trend of the memory (a line, by
least squares) must be flat, and no file descriptor more must be open.

SPICE_POWER_QEMU names another QEMU than the one that is installed. Memory says
nothing if that was built with a sanitizer: LeakSanitizer judges when it exits,
and then its exit code is not 0.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places, wire        # noqa: E402

ROUNDS = case.depth(500, 1000)
ODD_ROUNDS = 200        # of clients that do not behave
CYCLES = 100
# Bytes that may come on top in each round. The limit for QEMU is some pages in
# all, because its resident memory is counted in pages
LIMIT_QEMU = 64 * 1024
LIMIT_CLIENT = 64
PAGE = os.sysconf('SC_PAGE_SIZE')

PAUSE_OFF = ('-action', 'shutdown=pause')
# All devices of a PC are reset; its CPU is halted, because the firmware takes
# memory each time that it gets a bit further
PC = ('-machine', 'pc', '-accel', 'qtest', '-m', '64', '-nodefaults',
      '-device', 'VGA')


def trend(values):
    """What a value grows by in each round, in the second half."""
    values = values[len(values) // 2:]
    middle = (len(values) - 1) / 2
    mean = sum(values) / len(values)
    return (sum((x - middle) * (y - mean) for x, y in enumerate(values))
            / sum((x - middle) ** 2 for x in range(len(values))))


class Usage:
    """Of a process, round by round."""

    def __init__(self, process):
        self.proc = Path(f'/proc/{process.pid}')
        self.memory, self.fds = [], []

    def look(self):
        pages = (self.proc / 'statm').read_text().split()[1]
        self.memory.append(int(pages) * PAGE)
        self.fds.append(len(os.listdir(self.proc / 'fd')))


class Rounds(case.PowerTestCase):
    many_clients = True

    def judge(self, memory, fds, limit, what):
        slope = trend(memory)
        half = len(memory) // 2
        print(f'  {len(memory)} rounds: {what} {memory[0]} bytes at first, '
              f'{memory[half]} half-way, {memory[-1]} at last, trend '
              f'{slope:+.1f} bytes a round (limit {limit})', flush=True)
        print(f'  file descriptors: {fds[0]} at first, {max(fds[:half])} and '
              f'{max(fds[half:])} at most in either half', flush=True)
        # one or two may be those of a client that comes or goes
        self.assertLessEqual(max(fds[half:]), max(fds[:half]) + 2)
        return slope

    def judge_qemu(self, usage):
        limit = LIMIT_QEMU // (len(usage.memory) // 2)
        slope = self.judge(usage.memory, usage.fds, limit, 'QEMU has')
        if 'SPICE_POWER_QEMU' in os.environ:
            print('  SPICE_POWER_QEMU is set: its memory is not judged here',
                  flush=True)
        else:
            self.assertLess(slope, limit)

    def end(self, vm):
        """Let QEMU exit as it does; a sanitizer speaks up then."""
        vm.qmp.execute('quit')
        said = (self.log_dir / f'{vm.name}.log').read_text
        self.assertEqual(vm.wait_exit(120), 0, said()[-4000:])
        self.assertIsNone(re.search('Sanitizer', said()), said()[-4000:])

    # --- what a client may do in a round -------------------------------------

    def act(self, client):
        self.assertEqual(client.act('pause', 1)[1].result, 'ok')
        self.assertEqual(client.act('continue', 2)[1].result, 'ok')

    def refused(self, client):
        self.assertEqual(client.act('power-off', 1)[1].result, 'ok')
        self.assertEqual(client.act('reset', 2)[1].result, 'wrong-state')
        self.assertEqual(client.act('power-on', 3)[1].result, 'ok')

    def impatient(self, client):
        client.send_raw(b''.join(client.request_frame('reset', ident)
                                 for ident in range(10)))
        self.assertEqual({client.wait_result().result for _ in range(10)},
                         {'busy', 'ok'})

    def leave(self, client):
        client.request('reset', 1)

    def rounds(self, **options):
        vm = self.machine(extra=PAUSE_OFF, **options)
        usage = Usage(vm.process)
        kinds = (self.act, self.refused, self.impatient, self.leave)
        for number in range(ODD_ROUNDS):
            mark = vm.qmp.mark()
            with wire.Client(vm.connect()) as client:
                client.wait_state()
                kinds[number % len(kinds)](client)
            vm.qmp.wait_event('SPICE_DISCONNECTED', mark)
            usage.look()
        self.judge_qemu(usage)
        self.end(vm)

    def test_unix(self):
        """Clients that know no manners connect, act and go."""
        self.rounds()

    def test_tls(self):
        """The same over TLS."""
        self.rounds(tls=self.authority())

    def test_power_cycles(self):
        """Off and on, with the same client."""
        vm = self.machine(hardware=PC, extra=PAUSE_OFF)
        usage = Usage(vm.process)
        client = self.client(vm)
        for number in range(CYCLES):
            self.assertEqual(client.act('power-off', number)[1],
                             (number, 'ok', ''))
            self.assertEqual(client.act('power-on', number)[1],
                             (number, 'ok', ''))
            usage.look()
        self.judge_qemu(usage)
        self.end(vm)

    def test_client(self):
        """A program opens sessions with spice-gtk, acts, and closes them."""
        program = self.log_dir / 'rounds'
        source = Path(__file__).with_name('rounds.c')
        flags = subprocess.run(
            ['pkg-config', '--cflags', '--libs', 'spice-client-glib-2.0'],
            env=dict(os.environ, PKG_CONFIG_PATH=':'.join(
                str(places.PREFIX / path / 'pkgconfig')
                for path in ('lib', 'share'))),
            text=True, check=True, stdout=subprocess.PIPE).stdout.split()
        subprocess.run(['cc', '-g', '-O1', '-Wall', '-Werror', '-o', program,
                        source, *flags], check=True, text=True)
        vm = self.machine()
        usage = Usage(vm.process)
        memory, fds = [], []
        client = subprocess.Popen([program, vm.uri, str(ROUNDS)],
                                  env=places.environment(), text=True,
                                  stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE)
        try:
            for line in client.stdout:
                memory.append(int(line))
                usage.look()
                try:
                    fds.append(len(os.listdir(f'/proc/{client.pid}/fd')))
                except FileNotFoundError:
                    pass                # that was the last one
            self.assertEqual(client.wait(30), 0)
        finally:
            client.kill()
            client.wait()
            client.stdout.close()
        self.assertEqual(len(memory), ROUNDS)
        slope = self.judge(memory, fds[2:], LIMIT_CLIENT, 'the client has')
        self.assertLess(slope, LIMIT_CLIENT)
        self.judge_qemu(usage)
        self.end(vm)


if __name__ == '__main__':
    case.main()
