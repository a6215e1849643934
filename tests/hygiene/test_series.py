#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The patches and overlay files are in order.

They are looked at together with the sources below build/src, and nothing
there is changed: git's object store takes what is tried.
"""

import fnmatch
import functools
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import series                                           # noqa: E402
import series_apply                                     # noqa: E402
import series_refresh                                   # noqa: E402
import tap                                              # noqa: E402
from core import Layout, git, load_upstreams, rel       # noqa: E402

LAYOUT = Layout(os.environ.get('SPICE_POWER_BUILD', ROOT / 'build'))
UPSTREAMS = load_upstreams(LAYOUT)
CODE = re.compile(r'\.(c|cc|cpp|h|inc|py)$')
# A patch has hook lines; whoever needs more in a row needs a new file. Cases of
# an existing test, with what they need, may be longer: they belong there.
HOOK_LINES, TEST_LINES = 40, 120


def tracked():
    """The project's files, as git has them; without git, as they are."""
    if (ROOT / '.git').exists():
        listing = git(ROOT, 'ls-files', '-z', '--cached', '--others',
                      '--exclude-standard')
        return sorted({p for p in listing.split('\0')
                       if p and (ROOT / p).is_file()})
    return sorted(rel(p) for p in ROOT.rglob('*')
                  if p.is_file() and p.relative_to(ROOT).parts[0] != 'build')


@functools.cache
def chain(upstream, repo):
    """(the series' last commit, what git says of the hunks)"""
    notes = []
    return series_apply.build_chain(upstream, repo, series.patches_of(upstream),
                              notes=notes), notes


class Repositories(unittest.TestCase):
    """The series against the sources that were fetched."""

    def each(self):
        for upstream in UPSTREAMS:
            for repo in upstream.repos if not upstream.absent else []:
                self.assertTrue((repo / '.git').is_dir(),
                                f'{rel(repo)}: ./stack build first')
                yield upstream, repo, series.patches_of(upstream)

    def test_sources(self):
        """There is a source for each series; if not, the others are tried."""
        self.assertTrue(list(self.each()))
        absent = [u.absence for u in UPSTREAMS if u.absent]
        if absent:
            self.skipTest('patches are not tried without their source: '
                          + ', '.join(absent))

    def other_source(self, upstream, repo):
        """Why this source is not the one that the patches were made from."""
        host = [u for u in UPSTREAMS if repo.is_relative_to(u.repo)][0]
        version = series.load_state(host.repo).get('version', host.version)
        if version != host.version or (host.other_dir
                                       and host is not upstream):
            return f'{host.title} here is {version}'
        return None

    def test_has_patches(self):
        for upstream in UPSTREAMS:
            with self.subTest(upstream=upstream.name):
                self.assertTrue(series.patches_of(upstream))

    def test_applies_exactly(self):
        """Zero fuzz (git knows none), and every hunk where it says."""
        for upstream, repo, patches in self.each():
            with self.subTest(repo=rel(repo)):
                _, notes = chain(upstream, repo)
                self.assertTrue(any(re.match('Applied patch .* cleanly', line)
                                    for line in notes), notes)
                if not (self.other_source(upstream, repo)
                        or upstream.other_dir):
                    self.assertEqual(
                        [], [n for n in notes if re.search('offset|fuzz', n)])

    def test_refresh_is_identical(self):
        """Patches to commits to patches: not a byte differs.

        Nothing of this machine or this minute gets into the commits.
        """
        tips = {(upstream, repo): chain(upstream, repo)[0]
                for upstream, repo, _ in self.each()}
        with tempfile.TemporaryDirectory() as home:
            # a configuration that changes all that can be changed
            Path(home, '.gitconfig').write_text(
                '[core]\nabbrev = 40\n[diff]\nnoprefix = true\ncontext = 7\n'
                'algorithm = patience\nmnemonicPrefix = true\n'
                '[format]\nsignature = hello\nnumbered = true\n'
                'subjectPrefix = HELLO\n[user]\nname = nobody\n'
                'email = nobody@nowhere\n')
            keep = dict(os.environ)
            os.environ.update(HOME=home, GIT_AUTHOR_NAME='nobody',
                              TZ='Asia/Tokyo', LANG='de_DE.UTF-8')
            try:
                for upstream, repo, patches in self.each():
                    with self.subTest(repo=rel(repo)):
                        tip = series_apply.build_chain(upstream, repo, patches)
                        self.assertEqual(tip, tips[upstream, repo])
                        if self.other_source(upstream, repo):
                            continue    # other context, other blob ids
                        if upstream.other_dir:
                            for patch, commit in zip(
                                    patches, series.commits_of(repo, tip)):
                                self.assertEqual(
                                    patch.instead, series_refresh.other_changes(
                                        repo, patch, commit) or b'')
                            continue
                        made, overlay = series_refresh.series_from(repo, tip)
                        self.assertEqual([p.path.name for p in patches],
                                         [name for name, _ in made])
                        for patch, (name, data) in zip(patches, made):
                            if repo == upstream.repo:
                                self.assertEqual(patch.data, data, name)
                            else:
                                self.assertEqual(
                                    series_apply.without_places(patch.data),
                                    series_apply.without_places(data), name)
                        for path, (mode, data) in overlay.items():
                            file = upstream.overlay_dir / path
                            self.assertEqual(data, file.read_bytes(), path)
            finally:
                os.environ.clear()
                os.environ.update(keep)

    def test_build_tree_is_the_series(self):
        """build/src is what patches/ and the overlay files say, no more."""
        for upstream, repo, patches in self.each():
            with self.subTest(repo=rel(repo)):
                tip, _ = chain(upstream, repo)
                # the files themselves: an edit made here is copied there, and
                # is in no commit there before the next refresh
                self.assertEqual('', git(repo, 'diff', '--name-status',
                                         '--no-renames', tip),
                                 './stack refresh?')

    def test_symbols(self):
        """Debian's packaging has each function that the series exports."""
        for upstream, repo, _ in self.each():
            files = list(upstream.series_dir.glob('debian/*.symbols'))
            if repo != upstream.repo or not files:
                continue
            with self.subTest(upstream=upstream.name):
                listed = [found for file in files for found in re.findall(
                              r'^ (\w+)@(\w+) #VERSION#$',
                              file.read_text(), re.M)]
                exported, node = [], None
                for line in git(repo, 'diff', '--unified=0', 'base',
                                chain(upstream, repo)[0], '--', '*.syms',
                                '*map-file').splitlines():
                    if m := re.fullmatch(r'\+(\w+) \{', line):
                        node = m[1]
                        exported.append((node, node))
                    elif m := re.fullmatch(r'\+\s*(\w+);', line):
                        exported.append((m[1], node))
                # one library's are of one package, glib's, or of another
                self.assertEqual(sorted(exported), sorted(set(listed)))

    def test_author_is_committer(self):
        """At the same time, too: git am gives the commits that we have."""
        for upstream, repo, _ in self.each():
            with self.subTest(repo=rel(repo)):
                for commit in series.commits_of(repo,
                                                chain(upstream, repo)[0]):
                    head = git(repo, 'cat-file', 'commit', commit.sha)
                    author, committer = re.findall(
                        r'^(?:author|committer) (.*)$', head, re.M)[:2]
                    self.assertEqual(author, committer)


class Patches(unittest.TestCase):
    """Each patch file by itself."""

    def each(self):
        for upstream in UPSTREAMS:
            for patch in series.patches_of(upstream):
                yield upstream, patch, patch.data.decode()

    @staticmethod
    def parts(text):
        """(subject, body lines, the diff)."""
        head, _, rest = text.partition('\n\n')
        subject = re.search(r'^Subject: \[PATCH\] (.*(?:\n .*)*)$', head,
                            re.M).group(1).replace('\n', '')
        body, _, diff = rest.partition('\n---\n')
        return subject, body.splitlines(), diff

    def test_numbers(self):
        for upstream in UPSTREAMS:
            with self.subTest(upstream=upstream.name):
                names = [p.path.name for p in series.patches_of(upstream)]
                self.assertEqual([f'{n:04d}' for n in
                                  range(1, len(names) + 1)],
                                 [name[:4] for name in names])

    def test_message(self):
        for upstream, patch, text in self.each():
            with self.subTest(patch=rel(patch.path)):
                subject, body, _ = self.parts(text)
                self.assertLessEqual(len(subject), 76)
                self.assertNotRegex(subject, r'\.$|^(fixup|squash)!|'
                                    r'(?i:\bwip\b)')
                trailer = re.compile(r'^(Overlay: \S+|[A-Z][\w-]+-by: .* <.*>|'
                                     r'(Fixes|Resolves|Link|Cc): .*|)$')
                why = [line for line in body if not trailer.match(line)]
                self.assertGreaterEqual(len(' '.join(why)), 60, 'no body that '
                                        'says why')
                self.assertLessEqual(max(map(len, why)), 80)
                self.assertTrue(body[-1].startswith('Signed-off-by: '),
                                body[-1])

    def test_changes_only(self):
        """No patch adds, deletes or renames a file."""
        for upstream, patch, text in self.each():
            with self.subTest(patch=rel(patch.path)):
                self.assertNotRegex(
                    text, r'(?m)^(new file mode|deleted file mode|rename from|'
                    r'copy from|GIT binary patch|--- /dev/null|'
                    r'\+\+\+ /dev/null)')

    def test_hook_lines(self):
        """What a patch adds to code in a row is short."""
        for upstream, patch, text in self.each():
            with self.subTest(patch=rel(patch.path)):
                diff = self.parts(text)[2].splitlines()
                # to move code is not to add any, nor is a comment
                moved = {'', *(line[1:].strip() for line in diff
                               if line.startswith('-'))}
                file, run = '', 0
                for line in diff:
                    if line.startswith('+++ '):
                        file, run = line[6:], 0
                    elif line.startswith('+'):
                        code = line[1:].strip()
                        run += (code not in moved
                                and not code.startswith(('*', '/*')))
                        if CODE.search(file) and not any(
                                fnmatch.fnmatch(file, p)
                                for p in upstream.config.get('long', [])):
                            self.assertLessEqual(
                                run, TEST_LINES if 'tests/' in file
                                else HOOK_LINES,
                                f'{file}: that much needs a file of its own')
                    else:
                        run = 0

    def test_machine_independent(self):
        """From no commit, with no version of git, no path of a machine."""
        for upstream, patch, text in self.each():
            with self.subTest(patch=rel(patch.path)):
                self.assertTrue(text.startswith(f'From {"0" * 40} '))
                self.assertNotRegex(text, r'(?m)^-- $')
                self.assertNotRegex(text, r'/(home|tmp|root|build/src)/')

    def test_overlay(self):
        """Every overlay file has one patch; no other file lies there."""
        for upstream in UPSTREAMS:
            with self.subTest(upstream=upstream.name):
                named = series_apply.overlay_paths(series.patches_of(upstream))
                self.assertEqual(len(named), len(set(named)))
                for path in named:
                    self.assertTrue((upstream.overlay_dir / path).is_file(),
                                    path)
                if upstream.overlay_dir != ROOT:
                    there = [str(p.relative_to(upstream.overlay_dir))
                             for p in upstream.overlay_dir.rglob('*')
                             if p.is_file()]
                    self.assertEqual(sorted(named), sorted(there))

    def test_versions(self):
        """What a version has of its own replaces something."""
        for upstream in UPSTREAMS:
            overlay = series_apply.overlay_paths(series.patches_of(upstream))
            for toml in upstream.series_dir.glob('*/series.toml'):
                with self.subTest(version=rel(toml.parent)):
                    for path in toml.parent.rglob('*'):
                        if path.is_dir() or path == toml:
                            continue
                        inner = path.relative_to(toml.parent)
                        if inner.parts[0] == 'files':
                            inner = str(inner.relative_to('files'))
                            self.assertIn(inner, overlay)
                            self.assertNotEqual(
                                path.read_bytes(),
                                (upstream.overlay_dir / inner).read_bytes())
                        else:
                            self.assertEqual('.diff', path.suffix)
                            patch = series.Patch(
                                upstream.series_dir / f'{path.stem}.patch',
                                toml.parent)
                            self.assertTrue(
                                patch.instead.startswith(
                                    series_apply.made_for(patch)),
                                f'{rel(path)} was made for another form of '
                                'the patch: ./stack build --with, put right '
                                'what differs, ./stack refresh --with')

    def test_qemu_overlay_complete(self):
        """What is where QEMU's new files live belongs to a patch."""
        qemu, = [u for u in UPSTREAMS if u.name == 'qemu']
        named = series_apply.overlay_paths(series.patches_of(qemu))
        self.assertTrue(named)
        folders = ('ui/', 'hw/', 'qapi/', 'include/', 'tests/qtest/',
                   'docs/system/', 'docs/interop/')
        self.assertEqual([], [p for p in tracked() if p.startswith(folders)
                              and p not in named])


class Files(unittest.TestCase):
    def test_licence(self):
        """Files that we made say under which licence they are."""
        text_only = re.compile(r'(^|/)(COPYING|\.gitignore|README\.rst|'
                               r'cover\.txt|known-failures\.toml|'
                               r'(measurements|package|release)\.json)$|'
                               r'\.(patch|diff|pem|png|rst|md|pod)$|'
                               # these have no comments, and one says it
                               r'(^|/)debian/(changelog|copyright|README\.Debian|'
                               r'source/format)$|'
                               # a fuzzer's inputs
                               r'^tests/fuzz/corpus/|'
                               # an upstream's, read by its tests as they are
                               r'^patches/[^/]+/files/tests/.*\.(args|err|xml)$')
        for path in tracked():
            if text_only.search(path):
                continue
            with self.subTest(file=path):
                head = (ROOT / path).read_text(errors='replace')[:1500]
                self.assertRegex(head, r'SPDX-License-Identifier: |'
                                 r'GNU Lesser General Public|'
                                 r'Redistribution and use in source')

    def test_licence_of_series(self):
        """And under the one of the upstream they go to."""
        right = {'spice-protocol': 'BSD-3-Clause', 'qemu': 'GPL-2.0-or-later',
                 'virt-viewer': 'GPL-2.0-or-later',
                 'spice-html5': 'LGPL-3.0-or-later'}
        for upstream in UPSTREAMS:
            for path in series_apply.overlay_paths(series.patches_of(upstream)):
                text = (upstream.overlay_dir / path).read_text()
                licence = re.search(r'SPDX-License-Identifier: (\S+)',
                                    text[:1500])
                with self.subTest(file=rel(upstream.overlay_dir / path)):
                    if licence:
                        self.assertEqual(right.get(upstream.name,
                                                   'LGPL-2.1-or-later'),
                                         licence.group(1))

    def test_no_host_names(self):
        """No mirror, package registry or machine is named in a file."""
        # put together, so that this file does not have them either
        hosts = [r'deb\.' + 'debian', r'ftp\.\w+\.' + 'debian',
                 'snapshot' + r'\.debian', 'security' + r'\.debian',
                 'pypi' + r'\.org', 'files' + r'\.pythonhosted',
                 'registry' + r'\.npmjs', 'crates' + r'\.io',
                 'proxy' + r'\.golang', 'rubygems' + r'\.org']
        for path in tracked():
            with self.subTest(file=path):
                self.assertNotRegex(
                    (ROOT / path).read_text(errors='replace'),
                    '|'.join(hosts))

    def test_text(self):
        """No trailing white space, no tab in Python, a newline at the end."""
        ours = re.compile(r'\.(py|toml|build|sh|rst)$|(^|/)stack$|^\.ci/')
        for path in tracked():
            if ours.search(path) and not path.startswith('patches/'):
                with self.subTest(file=path):
                    text = (ROOT / path).read_text()
                    self.assertNotRegex(text, r'[ \t]+\n')
                    self.assertTrue(text.endswith('\n'))
                    if path.endswith('.py'):
                        self.assertNotIn('\t', text)


if __name__ == '__main__':
    tap.main()
