# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack clean"""

import contextlib
import shutil

import series_apply
from building import BUILT, check_names
from core import Layout, StackError, load_upstreams, rel, with_words


def command(add, options):
    p = add('clean', run, 'remove what was built',
            'Remove what was built. The sources and downloads stay, unless '
            'an upstream is named (its source goes too) or --all is given.',
            parents=[options.versions])
    p.add_argument('--all', action='store_true',
                   help='sources, downloads and private tools too')
    p.add_argument('--force', action='store_true',
                   help='even if build/src has work that is nowhere else')
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM')


def keep_work(layout, names):
    """Complain if a source, of those upstreams or any, has work in it."""
    # where sources are is the same for all versions, and a build may be of one
    # that the project does not have any more
    for u in load_upstreams(Layout(layout.build, {})):
        for repo in u.repos:
            host = repo.relative_to(layout.src).parts[0]
            if names and host not in names:
                continue
            work = (repo / '.git').is_dir() and series_apply.local_work(u, repo)
            if work:
                raise StackError(
                    f'{rel(repo)} has work that is nowhere else: '
                    + ', '.join(work[:6]),
                    f'./stack refresh{with_words(layout.versions)} keeps it '
                    'in patches/; --force deletes it')


def run(layout, args):
    check_names(args.upstream)
    # what --all deletes is the builds with other versions, too
    builds = [layout.build]
    if args.all:
        builds += sorted(p for p in layout.build.glob('with/*') if p.is_dir())
    with contextlib.ExitStack() as locks:
        for build in builds:
            locks.enter_context(Layout(build, {}).lock())
            if (args.all or args.upstream) and not args.force:
                keep_work(Layout(build), args.upstream)
        if args.upstream:
            gone = [d / name for name in args.upstream
                    for d in (layout.obj, layout.src)]
            gone += [p for name in args.upstream for p in
                     layout.obj.glob(f'*-{name}')
                     if p.name not in BUILT]
        elif args.all:
            gone = [p for p in layout.build.iterdir()
                    if p.name not in ('.lock', '.tests.lock')]
        else:
            gone = [layout.obj, layout.prefix, layout.log,
                    layout.build / 'deb',
                    *layout.build.glob('prefix-*')]
        for path in gone:
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.exists():
                print(f'removing {rel(path)}')
                shutil.rmtree(path)
    return 0
