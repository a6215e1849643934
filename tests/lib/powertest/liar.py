# SPDX-License-Identifier: GPL-2.0-or-later
"""A SPICE server for browsers that says whatever a test wants.

It speaks WebSocket at a UNIX socket, and as much of SPICE as it takes to be
believed. Whoever has connected is sent what it plays, and is left alone.
"""

import base64
import contextlib
import hashlib
import socket
import struct
import subprocess
import threading

from . import wire
from .record import TIMEOUT, Record

MAGIC = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'         # of RFC 6455
BINARY, TEXT = 2, 1
COMMON = (wire.CAP_AUTH_SELECTION, wire.CAP_AUTH_SPICE, wire.CAP_MINI_HEADER)


def public_key():
    """One of 1024 bits, as in a link reply."""
    key = subprocess.run(['openssl', 'genrsa', '1024'], check=True,
                         capture_output=True).stdout
    return subprocess.run(['openssl', 'rsa', '-pubout', '-outform', 'DER'],
                          input=key, check=True, capture_output=True).stdout


def frame(data, opcode=BINARY, length=None):
    """A frame; length is what it says in place of the true one."""
    length = len(data) if length is None else length
    if length < 126:
        size = bytes([length])
    elif length < 1 << 16:
        size = struct.pack('>BH', 126, length)
    else:
        size = struct.pack('>BQ', 127, length)
    return bytes([0x80 | opcode]) + size + data


def message(kind, body=b'', size=None):
    return struct.pack('<HI', kind, len(body) if size is None else size) + body


class Caller:
    """A browser that has connected."""

    def __init__(self, sock, key):
        self.sock = sock
        self.key = key
        self.channel = None             # once there is a link
        self._input = b''

    def accept(self):
        request = b''
        while b'\r\n\r\n' not in request:
            request += self._receive()
        wanted = next(line.split(b':', 1)[1].strip()
                      for line in request.split(b'\r\n')
                      if line.lower().startswith(b'sec-websocket-key:'))
        answer = base64.b64encode(hashlib.sha1(wanted + MAGIC).digest())
        self.sock.sendall(b'HTTP/1.1 101 Switching Protocols\r\n'
                          b'Upgrade: websocket\r\nConnection: Upgrade\r\n'
                          b'Sec-WebSocket-Protocol: binary\r\n'
                          b'Sec-WebSocket-Accept: ' + answer + b'\r\n\r\n')

    def _receive(self, size=65536, flags=0):
        data = self.sock.recv(size, flags)
        if not data:
            raise ConnectionError('it has gone')
        return data

    def _frame(self):
        """The payload of the next one; browsers mask each."""
        head = self._receive(2, socket.MSG_WAITALL)
        length, form = head[1] & 0x7f, {126: '>H', 127: '>Q'}
        if length in form:
            form = form[length]
            length, = struct.unpack(form, self._receive(struct.calcsize(form),
                                                        socket.MSG_WAITALL))
        mask = self._receive(4, socket.MSG_WAITALL)
        data = self._receive(length, socket.MSG_WAITALL) if length else b''
        return bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))

    def read(self, size):
        while len(self._input) < size:
            self._input += self._frame()
        data, self._input = self._input[:size], self._input[size:]
        return data

    def wait_request(self):
        """The number of the next request for an action."""
        while True:
            kind, size = struct.unpack('<HI', self.read(6))
            body = self.read(size)
            if kind in wire.MSGC_POWER.values():
                return struct.unpack('<I', body)[0]

    def send(self, data, **options):
        self.sock.sendall(frame(data, **options))

    def link(self, size=None, n_common=1, n_caps=1, offset=178, error=0,
             caps=(wire.CAP_POWER_CONTROL, *wire.POWER_CAPS.values()),
             magic=wire.MAGIC):
        """The reply to its first message; any number in it may be a lie."""
        _, self.channel = struct.unpack_from('<IB', self.read(
            struct.unpack('<4sIII', self.read(16))[3]))
        words = (*wire.cap_words(COMMON), *wire.cap_words(caps))
        reply = struct.pack('<I162sIII', error, self.key, n_common, n_caps,
                            offset) + struct.pack('<2I', *words)
        self.send(wire.link_header(len(reply) if size is None else size,
                                   magic=magic) + reply)

    def let_in(self):
        """Any ticket is good."""
        self.link()
        self.read(4 + 128)              # which way, and the ticket
        self.send(struct.pack('<I', 0))

    def init(self):
        """Up to where the main channel begins."""
        self.let_in()
        self.greet()

    def greet(self):
        self.send(message(wire.MSG_INIT, struct.pack('<8I', 1, 0, 3, 1, 0, 0,
                                                     0, 0)))

    def power(self, state='on', allowed=31, possible=None):
        self.send(message(wire.MSG_POWER_STATE, struct.pack(
            '<BII', wire.STATES.index(state), allowed,
            allowed if possible is None else possible)))

    def until_end(self):
        with contextlib.suppress(OSError):
            while True:
                self._receive()


class Liar:
    """play(caller) is what each who connects is played."""

    def __init__(self, path, play):
        self.path, self.play = path, play
        self.key = public_key()
        self.callers = Record('who has come to the liar')
        self._threads = []

    def __enter__(self):
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.socket.listen()
        self._sockets = []
        self._start(self._serve)
        return self

    def __exit__(self, *unused):
        for sock in self.socket, *self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT)
        self.socket.close()
        self.path.unlink(missing_ok=True)

    def _start(self, *call):
        thread = threading.Thread(target=call[0], args=call[1:], daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            self._sockets.append(sock)
            self._start(self._talk, sock)

    def _talk(self, sock):
        # who leaves while it is lied to has the right to
        with sock, contextlib.suppress(OSError):
            caller = Caller(sock, self.key)
            caller.accept()
            self.callers.append(caller)
            self.play(caller)
            caller.until_end()
