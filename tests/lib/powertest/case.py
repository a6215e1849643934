# SPDX-License-Identifier: GPL-2.0-or-later
"""unittest.TestCase with machines and clients at hand."""

import sys
import unittest

from . import places, spicypower, wire
from .machine import EMPTY, GUEST, Machine


class PowerTestCase(unittest.TestCase):
    """Logs go to a directory of the test's own, which a failure names."""

    maxDiff = None
    longMessage = True

    def setUp(self):
        *_, module, name = ('', *self.id().split('.')[-2:])
        self.log_dir = places.log_directory(f'{module}.{name}')

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

    def enterContext(self, manager):        # not in Python before 3.11
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value


def main():
    try:
        places.need(places.QEMU, places.SPICY_POWER)
    except places.Missing as missing:
        sys.exit(f'error: {missing}')
    unittest.main(verbosity=2)


__all__ = ['EMPTY', 'GUEST', 'PowerTestCase', 'main']
