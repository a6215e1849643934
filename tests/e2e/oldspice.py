#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make our QEMU as it is where the SPICE library has no power control.

Whether the library has it is looked up when QEMU is configured, and QEMU knows
it by some macros and one source file. So a second QEMU needs no second build:
what includes a header of SPICE, or something that looks at these, and that is
all that can tell the libraries apart, is compiled again with the headers of
Debian's own packages (stock.py has unpacked them), and linked with Debian's
library and the object files that there are.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / 'scripts'
sys.path.insert(0, str(SCRIPTS))

from core import Layout, StackError         # noqa: E402
from debian import environment              # noqa: E402

NAME = 'qemu-system-x86_64'
# what QEMU looks for, and what it knows by then
MACROS = {'spice_server_power_complete': 'HAVE_SPICE_POWER',
          'spice_server_set_websocket_origins':
              'HAVE_SPICE_WEBSOCKET_ORIGINS',
          'spice_server_hand_over': 'HAVE_SPICE_HAND_OVER',
          'spice_server_set_proxies': 'HAVE_SPICE_PROXIES'}
# which of the two is compiled is decided when QEMU is configured, too
WITH, WITHOUT = 'ui/spice-power.c', 'ui/spice-power-stub.c'


class Relink:
    def __init__(self, layout):
        self.layout = layout
        self.obj = layout.obj / 'qemu'
        self.stock = layout.build / 'stock'
        self.library = (self.stock / 'usr/lib/x86_64-linux-gnu'
                        / 'libspice-server.so')
        self.out = layout.build / 'oldspice'
        self.env = environment(layout)

    def run(self, *command, cwd=None):
        done = subprocess.run(command, cwd=cwd or self.obj, env=self.env,
                              stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise StackError(f'{shlex.join(map(str, command))[:200]} ...:\n'
                             f'{done.stdout.strip()}', './stack build qemu')
        return done.stdout

    def commands(self):
        """What makes each object file, and the program."""
        return {entry['output']: shlex.split(entry['command'])
                for entry in json.loads(self.run('ninja', '-t', 'compdb',
                                                 '-x'))}

    def lookers(self):
        """The files that look at the macro, those that are made among them.

        Half of QEMU includes the three headers; but who has a use for what is
        in them only with the macro looks at the macro, too.
        """
        harmless = {f'qapi-{kind}-ui.h' for kind in ('types', 'visit',
                                                      'events')}
        words = [word for macro in MACROS.values() for word in ('-e', macro)]
        where = self.run('git', 'grep', '-lw', *words, '--', '*.[ch]',
                         cwd=self.layout.src / 'qemu').split()
        word = re.compile(rf'\b({"|".join(MACROS.values())})\b')
        return ({str(self.layout.src / 'qemu' / path) for path in where}
                | {str(path) for path in (*self.obj.glob('hmp-commands*.h'),
                                          *self.obj.glob('qapi/qapi-*.[ch]'))
                   if path.name not in harmless
                   and word.search(path.read_text())})

    def users(self, objects):
        """Those of the object files that know SPICE, or look at the macro."""
        users, name = [], None
        spice, lookers = f'{self.layout.prefix}/include/spice-', self.lookers()
        for line in self.run('ninja', '-t', 'deps').splitlines():
            if not line.startswith(' '):
                name = line.split(':')[0]
            elif name in objects and name not in users:
                path = os.path.normpath(self.obj / line.strip())
                if spice in line or path in lookers:
                    users.append(name)
        return users

    def has_function(self, name):
        """The same question that QEMU's configure asks."""
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, 'probe.c')
            source.write_text(f'char {name}(void);\n'
                              f'int main(void) {{ return {name}(); }}\n')
            return not subprocess.run(
                ['cc', source, '-o', Path(directory, 'probe'), self.library],
                env=self.env, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL).returncode

    def check(self):
        """That it is true what this relies on."""
        if (any(map(self.has_function, MACROS))
                or not self.has_function('spice_server_init')):
            raise StackError(f'{self.library} is not what it should be')

    def compile(self, command, output):
        """One object file, with the stock headers."""
        mine, theirs = (f'{self.layout.prefix}/include/',
                        f'{self.stock}/usr/include/')
        new = []
        for word in command:
            if word == '-iquote' and '-iquote' not in new:
                new += ['-iquote', str(self.out)]       # has config-host.h
            if word.endswith(f'/{WITH}'):
                word = word.replace(WITH, WITHOUT)
            new.append(word.replace(mine, theirs))
        for option, value in (('-o', output), ('-MF', f'{output}.d')):
            new[new.index(option) + 1] = str(value)
        self.run(*new)
        used = Path(f'{output}.d').read_text()
        if mine + 'spice' in used or f'{self.out}/config-host.h' not in used:
            raise StackError(f'{output.name} was not made with the headers of '
                             f'{self.stock}')

    def make(self):
        program = self.out / NAME
        sources = [self.obj / NAME, self.stock / 'unpacked', Path(__file__)]
        if (program.exists() and program.stat().st_mtime
                > max(path.stat().st_mtime for path in sources)):
            return
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        commands = self.commands()
        link = commands[NAME]
        # on its command line, or in a library that is there
        inside = tuple(f'{word}.p/' for word in link if word.endswith('.a'))
        objects = {word for word in link if word.endswith('.o')}
        archived = {name for name in commands
                    if name.endswith('.o') and name.startswith(inside)}
        users = self.users(objects | archived)
        self.check()
        config, count = re.subn(
            rf'^#define ({"|".join(MACROS.values())})$', r'#undef \1',
            (self.obj / 'config-host.h').read_text(), flags=re.M)
        if count != len(MACROS):
            raise StackError('QEMU was configured without one of '
                             + ', '.join(MACROS.values()))
        (self.out / 'config-host.h').write_text(config)

        new = {user: self.out / user.replace('/', '_') for user in users}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda user: self.compile(commands[user], new[user]),
                          users))
        words = [str(new.get(word, word)) for word in link]
        # what comes first is taken, and not the library's
        first = next(i for i, word in enumerate(link) if word in objects)
        words[first:first] = [str(new[name]) for name in users
                              if name in archived - objects]
        words = [word.replace(f'{self.layout.prefix}/lib/libspice-server.so',
                              str(self.library))
                 for word in words if not word.startswith('-Wl,-rpath')]
        words[words.index('-o') + 1] = str(program)
        self.run(*words)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build-dir', required=True)
    args = parser.parse_args()
    try:
        Relink(Layout(args.build_dir)).make()
    except StackError as error:
        print(f'error: {error}\n  next: {error.hint}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
