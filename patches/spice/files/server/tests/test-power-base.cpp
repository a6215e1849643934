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
#include <config.h>

#include <spice.h>
#include <spice/protocol.h>

#include "test-glib-compat.h"
#include "test-power-base.h"

/* power interface */

SpicePowerInstance power;
SpicePowerRequest *request;
unsigned int n_requests;
unsigned int n_refused;
uint32_t last_refused_id;
uint32_t last_refused_result;
unsigned int n_cancelled;
/* what to do in the callback */
void (*on_request)();

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *req)
{
    g_assert_true(sin == &power);
    g_assert_null(request);
    request = req;
    n_requests++;
    if (on_request) {
        on_request();
    }
}

static void power_refused(SpicePowerInstance *sin, const SpicePowerRequest *req,
                          uint32_t result, const char *message)
{
    g_assert_true(sin == &power);
    g_assert_nonnull(req->client->channel);
    g_assert_cmpstr(message, !=, "");
    n_refused++;
    last_refused_id = req->request_id;
    last_refused_result = result;
}

static void power_cancelled(SpicePowerInstance *sin, SpicePowerRequest *req)
{
    g_assert_true(sin == &power);
    g_assert_true(req == request);
    n_cancelled++;
}

const SpicePowerInterface power_interface = {
    .base = {
        .type          = SPICE_INTERFACE_POWER,
        .description   = "test power",
        .major_version = SPICE_INTERFACE_POWER_MAJOR,
        .minor_version = SPICE_INTERFACE_POWER_MINOR,
    },
    .request           = power_request,
    .refused           = power_refused,
    .cancelled         = power_cancelled,
};

void complete(uint32_t result, const char *message)
{
    SpicePowerRequest *req = request;

    g_assert_nonnull(req);
    request = nullptr;
    spice_server_power_complete(req, result, message);
}

void complete_ok()
{
    complete(SPICE_POWER_RESULT_OK, nullptr);
}

void set_state(uint32_t state, uint32_t possible)
{
    spice_server_power_set_state(&power, state, possible);
}

void add_power(uint32_t actions)
{
    power.base.sif = &power_interface.base;
    power.actions = actions;
    power.st = nullptr;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    g_assert_nonnull(power.st);
}

void remove_power()
{
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
}

void setup_no_power(unsigned int flags)
{
    request = nullptr;
    n_requests = 0;
    n_refused = 0;
    n_cancelled = 0;
    on_request = nullptr;
    server_start(flags);
}

void setup(uint32_t actions)
{
    setup_no_power();
    add_power(actions);
}

void setup_multiple_clients()
{
    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    add_power(ALL_ACTIONS);
}

void teardown()
{
    g_assert_null(request);
    server_stop();
}

/* client */

Client *client_start_link(uint32_t connection_id, uint32_t caps, unsigned int flags)
{
    return client_start_link(server, connection_id, SPICE_CHANNEL_MAIN, 0, caps, flags);
}

Client *client_link(uint32_t connection_id, uint32_t caps, unsigned int flags)
{
    Client *client = client_start_link(connection_id, caps, flags);

    client_authenticate(client);
    return client;
}

const PowerActionInfo power_action_infos[N_ACTIONS] = {
    { SPICE_POWER_ACTION_RESET, CAP(POWER_RESET), SPICE_MSGC_MAIN_POWER_RESET },
    { SPICE_POWER_ACTION_OFF, CAP(POWER_OFF), SPICE_MSGC_MAIN_POWER_OFF },
    { SPICE_POWER_ACTION_ON, CAP(POWER_ON), SPICE_MSGC_MAIN_POWER_ON },
    { SPICE_POWER_ACTION_PAUSE, CAP(POWER_PAUSE), SPICE_MSGC_MAIN_POWER_PAUSE },
    { SPICE_POWER_ACTION_CONTINUE, CAP(POWER_CONTINUE), SPICE_MSGC_MAIN_POWER_CONTINUE },
};

void expect_state_allowed(Client *client, uint32_t state, uint32_t allowed,
                                 uint32_t possible)
{
    size_t size;
    auto body = static_cast<StateBody *>(expect_message(client, SPICE_MSG_MAIN_POWER_STATE, &size));

    g_assert_cmpuint(size, ==, sizeof(*body));
    g_assert_cmpuint(body->state, ==, state);
    g_assert_cmphex(GUINT32_FROM_LE(body->allowed), ==, allowed);
    g_assert_cmphex(GUINT32_FROM_LE(body->possible), ==, possible);
    g_free(body);
}

/* what was offered to the client, and is still configured */
uint32_t get_allowed(const Client *client)
{
    uint32_t offered = 0;

    for (size_t i = 0; i < N_ACTIONS; i++) {
        if (client->caps & power_action_infos[i].cap) {
            offered |= power_action_infos[i].action;
        }
    }
    return power.st ? offered & power.actions : 0;
}

void expect_state(Client *client, uint32_t state, uint32_t possible)
{
    expect_state_allowed(client, state, get_allowed(client), possible);
}

/* returns the message */
GString *expect_any_result(Client *client, uint32_t request_id, uint32_t result)
{
    size_t size;
    auto body =
        static_cast<ResultBody *>(expect_message(client, SPICE_MSG_MAIN_POWER_RESULT, &size));

    g_assert_cmpuint(size, >=, sizeof(*body));
    g_assert_cmpuint(GUINT32_FROM_LE(body->request_id), ==, request_id);
    g_assert_cmpuint(body->result, ==, result);
    g_assert_cmpuint(GUINT32_FROM_LE(body->message_len), ==, size - sizeof(*body));
    GString *message = g_string_new_len(body->message, size - sizeof(*body));
    g_free(body);
    return message;
}

void expect_result(Client *client, uint32_t request_id, uint32_t result,
                          const char *expected_message)
{
    GString *message = expect_any_result(client, request_id, result);

    g_assert_cmpstr(message->str, ==, expected_message);
    g_string_free(message, TRUE);
}

/* returns false if there is none yet */
bool client_read_any_result(Client *client)
{
    uint16_t type;
    GBytes *body = client_get_message(client, &type);

    if (!body) {
        return false;
    }
    g_assert_cmpuint(type, ==, SPICE_MSG_MAIN_POWER_RESULT);
    g_bytes_unref(body);
    return true;
}

/* the library's own results tell why */
void expect_refusal(Client *client, uint32_t request_id, uint32_t result)
{
    GString *message = expect_any_result(client, request_id, result);

    g_assert_cmpuint(message->len, >, 0);
    g_string_free(message, TRUE);
}

Client *client_connect_flags(uint32_t caps, unsigned int flags)
{
    Client *client = client_link(0, caps, flags);

    expect_init(client);
    return client;
}

/* connect a client that knows about power control, and expect that it's told the state */
Client *client_connect(uint32_t state, uint32_t possible)
{
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);

    expect_state(client, state, possible);
    return client;
}

/* the server has disconnected it, whatever it may have told before */
void expect_thrown_out(Client *client)
{
    client_receive(client);
    g_assert_true(client->eof);
}

/* A round of a well-behaved client. */
void reset_round(Client *client, uint32_t request_id)
{
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, request_id);
    pump();
    g_assert_nonnull(request);
    g_assert_cmpuint(request->request_id, ==, request_id);
    complete_ok();
    expect_result(client, request_id, SPICE_POWER_RESULT_OK, "");
    expect_nothing(client);
}

unsigned int count_fds()
{
    unsigned int n = 0;
    GDir *dir = g_dir_open("/proc/self/fd", 0, nullptr);

    if (dir) {
        while (g_dir_read_name(dir)) {
            n++;
        }
        g_dir_close(dir);
    }
    return n;
}
