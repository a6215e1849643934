# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU of ours: its monitor, its serial console, its SPICE server."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from . import places, ports
from .qmp import QMP
from .record import TIMEOUT, Record, reader
from .running import Running

BANNER = re.compile(r'\bLinux version \d')
TICK = re.compile(r'^tick (\d+)$')
# What must be seen on the console is only what makes a boot recognizable;
# the rest is for a quick boot under TCG, where ACPI costs a second
KERNEL_ARGUMENTS = ('console=tty0 console=ttyS0 loglevel=6 acpi=off nokaslr '
                    'mitigations=off noreplace-smp cryptomgr.notests')
GUEST = ('-machine', 'pc', '-accel', 'tcg', '-m', '256', '-nodefaults',
         '-device', 'VGA', '-kernel', str(places.KERNEL),
         '-initrd', str(places.INITRAMFS), '-append', KERNEL_ARGUMENTS)
# This one suspends itself after a second; that takes ACPI
SLEEPER_ARGUMENTS = KERNEL_ARGUMENTS.replace(
    'acpi=off', 'no_console_suspend SUSPEND_AT=5')
SLEEPER = (*GUEST[:-1], SLEEPER_ARGUMENTS,
           '-global', 'PIIX4_PM.disable_s3=0')
# There is nothing in it that could run, and it's up at once
EMPTY = ('-machine', 'none', '-nodefaults')


def end_cleanly():
    """Let SIGTERM end this program as an exception does: QEMU ends, too."""
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit('terminated'))


class StartError(Exception):
    """QEMU did not start."""


class Machine(Running):
    """One QEMU. Everything it says is in log_dir and in Records.

    spice are options of -spice beside the address: 'power=on', say. The server
    listens on a UNIX socket unless tcp is set or tls is a tls.Authority; with
    both, there is a port without TLS, too. Without a ticket none is needed; an
    empty one is as if nobody had set one. host is where QEMU runs, and address
    what the server's address there is. qemu is another places.Qemu than ours.
    """

    def __init__(self, log_dir, spice='power=on', hardware=EMPTY, extra=(),
                 tcp=False, tls=None, ticket=None, name='qemu', qemu=None,
                 many_clients=False, host=None, address='127.0.0.1', env=None,
                 prefix=(), probe=False):
        self.log_dir = Path(log_dir)
        self.name = name
        self.spice_options = spice
        self.hardware = tuple(hardware)
        self.extra = tuple(extra)
        self.tcp = tcp
        self.tls = tls
        self.ticket = ticket
        self.qemu = qemu or places.qemu()
        self.many_clients = many_clients
        self.host = host
        self.address = address
        self.env = dict(env or {})
        self.prefix = tuple(prefix)     # of QEMU's command line
        self.probe = probe              # a second monitor, see probe.py
        self.console = Record("the guest's console")
        self.process = None
        self.qmp = None
        self.port = None                # that for TLS, if there is one
        self.plain_port = None
        self._files = []
        self._sockets = []
        # what is closed before QEMU is ended: its clients
        self.stack = contextlib.ExitStack()
        # short, because a UNIX socket's path must be
        self.run_dir = Path(tempfile.mkdtemp(prefix='spice-power-'))

    # --- where to connect ---------------------------------------------------

    @property
    def probe_socket(self):
        return str(self.run_dir / 'probe')

    @property
    def spice_socket(self):
        return str(self.run_dir / 'spice')

    @property
    def uri(self):
        return self.uri_of()

    def uri_of(self, user=None):
        host = f'{user}@{self.address}' if user else self.address
        if self.tls:
            plain = f'port={self.plain_port}&' if self.tcp else ''
            return f'spice://{host}?{plain}tls-port={self.port}'
        if self.tcp:
            return f'spice://{host}:{self.port}'
        return f'spice+unix://{self.spice_socket}'

    def connect(self, receive_buffer=None, tls=None):
        """A raw connection to the SPICE server, with TLS if it has that."""
        tls = bool(self.tls) if tls is None else tls
        port = self.plain_port if self.tls and not tls else self.port
        if self.tcp or self.tls:
            sock = socket.socket(socket.AF_INET6 if ':' in self.address
                                 else socket.AF_INET)
            sock.settimeout(TIMEOUT)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                receive_buffer)
            sock.connect((self.address, port))
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT)
            sock.connect(self.spice_socket)
        if tls:
            sock = self.tls.client_context().wrap_socket(
                sock, server_hostname=self.address)
        return sock

    # --- start and end ------------------------------------------------------

    def command(self):
        """The command line, with free ports where they are needed.

        They are the same if it is started anew.
        """
        if self.host:
            self.port, self.plain_port = 5900, 5901     # nobody else is there
        elif (self.tcp or self.tls) and self.port is None:
            self.port, self.plain_port = ports.free(), ports.free()
        if self.tls:
            plain = f'port={self.plain_port},' if self.tcp else ''
            where = (f'addr={self.address},{plain}tls-port={self.port},'
                     f'x509-dir={self.tls.directory}')
        elif self.tcp:
            where = f'addr={self.address},port={self.port}'
        else:
            where = f'unix=on,addr={self.spice_socket}'
        ticket = {None: 'disable-ticketing=on', '': ''}.get(
            self.ticket, 'password-secret=ticket')
        spice = ','.join(filter(None, (where, ticket, self.spice_options)))
        command = [*(self.host.prefix if self.host else ()), *self.prefix,
                   str(self.qemu.path), *self.qemu.options, *self.hardware,
                   '-display', 'none',
                   '-chardev', f'socket,id=qmp,path={self.run_dir}/qmp',
                   '-mon', 'chardev=qmp,mode=control',
                   '-chardev', f'socket,id=console,path={self.run_dir}'
                   f'/console,logfile={self.log_dir}/{self.name}-console.log',
                   '-serial', 'chardev:console']
        if self.probe:
            command += ['-chardev', f'socket,id=probe,server=on,wait=off,'
                        f'path={self.probe_socket}',
                        '-mon', 'chardev=probe,mode=control']
        if self.ticket:
            command += ['-object',
                        f'secret,id=ticket,data={self.ticket}']
        return command + ['-spice', spice, *self.extra]

    def start(self):
        """Start QEMU and wait for its monitor."""
        places.need(self.qemu.path)
        listeners = {}
        for name in ('qmp', 'console'):
            path = self.run_dir / name
            path.unlink(missing_ok=True)
            listeners[name] = socket.socket(socket.AF_UNIX)
            listeners[name].bind(str(path))
            listeners[name].listen()
            listeners[name].settimeout(0.2)
        env = dict(self.qemu.env)
        if self.many_clients:
            # without this the SPICE server lets each new client replace the
            # one before
            env['SPICE_DEBUG_ALLOW_MC'] = '1'
        env.update(self.env)
        command = self.command()
        output = self.log_dir / f'{self.name}.log'
        with open(output, 'w') as log:
            log.write(' '.join(command) + '\n')
            log.flush()
            self.process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=self.host.pass_fds if self.host else ())
        try:
            console = self._accept(listeners['console'], output)
            qmp = self._accept(listeners['qmp'], output)
        finally:
            for listener in listeners.values():
                listener.close()
        self._sockets.append(console)
        reader(console.makefile('rb'), self.console,
               lambda line: line.decode(errors='replace').rstrip())
        log = open(self.log_dir / f'{self.name}-qmp.log', 'w')
        self._files.append(log)
        self.qmp = QMP(qmp, log)

    def _accept(self, listener, output):
        for _ in range(int(TIMEOUT / listener.gettimeout())):
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                if self.process.poll() is not None:
                    said = output.read_text().split('\n', 1)[1].strip()
                    raise StartError(f'QEMU did not start, exit code '
                                     f'{self.process.returncode}: {said}')
            else:
                sock.setblocking(True)
                return sock
        raise StartError(f'QEMU did not open its monitor; see {output}')

    def wait_exit(self, timeout=TIMEOUT):
        return self.process.wait(timeout)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def close(self):
        """End this QEMU, and no other."""
        self.stack.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        if self.qmp:
            self.qmp.close()
        for sock in self._sockets:
            sock.close()
        for file in self._files:
            file.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)

    # --- what the guest shows -----------------------------------------------

    def boots(self):
        """How often the kernel has said hello."""
        return sum(1 for line in self.console.since() if BANNER.search(line))

    def wait_boot(self, since, timeout=TIMEOUT):
        """Wait for the kernel's banner and return the mark behind it."""
        return self.console.wait_mark(BANNER.search, "the kernel's banner",
                                      since, timeout)

    def wait_tick(self, since, number=None, timeout=TIMEOUT):
        """Wait for a tick (that one, if given); return its number."""
        def matches(line):
            found = TICK.match(line)
            return found and number in (None, int(found.group(1)))
        what = 'a tick' if number is None else f'tick {number}'
        line = self.console.wait(matches, what, since, timeout)
        return int(TICK.match(line).group(1))

    def last_tick(self):
        """The newest tick's number, and the mark right after it."""
        lines = self.console.since()
        for place in range(len(lines), 0, -1):
            found = TICK.match(lines[place - 1])
            if found:
                return int(found.group(1)), place
        return None, 0

    def silent(self, seconds=1.0):
        """True if the guest does not tick for so long (it ticks 5 a second).

        A tick that was in a buffer on its way here when the guest stopped is
        let through first: the monitor's answer comes after it was written.
        """
        self.qmp.execute('query-status')
        self.console.quiet(TICK.match, 0.1)
        return self.console.quiet(TICK.match, seconds)

    # --- what the SPICE server shows ----------------------------------------

    def spice(self):
        return self.qmp.execute('query-spice')

    def main_connections(self):
        """The connection ids of the clients that are connected."""
        channels = self.spice().get('channels', [])
        return sorted(channel['connection-id'] for channel in channels
                      if channel['channel-type'] == 1)
