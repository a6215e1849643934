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
 * Test a guest agent that has several clients.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>
#include <spice/vd_agent.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "vmc-emu.h"

static VmcEmu *agent;

static Client *client_connect(uint32_t tokens)
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);

    client_authenticate(client);
    expect_init(client);
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, tokens);
    pump();
    return client;
}

/* let the agent have another message, without anyone being told */
static void agent_add_message(uint8_t n)
{
    static const VDIChunkHeader chunk = {
        GUINT32_TO_LE(VDP_CLIENT_PORT), GUINT32_TO_LE(sizeof(VDAgentMessage))
    };
    const VDAgentMessage message = { GUINT32_TO_LE(VD_AGENT_PROTOCOL), n, 0, 0 };
    uint8_t *p = agent->message + n * (sizeof(chunk) + sizeof(message));

    memcpy(p, &chunk, sizeof(chunk));
    memcpy(p + sizeof(chunk), &message, sizeof(message));
    vmc_emu_add_read_till(agent, p + sizeof(chunk) + sizeof(message));
}

static void expect_agent_message(Client *client, uint8_t n)
{
    uint16_t type;

    client_receive(client);
    GBytes *body = client_take_message(client, &type);
    g_assert_nonnull(body);
    g_assert_cmpuint(type, ==, SPICE_MSG_MAIN_AGENT_DATA);
    g_assert_cmpuint(g_bytes_get_size(body), ==, sizeof(VDAgentMessage));
    auto message = static_cast<const VDAgentMessage *>(g_bytes_get_data(body, nullptr));
    g_assert_cmpuint(GUINT32_FROM_LE(message->type), ==, n);
    g_bytes_unref(body);
}

/* The queue of a client is sent, which makes room for another message of the agent. */
static void test_read_while_sending()
{
    server_start(SERVER_MULTIPLE_CLIENTS);
    agent = vmc_emu_new("vdagent", nullptr);
    g_assert_cmpint(spice_server_add_interface(server, &agent->instance.base), ==, 0);

    Client *first = client_connect(10);
    Client *second = client_connect(0);
    agent_add_message(0);
    agent_add_message(1);
    spice_server_char_device_wakeup(&agent->instance);
    expect_agent_message(first, 0);
    expect_agent_message(first, 1);
    expect_nothing(first);
    expect_nothing(second);

    agent_add_message(2);
    client_send(second, SPICE_MSGC_MAIN_AGENT_TOKEN, 2);
    expect_agent_message(second, 0);
    expect_agent_message(second, 1);
    expect_nothing(second);
    expect_agent_message(first, 2);
    client_send(second, SPICE_MSGC_MAIN_AGENT_TOKEN, 1);
    expect_agent_message(second, 2);
    expect_nothing(second);
    expect_nothing(first);

    client_free(first);
    client_free(second);
    g_assert_cmpint(spice_server_remove_interface(&agent->instance.base), ==, 0);
    vmc_emu_destroy(agent);
    spice_server_destroy(server);
    basic_event_loop_destroy();
    alarm(0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/agent-clients/read-while-sending", test_read_while_sending);

    return g_test_run();
}
