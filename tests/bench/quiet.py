#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How often spice-gateway asks BMCs that nobody looks at, with its own times.

A BMC by IPMI is OpenIPMI's, one by Redfish a small service of the tests'. Each is
there three times: as it is to be, with a wrong password, and away. All six are
counted side by side, so it takes ten minutes.

    ./stack shell -- tests/bench/quiet.py [--seconds N] [--json FILE]
"""

import argparse
import contextlib
import json
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, redfish                  # noqa: E402
from powertest.machine import end_cleanly           # noqa: E402


class Away:
    """Where a Redfish service was: who comes is sent away, and counted."""

    def __init__(self):
        self.count = 0
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self._listener.getsockname()[1]}'
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            peer, _ = self._listener.accept()
            self.count += 1
            peer.close()


def ipmi(stack, log_dir, name, host, password_file, cut=False):
    """Returns: a function that tells how often it was tried to log in."""
    lan = stack.enter_context(bmc.Lan(host.lan_port))
    lan.cut = cut
    stack.enter_context(bmc.Endpoint(log_dir, {
        'power': {'backend': 'ipmi'},
        'ipmi': {'host': '127.0.0.1', 'port': lan.lan_port, 'user': bmc.USER,
                 'cipher-suite': 3, 'password-file': password_file}},
        name=name))
    return lambda: lan.attempts.mark


def rest(stack, log_dir, name, url, password_file):
    stack.enter_context(bmc.Endpoint(log_dir, {
        'power': {'backend': 'redfish'},
        'redfish': {'url': url, 'user': redfish.USER,
                    'password-file': password_file}}, name=name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=int, default=600,
                        help='for how long it is counted (default: 600)')
    parser.add_argument('--json', type=Path, help='the figures, for programs')
    args = parser.parse_args()
    end_cleanly()
    with contextlib.ExitStack() as stack:
        log_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(
            prefix='spice-power-')))
        wrong, right = log_dir / 'wrong', log_dir / 'right'
        wrong.write_text('something-else')
        right.write_text(redfish.PASSWORD)
        host = stack.enter_context(bmc.Host(log_dir))
        good, refusing = [stack.enter_context(redfish.Service())
                          for _ in range(2)]
        away = Away()
        counts = {
            'IPMI, sessions': {
                'nobody connected': ipmi(stack, log_dir, 'ipmi', host,
                                         host.password_file),
                'a wrong password': ipmi(stack, log_dir, 'ipmi-wrong', host,
                                         wrong),
                'away': ipmi(stack, log_dir, 'ipmi-away', host,
                             host.password_file, cut=True)},
            'Redfish, requests': {
                'nobody connected': lambda: good.asked.mark,
                'a wrong password': lambda: refusing.asked.mark,
                'away': lambda: away.count},
            'Redfish, log-ins': {
                'nobody connected': lambda: good.count(
                    f'POST {redfish.SESSIONS}'),
                'a wrong password': lambda: refusing.count(
                    f'POST {redfish.SESSIONS}'),
                'away': lambda: 0}}
        rest(stack, log_dir, 'redfish', good.url, right)
        rest(stack, log_dir, 'redfish-wrong', refusing.url, wrong)
        rest(stack, log_dir, 'redfish-away', away.url, right)
        time.sleep(args.seconds)
        found = {what: {case: count() for case, count in cases.items()}
                 for what, cases in counts.items()}
    print(f'in {args.seconds} s, with what there was at the start:')
    for what, cases in found.items():
        print(f'  {what}: ' + ', '.join(
            f'{case} {count}' for case, count in cases.items()))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + '\n')


if __name__ == '__main__':
    main()
