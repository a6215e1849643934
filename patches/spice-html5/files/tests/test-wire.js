// SPDX-License-Identifier: LGPL-3.0-or-later
/* What the reader makes of blocks that end anywhere. */
import test from 'node:test';
import assert from 'node:assert/strict';
import { SpiceWireReader } from '../wire.js';

/* A reader of packets, each with its length in one byte before it */
function reader()
{
    const ws = new EventTarget();
    const packets = [];
    const wire = new SpiceWireReader({ ws }, function(mb, header)
    {
        const bytes = new Uint8Array(mb);
        if (header === undefined)
        {
            wire.request(bytes[0]);
            wire.save_header(bytes[0]);
        }
        else
        {
            packets.push(Array.from(bytes));
            wire.request(1);
            wire.clear_header();
        }
    });
    wire.request(1);
    return { wire, packets };
}

const PACKETS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], [12, 13]];
const STREAM = Uint8Array.from(PACKETS.flatMap((p) => [p.length, ...p]));

test('blocks of any size', () =>
{
    for (let size = 1; size <= STREAM.length; size++)
    {
        const { wire, packets } = reader();
        for (let at = 0; at < STREAM.length; at += size)
            wire.inbound(STREAM.slice(at, at + size).buffer);
        assert.deepEqual(packets, PACKETS, `blocks of ${size}`);
        assert.equal(wire.available, 0);
        assert.equal(wire.buffers.length, 0);
    }
});

test('what comes before it is asked for is kept', () =>
{
    const { wire, packets } = reader();
    wire.request(0);
    wire.inbound(STREAM.slice(0, 6).buffer);
    assert.deepEqual(packets, []);
    wire.request(1);
    wire.inbound(STREAM.slice(6).buffer);
    assert.deepEqual(packets, PACKETS);
});

test('nothing after stop', () =>
{
    const { wire, packets } = reader();
    wire.callback = () => wire.stop();
    wire.inbound(STREAM.buffer);
    wire.inbound(STREAM.buffer);
    assert.deepEqual(packets, []);
    assert.deepEqual(wire.buffers, []);
});

/* Twice as much takes twice as long. Copying all that is there for each block, or for
 * each message, would take minutes. */
test('a large message in small blocks, small messages in a large block', () =>
{
    const ws = new EventTarget();
    let got = 0;
    const wire = new SpiceWireReader({ ws }, (mb) => { got += mb.byteLength; });
    const size = 4 << 20, block = new ArrayBuffer(16);
    wire.request(size);
    for (let at = 0; at < size; at += 16)
        wire.inbound(block);
    assert.equal(got, size);
    wire.request(16);
    wire.inbound(new ArrayBuffer(size));
    assert.equal(got, 2 * size);
});
