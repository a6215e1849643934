#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt domain, with a SPICE client on one side and virsh on the other.

Each step is looked at from both sides. It ends with exit code 0 only if all of
it was seen.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import netns, places                         # noqa: E402
from powertest.libvirt import Libvirt, VirshError           # noqa: E402
from powertest.machine import end_cleanly                   # noqa: E402
from powertest.record import Ended                          # noqa: E402
from powertest.spicypower import Client                     # noqa: E402
from powertest.transcript import Failed, Transcript     # noqa: E402


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
        self.domain.wait_tick(self.domain.wait_boot(since, 120), 0, 120)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--interactive', action='store_true',
                        help='afterwards leave the domain and libvirtd up')
    args = parser.parse_args()
    end_cleanly()
    if not args.interactive:        # then others are to reach it
        netns.alone()
    log_dir = places.log_directory('demo_domain')
    demo = None
    staying = False
    try:
        places.need(places.SPICY_POWER, places.KERNEL, places.INITRAMFS)
        print(f"libvirtd and virsh of ours; logs: {places.rel(log_dir)}/")
        with Libvirt(log_dir) as libvirt:
            demo = Demo(libvirt.domain('demo'))
            demo.run()
            if args.interactive:
                staying = True
                demo.stay()
    except KeyboardInterrupt:
        print('\nended' if staying else '\ninterrupted')
        return 0 if staying else 130
    except (Failed, TimeoutError, Ended, VirshError,
            places.Missing) as error:
        where = f' at "{demo.title}"' if demo else ''
        print(f'\nFAILED{where}\n  {error}\n  logs: {places.rel(log_dir)}/',
              file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
