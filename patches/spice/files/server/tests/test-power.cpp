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
 * Test power control with a server and clients of its main channel.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>
#include <spice.h>
#include <spice/protocol.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "main-channel-client.h"
#include "migration-protocol.h"
#include "red-client.h"
#include "reds.h"
#include "sys-socket.h"
#include "test-client.h"
#if HAVE_SASL
#include "test-sasl-mock.h"
#endif
#include "push-visibility.h"
/* the library hides all types, not only the ones that say so */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wattributes"
#include "reds-private.h"
#pragma GCC diagnostic pop

#define ALL_ACTIONS ((uint32_t) SPICE_POWER_ACTION_MASK)
#define CAP(name) (1u << SPICE_MAIN_CAP_ ## name)

/* power interface */

static SpiceCoreInterface *core;
static SpicePowerInstance power;
static SpicePowerRequest *request;
static unsigned int n_requests;
static unsigned int n_refused;
static uint32_t last_refused_id;
static uint32_t last_refused_result;
static unsigned int n_cancelled;
/* what to do in the callback */
static void (*on_request)();

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

static const SpicePowerInterface power_interface = {
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

static void complete(uint32_t result, const char *message)
{
    SpicePowerRequest *req = request;

    g_assert_nonnull(req);
    request = nullptr;
    spice_server_power_complete(req, result, message);
}

static void complete_ok()
{
    complete(SPICE_POWER_RESULT_OK, nullptr);
}

static void set_state(uint32_t state, uint32_t possible)
{
    spice_server_power_set_state(&power, state, possible);
}

static void add_power(uint32_t actions)
{
    power.base.sif = &power_interface.base;
    power.actions = actions;
    power.st = nullptr;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    g_assert_nonnull(power.st);
}

static void remove_power()
{
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
}

static void setup_no_power(unsigned int flags = 0)
{
    request = nullptr;
    n_requests = 0;
    n_refused = 0;
    n_cancelled = 0;
    on_request = nullptr;
    core = basic_event_loop_init();
    server_start(flags, core);
}

static void setup(uint32_t actions)
{
    setup_no_power();
    add_power(actions);
}

static void setup_multiple_clients()
{
    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    add_power(ALL_ACTIONS);
}

static void teardown()
{
    g_assert_null(request);
    server_stop();
}

/* client */

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED StateBody {
    uint8_t state;
    uint32_t allowed;
    uint32_t possible;
} StateBody;

typedef struct SPICE_ATTR_PACKED ResultBody {
    uint32_t request_id;
    uint8_t result;
    uint32_t message_len;
    char message[];
} ResultBody;
#include <spice/end-packed.h>

static Client *client_start_link(uint32_t connection_id, uint32_t caps, unsigned int flags)
{
    return client_start_link(server, connection_id, SPICE_CHANNEL_MAIN, 0, caps, flags);
}

static Client *client_link(uint32_t connection_id, uint32_t caps, unsigned int flags)
{
    Client *client = client_start_link(connection_id, caps, flags);

    client_authenticate(client);
    return client;
}

static const struct {
    uint32_t action;
    uint32_t cap;
    uint16_t type;
} actions[] = {
    { SPICE_POWER_ACTION_RESET, CAP(POWER_RESET), SPICE_MSGC_MAIN_POWER_RESET },
    { SPICE_POWER_ACTION_OFF, CAP(POWER_OFF), SPICE_MSGC_MAIN_POWER_OFF },
    { SPICE_POWER_ACTION_ON, CAP(POWER_ON), SPICE_MSGC_MAIN_POWER_ON },
    { SPICE_POWER_ACTION_PAUSE, CAP(POWER_PAUSE), SPICE_MSGC_MAIN_POWER_PAUSE },
    { SPICE_POWER_ACTION_CONTINUE, CAP(POWER_CONTINUE), SPICE_MSGC_MAIN_POWER_CONTINUE },
};

#define POWER_CAPS (CAP(POWER_CONTROL) | CAP(POWER_RESET) | CAP(POWER_OFF) | CAP(POWER_ON) | \
                    CAP(POWER_PAUSE) | CAP(POWER_CONTINUE))

static void expect_state_allowed(Client *client, uint32_t state, uint32_t allowed,
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
static uint32_t get_allowed(const Client *client)
{
    uint32_t offered = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (client->caps & actions[i].cap) {
            offered |= actions[i].action;
        }
    }
    return power.st ? offered & power.actions : 0;
}

static void expect_state(Client *client, uint32_t state, uint32_t possible)
{
    expect_state_allowed(client, state, get_allowed(client), possible);
}

/* returns the message */
static GString *expect_any_result(Client *client, uint32_t request_id, uint32_t result)
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

static void expect_result(Client *client, uint32_t request_id, uint32_t result,
                          const char *expected_message)
{
    GString *message = expect_any_result(client, request_id, result);

    g_assert_cmpstr(message->str, ==, expected_message);
    g_string_free(message, TRUE);
}

/* returns false if there is none yet */
static bool client_read_any_result(Client *client)
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
static void expect_refusal(Client *client, uint32_t request_id, uint32_t result)
{
    GString *message = expect_any_result(client, request_id, result);

    g_assert_cmpuint(message->len, >, 0);
    g_string_free(message, TRUE);
}

static Client *client_connect_flags(uint32_t caps, unsigned int flags)
{
    Client *client = client_link(0, caps, flags);

    expect_init(client);
    return client;
}

/* connect a client that knows about power control, and expect that it's told the state */
static Client *client_connect(uint32_t state, uint32_t possible)
{
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);

    expect_state(client, state, possible);
    return client;
}

/* the server has disconnected it, whatever it may have told before */
static void expect_thrown_out(Client *client)
{
    client_receive(client);
    g_assert_true(client->eof);
}

/* A round of a well-behaved client. */
static void reset_round(Client *client, uint32_t request_id)
{
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, request_id);
    pump();
    g_assert_nonnull(request);
    g_assert_cmpuint(request->request_id, ==, request_id);
    complete_ok();
    expect_result(client, request_id, SPICE_POWER_RESULT_OK, "");
    expect_nothing(client);
}

/* tests */

/* capabilities are those of the configured actions */
static void test_caps()
{
    for (uint32_t mask = 0; mask <= ALL_ACTIONS; mask++) {
        uint32_t caps = CAP(POWER_CONTROL);

        for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
            if (mask & actions[i].action) {
                caps |= actions[i].cap;
            }
        }
        setup(mask);
        Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
        g_assert_cmphex(client->caps & POWER_CAPS, ==, caps);
        client_free(client);
        teardown();
    }
}

/* each action gets to the interface and is answered, with both kinds of header */
static void test_actions(gconstpointer data)
{
    setup(ALL_ACTIONS);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);

    Client *client = client_connect_flags(CAP(POWER_CONTROL), GPOINTER_TO_UINT(data));
    expect_state(client, SPICE_POWER_STATE_ON, ALL_ACTIONS);

    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        const uint32_t request_id = 0xfffffffe + i;

        client_send(client, actions[i].type, request_id);
        pump();
        g_assert_nonnull(request);
        g_assert_cmpuint(n_requests, ==, i + 1);
        g_assert_cmpuint(request->action, ==, actions[i].action);
        g_assert_cmpuint(request->request_id, ==, request_id);
        const SpiceChannelEventInfo *channel = request->client->channel;
        g_assert_cmpuint((uint32_t) channel->connection_id, ==, client->session_id);
        g_assert_cmpint(channel->type, ==, SPICE_CHANNEL_MAIN);
        g_assert_cmpint(channel->id, ==, 0);
        g_assert_cmphex(channel->flags, ==, SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT);
        g_assert_cmpint(channel->paddr_ext.ss_family, ==, AF_LOCAL);
        g_assert_null(request->client->sasl_username);
        expect_nothing(client);

        /* the state is received before the result */
        set_state(SPICE_POWER_STATE_PAUSED, actions[i].action);
        complete(SPICE_POWER_RESULT_OK, "done");
        set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
        expect_state(client, SPICE_POWER_STATE_PAUSED, actions[i].action);
        expect_result(client, request_id, SPICE_POWER_RESULT_OK, "done");
        expect_state(client, SPICE_POWER_STATE_ON, ALL_ACTIONS);
        expect_nothing(client);
    }
    g_assert_cmpuint(n_refused, ==, 0);

    client_free(client);
    teardown();
}

/* every result gets to the client, a wrong one is FAILED */
static void test_results()
{
    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (uint32_t result = 0; result < SPICE_POWER_RESULT_ENUM_END; result++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, result);
        pump();
        complete(result, "reason");
        expect_result(client, result, result, "reason");
    }

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    expect_warning("*unknown power result 6");
    complete(SPICE_POWER_RESULT_ENUM_END, nullptr);
    expect_result(client, 1, SPICE_POWER_RESULT_FAILED, "");

    client_free(client);
    teardown();
}

/* the request is completed in the callback */
static void test_complete_in_callback()
{
    setup(ALL_ACTIONS);
    on_request = complete_ok;
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (uint32_t i = 0; i < 150; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_OFF, i);
        expect_result(client, i, SPICE_POWER_RESULT_OK, "");
    }
    g_assert_cmpuint(n_requests, ==, 150);
    g_assert_cmpuint(n_refused, ==, 0);
    expect_nothing(client);

    client_free(client);
    teardown();
}

/* the state is kept without clients, sent when it changes and only then */
static void test_state()
{
    setup(SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF);

    /* configured actions only */
    set_state(SPICE_POWER_STATE_OFF, ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_OFF,
                                    SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF);
    expect_nothing(client);

    set_state(SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF);
    set_state(SPICE_POWER_STATE_OFF, ALL_ACTIONS & ~SPICE_POWER_ACTION_ON);
    expect_nothing(client);

    set_state(SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_RESET);
    expect_state(client, SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_RESET);
    for (uint32_t state = 0; state < SPICE_POWER_STATE_ENUM_END; state++) {
        set_state(state, 0);
        expect_state(client, state, 0);
    }
    expect_nothing(client);

    expect_critical("*state < SPICE_POWER_STATE_ENUM_END*");
    set_state(SPICE_POWER_STATE_ENUM_END, 0);
    expect_nothing(client);

    client_free(client);
    teardown();
}

/* An action that is not configured, and a client that lacks the capability. */
static void test_denied()
{
    setup(SPICE_POWER_ACTION_PAUSE);
    set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_PAUSE);

    Client *client = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_PAUSE);
    /* any number of times, as the client waits for the result */
    for (uint32_t i = 0; i < 500; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_CONTINUE, i);
        expect_refusal(client, i, SPICE_POWER_RESULT_DENIED);
        g_assert_cmpuint(n_refused, ==, i + 1);
        g_assert_cmpuint(last_refused_id, ==, i);
        g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_DENIED);
    }
    g_assert_cmpuint(n_requests, ==, 0);
    client_free(client);

    /* no state for this one */
    n_refused = 0;
    client = client_connect_flags(CAP(NAME_AND_UUID), 0);
    expect_nothing(client);
    set_state(SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_PAUSE);
    client_send(client, SPICE_MSGC_MAIN_POWER_PAUSE, 1);
    expect_refusal(client, 1, SPICE_POWER_RESULT_DENIED);
    expect_nothing(client);
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 1);

    client_free(client);
    teardown();
}

/* requests which do not wait are BUSY, however many there are */
static void test_busy()
{
    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (unsigned int round = 0; round < 3; round++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 0);
        pump();
        for (uint32_t i = 1; i <= 500; i++) {
            client_send(client, SPICE_MSGC_MAIN_POWER_OFF, i);
            expect_refusal(client, i, SPICE_POWER_RESULT_BUSY);
            g_assert_cmpuint(last_refused_id, ==, i);
            g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_BUSY);
        }
        g_assert_cmpuint(n_requests, ==, round + 1);
        g_assert_cmpuint(n_refused, ==, (round + 1) * 500);
        g_assert_cmpuint(request->action, ==, SPICE_POWER_ACTION_RESET);
        complete_ok();
        expect_result(client, 0, SPICE_POWER_RESULT_OK, "");
    }

    /* the result of a gone client is not sent to another one */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 0);
    pump();
    client_free(client);
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    complete_ok();
    expect_nothing(client);
    reset_round(client, 0);

    client_free(client);
    teardown();
}

/* a client that sends lots at once gets one of it carried out */
static void test_flood()
{
    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (uint32_t i = 0; i < 100; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, i);
    }
    for (uint32_t i = 1; i < 100; i++) {
        expect_refusal(client, i, SPICE_POWER_RESULT_BUSY);
    }
    expect_nothing(client);
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(request->request_id, ==, 0);
    g_assert_cmpuint(n_refused, ==, 99);
    complete_ok();
    expect_result(client, 0, SPICE_POWER_RESULT_OK, "");

    client_free(client);
    teardown();
}

/* A client that waits for its results is never refused. It may be far ahead of what it
 * may do for long, then its requests wait. */
static void test_pace()
{
    const uint32_t at_once = 201, paced = 20, interval_us = 10000;

    setup_multiple_clients();
    on_request = complete_ok;
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *other = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    const int64_t begin = g_get_monotonic_time();

    for (uint32_t i = 1; i <= at_once + paced; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, i);
        while (n_requests < i) {
            g_main_context_iteration(basic_event_loop_get_context(), TRUE);
        }
        expect_result(client, i, SPICE_POWER_RESULT_OK, "");
    }
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, paced * interval_us);

    /* that is no reason for others to wait, nor for its own being ended */
    n_requests = 0;
    do {
        g_assert_cmpuint(n_requests, <, 1000);
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
        pump();
    } while (client_read_any_result(client));
    n_requests = 0;
    client_send(other, SPICE_MSGC_MAIN_POWER_RESET, 2);
    expect_result(other, 2, SPICE_POWER_RESULT_OK, "");
    g_assert_cmpuint(n_refused, ==, 0);
    remove_power();
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(client, 1, SPICE_POWER_RESULT_FAILED);
    expect_state(other, SPICE_POWER_STATE_UNKNOWN, 0);

    client_free(client);
    client_free(other);
    teardown();
}

/* Who connects anew may not do more at once than before; nor is the first request of one
 * who connects kept waiting. */
static void test_pace_anew()
{
    const uint32_t at_once = 201, paced = 20, rounds = 4, interval_us = 10000;
    const int64_t begin = g_get_monotonic_time();
    uint32_t n = 0;

    setup(ALL_ACTIONS);
    on_request = complete_ok;
    for (unsigned int round = 0; round < rounds; round++) {
        Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, ++n);
        expect_result(client, n, SPICE_POWER_RESULT_OK, "");
        for (uint32_t i = 0; i < (round == 0 ? at_once : paced); i++) {
            client_send(client, SPICE_MSGC_MAIN_POWER_RESET, ++n);
            while (n_requests < n) {
                g_main_context_iteration(basic_event_loop_get_context(), TRUE);
            }
            expect_result(client, n, SPICE_POWER_RESULT_OK, "");
        }
        client_free(client);
    }
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, (n - at_once - rounds) * interval_us);
    g_assert_cmpuint(n_refused, ==, 0);
    teardown();
}

/* one request at a time for the machine, everybody gets the state and nobody the
 * result of another */
static void test_two_clients()
{
    setup_multiple_clients();
    set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *first = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *second = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *old = client_connect_flags(0, 0);

    client_send(first, SPICE_MSGC_MAIN_POWER_PAUSE, 7);
    pump();
    g_assert_nonnull(request);
    g_assert_cmpuint((uint32_t) request->client->channel->connection_id, ==, first->session_id);
    for (uint32_t i = 0; i < 500; i++) {
        client_send(second, SPICE_MSGC_MAIN_POWER_OFF, i);
        expect_refusal(second, i, SPICE_POWER_RESULT_BUSY);
        g_assert_cmpuint(last_refused_id, ==, i);
    }
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(n_refused, ==, 500);

    set_state(SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_CONTINUE);
    complete_ok();
    expect_state(first, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_CONTINUE);
    expect_result(first, 7, SPICE_POWER_RESULT_OK, "");
    expect_state(second, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_CONTINUE);
    expect_nothing(first);
    expect_nothing(second);
    expect_nothing(old);

    /* both at the same time */
    client_send(first, SPICE_MSGC_MAIN_POWER_CONTINUE, 8);
    client_send(second, SPICE_MSGC_MAIN_POWER_RESET, 9);
    pump();
    g_assert_cmpuint(n_requests, ==, 2);
    g_assert_cmpuint(n_refused, ==, 501);
    Client *carried_out = request->request_id == 8 ? first : second;
    Client *refused = request->request_id == 8 ? second : first;
    expect_refusal(refused, last_refused_id, SPICE_POWER_RESULT_BUSY);
    /* the state and results don't get mixed up when one leaves */
    client_free(refused);
    const uint32_t id = request->request_id;
    complete(SPICE_POWER_RESULT_WRONG_STATE, "no");
    expect_result(carried_out, id, SPICE_POWER_RESULT_WRONG_STATE, "no");
    expect_nothing(carried_out);
    expect_nothing(old);

    client_free(carried_out);
    client_free(old);
    teardown();
}

/* the client leaves while its request is carried out, or before that */
static void test_disconnect()
{
    setup_multiple_clients();
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *other = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_nonnull(request);
    client_free(client);

    /* still the interface's, which is told, once */
    g_assert_cmpuint(n_cancelled, ==, 1);
    g_assert_cmpuint(request->request_id, ==, 1);
    g_assert_cmpuint(request->client->channel->type, ==, SPICE_CHANNEL_MAIN);
    client_send(other, SPICE_MSGC_MAIN_POWER_RESET, 2);
    expect_refusal(other, 2, SPICE_POWER_RESULT_BUSY);
    complete_ok();
    expect_nothing(other);
    reset_round(other, 3);

    /* the request and the end of the connection are seen at the same time */
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 4);
    client_free(client);
    g_assert_cmpuint(n_requests, ==, 3);
    g_assert_cmpuint(request->request_id, ==, 4);
    g_assert_cmpuint(n_cancelled, ==, 2);
    complete_ok();
    expect_nothing(other);
    reset_round(other, 5);

    client_free(other);
    teardown();
}

/* a request that its client did not leave, but was thrown out with, is not begun */
static void test_thrown_out()
{
    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    /* received, but the timer did not run yet */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    (*server->clients.begin())->get_main()->receive();
    spice_server_set_ticket(server, "secret", 0, 0, 1);
    pump();
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_id, ==, 1);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_FAILED);
    expect_thrown_out(client);
    client_free(client);

    /* one that is being carried out goes on, the interface may give it up */
    spice_server_set_noauth(server);
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 2);
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    spice_server_set_ticket(server, "secret", 0, 0, 1);
    pump();
    g_assert_cmpuint(n_cancelled, ==, 1);
    complete_ok();
    expect_thrown_out(client);
    client_free(client);
    teardown();
}

/* what each client may do, as the interface says */
static uint32_t allowed_first, allowed_others;
static uint32_t first_id;

static uint32_t power_allowed(SpicePowerInstance *sin, const SpicePowerClient *client,
                              const char **reason)
{
    g_assert_null(*reason);
    g_assert_true(sin == &power);
    g_assert_cmpint(client->channel->type, ==, SPICE_CHANNEL_MAIN);
    g_assert_null(client->sasl_username);
    if (first_id == 0) {
        first_id = client->channel->connection_id;
    }
    return (uint32_t) client->channel->connection_id == first_id ? allowed_first
                                                                  : allowed_others;
}

static void test_allowed()
{
    const uint32_t configured = SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_PAUSE;
    SpicePowerInterface sif = power_interface;

    first_id = 0;
    allowed_first = ALL_ACTIONS;
    allowed_others = SPICE_POWER_ACTION_PAUSE | SPICE_POWER_ACTION_OFF;
    sif.allowed = power_allowed;
    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    power.base.sif = &sif.base;
    power.actions = configured;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);

    Client *first = client_connect_flags(CAP(POWER_CONTROL), 0);
    g_assert_cmpuint(first->session_id, ==, first_id);
    expect_state_allowed(first, SPICE_POWER_STATE_ON, configured, configured);
    Client *other = client_connect_flags(CAP(POWER_CONTROL), 0);
    /* the capabilities are for everybody */
    g_assert_cmphex(other->caps, ==, first->caps);
    expect_state_allowed(other, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_PAUSE,
                         SPICE_POWER_ACTION_PAUSE);
    reset_round(first, 1);
    client_send(other, SPICE_MSGC_MAIN_POWER_RESET, 2);
    expect_refusal(other, 2, SPICE_POWER_RESULT_DENIED);
    client_send(other, SPICE_MSGC_MAIN_POWER_OFF, 3);
    expect_refusal(other, 3, SPICE_POWER_RESULT_DENIED);
    g_assert_cmpuint(n_refused, ==, 2);

    /* a change that not all of them see */
    allowed_others = SPICE_POWER_ACTION_RESET;
    expect_nothing(other);
    spice_server_power_update_allowed(&power);
    expect_state_allowed(other, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET,
                         SPICE_POWER_ACTION_RESET);
    expect_nothing(first);
    reset_round(other, 4);
    set_state(SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_PAUSE);
    expect_state_allowed(other, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_RESET, 0);
    expect_state_allowed(first, SPICE_POWER_STATE_PAUSED, configured, SPICE_POWER_ACTION_PAUSE);

    /* while the request is carried out, and before */
    client_send(first, SPICE_MSGC_MAIN_POWER_PAUSE, 5);
    pump();
    allowed_first = 0;
    spice_server_power_update_allowed(&power);
    expect_state_allowed(first, SPICE_POWER_STATE_PAUSED, 0, 0);
    complete_ok();
    expect_result(first, 5, SPICE_POWER_RESULT_OK, "");
    client_send(first, SPICE_MSGC_MAIN_POWER_PAUSE, 6);
    expect_refusal(first, 6, SPICE_POWER_RESULT_DENIED);

    client_free(first);
    client_free(other);
    teardown();
}

/* what a client may do can depend on the ticket that it came with */
static uint32_t power_allowed_by_ticket(SpicePowerInstance *sin, const SpicePowerClient *client,
                                        const char **reason)
{
    switch (client->ticket) {
    case SPICE_TICKET_POWER:
        return ALL_ACTIONS;
    case SPICE_TICKET_ORDINARY:
        *reason = "Only with the other ticket";
        return 0;
    default:
        g_assert_cmpuint(client->ticket, ==, SPICE_TICKET_NONE);
        return SPICE_POWER_ACTION_RESET;
    }
}

static void check_ticket(const char *password, uint32_t allowed, uint32_t ticket)
{
    Client *client = client_start_link(0, CAP(POWER_CONTROL), 0);

    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(client, password, strlen(password) + 1);
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_OK);
    expect_init(client);
    expect_state_allowed(client, SPICE_POWER_STATE_ON, allowed, allowed);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    if (allowed == 0) {
        expect_result(client, 1, SPICE_POWER_RESULT_DENIED, "Only with the other ticket");
        g_assert_null(request);
    } else {
        pump();
        g_assert_nonnull(request);
        g_assert_cmpuint(request->client->ticket, ==, ticket);
        complete_ok();
        expect_result(client, 1, SPICE_POWER_RESULT_OK, "");
    }
    client_free(client);
}

static void test_tickets()
{
    SpicePowerInterface sif = power_interface;

    sif.allowed = power_allowed_by_ticket;
    setup_no_power();
    power.base.sif = &sif.base;
    power.actions = ALL_ACTIONS;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);

    /* none is needed, and one counts all the same */
    check_ticket("", SPICE_POWER_ACTION_RESET, SPICE_TICKET_NONE);
    spice_server_set_power_ticket(server, "press", 0, 0, 0);
    check_ticket("", SPICE_POWER_ACTION_RESET, SPICE_TICKET_NONE);
    check_ticket("wrong", SPICE_POWER_ACTION_RESET, SPICE_TICKET_NONE);
    check_ticket("press", ALL_ACTIONS, SPICE_TICKET_POWER);

    spice_server_set_ticket(server, "look", 0, 0, 0);
    check_ticket("look", 0, SPICE_TICKET_ORDINARY);
    check_ticket("press", ALL_ACTIONS, SPICE_TICKET_POWER);
    /* if both are the same, whoever has it has the one for power */
    spice_server_set_ticket(server, "press", 0, 0, 0);
    check_ticket("press", ALL_ACTIONS, SPICE_TICKET_POWER);
    /* unless that has expired */
    spice_server_set_power_ticket(server, "press", -1, 0, 0);
    check_ticket("press", 0, SPICE_TICKET_ORDINARY);
    teardown();
}

/* the reason is another one each time, and may be empty */
static const char *const reasons[] = { "Not now", "", "Not today" };
static unsigned int n_reasons;

static uint32_t power_allowed_nothing(SpicePowerInstance *sin, const SpicePowerClient *client,
                                      const char **reason)
{
    *reason = reasons[n_reasons++ % G_N_ELEMENTS(reasons)];
    return 0;
}

/* it's valid during the call, whatever is done from there */
static void power_refused_changes(SpicePowerInstance *sin, const SpicePowerRequest *req,
                                  uint32_t result, const char *message)
{
    const unsigned int before = n_reasons - 1;

    spice_server_power_update_allowed(sin);
    g_assert_cmpuint(n_reasons, ==, before + 2);
    const char *reason = reasons[before % G_N_ELEMENTS(reasons)];
    g_assert_cmpstr(message, ==, *reason ? reason : "You are not allowed to do this");
    n_refused++;
}

static void test_reasons()
{
    SpicePowerInterface sif = power_interface;

    n_reasons = 0;
    sif.allowed = power_allowed_nothing;
    sif.refused = power_refused_changes;
    setup_no_power();
    power.base.sif = &sif.base;
    power.actions = ALL_ACTIONS;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);
    expect_state_allowed(client, SPICE_POWER_STATE_UNKNOWN, 0, 0);
    for (unsigned int i = 0; i < 6; i++) {
        const char *reason = reasons[i % G_N_ELEMENTS(reasons)];

        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, i);
        expect_result(client, i, SPICE_POWER_RESULT_DENIED,
                      *reason ? reason : "You are not allowed to do this");
    }
    g_assert_cmpuint(n_refused, ==, 6);
    client_free(client);
    teardown();
}

/* what has not been begun when a client loses its rights is not begun */
static void test_allowed_in_time()
{
    SpicePowerInterface sif = power_interface;

    first_id = 0;
    allowed_first = ALL_ACTIONS;
    sif.allowed = power_allowed;
    setup_no_power();
    power.base.sif = &sif.base;
    power.actions = ALL_ACTIONS;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);
    expect_state_allowed(client, SPICE_POWER_STATE_UNKNOWN, ALL_ACTIONS, 0);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    /* it's received in this one, and passed on in a later one */
    g_assert_true(g_main_context_iteration(basic_event_loop_get_context(), FALSE));
    g_assert_cmpuint(n_requests, ==, 0);
    allowed_first = 0;
    spice_server_power_update_allowed(&power);
    expect_state_allowed(client, SPICE_POWER_STATE_UNKNOWN, 0, 0);
    expect_refusal(client, 1, SPICE_POWER_RESULT_DENIED);
    g_assert_cmpuint(n_requests, ==, 0);
    client_free(client);
    teardown();
}

static void expect_bad_size(uint16_t type, size_t size, unsigned int flags)
{
    static const uint8_t body[] = { 1, 2, 3 };
    char *pattern = g_strdup_printf("*failed to parse message type %u", type);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), flags);

    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_warning(pattern);
    g_free(pattern);
    client_send_body(client, type, body, size);
    expect_disconnect(client);
    g_test_assert_expected_messages();
    client_free(client);
}

/* what follows the known fields is ignored */
static void expect_size(Client *client, size_t size)
{
    auto body = static_cast<uint8_t *>(g_malloc(size));

    memset(body, 0x11, size);
    client_send_body(client, SPICE_MSGC_MAIN_POWER_RESET, body, size);
    g_free(body);
    pump();
    complete_ok();
    expect_result(client, 0x11111111, SPICE_POWER_RESULT_OK, "");
}

static void test_size(gconstpointer data)
{
    static const uint32_t huge[] = { 0x100000, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff };
    const auto flags = GPOINTER_TO_UINT(data);

    setup(ALL_ACTIONS);
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        for (size_t size = 0; size < 4; size++) {
            expect_bad_size(actions[i].type, size, flags);
        }
    }
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 0);

    Client *client = client_connect_flags(CAP(POWER_CONTROL), flags);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    for (size_t size = 4; size <= 16; size++) {
        expect_size(client, size);
    }
    expect_size(client, 4096);
    expect_nothing(client);
    client_free(client);

    /* there is no buffer of such a size */
    n_requests = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(huge); i++) {
        client = client_connect_flags(CAP(POWER_CONTROL), flags);
        expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
        expect_warning("*channel refused to allocate buffer.");
        client_send_header(client, SPICE_MSGC_MAIN_POWER_RESET, huge[i], 0);
        client_write_u32(client, 1);
        expect_disconnect(client);
        g_test_assert_expected_messages();
        client_free(client);
    }
    g_assert_cmpuint(n_requests, ==, 0);

    teardown();
}

/* The list of sub-messages that a full header can tell about is nothing that clients
 * send: whatever it says, there is one request. */
static void test_sub_list()
{
    static const uint32_t offsets[] = { 0, 1, 4, 8, 20, 1000, 0x7fffffff, 0xffffffff };
    /* a request_id, a list of one sub-message, and its header and body */
    static const uint8_t body[] = {
        7, 0, 0, 0,  1, 0,  10, 0, 0, 0,  SPICE_MSGC_MAIN_POWER_OFF, 0,  4, 0, 0, 0,  8, 0, 0, 0,
    };

    setup(ALL_ACTIONS);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_FULL_HEADER);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        client_send_header(client, SPICE_MSGC_MAIN_POWER_RESET, sizeof(body), offsets[i]);
        client_write(client, body, sizeof(body));
        pump();
        g_assert_cmpuint(n_requests, ==, i + 1);
        g_assert_cmpuint(request->action, ==, SPICE_POWER_ACTION_RESET);
        complete_ok();
        expect_result(client, 7, SPICE_POWER_RESULT_OK, "");
        expect_nothing(client);
    }
    g_assert_cmpuint(n_refused, ==, 0);
    client_free(client);
    teardown();
}

/* a message that comes in pieces is nothing before its last byte */
static void test_partial()
{
    const SpiceMiniDataHeader header = {
        GUINT16_TO_LE(SPICE_MSGC_MAIN_POWER_RESET), GUINT32_TO_LE(6)
    };

    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_write(client, &header, sizeof(header));
    expect_nothing(client);
    client_write_u32(client, 5);
    expect_nothing(client);
    client_write(client, "x", 1);
    expect_nothing(client);
    g_assert_cmpuint(n_requests, ==, 0);
    client_write(client, "x", 1);
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    complete_ok();
    expect_result(client, 5, SPICE_POWER_RESULT_OK, "");

    /* the rest of it never comes */
    client_write(client, &header, sizeof(header));
    client_write_u32(client, 6);
    client_free(client);
    g_assert_cmpuint(n_requests, ==, 1);
    teardown();
}

/* a request in place of what a client has to send before it is let in */
static void test_not_linked()
{
    SpiceLinkHeader header;
    SpiceLinkReply reply;
    int sv[2];

    setup(ALL_ACTIONS);

    /* of the choice how to authenticate */
    Client *client = client_start_link(0, CAP(POWER_CONTROL), 0);
    expect_warning("*Unknown auth method*");
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    client_read(client, &header, sizeof(header));
    client_read(client, &reply, sizeof(reply));
    g_assert_cmpuint(GUINT32_FROM_LE(reply.error), ==, SPICE_LINK_ERR_INVALID_DATA);
    expect_disconnect(client);
    g_test_assert_expected_messages();
    client_free(client);

    /* of the ticket: it is not complete, then it is wrong */
    client = client_start_link(0, CAP(POWER_CONTROL), 0);
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_nothing(client);
    expect_warning("*failed to decrypt*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "error:*");
    for (unsigned int i = 0; i < 20; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    }
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_PERMISSION_DENIED);
    g_test_assert_expected_messages();
    if (!client->eof) {
        /* the end of what it sent was not read */
        client_receive(client);
    }
    g_assert_true(client->eof);
    client_free(client);

    /* of the link message */
    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    g_assert_cmpint(spice_server_add_client(server, sv[0], 0), ==, 0);
    const struct {
        uint16_t type;
        uint32_t size;
    } message = { GUINT16_TO_LE(SPICE_MSGC_MAIN_POWER_RESET), GUINT32_TO_LE(4) };
    g_assert_cmpint(socket_write(sv[1], &message, sizeof(message)), ==, sizeof(message));
    pump();
    g_assert_cmpint(socket_read(sv[1], &header, sizeof(header)), ==, sizeof(header));
    g_assert_cmpint(socket_read(sv[1], &reply, sizeof(reply)), ==, sizeof(reply));
    g_assert_cmpuint(GUINT32_FROM_LE(reply.error), ==, SPICE_LINK_ERR_INVALID_MAGIC);
    socket_close(sv[1]);
    pump();

    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 0);
    teardown();
}

/* ids are the client's, nothing is made of them */
static void test_same_id()
{
    setup_multiple_clients();
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *other = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (unsigned int i = 0; i < 3; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
        pump();
        g_assert_cmpuint(n_requests, ==, i + 1);
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
        expect_refusal(client, 1, SPICE_POWER_RESULT_BUSY);
        client_send(other, SPICE_MSGC_MAIN_POWER_OFF, 1);
        expect_refusal(other, 1, SPICE_POWER_RESULT_BUSY);
        complete(SPICE_POWER_RESULT_FAILED, "no");
        expect_result(client, 1, SPICE_POWER_RESULT_FAILED, "no");
        expect_nothing(client);
        expect_nothing(other);
    }
    client_free(client);
    client_free(other);
    teardown();
}

/* each of many clients gets one result, and one of them what it wants */
static void test_many_clients()
{
    const unsigned int num = 50;
    Client *clients[num];

    setup_multiple_clients();
    for (auto &client: clients) {
        client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    }
    for (unsigned int i = 0; i < num; i++) {
        client_send(clients[i], SPICE_MSGC_MAIN_POWER_RESET, i);
    }
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(n_refused, ==, num - 1);
    const uint32_t winner = request->request_id;
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    complete_ok();
    for (unsigned int i = 0; i < num; i++) {
        if (i != winner) {
            expect_refusal(clients[i], i, SPICE_POWER_RESULT_BUSY);
        }
        expect_state(clients[i], SPICE_POWER_STATE_ON, ALL_ACTIONS);
        if (i == winner) {
            expect_result(clients[i], i, SPICE_POWER_RESULT_OK, "");
        }
        expect_nothing(clients[i]);
    }

    /* the server finds out that most of them are gone when it tells the state */
    for (unsigned int i = 0; i < num; i++) {
        if (i % 5) {
            socket_close(clients[i]->fd);
        }
    }
    set_state(SPICE_POWER_STATE_PAUSED, 0);
    for (unsigned int i = 0; i < num; i++) {
        if (i % 5) {
            g_byte_array_free(clients[i]->input, TRUE);
            g_free(clients[i]);
        } else {
            expect_state(clients[i], SPICE_POWER_STATE_PAUSED, 0);
            expect_nothing(clients[i]);
        }
    }
    reset_round(clients[0], 1);
    for (unsigned int i = 0; i < num; i += 5) {
        client_free(clients[i]);
    }
    teardown();
}

static unsigned int count_fds()
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

/* as if power control were not known */
static void test_no_interface()
{
    setup_no_power();

    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);

        g_assert_cmphex(client->caps & POWER_CAPS, ==, 0);
        expect_nothing(client);
        expect_warning("*invalid message type*");
        client_send(client, actions[i].type, 1);
        expect_disconnect(client);
        client_free(client);
    }

    /* nor does a client know that connected before the interface was added */
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);
    add_power(ALL_ACTIONS);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    expect_nothing(client);
    expect_warning("*invalid message type*");
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_disconnect(client);
    client_free(client);
    g_assert_cmpuint(n_requests, ==, 0);

    teardown();
}

/* returns what the client gets */
static GString *get_message(Client *client, const char *message)
{
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    complete(SPICE_POWER_RESULT_FAILED, message);
    return expect_any_result(client, 1, SPICE_POWER_RESULT_FAILED);
}

static void test_message()
{
    static const struct {
        const char *message, *expected;
    } tests[] = {
        { nullptr, "" },
        { "", "" },
        { "Gr\xc3\xbc\xc3\x9f\x65", "Gr\xc3\xbc\xc3\x9f\x65" },
        /* not UTF-8 */
        { "\xff", "\xef\xbf\xbd" },
        { "a\xffz", "a\xef\xbf\xbdz" },
        { "a\xff\xfez", "a\xef\xbf\xbd\xef\xbf\xbdz" },
        /* incomplete character */
        { "a\xc3", "a\xef\xbf\xbd" },
    };
    /* ends of messages that have more than 1024 bytes: how many of the ASCII
     * characters are sent */
    static const struct {
        size_t len;
        const char *end;
        size_t expected_len;
    } long_tests[] = {
        { 1024, "", 1024 },
        { 1025, "", 1024 },
        { 1023, "\xc3\xbc", 1023 },
        { 1021, "\xf0\x9f\x98\x80", 1021 },
        { 1022, "\xff", 1022 },
        { 100000, "", 1024 },
        { 100000, "\xff", 1024 },
    };

    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        GString *message = get_message(client, tests[i].message);
        g_assert_cmpstr(message->str, ==, tests[i].expected);
        g_string_free(message, TRUE);
    }

    for (size_t i = 0; i < G_N_ELEMENTS(long_tests); i++) {
        char *ascii = g_strnfill(long_tests[i].len, 'a');
        char *text = g_strconcat(ascii, long_tests[i].end, nullptr);
        GString *message = get_message(client, text);
        g_assert_cmpuint(message->len, ==, long_tests[i].expected_len);
        g_assert_cmpmem(message->str, message->len, ascii, message->len);
        g_string_free(message, TRUE);
        g_free(text);
        g_free(ascii);
    }

    /* these just fit */
    char *ascii = g_strnfill(1021, 'a');
    char *text = g_strconcat(ascii, "\xff", nullptr);
    GString *message = get_message(client, text);
    g_assert_cmpuint(message->len, ==, 1024);
    g_assert_cmpstr(message->str + 1021, ==, "\xef\xbf\xbd");
    g_string_free(message, TRUE);
    g_free(text);
    text = g_strconcat(ascii + 1, "\xf0\x9f\x98\x80", nullptr);
    message = get_message(client, text);
    g_assert_cmpstr(message->str, ==, text);
    g_string_free(message, TRUE);
    g_free(text);
    g_free(ascii);

    client_free(client);
    teardown();
}

static uint32_t get_pipe_size()
{
    return server->main_channel->sum_pipes_size();
}

/* get all states, returns the last of them */
static uint8_t drain_states(Client *client, uint8_t last)
{
    uint16_t type;

    while (GBytes *bytes = client_get_message(client, &type)) {
        auto body = static_cast<const StateBody *>(g_bytes_get_data(bytes, nullptr));

        g_assert_cmpuint(type, ==, SPICE_MSG_MAIN_POWER_STATE);
        /* there is no state that isn't a change */
        g_assert_cmpuint(body->state, !=, last);
        last = body->state;
        g_bytes_unref(bytes);
    }
    g_assert_false(client->eof);
    return last;
}

/* A client that does not read gets the last state, and can't make the server
 * use more and more memory. */
static void test_blocked_state()
{
    static const uint32_t states[] = { SPICE_POWER_STATE_ON, SPICE_POWER_STATE_PAUSED };

    setup_multiple_clients();
    Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SMALL_BUFFER);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    Client *other = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (unsigned int i = 0; i < 100000; i++) {
        set_state(states[i % 2], 0);
        /* this one does read */
        expect_state(other, states[i % 2], 0);
        g_assert_cmpuint(get_pipe_size(), <=, 1);
    }
    g_assert_cmpuint(get_pipe_size(), ==, 1);
    set_state(SPICE_POWER_STATE_CRASHED, 0);
    expect_state(other, SPICE_POWER_STATE_CRASHED, 0);
    g_assert_cmpuint(drain_states(client, SPICE_POWER_STATE_UNKNOWN), ==,
                     SPICE_POWER_STATE_CRASHED);

    /* back to the state that was sent last */
    unsigned int n = 0;
    while (get_pipe_size() == 0) {
        set_state(states[n++ % 2], 0);
    }
    set_state(states[n % 2], 0);
    g_assert_cmpuint(get_pipe_size(), ==, 1);
    g_assert_cmpuint(drain_states(client, SPICE_POWER_STATE_CRASHED), ==, states[n % 2]);
    drain_states(other, SPICE_POWER_STATE_CRASHED);

    /* all is well again */
    set_state(SPICE_POWER_STATE_OFF, 0);
    expect_state(client, SPICE_POWER_STATE_OFF, 0);
    expect_state(other, SPICE_POWER_STATE_OFF, 0);
    reset_round(client, 1);

    client_free(other);
    client_free(client);
    teardown();
}

/* There is no result before the client's buffer has room for it. */
static gint stop_reading;

static gpointer read_meanwhile(gpointer data)
{
    auto client = static_cast<Client *>(data);
    GPollFD pollfd = { client->fd, G_IO_IN, 0 };
    uint8_t buf[4096];

    while (!g_atomic_int_get(&stop_reading)) {
        if (g_poll(&pollfd, 1, 10) == 1) {
            ssize_t len = socket_read(client->fd, buf, sizeof(buf));
            g_assert_cmpint(len, >, 0);
            g_byte_array_append(client->input, buf, len);
        }
    }
    return nullptr;
}

/* fill the socket of a client that does not read, up to a result that is not sent;
 * returns the last id */
static uint32_t fill(Client *client, uint32_t id, const char *text)
{
    const unsigned int limit = n_requests + 150;

    while (!spice_server_power_is_unsent(&power)) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, ++id);
        pump();
        complete(SPICE_POWER_RESULT_OK, text);
        g_assert_cmpuint(n_requests, <, limit);
    }
    return id;
}

/* a result that is behind much else is written without the main loop */
static void test_unsent()
{
    char *text = g_strnfill(1024, 'a');

    setup(ALL_ACTIONS);
    g_assert_false(spice_server_power_is_unsent(&power));

    Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SMALL_BUFFER);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    g_assert_false(spice_server_power_is_unsent(&power));

    /* a request without a result is nothing to wait for */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 0);
    pump();
    g_assert_false(spice_server_power_is_unsent(&power));
    complete(SPICE_POWER_RESULT_OK, text);

    const uint32_t id = fill(client, 0, text);
    g_assert_true(spice_server_power_is_unsent(&power));

    g_atomic_int_set(&stop_reading, false);
    GThread *thread = g_thread_new("client", read_meanwhile, client);
    while (spice_server_power_is_unsent(&power)) {
        g_usleep(1000);
    }
    g_atomic_int_set(&stop_reading, true);
    g_thread_join(thread);
    for (uint32_t i = 0; i <= id; i++) {
        expect_result(client, i, SPICE_POWER_RESULT_OK, text);
    }

    client_free(client);
    g_free(text);
    teardown();
}

/* only the client whose request was completed last is waited for */
static void test_unsent_others()
{
    char *text = g_strnfill(1024, 'a');

    setup_multiple_clients();
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *blocked = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SMALL_BUFFER);
    expect_state(blocked, SPICE_POWER_STATE_UNKNOWN, 0);

    uint32_t id = fill(blocked, 0, text);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_true(spice_server_power_is_unsent(&power));
    complete_ok();
    g_assert_false(spice_server_power_is_unsent(&power));
    expect_result(client, 1, SPICE_POWER_RESULT_OK, "");

    /* nor is one that is gone */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 2);
    pump();
    client_free(client);
    complete_ok();
    g_assert_false(spice_server_power_is_unsent(&power));

    /* the others get what they have room for, all the same */
    client_receive(blocked);
    for (uint32_t i = 1; i <= id; i++) {
        expect_result(blocked, i, SPICE_POWER_RESULT_OK, text);
    }
    fill(blocked, id, text);
    expect_warning("Connection reset by peer");
    client_free(blocked);
    g_assert_false(spice_server_power_is_unsent(&power));
    g_free(text);
    teardown();
}

static void test_blocked_result()
{
    uint16_t type;
    char *text = g_strnfill(1024, 'a');

    setup(ALL_ACTIONS);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SMALL_BUFFER);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);

    /* get results without reading them until one is not sent */
    uint32_t id = 0;
    while (n_refused == 0) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, id++);
        pump();
        if (request) {
            complete(SPICE_POWER_RESULT_OK, text);
            g_assert_cmpuint(n_requests, ==, id);
        }
        g_assert_cmpuint(n_requests, <, 1000);
    }
    /* the interface completed everything, it's the client that does not read */
    g_assert_cmpuint(n_requests, ==, id - 1);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_BUSY);
    set_state(SPICE_POWER_STATE_ON, 0);

    for (uint32_t i = 0; i < id - 1; i++) {
        expect_result(client, i, SPICE_POWER_RESULT_OK, text);
    }
    expect_refusal(client, id - 1, SPICE_POWER_RESULT_BUSY);
    expect_state(client, SPICE_POWER_STATE_ON, 0);
    g_assert_null(client_get_message(client, &type));
    reset_round(client, id);

    /* the same, but it never reads: that is limited as for all other messages */
    n_refused = 0;
    expect_warning("*client does not read what it is sent*");
    while (!server->clients.empty()) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, id++);
        pump();
        if (request) {
            complete(SPICE_POWER_RESULT_OK, text);
        }
        g_assert_cmpuint(n_refused, <, 1100);
    }
    g_assert_cmpuint(n_refused, >, 990);
    client_receive(client);
    g_assert_true(client->eof);
    g_byte_array_set_size(client->input, 0);

    client_free(client);
    g_free(text);
    teardown();
}

static void test_remove_interface()
{
    setup(SPICE_POWER_ACTION_RESET);
    set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *client = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_nonnull(request);
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    g_assert_null(power.st);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(client, 1, SPICE_POWER_RESULT_FAILED);

    expect_critical("*st != nullptr*");
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, -1);
    expect_critical("*st != nullptr*");
    set_state(SPICE_POWER_STATE_ON, 0);

    /* this client was promised answers */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 2);
    expect_refusal(client, 2, SPICE_POWER_RESULT_DENIED);
    g_assert_cmpuint(n_refused, ==, 0);
    expect_nothing(client);

    /* the old request has to be completed before there is a new one */
    add_power(SPICE_POWER_ACTION_RESET);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 3);
    expect_refusal(client, 3, SPICE_POWER_RESULT_BUSY);
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_BUSY);
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    add_power(SPICE_POWER_ACTION_RESET);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 4);
    expect_refusal(client, 4, SPICE_POWER_RESULT_BUSY);
    complete_ok();
    expect_nothing(client);
    g_assert_cmpuint(n_requests, ==, 1);
    reset_round(client, 5);

    client_free(client);
    teardown();
}

/* requests that wait for their turn when the interface is removed are refused */
static void test_remove_waiting()
{
    setup_multiple_clients();
    Client *first = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *second = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    on_request = []() {
        g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    };
    client_send(first, SPICE_MSGC_MAIN_POWER_RESET, 1);
    client_send(second, SPICE_MSGC_MAIN_POWER_RESET, 2);
    while (n_requests == 0) {
        g_main_context_iteration(basic_event_loop_get_context(), TRUE);
    }
    uint32_t passed = request->request_id;
    pump();
    // the other one was received, too, so the interface is told
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_id, ==, 3 - passed);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_FAILED);
    expect_state(first, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(first, 1, SPICE_POWER_RESULT_FAILED);
    expect_state(second, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(second, 2, SPICE_POWER_RESULT_FAILED);
    complete_ok();
    expect_nothing(first);
    expect_nothing(second);

    client_free(first);
    client_free(second);
    teardown();
}

/* who links without an interface is served as if power control were not known,
 * also when there is one later */
static void expect_no_power(Client *client)
{
    g_assert_cmphex(client->caps & POWER_CAPS, ==, 0);
    expect_nothing(client);
    expect_warning("*invalid message type*");
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_disconnect(client);
    client_free(client);
}

/* capabilities are withdrawn, nothing else of the channel's is */
static void test_remove_caps()
{
    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);
    const uint32_t other_caps = client->caps;
    expect_no_power(client);

    for (unsigned int round = 0; round < 3; round++) {
        add_power(ALL_ACTIONS);
        client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
        g_assert_cmphex(client->caps & ~CAP(CONTROL_ONLY), ==, other_caps | POWER_CAPS);
        client_free(client);

        remove_power();
        client = client_connect_flags(CAP(POWER_CONTROL), 0);
        g_assert_cmphex(client->caps, ==, other_caps);
        expect_no_power(client);

        /* the next interface is not for this one */
        client = client_connect_flags(CAP(POWER_CONTROL), 0);
        add_power(SPICE_POWER_ACTION_PAUSE);
        set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_PAUSE);
        expect_no_power(client);

        client = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_PAUSE);
        g_assert_cmphex(client->caps & ~CAP(CONTROL_ONLY), ==,
                        other_caps | CAP(POWER_CONTROL) | CAP(POWER_PAUSE));
        client_free(client);
        remove_power();
    }
    g_assert_cmpuint(n_requests, ==, 0);

    teardown();
}

/* Another interface, with other actions, while clients are connected: each of
 * them can use what was offered to it and is configured now. */
static void test_replace_interface()
{
    const uint32_t more = SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF;

    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    add_power(SPICE_POWER_ACTION_RESET);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    Client *reset = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    remove_power();
    expect_state(reset, SPICE_POWER_STATE_UNKNOWN, 0);

    add_power(SPICE_POWER_ACTION_OFF);
    expect_nothing(reset);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    expect_state(reset, SPICE_POWER_STATE_ON, 0);
    Client *off = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_OFF);
    client_send(reset, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_refusal(reset, 1, SPICE_POWER_RESULT_DENIED);
    client_send(reset, SPICE_MSGC_MAIN_POWER_OFF, 2);
    expect_refusal(reset, 2, SPICE_POWER_RESULT_DENIED);
    g_assert_cmpuint(n_refused, ==, 2);
    g_assert_cmpuint(n_requests, ==, 0);
    client_send(off, SPICE_MSGC_MAIN_POWER_OFF, 3);
    pump();
    complete_ok();
    expect_result(off, 3, SPICE_POWER_RESULT_OK, "");
    remove_power();
    expect_state(reset, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_state(off, SPICE_POWER_STATE_UNKNOWN, 0);

    add_power(more);
    set_state(SPICE_POWER_STATE_PAUSED, ALL_ACTIONS);
    Client *both = client_connect(SPICE_POWER_STATE_PAUSED, more);
    expect_state(reset, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_RESET);
    expect_state(off, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_OFF);
    /* a change that only some of them see */
    set_state(SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_OFF);
    expect_state(reset, SPICE_POWER_STATE_PAUSED, 0);
    expect_state(both, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_OFF);
    expect_nothing(off);
    client_send(reset, SPICE_MSGC_MAIN_POWER_OFF, 4);
    expect_refusal(reset, 4, SPICE_POWER_RESULT_DENIED);
    reset_round(reset, 5);
    reset_round(both, 6);

    client_free(reset);
    client_free(off);
    client_free(both);
    teardown();
}

/* what counts is what the server said in its reply to the link message, the
 * client can take its time until it authenticates */
static void test_replace_while_linking()
{
    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    Client *without = client_start_link(0, CAP(POWER_CONTROL), 0);
    g_assert_cmphex(without->caps & POWER_CAPS, ==, 0);
    add_power(SPICE_POWER_ACTION_RESET);
    set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *reset = client_start_link(0, CAP(POWER_CONTROL), 0);
    g_assert_cmphex(reset->caps & POWER_CAPS, ==, CAP(POWER_CONTROL) | CAP(POWER_RESET));
    Client *target = client_start_link(1234, CAP(POWER_CONTROL) | CAP(SEMI_SEAMLESS_MIGRATE), 0);

    remove_power();
    client_authenticate(without);
    expect_init(without);
    expect_no_power(without);
    client_authenticate(reset);
    expect_init(reset);
    expect_state(reset, SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(reset, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_refusal(reset, 1, SPICE_POWER_RESULT_DENIED);

    add_power(ALL_ACTIONS);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    expect_state(reset, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    client_authenticate(target);
    expect_nothing(target);
    client_send_body(target, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    expect_init(target);
    expect_state(target, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    client_send(target, SPICE_MSGC_MAIN_POWER_OFF, 2);
    expect_refusal(target, 2, SPICE_POWER_RESULT_DENIED);
    reset_round(target, 3);
    reset_round(reset, 4);

    client_free(reset);
    client_free(target);
    teardown();
}

/* the interface is removed by its own callback */
static void test_remove_in_callback()
{
    setup(SPICE_POWER_ACTION_RESET);
    on_request = remove_power;
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(client, 1, SPICE_POWER_RESULT_FAILED);
    expect_nothing(client);
    complete_ok();
    expect_nothing(client);

    client_free(client);
    teardown();
}

/* the server is destroyed while a request is carried out, while one waits to be
 * and without any */
static void test_destroy()
{
    setup_multiple_clients();
    set_state(SPICE_POWER_STATE_ON, 0);
    Client *first = client_connect(SPICE_POWER_STATE_ON, 0);
    Client *second = client_connect(SPICE_POWER_STATE_ON, 0);

    client_send(first, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_nonnull(request);
    /* read the message but don't run the timer that it starts */
    client_send(second, SPICE_MSGC_MAIN_POWER_OFF, 2);
    g_assert_true(g_main_context_iteration(basic_event_loop_get_context(), FALSE));
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(n_refused, ==, 0);

    spice_server_destroy(server);
    server = nullptr;
    g_assert_null(power.st);
    expect_state(first, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(first, 1, SPICE_POWER_RESULT_FAILED);
    expect_disconnect(first);
    expect_state(second, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(second, 2, SPICE_POWER_RESULT_FAILED);
    expect_disconnect(second);
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_id, ==, 2);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_FAILED);

    /* is freed, and nothing else */
    g_assert_cmpuint(request->request_id, ==, 1);
    complete_ok();

    client_free(first);
    client_free(second);
    g_test_assert_expected_messages();
    basic_event_loop_destroy();
    alarm(0);

    setup(ALL_ACTIONS);
    teardown();
}

static void assert_not_added(const SpicePowerInterface *sif, uint32_t mask,
                             const char *pattern)
{
    SpicePowerInstance instance = {
        .base = { .sif = &sif->base },
        .actions = mask,
    };

    expect_warning(pattern);
    g_assert_cmpint(spice_server_add_interface(server, &instance.base), ==, -1);
    g_assert_null(instance.st);
    g_test_assert_expected_messages();
}

/* the library is used in a wrong way */
static void test_misuse()
{
    SpicePowerInterface sif = power_interface;

    setup_no_power();
    sif.base.major_version++;
    assert_not_added(&sif, ALL_ACTIONS, "*unsupported power interface");
    sif = power_interface;
    sif.base.minor_version++;
    assert_not_added(&sif, ALL_ACTIONS, "*unsupported power interface");
    sif = power_interface;
    sif.request = nullptr;
    assert_not_added(&sif, ALL_ACTIONS, "*without request*");
    assert_not_added(&power_interface, ALL_ACTIONS + 1, "*unknown power actions 0x20");

    /* nothing was offered to clients */
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);
    g_assert_cmphex(client->caps & POWER_CAPS, ==, 0);
    expect_nothing(client);
    client_free(client);

    add_power(ALL_ACTIONS);
    assert_not_added(&power_interface, ALL_ACTIONS, "*already have power");

    expect_critical("*sin != nullptr*");
    spice_server_power_set_state(nullptr, SPICE_POWER_STATE_ON, 0);
    expect_critical("*base != nullptr*");
    spice_server_power_complete(nullptr, SPICE_POWER_RESULT_OK, nullptr);

    /* the first interface still works */
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    reset_round(client, 1);

    client_free(client);
    teardown();
}

/* an interface without refused() */
static void test_no_refused()
{
    SpicePowerInterface sif = power_interface;

    sif.refused = nullptr;
    setup_no_power();
    power.base.sif = &sif.base;
    power.actions = 0;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_refusal(client, 1, SPICE_POWER_RESULT_DENIED);

    client_free(client);
    teardown();
}

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED MigrateData {
    SpiceMigrateDataHeader header;
    SpiceMigrateDataMain main;
} MigrateData;
#include <spice/end-packed.h>

/* a client whose machine migrated to this server, or says so */
static void test_migration()
{
    const uint32_t caps = CAP(POWER_CONTROL) | CAP(SEMI_SEAMLESS_MIGRATE) | CAP(SEAMLESS_MIGRATE);
    size_t size;

    setup(ALL_ACTIONS);

    /* nothing before INIT */
    Client *client = client_link(1234, caps, 0);
    expect_nothing(client);
    set_state(SPICE_POWER_STATE_PAUSED, 0);
    set_state(SPICE_POWER_STATE_ON, 0);
    expect_nothing(client);
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    expect_init(client);
    expect_state(client, SPICE_POWER_STATE_ON, 0);
    reset_round(client, 1);
    client_free(client);

    /* no INIT in a seamless migration */
    client = client_link(1234, caps, 0);
    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, &size));
    set_state(SPICE_POWER_STATE_PAUSED, 0);
    set_state(SPICE_POWER_STATE_ON, 0);
    /* up to the channel's data the client listens to the source only */
    expect_nothing(client);
    const MigrateData data = {
        { SPICE_MIGRATE_DATA_MAIN_MAGIC, SPICE_MIGRATE_DATA_MAIN_VERSION }
    };
    client_send_body(client, SPICE_MSGC_MIGRATE_DATA, &data, sizeof(data));
    g_free(expect_message(client, SPICE_MSG_MAIN_MULTI_MEDIA_TIME, &size));
    expect_state(client, SPICE_POWER_STATE_ON, 0);
    reset_round(client, 2);
    client_free(client);

    /* no answer could be sent, so nothing is carried out */
    client = client_link(1234, caps, 0);
    expect_warning("*invalid message type*");
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 3);
    expect_disconnect(client);
    g_assert_cmpuint(n_requests, ==, 2);

    client_free(client);
    teardown();
}

/* a client that is told to go on elsewhere before its request is passed on */
static void test_migrated_away()
{
    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    RedChannelClient *mcc = (*server->clients.begin())->get_main();
    mcc->receive();
    mcc->migrate();
    pump();
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_FAILED);
    // and after that
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 2);
    pump();
    g_assert_cmpuint(n_requests, ==, 0);
    size_t size;
    g_free(expect_message(client, SPICE_MSG_MIGRATE, &size));
    expect_nothing(client);
    client_free(client);

    // one that is being carried out then: the interface is told, and not again when the
    // client has gone there
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 3);
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    mcc = (*server->clients.begin())->get_main();
    mcc->migrate();
    g_free(expect_message(client, SPICE_MSG_MIGRATE, &size));
    g_assert_cmpuint(n_cancelled, ==, 1);
    client_free(client);
    g_assert_cmpuint(n_cancelled, ==, 1);
    complete_ok();
    teardown();
}

#if HAVE_SASL
static void test_sasl()
{
    static const char *const usernames[] = { "tux@EXAMPLE", nullptr };

    setup(ALL_ACTIONS);
    spice_server_set_sasl(server, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(usernames); i++) {
        char *username = g_strdup(usernames[i]);

        test_sasl_username = username;
        expect_warning("*not initialising RSA key");
        Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SASL);
        expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
        pump();
        g_assert_nonnull(request);
        /* it's a copy */
        client_free(client);
        test_sasl_username = nullptr;
        g_free(username);
        g_assert_cmpstr(request->client->sasl_username, ==, usernames[i]);
        complete_ok();
    }
    teardown();
}
#endif

/* Connect, act, leave in one of several ways: nothing is left behind. The sanitizers
 * look at the memory; here it's what is still in use. */
static void test_rounds()
{
    const unsigned int num = 1000;
    unsigned int flags = 0;
    unsigned int num_fds = 0;

    setup(ALL_ACTIONS);
#if HAVE_SASL
    /* without the key that the server makes for each client this is ten times faster */
    flags = CLIENT_SASL;
    g_assert_cmpint(spice_server_set_sasl(server, 1), ==, 0);
#endif
    for (unsigned int i = 0; i < num; i++) {
        if (flags & CLIENT_SASL) {
            expect_warning("*not initialising RSA key");
        }
        Client *client = client_connect_flags(CAP(POWER_CONTROL), flags);
        expect_state(client, i ? SPICE_POWER_STATE_ON : SPICE_POWER_STATE_UNKNOWN, 0);
        set_state(SPICE_POWER_STATE_PAUSED, 0);
        expect_state(client, SPICE_POWER_STATE_PAUSED, 0);
        client_send(client, actions[i % G_N_ELEMENTS(actions)].type, i);
        switch (i % 6) {
        case 0: /* with the result */
            pump();
            complete(SPICE_POWER_RESULT_OK, "done");
            expect_result(client, i, SPICE_POWER_RESULT_OK, "done");
            break;
        case 1: /* without having read it */
            pump();
            complete_ok();
            expect_warning("*Connection reset by peer");
            break;
        case 2: /* before it */
            pump();
            break;
        case 3: /* before the request is carried out */
            break;
        case 4: /* after a refusal */
            pump();
            client_send(client, SPICE_MSGC_MAIN_POWER_RESET, i);
            expect_refusal(client, i, SPICE_POWER_RESULT_BUSY);
            break;
        case 5: /* in the middle of the next one */
            pump();
            client_write(client, "x", 1);
            break;
        }
        client_free(client);
        if (request) {
            complete_ok();
        }
        set_state(SPICE_POWER_STATE_ON, 0);
        g_test_assert_expected_messages();
        g_assert_cmpuint(n_requests, ==, i + 1);
        g_assert_true(server->clients.empty());
        if (i == 0) {
            num_fds = count_fds();
        }
    }
    g_assert_cmpuint(count_fds(), ==, num_fds);
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/power/caps", test_caps);
    g_test_add_data_func("/server/power/actions/mini-header", nullptr, test_actions);
    g_test_add_data_func("/server/power/actions/full-header",
                         GUINT_TO_POINTER(CLIENT_FULL_HEADER), test_actions);
    g_test_add_data_func("/server/power/actions/byte-by-byte/mini-header",
                         GUINT_TO_POINTER(CLIENT_BYTEWISE), test_actions);
    g_test_add_data_func("/server/power/actions/byte-by-byte/full-header",
                         GUINT_TO_POINTER(CLIENT_BYTEWISE | CLIENT_FULL_HEADER), test_actions);
    g_test_add_func("/server/power/results", test_results);
    g_test_add_func("/server/power/complete-in-callback", test_complete_in_callback);
    g_test_add_func("/server/power/state", test_state);
    g_test_add_func("/server/power/denied", test_denied);
    g_test_add_func("/server/power/busy", test_busy);
    g_test_add_func("/server/power/flood", test_flood);
    g_test_add_func("/server/power/pace", test_pace);
    g_test_add_func("/server/power/pace-anew", test_pace_anew);
    g_test_add_func("/server/power/two-clients", test_two_clients);
    g_test_add_func("/server/power/disconnect", test_disconnect);
    g_test_add_func("/server/power/thrown-out", test_thrown_out);
    g_test_add_func("/server/power/allowed", test_allowed);
    g_test_add_func("/server/power/allowed/in-time", test_allowed_in_time);
    g_test_add_func("/server/power/tickets", test_tickets);
    g_test_add_func("/server/power/reasons", test_reasons);
    g_test_add_data_func("/server/power/size/mini-header", nullptr, test_size);
    g_test_add_data_func("/server/power/size/full-header",
                         GUINT_TO_POINTER(CLIENT_FULL_HEADER), test_size);
    g_test_add_func("/server/power/sub-list", test_sub_list);
    g_test_add_func("/server/power/partial", test_partial);
    g_test_add_func("/server/power/not-linked", test_not_linked);
    g_test_add_func("/server/power/same-id", test_same_id);
    g_test_add_func("/server/power/many-clients", test_many_clients);
    g_test_add_func("/server/power/no-interface", test_no_interface);
    g_test_add_func("/server/power/message", test_message);
    g_test_add_func("/server/power/blocked-state", test_blocked_state);
    g_test_add_func("/server/power/blocked-result", test_blocked_result);
    g_test_add_func("/server/power/unsent", test_unsent);
    g_test_add_func("/server/power/unsent-others", test_unsent_others);
    g_test_add_func("/server/power/remove-interface", test_remove_interface);
    g_test_add_func("/server/power/remove-waiting", test_remove_waiting);
    g_test_add_func("/server/power/remove-caps", test_remove_caps);
    g_test_add_func("/server/power/replace-interface", test_replace_interface);
    g_test_add_func("/server/power/replace-while-linking", test_replace_while_linking);
    g_test_add_func("/server/power/remove-in-callback", test_remove_in_callback);
    g_test_add_func("/server/power/destroy", test_destroy);
    g_test_add_func("/server/power/misuse", test_misuse);
    g_test_add_func("/server/power/no-refused", test_no_refused);
    g_test_add_func("/server/power/migration", test_migration);
    g_test_add_func("/server/power/migrated-away", test_migrated_away);
#if HAVE_SASL
    g_test_add_func("/server/power/sasl", test_sasl);
#endif

    g_test_add_func("/server/power/rounds", test_rounds);

    return g_test_run();
}
