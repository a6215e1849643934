#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""power=managed, with a small management layer in place of libvirt.

What that does is in powertest/manager.py.
"""

import contextlib
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, spicypower, wire    # noqa: E402
from powertest.machine import Machine           # noqa: E402
from powertest.manager import ASKED, TOLD, Manager      # noqa: E402
from powertest.qmp import QMPError              # noqa: E402
from powertest.record import TIMEOUT, Ended     # noqa: E402

FLOODS = 30


class ManagedCase(case.PowerTestCase):
    many_clients = True

    def begin(self, spice='power=managed', **options):
        return self.machine(spice, probe=True, **options)

    def manager(self, vm, **options):
        manager = self.enterContext(Manager(vm, **options))
        self.addCleanup(lambda: self.assertEqual(manager.errors, []))
        return manager

    def wait_none_pending(self, manager):
        deadline = time.monotonic() + TIMEOUT
        while manager.pending:
            self.assertLess(time.monotonic(), deadline)

    def others_turn(self, manager, other, ident, mark):
        """Another client asks when those who have gone are forgotten."""
        self.wait_none_pending(manager)
        other.request('pause', ident)
        while True:
            asked, mark = manager.wait_request(mark)
            if asked['request-id'] == ident:
                break
        manager.reply(asked['id'], 'denied', 'no')
        self.assertEqual(other.wait_result(), (ident, 'denied', 'no'))

    def not_pending(self, manager, ident):
        with self.assertRaisesRegex(QMPError, f'id {ident} is no longer '
                                    'pending'):
            manager.reply(ident, 'ok')


class Guest(ManagedCase):
    def test_both_sides(self):
        """Each action from each side is seen by the other."""
        vm = self.guest('power=managed', probe=True)
        manager = self.manager(vm).work()
        spice = self.spicy_power(vm, '-')
        watcher = self.spicy_power(vm, 'monitor', name='monitor')
        watcher.wait_state('on', 0)
        qmp = vm.qmp                    # a monitor that only looks on
        self.assertEqual(spice.status()['state'], 'on')

        def asks(word, state, *events):
            mark, seen = qmp.mark(), watcher.output.mark
            result, _ = spice.act(word)
            self.assertEqual(result['result'], 'ok', result)
            self.assertEqual(qmp.event_names(mark), [ASKED, *events, TOLD])
            asked, *_, told = qmp.events.since(mark)
            self.assertEqual(asked['data']['id'], told['data']['id'])
            self.assertEqual(manager.served[-1], asked['data']['id'])
            # the state that shows the effect comes before the OK
            self.assertEqual(spice.status()['state'], state)
            if 'RESET' not in events:
                watcher.wait_state(state, seen)

        asks('pause', 'paused', 'STOP')
        self.assertTrue(vm.silent(), 'the guest ticks')
        before, console = vm.last_tick()
        asks('continue', 'on', 'RESUME')
        self.assertEqual(vm.wait_tick(console), before + 1)
        console = vm.console.mark
        asks('reset', 'on', 'RESET')
        vm.wait_tick(vm.wait_boot(console))

        # the other side acts by itself
        seen = watcher.output.mark
        manager.qmp.execute('stop')
        watcher.wait_state('paused', seen)
        spice.wait_status(possible=['reset', 'power-off', 'continue'])
        # who may undo that is the manager's to say: not now
        manager.reasons['continue'] = 'An administrator has paused it'
        manager.qmp.execute('spice-power-set-possible',
                            actions=['reset', 'power-off', 'pause'])
        spice.wait_status(possible=['reset', 'power-off'])
        result, _ = spice.act('continue')
        self.assertEqual(result['result'], 'denied')
        self.assertIn('An administrator has paused it', result['message'])
        self.assertEqual(qmp.status, 'paused')
        # and now yes
        del manager.reasons['continue']
        manager.qmp.execute('spice-power-set-possible',
                            actions=['reset', 'power-off', 'pause',
                                     'continue'])
        asks('continue', 'on', 'RESUME')

        # QEMU itself refuses what the state does not allow: nobody is asked
        served = list(manager.served)
        mark = qmp.mark()
        result, _ = spice.act('on')
        self.assertEqual(result['result'], 'ok')        # it's on already
        self.assertEqual(qmp.event_names(mark), [ASKED, TOLD])
        self.assertNotIn('id', qmp.events.since(mark)[0]['data'])
        self.assertEqual(manager.served, served)

        # off and on, where QEMU stays; the monitor has no such action
        seen = watcher.output.mark
        qmp.execute('set-action', reboot='shutdown')
        qmp.execute('system_reset')
        watcher.wait_state('off', seen)
        qmp.execute('set-action', reboot='reset')
        console = vm.console.mark
        asks('on', 'on', 'RESET', 'RESUME')
        vm.wait_tick(vm.wait_boot(console))

        # quit ends QEMU, whatever -action says
        result, _ = spice.act('off')
        self.assertEqual(result['result'], 'ok')
        self.assertEqual(vm.wait_exit(), 0)


class Managed(ManagedCase):
    def test_manager_restarts(self):
        """A manager that connects again finds what is pending."""
        vm = self.begin()
        client = self.client(vm)
        for number in range(10):
            action = ('pause', 'continue')[number % 2]
            with Manager(vm, 'first') as first:
                mark = first.qmp.mark()
                client.request(action, number)
                asked, _ = first.wait_request(mark)
            self.assertEqual(vm.spice()['power']['pending']['id'],
                             asked['id'])
            with Manager(vm, 'second') as second:
                pending = second.pending
                self.assertEqual(pending, {key: asked[key]
                                           for key in pending})
                self.assertEqual((pending['action'], pending['request-id']),
                                 (action, number))
                mark = vm.qmp.mark()
                second.work()
                self.assertEqual(client.wait_result(), (number, 'ok', ''))
                vm.qmp.wait_event(TOLD, mark, id=asked['id'], result='ok')
                self.assertIsNone(second.pending)
            self.assertEqual((second.served, second.errors),
                             ([asked['id']], []))

    def test_no_manager(self):
        """Nobody is there: it fails in time, and QEMU goes on."""
        vm = self.begin('power=managed,power-timeout=1')
        begin = time.monotonic()
        run = spicypower.run(vm.uri, 'reset')
        self.assertGreaterEqual(time.monotonic() - begin, 1)
        self.assertEqual((run.code, run.result),
                         (spicypower.FAILED, 'failed'))
        self.assertIn('within 1 seconds', run.message)
        self.assertNotIn('pending', vm.spice()['power'])

    def test_too_late(self):
        """A reply after the time limit is an error, and goes to nobody."""
        vm = self.begin('power=managed,power-timeout=1')
        manager = self.manager(vm)
        client = self.client(vm)
        client.request('reset', 1)
        late, mark = manager.wait_request()
        result = client.wait_result()
        self.assertEqual((result.request_id, result.result), (1, 'failed'))
        # also while the next request is pending
        client.request('reset', 2)
        asked, _ = manager.wait_request(mark)
        self.not_pending(manager, late['id'])
        client.fence()
        self.assertEqual(manager.pending['id'], asked['id'])
        manager.reply(asked['id'], 'denied', 'no')
        self.assertEqual(client.wait_result(), (2, 'denied', 'no'))

    def test_client_leaves(self):
        """Nobody gets the result of a client that has gone."""
        vm = self.begin()
        manager = self.manager(vm)
        other = self.client(vm)
        mark = 0
        for number in range(50):
            with wire.Client(vm.connect()) as client:
                client.wait_init()
                client.request('reset', number)
                asked, mark = manager.wait_request(mark)
                self.assertEqual(asked['request-id'], number)
            told = vm.qmp.wait_event(TOLD, 0, **{'request-id': number})['data']
            self.assertEqual((told['id'], told['result'], told['message']),
                             (asked['id'], 'failed',
                              'The client has disconnected'))
            self.not_pending(manager, asked['id'])
        self.assertIsNone(manager.pending)
        kinds = [message.type for message in other.fence()]
        self.assertNotIn(wire.MSG_POWER_RESULT, kinds)
        self.others_turn(manager, other, 1000, mark)

    def test_client_leaves_at_once(self):
        """Whether QEMU sees the request or not, nothing is left of it."""
        vm = self.begin()
        manager = self.manager(vm)
        other = self.client(vm)
        start = manager.qmp.mark()
        for number in range(50):
            mark = manager.qmp.mark()
            for _ in range(3):
                with wire.Client(vm.connect()) as client:
                    if number % 2:
                        client.wait_init()
                    client.request('reset', number)
            # the last one is let in after those before have been dealt with
            with wire.Client(vm.connect()) as client:
                client.wait_init()
            self.others_turn(manager, other, 1000 + number, mark)
        manager.qmp.mark()
        events = [event for event in manager.qmp.events.since(start)
                  if event['event'] in (ASKED, TOLD)]
        keys = ('connection-id', 'request-id', 'id')
        asked, told = ([[event['data'].get(key) for key in keys]
                        for event in events if event['event'] == name]
                       for name in (ASKED, TOLD))
        self.assertCountEqual(asked, told)
        self.assertEqual({event['data']['result'] for event in events
                          if event['event'] == TOLD
                          and event['data']['request-id'] < 1000}
                         - {'failed', 'busy'}, set())

    def test_busy(self):
        """While one client's request is pending, another one is told so."""
        vm = self.begin()
        manager = self.manager(vm)
        client = self.client(vm)
        client.request('pause', 1)
        asked, mark = manager.wait_request()
        run = spicypower.run(vm.uri, 'reset')
        self.assertEqual((run.code, run.result), (spicypower.BUSY, 'busy'))
        manager.reply(asked['id'], *manager.carry_out('pause'))
        self.assertEqual(client.wait_result(), (1, 'ok', ''))
        events = [event['data'] for event in manager.qmp.events.since(mark)
                  if event['event'] == ASKED]
        self.assertEqual([data.get('id') for data in events], [None])

    def test_two_managers(self):
        """All monitors are told, one of them replies."""
        vm = self.begin()
        manager = self.manager(vm)
        client = self.client(vm)
        for number in range(20):
            marks = vm.qmp.mark(), manager.qmp.mark()
            client.request('reset', number)
            asked, _ = manager.wait_request(marks[1])
            vm.qmp.wait_event(ASKED, marks[0], id=asked['id'])
            manager.reply(asked['id'], 'denied', 'one')
            with self.assertRaisesRegex(QMPError, 'no longer pending'):
                vm.qmp.execute('spice-power-reply', id=asked['id'],
                               result='ok')
            self.assertEqual(client.wait_result(), (number, 'denied', 'one'))
            for qmp, mark in zip((vm.qmp, manager.qmp), marks):
                qmp.wait_event(TOLD, mark, id=asked['id'], result='denied')

    def test_flood(self):
        """Who does not wait reaches the manager with its first request."""
        vm = self.begin()
        manager = self.manager(vm)
        other = self.client(vm)
        flood = [(action, number) for number in range(200)
                 for action in ('reset', 'pause', 'power-off')]
        passed_on = []
        for number in range(FLOODS):
            mark = manager.qmp.mark()
            with wire.Client(vm.connect()) as client:
                client.wait_init()
                client.send_raw(b''.join(
                    client.request_frame(*request) for request in flood))
                results = [client.wait_result() for _ in flood[1:]]
            self.assertEqual([r.result for r in results],
                             ['busy'] * len(results))
            # the only one that counts ends with it, and other clients go on
            self.others_turn(manager, other, 1000 + number, mark)
            passed_on.append([
                event['data'] for event in manager.qmp.events.since(mark)
                if event['event'] == ASKED and 'id' in event['data']])
        for number, requests in enumerate(passed_on):
            self.assertLessEqual(len(requests), 2)
            self.assertEqual(requests[-1]['request-id'], 1000 + number)
        ids = [data['id'] for requests in passed_on for data in requests]
        self.assertEqual(ids, list(range(1, len(ids) + 1)))
        self.assertGreaterEqual(len(ids), FLOODS)


class PowerOff(ManagedCase):
    def off(self, end, times=12, **options):
        """spicy-power and a client of our own; QEMU ends, and they are told."""
        def once(number):
            with Machine(self.log_dir, 'power=managed', name=f'qemu{number}',
                         probe=True, **options) as vm, \
                    Manager(vm, f'manager{number}') as manager, \
                    wire.Client(vm.connect()) as client:
                client.wait_state()
                client.request('power-off', number)
                manager.wait_request()
                ender = threading.Thread(target=end, args=(vm, manager))
                ender.start()
                self.assertEqual(client.wait_state('off').possible, ())
                self.assertEqual(client.wait_result(), (number, 'ok', ''))
                client.until_end()
                self.assertEqual(vm.wait_exit(), 0)
                ender.join()
                manager.qmp.wait_event(TOLD, 0, action='power-off',
                                       result='ok', id=1)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(once, range(times)))

    @staticmethod
    def by_quit(vm, manager):
        with contextlib.suppress(Ended):        # it may have no time to answer
            manager.qmp.execute('quit')

    @staticmethod
    def by_signal(vm, manager):
        vm.process.send_signal(signal.SIGTERM)

    def test_quit(self):
        """The manager tells QEMU to quit."""
        for options in ({}, {'tcp': True}, {'tls': self.authority()}):
            self.off(self.by_quit, **options)

    def test_signal(self):
        """It sends SIGTERM."""
        for options in ({}, {'tcp': True}, {'tls': self.authority()}):
            self.off(self.by_signal, **options)

    def test_no_shutdown(self):
        """It sends SIGTERM to a QEMU with -no-shutdown, as libvirt does."""
        self.off(self.by_signal, extra=('-no-shutdown', '-S'))

    def test_spicy_power(self):
        """spicy-power says ok, and exits with 0."""
        for options in ({}, {'tcp': True}):
            vm = self.begin(name='-'.join(['qemu', *options]), **options)
            self.manager(vm, name='-'.join(['manager', *options])).work()
            run = spicypower.run(vm.uri, 'off')
            self.assertEqual((run.code, run.result), (0, 'ok'), run.err)
            self.assertEqual(vm.wait_exit(), 0)


if __name__ == '__main__':
    case.main()
