# SPDX-License-Identifier: GPL-2.0-or-later
"""A console in a browser: HAProxy with web.cfg, and the page as one uses it."""

import os
import re
from pathlib import Path

from . import endpoint, places

DOMAIN = 'example.localhost'    # which browsers take for this computer
HOST = f'console.{DOMAIN}'
PAGES = Path(os.environ.get('SPICE_POWER_PAGES',
                            places.PREFIX / 'share' / 'spice-html5'))


class Web(endpoint.Proxy):
    """HAProxy with web.cfg as it is shipped, at other places."""

    def __init__(self, log_dir, authority, changes=(), machines=None):
        """Machines are what the map has, by the first part of their names."""
        super().__init__(log_dir, authority.directory, changes)
        self.authority = authority
        self.lead(**(machines or {}))

    def lead(self, **machines):
        """For the next start."""
        self.map.write_text(''.join(f'{name}.{DOMAIN} {where}\n'
                                    for name, where in machines.items()))

    def configuration(self):
        both = self.directory / 'web.pem'
        both.write_text(''.join((self.directory / name).read_text() for name in
                                ('server-cert.pem', 'server-key.pem')))
        return endpoint.changed('web.cfg', (
            ('/var/lib/spice-endpoints/spice.map', str(self.map)),
            ('/etc/haproxy/spice-files.lua',
             str(endpoint.SHIPPED / 'spice-files.lua')),
            ('/usr/share/spice-html5', str(PAGES)),
            ('/etc/haproxy/spice-web.pem', str(both)),
            ('/etc/haproxy/spice-ca.pem', str(self.authority.ca_file)),
            ('/run/spice-gateway.sock', str(self.gateway)),
            *endpoint.bound(self.port, 443), *self.changes))

    @property
    def origin(self):
        return f'https://{HOST}:{self.port}'

    def url(self, name, **more):
        """What one opens; more is what the page itself can be told."""
        if not more:
            return f'{self.origin}/console/{name}.{DOMAIN}'
        words = ''.join(f'&{key}={value}' for key, value in more.items())
        return (f'{self.origin}/console.html?path=console/{name}.{DOMAIN}'
                + words)

    def socket_url(self, name):
        return (f'wss://{HOST}:{self.port}/console/{name}.{DOMAIN}')


class Page:
    """A console.html that has been opened in the tab that is in front."""

    def __init__(self, browser, url, password=None):
        self.browser = browser
        browser.driver.get(url)
        # whoever loads it anew has another one
        browser.driver.execute_script('window.isSame = true')
        if password is not None:
            self.log_in(password)

    def log_in(self, password):
        self.wait_shown('#ticket')
        self.find('#ticket-input').send_keys(password)
        self.click('#ticket-connect')

    def find(self, selector):
        return self.browser.find(selector)

    def text(self, selector):
        return self.find(selector).text

    def wait_shown(self, selector):
        self.browser.until(f"document.querySelector('{selector}')"
                           ".checkVisibility()", f'{selector} to be seen')

    def wait_hidden(self, selector):
        self.browser.until(f"!document.querySelector('{selector}')"
                           ".checkVisibility()", f'{selector} to be gone')

    def wait_wrong(self):
        """It says so of the password that was given."""
        self.browser.until("document.querySelector('#ticket-wrong').innerText"
                           " === 'The password is wrong'")

    def wait_data(self, **data):
        """Of the page as a whole: connection=, state=."""
        for name, value in data.items():
            self.browser.until(
                f"document.documentElement.dataset.{name} === '{value}'",
                f'{name} {value}')

    def wait_state(self, words):
        """What the state is, in words; a regular expression."""
        pattern = re.escape(words) if isinstance(words, str) else words.pattern
        self.browser.until('document.querySelector("#state").textContent'
                           f'.match(new RegExp({pattern!r}))',
                           f'the state "{words}"')

    def click(self, selector):
        """Once it can be."""
        self.browser.until(
            f"(element => element.checkVisibility() && !element.disabled)"
            f"(document.querySelector('{selector}'))",
            f'{selector} to be something that can be clicked on')
        self.find(selector).click()

    def press(self, action):
        """An action, and yes if it asks."""
        self.click(f'#{action}')
        if action in ('reset', 'power-off'):
            self.wait_shown('#question')
            self.click('#question-yes')

    def buttons(self):
        """Those that can be seen, and those of them that can be pressed."""
        return self.browser.value('''
            (buttons => [buttons.map(b => b.id),
                         buttons.filter(b => !b.disabled).map(b => b.id)])(
                [...document.querySelectorAll('#power button')]
                    .filter(b => b.checkVisibility()))''')

    @property
    def is_same(self):
        return self.browser.value('window.isSame === true')
