# SPDX-License-Identifier: GPL-2.0-or-later
"""unittest.TestCase with machines and clients at hand."""

import os
import sys
import tempfile
import unittest
from pathlib import Path

import tap

from . import netns, places, spicypower, wire
from .machine import EMPTY, GUEST, Machine, end_cleanly
from .tls import Authority


FULL = os.environ.get('SPICE_POWER_TIER') == 'full'


def depth(usual, full):
    """How often, or how long: what ./stack check has time for, or --full."""
    return full if FULL else usual


class PowerTestCase(unittest.TestCase):
    """Logs go to a directory of the test's own."""

    maxDiff = None
    longMessage = True
    # whether several viewers can be connected, with spice-server's switch for
    # experiments: a test of what they can do to QEMU then
    many_clients = False

    def setUp(self):
        # the program, the class and the method: others run beside it
        name = '.'.join([Path(sys.argv[0]).stem.removeprefix('test_'),
                         *self.id().split('.')[-2:]])
        self.log_dir = places.log_directory(name)
        print(f'{name}: {self.shortDescription()}\n'
              f'  logs: {places.rel(self.log_dir)}', flush=True)

    def machine(self, spice='power=on', **options):
        """An empty machine, that's quick; ended with the test."""
        options.setdefault('many_clients', self.many_clients)
        machine = Machine(self.log_dir, spice, **options)
        return self.enterContext(machine)

    def guest(self, spice='power=on', extra=('-action', 'shutdown=pause'),
              **options):
        """The real guest, booted until it ticks."""
        places.need(places.KERNEL, places.INITRAMFS)
        machine = self.machine(spice, hardware=GUEST, extra=extra, **options)
        # seconds, unless the host has much else to do
        booted = machine.wait_boot(0, timeout=120)
        machine.wait_tick(booted, timeout=120)
        return machine

    def client(self, machine, **options):
        """A raw client that has been let in and has seen INIT."""
        client = self.enterContext(wire.Client(machine.connect(), **options))
        client.wait_init()
        return client

    def authority(self, **options):
        """A certificate authority that ends with the test."""
        return Authority(self.enterContext(
            tempfile.TemporaryDirectory(prefix='spice-power-')), **options)

    def spicy_power(self, machine, *arguments, **options):
        """A spicy-power that stays."""
        return self.enterContext(
            spicypower.Client(machine, *arguments, **options))


def main(prepare=lambda: None):
    """Run the tests of the program that calls, and tell the results in TAP."""
    end_cleanly()
    try:
        places.need(places.QEMU, places.SPICY_POWER)
        prepare()
    except places.Missing as missing:
        print('Bail out!', str(missing).replace('\n', ' '), flush=True)
        sys.exit(str(missing))
    shared = netns.alone()
    if shared:
        tap.note(shared)
    tap.main()


__all__ = ['EMPTY', 'GUEST', 'PowerTestCase', 'depth', 'main']
