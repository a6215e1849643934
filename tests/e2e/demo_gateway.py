#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain that is off, powered on by a SPICE client that then sees its guest.

There is one port for all domains, and the client asks for this one by its name.
It ends with exit code 0 only if all of it was seen, from both sides.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import places, spicypower                    # noqa: E402
from powertest.hypervisor import PASSWORD, Hypervisor       # noqa: E402
from powertest.libvirt import VirshError                    # noqa: E402
from powertest.spicypower import Client                     # noqa: E402
from powertest.transcript import Failed, Transcript, main   # noqa: E402


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
        self.vm.wait_tick(self.vm.wait_boot(since, 120), timeout=120)
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


def begin(stack, log_dir, interactive):
    print('libvirtd, virsh and spice-gateway of ours; logs: '
          f'{places.rel(log_dir)}/')
    return Demo(Hypervisor(log_dir, stack), 'vm1')


if __name__ == '__main__':
    sys.exit(main(__doc__, 'demo_gateway', 'the domain and the daemons', begin,
                  VirshError))
