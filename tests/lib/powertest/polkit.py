# SPDX-License-Identifier: GPL-2.0-or-later
"""A polkit of ours, with one file of rules, on a system bus of ours.

    polkit.py DIRECTORY COMMAND...

runs polkitd where its configuration and the actions that it knows are those of
DIRECTORY. Nobody else sees these mounts.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT = 30
POLKITD = '/usr/lib/polkit-1/polkitd'
BUS_CONF = '''
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={bus}</listen>
  <policy context='default'>
    <allow own='*'/>
    <allow send_destination='*'/>
    <allow receive_sender='*'/>
    <allow user='*'/>
  </policy>
</busconfig>
'''


class Polkit:
    """rules is a file's text. env is for the daemons that are to ask it."""

    def __init__(self, log_dir, rules):
        self.log_dir = Path(log_dir)
        self.rules = rules
        self.directory = Path(tempfile.mkdtemp(prefix='spice-power-'))
        self.bus = self.directory / 'bus'
        self.env = {'DBUS_SYSTEM_BUS_ADDRESS': f'unix:path={self.bus}'}
        self.processes = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *unused):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
            process.stdout.close()
        shutil.rmtree(self.directory, True)

    def _start(self):
        # it runs as a user of its own, who sees no more of it than this
        self.directory.chmod(0o755)
        rules = self.directory / 'etc' / 'rules.d'
        rules.mkdir(parents=True)
        (rules / '50-spice-gateway.rules').write_text(self.rules)
        (self.directory / 'bus.conf').write_text(
            BUS_CONF.format(bus=self.bus))
        bus = self._run('dbus-daemon', '--nofork', '--print-address=1',
                        f'--config-file={self.directory}/bus.conf')
        bus.stdout.readline()           # it listens
        self._run(sys.executable, __file__, self.directory, POLKITD,
                  '--no-debug')
        subprocess.run(['gdbus', 'wait', '--system', '--timeout', str(TIMEOUT),
                        'org.freedesktop.PolicyKit1'], check=True,
                       env={**os.environ, **self.env}, timeout=2 * TIMEOUT)

    def _run(self, *command):
        name = Path(command[-2] if POLKITD in command else command[0]).name
        with open(self.log_dir / f'{name}.log', 'w') as log:
            process = subprocess.Popen(
                list(map(str, command)), env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        self.processes.append(process)
        return process


def main(directory, *command):
    import ownstate                 # beside this file: it runs as a program
    import places
    ownstate.own_mounts('/etc')
    ownstate.bind(f'{directory}/etc', '/etc/polkit-1')
    ownstate.bind(places.PREFIX / 'share' / 'polkit-1' / 'actions',
                  '/usr/share/polkit-1/actions')
    os.execvp(command[0], command)


if __name__ == '__main__':
    main(*sys.argv[1:])
