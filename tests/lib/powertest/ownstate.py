# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a daemon of libvirt with state and configuration of its own.

    ownstate.py DIRECTORY PREFIX COMMAND...

runs the command where PREFIX/etc and PREFIX/var are those of DIRECTORY, and
where there is no /dev/kvm: libvirt probes a QEMU again and again, seconds each
time, if it finds one that QEMU cannot use. Nobody else sees these mounts, and
they end with the daemon and what it starts.
"""

import ctypes
import os
import subprocess
import sys

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
NODES = ('full', 'null', 'pts', 'random', 'shm', 'tty', 'urandom', 'zero')
libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if function(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f'{function.__name__}: {os.strerror(error)}')


def own_mounts(directory):
    """A mount namespace from which nothing gets out.

    The root of all mounts has to be said so of, and in a chroot that is not
    the directory that looks like it: go there, and come back.
    """
    call(libc.unshare, CLONE_NEWNS)
    root = os.open('/', os.O_RDONLY)
    os.chdir('/')
    os.chroot(directory)
    while not os.path.samefile('.', '..'):
        os.chdir('..')
    call(libc.mount, None, b'.', None, MS_REC | MS_PRIVATE, None)
    os.fchdir(root)
    os.chroot('.')
    os.close(root)


def bind(source, target):
    subprocess.run(['mount', '--rbind', source, target], check=True)


def main(directory, prefix, *command):
    here = os.getcwd()
    own_mounts(directory)
    os.chdir(here)
    for name in ('etc', 'var'):
        bind(f'{directory}/{name}', f'{prefix}/{name}')
    dev = f'{directory}/dev'
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'mode=755', 'dev', dev],
                   check=True)
    for name in filter(lambda name: os.path.exists(f'/dev/{name}'), NODES):
        if os.path.isdir(f'/dev/{name}'):
            os.mkdir(f'{dev}/{name}')
        else:
            open(f'{dev}/{name}', 'w').close()
        bind(f'/dev/{name}', f'{dev}/{name}')
    os.symlink('pts/ptmx', f'{dev}/ptmx')
    bind(dev, '/dev')
    os.execv(command[0], command)


if __name__ == '__main__':
    main(*sys.argv[1:])
