/*
 * The port that all machines share
 *
 * A client says in the beginning of TLS which machine it wants. Or a proxy says
 * that, and where the client is, by the PROXY protocol (version 2). Both are
 * read here, and nothing else: the rest is for the machine's SPICE server.
 * Everything here is for the thread of the main loop, and nothing blocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_SHARED_PORT_H
#define GATEWAY_SHARED_PORT_H

#include <glib.h>
#include <sys/socket.h>

typedef struct SharedPort SharedPort;

/* For tests, which have less of it */
extern guint shared_port_patience_ms;

/* Where it is; what is not set there is not */
typedef struct SharedPortConfig {
    char *path;                 /* of the file */
    char *address;              /* NULL: every one */
    int port;                   /* for clients, and proxies */
    char *unix_socket;          /* for proxies */
    GPtrArray *proxies;         /* of GInetAddressMask: who is a proxy there */
    char *domain;               /* what the names end with, behind a dot */
} SharedPortConfig;

/* One that has said whom it wants; valid during a call */
typedef struct Arrival {
    const char *name;           /* as it has been asked for; NULL: it wasn't */
    const char *from;           /* its address, for people */
    /* The same; NULL: it is at the other end of the connection */
    const struct sockaddr *peer;
    socklen_t peer_size;
    gboolean is_tls;            /* begins with it, and none of that is read */
} Arrival;

/* @fd is that function's then, to hand on or to close */
typedef void (*ArrivalFunc)(const Arrival *arrival, int fd, gpointer opaque);

/*
 * The configuration in that file. It may have a path for metrics.h beside,
 * which the caller frees; @metrics_socket is NULL for who does not want it.
 *
 * Returns: NULL and @error, which names the file, if it's wrong; NULL alone if
 * it has nothing but that path. Caller calls shared_port_config_free().
 */
SharedPortConfig *shared_port_config_load(const char *path,
                                          char **metrics_socket,
                                          GError **error);
/* @config may be NULL */
void shared_port_config_free(SharedPortConfig *config);

/*
 * Begin to listen. @config is not taken, and must outlive it.
 *
 * Returns: NULL and @error if that can't be. Caller calls shared_port_free().
 */
SharedPort *shared_port_new(const SharedPortConfig *config, ArrivalFunc arrived,
                            gpointer opaque, GError **error);

/*
 * Go on with another configuration, as shared_port_new(). Returns: FALSE if
 * that is about another place; then nothing has changed
 */
gboolean shared_port_reload(SharedPort *port, const SharedPortConfig *config);

/*
 * Tell in the log that one has been refused, and why; not as often as anybody
 * can make it happen
 */
void shared_port_refused(SharedPort *port, const Arrival *arrival,
                         const char *reason);

/* Those who have not said whom they want are disconnected. NULL is none. */
void shared_port_free(SharedPort *port);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SharedPortConfig, shared_port_config_free)

#endif
