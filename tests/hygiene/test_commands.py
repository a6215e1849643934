#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What ./stack's commands make of their words, of sources, and of mistakes."""

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

import building                                         # noqa: E402
import debian                                           # noqa: E402
import series                                           # noqa: E402
import sources                                          # noqa: E402
import stack                                            # noqa: E402
import tap                                              # noqa: E402
from core import (                                     # noqa: E402
    Layout, StackError, git, load_upstreams, with_words)
from thing import WHO, SeriesCase                       # noqa: E402


class PlaceOfVersions(unittest.TestCase):
    def test_short(self):
        """What follows from a choice is not in its name: sockets are below."""
        args = stack.parse(['check', '--with', 'qemu=10.2',
                            '--with', 'spice=0.16'])
        layout = building.chosen_layout(args)
        self.assertEqual({'qemu': '10.2', 'spice': '0.16',
                          'spice-protocol': '0.14.5'}, layout.versions)
        self.assertEqual('qemu-10.2+spice-0.16', layout.build.name)
        # an error's next step names all of them, and is about the same place
        args = stack.parse(['check', *with_words(layout.versions).split()])
        self.assertEqual(layout.build, building.chosen_layout(args).build)
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
        args = stack.parse(['clean', *words])
        return args.run(self.layout, args)

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
                        mock.patch.object(building, 'build'), \
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
                    building.build(Layout(build, {}), stack.parse(['build']))
                self.assertIn('another --build-dir', e.exception.hint)
                self.assertFalse(build.exists())
                with mock.patch.object(debian, 'ROOT', build), \
                        self.assertRaisesRegex(StackError, what) as e:
                    building.build(Layout(build / 'build', {}),
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
                         list(building.absent_sources(self.layout)))
        self.assertIn('--source virt-viewer=DIR', self.upstream.absence)
        self.upstream.repo.mkdir(parents=True)
        self.assertEqual({}, building.absent_sources(self.layout))

    def test_asked_for(self):
        with self.assertRaisesRegex(StackError, 'no source of virt-viewer') as e:
            sources.prepare(self.layout, self.upstream)
        self.assertIn('--source virt-viewer=DIR', e.exception.hint)

    def test_goes_on(self):
        every = [name for name in building.BUILT if name not in building.OPTIONAL]
        absent = ['virt-viewer']
        self.assertEqual((every, every), building.plan(absent))
        self.assertEqual((every, every), building.plan([]))
        # the tests look at every source; what they run, meson knows
        self.assertEqual((every + ['libvirt'], every),
                         building.plan(absent, tests=[]))
        self.assertEqual((building.BUILT, every), building.plan([], tests=[]))
        libvirt = every + ['libvirt']
        self.assertEqual((libvirt, libvirt),
                         building.plan(absent, optional=['libvirt']))
        self.assertEqual((libvirt, libvirt),
                         building.plan(absent, optional=building.OPTIONAL))

    def test_named(self):
        viewer = ['spice-protocol', 'spice-gtk', 'virt-viewer']
        for absent in [], ['virt-viewer']:
            self.assertEqual((viewer, viewer),
                             building.plan(absent, ['virt-viewer']))

    def test_packages(self):
        """What only it needs is not for everybody."""
        for release in debian.RELEASES:
            usual = debian.wanted(release, ['qemu'])
            more = set(debian.wanted(release, ['qemu', 'virt-viewer']))
            self.assertEqual(usual, debian.wanted(release))
            self.assertIn('libgtk-vnc-2.0-dev', more - set(usual))


if __name__ == '__main__':
    tap.main()
