/*
 * One Redfish service, with the session that it takes
 *
 * The service's root is read, and a session begun, when it's first asked for
 * something; and once more if the session has ended meanwhile. However many
 * requests there are they log in once, and if that is refused nothing is tried
 * again before somebody asks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_CLIENT_H
#define GATEWAY_REDFISH_CLIENT_H

#include "redfish-http.h"

typedef struct RedfishClient RedfishClient;
typedef struct RedfishOp RedfishOp;

/* @config must outlive it */
RedfishClient *redfish_client_new(const MachineConfig *config);

/*
 * Nothing is called any more. @client may be NULL. The session is ended, as far
 * as that can be done without waiting: redfish_client_is_leaving().
 */
void redfish_client_free(RedfishClient *client);

/* The service, as in sentences */
const char *redfish_client_name(const RedfishClient *client);

/* Whether it has been reached, and is logged in to */
gboolean redfish_client_is_open(const RedfishClient *client);
/* Paths that the root tells; NULL if there are none, or it's not known yet */
const char *redfish_client_systems(const RedfishClient *client);
const char *redfish_client_events(const RedfishClient *client);

/* The session's; NULL if there is none, or it is in doubt */
const char *redfish_client_token(const RedfishClient *client);
/* Somebody else has not taken it: it is in doubt until the service takes it */
void redfish_client_doubt(RedfishClient *client);

/*
 * Each is under way until @done is called, later and once, before @deadline in
 * microseconds of the monotonic clock. No argument is kept.
 *
 * With no @path the service is only opened. @etag is what is known, or NULL.
 */
RedfishOp *redfish_client_get(RedfishClient *client, const char *path,
                              const char *etag, gint64 deadline,
                              RedfishDone done, gpointer opaque);
RedfishOp *redfish_client_post(RedfishClient *client, const char *path,
                               const char *body, gint64 deadline,
                               RedfishDone done, gpointer opaque);
/* The reply has a stream; @deadline is for that to begin */
RedfishOp *redfish_client_stream(RedfishClient *client, const char *path,
                                 gint64 deadline, RedfishDone done,
                                 gpointer opaque);

/* Give it up: @done is not called */
void redfish_op_cancel(RedfishOp *op);

/* Whether sessions of clients that have been freed are still being ended */
gboolean redfish_client_is_leaving(void);

#endif
