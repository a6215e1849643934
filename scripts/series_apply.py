# SPDX-License-Identifier: GPL-2.0-or-later
"""From patches/ and overlay files to commits in build/src."""

import hashlib
import re
import tempfile
from pathlib import Path

from core import ROOT, GitError, StackError, git, rel, write_if_changed
from series import (
    TemporaryIndex, commit_tree, file_blob, load_state, patches_of, save_state,
    series_id, tree_files, uncommitted)


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


def without_places(patch):
    """A patch without what depends on the rest of the files it changes."""
    text = re.sub(rb'^index [0-9a-f]+\.\.[0-9a-f]+', b'index', patch,
                  flags=re.M)
    return re.sub(rb'^@@ -\d+(,\d+)? \+\d+(,\d+)? @@.*$', b'@@', text,
                  flags=re.M)


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
