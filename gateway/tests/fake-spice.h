/*
 * Instead of spice-server: servers without a socket, of which tests are the
 * clients
 *
 * It checks what the library relies on: one request at a time, one result for
 * each, the state before the result, nothing of an interface that is removed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_FAKE_SPICE_H
#define GATEWAY_TESTS_FAKE_SPICE_H

#include <glib.h>
#include <spice.h>

/* What a SpiceServer is here */
struct RedsState {
    char *name;
    char *address;
    int port;
    gboolean has_tls;
    int tls_port;
    guint reloads;              /* how often its files have been read again */
    char *ticket;               /* NULL: it lets everybody in, or nobody */
    gboolean is_locked;         /* nobody */
    int lifetime;               /* of the ticket */
    char *power_ticket;
    gboolean sasl;
    char *sasl_appname;
    gboolean is_listening;

    SpicePowerInstance *power;  /* NULL if it has none */
    guint32 state;
    guint32 possible;
    guint states;               /* how many it was told */
    guint updates;              /* and how often that clients may do others */
    struct FakeRequest *pending;

    GArray *fds;                /* of who has come by the port for all */
    struct sockaddr_storage peer;       /* of the last of them */
    gboolean is_tls;
    SpiceCoreInterface *core;
    SpiceTimer *arrival;        /* by which a client comes */
    guint32 flags;              /* SPICE_CHANNEL_EVENT_FLAG_, of that */
    char *host;                 /* NULL: nobody has been handed over */
    int host_port, host_tls_port;
    guint hand_overs;           /* how many times all were */
};

/* What a client has asked for, and got */
typedef struct FakeRequest {
    SpicePowerRequest request;
    SpicePowerClient client;
    SpiceChannelEventInfo channel;
    SpiceServer *server;
    gboolean done;
    guint32 result;
    char *message;
    guint32 state;              /* that clients knew before the result */
} FakeRequest;

/* The servers that there are */
extern guint fake_servers;

/* As a client does; it may be done at once. Free it when it is. */
FakeRequest *fake_ask(SpiceServer *server, guint32 action, guint32 id);
void fake_request_free(FakeRequest *request);

/* The server refuses that by itself, as if a client had asked for it */
void fake_refuse(SpiceServer *server, guint32 action, guint32 result,
                 const char *message);

/* What one may ask for who has come with one of SPICE_TICKET_ */
guint32 fake_allowed(SpiceServer *server, guint32 ticket);
/* The same for one who has given a name */
guint32 fake_allowed_to(SpiceServer *server, const char *user);

/* A client will have come, as soon as the main loop runs */
void fake_connect(SpiceServer *server);
/* The client that has come leaves */
void fake_disconnect(SpiceServer *server);

#endif
