#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What many endpoints behind one address take: spice-gateway and HAProxy.

Starts so many spice-gateway, each with one host, a port of its own and TLS,
and a HAProxy in front of all. Then their hosts are powered on, and each has a
display by VNC: one QEMU, which shows its firmware's menu, is all of these
hosts. Then there is a session with each, through HAProxy, with the channels
that a viewer opens: main, display, cursor and inputs. Prints what an endpoint,
its display and its session add in memory, file descriptors and processor time,
and what that is for as many as one may want.

    ./stack shell -- tests/bench/endpoints.py [--endpoints N] [--json FILE]
"""

import argparse
import contextlib
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import places, ports, tls, wire      # noqa: E402
from powertest.machine import Machine, end_cleanly  # noqa: E402

GATEWAY = places.PREFIX / 'bin' / 'spice-gateway'
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
[vnc]
unix-socket={vnc}
'''
CHANNELS = (wire.CHANNEL_DISPLAY, wire.CHANNEL_INPUTS, wire.CHANNEL_CURSOR)
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


def listening(port):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), \
                socket.create_connection(('127.0.0.1', port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f'nothing listens on port {port}')


def screen(directory, stack, viewers):
    """The QEMU that shows something to all of them."""
    vnc = directory / 'vnc'
    return vnc, stack.enter_context(Machine(
        directory, spice='', name='host', hardware=(
            '-machine', 'pc', '-accel', 'tcg', '-m', '64', '-nodefaults',
            '-device', 'VGA', '-boot', 'menu=on'),
        extra=('-vnc', f'unix:{vnc},share=force-shared,'
               f'connections={viewers + 10}')))


def wait(holds, what):
    deadline = time.monotonic() + 120
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.1)


def offered(main):
    """Wait until all the channels of a viewer are there."""
    main.send(wire.MSGC_ATTACH_CHANNELS)
    while True:
        body = main.wait(wire.MSG_CHANNELS_LIST).body
        if set(CHANNELS) <= set(body[4::2]):
            return


def session(connect):
    """What a viewer has when it shows something, as wire.Clients."""
    main = wire.Client(connect())
    main.wait_init()
    offered(main)
    channels = [wire.Client(connect(), caps=(), channel=channel,
                            session=main.session) for channel in CHANNELS]
    display = channels[0]
    display.send(wire.MSGC_DISPLAY_INIT, struct.pack('<BqBi', 1, 0, 1, 0))
    display.wait(*wire.MSG_DRAW)
    result = main.act('reset', 1)[1].result
    if result != 'ok':
        raise RuntimeError(f'reset: {result}')
    return [main, *channels]


def measure(args, directory, stack, say):
    authority = tls.Authority(directory, names=(f'*.{DOMAIN}',))
    log = stack.enter_context(open(directory / 'log', 'wb'))
    state = directory / 'state'
    state.write_text('off\n')
    vnc, host = screen(directory, stack, args.endpoints)
    say(f'{args.endpoints} spice-gateway')
    own = [ports.free() for _ in range(args.endpoints)]
    front = ports.free()
    endpoints = []
    for number, port in enumerate(own):
        config = directory / f'{number}.conf'
        config.write_text(CONFIG.format(port=port, interval=args.interval,
                                        state=state, vnc=vnc))
        endpoints.append(Process(stack, GATEWAY, '--config', config,
                                 log=log))
    for port in own:
        listening(port)
    (directory / 'map').write_text(''.join(
        f'bmc{number}.{DOMAIN} 127.0.0.1/{port}\n'
        for number, port in enumerate(own)))
    (directory / 'haproxy.cfg').write_text(
        HAPROXY.read_text()
        .replace('/etc/haproxy/spice.map', str(directory / 'map'))
        .replace('bind :5900', f'bind 127.0.0.1:{front}'))
    proxy = Process(stack, 'haproxy', '-db', '-f', directory / 'haproxy.cfg',
                    log=log)
    listening(front)

    def processor(what):
        """ms that an endpoint takes in a second."""
        say(f'{what} for {args.seconds:g} seconds')
        spent, began = sum(p.time() for p in endpoints), time.monotonic()
        time.sleep(args.seconds)
        return ((sum(p.time() for p in endpoints) - spent)
                / (time.monotonic() - began) / args.endpoints)

    idle_cpu = processor('off')
    off = totals(endpoints)
    say('the hosts are on')
    (directory / 'new').write_text('on\n')
    (directory / 'new').rename(state)       # what is read is never empty
    wait(lambda: len(host.qmp.execute('query-vnc').get('clients', []))
         == args.endpoints, 'not every endpoint has connected to its host')
    time.sleep(5)                           # for the first picture
    # the cursor blinks, which is something to draw for each of them
    host.qmp.execute('stop')
    display_cpu = processor('on')
    host.qmp.execute('cont')
    on = totals(endpoints)
    proxy_idle = totals([proxy])

    say('a session with each')
    context = authority.client_context()
    for number in range(args.endpoints):
        def connect():
            sock = socket.create_connection(('127.0.0.1', front), 60)
            return stack.enter_context(context.wrap_socket(
                sock, server_hostname=f'bmc{number}.{DOMAIN}'))
        session(connect)
    busy = totals(endpoints)
    return {'endpoints': args.endpoints, 'poll interval (s)': args.interval,
            'endpoint': {**{k: v / args.endpoints for k, v in off.items()},
                         'processor': idle_cpu,
                         'a poll': idle_cpu * args.interval},
            'display': {**per(off, on, args.endpoints),
                        'processor': display_cpu - idle_cpu},
            'session': per(on, busy, args.endpoints),
            'channels': 1 + len(CHANNELS),
            'proxy': proxy_idle,
            'session in proxy': per(proxy_idle, totals([proxy]),
                                    args.endpoints)}


def tell(found, wanted):
    endpoint, display = found['endpoint'], found['display']
    proxy, through = found['proxy'], found['session in proxy']
    whole = {key: endpoint[key] + display[key] + found['session'][key]
             for key in found['session']}
    print(f'\n{"of " + str(found["endpoints"]):34} {"memory, kB":>11} '
          f'{"descriptors":>12} {"threads":>8}')
    for what, row in (('an endpoint, its host off', endpoint),
                      ("and its host's display", display),
                      (f'and a session, {found["channels"]} channels',
                       found['session']),
                      ('all of it', whole),
                      ('HAProxy, idle', proxy),
                      ('and a session through it', through)):
        print(f'{what:34} {row["memory"]:11.0f} {row["descriptors"]:12.1f} '
              f'{row["threads"]:8.1f}')
    print(f'a poll takes {endpoint["a poll"]:.2f} ms of a processor, a '
          f'display that does not change {display["processor"]:.2f} ms in a '
          'second')

    cores = endpoint['processor'] * wanted / 1000
    lazy = endpoint['a poll'] * wanted / 1000 / 30
    gib = whole['memory'] * wanted / 2**20
    proxy_gib = (proxy['memory'] + through['memory'] * wanted) / 2**20
    descriptors = proxy['descriptors'] + through['descriptors'] * wanted
    print(f'\n{wanted} endpoints, each with a display and a session:\n'
          f'  spice-gateway: {gib:.1f} GiB, {whole["threads"] * wanted:.0f} '
          f'threads, and {cores:.1f} processors\n'
          f'    to poll every {found["poll interval (s)"]:g} s ({lazy:.1f} to '
          'poll every 30 s)\n'
          f'  HAProxy: {proxy_gib:.2f} GiB, {descriptors:.0f} descriptors')
    pid_max = int(Path('/proc/sys/kernel/pid_max').read_text())
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1024
    poll = max(endpoint['a poll'], 1e-3)
    limits = {
        'memory': memory / (whole['memory'] + through['memory']),
        'process ids (spice-gateway and a program for its poll)':
            pid_max / (whole['threads'] + 1),
        "HAProxy's descriptors (ulimit -n)":
            most / max(1, through['descriptors']),
        'processors, with polls every second': 1000 * os.cpu_count() / poll,
        'processors, with polls every 30 seconds':
            30000 * os.cpu_count() / poll}
    print('\non this machine there is enough for so many of these:')
    for what, count in sorted(limits.items(), key=lambda item: item[1]):
        print(f'  {count:9.0f}  {what}')
    found['limits'] = limits


def main():
    parser = argparse.ArgumentParser(
        prog='tests/bench/endpoints.py', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--endpoints', type=int, default=200, metavar='N')
    parser.add_argument('--interval', type=float, default=5, metavar='S',
                        help='they poll so often (default: %(default)s s)')
    parser.add_argument('--seconds', type=float, default=20, metavar='S',
                        help='how long they are watched while idle')
    parser.add_argument('--wanted', type=int, default=10000, metavar='N',
                        help='what it is told for (default: %(default)s)')
    parser.add_argument('--quick', action='store_true',
                        help='only see whether it works')
    parser.add_argument('--json', type=Path, metavar='FILE')
    args = parser.parse_args()
    if args.quick:
        args.endpoints, args.interval, args.seconds = 3, 1, 1
    places.need(GATEWAY)
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
