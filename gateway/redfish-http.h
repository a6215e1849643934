/*
 * One Redfish service by HTTP: a request and what comes of it
 *
 * Whom to trust, how long to wait, how much to read and where to be led to is
 * decided here. Nothing blocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_HTTP_H
#define GATEWAY_REDFISH_HTTP_H

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "backend.h"

typedef struct RedfishHttp RedfishHttp;
typedef struct RedfishRequest RedfishRequest;

/* What to ask for; nothing of it is kept */
typedef struct RedfishAsk {
    const char *method;
    const char *path;           /* with the query, if there is one */
    const char *body;           /* JSON, or NULL */
    const char *token;          /* the session's, or NULL */
    const char *etag;           /* what is known, or NULL */
    gboolean is_basic;          /* with the user and the password */
    gboolean is_stream;         /* it goes on for ever */
    gint64 deadline;            /* in microseconds of the monotonic clock */
} RedfishAsk;

/* What has come; valid during a call */
typedef struct RedfishReply {
    guint status;               /* HTTP's; 0 if no answer has come */
    JsonObject *body;           /* NULL if there is none */
    const char *location;       /* a path of this service, or NULL */
    const char *etag, *token;   /* NULL if there is none */
    guint retry_s;              /* when to come again; 0 if it's not said */
    /* What is wrong, in words; NULL with 2xx and 304 */
    const char *trouble;
    BackendTrouble kind;
    guint32 result;             /* SPICE_POWER_RESULT_, for an action */
    GInputStream *stream;       /* with is_stream, if all is well */
} RedfishReply;

typedef void (*RedfishDone)(const RedfishReply *reply, gpointer opaque);

/* @config must outlive it, but for what has been sent before */
RedfishHttp *redfish_http_new(const MachineConfig *config);
RedfishHttp *redfish_http_ref(RedfishHttp *http);
void redfish_http_unref(RedfishHttp *http);

/* The service, as in sentences */
const char *redfish_http_name(const RedfishHttp *http);

/*
 * Returns: what is under way, until @done is called, later and once. It is no
 * error that can't be told so.
 */
RedfishRequest *redfish_http_send(RedfishHttp *http, const RedfishAsk *ask,
                                  RedfishDone done, gpointer opaque);

/* Call that instead, when it is done */
void redfish_request_pass(RedfishRequest *request, RedfishDone done,
                          gpointer opaque);

/* Give it up: nothing is called any more */
void redfish_request_cancel(RedfishRequest *request);

/* The milliseconds up to @deadline, at least one */
guint redfish_ms_left(gint64 deadline);

#endif
