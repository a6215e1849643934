# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack bench"""

import argparse
import os

import building
from building import after_dashes, execute
from core import ROOT


def command(add, options):
    p = add('bench', run, 'measure latency, and what it costs',
            'Build what is not built, and measure. For figures that mean '
            'something the machine should have nothing else to do. `./stack '
            'bench -- --help` tells what there is to measure.',
            parents=[options.common])
    p.add_argument('args', nargs=argparse.REMAINDER, metavar='ARGS')


def run(layout, args):
    with layout.testing() as testing:
        with layout.lock():
            building.build(layout, args, optional=['libvirt'],
                           purposes=['bench'], also=['novnc'])
        # held until that ends
        os.set_inheritable(testing.fileno(), True)
        execute(layout, ROOT / 'tests' / 'bench' / 'bench.py',
                *after_dashes(args.args))
