# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages: which there are, and how they are built.

What is in Debian's own with our series in them is in deb_patched.py, what is in
those of the project in deb_own.py. They are built in a Debian below build/deb.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import chroot
import deb_own
from core import Layout, StackError, git, load_upstreams, rel
from deb_patched import (NAME, RELEASE, debian_directory, download, our_version,
                         packages_of, repository, revision, stanzas,
                         with_dependencies, with_entry)
from fetch import Apt, without_epoch
from progress import Logged

# what the machine itself has to have, beside what every Debian has
TOOLS = ['debootstrap', 'dpkg-dev', 'git', 'iproute2']
DISK_NEEDED = 9                          # GB
# in the order in which they are built
NEEDS = {'spice-protocol': [], 'spice': ['spice-protocol'],
         'spice-gtk': ['spice-protocol'], 'qemu': ['spice-protocol', 'spice'],
         'spice-gateway': ['spice-protocol', 'spice'], 'spice-endpoints': []}
# those that take the place of Debian's
PATCHED = [name for name in NEEDS if name not in deb_own.FOLDERS]
# which of their packages the others are built with
DEVELOPMENT = {'spice-protocol': ['libspice-protocol-dev'],
               'spice': ['libspice-server1', 'libspice-server-dev']}


class Narrow:
    """What is built of a source package of which not all is wanted."""

    def __init__(self, packages=(), profiles=(), make=()):
        self.packages = packages         # those, () is all of them
        self.profiles = profiles         # build profiles that Debian has for it
        self.make = make                 # variables of debian/rules


# The emulators of other machines take hours and are not concerned; whatever has
# to be of the same build as the emulator is here.
NARROW = {'qemu': Narrow(
    ['qemu-block-extra', 'qemu-system-common', 'qemu-system-gui',
     'qemu-system-modules-opengl', 'qemu-system-modules-spice',
     'qemu-system-x86', 'qemu-utils'],
    ['pkg.qemu.omit-user', 'pkg.qemu.omit-system-xen',
     'pkg.qemu.use-upstream-vdso'],
    ['enable-system=y', 'system-packages=x86',
     'QEMU_CONFIGURE_OPTIONS=--target-list=i386-softmmu,x86_64-softmmu'])}


class Place:
    """Where things are."""

    def __init__(self, layout):
        self.out = layout.build / 'deb'
        self.work = self.out / 'work'
        self.minbase = self.work / 'minbase'
        self.root = self.work / 'root'
        self.copy = self.work / 'root.copy'
        self.archives = self.work / 'archives'
        self.build = self.work / 'build'
        # repositories of their own: other versions, and other trees
        self.layout = Layout(self.work, versions={})
        self.state_path = self.work / 'state.json'

    def state(self):
        try:
            return json.loads(self.state_path.read_text())
        except FileNotFoundError:
            return {}

    def record(self, name, entry):
        state = self.state()
        state[name] = entry
        new = self.state_path.with_suffix('.new')
        new.write_text(json.dumps(state, indent=1, sort_keys=True) + '\n')
        new.replace(self.state_path)

    def ccache(self):
        """{path inside: outside} of the compiler's cache, if there is one."""
        try:
            done = subprocess.run(['ccache', '--get-config', 'cache_dir'],
                                  stdout=subprocess.PIPE, text=True)
        except FileNotFoundError:
            return {}
        cache = Path(done.stdout.strip() or '/nowhere')
        return {'/ccache': cache} if cache.is_dir() else {}

    def in_root(self, directory):
        """To enter the Debian of that directory, with what all share."""
        return chroot.Root(directory, {
            '/var/cache/apt/archives': self.archives, **self.ccache()})


class Package:
    """A source package of ours: what is in it, and whether it is built.

    needs are the Packages that it is built with. Who derives from it has the
    version; stock, the version of Debian's that it takes the place of, and dsc,
    the source of that; every, the names of its binary packages; identity, which
    changes when what is built does; and source_tree().
    """

    options = 'noautodbgsym terse'
    profiles = ()                        # beside those of narrow
    stock = dsc = None

    def __init__(self, place, name, title, needs):
        self.place, self.needs = place, needs
        self.name, self.title = name, title
        self.narrow = NARROW.get(name, Narrow())

    def built_with(self):
        """{development package: version} of ours."""
        return {package: need.version for need in self.needs
                for package in DEVELOPMENT[need.name]}

    def describe(self, control, *contents):
        """Set every and identity."""
        self.every = [s['Package'] for s in stanzas(control.decode())
                      if 'Package' in s]
        self.identity = hashlib.sha256(repr([
            *contents, sorted(vars(self.narrow).items()),
            [need.identity for need in self.needs]]).encode()).hexdigest()

    @property
    def entry(self):
        """What is recorded of the packages that are there."""
        return self.place.state().get(self.name) or {}

    def is_built(self):
        return (self.entry.get('identity') == self.identity
                and all((self.place.out / name).exists()
                        for name in self.entry['files']))

    def wanted(self):
        """The binary packages that are built."""
        return [p for p in self.every
                if not self.narrow.packages or p in self.narrow.packages]

    def left_out(self):
        return [p for p in self.every if p not in self.wanted()]

    def build(self, step, jobs):
        """Have its files in build/deb.

        In a copy of the Debian to build in: what another package has been
        built with must not be found, and used, by this one.
        """
        place = self.place
        shutil.rmtree(place.copy, ignore_errors=True)
        chroot.copy(place.root, place.copy)
        root = place.in_root(place.copy)
        directory = place.build / self.name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        source = (f'{self.name}-'
                  + without_epoch(self.version).rsplit('-', 1)[0])
        binds = {'/build': directory, '/deb': place.out}
        profiles = [*self.profiles, *self.narrow.profiles]
        env = chroot.environment(
            CCACHE_DIR='/ccache', PATH=f'/usr/lib/ccache:{chroot.PATH}',
            DEB_BUILD_OPTIONS=f'{self.options} parallel={jobs}',
            DEB_BUILD_PROFILES=' '.join(profiles),
            DH_OPTIONS=' '.join(f'-N{p}' for p in self.left_out()),
            # a symbol more, or less, than debian/*.symbols has is an error
            DPKG_GENSYMBOLS_CHECK_LEVEL='4')

        def run(*command, cwd='/build', network=False, hint=None):
            return step.run(
                root.enter(['env', '-i', *(f'{k}={v}' for k, v in env.items()),
                            'sh', '-c', 'cd "$0" && exec "$@"', cwd,
                            *command], network=network, binds=binds),
                hint=hint, note=note)

        def note(line):
            # installing something is a build of one step for ninja
            if not re.match(r'\[\d+/1\]', line):
                step.note(line)

        online = ('check the network and the free disk space, then the same '
                  'command again: what is done is kept')
        root.use_network()
        self.source_tree(directory, source, run)
        step.detail = 'installing what it is built with'
        run('apt-get', 'update', '-q', network=True, hint=online)
        ours = [f'/deb/{need.entry["packages"][package]}'
                for need in self.needs for package in DEVELOPMENT[need.name]]
        if ours:
            run('apt-get', 'install', '-y', '-q', '--no-install-recommends',
                '--reinstall', '--allow-downgrades', *ours, network=True,
                hint=online)
        run('apt-get', 'build-dep', '-y', '-q', '--no-install-recommends',
            *(['-P', ','.join(profiles)] if profiles else []),
            *(['--arch-only'] if self.narrow.packages else []), './',
            cwd=f'/build/{source}', network=True, hint=online)
        step.detail = ''
        rules = ' '.join(['debian/rules', *self.narrow.make])
        run('dpkg-buildpackage', '-us', '-uc', '-sa',
            '--build=' + ('source,any' if self.narrow.packages else 'full'),
            f'--rules-file={rules}', cwd=f'/build/{source}',
            hint=f'the tree is {rel(directory / source)}')
        self.keep(directory)
        shutil.rmtree(place.copy)

    def keep(self, directory):
        """Move what was built to its place, instead of what was there."""
        place = self.place
        version = without_epoch(self.version)
        made = [p for p in sorted(directory.iterdir()) if p.is_file()]
        kept = [p for p in made if version in p.name or '.orig.tar' in p.name]
        debs = {p.name.split('_')[0]: p.name for p in kept
                if p.suffix == '.deb'}
        missing = set(self.wanted()) - set(debs)
        if missing:
            raise StackError(f'{self.title}: no package was built of '
                             + ' '.join(sorted(missing)))
        for name in self.entry.get('files', []):
            (place.out / name).unlink(missing_ok=True)
        for path in kept:
            path.replace(place.out / path.name)
        place.record(self.name, {
            'version': self.version, 'stock': self.stock,
            'stock-source': self.dsc and str(self.dsc), 'packages': debs,
            'files': [p.name for p in kept],
            'identity': self.identity})
        shutil.rmtree(directory)


class Patched(Package):
    """Debian's, with the series in it; its tests are not run."""

    options = 'nocheck ' + Package.options
    profiles = ['nocheck']

    def __init__(self, place, layout, upstream, needs):
        super().__init__(place, upstream.name, upstream.title, needs)
        self.stock, source_version, self.dsc, apt = download(layout, upstream)
        upstream = repository(place, upstream, apt, source_version)
        self.version = our_version(self.stock, revision(place, upstream))
        borrowed = {}
        if self.stock != source_version:
            borrowed = packages_of(Apt(layout, RELEASE, updates=True),
                                   self.name)
        self.debian = debian_directory(place, upstream, self.version, borrowed,
                                       self.built_with())
        control = self.debian.get('control') or git(
            upstream.repo, 'show', 'base:debian/control', binary=True)
        self.describe(control, source_version, sorted(self.debian.items()))

    def source_tree(self, directory, source, run):
        for line in self.dsc.read_text().splitlines():
            m = re.fullmatch(r' [0-9a-f]{64} \d+ (\S+)', line)
            if m:
                shutil.copy(self.dsc.parent / m.group(1), directory)
        shutil.copy(self.dsc, directory)
        # where everybody who builds it by hand has it
        run('dpkg-source', '--no-check', '-x', self.dsc.name)
        for path, data in self.debian.items():
            target = directory / source / 'debian' / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


class Own(Package):
    """A folder of the project; its tests are run."""

    def __init__(self, place, name, needs):
        super().__init__(place, name, name, needs)
        folder = deb_own.FOLDERS[name]
        self.files = deb_own.files(folder)
        last = deb_own.commit(folder)
        old = self.files['debian/changelog'].data.decode()
        self.version = deb_own.version(old, last)
        self.put('debian/changelog', with_entry(
            old, self.version, [f'  * Local package: commit {last.id}.'],
            last.author))
        control = self.files['debian/control'].data.decode()
        self.put('debian/control',
                 with_dependencies(control, self.built_with()))
        self.describe(control.encode(), sorted(self.files.items()))

    def put(self, path, text):
        self.files[path] = self.files[path]._replace(data=text.encode())

    def source_tree(self, directory, source, run):
        deb_own.write(self.files, directory / source)


def prepare_root(place, apt, step):
    """The Debian that is copied for each package."""
    made = chroot.minbase(RELEASE, place.minbase, apt, step)
    place.archives.mkdir(parents=True, exist_ok=True)
    root = place.in_root(place.root)
    ready = place.root / 'stack-ready'
    if place.root.is_dir() and not ready.exists():
        # apt does not go on with what was interrupted
        shutil.rmtree(place.root)
    if not place.root.is_dir():
        new = place.root.with_name('root.new')
        shutil.rmtree(new, ignore_errors=True)
        chroot.copy(place.minbase, new)
        new.rename(place.root)
        made = True
    root.apt_from(apt)
    root.use_network()
    (place.archives / 'partial').mkdir(exist_ok=True)
    env = [f'{k}={v}' for k, v in chroot.environment().items()]
    if not ready.exists():
        hint = 'check the network and the free disk space, then try again'
        step.run(root.enter(['env', '-i', *env, 'apt-get', 'update', '-q']),
                 hint=hint)
        step.run(root.enter(
            ['env', '-i', *env, 'apt-get', 'install', '-y', '-q',
             '--no-install-recommends', 'build-essential', 'fakeroot',
             *(['ccache'] if place.ccache() else [])]), hint=hint)
        ready.touch()
    for name in ('cc', 'c++') if place.ccache() else ():
        # what QEMU calls its compiler; the package does not have these
        link = place.root / 'usr/lib/ccache' / name
        if not link.is_symlink():
            link.symlink_to('../../bin/ccache')
    return root, made


def index(place, root, step):
    """What apt wants to know of build/deb, and of nothing below it."""
    env = [f'{k}={v}' for k, v in chroot.environment().items()]
    step.run(root.enter(
        ['env', '-i', *env, 'sh', '-ec', 'cd /deb; for deb in *.deb; do '
         'dpkg-scanpackages --multiversion "./$deb"; done | '
         'sed "s,^Filename: .*/,Filename: ./," > Packages.new; '
         'mv Packages.new Packages'],
        network=False, binds={'/deb': place.out}))


def needed(names):
    """All that is built for those, in the order in which it is."""
    for name in names:
        if name not in NEEDS:
            raise StackError(f"there are no packages of '{name}'",
                             'one of ' + ', '.join(NEEDS))
    return [name for name in NEEDS
            if not names or any(name == n or name in NEEDS[n] for n in names)]


def check_disk(place):
    place.out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.out).free / 1e9
    wanted = 3 if (place.root / 'stack-ready').exists() else DISK_NEEDED
    if free < wanted:
        raise StackError(f'{free:.1f} GB are free where {place.out} is; '
                         f'{wanted} GB are needed',
                         'make room, or have it elsewhere: --build-dir DIR')


def check_tools():
    for program in ('debootstrap', 'dpkg-source', 'git', 'ip'):
        if not shutil.which(program, path=chroot.PATH):
            raise StackError(f'{program} is not installed',
                             'without --no-install, ./stack installs it')


def build(layout, names, progress):
    """Build what is not built; return the Packages."""
    place = Place(layout)
    jobs = len(os.sched_getaffinity(0))
    upstreams = {u.name: u for u in load_upstreams(place.layout)}
    titles = {**{name: name for name in deb_own.FOLDERS},
              **{u.name: u.title for u in upstreams.values()}}
    with progress.step(f'{NAME} to build in', 'deb-root') as step:
        with Logged(step):
            apt = Apt(layout, RELEASE, updates=True)
            apt.update()
        root, made = prepare_root(place, apt, step)
        step.result = 'made' if made else 'is there'
    packages, due = {}, False
    for name in needed(names):
        needs = [packages[need] for need in NEEDS[name]]
        with progress.step(f'source package of {titles[name]}',
                           f'deb-{name}-source') as step, Logged(step):
            packages[name] = package = (
                Own(place, name, needs) if name in deb_own.FOLDERS
                else Patched(place, layout, upstreams[name], needs))
            step.result = package.version
        with progress.step(f'packages of {package.title}',
                           f'deb-{name}') as step:
            if package.is_built():
                step.result = 'are there'
            else:
                package.build(step, jobs)
                due = True
    with progress.step('index for apt', 'deb-index') as step:
        if due or not (place.out / 'Packages').exists():
            index(place, root, step)
        else:
            step.result = 'is there'
    return place, list(packages.values())
