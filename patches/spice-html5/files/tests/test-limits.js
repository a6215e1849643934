// SPDX-License-Identifier: LGPL-3.0-or-later
/* Lengths that can't be right end the connection, before anything is made of them. */
import test from 'node:test';
import assert from 'node:assert/strict';
import './browser.js';
import { Constants } from '../enums.js';
import { SpiceMainConn } from '../main.js';
import * as Messages from '../spicemsg.js';
import { ProtocolError } from '../utils.js';
import { convert_spice_bitmap_to_web } from '../bitmap.js';
import { Server, bytes, quiet, u8, u16, u32, until } from './peer.js';

quiet();

/* A main channel to a server, and the error that it ends with */
async function error_of(server)
{
    const errors = [];
    server.install();
    const conn = new SpiceMainConn({ uri: 'ws://host/', password: '',
                                     onerror: (e) => errors.push(e) });
    await until(() => errors.length > 0, 'an error');
    assert.equal(conn.state, 'error');
    await until(() => server.peers[0].readyState == 3, 'the connection is closed');
    assert.equal(errors.length, 1);
    conn.stop();
    return errors[0];
}

for (const [title, script] of Object.entries({
    'a message of 4 GB': (peer) => peer.reply(bytes(u16(103), u32(0xffffffff))),
    'a message of 2 GB': (peer) => peer.reply(bytes(u16(103), u32(0x80000000))),
    'a message that is a byte too large':
        (peer) => peer.reply(bytes(u16(103), u32(Constants.SPICE_MAX_MESSAGE + 1))),
    '4 billion channels':
        (peer) => peer.message(Constants.SPICE_MSG_MAIN_CHANNELS_LIST, u32(0xffffffff)),
    'a channel too many':
        (peer) => peer.message(Constants.SPICE_MSG_MAIN_CHANNELS_LIST, u32(2), u8(1), u8(0)),
    'a notification of 4 GB':
        (peer) => peer.message(Constants.SPICE_MSG_NOTIFY, u32(0), u32(0), u32(0), u32(0), u32(0),
                               u32(0xffffffff)),
    'text': (peer) => peer.emit('message', { data: 'REDQ' }),
}))
{
    test(`the main channel: ${title}`, async () =>
    {
        const e = await error_of(new Server({ script }));
        assert.ok(e instanceof ProtocolError, String(e));
    });
}

for (const [title, reply] of Object.entries({
    'another magic': () => bytes('QDER', u32(2), u32(2), u32(178)),
    'no bytes': () => bytes('REDQ', u32(2), u32(2), u32(0)),
    '4 GB': () => bytes('REDQ', u32(2), u32(2), u32(0xffffffff)),
    '4 billion capabilities': () => bytes('REDQ', u32(2), u32(2), u32(178), u32(0),
                                          new Uint8Array(162), u32(0xffffffff), u32(0), u32(178)),
    'no key': () => bytes('REDQ', u32(2), u32(2), u32(178), u32(0), new Uint8Array(162),
                          u32(0), u32(0), u32(178)),
}))
{
    test(`the link: a reply with ${title}`, async () =>
    {
        const server = new Server();
        server.link_reply = reply;
        const e = await error_of(server);
        assert.ok(e instanceof ProtocolError, String(e));
    });
}

test('the connection goes on after a message that can\'t be drawn', async () =>
{
    const server = new Server({ script: (peer) =>
    {
        peer.message(Constants.SPICE_MSG_MAIN_AGENT_DATA);      // without anything
        peer.message(Constants.SPICE_MSG_PING, u32(7), u32(0), u32(0));
    } }).install();
    const conn = new SpiceMainConn({ uri: 'ws://host/', password: '' });
    const { data } = await server.next(Constants.SPICE_MSGC_PONG);
    assert.equal(data[0], 7);
    conn.stop();
});

test('images', () =>
{
    const rect = bytes(u32(0), u32(0), u32(0), u32(0));
    const copy = (...image) => bytes(u32(0), rect, u8(0), u32(57), rect, u16(8), u8(0), u8(0),
                                     u32(0), u32(0), u32(0), ...image).buffer;
    const descriptor = (type, width, height) => bytes(u32(0), u32(0), u8(type), u8(0), u32(width),
                                                      u32(height));
    const bitmap = (x, y, stride, size) => copy(
        descriptor(Constants.SPICE_IMAGE_TYPE_BITMAP, 1, 1), u8(Constants.SPICE_BITMAP_FMT_32BIT),
        u8(Constants.SPICE_BITMAP_FLAGS_TOP_DOWN), u32(x), u32(y), u32(stride), u32(0),
        new Uint8Array(size));
    const parse = (data) => new Messages.SpiceMsgDisplayDrawCopy(data).data.src_bitmap.bitmap;

    assert.throws(() => parse(copy(descriptor(0, 0x10000, 0x10000))), ProtocolError);
    assert.throws(() => parse(copy(descriptor(0, 0xffffffff, 0))), ProtocolError);
    assert.throws(() => parse(bitmap(0xffffffff, 0xffffffff, 4, 4)), ProtocolError);
    assert.throws(() => parse(bitmap(1, 2, 4, 4)), ProtocolError);
    assert.throws(() => parse(bitmap(1, 1, 0xffffffff, 4)), ProtocolError);
    const good = parse(bitmap(1, 2, 4, 8));
    const context = { createImageData: (width, height) =>
        ({ width, height, data: new Uint8Array(width * height * 4) }) };
    assert.equal(convert_spice_bitmap_to_web(context, good).data.length, 8);
    /* this one took forever */
    assert.equal(convert_spice_bitmap_to_web(context, parse(bitmap(0, 2, 4, 8))), undefined);
});

test('surfaces and rectangles', () =>
{
    assert.throws(() => new Messages.SpiceMsgSurfaceCreate(
        bytes(u32(0), u32(0xffff), u32(0xffff), u32(32), u32(1)).buffer), ProtocolError);
    assert.throws(() => new Messages.SpiceMsgDisplayStreamClip(
        bytes(u32(0), u8(Constants.SPICE_CLIP_TYPE_RECTS), u32(0xffffffff)).buffer),
                  ProtocolError);
    assert.throws(() => new Messages.SpiceMsgDisplayInvalList(bytes(u16(0xffff)).buffer),
                  ProtocolError);
});
