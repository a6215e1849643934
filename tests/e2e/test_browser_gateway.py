#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt domain that is off, powered on in a browser that then sees it.

spice-gateway and QEMU are behind HAProxy with web.cfg, whose map
spice-endpoints keeps, and are told where clients are. All of it is as it is
shipped.
"""

import contextlib
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, browser, case, endpoint, places  # noqa: E402
from powertest.hypervisor import PASSWORD, Hypervisor       # noqa: E402
from powertest.web import DOMAIN, PAGES, Web                # noqa: E402
from test_browser import NO_CONNECTION, BrowserCase         # noqa: E402


class Domains(BrowserCase):
    # where it goes, and comes back from, there may be nobody for a moment
    excused = NO_CONNECTION

    def setUp(self):
        super().setUp()
        self.host = Hypervisor(
            self.log_dir, self.enterContext(contextlib.ExitStack()),
            qemu_conf='spice_proxies = [ "127.0.0.1" ]\n')
        self.web = Web(self.log_dir, self.host.tls)
        self.web.gateway = self.host.gateway.directory / 'proxy'
        self.enterContext(self.web)
        self.printed, _, _ = endpoint.following(self, list(map(str, (
            endpoint.PROGRAM, '--libvirt', self.host.libvirt.uri, '--suffix',
            DOMAIN, '--proxy', '--off', 'gateway', '--socket', self.web.socket,
            '--follow', self.web.map))), places.environment())

    def test_round_trip(self):
        """Off, Power On, the guest's screen, and off again: one page"""
        vm = self.host.domain('vm1')
        self.printed.wait(lambda line: f' vm1.{DOMAIN} gateway' in line, 'vm1')
        self.host.wait_there('vm1')
        page = self.opened_page(self.web.url('vm1'), PASSWORD)
        boot = 0
        for _ in range(2):
            page.wait_state('Powered off')
            page.click('#off-power-on')
            vm.follow()
            page.wait_state('Running')
            page.wait_shown('#spice_surface_0')
            vm.wait_tick(vm.wait_boot(boot, 120), timeout=120)
            boot = vm.console.mark
            # it is QEMU that answers
            log = self.host.libvirt.log.mark
            page.press('pause')
            page.wait_state('Paused')
            self.assertEqual(vm.state, ('paused', 'graphics client'))
            asked = self.host.libvirt.log.wait(re.compile(
                'op=pause reason=spice-client').search, 'who it was', log)
            page.press('continue')
            page.wait_state('Running')
            page.press('power-off')
            page.wait_shown('#off')
            vm.wait_state('shut off')
            # and that was the browser, whose connection HAProxy has had
            client, = re.findall(' client="?(.*?)"? tls=yes', asked)
            self.web.log.wait(lambda line: line.startswith(f'{client} GET '),
                              'its connection')
        self.assertTrue(page.is_same)


if __name__ == '__main__':
    case.main(lambda: (places.need(bmc.GATEWAY, PAGES / 'console.html'),
                       endpoint.prepare(), browser.need()))
