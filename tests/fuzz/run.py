#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the fuzzers: briefly, as a test (TAP), or for long (./stack fuzz).

A fuzzer begins with the seeds (seeds.py) and the inputs in corpus/TARGET, each
of which once was a crash, then looks for inputs that reach more. With --time
it also keeps what it found, in build/fuzz/TARGET, and goes on from there.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / 'tests' / 'fuzz'
sys.path.insert(0, str(ROOT / 'scripts'))

from core import Layout, StackError, rel                # noqa: E402
from progress import clock                              # noqa: E402
import seeds                                            # noqa: E402

# and what part of the time each gets
TARGETS = {'server': 4, 'client': 4, 'link': 2, 'demarshal-server': 1,
           'demarshal-client': 1, 'proxy': 1}
SHORT = 13                              # seconds, each, as a test
EVERY = 30                              # seconds between progress lines

LIMITS = ['-timeout=60', '-rss_limit_mb=2048', '-max_len=1024',
          '-len_control=0']
STATUS = re.compile(r'^#(\d+)\s+(\w+).*?cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)')
WROTE = re.compile(r'Test unit written to (\S+)')


def environment():
    env = dict(os.environ)
    env['ASAN_OPTIONS'] = ':'.join([
        # the coroutines of spice-gtk have stacks of their own
        'detect_stack_use_after_return=0', 'allow_addr2line=1'])
    env['UBSAN_OPTIONS'] = 'print_stacktrace=1'
    for name in ('SPICE_PROXY', 'G_DEBUG', 'G_MESSAGES_DEBUG'):
        env.pop(name, None)
    return env


class Result:
    def __init__(self):
        self.runs = self.edges = self.features = self.corpus = 0
        self.took = 0
        self.crash = None               # the input's path
        self.lines = []
        self.status = 0

    def failed(self):
        return self.status != 0 or self.runs == 0


def fuzz(layout, target, seconds, corpus, artifacts, report=None, seed=0):
    """Run one fuzzer for so long; report gets a Result now and then."""
    program = layout.obj / 'fuzz-fuzzers' / target
    if not program.exists():
        raise StackError(f'{rel(program)} is not built', './stack fuzz')
    artifacts.mkdir(parents=True, exist_ok=True)
    inputs = [corpus, seeds.write(layout, target)]
    if (HERE / 'corpus' / target).is_dir():
        inputs.append(HERE / 'corpus' / target)
    result = Result()
    start = spoken = time.monotonic()
    child = subprocess.Popen(
        [program, *LIMITS, f'-max_total_time={seconds}', f'-seed={seed}',
         f'-artifact_prefix={artifacts}/', *inputs],
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors='replace')
    for line in child.stdout:
        result.took = time.monotonic() - start
        m = STATUS.match(line)
        if m:
            result.runs, result.edges, result.features, result.corpus = (
                int(m.group(i)) for i in (1, 3, 4, 5))
        else:
            result.lines = (result.lines + [line.rstrip()])[-60:]
        m = WROTE.search(line)
        if m:
            result.crash = Path(m.group(1))
        if report and time.monotonic() - spoken >= EVERY:
            spoken = time.monotonic()
            report(result)
    result.status = child.wait()
    result.took = time.monotonic() - start
    return result


def again(target, path):
    return f'build/obj/fuzz-fuzzers/{target} {rel(path)}'


def short(layout, targets):
    """As a test: TAP on standard output."""
    failed = 0
    print(f'1..{len(targets)}')
    for number, target in enumerate(targets, 1):
        with tempfile.TemporaryDirectory(prefix='spice-power-fuzz-') as new:
            result = fuzz(layout, target, SHORT, Path(new),
                          layout.build / 'fuzz' / 'crashes' / target, seed=1)
        if result.failed():
            failed += 1
            for line in result.lines:
                print(f'# {line}')
            if result.crash:
                print(f'# again: {again(target, result.crash)}')
            print(f'not ok {number} - {target}')
        else:
            print(f'# {result.runs} inputs, {result.features} features in '
                  f'{result.took:.0f} s')
            print(f'ok {number} - {target}')
        sys.stdout.flush()
    return 1 if failed else 0


def long(layout, targets, seconds):
    """For ./stack fuzz; goes on with the next one after a crash."""
    share = sum(TARGETS[t] for t in targets)
    results = {}
    for target in targets:
        most = max(seconds * TARGETS[target] // share, 1)
        corpus = layout.build / 'fuzz' / 'corpus' / target
        corpus.mkdir(parents=True, exist_ok=True)
        print(f'{target}: for {clock(most)}', flush=True)

        def report(result):
            print(f'{target}: {clock(result.took)}, {result.runs} inputs, '
                  f'{result.features} features, {result.corpus} in the corpus',
                  flush=True)

        result = fuzz(layout, target, most, corpus,
                      layout.build / 'fuzz' / 'crashes' / target, report)
        results[target] = result
        if result.failed():
            print('\n'.join(f'    {line}' for line in result.lines))
            print(f'{target}: FAILED', flush=True)
    print(f'\n{"target":17} {"inputs":>10} {"per s":>7} {"edges":>6} '
          f'{"features":>8} {"corpus":>6} {"time":>12}')
    for target, r in results.items():
        print(f'{target:17} {r.runs:10} {r.runs / max(r.took, 1):7.0f} '
              f'{r.edges:6} {r.features:8} {r.corpus:6} {clock(r.took):>12}')
    bad = {t: r for t, r in results.items() if r.failed()}
    for target, result in bad.items():
        print(f'failed: {target}')
        if result.crash:
            print(f'  again: {again(target, result.crash)}')
    print(f'{len(bad)} of {len(results)} fuzzers found something')
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build-dir',
                        default=os.environ.get('SPICE_POWER_BUILD'))
    parser.add_argument('--time', type=int, metavar='SECONDS',
                        help='for so long in all, keeping what is found')
    parser.add_argument('target', nargs='*', choices=[*TARGETS, []])
    args = parser.parse_args()
    layout = Layout(args.build_dir)
    targets = args.target or list(TARGETS)
    try:
        if args.time:
            return long(layout, targets, args.time)
        return short(layout, targets)
    except StackError as e:
        print(f'error: {e}\n  next: {e.hint}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
