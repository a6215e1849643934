#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt domain, with a SPICE client on one side and virsh on the other.

Each step is looked at from both sides. It ends with exit code 0 only if all of
it was seen.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import places                                # noqa: E402
from powertest.libvirt import Libvirt, VirshError           # noqa: E402
from powertest.spicypower import Client                     # noqa: E402
from powertest.transcript import Failed, Transcript, main   # noqa: E402


class Demo(Transcript):
    def __init__(self, domain):
        super().__init__()
        self.domain = domain

    def act(self, word, result='ok'):
        answer, duration = self.client.act(word)
        if answer['result'] != result:
            raise Failed(f'expected: the result of {word}: {result}\n'
                         f'  seen: {answer["result"]} {answer["message"]}')
        reason = f': "{answer["message"]}"' if answer['message'] else ''
        self.seen('SPICE', f'{word}: {result} ({duration:.0f} ms){reason}')

    def virsh(self, action):
        self.mark = self.watcher.output.mark
        self.domain.virsh(action)
        self.seen('virsh', action)

    def told(self, state):
        answer = self.watcher.wait_state(state, self.mark)
        self.seen('SPICE', f'the watching client is told: {state}; possible '
                           'now: ' + ', '.join(answer['possible']))

    def state(self, state):
        self.domain.wait_state(state)
        state, reason = self.domain.state
        self.seen('virsh', f'domstate: {state} ({reason})')

    def event(self, text):
        line = self.domain.events.wait(lambda line: text in line,
                                       f'libvirt event {text}',
                                       self.event_mark)
        self.seen('virsh', line)
        self.event_mark = self.domain.events.mark

    def booted(self, since):
        self.domain.wait_tick(self.domain.wait_boot(since, 120), timeout=120)
        self.seen('guest', 'boots, and counts from 0')

    def run(self):
        domain = self.domain

        self.step("virsh start: <graphics type='spice' powerControl='yes'>")
        domain.start()
        domain.watch()
        self.booted(0)
        self.seen('virsh', f'domdisplay: {domain.uri}')
        self.client, self.watcher = (
            domain.libvirt.stack.enter_context(
                Client(domain, word, name=name))
            for word, name in (('-', 'acting'), ('monitor', 'watching')))
        self.watcher.wait_state('on', 0)
        status = self.client.status()
        self.seen('SPICE', f'status: {status["state"]}; allowed: '
                           + ', '.join(status['allowed']))
        self.event_mark = domain.events.mark

        self.step('The client pauses and continues')
        self.act('pause')
        self.state('paused')
        self.event('Suspended')
        self.act('continue')
        self.state('running')
        self.event('Resumed')

        self.step('virsh suspends it: the client must not undo that')
        self.virsh('suspend')
        self.told('paused')
        self.act('continue', 'wrong-state')
        self.virsh('resume')
        self.told('on')

        self.step('The client resets')
        boot = domain.console.mark
        self.event_mark = domain.events.mark
        self.act('reset')
        self.event("'reboot'")
        self.booted(boot)

        self.step('The client cuts the power')
        self.act('off')
        self.state('shut off')
        self.event('Stopped')

        elapsed = time.monotonic() - self.begin
        print(f'\nAll of it was seen, from both sides, in {elapsed:.1f} s. '
              f'Logs: {places.rel(domain.log_dir)}/', flush=True)

    def stay(self):
        """Let a person play."""
        self.domain.start()
        libvirt, uri = self.domain.libvirt, self.domain.uri
        bin_dir = places.rel(places.PREFIX / 'bin')
        name = self.domain.name
        print(f'''
The domain runs again. In another terminal, or on this desktop:

  {bin_dir}/virsh -c '{libvirt.uri}' dumpxml {name}
  {bin_dir}/virsh -c '{libvirt.uri}' event --all --loop
  {bin_dir}/spicy-power --uri={uri} pause
  {bin_dir}/spicy --uri={uri}

Ctrl-C ends it, and the daemons.
''', flush=True)
        libvirt.libvirtd.wait()


def begin(stack, log_dir, interactive):
    print(f'libvirtd and virsh of ours; logs: {places.rel(log_dir)}/')
    return Demo(stack.enter_context(Libvirt(log_dir)).domain('demo'))


if __name__ == '__main__':
    sys.exit(main(__doc__, 'demo_domain', 'the domain and libvirtd', begin,
                  VirshError))
