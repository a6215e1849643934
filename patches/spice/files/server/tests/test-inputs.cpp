/*
   SPDX-License-Identifier: LGPL-2.1-or-later

   This library is free software; you can redistribute it and/or
   modify it under the terms of the GNU Lesser General Public
   License as published by the Free Software Foundation; either
   version 2.1 of the License, or (at your option) any later version.

   This library is distributed in the hope that it will be useful,
   but WITHOUT ANY WARRANTY; without even the implied warranty of
   MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
   Lesser General Public License for more details.

   You should have received a copy of the GNU Lesser General Public
   License along with this library; if not, see <http://www.gnu.org/licenses/>.
*/
/*
 * Test a keyboard, a mouse and a tablet that come and go while clients are there.
 */
#include <config.h>

#include <string.h>

#include "test-glib-compat.h"
#include "test-client.h"

/* what the keyboard got */
static GByteArray *scan_codes;

static void push_scan(SpiceKbdInstance *sin, uint8_t code)
{
    g_byte_array_append(scan_codes, &code, 1);
}

static uint8_t get_leds(SpiceKbdInstance *sin)
{
    return 0;
}

static SpiceKbdInterface kbd_interface;
static SpiceKbdInstance kbd;

static void mouse_motion(SpiceMouseInstance *sin, int dx, int dy, int dz, uint32_t buttons)
{
}

static void mouse_buttons(SpiceMouseInstance *sin, uint32_t buttons)
{
}

static SpiceMouseInterface mouse_interface;
static SpiceMouseInstance mouse;

static void tablet_set_logical_size(SpiceTabletInstance *sin, int width, int height)
{
}

static void tablet_position(SpiceTabletInstance *sin, int x, int y, uint32_t buttons)
{
}

static void tablet_buttons(SpiceTabletInstance *sin, uint32_t buttons)
{
}

static SpiceTabletInterface tablet_interface;
static SpiceTabletInstance tablet;

static void devices_init()
{
    kbd_interface.base.type = SPICE_INTERFACE_KEYBOARD;
    kbd_interface.base.major_version = SPICE_INTERFACE_KEYBOARD_MAJOR;
    kbd_interface.base.minor_version = SPICE_INTERFACE_KEYBOARD_MINOR;
    kbd_interface.push_scan_freg = push_scan;
    kbd_interface.get_leds = get_leds;
    kbd.base.sif = &kbd_interface.base;

    mouse_interface.base.type = SPICE_INTERFACE_MOUSE;
    mouse_interface.base.major_version = SPICE_INTERFACE_MOUSE_MAJOR;
    mouse_interface.base.minor_version = SPICE_INTERFACE_MOUSE_MINOR;
    mouse_interface.motion = mouse_motion;
    mouse_interface.buttons = mouse_buttons;
    mouse.base.sif = &mouse_interface.base;

    tablet_interface.base.type = SPICE_INTERFACE_TABLET;
    tablet_interface.base.major_version = SPICE_INTERFACE_TABLET_MAJOR;
    tablet_interface.base.minor_version = SPICE_INTERFACE_TABLET_MINOR;
    tablet_interface.set_logical_size = tablet_set_logical_size;
    tablet_interface.position = tablet_position;
    tablet_interface.buttons = tablet_buttons;
    tablet.base.sif = &tablet_interface.base;
}

static void setup()
{
    server_start();
    scan_codes = g_byte_array_new();
}

static void teardown()
{
    server_stop();
    g_byte_array_unref(scan_codes);
}

static Client *client_connect()
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);

    client_authenticate(client);
    expect_init(client);
    return client;
}

/* link to the inputs channel, as the client of that main channel */
static Client *link_inputs(Client *client)
{
    Client *inputs = client_start_link(server, client->session_id, SPICE_CHANNEL_INPUTS, 0, 0, 0);
    size_t size;

    client_authenticate(inputs);
    g_free(expect_message(inputs, SPICE_MSG_INPUTS_INIT, &size));
    return inputs;
}

/* Returns: what the next list of channels says, which has been asked for or not */
static bool list_has_inputs(Client *client)
{
    GBytes *body;
    uint16_t type;
    bool found = false;

    while ((body = client_get_message(client, &type)) && type != SPICE_MSG_MAIN_CHANNELS_LIST) {
        g_bytes_unref(body);
    }
    g_assert_nonnull(body);

    gsize size;
    auto data = static_cast<const uint8_t *>(g_bytes_get_data(body, &size));
    for (gsize pos = 4; pos + 2 <= size; pos += 2) {
        found = found || data[pos] == SPICE_CHANNEL_INPUTS;
    }
    g_bytes_unref(body);
    return found;
}

static bool has_inputs(Client *client)
{
    client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
    return list_has_inputs(client);
}

static void expect_scan_codes(const char *codes)
{
    pump();
    g_assert_cmpmem(scan_codes->data, scan_codes->len, codes, strlen(codes));
    g_byte_array_set_size(scan_codes, 0);
}

/* The channel goes with the last of its devices, and comes back with the first. */
static void test_come_and_go()
{
    setup();
    Client *client = client_connect();
    g_assert_true(has_inputs(client));

    for (int i = 0; i < 10; i++) {
        g_assert_cmpint(spice_server_add_interface(server, &kbd.base), ==, 0);
        g_assert_cmpint(spice_server_add_interface(server, &mouse.base), ==, 0);
        g_assert_cmpint(spice_server_add_interface(server, &tablet.base), ==, 0);
        if (i > 0) {
            /* nobody asked for it */
            g_assert_true(list_has_inputs(client));
        }
        Client *inputs = link_inputs(client);
        client_send(inputs, SPICE_MSGC_INPUTS_KEY_DOWN, 0x1e);
        client_send(inputs, SPICE_MSGC_INPUTS_KEY_DOWN, 0x48e0);
        expect_scan_codes("\x1e\xe0\x48");

        /* what is pressed is let go */
        g_assert_cmpint(spice_server_remove_interface(&kbd.base), ==, 0);
        g_assert_null(kbd.st);
        expect_scan_codes("\x9e\xe0\xc8");
        client_send(inputs, SPICE_MSGC_INPUTS_KEY_DOWN, 0x1e);
        expect_scan_codes("");
        g_assert_cmpint(spice_server_kbd_leds(&kbd, 0), ==, 0);
        g_assert_true(has_inputs(client));

        g_assert_cmpint(spice_server_remove_interface(&tablet.base), ==, 0);
        g_assert_true(has_inputs(client));
        g_assert_cmpint(spice_server_remove_interface(&mouse.base), ==, 0);
        g_assert_null(mouse.st);
        expect_disconnect(inputs);
        client_free(inputs);
        g_assert_false(has_inputs(client));
    }
    client_free(client);
    teardown();
}

/* A tablet that comes and goes, as with the mouse mode, leaves the channel there. */
static void test_tablet_alone()
{
    setup();
    Client *client = client_connect();
    Client *inputs = link_inputs(client);

    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(spice_server_add_interface(server, &tablet.base), ==, 0);
        g_assert_cmpint(spice_server_remove_interface(&tablet.base), ==, 0);
        g_assert_true(has_inputs(client));
    }
    client_receive(inputs);
    g_assert_false(inputs->eof);
    client_free(inputs);
    client_free(client);
    teardown();
}

/* One that is there before the first client, and goes before it. */
static void test_nobody_there()
{
    setup();
    g_assert_cmpint(spice_server_add_interface(server, &kbd.base), ==, 0);
    g_assert_cmpint(spice_server_remove_interface(&kbd.base), ==, 0);

    Client *client = client_connect();
    g_assert_false(has_inputs(client));
    g_assert_cmpint(spice_server_add_interface(server, &kbd.base), ==, 0);
    g_assert_true(list_has_inputs(client));
    g_assert_cmpint(spice_server_remove_interface(&kbd.base), ==, 0);
    client_free(client);
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    devices_init();

    g_test_add_func("/server/inputs/come-and-go", test_come_and_go);
    g_test_add_func("/server/inputs/tablet-alone", test_tablet_alone);
    g_test_add_func("/server/inputs/nobody-there", test_nobody_there);

    return g_test_run();
}
