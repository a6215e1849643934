#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What Debian's checkers say of what is ours: Python, shell, and spelling."""

import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'scripts'), str(ROOT / 'tests' / 'lib')]

import tap                                              # noqa: E402
from test_series import tracked                         # noqa: E402

# what upstreams have written, or a program has
NOT_OURS = ('.patch', '.diff', '.json', '.png', '.svg', '.po')
SHELLS = ('#!/bin/sh', '#!/bin/bash')


def first_line(path):
    with open(ROOT / path, 'rb') as f:
        return f.readline(100).decode(errors='replace').strip()


def is_shell(path):
    return first_line(path).startswith(SHELLS) or path.endswith('.bash')


def is_ours(path):
    # expected results of upstreams' tests are as their programs print them
    return not path.endswith(NOT_OURS) and '/files/tests/' not in path


class Style(unittest.TestCase):
    def complains_not(self, command, paths):
        self.assertTrue(paths)
        done = subprocess.run([*command, *paths], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertEqual((0, ''), (done.returncode, done.stdout))

    def test_python(self):
        """.flake8 says what is looked at."""
        self.complains_not(['flake8'], [
            path for path in tracked() if path.endswith('.py')
            and not path.startswith(('patches/', 'qapi/'))])

    def test_shell(self):
        self.complains_not(['shellcheck'],
                           [path for path in tracked() if is_shell(path)])

    def test_spelling(self):
        """.codespellrc has the words that only look wrong."""
        self.complains_not(['codespell'],
                           [path for path in tracked() if is_ours(path)])


if __name__ == '__main__':
    tap.main()
