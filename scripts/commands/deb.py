# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack deb"""

import chroot
import deb
import debian
from core import rel
from progress import Progress


def command(add, options):
    p = add('deb', run, 'build Debian packages of it',
            f'Build packages for {deb.NAME} from Debian\'s own source packages '
            'with the series in them, which replace the stock ones, and of '
            'spice-gateway and spice-endpoints. They are built in a Debian of '
            'its own below build/deb, as root; nothing is installed on this '
            'machine. docs/packages.rst says how to install them and how to go '
            'back.')
    p.add_argument('--no-install', action='store_true',
                   help='do not install what this itself needs: '
                        + ', '.join(deb.TOOLS))
    p.add_argument('upstream', nargs='*', metavar='UPSTREAM',
                   help='only those of ' + ', '.join(deb.NEEDS)
                        + ', and what they need (default: all)')


def run(layout, args):
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
