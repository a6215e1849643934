// SPDX-License-Identifier: LGPL-3.0-or-later
/* Where the server sends its client. */
import test from 'node:test';
import assert from 'node:assert/strict';
import './browser.js';
import { Constants } from '../enums.js';
import { SpiceMainConn } from '../main.js';
import { ProtocolError } from '../utils.js';
import { Server, quiet, u16, u32, until } from './peer.js';

quiet();

function connect(server, options)
{
    server.install();
    return new SpiceMainConn({ uri: 'ws://host/', password: '', ...options });
}

const SWITCH_HOST = Constants.SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST;
const target = (port, sport, host, size = host.length, at = 20) =>
    [u16(port), u16(sport), u32(size), u32(at), u32(0), u32(0), host];

test('another server', async () =>
{
    const told = [];
    const server = new Server({ script: (peer) =>
    {
        peer.message(SWITCH_HOST, ...target(5900, 5901, 'vm1.example\0'));
        peer.message(SWITCH_HOST, ...target(0xffff, 0, '::1\0'));
    } });
    const conn = connect(server, { onswitchhost: (where) => told.push(where) });
    await until(() => told.length == 2);
    assert.deepEqual(told, [{ host: 'vm1.example', port: 5900, tlsPort: 5901 },
                            { host: '::1', port: 0, tlsPort: 0 }]);
    conn.stop();
});

for (const [title, body] of Object.entries({
    'nowhere': [u16(1), u16(2)],
    'no name': target(1, 2, ''),
    'a name beyond the message': target(1, 2, 'vm1\0', 5),
    'a name of 4 GB': target(1, 2, 'vm1\0', 0xffffffff),
    'a name at 4 GB': target(1, 2, 'vm1\0', 4, 0xfffffff0),
    'a name of 1 KB': target(1, 2, 'x'.repeat(1023) + '\0'),
}))
{
    test(`another server: ${title}`, async () =>
    {
        const errors = [];
        const conn = connect(new Server({ script: (peer) => peer.message(SWITCH_HOST, ...body) }),
                             { onswitchhost: () => assert.fail('told'),
                               onerror: (e) => errors.push(e) });
        await until(() => errors.length > 0);
        assert.ok(errors[0] instanceof ProtocolError);
        conn.stop();
    });
}
