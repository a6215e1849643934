# SPDX-License-Identifier: GPL-2.0-or-later
"""A client that uses spice-gtk's library as a viewer does, from Python.

The library runs in a process of its own, which may be on another host (see
netns.py), and whose crash is seen as one: this file, run as a program. Client
starts it and talks to it, in words, and gets JSON objects.
"""

import argparse
import json
import os
import subprocess
import sys


class Program:
    """What runs in the other process."""

    WORDS = {'reset': 'reset', 'off': 'power-off', 'on': 'power-on',
             'pause': 'pause', 'continue': 'continue'}

    def __init__(self):
        # the library's debug messages go to standard output, too
        self.out = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        import gi
        gi.require_version('SpiceClientGLib', '2.0')
        from gi.repository import GLib, GObject, SpiceClientGLib
        self.glib, self.spice = GLib, SpiceClientGLib
        # spice-gtk's objects have a connect() and a disconnect() of their own
        self.on = GObject.Object.connect
        self.off = GObject.Object.disconnect

        parser = argparse.ArgumentParser()
        parser.add_argument('--uri', required=True)
        parser.add_argument('--ca-file')
        parser.add_argument('--all-channels', action='store_true')
        options = parser.parse_args()

        self.all_channels = options.all_channels
        self.main = None
        self.loop = GLib.MainLoop()
        self.session = SpiceClientGLib.Session(
            uri=options.uri, ca_file=options.ca_file, enable_audio=False)
        self.on(self.session, 'channel-new', self.channel_new)
        self.on(self.session, 'notify::migration-state', self.migration)

    def say(self, kind, **what):
        print(json.dumps(dict(type=kind, **what)), file=self.out, flush=True)

    def action(self, word):
        return getattr(self.spice.PowerAction, word.upper())

    # --- what the library tells ----------------------------------------------

    def channel_new(self, session, channel):
        self.on(channel, 'channel-event', self.channel_event)
        if isinstance(channel, self.spice.MainChannel):
            self.main = channel
            for name in ('state', 'actions', 'allowed'):
                self.on(channel, f'notify::power-{name}', self.power)
        elif self.all_channels:
            if isinstance(channel, self.spice.DisplayChannel):
                self.drawing = self.on(channel, 'display-invalidate',
                                       self.drawn)
            elif isinstance(channel, self.spice.InputsChannel):
                self.inputs = channel
                self.on(channel, 'inputs-modifiers', self.modifiers)
            channel.connect()

    def drawn(self, channel, *unused):
        self.off(channel, self.drawing)     # once is enough
        self.say('drawn')

    def modifiers(self, channel):
        self.say('modifiers', modifiers=channel.props.key_modifiers)

    def channel_event(self, channel, event):
        self.say('event', event=event.value_nick,
                 channel=type(channel).__name__)

    def migration(self, session, pspec):
        self.say('migration', state=session.props.migration_state.value_nick)

    def actions(self, mask):
        return [name for word, name in self.WORDS.items()
                if mask & self.action(word)]

    def power(self, channel, pspec):
        props = channel.props
        self.say('state', state=props.power_state.value_nick,
                 allowed=self.actions(props.power_allowed),
                 possible=self.actions(props.power_actions),
                 notify=pspec and pspec.name)

    # --- what it's asked to do -----------------------------------------------

    def ask(self, number, word):
        def done(channel, result):
            answer, message = 'ok', ''
            try:
                channel.power_finish(result)
            except self.glib.Error as error:
                answer, message = f'{error.domain}:{error.code}', error.message
            self.say('result', number=number, result=answer, message=message)
        self.main.power_async(self.action(word), None, done)

    def line(self, stream, condition):
        line = stream.readline()
        if not line:
            self.loop.quit()
            return False
        word, *arguments = line.decode().split()
        if word == 'status':
            self.power(self.main, None)
        elif word == 'key':
            self.inputs.key_press_and_release(int(arguments[0]))
        elif word == 'flush':
            self.main.flush_async(None, lambda channel, result: self.say(
                'flushed', done=channel.flush_finish(result)))
        else:
            self.ask(int(arguments[0]), word)
        return True

    def run(self):
        # unbuffered, so that what can be read is what poll() sees
        stream = open(sys.stdin.fileno(), 'rb', buffering=0)
        self.glib.io_add_watch(stream.fileno(), self.glib.PRIORITY_DEFAULT,
                               self.glib.IO_IN | self.glib.IO_HUP,
                               lambda fd, condition: self.line(
                                   stream, condition))
        self.session.connect()
        self.loop.run()


if __name__ == '__main__':
    # not this file's directory: its modules are no top-level ones
    del sys.path[0]
    Program().run()
    sys.exit()

from . import places, running                           # noqa: E402
from .record import TIMEOUT, Ended, Record, reader      # noqa: E402

# What the library calls its errors, and the protocol its results
ERRORS = {f'spice-power-error-quark:{code}': result for code, result in
          enumerate(('denied', 'wrong-state', 'busy', 'unsupported',
                     'failed', 'not sent', 'unknown'))}
ERRORS['ok'] = 'ok'


class Client:
    """One session of that program, on a host of its own if there is one."""

    WORDS = {action: word for word, action in Program.WORDS.items()}

    def __init__(self, log_dir, uri, host=None, ca_file=None,
                 all_channels=False, name='spice-gtk', debug=False):
        self.name = name
        self.number = 0
        self._log = open(log_dir / f'{name}.log', 'w')
        self.output = Record(name)
        self.errors = Record(f'{name} (standard error)')
        env = places.environment()
        env['GI_TYPELIB_PATH'] = str(places.PREFIX / 'lib/girepository-1.0')
        if debug:
            env['SPICE_DEBUG'] = '1'
            env['G_MESSAGES_DEBUG'] = 'all'
        command = [sys.executable, __file__, f'--uri={uri}']
        if ca_file:
            command.append(f'--ca-file={ca_file}')
        if all_channels:
            command.append('--all-channels')
        if host:
            command = [*host.prefix, *command]
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, pass_fds=host.pass_fds if host else ())
        reader(self.process.stdout, self.output,
               lambda line: json.loads(self._logged(line)))
        reader(self.process.stderr, self.errors, self._logged)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def _logged(self, line):
        line = line.decode(errors='replace')
        self._log.write(line)
        self._log.flush()
        return line.rstrip()

    # --- what it tells -------------------------------------------------------

    def wait(self, kind, since=0, timeout=TIMEOUT, **what):
        """The mark behind the first such object, and the object."""
        def matches(found):
            return (found['type'] == kind and
                    all(found.get(k) == v for k, v in what.items()))
        try:
            mark = self.output.wait_mark(matches, f'{kind} with {what}', since,
                                         timeout)
        except Ended as ended:
            self.errors.wait_end()
            raise Ended('\n    '.join([str(ended), *self.errors.since()]))
        return mark, self.output.since(mark - 1)[0]

    @property
    def mark(self):
        return self.output.mark

    def wait_state(self, since=0, **what):
        return self.wait('state', since, **what)[1]

    def results(self, number):
        return [o for o in self.output.since()
                if o['type'] == 'result' and o['number'] == number]

    def complaints(self):
        """What the library has to complain about."""
        return [line for line in self.errors.since()
                if 'CRITICAL' in line or 'WARNING' in line]

    # --- what it's asked -----------------------------------------------------

    def send(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()

    def status(self):
        """What the properties are now."""
        mark = self.mark
        self.send('status')
        return self.wait_state(mark, notify=None)

    def press(self, scancode):
        """Press a key, and let go of it."""
        self.send(f'key {scancode}')

    def flush(self):
        """Wait until all messages of the main channel are written."""
        mark = self.mark
        self.send('flush')
        self.wait('flushed', mark)

    def ask(self, action):
        """Ask, and return the request's number."""
        self.number += 1
        self.send(f'{self.WORDS[action]} {self.number}')
        return self.number

    def wait_result(self, number, timeout=TIMEOUT):
        """What a request came to: a result's name, and the message."""
        found = self.wait('result', 0, timeout, number=number)[1]
        return (ERRORS.get(found['result'], found['result']),
                found['message'])

    def act(self, action):
        return self.wait_result(self.ask(action))

    def close(self):
        running.end(self.process, self.output, self.errors)
        self._log.close()
