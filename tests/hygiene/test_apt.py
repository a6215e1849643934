#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Apt's sources, and the Debian packages that ./stack deb makes."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import chroot                                           # noqa: E402
import deb                                              # noqa: E402
import deb_own                                          # noqa: E402
import deb_patched                                      # noqa: E402
import fetch                                            # noqa: E402
import series                                           # noqa: E402
import stack                                            # noqa: E402
import tap                                              # noqa: E402
from core import Layout, StackError                     # noqa: E402
from thing import SeriesCase                            # noqa: E402


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
    """What ./stack deb makes of a source package; suite deb has the real ones."""

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
        self.assertEqual((True, ['spice']), (args.no_install, args.upstream))
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
