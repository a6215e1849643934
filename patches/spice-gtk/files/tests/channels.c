/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Channels that a server gets and loses while the main channel stays
 */
#include "config.h"

#include <sys/socket.h>
#include <unistd.h>

#include "spice-client.h"

#include "power-peer.h"

typedef struct {
    SpiceSession *session;
    SpiceMainChannel *main;
    PowerPeer *peer;
    SpiceChannel *inputs; /* the one that is there */
    int created, destroyed;
    int fd; /* the server's end of it, if it's connected */
    gboolean closed;
} Fixture;

static void open_fd(SpiceChannel *channel, int with_tls, gpointer data)
{
    Fixture *f = data;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_true(spice_channel_open_fd(channel, fds[0]));
    f->fd = fds[1];
}

static void channel_event(SpiceChannel *channel, SpiceChannelEvent event, gpointer data)
{
    Fixture *f = data;

    if (event == SPICE_CHANNEL_CLOSED)
        f->closed = TRUE;
}

static void channel_new(SpiceSession *session, SpiceChannel *channel, gpointer data)
{
    Fixture *f = data;

    if (SPICE_IS_MAIN_CHANNEL(channel))
        f->main = SPICE_MAIN_CHANNEL(channel);
    if (SPICE_IS_INPUTS_CHANNEL(channel)) {
        g_assert_null(f->inputs);
        f->inputs = channel;
        f->created++;
        g_signal_connect(channel, "open-fd", G_CALLBACK(open_fd), f);
        g_signal_connect(channel, "channel-event", G_CALLBACK(channel_event), f);
    }
}

static void channel_destroy(SpiceSession *session, SpiceChannel *channel, gpointer data)
{
    Fixture *f = data;

    if (SPICE_IS_INPUTS_CHANNEL(channel)) {
        g_assert_true(channel == f->inputs);
        f->inputs = NULL;
        f->destroyed++;
    }
}

static void f_setup(Fixture *f, gconstpointer data)
{
    int fds[2];

    f->fd = -1;
    f->session = spice_session_new();
    g_signal_connect(f->session, "channel-new", G_CALLBACK(channel_new), f);
    g_signal_connect(f->session, "channel-destroy", G_CALLBACK(channel_destroy), f);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_true(spice_session_open_fd(f->session, fds[0]));
    g_assert_nonnull(f->main);
    f->peer = power_peer_new(fds[1]);
    power_peer_link(f->peer, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
}

static void f_teardown(Fixture *f, gconstpointer data)
{
    g_object_add_weak_pointer(G_OBJECT(f->session), (gpointer *)&f->session);
    spice_session_disconnect(f->session);
    g_object_unref(f->session);
    while (f->session)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpint(f->destroyed, ==, f->created);
    power_peer_free(f->peer);
    if (f->fd >= 0)
        close(f->fd);
}

static void offer(Fixture *f)
{
    static const guint8 list[] = { 1, 0, 0, 0, SPICE_CHANNEL_INPUTS, 0 };

    power_peer_send(f->peer, SPICE_MSG_MAIN_CHANNELS_LIST, list, sizeof(list));
}

static void wait_number(int *number, int value)
{
    while (*number < value)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpint(*number, ==, value);
}

/* Link the inputs channel, which the client has begun to connect */
static PowerPeer *link_inputs(Fixture *f)
{
    PowerPeer *peer;

    while (f->fd < 0)
        g_main_context_iteration(NULL, TRUE);
    peer = power_peer_new(f->fd);
    f->fd = -1;
    power_peer_link(peer, 0, SPICE_LINK_ERR_OK);
    return peer;
}

/* All that was sent before has been handled, and what it leads to as well */
static void settle(Fixture *f)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

/* One that was not connected, as with clients that don't want it */
static void test_unconnected(Fixture *f, gconstpointer data)
{
    int i;

    for (i = 1; i <= 3; i++) {
        offer(f);
        wait_number(&f->created, i);
        g_assert_cmpint(f->destroyed, ==, i - 1);
    }
}

/* The server closes it, and offers it again when the client has seen that */
static void test_closed(Fixture *f, gconstpointer data)
{
    int i;

    for (i = 1; i <= 3; i++) {
        PowerPeer *peer;

        f->closed = FALSE;
        offer(f);
        wait_number(&f->created, i);
        g_assert_true(spice_channel_connect(f->inputs));
        peer = link_inputs(f);
        power_peer_free(peer);
        while (!f->closed)
            g_main_context_iteration(NULL, TRUE);
        settle(f);
        g_assert_cmpint(f->destroyed, ==, i - 1);
    }
}

/* The same, but the main channel is quicker */
static void test_offered_before_closed(Fixture *f, gconstpointer data)
{
    PowerPeer *peer;

    offer(f);
    wait_number(&f->created, 1);
    g_assert_true(spice_channel_connect(f->inputs));
    peer = link_inputs(f);
    offer(f);
    /* a message that is answered: what came before has been handled */
    settle(f);
    g_assert_cmpint(f->created, ==, 1);
    g_assert_cmpint(f->destroyed, ==, 0);
    power_peer_free(peer);
    wait_number(&f->created, 2);
    g_assert_cmpint(f->destroyed, ==, 1);
    g_assert_true(f->closed);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) \
    g_test_add("/channels/" name, Fixture, NULL, f_setup, function, f_teardown)
    ADD("unconnected", test_unconnected);
    ADD("closed", test_closed);
    ADD("offered-before-closed", test_offered_before_closed);
    return g_test_run();
}
