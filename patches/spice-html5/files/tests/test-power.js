// SPDX-License-Identifier: LGPL-3.0-or-later
/* Power control over the main channel. */
import test from 'node:test';
import assert from 'node:assert/strict';
import './browser.js';
import { Constants } from '../enums.js';
import { SpiceMainConn } from '../main.js';
import { PowerError } from '../power.js';
import { ProtocolError } from '../utils.js';
import { Server, bytes, quiet, u16, u32, u8, until } from './peer.js';

quiet();

const ALL = ['reset', 'power-off', 'power-on', 'pause', 'continue'];
const CAPS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

const state = (peer, number, allowed, possible, ...more) =>
    peer.message(Constants.SPICE_MSG_MAIN_POWER_STATE, u8(number), u32(allowed), u32(possible),
                 ...more);
const result = (peer, id, number, text = '', length = Buffer.byteLength(text)) =>
    peer.message(Constants.SPICE_MSG_MAIN_POWER_RESULT, u32(id), u8(number), u32(length), text);
const id_of = (message) => Buffer.from(message.data).readUInt32LE(0);

/* A server with power control that has told a state, and a main channel to it */
async function connect({ caps = CAPS, first = [2, 31, 11] } = {}, options)
{
    const server = new Server({ caps, script: (peer) => state(peer, ...first) }).install();
    const conn = new SpiceMainConn({ uri: 'ws://host/', password: '', power: true, ...options });
    await until(() => conn.power.available);
    return { server, conn, power: conn.power, peer: server.peers[0] };
}

test('state and actions', async () =>
{
    const { conn, power, peer } = await connect();
    assert.ok(peer.caps.includes(Constants.SPICE_MAIN_CAP_POWER_CONTROL));
    assert.equal(power.state, 'on');
    assert.deepEqual(power.configured, ALL);
    assert.deepEqual(power.allowed, ALL);
    assert.deepEqual(power.possible, ['reset', 'power-off', 'pause']);

    let changes = 0;
    power.addEventListener('change', () => changes++);
    const names = [];
    for (let number = 0; number < 7; number++)
    {
        state(peer, number, 1, 31);
        names.push(power.state);
    }
    assert.deepEqual(names, ['unknown', 'off', 'on', 'paused', 'suspended', 'crashed', 'unknown']);
    assert.equal(changes, 7);
    /* possible is a part of allowed, which is a part of what is configured */
    assert.deepEqual(power.allowed, ['reset']);
    assert.deepEqual(power.possible, ['reset']);
    /* what a later version adds */
    state(peer, 1, 0xffffffff, 0xffffffff, u32(1), u32(2));
    assert.deepEqual([power.state, power.possible], ['off', ALL]);
    conn.stop();
});

test('capabilities in several words', async () =>
{
    for (const more of [[], [40], [40, 95]])
    {
        const { conn, power } = await connect({ caps: [2, 4, 6, ...more] });
        assert.deepEqual(power.configured, ['power-off'], String(more));
        assert.deepEqual(power.possible, ['power-off']);
        conn.stop();
    }
    /* bits of the second word are none of the first */
    const { conn, power } = await connect({ caps: [36, 37, 38] });
    assert.deepEqual(power.configured, []);
    await assert.rejects(power.request('reset'), { name: 'unsupported' });
    conn.stop();
});

test('every action, OK', async () =>
{
    const { server, conn, power, peer } = await connect();
    for (const [i, action] of ALL.entries())
    {
        const done = power.request(action);
        const message = await server.next(113 + i);
        assert.equal(message.data.length, 4);
        assert.equal(power.pending, action);
        state(peer, 3, 31, 16);
        result(peer, id_of(message), 0, i ? 'fine' : '');
        assert.equal(power.pending, null);
        assert.deepEqual(await done, { message: i ? 'fine' : '' });
    }
    conn.stop();
});

for (const [number, name] of ['denied', 'wrong-state', 'busy', 'unsupported', 'failed'].entries())
{
    test(`a result: ${name}`, async () =>
    {
        const { server, conn, power, peer } = await connect();
        for (const text of ['so sagt der Server: <b>nein</b>\u202e', ''])
        {
            const refused = power.request('reset');
            result(peer, id_of(await server.next(113)), number + 1, text);
            await assert.rejects(refused, (e) => e instanceof PowerError && e.name == name &&
                                 (text ? e.message == text : e.message.length > 10));
        }
        conn.stop();
    });
}

test('words that can\'t be right', async () =>
{
    const { server, conn, power, peer } = await connect();
    for (const [text, seen] of [['x'.repeat(1024), 'x'.repeat(1024)],
                                ['x'.repeat(1025), 'The action failed'],
                                [Uint8Array.from([0xff, 0xfe]), 'The action failed'],
                                ['a\0b', 'The action failed']])
    {
        const refused = power.request('reset');
        result(peer, id_of(await server.next(113)), 5, text, text.length);
        await assert.rejects(refused, { name: 'failed', message: seen });
    }
    const refused = power.request('reset');
    result(peer, id_of(await server.next(113)), 6);
    await assert.rejects(refused, { name: 'failed', message: 'The server sent an unknown result' });
    conn.stop();
});

test('results of other requests', async () =>
{
    const { server, conn, power, peer } = await connect();
    result(peer, 0, 0);
    const done = power.request('reset');
    const id = id_of(await server.next(113));
    result(peer, id + 1, 5);
    result(peer, id - 1, 5);
    assert.equal(power.pending, 'reset');
    result(peer, id, 0);
    result(peer, id, 5);
    await done;
    conn.stop();
});

test('one request at a time', async () =>
{
    const { server, conn, power, peer } = await connect();
    const done = power.request('reset');
    await assert.rejects(power.request('pause'), { name: 'busy' });
    result(peer, id_of(await server.next(113)), 0);
    await done;
    await assert.rejects(power.request('dance'), TypeError);
    assert.deepEqual(server.messages.filter((m) => m.type >= 113), []);
    conn.stop();
});

test('the connection ends', async () =>
{
    for (const end of [({ peer }) => peer.end(), ({ conn }) => conn.stop()])
    {
        const it = await connect({}, { onerror: () => {} });
        const request = it.power.request('power-off');
        await it.server.next(114);
        let changes = 0;
        it.power.addEventListener('change', () => changes++);
        end(it);
        await assert.rejects(request, { name: 'unknown' });
        assert.equal(changes, 1);
        assert.deepEqual([it.power.state, it.power.available, it.power.pending],
                         ['unknown', false, null]);
        assert.deepEqual(it.power.allowed, []);
        await assert.rejects(it.power.request('reset'), { name: 'not-sent' });
        it.conn.stop();
        assert.equal(changes, 1);
    }
});

test('a server without power control', async () =>
{
    const server = new Server({ caps: [2] }).install();
    const conn = new SpiceMainConn({ uri: 'ws://host/', password: '', power: true });
    await assert.rejects(conn.power.request('reset'), { name: 'not-sent' });
    await server.next(Constants.SPICE_MSGC_MAIN_ATTACH_CHANNELS);
    assert.equal(conn.power.available, false);
    await assert.rejects(conn.power.request('reset'), { name: 'unsupported' });
    conn.stop();
});

test('messages nobody has asked for', async () =>
{
    const server = new Server({ caps: CAPS, script: (peer) =>
    {
        state(peer, 2, 31, 31);
        result(peer, 1, 0);
        peer.message(Constants.SPICE_MSG_PING, u32(7), u32(0), u32(0));
    } }).install();
    const conn = new SpiceMainConn({ uri: 'ws://host/', password: '' });
    await server.next(Constants.SPICE_MSGC_PONG);
    assert.equal(conn.power, undefined);
    conn.stop();
});

for (const [title, body] of Object.entries({
    'an empty state': [119],
    'a state of 8 bytes': [119, u8(1), u32(1), u16(1), u8(1)],
    'an empty result': [120],
    'a result of 8 bytes': [120, u32(1), u8(0), u16(0), u8(0)],
    'a result whose message is longer than it': [120, u32(1), u8(0), u32(3), 'no'],
    'a result of 4 GB': [120, u32(1), u8(0), u32(0xffffffff), 'no'],
}))
{
    test(title, async () =>
    {
        const errors = [];
        const { conn, power, peer } = await connect({}, { onerror: (e) => errors.push(e) });
        const request = power.request('reset');
        peer.message(...body);
        await assert.rejects(request, { name: 'unknown' });
        assert.ok(errors[0] instanceof ProtocolError);
        conn.stop();
    });
}

test('a thousand changes in pieces of a byte', async () =>
{
    const { conn, power, peer } = await connect();
    for (let i = 0; i < 1000; i++)
    {
        const body = bytes(u8(i % 6), u32(31), u32(i % 32));
        peer.reply(bytes(u16(119), u32(body.length), body), 1);
    }
    assert.equal(power.state, 'paused');
    conn.stop();
});
