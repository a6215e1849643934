# SPDX-License-Identifier: GPL-2.0-or-later
"""The domains of one libvirt, by its events.

libvirt's sockets and timers are in a thread of their own, for all hypervisors.
Each has a connection that is told of events and lists domains, which never
takes long, and some that read a domain's XML, which may: libvirt waits for a
QEMU that does not answer. Each of these is used by one thread alone. With an
older libvirt a process may crash in which several threads have calls of one
connection under way (CVE-2024-4418), and one that is stuck costs nobody else.
All of them are read-only: who may do that needs no other right on the host.
"""

import contextlib
import queue
import threading
import time
import urllib.parse
from xml.etree import ElementTree

try:
    import libvirt
except ImportError:
    libvirt = None

from .common import (
    Trouble, complaints, endpoint, host_name, is_loopback, resolved)
from .owners import Domain

NAMESPACE = 'urn:spice-endpoints:1'
NO_LIBVIRT = ("Python's binding of libvirt is missing: install "
              'python3-libvirt')
# A daemon that does not answer so many questions, with pauses, is lost
KEEPALIVE, KEEPALIVES = 5, 3
# and so is one that has not told its domains for so long
SILENCE = 30
# a wait before it is tried again, and the longest after many
BACKOFF, LONGEST = 1, 60
# Domains that are read at a time. One that takes longer than LASTING is not
# counted, up to as many as libvirtd answers at a time by default.
READERS, MOST_READERS, LASTING = 4, 20, 2
# a reader keeps its connection for so long
IDLE = 30


def prepare():
    """Before anything else is done with libvirt."""
    if not libvirt:
        raise Trouble(NO_LIBVIRT)
    libvirt.registerErrorHandler(lambda *unused: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def run():
        while True:
            libvirt.virEventRunDefaultImpl()
    threading.Thread(target=run, daemon=True, name='events').start()


def connect(uri):
    connection = libvirt.openReadOnly(uri)
    with contextlib.suppress(libvirt.libvirtError):
        # that of a driver in this process has none, and is never lost
        connection.setKeepAlive(KEEPALIVE, KEEPALIVES)
    return connection


class Reader:
    """What a domain's XML says."""

    def __init__(self, uri, policy, suffix, proxy):
        """The policy is which names domains have: see --names."""
        self.uri, self.policy, self.suffix = uri, policy, suffix
        self.proxy = proxy

    def domain(self, text):
        """A Domain; Trouble if the XML is not as it should be."""
        try:
            xml = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise Trouble(f'its XML is wrong: {error}')
        name, uuid = xml.findtext('name'), xml.findtext('uuid')
        runs = xml.get('id') is not None
        hosts = self.hosts(uuid, name, xml)
        return Domain(name, hosts, runs, self.where(name, xml) if runs
                      else None)

    def hosts(self, uuid, name, xml=None):
        """The names of TLS that a domain has."""
        hosts = [host_name(uuid, self.suffix)]
        given = None
        if xml is not None and self.policy != 'uuid':
            tag = xml.find(f'metadata/{{{NAMESPACE}}}endpoint')
            given = tag.get('name', '') if tag is not None else None
        if given is not None:
            hosts.append(host_name(given))
        elif self.policy == 'domain':
            hosts.append(host_name(name, self.suffix))
        if hosts[-1] is None:
            complaints.once(
                f"{self.uri}: '{name if given is None else given}' is not the "
                f'name of a host: that domain is {hosts[0]} only; give it '
                'another name, by its metadata or in a list')
        return tuple(filter(None, hosts))

    def where(self, name, xml):
        """The endpoint of one that runs; None if it has none."""
        graphics = xml.find("devices/graphics[@type='spice']")
        port = graphics.get('tlsPort', 0) if graphics is not None else 0
        try:
            port = int(port)
            if port > 65535:
                raise ValueError
        except ValueError:
            raise Trouble(f"it has a TLS port that is none: '{port}'")
        if port <= 0:
            complaints.once(f"{self.uri}: domain '{name}' has no SPICE server "
                            'with TLS')
            return None
        listen = graphics.get('listen') or 'localhost'
        try:
            address = self.reached(listen)
        except (OSError, UnicodeError) as error:
            raise Trouble(f'it listens on {listen}, which has no address '
                          f'here: {getattr(error, "strerror", error)}')
        if not address:
            complaints.once(
                f"{self.uri}: domain '{name}' listens on {listen}, which is "
                'reached on that host alone; let it listen on an address '
                "that HAProxy reaches, by <listen type='address' "
                "address='...'/> in its <graphics>, or by spice_listen in "
                "that host's qemu.conf")
            return None
        return endpoint(address, port, self.proxy)

    def reached(self, listen):
        """Where HAProxy finds who listens there; None if nowhere."""
        host = urllib.parse.urlsplit(self.uri).hostname
        address = resolved(listen)
        if address.is_unspecified:      # any: that of libvirt's host
            return resolved(host or 'localhost', address.version == 4)
        if host and is_loopback(address):
            # libvirt may be asked through the network, and be here
            try:
                here = is_loopback(resolved(host))
            except OSError:             # a name that only ssh knows
                here = False
            if not here:
                return None
        return address


class Hypervisor:
    """One libvirt. What it finds it puts into a queue, as (self, what, ...):

    - 'listed', {UUID: name}: these are its domains, and no others;
    - 'event', UUID, whether it has stopped: something has happened to it;
    - 'read', UUID, a Domain, None if there is none, or Trouble: what read()
      was asked for;
    - 'lost', why: there is no connection. It is made again.
    """

    def __init__(self, reader, found, events=True):
        self.reader, self.uri = reader, reader.uri
        self.found, self.events = found, events
        self.backoff = BACKOFF
        # that of the thread that is connected: those before may be stuck
        self.words = None
        self.asked = None           # when the list was asked for
        self.wanted = queue.SimpleQueue()
        self.reading, self.again = set(), set()
        self.readers, self.busy = 0, {}

    # --- the connection that is told of events -------------------------------

    def start(self, rested=True):
        """Connect, in a thread of its own."""
        self.words, self.asked = queue.SimpleQueue(), None
        threading.Thread(target=self.follow, args=(self.words, rested),
                         daemon=True).start()

    def scan(self):
        """List them all again."""
        self.words.put('list')

    def tell(self, words, *what):
        if words is self.words:
            self.found.put((self, *what))

    def ask(self, words, asked):
        if words is self.words:
            self.asked = asked

    def follow(self, words, rested):
        while True:
            if not rested:
                time.sleep(self.backoff)
                self.backoff = min(2 * self.backoff, LONGEST)
            if words is not self.words:
                return
            connection, rested = None, False
            self.ask(words, time.monotonic())
            try:
                connection = connect(self.uri)
                if self.events:
                    self.register(connection, words)
                word = 'list'
                while word == 'list':
                    self.ask(words, time.monotonic())
                    domains = {domain.UUIDString(): domain.name()
                               for domain in connection.listAllDomains()}
                    self.ask(words, None)
                    self.backoff = BACKOFF
                    self.tell(words, 'listed', domains)
                    word = words.get()
                trouble = 'the connection is lost'
            except libvirt.libvirtError as error:
                trouble = str(error)
            self.ask(words, None)
            self.tell(words, 'lost', f'{self.uri}: {trouble}')
            if connection:
                with contextlib.suppress(libvirt.libvirtError):
                    connection.unregisterCloseCallback()
                    connection.close()

    def register(self, connection, words):
        """Before they are listed: what happens later is told."""
        with contextlib.suppress(libvirt.libvirtError):
            connection.registerCloseCallback(
                lambda *unused: words.put('lost'), None)

        def lifecycle(connection, domain, event, detail, unused):
            self.tell(words, 'event', domain.UUIDString(),
                      event == libvirt.VIR_DOMAIN_EVENT_STOPPED)

        def metadata(connection, domain, kind, uri, unused):
            self.tell(words, 'event', domain.UUIDString(), False)
        for event, callback in (
                (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
                (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, metadata)):
            connection.domainEventRegisterAny(None, event, callback, None)

    # --- those that read domains ----------------------------------------------

    def read(self, uuid):
        """Look at that domain; if that is under way, once more."""
        if uuid in self.reading:
            self.again.add(uuid)
            return
        self.reading.add(uuid)
        self.wanted.put(uuid)
        self.tend()

    def is_read(self, uuid):
        """Called with each 'read': whether that is the last of it."""
        if uuid in self.again:
            self.again.remove(uuid)
            self.wanted.put(uuid)
            return False
        self.reading.discard(uuid)
        return True

    def tend(self):
        """Called now and then: nobody waits for who is stuck."""
        if self.wanted.empty():
            return
        since = time.monotonic() - LASTING
        stuck = sum(began < since for began in list(self.busy.values()))
        if self.readers < min(READERS + stuck, MOST_READERS):
            self.readers += 1
            threading.Thread(target=self.read_them, daemon=True).start()

    def check(self):
        """The same: who has not told its domains when it should have is not
        waited for, whatever it tells then."""
        asked = self.asked
        if asked and time.monotonic() - asked > SILENCE:
            self.found.put((self, 'lost', f'{self.uri}: it has not answered '
                            f'for {SILENCE} s'))
            stuck = self.words
            self.start(rested=False)
            stuck.put('lost')

    def read_them(self):
        connection = None
        while True:
            try:
                uuid = self.wanted.get(timeout=IDLE)
            except queue.Empty:
                connection = None           # that closes it
                uuid = self.wanted.get()
            self.busy[threading.get_ident()] = time.monotonic()
            connection, found = self.read_one(connection, uuid)
            del self.busy[threading.get_ident()]
            self.found.put((self, 'read', uuid, found))

    def read_one(self, connection, uuid):
        """(the connection for the next one, what is to be told)"""
        try:
            for fresh in not connection, True:
                if not connection:
                    connection = connect(self.uri)
                try:
                    text = connection.lookupByUUIDString(uuid).XMLDesc()
                    return connection, self.reader.domain(text)
                except libvirt.libvirtError as error:
                    code = error.get_error_code()
                    if code == libvirt.VIR_ERR_NO_DOMAIN:
                        return connection, None
                    # it may be that of a daemon that has been restarted
                    if fresh or connection.isAlive():
                        return None, Trouble(str(error))
                    connection = None
        except libvirt.libvirtError as error:
            return None, Trouble(str(error))
        except Trouble as trouble:
            return connection, trouble
