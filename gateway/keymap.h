/*
 * What is on the keys of a keyboard: a layout, and which modifiers are on
 *
 * For sources that want keysyms. SPICE has scan codes, so there must be a
 * layout to find the keysyms: that which the machine is set to.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_KEYMAP_H
#define GATEWAY_KEYMAP_H

#include <glib.h>

typedef struct Keymap Keymap;

/*
 * @layout is a name of the package xkb-data, "de/nodeadkeys".
 *
 * Returns: NULL and @error if there is no such layout
 */
Keymap *keymap_new(const char *layout, GError **error);

/*
 * A key goes down, or repeats, or goes up; @scancode is one of scancodes.h.
 *
 * Returns: its keysym. When it goes up that is the one that it went down as,
 * whatever other keys are now; 0 if there is no such key.
 */
guint32 keymap_key(Keymap *keymap, guint8 scancode, gboolean down);

void keymap_free(Keymap *keymap);

#endif
