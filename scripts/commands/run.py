# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack run"""

import argparse
import os

import web
from building import after_dashes, need_built, run_environment


def command(add, options):
    p = add('run', run, 'run the patched QEMU',
            'Run the patched qemu-system-x86_64; it finds its firmware. '
            'Example: ./stack run -- -m 512 -spice port=5900,'
            'disable-ticketing=on,power=on')
    p.add_argument('--web', action='store_true',
                   help='have its console in a browser on this computer: '
                        'prints the address and a password, and ends with QEMU')
    p.add_argument('args', nargs=argparse.REMAINDER, metavar='-- QEMU ARGS')


def run(layout, args):
    qemu = layout.prefix / 'bin' / 'qemu-system-x86_64'
    need_built(qemu)
    words = after_dashes(args.args)
    if args.web:
        return web.run(layout, qemu, words, run_environment(layout))
    os.execve(qemu, [str(qemu), *words], run_environment(layout))
