#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpack noVNC's page below build/novnc: ./stack bench compares with that.

Nothing is installed: what Debian's package wants beside it is a server. Where it
can't be had that is told, and the page is not compared.
"""

import argparse
import shutil
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / 'scripts'
sys.path.insert(0, str(SCRIPTS))

from core import Layout, StackError         # noqa: E402
from fetch import Apt                       # noqa: E402

# it is the same on each release
SUITE = 'trixie'


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build-dir', required=True)
    parser.add_argument('--stamp', required=True, type=Path)
    args = parser.parse_args()
    # ./stack shows this as a step
    print('== noVNC', flush=True)
    layout = Layout(args.build_dir)
    novnc = layout.build / 'novnc'
    if not novnc.exists():
        new = layout.build / 'novnc.new'
        shutil.rmtree(new, ignore_errors=True)
        try:
            Apt(layout, SUITE).fetch_package('novnc', new)
        except StackError as error:
            print(f'warning: noVNC is not compared with: {error}')
        else:
            new.rename(novnc)
    args.stamp.touch()
    return 0


if __name__ == '__main__':
    sys.exit(main())
