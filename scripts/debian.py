# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: which Debian it is, what is missing on it, and its disk."""

import os
import shutil
import subprocess
from pathlib import Path

from core import ROOT, StackError
from fetch import Apt

RELEASES = {'bookworm': 'Debian 12', 'trixie': 'Debian 13'}
# too old in that release; taken from its backports, for us alone
PRIVATE_TOOLS = {'bookworm': ('bookworm-backports',
                              ['meson', 'python3-pycotap'])}
# what it takes to have a source, and to write its series as mails
FETCHING = ['ca-certificates', 'dpkg-dev', 'git', 'perl']
DISK_NEEDED = 6                          # GB, sources and everything built


def os_release():
    fields = {}
    try:
        lines = Path('/etc/os-release').read_text().splitlines()
    except OSError:
        return fields
    for line in lines:
        if '=' in line:
            key, value = line.split('=', 1)
            fields[key] = value.strip('"')
    return fields


def check_distribution(no_install):
    """The release's code name, or None on a distribution we don't know."""
    fields = os_release()
    code = fields.get('VERSION_CODENAME')
    if fields.get('ID') == 'debian' and code in RELEASES:
        return code
    if no_install:
        return None
    raise StackError(
        f"this is {fields.get('PRETTY_NAME', 'an unknown distribution')}; "
        './stack knows how to prepare Debian 12 and Debian 13',
        'install what scripts/packages.txt names by hand (meson 1.5 or newer '
        'and\n  pycotap among them), then go on with --no-install. Sources '
        'still come from a Debian\n  mirror in the apt configuration, or from '
        'your checkouts: --source UPSTREAM=DIR')


def check_path(layout):
    """Upstreams' builds, and lists like PATH, end at a space or a colon."""
    for path, hint in (
            (ROOT, 'move the project to a path without white space and colons'),
            (layout.build, 'another --build-dir, without white space and '
                           'colons in its path')):
        for character in str(path):
            if character == ':' or character.isspace():
                what = {':': 'a colon', ' ': 'a space'}.get(character,
                                                            'white space')
                raise StackError(f"the path '{path}' has {what} in it, and "
                                 'nothing can be built there', hint)


def check_disk(layout):
    layout.build.mkdir(parents=True, exist_ok=True)
    if (layout.build / 'prefix' / 'bin' / 'qemu-system-x86_64').exists():
        needed = 0.5
    else:
        needed = DISK_NEEDED
    free = shutil.disk_usage(layout.build).free / 1e9
    if free < needed:
        raise StackError(
            f'{free:.1f} GB are free where {layout.build} is; {needed} GB are '
            'needed', 'make room, or have it elsewhere: --build-dir DIR')


def wanted(release, upstreams=()):
    packages, only = [], (release, *upstreams)
    for line in (ROOT / 'scripts' / 'packages.txt').read_text().splitlines():
        words = line.split('#')[0].split()
        if words and all(word in only for word in words[1:]):
            packages.append(words[0])
    return packages


def missing(packages):
    done = subprocess.run(
        ['dpkg-query', '-W', '-f', '${Package} ${db:Status-Status}\n',
         *packages], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True)
    installed = {line.split()[0] for line in done.stdout.splitlines()
                 if line.endswith(' installed')}
    return [package for package in packages if package not in installed]


def install(packages, step):
    """apt-get install; the user's own apt configuration does the rest."""
    command = ['apt-get', 'install', '-y', '-q', '--no-install-recommends',
               *packages]
    sudo = []
    if os.geteuid() != 0:
        if not shutil.which('sudo'):
            raise StackError('packages are missing, and neither root nor sudo '
                             'are at hand',
                             'as root: ' + ' '.join(command))
        sudo = ['sudo']
        if subprocess.run(['sudo', '-n', 'true'], stderr=subprocess.DEVNULL
                          ).returncode:
            subprocess.run(['sudo', '-v'])
    env = {'DEBIAN_FRONTEND': 'noninteractive', 'LC_ALL': 'C'}
    sudo += ['env', *(f'{k}={v}' for k, v in env.items())] if sudo else []
    hint = ('check the network, apt\'s sources in /etc/apt and the free disk '
            'space, then try again;\n  or install them by hand: '
            + ' '.join(command))
    step.run([*sudo, 'apt-get', 'update', '-q'], env=dict(os.environ, **env),
             hint=hint)
    step.run([*sudo, *command], env=dict(os.environ, **env), hint=hint)


def private_tools(layout, release):
    """(suite, packages) that are unpacked into build/tools, if any is due."""
    suite, packages = PRIVATE_TOOLS.get(release, (None, []))
    due = [p for p in packages
           if not (layout.tools / 'usr' / 'share' / 'doc' / p).is_dir()]
    return suite, due


def fetch_private_tools(layout, suite, packages):
    apt = Apt(layout, suite)
    for package in packages:
        apt.fetch_package(package, layout.tools)


def environment(layout, variant_prefix=None):
    """The environment of everything that builds or runs what was built."""
    env = {k: v for k, v in os.environ.items()
           if k not in ('VIRTUAL_ENV', 'PYTHONHOME', 'PYENV_ROOT',
                        'PYENV_VERSION', 'DESTDIR', 'MAKEFLAGS', 'NINJA_STATUS',
                        'GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE')}
    prefix, tools = layout.prefix, layout.tools

    def put_first(name, *paths):
        old = [p for p in env.get(name, '').split(':') if p]
        new = [str(p) for p in paths]
        env[name] = ':'.join(new + [p for p in old if p not in new])

    system = [p for p in ('/usr/lib/ccache', '/usr/sbin', '/usr/bin', '/sbin',
                          '/bin') if os.path.isdir(p)]
    put_first('PATH', tools / 'usr' / 'bin', *system)
    if tools.is_dir():
        put_first('PYTHONPATH', tools / 'usr/lib/python3/dist-packages')
    put_first('PKG_CONFIG_PATH',
              *([variant_prefix / 'lib/pkgconfig'] if variant_prefix else []),
              prefix / 'lib/pkgconfig', prefix / 'share/pkgconfig')
    env['PYTHONDONTWRITEBYTECODE'] = '1'
    env['LC_ALL'] = 'C.UTF-8'
    return env
