#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The way between patches/ and the commits in build/src, there and back."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import export                                           # noqa: E402
import series                                           # noqa: E402
import series_apply                                     # noqa: E402
import tap                                              # noqa: E402
from core import git                                    # noqa: E402
from thing import HOOKED, WHO, SeriesCase, Thing        # noqa: E402


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
        series_apply.apply_series(self.upstream, other)
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
        series_apply.apply_series(self.upstream, self.repo)
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
        return series_apply.update_repo(self.upstream, self.repo)

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
                      series_apply.update_repo(self.upstream, self.repo))
        self.assertIn('four new used twice', (self.repo / 'a.c').read_text())
        self.assertEqual('', git(self.repo, 'status', '--porcelain'))
        touched = {name for name in ('new.c', 'sub/b.c', 'a.c')
                   if (self.repo / name).stat().st_mtime != 1000}
        self.assertEqual({'a.c'}, touched)

    def test_with_an_overlay_edit(self):
        self.overlay('pulled\n')
        series_apply.update_repo(self.upstream, self.repo)
        self.assertEqual('pulled\n', (self.repo / 'new.c').read_text())
        self.assertEqual('', git(self.repo, 'status', '--porcelain'))

    def test_with_an_older_overlay_edit(self):
        """A build copied an edit; then the series and that file changed."""
        patch = self.upstream.series_dir / '0002-thing-Use-new.patch'
        new = patch.read_bytes()
        patch.write_bytes(self.old)
        self.overlay('edited\n')
        self.assertEqual('copied new.c',
                         series_apply.update_repo(self.upstream, self.repo))
        patch.write_bytes(new)
        self.overlay('pulled\n')
        series_apply.update_repo(self.upstream, self.repo)
        self.assertEqual('pulled\n', (self.repo / 'new.c').read_text())
        self.assertEqual('', git(self.repo, 'status', '--porcelain'))

    def test_uncommitted(self):
        (self.repo / 'sub' / 'b.c').write_text('mine\n')
        error = self.fails('work of its own: sub/b.c', series_apply.update_repo,
                           self.upstream, self.repo)
        self.assertIn('git -C', error.hint)
        self.assertEqual('mine\n', (self.repo / 'sub' / 'b.c').read_text())

    def test_committed(self):
        self.commit('thing: Mine\n\nBecause.\n', a_c='mine\n')
        self.fails('work of its own: commits', series_apply.update_repo,
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
                           series_apply.apply_series, self.upstream, other)
        self.assertIn('a.c', str(error))
        self.assertIn('refresh --continue', error.hint)

    def test_finish_by_hand(self):
        other = self.source('other', HOOKED.replace('three', 'THREE'))
        self.upstream.repos, self.upstream.repo = [other], other
        self.fails('0001', series_apply.apply_series, self.upstream, other)
        self.fails('still waits', series_apply.update_repo, self.upstream, other)
        self.assertEqual('new 1\n', (other / 'new.c').read_text())
        self.fails('a.c.rej', series_apply.continue_series, self.upstream, other)
        (other / 'a.c.rej').unlink()
        text = HOOKED.replace('three', 'THREE').replace('four', 'four new')
        (other / 'a.c').write_text(text)
        # the second patch has the same trouble
        self.fails('0002', series_apply.continue_series, self.upstream, other)
        (other / 'a.c.rej').unlink()
        (other / 'a.c').write_text(text.replace('new', 'new used'))
        self.assertTrue(series_apply.continue_series(self.upstream, other))
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
        series_apply.build_chain(self.upstream, other,
                           series.patches_of(self.upstream), notes=notes)
        self.assertTrue(any('offset 20 lines' in n for n in notes), notes)

    def test_missing_overlay_file(self):
        (self.upstream.overlay_dir / 'new.c').unlink()
        self.fails('is missing', series_apply.build_chain, self.upstream,
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
            function = (series_apply.apply_series if patch == '0001' else
                        series_apply.continue_series)
            self.fails(patch, function, self.two, self.repo2)
            (self.repo2 / 'a.c.rej').unlink()
            (self.repo2 / 'a.c').write_text(self.TEXT.replace(
                'four', 'four new' if patch == '0001' else 'four new used'))
        series_apply.continue_series(self.two, self.repo2)
        self.refresh(self.two)

    def other_files(self):
        return sorted(str(p.relative_to(self.two.other_dir))
                      for p in self.two.other_dir.rglob('*') if p.is_file())

    def again(self):
        """What is written gives back what it was written from."""
        head = git(self.repo2, 'rev-parse', 'HEAD^{tree}')
        git(self.repo2, 'reset', '-q', '--hard', 'base')
        series_apply.apply_series(self.two, self.repo2)
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
        series_apply.apply_series(Thing(self.upstream.series_dir, [self.repo2]),
                            self.repo2)
        series_apply.record(self.two, self.repo2, series.patches_of(self.two))
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
        self.assertIsNone(series_apply.update_repo(self.two, self.repo2))
        (self.two.other_dir / 'files' / 'new.c').write_text('new 4\n')
        self.assertEqual('copied new.c',
                         series_apply.update_repo(self.two, self.repo2))

    def test_made_for(self):
        """A patch that changes where there is a .diff is noticed."""
        patch, = [p for p in series.patches_of(self.two)
                  if p.path.name == '0002-thing-Use-new.patch']
        self.assertTrue(patch.instead.startswith(series_apply.made_for(patch)))
        for old, new, same in ((b'+b new', b'+b newer', True),
                               (b'@@ -2,7 +2,7', b'@@ -9,7 +9,7', True),
                               (b'+four new used', b'+four new', False)):
            self.assertIn(old, patch.data)
            data, patch.data = patch.data, patch.data.replace(old, new)
            self.assertEqual(same, patch.instead.startswith(
                series_apply.made_for(patch)), old)
            patch.data = data

    def test_follows_the_series(self):
        patch = self.two.other_dir / '0002-thing-Use-new.diff'
        patch.write_text(patch.read_text().replace('new used', 'new used 2'))
        self.assertIn('applied again',
                      series_apply.update_repo(self.two, self.repo2))
        self.assertIn('new used 2', (self.repo2 / 'a.c').read_text())

    def test_other_commits(self):
        self.commit('thing: One more\n\nBecause.\n', self.repo2, a_c='x\n')
        error = self.fails('other commits', self.refresh, self.two)
        self.assertIn('without --with', error.hint)


if __name__ == '__main__':
    tap.main()
