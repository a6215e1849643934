# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of hosts that only the programs of a test know.

    names.py FILE COMMAND...

runs the command where /etc/hosts is that file. Names stands for the host on
which a client runs, as those of netns.py do.
"""

import os
import sys
from pathlib import Path


class Names:
    """{name: address} in a file in that directory."""

    pass_fds = ()

    def __init__(self, directory, addresses):
        self.file = Path(directory) / 'hosts'
        self.file.write_text(''.join(
            f'{address}\t{name}\n' for name, address in addresses.items()))

    @property
    def prefix(self):
        return [sys.executable, __file__, str(self.file)]


def main(file, *command):
    import ownstate                 # beside this file: it runs as a program
    here = os.getcwd()
    ownstate.own_mounts('/etc')
    os.chdir(here)
    ownstate.bind(file, '/etc/hosts')
    os.execvp(command[0], command)


if __name__ == '__main__':
    main(*sys.argv[1:])
