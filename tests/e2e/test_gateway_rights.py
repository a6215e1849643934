#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may do what at a spice-gateway, and what its log says of it."""

import fcntl
import shlex
import signal
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, case, netns, places, ports     # noqa: E402
from powertest import sasl, spicypower, wire              # noqa: E402
from powertest.record import TIMEOUT                      # noqa: E402

from test_bmc import BmcCase                              # noqa: E402
from test_gateway_port import proxied                     # noqa: E402

ALL = ['reset', 'power-off', 'power-on']
DENIED = 'You may only watch: '


def fields(line):
    """Those of a line that is a list of them, in its order."""
    what, _, rest = line.partition(': machine=')
    words = shlex.split(f'machine={rest}')
    return dict(word.split('=', 1) for word in words)


class RightsCase(BmcCase):
    def setUp(self):
        super().setUp()
        self.run_dir = Path(self.enterContext(
            tempfile.TemporaryDirectory(prefix='spice-power-')))
        for state in 'on', 'off', 'state':
            (self.run_dir / state).write_text('on' if state == 'on' else 'off')

    def groups(self, rights=None, **server):
        return {
            'server': server,
            'power': {'backend': 'exec', 'poll-interval': 0.02},
            'exec': {'status': f'cat {self.run_dir}/state',
                     'reset': 'true',
                     'power-on': f'cp {self.run_dir}/on {self.run_dir}/state',
                     'power-off': f'cp {self.run_dir}/off '
                                  f'{self.run_dir}/state'},
            **({'rights': rights} if rights else {})}

    def recorded(self, endpoint, since=0, **expected):
        """The fields of the request's line that has these."""
        def matches(line):
            return ('power request: machine=' in line and
                    expected.items() <= fields(
                        line[line.index('power request:'):]).items())
        line = endpoint.log.wait(matches, str(expected), since, TIMEOUT)
        return fields(line[line.index('power request:'):])


class Tickets(RightsCase):
    """Two passwords: to look, and to press as well."""

    def server(self, **words):
        for word in words:
            (self.run_dir / word).write_text(f'{words[word]}\n')
        return self.endpoint(self.groups(**{
            'ticket-file': self.run_dir / 'look',
            'power-ticket-file': self.run_dir / 'press'}))

    def run_with(self, endpoint, password, *words):
        return spicypower.run(endpoint.uri, *words,
                              options=[f'--password={password}'])

    def test_two(self):
        """One shows the state, the other one the buttons; the log tells"""
        endpoint = self.server(look='see-it', press='press-it')
        run = self.run_with(endpoint, 'see-it', 'status')
        self.assertEqual((run.code, run.objects[-1]['allowed']),
                         (spicypower.OK, []))
        run = self.run_with(endpoint, 'see-it', 'on')
        self.assertEqual((run.code, run.message), (
            spicypower.DENIED, f'{DENIED}the password that you have connected'
            ' with is not for power control'))
        told = self.recorded(endpoint, action='power-on', result='denied')
        self.assertEqual((told['machine'], told['client'], told['tls'],
                          told['ticket'], told['ms'], told['reason']),
                         ('spice-gateway', 'local', 'false', 'ordinary', '0',
                          run.message))
        self.assertEqual((self.run_dir / 'state').read_text(), 'off')
        run = self.run_with(endpoint, 'press-it', 'status', 'on')
        self.assertEqual((run.code, run.objects[0]['allowed']),
                         (spicypower.OK, ALL))
        told = self.recorded(endpoint, action='power-on', result='ok')
        self.assertEqual((told['ticket'], told.get('reason')), ('power', None))
        # it is on already, and a machine that is off can't be reset
        self.run_with(endpoint, 'press-it', 'on')
        self.run_with(endpoint, 'press-it', 'off')
        run = self.run_with(endpoint, 'press-it', 'reset')
        told = self.recorded(endpoint, action='reset')
        self.assertEqual((told['result'], told['reason']),
                         ('wrong-state', run.message))
        log = '\n'.join(endpoint.log.since())
        self.assertEqual(log.count('power request:'), 5)
        self.assertNotIn('see-it', log)
        self.assertNotIn('press-it', log)

    def test_renewed(self):
        """Both are read again, and rights stay with who has come with them"""
        endpoint = self.server(look='see-it', press='press-it')
        there = self.spicy_power(endpoint, '-',
                                 options=['--password=press-it'])
        there.wait_status(state='off', allowed=ALL)
        (self.run_dir / 'look').write_text('other\n')
        (self.run_dir / 'press').write_text('see-it\n')
        mark = endpoint.log.mark
        endpoint.process.send_signal(signal.SIGHUP)
        endpoint.wait_log('read again', mark)
        self.assertEqual(self.run_with(endpoint, 'see-it', 'status')
                         .objects[-1]['allowed'], ALL)
        self.assertEqual(self.run_with(endpoint, 'other', 'status')
                         .objects[-1]['allowed'], [])
        self.assertEqual(self.run_with(endpoint, 'press-it', 'status').code,
                         spicypower.CONNECT)
        self.assertEqual(there.act('on')[0]['result'], 'ok')


class People(RightsCase):
    """By SASL: ann may do all, ops-1 reset and power on, bob watches."""

    def server(self, rights):
        users = sasl.Users(self.run_dir, 'SCRAM-SHA-256',
                           program='spice-gateway')
        for name in 'ann', 'bob', 'ops-1':
            users.add(name, f'{name}-secret')
        self.tls = self.authority()
        self.port = ports.free()
        return self.endpoint(self.groups(rights, **{
            'sasl': 'true', 'address': '127.0.0.1', 'tls-port': self.port,
            'tls-ca-file': self.tls.ca_file,
            'tls-cert-file': self.tls.directory / 'server-cert.pem',
            'tls-key-file': self.tls.directory / 'server-key.pem'}),
            env=users.environment, port=self.port, tls=self.tls)

    def uri(self, user):
        return f'spice://{user}@127.0.0.1?tls-port={self.port}'

    def run_as(self, user, *words, password=None):
        return spicypower.run(self.uri(user), *words, options=[
            f'--password={password or user + "-secret"}', *self.tls.options])

    def test_people(self):
        """Each may do what is said, and is in the log by name"""
        endpoint = self.server({'users': 'ann', 'reset': 'ops-*',
                                'power-on': 'ops-*;nobody'})
        run = self.run_as('ann', 'status', 'on')
        self.assertEqual((run.code, run.objects[0]['allowed']),
                         (spicypower.OK, ALL))
        told = self.recorded(endpoint, action='power-on')
        self.assertEqual((told['user'], told['client'], told['tls'],
                          told['ticket'], told['result']),
                         ('ann', '127.0.0.1', 'true', 'none', 'ok'))
        run = self.run_as('ops-1', 'status', 'reset')
        self.assertEqual((run.code, run.objects[0]['allowed']),
                         (spicypower.OK, ['reset', 'power-on']))
        run = self.run_as('ops-1', 'off')
        self.assertEqual((run.result, run.message), (
            'denied', 'You may not do this, but other actions'))
        run = self.run_as('bob', 'off')
        self.assertEqual((run.result, run.message), (
            'denied', f'{DENIED}you are not one of those who may control the'
            ' power'))
        told = self.recorded(endpoint, user='bob')
        self.assertEqual((told['action'], told['result']),
                         ('power-off', 'denied'))
        self.assertEqual((self.run_dir / 'state').read_text(), 'on')

    def test_changed(self):
        """Who is connected has other rights at once"""
        endpoint = self.server({'users': 'ann'})
        bob = self.spicy_power_as('bob')
        bob.wait_status(state='off', allowed=[])
        text = endpoint.config.read_text()
        endpoint.config.write_text(
            text[:text.index('[rights]')] +
            '[rights]\nusers=ann\npower-on=b?b\n')
        endpoint.process.send_signal(signal.SIGHUP)
        bob.wait_status(state='off', allowed=['power-on'])
        self.assertEqual(bob.act('on')[0]['result'], 'ok')

    def spicy_power_as(self, user):
        class Machine:
            log_dir, uri = self.log_dir, self.uri(user)
        return self.enterContext(spicypower.Client(
            Machine, '-', name=f'client-of-{user}', options=[
                f'--password={user}-secret', *self.tls.options]))

    def test_wrong_password(self):
        """It is told once, without the password, by the gateway alone"""
        endpoint = self.server({'users': 'ann'})
        self.assertEqual(self.run_as('ann', 'status', password='guess').code,
                         spicypower.CONNECT)
        line = endpoint.wait_log('not let in: ')
        self.assertIn('client=127.0.0.1', line)
        self.assertIn('reason="a wrong name or password, says SASL"', line)
        log = '\n'.join(endpoint.log.since())
        self.assertNotIn('guess', log)
        self.assertNotIn('sasl step failed', log)


class WrongTickets(RightsCase):
    """Who tries passwords is in the log, and has to wait."""

    def gateway(self, *names):
        (self.run_dir / 'ticket').write_text('let-me-in\n')
        groups = self.groups(**{'ticket-file': self.run_dir / 'ticket'})
        self.port = ports.free()
        return self.enterContext(bmc.Gateway(self.log_dir, {
            'gateway.conf': {'gateway': {
                'unix-socket': '{directory}/proxy', 'address': '127.0.0.1',
                'port': self.port}},
            'defaults.conf': groups,
            **{f'machines/{name}.conf': {} for name in names}}))

    def link(self, gateway, ticket, address, name=b'a'):
        """A client by a proxy; how long it took, and whether it was let in."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(str(gateway.directory / 'proxy'))
        sock.sendall(proxied(address, 51312, name))
        begin = time.monotonic()
        try:
            client = wire.Client(sock, ticket=ticket, caps=wire.CONTROL_CAPS)
            client.close()
            let_in = True
        except wire.LinkError as error:
            self.assertEqual(str(error), 'permission denied')
            let_in = False
        return time.monotonic() - begin, let_in

    def guess(self, gateway, times, **options):
        for _ in range(times):
            self.assertFalse(self.link(gateway, 'guess', **options)[1])

    def test_told(self):
        """With machine and address, ten of them; then they are counted"""
        gateway = self.gateway('a')
        self.guess(gateway, 1, address='192.0.2.7')
        line = gateway.wait_log('not let in: ')
        self.assertEqual(
            fields(line[line.index('not let in: '):]), {
                'machine': 'a', 'client': '192.0.2.7', 'client-port': '51312',
                'tls': 'false', 'reason': 'a wrong password'})
        for number in range(14):
            self.guess(gateway, 1, address=f'192.0.2.{100 + number}')
        self.assertEqual(gateway.end(), 0)
        log = '\n'.join(gateway.log.since())
        self.assertEqual(log.count('not let in: '), 10)
        # what was left out is told before it ends
        self.assertIn('left out of the log: machine=a not-let-in=5', log)
        self.assertNotIn('Invalid password', log)
        self.assertNotIn('guess', log)

    def test_slowed(self):
        """Whatever machine it wants; others, and the right one, get in"""
        gateway = self.gateway('a', 'b')
        self.guess(gateway, 5, address='192.0.2.7')
        self.guess(gateway, 5, address='192.0.2.7', name=b'b')
        for name in b'a', b'b':
            took, let_in = self.link(gateway, 'let-me-in', '192.0.2.7', name)
            self.assertTrue(let_in)
            self.assertGreaterEqual(took, 0.25)
        self.guess(gateway, 2, address='192.0.2.7')
        took, let_in = self.link(gateway, 'let-me-in', '192.0.2.7')
        self.assertTrue(let_in)
        self.assertGreaterEqual(took, 1)
        # the same as ever
        quickest = min(self.link(gateway, 'let-me-in', '192.0.2.8')[0]
                       for _ in range(5))
        self.assertLess(quickest, 0.25)

    def own_port(self, address):
        """A machine that listens there by itself; to try a ticket at it."""
        port = ports.free()
        (self.run_dir / 'ticket').write_text('let-me-in\n')
        endpoint = self.endpoint(self.groups(**{
            'address': address, 'port': port,
            'ticket-file': self.run_dir / 'ticket'}), port=port)

        def link(ticket):
            begin = time.monotonic()
            sock = socket.create_connection((address, port), TIMEOUT)
            try:
                wire.Client(sock, ticket=ticket,
                            caps=wire.CONTROL_CAPS).close()
            except wire.LinkError:
                self.assertNotEqual(ticket, 'let-me-in')
            return time.monotonic() - begin
        return endpoint, link

    def test_own_port(self):
        """Where spice-server listens by itself it is the same"""
        if [name for _, name in socket.if_nameindex()] != ['lo']:
            self.skipTest('there is no network of its own here')
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, netns.SIOCSIFADDR, struct.pack(
                '16sHH4s16x', b'lo:7', socket.AF_INET, 0,
                socket.inet_aton('192.0.2.7')))
        endpoint, link = self.own_port('192.0.2.7')
        for _ in range(10):
            link('guess')
        # one that is quick may be let in before it is held
        self.assertGreaterEqual(max(link('let-me-in') for _ in range(5)),
                                0.25)
        self.assertIn('client=192.0.2.7 ',
                      endpoint.wait_log('not let in: '))

    def test_this_computer(self):
        """Nobody has to wait: it may be a proxy's, for anybody"""
        endpoint, link = self.own_port('127.0.0.1')
        for _ in range(12):
            link('guess')
        endpoint.wait_log('not let in: ')
        self.assertLess(min(link('let-me-in') for _ in range(5)), 0.25)


if __name__ == '__main__':
    case.main(lambda: places.need(bmc.GATEWAY))
