#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What ./stack release and ./stack fuzz say of what they have run."""

import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import release                                          # noqa: E402
import stack                                            # noqa: E402
import tap                                              # noqa: E402
from core import Layout, StackError, git                # noqa: E402
from thing import WHO                                   # noqa: E402

LAYOUT = Layout(os.environ.get('SPICE_POWER_BUILD', ROOT / 'build'))


class Release(unittest.TestCase):
    """A gate's result is that of a commit, and of no other."""

    def setUp(self):
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.project = self.top / 'project'
        (self.project / 'docs').mkdir(parents=True)
        subprocess.run(['git', 'init', '-q', self.project], check=True)
        self.commit('a')
        self.layout = Layout(self.top / 'build', {})
        for name, value in {
                'ROOT': self.project,
                'PAGE': self.project / 'docs/release.rst',
                'DATA': self.project / 'docs/release.json',
                'gates': self.gates, 'rel': str}.items():
            self.enterContext(mock.patch.object(release, name, value))
        self.flag = self.top / 'flag'

    def gates(self, layout):
        log = self.top / 'ran'
        return [release.Gate('good', f'echo good >>{log}', 'it is good'),
                release.Gate('bad', f'echo bad >>{log}; test -e {self.flag}',
                             'it is bad')]

    def commit(self, name):
        (self.project / name).write_text(name)
        git(self.project, 'add', '-A')
        git(self.project, 'commit', '-qm', name, env=WHO)

    def run_release(self, *names, **how):
        (self.top / 'ran').write_text('')
        with redirect_stdout(io.StringIO()) as said:
            status = release.run(self.layout, names, **how)
        found = json.loads(release.DATA.read_text())['gates']
        self.said = said.getvalue()
        return status, (self.top / 'ran').read_text().split(), {
            name: e['result'] for name, e in found.items()}

    def test_on_and_on(self):
        self.assertEqual((1, ['good', 'bad'],
                          {'good': 'passed', 'bad': 'failed'}),
                         self.run_release())
        self.assertIn('1 passed, 1 failed, 0 not run', self.said)
        self.flag.touch()
        good = {'good': 'passed', 'bad': 'passed'}
        self.assertEqual((0, ['bad'], good), self.run_release())
        self.assertEqual((0, [], good), self.run_release())
        self.assertEqual((0, ['good', 'bad'], good),
                         self.run_release(again=True))
        # the page is no part of what it is about
        self.commit('docs/x')
        git(self.project, 'reset', '-q', '--hard', 'HEAD^')

    def test_page_is_committed(self):
        self.flag.touch()
        self.run_release()
        self.commit('docs/release.rst')
        self.assertEqual([], self.run_release()[1])

    def test_another_commit(self):
        """Older results are never shown as if they were this one's."""
        self.flag.touch()
        self.run_release()
        self.commit('b')
        self.assertEqual((0, ['good'], {'good': 'passed', 'bad': 'not run'}),
                         self.run_release('good'))
        text = release.PAGE.read_text()
        self.assertIn('bad: **not run**\n', text)
        self.assertIn('1 of 2 gates passed', text)
        self.assertIn(git(self.project, 'rev-parse', 'HEAD'), text)

    def test_uncommitted(self):
        (self.project / 'a').write_text('edited')
        with self.assertRaisesRegex(StackError, 'not committed: a'):
            self.run_release()

    def test_commit_meanwhile(self):
        """What was checked out while a gate ran, it has not tested."""
        with mock.patch.object(release, 'run_gate', side_effect=lambda *a: (
                self.commit('c'), ('passed', 1))[1]), \
                self.assertRaisesRegex(StackError, 'it says nothing'):
            self.run_release()
        self.assertEqual('not run', json.loads(
            release.DATA.read_text())['gates']['good']['result'])

    def test_unknown(self):
        with self.assertRaisesRegex(StackError, "'x' is not a gate"):
            self.run_release('x')


class Gates(unittest.TestCase):
    def test_commands(self):
        """Each is a command that ./stack knows, and can be typed."""
        for gate in release.gates(LAYOUT):
            with self.subTest(gate.name):
                words = gate.command.split()
                while '=' in words[0]:
                    words.pop(0)
                self.assertEqual('./stack', words.pop(0))
                stack.parse(words)


class Fuzzing(unittest.TestCase):
    """What a fuzzer finds is never taken for nothing."""

    DONE = '#7 DONE cov: 3 ft: 4 corp: 2/9b lim: 4 exec/s: 0 rss: 1Mb'

    def run_fuzzer(self, script, *arguments):
        build = Path(self.enterContext(tempfile.TemporaryDirectory()))
        program = build / 'obj' / 'fuzz-fuzzers' / 'link'
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\n{script}\n')
        program.chmod(0o755)
        done = subprocess.run(
            [sys.executable, ROOT / 'tests' / 'fuzz' / 'run.py',
             '--build-dir', build, *arguments, 'link'],
            stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout

    def test_nothing_found(self):
        for arguments in ([], ['--time', '1']):
            status, text = self.run_fuzzer(f"echo '{self.DONE}'", *arguments)
            self.assertEqual(0, status, text)
            self.assertIn('0 of 1 fuzzers' if arguments
                          else '\nok 1 - link', text)

    def test_crash(self):
        for arguments in ([], ['--time', '1']):
            status, text = self.run_fuzzer(
                f"echo '{self.DONE}'; echo why; "
                'echo "Test unit written to /some/crash-1"; exit 77',
                *arguments)
            self.assertEqual(1, status, text)
            self.assertIn('why', text)
            self.assertIn('again: build/obj/fuzz-fuzzers/link /some/crash-1',
                          text)

    def test_did_not_run(self):
        status, text = self.run_fuzzer('true')
        self.assertEqual(1, status, text)
        self.assertIn('not ok 1 - link', text)
        status, text = self.run_fuzzer('kill -SEGV $$', '--time', '1')
        self.assertEqual(1, status, text)


if __name__ == '__main__':
    tap.main()
