// SPDX-License-Identifier: LGPL-3.0-or-later
import { SpiceSession } from '../session.js';

const $ = (id) => document.getElementById(id);
const session = new SpiceSession({
    uri: `wss://${location.host}/machines/vm1`,
    screen_id: 'screen',
    password: async () => prompt('Password'),
});

session.addEventListener('change', () =>
{
    $('state').textContent = session.error ? session.error.message
                                           : `${session.name}: ${session.state}`;
    for (const action of ['reset', 'power-on'])
    {
        $(action).hidden = ! session.allowed.includes(action);
        $(action).disabled = session.pending || ! session.possible.includes(action);
    }
});
$('reset').onclick = () => confirm('Unsaved work will be lost.') &&
                           session.power('reset').catch((e) => alert(e.message));
$('power-on').onclick = () => session.power('power-on').catch((e) => alert(e.message));
session.connect();
