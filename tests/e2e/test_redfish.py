#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-gateway and Redfish services: one of our own, and others' real ones.

Those of others are run from checkouts: docs/developing.rst tells how.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, case, libvirt, redfish        # noqa: E402

# Nothing is to be found by asking: it's told, or it's an action
SELDOM = {'poll-interval': 600, 'idle-poll-interval': 600}


class RedfishCase(case.PowerTestCase):
    def groups(self, service, power=(), user=True, **keys):
        secret = self.log_dir / 'secret'
        secret.write_text(redfish.PASSWORD)
        return {'power': {'backend': 'redfish', **dict(power)},
                'redfish': {'url': service.url,
                            **({'user': redfish.USER, 'password-file': secret}
                               if user else {}), **keys}}

    def endpoint(self, *arguments, name='spice-gateway', **keys):
        return self.enterContext(bmc.Endpoint(
            self.log_dir, self.groups(*arguments, **keys), name=name))

    def ask(self, client, word, result='ok', message=''):
        told, _ = client.act(word)
        self.assertEqual(told['result'], result, told)
        if message:
            self.assertRegex(told['message'], message)


class Own(RedfishCase):
    """A service of ours, which tells what happens."""

    def setUp(self):
        super().setUp()
        self.service = self.enterContext(redfish.Service())

    def test_session(self):
        """From the log-in to the log-out, which is the program's end."""
        endpoint = self.endpoint(self.service)
        person = self.spicy_power(endpoint, '-')
        person.wait_status(state='off', possible=['power-on'])
        self.ask(person, 'on')
        self.ask(person, 'reset')
        self.ask(person, 'off')
        self.assertEqual(self.service.count(f'POST {redfish.SESSIONS}'), 1)
        self.assertEqual(endpoint.end(), 0)
        self.assertEqual(
            self.service.count(f'DELETE {redfish.SESSIONS}/7'), 1)
        self.assertNotIn(redfish.PASSWORD, '\n'.join(endpoint.log.since()))

    def test_events(self):
        """They are there for those who are, and need no other question."""
        endpoint = self.endpoint(self.service, SELDOM)
        endpoint.wait_log('power state: off')
        self.assertEqual(self.service.count(f'GET {redfish.EVENTS}'), 0)
        watcher = self.spicy_power(endpoint, 'monitor')
        watcher.wait_state('off', 0)
        self.service.wait('listens')
        mark = watcher.output.mark
        self.service.power = 'On'
        self.service.tell()
        watcher.wait_state('on', mark)
        mark = self.service.asked.mark
        watcher.close()
        self.service.wait('listens no more', mark)

    def test_seldom(self):
        """While there are events it's not asked all the time; then it is."""
        endpoint = self.endpoint(self.service, {'poll-interval': 0.01,
                                                'idle-poll-interval': 600})
        endpoint.wait_log('power state: off')
        system = f'GET {redfish.SYSTEM}'
        self.spicy_power(endpoint, 'monitor')
        mark = self.service.wait('listens')
        # what has happened until then is looked for
        mark = self.service.wait(system, mark)
        self.assertTrue(self.service.asked.quiet(
            lambda what: self.service.count(system, mark) > 2, 1))
        mark = self.service.asked.mark
        self.service.hang_up()
        mark = self.service.wait('listens no more', mark)
        for _ in range(5):
            mark = self.service.wait(system, mark)

    def test_wrong_password(self):
        """The reason is in the log once, and what clients are told."""
        endpoint = self.endpoint(self.service)
        endpoint.wait_log('power state: off')
        (self.log_dir / 'wrong').write_text('wrong')
        groups = self.groups(self.service)
        groups['redfish']['password-file'] = self.log_dir / 'wrong'
        other = self.enterContext(bmc.Endpoint(self.log_dir, groups, 'other'))
        other.wait_log('check [redfish] user and password-file')
        self.ask(self.spicy_power(other, '-'), 'on', 'failed',
                 r'check \[redfish\] user and password-file')


class Sushy(RedfishCase):
    """OpenStack's sushy-tools in front of libvirt's domains."""

    def test_domain(self):
        """What clients do happens to the domain; what virsh does is told."""
        lv = self.enterContext(libvirt.Libvirt(self.log_dir))
        vm = lv.domain('machine', guest=False, listen=None)
        lv.domain('other', guest=False, listen=None)
        tls = self.authority()
        sushy = self.enterContext(redfish.Sushy(self.log_dir, lv.uri, tls))

        session = self.endpoint(sushy, name='session',
                                **{'ca-file': tls.ca_file})
        session.wait_log('set [redfish] authentication to basic')
        keys = {'authentication': 'basic', 'ca-file': tls.ca_file}
        nameless = self.endpoint(sushy, name='nameless', **keys)
        nameless.wait_log('has several systems: set [redfish] system to one of')
        uuid = vm.virsh('domuuid').strip()
        for name in vm.name, uuid:
            endpoint = self.endpoint(sushy, {'poll-interval': 0.1}, name=name,
                                     system=name, **keys)
            person = self.spicy_power(endpoint, '-', name=f'{name}-client')
            person.wait_status(state='off', possible=['power-on'])
            self.ask(person, 'on')
            self.assertEqual(vm.state[0], 'running')
            self.ask(person, 'on')              # already
            vm.watch()
            mark = vm.events.mark
            self.ask(person, 'reset')
            # which is off and on again there
            vm.events.wait(lambda line: 'Stopped Destroyed' in line, 'off',
                           mark)
            vm.events.wait(lambda line: 'Started Booted' in line, 'on', mark)
            person.wait_status(state='on')
            self.ask(person, 'off')
            self.assertEqual(vm.state[0], 'shut off')
            vm.virsh('start')
            person.wait_status(state='on', possible=['reset', 'power-off'])
            vm.virsh('destroy')
            person.wait_status(state='off')
        self.assertEqual(lv.virsh('domstate', 'other').strip(), 'shut off')

        done = subprocess.run(
            ['openssl', 'x509', '-noout', '-fingerprint', '-sha256', '-in',
             tls.directory / 'server-cert.pem'], capture_output=True,
            text=True, check=True)
        pinned = self.endpoint(
            sushy, name='pinned', system=vm.name, authentication='basic',
            fingerprint=done.stdout.strip().partition('=')[2])
        pinned.wait_log('power state: off')
        other = self.authority()
        distrusting = self.endpoint(
            sushy, name='distrusting', system=vm.name, authentication='basic',
            **{'ca-file': other.ca_file})
        distrusting.wait_log('of no authority that is trusted')


class Mockup(RedfishCase):
    """DMTF's Redfish-Mockup-Server, whose system is on whatever is done."""

    def test_session(self):
        """It logs in and out; the machine that does not follow is said so."""
        tls = self.authority()
        mockup = self.enterContext(redfish.Mockup(self.log_dir, tls))
        endpoint = self.endpoint(mockup, {'action-timeout': 2},
                                 **{'ca-file': tls.ca_file})
        person = self.spicy_power(endpoint, '-')
        person.wait_status(state='on', possible=['reset', 'power-off'])
        self.ask(person, 'reset')
        self.ask(person, 'off', 'failed', 'did not follow within 2 seconds')
        endpoint.wait_log('no events by SSE')
        self.assertEqual(endpoint.end(), 0)
        mockup.wait_log('DELETE')


class Emulator(RedfishCase):
    """DMTF's Redfish-Interface-Emulator, whose systems are on as well."""

    def test_systems(self):
        """One of several, whose actions are told by an ActionInfo."""
        emulator = self.enterContext(redfish.Emulator(self.log_dir))
        nameless = self.endpoint(emulator, name='nameless', user=False)
        nameless.wait_log('to one of System-1, System-2')
        endpoint = self.endpoint(emulator, user=False, system='System-3')
        person = self.spicy_power(endpoint, '-')
        person.wait_status(state='on', possible=['reset', 'power-off'])
        self.ask(person, 'reset')
        emulator.wait_log('GET /redfish/v1/Systems/System-3/ResetActionInfo')
        emulator.wait_log('POST /redfish/v1/Systems/System-3/Actions/'
                          'ComputerSystem.Reset')


if __name__ == '__main__':
    case.main()
