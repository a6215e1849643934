#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-endpoints, libvirtd, and HAProxy: where the names of domains lead to.

The machines are empty ones, with our QEMU; at the gateway's socket there is a
small TLS server in its place.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, endpoint, spicypower        # noqa: E402
from powertest.endpoint import DOMAIN, following        # noqa: E402
from powertest.libvirt import Libvirt                   # noqa: E402
from powertest.record import TIMEOUT                    # noqa: E402

NAMESPACE = 'urn:spice-endpoints:1'


class Domains(endpoint.EndpointCase):
    def setUp(self):
        super().setUp()
        self.libvirt = self.enterContext(Libvirt(
            self.log_dir, qemu_conf='spice_tls = 1\n'
            f'spice_tls_x509_cert_dir = "{self.ca.directory}"\n'))
        self.there = self.proxy()
        self.mark = 0

    def domain(self, name, **options):
        return self.libvirt.domain(name, guest=False, **options)

    def follow(self, *arguments):
        """A spice-endpoints, where nothing is seen but what libvirt tells."""
        self.mark = 0
        self.out, self.errors, self.process = following(
            self, self.command(
                self.there, '--libvirt', self.libvirt.uri, '--suffix', DOMAIN,
                '--follow', '--interval', '600', *arguments),
            self.libvirt.env)

    def wait(self, sign, name, value='', **options):
        """Wait until it says so of that name, from the last mark."""
        start = f'{sign} {name}.{DOMAIN}' + (f' {value}' if value else '')
        return self.out.wait(lambda line: line.startswith(start), start,
                             self.mark, **options)

    def complaint(self, text, since=0):
        self.errors.wait(lambda line: text in line, text, since)

    def is_qemu(self, name):
        """It is the machine that one gets to, which takes a raw client."""
        self.raw(self.there, f'{name}.{DOMAIN}').close()

    def is_gateway(self, name):
        self.assertEqual(self.who(self.there, f'{name}.{DOMAIN}'), 'gateway')

    def target(self):
        """HAProxy's own map."""
        return self.modules.haproxy.HAProxy(self.there.socket,
                                            self.there.map)

    def waits(self, *words):
        """A virsh that does not end."""
        try:
            self.libvirt.virsh(*words, timeout=1)
        except subprocess.TimeoutExpired:
            return True
        return False

    def virsh(self, *words):
        """One that may last."""
        process = subprocess.Popen(
            self.libvirt.command(*words), env=self.libvirt.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait, TIMEOUT)
        self.addCleanup(process.kill)
        return process


class Follow(Domains):
    def test_follow(self):
        """Domains come and go, and so does libvirtd"""
        domains = {name: self.domain(name)
                   for name in ('vm1', 'VM2', 'not_a_host')}
        self.follow()
        for vm in domains.values():
            vm.start()
        self.wait('+', 'vm1')
        self.wait('+', 'vm2')
        run = self.run_named(self.there, f'vm1.{DOMAIN}', 'reset')
        self.assertEqual(run[0], spicypower.OK, run)
        client = self.named(self.there, '-', name=f'vm2.{DOMAIN}')
        self.assertEqual(client.status()['state'], 'on')
        self.complaint("'not_a_host' is not the name of a host")
        uuid = domains['not_a_host'].virsh('domuuid').strip()
        self.is_qemu(uuid)
        self.mark = self.out.mark
        domains['vm1'].virsh('destroy')
        self.wait('-', 'vm1')
        self.assertKeptOut(self.there, f'vm1.{DOMAIN}')
        # without libvirt it stays as it was
        seen = self.errors.mark
        self.libvirt.stop()
        self.complaint(f'{self.libvirt.uri}: ', seen)
        self.is_qemu('vm2')
        self.libvirt.start()
        self.complaint(f'{self.libvirt.uri}: connected', seen)
        self.mark = self.out.mark
        domains['vm1'].start()
        self.wait('+', 'vm1')
        self.is_qemu('vm1')
        self.assertEqual(client.act('pause')[0]['result'], 'ok')

    def test_away(self):
        """What has happened while libvirtd was away"""
        vm1, vm2 = self.domain('vm1').start(), self.domain('vm2').start()
        self.libvirt.stop()
        self.follow('--off', 'gateway')
        self.complaint('it is tried again')
        self.libvirt.start()
        self.wait('+', 'vm1', '127.0.0.1/')
        self.wait('+', 'vm2', '127.0.0.1/')
        self.mark, seen = self.out.mark, self.errors.mark
        self.libvirt.stop()
        self.complaint('it is tried again', seen)
        os.kill(vm1.pid, signal.SIGKILL)
        self.libvirt.start()
        self.wait('=', 'vm1', 'gateway')
        self.assertNotIn('vm2', ' '.join(self.out.since(self.mark)))
        vm2.virsh('destroy')
        self.wait('=', 'vm2', 'gateway')

    def test_off(self):
        """A name is there from define to undefine"""
        self.gateway(self.there)
        self.follow('--off', 'gateway')
        vm = self.domain('vm1')
        self.wait('+', 'vm1', 'gateway')
        self.is_gateway('vm1')
        for action in (vm.virsh, lambda word: os.kill(vm.pid,
                                                      signal.SIGKILL)):
            vm.start()
            self.wait('=', 'vm1', '127.0.0.1/')
            self.is_qemu('vm1')
            self.mark = self.out.mark
            action('destroy')
            self.wait('=', 'vm1', 'gateway')
            self.is_gateway('vm1')
            self.mark = self.out.mark
        vm.virsh('undefine')
        self.wait('-', 'vm1')
        self.assertKeptOut(self.there, f'vm1.{DOMAIN}')

    def test_names(self):
        """Metadata, and names that change"""
        self.follow('--off', 'gateway', '--names', 'metadata')
        vm = self.domain('vm1').start()
        uuid = vm.virsh('domuuid').strip()
        self.wait('+', uuid, 'gateway')
        self.wait('=', uuid, '127.0.0.1/')

        def metadata(name):
            vm.virsh('metadata', '--live', '--config', '--uri', NAMESPACE,
                     '--key', 'spice', '--set', f"<endpoint name='{name}'/>")
        metadata(f'web.{DOMAIN}')
        self.wait('+', 'web', '127.0.0.1/')
        self.is_qemu('web')
        metadata(f'www.{DOMAIN}')
        self.wait('+', 'www', '127.0.0.1/')
        self.wait('-', 'web')
        vm.virsh('destroy')
        self.wait('=', 'www', 'gateway')
        vm.virsh('metadata', '--config', '--uri', NAMESPACE, '--remove')
        self.wait('-', 'www')
        self.assertNotIn('vm1', ' '.join(self.out.since()))

    def test_stuck(self):
        """Domains that libvirt cannot read hold up no others"""
        stuck = [self.domain(f'vm{n}').start() for n in range(1, 4)]
        self.follow('--off', 'gateway')
        values = [self.wait('+', vm.name, '127.0.0.1/') for vm in stuck]
        for vm in stuck:
            os.kill(vm.pid, signal.SIGSTOP)
            self.addCleanup(os.kill, vm.pid, signal.SIGCONT)
            # a job that does not end, for which questions wait
            self.virsh('suspend', vm.name)
        for vm in stuck:
            self.until(lambda: self.waits('dumpxml', vm.name))
        self.process.send_signal(signal.SIGHUP)
        self.mark = self.out.mark
        vm9 = self.domain('vm9')
        # libvirt itself gives up after 30 s
        self.wait('+', 'vm9', 'gateway', timeout=10)
        vm9.start()
        self.wait('=', 'vm9', '127.0.0.1/', timeout=10)
        self.is_qemu('vm9')
        # and they stay where they are, also if nothing else is known of them
        self.process.terminate()
        self.assertEqual(self.process.wait(TIMEOUT), 0)
        before = self.modules.haproxy.entries(
            self.there.map.read_text().splitlines())
        for value in values:
            name, value = value.removeprefix('+ ').split()
            self.assertEqual(before[name], value)
        self.follow('--off', 'gateway')
        self.domain('vm8')
        self.wait('+', 'vm8', 'gateway')
        after = self.target().loaded()
        self.assertEqual({name: after.get(name) for name in before}, before)
        self.assertTrue(self.waits('dumpxml', 'vm1'))


class Late(Domains):
    """The map is behind what happens, or HAProxy is."""

    def test_map(self):
        """A map that is late leads to the gateway, both ways"""
        self.gateway(self.there)
        vm = self.domain('vm1').start()
        self.follow('--off', 'gateway')
        self.wait('+', 'vm1', '127.0.0.1/')
        self.is_qemu('vm1')
        self.process.send_signal(signal.SIGSTOP)
        vm.virsh('destroy')
        self.is_gateway('vm1')          # the map still says that it runs
        self.process.send_signal(signal.SIGCONT)
        self.wait('=', 'vm1', 'gateway')
        self.is_gateway('vm1')
        self.mark = self.out.mark
        self.process.send_signal(signal.SIGSTOP)
        vm.start()
        self.is_gateway('vm1')          # which will hand over
        self.process.send_signal(signal.SIGCONT)
        self.wait('=', 'vm1', '127.0.0.1/')
        self.is_qemu('vm1')

    def test_haproxy(self):
        """A HAProxy that is away for some time"""
        self.gateway(self.there)
        vm = self.domain('vm1').start()
        self.follow('--off', 'gateway')
        self.wait('+', 'vm1', '127.0.0.1/')
        self.there.stop()
        vm.virsh('destroy')
        self.wait('=', 'vm1', 'gateway')
        self.complaint('the running HAProxy has the map of before')
        self.there.start()
        self.mark = self.out.mark
        vm.start()
        self.wait('=', 'vm1', '127.0.0.1/')
        value = self.wait('=', 'vm1').rpartition(' ')[2]
        self.until(lambda: self.target().loaded()[f'vm1.{DOMAIN}'] == value)
        self.is_qemu('vm1')

    def test_ends(self):
        """What has happened until it is ended is in the file"""
        vm = self.domain('vm1').start()
        self.follow('--off', 'gateway')
        self.wait('+', 'vm1', '127.0.0.1/')
        vm.virsh('destroy')
        self.wait('=', 'vm1', 'gateway')
        self.process.terminate()
        self.assertEqual(self.process.wait(TIMEOUT), 0)
        self.assertIn(f'vm1.{DOMAIN} gateway\n', self.there.map.read_text())


if __name__ == '__main__':
    case.main(endpoint.prepare)
