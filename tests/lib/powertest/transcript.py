# SPDX-License-Identifier: GPL-2.0-or-later
"""What a demo shows: numbered steps, and who has seen what in each."""

import argparse
import contextlib
import sys
import time

from . import netns, places
from .machine import end_cleanly
from .record import Ended


class Failed(Exception):
    """Something else was seen than what must be."""


class Transcript:
    def __init__(self):
        self.begin = self.step_begin = time.monotonic()
        self.title = 'start'
        self.number = 0

    def step(self, title):
        self.number += 1
        self.title = f'{self.number}. {title}'
        self.step_begin = time.monotonic()
        print(f'\n{self.title}', flush=True)

    def seen(self, side, what):
        elapsed = time.monotonic() - self.step_begin
        print(f'   {elapsed:4.1f} s  {side + ":":<7}{what}', flush=True)


def main(text, name, stays, begin, *failures):
    """Run a demo as a program: the first line of text says what it is.

    begin(stack, log_dir, interactive) returns what has run(), and stay() for a
    person; stays says what is left up for that. failures are what may come of
    it beside what comes of all. Returns the exit status.
    """
    parser = argparse.ArgumentParser(description=text.split('\n')[0])
    parser.add_argument('--interactive', action='store_true',
                        help=f'afterwards leave {stays} up')
    args = parser.parse_args()
    end_cleanly()
    if not args.interactive:        # then others are to reach it
        netns.alone()
    log_dir = places.log_directory(name)
    demo = None
    staying = False
    try:
        places.need(places.SPICY_POWER, places.KERNEL, places.INITRAMFS)
        with contextlib.ExitStack() as stack:
            demo = begin(stack, log_dir, args.interactive)
            demo.run()
            if args.interactive:
                staying = True
                demo.stay()
    except KeyboardInterrupt:
        print('\nended' if staying else '\ninterrupted')
        return 0 if staying else 130
    except (Failed, TimeoutError, Ended, places.Missing, *failures) as error:
        where = f' at "{demo.title}"' if demo else ''
        print(f'\nFAILED{where}\n  {error}\n  logs: {places.rel(log_dir)}/',
              file=sys.stderr)
        return 1
    return 0
