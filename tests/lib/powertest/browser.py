# SPDX-License-Identifier: GPL-2.0-or-later
"""Browsers as people have them, headless: Debian's Chromium, and Firefox ESR.

selenium drives both. Nothing in them is the user's: each has a home directory
of its own, which ends with it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import places, ports
from .record import TIMEOUT, Record, reader
from .running import Running

try:
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By

    from .marionette import Connection
except ImportError:
    webdriver = None

CHROMIUM, DRIVER = Path('/usr/bin/chromium'), Path('/usr/bin/chromedriver')
FIREFOX = Path('/usr/bin/firefox-esr')
SIZE = 1024, 768
# What a person would set who is tested upon: no questions, no calls home
PREFERENCES = {
    'app.normandy.enabled': False,
    'app.update.disabledForTesting': True,
    'browser.shell.checkDefaultBrowser': False,
    'browser.startup.page': 0,
    'datareporting.policy.dataSubmissionEnabled': False,
    'devtools.console.stdout.content': True,
    'network.captive-portal-service.enabled': False,
    'network.connectivity-service.enabled': False,
    'services.settings.server': 'data:,',
    'toolkit.telemetry.enabled': False,
}
# Those of pages: what Firefox itself has to say has no quotes, or its own URLs
COMPLAINT = re.compile('JavaScript error: https?:|console.error: "|'
                       'Content-Security-Policy')
# Until something holds, looked at each time when the page has changed
UNTIL = '''
const done = arguments[arguments.length - 1];
const holds = () => { try { return %s; } catch (error) { return false; } };
const observer = new MutationObserver(() => {
    const value = holds();
    if (value) {
        observer.disconnect();
        done(value);
    }
});
observer.observe(document, {subtree: true, childList: true,
                            attributes: true, characterData: true});
if (holds()) {
    observer.disconnect();
    done(holds());
}
'''


def need():
    """Complain unless there is Chromium, and what drives it and others."""
    for path, package in ((CHROMIUM, 'chromium'), (DRIVER, 'chromium-driver')):
        if not path.exists():
            raise places.Missing(f'there is no {path.name}: install the '
                                 f'package {package}')
    if webdriver is None:
        raise places.Missing('there is no selenium: install the package '
                             'python3-selenium')


class Browser(Running):
    """One browser; selenium's driver of it is `driver`."""

    def __init__(self, log_dir):
        self.log_dir = Path(log_dir)
        self.driver = None
        self.stack = contextlib.ExitStack()

    def close(self):
        self.stack.close()

    def start(self):
        self.home = Path(tempfile.mkdtemp(prefix='spice-power-browser-'))
        self.stack.callback(shutil.rmtree, self.home, True)
        # no bus, no display, and no settings of the user's
        self.env = {'HOME': str(self.home), 'LC_ALL': 'C.UTF-8',
                    'TMPDIR': str(self.home), 'PATH': os.environ['PATH']}
        self.begin()
        self.driver.set_script_timeout(TIMEOUT)
        self.driver.set_page_load_timeout(TIMEOUT)

    @classmethod
    def missing(cls):
        """Why it can't be had, or None."""

    # --- what tests do with it -----------------------------------------------

    def until(self, expression, what=None):
        """Wait until this holds in the page; its value."""
        try:
            return self.driver.execute_async_script(UNTIL % expression)
        except WebDriverException as error:
            raise TimeoutError(f'expected: {what or expression}: {error.msg}\n'
                               f'  the page: {self.text()}') from None

    def value(self, expression):
        return self.driver.execute_script(f'return {expression.strip()}')

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self):
        """All of the page that is to be seen."""
        return self.value('document.body.innerText')

    def tab(self):
        """Another page beside those that are there; its handle."""
        self.driver.switch_to.new_window('tab')
        return self.driver.current_window_handle


class Chromium(Browser):
    name = 'chromium'

    def begin(self):
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        options.accept_insecure_certs = True
        # as root it has no sandbox; /dev/shm is small in containers
        for argument in ('--headless=new', '--disable-dev-shm-usage',
                         '--disable-gpu', '--no-first-run',
                         f'--window-size={SIZE[0]},{SIZE[1]}',
                         *(['--no-sandbox'] if os.geteuid() == 0 else [])):
            options.add_argument(argument)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        service = Service(
            str(DRIVER), port=ports.free(), env=self.env,
            service_args=[f'--log-path={self.log_dir}/chromedriver.log'])
        self.driver = webdriver.Chrome(service=service, options=options)
        self.stack.callback(self.driver.quit)

    def complaints(self, excused=None):
        """What its console has of errors since this was called last."""
        return [entry['message'] for entry in self.driver.get_log('browser')
                if entry['level'] == 'SEVERE'
                and not (excused and re.search(excused, entry['message']))]

    def command(self, name, **parameters):
        """One of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def memory(self):
        """What is left after its garbage has been collected."""
        self.command('Performance.enable')
        self.command('HeapProfiler.collectGarbage')
        metrics = self.command('Performance.getMetrics')['metrics']
        return {entry['name']: entry['value'] for entry in metrics
                if entry['name'] in ('JSHeapUsedSize', 'Nodes',
                                     'JSEventListeners')}


class Firefox(Browser):
    name = 'firefox'

    @classmethod
    def missing(cls):
        if not FIREFOX.exists():
            return ('there is no Firefox: install the package firefox-esr '
                    '(./stack check --full, or naming a suite, does)')

    def begin(self):
        profile = self.home / 'profile'
        profile.mkdir()
        port = ports.free()
        (profile / 'user.js').write_text(''.join(
            f'user_pref("{name}", {str(value).lower()});\n'
            if isinstance(value, (bool, int)) else
            f'user_pref("{name}", "{value}");\n'
            for name, value in {**PREFERENCES,
                                'marionette.port': port}.items()))
        self.output = Record(self.name)
        self.seen = 0
        log = self.stack.enter_context(open(self.log_dir / 'firefox.log', 'w'))

        def line(text):
            text = text.decode(errors='replace')
            log.write(text)
            return text.rstrip()
        self.process = subprocess.Popen(
            [str(FIREFOX), '--headless', '--marionette', '--no-remote',
             '--profile', str(profile), '--window-size',
             f'{SIZE[0]},{SIZE[1]}'],
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        reader(self.process.stdout, self.output, line)
        self.stack.callback(self._end)
        connection = self._connect(port)
        options = webdriver.FirefoxOptions()
        options.accept_insecure_certs = True
        self.driver = webdriver.Remote(command_executor=connection,
                                       options=options)
        self.stack.callback(self.driver.quit)

    def _connect(self, port):
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                return Connection(port, 2 * TIMEOUT)
            except ConnectionRefusedError:
                if (self.process.poll() is not None
                        or time.monotonic() > deadline):
                    raise RuntimeError('Firefox does not start: ' + ' '.join(
                        self.output.since()[-3:]))
                time.sleep(0.05)

    def _end(self):
        """After it has been asked to: it, and those that it has started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(TIMEOUT if self.driver else 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.wait_end()
        self.process.stdout.close()

    def complaints(self, excused=None):
        lines, self.seen = self.output.since(self.seen), self.output.mark
        return [line for line in lines if COMPLAINT.search(line)
                and not (excused and re.search(excused, line))]
