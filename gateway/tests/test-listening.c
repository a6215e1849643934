/*
 * Whether a server listens, with real sockets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "listening.h"
#include "loop.h"

static guint answers;
static gboolean last;

static void done(gboolean is_listening, gpointer opaque)
{
    g_assert_true(opaque == &answers);
    answers++;
    last = is_listening;
}

static gboolean check(int port)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    guint before = answers;

    listening_check("127.0.0.1", port, cancellable, done, &answers);
    g_assert_cmpuint(answers, ==, before);
    RUN_UNTIL(answers > before);
    return last;
}

static int listen_somewhere(GSocketListener *listener)
{
    return g_socket_listener_add_any_inet_port(listener, NULL, NULL);
}

static void test_both(void)
{
    g_autoptr(GSocketListener) listener = g_socket_listener_new();
    int port = listen_somewhere(listener);

    g_assert_cmpint(port, >, 0);
    g_assert_true(check(port));
    g_assert_true(check(port));
    g_socket_listener_close(listener);
    g_assert_false(check(port));
}

static void test_cancelled(void)
{
    g_autoptr(GSocketListener) listener = g_socket_listener_new();
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    int port = listen_somewhere(listener);
    guint before = answers;

    listening_check("127.0.0.1", port, cancellable, done, &answers);
    g_cancellable_cancel(cancellable);
    /* another one has its answer */
    g_assert_true(check(port));
    g_assert_cmpuint(answers, ==, before + 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/listening/both", test_both);
    g_test_add_func("/listening/cancelled", test_cancelled);
    return g_test_run();
}
