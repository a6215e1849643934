#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wants to do harm to a console in a browser: other pages, and servers.

The browsers and HAProxy with web.cfg are real. Servers that lie are in
powertest/liar.py.
"""

import http.server
import os
import re
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import browser, case, endpoint, liar, places, ports  # noqa: E402
from powertest import wire                      # noqa: E402
from powertest.record import TIMEOUT            # noqa: E402
from powertest.web import DOMAIN, PAGES         # noqa: E402
from test_browser import BrowserCase            # noqa: E402

STRANGER = f'stranger.{DOMAIN}'
# How a WebSocket ends that a page opens
OPEN = '''
const [url, done] = arguments;
try {
    const socket = new WebSocket(url, 'binary');
    socket.onopen = () => { socket.close(); done('open'); };
    socket.onerror = () => done('refused');
} catch (error) {               // in Firefox, if it is the page's own policy
    done('refused');
}
'''
# The same from a frame whose origin is nobody's
SANDBOXED = '''
const [url, done] = arguments;
addEventListener('message', event => done(event.data));
const frame = document.createElement('iframe');
frame.sandbox = 'allow-scripts';
frame.srcdoc = `<script>
const socket = new WebSocket("${url}", "binary");
socket.onopen = () => parent.postMessage("open", "*");
socket.onerror = () => parent.postMessage("refused", "*");
</script>`;
document.body.append(frame);
'''
HUGE = 0xffffffff
MSG_NAME = 113
UNRULY = 'The server does not keep to the protocol'
NOBODY = 'The server cannot be reached'
MARKUP = ('<img src=x onerror="window.isHacked = true">'
          '<script>window.isHacked = true</script><h1>owned</h1>')


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('content-type', 'text/html')
        self.end_headers()
        self.wfile.write(self.server.body.encode())

    def log_message(self, *unused):
        pass


class Stranger:
    """Another one's web server; its pages are all the same."""

    def __init__(self, body='<p>hello'):
        self.port = ports.free()
        self.server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', self.port), Handler)
        self.server.body = body
        self.thread = threading.Thread(target=self.server.serve_forever,
                                       daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def origin(self):
        return f'http://{STRANGER}:{self.port}'


class Strangers(BrowserCase):
    """Pages of others, in a browser that can reach the machine."""

    excused = 'WebSocket|Security Policy|favicon'

    def stranger(self, **options):
        return self.enterContext(Stranger(**options))

    def opened(self, url, script=OPEN):
        return self.browser.driver.execute_async_script(script, url)

    def test_sockets(self):
        """A page of another origin, or of none, gets no WebSocket"""
        vm = self.machine(tls=self.ca, tcp=True, ticket='x')
        web = self.web(vm, proxied=False)
        url = web.socket_url('vm1')
        for page in (f'{self.stranger().origin}/',
                     # the same host, where somebody else has a port
                     f'{self.stranger().origin}/'.replace(
                         STRANGER, f'console.{DOMAIN}')):
            with self.subTest(page):
                log = web.log.mark
                self.browser.driver.get(page)
                for script in OPEN, SANDBOXED:
                    self.assertEqual(self.opened(url, script), 'refused')
                    # HAProxy says no, and asks no machine
                    log = web.log.wait_mark(re.compile(
                        ' 403, .*<NOSRV>, PR, ').search, 'a refusal', log)
                # without HAProxy, spice-server says no
                self.assertEqual(self.opened(
                    f'ws://127.0.0.1:{vm.plain_port}'), 'refused')
        self.assertEqual((self.log_dir / 'qemu.log').read_text().count(
            'refused: none is set, and it is not the host'), 2)
        # the page itself gets one, and no other host's
        self.browser.driver.get(f'{web.origin}/console.css')
        self.assertEqual(self.opened(url), 'open')
        self.assertEqual(self.opened(f'ws://127.0.0.1:{vm.plain_port}'),
                         'refused')

    def test_frame(self):
        """Nobody has the console in a frame, below something to click on"""
        vm = self.behind()
        web = self.web(vm)
        frame = f'<iframe src="{web.url("vm1")}"></iframe>'
        self.browser.driver.get(f'{self.stranger(body=frame).origin}/')
        # it has come, and what is shown is the browser's own words about it
        web.log.wait(lambda line: 'GET /console.html 200,' in line, 'the page')
        shown, deadline = '', time.monotonic() + TIMEOUT
        while not re.match('chrome-error:|about:neterror.*e=cspBlocked', shown):
            # Firefox says that all is loaded before it shows that
            self.assertLess(time.monotonic(), deadline, shown)
            self.browser.driver.switch_to.frame(0)
            # nor has it a document at each moment
            shown = self.browser.value('document.documentURI') or ''
            self.browser.driver.switch_to.default_content()


class StrangersInFirefox(Strangers):
    kind = browser.Firefox


class Liars(BrowserCase):
    """Servers that say what none would: the page ends that, and says why."""

    excused = 'WebSocket'

    def check_lost(self, page, what):
        """It says in words that it has ended, and is of use still."""
        page.wait_shown('#lost')
        self.assertRegex(page.text('#lost-detail'), what)
        self.assertTrue(page.is_same)
        page.wait_shown('#lost-connect')

    def test_link(self):
        """What is no SPICE at all, and numbers of 4 GB, before it is let in"""
        for play, words in (
                (lambda c: c.send(os.urandom(70000)), UNRULY),
                (lambda c: c.send(b'hello', opcode=liar.TEXT), UNRULY),
                (lambda c: c.link(magic=b'QDER'), f'{UNRULY}.*QDER'),
                (lambda c: c.link(size=HUGE), f'{UNRULY}.*{HUGE} bytes'),
                (lambda c: c.link(n_common=HUGE, n_caps=HUGE), UNRULY),
                (lambda c: c.link(offset=HUGE), UNRULY),
                # the browser ends this one, and tells no page why
                (lambda c: c.send(bytes(100), length=1 << 62),
                 NOBODY),
                (lambda c: c.link(error=3), 'refuses the connection')):
            with self.subTest(words):
                self.check_lost(self.liar(play), words)

    def test_messages(self):
        """Messages that are too long, too short or unknown, when it is in"""
        def play(*messages):
            def played(caller):
                caller.init()
                caller.power()
                for data in messages:
                    caller.send(data)
            return played
        text = struct.pack('<IBI', 1, 5, HUGE)
        for name, data in {
                'size': liar.message(wire.MSG_POWER_STATE, b'', size=HUGE),
                'empty': liar.message(wire.MSG_POWER_STATE),
                'short': liar.message(wire.MSG_POWER_RESULT, b'\1'),
                'text': liar.message(wire.MSG_POWER_RESULT, text),
                'name': liar.message(MSG_NAME, struct.pack('<I', HUGE)),
                'channels': liar.message(wire.MSG_CHANNELS_LIST,
                                         struct.pack('<I', HUGE)),
                'host': liar.message(wire.MSG_MIGRATE_SWITCH_HOST,
                                     struct.pack('<HHII', 1, 1, HUGE, HUGE))
        }.items():
            with self.subTest(name):
                self.check_lost(self.liar(play(data)), UNRULY)

    def test_markup(self):
        """HTML in what a server says is text"""
        def play(caller):
            caller.init()
            name = MARKUP.encode() + b'\0'
            caller.send(liar.message(MSG_NAME,
                                     struct.pack('<I', len(name)) + name))
            caller.power()
            words = MARKUP.encode()
            caller.send(liar.message(wire.MSG_POWER_RESULT, struct.pack(
                '<IBI', caller.wait_request(), 5, len(words)) + words))
        page = self.liar(play)
        page.press('pause')
        page.wait_shown('#outcome')
        self.assertEqual(page.text('#outcome-detail'), MARKUP)
        self.assertIn(MARKUP, page.text('#machine'))
        self.assertIsNone(self.browser.value('window.isHacked'))


if __name__ == '__main__':
    case.main(lambda: (places.need(PAGES / 'console.html'),
                       endpoint.prepare(), browser.need()))
