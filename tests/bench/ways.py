# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways to ask for an action: ask() returns when it was sent; finish() waits
until the way is free again. turn() is around what is asked for in a row."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from powertest import places, wire
from powertest.record import TIMEOUT

GSPICE = Path(__file__).with_name('gspice.py')
GVNC = Path(__file__).with_name('gvnc.py')


def turn(way):
    return way.turn() if hasattr(way, 'turn') else contextlib.nullcontext()


def now():
    """The clock of QEMU's events, in seconds."""
    return time.clock_gettime(time.CLOCK_REALTIME)


class Spice:
    actions = ('reset', 'pause', 'continue')

    def __init__(self, sock):
        self.client = wire.Client(sock)
        self.client.wait_init()
        self.ident = 0

    def ask(self, action):
        self.ident += 1
        message = self.client.request_frame(action, self.ident)
        sent = now()
        self.client.send_raw(message)
        return sent

    def finish(self):
        result = self.client.wait_result()
        if result.result != 'ok':
            raise RuntimeError(f'refused: {result}')


class Qmp:
    """A monitor of its own: the other one is who tells when it happened.

    It is connected while it is its turn: each monitor that is gets each event,
    and there is one in a QEMU that somebody manages, not two.
    """
    actions = ('reset', 'pause', 'continue')
    words = {'reset': 'system_reset', 'pause': 'stop', 'continue': 'cont'}

    def __init__(self, connect):
        self.connect = connect

    @contextlib.contextmanager
    def turn(self):
        with self.connect() as self.sock, \
                self.sock.makefile('rb') as self.replies:
            self.replies.readline()
            self.ask('capabilities', 'qmp_capabilities')
            self.finish()
            yield

    def ask(self, action, word=None):
        message = json.dumps({'execute': word or self.words[action]})
        message = message.encode() + b'\n'
        sent = now()
        self.sock.sendall(message)
        return sent

    def finish(self):
        while True:
            reply = json.loads(self.replies.readline())
            if 'error' in reply:
                raise RuntimeError(f'refused: {reply}')
            if 'return' in reply:
                return


class Xvp:
    """VNC's power control, as little of RFB 3.8 as that needs.

    context is for TLS: then it is VeNCrypt with an X.509 certificate.
    """
    actions = ('reset',)
    SECURITY_NONE, SECURITY_VENCRYPT, VENCRYPT_X509NONE = 1, 19, 260
    CODE_RESET = 4

    def __init__(self, sock, context=None):
        self._use(sock)
        self.read(12)
        sock.sendall(b'RFB 003.008\n')
        offered = self.read(self.read(1)[0])
        kind = self.SECURITY_VENCRYPT if context else self.SECURITY_NONE
        if kind not in offered:
            raise RuntimeError(f'VNC has security {list(offered)}')
        sock.sendall(bytes((kind,)))
        if context:
            self.read(2)                # the version
            sock.sendall(b'\0\2')
            if self.read(1) != b'\0':
                raise RuntimeError('VeNCrypt has another version')
            self.read(4 * self.read(1)[0])
            sock.sendall(struct.pack('>I', self.VENCRYPT_X509NONE))
            if self.read(1) != b'\1':
                raise RuntimeError('VeNCrypt refuses X.509')
            self._use(context.wrap_socket(sock, server_hostname='127.0.0.1'))
        if self.read(4) != bytes(4):
            raise RuntimeError('VNC does not let us in')
        self.sock.sendall(b'\1')        # together with others
        self.read(20)
        self.read(struct.unpack('>I', self.read(4))[0])
        self.sock.sendall(struct.pack('>BxHi', 2, 1, -309))
        if self.read(4) != b'\xfa\0\1\1':
            raise RuntimeError('VNC has no power control')

    def _use(self, sock):
        self.sock = sock

    def read(self, size):
        data = b''
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise RuntimeError('VNC has closed the connection')
            data += more
        return data

    def ask(self, action):
        sent = now()
        self.sock.sendall(bytes((250, 0, 1, self.CODE_RESET)))
        return sent

    def finish(self):
        pass                            # it does not answer


class Library:
    """A process that uses a library as a viewer does."""
    actions = ('reset',)

    def _start(self, script, argument, trouble, **options):
        self.process = subprocess.Popen(
            [sys.executable, str(script), argument], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        if self.process.stdout.readline() != 'ready\n':
            self.close()
            raise RuntimeError(trouble)

    def ask(self, action):
        self.process.stdin.write('reset\n')
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Gspice(Library):
    """SPICE by the library that viewers have for it."""

    def __init__(self, uri):
        self._start(GSPICE, uri, 'spice-gtk has found no power control',
                    env=places.python_environment())

    def finish(self):
        result = self.process.stdout.readline()
        if result != 'ok\n':
            raise RuntimeError(f'refused: {result}')


class Gvnc(Library):
    """XVP by the library that viewers have for it."""

    def __init__(self, sock):
        with sock:
            self._start(GVNC, str(sock.fileno()),
                        'libgvnc has found no power control',
                        pass_fds=(sock.fileno(),))

    def finish(self):
        pass


class Virsh:
    """A virsh that stays connected, and reads what to do."""
    actions = ('reset', 'pause', 'continue')
    words = {'reset': 'reset', 'pause': 'suspend', 'continue': 'resume'}

    def __init__(self, domain):
        self.domain = domain
        self.process = subprocess.Popen(
            ['stdbuf', '-o0', *domain.libvirt.command()],
            env=domain.libvirt.env, bufsize=0, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.finish()

    def _do(self, *words):
        line = ' '.join(words).encode() + b'\n'
        sent = now()
        self.process.stdin.write(line)
        return sent

    def ask(self, action):
        return self._do(self.words[action], self.domain.name)

    def finish(self):
        # what comes after it is done after it
        self._do('echo', 'done')
        said = b''
        while b'done' not in said:
            more = self.process.stdout.read(4096)
            said += more
            if not more or b'error' in said:
                raise RuntimeError(f'virsh: {said.decode()}')

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class VirshProcess:
    """A whole virsh for it, as somebody types it."""
    actions = ('reset',)

    def __init__(self, domain):
        self.domain = domain

    def ask(self, action):
        sent = now()
        self.process = subprocess.Popen(
            self.domain.libvirt.command('reset', self.domain.name),
            env=self.domain.libvirt.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL)
        return sent

    def finish(self):
        if self.process.wait(TIMEOUT):
            raise RuntimeError('virsh reset has failed')


def unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    return sock


def tcp(port, context=None):
    sock = socket.create_connection(('127.0.0.1', port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context:
        sock = context.wrap_socket(sock, server_hostname='127.0.0.1')
    return sock


__all__ = ['Gspice', 'Gvnc', 'Qmp', 'Spice', 'Virsh', 'VirshProcess', 'Xvp',
           'now', 'tcp', 'turn', 'unix']
