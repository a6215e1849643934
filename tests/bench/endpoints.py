#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What many endpoints behind one address take: spice-bmc and HAProxy.

Starts so many spice-bmc, each with a port of its own and TLS, and a HAProxy in
front of all; then a session with each, through it. Prints what one endpoint
and one session add in memory, file descriptors and processor time, and what
that is for as many as one may want.

    ./stack shell -- tests/bench/endpoints.py [--endpoints N] [--json FILE]
"""

import argparse
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import places, tls, wire             # noqa: E402
from powertest.machine import end_cleanly           # noqa: E402

SPICE_BMC = places.PREFIX / 'bin' / 'spice-bmc'
HAPROXY = places.ROOT / 'haproxy' / 'spice.cfg'
DOMAIN = 'example.test'
CONFIG = '''
[server]
address=127.0.0.1
tls-port={port}
tls-ca-file=ca-cert.pem
tls-cert-file=server-cert.pem
tls-key-file=server-key.pem
[power]
backend=exec
poll-interval={interval}
[exec]
status=cat {state}
power-on=true
power-off=true
reset=true
'''
TICKS = os.sysconf('SC_CLK_TCK')


class Process:
    def __init__(self, stack, *command, log):
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, env=places.environment())
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        self.proc = Path('/proc', str(self.process.pid))

    def memory(self):
        """What is its own, and its part of what it shares, in kB."""
        for line in (self.proc / 'smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                return int(line.split()[1])
        raise RuntimeError('no Pss in smaps_rollup')

    def descriptors(self):
        return len(list((self.proc / 'fd').iterdir()))

    def threads(self):
        return len(list((self.proc / 'task').iterdir()))

    def time(self):
        """Processor time, its own and that of what it has run, in ms."""
        words = (self.proc / 'stat').read_text().rpartition(')')[2].split()
        return sum(map(int, words[11:15])) * 1000 / TICKS


def totals(processes):
    return {'memory': sum(p.memory() for p in processes),
            'descriptors': sum(p.descriptors() for p in processes),
            'threads': sum(p.threads() for p in processes)}


def per(before, after, count):
    return {key: (after[key] - before[key]) / count for key in after}


def free_ports(count):
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(('127.0.0.1', 0)))
                 for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def listening(port):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), \
                socket.create_connection(('127.0.0.1', port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f'nothing listens on port {port}')


def measure(args, directory, stack, say):
    authority = tls.Authority(directory, names=(f'*.{DOMAIN}',))
    log = stack.enter_context(open(directory / 'log', 'wb'))
    (directory / 'state').write_text('on\n')
    say(f'{args.endpoints} spice-bmc')
    *ports, front = free_ports(args.endpoints + 1)
    endpoints = []
    for number, port in enumerate(ports):
        config = directory / f'{number}.conf'
        config.write_text(CONFIG.format(port=port, interval=args.interval,
                                        state=directory / 'state'))
        endpoints.append(Process(stack, SPICE_BMC, '--config', config,
                                 log=log))
    for port in ports:
        listening(port)
    (directory / 'map').write_text(''.join(
        f'bmc{number}.{DOMAIN} 127.0.0.1/{port}\n'
        for number, port in enumerate(ports)))
    (directory / 'haproxy.cfg').write_text(
        HAPROXY.read_text()
        .replace('/etc/haproxy/spice.map', str(directory / 'map'))
        .replace('bind :5900', f'bind 127.0.0.1:{front}'))
    proxy = Process(stack, 'haproxy', '-db', '-f', directory / 'haproxy.cfg',
                    log=log)
    listening(front)

    say(f'idle for {args.seconds} seconds')
    spent, began = sum(p.time() for p in endpoints), time.monotonic()
    time.sleep(args.seconds)
    idle_cpu = ((sum(p.time() for p in endpoints) - spent)
                / (time.monotonic() - began) / args.endpoints)
    idle = totals(endpoints)
    proxy_idle = totals([proxy])

    say('a session with each')
    context = authority.client_context()
    for number in range(args.endpoints):
        sock = socket.create_connection(('127.0.0.1', front), 60)
        client = wire.Client(stack.enter_context(context.wrap_socket(
            sock, server_hostname=f'bmc{number}.{DOMAIN}')))
        client.wait_state()
        assert client.act('reset', 1)[1].result == 'ok'
    busy = totals(endpoints)
    return {'endpoints': args.endpoints, 'poll interval (s)': args.interval,
            'endpoint': {**{k: v / args.endpoints for k, v in idle.items()},
                         'processor': idle_cpu,
                         'a poll': idle_cpu * args.interval},
            'session': per(idle, busy, args.endpoints),
            'proxy': proxy_idle,
            'session in proxy': per(proxy_idle, totals([proxy]),
                                    args.endpoints)}


def tell(found, wanted):
    endpoint, session = found['endpoint'], found['session']
    proxy, through = found['proxy'], found['session in proxy']
    print(f'\n{"of " + str(found["endpoints"]):34} {"memory, kB":>11} '
          f'{"descriptors":>12} {"threads":>8}')
    for what, row in (('an idle endpoint', endpoint),
                      ('and its session', session),
                      ('HAProxy, idle', proxy),
                      ('and a session through it', through)):
        print(f'{what:34} {row["memory"]:11.0f} {row["descriptors"]:12.1f} '
              f'{row["threads"]:8.1f}')
    print(f'a poll takes {endpoint["a poll"]:.2f} ms of a processor')

    cores = endpoint['processor'] * wanted / 1000
    print(f'\n{wanted} endpoints, each with a session of one channel:\n'
          f'  spice-bmc: {(endpoint["memory"] + session["memory"]) * wanted / 2**20:.1f} GiB, '
          f'{endpoint["threads"] * wanted:.0f} threads, and {cores:.1f} '
          f'processors to poll every {found["poll interval (s)"]} s '
          f'({endpoint["a poll"] * wanted / 1000 / 30:.1f} to poll every '
          '30 s)\n'
          f'  HAProxy: {(proxy["memory"] + through["memory"] * wanted) / 2**20:.2f} GiB, '
          f'{proxy["descriptors"] + through["descriptors"] * wanted:.0f} '
          'descriptors')
    pid_max = int(Path('/proc/sys/kernel/pid_max').read_text())
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1024
    limits = {
        'memory': memory / (endpoint['memory'] + session['memory']
                            + through['memory']),
        'process ids (spice-bmc and a program for its poll)':
            pid_max / (endpoint['threads'] + 1),
        "HAProxy's descriptors (ulimit -n)":
            most / max(1, through['descriptors']),
        'processors, with polls every second':
            1000 * os.cpu_count() / endpoint['a poll'],
        'processors, with polls every 30 seconds':
            30000 * os.cpu_count() / endpoint['a poll']}
    print('\non this machine there is enough for so many endpoints:')
    for what, count in sorted(limits.items(), key=lambda item: item[1]):
        print(f'  {count:9.0f}  {what}')
    found['limits'] = limits


def main():
    parser = argparse.ArgumentParser(
        prog='tests/bench/endpoints.py', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--endpoints', type=int, default=200, metavar='N')
    parser.add_argument('--interval', type=float, default=1, metavar='S',
                        help='they poll so often (default: %(default)s s)')
    parser.add_argument('--seconds', type=float, default=20, metavar='S',
                        help='how long they are watched while idle')
    parser.add_argument('--wanted', type=int, default=10000, metavar='N',
                        help='what it is told for (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE')
    args = parser.parse_args()
    places.need(SPICE_BMC)
    end_cleanly()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix='power-bench-') as directory, \
            contextlib.ExitStack() as stack:
        found = measure(args, Path(directory), stack, lambda text: print(
            text, file=sys.stderr, flush=True))
    tell(found, args.wanted)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__':
    try:
        main()
    except places.Missing as error:
        sys.exit(f'error: {error}\n  next: ./stack build')
