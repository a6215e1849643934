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
 * Test how long a client's display waits for its first message.
 */
#include <config.h>

#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "test-display-base.h"
#include "utils.h"

/* the time that there is for INIT, in s */
#define INIT_TIMEOUT 10

/* in this test a clock goes faster */
#define CLOCK_SPEED 10

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED DisplayInit {
    uint8_t pixmap_cache_id;
    uint64_t pixmap_cache_size;
    uint8_t glz_dictionary_id;
    uint32_t glz_dictionary_window_size;
} DisplayInit;
#include <spice/end-packed.h>

static Test *test;
static Client *main_client;
static Client *display_client;
static gint n_timeouts;
static unsigned int n_displays;
static guint log_handler;

/* The server calls this in place of the C library's. */
int clock_gettime(clockid_t id, struct timespec *time) noexcept
{
    const int64_t second = 1000 * 1000 * 1000;
    int ret = syscall(SYS_clock_gettime, id, time);

    if (ret == 0 && id == CLOCK_MONOTONIC) {
        int64_t fast = (time->tv_sec * second + time->tv_nsec) * CLOCK_SPEED;
        time->tv_sec = fast / second;
        time->tv_nsec = fast % second;
    }
    return ret;
}

/* the worker's */
static void count_timeouts(const gchar *domain, GLogLevelFlags level, const gchar *message,
                           gpointer data)
{
    if (!g_str_has_suffix(message, "timeout")) {
        g_error("%s", message);
    }
    g_atomic_int_inc(&n_timeouts);
}

/* the worker has begun with a client */
static void channel_event(int event, SpiceChannelEventInfo *info)
{
    if (event == SPICE_CHANNEL_EVENT_INITIALIZED && info->type == SPICE_CHANNEL_DISPLAY) {
        n_displays++;
    }
}

static void display_start()
{
    SpiceCoreInterface *core = basic_event_loop_init();

    /* a test that hangs fails; sanitizers take their time */
    alarm(60);

    n_displays = 0;
    core->channel_event = channel_event;
    test = test_new(core);
    g_log_set_always_fatal(static_cast<GLogLevelFlags>(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR));
    log_handler = g_log_set_handler(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, count_timeouts, nullptr);
    g_atomic_int_set(&n_timeouts, 0);
    test_add_display_interface(test);

    main_client = client_start_link(test->server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_authenticate(main_client);
    expect_init(main_client);
    display_client = client_start_link(test->server, main_client->session_id,
                                       SPICE_CHANNEL_DISPLAY, 0, 0, 0);
    client_authenticate(display_client);
}

static void display_stop()
{
    client_free(display_client);
    client_free(main_client);
    test_destroy(test);
    g_log_remove_handler(G_LOG_DOMAIN, log_handler);
    basic_event_loop_destroy();
    alarm(0);
}

/* a client that is busy before it sends INIT gets its display */
static void test_late()
{
    const DisplayInit init = {
        1, GUINT64_TO_LE(1024 * 1024), 1, GUINT32_TO_LE(1024 * 1024)
    };
    bool marked = false;

    display_start();
    g_usleep(INIT_TIMEOUT * G_USEC_PER_SEC / 2 / CLOCK_SPEED);
    client_send_body(display_client, SPICE_MSGC_DISPLAY_INIT, &init, sizeof(init));
    while (!marked) {
        uint16_t type;

        client_receive(display_client);
        g_assert_false(display_client->eof);
        while (GBytes *body = client_take_message(display_client, &type)) {
            marked = marked || type == SPICE_MSG_DISPLAY_MARK;
            g_bytes_unref(body);
        }
        g_usleep(1000);
    }
    g_assert_cmpint(g_atomic_int_get(&n_timeouts), ==, 0);
    display_stop();
}

/* one that sends nothing is disconnected */
static void test_never()
{
    const uint64_t second = 1000 * 1000 * 1000;

    uint64_t begin = spice_get_monotonic_time_ns();
    display_start();
    while (!display_client->eof) {
        client_receive(display_client);
        g_usleep(1000);
    }
    uint64_t passed = spice_get_monotonic_time_ns() - begin;
    g_assert_cmpuint(passed, >=, second * INIT_TIMEOUT);
    g_assert_cmpuint(passed, <, second * INIT_TIMEOUT * 2);
    g_assert_cmpint(g_atomic_int_get(&n_timeouts), ==, 1);
    display_stop();
}

/* the main loop does not wait for it, not even for its end */
static void test_client_leaves()
{
    display_start();
    while (n_displays == 0) {
        pump();
        g_usleep(1000);
    }
    /* it takes up the display now, which can't be seen; if that took longer nobody would
     * be waited for in any case */
    g_usleep(20000);
    client_free(main_client);
    pump();
    g_assert_cmpint(g_atomic_int_get(&n_timeouts), ==, 0);

    main_client = client_start_link(test->server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_authenticate(main_client);
    expect_init(main_client);
    g_assert_cmpint(g_atomic_int_get(&n_timeouts), ==, 0);
    while (!display_client->eof) {
        client_receive(display_client);
        g_usleep(1000);
    }
    display_stop();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/display-init/late", test_late);
    g_test_add_func("/server/display-init/never", test_never);
    g_test_add_func("/server/display-init/client-leaves", test_client_leaves);

    return g_test_run();
}
