#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Build each patch of a series on its own, and run the tests after it.

Works on clones below build/each, against what is in build/prefix (the other
upstreams' whole series), and installs nothing. An embedded upstream's patches
are built in its first host's unpatched source; its other hosts get it with
their own first patch.
"""

import argparse
import json
import os
import subprocess
import sys

import debian
import series
import series_apply
import sources
from core import Layout, StackError, git, load_upstreams, rel
from progress import Progress
from upstream import TARGETS, TEST_ENV, TEST_TARGETS

# of QEMU's tests those that the series touches; of the others', all
QEMU_TESTS = ['spice-power-test', 'qmp-cmd-test', 'test-hmp',
              'readconfig-test', 'QAPI schema regression tests']


def options(layout, name):
    """What meson.build configures an upstream with."""
    graph = layout.obj / 'stack'
    done = subprocess.run(['meson', 'introspect', '--targets', str(graph)],
                          env=debian.environment(layout),
                          stdout=subprocess.PIPE, text=True, check=True)
    target, = [t for t in json.loads(done.stdout) if t['name'] == name]
    command = target['target_sources'][0]['compiler']
    return command[command.index('--') + 1:]


class Trial:
    """A clone of one upstream (and what is embedded), built bit by bit."""

    def __init__(self, layout, upstream):
        self.layout, self.upstream = layout, upstream
        self.src = layout.build / 'each' / 'src' / upstream.name
        self.obj = layout.build / 'each' / 'obj' / upstream.name
        self.env = debian.environment(layout)
        self.inner = [(u, path.relative_to(upstream.repo)) for u, path in
                      sources.embedded(layout, upstream.name)]
        self.clone(upstream.repo, self.src)
        for _, path in self.inner:
            self.clone(upstream.repo / path, self.src / path)

    @staticmethod
    def clone(repo, into):
        if not (into / '.git').exists():
            into.mkdir(parents=True, exist_ok=True)
            git(into, 'init', '-q')
        git(into, 'fetch', '-q', str(repo), '+refs/*:refs/from/*')

    def checkout(self, commit, inner_commit):
        git(self.src, 'checkout', '-q', '-f', commit)
        for _, path in self.inner:
            git(self.src / path, 'checkout', '-q', '-f', inner_commit)

    def build(self, step):
        name = self.upstream.name
        if not (self.obj / 'build.ninja').exists():
            self.obj.mkdir(parents=True, exist_ok=True)
            source = os.path.relpath(self.src, self.obj)
            command = ([f'{source}/configure', *options(self.layout, name)]
                       if name == 'qemu' else
                       ['meson', 'setup', '--libdir', 'lib',
                        *options(self.layout, name), '.', source])
            step.run(command, env=self.env, cwd=self.obj)
        step.run(['ninja', *TARGETS.get(name, [])], env=self.env, cwd=self.obj)
        if name in TEST_TARGETS:
            step.run(['ninja', *TEST_TARGETS[name]], env=self.env,
                     cwd=self.obj)
        meson = 'pyvenv/bin/meson' if name == 'qemu' else 'meson'
        tests = []
        if name == 'qemu':
            # a test that a later patch adds is not there yet
            _, there = step.run([meson, 'test', '--list'], env=self.env,
                                cwd=self.obj)
            tests = sorted({line.split(' / ')[-1].strip() for line in there
                            if any(line.endswith(t) for t in QEMU_TESTS)})
        step.run([meson, 'test', *tests], cwd=self.obj,
                 env={**self.env, **TEST_ENV.get(name, {})})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build-dir')
    parser.add_argument('upstream', nargs='*')
    args = parser.parse_args()
    layout = Layout(args.build_dir)
    every = [u for u in load_upstreams(layout) if not u.absent]
    chosen = load_upstreams(layout, args.upstream)
    for u in chosen:
        if u.absent:
            print(f'skipped: {u.name}: {u.absence}')
    chains = {}
    for u in every:
        for repo in u.repos:
            tip = series_apply.build_chain(u, repo, series.patches_of(u))
            git(repo, 'update-ref', 'refs/stack/each', tip)
            chains[repo] = series.commits_of(repo, tip)
    work = [(u, n) for u in chosen if not u.absent
            for n in range(len(chains[u.repo]))]
    progress = Progress(layout, len(work))
    passed, failed = 0, []
    for u, n in work:
        commit = chains[u.repo][n]
        what = f'{u.name} {n + 1}: {commit.subject}'
        try:
            with progress.step(what, f'each-{u.name}') as step:
                if u.embedded_in:
                    host, = [h for h in every if h.name == u.embedded_in[0]]
                    trial = Trial(layout, host)
                    trial.checkout('refs/from/tags/base', commit.sha)
                else:
                    trial = Trial(layout, u)
                    inner = trial.inner and chains[
                        u.repo / trial.inner[0][1]][-1].sha
                    trial.checkout(commit.sha, inner)
                trial.build(step)
            passed += 1
        except StackError as e:
            print(f'{e}\n  the source: {rel(layout.build / "each" / "src")}')
            failed.append(what)
    for what in failed:
        print(f'failed: {what}')
    print(f'{passed} passed, {len(failed)} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
