#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Our QEMU and clients with Debian's, which know nothing of power control.

An old client with a new server, and a new client with an old server, work as
they did before.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import case, places, spicypower, wire    # noqa: E402
from powertest.record import Record, reader             # noqa: E402

# A screen, and a firmware that writes on it; no guest
SCREEN = ('-machine', 'pc', '-accel', 'tcg', '-m', '64', '-nodefaults',
          '-device', 'VGA')
# How spice-gtk complains about a message that it does not understand
COMPLAINT = re.compile(r'GSpice-CRITICAL|parse message|unknown message|'
                       r'report a bug', re.I)
STOCK_PY = Path(__file__).with_name('stock.py')


def unpack():
    """Unpack Debian's programs, unless that was done before."""
    done = subprocess.run([sys.executable, str(STOCK_PY), '--build-dir',
                           str(places.BUILD)], text=True, errors='replace',
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE)
    if done.returncode:
        raise places.Missing(done.stderr.strip())


class Stock(case.PowerTestCase):
    def environment(self, **more):
        home = self.log_dir / 'home'
        home.mkdir(exist_ok=True)
        return dict(places.stock_environment(), HOME=str(home),
                    XDG_RUNTIME_DIR=str(home), GSETTINGS_BACKEND='memory',
                    NO_AT_BRIDGE='1', DBUS_SESSION_BUS_ADDRESS='disabled:',
                    **more)

    def act_all(self, vm):
        """Each state is seen by whoever is connected."""
        mark = vm.qmp.mark()
        run = spicypower.run(vm.uri, 'pause', 'continue', 'reset', 'off',
                             'on', 'pause', 'reset', 'continue')
        self.assertEqual(run.code, 0, run.err + run.out)
        vm.qmp.wait_event('SPICE_DISCONNECTED', mark)

    # --- their clients, our QEMU ---------------------------------------------

    def screenshot(self, vm, program, env):
        picture = self.log_dir / 'screenshot.ppm'
        done = subprocess.run([program, f'--uri={vm.uri}', '-o', picture],
                              env=env, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIsNone(COMPLAINT.search(done.stdout), done.stdout)
        self.assertTrue(picture.read_bytes().startswith(b'P6'))

    def test_their_screenshot(self):
        """Debian's spicy-screenshot takes a picture of our machine."""
        for number, option in enumerate(('power=on', 'power=off')):
            vm = self.machine(option, hardware=SCREEN, name=f'qemu{number}')
            self.screenshot(vm, places.STOCK / 'usr/bin/spicy-screenshot',
                            self.environment())

    def display(self):
        """An X server of our own; its DISPLAY."""
        if not shutil.which('Xvfb'):
            self.skipTest('there is no Xvfb: install the package xvfb')
        read, write = os.pipe()
        with open(self.log_dir / 'Xvfb.log', 'w') as log:
            server = subprocess.Popen(
                ['Xvfb', '-displayfd', str(write), '-screen', '0',
                 '1024x768x24', '-nolisten', 'tcp'], pass_fds=(write,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        os.close(write)
        with open(read) as pipe:
            number = pipe.readline().strip()
        self.assertTrue(number, 'Xvfb did not start')
        return f':{number}'

    def viewer(self, program, *options):
        """A graphical client stays connected through all states."""
        vm = self.machine(hardware=SCREEN,
                          extra=('-action', 'shutdown=pause'))
        options = [option.format(uri=vm.uri) for option in options]
        output = Record(program)
        viewer = subprocess.Popen(
            [places.STOCK / 'usr/bin' / program, *options],
            env=self.environment(DISPLAY=self.display(),
                                 GDK_BACKEND='x11'),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        try:
            reader(viewer.stdout, output,
                   lambda line: line.decode(errors='replace').rstrip())
            # the display channel comes last
            for channel in (1, 2):
                vm.qmp.events.wait(
                    lambda e: e['event'] == 'SPICE_INITIALIZED'
                    and e['data']['client'].get('channel-type') == channel,
                    f'the viewer on channel {channel}')
            theirs, = vm.main_connections()
            self.act_all(vm)
            self.assertEqual(vm.main_connections(), [theirs])
            # it reads all that it was sent before it sees the end, and goes
            vm.qmp.execute('quit')
            self.assertEqual(viewer.wait(30), 0, output.since())
        finally:
            viewer.kill()
            viewer.wait()
            output.wait_end()
            viewer.stdout.close()
            (self.log_dir / 'viewer.log').write_text(
                '\n'.join(output.since()) + '\n')
        complaints = [line for line in output.since()
                      if COMPLAINT.search(line)]
        self.assertEqual(complaints, [])

    def test_their_remote_viewer(self):
        """Debian's remote-viewer, connected while we do everything."""
        self.viewer('remote-viewer', '{uri}')

    def test_their_spicy(self):
        """Debian's spicy, connected while we do everything."""
        self.viewer('spicy', '--uri={uri}')

    # --- our clients, their QEMU ---------------------------------------------

    def test_their_qemu(self):
        """spicy-power tells that there is no power control: exit code 3."""
        vm = self.machine('', stock=True)
        for word in ('status', *spicypower.ACTIONS, 'monitor', '-'):
            with self.subTest(word):
                run = spicypower.run(vm.uri, word, json_output=False)
                self.assertEqual(run.code, spicypower.NO_POWER_CONTROL)
                self.assertIn('power control', run.err)
                self.assertEqual(run.out, '')
        self.assertEqual(vm.qmp.status, 'running')
        client = self.client(vm)
        self.assertEqual(client.caps,
                         {wire.CAP_SEMI_SEAMLESS_MIGRATE,
                          wire.CAP_NAME_AND_UUID,
                          wire.CAP_AGENT_CONNECTED_TOKENS,
                          wire.CAP_SEAMLESS_MIGRATE})

    def test_our_screenshot_of_their_qemu(self):
        """Our spice-gtk shows their QEMU."""
        vm = self.machine('', stock=True, hardware=SCREEN)
        self.screenshot(vm, places.PREFIX / 'bin/spicy-screenshot',
                        places.environment())

    def test_request_without_power_control(self):
        """Our server with power=off treats requests as theirs does."""
        outcomes = []
        for name, options in (('theirs', {'spice': '', 'stock': True}),
                              ('default', {'spice': ''}),
                              ('off', {'spice': 'power=off'})):
            vm = self.machine(name=name, **options)
            outcome = []
            for action in wire.ACTIONS:
                client = self.client(vm)
                client.request(action, 1)
                outcome.append([m.type for m in client.until_end()])
            outcomes.append(outcome)
            self.assertEqual(vm.qmp.status, 'running')
        self.assertEqual(outcomes[1], outcomes[0])
        self.assertEqual(outcomes[2], outcomes[0])


if __name__ == '__main__':
    case.main(unpack)
