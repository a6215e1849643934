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
 * Test that nothing that a client sends to the main channel ends the server,
 * keeps it from its work, or makes it use as much memory as the client likes.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>
#ifdef HAVE_LINUX_SOCKIOS_H
#include <sys/ioctl.h>
#include <linux/sockios.h> /* SIOCOUTQ */
#endif
#include <spice/vd_agent.h>
#include <common/macros.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "migration-protocol.h"
#include "net-utils.h"
#include "test-client.h"
#include "vmc-emu.h"
#include "websocket.h"
#if HAVE_SASL
#include "test-sasl-mock.h"
#endif

#define CAP(name) (1u << SPICE_MAIN_CAP_ ## name)
#define MIGRATE_CAPS (CAP(SEMI_SEAMLESS_MIGRATE) | CAP(SEAMLESS_MIGRATE))

static Client *client_link(uint32_t connection_id, uint8_t channel_type)
{
    Client *client = client_start_link(server, connection_id, channel_type, 0, MIGRATE_CAPS, 0);

    client_authenticate(client);
    return client;
}

static Client *client_connect()
{
    Client *client = client_link(0, SPICE_CHANNEL_MAIN);

    expect_init(client);
    return client;
}

/* a client that says that its machine migrated to this server, seamlessly */
static Client *client_connect_seamless()
{
    size_t size;
    Client *client = client_link(1234, SPICE_CHANNEL_MAIN);

    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, &size));
    expect_nothing(client);
    return client;
}

/* the client is still served */
static void expect_service(Client *client)
{
    uint16_t type = 0;

    client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
    while (type != SPICE_MSG_MAIN_CHANNELS_LIST) {
        GBytes *body = client_get_message(client, &type);

        g_assert_nonnull(body);
        g_bytes_unref(body);
    }
    g_test_assert_expected_messages();
}

/* messages of a migration that there is not */
static void test_no_migration()
{
    server_start();
    Client *client = client_connect();

    expect_warning("*unexpected SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS");
    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    expect_service(client);
    expect_warning("*unexpected SPICE_MSGC_MIGRATE_END");
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    expect_service(client);
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_CONNECT_ERROR, nullptr, 0);
    expect_service(client);

    expect_warning("*unexpected flush mark");
    client_send_body(client, SPICE_MSGC_MIGRATE_FLUSH_MARK, nullptr, 0);
    expect_disconnect(client);
    client_free(client);

    client = client_connect();
    expect_warning("*unexpected");
    client_send(client, SPICE_MSGC_MIGRATE_DATA, 0);
    expect_disconnect(client);
    client_free(client);
    server_stop();
}

static void expect_no_target()
{
    Client *client = client_start_link(server, 1234, SPICE_CHANNEL_MAIN, 0, MIGRATE_CAPS, 0);

    expect_warning("*runs here already");
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(client, "", 1);
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_BAD_CONNECTION_ID);
    expect_disconnect(client);
    client_free(client);
}

/* A client can't follow a migration to where the machine runs already, and who
 * tries does not take the place of the client that is there. */
static void test_late_target()
{
    server_start();
    Client *client = client_connect_seamless();
    spice_server_vm_start(server);
    expect_nothing(client);
    client_free(client);

    client = client_connect();
    expect_no_target();
    expect_service(client);
    spice_server_vm_stop(server);
    expect_no_target();
    expect_service(client);
    client_free(client);
    server_stop();
}

/* the wrong ones after the right ones */
static void test_seamless_migration()
{
    server_start();
    Client *client = client_connect_seamless();

    expect_warning("*unexpected SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS");
    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    expect_nothing(client);
    expect_warning("*unexpected SPICE_MSGC_MIGRATE_END");
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    expect_nothing(client);
    expect_warning("*unexpected flush mark");
    client_send_body(client, SPICE_MSGC_MIGRATE_FLUSH_MARK, nullptr, 0);
    expect_disconnect(client);
    client_free(client);

    /* both at the same time */
    client = client_link(1234, SPICE_CHANNEL_MAIN);
    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    expect_warning("*unexpected SPICE_MSGC_MIGRATE_END");
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    client_receive(client);
    g_test_assert_expected_messages();
    client_free(client);
    server_stop();
}

/* channels of a second client, after the migration of a first one */
static void test_two_migrations()
{
    server_start();
    Client *client = client_connect_seamless();
    Client *inputs = client_link(1234, SPICE_CHANNEL_INPUTS);
    client_receive(inputs);
    client_free(inputs);
    client_free(client);

    client = client_link(1234, SPICE_CHANNEL_MAIN);
    inputs = client_link(1234, SPICE_CHANNEL_INPUTS);
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    expect_init(client);
    expect_service(client);
    client_receive(inputs);
    client_free(inputs);
    client_free(client);
    server_stop();
}

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED MigrateData {
    SpiceMigrateDataHeader header;
    SpiceMigrateDataMain main;
} MigrateData;
#include <spice/end-packed.h>

static void send_migrate_data(uint32_t magic, uint32_t version, size_t size,
                              const char *warning)
{
    MigrateData data;
    Client *client = client_connect_seamless();

    memset(&data, 0, sizeof(data));
    data.header.magic = magic;
    data.header.version = version;
    if (warning) {
        expect_warning(warning);
        if (size == sizeof(data)) {
            expect_warning("*bad header");
        }
        expect_warning("*handle_migrate_data failed");
    }
    client_send_body(client, SPICE_MSGC_MIGRATE_DATA, &data, size);
    if (warning) {
        expect_disconnect(client);
        g_test_assert_expected_messages();
    } else {
        expect_service(client);
    }
    client_free(client);
}

static void test_migrate_data()
{
    const uint32_t magic = SPICE_MIGRATE_DATA_MAIN_MAGIC;
    const uint32_t version = SPICE_MIGRATE_DATA_MAIN_VERSION;

    server_start();
    send_migrate_data(magic, version, sizeof(MigrateData), nullptr);
    send_migrate_data(magic + 1, version, sizeof(MigrateData), "*bad magic*");
    send_migrate_data(magic, version + 1, sizeof(MigrateData), "*unsupported version*");
    send_migrate_data(magic, version, sizeof(MigrateData) - 1, "*bad message size*");
    send_migrate_data(magic, version, sizeof(SpiceMigrateDataHeader), "*bad message size*");
    send_migrate_data(magic, version, 1, "*bad message size*");
    server_stop();
}

/* data for the agent, with any size */
static void test_agent_data(gconstpointer with_agent)
{
    /* the first of them are also too large for an int, or for one and a header */
    static const uint32_t sizes[] = {
        0xffffffff, 0xfffffff8, 0x80000000, 0x7fffffff, 0x7ffffff8, 0x1000000,
        VD_AGENT_MAX_DATA_SIZE + 1,
    };
    VmcEmu *vmc = nullptr;
    static const uint8_t body[VD_AGENT_MAX_DATA_SIZE] = { 0 };

    server_start();
    if (with_agent) {
        vmc = vmc_emu_new("vdagent", nullptr);
        g_assert_cmpint(spice_server_add_interface(server, &vmc->instance.base), ==, 0);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        Client *client = client_connect();

        if (with_agent) {
            client_send(client, SPICE_MSGC_MAIN_AGENT_START, 10);
        }
        client_send_header(client, SPICE_MSGC_MAIN_AGENT_DATA, sizes[i], 0);
        expect_warning("*channel refused to allocate buffer.");
        client_write(client, body, 100);
        client_receive(client);
        g_assert_true(client->eof);
        g_test_assert_expected_messages();
        client_free(client);
    }

    /* as much as there may be */
    if (with_agent) {
        VDAgentMessage message = { GUINT32_TO_LE(VD_AGENT_PROTOCOL), 0, 0,
                                   GUINT32_TO_LE(VD_AGENT_MAX_DATA_SIZE) };
        Client *client = client_connect();

        client_send(client, SPICE_MSGC_MAIN_AGENT_START, 10);
        client_send_body(client, SPICE_MSGC_MAIN_AGENT_DATA, &message, sizeof(message));
        pump();
        vmc_emu_reset(vmc);
        client_send_body(client, SPICE_MSGC_MAIN_AGENT_DATA, body, sizeof(body));
        client_receive(client);
        g_assert_false(client->eof);
        /* and nothing, in the middle of a message */
        client_send_body(client, SPICE_MSGC_MAIN_AGENT_DATA, &message, sizeof(message));
        expect_warning("*failed to parse*");
        client_send_body(client, SPICE_MSGC_MAIN_AGENT_DATA, nullptr, 0);
        client_receive(client);
        g_assert_true(client->eof);
        client_free(client);
        g_assert_cmpint(spice_server_remove_interface(&vmc->instance.base), ==, 0);
        vmc_emu_destroy(vmc);
    }
    server_stop();
}

/* a client that is replaced in the midst of a message for the agent */
static void test_agent_data_replaced()
{
    VmcEmu *vmc;
    const VDAgentMessage message = { GUINT32_TO_LE(VD_AGENT_PROTOCOL), 0, 0, 0 };
    Client *first, *second;

    server_start();
    vmc = vmc_emu_new("vdagent", nullptr);
    g_assert_cmpint(spice_server_add_interface(server, &vmc->instance.base), ==, 0);

    first = client_connect();
    client_send(first, SPICE_MSGC_MAIN_AGENT_START, 10);
    client_send_header(first, SPICE_MSGC_MAIN_AGENT_DATA, sizeof(message), 0);
    client_write(first, &message, sizeof(message) / 2);
    pump();

    second = client_connect();
    client_receive(first);
    g_assert_true(first->eof);
    client_send(second, SPICE_MSGC_MAIN_AGENT_START, 10);
    client_send_body(second, SPICE_MSGC_MAIN_AGENT_DATA, &message, sizeof(message));
    expect_service(second);

    client_free(first);
    client_free(second);
    g_assert_cmpint(spice_server_remove_interface(&vmc->instance.base), ==, 0);
    vmc_emu_destroy(vmc);
    server_stop();
}

static int connect_completed;

static void migrate_connect_complete(SpiceMigrateInstance *sin)
{
    connect_completed++;
}

static void migrate_end_complete(SpiceMigrateInstance *sin)
{
}

static const SpiceMigrateInterface migrate_interface = {
    {
        SPICE_INTERFACE_MIGRATION,
        "migration",
        SPICE_INTERFACE_MIGRATION_MAJOR,
        SPICE_INTERFACE_MIGRATION_MINOR
    },
    migrate_connect_complete,
    migrate_end_complete,
};

/* a second client that comes while the first one connects to where it will migrate to */
static void test_second_client_in_migration()
{
    SpiceMigrateInstance migrate = { };
    Client *first, *second;
    size_t size;

    g_setenv("SPICE_DEBUG_ALLOW_MC", "1", TRUE);
    expect_warning("*allowing multiple client connections");
    server_start();
    g_unsetenv("SPICE_DEBUG_ALLOW_MC");
    migrate.base.sif = &migrate_interface.base;
    g_assert_cmpint(spice_server_add_interface(server, &migrate.base), ==, 0);
    connect_completed = 0;

    first = client_connect();
    g_assert_cmpint(spice_server_migrate_connect(server, "localhost", 5900, -1, nullptr), ==, 0);
    g_free(expect_message(first, SPICE_MSG_MAIN_MIGRATE_BEGIN, &size));
    second = client_connect();
    g_assert_cmpint(connect_completed, ==, 0);
    client_send_body(first, SPICE_MSGC_MAIN_MIGRATE_CONNECTED, nullptr, 0);
    expect_service(second);
    g_assert_cmpint(connect_completed, ==, 1);

    client_free(first);
    client_free(second);
    server_stop();
}

/* after one round of the event loop there is something left to read */
static void expect_unread(int fd)
{
#ifdef HAVE_LINUX_SOCKIOS_H
    int unread = 0;

    g_main_context_iteration(basic_event_loop_get_context(), FALSE);
    g_assert_cmpint(ioctl(fd, SIOCOUTQ, &unread), ==, 0);
    g_assert_cmpint(unread, >, 0);
#endif
}

/* There is something else to do than to handle messages, but all of them are. */
static void test_many_messages(gconstpointer flags)
{
    const unsigned int num = 1000;

    server_start();
    if (GPOINTER_TO_UINT(flags) & CLIENT_SASL) {
        g_assert_cmpint(spice_server_set_sasl(server, 1), ==, 0);
        expect_warning("*not initialising RSA key");
    }
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0,
                                       GPOINTER_TO_UINT(flags));
    client_authenticate(client);
    expect_init(client);

    GByteArray *messages = g_byte_array_new();
    const SpiceMiniDataHeader header = { GUINT16_TO_LE(SPICE_MSGC_ACK), 0 };
    for (unsigned int i = 0; i < num; i++) {
        g_byte_array_append(messages, reinterpret_cast<const uint8_t *>(&header), sizeof(header));
    }
    client_write(client, messages->data, messages->len);
    g_byte_array_free(messages, TRUE);
    expect_unread(client->fd);
    expect_service(client);
    client_free(client);
    server_stop();
}

/* the same for what a WebSocket is made of, before there is a link message; in the end
 * this is read, and found wrong */
static void test_websocket_frames(gconstpointer data)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: binary\r\n\r\n";
    /* masked, of no length */
    const uint8_t frame[] = { static_cast<uint8_t>(GPOINTER_TO_UINT(data)), 0x80, 0, 0, 0, 0 };
    static const uint8_t magic[] = { 0x82, 0x84, 0, 0, 0, 0, 'N', 'O', 'N', 'E' };
    char reply[1024];
    int sv[2];

    server_start();
    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    red_socket_set_non_blocking(sv[1], true);
    g_assert_cmpint(spice_server_add_client(server, sv[0], 0), ==, 0);
    g_assert_cmpint(write(sv[1], request, strlen(request)), ==, strlen(request));
    pump();
    g_assert_cmpint(read(sv[1], reply, sizeof(reply)), >, 0);
    GByteArray *frames = g_byte_array_new();
    for (unsigned int i = 0; i < 1000; i++) {
        g_byte_array_append(frames, frame, sizeof(frame));
    }
    g_assert_cmpint(write(sv[1], frames->data, frames->len), ==, frames->len);
    g_byte_array_free(frames, TRUE);
    expect_unread(sv[1]);
    pump();
    g_assert_cmpint(write(sv[1], magic, sizeof(magic)), ==, sizeof(magic));
    pump();
    ssize_t len, total = 0;
    while ((len = read(sv[1], reply, sizeof(reply))) > 0) {
        total += len;
    }
    g_assert_cmpint(total, >, 0);
    g_assert_cmpint(len, ==, 0);
    close(sv[1]);
    server_stop();
}

static struct {
    const char *unread;
    GByteArray *written;
    size_t room;
} frames;

static ssize_t frames_read(void *opaque, void *buf, size_t nbyte)
{
    size_t len = MIN(nbyte, strlen(frames.unread));

    memcpy(buf, frames.unread, len);
    frames.unread += len;
    return len;
}

static ssize_t frames_write(void *opaque, const void *buf, size_t nbyte)
{
    size_t len = MIN(nbyte, frames.room);

    g_byte_array_append(frames.written, static_cast<const uint8_t *>(buf), len);
    frames.room -= len;
    return len;
}

static ssize_t frames_writev(void *opaque, struct iovec *iov, int iovcnt)
{
    ssize_t len = 0;

    for (int i = 0; i < iovcnt && frames.room; i++) {
        len += frames_write(opaque, iov[i].iov_base, iov[i].iov_len);
    }
    return len;
}

/* the socket takes a part of a frame's header, and the rest later */
static void test_websocket_header()
{
    static const char start[] = "GET / HTTP/1.1\r\n";
    static const uint8_t header[] = { 0x82, 126, 0, 200 };
    uint8_t data[200];
    struct iovec iov = { data, sizeof(data) };

    memset(data, 'x', sizeof(data));
    for (size_t room = 1; room < sizeof(header); room++) {
        frames.unread = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Protocol: binary\r\n\r\n";
        frames.written = g_byte_array_new();
        frames.room = 1000;
        RedsWebSocket *ws = websocket_new(start, strlen(start), nullptr, frames_read,
                                          frames_write, frames_writev);
        g_assert_nonnull(ws);
        g_byte_array_set_size(frames.written, 0);

        frames.room = room;
        g_assert_cmpint(websocket_writev(ws, &iov, 1, WEBSOCKET_BINARY_FINAL), ==, -1);
        g_assert_cmpint(errno, ==, EAGAIN);
        frames.room = 1000;
        g_assert_cmpint(websocket_writev(ws, &iov, 1, WEBSOCKET_BINARY_FINAL), ==, sizeof(data));
        g_assert_cmpmem(frames.written->data, sizeof(header), header, sizeof(header));
        g_assert_cmpmem(frames.written->data + sizeof(header),
                        frames.written->len - sizeof(header), data, sizeof(data));
        websocket_free(ws);
        g_byte_array_free(frames.written, TRUE);
    }
}

/* a client that sends, and does not read */
static void test_unread_messages()
{
    server_start();
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, CLIENT_SMALL_BUFFER);
    client_authenticate(client);
    expect_init(client);

    /* far more than the pipe of a client may hold, but this one reads */
    for (unsigned int i = 0; i < 3000; i++) {
        expect_service(client);
    }

    unsigned int n = 0;
    expect_warning("*client does not read what it is sent");
    G_GNUC_BEGIN_IGNORE_DEPRECATIONS
    while (spice_server_get_num_clients(server) == 1) {
        g_assert_cmpuint(++n, <, 3000);
        client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
        pump();
    }
    G_GNUC_END_IGNORE_DEPRECATIONS
    g_test_assert_expected_messages();
    client_free(client);
    server_stop();
}

/* channels that wait for a migration that does not take place */
static void test_migration_given_up()
{
    server_start();
    Client *client = client_link(1234, SPICE_CHANNEL_MAIN);
    Client *inputs = client_link(1234, SPICE_CHANNEL_INPUTS);

    client_receive(client);
    client_free(client);
    client_receive(inputs);
    g_assert_true(inputs->eof);
    client_free(inputs);
    server_stop();
}

/* a server that ends before it has done what a client that leaves makes it do */
static void test_ends_as_client_leaves()
{
    server_start();
    Client *client = client_connect();

    socket_close(client->fd);
    client->fd = -1;
    /* the server sees it, and tells itself */
    g_main_context_iteration(basic_event_loop_get_context(), FALSE);
    G_GNUC_BEGIN_IGNORE_DEPRECATIONS
    g_assert_cmpint(spice_server_get_num_clients(server), ==, 1);
    G_GNUC_END_IGNORE_DEPRECATIONS
    server_stop();
    g_byte_array_free(client->input, TRUE);
    g_free(client);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/main-channel/no-migration", test_no_migration);
    g_test_add_func("/server/main-channel/seamless-migration", test_seamless_migration);
    g_test_add_func("/server/main-channel/two-migrations", test_two_migrations);
    g_test_add_func("/server/main-channel/migration-given-up", test_migration_given_up);
    g_test_add_func("/server/main-channel/migrate-data", test_migrate_data);
    g_test_add_func("/server/main-channel/late-target", test_late_target);
    g_test_add_data_func("/server/main-channel/agent-data/no-agent", nullptr, test_agent_data);
    g_test_add_data_func("/server/main-channel/agent-data/agent", GINT_TO_POINTER(true),
                         test_agent_data);
    g_test_add_func("/server/main-channel/agent-data/replaced", test_agent_data_replaced);
    g_test_add_func("/server/main-channel/second-client-in-migration",
                    test_second_client_in_migration);
    g_test_add_data_func("/server/main-channel/many-messages", nullptr, test_many_messages);
#if HAVE_SASL
    g_test_add_data_func("/server/main-channel/many-messages/sasl",
                         GUINT_TO_POINTER(CLIENT_SASL), test_many_messages);
#endif
    g_test_add_data_func("/server/main-channel/websocket/empty", GUINT_TO_POINTER(0x82),
                         test_websocket_frames);
    g_test_add_data_func("/server/main-channel/websocket/ping", GUINT_TO_POINTER(0x89),
                         test_websocket_frames);
    g_test_add_data_func("/server/main-channel/websocket/pong", GUINT_TO_POINTER(0x8a),
                         test_websocket_frames);
    g_test_add_func("/server/main-channel/websocket/header", test_websocket_header);
    g_test_add_func("/server/main-channel/unread-messages", test_unread_messages);
    g_test_add_func("/server/main-channel/ends-as-client-leaves", test_ends_as_client_leaves);

    return g_test_run();
}
