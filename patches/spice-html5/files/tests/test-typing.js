// SPDX-License-Identifier: LGPL-3.0-or-later
/* Which keys a machine is told of, for a text and for Ctrl+Alt+Del. */
import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import './browser.js';
import { Constants } from '../enums.js';
import { SpiceMainConn, sendCtrlAltDel } from '../main.js';
import { sendText } from '../typing.js';
import { Server, quiet, u32, until } from './peer.js';

quiet();

const UP = 0x80, CTRL = 0x1d, ALT = 0x38, SHIFT = 0x2a, DEL = 0x53, BACKSPACE = 0x0e, SPACE = 0x39;
const END = [SPACE, SPACE | UP, SPACE, SPACE | UP];

/* The scan codes of what a page does: a list of those that are pressed and released */
async function keys(act)
{
    const server = new Server({ script: (peer) =>
    {
        if (peer.type == Constants.SPICE_CHANNEL_MAIN)
            peer.message(Constants.SPICE_MSG_MAIN_CHANNELS_LIST, u32(1),
                         [1, Constants.SPICE_CHANNEL_INPUTS], [1, 0]);
    } });
    server.install();
    const conn = new SpiceMainConn({ uri: 'ws://host/', password: '' });
    await until(() => conn.inputs && conn.inputs.state == 'ready');
    act(conn);
    /* what is sent last comes last */
    sendText(conn, '  ');
    const codes = [];
    while (codes.slice(-4).join() != END.join())
    {
        await until(() => server.messages.length > 0);
        const { peer, type, data: [code] } = server.messages.shift();
        if (peer.type != Constants.SPICE_CHANNEL_INPUTS)
            continue;
        assert.equal(type, code & UP ? Constants.SPICE_MSGC_INPUTS_KEY_UP
                                     : Constants.SPICE_MSGC_INPUTS_KEY_DOWN);
        codes.push(code);
    }
    conn.stop();
    return codes.slice(0, -4);
}

test('Ctrl+Alt+Del, before any other key', async () =>
{
    assert.deepEqual(await keys(sendCtrlAltDel),
                     [CTRL, ALT, DEL, DEL | UP, CTRL | UP, ALT | UP]);
});

test('letters, with and without Shift, and other keys', async () =>
{
    assert.deepEqual(await keys((conn) => sendText(conn, 'aZ\n\t\b')), [
        0x1e, 0x1e | UP,
        SHIFT, 0x2c, 0x2c | UP, SHIFT | UP,
        0x1c, 0x1c | UP, 0x0f, 0x0f | UP, BACKSPACE, BACKSPACE | UP]);
});

test('each character of ASCII has a key of its own', async () =>
{
    const ascii = [...Array(95).keys()].map((i) => String.fromCharCode(i + 32));
    const codes = await keys((conn) => sendText(conn, ascii.join('\b')));
    const typed = codes.join().split(`,${BACKSPACE},${BACKSPACE | UP},`);
    assert.equal(typed.length, 95);
    assert.equal(new Set(typed).size, 95);
});

test('others are left out', async () =>
{
    assert.deepEqual(await keys((conn) => sendText(conn, '\u00e9\u{1f600}\r\0')), []);
});

test('where there is nobody to type to', () =>
{
    sendText(null, 'a');
    sendText({}, 'a');
    sendText({ inputs: { state: 'closing' } }, 'a');
});

test('typing.d.ts', async () =>
{
    const types = readFileSync(new URL('../typing.d.ts', import.meta.url), 'utf8');
    assert.deepEqual([...types.matchAll(/^export declare function (\w+)\(/gm)].map((m) => m[1]),
                     Object.keys(await import('../typing.js')));
});
