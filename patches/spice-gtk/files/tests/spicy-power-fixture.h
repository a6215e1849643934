/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spicy-power as a process, and a hand-written server on a Unix socket that it connects to
 */
#pragma once

#include <gio/gio.h>

#include "power-peer.h"

/* For what is to time out, but only after it has connected, which takes its
 * time on a busy machine */
#define TIMEOUT "--timeout=5"

#define CONTROL_ONLY POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY)

typedef struct {
    gchar *dir;
    gchar *path;
    gchar *uri;
    int listen_fd;
    PowerPeer *peer;
    GSubprocess *proc;
    GSubprocessLauncher *launcher; /* if it isn't started like all others */
    GOutputStream *input;
    GDataInputStream *output; /* when it's read by line */
} Fixture;

void f_setup(Fixture *f, gconstpointer data);
void f_teardown(Fixture *f, gconstpointer data);

/* Start it, with these arguments up to NULL */
void start(Fixture *f, const gchar *arg, ...) G_GNUC_NULL_TERMINATED;

/* A connection, of which nothing is read yet */
void accept_fd(Fixture *f);
/* A server that knows control clients */
void accept_peer(Fixture *f, guint32 caps, guint32 link_result);
/* and one that does not: to authenticate there would disconnect others */
void accept_old_peer(Fixture *f, guint32 caps);
/* What a server does after that, up to a state */
void send_ready(Fixture *f);
/* A server that is up, and has told a state */
void accept_ready(Fixture *f);
void answer(Fixture *f, guint16 type, guint8 result, const gchar *message);

/* At the end of its input it must end like this, and this is all of its output
 * that is still unread. @err is a pattern. */
void assert_exit(Fixture *f, int code, const gchar *out, const gchar *err);
void assert_line(Fixture *f, const gchar *expected);
void write_input(Fixture *f, const gchar *text);

#define TEST(path, func) g_test_add("/spicy-power/" path, Fixture, NULL, f_setup, func, f_teardown)
