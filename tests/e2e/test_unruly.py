#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that reset or suspend their machine over and over.

They are a few instructions in place of a firmware, so what they do comes at any
moment of what a client asks for.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case          # noqa: E402

SECONDS = case.depth(3, 8)
OFF_STAYS = ('-action', 'shutdown=pause')


def out(port, value):
    """MOV DX, port; MOV AL or AX or EAX, value; OUT."""
    move, write = {1: (b'\xb0', b'\xee'), 2: (b'\xb8', b'\xef'),
                   4: (b'\x66\xb8', b'\x66\xef')}[len(value)]
    return b'\xba' + port.to_bytes(2, 'little') + move + value + write


def firmware(code):
    """64 KiB, which the machine starts at their end; it stops after code."""
    image = bytearray(b'\xf4' * 0x10000)
    code = b'\xfa' + code + b'\xf4\xeb\xfd'         # CLI; ...; HLT again
    image[:len(code)] = code
    image[0xfff0:0xfff5] = b'\xea\x00\x00\x00\xf0'  # JMP F000:0000
    return bytes(image)


def pci(register, value):
    return (out(0xcf8, (0x8000f800 | register).to_bytes(4, 'little'))
            + out(0xcfc, value))


# The reset control register of the PC
RESETS = firmware(out(0xcf9, b'\x06'))
# No interrupt table, and an interrupt: the processor gives up, at once again
TRIPLE_FAULTS = firmware(b'\x0f\x01\x1e\x08\x00'    # LIDT [8], which is empty
                         b'\xcc')                   # INT3
# ICH9: where its power management is, and that it is on; then suspend to RAM
SUSPENDS = firmware(pci(0x40, b'\x01\x06\x00\x00') + pci(0x44, b'\x80')
                    + out(0x604, b'\x00\x24'))


class Unruly(case.PowerTestCase):
    many_clients = True

    def unruly(self, image, name='guest', extra=OFF_STAYS):
        path = self.log_dir / f'{name}.rom'
        path.write_bytes(image)
        return self.machine(name=name, extra=extra, hardware=(
            '-machine', 'q35', '-accel', 'tcg', '-m', '16', '-nodefaults',
            '-bios', str(path)))

    def rounds(self, vm, *actions):
        """Ask for these in turn, for some seconds; which results there were"""
        client = self.client(vm)
        end = time.monotonic() + SECONDS
        results, request_id = set(), 0
        while time.monotonic() < end:
            for action in actions:
                request_id += 1
                _, result = client.act(action, request_id)
                self.assertEqual(result.request_id, request_id)
                results.add((action, result.result, result.message))
        self.assertIsNone(vm.process.poll())
        client.close()
        return results

    def test_resets(self):
        """Who resets itself all the time keeps nobody from anything."""
        for name, image in ('resets', RESETS), ('faults', TRIPLE_FAULTS):
            with self.subTest(name):
                vm = self.unruly(image, name)
                mark = vm.qmp.mark()
                for actions in (('pause', 'continue'), ('reset',),
                                ('power-off', 'power-on')):
                    self.assertEqual(self.rounds(vm, *actions),
                                     {(action, 'ok', '')
                                      for action in actions})
                # it has done so, and not only we
                self.assertTrue(any(
                    event['event'] == 'RESET' and event['data']['guest']
                    for event in vm.qmp.events.since(mark)))
                client = self.client(vm)
                client.act('power-off', 1)
                self.assertEqual(vm.qmp.status, 'shutdown')

    def test_resets_and_ends(self):
        """Its power-off, with which QEMU ends, works at the first try."""
        for number in range(20):
            vm = self.unruly(RESETS, f'guest{number}', extra=())
            client = self.client(vm)
            _, result = client.act('power-off', number)
            self.assertEqual(result.result, 'ok', result.message)
            self.assertEqual(vm.process.wait(30), 0)

    def test_suspends(self):
        """Who suspends while it is stopped is suspended when it goes on."""
        vm = self.unruly(SUSPENDS)
        for actions in (('power-off', 'power-on'),
                        ('reset', 'pause', 'continue'),
                        ('power-off', 'power-on', 'pause', 'continue')):
            self.assertEqual(self.rounds(vm, *actions),
                             {(action, 'ok', '') for action in actions})
        vm.qmp.execute('quit')
        self.assertEqual(vm.process.wait(30), 0)


if __name__ == '__main__':
    case.main()
