// SPDX-License-Identifier: LGPL-3.0-or-later
/* Clients that disturb nobody. */
import test from 'node:test';
import assert from 'node:assert/strict';
import './browser.js';
import { Constants } from '../enums.js';
import { SpiceMainConn } from '../main.js';
import { Server, quiet, u32, until } from './peer.js';

quiet();

function connect(server, options)
{
    server.install();
    return new SpiceMainConn({ uri: 'ws://host/', password: '', ...options });
}

test('no channel, no agent, no mouse mode', async () =>
{
    const server = new Server({ caps: [1, 4, 10], script: (peer) =>
    {
        /* some of which is not for such a client */
        peer.message(Constants.SPICE_MSG_MAIN_AGENT_CONNECTED);
        peer.message(Constants.SPICE_MSG_MAIN_AGENT_CONNECTED_TOKENS, u32(10));
        peer.message(Constants.SPICE_MSG_MAIN_MOUSE_MODE, [2, 3], [2, 1]);
        peer.message(Constants.SPICE_MSG_MAIN_CHANNELS_LIST, u32(1), [1, 2], [1, 0]);
        peer.message(Constants.SPICE_MSG_PING, u32(7), u32(0), u32(0));
    } });
    const conn = connect(server, { control_only: true });
    await server.next(Constants.SPICE_MSGC_PONG);
    assert.deepEqual(server.messages, []);
    assert.equal(server.peers.length, 1);
    assert.ok(server.peers[0].caps.includes(Constants.SPICE_MAIN_CAP_CONTROL_ONLY));
    conn.stop();
});

test('a server without is left before the ticket', async () =>
{
    const errors = [];
    const server = new Server({ caps: [1, 4] });
    const conn = connect(server, { control_only: true, onerror: (e) => errors.push(e) });
    await until(() => errors.length > 0);
    assert.equal(errors[0].name, 'unsupported');
    await until(() => server.peers[0].readyState == 3);
    assert.equal(server.peers[0].sent.length, 1);
    conn.stop();
});
