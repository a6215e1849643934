# SPDX-License-Identifier: GPL-2.0-or-later
"""The map's file, and the copies of it that running HAProxys have."""

import contextlib
import os
import re
import socket
import time

from .common import Trouble, complaints

# Commands to HAProxy may not be longer than its buffers
LINES_AT_ONCE = 50
# the file is written so soon after a change, or after the last time
BREATH = 1
# a HAProxy that is away is looked for so often
AGAIN = 5
# whose a name is; to HAProxy that is a comment
OWNER = re.compile(r'# (\S+): ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})')


def entries(lines):
    """{name: endpoint} of the lines of a map, as HAProxy reads them."""
    lines = [line.split(None, 1) for line in lines]
    return {words[0]: words[1].rstrip() if words[1:] else ''
            for words in lines if words and not words[0].startswith('#')}


class HAProxy:
    """One that runs, by its stats socket."""

    def __init__(self, admin, path):
        self.admin, self.path = admin, path
        self.pid = None         # of which it is known that it has the map
        self.trouble = None
        self.again = 0

    def tell(self, command, answers=lambda said: not said):
        """Give HAProxy a command; its answer must be as expected."""
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(str(self.admin))
                sock.sendall(command.encode() + b'\n')
                said = sock.makefile().read().strip()
        except OSError as error:
            raise Trouble(f'{self.admin}: {error}: {self.path} is written, '
                          'but the running HAProxy has the map of before; '
                          'reload it, or try again')
        if not answers(said):
            raise Trouble(f'HAProxy refuses "{command.splitlines()[0]}": '
                          f'{said}')
        return said

    def running(self):
        """Its process id: another one has read the file, whenever that was."""
        return re.search(r'^Pid: (\d+)$', self.tell(
            'show info', lambda said: '\nPid: ' in said), re.M).group(1)

    def load(self, machines):
        """It goes from one map to the other at once."""
        lines = [f'{name} {machines[name]}' for name in sorted(machines)]
        version = self.tell(f'prepare map {self.path}',
                            lambda said: 'version created' in said).split()[-1]
        try:
            for begin in range(0, len(lines), LINES_AT_ONCE):
                some = '\n'.join(lines[begin:begin + LINES_AT_ONCE])
                self.tell(f'add map @{version} {self.path} <<\n{some}\n')
            self.tell(f'commit map @{version} {self.path}')
        except Trouble:
            # it would stay there, beside the map, for as long as HAProxy runs
            with contextlib.suppress(Trouble):
                self.tell(f'clear map @{version} {self.path}')
            raise

    def loaded(self):
        """What it has."""
        lines = self.tell(f'show map {self.path}',
                          lambda said: not said.startswith('Unknown'))
        return entries(line.partition(' ')[2] for line in lines.splitlines())

    def bring_up(self, machines):
        """It has this map when this returns."""
        pid = self.running()
        if self.loaded() != machines:
            self.load(machines)
        self.pid = pid

    def change(self, changes):
        """Change these entries, {name: (value before, value)}, if it has the
        others; whether it has them now."""
        words = []
        for name, (old, new) in changes.items():
            word = 'del' if not new else 'set' if old else 'add'
            words.append(f'{word} map {self.path} {name}'
                         + (f' {new}' if new else ''))
        if self.pid is None or self.running() != self.pid:
            return False
        try:
            for begin in range(0, len(words), LINES_AT_ONCE):
                self.tell(';'.join(words[begin:begin + LINES_AT_ONCE]))
        except Trouble:
            # an entry is not as it should be: all are put right
            return False
        return True


class Map:
    """All of these."""

    def __init__(self, path, admins):
        self.path = path
        self.haproxys = [HAProxy(admin, path) for admin in admins]
        self.machines, self.owners = {}, {}
        self.written = None         # when; None: the file is to be written
        self.dirty = False
        self.news = []              # lines to be printed
        self.read()

    def read(self):
        try:
            lines = self.path.read_text(errors='replace').splitlines()
        except FileNotFoundError:
            return
        self.machines = {name: value for name, value in entries(lines).items()
                         if value}
        self.owners = dict(match.groups() for match in
                           map(OWNER.fullmatch, lines) if match)

    def write(self):
        new = self.path.with_name(self.path.name + '.new')
        with open(new, 'w') as file:
            for name in sorted(self.machines.keys() | self.owners.keys()):
                owner, value = self.owners.get(name), self.machines.get(name)
                # a UUID's own name says already whose it is
                if owner and not name.startswith(owner):
                    file.write(f'# {name}: {owner}\n')
                if value:
                    file.write(f'{name} {value}\n')
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        self.dirty, self.written = False, time.monotonic()

    def take(self, values):
        """These names lead there, or nowhere; what has changed of them."""
        changes = {}
        for name in sorted(values):
            old, new = self.machines.get(name), values[name]
            if old != new:
                changes[name] = (old, new)
                self.news.append(f'- {name}' if not new else
                                 f'{"+" if not old else "="} {name} {new}')
                if new:
                    self.machines[name] = new
                else:
                    del self.machines[name]
        return changes

    def announce(self):
        """Print what has changed: HAProxys know, unless they are away."""
        if self.news:
            print('\n'.join(self.news), flush=True)
            self.news.clear()

    def update(self, values):
        """Change these names, here and in the HAProxys that run."""
        changes = self.take(values)
        if not changes:
            return
        self.dirty = True
        for haproxy in self.haproxys:
            try:
                if haproxy.pid and not haproxy.change(changes):
                    haproxy.pid, haproxy.again = None, 0
            except Trouble as trouble:
                self.lost(haproxy, trouble)
        if all(haproxy.pid or haproxy.again for haproxy in self.haproxys):
            self.announce()

    def lost(self, haproxy, trouble):
        haproxy.pid = None
        haproxy.again = time.monotonic() + AGAIN
        if str(trouble) != haproxy.trouble:     # not the same every few seconds
            haproxy.trouble = str(trouble)
            complaints.say(trouble)

    def check(self):
        """Look at all of the map that they have, soon."""
        for haproxy in self.haproxys:
            haproxy.pid, haproxy.again = None, 0

    def renew(self):
        """Write the file, now or later if that fails."""
        try:
            self.write()
        except OSError as error:
            complaints.once(f'{error.filename or self.path}: '
                            f'{error.strerror}: it is tried again')
            self.written = time.monotonic() + AGAIN - BREATH
            return
        for haproxy in self.haproxys:
            # one that has been started meanwhile has read the old one
            with contextlib.suppress(Trouble):
                if haproxy.pid and haproxy.running() != haproxy.pid:
                    haproxy.pid, haproxy.again = None, 0

    def tend(self):
        """Do what is due; how long nothing else is."""
        now = time.monotonic()
        due = [3600]
        if self.dirty:
            wait = (self.written or 0) + BREATH - now
            if wait > 0:
                due.append(wait)
            else:
                self.renew()
                due.append(AGAIN)
        for haproxy in self.haproxys:
            if haproxy.pid:
                continue
            if haproxy.again <= now:
                try:
                    haproxy.bring_up(self.machines)
                    haproxy.trouble = None
                except Trouble as trouble:
                    self.lost(haproxy, trouble)
            if not haproxy.pid:
                due.append(max(0, haproxy.again - now))
        self.announce()
        return min(due)
