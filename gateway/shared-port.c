/*
 * The port that all machines share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <fcntl.h>
#include <gio/gio.h>
#include <spice.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "config.h"
#include "guard.h"
#include "hello.h"
#include "listening.h"
#include "shared-port.h"

/* So many may be about to; then the first of them has had its time */
#define MAX_VISITORS    256
/*
 * One can't wait until there is more than one has looked at. It mostly comes at
 * once, and who never goes on must not keep us busy.
 */
#define PEEK_AGAIN_MS   20
#define PEEK_AGAIN_MAX_MS 1000
/* How many may connect while we do something else */
#define BACKLOG         256
/* Of a proxy's header this is always there */
#define HEADER_START    16
/* What anybody can cause is in the log so often, and no more */
#define LINES_A_MINUTE  10

/* For whoever is there to say whom it wants */
guint shared_port_patience_ms = 10000;

struct SharedPort {
    const SharedPortConfig *config;
    GSocketService *service;
    ArrivalFunc arrived;
    gpointer opaque;
    GQueue visitors;            /* the first has been there the longest */
    gint64 minute;              /* when it has begun, in microseconds */
    guint lines;                /* in it */
};

/* One who is there, and has not said whom it wants */
typedef struct Visitor {
    SharedPort *port;
    GList link;                 /* in the port's visitors */
    GSocketConnection *connection;
    GCancellable *cancellable;
    char *from;                 /* its address, for people */
    guint8 *header;             /* of the proxy, that comes or has come */
    gsize size, requested;      /* of it, with what is read; of what is read */
    SpiceProxyHeader proxy;     /* what that says; points into it */
    GSource *readable;          /* NULL: not waited for */
    gssize peeked;              /* bytes of TLS that have been looked at */
    guint peek_ms;              /* after which it is looked again */
    guint peek_timer, patience_timer;
    gboolean is_tls;            /* for whom it is held; see guard.h */
    char *server_name;
    guint hold_timer;
} Visitor;

/* Who is in there only waits for the next one after this; then it is gone */
static void visitor_free(Visitor *visitor)
{
    g_queue_unlink(&visitor->port->visitors, &visitor->link);
    g_cancellable_cancel(visitor->cancellable);
    g_clear_object(&visitor->cancellable);
    if (visitor->readable) {
        g_source_destroy(visitor->readable);
        g_source_unref(visitor->readable);
    }
    g_clear_handle_id(&visitor->peek_timer, g_source_remove);
    g_clear_handle_id(&visitor->patience_timer, g_source_remove);
    g_clear_handle_id(&visitor->hold_timer, g_source_remove);
    g_free(visitor->server_name);
    g_object_unref(visitor->connection);
    g_free(visitor->header);
    g_free(visitor->from);
    g_free(visitor);
}

static void tell_refused(SharedPort *port, const char *from, const char *name,
                         const char *reason)
{
    gint64 now = g_get_monotonic_time();
    g_autofree char *shown = name ? g_strescape(name, NULL) : NULL;

    if (!port->lines || now - port->minute > G_TIME_SPAN_MINUTE) {
        port->minute = now;
        port->lines = 0;
    }
    if (port->lines++ < LINES_A_MINUTE) {
        g_message("the client at %s%s%s is refused: %s%s", from,
                  name ? ", for " : "", shown ?: "", reason,
                  port->lines == LINES_A_MINUTE ? " (for a minute no more of"
                                                  " this is told)" : "");
    }
}

static void refuse(Visitor *visitor, const char *reason)
{
    tell_refused(visitor->port, visitor->from, NULL, reason);
    visitor_free(visitor);
}

/* Caller frees */
static char *address_text(GSocketAddress *address)
{
    if (G_IS_INET_SOCKET_ADDRESS(address)) {
        return g_socket_connectable_to_string(G_SOCKET_CONNECTABLE(address));
    }
    return g_strdup("a UNIX socket");
}

/* --- whom it wants ------------------------------------------------------- */

static void arrive(Visitor *visitor)
{
    GSocket *socket = g_socket_connection_get_socket(visitor->connection);
    const SpiceProxyHeader *proxy = &visitor->proxy;
    g_autofree char *authority = proxy->authority
        ? g_strndup(proxy->authority, proxy->authority_len) : NULL;
    g_autofree char *from = g_strdup(visitor->from);
    g_autofree char *name = g_steal_pointer(&visitor->server_name);
    struct sockaddr_storage peer = proxy->peer;
    const Arrival arrival = {
        .name = authority ?: name,
        .from = from,
        .peer = proxy->peer_len ? (struct sockaddr *)&peer : NULL,
        .peer_size = proxy->peer_len,
        .is_tls = visitor->is_tls,
    };
    int fd = fcntl(g_socket_get_fd(socket), F_DUPFD_CLOEXEC, 0);
    SharedPort *port = visitor->port;

    if (fd < 0) {
        refuse(visitor, g_strerror(errno));
        return;
    }
    if (authority && strlen(authority) < proxy->authority_len) {
        close(fd);
        refuse(visitor, "there is a zero in the name that it asks for");
        return;
    }
    visitor_free(visitor);
    port->arrived(&arrival, fd, port->opaque);
}

static gboolean hold_over(gpointer opaque)
{
    Visitor *visitor = opaque;

    visitor->hold_timer = 0;
    arrive(visitor);
    return G_SOURCE_REMOVE;
}

/* Where the client is, as far as is known */
static struct sockaddr_storage peer_of(Visitor *visitor)
{
    struct sockaddr_storage peer = visitor->proxy.peer;
    socklen_t size = sizeof(peer);

    if (!visitor->proxy.peer_len) {
        memset(&peer, 0, sizeof(peer));
        getpeername(g_socket_get_fd(g_socket_connection_get_socket(
            visitor->connection)), (struct sockaddr *)&peer, &size);
    }
    return peer;
}

/* Takes @server_name, which is NULL without TLS */
static void arrive_in_time(Visitor *visitor, gboolean is_tls, char *server_name)
{
    const struct sockaddr_storage peer = peer_of(visitor);
    int ms = guard_arrived(&peer);

    visitor->is_tls = is_tls;
    visitor->server_name = server_name;
    if (ms < 0) {
        refuse(visitor, "too many others are there from its address, which has"
                        " given wrong passwords");
    } else if (ms == 0) {
        arrive(visitor);
    } else {
        g_clear_handle_id(&visitor->patience_timer, g_source_remove);
        visitor->hold_timer = g_timeout_add(ms, hold_over, visitor);
    }
}

static void peek(Visitor *visitor);

static gboolean peek_again(gpointer opaque)
{
    Visitor *visitor = opaque;

    visitor->peek_timer = 0;
    peek(visitor);
    return G_SOURCE_REMOVE;
}

static gboolean is_readable(GSocket *socket, GIOCondition condition,
                            gpointer opaque)
{
    Visitor *visitor = opaque;

    g_clear_pointer(&visitor->readable, g_source_unref);
    peek(visitor);
    return G_SOURCE_REMOVE;
}

static void peek_when_readable(Visitor *visitor, GSocket *socket)
{
    visitor->readable = g_socket_create_source(socket, G_IO_IN, NULL);
    g_source_set_callback(visitor->readable, G_SOURCE_FUNC(is_readable),
                          visitor, NULL);
    g_source_attach(visitor->readable, NULL);
}

static void peek_later(Visitor *visitor)
{
    visitor->peek_timer = g_timeout_add(visitor->peek_ms, peek_again, visitor);
    visitor->peek_ms = MIN(2 * visitor->peek_ms, PEEK_AGAIN_MAX_MS);
}

static void peek(Visitor *visitor)
{
    GSocket *socket = g_socket_connection_get_socket(visitor->connection);
    guint8 data[HELLO_MAX];
    GInputVector vector = { data, sizeof(data) };
    int flags = MSG_PEEK;
    g_autoptr(GError) error = NULL;
    g_autofree char *name = NULL;
    gssize size = g_socket_receive_message(socket, NULL, &vector, 1, NULL, NULL,
                                           &flags, NULL, &error);

    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        peek_when_readable(visitor, socket);
    } else if (size <= 0) {
        visitor_free(visitor);  /* it has gone; who looks for a port does */
    } else if (data[0] != 0x16) {
        arrive_in_time(visitor, FALSE, NULL);
    } else if (size == visitor->peeked) {
        peek_later(visitor);
    } else {
        visitor->peeked = size;
        switch (hello_read(data, size, &name)) {
        case HELLO_UNFINISHED:
            peek_later(visitor);
            break;
        case HELLO_NONE:
            refuse(visitor, "what it says is not TLS");
            break;
        case HELLO_DONE:
            arrive_in_time(visitor, TRUE, g_steal_pointer(&name));
            break;
        }
    }
}

/* --- what a proxy says of it --------------------------------------------- */

static void header_came(Visitor *visitor)
{
    if (visitor->proxy.peer_len) {
        g_autoptr(GSocketAddress) address = g_socket_address_new_from_native(
            &visitor->proxy.peer, visitor->proxy.peer_len);

        g_free(visitor->from);
        visitor->from = address_text(address);
    }
    peek(visitor);
}

static void more_came(GObject *stream, GAsyncResult *result, gpointer opaque);

/* Just what belongs to it: what follows is for the machine's server */
static void await(Visitor *visitor, gsize size)
{
    GInputStream *stream = g_io_stream_get_input_stream(
        G_IO_STREAM(visitor->connection));
    gsize begin = visitor->size;

    visitor->size = size;
    visitor->requested = size - begin;
    g_input_stream_read_all_async(stream, visitor->header + begin,
                                  visitor->requested, G_PRIORITY_DEFAULT,
                                  visitor->cancellable, more_came, visitor);
}

static void more_came(GObject *stream, GAsyncResult *result, gpointer opaque)
{
    Visitor *visitor = opaque;
    g_autoptr(GError) error = NULL;
    gsize size = 0;

    g_input_stream_read_all_finish(G_INPUT_STREAM(stream), result, &size,
                                   &error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        return;                 /* by who has freed it */
    }
    if (error || size < visitor->requested) {
        visitor_free(visitor);  /* or it only looks whether we are there */
        return;
    }
    switch (spice_proxy_header_parse(visitor->header, visitor->size,
                                     &visitor->proxy)) {
    case 0:
        await(visitor, visitor->proxy.size);
        break;
    case 1:
        header_came(visitor);
        break;
    default:
        refuse(visitor, "its proxy does not speak the PROXY protocol, version"
                        " 2 (send-proxy-v2 of HAProxy)");
    }
}

/* ------------------------------------------------------------------------- */

static gboolean is_proxy(const SharedPortConfig *config,
                         GSocketAddress *address)
{
    GInetAddress *host;
    guint i;

    if (!G_IS_INET_SOCKET_ADDRESS(address)) {
        return TRUE;
    }
    host = g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(address));
    for (i = 0; i < config->proxies->len; i++) {
        GInetAddressMask *mask = config->proxies->pdata[i];

        if (g_inet_address_mask_get_family(mask) ==
            g_inet_address_get_family(host) &&
            g_inet_address_mask_matches(mask, host)) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean out_of_patience(gpointer opaque)
{
    Visitor *visitor = opaque;

    visitor->patience_timer = 0;
    refuse(visitor, "it has not said which machine it wants");
    return G_SOURCE_REMOVE;
}

static gboolean visitor_came(GSocketService *service,
                             GSocketConnection *connection, GObject *source,
                             gpointer opaque)
{
    SharedPort *port = opaque;
    g_autoptr(GSocketAddress) address =
        g_socket_connection_get_remote_address(connection, NULL);
    Visitor *visitor;

    if (!address) {
        return TRUE;            /* it has gone already */
    }
    if (port->visitors.length == MAX_VISITORS) {
        refuse(port->visitors.head->data, "it has not said which machine it"
               " wants, and too many others have come");
    }
    visitor = g_new0(Visitor, 1);
    visitor->port = port;
    visitor->link.data = visitor;
    g_queue_push_tail_link(&port->visitors, &visitor->link);
    visitor->connection = g_object_ref(connection);
    visitor->peek_ms = PEEK_AGAIN_MS;
    visitor->cancellable = g_cancellable_new();
    visitor->from = address_text(address);
    visitor->patience_timer = g_timeout_add(shared_port_patience_ms,
                                            out_of_patience, visitor);
    g_socket_set_blocking(g_socket_connection_get_socket(connection), FALSE);
    if (is_proxy(port->config, address)) {
        visitor->header = g_malloc(SPICE_PROXY_HEADER_MAX_SIZE);
        await(visitor, HEADER_START);
    } else {
        peek(visitor);
    }
    return TRUE;
}

static gboolean listen_on_port(GSocketListener *listener,
                               const SharedPortConfig *config, GError **error)
{
    g_autoptr(GSocketAddress) address = NULL;

    if (!config->address) {
        return g_socket_listener_add_inet_port(listener, config->port, NULL,
                                               error);
    }
    address = g_inet_socket_address_new_from_string(config->address,
                                                    config->port);
    if (!address) {
        g_set_error(error, CONFIG_ERROR, 0, "address: '%s' is no address of"
                    " this computer", config->address);
        return FALSE;
    }
    return g_socket_listener_add_address(listener, address,
                                         G_SOCKET_TYPE_STREAM,
                                         G_SOCKET_PROTOCOL_TCP, NULL, NULL,
                                         error);
}

/*
 * Those that systemd has opened for us, by units of type socket. Returns: how
 * many, or -1 and @error
 */
static int listen_on_passed(GSocketListener *listener, GError **error)
{
    int i, count = sd_listen_fds(TRUE);

    for (i = 0; i < count; i++) {
        g_autoptr(GSocket) socket = g_socket_new_from_fd(
            SD_LISTEN_FDS_START + i, error);

        if (!socket || !g_socket_listener_add_socket(listener, socket, NULL,
                                                     error)) {
            return -1;
        }
    }
    return count;
}

SharedPort *shared_port_new(const SharedPortConfig *config, ArrivalFunc arrived,
                            gpointer opaque, GError **error)
{
    g_autoptr(GSocketService) service = g_socket_service_new();
    GSocketListener *listener = G_SOCKET_LISTENER(service);
    SharedPort *port;
    int passed;

    /* Only then; before, the next one would be waited for in vain */
    g_socket_service_stop(service);
    g_socket_listener_set_backlog(listener, BACKLOG);
    passed = listen_on_passed(listener, error);
    if (passed == 0 && !config->port && !config->unix_socket) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "nowhere to listen: set"
                            " port, unix-socket or both, or start it by a"
                            " socket unit of systemd");
        passed = -1;
    }
    if (passed < 0 ||
        (config->port && !listen_on_port(listener, config, error)) ||
        (config->unix_socket &&
         !listening_on_path(listener, config->unix_socket, error))) {
        g_prefix_error(error, "%s: [gateway] ", config->path);
        return NULL;
    }
    port = g_new0(SharedPort, 1);
    port->config = config;
    port->arrived = arrived;
    port->opaque = opaque;
    g_queue_init(&port->visitors);
    port->service = g_steal_pointer(&service);
    g_signal_connect(port->service, "incoming", G_CALLBACK(visitor_came), port);
    g_socket_service_start(port->service);
    return port;
}

gboolean shared_port_reload(SharedPort *port, const SharedPortConfig *config)
{
    const SharedPortConfig *old = port->config;

    if (g_strcmp0(old->address, config->address) ||
        old->port != config->port ||
        g_strcmp0(old->unix_socket, config->unix_socket)) {
        return FALSE;
    }
    port->config = config;
    return TRUE;
}

void shared_port_refused(SharedPort *port, const Arrival *arrival,
                         const char *reason)
{
    tell_refused(port, arrival->from, arrival->name, reason);
}

void shared_port_free(SharedPort *port)
{
    if (!port) {
        return;
    }
    g_signal_handlers_disconnect_by_data(port->service, port);
    g_socket_service_stop(port->service);
    g_socket_listener_close(G_SOCKET_LISTENER(port->service));
    g_object_unref(port->service);
    if (port->config->unix_socket) {
        unlink(port->config->unix_socket);
    }
    while (port->visitors.head) {
        visitor_free(port->visitors.head->data);
    }
    g_free(port);
}
