# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack shell"""

import argparse
import os

from building import after_dashes, need_built, run_environment
from core import rel


def command(add, options):
    p = add('shell', run, 'a shell with build/prefix in front',
            'A shell (or the given command) that finds the programs, '
            'libraries and man pages of build/prefix first.')
    p.add_argument('args', nargs=argparse.REMAINDER, metavar='-- COMMAND')


def run(layout, args):
    need_built(layout.prefix / 'bin')
    shell = os.environ.get('SHELL') or '/bin/sh'
    words = after_dashes(args.args)
    env = run_environment(layout)
    if words:
        os.execvpe(words[0], words, env)
    print(f'{rel(layout.prefix)}/bin is first in PATH; `exit` leaves')
    os.execve(shell, [shell], env)
