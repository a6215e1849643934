#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check one table of names and numbers against everything that has them."""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests' / 'lib')]

import tap                                              # noqa: E402

BUILD = Path(os.environ.get('SPICE_POWER_BUILD', ROOT / 'build')).resolve()
INSTALLED = BUILD / 'prefix' / 'include' / 'spice-1'
SOURCE = BUILD / 'src' / 'spice-protocol'
COMMON = {host: BUILD / 'src' / host / 'subprojects' / 'spice-common'
          for host in ('spice', 'spice-gtk')}
OBJECTS = {'spice': BUILD / 'obj' / 'spice',
           'spice-gtk': BUILD / 'obj' / 'spice-gtk'}

with open(ROOT / 'tests' / 'protocol' / 'power.toml', 'rb') as f:
    TABLE = tomllib.load(f)

ENUMS = {f'{prefix}_{name}': value for prefix, names in TABLE['enums'].items()
         for name, value in names.items()}
MESSAGES = TABLE['client'] | TABLE['server']
NUMBERS = (TABLE['capabilities'] | TABLE['macros'] | TABLE['reasons']
           | MESSAGES | ENUMS)

# in enums.h, which the generator's output lacks: names from before it
OLD_NAMES = re.compile(r'SPICE_MSGC?_SMARTCARD_|SPICE_MSG_BASE_LAST$')


def run(command, text=''):
    done = subprocess.run(list(map(str, command)), input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise AssertionError(f'{" ".join(map(str, command))}:\n{done.stdout}')
    return done.stdout


def compile_asserts(include, text, *flags):
    run(['cc', '-Wall', '-Werror', '-fsyntax-only', '-I', include, *flags,
         '-x', 'c', '-'], text)


def enumerators(header, include):
    """{name: value} of all enumerators that a header declares."""
    # macros.h: the installed header includes it, the generated one does not
    flags = ['-I', include, '-include', 'spice/macros.h', '-w', '-x', 'c']
    text = run(['cc', '-E', '-P', *flags, header])
    names = [name for body in re.findall(r'\benum\s*\w*\s*\{([^}]*)\}', text)
             for name in re.findall(r'(?:^|,)\s*(SPICE_\w+)', body)]
    program = (f'#include <stdio.h>\n#include "{header}"\nint main(void) {{\n'
               + ''.join(f'printf("{n} %lld\\n", (long long){n});\n'
                         for n in names) + 'return 0; }\n')
    with tempfile.TemporaryDirectory() as d:
        run(['cc', *flags, '-', '-o', f'{d}/list'], program)
        pairs = [line.split() for line in run([f'{d}/list']).splitlines()]
    return {name: int(value) for name, value in pairs}


def generate(common, *options):
    with tempfile.TemporaryDirectory() as d:
        run(['/usr/bin/python3', '-B', common / 'spice_codegen.py', *options,
             common / 'spice.proto', f'{d}/output'])
        return Path(f'{d}/output').read_text()


def parse(common):
    """What spice-common's own parser makes of a spice.proto, as JSON-able."""
    program = '''
import json, sys
sys.path.insert(0, sys.argv[1])
from python_modules import ptypes, spice_parser
proto = spice_parser.parse(sys.argv[1] + "/spice.proto")
main, = [c for c in proto.channels if c.name == "main"]
ptypes.default_pointer_size = 8
def wire(t):
    t = t.resolve()
    if t.is_array():
        return wire(t.element_type) + "[" + str(t.size) + "]"
    if isinstance(t, ptypes.EnumBaseType):
        return "uint%d" % t.bits
    return str(t)
out = {"messages": {}, "bodies": {}, "enums": {}}
for kind, messages in (("MSGC", main.channel_type.client_messages),
                       ("MSG", main.channel_type.server_messages)):
    for m in messages:
        if m.name.startswith("power_"):
            name = "SPICE_%s_MAIN_%s" % (kind, m.name.upper())
            out["messages"][name] = m.value
            out["bodies"][name] = ["%s %s" % (x.name, wire(x.member_type))
                                   for x in m.message_type.members]
for t in ptypes.get_named_types():
    if isinstance(t, ptypes.EnumBaseType) and t.name.startswith("power_"):
        flags = isinstance(t, ptypes.FlagsType)
        for value, name in t.names.items():
            out["enums"]["SPICE_%s_%s" % (t.name.upper(), name)] = (
                1 << value if flags else value)
json.dump(out, sys.stdout)
'''
    return json.loads(run(['/usr/bin/python3', '-B', '-c', program, common]))


class Headers(unittest.TestCase):
    maxDiff = None

    def test_installed(self):
        """Each name of the table has its number in the installed headers."""
        compile_asserts(
            INSTALLED, '#include <spice/enums.h>\n#include <spice/protocol.h>\n'
            + ''.join(f'#ifndef {name}\n#error {name} is no macro\n#endif\n'
                      for name in TABLE['macros'])
            + ''.join(f'_Static_assert({name} == {value}, "{name}");\n'
                      for name, value in NUMBERS.items()))

    def test_nothing_else(self):
        """The headers have no power control names that the table lacks."""
        known = set(NUMBERS) | {f'{p}_{end}' for p in TABLE['enums']
                                for end in ('ENUM_END', 'MASK')}
        for name in ('enums.h', 'protocol.h'):
            text = (INSTALLED / 'spice' / name).read_text()
            found = set(re.findall(r'\bSPICE_\w*POWER_\w+', text))
            with self.subTest(header=name):
                self.assertEqual(set(), found - known)

    def test_installed_is_source(self):
        for name in ('enums.h', 'protocol.h'):
            with self.subTest(header=name):
                self.assertEqual((SOURCE / 'spice' / name).read_bytes(),
                                 (INSTALLED / 'spice' / name).read_bytes())

    def test_enums_regenerated(self):
        """enums.h has what the generator makes of spice.proto, all of it."""
        all_made = set()
        for host, common in COMMON.items():
            with self.subTest(spice_common_of=host), \
                    tempfile.TemporaryDirectory() as d:
                header = Path(d, 'enums.h')
                header.write_text(generate(common, '--generate-enums',
                                           '--license=BSD'))
                made = enumerators(header, INSTALLED)
                have = enumerators(INSTALLED / 'spice' / 'enums.h', INSTALLED)
                self.assertGreater(len(made), 300)
                all_made |= set(made)
                # where one of the two ends is no number of the protocol
                numbers = {n: v for n, v in made.items()
                           if not re.search('_END(_|$)', n)}
                self.assertEqual(numbers, {n: have.get(n) for n in numbers})
                # and the power part is the generator's, word for word
                power = re.findall(r'typedef enum SpicePower.*?;\n',
                                   header.read_text(), re.S)
                self.assertEqual(3, len(power))
                for text in power:
                    self.assertIn(text, (INSTALLED / 'spice' / 'enums.h')
                                  .read_text())
        # one of the two may know more than the other, which is older
        self.assertEqual(set(), {n for n in have if n not in all_made
                                 and not OLD_NAMES.match(n)})


class Browser(unittest.TestCase):
    """spice-html5's enums.js, which is written by hand."""

    def test_enums(self):
        text = (BUILD / 'src' / 'spice-html5' / 'enums.js').read_text()
        there = {name: int(value) if value.isdigit() else 1 << int(bit)
                 for name, value, bit in re.findall(
                     r'^  (SPICE_\w+) *: (\d+|\(1 << (\d+)\)),', text, re.M)}
        numbers = {name: value for name, value in NUMBERS.items()
                   if name not in TABLE['macros']}
        self.assertEqual(numbers, {name: there.get(name) for name in numbers})
        self.assertEqual(set(), {name for name in there if '_POWER_' in name}
                         - set(NUMBERS) - {'SPICE_POWER_MESSAGE_MAX'})


class Proto(unittest.TestCase):
    """Both copies of spice.proto, as spice-common's parser reads them."""

    maxDiff = None

    def test_messages(self):
        for host, common in COMMON.items():
            with self.subTest(spice_common_of=host):
                self.assertEqual(MESSAGES, parse(common)['messages'])

    def test_bodies(self):
        for host, common in COMMON.items():
            with self.subTest(spice_common_of=host):
                self.assertEqual(TABLE['bodies'], parse(common)['bodies'])

    def test_enums(self):
        for host, common in COMMON.items():
            with self.subTest(spice_common_of=host):
                self.assertEqual(ENUMS, parse(common)['enums'])


class Generated(unittest.TestCase):
    """What the build generated: the structures that the code works with."""

    C_TYPES = {'uint8': 'uint8_t', 'uint32': 'uint32_t'}

    def structure(self, name):
        if name.startswith('SPICE_MSGC'):
            return 'SpiceMsgcMainPowerRequest'
        return 'SpiceMsgMain' + ''.join(
            w.capitalize() for w in name.split('_')[3:])

    def test_structures(self):
        checks = ''
        for name, fields in TABLE['bodies'].items():
            for field in fields:
                member, kind = field.split()
                if '[' in kind:
                    continue
                checks += (
                    '_Static_assert(__builtin_types_compatible_p('
                    f'__typeof__((({self.structure(name)} *)0)->{member}), '
                    f'{self.C_TYPES[kind]}), "{name} {member}");\n')
        for host, objects in OBJECTS.items():
            found = sorted(objects.rglob('generated_messages.h'))
            with self.subTest(build_of=host):
                self.assertEqual(1, len(found), f'{objects} is built')
                compile_asserts(
                    INSTALLED, '#include <common/messages.h>\n' + checks,
                    '-I', found[0].parent.parent, '-I', found[0].parent,
                    '-I', COMMON[host], *run(
                        ['pkg-config', '--cflags', 'glib-2.0', 'pixman-1',
                         'openssl']).split())


if __name__ == '__main__':
    tap.main()
