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
 * Test that clients are handed over to another server.
 */
#include <config.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED SwitchHostBody {
    uint16_t port;
    uint16_t tls_port;
    uint32_t host_size;
    uint32_t host_offset;
    uint32_t cert_subject_size;
    uint32_t cert_subject_offset;
} SwitchHostBody;
#include <spice/end-packed.h>

#define CONTROL_CAPS (1u << SPICE_MAIN_CAP_CONTROL_ONLY | 1u << SPICE_MAIN_CAP_POWER_CONTROL)

static SpicePowerInstance power;
static unsigned int n_requests;

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    n_requests++;
    spice_server_power_complete(request, SPICE_POWER_RESULT_OK, nullptr);
}

static const SpicePowerInterface power_interface = {
    .base = {
        .type          = SPICE_INTERFACE_POWER,
        .description   = "test power",
        .major_version = SPICE_INTERFACE_POWER_MAJOR,
        .minor_version = SPICE_INTERFACE_POWER_MINOR,
    },
    .request           = power_request,
};

static void setup(const char *address)
{
    /* a test that hangs fails; sanitizers take their time */
    alarm(300);

    SpiceCoreInterface *core = basic_event_loop_init();
    g_assert_nonnull(core);
    server = spice_server_new();
    g_assert_nonnull(server);
    if (address) {
        spice_server_set_addr(server, address, SPICE_ADDR_FLAG_UNIX_ONLY);
    }
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    g_assert_cmpint(spice_server_init(server, core), ==, 0);
    power = {};
    power.base.sif = &power_interface.base;
    power.actions = SPICE_POWER_ACTION_RESET;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    spice_server_power_set_state(&power, SPICE_POWER_STATE_ON, power.actions);
    n_requests = 0;
}

static Client *client_connect(uint32_t caps, unsigned int flags)
{
    size_t size;
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, caps, flags);

    client_authenticate(client);
    expect_init(client);
    if (caps) {
        g_free(expect_message(client, SPICE_MSG_MAIN_POWER_STATE, &size));
    }
    expect_nothing(client);
    return client;
}

static void client_leave(Client *client)
{
    client_receive(client);
    client_free(client);
    pump();
}

static void expect_string(const uint8_t *body, size_t size, uint32_t length, uint32_t offset,
                          const char *expected)
{
    length = GUINT32_FROM_LE(length);
    offset = GUINT32_FROM_LE(offset);
    if (!expected) {
        g_assert_cmpuint(length, ==, 0);
        return;
    }
    g_assert_cmpuint(length, ==, strlen(expected) + 1);
    g_assert_cmpuint(offset, <=, size);
    g_assert_cmpuint(length, <=, size - offset);
    g_assert_cmpstr(reinterpret_cast<const char *>(body + offset), ==, expected);
}

static void expect_switch(Client *client, const char *host, uint16_t port, uint16_t tls_port,
                          const char *cert_subject)
{
    size_t size;
    auto body = static_cast<uint8_t *>(
        expect_message(client, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &size));
    auto header = reinterpret_cast<SwitchHostBody *>(body);

    g_assert_cmpuint(size, >=, sizeof(*header));
    g_assert_cmpuint(GUINT16_FROM_LE(header->port), ==, port);
    g_assert_cmpuint(GUINT16_FROM_LE(header->tls_port), ==, tls_port);
    expect_string(body, size, header->host_size, header->host_offset, host);
    expect_string(body, size, header->cert_subject_size, header->cert_subject_offset,
                  cert_subject);
    g_free(body);
}

/* all kinds of clients are told, and those that come later are not */
static void test_all()
{
    static const uint32_t caps[] = { 0, 1u << SPICE_MAIN_CAP_POWER_CONTROL, CONTROL_CAPS };

    setup(nullptr);
    // nobody is there
    g_assert_cmpint(spice_server_hand_over(server, "other", 5900, 0, nullptr), ==, 0);
    g_assert_cmpint(spice_server_hand_over_is_pending(server), ==, 0);

    for (unsigned int i = 0; i < G_N_ELEMENTS(caps); i++) {
        Client *client = client_connect(caps[i], 0);
        g_assert_cmpint(spice_server_hand_over(server, "plain.example.org", 5900, 0, nullptr),
                        ==, 0);
        expect_switch(client, "plain.example.org", 5900, 0, nullptr);
        client_leave(client);

        client = client_connect(caps[i], 0);
        g_assert_cmpint(spice_server_hand_over(server, "2001:db8::1", 65535, 1, "CN=x"), ==, 0);
        expect_switch(client, "2001:db8::1", 65535, 1, "CN=x");
        client_leave(client);

        client = client_connect(caps[i], CLIENT_FULL_HEADER);
        g_assert_cmpint(spice_server_hand_over(server, "tls.example.org", 0, 5901, nullptr),
                        ==, 0);
        expect_switch(client, "tls.example.org", 0, 5901, nullptr);
        client_leave(client);
    }
    server_stop();
}

/* a viewer and a control client at a time; what they ask for afterwards is not done here */
static void test_requests()
{
    size_t size;

    setup(nullptr);
    Client *viewer = client_connect(1u << SPICE_MAIN_CAP_POWER_CONTROL, 0);
    Client *control = client_connect(CONTROL_CAPS, 0);
    client_send(control, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    g_free(expect_message(control, SPICE_MSG_MAIN_POWER_RESULT, &size));

    g_assert_cmpint(spice_server_hand_over(server, "other", 5900, 0, nullptr), ==, 0);
    expect_switch(viewer, "other", 5900, 0, nullptr);
    expect_switch(control, "other", 5900, 0, nullptr);
    client_send(viewer, SPICE_MSGC_MAIN_POWER_RESET, 2);
    client_send(control, SPICE_MSGC_MAIN_POWER_RESET, 3);
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    expect_nothing(control);
    client_leave(viewer);
    client_leave(control);
    server_stop();
}

static void expect_refused(const char *host, int port, int tls_port)
{
    expect_warning("*can't hand clients over*");
    g_assert_cmpint(spice_server_hand_over(server, host, port, tls_port, nullptr), ==, -1);
    g_test_assert_expected_messages();
}

/* nobody is sent to nowhere */
static void test_bad_values()
{
    setup(nullptr);
    Client *client = client_connect(0, 0);
    expect_refused(nullptr, 5900, 0);
    expect_refused("", 5900, 0);
    expect_refused("other", 0, 0);
    expect_refused("other", -1, 5901);
    expect_refused("other", 65536, 0);
    expect_refused("other", 5900, 65536);
    expect_nothing(client);
    client_leave(client);
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

/* a migration takes them somewhere already; before and after one they can be sent */
static void test_migration()
{
    const uint32_t caps = 1u << SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE;
    SpiceMigrateInstance migrate = {};
    size_t size;

    setup(nullptr);
    migrate.base.sif = &migrate_interface.base;
    g_assert_cmpint(spice_server_add_interface(server, &migrate.base), ==, 0);
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, caps, 0);
    client_authenticate(client);
    expect_init(client);
    g_assert_cmpint(spice_server_migrate_connect(server, "target", 5901, -1, nullptr), ==, 0);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_BEGIN, &size));
    expect_refused("other", 5900, 0);
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_CONNECTED, nullptr, 0);
    pump();
    expect_refused("other", 5900, 0);
    // it fails
    g_assert_cmpint(spice_server_migrate_end(server, FALSE), ==, 0);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_CANCEL, &size));
    g_assert_cmpint(spice_server_hand_over(server, "other", 5900, 0, nullptr), ==, 0);
    expect_switch(client, "other", 5900, 0, nullptr);
    client_leave(client);
    server_stop();
}

static uint16_t last_message(Client *client)
{
    uint16_t type = 0, last = 0;
    GBytes *body;

    client_receive(client);
    while ((body = client_take_message(client, &type)) != nullptr) {
        last = type;
        g_bytes_unref(body);
    }
    return last;
}

/* it has gone when the client has, however much it has to read before, and what it sends */
static void test_pending()
{
    setup(nullptr);
    Client *client = client_connect(0, CLIENT_SMALL_BUFFER);
    Client *control = client_connect(CONTROL_CAPS, 0);
    for (unsigned int i = 0; i < 900; i++) {
        client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
        pump();
    }
    g_assert_cmpint(spice_server_hand_over(server, "other", 5900, 0, nullptr), ==, 0);
    // without the main loop
    while (last_message(client) != SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST) {
        g_assert_cmpint(spice_server_hand_over_is_pending(server), ==, 1);
    }
    // it has read it, and has not gone yet
    g_assert_cmpint(spice_server_hand_over_is_pending(server), ==, 1);
    for (unsigned int i = 0; i < 900; i++) {
        client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
        g_assert_cmpint(spice_server_hand_over_is_pending(server), ==, 1);
    }
    client_free(client);
    // the other one is here
    g_assert_cmpint(spice_server_hand_over_is_pending(server), ==, 1);
    expect_switch(control, "other", 5900, 0, nullptr);
    client_free(control);
    g_assert_cmpint(spice_server_hand_over_is_pending(server), ==, 0);
    server_stop();
}

/* one that goes without reading it */
static void test_unread()
{
    setup(nullptr);
    Client *client = client_connect(0, CLIENT_SMALL_BUFFER);
    for (unsigned int i = 0; i < 900; i++) {
        client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
        pump();
    }
    g_assert_cmpint(spice_server_hand_over(server, "other", 5900, 0, nullptr), ==, 0);
    g_assert_cmpint(spice_server_hand_over_is_pending(server), ==, 1);
    expect_warning("Connection reset by peer");
    client_free(client);
    g_assert_cmpint(spice_server_hand_over_is_pending(server), ==, 0);
    server_stop();
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = { AF_UNIX, "" };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpuint(g_strlcpy(address.sun_path, path, sizeof(address.sun_path)),
                     <, sizeof(address.sun_path));
    int error = connect(fd, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)) == 0 ?
        0 : errno;
    close(fd);
    return error;
}

/* nobody else gets in, and who is there stays */
static void test_stop_listening()
{
    g_autofree char *dir = g_dir_make_tmp("test-hand-over-XXXXXX", nullptr);
    g_assert_nonnull(dir);
    g_autofree char *path = g_build_filename(dir, "socket", nullptr);

    setup(path);
    Client *client = client_connect(1u << SPICE_MAIN_CAP_POWER_CONTROL, 0);
    size_t size;
    g_assert_cmpint(connect_to(path), ==, 0);
    pump();
    spice_server_stop_listening(server);
    g_assert_cmpint(connect_to(path), ==, ECONNREFUSED);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_free(expect_message(client, SPICE_MSG_MAIN_POWER_RESULT, &size));
    // once more does nothing
    spice_server_stop_listening(server);
    client_leave(client);
    server_stop();
    g_unlink(path);
    g_rmdir(dir);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, nullptr);

    g_test_add_func("/server/hand-over/all", test_all);
    g_test_add_func("/server/hand-over/requests", test_requests);
    g_test_add_func("/server/hand-over/bad-values", test_bad_values);
    g_test_add_func("/server/hand-over/migration", test_migration);
    g_test_add_func("/server/hand-over/pending", test_pending);
    g_test_add_func("/server/hand-over/unread", test_unread);
    g_test_add_func("/server/hand-over/stop-listening", test_stop_listening);

    return g_test_run();
}
