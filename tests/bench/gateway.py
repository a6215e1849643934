#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What thousands of domains at one port take: spice-gateway and libvirtd.

The domains are those of libvirt's test driver, in a libvirtd of our own: defined,
with events, and started and ended at once, so that what is measured is the
gateway. Prints what it takes when nobody is there, in memory, and in how often
it wakes up; the same with clients at some of the domains; and how long power-on
and power-off take a client, with so many of them a second, and by turns what the
same calls take libvirt.

    ./stack shell -- tests/bench/gateway.py [--domains N] [--clients N]
                     [--rate N] [--seconds N] [--json FILE]
"""

import argparse
import contextlib
import json
import random
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

import libvirt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'lib'))

from powertest import bmc, wire                     # noqa: E402
from powertest.libvirt import Libvirt               # noqa: E402
from powertest.machine import end_cleanly           # noqa: E402

XML = '''<domain type='test'><name>{name}</name><memory>8192</memory>
<os><type>hvm</type></os></domain>'''
PATIENCE = 300          # seconds until it will not come
PROXY = b'\r\n\r\n\0\r\nQUIT\n'


def come(gateway, name):
    """A control client, by a proxy that has ended TLS."""
    tlv = struct.pack('>BH', 2, len(name)) + name.encode()
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(gateway.directory / 'proxy'))
    sock.sendall(PROXY + struct.pack(
        '>BBH4s4sHH', 0x21, 0x11, 12 + len(tlv), socket.inet_aton('192.0.2.7'),
        socket.inet_aton('192.0.2.1'), 50000, 5900) + tlv)
    return wire.Client(sock, caps=wire.CONTROL_CAPS)


class Taken:
    """What the gateway's process has taken so far."""

    def __init__(self, pid):
        self.proc = Path('/proc', str(pid))
        status = (self.proc / 'status').read_text()
        self.memory = int(status.partition('VmRSS:')[2].split()[0])
        self.threads = len(list((self.proc / 'task').iterdir()))
        self.descriptors = len(list((self.proc / 'fd').iterdir()))
        self.wakeups = {
            task.name: int((task / 'status').read_text().partition(
                '\nvoluntary_ctxt_switches:')[2].split()[0])
            for task in (self.proc / 'task').iterdir()}

    def since(self, before):
        """How often it has woken up since; threads may have come and gone."""
        return sum(count - before.wakeups.get(task, 0)
                   for task, count in self.wakeups.items())

    def __str__(self):
        return (f'{self.memory / 1024:.1f} MB, {self.threads} threads, '
                f'{self.descriptors} descriptors')


def settle(gateway):
    """Until it does nothing any more for a while: what there is, it knows."""
    until = time.monotonic() + PATIENCE
    before = Taken(gateway.process.pid)
    while time.monotonic() < until:
        time.sleep(2)
        now = Taken(gateway.process.pid)
        if now.since(before) < 5:
            return
        before = now
    raise RuntimeError('it does not come to rest')


def share(values, part):
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] * 1000


def timed(call):
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


def press(clients, uri, rate, seconds):
    """(what requests of clients took, what the same calls took libvirt).

    By turns, so that neither has a better time of it.
    """
    connection = libvirt.open(uri)
    domain = connection.lookupByName('vm0')
    asked, called = [], []
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        tick = time.monotonic()
        client = random.choice(clients)
        for action, call in (('power-on', domain.create),
                             ('power-off', domain.destroy)):
            number += 1
            result = []
            asked.append(timed(lambda: result.append(
                client.act(action, number)[1])))
            if result[0][1] != 'ok':
                raise RuntimeError(f'{action}: {result[0]}')
            called.append(timed(call))
        time.sleep(max(0, tick + 1 / rate - time.monotonic()))
    connection.close()
    return asked, called


def main():
    end_cleanly()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--domains', type=int, default=2000)
    parser.add_argument('--clients', type=int, default=100)
    parser.add_argument('--rate', type=int, default=10,
                        help='times on and off a second, over all')
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--json', type=Path, metavar='FILE')
    args = parser.parse_args()
    found = {'domains': args.domains, 'clients': args.clients}

    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix='power-bench-')))
        daemon = stack.enter_context(Libvirt(logs))
        path = daemon.uri.partition('socket=')[2]
        uri = f'test+unix:///default?socket={path}'
        libvirt.registerErrorHandler(lambda *unused: None, None)
        # its domains are there as long as somebody is
        keep = libvirt.open(uri)
        stack.callback(keep.close)
        print(f'defining {args.domains} domains', flush=True)
        for number in range(args.domains):
            keep.defineXML(XML.format(name=f'vm{number}'))
        gateway = stack.enter_context(bmc.Gateway(logs, {
            'gateway.conf': {'gateway': {'unix-socket': '{directory}/proxy'}},
            'hypervisors/here.conf': {'libvirt': {'uri': uri}}}))
        pid = gateway.process.pid
        # what is looked at some times more when a connection has been made
        print('waiting until it knows them (75 s)', flush=True)
        time.sleep(75)
        settle(gateway)
        idle = Taken(pid)
        time.sleep(args.seconds)
        after = Taken(pid)
        found['idle'] = {
            'memory_kb': after.memory, 'threads': after.threads,
            'descriptors': after.descriptors,
            'wakeups_a_minute': after.since(idle) * 60 / args.seconds}
        print(f'idle: {after}; {found["idle"]["wakeups_a_minute"]:.0f} '
              'wake-ups a minute', flush=True)

        clients = [stack.enter_context(come(gateway, f'vm{number}'))
                   for number in range(1, args.clients + 1)]
        for client in clients:
            client.wait_state('off')
        attended = Taken(pid)
        found['attended'] = {'memory_kb': attended.memory,
                             'threads': attended.threads,
                             'descriptors': attended.descriptors}
        print(f'with clients at {args.clients}: {attended}', flush=True)

        asked, called = press(clients, uri, args.rate, args.seconds)
        found['requests'] = len(asked)
        found['client_ms'] = [share(asked, 0.5), share(asked, 0.99)]
        found['libvirt_ms'] = [share(called, 0.5), share(called, 0.99)]
        print(f'{len(asked)} requests, in milliseconds, median and 99 of 100:')
        for name, key in (('a client', 'client_ms'),
                          ("libvirt's call", 'libvirt_ms')):
            print(f'  {name:<16} {found[key][0]:6.1f} {found[key][1]:6.1f}')
        if args.json:
            args.json.write_text(json.dumps(found, indent=2) + '\n')


if __name__ == '__main__':
    main()
