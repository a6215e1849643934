# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack fuzz"""

import building
from building import execute
from core import ROOT


def command(add, options):
    p = add('fuzz', run, 'look for inputs that crash server or client',
            'Build what is not built and run the fuzzers of tests/fuzz, one '
            'after the other. Prints the figures; exits 1 if one of them found '
            'something, and says how to run it again. What they find on the '
            'way is in build/fuzz, the next run goes on from there.',
            parents=[options.common])
    p.add_argument('--time', type=int, default=3600, metavar='SECONDS',
                   help='for so long in all (default: an hour)')
    p.add_argument('target', nargs='*', metavar='TARGET',
                   help='only these of server, client, link, '
                        'demarshal-server, demarshal-client, proxy')


def run(layout, args):
    with layout.lock():
        building.build(layout, args, tests=['fuzz'], purposes=['full'])
    execute(layout, ROOT / 'tests' / 'fuzz' / 'run.py', '--build-dir',
            str(layout.build), '--time', str(args.time), *args.target)
