# SPDX-License-Identifier: GPL-2.0-or-later
"""What a real client and a real server say to each other.

A Wiretap stands between them, hands every byte on, and keeps it.
"""

import socket
import struct
import threading
from pathlib import Path
from typing import NamedTuple

from . import wire
from .record import TIMEOUT

MSG_MULTI_MEDIA_TIME = 106

# What differs from one connection to the next, as (offset, size)
RANDOM = {('server', wire.MSG_INIT): ((0, 4), (24, 4)),  # session, media time
          ('server', wire.MSG_PING): ((0, 12),),         # id, time
          ('client', wire.MSGC_PONG): ((0, 12),),
          ('server', MSG_MULTI_MEDIA_TIME): ((0, 4),)}


class Conversation(NamedTuple):
    """One channel's connection."""
    channel: tuple          # type, id
    client_words: tuple     # capabilities: of all channels, of this one
    server_words: tuple
    client: list            # its messages, without what is random in them
    server: list


class _Pair:
    """The bytes of one connection, in both directions."""

    def __init__(self, client, server):
        self.sockets = {'client': client, 'server': server}
        self.bytes = {'client': bytearray(), 'server': bytearray()}
        self.threads = [
            threading.Thread(target=self._copy, args=names, daemon=True)
            for names in (('client', 'server'), ('server', 'client'))]
        for thread in self.threads:
            thread.start()

    def _copy(self, come, go):
        try:
            while True:
                data = self.sockets[come].recv(65536)
                if not data:
                    break
                self.bytes[come] += data
                self.sockets[go].sendall(data)
        except OSError:
            pass
        try:
            self.sockets[go].shutdown(socket.SHUT_WR)
        except OSError:
            pass                        # the other side has gone already

    def close(self):
        for thread in self.threads:
            thread.join(TIMEOUT)
        for sock in self.sockets.values():
            sock.close()


class Wiretap:
    """Listens beside a machine's SPICE socket; its uri is for one client."""

    def __init__(self, machine):
        self._target = machine.spice_socket
        self._path = self._target + '-tap'
        self.uri = f'spice+unix://{self._path}'
        self._pairs = []
        Path(self._path).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def _run(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._pairs.append(_Pair(client, server))

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(TIMEOUT)
        self._listener.close()
        for pair in self._pairs:
            pair.close()

    def conversations(self):
        """When it is closed: each channel's, in the order of their types."""
        return sorted((_parse(pair.bytes['client'], pair.bytes['server'])
                       for pair in self._pairs),
                      key=lambda talk: talk.channel)


def _link(data):
    """A link message's body, and what comes after it."""
    magic, _, _, size = struct.unpack_from('<4sIII', data)
    if magic != wire.MAGIC:
        raise ValueError('this is not SPICE')
    return bytes(data[16:16 + size]), bytes(data[16 + size:])


def _words(body, n_common, n_channel, offset):
    words = struct.unpack_from(f'<{n_common + n_channel}I', body, offset)
    return words[:n_common], words[n_common:]


def _messages(who, data):
    messages = []
    while len(data) >= 6:
        kind, size = struct.unpack_from('<HI', data)
        body = bytearray(data[6:6 + size])
        for offset, length in RANDOM.get((who, kind), ()):
            body[offset:offset + length] = bytes(length)
        messages.append((kind, bytes(body)))
        data = data[6 + size:]
    return messages


def _parse(client, server):
    asked, client = _link(client)
    _, kind, ident, *where = struct.unpack_from('<IBBIII', asked)
    client_words = _words(asked, *where)
    told, server = _link(server)
    error, _, *where = struct.unpack_from('<I162sIII', told)
    server_words = _words(told, *where)
    if error or not all(words[0][0] >> wire.CAP_MINI_HEADER & 1
                        for words in (client_words, server_words)):
        raise ValueError(f'link error {error}, or there are large headers')
    # the mechanism and the encrypted ticket; whether it was the right one
    return Conversation((kind, ident), client_words, server_words,
                        _messages('client', client[4 + 128:]),
                        _messages('server', server[4:]))
