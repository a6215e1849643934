# SPDX-License-Identifier: GPL-2.0-or-later
"""Redfish services: a small one of our own, and those of others.

Others' are run from a checkout, which an environment variable names. Nothing of
them is here, and without one the tests that need it are skipped.
"""

import contextlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from unittest import SkipTest

from . import places, ports
from .record import TIMEOUT, Record, reader
from .running import Running

USER, PASSWORD = 'operator', 'redfish-secret'
SYSTEM = '/redfish/v1/Systems/1'
SESSIONS = '/redfish/v1/SessionService/Sessions'
EVENTS = '/redfish/v1/EventService/SSE'
CONSOLE = '/kvm/0'


class Service(Running):
    """After DMTF's DSP0266: one system, sessions, and events.

    Its console is as OpenBMC's bmcweb has one, which lets in whoever has a
    session, and passes on what comes: @console is the port of a VNC server that
    has WebSockets. Record has what it is asked for: "GET /redfish/v1/".
    """

    def __init__(self, power='Off', console=None):
        self.power, self.console = power, console
        self.sessions = 0           # how many there have been
        self.token = None           # of the last one; None: it has ended
        self.viewer = None          # the request of who has the console
        self.asked = Record('the Redfish service')
        self.listener = None        # the request of who listens
        self.has_events = True

    def start(self):
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *unused):
                pass

            def handle(self):
                # who ends need not wait for what is still to come
                with contextlib.suppress(ConnectionResetError):
                    super().handle()

            def do_GET(self):
                service.answer(self)

            do_POST = do_DELETE = do_GET
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0),
                                                      Handler)
        self.server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, request):
        what = f'{request.command} {request.path}'
        size = int(request.headers.get('Content-Length', 0))
        body = json.loads(request.rfile.read(size) or '{}')
        self.asked.append(what)
        if what == f'POST {SESSIONS}':
            right = body == {'UserName': USER, 'Password': PASSWORD}
            if right:
                self.sessions += 1
                self.token = f'token-{self.sessions}'
            self.send(request, 201 if right else 401, {},
                      {'X-Auth-Token': self.token, 'Location': f'{SESSIONS}/7'}
                      if right else {})
        elif what == 'GET /redfish/v1/':
            self.send(request, 200, {
                'Systems': {'@odata.id': '/redfish/v1/Systems'},
                'EventService': {'@odata.id': '/redfish/v1/EventService'},
                'Links': {'Sessions': {'@odata.id': SESSIONS}}})
        elif not self.token or (request.headers.get('X-Auth-Token')
                                != self.token):
            self.send(request, 401, {})
        elif what == f'GET {CONSOLE}' and self.console:
            self.tunnel(request)
        elif what == f'GET {EVENTS}':
            if self.has_events:
                self.listen(request)
            else:
                self.send(request, 503, {})
        elif what.startswith(f'POST {SYSTEM}/Actions/'):
            self.power = ('Off' if body['ResetType'] == 'ForceOff' else 'On')
            self.send(request, 204)
        elif request.command == 'DELETE':
            self.send(request, 204)
        else:
            known = {
                '/redfish/v1/Systems': {'Members': [{'@odata.id': SYSTEM}]},
                '/redfish/v1/EventService': {'ServerSentEventUri': EVENTS},
                SYSTEM: {'PowerState': self.power, 'Actions': {
                    '#ComputerSystem.Reset': {
                        'target': f'{SYSTEM}/Actions/ComputerSystem.Reset'}}}}
            self.send(request, 200 if request.path in known else 404,
                      known.get(request.path, {}))

    @staticmethod
    def send(request, status, body=None, headers=()):
        data = b'' if body is None else json.dumps(body).encode()
        request.send_response(status)
        for name, value in dict(headers).items():
            request.send_header(name, value)
        request.send_header('Content-Length', str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def listen(self, request):
        """Until it hangs up."""
        request.send_response(200)
        request.send_header('Content-Type', 'text/event-stream')
        request.send_header('Connection', 'close')
        request.end_headers()
        request.close_connection = True
        self.listener = request
        self.asked.append('listens')
        request.rfile.read(1)
        self.listener = None
        self.asked.append('listens no more')

    def tunnel(self, request):
        """Until one of them hangs up."""
        def pump(source, sink):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            for end in source, sink:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        request.close_connection = True
        self.viewer = request
        with socket.create_connection(('127.0.0.1', self.console)) as there:
            there.sendall('GET / HTTP/1.1\r\n{}\r\n'.format(''.join(
                f'{name}: {value}\r\n'
                for name, value in request.headers.items())).encode())
            back = threading.Thread(target=pump,
                                    args=(there, request.connection))
            back.start()
            pump(request.connection, there)
            back.join()

    def end_console(self):
        self.viewer.connection.shutdown(socket.SHUT_RDWR)

    def tell(self):
        """An event: something has happened to the system."""
        event = {'Events': [{'MessageId': 'ResourceEvent.1.0.ResourceChanged',
                             'OriginOfCondition': {'@odata.id': SYSTEM}}]}
        self.listener.wfile.write(f'data: {json.dumps(event)}\n\n'.encode())
        self.listener.wfile.flush()

    def hang_up(self):
        """No more events, for nobody."""
        self.has_events = False
        self.listener.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, what, since=0):
        return self.asked.wait_mark(lambda seen: seen == what, what, since)

    def count(self, what, since=0):
        return self.asked.since(since).count(what)

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Checkout(Running):
    """A service of others, from the checkout that a variable names."""

    VARIABLE = None
    MODULES = ()                # of Python, which it needs
    STANDINS = {}               # and those that it loads and does not need here

    def __init__(self, log_dir, tls=None):
        if self.VARIABLE not in os.environ:
            raise SkipTest(f'{self.VARIABLE} names no checkout')
        self.source = Path(os.environ[self.VARIABLE]).resolve()
        self.log_dir, self.tls = Path(log_dir), tls
        self.port = ports.free()
        scheme = 'https' if tls else 'http'
        self.url = f'{scheme}://127.0.0.1:{self.port}'
        self.directory = Path(tempfile.mkdtemp(prefix='spice-power-'))
        self.log = Record(type(self).__name__)
        self.process = None

    def environment(self):
        return dict(places.environment(), PYTHONDONTWRITEBYTECODE='1',
                    PYTHONPATH=f'{self.source}:{self.directory}/standins',
                    PYTHONUNBUFFERED='1')

    def command(self):
        raise NotImplementedError

    def prepare(self):
        pass

    def start(self):
        missing = subprocess.run(
            ['/usr/bin/python3', '-c',
             ''.join(f'import {name}\n' for name in self.MODULES)],
            capture_output=True, text=True)
        if missing.returncode:
            raise SkipTest(f'{type(self).__name__} needs more: '
                           + missing.stderr.splitlines()[-1])
        for name, text in self.STANDINS.items():
            path = self.directory / 'standins' / f'{name}.py'
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.prepare()
        self.output = open(self.log_dir / f'{type(self).__name__}.log', 'w')
        self.process = subprocess.Popen(
            ['/usr/bin/python3', *map(str, self.command())],
            env=self.environment(), cwd=self.directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        reader(self.process.stdout, self.log, self._line)
        self._wait_answer()

    def _line(self, line):
        line = line.decode(errors='replace')
        self.output.write(line)
        self.output.flush()
        return line.rstrip()

    def _wait_answer(self):
        context = (ssl.create_default_context(cafile=self.tls.ca_file)
                   if self.tls else None)
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                urllib.request.urlopen(f'{self.url}/redfish/v1/',
                                       context=context).close()
                return
            except OSError as error:
                if (self.process.poll() is not None or
                        time.monotonic() > deadline):
                    raise RuntimeError(f'{error}; see '
                                       f'{places.rel(self.log_dir)}')
                time.sleep(0.05)

    def wait_log(self, text, since=0):
        return self.log.wait(lambda line: text in line, text, since)

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.log.wait_end()
            self.process.stdout.close()
            self.output.close()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.directory)


class Sushy(Checkout):
    """OpenStack's sushy-tools: the domains of a libvirt are its systems."""

    VARIABLE = 'SPICE_POWER_SUSHY_TOOLS'
    MODULES = ('bcrypt', 'flask', 'libvirt', 'pbr', 'requests', 'tenacity',
               'webob')

    def __init__(self, log_dir, uri, tls):
        super().__init__(log_dir, tls)
        self.uri = uri

    def environment(self):
        # it is no package with a version here
        return dict(super().environment(), PBR_VERSION='1.0')

    def prepare(self):
        import bcrypt
        words = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (self.directory / 'users').write_text(f'{USER}:{words}\n')
        (self.directory / 'config').write_text(
            f'SUSHY_EMULATOR_AUTH_FILE = {str(self.directory / "users")!r}\n')

    def command(self):
        return ('-m', 'sushy_tools.emulator.main', '--libvirt-uri', self.uri,
                '--interface', '127.0.0.1', '--port', self.port,
                '--config', self.directory / 'config',
                '--ssl-certificate', self.tls.directory / 'server-cert.pem',
                '--ssl-key', self.tls.directory / 'server-key.pem')


class Mockup(Checkout):
    """DMTF's Redfish-Mockup-Server: a service that does nothing."""

    VARIABLE = 'SPICE_POWER_REDFISH_MOCKUP_SERVER'
    # to send events to subscribers, of whom there are none
    STANDINS = {'grequests': ''}

    def command(self):
        return (self.source / 'redfishMockupServer.py', '--host', '127.0.0.1',
                '--port', self.port, '--dir',
                self.source / 'public-rackmount1', '--short-form', '--ssl',
                '--cert', self.tls.directory / 'server-cert.pem',
                '--key', self.tls.directory / 'server-key.pem')


class Emulator(Checkout):
    """DMTF's Redfish-Interface-Emulator: several systems, with ActionInfo."""

    VARIABLE = 'SPICE_POWER_REDFISH_INTERFACE_EMULATOR'
    MODULES = ('flask', 'flask_httpauth', 'flask_restful', 'requests')
    # to make names up, for resources that are not made here
    STANDINS = {'strgen': 'class StringGenerator:\n'
                          '    def __init__(self, pattern): pass\n'}

    def prepare(self):
        # it reads its configuration where it is
        shutil.copytree(self.source, self.directory / 'emulator',
                        ignore=shutil.ignore_patterns('.git'))
        config = self.directory / 'emulator'
        shutil.copy(config / 'emulator-config_dynamic_populate.json',
                    config / 'emulator-config.json')

    def environment(self):
        return dict(super().environment(),
                    PYTHONPATH=f'{self.directory}/standins')

    def command(self):
        return ('-c', 'import os, runpy, sys; os.chdir("emulator"); '
                      'sys.path.insert(0, "."); '
                      'sys.argv[0] = "emulator.py"; '
                      'runpy.run_path("emulator.py", run_name="__main__")',
                '-port', self.port)
