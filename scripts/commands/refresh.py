# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack refresh"""

import series_apply
import series_refresh
from building import OPTIONAL
from core import StackError, complain, load_upstreams


def command(add, options):
    p = add('refresh', run,
            'write patches/ and the overlay files from build/src',
            'Write patches/UPSTREAM/*.patch and the overlay files from the '
            'commits in build/src/UPSTREAM. Edits of overlay files, here or '
            'there, are folded into the commits that add them.',
            parents=[options.versions])
    p.add_argument('--continue', dest='resume', action='store_true',
                   help='after a patch that did not apply was finished by '
                        'hand: apply the rest first')
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only these (default: all)')


def run(layout, args):
    failed = False
    with layout.lock():
        for upstream in load_upstreams(layout, args.upstream):
            if (upstream.name in OPTIONAL and not args.upstream
                    and not upstream.repo.exists()):
                continue
            try:
                if args.resume:
                    for repo in upstream.repos:
                        series_apply.continue_series(upstream, repo)
                for path in series_refresh.refresh(upstream):
                    print(path)
            except StackError as e:
                complain(e)
                failed = True
    return 1 if failed else 0
