#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-gateway as the endpoint of libvirt's domains.

The daemons, QEMU and the clients are those that we have built. A client comes
while the domain is off; what it asks for libvirt does, what virsh does it is
told, and while the domain runs it is at QEMU's own SPICE server.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, case, libvirt, places, polkit, ports  # noqa: E402
from powertest import spicegtk, spicypower                # noqa: E402
from powertest.machine import SLEEPER_ARGUMENTS           # noqa: E402
from powertest.record import TIMEOUT                      # noqa: E402
from test_bmc import SPICY, BmcCase                       # noqa: E402

PASSWORD = 'open sesame'
NOBODY = ('setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups',
          '--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search')


class Place(bmc.Endpoint):
    """A gateway with one machine, where one can go on to another address."""

    @property
    def uri(self):
        return f'spice://127.0.0.1:{self.port}'


class TlsPlace(bmc.Endpoint):
    """One with TLS only."""

    @property
    def uri(self):
        return f'spice://127.0.0.1?tls-port={self.tls}'


class DomainCase(BmcCase):
    def daemons(self, **options):
        return self.enterContext(libvirt.Libvirt(self.log_dir, **options))

    def gateway(self, vm, name='spice-gateway', server=None, port=None,
                **keys):
        port = port or ports.free()
        return self.enterContext(Place(self.log_dir, {
            'server': {'address': '127.0.0.1', 'port': port, **(server or {})},
            'power': {'backend': 'libvirt', **keys},
            'libvirt': {'uri': vm.libvirt.uri, 'domain': vm.name}},
            name=name, port=port))

    def wait_ticket(self, endpoint, password):
        """Until it knows the domain's password: nobody is let in before.

        There is no event for this.
        """
        until = time.monotonic() + TIMEOUT
        while True:
            run = spicypower.run(endpoint.uri, 'status',
                                 options=[f'--password={password}'])
            if run.code != spicypower.CONNECT or time.monotonic() > until:
                break
        self.assertEqual(run.code, spicypower.OK, run.err)

    def ask(self, client, word, result='ok', message=''):
        told, _ = client.act(word)
        self.assertEqual(told['result'], result, told)
        if message:
            self.assertRegex(told['message'], message)
        return told


class Power(DomainCase):
    """A domain that has no SPICE server: all clients stay at the gateway."""

    def setUp(self):
        super().setUp()
        self.lv = self.daemons()

    def defined(self, name='machine', lv=None, **options):
        return (lv or self.lv).domain(name, guest=False, listen=None,
                                      **options)

    def test_client(self):
        """A client starts, pauses, continues, resets and ends it"""
        vm = self.defined()
        endpoint = self.gateway(vm)
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off', possible=['power-on'])
        self.ask(client, 'reset', 'wrong-state')
        self.ask(client, 'on')
        self.assertEqual(vm.state[0], 'running')
        client.wait_status(state='on',
                           possible=['reset', 'power-off', 'pause'])
        self.ask(client, 'pause')
        self.assertEqual(vm.state[0], 'paused')
        client.wait_status(state='paused',
                           possible=['reset', 'power-off', 'continue'])
        self.ask(client, 'continue')
        self.assertEqual(vm.state[0], 'running')
        vm.watch()
        mark = vm.events.mark
        self.ask(client, 'reset')
        vm.events.wait(lambda line: "event 'reboot'" in line, 'reboot', mark)
        self.ask(client, 'on')              # already
        self.ask(client, 'off')
        self.assertEqual(vm.state[0], 'shut off')
        client.wait_status(state='off', possible=['power-on'])

    def test_watch_with_virsh(self):
        """The line of docs/gateway.rst: the state whenever virsh has an event.

        Nothing else tells it: it would be asked for in an hour.
        """
        vm = self.defined()
        virsh = shlex.join(map(str, (libvirt.VIRSH, '-c', self.lv.uri)))
        endpoint = self.enterContext(bmc.Endpoint(self.log_dir, {
            'power': {'backend': 'exec', 'poll-interval': 3600},
            'exec': {
                'watch': f'sh -c "stdbuf -oL {virsh} event --domain {vm.name} '
                         '--event lifecycle --loop | while read -r line; do '
                         f'{virsh} domstate {vm.name}; done"',
                'status': f'{virsh} domstate {vm.name}'}}))
        watcher = self.spicy_power(endpoint, 'monitor')
        watcher.wait_state('off', 0)
        # virsh does not say when it listens: cause events until one comes
        for _ in range(20):
            vm.virsh('start')
            try:
                watcher.wait_state('on', 0, timeout=3)
                break
            except TimeoutError:
                vm.virsh('destroy')
        mark = watcher.output.mark
        vm.virsh('destroy')
        watcher.wait_state('off', mark)
        self.assertNotIn('no state', '\n'.join(endpoint.log.since()))

    def test_virsh(self):
        """What virsh does is told at once; others' pauses are not ended"""
        vm = self.defined()
        endpoint = self.gateway(vm)
        client = self.spicy_power(endpoint, '-')
        watcher = self.spicy_power(endpoint, 'monitor', name='watcher')
        watcher.wait_state('off', 0)
        for action, state in (('start', 'on'), ('suspend', 'paused'),
                              ('resume', 'on'), ('destroy', 'off')):
            mark = watcher.output.mark
            vm.virsh(action)
            watcher.wait_state(state, mark)
            if action == 'suspend':
                client.wait_status(possible=['reset', 'power-off'])
                self.ask(client, 'continue', 'wrong-state', 'paused')

    def test_wake_up(self):
        """Power-on wakes up a domain that its guest has suspended"""
        vm = self.lv.domain('sleeper', listen=None,
                            arguments=SLEEPER_ARGUMENTS,
                            settings='<features><acpi/></features>'
                                     "<pm><suspend-to-mem enabled='yes'/></pm>")
        endpoint = self.gateway(vm)
        client = self.spicy_power(endpoint, '-')
        watcher = self.spicy_power(endpoint, 'monitor', name='watcher')
        watcher.wait_state('off', 0)
        self.ask(client, 'on')
        watcher.wait_state('suspended', 0, timeout=120)
        client.wait_status(state='suspended',
                           possible=['reset', 'power-off', 'power-on'])
        vm.watch()
        mark = vm.events.mark
        self.ask(client, 'on')
        vm.events.wait(lambda line: 'Started Event wakeup' in line, 'awake',
                       mark)
        self.assertEqual(vm.state, ('running', 'event wakeup'))
        client.wait_status(state='on',
                           possible=['reset', 'power-off', 'pause'])

    def test_comes_and_goes(self):
        """It is not there yet, then has another name, then is gone"""
        vm = self.defined()
        self.lv.virsh('undefine', vm.name)
        endpoint = self.gateway(vm)
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='unknown')
        self.ask(client, 'on', 'failed', '^There is no domain machine$')
        vm.define()
        client.wait_status(state='off')
        self.lv.virsh('domrename', vm.name, 'renamed')
        self.ask(client, 'on')
        self.assertIn('renamed', self.lv.virsh('list', '--name'))
        self.ask(client, 'off')
        self.lv.virsh('undefine', 'renamed')
        client.wait_status(state='unknown')

    def test_cannot_start(self):
        """Why it can't be started, the person gets to know"""
        vm = self.defined(devices='''
            <disk type='file' device='disk'>
              <source file='/no/such/disk.img'/>
              <target dev='hda'/>
            </disk>''')
        endpoint = self.gateway(vm)
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off')
        self.ask(client, 'on', 'failed', 'No such file or directory')
        client.wait_status(state='off', possible=['power-on'])
        run = spicypower.run(endpoint.uri, 'on')
        self.assertEqual(run.code, spicypower.FAILED)
        self.assertIn('/no/such/disk.img', run.message)

    def test_daemon_away(self):
        """libvirtd is away, and comes back when the domain has changed"""
        vm = self.defined()
        endpoint = self.gateway(vm)
        client = self.spicy_power(endpoint, '-')
        watcher = self.spicy_power(endpoint, 'monitor', name='watcher')
        watcher.wait_state('off', 0)
        self.ask(client, 'on')

        def away():
            mark = watcher.output.mark
            self.lv.stop()
            watcher.wait_state('unknown', mark)
            return watcher.output.mark
        for turn in range(2):
            mark = away()
            self.ask(client, 'off', 'failed', 'onnection')
            self.lv.start()
            watcher.wait_state('on', mark)
            self.ask(client, 'pause')
            watcher.wait_state('paused', mark)
            self.ask(client, 'continue')
        # meanwhile its QEMU ends
        pid = vm.pid
        mark = away()
        os.kill(pid, signal.SIGKILL)
        self.lv.start()
        watcher.wait_state('off', mark)
        self.ask(client, 'on')

    def test_daemon_silent(self):
        """A daemon that has been stopped is lost after some time"""
        vm = self.defined()
        endpoint = self.gateway(vm, **{'action-timeout': 3})
        client = self.spicy_power(endpoint, '-')
        watcher = self.spicy_power(endpoint, 'monitor', name='watcher')
        watcher.wait_state('off', 0)
        mark = watcher.output.mark
        self.lv.libvirtd.send_signal(signal.SIGSTOP)
        self.ask(client, 'on', 'failed', 'Nothing was done: .*within 3 seconds')
        watcher.wait_state('unknown', mark)
        self.lv.libvirtd.send_signal(signal.SIGCONT)
        # it may have got what was asked of it, or not
        watcher.output.wait(lambda o: o.get('state') in ('on', 'off'),
                            'a state', mark)
        self.ask(client, 'on')

    def test_two_hypervisors(self):
        """Two machines of one gateway, each with a daemon of its own"""
        vms = {'a': self.defined('domain'),
               'b': self.defined('domain', self.daemons())}
        gateway = self.enterContext(bmc.Gateway(self.log_dir, {
            'defaults.conf': {
                'server': {'unix-socket': '{directory}/{name}.spice'},
                'power': {'backend': 'libvirt'}},
            **{f'machines/{name}.conf': {
                'libvirt': {'uri': vm.libvirt.uri, 'domain': vm.name}}
                for name, vm in vms.items()}}))
        clients = {name: self.spicy_power(gateway.place(name), '-', name=name)
                   for name in vms}
        for name, client in clients.items():
            client.wait_status(state='off')
        self.ask(clients['b'], 'on')
        self.assertEqual(vms['a'].state[0], 'shut off')
        self.assertEqual(clients['a'].status()['state'], 'off')
        vms['b'].libvirt.stop()
        clients['b'].wait_status(state='unknown')
        self.ask(clients['a'], 'on')
        clients['a'].wait_status(state='on')

    def test_no_display(self):
        """A client that stays sees why"""
        vm = self.defined()
        endpoint = self.gateway(vm)
        vm.virsh('start')
        endpoint.wait_log('The domain has no SPICE graphics')
        seen = self.screenshot(endpoint)
        self.assertGreater(len(set(seen.data)), 2)


class NobodysPlace(Place):
    """The gateway of a user who has no rights.

    But it may read what is ours: the tests may be where only root can go.
    """

    prefix = NOBODY


class Rights(DomainCase):
    """libvirt asks polkit, and that has the rules of docs/gateway.rst."""

    def setUp(self):
        super().setUp()
        if os.geteuid():
            self.skipTest('only root can be another user')
        page = (places.ROOT / 'docs' / 'gateway.rst').read_text()
        self.rules, self.only_some = [
            rules.replace('"spice-gateway"', '"nobody"')
            for rules in re.findall(
                r'^   (?:var allowed|polkit.addRule).*?^   \}\);$', page,
                re.DOTALL | re.MULTILINE)]

    def asks_polkit(self, rules):
        asked = self.enterContext(polkit.Polkit(self.log_dir, rules))
        return self.daemons(env=asked.env, daemon_conf='''
unix_sock_rw_perms = "0777"
access_drivers = [ "polkit" ]
''')

    def place(self, vm, **server):
        port = ports.free()
        return self.enterContext(NobodysPlace(self.log_dir, {
            'server': {'address': '127.0.0.1', 'port': port, **server},
            'power': {'backend': 'libvirt'},
            'libvirt': {'uri': vm.libvirt.uri, 'domain': vm.name}},
            name=f'gateway-{vm.name}', port=port))

    def as_nobody(self, vm, action):
        return subprocess.run([*NOBODY, *vm.libvirt.command(action, vm.name)],
                              env=vm.libvirt.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=TIMEOUT)

    def test_actions(self):
        """It can do what clients ask for, and can change no domain"""
        lv = self.asks_polkit(self.rules)
        vm = lv.domain('machine', guest=False, listen=None)
        client = self.spicy_power(self.place(vm), '-')
        client.wait_status(state='off', possible=['power-on'])
        for action in 'on', 'pause', 'continue', 'reset', 'off':
            self.ask(client, action)
        for action in 'undefine', 'autostart', 'managedsave':
            done = self.as_nobody(vm, action)
            self.assertRegex(done.stderr, 'access denied', action)
            self.assertNotEqual(done.returncode, 0)

    def test_password(self):
        """It knows the password of a domain that is off"""
        lv = self.asks_polkit(self.rules)
        vm = lv.domain('machine', guest=False,
                       power=f"powerControl='yes' passwd='{PASSWORD}'")
        self.wait_ticket(self.place(vm, ticket='domain'), PASSWORD)

    def test_some_domains(self):
        """A rule for some domains: it knows nothing of others"""
        lv = self.asks_polkit(self.only_some + self.rules)
        ours = lv.domain('vm1', guest=False, listen=None)
        theirs = lv.domain('theirs', guest=False, listen=None)
        client = self.spicy_power(self.place(ours), '-')
        client.wait_status(state='off')
        self.ask(client, 'on')
        place = self.place(theirs)
        other = self.spicy_power(place, '-', name='other')
        # unknown is also what it is before libvirt was asked
        place.wait_log('the power state is not known: access denied')
        self.ask(other, 'on', 'failed', 'access denied')
        self.assertEqual(theirs.state[0], 'shut off')


class HandOver(DomainCase):
    """Clients are at the gateway while it is off, then at QEMU."""

    def setUp(self):
        super().setUp()
        self.lv = self.daemons()

    def test_monitor(self):
        """A control client goes along, and back at the gateway it can start"""
        vm = self.lv.domain('machine', guest=False)
        endpoint = self.gateway(vm)
        watcher = self.spicy_power(endpoint, 'monitor', name='watcher')
        watcher.wait_state('off', 0)
        run = spicypower.run(endpoint.uri, 'on')
        self.assertEqual((run.code, run.result), (spicypower.OK, 'ok'), run)
        self.assertEqual(vm.state[0], 'running')
        endpoint.wait_log('clients go to 127.0.0.1')
        # that is told by QEMU, of which the gateway knows nothing
        mark = watcher.output.mark
        self.assertEqual(spicypower.run(vm.uri, 'pause').result, 'ok')
        watcher.wait_state('paused', mark)
        self.assertEqual(vm.state, ('paused', 'graphics client'))

    def test_client_later(self):
        """One that comes while it runs gets there; pause does not matter"""
        vm = self.lv.domain('machine', guest=False)
        vm.start()
        endpoint = self.gateway(vm)
        endpoint.wait_log('clients go to 127.0.0.1')
        vm.virsh('suspend')
        viewer = self.enterContext(spicegtk.Client(
            self.log_dir, endpoint.uri, all_channels=True))
        for channel in 'DisplayChannel', 'InputsChannel':
            viewer.wait('event', event='opened', channel=channel)

    def test_wildcard(self):
        """Where it is to go has to be said if it listens everywhere"""
        vm = self.lv.domain('machine', guest=False, listen='0.0.0.0')
        vm.start()
        self.gateway(vm).wait_log('set [server] hand-over-host')
        endpoint = self.gateway(vm, name='other', server={
            'hand-over-host': 'localhost'})
        endpoint.wait_log('clients go to localhost')
        viewer = self.enterContext(spicegtk.Client(
            self.log_dir, endpoint.uri, all_channels=True))
        viewer.wait('event', event='opened', channel='DisplayChannel')

    def one_window(self, desk, endpoint, vm, *options):
        """Power on, in spicy, and the guest's screen is in the same window."""
        spicy = desk.run(SPICY, f'--uri={endpoint.uri}', *options)
        shown = spicy.shown
        shown.find('status bar', 'Power state: Powered off')
        spicy.click('button', re.compile('.*Power On'))
        vm.follow()
        shown.find('status bar', 'Power state: Running')
        self.check_on_screen(desk, spicy, Screen(vm))
        self.assertEqual(len(shown.find_all('frame')), 1)
        return spicy

    def test_spicy(self):
        """spicy: from the powered-off page to the guest's screen"""
        desk = self.desktop()
        vm = self.lv.domain('machine', guest=False)
        spicy = self.one_window(desk, self.gateway(vm), vm)
        spicy.click('menu', 'File')
        spicy.click('menu item', 'Close')
        self.assertEqual(spicy.wait_exit(), 0)

    def test_round_trip(self):
        """Off and on, again and again: one window, one control client"""
        desk = self.desktop()
        port = ports.free()
        vm = self.lv.domain('machine', guest=False,
                            power=f"powerControl='yes' passwd='{PASSWORD}'",
                            spice="<home host='127.0.0.1' "
                                  f"port='{port}'/>")
        endpoint = self.gateway(vm, port=port, server={'ticket': 'domain'})
        self.wait_ticket(endpoint, PASSWORD)
        password = f'--password={PASSWORD}'
        watcher = self.spicy_power(endpoint, 'monitor', name='watcher',
                                   options=[password])
        watcher.wait_state('off', 0)
        spicy = desk.run(SPICY, f'--uri={endpoint.uri}', '-w', PASSWORD)
        shown = spicy.shown
        ends = {'virsh': lambda: vm.virsh('destroy'),
                'a client': lambda: self.assertEqual(
                    spicypower.run(vm.uri, 'off', options=[password]).result,
                    'ok'),
                'SIGTERM': lambda: os.kill(vm.pid, signal.SIGTERM)}
        for turn in range(case.depth(2, 20)):
            for how, end in ends.items():
                with self.subTest(f'turn {turn}, {how}'):
                    shown.find('status bar', 'Power state: Powered off')
                    mark = watcher.output.mark
                    spicy.click('button', re.compile('.*Power On'))
                    watcher.wait_state('on', mark)
                    vm.follow()
                    shown.find('status bar', 'Power state: Running')
                    self.check_on_screen(desk, spicy, Screen(vm))
                    self.assertEqual(len(shown.find_all('frame')), 1)
                    mark = watcher.output.mark
                    end()
                    watcher.wait_state('off', mark)
        self.assertEqual(len(shown.find_all('frame')), 1)
        # off at QEMU, and on at the gateway to which it sends its clients
        watcher.output.wait(lambda o: o.get('possible') == ['power-on'],
                            'that the domain has ended', mark)
        for word in 'on', 'cycle':
            mark = watcher.output.mark
            run = spicypower.run(endpoint.uri, word, options=[password])
            self.assertEqual((run.code, run.result), (spicypower.OK, 'ok'), run)
            watcher.wait_state('on', mark)
        self.assertEqual(vm.state[0], 'running')

    def test_killed(self):
        """QEMU sends nobody back; who waits for it is back all the same"""
        desk = self.desktop()
        vm = self.lv.domain('machine', guest=False)
        endpoint = self.gateway(vm)
        spicy = self.one_window(desk, endpoint, vm, '--reconnect')
        os.kill(vm.pid, signal.SIGKILL)
        spicy.shown.find('status bar', 'Power state: Powered off')
        spicy.click('button', re.compile('.*Power On'))
        vm.follow()
        spicy.shown.find('status bar', 'Power state: Running')
        self.check_on_screen(desk, spicy, Screen(vm))
        self.assertEqual(len(spicy.shown.find_all('frame')), 1)

    def test_spicy_ticket(self):
        """The same password lets one in at both ends; nothing is asked"""
        desk = self.desktop()
        vm = self.lv.domain('machine', guest=False,
                            power=f"powerControl='yes' passwd='{PASSWORD}'")
        endpoint = self.gateway(vm, server={'ticket': 'domain'})
        run = spicypower.run(endpoint.uri, 'status',
                             options=['--password=wrong'])
        self.assertEqual(run.code, spicypower.CONNECT)
        self.wait_ticket(endpoint, PASSWORD)
        self.one_window(desk, endpoint, vm, '-w', PASSWORD)

    def test_tls(self):
        """By TLS here and there, with one certificate authority"""
        desk = self.desktop()
        tls = self.authority()
        lv = self.daemons(qemu_conf=f'''
spice_tls = 1
spice_tls_x509_cert_dir = "{tls.directory}"
''')
        vm = lv.domain('tls', guest=False)
        port = ports.free()
        endpoint = self.enterContext(TlsPlace(self.log_dir, {
            'server': {'address': '127.0.0.1', 'tls-port': port,
                       'tls-ca-file': tls.ca_file,
                       'tls-cert-file': tls.directory / 'server-cert.pem',
                       'tls-key-file': tls.directory / 'server-key.pem'},
            'power': {'backend': 'libvirt'},
            'libvirt': {'uri': lv.uri, 'domain': vm.name}}, tls=port))
        self.one_window(desk, endpoint, vm, *tls.options)
        # QEMU says which of its clients use TLS
        channels = vm.qmp('query-spice')['channels']
        self.assertTrue(channels and all(c['tls'] for c in channels), channels)

    def test_two_tickets(self):
        """Who may look at QEMU may not start the domain here"""
        vm = self.lv.domain('machine', guest=False,
                            power="powerControl='yes' passwd='look'",
                            spice="<power passwd='press'/>")
        endpoint = self.gateway(vm, server={'ticket': 'domain'})
        self.wait_ticket(endpoint, 'look')

        def run(password, word):
            return spicypower.run(endpoint.uri, word,
                                  options=[f'--password={password}'])
        status = run('look', 'status').objects[-1]
        self.assertEqual((status['state'], status['allowed']), ('off', []))
        told = run('look', 'on')
        self.assertEqual((told.result, told.message), (
            'denied', 'You may only watch: the password that you have'
            ' connected with is not for power control'))
        self.assertEqual(vm.state[0], 'shut off')
        self.assertEqual(run('press', 'on').result, 'ok')
        self.assertEqual(vm.state[0], 'running')

    def test_cannot_start(self):
        """spicy shows why it can't be started"""
        desk = self.desktop()
        vm = self.lv.domain('machine', guest=False, devices='''
            <disk type='file' device='disk'>
              <source file='/no/such/disk.img'/>
              <target dev='hda'/>
            </disk>''')
        endpoint = self.gateway(vm)
        spicy = desk.run(SPICY, f'--uri={endpoint.uri}')
        spicy.click('button', re.compile('.*Power On'))
        spicy.shown.find('label', re.compile('.*/no/such/disk.img.*'))
        spicy.shown.find('status bar', 'Power state: Powered off')


class Screen:
    """What a domain has drawn."""

    def __init__(self, vm):
        self.vm = vm

    def execute(self, *arguments, **options):
        return self.vm.qmp(*arguments, **options)


if __name__ == '__main__':
    case.main(lambda: places.need(bmc.GATEWAY))
