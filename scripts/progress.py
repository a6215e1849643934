# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user sees of long work: steps, time, percent; the rest is logged."""

import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import time

from core import StackError, rel

EVERY = 15                              # seconds between lines in a log file
TAIL = 30                               # lines shown of a failed command

NINJA = re.compile(r'\[(\d+)/(\d+)\]')


def processor_time(who=resource.RUSAGE_CHILDREN):
    """Seconds that the programs which have ended here have computed."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def clock(seconds):
    seconds = int(seconds)
    if seconds < 60:
        return f'{seconds} s'
    return f'{seconds // 60} min {seconds % 60:02d} s'


class Progress:
    """The steps of one ./stack command."""

    def __init__(self, layout, total, out=sys.stdout):
        self.layout, self.total, self.out = layout, total, out
        self.number = 0
        # (what, seconds, processor's seconds or None) of each step that is done
        self.done = []
        self.start = time.monotonic()
        self.live = out.isatty() and os.environ.get('TERM') != 'dumb'

    def step(self, what, log):
        self.number += 1
        return Step(self, what, log)

    def seconds(self):
        return time.monotonic() - self.start

    def elapsed(self):
        return clock(self.seconds())


class Step:
    """One step; use it as a context manager."""

    def __init__(self, progress, what, log):
        self.progress, self.what = progress, what
        self.log_path = progress.layout.log / f'{log}.log'
        self.detail = ''
        self.result = ''
        # where one command does several steps, it tells what each has used
        self.processor = None

    def __enter__(self):
        self.start = self.spoken = time.monotonic()
        self.used = processor_time()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.log = open(self.log_path, 'ab', buffering=0)
        self.say()
        return self

    def __exit__(self, kind, error, trace):
        self.log.close()
        self.clear()
        if kind is None:
            if self.processor is None:
                self.processor = processor_time() - self.used
            self.done_line()

    def next(self, what):
        """This step is done; the same command goes on with another one."""
        self.done_line()
        self.progress.number += 1
        self.what, self.detail, self.result = what, '', ''
        self.processor = None
        self.start = self.spoken = time.monotonic()
        self.say()

    def done_line(self):
        took = time.monotonic() - self.start
        self.progress.done.append((self.what, took, self.processor))
        self.line((self.result or 'done')
                  + (f', {clock(took)}' if took >= 1 else ''))

    def head(self):
        p = self.progress
        return f'[{p.number}/{p.total}] {self.what}'

    def clear(self):
        if self.progress.live:
            self.progress.out.write('\r\033[K')

    def line(self, text):
        self.clear()
        print(f'{self.head()}: {text}', file=self.progress.out, flush=True)

    def say(self):
        """Show where we are: all the time on a terminal, else now and then."""
        took = clock(time.monotonic() - self.start)
        if self.progress.live:
            detail = f' {self.detail}' if self.detail else ''
            width = os.get_terminal_size(self.progress.out.fileno()).columns
            text = f'{self.head()}{detail}, {took}'[:max(width - 1, 20)]
            self.progress.out.write(f'\r\033[K{text}')
            self.progress.out.flush()
        elif self.spoken == self.start:
            print(f'{self.head()} ...', file=self.progress.out, flush=True)
            self.spoken = time.monotonic()
        elif time.monotonic() - self.spoken >= EVERY:
            self.line(f'{self.detail or "at work"}, {took}')
            self.spoken = time.monotonic()

    def note(self, line):
        """Look for progress in a line that a command printed."""
        m = NINJA.match(line)
        if m:
            done, total = int(m.group(1)), int(m.group(2))
            self.detail = f'{100 * done // total}% ({done} of {total})'

    def run(self, command, env=None, cwd=None, hint=None, note=None,
            check=True):
        """Run a command; its output goes to the log. Return (status, lines)."""
        self.log.write(f'$ {" ".join(map(str, command))}\n'.encode())
        try:
            child = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except FileNotFoundError as e:
            raise StackError(f'{e.filename} is not installed', hint
                             or 'without --no-install, ./stack installs it')
        lines, rest = [], b''
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            try:
                while True:
                    if selector.select(timeout=1):
                        data = os.read(child.stdout.fileno(), 65536)
                        if not data:
                            break
                        self.log.write(data)
                        *whole, rest = (rest + data).split(b'\n')
                        for raw in whole:
                            line = raw.decode(errors='replace').rstrip('\r')
                            lines.append(line)
                            (note or self.note)(line)
                    self.say()
                status = child.wait()
            except BaseException:
                # Ctrl-C reached the child too; let it clean up behind itself
                for end in signal.SIGTERM, signal.SIGKILL:
                    try:
                        child.wait(timeout=10)
                        break
                    except subprocess.TimeoutExpired:
                        # unshare, for one, looks at the last one only
                        child.send_signal(end)
                child.wait()
                raise
        if rest:
            lines.append(rest.decode(errors='replace'))
        if status and check:
            self.failed(lines, command, hint)
        return status, lines

    def failed(self, lines, command, hint=None, log=None):
        self.clear()
        shown = '\n'.join(f'    {line}' for line in lines[-TAIL:])
        name = ' '.join(str(word) for word in command)
        raise StackError(
            f'{self.what} failed: {name[:200]}\nThe last lines of '
            f'{rel(log or self.log_path)}:\n{shown}\n'
            f'The whole log: {rel(log or self.log_path)}', hint)


class Logged:
    """What the functions called print goes to a step's log."""

    def __init__(self, step):
        self.step = step

    def __enter__(self):
        self.out = os.dup(1)
        sys.stdout.flush()
        os.dup2(self.step.log.fileno(), 1)
        # the progress lines must not go there
        self.old = self.step.progress.out
        self.step.progress.out = os.fdopen(os.dup(self.out), 'w')

    def __exit__(self, *exc):
        sys.stdout.flush()
        os.dup2(self.out, 1)
        os.close(self.out)
        self.step.progress.out.close()
        self.step.progress.out = self.old
