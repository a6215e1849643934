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
 * Test what a client of a display hands over to a migration's target: the
 * worker thread disconnects it if that is wrong, and goes on.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>
#include <common/macros.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "migration-protocol.h"
#include "test-client.h"
#include "test-display-base.h"

#define CAP(name) (1u << SPICE_MAIN_CAP_ ## name)
#define SEAMLESS_CAPS (CAP(SEMI_SEAMLESS_MIGRATE) | CAP(SEAMLESS_MIGRATE) | \
                       CAP(AGENT_CONNECTED_TOKENS))

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED MigrateData {
    SpiceMigrateDataHeader header;
    SpiceMigrateDataDisplay display;
    uint32_t num_surfaces;
    uint32_t surfaces[2];
} MigrateData;
#include <spice/end-packed.h>

static Test *test;
/* what the worker warns of; it is told about both in this order */
static const char *expected_warnings[2];
static gint n_warnings;

static void check_warning(const gchar *domain, GLogLevelFlags level, const gchar *message,
                          gpointer data)
{
    int n = g_atomic_int_get(&n_warnings);

    if (n == G_N_ELEMENTS(expected_warnings) || !expected_warnings[n] ||
        !g_pattern_match_simple(expected_warnings[n], message)) {
        g_error("%s", message);
    }
    g_atomic_int_inc(&n_warnings);
}

/* the machine does not run yet */
static void attached_worker(QXLInstance *qin)
{
}

/* let the worker do something */
static void receive(Client *client)
{
    client_receive(client);
    g_usleep(1000);
}

static void send_data(const MigrateData *data, size_t size, const char *warning)
{
    size_t ack_size;

    expected_warnings[0] = warning;
    expected_warnings[1] = warning ? "*handle_migrate_data failed" : nullptr;
    g_atomic_int_set(&n_warnings, 0);

    Client *client = client_start_link(test->server, 1234, SPICE_CHANNEL_MAIN, 0,
                                       SEAMLESS_CAPS, 0);
    client_authenticate(client);
    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, &ack_size));
    Client *display = client_start_link(test->server, 1234, SPICE_CHANNEL_DISPLAY, 0, 0, 0);
    client_authenticate(display);
    client_send_body(display, SPICE_MSGC_MIGRATE_DATA, data, size);
    if (warning) {
        while (!display->eof) {
            receive(display);
        }
        g_assert_cmpint(g_atomic_int_get(&n_warnings), ==, 2);
    } else {
        uint16_t type = 0;

        while (type != SPICE_MSG_DISPLAY_INVAL_ALL_PALETTES) {
            GBytes *body = client_take_message(display, &type);

            if (body) {
                g_bytes_unref(body);
            } else {
                receive(display);
            }
        }
        g_assert_false(display->eof);
    }
    client_free(display);
    client_free(client);
}

static MigrateData migrate_data()
{
    MigrateData data;

    memset(&data, 0, sizeof(data));
    data.header.magic = GUINT32_TO_LE(SPICE_MIGRATE_DATA_DISPLAY_MAGIC);
    data.header.version = GUINT32_TO_LE(SPICE_MIGRATE_DATA_DISPLAY_VERSION);
    data.display.pixmap_cache_id = 1;
    data.display.pixmap_cache_size = GUINT64_TO_LE(1024 * 1024);
    data.display.pixmap_cache_freezer = TRUE;
    data.display.glz_dict_id = 1;
    data.display.glz_dict_data.size = GUINT32_TO_LE(1024 * 1024);
    data.display.glz_dict_data.max_encoders = GUINT32_TO_LE(4);
    data.display.surfaces_at_client_ptr = GUINT32_TO_LE(offsetof(MigrateData, num_surfaces));
    data.num_surfaces = GUINT32_TO_LE(2);
    data.surfaces[1] = GUINT32_TO_LE(1023);
    return data;
}

static void test_migrate_data()
{
    static const uint32_t wrong_ptrs[] = {
        0, sizeof(SpiceMigrateDataHeader) - 1, sizeof(MigrateData) - 3, 0x80000000, 0xffffffff
    };
    static const uint32_t wrong_nums[] = { 3, 0x3fffffff, 0x40000001, 0xffffffff };
    static const uint32_t wrong_sizes[] = { (1 << 25) + 1, 0x80000000, 0xffffffff };
    static const uint32_t wrong_encoders[] = { 0, 3, 5, 0xffffffff };
    MigrateData data = migrate_data();
    const size_t size = offsetof(MigrateData, num_surfaces);

    /* a test that hangs fails; sanitizers take their time */
    alarm(300);
    test = test_new(basic_event_loop_init());
    g_log_set_always_fatal(static_cast<GLogLevelFlags>(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR));
    g_log_set_handler(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, check_warning, nullptr);
    QXLInterface display_interface =
        *reinterpret_cast<const QXLInterface *>(test->qxl_instance.base.sif);
    display_interface.attached_worker = attached_worker;
    test->qxl_instance.base.sif = &display_interface.base;
    test_add_display_interface(test);

    send_data(&data, sizeof(data), nullptr);
    send_data(&data, 1, "*bad message size");
    send_data(&data, size - 1, "*bad message size");
    send_data(&data, size, "*are not in the data");
    for (uint32_t ptr : wrong_ptrs) {
        data.display.surfaces_at_client_ptr = GUINT32_TO_LE(ptr);
        send_data(&data, sizeof(data), "*are not in the data");
    }
    data = migrate_data();
    for (uint32_t num : wrong_nums) {
        data.num_surfaces = GUINT32_TO_LE(num);
        send_data(&data, sizeof(data), "*bad number of surfaces");
    }
    data = migrate_data();
    for (uint32_t wrong_size : wrong_sizes) {
        data.display.glz_dict_data.size = GUINT32_TO_LE(wrong_size);
        send_data(&data, sizeof(data), "*restoring global lz dictionary failed");
    }
    data = migrate_data();
    for (uint32_t encoders : wrong_encoders) {
        data.display.glz_dict_data.max_encoders = GUINT32_TO_LE(encoders);
        send_data(&data, sizeof(data), "*restoring global lz dictionary failed");
    }
    data = migrate_data();
    data.surfaces[1] = data.surfaces[0];
    send_data(&data, sizeof(data), "*surface 0 is already marked*");
    data.surfaces[1] = GUINT32_TO_LE(1024);
    send_data(&data, sizeof(data), "*invalid surface 1024");
    data.surfaces[1] = GUINT32_TO_LE(0xffffffff);
    send_data(&data, sizeof(data), "*invalid surface 4294967295");

    /* and a right one again */
    data = migrate_data();
    send_data(&data, sizeof(data), nullptr);
    test_destroy(test);
    basic_event_loop_destroy();
    alarm(0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/migration-display/migrate-data", test_migrate_data);

    return g_test_run();
}
