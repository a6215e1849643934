#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who a client is when it comes by a proxy: QEMU and libvirt behind HAProxy.

HAProxy tells it by the PROXY protocol. Clients have addresses of their own, of
which 127.0.0.0/8 has many, and HAProxy has 127.0.0.1.
"""

import contextlib
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, libvirt, ports, sasl, wire      # noqa: E402
from powertest.libvirt import VirshError                    # noqa: E402
from powertest.machine import Machine, StartError           # noqa: E402
from powertest.record import TIMEOUT, Record, reader        # noqa: E402

HERE, ELSEWHERE, BESIDE = '127.0.0.1', '127.0.0.9', '127.0.0.8'
CONFIG = '''
global
    nbthread 1
    stats socket {admin} level admin
    log stderr format raw local0
defaults
    mode tcp
    log global
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen spice
    bind 127.0.0.1:{port}
    server machine {server} send-proxy-v2 {options}
'''


def header(source, port):
    """What HAProxy sends for a client there."""
    return (b'\r\n\r\n\0\r\nQUIT\n\x21\x11' + struct.pack('>H', 12)
            + socket.inet_aton(source) + socket.inet_aton(HERE)
            + struct.pack('>HH', port, 5900))


def connect_from(host, port, to=HERE):
    sock = socket.create_connection((to, port), TIMEOUT,
                                    source_address=(host, 0))
    return sock


class Proxy:
    """HAProxy in front of a server."""

    def __init__(self, log_dir, server, options=''):
        self.log_dir = Path(log_dir)
        self.directory = Path(tempfile.mkdtemp(prefix='spice-power-'))
        self.admin = self.directory / 'admin'
        self.port = ports.free()
        self.log = Record('HAProxy')
        self.config = self.directory / 'haproxy.cfg'
        self.config.write_text(CONFIG.format(
            admin=self.admin, port=self.port, server=server, options=options))

    def __enter__(self):
        self.process = subprocess.Popen(
            ['haproxy', '-db', '-f', self.config], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        file = open(self.log_dir / 'haproxy.log', 'w')

        def line(text):
            file.write(text.decode())
            file.flush()
            return text.decode().rstrip()
        reader(self.process.stderr, self.log, line)
        # who answers there listens everywhere
        while True:
            with contextlib.suppress(OSError):
                self.ask('show info')
                return self
            if self.process.poll() is not None:
                raise RuntimeError('HAProxy does not start: '
                                   + ' '.join(self.log.since()))

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()
        self.log.wait_end()
        self.process.stderr.close()
        for path in (self.admin, self.config):
            path.unlink(missing_ok=True)
        self.directory.rmdir()

    def ask(self, question):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(str(self.admin))
            sock.sendall(question.encode() + b'\n')
            return b''.join(iter(lambda: sock.recv(4096), b'')).decode()

    def is_up(self):
        names, state = self.ask('show servers state spice').splitlines()[1:3]
        return dict(zip(names[2:].split(), state.split()))['srv_op_state'] \
            == '2'

    def connect(self, source=ELSEWHERE):
        return connect_from(source, self.port)


class ProxyCase(case.PowerTestCase):
    def proxy(self, server, options=''):
        return self.enterContext(Proxy(self.log_dir, server, options))

    def linked(self, sock, **options):
        """A client that has been let in, and its address as events have it."""
        host, port = sock.getsockname()[:2]
        client = self.enterContext(wire.Client(sock, **options))
        return client, {'host': host, 'port': str(port)}

    def assertFrom(self, told, address):
        self.assertEqual({key: told[key] for key in ('host', 'port')}, address)

    def assertRefused(self, sock):
        """It is closed, and nothing is said."""
        with wire.Link(sock) as link, contextlib.suppress(OSError):
            link.hello()
            self.assertEqual(link.until_end_raw(), b'')


class Events(ProxyCase):
    """QEMU's events, and what it says when it is asked."""

    def check(self, vm, proxy):
        mark = vm.qmp.mark()
        client, address = self.linked(proxy.connect())
        client.wait_init()
        for name in ('SPICE_CONNECTED', 'SPICE_INITIALIZED'):
            data = vm.qmp.wait_event(name, mark)['data']
            self.assertFrom(data['client'], address)
        # a channel is a connection of its own
        inputs, inputs_address = self.linked(
            proxy.connect(), channel=3, session=client.session)
        self.assertNotEqual(inputs_address, address)
        channels = {}
        while len(channels) < 2:
            channels = {channel['channel-type']: channel
                        for channel in vm.spice()['channels']}
        self.assertFrom(channels[wire.CHANNEL_MAIN], address)
        self.assertFrom(channels[3], inputs_address)

        mark = vm.qmp.mark()
        _, result = client.act('pause', 7)
        self.assertEqual(result.result, 'ok', result)
        for name in ('SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'):
            data = vm.qmp.wait_event(name, mark)['data']
            self.assertFrom(data['client'], address)
            self.assertEqual(data['request-id'], 7)
        client.act('continue', 8)
        mark = vm.qmp.mark()
        client.close()
        inputs.close()
        for left in (address, inputs_address):
            vm.qmp.events.wait(
                lambda event: event['event'] == 'SPICE_DISCONNECTED'
                and event['data']['client']['port'] == left['port']
                and event['data']['client']['host'] == left['host'],
                f'the end of {left}', mark)

    def test_tcp(self):
        """By a port: also for who is let in without a header."""
        vm = self.machine('power=on,proxies=127.0.0.1', tcp=True)
        self.check(vm, self.proxy(f'127.0.0.1:{vm.port}'))
        self.assertEqual(vm.spice()['proxies'], [HERE])

    def test_unix(self):
        """By a UNIX socket, which can be the proxy's alone."""
        vm = self.machine('power=on,proxies=unix')
        self.check(vm, self.proxy(f'unix@{vm.spice_socket}'))

    def test_tls(self):
        """The proxy does not see what is said, and need not."""
        authority = self.authority()
        vm = self.machine('power=on,proxies=127.0.0.1', tls=authority)
        proxy = self.proxy(f'127.0.0.1:{vm.port}')
        mark = vm.qmp.mark()
        raw = proxy.connect()
        sock = authority.client_context().wrap_socket(raw,
                                                      server_hostname=HERE)
        client, address = self.linked(sock)
        client.wait_init()
        client.act('pause', 1)
        data = vm.qmp.wait_event('SPICE_POWER_RESULT', mark)['data']
        self.assertFrom(data['client'], address)
        self.assertTrue(data['client']['tls'])

    def test_sasl(self):
        """SASL is told where the user is."""
        directory = self.enterContext(
            tempfile.TemporaryDirectory(prefix='spice-power-'))
        users = sasl.Users(directory, 'SCRAM-SHA-256')
        users.add('ann', 'sesame')
        authority = self.authority()
        vm = self.machine('power=on,sasl=on,proxies=127.0.0.1', tls=authority,
                          env=users.environment)
        proxy = self.proxy(f'127.0.0.1:{vm.port}')
        mark = vm.qmp.mark()
        client, address = self.linked(
            authority.client_context().wrap_socket(proxy.connect(),
                                                   server_hostname=HERE),
            mechanism=sasl.Scram('ann', 'sesame'))
        client.wait_init()
        client.act('pause', 1)
        data = vm.qmp.wait_event('SPICE_POWER_RESULT', mark)['data']
        self.assertFrom(data['client'], address)
        self.assertEqual(data['client']['sasl-username'], 'ann')


class Trust(ProxyCase):
    """Whose word counts."""

    def setUp(self):
        super().setUp()
        self.vm = self.machine('power=on,proxies=127.0.0.1', tcp=True)

    def test_straight(self):
        """Who comes from where the proxy is, without a header, is refused."""
        mark = self.vm.qmp.mark()
        for _ in range(3):
            self.assertRefused(connect_from(HERE, self.vm.port))
        # nobody hears of these: the next one is the first
        client, address = self.linked(connect_from(BESIDE, self.vm.port))
        client.wait_init()
        data = self.vm.qmp.wait_event('SPICE_CONNECTED', mark)['data']
        self.assertFrom(data['client'], address)
        log = (self.log_dir / 'qemu.log').read_text()
        self.assertEqual(log.count('does not begin with a header'), 3, log)

    def test_elsewhere(self):
        """Others are served as ever, and can't say to be somebody."""
        client, address = self.linked(connect_from(BESIDE, self.vm.port))
        client.wait_init()
        mark = self.vm.qmp.mark()
        client.act('pause', 1)
        data = self.vm.qmp.wait_event('SPICE_POWER_RESULT', mark)['data']
        self.assertFrom(data['client'], address)

        mark = self.vm.qmp.mark()
        with connect_from(BESIDE, self.vm.port) as sock:
            sock.sendall(header(ELSEWHERE, 1))
            address = dict(zip(('host', 'port'),
                               map(str, sock.getsockname()[:2])))
            data = self.vm.qmp.wait_event('SPICE_CONNECTED', mark)['data']
            self.assertFrom(data['client'], address)
            link = wire.Link(sock)
            with self.assertRaises(wire.LinkError) as caught:
                link.read_reply()
            self.assertEqual(caught.exception.code, 2)      # its magic

    def test_checks(self):
        """HAProxy looks whether QEMU is there: that is no client of anybody."""
        proxy = self.proxy(f'127.0.0.1:{self.vm.port}',
                           'check inter 20 fall 1 rise 1')
        mark = self.vm.qmp.mark()
        for _ in range(5):
            # it comes up again by the next check that succeeds
            proxy.ask('set server spice/machine health down')
            while not proxy.is_up():
                continue
        self.assertFalse([name for name in self.vm.qmp.event_names(mark)
                          if name.startswith('SPICE')])
        client, address = self.linked(proxy.connect())
        client.wait_init()
        while not (channels := self.vm.spice()['channels']):
            continue
        self.assertFrom(channels[0], address)
        command, *log = (self.log_dir / 'qemu.log').read_text().splitlines()
        self.assertEqual([line for line in log if 'arning' in line], [])

    def test_slow(self):
        """A header that comes byte by byte keeps nobody from anything."""
        with connect_from(HERE, self.vm.port) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            mark = self.vm.qmp.mark()
            for byte in header(ELSEWHERE, 4711):
                sock.sendall(bytes([byte]))
                self.assertEqual(self.vm.qmp.status, 'running')
            data = self.vm.qmp.wait_event('SPICE_CONNECTED', mark)['data']
            self.assertFrom(data['client'], {'host': ELSEWHERE,
                                             'port': '4711'})

    def test_options(self):
        """What is no list of addresses is an error at start."""
        for name, value in (('a name', 'localhost'), ('bits', '10.0.0.1/8'),
                            ('half', '127.0.0.1 10.0.0')):
            machine = Machine(self.log_dir, f'power=on,proxies={value}',
                              name=name.replace(' ', '-'))
            with self.subTest(name), self.assertRaisesRegex(
                    StartError, f"invalid proxies: '{value}'"), machine:
                pass
            self.assertEqual(machine.process.returncode, 1)


class Domain(ProxyCase):
    """libvirt: its events, and its record of who has asked for what."""

    def daemons(self, qemu_conf):
        return self.enterContext(
            libvirt.Libvirt(self.log_dir, qemu_conf=qemu_conf))

    def test_audit(self):
        """The audit log and the events have the client, and not HAProxy."""
        lv = self.daemons('spice_proxies = [ "127.0.0.1", "::1" ]\n')
        vm = lv.domain('proxied', guest=False).start()
        vm.watch()
        proxy = self.proxy(vm.uri.removeprefix('spice://'))
        mark, log = vm.events.mark, lv.log.mark
        client, address = self.linked(proxy.connect())
        client.wait_init()
        there = f'{address["host"]}:{address["port"]}'
        vm.events.wait(
            lambda line: "event 'graphics'" in line and 'connect' in line
            and address['port'] in line and ELSEWHERE in line,
            'the event of a client', mark)
        _, result = client.act('pause', 1)
        self.assertEqual(result.result, 'ok', result)
        line = lv.log.wait(lambda line: 'op=pause reason=spice-client' in line,
                           'the audit record', log)
        self.assertIn(there, line)

        # nobody gets around it
        self.assertRefused(connect_from(HERE, int(vm.uri.split(':')[-1])))

    def test_without(self):
        """Without the setting it's as it ever was: HAProxy's header is not
        read."""
        lv = self.daemons('')
        vm = lv.domain('plain', guest=False).start()
        self.assertNotIn('proxies', vm.virsh(
            'qemu-monitor-command', '{"execute": "query-spice"}'))
        proxy = self.proxy(vm.uri.removeprefix('spice://'))
        with wire.Link(proxy.connect()) as link, \
                self.assertRaises(wire.LinkError):
            link.read_reply()

    def test_wrong(self):
        """What is no list of addresses is said when libvirtd starts."""
        for value in ('localhost', '10.0.0.1/8', '::/129', '127.0.0.1/', 'x'):
            with self.subTest(value):
                lv = libvirt.Libvirt(
                    self.log_dir, qemu_conf=f'spice_proxies = [ "{value}" ]\n')
                with self.assertRaises((VirshError, TimeoutError)), lv:
                    lv.domain('none', guest=False)
                self.assertIn(f"spice_proxies: '{value}' is neither",
                              '\n'.join(lv.log.since()))


if __name__ == '__main__':
    case.main()
