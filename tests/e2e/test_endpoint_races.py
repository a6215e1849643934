#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where HAProxy takes clients when the map is late, and what it takes from them.

What it leads to are small TLS servers that say who they are; one of them is at
the gateway's socket, and reads the PROXY protocol as spice-gateway does.
"""

import contextlib
import re
import socket
import ssl
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, endpoint, ports             # noqa: E402
from powertest.endpoint import DOMAIN, SHIPPED, has_ipv6    # noqa: E402


def cut(hello, *places):
    """A ClientHello's record as several."""
    version, body = hello[:3], hello[5:]
    parts = [body[begin:end] for begin, end in
             zip((0, *places), (*places, len(body)))]
    return [version + len(part).to_bytes(2, 'big') + part for part in parts]


class Gateway(endpoint.EndpointCase):
    """It takes those whose machine has just gone, and those of the map."""

    def setUp(self):
        super().setUp()
        self.vm = self.stand_in('vm')
        self.there = self.proxy(vm1=self.vm.port, vm2=ports.free())
        with open(self.there.list, 'a') as file:
            file.write(f'vm5.{DOMAIN} 127.0.0.1 {ports.free()} proxy\n')
        self.endpoints(self.there, '--list', self.there.list)

    def who(self, name, **options):
        return super().who(self.there, f'{name}.{DOMAIN}', **options)

    def named(self, header, name):
        """What it says is right; the name HAProxy can tell since 2.9."""
        self.assertIn(header.name, (None, f'{name}.{DOMAIN}'))

    def test_refused(self):
        """The map is late: who is not at home any more is at the gateway"""
        gateway = self.gateway(self.there)
        self.assertEqual(self.who('vm1'), 'vm')
        mark = gateway.headers.mark
        with self.there.connect(self.ca, f'vm2.{DOMAIN}') as sock:
            self.assertEqual(sock.recv(100), b'gateway')
            header, = gateway.headers.since(mark)
            self.assertEqual(header.client, sock.getsockname())
            self.named(header, 'vm2')
        self.assertEqual(gateway.names.since()[-1], f'vm2.{DOMAIN}')
        self.there.log.wait(lambda line: ', gateway, --, ' in line,
                            'that it was the gateway')
        # one that reads the PROXY protocol itself is no different
        self.assertEqual(self.who('vm5'), 'gateway')
        # it is back
        self.assertEqual(self.who('vm1'), 'vm')

    def test_ends(self):
        """A machine that ends at this moment, and is back before the map"""
        gateway = self.gateway(self.there)
        self.assertEqual(self.who('vm1'), 'vm')
        self.vm.__exit__()
        self.assertEqual(self.who('vm1'), 'gateway')
        self.vm = self.enterContext(endpoint.StandIn(
            self.ca, 'again', port=self.vm.port))
        self.assertEqual(self.who('vm1'), 'again')
        self.assertEqual(len(gateway.headers.since()), 1)

    def test_off(self):
        """The map has it at the gateway"""
        gateway = self.gateway(self.there)
        tell = self.modules.haproxy.HAProxy(self.there.socket, self.there.map)
        tell.tell(f'set map {self.there.map} vm1.{DOMAIN} gateway')
        addresses = ['127.0.0.1', *(['::1'] if has_ipv6() else [])]
        for address in addresses:
            mark = gateway.headers.mark
            context = self.ca.client_context()
            with self.there.connect_address(address) as plain, \
                    context.wrap_socket(
                        plain, server_hostname=f'vm1.{DOMAIN}') as sock:
                self.assertEqual(sock.recv(100), b'gateway')
                header, = gateway.headers.since(mark)
                self.assertEqual(header.client, sock.getsockname()[:2])
                self.named(header, 'vm1')
        tell.tell(f'set map {self.there.map} vm1.{DOMAIN} '
                  f'127.0.0.1/{self.vm.port}')
        self.assertEqual(self.who('vm1'), 'vm')
        # at a port of its own, and told who that is
        other = self.stand_in('other', proxy=True)
        tell.tell(f'set map {self.there.map} vm1.{DOMAIN} '
                  f'127.0.0.1/{other.port}/proxy')
        self.assertEqual(self.who('vm1'), 'other')
        self.assertEqual(other.headers.since()[0].client[0], '127.0.0.1')

    def test_none(self):
        """Without a gateway it is refused, in a few seconds"""
        for name in 'vm2', 'vm5':
            with self.assertRaises((ssl.SSLEOFError, ssl.SSLZeroReturnError,
                                    ConnectionResetError)):
                self.who(name)
        self.there.log.wait(lambda line: ', gateway, SC, ' in line,
                            'that nobody was there')
        self.assertEqual(self.who('vm1'), 'vm')


class Hello(endpoint.EndpointCase):
    """What clients begin with."""

    def setUp(self):
        super().setUp()
        self.vm = self.stand_in('vm')
        self.there = self.proxy(vm1=self.vm.port)

    def hello(self, name):
        context, out = self.ca.client_context(), ssl.MemoryBIO()
        context.check_hostname = False
        with contextlib.suppress(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), out,
                             server_hostname=name).do_handshake()
        return out.read()

    def answer(self, parts, steps=False):
        """What the machine answers: a kind of record; None if nothing."""
        with self.there.connect_address() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                sock.sendall(part)
            with contextlib.suppress(ConnectionResetError):
                return (sock.recv(1) or [None])[0]

    def test_dot(self):
        """A name that ends with a dot is the same one"""
        for name in f'vm1.{DOMAIN}.', f'VM1.{DOMAIN.upper()}.':
            self.assertEqual(self.who(self.there, name), 'vm')
        self.assertKeptOut(self.there, f'vm2.{DOMAIN}.', check=False)

    def test_records(self):
        """A ClientHello that is several records, wherever it is cut"""
        hello = self.hello(f'vm1.{DOMAIN}')
        self.assertEqual(self.answer([hello]), 22)
        name = hello.index(b'vm1') - 5
        for places in ((1,), (4,), (30,), (name - 5,), (name,), (name + 3,),
                       (name + 16,), (len(hello) - 6,),
                       (name + 1, name + 2, name + 3)):
            with self.subTest(places):
                mark = self.vm.names.mark
                self.assertEqual(self.answer(cut(hello, *places)), 22)
                self.assertEqual(self.vm.names.wait(bool, 'a name', mark),
                                 f'vm1.{DOMAIN}')
                # all in one piece
                self.assertEqual(
                    self.answer([b''.join(cut(hello, *places))]), 22)
        mark = self.vm.names.mark
        for other in (self.hello(f'vm2.{DOMAIN}'), self.hello(None)):
            self.assertIsNone(self.answer(cut(other, 50)))
        self.assertEqual(self.vm.names.since(mark), [])

    def test_without_lua(self):
        """A HAProxy without Lua takes whole records"""
        there = endpoint.Proxy(self.log_dir, self.ca.directory, [
            ('feature(LUA)', 'feature(NONE)')])
        with there:
            self.assertEqual(self.who(there, f'VM1.{DOMAIN}.'), 'vm')
            self.assertKeptOut(there, f'vm2.{DOMAIN}')

    def test_no_hello(self):
        """What is none is refused at once, also in parts"""
        hello = self.hello(f'vm1.{DOMAIN}')
        first, second = cut(hello, 100)
        for what, parts in (
                ('an alert between', [first, b'\x15\3\1\0\2\2\x28', second]),
                ('an empty record', [first, b'\x16\3\1\0\0', second]),
                ('another version', [first, b'\x16\4' + second[2:]]),
                ('too long', [b'\x16\3\1\x40\1']),
                ('a long handshake', [b'\x16\3\1\0\4\1\1\0\0']),
                ('another handshake', [b'\x16\3\1\0\4\2\0\0\0']),
                # that of the session's id
                ('a wrong length', [hello[:43] + b'\xff' + hello[44:]]),
                ('nothing in it', [b'\x16\3\1\0\4\1\0\0\0'])):
            with self.subTest(what):
                mark = self.there.log.mark
                self.assertIsNone(self.answer(parts))
                line = self.there.log.wait(lambda line: ', PR, ' in line,
                                           'a refusal', mark)
                self.assertLess(int(line.split()[-2]), 2000, line)


class Limits(endpoint.EndpointCase):
    """Somebody who wants all there is."""

    def numbers(self):
        text = (SHIPPED / 'spice.cfg').read_text()
        return {what: int(number) for what, number in re.findall(
            r'reject if \{ sc0_(\w+) gt (\d+) \}', text)}

    def fill(self, proxy, most):
        """So many connections of one address, and then none."""
        kept = [self.enterContext(contextlib.closing(proxy.connect_address()))
                for _ in range(most)]
        with contextlib.suppress(ConnectionResetError), \
                proxy.connect_address() as sock:
            self.assertEqual(sock.recv(1), b'')
        for sock in kept:
            sock.setblocking(False)
            self.assertRaises(BlockingIOError, sock.recv, 1)
        return kept

    def test_at_a_time(self):
        """Others are served when one address has too many"""
        vm = self.stand_in('vm')
        most = self.numbers()
        self.changes = [(f'sc0_conn_rate gt {most["conn_rate"]}',
                         'sc0_conn_rate gt 9999')]
        proxy = self.proxy(vm1=vm.port)
        context = self.ca.client_context()
        kept = self.fill(proxy, most['conn_cur'])
        with proxy.connect_address(source_address=('127.0.0.2', 0)) as other, \
                context.wrap_socket(
                    other, server_hostname=f'vm1.{DOMAIN}') as tls:
            self.assertEqual(tls.recv(100), b'vm')
        for sock in kept:
            sock.close()
        # as soon as HAProxy has noticed
        for _ in range(100):
            with contextlib.suppress(OSError):
                if self.who(proxy, f'vm1.{DOMAIN}') == 'vm':
                    return
        self.fail('it is not served again')

    def test_rate(self):
        """One who guesses has so many guesses in a minute"""
        vm = self.stand_in('vm')
        proxy = self.proxy(vm1=vm.port)
        # the first one was to see whether HAProxy listens
        for _ in range(self.numbers()['conn_rate'] - 1):
            with proxy.connect_address():
                pass
        with self.assertRaises(OSError):
            self.who(proxy, f'vm1.{DOMAIN}')


if __name__ == '__main__':
    case.main(endpoint.prepare)
