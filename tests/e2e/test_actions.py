#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every action in every state, on the real guest.

Each is looked at from all sides: the result, the order of state and result,
the monitor's events (all of them, in order), the run state, and the guest.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places              # noqa: E402
from powertest.machine import SLEEPER           # noqa: E402

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
HOST = {'guest': False, 'reason': 'host-ui'}

POSSIBLE = {
    'on': ('reset', 'power-off', 'pause'),
    'paused': ('reset', 'power-off', 'continue'),
    'off': ('power-on',),
}
RUN_STATES = {'on': ('running',), 'paused': ('paused', 'prelaunch'),
              'off': ('shutdown',)}


class Actions(case.PowerTestCase):
    def setUp(self):
        super().setUp()
        self.vm = self.guest()
        self.qmp = self.vm.qmp
        self.spice = self.client(self.vm)
        self.request_id = 1000
        self.check_state(self.spice.wait_state(), 'on')

    def check_state(self, told, state):
        """What a client is told is what the monitor says."""
        self.assertEqual(told.shown, (state, POSSIBLE[state]))
        self.assertIn(self.qmp.status, RUN_STATES[state])
        power = self.vm.spice()['power']
        self.assertEqual((power['state'], tuple(power['possible'])),
                         told.shown)

    def ask(self, action, result='ok', state=None, events=()):
        """Ask for an action; state is the new state, if it changes."""
        self.request_id += 1
        self.console_mark = self.vm.console.mark
        mark = self.qmp.mark()
        states, answer = self.spice.act(action, self.request_id)
        self.assertEqual((answer.request_id, answer.result),
                         (self.request_id, result), answer.message)
        # OK needs no explanation, everything else does
        self.assertEqual(bool(answer.message), result != 'ok')
        # the state that shows the effect comes before the OK
        if state:
            self.assertTrue(states, 'no POWER_STATE before the result')
            self.check_state(states[-1], state)
        else:
            self.assertEqual(states, [], 'POWER_STATE without a change')
        self.assertEqual(self.qmp.event_names(mark), [ASKED, *events, TOLD])
        for event in self.qmp.events.since(mark):
            if event['event'] in ('RESET', 'SHUTDOWN'):
                self.assertEqual(event['data'], HOST)
        asked, *_, told = [event.get('data')
                           for event in self.qmp.events.since(mark)]
        self.assertEqual(
            told, dict(asked, result=result,
                       **({'message': answer.message} if answer.message
                          else {})))
        self.assertEqual((asked['action'], asked['request-id']),
                         (action, self.request_id))
        return answer

    def already(self, action):
        """The end state holds: OK, and nothing is touched."""
        self.ask(action)

    def refused(self, action, reason):
        self.assertRegex(self.ask(action, 'wrong-state').message, reason)

    def assertBoots(self):
        self.vm.wait_tick(self.vm.wait_boot(self.console_mark))

    def assertCounts(self):
        """The guest goes on where it was: it has not been reset."""
        before, mark = self.vm.last_tick()
        self.assertEqual(self.vm.wait_tick(mark), before + 1)

    def assertStopped(self):
        boots = self.vm.boots()
        self.assertTrue(self.vm.silent(), 'the guest ticks')
        self.assertEqual(self.vm.boots(), boots, 'the guest boots')

    def test_running(self):
        """A running machine is reset, paused and powered off."""
        self.already('power-on')
        self.already('continue')
        self.assertCounts()
        self.ask('reset', events=['RESET'])
        self.assertBoots()
        self.ask('pause', state='paused', events=['STOP'])
        self.assertStopped()
        self.ask('continue', state='on', events=['RESUME'])
        self.assertCounts()
        self.ask('power-off', state='off', events=['SHUTDOWN', 'STOP'])
        self.assertStopped()

    def test_paused(self):
        """A paused machine continues, or stays paused when it is reset."""
        self.ask('pause', state='paused', events=['STOP'])
        self.already('pause')
        self.refused('power-on', 'continue')
        self.assertStopped()
        self.ask('continue', state='on', events=['RESUME'])
        self.assertCounts()
        self.ask('pause', state='paused', events=['STOP'])
        self.ask('reset', events=['RESET'])
        self.assertEqual(self.qmp.status, 'prelaunch')
        self.assertStopped()
        self.already('pause')
        self.refused('power-on', 'continue')
        self.ask('continue', state='on', events=['RESUME'])
        self.assertBoots()
        # a frozen machine is just the one that people power off
        self.ask('pause', state='paused', events=['STOP'])
        self.ask('power-off', state='off', events=['SHUTDOWN'])
        self.assertStopped()
        self.ask('power-on', state='on', events=['RESET', 'RESUME'])
        self.assertBoots()

    def test_shutdown(self):
        """A machine that is off can be powered on, and nothing else."""
        connections = self.vm.main_connections()
        self.ask('power-off', state='off', events=['SHUTDOWN', 'STOP'])
        self.already('power-off')
        for action in ('reset', 'pause', 'continue'):
            with self.subTest(action):
                self.refused(action, 'off.*power-on')
        self.assertEqual(self.qmp.status, 'shutdown')
        self.assertStopped()
        self.ask('power-on', state='on', events=['RESET', 'RESUME'])
        self.assertBoots()
        self.already('power-on')
        self.assertCounts()
        self.assertEqual(self.vm.main_connections(), connections)

    def test_management_pause(self):
        """A pause that a SPICE client has not made is not undone by one."""
        self.qmp.execute('stop')
        self.assertEqual(self.spice.wait_state().shown,
                         ('paused', ('reset', 'power-off')))
        self.refused('continue', 'paused')
        self.assertStopped()
        self.qmp.execute('cont')
        self.check_state(self.spice.wait_state(), 'on')
        self.assertCounts()


class Sleep(case.PowerTestCase):
    def memory(self, vm, when, mark):
        found = vm.console.wait(lambda line: f'memory {when}: ' in line,
                                f'what is in memory {when} the sleep', mark,
                                120)
        return found.split(': ')[1].split()[0]

    def test_wake_up(self):
        """A guest suspends to RAM; power-on wakes it up where it was."""
        places.need(places.KERNEL, places.INITRAMFS)
        vm = self.machine(hardware=SLEEPER,
                          extra=('-action', 'shutdown=pause'))
        client = self.client(vm)
        booted = vm.wait_boot(0, timeout=120)
        before = self.memory(vm, 'before', booted)
        vm.qmp.wait_event('SUSPEND', 0, timeout=120)
        self.assertEqual(client.wait_state('suspended').possible,
                         ('reset', 'power-off', 'power-on', 'pause'))
        states, result = client.act('continue', 1)
        self.assertEqual((states, result.result), ([], 'wrong-state'))
        self.assertIn('power-on', result.message)
        mark, asleep = vm.qmp.mark(), vm.console.mark
        states, result = client.act('power-on', 2)
        self.assertEqual(([s.state for s in states], result),
                         (['on'], (2, 'ok', '')))
        vm.qmp.wait_event('WAKEUP', mark)
        self.assertNotIn('RESET', vm.qmp.event_names(mark))
        # it goes on with the numbers, and with what it had in memory
        self.assertEqual(self.memory(vm, 'after', asleep), before)
        vm.wait_tick(asleep, 6, timeout=120)


if __name__ == '__main__':
    case.main()
