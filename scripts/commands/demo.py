# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack demo"""

import building
from building import execute
from core import ROOT


def command(add, options):
    p = add('demo', run, 'build, boot a guest, drive it with spicy-power',
            'Build what is not built, boot a small Linux guest in the patched '
            'QEMU, and reset, pause, power off and power on it with a SPICE '
            'client, showing what happens. Exits 0 if all of it was seen.',
            parents=[options.common])
    p.add_argument('--interactive', action='store_true',
                   help='leave the guest running, and say how to connect')
    p.add_argument('--libvirt', action='store_true',
                   help='build libvirt too, and show a libvirt domain, with '
                        'virsh on the other side')
    p.add_argument('--gateway', action='store_true',
                   help='build libvirt too, and show a libvirt domain that is '
                        'off, and is powered on by the client that then sees '
                        'it, through spice-gateway')


def run(layout, args):
    with layout.lock():
        building.build(layout, args, optional=['libvirt']
                       if args.libvirt or args.gateway else ())
    execute(layout, ROOT / 'tests' / 'e2e'
            / ('demo_gateway.py' if args.gateway else
               'demo_domain.py' if args.libvirt else 'demo.py'),
            *(['--interactive'] if args.interactive else []))
