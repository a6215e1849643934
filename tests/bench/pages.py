#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""From a click in a browser to the machine's reset: SPICE's page, and noVNC's.

Both pages are in the same Chromium, at the same QEMU, and are used by turns.
SPICE's comes as it is served, through HAProxy and by TLS twice; noVNC's is
connected to QEMU's VNC server itself, without TLS, and asks by XVP. The time is
from the event "click" in the page to that in which QEMU says RESET.

    ./stack shell -- tests/bench/pages.py --novnc DIR [--rounds N]

DIR is /usr/share/novnc, of Debian's package, or that of a checkout.
"""

import argparse
import contextlib
import functools
import http.server
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import browser, netns, places, ports     # noqa: E402
from powertest.machine import Machine, end_cleanly      # noqa: E402
from powertest.tls import Authority                     # noqa: E402
from powertest.web import DOMAIN, Page, Web             # noqa: E402

from figures import summary                             # noqa: E402

HARDWARE = ('-machine', 'pc', '-accel', 'tcg', '-m', '16', '-nodefaults',
            '-device', 'VGA')
TICKET = 'open sesame'
# When it is clicked on: in milliseconds, by the clock that QEMU's events have
NOTE = '''
document.querySelector('%s').addEventListener('click', () => {
    document.documentElement.dataset.clicked =
        performance.timeOrigin + performance.now();
}, {capture: true});
'''


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *unused):
        pass


class Way:
    """A page in a tab of its own, with a button that resets the machine."""

    def __init__(self, chromium, button):
        self.chromium, self.button = chromium, button
        self.tab = chromium.driver.current_window_handle
        chromium.driver.execute_script(NOTE % button)

    def measure(self, vm):
        """Milliseconds from the click to the reset."""
        self.chromium.driver.switch_to.window(self.tab)
        self.prepare()
        mark = vm.qmp.mark()
        self.chromium.find(self.button).click()
        when = vm.qmp.wait_event('RESET', mark, guest=False)['timestamp']
        clicked = float(self.chromium.value(
            'document.documentElement.dataset.clicked'))
        return when['seconds'] * 1000 + when['microseconds'] / 1000 - clicked


class Spice(Way):
    name = 'SPICE, spice-html5'

    def __init__(self, chromium, url):
        chromium.tab()
        self.page = Page(chromium, url, TICKET)
        self.page.wait_state('Running')
        super().__init__(chromium, '#question-yes')

    def prepare(self):
        self.page.wait_hidden('#question')
        self.page.click('#reset')
        self.page.wait_shown('#question')


class Xvp(Way):
    name = 'VNC (XVP), noVNC'

    def __init__(self, chromium, url):
        chromium.tab()
        chromium.driver.get(url)
        chromium.until("document.documentElement.classList.contains("
                       "'noVNC_connected')")
        # those in the panel at the side, which has an animation
        super().__init__(chromium, '#noVNC_reset_button')
        chromium.driver.execute_script(
            "document.querySelector('#noVNC_control_bar').classList.add("
            "'noVNC_open');"
            "document.querySelector('#noVNC_power_button').click()")

    def prepare(self):
        self.chromium.until("document.querySelector('#noVNC_power')"
                            ".classList.contains('noVNC_open') || "
                            "(document.querySelector('#noVNC_power_button')"
                            ".click(), false)")


def serve(stack, directory):
    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Files, directory=directory))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return server.server_port


def measure(stack, novnc, rounds):
    log_dir = places.log_directory('bench-pages')
    ca = Authority(stack.enter_context(tempfile.TemporaryDirectory()),
                   names=(f'*.{DOMAIN}',))
    display, sockets = ports.free(), ports.free()
    vm = stack.enter_context(Machine(
        log_dir, 'power=on,proxies=127.0.0.1', hardware=HARDWARE, tls=ca,
        ticket=TICKET, extra=(
            '-vnc', f'127.0.0.1:{display - 5900},websocket={sockets},'
            'power-control=on')))
    web = stack.enter_context(Web(log_dir, ca, machines={
        'vm1': f'127.0.0.1/{vm.port}/proxy'}))
    chromium = stack.enter_context(browser.Chromium(log_dir))
    ways = (Spice(chromium, web.url('vm1')),
            Xvp(chromium, f'http://localhost:{serve(stack, novnc)}/vnc.html?'
                f'host=127.0.0.1&port={sockets}&path=&autoconnect=true'))
    taken = {way.name: [] for way in ways}
    for turn in range(rounds + 1):
        for way in ways if turn % 2 else reversed(ways):
            took = way.measure(vm)
            if turn:                    # the first one is not the usual one
                taken[way.name].append(took)
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--novnc', required=True, metavar='DIR')
    parser.add_argument('--rounds', type=int, default=100)
    args = parser.parse_args()
    end_cleanly()
    browser.need()
    netns.alone()
    with contextlib.ExitStack() as stack:
        taken = measure(stack, args.novnc, args.rounds)
    print('ms from click to RESET       n   median      p95')
    for name, values in taken.items():
        said = summary(values)
        print(f'{name:24}  {said["n"]:4} {said["median"]:8.2f} '
              f'{said["p95"]:8.2f}')


if __name__ == '__main__':
    main()
