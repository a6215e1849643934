# SPDX-License-Identifier: GPL-2.0-or-later
"""The gates of a release: each a command, its log, its result for a commit.

What a gate said of another commit is worth nothing: it counts as not run. So
a release can be stopped anywhere and gone on with, and the page that it writes
is never better than what was run.
"""

import datetime
import json
import os
import shlex
import signal
import subprocess
import time
from typing import NamedTuple

from core import ROOT, StackError, git, load_upstreams, rel, write_if_changed
from progress import clock

PAGE = ROOT / 'docs' / 'release.rst'
DATA = ROOT / 'docs' / 'release.json'
EVERY = 60                              # seconds between lines of progress
OTHER = '--with qemu=10.2 --with spice=0.16'


class Gate(NamedTuple):
    name: str
    command: str
    what: str


def gates(layout):
    """All of them, the quickest to fail first."""
    each = [Gate(f'each-patch-{u.name}', f'./stack check --each-patch {u.name}',
                 f'each patch for {u.title} builds, and passes its tests')
            for u in load_upstreams(layout) if not u.absent]
    return [
        Gate('full', './stack check --full', 'every test there is'),
        Gate('full-other-versions', f'./stack check --full {OTHER}',
             'the same with QEMU 10.2 and spice 0.16'),
        *each,
        Gate('packages', './stack deb', 'the Debian packages are built'),
        Gate('packages-used', './stack check deb',
             'they are installed, run a domain of the stock libvirt, and are '
             'removed'),
        Gate('fuzz', './stack fuzz --time 3600', 'an hour of fuzzing'),
        Gate('polls', 'SPICE_POWER_POLLS=86400 ./stack check '
             'bmc:Exec.test_many_polls',
             'as many polls of a BMC as a day has seconds'),
        Gate('bench', './stack bench -- --rounds 200',
             'the measurements, each against its goal'),
        *(Gate(f'{what}-{release}',
               f'./stack fresh {release} ./stack {what}',
               f'./stack {what} from nothing, on a Debian as it is installed')
          for release in ('bookworm', 'trixie')
          for what in ('demo', 'check')),
    ]


def commit():
    """The newest commit that changes more than the page that is written."""
    return git(ROOT, 'rev-list', '-1', 'HEAD', '--', '.',
               *(f':(exclude){path.relative_to(ROOT)}'
                 for path in (PAGE, DATA)))


def need_committed():
    """A result is a commit's: there must be nothing else."""
    changed = [line[3:] for line in
               git(ROOT, 'status', '--porcelain', '-uall').splitlines()
               if line[3:] not in (str(p.relative_to(ROOT))
                                   for p in (PAGE, DATA))]
    if changed:
        raise StackError('a release is of a commit, and these files are not '
                         'committed: ' + ', '.join(changed[:6]),
                         'commit them, or put them away (git stash)')


def not_run(gate):
    return {'result': 'not run', 'commit': None, 'seconds': None,
            'command': gate.command, 'what': gate.what}


class Results:
    """What the gates have said of this commit."""

    def __init__(self, layout, every):
        self.path = layout.build / 'release.json'
        self.every = every
        self.commit = commit()
        try:
            old = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            old = {}
        self.gates = {
            gate.name: (old[gate.name] if self.valid(old.get(gate.name), gate)
                        else not_run(gate)) for gate in every}

    def valid(self, entry, gate):
        return (entry and entry.get('commit') == self.commit
                and entry.get('command') == gate.command)

    def keep(self, gate, result, seconds, log):
        self.gates[gate.name] = {
            'result': result, 'commit': self.commit,
            'seconds': round(seconds, 1), 'command': gate.command,
            'what': gate.what, 'log': rel(log),
            'ended': datetime.datetime.now(datetime.timezone.utc).isoformat(
                timespec='seconds')}
        self.write()

    def write(self):
        text = json.dumps(self.gates, indent=1) + '\n'
        write_if_changed(self.path, text.encode())
        write_if_changed(DATA, (json.dumps(
            {'commit': self.commit, 'gates': self.gates}, indent=1)
            + '\n').encode())
        write_if_changed(PAGE, page(self.commit, self.gates).encode())


def page(commit_id, results):
    """docs/release.rst."""
    passed = sum(entry['result'] == 'passed' for entry in results.values())
    lines = [
        '=======', 'Release', '=======', '',
        'Written by ``./stack release``, which runs these commands one after '
        'the',
        'other. A gate that was not run on this very commit says so, whatever '
        'it said',
        'of another one. `release.json <release.json>`_ has the same for '
        'programs.', '',
        f'Commit ``{commit_id}``: {passed} of {len(results)} gates passed.', '']
    for name, entry in results.items():
        took = (f', {clock(entry["seconds"])}, ended {entry["ended"]}'
                if entry['commit'] else '')
        lines += [f'{name}: **{entry["result"]}**{took}',
                  f'   {entry["what"]} ::', '',
                  f'      {entry["command"]}', '']
    return '\n'.join(lines)


def run_gate(gate, log, number, total):
    """Run its command; return (result, seconds)."""
    begin = spoken = time.monotonic()
    head = f'[{number}/{total}] {gate.name}'
    print(f'{head}: {gate.command}', flush=True)
    with open(log, 'w') as output:
        child = subprocess.Popen(
            ['sh', '-c', gate.command], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True)
        try:
            while True:
                try:
                    status = child.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() - spoken >= EVERY:
                        spoken = time.monotonic()
                        print(f'{head}: {clock(spoken - begin)}: '
                              f'{last_line(log)}', flush=True)
        except BaseException:
            os.killpg(child.pid, signal.SIGINT)
            child.wait()
            raise
    return ('passed' if status == 0 else 'failed',
            time.monotonic() - begin)


def last_line(path):
    with open(path, 'rb') as f:
        f.seek(max(0, path.stat().st_size - 4096))
        lines = f.read().decode(errors='replace').split('\n')
    return next((line for line in reversed(lines) if line.strip()), '')[:120]


def choose(every, names):
    for name in names:
        if name not in (gate.name for gate in every):
            raise StackError(f"'{name}' is not a gate", 'one of '
                             + ', '.join(gate.name for gate in every))
    return [gate for gate in every if not names or gate.name in names]


def run(layout, names=(), again=False, only_list=False):
    """Run the gates that have not passed on this commit; the exit status."""
    every = gates(layout)
    chosen = choose(every, names)
    results = Results(layout, every)
    if only_list:
        for gate in chosen:
            print(f'{gate.name:22} {results.gates[gate.name]["result"]:8} '
                  f'{shlex.join(["sh", "-c", gate.command])[6:]}')
        return 0
    need_committed()
    results.write()
    logs = layout.log / 'release'
    logs.mkdir(parents=True, exist_ok=True)
    due = [gate for gate in chosen if again
           or results.gates[gate.name]['result'] != 'passed']
    for gate in chosen:
        if gate not in due:
            print(f'{gate.name}: has passed on this commit')
    for number, gate in enumerate(due, 1):
        log = logs / f'{gate.name}.log'
        result, seconds = run_gate(gate, log, number, len(due))
        if commit() != results.commit:
            raise StackError('the commit that is checked out has changed '
                             f'while {gate.name} ran: it says nothing',
                             './stack release, again')
        results.keep(gate, result, seconds, log)
        print(f'[{number}/{len(due)}] {gate.name}: {result}, '
              f'{clock(seconds)}, {rel(log)}', flush=True)
        if result == 'failed':
            print(f'    {last_line(log)}')
    outcome = [results.gates[gate.name]['result'] for gate in every]
    print(f'{rel(PAGE)} and {rel(DATA)} are written, of commit '
          f'{results.commit[:12]}')
    print(f'{outcome.count("passed")} passed, {outcome.count("failed")} '
          f'failed, {outcome.count("not run")} not run')
    return 1 if 'failed' in (results.gates[g.name]['result']
                             for g in chosen) else 0
