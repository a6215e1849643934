#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The example of docs/python.rst, with a guest that crashes."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places              # noqa: E402
from powertest.machine import GUEST             # noqa: E402
from powertest.record import Record, reader     # noqa: E402

EXAMPLE = places.ROOT / 'docs' / 'examples' / 'reset-on-crash.py'
# A guest that tells the device of its panic at its fifth tick
CRASHES = (*GUEST[:-1], GUEST[-1] + ' CRASH_AT=5', '-device', 'pvpanic-pci')


class Example(case.PowerTestCase):
    def test_reset_on_crash(self):
        """Whenever the guest crashes, it's reset, and boots again."""
        vm = self.machine('power=on', hardware=CRASHES,
                          extra=('-action', 'panic=pause'))
        output = Record('the example')
        program = subprocess.Popen(
            [EXAMPLE, vm.uri], env=places.python_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        try:
            reader(program.stdout, output,
                   lambda line: line.decode(errors='replace').rstrip())
            console, mark, expected = 0, 0, []
            for _ in range(2):          # it crashes again after the reset
                console = vm.wait_boot(console, timeout=120)
                vm.wait_tick(console, 5, timeout=120)
                mark = vm.qmp.events.wait_mark(
                    lambda event: event['event'] == 'GUEST_PANICKED',
                    'a panic', mark)
                seen = len(expected)
                expected += ['reset: ok', 'continue: ok']
                output.wait(lambda line: line.startswith('continue'),
                            'that the machine runs again', seen)
            vm.qmp.execute('quit')
            self.assertEqual(program.wait(30), 0)
            output.wait_end()
            self.assertEqual(output.since()[:len(expected)], expected)
        finally:
            program.kill()
            program.wait()
            output.wait_end()
            program.stdout.close()


def prepare():
    places.need(EXAMPLE, places.KERNEL, places.INITRAMFS)


if __name__ == '__main__':
    case.main(prepare)
