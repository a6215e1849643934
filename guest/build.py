#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the guest of the demo and the tests: a kernel and an initramfs.

The kernel is Debian's cloud kernel, taken out of its package; it has what a
virtual machine needs built in. The initramfs is busybox and guest/init.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import initramfs

HERE = Path(__file__).resolve().parent
FETCH = HERE.parent / 'scripts' / 'fetch.py'
BUSYBOX = '/usr/bin/busybox', '/bin/busybox'


def fetch_kernel(build, suite, output):
    """Unpack the package where we keep it, unless that was done already."""
    unpacked = build / 'cache' / 'guest-kernel'
    kernels = sorted(unpacked.glob('boot/vmlinuz-*'))
    if not kernels:
        new = unpacked.with_name(unpacked.name + '.new')
        shutil.rmtree(new, ignore_errors=True)
        done = subprocess.run(
            [sys.executable, str(FETCH), '--build-dir', str(build), 'package',
             'linux-image-cloud-amd64', '--depends', r'linux-image-[0-9].*',
             '--suite', suite, '--into', str(new)])
        if done.returncode:
            sys.exit(done.returncode)
        # modules and documentation, 100 MB that nobody needs here
        for extra in new.iterdir():
            if extra.name != 'boot':
                shutil.rmtree(extra)
        shutil.rmtree(unpacked, ignore_errors=True)
        new.rename(unpacked)
        kernels = sorted(unpacked.glob('boot/vmlinuz-*'))
    write(output, kernels[-1].read_bytes())


def make_initramfs(output):
    for busybox in map(Path, BUSYBOX):
        if busybox.exists() and is_static(busybox.read_bytes()):
            break
    else:
        sys.exit('error: no statically linked busybox\n'
                 '  next: install the package busybox-static')
    write(output, initramfs.make(busybox.read_bytes(),
                                 (HERE / 'init').read_bytes()))


def is_static(elf):
    """No program header asks for a dynamic loader (PT_INTERP)."""
    start = int.from_bytes(elf[32:40], 'little')
    size = int.from_bytes(elf[54:56], 'little')
    count = int.from_bytes(elf[56:58], 'little')
    types = (int.from_bytes(elf[at:at + 4], 'little')
             for at in range(start, start + size * count, size))
    return 3 not in types


def write(output, data):
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(output.name + '.new')
    temporary.write_bytes(data)
    temporary.replace(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build-dir', required=True, type=Path)
    parser.add_argument('--suite', default='bookworm',
                        help='the Debian release whose kernel it is')
    parser.add_argument('--kernel', type=Path, help='make this: the kernel')
    parser.add_argument('--initramfs', type=Path,
                        help='make this: the initramfs')
    parser.add_argument('--stamp', type=Path, help='touch this when done')
    args = parser.parse_args()
    if args.kernel:
        fetch_kernel(args.build_dir.resolve(), args.suite, args.kernel)
    if args.initramfs:
        make_initramfs(args.initramfs)
    if args.stamp:
        args.stamp.touch()


if __name__ == '__main__':
    main()
