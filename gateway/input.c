/*
 * The clients' keyboard and mouse, for the host
 *
 * SPICE has the scan codes of an XT keyboard, VNC has keysyms: what is on the
 * key. An extension of VNC has scan codes as well, but a server needs not know
 * it. So both are sent, and there must be a keyboard layout to find the
 * keysyms: that which the host is set to.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gvnc.h>
#include <string.h>
#include <xkbcommon/xkbcommon.h>

#include "input.h"
#include "vnc.h"

/* An X11 key code is that of evdev plus this */
#define EVDEV_OFFSET 8

#define SCAN_RELEASE 0x80
#define SCAN_EXTENDED 0xe0
#define SCAN_PAUSE 0xe1         /* begins a sequence of three */

/*
 * evdev's key codes of the keys with 0xe0 before; the others, up to 0x58, are
 * the scan codes
 */
static const guint8 extended_keys[0x80] = {
    [0x10] = 165, [0x19] = 163, [0x1c] = 96, [0x1d] = 97, [0x20] = 113,
    [0x21] = 140, [0x22] = 164, [0x24] = 166, [0x2e] = 114, [0x30] = 115,
    [0x32] = 172, [0x35] = 98, [0x37] = 99, [0x38] = 100, [0x46] = 119,
    [0x47] = 102, [0x48] = 103, [0x49] = 104, [0x4b] = 105, [0x4d] = 106,
    [0x4f] = 107, [0x50] = 108, [0x51] = 109, [0x52] = 110, [0x53] = 111,
    [0x5b] = 125, [0x5c] = 126, [0x5d] = 127, [0x5e] = 116, [0x5f] = 142,
    [0x63] = 143,
};
/* The same for those of Japan, Korea and Brazil */
static const struct {
    guint8 scan, key;
} more_keys[] = {
    { 0x70, 93 }, { 0x73, 89 }, { 0x79, 92 }, { 0x7b, 94 }, { 0x7d, 124 },
    { 0x7e, 121 },
};

static struct xkb_context *context;
static struct xkb_keymap *keymap;
static struct xkb_state *xkb;
/* The keys by scan code, without and with 0xe0 */
static struct KeyState {
    gboolean down;
    gboolean sent;              /* the host knows that it's down */
    guint32 keysym;             /* what it was when it was pressed */
} key_states[2][0x80];
static guint8 extended;
static int skip;                /* so many bytes belong to Pause */

static int pointer_x, pointer_y;

/* --- keyboard ------------------------------------------------------------ */

static guint key_code(guint scan, gboolean is_extended)
{
    gsize i;

    if (is_extended) {
        return extended_keys[scan];
    }
    if (scan <= 0x58) {
        return scan;
    }
    for (i = 0; i < G_N_ELEMENTS(more_keys); i++) {
        if (more_keys[i].scan == scan) {
            return more_keys[i].key;
        }
    }
    return 0;
}

static void key(guint scan, gboolean is_extended, gboolean down)
{
    struct KeyState *state = &key_states[is_extended][scan];
    guint code = key_code(scan, is_extended), vnc_scan = scan;

    if (!code) {
        return;
    }
    code += EVDEV_OFFSET;
    if (is_extended) {
        vnc_scan |= 0x80;
    }
    /* It is let go as what it was pressed, whatever other keys are now */
    if (down) {
        state->keysym = xkb_state_key_get_one_sym(xkb, code);
        state->sent = vnc_key(state->keysym, vnc_scan, TRUE) || state->sent;
    } else if (state->sent) {
        vnc_key(state->keysym, vnc_scan, FALSE);
        state->sent = FALSE;
    }
    /* A key that repeats is pressed once: xkb counts modifiers */
    if (down != state->down) {
        xkb_state_update_key(xkb, code, down ? XKB_KEY_DOWN : XKB_KEY_UP);
        state->down = down;
    }
}

static void push_scan(SpiceKbdInstance *sin, uint8_t byte)
{
    if (skip) {
        /* e1 1d 45 is Pause; it's evdev's e0 46 */
        if (--skip == 0) {
            key(0x46, TRUE, !(byte & SCAN_RELEASE));
        }
    } else if (byte == SCAN_PAUSE) {
        skip = 2;
    } else if (byte == SCAN_EXTENDED) {
        extended = byte;
    } else {
        key(byte & ~SCAN_RELEASE, extended != 0, !(byte & SCAN_RELEASE));
        extended = 0;
    }
}

static uint8_t get_leds(SpiceKbdInstance *sin)
{
    int leds = vnc_leds();

    return (leds & VNC_LEDSTATE_SCROLL_LOCK ?
            SPICE_KEYBOARD_MODIFIER_FLAGS_SCROLL_LOCK : 0) |
           (leds & VNC_LEDSTATE_NUM_LOCK ?
            SPICE_KEYBOARD_MODIFIER_FLAGS_NUM_LOCK : 0) |
           (leds & VNC_LEDSTATE_CAPS_LOCK ?
            SPICE_KEYBOARD_MODIFIER_FLAGS_CAPS_LOCK : 0);
}

static const SpiceKbdInterface kbd_interface = {
    .base.type = SPICE_INTERFACE_KEYBOARD,
    .base.description = "spice-gateway keyboard",
    .base.major_version = SPICE_INTERFACE_KEYBOARD_MAJOR,
    .base.minor_version = SPICE_INTERFACE_KEYBOARD_MINOR,
    .push_scan_freg = push_scan,
    .get_leds = get_leds,
};

static SpiceKbdInstance kbd = {
    .base.sif = &kbd_interface.base,
};

void input_leds_changed(void)
{
    spice_server_kbd_leds(&kbd, get_leds(&kbd));
}

/* --- mouse --------------------------------------------------------------- */

/* spice-server counts left, right, middle; VNC left, middle, right */
static guint8 vnc_buttons(uint32_t buttons)
{
    return (buttons & 1) | (buttons & 2) << 1 | (buttons & 4) >> 1;
}

static void tablet_set_logical_size(SpiceTabletInstance *sin, int width,
                                    int height)
{
}

static void tablet_position(SpiceTabletInstance *sin, int x, int y,
                            uint32_t buttons)
{
    pointer_x = x;
    pointer_y = y;
    vnc_pointer(x, y, vnc_buttons(buttons));
}

static void tablet_wheel(SpiceTabletInstance *sin, int wheel, uint32_t buttons)
{
    /* Up is button 4, down is 5 */
    guint8 turn = wheel < 0 ? 1 << 3 : wheel > 0 ? 1 << 4 : 0;

    vnc_pointer(pointer_x, pointer_y, vnc_buttons(buttons) | turn);
    vnc_pointer(pointer_x, pointer_y, vnc_buttons(buttons));
}

static void tablet_buttons(SpiceTabletInstance *sin, uint32_t buttons)
{
    vnc_pointer(pointer_x, pointer_y, vnc_buttons(buttons));
}

static const SpiceTabletInterface tablet_interface = {
    .base.type = SPICE_INTERFACE_TABLET,
    .base.description = "spice-gateway tablet",
    .base.major_version = SPICE_INTERFACE_TABLET_MAJOR,
    .base.minor_version = SPICE_INTERFACE_TABLET_MINOR,
    .set_logical_size = tablet_set_logical_size,
    .position = tablet_position,
    .wheel = tablet_wheel,
    .buttons = tablet_buttons,
};

static SpiceTabletInstance tablet = {
    .base.sif = &tablet_interface.base,
};

/* ------------------------------------------------------------------------- */

gboolean input_init(const MachineConfig *config, GError **error)
{
    /* "de/nodeadkeys" */
    g_auto(GStrv) layout = g_strsplit(config->keyboard_layout, "/", 2);
    const struct xkb_rule_names names = {
        .rules = "evdev",
        .model = "pc105",
        .layout = layout[0],
        .variant = layout[0] ? layout[1] : NULL,
    };

    context = xkb_context_new(XKB_CONTEXT_NO_FLAGS);
    if (context) {
        xkb_context_set_log_level(context, XKB_LOG_LEVEL_CRITICAL);
        keymap = xkb_keymap_new_from_names(context, &names,
                                           XKB_KEYMAP_COMPILE_NO_FLAGS);
    }
    if (!keymap) {
        g_set_error(error, CONFIG_ERROR, 0, "[vnc] keyboard-layout: there is no"
                    " '%s' in the package xkb-data",
                    config->keyboard_layout);
        return FALSE;
    }
    xkb = xkb_state_new(keymap);
    return TRUE;
}

void input_show(SpiceServer *server)
{
    if (!kbd.st) {
        spice_server_add_interface(server, &kbd.base);
    }
    if (!tablet.st) {
        spice_server_add_interface(server, &tablet.base);
    }
}

void input_hide(void)
{
    if (tablet.st) {
        spice_server_remove_interface(&tablet.base);
    }
    /* The last one: with it the channel goes. What is pressed is let go. */
    if (kbd.st) {
        spice_server_remove_interface(&kbd.base);
    }
    memset(key_states, 0, sizeof(key_states));
    extended = skip = 0;
    xkb_state_unref(xkb);
    xkb = xkb_state_new(keymap);
}

void input_end(void)
{
    xkb_state_unref(xkb);
    xkb_keymap_unref(keymap);
    xkb_context_unref(context);
}
