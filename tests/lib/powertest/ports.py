# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports for what a test starts."""

import itertools
import random
import socket
import threading

# Below those that the kernel gives to clients. Where others run on the same
# network (see netns.alone), they begin somewhere else.
FIRST, LAST = 20000, 32000
_lock = threading.Lock()
_next = itertools.count(random.randrange(FIRST, LAST))


def free(kind=socket.SOCK_STREAM, host='127.0.0.1'):
    """A port of this machine that nobody uses, and that is given out once.

    One that the kernel chooses is free again at once, and its next choice may
    be the same: two programs started at the same time would get it.
    """
    with _lock:
        for number in _next:
            port = FIRST + number % (LAST - FIRST)
            family = socket.AF_INET6 if ':' in host else socket.AF_INET
            with socket.socket(family, kind) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind((host, port))
                except OSError:
                    continue
            return port
