# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian of its own below a directory, for building and testing packages.

What is run in one has namespaces of its own: nothing stays mounted, nothing
stays running, and of the machine it sees what is named.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from core import StackError, rel

PATH = '/usr/sbin:/usr/bin:/sbin:/bin'
# $1 is the directory; then what to bind (outside inside), "--", the command.
# It is a mount point, as the root of a Debian is; its /dev has what a program
# needs, and not the machine's disks.
ENTER = '''set -e
root=$1
shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 dev "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 pts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    shift 2
done
shift
if [ -e /sys/class/net/lo ]; then ip link set lo up 2>/dev/null || :; fi
exec chroot "$root" "$@"
'''


def need_root(what):
    if os.geteuid() != 0:
        raise StackError(f'{what} needs root: it makes a Debian of its own and '
                         'changes into it', f'sudo ./stack {what}')


def environment(**more):
    env = {'PATH': PATH, 'HOME': '/root', 'LC_ALL': 'C.UTF-8',
           'DEBIAN_FRONTEND': 'noninteractive', **more}
    for name in ('http_proxy', 'https_proxy', 'no_proxy'):
        if os.environ.get(name):
            env[name] = os.environ[name]
    return env


class Root:
    """A Debian below a directory; binds is {path inside: path outside}."""

    def __init__(self, directory, binds=None):
        self.dir = Path(directory)
        self.binds = binds or {}

    def enter(self, command, network=True, binds=None):
        """The words that run a command in there."""
        every = {**self.binds, **(binds or {})}
        return ['unshare', '--mount', '--propagation', 'private', '--pid',
                '--fork', '--kill-child', '--ipc',
                *([] if network else ['--net']),
                'sh', '-c', ENTER, 'enter', str(self.dir),
                *(str(word) for inside, outside in every.items()
                  for word in (outside, inside)), '--',
                *(str(word) for word in command)]

    def use_network(self):
        """Let it find what the machine finds."""
        for name in ('resolv.conf', 'hosts'):
            target = self.dir / 'etc' / name
            target.unlink(missing_ok=True)
            if os.path.exists(f'/etc/{name}'):
                shutil.copy(f'/etc/{name}', target)

    def apt_from(self, apt):
        """Packages come from where the machine has them from."""
        keys = self.dir / 'etc/apt/keyrings'
        keys.mkdir(parents=True, exist_ok=True)
        lines = []
        for number, (uri, key, suite) in enumerate(apt.archives):
            copy = keys / f'stack-{number}{Path(key).suffix}'
            shutil.copy(key, copy)
            lines.append(f'deb [signed-by=/{copy.relative_to(self.dir)}] {uri} '
                         f'{suite} main\n')
        (self.dir / 'etc/apt/sources.list').write_text(''.join(lines))
        done = subprocess.run(['apt-config', 'dump', '--no-empty', 'Acquire'],
                              stdout=subprocess.PIPE, text=True)
        (self.dir / 'etc/apt/apt.conf.d/01stack').write_text(
            ''.join(line + '\n' for line in done.stdout.splitlines()
                    if 'roxy' in line and 'Detect' not in line)
            + 'Acquire::Languages "none";\nAcquire::Retries "3";\n')
        (self.dir / 'etc/dpkg/dpkg.cfg.d/stack').write_text('force-unsafe-io\n')
        # what is installed starts nothing
        policy = self.dir / 'usr/sbin/policy-rc.d'
        policy.write_text('#!/bin/sh\nexit 101\n')
        policy.chmod(0o755)


class Entered:
    """A Root in which something goes on running between two commands."""

    def __init__(self, root, network=True):
        self.root, self.network = root, network

    def __enter__(self):
        ready = self.root.dir / 'run-ready'
        ready.unlink(missing_ok=True)
        self.holder = subprocess.Popen(
            # the first process is who buries daemons' children, too
            self.root.enter(['sh', '-c', 'echo > /run-ready; sleep infinity & '
                             'wait'], self.network))
        while not ready.exists():
            if self.holder.poll() is not None:
                raise StackError(f'{rel(self.root.dir)} cannot be entered')
            time.sleep(0.01)
        ready.unlink()
        return self

    def __exit__(self, *exc):
        # the kernel ends all that runs in there together with its first process
        self.holder.kill()
        self.holder.wait()

    def inside(self):
        """The holder's child: the first process of the namespaces."""
        children = Path(f'/proc/{self.holder.pid}/task/{self.holder.pid}'
                        '/children').read_text().split()
        return children[0]

    def command(self, *words):
        return ['nsenter', '--target', self.inside(), '--mount', '--pid',
                '--net', '--ipc', '--root', '--wd=/',
                *(str(word) for word in words)]


def minbase(release, directory, apt, step):
    """A minimal Debian, made once."""
    if directory.is_dir():
        return False
    new = directory.with_name(directory.name + '.new')
    if new.exists():
        shutil.rmtree(new)
    new.parent.mkdir(parents=True, exist_ok=True)
    uri, key, _ = apt.archives[0]
    step.run(['debootstrap', '--variant=minbase',
              *([f'--keyring={key}'] if not key.endswith('.asc') else []),
              release, new, uri],
             env=dict(os.environ, PATH=PATH, LC_ALL='C.UTF-8'),
             hint='check the network, the free disk space, and that '
                  f'{rel(new.parent)} is not\n  on a file system mounted with '
                  'nodev or noexec')
    new.rename(directory)
    return True


def copy(directory, target):
    """Another one like it."""
    subprocess.run(['cp', '-a', '--reflink=auto', directory, target],
                   check=True)
