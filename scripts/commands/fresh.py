# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack fresh"""

import argparse

import chroot
import debian
import fresh
from building import after_dashes
from core import StackError
from progress import Progress


def command(add, options):
    p = add('fresh', run, 'run a command on a Debian as it is installed',
            'Make a minimal Debian below build/fresh, with a clone of the '
            'commit that is checked out, and run a command in that clone: '
            './stack fresh trixie ./stack demo. Needs root.')
    p.add_argument('release', metavar='RELEASE',
                   help=' or '.join(debian.RELEASES))
    p.add_argument('args', nargs=argparse.REMAINDER, metavar='COMMAND')


def run(layout, args):
    chroot.need_root('fresh')
    command = after_dashes(args.args)
    if not command:
        raise StackError('there is no command to run in the clone',
                         './stack fresh trixie ./stack demo')
    with layout.lock():
        packages = debian.missing(fresh.TOOLS)
        progress = Progress(layout, bool(packages) + 1)
        if packages:
            with progress.step(f'install {" ".join(packages)}',
                               'packages') as step:
                debian.install(packages, step)
        return fresh.run(layout, args.release, command, progress)
