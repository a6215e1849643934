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
 * Test clients of a port, or of USB, that leave when something is on its way from or to them.
 */
#include <config.h>

#include <string.h>

#include "test-glib-compat.h"
#include "net-utils.h"
#include "sys-socket.h"
#include "test-client.h"
#include "vmc-emu.h"

static VmcEmu *vmc;
static Client *client, *port;

/* the device takes nothing */
static bool device_full;
static int (*device_write)(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len);

static int write_if_not_full(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    return device_full ? 0 : device_write(sin, buf, len);
}

static void setup(const char *subtype)
{
    server_start();
    vmc = vmc_emu_new(subtype, "com.example.test");
    device_write = vmc->vmc_interface.write;
    vmc->vmc_interface.write = write_if_not_full;
    device_full = false;
    g_assert_cmpint(spice_server_add_interface(server, &vmc->instance.base), ==, 0);
    spice_server_vm_start(server);

    client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_authenticate(client);
    expect_init(client);
}

static void teardown()
{
    client_free(client);
    g_assert_cmpint(spice_server_remove_interface(&vmc->instance.base), ==, 0);
    vmc_emu_destroy(vmc);
    server_stop();
}

static void port_connect()
{
    size_t size;

    port = client_start_link(server, client->session_id, SPICE_CHANNEL_PORT, 0, 0, 0);
    client_authenticate(port);
    g_free(expect_message(port, SPICE_MSG_PORT_INIT, &size));
    g_assert_true(vmc->device_enabled);
}

static void port_send(const char *text)
{
    client_send_body(port, SPICE_MSGC_SPICEVMC_DATA, text, strlen(text));
    pump();
}

static void expect_written(const char *text)
{
    g_assert_cmpmem(vmc->write_buf, vmc->write_pos, text, strlen(text));
    vmc_emu_reset(vmc);
}

/* what a client has sent gets to the device, if later than it leaves */
static void test_leaves_with_data()
{
    setup("port");
    port_connect();
    device_full = true;
    port_send("one ");
    port_send("two ");
    expect_written("");
    client_free(port);
    g_assert_false(vmc->device_enabled);

    device_full = false;
    spice_server_char_device_wakeup(&vmc->instance);
    expect_written("one two ");

    /* there is another one by then */
    port_connect();
    device_full = true;
    port_send("three ");
    client_free(port);
    port_connect();
    port_send("four");
    device_full = false;
    spice_server_char_device_wakeup(&vmc->instance);
    expect_written("three four");
    client_free(port);
    teardown();
}

/* a client that does not wait until it's let in */
static void leave_early(uint8_t channel_type)
{
    port = client_start_link(server, client->session_id, channel_type, 0, 0, 0);
    client_write_u32(port, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(port, "", 1);
    client_free(port);
    g_assert_false(vmc->device_enabled);
    g_test_assert_expected_messages();
}

static void test_leaves_early()
{
    setup("port");
    expect_warning("*already been removed*");
    leave_early(SPICE_CHANNEL_PORT);
    port_connect();
    port_send("hello");
    expect_written("hello");
    client_free(port);
    teardown();
}

/* the first that it would be sent is what the device has */
static void test_leaves_early_with_data()
{
    setup("usbredir");
    vmc_emu_add_read_till(vmc, vmc->message + 1);
    leave_early(SPICE_CHANNEL_USBREDIR);
    g_assert_cmpuint(vmc->pos, ==, 1);
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/port/leaves-with-data", test_leaves_with_data);
    g_test_add_func("/server/port/leaves-early", test_leaves_early);
    g_test_add_func("/server/port/leaves-early-with-data", test_leaves_early_with_data);

    return g_test_run();
}
