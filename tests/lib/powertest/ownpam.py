# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a program that asks PAM, with services of its own.

    ownpam.py DIRECTORY COMMAND...

runs the command where PAM's services are those of DIRECTORY, and no others.
Nobody else sees that mount.
"""

import os
import sys
from pathlib import Path


class Services:
    """PAM's services, {name: lines}, in a new directory below that one."""

    def __init__(self, directory, services):
        self.directory = Path(directory) / 'pam.d'
        self.directory.mkdir()
        for name, lines in services.items():
            (self.directory / name).write_text(lines)

    @property
    def prefix(self):
        """Makes a command see these."""
        return [sys.executable, __file__, str(self.directory)]


def main(directory, *command):
    import ownstate                 # beside this file: it runs as a program
    here = os.getcwd()
    ownstate.own_mounts('/etc')
    os.chdir(here)
    ownstate.bind(directory, '/etc/pam.d')
    os.execvp(command[0], command)


if __name__ == '__main__':
    main(*sys.argv[1:])
