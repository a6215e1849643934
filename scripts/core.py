# SPDX-License-Identifier: GPL-2.0-or-later
"""What every part of ./stack uses: paths, errors, running programs, git."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class StackError(Exception):
    """Something the user has to know about; hint names the next step."""

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint


class Layout:
    """Where things are; everything that is made goes below build/."""

    def __init__(self, build_dir=None, versions=None):
        self.root = ROOT
        self.build = Path(build_dir).resolve() if build_dir else ROOT / 'build'
        self.src = self.build / 'src'
        self.obj = self.build / 'obj'
        self.log = self.build / 'log'
        self.prefix = self.build / 'prefix'
        self.tools = self.build / 'tools'
        self.cache = self.build / 'cache'
        self.patches = ROOT / 'patches'
        # {upstream: another version than its default}, see with_versions()
        self.versions = versions
        chosen = self.build / 'versions.json'
        if versions is None:
            self.versions = (json.loads(chosen.read_text())
                             if chosen.exists() else {})

    @classmethod
    def with_versions(cls, versions, asked=None, build_dir=None):
        """Another choice of versions, which is built in a place of its own.

        asked are those of them that were asked for; the others follow. Only
        these are in the name of the place, which has to be short: libvirt has
        sockets deep below it, whose names may have 107 characters.
        """
        layout = cls(build_dir or ROOT / 'build' / 'with' / '+'.join(
            f'{name}-{versions[name]}' for name in sorted(asked or versions)),
            versions)
        layout.build.mkdir(parents=True, exist_ok=True)
        write_if_changed(layout.build / 'versions.json',
                         json.dumps(versions).encode())
        return layout

    def lock(self):
        """One ./stack at a time changes what is below build/."""
        return self._locked('.lock', 'is at work')

    def testing(self):
        """One at a time runs the tests there, or measures."""
        return self._locked('.tests.lock', 'tests or measures')

    @contextlib.contextmanager
    def _locked(self, name, does):
        self.build.mkdir(parents=True, exist_ok=True)
        with open(self.build / name, 'w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f'another ./stack {does} here; waiting for it',
                      file=sys.stderr, flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock

    def give_back(self):
        """What sudo ./stack has made is the user's, if the place is.

        Not what is in deb: that is a Debian, in which files are root's.
        """
        user, group = (int(os.environ.get(f'SUDO_{what}') or 0)
                       for what in ('UID', 'GID'))
        if os.geteuid() != 0 or not user or not self.build.is_dir():
            return
        made, place = [], self.build
        while place.stat().st_uid == 0 and place != place.parent:
            made.append(place)
            place = place.parent
        if place.stat().st_uid != user:
            return
        for path in made:
            os.chown(path, user, group)
        for path, folders, files, fd in os.fwalk(self.build):
            if Path(path) == self.build and 'deb' in folders:
                folders.remove('deb')
            for name in (*folders, *files):
                with contextlib.suppress(FileNotFoundError):
                    if os.lstat(name, dir_fd=fd).st_uid == 0:
                        os.chown(name, user, group, dir_fd=fd,
                                 follow_symlinks=False)


def complain(error):
    print(f'\nerror: {error}', file=sys.stderr)
    if error.hint:
        print(f'  next: {error.hint}', file=sys.stderr)


def with_words(versions):
    """What to give ./stack for that choice of versions."""
    return ''.join(f' --with {name}={version}'
                   for name, version in versions.items())


class Upstream:
    """One upstream: its name, and what patches/NAME/series.toml says.

    For another version than the default one, patches/NAME/VERSION/series.toml
    replaces some of that, VERSION/*.diff parts of patches, which
    series_apply.py takes in their place, and VERSION/files overlay files.
    """

    def __init__(self, layout, name):
        self.layout = layout
        self.name = name
        self.series_dir = layout.patches / name
        path = self.series_dir / 'series.toml'
        try:
            with open(path, 'rb') as f:
                self.config = tomllib.load(f)
        except FileNotFoundError:
            raise StackError(f'{name} is not an upstream: no {rel(path)}')
        self.other_dir = None
        if name in layout.versions:
            self.other_dir = self.series_dir / layout.versions[name]
            with open(self.other_dir / 'series.toml', 'rb') as f:
                self.config.update(tomllib.load(f))
        self.title = self.config['title']
        self.version = self.config['version']
        self.suites = self.config.get('suites', [])
        self.package = self.config.get('package')
        self.accept = self.config.get('accept', [self.version])
        self.remove = self.config.get('remove', [])
        # the repositories that get this series: (upstream, path inside it)
        if 'embedded' in self.config:
            path = self.config['embedded']['path']
            self.repos = [layout.src / host / path
                          for host in self.config['embedded']['in']]
        else:
            self.repos = [layout.src / name]
        # where its new files live in the project
        self.overlay_dir = ROOT / self.config.get('overlay',
                                                  f'patches/{name}/files')

    def overlay_file(self, path):
        """Where the project has an overlay file of this version."""
        other = self.other_dir and self.other_dir / 'files' / path
        return other if other and other.exists() else self.overlay_dir / path

    @property
    def repo(self):
        return self.repos[0]

    @property
    def with_words(self):
        """What to give ./stack for the same choice of versions."""
        return with_words(self.layout.versions)

    @property
    def embedded_in(self):
        return self.config.get('embedded', {}).get('in', [])

    @property
    def absent(self):
        """Whether only its user can give us this source, and has not."""
        return not (self.package or self.embedded_in or self.repo.exists())

    @property
    def absence(self):
        """What there is to say then."""
        return (f"{self.title}'s source is not there (--source {self.name}=DIR "
                f'takes that of {self.version} from a checkout of yours)')


def load_upstreams(layout, names=None):
    """Every upstream that has a series, an embedded one after its hosts."""
    found = [Upstream(layout, path.parent.name)
             for path in sorted(layout.patches.glob('*/series.toml'))]
    found.sort(key=lambda u: (u.config.get('order', 99), u.name))
    if names:
        known = [u.name for u in found]
        for name in names:
            if name not in known:
                raise StackError(f"'{name}' is not one of the upstreams: "
                                 + ', '.join(known))
        found = [u for u in found if u.name in names]
    return found


def rel(path):
    """A path as the user types it: relative to the project's root."""
    try:
        return str(Path(path).relative_to(ROOT))
    except ValueError:
        return str(path)


# git: the user's and the machine's configuration must not change what we
# write, and a build directory made with sudo must stay readable without it.
GIT_OPTIONS = [
    'safe.directory=*', 'core.abbrev=12', 'core.autocrlf=false',
    'core.quotePath=true', 'core.attributesFile=/dev/null',
    'core.excludesFile=/dev/null', 'core.hooksPath=/dev/null',
    'core.fsmonitor=false', 'commit.gpgSign=false', 'gc.auto=0',
    'i18n.commitEncoding=UTF-8', 'i18n.logOutputEncoding=UTF-8',
    'diff.noprefix=false', 'diff.mnemonicPrefix=false', 'diff.renames=false',
    'diff.algorithm=myers', 'diff.context=3', 'diff.interHunkContext=0',
    'diff.suppressBlankEmpty=false', 'diff.indentHeuristic=true',
    'init.defaultBranch=main', 'advice.detachedHead=false',
]


def git_env(extra=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith('GIT_')}
    env.update(GIT_CONFIG_GLOBAL='/dev/null', GIT_CONFIG_NOSYSTEM='1',
               GIT_ATTR_NOSYSTEM='1', GIT_TERMINAL_PROMPT='0',
               LC_ALL='C.UTF-8', TZ='UTC')
    env.update(extra or {})
    return env


class GitError(StackError):
    def __init__(self, args, returncode, output):
        super().__init__(f"git {' '.join(args)} failed:\n{output.strip()}")
        self.returncode = returncode
        self.output = output


def git(repo, *args, data=None, env=None, check=True, binary=False,
        notes=None):
    """Run git in repo and return what it prints, without the last newline.

    What it says beside that (on standard error) is added to notes.
    """
    args = [str(a) for a in args]
    options = [word for option in GIT_OPTIONS for word in ('-c', option)]
    if isinstance(data, str):
        data = data.encode()
    done = subprocess.run(['git', '-C', str(repo), *options, *args],
                          input=data if data is not None else None,
                          stdin=subprocess.DEVNULL if data is None else None,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=git_env(env))
    if done.returncode:
        if not check:
            return None
        raise GitError(args, done.returncode,
                       (done.stderr + done.stdout).decode(errors='replace'))
    if notes is not None:
        notes += done.stderr.decode(errors='replace').splitlines()
    if binary:
        return done.stdout
    return done.stdout.decode(errors='surrogateescape').rstrip('\n')


def write_if_changed(path, data, mode=None):
    """Write bytes to path; leave it (and its time) alone if it has them."""
    path = Path(path)
    changed = False
    if not path.is_file() or path.is_symlink() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f'.{path.name}.new')
        temporary.write_bytes(data)
        temporary.chmod(0o644)
        temporary.replace(path)
        changed = True
    if mode is not None and (path.stat().st_mode & 0o111) != (mode & 0o111):
        path.chmod(mode)
        changed = True
    return changed
