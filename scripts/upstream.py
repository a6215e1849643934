#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Build and install one upstream with its own build system.

The targets of the root meson.build call this. It configures when something
that configuring depends on has changed, leaves the rest to the upstream's
ninja, and installs only when that did anything.

A variant is the same source built another way, in build/obj/VARIANT-UPSTREAM,
for tests only. What it installs goes to build/prefix-VARIANT, where the
variant's other upstreams find it before they look in build/prefix.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import debian
import series_apply
from core import ROOT, Layout, StackError, load_upstreams, rel
from progress import processor_time


# what is not an upstream's but ours, and where it is
OURS = {'fuzzers': ROOT / 'tests' / 'fuzz',
        'spice-gateway': ROOT / 'gateway',
        'spice-endpoints': ROOT / 'haproxy'}
# what is installed; QEMU's tests are built when they are run
TARGETS = {'qemu': ['qemu-system-x86_64', 'trace/trace-events-all']}
# nothing is compiled of these, so ninja does not know whether a file has changed
PLAIN_FILES = ['spice-html5']
# what an upstream's own tests read although it is not built: those of
# libvirt's look at all of its drivers
TEST_TARGETS = {'libvirt': ['src/lxc/lxc_monitor_protocol.h',
                            'src/lxc/lxc_monitor_protocol.c',
                            'src/lxc/lxc_monitor_dispatch.h']}
# The variable is one of libvirt's syntax-check, the files that it leaves out:
# as it is, and what is a git submodule, which its tarball has within.
TEST_ENV = {'libvirt': {'MAKEFLAGS': 'VC_LIST_ALWAYS_EXCLUDE_REGEX='
                                     '^po/|[.](ico|png)|^subprojects/'}}


class CommandFailed(Exception):
    """What there is to say about it, it has said itself."""


class Build:
    def __init__(self, layout, name, options, variant=None, settings=(),
                 targets=(), installs=False, tests=()):
        self.layout, self.name, self.options = layout, name, options
        self.variant = variant
        self.ours = name in OURS
        self.src = OURS.get(name, layout.src / name)
        self.title = f'{variant}-{name}' if variant else name
        self.obj = layout.obj / self.title
        self.prefix = (layout.build / f'prefix-{variant}' if variant
                       else layout.prefix)
        self.env = debian.environment(layout, self.prefix)
        self.settings = sorted(settings)
        self.env.update(word.split('=', 1) for word in settings)
        self.targets = targets or TARGETS.get(name, [])
        self.tests = tests
        self.installs = installs or not variant
        self.log = None

    def run(self, *command, quiet=False):
        """Run in the build directory; output goes to the log and on."""
        self.log.write(f'$ {" ".join(map(str, command))}\n'.encode())
        child = subprocess.Popen(list(map(str, command)), cwd=self.obj,
                                 env=self.env, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT)
        idle = False
        for line in child.stdout:
            self.log.write(line)
            idle = idle or line.startswith(b'ninja: no work to do')
            if not quiet:
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
        if child.wait():
            raise CommandFailed(f'{self.title}: {command[0]} failed; the whole '
                                f'log: {rel(self.log_path)}')
        return idle

    # what configuring looks at, beside its own files (ninja sees to those)
    def key(self):
        headers = hashlib.sha256()
        if self.name == 'qemu':
            # which functions a library has is looked up once, and remembered
            for prefix in sorted({self.layout.prefix, self.prefix}):
                for path in sorted(prefix.glob('include/spice-*/**/*.h')):
                    headers.update(path.read_bytes())
        return {'options': self.options, 'prefix': str(self.prefix),
                'headers': headers.hexdigest(),
                **({'settings': self.settings} if self.settings else {})}

    def configure(self):
        stamp = self.obj / 'stack-configured.json'
        try:
            old = json.loads(stamp.read_text())
        except (FileNotFoundError, ValueError):
            old = None
        key = self.key()
        if old == key and (self.obj / 'build.ninja').exists():
            return
        print(f'{self.title}: configuring', flush=True)
        self.obj.mkdir(parents=True, exist_ok=True)
        relative = os.path.relpath(self.src, self.obj)
        if (self.name == 'qemu' and old
                and dict(old, headers='') == dict(key, headers='')):
            self.run('pyvenv/bin/meson', 'setup', '--reconfigure',
                     '--clearcache', '.', relative)
        elif self.name == 'qemu':
            self.run(f'{relative}/configure',
                     f'--prefix={self.prefix}', *self.options)
        else:
            # `setup --reconfigure` would ignore new linker arguments
            first = not (self.obj / 'build.ninja').exists()
            self.run('meson', *(['setup'] if first else ['configure']),
                     '--prefix', self.prefix, '--libdir', 'lib',
                     '--buildtype', 'debugoptimized', '-Dwerror=false',
                     *self.options, '.', *([relative] if first else []))
        if self.name == 'qemu':
            # what runs in the build tree, as tests do, looks for firmware here
            bundle = self.obj / 'qemu-bundle'
            for path in ('usr/share/qemu', 'usr/share/seabios',
                         'usr/lib/ipxe'):
                link = bundle / path
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(f'/{path}')
        stamp.write_text(json.dumps(key))

    def introspect(self, what):
        return json.loads((self.obj / 'meson-info'
                           / f'intro-{what}.json').read_text())

    def chosen_targets(self):
        """What ninja is asked for: all, or what is installed and some tests."""
        if not self.tests:
            return self.targets
        # with other options there may be other targets
        self.run('ninja', 'build.ninja')
        tests = [t for t in self.introspect('tests')
                 if t['name'] in self.tests]
        missing = set(self.tests) - {t['name'] for t in tests}
        if missing:
            raise StackError(f'{self.title} has no test {min(missing)}',
                             'meson.build names it')
        ids = {i for t in tests for i in t['depends']}
        return [os.path.relpath(path, self.obj)
                for target in self.introspect('targets')
                if target['installed'] or target['id'] in ids
                for path in target['filename']]

    def install(self):
        meson = 'pyvenv/bin/meson' if self.name == 'qemu' else 'meson'
        old = self.layout.prefix / 'bin' / 'spice-bmc'
        if self.name == 'spice-gateway' and not old.is_symlink():
            # a program of an older build, which meson does not replace by
            # the link that it is now
            old.unlink(missing_ok=True)
        self.run(meson, 'install', '--no-rebuild', '--only-changed',
                 quiet=True)
        (self.obj / 'stack-installed').touch()

    def build(self):
        if not self.ours and not (self.src / '.git').is_dir():
            raise StackError(f'there is no {rel(self.src)}', './stack build')
        self.layout.log.mkdir(parents=True, exist_ok=True)
        self.log_path = self.layout.log / f'{self.title}.log'
        print(f'== {self.title}', flush=True)
        # the log begins anew when it has grown large, not at each build
        big = self.log_path.exists() and self.log_path.stat().st_size > 5e6
        with open(self.log_path, 'wb' if big else 'ab', buffering=0) as log:
            self.log = log
            if not self.ours:
                follow(self.layout, self.name)
            self.configure()
            idle = self.run('ninja', *self.chosen_targets())
            if self.installs and (
                    not idle or self.name in PLAIN_FILES
                    or not (self.obj / 'stack-installed').exists()):
                self.install()
        # ./stack adds it to its table
        print(f'== processor {processor_time():.1f} s', flush=True)


def follow(layout, name):
    """Bring the source tree up to patches/ and the overlay files."""
    for upstream in load_upstreams(layout):
        for repo in upstream.repos:
            if upstream.name == name or (name in upstream.embedded_in and
                                         repo.is_relative_to(layout.src / name)):
                done = series_apply.update_repo(upstream, repo)
                if done:
                    print(f'{rel(repo)}: {done}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build-dir')
    commands = parser.add_subparsers(dest='command', required=True)
    p = commands.add_parser('build', help='build and install an upstream')
    p.add_argument('name')
    p.add_argument('--stamp', type=Path)
    p.add_argument('--variant', help='the name of another way to build it')
    p.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                   help='in the environment of all it runs')
    p.add_argument('--target', action='append', default=[],
                   help='only these of its ninja targets')
    p.add_argument('--install', action='store_true',
                   help='install a variant too')
    p.add_argument('--test', action='append', default=[],
                   help='build what is installed, and these of its tests')
    p.add_argument('options', nargs=argparse.REMAINDER,
                   help='-- and what its build system is configured with')
    args = parser.parse_args()
    os.environ.pop('NINJA_STATUS', None)
    try:
        Build(Layout(args.build_dir), args.name,
              [o for o in args.options if o != '--'], args.variant, args.set,
              args.target, args.install, args.test).build()
    except CommandFailed as e:
        print(e)
        return 1
    except StackError as e:
        # ./stack shows this and nothing else
        print(f'stack: error: {e}')
        if e.hint:
            print(f'  next: {e.hint}')
        return 1
    if args.stamp:
        args.stamp.touch()
    return 0


if __name__ == '__main__':
    sys.exit(main())
