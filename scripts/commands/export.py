# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack export"""

from pathlib import Path

import debian
import export
import sources
from core import StackError, load_upstreams, rel
from progress import Logged, Progress


def command(add, options):
    p = add('export', run,
            'write each series as its upstream wants it',
            'Write what is sent to each upstream: the patches, complete with '
            'their new files, and a cover letter, whose text is '
            'patches/UPSTREAM/cover.txt. Sources that are not there are fetched; '
            'nothing is built. docs/developing.rst says how to send '
            'them.', parents=[options.versions])
    p.add_argument('--output', metavar='DIR',
                   help='into DIR/UPSTREAM (default: build/export)')
    p.add_argument('--no-install', action='store_true',
                   help='do not install what fetching a source needs: '
                        + ', '.join(debian.FETCHING))
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only these (default: all)')


def fetch_sources(layout, names, no_install):
    """Have the sources of these series in build/src; nothing is built."""
    every = load_upstreams(layout)
    due = [u for u in every if not u.absent and not u.embedded_in
           and not (u.repo / '.git').is_dir()
           and (not names or u.name in names or any(
               u.name in inner.embedded_in for inner in every
               if inner.name in names))]
    if not due:
        return
    packages = [] if no_install else debian.missing(debian.FETCHING)
    progress = Progress(layout, bool(packages) + len(due))
    if packages:
        with progress.step(f'install {" ".join(packages)}',
                           'packages') as step:
            debian.install(packages, step)
    for upstream in due:
        with progress.step(f'source of {upstream.title}',
                           f'{upstream.name}-source') as step, Logged(step):
            step.result = sources.prepare(layout, upstream)


def run(layout, args):
    output = Path(args.output) if args.output else layout.build / 'export'
    upstreams = load_upstreams(layout, args.upstream)
    debian.check_path(layout)
    with layout.lock():
        fetch_sources(layout, args.upstream, args.no_install)
        for upstream in upstreams:
            if upstream.absent:
                if args.upstream:
                    raise StackError(
                        upstream.absence, './stack build'
                        f'{upstream.with_words} --source {upstream.name}=DIR '
                        f'{upstream.name}')
                print(f'{upstream.name}: left out, {upstream.absence}')
                continue
            count = export.export(upstream, output / upstream.name)
            print(f'{rel(output / upstream.name)}: {count} patches and a '
                  'cover letter')
    return 0
