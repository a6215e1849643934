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
 * Test that a client can't have the server allocate as much as it likes for a message,
 * on channels of sound and graphics.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "glz-encoder-dict.h"
#include "migration-protocol.h"
#include "test-client.h"
#include "test-display-base.h"

#define MIGRATE_CAPS ((1u << SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE) | \
                      (1u << SPICE_MAIN_CAP_SEAMLESS_MIGRATE))

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED DisplayMigrateData {
    SpiceMigrateDataHeader header;
    SpiceMigrateDataDisplay display;
    uint32_t num_surfaces;
    uint8_t padding[8192];
} DisplayMigrateData;
#include <spice/end-packed.h>

static Test *test;
static guint log_handler;
static Client *client, *channel;
static gint n_refused;

/* some channels are in the thread of the display's worker */
static void count_refused(const gchar *domain, GLogLevelFlags level, const gchar *message,
                          gpointer data)
{
    if (strstr(message, "channel refused to allocate buffer")) {
        g_atomic_int_inc(&n_refused);
    } else if (!strstr(message, "unexpected message size") &&
               !strstr(message, "too large incoming message") &&
               !strstr(message, "Connection reset by peer")) {
        g_error("%s", message);
    }
}

/* the machine does not run, and has nothing to show */
static void attached_worker(QXLInstance *qin)
{
}

/* no cursor */
static int get_cursor_command(QXLInstance *qin, struct QXLCommandExt *cmd)
{
    return FALSE;
}

static int req_cursor_notification(QXLInstance *qin)
{
    return TRUE;
}

static const SpicePlaybackInterface playback_interface = {
    .base = {
        .type          = SPICE_INTERFACE_PLAYBACK,
        .description   = "test playback",
        .major_version = SPICE_INTERFACE_PLAYBACK_MAJOR,
        .minor_version = SPICE_INTERFACE_PLAYBACK_MINOR,
    },
};

static const SpiceRecordInterface record_interface = {
    .base = {
        .type          = SPICE_INTERFACE_RECORD,
        .description   = "test record",
        .major_version = SPICE_INTERFACE_RECORD_MAJOR,
        .minor_version = SPICE_INTERFACE_RECORD_MINOR,
    },
};

static SpicePlaybackInstance playback;
static SpiceRecordInstance record;

static void setup()
{
    static QXLInterface display_interface;

    /* a test that hangs fails; sanitizers take their time */
    alarm(300);
    test = test_new(basic_event_loop_init());
    g_log_set_always_fatal(static_cast<GLogLevelFlags>(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR));
    log_handler = g_log_set_handler(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, count_refused, nullptr);
    display_interface = *reinterpret_cast<const QXLInterface *>(test->qxl_instance.base.sif);
    display_interface.attached_worker = attached_worker;
    display_interface.get_cursor_command = get_cursor_command;
    display_interface.req_cursor_notification = req_cursor_notification;
    test->qxl_instance.base.sif = &display_interface.base;
    test_add_display_interface(test);
    playback.base.sif = &playback_interface.base;
    g_assert_cmpint(spice_server_add_interface(test->server, &playback.base), ==, 0);
    record.base.sif = &record_interface.base;
    g_assert_cmpint(spice_server_add_interface(test->server, &record.base), ==, 0);
}

static void teardown()
{
    g_assert_cmpint(spice_server_remove_interface(&playback.base), ==, 0);
    g_assert_cmpint(spice_server_remove_interface(&record.base), ==, 0);
    test_destroy(test);
    // test_new() might warn of ports that are in use
    g_log_remove_handler(G_LOG_DOMAIN, log_handler);
    basic_event_loop_destroy();
    alarm(0);
}

/* A new client each time: the worker might not be done with the channel of an old one. */
static void channel_connect(uint8_t channel_type)
{
    client = client_start_link(test->server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_authenticate(client);
    expect_init(client);
    channel = client_start_link(test->server, client->session_id, channel_type, 0, 0, 0);
    client_authenticate(channel);
}

static void channel_disconnect()
{
    client_free(channel);
    client_free(client);
}

static void expect_refused()
{
    while (!channel->eof) {
        client_receive(channel);
        g_usleep(1000);
    }
    g_assert_cmpint(g_atomic_int_get(&n_refused), ==, 1);
    g_atomic_int_set(&n_refused, 0);
    // the main channel is served on
    client_receive(client);
    g_assert_false(client->eof);
    channel_disconnect();
}

/* the header is enough */
static void refuse(uint8_t channel_type, uint16_t type, uint32_t size)
{
    channel_connect(channel_type);
    client_send_header(channel, type, size, 0);
    expect_refused();
}

static void test_sound()
{
    static const uint32_t sizes[] = { 0xffffffff, 0x7fffffff, 1024 * 1024 + 1 };
    static const uint8_t mode[] = { 0, 0, 0, 0, SPICE_AUDIO_DATA_MODE_RAW, 0 };
    static const uint8_t body[1024 * 1024] = { 0 };

    setup();
    for (uint32_t size: sizes) {
        refuse(SPICE_CHANNEL_RECORD, SPICE_MSGC_RECORD_DATA, size);
        refuse(SPICE_CHANNEL_RECORD, 999, size);
        refuse(SPICE_CHANNEL_PLAYBACK, 999, size);
    }

    /* more sound than any client has at once */
    channel_connect(SPICE_CHANNEL_RECORD);
    client_send_body(channel, SPICE_MSGC_RECORD_MODE, mode, sizeof(mode));
    client_send_header(channel, SPICE_MSGC_RECORD_DATA, sizeof(body), 0);
    for (size_t pos = 0; pos < sizeof(body); pos += 65536) {
        client_write(channel, body + pos, 65536);
        pump();
    }
    client_send_header(channel, SPICE_MSGC_RECORD_DATA, sizeof(body) + 1, 0);
    expect_refused();
    teardown();
}

/* data of a migration that there is not */
static void test_migration_data()
{
    setup();
    refuse(SPICE_CHANNEL_DISPLAY, SPICE_MSGC_MIGRATE_DATA, 0xffffffff);
    refuse(SPICE_CHANNEL_DISPLAY, SPICE_MSGC_MIGRATE_DATA, 0x100000);
    refuse(SPICE_CHANNEL_CURSOR, SPICE_MSGC_MIGRATE_DATA, 0xffffffff);
    refuse(SPICE_CHANNEL_CURSOR, SPICE_MSGC_MIGRATE_DATA, 0x100000);
    teardown();
}

/* data of one that there is may be larger than other messages */
static void test_expected_migration_data()
{
    const uint32_t connection_id = 1234;
    static DisplayMigrateData data;
    size_t size;

    setup();
    client = client_start_link(test->server, connection_id, SPICE_CHANNEL_MAIN, 0,
                               MIGRATE_CAPS, 0);
    client_authenticate(client);
    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, &size));
    channel = client_start_link(test->server, connection_id, SPICE_CHANNEL_DISPLAY, 0, 0, 0);
    client_authenticate(channel);

    data.header.magic = SPICE_MIGRATE_DATA_DISPLAY_MAGIC;
    data.header.version = SPICE_MIGRATE_DATA_DISPLAY_VERSION;
    data.display.glz_dict_data.size = 1024 * 1024;
    data.display.glz_dict_data.max_encoders = MIGRATE_DATA_DISPLAY_MAX_CACHE_CLIENTS;
    data.display.surfaces_at_client_ptr =
        sizeof(data) - sizeof(data.padding) - sizeof(data.num_surfaces);
    client_send_body(channel, SPICE_MSGC_MIGRATE_DATA, &data, sizeof(data));

    uint16_t type = 0;
    do {
        g_assert_false(channel->eof);
        client_receive(channel);
        while (GBytes *body = client_take_message(channel, &type)) {
            g_bytes_unref(body);
            if (type == SPICE_MSG_DISPLAY_INVAL_ALL_PALETTES) {
                break;
            }
        }
        g_usleep(1000);
    } while (type != SPICE_MSG_DISPLAY_INVAL_ALL_PALETTES);
    channel_disconnect();
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/message-size/sound", test_sound);
    g_test_add_func("/server/message-size/migration-data", test_migration_data);
    g_test_add_func("/server/message-size/expected-migration-data",
                    test_expected_migration_data);

    return g_test_run();
}
