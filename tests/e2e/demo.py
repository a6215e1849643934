#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot a real guest, and control its power with a real SPICE client.

Each step is looked at from both sides: what the SPICE client is told, and what
QEMU's monitor and the guest's console show. It ends with exit code 0 only if
all of it was seen.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import places                                # noqa: E402
from powertest.machine import (BANNER, GUEST, Machine,      # noqa: E402
                               StartError)
from powertest.record import Ended                          # noqa: E402
from powertest.spicypower import Client                     # noqa: E402
from powertest.transcript import Failed, Transcript, main   # noqa: E402
from powertest.wire import CHANNEL_MAIN                     # noqa: E402


def expect(what, expected, seen):
    if seen != expected:
        raise Failed(f'expected: {what}: {expected}\n  seen: {seen}')


def words(names):
    return ', '.join(names) or 'nothing'


class Demo(Transcript):
    def __init__(self, machine):
        super().__init__()
        self.machine = machine
        self.qmp = machine.qmp

    # --- what is looked at after each action --------------------------------

    def act(self, word, result='ok'):
        """Ask for an action; look at both ends of the request."""
        self.event_mark = self.qmp.events.mark
        self.state_mark = self.monitor.output.mark
        self.console_mark = self.machine.console.mark
        answer, duration = self.actor.act(word)
        expect(f'the result of {word}', result, answer['result'])
        reason = f': "{answer["message"]}"' if answer['message'] else ''
        self.seen('SPICE', f'{word}: {result} ({duration:.0f} ms){reason}')
        told = self.qmp.wait_event('SPICE_POWER_REQUEST', self.event_mark,
                                   action=word)['data']
        expect('the connection that asked', self.actor_id,
               told['connection-id'])
        self.qmp.wait_event('SPICE_POWER_RESULT', self.event_mark,
                            action=word, result=result,
                            **{'request-id': told['request-id'],
                               'connection-id': self.actor_id})
        return answer

    def state(self, state):
        """The client that only watches sees it, and query-spice says so."""
        told = self.monitor.wait_state(state, self.state_mark)
        self.seen('SPICE', f'the watching client is told: {state}; possible '
                           f'now: {words(told["possible"])}')
        power = self.machine.spice()['power']
        expect('the state in query-spice', state, power['state'])
        expect('the possible actions in query-spice', told['possible'],
               power['possible'])

    def events(self, status, *names, **data):
        for name in names:
            self.qmp.wait_event(name, self.event_mark, **data.get(name, {}))
        expect('the status', status, self.qmp.status)
        self.seen('QMP', ', '.join([*names, f'status {status}']))

    def connected(self):
        """Both clients are connected, over the connections they began with."""
        expect('the connections', self.connections,
               self.machine.main_connections())
        gone = self.qmp.event_names(0).count('SPICE_DISCONNECTED')
        expect('the channels that were disconnected', 0, gone)
        expect('the clients that run', [True, True],
               [self.actor.running, self.monitor.running])
        self.seen('QMP', 'both clients are connected as before, connection-id '
                         f'{self.actor_id} and {self.monitor_id}')

    def booted(self, count):
        """The guest says hello once more, and counts from 0."""
        after = self.machine.wait_boot(self.console_mark)
        banner = self.machine.console.since(after - 1)[0]
        banner = banner[BANNER.search(banner).start():].split(' (')[0]
        expect('the number of boots', count, self.machine.boots())
        self.seen('guest', f'boot {count}: "{banner}"')
        for tick in range(3):
            self.machine.wait_tick(after, tick)
        self.seen('guest', 'counts from 0: 0, 1, 2')

    def stopped(self):
        if not self.machine.silent():
            raise Failed('expected: the guest to be stopped\n  seen: it '
                         f'ticks, {self.machine.last_tick()[0]}')
        tick, _ = self.machine.last_tick()
        self.seen('guest', f'the counter stands still at {tick}')
        return tick

    # --- the steps ----------------------------------------------------------

    def run(self):
        machine, qmp = self.machine, self.qmp

        self.step('The guest boots')
        self.console_mark = 0
        self.booted(1)

        self.step('Two clients connect: "spicy-power -" acts, '
                  '"spicy-power monitor" watches')
        mark = qmp.events.mark
        self.actor = machine.stack.enter_context(
            Client(machine, '-', name='acting'))
        answer = self.actor.status()
        self.actor_id, = machine.main_connections()
        self.monitor = machine.stack.enter_context(
            Client(machine, 'monitor', name='watching'))
        self.monitor.wait_state('on', 0)
        self.connections = machine.main_connections()
        self.monitor_id, = set(self.connections) - {self.actor_id}
        qmp.wait_event('SPICE_INITIALIZED', mark)
        expect('the state', 'on', answer['state'])
        self.seen('SPICE', f'status: {answer["state"]}; allowed: '
                           f'{words(answer["allowed"])}')
        self.seen('SPICE', f'possible now: {words(answer["possible"])}')
        power = machine.spice()['power']
        expect('query-spice',
               [answer['state'], answer['allowed'], answer['possible']],
               [power['state'], power['actions'], power['possible']])
        expect('the status', 'running', qmp.status)
        self.seen('QMP', 'status running; query-spice says the same')
        tick = machine.wait_tick(machine.console.mark)
        self.seen('guest', f'counts, {tick}')

        self.step('Pause')
        self.act('pause')
        self.state('paused')
        self.events('paused', 'STOP')
        tick = self.stopped()

        self.step('Continue')
        self.act('continue')
        self.state('on')
        self.events('running', 'RESUME')
        expect('the next tick', tick + 1,
               machine.wait_tick(self.console_mark))
        self.seen('guest', f'goes on where it was: {tick + 1}')

        self.step('Reset')
        host = {'guest': False, 'reason': 'host-ui'}
        self.act('reset')
        self.events('running', 'RESET', RESET=host)
        self.booted(2)

        self.step('Power off, where QEMU outlives its machine '
                  '(-action shutdown=pause)')
        self.act('power-off')
        self.state('off')
        self.events('shutdown', 'SHUTDOWN', SHUTDOWN=host)
        self.stopped()
        self.connected()

        self.step('Power on, over the same connection')
        self.act('power-on')
        self.state('on')
        self.events('running', 'RESET', 'RESUME')
        self.connected()
        self.booted(3)

        self.step('A refusal: somebody else pauses the machine (QMP: stop), '
                  'the client wants it to continue')
        self.state_mark = self.monitor.output.mark
        self.event_mark = qmp.events.mark
        qmp.execute('stop')
        self.events('paused', 'STOP')
        self.state('paused')
        answer = self.act('continue', 'wrong-state')
        if not answer['message']:
            raise Failed('expected: a reason\n  seen: none')
        if 'RESUME' in qmp.event_names(self.event_mark):
            raise Failed('expected: a refused action does nothing\n'
                         '  seen: event RESUME')
        self.events('paused')
        self.stopped()
        self.connected()

        elapsed = time.monotonic() - self.begin
        print(f'\nAll of it was seen, from both sides, in {elapsed:.1f} s. '
              f'Logs: {places.rel(machine.log_dir)}/', flush=True)

    def stay(self):
        """Let a person play."""
        self.qmp.execute('cont')
        uri = self.machine.uri
        bin_dir = places.rel(places.PREFIX / 'bin')
        print(f'''
QEMU stays up. In another terminal, or on this desktop:

  {bin_dir}/spicy-power --uri={uri} pause
  {bin_dir}/spicy --uri={uri}
  remote-viewer {uri}
  socat - UNIX-CONNECT:{self.machine.run_dir}/monitor     (QEMU's monitor)

(One viewer at a time; spicy-power disturbs nobody.) What happens is shown here;
Ctrl-C ends it.
''', flush=True)
        mark = self.qmp.events.mark
        while self.machine.running:
            try:
                event = self.qmp.events.wait(lambda e: True, 'an event', mark,
                                             timeout=3600)
            except TimeoutError:
                continue
            except Ended:
                break
            mark += 1
            data = event.get('data', {})
            when = time.strftime('%H:%M:%S',
                                 time.localtime(event['timestamp']['seconds']))
            client = '{host}:{port}'.format(**data.get('client', {'host': '',
                                                                  'port': ''}))
            if event['event'] == 'SPICE_POWER_REQUEST':
                what = f"{data['action']}, asked for by {client}"
            elif event['event'] == 'SPICE_POWER_RESULT':
                what = f"{data['action']}: {data['result']}"
                what += f": {data['message']}" if data.get('message') else ''
            elif (event['event'] == 'SPICE_INITIALIZED'
                  and data['client']['channel-type'] == CHANNEL_MAIN):
                what = f'{client} is connected'
            elif event['event'].startswith('SPICE_'):
                continue                # each of a client's channels
            else:
                what = event['event']
            print(f'  {when}  {what}', flush=True)
        print('QEMU has ended.')


def begin(stack, log_dir, interactive):
    places.need(places.QEMU)
    machine = Machine(log_dir, 'power=on', GUEST,
                      ['-action', 'shutdown=pause'], tcp=True)
    if interactive:
        machine.extra += ('-monitor', f'unix:{machine.run_dir}/monitor,'
                          'server=on,wait=off')
    print(f'QEMU with a Debian kernel under TCG, -spice ...,power=on; '
          f'logs: {places.rel(log_dir)}/')
    return Demo(stack.enter_context(machine))


if __name__ == '__main__':
    sys.exit(main(__doc__, 'demo', 'QEMU', begin, StartError))
