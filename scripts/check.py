# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the test suites of meson.build and count what they tell."""

import json
import re
import subprocess
import sys
import time

from core import ROOT, StackError, rel
from progress import clock

TAP = re.compile(r'^\s*(not )?ok\b\s*(\d+)?\s*-?\s*(.*)$')
SKIP = re.compile(r'#\s*skip\S*\s*(.*)$', re.I)
TAIL = 30


class Count:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def line(self):
        text = f'{self.passed} passed, {len(self.failed)} failed'
        if self.skipped:
            text += f', {len(self.skipped)} skipped'
        return text


def count_tap(name, text, count):
    """Add one test's TAP lines; return whether there were any."""
    seen = False
    for line in text.splitlines():
        m = TAP.match(line) if not line.startswith(' ') else None
        if not m:
            continue
        seen = True
        skip = SKIP.search(m.group(3))
        title = re.sub(r'\s*#.*$', '', m.group(3)).strip()
        title = f'{name}: {title}' if title else name
        if m.group(1):
            count.failed.append(title)
        elif skip:
            count.skipped.append((title, skip.group(1) or 'no reason given'))
        else:
            count.passed += 1
    return seen


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
    """`hygiene / series` of `spice-power-control:hygiene / series`."""
    return name.split(':', 1)[-1]


def introspect(graph, what, env):
    done = subprocess.run(['meson', 'introspect', f'--{what}', str(graph)],
                          env=env, stdout=subprocess.PIPE, text=True,
                          check=True)
    return json.loads(done.stdout)


def needs(graph, what, env):
    """The targets that those tests need and that are not built by default.

    Those are variants, asan-qemu for one, and what a variant of an upstream
    needs of the others is not in meson's answer: all of that variant.
    """
    names = choose(graph, what, env)
    ids = {i for t in introspect(graph, 'tests', env)
           if not names or t['name'] in names for i in t['depends']}
    targets = [t for t in introspect(graph, 'targets', env)
               if not t['build_by_default']]
    variants = {t['name'].partition('-')[0] for t in targets
                if t['id'] in ids}
    return [t['name'] for t in targets
            if t['name'].partition('-')[0] in variants]


def choose(graph, what, env):
    """meson test's arguments for the suites and tests that were asked for."""
    tests = introspect(graph, 'tests', env)
    suites = sorted({s.split(':')[-1] for t in tests for s in t['suite']})
    names = sorted({t['name'] for t in tests})
    chosen = []
    for word in what:
        if word in suites:
            chosen += [t for t in tests
                       if word in [s.split(':')[-1] for s in t['suite']]]
        elif word in names:
            chosen += [t for t in tests if t['name'] == word]
        else:
            raise StackError(f"'{word}' is neither a suite nor a test",
                             'suites: ' + ' '.join(suites) + '\n  tests: '
                             + ' '.join(names))
    return sorted({t['name'] for t in chosen}) if what else []


def run(layout, what, progress, env, each_patch=False):
    if each_patch:
        command = ['/usr/bin/python3', ROOT / 'scripts' / 'each_patch.py',
                   '--build-dir', layout.build, *what]
        return subprocess.run(command, env=env).returncode
    graph = layout.obj / 'stack'
    names = choose(graph, what, env)
    log = graph / 'meson-logs' / 'testlog.json'
    log.unlink(missing_ok=True)
    start = time.monotonic()
    count, troubles = Count(), []
    with progress.step('test', 'check') as step:
        def note(line):
            m = re.match(r'^\s*(\d+)/(\d+) (.*\S)\s+([A-Z]{2,}\S*)\s+'
                         r'([\d.]+)s', line)
            if m:
                step.detail = f'({m.group(1)} of {m.group(2)} done)'
                text = short(re.sub(r'\s{2,}', ' ', m.group(3)))
                step.line(f'{text}: {m.group(4)}, {m.group(5)} s')
        status, lines = step.run(
            ['meson', 'test', '-C', graph, '--no-rebuild', '--num-processes',
             '2', '--print-errorlogs', *names], env=env, note=note,
            check=False)
        try:
            entries = [json.loads(line) for line in
                       log.read_text(errors='replace').splitlines()]
        except FileNotFoundError:
            step.failed(lines, ['meson', 'test'])
        for entry in entries:
            output = add_result(entry, count)
            if output is not None:
                troubles.append((short(entry['name']), output))
    for name, output in troubles:
        print(f'\n{name} failed; of what it printed:')
        for line in telling(output):
            print(f'    {line}')
    if troubles:
        print(f'\nThe whole log: {rel(graph)}/meson-logs/testlog.txt\n'
              'One suite or test by itself: ./stack check NAME')
    if status and not count.failed:
        count.failed.append(f'meson test (exit status {status})')
    for title, reason in count.skipped:
        print(f'skipped: {title}: {reason}')
    for title in count.failed:
        print(f'failed: {title}')
    print(f'tests took {clock(time.monotonic() - start)}, '
          f'all of it {progress.elapsed()}')
    print(count.line())
    return 1 if count.failed else 0
