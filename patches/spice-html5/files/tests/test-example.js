// SPDX-License-Identifier: LGPL-3.0-or-later
/* docs/example.js, loaded as it is: what it shows is what the documentation says. */
import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import './browser.js';
import { Constants } from '../enums.js';
import { Server, bytes, quiet, u32, u8, until } from './peer.js';

quiet();

test('the example', async () =>
{
    const html = readFileSync(new URL('../docs/example.html', import.meta.url), 'utf8');
    const elements = Object.fromEntries([...html.matchAll(/id="([^"]+)"/g)].map(
        ([, id]) => [id, { hidden: html.includes(`id="${id}" hidden`) }]));
    const alerts = [], answers = [Constants.SPICE_POWER_RESULT_OK, Constants.SPICE_POWER_RESULT_DENIED];
    const server = new Server({ caps: [1, 4, 5, 7], password: 'secret', script: (peer) =>
    {
        peer.message(Constants.SPICE_MSG_MAIN_NAME, u32(4), 'vm1\0');
        peer.message(Constants.SPICE_MSG_MAIN_POWER_STATE, u8(2), u32(5), u32(1));
    } }).install();
    server.message = (peer, type, data) => type >= 113 && peer.message(
        Constants.SPICE_MSG_MAIN_POWER_RESULT, data, u8(answers.shift()), u32(2), bytes('no'));
    Object.assign(globalThis, {
        document: { getElementById: (id) => elements[id] },
        location: { host: 'host' },
        prompt: () => 'secret', confirm: () => true, alert: (text) => alerts.push(text),
    });
    await import('../docs/example.js');

    const { state, reset } = elements;
    await until(() => state.textContent == 'vm1: on' && ! reset.hidden);
    assert.equal(server.peers[0].url, 'wss://host/machines/vm1');
    assert.equal(reset.disabled, false);
    assert.deepEqual([elements['power-on'].hidden, elements['power-on'].disabled], [false, true]);
    await reset.onclick();
    assert.deepEqual(alerts, []);
    await reset.onclick();
    assert.deepEqual(alerts, ['no']);
    server.peers.at(-1).message(Constants.SPICE_MSG_DISCONNECTING, u32(0), u32(0), u32(10));
    server.peers.at(-1).end();
    assert.equal(state.textContent, 'Another client has connected');
    assert.ok(reset.hidden);
});
