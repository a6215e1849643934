# SPDX-License-Identifier: GPL-2.0-or-later
"""What a ./stack check says at its end: where the time went, and a record."""

import json
import os
import statistics
import subprocess
import time
import tomllib

import passed
from core import ROOT, StackError, git, write_if_changed
from progress import clock

ALLOWANCES = ROOT / 'tests' / 'allowances.toml'
SLOWEST = 10


def commit():
    """The commit that is tested; '-dirty' behind it if files differ from it."""
    try:
        changed = git(ROOT, 'status', '--porcelain', '-uno', '--', '.',
                      *(f':(exclude){path}' for path in passed.LEFT_OUT))
        return git(ROOT, 'rev-parse', 'HEAD') + ('-dirty' if changed else '')
    except (StackError, FileNotFoundError):
        return None                     # an archive, not a clone


def loop():
    """Processor's seconds that something takes, the same each time, here."""
    begin = time.process_time()
    for number in range(8_000_000):
        number + 1
    return time.process_time() - begin


def starts():
    """The same for programs that are started, which is what most tests do."""
    begin = os.times()
    for _ in range(100):
        subprocess.run(['true'], check=True)
    return sum(os.times()[:4]) - sum(begin[:4])


def allowances(here=False):
    """{suite: seconds of the processor that it may use in ./stack check}.

    On the machine of the table, or on this one, which may be slower in either.
    """
    with open(ALLOWANCES, 'rb') as f:
        table = tomllib.load(f)
    factor = max(1, *(statistics.median(what() for _ in range(5)) / table[name]
                      for name, what in (('loop', loop), ('starts', starts)))
                 ) if here else 1
    return {suite: may * factor for suite, may in table['check'].items()}


def suites(tests):
    """{suite: (tests, seconds, processor's seconds)}, the longest first."""
    found = {}
    for test in tests:
        number, seconds, processor = found.get(test.suite, (0, 0, 0))
        found[test.suite] = (number + 1, seconds + test.seconds,
                             processor + (test.processor or 0))
    return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def over(tests):
    """What is to be said of each suite that used more than it may."""
    may = allowances(here=True)
    return [f'allowance: {suite}: {processor:.0f} s of the processor, and '
            f'tests/allowances.toml gives it {may.get(suite, 0):.0f} s here: '
            'do less, or say there why it needs more'
            for suite, (_, _, processor) in suites(tests).items()
            if processor > may.get(suite, 0)]


def table(progress_done, tests, limited=True):
    """The lines that tell where the time went; limited: what they may use."""
    def row(what, seconds, processor, more=''):
        used = '' if processor is None else clock(processor)
        return f'  {what:46.46} {clock(seconds):>12} {used:>12}  {more}'.rstrip()

    lines = [f'{"":48} {"time":>12} {"processor":>12}']
    builds = [step for step in progress_done if step[1] >= 1]
    if builds:
        lines += ['builds', *(row(*step) for step in builds)]
    may = allowances() if limited else {}
    lines.append('suites, each with the sum of its tests')
    for suite, (number, seconds, processor) in suites(tests).items():
        lines.append(row(f'{suite} ({number})', seconds, processor,
                         f'of {clock(may[suite])}' if suite in may else ''))
    cases = [(f'{test.name}: {title}' if title else test.name, *times)
             for test in tests for title, *times in test.times()]
    lines.append(f'the {SLOWEST} slowest tests')
    lines += [row(*case) for case in
              sorted(cases, key=lambda case: -case[1])[:SLOWEST]]
    return lines


def record(layout, tier, seconds, count, progress_done, tests):
    """Write build/check.json, the same for programs."""
    data = {
        'commit': commit(), 'tier': tier, 'versions': layout.versions,
        'seconds': round(seconds, 1), 'passed': count.passed,
        'failed': len(count.failed), 'skipped': len(count.skipped),
        'builds': [{'name': name, 'seconds': round(took, 1),
                    'processor': used and round(used, 1)}
                   for name, took, used in progress_done],
        'tests': [test.record() for test in tests],
        'failures': count.failed,
        'skips': [{'name': name, 'reason': reason}
                  for name, reason in count.skipped]}
    path = layout.build / 'check.json'
    write_if_changed(path, (json.dumps(data, indent=1) + '\n').encode())
    return path
