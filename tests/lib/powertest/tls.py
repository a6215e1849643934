# SPDX-License-Identifier: GPL-2.0-or-later
"""A certificate authority for a test, and the SPICE server's certificate."""

import hashlib
import ssl
import subprocess
from pathlib import Path


class Authority:
    """Makes what -spice x509-dir= wants in a directory."""

    def __init__(self, directory, addresses=('127.0.0.1',),
                 names=('localhost',)):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca_file = self.directory / 'ca-cert.pem'
        self._openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes',
                      '-days', '2', '-subj', '/CN=power control test CA',
                      '-addext', 'keyUsage = critical, keyCertSign, cRLSign',
                      '-keyout', 'ca-key.pem', '-out', 'ca-cert.pem')
        self.addresses, self.names = addresses, names
        self.issue()

    def issue(self):
        """A certificate and its key in place of those before, if there are."""
        self._openssl('req', '-newkey', 'rsa:2048', '-nodes',
                      '-subj', f'/CN={self.addresses[0]}',
                      '-keyout', 'server-key.pem', '-out', 'server.csr')
        (self.directory / 'server.ext').write_text(
            'subjectAltName = '
            + ', '.join([*(f'DNS:{name}' for name in self.names),
                         *(f'IP:{address}' for address in self.addresses)])
            + '\n'
            'basicConstraints = critical, CA:FALSE\n'
            'keyUsage = critical, digitalSignature, keyEncipherment\n'
            'extendedKeyUsage = serverAuth\n'
            'subjectKeyIdentifier = hash\n'
            'authorityKeyIdentifier = keyid\n')
        self._openssl('x509', '-req', '-in', 'server.csr', '-days', '2',
                      '-CA', 'ca-cert.pem', '-CAkey', 'ca-key.pem',
                      '-CAcreateserial', '-extfile', 'server.ext',
                      '-out', 'server-cert.pem')

    def _openssl(self, *arguments):
        done = subprocess.run(['openssl', *arguments], cwd=self.directory,
                              stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise RuntimeError(f'openssl {arguments[0]}: {done.stdout}')

    def fingerprint(self):
        """The SHA-256 of the server's certificate."""
        text = (self.directory / 'server-cert.pem').read_text()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()

    def client_context(self):
        return ssl.create_default_context(cafile=str(self.ca_file))

    @property
    def options(self):
        """What spicy-power needs to trust the server."""
        return (f'--spice-ca-file={self.ca_file}',)
