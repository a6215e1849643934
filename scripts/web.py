# SPDX-License-Identifier: GPL-2.0-or-later
"""./stack run --web: the patched QEMU, with its console in a browser.

HAProxy serves it as docs/web.rst has it, but on this computer alone and without
TLS. QEMU's SPICE server is a UNIX socket in a directory that only this user may
enter, and has a ticket before anything else is started.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core import ROOT, StackError

PR_SET_PDEATHSIG = 1
PATIENCE = 30           # seconds for QEMU to begin to listen
NAME = 'vm'
# what web.cfg has there, and what it has here
CHANGES = (
    ('bind :443 ssl crt /etc/haproxy/spice-web.pem alpn http/1.1',
     'bind fd@{fd}'),
    ('    bind :::443 v6only ssl crt /etc/haproxy/spice-web.pem alpn '
     'http/1.1\n', ''),
    ('/etc/haproxy/spice-files.lua', '{root}/haproxy/spice-files.lua'),
    ('/usr/share/spice-html5', '{pages}'),
    ('/var/lib/spice-endpoints/spice.map', '{directory}/map'),
    # of this one machine, which is not asked for a certificate
    ('/etc/haproxy/spice-ca.pem', '/etc/ssl/certs/ca-certificates.crt'),
    ('#server vm7 unix@/run/spice/vm7.sock',
     'server vm unix@{directory}/spice'),
)


def configuration(**here):
    text = (ROOT / 'haproxy' / 'web.cfg').read_text()
    for there, change in CHANGES:
        if there not in text:
            raise ValueError(f'web.cfg has no {there}')
        text = text.replace(there, change.format(**here))
    return text


def with_us():
    """In a child: it ends when we do, even if we are killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_for_qemu(qemu, path):
    until = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX) as sock:
        while qemu.poll() is None:
            try:
                return sock.connect(str(path))
            except OSError:
                if time.monotonic() > until:
                    raise StackError(f'QEMU does not listen at {path}')
                time.sleep(0.05)
    raise StackError(f'QEMU has ended, exit code {qemu.returncode}',
                     'its message above says what it complains about')


def start_qemu(stack, directory, program, arguments, env):
    ticket = directory / 'ticket'
    ticket.touch(0o600)
    ticket.write_text(secrets.token_urlsafe(12))
    qemu = stack.enter_context(subprocess.Popen(
        [str(program), '-action', 'shutdown=pause',
         '-object', f'secret,id=web-ticket,file={ticket}',
         '-spice', f'unix=on,addr={directory}/spice,'
         'password-secret=web-ticket,proxies=unix,power=on', *arguments],
        env=env, preexec_fn=with_us))
    stack.callback(qemu.terminate)
    wait_for_qemu(qemu, directory / 'spice')
    return qemu, ticket.read_text()


def start_haproxy(stack, directory, program, pages):
    listener = stack.enter_context(socket.create_server(('127.0.0.1', 0)))
    (directory / 'map').write_text(f'{NAME} {NAME}\n')
    config = directory / 'haproxy.cfg'
    config.write_text(configuration(fd=listener.fileno(), root=ROOT,
                                    pages=pages, directory=directory))
    haproxy = stack.enter_context(subprocess.Popen(
        [program, '-db', '-q', '-f', str(config)], stdin=subprocess.DEVNULL,
        pass_fds=[listener.fileno()], preexec_fn=with_us))
    stack.callback(haproxy.terminate)
    return haproxy, listener.getsockname()[1]


def run(layout, qemu, arguments, env):
    """Until QEMU ends, or HAProxy does; QEMU's exit code."""
    pages = layout.prefix / 'share' / 'spice-html5'
    if not (pages / 'console.html').exists():
        raise StackError('spice-html5 is not built yet', './stack build')
    if '-spice' in arguments:
        raise StackError('-spice is what --web sets itself',
                         'leave it out, or leave out --web')
    # which is not where everybody's PATH leads
    haproxy = shutil.which('haproxy', path=f'{os.environ["PATH"]}:/usr/sbin')
    if not haproxy:
        raise StackError('there is no program haproxy', './stack build '
                         'installs it')
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix='spice-power-web-')))
        qemu, ticket = start_qemu(stack, directory, qemu, arguments, env)
        haproxy, port = start_haproxy(stack, directory, haproxy, pages)
        print(f'''
The console, for this computer alone; it ends with QEMU, or with Ctrl-C:

  http://localhost:{port}/console/{NAME}
  password: {ticket}
''', flush=True)
        while qemu.poll() is None:
            if haproxy.poll() is not None:
                print(f'error: HAProxy has ended, exit code '
                      f'{haproxy.returncode}', file=sys.stderr)
                return 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                qemu.wait(0.5)
        return qemu.returncode
