# SPDX-License-Identifier: GPL-2.0-or-later
"""Run tests again and again, and tell how often each has passed.

What is chosen is a suite, a test, or with a colon one case of a test:
limits:SilentDisplays.test_several, spice:test-link.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import check
from core import StackError, rel
from progress import clock

PR_SET_PDEATHSIG = 1


def split(word):
    """(suite or test, case or None) of what was typed."""
    name, _, case = word.partition(':')
    return name, case or None


def end_with_us():
    """Have the kernel end this process when its parent ends, however."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def busy(load):
    """Keep every processor busy meanwhile."""
    burners = []
    try:
        if load:
            burners = [subprocess.Popen(
                [sys.executable, '-c', 'while True: pass'],
                stdin=subprocess.DEVNULL, preexec_fn=end_with_us)
                for _ in range(len(os.sched_getaffinity(0)))]
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


class Tally:
    """How often each case of the tests passed."""

    def __init__(self, directory):
        self.directory = directory
        self.results = {}               # title: [passed, failed, skipped]
        self.longest = {}

    def add(self, number, test):
        for title, seconds, _ in test.times():
            title = f'{test.name}: {title}' if title else test.name
            self.longest[title] = max(seconds, self.longest.get(title, 0))
        lines = test.lines()
        for line in lines:
            self.note(f'{test.name}: {line.title}', 1 if line.failed else
                      2 if line.skip else 0)
        if not lines or (test.output is not None
                         and not any(line.failed for line in lines)):
            self.note(test.name, 0 if test.output is None else 1)
        if test.output is not None:
            path = self.directory / f'{test.name}-{number}.log'
            path.write_text(test.output)
            return path

    def note(self, title, result):
        self.results.setdefault(title, [0, 0, 0])[result] += 1

    def failed(self):
        return sum(bool(bad) for _, bad, _ in self.results.values())

    def lines(self):
        for title, (good, bad, skipped) in sorted(
                self.results.items(), key=lambda item: (-item[1][1], item[0])):
            yield (f'{good:4} of {good + bad:<4} {title}'
                   + (f' (skipped {skipped} times)' if skipped else '')
                   + (f', at most {self.longest[title]:.1f} s'
                      if title in self.longest else ''))


def command(test, cases):
    """(words, environment) that run one of meson's tests."""
    more = [word for case in cases for word in ('--only', case)]
    return [*test['cmd'], *more], {**os.environ, **test['env']}


def once(test, cases, env):
    """Run it; return the check.Test."""
    words, own = command(test, cases)
    begin = time.monotonic()
    child = subprocess.Popen(
        words, env={**env, **own, 'PATH': env['PATH']},
        cwd=test['workdir'] or None, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors='replace', start_new_session=True)
    try:
        out, err = child.communicate(timeout=test['timeout'])
        result = ('OK' if child.returncode == 0 else
                  'SKIP' if child.returncode == 77 else 'FAIL')
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGTERM)
        out, err = child.communicate()
        result = 'TIMEOUT'
    except BaseException:
        os.killpg(child.pid, signal.SIGTERM)
        raise
    if 'Bail out!' in out or (result == 'OK' and any(
            line.failed for line in check.tap_lines(out))):
        result = 'FAIL'
    return check.Test({
        'name': f'{check.suites_of(test)[0]} / {test["name"]}', 'stdout': out,
        'stderr': err, 'result': result,
        'duration': time.monotonic() - begin})


def of_cases(chosen, words):
    """(the tests to run, {name: its cases}); a test without cases runs whole."""
    cases = {}
    for name, case in map(split, words):
        if not case:
            continue
        found = [t for t in chosen if t['name'] == name]
        # or a program of which each class is a test
        found = found or [
            t for t in chosen if t['name'].startswith(f'{name}-')
            and t['cmd'][-1] == case.partition('.')[0]]
        if not found:
            raise StackError(f"'{name}' has no case '{case}'",
                             f'./stack check {name} tells what it has')
        cases.setdefault(found[0]['name'], []).append(case)
    whole = {name for name, case in map(split, words) if not case}
    return [t for t in chosen if t['name'] in cases or not cases
            or whole & {t['name'], *check.suites_of(t)}], cases


def run(layout, env, chosen, words, times, load, full=False):
    """Run these tests so many times each; return the exit status.

    As in a check, two run side by side, but for those that measure.
    """
    chosen, cases = of_cases(chosen, words)
    directory = layout.log / 'repeat'
    directory.mkdir(parents=True, exist_ok=True)
    tally = Tally(directory)
    env = dict(env, SPICE_POWER_TIER=check.TIERS[full])
    begin = time.monotonic()

    def one(job):
        number, test = job
        result = once(test, cases.get(test['name'], []), env)
        path = tally.add(number, result)
        print(f'{number} of {times}: {test["name"]}: '
              + ('passed' if path is None else f'FAILED, see {rel(path)}')
              + f', {clock(result.seconds)}', flush=True)

    def jobs(parallel):
        return [(number, test) for number in range(1, times + 1)
                for test in chosen if test['is_parallel'] == parallel]

    with busy(load), ThreadPoolExecutor(check.AT_ONCE) as pool:
        # what a case has as its file system names may be one for all of it:
        # the same test does not run beside itself
        for round in range(1, times + 1):
            list(pool.map(one, [job for job in jobs(True)
                                if job[0] == round]))
        for job in jobs(False):
            one(job)
    print('\n'.join(['', *tally.lines()]))
    print(f'{times} times{", on busy processors" if load else ""}: '
          f'{clock(time.monotonic() - begin)}')
    print(f'{len(tally.results) - tally.failed()} passed, '
          f'{tally.failed()} failed')
    return 1 if tally.failed() else 0
