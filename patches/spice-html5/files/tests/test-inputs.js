// SPDX-License-Identifier: LGPL-3.0-or-later
/* Where the mouse is. */
import test from 'node:test';
import assert from 'node:assert/strict';
import './browser.js';
import * as Messages from '../spicemsg.js';

const event = (offsetX, offsetY, clientWidth, clientHeight) =>
    ({ offsetX, offsetY, target: { width: 1024, height: 768, clientWidth, clientHeight } });

test('a screen as large as the guest\'s', () =>
{
    const { x, y } = new Messages.SpiceMsgcMousePosition({}, event(1023, 5, 1024, 768));
    assert.deepEqual([x, y], [1023, 5]);
});

test('a smaller one', () =>
{
    const sc = {};
    let { x, y } = new Messages.SpiceMsgcMousePosition(sc, event(255.5, 191, 256, 192));
    assert.deepEqual([x, y], [1022, 764]);
    ({ x, y } = new Messages.SpiceMsgcMouseMotion(sc, event(256 / 2, 192 / 2, 256, 192)));
    assert.deepEqual([x, y], [512 - 1022, 384 - 764]);
    assert.deepEqual(sc, { mousex: 512, mousey: 384 });
});
