# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages of what is the project's own: folders with a debian/ in them.

Their source packages are native ones: what git has of the folder, and a
changelog that says of which commit it is.
"""

import re
from typing import NamedTuple

from core import ROOT, git

FOLDERS = {'spice-gateway': 'gateway', 'spice-endpoints': 'haproxy'}
# After the version in the folder's changelog. It is no +bpower: of those there
# is one of Debian's to go back to.
SUFFIX = '+r'


class File(NamedTuple):
    data: bytes
    mode: int


class Commit(NamedTuple):
    """The last one that has changed the folder."""
    id: str
    author: tuple                       # as series.Commit has it
    number: int                         # how many there are of them


def files(folder):
    """{path in the folder: File}, of the working tree."""
    names = git(ROOT, 'ls-files', '-z', '--cached', '--others',
                '--exclude-standard', '--', folder).split('\0')
    found = {}
    for path in (ROOT / name for name in sorted(set(names)) if name):
        if path.is_file():              # and not deleted meanwhile
            found[str(path.relative_to(ROOT / folder))] = File(
                path.read_bytes(), 0o755 if path.stat().st_mode & 0o100
                else 0o644)
    return found


def commit(folder):
    last = git(ROOT, 'log', '-1', '--format=%h%x00%an%x00%ae%x00%at %z', '--',
               folder)
    number = git(ROOT, 'rev-list', '--count', 'HEAD', '--', folder)
    id, *author = last.split('\0')
    return Commit(id, tuple(author), int(number))


def version(changelog, last):
    base = re.match(r'\S+ \((\S+)\)', changelog).group(1)
    return f'{base}{SUFFIX}{last.number}'


def write(files, directory):
    """The source tree of the package."""
    for name, file in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(file.mode)
