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
 * Test power control while the worker thread of a display draws, and clients
 * of both come and go. Made for the thread sanitizer: what the clients get is
 * looked at, but not every byte of it.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "test-display-base.h"

#define CAP(name) (1u << SPICE_MAIN_CAP_ ## name)

#define NUM_CLIENTS 4
#define NUM_ROUNDS 40
/* how much of its display a client looks at */
#define NUM_DRAW_MESSAGES 20

static Test *test;
static SpicePowerInstance power;
static unsigned int n_requests;
static uint32_t power_state = SPICE_POWER_STATE_ON;

static void complete_later(void *opaque);

/* Every other request takes some time. A reset leaves everything as it is, the other
 * actions change the state. The worker is not stopped: this waits for clients to read,
 * and they are in this thread. */
static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    if (++n_requests % 2) {
        GSource *source = g_timeout_source_new(1);

        g_source_set_callback(source, [](gpointer opaque) -> gboolean {
            complete_later(opaque);
            return G_SOURCE_REMOVE;
        }, request, nullptr);
        g_source_attach(source, basic_event_loop_get_context());
        g_source_unref(source);
    } else {
        complete_later(request);
    }
}

static void complete_later(void *opaque)
{
    auto request = static_cast<SpicePowerRequest *>(opaque);

    if (request->action == SPICE_POWER_ACTION_PAUSE) {
        power_state = SPICE_POWER_STATE_PAUSED;
    } else if (request->action == SPICE_POWER_ACTION_CONTINUE) {
        power_state = SPICE_POWER_STATE_ON;
    }
    spice_server_power_set_state(&power, power_state, SPICE_POWER_ACTION_MASK);
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

/* no cursor */
static int get_cursor_command(QXLInstance *qin, struct QXLCommandExt *cmd)
{
    return FALSE;
}

static int req_cursor_notification(QXLInstance *qin)
{
    return TRUE;
}

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED DisplayInit {
    uint8_t pixmap_cache_id;
    uint64_t pixmap_cache_size;
    uint8_t glz_dictionary_id;
    uint32_t glz_dictionary_window_size;
} DisplayInit;

typedef struct SPICE_ATTR_PACKED ResultBody {
    uint32_t request_id;
    uint8_t result;
} ResultBody;

typedef struct SPICE_ATTR_PACKED SetAck {
    uint32_t generation;
    uint32_t window;
} SetAck;
#include <spice/end-packed.h>

/* the main channel and a display channel */
struct Viewer {
    Client *main;
    Client *display;
    uint32_t ack_window;
    uint32_t n_unacked;
    uint32_t n_drawn;
    uint32_t request_id;
    /* of the last request, -1 if there is none yet */
    int result;
};

static Viewer viewers[NUM_CLIENTS];

static void viewer_connect(Viewer *viewer)
{
    memset(viewer, 0, sizeof(*viewer));
    viewer->main = client_start_link(test->server, 0, SPICE_CHANNEL_MAIN, 0,
                                     CAP(POWER_CONTROL), 0);
    client_authenticate(viewer->main);
    expect_init(viewer->main);
}

static void viewer_link_display(Viewer *viewer)
{
    viewer->display = client_start_link(test->server, viewer->main->session_id,
                                        SPICE_CHANNEL_DISPLAY, 0, 0, 0);
    client_authenticate(viewer->display);
}

static void viewer_connect_display(Viewer *viewer)
{
    const DisplayInit init = {
        1, GUINT64_TO_LE(1024 * 1024), 1, GUINT32_TO_LE(1024 * 1024)
    };

    viewer_link_display(viewer);
    client_send_body(viewer->display, SPICE_MSGC_DISPLAY_INIT, &init, sizeof(init));
}

static void client_disconnect(Client **client)
{
    if (*client) {
        client_free(*client);
        *client = nullptr;
    }
}

static void look_at_main(Viewer *viewer)
{
    uint16_t type;

    while (GBytes *body = client_get_message(viewer->main, &type)) {
        if (type == SPICE_MSG_MAIN_POWER_RESULT) {
            auto result = static_cast<const ResultBody *>(g_bytes_get_data(body, nullptr));

            g_assert_cmpuint(GUINT32_FROM_LE(result->request_id), ==, viewer->request_id);
            viewer->result = result->result;
        }
        g_bytes_unref(body);
    }
    g_assert_false(viewer->main->eof);
}

/* the worker sends while the main loop has nothing to do, so messages are not complete */
static void look_at_display(Viewer *viewer)
{
    uint16_t type;

    client_receive(viewer->display);
    while (GBytes *body = client_take_message(viewer->display, &type)) {
        if (type == SPICE_MSG_SET_ACK) {
            auto ack = static_cast<const SetAck *>(g_bytes_get_data(body, nullptr));

            viewer->ack_window = GUINT32_FROM_LE(ack->window);
            viewer->n_unacked = 0;
            client_send(viewer->display, SPICE_MSGC_ACK_SYNC, GUINT32_FROM_LE(ack->generation));
        } else if (viewer->ack_window && ++viewer->n_unacked == viewer->ack_window) {
            viewer->n_unacked = 0;
            client_send_body(viewer->display, SPICE_MSGC_ACK, nullptr, 0);
        }
        if (type >= SPICE_MSG_DISPLAY_DRAW_FILL && type <= SPICE_MSG_DISPLAY_DRAW_ALPHA_BLEND) {
            viewer->n_drawn++;
        }
        g_bytes_unref(body);
    }
    g_assert_false(viewer->display->eof);
}

/* the worker stops when one of them does not read */
static void look()
{
    g_main_context_iteration(basic_event_loop_get_context(), TRUE);
    for (Viewer &viewer: viewers) {
        if (viewer.main) {
            look_at_main(&viewer);
        }
        if (viewer.display) {
            look_at_display(&viewer);
        }
    }
}

static void ask(Viewer *viewer, uint16_t type)
{
    viewer->result = -1;
    client_send(viewer->main, type, ++viewer->request_id);
}

/* The request of a viewer that has left might be carried out still. */
static void act(Viewer *viewer, uint16_t type)
{
    do {
        ask(viewer, type);
        while (viewer->result < 0) {
            look();
        }
    } while (viewer->result == SPICE_POWER_RESULT_BUSY);
    g_assert_cmpint(viewer->result, ==, SPICE_POWER_RESULT_OK);
}

static void wait_for_display(Viewer *viewer)
{
    const uint32_t end = viewer->n_drawn + NUM_DRAW_MESSAGES;

    while (viewer->n_drawn < end) {
        look();
    }
}

/* the worker is always about to send something when a viewer leaves, and might get
 * the display channel of one that has left */
static void check_warning(const gchar *domain, GLogLevelFlags level, const gchar *message,
                          gpointer data)
{
    if (!strstr(message, "Connection reset by peer") &&
        !strstr(message, "got disconnected while connecting")) {
        g_error("%s", message);
    }
}

static void test_power_display()
{
    static const CommandType commands[] = { SIMPLE_DRAW, PATH_PROGRESS, SIMPLE_COPY_BITS };

    /* a test that hangs fails; sanitizers take their time */
    alarm(300);
    g_setenv("SPICE_DEBUG_ALLOW_MC", "1", TRUE);
    expect_warning("*allowing multiple client connections");
    test = test_new(basic_event_loop_init());
    g_test_assert_expected_messages();
    g_log_set_always_fatal(static_cast<GLogLevelFlags>(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR));
    g_log_set_handler(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, check_warning, nullptr);
    QXLInterface display_interface =
        *reinterpret_cast<const QXLInterface *>(test->qxl_instance.base.sif);
    display_interface.get_cursor_command = get_cursor_command;
    display_interface.req_cursor_notification = req_cursor_notification;
    test->qxl_instance.base.sif = &display_interface.base;
    test_add_display_interface(test);
    test_set_simple_command_list(test, commands, G_N_ELEMENTS(commands));
    power.base.sif = &power_interface.base;
    power.actions = SPICE_POWER_ACTION_MASK;
    g_assert_cmpint(spice_server_add_interface(test->server, &power.base), ==, 0);

    for (Viewer &viewer: viewers) {
        viewer_connect(&viewer);
        viewer_connect_display(&viewer);
        wait_for_display(&viewer);
    }

    for (unsigned int round = 0; round < NUM_ROUNDS; round++) {
        Viewer *viewer = &viewers[round % NUM_CLIENTS];

        act(viewer, SPICE_MSGC_MAIN_POWER_RESET);
        act(viewer, SPICE_MSGC_MAIN_POWER_PAUSE);
        act(viewer, SPICE_MSGC_MAIN_POWER_CONTINUE);
        wait_for_display(viewer);

        /* leave with a request that is not done yet, in one of several ways */
        ask(viewer, SPICE_MSGC_MAIN_POWER_RESET);
        switch (round % 4) {
        case 0:
            client_disconnect(&viewer->display);
            client_disconnect(&viewer->main);
            break;
        case 1:
            client_disconnect(&viewer->main);
            client_disconnect(&viewer->display);
            break;
        case 2:
            /* while the display is being linked */
            client_disconnect(&viewer->display);
            viewer_link_display(viewer);
            client_disconnect(&viewer->display);
            client_disconnect(&viewer->main);
            break;
        case 3:
            /* who asked for the action stays, and gets the result */
            client_disconnect(&viewer->display);
            while (viewer->result < 0) {
                look();
            }
            client_disconnect(&viewer->main);
            break;
        }
        viewer_connect(viewer);
        viewer_connect_display(viewer);
    }
    g_assert_cmpuint(n_requests, >, 3 * NUM_ROUNDS);

    for (Viewer &viewer: viewers) {
        client_disconnect(&viewer.display);
        client_disconnect(&viewer.main);
    }
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    test_destroy(test);
    basic_event_loop_destroy();
    alarm(0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/power-display", test_power_display);

    return g_test_run();
}
