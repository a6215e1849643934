# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose is which name, and where does it lead to?

Domains have names, and domains of several hypervisors, or of several people on
one, may want the same one. A name belongs to the domain, that is its UUID,
which had it first, until that is undefined or has another name: also while it
is off, when somebody else may start a domain of that name. The same UUID on two
hypervisors is one domain that migrates.
"""

from typing import NamedTuple, Optional

from .common import complaints

# In place of an endpoint: what a name leads to is not known, so that remains
# what it was
AS_BEFORE = object()


class Domain(NamedTuple):
    """What is known of one."""
    name: str                   # what libvirt calls it
    hosts: tuple                # those of TLS
    runs: Optional[bool]        # None: it is not known
    value: Optional[str] = None     # where, if it runs and can be reached


class Names:
    """Values are where a name leads to; sources are hypervisors, by number."""

    def __init__(self, off, before=None, owners=None):
        """Of no source anything is known yet; off is where domains of each
        that do not run can be reached, None if nowhere. The others are what
        the map had."""
        self.unseen = set(range(len(off)))
        self.off = off
        self.before = before if before is not None else {}
        self.owners = owners if owners is not None else {}
        self.fixed, self.fallback = {}, {}
        self.table = {}         # {UUID: {source: Domain}}
        self.claims = {}        # {name: the UUIDs that want to be it}
        self.free = set()       # names whose owner is known to be gone

    def get(self, source, uuid):
        return self.table.get(uuid, {}).get(source)

    def of(self, source):
        """Its UUIDs."""
        return [uuid for uuid, places in self.table.items()
                if source in places]

    def hosts(self, uuid):
        return {host for domain in self.table.get(uuid, {}).values()
                for host in domain.hosts}

    def put(self, source, uuid, domain):
        """It is like that, or gone; the names to which that matters."""
        before = self.hosts(uuid)
        places = self.table.setdefault(uuid, {})
        if domain:
            places[source] = domain
        else:
            places.pop(source, None)
            if not places:
                del self.table[uuid]
        after = self.hosts(uuid)
        for host in before - after:
            self.claims[host].discard(uuid)
            if not self.claims[host]:
                del self.claims[host]
            if self.owners.get(host) == uuid:
                del self.owners[host]
                self.free.add(host)
        for host in after - before:
            self.claims.setdefault(host, set()).add(uuid)
        return before | after

    def all(self):
        return {*self.fixed, *self.fallback, *self.claims, *self.before,
                *self.owners}

    def owner(self, host):
        """The UUID whose it is; None if nobody's, AS_BEFORE if who knows."""
        claimants = self.claims.get(host, ())
        owner = self.owners.get(host)
        if owner in claimants:
            return owner
        if (self.unseen and host not in self.free
                and (owner or not claimants)):
            return AS_BEFORE
        first = [min(self.table[uuid]) for uuid in claimants]
        best = [uuid for uuid, source in zip(claimants, first)
                if source == min(first)]
        if len(best) == 1:
            self.owners[host] = best[0]
            self.free.discard(host)
            return best[0]
        self.owners.pop(host, None)
        if best:
            names = sorted(f"'{domain.name}'" for uuid in best
                           for domain in self.table[uuid].values()
                           if host in domain.hosts)
            complaints.once(
                f'the domains {", ".join(names[:-1])} and {names[-1]} are all '
                f'{host}: they are left out; rename all but one, or give that '
                'name to one in a list')
        return None

    def value(self, host):
        """Where that leads to, None if nowhere."""
        owner = self.owner(host)
        if host in self.fixed:
            self.shadowed(host, owner)
            return self.fixed[host]
        if owner is AS_BEFORE:
            return self.before.get(host)
        if owner is None:
            return None if host in self.claims else self.fallback.get(host)
        if len(self.claims[host]) > 1:
            self.taken(host, owner)
        places = self.table[owner]
        there = [places[source].value for source in sorted(places)
                 if places[source].runs and places[source].value]
        if there:
            # it migrates: not there before it is not here any more
            before = self.before.get(host)
            return before if before in there else there[0]
        if any(domain.runs is None for domain in places.values()):
            return self.before.get(host)
        return self.fallback.get(host, self.off[min(places)])

    def shadowed(self, host, owner):
        for domain in self.table.get(owner, {}).values():
            if domain.value and domain.value != self.fixed[host]:
                complaints.once(
                    f'{host} is {self.fixed[host]}, and another machine, '
                    f'{domain.value}, which is left out: rename one of the '
                    'two')

    def taken(self, host, owner):
        others = [domain.name for uuid in sorted(self.claims[host] - {owner})
                  for domain in self.table[uuid].values()
                  if host in domain.hosts]
        complaints.once(
            f"{host} is the domain {owner}, and '{others[0]}', another one, "
            'is left out: rename one of the two')
