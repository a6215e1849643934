# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the test suites of meson.build and count what they tell."""

import contextlib
import json
import re
import subprocess

import passed
import report
from core import ROOT, StackError, rel
from progress import clock

TAP = re.compile(r'^\s*(not )?ok\b\s*(\d+)?\s*-?\s*(.*)$')
SKIP = re.compile(r'#\s*skip\S*\s*(.*)$', re.I)
# tests/lib/tap.py says these
TOOK = re.compile(r'^# took ([\d.]+) s(?:, processor ([\d.]+) s)?$')
PROCESSOR = re.compile(r'^# processor ([\d.]+) s$', re.M)
TAIL = 30
# A test of this suite is for ./stack check --full only
FULL = 'full'
# the two tiers, by whether it is the full one
TIERS = {False: 'check', True: 'full'}
# So many tests side by side: most of them wait, for a guest or a timeout, more
# than they use the processors. Those that measure have the machine to themselves.
AT_ONCE = 3


class Count:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def line(self):
        text = f'{self.passed} passed, {len(self.failed)} failed'
        if self.skipped:
            text += f', {len(self.skipped)} skipped'
        return text

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


class Line:
    """A result in TAP; skip is a reason, times are in seconds, if known."""

    def __init__(self, title, failed, skip):
        self.title, self.failed, self.skip = title, failed, skip
        self.seconds = self.processor = None


def tap_lines(text):
    """The Lines that there are."""
    found = []
    for line in text.splitlines():
        took = TOOK.match(line)
        if took and found:
            found[-1].seconds, found[-1].processor = (
                t and float(t) for t in took.groups())
        m = TAP.match(line) if not line.startswith(' ') else None
        if m:
            skip = SKIP.search(m.group(3))
            found.append(Line(re.sub(r'\s*#.*$', '', m.group(3)).strip(),
                              bool(m.group(1)),
                              skip and (skip.group(1) or 'no reason given')))
    return found


def count_tap(name, text, count):
    """Add one test's TAP lines; return whether there were any."""
    lines = tap_lines(text)
    for line in lines:
        title = f'{name}: {line.title}' if line.title else name
        if line.failed:
            count.failed.append(title)
        elif line.skip:
            count.skipped.append((title, line.skip))
        else:
            count.passed += 1
    return bool(lines)


def add_result(entry, count):
    """Count one entry of testlog.json; return its output if it failed."""
    name = short(entry['name'])
    text = entry.get('stdout', '')
    failed = len(count.failed)
    tap = count_tap(name, text, count)
    result = entry['result']
    if result in ('OK', 'EXPECTEDFAIL'):
        if not tap:
            count.passed += 1
    elif result == 'SKIP':
        if not tap or '1..0' in text:
            reason = (text + entry.get('stderr', '')).strip()
            m = re.search(r'^1\.\.0\s*#\s*(?:skip\S*)?\s*(.*)$', reason,
                          re.M | re.I)
            reason = (m.group(1) if m else
                      reason.splitlines()[-1] if reason else 'no reason given')
            count.skipped.append((name, reason))
    elif len(count.failed) == failed:
        count.failed.append(f'{name} ({result.lower()})')
    if len(count.failed) > failed:
        return text + entry.get('stderr', '')
    return None


class Test:
    """One of meson's tests, with what its entry in testlog.json tells."""

    def __init__(self, entry):
        self.entry = entry
        self.suite, _, self.name = short(entry['name']).rpartition(' / ')
        self.seconds = entry.get('duration', 0)
        used = PROCESSOR.findall(entry.get('stdout', ''))
        self.processor = float(used[-1]) if used else None
        self.count = Count()
        self.output = add_result(entry, self.count)

    def lines(self):
        return tap_lines(self.entry.get('stdout', ''))

    def times(self):
        """[(title, seconds, processor's or None)] of its lines, or its own."""
        return ([(line.title, line.seconds, line.processor)
                 for line in self.lines() if line.seconds is not None]
                or [('', self.seconds, self.processor)])

    def record(self):
        return {'suite': self.suite, 'name': self.name,
                'seconds': round(self.seconds, 1),
                'processor': self.processor, 'passed': self.count.passed,
                'failed': len(self.count.failed),
                'skipped': len(self.count.skipped),
                'cases': [{'name': title, 'seconds': round(seconds, 2),
                           'processor': used}
                          for title, seconds, used in self.times() if title]}


def telling(output):
    """The lines of a failed test that say why: in TAP, those before it."""
    lines = output.strip().splitlines()
    bad = [i for i, line in enumerate(lines) if line.startswith('not ok')]
    if not bad:
        return lines[-TAIL:]
    shown = []
    for i in bad:
        start = i
        while start > 0 and lines[start - 1].startswith('#'):
            start -= 1
        shown += lines[max(start, i - TAIL):i + 1]
    return shown[-3 * TAIL:]


def short(name):
    """`hygiene / series` of `spice-power-control:hygiene+full / series`."""
    name = name.split(':', 1)[-1]
    suites, slash, test = name.rpartition(' / ')
    return '+'.join(s for s in suites.split('+') if s != FULL) + slash + test


def introspect(graph, what, env):
    done = subprocess.run(['meson', 'introspect', f'--{what}', str(graph)],
                          env=env, stdout=subprocess.PIPE, text=True,
                          check=True)
    return json.loads(done.stdout)


def suites_of(test):
    return [s.split(':')[-1] for s in test['suite']]


def choose(graph, what, env, full=False):
    """Those of meson's tests that were asked for, by suite or name.

    Without that all of them, or those that are not for --full alone.
    """
    tests = introspect(graph, 'tests', env)
    if not what:
        return [t for t in tests if full or FULL not in suites_of(t)]
    suites = sorted({s for t in tests for s in suites_of(t)} - {FULL})
    names = sorted({t['name'] for t in tests})
    chosen = []
    for word in what:
        if word in suites:
            chosen += [t for t in tests if word in suites_of(t)]
        elif word in names:
            chosen += [t for t in tests if t['name'] == word]
        elif any(name.startswith(f'{word}-') for name in names):
            # a program of which each class is a test
            chosen += [t for t in tests if t['name'].startswith(f'{word}-')]
        else:
            raise StackError(f"'{word}' is neither a suite nor a test",
                             'suites: ' + ' '.join(suites) + '\n  tests: '
                             + ' '.join(names))
    return [t for t in tests if t in chosen]


def needs(graph, chosen, env):
    """The targets that those tests need and that are not built by default.

    Those are variants, asan-qemu for one, and what a variant of an upstream
    needs of the others is not in meson's answer: all of that variant.
    """
    ids = {i for t in chosen for i in t['depends']}
    targets = [t for t in introspect(graph, 'targets', env)
               if not t['build_by_default']]
    variants = {t['name'].partition('-')[0] for t in targets
                if t['id'] in ids}
    return [t['name'] for t in targets
            if t['name'].partition('-')[0] in variants]


def entries(log):
    """What meson has written down of the tests that have ended."""
    with contextlib.suppress(FileNotFoundError):
        for line in log.read_text(errors='replace').splitlines():
            with contextlib.suppress(ValueError):   # it is just being written
                yield json.loads(line)


def run_meson(layout, progress, env, names, keep=lambda entries: None):
    """Run these of meson's tests; return (exit status, [Test]).

    keep gets the entries of those that have ended, again and again.
    """
    graph = layout.obj / 'stack'
    log = graph / 'meson-logs' / 'testlog.json'
    log.unlink(missing_ok=True)
    with progress.step('test', 'check') as step:
        def note(line):
            m = re.match(r'^\s*(\d+)/(\d+) (.*\S)\s+([A-Z]{2,}\S*)\s+'
                         r'([\d.]+)s', line)
            if m:
                step.detail = f'({m.group(1)} of {m.group(2)} done)'
                text = short(re.sub(r'\s{2,}', ' ', m.group(3)))
                step.line(f'{text}: {m.group(4)}, {m.group(5)} s')
                keep(entries(log))
        status, lines = step.run(
            ['meson', 'test', '-C', graph, '--no-rebuild', '--num-processes',
             str(AT_ONCE), '--print-errorlogs', *names], env=env, note=note,
            check=False)
        keep(entries(log))
        tests = [Test(entry) for entry in entries(log)]
        if not tests:
            step.failed(lines, ['meson', 'test'])
    return status, tests


def run(layout, progress, env, chosen, full=False, whole=True, again=False):
    """Run these tests, print what they told, return the exit status.

    full runs them as thoroughly as they can be, and leaves out those that have
    passed on this very tree, unless again is set. whole says that these are all
    that there are, so that there is something to record.
    """
    if whole:
        (layout.build / 'check.json').unlink(missing_ok=True)
    ledger = passed.Ledger(layout) if full else passed.Nothing()
    if again:
        ledger.forget()
    every = {t['name'] for t in chosen}
    before = [test for test in map(Test, ledger.entries())
              if test.name in every]
    if before:
        print(f'{len(before)} tests have passed on this very tree, and are '
              'not run again (--again runs them)')
    builds = list(progress.done)
    names = sorted(every - {test.name for test in before})
    status, tests = 0, []
    if names:
        status, tests = run_meson(
            layout, progress, dict(env, SPICE_POWER_TIER=TIERS[full]), names,
            ledger.keep)
    count = Count()
    for test in (*before, *tests):
        count.add(test.count)
    tell_failures(layout, tests)
    if status and not count.failed:
        count.failed.append(f'meson test (exit status {status})')
    if whole and not full:
        count.failed += report.over(tests)
    for title, reason in count.skipped:
        print(f'skipped: {title}: {reason}')
    for title in count.failed:
        print(f'failed: {title}')
    if whole:
        print('\n'.join(['', *report.table(builds, tests, not full)]))
        report.record(layout, TIERS[full], progress.seconds(), count, builds,
                      [*before, *tests])
    took = sum(seconds for _, seconds, _ in progress.done[len(builds):])
    print(f'tests took {clock(took)}, all of it {progress.elapsed()}')
    print(count.line())
    return 1 if count.failed else 0


def tell_failures(layout, tests):
    failed = [test for test in tests if test.output is not None]
    for test in failed:
        print(f'\n{test.suite} / {test.name} failed; of what it printed:')
        for line in telling(test.output):
            print(f'    {line}')
    if failed:
        print(f'\nThe whole log: {rel(layout.obj)}/stack/meson-logs/'
              'testlog.txt\nOne suite or test by itself: ./stack check NAME')


def each_patch(layout, what, env):
    command = ['/usr/bin/python3', ROOT / 'scripts' / 'each_patch.py',
               '--build-dir', layout.build, *what]
    return subprocess.run(command, env=env).returncode
