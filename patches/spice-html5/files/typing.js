// SPDX-License-Identifier: LGPL-3.0-or-later
/*----------------------------------------------------------------------------
**  typing.js
**      Text, as the keys that type it: a phone's keyboard tells a page what has
**  been typed, and mostly no keys.
**
**  A machine is told which keys are pressed, and makes characters of them by
**  itself. These are the keys of a US keyboard; with another one in the machine
**  the letters are right that are at the same places.
**--------------------------------------------------------------------------*/
import { Constants } from './enums.js';
import { KeyNames } from './atKeynames.js';
import { SpiceMiniData, SpiceMsgcKeyDown, SpiceMsgcKeyUp } from './spicemsg.js';

/* From this key on: what they type, and what with Shift */
const ROWS = [
    [KeyNames.KEY_1, '1234567890-=', '!@#$%^&*()_+'],
    [KeyNames.KEY_Q, 'qwertyuiop[]', 'QWERTYUIOP{}'],
    [KeyNames.KEY_A, 'asdfghjkl;\'`', 'ASDFGHJKL:"~'],
    [KeyNames.KEY_BSlash, '\\zxcvbnm,./', '|ZXCVBNM<>?'],
    [KeyNames.KEY_Space, ' ', ''],
    [KeyNames.KEY_Enter, '\n', ''],
    [KeyNames.KEY_Tab, '\t', ''],
    [KeyNames.KEY_BackSpace, '\b', ''],
];

function send_key(inputs, code, down)
{
    const key = down ? new SpiceMsgcKeyDown() : new SpiceMsgcKeyUp();
    const msg = new SpiceMiniData();

    key.code = down ? code : code | 0x80;
    msg.build_msg(down ? Constants.SPICE_MSGC_INPUTS_KEY_DOWN
                       : Constants.SPICE_MSGC_INPUTS_KEY_UP, key);
    inputs.send_msg(msg);
}

function type_char(inputs, char)
{
    for (const [first, plain, shifted] of ROWS)
    {
        const with_shift = shifted.includes(char);
        const at = (with_shift ? shifted : plain).indexOf(char);

        if (at == -1)
            continue;
        if (with_shift)
            send_key(inputs, KeyNames.KEY_ShiftL, true);
        send_key(inputs, first + at, true);
        send_key(inputs, first + at, false);
        if (with_shift)
            send_key(inputs, KeyNames.KEY_ShiftL, false);
    }
}

/* main is a SpiceMainConn. '\b' is Backspace; what none of these keys types is left out. */
export function sendText(main, text)
{
    const inputs = main && main.inputs;

    if (! inputs || inputs.state != 'ready')
        return;
    for (const char of text)
        type_char(inputs, char);
}
