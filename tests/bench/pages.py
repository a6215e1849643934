# SPDX-License-Identifier: GPL-2.0-or-later
"""From a click in a browser to the machine's reset: SPICE's page, and noVNC's.

Both are in one Chromium, at one QEMU, and take turns. Both come from the same
HAProxy, with web.cfg as it is shipped, and their WebSockets go through it the
same way: TLS to HAProxy, and TLS again from there to QEMU. spice-html5's page
asks as SPICE does, noVNC's by VNC's XVP.

The time is from the event "click" in the page, of the button that does it, to
that in which QEMU says RESET.
"""

import random
import time

from powertest import browser, places, ports
from powertest.tls import Authority
from powertest.web import DOMAIN, PAGES, Page, Web

from figures import Unavailable, interval, judge, summary, to_the_best

# where Debian's package has it, which novnc.py unpacks
NOVNC = places.BUILD / 'novnc' / 'usr' / 'share' / 'novnc'
SPICE, XVP = 'SPICE by spice-html5', 'XVP by noVNC'
TICKET = 'open sesame'
# QEMU's VNC server has no other one
PATH = ('    default_backend spice-web\n',
        '    http-request set-path /\n    default_backend spice-web\n')
# When it is clicked on: in ms, by the clock that QEMU's events have. It is told
# what the browser does with the page in front, and not behind another one.
NOTE = '''
document.querySelector(arguments[0]).addEventListener('click', () => {
    document.documentElement.dataset.clicked = document.hidden ? 'hidden' :
        performance.timeOrigin + performance.now();
}, {capture: true});
'''


class Way:
    """A page in a window of its own, with a button that resets the machine."""

    def __init__(self, chromium, url, button):
        self.chromium, self.button = chromium, button
        chromium.driver.switch_to.new_window('window')
        self.window = chromium.driver.current_window_handle
        self.connect(url)
        chromium.driver.execute_script(NOTE, button)

    def take(self, bench, vm):
        """Milliseconds from the click to the reset."""
        self.chromium.driver.switch_to.window(self.window)
        self.prepare()
        time.sleep(bench.pause)
        event = bench.event(vm, 'RESET')
        self.chromium.find(self.button).click()
        reset = event.wait() * 1000
        return reset - float(self.chromium.value(
            'document.documentElement.dataset.clicked'))


class Spice(Way):
    def connect(self, url):
        self.page = Page(self.chromium, url, TICKET)
        self.page.wait_state('Running')

    def prepare(self):
        """Up to the question."""
        self.page.click('#reset')
        self.page.wait_shown('#question')


class Xvp(Way):
    # it moves to its place, and what is there then is clicked on
    STILL = '''
const style = document.createElement('style');
style.textContent = '* { transition: none !important; }';
document.head.append(style);
'''
    SHOWN = '''
(button => {
    const box = button.getBoundingClientRect();
    return document.elementFromPoint((box.left + box.right) / 2,
                                     (box.top + box.bottom) / 2) === button;
})(document.querySelector('#noVNC_reset_button'))
'''

    def connect(self, url):
        # it has a script in the page itself, which web.cfg's policy is against
        self.chromium.command('Page.setBypassCSP', enabled=True)
        self.chromium.driver.get(url)
        self.chromium.until("document.documentElement.classList.contains("
                            "'noVNC_connected')")
        self.chromium.driver.execute_script(self.STILL)
        # which is open first, and closes by itself
        self.chromium.until("!document.querySelector('#noVNC_control_bar')"
                            ".classList.contains('noVNC_open')")

    def prepare(self):
        """Up to the panel that has the button."""
        if not self.chromium.value(self.SHOWN):
            self.chromium.driver.execute_script(
                "document.querySelector('#noVNC_power_button').click()")
        self.chromium.until(self.SHOWN.strip())


def served(directory, novnc):
    """The files of both, as HAProxy reads them."""
    directory.mkdir()
    for path in PAGES.iterdir():
        (directory / path.name).symlink_to(path)
    (directory / 'novnc').symlink_to(novnc)
    return directory


def need(novnc):
    try:
        browser.need()
        places.need(PAGES / 'console.html')
    except places.Missing as error:
        raise Unavailable(f'no browser: {error}') from None
    if not (novnc / 'vnc.html').exists():
        raise Unavailable(f'no noVNC: it is not in {places.rel(novnc)}; '
                          '--novnc names another place')


def browse(bench, rounds, say):
    """{way: ms}, of both pages, and what they were."""
    novnc = (bench.novnc or NOVNC).resolve()
    need(novnc)
    ca = Authority(bench.directory / 'web', names=(f'*.{DOMAIN}',))
    vnc, sockets = ports.free(), ports.free()
    vm = bench.machine('idle', 'pages', tls=ca, ticket=TICKET, extra=(
        '-object', 'tls-creds-x509,id=tls,endpoint=server,verify-peer=off,'
        f'dir={ca.directory}', '-vnc',
        f'127.0.0.1:{vnc - 5900},websocket={sockets},tls-creds=tls,'
        'power-control=on'))
    web = bench.stack.enter_context(Web(
        bench.directory, ca, machines={'spice': f'127.0.0.1/{vm.port}',
                                       'vnc': f'127.0.0.1/{sockets}'},
        changes=((str(PAGES), str(served(bench.directory / 'pages', novnc))),
                 PATH)))
    chromium = bench.stack.enter_context(browser.Chromium(bench.directory))
    ways = {SPICE: Spice(chromium, web.url('spice'), '#question-yes'),
            XVP: Xvp(chromium, f'{web.origin}/novnc/vnc.html?autoconnect=true&'
                     f'path=/console/vnc.{DOMAIN}', '#noVNC_reset_button')}
    taken = {name: [] for name in ways}
    for number in range(rounds + 1):
        if number % max(1, rounds // 10) == 0:
            say(f'round {number} of {rounds}')
        for name in random.sample(list(ways), len(ways)):
            took = ways[name].take(bench, vm)
            if number:                  # the first one is not the usual one
                taken[name].append(took)
    return {'browser': 'Chromium '
            + chromium.driver.capabilities['browserVersion'],
            'rounds': rounds,
            'ways': {name: {**summary(values),
                            'ms': [round(value, 4) for value in values]}
                     for name, values in taken.items()}}


def goal(found):
    samples = [found['ways'][name]['ms'] for name in (SPICE, XVP)]
    return judge(f'a click in the browser: {SPICE} to {XVP}',
                 to_the_best(*samples), 1.00,
                 interval(to_the_best, *samples, rounds=True))


def tell(found):
    judged = goal(found)
    print(f'\na click in {found["browser"]}, {found["rounds"]} rounds, in ms')
    for name, row in found['ways'].items():
        print(f'{name:24} {row["median"]:8.3f} {row["p95"]:8.3f} '
              f'{row["p99"]:8.3f}')
    print(f'ratio {judged["figure"]:.2f}, {judged["low"]:.2f} to '
          f'{judged["high"]:.2f}')
    return [judged]
