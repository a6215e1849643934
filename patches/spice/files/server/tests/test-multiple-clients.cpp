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
 * Test servers with several clients at a time, and that these have nothing which is made
 * for one.
 */
#include <config.h>

#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "vmc-emu.h"

static void server_init()
{
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    g_assert_cmpint(spice_server_init(server, basic_event_loop_init()), ==, 0);
}

static void setup()
{
    /* a test that hangs fails; sanitizers take their time */
    alarm(300);
    server = spice_server_new();
}

static Client *client_connect()
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);

    client_authenticate(client);
    expect_init(client);
    return client;
}

static int num_clients()
{
    G_GNUC_BEGIN_IGNORE_DEPRECATIONS
    return spice_server_get_num_clients(server);
    G_GNUC_END_IGNORE_DEPRECATIONS
}

static void expect_both(Client *first, Client *second)
{
    expect_nothing(first);
    expect_nothing(second);
    g_assert_cmpint(num_clients(), ==, 2);
}

/* set before the server is initialized or later, and taken back */
static void test_clients()
{
    setup();
    g_assert_cmpint(spice_server_set_multiple_clients(server, TRUE), ==, 0);
    server_init();
    Client *first = client_connect();
    Client *second = client_connect();
    expect_both(first, second);
    client_free(first);
    expect_nothing(second);
    g_assert_cmpint(spice_server_set_multiple_clients(server, FALSE), ==, 0);
    first = client_connect();
    client_receive(second);
    g_assert_true(second->eof);
    client_free(second);
    g_assert_cmpint(spice_server_set_multiple_clients(server, TRUE), ==, 0);
    second = client_connect();
    expect_both(first, second);
    client_free(first);
    client_free(second);
    server_stop();
}

/* what is there already, and what would come */
static void test_unshareable()
{
    static const SpiceBaseInterface bases[] = {
        { SPICE_INTERFACE_PLAYBACK, "", SPICE_INTERFACE_PLAYBACK_MAJOR,
          SPICE_INTERFACE_PLAYBACK_MINOR },
        { SPICE_INTERFACE_RECORD, "", SPICE_INTERFACE_RECORD_MAJOR,
          SPICE_INTERFACE_RECORD_MINOR },
        { SPICE_INTERFACE_MIGRATION, "", SPICE_INTERFACE_MIGRATION_MAJOR,
          SPICE_INTERFACE_MIGRATION_MINOR },
    };

    for (const auto &base: bases) {
        static union {
            SpicePlaybackInstance playback;
            SpiceRecordInstance record;
            SpiceMigrateInstance migration;
        } first, second;
        SpiceBaseInstance *const instances[] = {
            reinterpret_cast<SpiceBaseInstance *>(&first),
            reinterpret_cast<SpiceBaseInstance *>(&second),
        };

        setup();
        server_init();
        instances[0]->sif = instances[1]->sif = &base;
        g_assert_cmpint(spice_server_set_multiple_clients(server, TRUE), ==, 0);
        expect_warning("*can't share*");
        g_assert_cmpint(spice_server_add_interface(server, instances[0]), ==, -1);
        g_test_assert_expected_messages();

        g_assert_cmpint(spice_server_set_multiple_clients(server, FALSE), ==, 0);
        g_assert_cmpint(spice_server_add_interface(server, instances[1]), ==, 0);
        expect_warning("*can't share*");
        g_assert_cmpint(spice_server_set_multiple_clients(server, TRUE), ==, -1);
        g_test_assert_expected_messages();
        Client *client = client_connect();
        Client *other = client_connect();
        client_receive(client);
        g_assert_true(client->eof);
        client_free(client);
        client_free(other);
        server_stop();
    }

    setup();
    server_init();
    VmcEmu *agent = vmc_emu_new("vdagent", nullptr);
    g_assert_cmpint(spice_server_set_multiple_clients(server, TRUE), ==, 0);
    expect_warning("*can't share*");
    g_assert_cmpint(spice_server_add_interface(server, &agent->instance.base), ==, -1);
    g_assert_cmpint(spice_server_set_multiple_clients(server, FALSE), ==, 0);
    g_assert_cmpint(spice_server_add_interface(server, &agent->instance.base), ==, 0);
    expect_warning("*can't share*");
    g_assert_cmpint(spice_server_set_multiple_clients(server, TRUE), ==, -1);
    g_assert_cmpint(spice_server_remove_interface(&agent->instance.base), ==, 0);
    vmc_emu_destroy(agent);
    server_stop();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/multiple-clients/clients", test_clients);
    g_test_add_func("/server/multiple-clients/unshareable", test_unshareable);

    return g_test_run();
}
