// SPDX-License-Identifier: LGPL-3.0-or-later
/*----------------------------------------------------------------------------
**  power.js
**      The power of the machine: reset, power off, power on, pause, continue.
**  SpiceMainConn makes one if it is given { power: true }.  It knows nothing
**  of a page.
**
**      conn.power.addEventListener('change', () => {
**          show(conn.power.state);
**          button.hidden = !conn.power.allowed.includes('reset');
**          button.disabled = !conn.power.possible.includes('reset');
**      });
**      conn.power.request('reset').then(..., (e) => show(e.name, e.message));
**--------------------------------------------------------------------------*/
import { Constants } from './enums.js';
import { SpiceMiniData, SpiceMsgcMainPowerRequest } from './spicemsg.js';

/* In the order of the protocol's bits */
const ACTIONS = [
    { name: 'reset', flag: Constants.SPICE_POWER_ACTION_RESET,
      cap: Constants.SPICE_MAIN_CAP_POWER_RESET, msg: Constants.SPICE_MSGC_MAIN_POWER_RESET },
    { name: 'power-off', flag: Constants.SPICE_POWER_ACTION_OFF,
      cap: Constants.SPICE_MAIN_CAP_POWER_OFF, msg: Constants.SPICE_MSGC_MAIN_POWER_OFF },
    { name: 'power-on', flag: Constants.SPICE_POWER_ACTION_ON,
      cap: Constants.SPICE_MAIN_CAP_POWER_ON, msg: Constants.SPICE_MSGC_MAIN_POWER_ON },
    { name: 'pause', flag: Constants.SPICE_POWER_ACTION_PAUSE,
      cap: Constants.SPICE_MAIN_CAP_POWER_PAUSE, msg: Constants.SPICE_MSGC_MAIN_POWER_PAUSE },
    { name: 'continue', flag: Constants.SPICE_POWER_ACTION_CONTINUE,
      cap: Constants.SPICE_MAIN_CAP_POWER_CONTINUE, msg: Constants.SPICE_MSGC_MAIN_POWER_CONTINUE },
];

/* By the protocol's numbers */
const STATES = ['unknown', 'off', 'on', 'paused', 'suspended', 'crashed'];
const RESULTS = ['ok', 'denied', 'wrong-state', 'busy', 'unsupported', 'failed'];

/* For results to which the server says nothing */
const TEXTS = {
    'denied': 'The server does not allow this action',
    'wrong-state': 'The action is not possible in the current state',
    'busy': 'Another request is being carried out',
    'unsupported': 'The machine does not support this action',
    'failed': 'The action failed',
};

/* Why an action was not carried out: name is the result, "not-sent", or "unknown" if nobody
 * can tell whether it was; message is for people to read, and may be the server's. */
export class PowerError extends Error
{
    constructor(name, message)
    {
        super(message);
        this.name = name;
    }
}

function names_of(flags)
{
    return Object.freeze(ACTIONS.filter((a) => flags & a.flag).map((a) => a.name));
}

/* What the server has to say about a result, '' if that is nothing or can't be right */
function text_of(msg)
{
    if (msg.message_len > Constants.SPICE_POWER_MESSAGE_MAX || msg.message.includes(0))
        return '';
    try
    {
        return new TextDecoder('utf-8', { fatal: true }).decode(msg.message);
    }
    catch (e)
    {
        return '';
    }
}

export class SpicePower extends EventTarget
{
    #conn;
    #told = null;           // the last SpiceMsgMainPowerState
    #request = null;        // { action, resolve, reject } of the one that has no result yet
    #request_id = 0;        // of the last request
    #ended = false;

    constructor(conn)
    {
        super();
        this.#conn = conn;
    }

    /* Whether the server has told the power state, as one does that has power control */
    get available()
    {
        return this.#told !== null;
    }

    get state()
    {
        return (this.#told && STATES[this.#told.state]) || 'unknown';
    }

    /* What the server does at most; it carries out no other action, whatever it says */
    get configured()
    {
        return names_of(this.#configured());
    }

    /* What this client may ask for: buttons for these */
    get allowed()
    {
        return names_of(this.#allowed());
    }

    /* And what of it is possible now: these are enabled */
    get possible()
    {
        return names_of(this.#told ? this.#told.possible & this.#allowed() : 0);
    }

    /* The action that has no result yet, or null */
    get pending()
    {
        return this.#request && this.#request.action;
    }

    /* Have the server carry an action out. The state that shows its effect is told before the
     * promise is fulfilled; it is rejected with a PowerError. */
    request(action)
    {
        return new Promise((resolve, reject) => this.resume({ action, resolve, reject }));
    }

    /* Ask for what suspend() has returned */
    resume(request)
    {
        const { action, reject } = request;
        const known = ACTIONS.find((a) => a.name == action);

        if (! known)
            reject(new TypeError(`${action} is not an action`));
        else if (this.#ended || this.#conn.state != 'ready')
            reject(new PowerError('not-sent', 'There is no connection to the server'));
        else if (! this.#conn.has_channel_cap(Constants.SPICE_MAIN_CAP_POWER_CONTROL))
            reject(new PowerError('unsupported', 'The server has no power control'));
        else if (this.#request)
            reject(new PowerError('busy', TEXTS.busy));
        else
        {
            const msg = new SpiceMiniData();

            this.#request = request;
            this.#request_id = (this.#request_id + 1) >>> 0;
            msg.build_msg(known.msg, new SpiceMsgcMainPowerRequest(this.#request_id));
            this.#conn.send_msg(msg);
            this.#changed();
        }
    }

    /* The server sends its clients elsewhere: what it has not answered by then it has not
     * begun, and the next server can be asked. Returns that request, or null. */
    suspend()
    {
        const request = this.#request;

        this.#request = null;
        return request;
    }

    handle_state(msg)
    {
        this.#told = msg;
        this.#changed();
    }

    handle_result(msg)
    {
        const request = this.#request;

        /* of a request that was not made, or of one that was given up */
        if (! request || msg.request_id != this.#request_id)
            return;

        const name = RESULTS[msg.result] || 'failed';
        const text = text_of(msg);
        this.#request = null;
        this.#changed();
        if (name == 'ok')
            request.resolve({ message: text });
        else
            request.reject(new PowerError(
                name, text || (RESULTS[msg.result] ? TEXTS[name]
                                                   : 'The server sent an unknown result')));
    }

    /* The connection has ended */
    end()
    {
        const request = this.suspend();

        if (this.#ended)
            return;
        this.#ended = true;
        this.#told = null;
        if (request)
            request.reject(new PowerError('unknown',
                                          'The connection ended before the result'));
        this.#changed();
    }

    #configured()
    {
        if (! this.#conn.has_channel_cap(Constants.SPICE_MAIN_CAP_POWER_CONTROL))
            return 0;
        return ACTIONS.filter((a) => this.#conn.has_channel_cap(a.cap))
                      .reduce((flags, a) => flags | a.flag, 0);
    }

    #allowed()
    {
        return this.#told ? this.#told.allowed & this.#configured() : 0;
    }

    #changed()
    {
        this.dispatchEvent(new Event('change'));
    }
}
