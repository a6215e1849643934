#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Results never lie and never vanish.

Each request has exactly one result: under load, when clients leave, when others
act on the machine at the same time, when QEMU ends. What a client is told is
what the monitor's events say, in their order.

SPICE_POWER_SEED fixes what is done at random, and SPICE_POWER_SECONDS says for
how long.
"""

import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places, wire        # noqa: E402
from powertest.machine import GUEST      # noqa: E402
from powertest.qmp import QMPError              # noqa: E402
from powertest.record import TIMEOUT    # noqa: E402

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
PAUSE_OFF = ('-action', 'shutdown=pause')
STATES = {'running': 'on', 'paused': 'paused', 'prelaunch': 'paused',
          'shutdown': 'off'}
STOPPED = ('paused', 'prelaunch')
SEED = int(os.environ.get('SPICE_POWER_SEED', random.randrange(1 << 32)))
SECONDS = float(os.environ.get('SPICE_POWER_SECONDS',
                               case.depth(3, 6)))


class Client(wire.Client):
    """Knows its connection's id, counts its requests, and keeps what it saw.

    All clients count from 1: their request ids are the same.
    """

    def __init__(self, vm):
        super().__init__(vm.connect())
        # the monitor shows it as a signed number
        self.connection, = struct.unpack_from('<i', self.wait_init().body)
        self.sent = 0
        self.results = []
        self.state = None
        while self.state is None:
            self.look(self.receive())

    def look(self, message):
        if message.type == wire.MSG_POWER_STATE:
            self.state = wire.PowerState.parse(message.body)
        elif message.type == wire.MSG_POWER_RESULT:
            self.results.append(wire.PowerResult.parse(message.body))

    def ask(self, action):
        self.sent += 1
        self.request(action, self.sent)

    def wait_results(self):
        """Until there is one for each request, or too many."""
        deadline = time.monotonic() + TIMEOUT
        while len(self.results) < self.sent:
            self.look(self.receive(deadline))

    def settle(self):
        """See all that the server has had to say until now."""
        for message in self.fence():
            self.look(message)


class Judge:
    """Follows the monitor's events, and knows what they make true."""

    def __init__(self, test, vm):
        self.test = test
        self.vm = vm
        self.place = 0
        self.status = 'running'
        self.ending = False         # SHUTDOWN was seen, STOP is to come
        self.by_spice = False       # who has stopped the machine
        self.last = None
        self.open = {}              # requests: by connection and request id
        self.told = {}              # results: by connection, in their order
        self.suppressed = 0

    def read(self):
        """Judge the events that are here now."""
        for event in self.vm.qmp.events.since(self.place):
            self.place += 1
            getattr(self, event['event'].lower(), lambda data: None)(
                event.get('data', {}))
            self.last = event
        return not self.open

    def wait(self):
        """Until each request that QEMU has seen has its result."""
        self.vm.qmp.mark()
        while not self.read():
            self.vm.qmp.events.wait(lambda e: e['event'] == TOLD,
                                    f'the results of {self.open}', self.place)

    def spice_power_request(self, data):
        self.suppressed += data.get('suppressed', 0)
        key = data['connection-id'], data['request-id']
        self.test.assertNotIn(key, self.open)
        self.open[key] = {'action': data['action'], 'reset': False}

    def spice_power_result(self, data):
        key = data['connection-id'], data['request-id']
        # with none open, this is the second result of a request
        request = self.open.pop(key)
        self.test.assertEqual(data['action'], request['action'])
        self.told.setdefault(key[0], []).append(wire.PowerResult(
            key[1], data['result'], data.get('message', '')))
        true = {'pause': self.status in STOPPED,
                'continue': self.status == 'running',
                'reset': request['reset'],
                'power-off': self.ending or self.status == 'shutdown',
                'power-on': self.status == 'running'}
        if data['result'] == 'ok':
            self.test.assertTrue(true[data['action']],
                                 f'{data} while {self.status}')
        elif data['result'] == 'wrong-state':
            # it is not refused where it is possible
            self.test.assertIn(
                (data['action'], self.status),
                {('reset', 'shutdown'), ('pause', 'shutdown'),
                 ('continue', 'shutdown'), ('continue', 'paused'),
                 ('continue', 'prelaunch'), ('power-on', 'paused'),
                 ('power-on', 'prelaunch')}, data)
        elif data['result'] == 'failed':
            # what was not begun when its client was thrown out
            self.test.assertEqual(data['message'], 'The client has been '
                                  'disconnected by the server')
        else:
            self.test.assertEqual(data['result'], 'busy', data)

    def stop(self, _data):
        self.status = 'shutdown' if self.ending else 'paused'
        self.by_spice = (self.last['event'] == ASKED
                         and self.last['data']['action'] == 'pause')
        self.ending = False

    def resume(self, _data):
        if self.last['event'] == ASKED:
            self.test.assertEqual(self.last['data']['action'], 'continue')
            self.test.assertTrue(self.by_spice,
                                 "somebody else's pause was undone")
        self.status = 'running'

    def reset(self, _data):
        for request in self.open.values():
            request['reset'] = True
        if self.status != 'running':
            self.status = 'prelaunch'

    def shutdown(self, _data):
        self.ending = self.status == 'running'
        self.by_spice = False
        if not self.ending:
            self.status = 'shutdown'

    def agree(self, clients):
        """The monitor, the SPICE server and its clients say the same."""
        self.wait()
        for client in clients:
            client.settle()
        self.wait()
        test = self.test
        test.assertEqual(self.vm.qmp.status, self.status)
        power = self.vm.spice()['power']
        test.assertEqual(power['state'], STATES[self.status])
        for client in clients:
            test.assertEqual(client.state.shown, (power['state'],
                                                  tuple(power['possible'])))
            test.assertEqual(sorted(r.request_id for r in client.results),
                             list(range(1, client.sent + 1)))
            for result in client.results:
                test.assertEqual(result.message == '', result.result == 'ok')

    def compare(self, client):
        """What it was told is what the monitor was; returns what was not.

        Requests that can change nothing are not always told to the monitor.
        """
        told = iter(self.told.get(client.connection, []))
        expected, untold = next(told, None), 0
        for result in client.results:
            if result == expected:
                expected = next(told, None)
            else:
                untold += 1
        self.test.assertIsNone(expected, client.results)
        return untold


def ask_alone(vm, client, action):
    """The result of a client that asks alone, and waits: it's never busy.

    Except when the guest resets itself (its firmware may, when it was reset
    too early) at the same moment; and where a pause has taken long, as on a
    busy machine, the next one is refused for ten times as long.
    """
    mark = vm.qmp.mark()
    client.ask(action)
    client.wait_results()
    result = client.results[-1]
    if result.result != 'busy':
        return result
    if 'slow to follow' in result.message:
        time.sleep(0.1)
    else:
        vm.qmp.wait_event('RESET', mark, guest=True)
    return ask_alone(vm, client, action)


class Random:
    """Clients and the monitor act at random on one machine."""

    def __init__(self, test, vm, choose):
        self.test, self.vm, self.choose = test, vm, choose
        self.judge = Judge(test, vm)
        self.clients = [self.connect() for _ in range(4)]
        self.requests = self.untold = self.steps = 0
        self.outcomes = {}

    def connect(self):
        return self.test.enterContext(Client(self.vm))

    def action(self):
        return self.choose.choice(wire.ACTIONS)

    def monitor(self):
        command = self.choose.choice(('stop', 'cont', 'cont', 'system_reset',
                                      'system_reset', 'system_powerdown',
                                      'query-status', 'query-spice'))
        try:
            self.vm.qmp.execute(command)
        except QMPError as error:
            # the one command that may be refused, and when
            self.test.assertEqual(command, 'cont')
            self.test.assertIn('eset', str(error))

    def alone(self):
        """One client asks and waits: it is never busy."""
        client = self.choose.choice(self.clients)
        action = self.action()
        result = ask_alone(self.vm, client, action)
        self.test.assertEqual(result.request_id, client.sent)
        self.test.assertIn(result.result, ('ok', 'wrong-state'), action)
        if result.result == 'ok':
            status = self.vm.qmp.status
            expected = {'pause': STOPPED, 'continue': ('running',),
                        'power-on': ('running',), 'power-off': ('shutdown',),
                        'reset': (*STOPPED, 'running')}[action]
            self.test.assertIn(status, expected)
            # it was told before the result was
            self.test.assertEqual(client.state.state, STATES[status])

    def together(self):
        """Several clients ask at once, and the monitor acts, too."""
        asking = self.choose.sample(self.clients, self.choose.randint(2, 4))
        for client in asking:
            client.ask(self.action())
            if self.choose.random() < 0.3:
                self.monitor()
        for client in asking:
            client.wait_results()
            self.test.assertEqual(client.results[-1].request_id, client.sent)

    def impatient(self):
        """A client does not wait for results; 16 may be refused as busy."""
        client = self.choose.choice(self.clients)
        for _ in range(self.choose.randint(2, 16)):
            client.ask(self.action())
        client.wait_results()

    def leave(self):
        """A client goes with its request under way, another one comes."""
        place = self.choose.randrange(len(self.clients))
        client = self.clients[place]
        mark = self.vm.qmp.mark()
        client.ask(self.action())
        if self.choose.random() < 0.3:
            client.ask(self.action())
        self.count(client, gone=True)
        client.close()
        self.clients[place] = new = self.connect()
        if self.choose.random() < 0.5:
            # what it gets must not be what the other one has not waited for
            new.ask(self.action())
            new.wait_results()
        self.vm.qmp.wait_event('SPICE_DISCONNECTED', mark)

    def frozen(self):
        """QEMU does not run while all this happens, and then sees it all."""
        self.vm.process.send_signal(signal.SIGSTOP)
        try:
            asking = self.choose.sample(self.clients,
                                        self.choose.randint(1, 4))
            for client in asking:
                client.ask(self.action())
            leaving = self.choose.random() < 0.3 and asking.pop()
            if leaving:
                self.count(leaving, gone=True)
                leaving.close()
                self.clients.remove(leaving)
        finally:
            self.vm.process.send_signal(signal.SIGCONT)
        if self.choose.random() < 0.5:
            self.monitor()
        for client in asking:
            client.wait_results()
        if leaving:
            self.clients.append(self.connect())

    def count(self, client, gone=False):
        """A client's part of the total, when it is complete."""
        if not gone:
            self.untold += self.judge.compare(client)
        self.requests += client.sent
        for result in client.results:
            self.outcomes[result.result] = (
                self.outcomes.get(result.result, 0) + 1)

    def run(self, seconds):
        kinds = {self.alone: 6, self.together: 4, self.impatient: 2,
                 self.leave: 2, self.frozen: 2, self.monitor: 4}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind, = self.choose.choices(list(kinds), list(kinds.values()))
            self.steps += 1
            try:
                kind()
                self.judge.agree(self.clients)
            except Exception as error:
                error.add_note(f'step {self.steps}, {kind.__name__}')
                raise
        for client in self.clients:
            self.count(client)
        print(f'  {self.steps} steps, {self.requests} requests: '
              f'{self.outcomes}; the monitor was not told of {self.untold} '
              'that changed nothing', flush=True)
        # the next request that changes something tells how many there were;
        # some of those who left may be among them
        client = self.connect()
        client.ask({'on': 'pause', 'paused': 'power-off', 'off': 'power-on'}
                   [client.state.state])
        client.wait_results()
        self.test.assertEqual(client.results[0].result, 'ok')
        self.judge.wait()
        self.test.assertGreaterEqual(self.judge.suppressed, self.untold)
        self.test.assertLessEqual({'ok', 'wrong-state', 'busy'},
                                  set(self.outcomes))


class Load(case.PowerTestCase):
    """Others draw, and read what is drawn, while a client acts."""

    many_clients = True

    TIMES = 40

    def display_client(self, vm, authority, name):
        log = self.enterContext(open(self.log_dir / f'{name}.log', 'w'))
        mark = vm.qmp.mark()
        viewer = subprocess.Popen(
            [sys.executable, Path(__file__).with_name('gi_viewer.py'), vm.uri,
             authority.ca_file], env=places.python_environment(),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(viewer.wait)
        self.addCleanup(viewer.kill)
        vm.qmp.events.wait(
            lambda e: e['event'] == 'SPICE_INITIALIZED'
            and e['data']['client'].get('channel-type') == 2,
            'a display client', mark)
        return viewer

    def test_load(self):
        """A working guest, two display clients, TLS, five actions in turn."""
        authority = self.authority()
        vm = self.guest(tls=authority)
        judge = Judge(self, vm)
        viewers = [self.display_client(vm, authority, f'viewer{number}')
                   for number in range(2)]
        client = self.enterContext(Client(vm))
        for _ in range(self.TIMES):
            for action, state in (('pause', 'paused'), ('continue', 'on'),
                                  ('reset', 'on'), ('power-off', 'off'),
                                  ('power-on', 'on')):
                self.assertEqual(ask_alone(vm, client, action),
                                 (client.sent, 'ok', ''))
                self.assertEqual(client.state.state, state)
                self.assertEqual(STATES[vm.qmp.status], state)
        judge.agree([client])
        self.assertEqual(judge.compare(client), 0)
        self.assertEqual(judge.suppressed, 0)
        for viewer in viewers:
            self.assertIsNone(viewer.poll())
        print(f'  {len(client.results)} of {client.sent} requests have their '
              'result', flush=True)


class Leave(case.PowerTestCase):
    """Clients that do not wait, and those who take their place."""

    many_clients = True

    TIMES = 200
    # Each of the first changes something: a record of what can change nothing
    # is not always made. Nor does the second, of the client that comes next.
    TURNS = (('reset', 'continue'), ('pause', 'power-on'),
             ('continue', 'continue'), ('power-off', 'continue'),
             ('power-on', 'continue'))

    def test_leave_at_once(self):
        """A request goes on when its client leaves; nobody gets the result."""
        vm = self.machine(extra=PAUSE_OFF)
        judge = Judge(self, vm)
        watcher = self.enterContext(Client(vm))
        left = []
        for number in range(self.TIMES):
            action, idle = self.TURNS[number % len(self.TURNS)]
            with Client(vm) as client:
                mark = vm.qmp.mark()
                client.ask(action)
            left.append(client.connection)
            # with the request id of the one that has left
            with Client(vm) as client:
                client.ask(idle)
                client.wait_results()
                client.settle()
                self.assertEqual([r.request_id for r in client.results], [1])
                vm.qmp.wait_event(TOLD, mark, action=action,
                                  **{'connection-id': left[-1]})
            judge.agree([watcher])
            judge.compare(client)
        self.assertEqual(watcher.results, [])
        done = [judge.told.get(connection, []) for connection in left]
        self.assertEqual([len(results) for results in done],
                         [1] * self.TIMES)
        print(f'  {len(done)} of {self.TIMES} requests had their result, '
              'which nobody was there to get', flush=True)

    def test_replaced(self):
        """The server lets the next client in, and the one before out."""
        vm = self.machine(extra=PAUSE_OFF)
        judge = Judge(self, vm)
        clients = [self.enterContext(Client(vm))]
        for number in range(self.TIMES // 2):
            clients[-1].ask(wire.ACTIONS[number % len(wire.ACTIONS)])
            clients.append(self.enterContext(Client(vm)))
            clients[-1].ask('reset')
            clients[-1].wait_results()
            clients[-1].settle()
            self.assertEqual([r.request_id for r in clients[-1].results], [1])
            judge.wait()
            # the last request may not have been read before its client was
            # let go, and what changes nothing is not always recorded
            results = judge.told.get(clients[-2].connection, [])
            self.assertIn([r.request_id for r in results],
                          ([], [1], [2], [1, 2]))
            clients[-2].close()
        judge.agree(clients[-1:])

    def test_without_reading(self):
        """The socket is closed with the result, or part of it, unread."""
        vm = self.machine(extra=PAUSE_OFF, tcp=True)
        judge = Judge(self, vm)
        for number in range(self.TIMES // 8):
            for wait in (TOLD, ASKED):
                for action, status in (('pause', STOPPED),
                                       ('continue', ('running',))):
                    with Client(vm) as client:
                        mark = vm.qmp.mark()
                        client.ask(action)
                        vm.qmp.wait_event(wait, mark)
                    judge.wait()
                    self.assertIn(vm.qmp.status, status)

    def test_half_closed(self):
        """End of file after the request: it goes on, too."""
        vm = self.machine(extra=PAUSE_OFF)
        for number in range(self.TIMES // 4):
            with Client(vm) as client:
                mark = vm.qmp.mark()
                client.ask(('pause', 'continue')[number % 2])
                client.sock.shutdown(socket.SHUT_WR)
                for message in client.until_end():
                    client.look(message)
                vm.qmp.wait_event(TOLD, mark, result='ok')
                self.assertIn(client.results, ([], [(1, 'ok', '')]))


class Stress(case.PowerTestCase):
    """At random."""

    many_clients = True

    def run_random(self, seconds, **options):
        print(f'  SPICE_POWER_SEED={SEED}', flush=True)
        vm = self.machine(extra=PAUSE_OFF, **options)
        try:
            Random(self, vm, random.Random(SEED)).run(seconds)
        except Exception as error:
            error.add_note(f'SPICE_POWER_SEED={SEED}')
            raise
        vm.qmp.execute('quit')
        self.assertEqual(vm.wait_exit(), 0)

    def test_unix(self):
        """An empty machine, over a UNIX socket."""
        self.run_random(SECONDS)

    def test_tls(self):
        """The same over TLS."""
        self.run_random(SECONDS, tls=self.authority())

    def test_guest(self):
        """A guest that works, and draws, while it is treated like that."""
        places.need(places.KERNEL, places.INITRAMFS)
        self.run_random(SECONDS, hardware=GUEST, tcp=True)


if __name__ == '__main__':
    case.main()
