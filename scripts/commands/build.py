# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack build"""

import building
from building import check_names, tell_absent
from core import rel


def command(add, options):
    p = add('build', run, 'fetch, patch and build',
            'Install the packages that are missing, fetch the sources, apply '
            'the series, build and install into build/prefix.',
            parents=[options.common])
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only this one, and what it needs (default: all)')


def run(layout, args):
    check_names(args.upstream)
    with layout.lock():
        progress = building.build(layout, args, args.upstream)
    if not args.upstream:
        tell_absent(layout)
    print(f'built in {progress.elapsed()}; it is in {rel(layout.prefix)}')
    return 0
