# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine without a guest that is suspended as if its guest did it."""

import contextlib
import socket
import tempfile

from .record import TIMEOUT

# nothing runs in it, but it has power management, and more channels
PC = ('-machine', 'pc', '-accel', 'qtest', '-m', '16', '-nodefaults',
      '-device', 'VGA')


@contextlib.contextmanager
def qtest_listener(test):
    """Options for a machine, and a function that lets its guest suspend it.

    A guest does that by way of the PIIX4's power management, of which the
    firmware sets the address; here the test is both.
    """
    directory = test.enterContext(tempfile.TemporaryDirectory())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f'{directory}/qtest')
        listener.listen()
        listener.settimeout(TIMEOUT)

        def suspend():
            sock, _ = listener.accept()
            with sock, sock.makefile('rw') as qtest:
                for command in ('outl 0xcf8 0x80000b40',    # its address
                                'outl 0xcfc 0x601',
                                'outl 0xcf8 0x80000b80',    # enable it
                                'outb 0xcfc 1',
                                'outw 0x604 0x2400'):       # suspend
                    qtest.write(command + '\n')
                    qtest.flush()
                    test.assertEqual(qtest.readline(), 'OK\n')

        yield ('-chardev', f'socket,id=qtest,path={directory}/qtest',
               '-qtest', 'chardev:qtest'), suspend
