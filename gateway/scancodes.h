/*
 * The scan codes of an XT keyboard, which SPICE clients send
 *
 * A scan code is one byte here, a "qnum": what a key without a prefix sends is
 * below 0x80, and 0x80 is added to that of a key with 0xe0 before.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_SCANCODES_H
#define GATEWAY_SCANCODES_H

#include <glib.h>

/* That has no scan code of one byte: it's evdev's e0 46 */
#define SCANCODE_PAUSE 0xc6

/* Where in a sequence of bytes we are; zeros to begin with */
typedef struct ScanDecoder {
    guint8 prefix;
    int skip;                   /* so many bytes belong to Pause */
} ScanDecoder;

/* Returns: FALSE if @byte is not the last one of a key */
gboolean scan_decode(ScanDecoder *decoder, guint8 byte, guint8 *scancode,
                     gboolean *down);

/* Returns: evdev's key code, or 0 if there is no such key */
guint scancode_to_evdev(guint8 scancode);

#endif
