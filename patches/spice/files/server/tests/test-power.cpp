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

#include <spice.h>
#include <spice/protocol.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-power-base.h"
#if HAVE_SASL
#include "test-sasl-mock.h"
#endif
#include "push-visibility.h"
/* the library hides all types, not only the ones that say so */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wattributes"
#include "reds-private.h"
#pragma GCC diagnostic pop

/* capabilities are those of the configured actions */
static void test_caps()
{
    for (uint32_t mask = 0; mask <= ALL_ACTIONS; mask++) {
        uint32_t caps = CAP(POWER_CONTROL);

        for (size_t i = 0; i < N_ACTIONS; i++) {
            if (mask & power_action_infos[i].action) {
                caps |= power_action_infos[i].cap;
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

    for (size_t i = 0; i < N_ACTIONS; i++) {
        const uint32_t request_id = 0xfffffffe + i;

        client_send(client, power_action_infos[i].type, request_id);
        pump();
        g_assert_nonnull(request);
        g_assert_cmpuint(n_requests, ==, i + 1);
        g_assert_cmpuint(request->action, ==, power_action_infos[i].action);
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
        set_state(SPICE_POWER_STATE_PAUSED, power_action_infos[i].action);
        complete(SPICE_POWER_RESULT_OK, "done");
        set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
        expect_state(client, SPICE_POWER_STATE_PAUSED, power_action_infos[i].action);
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
        client_send(client, power_action_infos[i % N_ACTIONS].type, i);
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
    g_test_add_func("/server/power/rounds", test_rounds);

    return g_test_run();
}
