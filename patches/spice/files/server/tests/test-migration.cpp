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
 * Test the migration of a machine with a guest agent, whatever the agent and
 * the client do, and whenever it takes place. The data that the client brings
 * to the target may be what it likes. All cases share two servers, and a client that
 * goes from one to the other.
 */
#include <config.h>

#include <string.h>
#include <spice/vd_agent.h>
#include <common/macros.h>

#include "test-glib-compat.h"
#include "main-channel-client.h"
#include "main-dispatcher.h"
#include "migration-protocol.h"
#include "red-channel-client.h"
#include "red-client.h"
#include "reds.h"
#include "test-client.h"
#include "vmc-emu.h"

#define CAP(name) (1u << SPICE_MAIN_CAP_ ## name)
#define SEAMLESS_CAPS (CAP(SEMI_SEAMLESS_MIGRATE) | CAP(SEAMLESS_MIGRATE) | \
                       CAP(AGENT_CONNECTED_TOKENS))

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED MigrateData {
    SpiceMigrateDataHeader header;
    SpiceMigrateDataMain main;
} MigrateData;

typedef struct SPICE_ATTR_PACKED VmcMigrateData {
    SpiceMigrateDataHeader header;
    SpiceMigrateDataSpiceVmc vmc;
    uint8_t written[3];
} VmcMigrateData;
#include <spice/end-packed.h>

static SpiceMigrateInstance migrate;
static VmcEmu *agent;

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

static void setup(unsigned int flags = 0)
{
    server_start(flags | SERVER_SEAMLESS);
    migrate.base.sif = &migrate_interface.base;
    g_assert_cmpint(spice_server_add_interface(server, &migrate.base), ==, 0);
}

static void agent_add()
{
    agent = vmc_emu_new("vdagent", nullptr);
    g_assert_cmpint(spice_server_add_interface(server, &agent->instance.base), ==, 0);
}

static void agent_remove()
{
    g_assert_cmpint(spice_server_remove_interface(&agent->instance.base), ==, 0);
    vmc_emu_destroy(agent);
    agent = nullptr;
}

static Client *client_link(uint32_t connection_id, uint8_t channel_type)
{
    Client *client = client_start_link(server, connection_id, channel_type, 0, SEAMLESS_CAPS, 0);

    client_authenticate(client);
    return client;
}

static Client *client_connect()
{
    Client *client = client_link(0, SPICE_CHANNEL_MAIN);

    expect_init(client);
    return client;
}

static void do_seamless(Client *client)
{
    size_t size;

    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, &size));
}

/* a client that says that its machine migrated to this server, seamlessly */
static Client *client_connect_seamless()
{
    Client *client = client_link(1234, SPICE_CHANNEL_MAIN);

    do_seamless(client);
    return client;
}

/* there is a message of that type, maybe after others */
static void expect_among_others(Client *client, uint16_t expected_type)
{
    uint16_t type = 0;

    client_receive(client);
    while (type != expected_type) {
        GBytes *body = client_take_message(client, &type);

        g_assert_nonnull(body);
        g_bytes_unref(body);
    }
}

/* the client is still served */
static void expect_service(Client *client)
{
    client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
    expect_among_others(client, SPICE_MSG_MAIN_CHANNELS_LIST);
    g_test_assert_expected_messages();
}

/* let the client connect to the target */
static void migrate_connect(Client *client)
{
    size_t size;

    g_assert_cmpint(spice_server_migrate_connect(server, "localhost", 5900, -1, nullptr), ==, 0);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS, &size));
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS, nullptr, 0);
    pump();
}

/* what the source gives to the client, for the target */
static MigrateData *expect_migrate_data(Client *client, size_t *size)
{
    client_send_body(client, SPICE_MSGC_MIGRATE_FLUSH_MARK, nullptr, 0);
    auto data = static_cast<MigrateData *>(expect_message(client, SPICE_MSG_MIGRATE_DATA, size));
    g_assert_cmpuint(*size, >=, sizeof(*data));
    g_assert_cmpuint(GUINT32_FROM_LE(data->header.magic), ==, SPICE_MIGRATE_DATA_MAIN_MAGIC);
    return data;
}

/* a client that does not start the agent */
static void test_agent_not_started()
{
    size_t size;

    setup();
    agent_add();
    Client *client = client_connect();
    migrate_connect(client);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(expect_message(client, SPICE_MSG_MIGRATE, &size));
    MigrateData *data = expect_migrate_data(client, &size);
    g_assert_cmpuint(data->main.agent_base.connected, ==, FALSE);
    g_free(data);
    client_free(client);
    agent_remove();
    server_stop();
}

/* add a chunk of a message of the agent */
static uint8_t *add_chunk(uint8_t *p, const uint8_t *data, size_t size)
{
    const VDIChunkHeader header = { GUINT32_TO_LE(VDP_CLIENT_PORT),
                                    GUINT32_TO_LE(static_cast<uint32_t>(size)) };

    memcpy(p, &header, sizeof(header));
    memcpy(p + sizeof(header), data, size);
    return p + sizeof(header) + size;
}

/* Receive what the agent sends, up to a message of that type if there is one. Returns that. */
static void *receive_agent_data(Client *client, GByteArray *data, uint16_t last, size_t *size)
{
    uint16_t type;
    GBytes *body;

    client_receive(client);
    while ((body = client_take_message(client, &type)) != nullptr) {
        if (type == last) {
            g_assert_cmpuint(client->input->len, ==, 0);
            return g_bytes_unref_to_data(body, size);
        }
        if (type != SPICE_MSG_MAIN_MULTI_MEDIA_TIME) {
            g_assert_cmpuint(type, ==, SPICE_MSG_MAIN_AGENT_DATA);
            g_byte_array_append(data,
                                static_cast<const uint8_t *>(g_bytes_get_data(body, nullptr)),
                                g_bytes_get_size(body));
        }
        g_bytes_unref(body);
        /* there may be more, now that there is room for it */
        client_receive(client);
    }
    g_assert_cmpuint(client->input->len, ==, 0);
    return nullptr;
}

static MigrateData *agent_source(const uint8_t *stream, size_t cut, size_t len, bool stopped,
                                 GByteArray *received, size_t *size)
{
    setup();
    agent_add();
    Client *client = client_connect();
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 100);
    memcpy(agent->message, stream, len);
    vmc_emu_add_read_till(agent, agent->message + cut);
    vmc_emu_add_read_till(agent, agent->message + len);
    agent->message_sizes_end--;
    pump();
    spice_server_char_device_wakeup(&agent->instance);
    g_assert_null(receive_agent_data(client, received, 0, size));
    g_assert_cmpuint(agent->pos, ==, cut);

    if (stopped) {
        spice_server_vm_stop(server);
    }
    migrate_connect(client);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(receive_agent_data(client, received, SPICE_MSG_MIGRATE, size));
    /* nothing is read any more */
    agent->message_sizes_end++;
    spice_server_char_device_wakeup(&agent->instance);
    expect_nothing(client);
    g_assert_cmpuint(agent->pos, ==, cut);
    MigrateData *data = expect_migrate_data(client, size);
    g_assert_cmpuint(data->main.agent_base.connected, ==, TRUE);
    client_free(client);
    /* but if the machine goes on here, after all */
    g_assert_cmpuint(agent->pos, ==, stopped ? cut : len);
    agent_remove();
    server_stop();
    return data;
}

static void agent_target(const uint8_t *stream, size_t cut, size_t len, bool data_first,
                         const MigrateData *data, size_t size, GByteArray *received)
{
    size_t ack_size;

    setup();
    Client *client = client_connect_seamless();
    if (data_first) {
        client_send_body(client, SPICE_MSGC_MIGRATE_DATA, data, size);
        pump();
    }
    agent_add();
    memcpy(agent->message, stream, len);
    vmc_emu_add_read_till(agent, agent->message + len);
    agent->pos = cut;
    if (!data_first) {
        client_send_body(client, SPICE_MSGC_MIGRATE_DATA, data, size);
    }
    spice_server_char_device_wakeup(&agent->instance);
    receive_agent_data(client, received, 0, &ack_size);
    g_assert_cmpuint(agent->pos, ==, len);
    client_free(client);
    agent_remove();
    server_stop();
}

/* A machine migrates when so much of what its agent sends has been read. The client gets
 * each byte of it once. */
static void test_agent_sends(gconstpointer read_len)
{
    const size_t cut = GPOINTER_TO_SIZE(read_len);
    const VDAgentMessage first = { GUINT32_TO_LE(VD_AGENT_PROTOCOL),
                                   GUINT32_TO_LE(VD_AGENT_CLIPBOARD), 0, GUINT32_TO_LE(60) };
    const VDAgentMessage second = { GUINT32_TO_LE(VD_AGENT_PROTOCOL),
                                    GUINT32_TO_LE(VD_AGENT_CLIPBOARD), 0, GUINT32_TO_LE(5) };
    uint8_t messages[105], stream[256], *end = stream;

    for (size_t i = 0; i < sizeof(messages); i++) {
        messages[i] = i;
    }
    memcpy(messages, &first, sizeof(first));
    memcpy(messages + 80, &second, sizeof(second));
    /* in three chunks, with an empty one in front of the second */
    end = add_chunk(end, messages, 45);
    end = add_chunk(end, messages, 0);
    end = add_chunk(end, messages + 45, 35);
    end = add_chunk(end, messages + 80, 25);
    const size_t len = end - stream;
    g_assert_cmpuint(len, ==, 137);

    for (unsigned int i = 0; i < 2; i++) {
        GByteArray *received = g_byte_array_new();
        size_t size;
        MigrateData *data = agent_source(stream, cut, len, i, received, &size);

        agent_target(stream, cut, len, i, data, size, received);
        g_assert_cmpmem(received->data, received->len, messages, sizeof(messages));
        g_free(data);
        g_byte_array_free(received, TRUE);
    }
}

/* What the agent has sent when the machine migrates is wrong. The next agent is heard. */
static void test_agent_invalid()
{
    const VDAgentMessage wrong = { GUINT32_TO_LE(VD_AGENT_PROTOCOL + 1), 0, 0,
                                   GUINT32_TO_LE(60) };
    const VDAgentMessage right = { GUINT32_TO_LE(VD_AGENT_PROTOCOL), 0, 0, 0 };
    uint8_t body[80] = { 0 };
    size_t size;

    setup();
    agent_add();
    Client *client = client_connect();
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 100);
    memcpy(body, &wrong, sizeof(wrong));
    add_chunk(agent->message, body, sizeof(body));
    vmc_emu_add_read_till(agent, agent->message + 50);
    pump();
    spice_server_char_device_wakeup(&agent->instance);
    migrate_connect(client);
    expect_warning("*invalid agent protocol*");
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_test_assert_expected_messages();
    expect_among_others(client, SPICE_MSG_MAIN_AGENT_DISCONNECTED);
    g_free(expect_message(client, SPICE_MSG_MIGRATE, &size));
    MigrateData *data = expect_migrate_data(client, &size);
    g_assert_cmpuint(data->main.agent_base.connected, ==, FALSE);
    g_free(data);
    client_free(client);
    vmc_emu_destroy(agent);

    agent_add();
    client = client_connect();
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 100);
    vmc_emu_add_read_till(agent, add_chunk(agent->message,
                                           reinterpret_cast<const uint8_t *>(&right),
                                           sizeof(right)));
    pump();
    spice_server_char_device_wakeup(&agent->instance);
    void *message = expect_message(client, SPICE_MSG_MAIN_AGENT_DATA, &size);
    g_assert_cmpmem(message, size, &right, sizeof(right));
    g_free(message);
    client_free(client);
    agent_remove();
    server_stop();
}

/* clients that have not been asked to connect to the target, or not seamlessly */
static void test_seamless_not_asked()
{
    size_t size;

    setup();
    spice_server_set_seamless_migration(server, FALSE);
    Client *client = client_connect();
    g_assert_cmpint(spice_server_migrate_connect(server, "localhost", 5900, -1, nullptr), ==, 0);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_BEGIN, &size));
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS, nullptr, 0);
    pump();
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_END, &size));
    client_free(client);

    /* replaced by another one */
    spice_server_set_seamless_migration(server, TRUE);
    client = client_connect();
    migrate_connect(client);
    Client *other = client_connect();
    client_free(client);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(expect_message(other, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &size));
    client_free(other);

    /* an old one, after a migration that failed */
    client = client_connect();
    migrate_connect(client);
    g_assert_cmpint(spice_server_migrate_end(server, FALSE), ==, 0);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_CANCEL, &size));
    client_free(client);
    client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_authenticate(client);
    expect_init(client);
    g_assert_cmpint(spice_server_migrate_connect(server, "localhost", 5900, -1, nullptr), ==, 0);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &size));
    client_free(client);
    server_stop();
}

/* a second client comes when the first one has connected to the target, seamlessly */
static void test_second_client_before_end()
{
    size_t size;

    setup(SERVER_MULTIPLE_CLIENTS);
    Client *first = client_connect();
    migrate_connect(first);
    Client *second = client_connect();
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(expect_message(first, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &size));
    g_free(expect_message(second, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &size));
    client_free(first);
    client_free(second);

    /* the migration fails */
    first = client_connect();
    migrate_connect(first);
    second = client_connect();
    g_assert_cmpint(spice_server_migrate_end(server, FALSE), ==, 0);
    g_free(expect_message(first, SPICE_MSG_MAIN_MIGRATE_CANCEL, &size));
    expect_nothing(second);
    client_free(first);
    client_free(second);
    server_stop();
}

/* a second client comes when the first one is about to leave */
static void test_second_client_after_end()
{
    const VDAgentMessage message = { GUINT32_TO_LE(VD_AGENT_PROTOCOL), 0, 0, 0 };
    size_t size;

    setup(SERVER_MULTIPLE_CLIENTS);
    agent_add();
    Client *first = client_connect();
    client_send(first, SPICE_MSGC_MAIN_AGENT_START, 10);
    migrate_connect(first);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(expect_message(first, SPICE_MSG_MIGRATE, &size));

    Client *second = client_connect();
    client_send(second, SPICE_MSGC_MAIN_AGENT_START, 20);
    client_send_body(second, SPICE_MSGC_MAIN_AGENT_DATA, &message, sizeof(message));
    expect_nothing(second);
    MigrateData *data = expect_migrate_data(first, &size);
    g_assert_cmpuint(data->main.agent_base.connected, ==, TRUE);
    g_assert_cmpuint(GUINT32_FROM_LE(data->main.agent_base.num_send_tokens), ==, 10);
    g_assert_cmpuint(data->main.agent_base.write_size, ==, 0);
    g_free(data);
    expect_nothing(second);
    client_free(first);
    /* the machine goes on here, and the agent gets what the second one sent */
    g_assert_cmpuint(agent->write_pos, >=, sizeof(VDIChunkHeader) + sizeof(message));
    client_free(second);
    agent_remove();
    server_stop();
}

static const uint8_t written[] = { 'a', 'b', 'c' };

static MigrateData migrate_data(bool connected)
{
    MigrateData data;

    memset(&data, 0, sizeof(data));
    data.header.magic = GUINT32_TO_LE(SPICE_MIGRATE_DATA_MAIN_MAGIC);
    data.header.version = GUINT32_TO_LE(SPICE_MIGRATE_DATA_MAIN_VERSION);
    data.main.agent_base.version = GUINT32_TO_LE(SPICE_MIGRATE_DATA_CHAR_DEVICE_VERSION);
    data.main.agent_base.connected = connected;
    data.main.agent_base.num_client_tokens = GUINT32_TO_LE(5);
    data.main.agent_base.num_send_tokens = GUINT32_TO_LE(5);
    return data;
}

static VmcMigrateData vmc_migrate_data()
{
    VmcMigrateData data;

    memset(&data, 0, sizeof(data));
    data.header.magic = GUINT32_TO_LE(SPICE_MIGRATE_DATA_SPICEVMC_MAGIC);
    data.header.version = GUINT32_TO_LE(SPICE_MIGRATE_DATA_SPICEVMC_VERSION);
    data.vmc.base.version = GUINT32_TO_LE(SPICE_MIGRATE_DATA_CHAR_DEVICE_VERSION);
    data.vmc.base.connected = TRUE;
    data.vmc.base.write_size = GUINT32_TO_LE(sizeof(written));
    data.vmc.base.write_data_ptr = GUINT32_TO_LE(offsetof(VmcMigrateData, written));
    memcpy(data.written, written, sizeof(written));
    return data;
}

/* wrong data of devices; the number of bytes is what there is in the message */
static const struct {
    uint8_t connected;
    uint32_t version;
    uint32_t write_size;
    uint32_t write_data_ptr;
    const char *warning;
} wrong_devices[] = {
    { 1, 2, 0, 0, "*migration data version 2 is bigger*" },
    { 1, 1, 1, 0, "*1 bytes at 0 are not in the data" },
    { 1, 1, 1, sizeof(SpiceMigrateDataHeader) - 1, "*are not in the data" },
    { 1, 1, 0xffffffff, sizeof(SpiceMigrateDataHeader), "*are not in the data" },
    { 1, 1, 0x80000000, sizeof(SpiceMigrateDataHeader), "*are not in the data" },
    { 1, 1, 1, 0xffffffff, "*are not in the data" },
    { 1, 1, 1, sizeof(MigrateData), "*are not in the data" },
    { 1, 1, sizeof(MigrateData) - 20, 21, "*are not in the data" },
};

/* and of the agent: how much of a chunk's and a message's header has been read, ... */
static const struct {
    uint32_t chunk_header_size;
    uint32_t partial_len;
    uint32_t ptr;
    uint8_t read_result;
    uint8_t write_result;
    uint32_t tokens;
    const char *warning;
} wrong_agents[] = {
    { 9, 0, 0, 0, 0, 0, "*invalid state of the agent" },
    { 0xffffffff, 0, 0, 0, 0, 0, "*invalid state of the agent" },
    { 8, VD_AGENT_MAX_DATA_SIZE, 8, 0, 0, 0, "*invalid state of the agent" },
    { 8, 0xffffffff, 8, 0, 0, 0, "*invalid state of the agent" },
    { 0, 0, 0, 4, 0, 0, "*invalid state of the agent" },
    { 0, 0, 0, 0, 0xff, 0, "*invalid state of the agent" },
    { 8, 10, 0, 0, 0, 0, "*10 bytes at 0 are not in the data" },
    { 8, 10, 0xffffffff, 0, 0, 0, "*are not in the data" },
    { 8, 10, sizeof(MigrateData) - 9, 0, 0, 0, "*are not in the data" },
    { 0, 0, 0, 0, 0, 11, "*client has more than 10 tokens" },
    { 0, 0, 0, 0, 0, 0xffffffff, "*client has more than 10 tokens" },
};

/* the agent sends an empty message, as the first one or after so much of it was read before */
static void expect_agent_message(Client *client)
{
    const VDAgentMessage message = { GUINT32_TO_LE(VD_AGENT_PROTOCOL), 0, 0, 0 };
    size_t size;

    vmc_emu_reset(agent);
    vmc_emu_add_read_till(agent, add_chunk(agent->message,
                                           reinterpret_cast<const uint8_t *>(&message),
                                           sizeof(message)));
    spice_server_char_device_wakeup(&agent->instance);
    void *received = expect_message(client, SPICE_MSG_MAIN_AGENT_DATA, &size);
    g_assert_cmpmem(received, size, &message, sizeof(message));
    g_free(received);
}

/* Send this to the target, when its agent is attached or before that. The next client
 * finds an agent that can be used. */
static void send_wrong_data(const MigrateData *data, const char *warning, bool data_first)
{
    setup();
    Client *client = client_connect_seamless();
    if (data_first) {
        client_send_body(client, SPICE_MSGC_MIGRATE_DATA, data, sizeof(*data));
        client_receive(client);
        g_assert_false(client->eof);
        expect_warning(warning);
        expect_warning("*failed to restore the agent");
        agent_add();
    } else {
        agent_add();
        pump();
        expect_warning(warning);
        expect_warning("*handle_migrate_data failed");
        client_send_body(client, SPICE_MSGC_MIGRATE_DATA, data, sizeof(*data));
    }
    client_receive(client);
    g_assert_true(client->eof);
    g_test_assert_expected_messages();
    client_free(client);

    client = client_connect();
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 10);
    pump();
    expect_agent_message(client);
    client_free(client);
    agent_remove();
    server_stop();
}

static void test_wrong_data()
{
    for (const auto &wrong : wrong_devices) {
        MigrateData data = migrate_data(wrong.connected);

        data.main.agent_base.version = GUINT32_TO_LE(wrong.version);
        data.main.agent_base.write_size = GUINT32_TO_LE(wrong.write_size);
        data.main.agent_base.write_data_ptr = GUINT32_TO_LE(wrong.write_data_ptr);
        send_wrong_data(&data, wrong.warning, false);
        send_wrong_data(&data, wrong.warning, true);
    }
    for (const auto &wrong : wrong_agents) {
        MigrateData data = migrate_data(true);

        data.main.agent2client.chunk_header_size = GUINT32_TO_LE(wrong.chunk_header_size);
        data.main.agent2client.chunk_header.size = GUINT32_TO_LE(100);
        data.main.agent2client.msg_header_partial_len = GUINT32_TO_LE(wrong.partial_len);
        data.main.agent2client.msg_header_ptr = GUINT32_TO_LE(wrong.ptr);
        data.main.agent2client.msg_filter_result = wrong.read_result;
        data.main.client2agent.msg_filter_result = wrong.write_result;
        data.main.agent_base.num_client_tokens = GUINT32_TO_LE(wrong.tokens);
        send_wrong_data(&data, wrong.warning, false);
        send_wrong_data(&data, wrong.warning, true);
    }
}

/* The chunk that the data tell of is empty, or of no size. The next one is taken. */
static void test_empty_chunk()
{
    setup();
    Client *client = client_connect_seamless();
    agent_add();
    MigrateData data = migrate_data(true);
    data.main.agent2client.chunk_header_size = GUINT32_TO_LE(sizeof(VDIChunkHeader));
    data.main.agent2client.msg_header_done = TRUE;
    client_send_body(client, SPICE_MSGC_MIGRATE_DATA, &data, sizeof(data));
    expect_service(client);
    expect_agent_message(client);
    client_free(client);
    agent_remove();
    server_stop();
}

/* the agent opens its port, and closes it again, before there are data for it */
static void test_agent_gone()
{
    size_t size;

    setup();
    Client *client = client_connect_seamless();
    agent_add();
    agent_remove();
    expect_nothing(client);
    MigrateData data = migrate_data(true);
    client_send_body(client, SPICE_MSGC_MIGRATE_DATA, &data, sizeof(data));
    expect_among_others(client, SPICE_MSG_MAIN_AGENT_DISCONNECTED);
    expect_nothing(client);
    agent_add();
    g_free(expect_message(client, SPICE_MSG_MAIN_AGENT_CONNECTED_TOKENS, &size));
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 10);
    pump();
    expect_agent_message(client);
    client_free(client);
    agent_remove();
    server_stop();
}

/* the agent is there before the client says that the migration is seamless */
static void test_early_agent(gconstpointer connected)
{
    setup();
    Client *client = client_link(1234, SPICE_CHANNEL_MAIN);
    expect_warning("*Init msg for client * was not sent yet*");
    agent_add();
    expect_nothing(client);
    g_test_assert_expected_messages();
    do_seamless(client);
    MigrateData data = migrate_data(connected);
    client_send_body(client, SPICE_MSGC_MIGRATE_DATA, &data, sizeof(data));
    if (connected) {
        expect_among_others(client, SPICE_MSG_MAIN_AGENT_DISCONNECTED);
    }
    expect_among_others(client, SPICE_MSG_MAIN_AGENT_CONNECTED_TOKENS);
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 10);
    pump();
    expect_agent_message(client);
    client_free(client);
    agent_remove();
    server_stop();
}

/* Data for the agent that come before the migration's data wait for these. */
static void test_early_writes()
{
    const VDAgentMessage message = { GUINT32_TO_LE(VD_AGENT_PROTOCOL), 0, 0, 0 };
    struct {
        MigrateData data;
        uint8_t written[sizeof(::written)];
    } data;

    setup();
    Client *client = client_connect_seamless();
    agent_add();
    client_send(client, SPICE_MSGC_MAIN_AGENT_START, 10);
    client_send_body(client, SPICE_MSGC_MAIN_AGENT_DATA, &message, sizeof(message));
    pump();
    g_assert_cmpuint(agent->write_pos, ==, 0);

    data.data = migrate_data(true);
    data.data.main.client_agent_started = TRUE;
    data.data.main.agent_base.write_size = GUINT32_TO_LE(sizeof(written));
    data.data.main.agent_base.write_data_ptr = GUINT32_TO_LE(sizeof(data.data));
    memcpy(data.written, written, sizeof(written));
    client_send_body(client, SPICE_MSGC_MIGRATE_DATA, &data, sizeof(data));
    client_receive(client);
    g_assert_false(client->eof);
    g_assert_cmpuint(agent->write_pos, ==,
                     sizeof(written) + sizeof(VDIChunkHeader) + sizeof(message));
    g_assert_cmpmem(agent->write_buf, sizeof(written), written, sizeof(written));
    g_assert_cmpmem(agent->write_buf + sizeof(written) + sizeof(VDIChunkHeader), sizeof(message),
                    &message, sizeof(message));
    client_free(client);
    agent_remove();
    server_stop();
}

static void send_vmc_data(const VmcMigrateData *data, const char *warning)
{
    setup();
    VmcEmu *vmc = vmc_emu_new("usbredir", nullptr);
    g_assert_cmpint(spice_server_add_interface(server, &vmc->instance.base), ==, 0);
    Client *client = client_connect_seamless();
    Client *usb = client_link(1234, SPICE_CHANNEL_USBREDIR);

    if (warning) {
        expect_warning(warning);
        expect_warning("*handle_migrate_data failed");
    } else {
        /* the client can't wait, and sends as much as the server takes */
        for (unsigned int i = 0; i < 128; i++) {
            client_send_body(usb, SPICE_MSGC_SPICEVMC_DATA, "d", 1);
        }
        client_receive(usb);
        g_assert_cmpuint(vmc->write_pos, ==, 0);
    }
    client_send_body(usb, SPICE_MSGC_MIGRATE_DATA, data, sizeof(*data));
    client_receive(usb);
    g_test_assert_expected_messages();
    if (warning) {
        g_assert_true(usb->eof);
        g_assert_cmpuint(vmc->write_pos, ==, 0);
    } else {
        g_assert_false(usb->eof);
        g_assert_cmpuint(vmc->write_pos, ==, sizeof(written) + 128);
        g_assert_cmpmem(vmc->write_buf, 4, "abcd", 4);
    }
    client_free(usb);
    client_free(client);
    g_assert_cmpint(spice_server_remove_interface(&vmc->instance.base), ==, 0);
    vmc_emu_destroy(vmc);
    server_stop();
}

static void test_vmc_data()
{
    VmcMigrateData data = vmc_migrate_data();

    send_vmc_data(&data, nullptr);
    data.vmc.base.connected = FALSE;
    send_vmc_data(&data, "*can't be restored");
    for (const auto &wrong : wrong_devices) {
        data.vmc.base.connected = wrong.connected;
        data.vmc.base.version = GUINT32_TO_LE(wrong.version);
        data.vmc.base.write_size = GUINT32_TO_LE(wrong.write_size);
        data.vmc.base.write_data_ptr = GUINT32_TO_LE(wrong.write_data_ptr);
        send_vmc_data(&data, wrong.warning);
    }
}

/* The machine is to migrate on when a client has not come completely yet, and is not alone
 * when it has. */
static void test_migrate_on_second_client()
{
    size_t size;

    setup(SERVER_MULTIPLE_CLIENTS);
    Client *first = client_link(1234, SPICE_CHANNEL_MAIN);
    pump();
    g_assert_cmpint(spice_server_migrate_connect(server, "localhost", 5900, -1, nullptr), ==, 0);
    Client *second = client_connect();
    expect_nothing(first);
    client_send_body(first, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    expect_among_others(first, SPICE_MSG_MAIN_MIGRATE_BEGIN);
    client_send_body(first, SPICE_MSGC_MAIN_MIGRATE_CONNECTED, nullptr, 0);
    pump();
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(expect_message(first, SPICE_MSG_MAIN_MIGRATE_END, &size));
    g_free(expect_message(second, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &size));
    client_free(first);
    client_free(second);
    server_stop();
}

static gpointer migrate_complete_thread(gpointer client)
{
    /* as a worker does with the last data */
    reds_get_main_dispatcher(server)->seamless_migrate_dst_complete(
        static_cast<RedClient *>(client));
    return nullptr;
}

/* The same, but it leaves when the worker has its last data. */
static void test_migrate_on_client_gone()
{
    setup();
    Client *client = client_connect_seamless();
    g_assert_cmpint(spice_server_migrate_connect(server, "localhost", 5900, -1, nullptr), ==, 0);
    Client *inputs = client_link(1234, SPICE_CHANNEL_INPUTS);
    RedChannel *channel = reds_find_channel(server, SPICE_CHANNEL_INPUTS, 0);
    RedClient *red_client =
        static_cast<RedChannelClient *>(channel->get_clients()->data)->get_client();
    g_thread_join(g_thread_new("worker", migrate_complete_thread, red_client));
    red_client->get_main()->disconnect();
    expect_disconnect(client);
    client_free(client);
    client_free(inputs);
    server_stop();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/migration/source/agent-not-started", test_agent_not_started);

    g_test_add_func("/server/migration/source/agent-invalid", test_agent_invalid);
    g_test_add_func("/server/migration/source/seamless-not-asked", test_seamless_not_asked);
    g_test_add_func("/server/migration/source/second-client-before-end",
                    test_second_client_before_end);
    g_test_add_func("/server/migration/source/second-client-after-end",
                    test_second_client_after_end);
    g_test_add_func("/server/migration/target/migrate-on/second-client",
                    test_migrate_on_second_client);
    g_test_add_func("/server/migration/target/migrate-on/client-gone",
                    test_migrate_on_client_gone);
    g_test_add_func("/server/migration/target/agent-gone", test_agent_gone);
    g_test_add_data_func("/server/migration/target/early-agent/not-started", nullptr,
                         test_early_agent);
    g_test_add_data_func("/server/migration/target/early-agent/started", GINT_TO_POINTER(true),
                         test_early_agent);
    g_test_add_func("/server/migration/target/early-writes", test_early_writes);
    g_test_add_func("/server/migration/target/wrong-data", test_wrong_data);
    g_test_add_func("/server/migration/target/empty-chunk", test_empty_chunk);
    g_test_add_func("/server/migration/target/vmc-data", test_vmc_data);
    /* before and after each header, and in the midst of everything */
    static const unsigned int read_lens[] = {
        0, 3, 8, 9, 27, 28, 29, 52, 53, 56, 61, 65, 69, 70, 103, 104, 107, 112, 130, 132, 136, 137
    };
    for (unsigned int read_len : read_lens) {
        char *path = g_strdup_printf("/server/migration/agent-sends/%u", read_len);

        g_test_add_data_func(path, GSIZE_TO_POINTER(read_len), test_agent_sends);
        g_free(path);
    }

    return g_test_run();
}
