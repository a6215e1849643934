#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One address for many machines: HAProxy, with haproxy/ as it is shipped."""

import contextlib
import io
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

import tap                                          # noqa: E402
from powertest import case, endpoint, places, ports   # noqa: E402
from powertest import spicegtk, spicypower            # noqa: E402
from powertest.endpoint import DOMAIN, listening      # noqa: E402
from powertest.record import TIMEOUT                  # noqa: E402

GATEWAY = places.PREFIX / 'bin' / 'spice-gateway'
CAPS_LOCK, CAPS_LOCK_ON = 58, 4


class Endpoint(endpoint.EndpointCase):
    def test_names(self):
        """Each name is that machine, and no other"""
        machines = [self.machine(tls=self.ca, name=f'qemu{n}')
                    for n in (1, 2)]
        proxy = self.proxy(*machines)
        for number, vm in enumerate(machines, 1):
            marks = [other.qmp.mark() for other in machines]
            for name in (f'vm{number}.{DOMAIN}', f'VM{number}.Example.Test'):
                client = self.raw(proxy, name)
                for action in ('pause', 'continue', 'reset'):
                    self.assertEqual(client.act(action, 1)[1], (1, 'ok', ''))
            for mark, other in zip(marks, machines):
                events = other.qmp.event_names(mark)
                self.assertEqual('RESET' in events, other is vm)

    def test_kept_out(self):
        """Other names, none at all, and what is no TLS"""
        vm = self.machine(tls=self.ca)
        proxy = self.proxy(vm)
        mark, log = vm.qmp.mark(), proxy.log.mark
        for name in (f'vm2.{DOMAIN}', DOMAIN, 'vm1', f'x.vm1.{DOMAIN}',
                     f'vm1.{DOMAIN}.test', 'other.test',
                     'a' * 63 + f'.{DOMAIN}'):
            with self.subTest(name):
                self.assertKeptOut(proxy, name)
        for name in (None, '127.0.0.1'):
            with self.subTest(name):
                self.assertKeptOut(proxy, name, check=False)
        for plain in (b'REDQ' + bytes(100), b'GET / HTTP/1.0\r\n\r\n',
                      bytes(100), b'\x16' + b'\xff' * 100,
                      b'\x16\3\1\0\x64' + bytes(100)):
            with self.subTest(plain), socket.create_connection(
                    ('127.0.0.1', proxy.port), TIMEOUT) as sock:
                sock.sendall(plain)
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(sock.recv(1), b'')
        with self.subTest('nothing'), socket.create_connection(
                ('127.0.0.1', proxy.port), TIMEOUT) as sock:
            self.assertEqual(sock.recv(1), b'')     # after 5 seconds
        # it is all refused, and nothing of it has come to the machine
        for _ in range(15):
            log = proxy.log.wait_mark(
                lambda line: ' to - as -:-, <NOSRV>, PR, ' in line,
                'a refusal', log)
        self.assertEqual(vm.qmp.event_names(mark), [])
        self.raw(proxy, f'vm1.{DOMAIN}')

    def test_clients(self):
        """spicy-power and the library find the machine by its name"""
        vm = self.guest(tls=self.ca)
        proxy = self.proxy(vm)
        name = f'vm1.{DOMAIN}'
        self.assertEqual(self.run_named(proxy, name, 'status')[0],
                         spicypower.OK)
        # all channels, and the machine's power through them
        client = self.enterContext(spicegtk.Client(
            self.log_dir, proxy.uri(name), host=proxy.hosts,
            ca_file=self.ca.ca_file, all_channels=True))
        for channel in ('Main', 'Display', 'Inputs', 'Cursor'):
            client.wait('event', event='opened',
                        channel=f'{channel}Channel')
        client.wait('drawn')
        client.press(CAPS_LOCK)         # the guest has the light put on
        client.wait('modifiers', modifiers=CAPS_LOCK_ON)
        console = vm.console.mark
        for action in ('pause', 'continue', 'reset', 'power-off',
                       'power-on'):
            self.assertEqual(client.act(action), ('ok', ''))
        vm.wait_tick(vm.wait_boot(console, timeout=120), timeout=120)
        self.assertEqual(client.complaints(), [])

    def test_who(self):
        """HAProxy's log says who a client is that the machine sees"""
        vm = self.machine(tls=self.ca)
        proxy = self.proxy(vm)
        client = self.raw(proxy, f'vm1.{DOMAIN}')
        there, = vm.spice()['channels']
        here = client.sock.getsockname()
        client.close()
        proxy.log.wait(
            lambda line: line.startswith(
                f'{here[0]}:{here[1]} to 127.0.0.1/{vm.port} as '
                f"{there['host']}:{there['port']}, "), 'who that was')

    def test_wrong_certificate(self):
        """A machine that cannot prove its name, or that is not there"""
        other = self.authority(names=('*.other.test',))
        vm = self.machine(tls=self.ca)
        nobody = ports.free()
        stranger = self.machine(tls=other, name='stranger')
        proxy = self.proxy(vm, stranger, vm3=nobody)
        for name, reason in (('vm2', 'The certificate of {} is not trusted'),
                             ('vm3', 'The connection to {} ended before'),
                             ('vm4', 'The connection to {} ended before')):
            with self.subTest(name):
                name = f'{name}.{DOMAIN}'
                code, said = self.run_named(proxy, name, 'status')
                self.assertEqual(code, spicypower.CONNECT, said)
                self.assertIn(f'cannot connect: {reason.format(name)}', said)
        self.assertEqual(
            self.run_named(proxy, f'vm1.{DOMAIN}', 'status')[0],
            spicypower.OK)

    def test_come_and_go(self):
        """Machines are added and removed, sessions go on"""
        machines = [self.machine(tls=self.ca, name=f'qemu{n}')
                    for n in (1, 2, 3)]
        first, second, third = machines
        proxy = self.proxy(first)
        client = self.named(proxy, '-', name=f'vm1.{DOMAIN}')
        self.assertEqual(client.status()['state'], 'on')
        connections = first.main_connections()

        self.assertKeptOut(proxy, f'vm2.{DOMAIN}')
        self.list(proxy, vm1=first.port, vm2=second.port)
        options = ('--list', proxy.list)
        self.assertEqual(self.endpoints(proxy, *options),
                         f'+ vm2.{DOMAIN} 127.0.0.1/{second.port}\n')
        self.raw(proxy, f'vm2.{DOMAIN}')
        # the same name is another machine, and one is gone
        self.list(proxy, vm2=third.port)
        self.assertEqual(self.endpoints(proxy, *options),
                         f'- vm1.{DOMAIN}\n'
                         f'= vm2.{DOMAIN} 127.0.0.1/{third.port}\n')
        self.assertKeptOut(proxy, f'vm1.{DOMAIN}')
        self.raw(proxy, f'vm2.{DOMAIN}')
        self.assertEqual(len(third.main_connections()), 1)
        # many, none, and back
        self.list(proxy, vm1=first.port,
                  **{f'm{n}': 1 + n for n in range(2000)})
        self.assertEqual(self.endpoints(proxy, *options).count('\n'), 2002)
        self.raw(proxy, f'vm1.{DOMAIN}')
        self.list(proxy)
        self.endpoints(proxy, *options)
        self.assertKeptOut(proxy, f'vm1.{DOMAIN}')
        # through all of which this session went on
        self.assertEqual(client.act('pause')[0]['result'], 'ok')
        self.assertEqual(first.qmp.status, 'paused')
        self.assertLessEqual(set(connections), set(first.main_connections()))

    def test_another_start(self):
        """What a HAProxy has not heard of it is told the next time"""
        vm = self.machine(tls=self.ca)
        proxy = self.proxy()
        self.list(proxy, vm1=vm.port)
        # the file alone: that is not what runs
        self.endpoints(proxy, '--list', proxy.list, running=False)
        self.assertKeptOut(proxy, f'vm1.{DOMAIN}')
        self.endpoints(proxy, '--list', proxy.list)
        self.raw(proxy, f'vm1.{DOMAIN}')

    def test_bmc(self):
        """A machine that is off is there, too, and can be powered on"""
        state = self.log_dir / 'state'
        state.write_text('off\n')
        for name in ('on', 'off'):
            program = self.log_dir / name
            program.write_text(f'#!/bin/sh\necho {name} > {state}\n')
            program.chmod(0o755)
        port = ports.free()
        config = self.log_dir / 'bmc.conf'
        config.write_text(f"""
[server]
address=127.0.0.1
tls-port={port}
tls-ca-file={self.ca.ca_file}
tls-cert-file={self.ca.directory}/server-cert.pem
tls-key-file={self.ca.directory}/server-key.pem
[power]
backend=exec
[exec]
status=cat {state}
power-on={self.log_dir}/on
power-off={self.log_dir}/off
""")
        with open(self.log_dir / 'bmc.log', 'w') as log:
            bmc = subprocess.Popen([GATEWAY, '--config', config], stderr=log,
                                   stdin=subprocess.DEVNULL, stdout=log,
                                   env=places.environment())
        self.addCleanup(bmc.wait, TIMEOUT)
        self.addCleanup(bmc.terminate)
        listening(bmc, port)
        proxy = self.proxy(self.machine(tls=self.ca), vm7=port)
        client = self.named(proxy, '-', name=f'vm7.{DOMAIN}')
        client.wait_status(state='off')
        for word, there in (('on', 'on'), ('off', 'off')):
            self.assertEqual(client.act(word)[0]['result'], 'ok')
            self.assertEqual(state.read_text(), f'{there}\n')
            self.assertEqual(client.status()['state'], there)

    def test_migration(self):
        """A client follows its machine to another one's name"""
        spice = 'power=on,seamless-migration=on'
        source = self.machine(spice, tls=self.ca, many_clients=False,
                              name='source')
        target = self.machine(spice, tls=self.ca, many_clients=False,
                              name='target', extra=('-incoming', 'defer'))
        proxy = self.proxy(source, target)
        for vm in (source, target):
            vm.qmp.execute('migrate-set-capabilities', capabilities=[
                {'capability': 'events', 'state': True}])
        client = self.enterContext(spicegtk.Client(
            self.log_dir, proxy.uri(f'vm1.{DOMAIN}'), host=proxy.hosts,
            ca_file=self.ca.ca_file))
        client.wait('event', event='opened', channel='MainChannel')
        self.assertEqual(client.act('pause'), ('ok', ''))
        self.assertEqual(client.act('continue'), ('ok', ''))
        where = f'unix:{source.run_dir}/migration'
        target.qmp.execute('migrate-incoming', uri=where)
        source.qmp.execute('client_migrate_info', protocol='spice',
                           hostname=f'vm2.{DOMAIN}', port=0,
                           **{'tls-port': proxy.port})
        client.wait('migration', state='migrating')
        client.act('power-on')          # the source knows that it is there
        mark = client.mark
        source.qmp.execute('migrate', uri=where)
        target.qmp.wait_event('MIGRATION', 0, status='completed')
        client.wait('migration', mark, state='none')
        source.qmp.wait_event('SPICE_MIGRATE_COMPLETED', 0)
        mark = target.qmp.mark()
        self.assertEqual(client.act('reset'), ('ok', ''))
        target.qmp.wait_event('RESET', mark)
        self.assertEqual(client.complaints(), [])

    def test_mistakes(self):
        """A list that is wrong changes nothing, and it says what is wrong"""
        vm = self.machine(tls=self.ca)
        proxy = self.proxy(vm)
        before = proxy.map.read_text()
        for text, said in (
                ('vm1.example.test 127.0.0.1', 'list:1: 2 words'),
                ('# \n\na_b 127.0.0.1 1', "list:3: 'a_b' is not the name"),
                ('a.-b 127.0.0.1 1', "'a.-b' is not the name"),
                ('a here 1', "'here' does not appear to be an IP"),
                ('a 127.0.0.1 70000', "'70000' is not a port"),
                ('a 127.0.0.1 x', 'invalid literal'),
                ('a 127.0.0.1 1\nA 127.0.0.1 2',
                 'list:2: a has been 127.0.0.1/1 before')):
            with self.subTest(text):
                proxy.list.write_text(text)
                self.assertIn(said, self.endpoints(
                    proxy, '--list', proxy.list, code=1))
                self.assertEqual(proxy.map.read_text(), before)
        self.assertIn('not-there: No such file', self.endpoints(
            proxy, '--list', proxy.directory / 'not-there', code=1))
        # a HAProxy that is not there, or that has no such map
        self.list(proxy, vm1=vm.port)
        missing = proxy.directory / 'missing'
        self.assertIn('the running HAProxy has the map of before',
                      self.endpoints(proxy, '--list', proxy.list, '--socket',
                                     missing, running=False, code=1))
        other = proxy.directory / 'other.map'
        proxy.map, name = other, proxy.map
        self.assertIn(f'show map {other}', self.endpoints(
            proxy, '--list', proxy.list, code=1))
        proxy.map = name
        self.raw(proxy, f'vm1.{DOMAIN}')

    def test_half_a_map(self):
        """What HAProxy does not take leaves nothing behind in it"""
        shipped = self.modules
        proxy = self.proxy(vm7=1)
        before = proxy.map.read_text()
        target = shipped.haproxy.HAProxy(proxy.socket, proxy.map)
        tell, added = target.tell, []

        def refused(command, *arguments):
            if command.startswith('add'):
                added.append(command)
                if len(added) == 2:
                    command = 'add map'         # that is not all of it
            return tell(command, *arguments)
        target.tell = refused
        with self.assertRaisesRegex(shipped.common.Trouble,
                                    'HAProxy refuses "add '):
            target.load({f'vm{n}.{DOMAIN}': '127.0.0.1/1' for n in range(60)})
        target.tell = tell
        self.assertEqual(target.loaded(),
                         shipped.haproxy.entries(before.splitlines()))
        version = added[0].split()[2]
        self.assertEqual(target.tell(f'show map {version} {proxy.map}'), '')

    def test_ipv6(self):
        """A machine at an IPv6 address"""
        try:
            socket.create_server(('::1', 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest(f'no IPv6 here: {error}')
        vm = self.machine(tls=self.ca, address='::1')
        port, proxy = vm.port, self.proxy()
        proxy.list.write_text(f'vm1.{DOMAIN} ::1 {port}\n'
                              f'vm2.{DOMAIN} 0:0::1 {port}\n')
        self.assertEqual(self.endpoints(proxy, '--list', proxy.list),
                         f'+ vm1.{DOMAIN} ::1/{port}\n'
                         f'+ vm2.{DOMAIN} ::1/{port}\n')
        for name in ('vm1', 'vm2'):
            client = self.raw(proxy, f'{name}.{DOMAIN}')
            self.assertEqual(client.act('reset', 1)[1], (1, 'ok', ''))
            client.close()
        proxy.log.wait(lambda line: f' to ::1/{port} as ::1:' in line,
                       'whose that was')

    def test_many(self):
        """10,000 names, and how long that takes"""
        vm = self.machine(tls=self.ca)
        proxy = self.proxy()
        self.list(proxy, vm1=vm.port, **{f'm{n}': 1 + n for n in range(9999)})
        began = time.monotonic()
        said = self.endpoints(proxy, '--list', proxy.list)
        tap.note(f'10,000 names: {time.monotonic() - began:.1f} s')
        self.assertEqual(said.count('\n'), 10000)
        self.raw(proxy, f'vm1.{DOMAIN}')


class Change(endpoint.EndpointCase):
    """What running HAProxys are told of single entries."""

    def setUp(self):
        super().setUp()
        self.enterContext(contextlib.redirect_stdout(io.StringIO()))
        self.there = self.proxy(vm1=1, vm2=2)
        self.target = self.map_of(self.there.socket)
        self.target.tend()
        self.told = []

    def map_of(self, *sockets):
        """As of a spice-endpoints that has been started."""
        target = self.modules.haproxy.Map(self.there.map, sockets)
        target.dirty = True
        return target

    def listen(self, haproxy):
        """Record what that one is told from here on."""
        tell = haproxy.tell

        def told(command, *arguments):
            self.told.append(command)
            return tell(command, *arguments)
        haproxy.tell = told

    def update(self, target=None, **values):
        (target or self.target).update({
            f'{name}.{DOMAIN}': value for name, value in values.items()})

    def assertLoaded(self, target=None):
        """All of them have the map that is meant."""
        target = target or self.target
        for haproxy in target.haproxys:
            self.assertEqual(haproxy.loaded(), target.machines)

    def test_entries(self):
        """One entry is one command, however large the map is"""
        self.listen(self.target.haproxys[0])
        self.update(**{f'm{n}': f'192.0.2.1/{n + 1}' for n in range(500)})
        self.assertLoaded()
        before = self.there.map.read_text()
        self.told.clear()
        self.update(vm1='127.0.0.1/9', vm3='gateway', vm2=None)
        self.assertEqual(self.told, ['show info', ';'.join(
            f'{word} map {self.there.map} {name}' for word, name in (
                ('set', f'vm1.{DOMAIN} 127.0.0.1/9'), ('del', f'vm2.{DOMAIN}'),
                ('add', f'vm3.{DOMAIN} gateway')))])
        self.assertLoaded()
        # the file follows, but not with each of them
        self.assertLess(self.target.tend(), 1.1)
        self.assertEqual(self.there.map.read_text(), before)
        self.target.written -= 1
        self.target.tend()
        self.assertEqual(self.map_of().machines, self.target.machines)
        self.told.clear()
        self.update(vm1='127.0.0.1/9', vm9=None)
        self.assertEqual(self.told, [], 'nothing has changed')

    def test_between(self):
        """A HAProxy that is started between a change and the file's writing"""
        self.update(vm1='127.0.0.1/9')
        self.there.stop()
        self.there.start()
        self.assertNotEqual(self.target.haproxys[0].loaded(),
                            self.target.machines)
        self.target.written -= 1
        self.target.tend()
        self.target.tend()
        self.assertLoaded()
        # and one after
        self.there.stop()
        self.there.start()
        self.update(vm2='127.0.0.1/10')
        self.target.tend()
        self.assertLoaded()

    def test_by_hand(self):
        """Who has changed HAProxy's map is put right"""
        self.target.haproxys[0].tell(f'clear map {self.there.map}')
        self.update(vm1='127.0.0.1/9')
        self.target.tend()
        self.assertLoaded()
        self.target.haproxys[0].tell(
            f'set map {self.there.map} vm2.{DOMAIN} 192.0.2.9/1')
        self.target.check()             # as every ten minutes
        self.target.tend()
        self.assertLoaded()

    def test_two(self):
        """Of two HAProxys one may be away"""
        with tempfile.TemporaryDirectory() as directory:
            other = endpoint.Proxy(self.log_dir, directory)
            other.map = self.there.map
            target = self.map_of(self.there.socket, other.socket)
            complaint = io.StringIO()
            with contextlib.redirect_stderr(complaint):
                target.tend()
                self.update(target, vm1='127.0.0.1/9')
                target.tend()
            self.assertEqual(complaint.getvalue().count(
                'the running HAProxy has the map of before'), 1)
            self.assertEqual(target.haproxys[0].loaded(), target.machines)
            with other:
                target.check()
                target.tend()
                self.assertLoaded(target)
                self.update(target, vm1=None, vm2='gateway')
                self.assertLoaded(target)

    def test_unwritable(self):
        """Without the file HAProxy is told, and it is tried again"""
        new = self.there.map.with_name('spice.map.new')
        new.mkdir()
        complaint = io.StringIO()
        self.modules.common.complaints.said.clear()
        with contextlib.redirect_stderr(complaint):
            self.update(vm1='127.0.0.1/9')
            self.target.written -= 1
            self.target.tend()
            self.assertLoaded()
        self.assertIn(f'{new}: Is a directory: it is tried again',
                      complaint.getvalue())
        new.rmdir()
        self.target.written -= 10
        self.target.tend()
        self.assertEqual(self.map_of().machines, self.target.machines)


def prepare():
    endpoint.prepare()
    places.need(GATEWAY)


if __name__ == '__main__':
    case.main(prepare)
