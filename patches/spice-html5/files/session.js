// SPDX-License-Identifier: LGPL-3.0-or-later
/*----------------------------------------------------------------------------
**  session.js
**      A machine's console for a page that wants no more than that: connects,
**  asks for the password if there is one, follows the machine from server to
**  server, and waits for a server that has gone.  It knows nothing of a page;
**  what the machine shows is drawn into an element, if one is named.
**
**      const session = new SpiceSession({ uri, screen_id: 'screen', password });
**      session.addEventListener('change', () => { ... session.state ... });
**      session.connect();
**      session.power('reset').catch((e) => { ... e.name, e.message ... });
**
**  session.d.ts describes it all, docs/example.js shows it in another page.
**--------------------------------------------------------------------------*/
import { Constants } from './enums.js';
import { SpiceMainConn } from './main.js';
import { PowerError } from './power.js';
import { ProtocolError } from './utils.js';

/* A server that is started anew is there in a moment; the longer it takes, the longer it is
 * going to take. In ms, as all of these */
const FIRST_INTERVAL = 100;
const LAST_INTERVAL = 5000;
/* Who sends a client to another server may be a little early */
const SWITCH_TIMEOUT = 5000;
/* A server that ends session after session does not want this client, whatever the reason */
const SHORT_SESSION = 5000;
const MAX_SHORT_SESSIONS = 3;

/* Why there is no connection; message is for people to read */
export class SessionError extends Error
{
    constructor(name, message)
    {
        super(message);
        this.name = name;
    }
}

function cause_of(conn, e, opened)
{
    const denied = Constants.SPICE_LINK_ERR_PERMISSION_DENIED;

    if (e instanceof ProtocolError)
        return new SessionError('protocol',
                                `The server does not keep to the protocol: ${e.message}`);
    if (e.name == 'unsupported')
        return new SessionError('unsupported', e.message);
    if (opened)
    {
        if (conn.disconnect_reason == Constants.SPICE_LINK_ERR_REPLACED)
            return new SessionError('replaced', 'Another client has connected');
        if (conn.disconnect_reason == denied)
            return new SessionError('denied', 'The password has been changed');
        return new SessionError('ended', 'The server has ended the connection');
    }
    if (conn.auth_reply ? conn.auth_reply.auth_code == denied : conn.state == 'ticket')
        return new SessionError('denied', 'The password is wrong');
    if (conn.reply_link && conn.reply_link.error)
        return new SessionError('link',
                                `The server refuses the connection (${conn.reply_link.error})`);
    return new SessionError('refused', 'The server cannot be reached');
}

export class SpiceSession extends EventTarget
{
    #options;
    #conn = null;
    #connection = 'closed';
    #error = null;
    #name = '';
    #uuid = '';
    #password = '';
    #uri;                       // where to connect to now
    #away = null;               // where a server has sent us, if that is another URI
    #suspended = null;          // the request that the next server is asked for
    #timer = null;
    #interval = FIRST_INTERVAL;
    #opened = 0;                // when the connection was there, 0 while it is not
    #switch_until = 0;
    #again = false;             // this is not the first connection to this server
    #short_sessions = 0;
    #attempts = 0;              // passwords that were asked for
    #generation = 0;            // of connect() and close()

    constructor(options)
    {
        super();
        this.#options = { reconnect: true, ...options };
        if (typeof this.#options.password == 'string')
            this.#password = this.#options.password;
    }

    get connection() { return this.#connection; }
    get error() { return this.#error; }
    get name() { return this.#name; }
    get uuid() { return this.#uuid; }
    get main() { return this.#opened ? this.#conn : null; }

    get available() { return this.#power ? this.#power.available : false; }
    get state() { return this.#power ? this.#power.state : 'unknown'; }
    get configured() { return this.#power ? this.#power.configured : []; }
    get allowed() { return this.#power ? this.#power.allowed : []; }
    get possible() { return this.#power ? this.#power.possible : []; }

    get pending()
    {
        return this.#suspended ? this.#suspended.action : this.#power && this.#power.pending;
    }

    power(action)
    {
        if (this.#suspended)
            return Promise.reject(new PowerError('busy', 'Another request is being carried out'));
        if (! this.#power)
            return Promise.reject(new PowerError('not-sent',
                                                 'There is no connection to the server'));
        return this.#power.request(action);
    }

    connect()
    {
        if (this.#connection == 'connecting' || this.#connection == 'connected')
            return;
        this.#reset();
        this.#uri = this.#options.uri;
        this.#away = null;
        this.#again = false;
        this.#interval = FIRST_INTERVAL;
        this.#switch_until = this.#short_sessions = this.#attempts = 0;
        this.#set('connecting');
        this.#open();
    }

    close()
    {
        this.#reset();
        this.#set('closed');
    }

    get #power()
    {
        return this.#opened && this.#conn ? this.#conn.power : null;
    }

    #reset()
    {
        this.#generation++;
        clearTimeout(this.#timer);
        this.#drop();
        this.#give_up();
    }

    #set(connection, error = null)
    {
        this.#connection = connection;
        this.#error = error;
        this.#changed();
    }

    #changed()
    {
        this.dispatchEvent(new Event('change'));
    }

    #open()
    {
        const { screen_id, message_id, control_only, onagent, take_focus } = this.#options;
        let conn;

        const mine = (handler) => (...args) => { if (conn === this.#conn) handler(...args); };
        try
        {
            conn = new SpiceMainConn({
                uri: this.#uri, password: this.#password, power: true,
                screen_id, message_id, control_only, onagent, take_focus,
                onsuccess: mine(() => this.#ready()),
                onerror: mine((e) => this.#failed(e)),
                onname: mine((name, uuid) => this.#named(name, uuid)),
                onswitchhost: mine((where) => this.#switch(where)),
            });
        }
        catch (e)
        {
            /* no URI of a WebSocket, or one that the page may not open */
            this.#lose(new SessionError('refused', e.message));
            return;
        }
        this.#conn = conn;
        conn.power.addEventListener('change', mine(() => this.#power_changed()));
    }

    #drop()
    {
        const conn = this.#conn;

        this.#conn = null;
        this.#opened = 0;
        if (conn)
            conn.stop();
    }

    #give_up()
    {
        const request = this.#suspended;

        this.#suspended = null;
        if (request)
            request.reject(new PowerError('not-sent', 'There is no connection to the server'));
    }

    #lose(error)
    {
        this.#reset();
        this.#set('lost', error);
    }

    #ready()
    {
        this.#opened = Date.now();
        this.#switch_until = this.#attempts = 0;
        if (this.#suspended && ! this.#conn.has_channel_cap(Constants.SPICE_MAIN_CAP_POWER_CONTROL))
            this.#give_up();
        this.#set('connected');
    }

    #power_changed()
    {
        const request = this.#suspended;

        if (request && this.available)
        {
            this.#suspended = null;
            this.#conn.power.resume(request);
        }
        this.#changed();
    }

    #named(name, uuid)
    {
        /* what is typed must not go to a machine that has come to have the same address */
        if (this.#again && uuid && this.#uuid && uuid != this.#uuid)
        {
            this.#lose(new SessionError('other-machine',
                                        'The server that is back is that of another machine'));
            return;
        }
        this.#name = name || this.#name;
        this.#uuid = uuid || (this.#again ? this.#uuid : '');
        this.#changed();
    }

    #failed(e)
    {
        const opened = this.#opened;
        const error = cause_of(this.#conn, e, opened);

        this.#drop();
        if (error.name == 'denied' && ! opened && typeof this.#options.password == 'function')
            this.#ask();
        else if (error.name == 'ended' && this.#options.reconnect)
            this.#wait(opened, error);
        else if (error.name == 'refused' && (Date.now() < this.#switch_until ||
                                             this.#connection == 'waiting'))
            this.#retry(error);
        else
            this.#lose(error);
    }

    /* The server that was there has gone */
    #wait(opened, error)
    {
        if (Date.now() - opened >= SHORT_SESSION)
        {
            this.#short_sessions = 0;
            this.#interval = FIRST_INTERVAL;
        }
        else if (++this.#short_sessions >= MAX_SHORT_SESSIONS)
        {
            this.#lose(new SessionError('ended', 'The server ends each connection soon after it ' +
                                                 'has begun'));
            return;
        }
        this.#again = true;
        this.#retry(error);
    }

    #retry(error)
    {
        if (! this.#options.reconnect && Date.now() >= this.#switch_until)
        {
            this.#lose(error);
            return;
        }
        /* either of the two servers may be the one that comes; the one that we were sent to
         * is to be there soon */
        if (this.#away && Date.now() >= this.#switch_until)
            this.#uri = this.#uri == this.#away ? this.#options.uri : this.#away;
        this.#set('waiting', error);
        this.#later(this.#interval);
    }

    #later(interval)
    {
        const generation = this.#generation;

        /* who waits for the same server does not come at the same time */
        this.#timer = setTimeout(() => generation == this.#generation && this.#open(),
                                 interval * (0.8 + 0.2 * Math.random()));
        this.#interval = Math.min(this.#interval * 1.5, LAST_INTERVAL);
    }

    async #ask()
    {
        const generation = this.#generation;
        let password;

        this.#attempts++;
        try
        {
            password = await this.#options.password({ attempt: this.#attempts });
        }
        catch (e)
        {
            password = null;
        }
        if (generation != this.#generation)
            return;
        if (typeof password != 'string')
        {
            this.#lose(new SessionError('cancelled', 'The server wants a password'));
            return;
        }
        this.#password = password;
        this.#open();
    }

    /* The server sends us to another one */
    #switch(where)
    {
        const lasted = Date.now() - this.#opened;
        const request = this.#conn.power.suspend();
        const uri = (this.#options.onswitchhost && this.#options.onswitchhost(where)) || this.#uri;

        this.#drop();
        this.#suspended = request;
        this.#away = uri != this.#options.uri ? uri : null;
        this.#uri = uri;
        this.#again = false;
        this.#switch_until = Date.now() + SWITCH_TIMEOUT;
        if (lasted >= SHORT_SESSION)
            this.#interval = FIRST_INTERVAL;
        this.#set('connecting');
        /* where all go through one address it may not know yet who is to be there, and we
         * are sent on again: that must not take all of the processor */
        this.#later(lasted >= SHORT_SESSION ? 0 : this.#interval);
    }
}
