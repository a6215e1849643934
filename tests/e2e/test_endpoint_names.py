#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which names spice-endpoints gives to which machines, and how it tells HAProxy.

Domains are those of libvirt's test driver, or XML that it is given.
"""

import contextlib
import io
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, endpoint                    # noqa: E402
from powertest.endpoint import DOMAIN, PROGRAM          # noqa: E402
from powertest.names import Names as Hosts              # noqa: E402
from powertest.record import TIMEOUT                    # noqa: E402

LOCAL, REMOTE = 'qemu:///system', 'qemu+ssh://root@192.0.2.7/system'
XML = '''<domain type='test'{runs}>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <memory>1024</memory>
  <os><type>hvm</type></os>
  {state}
  <devices>
    <graphics {graphics} tlsPort='{port}' autoport='no' listen='{listen}'>
      <listen type='address' address='{listen}'/>
    </graphics>
  </devices>
</domain>
'''
STATE = '''<test:runstate
    xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>{}</test:runstate>
'''
RUNNING, SHUTOFF = 1, 5
METADATA = "<x:endpoint xmlns:x='urn:spice-endpoints:1' name='{}'/>"


def uuid(number):
    return f'1b4e28ba-2fa1-11d2-883f-{number:012}'


def xml(name, number=1, listen='127.0.0.1', port=5901, metadata='', runs=True,
        graphics="type='spice' port='-1'", state=''):
    return XML.format(name=name, uuid=uuid(number), listen=listen, port=port,
                      metadata=metadata, graphics=graphics, state=state,
                      runs=" id='1'" if runs else '')


class Quiet(case.PowerTestCase):
    """What is complained of is in self.said."""

    modules = endpoint.modules()

    def setUp(self):
        super().setUp()
        self.errors = io.StringIO()
        self.enterContext(contextlib.redirect_stderr(self.errors))
        self.modules.common.complaints.said.clear()

    @property
    def said(self):
        return self.errors.getvalue()


class Domain(Quiet):
    """What a domain's XML says."""

    def read(self, text, uri=LOCAL, policy='domain', proxy=False):
        return self.modules.hypervisor.Reader(
            uri, policy, DOMAIN, proxy).domain(text)

    def value(self, listen, uri=LOCAL, **options):
        return self.read(xml('vm1', listen=listen, **options), uri).value

    def test_loopback_elsewhere(self):
        """127.0.0.1 of another host is not 127.0.0.1 here"""
        self.assertEqual(self.value('127.0.0.1'), '127.0.0.1/5901')
        for listen in ('127.0.0.1', 'localhost', '::1', '127.0.3.4',
                       '::ffff:127.0.0.1'):
            self.assertIsNone(self.value(listen, REMOTE))
            self.assertIn(f"{REMOTE}: domain 'vm1' listens on {listen}, which "
                          'is reached on that host alone; let it', self.said)
        for listen, value in (('192.0.2.8', '192.0.2.8/5901'),
                              ('0.0.0.0', '192.0.2.7/5901'),
                              ('2001:db8::9', '2001:db8::9/5901')):
            self.assertEqual(self.value(listen, REMOTE), value)

    def test_loopback_here(self):
        """A libvirt that is asked through the network, but on this host"""
        for host in 'localhost', '127.0.0.1', '[::1]':
            self.assertEqual(self.value(
                '127.0.0.1', f'qemu+tcp://{host}/system'), '127.0.0.1/5901')
        self.assertEqual(self.said, '')

    def test_trouble(self):
        """What is wrong with its XML"""
        good = xml('vm1')
        for text, said in (
                (xml('vm1', 1, 'no.invalid'), 'it listens on no.invalid, '),
                (xml('vm1', 1, 'a' * 70 + '.invalid'), 'it listens on a'),
                (xml('vm1', port='x'), "it has a TLS port that is none: 'x'"),
                (xml('vm1', port=70000), "that is none: '70000'"),
                (good.replace('</uuid>', ''), 'its XML is wrong: ')):
            with self.assertRaisesRegex(self.modules.common.Trouble, said):
                self.read(text)
        self.assertIsNone(self.read(xml('vm1', port=-1)).value)
        self.assertIn("domain 'vm1' has no SPICE server with TLS", self.said)

    def test_off(self):
        """A domain that is off has names, and no endpoint"""
        found = self.read(xml('vm1', runs=False, port=-1))
        self.assertEqual((found.runs, found.value), (False, None))
        self.assertIn(f'vm1.{DOMAIN}', found.hosts)
        self.assertEqual(self.said, '')

    def test_proxy(self):
        """One that reads the PROXY protocol"""
        self.assertEqual(self.read(xml('vm1'), proxy=True).value,
                         '127.0.0.1/5901/proxy')

    def test_names(self):
        """Its UUID, what its metadata say, and its own name"""
        own = f'{uuid(1)}.{DOMAIN}'
        for metadata, policy, hosts in (
                ('', 'domain', (own, f'vm1.{DOMAIN}')),
                ('', 'metadata', (own,)), ('', 'uuid', (own,)),
                ('Web.Example.Org', 'domain', (own, 'web.example.org')),
                ('web.example.org', 'metadata', (own, 'web.example.org')),
                ('web.example.org', 'uuid', (own,)), ('a_b', 'domain', (own,))):
            with self.subTest((metadata, policy)):
                text = xml('VM1', metadata=metadata and METADATA.format(
                    metadata))
                self.assertEqual(self.read(text, policy=policy).hosts, hosts)
        self.assertIn(f"'a_b' is not the name of a host: that domain is {own} "
                      'only', self.said)
        self.assertEqual(self.read(xml('a b')).hosts, (own,))
        self.assertIn("'a b' is not the name of a host", self.said)

    def test_metadata(self):
        """Whatever else they are, they do not pass for a name or a domain"""
        other = xml('vm9', 9, '192.0.2.9')
        tag = METADATA.format('web.example.org')
        for text in ("<domain xmlns='urn:x'><name>vm9</name></domain>", other,
                     f"<x:top xmlns:x='urn:x'>{other}{tag}</x:top>",
                     f'<![CDATA[\n</domain>{other}]]>', f'<!-- {other} -->',
                     "<endpoint name='web.example.org'/>",
                     "<x:endpoint xmlns:x='urn:x' name='web.example.org'/>"):
            found = self.read(xml('vm1', metadata=text))
            self.assertEqual(found.hosts, (f'{uuid(1)}.{DOMAIN}',
                                           f'vm1.{DOMAIN}'))
            self.assertEqual(found.value, '127.0.0.1/5901')


class Owners(Quiet):
    """Whose a name is."""

    def names(self, off=None, seen=True, **options):
        names = self.modules.owners.Names([off, off], **options)
        if seen:
            names.unseen.clear()
        return names

    def domain(self, value=None, runs=True, host='vm1', name='vm1'):
        return self.modules.owners.Domain(name, (host,), runs, value)

    def test_first(self):
        """It is that of the first source that has it, until that is gone"""
        names = self.names()
        names.put(1, 'b', self.domain('B/2'))
        self.assertEqual(names.value('vm1'), 'B/2')
        names.put(0, 'a', self.domain('A/1'))
        self.assertEqual(names.value('vm1'), 'B/2', 'it stays whose it is')
        self.assertIn("vm1 is the domain b, and 'vm1', another one, is left",
                      self.said)
        names.put(1, 'b', self.domain(runs=False))
        self.assertIsNone(names.value('vm1'), 'also while that is off')
        names.off = ['first', 'second']
        self.assertEqual(names.value('vm1'), 'second')
        names.put(1, 'b', self.domain('B/2', host='vm2'))
        self.assertEqual(names.value('vm1'), 'A/1', 'it has another name')
        names.put(0, 'a', None)
        self.assertIsNone(names.value('vm1'))
        # both from the beginning: in the order of the command line
        names = self.names()
        for source, uuid, value in (1, 'b', 'B/2'), (0, 'a', 'A/1'):
            names.put(source, uuid, self.domain(value))
        self.assertEqual(names.value('vm1'), 'A/1')

    def test_same(self):
        """Of two of one source neither has it, unless it is known whose"""
        names = self.names()
        names.put(0, 'a', self.domain('A/1', name='vm1'))
        names.put(0, 'b', self.domain('B/2', name='VM1'))
        names.put(1, 'c', self.domain('C/3'))
        self.assertIsNone(names.value('vm1'))
        self.assertIn("the domains 'VM1' and 'vm1' are all vm1: they are left "
                      'out', self.said)
        names.put(0, 'b', None)
        self.assertEqual(names.value('vm1'), 'A/1')
        names.put(0, 'b', self.domain('B/2', name='VM1'))
        self.assertEqual(names.value('vm1'), 'A/1')
        names = self.names(owners={'vm1': 'b'})
        names.put(0, 'a', self.domain('A/1'))
        names.put(0, 'b', self.domain('B/2'))
        self.assertEqual(names.value('vm1'), 'B/2')

    def test_unseen(self):
        """Of a hypervisor that is away nothing is taken away"""
        before = {'vm1': 'A/1', 'vm2': 'A/2', 'vm3': 'A/3'}
        names = self.names(seen=False, before=before, owners={'vm1': 'a'})
        names.unseen.remove(1)
        names.put(1, 'b', self.domain('B/9'))
        names.put(1, 'c', self.domain('B/8', host='vm2'))
        self.assertEqual({name: names.value(name) for name in names.all()},
                         {'vm1': 'A/1', 'vm2': 'B/8', 'vm3': 'A/3'})
        # what is known to be gone is gone
        names.put(1, 'c', None)
        self.assertIsNone(names.value('vm2'))
        names.unseen.clear()
        self.assertEqual({name: names.value(name) for name in names.all()},
                         {'vm1': 'B/9', 'vm2': None, 'vm3': None})

    def test_unknown(self):
        """One that cannot be read stays as it was"""
        names = self.names(before={'vm1': 'A/1'}, off='gateway')
        names.put(0, 'a', self.domain(runs=None))
        self.assertEqual(names.value('vm1'), 'A/1')
        names.put(0, 'a', self.domain(runs=False))
        self.assertEqual(names.value('vm1'), 'gateway')

    def test_migration(self):
        """The same domain on two hosts is where it was until that is off"""
        before = {}
        names = self.names(before=before, off='gateway')
        names.put(1, 'a', self.domain('B/1'))
        before['vm1'] = names.value('vm1')
        names.put(0, 'a', self.domain('A/1'))
        self.assertEqual(names.value('vm1'), 'B/1')
        names.put(1, 'a', self.domain(runs=False))
        self.assertEqual(names.value('vm1'), 'A/1')
        names.put(0, 'a', None)
        self.assertEqual(names.value('vm1'), 'gateway')
        self.assertEqual(self.said, '')

    def test_fixed(self):
        """A list is before all domains, a gateway's domains are behind"""
        names = self.names()
        names.put(0, 'a', self.domain('A/1'))
        names.fixed = {'vm1': 'L/1'}
        names.fallback = {'vm1': 'G/1', 'vm2': 'G/2'}
        self.assertEqual(names.value('vm1'), 'L/1')
        self.assertIn('vm1 is L/1, and another machine, A/1, which is left',
                      self.said)
        self.assertEqual(names.value('vm2'), 'G/2')
        names.fixed = {}
        self.assertEqual(names.value('vm1'), 'A/1')
        names.put(0, 'a', self.domain(runs=False))
        self.assertEqual(names.value('vm1'), 'G/1')


class Stuck:
    """A connection to a libvirt, some of whose domains do not answer."""

    def __init__(self, domains, stuck, error):
        self.domains, self.stuck, self.error = domains, stuck, error
        self.released = threading.Event()

    def lookupByUUIDString(self, uuid):
        self.uuid = uuid
        return self

    def isAlive(self):
        return True

    def XMLDesc(self):
        uuid = self.uuid
        if uuid in self.stuck:
            self.released.wait(TIMEOUT)
        if self.domains[uuid] is None:
            raise self.error('error: not now')
        return self.domains[uuid]


class Reading(Quiet):
    """Domains that are read, with a libvirt that is not real."""

    def setUp(self):
        super().setUp()
        module = self.modules.hypervisor
        self.domains = {uuid(n): xml(f'vm{n}', n) for n in range(30)}
        self.stuck = set()
        self.opened = []

        def connect(uri):
            self.opened.append(Stuck(self.domains, self.stuck,
                                     module.libvirt.libvirtError))
            return self.opened[-1]
        self.addCleanup(setattr, module, 'connect', module.connect)
        module.connect = connect
        self.found = queue.SimpleQueue()
        self.hypervisor = module.Hypervisor(
            module.Reader(LOCAL, 'domain', DOMAIN, False), self.found)
        self.addCleanup(lambda: [stuck.released.set()
                                 for stuck in self.opened])

    def read(self, numbers):
        for number in numbers:
            self.hypervisor.read(uuid(number))
        found = {}
        deadline = time.monotonic() + TIMEOUT
        while (len(found) < len(numbers) - len(self.stuck)
               and time.monotonic() < deadline):
            self.hypervisor.tend()
            with contextlib.suppress(queue.Empty):
                _, what, which, domain = self.found.get(timeout=0.2)
                self.assertEqual(what, 'read')
                self.assertTrue(self.hypervisor.is_read(which))
                found[which] = domain
        return found

    def test_stuck(self):
        """Those that do not answer hold up nobody else"""
        self.stuck.update(map(uuid, range(7)))
        found = self.read(range(20))
        self.assertEqual(set(found), set(map(uuid, range(7, 20))))
        # nor are they asked again meanwhile
        for number in range(7):
            self.hypervisor.read(uuid(number))
        self.assertEqual(set(self.read([*range(7), 25])), {uuid(25)})
        self.assertLessEqual(len(self.opened),
                             self.modules.hypervisor.MOST_READERS)
        self.assertEqual(len(set(map(id, self.opened))), len(self.opened))

    def test_failure(self):
        """One that fails is told, and the others are read"""
        self.domains[uuid(1)] = None
        self.domains[uuid(2)] = '<domain'
        found = self.read(range(4))
        self.assertIn('not now', str(found[uuid(1)]))
        self.assertIn('its XML is wrong', str(found[uuid(2)]))
        self.assertEqual(found[uuid(3)].value, '127.0.0.1/5901')

    def test_again(self):
        """What happens while it is read is not lost"""
        self.stuck.add(uuid(1))
        self.hypervisor.read(uuid(1))
        deadline = time.monotonic() + TIMEOUT
        while not self.opened and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(3):
            self.hypervisor.read(uuid(1))
        self.opened[0].released.set()
        answers = []
        for _ in range(2):
            _, _, which, _ = self.found.get(timeout=TIMEOUT)
            answers.append(self.hypervisor.is_read(which))
        self.assertEqual(answers, [False, True])
        self.assertTrue(self.found.empty())


class Program(case.PowerTestCase):
    """The program, with files and with libvirt's test driver."""

    def setUp(self):
        super().setUp()
        self.map = self.log_dir / 'spice.map'

    def driver(self, *domains, name='domains'):
        """A libvirt with these."""
        path = self.log_dir / f'{name}.xml'
        path.write_text(f'<node>{"".join(domains)}</node>')
        return '--libvirt', f'test://{path}'

    def domain(self, name, number, state=RUNNING, **options):
        return xml(name, number, runs=False, state=STATE.format(state),
                   **options)

    def run_it(self, *arguments, code=0, prefix=(), **options):
        """(what it printed, what it complained of)"""
        done = subprocess.run(
            list(map(str, (*prefix, PROGRAM, self.map, '--suffix', DOMAIN,
                           *arguments))), text=True, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=TIMEOUT, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout, done.stderr

    def assertMap(self, **expected):
        """These are in the map, beside UUIDs, and no others."""
        lines = [line for line in self.map.read_text().splitlines()
                 if line[0] != '#' and not line.startswith('1b4e28ba')]
        self.assertEqual(lines, [f'{name}.{DOMAIN} {value}' for name, value
                                 in sorted(expected.items())])

    def test_off(self):
        """Domains that are off lead to the gateway, and those without TLS"""
        uri = self.driver(
            self.domain('vm1', 1), self.domain('vm2', 2, SHUTOFF),
            self.domain('vm3', 3, graphics="type='vnc'"),
            self.domain('vm4', 4, port=-1))
        said, errors = self.run_it(*uri)
        self.assertMap(vm1='127.0.0.1/5901')
        self.assertIn("domain 'vm4' has no SPICE server with TLS", errors)
        said, _ = self.run_it(*uri, '--off', 'gateway')
        self.assertMap(vm1='127.0.0.1/5901', vm2='gateway', vm3='gateway',
                       vm4='gateway')
        self.assertIn(f'+ {uuid(2)}.{DOMAIN} gateway\n', said)
        self.assertIn(f'+ vm2.{DOMAIN} gateway\n', said)
        self.assertNotIn('vm1', said)
        said, _ = self.run_it(*self.driver(self.domain('vm2', 2)), '--off',
                              '127.0.0.1/5999/proxy')
        self.assertMap(vm2='127.0.0.1/5901')
        self.assertIn(f'= vm2.{DOMAIN} 127.0.0.1/5901\n', said)
        self.assertIn(f'- vm1.{DOMAIN}\n', said)
        for off in 'a/b/c/d', 'a b', '127.0.0.1/0', '127.0.0.1/1/x':
            self.assertIn('--off', self.run_it(*uri, '--off', off, code=2)[1])
        # one for each hypervisor, or one for all
        other = self.driver(self.domain('vm5', 5, SHUTOFF), name='other')
        self.run_it(*uri, *other, '--off', 'one', '--off', 'two')
        self.assertMap(vm2='127.0.0.1/5901', vm5='two')
        self.assertIn('there are 3, for 2 --libvirt', self.run_it(
            *uri, *other, *(['--off', 'one'] * 3), code=2)[1])

    def test_owner(self):
        """The map keeps a name for its UUID, also from run to run"""
        first = self.driver(self.domain('vm1', 1), name='first')
        self.run_it(*first)
        self.assertIn(f'# vm1.{DOMAIN}: {uuid(1)}\n', self.map.read_text())
        self.driver(self.domain('vm1', 1, SHUTOFF), name='first')
        second = self.driver(self.domain('vm1', 2, port=5902), name='second')
        _, errors = self.run_it(*second, *first)
        self.assertMap()
        self.assertIn(f"is the domain {uuid(1)}, and 'vm1', another one",
                      errors)
        self.run_it(*second, *first, '--off', 'gateway')
        self.assertMap(vm1='gateway')
        self.driver(self.domain('vm1', 1), name='first')
        self.run_it(*second, *first)
        self.assertMap(vm1='127.0.0.1/5901')
        self.driver(self.domain('vm3', 3), name='first')
        self.run_it(*second, *first)
        self.assertMap(vm1='127.0.0.1/5902', vm3='127.0.0.1/5901')

    def test_policy(self):
        """Which names count"""
        uri = self.driver(self.domain('vm1', 1), self.domain(
            'vm2', 2, port=5902, metadata=METADATA.format(f'web.{DOMAIN}')))
        for policy, names in (
                ('domain', {'vm1': '127.0.0.1/5901', 'web': '127.0.0.1/5902'}),
                ('metadata', {'web': '127.0.0.1/5902'}), ('uuid', {})):
            self.run_it(*uri, '--names', policy)
            self.assertMap(**names)
            self.assertIn(f'{uuid(1)}.{DOMAIN} 127.0.0.1/5901\n',
                          self.map.read_text())

    def test_gateway(self):
        """The machines of a spice-gateway, with templates and defaults"""
        etc = self.log_dir / 'etc'
        for path, text in (
                ('machines/host1.conf', '[server]\ntls-port=5911\n'),
                ('machines/host2.conf', '[machine]\ntemplate=rack\n'
                 '[server]\ntls-port=5912\n'),
                ('machines/host3.conf', '# no port\n[server]\n'),
                ('machines/vm1.conf', '[machine]\ntemplate=vm\n'),
                ('machines/vm2.conf', '[machine]\ntemplate=vm\n'),
                ('machines/.hidden.conf', 'not read'),
                ('machines/other', 'not read'),
                ('templates/rack.conf', '[server]\naddress=192.0.2.5\n'),
                ('templates/vm.conf', '[power]\nbackend=libvirt\n'
                 '[server]\nname={name} at 100%\ntls-port=5920\n'),
                ('defaults.conf', '[power]\nbackend=ipmi\n'
                 '[server]\naddress=0.0.0.0\n')):
            (etc / path).parent.mkdir(parents=True, exist_ok=True)
            (etc / path).write_text(text)
        uri = self.driver(self.domain('vm1', 1), self.domain('host1', 2))
        _, errors = self.run_it('--gateway', etc, *uri)
        hosts = {'host1': '127.0.0.1/5911', 'host2': '192.0.2.5/5912',
                 'host3': 'gateway', 'vm2': '127.0.0.1/5920'}
        self.assertMap(**hosts, vm1='127.0.0.1/5901')
        self.assertIn(f'host1.{DOMAIN} is 127.0.0.1/5911, and another',
                      errors)
        self.run_it('--gateway', etc, '--off', '127.0.0.1/5999/proxy')
        self.assertMap(**dict(hosts, host3='127.0.0.1/5999/proxy'),
                       vm1='127.0.0.1/5920')
        before = self.map.read_text()
        for path, text, said in (
                ('machines/host4.conf', '[server]\ntls-port=x\n',
                 'host4.conf: [server] address and tls-port: invalid'),
                ('machines/host4.conf', '[server]\ntls-port=0\n',
                 "'0' is not a port"),
                ('machines/host4.conf', 'x=y\n', 'host4.conf: File contains'),
                ('machines/a_b.conf', '', "a_b.conf: 'a_b' is not the name")):
            (etc / path).write_text(text)
            self.assertIn(said, self.run_it('--gateway', etc, code=1)[1])
            self.assertEqual(self.map.read_text(), before)
            (etc / path).unlink()
        self.assertIn('none/machines: No such file', self.run_it(
            '--gateway', self.log_dir / 'none', code=1)[1])

    def test_any_address(self):
        """Who listens on all of IPv4 is not looked for with IPv6"""
        if os.geteuid() != 0:
            self.skipTest('only root can give a program an /etc/hosts of '
                          'its own')
        hosts = Hosts(self.log_dir, {})
        hosts.file.write_text('::1 localhost\n127.0.0.1 localhost\n')
        uri = self.driver(self.domain('vm1', 1, listen='0.0.0.0'),
                          self.domain('vm2', 2, listen='::', port=5902))
        self.assertEqual(self.run_it(*uri, prefix=hosts.prefix)[1], '')
        self.assertMap(vm1='127.0.0.1/5901', vm2='::1/5902')

    def test_one_in_trouble(self):
        """What is wrong with one domain does not keep the others out"""
        self.run_it(*self.driver(
            self.domain('vm1', 1, listen='192.0.2.1'),
            self.domain('vm2', 2, listen='192.0.2.2')))
        domains = (self.domain('vm1', 1, listen='no.invalid'),
                   self.domain('vm2', 2, listen='192.0.2.3'),
                   self.domain('vm3', 3, listen='no.invalid'))
        _, errors = self.run_it(*self.driver(*domains))
        self.assertIn("domain 'vm1' cannot be read: it listens on no.invalid, "
                      'which has no', errors)
        self.assertIn(': it stays as it was', errors)
        self.assertMap(vm1='192.0.2.1/5901', vm2='192.0.2.3/5901')

    def test_map_by_hand(self):
        """A map with comments, or with a mistake, is read, and replaced"""
        self.map.write_bytes(b'# machines\n\n  # more\nvm7\nvm8 a b\n\xff\n'
                             b'vm1.example.test 192.0.2.7/1\n')
        self.run_it(*self.driver(self.domain('vm1', 1, listen='192.0.2.1')))
        self.assertMap(vm1='192.0.2.1/5901')

    def test_none(self):
        """What is missing, or not to be had, is said"""
        self.map.write_text(f'vm1.{DOMAIN} 192.0.2.1/5901\n')
        _, errors = self.run_it('--libvirt', 'test:///none.xml', code=1)
        self.assertIn('test:///none.xml: ', errors)
        self.assertMap(vm1='192.0.2.1/5901')
        _, errors = self.run_it(
            '--libvirt', 'test:///none.xml', code=1,
            prefix=[sys.executable, '-S', '-c', 'import runpy, sys; '
                    'sys.modules["libvirt"] = None; sys.argv.pop(0); '
                    'sys.path.insert(0, sys.argv[0].rpartition("/")[0]); '
                    'runpy.run_path(sys.argv[0], run_name="__main__")'])
        self.assertIn('install python3-libvirt', errors)
        self.run_it(code=2)


if __name__ == '__main__':
    case.main()
