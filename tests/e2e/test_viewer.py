#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Machine menu of remote-viewer, used as a person does.

On a desktop of our own, with the real QEMU behind it: what the window shows
comes from AT-SPI, what has happened from QEMU's events.
"""

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / 'lib'),
                str(Path(__file__).resolve().parents[2] / 'scripts')]

from core import Layout, load_upstreams             # noqa: E402
from powertest import bmc, case, desktop, places, spicypower    # noqa: E402
from powertest.manager import ASKED, TOLD, Manager  # noqa: E402
from powertest.record import TIMEOUT                # noqa: E402
from powertest.x11 import Box, Picture              # noqa: E402

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
# The same, where there is a Power Off, too
SHUT_DOWN = ('button', 'Shut Down Guest')
POWER = [('button', name) for name in
         ('Pause', 'Resume', 'Force Reset', 'Force Off', 'Power On')]
# What QEMU, VNC and a SPICE without power control get
USUAL = [DISPLAY, ('check box', 'Pause'), ('button', 'Reset'), POWER_DOWN]
# spice-gtk looks for something that QEMU does not tell any more, and gtk-vnc's
# widget for its window after that has gone
NOT_OURS = re.compile('json_object_get_boolean_member|'
                      'gdk_window_get_(width|height)')
# It looks for the reason of an error where that is not, too
REFUSED = re.compile(NOT_OURS.pattern + '|json_object_get_string_member')
# What the library says to who still has something to tell a server that has
# just gone, or was still opening a channel
TOO_LATE = re.compile(NOT_OURS.pattern + '|message queue is blocked|'
                      'incomplete link header')
OFF_TEXT = '“db-1” is powered off'
MACHINE = ('toggle button', 'Machine')
DESKS = []


def setUpModule():
    upstream, = load_upstreams(Layout(places.BUILD), ['virt-viewer'])
    if upstream.absent:
        raise unittest.SkipTest(upstream.absence)
    places.need(VIEWER)
    for name in ('first', 'second'):
        desk = desktop.Desktop(places.log_directory(f'desktop-viewer-{name}'))
        DESKS.append(unittest.enterModuleContext(desk))


class Viewer:
    """A remote-viewer, from when it shows the machine's display."""

    def __init__(self, test, *arguments, wait=('drawing area',), desk=None,
                 name='remote-viewer', excused=NOT_OURS, **options):
        self.test = test
        self.desk = desk or DESKS[0]
        self.program = test.enterContext(desktop.Program(
            self.desk, VIEWER, '--debug', *arguments, name=name,
            log_dir=test.log_dir, excused=excused, **options))
        self.shown = self.program.shown
        self.shown.find(*wait)

    def wait_status(self, text):
        return self.shown.find('status bar',
                               re.compile(f'Power state: {text}'))

    def wait_off(self):
        """Wait until it says in place of the display that it's off."""
        page = self.shown.find('notification')
        self.shown.find('label', OFF_TEXT, under=page)
        self.shown.wait_none('drawing area')

    def open_menu(self):
        self.program.click(*MACHINE)
        return self.shown.find('panel', modal=True)

    def close_menu(self):
        self.program.press('Escape')
        self.shown.wait_none('panel', modal=True)

    def items(self):
        """What the Machine menu has, and which of that can be chosen."""
        popup = self.open_menu()
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
            self.shown.wait_none('panel', modal=True)

    def question(self, title):
        """Wait for a question; Enter must mean no."""
        alert = self.shown.find('alert', active=True)
        self.shown.find('label', title, under=alert)
        self.shown.find('button', 'Cancel', under=alert, focused=True,
                        default=True)
        return alert

    def answer(self, title, button):
        alert = self.question(title)
        self.program.click('button', button, under=alert)
        self.shown.wait_gone(alert)     # there may be another one: an error

    def error(self, text):
        """Wait for an error, and return all that it says."""
        alert = self.shown.find('alert', active=True)
        self.shown.find('label', text, under=alert)
        return [node.name for node in self.shown.find_all('label',
                                                          under=alert)]

    def close(self):
        """Close the window, and say that this is what is meant."""
        self.program.click('button', 'Close')
        alert = self.shown.find('alert', active=True)
        self.shown.find('label', 'Do you want to close the session?',
                        under=alert)
        self.program.click('button', 'OK', under=alert)
        self.wait_end()

    def wait_end(self):
        """It ends, and well."""
        self.test.assertEqual(self.program.wait_exit(), 0)
        self.program.output.wait_end()
        self.test.assertEqual(self.program.complaints(), [])


@contextlib.contextmanager
def between(vm, word, other):
    """Stand between client and server: one word of it is another one there.

    They have the same length; the URI.
    """
    assert len(word) == len(other)
    path = vm.run_dir / 'between'

    def copy(source, sink, replace):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data.replace(word, other) if replace else data)
        for end in source, sink:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = vm.connect()
                server.settimeout(None)
                for arguments in ((client, server, True),
                                  (server, client, False)):
                    threading.Thread(target=copy, args=arguments,
                                     daemon=True).start()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f'spice+unix://{path}'
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT)


class ViewerCase(case.PowerTestCase):
    def screen(self, spice='power=on', extra=(), **options):
        return self.machine(spice, hardware=SCREEN,
                            extra=(*OFF_STAYS, *extra), **options)

    def manager(self, vm, **options):
        manager = self.enterContext(Manager(vm, **options))
        self.addCleanup(lambda: self.assertEqual(manager.errors, []))
        return manager

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
            [DISPLAY, *POWER],
            ['Display 1', 'Pause', 'Force Reset', 'Force Off']))
        mark = vm.qmp.mark()
        viewer.choose('button', 'Force Reset')
        viewer.question('Reset “db-1”?')
        viewer.desk.screenshot(SCREENSHOTS / 'viewer-reset.png')
        viewer.answer('Reset “db-1”?', 'Cancel')
        viewer.choose('button', 'Force Reset')
        viewer.question('Reset “db-1”?')
        viewer.program.press('enter')
        viewer.shown.wait_none('alert')
        viewer.choose('button', 'Force Reset')
        self.assertEqual(self.done(vm, mark), [])
        viewer.answer('Reset “db-1”?', 'Force Reset')
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
        self.assertEqual(viewer.items()[1], [
            'Display 1', 'Resume', 'Force Reset', 'Force Off'])
        viewer.choose('button', 'Resume')
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
        viewer.choose('button', 'Force Off')
        viewer.answer('Power off “db-1”?', 'Force Off')
        viewer.wait_status('Powered off')
        self.assertEqual(vm.qmp.status, 'shutdown')

    def test_cancel(self):
        """A question about Power Off that is answered with no, in any way."""
        vm = self.screen()
        viewer = Viewer(self, vm.uri)
        mark = vm.qmp.mark()
        for keys in 'Escape', 'enter', 'space', 'alt+F4', None:
            viewer.choose('button', 'Force Off')
            if keys:
                viewer.question('Power off “db-1”?')
                viewer.program.press(keys)
                viewer.shown.wait_none('alert')
            else:
                viewer.answer('Power off “db-1”?', 'Cancel')
        viewer.choose('button', 'Pause')
        viewer.wait_status('Paused')
        vm.qmp.wait_event(TOLD, mark)
        self.assertEqual(self.done(vm, mark), [ASKED, 'STOP', TOLD])

    def test_refused(self):
        """An error is shown as the server has worded it."""
        vm = self.screen('power=managed', probe=True)
        reason = 'Ask the <operator> of "db-1" first: +49 & 30'
        self.manager(vm, reasons={'reset': reason}).work()
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        mark = vm.qmp.mark()
        viewer.choose('button', 'Force Reset')
        viewer.answer('Reset “db-1”?', 'Force Reset')
        self.assertIn(reason, viewer.error('The machine was not reset'))
        self.assertEqual(self.done(vm, mark), [ASKED, TOLD])
        viewer.program.press('Escape')
        viewer.shown.wait_none('alert')
        viewer.wait_status('Running')
        self.check_closing(viewer, vm)

    def test_pending(self):
        """While it waits it says so, and asks for nothing else."""
        vm = self.screen('power=managed', probe=True)
        manager = self.manager(vm)
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        viewer.choose('button', 'Force Reset')
        viewer.answer('Reset “db-1”?', 'Force Reset')
        viewer.wait_status('Resetting the machine…')
        asked, _ = manager.wait_request()
        self.assertEqual(viewer.items()[1], ['Display 1'])
        manager.reply(asked['id'], *manager.carry_out('reset'))
        viewer.wait_status('Running, reset at .*')
        self.assertEqual(viewer.items()[1],
                         ['Display 1', 'Pause', 'Force Reset', 'Force Off'])
        self.check_closing(viewer, vm)

    def test_two_people(self):
        """Each sees at once what the other does; a question about it, too."""
        vm = self.screen(many_clients=True)
        viewer = Viewer(self, vm.uri)
        other = Viewer(self, vm.uri, desk=DESKS[1], name='other')
        other.choose('button', 'Pause')
        viewer.wait_status('Paused')
        viewer.choose('button', 'Resume')
        other.wait_status('Running')
        viewer.choose('button', 'Force Reset')
        alert = viewer.question('Reset “db-1”?')
        self.power_off(other, vm)
        viewer.shown.find('button', 'Force Reset', under=alert,
                          sensitive=False)
        mark = vm.qmp.mark()
        viewer.program.click('button', 'Cancel', under=alert)
        viewer.shown.wait_none('alert')
        for each in viewer, other:
            each.wait_off()
        other.program.click('button', 'Power On')
        for each in viewer, other:
            each.wait_status('Running')
            each.shown.find('drawing area')
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', 'RESUME', TOLD])
        other.close()
        viewer.wait_status('Running')
        self.check_closing(viewer, vm)

    def test_no_display(self):
        """A machine that shows nothing has its state and its buttons."""
        vm = self.machine(extra=OFF_STAYS)
        viewer = Viewer(self, vm.uri, wait=MACHINE)
        viewer.wait_status('Running')
        self.assertEqual(viewer.items(), (POWER, ['Pause', 'Force Reset',
                                                  'Force Off']))
        mark = vm.qmp.mark()
        viewer.choose('button', 'Force Reset')
        viewer.answer('Reset “db-1”?', 'Force Reset')
        viewer.wait_status('Running, reset at .*')
        self.power_off(viewer, vm)
        viewer.wait_off()
        viewer.program.press('a')       # is for nobody
        viewer.program.click('button', 'Power On')
        viewer.wait_status('Running')
        viewer.shown.wait_none('notification')
        viewer.program.press('a')
        vm.qmp.wait_event(TOLD, mark, action='power-on')
        self.assertEqual(self.done(vm, mark).count(ASKED), 3)
        self.check_closing(viewer, vm)

    def test_full_screen(self):
        """In full screen the bar at the top has state and menu."""
        vm = self.screen()
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        viewer.program.press('F11')
        viewer.shown.wait_none('button', 'Close')
        screen = viewer.desk.screen.picture()
        viewer.shown.wait_none('status bar')    # after some seconds
        viewer.desk.screen.move(screen.width // 2, 0)
        viewer.wait_status('Running')
        viewer.program.click(*MACHINE)
        viewer.program.click('menu item', 'Pause')
        viewer.wait_status('Paused')
        viewer.program.press('F11')
        viewer.wait_status('Paused')
        viewer.choose('button', 'Resume')
        viewer.wait_status('Running')
        self.check_closing(viewer, vm)

    def test_server_goes(self):
        """The server dies, whatever it is doing: it ends, and well.

        What somebody has to be told is read first.
        """
        for number, situation in enumerate(
                ('nothing', 'pending', 'question', 'error', 'off')):
            with self.subTest(situation), contextlib.ExitStack() as stack:
                vm = self.screen('power=managed', probe=True,
                                 name=f'qemu{number}')
                reasons = {'reset': 'No'} if situation == 'error' else {}
                manager = stack.enter_context(Manager(vm, reasons=reasons))
                viewer = Viewer(self, vm.uri, name=f'viewer{number}',
                                excused=TOO_LATE)
                viewer.wait_status('Running')
                if situation == 'pending':
                    viewer.choose('button', 'Pause')
                    manager.wait_request()
                    viewer.wait_status('Pausing the machine…')
                elif situation == 'question':
                    viewer.choose('button', 'Force Reset')
                    viewer.question('Reset “db-1”?')
                elif situation == 'error':
                    manager.work()
                    viewer.choose('button', 'Force Reset')
                    viewer.answer('Reset “db-1”?', 'Force Reset')
                    viewer.error('The machine was not reset')
                elif situation == 'off':
                    vm.qmp.execute('set-action', reboot='shutdown')
                    vm.qmp.execute('system_reset')
                    viewer.wait_off()
                vm.process.kill()
                if situation == 'pending':
                    self.assertIn(
                        'The connection ended before the result',
                        viewer.error('The machine may have been '
                                     'paused'))
                if situation in ('pending', 'error'):
                    time.sleep(0.2)
                    self.assertEqual(len(viewer.shown.find_all('alert')), 1)
                    viewer.program.press('Escape')
                viewer.wait_end()

    def test_console(self):
        """A guest that sets another mode when it boots, after a reset, too."""
        vm = self.guest(extra=OFF_STAYS)
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        boots, console = vm.boots(), vm.console.mark
        viewer.choose('button', 'Force Reset')
        viewer.answer('Reset “db-1”?', 'Force Reset')
        viewer.wait_status('Running, reset at .*')
        vm.wait_tick(vm.wait_boot(console, timeout=120), timeout=120)
        self.assertEqual(vm.boots(), boots + 1)
        self.power_off(viewer, vm)
        viewer.wait_off()
        console = vm.console.mark
        viewer.program.click('button', 'Power On')
        vm.wait_tick(vm.wait_boot(console, timeout=120), timeout=120)
        viewer.choose('button', 'Pause')
        viewer.wait_status('Paused')
        self.check_same_picture(viewer, vm)
        viewer.choose('button', 'Resume')
        viewer.wait_status('Running')
        self.check_closing(viewer, vm)

    def check_same_picture(self, viewer, vm):
        """What is on the screen is what the machine has drawn."""
        path = self.log_dir / 'screendump.ppm'
        deadline = time.monotonic() + TIMEOUT
        while True:
            vm.qmp.execute('screendump', filename=str(path))
            drawn = Picture.from_ppm(path)
            place = viewer.program.extents(viewer.shown.find('drawing area'))
            seen = viewer.desk.screen.picture(Box(
                place.x + (place.width - drawn.width) // 2,
                place.y + (place.height - drawn.height) // 2,
                drawn.width, drawn.height))
            if seen == drawn:
                return
            if time.monotonic() > deadline:
                seen.save(self.log_dir / 'seen.png')
                drawn.save(self.log_dir / 'drawn.png')
                self.fail(f'not the same; see {self.log_dir}')
            time.sleep(0.1)

    def test_power_off_and_on(self):
        """While it's off the window says so, and has a button to power it on.

        What one was typing for the machine does not press that button.
        """
        vm = self.screen()
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        mark = vm.qmp.mark()
        self.power_off(viewer, vm)
        viewer.wait_off()
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

        # what is typed for the machine presses no button, even if the machine
        # goes off in the midst of it
        viewer.program.click('drawing area')
        spicypower.run(vm.uri, 'off')
        viewer.wait_off()
        mark = vm.qmp.mark()
        for keys in 'space', 'enter', 'a', 'alt+n':
            viewer.program.press(keys)
        viewer.program.click('button', 'Power On')
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
        viewer.wait_off()
        # the window is large enough for the display that comes back, which is
        # 640x480, or a text mode's 720x400 if the firmware was quick
        box = viewer.program.extents(viewer.shown.find('frame'))
        self.assertGreaterEqual(box.width, 640)
        self.assertGreaterEqual(box.height, 400)
        viewer.program.click('button', 'Power On')
        viewer.wait_status('Running')
        viewer.shown.find('drawing area')
        self.check_closing(viewer, vm)

    def check_kiosk(self, viewer, after=0.5):
        """There are no bars, and no way to them."""
        viewer.program.press('F11')
        viewer.program.press('F11')
        viewer.desk.screen.move(512, 0)
        time.sleep(after)
        for role in 'toggle button', 'status bar', 'menu', 'menu item':
            self.assertEqual(viewer.shown.find_all(role), [])
        self.assertEqual(viewer.shown.find_all('button', 'Close'), [])

    def test_kiosk(self):
        """No menu and no bars; a machine that is off can be powered on."""
        vm = self.screen(extra=QMP_PORT)
        viewer = Viewer(self, '--kiosk', vm.uri)
        self.check_kiosk(viewer)
        viewer.program.click('drawing area')
        self.check_kiosk(viewer)
        spicypower.run(vm.uri, 'off')
        viewer.wait_off()
        viewer.desk.screenshot(SCREENSHOTS / 'viewer-kiosk-off.png')
        self.check_kiosk(viewer)
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
        """What asks the guest is the monitor's; the rest is not."""
        vm = self.screen(extra=QMP_PORT)
        viewer = Viewer(self, vm.uri)
        viewer.wait_status('Running')
        viewer.wait_item(*SHUT_DOWN)
        self.assertEqual(viewer.items(), (
            [DISPLAY, *POWER, SHUT_DOWN],
            ['Display 1', 'Pause', 'Force Reset', 'Force Off',
             'Shut Down Guest']))
        mark = vm.qmp.mark()
        viewer.choose(*SHUT_DOWN)
        vm.qmp.wait_event('POWERDOWN', mark)
        viewer.choose('button', 'Pause')
        viewer.wait_status('Paused')
        vm.qmp.wait_event(TOLD, mark)
        self.assertEqual(self.done(vm, mark), ['POWERDOWN', ASKED, 'STOP', TOLD])
        viewer.choose('button', 'Resume')
        viewer.wait_status('Running')
        self.check_closing(viewer, vm)

    def test_languages(self):
        """No two items have the same name or key in any language."""
        vm = self.screen(extra=QMP_PORT)
        for language in 'en', 'de', 'fr', 'it':
            with self.subTest(language):
                viewer = Viewer(self, vm.uri, name=language,
                                env=DESKS[0].language(language))
                viewer.shown.find('status bar')
                popup = viewer.open_menu()
                viewer.shown.find(*SHUT_DOWN, under=popup)
                items = [node for node in viewer.shown.nodes(popup)
                         if node.role in ('button', 'check box')]
                self.assertEqual(len(items), 2 + len(POWER))
                self.assertEqual(viewer.shown.ambiguous(items), [])
                if language != 'en':
                    self.assertEqual({node.name for node in items}
                                     & {name for _, name in POWER}, set())
                viewer.program.close()


class Outlives(ViewerCase):
    """A server that has a display only while its host is on."""

    def test_host_off(self):
        """Who connects while it is off has a button; the display comes and
        goes."""
        state = self.log_dir / 'state'
        state.write_text('off')
        vm = self.machine(spice='', hardware=SCREEN, extra=(
            '-vnc', f'unix:{self.log_dir}/vnc'))
        host = self.enterContext(bmc.Endpoint(self.log_dir, {
            'power': {'backend': 'exec', 'poll-interval': 0.02},
            'exec': {'status': f'cat {state}',
                     'power-on': f'sh -c "echo on >{state}"',
                     'power-off': f'sh -c "echo off >{state}"'},
            'vnc': {'unix-socket': self.log_dir / 'vnc'}}, name='db-1'))
        viewer = Viewer(self, host.uri, wait=('button', 'Power On'))
        for _ in range(3):
            viewer.wait_status('Powered off')
            viewer.wait_off()
            viewer.program.press('a')   # there is nobody to have it
            viewer.program.click('button', 'Power On')
            viewer.wait_status('Running')
            viewer.shown.find('drawing area')
            state.write_text('off')     # by somebody else
        viewer.wait_off()
        self.assertEqual(len(viewer.shown.find_all('frame')), 1)
        viewer.close()
        self.assertEqual(vm.qmp.status, 'running')


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

    def test_qmp_port_refuses(self):
        """A reset that the monitor refuses does not look like one."""
        vm = self.screen('power=off', QMP_PORT)
        uri = self.enterContext(between(vm, b"'system_reset'",
                                        b"'system_RESET'"))
        viewer = Viewer(self, uri, excused=REFUSED)
        viewer.wait_item(*POWER_DOWN)
        mark = vm.qmp.mark()
        viewer.choose('button', 'Reset')
        viewer.answer('Reset “db-1”?', 'Reset')
        viewer.error('The machine was not reset')
        viewer.program.press('Escape')
        viewer.shown.wait_none('alert')
        self.check_closing(viewer, vm)
        self.assertEqual(self.done(vm, mark), [])


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
    case.main(lambda: places.need(bmc.GATEWAY))
