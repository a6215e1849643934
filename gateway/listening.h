/*
 * Whether a server listens, and to be one that does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_LISTENING_H
#define GATEWAY_LISTENING_H

#include <gio/gio.h>

typedef void (*ListeningFunc)(gboolean is_listening, gpointer opaque);

/*
 * Connect to @port of @host, and disconnect at once. It does not listen if that
 * is refused; what else may go wrong need not go wrong for others. For the
 * thread of the main loop, which it does not block. @done is called once, later;
 * never if @cancellable is cancelled before.
 */
void listening_check(const char *host, int port, GCancellable *cancellable,
                     ListeningFunc done, gpointer opaque);

/*
 * Add a UNIX socket to @listener; that of a program that was killed goes.
 *
 * Returns: FALSE and @error if that can't be
 */
gboolean listening_on_path(GSocketListener *listener, const char *path,
                           GError **error);

#endif
