# SPDX-License-Identifier: GPL-2.0-or-later
"""A SPICE client made from the protocol's documentation alone.

Nothing here comes from the headers or libraries that are tested, and every
number is written out: where this client and theirs disagree, one is wrong. It
speaks the main channel, and a little of others, can send any bytes, and shows
each message as it came.
"""

import hashlib
import os
import socket
import ssl
import struct
import threading
import time
from typing import NamedTuple

from .record import TIMEOUT, Record

# Link stage
MAGIC = b'REDQ'
CHANNEL_MAIN, CHANNEL_DISPLAY, CHANNEL_INPUTS, CHANNEL_CURSOR, \
    CHANNEL_PLAYBACK, CHANNEL_RECORD = range(1, 7)
CAP_AUTH_SELECTION, CAP_AUTH_SPICE, CAP_AUTH_SASL, CAP_MINI_HEADER = range(4)
LINK_ERRORS = ('ok', 'error', 'invalid magic', 'invalid data',
               'version mismatch', 'need secured', 'need unsecured',
               'permission denied', 'bad connection id',
               'channel not available', 'replaced')

# Main channel capabilities
CAP_SEMI_SEAMLESS_MIGRATE, CAP_NAME_AND_UUID, CAP_AGENT_CONNECTED_TOKENS, \
    CAP_SEAMLESS_MIGRATE, CAP_POWER_CONTROL, CAP_POWER_RESET, \
    CAP_POWER_OFF, CAP_POWER_ON, CAP_POWER_PAUSE, CAP_POWER_CONTINUE, \
    CAP_CONTROL_ONLY = range(11)
# what a client says that opens no other channel and takes nobody's place
CONTROL_CAPS = (CAP_POWER_CONTROL, CAP_CONTROL_ONLY)
POWER_CAPS = {'reset': CAP_POWER_RESET, 'power-off': CAP_POWER_OFF,
              'power-on': CAP_POWER_ON, 'pause': CAP_POWER_PAUSE,
              'continue': CAP_POWER_CONTINUE}

# Messages of every channel
MSG_SET_ACK, MSG_PING, MSG_DISCONNECTING, MSG_NOTIFY = 3, 4, 6, 7
MSGC_ACK_SYNC, MSGC_ACK, MSGC_PONG = 1, 2, 3
# Messages of the main channel
MSG_INIT, MSG_CHANNELS_LIST, MSG_MULTI_MEDIA_TIME, MSG_AGENT_DATA, \
    MSG_AGENT_TOKEN, MSG_MIGRATE_SWITCH_HOST = 103, 104, 106, 109, 110, 111
MSG_POWER_STATE, MSG_POWER_RESULT = 119, 120
MSGC_ATTACH_CHANNELS, MSGC_AGENT_START, MSGC_AGENT_DATA, MSGC_MIGRATE_END, \
    MSGC_MIGRATE_DST_DO_SEAMLESS = 104, 106, 107, 109, 110
MSGC_POWER = {'reset': 113, 'power-off': 114, 'power-on': 115, 'pause': 116,
              'continue': 117}

# Messages of the display channel
MSG_DRAW = range(302, 314)
MSGC_DISPLAY_INIT = 101

ACTIONS = ('reset', 'power-off', 'power-on', 'pause', 'continue')  # from bit 0
STATES = ('unknown', 'off', 'on', 'paused', 'suspended', 'crashed')
RESULTS = ('ok', 'denied', 'wrong-state', 'busy', 'unsupported', 'failed')


class LinkError(Exception):
    """The server did not let us in."""

    def __init__(self, code):
        super().__init__(LINK_ERRORS[code] if code < len(LINK_ERRORS)
                         else str(code))
        self.code = code


class Disconnected(Exception):
    """The server has ended the connection."""


class Message(NamedTuple):
    type: int
    body: bytes


class PowerState(NamedTuple):
    state: str
    allowed: tuple
    possible: tuple

    @property
    def shown(self):
        """What query-spice shows, too."""
        return self.state, self.possible

    @classmethod
    def parse(cls, body):
        state, allowed, possible = struct.unpack('<BII', body)
        if possible & ~allowed:
            raise ValueError(f'{possible:#x} is possible, of which only '
                             f'{allowed:#x} is allowed')
        return cls(STATES[state], actions_of(allowed), actions_of(possible))


class PowerResult(NamedTuple):
    request_id: int
    result: str
    message: str

    @classmethod
    def parse(cls, body):
        request_id, result, size = struct.unpack_from('<IBI', body)
        if len(body) != 9 + size or size > 1024:
            raise ValueError(f'a result of {len(body)} bytes says that its '
                             f'message has {size}')
        return cls(request_id, RESULTS[result], body[9:].decode())


class SwitchHost(NamedTuple):
    """Where a client is to go; a port that is left out is 0."""
    host: str
    port: int
    tls_port: int

    @classmethod
    def parse(cls, body):
        port, tls_port, size, offset = struct.unpack_from('<HHII', body)
        host = body[offset:offset + size]
        if len(host) != size or host[-1:] != b'\0':
            raise ValueError(f'no host in {body.hex()}')
        return cls(host[:-1].decode(), port, tls_port)


def actions_of(mask):
    if mask >> len(ACTIONS):
        raise ValueError(f'unknown actions in {mask:#x}')
    return tuple(a for bit, a in enumerate(ACTIONS) if mask >> bit & 1)


def cap_words(caps):
    words = [0] * (max(caps) // 32 + 1 if caps else 0)
    for cap in caps:
        words[cap // 32] |= 1 << cap % 32
    return words


def caps_of(words):
    return {32 * i + bit for i, word in enumerate(words)
            for bit in range(32) if word >> bit & 1}


# --- the ticket: RSA-OAEP with SHA-1 (PKCS #1), 1024 bits -------------------

def public_key(der):
    """Modulus and exponent of a DER SubjectPublicKeyInfo."""
    def element(data):
        size, skip = data[1], 2
        if size & 0x80:
            skip += size & 0x7f
            size = int.from_bytes(data[2:skip], 'big')
        return data[skip:skip + size], data[skip + size:]
    info, _ = element(der)
    _, rest = element(info)                     # the algorithm
    bits, _ = element(rest)
    key, _ = element(bits[1:])                  # no unused bits
    modulus, rest = element(key)
    exponent, _ = element(rest)
    return int.from_bytes(modulus, 'big'), int.from_bytes(exponent, 'big')


def oaep_encrypt(der, message):
    modulus, exponent = public_key(der)
    size = (modulus.bit_length() + 7) // 8
    digest = 20

    def mask(seed, length):
        blocks = [hashlib.sha1(seed + struct.pack('>I', i)).digest()
                  for i in range(length // digest + 1)]
        return b''.join(blocks)[:length]

    def xor(a, b):
        return bytes(x ^ y for x, y in zip(a, b))

    padding = bytes(size - len(message) - 2 * digest - 2)
    block = hashlib.sha1(b'').digest() + padding + b'\1' + message
    seed = os.urandom(digest)
    block = xor(block, mask(seed, len(block)))
    seed = xor(seed, mask(block, digest))
    plain = int.from_bytes(b'\0' + seed + block, 'big')
    return pow(plain, exponent, modulus).to_bytes(size, 'big')


# --- linking -----------------------------------------------------------------

COMMON_CAPS = (CAP_AUTH_SELECTION, CAP_AUTH_SPICE, CAP_MINI_HEADER)


def link_header(size, magic=MAGIC, major=2, minor=2):
    return struct.pack('<4sIII', magic, major, minor, size)


def link_body(common=COMMON_CAPS, caps=(), session=0, channel=CHANNEL_MAIN,
              channel_id=0, n_common=None, n_caps=None, offset=18):
    """What a client says first; the last three can lie."""
    common, caps = cap_words(common), cap_words(caps)
    n_common = len(common) if n_common is None else n_common
    n_caps = len(caps) if n_caps is None else n_caps
    return struct.pack(f'<IBBIII{len(common) + len(caps)}I', session, channel,
                       channel_id, n_common, n_caps, offset, *common, *caps)


class Link:
    """A connection in the stage of linking, which goes step by step."""

    def __init__(self, sock):
        self.sock = sock
        self._input = b''

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.sock.close()

    def send_raw(self, data):
        self.sock.sendall(data)

    def _read(self, size, deadline=None):
        deadline = deadline or time.monotonic() + TIMEOUT
        while len(self._input) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError('expected: more from the SPICE server')
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLEOFError) as error:
                raise Disconnected(str(error))
            except ssl.SSLError as error:
                # the same, after another error of the connection
                if error.reason != 'UNEXPECTED_EOF_WHILE_READING':
                    raise
                raise Disconnected(str(error))
            if not data:
                raise Disconnected('end of file')
            self._input += data
        self.sock.settimeout(TIMEOUT)
        data, self._input = self._input[:size], self._input[size:]
        return data

    def read_number(self):
        return struct.unpack('<I', self._read(4))[0]

    def hello(self, **options):
        """Say who we are, see link_body()."""
        body = link_body(**options)
        self.send_raw(link_header(len(body)) + body)

    def read_reply(self):
        """Who the server is: its capabilities, and the key for the ticket."""
        magic, major, _, size = struct.unpack('<4sIII', self._read(16))
        if magic != MAGIC or major != 2:
            raise ValueError(f'not a SPICE 2 server: {magic} {major}')
        reply = self._read(size)
        error, self.key, n_common, n_caps, offset = struct.unpack_from(
            '<I162sIII', reply)
        if error:
            raise LinkError(error)
        words = struct.unpack_from(f'<{n_common + n_caps}I', reply, offset)
        self.common_caps = caps_of(words[:n_common])
        self.caps = caps_of(words[n_common:])

    def select(self, mechanism):
        self.send_raw(struct.pack('<I', mechanism))

    def ticket_bytes(self, ticket=''):
        return oaep_encrypt(self.key, ticket.encode() + b'\0')

    def read_verdict(self):
        error = self.read_number()
        if error:
            raise LinkError(error)

    def until_end_raw(self, timeout=TIMEOUT):
        """All bytes until the server ends the connection."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self._read(len(self._input) + 1, deadline)
        except Disconnected:
            return self._input

    def authenticate(self, mechanism):
        """SASL, with a mechanism of sasl.py; returns those on offer."""
        self.select(CAP_AUTH_SASL)
        offered = self._read(self.read_number()).decode().strip(',').split(',')
        name = mechanism.name.encode()
        self.send_raw(struct.pack('<I', len(name)) + name)
        answer = mechanism.first()
        while True:
            # a terminating zero belongs to it, so that nothing is not empty
            answer = b'' if answer is None else answer + b'\0'
            self.send_raw(struct.pack('<I', len(answer)) + answer)
            challenge = self._read(self.read_number())[:-1]
            if self._read(1) == b'\1':
                mechanism.last(challenge)
                break
            answer = mechanism.step(challenge)
        self.read_verdict()
        return offered


class WebSocket:
    """A socket through which browsers speak (RFC 6455), as far as we need it.

    Each sendall() is a frame; its mask is zero.
    """

    def __init__(self, sock, headers=()):
        self._sock = sock
        self._input = b''
        self._left = 0                  # of the payload of a frame
        more = ''.join(f'{header}\r\n' for header in headers).encode()
        sock.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n' + more +
                     b'Upgrade: websocket\r\nConnection: Upgrade\r\n'
                     b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
                     b'Sec-WebSocket-Protocol: binary\r\n'
                     b'Sec-WebSocket-Version: 13\r\n\r\n')
        while b'\r\n\r\n' not in self._input:
            self._more()
        answer, self._input = self._input.split(b'\r\n\r\n', 1)
        if not answer.startswith(b'HTTP/1.1 101 '):
            raise ValueError(f'no WebSocket: {answer.decode()}')

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def _more(self):
        data = self._sock.recv(65536)
        if not data:
            raise ConnectionError('end of file')
        self._input += data

    def _take(self, size):
        while len(self._input) < size:
            self._more()
        data, self._input = self._input[:size], self._input[size:]
        return data

    def sendall(self, data):
        size = len(data)
        if size < 126:
            length = struct.pack('>B', 0x80 | size)
        elif size < 1 << 16:
            length = struct.pack('>BH', 0x80 | 126, size)
        else:
            length = struct.pack('>BQ', 0x80 | 127, size)
        self._sock.sendall(b'\x82' + length + bytes(4) + data)

    def recv(self, size):
        while not self._left:
            kind, self._left = self._take(2)
            if self._left == 126:
                self._left, = struct.unpack('>H', self._take(2))
            elif self._left == 127:
                self._left, = struct.unpack('>Q', self._take(8))
            if kind & 15 == 8:          # it says goodbye
                return b''
        if not self._input:
            self._more()
        data = self._take(min(size, self._left, len(self._input)))
        self._left -= len(data)
        return data


# --- the client --------------------------------------------------------------

class Client(Link):
    """A channel, linked. caps are the channel's capabilities we set.

    The first one is a main channel; others name its session, from its INIT.
    With pipelined, these bytes follow the ticket at once: the server has not
    said yet that it lets us in.
    """

    def __init__(self, sock, caps=(CAP_POWER_CONTROL,), ticket='',
                 mini_header=True, channel=CHANNEL_MAIN, session=0,
                 mechanism=None, pipelined=b''):
        super().__init__(sock)
        self._serial = 0
        self._ack_window = 0
        self._unacked = 0
        self.received = []              # every message, as it came
        try:
            common = set(COMMON_CAPS)
            if not mini_header:
                common.remove(CAP_MINI_HEADER)
            if mechanism:
                common.add(CAP_AUTH_SASL)
            self.hello(common=common, caps=set(caps), session=session,
                       channel=channel)
            self.read_reply()
            self._mini_header = (mini_header
                                 and CAP_MINI_HEADER in self.common_caps)
            if mechanism:
                self.offered = self.authenticate(mechanism)
                self.send_raw(pipelined)
            else:
                if CAP_AUTH_SELECTION in self.common_caps:
                    self.select(CAP_AUTH_SPICE)
                self.send_raw(self.ticket_bytes(ticket) + pipelined)
            self.read_verdict()
        except BaseException:
            sock.close()
            raise

    @property
    def configured(self):
        """The actions that the server has advertised."""
        return tuple(a for a in ACTIONS if POWER_CAPS[a] in self.caps)

    # --- messages -----------------------------------------------------------

    def frame(self, kind, body=b'', size=None):
        """A message's bytes; size, where the header shall lie about it."""
        size = len(body) if size is None else size
        if self._mini_header:
            return struct.pack('<HI', kind, size) + body
        self._serial += 1
        return struct.pack('<QHII', self._serial, kind, size, 0) + body

    def send(self, kind, body=b''):
        self.send_raw(self.frame(kind, body))

    def request_frame(self, action, request_id):
        return self.frame(MSGC_POWER[action], struct.pack('<I', request_id))

    def request(self, action, request_id):
        self.send_raw(self.request_frame(action, request_id))

    def receive(self, deadline=None):
        """The next message; what the protocol wants answered is answered."""
        if self._mini_header:
            kind, size = struct.unpack('<HI', self._read(6, deadline))
        else:
            _, kind, size, _ = struct.unpack('<QHII', self._read(18, deadline))
        message = Message(kind, self._read(size, deadline))
        self.received.append(message)
        try:
            self._answer(message)
        except OSError:
            pass        # it has gone, but more that it sent may be here
        return message

    def _answer(self, message):
        if message.type == MSG_SET_ACK:
            generation, self._ack_window = struct.unpack('<II', message.body)
            self._unacked = 0
            self.send(MSGC_ACK_SYNC, struct.pack('<I', generation))
            return
        if message.type == MSG_PING:
            self.send(MSGC_PONG, message.body[:12])
        if self._ack_window:
            self._unacked += 1
            if self._unacked == self._ack_window:
                self._unacked = 0
                self.send(MSGC_ACK)

    def drain(self):
        """Read what has come by now, by TLS, and answer it."""
        self.receive()
        while self._input or self.sock.pending():
            self.receive()
        self.received.clear()

    def wait(self, *kinds, timeout=TIMEOUT):
        """The next message of one of these types."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive(deadline)
            if message.type in kinds:
                return message

    def wait_init(self):
        """Wait for INIT, which tells the session's id."""
        message = self.wait(MSG_INIT)
        self.session, = struct.unpack_from('<I', message.body)
        return message

    def wait_state(self, state=None):
        """The next POWER_STATE (the next that shows this state)."""
        while True:
            found = PowerState.parse(self.wait(MSG_POWER_STATE).body)
            if state in (None, found.state):
                return found

    def wait_result(self):
        return PowerResult.parse(self.wait(MSG_POWER_RESULT).body)

    def act(self, action, request_id):
        """Ask, and return (the states seen before the result, the result)."""
        self.request(action, request_id)
        states = []
        while True:
            message = self.wait(MSG_POWER_STATE, MSG_POWER_RESULT)
            if message.type == MSG_POWER_RESULT:
                return states, PowerResult.parse(message.body)
            states.append(PowerState.parse(message.body))

    def until_sent_away(self, timeout=TIMEOUT):
        """Everything until we are to go to another host; then we leave."""
        deadline = time.monotonic() + timeout
        messages = [self.receive(deadline)]
        while messages[-1].type != MSG_MIGRATE_SWITCH_HOST:
            messages.append(self.receive(deadline))
        self.sock.shutdown(socket.SHUT_WR)
        return messages

    def until_end(self, timeout=TIMEOUT):
        """Everything that comes until the server ends the connection."""
        deadline = time.monotonic() + timeout
        messages = []
        try:
            while True:
                messages.append(self.receive(deadline))
        except Disconnected:
            return messages

    def fence(self):
        """Make sure that all we have sent has been read and acted upon.

        The server answers ATTACH_CHANNELS with the channels' list,
        and it handles what comes on one connection in order.
        """
        mark = len(self.received)
        self.send(MSGC_ATTACH_CHANNELS)
        self.wait(MSG_CHANNELS_LIST)
        return self.received[mark:]


class Display(Client):
    """A display channel; draws is a Record of what the machine draws.

    A thread receives it all, until the channel is closed.
    """

    def __init__(self, sock, session, **options):
        super().__init__(sock, caps=(), channel=CHANNEL_DISPLAY,
                         session=session, **options)
        self.draws = Record('the display channel')
        # ids and sizes of two caches, which we do not have
        self.send(MSGC_DISPLAY_INIT, struct.pack('<BqBi', 1, 0, 1, 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while True:
                message = self.receive(time.monotonic() + 3600)
                self.received.clear()
                if message.type in MSG_DRAW:
                    self.draws.append(message.type)
        except (Disconnected, OSError, ValueError):
            pass
        finally:
            self.draws.end()

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)    # wakes the thread
        except OSError:
            pass
        self.draws.wait_end()
        super().close()
