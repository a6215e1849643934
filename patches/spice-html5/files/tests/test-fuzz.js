// SPDX-License-Identifier: LGPL-3.0-or-later
/* Right messages, made wrong at random: whatever a server sends, the page goes on or closes the
 * connection, soon, and what it tells makes sense.
 *
 * SPICE_HTML5_FUZZ_ROUNDS is how many there are of each kind, SPICE_HTML5_FUZZ_SEED where
 * they begin; a failure tells the seed of its round, with which it is the first one. */
import test from 'node:test';
import assert from 'node:assert/strict';
import './browser.js';
import { Constants } from '../enums.js';
import { SpiceMainConn } from '../main.js';
import * as Messages from '../spicemsg.js';
import { convert_spice_bitmap_to_web } from '../bitmap.js';
import { convert_spice_lz_to_web } from '../lz.js';
import { convert_spice_quic_to_web } from '../quic.js';
import { Server, bytes, quiet, u16, u32, u8, until } from './peer.js';

const ROUNDS = Number(process.env.SPICE_HTML5_FUZZ_ROUNDS || 300);
const SEED = Number(process.env.SPICE_HTML5_FUZZ_SEED || 1);
const SOON = 5000;              // ms of the processor; nothing takes a tenth of it

/* so that pictures are decoded in no time, not in a second each */
Constants.SPICE_MAX_IMAGE_PIXELS = 256 * 256;
quiet();

/* mulberry32 */
function generator(seed)
{
    return (limit) =>
    {
        seed = (seed + 0x6d2b79f5) | 0;
        let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) % limit;
    };
}

const NUMBERS = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
                 0xfffffff0, 0xffffffff];

function mutated(random, data)
{
    data = Uint8Array.from(data);
    for (let n = random(6); n > 0 && data.length; n--)
    {
        const at = random(data.length);
        switch (random(5))
        {
        case 0: data[at] = random(256); break;
        case 1: data[at] ^= 1 << random(8); break;
        case 2: data.set(bytes(u32(NUMBERS[random(NUMBERS.length)])).subarray(0, data.length - at),
                         at); break;
        case 3: data = data.subarray(0, at); break;
        case 4: data = bytes(data.subarray(0, at), data.subarray(random(data.length))); break;
        }
        data = Uint8Array.from(data.subarray(0, 1 << 16));
    }
    return data;
}

/* Each round with its own seed; so long may one take */
function rounds(title, round)
{
    test(title, async () =>
    {
        for (let seed = SEED; seed < SEED + ROUNDS; seed++)
        {
            const begun = process.cpuUsage();
            try
            {
                await round(generator(seed));
                const { user, system } = process.cpuUsage(begun);
                assert.ok((user + system) / 1000 < SOON, 'it takes too long');
            }
            catch (e)
            {
                e.message = `SPICE_HTML5_FUZZ_SEED=${seed}: ${e.message}`;
                throw e;
            }
        }
    });
}

const message = (type, ...parts) =>
{
    const body = bytes(...parts);
    return bytes(u16(type), u32(body.length), body);
};

const NOTIFY = message(7, u32(0), u32(0), u32(2), u32(1), u32(0), u32(5), 'hello');
const MAIN = [
    NOTIFY,
    message(3, u32(1), u32(2)),
    message(4, u32(1), u32(0), u32(0)),
    message(6, u32(0), u32(0), u32(10)),
    message(103, u32(1), u32(1), u32(3), u32(1), u32(1), u32(10), u32(0), u32(0)),
    message(105, u16(3), u16(1)),
    message(107), message(108),
    message(109, u32(1), u32(6), u32(0), u32(0), u32(8), u32(1), u32(7)),
    message(109, u32(1), u32(11), u32(0), u32(0), u32(8), u32(0), u32(1)),
    message(110, u32(5)), message(115, u32(5)),
    message(111, u16(5900), u16(5901), u32(4), u32(20), u32(0), u32(0), 'vm1\0'),
    message(113, u32(4), 'vm1\0'),
    message(114, new Uint8Array(16).fill(1)),
    message(119, u8(2), u32(31), u32(11)),
    message(120, u32(1), u8(0), u32(2), 'ok'),
];
const STATES = ['unknown', 'off', 'on', 'paused', 'suspended', 'crashed'];

rounds('the main channel', async (random) =>
{
    const stream = bytes(...Array.from({ length: 1 + random(8) },
                                       () => mutated(random, MAIN[random(MAIN.length)])));
    const server = new Server({ caps: [1, 4, 5, 6, 7, 8, 9, 10], script: () => {} }).install();
    const conn = new SpiceMainConn({ uri: 'ws://host/', password: '', power: true,
                                     control_only: random(2), onerror: () => {},
                                     onname: () => {}, onswitchhost: () => {} });
    const { power } = conn;
    let settled = 0;

    power.addEventListener('change', () =>
    {
        assert.ok(STATES.includes(power.state));
        assert.ok(power.allowed.every((a) => power.configured.includes(a)));
        assert.ok(power.possible.every((a) => power.allowed.includes(a)));
    });
    await until(() => conn.state == 'ready', 'ready');
    const request = power.request('reset').then(() => {}, (e) => assert.match(
        e.name, /^(denied|wrong-state|busy|unsupported|failed|unknown)$/)).then(() => settled++);
    server.peers[0].reply(stream, 1 + random(stream.length));
    assert.ok(['ready', 'error', 'closing'].includes(conn.state));
    conn.stop();
    await request;
    assert.equal(settled, 1);
    assert.equal(conn.wire_reader.buffers.length, 0);
});

rounds('the link', async (random) =>
{
    const server = new Server({ caps: [1, 4, 5] }).install();
    const right = server.link_reply();
    server.link_reply = () => mutated(random, right);
    let errors = 0;
    const conn = new SpiceMainConn({ uri: 'ws://host/', password: '', power: true,
                                     onerror: () => errors++ });
    await until(() => server.peers[0] && server.peers[0].sent.length, 'connected');
    await new Promise(setImmediate);
    assert.ok(errors <= 1);
    assert.equal(errors, Number(conn.state == 'error'));
    conn.stop();
});

/* --- what is drawn ------------------------------------------------------- */

const RECT = bytes(u32(0), u32(0), u32(4), u32(4));
const context = { createImageData: (width, height) =>
    ({ width, height, data: new Uint8ClampedArray(width * height * 4) }) };

function image(type, ...parts)
{
    return bytes(u32(0), RECT, u8(0), u32(57), RECT, u16(8), u8(0), u8(0), u32(0), u32(0), u32(0),
                 u32(1), u32(0), u8(type), u8(0), u32(4), u32(4), ...parts);
}

const noise = (size) => Uint8Array.from({ length: size }, (_, i) => (i * 89 + 7) & 0xff);
const be32 = (value) => Uint8Array.from([value >>> 24, value >>> 16, value >>> 8, value]);
const DRAWN = [
    ['SpiceMsgDisplayDrawCopy', image(Constants.SPICE_IMAGE_TYPE_BITMAP, u8(8), u8(4), u32(4),
                                      u32(4), u32(16), u32(0), noise(64))],
    ['SpiceMsgDisplayDrawCopy', image(Constants.SPICE_IMAGE_TYPE_LZ_RGB, u32(92), '  ZL', be32(1),
                                      be32(8), be32(4), be32(4), be32(16), be32(1), noise(64))],
    ['SpiceMsgDisplayDrawCopy', image(Constants.SPICE_IMAGE_TYPE_QUIC, u32(84), 'QUIC', u32(0),
                                      u32(4), u32(4), u32(4), noise(64))],
    ['SpiceMsgDisplayDrawCopy', image(Constants.SPICE_IMAGE_TYPE_JPEG_ALPHA, u8(0), u32(16),
                                      u32(80), noise(16), '  ZL', be32(1), be32(9), be32(4),
                                      be32(4), be32(16), be32(1), noise(36))],
    ['SpiceMsgDisplayDrawFill', bytes(u32(0), RECT, u8(1), u32(1), RECT, u8(1), u32(0), u16(8),
                                      u8(0), u32(0), u32(0), u32(0))],
    ['SpiceMsgDisplayStreamCreate', bytes(u32(0), u32(1), u8(0), u8(1), u32(0), u32(0), u32(4),
                                          u32(4), u32(4), u32(4), RECT, u8(1), u32(1), RECT)],
    ['SpiceMsgDisplayStreamDataSized', bytes(u32(1), u32(0), u32(4), u32(4), RECT, u32(16),
                                             noise(16))],
    ['SpiceMsgDisplayInvalList', bytes(u16(1), u8(1), u32(1), u32(0))],
    ['SpiceMsgSurfaceCreate', bytes(u32(0), u32(4), u32(4), u32(32), u32(1))],
    ['SpiceMsgCursorInit', bytes(u16(1), u16(1), u16(0), u16(0), u8(1), u16(0), u32(1), u32(0),
                                 u8(0), u16(4), u16(4), u16(0), u16(0), noise(64))],
    ['SpiceMsgPortInit', bytes(u32(4), u32(9), u8(1), 'port')],
];

rounds('what is drawn', async (random) =>
{
    for (const [name, right] of DRAWN)
    {
        const data = mutated(random, right).buffer;
        try
        {
            const parsed = new Messages[name](data);
            const bitmap = parsed.data && parsed.data.src_bitmap;
            if (bitmap && bitmap.bitmap)
                convert_spice_bitmap_to_web(context, bitmap.bitmap);
            if (bitmap && bitmap.lz_rgb)
                convert_spice_lz_to_web(context, bitmap.lz_rgb);
            if (bitmap && bitmap.jpeg_alpha)
                convert_spice_lz_to_web(context, bitmap.jpeg_alpha.alpha);
            if (bitmap && bitmap.quic && bitmap.quic.outptr)
                convert_spice_quic_to_web(context, bitmap.quic);
        }
        catch (e)
        {
            /* is logged, or ends the connection; but memory must not run out */
            assert.ok(! /memory|allocation failed|Invalid array length|heap/i.test(e.message), e);
        }
    }
});
