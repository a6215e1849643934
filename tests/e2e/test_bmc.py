#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-gateway between real parts: clients, OpenIPMI's BMC, QEMU as host."""

import fcntl
import itertools
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, case, desktop, places, ports  # noqa: E402
from powertest import spicegtk, spicypower, wire     # noqa: E402
from powertest.record import TIMEOUT                # noqa: E402
from powertest.x11 import Picture                   # noqa: E402

SPICY = places.PREFIX / 'bin' / 'spicy'
SPICY_SCREENSHOT = places.PREFIX / 'bin' / 'spicy-screenshot'
# It keeps what has been freed for some time, and tells what has leaked itself
SANITIZER = 'LSAN_OPTIONS' in os.environ
# What is there while the host has a display
CHANNELS = ('DisplayChannel', 'CursorChannel', 'InputsChannel')
# Messages of the inputs channel
KEY_DOWN, KEY_UP = 101, 102
# What a test that knows the cause would like to see at once
QUICK = {'poll-interval': 0.1, 'idle-poll-interval': 0.1}
# A message instead of the host's picture: light text on a dark background
BACKGROUND, TEXT = 46, 230


class BmcCase(case.PowerTestCase):
    def host(self, **options):
        return self.enterContext(bmc.Host(self.log_dir, **options))

    def ipmi(self, bmc_host, **keys):
        """The configuration for a host with a BMC."""
        return {'power': {'backend': 'ipmi', **QUICK},
                'ipmi': {'host': '127.0.0.1', 'port': bmc_host.lan_port,
                         'user': bmc.USER, 'cipher-suite': 3,
                         'password-file': bmc_host.password_file, **keys},
                'vnc': {'unix-socket': bmc_host.vnc_socket}}

    def endpoint(self, groups, **options):
        return self.enterContext(bmc.Endpoint(self.log_dir, groups, **options))

    def look(self, endpoint):
        """Somebody looks: there is no video for nobody."""
        return self.client(endpoint, caps=())

    def screenshot(self, endpoint, name='screenshot'):
        path = self.log_dir / f'{name}.ppm'
        done = subprocess.run(
            [SPICY_SCREENSHOT, f'--uri={endpoint.uri}', f'--out-file={path}'],
            env=places.environment(), stdin=subprocess.DEVNULL, text=True,
            capture_output=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stderr)
        return Picture.from_ppm(path)

    def wait_channel(self, client, channel):
        """Wait for a list of channels with that one in it."""
        while True:
            body = client.wait(wire.MSG_CHANNELS_LIST).body
            if channel in body[4::2]:
                return

    def keyboard(self, endpoint):
        """A raw client's inputs channel."""
        client = self.client(endpoint, caps=())
        client.send(wire.MSGC_ATTACH_CHANNELS)
        self.wait_channel(client, wire.CHANNEL_INPUTS)
        return self.enterContext(wire.Client(
            endpoint.connect(), caps=(), channel=wire.CHANNEL_INPUTS,
            session=client.session))

    def check_same_picture(self, endpoint, qmp):
        """What a client shows is what the host has drawn."""
        path = self.log_dir / 'screendump.ppm'
        deadline = time.monotonic() + TIMEOUT
        while True:
            qmp.execute('screendump', filename=str(path))
            drawn = Picture.from_ppm(path)
            seen = self.screenshot(endpoint)
            if seen == drawn and len(set(drawn.data)) > 1:
                return drawn
            if time.monotonic() > deadline:
                seen.save(self.log_dir / 'seen.png')
                drawn.save(self.log_dir / 'drawn.png')
                self.fail(f'not the same; see {self.log_dir}')

    def check_growth(self, before, after, rounds, kilobytes):
        """Nothing of each round stays behind."""
        print(f'{rounds} rounds: {before} kB, files; then {after}: '
              f'{kilobytes * 1024 / rounds:.0f} bytes a round would be seen')
        if not SANITIZER:
            self.assertLess(after[0], before[0] + kilobytes, 'kilobytes')
        # a program may be about to start, with its pipes
        self.assertLess(after[1], before[1] + 10, 'open files')

    def desktop(self):
        """A person's, on which displays are not scaled."""
        desk = self.enterContext(desktop.Desktop(self.log_dir))
        settings = desk.directory / 'home' / '.config' / 'spicy' / 'settings'
        settings.parent.mkdir(parents=True)
        settings.write_text('[general]\nscaling=false\n')
        return desk

    def check_on_screen(self, desk, spicy, qmp):
        """What the host has drawn is on the person's screen."""
        path = self.log_dir / 'screendump.ppm'
        deadline = time.monotonic() + TIMEOUT
        while True:
            place = spicy.extents(spicy.shown.find('drawing area'))
            qmp.execute('screendump', filename=str(path))
            drawn = Picture.from_ppm(path)
            screen = desk.screen.picture(place)
            rows = [row for row in range(drawn.height) if len(set(
                drawn.data[row * drawn.width * 3:][:drawn.width * 3])) > 1]
            if rows and drawn.data[rows[0] * drawn.width * 3:][
                    :drawn.width * 3] in screen.data:
                return
            if time.monotonic() > deadline:
                screen.save(self.log_dir / 'screen.png')
                drawn.save(self.log_dir / 'drawn.png')
                self.fail(f'it does not show that; see {self.log_dir}')
            time.sleep(0.05)


def is_message(picture):
    """Background, text, and the shades between, of which there are few."""
    red, green, blue = (picture.data[at::3] for at in range(3))
    return (red == green == blue and
            (min(red), max(red)) == (BACKGROUND, TEXT) and
            0.8 < red.count(BACKGROUND) / len(red) < 0.999)


class Channels(BmcCase):
    """A host that is always there, and is said to be on or off."""

    def setUp(self):
        super().setUp()
        self.run_dir = Path(self.enterContext(tempfile.TemporaryDirectory(
            prefix='spice-power-')))
        self.state = self.run_dir / 'state'

    def say(self, state):
        (self.run_dir / 'new').write_text(state)
        (self.run_dir / 'new').rename(self.state)

    def groups(self, **vnc):
        return {'power': {'backend': 'exec', 'poll-interval': 0.02,
                          'idle-poll-interval': 0.02},
                'exec': {'status': f'cat {self.state}',
                         'power-on': f'cp {self.run_dir}/on {self.state}',
                         'power-off': f'cp {self.run_dir}/off {self.state}'},
                'vnc': {'unix-socket': self.run_dir / 'vnc', **vnc}}

    def screen(self, name='host', password=False):
        """A machine with a display, drawn by its firmware.

        Ours is built without DES, which VNC's password needs: Debian's is not.
        """
        options = ',password=on' if password else ''
        return self.machine(spice='', hardware=(
            '-machine', 'pc', '-accel', 'tcg', '-m', '64', '-nodefaults',
            '-device', 'VGA', '-boot', 'menu=on'), name=name,
            qemu=places.stock_qemu() if password else None,
            extra=('-vnc', f'unix:{self.run_dir}/vnc{options}'))

    def start(self, state='off', **options):
        (self.run_dir / 'on').write_text('on')
        (self.run_dir / 'off').write_text('off')
        self.say(state)
        return self.endpoint(self.groups(), **options)

    def wait_message(self, endpoint, other_than=None):
        """Wait until clients see a message, and return the picture."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            seen = self.screenshot(endpoint)
            if is_message(seen) and seen != other_than:
                return seen
            if time.monotonic() > deadline:
                seen.save(self.log_dir / 'seen.png')
                self.fail(f'not the message; see {self.log_dir}')

    def test_come_and_go(self):
        """Display, cursor and inputs come and go often; main stays."""
        vm = self.screen()
        endpoint = self.start()
        viewer = self.enterContext(spicegtk.Client(
            self.log_dir, endpoint.uri, all_channels=True))
        viewer.wait('event', event='opened', channel='MainChannel')
        person = self.spicy_power(endpoint, '-')
        turns = os.environ.get('SPICE_POWER_TURNS', case.depth(40, 100))
        for turn in range(int(turns)):
            mark = viewer.mark
            self.assertEqual(person.act('on')[0]['result'], 'ok')
            for channel in CHANNELS:
                viewer.wait('event', mark, event='opened', channel=channel)
            if turn % 20 == 0:
                self.check_same_picture(endpoint, vm.qmp)
            mark = viewer.mark
            self.assertEqual(person.act('off')[0]['result'], 'ok')
            for channel in CHANNELS:
                viewer.wait('event', mark, event='closed', channel=channel)
            if turn == 10:
                before = endpoint.resources()
        after = endpoint.resources()
        self.assertEqual([found['event'] for found in viewer.output.since()
                          if found.get('channel') == 'MainChannel'],
                         ['opened'])
        self.assertEqual(viewer.complaints(), [])
        self.assertLess(after[1], before[1] + 10, 'open files')
        if not SANITIZER:
            self.assertLess(after[0], before[0] + 20000, 'kilobytes')
        self.assertEqual(endpoint.end(), 0)

    def test_video_dies(self):
        """The VNC server ends while the host is on, and comes back."""
        vm = self.screen()
        endpoint = self.start('on')
        viewer = self.enterContext(spicegtk.Client(
            self.log_dir, endpoint.uri, all_channels=True))
        mark, _ = viewer.wait('event', event='opened',
                              channel='DisplayChannel')
        mark, _ = viewer.wait('event', event='opened', channel='MainChannel')
        drawn = self.check_same_picture(endpoint, vm.qmp)
        vm.process.kill()
        endpoint.wait_log('no video from the host')
        message = self.wait_message(endpoint)
        self.assertEqual((message.width, message.height),
                         (drawn.width, drawn.height))
        # The reason is the one of the last attempt
        (self.run_dir / 'vnc').unlink()
        endpoint.wait_log(f'{self.run_dir}/vnc: Could not connect: '
                          'No such file')
        self.wait_message(endpoint, other_than=message)
        log = endpoint.log.mark
        vm = self.screen('host again')
        endpoint.wait_log(': video from the host', log)
        self.check_same_picture(endpoint, vm.qmp)
        viewer.wait('event', mark, event='opened', channel='InputsChannel')
        self.assertNotIn(('closed', 'DisplayChannel'), [
            (found.get('event'), found.get('channel'))
            for found in viewer.output.since(mark)])
        self.say('off')
        viewer.wait('event', mark, event='closed', channel='DisplayChannel')
        self.assertEqual(viewer.complaints(), [])

    def test_no_video(self):
        """There is no VNC server, then one that hangs up, and then another."""
        endpoint = self.start('on')
        viewer = self.enterContext(spicegtk.Client(
            self.log_dir, endpoint.uri, all_channels=True))
        mark, _ = viewer.wait('event', event='opened',
                              channel='DisplayChannel')
        message = self.wait_message(endpoint)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.run_dir / 'vnc'))
            other.listen()
            other.settimeout(TIMEOUT)
            other.accept()[0].close()
            endpoint.wait_log('has closed the connection while logging in')
        self.wait_message(endpoint, other_than=message)
        (self.run_dir / 'vnc').unlink()
        vm = self.screen()
        endpoint.wait_log(': video from the host')
        self.check_same_picture(endpoint, vm.qmp)
        self.say('off')
        viewer.wait('event', mark, event='closed', channel='DisplayChannel')
        self.assertEqual(viewer.complaints(), [])

    def test_unknown(self):
        """It may be the way to the BMC that is broken: there is a display."""
        vm = self.screen()
        endpoint = self.start('unknown')
        self.look(endpoint)
        endpoint.wait_log(': video from the host')
        self.check_same_picture(endpoint, vm.qmp)

    def test_vnc_password(self):
        """A wrong one, none, and the right one."""
        places.need_stock()
        vm = self.screen(password=True)
        vm.qmp.execute('set_password', protocol='vnc', password='vncpass1')
        (self.run_dir / 'wrong').write_text('vncpass2')
        (self.run_dir / 'right').write_text('vncpass1')
        self.say('on')
        for name, message in (('wrong', 'does not accept the password'),
                              (None, 'wants a password'),
                              ('right', 'video from the host')):
            keys = {'password-file': self.run_dir / name} if name else {}
            with bmc.Endpoint(self.log_dir, self.groups(**keys),
                              name=f'spice-gateway-{name}') as endpoint:
                self.look(endpoint)
                endpoint.wait_log(message)
                self.assertNotIn('vncpass', '\n'.join(endpoint.log.since()))
                self.assertNotIn(b'vncpass', Path(
                    f'/proc/{endpoint.process.pid}/cmdline').read_bytes())

    def test_keys_and_mouse(self):
        """What is typed gets to the host, also when it has been off."""
        vm = self.screen()
        endpoint = self.start('on')
        client = self.client(endpoint, caps=())
        client.send(wire.MSGC_ATTACH_CHANNELS)
        for _ in range(2):
            self.wait_channel(client, wire.CHANNEL_INPUTS)
            with wire.Client(endpoint.connect(), caps=(),
                             channel=wire.CHANNEL_INPUTS,
                             session=client.session) as keys:
                self.check_keys(vm, keys)
                self.say('off')
                keys.until_end()
            self.say('on')

    def check_keys(self, vm, keys):
        """Control, Alt, Delete: the firmware resets, as a real one does.

        Keys that come while it looks for a keyboard can make it do without
        one: then it is given another try.
        """
        def is_reset(event):
            return event['event'] == 'RESET' and event['data']['guest']

        mark = vm.qmp.mark()
        deadline = time.monotonic() + TIMEOUT
        turn = 0
        while not any(map(is_reset, vm.qmp.events.since(mark))):
            self.assertLess(time.monotonic(), deadline)
            turn += 1
            if turn % 25 == 0:
                print('the firmware has no keyboard, it is reset')
                vm.qmp.execute('system_reset')
                vm.qmp.events.quiet(is_reset, 2)
            for code in 0x1d, 0x38, 0x53e0:
                keys.send(KEY_DOWN, struct.pack('<I', code))
            for code in 0x9d, 0xb8, 0xd3e0:
                keys.send(KEY_UP, struct.pack('<I', code))
            vm.qmp.events.quiet(is_reset, 0.2)

    def test_spicy(self):
        """One who connects while the host is off has a window, and a button.

        The display comes into it, and goes again.
        """
        desk = self.desktop()
        vm = self.screen()
        endpoint = self.start()
        spicy = desk.run(SPICY, f'--uri={endpoint.uri}')
        shown = spicy.shown
        for turn in range(3):
            shown.find('status bar', 'Power state: Powered off')
            spicy.click('button', re.compile('.*Power On'))
            shown.find('status bar', 'Power state: Running')
            self.check_on_screen(desk, spicy, vm.qmp)
            self.say('off')
        shown.find('status bar', 'Power state: Powered off')
        self.assertEqual(len(shown.find_all('frame')), 1)
        spicy.click('menu', 'File')
        spicy.click('menu item', 'Close')
        self.assertEqual(spicy.wait_exit(), 0)

    def test_spicy_not_known(self):
        """There is a window, too, when nobody knows whether the host is on."""
        desk = self.desktop()
        endpoint = self.endpoint({
            'power': {'backend': 'exec', **QUICK},
            'exec': {'status': 'sh -c "echo no answer >&2; exit 1"',
                     'power-on': 'true'}})
        endpoint.wait_log("power state: unknown")
        spicy = desk.run(SPICY, f'--uri={endpoint.uri}')
        spicy.shown.find('status bar', 'Power state unknown')
        spicy.click('menu', 'File')
        spicy.click('menu item', 'Close')
        self.assertEqual(spicy.wait_exit(), 0)


class Hostile(BmcCase):
    """A VNC server that does what none should."""

    COLOUR = 0x336699

    def setUp(self):
        super().setUp()
        self.vnc_socket = Path(self.enterContext(tempfile.TemporaryDirectory(
            prefix='spice-power-'))) / 'vnc'

    def server(self, **options):
        return self.enterContext(bmc.VncServer(self.vnc_socket, **options))

    def start(self, **vnc):
        """One whose video somebody looks at, from its beginning on."""
        endpoint = self.endpoint({
            'power': {'backend': 'exec', **QUICK},
            'exec': {'status': 'echo on', 'power-off': 'true'},
            'vnc': vnc or {'unix-socket': self.vnc_socket}})
        self.look(endpoint)
        return endpoint

    def check_shown(self, endpoint, colour, size):
        """What clients see is all of one colour."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            seen = self.screenshot(endpoint)
            if ((seen.width, seen.height) == size and
                    seen.data == colour.to_bytes(3, 'big') * (
                        seen.width * seen.height)):
                return
            if time.monotonic() > deadline:
                seen.save(self.log_dir / 'seen.png')
                self.fail(f'it does not show that; see {self.log_dir}')

    def check_still_good(self, endpoint, server):
        """What comes next is right, and shown."""
        server.accept()
        server.update(server.fill(self.COLOUR))
        self.check_shown(endpoint, self.COLOUR, server.size)

    def test_size(self):
        """A display that takes too much memory."""
        server = self.server(size=(8192, 8192))
        endpoint = self.start()
        self.assertRaises(EOFError, server.accept)
        endpoint.wait_log("the VNC server's display has 8192 x 8192 pixels")
        self.assertEqual([line for line in endpoint.log.since()
                          if 'video from the host:' in line and
                          'no video' not in line], [])
        server.size = (64, 48)
        server.accept()
        server.update(server.fill(self.COLOUR))
        endpoint.wait_log(': video from the host: test, 64 x 48')
        server.update(server.rectangle(server.DESKTOP_SIZE, 0, 0, 8000, 8000))
        endpoint.wait_log("the VNC server's display has 8000 x 8000 pixels")
        self.check_still_good(endpoint, server)

    def test_pixel_format(self):
        """Pixels of 0 bits, and colours that are not in them; then others.

        There are more of them in test-vnc.
        """
        server = self.server()
        endpoint = self.start()
        for pixels in ((0, 24, 0, 1, 255, 255, 255, 16, 8, 0),
                       (16, 16, 0, 1, 31, 0, 31, 11, 5, 0)):
            with self.subTest(pixels=pixels):
                server.accept()
                server.update(server.fill(0))
                mark = endpoint.log.mark
                width, height = server.size
                server.update(
                    server.rectangle(server.WMVI, 0, 0, width, height,
                                     server.pixels(*pixels)),
                    server.rectangle(server.RAW, 0, 0, width, height,
                                     bytes(width * height * 32)))
                endpoint.wait_log('in a way that spice-gateway does not take',
                                  mark)
        server.accept()
        server.update(
            server.rectangle(server.WMVI, 0, 0, *server.size, server.pixels(
                16, 16, 0, 1, 31, 63, 31, 11, 5, 0)))
        server.update(
            server.rectangle(server.RAW, 0, 0, *server.size,
                             b'\0\xf8' * (server.size[0] * server.size[1])))
        self.check_shown(endpoint, 0xff0000, server.size)

    def test_big_cursor(self):
        """A cursor of 9 MB is not shown; the picture is."""
        server = self.server()
        endpoint = self.start()
        server.accept()
        server.update(server.fill(0))
        endpoint.wait_log(': video from the host')
        before = endpoint.resources()
        side = 1536
        server.update(server.rectangle(
            server.RICH_CURSOR, 0, 0, side, side, bytes(side * side * 4),
            bytes(side // 8 * side)))
        server.update(server.fill(self.COLOUR))
        self.check_shown(endpoint, self.COLOUR, server.size)
        after = endpoint.resources()
        print(f'{before[0]} kB, then {after[0]} kB')
        if not SANITIZER:
            # libgvnc has it, and nobody else
            self.assertLess(after[0], before[0] + 30000, 'kilobytes')

    def test_overlapping(self):
        """Drawings of which a row stays visible each: memory has a limit.

        The SPICE library keeps what is not covered, 360 MB here, unless told.
        """
        server = self.server(size=(1024, 832))
        endpoint = self.start()
        server.accept()
        server.update(server.fill(0))
        endpoint.wait_log(': video from the host')
        before = endpoint.resources()
        height, rows = server.size[1], 128
        top = height - rows
        for row in range(top + 1):
            server.update(server.fill(row, y=row, height=rows))
            server.wait(server.UPDATE_REQUEST)
        after = endpoint.resources()
        expected = b''.join(min(row, top).to_bytes(3, 'big') * server.size[0]
                            for row in range(height))
        deadline = time.monotonic() + TIMEOUT
        while self.screenshot(endpoint).data != expected:
            self.assertLess(time.monotonic(), deadline)
        print(f'{before[0]} kB, then {after[0]} kB')
        if not SANITIZER:
            self.assertLess(after[0], before[0] + 60000, 'kilobytes')

    def test_hangs(self):
        """One that says nothing for long is asked, and then given up."""
        server = self.server()
        endpoint = self.start()
        server.accept()
        asked = struct.pack('>B4H', 0, 0, 0, 1, 1)
        for answers in True, False:
            server.update(server.fill(self.COLOUR))
            while server.wait(server.UPDATE_REQUEST) != asked:
                pass
            if answers:
                server.update(server.fill(0, width=1, height=1))
                endpoint.log.quiet(lambda line: 'no video' in line, 11)
        endpoint.wait_log('no video from the host: the VNC server does not'
                          ' answer')
        self.check_still_good(endpoint, server)

    def test_slow(self):
        """A picture that takes long to come is no server that hangs."""
        server = self.enterContext(bmc.VncServer())
        host, port = server.address
        endpoint = self.start(host=host, port=port)
        server.accept()
        width, height = server.size
        server.send(struct.pack('>BxH', 0, 1),
                    server.rectangle(server.RAW, 0, 0, width, height))
        parts = case.depth(8, 16)
        for _ in range(parts):
            server.send(bytes(width * height * 4 // parts))
            time.sleep(2)
        endpoint.wait_log(': video from the host')
        self.check_shown(endpoint, 0, server.size)

    def test_stops_reading(self):
        """What is typed for one that does not read has an end."""
        server = self.server()
        endpoint = self.start()
        server.accept()
        server.update(server.fill(0))
        keys = self.keyboard(endpoint)
        typed = (keys.frame(KEY_DOWN, struct.pack('<I', 0x1e)) +
                 keys.frame(KEY_UP, struct.pack('<I', 0x9e)))
        before = endpoint.resources()
        highest = before[0]
        try:
            for _ in range(300):
                keys.send_raw(1000 * typed)
                highest = max(highest, endpoint.resources()[0])
        except (BrokenPipeError, ConnectionResetError):
            pass        # on a busy machine the keyboard has gone before
        print(f'{before[0]} kB, then {highest} kB')
        if not SANITIZER:
            # libgvnc would have 4800 for it
            self.assertLess(highest, before[0] + 2000, 'kilobytes')
        endpoint.wait_log('the VNC server does not answer')
        self.check_still_good(endpoint, server)

    def test_leds(self):
        """Num Lock and Caps Lock are the host's, whenever they change."""
        server = self.server()
        endpoint = self.start()
        viewer = self.enterContext(spicegtk.Client(
            self.log_dir, endpoint.uri, all_channels=True))
        server.accept()
        server.update(server.fill(0))
        mark, _ = viewer.wait('event', event='opened', channel='InputsChannel')
        # SPICE's and VNC's numbers of the same
        for leds in 2, 6, 0:
            server.update(server.rectangle(server.LEDS, 0, 0, 1, 1,
                                           bytes([leds])))
            mark, _ = viewer.wait('modifiers', mark, modifiers=leds)
        self.assertEqual([line for line in endpoint.log.since()
                          if 'CRITICAL' in line], [])

    def test_repeated_shift(self):
        """A key that repeats while it's held is let go once."""
        server = self.server()
        endpoint = self.start()
        server.accept()
        server.update(server.fill(0))
        keys = self.keyboard(endpoint)
        for code in 0x2a, 0x2a, 0x2a, 0x1e, 0x9e, 0xaa, 0x1e, 0x9e:
            keys.send(KEY_UP if code & 0x80 else KEY_DOWN,
                      struct.pack('<I', code))
        found = []
        while len(found) < 8:
            down, keysym = struct.unpack('>B2xI', server.wait(server.KEY))
            found.append((down, keysym))
        shift = 0xffe1
        self.assertEqual(found, [(1, shift)] * 3 + [
            (1, ord('A')), (0, ord('A')), (0, shift),
            (1, ord('a')), (0, ord('a'))])


class Lookers(BmcCase):
    """Video is for those who look."""

    # what the gateway waits, in seconds, when the last one has gone
    LOOK = 10

    def setUp(self):
        super().setUp()
        self.run_dir = Path(self.enterContext(tempfile.TemporaryDirectory(
            prefix='spice-power-')))
        for state in 'on', 'off':
            (self.run_dir / state).write_text(state)
        state = self.run_dir / 'state'
        state.write_text('on')
        self.server = self.enterContext(bmc.VncServer(self.run_dir / 'vnc'))
        self.gateway = self.endpoint({
            'power': {'backend': 'exec', 'poll-interval': 0.02},
            'exec': {'status': f'cat {state}',
                     'power-on': f'cp {self.run_dir}/on {state}',
                     'power-off': f'cp {self.run_dir}/off {state}'},
            'vnc': {'unix-socket': self.server.address}})
        # One who only asks for actions
        self.person = self.spicy_power(self.gateway, '-')
        self.person.wait_status(state='on')

    def act(self, action):
        self.assertEqual(self.person.act(action)[0]['result'], 'ok')

    def show(self):
        """The connection that has been made has a picture."""
        mark = self.gateway.log.mark
        self.server.accept()
        self.server.update(self.server.fill(0x336699))
        self.gateway.wait_log(': video from the host', mark)

    def test_one_connection(self):
        """None for nobody, one for two, and a moment longer than they look."""
        self.assertFalse(self.server.has_caller())
        first = self.look(self.gateway)
        self.show()
        second = self.look(self.gateway)
        second.send(wire.MSGC_ATTACH_CHANNELS)
        self.wait_channel(second, wire.CHANNEL_INPUTS)
        self.act('off')
        self.server.until_end()
        self.assertFalse(self.server.has_caller())
        self.act('on')
        self.show()
        first.close()
        begin = time.monotonic()
        second.close()
        self.server.until_end()
        took = time.monotonic() - begin
        print(f'{took:.1f} s after the last one')
        self.assertGreater(took, self.LOOK - 0.1)
        self.act('off')
        self.act('on')
        self.assertFalse(self.server.has_caller())
        self.look(self.gateway)
        self.show()
        self.assertFalse(self.server.has_caller())
        self.assertEqual([line for line in self.gateway.log.since()
                          if 'no video' in line], [])

    def test_comes_back(self):
        """One who comes back in that moment finds the same connection."""
        for _ in range(2):
            viewer = self.look(self.gateway)
            if not self.server.peer:
                self.show()
            viewer.send(wire.MSGC_ATTACH_CHANNELS)
            self.wait_channel(viewer, wire.CHANNEL_INPUTS)
            viewer.close()
        self.assertFalse(self.server.has_caller())


class Exec(BmcCase):
    """Programs of the administrator's, and the configuration."""

    def groups(self, status='echo off', **keys):
        return {'power': {'backend': 'exec', 'poll-interval': 0.02,
                          'idle-poll-interval': 0.02,
                          'query-timeout': 2, 'action-timeout': 1},
                'exec': {'status': status, **keys}}

    def test_failures(self):
        """Each way to fail has its reason, and there is one result."""
        endpoint = self.endpoint(self.groups(**{
            'power-on': 'sh -c "echo the fuse is blown >&2; exit 3"',
            'reset': 'true', 'power-off': 'false'}))
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off')
        result, _ = client.act('on')
        self.assertEqual((result['result'], result['message']),
                         ('failed', 'the fuse is blown'))
        result, _ = client.act('reset')
        self.assertEqual(result['result'], 'wrong-state')
        result, _ = client.act('off')
        self.assertEqual(result['result'], 'ok', 'it is off')

    def test_does_not_follow(self):
        """A program that says it's done, and a host that does not move."""
        endpoint = self.endpoint(self.groups(**{'power-on': 'true'}))
        client = self.spicy_power(endpoint, '-')
        status = client.wait_status(state='off')
        self.assertEqual(status['allowed'], ['power-on'])
        result, _ = client.act('on')
        self.assertEqual(result['result'], 'failed')
        self.assertIn('did not follow within 1 second', result['message'])

    def test_time_out(self):
        """A program that hangs is killed, with all that it has started."""
        pids = self.log_dir / 'pids'
        endpoint = self.endpoint(self.groups(**{
            'power-on': f'sh -c "sleep 1000 & echo $! >{pids}; wait"'}))
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off')
        result, _ = client.act('on')
        self.assertEqual(result['result'], 'failed')
        self.assertIn('no answer within 1 second', result['message'])
        deadline = time.monotonic() + TIMEOUT
        stat = Path(f'/proc/{pids.read_text().strip()}/stat')
        while stat.exists() and stat.read_text().split()[2] != 'Z':
            self.assertLess(time.monotonic(), deadline)

    def test_watch(self):
        """A program that tells each change is not asked."""
        pipe = self.log_dir / 'pipe'
        os.mkfifo(pipe)
        endpoint = self.endpoint({
            'power': {'backend': 'exec'},
            'exec': {'watch': f'cat {pipe}', 'power-on': 'true'}})
        client = self.spicy_power(endpoint, 'monitor')
        with open(pipe, 'w') as told:
            for state in 'off', 'on', 'paused', 'off':
                mark = client.output.mark
                print(state, file=told, flush=True)
                client.wait_state(state, mark)
            mark = client.output.mark
        client.wait_state('unknown', mark)

    def test_watch_is_newer(self):
        """What has been told meanwhile is not undone by an older answer."""
        told, question = self.log_dir / 'told', self.log_dir / 'question'
        os.mkfifo(told)
        os.mkfifo(question)

        def asked():
            """Wait until the state is asked for; the pipe for the answer."""
            pipe = open(question, 'w')
            os.mkfifo(self.log_dir / 'next')
            os.rename(self.log_dir / 'next', question)
            return pipe

        endpoint = self.endpoint(self.groups(f'cat {question}',
                                             watch=f'cat {told}'))
        client = self.spicy_power(endpoint, 'monitor')
        with open(told, 'w') as watch:
            with asked() as answer:
                print('off', file=answer)
            client.wait_state('off', 0)
            with asked() as answer:
                print('on', file=watch, flush=True)
                client.wait_state('on', 0)
                print('off', file=answer)
            # it is asked for at once
            with asked() as answer:
                print('paused', file=answer)
            client.wait_state('paused', 0)
        self.assertEqual([state for state in client.states()
                          if state != 'unknown'], ['off', 'on', 'paused'])

    def test_watch_ends(self):
        """Who can be asked instead is, else there is a reason."""
        broken = 'sh -c "echo the bus is gone >&2; exit 1"'
        endpoint = self.endpoint(self.groups(watch=broken))
        client = self.spicy_power(endpoint, 'monitor')
        client.wait_state('off', 0)
        mark = client.output.mark
        endpoint.wait_log('next try in 2 s')
        self.assertEqual(client.states(mark), [])
        endpoint = self.endpoint({
            'power': {'backend': 'exec'},
            'exec': {'watch': broken, 'power-on': 'true'}},
            name='spice-gateway-watch')
        endpoint.wait_log('next try in')
        client = self.spicy_power(endpoint, '-', name='spicy-power-watch')
        client.wait_status(state='unknown')
        result, _ = client.act('on')
        self.assertEqual((result['result'], result['message']), (
            'failed', 'The program for watch has ended: the bus is gone'))

    def test_one_deadline(self):
        """Asking, acting and asking again have one time for all three."""
        groups = self.groups('sh -c "sleep 0.8; echo off"',
                             **{'power-on': 'sleep 0.8'})
        groups['power']['action-timeout'] = 2
        endpoint = self.endpoint(groups)
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off')
        result, took = client.act('on')
        self.assertIn('did not follow within 2 seconds', result['message'])
        # one by one it were 0.8, 0.8 and 2 s
        self.assertLess(took, 3300)

    def test_pipeline(self):
        """The reason is that of the program, whoever ends with 0."""
        endpoint = self.endpoint(self.groups(
            'sh -c "sh -c \'echo no connection >&2; exit 1\' | sed s/a/b/"',
            **{'power-on': 'true'}))
        endpoint.wait_log('is not known')
        client = self.spicy_power(endpoint, '-')
        result, _ = client.act('on')
        self.assertEqual((result['result'], result['message']),
                         ('failed', 'no connection'))

    def test_never_stops_talking(self):
        """Programs that print without end: others have their turn, too."""
        endpoint = self.endpoint({
            'power': {'backend': 'exec', 'query-timeout': 1,
                      'action-timeout': 1},
            'exec': {'watch': 'sh -c "yes off & yes off & yes off"',
                     'power-on': 'yes'}})
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off')
        result, _ = client.act('on')
        self.assertEqual(result['result'], 'failed')
        self.assertIn('no answer within 1 second', result['message'])
        self.assertEqual(endpoint.end(), 0)

    def test_ends_with_clients(self):
        """Told to end while clients come and go, it does, and cleanly."""
        for turn in range(10):
            with bmc.Endpoint(self.log_dir, self.groups(),
                              name=f'spice-gateway-{turn}') as endpoint:
                clients = [wire.Client(endpoint.connect()) for _ in range(4)]
                for client in clients:
                    client.wait_init()
                for client in clients[:turn % 5]:
                    client.close()
                self.assertEqual(endpoint.end(), 0)
                for client in clients:
                    client.close()

    def test_tls_and_ticket(self):
        """With TLS and a password, as one has it in a network."""
        tls = self.authority()
        ticket = self.log_dir / 'ticket'
        secret = f'let me in {49 * "x"}'    # 59 bytes: as long as can be
        ticket.write_text(f'{secret}\n')
        port = ports.free()
        endpoint = self.endpoint({'server': {
            'address': '127.0.0.1', 'tls-port': port,
            'tls-ca-file': tls.ca_file,
            'tls-cert-file': tls.directory / 'server-cert.pem',
            'tls-key-file': tls.directory / 'server-key.pem',
            'ticket-file': ticket}, **self.groups()}, port=port, tls=tls)
        uri = f'spice://127.0.0.1?tls-port={port}'
        password = secret.replace(' ', '%20')
        done = spicypower.run(f'{uri}&password={password}', 'status',
                              options=tls.options)
        self.assertEqual(done.objects[-1]['state'], 'off')
        done = spicypower.run(f'{uri}&password=wrong', 'status',
                              options=tls.options)
        self.assertEqual(done.code, spicypower.CONNECT)
        self.assertNotIn('let me in', '\n'.join(endpoint.log.since()))
        self.assertEqual(endpoint.end(), 0)

    def test_configuration(self):
        """What is wrong is told with the file, the group and the key."""
        long = self.log_dir / 'long'
        long.write_text(60 * 'x')
        good = {'server': {'port': 5900}, **self.groups()}
        for group, keys, message in (
                ('server', {'prot': 1}, "[server] unknown key 'prot'"),
                ('servre', {'port': 1}, 'unknown group [servre]'),
                ('server', {'port': 70000}, "[server] port: '70000'"),
                ('server', {'tls-port': 1}, 'tls-port needs tls-ca-file'),
                ('server', {'unix-socket': 's'}, 'goes with none of'),
                ('server', {'ticket-file': '/no/such'}, 'ticket-file: '),
                ('server', {'ticket-file': long}, 'longer than 59 bytes'),
                ('server', {'address': ''}, '[server] address: it is empty'),
                ('power', {'backend': 'ssh'}, "backend 'ssh'"),
                ('power', {'actions': 'sleep'}, "unknown action 'sleep'"),
                ('power', {'actions': 'reset;pause'}, 'has nothing for reset'),
                ('power', {'poll-interval': '1x'}, "'1x' is not a time"),
                ('power', {'action-timeout': 81}, 'use at most 80'),
                ('exec', {'status': '"'}, '[exec] status: '),
                ('ipmi', {'host': 'x'}, '[ipmi] is not for backend=exec'),
                ('vnc', {'port': 1}, '[vnc] host: there is none'),
                ('vnc', {'users': 'x'}, "[vnc] unknown key 'users'"),
                ('vnc', {'host': 'x', 'keyboard-layout': 'xx'},
                 "keyboard-layout: there is no 'xx'")):
            with self.subTest(group=group, **keys):
                groups = {**good, group: {**good.get(group, {}), **keys}}
                endpoint = bmc.Endpoint(self.log_dir, {})
                self.addCleanup(endpoint.close)
                endpoint.write(groups)
                self.check_refused(endpoint, message)
        for key, value in (('host', ''), ('privilege', 'ROOT'),
                           ('cipher-suite', 'abc'), ('cipher-suite', '18')):
            endpoint.write({'server': {'port': 5900},
                            'power': {'backend': 'ipmi'},
                            'ipmi': {'host': 'x', key: value}})
            self.check_refused(endpoint, f'[ipmi] {key}: ')
        long.write_text(59 * 'x')
        good['server']['ticket-file'] = long
        endpoint.write(good)
        self.assertEqual(endpoint.check().returncode, 0)
        done = endpoint.check('--version')
        self.assertRegex(done.stdout, r'^spice-gateway \d')
        self.assertIn('--check-config', endpoint.check('--help').stdout)

    def check_refused(self, endpoint, message):
        done = endpoint.check()
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(message, done.stderr)
        self.assertIn(str(endpoint.config), done.stderr)

    def test_unreadable_value(self):
        """A value that is no UTF-8, or has a wrong escape, is not none."""
        good = {'server': {'port': 5900}, **self.groups()}
        for group, key in (('server', 'ticket-file'), ('power', 'actions'),
                           ('power', 'backend'), ('exec', 'reset')):
            for value in b'caf\xe9', rb'caf\q':
                with self.subTest(group=group, key=key, value=value):
                    endpoint = bmc.Endpoint(self.log_dir, {})
                    self.addCleanup(endpoint.close)
                    groups = {**good, group: {**good.get(group, {}),
                                              key: 'VALUE'}}
                    endpoint.write(groups)
                    endpoint.config.write_bytes(
                        endpoint.config.read_bytes().replace(b'VALUE', value))
                    self.check_refused(endpoint, f'[{group}] {key}: ')

    def test_everybody(self):
        """Who lets everybody in is told so, once."""
        warning = 'can power the host off: set [server] ticket-file'
        (self.log_dir / 'ticket').write_text('secret')
        for number, (server, warned) in enumerate((
                ({'address': '127.0.0.1'}, False), ({}, True),
                ({'ticket-file': self.log_dir / 'ticket'}, False))):
            port = ports.free()
            with self.subTest(**server), bmc.Endpoint(
                    self.log_dir, {'server': {'port': port, **server},
                                   **self.groups()},
                    name=f'spice-gateway-{number}', port=port) as endpoint:
                found = [line for line in endpoint.log.since()
                         if warning in line]
                self.assertEqual(len(found), warned)
                # with a password, others can still read what goes by
                self.assertEqual('nothing is encrypted' in '\n'.join(
                    endpoint.log.since()), 'ticket-file' in server)

    def test_port_is_taken(self):
        """A clear error, and not an endpoint that cannot be reached."""
        with socket.create_server(('127.0.0.1', 0)) as taken:
            endpoint = bmc.Endpoint(self.log_dir, {})
            self.addCleanup(endpoint.close)
            endpoint.write({'server': {'address': '127.0.0.1', 'port':
                                       taken.getsockname()[1]},
                            **self.groups()})
            done = endpoint.check('--config', endpoint.config)
            self.assertEqual(done.returncode, 1)
            self.assertIn("can't listen on 127.0.0.1", done.stderr)

    def test_many_polls(self):
        """Nothing leaks, of a host that is on and off by turns.

        SPICE_POWER_POLLS says how many; a day has 86400, the default is what
        is quick.
        """
        count, state = self.log_dir / 'count', self.log_dir / 'state'
        state.write_text('0\n')
        program = self.log_dir / 'status'
        program.write_text(
            f'#!/bin/sh\necho >>{count}\nread n <{state}\n'
            f'echo $((1 - n)) >{state}\n[ $n = 1 ] && echo on || echo off\n')
        program.chmod(0o755)
        polls = int(os.environ.get('SPICE_POWER_POLLS',
                                   case.depth(300, 1000)))
        endpoint = self.endpoint({
            'power': {'backend': 'exec', 'poll-interval': 0.01},
            'exec': {'status': program, 'power-on': 'true'}})
        client = self.spicy_power(endpoint, 'monitor')
        client.wait_state('off', 0)

        def wait_polls(number):
            deadline = time.monotonic() + TIMEOUT + number / 5
            while count.stat().st_size < number:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
        wait_polls(polls // 4)
        before = endpoint.resources()
        wait_polls(polls)
        self.check_growth(before, endpoint.resources(), polls - polls // 4,
                          64)
        states = client.states()
        self.assertEqual(states[:-1], (['off', 'on'] * polls)[
            states[0] == 'on':][:len(states) - 1])

    def test_many_changes(self):
        """As many as a host has that changes each second for a day."""
        pipe = self.log_dir / 'pipe'
        os.mkfifo(pipe)
        endpoint = self.endpoint({
            'power': {'backend': 'exec'},
            'exec': {'watch': f'cat {pipe}', 'power-on': 'true'}})
        client = self.spicy_power(endpoint, 'monitor')
        day, turn = 86400, 400
        with open(pipe, 'w') as told:
            for done in range(0, day, turn):
                mark = client.output.mark
                told.write('on\noff\n' * (turn // 2 - 1) + 'on\npaused\n')
                told.flush()
                client.wait_state('paused', mark)
                if done == day // 4:
                    before = endpoint.resources()
            self.check_growth(before, endpoint.resources(), day * 3 // 4, 500)
            # each is in the log, of which the last lines may come later
            number = itertools.count(1)
            endpoint.log.wait(lambda line: "power state: " in line
                              and next(number) == day, 'the last change')
            self.assertEqual(len([line for line in endpoint.log.since() if
                                  "power state: " in line]), day)

    def test_seen_at_once(self):
        """All clients see a change within a second of the poll that saw it."""
        endpoint = self.endpoint({
            'power': {'backend': 'exec', 'poll-interval': 1},
            'exec': {'status': f'cat {self.log_dir}/state',
                     'power-on': 'true'}})
        (self.log_dir / 'state').write_text('off')
        clients = [self.spicy_power(endpoint, 'monitor', name=f'client-{n}')
                   for n in range(4)]
        for client in clients:
            client.wait_state('off', 0)
        took, saw = [], []
        for turn in range(5):
            state = ('on', 'off')[turn % 2]
            marks = [client.output.mark for client in clients]
            log = endpoint.log.mark
            (self.log_dir / 'new').write_text(state)
            (self.log_dir / 'new').rename(self.log_dir / 'state')
            begin = time.monotonic()
            endpoint.wait_log(f"power state: {state}", log)
            polled = time.monotonic()
            for client, mark in zip(clients, marks):
                client.wait_state(state, mark)
            took.append(time.monotonic() - polled)
            saw.append(polled - begin)
        print('seconds until the poll, and from there until all clients:',
              ', '.join(f'{a:.3f} {b:.3f}' for a, b in zip(saw, took)))
        # once a second, and the time of the program; the machine may be busy
        self.assertLess(sorted(saw)[2], 2)
        self.assertLess(sorted(took)[2], 1)


class Host(BmcCase):
    def test_a_day(self):
        """Off, on, reset, off, on again, over one connection."""
        host = self.host()
        endpoint = self.endpoint(self.ipmi(host))
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off', possible=['power-on'])
        self.look(endpoint)
        for turn in range(2):
            self.assertEqual(client.act('on')[0]['result'], 'ok')
            client.wait_status(state='on', possible=['reset', 'power-off'])
            qmp = host.qmp()
            endpoint.wait_log('video from the host')
            self.check_same_picture(endpoint, qmp)
            mark = qmp.mark()
            self.assertEqual(client.act('reset')[0]['result'], 'ok')
            qmp.wait_event('RESET', mark)
            self.assertEqual(client.act('off')[0]['result'], 'ok')
            qmp.events.wait_end()
            client.wait_status(state='off', possible=['power-on'])
        self.assertEqual(client.act('reset')[0]['result'], 'wrong-state')
        self.assertEqual(endpoint.end(), 0)

    def test_one_window(self):
        """The same in spicy, which connects while the host is off.

        One window, and one connection, for all of it; another client, which
        only looks, sees what happens.
        """
        desk = self.desktop()
        host = self.host()
        endpoint = self.endpoint(self.ipmi(host))
        spicy = desk.run(SPICY, f'--uri={endpoint.uri}')
        shown = spicy.shown
        shown.find('status bar', 'Power state: Powered off')
        other = self.spicy_power(endpoint, 'monitor')
        other.wait_state('off', 0)

        def power_on():
            mark = other.output.mark
            spicy.click('button', re.compile('.*Power On'))
            other.wait_state('on', mark)
            shown.find('status bar', 'Power state: Running')
            qmp = host.qmp()
            self.check_on_screen(desk, spicy, qmp)
            return qmp

        def choose(item):
            spicy.click('menu', 'Power')
            spicy.click('menu item', item)
            alert = shown.find('alert', active=True)
            spicy.click('button', item, under=alert)
            shown.wait_gone(alert)

        qmp = power_on()
        mark = qmp.mark()
        choose('Force Reset')
        qmp.wait_event('RESET', mark)
        self.check_on_screen(desk, spicy, qmp)
        mark = other.output.mark
        choose('Force Off')
        other.wait_state('off', mark)
        qmp.events.wait_end()
        shown.find('status bar', 'Power state: Powered off')
        power_on()
        self.assertEqual(len(shown.find_all('frame')), 1)
        clients = [line for line in endpoint.log.since()
                   if re.search(r'client \d+ .*connected', line)]
        self.assertEqual(len(clients), 2, clients)

    def test_many_polls(self):
        """Nothing leaks of what it takes to ask a BMC."""
        host = self.host()
        endpoint = self.endpoint({**self.ipmi(host), 'power': {
            'backend': 'ipmi', 'poll-interval': 0.1}})
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off')

        def polls(number):
            """Each is a process, with a number of its own."""
            seen = set()
            deadline = time.monotonic() + 60
            while len(seen) < number:
                self.assertLess(time.monotonic(), deadline)
                seen.update(self.ipmitools(endpoint))
                time.sleep(0.002)
        polls(10)
        before = endpoint.resources()
        polls(60)
        self.check_growth(before, endpoint.resources(), 60, 60)

    def ipmitools(self, endpoint):
        """The processes that ask the BMC."""
        found = []
        for stat in Path('/proc').glob('[0-9]*/stat'):
            try:
                name, rest = stat.read_text().split('(', 1)[1].rsplit(')', 1)
            except OSError:
                continue            # it has ended
            if (name == 'ipmitool' and
                    int(rest.split()[1]) == endpoint.process.pid):
                found.append(int(stat.parent.name))
        return found

    def test_secret(self):
        """The password is in no command line, and in no environment."""
        host = self.host()
        endpoint = self.endpoint(self.ipmi(host))
        endpoint.wait_log("power state: off")
        host.freeze()
        read = []
        deadline = time.monotonic() + TIMEOUT
        while len(read) < 2:
            self.assertLess(time.monotonic(), deadline)
            for pid in self.ipmitools(endpoint):
                try:
                    arguments = Path(f'/proc/{pid}/cmdline').read_bytes()
                    environment = Path(f'/proc/{pid}/environ').read_bytes()
                except OSError:
                    continue
                # this is what one would see of a secret
                self.assertIn(str(host.password_file).encode(), arguments)
                self.assertIn(b'PATH=', environment)
                self.assertNotIn(bmc.PASSWORD.encode(), arguments)
                self.assertNotIn(bmc.PASSWORD.encode(), environment)
                read.append(pid)
            time.sleep(0.1)
        host.thaw()
        for what in 'cmdline', 'environ':
            self.assertNotIn(bmc.PASSWORD.encode(), Path(
                f'/proc/{endpoint.process.pid}/{what}').read_bytes())

    def test_somebody_else(self):
        """What ipmitool does shows up in the clients."""
        host = self.host()
        endpoint = self.endpoint(self.ipmi(host))
        client = self.spicy_power(endpoint, 'monitor')
        client.wait_state('off', 0)
        for word, state in ('on', 'on'), ('off', 'off'):
            mark = client.output.mark
            self.assertEqual(host.ipmitool(word).returncode, 0)
            client.wait_state(state, mark)
            self.assertTrue(client.running)

    def test_unplugged(self):
        """The BMC goes, and comes back; so does what is known."""
        host = self.host()
        endpoint = self.endpoint({**self.ipmi(host), 'power': {
            'backend': 'ipmi', 'poll-interval': 0.1, 'query-timeout': 2}})
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off')
        host.freeze()
        status = client.wait_status(state='unknown')
        self.assertEqual(status['possible'], status['allowed'])
        result, _ = client.act('on')
        self.assertEqual(result['result'], 'failed')
        self.assertIn('does not answer', result['message'])
        host.thaw()
        client.wait_status(state='off')
        host.unplug()
        client.wait_status(state='unknown')
        host.plug()
        client.wait_status(state='off')
        self.assertEqual(client.act('on')[0]['result'], 'ok')
        host.qmp()

    def test_wrong_credentials(self):
        """A reason that says what to look at; and no password in the log."""
        host = self.host()
        wrong = self.log_dir / 'wrong-password'
        wrong.write_text('something-else')
        for number, (keys, message) in enumerate((
                ({'password-file': wrong}, 'does not accept the password'),
                ({'user': 'nobody'}, 'does not know the user'),
                ({'user': bmc.WATCHER, 'privilege': 'USER'},
                 'does not allow'),
                ({'port': ports.free(socket.SOCK_DGRAM)},
                 'does not answer'),
                ({'host': 'no-such-host.invalid'}, "can't be resolved"),
                ({'cipher-suite': 17}, 'does not take the cipher suite'),
                ({'ipmitool': '/no/such/ipmitool'}, 'No such file'))):
            with self.subTest(**keys), bmc.Endpoint(
                    self.log_dir, self.ipmi(host, **keys),
                    name=f'spice-gateway-{number}') as endpoint:
                client = self.spicy_power(endpoint, '-')
                result, _ = client.act('on')
                self.assertNotEqual(result['result'], 'ok')
                self.assertIn(message, result['message'])
                log = '\n'.join(endpoint.log.since())
                self.assertNotIn(bmc.PASSWORD, log)
                self.assertNotIn('something-else', log)


class Machines(BmcCase):
    """Two of them in one process, from a directory."""

    TEMPLATE = {
        'server': {'unix-socket': '{directory}/{name}.spice'},
        'power': {'backend': 'exec'},
        'exec': {'status': 'cat {directory}/{name}.state',
                 'power-off': 'sh -c "echo off >{directory}/{name}.state"',
                 'power-on': 'sh -c "echo on >{directory}/{name}.state"',
                 'reset': 'sh -c "touch {directory}/{name}.reset;'
                          ' exec sleep 1000"'}}
    MACHINE = {'machine': {'template': 'rack'}}

    def gateway(self, files=None, **options):
        gateway = bmc.Gateway(self.log_dir, {
            'defaults.conf': {'power': QUICK},
            'templates/rack.conf': self.TEMPLATE,
            'machines/a.conf': self.MACHINE,
            'machines/b.conf': self.MACHINE, **(files or {})}, **options)
        for name in 'a', 'b':
            (gateway.directory / f'{name}.state').write_text('off')
        return gateway

    def test_two(self):
        """Each has its own state and clients; all are told of the end."""
        gateway = self.enterContext(self.gateway())
        a, b = [self.spicy_power(gateway.place(name), '-',
                                 name=f'client-{name}')
                for name in ('a', 'b')]
        a.wait_status(state='off')
        b.wait_status(state='off')
        self.assertEqual(a.act('on')[0]['result'], 'ok')
        self.assertEqual(a.status()['state'], 'on')
        self.assertEqual(b.status()['state'], 'off')
        self.assertEqual(b.act('on')[0]['result'], 'ok')
        self.assertEqual(a.act('off')[0]['result'], 'ok')
        self.assertEqual(b.status()['state'], 'on')
        self.assertEqual(a.act('on')[0]['result'], 'ok')

        marks = [client.output.mark for client in (a, b)]
        for client in a, b:
            client.send('reset')
        for name in 'a', 'b':
            until = time.monotonic() + TIMEOUT
            while not (gateway.directory / f'{name}.reset').exists():
                self.assertLess(time.monotonic(), until, name)
                time.sleep(0.02)
        self.assertEqual(gateway.end(), 0)
        for client, mark in zip((a, b), marks):
            result = client.output.wait(lambda o: o['type'] == 'result',
                                        'the result', mark)
            self.assertEqual((result['result'], result['message']),
                             ('failed', 'spice-gateway is ending'))
        log = '\n'.join(gateway.log.since())
        for name in 'a', 'b':
            self.assertRegex(log, f'power request: machine={name} .*'
                             ' action=reset result=failed ms=')

    def test_two_displays(self):
        """Each has its own picture; one may go, and the other one stays."""
        sizes, colours = ((64, 48), (80, 60)), (0x336699, 0x996633)
        directory = Path(self.enterContext(tempfile.TemporaryDirectory(
            prefix='spice-power-')))
        servers = [self.enterContext(bmc.VncServer(directory / name,
                                                   size=size))
                   for name, size in zip('ab', sizes)]
        gateway = self.gateway({'templates/rack.conf': {
            **self.TEMPLATE,
            'vnc': {'unix-socket': f'{directory}/{{name}}'}}})
        for name in 'a', 'b':
            (gateway.directory / f'{name}.state').write_text('on')
        self.enterContext(gateway)
        places_ = [gateway.place(name) for name in 'ab']
        for place in places_:
            self.look(place)

        def shown(number):
            seen = self.screenshot(places_[number], f'screenshot-{number}')
            return ((seen.width, seen.height) == sizes[number] and
                    seen.data == colours[number].to_bytes(3, 'big') * (
                        seen.width * seen.height))

        def wait_shown(number, is_shown=True):
            deadline = time.monotonic() + TIMEOUT
            while shown(number) != is_shown:
                self.assertLess(time.monotonic(), deadline)
        for number, server in enumerate(servers):
            server.accept()
            server.update(server.fill(colours[number]))
        wait_shown(0)
        wait_shown(1)
        servers[0].close()
        wait_shown(0, False)
        self.assertTrue(is_message(self.screenshot(places_[0])))
        self.assertTrue(shown(1))
        # what is typed goes to the one whose it is
        keys = self.keyboard(places_[1])
        keys.send(KEY_DOWN, struct.pack('<I', 0x1e))
        self.assertEqual(struct.unpack('>B2xI', servers[1].wait(
            servers[1].KEY)), (1, ord('a')))

    def stalled_display(self, place, client):
        """A display channel of that client, of which nothing is read."""
        client.send(wire.MSGC_ATTACH_CHANNELS)
        self.wait_channel(client, wire.CHANNEL_DISPLAY)
        sock = place.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        display = self.enterContext(wire.Client(
            sock, caps=(), channel=wire.CHANNEL_DISPLAY,
            session=client.session))
        display.send(wire.MSGC_DISPLAY_INIT, struct.pack('<BqBi', 1, 0, 1, 0))
        return display

    def wait_full(self, sock):
        """Wait until nothing more goes into it."""
        def waiting():
            return struct.unpack('i', fcntl.ioctl(
                sock, termios.FIONREAD, bytes(4)))[0]
        deadline = time.monotonic() + TIMEOUT
        before, now = -1, 0
        while now < 100000 or now != before:
            self.assertLess(time.monotonic(), deadline, now)
            time.sleep(0.1)
            before, now = now, waiting()

    def test_slow_display(self):
        """A client that reads nothing is waited for by nobody else.

        When the size changes the display's thread waits for it, ten seconds,
        after which the library says so.
        """
        path = Path(self.enterContext(tempfile.TemporaryDirectory(
            prefix='spice-power-'))) / 'vnc'
        server = self.enterContext(bmc.VncServer(path, size=(1024, 768)))
        gateway = self.gateway({
            'machines/b.conf': {
                'machine': {'template': 'rack'}},
            'machines/a.conf': {
                'machine': {'template': 'rack'},
                'vnc': {'unix-socket': path}}})
        (gateway.directory / 'a.state').write_text('on')
        self.enterContext(gateway)
        client = self.client(gateway.place('a'), caps=())
        b = self.spicy_power(gateway.place('b'), '-', name='client-b')
        b.wait_status(state='off')
        server.accept()
        server.update(server.fill(0))
        gateway.wait_log(': video from the host')
        display = self.stalled_display(gateway.place('a'), client)
        width, height = server.size
        server.update(server.rectangle(server.RAW, 0, 0, width, height,
                                       os.urandom(width * height * 4)))
        self.wait_full(display.sock)

        mark = gateway.log.mark
        for size in (640, 480), (800, 600):
            server.update(server.rectangle(server.DESKTOP_SIZE, 0, 0, *size))
            server.size = size
            server.update(server.fill(0x336699))
            server.wait(server.UPDATE_REQUEST)
        self.assertEqual(b.act('on')[0]['result'], 'ok')
        self.assertEqual(b.act('off')[0]['result'], 'ok')
        # it was so all the time
        self.assertEqual([line for line in gateway.log.since(mark)
                          if 'timeout' in line], [])
        display.close()
        # and then all is as it should be
        deadline = time.monotonic() + TIMEOUT
        while True:
            seen = self.screenshot(gateway.place('a'))
            if (seen.width, seen.height) == size and seen.data == (
                    b'\x33\x66\x99' * (size[0] * size[1])):
                break
            self.assertLess(time.monotonic(), deadline)

    def test_configuration(self):
        """What is wrong is told of each file, and nothing is started."""
        gateway = self.gateway({
            'templates/other.conf': {'powre': {'backend': 'exec'}},
            'machines/c.conf': {**self.MACHINE, 'server': {'prot': 1}},
            'machines/d.conf': {**self.MACHINE,
                                'power': {'actions': 'pause'}},
            'machines/e.conf': {**self.MACHINE,
                                'server': {'unix-socket': '/a/{name}'}}})
        self.addCleanup(gateway.close)
        for options in ((), ('--config', gateway.config)):
            done = gateway.check(*options)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(
                [line.partition(f'{gateway.directory}/')[2][:40]
                 for line in done.stderr.splitlines()],
                ['templates/other.conf: unknown group [pow',
                 "machines/c.conf: [server] unknown key 'p",
                 'machines/d.conf: [power] actions: the ba'])
        for name in 'c', 'd':
            (gateway.directory / f'machines/{name}.conf').unlink()
        (gateway.directory / 'templates/other.conf').unlink()
        self.assertEqual(gateway.check().returncode, 0)

    def test_old_name(self):
        """Who starts spice-bmc with a file still gets what is in it."""
        program = bmc.GATEWAY.parent / 'spice-bmc'
        if not program.exists():
            self.skipTest('it is not installed')
        endpoint = bmc.Endpoint(self.log_dir, {
            'power': {'backend': 'exec'}, 'exec': {'status': 'true'}})
        self.addCleanup(endpoint.close)
        for more, code in ('', 0), ('[x]\n', 2):
            with open(endpoint.config, 'a') as config:
                config.write(more)
            done = subprocess.run(
                [program, '--config', endpoint.config, '--check-config'],
                env=endpoint.env, stdin=subprocess.DEVNULL, text=True,
                capture_output=True, timeout=TIMEOUT)
            self.assertEqual(done.returncode, code, done.stderr)


if __name__ == '__main__':
    case.main(bmc.need)
