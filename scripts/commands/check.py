# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack check"""

import os

import building
import check
import deb
import deb_own
import debian
import repeat
from building import OPTIONAL, tell_absent
from core import StackError


def command(add, options):
    p = add('check', run, 'build, and run every test there is',
            'Build what is not built and run the tests. The last line says '
            'how many passed, failed and were skipped.', parents=[options.common])
    p.add_argument('what', nargs='*', metavar='SUITE|TEST[:CASE]',
                   help='only these (default: all); see docs/developing.rst')
    p.add_argument('--full', action='store_true',
                   help='everything: with sanitizers, fuzzers, all tests of '
                        'libvirt, the packages, long rounds (up to three '
                        'hours). What has passed on this very tree is not run '
                        'again, so it can be interrupted')
    p.add_argument('--again', action='store_true',
                   help='with --full: run also what has passed')
    p.add_argument('--repeat', type=int, metavar='N',
                   help='run the tests N times, and tell how often each passed')
    p.add_argument('--load', action='store_true',
                   help='with --repeat: keep all processors busy meanwhile')
    p.add_argument('--each-patch', action='store_true',
                   help='in place of the usual tests: build every patch of '
                        'every series on its own (takes long)')


def run(layout, args):
    if args.load and not args.repeat:
        raise StackError('--load is for --repeat: a check beside which the '
                         'machine is kept busy tells nothing about time',
                         './stack check --repeat 20 --load '
                         + ' '.join(args.what))
    if args.each_patch:
        with layout.testing():
            with layout.lock():
                building.build(layout, args, optional=OPTIONAL)
            tell_absent(layout)
            return check.each_patch(layout, args.what,
                                    debian.environment(layout))
    # another one must not replace what is tested, nor the results; so this
    # one is taken first, and the other lock is free again during the tests:
    # they run ./stack, too
    with layout.testing():
        what = [repeat.split(word)[0] for word in args.what]
        with layout.lock():
            progress = building.build(
                layout, args, tests=what, full=args.full,
                purposes=['check'] + (['full'] if args.full or what else []))
            env = debian.environment(layout)
            chosen = check.choose(layout.obj / 'stack', what, env, args.full)
            if args.full and not what:
                build_packages(layout, progress, chosen)
        tell_absent(layout)
        if args.repeat:
            return repeat.run(layout, env, chosen, args.what, args.repeat,
                              args.load, args.full)
        if any(repeat.split(word)[1] for word in args.what):
            return repeat.run(layout, env, chosen, args.what, 1, False,
                              args.full)
        return check.run(layout, progress, env, chosen, args.full,
                         whole=not what, again=args.again)


def build_packages(layout, progress, chosen):
    """The Debian packages, for the test of them; what is built stays."""
    tests = {t['name'] for t in chosen}
    if not tests & {'packages', 'packages-own'}:
        return
    names = [] if 'packages' in tests else list(deb_own.FOLDERS)
    if os.geteuid():
        print('the packages are not built: that needs root (./stack deb)')
        return
    deb.check_disk(deb.Place(layout))
    progress.total += 2 * len(deb.needed(names)) + 2
    deb.build(layout, names, progress)
