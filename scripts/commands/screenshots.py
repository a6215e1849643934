# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack screenshots"""

import building
from building import execute
from core import ROOT


def command(add, options):
    add('screenshots', run,
        'take the pictures of the documentation again',
        'Build what is not built, and take the pictures in docs/images, of '
        'the real spicy, remote-viewer and browser.', parents=[options.common])


def run(layout, args):
    with layout.lock():
        building.build(layout, args, purposes=['check'])
    execute(layout, ROOT / 'tests' / 'e2e' / 'screenshots.py')
