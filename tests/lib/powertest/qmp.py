# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's monitor."""

import json
import threading

from .record import TIMEOUT, Ended, Record, reader


class QMPError(Exception):
    """QEMU has refused a command."""


class QMP:
    """A monitor connection; events is a Record of what QEMU tells unasked."""

    def __init__(self, sock, log):
        self._sock = sock
        self._log = log
        self._ids = 0
        self._lock = threading.Lock()
        self._replies = Record('the monitor (replies)')
        self.events = Record('the monitor (events)')
        reader(sock.makefile('rb'), self._replies, self._line,
               on_end=self.events.end)
        self._replies.wait(lambda reply: 'QMP' in reply, "QMP's greeting")
        self.execute('qmp_capabilities')

    def _line(self, line):
        self._log.write(line.decode(errors='replace'))
        self._log.flush()
        reply = json.loads(line)
        if 'event' in reply:
            self.events.append(reply)
            return None
        return reply

    def execute(self, command, timeout=TIMEOUT, **arguments):
        with self._lock:
            self._ids += 1
            ident = self._ids
        message = {'execute': command, 'arguments': arguments, 'id': ident}
        mark = self._replies.mark
        try:
            self._sock.sendall(json.dumps(message).encode() + b'\n')
        except OSError as error:
            raise Ended(f'{command}: the monitor is closed, QEMU has ended '
                        f'({error.strerror})')
        reply = self._replies.wait(lambda r: r.get('id') == ident,
                                   f'an answer to {command}', mark, timeout)
        if 'error' in reply:
            raise QMPError(f"{command}: {reply['error']['desc']}")
        return reply['return']

    def wait_event(self, name, since, timeout=TIMEOUT, **data):
        """Wait for an event with at least these data."""
        def matches(event):
            return (event['event'] == name
                    and all(event.get('data', {}).get(key) == value
                            for key, value in data.items()))
        what = f'event {name}' + (f' with {data}' if data else '')
        return self.events.wait(matches, what, since, timeout)

    def event_names(self, since):
        """The names of all events that have been emitted by now.

        Events and replies come in order over one socket: what was emitted
        before a command was answered is here when the answer is.
        """
        self.execute('query-status')
        return [event['event'] for event in self.events.since(since)]

    def mark(self):
        """The place after every event that has been emitted by now."""
        self.execute('query-status')
        return self.events.mark

    @property
    def status(self):
        return self.execute('query-status')['status']

    def human(self, command):
        return self.execute('human-monitor-command',
                            **{'command-line': command})

    def close(self):
        self._sock.close()
