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
 * Test what channel_event() of the core interface tells of clients that are not let in.
 */
#include <config.h>

#include <string.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#if HAVE_SASL
#include "test-sasl-mock.h"
#endif

/* of the last connection that has ended */
static SpiceChannelEventInfo ended;
static unsigned int n_ended;

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    if (event == SPICE_CHANNEL_EVENT_DISCONNECTED) {
        ended = *info;
        n_ended++;
    } else {
        g_assert_cmphex(info->flags & SPICE_CHANNEL_EVENT_FLAG_AUTH_FAILED, ==, 0);
    }
}

static void setup()
{
    static SpiceCoreInterface core;

    core = *basic_event_loop_init();
    core.channel_event = channel_event;
    n_ended = 0;
    server_start(SERVER_NEEDS_TICKET, &core);
}

static Client *start_link(unsigned int flags = 0)
{
    return client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, flags);
}

/* Its connection ends, or has ended already. @failure: NONE if it has not tried */
static void expect_end(Client *client, SpiceAuthFailure failure)
{
    const int flags = failure ? SPICE_CHANNEL_EVENT_FLAG_AUTH_FAILED : 0;

    client_free(client);
    pump();
    g_assert_cmpuint(n_ended, ==, 1);
    n_ended = 0;
    g_assert_cmphex(ended.flags & SPICE_CHANNEL_EVENT_FLAG_AUTH_FAILED, ==, flags);
    g_assert_cmpint(ended.auth_failure, ==, failure);
    g_test_assert_expected_messages();
}

static void send_ticket(Client *client, const char *password)
{
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(client, password, strlen(password) + 1);
}

static void expect_failure(Client *client, const char *password, const char *warning,
                           SpiceAuthFailure failure)
{
    expect_warning(warning);
    send_ticket(client, password);
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_PERMISSION_DENIED);
    g_assert_cmpuint(n_ended, ==, 1); // at once
    expect_end(client, failure);
}

static void test_ticket()
{
    setup();
    expect_failure(start_link(), "secret", "*no password is set*",
                   SPICE_AUTH_FAILURE_TICKET_NOT_SET);
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 0), ==, 0);
    expect_failure(start_link(), "", "*Invalid password", SPICE_AUTH_FAILURE_TICKET_WRONG);
    g_assert_cmpint(spice_server_set_ticket(server, "secret", -1, 0, 0), ==, 0);
    expect_failure(start_link(), "secret", "*Ticket has expired",
                   SPICE_AUTH_FAILURE_TICKET_EXPIRED);
    expect_failure(start_link(), "secre", "*Invalid password",
                   SPICE_AUTH_FAILURE_TICKET_WRONG);
    server_stop();
}

/* what is not encrypted with the server's key is no ticket either */
static void test_garbage()
{
    const uint8_t garbage[SPICE_TICKET_KEY_PAIR_LENGTH / 8] = { 0x5a };

    setup();
    Client *client = start_link();
    expect_warning("*failed to decrypt*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "error:*");
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_write(client, garbage, sizeof(garbage));
    expect_end(client, SPICE_AUTH_FAILURE_TICKET_WRONG);
    server_stop();
}

/* each channel authenticates; of those that are there already nothing else is told */
static void test_second_channel()
{
    setup();
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 0), ==, 0);
    Client *client = start_link();
    send_ticket(client, "secret");
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_OK);
    expect_init(client);
    expect_failure(client_start_link(server, client->session_id, SPICE_CHANNEL_INPUTS, 0, 0, 0),
                   "Secret", "*Invalid password", SPICE_AUTH_FAILURE_TICKET_WRONG);
    expect_end(client, SPICE_AUTH_FAILURE_NONE);
    server_stop();
}

/* who leaves, or goes wrong before, has not tried */
static void test_left()
{
    setup();
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 0), ==, 0);
    expect_end(start_link(), SPICE_AUTH_FAILURE_NONE);

    Client *client = start_link();
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_write(client, "half a ticket", 13);
    expect_end(client, SPICE_AUTH_FAILURE_NONE);

    client = start_link();
    expect_warning("*Unknown auth method*");
    client_write_u32(client, 100);
    expect_end(client, SPICE_AUTH_FAILURE_NONE);
    server_stop();
}

#if HAVE_SASL
static Client *begin_sasl(const char *mechanism)
{
    static const char mechanisms[] = ",ONE,";
    char list[sizeof(mechanisms) - 1];

    expect_warning("*not initialising RSA key");
    Client *client = start_link(CLIENT_SASL);
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SASL);
    g_assert_cmpuint(client_read_u32(client), ==, sizeof(list));
    client_read(client, list, sizeof(list));
    g_assert_cmpmem(list, sizeof(list), mechanisms, sizeof(list));
    client_write_u32(client, strlen(mechanism));
    client_write(client, mechanism, strlen(mechanism));
    return client;
}

static void expect_sasl_failure(const char *warning, SpiceAuthFailure failure)
{
    Client *client = begin_sasl("ONE");

    expect_warning(warning);
    client_write_u32(client, 0);
    expect_end(client, failure);
}

static void test_sasl()
{
    setup();
    g_assert_cmpint(spice_server_set_sasl(server, 1), ==, 0);

    test_sasl_result = SASL_BADAUTH;
    expect_sasl_failure("*sasl step failed*", SPICE_AUTH_FAILURE_SASL);
    test_sasl_result = SASL_OK;
    test_sasl_ssf = 0;
    expect_sasl_failure("*weak SSF", SPICE_AUTH_FAILURE_SASL_WEAK);
    test_sasl_ssf = 64;

    /* who leaves, or wants what is not offered, has not tried */
    expect_end(begin_sasl("ONE"), SPICE_AUTH_FAILURE_NONE);
    expect_end(begin_sasl("TWO"), SPICE_AUTH_FAILURE_NONE);
    expect_warning("*not initialising RSA key");
    Client *client = start_link(CLIENT_SASL);
    client_authenticate(client);
    expect_init(client);
    expect_end(client, SPICE_AUTH_FAILURE_NONE);
    server_stop();
}
#endif

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/auth-failure/ticket", test_ticket);
    g_test_add_func("/server/auth-failure/garbage", test_garbage);
    g_test_add_func("/server/auth-failure/second-channel", test_second_channel);
    g_test_add_func("/server/auth-failure/left", test_left);
#if HAVE_SASL
    g_test_add_func("/server/auth-failure/sasl", test_sasl);
#endif

    return g_test_run();
}
