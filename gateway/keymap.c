/*
 * What is on the keys of a keyboard: a layout, and which modifiers are on
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <xkbcommon/xkbcommon.h>

#include "config.h"
#include "keymap.h"
#include "scancodes.h"

/* An X11 key code is that of evdev plus this */
#define EVDEV_OFFSET 8

struct Keymap {
    struct xkb_keymap *layout;
    struct xkb_state *state;
    struct {
        gboolean down;
        guint32 keysym;         /* what it was when it was pressed */
    } keys[0x100];              /* by scan code */
};

Keymap *keymap_new(const char *layout, GError **error)
{
    g_auto(GStrv) words = g_strsplit(layout, "/", 2);
    const struct xkb_rule_names names = {
        .rules = "evdev",
        .model = "pc105",
        .layout = words[0],
        .variant = words[0] ? words[1] : NULL,
    };
    struct xkb_context *context = xkb_context_new(XKB_CONTEXT_NO_FLAGS);
    struct xkb_keymap *found = NULL;
    Keymap *keymap;

    if (context) {
        xkb_context_set_log_level(context, XKB_LOG_LEVEL_CRITICAL);
        found = xkb_keymap_new_from_names(context, &names,
                                          XKB_KEYMAP_COMPILE_NO_FLAGS);
    }
    xkb_context_unref(context); /* the layout has a reference */
    if (!found) {
        g_set_error(error, CONFIG_ERROR, 0, "[vnc] keyboard-layout: there is no"
                    " '%s' in the package xkb-data", layout);
        return NULL;
    }
    keymap = g_new0(Keymap, 1);
    keymap->layout = found;
    keymap->state = xkb_state_new(found);
    return keymap;
}

guint32 keymap_key(Keymap *keymap, guint8 scancode, gboolean down)
{
    guint code = scancode_to_evdev(scancode);

    if (!code) {
        return 0;
    }
    code += EVDEV_OFFSET;
    if (down) {
        keymap->keys[scancode].keysym =
            xkb_state_key_get_one_sym(keymap->state, code);
    }
    /* A key that repeats is pressed once: xkb counts modifiers */
    if (down != keymap->keys[scancode].down) {
        xkb_state_update_key(keymap->state, code,
                             down ? XKB_KEY_DOWN : XKB_KEY_UP);
        keymap->keys[scancode].down = down;
    }
    return keymap->keys[scancode].keysym;
}

void keymap_free(Keymap *keymap)
{
    if (keymap) {
        xkb_state_unref(keymap->state);
        xkb_keymap_unref(keymap->layout);
        g_free(keymap);
    }
}
