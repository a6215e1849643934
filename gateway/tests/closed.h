/*
 * A client that waits until it is disconnected
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_CLOSED_H
#define GATEWAY_TESTS_CLOSED_H

#include <gio/gio.h>

#include "loop.h"

static inline gboolean closed_noted(GSocket *socket, GIOCondition condition,
                                    gpointer opaque)
{
    gboolean *is_noted = opaque;

    *is_noted = TRUE;
    return G_SOURCE_REMOVE;
}

/* Nothing comes; what it has said may not have been read */
static inline void wait_closed(GSocket *socket)
{
    g_autoptr(GSource) source = g_socket_create_source(socket, G_IO_IN, NULL);
    gboolean is_noted = FALSE;
    char byte;

    g_source_set_callback(source, G_SOURCE_FUNC(closed_noted), &is_noted, NULL);
    g_source_attach(source, NULL);
    RUN_UNTIL(is_noted);
    g_socket_set_blocking(socket, FALSE);
    g_assert_cmpint(g_socket_receive(socket, &byte, 1, NULL, NULL), <=, 0);
}

#endif
