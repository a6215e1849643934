/*
 * Whether a server listens, and to be one that does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gunixsocketaddress.h>
#include <sys/stat.h>
#include <unistd.h>

#include "listening.h"

/* For a network that drops what is not for us to send */
#define TIMEOUT_S 2

typedef struct Check {
    GCancellable *cancellable;
    ListeningFunc done;
    gpointer opaque;
} Check;

static void connected(GObject *client, GAsyncResult *result, gpointer opaque)
{
    Check *check = opaque;
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_to_host_finish(G_SOCKET_CLIENT(client), result,
                                               &error);

    if (!g_cancellable_is_cancelled(check->cancellable)) {
        check->done(!g_error_matches(error, G_IO_ERROR,
                                     G_IO_ERROR_CONNECTION_REFUSED),
                    check->opaque);
    }
    g_object_unref(check->cancellable);
    g_free(check);
}

void listening_check(const char *host, int port, GCancellable *cancellable,
                     ListeningFunc done, gpointer opaque)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    Check *check = g_new0(Check, 1);

    check->cancellable = g_object_ref(cancellable);
    check->done = done;
    check->opaque = opaque;
    g_socket_client_set_timeout(client, TIMEOUT_S);
    /* a proxy for other protocols has nothing to do with it */
    g_socket_client_set_enable_proxy(client, FALSE);
    g_socket_client_connect_to_host_async(client, host, port, cancellable,
                                          connected, check);
}

gboolean listening_on_path(GSocketListener *listener, const char *path,
                           GError **error)
{
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    struct stat status;

    /* What is no socket is somebody's file */
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode)) {
        unlink(path);
    }
    return g_socket_listener_add_address(listener, address,
                                         G_SOCKET_TYPE_STREAM,
                                         G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL,
                                         error);
}
