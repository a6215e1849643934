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
 * Test how a channel sends to a client that reads, does not read, or leaves.
 */
#include <config.h>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "main-channel.h"
#include "net-utils.h"
#include "red-channel-client.h"
#include "red-client.h"
#include "reds.h"
#include "utils.h"
#include "push-visibility.h"

/* how long somebody waits for a client; the alarm of this test comes before */
#define CLIENT_TIMEOUT (INT64_C(600) * 1000 * 1000 * 1000)
/* who takes nothing is waited for so long, in s, and who has to acknowledge something */
#define STALL_LIMIT 10
#define ACK_LIMIT 30
/* how many messages are acknowledged at once, and how many more than two times that
 * can't be sent without */
#define ACK_WINDOW 20

/* in this test a clock goes faster */
#define CLOCK_SPEED 10

static SpiceServer *server;
static RedClient *client;
static red::shared_ptr<MainChannel> main_channel;
/* the client's ends of the main channel, and of the one that is tested */
static int main_socket = -1;
static int client_socket = -1;

static gint slow_client_done;

/* how often the event loop was told what to wait for */
static unsigned int n_mask_updates;
static void (*loop_watch_update_mask)(SpiceWatch *watch, int event_mask);

class TestChannelClient final: public RedChannelClient
{
    using RedChannelClient::RedChannelClient;

    uint8_t *alloc_recv_buf(uint16_t type, uint32_t size) override
    {
        return static_cast<uint8_t *>(g_malloc(size));
    }

    void release_recv_buf(uint16_t type, uint32_t size, uint8_t *msg) override
    {
        g_free(msg);
    }
};

static TestChannelClient *channel_client;

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

/* in us, of that clock */
static gint64 now()
{
    return spice_get_monotonic_time_ns() / 1000;
}

static void sleep_for(unsigned int seconds)
{
    g_usleep(seconds * G_USEC_PER_SEC / CLOCK_SPEED);
}

struct TestChannel final: public RedChannel
{
    using RedChannel::RedChannel;

    void on_connect(RedClient *red_client, RedStream *stream, int migration,
                    RedChannelCapabilities *caps) override
    {
        auto rcc = red::make_shared<TestChannelClient>(this, red_client, stream, caps);

        g_assert_true(rcc->init());
        channel_client = rcc.get();
    }
};

static red::shared_ptr<TestChannel> channel;

static void count_mask_updates(SpiceWatch *watch, int event_mask)
{
    n_mask_updates++;
    loop_watch_update_mask(watch, event_mask);
}

static RedStream *new_stream(int *other_end)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    red_socket_set_non_blocking(sv[0], true);
    red_socket_set_non_blocking(sv[1], true);
    *other_end = sv[1];
    return red_stream_new(server, sv[0]);
}

/* a server with a channel and a client that is connected to it */
static void channel_start_with(RedChannel::CreationFlags flags)
{
    /* a test that hangs fails; sanitizers take their time */
    alarm(60);

    static SpiceCoreInterface core;
    core = *basic_event_loop_init();
    loop_watch_update_mask = core.watch_update_mask;
    core.watch_update_mask = count_mask_updates;
    server = spice_server_new();
    g_assert_nonnull(server);
    g_assert_cmpint(spice_server_init(server, &core), ==, 0);

    RedChannelCapabilities caps = {};
    channel = red::make_shared<TestChannel>(server, SPICE_CHANNEL_PORT, 0, flags);
    main_channel = main_channel_new(server);
    client = red_client_new(server, FALSE);
    g_assert_nonnull(main_channel_link(main_channel.get(), client, new_stream(&main_socket),
                                       0, FALSE, &caps));
    channel->connect(client, new_stream(&client_socket), FALSE, &caps);
    g_assert_nonnull(channel_client);
}

static void channel_start()
{
    channel_start_with(RedChannel::FlagNone);
}

static void channel_stop()
{
    g_test_assert_expected_messages();
    client->destroy();
    channel_client = nullptr;
    main_channel.reset();
    channel.reset();
    spice_server_destroy(server);
    basic_event_loop_destroy();
    socket_close(client_socket);
    socket_close(main_socket);
    alarm(0);
}

static void send_message()
{
    channel_client->pipe_add_push(RedChannelClient::new_empty_msg(SPICE_MSG_MIGRATE_DATA));
}

/* Send until a message can't be written, and add another one that waits for it. */
static void fill_socket()
{
    while (!channel_client->is_blocked()) {
        send_message();
    }
    send_message();
    g_assert_false(channel_client->pipe_is_empty());
}

static void pump_events()
{
    while (g_main_context_iteration(basic_event_loop_get_context(), FALSE)) {
        continue;
    }
}

static size_t read_messages()
{
    char buffer[4096];
    ssize_t len;
    size_t total = 0;

    while ((len = read(client_socket, buffer, sizeof(buffer))) > 0) {
        total += len;
    }
    return total;
}

/* messages that can be written at once are, with nothing told to the event loop */
static void test_writes_at_once()
{
    channel_start();
    n_mask_updates = 0;
    for (unsigned int i = 0; i < 100; i++) {
        send_message();
        g_assert_cmpint(read_messages(), >, 0);
    }
    g_assert_cmpuint(n_mask_updates, ==, 0);
    channel_stop();
}

/* what can't be written at once is written when the client has read */
static void test_writes_later()
{
    channel_start();
    n_mask_updates = 0;
    fill_socket();
    g_assert_cmpuint(n_mask_updates, ==, 1);
    do {
        g_assert_cmpint(read_messages(), >, 0);
        g_main_context_iteration(basic_event_loop_get_context(), TRUE);
    } while (n_mask_updates < 2);
    g_assert_false(channel_client->is_blocked());
    g_assert_cmpint(read_messages(), >, 0);
    channel_stop();
}

/* who waits for a message that is being sent does not wait for who has left */
static void test_leaves_while_sending()
{
    channel_start();
    fill_socket();
    shutdown(client_socket, SHUT_WR);
    g_assert_true(channel_client->wait_outgoing_item(CLIENT_TIMEOUT));
    channel_stop();
}

/* nor does who waits for one that is still to be sent */
static void test_leaves_with_messages_left()
{
    channel_start();
    fill_socket();
    shutdown(client_socket, SHUT_WR);
    g_assert_false(channel_client->wait_pipe_item_sent(channel_client->get_pipe().begin(),
                                                       CLIENT_TIMEOUT));
    channel_stop();
}

/* A client that takes nothing is not waited for to the end. */
static void expect_stall(gint64 begin)
{
    gint64 passed = now() - begin;

    g_assert_cmpint(passed, >, G_USEC_PER_SEC * (STALL_LIMIT - 1));
    g_assert_cmpint(passed, <, G_USEC_PER_SEC * STALL_LIMIT * 3 / 2);
}

/* a message that is being sent to who takes nothing */
static void test_stalls_while_sending()
{
    channel_start();
    fill_socket();
    gint64 begin = now();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*timeout");
    g_assert_false(channel_client->wait_outgoing_item(CLIENT_TIMEOUT));
    expect_stall(begin);
    // who waits for it next does not wait
    begin = now();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*timeout");
    g_assert_false(channel_client->wait_outgoing_item(CLIENT_TIMEOUT));
    g_assert_cmpint(now() - begin, <, G_USEC_PER_SEC * STALL_LIMIT / 2);
    // that does not hold for who takes something
    g_assert_cmpint(read_messages(), >, 0);
    g_assert_true(channel_client->wait_outgoing_item(CLIENT_TIMEOUT));
    channel_stop();
}

/* one that is still to be sent */
static void test_stalls_with_messages_left()
{
    channel_start();
    fill_socket();
    gint64 begin = now();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*timeout");
    g_assert_false(channel_client->wait_pipe_item_sent(channel_client->get_pipe().begin(),
                                                       CLIENT_TIMEOUT));
    expect_stall(begin);
    g_assert_true(channel_client->is_connected());
    channel_stop();
}

/* what there is for all: who takes nothing is disconnected */
static void test_stalls_with_all()
{
    channel_start();
    fill_socket();
    red::shared_ptr<RedChannelClient> hold(channel_client);
    gint64 begin = now();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not take what it is sent");
    g_assert_false(channel->wait_all_sent(CLIENT_TIMEOUT));
    expect_stall(begin);
    g_assert_false(channel_client->is_connected());
    hold.reset();
    // nobody is left to wait for
    g_assert_true(channel->wait_all_sent(CLIENT_TIMEOUT));
    channel_stop();
}

/* what there was before somebody began to wait counts, too */
static void test_stalled_before()
{
    channel_start();
    fill_socket();
    sleep_for(STALL_LIMIT);
    gint64 begin = now();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not take what it is sent");
    g_assert_false(channel->wait_all_sent(CLIENT_TIMEOUT));
    g_assert_cmpint(now() - begin, <, G_USEC_PER_SEC * STALL_LIMIT / 2);
    channel_stop();

    // but not what it has taken meanwhile, nor the time in which there was nothing for it
    channel_start();
    fill_socket();
    while (channel_client->is_blocked()) {
        g_assert_cmpint(read_messages(), >, 0);
        pump_events();
    }
    sleep_for(STALL_LIMIT);
    fill_socket();
    begin = now();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not take what it is sent");
    g_assert_false(channel->wait_all_sent(CLIENT_TIMEOUT));
    expect_stall(begin);
    channel_stop();
}

/* Who takes nothing on several channels, which are waited for one after the other, is
 * waited for once. */
static void test_stalls_on_two_channels()
{
    RedChannelCapabilities caps = {};
    int other_socket;

    channel_start();
    fill_socket();
    auto first_channel = channel;
    int first_socket = client_socket;
    channel = red::make_shared<TestChannel>(server, SPICE_CHANNEL_PORT, 1);
    channel->connect(client, new_stream(&other_socket), FALSE, &caps);
    fill_socket();

    gint64 begin = now();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not take what it is sent");
    g_assert_false(first_channel->wait_all_sent(CLIENT_TIMEOUT));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not take what it is sent");
    g_assert_false(channel->wait_all_sent(CLIENT_TIMEOUT));
    expect_stall(begin);
    socket_close(other_socket);
    first_channel.reset();
    client_socket = first_socket;
    channel_stop();
}

static void send_to_server(uint16_t type, const void *body, uint32_t size)
{
    const SpiceDataHeader header = { GUINT64_TO_LE(1), GUINT16_TO_LE(type), GUINT32_TO_LE(size) };

    g_assert_cmpint(write(client_socket, &header, sizeof(header)), ==, sizeof(header));
    g_assert_cmpint(write(client_socket, body, size), ==, size);
}

/* a channel with messages that wait for an ack, and a client that has taken the rest */
static void acks_start()
{
    const uint32_t generation = GUINT32_TO_LE(1);

    channel_start_with(RedChannel::HandleAcks);
    channel_client->ack_zero_messages_window();
    channel_client->push_set_ack();
    send_to_server(SPICE_MSGC_ACK_SYNC, &generation, sizeof(generation));
    for (int i = 0; i < 3 * ACK_WINDOW; i++) {
        send_message();
    }
    g_assert_false(channel_client->pipe_is_empty());
    g_assert_false(channel_client->is_blocked());
    g_assert_cmpint(read_messages(), >, 0);
    g_assert_cmpint(read_messages(), ==, 0);
}

/* As who is busy with what it got for longer than somebody who takes nothing is waited
 * for, and then goes on. */
static gpointer busy_client(gpointer)
{
    sleep_for(STALL_LIMIT * 2);
    send_to_server(SPICE_MSGC_ACK, nullptr, 0);
    return nullptr;
}

static void test_busy_client()
{
    acks_start();
    GThread *thread = g_thread_new("busy-client", busy_client, nullptr);
    g_assert_true(channel->wait_all_sent(CLIENT_TIMEOUT));
    g_assert_true(channel_client->is_connected());
    g_thread_join(thread);
    channel_stop();
}

/* but that has an end, too, and is not waited for by each one again */
static void test_no_ack()
{
    acks_start();
    gint64 begin = now();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*timeout");
    g_assert_false(channel_client->wait_pipe_item_sent(channel_client->get_pipe().begin(),
                                                       CLIENT_TIMEOUT));
    g_assert_true(channel_client->is_connected());
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not take what it is sent");
    g_assert_false(channel->wait_all_sent(CLIENT_TIMEOUT));
    gint64 passed = now() - begin;
    g_assert_cmpint(passed, >, G_USEC_PER_SEC * (ACK_LIMIT - 1));
    g_assert_cmpint(passed, <, G_USEC_PER_SEC * ACK_LIMIT * 3 / 2);
    channel_stop();
}

/* As a slow network does: a little now and then, for longer than somebody who takes
 * nothing is waited for. */
static gpointer slow_client(gpointer)
{
    char buffer[1024];

    for (int i = 0; i < 3; i++) {
        sleep_for(STALL_LIMIT / 2);
        g_assert_cmpint(read(client_socket, buffer, sizeof(buffer)), >, 0);
    }
    do {
        g_usleep(G_USEC_PER_SEC / 100);
        read_messages();
    } while (!g_atomic_int_get(&slow_client_done));
    return nullptr;
}

/* who takes what it can is waited for */
static void test_slow_client()
{
    channel_start();
    fill_socket();
    g_atomic_int_set(&slow_client_done, 0);
    GThread *thread = g_thread_new("slow-client", slow_client, nullptr);
    g_assert_true(channel->wait_all_sent(CLIENT_TIMEOUT));
    g_assert_true(channel_client->is_connected());
    g_atomic_int_set(&slow_client_done, 1);
    g_thread_join(thread);
    channel_stop();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/channel-client/writes-at-once", test_writes_at_once);
    g_test_add_func("/server/channel-client/writes-later", test_writes_later);
    g_test_add_func("/server/channel-client/leaves-while-sending", test_leaves_while_sending);
    g_test_add_func("/server/channel-client/leaves-with-messages-left",
                    test_leaves_with_messages_left);
    g_test_add_func("/server/channel-client/stalls-while-sending", test_stalls_while_sending);
    g_test_add_func("/server/channel-client/stalls-with-messages-left",
                    test_stalls_with_messages_left);
    g_test_add_func("/server/channel-client/stalls-with-all", test_stalls_with_all);
    g_test_add_func("/server/channel-client/stalled-before", test_stalled_before);
    g_test_add_func("/server/channel-client/stalls-on-two-channels",
                    test_stalls_on_two_channels);
    g_test_add_func("/server/channel-client/slow-client", test_slow_client);
    g_test_add_func("/server/channel-client/busy-client", test_busy_client);
    g_test_add_func("/server/channel-client/no-ack", test_no_ack);

    return g_test_run();
}
