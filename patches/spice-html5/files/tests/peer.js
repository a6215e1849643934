// SPDX-License-Identifier: LGPL-3.0-or-later
/* A SPICE server for the tests, in the process and written by hand: it says what a test has
 * it say, right or wrong. install() puts the browser's side of it in the place of
 * WebSocket. */
import { constants, generateKeyPairSync, privateDecrypt } from 'node:crypto';
import { Constants } from '../enums.js';

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
const KEY = publicKey.export({ type: 'spki', format: 'der' });

/* Bytes of [size, number] pairs, arrays of bytes, and strings */
export function bytes(...parts)
{
    const out = [];
    for (const part of parts)
    {
        if (typeof part == 'string')
            out.push(...Buffer.from(part));
        else if (part instanceof Uint8Array)
            out.push(...part);
        else
        {
            const [size, value] = part;
            for (let i = 0; i < size; i++)
                out.push(Math.floor(value / 2 ** (8 * i)) & 0xff);
        }
    }
    return Uint8Array.from(out);
}

export const u8 = (value) => [1, value];
export const u16 = (value) => [2, value];
export const u32 = (value) => [4, value];

/* Words of capability bits, as they are on the wire */
export function cap_words(bits)
{
    const words = [];
    for (const bit of bits)
    {
        while (words.length <= bit >> 5)
            words.push(0);
        words[bit >> 5] |= 1 << (bit & 31);
    }
    return words;
}

/* What a server does with the connections to it, each of which is a Peer. The methods are for
 * a test to override: script(peer) when a channel is there, message(peer, type, data) for what
 * it sends. */
export class Server
{
    constructor({ caps = [], password = '', refuse = false, script = () => {} } = {})
    {
        Object.assign(this, { caps, password, refuse, script });
        this.peers = [];            // all connections there have been
        this.messages = [];         // all that has come in: { peer, type, data }
        this.waiting = [];
    }

    /* The browser's WebSocket, connected to this server */
    install()
    {
        const server = this;
        globalThis.WebSocket = class extends Socket
        {
            constructor(uri, protocol)
            {
                super(uri, protocol);
                this.server = server.at ? server.at(uri) : server;
                queueMicrotask(() => this.begin());
            }
        };
        return this;
    }

    message(peer, type, data)
    {
    }

    /* The next message of a type, or the one that is there */
    async next(type)
    {
        for (;;)
        {
            const i = this.messages.findIndex((m) => m.type == type);
            if (i != -1)
                return this.messages.splice(i, 1)[0];
            await new Promise((resolve) => this.waiting.push(resolve));
        }
    }

    received(peer, type, data)
    {
        this.messages.push({ peer, type, data });
        this.message(peer, type, data);
        for (const resolve of this.waiting.splice(0))
            resolve();
    }

    link_reply(error = 0)
    {
        const words = cap_words(this.caps), common = cap_words([0, 3]);
        const body = bytes(u32(error), new Uint8Array(KEY), u32(common.length),
                           u32(words.length), u32(4 + KEY.length + 12),
                           ...common.map(u32), ...words.map(u32));
        return bytes('REDQ', u32(2), u32(2), u32(body.length), body);
    }
}

/* A password; null if that is not what it is, or if it was encrypted with another key */
function decrypted(data)
{
    try
    {
        return privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING }, data)
            .toString().replace(/\0.*$/s, '');
    }
    catch (e)
    {
        return null;
    }
}

class Socket extends EventTarget
{
    constructor(uri, protocol)
    {
        super();
        Object.assign(this, { url: uri, protocol, readyState: 0, binaryType: 'blob' });
        this.state = 'link';
        this.sent = [];
    }

    emit(type, extra)
    {
        this.dispatchEvent(Object.assign(new Event(type), extra));
    }

    begin()
    {
        /* closed before it was open */
        if (this.readyState >= 2)
            return;
        this.server.peers.push(this);
        if (this.server.refuse)
        {
            this.readyState = 3;
            this.emit('error');
            this.emit('close');
            return;
        }
        this.readyState = 1;
        this.emit('open');
    }

    /* --- the browser's side --- */

    send(buffer)
    {
        if (this.readyState != 1)
            return;
        const data = new Uint8Array(buffer.slice(0));
        this.sent.push(data);
        queueMicrotask(() => this.readyState == 1 && this.take(data));
    }

    close()
    {
        if (this.readyState >= 2)
            return;
        this.readyState = 2;
        queueMicrotask(() => this.end());
    }

    /* --- the server's --- */

    take(data)
    {
        const view = new DataView(data.buffer);
        if (this.state == 'link')
        {
            this.link = data;
            this.connection_id = view.getUint32(16, true);
            this.type = data[20];
            const [n_common, n_caps, at] = [22, 26, 30].map((o) => view.getUint32(o, true));
            const word = (i) => view.getUint32(16 + at + 4 * i, true);
            this.caps = [...Array(32 * n_caps).keys()].filter(
                (bit) => word(n_common + (bit >> 5)) & (1 << (bit & 31)));
            this.state = 'ticket';
            this.reply(this.server.link_reply());
        }
        else if (this.state == 'ticket')
        {
            this.ticket = decrypted(data.subarray(4));
            const good = this.ticket == this.server.password;
            this.reply(bytes(u32(good ? 0 : Constants.SPICE_LINK_ERR_PERMISSION_DENIED)));
            if (! good)
                return;
            this.state = 'ready';
            if (this.type == Constants.SPICE_CHANNEL_MAIN)
                this.message(Constants.SPICE_MSG_MAIN_INIT, u32(1234), u32(1), u32(3), u32(2),
                             u32(0), u32(10), u32(0), u32(0));
            this.server.script(this);
        }
        else
            this.server.received(this, view.getUint16(0, true), data.subarray(6));
    }

    /* Send bytes, in blocks of a size if one is given */
    reply(data, size = data.length || 1)
    {
        for (let at = 0; at < data.length && this.readyState == 1; at += size)
            this.emit('message', { data: data.slice(at, at + size).buffer });
    }

    message(type, ...parts)
    {
        const body = bytes(...parts);
        this.reply(bytes(u16(type), u32(body.length), body));
    }

    /* The connection ends */
    end()
    {
        if (this.readyState == 3)
            return;
        this.readyState = 3;
        this.emit('close');
    }
}

/* When something has become true; a time limit is only for what never does */
export async function until(what, title = String(what))
{
    const end = Date.now() + 20000;
    while (! what())
    {
        if (Date.now() > end)
            throw new Error(`never: ${title}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
    }
}

/* The library logs as it likes; a test looks at what it does */
export function quiet()
{
    console.log = console.error = () => {};
}
