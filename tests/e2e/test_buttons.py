#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The buttons of spicy, used as a person does: by mouse and by keyboard.

Each test starts spicy on a desktop of our own, with the real QEMU behind it,
and looks at what spicy shows through AT-SPI, at the pixels on the screen, at
QEMU's events, and at what the guest says on its serial console.
"""

import contextlib
import re
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import (case, desktop, places, spicypower,   # noqa: E402
                       wire)
from powertest.asleep import PC, qtest_listener          # noqa: E402
from powertest.machine import GUEST, Machine        # noqa: E402
from powertest.manager import ASKED, TOLD, Manager  # noqa: E402
from powertest.record import TIMEOUT                # noqa: E402
from powertest.x11 import Box, Picture              # noqa: E402

SPICY = places.PREFIX / 'bin' / 'spicy'
SCREENSHOTS = places.BUILD / 'screenshots'
# A screen, and a firmware that writes on it; no guest
SCREEN = ('-machine', 'pc', '-accel', 'tcg', '-m', '64', '-nodefaults',
          '-device', 'VGA')
OFF_STAYS = ('-action', 'shutdown=pause', '-name', 'db-1')
# So that what it shows can be compared with what the machine has drawn
SETTINGS = '[general]\nscaling=false\n'
ITEMS = ['Pause', 'Resume', 'Force Reset', 'Force Off', 'Power On']
LANGUAGES = ('de', 'fr', 'it')          # beside English
# What everybody has to have a name for
CONTROLS = {'button', 'check menu item', 'menu', 'menu item',
            'radio menu item', 'toggle button'}
OFF_TEXT = '“db-1” is powered off'
QUESTIONS = {'Force Reset': 'Reset “db-1”?',
             'Force Off': 'Power off “db-1”?'}
# What the library says to who still has something to tell a server that has
# just gone (that the keys are let go, say), or was still opening a channel
TOO_LATE = re.compile('message queue is blocked, dropping message|'
                      'incomplete link (header|reply)')
# What GTK says when a window goes while a menu of its menu bar is open
OPEN_MENU = re.compile("invalid cast from 'GtkBox' to 'GtkWindow'|"
                       'gtk_window_set_mnemonics_visible|'
                       + TOO_LATE.pattern)


class Window:
    """A window with power controls: spicy's, or another program's."""

    def __init__(self, test, desk, vm, *command, name='spicy', **options):
        self.test = test
        self.desk = desk
        self.vm = vm
        self.program = test.enterContext(desktop.Program(
            desk, *(command or (SPICY, f'--uri={vm.uri}')), name=name,
            log_dir=test.log_dir, **options))
        self.shown = self.program.shown
        self.shown.find('frame', active=True)

    # --- what it shows -------------------------------------------------------

    def wait_status(self, text):
        """Wait until the status is this; it is said in words, in two ways."""
        if isinstance(text, re.Pattern):
            return self.shown.find('status bar', re.compile(
                'Power state: ' + text.pattern))
        return self.shown.find('status bar', f'Power state: {text}')

    def statuses(self):
        return self.shown.find_all('status bar', re.compile('Power state: .*'))

    def items(self):
        """The Power menu as one sees who opens it: which can be chosen."""
        self.program.click('menu', 'Power')
        menu = self.shown.find('menu', 'Power')
        self.shown.find('menu item', under=menu)
        found = {node.name: 'sensitive' in node.states for node in
                 self.shown.find_all('menu item', under=menu)}
        self.close_menu()
        return found

    def possible(self):
        return [name for name, sensitive in self.items().items() if sensitive]

    def close_menu(self):
        self.program.press('Escape')
        self.shown.wait_none('menu item')

    def display(self):
        """Where the machine's display is on the screen."""
        return self.program.extents(self.shown.find('drawing area'))

    def question(self, item, question=None):
        """Wait for an item's question, check it, and return it."""
        alert = self.shown.find('alert', active=True)
        self.shown.find('label', question or QUESTIONS[item], under=alert)
        # Enter is for what has the focus, or is the default
        cancel = self.shown.find('button', 'Cancel', under=alert,
                                 focused=True)
        self.test.assertIn('default', cancel.states)
        self.test.assertIn('modal', alert.states)
        return alert

    def error(self, text):
        """Wait for an error, return what it says, and close it."""
        alert = self.shown.find('alert', active=True)
        labels = [node.name for node in
                  self.shown.find_all('label', under=alert)]
        self.test.assertEqual(labels[0], text)
        return labels[1]

    def wait_off(self):
        """Wait until it says in place of the display that it's off."""
        page = self.shown.find('notification')
        self.shown.find('label', OFF_TEXT, under=page)

    # --- what one does with it -----------------------------------------------

    def choose(self, item):
        """Choose from the Power menu, with the mouse."""
        self.program.click('menu', 'Power')
        self.program.click('menu item', item)
        self.shown.wait_none('menu item')

    def confirm(self, item, question=None):
        """Say yes to an item's question."""
        alert = self.question(item, question)
        self.program.click('button', item, under=alert)
        self.shown.wait_gone(alert)     # there may be another one: an error

    def cancel(self, item):
        alert = self.question(item)
        self.program.click('button', 'Cancel', under=alert)
        self.shown.wait_none('alert')

    def press(self, keys):
        self.program.press(keys)

    def press_close(self, node):
        """Click on the cross in the corner of the window's frame."""
        box = self.program.extents(node)
        self.desk.screen.click(box.x + box.width - 15, box.y + 11)

    def close(self):
        """File > Close, and nothing has gone wrong."""
        self.program.click('menu', 'File')
        self.program.click('menu item', 'Close')
        self.wait_end()

    def wait_end(self):
        """It ends, and well; complaints are none, or what is excused."""
        self.test.assertEqual(self.program.wait_exit(), 0,
                              self.program.output.since())
        self.program.output.wait_end()
        self.test.assertEqual(self.program.complaints(), [])


class ButtonsCase(case.PowerTestCase):
    desk = None

    @classmethod
    def new_desktop(cls, name):
        """A desktop for all tests, one for each person."""
        desk = desktop.Desktop(places.log_directory(f'desktop-{name}'))
        unittest.enterModuleContext(desk)
        settings = desk.directory / 'home' / '.config' / 'spicy' / 'settings'
        settings.parent.mkdir(parents=True)
        settings.write_text(SETTINGS)
        return desk

    def spicy(self, vm, desk=None, **options):
        """spicy, until it shows the machine's display."""
        mark = vm.qmp.mark()
        window = Window(self, desk or DESKS[0], vm, **options)
        vm.qmp.wait_event('SPICE_INITIALIZED', mark)
        return window

    def screenshot(self, window, name):
        """Keep a picture of it."""
        window.desk.screenshot(SCREENSHOTS / f'{name}.png')

    def done(self, vm, mark):
        """What has been asked for, and has happened to the machine.

        Not by the guest: its firmware resets it once more when it boots.
        """
        vm.qmp.mark()
        return [event['event'] for event in vm.qmp.events.since(mark)
                if event['event'] in
                (ASKED, TOLD, 'RESET', 'SHUTDOWN', 'STOP', 'RESUME')
                and not event.get('data', {}).get('guest')]

    def check_pause(self, window, mark):
        """The next thing that is asked for is pause, and was nothing else.

        All that a client asks for comes in order.
        """
        window.choose('Pause')
        window.wait_status('Paused')
        window.vm.qmp.wait_event(TOLD, mark)
        self.assertEqual(self.done(window.vm, mark), [ASKED, 'STOP', TOLD])
        window.choose('Resume')
        window.wait_status('Running')

    def check_same_picture(self, window):
        """What is on the screen is what the machine has drawn."""
        vm = window.vm
        path = self.log_dir / 'screendump.ppm'
        deadline = time.monotonic() + TIMEOUT
        while True:
            vm.qmp.execute('screendump', filename=str(path))
            drawn = Picture.from_ppm(path)
            # firmware that sets another mode has all laid out anew
            place = window.display()
            seen = window.desk.screen.picture(Box(
                place.x + (place.width - drawn.width) // 2,
                place.y + (place.height - drawn.height) // 2,
                drawn.width, drawn.height))
            if seen == drawn:
                return drawn
            if time.monotonic() > deadline:
                seen.save(self.log_dir / 'seen.png')
                drawn.save(self.log_dir / 'drawn.png')
                self.fail(f'not the same; see {self.log_dir}')
            time.sleep(0.02)


DESKS = []


def setUpModule():
    for name in ('first', 'second'):
        DESKS.append(ButtonsCase.new_desktop(name))


class Guest(ButtonsCase):
    """A real guest, one for all of these, and a spicy for each."""

    @classmethod
    def setUpClass(cls):
        places.need(places.KERNEL, places.INITRAMFS)
        cls.vm = cls.enterClassContext(Machine(
            places.log_directory('ButtonsGuest'), hardware=GUEST,
            extra=OFF_STAYS, many_clients=True))
        booted = cls.vm.wait_boot(0, timeout=120)
        cls.vm.wait_tick(booted, timeout=120)

    def setUp(self):
        super().setUp()
        self.assertEqual(self.vm.qmp.status, 'running',
                         'a test before this one has left it so')
        # one that has reset it may have ended while it was still booting
        self.vm.wait_tick(self.vm.console.mark, timeout=120)
        self.window = self.spicy(self.vm)
        self.window.wait_status('Running')

    def wait_new_boot(self, mark):
        return self.vm.wait_tick(self.vm.wait_boot(mark))

    def test_reset_with_the_mouse(self):
        """Reset: it asks, the guest boots again, and one can see that."""
        window, vm = self.window, self.vm
        window.choose('Pause')
        window.wait_status('Paused')
        before = self.check_same_picture(window)
        window.choose('Resume')
        window.wait_status('Running')

        boots = vm.boots()
        mark, console = vm.qmp.mark(), vm.console.mark
        window.program.click('menu', 'Power')
        window.shown.find('menu item', 'Force Reset', sensitive=True)
        self.screenshot(window, 'menu')
        window.program.click('menu item', 'Force Reset')
        window.question('Force Reset')
        self.screenshot(window, 'reset')
        self.assertEqual(self.done(vm, mark), [])
        window.confirm('Force Reset')
        window.wait_status(re.compile(r'Running, reset at \d\d:\d\d:\d\d'))
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', TOLD])
        self.wait_new_boot(console)
        self.assertEqual(vm.boots(), boots + 1)

        window.choose('Pause')
        window.wait_status('Paused')
        after = self.check_same_picture(window)
        self.screenshot(window, 'booted-again')
        self.assertNotEqual(before, after)
        window.choose('Resume')
        window.wait_status('Running')
        window.close()

    def test_reset_with_the_keyboard(self):
        """The display has the keyboard until it's told to let go."""
        window, vm = self.window, self.vm
        window.desk.screen.click(*window.display().centre)
        window.shown.find('label', re.compile(
            r'.*\tUse Shift_L\+F12 to ungrab mouse'))
        mark, console = vm.qmp.mark(), vm.console.mark
        # this is for the guest
        window.press('alt+p')
        window.press('shift+F12')
        window.shown.find('label', re.compile('mouse: *server, agent: *no'))
        self.assertEqual(window.shown.find_all('menu item'), [])
        window.press('alt+p')
        window.shown.find('menu item', 'Force Reset')
        window.press('e')
        window.question('Force Reset')
        window.press('alt+e')
        window.shown.wait_none('alert')
        window.wait_status(re.compile('Running, reset at .*'))
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', TOLD])
        self.wait_new_boot(console)

        # the same with the arrows, and Tab to get to the other button
        mark = vm.qmp.mark()
        window.press('F10')             # what GTK has for the menu bar
        window.shown.find('menu', 'File', selected=True)
        while not window.shown.find_all('menu', 'Power', selected=True):
            window.press('Right')
        while not window.shown.find_all('menu item', 'Force Reset',
                                        selected=True):
            window.press('Down')
        window.press('enter')
        alert = window.question('Force Reset')
        window.press('Tab')
        window.shown.find('button', 'Force Reset', under=alert, focused=True)
        window.press('space')
        window.wait_status(re.compile('Running, reset at .*'))
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', TOLD])
        window.close()

    def test_cancel(self):
        """A question that is answered with no, in any way: nothing happens."""
        window, vm = self.window, self.vm
        mark, boots = vm.qmp.mark(), vm.boots()
        for item, keys in (
                ('Force Reset', (None, 'Escape', 'enter', 'space', 'alt+c',
                                 'alt+F4')),
                ('Force Off', (None, 'Escape', 'enter'))):
            for key in keys:
                with self.subTest(f'{item}: {key or "button"}'):
                    window.choose(item)
                    if key:
                        window.question(item)
                        window.press(key)
                        window.shown.wait_none('alert')
                    else:
                        window.cancel(item)
        self.check_pause(window, mark)
        self.assertEqual(vm.boots(), boots)
        window.close()

    def test_pause_and_continue(self):
        """Neither asks; the guest stands still, and goes on."""
        window, vm = self.window, self.vm
        vm.wait_tick(vm.console.mark)
        self.assertEqual(window.items(), {
            'Pause': True, 'Resume': False, 'Force Reset': True,
            'Force Off': True, 'Power On': False})
        window.choose('Pause')
        window.wait_status('Paused')
        self.assertTrue(vm.silent(0.5), 'the guest ticks')
        self.assertEqual(window.possible(),
                         ['Resume', 'Force Reset', 'Force Off'])
        last, console = vm.last_tick()
        window.choose('Resume')
        window.wait_status('Running')
        self.assertEqual(vm.wait_tick(console), last + 1)
        self.assertEqual(window.possible(),
                         ['Pause', 'Force Reset', 'Force Off'])
        window.close()

    def test_off_and_on(self):
        """In place of the display it says so, and there's a way back on."""
        window, vm = self.window, self.vm
        mark, console = vm.qmp.mark(), vm.console.mark
        window.choose('Force Off')
        window.question('Force Off')
        self.screenshot(window, 'power-off')
        window.confirm('Force Off')
        window.wait_status('Powered off')
        window.wait_off()
        window.shown.find('button', 'Power On', sensitive=True)
        self.screenshot(window, 'powered-off')
        self.assertEqual(window.shown.find_all('drawing area'), [])
        self.assertEqual(vm.qmp.status, 'shutdown')
        self.assertEqual(window.possible(), ['Power On'])
        self.assertNotIn('RESUME', self.done(vm, mark))
        window.program.click('button', 'Power On')
        window.wait_status('Running')
        window.shown.find('drawing area')
        self.assertEqual(window.shown.find_all('notification'), [])
        self.assertEqual(self.done(vm, mark),
                         [ASKED, 'SHUTDOWN', 'STOP', TOLD,
                          ASKED, 'RESET', 'RESUME', TOLD])
        self.wait_new_boot(console)
        window.close()

    def test_off_while_typing(self):
        """What is typed for the machine does not power it on.

        Its power goes while it has mouse and keyboard.
        """
        window, vm = self.window, self.vm
        window.desk.screen.click(*window.display().centre)
        window.shown.find('label', re.compile('.* to ungrab mouse'))
        mark = vm.qmp.mark()
        run = spicypower.run(vm.uri, 'off')
        self.assertEqual(run.code, 0, run.err)
        window.wait_status('Powered off')
        button = window.shown.find('button', 'Power On', sensitive=True)
        for key in ('enter', 'space', 'n', 'alt+n'):
            window.press(key)
        # nothing of that has been asked for: this is
        window.shown.find('label', re.compile('mouse: *server, agent: *no'))
        self.assertNotIn('focused', button.states)
        window.program.click('button', 'Power On')
        window.wait_status('Running')
        self.assertEqual(self.done(vm, mark).count(ASKED), 2)
        # what is typed is for the machine again
        window.shown.find('panel', focused=True)
        window.shown.find('drawing area')
        window.close()

    def test_two_people(self):
        """Each sees at once what the other does."""
        window, vm = self.window, self.vm
        other = self.spicy(vm, DESKS[1], name='other')
        other.wait_status('Running')
        window.choose('Pause')
        other.wait_status('Paused')
        # it is already open when things change
        other.program.click('menu', 'Power')
        other.shown.find('menu item', 'Resume', sensitive=True)
        window.choose('Resume')
        other.shown.find('menu item', 'Pause', sensitive=True)
        other.shown.find('menu item', 'Resume', sensitive=False)
        other.close_menu()
        # the one is asked about what the other has done meanwhile
        window.choose('Force Reset')
        alert = window.question('Force Reset')
        window.shown.find('button', 'Force Reset', under=alert, sensitive=True)
        other.choose('Force Off')
        other.confirm('Force Off')
        window.shown.find('button', 'Force Reset', under=alert,
                          sensitive=False)
        mark = vm.qmp.mark()
        window.press('alt+e')
        window.program.click('button', 'Cancel', under=alert)
        window.shown.wait_none('alert')
        for each in (window, other):
            each.wait_status('Powered off')
            each.wait_off()
        other.program.click('button', 'Power On')
        for each in (window, other):
            each.wait_status('Running')
        self.assertEqual(self.done(vm, mark),
                         [ASKED, 'RESET', 'RESUME', TOLD])
        other.close()
        window.close()

    def test_names(self):
        """Each control has a name; no two of a menu have the same key."""
        window = self.window
        shown = window.shown

        def check(where, nodes, expected):
            self.assertEqual([node.name for node in nodes], expected, where)
            self.assertEqual(shown.ambiguous(nodes), [], where)

        def check_all_named():
            for node in shown.nodes():
                if node.role in CONTROLS:
                    self.assertNotEqual(node.name, '', f'in\n{shown}')

        bar = shown.find('menu bar')
        check('menu bar', shown.find_all('menu', under=bar),
              ['File', 'Edit', 'View', 'Input', 'Options', 'Power', 'Help'])
        window.program.click('menu', 'Power')
        menu = shown.find('menu', 'Power')
        shown.find('menu item', under=menu)
        check('Power menu', shown.find_all('menu item', under=menu), ITEMS)
        check_all_named()
        window.close_menu()
        for item in ('Force Reset', 'Force Off'):
            window.choose(item)
            alert = shown.find('alert', active=True)
            check_all_named()
            check(item, shown.find_all('button', under=alert),
                  ['Cancel', item])
            window.press('Escape')
            shown.wait_none('alert')
        # the state is there in words, for those who see it and for others
        status, = window.statuses()
        self.assertEqual(status.name, 'Power state: Running')
        window.close()


class Screen(ButtonsCase):
    """Machines with other options. There is no guest in them."""

    def begin(self, spice='power=on', **options):
        return self.machine(spice, **{'hardware': SCREEN,
                                      'extra': OFF_STAYS, **options})

    def manager(self, vm, **options):
        manager = self.enterContext(Manager(vm, **options))
        self.addCleanup(lambda: self.assertEqual(manager.errors, []))
        return manager

    def window(self, vm, *options, **more):
        """The small viewer, which is another program than spicy."""
        env = {'GI_TYPELIB_PATH':
               places.python_environment()['GI_TYPELIB_PATH']}
        return Window(self, DESKS[0], vm, '/usr/bin/python3',
                      Path(__file__).with_name('gi_window.py'), *options,
                      vm.uri, env=env, **{'name': 'window', **more})

    def test_no_power_control(self):
        """A server without it: nothing of it is to be seen."""
        for number, start in enumerate((self.spicy, self.window)):
            vm = self.begin('', name=f'qemu{number}')
            window = start(vm)
            window.shown.find('drawing area')
            self.check_nothing(window)
            vm.qmp.execute('stop')
            vm.qmp.execute('system_reset')
            self.check_nothing(window)
            window.press_close(window.shown.find('frame', active=True))
            window.wait_end()

    def check_nothing(self, window):
        self.assertEqual(window.statuses(), [])
        self.assertEqual([node for node in window.shown.find_all('menu')
                          if node.name == 'Power'], [])
        window.shown.find('drawing area')
        self.assertEqual(window.shown.find_all('notification'), [])
        self.assertEqual(window.shown.find_all('button', 'Power On'), [])
        self.assertEqual(window.shown.find_all(
            'label', re.compile('.* powered off')), [])

    def test_some_actions(self):
        """Only what is configured is in the menu."""
        vm = self.begin('power=on,actions=pause:power-off:continue')
        window = self.spicy(vm)
        window.wait_status('Running')
        self.assertEqual(window.items(), {
            'Pause': True, 'Resume': False, 'Force Off': True})
        window.choose('Force Off')
        window.confirm('Force Off')
        window.wait_off()
        self.assertEqual(window.shown.find_all('button', 'Power On'), [])
        self.assertEqual(window.possible(), [])
        window.close()

    def test_sleep(self):
        """A machine that its guest has suspended is woken up."""
        with qtest_listener(self) as (options, suspend):
            vm = self.begin(hardware=PC + options)
            suspend()
        window = self.spicy(vm)
        window.wait_status('Suspended')
        self.assertEqual(window.items(), {
            'Pause': True, 'Resume': False, 'Force Reset': True,
            'Force Off': True, 'Wake Up': True})
        mark = vm.qmp.mark()
        window.choose('Wake Up')
        window.wait_status('Running')
        vm.qmp.wait_event('WAKEUP', mark)
        self.assertEqual(window.items(), {
            'Pause': True, 'Resume': False, 'Force Reset': True,
            'Force Off': True, 'Power On': False})
        window.close()

    def test_name_of_the_machine(self):
        """The question says which machine it is about."""
        for number, (option, name) in enumerate((
                ((), re.compile(r'“QEMU [\d.]+”')),
                (('-name', '<b>%s</b> & "c"'),
                 re.compile('“<b>%s</b> & "c"”')))):
            with self.subTest(name):
                vm = self.begin(extra=(*OFF_STAYS[:2], *option),
                                name=f'qemu{number}')
                window = self.spicy(vm, name=f'spicy{number}')
                window.wait_status('Running')
                for item, words in (('Force Reset', r'Reset {}\?'),
                                    ('Force Off', r'Power off {}\?')):
                    window.choose(item)
                    window.confirm(item, re.compile(
                        words.format(name.pattern)))
                    if item == 'Force Reset':
                        window.wait_status(re.compile('.* reset at .*'))
                window.shown.find('label', re.compile(
                    name.pattern + ' is powered off'))
                window.close()

    def test_languages(self):
        """No two items have the same name or key in any language, either."""
        vm = self.begin()
        for language in LANGUAGES:
            with self.subTest(language):
                window = self.spicy(vm, name=language,
                                    env=DESKS[0].language(language))
                shown = window.shown
                shown.find('status bar', re.compile('(?!Power state).*: .*'))
                for place in (None, *map(ITEMS.index, QUESTIONS)):
                    window.program.click('menu', 'Power')
                    menu = shown.find('menu', 'Power')
                    shown.find('menu item', under=menu)
                    items = shown.find_all('menu item', under=menu)
                    self.assertEqual(len(items), len(ITEMS))
                    self.assertEqual(shown.ambiguous(items), [])
                    self.assertEqual({node.name for node in items}
                                     & set(ITEMS), set())
                    if place is None:
                        window.close_menu()
                        continue
                    item = window.program.click('menu item',
                                                items[place].name)
                    alert = shown.find('alert', active=True)
                    buttons = shown.find_all('button', under=alert)
                    self.assertEqual(buttons[1].name, item.name)
                    self.assertEqual(shown.ambiguous(buttons), [])
                    self.assertIn('default', buttons[0].states)
                    window.press('Escape')
                    shown.wait_none('alert')
                window.close()

    def test_read_only(self):
        """Who may only look on sees the state, and no button."""
        for number, name in enumerate(('spicy', 'window')):
            with self.subTest(name):
                vm = self.begin(name=f'qemu{number}')
                mark = vm.qmp.mark()
                if name == 'spicy':
                    window = Window(self, DESKS[0], vm, SPICY, '--read-only',
                                    f'--uri={vm.uri}')
                else:
                    window = self.window(vm, '--read-only')
                window.wait_status('Running, you may only watch')
                self.assertEqual(window.shown.find_all('menu', 'Power'), [])
                run = spicypower.run(vm.uri, 'off')
                self.assertEqual(run.code, 0, run.err)
                window.wait_status('Powered off, you may only watch')
                window.wait_off()
                self.assertEqual(window.shown.find_all('button', 'Power On'),
                                 [])
                window.press('alt+n')
                window.press('alt+p')
                run = spicypower.run(vm.uri, 'on')
                self.assertEqual(run.code, 0, run.err)
                window.wait_status('Running, you may only watch')
                self.assertEqual(self.done(vm, mark).count(ASKED), 2)
                window.press_close(window.shown.find('frame', active=True))
                window.wait_end()

    def test_not_allowed(self):
        """Who may not sees the state, and that once; then he may, or not."""
        vm = self.begin()
        window = self.spicy(vm)
        window.wait_status('Running')
        for _ in range(2):
            vm.qmp.execute('spice-power-set-allowed', actions=[])
            window.wait_status('Running, you may only watch')
            self.assertEqual(window.shown.find_all('menu', 'Power'), [])
            vm.qmp.execute('spice-power-set-allowed', actions=['pause'])
            window.wait_status('Running')
            self.assertEqual(window.possible(), ['Pause'])
        window.close()

    def test_replaced(self):
        """Somebody else takes the place: that is said before all goes."""
        vm = self.begin()
        window = self.spicy(vm)
        window.wait_status('Running')
        with wire.Client(vm.connect()) as other:
            other.wait_init()
            alert = window.shown.find('alert', active=True)
            window.shown.find('label', 'Another client has connected to the '
                              'server, and taken the place of this one.',
                              under=alert)
            self.screenshot(window, 'replaced')
            other.fence()
            window.press('Escape')
            window.wait_end()
            other.fence()

    def test_refused(self):
        """An error is shown as the server has worded it."""
        vm = self.begin('power=managed', probe=True)
        self.manager(vm, reasons={
            'reset': 'Ask the <operator> of "db-1" first: +49 & 30'}).work()
        window = self.spicy(vm)
        window.wait_status('Running')
        mark = vm.qmp.mark()
        window.choose('Force Reset')
        window.confirm('Force Reset')
        said = window.error('The machine was not reset')
        self.assertIn('Ask the <operator> of "db-1" first: +49 & 30', said)
        self.screenshot(window, 'refused')
        self.assertEqual(self.done(vm, mark), [ASKED, TOLD])
        window.press('Escape')
        window.shown.wait_none('alert')
        window.wait_status('Running')
        self.check_pause(window, vm.qmp.mark())
        window.close()

    def test_pending(self):
        """While it waits it says so, and asks for nothing else."""
        vm = self.begin('power=managed', probe=True)
        manager = self.manager(vm)
        window = self.spicy(vm)
        window.wait_status('Running')
        window.choose('Force Reset')
        window.confirm('Force Reset')
        window.wait_status('Resetting the machine…')
        asked, _ = manager.wait_request()
        self.assertEqual(window.possible(), [])
        manager.reply(asked['id'], *manager.carry_out('reset'))
        window.wait_status(re.compile('Running, reset at .*'))
        self.assertEqual(window.possible(),
                         ['Pause', 'Force Reset', 'Force Off'])
        window.close()

    def test_no_display(self):
        """A machine that shows nothing has a window, and its buttons."""
        vm = self.begin(hardware=case.EMPTY)
        window = self.spicy(vm)
        window.wait_status('Running')
        mark = vm.qmp.mark()
        window.choose('Force Reset')
        window.confirm('Force Reset')
        window.wait_status(re.compile('Running, reset at .*'))
        window.choose('Force Off')
        window.confirm('Force Off')
        window.wait_off()
        window.program.click('button', 'Power On')
        window.shown.wait_none('notification')
        self.assertIn('RESET', vm.qmp.event_names(mark))
        window.close()
        # and when it is off from the beginning
        vm.qmp.execute('set-action', reboot='shutdown')
        vm.qmp.execute('system_reset')
        window = self.spicy(vm, name='off')
        window.wait_off()
        window.close()

    def test_back_while_resizing(self):
        """The display comes back just when the window is being resized."""
        vm = self.begin()
        spicypower.run(vm.uri, 'off')
        window = self.window(vm, '--resize')
        window.wait_off()
        window.program.click('button', 'Resize')
        window.wait_status('Running')
        window.shown.find('drawing area')
        window.press_close(window.shown.find('frame', active=True))
        window.wait_end()

    def test_asked_twice(self):
        """One question at a time; another action does not replace it."""
        vm = self.begin()
        window = self.window(vm, '--twice')
        window.wait_status('Running')
        mark = vm.qmp.mark()
        for keys in 'Escape', 'alt+e':
            window.program.click('button', 'Twice')
            window.question('Force Reset')
            self.assertEqual(len(window.shown.find_all('alert')), 1)
            window.press(keys)
            window.shown.wait_none('alert')
        window.wait_status(re.compile('Running, reset at .*'))
        self.assertEqual(self.done(vm, mark), [ASKED, 'RESET', TOLD])
        window.press_close(window.shown.find('frame', active=True))
        window.wait_end()

    def test_server_goes(self):
        """The server dies, whatever they are doing: they end, and well.

        What somebody has to be told is read first.
        """
        for number, (start, situation) in enumerate((
                *((self.spicy, situation) for situation in (
                    'nothing', 'pending', 'menu', 'question', 'error', 'off')),
                (self.window, 'nothing'), (self.window, 'pending'))):
            with self.subTest(f'{start.__name__}: {situation}'), \
                    contextlib.ExitStack() as stack:
                vm = self.begin('power=managed', probe=True,
                                name=f'qemu{number}')
                reasons = {'reset': 'No'} if situation == 'error' else {}
                manager = stack.enter_context(Manager(vm, reasons=reasons))
                window = start(
                    vm, name=f'viewer{number}',
                    excused=OPEN_MENU if situation == 'menu' else TOO_LATE)
                window.wait_status('Running')
                if situation == 'pending':
                    window.choose('Pause')
                    manager.wait_request()
                    window.wait_status('Pausing the machine…')
                elif situation == 'menu':
                    window.program.click('menu', 'Power')
                    window.shown.find('menu item', 'Pause')
                elif situation == 'question':
                    window.choose('Force Reset')
                    window.question('Force Reset')
                elif situation == 'error':
                    manager.work()
                    window.choose('Force Reset')
                    window.confirm('Force Reset')
                    window.error('The machine was not reset')
                elif situation == 'off':
                    vm.qmp.execute('set-action', reboot='shutdown')
                    vm.qmp.execute('system_reset')
                    window.wait_off()
                vm.process.kill()
                if situation == 'pending':
                    self.assertEqual(
                        window.error('The machine may have been paused'),
                        'The connection ended before the result')
                if situation in ('pending', 'error'):
                    time.sleep(0.2)
                    self.assertEqual(len(window.shown.find_all('alert')), 1)
                    window.press('Escape')
                window.wait_end()

    def test_closing_does_nothing(self):
        """Who closes the window has not touched the machine."""
        vm = self.begin()
        for number, situation in enumerate(('nothing', 'question')):
            mark = vm.qmp.mark()
            window = self.spicy(vm, name=f'spicy{number}')
            window.wait_status('Running')
            if situation == 'question':
                window.choose('Force Off')
                window.press_close(window.question('Force Off'))
                window.shown.wait_none('alert')
            window.press_close(window.shown.find('frame', active=True))
            window.wait_end()
            vm.qmp.wait_event('SPICE_DISCONNECTED', mark)
            self.assertEqual(self.done(vm, mark), [])
            self.assertEqual(vm.qmp.status, 'running')

    def test_closing_while_it_waits(self):
        """Who closes the window does not want to be told more."""
        vm = self.begin('power=managed', probe=True)
        manager = self.manager(vm)
        window = self.spicy(vm)
        window.choose('Pause')
        window.wait_status('Pausing the machine…')
        manager.wait_request()
        window.close()


def prepare():
    places.need(SPICY)
    desktop.need()


if __name__ == '__main__':
    case.main(prepare)
