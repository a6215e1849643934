// SPDX-License-Identifier: LGPL-3.0-or-later
/* How the password is encrypted. */
import test from 'node:test';
import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, privateDecrypt } from 'node:crypto';
import './browser.js';
import { create_rsa_from_mb, rsa_encrypt } from '../ticket.js';

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
const der = publicKey.export({ type: 'spki', format: 'der' });
const rsa = create_rsa_from_mb(new Uint8Array(der).buffer, 0);

test('OpenSSL decrypts it', () =>
{
    const clear = privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING },
                                 Buffer.from(rsa_encrypt(rsa, 'secret\0')));
    assert.equal(clear.toString(), 'secret\0');
});

test('leading zeros', () =>
{
    for (const [hex, last] of [['abc', [0x0a, 0xbc]], ['0', [0, 0]]])
    {
        const data = rsa_encrypt({ n: rsa.n, doPublic: () => ({ toString: () => hex }) }, 'x');
        assert.equal(data.length, 128);
        assert.deepEqual(data.slice(-2), last);
    }
});
