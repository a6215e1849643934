# SPDX-License-Identifier: GPL-2.0-or-later
"""unittest.TestCase with machines and clients at hand."""

import sys
import unittest

from . import places, spicypower, wire
from .machine import EMPTY, GUEST, Machine, end_cleanly


class PowerTestCase(unittest.TestCase):
    """Logs go to a directory of the test's own, which a failure names."""

    maxDiff = None
    longMessage = True

    def setUp(self):
        name = '.'.join(self.id().split('.')[-2:])      # class and method
        self.log_dir = places.log_directory(name)

    def machine(self, spice='power=on', **options):
        """An empty machine, that's quick; ended with the test."""
        machine = Machine(self.log_dir, spice, **options)
        return self.enterContext(machine)

    def guest(self, spice='power=on', extra=('-action', 'shutdown=pause'),
              **options):
        """The real guest, booted until it ticks."""
        places.need(places.KERNEL, places.INITRAMFS)
        machine = self.machine(spice, hardware=GUEST, extra=extra, **options)
        machine.wait_tick(machine.wait_boot(0))
        return machine

    def client(self, machine, **options):
        """A raw client that has been let in and has seen INIT."""
        client = self.enterContext(wire.Client(machine.connect(), **options))
        client.wait_init()
        return client

    def spicy_power(self, machine, *arguments, **options):
        """A spicy-power that stays."""
        return self.enterContext(
            spicypower.Client(machine, *arguments, **options))


class TAPResult(unittest.TestResult):
    """Test results as TAP, for meson; failures are explained in comments."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def startTest(self, test):
        super().startTest(test)
        self._wrong = []

    def stopTest(self, test):
        super().stopTest(test)
        for text in self._wrong:
            for line in text.splitlines():
                print(f'# {line}')
        if self._wrong:
            print(f'# logs: {places.rel(test.log_dir)}')
        self._print(test, 'not ok' if self._wrong else 'ok')

    def _print(self, test, what):
        reason = dict(self.skipped).get(test)
        note = f' # SKIP {reason}' if reason and what == 'ok' else ''
        self.number += 1
        name = test.id().split('.', 1)[1]
        about = test.shortDescription()
        name += f': {about}' if about else ''
        print(f'{what} {self.number} - {name}{note}', flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        self._wrong.append(self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._wrong.append(self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._wrong.append(
                f'{subtest}: {self._exc_info_to_string(err, test)}')


def main(prepare=lambda: None):
    """Run the tests of the program that calls; with --tap, for meson."""
    tap = sys.argv[1:] == ['--tap']
    end_cleanly()
    try:
        places.need(places.QEMU, places.SPICY_POWER)
        prepare()
    except places.Missing as missing:
        if tap:
            print('Bail out!', str(missing).replace('\n', ' '))
        sys.exit(str(missing))
    if not tap:
        unittest.main(verbosity=2)
    suite = unittest.defaultTestLoader.loadTestsFromModule(
        sys.modules['__main__'])
    print(f'1..{suite.countTestCases()}', flush=True)
    result = TAPResult()
    suite.run(result)
    sys.exit(0 if result.wasSuccessful() else 1)


__all__ = ['EMPTY', 'GUEST', 'PowerTestCase', 'main']
