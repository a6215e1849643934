#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One address for many machines: HAProxy, with haproxy/ as it is shipped."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

import tap                                          # noqa: E402
from powertest import case, places, ports, spicegtk   # noqa: E402
from powertest import spicypower, wire                # noqa: E402
from powertest.libvirt import Libvirt               # noqa: E402
from powertest.names import Names                   # noqa: E402
from powertest.record import TIMEOUT, Record, reader    # noqa: E402

SHIPPED = places.ROOT / 'haproxy'
GATEWAY = places.PREFIX / 'bin' / 'spice-gateway'
DOMAIN = 'example.test'
CAPS_LOCK, CAPS_LOCK_ON = 58, 4
# With more threads than one, lines get lost of a log that is a pipe
GLOBAL = '''
global
    nbthread 1
    stats socket {socket} mode 600 level admin
    log stderr format raw local0
'''
# A virsh that knows the domains in the directories beside it
VIRSH = f'''#!{sys.executable}
import os
import sys
import time
from pathlib import Path

here = Path(__file__).parent
uri, words = sys.argv[3], ' '.join(sys.argv[4:])
with open(here / 'calls', 'a') as calls:
    calls.write(words + '\\n')
place = here / uri.replace('/', '_')
if (here / 'down').exists():
    sys.exit('error: nobody is there')
while 'event' in words and not (here / 'connect').exists():
    time.sleep(0.05)
failed = False
for command in words.split('; '):
    word, *rest = command.split()
    if word == 'list':
        for path in sorted(place.glob('*.xml')):
            print(path.stem, *([path.with_suffix('.name').read_text()]
                               if '--name' in rest else []))
    elif word == 'dumpxml':
        text = (place / (rest[-1] + '.xml')).read_text()
        failed = not text.startswith('<')
        if failed:
            print(text or 'error: Domain not found', file=sys.stderr)
        else:
            print(text)
    elif word == 'uri':
        failed = False
        print(uri, flush=True)
    elif word == 'event':
        while os.getppid() != 1:        # ended by who has started it
            time.sleep(0.1)
sys.exit(failed)
'''
DOMAIN_XML = '''<domain type='qemu' id='1'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <devices>
    <graphics {graphics} tlsPort='{port}' autoport='yes' listen='{listen}'>
      <listen type='address' address='{listen}'/>
    </graphics>
  </devices>
</domain>
'''


def listening(process, port):
    """Wait until a process that has just been started listens."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        with contextlib.suppress(OSError), \
                socket.create_connection(('127.0.0.1', port)):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f'nothing listens on port {port}')
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


class Proxy:
    """HAProxy with spice.cfg, where only the two places are another."""

    def __init__(self, log_dir, directory):
        self.directory = Path(directory)
        self.map = self.directory / 'spice.map'
        self.socket = self.directory / 'admin'
        self.list = self.directory / 'list'
        self.log = Record('HAProxy')
        self.log_dir = log_dir
        self.hosts = Names(directory, {
            name: '127.0.0.1' for name in
            (*(f'vm{n}.{DOMAIN}' for n in range(1, 10)), 'other.test')})
        self.process = None

    def __enter__(self):
        self.port = ports.free()
        config = (SHIPPED / 'spice.cfg').read_text()
        for there, here in (('/etc/haproxy/spice.map', str(self.map)),
                            ('bind :5900', f'bind 127.0.0.1:{self.port}')):
            before, config = config, config.replace(there, here)
            assert config != before, there
        ours = self.directory / 'spice.cfg'
        ours.write_text(config)
        main = self.directory / 'haproxy.cfg'
        main.write_text(GLOBAL.format(socket=self.socket))
        self.process = subprocess.Popen(
            ['haproxy', '-db', '-f', str(main), '-f', str(ours)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        file = open(self.log_dir / 'haproxy.log', 'w')

        def line(text):
            text = text.decode()
            file.write(text)
            file.flush()
            return text.rstrip()
        reader(self.process.stderr, self.log, line)
        try:
            listening(self.process, self.port)
        except RuntimeError:
            self.__exit__()
            raise RuntimeError('HAProxy does not start: '
                               + ' '.join(self.log.since()))
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()
        self.log.wait_end()
        self.process.stderr.close()

    def uri(self, name):
        return f'spice://{name}?tls-port={self.port}'

    def connect(self, authority, name, check=True):
        """A raw connection to the machine of that name, or to none."""
        context = authority.client_context()
        context.check_hostname = check
        sock = socket.create_connection(('127.0.0.1', self.port), TIMEOUT)
        return context.wrap_socket(sock, server_hostname=name)


class EndpointCase(case.PowerTestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root can give a program an /etc/hosts of "
                          'its own')
        self.ca = self.authority(names=(f'*.{DOMAIN}',))

    def proxy(self, *machines, **listed):
        """A proxy in front of these machines: vm1.example.test, and so on."""
        proxy = Proxy(self.log_dir, self.ca.directory)
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
            SHIPPED / 'spice-endpoints', proxy.map, *arguments,
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


class Endpoint(EndpointCase):
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
                lambda line: ' to - as -:-, PR, ' in line, 'a refusal', log)
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
        vm.wait_tick(vm.wait_boot(console, timeout=120), 0, timeout=120)
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
        loader = SourceFileLoader('endpoints', str(SHIPPED / 'spice-endpoints'))
        shipped = ModuleType(loader.name)
        loader.exec_module(shipped)
        proxy = self.proxy(vm7=1)
        before = proxy.map.read_text()
        target = shipped.Map(proxy.map, proxy.socket)
        tell, added = target.tell, []

        def refused(command, *arguments):
            if command.startswith('add'):
                added.append(command)
                if len(added) == 2:
                    command = 'add map'         # that is not all of it
            return tell(command, *arguments)
        target.tell = refused
        with self.assertRaisesRegex(shipped.Trouble, 'HAProxy refuses "add '):
            target.load({f'vm{n}.{DOMAIN}': '127.0.0.1/1' for n in range(60)})
        target.tell = tell
        self.assertEqual(target.loaded(), shipped.entries(before.splitlines()))
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


class FromLibvirt(case.PowerTestCase):
    """What spice-endpoints makes of what a libvirt says; virsh is not real."""

    LOCAL = 'qemu:///system'
    REMOTE = 'qemu+ssh://root@192.0.2.7/system'

    def setUp(self):
        super().setUp()
        self.map = self.log_dir / 'spice.map'
        self.directory = self.log_dir / 'bin'
        self.directory.mkdir()
        self.calls = self.directory / 'calls'
        virsh = self.directory / 'virsh'
        virsh.write_text(VIRSH)
        virsh.chmod(0o755)
        self.env = dict(os.environ, PYTHONDONTWRITEBYTECODE='1',
                        PATH=f'{self.directory}:{os.environ["PATH"]}')

    def domain(self, name, listen='127.0.0.1', port=5901, uri=LOCAL,
               metadata='', graphics="type='spice' port='-1'"):
        """One that runs; its file is what virsh tells of it."""
        place = self.directory / uri.replace('/', '_')
        place.mkdir(exist_ok=True)
        number = len(list(self.directory.glob('*/*.xml')))
        path = place / f'1b4e28ba-2fa1-11d2-883f-{number:012}.xml'
        path.write_text(DOMAIN_XML.format(
            name=name, uuid=path.stem, listen=listen, port=port,
            metadata=metadata, graphics=graphics))
        path.with_suffix('.name').write_text(name)
        return path

    def command(self, *arguments, uris=(LOCAL,)):
        return [*(word for uri in uris for word in ('--libvirt', uri)),
                '--suffix', DOMAIN, *map(str, arguments)]

    def endpoints(self, *arguments, code=0, prefix=(), **options):
        """Run spice-endpoints; what it complained of."""
        done = subprocess.run(
            [*prefix, SHIPPED / 'spice-endpoints', self.map,
             *self.command(*arguments, **options)], env=self.env, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr

    def assertMap(self, **expected):
        """These machines are in the map, and no others."""
        self.assertEqual(
            self.map.read_text().splitlines(),
            [f'{name}.{DOMAIN} {value}'
             for name, value in sorted(expected.items())])

    def test_loopback_elsewhere(self):
        """127.0.0.1 of another host is not 127.0.0.1 here"""
        self.domain('here')
        self.assertEqual(self.endpoints(), '')
        self.assertMap(here='127.0.0.1/5901')
        for number, listen in enumerate(('127.0.0.1', 'localhost', '::1',
                                         '127.0.3.4', '::ffff:127.0.0.1')):
            self.domain(f'no{number}', listen, uri=self.REMOTE)
        self.domain('vm1', '192.0.2.8', 5902, self.REMOTE)
        self.domain('vm2', '0.0.0.0', 5903, self.REMOTE)
        self.domain('vm3', '2001:db8::9', 5904, self.REMOTE)
        said = self.endpoints(uris=(self.LOCAL, self.REMOTE))
        self.assertMap(here='127.0.0.1/5901', vm1='192.0.2.8/5902',
                       vm2='192.0.2.7/5903', vm3='2001:db8::9/5904')
        self.assertEqual(said.count('\n'), 5, said)
        self.assertIn(f"{self.REMOTE}: domain 'no0' listens on 127.0.0.1, "
                      'which is reached on that host alone: it is left out; '
                      'let it listen', said)

    def test_loopback_here(self):
        """A libvirt that is asked through the network, but on this host"""
        for number, host in enumerate(('localhost', '127.0.0.1', '[::1]')):
            with self.subTest(host):
                uri = f'qemu+tcp://{host}/system'
                self.domain('vm1', port=5901 + number, uri=uri)
                self.assertEqual(self.endpoints(uris=[uri]), '')
                self.assertMap(vm1=f'127.0.0.1/{5901 + number}')

    def test_any_address(self):
        """Who listens on all of IPv4 is not looked for with IPv6"""
        if os.geteuid() != 0:
            self.skipTest('only root can give a program an /etc/hosts of '
                          'its own')
        hosts = Names(self.log_dir, {})
        hosts.file.write_text('::1 localhost\n127.0.0.1 localhost\n')
        self.domain('vm1', '0.0.0.0', 5901)
        self.domain('vm2', '::', 5902)
        self.assertEqual(self.endpoints(prefix=hosts.prefix), '')
        self.assertMap(vm1='127.0.0.1/5901', vm2='::1/5902')


    def test_same_name(self):
        """Of two domains that are one host's name neither is that host"""
        self.domain('vm1', port=5901)
        self.domain('vm2', port=5902)
        self.endpoints()
        self.assertMap(vm1='127.0.0.1/5901', vm2='127.0.0.1/5902')
        self.domain('VM1', port=5903)
        self.domain('Vm1', port=5904)
        # nor is it that of a libvirt that comes after
        self.domain('vm1', '192.0.2.8', 5905, self.REMOTE)
        said = self.endpoints(uris=(self.LOCAL, self.REMOTE))
        self.assertIn(f"{self.LOCAL}: the domains 'vm1', 'VM1' and 'Vm1' are "
                      f'all vm1.{DOMAIN}: they are left out', said)
        self.assertMap(vm2='127.0.0.1/5902')
        # unless a list says which one it is
        machines = self.log_dir / 'list'
        machines.write_text(f'vm1.{DOMAIN} 127.0.0.1 5903\n')
        self.endpoints('--list', machines, uris=(self.LOCAL, self.REMOTE))
        self.assertMap(vm1='127.0.0.1/5903', vm2='127.0.0.1/5902')


    def test_one_in_trouble(self):
        """What is wrong with one domain does not keep the others out"""
        changed = self.domain('vm1', '192.0.2.1')
        self.domain('vm2', '192.0.2.2')
        self.endpoints()
        self.assertMap(vm1='192.0.2.1/5901', vm2='192.0.2.2/5901')
        before = changed.read_text()
        new = self.domain('new', '192.0.2.9')
        for text, said in (
                (before.replace('192.0.2.1', 'no.invalid'),
                 "domain 'vm1' listens on no.invalid, which has no"),
                (before.replace('192.0.2.1', 'a' * 70 + '.invalid'),
                 "domain 'vm1' listens on a"),
                (before.replace("tlsPort='5901'", "tlsPort='x'"),
                 "domain 'vm1' has a TLS port that is none: 'x'"),
                (before.replace("tlsPort='5901'", "tlsPort='70000'"),
                 "domain 'vm1' has a TLS port that is none: '70000'"),
                (before.replace('</uuid>', ''),
                 "domain 'vm1' cannot be read: its XML is wrong: "),
                ('error: not now', "domain 'vm1' cannot be read: error: not")):
            with self.subTest(said):
                changed.write_text(text)
                new.write_text(new.read_text().replace('.9', '.10'))
                complaint = self.endpoints()
                self.assertIn(said, complaint)
                self.assertIn(': it stays as it was', complaint)
                self.assertMap(vm1='192.0.2.1/5901', vm2='192.0.2.2/5901',
                               new='192.0.2.10/5901')
                new.write_text(new.read_text().replace('.10', '.9'))
        # who was not there before is not there now; the next one gets nothing
        self.map.unlink()
        self.domain('vm1', '192.0.2.3', uri=self.REMOTE)
        self.endpoints(uris=(self.LOCAL, self.REMOTE))
        self.assertMap(vm2='192.0.2.2/5901', new='192.0.2.9/5901')

    def test_metadata(self):
        """Whatever it is, it does not pass for a domain"""
        other = DOMAIN_XML.format(
            name='vm9', uuid='1b4e28ba-2fa1-11d2-883f-900000000000',
            listen='192.0.2.9', port=1, metadata='', graphics="type='spice'")
        for number, text in enumerate((
                "<domain xmlns='urn:x'><name>vm9</name></domain>",
                f"<x:top xmlns:x='urn:x'>{other}</x:top>", other,
                f'<![CDATA[\n</domain>{other}]]>', f'<!-- {other} -->')):
            self.domain(f'vm{number}', '192.0.2.1', metadata=text)
        self.assertEqual(self.endpoints(), '')
        self.assertMap(**{f'vm{n}': '192.0.2.1/5901' for n in range(5)})

    def test_ended(self):
        """A domain that ends between being listed and being looked at"""
        self.domain('vm1', '192.0.2.1').write_text('')
        self.domain('vm2', '192.0.2.2')
        defined = self.domain('vm3', '192.0.2.3')
        defined.write_text(defined.read_text().replace(" id='1'", ''))
        self.assertEqual(self.endpoints(), '')
        self.assertMap(vm2='192.0.2.2/5901')

    def test_map_by_hand(self):
        """A map with comments, or with a mistake, is read, and replaced"""
        self.domain('vm1', '192.0.2.1')
        self.map.write_bytes(b'# machines\n\n  # more\nvm7\nvm8 a b\n\xff\n'
                             b'vm1.example.test 192.0.2.7/1\n')
        self.assertEqual(self.endpoints(), '')
        self.assertMap(vm1='192.0.2.1/5901')


    def follow(self, *arguments):
        """A spice-endpoints that follows what changes."""
        return following(self, [SHIPPED / 'spice-endpoints', self.map,
                                *self.command('--follow', *arguments)],
                         self.env)

    def test_hangup_in_trouble(self):
        """SIGHUP looks again once, also if that fails"""
        (self.directory / 'down').touch()
        _, errors, process = self.follow()
        errors.wait(lambda line: 'nobody is there' in line, 'a complaint')

        def looked():
            return self.calls.read_text().count('list')
        before = looked()
        process.send_signal(signal.SIGHUP)
        time.sleep(2)
        self.assertIn(looked() - before, (1, 2))

    def test_before_events(self):
        """What has happened before virsh listens is seen when it does"""
        self.domain('vm1')
        out, *_ = self.follow('--interval', 600)
        out.wait(lambda line: line.startswith('+ vm1'), '+ vm1')
        self.domain('vm2')
        (self.directory / 'connect').touch()
        out.wait(lambda line: line.startswith('+ vm2'), '+ vm2')


    def test_no_virsh(self):
        """It is said what is missing, and looked for again"""
        self.domain('vm1')
        virsh = self.directory / 'virsh'
        virsh.rename(self.directory / 'away')
        self.env['PATH'] = str(self.directory)
        said = self.endpoints(code=1)
        self.assertIn('no program virsh: install libvirt-clients', said)
        out, errors, process = self.follow()
        errors.wait(lambda line: line in said.splitlines(), 'the same')
        (self.directory / 'away').rename(virsh)
        process.send_signal(signal.SIGHUP)
        out.wait(lambda line: line.startswith('+ vm1'), '+ vm1')


class Domains(EndpointCase):
    """spice-endpoints and libvirt; the machines are empty ones."""

    def test_follow(self):
        """Domains come and go, and so does libvirtd"""
        lv = self.enterContext(Libvirt(
            self.log_dir, qemu_conf='spice_tls = 1\n'
            f'spice_tls_x509_cert_dir = "{self.ca.directory}"\n'))
        proxy = self.proxy()
        domains = {name: lv.domain(name, guest=False)
                   for name in ('vm1', 'VM2', 'not_a_host')}
        env = dict(lv.env, PATH=f"{places.PREFIX}/bin:{os.environ['PATH']}")
        # so long that nothing is seen but what libvirt tells of
        out, errors, _ = following(
            self, self.command(proxy, '--libvirt', lv.uri, '--suffix', DOMAIN,
                               '--follow', '--interval', '600'), env)

        def wait(sign, name):
            out.wait(lambda line: line.startswith(f'{sign} {name}.{DOMAIN}'),
                     f'{sign} {name}', mark)
        mark = 0
        for vm in domains.values():
            vm.start()
        wait('+', 'vm1')
        wait('+', 'vm2')
        run = self.run_named(proxy, f'vm1.{DOMAIN}', 'reset')
        self.assertEqual(run[0], spicypower.OK, run)
        client = self.named(proxy, '-', name=f'vm2.{DOMAIN}')
        self.assertEqual(client.status()['state'], 'on')
        errors.wait(lambda line: "'not_a_host' is not the name of a host"
                    in line, 'a complaint')
        mark = out.mark
        domains['vm1'].virsh('destroy')
        wait('-', 'vm1')
        self.assertKeptOut(proxy, f'vm1.{DOMAIN}')
        # without libvirt it stays as it was
        seen = errors.mark
        lv.stop()
        errors.wait(lambda line: lv.uri in line, 'that libvirt is gone', seen)
        self.raw(proxy, f'vm2.{DOMAIN}')
        lv.start()
        mark = out.mark
        domains['vm1'].start()
        wait('+', 'vm1')
        self.raw(proxy, f'vm1.{DOMAIN}')
        self.assertEqual(client.act('pause')[0]['result'], 'ok')


def prepare():
    if not shutil.which('haproxy'):
        raise places.Missing('there is no program haproxy; ./stack build '
                             'installs it')
    places.need(GATEWAY)


if __name__ == '__main__':
    case.main(prepare)
