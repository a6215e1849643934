#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Machine menu of remote-viewer, used as a person does.

On a desktop of our own, with the real QEMU behind it: what the window shows
comes from AT-SPI, what has happened from QEMU's events.
"""

import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / 'lib'),
                str(Path(__file__).resolve().parents[2] / 'scripts')]

from core import Layout, load_upstreams             # noqa: E402
from powertest import case, desktop, places, spicypower     # noqa: E402

VIEWER = places.PREFIX / 'bin' / 'remote-viewer'
SCREENSHOTS = places.BUILD / 'screenshots'
# A screen, and a firmware that writes on it; no guest
SCREEN = ('-machine', 'pc', '-accel', 'tcg', '-m', '64', '-nodefaults',
          '-device', 'VGA')
OFF_STAYS = ('-action', 'shutdown=pause', '-name', 'db-1')
# The port that virt-viewer has used for the machine's power so far
QMP_PORT = ('-device', 'virtio-serial',
            '-chardev', 'spiceport,name=org.qemu.monitor.qmp.0,id=port',
            '-mon', 'chardev=port,mode=control')
DISPLAY, POWER_DOWN = ('check box', 'Display 1'), ('button', 'Power down')
POWER = [('button', name) for name in
         ('Pause', 'Continue', 'Reset', 'Power Off', 'Power On')]
# What QEMU, VNC and a SPICE without power control get
USUAL = [DISPLAY, ('check box', 'Pause'), ('button', 'Reset'), POWER_DOWN]
# spice-gtk looks for something that QEMU does not tell any more, and gtk-vnc's
# widget for its window after that has gone
NOT_OURS = re.compile('json_object_get_boolean_member|'
                      'gdk_window_get_(width|height)')
ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'
DESKS = []


def setUpModule():
    upstream, = load_upstreams(Layout(places.BUILD), ['virt-viewer'])
    if upstream.absent:
        raise unittest.SkipTest(upstream.absence)
    places.need(VIEWER)
    desk = desktop.Desktop(places.log_directory('desktop-viewer'))
    DESKS.append(unittest.enterModuleContext(desk))


class Viewer:
    """A remote-viewer, from when it shows the machine's display."""

    def __init__(self, test, *arguments, wait=('drawing area',)):
        self.test = test
        self.desk, = DESKS
        self.program = test.enterContext(desktop.Program(
            self.desk, VIEWER, '--debug', *arguments, name='remote-viewer',
            log_dir=test.log_dir, excused=NOT_OURS))
        self.shown = self.program.shown
        self.shown.find(*wait)

    def wait_status(self, text):
        return self.shown.find('status bar',
                               re.compile(f'Power state: {text}'))

    def open_menu(self):
        self.program.click('toggle button', 'Machine')
        self.shown.find(*DISPLAY)

    def close_menu(self):
        self.program.press('Escape')
        self.shown.wait_none(*DISPLAY)

    def items(self):
        """What the Machine menu has, and which of that can be chosen."""
        self.open_menu()
        popup = self.shown.find('panel', modal=True)
        found = [((node.role, node.name), 'sensitive' in node.states)
                 for node in self.shown.nodes(popup)
                 if node.role in ('button', 'check box')]
        self.close_menu()
        return [item for item, _ in found], [item[1] for item, sensitive
                                             in found if sensitive]

    def wait_item(self, role, name):
        """Wait until it can be chosen."""
        self.open_menu()
        self.shown.find(role, name, sensitive=True)
        self.close_menu()

    def choose(self, role, name):
        self.open_menu()
        self.program.click(role, name)
        if role != 'check box':         # for those the menu stays open
            self.shown.wait_none(*DISPLAY)

    def question(self, title):
        """Wait for a question; Enter must mean no."""
        alert = self.shown.find('alert', active=True)
        self.shown.find('label', title, under=alert)
        self.shown.find('button', 'Cancel', under=alert, focused=True,
                        default=True)
        return alert

    def answer(self, title, button):
        self.program.click('button', button, under=self.question(title))
        self.shown.wait_none('alert')

    def close(self):
        """Close the window, and say that this is what is meant."""
        self.program.click('button', 'Close')
        alert = self.shown.find('alert', active=True)
        self.shown.find('label', 'Do you want to close the session?',
                        under=alert)
        self.program.click('button', 'OK', under=alert)
        self.test.assertEqual(self.program.wait_exit(), 0)
        self.program.output.wait_end()
        self.test.assertEqual(self.program.complaints(), [])


class ViewerCase(case.PowerTestCase):
    def screen(self, spice='power=on', extra=()):
        return self.machine(spice, hardware=SCREEN, extra=(*OFF_STAYS, *extra))

    def done(self, vm, mark):
        """What somebody has asked for, and what has happened to the machine.

        Not by the guest: its firmware resets it once more when it boots.
        """
        vm.qmp.mark()
        return [event['event'] for event in vm.qmp.events.since(mark)
                if event['event'] in (ASKED, TOLD, 'POWERDOWN', 'RESET',
                                      'RESUME', 'SHUTDOWN', 'STOP')
                and not event.get('data', {}).get('guest')]

    def check_closing(self, viewer, vm):
        """To close the window does nothing to the machine."""
        mark = vm.qmp.mark()
        viewer.close()
        vm.qmp.wait_event('SPICE_DISCONNECTED', mark)
        self.assertEqual(vm.qmp.status, 'running')
        self.assertEqual(self.done(vm, mark), [])


class MainChannel(ViewerCase):
    """A server with power control."""

    def test_reset(self):
        """Reset asks; no means no, and yes is shown when it's done."""
        vm = self.screen()
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        self.assertEqual(viewer.items(), (
            [DISPLAY, *POWER], ['Display 1', 'Pause', 'Reset', 'Power Off']))
        mark = vm.qmp.mark()
        viewer.choose('button', 'Reset')
        viewer.question('Reset “db-1”?')
        viewer.desk.screenshot(SCREENSHOTS / 'viewer-reset.png')
        viewer.answer('Reset “db-1”?', 'Cancel')
        viewer.choose('button', 'Reset')
        viewer.question('Reset “db-1”?')
        viewer.program.press('enter')
        viewer.shown.wait_none('alert')
        viewer.choose('button', 'Reset')
        self.assertEqual(self.done(vm, mark), [])
        viewer.answer('Reset “db-1”?', 'Reset')
        viewer.wait_status('Running, reset at .*')
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', TOLD])
        self.check_closing(viewer, vm)

    def test_pause(self):
        """Pause and Continue; and another client's, as soon as it is so."""
        vm = self.screen()
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        mark = vm.qmp.mark()
        viewer.choose('button', 'Pause')
        viewer.wait_status('Paused')
        self.assertEqual(viewer.items()[1], ['Display 1', 'Continue', 'Reset',
                                             'Power Off'])
        viewer.choose('button', 'Continue')
        viewer.wait_status('Running')
        vm.qmp.wait_event(TOLD, mark, action='continue')
        self.assertEqual(self.done(vm, mark), [ASKED, 'STOP', TOLD,
                                               ASKED, 'RESUME', TOLD])
        spicypower.run(vm.uri, 'pause')
        viewer.wait_status('Paused')
        spicypower.run(vm.uri, 'continue')
        viewer.wait_status('Running')
        self.check_closing(viewer, vm)

    def power_off(self, viewer, vm):
        viewer.choose('button', 'Power Off')
        viewer.answer('Power off “db-1”?', 'Power Off')
        viewer.wait_status('Powered off')
        self.assertEqual(vm.qmp.status, 'shutdown')

    def check_off(self, viewer):
        viewer.shown.find('label', '“db-1” is powered off')
        viewer.shown.wait_none('drawing area')

    def test_power_off_and_on(self):
        """While it's off the window says so, and has a button to power it on.

        What one was typing for the machine does not press that button.
        """
        vm = self.screen()
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        mark = vm.qmp.mark()
        self.power_off(viewer, vm)
        self.check_off(viewer)
        self.assertEqual(self.done(vm, mark),
                         [ASKED, 'SHUTDOWN', 'STOP', TOLD])
        viewer.desk.screenshot(SCREENSHOTS / 'viewer-off.png')
        self.assertEqual(viewer.items()[1], ['Display 1', 'Power On'])
        mark = vm.qmp.mark()
        viewer.program.click('button', 'Power On')
        viewer.wait_status('Running')
        viewer.shown.find('drawing area')
        vm.qmp.wait_event(TOLD, mark)
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', 'RESUME', TOLD])

        # with the keyboard, after the display has had it
        viewer.program.click('drawing area')
        spicypower.run(vm.uri, 'off')
        self.check_off(viewer)
        mark = vm.qmp.mark()
        for keys in 'space', 'enter', 'a', 'alt+n':
            viewer.program.press(keys)
        viewer.wait_status('Running')
        vm.qmp.wait_event(TOLD, mark)
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', 'RESUME', TOLD])
        self.check_closing(viewer, vm)

    def test_already_off(self):
        """Who connects to a machine that is off sees that, and the button."""
        vm = self.screen()
        spicypower.run(vm.uri, 'off')
        viewer = Viewer(self, vm.uri, wait=('button', 'Power On'))
        viewer.wait_status('Powered off')
        self.check_off(viewer)
        viewer.program.click('button', 'Power On')
        viewer.wait_status('Running')
        viewer.shown.find('drawing area')
        self.check_closing(viewer, vm)

    def test_kiosk(self):
        """No menu and no bars; a machine that is off can be powered on."""
        vm = self.screen()
        viewer = Viewer(self, '--kiosk', vm.uri)
        self.assertEqual(viewer.shown.find_all('toggle button'), [])
        viewer.program.click('drawing area')
        spicypower.run(vm.uri, 'off')
        self.check_off(viewer)
        viewer.desk.screenshot(SCREENSHOTS / 'viewer-kiosk-off.png')
        mark = vm.qmp.mark()
        viewer.program.press('Tab')
        viewer.shown.find('button', 'Power On', focused=True)
        viewer.program.press('space')
        viewer.shown.find('drawing area')
        vm.qmp.wait_event(TOLD, mark)
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', 'RESUME', TOLD])

    def test_configured(self):
        """Only what the server lets its clients do is in the menu."""
        vm = self.screen('power=on,actions=pause:continue')
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        self.assertEqual(viewer.items(),
                         ([DISPLAY, *POWER[:2]], ['Display 1', 'Pause']))
        spicypower.run(vm.uri, 'pause')
        viewer.wait_status('Paused')
        spicypower.run(vm.uri, 'continue')
        self.check_closing(viewer, vm)

    def test_qmp_port_too(self):
        """Power down asks the guest, so it's the monitor's; the rest is not."""
        vm = self.screen(extra=QMP_PORT)
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        viewer.wait_item(*POWER_DOWN)
        self.assertEqual(viewer.items(), (
            [DISPLAY, *POWER, POWER_DOWN],
            ['Display 1', 'Pause', 'Reset', 'Power Off', 'Power down']))
        mark = vm.qmp.mark()
        viewer.choose(*POWER_DOWN)
        vm.qmp.wait_event('POWERDOWN', mark)
        viewer.choose('button', 'Pause')
        viewer.wait_status('Paused')
        vm.qmp.wait_event(TOLD, mark)
        self.assertEqual(self.done(vm, mark), ['POWERDOWN', ASKED, 'STOP', TOLD])
        viewer.choose('button', 'Continue')
        viewer.wait_status('Running')
        self.check_closing(viewer, vm)


class NoPowerControl(ViewerCase):
    """A server without power control: all is as it was."""

    def check_no_state(self, viewer):
        self.assertEqual([], viewer.shown.find_all('status bar'))

    def test_nothing(self):
        """Without a QMP port nothing can be chosen."""
        vm = self.screen('power=off')
        viewer = Viewer(self, vm.uri)
        self.assertEqual(viewer.items(), (USUAL, ['Display 1']))
        self.check_no_state(viewer)
        self.check_closing(viewer, vm)

    def test_qmp_port(self):
        """The QMP port does it; Pause is what it says, and Reset asks."""
        vm = self.screen('power=off', QMP_PORT)
        viewer = Viewer(self, vm.uri)
        viewer.wait_item(*POWER_DOWN)
        self.assertEqual(viewer.items(), (
            USUAL, ['Display 1', 'Pause', 'Reset', 'Power down']))
        self.check_no_state(viewer)
        mark = vm.qmp.mark()
        for event in 'STOP', 'RESUME':
            viewer.choose('check box', 'Pause')
            vm.qmp.wait_event(event, mark)
            viewer.close_menu()
        viewer.choose('button', 'Reset')
        viewer.answer('Reset “db-1”?', 'Cancel')
        viewer.choose('button', 'Reset')
        viewer.question('Reset “db-1”?')
        self.assertEqual(self.done(vm, mark), ['STOP', 'RESUME'])
        viewer.answer('Reset “db-1”?', 'Reset')
        vm.qmp.wait_event('RESET', mark)
        viewer.choose(*POWER_DOWN)
        vm.qmp.wait_event('POWERDOWN', mark)
        self.assertEqual(self.done(vm, mark),
                         ['STOP', 'RESUME', 'RESET', 'POWERDOWN'])
        self.check_closing(viewer, vm)


class Vnc(ViewerCase):
    """A VNC session: all is as it was."""

    def test_vnc(self):
        """Reset and Power down, which ask nothing; no state."""
        words = subprocess.run(
            [VIEWER, '--help'], env=DESKS[0].env, stdout=subprocess.PIPE,
            text=True, check=True).stdout
        if 'gtk-vnc' not in words.lower():
            self.skipTest('remote-viewer is built without gtk-vnc')
        vm = self.screen(extra=('-vnc', '127.0.0.1:0,to=99,power-control=on'))
        port = vm.qmp.execute('query-vnc')['service']
        viewer = Viewer(self, f'vnc://127.0.0.1:{port}')
        viewer.wait_item(*POWER_DOWN)
        self.assertEqual(viewer.items(),
                         (USUAL, ['Display 1', 'Reset', 'Power down']))
        self.assertEqual([], viewer.shown.find_all('status bar'))
        mark = vm.qmp.mark()
        viewer.choose('button', 'Reset')
        vm.qmp.wait_event('RESET', mark)
        viewer.choose(*POWER_DOWN)
        vm.qmp.wait_event('POWERDOWN', mark)
        self.assertEqual(self.done(vm, mark), ['RESET', 'POWERDOWN'])
        viewer.close()
        self.assertEqual(vm.qmp.status, 'running')


if __name__ == '__main__':
    case.main()
