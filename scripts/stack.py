# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack: the command line; each command is a module in commands/."""

import argparse
import errno
import importlib
import os
import signal
import sys
from pathlib import Path

from building import UPSTREAMS, chosen_layout
from core import Layout, StackError, complain, rel

# in the order of --help
COMMANDS = ['demo', 'check', 'release', 'fresh', 'fuzz', 'bench', 'build',
            'screenshots', 'run', 'shell', 'refresh', 'export', 'deb', 'clean']


def options():
    """What several commands take: .common, and .versions, a part of it."""
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
    return argparse.Namespace(versions=versions, common=common)


def parse(argv):
    parser = argparse.ArgumentParser(
        prog='./stack', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Power control for SPICE: build the whole chain, try it, '
                    'test it, change it.',
        epilog='./stack COMMAND --help tells more. Everything is made below '
               'build/, and what is\ndone is not done again. See README.rst '
               'and docs/developing.rst.')
    parser.add_argument('--build-dir', metavar='DIR',
                        help='where everything is made (default: build)')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND',
                                        required=True)

    def add(name, run, text, description=None, **kw):
        p = subparsers.add_parser(name, help=text,
                                  description=description or text, **kw)
        p.set_defaults(run=run)
        return p

    shared = options()
    for name in COMMANDS:
        importlib.import_module(f'commands.{name}').command(add, shared)
    args, unknown = parser.parse_known_args(argv)
    if unknown and args.command != 'bench':
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
        complain(e)
        return 1
    except BrokenPipeError:
        # nobody reads any more: nor what Python writes when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:
        complain(refused(e, args))
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
