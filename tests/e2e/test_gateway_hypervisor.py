#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-gateway with all domains of a hypervisor, by name, at one port.

The daemons, QEMU and the clients are those that we have built. All of it is by
TLS, with one certificate for all names.
"""

import os
import re
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, case, places, spicypower     # noqa: E402
from powertest.hypervisor import DOMAIN, PASSWORD, Hypervisor   # noqa: E402
from powertest.machine import KERNEL_ARGUMENTS          # noqa: E402
from powertest.record import TIMEOUT                    # noqa: E402
from test_bmc import SPICY                              # noqa: E402
from test_gateway_domain import DomainCase, Screen      # noqa: E402

VIEWER = places.PREFIX / 'bin' / 'remote-viewer'
# A guest that powers its machine off after a second, which takes ACPI
ACPI = '<features><acpi/></features>'
ENDS = KERNEL_ARGUMENTS.replace('acpi=off', 'OFF_AT=5')


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(('127.0.0.1', port)) == 0


class HypervisorCase(DomainCase):
    def hypervisor(self, **options):
        self.host = Hypervisor(self.log_dir, self.enterContext(ExitStack()),
                               **options)
        self.lv = self.host.libvirt
        return self.host.gateway

    def defined(self, name='vm1', guest=False, **options):
        return self.host.domain(name, guest=guest, **options)

    def run_named(self, word, name='vm1'):
        return spicypower.run(self.host.uri(name), word,
                              options=self.host.options)

    def wait_there(self, name='vm1'):
        self.host.wait_there(name)

    def watcher(self, name='vm1'):
        return self.spicy_power(self.host.place(name), 'monitor',
                                name=f'watcher-of-{name}',
                                options=self.host.options)

    def client(self, name='vm1'):
        return self.spicy_power(self.host.place(name), '-',
                                options=self.host.options)

    def spicy(self, desk, name='vm1'):
        return desk.run(SPICY, f'--uri={self.host.uri(name)}', '-w', PASSWORD,
                        *self.host.tls.options)

    def vv_file(self, name='vm1'):
        """What remote-viewer is given where others give it a file."""
        path = self.log_dir / f'{name}.vv'
        certificate = self.host.tls.ca_file.read_text().replace('\n', '\\n')
        path.write_text(f'''[virt-viewer]
type=spice
host={name}.{DOMAIN}
tls-port={self.host.port}
password={PASSWORD}
ca={certificate}
''')
        return path

    def press_on(self, desk, spicy, vm):
        """Power On, by the mouse, and the guest's screen is there."""
        spicy.shown.find('status bar', 'Power state: Powered off')
        spicy.click('button', re.compile('.*Power On'))
        vm.follow()
        spicy.shown.find('status bar', 'Power state: Running')
        self.check_on_screen(desk, spicy, Screen(vm))
        self.assertEqual(len(spicy.shown.find_all('frame')), 1)


class Names(HypervisorCase):
    def test_defined_a_moment_ago(self):
        """Whatever is defined has an endpoint, by its name and its UUID"""
        self.hypervisor()
        vm = self.defined()
        uuid = vm.virsh('domuuid').strip()
        self.wait_there()
        self.assertEqual(self.run_named('status', uuid).objects[-1]['state'],
                         'off')
        run = self.run_named('on', uuid)
        self.assertEqual((run.code, run.result), (spicypower.OK, 'ok'), run)
        self.assertEqual(vm.state[0], 'running')
        self.assertEqual(self.run_named('status').objects[-1]['state'], 'on')
        vm.virsh('destroy')
        vm.virsh('domrename', 'vm2')
        vm.name = 'vm2'
        self.wait_there('vm2')
        self.assertEqual(self.run_named('status').code, spicypower.CONNECT)
        vm.virsh('undefine')
        until = time.monotonic() + TIMEOUT
        while self.run_named('status', uuid).code == spicypower.OK:
            self.assertLess(time.monotonic(), until)

    def test_wrong_password(self):
        """A domain's password is its own, and one without lets nobody in"""
        self.hypervisor()
        self.defined('vm1')
        self.defined('vm2', power="powerControl='yes' passwd='other'")
        self.defined('vm3', power="powerControl='yes'")
        self.wait_there('vm1')
        for name in 'vm2', 'vm3':
            self.assertEqual(self.run_named('status', name).code,
                             spicypower.CONNECT, name)

    def test_daemon_killed(self):
        """libvirtd is killed before, while and after a domain is started"""
        self.hypervisor()
        vm = self.defined()
        self.wait_there()
        watcher = self.watcher()
        watcher.wait_state('off', 0)

        def kill():
            mark = watcher.output.mark
            self.lv.libvirtd.kill()
            self.lv.stop()
            watcher.wait_state('unknown', mark)
            return watcher.output.mark
        mark = kill()
        self.assertEqual(self.run_named('on').result, 'failed')
        self.lv.start()
        watcher.wait_state('off', mark)
        # while it starts it: what becomes of that, libvirt decides
        client = self.client()
        client.wait_status(state='off')
        client.send('on')
        mark = kill()
        self.lv.start()
        watcher.output.wait(lambda o: o.get('state') in ('off', 'on'),
                            'a state', mark)
        run = self.run_named('on')
        self.assertEqual(run.result, 'ok', run)
        self.assertEqual(vm.state[0], 'running')


class HandOver(HypervisorCase):
    def test_round_trip(self):
        """One window, by name and TLS: off and on, however it ends"""
        desk = self.desktop()
        gateway = self.hypervisor()
        vm = self.defined()
        self.wait_there()
        watcher = self.watcher()
        watcher.wait_state('off', 0)
        spicy = self.spicy(desk)
        ends = {'virsh': lambda: vm.virsh('destroy'),
                'a client': lambda: self.assertEqual(
                    self.run_named('off').result, 'ok'),
                'SIGTERM': lambda: os.kill(vm.pid, signal.SIGTERM)}
        for turn in range(case.depth(1, 20)):
            for how, end in ends.items():
                with self.subTest(f'turn {turn}, {how}'):
                    self.press_on(desk, spicy, vm)
                    mark = watcher.output.mark
                    end()
                    watcher.wait_state('off', mark)
        spicy.shown.find('status bar', 'Power state: Powered off')
        # by TLS all the way
        gateway.wait_log(', TLS) connected')

    def test_remote_viewer(self):
        """That of the series: off, Power On, its screen, and off again"""
        if not VIEWER.exists():
            self.skipTest('there is no remote-viewer of the series: '
                          'docs/virt-viewer.rst says how to build it')
        desk = self.desktop()
        self.hypervisor()
        vm = self.defined()
        self.wait_there()
        viewer = desk.run(VIEWER, self.vv_file())
        for _ in range(2):
            viewer.shown.find('status bar', 'Power state: Powered off')
            viewer.click('button', re.compile('.*Power On'))
            vm.follow()
            viewer.shown.find('status bar', 'Power state: Running')
            self.check_on_screen(desk, viewer, Screen(vm))
            self.assertEqual(len(viewer.shown.find_all('frame')), 1)
            vm.virsh('destroy')

    def test_managed_save(self):
        """Saved it is off, and Power On goes on where it was"""
        desk = self.desktop()
        self.hypervisor()
        vm = self.defined()
        self.wait_there()
        spicy = self.spicy(desk)
        self.press_on(desk, spicy, vm)
        vm.virsh('managedsave')
        self.press_on(desk, spicy, vm)
        self.assertEqual(vm.state[0], 'running')

    def test_restart(self):
        """One that is started again when its guest ends keeps its clients"""
        gateway = self.hypervisor()
        vm = self.defined(settings=f'{ACPI}<on_poweroff>restart</on_poweroff>',
                          guest=True, arguments=ENDS)
        self.wait_there()
        watcher = self.watcher()
        watcher.wait_state('off', 0)
        self.assertEqual(self.run_named('on').result, 'ok')
        vm.follow()
        watcher.wait_state('on', 0)
        gateway.wait_log('disconnected')
        mark, log = watcher.output.mark, gateway.log.mark
        first = vm.wait_boot(0, timeout=120)
        vm.wait_boot(first, timeout=120)
        # it was off for a moment, of which QEMU has told
        watcher.wait_state('off', mark)
        watcher.wait_state('on', mark)
        # and whoever comes to the gateway is sent on as before
        mark = watcher.output.mark
        self.assertEqual(self.run_named('pause').result, 'ok')
        watcher.wait_state('paused', mark)
        self.assertFalse([line for line in gateway.log.since(log)
                          if 'clients stay here' in line])

    def test_guest_ends(self):
        """A guest that powers itself off: its clients are here again"""
        self.hypervisor()
        self.defined(settings=ACPI, guest=True, arguments=ENDS)
        self.wait_there()
        watcher = self.watcher()
        watcher.wait_state('off', 0)
        self.assertEqual(self.run_named('on').result, 'ok')
        watcher.wait_state('on', 0)
        mark = watcher.output.mark
        watcher.wait_state('off', mark, timeout=120)
        # told by QEMU, and when libvirt knows it, by the gateway
        client = self.client()
        client.wait_status(state='off', possible=['power-on'])
        self.assertTrue(watcher.running)


class Stock(HypervisorCase):
    """Debian's own viewers, which know nothing of power control."""

    def setUp(self):
        super().setUp()
        places.need_stock()

    def follows(self, name, arguments, waits=None):
        """It is at QEMU while the domain runs, again and again."""
        gateway = self.hypervisor()
        vm = self.defined()
        self.wait_there()
        log = gateway.log.mark
        env = places.stock_environment()
        viewer = self.desktop().run(
            places.STOCK / 'usr/bin' / name, *arguments(),
            env={key: env[key] for key in ('LD_LIBRARY_PATH',
                                           'XDG_DATA_DIRS')},
            # what these complain of is not ours to mend
            excused=re.compile('CRITICAL'))
        gateway.wait_log(', TLS) connected', log)
        if waits:
            viewer.shown.find('label', re.compile(waits))
        for is_slow in False, True:
            vm.virsh('start')
            self.wait_display(vm)
            self.assertIsNone(viewer.process.poll())
            log = gateway.log.mark
            if is_slow:
                self.end_while_stopped(vm, viewer)
            else:
                vm.virsh('destroy')
            gateway.wait_log(', TLS) connected', log)
        self.assertIsNone(viewer.process.poll())

    def end_while_stopped(self, vm, viewer):
        """The viewer's computer knows of the end before the viewer does."""
        port = vm.qmp('query-spice')['tls-port']
        viewer.process.send_signal(signal.SIGSTOP)
        try:
            os.kill(vm.pid, signal.SIGTERM)
            # it has been told to go when there is no way back
            until = time.monotonic() + TIMEOUT
            while listens(port):
                self.assertLess(time.monotonic(), until, 'QEMU is there')
        finally:
            viewer.process.send_signal(signal.SIGCONT)
        vm.wait_state('shut off')

    def wait_display(self, vm):
        """Until a client of QEMU's has opened the display's channel."""
        until = time.monotonic() + TIMEOUT
        while not any(channel['channel-type'] == 2 and channel['tls'] for
                      channel in vm.qmp('query-spice').get('channels', ())):
            self.assertLess(time.monotonic(), until, 'no display')

    def test_spicy(self):
        """spicy shows nothing while it is off, and goes where it runs"""
        self.follows('spicy', lambda: (
            f'--uri={self.host.uri("vm1")}', '-w', PASSWORD,
            *self.host.tls.options))

    def test_remote_viewer(self):
        """remote-viewer says that it is connected, and goes where it runs"""
        self.follows('remote-viewer', lambda: (self.vv_file(),),
                     'Connected to graphic server')


if __name__ == '__main__':
    case.main(lambda: places.need(bmc.GATEWAY))
