# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack: the command line."""

import argparse
import sys

import series
from core import Layout, StackError, load_upstreams


def report(error):
    print(f'\nerror: {error}', file=sys.stderr)
    if error.hint:
        print(f'  next: {error.hint}', file=sys.stderr)


def cmd_refresh(layout, args):
    failed = False
    with layout.lock():
        for upstream in load_upstreams(layout, args.upstream):
            try:
                if args.resume:
                    for repo in upstream.repos:
                        series.continue_series(upstream, repo)
                for path in series.refresh(upstream):
                    print(path)
            except StackError as e:
                report(e)
                failed = True
    return 1 if failed else 0


def parse(argv):
    parser = argparse.ArgumentParser(
        prog='./stack',
        description='Power control for SPICE: build the whole chain, try it, '
                    'test it, change it.')
    parser.add_argument('--build-dir', metavar='DIR',
                        help='where everything is made (default: build)')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND',
                                     required=True)

    p = commands.add_parser(
        'refresh', help='write patches/ and the overlay files from build/src',
        description='Write patches/UPSTREAM/*.patch and the overlay files '
        'from the commits in build/src/UPSTREAM. Edits of overlay files, here '
        'or there, are folded into the commits that add them.')
    p.add_argument('--continue', dest='resume', action='store_true',
                   help='after a patch that did not apply was finished by '
                        'hand: apply the rest first')
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only these (default: all)')
    p.set_defaults(run=cmd_refresh)
    return parser.parse_args(argv)


def main(argv):
    args = parse(argv)
    try:
        return args.run(Layout(args.build_dir), args)
    except StackError as e:
        report(e)
        return 1
    except KeyboardInterrupt:
        print('\ninterrupted; the same command goes on from here',
              file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
