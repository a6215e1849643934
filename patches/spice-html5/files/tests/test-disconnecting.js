// SPDX-License-Identifier: LGPL-3.0-or-later
/* Why the server has disconnected. */
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

for (const [reason, text] of [[Constants.SPICE_LINK_ERR_REPLACED, /Another client/],
                              [Constants.SPICE_LINK_ERR_PERMISSION_DENIED, /password/],
                              [99, /Unexpected close/]])
{
    test(`disconnected because of ${reason}`, async () =>
    {
        const errors = [];
        const conn = connect(new Server({ script: (peer) =>
        {
            peer.message(Constants.SPICE_MSG_DISCONNECTING, u32(0), u32(0), u32(reason));
            peer.end();
        } }), { onerror: (e) => errors.push(e) });
        await until(() => errors.length > 0);
        assert.match(errors[0].message, text);
        assert.equal(conn.disconnect_reason, reason);
        conn.stop();
    });
}
