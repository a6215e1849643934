/*
 * What goes between a VNC server that has let us in and libgvnc
 *
 * libgvnc has to begin at the beginning. So this end of a pair of sockets
 * says what a server says that lets in everybody, drops the answers, and then
 * passes on what comes. Each way has a buffer of one size: who does not read
 * is not read from.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vnc-relay.h"

#define BUFFER_SIZE (64 * 1024)
/* Then others have their turn; the main loop is for all machines */
#define MAX_TURNS   4

/* The version, one way to log in, which is none, and that it's done */
static const char greeting[] = "RFB 003.008\n\1\1\0\0\0\0";
#define GREETING_SIZE (sizeof(greeting) - 1)
/* libgvnc's version, and the way that it has chosen */
#define ANSWER_SIZE   13

typedef struct Way {
    guint8 data[BUFFER_SIZE];
    gsize begin, end;           /* of what is under way */
    gboolean is_over;           /* no more is going to come */
} Way;

struct VncRelay {
    VncStream *stream;
    int local;
    GSource *source;
    gpointer stream_tag, local_tag;
    Way in, out;                /* as libgvnc sees it */
    gsize to_drop;              /* of what it says */
    gboolean is_told;           /* that no more comes in */
    GIOCondition stream_wants, local_wants;
};

typedef struct RelaySource {
    GSource source;
    VncRelay *relay;
} RelaySource;

static gssize local_result(gssize result)
{
    if (result >= 0) {
        return result;
    }
    return errno == EAGAIN || errno == EINTR ? VNC_STREAM_WAIT
                                             : VNC_STREAM_BROKEN;
}

/* From the server to libgvnc. Returns: whether anything has moved */
static gboolean move_in(VncRelay *relay)
{
    Way *way = &relay->in;
    gboolean moved = FALSE;
    gssize size;

    if (way->begin == way->end && !way->is_over) {
        size = vnc_stream_read(relay->stream, way->data, BUFFER_SIZE, NULL);
        way->begin = 0;
        way->end = MAX(size, 0);
        way->is_over = size == 0 || size == VNC_STREAM_BROKEN;
        moved = size > 0;
        if (size == VNC_STREAM_WAIT) {
            relay->stream_wants |= vnc_stream_wants(relay->stream);
        }
    }
    if (way->begin < way->end) {
        size = local_result(send(relay->local, way->data + way->begin,
                                 way->end - way->begin, MSG_NOSIGNAL));
        if (size == VNC_STREAM_WAIT) {
            relay->local_wants |= G_IO_OUT;
        } else if (size == VNC_STREAM_BROKEN) {
            way->begin = way->end = 0;
            way->is_over = relay->is_told = TRUE;
        } else {
            way->begin += size;
            moved = TRUE;
        }
    }
    if (way->is_over && way->begin == way->end && !relay->is_told) {
        relay->is_told = TRUE;
        shutdown(relay->local, SHUT_WR);
    }
    return moved;
}

static void drop(VncRelay *relay)
{
    Way *way = &relay->out;
    gsize size = MIN(relay->to_drop, way->end - way->begin);

    way->begin += size;
    relay->to_drop -= size;
}

/* And from libgvnc to the server */
static gboolean move_out(VncRelay *relay)
{
    Way *way = &relay->out;
    gboolean moved = FALSE;
    gssize size;

    if (way->begin == way->end && !way->is_over) {
        size = local_result(recv(relay->local, way->data, BUFFER_SIZE, 0));
        way->begin = 0;
        way->end = MAX(size, 0);
        way->is_over = size == 0 || size == VNC_STREAM_BROKEN;
        moved = size > 0;
        if (size == VNC_STREAM_WAIT) {
            relay->local_wants |= G_IO_IN;
        }
        drop(relay);
    }
    if (way->begin < way->end) {
        size = vnc_stream_write(relay->stream, way->data + way->begin,
                                way->end - way->begin, NULL);
        if (size == VNC_STREAM_WAIT) {
            relay->stream_wants |= vnc_stream_wants(relay->stream);
        } else if (size == VNC_STREAM_BROKEN) {
            /* the other way tells when all has been read */
            way->begin = way->end = 0;
            way->is_over = TRUE;
        } else {
            way->begin += size;
            moved = TRUE;
        }
    }
    return moved;
}

static gboolean relay_dispatch(GSource *source, GSourceFunc unused,
                               gpointer unused_too)
{
    VncRelay *relay = ((RelaySource *)source)->relay;
    gboolean moved = TRUE;
    int turn;

    for (turn = 0; moved && turn < MAX_TURNS; turn++) {
        relay->stream_wants = relay->local_wants = 0;
        moved = move_in(relay);
        moved = move_out(relay) || moved;
    }
    /* TLS may have more that the socket knows nothing of */
    g_source_set_ready_time(source, moved ? 0 : -1);
    g_source_modify_unix_fd(source, relay->stream_tag, relay->stream_wants);
    g_source_modify_unix_fd(source, relay->local_tag, relay->local_wants);
    /* Otherwise a socket that is at its end would wake us up for ever */
    return !(relay->in.is_over && relay->is_told);
}

static GSourceFuncs relay_funcs = {
    .dispatch = relay_dispatch,
};

VncRelay *vnc_relay_new(VncStream *stream, int *fd, GError **error)
{
    VncRelay *relay;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                   pair)) {
        g_set_error_literal(error, G_IO_ERROR, g_io_error_from_errno(errno),
                            g_strerror(errno));
        vnc_stream_free(stream);
        return NULL;
    }
    relay = g_new0(VncRelay, 1);
    relay->stream = stream;
    relay->local = pair[0];
    memcpy(relay->in.data, greeting, GREETING_SIZE);
    relay->in.end = GREETING_SIZE;
    relay->to_drop = ANSWER_SIZE;
    relay->source = g_source_new(&relay_funcs, sizeof(RelaySource));
    ((RelaySource *)relay->source)->relay = relay;
    relay->stream_tag = g_source_add_unix_fd(relay->source,
                                             vnc_stream_fd(stream), G_IO_IN);
    relay->local_tag = g_source_add_unix_fd(relay->source, relay->local,
                                            G_IO_OUT);
    g_source_attach(relay->source, NULL);
    *fd = pair[1];
    return relay;
}

guint64 vnc_relay_received(VncRelay *relay)
{
    return vnc_stream_received(relay->stream);
}

void vnc_relay_free(VncRelay *relay)
{
    if (!relay) {
        return;
    }
    /* Keys that have been let go, as the last thing */
    while (move_out(relay)) {
    }
    g_source_destroy(relay->source);
    g_source_unref(relay->source);
    close(relay->local);
    vnc_stream_free(relay->stream);
    g_free(relay);
}
