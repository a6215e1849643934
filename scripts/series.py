# SPDX-License-Identifier: GPL-2.0-or-later
"""The patch series: what its parts are, as files and as commits.

build/src/<upstream> is a git repository: the tag `base` is the unpatched
source, the commits above it are the series.  A file that a commit adds is an
overlay file: a plain file of this project, named by an `Overlay:` trailer of
the commit, and left out of the patch.  series_apply.py makes commits of the
files, and series_refresh.py files of the commits.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile

from core import StackError, git, rel, write_if_changed

IMPORT_IDENTITY = {
    'NAME': 'Seed c1fb4f38 maintainers',
    'EMAIL': 'maintainers@users.noreply.r-seed-c1fb4f38.example',
    'DATE': '2026-01-01T00:00:00+00:00',
}


# --- what a repository was last given: .git/stack.json -----------------------

def load_state(repo):
    try:
        return json.loads((repo / '.git' / 'stack.json').read_text())
    except FileNotFoundError:
        return {}


def save_state(repo, **changes):
    state = load_state(repo)
    state.update(changes)
    path = repo / '.git' / 'stack.json'
    write_if_changed(path, json.dumps(state, indent=1, sort_keys=True)
                     .encode() + b'\n')


# --- reading a series -------------------------------------------------------

class Patch:
    """One patch file.

    For another version than the series was written for, a file of the same
    name, but .diff, has what changes instead to the files named in it; the
    message and all other files are those of the patch. Its first lines tell
    which parts of the patch it was made for, see made_for().
    """

    def __init__(self, path, other_dir=None):
        self.path = path
        self.data = path.read_bytes()
        self.instead = b''
        if other_dir:
            self.instead_path = other_dir / f'{path.stem}.diff'
            if self.instead_path.exists():
                self.instead = self.instead_path.read_bytes()

    @property
    def overlay(self):
        head = self.data.split(b'\n---\n')[0].decode(errors='replace')
        return re.findall(r'^Overlay: (\S+)$', head, re.M)


def patches_of(upstream):
    return [Patch(p, upstream.other_dir)
            for p in sorted(upstream.series_dir.glob('*.patch'))]


def series_id(patches):
    """Changes when the series on disk does; overlay content is not in it."""
    digest = hashlib.sha256()
    for patch in patches:
        digest.update(patch.path.name.encode() + b'\0' + patch.data
                      + patch.instead)
    return digest.hexdigest()


def blob_of(data):
    return hashlib.sha1(b'blob %d\0' % len(data) + data).hexdigest()


def file_blob(path):
    """The git blob id of a file as it is on disk, or None."""
    try:
        return blob_of(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


# --- importing the unpatched source -----------------------------------------

def make_base(repo, title, remove=(), exclude=()):
    """Turn an unpacked source tree into a repository with the tag `base`."""
    for pattern in ['.pc', *remove]:
        for path in repo.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    git(repo, 'init', '-q')
    for key, value in (('core.abbrev', '12'), ('core.autocrlf', 'false'),
                       ('gc.auto', '0')):
        git(repo, 'config', key, value)
    with open(repo / '.git' / 'info' / 'exclude', 'a') as f:
        f.writelines(f'/{path}\n' for path in exclude)
    # -f: upstream's .gitignore is for what its build makes, and a release
    # tarball has files of that sort; the embedded repositories stay out
    git(repo, 'add', '-Af', '--', '.',
        *(f':(exclude){path}' for path in exclude))
    env = {f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER')
           for what, value in IMPORT_IDENTITY.items()}
    tree = git(repo, 'write-tree')
    commit = git(repo, 'commit-tree', tree, '-m', f'Import {title}', env=env)
    git(repo, 'symbolic-ref', 'HEAD', 'refs/heads/main')
    git(repo, 'update-ref', 'refs/heads/main', commit)
    git(repo, 'tag', 'base', commit)


# --- the commits of a repository --------------------------------------------

class Commit:
    """One commit of a series."""

    def __init__(self, repo, sha):
        self.repo = repo
        self.sha = sha
        raw = git(repo, 'cat-file', 'commit', sha, binary=True)
        head, self.message = raw.split(b'\n\n', 1)
        self.parents = re.findall(rb'^parent (\w+)$', head, re.M)
        self.tree = re.search(rb'^tree (\w+)$', head, re.M).group(1).decode()
        who = re.search(rb'^author (.*) <(.*)> (\d+ [+-]\d+)$', head, re.M)
        self.author = [g.decode(errors='surrogateescape')
                       for g in who.groups()]
        text = self.message.decode(errors='replace')
        self.subject = text.split('\n', 1)[0]
        self.overlay = re.findall(r'^Overlay: (\S+)$', text, re.M)

    def __str__(self):
        return f'{self.sha[:12]} ("{self.subject}")'

    def env(self):
        name, email, date = self.author
        return {f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER')
                for what, value in (('NAME', name), ('EMAIL', email),
                                    ('DATE', date))}


def commits_of(repo, tip='HEAD'):
    if (git(repo, 'merge-base', '--is-ancestor', 'base', tip, check=False)
            is None):
        raise StackError(f'{rel(repo)}: HEAD does not descend from the tag '
                         'base', f'look at: git -C {rel(repo)} log --graph')
    shas = git(repo, 'rev-list', '--reverse', '--topo-order',
               f'base..{tip}')
    commits = [Commit(repo, sha) for sha in shas.split()]
    for commit in commits:
        if len(commit.parents) != 1:
            raise StackError(f'{rel(repo)}: {commit} is a merge; a series is '
                             'a straight line',
                             f'git -C {rel(repo)} rebase base')
    return commits


def tree_files(repo, tree, paths):
    """{path: (mode, blob)} for those of the paths that the tree has."""
    if not paths:
        return {}
    listing = git(repo, 'ls-tree', '-z', '--full-tree', tree, '--', *paths)
    found = {}
    for line in listing.split('\0'):
        if line:
            meta, path = line.split('\t', 1)
            mode, kind, blob = meta.split()
            if kind == 'blob':
                found[path] = (mode, blob)
    return found


def owners(repo, commits):
    """{overlay path: the commit that adds it}, with everything checked."""
    owner = {}
    for commit in commits:
        listing = git(repo, 'diff-tree', '-r', '-z', '--no-renames',
                      '--name-status', f'{commit.sha}^', commit.sha)
        words = listing.split('\0')
        changes = dict(zip(words[1::2], words[0::2]))
        added = {p for p, status in changes.items() if status == 'A'}
        named = set(commit.overlay)
        amend = (f'git -C {rel(repo)} rebase -i base, and `reword` or `edit` '
                 f'that commit')
        if added - named:
            raise StackError(
                f'{rel(repo)}: {commit} adds files that no trailer names:\n  '
                + '\n  '.join(sorted(added - named)),
                'add to its message, before Signed-off-by:\n'
                + '\n'.join(f'    Overlay: {p}' for p in sorted(added - named))
                + '\n  with: ' + amend)
        if named - added:
            raise StackError(
                f'{rel(repo)}: {commit} has an Overlay trailer for files that '
                'it does not add:\n  ' + '\n  '.join(sorted(named - added)),
                amend)
        for path in added:
            if path in owner:
                raise StackError(f'{rel(repo)}: {path} is added twice: by '
                                 f'{owner[path]} and {commit}', amend)
            owner[path] = commit
        for path in changes:
            if path in owner and changes[path] == 'D':
                raise StackError(f'{rel(repo)}: {commit} deletes {path}, '
                                 f'which {owner[path]} adds', amend)
    return owner


def commit_tree(repo, tree, parent, message, env):
    return git(repo, 'commit-tree', tree, '-p', parent, '-F', '-',
               data=message, env=env)


def uncommitted(repo):
    """Tracked files that differ from HEAD, and new ones git does not ignore."""
    listing = git(repo, 'status', '--porcelain', '-z', '--no-renames',
                  '--untracked-files=all')
    return {entry[3:]: entry[:2] for entry in listing.split('\0') if entry}


class TemporaryIndex:
    """Trees are put together here; work tree and real index stay as is."""

    def __init__(self, repo):
        self.repo = repo

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix='stack-index-')
        self.env = {'GIT_INDEX_FILE': os.path.join(self.directory, 'index')}
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.directory)

    def read(self, tree):
        git(self.repo, 'read-tree', tree, env=self.env)

    def put(self, path, mode, blob):
        git(self.repo, 'update-index', '--add', '--cacheinfo',
            f'{mode},{blob},{path}', env=self.env)

    def write(self):
        return git(self.repo, 'write-tree', env=self.env)
