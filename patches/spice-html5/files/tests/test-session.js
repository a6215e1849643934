// SPDX-License-Identifier: LGPL-3.0-or-later
/* A session: passwords, servers that go and come, and other servers. */
import test from 'node:test';
import assert from 'node:assert/strict';
import './browser.js';
import { Constants } from '../enums.js';
import { SpiceSession } from '../session.js';
import { Server, quiet, u16, u32, u8, until } from './peer.js';

quiet();

const CAPS = [1, 4, 5, 6, 7, 8, 9, 10];
const UUID = (byte) => new Uint8Array(16).fill(byte);

/* A server of a machine in a state */
function machine({ state = 2, name = 'vm1\0', uuid = UUID(1), ...options } = {})
{
    return new Server({ caps: CAPS, ...options, script: (peer) =>
    {
        if (peer.type != Constants.SPICE_CHANNEL_MAIN)
            return;
        peer.message(Constants.SPICE_MSG_MAIN_POWER_STATE, u8(state), u32(31), u32(31));
        peer.message(Constants.SPICE_MSG_MAIN_NAME, u32(name.length), name);
        peer.message(Constants.SPICE_MSG_MAIN_UUID, uuid);
    } });
}

/* Answer a request for an action with a result */
const answer = (number) => function(peer, type, data)
{
    if (type >= 113)
        peer.message(Constants.SPICE_MSG_MAIN_POWER_RESULT, data, u8(number), u32(0));
};

const SWITCH = [Constants.SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, u16(5900), u16(0), u32(4), u32(20),
                u32(0), u32(0), 'vm1\0'];

/* As if so many ms had gone by */
const now = Date.now;
let ahead = 0;
Date.now = () => now() + ahead;

async function open(server, options)
{
    server.install();
    const session = new SpiceSession({ uri: 'ws://host/a', ...options });
    session.log = [];
    session.addEventListener('change', () => session.log.at(-1) == session.connection ||
                                             session.log.push(session.connection));
    session.connect();
    return session;
}

const is = (session, connection) => until(() => session.connection == connection, connection);

test('connect, use, close', async () =>
{
    const server = machine();
    server.message = answer(0);
    const session = await open(server);
    assert.equal(session.connection, 'connecting');
    await until(() => session.uuid);
    assert.deepEqual([session.connection, session.name, session.state, session.available],
                     ['connected', 'vm1', 'on', true]);
    assert.equal(session.possible.length, 5);
    assert.deepEqual(await session.power('reset'), { message: '' });
    session.close();
    assert.deepEqual([session.connection, session.state, session.allowed, session.main],
                     ['closed', 'unknown', [], null]);
    await assert.rejects(session.power('reset'), { name: 'not-sent' });
    await until(() => server.peers[0].readyState == 3);
    assert.deepEqual(session.log, ['connecting', 'connected', 'closed']);
    assert.equal(server.peers.length, 1);
});

test('no connection at all', async () =>
{
    const session = await open(new Server({ refuse: true }));
    await is(session, 'lost');
    assert.equal(session.error.name, 'refused');
    machine().install();
    session.connect();
    await is(session, 'connected');
    assert.equal(session.error, null);
    session.close();
});

test('not a URI of a WebSocket', async () =>
{
    globalThis.WebSocket = class { constructor(uri) { throw new SyntaxError(`${uri} is bad`); } };
    const session = new SpiceSession({ uri: 'mailto:x' });
    session.connect();
    assert.deepEqual([session.connection, session.error.name, session.error.message],
                     ['lost', 'refused', 'mailto:x is bad']);
});

test('a password: asked for when it is wanted', async () =>
{
    const attempts = [];
    const server = machine({ password: 'secret' });
    const session = await open(server, { password: async ({ attempt }) =>
    {
        attempts.push(attempt);
        return attempt == 1 ? 'wrong' : 'secret';
    } });
    await is(session, 'connected');
    assert.deepEqual(attempts, [1, 2]);
    assert.deepEqual(server.peers.map((p) => p.ticket), ['', 'wrong', 'secret']);
    /* and not again */
    server.peers.at(-1).end();
    await until(() => server.peers.length == 4);
    await is(session, 'connected');
    assert.deepEqual(attempts, [1, 2]);
    session.close();
});

test('a password: none is given', async () =>
{
    const session = await open(machine({ password: 'secret' }), { password: async () => null });
    await is(session, 'lost');
    assert.equal(session.error.name, 'cancelled');
});

test('a password: closed while it is asked for', async () =>
{
    let give;
    const server = machine({ password: 'secret' });
    const session = await open(server,
                               { password: () => new Promise((resolve) => { give = resolve; }) });
    await until(() => give);
    session.close();
    give('secret');
    await new Promise(setImmediate);
    assert.equal(session.connection, 'closed');
    assert.equal(server.peers.length, 1);
});

test('a password: a wrong string', async () =>
{
    const session = await open(machine({ password: 'secret' }), { password: 'wrong' });
    await is(session, 'lost');
    assert.deepEqual([session.error.name, session.error.message],
                     ['denied', 'The password is wrong']);
});

test('a server that goes and comes', async () =>
{
    const server = machine();
    const session = await open(server);
    await until(() => session.uuid);
    const request = session.power('reset');
    server.refuse = true;
    server.peers[0].end();
    await assert.rejects(request, { name: 'unknown' });
    assert.deepEqual([session.connection, session.error.name, session.name],
                     ['waiting', 'ended', 'vm1']);
    await until(() => server.peers.length >= 3);
    assert.equal(session.error.name, 'refused');
    server.refuse = false;
    await is(session, 'connected');
    session.close();
});

test('a server that goes, and nobody waits', async () =>
{
    const server = machine();
    const session = await open(server, { reconnect: false });
    await is(session, 'connected');
    server.peers[0].end();
    assert.deepEqual([session.connection, session.error.name], ['lost', 'ended']);
});

test('a server that comes as another machine', async () =>
{
    const server = machine();
    const session = await open(server);
    await until(() => session.uuid);
    machine({ uuid: UUID(2) }).install();
    server.peers[0].end();
    await is(session, 'lost');
    assert.equal(session.error.name, 'other-machine');
});

for (const [reason, name] of [[Constants.SPICE_LINK_ERR_REPLACED, 'replaced'],
                              [Constants.SPICE_LINK_ERR_PERMISSION_DENIED, 'denied']])
{
    test(`not again when ${name}`, async () =>
    {
        const server = machine();
        const session = await open(server, { password: () => assert.fail('asked') });
        await is(session, 'connected');
        server.peers[0].message(Constants.SPICE_MSG_DISCONNECTING, u32(0), u32(0), u32(reason));
        server.peers[0].end();
        assert.deepEqual([session.connection, session.error.name], ['lost', name]);
        assert.equal(server.peers.length, 1);
    });
}

test('a server that ends each session', async () =>
{
    const server = machine();
    const session = await open(server);
    for (let n = 1; n <= 3; n++)
    {
        await until(() => server.peers.length == n && session.connection == 'connected');
        server.peers.at(-1).end();
    }
    assert.deepEqual([session.connection, session.error.name], ['lost', 'ended']);
});

test('garbage', async () =>
{
    const server = machine();
    const session = await open(server);
    await is(session, 'connected');
    server.peers[0].reply(Uint8Array.from([1, 0, 255, 255, 255, 255]));
    assert.deepEqual([session.connection, session.error.name], ['lost', 'protocol']);
});

test('another server, by the same URI', async () =>
{
    const off = machine({ state: 1 }), on = machine();
    on.message = answer(0);
    const session = await open(off);
    await until(() => session.uuid);
    ahead += 6000;
    const request = session.power('power-on');
    await off.next(115);
    on.install();
    off.peers[0].message(...SWITCH);
    assert.equal(session.connection, 'connecting');
    assert.equal(session.pending, 'power-on');
    await assert.rejects(session.power('reset'), { name: 'busy' });
    /* what the one has not answered, the other is asked for */
    await request;
    assert.deepEqual([session.connection, session.state, session.pending],
                     ['connected', 'on', null]);
    assert.equal(on.peers[0].url, 'ws://host/a');
    assert.deepEqual(session.log, ['connecting', 'connected', 'connecting', 'connected']);
    session.close();
});

test('another server, elsewhere, that is late', async () =>
{
    const off = machine({ state: 1 }), on = machine({ refuse: true, uuid: UUID(2) });
    off.at = (uri) => uri == 'ws://host/b' ? on : off;
    let told;
    const session = await open(off, { onswitchhost: (where) => { told = where; return 'ws://host/b'; },
                                      reconnect: false });
    await is(session, 'connected');
    off.peers[0].message(...SWITCH);
    assert.deepEqual(told, { host: 'vm1', port: 5900, tlsPort: 0 });
    await until(() => on.peers.length == 2);
    assert.equal(session.connection, 'waiting');
    on.refuse = false;
    await is(session, 'connected');
    assert.equal(session.state, 'on');
    assert.equal(off.peers.length, 1);
    session.close();
});

test('another server, that never comes', async () =>
{
    const off = machine({ state: 1 }), on = machine({ refuse: true });
    off.at = (uri) => uri == 'ws://host/b' ? on : off;
    const session = await open(off, { onswitchhost: () => 'ws://host/b', reconnect: false });
    await until(() => session.available);
    const request = session.power('power-on');
    off.peers[0].message(...SWITCH);
    await until(() => on.peers.length == 1);
    ahead += 6000;
    await assert.rejects(request, { name: 'not-sent' });
    assert.deepEqual([session.connection, session.error.name], ['lost', 'refused']);
});

test('either of two servers', async () =>
{
    const off = machine({ state: 1 }), on = machine({ refuse: true });
    off.at = (uri) => uri == 'ws://host/b' ? on : off;
    const session = await open(off, { onswitchhost: () => 'ws://host/b' });
    await is(session, 'connected');
    off.peers[0].message(...SWITCH);
    await until(() => on.peers.length == 1);
    ahead += 6000;
    await is(session, 'connected');
    assert.equal(off.peers.length, 2);
    session.close();
});

test('control-only', async () =>
{
    const server = machine();
    const session = await open(server, { control_only: true });
    await until(() => session.available);
    assert.deepEqual(server.messages, []);
    session.close();

    const old = new Server({ caps: [4] });
    const other = await open(old, { control_only: true, password: () => assert.fail('asked') });
    await is(other, 'lost');
    assert.equal(other.error.name, 'unsupported');
});
