#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of docs/python.rst: a guest that crashes, and a window."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, desktop, places      # noqa: E402
from powertest.machine import GUEST             # noqa: E402
from powertest.manager import Manager           # noqa: E402
from powertest.record import TIMEOUT, Record, reader        # noqa: E402

EXAMPLES = places.ROOT / 'docs' / 'examples'
EXAMPLE = EXAMPLES / 'reset-on-crash.py'
WINDOW = EXAMPLES / 'power-window.py'
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


class Window(case.PowerTestCase):
    """GTK 4 has nothing of ours but SpicePowerActions."""

    def test_window(self):
        """State, menu, question, no and yes; the program ends by itself."""
        desk = self.enterContext(desktop.Desktop(self.log_dir))
        vm = self.machine('power=on')
        window = desk.run(WINDOW, vm.uri, env=places.python_environment())

        def find(role, name, **states):
            # GTK 4 does not say of anything that it is showing
            return window.shown.find(role, name, hidden=True, **states)

        def choose(key, item):
            find('button', 'Power', focused=True)
            window.press('space')
            find('menu item', item, sensitive=True)
            find('menu item', re.compile('.*'), focused=True)
            window.press(key)
        find('label', 'Running')
        mark = vm.qmp.mark()
        choose('p', 'Pause')
        vm.qmp.wait_event('STOP', mark)
        find('label', 'Paused')
        choose('e', 'Force Reset')
        find('button', re.compile('.*Cancel'), focused=True)
        window.press('Escape')
        find('window', 'Power', active=True)
        choose('e', 'Force Reset')
        find('label', re.compile('Reset .*'))
        self.assertNotIn('RESET', vm.qmp.event_names(mark))
        find('button', re.compile('.*Cancel'), focused=True)
        window.press('Tab')
        find('button', re.compile('.*Force Reset'), focused=True)
        window.press('Return')
        vm.qmp.wait_event('RESET', mark)
        find('window', 'Power', active=True)
        window.press('alt+F4')
        self.assertEqual(window.wait_exit(), 0)


if __name__ == '__main__':
    case.main(prepare)
