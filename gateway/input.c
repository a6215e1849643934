/*
 * The clients' keyboard and mouse, for a machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <spice/macros.h>

#include "input.h"
#include "scancodes.h"

struct Input {
    SpiceKbdInstance kbd;
    /* One of these, as long as the keyboard is there */
    SpiceTabletInstance tablet;
    SpiceMouseInstance mouse;
    gboolean is_shown, is_relative;
    SpiceServer *server;
    Source *source;             /* NULL: it's never shown */
    ScanDecoder decoder;
    guint8 leds;
    int x, y;                   /* of the pointer */
};

/* --- keyboard ------------------------------------------------------------ */

static void push_scan(SpiceKbdInstance *sin, uint8_t byte)
{
    Input *input = SPICE_CONTAINEROF(sin, Input, kbd);
    guint8 scancode;
    gboolean down;

    if (scan_decode(&input->decoder, byte, &scancode, &down)) {
        input->source->methods->key(input->source, scancode, down);
    }
}

static uint8_t get_leds(SpiceKbdInstance *sin)
{
    return SPICE_CONTAINEROF(sin, Input, kbd)->leds;
}

void input_set_leds(Input *input, guint8 leds)
{
    input->leds = leds;
    if (input->kbd.st) {
        spice_server_kbd_leds(&input->kbd, leds);
    }
}

/* --- pointing ------------------------------------------------------------ */

/* spice-server counts left, right, middle */
static guint8 source_buttons(uint32_t buttons)
{
    return (buttons & 1 ? SOURCE_BUTTON_LEFT : 0) |
           (buttons & 2 ? SOURCE_BUTTON_RIGHT : 0) |
           (buttons & 4 ? SOURCE_BUTTON_MIDDLE : 0);
}

/* A wheel's turn is a button that is pressed and let go */
static guint8 source_wheel(int wheel)
{
    return wheel < 0 ? SOURCE_BUTTON_UP : wheel > 0 ? SOURCE_BUTTON_DOWN : 0;
}

static void send_pointer(Input *input, guint8 buttons)
{
    input->source->methods->pointer(input->source, input->x, input->y,
                                    buttons);
}

static void tablet_set_logical_size(SpiceTabletInstance *sin, int width,
                                    int height)
{
}

static void tablet_position(SpiceTabletInstance *sin, int x, int y,
                            uint32_t buttons)
{
    Input *input = SPICE_CONTAINEROF(sin, Input, tablet);

    input->x = x;
    input->y = y;
    send_pointer(input, source_buttons(buttons));
}

static void tablet_wheel(SpiceTabletInstance *sin, int wheel, uint32_t buttons)
{
    Input *input = SPICE_CONTAINEROF(sin, Input, tablet);

    send_pointer(input, source_buttons(buttons) | source_wheel(wheel));
    send_pointer(input, source_buttons(buttons));
}

static void tablet_buttons(SpiceTabletInstance *sin, uint32_t buttons)
{
    send_pointer(SPICE_CONTAINEROF(sin, Input, tablet),
                 source_buttons(buttons));
}

static void mouse_motion(SpiceMouseInstance *sin, int dx, int dy, int wheel,
                         uint32_t buttons)
{
    Source *source = SPICE_CONTAINEROF(sin, Input, mouse)->source;
    guint8 pressed = source_buttons(buttons);

    if (wheel) {
        source->methods->motion(source, 0, 0, pressed | source_wheel(wheel));
    }
    source->methods->motion(source, dx, dy, pressed);
}

static void mouse_buttons(SpiceMouseInstance *sin, uint32_t buttons)
{
    mouse_motion(sin, 0, 0, 0, buttons);
}

static void show_pointing(Input *input)
{
    SpiceBaseInstance *wanted = input->is_relative ? &input->mouse.base
                                                   : &input->tablet.base;

    if (input->tablet.st && input->is_relative) {
        spice_server_remove_interface(&input->tablet.base);
    }
    if (input->mouse.st && !input->is_relative) {
        spice_server_remove_interface(&input->mouse.base);
    }
    if (!input->tablet.st && !input->mouse.st) {
        spice_server_add_interface(input->server, wanted);
    }
}

void input_set_relative(Input *input, gboolean is_relative)
{
    input->is_relative = is_relative;
    if (input->is_shown) {
        show_pointing(input);
    }
}

/* ------------------------------------------------------------------------- */

Input *input_new(SpiceServer *server, Source *source)
{
    static const SpiceKbdInterface kbd_interface = {
        .base.type = SPICE_INTERFACE_KEYBOARD,
        .base.description = "spice-gateway keyboard",
        .base.major_version = SPICE_INTERFACE_KEYBOARD_MAJOR,
        .base.minor_version = SPICE_INTERFACE_KEYBOARD_MINOR,
        .push_scan_freg = push_scan,
        .get_leds = get_leds,
    };
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
    static const SpiceMouseInterface mouse_interface = {
        .base.type = SPICE_INTERFACE_MOUSE,
        .base.description = "spice-gateway mouse",
        .base.major_version = SPICE_INTERFACE_MOUSE_MAJOR,
        .base.minor_version = SPICE_INTERFACE_MOUSE_MINOR,
        .motion = mouse_motion,
        .buttons = mouse_buttons,
    };
    Input *input = g_new0(Input, 1);

    input->kbd.base.sif = &kbd_interface.base;
    input->tablet.base.sif = &tablet_interface.base;
    input->mouse.base.sif = &mouse_interface.base;
    input->server = server;
    input->source = source;
    /* There is an inputs channel until a keyboard has been there and gone */
    spice_server_add_interface(server, &input->kbd.base);
    spice_server_remove_interface(&input->kbd.base);
    return input;
}

void input_show(Input *input)
{
    if (!input->kbd.st) {
        spice_server_add_interface(input->server, &input->kbd.base);
    }
    input->is_shown = TRUE;
    show_pointing(input);
}

void input_hide(Input *input)
{
    if (input->tablet.st) {
        spice_server_remove_interface(&input->tablet.base);
    }
    if (input->mouse.st) {
        spice_server_remove_interface(&input->mouse.base);
    }
    /* The last one: with it the channel goes. What is pressed is let go. */
    if (input->kbd.st) {
        spice_server_remove_interface(&input->kbd.base);
    }
    input->decoder = (ScanDecoder) { 0 };
    input->leds = 0;
    input->is_shown = input->is_relative = FALSE;
}

void input_free(Input *input)
{
    input_hide(input);
    g_free(input);
}
