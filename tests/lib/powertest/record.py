# SPDX-License-Identifier: GPL-2.0-or-later
"""A list that another thread appends to, and waiting for an entry of it.

Everything that a test waits for arrives in a Record: a line of the guest's
console, an event of the monitor, an object that spicy-power prints. A test
takes a mark, does something, and waits for the entry that must follow the
mark; so nothing is missed that came early, and nothing is slept through.
"""

import threading
import time

TIMEOUT = 30            # seconds until what has not come will not come


class Ended(Exception):
    """The source has come to its end without what was waited for."""


class Record:
    def __init__(self, name):
        self.name = name
        self._entries = []
        self._ended = False
        self._changed = threading.Condition()

    def append(self, entry):
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def end(self):
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def mark(self):
        """The place after the newest entry."""
        with self._changed:
            return len(self._entries)

    def since(self, mark=0):
        with self._changed:
            return self._entries[mark:]

    def wait(self, matches, what, since=0, timeout=TIMEOUT):
        """Return the first entry after the mark for which matches(entry)."""
        return self._wait(matches, what, since, timeout)[1]

    def wait_mark(self, matches, what, since=0, timeout=TIMEOUT):
        """The same, but return the mark right after that entry."""
        return self._wait(matches, what, since, timeout)[0] + 1

    def _wait(self, matches, what, since, timeout):
        deadline = time.monotonic() + timeout
        place = since
        with self._changed:
            while True:
                while place < len(self._entries):
                    if matches(self._entries[place]):
                        return place, self._entries[place]
                    place += 1
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._changed.wait(left)
            seen = self._entries[since:][-12:]
            ended = self._ended
        why = (f'{self.name} has ended' if ended
               else f'not within {timeout:g} s')
        seen = ''.join(f'\n    {entry}' for entry in seen)
        message = (f'expected: {what} ({why})\n  seen from {self.name}'
                   + (f', newest last:{seen}' if seen else ': nothing'))
        raise Ended(message) if ended else TimeoutError(message)

    def wait_end(self, timeout=TIMEOUT):
        """Wait until nothing more can come."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise TimeoutError(f'expected: the end of {self.name}')

    def quiet(self, matches, seconds):
        """True if no matching entry comes for so long from now on."""
        mark = self.mark
        with self._changed:
            return not self._changed.wait_for(
                lambda: any(matches(e) for e in self._entries[mark:]),
                seconds)


def reader(stream, record, convert, on_end=None):
    """Append each line of a binary stream to record, in a thread."""
    def run():
        try:
            for line in stream:
                entry = convert(line)
                if entry is not None:
                    record.append(entry)
        except (OSError, ValueError):
            pass                        # closed under our feet: that's the end
        finally:
            record.end()
            if on_end:
                on_end()
    thread = threading.Thread(target=run, name=record.name, daemon=True)
    thread.start()
    return thread
