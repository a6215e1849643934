// SPDX-License-Identifier: LGPL-3.0-or-later

/**
 * Type text on the machine, by the keys of a US keyboard; "\b" is Backspace. What none of these
 * keys types is left out. main is that of a SpiceSession.
 */
export declare function sendText(main: object | null, text: string): void;
