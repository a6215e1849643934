// SPDX-License-Identifier: LGPL-3.0-or-later

import { PowerAction, PowerState } from './power';
export { PowerAction, PowerState, PowerError, PowerErrorName } from './power';

export interface SessionOptions {
    /** Of the WebSocket. */
    uri: string;
    /**
     * A function is called when the server wants a password, and again if that is wrong; null:
     * do not connect.
     */
    password?: string | ((question: { attempt: number }) => Promise<string | null>);
    /** The id of an element into which the screen is drawn. */
    screen_id?: string;
    /** The id of an element for messages to those who look for a fault. */
    message_id?: string;
    /** Only power control: no screen, and nobody else is disturbed. */
    control_only?: boolean;
    /** Whether the screen takes the keyboard's focus when it appears; true by default. */
    take_focus?: boolean;
    /** Wait for a server that has gone; true by default. */
    reconnect?: boolean;
    /**
     * The server sends its clients to another one: the URI of a WebSocket to that. By
     * default it is the same URI, behind which a proxy knows where the machine is.
     */
    onswitchhost?: (where: { host: string, port: number, tlsPort: number }) => string | undefined;
    onagent?: (main: object) => void;
}

/**
 * Why there is no connection. "replaced": another client has connected; "ended": by the server,
 * without a reason; "cancelled": no password was given.
 */
export type SessionErrorName = 'refused' | 'link' | 'denied' | 'cancelled' | 'unsupported' |
    'protocol' | 'replaced' | 'ended' | 'other-machine';

export declare class SessionError extends Error {
    constructor(name: SessionErrorName, message: string);
    name: SessionErrorName;
}

/** A machine's console; "change" is dispatched when any property may have changed. */
export declare class SpiceSession extends EventTarget {
    constructor(options: SessionOptions);
    /** "waiting": connects again by itself; "lost": does not. */
    readonly connection: 'closed' | 'connecting' | 'connected' | 'waiting' | 'lost';
    /** Why it is waiting or lost. */
    readonly error: SessionError | null;
    /** The machine's, empty until it is known. */
    readonly name: string;
    readonly uuid: string;
    /** The main channel while there is a connection, for sendCtrlAltDel() of main.js. */
    readonly main: object | null;
    /** Whether the server has power control, and has told the state. */
    readonly available: boolean;
    readonly state: PowerState;
    /** What the server does at most. */
    readonly configured: readonly PowerAction[];
    /** What this client may ask for: show buttons for these. */
    readonly allowed: readonly PowerAction[];
    /** What of it is possible now: enable these. */
    readonly possible: readonly PowerAction[];
    /** The action that has no result yet. */
    readonly pending: PowerAction | null;
    /** Fulfilled when the action was carried out; rejects with a PowerError. */
    power(action: PowerAction): Promise<{ message: string }>;
    connect(): void;
    close(): void;
}
