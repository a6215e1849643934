# SPDX-License-Identifier: GPL-2.0-or-later
"""Names, endpoints, and what there is to complain of."""

import ipaddress
import re
import socket
import sys

LABEL = re.compile(r'[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?')
# how the map says that a machine wants to be told who its clients are
PROXY = 'proxy'


# what has been complained of is said again after so many others
REMEMBERED = 10000


class Trouble(Exception):
    """What has not been done, why, and what to do."""


class Complaints:
    """On standard error; who follows machines for days comes by the same
    thing often."""

    def __init__(self):
        self.said = set()

    def say(self, text):
        print(f'spice-endpoints: {text}', file=sys.stderr, flush=True)

    def once(self, text):
        if text not in self.said:
            if len(self.said) >= REMEMBERED:
                self.said.clear()
            self.said.add(text)
            self.say(text)


complaints = Complaints()


def host_name(name, suffix=''):
    """NAME.SUFFIX as TLS has it, or None if that is not a host's name."""
    name = '.'.join(filter(None, (name, suffix.strip('.')))).lower()
    good = len(name) <= 253 and all(map(LABEL.fullmatch, name.split('.')))
    return name if good else None


def endpoint(address, port, proxy=False):
    """What the map has for a machine."""
    if not 0 < int(port) < 65536:
        raise ValueError(f"'{port}' is not a port")
    return (f'{ipaddress.ip_address(address)}/{int(port)}'
            + (f'/{PROXY}' if proxy else ''))


def checked(text):
    """An endpoint as somebody writes it: ADDRESS/PORT[/proxy], or the name
    that spice.cfg knows a server by."""
    if '/' not in text:
        if not LABEL.fullmatch(text):
            raise ValueError(f"'{text}' is neither ADDRESS/PORT nor a name")
        return text
    address, port, *more = text.split('/')
    if more not in ([], [PROXY]):
        raise ValueError(f"'{text}' is not ADDRESS/PORT or "
                         f'ADDRESS/PORT/{PROXY}')
    return endpoint(address, port, bool(more))


def resolved(host, ipv4_alone=False):
    """The first address that a host has."""
    family = socket.AF_INET if ipv4_alone else socket.AF_UNSPEC
    return ipaddress.ip_address(
        socket.getaddrinfo(host, None, family)[0][4][0])


def is_loopback(address):
    return (getattr(address, 'ipv4_mapped', None) or address).is_loopback
