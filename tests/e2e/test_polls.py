#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How often spice-gateway logs in at a real BMC, and what it makes of odd ones.

All that it says to OpenIPMI's BMC goes through a network that counts. What real
BMCs have been seen to answer is what a program in place of ipmitool prints.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, case                     # noqa: E402
from powertest.record import TIMEOUT                # noqa: E402

# as much shorter as all other times are
TIMES = {'poll-interval': 0.2, 'idle-poll-interval': 2}
PERIOD = 6
ESTABLISH = 'Error: Unable to establish IPMI v2 / RMCP+ session'


class PollsCase(case.PowerTestCase):
    def endpoint(self, ipmi, **power):
        return self.enterContext(bmc.Endpoint(self.log_dir, {
            'power': {'backend': 'ipmi', **TIMES, **power}, 'ipmi': ipmi}))


class Polls(PollsCase):
    def setUp(self):
        super().setUp()
        self.host = self.enterContext(bmc.Host(self.log_dir))
        self.lan = self.enterContext(bmc.Lan(self.host.lan_port))

    def start(self, power=None, **ipmi):
        return self.endpoint({
            'host': '127.0.0.1', 'port': self.lan.lan_port, 'user': bmc.USER,
            'cipher-suite': 3, 'password-file': self.host.password_file,
            **ipmi}, **(power or {}))

    def sessions(self, seconds):
        """How many there are in so many seconds from now on."""
        mark = self.lan.sessions.mark
        self.lan.sessions.quiet(lambda port: False, seconds)
        return self.lan.sessions.mark - mark

    def wait_sessions(self, number):
        """Until there have been so many more from now on."""
        mark = self.lan.sessions.mark
        self.lan.sessions.wait(lambda port: self.lan.sessions.mark >=
                               mark + number, f'{number} sessions', mark)

    def test_nobody_there(self):
        """A session now and then; with a client often, until that has gone."""
        endpoint = self.start()
        endpoint.wait_log('power state: off')
        most = PERIOD / TIMES['idle-poll-interval'] + 1
        self.assertLessEqual(self.sessions(PERIOD), most)
        with self.spicy_power(endpoint, 'monitor') as client:
            client.wait_state('off', 0)
            # nobody would wait as long for as many
            self.wait_sessions(2 * PERIOD)
        # one may be under way, or be due at once
        endpoint.wait_log('disconnected')
        self.assertLessEqual(self.sessions(PERIOD), most + 2)
        self.assertEqual(self.lan.overlapping(), [])

    def test_wrong_password(self):
        """One attempt, whoever comes and whatever they ask for."""
        wrong = self.log_dir / 'wrong'
        wrong.write_text('something-else')
        endpoint = self.start(**{'password-file': wrong})
        endpoint.wait_log('does not accept the password')
        for number in range(4):
            with self.spicy_power(endpoint, '-',
                                  name=f'client-{number}') as client:
                client.wait_status(state='unknown')
                for _ in range(3):
                    result, _ = client.act('on')
                    self.assertEqual(result['result'], 'failed')
                    self.assertIn('[ipmi] password-file', result['message'])
                self.lan.attempts.quiet(lambda port: False, 1)
        self.assertEqual(self.lan.attempts.mark, 1)

    def test_away(self):
        """Fewer and fewer attempts; who asks for something has it tried."""
        self.lan.cut = True
        endpoint = self.start({'query-timeout': 0.3})
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='unknown')
        mark = self.lan.attempts.mark
        self.lan.attempts.quiet(lambda port: False, 12)
        # each after 0.3 s, and 0.4, 0.8, 1.6, 3.2, 6.4 s after the one before
        self.assertLessEqual(self.lan.attempts.mark - mark, 6)
        mark = self.lan.attempts.mark
        result, _ = client.act('on')
        self.assertIn('does not answer', result['message'])
        self.lan.attempts.wait(lambda port: True, 'an attempt', mark)
        self.lan.cut = False
        self.assertEqual(client.act('off')[0]['result'], 'ok')

    def test_one_at_a_time(self):
        """Questions and actions are not sent at the same time."""
        endpoint = self.start({'poll-interval': 0.1})
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off')
        for _ in range(2):
            self.assertEqual(client.act('on')[0]['result'], 'ok')
            self.host.qmp()
            self.assertEqual(client.act('reset')[0]['result'], 'ok')
            self.assertEqual(client.act('off')[0]['result'], 'ok')
        self.wait_sessions(3)
        self.assertEqual(self.lan.overlapping(), [])


class Ways(PollsCase):
    """Other ways to log in."""

    def ipmi(self, host, **keys):
        return {'host': '127.0.0.1', 'port': host.lan_port, 'user': bmc.USER,
                'password-file': host.password_file, **keys}

    def check(self, host, message=None, **keys):
        """It is off; or with such a message it is not known."""
        name = '-'.join(['spice-gateway', *map(str, keys)])
        with bmc.Endpoint(self.log_dir, {
                'power': {'backend': 'ipmi', **TIMES},
                'ipmi': self.ipmi(host, **keys)}, name=name) as endpoint:
            endpoint.wait_log(message or 'power state: off')
            log = '\n'.join(endpoint.log.since())
            self.assertNotIn('sKeyOfKg', log)
            self.assertNotIn(bmc.PASSWORD, log)

    def test_key(self):
        """A BMC with a key K_g, which is in no command line."""
        host = self.enterContext(bmc.Host(self.log_dir, key='sKeyOfKg'))
        key, other = self.log_dir / 'key', self.log_dir / 'other'
        key.write_text('0x734b65794f664b67\n')
        other.write_text('no\n')
        self.check(host, **{'cipher-suite': 3, 'kg-file': key})
        for keys in {'kg-file': other}, {}:
            self.check(host, 'check [ipmi] kg-file',
                       **{'cipher-suite': 3, **keys})

    def test_lan(self):
        """IPMI 1.5, where a wrong password has no answer."""
        host = self.enterContext(bmc.Host(self.log_dir))
        wrong = self.log_dir / 'wrong'
        wrong.write_text('something-else')
        self.check(host, interface='lan')
        self.check(host, 'check [ipmi] password-file', interface='lan',
                   **{'password-file': wrong})
        self.check(host, 'check [ipmi] user', interface='lan', user='nobody')
        self.check(host, 'check [ipmi] privilege', interface='lan',
                   privilege='ADMINISTRATOR')


class Odd(PollsCase):
    """BMCs that others have met; what is printed, and how it ends."""

    def start(self, script, **power):
        program = self.log_dir / 'ipmitool'
        program.write_text(f'#!/bin/sh\ncd {self.log_dir}\n'
                           'for word; do :; done\n' + script)
        program.chmod(0o755)
        return self.endpoint({'host': 'bmc1', 'ipmitool': program}, **power)

    def check_refused(self, said, message):
        endpoint = self.start(f'echo "{said}" >&2\necho "{ESTABLISH}" >&2\n'
                              'exit 1\n')
        client = self.spicy_power(endpoint, '-')
        result, _ = client.act('on')
        self.assertNotEqual(result['result'], 'ok')
        self.assertIn(message, result['message'])

    def test_cipher_suite(self):
        """It did answer."""
        self.check_refused('Error in open session response message : no '
                           'matching cipher suite', '[ipmi] cipher-suite')

    def test_no_session(self):
        """It will have one again."""
        self.check_refused('Error in open session response message : '
                           'insufficient resources for session',
                           'has no free session')

    def test_fails_and_does(self):
        """It is off, though it said that it can't do that in this state."""
        (self.log_dir / 'state').write_text('on')
        endpoint = self.start(
            'case $word in\n'
            'status) echo "Chassis Power is $(cat state)";;\n'
            'off) echo off >state; echo "Set Chassis Power Control to Down/Off '
            'failed: Command not supported in present state" >&2; exit 1;;\n'
            'esac\n')
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='on')
        self.assertEqual(client.act('off')[0]['result'], 'ok')
        endpoint.wait_log('power state is off, though it was said: ')

    def test_one_odd_answer(self):
        """One between good ones is not seen, two are."""
        bad, count = self.log_dir / 'bad', self.log_dir / 'count'
        bad.write_text('0\n')
        endpoint = self.start(
            'echo >>count\nread -r left <bad\nif [ $left -gt 0 ]; then\n'
            'echo $((left - 1)) >bad\n'
            'echo "Get Chassis Power Status failed: Unspecified error" >&2\n'
            'exit 1\nfi\necho "Chassis Power is on"\n')
        client = self.spicy_power(endpoint, 'monitor')
        client.wait_state('on', 0)

        def make_bad(number):
            """And wait until it has been good again."""
            (self.log_dir / 'new').write_text(f'{number}\n')
            asked = count.stat().st_size
            (self.log_dir / 'new').rename(bad)
            deadline = time.monotonic() + TIMEOUT
            while count.stat().st_size < asked + number + 3:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
        mark, log = client.output.mark, endpoint.log.mark
        make_bad(1)
        self.assertEqual(client.states(mark), [])
        self.assertEqual([line for line in endpoint.log.since(log)
                          if 'power state' in line], [])
        make_bad(2)
        client.wait_state('unknown', mark)
        client.wait_state('on', mark)


if __name__ == '__main__':
    case.main(bmc.need)
