#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What many endpoints behind one address take: spice-gateway and HAProxy.

Starts a spice-gateway with so many hosts and one port for all of them, and a
HAProxy in front. Then the hosts are powered on. Then there is a session with
each, through HAProxy, with the channels that a viewer opens: main, display,
cursor and inputs. The display is by VNC: one QEMU, which shows its firmware's
menu, is all of these hosts. Prints what a host and its session add in memory,
file descriptors and processor time, and what that is for as many as one may
want. What a gateway with one host takes is told apart.

    ./stack shell -- tests/bench/endpoints.py [--endpoints N] [--json FILE]
"""

import argparse
import contextlib
import json
import os
import resource
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import endpoint, places, ports, tls, wire    # noqa: E402
from powertest.machine import Machine, end_cleanly  # noqa: E402

GATEWAY = places.PREFIX / 'bin' / 'spice-gateway'
DOMAIN = 'example.test'
PORT = '''
[gateway]
unix-socket={directory}/gateway
domain={domain}
'''
DEFAULTS = '''
[server]
tls-ca-file={directory}/ca-cert.pem
tls-cert-file={directory}/server-cert.pem
tls-key-file={directory}/server-key.pem
[power]
backend=exec
poll-interval={interval}
idle-poll-interval={interval}
[exec]
status=cat {directory}/state
power-on=true
power-off=true
reset=true
[vnc]
unix-socket={directory}/vnc
'''
LOGGED = '''
global
    log stderr format raw local0
'''
# all of these clients have one address
UNLIMITED = (('sc0_conn_cur gt 250', 'sc0_conn_cur gt 1000000'),
             ('sc0_conn_rate gt 250', 'sc0_conn_rate gt 1000000'))
CHANNELS = (wire.CHANNEL_DISPLAY, wire.CHANNEL_INPUTS, wire.CHANNEL_CURSOR)
PATIENCE = 30           # seconds until it will not come
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


def total(process):
    return {'memory': process.memory(), 'descriptors': process.descriptors(),
            'threads': process.threads()}


def per(before, after, count):
    return {key: (after[key] - before[key]) / count for key in after}


def listening(family, address):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(family) as sock:
            sock.connect(address)
            return
        time.sleep(0.02)
    raise RuntimeError(f'nothing listens on {address}')


def screen(directory, stack, viewers):
    """The QEMU that shows something to all of them, and always the same.

    Its cursor would blink, which is something to draw for each of them.
    """
    host = stack.enter_context(Machine(
        directory, spice='', name='host', hardware=(
            '-machine', 'pc', '-accel', 'tcg', '-m', '64', '-nodefaults',
            '-device', 'VGA', '-boot', 'menu=on'),
        extra=('-vnc', f'unix:{directory}/vnc,share=force-shared,'
               f'connections={viewers + 10}')))
    time.sleep(3)
    host.qmp.execute('stop')
    return host


def settled(count, most, say):
    """Wait until there are so many, or until there are no more any longer."""
    there, since = count(), time.monotonic()
    while there < most and time.monotonic() - since < PATIENCE:
        time.sleep(1)
        if count() != there:
            there, since = count(), time.monotonic()
            say(f'{there} have a display')
    return there


def offered(main):
    """Wait until all the channels of a viewer are there.

    What comes later, as a display does, is in a list of its own.
    """
    main.send(wire.MSGC_ATTACH_CHANNELS)
    there = set()
    while not set(CHANNELS) <= there:
        there.update(main.wait(wire.MSG_CHANNELS_LIST).body[4::2])


class Viewers:
    """What comes is read and answered, as viewers do.

    Who does not is slow, and is disconnected after half a minute.
    """

    def __init__(self):
        self.waiting, self.gone = selectors.DefaultSelector(), 0
        threading.Thread(target=self.run, daemon=True).start()

    def add(self, client):
        self.waiting.register(client.sock, selectors.EVENT_READ, client)

    def run(self):
        while True:
            for key, _ in self.waiting.select(0.1):
                try:
                    key.data.drain()
                except (OSError, wire.Disconnected):
                    self.waiting.unregister(key.fileobj)
                    self.gone += 1


def session(connect, viewers):
    """What a viewer has when it shows something."""
    main = wire.Client(connect())
    main.wait_init()
    offered(main)
    answer = main.act('reset', 1)[1]
    if answer.result != 'ok':
        raise RuntimeError(f'reset: {answer.result}: {answer.message}')
    channels = [wire.Client(connect(), caps=(), channel=channel,
                            session=main.session) for channel in CHANNELS]
    display = channels[0]
    display.send(wire.MSGC_DISPLAY_INIT, struct.pack('<BqBi', 1, 0, 1, 0))
    display.wait(*wire.MSG_DRAW)
    for client in main, *channels:
        viewers.add(client)


def gateway(directory, stack, count, log):
    """One with so many hosts, that listens."""
    etc = directory / f'etc{count}'
    (etc / 'machines').mkdir(parents=True)
    (etc / 'gateway.conf').write_text(PORT.format(directory=directory,
                                                  domain=DOMAIN))
    shutil.copy(directory / 'defaults.conf', etc)
    for number in range(count):
        (etc / 'machines' / f'bmc{number}.conf').touch()
    (directory / 'gateway').unlink(missing_ok=True)
    process = Process(stack, GATEWAY, '--config', etc, log=log)
    listening(socket.AF_UNIX, str(directory / 'gateway'))
    return process


def measure(args, directory, stack, say):
    authority = tls.Authority(directory, names=(f'*.{DOMAIN}',))
    log = stack.enter_context(open(directory / 'log', 'wb'))
    state = directory / 'state'
    state.write_text('off\n')
    (directory / 'defaults.conf').write_text(DEFAULTS.format(
        directory=directory, interval=args.interval))
    host = screen(directory, stack, args.endpoints)
    with contextlib.ExitStack() as alone:
        single = gateway(directory, alone, 1, log)
        time.sleep(2)
        base = total(single)
    say(f'a spice-gateway with {args.endpoints} hosts')
    began = time.monotonic()
    endpoints = gateway(directory, stack, args.endpoints, log)
    start = time.monotonic() - began
    front = ports.free()
    (directory / 'map').write_text(''.join(
        f'bmc{number}.{DOMAIN} gateway\n'
        for number in range(args.endpoints)))
    (directory / 'haproxy.cfg').write_text(LOGGED + endpoint.configuration(
        front, directory / 'map', directory / 'gateway', UNLIMITED))
    proxy = Process(stack, endpoint.HAPROXY, '-db', '-f',
                    directory / 'haproxy.cfg', log=log)
    listening(socket.AF_INET, ('127.0.0.1', front))

    def processor(what):
        """ms that an endpoint takes in a second."""
        say(f'{what} for {args.seconds:g} seconds')
        spent, began = endpoints.time(), time.monotonic()
        time.sleep(args.seconds)
        return ((endpoints.time() - spent) / (time.monotonic() - began)
                / args.endpoints)

    idle_cpu = processor('off')
    off = total(endpoints)
    say('the hosts are on')
    (directory / 'new').write_text('on\n')
    (directory / 'new').rename(state)       # what is read is never empty

    def displays():
        return len(host.qmp.execute('query-vnc').get('clients', []))
    time.sleep(args.interval)               # until all have asked
    shown = settled(displays, args.endpoints, say)
    time.sleep(5)                           # for the first picture
    display_cpu = processor('on')
    on = total(endpoints)
    proxy_idle = total(proxy)

    say('a session with each')
    viewers = Viewers()
    context = authority.client_context()
    began = time.monotonic()
    for number in range(args.endpoints):
        def connect():
            sock = socket.create_connection(('127.0.0.1', front), 60)
            return stack.enter_context(context.wrap_socket(
                sock, server_hostname=f'bmc{number}.{DOMAIN}'))
        try:
            session(connect, viewers)
        except (OSError, wire.Disconnected, RuntimeError):
            say(f'no session with host {number}; what was logged before:\n'
                + ''.join((directory / 'log').read_text(
                    errors='replace').splitlines(True)[-20:]))
            raise
        if number % 50 == 49:
            say(f'{number + 1} sessions')
    sessions = time.monotonic() - began
    busy = total(endpoints)
    if viewers.gone:
        raise RuntimeError(f'{viewers.gone} channels have been closed')
    return {'endpoints': args.endpoints, 'poll interval (s)': args.interval,
            'displays before sessions': shown,
            'started (s)': start, 'all sessions (s)': sessions,
            'with one': base,
            'endpoint': {**per(base, off, max(1, args.endpoints - 1)),
                         'processor': idle_cpu,
                         'a poll': idle_cpu * args.interval},
            'display': {**per(off, on, args.endpoints),
                        'processor': display_cpu - idle_cpu},
            'session': per(on, busy, args.endpoints),
            'channels': 1 + len(CHANNELS),
            'proxy': proxy_idle,
            'session in proxy': per(proxy_idle, total(proxy),
                                    args.endpoints)}


def tell(found, wanted):
    endpoint, display = found['endpoint'], found['display']
    proxy, through = found['proxy'], found['session in proxy']
    whole = {key: endpoint[key] + display[key] + found['session'][key]
             for key in found['session']}
    print(f'\n{"of " + str(found["endpoints"]):34} {"memory, kB":>11} '
          f'{"descriptors":>12} {"threads":>8}')
    for what, row in (('spice-gateway with one host, off', found['with one']),
                      ('and another host, off', endpoint),
                      ('and that is on', display),
                      (f'and a session, {found["channels"]} channels',
                       found['session']),
                      ('all of one more', whole),
                      ('HAProxy, idle', proxy),
                      ('and a session through it', through)):
        print(f'{what:34} {row["memory"]:11.0f} {row["descriptors"]:12.1f} '
              f'{row["threads"]:8.1f}')
    print(f'it listened after {found["started (s)"]:.1f} s, and '
          f'all sessions were there after {found["all sessions (s)"]:.0f} s')
    print(f'a poll takes {endpoint["a poll"]:.2f} ms of a processor, a '
          f'display that does not change {display["processor"]:.2f} ms in a '
          'second')

    cores = endpoint['processor'] * wanted / 1000
    lazy = endpoint['a poll'] * wanted / 1000 / 30
    gib = (found['with one']['memory'] + whole['memory'] * wanted) / 2**20
    off = (found['with one']['memory'] + endpoint['memory'] * wanted) / 2**20
    proxy_gib = (proxy['memory'] + through['memory'] * wanted) / 2**20
    descriptors = proxy['descriptors'] + through['descriptors'] * wanted
    own = whole['descriptors'] * wanted
    print(f'\n{wanted} endpoints, each with a display and a session:\n'
          f'  spice-gateway: {gib:.1f} GiB ({off:.2f} GiB if all are off and '
          f'nobody is there), {own:.0f} descriptors,\n'
          f'    {whole["threads"] * wanted:.0f} threads, and {cores:.1f} '
          'processors to poll every '
          f'{found["poll interval (s)"]:g} s ({lazy:.1f} every 30 s)\n'
          f'  HAProxy: {proxy_gib:.2f} GiB, {descriptors:.0f} descriptors')
    pid_max = int(Path('/proc/sys/kernel/pid_max').read_text())
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1024
    poll = max(endpoint['a poll'], 1e-3)
    limits = {
        'memory': memory / (whole['memory'] + through['memory']),
        'process ids (threads, and a program for its poll)':
            pid_max / (whole['threads'] + 1),
        "spice-gateway's descriptors (ulimit -n)":
            most / max(1, whole['descriptors']),
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
    parser.add_argument('--interval', type=float, default=30, metavar='S',
                        help='they poll so often (default: %(default)s s)')
    parser.add_argument('--seconds', type=float, default=30, metavar='S',
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
