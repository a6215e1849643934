# SPDX-License-Identifier: GPL-2.0-or-later
"""What a client costs a spice-server: see cost.c, which is what runs.

Not a whole QEMU: under callgrind that takes minutes to start, and what its
other threads, its timers and its guest do is not the same twice. The messages
of the main channel are spice-server's, QEMU only says when there is one.

The libraries that are compared are built from the same repository in the same
way: as Debian has it, with what the series fixes ("no power"), and all of it.
"""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

from powertest import places

from figures import judge

SOURCE = Path(__file__).with_name('cost.c')
POWER = 'server: Add SpicePowerInterface'
MESSAGES, CLIENTS = 1000, 50


class CostError(Exception):
    """Something could not be built, or did not run."""


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **options)
    if done.returncode:
        raise CostError(f'{Path(command[0]).name} has failed:\n'
                        + (done.stdout + done.stderr).strip()[-2000:])
    return done.stdout


def revisions():
    """{'unpatched': commit, 'no power': commit}"""
    repository = places.BUILD / 'src' / 'spice'
    log = run('git', '-C', repository, 'log', '--format=%H %s', 'base..')
    power, = (line.split()[0] for line in log.splitlines()
              if line.split(' ', 1)[1] == POWER)
    return {'unpatched': run('git', '-C', repository, 'rev-parse',
                             'base^{commit}').strip(),
            'no power': run('git', '-C', repository, 'rev-parse',
                            f'{power}^').strip()}


def unpack(repository, revision, into):
    into.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(['git', '-C', repository, 'archive', revision],
                             stdout=subprocess.PIPE, check=True)
    subprocess.run(['tar', '-x', '-C', into], input=archive.stdout,
                   check=True)


def library(name, revision):
    """Build spice as it was at that revision; returns where its library is."""
    place = places.BUILD / 'bench' / name.replace(' ', '-')
    stamp, obj = place / 'revision', place / 'obj'
    if stamp.exists() and stamp.read_text() == revision:
        return obj / 'server'
    shutil.rmtree(place, ignore_errors=True)
    repository = places.BUILD / 'src' / 'spice'
    unpack(repository, revision, place / 'src')
    unpack(repository / 'subprojects' / 'spice-common', 'base',
           place / 'src' / 'subprojects' / 'spice-common')
    ours = configparser.ConfigParser(interpolation=None)
    ours.read(places.BUILD / 'obj' / 'spice' / 'meson-private'
              / 'cmd_line.txt')
    options = [f'-D{key}={value}' for key, value in ours['options'].items()]
    run('meson', 'setup', *options, obj, place / 'src')
    run('meson', 'compile', '-C', obj, 'spice-server:shared_library')
    stamp.write_text(revision)
    return obj / 'server'


def measure(program, libraries, mode):
    env = dict(os.environ, LD_LIBRARY_PATH=str(libraries), LC_ALL='C.UTF-8',
               G_SLICE='always-malloc')
    out = program.with_name('callgrind.out')
    run('valgrind', '--tool=callgrind', '--toggle-collect=measured',
        f'--callgrind-out-file={out}', program, mode, MESSAGES, 0, env=env)
    total = re.search(r'^(?:summary|totals): (\d+)', out.read_text(), re.M)
    memory = run(program, mode, 1, CLIENTS, env=env)
    return {'instructions per message': int(total.group(1)) / MESSAGES,
            'memory per client (bytes)': int(memory)}


def cost(bench, rounds, say):
    """{which: what it costs}"""
    if not shutil.which('valgrind'):
        raise places.Missing('valgrind is not installed')
    program = bench.directory / 'cost'
    prefix = places.PREFIX
    flags = run('pkg-config', '--cflags', 'spice-server', env=dict(
        os.environ, PKG_CONFIG_PATH=f'{prefix}/lib/pkgconfig:'
        f'{prefix}/share/pkgconfig')).split()
    run('gcc', '-O1', '-g', *flags, '-o', program, SOURCE,
        f'-L{prefix}/lib', '-lspice-server', '-lcrypto')
    libraries = {}
    for name, revision in revisions().items():
        say(f'the library {name}')
        libraries[name] = library(name, revision), 'off'
    libraries['power=off'] = prefix / 'lib', 'off'
    libraries['power=on, idle'] = prefix / 'lib', 'on'
    found = {}
    for name, (path, mode) in libraries.items():
        say(name)
        found[name] = measure(program, path, mode)
    return found


def tell(found):
    print(f'\n{"what a client costs":20} {"instructions":>14} {"bytes":>8}')
    for name, values in found.items():
        print(f'{name:20} {values["instructions per message"]:14.1f} '
              f'{values["memory per client (bytes)"]:8}')
    off = found['power=off']['instructions per message']

    def against(name):
        other = found[name]['instructions per message']
        return max(off, other) / min(off, other)
    # they are counted, and the same each time
    return [judge('instructions with power=off to those without power control',
                  against('no power'), 1.001),
            judge('instructions with power=off to unpatched, which has none '
                  'of the fixes', against('unpatched'), 1.001)]
