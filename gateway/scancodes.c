/*
 * The scan codes of an XT keyboard, which SPICE clients send
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "scancodes.h"

#define RELEASE      0x80       /* in a byte that was sent */
#define EXTENDED     0x80       /* in a scan code of ours */
#define PREFIX       0xe0
#define PREFIX_PAUSE 0xe1       /* begins a sequence of three */

/* The last of those that are evdev's key codes as they are */
#define LAST_SAME    0x58

/* evdev's key codes of the keys with 0xe0 before */
static const guint8 extended_keys[0x80] = {
    [0x10] = 165, [0x19] = 163, [0x1c] = 96, [0x1d] = 97, [0x20] = 113,
    [0x21] = 140, [0x22] = 164, [0x24] = 166, [0x2e] = 114, [0x30] = 115,
    [0x32] = 172, [0x35] = 98, [0x37] = 99, [0x38] = 100, [0x46] = 119,
    [0x47] = 102, [0x48] = 103, [0x49] = 104, [0x4b] = 105, [0x4d] = 106,
    [0x4f] = 107, [0x50] = 108, [0x51] = 109, [0x52] = 110, [0x53] = 111,
    [0x5b] = 125, [0x5c] = 126, [0x5d] = 127, [0x5e] = 116, [0x5f] = 142,
    [0x63] = 143,
};
/* Those of the keys of Japan, Korea and Brazil */
static const guint8 more_keys[0x80] = {
    [0x70] = 93, [0x73] = 89, [0x79] = 92, [0x7b] = 94, [0x7d] = 124,
    [0x7e] = 121,
};

gboolean scan_decode(ScanDecoder *decoder, guint8 byte, guint8 *scancode,
                     gboolean *down)
{
    if (decoder->skip) {
        /* e1 1d 45 is Pause */
        if (--decoder->skip) {
            return FALSE;
        }
        *scancode = SCANCODE_PAUSE;
    } else if (byte == PREFIX_PAUSE) {
        decoder->skip = 2;
        return FALSE;
    } else if (byte == PREFIX) {
        decoder->prefix = byte;
        return FALSE;
    } else {
        *scancode = (byte & ~RELEASE) | (decoder->prefix ? EXTENDED : 0);
        decoder->prefix = 0;
    }
    *down = !(byte & RELEASE);
    return TRUE;
}

guint scancode_to_evdev(guint8 scancode)
{
    if (scancode & EXTENDED) {
        return extended_keys[scancode & ~EXTENDED];
    }
    return scancode <= LAST_SAME ? scancode : more_keys[scancode];
}
