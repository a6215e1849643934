#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What ./stack does with patches, apt's sources, packages, mistakes."""

import errno
import io
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import chroot                                           # noqa: E402
import deb                                              # noqa: E402
import deb_own                                          # noqa: E402
import deb_patched                                      # noqa: E402
import debian                                           # noqa: E402
import export                                           # noqa: E402
import fetch                                            # noqa: E402
import series                                           # noqa: E402
import sources                                          # noqa: E402
import stack                                            # noqa: E402
import tap                                              # noqa: E402
from core import (                                     # noqa: E402
    Layout, StackError, Upstream, git, load_upstreams, with_words)

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
        return series.refresh(upstream or self.upstream, say=lambda s: None)

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


class RoundTrip(SeriesCase):
    def test_there_and_back(self):
        self.two_commits()
        self.refresh()
        patches = self.patch_bytes()
        self.assertEqual(['0001-thing-Add-new.patch',
                          '0002-thing-Use-new.patch'], sorted(patches))
        self.assertEqual('new 1\n', self.overlay())
        for data in patches.values():
            self.assertNotIn(b'new.c b/', data)
            self.assertNotIn(b'new file', data)
        other = self.source('other')
        self.upstream.repos, self.upstream.repo = [other], other
        series.apply_series(self.upstream, other)
        self.assertEqual(git(self.repo, 'rev-parse', 'HEAD^{tree}'),
                         git(other, 'rev-parse', 'HEAD^{tree}'))
        self.assertEqual(git(self.repo, 'rev-parse', 'HEAD'),
                         git(other, 'rev-parse', 'HEAD'))
        self.assertEqual('', git(other, 'status', '--porcelain'))
        self.assertEqual([], self.refresh())
        self.assertEqual(patches, self.patch_bytes())

    def test_overlay_only(self):
        """A commit that changes no existing file is a patch without diff."""
        self.commit('thing: Only new\n\nBecause.\n\nOverlay: new.c\n',
                    new_c='n\n')
        self.refresh()
        head = git(self.repo, 'rev-parse', 'HEAD')
        git(self.repo, 'reset', '-q', '--hard', 'base')
        series.apply_series(self.upstream, self.repo)
        self.assertEqual(head, git(self.repo, 'rev-parse', 'HEAD'))
        self.assertEqual([], self.refresh())

    def test_base_is_the_same_everywhere(self):
        self.assertEqual(git(self.repo, 'rev-parse', 'base'),
                         git(self.source('other'), 'rev-parse', 'base'))

    def test_trailer_missing(self):
        self.commit('thing: Add new\n\nBecause.\n', new_c='n\n')
        error = self.fails('adds files that no trailer names', self.refresh)
        self.assertIn('Overlay: new.c', error.hint)
        self.assertEqual({}, self.patch_bytes())

    def test_trailer_of_nothing(self):
        self.commit('thing: Add\n\nBecause.\n\nOverlay: new.c\n', a_c='x\n')
        self.fails('does not add', self.refresh)

    def test_message_that_ends_early(self):
        self.commit('thing: Change\n\nBecause.\n---\nand more\n', a_c='x\n')
        self.fails('does not survive', self.refresh)

    def test_uncommitted(self):
        self.two_commits()
        (self.repo / 'a.c').write_text('other\n')
        self.fails('belong to no commit yet', self.refresh)

    def test_removed_patch(self):
        self.two_commits()
        self.refresh()
        git(self.repo, 'reset', '-q', '--hard', 'base')
        self.refresh()
        self.assertEqual({}, self.patch_bytes())
        self.assertFalse((self.upstream.overlay_dir / 'new.c').exists())

    def test_copies_differ(self):
        other = self.source('other')
        self.two_commits()
        self.two_commits(other)
        both = self.upstream_at('project', [self.repo, other])
        self.refresh(both)
        self.commit('thing: More\n\nBecause.\n', other, a_c='x\n')
        self.fails('different series', self.refresh, both)
        self.commit('thing: More\n\nBecause.\n', self.repo, a_c='y\n')
        self.fails('differ in 0003', self.refresh, both)


class Export(SeriesCase):
    """What ./stack export writes (of the real series: test_export.py)."""

    def setUp(self):
        super().setUp()
        self.two_commits()
        self.refresh()
        self.cover = self.upstream.series_dir / 'cover.txt'
        self.cover.write_text('thing: New things\n\nThey are\nneeded.\n')
        self.out = self.top / 'out'

    def export(self):
        return export.export(self.upstream, self.out)

    def test_new_file_and_letter(self):
        self.assertEqual(2, self.export())
        letter, first, second = sorted(self.out.iterdir())
        text = letter.read_text()
        self.assertIn('\nFrom: A Developer <dev@example.org>\n', text)
        self.assertIn('\nSubject: [PATCH 0/2] thing: New things\n\nThey are\n'
                      'needed.\n\nA Developer (2):\n', text)
        text = first.read_text()
        self.assertIn('\n+new 1\n', text)
        self.assertIn('\nBecause.\n\nSigned-off-by: A Developer', text)
        self.assertIn('\nDate: Tue, 3 Feb 2026 04:05:06 +0100\n', text)
        git(self.repo, 'checkout', '-q', '-b', 'taken', 'base')
        git(self.repo, 'am', '-q', first, second, env=WHO)
        self.assertEqual(git(self.repo, 'rev-parse', 'main^{tree}'),
                         git(self.repo, 'rev-parse', 'HEAD^{tree}'))

    def test_again(self):
        """What an earlier export left does not get sent."""
        self.export()
        (self.out / 'notes').write_text('mine\n')
        git(self.repo, 'reset', '-q', '--hard', 'HEAD^')
        self.refresh()
        self.assertEqual(1, self.export())
        self.assertEqual(['0000-cover-letter.patch',
                          '0001-thing-Add-new.patch', 'notes'],
                         sorted(p.name for p in self.out.iterdir()))

    def test_work_elsewhere(self):
        self.commit('thing: More\n\nBecause.\n', a_c='x\n')
        self.fails('has work that is not in', self.export)
        self.assertFalse(self.out.exists())

    def test_no_letter(self):
        self.cover.unlink()
        self.fails('has no cover letter', self.export)
        self.assertFalse(self.out.exists())


class Edits(SeriesCase):
    """Overlay files can be edited on either side."""

    def setUp(self):
        super().setUp()
        self.two_commits()
        self.refresh()

    def sync(self):
        return series.update_repo(self.upstream, self.repo)

    def test_in_the_project(self):
        for text in ('edited once\n', 'edited twice\n'):
            self.overlay(text)
            self.assertEqual('copied new.c', self.sync())
            self.assertEqual(text, (self.repo / 'new.c').read_text())
            self.assertIsNone(self.sync())
        patches = self.patch_bytes()
        self.refresh()
        self.assertEqual('', git(self.repo, 'status', '--porcelain'))
        # folded into the commit which adds it, and the other one follows
        self.assertEqual('edited twice',
                         git(self.repo, 'show', 'HEAD^:new.c'))
        self.assertEqual('', git(self.repo, 'diff', 'HEAD^', 'HEAD', '--',
                                 'new.c'))
        self.assertEqual('edited twice\n', self.overlay())
        self.assertEqual(patches, self.patch_bytes())

    def test_in_the_source(self):
        (self.repo / 'new.c').write_text('edited\n')
        self.assertIsNone(self.sync())
        self.assertEqual('edited\n', (self.repo / 'new.c').read_text())
        self.refresh()
        self.assertEqual('edited\n', self.overlay())
        self.assertEqual('edited', git(self.repo, 'show', 'HEAD^:new.c'))

    def test_committed_in_the_source(self):
        (self.repo / 'new.c').write_text('edited\n')
        git(self.repo, 'commit', '-qam', 'fixup! thing: Add new', env=WHO)
        self.assertIsNone(self.sync())
        self.refresh()
        self.assertEqual('edited\n', self.overlay())
        self.assertEqual(2, len(self.patch_bytes()))
        self.assertEqual(2, len(series.commits_of(self.repo)))

    def test_change_of_another_commits_file(self):
        (self.repo / 'new.c').write_text('edited\n')
        git(self.repo, 'commit', '-qam', 'thing: Improve new', env=WHO)
        self.fails('only changes overlay files', self.refresh)

    def test_both(self):
        self.overlay('one way\n')
        (self.repo / 'new.c').write_text('the other\n')
        self.fails('both were edited', self.sync)
        self.fails('both were edited', self.refresh)
        self.assertEqual('one way\n', self.overlay())
        (self.repo / 'new.c').write_text('one way\n')
        self.assertIsNone(self.sync())

    def test_mode(self):
        (self.repo / 'new.c').chmod(0o755)
        self.refresh()
        self.assertTrue(os.access(self.upstream.overlay_dir / 'new.c',
                                  os.X_OK))
        self.assertIn('100755', git(self.repo, 'ls-tree', 'HEAD^', 'new.c'))


class Follow(SeriesCase):
    """What git pull brought is applied again."""

    def setUp(self):
        super().setUp()
        self.two_commits()
        self.refresh()
        patch = self.upstream.series_dir / '0002-thing-Use-new.patch'
        self.old = patch.read_bytes()
        patch.write_bytes(self.old.replace(b'four new used',
                                           b'four new used twice'))

    def test_clean(self):
        for name in ('new.c', 'sub/b.c', 'a.c'):
            os.utime(self.repo / name, (1000, 1000))
        self.assertIn('applied again',
                      series.update_repo(self.upstream, self.repo))
        self.assertIn('four new used twice', (self.repo / 'a.c').read_text())
        self.assertEqual('', git(self.repo, 'status', '--porcelain'))
        touched = {name for name in ('new.c', 'sub/b.c', 'a.c')
                   if (self.repo / name).stat().st_mtime != 1000}
        self.assertEqual({'a.c'}, touched)

    def test_with_an_overlay_edit(self):
        self.overlay('pulled\n')
        series.update_repo(self.upstream, self.repo)
        self.assertEqual('pulled\n', (self.repo / 'new.c').read_text())
        self.assertEqual('', git(self.repo, 'status', '--porcelain'))

    def test_with_an_older_overlay_edit(self):
        """A build copied an edit; then the series and that file changed."""
        patch = self.upstream.series_dir / '0002-thing-Use-new.patch'
        new = patch.read_bytes()
        patch.write_bytes(self.old)
        self.overlay('edited\n')
        self.assertEqual('copied new.c',
                         series.update_repo(self.upstream, self.repo))
        patch.write_bytes(new)
        self.overlay('pulled\n')
        series.update_repo(self.upstream, self.repo)
        self.assertEqual('pulled\n', (self.repo / 'new.c').read_text())
        self.assertEqual('', git(self.repo, 'status', '--porcelain'))

    def test_uncommitted(self):
        (self.repo / 'sub' / 'b.c').write_text('mine\n')
        error = self.fails('work of its own: sub/b.c', series.update_repo,
                           self.upstream, self.repo)
        self.assertIn('git -C', error.hint)
        self.assertEqual('mine\n', (self.repo / 'sub' / 'b.c').read_text())

    def test_committed(self):
        self.commit('thing: Mine\n\nBecause.\n', a_c='mine\n')
        self.fails('work of its own: commits', series.update_repo,
                   self.upstream, self.repo)

    def test_refresh_does_not_undo_it(self):
        self.fails('a refresh would undo that', self.refresh)


class DoesNotApply(SeriesCase):
    def setUp(self):
        super().setUp()
        self.two_commits()
        self.refresh()

    def test_no_fuzz(self):
        """A context line that differs is enough to refuse a patch."""
        other = self.source('other', HOOKED.replace('two', 'TWO'))
        error = self.fails(r'0001-thing-Add-new.patch does not apply',
                           series.apply_series, self.upstream, other)
        self.assertIn('a.c', str(error))
        self.assertIn('refresh --continue', error.hint)

    def test_finish_by_hand(self):
        other = self.source('other', HOOKED.replace('three', 'THREE'))
        self.upstream.repos, self.upstream.repo = [other], other
        self.fails('0001', series.apply_series, self.upstream, other)
        self.fails('still waits', series.update_repo, self.upstream, other)
        self.assertEqual('new 1\n', (other / 'new.c').read_text())
        self.fails('a.c.rej', series.continue_series, self.upstream, other)
        (other / 'a.c.rej').unlink()
        text = HOOKED.replace('three', 'THREE').replace('four', 'four new')
        (other / 'a.c').write_text(text)
        # the second patch has the same trouble
        self.fails('0002', series.continue_series, self.upstream, other)
        (other / 'a.c.rej').unlink()
        (other / 'a.c').write_text(text.replace('new', 'new used'))
        self.assertTrue(series.continue_series(self.upstream, other))
        self.refresh()
        self.assertEqual(2, len(self.patch_bytes()))
        self.assertIn(b' THREE', self.patch_bytes()
                      ['0001-thing-Add-new.patch'])
        self.assertEqual(['thing: Add new', 'thing: Use new'],
                         [c.subject for c in series.commits_of(other)])

    def test_offset(self):
        """Lines that moved are fine: a point release moves them."""
        other = self.source('other', 'more\n' * 20 + HOOKED)
        notes = []
        series.build_chain(self.upstream, other,
                           series.patches_of(self.upstream), notes=notes)
        self.assertTrue(any('offset 20 lines' in n for n in notes), notes)

    def test_missing_overlay_file(self):
        (self.upstream.overlay_dir / 'new.c').unlink()
        self.fails('is missing', series.build_chain, self.upstream,
                   self.repo, series.patches_of(self.upstream))


class OtherVersion(SeriesCase):
    """A series for two versions: what stands twice is only what differs."""

    TEXT = HOOKED.replace('three', 'THREE')

    def setUp(self):
        super().setUp()
        self.commit('thing: Add new\n\nBecause.\n\nOverlay: new.c\n', None,
                    a_c=HOOKED.replace('four', 'four new'), new_c='new 1\n')
        (self.repo / 'sub' / 'b.c').write_text('b new\n')
        self.commit('thing: Use new\n\nBecause, too.\n',
                    a_c=HOOKED.replace('four', 'four new used'))
        self.refresh()
        self.shared = self.patch_bytes()
        self.repo2 = self.source('other', self.TEXT)
        self.two = Thing(self.upstream.series_dir, [self.repo2],
                         self.upstream.series_dir / '2.0')
        for patch in ('0001', '0002'):
            self.fails(patch, *((series.apply_series, self.two, self.repo2)
                                if patch == '0001' else
                                (series.continue_series, self.two, self.repo2)))
            (self.repo2 / 'a.c.rej').unlink()
            (self.repo2 / 'a.c').write_text(self.TEXT.replace(
                'four', 'four new' if patch == '0001' else 'four new used'))
        series.continue_series(self.two, self.repo2)
        self.refresh(self.two)

    def other_files(self):
        return sorted(str(p.relative_to(self.two.other_dir))
                      for p in self.two.other_dir.rglob('*') if p.is_file())

    def again(self):
        """What is written gives back what it was written from."""
        head = git(self.repo2, 'rev-parse', 'HEAD^{tree}')
        git(self.repo2, 'reset', '-q', '--hard', 'base')
        series.apply_series(self.two, self.repo2)
        self.assertEqual(head, git(self.repo2, 'rev-parse', 'HEAD^{tree}'))
        self.assertEqual([], self.refresh(self.two))

    def test_only_what_differs(self):
        self.assertEqual(self.shared, self.patch_bytes())
        self.assertEqual(['0001-thing-Add-new.diff', '0002-thing-Use-new.diff'],
                         self.other_files())
        diff = (self.two.other_dir / '0002-thing-Use-new.diff').read_text()
        self.assertIn('+four new used', diff)
        self.assertNotIn('sub/b.c', diff)
        self.assertEqual('b new\n', (self.repo2 / 'sub/b.c').read_text())
        self.again()

    def test_no_longer_differs(self):
        """A part that the shared patch does as well goes away."""
        self.repo2 = self.source('third')
        self.two.repos, self.two.repo = [self.repo2], self.repo2
        series.apply_series(Thing(self.upstream.series_dir, [self.repo2]),
                            self.repo2)
        series.record(self.two, self.repo2, series.patches_of(self.two))
        self.assertEqual(2, len(self.refresh(self.two)))
        self.assertEqual([], self.other_files())

    def test_overlay(self):
        (self.repo2 / 'new.c').write_text('new 2\n')
        self.refresh(self.two)
        self.assertIn('files/new.c', self.other_files())
        self.assertEqual('new 1\n', self.overlay())
        self.again()
        # and it follows an edit of its own file, not of the shared one
        self.overlay('new 3\n')
        self.assertIsNone(series.update_repo(self.two, self.repo2))
        (self.two.other_dir / 'files' / 'new.c').write_text('new 4\n')
        self.assertEqual('copied new.c',
                         series.update_repo(self.two, self.repo2))

    def test_made_for(self):
        """A patch that changes where there is a .diff is noticed."""
        patch, = [p for p in series.patches_of(self.two)
                  if p.path.name == '0002-thing-Use-new.patch']
        self.assertTrue(patch.instead.startswith(series.made_for(patch)))
        for old, new, same in ((b'+b new', b'+b newer', True),
                               (b'@@ -2,7 +2,7', b'@@ -9,7 +9,7', True),
                               (b'+four new used', b'+four new', False)):
            self.assertIn(old, patch.data)
            data, patch.data = patch.data, patch.data.replace(old, new)
            self.assertEqual(same, patch.instead.startswith(
                series.made_for(patch)), old)
            patch.data = data

    def test_follows_the_series(self):
        patch = self.two.other_dir / '0002-thing-Use-new.diff'
        patch.write_text(patch.read_text().replace('new used', 'new used 2'))
        self.assertIn('applied again',
                      series.update_repo(self.two, self.repo2))
        self.assertIn('new used 2', (self.repo2 / 'a.c').read_text())

    def test_other_commits(self):
        self.commit('thing: One more\n\nBecause.\n', self.repo2, a_c='x\n')
        error = self.fails('other commits', self.refresh, self.two)
        self.assertIn('without --with', error.hint)


class PlaceOfVersions(unittest.TestCase):
    def test_short(self):
        """What follows from a choice is not in its name: sockets are below."""
        args = stack.parse(['check', '--with', 'qemu=10.2',
                            '--with', 'spice=0.16'])
        layout = stack.chosen_layout(args)
        self.assertEqual({'qemu': '10.2', 'spice': '0.16',
                          'spice-protocol': '0.14.5'}, layout.versions)
        self.assertEqual('qemu-10.2+spice-0.16', layout.build.name)
        # an error's next step names all of them, and is about the same place
        args = stack.parse(['check', *with_words(layout.versions).split()])
        self.assertEqual(layout.build, stack.chosen_layout(args).build)
        # libvirt probes QEMU through the longest one; the clone needs a part
        name = (layout.build.relative_to(ROOT)
                / 'prefix/var/lib/libvirt/qemu/qmp-123456/qmp.monitor')
        self.assertLess(len(str(name)) + len('/home/person/src/'), 108)


class Clean(unittest.TestCase):
    """./stack clean does not delete what is nowhere else."""

    def setUp(self):
        top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.layout = Layout(top / 'build', {})
        self.other = self.with_qemu('10.2')
        self.enterContext(redirect_stdout(io.StringIO()))

    def with_qemu(self, version):
        return Layout.with_versions(
            {'qemu': version},
            build_dir=self.layout.build / 'with' / f'qemu-{version}')

    def source(self, layout):
        """An upstream's source, as ./stack build leaves it."""
        repo = layout.src / 'qemu'
        repo.mkdir(parents=True)
        (repo / 'a.c').write_text('a\n')
        series.make_base(repo, 'QEMU')
        series.save_state(repo, head=git(repo, 'rev-parse', 'HEAD'))
        return repo

    def clean(self, *words):
        return stack.cmd_clean(self.layout, stack.parse(['clean', *words]))

    def test_all(self):
        for layout in self.layout, self.other:
            self.source(layout)
        self.clean('--all')
        self.assertEqual(['.lock'], [p.name for p in
                                     self.layout.build.iterdir()])

    def test_work(self):
        """Of a build with other versions, too."""
        for words in '', ' --with qemu=10.2':
            with self.subTest(words):
                layout = self.with_qemu('10.2') if words else self.layout
                (self.source(layout) / 'a.c').write_text('mine\n')
                with self.assertRaisesRegex(
                        StackError, f'{layout.src}/qemu has work that is '
                        'nowhere else: a.c') as e:
                    self.clean('--all')
                self.assertIn(f'./stack refresh{words} keeps it',
                              e.exception.hint)
                self.assertTrue((layout.src / 'qemu/a.c').exists())
                self.clean('--all', '--force')
                self.assertFalse(layout.src.exists())

    def test_versions_of_yesterday(self):
        """A build of a version that the project has no more."""
        other = self.with_qemu('9.9')
        self.source(other)
        self.clean('--all')
        self.assertFalse(other.build.exists())

    def test_lock(self):
        """It waits for who is at work in one of them."""
        done = threading.Thread(target=self.clean, args=['--all'])
        with redirect_stderr(io.StringIO()) as said:
            with self.other.lock():
                done.start()
                done.join(0.5)
                self.assertTrue(self.other.build.exists())
            done.join(10)
        self.assertFalse(self.other.build.exists())
        self.assertIn('another ./stack is at work', said.getvalue())


class CommandLine(unittest.TestCase):
    def test_bench(self):
        """What is bench.py's may stand with or without -- before it."""
        for words, expected in (
                ('', []), ('--quick', ['--quick']), ('-- --quick', ['--quick']),
                ('latency --quick', ['latency', '--quick']),
                ('--json F --quick', ['--json', 'F', '--quick']),
                ('--quick latency --rounds 3',
                 ['--quick', 'latency', '--rounds', '3']),
                ('-- --with x', ['--with', 'x'])):
            with self.subTest(words):
                with mock.patch('os.execve') as execve, \
                        mock.patch.object(stack, 'build'), \
                        tempfile.TemporaryDirectory() as build:
                    args = stack.parse(['bench', *words.split()])
                    args.run(Layout(build, {}), args)
                self.assertEqual(expected, execve.call_args[0][1][2:])

    def test_mistake(self):
        """Others take nothing that they don't know."""
        for words in 'check --quick', 'build --json F':
            with self.subTest(words), self.assertRaises(SystemExit), \
                    redirect_stderr(io.StringIO()) as said:
                stack.parse(words.split())
            self.assertIn(words.split('--')[1].split()[0], said.getvalue())


class Failing(unittest.TestCase):
    """What the system refuses is told, and not as a traceback."""

    def setUp(self):
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.build = self.top / 'build'

    def stack(self, *words, **more):
        done = subprocess.run(
            [ROOT / 'stack', '--build-dir', self.build, *words], text=True,
            stdin=subprocess.DEVNULL, capture_output=True, **more)
        self.assertNotIn('Traceback', done.stderr)
        return done.returncode, done.stderr

    def fails(self, error, **more):
        with mock.patch.object(stack, 'chosen_layout', side_effect=error), \
                redirect_stderr(io.StringIO()) as said:
            self.assertEqual(1, stack.main(['clean']))
        return said.getvalue()

    def test_path(self):
        """A path that upstreams cannot be built in is told at once."""
        self.enterContext(mock.patch.object(
            debian, 'check_distribution', side_effect=AssertionError))
        for name, what in (('a b', 'a space'), ('a:b', 'a colon'),
                           ('a\tb', 'white space')):
            with self.subTest(name):
                build = self.top / name
                with self.assertRaisesRegex(
                        StackError, f"the path '{build}' has {what} in") as e:
                    stack.build(Layout(build, {}), stack.parse(['build']))
                self.assertIn('another --build-dir', e.exception.hint)
                self.assertFalse(build.exists())
                with mock.patch.object(debian, 'ROOT', build), \
                        self.assertRaisesRegex(StackError, what) as e:
                    stack.build(Layout(build / 'build', {}),
                                stack.parse(['build']))
                self.assertIn('move the project', e.exception.hint)
        debian.check_path(Layout(self.top / 'ä+b', {}))

    def need_root(self):
        if os.geteuid() != 0:
            self.skipTest('only root can be another user')

    def test_of_root(self):
        """Where sudo ./stack has been before."""
        self.need_root()
        if subprocess.run(['test', '-x', ROOT / 'stack'], user='nobody',
                          group='nogroup', extra_groups=[]).returncode:
            self.skipTest(f'other users may not look into {ROOT}')
        self.top.chmod(0o755)
        self.build.mkdir()
        (self.build / '.lock').touch()
        status, text = self.stack('clean', user='nobody', group='nogroup',
                                  extra_groups=[])
        self.assertEqual(1, status, text)
        self.assertIn(f'error: {self.build}/.lock: Permission denied', text)
        self.assertIn(f'next: if sudo ./stack made it: sudo find {self.build} '
                      f'-path {self.build}/deb -prune', text)
        # and what is said to be done is enough
        command = text.split('made it: ')[1].split('\n')[0]
        subprocess.run(['sh', '-c', command.replace('sudo ', '').replace(
            '$(id -un)', 'nobody')], check=True)
        status, text = self.stack('clean', user='nobody', group='nogroup',
                                  extra_groups=[])
        self.assertEqual(0, status, text)

    def test_in_a_debian(self):
        """What is root's for a reason stays so."""
        text = self.fails(PermissionError(
            errno.EACCES, 'Permission denied', str(ROOT / 'build/deb/work/x')))
        self.assertIn('error: build/deb/work/x: Permission denied', text)
        self.assertIn('next: the same command with sudo', text)

    def test_no_room(self):
        text = self.fails(OSError(errno.ENOSPC, 'No space left on device',
                                  str(ROOT / 'build/x')))
        self.assertIn('error: build/x: No space left on device', text)
        self.assertIn('--build-dir DIR', text)

    def test_nameless(self):
        self.assertIn('error: Input/output error',
                      self.fails(OSError(errno.EIO, 'Input/output error')))

    def test_given_back(self):
        """What sudo ./stack makes is whose checkout it is in."""
        self.need_root()
        nobody = pwd.getpwnam('nobody')
        sudo = {'SUDO_UID': str(nobody.pw_uid), 'SUDO_GID': str(nobody.pw_gid)}

        def owners():
            return {str(path.relative_to(self.top)): path.lstat().st_uid
                    for path in (self.build, *self.build.rglob('*'))}
        for ours in False, True:
            with self.subTest(ours):
                shutil.rmtree(self.build, ignore_errors=True)
                uid = nobody.pw_uid if ours else 0
                os.chown(self.top, uid, 0)
                for name in 'log', 'deb/work', 'src':
                    (self.build / name).mkdir(parents=True)
                for name in 'src/a.c', 'deb/work/sh':
                    (self.build / name).touch()
                (self.build / 'src/link').symlink_to('../deb/work/sh')
                os.chown(self.build / 'src/a.c', 12345, 12345)
                status, text = self.stack('refresh', 'qemu',
                                          env={**os.environ, **sudo})
                self.assertEqual(1, status)     # there is nothing to refresh
                self.assertEqual({
                    'build': uid, 'build/.lock': uid, 'build/log': uid,
                    'build/src': uid, 'build/src/a.c': 12345,
                    'build/src/link': uid, 'build/deb': 0,
                    'build/deb/work': 0, 'build/deb/work/sh': 0}, owners())


class OwnSource(SeriesCase):
    def test_checkout(self):
        own = self.top / 'own'
        own.mkdir()
        (own / 'a.c').write_text('committed\n')
        (own / 'built.o').write_text('no\n')
        (own / 'link').symlink_to('a.c')
        (own / '.gitignore').write_text('*.o\n')
        subprocess.run(['git', 'init', '-q', own], check=True)
        git(own, 'add', '-A')
        git(own, 'commit', '-qm', 'x', env=WHO)
        (own / 'a.c').write_text('edited\n')
        before = sources.fingerprint(own)
        new, version = sources.copy_own(self.upstream, own)
        self.assertEqual('edited\n', (new / 'a.c').read_text())
        self.assertTrue((new / 'link').is_symlink())
        self.assertFalse((new / 'built.o').exists())
        self.assertFalse((new / '.git').exists())
        self.assertEqual(before, sources.fingerprint(own))
        (own / 'a.c').write_text('edited again\n')
        self.assertNotEqual(before, sources.fingerprint(own))

    def test_release(self):
        """Without a Debian source the release itself is what it's made for."""
        own = self.top / 'own'
        own.mkdir()
        subprocess.run(['git', 'init', '-q', own], check=True)
        self.commit('x\n', own, a_c='1\n')
        git(own, 'tag', 'v1.0')
        self.assertEqual('from a checkout of 1.0',
                         sources.copy_own(self.upstream, own)[1])
        self.upstream.package = None
        self.assertEqual('1.0', sources.copy_own(self.upstream, own)[1])
        (own / 'a.c').write_text('edited\n')
        self.assertEqual('from a checkout of 1.0',
                         sources.copy_own(self.upstream, own)[1])
        self.commit('y\n', own)
        self.assertEqual('from a checkout of 1.0',
                         sources.copy_own(self.upstream, own)[1])
        shutil.rmtree(own / '.git')
        self.assertEqual('from a checkout',
                         sources.copy_own(self.upstream, own)[1])


class NoSource(unittest.TestCase):
    """An upstream whose source is not fetched, and nobody has given."""

    def setUp(self):
        self.layout = Layout(self.enterContext(tempfile.TemporaryDirectory()))
        self.upstream, = load_upstreams(self.layout, ['virt-viewer'])

    def test_absent(self):
        self.assertEqual(['virt-viewer'],
                         list(stack.absent_sources(self.layout)))
        self.assertIn('--source virt-viewer=DIR', self.upstream.absence)
        self.upstream.repo.mkdir(parents=True)
        self.assertEqual({}, stack.absent_sources(self.layout))

    def test_asked_for(self):
        with self.assertRaisesRegex(StackError, 'no source of virt-viewer') as e:
            sources.prepare(self.layout, self.upstream)
        self.assertIn('--source virt-viewer=DIR', e.exception.hint)

    def test_goes_on(self):
        every = [name for name in stack.BUILT if name not in stack.OPTIONAL]
        absent = ['virt-viewer']
        self.assertEqual((every, every), stack.plan(absent))
        self.assertEqual((every, every), stack.plan([]))
        # the tests look at every source; what they run, meson knows
        self.assertEqual((every + ['libvirt'], every),
                         stack.plan(absent, tests=[]))
        self.assertEqual((stack.BUILT, every), stack.plan([], tests=[]))
        libvirt = every + ['libvirt']
        self.assertEqual((libvirt, libvirt),
                         stack.plan(absent, optional=['libvirt']))
        self.assertEqual((libvirt, libvirt),
                         stack.plan(absent, optional=stack.OPTIONAL))

    def test_named(self):
        viewer = ['spice-protocol', 'spice-gtk', 'virt-viewer']
        for absent in [], ['virt-viewer']:
            self.assertEqual((viewer, viewer),
                             stack.plan(absent, ['virt-viewer']))

    def test_packages(self):
        """What only it needs is not for everybody."""
        for release in debian.RELEASES:
            usual = debian.wanted(release, ['qemu'])
            more = set(debian.wanted(release, ['qemu', 'virt-viewer']))
            self.assertEqual(usual, debian.wanted(release))
            self.assertIn('libgtk-vnc-2.0-dev', more - set(usual))


class Mirror(unittest.TestCase):
    """The mirror is the one that the machine's own apt uses."""

    def setUp(self):
        self.etc = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.etc / 'sources.list.d').mkdir()

    def test_one_line(self):
        (self.etc / 'sources.list').write_text(
            '# deb http://old.example/debian bookworm main\n'
            'deb http://security.example/debian-security bookworm-security '
            'main\n'
            'deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian/ '
            'bookworm main contrib # mine\n')
        self.assertEqual(('http://m.example/debian', '/k.gpg'),
                         fetch.mirror(self.etc))

    def test_deb822(self):
        (self.etc / 'sources.list.d' / 'other.list').write_text(
            'deb https://packages.example/apt thing main\n')
        (self.etc / 'sources.list.d' / 'debian.sources').write_text(
            'Types: deb\nURIs: http://off.example/debian\nSuites: trixie\n'
            'Components: main\nEnabled: no\n\n'
            '# comment\nTypes: deb deb-src\nURIs: https://m.example/debian\n'
            'Suites: trixie trixie-updates\nComponents: main\n'
            'Signed-By:\n -----BEGIN PGP\n .\n abc\n')
        uri, signed_by = fetch.mirror(self.etc)
        self.assertEqual('https://m.example/debian', uri)
        self.assertIn('-----BEGIN PGP\n.\nabc', signed_by)

    def test_none(self):
        with self.assertRaisesRegex(StackError, 'no Debian mirror') as e:
            fetch.mirror(self.etc)
        self.assertIn('--source', e.exception.hint)

    def test_security(self):
        self.assertIsNone(fetch.security(self.etc))
        (self.etc / 'sources.list').write_text(
            'deb http://m.example/debian bookworm main\n'
            'deb http://s.example/debian-security bookworm-security main\n')
        self.assertEqual(('http://s.example/debian-security', None),
                         fetch.security(self.etc))
        self.assertEqual('http://m.example/debian', fetch.mirror(self.etc)[0])

    def test_newest_first(self):
        self.assertEqual(
            ['1:10.2.2+ds-1', '1:10.0.13+ds-1', '1:10.0.2+ds-2'],
            fetch.newest_first(['1:10.0.2+ds-2', '1:10.2.2+ds-1',
                                '1:10.0.13+ds-1', '1:10.0.2+ds-2']))

    def test_versions(self):
        for debian, version in (('1:10.0.13+ds-0+deb13u1', '10.0.13'),
                                ('0.42-1', '0.42'), ('0.15.2-1+b1', '0.15.2'),
                                ('1:10.2.2+ds-1~bpo1', '10.2.2')):
            self.assertEqual(version, fetch.upstream_version(debian))


class Packages(SeriesCase):
    """What ./stack deb makes of a source package (of the real ones: suite deb)."""

    CHANGELOG = ('thing (1:1.0-2) unstable; urgency=low\n\n  * Old.\n\n'
                 ' -- A Maintainer <m@example.org>  {}\n')

    def test_which(self):
        self.assertEqual(list(deb.NEEDS), deb.needed([]))
        self.assertEqual(['spice-protocol', 'spice-gtk'],
                         deb.needed(['spice-gtk']))
        self.assertEqual(['spice-protocol', 'spice', 'qemu'],
                         deb.needed(['qemu']))
        self.assertEqual(['spice-protocol', 'spice', 'spice-gateway'],
                         deb.needed(['spice-gateway']))
        self.assertEqual(['spice-endpoints'], deb.needed(['spice-endpoints']))
        self.assertEqual(['spice-protocol', 'spice', 'spice-gtk', 'qemu'],
                         deb.PATCHED)
        with self.assertRaisesRegex(StackError, "no packages of 'libvirt'"):
            deb.needed(['qemu', 'libvirt'])

    def test_command_line(self):
        args = stack.parse(['deb', '--no-install', 'spice'])
        self.assertEqual((stack.cmd_deb, True, ['spice']),
                         (args.run, args.no_install, args.upstream))
        with mock.patch('os.geteuid', return_value=1000):
            error = self.fails('deb needs root', args.run,
                               Layout(self.top), args)
        self.assertIn('sudo ./stack deb', error.hint)
        with mock.patch.object(chroot, 'PATH', str(self.top)):
            self.fails('debootstrap is not installed', deb.check_tools)

    def test_version(self):
        """After Debian's own, and before what Debian has next."""
        ours = deb_patched.our_version('1:1.0-2', 7)
        for other, relation in (
                ('1:1.0-2', 'lt'), ('1:1.0-2+b3', 'lt'),
                (deb_patched.our_version('1:1.0-2', 6), 'lt'),
                (deb_patched.our_version('1:1.0-2', 10), 'gt'),
                ('1:1.0-2+deb13u1', 'gt'), ('1:1.0-2.1', 'gt'),
                ('1:1.0-3', 'gt'), ('1:1.1-1', 'gt')):
            self.assertEqual(0, subprocess.run(
                ['dpkg', '--compare-versions', other, relation, ours]
            ).returncode, (other, relation))

    def test_source(self):
        """Debian's source, or another of the same release."""
        found = [('trixie', '1.0-3'), ('bookworm', '1.0-1'),
                 ('sid', '1.1-1')]
        self.assertEqual(found[:2], deb_patched.sources_of(
            'thing', '1.0-3', ['1.0'], found))
        self.fails('has thing 1.0; the series is for 1.1',
                   deb_patched.sources_of, 'thing', '1.0-3', ['1.1'], found)

    def test_changelog(self):
        self.two_commits()
        last = series.Commit(self.repo, 'HEAD')
        for date, ours in (('Sun, 01 Feb 2026 00:00:00 +0000',
                            'Tue, 03 Feb 2026 03:05:06 +0000'),
                           ('Sun, 01 Mar 2026 01:00:00 +0100',
                            'Sun, 01 Mar 2026 00:00:01 +0000')):
            old = self.CHANGELOG.format(date)
            text = deb_patched.changelog(old, '1:1.0-3+bpower2', True, last, 2)
            self.assertTrue(text.startswith(
                f'thing (1:1.0-3+bpower2) {deb_patched.RELEASE}; '))
            self.assertIn('The packaging is that of 1:1.0-2.', text)
            self.assertIn(f'\n -- A Developer <dev@example.org>  {ours}\n\n'
                          + old, text)
        self.assertNotIn('packaging', deb_patched.changelog(
            old, '1:1.0-2+bpower2', False, last, 2))

    def test_control(self):
        control = ('Build-Depends: a, libx-dev, libx-dev-more, my-libx-dev,\n'
                   '# comment\n libx-dev [amd64 i386],\n'
                   'Depends: libx-dev (>= 0.9~), b\n')
        self.assertEqual(
            ('Build-Depends: a, libx-dev (>= 1-1+x), libx-dev-more, '
             'my-libx-dev,\n# comment\n libx-dev (>= 1-1+x) [amd64 i386],\n'
             'Depends: libx-dev (>= 1-1+x), b\n'),
            deb_patched.with_dependencies(control, {'libx-dev': '1-1+x'}))
        # another release's packaging, with the relations of this one's packages
        self.assertEqual(
            ('Source: s\n\nPackage: a\nDepends: c\nBreaks: b (<< 2)\n'
             'Description: A\n\nPackage: d\nConflicts: ${x}, e\n'
             'Description: D\n'),
            deb_patched.with_relations(
                'Source: s\n\nPackage: a\nBreaks: b,\n        f\nDepends: c\n'
                'Replaces: b\nDescription: A\n\nPackage: d\n'
                'Conflicts: ${x}, e\nDescription: D\n',
                {'a': {'Breaks': 'b (<< 2)'}, 'd': {'Version': '1'}}))
        self.assertEqual([{'Package': 'a', 'Depends': 'b,\n c'},
                          {'Package': 'd'}], deb_patched.stanzas(
            'Package: a\n# no\nDepends: b,\n c\n\nPackage: d\n'))


class OwnPackages(SeriesCase):
    """What it makes of a folder of the project's own."""

    def setUp(self):
        super().setUp()
        self.enterContext(mock.patch.object(deb_own, 'ROOT', self.repo))
        self.enterContext(mock.patch.dict(deb_own.FOLDERS, {'own': 'sub'}))
        folder = self.repo / 'sub' / 'debian'
        folder.mkdir()
        (folder / 'changelog').write_text(
            'own (0.1) trixie; urgency=medium\n\n  * First.\n\n'
            ' -- A Maintainer <m@example.org>  '
            'Sun, 01 Feb 2026 00:00:00 +0000\n')
        (folder / 'control').write_text(
            'Source: own\nBuild-Depends: libx-dev (>= 1)\n\n'
            'Package: own\nArchitecture: all\n')
        (folder / 'rules').write_text('#!/usr/bin/make -f\n')
        (folder / 'rules').chmod(0o755)
        self.commit('own: Add it')

    def package(self):
        need = mock.Mock(version='1-1+x', identity='i')
        need.name = 'x'
        with mock.patch.dict(deb.DEVELOPMENT, {'x': ['libx-dev']}):
            return deb.Own(mock.Mock(), 'own', [need])

    def test_source(self):
        """What git has of it, with what has been changed."""
        (self.repo / '.gitignore').write_text('*.o\n')
        (self.repo / 'sub' / 'b.o').write_text('no\n')
        (self.repo / 'sub' / 'new.c').write_text('new\n')
        (self.repo / 'sub' / 'b.c').unlink()
        package = self.package()
        self.assertEqual(['own'], package.wanted())
        package.source_tree(self.top, 'tree', None)
        tree = self.top / 'tree'
        self.assertEqual(
            ['debian/changelog', 'debian/control', 'debian/rules', 'new.c'],
            sorted(str(p.relative_to(tree)) for p in tree.rglob('*')
                   if p.is_file()))
        self.assertEqual([0o644, 0o755], [
            p.stat().st_mode & 0o777 for p in (tree / 'new.c',
                                               tree / 'debian/rules')])
        self.assertIn('Build-Depends: libx-dev (>= 1-1+x)\n',
                      (tree / 'debian/control').read_text())

    def test_version(self):
        """It grows with each commit of the folder, and no other."""
        first = self.package()
        self.assertEqual('0.1+r2', first.version)
        self.assertIn(f'own (0.1+r2) {deb_patched.RELEASE}; urgency=medium\n\n'
                      '  * Local package: commit ',
                      first.files['debian/changelog'].data.decode())
        self.commit('another: Change it', a_c='a\n')
        self.assertEqual(first.identity, self.package().identity)
        (self.repo / 'sub' / 'b.c').write_text('changed\n')
        self.assertNotEqual(first.identity, self.package().identity)
        self.commit('own: Change it')
        self.assertEqual('0.1+r3', self.package().version)

    def test_folders(self):
        """Each has all that this looks for, of the name that it goes by."""
        for name, folder in deb_own.FOLDERS.items():
            if name == 'own':
                continue
            with self.subTest(package=name):
                debian_dir = ROOT / folder / 'debian'
                self.assertRegex((debian_dir / 'changelog').read_text(),
                                 rf'^{name} \(')
                self.assertEqual(
                    name, deb_patched.stanzas(
                        (debian_dir / 'control').read_text())[0]['Source'])
                self.assertIn(f"project('{name}'",
                              (ROOT / folder / 'meson.build').read_text())


class Root(unittest.TestCase):
    """The Debian in which ./stack deb builds; nothing is run in it here."""

    def setUp(self):
        self.place = deb.Place(Layout(
            self.enterContext(tempfile.TemporaryDirectory()), {}))
        self.place.minbase.mkdir(parents=True)
        (self.place.minbase / 'minimal').touch()
        for name in 'apt_from', 'use_network':
            self.enterContext(mock.patch.object(chroot.Root, name))
        self.enterContext(mock.patch.object(deb.Place, 'ccache',
                                            return_value={}))
        self.step = mock.Mock()

    def prepare(self):
        return deb.prepare_root(self.place, None, self.step)[1]

    def files(self):
        return sorted(p.name for p in self.place.root.iterdir())

    def test_interrupted(self):
        """apt refuses to go on with a half: it is begun anew."""
        self.step.run.side_effect = [None, KeyboardInterrupt]
        with self.assertRaises(KeyboardInterrupt):
            self.prepare()
        (self.place.root / 'half').touch()
        self.step.run.side_effect = None
        self.assertTrue(self.prepare())
        self.assertEqual(['minimal', 'stack-ready'], self.files())

    def test_ready(self):
        self.assertTrue(self.prepare())
        (self.place.root / 'more').touch()
        self.step.run.reset_mock()
        self.assertFalse(self.prepare())
        self.assertEqual(['minimal', 'more', 'stack-ready'], self.files())
        self.step.run.assert_not_called()


if __name__ == '__main__':
    tap.main()
