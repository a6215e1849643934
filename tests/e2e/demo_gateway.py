#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain that is off, powered on by a SPICE client that then sees its guest.

There is one port for all domains, and the client asks for this one by its name.
It ends with exit code 0 only if all of it was seen, from both sides.
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import netns, places, spicypower             # noqa: E402
from powertest.hypervisor import PASSWORD, Hypervisor       # noqa: E402
from powertest.libvirt import VirshError                    # noqa: E402
from powertest.machine import end_cleanly                   # noqa: E402
from powertest.record import Ended                          # noqa: E402
from powertest.spicypower import Client                     # noqa: E402
from powertest.transcript import Failed, Transcript         # noqa: E402


class Demo(Transcript):
    def __init__(self, host, name):
        super().__init__()
        self.host, self.name = host, name

    def virsh(self, action):
        self.mark = self.watcher.output.mark
        self.vm.virsh(action)
        self.seen('virsh', action)

    def told(self, state):
        """What it has been told last, which is that."""
        self.watcher.wait_state(state, self.mark)
        answer = [o for o in self.watcher.output.since(self.mark)
                  if o.get('state') == state][-1]
        self.seen('SPICE', f'the watching client is told: {state}; possible '
                           'now: ' + ', '.join(answer['possible']))

    def press(self, word):
        """As somebody who connects for that alone."""
        self.mark = self.watcher.output.mark
        begin = time.monotonic()
        run = spicypower.run(self.host.uri(self.name), word,
                             options=self.host.options)
        if run.code != spicypower.OK:
            raise Failed(f'expected: the result of {word}: ok\n  seen: '
                         f'{run.out}{run.err}')
        self.seen('SPICE', f'{word}: {run.result} '
                           f'({(time.monotonic() - begin) * 1000:.0f} ms)')

    def handed_over(self):
        line = self.host.gateway.wait_log(f'{self.name}: clients go to',
                                          self.log)
        self.seen('log', line.partition(': ')[2].partition(': ')[2])
        self.log = self.host.gateway.log.mark
        self.seen('virsh', 'domdisplay: ' + self.vm.uri)

    def booted(self, since):
        self.vm.wait_tick(self.vm.wait_boot(since, 120), 0, 120)
        self.seen('guest', 'boots, and counts from 0')

    def run(self):
        name, host = self.name, self.host
        self.log = host.gateway.log.mark

        self.step(f'virsh define {name}, which is off; a client asks for it by '
                  'name')
        self.vm = host.domain(name)
        self.seen('virsh', 'domstate: ' + self.vm.state[0])
        host.wait_there(name)
        self.watcher = host.stack.enter_context(Client(
            host.place(name), 'monitor', name='watching',
            options=host.options))
        self.mark = 0
        self.seen('SPICE', f'connected to {host.uri(name)}')
        self.told('off')

        self.step('Power On: libvirt starts it, and the client goes to QEMU')
        self.press('on')
        self.vm.follow()
        self.told('on')
        self.handed_over()
        self.booted(0)

        self.step('It is the same client, and the same name: QEMU answers now')
        self.press('pause')
        self.told('paused')
        self.seen('virsh', 'domstate: %s (%s)' % self.vm.state)
        self.press('continue')
        self.told('on')

        self.step('virsh destroy: the client is back, and can power it on')
        self.virsh('destroy')
        self.watcher.output.wait(
            lambda o: o.get('possible') == ['power-on'], 'power-on', self.mark)
        self.told('off')
        boot = self.vm.console.mark
        self.press('on')
        self.vm.follow()
        self.told('on')
        self.handed_over()
        self.booted(boot)

        elapsed = time.monotonic() - self.begin
        print(f'\nAll of it was seen, from both sides, in {elapsed:.1f} s. '
              f'Logs: {places.rel(host.log_dir)}/', flush=True)

    def stay(self):
        """Let a person play."""
        bin_dir = places.rel(places.PREFIX / 'bin')
        uri = self.host.uri(self.name)
        options = ' '.join(self.host.tls.options)
        print(f'''
The domain runs. In another terminal, or on this desktop:

  {bin_dir}/virsh -c '{self.host.libvirt.uri}' destroy {self.name}
  {bin_dir}/spicy --uri='{uri}' {options} -w '{PASSWORD}'
  {bin_dir}/spicy-power --uri='{uri}' {options} --password='{PASSWORD}' status

Ctrl-C ends it, and the daemons.
''', flush=True)
        self.host.libvirt.libvirtd.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--interactive', action='store_true',
                        help='afterwards leave the domain and the daemons up')
    args = parser.parse_args()
    end_cleanly()
    if not args.interactive:        # then others are to reach it
        netns.alone()
    log_dir = places.log_directory('demo_gateway')
    demo = None
    staying = False
    try:
        places.need(places.SPICY_POWER, places.KERNEL, places.INITRAMFS)
        print('libvirtd, virsh and spice-gateway of ours; logs: '
              f'{places.rel(log_dir)}/')
        with contextlib.ExitStack() as stack:
            demo = Demo(Hypervisor(log_dir, stack), 'vm1')
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
