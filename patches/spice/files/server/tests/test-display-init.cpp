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
 * Test what a client of a display begins with: what is wrong with that ends the
 * connection, and others go on.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "test-display-base.h"

#define MIGRATE_CAPS ((1u << SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE) | \
                      (1u << SPICE_MAIN_CAP_SEAMLESS_MIGRATE))
/* of GLZ, in pixels */
#define MAX_WINDOW_SIZE (1 << 25)

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED DisplayInit {
    uint8_t pixmap_cache_id;
    uint64_t pixmap_cache_size;
    uint8_t glz_dictionary_id;
    uint32_t glz_dictionary_window_size;
} DisplayInit;
#include <spice/end-packed.h>

static Test *test;
static guint log_handler;
static Client *client, *display;

/* the worker of the display has a thread of its own */
static const char *expected_warning;
static gint n_warnings;

static void count_warnings(const gchar *domain, GLogLevelFlags level, const gchar *message,
                           gpointer data)
{
    auto expected =
        static_cast<const char *>(g_atomic_pointer_get(const_cast<char **>(&expected_warning)));

    if (expected && strstr(message, expected)) {
        g_atomic_int_inc(&n_warnings);
    } else if (!strstr(message, "Connection reset by peer")) {
        g_error("%s", message);
    }
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

/* the machine does not run yet */
static void attached_worker(QXLInstance *qin)
{
}

static void setup(bool running)
{
    static const CommandType commands[] = { SIMPLE_DRAW };
    static QXLInterface display_interface;

    /* a test that hangs fails; sanitizers take their time */
    alarm(300);
    test = test_new(basic_event_loop_init());
    g_log_set_always_fatal(static_cast<GLogLevelFlags>(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR));
    log_handler = g_log_set_handler(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, count_warnings, nullptr);
    display_interface = *reinterpret_cast<const QXLInterface *>(test->qxl_instance.base.sif);
    display_interface.get_cursor_command = get_cursor_command;
    display_interface.req_cursor_notification = req_cursor_notification;
    if (!running) {
        display_interface.attached_worker = attached_worker;
    }
    test->qxl_instance.base.sif = &display_interface.base;
    test_add_display_interface(test);
    test_set_simple_command_list(test, commands, G_N_ELEMENTS(commands));
}

static void teardown()
{
    test_destroy(test);
    // test_new() might warn of ports that are in use
    g_log_remove_handler(G_LOG_DOMAIN, log_handler);
    basic_event_loop_destroy();
    alarm(0);
}

static void main_link(uint32_t connection_id)
{
    client = client_start_link(test->server, connection_id, SPICE_CHANNEL_MAIN, 0,
                               MIGRATE_CAPS, 0);
    client_authenticate(client);
}

static void display_link(uint32_t connection_id)
{
    display = client_start_link(test->server, connection_id, SPICE_CHANNEL_DISPLAY, 0, 0, 0);
    client_authenticate(display);
}

/* A new client each time: the worker might not be done with the display of an old one. */
static void display_connect()
{
    main_link(0);
    expect_init(client);
    display_link(client->session_id);
}

static void display_send_init(uint32_t glz_dictionary_window_size)
{
    const DisplayInit init = {
        1, GUINT64_TO_LE(1024 * 1024), 1, GUINT32_TO_LE(glz_dictionary_window_size)
    };

    client_send_body(display, SPICE_MSGC_DISPLAY_INIT, &init, sizeof(init));
}

static void display_expect_message(uint16_t expected_type)
{
    uint16_t type = 0;

    do {
        g_assert_false(display->eof);
        client_receive(display);
        while (GBytes *body = client_take_message(display, &type)) {
            g_bytes_unref(body);
            if (type == expected_type) {
                return;
            }
        }
        g_usleep(1000);
    } while (true);
}

static void expect_worker_warning(const char *warning)
{
    g_atomic_int_set(&n_warnings, 0);
    g_atomic_pointer_set(const_cast<char **>(&expected_warning), const_cast<char *>(warning));
}

static void display_expect_disconnect()
{
    while (!display->eof) {
        client_receive(display);
        g_usleep(1000);
    }
    g_assert_cmpint(g_atomic_int_get(&n_warnings), ==, 1);
    expect_worker_warning(nullptr);
    client_free(display);
    // the main channel is served on
    client_receive(client);
    g_assert_false(client->eof);
    client_free(client);
}

/* a client that does everything right can look at the display */
static void display_expect_service()
{
    display_connect();
    display_send_init(MAX_WINDOW_SIZE);
    display_expect_message(SPICE_MSG_DISPLAY_MARK);
    client_free(display);
    client_free(client);
}

static void test_twice()
{
    setup(true);
    display_connect();
    display_send_init(MAX_WINDOW_SIZE);
    display_expect_message(SPICE_MSG_DISPLAY_MARK);
    expect_worker_warning("unexpected SPICE_MSGC_DISPLAY_INIT");
    display_send_init(MAX_WINDOW_SIZE);
    display_expect_disconnect();

    /* at once */
    display_connect();
    expect_worker_warning("unexpected SPICE_MSGC_DISPLAY_INIT");
    display_send_init(MAX_WINDOW_SIZE);
    display_send_init(MAX_WINDOW_SIZE);
    display_expect_disconnect();

    display_expect_service();
    teardown();
}

/* of the dictionary for GLZ */
static void test_window_size()
{
    static const uint32_t sizes[] = { MAX_WINDOW_SIZE + 1, 0x7fffffff, 0x80000000, 0xffffffff };

    setup(true);
    for (uint32_t size: sizes) {
        display_connect();
        expect_worker_warning("invalid GLZ window size");
        display_send_init(size);
        display_expect_disconnect();
    }
    display_expect_service();
    teardown();
}

/* where the machine has not migrated to yet */
static void test_migration()
{
    const uint32_t connection_id = 1234;
    size_t size;

    setup(false);
    main_link(connection_id);
    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, &size));
    display_link(connection_id);
    expect_worker_warning("unexpected SPICE_MSGC_DISPLAY_INIT");
    display_send_init(MAX_WINDOW_SIZE);
    display_expect_disconnect();
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/display-init/twice", test_twice);
    g_test_add_func("/server/display-init/window-size", test_window_size);
    g_test_add_func("/server/display-init/migration", test_migration);

    return g_test_run();
}
