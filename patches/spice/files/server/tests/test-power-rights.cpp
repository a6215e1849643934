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
 * What a client may do: the interface says so of each, by its ticket or its name, and
 * it may change while the client is connected.
 */
#include <config.h>

#include <string.h>
#include <spice.h>
#include <spice/protocol.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-power-base.h"
#if HAVE_SASL
#include "test-sasl-mock.h"
#endif

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

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/power/allowed", test_allowed);
    g_test_add_func("/server/power/allowed/in-time", test_allowed_in_time);
    g_test_add_func("/server/power/tickets", test_tickets);
    g_test_add_func("/server/power/reasons", test_reasons);
#if HAVE_SASL
    g_test_add_func("/server/power/sasl", test_sasl);
#endif

    return g_test_run();
}
