#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is let in, who may ask, and what is on record about him."""

import json
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import (case, places, probe, sasl,   # noqa: E402
                       spicypower, wire)
from powertest.qmp import QMPError                  # noqa: E402
from powertest.tls import Authority                 # noqa: E402

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
PERMISSION_DENIED, NEED_SECURED, NEED_UNSECURED = 7, 5, 6
PASSWORD = 'open sesame'


class AccessCase(case.PowerTestCase):
    def assertLetIn(self, vm, ticket='', **options):
        """We are let in, and pause and continue the machine."""
        sock = vm.connect(tls=options.pop('tls', None))
        with wire.Client(sock, ticket=ticket, **options) as client:
            client.wait_init()
            for action in ('pause', 'continue'):
                self.assertEqual(client.act(action, 1)[1], (1, 'ok', ''))

    def assertKeptOut(self, vm, code=PERMISSION_DENIED, ticket='', **options):
        """We are not let in, and what we ask for all the same is not heard."""
        mark = vm.qmp.mark()
        sock = vm.connect(tls=options.pop('tls', None))
        pause = struct.pack('<HII', wire.MSGC_POWER['pause'], 4, 1)
        with self.assertRaises(wire.LinkError) as caught:
            wire.Client(sock, ticket=ticket, pipelined=pause, **options)
        self.assertEqual(caught.exception.code, code)
        self.assertNothingDone(vm, mark)

    def assertNothingDone(self, vm, mark):
        self.assertLessEqual(set(vm.qmp.event_names(mark)), {
            'SPICE_CONNECTED', 'SPICE_INITIALIZED', 'SPICE_DISCONNECTED'})
        self.assertEqual(vm.qmp.status, 'running')

    def password(self, vm, password, **options):
        vm.qmp.execute('set_password', protocol='spice', password=password,
                       **options)

    def expire(self, vm, time):
        vm.qmp.execute('expire_password', protocol='spice', time=time)


class Tickets(AccessCase):
    def test_right_and_wrong(self):
        """Only the right ticket, and the whole of it, opens."""
        vm = self.machine(ticket=PASSWORD)
        for wrong in ('', 'Open sesame', PASSWORD + '!', PASSWORD[:-1],
                      '\0' + PASSWORD, 'x' * 60):
            with self.subTest(wrong):
                self.assertKeptOut(vm, ticket=wrong)
        self.assertLetIn(vm, PASSWORD)
        self.assertKeptOut(vm, ticket='')   # nobody follows him in

    def test_none_set(self):
        """With ticketing, and no ticket set, nobody is let in."""
        vm = self.machine(ticket='')
        for ticket in ('', PASSWORD):
            self.assertKeptOut(vm, ticket=ticket)
        self.password(vm, PASSWORD)
        self.assertKeptOut(vm, ticket='')
        self.assertLetIn(vm, PASSWORD)

    def test_changed(self):
        """set_password: the new ticket opens, the old one no longer does."""
        vm = self.machine(ticket=PASSWORD)
        self.password(vm, 'another')
        self.assertKeptOut(vm, ticket=PASSWORD)
        self.assertLetIn(vm, 'another')
        self.password(vm, '')
        for ticket in ('', 'another'):
            self.assertKeptOut(vm, ticket=ticket)

    def test_expired(self):
        """expire_password: an expired ticket opens nothing, until renewed."""
        vm = self.machine(ticket=PASSWORD)
        for time, opens in (('now', False), ('never', True), ('+60', True),
                            ('1', False), ('+3600', True)):
            with self.subTest(time):
                self.expire(vm, time)
                if opens:
                    self.assertLetIn(vm, PASSWORD)
                else:
                    self.assertKeptOut(vm, ticket=PASSWORD)

    def test_expires_while_we_link(self):
        """What counts is the moment at which the ticket is shown."""
        vm = self.machine(ticket=PASSWORD)
        mark = vm.qmp.mark()
        with wire.Link(vm.connect()) as link:
            link.hello(caps=(wire.CAP_POWER_CONTROL,))
            link.read_reply()
            self.expire(vm, 'now')
            link.select(wire.CAP_AUTH_SPICE)
            link.send_raw(link.ticket_bytes(PASSWORD))
            self.assertEqual(link.read_number(), PERMISSION_DENIED)
            self.assertEqual(link.until_end_raw(), b'')
        self.assertNothingDone(vm, mark)

    def test_who_is_in_stays_in(self):
        """An expired or changed ticket keeps out, but does not throw out."""
        vm = self.machine(ticket=PASSWORD)
        client = self.client(vm, ticket=PASSWORD)
        self.expire(vm, 'now')
        self.assertEqual(client.act('pause', 1)[1], (1, 'ok', ''))
        self.password(vm, 'another', connected='keep')
        self.assertEqual(client.act('continue', 2)[1], (2, 'ok', ''))
        # unless that is asked for
        mark = vm.qmp.mark()
        self.password(vm, 'a third', connected='disconnect')
        client.until_end()
        self.assertNothingDone(vm, mark)

    def test_fail_if_connected(self):
        """set_password connected=fail: the old ticket stays."""
        vm = self.machine(ticket=PASSWORD)
        client = self.client(vm, ticket=PASSWORD)
        with self.assertRaises(QMPError):
            self.password(vm, 'another', connected='fail')
        self.assertEqual(client.act('pause', 1)[1], (1, 'ok', ''))
        self.assertEqual(client.act('continue', 2)[1], (2, 'ok', ''))
        self.assertLetIn(vm, PASSWORD)

    def test_disabled(self):
        """Without ticketing everybody is let in, with whatever ticket."""
        vm = self.machine()
        for ticket in ('', PASSWORD):
            self.assertLetIn(vm, ticket)


class TlsCase(AccessCase):
    """One authority is enough for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.authority_ = Authority(cls.enterClassContext(
            tempfile.TemporaryDirectory(prefix='spice-power-')))


class Encryption(TlsCase):
    def test_tls_channel(self):
        """tls-channel=main: nobody has a main channel without TLS."""
        vm = self.machine('power=on,tls-channel=main', tcp=True,
                          tls=self.authority_)
        self.assertKeptOut(vm, NEED_SECURED, tls=False)
        self.assertLetIn(vm, tls=True)
        # a real client with both ports takes the right one by itself
        run = spicypower.run(vm.uri, 'pause', 'continue',
                             options=self.authority_.options)
        self.assertEqual(run.code, spicypower.OK, run.err)
        run = spicypower.run(f'spice://127.0.0.1:{vm.plain_port}', 'pause')
        self.assertEqual(run.code, spicypower.CONNECT, run.err)

    def test_plaintext_channel(self):
        """plaintext-channel=main is the opposite; the record tells."""
        vm = self.machine('power=on,plaintext-channel=main', tcp=True,
                          tls=self.authority_)
        self.assertKeptOut(vm, NEED_UNSECURED, tls=True)
        mark = vm.qmp.mark()
        self.assertLetIn(vm, tls=False)
        self.assertFalse(
            vm.qmp.wait_event(TOLD, mark)['data']['client']['tls'])

    def test_both_ports(self):
        """Both ports without restrictions: the record tells which one."""
        vm = self.machine(tcp=True, tls=self.authority_)
        for tls in (False, True):
            mark = vm.qmp.mark()
            self.assertLetIn(vm, tls=tls)
            for name in (ASKED, TOLD):
                client = vm.qmp.wait_event(name, mark)['data']['client']
                self.assertEqual(client['tls'], tls)

    def test_no_tls_on_the_tls_port(self):
        """Plain SPICE on the TLS port, and TLS on the plain port, is noise."""
        vm = self.machine(tcp=True, tls=self.authority_)
        mark = vm.qmp.mark()
        vm.port, vm.plain_port = vm.plain_port, vm.port
        with wire.Link(vm.connect(tls=False)) as link:
            link.hello()
            with self.assertRaises((wire.Disconnected, ValueError)):
                link.read_reply()
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            vm.connect(tls=True)
        vm.port, vm.plain_port = vm.plain_port, vm.port
        self.assertNothingDone(vm, mark)
        self.assertLetIn(vm, tls=True)


class Sasl(TlsCase):
    MECHANISMS = ('PLAIN', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'DIGEST-MD5')

    def server(self, *mechanisms, spice='power=on,sasl=on', **options):
        directory = self.enterContext(
            tempfile.TemporaryDirectory(prefix='spice-power-'))
        users = sasl.Users(directory, *mechanisms)
        users.add('ann', PASSWORD)
        users.add('bob', 'another')
        options.setdefault('tls', self.authority_)
        return self.machine(spice, env=users.environment, **options)

    def run_as(self, vm, user, password, *words):
        """A real client."""
        options = (f'--password={password}',)
        if vm.tls:
            options += vm.tls.options
        return spicypower.run(vm.uri_of(user), *words, options=options)

    def check_record(self, vm, mark, user, requests, tls=True, **expected):
        """Both events of each request name the user."""
        vm.qmp.mark()
        events = [e for e in vm.qmp.events.since(mark)
                  if e['event'] in (ASKED, TOLD)]
        self.assertEqual([e['event'] for e in events],
                         [ASKED, TOLD] * requests)
        connected = [e['data'] for e in vm.qmp.events.since(mark)
                     if e['event'] == 'SPICE_INITIALIZED'][-1]['client']
        for event in events:
            data = event['data']
            self.assertEqual(data['connection-id'],
                             connected['connection-id'])
            self.assertEqual(data['client'], {
                'host': '127.0.0.1', 'port': connected['port'],
                'family': 'ipv4', 'tls': tls, 'sasl-username': user})

    def test_real_client(self):
        """A user acts through spicy-power, with each mechanism, over TLS."""
        for mechanism in self.MECHANISMS:
            with self.subTest(mechanism):
                vm = self.server(mechanism, name=mechanism)
                for user, password in (('ann', PASSWORD), ('bob', 'another')):
                    mark = vm.qmp.mark()
                    run = self.run_as(vm, user, password, 'pause', 'continue',
                                      'reset')
                    self.assertEqual(run.code, spicypower.OK, run.err)
                    self.check_record(vm, mark, user, 3)
                mark = vm.qmp.mark()
                for user, password in (('ann', 'another'), ('ann', ''),
                                       ('eve', PASSWORD), ('bob', PASSWORD)):
                    run = self.run_as(vm, user, password, 'pause')
                    self.assertEqual(run.code, spicypower.CONNECT, run.err)
                self.assertNothingDone(vm, mark)

    def test_without_tls(self):
        """Without TLS, SASL itself encrypts: DIGEST-MD5, and no other."""
        vm = self.server(*self.MECHANISMS, tls=None, tcp=True)
        mark = vm.qmp.mark()
        run = self.run_as(vm, 'ann', PASSWORD, 'pause', 'continue', 'reset')
        self.assertEqual(run.code, spicypower.OK, run.err)
        self.check_record(vm, mark, 'ann', 3, tls=False)
        mark = vm.qmp.mark()
        run = self.run_as(vm, 'ann', 'another', 'pause')
        self.assertEqual(run.code, spicypower.CONNECT, run.err)
        for mechanism in (sasl.Plain('ann', PASSWORD),
                          sasl.Scram('ann', PASSWORD), sasl.Anonymous()):
            with self.assertRaises((wire.LinkError, wire.Disconnected,
                                    ValueError)):
                wire.Client(vm.connect(), mechanism=mechanism)
        self.assertNothingDone(vm, mark)

    def test_by_the_book(self):
        """A client made from the RFCs; refused requests name the user, too."""
        vm = self.server(*self.MECHANISMS,
                         spice='power=on,sasl=on,actions=pause:continue')
        for mechanism in (sasl.Plain('ann', PASSWORD),
                          sasl.Scram('ann', PASSWORD),
                          sasl.Scram('ann', PASSWORD, 'sha1')):
            mark = vm.qmp.mark()
            with self.subTest(mechanism.name), \
                    wire.Client(vm.connect(), mechanism=mechanism) as client:
                self.assertEqual(set(client.offered), set(self.MECHANISMS))
                self.assertIn(wire.CAP_AUTH_SASL, client.common_caps)
                client.wait_init()
                results = [client.act(action, 7)[1].result for action in
                           ('pause', 'reset', 'continue', 'power-off')]
                self.assertEqual(results, ['ok', 'denied'] * 2)
                self.check_record(vm, mark, 'ann', 4)

    def test_wrong(self):
        """The wrong password, user or mechanism, or none, opens nothing."""
        vm = self.server('PLAIN', 'SCRAM-SHA-256')
        mark = vm.qmp.mark()
        for mechanism in (sasl.Plain('ann', 'another'),
                          sasl.Plain('ann', ''), sasl.Plain('', ''),
                          sasl.Plain('eve', PASSWORD),
                          sasl.Scram('ann', 'another'),
                          sasl.Scram('eve', PASSWORD),
                          sasl.Scram('ann', PASSWORD, 'sha1'),
                          sasl.Anonymous()):
            with self.subTest(mechanism.name), \
                    self.assertRaises((wire.LinkError, wire.Disconnected,
                                       ValueError)):
                wire.Client(vm.connect(), mechanism=mechanism)
        # a ticket is not asked for, and opens nothing
        for password in ('', PASSWORD):
            with self.assertRaises((wire.LinkError, wire.Disconnected)):
                wire.Client(vm.connect(), ticket=password)
        self.assertNothingDone(vm, mark)
        self.assertLetIn(vm, mechanism=sasl.Scram('ann', PASSWORD))

    def test_first_generation(self):
        """A client that can't choose an authentication is sent away."""
        vm = self.server('PLAIN')
        mark = vm.qmp.mark()
        before = probe.open_files(vm.process.pid)
        for _ in range(20):
            with wire.Link(vm.connect()) as link:
                link.hello(common=(wire.CAP_MINI_HEADER,))
                link.until_end_raw()
        self.assertNothingDone(vm, mark)
        self.assertEqual(probe.open_files(vm.process.pid), before)

    def test_not_enabled(self):
        """With SASL off, it can't be used to get around the ticket.

        The library provides ANONYMOUS, and offers it on TLS.
        """
        vm = self.machine('power=on', ticket=PASSWORD, tls=self.authority_)
        mark = vm.qmp.mark()
        before = probe.open_files(vm.process.pid)
        for mechanism in (sasl.Anonymous(), sasl.Plain('ann', PASSWORD),
                          sasl.Scram('ann', PASSWORD)):
            with self.subTest(mechanism.name), \
                    self.assertRaises((wire.LinkError, wire.Disconnected,
                                       ValueError)):
                with wire.Client(vm.connect(),
                                 mechanism=mechanism) as client:
                    client.wait_init()
                    client.act('pause', 1)
        self.assertNothingDone(vm, mark)
        self.assertEqual(probe.open_files(vm.process.pid), before)
        self.assertLetIn(vm, PASSWORD)


class Record(TlsCase):
    """Each request is in the record once, with who has asked."""

    many_clients = True

    def check(self, vm, family, tls=False):
        """Whatever the result is: ok, denied, wrong-state or busy."""
        mark = vm.qmp.mark()
        clients = [self.client(vm), self.client(vm)]
        vm.qmp.mark()
        connected = [e['data'] for e in vm.qmp.events.since(mark)
                     if e['event'] == 'SPICE_CONNECTED']
        initialized = [e['data'] for e in vm.qmp.events.since(mark)
                       if e['event'] == 'SPICE_INITIALIZED']
        channels = {channel['port'] if family != 'unix'
                    else channel['connection-id']: channel
                    for channel in vm.spice()['channels']}
        mark = vm.qmp.mark()
        expected = []
        for number, client in enumerate(clients):
            # the same client, as different events name it
            who = {key: connected[number]['client'][key]
                   for key in ('host', 'port', 'family')}
            ident = initialized[number]['client']['connection-id']
            self.assertEqual(ident & 0xffffffff, client.session)
            channel = channels[who['port'] if family != 'unix' else ident]
            self.assertEqual(channel['connection-id'], ident)
            self.assertEqual({key: channel[key] for key in who}, who)
            self.assertEqual(channel['tls'], tls)
            self.assertEqual(who['family'], family)
            if family != 'unix':
                host, port = client.sock.getsockname()[:2]
                self.assertEqual((who['host'], who['port']),
                                 (host, str(port)))
            who = {'client': {**who, 'tls': tls}, 'connection-id': ident}
            for action, result in (('pause', 'ok'),
                                   ('power-on', 'wrong-state'),
                                   ('power-off', 'denied'),
                                   ('continue', 'ok'), ('continue', 'ok')):
                said = client.act(action, 5)[1]
                self.assertEqual(said.result, result)
                request = {'action': action, 'request-id': 5, **who}
                expected.append((ASKED, request))
                request = {**request, 'result': result}
                if said.message:
                    request['message'] = said.message
                expected.append((TOLD, request))
        vm.qmp.mark()
        self.assertEqual([(e['event'], e['data'])
                          for e in vm.qmp.events.since(mark)
                          if e['event'] in (ASKED, TOLD)], expected)

        # two at once; the second is refused, by the library
        mark = vm.qmp.mark()
        clients[0].send_raw(clients[0].request_frame('reset', 1)
                            + clients[0].request_frame('pause', 2))
        results = {r.request_id: r for r in (clients[0].wait_result(),
                                             clients[0].wait_result())}
        self.assertEqual((results[1].result, results[2].result),
                         ('ok', 'busy'))
        vm.qmp.mark()
        for name in (ASKED, TOLD):
            seen = {e['data']['request-id']: e['data']
                    for e in vm.qmp.events.since(mark) if e['event'] == name}
            self.assertEqual(set(seen), {1, 2})
            for data in seen.values():
                self.assertEqual(data['connection-id'] & 0xffffffff,
                                 clients[0].session)
        self.assertEqual(seen[2]['result'], 'busy')
        self.assertEqual(seen[2]['message'], results[2].message)

    ACTIONS = 'power=on,actions=reset:pause:continue:power-on'

    def test_ipv4(self):
        """A client over IPv4."""
        self.check(self.machine(self.ACTIONS, tcp=True), 'ipv4')

    def test_ipv6(self):
        """A client over IPv6."""
        try:
            with socket.create_server(('::1', 0), family=socket.AF_INET6):
                pass
        except OSError as error:
            self.skipTest(f'this machine has no IPv6: {error.strerror}')
        self.check(self.machine(self.ACTIONS, tcp=True, address='::1'),
                   'ipv6')

    def test_unix(self):
        """A client of the same machine, over a UNIX socket."""
        self.check(self.machine(self.ACTIONS), 'unix')

    def test_tls(self):
        """A client over TLS."""
        self.check(self.machine(self.ACTIONS, tls=self.authority_), 'ipv4',
                   tls=True)


# What a program that uses the client library in read-only mode does
READ_ONLY = '''
import gi, json, sys
gi.require_version('SpiceClientGLib', '2.0')
from gi.repository import GLib, GObject, SpiceClientGLib as Spice
loop = GLib.MainLoop()
session = Spice.Session(uri=sys.argv[1], read_only=sys.argv[2] == 'read-only')
todo = [Spice.PowerAction.PAUSE, Spice.PowerAction.RESET,
        Spice.PowerAction.OFF, Spice.PowerAction.CONTINUE]

def ask(channel):
    if todo:
        channel.power_async(todo.pop(0), None, done)
    else:
        channel.flush_async(None, lambda *unused: loop.quit())

def done(channel, result):
    try:
        channel.power_finish(result)
        print(json.dumps('ok'), flush=True)
    except GLib.Error as error:
        print(json.dumps(error.message), flush=True)
    ask(channel)

def new_channel(session, channel):
    if isinstance(channel, Spice.MainChannel):
        GObject.Object.connect(channel, 'notify::power-state', ready)
        GObject.Object.connect(channel, 'channel-event', ended)
        channel.connect()

def ended(channel, event):
    if event != Spice.ChannelEvent.OPENED:
        loop.quit()

def ready(channel, unused):
    if not hasattr(ready, 'done'):
        ready.done = True
        ask(channel)

GObject.Object.connect(session, 'channel-new', new_channel)
session.connect()
GLib.timeout_add_seconds(20, loop.quit)
loop.run()
'''


class ReadOnly(AccessCase):
    def run_session(self, vm, mode):
        env = dict(places.environment(), GI_TYPELIB_PATH=str(
            places.PREFIX / 'lib' / 'girepository-1.0'))
        done = subprocess.run(['/usr/bin/python3', '-c', READ_ONLY, vm.uri,
                               mode], env=env, text=True, capture_output=True,
                              timeout=30)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()], \
            done.stderr

    def test_read_only(self):
        """A read-only session can't ask: nothing is sent, an error says so."""
        vm = self.machine()
        mark = vm.qmp.mark()
        answers, errors = self.run_session(vm, 'read-only')
        self.assertEqual(len(answers), 4, (answers, errors))
        for answer in answers:
            self.assertIn('read-only', answer)
        self.assertNotIn('report a bug', errors)
        self.assertNothingDone(vm, mark)
        # that it is this that makes the difference
        answers, errors = self.run_session(vm, 'read-write')
        self.assertEqual(answers[:2], ['ok', 'ok'], errors)


if __name__ == '__main__':
    case.main()
