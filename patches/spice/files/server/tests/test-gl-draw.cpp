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
 * Test a display that uses GL, and clients that do not answer what is drawn.
 */
#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "test-display-base.h"

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED DisplayInit {
    uint8_t pixmap_cache_id;
    uint64_t pixmap_cache_size;
    uint8_t glz_dictionary_id;
    uint32_t glz_dictionary_window_size;
} DisplayInit;
#include <spice/end-packed.h>

static Test *test;
/* of the worker */
static gint n_completed;
static gint last_cookie;

static void async_complete(QXLInstance *qin, uint64_t cookie)
{
    g_atomic_int_set(&last_cookie, cookie);
    g_atomic_int_inc(&n_completed);
}

/* the worker is about to send something when the client leaves */
static void check_warning(const gchar *domain, GLogLevelFlags level, const gchar *message,
                          gpointer data)
{
    if (!strstr(message, "Connection reset by peer")) {
        g_error("%s", message);
    }
}

static int open_buffer()
{
    int fd = open("/dev/null", O_RDONLY);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void scanout()
{
    spice_qxl_gl_scanout(&test->qxl_instance, open_buffer(), 640, 480, 640 * 4, 0, 0);
}

static void draw(uint64_t cookie)
{
    spice_qxl_gl_draw_async(&test->qxl_instance, 0, 0, 640, 480, cookie);
}

/* let the worker send something; what it is doesn't matter */
static void expect_something(Client *display)
{
    g_byte_array_set_size(display->input, 0);
    while (display->input->len == 0) {
        g_usleep(1000);
        client_receive(display);
        g_assert_false(display->eof);
    }
}

/* the worker has had time to do so, but nothing has been completed since */
static void expect_completed(int n, int cookie)
{
    while (g_atomic_int_get(&n_completed) < n) {
        pump();
        g_usleep(1000);
    }
    g_usleep(20000);
    g_assert_cmpint(g_atomic_int_get(&n_completed), ==, n);
    g_assert_cmpint(g_atomic_int_get(&last_cookie), ==, cookie);
}

/* another buffer, as after a reset of the machine, while a client has to answer the last draw */
static void test_unanswered_draw()
{
    const DisplayInit init = {
        1, GUINT64_TO_LE(1024 * 1024), 1, GUINT32_TO_LE(1024 * 1024)
    };

    /* a test that hangs fails; sanitizers take their time */
    alarm(300);
    test = test_new(basic_event_loop_init());
    g_log_set_always_fatal(static_cast<GLogLevelFlags>(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR));
    g_log_set_handler(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, check_warning, nullptr);
    QXLInterface display_interface =
        *reinterpret_cast<const QXLInterface *>(test->qxl_instance.base.sif);
    display_interface.async_complete = async_complete;
    test->qxl_instance.base.sif = &display_interface.base;
    test_add_display_interface(test);

    Client *client = client_start_link(test->server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_authenticate(client);
    expect_init(client);
    Client *display = client_start_link(test->server, client->session_id, SPICE_CHANNEL_DISPLAY, 0,
                                        1 << SPICE_DISPLAY_CAP_GL_SCANOUT, 0);
    client_authenticate(display);
    client_send_body(display, SPICE_MSGC_DISPLAY_INIT, &init, sizeof(init));
    expect_something(display);

    scanout();
    draw(1);
    expect_something(display);
    scanout();
    scanout();
    expect_completed(0, 0);
    client_send_body(display, SPICE_MSGC_DISPLAY_GL_DRAW_DONE, nullptr, 0);
    expect_completed(1, 1);

    /* and the client leaves instead */
    draw(2);
    scanout();
    expect_completed(1, 1);
    client_free(display);
    expect_completed(2, 2);
    client_free(client);

    test_destroy(test);
    basic_event_loop_destroy();
    alarm(0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/gl-draw/unanswered", test_unanswered_draw);

    return g_test_run();
}
