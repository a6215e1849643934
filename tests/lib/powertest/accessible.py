# SPDX-License-Identifier: GPL-2.0-or-later
"""What a program shows, as those see it who do not see: AT-SPI.

This speaks AT-SPI's protocol over D-Bus and keeps nothing: a program is asked
again each time, so what is found is what it shows now. libatspi would remember,
and reads where to connect to from the environment of its process.
"""

import time
from typing import NamedTuple

from gi.repository import Gio, GLib

from .record import TIMEOUT
from .x11 import Box

ACCESSIBLE = 'org.a11y.atspi.Accessible'
COMPONENT = 'org.a11y.atspi.Component'
REGISTRY = 'org.a11y.atspi.Registry'
ROOT = '/org/a11y/atspi/accessible/root'
SCREEN = 0              # coordinates are those of the screen
# Those that tests ask for; the number is that of a bit
STATES = {'active': 1, 'checked': 4, 'focusable': 11, 'focused': 12,
          'modal': 16, 'sensitive': 24, 'showing': 25, 'visible': 30,
          'default': 39}
# ATK has changed its mind
ROLES = {'push button': 'button'}


class Node(NamedTuple):
    """Something of a program, as it was when it was looked at."""
    owner: str
    path: str
    role: str
    name: str
    states: frozenset
    depth: int

    def __str__(self):
        states = self.states - {'showing', 'visible', 'focusable'}
        return ('  ' * self.depth + f'{self.role} "{self.name}" '
                + ' '.join(sorted(states)))


class Gone(Exception):
    """What was asked is not there any more."""


class Bus:
    """A connection to the bus of those who show something."""

    def __init__(self, address):
        self._bus = Gio.DBusConnection.new_for_address_sync(
            address, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
            | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)

    def close(self):
        self._bus.close_sync(None)

    def call(self, owner, path, interface, method, *arguments):
        parameters = None
        if arguments:
            parameters = GLib.Variant(arguments[0], tuple(arguments[1:]))
        try:
            return self._bus.call_sync(
                owner, path, interface, method, parameters, None,
                Gio.DBusCallFlags.NO_AUTO_START, TIMEOUT * 1000, None).unpack()
        except GLib.Error as error:
            raise Gone(f'{owner}{path}: {error.message}')

    def daemon(self, method, *arguments):
        return self.call('org.freedesktop.DBus', '/org/freedesktop/DBus',
                         'org.freedesktop.DBus', method, *arguments)[0]

    def has_owner(self, name):
        return self.daemon('NameHasOwner', '(s)', name)

    def applications(self):
        """The programs' names on the bus, by process id."""
        children, = self.call(REGISTRY, ROOT, ACCESSIBLE, 'GetChildren')
        found = {}
        for owner, _ in children:
            try:
                pid = self.daemon('GetConnectionUnixProcessID', '(s)', owner)
            except Gone:
                continue
            found[pid] = owner
        return found

    def look(self, owner, path, depth=0):
        role, = self.call(owner, path, ACCESSIBLE, 'GetRoleName')
        name, = self.call(owner, path, 'org.freedesktop.DBus.Properties',
                          'Get', '(ss)', ACCESSIBLE, 'Name')
        (low, high), = self.call(owner, path, ACCESSIBLE, 'GetState')
        bits = low | high << 32
        return Node(owner, path, ROLES.get(role, role), name,
                    frozenset(word for word, bit in STATES.items()
                              if bits >> bit & 1), depth)


class Application:
    """A program that is running."""

    def __init__(self, bus, pid, alive=lambda: True):
        self.bus = bus
        self.pid = pid
        self._alive = alive
        self.owner = self._wait(lambda: bus.applications().get(pid),
                                'the program, on the bus of AT-SPI',
                                lambda: f'only {bus.applications()}', TIMEOUT)

    def _wait(self, look, what, seen, timeout):
        deadline = time.monotonic() + timeout
        while True:
            try:
                found = look()
            except Gone:                # it was changing
                found = None
            if found:
                return found
            if not self._alive():
                raise Gone(f'expected: {what}; but the program has ended')
            if time.monotonic() > deadline:
                raise TimeoutError(f'expected: {what} (not within '
                                   f'{timeout:g} s)\n  seen: {seen()}')
            time.sleep(0.02)

    def nodes(self, under=None, hidden=False):
        """What can be seen of it (or of a Node), from the top down.

        What is hidden is what a closed menu has, for example.
        """
        def visit(path, depth):
            try:
                node = self.bus.look(self.owner, path, depth)
                if depth > 0 and not (hidden or 'showing' in node.states):
                    return
                children, = self.bus.call(self.owner, path, ACCESSIBLE,
                                          'GetChildren')
            except Gone:
                if depth == 0 and under is None:
                    raise
                return
            yield node
            for owner, child in children:
                if owner == self.owner:
                    yield from visit(child, depth + 1)
        yield from visit(under.path if under else ROOT, 0)

    def __str__(self):
        """All that can be seen."""
        return '\n'.join(map(str, self.nodes()))

    # --- looking for something -----------------------------------------------

    def find_all(self, role=None, name=None, under=None, hidden=False,
                 **states):
        """All such nodes; states are like sensitive=True."""
        return [node for node in self.nodes(under, hidden)
                if role in (None, node.role) and name in (None, node.name)
                and all((word in node.states) == value
                        for word, value in states.items())]

    def find(self, role=None, name=None, timeout=TIMEOUT, **more):
        """Wait for such a node; return it."""
        return self._wait(lambda: self.find_all(role, name, **more),
                          f'{role} "{name}" {more or ""}',
                          lambda: f'\n{self}', timeout)[0]

    def wait_none(self, role=None, name=None, timeout=TIMEOUT, **more):
        """Wait until there is no such node."""
        self._wait(lambda: not self.find_all(role, name, **more),
                   f'no {role} "{name}" {more or ""}', lambda: f'\n{self}',
                   timeout)

    def parent(self, node):
        owner, path = self.bus.call(
            node.owner, node.path, 'org.freedesktop.DBus.Properties', 'Get',
            '(ss)', ACCESSIBLE, 'Parent')[0]
        return self.bus.look(owner, path)

    def extents(self, node):
        box, = self.bus.call(node.owner, node.path, COMPONENT, 'GetExtents',
                             '(u)', SCREEN)
        return Box(*box)
