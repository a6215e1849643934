// SPDX-License-Identifier: LGPL-3.0-or-later

export type PowerAction = 'reset' | 'power-off' | 'power-on' | 'pause' | 'continue';

export type PowerState = 'unknown' | 'off' | 'on' | 'paused' | 'suspended' | 'crashed';

/** A result other than OK; "unknown": nobody can tell whether it was carried out. */
export type PowerErrorName =
    'denied' | 'wrong-state' | 'busy' | 'unsupported' | 'failed' | 'not-sent' | 'unknown';

export declare class PowerError extends Error {
    constructor(name: PowerErrorName, message: string);
    name: PowerErrorName;
}

/** The power of a machine; "change" is dispatched when any property may have changed. */
export declare class SpicePower extends EventTarget {
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
    /** Rejects with a PowerError. */
    request(action: PowerAction): Promise<{ message: string }>;
}
