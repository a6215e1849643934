# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetch what a series applies to, and put it under build/src."""

import fnmatch
import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import series
import series_apply
from core import Layout, StackError, git, load_upstreams, rel
from fetch import Apt, upstream_version


def embedded(layout, name):
    """[(embedded upstream, its path)] inside the upstream of that name."""
    return [(u, layout.src / name / u.config['embedded']['path'])
            for u in load_upstreams(layout) if name in u.embedded_in]


def with_embedded(layout, upstream):
    return [(upstream, upstream.repo), *embedded(layout, upstream.name)]


def has_base(repo):
    return ((repo / '.git').is_dir() and
            git(repo, 'rev-parse', '-q', '--verify', 'refs/tags/base',
                check=False) is not None)


def apply_where_due(layout, upstream):
    """Apply the series; not where it was before an interruption."""
    for u, repo in with_embedded(layout, upstream):
        if 'head' not in series.load_state(repo):
            series_apply.apply_series(u, repo)


def fetch(layout, upstream):
    """Unpack the Debian source into build/src/NAME.new; return (it, title)."""
    if not upstream.package:
        raise StackError(f'no source of {upstream.title} is fetched',
                         f'give one: --source {upstream.name}=DIR, a checkout '
                         f'or an unpacked release of {upstream.version}')
    binary = upstream.config.get('binary')
    refused = []
    for suite in upstream.suites:
        apt = Apt(layout, suite)
        versions = (apt.package_versions(binary['package']) if binary else
                    apt.source_versions(upstream.package))
        for version in versions:
            release = upstream_version(version)
            if any(fnmatch.fnmatch(release, p) for p in upstream.accept):
                if binary:
                    return put_together(layout, upstream, apt, version), release
                return (apt.fetch_source(
                    upstream.package, version, upstream.repo,
                    upstream.config.get('tarball', False)), release)
        refused.append(f'{suite} has {upstream_version(versions[0])}'
                       if versions else f'{suite} has none')
    raise StackError(
        f'no source of {upstream.title} {" or ".join(upstream.accept)} is '
        f'served: {"; ".join(refused)}',
        f'build from your own checkout: --source {upstream.name}=DIR\n'
        f'  or, if the series fits another version, add it to `accept` in '
        f'{rel(upstream.series_dir)}/series.toml')


def put_together(layout, upstream, apt, version):
    """A source tree of what is served of a version: its binary package.

    Where a version other than the default one is made so, that are headers and
    documents, and the build system is the one of the default version.
    """
    old_release = None
    if upstream.other_dir:
        default, = [u for u in
                    load_upstreams(Layout(layout.build, versions={}))
                    if u.name == upstream.name]
        new, old_release = fetch(layout, default)
    else:
        new = upstream.repo.with_name(upstream.repo.name + '.new')
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
    unpacked = new.with_name(new.name + '.deb')
    shutil.rmtree(unpacked, ignore_errors=True)
    binary = upstream.config['binary']
    apt.fetch_package(binary['package'], unpacked, version)
    for source, target in binary['files'].items():
        for path in unpacked.glob(source):
            if path.is_dir():
                shutil.copytree(path, new / target / path.name)
            elif path.suffix == '.gz':
                (new / target).write_bytes(gzip.decompress(path.read_bytes()))
            else:
                shutil.copy2(path, new / target)
    shutil.rmtree(unpacked)
    if old_release:
        meson = new / 'meson.build'
        meson.write_text(meson.read_text().replace(
            f"'{old_release}'", f"'{upstream_version(version)}'", 1))
    return new


def own_files(directory):
    """Relative paths of a checkout's files, submodules' too."""
    if (directory / '.git').exists():
        done = subprocess.run(
            ['git', '-c', 'safe.directory=*', '-C', directory, 'ls-files',
             '-z', '--cached', '--recurse-submodules'],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            raise StackError(f'{directory}: {done.stderr.decode().strip()}')
        paths = [os.fsdecode(p) for p in done.stdout.split(b'\0') if p]
    else:
        paths = []
        for folder, folders, files in os.walk(directory):
            folders[:] = [f for f in folders if f not in ('.git', '.pc')]
            for name in [*files, *(f for f in folders
                                   if os.path.islink(f'{folder}/{f}'))]:
                if name != '.git':
                    paths.append(os.path.relpath(f'{folder}/{name}',
                                                 directory))
    return [p for p in paths if os.path.lexists(directory / p)
            and not (os.path.isdir(directory / p)
                     and not os.path.islink(directory / p))]


def fingerprint(directory):
    """Changes when a file of the checkout does (size and time will do)."""
    digest = hashlib.sha256()
    for path in sorted(own_files(directory)):
        st = os.lstat(directory / path)
        digest.update(f'{path}\0{st.st_size}\0{st.st_mtime_ns}\n'.encode(
            errors='surrogateescape'))
    return digest.hexdigest()


def copy_own(upstream, directory):
    """Copy one's own checkout; what is not under version control stays."""
    new = upstream.repo.with_name(upstream.repo.name + '.new')
    shutil.rmtree(new, ignore_errors=True)
    for path in own_files(directory):
        target = new / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(directory / path, target, follow_symlinks=False)
    if not new.is_dir():
        raise StackError(f'{directory} has no files')
    # the version that the build would ask git for: our commits are no part
    # of it, and QEMU takes other paths for a version which is not a release's
    release = ''
    if (directory / '.git').exists():
        done = subprocess.run(
            ['git', '-c', 'safe.directory=*', '-C', directory, 'describe',
             '--tags', '--abbrev=0', '--match', 'v[0-9]*'],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        release = done.stdout.strip().lstrip('v')
    if (release and (new / 'build-aux' / 'git-version-gen').exists()
            and not (new / '.tarball-version').exists()):
        (new / '.tarball-version').write_text(release + '\n')
    if not upstream.package and is_release(directory):
        return new, release
    return new, f'from a checkout{" of " + release if release else ""}'


def is_release(directory):
    """Whether it's the very source of a release, by its tag."""
    done = subprocess.run(
        ['git', '-c', 'safe.directory=*', '-C', directory, 'describe',
         '--tags', '--exact-match', '--match', 'v[0-9]*', '--dirty'],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.returncode == 0 and not done.stdout.endswith('-dirty\n')


def make_repositories(layout, upstream, new, version):
    """Make repositories of an unpacked tree; return the embedded ones."""
    inner = [(u, path.relative_to(upstream.repo))
             for u, path in embedded(layout, upstream.name)]
    for u, path in inner:
        if not (new / path / 'meson.build').exists():
            raise StackError(
                f'{upstream.title}\'s source has no {path}',
                'git submodule update --init in your checkout, then again')
    series.make_base(new, f'{upstream.title} {version}', upstream.remove,
                     exclude=[str(path) for _, path in inner])
    for u, path in inner:
        series.make_base(new / path, u.title,
                         u.config['embedded'].get('remove', []))
    return inner


def install_tree(layout, upstream, new, version, origin):
    """Put an unpacked tree into build/src and apply the series."""
    inner = make_repositories(layout, upstream, new, version)
    # what the build wrote into the old tree's place is worthless now
    shutil.rmtree(layout.obj / upstream.name, ignore_errors=True)
    series.save_state(new, origin=origin, version=version)
    shutil.rmtree(upstream.repo, ignore_errors=True)
    new.rename(upstream.repo)
    for u, path in inner:
        link = layout.src / u.name
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(upstream.repo / path, layout.src))
    apply_where_due(layout, upstream)


def prepare(layout, upstream, own=None):
    """Have the upstream's patched source in build/src; return words on it."""
    if own is not None:
        own = Path(own).expanduser().resolve()
        if not own.is_dir():
            raise StackError(f'--source {upstream.name}={own}: there is no '
                             'such folder', 'name the folder of a checkout')
        origin = f'{own} {fingerprint(own)}'
    else:
        origin = 'debian'
    repo = upstream.repo
    if all(has_base(r) for _, r in with_embedded(layout, upstream)):
        state = series.load_state(repo)
        if own is None or state.get('origin') == origin:
            apply_where_due(layout, upstream)
            where = state.get('origin', 'debian').rsplit(' ', 1)[0]
            version = state.get('version', upstream.version)
            return (f'{version} is there'
                    + (f' ({where})' if where != 'debian' else ''))
        work = [path for u, r in with_embedded(layout, upstream)
                for path in series_apply.local_work(u, r)]
        if work:
            raise StackError(
                f'{rel(repo)} was made from another source, and has work of '
                'its own: ' + ', '.join(work[:6]),
                f'./stack refresh brings it into patches/; then '
                f'./stack clean {upstream.name} and again')
    if own is None:
        new, version = fetch(layout, upstream)
    else:
        new, version = copy_own(upstream, own)
    install_tree(layout, upstream, new, version, origin)
    return f'{version}, {len(series.patches_of(upstream))} patches'
