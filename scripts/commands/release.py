# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack release"""

import release


def command(add, options):
    p = add('release', run, 'run every gate of a release',
            'Run the gates that have not passed on the commit that is checked '
            'out, one after the other, and write docs/release.rst and '
            'docs/release.json. It takes most of a day, and goes on where it '
            'was stopped.')
    p.add_argument('gate', nargs='*', metavar='GATE',
                   help='only these (default: all)')
    p.add_argument('--list', action='store_true',
                   help='say which there are, with their commands and results')
    p.add_argument('--again', action='store_true',
                   help='also those that have passed')


def run(layout, args):
    # no lock: what it runs takes them
    return release.run(layout, args.gate, args.again, args.list)
