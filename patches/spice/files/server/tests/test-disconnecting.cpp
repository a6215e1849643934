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
 * Test what clients are told when the server disconnects them.
 */
#include <config.h>

#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED DisconnectingBody {
    uint64_t time_stamp;
    uint32_t reason;
} DisconnectingBody;
#include <spice/end-packed.h>

static Client *client_connect(unsigned int flags)
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, flags);

    client_authenticate(client);
    expect_init(client);
    return client;
}

static void expect_reason(Client *client, uint32_t reason)
{
    size_t size;
    auto body = static_cast<DisconnectingBody *>(
        expect_message(client, SPICE_MSG_DISCONNECTING, &size));

    g_assert_cmpuint(size, ==, sizeof(*body));
    g_assert_cmpuint(body->time_stamp, !=, 0);
    g_assert_cmpuint(GUINT32_FROM_LE(body->reason), ==, reason);
    g_free(body);
    expect_disconnect(client);
    client_free(client);
}

/* another client takes its place, with both kinds of header */
static void test_replaced()
{
    server_start();
    Client *client = client_connect(0);
    Client *second = client_connect(CLIENT_FULL_HEADER);
    expect_reason(client, SPICE_LINK_ERR_REPLACED);
    expect_nothing(second);
    Client *third = client_connect(0);
    expect_reason(second, SPICE_LINK_ERR_REPLACED);
    client_free(third);
    server_stop();
}

/* the ticket with which it was let in does not count any more */
static void test_ticket()
{
    server_start();
    Client *client = client_connect(0);
    // from now on one is needed
    expect_warning("*disconnecting");
    g_assert_cmpint(spice_server_set_ticket(server, "", 0, 0, 0), ==, 0);
    expect_reason(client, SPICE_LINK_ERR_PERMISSION_DENIED);

    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    client = client_connect(0);
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 1), ==, 0);
    expect_reason(client, SPICE_LINK_ERR_PERMISSION_DENIED);

    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    client = client_connect(0);
    g_assert_cmpint(spice_server_set_power_ticket(server, "secret", 0, 0, 1), ==, 0);
    expect_reason(client, SPICE_LINK_ERR_PERMISSION_DENIED);
    server_stop();
}

static void migrate_complete(SpiceMigrateInstance *sin)
{
}

static const SpiceMigrateInterface migrate_interface = {
    {
        SPICE_INTERFACE_MIGRATION,
        "migration",
        SPICE_INTERFACE_MIGRATION_MAJOR,
        SPICE_INTERFACE_MIGRATION_MINOR
    },
    migrate_complete,
    migrate_complete,
};

/* one that migrates expects the data of the channel and nothing else */
static void test_migrated()
{
    const uint32_t caps = 1u << SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE |
        1u << SPICE_MAIN_CAP_SEAMLESS_MIGRATE | 1u << SPICE_MAIN_CAP_AGENT_CONNECTED_TOKENS;
    SpiceMigrateInstance migrate = {};
    size_t size;

    // by another one that comes, or by a ticket; before it answers, or afterwards
    for (unsigned int what = 0; what < 4; what++) {
        server_start(SERVER_SEAMLESS);
        migrate.base.sif = &migrate_interface.base;
        g_assert_cmpint(spice_server_add_interface(server, &migrate.base), ==, 0);
        Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, caps, 0);
        client_authenticate(client);
        expect_init(client);
        g_assert_cmpint(spice_server_migrate_connect(server, "target", 5901, -1, nullptr), ==, 0);
        g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS, &size));
        client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS, nullptr, 0);
        pump();
        g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
        g_free(expect_message(client, SPICE_MSG_MIGRATE, &size));
        if (what & 2) {
            client_send_body(client, SPICE_MSGC_MIGRATE_FLUSH_MARK, nullptr, 0);
            g_free(expect_message(client, SPICE_MSG_MIGRATE_DATA, &size));
        }
        Client *other = nullptr;
        if (what & 1) {
            g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, 0, 1), ==, 0);
        } else {
            other = client_connect(0);
        }
        expect_disconnect(client);
        client_free(client);
        if (other) {
            client_free(other);
        }
        server_stop();
    }
}

/* a client that reads nothing is not waited for, and one that has gone not told */
static void test_not_reading()
{
    server_start();
    Client *client = client_connect(CLIENT_SMALL_BUFFER);
    // answers that it does not read
    for (unsigned int i = 0; i < 900; i++) {
        client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
        pump();
    }
    Client *second = client_connect(0);
    expect_nothing(second);
    client_free(client);

    close(second->fd);
    second->fd = -1;
    Client *third = client_connect(0);
    expect_nothing(third);
    g_byte_array_free(second->input, TRUE);
    g_free(second);
    client_free(third);
    server_stop();
}

/* the server ends */
static void test_destroy()
{
    server_start();
    Client *client = client_connect(0);
    g_test_assert_expected_messages();
    spice_server_destroy(server);
    client_receive(client);
    g_assert_true(client->eof);
    g_assert_cmpuint(client->input->len, ==, 0);
    client_free(client);
    basic_event_loop_destroy();
    alarm(0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/disconnecting/replaced", test_replaced);
    g_test_add_func("/server/disconnecting/ticket", test_ticket);
    g_test_add_func("/server/disconnecting/migrated", test_migrated);
    g_test_add_func("/server/disconnecting/not-reading", test_not_reading);
    g_test_add_func("/server/disconnecting/destroy", test_destroy);

    return g_test_run();
}
