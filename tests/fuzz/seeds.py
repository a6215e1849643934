# SPDX-License-Identifier: GPL-2.0-or-later
"""The inputs that the fuzzers begin with, one for each thing to reach.

The steps are those of server.cpp and client.c: a byte that says which, and
its arguments.
"""

import struct

# server.cpp: steps
CONNECT, REQUEST, BODY, ANY, SIZED, RAW, BYTES, FLOOD = 0, 1, 3, 4, 5, 6, 7, 8
COMPLETE, STATE, CALLBACK, POWER, LEAVE, READ, FLUSH = 9, 10, 11, 12, 13, 14, 15
TIME, SHUTDOWN, MIGRATE, AGENT = 16, 17, 18, 19
AGENT_PIECE, AGENT_TOKENS, MIGRATING, GUEST_SAYS = 20, 21, 22, 23
(GROUP, HALF, OTHER_CHANNEL, TICKET, NO_TICKET, MOST, ALLOW, SWITCH_HOST,
 CALLBACKS, GREETING, NAME) = range(96, 107)
SHORT_BUFFER, FULL_HEADER, NO_POWER, SKIP_AUTH = 4, 1, 2, 8
# which password a client has, and a ticket is set to
SECRET, POWER_SECRET = 1, 2
# how a ticket is set
T_POWER, T_EXPIRED, T_FAIL, T_DISCONNECT, T_SET = 1, 2, 4, 8, 16
NO_PUMP = 0x80


def control(*steps):
    """With a viewer, two control clients, and the steps for the latter."""
    return [CONNECT, 0, 0, GROUP, 1, CONNECT, 0, 0, CONNECT, 1, FULL_HEADER,
            *steps]


MULTIPLE, CAN_MIGRATE, ANSWER_ALL = 1, 2, 4

SERVER = {
    'actions': [ANSWER_ALL,
                CONNECT, 0, 0, STATE, 2, 31,
                *(b for action in range(5) for b in (
                    REQUEST, 3 * action, action, STATE, 3, 7,
                    COMPLETE, action, action)), READ, 0, 255],
    'full-header': [ANSWER_ALL,
                    CONNECT, 1, FULL_HEADER, BYTES, 4, 1, 2, 3, 4,
                    COMPLETE, 0, 5, READ, 1, 255],
    'old-client': [ANSWER_ALL,
                   CONNECT, 0, NO_POWER, REQUEST, 0, 7, READ, 0, 255],
    'busy': [ANSWER_ALL,
             CONNECT, 0, 0, FLOOD, 0, 16, COMPLETE, 0, 2, READ, 0, 255,
             FLOOD, 3, 18],
    'two': [ANSWER_ALL | MULTIPLE,
            CONNECT, 0, 0, CONNECT, 1, FULL_HEADER, REQUEST, 0, 1,
            REQUEST, 1, 1, COMPLETE, 0, 4, READ, 0, 99, READ, 1, 99],
    'leave': [0,
              CONNECT, 0, 0, REQUEST, 0, 1, LEAVE, 0, COMPLETE, 0, 1],
    'remove': [ANSWER_ALL,
               CONNECT, 0, 0, REQUEST, 0, 1, POWER, 0x80, REQUEST, 0, 2,
               POWER, 3, REQUEST, 0, 3, STATE, 1, 31],
    'in-callback': [ANSWER_ALL,
                    CONNECT, 0, 0, *(b for what in range(6) for b in (
                        CALLBACK, what, what, what, REQUEST, 3 * what, what)),
                    COMPLETE, 0, 3],
    'slow-reader': [ANSWER_ALL,
                    CONNECT, 0, SHORT_BUFFER, *(b for n in range(12) for b in (
                        REQUEST, 0, n, COMPLETE, 5, 4, STATE, n, n)),
                    FLUSH, 0, READ, 0, 255],
    'malformed': [0,
                  CONNECT, 0, 0, BODY, 0, 3, 1, 2, 3,
                  CONNECT, 0, 0, BODY, 0, 9, *range(9),
                  CONNECT, 0, 0, SIZED, 0, 255, 255, 255, 255, 4, *range(4),
                  CONNECT, 0, 0, RAW, 0, 6, 113, 0, 0, 0, 0, 0],
    'others': [ANSWER_ALL,
               CONNECT, 0, 0, *(b for t in (1, 3, 101, 102, 104, 105, 106, 107,
                                            108, 109, 110, 118)
                                for b in (ANY, 0, 8, *[1, 0] * 4, t)),
               REQUEST, 0, 9],
    'migrate': [ANSWER_ALL | CAN_MIGRATE,
                CONNECT, 0, 16, 255, 255, 255, 255, REQUEST, 0, 1,
                MIGRATE, 0, ANY, 0, 0, 102, MIGRATE, 1, MIGRATE, 2,
                COMPLETE, 0, 0, TIME, 0, 255, 255, SHUTDOWN, 0],
    'agent': [ANSWER_ALL,
              AGENT, 0, CONNECT, 0, 0, ANY, 0, 4, 9, 0, 0, 0, 106,
              ANY, 0, 20, 1, 0, 0, 0, 1, *[0] * 15, 107, REQUEST, 0, 1],
    # the one that takes its place finds the other's half message
    'agent-replaced': [0, AGENT, 0, CONNECT, 0, 0, AGENT_TOKENS, 0, 9,
                       AGENT_PIECE, 0, 16, CONNECT, 1, 0, AGENT_TOKENS, 1, 9,
                       AGENT_PIECE, 1, 16, AGENT_PIECE, 1, 99],
    'agent-two': [MULTIPLE, AGENT, 0, CONNECT, 0, 0, CONNECT, 1, 0,
                  AGENT_TOKENS, 0, 9, AGENT_TOKENS, 1, 9, AGENT_PIECE, 0, 16,
                  AGENT_PIECE, 1, 16, AGENT_PIECE, 0, 99, AGENT_PIECE, 1, 99],
    'agent-tokens': [0, AGENT, 0, CONNECT, 0, 0, AGENT_TOKENS, 0x80, 1],
    'guest-says': [0, AGENT, 0, CONNECT, 0, 0, AGENT_TOKENS, 0, 9,
                   GUEST_SAYS, 0x94, 20, 1, 0, 0, 0, 1, *[0] * 15,
                   GUEST_SAYS, 0x9e, 20, 1, 0, 0, 0, 4, *[0] * 11, 9, 0, 0, 0,
                   GUEST_SAYS, 0, 10, *[0] * 10, READ, 0, 255],
    'seamless': [CAN_MIGRATE, MIGRATE, 0x84, AGENT, 0,
                 CONNECT, 0, 16, 15, 0, 0, 0, AGENT_TOKENS, 0, 9, MIGRATE, 0,
                 MIGRATING, 3, 0, MIGRATE, 1, MIGRATE, 2, MIGRATING, 12, 0],
    'two-in-migration': [MULTIPLE | CAN_MIGRATE, CONNECT, 0, 16, 15, 0, 0, 0,
                         MIGRATE, 0, CONNECT, 1, 0, TIME, 0, 255, 255,
                         TIME, 0, 255, 255],
    'control': [ANSWER_ALL, *control(
        GREETING, 0, GREETING, 0x80, REQUEST, 0, 1, REQUEST, 1, 2, STATE, 3, 7,
        COMPLETE, 0, 0, READ, 0, 255, READ, 1, 255, GROUP, 0, REQUEST, 0, 3)],
    'control-viewer-comes': [ANSWER_ALL, *control(
        REQUEST, 0, 1, GROUP, 0, CONNECT, 1, 0, LEAVE, 1, GROUP, 1,
        COMPLETE, 0, 0, LEAVE, 0)],
    'control-half': [0, HALF, 0, 0, *control(
        HALF, 3, 0, POWER, 0x80, HALF, 3, 0, POWER, 31, HALF, 0, 0, REQUEST, 0,
        1)],
    'control-other-channel': [0, *control(
        OTHER_CHANNEL, 0, 0, OTHER_CHANNEL, 1, 2, OTHER_CHANNEL, 1, 16,
        GROUP, 0, OTHER_CHANNEL, 0, 0, OTHER_CHANNEL, 0, 0x80)],
    'control-gone': [CAN_MIGRATE, *control(
        LEAVE | NO_PUMP, 0, TICKET, T_POWER | T_DISCONNECT | T_SET, 2)],
    'control-tickets': [ANSWER_ALL, *control(
        TICKET, T_SET, SECRET, CONNECT, 0, SECRET << 5,
        TICKET, T_POWER | T_SET, POWER_SECRET, ALLOW, 1, 0,
        CONNECT, 1, POWER_SECRET << 5, REQUEST, 0, 1, REQUEST, 1, 2,
        CONNECT, 2, SKIP_AUTH, ALLOW, 1, 31, REQUEST, 0, 3, REQUEST, 2, 4,
        TICKET, T_POWER | T_FAIL | T_SET, POWER_SECRET, NO_TICKET, 0,
        TICKET, T_POWER | T_EXPIRED | T_SET, POWER_SECRET)],
    'refused-reasons': [ANSWER_ALL, CONNECT, 0, 0, CALLBACKS, 4, 0, *(
        b for reason in (0, 0x40, 0x80, 0xc0)
        for b in (ALLOW, 0, reason, REQUEST, 0, 1))],
    'control-most': [0, MOST, 2, *control(
        CONNECT, 2, 0, LEAVE, 0, CONNECT, 2, 0, MOST, 0, CONNECT, 0, 0)],
    'control-migrate': [CAN_MIGRATE, NAME, 9, *control(
        REQUEST, 0, 1, MIGRATE, 0, MIGRATE, 1, CONNECT, 2, 0, MIGRATE, 2,
        COMPLETE, 0, 0, LEAVE, 0)],
    'control-switch': [CAN_MIGRATE, *control(
        REQUEST, 0, 1, MIGRATE, 0, LEAVE | NO_PUMP, 1, SWITCH_HOST, 0,
        MIGRATE, 0, SWITCH_HOST, 0, READ, 0, 255, LEAVE, 0)],
    'control-flood': [0, *control(
        CONNECT, 2, SHORT_BUFFER, CALLBACK, 2, 0, 0, FLOOD, 2, 255, FLOOD, 2,
        255, REQUEST, 0, 1)],
    'control-callbacks': [0, *control(
        *(b for what in range(8) for b in (
            CALLBACK, what, what, 9, CALLBACKS, what, what, POWER, 31,
            CONNECT, 0, 0, CONNECT, 1, 0, REQUEST, 0, 1, REQUEST, 0, 2,
            REQUEST, 1, 3, LEAVE, 0)))],
}

# the same for a client that has not linked: server.cpp with LINK_ONLY
L_NEW, L_RAW, L_LINK, L_TICKET, L_MESSAGE, L_SIZED, L_TIME, L_SHUT = range(8)
NO_AUTH = 2
WEB = (b'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n'
       b'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
       b'Sec-WebSocket-Protocol: binary\r\n'
       b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
REDQ = [*b'REDQ', 2, 0, 0, 0, 2, 0, 0, 0, 26, 0, 0, 0]

LINK = {
    'right': [0, L_NEW, 0, 0, L_LINK, 0, 0, 0, 0, 0, 0, L_TICKET, 0, 3,
              L_MESSAGE, 0, 4, 1, 0, 0, 0, 113, 0],
    'wrong': [0, L_NEW, 0, 0, L_LINK, 0, 0, 0, 0, 0, 0, L_TICKET, 0, 2],
    'before': [0, L_NEW, 0, 0, L_MESSAGE, 0, 4, 1, 0, 0, 0, 113, 0],
    'instead': [0, L_NEW, 0, 1, L_LINK, 0, 0, 0, 0, 0, 0,
                L_MESSAGE, 0, 4, 1, 0, 0, 0, 113, 0],
    'expired': [4, L_NEW, 0, 0, L_LINK, 0, 0, 0, 0, 0, 0,
                L_TIME, 0, 0xff, 0xff, L_TICKET, 0, 3],
    'foreign': [NO_AUTH, L_NEW, 0, 0, L_LINK, 0, 0, 0, 0, 0, 1, 16, 5,
                L_TICKET, 0, 3],
    'header': [0, L_NEW, 0, 0, L_RAW, 0, len(REDQ), *REDQ,
               L_RAW, 0, 26, *[0] * 26, L_SHUT, 0],
    'control': [NO_AUTH, L_NEW, 0, 0, L_LINK, 0, 0x10, 4, 0, 0, 0,
                L_TICKET, 0, 3, L_MESSAGE, 0, 4, 1, 0, 0, 0, 113, 0],
    'power-ticket': [32, L_NEW, 0, 0, L_LINK, 0, 0x10, 4, 0, 0, 0,
                     L_TICKET, 0, 6, L_MESSAGE, 0, 4, 1, 0, 0, 0, 113, 0],
    'web': [0, L_NEW, 0, 0, L_RAW, 0, len(WEB), *WEB],
}

# client.c
(C_STATE, C_RESULT, C_RESULT_OFF, C_ANY, C_SIZED, C_RAW, C_CALL, C_REASON,
 C_CANCEL, C_CLOSE, C_LINK, C_OPEN, C_MIGRATE, C_MIGRATED, C_READ_ONLY,
 C_BYTES) = range(16)

CLIENT = {
    'actions': [0, C_STATE, 0, 2, 31, 0, 0, 0,
                *(b for action in range(5) for b in (
                    C_CALL, action, C_RESULT, 0, action, 2, *b'no')),
                C_CALL, 5, C_RESULT, 0, 0, 0],
    'states': [0, *(b for state in range(8)
                    for b in (C_STATE, 0, state, 255, 255, 0, 0,
                              255, 255, state, 0))],
    'messages': [0, *(b for text in (b'\xc3\x28', b'\0', b'\xc3\xa9', b'x' * 99)
                      for b in (C_CALL, 0, C_RESULT, 0, 2, len(text), *text))],
    'lengths': [0, *(b for off in (1, 255, 0x7f)
                     for b in (C_CALL, 0, C_RESULT_OFF, 0, 0, 1, 3, *b'abc',
                               off, 0, 0, off))],
    'stale': [0, C_CALL, 0, C_RESULT_OFF, 0, 1, 0, 0, 0, 0, 0, 0,
              C_RESULT, 0, 0, 0, C_RESULT, 0, 0, 0],
    'cancel': [0, C_CALL, 0x80, C_CALL, 0x81, C_CALL, 0xc2, C_CANCEL, 1,
               C_CANCEL, 0, C_RESULT, 0, 0, 0, C_CALL, 3],
    'close': [0, C_CALL, 0, C_CALL, 1, C_CLOSE, 0, C_CALL, 2,
              C_OPEN, 0x80, C_LINK, 0, 0, 0, C_CALL, 3, C_RESULT, 0, 0, 0],
    'no-power': [1, C_LINK, 0, 1, 0, C_CALL, 0, C_STATE, 0, 2, 31, 0, 0, 0],
    'full-header': [1, C_LINK, 0x80, 0, 0, C_CALL, 0, C_RESULT, 0, 1, 0],
    'read-only': [0, C_READ_ONLY, 2, C_CALL, 0, C_READ_ONLY, 0, C_CALL, 0],
    'raw': [0, C_RAW, 0, 6, 119, 0, 255, 255, 255, 255,
            C_SIZED, 0, 4, 1, 2, 3, 4, 120, 3, 0, 0, 0, C_BYTES, 0, *[1] * 8],
    'migrate': [0, C_CALL, 0, C_MIGRATE, 0, C_LINK, 1, 0, 0, C_CALL, 1,
                C_MIGRATED, 2, C_CALL, 2, C_STATE, 1, 2, 31, 0, 0, 0],
    'seamless': [0, C_CALL, 0, C_MIGRATE, 0x14, C_LINK, 1, 0, 0,
                 C_ANY, 1, 0, 117, C_ANY, 0, 4, 1, 0, 0, 0, 1],
    'switch': [0, C_CALL, 0, C_MIGRATE, 8, C_LINK, 1, 0, 0, C_CALL, 1],
    'switch-subject': [0, C_MIGRATE, 0xc8, C_LINK, 1, 0, 0, C_CALL, 1],
    # texts that are nowhere
    'switch-nowhere': [0, C_MIGRATE, 0x28, C_OPEN, 0, C_LINK, 0, 0, 0,
                       C_MIGRATE, 0x48],
    'migrate-nowhere': [0, C_MIGRATE, 0x20, C_OPEN, 0, C_LINK, 0, 0, 0,
                        C_MIGRATE, 0x40, C_LINK, 1, 0, 0],
    'refused': [0, C_CALL, 0, C_MIGRATE, 2, C_RESULT, 0, 0, 0],
    # a server that has control clients, and one that has none
    'control-only': [2, C_CALL, 0, C_RESULT, 0, 0, 0, C_CLOSE, 0, C_OPEN, 0,
                     C_LINK, 0, 0, 0, C_CALL, 1, C_MIGRATE, 8, C_LINK, 1, 0, 0,
                     C_CALL, 0],
    'control-only-unknown': [6, C_CALL, 0, C_OPEN, 0, C_LINK, 0, 0, 0,
                             C_OPEN, 0, C_LINK, 0, 1, 0],
    'disconnecting': [0, *(b for reason in (7, 10, 0, 99) for b in (
        C_CALL, 0, C_REASON, reason << 1, C_REASON, 20, C_CLOSE, 0, C_OPEN, 0,
        C_LINK, 0, 0, 0))],
    'disconnecting-goes-on': [0, C_REASON, 20, C_CALL, 0, C_RESULT, 0, 0, 0,
                              C_MIGRATE, 8, C_LINK, 1, 0, 0, C_REASON, 15,
                              C_OPEN, 0, C_RAW, 0, 6, *b'REDQxx'],
    'others': [0, *(b for t in (3, 4, 5, 7, 101, 104, 105, 106, 107, 108, 109,
                                110, 113, 114, 115)
                    for b in (C_ANY, 0, 12, *[1, 0, 0] * 4, t))],
}


def demarshal(types, bodies):
    return {f'{t}-{n}': struct.pack('<BH', 1, t) + body
            for t in types for n, body in enumerate(bodies)}


def proxy(command, protocol, addresses, rest=b''):
    return (b'\r\n\r\n\0\r\nQUIT\n' + struct.pack(
        '>BBH', command, protocol, addresses + len(rest))
        + bytes(addresses) + rest)


SEEDS = {
    'server': SERVER,
    'proxy': {
        'local': proxy(0x20, 0, 0),
        'tcp4': proxy(0x21, 0x11, 12) + b'REDQ',
        'tcp6': proxy(0x21, 0x21, 36, b'\2\0\3vm1\4\0\0') + b'REDQ',
        'unix': proxy(0x21, 0x31, 216, b'\2\0\3vm1'),
        'unknown': proxy(0x21, 0, 7),
        'two-names': proxy(0x21, 0x11, 12, b'\2\0\1a\2\0\1b'),
        'cut': proxy(0x21, 0x11, 12, b'\2\0\3vm'),
        'version-1': b'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n',
    },
    'link': LINK,
    'client': CLIENT,
    'demarshal-server': demarshal(
        range(113, 118), [b'', b'\1\0\0', b'\1\0\0\0', b'\1\0\0\0more']),
    'demarshal-client': demarshal(
        [119], [b'', b'\2\x1f\0\0', b'\2\x1f\0\0\0'])
    | demarshal([120], [b'\1\0\0\0\0\0\0\0\0', b'\1\0\0\0\2\2\0\0\0no',
                        b'\1\0\0\0\2\xff\xff\xff\xffno']),
}


def write(layout, target):
    """Write a target's seeds below build/; return the folder."""
    folder = layout.build / 'fuzz' / 'seeds' / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name not in SEEDS[target]:
            old.unlink()
    for name, data in SEEDS[target].items():
        (folder / name).write_bytes(bytes(data))
    return folder
