#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""spice-bmc between real parts: clients, OpenIPMI's BMC, a QEMU as its host."""

import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, case, places, spicypower, wire      # noqa: E402
from powertest.record import TIMEOUT                # noqa: E402
from powertest.x11 import Picture                   # noqa: E402

SPICY_SCREENSHOT = places.PREFIX / 'bin' / 'spicy-screenshot'
# What a test that knows the cause would like to see at once
QUICK = {'poll-interval': 0.1}


class BmcCase(case.PowerTestCase):
    def host(self, **options):
        return self.enterContext(bmc.Host(self.log_dir, **options))

    def ipmi(self, host, **keys):
        """The configuration for a host with a BMC."""
        return {'power': {'backend': 'ipmi', **QUICK},
                'ipmi': {'host': '127.0.0.1', 'port': host.lan_port,
                         'user': bmc.USER, 'cipher-suite': 3,
                         'password-file': host.password_file, **keys},
                'vnc': {'unix-socket': host.vnc_socket}}

    def endpoint(self, groups, **options):
        return self.enterContext(bmc.Endpoint(self.log_dir, groups, **options))

    def screenshot(self, endpoint, name='screenshot'):
        path = self.log_dir / f'{name}.ppm'
        done = subprocess.run(
            [SPICY_SCREENSHOT, f'--uri={endpoint.uri}', f'--out-file={path}'],
            env=places.environment(), stdin=subprocess.DEVNULL, text=True,
            capture_output=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stderr)
        return Picture.from_ppm(path)

    def check_same_picture(self, endpoint, qmp):
        """What a client shows is what the host has drawn."""
        path = self.log_dir / 'screendump.ppm'
        deadline = time.monotonic() + TIMEOUT
        while True:
            qmp.execute('screendump', filename=str(path))
            drawn = Picture.from_ppm(path)
            seen = self.screenshot(endpoint)
            if seen == drawn and len(set(drawn.data)) > 1:
                return drawn
            if time.monotonic() > deadline:
                seen.save(self.log_dir / 'seen.png')
                drawn.save(self.log_dir / 'drawn.png')
                self.fail(f'not the same; see {self.log_dir}')


class Host(BmcCase):
    def test_a_day(self):
        """Off, on, reset, off, on, over one connection."""
        host = self.host()
        endpoint = self.endpoint(self.ipmi(host))
        client = self.spicy_power(endpoint, '-')
        client.wait_status(state='off', possible=['power-on'])
        result, _ = client.act('on')
        self.assertEqual(result['result'], 'ok')
        qmp = host.qmp()
        endpoint.wait_log('video from the host')
        self.check_same_picture(endpoint, qmp)
        mark = qmp.mark()
        result, _ = client.act('reset')
        self.assertEqual(result['result'], 'ok')
        qmp.wait_event('RESET', mark)
        result, _ = client.act('off')
        self.assertEqual(result['result'], 'ok')
        self.assertEqual(endpoint.end(), 0)


if __name__ == '__main__':
    case.main(bmc.need)
