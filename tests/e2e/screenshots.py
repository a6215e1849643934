#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The documentation's pictures: of the real spicy, remote-viewer and browser.

They are written to docs/images: look at what git says about them, and commit
them if they show something new. The guest's screen is another one each time.
Those of remote-viewer, and of a domain of libvirt's, are taken if these have
been built.
"""

import argparse
import contextlib
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, browser, desktop, endpoint, places   # noqa: E402
from powertest.hypervisor import PASSWORD, Hypervisor       # noqa: E402
from powertest.libvirt import VIRSH             # noqa: E402
from powertest.machine import GUEST, Machine, end_cleanly   # noqa: E402
from powertest.manager import Manager           # noqa: E402
from powertest.record import TIMEOUT            # noqa: E402
from powertest.tls import Authority             # noqa: E402
from powertest.web import DOMAIN, Page, PAGES, Web      # noqa: E402
from powertest.x11 import Box                   # noqa: E402

VIEWER = places.PREFIX / 'bin' / 'remote-viewer'
NAME = 'db-1'
DOMAIN_NAME = 'vm1'
SETTINGS = '[general]\nscaling=false\n'
REFUSAL = 'Not before 18:00, a backup is being made'
DARK = 46
# A host that is on, and a VNC server that is not there
NO_VIDEO = {'power': {'backend': 'exec'},
            'exec': {'status': 'echo on', 'reset': 'true', 'power-off': 'true'},
            'vnc': {'host': '127.0.0.1', 'port': 1}}


class Photographer:
    program_name = 'spicy'
    first_status = 'Running'

    def __init__(self, desk, uri, directory):
        self.desk = desk
        self.directory = directory
        self.program = desk.run(places.PREFIX / 'bin' / self.program_name,
                                *self.arguments(uri))
        self.shown = self.program.shown
        self.frame = self.shown.find('frame', active=True)
        self.wait_status(self.first_status)

    def arguments(self, uri):
        return f'--uri={uri}', f'--title={NAME}', '--reconnect'

    def wait_status(self, text):
        self.shown.find('status bar', f'Power state: {text}')

    def choose(self, item):
        self.program.click('menu', 'Power')
        self.program.click('menu item', item)

    def confirm(self, item):
        alert = self.shown.find('alert', active=True)
        self.program.click('button', item, under=alert)

    def wait_dark(self):
        """Until the display has the background of spice-gateway's messages."""
        deadline = time.monotonic() + TIMEOUT
        dark = 0
        while dark < 0.8:
            if time.monotonic() > deadline:
                raise RuntimeError('the display has no message')
            place = self.program.extents(self.shown.find('drawing area'))
            red = self.desk.screen.picture(place).data[::3]
            dark = red.count(DARK) / len(red)

    def picture(self, name):
        """The window with its frame, and what is above it."""
        box = self.program.extents(self.frame)
        path = self.directory / f'{self.program_name}-{name}.png'
        self.desk.screenshot(path, Box(*box))
        print(f'{places.rel(path)}: {box.width}x{box.height}, '
              f'{path.stat().st_size} bytes', flush=True)

    def close(self):
        self.program.close()


class Named(Photographer):
    """spicy, at a domain of a hypervisor, by its name."""

    def __init__(self, desk, host, name, directory):
        self.host = host
        super().__init__(desk, host.uri(name), directory)

    first_status = 'Powered off'

    def arguments(self, uri):
        return (f'--uri={uri}', f'--title={DOMAIN_NAME}', '-w', PASSWORD,
                *self.host.tls.options)


class Viewer(Photographer):
    program_name = 'remote-viewer'

    def arguments(self, uri):
        return uri, f'--title={NAME}'

    def open_menu(self):
        self.program.click('toggle button', 'Machine')
        self.shown.find('panel', modal=True)

    def choose(self, item):
        self.open_menu()
        self.program.click('button', item)


def take_pages(stack, log_dir, directory):
    """The console in a browser: see docs/web.rst."""
    ca = Authority(stack.enter_context(tempfile.TemporaryDirectory()),
                   names=(f'*.{DOMAIN}',))
    vm = stack.enter_context(Machine(
        log_dir, 'power=on,proxies=127.0.0.1', hardware=GUEST, tls=ca,
        ticket=PASSWORD, name='web',
        extra=('-action', 'shutdown=pause', '-name', NAME)))
    vm.wait_tick(vm.wait_boot(0, timeout=120), 4, timeout=120)
    web = stack.enter_context(Web(log_dir, ca, machines={
        NAME: f'127.0.0.1/{vm.port}/proxy'}))
    chromium = stack.enter_context(browser.Chromium(log_dir))

    def picture(name):
        path = directory / f'web-{name}.png'
        chromium.driver.save_screenshot(str(path))
        print(f'{places.rel(path)}: {path.stat().st_size} bytes', flush=True)
    page = Page(chromium, web.url(NAME))
    page.log_in(PASSWORD)
    page.wait_state('Running')
    page.wait_shown('#spice_surface_0')
    console = vm.console.mark
    vm.wait_tick(console)               # it is drawn by then
    picture('running')
    chromium.command('Emulation.setDeviceMetricsOverride', width=360,
                     height=560, deviceScaleFactor=2, mobile=True)
    chromium.command('Emulation.setTouchEmulationEnabled', enabled=True)
    page.wait_shown('#keyboard')
    picture('phone')
    chromium.command('Emulation.clearDeviceMetricsOverride')
    chromium.command('Emulation.setTouchEmulationEnabled', enabled=False)
    page.press('power-off')
    page.wait_shown('#off')
    picture('powered-off')


def take(stack, directory, log_dir):
    desk = stack.enter_context(desktop.Desktop(log_dir))
    settings = desk.directory / 'home' / '.config' / 'spicy' / 'settings'
    settings.parent.mkdir(parents=True)
    settings.write_text(SETTINGS)

    def machine(**options):
        vm = stack.enter_context(Machine(
            log_dir, hardware=GUEST,
            extra=('-action', 'shutdown=pause', '-name', NAME), **options))
        vm.wait_tick(vm.wait_boot(0, timeout=120), 4, timeout=120)
        return vm

    vm = machine()
    spicy = Photographer(desk, vm.uri, directory)
    spicy.program.click('menu', 'Power')
    spicy.shown.find('menu item', 'Force Reset', sensitive=True)
    spicy.picture('menu')
    spicy.program.click('menu item', 'Force Reset')
    spicy.shown.find('button', 'Cancel', focused=True)
    spicy.picture('question')
    spicy.program.click('button', 'Cancel')
    spicy.shown.wait_none('alert')
    spicy.choose('Force Off')
    spicy.confirm('Force Off')
    spicy.wait_status('Powered off')
    spicy.shown.find('button', 'Power On', sensitive=True)
    spicy.picture('powered-off')
    console = vm.console.mark
    spicy.program.click('button', 'Power On')
    spicy.wait_status('Running')
    spicy.close()

    if VIEWER.exists():
        vm.wait_tick(vm.wait_boot(console, timeout=120), 4,
                     timeout=120)
        viewer = Viewer(desk, vm.uri, directory)
        viewer.shown.find('drawing area')
        viewer.open_menu()
        viewer.picture('menu')
        viewer.program.press('Escape')
        viewer.shown.wait_none('panel', modal=True)
        viewer.choose('Force Off')
        viewer.confirm('Force Off')
        viewer.wait_status('Powered off')
        viewer.shown.find('button', 'Power On', sensitive=True)
        viewer.picture('powered-off')
        viewer.close()

    vm = machine(spice='power=managed', probe=True, name='managed', tcp=True)
    stack.enter_context(Manager(vm, reasons={'reset': REFUSAL})).work()
    spicy = Photographer(desk, vm.uri, directory)
    spicy.choose('Force Reset')
    spicy.confirm('Force Reset')
    spicy.shown.find('button', 'Close', focused=True)
    spicy.picture('refused')
    spicy.program.press('Escape')
    spicy.shown.wait_none('alert')
    vm.process.kill()
    spicy.shown.find('label', re.compile('Tried at .*'))
    spicy.picture('waiting')
    spicy.close()

    host = stack.enter_context(bmc.Endpoint(log_dir, NO_VIDEO))
    spicy = Photographer(desk, host.uri, directory)
    spicy.wait_dark()
    spicy.picture('no-video')
    spicy.close()

    if not VIRSH.exists():
        return
    hypervisor = Hypervisor(log_dir, stack)
    domain = hypervisor.domain(DOMAIN_NAME)
    hypervisor.wait_there(DOMAIN_NAME)
    spicy = Named(desk, hypervisor, DOMAIN_NAME, directory)
    spicy.shown.find('button', 'Power On', sensitive=True)
    spicy.picture('domain-off')
    spicy.program.click('button', 'Power On')
    domain.follow()
    spicy.wait_status('Running')
    domain.wait_tick(domain.wait_boot(0, timeout=120), 4, timeout=120)
    spicy.picture('domain-on')
    spicy.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('directory', nargs='?', type=Path,
                        default=places.ROOT / 'docs' / 'images',
                        help='where they are written (default: docs/images)')
    args = parser.parse_args()
    end_cleanly()
    try:
        places.need(places.QEMU, places.KERNEL, places.INITRAMFS,
                    bmc.GATEWAY, PAGES / 'console.html')
        desktop.need()
        browser.need()
        endpoint.prepare()
    except places.Missing as missing:
        sys.exit(f'error: {missing}')
    with contextlib.ExitStack() as stack:
        log_dir = places.log_directory('screenshots')
        take(stack, args.directory.resolve(), log_dir)
        take_pages(stack, log_dir, args.directory.resolve())


if __name__ == '__main__':
    main()
