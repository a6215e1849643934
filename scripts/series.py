# SPDX-License-Identifier: GPL-2.0-or-later
"""The patch series: from patches/ and overlay files to commits, and back.

build/src/<upstream> is a git repository: the tag `base` is the unpatched
source, the commits above it are the series.  A file that a commit adds is an
overlay file: a plain file of this project, named by an `Overlay:` trailer of
the commit, and left out of the patch.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from core import ROOT, GitError, StackError, git, rel, write_if_changed

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


# --- patches + overlay -> commits -------------------------------------------

class PatchFailed(StackError):
    def __init__(self, upstream, repo, patch, done, reason):
        self.patch, self.done = patch, done
        super().__init__(f'{rel(patch.path)} does not apply to '
                         f'{upstream.title}:\n{reason.strip()}')


def overlay_entry(upstream, path):
    """(mode, bytes) of an overlay file in the project."""
    file = upstream.overlay_file(path)
    if file.is_symlink() or not file.is_file():
        raise StackError(f'{rel(file)} is missing: a patch of '
                         f'{upstream.title} names it as an overlay file',
                         f'git checkout -- {rel(file)}')
    mode = '100755' if file.stat().st_mode & 0o100 else '100644'
    return mode, file.read_bytes()


def mailinfo(repo, patch):
    """(message, diff, env) as git am would take them from a patch file."""
    with tempfile.TemporaryDirectory(prefix='stack-mail-') as d:
        info = git(repo, 'mailinfo', '-b', '--no-scissors', f'{d}/msg',
                   f'{d}/diff', data=patch.data)
        body = Path(d, 'msg').read_bytes()
        diff = Path(d, 'diff').read_bytes()
    # without -u the info's fields are one a line
    field = dict(re.findall(r'^(Author|Email|Subject|Date): (.*)$', info,
                            re.M))
    message = git(repo, 'stripspace', binary=True, data=(
        field['Subject'] + '\n\n').encode(errors='surrogateescape') + body)
    env = {f'GIT_{who}_{what}': field[name] for who in ('AUTHOR', 'COMMITTER')
           for what, name in (('NAME', 'Author'), ('EMAIL', 'Email'),
                              ('DATE', 'Date'))}
    # a patch without hunks (all it adds is overlay) still has "---"
    files = by_file(diff)
    files.update(by_file(patch.instead))
    return message, b''.join(files.values()), env


def by_file(diff):
    """{path: its part of the diff}."""
    parts = re.split(rb'^(?=diff --git )', diff, flags=re.M)[1:]
    return {re.match(rb'diff --git a/(.*) b/\1$', part, re.M).group(1): part
            for part in parts}


def build_chain(upstream, repo, patches, start='base', first=0, notes=None):
    """Commit the patches with their overlay files; return the last commit.

    Nothing but the object store of the repository is touched.  The dates and
    names come from the patches alone, so the hashes are the same everywhere.
    What git says about the hunks (those at an offset) is added to notes.
    """
    tip = git(repo, 'rev-parse', f'{start}^{{commit}}')
    done = 0
    with TemporaryIndex(repo) as index:
        index.read(tip)
        for patch in patches[first:]:
            message, diff, env = mailinfo(repo, patch)
            if diff:
                # git apply has no fuzz: every context line must be there
                try:
                    git(repo, 'apply', '--cached', '-v',
                        '--whitespace=nowarn', data=diff, env=index.env,
                        notes=notes)
                except GitError as e:
                    reason = [line for line in e.output.splitlines()
                              if line.startswith('error: patch failed')
                              or 'already' in line or 'No such' in line]
                    raise PatchFailed(upstream, repo, patch, (tip, done),
                                      '\n'.join(reason) or e.output)
            for path in patch.overlay:
                mode, data = overlay_entry(upstream, path)
                if git(repo, 'ls-files', '-s', '--', path, env=index.env):
                    raise PatchFailed(
                        upstream, repo, patch, (tip, done),
                        f'{path} is an overlay file, and is there already')
                blob = git(repo, 'hash-object', '-w', '--stdin', data=data)
                index.put(path, mode, blob)
            tip = commit_tree(repo, index.write(), tip, message, env)
            done += 1
    return tip


def made_for(patch):
    """What a .diff says about the parts of the patch that it replaces.

    Whoever changes those must look at the .diff, too.
    """
    parts = by_file(patch.data)
    return b''.join(
        b'# %s: for %s\n' % (path, hashlib.sha1(without_places(
            parts.get(path, b''))).hexdigest()[:12].encode())
        for path in by_file(patch.instead))


def overlay_paths(patches):
    return [path for patch in patches for path in patch.overlay]


def blobs_now(upstream, paths):
    return {path: file_blob(upstream.overlay_file(path)) for path in paths}


def move_to(repo, tip):
    """Make `tip` the head, touching only the files which differ from it."""
    head = git(repo, 'rev-parse', 'HEAD')
    # what already is on disk as tip wants it must not count as local change,
    # nor what was copied from the project, which has something newer now
    agreed = load_state(repo).get('overlay') or {}
    same, older = [], []
    for path, status in uncommitted(repo).items():
        blob = file_blob(repo / path)
        entry = tree_files(repo, tip, [path]).get(path)
        if entry and entry[1] == blob:
            same.append(path)
        elif status != '??' and path in agreed and blob == agreed[path]:
            older.append(path)
    if same:
        git(repo, 'add', '-f', '--', *same)
    if older:
        git(repo, 'checkout', '-q', head, '--', *older)
    git(repo, 'update-index', '-q', '--refresh', check=False)
    git(repo, 'read-tree', '-m', '-u', head, tip)
    git(repo, 'symbolic-ref', 'HEAD', 'refs/heads/main')
    git(repo, 'update-ref', '-m', 'stack: apply the series',
        'refs/heads/main', tip)


def in_progress(repo):
    for name, what in (('rebase-merge', 'rebase'), ('rebase-apply', 'rebase'),
                       ('MERGE_HEAD', 'merge'),
                       ('CHERRY_PICK_HEAD', 'cherry-pick')):
        if (repo / '.git' / name).exists():
            raise StackError(f'a git {what} is under way in {rel(repo)}',
                             f'end it with: git -C {rel(repo)} {what} '
                             '--continue (or --abort)')


def record(upstream, repo, patches):
    """Remember what this repository and the project have in common now."""
    save_state(repo, series=series_id(patches),
               head=git(repo, 'rev-parse', 'HEAD'),
               overlay=blobs_now(upstream, overlay_paths(patches)),
               pending=None)


def apply_series(upstream, repo):
    """Bring the repository to patches/ and the overlay, from `base` on."""
    patches = patches_of(upstream)
    try:
        tip = build_chain(upstream, repo, patches)
    except PatchFailed as failed:
        raise leave_for_fixing(upstream, repo, patches, failed)
    move_to(repo, tip)
    record(upstream, repo, patches)


def leave_for_fixing(upstream, repo, patches, failed):
    """Put the repository where the failed patch can be finished by hand."""
    tip, done = failed.done
    index = patches.index(failed.patch)
    move_to(repo, tip)
    _, diff, _ = mailinfo(repo, failed.patch)
    git(repo, 'apply', '--reject', '--whitespace=nowarn', data=diff,
        check=False)
    for path in failed.patch.overlay:
        mode, data = overlay_entry(upstream, path)
        write_if_changed(repo / path, data, int(mode, 8))
    save_state(repo, series=series_id(patches), head=tip, pending=index,
               overlay=blobs_now(upstream, overlay_paths(patches)))
    failed.hint = (
        f'{index} of {len(patches)} patches are applied in {rel(repo)}; what '
        'fits of this one is\n  in its files, what does not in *.rej beside '
        'them. Put that in by hand, delete the\n  *.rej files, then: '
        f'./stack refresh{upstream.with_words} --continue {upstream.name}\n'
        f'  To begin again instead: rm -rf {rel(repo)}')
    return failed


def continue_series(upstream, repo):
    """Commit the patch finished by hand, and apply the ones after it."""
    pending = load_state(repo).get('pending')
    if pending is None:
        return False
    patches = patches_of(upstream)
    patch = patches[pending]
    rejects = [path for path in uncommitted(repo) if path.endswith('.rej')]
    if rejects:
        raise StackError(f'{rel(repo)} still has ' + ', '.join(rejects),
                         'put in what they say, and delete them')
    message, _, env = mailinfo(repo, patch)
    git(repo, 'add', '-u')
    if patch.overlay:
        git(repo, 'add', '-f', '--', *patch.overlay)
    tip = commit_tree(repo, git(repo, 'write-tree'), 'HEAD', message, env)
    git(repo, 'update-ref', 'refs/heads/main', tip)
    try:
        tip = build_chain(upstream, repo, patches, 'HEAD', pending + 1)
    except PatchFailed as failed:
        raise leave_for_fixing(upstream, repo, patches, failed)
    move_to(repo, tip)
    # the series on disk is still the old one: refresh writes the new one
    save_state(repo, pending=None, head=tip)
    return True


# --- keeping the two in step ------------------------------------------------

def sync_overlay(upstream, repo):
    """Copy overlay files edited in the project into the source tree.

    The third party of the comparison is the content both had when they were
    last the same; whoever differs from it was edited.
    """
    agreed = dict(load_state(repo).get('overlay') or {})
    copied = []
    for path in overlay_paths(patches_of(upstream)):
        project, source = upstream.overlay_file(path), repo / path
        ours, theirs = file_blob(project), file_blob(source)
        if ours == theirs:
            if ours is not None:
                agreed[path] = ours
        elif theirs == agreed.get(path) and ours is not None:
            if went_back(project, ours, theirs):
                raise StackError(
                    f'{rel(project)} went back to what git has of it, and '
                    f'{rel(source)} has what refresh had written there',
                    f'to keep the newer one: cp {rel(source)} {rel(project)}\n'
                    f'  to drop it: cp {rel(project)} {rel(source)}')
            mode, data = overlay_entry(upstream, path)
            write_if_changed(source, data, int(mode, 8))
            agreed[path] = ours
            copied.append(path)
        elif ours != agreed.get(path):
            raise StackError(
                f'{rel(project)} and {rel(source)} are two versions of one '
                'file, and both were edited',
                f'compare: diff -u {rel(project)} {rel(source)}\n'
                f'  then copy the one that is right over the other')
    save_state(repo, overlay=agreed)
    return copied


def went_back(file, blob, refreshed):
    """Was what refresh wrote undone (git stash, git checkout), not edited?

    Then the file is as committed, and the other content never was.
    """
    if not file.is_relative_to(ROOT) or not (ROOT / '.git').exists():
        return False
    path = file.relative_to(ROOT)
    committed = git(ROOT, 'rev-parse', '-q', '--verify', f'HEAD:{path}',
                    check=False)
    return committed == blob and not git(
        ROOT, 'log', '-1', '--format=%H', f'--find-object={refreshed}',
        'HEAD', '--', path, check=False)


def local_work(upstream, repo):
    """What is in the source tree that applying the series would lose."""
    state = load_state(repo)
    agreed = state.get('overlay') or {}
    found = []
    if git(repo, 'rev-parse', 'HEAD') != state.get('head'):
        found.append('commits')
    for path, status in uncommitted(repo).items():
        if status == '??' and path not in agreed:
            continue                     # nobody's file: nothing overwrites it
        if path in agreed and file_blob(repo / path) == agreed[path]:
            continue                     # copied from the project
        found.append(path)
    return found


def update_repo(upstream, repo):
    """Before a build: follow patches/ if it changed, copy overlay edits.

    Return what was done, in words, or None.
    """
    state = load_state(repo)
    if state.get('pending') is not None:
        raise StackError(
            f'{rel(repo)}: a patch that did not apply still waits for you',
            f'finish it as you were told, then: ./stack refresh'
            f'{upstream.with_words} --continue {upstream.name}\n'
            f'  or begin again: rm -rf {rel(repo)}')
    patches = patches_of(upstream)
    if state.get('series') not in (None, series_id(patches)):
        in_progress(repo)
        work = local_work(upstream, repo)
        if work:
            raise StackError(
                f'{rel(upstream.series_dir)} has changed (git pull?), and '
                f'{rel(repo)} has work of its own: ' + ', '.join(work[:6]),
                'to keep it, on a branch of its own (commit it first):\n'
                f'    git -C {rel(repo)} branch mine\n'
                f'    git -C {rel(repo)} reset --keep {state["head"][:12]}\n'
                '    ./stack build, then cherry-pick from mine\n'
                '  to drop it:\n'
                f'    git -C {rel(repo)} reset --hard {state["head"][:12]}')
        apply_series(upstream, repo)
        return 'the series changed: applied again'
    copied = sync_overlay(upstream, repo)
    return 'copied ' + ', '.join(copied) if copied else None


# --- commits -> patches + overlay -------------------------------------------

def fold_edits(upstream, repo, commits, owner):
    """Give every overlay file its final content in the commit that adds it.

    Edits of overlay files, in the work tree or in fixup! commits, end up
    there; nothing else may be uncommitted.
    """
    dirty = uncommitted(repo)
    strange = [path for path, status in dirty.items()
               if path not in owner and status != '??']
    if strange:
        raise StackError(
            f'{rel(repo)} has changes that belong to no commit yet:\n  '
            + '\n  '.join(strange[:10]),
            'commit each into the patch it belongs to:\n'
            f'    git -C {rel(repo)} commit -a --fixup=COMMIT\n'
            f'    git -C {rel(repo)} rebase -i --autosquash base\n'
            '  or as a new patch: git commit -s')
    final = tree_files(repo, 'HEAD', list(owner))
    for path in owner:
        if path in dirty:
            if not (repo / path).is_file():
                raise StackError(f'{rel(repo / path)} is gone, but its commit '
                                 'adds it',
                                 f'git -C {rel(repo)} checkout -- {path}')
            mode = ('100755' if (repo / path).stat().st_mode & 0o100
                    else '100644')
            blob = git(repo, 'hash-object', '-w', '--stdin',
                       data=(repo / path).read_bytes())
            final[path] = (mode, blob)

    parent = git(repo, 'rev-parse', 'base^{commit}')
    parent_tree = git(repo, 'rev-parse', 'base^{tree}')
    rewritten = False
    present = []
    with TemporaryIndex(repo) as index:
        for commit in commits:
            present += commit.overlay
            have = tree_files(repo, commit.tree, present)
            tree = commit.tree
            if any(have.get(path) != final[path] for path in present):
                index.read(tree)
                for path in present:
                    index.put(path, *final[path])
                tree = index.write()
            if tree == parent_tree:
                if commit.subject.startswith(('fixup! ', 'squash! ')):
                    rewritten = True
                    continue
                raise StackError(
                    f'{rel(repo)}: {commit} only changes overlay files that '
                    'earlier commits add; such a change belongs into those',
                    f'git -C {rel(repo)} rebase -i base, and `fixup` it there')
            if (tree == commit.tree and not rewritten
                    and commit.parents[0].decode() == parent):
                parent = commit.sha
            else:
                rewritten = True
                parent = commit_tree(repo, tree, parent, commit.message,
                                     commit.env())
            parent_tree = tree
    if rewritten:
        git(repo, 'update-ref', '-m', 'stack: fold overlay edits',
            'refs/heads/main', parent)
        git(repo, 'reset', '-q')         # the index; the files are right
    return rewritten


def format_patch(repo, commit, number, exclude):
    """(file name, bytes) of one patch, the same on every machine."""
    parent, sha, only = f'{commit.sha}^', commit.sha, [
        '--', '.', *(f':(exclude,literal){path}' for path in exclude)]
    if not git(repo, 'diff-tree', '-r', '--name-only', parent, sha, *only):
        # it changes overlay files alone; paths would make git drop it
        sha = commit_tree(repo, git(repo, 'rev-parse', f'{parent}^{{tree}}'),
                          parent, commit.message, commit.env())
        only = []
    with tempfile.TemporaryDirectory(prefix='stack-patch-') as d:
        git(repo, 'format-patch', '-q', '-N', '--zero-commit',
            '--no-signature', '--abbrev=12', '--stat=72', '--no-renames',
            '--no-base', '--no-notes', '--no-thread', '--no-attach',
            '--no-color', '--no-ext-diff', '--no-textconv', '--binary',
            '--diff-algorithm=myers', '-U3', '-O/dev/null',
            '--filename-max-length=64', '--always',
            f'--start-number={number}', '-o', d, f'{parent}..{sha}', *only)
        made, = Path(d).iterdir()
        return made.name, made.read_bytes()


def series_from(repo, tip='HEAD'):
    """([(name, bytes)], {overlay path: (mode, bytes)}) as the repo has them."""
    commits = commits_of(repo, tip)
    owner = owners(repo, commits)
    present, patches = [], []
    for number, commit in enumerate(commits, 1):
        present += commit.overlay
        patches.append(format_patch(repo, commit, number, present))
    overlay = {path: (int(mode, 8),
                      git(repo, 'cat-file', 'blob', blob, binary=True))
               for path, (mode, blob)
               in tree_files(repo, tip, list(owner)).items()}
    return patches, overlay


def without_places(patch):
    """A patch without what depends on the rest of the files it changes."""
    text = re.sub(rb'^index [0-9a-f]+\.\.[0-9a-f]+', b'index', patch,
                  flags=re.M)
    return re.sub(rb'^@@ -\d+(,\d+)? \+\d+(,\d+)? @@.*$', b'@@', text,
                  flags=re.M)


def same_in_all(upstream):
    """An embedded upstream's copies must carry one and the same series."""
    first, *others = [(repo, series_from(repo)) for repo in upstream.repos]
    for repo, (patches, overlay) in others:
        names = [name for name, _ in patches]
        where = f'{rel(first[0])} and {rel(repo)}'
        hint = (f'bring them together, for example:\n'
                f'    git -C {rel(repo)} fetch {first[0]} main\n'
                f'    git -C {rel(repo)} reset --hard base\n'
                f'    git -C {rel(repo)} cherry-pick '
                f'$(git -C {rel(first[0])} rev-list --reverse base..main)')
        if names != [name for name, _ in first[1][0]]:
            raise StackError(f'{where} have different series', hint)
        for (name, one), (_, other) in zip(first[1][0], patches):
            if without_places(one) != without_places(other):
                raise StackError(f'{where} differ in {name}', hint)
        for path in set(overlay) | set(first[1][1]):
            if overlay.get(path) != first[1][1].get(path):
                raise StackError(f'{where} differ in {path}', hint)
    return first[1]


def refresh(upstream, say=print):
    """Write patches/<upstream> and its overlay files from build/src."""
    old = patches_of(upstream)
    for repo in upstream.repos:
        if not (repo / '.git').is_dir():
            raise StackError(f'there is no {rel(repo)} yet', './stack build')
        in_progress(repo)
        state = load_state(repo)
        if state.get('pending') is not None:
            raise StackError(
                f'{rel(repo)}: a patch that did not apply waits for you',
                f'finish it, then: ./stack refresh{upstream.with_words} '
                f'--continue {upstream.name}')
        if state.get('series') not in (None, series_id(old)):
            raise StackError(
                f'{rel(upstream.series_dir)} has changed since it was applied '
                f'to {rel(repo)}; a refresh would undo that',
                './stack build first: it applies the new series')
        sync_overlay(upstream, repo)
        commits = commits_of(repo)
        if fold_edits(upstream, repo, commits, owners(repo, commits)):
            say(f'{upstream.name}: overlay edits folded into their commits')
    if upstream.other_dir:
        changed = refresh_other(upstream, old)
    else:
        changed = refresh_series(upstream, old)

    # what was written must give back what it was written from
    new = patches_of(upstream)
    for repo in upstream.repos:
        try:
            tip = build_chain(upstream, repo, new)
        except PatchFailed as e:
            raise StackError(f'the refreshed series does not apply: {e}')
        for ours, theirs in zip(git(repo, 'rev-list', f'base..{tip}').split(),
                                git(repo, 'rev-list', 'base..HEAD').split()):
            a, b = Commit(repo, ours), Commit(repo, theirs)
            if a.message.strip() != b.message.strip():
                raise StackError(
                    f'{rel(repo)}: the message of {b} does not survive as a '
                    'patch', 'a line that begins with "---", "diff -" or '
                    '"Index: " ends a message early; reword it')
            if a.tree != b.tree:
                raise StackError(f'{rel(repo)}: {b} comes back as another '
                                 f'tree: git diff {a.sha[:12]} {b.sha[:12]}')
        record(upstream, repo, new)
    return changed


def refresh_series(upstream, old):
    """Patches and overlay files, from the version that they are made for."""
    patches, overlay = same_in_all(upstream)
    changed = []
    names = {name for name, _ in patches}
    for patch in old:
        if patch.path.name not in names:
            patch.path.unlink()
            changed.append(rel(patch.path) + ' (removed)')
    for path in overlay_paths(old):
        if path not in overlay and (upstream.overlay_dir / path).is_file():
            (upstream.overlay_dir / path).unlink()
            changed.append(rel(upstream.overlay_dir / path) + ' (removed)')
    for name, data in patches:
        if write_if_changed(upstream.series_dir / name, data):
            changed.append(rel(upstream.series_dir / name))
    for path, (mode, data) in overlay.items():
        if write_if_changed(upstream.overlay_dir / path, data, mode):
            changed.append(rel(upstream.overlay_dir / path))
    return changed


def refresh_other(upstream, old):
    """What another version needs otherwise than the series has it."""
    repo = upstream.repo
    commits = commits_of(repo)
    if ([c.message.strip() for c in commits]
            != [mailinfo(repo, patch)[0].strip() for patch in old]):
        raise StackError(
            f'{rel(repo)} has other commits, or other messages, than '
            f'{rel(upstream.series_dir)}', 'make such a change without --with, '
            'then ./stack build with it: only changes of existing commits '
            'belong to one version')
    changed = []

    def write(path, data, mode=None):
        if data is None:
            if path.exists():
                path.unlink()
                changed.append(rel(path) + ' (removed)')
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            if write_if_changed(path, data, mode):
                changed.append(rel(path))

    for patch, commit in zip(old, commits):
        write(patch.instead_path, other_changes(repo, patch, commit))
    for path, (mode, data) in series_from(repo)[1].items():
        shared = upstream.overlay_dir / path
        write(upstream.other_dir / 'files' / path,
              None if shared.read_bytes() == data else data, int(mode))
    return changed


def other_changes(repo, patch, commit):
    """The diff of the files that the patch alone does not make right."""
    parent = f'{commit.sha}^'
    shared = by_file(mailinfo(repo, Patch(patch.path))[1])
    paths = git(repo, 'diff-tree', '-r', '-z', '--name-only', '--no-renames',
                parent, commit.sha).split('\0')
    wanted = tree_files(repo, commit.sha, [p for p in paths if p])
    differ = []
    for path, entry in wanted.items():
        if path in commit.overlay:
            continue
        with TemporaryIndex(repo) as index:
            index.read(parent)
            try:
                git(repo, 'apply', '--cached', '--whitespace=nowarn',
                    data=shared.pop(path.encode()), env=index.env)
                if tree_files(repo, index.write(), [path])[path] == entry:
                    continue
            except (KeyError, GitError):
                pass
        differ.append(path)
    if shared:
        raise StackError(
            f'{rel(repo)}: {commit} leaves alone what {rel(patch.path)} '
            'changes: ' + b', '.join(shared).decode(),
            'a patch changes the same files in every version')
    if not differ:
        return None
    made = Patch(patch.path)
    made.instead = git(repo, 'diff-tree', '-p', '--abbrev=12', '--no-renames',
                       '--no-color', '--no-ext-diff', '--no-textconv', '-U3',
                       '--diff-algorithm=myers', parent, commit.sha, '--',
                       *differ, binary=True)
    return made_for(made) + made.instead
