#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What ./stack check makes of tests: which it runs, what it counts, and keeps."""

import fcntl
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import building                                         # noqa: E402
import check                                            # noqa: E402
import commands.export                                  # noqa: E402
import debian                                           # noqa: E402
import export                                           # noqa: E402
import passed                                           # noqa: E402
import repeat                                           # noqa: E402
import report                                           # noqa: E402
import stack                                            # noqa: E402
import tap                                              # noqa: E402
from core import Layout, StackError, git                # noqa: E402

LAYOUT = Layout(os.environ.get('SPICE_POWER_BUILD', ROOT / 'build'))
WHO = {f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER')
       for what, value in (('NAME', 'A Developer'),
                           ('EMAIL', 'dev@example.org'))}


class Front(unittest.TestCase):
    """What is in front of scripts/: .ci/run and ./stack."""

    def setUp(self):
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def program(self, path, text):
        path = self.top / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def test_last_line(self):
        """.ci/run ends with a count, whatever happens."""
        run = self.program('.ci/run', (ROOT / '.ci/run').read_text())
        none = '0 passed, 1 failed'
        for script, status, last in (
                ("echo '7 passed, 0 failed'", 0, '7 passed, 0 failed'),
                ("echo '7 passed, 0 failed, 2 skipped'", 0,
                 '7 passed, 0 failed, 2 skipped'),
                ("echo '7 passed, 2 failed'; exit 1", 1, '7 passed, 2 failed'),
                ("echo '[3/9] build'; echo 'error: no' >&2; exit 1", 1, none),
                ("echo 'it has 7 passed, 0 failed'; exit 3", 3, none),
                ('kill -9 $$', 137, none), ('exit 0', 1, none)):
            with self.subTest(script):
                self.program('stack', '#!/bin/sh\n[ "$*" = "check a b" ] && '
                             + script)
                done = subprocess.run(
                    [run, 'a', 'b'], text=True, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT)
                self.assertEqual(last, done.stdout.splitlines()[-1])
                self.assertEqual(status, done.returncode)
        self.assertEqual(1, done.stdout.count('\n'), 'nothing twice')

    def test_python(self):
        """apt-get asks nothing, also where sudo drops the environment."""
        python = self.top / 'python3'
        stack = self.program('stack', (ROOT / 'stack').read_text().replace(
            '/usr/bin/python3', str(python)))
        path = f'{self.top}/bin:/usr/bin:/bin'
        for user in '0', '1000':
            with self.subTest(user):
                self.program('bin/id', f'#!/bin/sh\necho {user}\n')
                self.program('bin/sudo',
                             f'#!/bin/sh\nexec env -i PATH="{path}" "$@"\n')
                self.program('bin/apt-get', '#!/bin/sh\n'
                             'echo "$DEBIAN_FRONTEND $*"\n'
                             f'[ "$1" = update ] || ln -s /bin/true {python}')
                subprocess.run([stack, 'build'], check=True,
                               env={'PATH': path}, stdout=subprocess.DEVNULL)
                self.assertEqual(
                    'noninteractive update\nnoninteractive install -y '
                    '--no-install-recommends python3\n',
                    (self.top / 'build/log/python3.log').read_text())
                python.unlink()


class Counting(unittest.TestCase):
    """A test that failed is never counted as one that passed."""

    def count(self, *entries):
        count = check.Count()
        outputs = [check.add_result(dict({'name': 'x:y / z'}, **e), count)
                   for e in entries]
        return count, outputs

    def test_tap(self):
        count, (output,) = self.count({
            'result': 'FAIL', 'stdout':
            '1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP why\n# ok 9\n'
            '    ok 1 - inner\nok 4 d\n'})
        self.assertEqual('2 passed, 1 failed, 1 skipped', count.line())
        self.assertEqual([('y / z: c', 'why')], count.skipped)
        self.assertIn('not ok 2', output)

    def test_exit_status(self):
        count, outputs = self.count({'result': 'OK', 'stdout': ''},
                                    {'result': 'FAIL', 'stdout': 'oops'},
                                    {'result': 'TIMEOUT', 'stdout': 'ok 1\n'},
                                    {'result': 'SKIP', 'stdout': 'no why'})
        self.assertEqual('2 passed, 2 failed, 1 skipped', count.line())
        self.assertIsNone(outputs[0])
        self.assertEqual([('y / z', 'no why')], count.skipped)

    def test_whole_file_skipped(self):
        count, _ = self.count({'result': 'SKIP',
                               'stdout': '1..0 # SKIP not here\n'})
        self.assertEqual([('y / z', 'not here')], count.skipped)


class UpstreamTests(unittest.TestCase):
    """tests/upstream/run.py; meson is not real."""

    MESON = '''#!{python}
import json, sys
name = sys.argv[sys.argv.index('--logbase') + 1]
with open({log!r} + name + '.json', 'w') as log:
    for test, result in {results}:
        log.write(json.dumps(dict(name='spice:server / ' + test,
                                  result=result, stdout='')) + chr(10))
sys.exit({status})
'''

    def run_tests(self, status, **results):
        """(exit status, TAP) of those tests of spice's."""
        build = Path(self.enterContext(tempfile.TemporaryDirectory()))
        spice = build / 'obj/spice'
        for name in 'meson-logs', 'pyvenv/bin':
            (spice / name).mkdir(parents=True)
        meson = spice / 'pyvenv/bin/meson'
        meson.write_text(self.MESON.format(
            python=sys.executable, log=f'{spice}/meson-logs/', status=status,
            results=[(name.replace('_', '-'), result)
                     for name, result in results.items()]))
        meson.chmod(0o755)
        done = subprocess.run(
            [sys.executable, ROOT / 'tests/upstream/run.py', 'spice'],
            env=dict(os.environ, SPICE_POWER_BUILD=str(build)), text=True,
            stdout=subprocess.PIPE)
        return done.returncode, done.stdout

    def test_known(self):
        """What fails without our patches too is skipped."""
        status, text = self.run_tests(1, test_a='OK', test_listen='FAIL')
        self.assertEqual(0, status, text)
        self.assertIn('ok 2 - test-listen # SKIP fails without our', text)

    def test_new(self):
        status, text = self.run_tests(2, test_a='FAIL', test_listen='FAIL')
        self.assertIn('\nnot ok 1 - test-a', '\n' + text)

    def test_exit_status(self):
        """It counts, unless known failures are the reason."""
        for status, listen in ((1, 'OK'), (2, 'OK'), (2, 'FAIL'),
                               (-9, 'FAIL'), (1, 'SKIP')):
            with self.subTest(status=status, listen=listen):
                code, text = self.run_tests(status, test_a='OK',
                                            test_listen=listen)
                self.assertEqual(1, code, text)
                self.assertIn(f'Bail out! meson test: exit status '
                              f'{status % 256}', text)


class AtOnce(unittest.TestCase):
    """Two ./stack that test or measure do it one after the other."""

    def setUp(self):
        self.layout = Layout(
            self.enterContext(tempfile.TemporaryDirectory()), {})
        self.lock = self.layout.build / '.tests.lock'
        self.begun = []
        self.enterContext(mock.patch.object(
            building, 'build', side_effect=self.built))
        for name in 'run', 'each_patch':
            self.enterContext(mock.patch.object(
                check, name, side_effect=self.at_work))
        for where, name in (
                (check, 'choose'), (commands.export, 'fetch_sources'),
                (export, 'export')):
            self.enterContext(mock.patch.object(where, name))
        self.enterContext(mock.patch('os.execve', side_effect=self.at_work))
        self.enterContext(redirect_stdout(io.StringIO()))

    def built(self, *unused, **more):
        self.begun.append(1)
        return mock.MagicMock()

    def at_work(self, *unused, **more):
        self.held = [os.get_inheritable(int(fd.name)) for fd
                     in Path('/proc/self/fd').iterdir() if fd.exists()
                     and fd.samefile(self.lock)]
        with open(self.lock) as lock, self.assertRaises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return 0

    def run_stack(self, *words):
        args = stack.parse(words)
        return args.run(self.layout, args)

    def test_held(self):
        """Also by the program that ./stack bench becomes."""
        for word in 'check', 'bench':
            with self.subTest(word):
                self.run_stack(word)
                self.assertEqual([word == 'bench'], self.held)

    def test_waits(self):
        """Before it builds, since the first one runs what is built."""
        for words in ['check'], ['check', '--each-patch'], ['bench']:
            with self.subTest(words), \
                    redirect_stderr(io.StringIO()) as said:
                self.begun.clear()
                second = threading.Thread(target=self.run_stack, args=words)
                with self.layout.testing():
                    second.start()
                    second.join(0.3)
                    self.assertEqual([], self.begun)
                second.join(10)
                self.assertEqual([1], self.begun)
                self.assertIn('another ./stack tests or measures here; '
                              'waiting for it', said.getvalue())

    def test_meanwhile(self):
        """What tests themselves run does not wait for the tests."""
        with self.layout.testing():
            self.run_stack('build')
            self.run_stack('export', '--output', str(self.layout.build))

    def test_clean(self):
        """The lock that somebody has remains the lock."""
        with self.layout.testing():
            self.run_stack('clean', '--all')
            self.at_work()


def entry(name, text='', result='OK', seconds=1.0):
    return {'name': f'x:{name}', 'stdout': text, 'result': result,
            'duration': seconds}


class Times(unittest.TestCase):
    """Where the time went is what the tests have said, and meson."""

    TEXT = ('ok 1 - A.a\n# took 0.250 s\n# it says\nok 2 - A.b # SKIP why\n'
            '# took 0.500 s, processor 0.100 s\n1..2\n# processor 3.500 s\n')

    def test_cases(self):
        test = check.Test(entry('e2e+full / a', self.TEXT, seconds=2))
        self.assertEqual(('e2e', 'a', 2, 3.5),
                         (test.suite, test.name, test.seconds, test.processor))
        self.assertEqual([('A.a', 0.25, None), ('A.b', 0.5, 0.1)],
                         test.times())
        self.assertEqual((1, 0, 1), tuple(
            test.record()[key] for key in ('passed', 'failed', 'skipped')))

    def test_without(self):
        """What tells no times has that of its whole."""
        test = check.Test(entry('e2e / demo', seconds=7))
        self.assertEqual([('', 7, None)], test.times())
        self.assertIsNone(test.processor)

    def test_table(self):
        tests = [check.Test(entry('e2e / a', self.TEXT, seconds=90)),
                 check.Test(entry('e2e / b', seconds=30)),
                 check.Test(entry('protocol / c', seconds=2))]
        text = '\n'.join(report.table(
            [('build QEMU', 65, 120.5), ('nothing', 0.2, 0)], tests))
        self.assertRegex(text, r'build QEMU +1 min 05 s +2 min 00 s')
        self.assertNotIn('nothing', text)
        self.assertRegex(text, r'e2e \(2\) +2 min 00 s +3 s')
        self.assertLess(text.index('b  '), text.index('a: A.b'))

    def test_told(self):
        """Both kinds of test programs tell them."""
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, 'test_x.py')
            program.write_text(
                f'import sys, unittest\nsys.path.insert(0, '
                f'{str(ROOT / "tests" / "lib")!r})\nimport tap\n'
                'class A(unittest.TestCase):\n'
                '    def test_a(self): sum(range(1000000))\n'
                '    def test_b(self): pass\ntap.main()\n')
            every, one = (subprocess.run(
                [sys.executable, program, *words], text=True,
                stdout=subprocess.PIPE).stdout
                for words in ((), ('--only', 'A.test_b')))
        test = check.Test(entry('s / t', every))
        self.assertEqual(['A.test_a', 'A.test_b'],
                         [title for title, *_ in test.times()])
        self.assertGreater(test.times()[0][2], 0.001)
        self.assertGreater(test.processor, test.times()[0][2])
        self.assertEqual(['A.test_b'], [line.title for line in
                                        check.tap_lines(one)])


class Allowances(unittest.TestCase):
    """tests/allowances.toml: what the suites of ./stack check may use."""

    def setUp(self):
        with open(report.ALLOWANCES, 'rb') as f:
            self.table = tomllib.load(f)

    def suites(self, **which):
        chosen = check.choose(LAYOUT.obj / 'stack', [],
                              debian.environment(LAYOUT), **which)
        return {s for t in chosen for s in check.suites_of(t)} - {check.FULL}

    def test_every_suite(self):
        """Each suite of ./stack check has one, and nothing else."""
        self.assertEqual(self.suites(), set(self.table['check']))

    def test_fits(self):
        """All of them fit into the time that there is, with what is kept."""
        used = sum(self.table['check'].values())
        self.assertLessEqual(
            used + self.table['kept'],
            self.table['minutes'] * 60 * self.table['processors'])

    def test_over(self):
        """A suite that uses more is told of, as a failure."""
        def used(seconds):
            return [check.Test(entry(
                'protocol / protocol', f'ok 1\n# processor {seconds} s\n'))]
        may = self.table['check']['protocol']
        for slower, starts in (0.5, 1), (1, 0.5), (3, 1), (1, 3):
            with self.subTest(loop=slower, starts=starts), mock.patch.object(
                    report, 'loop', return_value=slower * self.table['loop']
                    ), mock.patch.object(
                    report, 'starts',
                    return_value=starts * self.table['starts']):
                slower = max(slower, starts)
                here = may * max(1, slower)
                self.assertEqual([], report.over(used(here)))
                self.assertIn('allowance: protocol: ',
                              *report.over(used(here + 1)))

    def test_full_has_more(self):
        self.assertLess(self.suites(), self.suites(full=True))


class Chosen(unittest.TestCase):
    """Which tests a tier has."""

    TESTS = [{'name': name, 'suite': [f'p:{s}' for s in suites]}
             for name, *suites in (('a', 'e2e'), ('b', 'e2e', 'full'),
                                   ('c', 'fuzz', 'full'),
                                   ('p-one', 'fuzz', 'full'),
                                   ('p-two', 'fuzz', 'full'))]

    def names(self, *what, **which):
        with mock.patch.object(check, 'introspect', return_value=self.TESTS):
            return ''.join(t['name'] for t in
                           check.choose(None, what, None, **which))

    def test_tiers(self):
        self.assertEqual('a', self.names())
        self.assertEqual('abcp-onep-two', self.names(full=True))

    def test_named(self):
        """What is named is run, whatever its tier."""
        self.assertEqual('ab', self.names('e2e'))
        self.assertEqual('c', self.names('c'))
        self.assertEqual('p-onep-two', self.names('p'))
        for word in 'd', check.FULL:
            with self.assertRaisesRegex(StackError, f"'{word}' is neither"):
                self.names(word)


class Resumed(unittest.TestCase):
    """What has passed on this very tree is not run again."""

    def setUp(self):
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.project, build = self.top / 'project', self.top / 'build'
        (self.project / 'patches').mkdir(parents=True)
        (self.project / 'docs').mkdir()
        subprocess.run(['git', 'init', '-q', self.project], check=True)
        self.write('a', '1')
        git(self.project, 'add', '-A')
        git(self.project, 'commit', '-qm', 'x', env=WHO)
        self.enterContext(mock.patch.object(passed, 'ROOT', self.project))
        self.layout = Layout(build, {})
        self.layout.patches = self.project / 'patches'
        build.mkdir()

    def write(self, name, text):
        (self.project / name).parent.mkdir(exist_ok=True)
        (self.project / name).write_text(text)

    def kept(self, versions=None):
        self.layout.versions = versions or {}
        return [e['name'] for e in passed.Ledger(self.layout).entries()]

    def test_kept(self):
        ledger = passed.Ledger(self.layout)
        ledger.keep([entry('a'), entry('b', result='FAIL'),
                     entry('c', result='SKIP'), entry('d', result='TIMEOUT')])
        self.assertEqual(['x:a'], self.kept())
        ledger.keep([entry('e')])
        self.assertEqual(['x:a', 'x:e'], self.kept())
        ledger.forget()
        ledger.keep([])
        self.assertEqual([], self.kept())

    def test_another_tree(self):
        """Any change of any file, new ones too, but for the release's page."""
        passed.Ledger(self.layout).keep([entry('a')])
        for name, text in (('a', '2'), ('new', ''), ('docs/b.rst', '')):
            with self.subTest(name):
                self.write(name, text)
                self.assertEqual([], self.kept())
                git(self.project, 'stash', '-qu', env=WHO)
                self.assertEqual(['x:a'], self.kept())
        self.assertEqual([], self.kept({'qemu': '10.2'}))
        for name in passed.LEFT_OUT:
            self.write(name, 'new')
        self.assertEqual(['x:a'], self.kept())

    def test_no_git(self):
        """Where nothing can tell what is there, all is run."""
        with mock.patch.object(passed, 'ROOT', self.top):
            ledger = passed.Ledger(self.layout)
            ledger.keep([entry('a')])
            self.assertEqual([], self.kept())

    def test_run(self):
        """--full leaves out what passed, counts it, and records it."""
        chosen = [{'name': name} for name in 'abc']
        ran = []

        def run_meson(layout, progress, env, names, keep):
            ran.append(''.join(names))
            done = [entry(f's / {name}', result='FAIL' if name == 'b' and
                          len(ran) == 1 else 'OK') for name in names]
            keep(done)
            return 0, [check.Test(e) for e in done]
        counts = []
        for again in False, False, False, True:
            progress = mock.MagicMock(done=[], seconds=lambda: 3)
            with mock.patch.object(check, 'run_meson', run_meson), \
                    redirect_stdout(io.StringIO()):
                check.run(self.layout, progress, {}, chosen, full=True,
                          again=again)
            found = json.loads((self.layout.build / 'check.json').read_text())
            counts.append((found['passed'], found['failed'], found['tier']))
        self.assertEqual(['abc', 'b', 'abc'], ran)
        self.assertEqual([(2, 1, 'full')] + 3 * [(3, 0, 'full')], counts)


class Repeated(unittest.TestCase):
    """--repeat tells how often each test passed, and hides nothing."""

    SCRIPT = '''
import os, sys
n = len(os.listdir({folder!r}))
open({folder!r} + '/' + str(n), 'w')
print('ok 1 - always')
print('not ok 2 - at first' if n == 0 else 'ok 2 - at first')
print('1..2', sys.argv[1:], file=sys.stderr)
'''

    def repeat(self, script, times=3, words=('t',), timeout=30, load=False):
        top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (top / 'runs').mkdir()
        program = top / 'x.py'
        program.write_text(script.format(folder=str(top / 'runs')))
        test = {'name': 't', 'suite': ['p:s'], 'env': {}, 'workdir': None,
                'cmd': [sys.executable, str(program)], 'timeout': timeout,
                'is_parallel': True}
        with redirect_stdout(io.StringIO()) as said:
            status = repeat.run(Layout(top, {}), dict(os.environ), [test],
                                words, times, load)
        return status, said.getvalue(), top

    def test_tally(self):
        status, text, top = self.repeat(self.SCRIPT)
        self.assertEqual(1, status)
        self.assertRegex(text, r'(?m)^ +2 of 3 +t: at first$')
        self.assertRegex(text, r'(?m)^ +3 of 3 +t: always$')
        self.assertTrue(text.endswith('1 passed, 1 failed\n'), text)
        self.assertIn('not ok 2', (top / 'log/repeat/t-1.log').read_text())

    def test_load(self):
        """The processors are busy meanwhile, and not longer."""
        status, text, _ = self.repeat(
            'import os\nparent = os.getppid()\n'
            'path = f"/proc/{{parent}}/task/{{parent}}/children"\n'
            'print("ok 1 - busy" if len(open(path).read().split()) >= '
            'len(os.sched_getaffinity(0)) else "not ok 1 - idle")',
            times=1, load=True)
        self.assertEqual(0, status, text)
        self.assertEqual('', Path(f'/proc/self/task/{os.getpid()}'
                                  '/children').read_text())

    def test_no_result(self):
        """What hangs, or says nothing and fails, has failed."""
        for script, timeout in (('import time; time.sleep(60)', 1),
                                ('raise SystemExit(3)', 30),
                                ('print("ok 1 - a"); raise SystemExit(3)', 30),
                                ('print("Bail out! no")', 30)):
            with self.subTest(script):
                status, text, _ = self.repeat(script, 1, timeout=timeout)
                self.assertEqual(1, status, text)
                self.assertIn(' 0 of 1 ', text)

    def test_case(self):
        _, _, top = self.repeat(self.SCRIPT, 1, ('t:at first',))
        self.assertIn("['--only', 'at first']",
                      (top / 'log/repeat/t-1.log').read_text())
        with self.assertRaisesRegex(StackError, "'s' has no case 'x'"):
            self.repeat(self.SCRIPT, 1, ('s:x',))

    def test_class(self):
        """A program may be several tests, one for each class."""
        chosen = [{'name': name, 'suite': ['p:s'], 'cmd': ['x', words]}
                  for name, words in (('p-a', 'A'), ('p-b', 'B'),
                                      ('q', 'q.py'))]

        def of(*words):
            tests, cases = repeat.of_cases(chosen, words)
            return [t['name'] for t in tests], cases
        self.assertEqual((['p-b'], {'p-b': ['B.x', 'B.y']}),
                         of('p:B.x', 'p:B.y'))
        self.assertEqual((['p-b', 'q'], {'p-b': ['B.x']}), of('p:B.x', 'q'))
        self.assertEqual((['p-a', 'p-b', 'q'], {}), of('s'))


class Alone(unittest.TestCase):
    """Two checks on one machine do not meet."""

    PROGRAM = f'''
import sys
sys.path.insert(0, {str(ROOT / 'tests' / 'lib')!r})
from powertest import netns
import socket
print(netns.alone() or '', flush=True)
with socket.create_server(('127.0.0.1', int(sys.argv[1]))) as listener:
    print(listener.getsockname(), flush=True)
    sys.stdin.read()
'''

    def test_same_port(self):
        """Each test program has the ports for itself."""
        with socket.create_server(('127.0.0.1', 0)) as ours:
            port = ours.getsockname()[1]
            both = [self.enterContext(subprocess.Popen(
                [sys.executable, '-c', self.PROGRAM, str(port)], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE))
                for _ in range(2)]
            shared = [one.stdout.readline().strip() for one in both]
            if any(shared):
                for one in both:
                    one.kill()
                self.skipTest(shared[0])
            for one in both:
                self.assertEqual(f"('127.0.0.1', {port})\n",
                                 one.stdout.readline())


if __name__ == '__main__':
    tap.main()
