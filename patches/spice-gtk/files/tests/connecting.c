/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions that are disconnected before they are connected
 */
#include "config.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "spice-client.h"

/* GSocketClient gives up after ten seconds, in µs */
#define SOON (5 * G_USEC_PER_SEC)
/* What a server is asked that answers nobody; it has room for less */
#define MANY 8

typedef struct {
    struct sockaddr_in addr;
    int fd;
    SpiceSession *session;
    gboolean event, disconnected;
} Fixture;

static void channel_event(SpiceChannel *channel, SpiceChannelEvent event, Fixture *f)
{
    f->event = TRUE;
}

static void channel_new(SpiceSession *session, SpiceChannel *channel, Fixture *f)
{
    g_signal_connect(channel, "channel-event", G_CALLBACK(channel_event), f);
}

static void session_disconnected(SpiceSession *session, Fixture *f)
{
    f->disconnected = TRUE;
}

static void f_setup(Fixture *f, gconstpointer data)
{
    socklen_t size = sizeof(f->addr);
    gchar *uri;

    f->addr.sin_family = AF_INET;
    f->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(bind(f->fd, (struct sockaddr *)&f->addr, size), ==, 0);
    g_assert_cmpint(listen(f->fd, 0), ==, 0);
    g_assert_cmpint(getsockname(f->fd, (struct sockaddr *)&f->addr, &size), ==, 0);

    uri = g_strdup_printf("spice://127.0.0.1:%d", ntohs(f->addr.sin_port));
    f->session = spice_session_new();
    g_object_set(f->session, "uri", uri, NULL);
    g_free(uri);
    g_signal_connect(f->session, "channel-new", G_CALLBACK(channel_new), f);
    g_signal_connect(f->session, "disconnected", G_CALLBACK(session_disconnected), f);
}

static void f_teardown(Fixture *f, gconstpointer data)
{
    g_object_unref(f->session);
    close(f->fd);
}

/* It's over at once, and nobody is told what became of the connection */
static void check_disconnect(Fixture *f)
{
    gint64 start = g_get_monotonic_time();

    spice_session_disconnect(f->session);
    while (!f->disconnected)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpint(g_get_monotonic_time() - start, <, SOON);
    g_assert_false(f->event);
}

/* The main channel has begun to connect */
static void test_at_once(Fixture *f, gconstpointer data)
{
    g_assert_true(spice_session_connect(f->session));
    check_disconnect(f);
}

/* There is no answer */
static void test_no_answer(Fixture *f, gconstpointer data)
{
    int fds[MANY], i;

    for (i = 0; i < MANY; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        g_assert_cmpint(fds[i], >=, 0);
        /* there is room for one or two, what is sent by the others is not answered */
        if (connect(fds[i], (struct sockaddr *)&f->addr, sizeof(f->addr)) < 0)
            g_assert_cmpint(errno, ==, EINPROGRESS);
    }
    g_assert_true(spice_session_connect(f->session));
    while (g_main_context_iteration(NULL, FALSE))
        ;
    check_disconnect(f);
    for (i = 0; i < MANY; i++)
        close(fds[i]);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) \
    g_test_add("/connecting/" name, Fixture, NULL, f_setup, function, f_teardown)
    ADD("at-once", test_at_once);
    ADD("no-answer", test_no_answer);
    return g_test_run();
}
