#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spicy-power, and clients beside each other, against QEMU."""

import signal
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, spicypower, wire        # noqa: E402
from powertest.machine import Machine, StartError   # noqa: E402

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
ALL = list(wire.ACTIONS)
# A port for the guest's agent, which needs no guest
AGENT = ('-machine', 'pc', '-accel', 'tcg', '-m', '16', '-nodefaults', '-S',
         '-chardev', 'spicevmc,id=agent,name=vdagent',
         '-serial', 'chardev:agent')


class SpicyPower(case.PowerTestCase):
    """Exit codes and output of one-shot runs."""

    def test_status(self):
        """status prints what query-spice shows, as text and as JSON."""
        vm = self.machine()
        run = spicypower.run(vm.uri, 'status')
        self.assertEqual(run.code, spicypower.OK, run.err)
        self.assertEqual(run.objects, [
            {'type': 'state', 'state': 'on', 'allowed': ALL,
             'possible': ['reset', 'power-off', 'pause']}])
        run = spicypower.run(vm.uri, 'status', json_output=False)
        self.assertEqual([line.split() for line in run.out.splitlines()], [
            ['state:', 'on'], ['allowed:', *ALL],
            ['possible:', 'reset', 'power-off', 'pause']])

    def test_actions_in_a_row(self):
        """Several actions in one run, up to the first that fails."""
        vm = self.machine(extra=('-action', 'shutdown=pause'))
        run = spicypower.run(vm.uri, 'pause', 'continue', 'reset', 'off', 'on',
                             'status', 'off', 'continue', 'on')
        self.assertEqual(run.code, spicypower.WRONG_STATE, run.err)
        self.assertEqual(
            [(o['action'], o['result']) for o in run.objects
             if o['type'] == 'result'],
            [('pause', 'ok'), ('continue', 'ok'), ('reset', 'ok'),
             ('power-off', 'ok'), ('power-on', 'ok'), ('power-off', 'ok'),
             ('continue', 'wrong-state')])
        self.assertIn('power-on', run.message)
        self.assertEqual(vm.qmp.status, 'shutdown')

    def test_without_power_control(self):
        """power=off, the default: exit code 3, and nothing happens."""
        for number, option in enumerate(('power=off', '')):
            vm = self.machine(option, name=f'qemu{number}')
            self.assertNotIn('power', vm.qmp.human('info spice'))
            mark = vm.qmp.mark()
            for word in ('status', *spicypower.ACTIONS, 'monitor'):
                with self.subTest(f'{option}: {word}'):
                    run = spicypower.run(vm.uri, word, json_output=False)
                    self.assertEqual(run.code, spicypower.NO_POWER_CONTROL)
                    self.assertIn('power control', run.err)
                    self.assertEqual(run.out, '')
            # it has left before it was let in
            self.assertEqual(set(vm.qmp.event_names(mark)),
                             {'SPICE_CONNECTED', 'SPICE_DISCONNECTED'})
            self.assertEqual(vm.qmp.status, 'running')

    def test_not_configured(self):
        """What actions= leaves out is denied: exit code 4."""
        vm = self.machine('power=on,actions=pause:continue')
        mark = vm.qmp.mark()
        for word in ('reset', 'off', 'on'):
            with self.subTest(word):
                run = spicypower.run(vm.uri, word)
                self.assertEqual((run.code, run.result),
                                 (spicypower.DENIED, 'denied'))
                self.assertTrue(run.message)
        names = vm.qmp.event_names(mark)
        self.assertFalse(set(names) & {'RESET', 'SHUTDOWN', 'STOP'})
        run = spicypower.run(vm.uri, 'pause', 'continue')
        self.assertEqual(run.code, spicypower.OK, run.err)

    def test_ticket(self):
        """Without the right password nobody controls anything."""
        vm = self.machine(ticket='sesame')
        mark = vm.qmp.mark()
        for options in ((), ('--password=Sesame',)):
            with self.subTest(options):
                run = spicypower.run(vm.uri, 'pause', options=options)
                self.assertEqual(run.code, spicypower.CONNECT, run.err)
        with self.assertRaises(wire.LinkError) as caught:
            wire.Client(vm.connect(), ticket='Sesame')
        self.assertEqual(caught.exception.code, 7)     # permission denied
        self.assertNotIn(ASKED, vm.qmp.event_names(mark))
        self.assertEqual(vm.qmp.status, 'running')
        run = spicypower.run(vm.uri, 'pause', options=('--password=sesame',))
        self.assertEqual(run.code, spicypower.OK, run.err)
        self.assertEqual(vm.qmp.status, 'paused')

    def test_tls(self):
        """Over TLS, for those who trust the server's certificate."""
        authority = self.authority()
        stranger = self.authority()
        vm = self.machine(tls=authority)
        run = spicypower.run(vm.uri, 'pause', options=stranger.options)
        self.assertEqual(run.code, spicypower.CONNECT, run.err)
        self.assertEqual(vm.qmp.status, 'running')
        run = spicypower.run(vm.uri, 'pause', options=authority.options)
        self.assertEqual(run.code, spicypower.OK, run.err)
        self.assertEqual(vm.qmp.status, 'paused')

    def test_nobody_there(self):
        """No server: exit code 2. No sense: exit code 1."""
        uri = f'spice+unix://{self.log_dir}/nobody'
        run = spicypower.run(uri, 'status', json_output=False)
        self.assertEqual(run.code, spicypower.CONNECT, run.err)
        for arguments in ((), ('jump',), ('monitor', 'status')):
            with self.subTest(arguments):
                run = spicypower.run(uri, *arguments, json_output=False)
                self.assertEqual(run.code, spicypower.USAGE)
                self.assertTrue(run.err)

    def test_monitor(self):
        """monitor prints the state now and at each change, until the end."""
        vm = self.machine()
        client = self.spicy_power(vm, 'monitor')
        client.wait_state('on', 0)
        for command, state in (('stop', 'paused'), ('cont', 'on')) * 3:
            mark = client.output.mark
            vm.qmp.execute(command)
            client.wait_state(state, mark)
        vm.qmp.execute('quit')
        self.assertEqual(client.process.wait(30), spicypower.OK)
        client.output.wait_end()
        # a machine that ends with its QEMU is off at last
        self.assertEqual(client.states(),
                         ['on'] + ['paused', 'on'] * 3 + ['off'])

    def test_standard_input(self):
        """'-' goes on after a refusal, over the same connection."""
        vm = self.machine(extra=('-action', 'shutdown=pause'))
        client = self.spicy_power(vm, '-')
        self.assertEqual(client.status()['state'], 'on')
        connections = vm.main_connections()
        for word, result in (('pause', 'ok'), ('on', 'wrong-state'),
                             ('continue', 'ok'), ('off', 'ok'),
                             ('reset', 'wrong-state'), ('on', 'ok')):
            self.assertEqual(client.act(word)[0]['result'], result)
        self.assertEqual(vm.main_connections(), connections)
        self.assertEqual(client.finish(), spicypower.WRONG_STATE)

    def test_connection_lost(self):
        """QEMU dies: there is no result, and exit code 9 says so.

        What is asked for after that is not sent.
        """
        vm = self.machine('power=managed')
        client = self.spicy_power(vm, '-')
        client.status()
        mark, seen = client.output.mark, vm.qmp.mark()
        client.send('pause')
        vm.qmp.wait_event(ASKED, seen)
        vm.process.kill()
        result = client.output.wait(lambda o: o['type'] == 'result',
                                    'the result of pause', mark)
        self.assertEqual(result['result'], 'none')
        self.assertTrue(result['message'])
        result, _ = client.act('pause')
        self.assertEqual(result['result'], 'not-sent')
        self.assertTrue(result['message'])
        self.assertEqual(client.finish(), spicypower.NO_RESULT)

    def test_no_answer(self):
        """QEMU is stuck: --timeout ends the waiting; exit code 9."""
        vm = self.machine()
        client = self.spicy_power(vm, '-', options=('--timeout=1',))
        client.status()
        vm.process.send_signal(signal.SIGSTOP)
        result, _ = client.act('pause')
        vm.process.send_signal(signal.SIGCONT)
        self.assertEqual(result['result'], 'none')
        self.assertEqual(client.finish(), spicypower.NO_RESULT)

    def test_amid_agent_message(self):
        """It comes while somebody has sent half a message for the agent.

        So does a viewer, which takes that one's place.
        """
        vm = self.machine(hardware=AGENT)
        client = self.client(vm)
        client.send(wire.MSGC_AGENT_START, struct.pack('<I', 10))
        client.fence()
        # VDAgentMessage: protocol, type (none), opaque, size
        message = struct.pack('<IIQI', 1, 0, 0, 0)
        client.send_raw(client.frame(wire.MSGC_AGENT_DATA, message[:10],
                                     size=len(message)))
        for _ in range(10):             # as often it looks at its clients
            vm.qmp.execute('query-status')
        run = spicypower.run(vm.uri, 'status')
        self.assertEqual(run.code, spicypower.OK, run.err)
        client.send_raw(message[10:])
        client.fence()
        client.send_raw(client.frame(wire.MSGC_AGENT_DATA, message[:10],
                                     size=len(message)))
        for _ in range(10):
            vm.qmp.execute('query-status')
        other = self.client(vm)
        client.until_end()
        # and who comes then may send a whole one
        client = other
        client.send(wire.MSGC_AGENT_START, struct.pack('<I', 10))
        client.send(wire.MSGC_AGENT_DATA, message)
        client.fence()
        self.assertEqual(vm.qmp.status, 'prelaunch')

    def test_nobody_disturbed(self):
        """Each leaves those who were there alone, and acts."""
        vm = self.machine()
        viewer = self.client(vm)
        first = self.spicy_power(vm, 'monitor')
        first.wait_state('on', 0)
        run = spicypower.run(vm.uri, 'pause')
        self.assertEqual(run.code, spicypower.OK, run.err)
        first.wait_state('paused', 0)
        viewer.fence()
        self.assertEqual(vm.qmp.status, 'paused')


class Together(case.PowerTestCase):
    many_clients = True

    def test_each_sees_the_others_changes(self):
        """Two clients: one acts, both are told, only one gets the result."""
        vm = self.machine(extra=('-action', 'shutdown=pause'))
        clients = [self.client(vm), self.client(vm)]
        for client in clients:
            client.wait_state('on')
        ident = 0
        for actor, other in (clients, clients[::-1]):
            for action, state in (('pause', 'paused'), ('continue', 'on'),
                                  ('power-off', 'off'), ('power-on', 'on')):
                ident += 1
                states, result = actor.act(action, ident)
                self.assertEqual(result, (ident, 'ok', ''))
                self.assertEqual(states[-1].state, state)
                self.assertEqual(other.wait_state(), states[-1])
        for number, client in enumerate(clients):
            client.fence()
            results = [wire.PowerResult.parse(m.body).request_id
                       for m in client.received
                       if m.type == wire.MSG_POWER_RESULT]
            self.assertEqual(results, [1 + 4 * number + i for i in range(4)])

    def test_one_continues_what_the_other_has_paused(self):
        """A pause belongs to SPICE, not to one client."""
        vm = self.machine()
        self.assertEqual(spicypower.run(vm.uri, 'pause').code, 0)
        self.assertEqual(spicypower.run(vm.uri, 'continue').code, 0)
        self.assertEqual(vm.qmp.status, 'running')

    def test_both_at_once(self):
        """Requests of two clients at the same time: each has its result."""
        vm = self.machine()
        clients = [self.client(vm), self.client(vm)]
        for ident in range(100):
            for number, client in enumerate(clients):
                client.request(('pause', 'continue')[number], ident)
            for client in clients:
                result = client.wait_result()
                self.assertEqual(result.request_id, ident)
                self.assertIn(result.result, ('ok', 'busy'))
        self.assertIn(vm.qmp.status, ('running', 'paused'))


class Events(case.PowerTestCase):
    many_clients = True

    """Who has asked is known to the management layer."""

    def check(self, vm, tls, **options):
        sock = vm.connect()
        host, port = sock.getsockname()[:2]
        client = self.enterContext(wire.Client(sock, **options))
        client.wait_init()
        connection, = vm.main_connections()
        mark = vm.qmp.mark()
        self.assertEqual(client.act('pause', 0xfffffffe)[1].result, 'ok')
        self.assertEqual(client.act('power-on', 3)[1].result, 'wrong-state')
        self.assertEqual(vm.qmp.event_names(mark),
                         [ASKED, 'STOP', TOLD, ASKED, TOLD])
        asked, _, told, asked2, told2 = [
            event.get('data') for event in vm.qmp.events.since(mark)]
        who = {'client': {'host': host, 'port': str(port), 'family': 'ipv4',
                          'tls': tls},
               'connection-id': connection}
        self.assertEqual(asked, {'action': 'pause', 'request-id': 0xfffffffe,
                                 **who})
        self.assertEqual(told, {**asked, 'result': 'ok'})
        self.assertEqual(asked2, {'action': 'power-on', 'request-id': 3,
                                  **who})
        self.assertEqual({**told2, 'message': ''},
                         {**asked2, 'result': 'wrong-state', 'message': ''})
        self.assertTrue(told2['message'])

    def test_plain(self):
        """Action, client, connection-id and request-id; plain TCP."""
        self.check(self.machine(tcp=True), False)

    def test_tls(self):
        """The same over TLS."""
        authority = self.authority()
        self.check(self.machine(tls=authority), True)

    def test_connection_ids(self):
        """They are those of query-spice, whatever their highest bit is."""
        vm = self.machine()
        for _ in range(16):
            client = self.client(vm)
            connection, = vm.main_connections()
            mark = vm.qmp.mark()
            client.act('continue', 1)
            for event in (ASKED, TOLD):
                data = vm.qmp.wait_event(event, mark)['data']
                self.assertEqual(data['connection-id'], connection)
            mark = vm.qmp.mark()
            client.close()
            vm.qmp.wait_event('SPICE_DISCONNECTED', mark)

    def test_query_and_info(self):
        """query-spice and info spice show mode, state and actions."""
        vm = self.machine('power=on,actions=pause:reset')
        self.assertEqual(vm.spice()['power'], {
            'mode': 'on', 'state': 'on', 'actions': ['reset', 'pause'],
            'allowed': ['reset', 'pause'], 'possible': ['reset', 'pause'],
            'ticket': False})
        vm.qmp.execute('stop')
        self.assertEqual(vm.spice()['power'], {
            'mode': 'on', 'state': 'paused', 'actions': ['reset', 'pause'],
            'allowed': ['reset', 'pause'], 'possible': ['reset'],
            'ticket': False})
        shown = dict(line.split(':', 1)
                     for line in vm.qmp.human('info spice').splitlines()
                     if ':' in line)
        shown = {key.strip(): value.split() for key, value in shown.items()}
        self.assertEqual(
            {key: shown.get(key)
             for key in ('power', 'power state', 'actions', 'allowed',
                         'possible')},
            {'power': ['on'], 'power state': ['paused'],
             'actions': ['reset', 'pause'], 'allowed': ['reset', 'pause'],
             'possible': ['reset']})


class Options(case.PowerTestCase):
    def test_bad_options(self):
        """A bad value is a clear error at start, and exit code 1."""
        for number, (option, named) in enumerate((
                ('power=maybe', 'maybe'),
                ('power=on,actions=reset:jump', 'jump'),
                ('power=on,actions=', 'actions'),
                ('actions=reset', 'power'),
                ('power=off,actions=reset', 'power'))):
            with self.subTest(option):
                machine = Machine(self.log_dir, option, name=f'qemu{number}')
                with self.assertRaises(StartError) as caught:
                    with machine:
                        pass
                self.assertEqual(machine.process.returncode, 1)
                self.assertIn(named, str(caught.exception))


if __name__ == '__main__':
    case.main()
