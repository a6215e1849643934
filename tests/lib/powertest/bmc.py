# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-gateway, and a host for it: OpenIPMI's BMC, which has a QEMU with VNC.

The BMC starts and ends the QEMU for power-on and power-off, and is connected
to it as a BMC is to its board, so that it can reset it. ipmitool is how others
than spice-gateway act.
"""

import contextlib
import os
import select
import selectors
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from . import places, ports
from .qmp import QMP
from .record import TIMEOUT, Ended, Record, reader
from .running import Running

GATEWAY = Path(os.environ.get('SPICE_POWER_GATEWAY',
                              places.PREFIX / 'bin' / 'spice-gateway'))
PROGRAMS = {'ipmi_sim': 'openipmi', 'ipmitool': 'ipmitool'}
USER, PASSWORD = 'operator', 'ipmi-secret'
WATCHER = 'watcher'             # may look, and nothing else

LAN = '''name "host"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 {lan}
  priv_limit admin
  allowed_auths_callback md5
  allowed_auths_user md5
  allowed_auths_operator md5
  allowed_auths_admin md5
  guid 0123456789abcdef0123456789abcdef
{key}endlan
serial 15 127.0.0.1 {board} codec VM
startcmd "{start}"
startnow false
poweroff_wait 1
kill_wait 1
user 2 true "{user}" "{password}" operator 10 md5
user 3 true "{watcher}" "{password}" user 10 md5
'''
CONTROLLER = '''mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
'''


def need():
    places.need(GATEWAY)
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            raise places.Missing(f'there is no {program}: install the package '
                                 f'{package}')


class Host(Running):
    """A host with a BMC. extra is more of QEMU's command line.

    key is the BMC's K_g, which others than the one who sets it need, too.
    """

    def __init__(self, log_dir, extra=(), vnc_password=None, key=None):
        self.key = key
        self.log_dir = Path(log_dir)
        self.extra = tuple(extra)
        self.vnc_password = vnc_password
        self.directory = Path(tempfile.mkdtemp(prefix='spice-power-'))
        self.vnc_socket = self.directory / 'vnc'
        self.password_file = self.directory / 'ipmi-password'
        self.password_file.write_text(PASSWORD + '\n')
        self.lan_port = self.process = None
        self._qmp = None
        self._listener = None
        self._qmp_log = open(self.log_dir / 'host-qmp.log', 'w')

    def _qemu(self, board):
        qemu = places.qemu()
        password = ',password=on' if self.vnc_password else ''
        return [str(qemu.path), *qemu.options,
                '-machine', 'pc', '-accel', 'tcg', '-m', '64', '-nodefaults',
                '-device', 'VGA', '-display', 'none',
                '-vnc', f'unix:{self.vnc_socket}{password}',
                '-chardev', f'socket,id=board,host=127.0.0.1,port={board},'
                            'reconnect-ms=50',
                '-device', 'ipmi-bmc-extern,id=bmc0,chardev=board',
                '-device', 'isa-ipmi-kcs,bmc=bmc0',
                '-chardev', f'socket,id=qmp,path={self.directory}/qmp',
                '-mon', 'chardev=qmp,mode=control', *self.extra]

    def start(self):
        self.lan_port = ports.free(socket.SOCK_DGRAM)
        board = ports.free()
        start = self.directory / 'start'
        libraries = places.environment()['LD_LIBRARY_PATH']
        start.write_text(
            f'#!/bin/sh\nexport LD_LIBRARY_PATH={shlex.quote(libraries)}\n'
            f'exec {shlex.join(self._qemu(board))} '
            f'>>{shlex.quote(str(self.log_dir / "host.log"))} 2>&1\n')
        start.chmod(0o755)
        (self.directory / 'lan').write_text(LAN.format(
            lan=self.lan_port, board=board, start=start, user=USER,
            key=f'  bmc_key "{self.key}"\n' if self.key else '',
            watcher=WATCHER, password=PASSWORD))
        (self.directory / 'controller').write_text(CONTROLLER)
        (self.directory / 'state').mkdir(exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / 'qmp'))
        self._listener.listen()
        self._listener.settimeout(TIMEOUT)
        self.plug()

    def plug(self):
        """Start the BMC, until it answers."""
        with open(self.log_dir / 'ipmi_sim.log', 'a') as log:
            self.process = subprocess.Popen(
                ['ipmi_sim', '-n', '-c', self.directory / 'lan', '-f',
                 self.directory / 'controller', '-s', self.directory / 'state'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + TIMEOUT
        while self.ipmitool('status').returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError('ipmi_sim did not start; see '
                                   f'{places.rel(self.log_dir)}')

    def unplug(self):
        """End it as a power cut does; the host does not notice."""
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def ipmitool(self, word):
        """Act as another administrator does."""
        return subprocess.run(
            ['ipmitool', '-I', 'lanplus', '-C', '3', '-N', '1', '-R', '2',
             '-H', '127.0.0.1', '-p', str(self.lan_port), '-L', 'OPERATOR',
             '-U', USER, '-f', self.password_file,
             *(['-k', self.key] if self.key else []),
             'chassis', 'power', word],
            stdin=subprocess.DEVNULL, text=True, capture_output=True,
            timeout=TIMEOUT)

    def qmp(self):
        """The monitor of the QEMU that has been started last."""
        if self._qmp:
            self._qmp.close()
        sock, _ = self._listener.accept()
        sock.settimeout(None)
        self._qmp = QMP(sock, self._qmp_log)
        # before that the BMC does not know that the host can be reset
        deadline = time.monotonic() + TIMEOUT
        while self._is_unconnected('board'):
            if time.monotonic() > deadline:
                raise TimeoutError("the host's board is not at its BMC")
        return self._qmp

    def _is_unconnected(self, label):
        place, = [device['filename'] for device in
                  self._qmp.execute('query-chardev')
                  if device['label'] == label]
        return place.startswith('disconnected')

    def close(self):
        if self.process and self.process.poll() is None:
            self.thaw()
            self.process.kill()
            self.process.wait()
        # QEMU is no child of ours, but its monitor is connected to us
        try:
            if self._qmp:
                self._qmp.execute('quit')
                self._qmp.events.wait_end()
        except Ended:
            pass
        if self._qmp:
            self._qmp.close()
        if self._listener:
            self._listener.close()
        self._qmp_log.close()
        shutil.rmtree(self.directory, True)


class Lan(Running):
    """A network between spice-gateway and a BMC, which knows of each session.

    Each comes from a port of its own, as each ipmitool has one. While it is cut
    nothing gets through.
    """

    # RMCP+, and the request to open a session
    AUTHENTICATION, PAYLOAD, OPEN = 6, 0x3f, 0x10

    def __init__(self, lan_port):
        self.bmc = '127.0.0.1', lan_port
        self.cut = False
        self.attempts = Record('attempts')      # ports, in their order
        self.sessions = Record('sessions')      # those that have opened one
        self._times = {}        # port: when it said something first and last
        self._ways = {}
        self._here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self):
        self._here.bind(('127.0.0.1', 0))
        self.lan_port = self._here.getsockname()[1]
        self._selector.register(self._here, selectors.EVENT_READ)
        self._thread.start()

    def overlapping(self):
        """Those that were there at the same time."""
        seen = sorted(self._times.values())
        return [(a, b) for a, b in zip(seen, seen[1:]) if b[0] < a[1]]

    def _run(self):
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.2):
                with contextlib.suppress(OSError):  # nobody is there
                    if key.fileobj is self._here:
                        self._ask(*self._here.recvfrom(4096))
                    else:
                        self._here.sendto(key.fileobj.recv(4096), key.data)

    def _ask(self, packet, address):
        now = time.monotonic()
        port = address[1]
        if port not in self._times:
            self.attempts.append(port)
        self._times[port] = self._times.get(port, (now,))[0], now
        if self.cut:
            return
        if port not in self._ways:
            self._ways[port] = way = socket.socket(socket.AF_INET,
                                                   socket.SOCK_DGRAM)
            way.connect(self.bmc)
            self._selector.register(way, selectors.EVENT_READ, address)
        if (len(packet) > 5 and packet[4] == self.AUTHENTICATION and
                packet[5] & self.PAYLOAD == self.OPEN and
                port not in self.sessions.since()):
            self.sessions.append(port)
        self._ways[port].send(packet)

    def close(self):
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._selector.close()
        for sock in self._here, *self._ways.values():
            sock.close()


class VncServer(Running):
    """A VNC server that says and reads what a test wants, right or wrong."""

    # bits, depth, byte order, true colour, maxima and shifts
    PIXELS = (32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
    RAW, RRE = 0, 2
    RICH_CURSOR, DESKTOP_SIZE, LEDS, WMVI = -239, -223, -261, 0x574d5669
    # what clients send: the size, without the type
    SIZES = {0: 19, 3: 9, 4: 7, 5: 5}
    SET_ENCODINGS, UPDATE_REQUEST, KEY, POINTER = 2, 3, 4, 5

    def __init__(self, path=None, size=(64, 48)):
        self.size = size
        self.peer = None
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.address = str(path)
        else:
            self.listener = socket.socket()
            self.address = '127.0.0.1', 0

    def start(self):
        self.listener.bind(self.address)
        self.address = self.listener.getsockname()
        self.listener.listen()
        self.listener.settimeout(TIMEOUT)

    def accept(self):
        """Wait for a client, and be friendly until the display is there."""
        if self.peer:
            self.peer.close()
        self.peer, _ = self.listener.accept()
        self.peer.settimeout(TIMEOUT)
        self.send(b'RFB 003.008\n')
        self.read(12)
        self.send(b'\1\1')              # one way to log in, none
        self.read(1)
        self.send(bytes(4))
        self.read(1)                    # shared
        self.send(struct.pack('>HH', *self.size), self.pixels(*self.PIXELS),
                  struct.pack('>I', 4), b'test')
        self.wait(self.UPDATE_REQUEST)

    def has_caller(self):
        """Whether there is another client, who has not been accepted."""
        return bool(select.select([self.listener], [], [], 0)[0])

    def until_end(self):
        """Read until the client has gone."""
        while self.peer.recv(4096):
            pass

    def send(self, *parts):
        self.peer.sendall(b''.join(parts))

    def read(self, size):
        data = b''
        while len(data) < size:
            more = self.peer.recv(size - len(data))
            if not more:
                raise EOFError('the client has gone')
            data += more
        return data

    def message(self):
        """What the client sends next: type, and body."""
        kind = self.read(1)[0]
        if kind == self.SET_ENCODINGS:
            head = self.read(3)
            return kind, head + self.read(4 * int.from_bytes(head[1:], 'big'))
        return kind, self.read(self.SIZES[kind])

    def wait(self, kind):
        """The body of the next message of that type."""
        while True:
            found, body = self.message()
            if found == kind:
                return body

    # --- the parts of what it says -------------------------------------------

    @staticmethod
    def pixels(*pixel_format):
        return struct.pack('>4B3H3B3x', *pixel_format)

    @staticmethod
    def rectangle(encoding, x, y, width, height, *data):
        return struct.pack('>4Hi', x, y, width, height, encoding) + b''.join(
            data)

    def fill(self, colour, x=0, y=0, width=None, height=None):
        """A rectangle, or all of it, in one colour."""
        return self.rectangle(self.RRE, x, y, width or self.size[0],
                              height or self.size[1],
                              struct.pack('>I', 0), struct.pack('<I', colour))

    def update(self, *rectangles):
        self.send(struct.pack('>BxH', 0, len(rectangles)), *rectangles)

    def close(self):
        if self.peer:
            self.peer.close()
        self.listener.close()


class Place:
    """Where clients find a machine."""

    def __init__(self, log_dir, socket):
        self.log_dir, self.socket = Path(log_dir), socket

    @property
    def uri(self):
        return f'spice+unix://{self.socket}'

    def connect(self):
        """A raw connection."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(str(self.socket))
        return sock


class Gateway(Running):
    """A spice-gateway with a directory: files are groups and keys, by path."""

    # what it is started by
    prefix = ()

    def __init__(self, log_dir, files, name='spice-gateway', env=None,
                 listener=None):
        """listener is a socket that it gets as systemd would pass it."""
        self.log_dir = Path(log_dir)
        self.listener = listener
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix='spice-power-'))
        self.config = self.directory
        for path, groups in files.items():
            self.write(groups, path)
        self.log = Record(name)
        # another one than ours has its libraries where it looks for them
        self.env = dict(os.environ if 'SPICE_POWER_GATEWAY' in os.environ
                        else places.environment(), **(env or {}))
        self.process = None

    def place(self, machine):
        """If its unix-socket is {directory}/{name}.spice."""
        return Place(self.log_dir, self.directory / f'{machine}.spice')

    def write(self, groups, path=None):
        path = self.directory / path if path else self.config
        path.parent.mkdir(exist_ok=True)
        path.write_text(''.join(
            f'[{group}]\n' + ''.join(
                f'{key}={value}\n'.replace('{directory}', str(self.directory))
                for key, value in keys.items())
            for group, keys in groups.items()))

    def __exit__(self, failure, *unused):
        try:
            # what it has leaked, a sanitizer says now
            if not failure and self.process.poll() is None and self.end():
                raise RuntimeError(f'exit status {self.process.returncode}; '
                                   f'see {places.rel(self.log_dir)}')
        finally:
            self.close()

    def start(self):
        self._output = open(self.log_dir / f'{self.name}.log', 'w')
        command = [*self.prefix, GATEWAY, '--config', self.config]
        if self.listener:
            command = ['sh', '-c', f'exec 3<&{self.listener.fileno()}; '
                       'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', 'sh', *command]
        self.log = Record(self.name)
        self.process = subprocess.Popen(
            command, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[self.listener.fileno()] if self.listener else ())
        reader(self.process.stdout, self.log, self._line)
        self.wait_log('ready')

    def check(self, *options):
        """Run it for its configuration only, or with these options."""
        return subprocess.run(
            [GATEWAY, *(options or ('--config', self.config,
                                    '--check-config'))],
            env=self.env, stdin=subprocess.DEVNULL, text=True,
            capture_output=True, timeout=TIMEOUT)

    def _line(self, line):
        line = line.decode(errors='replace')
        self._output.write(line)
        self._output.flush()
        return line.rstrip()

    def wait_log(self, text, since=0, timeout=TIMEOUT):
        return self.log.wait(lambda line: text in line, text, since, timeout)

    def resources(self):
        """(memory in kilobytes, number of open files)."""
        status = Path(f'/proc/{self.process.pid}/status').read_text()
        memory, = [int(line.split()[1]) for line in status.splitlines()
                   if line.startswith('VmRSS:')]
        return memory, len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def end(self):
        """End it as systemd does; its exit status."""
        self.process.terminate()
        code = self.process.wait(TIMEOUT)
        self.log.wait_end()
        return code

    def close(self):
        if self.process:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self.log.wait_end()
            self.process.stdout.close()
            self._output.close()
        shutil.rmtree(self.directory, True)


class Endpoint(Gateway, Place):
    """One with a file. groups are its configuration, by group and key.

    It listens on a UNIX socket, unless the configuration says otherwise.
    """

    def __init__(self, log_dir, groups, name='spice-gateway', port=None,
                 tls=None, env=None):
        super().__init__(log_dir, {}, name, env)
        self.socket = self.directory / 'spice'
        self.config = self.directory / 'spice-gateway.conf'
        self.port, self.tls = port, tls
        server = {'name': name}
        if not port and not tls:
            server['unix-socket'] = self.socket
        self.write({'server': {**server, **groups.get('server', {})},
                    **{name: keys for name, keys in groups.items()
                       if name != 'server'}})
