# SPDX-License-Identifier: GPL-2.0-or-later
"""The way from nothing to everything built."""

import os
import sys

import check
import debian
import sources
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


def tell_absent(layout):
    for upstream in absent_sources(layout).values():
        print(upstream.absence, flush=True)


def build(layout, args, names=None, tests=None, full=False, optional=(),
          purposes=(), also=()):
    """Everything up to the built upstreams; returns the Progress.

    tests are suites and tests: what they need beside that is built too, and so
    are the targets in also. Some packages are for a purpose of their own.
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
    more = [*also, *([] if tests is None else [
        name for name in check.needs(
            graph, check.choose(graph, tests, env, full), env)
        if name not in absent])]
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


def check_names(names):
    """Complain about what is none of BUILT."""
    for name in names:
        if name not in BUILT:
            raise StackError(f"'{name}' is not built by itself",
                             'one of ' + ', '.join(BUILT))


def after_dashes(words):
    """What is for another program, without the -- in front of it."""
    return words[1:] if words[:1] == ['--'] else words


def execute(layout, script, *words):
    """Become that program of the project's, which uses what was built."""
    sys.stdout.flush()
    os.execve('/usr/bin/python3', ['python3', str(script), *words],
              dict(debian.environment(layout),
                   SPICE_POWER_BUILD=str(layout.build)))
