#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A console in a real browser: spice-html5's page, HAProxy with web.cfg, QEMU.

What is pressed is pressed by mouse or keyboard, and what is looked at is what a
person sees there, and what QEMU's monitor and its guest show. Who wants to do
harm is in test_browser_hostile.py.
"""

import contextlib
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import asleep, browser, case, endpoint, liar, places  # noqa: E402
from powertest.machine import Machine           # noqa: E402
from powertest.manager import Manager           # noqa: E402
from powertest.record import TIMEOUT, Record, reader    # noqa: E402
from powertest.web import DOMAIN, Page, PAGES, Web          # noqa: E402

try:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
except ImportError:
    pass                        # browser.need() says it

TICKET = 'open sesame'
SECRET = 'not-for-logs'         # what somebody has in an address
# It has a screen at once, and nothing to boot
FIRMWARE = ('-machine', 'pc', '-accel', 'tcg', '-m', '16', '-nodefaults',
            '-device', 'VGA')
# A connection that can't be had is in the console, whatever a page does
NO_CONNECTION = r'WebSocket connection to'
AXE = os.environ.get('SPICE_POWER_AXE')
CHANGES = case.depth(1000, 10000)


class BrowserCase(case.PowerTestCase):
    """A browser for all tests of a program; each has a tab of its own."""

    kind = browser.Chromium
    excused = None              # what the console may have of errors
    _started = {}

    @classmethod
    def setUpClass(cls):
        if reason := cls.kind.missing():
            raise unittest.SkipTest(reason)
        if cls.kind not in cls._started:
            program = Path(sys.argv[0]).stem.removeprefix('test_')
            cls._started[cls.kind] = unittest.enterModuleContext(cls.kind(
                places.log_directory(f'{program}.{cls.kind.name}')))
        cls.browser = cls._started[cls.kind]
        cls.first = cls.browser.driver.window_handles[0]

    def setUp(self):
        super().setUp()
        self.ca = self.authority(names=(f'*.{DOMAIN}',))
        self.browser.tab()
        self.addCleanup(self.end_tabs)

    def opened_page(self, url, password=None):
        # it is closed before what it is connected to
        self.addCleanup(self.end_tabs)
        return Page(self.browser, url, password)

    def end_tabs(self):
        """Each that a test has opened; it must not have complained."""
        driver = self.browser.driver
        complaints = self.browser.complaints(self.excused)
        for handle in driver.window_handles:
            if handle != self.first:
                driver.switch_to.window(handle)
                driver.close()
        driver.switch_to.window(self.first)
        self.assertEqual(complaints, [])

    def web(self, *machines, proxied=True, **options):
        """HAProxy in front of these machines: vm1, vm2 and so on."""
        how = '/proxy' if proxied else ''
        return self.enterContext(Web(
            self.log_dir, self.ca, machines={
                f'vm{number}': f'127.0.0.1/{vm.port}{how}'
                for number, vm in enumerate(machines, 1)}, **options))

    def behind(self, spice='power=on', **options):
        """An empty machine that HAProxy tells where clients are."""
        return self.machine(f'{spice},proxies=127.0.0.1', tls=self.ca,
                            ticket=TICKET, **options)

    def page(self, web, name='vm1', password=TICKET, **more):
        return self.opened_page(web.url(name, **more), password)

    def liar(self, play):
        """A page that has come to a server which plays that."""
        path = self.ca.directory / 'liar'
        self.enterContext(liar.Liar(path, play))
        web = self.enterContext(Web(
            self.log_dir, self.ca, machines={'vm1': 'vm7'},
            changes=(('#server vm7 unix@/run/spice/vm7.sock weight 0 no-ssl '
                      'send-proxy-v2', f'server vm7 unix@{path} no-ssl'),)))
        return self.opened_page(web.url('vm1'))


class Core(BrowserCase):
    """What has to work in each browser."""

    def test_actions(self):
        """Each action, by mouse, and QEMU does it; off and on again"""
        vm = self.behind(hardware=FIRMWARE, extra=('-action', 'shutdown=pause'))
        page = self.page(self.web(vm))
        page.wait_state('Running')
        page.wait_shown('#spice_surface_0')
        mark = vm.qmp.mark()
        for action, event, state in (('pause', 'STOP', 'Paused'),
                                     ('continue', 'RESUME', 'Running'),
                                     ('reset', 'RESET', 'Running, reset at')):
            page.press(action)
            vm.qmp.wait_event(event, mark)
            page.wait_state(state)
        for _ in range(case.depth(2, 20)):
            page.press('power-off')
            vm.qmp.wait_event('SHUTDOWN', mark)
            page.wait_state('Powered off')
            page.wait_shown('#off')
            mark = vm.qmp.mark()
            page.click('#off-power-on')
            vm.qmp.wait_event('RESUME', mark)
            page.wait_state('Running')
            page.wait_shown('#spice_surface_0')
            page.wait_hidden('#off')
        self.assertTrue(page.is_same)

    def test_keyboard(self):
        """With keys alone: to a button, the question, no, and yes"""
        vm = self.behind()
        page = self.page(self.web(vm), password=None)
        page.wait_shown('#ticket')
        self.keys('wrong', Keys.ENTER)
        page.wait_wrong()
        self.keys(TICKET, Keys.ENTER)
        page.wait_state('Running')
        mark = vm.qmp.mark()
        self.tab_to('reset')
        self.keys(Keys.ENTER)
        page.wait_shown('#question')
        self.assertEqual(self.focused, 'question-cancel')
        self.keys(Keys.ESCAPE)
        page.wait_hidden('#question')
        self.assertEqual(self.focused, 'reset')
        self.keys(Keys.ENTER)
        page.wait_shown('#question')
        self.keys(Keys.ENTER)           # which is "Cancel"
        page.wait_hidden('#question')
        self.keys(Keys.SPACE)
        page.wait_shown('#question')
        self.assertNotIn('RESET', vm.qmp.event_names(mark))
        self.tab_to('question-yes')
        self.keys(Keys.ENTER)
        vm.qmp.wait_event('RESET', mark)

    def test_asked_again(self):
        """A dialog tells late that it was closed: it may be open again"""
        vm = self.behind()
        page = self.page(self.web(vm))
        page.wait_state('Running')
        mark = vm.qmp.mark()
        page.click('#reset')
        page.wait_shown('#question')
        self.browser.driver.execute_script("""
            document.getElementById('question-cancel').click();
            document.getElementById('reset').click();
            return new Promise((resolve) => document.getElementById('question')
                .addEventListener('close', resolve, { once: true }));
        """)
        page.click('#question-yes')
        vm.qmp.wait_event('RESET', mark)

    def test_left(self):
        """A page that is left keeps no place; who comes back has it again"""
        vm = self.behind()
        page = self.page(self.web(vm))
        page.wait_state('Running')
        mark = vm.qmp.mark()
        self.browser.driver.get('about:blank')
        vm.qmp.wait_event('SPICE_DISCONNECTED', mark)
        mark = vm.qmp.mark()
        self.browser.driver.back()
        if not page.is_same:            # the browser has not kept it
            page.log_in(TICKET)
        vm.qmp.wait_event('SPICE_INITIALIZED', mark)
        page.wait_state('Running')

    @property
    def focused(self):
        return self.browser.value('document.activeElement.id')

    def keys(self, *keys):
        actions = ActionChains(self.browser.driver)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def tab_to(self, ident):
        seen = []
        while self.focused != ident:
            seen.append(self.focused)
            self.assertLess(len(seen), 30, f'the focus has been at {seen}')
            self.keys(Keys.TAB)


class CoreInFirefox(Core):
    kind = browser.Firefox


class Machines(BrowserCase):
    """The page, and what the machine says."""

    def test_guest(self):
        """A real guest, its screen, and what it does; off and on again"""
        vm = self.guest('power=on,proxies=127.0.0.1', tls=self.ca,
                        ticket=TICKET)
        page = self.page(self.web(vm))
        page.wait_state('Running')
        page.wait_shown('#spice_surface_0')

        mark = vm.qmp.mark()
        page.press('pause')
        page.wait_state('Paused')
        self.assertTrue(vm.silent())
        page.press('continue')
        page.wait_state('Running')
        vm.qmp.wait_event('RESUME', mark)
        console = vm.console.mark
        page.press('reset')
        vm.qmp.wait_event('RESET', mark)
        vm.wait_tick(vm.wait_boot(console, timeout=120), timeout=120)
        for _ in range(case.depth(1, 5)):
            page.press('power-off')
            page.wait_state('Powered off')
            mark, console = vm.qmp.mark(), vm.console.mark
            page.click('#off-power-on')
            page.wait_state('Running')
            vm.wait_tick(vm.wait_boot(console, timeout=120), timeout=120)
            page.wait_shown('#spice_surface_0')
            page.wait_hidden('#off')
        self.assertTrue(page.is_same)

    def test_who(self):
        """QEMU is told where the browser is, and HAProxy's log has no secrets"""
        vm = self.behind()
        web = self.web(vm)
        mark = vm.qmp.mark()
        page = self.page(web, secret=SECRET)
        page.press('pause')
        asked = vm.qmp.wait_event('SPICE_POWER_REQUEST', mark)['data']
        client = asked['client']
        # the line of a connection comes at its end
        self.end_tabs()
        line = web.log.wait(lambda line: line.startswith(
            f'{client["host"]}:{client["port"]} GET '), 'that connection')
        self.assertIn(f' GET /console/vm1.{DOMAIN} 101, ', line)
        self.assertFalse([line for line in web.log.since() if SECRET in line
                          or TICKET.split()[-1] in line])

    def test_results(self):
        """What is refused, and why, in the server's own words"""
        vm = self.behind('power=managed', probe=True)
        manager = self.enterContext(Manager(vm))
        page = self.page(self.web(vm))
        mark = 0
        for result, words in (('denied', 'Not before 18:00'),
                              ('wrong-state', 'It is being moved'),
                              ('busy', 'A backup is being made'),
                              ('unsupported', 'There is no such switch'),
                              ('failed', 'The disk does not answer')):
            with self.subTest(result):
                page.press('reset')
                asked, mark = manager.wait_request(mark)
                # until there is an answer nothing else is asked for
                self.assertEqual(page.buttons()[1], [])
                page.wait_state('resetting')
                manager.reply(asked['id'], result, words)
                page.wait_shown('#outcome')
                self.assertEqual(page.text('#outcome-detail'), words)
                page.click('#outcome-close')
                page.wait_hidden('#outcome')
        page.press('reset')
        asked, mark = manager.wait_request(mark)
        manager.reply(asked['id'], 'ok')
        page.wait_state('Running, reset at')
        page.wait_hidden('#outcome')

    def test_possible(self):
        """Buttons are those that are allowed, and work when they can work"""
        vm = self.behind('power=on,actions=reset:pause:continue')
        page = self.page(self.web(vm))
        page.wait_state('Running')
        self.assertEqual(set(page.buttons()[0]), {'pause', 'reset'} | (
            {'continue'} & set(page.buttons()[0])))
        self.assertEqual(set(page.buttons()[1]), {'pause', 'reset'})
        vm.qmp.execute('stop')
        page.wait_state('Paused')
        # it is not a client who has paused it
        self.assertEqual(page.buttons()[1], ['reset'])
        vm.qmp.execute('spice-power-set-allowed', actions=[])
        page.wait_state('Paused, you may only watch')
        self.assertEqual(page.buttons(), [[], []])

    def test_suspended(self):
        """A guest that has suspended itself: its button is Wake Up"""
        with asleep.qtest_listener(self) as (extra, suspend):
            vm = self.behind(hardware=asleep.PC, extra=extra)
            page = self.page(self.web(vm))
            page.wait_state('Running')
            mark = vm.qmp.mark()
            suspend()
            page.wait_state('Suspended')
            for action, state in (('pause', 'Paused'),
                                  ('continue', 'Suspended')):
                page.press(action)
                page.wait_state(state)
            self.assertEqual(page.text('#power-on'), 'Wake Up')
            page.press('power-on')
            vm.qmp.wait_event('WAKEUP', mark)
            page.wait_state('Running')
            self.assertEqual(page.text('#power-on'), 'Power On')
            page.wait_hidden('#outcome')
            self.assertNotIn('RESET', vm.qmp.event_names(mark))

    def test_not_woken(self):
        """What is said when it can't be woken up"""
        with asleep.qtest_listener(self) as (extra, suspend):
            vm = self.behind('power=managed', probe=True, hardware=asleep.PC,
                             extra=extra)
            manager = self.enterContext(Manager(vm))
            page = self.page(self.web(vm))
            page.wait_state('Running')
            suspend()
            page.wait_state('Suspended')
            page.press('power-on')
            asked, _ = manager.wait_request()
            page.wait_state('Suspended, waking up')
            manager.reply(asked['id'], 'failed')
            page.wait_shown('#outcome')
            self.assertEqual(page.text('#outcome-text'),
                             'The machine was not woken up')

    def test_names(self):
        """Names that there are not, and files that are none of the page's"""
        web = self.web(self.behind())
        self.browser.driver.get('about:blank')
        context = ssl.create_default_context(cafile=str(self.ca.ca_file))

        def ask(path, method='GET', **headers):
            connection = http.client.HTTPSConnection(
                '127.0.0.1', web.port, context=context, timeout=TIMEOUT)
            with contextlib.closing(connection):
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                self.assertIn("frame-ancestors 'none'",
                              answer.headers['content-security-policy'])
                return answer.status, answer.headers, answer.read()
        for path in ('/console/vm2.' + DOMAIN, '/console/', '/console/..',
                     '/', '/../../etc/passwd', '/%2e%2e/etc/passwd',
                     '/meson.build', '//etc/passwd'):
            with self.subTest(path):
                self.assertEqual(ask(path)[0], 404)
        self.assertEqual(ask('/console.html', 'POST')[0], 405)
        status, headers, body = ask('/console.html')
        self.assertEqual((status, headers['content-type']),
                         (200, 'text/html; charset=utf-8'))
        self.assertEqual(body, (PAGES / 'console.html').read_bytes())
        self.assertEqual(ask('/console.html', **{
            'If-None-Match': headers['etag']})[0], 304)
        status, headers, _ = ask(f'/console/VM1.{DOMAIN}?path=elsewhere')
        self.assertEqual(status, 302)
        self.assertEqual(headers['location'], '/console.html?path=console/'
                         f'vm1.{DOMAIN}&title=vm1.{DOMAIN}')


class Lasting(BrowserCase):
    """What a page lives through."""

    excused = NO_CONNECTION

    def test_two_pages(self):
        """What is pressed in one is seen in the other"""
        vm = self.behind()
        web = self.web(vm)
        pages = {}
        # the second one takes nobody's place: it has no screen
        for more in {}, {'control': 1}:
            tab = self.browser.tab()
            pages[tab] = self.page(web, **more)
            pages[tab].wait_state('Running')
        for presses, watches in list(pages.items()), list(pages.items())[::-1]:
            for action, state in (('pause', 'Paused'), ('continue', 'Running')):
                self.browser.driver.switch_to.window(presses[0])
                presses[1].press(action)
                self.browser.driver.switch_to.window(watches[0])
                watches[1].wait_state(state)

    @unittest.skipUnless(AXE, 'SPICE_POWER_AXE names no axe.min.js (of the npm '
                         'package axe-core, which Debian does not have)')
    def test_axe(self):
        """What axe-core has to say against the page, in each of its states"""
        vm = self.behind('power=managed', probe=True)
        manager = self.enterContext(Manager(vm))
        page = self.page(self.web(vm), password=None)

        def check(what):
            self.browser.driver.execute_script(Path(AXE).read_text())
            result = self.browser.driver.execute_async_script(
                'axe.run().then(arguments[0])')
            for violation in result['violations']:
                with self.subTest(what, rule=violation['id']):
                    self.fail(f'{violation["help"]}: ' + ', '.join(
                        node['html'] for node in violation['nodes']))
        page.wait_shown('#ticket')
        check('the password')
        page.log_in(TICKET)
        page.wait_state('Running')
        check('running')
        page.click('#reset')
        page.wait_shown('#question')
        check('the question')
        page.click('#question-yes')
        manager.reply(manager.wait_request()[0]['id'], 'denied', 'No')
        page.wait_shown('#outcome')
        check('the outcome')
        vm.close()
        page.wait_data(connection='waiting')
        check('waiting')

    def test_server_goes(self):
        """QEMU is killed, and started again: the page is connected again"""
        vm = self.behind()
        page = self.page(self.web(vm))
        page.wait_state('Running')
        for _ in range(2):
            vm.close()
            page.wait_data(connection='waiting')
            vm = self.enterContext(self.again(vm))
            page.wait_data(connection='connected')
            page.wait_state('Running')
            page.press('pause')
            page.wait_state('Paused')
        self.assertTrue(page.is_same)

    def again(self, vm):
        """The same machine, at the same port."""
        other = Machine(self.log_dir, vm.spice_options, tls=self.ca,
                        ticket=TICKET, name='again')
        other.port, other.plain_port = vm.port, vm.plain_port
        return other

    def test_slow(self):
        """Over a line with a quarter of a second's delay, and 50 kB/s

        Chromium keeps only the files to that, and no WebSocket.
        """
        vm = self.behind()
        web = self.web(vm)
        self.browser.command('Network.enable')
        self.browser.command(
            'Network.emulateNetworkConditions', offline=False, latency=250,
            downloadThroughput=50000, uploadThroughput=50000)
        page = self.page(web)
        page.wait_state('Running')
        page.press('pause')
        page.wait_state('Paused')

    def test_growth(self):
        """A thousand changes of the state leave nothing behind"""
        vm = self.behind()
        page = self.page(self.web(vm))
        page.wait_state('Running')
        # it counts those that it shows
        self.browser.driver.execute_script("""
            document.documentElement.dataset.changes = 0;
            new MutationObserver(
                () => document.documentElement.dataset.changes++).observe(
                    document.documentElement,
                    {attributes: true, attributeFilter: ['data-state']});
        """)

        def change(times):
            for turn in range(times):
                vm.qmp.execute('cont' if turn % 2 else 'stop')
            self.changes += times
            page.wait_data(changes=self.changes)
            return self.browser.memory()
        self.changes = 0
        before = change(CHANGES // 10)
        after = change(CHANGES)
        print(f'  {CHANGES} changes: {before}, then {after}')
        for name in 'Nodes', 'JSEventListeners':
            self.assertEqual(before[name], after[name])
        # code that is compiled meanwhile counts, too
        self.assertLess(after['JSHeapUsedSize'] - before['JSHeapUsedSize'],
                        100_000 + 20 * CHANGES)


class Run(BrowserCase):
    """./stack run --web"""

    excused = NO_CONNECTION

    def test_run(self):
        """A console on this computer: with a password, and it ends with QEMU"""
        output = Record('./stack run --web')
        process = subprocess.Popen(
            [str(places.ROOT / 'stack'), '--build-dir', str(places.BUILD),
             'run', '--web', '--', *FIRMWARE], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        reader(process.stdout, output, lambda line: line.decode().strip())

        def end():
            process.kill()      # QEMU and HAProxy end with it
            process.wait()
            output.wait_end()
            process.stdout.close()
        self.addCleanup(end)

        def said(pattern):
            line = output.wait(re.compile(pattern).search, pattern)
            return re.search(pattern, line)[1]
        url, password = said('(http://localhost:.*)'), said('password: (.*)')
        page = self.opened_page(url)
        page.log_in('wrong')
        page.wait_wrong()
        page.log_in(password)
        page.wait_state('Running')
        page.wait_shown('#spice_surface_0')
        for action, state in (('pause', 'Paused'), ('continue', 'Running'),
                              ('power-off', 'Powered off'),
                              ('power-on', 'Running')):
            page.press(action)
            page.wait_state(state)
        # nobody sees it who looks at the processes
        for path in Path('/proc').glob('[0-9]*/cmdline'):
            with contextlib.suppress(OSError):
                self.assertNotIn(password.encode(), path.read_bytes())
        port = int(url.split(':')[2].split('/')[0])
        process.terminate()
        process.wait(TIMEOUT)
        output.wait_end()           # QEMU and HAProxy have this pipe, too
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', port))
        page.wait_data(connection='waiting')


if __name__ == '__main__':
    case.main(lambda: (places.need(PAGES / 'console.html'),
                       endpoint.prepare(), browser.need()))
