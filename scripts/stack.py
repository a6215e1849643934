# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack: the command line, a thin driver over meson.build."""

import argparse
import contextlib
import errno
import os
import shutil
import signal
import sys
from pathlib import Path

import check
import chroot
import deb
import deb_own
import debian
import export
import fresh
import release
import repeat
import series
import sources
import web
from core import (
    ROOT, Layout, StackError, Upstream, load_upstreams, rel, with_words)
from progress import Logged, Progress

# in the order of the build graph; needs follow from `needs` in meson.build
BUILT = ['spice-protocol', 'spice', 'spice-gtk', 'spice-gateway',
         'spice-endpoints', 'spice-html5', 'qemu', 'libvirt', 'virt-viewer']
NEEDS = {'spice-protocol': [], 'spice': ['spice-protocol'],
         'spice-gtk': ['spice-protocol'],
         'spice-gateway': ['spice-protocol', 'spice'],
         'spice-endpoints': [], 'spice-html5': [],
         'qemu': ['spice-protocol', 'spice', 'spice-gtk'],
         'libvirt': [],
         'virt-viewer': ['spice-protocol', 'spice-gtk']}
# built when it is named, and for the tests that run it
OPTIONAL = ['libvirt', 'virt-viewer']
# not an upstream's: what is built is in this folder of the project
OURS = {'spice-gateway': 'gateway', 'spice-endpoints': 'haproxy'}
UPSTREAMS = ', '.join(name for name in BUILT if name not in OURS)


def report(error):
    print(f'\nerror: {error}', file=sys.stderr)
    if error.hint:
        print(f'  next: {error.hint}', file=sys.stderr)


# --- the way from nothing to everything built -------------------------------

def own_sources(args):
    own = {}
    for word in args.source or []:
        name, equals, directory = word.partition('=')
        if not equals or name not in BUILT or name in OURS:
            raise StackError(f'--source {word}: not of the form UPSTREAM=DIR',
                             'UPSTREAM is one of ' + UPSTREAMS)
        own[name] = directory
    return own


def chosen_layout(args):
    """Where things are, given --build-dir and --with."""
    versions = {}
    words = list(getattr(args, 'versions', None) or [])
    if not words:
        return Layout(args.build_dir)
    asked = [word.partition('=')[0] for word in words]
    follow = set()
    upstreams = {u.name: u for u in load_upstreams(Layout(versions={}))}
    while words:
        word = words.pop(0)
        name, equals, version = word.partition('=')
        known = sorted(p.parent.name for u in upstreams.values()
                       for p in u.series_dir.glob('*/series.toml')
                       if u.name == name)
        if not equals or version not in known:
            raise StackError(
                f'--with {word}: '
                + (f'the series of {name} is for '
                   + ' and '.join([upstreams[name].version, *known])
                   if equals and name in upstreams else
                   'not of the form UPSTREAM=VERSION'),
                'docs/developing.rst says how to add a version')
        versions[name] = version
        other = Upstream(Layout(versions=versions), name).config.get('with', [])
        words += other
        follow |= {word.partition('=')[0] for word in other}
    # what follows from a choice may be given as well: it's the same place
    asked = [name for name in asked if name not in follow]
    return Layout.with_versions(versions, asked, args.build_dir)


def plan(absent, names=None, tests=None, optional=()):
    """(whose source is needed, which of them are built in any case).

    absent are those whose source is not to be had.
    """
    # the tests look at every series, so at every source
    wanted = names or [name for name in BUILT if name not in absent
                       and (name not in OPTIONAL or name in optional
                            or tests is not None)]
    targets = [name for name in BUILT
               if any(name == n or name in NEEDS[n] for n in wanted)]
    return targets, [name for name in targets if name not in OPTIONAL
                     or name in optional or name in (names or [])]


def absent_sources(layout):
    return {u.name: u for u in load_upstreams(layout) if u.absent}


def build(layout, args, names=None, tests=None, full=False, optional=(),
          purposes=()):
    """Everything up to the built upstreams; returns the Progress.

    tests are suites and tests: what they need beside that is built too. Some
    packages are for a purpose of their own.
    """
    debian.check_path(layout)
    own = own_sources(args)
    absent = absent_sources(layout).keys() - own.keys()
    targets, always = plan(absent, names, tests, optional)
    release = debian.check_distribution(args.no_install)
    debian.check_disk(layout)
    packages = ([] if args.no_install
                else debian.missing(debian.wanted(release,
                                                  [*targets, *purposes])))
    suite, tools = debian.private_tools(layout, release)
    progress = Progress(layout, bool(packages) + bool(tools) + len(targets)
                        + len(always) + 1 + (tests is not None))
    if packages:
        print('Debian packages that are missing: ' + ' '.join(packages),
              flush=True)
        with progress.step(f'install {len(packages)} Debian packages',
                           'packages') as step:
            debian.install(packages, step)
    if tools:
        with progress.step(f'fetch {" and ".join(tools)} from {suite}, for '
                           'us only', 'tools') as step, Logged(step):
            debian.fetch_private_tools(layout, suite, tools)
    upstreams = load_upstreams(layout)
    for upstream in upstreams:
        if upstream.name in targets:
            with progress.step(f'source of {upstream.title}',
                               f'{upstream.name}-source') as step, \
                    Logged(step):
                step.result = sources.prepare(layout, upstream,
                                              own.get(upstream.name))
    graph = layout.obj / 'stack'
    env = debian.environment(layout)
    with progress.step('set up the build graph', 'graph') as step:
        if not (graph / 'build.ninja').exists():
            step.run(['meson', 'setup', graph, ROOT], env=env)
        else:       # again if a meson.build is newer: tests may be
            step.run(['ninja', '-C', graph, 'build.ninja'], env=env)
    more = [] if tests is None else [
        name for name in check.needs(
            graph, check.choose(graph, tests, env, full), env)
        if name not in absent]
    progress.total += len(more)
    run_graph(layout, progress, always[0],
              [*([] if names else ['all']),
               *(f'{name}.stamp' for name in always + more)], env)
    return progress


def run_graph(layout, progress, first, targets, env):
    """ninja for the whole graph; each upstream in it is a step."""
    # the outer ninja counts targets, which tells nobody anything
    env = dict(env, NINJA_STATUS='graph: ')
    titles = {u.name: u.title for u in load_upstreams(layout)}
    begun = []
    with progress.step(f'build {title_of(first, titles)}', 'build') as step:
        def note(line):
            if line.startswith('== processor '):
                step.processor = float(line.split()[2])
            elif line.startswith('== '):
                what = f'build {title_of(line[3:], titles)}'
                if begun:
                    step.next(what)
                begun.append(line[3:])
                step.detail = ''
            elif line.endswith(': configuring'):
                step.detail = 'configuring'
            else:
                step.note(line)
        status, lines = step.run(['ninja', '-C', layout.obj / 'stack',
                                  *targets], env=env, note=note, check=False)
        if status:
            build_failed(step, lines, begun)


def title_of(name, titles):
    """An upstream's title, or of a variant of it, "asan-qemu"."""
    if name in titles or name in OURS:
        return titles.get(name, name)
    variant, dash, upstream = name.partition('-')
    if not dash:
        return name             # it says itself what it is
    return f'{titles.get(upstream, upstream)} ({variant})'


def build_failed(step, lines, begun):
    """Say what an upstream's build ended with, and what to do about it."""
    told = [i for i, line in enumerate(lines)
            if line.startswith(('stack: error: ', 'error: '))]
    noise = ('ninja: build stopped', 'FAILED: ', 'graph: ', '/usr/bin/python3')
    lines = [line for line in lines[told[0] if told else 0:]
             if not line.startswith(noise)]
    if told:
        message, _, hint = '\n'.join(lines).partition('\n  next: ')
        raise StackError(message.split('error: ', 1)[1], hint)
    if not begun:
        step.failed(lines, ['ninja'], hint='if meson.build is right: '
                    'rm -r build/obj/stack, and again')
    name = begun[-1]
    log = step.progress.layout.log / f'{name}.log'
    name = name if name in BUILT else name.partition('-')[2]
    step.failed(
        lines, ['ninja'], log=log,
        hint='put right what it complains about, in '
        + (f'{OURS[name]}/' if name in OURS else
           f'{rel(step.progress.layout.src / name)} or in an overlay file')
        + ',\n  then the same command again: it goes on from '
        f'there. To begin {name} anew: ./stack clean'
        + f'{with_words(step.progress.layout.versions)} {name}')


# --- commands ---------------------------------------------------------------

def tell_absent(layout):
    for upstream in absent_sources(layout).values():
        print(upstream.absence, flush=True)


def cmd_build(layout, args):
    for name in args.upstream:
        if name not in BUILT:
            raise StackError(f"'{name}' is not built by itself",
                             'one of ' + ', '.join(BUILT))
    with layout.lock():
        progress = build(layout, args, args.upstream)
    if not args.upstream:
        tell_absent(layout)
    print(f'built in {progress.elapsed()}; it is in {rel(layout.prefix)}')
    return 0


def cmd_check(layout, args):
    if args.load and not args.repeat:
        raise StackError('--load is for --repeat: a check beside which the '
                         'machine is kept busy tells nothing about time',
                         './stack check --repeat 20 --load '
                         + ' '.join(args.what))
    if args.each_patch:
        with layout.testing():
            with layout.lock():
                build(layout, args, optional=OPTIONAL)
            tell_absent(layout)
            return check.each_patch(layout, args.what,
                                    debian.environment(layout))
    # another one must not replace what is tested, nor the results; so this
    # one is taken first, and the other lock is free again during the tests:
    # they run ./stack, too
    with layout.testing():
        what = [repeat.split(word)[0] for word in args.what]
        with layout.lock():
            progress = build(layout, args, tests=what, full=args.full,
                             purposes=['check'] + (
                                 ['full'] if args.full or what else []))
            env = debian.environment(layout)
            chosen = check.choose(layout.obj / 'stack', what, env, args.full)
            if args.full and not what:
                build_packages(layout, progress, chosen)
        tell_absent(layout)
        if args.repeat:
            return repeat.run(layout, env, chosen, args.what, args.repeat,
                              args.load, args.full)
        if any(repeat.split(word)[1] for word in args.what):
            return repeat.run(layout, env, chosen, args.what, 1, False,
                              args.full)
        return check.run(layout, progress, env, chosen, args.full,
                         whole=not what, again=args.again)


def cmd_release(layout, args):
    # no lock: what it runs takes them
    return release.run(layout, args.gate, args.again, args.list)


def cmd_fresh(layout, args):
    chroot.need_root('fresh')
    command = args.args[1:] if args.args[:1] == ['--'] else args.args
    if not command:
        raise StackError('there is no command to run in the clone',
                         './stack fresh trixie ./stack demo')
    with layout.lock():
        packages = debian.missing(fresh.TOOLS)
        progress = Progress(layout, bool(packages) + 1)
        if packages:
            with progress.step(f'install {" ".join(packages)}',
                               'packages') as step:
                debian.install(packages, step)
        return fresh.run(layout, args.release, command, progress)


def cmd_fuzz(layout, args):
    with layout.lock():
        build(layout, args, tests=['fuzz'], purposes=['full'])
    sys.stdout.flush()
    run = ROOT / 'tests' / 'fuzz' / 'run.py'
    os.execve('/usr/bin/python3',
              ['python3', str(run), '--build-dir', str(layout.build),
               '--time', str(args.time), *args.target],
              debian.environment(layout))


def cmd_bench(layout, args):
    with layout.testing() as testing:
        with layout.lock():
            build(layout, args, optional=['libvirt'], purposes=['bench'])
        sys.stdout.flush()
        bench = ROOT / 'tests' / 'bench' / 'bench.py'
        words = args.args[1:] if args.args[:1] == ['--'] else args.args
        # held until that ends
        os.set_inheritable(testing.fileno(), True)
        os.execve('/usr/bin/python3', ['python3', str(bench), *words],
                  dict(debian.environment(layout),
                       SPICE_POWER_BUILD=str(layout.build)))


def cmd_demo(layout, args):
    with layout.lock():
        build(layout, args, optional=['libvirt'] if args.libvirt or args.gateway
              else ())
    sys.stdout.flush()
    demo = (ROOT / 'tests' / 'e2e'
            / ('demo_gateway.py' if args.gateway else
               'demo_domain.py' if args.libvirt else 'demo.py'))
    os.execve('/usr/bin/python3',
              ['python3', str(demo),
               *(['--interactive'] if args.interactive else [])],
              dict(debian.environment(layout),
                   SPICE_POWER_BUILD=str(layout.build)))


def cmd_screenshots(layout, args):
    with layout.lock():
        build(layout, args, purposes=['check'])
    sys.stdout.flush()
    os.execve('/usr/bin/python3',
              ['python3', str(ROOT / 'tests' / 'e2e' / 'screenshots.py')],
              dict(debian.environment(layout),
                   SPICE_POWER_BUILD=str(layout.build)))


def run_environment(layout):
    env = debian.environment(layout)
    prefix = layout.prefix
    for name, path in (('PATH', prefix / 'bin'),
                       ('LD_LIBRARY_PATH', prefix / 'lib'),
                       ('GI_TYPELIB_PATH', prefix / 'lib/girepository-1.0'),
                       ('MANPATH', prefix / 'share/man')):
        env[name] = f'{path}:{env.get(name, "")}'.rstrip(':')
    env['MANPATH'] += ':'                # and the system's
    return env


def need_built(path):
    if not path.exists():
        raise StackError(f'{rel(path)} is not built yet', './stack build')


def cmd_run(layout, args):
    qemu = layout.prefix / 'bin' / 'qemu-system-x86_64'
    need_built(qemu)
    words = args.args[1:] if args.args[:1] == ['--'] else args.args
    if args.web:
        return web.run(layout, qemu, words, run_environment(layout))
    os.execve(qemu, [str(qemu), *words], run_environment(layout))


def cmd_shell(layout, args):
    need_built(layout.prefix / 'bin')
    shell = os.environ.get('SHELL') or '/bin/sh'
    words = args.args[1:] if args.args[:1] == ['--'] else args.args
    env = run_environment(layout)
    if words:
        os.execvpe(words[0], words, env)
    print(f'{rel(layout.prefix)}/bin is first in PATH; `exit` leaves')
    os.execve(shell, [shell], env)


def cmd_refresh(layout, args):
    failed = False
    with layout.lock():
        for upstream in load_upstreams(layout, args.upstream):
            if (upstream.name in OPTIONAL and not args.upstream
                    and not upstream.repo.exists()):
                continue
            try:
                if args.resume:
                    for repo in upstream.repos:
                        series.continue_series(upstream, repo)
                for path in series.refresh(upstream):
                    print(path)
            except StackError as e:
                report(e)
                failed = True
    return 1 if failed else 0


def fetch_sources(layout, names, no_install):
    """Have the sources of these series in build/src; nothing is built."""
    every = load_upstreams(layout)
    due = [u for u in every if not u.absent and not u.embedded_in
           and not (u.repo / '.git').is_dir()
           and (not names or u.name in names or any(
               u.name in inner.embedded_in for inner in every
               if inner.name in names))]
    if not due:
        return
    packages = [] if no_install else debian.missing(debian.FETCHING)
    progress = Progress(layout, bool(packages) + len(due))
    if packages:
        with progress.step(f'install {" ".join(packages)}',
                           'packages') as step:
            debian.install(packages, step)
    for upstream in due:
        with progress.step(f'source of {upstream.title}',
                           f'{upstream.name}-source') as step, Logged(step):
            step.result = sources.prepare(layout, upstream)


def cmd_export(layout, args):
    output = Path(args.output) if args.output else layout.build / 'export'
    upstreams = load_upstreams(layout, args.upstream)
    debian.check_path(layout)
    with layout.lock():
        fetch_sources(layout, args.upstream, args.no_install)
        for upstream in upstreams:
            if upstream.absent:
                if args.upstream:
                    raise StackError(
                        upstream.absence, './stack build'
                        f'{upstream.with_words} --source {upstream.name}=DIR '
                        f'{upstream.name}')
                print(f'{upstream.name}: left out, {upstream.absence}')
                continue
            count = export.export(upstream, output / upstream.name)
            print(f'{rel(output / upstream.name)}: {count} patches and a '
                  'cover letter')
    return 0


def cmd_deb(layout, args):
    chroot.need_root('deb')
    names = deb.needed(args.upstream)
    debian.check_distribution(args.no_install)
    with layout.lock():
        deb.check_disk(deb.Place(layout))
        packages = [] if args.no_install else debian.missing(deb.TOOLS)
        progress = Progress(layout, bool(packages) + 2 * len(names) + 2)
        if packages:
            with progress.step(f'install {len(packages)} Debian packages',
                               'packages') as step:
                debian.install(packages, step)
        deb.check_tools()
        place, built = deb.build(layout, args.upstream, progress)
    for package in built:
        print(f'{package.name} {package.version}: '
              + ' '.join(package.wanted()))
    print(f'built in {progress.elapsed()}; for {deb.NAME}, in {rel(place.out)}; '
          'docs/packages.rst says\nhow to install them. ./stack check deb '
          'tries that out.')
    return 0


def build_packages(layout, progress, chosen):
    """The Debian packages, for the test of them; what is built stays."""
    tests = {t['name'] for t in chosen}
    if not tests & {'packages', 'packages-own'}:
        return
    names = [] if 'packages' in tests else list(deb_own.FOLDERS)
    if os.geteuid():
        print('the packages are not built: that needs root (./stack deb)')
        return
    deb.check_disk(deb.Place(layout))
    progress.total += 2 * len(deb.needed(names)) + 2
    deb.build(layout, names, progress)


def keep_work(layout, names):
    """Complain if a source, of those upstreams or any, has work in it."""
    # where sources are is the same for all versions, and a build may be of one
    # that the project does not have any more
    for u in load_upstreams(Layout(layout.build, {})):
        for repo in u.repos:
            host = repo.relative_to(layout.src).parts[0]
            if names and host not in names:
                continue
            work = (repo / '.git').is_dir() and series.local_work(u, repo)
            if work:
                raise StackError(
                    f'{rel(repo)} has work that is nowhere else: '
                    + ', '.join(work[:6]),
                    f'./stack refresh{with_words(layout.versions)} keeps it '
                    'in patches/; --force deletes it')


def cmd_clean(layout, args):
    for name in args.upstream:
        if name not in BUILT:
            raise StackError(f"'{name}' is not built by itself",
                             'one of ' + ', '.join(BUILT))
    # what --all deletes is the builds with other versions, too
    builds = [layout.build]
    if args.all:
        builds += sorted(p for p in layout.build.glob('with/*') if p.is_dir())
    with contextlib.ExitStack() as locks:
        for build in builds:
            locks.enter_context(Layout(build, {}).lock())
            if (args.all or args.upstream) and not args.force:
                keep_work(Layout(build), args.upstream)
        if args.upstream:
            gone = [d / name for name in args.upstream
                    for d in (layout.obj, layout.src)]
            gone += [p for name in args.upstream for p in
                     layout.obj.glob(f'*-{name}')
                     if p.name not in BUILT]
        elif args.all:
            gone = [p for p in layout.build.iterdir()
                    if p.name not in ('.lock', '.tests.lock')]
        else:
            gone = [layout.obj, layout.prefix, layout.log,
                    layout.build / 'deb',
                    *layout.build.glob('prefix-*')]
        for path in gone:
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.exists():
                print(f'removing {rel(path)}')
                shutil.rmtree(path)
    return 0


def parse(argv):
    versions = argparse.ArgumentParser(add_help=False)
    versions.add_argument(
        '--with', action='append', dest='versions', metavar='UPSTREAM=VERSION',
        help='with another version of an upstream than the default one, '
             'qemu=10.2 or spice=0.16; all of it is then below build/with')
    common = argparse.ArgumentParser(add_help=False, parents=[versions])
    common.add_argument(
        '--source', action='append', metavar='UPSTREAM=DIR',
        help='build from a copy of your own checkout, which is not touched; '
             'the series is applied to the copy. UPSTREAM is one of '
             + UPSTREAMS)
    common.add_argument(
        '--no-install', action='store_true',
        help='never install a Debian package, and go on with an unknown '
             'distribution')

    parser = argparse.ArgumentParser(
        prog='./stack', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Power control for SPICE: build the whole chain, try it, '
                    'test it, change it.',
        epilog='./stack COMMAND --help tells more. Everything is made below '
               'build/, and what is\ndone is not done again. See README.rst '
               'and docs/developing.rst.')
    parser.add_argument('--build-dir', metavar='DIR',
                        help='where everything is made (default: build)')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND',
                                     required=True)

    def add(name, run, text, description=None, **kw):
        p = commands.add_parser(name, help=text,
                                description=description or text, **kw)
        p.set_defaults(run=run)
        return p

    p = add('demo', cmd_demo, 'build, boot a guest, drive it with spicy-power',
            'Build what is not built, boot a small Linux guest in the patched '
            'QEMU, and reset, pause, power off and power on it with a SPICE '
            'client, showing what happens. Exits 0 if all of it was seen.',
            parents=[common])
    p.add_argument('--interactive', action='store_true',
                   help='leave the guest running, and say how to connect')
    p.add_argument('--libvirt', action='store_true',
                   help='build libvirt too, and show a libvirt domain, with '
                        'virsh on the other side')
    p.add_argument('--gateway', action='store_true',
                   help='build libvirt too, and show a libvirt domain that is '
                        'off, and is powered on by the client that then sees '
                        'it, through spice-gateway')
    p = add('check', cmd_check, 'build, and run every test there is',
            'Build what is not built and run the tests. The last line says '
            'how many passed, failed and were skipped.', parents=[common])
    p.add_argument('what', nargs='*', metavar='SUITE|TEST[:CASE]',
                   help='only these (default: all); see docs/developing.rst')
    p.add_argument('--full', action='store_true',
                   help='everything: with sanitizers, fuzzers, all tests of '
                        'libvirt, the packages, long rounds (up to three '
                        'hours). What has passed on this very tree is not run '
                        'again, so it can be interrupted')
    p.add_argument('--again', action='store_true',
                   help='with --full: run also what has passed')
    p.add_argument('--repeat', type=int, metavar='N',
                   help='run the tests N times, and tell how often each passed')
    p.add_argument('--load', action='store_true',
                   help='with --repeat: keep all processors busy meanwhile')
    p.add_argument('--each-patch', action='store_true',
                   help='in place of the usual tests: build every patch of '
                        'every series on its own (takes long)')
    p = add('release', cmd_release, 'run every gate of a release',
            'Run the gates that have not passed on the commit that is checked '
            'out, one after the other, and write docs/release.rst and '
            'docs/release.json. It takes most of a day, and goes on where it '
            'was stopped.')
    p.add_argument('gate', nargs='*', metavar='GATE',
                   help='only these (default: all)')
    p.add_argument('--list', action='store_true',
                   help='say which there are, with their commands and results')
    p.add_argument('--again', action='store_true',
                   help='also those that have passed')
    p = add('fresh', cmd_fresh, 'run a command on a Debian as it is installed',
            'Make a minimal Debian below build/fresh, with a clone of the '
            'commit that is checked out, and run a command in that clone: '
            './stack fresh trixie ./stack demo. Needs root.')
    p.add_argument('release', metavar='RELEASE',
                   help=' or '.join(debian.RELEASES))
    p.add_argument('args', nargs=argparse.REMAINDER, metavar='COMMAND')
    p = add('fuzz', cmd_fuzz, 'look for inputs that crash server or client',
            'Build what is not built and run the fuzzers of tests/fuzz, one '
            'after the other. Prints the figures; exits 1 if one of them found '
            'something, and says how to run it again. What they find on the '
            'way is in build/fuzz, the next run goes on from there.',
            parents=[common])
    p.add_argument('--time', type=int, default=3600, metavar='SECONDS',
                   help='for so long in all (default: an hour)')
    p.add_argument('target', nargs='*', metavar='TARGET',
                   help='only these of server, client, link, '
                        'demarshal-server, demarshal-client, proxy')
    p = add('bench', cmd_bench, 'measure latency, and what it costs',
            'Build what is not built, and measure. For figures that mean '
            'something the machine should have nothing else to do. `./stack '
            'bench -- --help` tells what there is to measure.',
            parents=[common])
    p.add_argument('args', nargs=argparse.REMAINDER, metavar='ARGS')
    p = add('build', cmd_build, 'fetch, patch and build',
            'Install the packages that are missing, fetch the sources, apply '
            'the series, build and install into build/prefix.',
            parents=[common])
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only this one, and what it needs (default: all)')
    add('screenshots', cmd_screenshots,
        'take the pictures of the documentation again',
        'Build what is not built, and take the pictures in docs/images, of '
        'the real spicy, remote-viewer and browser.', parents=[common])
    p = add('run', cmd_run, 'run the patched QEMU',
            'Run the patched qemu-system-x86_64; it finds its firmware. '
            'Example: ./stack run -- -m 512 -spice port=5900,'
            'disable-ticketing=on,power=on')
    p.add_argument('--web', action='store_true',
                   help='have its console in a browser on this computer: '
                        'prints the address and a password, and ends with QEMU')
    p.add_argument('args', nargs=argparse.REMAINDER, metavar='-- QEMU ARGS')
    p = add('shell', cmd_shell, 'a shell with build/prefix in front',
            'A shell (or the given command) that finds the programs, '
            'libraries and man pages of build/prefix first.')
    p.add_argument('args', nargs=argparse.REMAINDER, metavar='-- COMMAND')
    p = add('refresh', cmd_refresh,
            'write patches/ and the overlay files from build/src',
            'Write patches/UPSTREAM/*.patch and the overlay files from the '
            'commits in build/src/UPSTREAM. Edits of overlay files, here or '
            'there, are folded into the commits that add them.',
            parents=[versions])
    p.add_argument('--continue', dest='resume', action='store_true',
                   help='after a patch that did not apply was finished by '
                        'hand: apply the rest first')
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only these (default: all)')
    p = add('export', cmd_export,
            'write each series as its upstream wants it',
            'Write what is sent to each upstream: the patches, complete with '
            'their new files, and a cover letter, whose text is '
            'patches/UPSTREAM/cover.txt. Sources that are not there are fetched; '
            'nothing is built. docs/developing.rst says how to send '
            'them.', parents=[versions])
    p.add_argument('--output', metavar='DIR',
                   help='into DIR/UPSTREAM (default: build/export)')
    p.add_argument('--no-install', action='store_true',
                   help='do not install what fetching a source needs: '
                        + ', '.join(debian.FETCHING))
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only these (default: all)')
    p = add('deb', cmd_deb, 'build Debian packages of it',
            f'Build packages for {deb.NAME} from Debian\'s own source packages '
            'with the series in them, which replace the stock ones, and of '
            'spice-gateway and spice-endpoints. They are built in a Debian of its own below build/deb, as root; nothing '
            'is installed on this machine. docs/packages.rst says how to '
            'install them and how to go back.')
    p.add_argument('--no-install', action='store_true',
                   help='do not install what this itself needs: '
                        + ', '.join(deb.TOOLS))
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only those of ' + ', '.join(deb.NEEDS)
                        + ', and what they need (default: all)')
    p = add('clean', cmd_clean, 'remove what was built',
            'Remove what was built. The sources and downloads stay, unless '
            'an upstream is named (its source goes too) or --all is given.',
            parents=[versions])
    p.add_argument('--all', action='store_true',
                   help='sources, downloads and private tools too')
    p.add_argument('--force', action='store_true',
                   help='even if build/src has work that is nowhere else')
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM')
    args, unknown = parser.parse_known_args(argv)
    if unknown and args.run is not cmd_bench:
        parser.error(f'unrecognized arguments: {" ".join(unknown)}')
    if unknown:         # bench.py's options, without -- before them
        args.args = [*unknown, *args.args]
    return args


def refused(error, args):
    """A StackError for what the system does not let us do."""
    path = error.filename and Path(str(error.filename))
    build = Layout(args.build_dir).build
    hint = 'put that right, then the same command again: it goes on from there'
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        hint = (f'make room where {build} is, or have it elsewhere: '
                '--build-dir DIR')
    elif path and error.errno in (errno.EACCES, errno.EPERM):
        if path.is_relative_to(build / 'deb'):
            hint = ('the same command with sudo: that is a Debian, in which '
                    "files have to\n  be root's")
        elif path.is_relative_to(build):
            hint = (f'if sudo ./stack made it: sudo find {rel(build)} -path '
                    f'{rel(build / "deb")} -prune -o -user root -exec chown '
                    '-h "$(id -un):" {} +\n  then the same command again')
    return StackError((f'{rel(path)}: ' if path else '')
                      + (error.strerror or str(error)), hint)


def main(argv):
    args = parse(argv)
    layout = None
    # as Ctrl-C does: what it runs is ended, and locks are given back
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    try:
        layout = chosen_layout(args)
        return args.run(layout, args)
    except StackError as e:
        report(e)
        return 1
    except BrokenPipeError:
        # nobody reads any more: nor what Python writes when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:
        report(refused(e, args))
        return 1
    except KeyboardInterrupt:
        print('\ninterrupted; the same command goes on from here',
              file=sys.stderr)
        return 130
    finally:
        if layout:
            layout.give_back()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
