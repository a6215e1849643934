#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-gateway with one port for all of its machines.

Clients ask for a machine by its name, as they begin TLS. Machines are programs
here; test_gateway_hypervisor.py has libvirt's domains.
"""

import contextlib
import http.client
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, case, places, ports          # noqa: E402
from powertest import spicypower, wire                  # noqa: E402
from powertest.names import Names                       # noqa: E402
from powertest.record import TIMEOUT                    # noqa: E402

DOMAIN = 'example.test'
PROXY = b'\r\n\r\n\0\r\nQUIT\n'


def proxied(address, port, authority=b''):
    """What a proxy says of a client of IPv4."""
    tlv = struct.pack('>BH', 2, len(authority)) + authority if authority else b''
    return PROXY + struct.pack(
        '>BBH4s4sHH', 0x21, 0x11, 12 + len(tlv), socket.inet_aton(address),
        socket.inet_aton('192.0.2.1'), port, 5900) + tlv


class PortCase(case.PowerTestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root can give a program an /etc/hosts of "
                          'its own')
        self.ca = self.authority(names=(f'*.{DOMAIN}',))
        self.hosts = Names(self.ca.directory, {
            f'{name}.{DOMAIN}': '127.0.0.1' for name in 'abc'})

    def files(self, *names, **defaults):
        """The configuration of machines whose state is in a file."""
        self.port = ports.free()
        self.states = Path(self.ca.directory)
        for name in names:
            (self.states / f'{name}.state').write_text('off')
        return {
            'gateway.conf': {'gateway': {
                'address': '127.0.0.1', 'port': self.port,
                'unix-socket': '{directory}/proxy', 'domain': DOMAIN}},
            'defaults.conf': {
                'server': {'tls-ca-file': self.ca.ca_file,
                           'tls-cert-file': f'{self.states}/server-cert.pem',
                           'tls-key-file': f'{self.states}/server-key.pem',
                           **defaults},
                'power': {'backend': 'exec', 'poll-interval': 0.05,
                          'idle-poll-interval': 0.05},
                'exec': {
                    'status': f'cat {self.states}/{{name}}.state',
                    'power-on': f'cp {self.states}/on {self.states}/'
                                '{name}.state',
                    'power-off': f'cp {self.states}/off {self.states}/'
                                 '{name}.state'}},
            **{f'machines/{name}.conf': {} for name in names}}

    def gateway(self, files, **options):
        for state in 'on', 'off':
            (self.states / state).write_text(state)
        return self.enterContext(bmc.Gateway(self.log_dir, files, **options))

    def uri(self, name):
        return f'spice://{name}.{DOMAIN}?tls-port={self.port}'

    def named(self, name, *arguments, options=()):
        """A spicy-power that stays, at that machine."""
        return self.enterContext(spicypower.Client(
            SimpleNamespace(log_dir=self.log_dir, uri=self.uri(name)),
            *arguments, host=self.hosts, name=f'client-of-{name}',
            options=[*self.ca.options, *options]))

    def run_named(self, name, word, *options):
        """A one-shot spicy-power."""
        done = subprocess.run(
            [*self.hosts.prefix,
             *spicypower.command(self.uri(name), word,
                                 options=[*self.ca.options, *options])],
            env=places.environment(), text=True, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=TIMEOUT)
        return done.returncode, done.stdout + done.stderr

    def tls(self, name):
        """TLS with that machine, by that name."""
        sock = socket.create_connection(('127.0.0.1', self.port), TIMEOUT)
        return self.enterContext(self.ca.client_context().wrap_socket(
            sock, server_hostname=f'{name}.{DOMAIN}'))


class Port(PortCase):
    def test_names(self):
        """Each name is that machine, and no other, as often as one likes"""
        gateway = self.gateway(self.files('a', 'b'))
        clients = {name: self.named(name, '-') for name in 'ab'}
        for client in clients.values():
            client.wait_status(state='off', possible=['power-on'])
        told, _ = clients['b'].act('on')
        self.assertEqual(told['result'], 'ok')
        clients['b'].wait_status(state='on')
        self.assertEqual(clients['a'].status()['state'], 'off')
        self.assertEqual(self.run_named('a', 'on')[0], spicypower.OK)
        clients['a'].wait_status(state='on')
        gateway.wait_log('a: client')
        gateway.wait_log('b: client')

    def test_refused(self):
        """Other names, none at all, and what is no TLS"""
        gateway = self.gateway(self.files('a'))
        code, said = self.run_named('c', 'status')
        self.assertEqual(code, spicypower.CONNECT, said)
        gateway.wait_log(f'for c.{DOMAIN} is refused: there is no such machine')
        context = self.ca.client_context()
        context.check_hostname = False
        for name in None, f'x.a.{DOMAIN}', f'{DOMAIN}':
            with self.subTest(name), self.assertRaises(
                    (ssl.SSLError, ConnectionResetError)):
                sock = socket.create_connection(('127.0.0.1', self.port),
                                                TIMEOUT)
                with context.wrap_socket(sock, server_hostname=name):
                    pass
        gateway.wait_log('it asks for none')
        for plain in b'REDQ' + bytes(100), b'GET / HTTP/1.0\r\n\r\n', bytes(9):
            with self.subTest(plain), socket.create_connection(
                    ('127.0.0.1', self.port), TIMEOUT) as sock:
                sock.sendall(plain)
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(sock.recv(1), b'')
        self.assertEqual(self.run_named('a', 'status')[0], spicypower.OK)

    def test_proxy(self):
        """A proxy says who it is: in the log, and for requests"""
        gateway = self.gateway(self.files('a'))
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(str(gateway.directory / 'proxy'))
        sock.sendall(proxied('192.0.2.7', 51312))
        client = self.enterContext(wire.Client(
            self.ca.client_context().wrap_socket(
                sock, server_hostname=f'a.{DOMAIN}')))
        client.wait_init()
        gateway.wait_log('(192.0.2.7:51312 at ')
        self.assertEqual(client.act('power-on', 1)[1], (1, 'ok', ''))

    def test_haproxy(self):
        """HAProxy tells where clients are: its send-proxy-v2"""
        gateway = self.gateway(self.files('a'))
        port = ports.free()
        config = Path(self.ca.directory) / 'haproxy.cfg'
        config.write_text(f'''
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen spice
    bind 127.0.0.1:{port}
    server gateway unix@{gateway.directory}/proxy send-proxy-v2
''')
        with open(self.log_dir / 'haproxy.log', 'w') as log:
            process = subprocess.Popen(
                ['haproxy', '-db', '-f', str(config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until = time.monotonic() + TIMEOUT
        while True:
            with contextlib.suppress(OSError):
                sock = socket.create_connection(
                    ('127.0.0.1', port), TIMEOUT, ('127.0.0.9', 0))
                break
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
        here = '%s:%d' % sock.getsockname()
        client = self.enterContext(wire.Client(
            self.ca.client_context().wrap_socket(
                sock, server_hostname=f'a.{DOMAIN}')))
        client.wait_init()
        gateway.wait_log(f'({here} at ')

    def test_nothing_for_nobody(self):
        """What nobody looks at has no server: neither threads nor files"""
        names = [f'm{number}' for number in range(100)]
        files = self.files()
        files['defaults.conf']['exec'] = {'watch': 'sh -c "echo off; exec '
                                                   'sleep 1000"'}
        files.update((f'machines/{name}.conf', {}) for name in ['a', *names])
        gateway = self.gateway(files)
        pid = gateway.process.pid

        def threads():
            return len(os.listdir(f'/proc/{pid}/task'))
        before = threads(), gateway.resources()[1]
        self.named('a', '-').wait_status(state='off')
        after = threads(), gateway.resources()[1]
        # what each machine's program needs, and no more
        self.assertLess(before[0], 5)
        self.assertLess(before[1], 3 * len(names) + 30)
        self.assertGreater(after, before)

    def test_silent(self):
        """Who says nothing, or the half of it, keeps nobody out"""
        gateway = self.gateway(self.files('a'))
        crowd = [self.enterContext(socket.create_connection(
            ('127.0.0.1', self.port), TIMEOUT)) for _ in range(300)]
        for number, sock in enumerate(crowd):
            with contextlib.suppress(ConnectionError):
                sock.sendall(b'\x16\3\1\2\0\1'[:number % 7])
        begun = self.processor(gateway)
        self.assertEqual(self.run_named('a', 'status')[0], spicypower.OK)
        gateway.wait_log('too many others have come')
        # they have ten seconds, in which they are no work
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(crowd[-1].recv(1), b'')
        self.assertLess(self.processor(gateway) - begun, 2)

    @staticmethod
    def processor(gateway):
        """Seconds that it has used."""
        stat = Path(f'/proc/{gateway.process.pid}/stat').read_text()
        user, system = stat.rpartition(')')[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


class Reload(PortCase):
    def hang_up(self, gateway, expected='the configuration is read again'):
        mark = gateway.log.mark
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_log(expected, mark)

    def serial(self, name):
        return self.tls(name).getpeercert()['serialNumber']

    def test_certificate(self):
        """It is renewed in the midst of a session, of which nobody notices"""
        gateway = self.gateway(self.files('a'))
        client = self.named('a', '-')
        client.wait_status(state='off')
        before = self.serial('a')
        self.assertEqual(self.serial('a'), before)
        self.ca.issue()
        self.hang_up(gateway)
        self.assertNotEqual(self.serial('a'), before)
        told, _ = client.act('on')
        self.assertEqual(told['result'], 'ok')
        # files that can't be used are not used
        (self.states / 'server-cert.pem').write_text('nothing')
        self.hang_up(gateway, 'goes on with those that it has')
        self.serial('a')
        self.assertTrue(client.running)

    def test_machines(self):
        """One comes, one goes, one is wrong; a password is another one"""
        files = self.files('a', **{'ticket-file': '{directory}/ticket'})
        files['defaults.conf']['server']['ticket-file'] = \
            f'{self.states}/ticket'
        (self.states / 'ticket').write_text('first')
        gateway = self.gateway(files)
        client = self.named('a', '-', options=['--password=first'])
        client.wait_status(state='off')
        (self.states / 'b.state').write_text('on')
        (self.states / 'ticket').write_text('second')
        gateway.write({}, 'machines/b.conf')
        self.hang_up(gateway)
        self.assertTrue(client.running)
        for name in 'ab':
            self.assertEqual(self.run_named(name, 'status',
                                            '--password=first')[0],
                             spicypower.CONNECT)
            code, said = self.run_named(name, 'status', '--password=second')
            self.assertEqual(code, spicypower.OK, said)
        gateway.write({'server': {'prot': 1}}, 'machines/c.conf')
        self.hang_up(gateway, 'is not read again: it is wrong')
        gateway.wait_log("c.conf: [server] unknown key 'prot'")
        (gateway.directory / 'machines' / 'c.conf').unlink()
        (gateway.directory / 'machines' / 'b.conf').unlink()
        self.hang_up(gateway)
        self.assertEqual(self.run_named('b', 'status', '--password=second')[0],
                         spicypower.CONNECT)
        told, _ = client.act('on')
        self.assertEqual(told['result'], 'ok')


class Systemd(PortCase):
    """What systemd gives to a service, and wants to be told."""

    def test_notify(self):
        """It is ready, alive, reads again, and ends"""
        files = self.files('a')
        path = Path(self.ca.directory) / 'notify'
        told = self.enterContext(socket.socket(socket.AF_UNIX,
                                               socket.SOCK_DGRAM))
        told.bind(str(path))
        told.settimeout(TIMEOUT)

        def wait(text):
            while text not in (words := told.recv(4096).decode()):
                pass
            return words
        gateway = self.gateway(files, env={
            'NOTIFY_SOCKET': str(path), 'WATCHDOG_USEC': '400000'})
        self.assertEqual(told.recv(4096), b'READY=1')
        self.assertEqual(told.recv(4096), b'STATUS=machines: 1, clients: 0')
        self.named('a', 'monitor')
        wait('STATUS=machines: 1, clients: 1')
        wait('WATCHDOG=1')
        wait('WATCHDOG=1')
        (self.states / 'a.state').unlink()
        wait('STATUS=machines: 1, clients: 1, in trouble: 1 (a: cat: ')
        gateway.process.send_signal(signal.SIGHUP)
        self.assertIn('MONOTONIC_USEC=', wait('RELOADING=1'))
        wait('READY=1')
        gateway.process.terminate()
        wait('STOPPING=1')
        self.assertEqual(gateway.process.wait(TIMEOUT), 0)

    def test_wrong_certificate(self):
        """It is of no use to be started again: exit status 2"""
        files = self.files('a')
        key = self.states / 'server-key.pem'
        key.write_text('')
        gateway = bmc.Gateway(self.log_dir, files)
        self.addCleanup(gateway.close)
        for options in (), ('--config', gateway.config):
            done = gateway.check(*options)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, r'^spice-gateway: .*/a\.conf: '
                             rf'\[server\] tls-key-file: {key}: ')
            self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_check(self):
        """Whether machines answer; certificates and programs"""
        files = self.files('a', 'b')
        files['gateway.conf']['gateway']['domain'] = 'example.org'
        gateway = bmc.Gateway(self.log_dir, files)
        self.addCleanup(gateway.close)
        (self.states / 'b.state').unlink()
        options = '--config', gateway.config, '--check-machines'
        done = gateway.check(*options)
        self.assertEqual(done.returncode, 1, done.stderr)
        a, b = sorted(done.stdout.splitlines())
        self.assertEqual(a, 'a: off')
        self.assertRegex(b, '^b: cat: ')
        self.assertIn('warning: ', done.stderr)
        self.assertIn('server-cert.pem is not for a.example.org', done.stderr)
        (self.states / 'b.state').write_text('on')
        self.assertEqual(gateway.check(*options).returncode, 0)
        files['defaults.conf']['exec']['reset'] = '/no/such'
        gateway.write(files['defaults.conf'], 'defaults.conf')
        for options in (), options:
            done = gateway.check(*options)
            self.assertEqual(done.returncode, 2)
            self.assertIn('[exec] reset: there is no program /no/such',
                          done.stderr)

    def test_metrics(self):
        """By HTTP on a UNIX socket, as long as clients are there"""
        files = self.files('a')
        files['gateway.conf']['gateway']['metrics-socket'] = (
            '{directory}/metrics')
        gateway = self.gateway(files)
        client = self.named('a', '-')
        client.wait_status(state='off')
        self.assertEqual(client.act('on')[0]['result'], 'ok')
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(str(gateway.directory / 'metrics'))
            answer = http.client.HTTPResponse(sock)
            sock.sendall(b'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n')
            answer.begin()
            text = answer.read().decode()
        self.assertEqual(answer.status, 200)
        self.assertIn('\nspice_gateway_machine_state{machine="a",state="on"} 1'
                      '\n', text)
        self.assertIn('\nspice_gateway_machine_clients{machine="a"} 1\n', text)
        self.assertIn('\nspice_gateway_power_requests_total{machine="a",'
                      'action="power-on",result="ok"} 1\n', text)

    def test_socket(self):
        """systemd listens: who comes while it is started again waits for it"""
        files = self.files('a')
        files['gateway.conf']['gateway'] = {'domain': DOMAIN}
        listener = self.enterContext(socket.create_server(
            ('127.0.0.1', self.port)))
        gateway = self.gateway(files, listener=listener)
        self.assertEqual(self.run_named('a', 'status')[0], spicypower.OK)
        self.assertEqual(gateway.end(), 0)
        waiting = self.named('a', '-')
        gateway.process.stdout.close()
        gateway.start()
        waiting.wait_status(state='off')


if __name__ == '__main__':
    case.main(lambda: places.need(bmc.GATEWAY))
