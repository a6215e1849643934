// SPDX-License-Identifier: LGPL-3.0-or-later
/* The main channel, and what a page gets that asks for nothing. */
import test from 'node:test';
import assert from 'node:assert/strict';
import './browser.js';
import { Constants } from '../enums.js';
import { SpiceMainConn } from '../main.js';
import { ProtocolError } from '../utils.js';
import { Server, bytes, quiet, u32, until } from './peer.js';

quiet();

function connect(server, options)
{
    server.install();
    return new SpiceMainConn({ uri: 'ws://host/', password: '', ...options });
}

test('a channel beside the main one that cannot be had', async () =>
{
    const thrown = [], catcher = (e) => thrown.push(e);
    const server = new Server({ script: (peer) =>
    {
        if (peer.type != Constants.SPICE_CHANNEL_MAIN)
            return;
        server.refuse = true;
        peer.message(Constants.SPICE_MSG_MAIN_CHANNELS_LIST, u32(1),
                     [1, Constants.SPICE_CHANNEL_INPUTS], [1, 0]);
        peer.message(Constants.SPICE_MSG_PING, u32(7), u32(0), u32(0));
    } });
    process.on('uncaughtException', catcher);
    const conn = connect(server);
    await until(() => server.peers.length == 2 && server.peers[1].readyState == 3);
    await server.next(Constants.SPICE_MSGC_PONG);
    process.off('uncaughtException', catcher);
    assert.deepEqual(thrown, []);
    assert.equal(conn.state, 'ready');
    conn.stop();
});

const UUID = Uint8Array.from([...Array(16).keys()]);

test('a page that asks for nothing sends what it always sent', async () =>
{
    const server = new Server({ script: (peer) =>
    {
        peer.message(Constants.SPICE_MSG_PING, u32(7), u32(0), u32(0));
    } });
    const conn = connect(server);
    await server.next(Constants.SPICE_MSGC_PONG);
    const sent = server.peers[0].sent;
    /* main channel 0; common capabilities: authentication, mini header; main: tokens */
    assert.deepEqual(sent[0], bytes('REDQ', u32(2), u32(2), u32(26), u32(0), [1, 1], [1, 0],
                                    u32(1), u32(1), u32(18), u32(9), u32(4)));
    assert.deepEqual(sent.slice(2), [bytes([2, Constants.SPICE_MSGC_MAIN_ATTACH_CHANNELS], u32(0)),
                                     bytes([2, Constants.SPICE_MSGC_PONG], u32(12), u32(7),
                                           u32(0), u32(0))]);
    conn.stop();
});

test('name and UUID', async () =>
{
    const told = [];
    const server = new Server({ script: (peer) =>
    {
        const name = Buffer.from('vmé\0');
        peer.message(Constants.SPICE_MSG_MAIN_NAME, u32(name.length), name);
        peer.message(Constants.SPICE_MSG_MAIN_UUID, UUID);
        peer.message(Constants.SPICE_MSG_MAIN_UUID, new Uint8Array(16));
    } });
    const conn = connect(server, { onname: (...args) => told.push(args) });
    await until(() => told.length == 3);
    assert.deepEqual(told, [['vmé', ''], ['vmé', '00010203-0405-0607-0809-0a0b0c0d0e0f'],
                            ['vmé', '']]);
    assert.ok(server.peers[0].caps.includes(Constants.SPICE_MAIN_CAP_NAME_AND_UUID));
    conn.stop();
});

for (const [title, body] of Object.entries({
    'a name without length': [Constants.SPICE_MSG_MAIN_NAME],
    'a name of 4 GB': [Constants.SPICE_MSG_MAIN_NAME, u32(0xffffffff), 'vm'],
    'a short UUID': [Constants.SPICE_MSG_MAIN_UUID, u32(1)],
}))
{
    test(title, async () =>
    {
        const errors = [];
        const conn = connect(new Server({ script: (peer) => peer.message(...body) }),
                             { onerror: (e) => errors.push(e) });
        await until(() => errors.length > 0);
        assert.ok(errors[0] instanceof ProtocolError);
        conn.stop();
    });
}
