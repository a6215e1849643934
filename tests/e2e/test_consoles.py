#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VNC servers with TLS, with WebSockets, or without a tablet: QEMU is each."""

import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

import test_bmc                                     # noqa: E402
from powertest import case, ports, redfish          # noqa: E402
from powertest.record import TIMEOUT                # noqa: E402

# Of the inputs channel
MOUSE_MOTION = 111


class Consoles(test_bmc.BmcCase):
    """A machine that is always on, with its firmware's screen."""

    def console(self, options, *extra):
        """The machine, and the port of its VNC server."""
        port = ports.free()
        machine = self.machine(
            spice='', hardware=('-machine', 'pc', '-accel', 'tcg', '-m', '64',
                                '-nodefaults', '-device', 'VGA',
                                '-boot', 'menu=on'),
            extra=(*extra, '-vnc', f'127.0.0.1:{port - 5900}{options}'))
        return machine, port

    def gateway(self, name, **vnc):
        """One whose video somebody looks at."""
        endpoint = self.endpoint({
            'power': {'backend': 'exec', 'poll-interval': 0.1},
            'exec': {'status': 'echo on', 'power-off': 'true'},
            'vnc': vnc}, name=f'spice-gateway-{name}')
        self.look(endpoint)
        return endpoint

    def check(self, machine, name, **vnc):
        """What clients see is what it has drawn, and what they type arrives."""
        endpoint = self.gateway(name, **vnc)
        endpoint.wait_log(': video from the host')
        self.check_same_picture(endpoint, machine.qmp)
        test_bmc.Channels.check_keys(self, machine, self.keyboard(endpoint))

    def test_x509(self):
        """VeNCrypt with a certificate: by its authority, and by itself."""
        authority, other = self.authority(), self.authority()
        machine, port = self.console(
            ',tls-creds=tls', '-object', 'tls-creds-x509,id=tls,'
            f'endpoint=server,verify-peer=no,dir={authority.directory}')
        there = {'host': '127.0.0.1', 'port': port}
        self.check(machine, 'ca', **there, **{'ca-file': authority.ca_file})
        self.check(machine, 'fingerprint', **there,
                   fingerprint=authority.fingerprint())
        self.gateway('other', **there, **{'ca-file': other.ca_file}).wait_log(
            'certificate is not to be trusted')
        self.gateway('none', **there).wait_log('certificate is not to be trusted')

    def test_anonymous(self):
        """VeNCrypt without one, if that is wanted."""
        machine, port = self.console(',tls-creds=tls', '-object',
                                     'tls-creds-anon,id=tls,endpoint=server')
        there = {'host': '127.0.0.1', 'port': port}
        self.gateway('none', **there).wait_log(
            'offers TLSNone (257): with [vnc] anonymous-tls=true')
        self.check(machine, 'anonymous', **there, **{'anonymous-tls': 'true'})

    def test_websocket(self):
        """A WebSocket on its way without TLS."""
        port = ports.free()
        machine, _ = self.console(f',websocket={port}')
        self.check(machine, 'ws', url=f'ws://127.0.0.1:{port}')

    def test_secure_websocket(self):
        """One with TLS, which has to be the right one's."""
        authority = self.authority()
        port = ports.free()
        machine, _ = self.console(
            f',tls-creds=tls,websocket={port}', '-object',
            'tls-creds-x509,id=tls,endpoint=server,verify-peer=no,'
            f'dir={authority.directory}')
        self.check(machine, 'wss', url=f'wss://localhost:{port}',
                   **{'ca-file': authority.ca_file})
        self.gateway('none', url=f'wss://127.0.0.1:{port}').wait_log(
            'certificate is not to be trusted')

    def test_relative(self):
        """Where there is no tablet the host's mouse is moved."""
        trace = self.log_dir / 'trace'
        _, port = self.console('', '-trace', 'input_event_rel',
                               '-D', str(trace))
        endpoint = self.gateway('relative', host='127.0.0.1', port=port)
        endpoint.wait_log(': video from the host')
        mouse = self.keyboard(endpoint)
        mouse.send(MOUSE_MOTION, struct.pack('<iiH', 7, -300, 0))
        wanted = ['axis x, value 7', 'axis y, value -300']
        deadline = time.monotonic() + TIMEOUT
        moved = []
        while moved != wanted:
            self.assertLess(time.monotonic(), deadline, moved)
            time.sleep(0.02)
            moved = [line.partition('con 0, ')[2]
                     for line in trace.read_text().splitlines()]

    def test_session(self):
        """A BMC's console with the session that power has, and its next one."""
        port = ports.free()
        machine, _ = self.console(f',websocket={port}')
        service = self.enterContext(redfish.Service('On', port))
        secret = self.log_dir / 'secret'
        secret.write_text(redfish.PASSWORD)
        endpoint = self.endpoint({
            'power': {'backend': 'redfish', 'poll-interval': 600},
            'redfish': {'url': service.url, 'user': redfish.USER,
                        'password-file': secret},
            'vnc': {'url': service.url.replace('http', 'ws') + redfish.CONSOLE,
                    'authentication': 'redfish'}})
        self.look(endpoint)
        endpoint.wait_log(': video from the host')
        self.check_same_picture(endpoint, machine.qmp)
        self.assertEqual(service.sessions, 1)
        mark = endpoint.log.mark
        # nothing but the console finds out that it has ended
        service.token = None
        service.end_console()
        endpoint.wait_log(': video from the host', mark)
        self.check_same_picture(endpoint, machine.qmp)
        self.assertEqual(service.sessions, 2)
        self.assertEqual(endpoint.end(), 0)
        self.assertEqual(
            service.count(f'DELETE {redfish.SESSIONS}/7'), 1)
        self.assertNotIn('token-', '\n'.join(endpoint.log.since()))


if __name__ == '__main__':
    case.main(test_bmc.bmc.need)
