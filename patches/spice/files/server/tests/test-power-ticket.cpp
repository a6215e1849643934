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
 * Test the second ticket, for those who may control the power: whom it lets in. What
 * the power interface is told about it is in test-power.
 */
#include <config.h>

#include <string.h>

#include "test-glib-compat.h"
#include "test-client.h"

static Client *connect_with(const char *password)
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);

    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(client, password, strlen(password) + 1);
    return client;
}

static Client *expect_let_in(const char *password)
{
    Client *client = connect_with(password);

    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_OK);
    expect_init(client);
    return client;
}

static void test_let_in(const char *password)
{
    client_free(expect_let_in(password));
}

static void test_denied(const char *password, const char *warning)
{
    expect_warning(warning);
    Client *client = connect_with(password);
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_PERMISSION_DENIED);
    expect_disconnect(client);
    client_free(client);
    g_test_assert_expected_messages();
}

static void set_ticket(const char *password, int lifetime)
{
    g_assert_cmpint(spice_server_set_ticket(server, password, lifetime, 0, 0), ==, 0);
}

static void set_power_ticket(const char *password, int lifetime)
{
    g_assert_cmpint(spice_server_set_power_ticket(server, password, lifetime, 0, 0), ==, 0);
}

/* each lets in, and neither makes the other one weaker */
static void test_two()
{
    server_start(SERVER_NEEDS_TICKET);
    set_ticket("look", 0);
    set_power_ticket("press", 0);
    test_let_in("look");
    test_let_in("press");
    test_denied("", "*Invalid password");
    test_denied("loo", "*Invalid password");
    test_denied("presslook", "*Invalid password");

    set_power_ticket("other", 0);
    test_let_in("other");
    test_let_in("look");
    test_denied("press", "*Invalid password");

    // both the same
    set_power_ticket("look", 0);
    test_let_in("look");
    server_stop();
}

/* the one for power alone */
static void test_alone()
{
    server_start(SERVER_NEEDS_TICKET);
    test_denied("press", "*no password is set*");
    set_power_ticket("press", 0);
    test_let_in("press");
    test_denied("", "*Invalid password");
    test_denied("look", "*Invalid password");
    set_power_ticket(nullptr, 0);
    test_denied("press", "*no password is set*");
    test_denied("", "*no password is set*");
    set_power_ticket("", 0);
    test_denied("", "*no password is set*");
    server_stop();
}

static void test_expiry()
{
    server_start(SERVER_NEEDS_TICKET);
    set_ticket("look", 0);
    set_power_ticket("press", -1);
    test_denied("press", "*Ticket has expired");
    test_let_in("look");
    set_power_ticket("press", 60);
    test_let_in("press");

    // the other one
    set_ticket("look", -1);
    test_denied("look", "*Ticket has expired");
    test_let_in("press");
    test_denied("wrong", "*Invalid password");

    // both the same, of which one has expired
    set_power_ticket("look", 60);
    test_let_in("look");
    set_ticket("look", 60);
    set_power_ticket("look", -1);
    test_let_in("look");
    server_stop();
}

/* where none is needed, any password lets in as before */
static void test_noauth()
{
    server_start(SERVER_NEEDS_TICKET);
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    set_power_ticket("press", 0);
    test_let_in("press");
    test_let_in("");
    test_let_in("wrong");
    set_power_ticket("press", -1);
    test_let_in("press");
    server_stop();
}

/* clients that are there when it is set */
static void test_connected()
{
    char *longest = g_strnfill(SPICE_MAX_PASSWORD_LENGTH - 1, 'x');
    char *too_long = g_strnfill(SPICE_MAX_PASSWORD_LENGTH, 'x');

    server_start(SERVER_NEEDS_TICKET);
    set_power_ticket("press", 0);
    Client *client = expect_let_in("press");
    set_power_ticket("other", 0);
    expect_nothing(client);
    g_assert_cmpint(spice_server_set_power_ticket(server, "third", 0, 1, 0), ==, -1);
    expect_nothing(client);
    test_denied("third", "*Invalid password");
    expect_nothing(client);
    g_assert_cmpint(spice_server_set_power_ticket(server, "third", 0, 0, 1), ==, 0);
    client_receive(client);
    g_assert_true(client->eof);
    client_free(client);
    test_denied("other", "*Invalid password");
    test_let_in("third");

    set_power_ticket(longest, 0);
    test_let_in(longest);
    // one that is not set changes nothing
    client = expect_let_in(longest);
    g_assert_cmpint(spice_server_set_power_ticket(server, too_long, -1, 0, 1), ==, -1);
    expect_nothing(client);
    client_free(client);
    test_let_in(longest);
    set_ticket(longest, 0);
    set_power_ticket(nullptr, 0);
    g_assert_cmpint(spice_server_set_ticket(server, too_long, -1, 0, 1), ==, -1);
    test_let_in(longest);
    server_stop();
    g_free(longest);
    g_free(too_long);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/power-ticket/two", test_two);
    g_test_add_func("/server/power-ticket/alone", test_alone);
    g_test_add_func("/server/power-ticket/expiry", test_expiry);
    g_test_add_func("/server/power-ticket/noauth", test_noauth);
    g_test_add_func("/server/power-ticket/connected", test_connected);

    return g_test_run();
}
