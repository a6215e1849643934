# SPDX-License-Identifier: GPL-2.0-or-later
"""What a demo shows: numbered steps, and who has seen what in each."""

import time


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
