/*
 * The way to a VNC server: TCP, or a UNIX socket
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vnc-connect.h"

#define CONNECT_TIMEOUT_S 10
/* A peer that is gone without a word is noticed after so many seconds */
#define KEEPALIVE_S       5
#define KEEPALIVE_PROBES  3

static void set_up_socket(int fd)
{
    int on = 1, seconds = KEEPALIVE_S, probes = KEEPALIVE_PROBES;
    unsigned int unanswered_ms = KEEPALIVE_S * KEEPALIVE_PROBES * 1000;

    /* These fail with a UNIX socket, and are of no use there */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms,
               sizeof(unanswered_ms));
    /* A key is a few bytes, and is not to wait for more */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void connected(GObject *client, GAsyncResult *result, gpointer opaque)
{
    g_autoptr(GTask) task = opaque;
    const char *path = g_task_get_task_data(task);
    g_autoptr(GSocketConnection) connection = NULL;
    GError *error = NULL;
    int fd;

    connection = g_socket_client_connect_finish(G_SOCKET_CLIENT(client), result,
                                                &error);
    if (!connection) {
        /* it names a host, but no socket */
        if (path) {
            g_prefix_error(&error, "%s: ", path);
        }
        g_task_return_error(task, error);
        return;
    }
    fd = dup(g_socket_get_fd(g_socket_connection_get_socket(connection)));
    if (fd < 0) {
        g_task_return_new_error(task, G_IO_ERROR, g_io_error_from_errno(errno),
                                "%s", g_strerror(errno));
        return;
    }
    set_up_socket(fd);
    g_task_return_int(task, fd);
}

void vnc_connect_async(const MachineConfig *config, GCancellable *cancellable,
                       GAsyncReadyCallback callback, gpointer opaque)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnectable) address = NULL;
    GTask *task = g_task_new(NULL, cancellable, callback, opaque);

    g_task_set_task_data(task, g_strdup(config->vnc_socket), g_free);
    if (config->vnc_socket) {
        address = G_SOCKET_CONNECTABLE(
            g_unix_socket_address_new(config->vnc_socket));
    } else {
        address = g_network_address_new(config->vnc_host, config->vnc_port);
    }
    g_socket_client_set_timeout(client, CONNECT_TIMEOUT_S);
    g_socket_client_set_enable_proxy(client, FALSE);
    g_socket_client_connect_async(client, address, cancellable, connected,
                                  task);
}

int vnc_connect_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_int(G_TASK(result), error);
}
