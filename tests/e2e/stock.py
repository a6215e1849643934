#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpack Debian's own SPICE programs and libraries, which the tests talk to.

Nothing is installed: the packages, and those of their dependencies that this
machine does not have, are unpacked below build/stock.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / 'scripts'
sys.path.insert(0, str(SCRIPTS))

from core import Layout, StackError         # noqa: E402
from debian import os_release               # noqa: E402
from fetch import Apt                       # noqa: E402

CLIENTS = ['spice-client-gtk', 'virt-viewer']
SERVER = ['libspice-server-dev', 'libspice-protocol-dev']
# Its modules are in packages of their own, and are those of this very QEMU, even
# if this machine has them. Since Debian 13 SPICE is one of these packages.
QEMU = {'bookworm': ['qemu-system-x86', 'qemu-system-common'],
        'trixie': ['qemu-system-x86', 'qemu-system-common',
                   'qemu-system-modules-spice']}
# Libraries that are wanted even if this machine has them: by whom, and which
LIBRARIES = [('spice-client-gtk', r'libspice-client-glib.*'),
             ('spice-client-gtk', r'libspice-client-gtk.*'),
             ('libspice-server-dev', r'libspice-server\d.*')]


def due(apt, packages):
    """These packages and what they depend on, less what is installed."""
    apt.update()
    done = apt.run('apt-get', '-s', 'install', '--no-install-recommends',
                   '--reinstall', *packages)
    found = re.findall(r'^Inst (\S+) ', done.stdout, re.M)
    if done.returncode or not found:
        raise StackError(f"apt cannot tell what {' '.join(packages)} need:\n"
                         + done.stderr.strip(),
                         'apt-get update; apt-get -f install')
    return found


def unpack(apt, packages, into):
    archives = into.with_name(into.name + '.debs')
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir()
    done = apt.run('apt-get', 'download', '-q', *packages, cwd=archives)
    if done.returncode:
        raise StackError("Debian's own SPICE programs cannot be fetched:\n"
                         + done.stderr.strip().splitlines()[-1],
                         'try again later, or with another mirror')
    into.mkdir()
    for archive in sorted(archives.iterdir()):
        done = apt.run('dpkg', '-x', str(archive), str(into))
        if done.returncode:
            raise StackError(f'{archive.name} cannot be unpacked',
                             'check the disk space')
    shutil.rmtree(archives)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build-dir', required=True)
    parser.add_argument('--stamp', type=Path)
    args = parser.parse_args()
    # ./stack shows this as a step
    print("== Debian's own SPICE programs", flush=True)
    layout = Layout(args.build_dir)
    stock = layout.build / 'stock'
    release = os_release().get('VERSION_CODENAME')
    try:
        if release not in QEMU:
            raise StackError('the programs to compare with are those of '
                             'Debian 12 or 13',
                             'run the tests on one of these')
        wanted = CLIENTS + SERVER + QEMU[release]
        stamp = stock / 'unpacked'
        if not stamp.exists() or stamp.read_text().split() != wanted:
            apt = Apt(layout, release)
            apt.update()
            libraries = [apt.depends(*which) for which in LIBRARIES]
            new = layout.build / 'stock.new'
            shutil.rmtree(new, ignore_errors=True)
            unpack(apt, due(apt, wanted + libraries), new)
            (new / stamp.name).write_text('\n'.join(wanted) + '\n')
            shutil.rmtree(stock, ignore_errors=True)
            new.rename(stock)
    except StackError as error:
        print(f'stack: error: {error}\n  next: {error.hint}')
        return 1
    if args.stamp:
        args.stamp.touch()
    return 0


if __name__ == '__main__':
    sys.exit(main())
