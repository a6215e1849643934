#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run an upstream's own test suite, or one of ours; print each test in TAP.

A test that is known to fail with the unpatched source (known-failures.toml)
is reported as skipped, with the reason, when it fails.

With --variant these are the tests of another build, made with sanitizers. What
they find fails the test; tests/sanitize has what they are not to report, which
is there without our patches too, each with the reason.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import check                                            # noqa: E402
import debian                                           # noqa: E402
import tap                                              # noqa: E402
from core import Layout, load_upstreams                 # noqa: E402
from powertest import netns                             # noqa: E402
from upstream import OURS, TEST_ENV, TEST_TARGETS       # noqa: E402

TAIL = 30
# ThreadSanitizer of gcc 12 does not cope with as much as newer kernels do
NO_RANDOMIZATION = ['setarch', '-R']


def sanitizers(upstream, leaks):
    """The environment of programs that are built with sanitizers."""
    folder = ROOT / 'tests' / 'sanitize'
    lsan = folder / f'lsan-{upstream}.supp'
    if not lsan.exists():
        lsan = folder / 'lsan.supp'
    return {
        'ASAN_OPTIONS': 'detect_stack_use_after_return=0:'
                        f'detect_leaks={int(leaks)}:'
                        'allocator_may_return_null=1',
        'LSAN_OPTIONS': f'suppressions={lsan}:'
                        'print_suppressions=0',
        'TSAN_OPTIONS': f'suppressions={folder}/tsan.supp:'
                        'history_size=4:second_deadlock_stack=1',
        'UBSAN_OPTIONS': f'suppressions={folder}/ubsan.supp:'
                         'halt_on_error=1:print_stacktrace=1',
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('upstream')
    parser.add_argument('--in', dest='host', help='the build it is part of')
    parser.add_argument('--variant', help='of another build of it: asan, tsan')
    parser.add_argument('--no-leaks', action='store_true',
                        help='do not look for leaks')
    parser.add_argument('--skip', metavar='TESTPATH: REASON',
                        help='a part of a GLib test that is left out')
    parser.add_argument('--suite', action='append', default=[])
    parser.add_argument('--only', action='append', metavar='TEST',
                        help='of those that are named, just this one')
    parser.add_argument('tests', nargs='*', help='only these')
    args = parser.parse_intermixed_args()
    layout = Layout(os.environ.get('SPICE_POWER_BUILD'))
    if args.upstream not in OURS:
        upstream, = load_upstreams(layout, [args.upstream])
        if upstream.absent:
            print(f'1..0 # SKIP {upstream.absence}')
            return 0
    build = layout.obj / '-'.join(
        filter(None, [args.variant, args.host or args.upstream]))
    with open(ROOT / 'tests' / 'upstream' / 'known-failures.toml', 'rb') as f:
        known = tomllib.load(f).get(args.upstream, {})
    skips = known.pop('skips', {})

    shared = netns.alone()
    if shared:
        tap.note(shared)
    env = debian.environment(layout)
    # what a desktop or a build bot around us says must not matter
    for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'DBUS_SESSION_BUS_ADDRESS',
                 'MESON_TESTTHREADS', 'SPICE_DEBUG_ALLOW_MC', 'G_DEBUG'):
        env.pop(name, None)
    env.update(TEST_ENV.get(args.upstream, {}))
    if args.variant:
        env.update(sanitizers(args.upstream, not args.no_leaks))
    meson = (build / 'pyvenv' / 'bin' / 'meson'
             if (build / 'pyvenv').is_dir() else 'meson')
    if args.upstream in TEST_TARGETS:
        subprocess.run(['ninja', '-C', str(build),
                        *TEST_TARGETS[args.upstream]], env=env, check=True,
                       stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    skip, _, reason = (args.skip or '').partition(': ')
    # "libvirt" and "libvirt-all" may run side by side
    some = args.suite or args.only or args.tests
    name = f'{args.upstream}-{"tests" if some else "all-tests"}'
    command = [*(NO_RANDOMIZATION if args.variant == 'tsan' else []),
               str(meson), 'test', '-C', str(build), '--logbase', name,
               '--num-processes', str(os.cpu_count()),
               # an upstream's own limits are for a machine that has nothing
               # else to do; sanitizers take longer on any
               '--timeout-multiplier', '10' if args.variant else '3',
               *(['--test-args', f'-s {skip}'] if skip else []),
               *(() if args.only else
                 (word for s in args.suite for word in ('--suite', s))),
               *(args.only or args.tests)]
    log = build / 'meson-logs' / f'{name}.json'
    log.unlink(missing_ok=True)
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    output = done.stdout.decode(errors='replace')
    if not log.exists():
        print(output)
        print(f'Bail out! {" ".join(command)} did not run')
        return 1

    number = failed = explained = 0
    for line in log.read_text(errors='replace').splitlines():
        entry = json.loads(line)
        number += 1
        # "spice:server / test-power", or without a suite "spice / test-power"
        title = entry['name'].split(' / ')[-1].split(':')[-1].strip()
        count = check.Count()
        text = check.add_result(entry, count)
        if not count.failed:
            if count.passed or not count.skipped:
                print(f'ok {number} - {title}')
            else:
                print(f'ok {number} - {title} # SKIP '
                      f'{skips.get(title, count.skipped[0][1])}')
        elif title in known:
            explained += 1
            print(f'ok {number} - {title} # SKIP fails without our patches '
                  f'too: {known[title]}')
        else:
            failed += 1
            for line in (text or '').strip().splitlines()[-TAIL:]:
                print(f'# {line}')
            print(f'not ok {number} - {title}')
        print(tap.TOOK.format(entry.get('duration', 0)))
    if skip and number:
        number += 1
        print(f'ok {number} - {skip} # SKIP {reason}')
    print(f'1..{number}\n{tap.PROCESSOR.format(tap.processor_time())}')
    if not number:
        print('Bail out! no test was run')
        return 1
    # it is the number of tests that have failed
    if not failed and done.returncode not in (0, explained):
        print(output)
        print(f'Bail out! meson test: exit status {done.returncode}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
