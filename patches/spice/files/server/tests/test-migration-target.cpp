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
 * Test what a client is told of the server that it has to go to.
 */
#include <config.h>

#include "test-glib-compat.h"
#include "test-client.h"

#define CAP(name) (1u << SPICE_MAIN_CAP_ ## name)

static SpiceMigrateInstance migrate;

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

static void setup()
{
    server_start(SERVER_SEAMLESS);
    migrate.base.sif = &migrate_interface.base;
    g_assert_cmpint(spice_server_add_interface(server, &migrate.base), ==, 0);
}

/* All messages that say where to go begin with both ports. */
static void expect_ports(Client *client, uint16_t type, uint16_t port, uint16_t tls_port)
{
    size_t size;
    auto ports = static_cast<uint16_t *>(expect_message(client, type, &size));

    g_assert_cmpuint(size, >, 2 * sizeof(*ports));
    g_assert_cmpuint(GUINT16_FROM_LE(ports[0]), ==, port);
    g_assert_cmpuint(GUINT16_FROM_LE(ports[1]), ==, tls_port);
    g_free(ports);
}

/* a port that there is not is 0 in each of the messages */
static void test_ports()
{
    static const struct {
        uint32_t caps;
        uint16_t type;
    } kinds[] = {
        { CAP(SEMI_SEAMLESS_MIGRATE), SPICE_MSG_MAIN_MIGRATE_BEGIN },
        { CAP(SEMI_SEAMLESS_MIGRATE) | CAP(SEAMLESS_MIGRATE) | CAP(AGENT_CONNECTED_TOKENS),
          SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS },
        { 0, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST },
    };
    static const struct {
        int port, tls_port;
        uint16_t told, tls_told;
    } targets[] = {
        { 5901, 5902, 5901, 5902 },
        { 5901, -1, 5901, 0 },
        { -1, 5902, 0, 5902 },
        { 0, 65535, 0, 65535 },
    };

    for (const auto &kind: kinds) {
        for (const auto &target: targets) {
            setup();
            Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, kind.caps, 0);
            client_authenticate(client);
            expect_init(client);
            g_assert_cmpint(spice_server_migrate_connect(server, "target", target.port,
                                                         target.tls_port, nullptr), ==, 0);
            if (kind.caps == 0) {
                g_assert_cmpint(spice_server_migrate_switch(server), ==, 0);
            }
            expect_ports(client, kind.type, target.told, target.tls_told);
            client_free(client);
            server_stop();
        }
    }
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/migration-target/ports", test_ports);

    return g_test_run();
}
