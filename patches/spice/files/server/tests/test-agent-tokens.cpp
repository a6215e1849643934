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
 * Test the tokens that a client has for what the agent sends, and the end of the agent
 * or the server in the midst of that.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>
#include <spice/vd_agent.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "vmc-emu.h"

static VmcEmu *vmc;
static Client *client;

static void setup()
{
    server_start();
    vmc = vmc_emu_new("vdagent", nullptr);
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

/* the agent has a message for the client */
static void agent_send(uint32_t protocol = VD_AGENT_PROTOCOL)
{
    const VDAgentMessage message = { GUINT32_TO_LE(protocol) };
    const VDIChunkHeader header = {
        GUINT32_TO_LE(VDP_CLIENT_PORT), GUINT32_TO_LE(sizeof(message))
    };

    vmc_emu_reset(vmc);
    memcpy(vmc->message, &header, sizeof(header));
    memcpy(vmc->message + sizeof(header), &message, sizeof(message));
    vmc_emu_add_read_till(vmc, vmc->message + sizeof(header) + sizeof(message));
    spice_server_char_device_wakeup(&vmc->instance);
}

static void expect_agent_data()
{
    size_t size;

    g_free(expect_message(client, SPICE_MSG_MAIN_AGENT_DATA, &size));
    g_assert_cmpuint(size, ==, sizeof(VDAgentMessage));
    expect_nothing(client);
}

/* a client that did not start the agent yet */
static void test_not_started()
{
    setup();
    client_send(client, SPICE_MSGC_MAIN_AGENT_TOKEN, 1);
    expect_nothing(client);
    client_send(client, SPICE_MSGC_MAIN_AGENT_TOKEN, 0xffffffff);
    expect_nothing(client);

    /* these don't count */
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 0);
    pump();
    agent_send();
    expect_nothing(client);
    client_send(client, SPICE_MSGC_MAIN_AGENT_TOKEN, 1);
    expect_agent_data();
    agent_send();
    expect_nothing(client);
    client_send(client, SPICE_MSGC_MAIN_AGENT_TOKEN, 1);
    expect_agent_data();
    teardown();
}

/* the agent has been disconnected, and is removed */
static void test_remove()
{
    size_t size;

    setup();
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 1);
    pump();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "invalid agent protocol: *");
    agent_send(VD_AGENT_PROTOCOL + 1);
    g_free(expect_message(client, SPICE_MSG_MAIN_AGENT_DISCONNECTED, &size));
    g_test_assert_expected_messages();

    g_assert_cmpint(spice_server_remove_interface(&vmc->instance.base), ==, 0);
    g_assert_null(vmc->instance.st);
    g_assert_cmpint(spice_server_add_interface(server, &vmc->instance.base), ==, 0);
    teardown();
}

/* the agent is connected, and has sent the beginning of a message */
static void test_destroy()
{
    const VDIChunkHeader header = {
        GUINT32_TO_LE(VDP_CLIENT_PORT), GUINT32_TO_LE(sizeof(VDAgentMessage))
    };

    setup();
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 1);
    pump();
    vmc_emu_reset(vmc);
    memcpy(vmc->message, &header, sizeof(header));
    vmc_emu_add_read_till(vmc, vmc->message + sizeof(header) + 1);
    spice_server_char_device_wakeup(&vmc->instance);
    expect_nothing(client);

    client_free(client);
    pump();
    spice_server_destroy(server);
    vmc_emu_destroy(vmc);
    basic_event_loop_destroy();
    alarm(0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/agent-tokens/not-started", test_not_started);
    g_test_add_func("/server/agent-tokens/remove", test_remove);
    g_test_add_func("/server/agent-tokens/destroy", test_destroy);

    return g_test_run();
}
