# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the build has put what is tested.

SPICE_POWER_BUILD names the build directory; it is build/ in the project's root
unless ./stack was given another one. SPICE_POWER_LOG is where a run leaves its
logs. SPICE_POWER_QEMU names another QEMU to test, one with a sanitizer, say.
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get('SPICE_POWER_BUILD', ROOT / 'build')).resolve()
PREFIX = BUILD / 'prefix'
GUEST = BUILD / 'guest'
LOG = Path(os.environ.get('SPICE_POWER_LOG', BUILD / 'log' / 'e2e')).resolve()

QEMU = Path(os.environ.get('SPICE_POWER_QEMU',
                           PREFIX / 'bin' / 'qemu-system-x86_64'))
SPICY_POWER = PREFIX / 'bin' / 'spicy-power'
KERNEL = GUEST / 'vmlinuz'
INITRAMFS = GUEST / 'initramfs'
FIRMWARE = ('/usr/share/seabios', '/usr/share/qemu', '/usr/lib/ipxe/qemu')

# Debian's own programs, unpacked and not installed, for compatibility tests
STOCK = BUILD / 'stock'
STOCK_LIBRARIES = tuple(STOCK / path for path in ('usr/lib/x86_64-linux-gnu',
                                                  'lib/x86_64-linux-gnu'))
STOCK_QEMU = STOCK / 'usr/bin/qemu-system-x86_64'
# Our QEMU, made with Debian's SPICE library
OLDSPICE_QEMU = BUILD / 'oldspice' / 'qemu-system-x86_64'


class Missing(Exception):
    """Something that ./stack build makes is not there."""


def need(*paths):
    """Complain, naming the next step, unless all of these are there."""
    for path in paths:
        if not Path(path).exists():
            raise Missing(f'{path} is not there; ./stack build makes it')


def need_stock():
    """The same for Debian's own programs."""
    if not (STOCK / 'unpacked').exists():
        raise Missing(f'{STOCK} is not there; ./stack check makes it')


def rel(path):
    """A path as one types it in the project's root."""
    try:
        return str(Path(path).relative_to(ROOT))
    except ValueError:
        return str(path)


def environment():
    """The environment of the programs that we have built."""
    env = dict(os.environ, LC_ALL='C.UTF-8')
    libraries = [str(PREFIX / 'lib')]
    if env.get('LD_LIBRARY_PATH'):
        libraries.append(env['LD_LIBRARY_PATH'])
    env['LD_LIBRARY_PATH'] = ':'.join(libraries)
    return env


def python_environment():
    """The same for Python programs that use our client library."""
    return dict(environment(),
                GI_TYPELIB_PATH=str(PREFIX / 'lib' / 'girepository-1.0'))


def stock_environment(libraries=()):
    """The environment of Debian's unpatched programs.

    They use their own libraries, unless there is another one in libraries.
    """
    env = dict(os.environ, LC_ALL='C.UTF-8')
    env['LD_LIBRARY_PATH'] = ':'.join(
        map(str, (*libraries, *STOCK_LIBRARIES)))
    env['QEMU_MODULE_DIR'] = str(STOCK / 'usr/lib/x86_64-linux-gnu/qemu')
    env['XDG_DATA_DIRS'] = f'{STOCK}/usr/share:/usr/local/share:/usr/share'
    return env


class Qemu(NamedTuple):
    """A QEMU, and what it takes to run it."""
    path: Path
    env: dict
    options: tuple = ()


def qemu():
    """Ours; or the one that SPICE_POWER_QEMU names, with its own libraries."""
    return Qemu(QEMU, dict(os.environ, LC_ALL='C.UTF-8')
                if 'SPICE_POWER_QEMU' in os.environ else environment())


def stock_qemu(libraries=()):
    """Debian's; only ours has been told where Debian has the firmware."""
    return Qemu(STOCK_QEMU, stock_environment(libraries),
                tuple(word for path in FIRMWARE for word in ('-L', path)))


def oldspice_qemu():
    """Ours, made with Debian's SPICE library."""
    return Qemu(OLDSPICE_QEMU, stock_environment())


def log_directory(name):
    """A fresh directory for the logs of one run."""
    path = LOG / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
