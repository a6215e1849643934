# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts of a test's own: network namespaces, connected by cables (veth).

Nothing but this process and those that it starts in it holds a namespace, so
each ends with them, and its interfaces with it, however the test ends.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

from . import places

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8914, 0x8916, 1
libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """There can be no namespaces or cables here; the text says why."""


def call(function, *arguments):
    if function(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def in_thread(function):
    """Call in a thread of its own, which may go to another namespace."""
    done = {}

    def run():
        try:
            done['value'] = function()
        except BaseException as error:
            done['error'] = error
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if 'error' in done:
        raise done['error']
    return done['value']


def alone():
    """Have this process, and all that it starts, on a network of its own.

    A port that is free there stays so until a test takes it: another check,
    or a test beside this one, has other ports. Call it before there is a
    second thread. Returns why it can't be done, or None: then a test looks for
    another port if it finds one taken.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            call(libc.unshare, CLONE_NEWNET)
        else:
            call(libc.unshare, CLONE_NEWUSER | CLONE_NEWNET)
            for name, text in (('setgroups', 'deny'),
                               ('uid_map', f'{user} {user} 1'),
                               ('gid_map', f'{group} {group} 1')):
                Path('/proc/self', name).write_text(text)
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS,
                        struct.pack('16sh22x', b'lo', IFF_UP))
            # with 127.0.0.1 and ::1 alone, nobody is told of other addresses
            # (AI_ADDRCONFIG): names are not found
            fcntl.ioctl(any_socket, SIOCSIFADDR, struct.pack(
                '16sHH4s16x', b'lo:2', socket.AF_INET, 0,
                socket.inet_aton('127.0.0.2')))
        with contextlib.suppress(OSError), \
                socket.socket(socket.AF_INET6) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFADDR, struct.pack(
                '=16sIi', socket.inet_pton(socket.AF_INET6, '2001:db8::1'),
                128, socket.if_nametoindex('lo')))
    except OSError as error:
        return (f'no network of its own ({error.strerror}): ports are shared '
                'with whatever else runs here')


class Host:
    """A namespace; it has an address for each cable that ends here."""

    def __init__(self, name):
        self.name = name
        self.addresses = {}             # by the name of the other end's host
        self.file = in_thread(self._new)
        self.ip('link', 'set', 'dev', 'lo', 'up')

    @staticmethod
    def _new():
        try:
            call(libc.unshare, CLONE_NEWNET)
        except OSError as error:
            raise Unavailable('network namespaces are not permitted here: '
                              f'{error.strerror}')
        return open('/proc/thread-self/ns/net')

    def close(self):
        self.file.close()

    @property
    def pass_fds(self):
        """What subprocess must hand on to a prefixed command."""
        return (self.file.fileno(),)

    @property
    def prefix(self):
        """Makes a command run here, and not longer than this process."""
        return ['nsenter', f'--net=/proc/self/fd/{self.file.fileno()}',
                'setpriv', '--pdeathsig', 'KILL']

    def run(self, *command, pass_fds=()):
        done = subprocess.run([*self.prefix, *command], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              pass_fds=(*self.pass_fds, *pass_fds))
        if done.returncode:
            raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def ip(self, *arguments, **options):
        return self.run('ip', *arguments, **options)

    def cable(self, other, network):
        """Connect two hosts; network has the first three bytes."""
        self.ip('link', 'add', 'name', other.name, 'type', 'veth', 'peer',
                'name', self.name, 'netns',
                f'/proc/self/fd/{other.file.fileno()}',
                pass_fds=other.pass_fds)
        for number, (here, there) in enumerate([(self, other), (other, self)]):
            address = f'{network}.{number + 1}'
            here.ip('addr', 'add', f'{address}/24', 'dev', there.name)
            here.ip('link', 'set', 'dev', there.name, 'up')
            here.addresses[there.name] = address

    def unplug(self, other):
        """Pull the cable to another host."""
        self.ip('link', 'set', 'dev', other.name, 'down')

    def plug(self, other):
        """Put it back."""
        self.ip('link', 'set', 'dev', other.name, 'up')

    def call(self, function):
        """Call a function that makes sockets: they are this host's."""
        def enter():
            call(libc.setns, self.file.fileno(), CLONE_NEWNET)
            return function()
        return in_thread(enter)


@contextlib.contextmanager
def network(*names):
    """Hosts of these names, each connected to each other one."""
    for program in ('ip', 'nsenter', 'setpriv'):
        if not shutil.which(program):
            raise places.Missing(f'there is no program {program!r}; '
                                 './stack build installs it')
    with contextlib.ExitStack() as stack:
        hosts = []
        for name in names:
            hosts.append(Host(name))
            stack.callback(hosts[-1].close)
        # addresses for documentation and tests (RFC 5737, RFC 2544)
        for number, pair in enumerate(itertools.combinations(hosts, 2)):
            pair[0].cable(pair[1], f'198.18.{number}')
        yield hosts
