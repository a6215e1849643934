#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The console in a browser on screens of several sizes, a phone's among them.

A phone is Chromium's emulation of one: its width, its pixels, and fingers.
"""

import re
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import browser, case, endpoint, liar, places, wire  # noqa: E402
from powertest.manager import Manager           # noqa: E402
from powertest.record import TIMEOUT            # noqa: E402
from powertest.web import PAGES                 # noqa: E402
from test_browser import (FIRMWARE, NO_CONNECTION, TICKET,  # noqa: E402
                          BrowserCase)

PHONES = ((360, 640), (640, 360))
FINGER = 44                     # pixels that it takes to be hit
NAME = 'a_machine_whose_name_is_a_good_deal_longer_than_its_owner_had_thought'
WORDS = f'It is not {NAME}@example.org who may do that before 18:00 o\'clock'
# What is wrong with what can be seen: a list of words
FAULTS = f'''
const faults = [], width = document.documentElement.clientWidth;
const modal = document.querySelector('dialog[open]');
if (document.documentElement.scrollWidth > width)
    faults.push(`${{document.documentElement.scrollWidth}} pixels wide`);
if (modal) {{
    const box = modal.getBoundingClientRect();
    if (box.left < 0 || box.right > width || box.top < 0 ||
        box.bottom > innerHeight || modal.scrollHeight > modal.clientHeight)
        faults.push(`the dialog is ${{box.width}}x${{box.height}}`);
}}
for (const element of (modal || document).querySelectorAll(
        'button, input:not([type=hidden])')) {{
    if (!element.checkVisibility())
        continue;
    element.scrollIntoView({{block: 'nearest'}});
    const box = element.getBoundingClientRect();
    const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    if (box.width < {FINGER} || box.height < {FINGER})
        faults.push(`${{element.id}} is ${{box.width}}x${{box.height}}`);
    if (box.left < 0 || box.right > width ||
        document.elementFromPoint(x, y) !== element)
        faults.push(`${{element.id}} cannot be reached`);
}}
return faults;
'''

# The guest's screen, and a video on it: left, top, width and height
SCREEN, VIDEO = (1600, 1200), (400, 300, 800, 600)
WHERE = ','.join(map(str, VIDEO))
MSG_SURFACE_CREATE, MSG_STREAM_CREATE = 314, 122
# Where the video is on the canvas, by the canvas's own pixels
PLACE = '''
((canvas, video) => {
    const [a, b] = [canvas, video].map(e => e.getBoundingClientRect());
    const scale = canvas.width / a.width;
    return [b.left - a.left, b.top - a.top, b.width, b.height].map(
        n => Math.round(n * scale));
})(document.querySelector('canvas'), document.querySelector('video'))
'''


class ScreenCase(BrowserCase):
    def phone(self, width=360, height=640):
        self.browser.command('Emulation.setDeviceMetricsOverride', width=width,
                             height=height, deviceScaleFactor=2, mobile=True)
        self.browser.command('Emulation.setTouchEmulationEnabled',
                             enabled=True, maxTouchPoints=5)

    def tap(self, selector):
        box = self.browser.driver.execute_script(
            'const element = document.querySelector(arguments[0]);'
            "element.scrollIntoView({block: 'nearest'});"
            'return element.getBoundingClientRect();', selector)
        point = {'x': box['x'] + box['width'] / 2,
                 'y': box['y'] + box['height'] / 2}
        for kind, points in ('touchStart', [point]), ('touchEnd', []):
            self.browser.command('Input.dispatchTouchEvent', type=kind,
                                 touchPoints=points)


class Phone(ScreenCase):
    excused = NO_CONNECTION

    def check(self, what):
        for size in PHONES:
            with self.subTest(what, size=size):
                self.phone(*size)
                self.assertEqual(self.browser.driver.execute_script(FAULTS),
                                 [])

    def test_sizes(self):
        """Nothing is wider than a phone, and a finger finds each button"""
        vm = self.behind('power=managed', probe=True, hardware=FIRMWARE,
                         extra=('-name', NAME))
        off = self.behind(hardware=FIRMWARE, name='off',
                          extra=('-action', 'shutdown=pause'))
        manager = self.enterContext(Manager(vm))
        web = self.web(vm, off)
        page = self.page(web, password=None)
        page.wait_shown('#ticket')
        self.check('the password')
        page.log_in('wrong')
        page.wait_wrong()
        self.check('a wrong one')
        page.log_in(TICKET)
        page.wait_state('Running')
        page.wait_shown('#spice_surface_0')
        self.check('running')
        page.click('#reset')
        page.wait_shown('#question')
        self.check('the question')
        page.click('#question-yes')
        manager.reply(manager.wait_request()[0]['id'], 'denied', WORDS)
        page.wait_shown('#outcome')
        self.check('the outcome')
        vm.close()
        page.wait_data(connection='waiting')
        self.check('waiting')
        page = self.page(web, 'vm2')
        page.press('power-off')
        page.wait_shown('#off')
        self.check('off')

    def test_typing(self):
        """What a phone's keyboard types are keys of the machine"""
        vm = self.behind(hardware=FIRMWARE,
                         extra=('-trace', 'input_event_key_qcode'))
        page = self.page(self.web(vm))
        page.wait_state('Running')
        page.wait_shown('#spice_surface_0')
        # who has no fingers there, has keys
        page.wait_hidden('#keyboard')
        self.phone()
        page.wait_shown('#keyboard')
        self.tap('#keyboard')
        self.browser.until("document.activeElement.id === 'typed'")

        def write(text):
            self.browser.command('Input.insertText', text=text)

        def compose(text):
            self.browser.command('Input.imeSetComposition', text=text,
                                 selectionStart=len(text),
                                 selectionEnd=len(text))
        write('aB')
        self.assert_keys(vm, 'a', 'shift', 'b')
        # a word that the keyboard helps with, and then makes another one
        for text in 't', 'te', 'teh', 'the':
            compose(text)
        write('the ')
        self.assert_keys(vm, 't', 'e', 'h', 'backspace', 'backspace', 'h',
                         'e', 'spc')
        # what has not been typed is not deleted, but what was there before is,
        # however much that is
        write('\u00e9')
        for _ in range(31):
            self.browser.command(
                'Input.dispatchKeyEvent', type='rawKeyDown', key='Backspace',
                windowsVirtualKeyCode=229, commands=['deleteBackward'])
        self.assert_keys(vm, *['backspace'] * 30)
        self.browser.command('Input.dispatchKeyEvent', type='keyDown',
                             key='Enter', text='\r', windowsVirtualKeyCode=13)
        self.assert_keys(vm, 'ret')
        self.tap('#keyboard')
        self.browser.until("document.activeElement.id !== 'typed'")
        self.tap('#ctrl-alt-del')
        self.assert_keys(vm, 'ctrl', 'alt', 'kp_decimal')

    def assert_keys(self, vm, *names):
        """Those, in this order, and they are released."""
        log, deadline = vm.log_dir / 'qemu.log', time.monotonic() + TIMEOUT
        pattern = re.compile(
            r'input_event_key_qcode .*key qcode (\w+), down (\d)')
        while True:
            found = pattern.findall(log.read_text())[self.seen:]
            if len(found) >= 2 * len(names):
                break
            self.assertLess(time.monotonic(), deadline, found)
            time.sleep(0.01)
        self.seen += len(found)
        self.assertEqual([name for name, down in found if down == '1'],
                         list(names))
        self.assertEqual(sorted(name for name, down in found if down == '0'),
                         sorted(names))

    seen = 0


class Video(ScreenCase):
    def test_scaled(self):
        """A video is where it is on the guest's screen, however that is shown"""
        left, top, width, height = VIDEO

        def play(caller):
            caller.let_in()
            if caller.channel == wire.CHANNEL_MAIN:
                caller.greet()
                caller.power()
                caller.send(liar.message(wire.MSG_CHANNELS_LIST, struct.pack(
                    '<IBB', 1, wire.CHANNEL_DISPLAY, 0)))
            else:
                caller.send(liar.message(MSG_SURFACE_CREATE, struct.pack(
                    '<5I', 0, *SCREEN, 32, 1)))
                caller.send(liar.message(MSG_STREAM_CREATE, struct.pack(
                    '<IIBBQ4I4iB', 0, 0, 0, 2, 0, width, height, width, height,
                    top, left, top + height, left + width, 0)))
        page = self.liar(play)
        page.wait_shown('video')
        where = f"JSON.stringify({PLACE.strip()}) === '[{WHERE}]'"
        self.browser.until(where)
        for size in PHONES:
            with self.subTest(size=size):
                self.phone(*size)
                self.browser.until(f'innerWidth === {size[0]} && {where}')
                self.assertLess(self.browser.value(
                    "document.querySelector('canvas').clientWidth"), SCREEN[0])


if __name__ == '__main__':
    case.main(lambda: (places.need(PAGES / 'console.html'),
                       endpoint.prepare(), browser.need()))
