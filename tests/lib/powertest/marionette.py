# SPDX-License-Identifier: GPL-2.0-or-later
"""Firefox for selenium, without geckodriver, which Debian does not have.

geckodriver translates WebDriver into Firefox's own protocol, Marionette, which
has the same commands under other names. This is as much of it as tests use:
what selenium calls in place of an HTTP connection.
"""

import json
import socket

from selenium.webdriver.remote.command import Command

# selenium's names, and Marionette's behind "WebDriver:"
NAMES = {
    Command.NEW_SESSION: 'NewSession',
    Command.GET: 'Navigate',
    Command.GET_CURRENT_URL: 'GetCurrentURL',
    Command.REFRESH: 'Refresh',
    Command.GO_BACK: 'Back',
    Command.FIND_ELEMENT: 'FindElement',
    Command.FIND_ELEMENTS: 'FindElements',
    Command.CLICK_ELEMENT: 'ElementClick',
    Command.SEND_KEYS_TO_ELEMENT: 'ElementSendKeys',
    Command.GET_ELEMENT_TEXT: 'GetElementText',
    Command.W3C_EXECUTE_SCRIPT: 'ExecuteScript',
    Command.W3C_EXECUTE_SCRIPT_ASYNC: 'ExecuteAsyncScript',
    Command.W3C_ACTIONS: 'PerformActions',
    Command.SCREENSHOT: 'TakeScreenshot',
    Command.SET_TIMEOUTS: 'SetTimeouts',
    Command.NEW_WINDOW: 'NewWindow',
    Command.W3C_GET_CURRENT_WINDOW_HANDLE: 'GetWindowHandle',
    Command.W3C_GET_WINDOW_HANDLES: 'GetWindowHandles',
    Command.SWITCH_TO_WINDOW: 'SwitchToWindow',
    Command.CLOSE: 'CloseWindow',
    Command.SWITCH_TO_FRAME: 'SwitchToFrame',
}


class Connection:
    """What selenium's Remote takes as its command_executor."""

    def __init__(self, port, timeout):
        self._sock = socket.create_connection(('127.0.0.1', port), timeout)
        self._file = self._sock.makefile('rb')
        self._ids = 0
        self._receive()                 # Firefox says who it is

    def _receive(self):
        length = b''
        while (digit := self._file.read(1)) != b':':
            if not digit:
                raise ConnectionError('Firefox has ended')
            length += digit
        return json.loads(self._file.read(int(length)))

    def _call(self, name, parameters):
        self._ids += 1
        message = json.dumps([0, self._ids, name, parameters]).encode()
        self._sock.sendall(b'%d:%s' % (len(message), message))
        _, ident, error, value = self._receive()
        if ident != self._ids:
            raise ConnectionError(f'Firefox answers {ident} for {self._ids}')
        return error, value

    def execute(self, command, parameters):
        if command == Command.QUIT:
            self._call('Marionette:Quit', {'flags': ['eForceQuit']})
            return {'value': None}
        parameters = {key: value for key, value in parameters.items()
                      if key != 'sessionId'}
        if command == Command.NEW_SESSION:
            parameters = parameters['capabilities']['alwaysMatch']
        error, value = self._call(f'WebDriver:{NAMES[command]}', parameters)
        if error:               # in the form that selenium has from HTTP
            return {'status': 500, 'value': json.dumps({'value': error})}
        if isinstance(value, dict) and value.keys() == {'value'}:
            value = value['value']
        return {'value': value}

    def close(self):
        self._file.close()
        self._sock.close()
