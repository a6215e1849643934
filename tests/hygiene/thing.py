# SPDX-License-Identifier: GPL-2.0-or-later
"""A small upstream with a series, for the tests of what handles them."""

import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'scripts'))

import series                                           # noqa: E402
import series_refresh                                   # noqa: E402
from core import StackError, Upstream, git              # noqa: E402

WHO = {f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER')
       for what, value in (('NAME', 'A Developer'),
                           ('EMAIL', 'dev@example.org'),
                           ('DATE', '2026-02-03T04:05:06+01:00'))}
HOOKED = 'zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n'


class Thing:
    """An upstream, with what the functions of series.py look at."""
    name, title, package, with_words = 'thing', 'Thing', 'thing', ''

    def __init__(self, directory, repos, other_dir=None):
        directory.mkdir(parents=True, exist_ok=True)
        self.repos, self.repo = repos, repos[0]
        self.series_dir, self.other_dir = directory, other_dir
        self.overlay_dir = directory / 'files'

    overlay_file = Upstream.overlay_file


class SeriesCase(unittest.TestCase):
    """A small upstream: a.c, and a series that adds new.c and hooks it up."""

    def setUp(self):
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.repo = self.source('src')
        self.upstream = self.upstream_at('project', [self.repo])

    def upstream_at(self, name, repos):
        return Thing(self.top / name, repos)

    def source(self, name, text=HOOKED):
        repo = self.top / name
        (repo / 'sub').mkdir(parents=True)
        (repo / 'a.c').write_text(text)
        (repo / 'sub' / 'b.c').write_text('b\n')
        series.make_base(repo, 'Thing 1.0')
        return repo

    def commit(self, message, repo=None, **files):
        repo = repo or self.repo
        for name, text in files.items():
            (repo / name.replace('_', '.')).write_text(text)
        git(repo, 'add', '-A')
        git(repo, 'commit', '-q', '--allow-empty', '-F', '-', data=message,
            env=WHO)

    def two_commits(self, repo=None):
        self.commit('thing: Add new\n\nBecause.\n\nOverlay: new.c\n'
                    'Signed-off-by: A Developer <dev@example.org>\n', repo,
                    a_c=HOOKED.replace('four', 'four new'), new_c='new 1\n')
        self.commit('thing: Use new\n\nBecause, too.\n\n'
                    'Signed-off-by: A Developer <dev@example.org>\n', repo,
                    a_c=HOOKED.replace('four', 'four new used'))

    def refresh(self, upstream=None):
        return series_refresh.refresh(upstream or self.upstream,
                                      say=lambda s: None)

    def fails(self, text, function, *args):
        with self.assertRaisesRegex(StackError, text) as caught:
            function(*args)
        self.assertTrue(caught.exception.hint, 'no next step')
        return caught.exception

    def overlay(self, text=None):
        path = self.upstream.overlay_dir / 'new.c'
        if text is not None:
            path.write_text(text)
        return path.read_text()

    def patch_bytes(self):
        return {p.name: p.read_bytes()
                for p in self.upstream.series_dir.glob('*.patch')}
