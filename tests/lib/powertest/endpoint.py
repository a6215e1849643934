# SPDX-License-Identifier: GPL-2.0-or-later
"""HAProxy with haproxy/ as it is shipped, and what it leads to."""

import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from . import case, places, ports, spicypower, wire
from .names import Names
from .record import TIMEOUT, Record, reader

# another one to try it with
HAPROXY = os.environ.get('SPICE_POWER_HAPROXY', 'haproxy')
SHIPPED = places.ROOT / 'haproxy'
PROGRAM = SHIPPED / 'spice-endpoints'
DOMAIN = 'example.test'
# With more threads than one, lines get lost of a log that is a pipe
GLOBAL = '''
global
    nbthread 1
    stats socket {socket} mode 600 level admin
    log stderr format raw local0
'''
PROXY_V2 = b'\r\n\r\n\0\r\nQUIT\n'
AUTHORITY = 2


def modules():
    """spice-endpoints' own modules, for what one cannot see from outside."""
    if str(SHIPPED) not in sys.path:
        sys.path.insert(0, str(SHIPPED))
    from endpoints import common, files, haproxy, hypervisor, owners
    return SimpleNamespace(common=common, files=files, haproxy=haproxy,
                           hypervisor=hypervisor, owners=owners)


def has_ipv6():
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def listening(process, port, path=None):
    """Wait until a process that has just been started listens."""
    if path:
        with socket.socket(socket.AF_UNIX) as sock:
            wait_for(process, lambda: sock.connect(str(path)), path)
    wait_for(process, lambda: socket.create_connection(
        ('127.0.0.1', port)).close(), f'port {port}')


def wait_for(process, connect, place):
    deadline = time.monotonic() + TIMEOUT
    while True:
        with contextlib.suppress(OSError):
            connect()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f'nothing listens on {place}')
        time.sleep(0.02)


def following(test, command, env):
    """A spice-endpoints that stays: what it prints, what it complains of."""
    out, errors = Record('spice-endpoints'), Record('its complaints')
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    test.addCleanup(process.stdout.close)
    test.addCleanup(process.stderr.close)
    for stream, record in ((process.stdout, out), (process.stderr, errors)):
        reader(stream, record, lambda line: line.decode().rstrip())

    def ended():
        process.terminate()
        test.assertEqual(process.wait(TIMEOUT), 0)
        out.wait_end()
        errors.wait_end()
    test.addCleanup(ended)
    return out, errors, process


def changed(name, changes):
    """A file of haproxy/ with other places, and what else is to be another."""
    config = (SHIPPED / name).read_text()
    for there, here in changes:
        before, config = config, config.replace(there, here)
        if config == before:
            raise ValueError(f'{name} has no {there}')
    return config


def bound(port, usual):
    """Where it listens instead of this usual port of all addresses."""
    return ((f'bind :{usual}', f'bind 127.0.0.1:{port}'),
            (f'bind :::{usual}', f'bind ::1:{port}' if has_ipv6()
             else f'bind 127.0.0.2:{port}'))


def configuration(port, map, gateway, changes=()):
    """spice.cfg, for these."""
    return changed('spice.cfg', (
        ('/var/lib/spice-endpoints/spice.map', str(map)),
        ('/etc/haproxy/spice-name.lua', str(SHIPPED / 'spice-name.lua')),
        ('/run/spice-gateway.sock', str(gateway)),
        *bound(port, 5900), *changes))


class Proxy:
    """HAProxy with spice.cfg, where only the two places are another."""

    def __init__(self, log_dir, directory, changes=()):
        """Changes are pairs of what spice.cfg has and what it has here."""
        self.directory = Path(directory)
        self.changes = changes
        self.map = self.directory / 'spice.map'
        self.socket = self.directory / 'admin'
        self.list = self.directory / 'list'
        self.gateway = self.directory / 'gateway'
        self.log = None
        self.log_dir = log_dir
        self.hosts = Names(directory, {
            name: '127.0.0.1' for name in
            (*(f'vm{n}.{DOMAIN}' for n in range(1, 10)), 'other.test')})
        self.process = None

    def __enter__(self):
        self.port = ports.free()
        self.start()
        return self

    def configuration(self):
        return configuration(self.port, self.map, self.gateway, self.changes)

    def start(self):
        ours = self.directory / 'ours.cfg'
        ours.write_text(self.configuration())
        main = self.directory / 'haproxy.cfg'
        main.write_text(GLOBAL.format(socket=self.socket))
        self.log = Record('HAProxy')
        self.process = subprocess.Popen(
            [HAPROXY, '-db', '-f', str(main), '-f', str(ours)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        file = open(self.log_dir / 'haproxy.log', 'a')

        def line(text):
            text = text.decode()
            file.write(text)
            file.flush()
            return text.rstrip()
        reader(self.process.stderr, self.log, line)
        try:
            # another one's socket may be there still
            listening(self.process, self.port, self.socket)
        except RuntimeError:
            self.__exit__()
            raise RuntimeError('HAProxy does not start: '
                               + ' '.join(self.log.since()))

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.wait_end()
        self.process.stderr.close()

    def __exit__(self, *unused):
        self.stop()

    def connect_address(self, address='127.0.0.1', **options):
        return socket.create_connection((address, self.port), TIMEOUT,
                                        **options)

    def uri(self, name):
        return f'spice://{name}?tls-port={self.port}'

    def connect(self, authority, name, check=True):
        """A raw connection to the machine of that name, or to none."""
        context = authority.client_context()
        context.check_hostname = check
        sock = socket.create_connection(('127.0.0.1', self.port), TIMEOUT)
        return context.wrap_socket(sock, server_hostname=name)


class Header(NamedTuple):
    """What a PROXY header says: whose connection it is, to whom."""
    client: tuple
    name: str           # None if it does not say


def read_header(sock):
    """Read one, version 2, and nothing of what follows."""
    head = sock.recv(16, socket.MSG_WAITALL)
    if not head.startswith(PROXY_V2) or head[12] != 0x21:
        raise ValueError(f'not a PROXY header: {head}')
    rest = sock.recv(struct.unpack('>H', head[14:])[0], socket.MSG_WAITALL)
    family, size = ((socket.AF_INET, 4) if head[13] == 0x11 else
                    (socket.AF_INET6, 16))
    address = socket.inet_ntop(family, rest[:size])
    port, = struct.unpack('>H', rest[2 * size:2 * size + 2])
    rest, name = rest[2 * size + 4:], None
    while rest:
        kind, length = struct.unpack('>BH', rest[:3])
        if kind == AUTHORITY:
            name = rest[3:3 + length].decode()
        rest = rest[3 + length:]
    return Header((address, port), name)


class StandIn:
    """In place of a machine, or a gateway: it says who it is, by TLS.

    Headers are those of the PROXY protocol, if it reads them; names are those
    that clients asked for.
    """

    def __init__(self, authority, name, path=None, proxy=False, port=None):
        self.name, self.path, self.proxy = name, path, proxy
        self.headers = Record(f"{name}'s PROXY headers")
        self.names = Record(f"{name}'s names")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(authority.directory / 'server-cert.pem',
                                     authority.directory / 'server-key.pem')
        self.context.sni_callback = lambda sock, name, context: \
            self.names.append(name)
        if path:
            path.unlink(missing_ok=True)
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(str(path))
            self.socket.listen()
        else:
            self.port = port or ports.free()
            self.socket = socket.create_server(('127.0.0.1', self.port))
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(TIMEOUT)
        self.socket.close()
        if self.path:
            self.path.unlink(missing_ok=True)

    def serve(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            # one is enough at a time; who says nothing has left
            with sock, contextlib.suppress(OSError):
                sock.settimeout(TIMEOUT)
                if self.proxy:
                    self.headers.append(read_header(sock))
                with self.context.wrap_socket(sock, server_side=True) as tls:
                    tls.sendall(self.name.encode())


class EndpointCase(case.PowerTestCase):
    changes = ()                # of spice.cfg: see Proxy
    modules = modules()

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root can give a program an /etc/hosts of "
                          'its own')
        self.ca = self.authority(names=(f'*.{DOMAIN}',))

    def proxy(self, *machines, **listed):
        """A proxy in front of these machines: vm1.example.test, and so on."""
        proxy = Proxy(self.log_dir, self.ca.directory, self.changes)
        listed.update((f'vm{number}', vm.port)
                      for number, vm in enumerate(machines, 1))
        self.list(proxy, **listed)
        self.endpoints(proxy, '--list', proxy.list, running=False)
        return self.enterContext(proxy)

    def list(self, proxy, **ports):
        proxy.list.write_text('# machines\n' + ''.join(
            f'{name}.{DOMAIN} 127.0.0.1 {port}  # {name}\n'
            for name, port in ports.items()))

    def command(self, proxy, *arguments, running=True):
        return list(map(str, (
            PROGRAM, proxy.map, *arguments,
            *(('--socket', proxy.socket) if running else ()))))

    def endpoints(self, proxy, *arguments, code=0, **options):
        """Run spice-endpoints; what it printed."""
        done = subprocess.run(
            self.command(proxy, *arguments, **options), text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def raw(self, proxy, name):
        """A raw client of the machine of that name, let in."""
        client = self.enterContext(
            wire.Client(proxy.connect(self.ca, name)))
        client.wait_init()
        return client

    def named(self, proxy, *arguments, name, **options):
        """A spicy-power that stays, connected by name."""
        there = SimpleNamespace(log_dir=self.log_dir, uri=proxy.uri(name))
        return self.enterContext(spicypower.Client(
            there, *arguments, host=proxy.hosts, options=self.ca.options,
            **options))

    def run_named(self, proxy, name, *arguments):
        """A one-shot spicy-power: (exit code, what it said)."""
        done = subprocess.run(
            [*proxy.hosts.prefix,
             *spicypower.command(proxy.uri(name), *arguments,
                                 options=self.ca.options)],
            env=places.environment(), text=True, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=TIMEOUT)
        return done.returncode, done.stdout + done.stderr

    def assertKeptOut(self, proxy, name, check=True):
        """There is not even TLS with whoever is not in the map."""
        with self.assertRaises((ssl.SSLEOFError, ssl.SSLZeroReturnError,
                                ConnectionResetError)):
            proxy.connect(self.ca, name, check)

    def until(self, holds):
        """Wait for what nobody tells."""
        deadline = time.monotonic() + TIMEOUT
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def stand_in(self, name, **options):
        return self.enterContext(StandIn(self.ca, name, **options))

    def gateway(self, proxy):
        """What there is at the gateway's socket."""
        return self.stand_in('gateway', path=proxy.gateway, proxy=True)

    def who(self, proxy, name):
        """Which stand-in one gets to by that name."""
        with proxy.connect(self.ca, name, check=False) as sock:
            return sock.recv(100).decode()


def prepare():
    if not shutil.which(HAPROXY):
        raise places.Missing('there is no program haproxy; ./stack build '
                             'installs it')
