# SPDX-License-Identifier: GPL-2.0-or-later
"""spicy-power, one-shot or kept open."""

import json
import subprocess
import time
from typing import NamedTuple

from . import places, running
from .record import TIMEOUT, Ended, Record, reader

# spicy-power's exit codes
OK, USAGE, CONNECT, NO_POWER_CONTROL, DENIED, WRONG_STATE, BUSY, UNSUPPORTED, \
    FAILED, NO_RESULT, NOT_SENT, WOULD_REPLACE, REPLACED = range(13)

# What the words of the command line are called everywhere else
ACTIONS = {'reset': 'reset', 'off': 'power-off', 'on': 'power-on',
           'pause': 'pause', 'continue': 'continue'}
WORDS = {action: word for word, action in ACTIONS.items()}


class Run(NamedTuple):
    """What a one-shot spicy-power has come to."""
    code: int
    objects: list       # what it printed with --json
    out: str
    err: str

    @property
    def result(self):
        return self.objects[-1]['result']

    @property
    def message(self):
        return self.objects[-1]['message']


def command(uri, *arguments, options=()):
    return [str(places.SPICY_POWER), f'--uri={uri}', *options, *arguments]


def run(uri, *arguments, options=(), json_output=True, timeout=TIMEOUT):
    """Run spicy-power to its end."""
    options = [*options, *(['--json'] if json_output else [])]
    done = subprocess.run(command(uri, *arguments, options=options),
                          env=places.environment(), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=timeout)
    objects = ([json.loads(line) for line in done.stdout.splitlines()]
               if json_output else [])
    return Run(done.returncode, objects, done.stdout, done.stderr)


class Client:
    """A spicy-power that stays connected: 'monitor', or '-' to act."""

    def __init__(self, machine, *arguments, options=(), name='spicy-power',
                 host=None):
        self.name = name
        self._log = open(machine.log_dir / f'{name}.log', 'w')
        self.output = Record(name)
        self.errors = Record(f'{name} (standard error)')
        line = command(machine.uri, *arguments, options=['--json', *options])
        if host:
            line = [*host.prefix, *line]
        self.process = subprocess.Popen(
            line, env=places.environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            pass_fds=host.pass_fds if host else ())
        reader(self.process.stdout, self.output, self._object)
        reader(self.process.stderr, self.errors, self._error)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def _object(self, line):
        self._log.write(line.decode())
        self._log.flush()
        return json.loads(line)

    def _error(self, line):
        line = line.decode(errors='replace')
        self._log.write(line)
        self._log.flush()
        return line.rstrip()

    @property
    def running(self):
        return self.process.poll() is None

    def send(self, word):
        self.process.stdin.write(word.encode() + b'\n')
        self.process.stdin.flush()

    def _wait(self, matches, what, mark, timeout):
        try:
            return self.output.wait(matches, what, mark, timeout)
        except Ended as ended:
            self.errors.wait_end()
            raise Ended('\n    '.join([str(ended), *self.errors.since()]))

    def act(self, word, timeout=TIMEOUT):
        """Ask for an action and return (the result's object, milliseconds)."""
        mark = self.output.mark
        begin = time.monotonic()
        self.send(word)
        result = self._wait(lambda o: o['type'] == 'result',
                            f'the result of {word}', mark, timeout)
        return result, (time.monotonic() - begin) * 1000

    def status(self, timeout=TIMEOUT):
        mark = self.output.mark
        self.send('status')
        return self._wait(lambda o: o['type'] == 'state', 'the state', mark,
                          timeout)

    def wait_status(self, timeout=TIMEOUT, **expected):
        """Wait until the status is as expected, and return it.

        What somebody else has brought about comes when the server sends it;
        with '-' nobody is told of it unasked. What is possible may follow the
        state: that is asked for again and again.
        """
        deadline = time.monotonic() + timeout
        while True:
            if 'state' in expected:
                self.act(f'wait {expected["state"]}', timeout)
            status = self.status(timeout)
            wrong = {name: status[name] for name, value in expected.items()
                     if status[name] != value}
            if not wrong:
                return status
            if time.monotonic() >= deadline:
                raise TimeoutError(f'{self.name}: {wrong} after {timeout} s, '
                                   f'not {expected}')

    def wait_state(self, state, since, timeout=TIMEOUT):
        return self._wait(
            lambda o: o['type'] == 'state' and o['state'] == state,
            f'state {state}', since, timeout)

    def states(self, since=0):
        return [o['state'] for o in self.output.since(since)
                if o['type'] == 'state']

    def finish(self, timeout=TIMEOUT):
        """End of file on standard input; return the exit code."""
        self.process.stdin.close()
        return self.process.wait(timeout)

    def close(self):
        running.end(self.process, self.output, self.errors)
        self._log.close()
