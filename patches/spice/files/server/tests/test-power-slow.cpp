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
 * Clients that read late, or not at all.
 */
#include <config.h>

#include <spice.h>
#include <spice/protocol.h>

#include "test-glib-compat.h"
#include "sys-socket.h"
#include "test-power-base.h"
#include "push-visibility.h"
/* the library hides all types, not only the ones that say so */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wattributes"
#include "reds-private.h"
#pragma GCC diagnostic pop

static uint32_t get_pipe_size()
{
    return server->main_channel->sum_pipes_size();
}

/* get all states, returns the last of them */
static uint8_t drain_states(Client *client, uint8_t last)
{
    uint16_t type;

    while (GBytes *bytes = client_get_message(client, &type)) {
        auto body = static_cast<const StateBody *>(g_bytes_get_data(bytes, nullptr));

        g_assert_cmpuint(type, ==, SPICE_MSG_MAIN_POWER_STATE);
        /* there is no state that isn't a change */
        g_assert_cmpuint(body->state, !=, last);
        last = body->state;
        g_bytes_unref(bytes);
    }
    g_assert_false(client->eof);
    return last;
}

/* A client that does not read gets the last state, and can't make the server
 * use more and more memory. */
static void test_blocked_state()
{
    static const uint32_t states[] = { SPICE_POWER_STATE_ON, SPICE_POWER_STATE_PAUSED };

    setup_multiple_clients();
    Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SMALL_BUFFER);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    Client *other = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (unsigned int i = 0; i < 100000; i++) {
        set_state(states[i % 2], 0);
        /* this one does read */
        expect_state(other, states[i % 2], 0);
        g_assert_cmpuint(get_pipe_size(), <=, 1);
    }
    g_assert_cmpuint(get_pipe_size(), ==, 1);
    set_state(SPICE_POWER_STATE_CRASHED, 0);
    expect_state(other, SPICE_POWER_STATE_CRASHED, 0);
    g_assert_cmpuint(drain_states(client, SPICE_POWER_STATE_UNKNOWN), ==,
                     SPICE_POWER_STATE_CRASHED);

    /* back to the state that was sent last */
    unsigned int n = 0;
    while (get_pipe_size() == 0) {
        set_state(states[n++ % 2], 0);
    }
    set_state(states[n % 2], 0);
    g_assert_cmpuint(get_pipe_size(), ==, 1);
    g_assert_cmpuint(drain_states(client, SPICE_POWER_STATE_CRASHED), ==, states[n % 2]);
    drain_states(other, SPICE_POWER_STATE_CRASHED);

    /* all is well again */
    set_state(SPICE_POWER_STATE_OFF, 0);
    expect_state(client, SPICE_POWER_STATE_OFF, 0);
    expect_state(other, SPICE_POWER_STATE_OFF, 0);
    reset_round(client, 1);

    client_free(other);
    client_free(client);
    teardown();
}

/* There is no result before the client's buffer has room for it. */
static gint stop_reading;

static gpointer read_meanwhile(gpointer data)
{
    auto client = static_cast<Client *>(data);
    GPollFD pollfd = { client->fd, G_IO_IN, 0 };
    uint8_t buf[4096];

    while (!g_atomic_int_get(&stop_reading)) {
        if (g_poll(&pollfd, 1, 10) == 1) {
            ssize_t len = socket_read(client->fd, buf, sizeof(buf));
            g_assert_cmpint(len, >, 0);
            g_byte_array_append(client->input, buf, len);
        }
    }
    return nullptr;
}

/* fill the socket of a client that does not read, up to a result that is not sent;
 * returns the last id */
static uint32_t fill(Client *client, uint32_t id, const char *text)
{
    const unsigned int limit = n_requests + 150;

    while (!spice_server_power_is_unsent(&power)) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, ++id);
        pump();
        complete(SPICE_POWER_RESULT_OK, text);
        g_assert_cmpuint(n_requests, <, limit);
    }
    return id;
}

/* a result that is behind much else is written without the main loop */
static void test_unsent()
{
    char *text = g_strnfill(1024, 'a');

    setup(ALL_ACTIONS);
    g_assert_false(spice_server_power_is_unsent(&power));

    Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SMALL_BUFFER);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    g_assert_false(spice_server_power_is_unsent(&power));

    /* a request without a result is nothing to wait for */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 0);
    pump();
    g_assert_false(spice_server_power_is_unsent(&power));
    complete(SPICE_POWER_RESULT_OK, text);

    const uint32_t id = fill(client, 0, text);
    g_assert_true(spice_server_power_is_unsent(&power));

    g_atomic_int_set(&stop_reading, false);
    GThread *thread = g_thread_new("client", read_meanwhile, client);
    while (spice_server_power_is_unsent(&power)) {
        g_usleep(1000);
    }
    g_atomic_int_set(&stop_reading, true);
    g_thread_join(thread);
    for (uint32_t i = 0; i <= id; i++) {
        expect_result(client, i, SPICE_POWER_RESULT_OK, text);
    }

    client_free(client);
    g_free(text);
    teardown();
}

/* only the client whose request was completed last is waited for */
static void test_unsent_others()
{
    char *text = g_strnfill(1024, 'a');

    setup_multiple_clients();
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *blocked = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SMALL_BUFFER);
    expect_state(blocked, SPICE_POWER_STATE_UNKNOWN, 0);

    uint32_t id = fill(blocked, 0, text);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_true(spice_server_power_is_unsent(&power));
    complete_ok();
    g_assert_false(spice_server_power_is_unsent(&power));
    expect_result(client, 1, SPICE_POWER_RESULT_OK, "");

    /* nor is one that is gone */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 2);
    pump();
    client_free(client);
    complete_ok();
    g_assert_false(spice_server_power_is_unsent(&power));

    /* the others get what they have room for, all the same */
    client_receive(blocked);
    for (uint32_t i = 1; i <= id; i++) {
        expect_result(blocked, i, SPICE_POWER_RESULT_OK, text);
    }
    fill(blocked, id, text);
    expect_warning("Connection reset by peer");
    client_free(blocked);
    g_assert_false(spice_server_power_is_unsent(&power));
    g_free(text);
    teardown();
}

static void test_blocked_result()
{
    uint16_t type;
    char *text = g_strnfill(1024, 'a');

    setup(ALL_ACTIONS);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_SMALL_BUFFER);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);

    /* get results without reading them until one is not sent */
    uint32_t id = 0;
    while (n_refused == 0) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, id++);
        pump();
        if (request) {
            complete(SPICE_POWER_RESULT_OK, text);
            g_assert_cmpuint(n_requests, ==, id);
        }
        g_assert_cmpuint(n_requests, <, 1000);
    }
    /* the interface completed everything, it's the client that does not read */
    g_assert_cmpuint(n_requests, ==, id - 1);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_BUSY);
    set_state(SPICE_POWER_STATE_ON, 0);

    for (uint32_t i = 0; i < id - 1; i++) {
        expect_result(client, i, SPICE_POWER_RESULT_OK, text);
    }
    expect_refusal(client, id - 1, SPICE_POWER_RESULT_BUSY);
    expect_state(client, SPICE_POWER_STATE_ON, 0);
    g_assert_null(client_get_message(client, &type));
    reset_round(client, id);

    /* the same, but it never reads: that is limited as for all other messages */
    n_refused = 0;
    expect_warning("*client does not read what it is sent*");
    while (!server->clients.empty()) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, id++);
        pump();
        if (request) {
            complete(SPICE_POWER_RESULT_OK, text);
        }
        g_assert_cmpuint(n_refused, <, 1100);
    }
    g_assert_cmpuint(n_refused, >, 990);
    client_receive(client);
    g_assert_true(client->eof);
    g_byte_array_set_size(client->input, 0);

    client_free(client);
    g_free(text);
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/power/blocked-state", test_blocked_state);
    g_test_add_func("/server/power/blocked-result", test_blocked_result);
    g_test_add_func("/server/power/unsent", test_unsent);
    g_test_add_func("/server/power/unsent-others", test_unsent_others);

    return g_test_run();
}
