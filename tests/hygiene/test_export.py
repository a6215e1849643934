#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What ./stack export writes is what an upstream can take.

It is applied with git am to the pristine sources, in repositories that share
the objects of those below build/src.
"""

import functools
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import series                                           # noqa: E402
import series_apply                                     # noqa: E402
import tap                                              # noqa: E402
from core import Layout, git, load_upstreams, rel       # noqa: E402

LAYOUT = Layout(os.environ.get('SPICE_POWER_BUILD', ROOT / 'build'))
# where an upstream wants to be told of a change, beside the code
RECORD = {'spice-protocol': 'CHANGELOG.md', 'spice': 'CHANGELOG.md',
          'spice-gtk': 'CHANGELOG.md', 'qemu': 'MAINTAINERS',
          'libvirt': 'NEWS.rst'}
# and where one has such a file, but is told of nothing in it
NO_RECORD = {'virt-viewer': {
    'NEWS': 'its maintainers write it when they make a release, in a commit '
            'of its own'}}
RECORDS = {'NEWS', 'CHANGELOG', 'CHANGES', 'MAINTAINERS'}
WHO = {f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER')
       for what, value in (('NAME', 'A Maintainer'),
                           ('EMAIL', 'maintainer@example.org'))}


def setUpModule():
    global TOP, LEFT_OUT, UPSTREAMS
    TOP = Path(unittest.enterModuleContext(tempfile.TemporaryDirectory()))
    done = subprocess.run(
        [ROOT / 'stack', '--build-dir', LAYOUT.build, 'export', '--output',
         TOP / 'export'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(done.stdout)
    LEFT_OUT = dict(re.findall(r'^(\S+): left out, (.*)$', done.stdout, re.M))
    UPSTREAMS = [u for u in load_upstreams(LAYOUT) if u.name not in LEFT_OUT]


def mails(upstream):
    """[(path, text)], the cover letter first."""
    return [(path, path.read_text())
            for path in sorted((TOP / 'export' / upstream.name).iterdir())]


@functools.cache
def commits(upstream, repo):
    """What ./stack check --each-patch builds."""
    return series.commits_of(repo, series_apply.build_chain(
        upstream, repo, series.patches_of(upstream)))


def unfolded(text):
    """The header of a mail, one field a line."""
    return text.partition('\n\n')[0].replace('\n ', ' ')


class Exported(unittest.TestCase):
    def test_every_series(self):
        """All series were written, but for those without a source."""
        self.assertTrue(UPSTREAMS)
        if LEFT_OUT:
            self.skipTest('; '.join(f'{name} is left out, {why}'
                                    for name, why in LEFT_OUT.items()))

    def test_git_am(self):
        """On the pristine source each gives the commits of build/src."""
        for upstream in UPSTREAMS:
            patches = [path for path, _ in mails(upstream)[1:]]
            for repo in upstream.repos:
                with self.subTest(repo=rel(repo)):
                    clone = self.applied(repo, patches)
                    self.assertEqual(
                        [(c.tree, c.author, re.sub(rb'^Overlay: .*\n', b'',
                                                   c.message, flags=re.M))
                         for c in commits(upstream, repo)],
                        [(c.tree, c.author, c.message)
                         for c in series.commits_of(clone)])

    def test_git_am_without_debian(self):
        """They also fit where Debian's own patches are not applied."""
        tried = []
        for upstream in UPSTREAMS:
            listing = upstream.repo / 'debian' / 'patches' / 'series'
            undo = [listing.with_name(line.split()[0]) for line in
                    (listing.read_text().splitlines()
                     if listing.exists() else ())
                    if line and not line.startswith('#')]
            if not undo:
                continue
            with self.subTest(upstream=upstream.name):
                patches = [path for path, _ in mails(upstream)[1:]]
                clone = self.applied(upstream.repo, patches, undo[::-1])
                self.assertEqual(1 + len(patches),
                                 len(series.commits_of(clone)))
                tried.append(upstream.name)
        self.assertIn('qemu', tried)

    def applied(self, repo, patches, undo=()):
        """A clone of base, with some patches undone, and then others."""
        clone = Path(tempfile.mkdtemp(dir=TOP))
        git(clone, 'clone', '-q', '--shared', '--no-checkout', repo, '.')
        # a whole index is enough: git am writes the files that it needs
        git(clone, 'reset', '-q', '--soft', 'base')
        git(clone, 'read-tree', 'HEAD')
        if undo:
            for path in undo:
                git(clone, 'apply', '-R', '--cached', '--unidiff-zero',
                    '--whitespace=nowarn', path)
            git(clone, 'commit', '-q', '-m', 'Undo patches', env=WHO)
        git(clone, 'am', '-q', *patches, env=WHO)
        return clone

    def test_nothing_of_ours(self):
        """No trailer that means something here only, and all new files."""
        for upstream in UPSTREAMS:
            with self.subTest(upstream=upstream.name):
                text = ''.join(text for _, text in mails(upstream))
                self.assertNotRegex(text, r'(?m)^Overlay: ')
                self.assertNotRegex(text, r'/(home|tmp|root|build/src)/')
                new = re.findall(r'^diff --git a/.* b/(.*)\nnew file mode',
                                 text, re.M)
                self.assertEqual(
                    sorted(series_apply.overlay_paths(
                        series.patches_of(upstream))), sorted(new))

    def test_cover_letter(self):
        for upstream in UPSTREAMS:
            with self.subTest(upstream=upstream.name):
                (path, text), *patches = mails(upstream)
                self.assertEqual('0000-cover-letter.patch', path.name)
                made = commits(upstream, upstream.repo)
                self.assertEqual(len(made), len(patches))
                subject = re.search(r'^Subject: \[PATCH 0+/(\d+)\] (.+)$',
                                    unfolded(text), re.M)
                self.assertEqual(len(made), int(subject[1]))
                self.assertLessEqual(len(subject[2]), 72)
                for number, (_, patch) in enumerate(patches, 1):
                    self.assertRegex(
                        unfolded(patch), r'(?m)^Subject: \[PATCH( 0*'
                        rf'{number}/{len(made)})\] ')
                for commit in made:
                    self.assertIn(f'\n  {commit.subject[:40]}', text)
                stat = git(upstream.repo, 'diff', '--shortstat', '-M', 'base',
                           made[-1].sha)
                self.assertIn(f'\n{stat}\n', text)
                self.assertNotIn('***', text)

    def test_text_of_cover_letter(self):
        """It answers what maintainers ask, in lines that can be quoted."""
        for upstream in load_upstreams(LAYOUT):
            with self.subTest(upstream=upstream.name):
                text = (upstream.series_dir / 'cover.txt').read_text()
                self.assertLessEqual(max(map(len, text.splitlines())), 75)
                for answer in ('How to review ', 'How it was tested',
                               'depends on'):
                    self.assertIn(answer, text)

    def test_record(self):
        """NEWS, CHANGELOG or MAINTAINERS is in the series that has one."""
        for upstream in UPSTREAMS:
            with self.subTest(upstream=upstream.name):
                changed = git(upstream.repo, 'diff', '--name-only', 'base',
                              'HEAD').splitlines()
                there = {p.name for p in upstream.repo.iterdir()
                         if p.name.partition('.')[0].upper() in RECORDS}
                if upstream.name in RECORD:
                    self.assertIn(RECORD[upstream.name], changed)
                else:
                    self.assertEqual(set(), there - NO_RECORD.get(
                        upstream.name, {}).keys())


class Qemu(unittest.TestCase):
    """QEMU's own opinion of its series."""

    @classmethod
    def setUpClass(cls):
        cls.qemu, = [u for u in UPSTREAMS if u.name == 'qemu']

    def script(self, *command):
        done = subprocess.run(['perl', *command], cwd=self.qemu.repo,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        return done.stdout.decode(errors='replace')

    def test_checkpatch(self):
        for path, _ in mails(self.qemu)[1:]:
            with self.subTest(patch=path.name):
                text = self.script('scripts/checkpatch.pl', '--no-color', path)
                self.assertRegex(text, r'total: \d+ errors', text)
                complaints = [line for line in text.splitlines()
                              if re.search(r'\b(ERROR|WARNING): ', line)]
                self.assertEqual([], complaints)

    def test_maintainers(self):
        """Every new file has somebody who looks after it."""
        for path in series_apply.overlay_paths(series.patches_of(self.qemu)):
            with self.subTest(path=path):
                self.assertRegex(
                    self.script('scripts/get_maintainer.pl', '--nogit',
                                '--nogit-fallback', '--nol', '-f', path),
                    r'@.*\((maintainer|supporter|odd fixer):')


if __name__ == '__main__':
    tap.main()
