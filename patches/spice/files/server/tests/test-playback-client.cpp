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
 * Test a client that plays sound and does not read it in time.
 */
#include <config.h>

#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "sys-socket.h"
#include "test-client.h"

static SpicePlaybackInstance playback;
static Client *client;
/* of a message with a frame */
static unsigned int frame_len;

static const SpicePlaybackInterface playback_interface = {
    .base = {
        .type          = SPICE_INTERFACE_PLAYBACK,
        .description   = "test playback",
        .major_version = SPICE_INTERFACE_PLAYBACK_MAJOR,
        .minor_version = SPICE_INTERFACE_PLAYBACK_MINOR,
    },
};

static int unread()
{
    int len = 0;

    g_assert_cmpint(ioctl(client->fd, FIONREAD, &len), ==, 0);
    return len;
}

static void put_frame()
{
    uint32_t *samples, num_samples;

    spice_server_playback_get_buffer(&playback, &samples, &num_samples);
    g_assert_nonnull(samples);
    memset(samples, 0, num_samples * sizeof(*samples));
    spice_server_playback_put_samples(&playback, samples);
    pump();
}

/* Make room for a frame, and have it be used at once. */
static void read_frame()
{
    uint8_t buf[8192];

    g_assert_cmpuint(frame_len, <=, sizeof(buf));
    g_assert_cmpint(socket_read(client->fd, buf, frame_len), ==, frame_len);
    client_send_body(client, SPICE_MSGC_ACK, nullptr, 0);
    pump();
}

/* The guest stops to play when a frame is being sent, before the client has been told that it
 * started again, and another one waits. How much room there is for a message of some size
 * is up to the socket, so try what happens after several small ones. */
static void test_stop_while_sending()
{
    server_start();
    playback.base.sif = &playback_interface.base;
    g_assert_cmpint(spice_server_add_interface(server, &playback.base), ==, 0);

    Client *main = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_authenticate(main);
    expect_init(main);
    client = client_start_link(server, main->session_id, SPICE_CHANNEL_PLAYBACK, 0,
                               1 << SPICE_PLAYBACK_CAP_VOLUME, CLIENT_SMALL_BUFFER);
    client_authenticate(client);
    client_send(client, SPICE_MSGC_ACK_SYNC, 0);

    for (unsigned int i = 0; i < 50; i++) {
        int len;

        /* start, with nothing unread */
        spice_server_playback_start(&playback);
        client_receive(client);
        g_byte_array_set_size(client->input, 0);
        put_frame();
        frame_len = unread();
        put_frame();
        put_frame();
        for (unsigned int j = 0; j < i; j++) {
            spice_server_playback_set_mute(&playback, j % 2);
            pump();
        }
        /* until the socket is full, and then there is a frame that waits */
        do {
            len = unread();
            put_frame();
        } while (unread() > len);
        put_frame();

        spice_server_playback_stop(&playback);
        read_frame();
        read_frame();
        /* the client was not told yet */
        spice_server_playback_start(&playback);
        put_frame();
        read_frame();
        /* the client was told to stop, and the frame is being sent */
        put_frame();
        spice_server_playback_stop(&playback);

        client_receive(client);
        g_assert_false(client->eof);
    }
    client_free(client);
    /* this was told the time */
    client_receive(main);
    client_free(main);
    g_assert_cmpint(spice_server_remove_interface(&playback.base), ==, 0);
    spice_server_destroy(server);
    basic_event_loop_destroy();
    alarm(0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/playback-client/stop-while-sending", test_stop_while_sending);

    return g_test_run();
}
