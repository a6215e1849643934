# SPDX-License-Identifier: GPL-2.0-or-later
"""What has passed on the very tree that is here: it need not run again."""

import hashlib
import json
import os
import tempfile

import series_apply
from core import ROOT, StackError, git, load_upstreams, write_if_changed

# what says how earlier runs ended changes nothing that is tested
LEFT_OUT = ('docs/release.json', 'docs/release.rst')


def tree():
    """The hash of all files that are here, committed or not, or None."""
    try:
        with tempfile.TemporaryDirectory() as temporary:
            env = {'GIT_INDEX_FILE': os.path.join(temporary, 'index')}
            git(ROOT, 'read-tree', 'HEAD', env=env)
            git(ROOT, 'add', '-A', env=env)
            git(ROOT, 'rm', '-q', '--cached', '--ignore-unmatch', *LEFT_OUT,
                env=env)
            return git(ROOT, 'write-tree', env=env)
    except (StackError, FileNotFoundError):
        return None


def state(layout):
    """Changes with whatever a test's result may depend on; None if unknown.

    These are the project's files, the upstreams' sources that are built, and
    the choice of versions.
    """
    ours = tree()
    if ours is None:
        return None
    parts = [ours, json.dumps(layout.versions, sort_keys=True)]
    for upstream in load_upstreams(layout):
        for repo in upstream.repos:
            if not (repo / '.git').is_dir():
                continue
            if series_apply.local_work(upstream, repo):
                return None
            parts += [str(repo), git(repo, 'rev-parse', 'HEAD^{tree}')]
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()


class Nothing:
    """Where nothing is remembered."""

    def entries(self):
        return []

    def forget(self):
        pass

    def keep(self, entries):
        pass


class Ledger:
    """The entries of meson's log of the tests that passed, kept in a file."""

    def __init__(self, layout):
        self.path = layout.build / 'passed.json'
        self.state = state(layout)
        self.kept = {}
        try:
            data = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return
        if self.state and data['state'] == self.state:
            self.kept = data['entries']

    def entries(self):
        return list(self.kept.values())

    def forget(self):
        self.kept = {}

    def keep(self, entries):
        """Add those that have passed, so that an interruption loses nothing.

        A test of which all was skipped is not kept: what it lacked may be
        there the next time.
        """
        if not self.state:
            return
        for entry in entries:
            if entry['result'] == 'OK':
                self.kept[entry['name']] = {
                    key: entry[key] for key in
                    ('name', 'stdout', 'result', 'duration') if key in entry}
        write_if_changed(self.path, json.dumps(
            {'state': self.state, 'entries': self.kept}).encode())
