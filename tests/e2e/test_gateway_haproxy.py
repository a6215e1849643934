#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-gateway and a hypervisor behind HAProxy, whose map spice-endpoints keeps.

All of it is real, as it is shipped. Clients know HAProxy's port only: it is where
the gateway sends them when a domain runs, and QEMU when it ends. The map may be
late for both.
"""

import re
import signal
import sys
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import (                                 # noqa: E402
    bmc, case, endpoint, places, ports, spicypower)
from powertest.hypervisor import DOMAIN, PASSWORD, Hypervisor   # noqa: E402
from test_bmc import SPICY                              # noqa: E402
from test_gateway_hypervisor import HypervisorCase      # noqa: E402


class Behind(HypervisorCase):
    def setUp(self):
        super().setUp()
        self.front = ports.free()
        self.gateway = self.hypervisor(
            **{'hand-over-tls-port': self.front})
        directory = self.host.tls.directory
        self.proxy = endpoint.Proxy(self.log_dir, directory)
        self.proxy.gateway = self.gateway.directory / 'proxy'
        self.proxy.port = self.front
        self.proxy.map.touch()
        self.proxy.start()
        self.addCleanup(self.proxy.stop)
        self.printed, self.complaints, self.endpoints = endpoint.following(
            self, list(map(str, (
                endpoint.PROGRAM, '--libvirt', self.lv.uri, '--suffix', DOMAIN,
                '--off', 'gateway', '--socket', self.proxy.socket, '--follow',
                self.proxy.map))), places.environment())
        self.addCleanup(self.endpoints.send_signal, signal.SIGCONT)
        self.vm = self.host.domain('vm1', home_port=self.front, guest=False)
        self.mapped('gateway')
        self.host.wait_there('vm1')

    def mapped(self, where, since=0):
        self.printed.wait(
            lambda line: re.search(rf' vm1\.{DOMAIN} .*{where}', line),
            f'that vm1 is at {where}', since)

    def watcher(self):
        return self.spicy_power(self.host.place('vm1', self.front), 'monitor',
                                name='watcher', options=self.host.options)

    def run_named(self, word):
        return spicypower.run(self.host.uri('vm1', self.front), word,
                              options=self.host.options)

    def test_round_trip(self):
        """One window, through HAProxy: off and on, again and again"""
        desk = self.desktop()
        watcher = self.watcher()
        watcher.wait_state('off', 0)
        spicy = desk.run(SPICY, f'--uri={self.host.uri("vm1", self.front)}',
                         '-w', PASSWORD, *self.host.tls.options)
        for _ in range(case.depth(2, 20)):
            self.press_on(desk, spicy, self.vm)
            mark = watcher.output.mark
            self.vm.virsh('destroy')
            watcher.wait_state('off', mark)
        spicy.shown.find('status bar', 'Power state: Powered off')

    def test_map_is_late(self):
        """The map says nothing new while the domain comes, and while it goes"""
        watcher = self.watcher()
        watcher.wait_state('off', 0)
        # it still has the domain at the gateway, which sends its clients on
        self.endpoints.send_signal(signal.SIGSTOP)
        log, mark = self.gateway.log.mark, watcher.output.mark
        self.assertEqual(self.run_named('on').result, 'ok')
        watcher.wait_state('on', mark)
        for _ in range(3):
            log = self.gateway.log.wait_mark(
                lambda line: 'connected' in line and 'dis' not in line,
                'that it is back', log)
        mark = watcher.output.mark
        self.endpoints.send_signal(signal.SIGCONT)
        self.mapped('127.0.0.1/')
        # now it gets to QEMU, and what it asks for is done there
        self.assertEqual(self.run_named('pause').result, 'ok')
        watcher.wait_state('paused', mark)
        self.assertEqual(self.vm.state, ('paused', 'graphics client'))
        self.assertEqual(self.run_named('continue').result, 'ok')

        # and it still has it at QEMU, which is there no more
        self.endpoints.send_signal(signal.SIGSTOP)
        mark = watcher.output.mark
        self.vm.virsh('destroy')
        # that is what the gateway says
        watcher.output.wait(lambda o: o.get('possible') == ['power-on'],
                            'that it can be powered on', mark)
        self.endpoints.send_signal(signal.SIGCONT)
        mark = watcher.output.mark
        self.assertEqual(self.run_named('on').result, 'ok')
        watcher.wait_state('on', mark)

    def test_haproxy_away(self):
        """HAProxy is started again; who comes then finds all of it"""
        self.proxy.stop()
        self.vm.virsh('start')
        self.proxy.start()
        self.vm.follow()
        self.assertEqual(self.run_named('pause').result, 'ok')
        self.assertEqual(self.vm.state, ('paused', 'graphics client'))


class TwoHosts(HypervisorCase):
    """Two hypervisors, each with a gateway, behind one HAProxy."""

    def test_migration(self):
        """A client goes with its domain, and is at its new host's gateway"""
        front = ports.free()
        to_front = {'hand-over-tls-port': front}
        self.hypervisor(host_uuid=str(uuid.uuid4()), **to_front)
        other = Hypervisor(self.log_dir, self.host.stack, beside=self.host,
                           host_uuid=str(uuid.uuid4()), name='other-gateway',
                           **to_front)
        hosts = self.host, other
        proxy = endpoint.Proxy(self.log_dir, self.host.tls.directory)
        proxy.port = front
        proxy.map.touch()
        proxy.start()
        self.addCleanup(proxy.stop)
        printed, _, _ = endpoint.following(self, list(map(str, (
            endpoint.PROGRAM, '--suffix', DOMAIN,
            *(word for host in hosts for word in (
                '--libvirt', host.libvirt.uri, '--off',
                f'127.0.0.1/{host.port}')),
            '--socket', proxy.socket, '--follow', proxy.map))),
            places.environment())
        vm = self.host.domain('vm1', home_port=front, guest=False)
        printed.wait(lambda line: f' vm1.{DOMAIN} ' in line, 'vm1')
        self.host.wait_there('vm1')
        watcher = self.spicy_power(self.host.place('vm1', front), 'monitor',
                                   name='watcher', options=self.host.options)
        watcher.wait_state('off', 0)

        def run(word):
            return spicypower.run(self.host.uri('vm1', front), word,
                                  options=self.host.options)
        self.assertEqual(run('on').result, 'ok')
        watcher.wait_state('on', 0)
        mark = watcher.output.mark
        vm.virsh('migrate', other.libvirt.uri, '--live', '--persistent',
                 '--undefinesource', '--migrateuri', 'tcp://127.0.0.1')
        # which ends it, too
        self.lv.domains.remove(vm)
        other.libvirt.domains.append(vm)
        vm.libvirt = other.libvirt
        self.assertEqual(vm.state[0], 'running')
        # it is with the domain, and so is who comes anew
        self.assertEqual(run('pause').result, 'ok')
        watcher.wait_state('paused', mark)
        self.assertEqual(vm.state, ('paused', 'graphics client'))
        # the first gateway knows it no more, and the other one starts it again
        mark, log = watcher.output.mark, other.gateway.log.mark
        vm.virsh('destroy')
        watcher.output.wait(lambda o: o.get('possible') == ['power-on'],
                            'that it can be powered on', mark)
        other.gateway.wait_log('vm1: client', log)
        mark = watcher.output.mark
        self.assertEqual(run('on').result, 'ok')
        watcher.wait_state('on', mark)
        self.assertEqual(vm.state[0], 'running')


if __name__ == '__main__':
    case.main(lambda: (places.need(bmc.GATEWAY), endpoint.prepare()))
