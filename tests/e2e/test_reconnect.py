#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Viewers that wait for their server: --reconnect.

QEMU ends and is started anew at the same address, with spicy or remote-viewer
in front of it, used as a person does.
"""

import re
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

import test_buttons as buttons                      # noqa: E402
import test_viewer as viewer                        # noqa: E402
from powertest import case, desktop, places, ports, wire    # noqa: E402
from powertest.machine import Machine               # noqa: E402

TICKET = 'sesame'
WAITING = 'Waiting for “db-1” to come back'
TRIED = re.compile(r'Tried at \d\d:\d\d:\d\d: .*Connection refused')
# When a server goes there is something to tell it, or a channel that opens
EXCUSED = re.compile(buttons.TOO_LATE.pattern + '|' + viewer.TOO_LATE.pattern)


def end(vm):
    """It is gone, and has said nothing."""
    vm.process.kill()
    vm.process.wait()
    vm.qmp.close()


def wait_waiting(window):
    """Until it says that it waits, and why; the page."""
    page = window.shown.find('notification')
    window.shown.find('label', WAITING, under=page)
    window.shown.find('label', TRIED, under=page)
    return page


class ReconnectCase(buttons.ButtonsCase):
    def setUp(self):
        super().setUp()
        # of its own, so that all of a window is on the screen
        self.desk = self.enterContext(desktop.Desktop(self.log_dir))
        settings = self.desk.directory / 'home/.config/spicy/settings'
        settings.parent.mkdir(parents=True)
        settings.write_text(buttons.SETTINGS)

    def begin(self, spice='power=on', **options):
        return self.machine(spice, **{
            'hardware': buttons.SCREEN, 'extra': buttons.OFF_STAYS,
            'tcp': True, **options})

    def back(self, vm, window):
        """It is started anew: the window, which is the same, has it again."""
        frame = window.shown.find('frame')
        vm.start()
        vm.qmp.wait_event('SPICE_INITIALIZED', 0)
        window.wait_status('Running')
        window.shown.wait_none('notification')
        self.assertEqual(window.shown.find_all('frame'), [frame])
        self.assertEqual(window.shown.find_all('alert'), [])
        self.assertEqual(window.shown.find_all('dialog'), [])


class Spicy(ReconnectCase):
    def reconnecting(self, vm, *options):
        mark = vm.qmp.mark()
        window = buttons.Window(
            self, self.desk, vm, buttons.SPICY, '--reconnect',
            f'--uri={vm.uri}', *options, excused=EXCUSED)
        vm.qmp.wait_event('SPICE_INITIALIZED', mark)
        return window

    def check_works(self, vm, window):
        """The buttons, and the display."""
        self.check_pause_and(vm, window, self.check_same_picture)

    def check_pause_and(self, vm, window, check):
        window.choose('Pause')
        window.wait_status('Paused')
        self.assertEqual(vm.qmp.status, 'paused')
        check(window)
        window.choose('Resume')
        window.wait_status('Running')
        self.assertEqual(vm.qmp.status, 'running')

    def test_soon(self):
        """It is back after 0.3 s: nothing is asked, and all works again."""
        vm = self.begin(ticket=TICKET)
        window = self.reconnecting(vm, f'--password={TICKET}')
        window.wait_status('Running')
        end(vm)
        time.sleep(0.3)
        self.back(vm, window)
        self.check_works(vm, window)
        window.close()

    def test_later(self):
        """It is away for some seconds: that is said, and then all is well."""
        vm = self.begin(ticket=TICKET)
        window = self.reconnecting(vm, f'--password={TICKET}')
        window.wait_status('Running')
        end(vm)
        page = wait_waiting(window)
        self.assertEqual(window.statuses(), [])
        self.assertEqual(window.shown.find_all('menu', 'Power'), [])
        # who is typing does not press the button
        self.assertEqual(window.shown.find_all('button', 'Close', under=page,
                                               focused=True), [])
        window.press('enter')
        window.press('space')
        self.screenshot(window, 'waiting')
        time.sleep(3)
        self.back(vm, window)
        self.check_works(vm, window)
        window.close()

    def test_no_power_control(self):
        """The window of a server that has none stays, too."""
        vm = self.begin('')
        window = self.reconnecting(vm)
        frame = window.shown.find('frame')
        end(vm)
        wait_waiting(window)
        vm.start()
        vm.qmp.wait_event('SPICE_INITIALIZED', 0)
        window.shown.find('drawing area')
        window.shown.wait_none('notification')
        self.assertEqual(window.shown.find_all('frame'), [frame])
        self.check_same_picture(window)
        window.close()

    def test_other_state(self):
        """It is back, and paused; and it can be powered off and on."""
        vm = self.begin()
        window = self.reconnecting(vm)
        window.wait_status('Running')
        end(vm)
        vm.extra = (*buttons.OFF_STAYS, '-S')
        vm.start()
        window.wait_status('Paused')
        vm.qmp.execute('cont')
        window.wait_status('Running')
        window.choose('Force Off')
        window.confirm('Force Off')
        window.wait_off()
        window.program.click('button', 'Power On')
        window.wait_status('Running')
        window.close()

    def test_other_password(self):
        """Another password is asked for, and then it goes on."""
        vm = self.begin(ticket=TICKET)
        window = self.reconnecting(vm, f'--password={TICKET}')
        window.wait_status('Running')
        end(vm)
        vm.ticket = 'mustard'
        vm.start()
        dialog = window.shown.find('dialog', 'Authentication', active=True)
        # once: it does not go on with the old one behind the question
        window.shown.find('label', 'Please enter the spice server password',
                          under=dialog)
        for key in vm.ticket:
            window.press(key)
        window.press('enter')
        window.wait_status('Running')
        window.shown.wait_none('dialog')
        window.program.excused = re.compile(
            EXCUSED.pattern + '|auth failure')
        self.check_works(vm, window)
        window.close()

    def test_close(self):
        """Who does not want to wait closes the window."""
        vm = self.begin()
        window = self.reconnecting(vm)
        window.wait_status('Running')
        end(vm)
        page = wait_waiting(window)
        window.program.click('button', 'Close', under=page)
        window.wait_end()

    def test_replaced(self):
        """Whose place somebody else has taken does not come back."""
        vm = self.begin()
        window = self.reconnecting(vm)
        window.wait_status('Running')
        with wire.Client(vm.connect()) as other:
            other.wait_init()
            alert = window.shown.find('alert', active=True)
            window.shown.find('label', 'Another client has connected to the '
                              'server, and taken the place of this one.',
                              under=alert)
            window.press('Escape')
            window.wait_end()
            other.fence()

    def test_handed_over_early(self):
        """Sent to a server that is not there yet, it goes there all the same.

        That takes no option.
        """
        home = Machine(self.log_dir, hardware=buttons.SCREEN, tcp=True,
                       extra=buttons.OFF_STAYS, name='home')
        home.port = ports.free()
        vm = self.begin(f'power=on,home=127.0.0.1,home-port={home.port}')
        window = self.spicy(vm, desk=self.desk, excused=EXCUSED)
        window.wait_status('Running')
        vm.qmp.execute('quit')
        self.assertEqual(vm.wait_exit(), 0)
        wait_waiting(window)
        window.vm = self.enterContext(home)
        window.wait_status('Running')
        self.check_works(home, window)
        window.close()

    def test_back_home(self):
        """Whose server has gone without a word goes to where it came from."""
        away = self.begin(name='away')
        vm = self.begin(f'power=on,home=127.0.0.1,home-port={away.port}')
        window = self.reconnecting(vm)
        window.wait_status('Running')
        mark = away.qmp.mark()
        vm.qmp.execute('quit')
        self.assertEqual(vm.wait_exit(), 0)
        vm.qmp.close()
        away.qmp.wait_event('SPICE_INITIALIZED', mark)
        window.wait_status('Running')
        vm.extra = (*buttons.OFF_STAYS, '-S')
        vm.start()
        end(away)
        window.wait_status('Paused')
        self.assertEqual(len(vm.main_connections()), 1)
        window.close()


class RemoteViewer(ReconnectCase):
    @classmethod
    def setUpClass(cls):
        upstream, = viewer.load_upstreams(viewer.Layout(places.BUILD),
                                          ['virt-viewer'])
        if upstream.absent:
            raise unittest.SkipTest(upstream.absence)
        places.need(viewer.VIEWER)

    def reconnecting(self, vm):
        window = viewer.Viewer(self, '--reconnect', vm.uri,
                               desk=self.desk, excused=EXCUSED)
        self.wait_firmware(window, 0)
        return window

    def wait_firmware(self, window, mark):
        """The firmware has set its mode: nothing is laid out anew.

        That would close an open menu.
        """
        window.program.output.wait(lambda line: 'Allocated 720x400' in line,
                                   'the display', mark)

    def start_again(self, vm, window):
        mark = window.program.output.mark
        vm.start()
        self.wait_firmware(window, mark)
        window.shown.find('drawing area')
        window.shown.wait_none('notification')

    def test_back(self):
        """It goes, and is back; the Machine menu works again."""
        vm = self.begin()
        window = self.reconnecting(vm)
        window.wait_status('Running')
        for seconds in 0.3, 3:
            with self.subTest(seconds):
                end(vm)
                if seconds > 1:
                    wait_waiting(window)
                    self.screenshot(window, 'viewer-waiting')
                time.sleep(seconds)
                mark = window.program.output.mark
                self.back(vm, window)
                self.wait_firmware(window, mark)
                window.choose('button', 'Pause')
                window.wait_status('Paused')
                window.choose('button', 'Resume')
                window.wait_status('Running')
                self.assertEqual(vm.qmp.status, 'running')
        window.close()

    def test_close(self):
        """The button closes the window, which asks as it does always."""
        vm = self.begin()
        window = self.reconnecting(vm)
        end(vm)
        page = wait_waiting(window)
        window.program.click('button', 'Close', under=page)
        alert = window.shown.find('alert', active=True)
        window.program.click('button', 'OK', under=alert)
        window.wait_end()

    def test_kiosk(self):
        """A kiosk waits, too, and can't be closed."""
        vm = self.begin()
        window = viewer.Viewer(self, '--reconnect', '--kiosk', vm.uri,
                               desk=self.desk, excused=EXCUSED)
        end(vm)
        page = wait_waiting(window)
        self.assertEqual(window.shown.find_all('button', under=page), [])
        vm.start()
        vm.qmp.wait_event('SPICE_INITIALIZED', 0)
        window.shown.find('drawing area')
        window.shown.wait_none('notification')
        self.assertEqual(vm.qmp.status, 'running')

    def test_qmp_port(self):
        """A QMP port comes again, too."""
        vm = self.begin('', extra=(*buttons.OFF_STAYS, *viewer.QMP_PORT))
        window = self.reconnecting(vm)
        window.wait_item(*viewer.POWER_DOWN)
        end(vm)
        wait_waiting(window)
        self.start_again(vm, window)
        window.wait_item(*viewer.POWER_DOWN)
        mark = vm.qmp.mark()
        window.choose(*viewer.POWER_DOWN)
        vm.qmp.wait_event('POWERDOWN', mark)
        window.close()


def prepare():
    places.need(buttons.SPICY)
    desktop.need()


if __name__ == '__main__':
    case.main(prepare)
