# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt of ours: its daemons, a domain, and virsh.

As root this is the system's libvirt as an administrator has it, except that
its state and its configuration are in a directory of the test's own
(ownstate.py puts them where libvirt was built to have them). For everybody else
it is the session's, with the same in the XDG directories.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import ownstate, places
from .machine import KERNEL_ARGUMENTS, Machine
from .record import TIMEOUT, Record, reader

BIN, SBIN = places.PREFIX / 'bin', places.PREFIX / 'sbin'
VIRSH, LIBVIRTD, VIRTLOCKD = BIN / 'virsh', SBIN / 'libvirtd', SBIN / 'virtlockd'

# Nothing of what protects a host from its guests matters here, and much of it
# does not work in a container
QEMU_CONF = '''
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
'''
ROOT_CONF = '''
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
'''
DAEMON_CONF = '''
unix_sock_dir = "{run}"
auth_unix_rw = "none"
auth_unix_ro = "none"
audit_level = 1
audit_logging = 1
log_filters = "1:qemu.qemu_spice_power 1:conf.domain_audit"
log_outputs = "1:stderr"
'''


class VirshError(Exception):
    """virsh has failed; the text is what it said."""


class Domain:
    """A domain that is defined; what Machine is without libvirt."""

    def __init__(self, libvirt, name, power="powerControl='yes'", spice='',
                 devices='', settings='', guest=True, listen='127.0.0.1',
                 emulator=places.QEMU, arguments=KERNEL_ARGUMENTS):
        """listen is the address of its SPICE server; None: it has none."""
        self.libvirt, self.name = libvirt, name
        self.log_dir = libvirt.log_dir
        self.power, self.spice, self.devices = power, spice, devices
        self.settings, self.guest, self.emulator = settings, guest, emulator
        self.listen = listen
        self.arguments = arguments
        self.extra = ()         # what else QEMU is started with
        self.console = Record(f"{name}'s console")
        self.events = Record('virsh event')
        self.run_dir = libvirt.directory / name
        self.run_dir.mkdir()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.run_dir / 'console'))
        self._listener.listen()
        self._connections = []
        self._watchers = []

    # what a guest shows is the same as without libvirt
    boots = Machine.boots
    wait_boot = Machine.wait_boot
    wait_tick = Machine.wait_tick
    last_tick = Machine.last_tick

    def xml(self):
        boot = (f"<kernel>{places.KERNEL}</kernel>"
                f"<initrd>{places.INITRAMFS}</initrd>"
                f"<cmdline>{self.arguments}</cmdline>" if self.guest else '')
        words = ''.join(f"<qemu:arg value='{word}'/>" for word in self.extra)
        commandline = (f'<qemu:commandline>{words}</qemu:commandline>'
                       if words else '')
        graphics = f'''
    <graphics type='spice' autoport='yes' {self.power}>
      <listen type='address' address='{self.listen}'/>
      {self.spice}
    </graphics>''' if self.listen else ''
        return f'''
<domain type='qemu'
        xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{self.name}</name>
  <memory unit='MiB'>256</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os>
  {self.settings}
  <devices>
    <emulator>{self.emulator}</emulator>
    {self.devices}
    <serial type='unix'>
      <source mode='connect' path='{self.run_dir}/console'/>
    </serial>
    {graphics}
    <video><model type='vga'/></video>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  {commandline}
</domain>
'''

    def define(self):
        path = self.run_dir / 'domain.xml'
        path.write_text(self.xml())
        self.libvirt.virsh('define', '--validate', path)
        return self

    def start(self, *options):
        """Start it, and follow its console from here on."""
        self.virsh('start', *options)
        return self.follow()

    def follow(self):
        """The same, if somebody else has started it."""
        self._listener.settimeout(TIMEOUT)
        connection, _ = self._listener.accept()
        connection.setblocking(True)
        self._connections.append(connection)
        reader(connection.makefile('rb'), Record(self.name), self._line)
        return self

    def _line(self, line):
        self.console.append(line.decode(errors='replace').rstrip())

    def virsh(self, action, *arguments):
        return self.libvirt.virsh(action, self.name, *arguments)

    @property
    def uri(self):
        return self.virsh('domdisplay').strip()

    def uri_of(self, user):
        return self.uri.replace('spice://', f'spice://{user}@')

    def connect(self):
        """A raw connection to the SPICE server."""
        return socket.create_connection(
            self.uri.removeprefix('spice://').rsplit(':', 1))

    def update_graphics(self, old, new):
        """Replace something in its graphics device while it runs."""
        xml = self.virsh('dumpxml', '--security-info')
        graphics = re.search(r'<graphics.*</graphics>', xml, re.S).group(0)
        if not re.search(old, graphics):
            raise ValueError(f'{old} is not in {graphics}')
        path = self.run_dir / 'graphics.xml'
        path.write_text(re.sub(old, new, graphics))
        self.virsh('update-device', path, '--live')

    @property
    def state(self):
        """What virsh domstate --reason says: ('paused', 'user')."""
        text = self.virsh('domstate', '--reason').strip()
        return tuple(re.fullmatch(r'(.*?) \((.*)\)', text).groups())

    @property
    def pid(self):
        path, = self.libvirt.find(f'**/{self.name}.pid')
        return int(path.read_text())

    def qmp(self, execute, **arguments):
        answer = json.loads(self.virsh(
            'qemu-monitor-command', json.dumps({'execute': execute,
                                                'arguments': arguments})))
        return answer['return']

    def wait_state(self, state, timeout=TIMEOUT):
        """Wait until libvirt has got that far; return the state's reason.

        A client is answered before a job of libvirt's comes to its end.
        """
        deadline = time.monotonic() + timeout
        while (now := self.state)[0] != state:
            if time.monotonic() > deadline:
                raise TimeoutError(f'{self.name} is {now}, not {state}')
            time.sleep(0.05)
        return now[1]

    def watch(self):
        """Record libvirt's events from here on, as virsh prints them."""
        process = subprocess.Popen(
            ['stdbuf', '-oL', *self.libvirt.command(
                'event', '--all', '--loop', '--domain', self.name)],
            env=self.libvirt.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE)
        self._watchers.append(process)
        reader(process.stdout, self.events,
               lambda line: line.decode(errors='replace').rstrip())
        # virsh does not say when it listens: cause events until one comes
        for attempt in range(100):
            self.virsh('desc', '--live', '--new-desc', f'event {attempt}')
            try:
                self.events.wait(lambda line: 'metadata-change' in line,
                                 'the first event', timeout=0.3)
                return
            except TimeoutError:
                continue
        raise VirshError('virsh event shows nothing')

    def close(self):
        for process in self._watchers:
            process.kill()
            process.wait()
            self.events.wait_end()
            process.stdout.close()
        for sock in (self._listener, *self._connections):
            sock.close()


class Libvirt:
    """The daemons; with lockd, virtlockd holds the leases of domains.

    qemu_conf is what qemu.conf has beside what each test needs. With host_uuid
    it is another host than this one, to which domains can be migrated.
    """

    def __init__(self, log_dir, lockd=False, qemu_conf='', host_uuid=None,
                 daemon_conf='', env=None):
        self.host_uuid = host_uuid
        self.daemon_conf = daemon_conf
        self.log_dir = Path(log_dir)
        self.lockd = lockd
        self.qemu_conf = qemu_conf
        # short, because a UNIX socket's path must be
        self.directory = Path(tempfile.mkdtemp(prefix='spice-power-'))
        self.stack = contextlib.ExitStack()
        self.libvirtd = self.virtlockd = None
        self.domains = []
        self.as_root = os.geteuid() == 0
        home = self.directory / 'home'
        self.env = dict(places.environment(), HOME=str(home),
                        XDG_CONFIG_HOME=str(home / 'etc'),
                        XDG_CACHE_HOME=str(home / 'cache'),
                        XDG_DATA_HOME=str(home / 'data'),
                        XDG_RUNTIME_DIR=str(self.directory / 'xdg'),
                        **(env or {}))
        self.log = Record("the daemons' logs")

    def __enter__(self):
        try:
            self._configure()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    # --- the daemons --------------------------------------------------------

    def _configure(self):
        places.need(VIRSH, LIBVIRTD, VIRTLOCKD, places.QEMU)
        for name in ('var', 'etc/libvirt', 'home/etc/libvirt', 'xdg', 'run',
                     'dev'):
            (self.directory / name).mkdir(parents=True)
        etc = self.directory / ('etc' if self.as_root else 'home/etc')
        (etc / 'libvirt' / 'qemu.conf').write_text(
            QEMU_CONF + (ROOT_CONF if self.as_root else '')
            + ('lock_manager = "lockd"\n' if self.lockd else '')
            + self.qemu_conf)
        # virtlockd makes this lockspace; leases can be in it, too
        (etc / 'libvirt' / 'qemu-lockd.conf').write_text(
            f'file_lockspace_dir = "{self.directory}/lockspace"\n')
        (self.directory / 'libvirtd.conf').write_text(DAEMON_CONF.format(
            run=self.directory / 'run') + self.daemon_conf
            + (f'host_uuid = "{self.host_uuid}"\n' if self.host_uuid else ''))

    def find(self, *patterns):
        """Files of the daemon's state that exist."""
        roots = (self.directory / 'var', self.directory / 'xdg',
                 self.directory / 'home')
        return [path for root in roots for pattern in patterns
                for path in root.glob(pattern)]

    def _daemon(self, *command):
        """Start a daemon where its state and configuration are ours."""
        name = Path(command[0]).name
        log = self.stack.enter_context(
            open(self.log_dir / f'{name}.log', 'a', buffering=1))

        def logged(line):
            line = line.decode(errors='replace')
            log.write(line)
            self.log.append(line.rstrip())
        if self.as_root:
            command = (sys.executable, ownstate.__file__, self.directory,
                       places.PREFIX, *command)
        daemon = subprocess.Popen(list(map(str, command)), env=self.env,
                                  stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
        # the one after it goes on with the same record
        ended = Record(name)
        reader(daemon.stdout, ended, logged)
        self.stack.callback(daemon.stdout.close)
        self.stack.callback(ended.wait_end)
        return daemon

    def start(self):
        if self.lockd and self.virtlockd is None:
            self.virtlockd = self._daemon(VIRTLOCKD, '--pid-file',
                                          self.directory / 'virtlockd.pid')
            self._poll(lambda: self.find('**/virtlockd-sock'), 'virtlockd')
        self.libvirtd = self._daemon(
            LIBVIRTD, '--config', self.directory / 'libvirtd.conf',
            '--pid-file', self.directory / 'libvirtd.pid')
        self._poll(self._answers, 'libvirtd')

    def _answers(self):
        try:
            return self.virsh('uri')
        except VirshError:
            if self.libvirtd.poll() is not None:
                raise VirshError(f'libvirtd has ended, see '
                                 f'{places.rel(self.log_dir)}/libvirtd.log')

    def _poll(self, holds, what):
        deadline = time.monotonic() + TIMEOUT
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f'{what} did not start, see '
                                   f'{places.rel(self.log_dir)}/{what}.log')
            time.sleep(0.05)

    def stop(self):
        """As a system does, when libvirt is updated; machines go on."""
        self.libvirtd.terminate()
        self.libvirtd.wait(TIMEOUT)

    def close(self):
        """End the domains, and the daemons."""
        for domain in self.domains:
            with contextlib.suppress(Exception):
                os.kill(domain.pid, 9)
            domain.close()
        for daemon in (self.libvirtd, self.virtlockd):
            if daemon and daemon.poll() is None:
                daemon.send_signal(signal.SIGCONT)
                daemon.terminate()
                daemon.wait(TIMEOUT)
        for path in self.find('log/libvirt/qemu/*.log',
                              'cache/libvirt/qemu/log/*.log'):
            shutil.copy(path, self.log_dir)
        self.stack.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def lease(self, key):
        """The device of a domain that holds a lease while it runs."""
        (self.directory / 'lockspace' / key).touch()
        return (f'<lease><lockspace>lockspace</lockspace><key>{key}</key>'
                f"<target path='{self.directory}'/></lease>")

    # --- what one does with them --------------------------------------------

    @property
    def uri(self):
        mode = 'system' if self.as_root else 'session'
        return (f'qemu+unix:///{mode}?socket='
                f'{self.directory}/run/libvirt-sock')

    def command(self, *arguments):
        return list(map(str, (VIRSH, '--quiet', '-c', self.uri, *arguments)))

    def virsh(self, *arguments, timeout=TIMEOUT):
        done = subprocess.run(self.command(*arguments), env=self.env,
                              text=True, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=timeout)
        if done.returncode:
            raise VirshError((done.stderr or done.stdout).strip())
        return done.stdout

    def domain(self, name, **options):
        """Define a domain; it ends with the daemons."""
        domain = Domain(self, name, **options)
        self.domains.append(domain)
        return domain.define()
