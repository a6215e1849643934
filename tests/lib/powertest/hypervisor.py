# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt of ours, and a spice-gateway for all of its domains at one port.

All of it is by TLS, with one certificate for all names, which GLib finds on this
computer whatever the DNS says.
"""

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from . import bmc, ports, spicypower
from .libvirt import Libvirt
from .record import TIMEOUT
from .tls import Authority

DOMAIN = 'example.localhost'
PASSWORD = 'open sesame'


class Hypervisor:
    """Everything in it ends with the stack that it is given.

    It has the authority of the one it is beside, if there is one. host_uuid is
    the libvirt's, and qemu_conf what its qemu.conf has beside; server is what the
    hypervisor's file has in that group beside.
    """

    def __init__(self, log_dir, stack, beside=None, host_uuid=None,
                 name='spice-gateway', qemu_conf='', **server):
        self.log_dir = Path(log_dir)
        self.stack = stack
        self.tls = beside.tls if beside else Authority(stack.enter_context(
            tempfile.TemporaryDirectory(prefix='spice-power-')),
            names=(f'*.{DOMAIN}',))
        self.libvirt = stack.enter_context(Libvirt(
            log_dir, host_uuid=host_uuid, qemu_conf=f'''
spice_tls = 1
spice_tls_x509_cert_dir = "{self.tls.directory}"
{qemu_conf}'''))
        self.port = ports.free()
        directory = self.tls.directory
        self.gateway = stack.enter_context(bmc.Gateway(self.log_dir, {
            'gateway.conf': {'gateway': {
                'address': '127.0.0.1', 'port': self.port, 'domain': DOMAIN,
                'unix-socket': '{directory}/proxy'}},
            'defaults.conf': {'server': {
                'tls-ca-file': self.tls.ca_file,
                'tls-cert-file': directory / 'server-cert.pem',
                'tls-key-file': directory / 'server-key.pem'}},
            'hypervisors/here.conf': {
                'libvirt': {'uri': self.libvirt.uri},
                'server': {'ticket': 'domain',
                           'hand-over-host': f'{{name}}.{DOMAIN}',
                           **server}}}, name=name))

    def domain(self, name, home_port=None, **options):
        """A domain, off, that hands its clients back."""
        options.setdefault('power', f"powerControl='yes' passwd='{PASSWORD}'")
        return self.libvirt.domain(
            name, spice=f"<home host='{name}.{DOMAIN}' "
                        f"tlsPort='{home_port or self.port}'/>", **options)

    def uri(self, name, port=None):
        return f'spice://{name}.{DOMAIN}?tls-port={port or self.port}'

    def place(self, name, port=None):
        """What a client needs of a machine."""
        return SimpleNamespace(log_dir=self.log_dir, uri=self.uri(name, port))

    def wait_there(self, name):
        """Until the gateway has heard of it; who comes before is refused."""
        until = time.monotonic() + TIMEOUT
        while (run := spicypower.run(self.uri(name), 'status',
                                     options=self.options)).code:
            if time.monotonic() > until:
                raise TimeoutError(f'the gateway knows no {name}: {run.err}')

    @property
    def options(self):
        """What spicy-power and spicy need to trust it, and to be let in."""
        return [*self.tls.options, f'--password={PASSWORD}']
