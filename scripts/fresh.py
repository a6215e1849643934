# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a command as a newcomer would: in a clone, on a Debian as installed.

The Debian is made by debootstrap, without a compiler, Python or git, and the
clone is of the commit that is checked out here. Nothing of this machine's
build is seen in there.
"""

import shutil
import subprocess
import sys

import chroot
import debian
from core import ROOT, StackError, git, rel
from fetch import Apt
from progress import Logged

TOOLS = ['debootstrap', 'git', 'iproute2']
CLONE = '/root/spice-power-control'


def prepare(layout, release, progress):
    """A Debian as installed, with a clone in it; return (Root, commit)."""
    base = layout.build / 'fresh' / f'{release}-minbase'
    directory = layout.build / 'fresh' / release
    with progress.step(f'{debian.RELEASES[release]} as it is installed',
                       'fresh') as step:
        with Logged(step):
            apt = Apt(layout, release, updates=True)
            apt.update()
        chroot.minbase(release, base, apt, step)
        shutil.rmtree(directory, ignore_errors=True)
        chroot.copy(base, directory)
        root = chroot.Root(directory)
        root.apt_from(apt)
        root.use_network()
    commit = git(ROOT, 'rev-parse', 'HEAD')
    clone = directory / CLONE.lstrip('/')
    git(ROOT, 'clone', '-q', '--no-hardlinks', ROOT, clone)
    git(clone, 'checkout', '-q', commit)
    return root, commit


def run(layout, release, command, progress):
    """Run it in the clone; return its exit status.

    What it made stays in build/fresh until the next time.
    """
    if release not in debian.RELEASES:
        raise StackError(f"'{release}' is not a Debian that ./stack knows",
                         'one of ' + ', '.join(debian.RELEASES))
    root, commit = prepare(layout, release, progress)
    print(f'{rel(root.dir)}: {debian.RELEASES[release]}, in a clone of '
          f'{commit[:12]}: {" ".join(command)}', flush=True)
    env = [f'{k}={v}' for k, v in chroot.environment().items()]
    done = subprocess.run(
        # a shell is the first process: it buries what daemons leave behind
        root.enter(['env', '-i', *env, 'sh', '-c', 'cd "$0" && "$@"; exit $?',
                    CLONE, *command]),
        stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=sys.stderr)
    return done.returncode
