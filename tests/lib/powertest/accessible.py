# SPDX-License-Identifier: GPL-2.0-or-later
"""What a program shows, as those see it who do not see: AT-SPI.

This speaks AT-SPI's protocol over D-Bus and keeps nothing: a program is
asked again each time, so what is found is what it shows now. libatspi would
remember, and reads where to connect to from the environment of its process.
"""

import contextlib
import re
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
          'modal': 16, 'selected': 23, 'sensitive': 24, 'showing': 25,
          'visible': 30, 'default': 39}
SHOWING = 1 << STATES['showing']
# ATK has changed its mind
ROLES = {'push button': 'button', 'statusbar': 'status bar'}


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

    def call_all(self, calls):
        """Many calls at once; None is the answer of what has gone."""
        answers = [None] * len(calls)
        left = set(range(len(calls)))
        context = GLib.MainContext.new()
        context.push_thread_default()

        def answered(bus, result, place):
            with contextlib.suppress(GLib.Error):
                answers[place] = bus.call_finish(result).unpack()
            left.discard(place)
        try:
            for place, (owner, path, interface, method, *arguments) in \
                    enumerate(calls):
                self._bus.call(
                    owner, path, interface, method,
                    GLib.Variant(arguments[0], tuple(arguments[1:]))
                    if arguments else None, None,
                    Gio.DBusCallFlags.NO_AUTO_START, TIMEOUT * 1000, None,
                    answered, place)
            while left:
                context.iteration(True)
        finally:
            context.pop_thread_default()
        return answers

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

    def states(self, owner, paths):
        """The states of each, as a number; None for what has gone."""
        answers = self.call_all([(owner, path, ACCESSIBLE, 'GetState')
                                 for path in paths])
        return [answer and answer[0][0] | answer[0][1] << 32
                for answer in answers]

    def look(self, owner, paths):
        """The role, the name and the children of each."""
        calls = []
        for path in paths:
            calls += [(owner, path, ACCESSIBLE, 'GetRoleName'),
                      (owner, path, 'org.freedesktop.DBus.Properties', 'Get',
                       '(ss)', ACCESSIBLE, 'Name'),
                      (owner, path, ACCESSIBLE, 'GetChildren')]
        answers = [answer and answer[0] for answer in self.call_all(calls)]
        return list(zip(answers[::3], answers[1::3], answers[2::3]))


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
        top = under.path if under else ROOT
        nodes, children = {}, {}
        level, depth = [top], 0
        while level:                    # all of a level at once, it's quicker
            states = [(path, state) for path, state in
                      zip(level, self.bus.states(self.owner, level))
                      if state is not None
                      and (depth == 0 or hidden or state & SHOWING)]
            looks = self.bus.look(self.owner, [path for path, _ in states])
            level = []
            for (path, state), (role, name, below) in zip(states, looks):
                if None in (role, name, below):
                    continue
                nodes[path] = Node(
                    self.owner, path, ROLES.get(role, role), name,
                    frozenset(word for word, bit in STATES.items()
                              if state >> bit & 1), depth)
                children[path] = [child for owner, child in below
                                  if owner == self.owner]
                level += children[path]
            depth += 1
        if ROOT not in nodes and not under:
            raise Gone('the program has gone')

        def visit(path):
            if path in nodes:
                yield nodes[path]
                for child in children[path]:
                    yield from visit(child)
        return list(visit(top))

    def __str__(self):
        """All that can be seen."""
        return '\n'.join(map(str, self.nodes()))

    # --- looking for something -----------------------------------------------

    def find_all(self, role=None, name=None, under=None, hidden=False,
                 **states):
        """All such nodes; states are like sensitive=True.

        A name may be a regular expression, for all of it.
        """
        def named(node):
            if isinstance(name, re.Pattern):
                return name.fullmatch(node.name)
            return name in (None, node.name)
        return [node for node in self.nodes(under, hidden)
                if role in (None, node.role) and named(node)
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

    def wait_gone(self, node, timeout=TIMEOUT):
        """Wait until this node, and not another like it, cannot be seen."""
        def gone():
            state, = self.bus.states(self.owner, [node.path])
            return state is None or not state & SHOWING
        self._wait(gone, f'no {node} any more', lambda: f'\n{self}', timeout)

    def mnemonic(self, node):
        """The key that is for it where it can be seen, or None."""
        keys, = self.bus.call(node.owner, node.path, 'org.a11y.atspi.Action',
                              'GetKeyBinding', '(i)', 0)
        found = re.match(r'(?:<Alt>)?(\w)(?:;|$)', keys)
        return found and found.group(1).lower()

    def ambiguous(self, nodes):
        """Those names and keys that not just one of these has; or no key."""
        keys = [self.mnemonic(node) for node in nodes]
        names = [node.name for node in nodes]
        return [word for words in (keys, names) for word in words
                if not word or words.count(word) > 1]

    def extents(self, node):
        box, = self.bus.call(node.owner, node.path, COMPONENT, 'GetExtents',
                             '(u)', SCREEN)
        return Box(*box)
