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
 * Test who is let in: how clients choose to authenticate, and what the server
 * asks for.
 */
#include <config.h>

#include <string.h>

#include "test-glib-compat.h"
#include "test-client.h"
#if HAVE_SASL
#include "test-sasl-mock.h"
#endif

static int num_clients()
{
    G_GNUC_BEGIN_IGNORE_DEPRECATIONS
    return spice_server_get_num_clients(server);
    G_GNUC_END_IGNORE_DEPRECATIONS
}

static Client *start_link(unsigned int flags)
{
    return client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, flags);
}

static void expect_let_in(Client *client)
{
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_OK);
    g_assert_cmpint(num_clients(), ==, 1);
    expect_init(client);
    g_assert_false(client->eof);
    client_free(client);
    g_assert_cmpint(num_clients(), ==, 0);
}

/* the connection is closed */
static void expect_end(Client *client)
{
    client_receive(client);
    g_assert_cmpuint(client->input->len, ==, 0);
    g_assert_true(client->eof);
    g_assert_cmpint(num_clients(), ==, 0);
    client_free(client);
}

/* wrong ticket */
static void expect_denied(Client *client)
{
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_PERMISSION_DENIED);
    expect_end(client);
}

/* wrong way to authenticate */
static void expect_refused(Client *client, uint32_t error)
{
    SpiceLinkHeader header;
    SpiceLinkReply reply;

    client_read(client, &header, sizeof(header));
    g_assert_cmpuint(header.magic, ==, SPICE_MAGIC);
    g_assert_cmpuint(GUINT32_FROM_LE(header.size), ==, sizeof(reply));
    client_read(client, &reply, sizeof(reply));
    g_assert_cmpuint(GUINT32_FROM_LE(reply.error), ==, error);
    expect_end(client);
}

static void test_ticket(const char *password, size_t len, bool let_in, const char *warning)
{
    Client *client = start_link(0);

    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    if (warning) {
        expect_warning(warning);
    }
    client_send_ticket(client, password, len);
    if (let_in) {
        expect_let_in(client);
    } else {
        expect_denied(client);
    }
    g_test_assert_expected_messages();
}

static void test_tickets()
{
    /* the longest ticket, and as much as can be encrypted */
    char *longest = g_strnfill(SPICE_MAX_PASSWORD_LENGTH - 1, 'x');
    char *too_long = g_strnfill(SPICE_TICKET_KEY_PAIR_LENGTH / 8 - 42, 'x');

    /* there is no ticket yet */
    server_start(SERVER_NEEDS_TICKET);
    test_ticket("", 1, false, "*no password is set*");
    test_ticket("secret", 7, false, "*no password is set*");

    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 0), ==, 0);
    test_ticket("secret", 7, true, nullptr);
    test_ticket("secret", 6, true, nullptr);
    test_ticket("", 0, false, "*Invalid password");
    test_ticket("", 1, false, "*Invalid password");
    test_ticket("secre", 6, false, "*Invalid password");
    test_ticket("secret2", 8, false, "*Invalid password");
    test_ticket("Secret", 7, false, "*Invalid password");
    test_ticket("\0secret", 8, false, "*Invalid password");
    test_ticket(too_long, strlen(too_long), false, "*Invalid password");

    g_assert_cmpint(spice_server_set_ticket(server, longest, 0, 0, 0), ==, 0);
    test_ticket(longest, strlen(longest), true, nullptr);
    test_ticket(longest, strlen(longest) - 1, false, "*Invalid password");
    test_ticket(too_long, strlen(too_long), false, "*Invalid password");
    g_assert_cmpint(spice_server_set_ticket(server, too_long, 0, 0, 0), ==, -1);
    test_ticket(too_long, strlen(too_long), false, "*Invalid password");

    /* expired */
    g_assert_cmpint(spice_server_set_ticket(server, "secret", -1, 0, 0), ==, 0);
    test_ticket("secret", 7, false, "*Ticket has expired");
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 60, 0, 0), ==, 0);
    test_ticket("secret", 7, true, nullptr);

    /* taken back */
    g_assert_cmpint(spice_server_set_ticket(server, nullptr, 0, 0, 0), ==, 0);
    test_ticket("", 1, false, "*no password is set*");
    test_ticket("secret", 7, false, "*no password is set*");

    /* not asked for */
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    test_ticket("", 1, true, nullptr);
    test_ticket("secret", 7, true, nullptr);

    server_stop();
    g_free(longest);
    g_free(too_long);
}

/* not encrypted with the server's key */
static void test_garbage()
{
    uint8_t garbage[SPICE_TICKET_KEY_PAIR_LENGTH / 8];

    memset(garbage, 0x5a, sizeof(garbage));
    server_start(SERVER_NEEDS_TICKET);
    for (unsigned int i = 0; i < 2; i++) {
        Client *client = start_link(0);

        client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
        expect_warning("*failed to decrypt*");
        g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "error:*");
        client_write(client, garbage, sizeof(garbage));
        expect_denied(client);
        g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    }
    server_stop();
}

static void test_mechanism(uint32_t mechanism, unsigned int flags)
{
    Client *client = start_link(flags);

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*Unknown auth method*");
    client_write_u32(client, mechanism);
    expect_refused(client, SPICE_LINK_ERR_INVALID_DATA);
}

static void test_unknown_mechanisms()
{
    static const uint32_t mechanisms[] = {
        0, SPICE_COMMON_CAP_MINI_HEADER, 100, 1 << SPICE_COMMON_CAP_AUTH_SPICE << 8,
        0x01000000, 0x02000000, 0x80000000, 0xffffffff,
    };

    server_start(SERVER_NEEDS_TICKET);
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 0), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(mechanisms); i++) {
        test_mechanism(mechanisms[i], 0);
    }
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(mechanisms); i++) {
        test_mechanism(mechanisms[i], 0);
    }
    server_stop();
}

/* a client which sends its ticket at once */
static void test_no_selection()
{
    server_start(SERVER_NEEDS_TICKET);
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 0), ==, 0);
    expect_warning("*doesn't support AUTH selection");
    Client *client = start_link(CLIENT_NO_AUTH_SELECTION);
    client_send_ticket(client, "secret", 7);
    expect_let_in(client);

    expect_warning("*doesn't support AUTH selection");
    client = start_link(CLIENT_NO_AUTH_SELECTION);
    expect_warning("*Invalid password");
    client_send_ticket(client, "secre", 6);
    expect_denied(client);
    server_stop();
}

#if HAVE_SASL
/* SASL is the client's choice only if the server offers it */
static void test_sasl_off()
{
    server_start(SERVER_NEEDS_TICKET);
    test_sasl_n_conns = 0;
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 0), ==, 0);
    test_mechanism(SPICE_COMMON_CAP_AUTH_SASL, CLIENT_SASL);
    test_mechanism(SPICE_COMMON_CAP_AUTH_SASL, 0);
    g_assert_cmpint(spice_server_set_ticket(server, "secret", -1, 0, 0), ==, 0);
    test_mechanism(SPICE_COMMON_CAP_AUTH_SASL, CLIENT_SASL);
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    test_mechanism(SPICE_COMMON_CAP_AUTH_SASL, CLIENT_SASL);
    g_assert_cmpuint(test_sasl_n_conns, ==, 0);
    server_stop();
}

/* and nothing else is, if it does */
static void test_sasl_on()
{
    static const uint32_t mechanisms[] = {
        0, SPICE_COMMON_CAP_AUTH_SPICE, SPICE_COMMON_CAP_MINI_HEADER, 0xffffffff
    };

    server_start(SERVER_NEEDS_TICKET);
    test_sasl_n_conns = 0;
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 0), ==, 0);
    g_assert_cmpint(spice_server_set_sasl(server, 1), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(mechanisms); i++) {
        Client *client = start_link(0);

        expect_warning("*Unknown auth method*");
        expect_warning("*Your client doesn't handle SASL?");
        client_write_u32(client, mechanisms[i]);
        expect_refused(client, SPICE_LINK_ERR_INVALID_DATA);
    }
    expect_warning("*peer supports only spice authentication");
    expect_refused(start_link(CLIENT_NO_AUTH_SELECTION), SPICE_LINK_ERR_VERSION_MISMATCH);
    g_assert_cmpuint(test_sasl_n_conns, ==, 0);

    expect_warning("*not initialising RSA key");
    Client *client = start_link(CLIENT_SASL);
    client_authenticate(client);
    g_assert_cmpuint(test_sasl_n_conns, ==, 1);
    g_assert_cmpint(num_clients(), ==, 1);
    expect_init(client);
    client_free(client);
    server_stop();
}
#endif

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/auth/tickets", test_tickets);
    g_test_add_func("/server/auth/garbage", test_garbage);
    g_test_add_func("/server/auth/unknown-mechanisms", test_unknown_mechanisms);
    g_test_add_func("/server/auth/no-selection", test_no_selection);
#if HAVE_SASL
    g_test_add_func("/server/auth/sasl-off", test_sasl_off);
    g_test_add_func("/server/auth/sasl-on", test_sasl_on);
#endif

    return g_test_run();
}
