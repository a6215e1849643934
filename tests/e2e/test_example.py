#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The example of docs/python.rst, with a guest that crashes."""

import contextlib
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places              # noqa: E402
from powertest.machine import GUEST             # noqa: E402
from powertest.manager import Manager           # noqa: E402
from powertest.record import TIMEOUT, Record, reader        # noqa: E402

EXAMPLE = places.ROOT / 'docs' / 'examples' / 'reset-on-crash.py'
# A guest that tells the device of its panic at its fifth tick
CRASHES = (*GUEST[:-1], GUEST[-1] + ' CRASH_AT=5', '-device', 'pvpanic-pci')
PAUSES = ('-action', 'panic=pause')
REASON = 'Not before somebody has looked'


class Example(case.PowerTestCase):
    @contextlib.contextmanager
    def example(self, vm):
        """The example, until QEMU has ended: what it says."""
        output = Record('the example')
        program = subprocess.Popen(
            [EXAMPLE, vm.uri], env=places.python_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        try:
            reader(program.stdout, output,
                   lambda line: line.decode(errors='replace').rstrip())
            yield output
            vm.qmp.execute('quit')
            self.assertEqual(program.wait(TIMEOUT), 0)
        finally:
            program.kill()
            program.wait()
            output.wait_end()
            program.stdout.close()

    def wait_crash(self, vm, console=0, mark=0):
        """Wait until the guest has booted, and crashed; the marks then."""
        console = vm.wait_boot(console, timeout=120)
        vm.wait_tick(console, 5, timeout=120)
        return console, vm.qmp.events.wait_mark(
            lambda event: event['event'] == 'GUEST_PANICKED', 'a panic', mark)

    def wait_running(self, output, since=0):
        output.wait(lambda line: line.startswith('continue'),
                    'that the machine runs again', since)

    def test_reset_on_crash(self):
        """Whenever the guest crashes, it's reset, and boots again."""
        vm = self.machine('power=on', hardware=CRASHES, extra=PAUSES)
        with self.example(vm) as output:
            console, mark, expected = 0, 0, []
            for _ in range(2):          # it crashes again after the reset
                console, mark = self.wait_crash(vm, console, mark)
                seen = len(expected)
                expected += ['reset: ok', 'continue: ok']
                self.wait_running(output, seen)
        self.assertEqual(output.since()[:len(expected)], expected)

    def test_refused(self):
        """If that is refused, it says why, and tries again."""
        vm = self.machine('power=managed', hardware=CRASHES, extra=PAUSES,
                          probe=True)
        manager = self.enterContext(Manager(vm, reasons={'reset': REASON}))
        manager.work()
        with self.example(vm) as output:
            self.wait_crash(vm)
            output.wait(f'reset: {REASON}'.__eq__, 'that it is refused')
            manager.reasons.clear()
            self.wait_running(output)
        self.assertEqual(output.since()[:3], [
            f'reset: {REASON}', 'reset: ok', 'continue: ok'])


def prepare():
    places.need(EXAMPLE, places.KERNEL, places.INITRAMFS)


if __name__ == '__main__':
    case.main(prepare)
