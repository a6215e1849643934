# SPDX-License-Identifier: GPL-2.0-or-later
"""SASL: users for QEMU, and what wire.Link.authenticate() speaks.

The mechanisms are made from their RFCs: 4505 (ANONYMOUS), 4616 (PLAIN), 5802
and 7677 (SCRAM).
"""

import base64
import hashlib
import hmac
import os
import subprocess
from pathlib import Path


class Users:
    """A user database, and the configuration that makes a program look there.

    Cyrus SASL reads a program's configuration, qemu.conf say, from where
    SASL_CONF_PATH says; what user names there are is up to saslpasswd2.
    """

    def __init__(self, directory, *mechanisms, program='qemu'):
        self.directory = Path(directory)
        self._database = self.directory / 'sasldb2'
        (self.directory / f'{program}.conf').write_text(
            f'mech_list: {" ".join(mechanisms)}\n'
            'pwcheck_method: auxprop\n'
            'auxprop_plugin: sasldb\n'
            f'sasldb_path: {self._database}\n')
        self.environment = {'SASL_CONF_PATH': str(self.directory)}

    def add(self, name, password):
        done = subprocess.run(['/usr/sbin/saslpasswd2', '-p', '-c',
                               '-f', str(self._database), name],
                              input=password, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise RuntimeError(f'saslpasswd2: {done.stdout}')


class Anonymous:
    name = 'ANONYMOUS'

    def first(self):
        return b'somebody'

    def step(self, challenge):
        raise ValueError(f'nothing to say to {challenge}')

    def last(self, data):
        pass


class Plain(Anonymous):
    name = 'PLAIN'

    def __init__(self, user, password):
        self._message = f'\0{user}\0{password}'.encode()

    def first(self):
        return self._message


class Scram:
    """The server proves, too, that it knows the password."""

    def __init__(self, user, password, digest='sha256'):
        self.name = {'sha1': 'SCRAM-SHA-1',
                     'sha256': 'SCRAM-SHA-256'}[digest]
        self._digest = digest
        self._password = password.encode()
        nonce = base64.b64encode(os.urandom(18)).decode()
        self._bare = f'n={user},r={nonce}'

    def _hmac(self, key, data):
        return hmac.digest(key, data, self._digest)

    def first(self):
        return ('n,,' + self._bare).encode()

    def step(self, challenge):
        challenge = challenge.decode()
        values = dict(part.split('=', 1) for part in challenge.split(','))
        salted = hashlib.pbkdf2_hmac(self._digest, self._password,
                                     base64.b64decode(values['s']),
                                     int(values['i']))
        key = self._hmac(salted, b'Client Key')
        stored = hashlib.new(self._digest, key).digest()
        final = f'c=biws,r={values["r"]}'
        said = f'{self._bare},{challenge},{final}'.encode()
        proof = bytes(a ^ b for a, b in zip(key, self._hmac(stored, said)))
        self._expected = self._hmac(self._hmac(salted, b'Server Key'), said)
        return f'{final},p={base64.b64encode(proof).decode()}'.encode()

    def last(self, data):
        if data != b'v=' + base64.b64encode(self._expected):
            raise ValueError('the server does not know the password')
