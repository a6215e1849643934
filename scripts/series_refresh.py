# SPDX-License-Identifier: GPL-2.0-or-later
"""From commits in build/src to patches/ and overlay files."""

import tempfile
from pathlib import Path

from core import GitError, StackError, git, rel, write_if_changed
from series import (
    Commit, Patch, TemporaryIndex, commit_tree, commits_of, load_state,
    owners, patches_of, series_id, tree_files, uncommitted)
from series_apply import (
    PatchFailed, build_chain, by_file, in_progress, made_for, mailinfo,
    overlay_paths, record, sync_overlay, without_places)


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
