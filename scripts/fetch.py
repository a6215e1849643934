#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetch Debian packages and sources without touching the user's apt.

Each suite has an apt configuration of its own below build/apt: its lists and
its cache are there, the mirror is the one that the machine uses already, and
apt checks the signatures as ever.

As a program: fetch.py package NAME --suite SUITE --into DIR
downloads a binary package and unpacks it.
"""

import argparse
import functools
import glob
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from core import Layout, StackError, rel

KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
RELEASES = ('bullseye', 'bookworm', 'trixie', 'forky', 'sid', 'stable',
            'oldstable', 'testing', 'unstable')
LISTS_KEPT = 24 * 3600                  # seconds until apt-get update is due


# --- where this machine gets Debian from ------------------------------------

def one_line_entries(text):
    """Entries of a *.list file: (uri, suite, components, options)."""
    for line in text.splitlines():
        m = re.match(r'\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)',
                     line)
        if m:
            options = dict(word.split('=', 1)
                           for word in (m.group(1) or '').split()
                           if '=' in word)
            yield m.group(2), m.group(3), m.group(4).split(), options


def deb822_entries(text):
    """The same of a *.sources file."""
    for stanza in re.split(r'\n\s*\n', text):
        fields, name = {}, None
        for line in stanza.splitlines():
            if line.startswith('#'):
                continue
            if line[:1] in (' ', '\t') and name:
                fields[name] += '\n' + line.strip()
            elif ':' in line:
                name, value = line.split(':', 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if ('deb' not in fields.get('types', '').split()
                or fields.get('enabled', 'yes').lower() == 'no'):
            continue
        options = {}
        if 'signed-by' in fields:
            options['signed-by'] = fields['signed-by']
        for uri in fields.get('uris', '').split():
            for suite in fields.get('suites', '').split():
                yield (uri, suite, fields.get('components', '').split(),
                       options)


def apt_entries(etc='/etc/apt'):
    for path in [f'{etc}/sources.list',
                 *sorted(glob.glob(f'{etc}/sources.list.d/*.list')),
                 *sorted(glob.glob(f'{etc}/sources.list.d/*.sources'))]:
        try:
            text = Path(path).read_text(errors='replace')
        except OSError:
            continue
        yield from (deb822_entries if path.endswith('.sources')
                    else one_line_entries)(text)


def mirror(etc='/etc/apt'):
    """(uri, signed-by) of the Debian mirror that the machine uses."""
    found = []
    for uri, suite, components, options in apt_entries(etc):
        if (suite in RELEASES and 'main' in components
                and not re.search(r'security', uri)):
            found.append((uri.rstrip('/'), options.get('signed-by')))
    if not found:
        raise StackError(
            f'no Debian mirror found in {etc}/sources.list or '
            f'{etc}/sources.list.d',
            'give apt a Debian mirror there, or build from your own checkouts:'
            ' --source UPSTREAM=DIR')
    for uri, signed_by in found:
        if re.search(r'/debian$', uri):
            return uri, signed_by
    return found[0]


def security(etc='/etc/apt'):
    """The same of its security updates, or None if it has none."""
    for uri, suite, components, options in apt_entries(etc):
        if suite.removesuffix('-security') in RELEASES and (
                suite.endswith('-security') and 'main' in components):
            return uri.rstrip('/'), options.get('signed-by')
    return None


# --- a private apt ----------------------------------------------------------

def tail(text, lines=8):
    return '\n'.join(text.strip().splitlines()[-lines:])


class Apt:
    """apt for one suite, in a corner of its own.

    With updates it also has those that the suite gets for security.
    """

    def __init__(self, layout, suite, updates=False):
        self.suite = suite
        self.dir = layout.build / 'apt' / (suite + '+updates' * updates)
        self.lists = self.dir / 'lists'
        for sub in ('lists/partial', 'cache/archives/partial'):
            (self.dir / sub).mkdir(parents=True, exist_ok=True)
        # [(uri, file with the key, suite)]
        self.archives = [(*self.archive(mirror(), 'mirror'), suite)]
        if updates and security():
            self.archives.append((*self.archive(security(), 'security'),
                                  f'{suite}-security'))
        (self.dir / 'sources.list').write_text(''.join(
            f'{kind} [signed-by={key}] {uri} {name} main\n'
            for uri, key, name in self.archives
            for kind in ('deb', 'deb-src')))
        # the rest of the user's configuration (a proxy, for one) is kept
        (self.dir / 'apt.conf').write_text(
            f'Dir::Etc::sourcelist "{self.dir}/sources.list";\n'
            'Dir::Etc::sourceparts "/dev/null";\n'
            'Dir::Etc::preferencesparts "/dev/null";\n'
            'Dir::Etc::preferences "/dev/null";\n'
            f'Dir::State::lists "{self.lists}";\n'
            f'Dir::Cache "{self.dir}/cache";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "3";\n'
            'Acquire::http::Timeout "30";\n'
            'APT::Get::List-Cleanup "true";\n'
            'APT::Sandbox::User "root";\n')

    def archive(self, entry, name):
        """(uri, file with the key) of what apt's sources say."""
        uri, signed_by = entry
        if signed_by and '-----BEGIN' in signed_by:
            key = self.dir / f'{name}.asc'
            key.write_text('\n'.join('' if line == '.' else line for line in
                                     signed_by.splitlines()) + '\n')
            signed_by = str(key)
        return uri, signed_by or KEYRING

    def run(self, *args, cwd=None):
        env = dict(os.environ, APT_CONFIG=str(self.dir / 'apt.conf'),
                   LC_ALL='C', DEBIAN_FRONTEND='noninteractive')
        done = subprocess.run(args, cwd=cwd, env=env, text=True,
                              errors='replace', stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        print(f'$ {" ".join(args)}\n{done.stdout}{done.stderr}', flush=True)
        return done

    def update(self, force=False):
        stamp = self.dir / 'updated'
        if (not force and stamp.exists()
                and time.time() - stamp.stat().st_mtime < LISTS_KEPT):
            return
        done = self.run('apt-get', 'update', '-q', '--error-on=any')
        if done.returncode:
            errors = [line for line in (done.stderr + done.stdout).splitlines()
                      if line.startswith(('E:', 'W:', 'Err:'))]
            raise StackError(
                f'the list of packages of Debian {self.suite} could not be '
                'fetched:\n' + tail('\n'.join(errors or [done.stderr])),
                'check the network (and apt\'s proxy settings), then try '
                'again; what is done already is kept')
        stamp.touch()

    def source_versions(self, package):
        """The Debian versions of the source package there, newest first."""
        self.update()
        done = self.run('apt-cache', 'showsrc', '--only-source', package)
        return newest_first(re.findall(r'^Version: (\S+)$', done.stdout, re.M))

    def package_versions(self, package):
        """The same of a binary package."""
        self.update()
        done = self.run('apt-cache', 'madison', package)
        return newest_first(re.findall(r'^ *\S+ \| *(\S+) \|.* Packages$',
                                       done.stdout, re.M))

    def download_source(self, package, version, tarball=False):
        """Download a source package; return the folder and its files' name."""
        downloads = self.dir / 'source' / package
        downloads.mkdir(parents=True, exist_ok=True)
        command = ['apt-get', 'source', '-q', '--download-only',
                   *(['--tar-only'] if tarball else []),
                   f'{package}={version}']
        done = self.run(*command, cwd=downloads)
        if done.returncode:                    # the suite may have moved on
            self.update(force=True)
            done = self.run(*command, cwd=downloads)
        if done.returncode:
            raise StackError(
                f'the source of {package} {version} (Debian {self.suite}) is '
                'not served:\n' + tail(done.stderr),
                'try again later, or with another mirror, or build from your '
                f'own checkout: --source {package}=DIR')
        return downloads, f'{package}_{without_epoch(version)}'

    def fetch_source(self, package, version, into, tarball=False):
        """Download and unpack into a new folder.

        With Debian's patches, or only the tarball that upstream has released.
        """
        downloads, name = self.download_source(package, version, tarball)
        new = into.with_name(into.name + '.new')
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        if tarball:
            archive, = [path for path in downloads.glob(
                name.rsplit('-', 1)[0] + '.orig.tar.*')
                if path.suffix != '.asc']
            new.mkdir()
            done = self.run('tar', '-x', '--strip-components=1',
                            '--no-same-owner', '-f', str(archive),
                            '-C', str(new))
        else:
            archive = downloads / f'{name}.dsc'
            done = self.run('dpkg-source', '--no-check', '-x', str(archive),
                            str(new))
        if done.returncode:
            raise StackError(f'{archive.name} cannot be unpacked:\n'
                             + tail(done.stderr),
                             f'check the disk space; rm -r {rel(downloads)}')
        return new

    def fetch_package(self, package, into, version=None):
        """Download a binary package and unpack it below `into`."""
        self.update()
        archives = self.dir / 'cache' / 'archives'
        command = ['apt-get', 'download', '-q',
                   f'{package}={version}' if version else package]
        done = self.run(*command, cwd=archives)
        if done.returncode:
            self.update(force=True)
            done = self.run(*command, cwd=archives)
        debs = sorted(archives.glob(f'{package}_*.deb'),
                      key=lambda p: p.stat().st_mtime)
        if done.returncode or not debs:
            raise StackError(
                f'the package {package} (Debian {self.suite}) is not served:\n'
                + tail(done.stderr), 'try again later, or with another mirror')
        Path(into).mkdir(parents=True, exist_ok=True)
        done = self.run('dpkg', '-x', str(debs[-1]), str(into))
        if done.returncode:
            raise StackError(f'{debs[-1].name} cannot be unpacked:\n'
                             + tail(done.stderr), 'check the disk space')

    def depends(self, package, pattern):
        """The first dependency of a package whose name matches."""
        self.update()
        done = self.run('apt-cache', 'depends', '--important', package)
        for name in re.findall(r'Depends: (\S+)$', done.stdout, re.M):
            if re.fullmatch(pattern, name):
                return name
        raise StackError(f'{package} (Debian {self.suite}) depends on nothing '
                         f'like {pattern}')


def newest_first(versions):
    def compare(a, b):
        return -1 if not subprocess.run(['dpkg', '--compare-versions', a, 'gt',
                                         b]).returncode else 1
    return sorted(set(versions), key=functools.cmp_to_key(compare))


def without_epoch(version):
    """As it is in the names of files."""
    return re.sub(r'^\d+:', '', version)


def upstream_version(debian):
    """10.0.13 of 1:10.0.13+ds-0+deb13u1."""
    version = without_epoch(debian).rsplit('-', 1)[0]
    return re.sub(r'[+~](ds|dfsg).*$', '', version)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build-dir')
    commands = parser.add_subparsers(dest='command', required=True)
    p = commands.add_parser('package', help='download and unpack a package')
    p.add_argument('name')
    p.add_argument('--suite', default='trixie')
    p.add_argument('--depends', metavar='PATTERN',
                   help='of the package\'s dependencies, the one whose name '
                        'matches this, in place of it')
    p.add_argument('--into', required=True, type=Path)
    args = parser.parse_args()
    try:
        apt = Apt(Layout(args.build_dir), args.suite)
        name = (apt.depends(args.name, args.depends) if args.depends
                else args.name)
        apt.fetch_package(name, args.into)
    except StackError as e:
        print(f'error: {e}\n  next: {e.hint}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
