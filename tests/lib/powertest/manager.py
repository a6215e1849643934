# SPDX-License-Identifier: GPL-2.0-or-later
"""A small management layer, in place of libvirt, for power=managed.

It has a monitor of its own, on which it is told of requests, carries them out
with what every QEMU has (system_reset, stop, cont, quit), and replies.
"""

import contextlib
import socket
import threading

from .qmp import QMP, QMPError
from .record import TIMEOUT, Ended

ASKED, TOLD = 'SPICE_POWER_REQUEST', 'SPICE_POWER_RESULT'


class Manager:
    """A management layer.

    reasons says why it refuses an action. Until work() it only listens; from
    then on a thread serves one request after the other, what is pending first.
    """

    def __init__(self, vm, name='manager', reasons=None):
        self.reasons = dict(reasons or {})
        self.served = []                # the ids, in order
        self.errors = []
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(vm.probe_socket)
        self._sock = sock
        self._log = open(vm.log_dir / f'{name}-qmp.log', 'a')
        self.qmp = QMP(sock, self._log)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)       # wakes the threads
        self.qmp.events.wait_end()
        if self._thread.ident:
            self._thread.join(TIMEOUT)
        self.qmp.close()
        self._log.close()

    def work(self):
        self._thread.start()
        return self

    @property
    def pending(self):
        return self.qmp.execute('query-spice')['power'].get('pending')

    def wait_request(self, mark=0):
        """The next request that is ours to answer; the mark after it."""
        def ours(event):
            return event['event'] == ASKED and 'id' in event['data']
        mark = self.qmp.events.wait_mark(ours, 'a request with an id', mark,
                                         timeout=3600)
        return self.qmp.events.since()[mark - 1]['data'], mark

    def _run(self):
        try:
            # events that came before the connection are lost, but not this
            pending = self.pending
            if pending:
                self._serve(pending)
            mark = 0
            while True:
                request, mark = self.wait_request(mark)
                if request['id'] not in self.served:
                    self._serve(request)
        except Ended:
            pass                        # the monitor is closed
        except Exception as error:      # the test that waits shall see it
            self.errors.append(error)
            raise

    def _serve(self, request):
        self.served.append(request['id'])
        try:
            self.reply(request['id'], *self.carry_out(request['action']))
        except QMPError as error:
            self.errors.append(error)

    def carry_out(self, action):
        """Do it; returns the result and a message."""
        if action in self.reasons:
            return 'denied', self.reasons[action]
        try:
            if action in ('reset', 'power-on'):
                mark = self.qmp.mark()
                self.qmp.execute('system_reset')
                self.qmp.wait_event('RESET', mark)
            if action in ('continue', 'power-on'):
                self.qmp.execute('cont')
            if action == 'pause':
                self.qmp.execute('stop')
            if action == 'power-off':
                self.qmp.execute('quit')
                raise Ended('QEMU has said goodbye')
        except QMPError as error:
            return 'failed', str(error)
        return 'ok', None

    def reply(self, ident, result, message=None):
        more = {'message': message} if message else {}
        self.qmp.execute('spice-power-reply', id=ident, result=result, **more)
