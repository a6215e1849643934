/*
 * One Redfish service, with the session that it takes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "redfish-client.h"
#include "redfish-json.h"

#define ROOT "/redfish/v1/"
/* How long to try to end a session that nobody needs any more */
#define LEAVE_MS 2000

struct RedfishClient {
    guint references;           /* its owner's, and those of calls */
    const MachineConfig *config;
    RedfishHttp *http;
    GQueue ops;                 /* all that are under way */
    guint round;                /* of those that wait; from 1 */

    /* The root */
    gboolean is_known;
    char *systems, *sessions, *events;

    char *token;                /* the session's; NULL: there is none */
    gboolean is_doubted;        /* it may have ended */
    char *session;              /* its path */
    RedfishRequest *opening;    /* for the root or a session, or NULL */
    gboolean is_log_in;         /* that is for a session */
    gint64 opening_deadline;
};

struct RedfishOp {
    RedfishClient *client;
    char *path, *body, *etag;
    const char *method;
    char *token;                /* that it was sent with */
    gboolean is_stream;
    guint waiting;              /* in which round, for the client; or 0 */
    gboolean is_renewed;        /* it was told once that the session ended */
    gint64 deadline;
    guint timer;                /* while it is waiting */
    guint idle;                 /* there is nothing to ask for */
    RedfishRequest *request;
    RedfishDone done;
    gpointer opaque;
};

/* Sessions that are being ended */
static guint leaving;

static void send_op(RedfishOp *op);

/* --- the client ---------------------------------------------------------- */

RedfishClient *redfish_client_new(const MachineConfig *config)
{
    RedfishClient *client = g_new0(RedfishClient, 1);

    client->references = 1;
    client->round = 1;
    client->config = config;
    client->http = redfish_http_new(config);
    g_queue_init(&client->ops);
    return client;
}

static void unref(RedfishClient *client)
{
    if (--client->references) {
        return;
    }
    redfish_http_unref(client->http);
    g_free(client->systems);
    g_free(client->sessions);
    g_free(client->events);
    g_free(client->token);
    g_free(client->session);
    g_free(client);
}

const char *redfish_client_name(const RedfishClient *client)
{
    return redfish_http_name(client->http);
}

static gboolean has_sessions(const RedfishClient *client)
{
    return client->config->redfish_user &&
           !client->config->redfish_is_basic;
}

gboolean redfish_client_is_open(const RedfishClient *client)
{
    return client->is_known && (client->token || !has_sessions(client));
}

const char *redfish_client_token(const RedfishClient *client)
{
    return client->is_doubted ? NULL : client->token;
}

void redfish_client_doubt(RedfishClient *client)
{
    client->is_doubted = TRUE;
}

const char *redfish_client_systems(const RedfishClient *client)
{
    return client->systems;
}

const char *redfish_client_events(const RedfishClient *client)
{
    return client->events;
}

/* --- what has been asked for --------------------------------------------- */

static void op_free(RedfishOp *op)
{
    g_queue_remove(&op->client->ops, op);
    g_clear_handle_id(&op->timer, g_source_remove);
    g_clear_handle_id(&op->idle, g_source_remove);
    g_free(op->path);
    g_free(op->body);
    g_free(op->etag);
    g_free(op->token);
    g_free(op);
}

static void finish_op(RedfishOp *op, const RedfishReply *reply)
{
    RedfishDone done = op->done;
    gpointer opaque = op->opaque;

    op_free(op);
    done(reply, opaque);
}

void redfish_op_cancel(RedfishOp *op)
{
    if (op->request) {
        redfish_request_cancel(op->request);
    }
    op_free(op);
}

static void fail_op(RedfishOp *op, BackendTrouble kind, const char *what)
{
    g_autofree char *trouble = g_strdup_printf(
        "The Redfish service %s %s", redfish_client_name(op->client), what);
    RedfishReply reply = {
        .trouble = trouble,
        .kind = kind,
        .result = SPICE_POWER_RESULT_FAILED,
    };

    finish_op(op, &reply);
}

static RedfishOp *pop_waiting(RedfishClient *client, guint round)
{
    GList *link;

    for (link = client->ops.head; link; link = link->next) {
        RedfishOp *op = link->data;

        if (op->waiting == round) {
            op->waiting = 0;
            g_clear_handle_id(&op->timer, g_source_remove);
            return op;
        }
    }
    return NULL;
}

/*
 * Each that waits, as long as the client is there; who comes meanwhile is for
 * the next time
 */
static void for_waiting(RedfishClient *client,
                        void (*call)(RedfishOp *op, const RedfishReply *reply),
                        const RedfishReply *reply)
{
    guint round = client->round++;
    RedfishOp *op;

    client->references++;
    while ((op = pop_waiting(client, round))) {
        call(op, reply);
    }
    unref(client);
}

static void resume_op(RedfishOp *op, const RedfishReply *unused)
{
    send_op(op);
}

/* --- the root, and a session --------------------------------------------- */

static void log_in(RedfishClient *client);

static void fail_opening(RedfishClient *client, BackendTrouble kind,
                         const char *what)
{
    g_autofree char *trouble = g_strdup_printf(
        "The Redfish service %s %s", redfish_client_name(client), what);
    RedfishReply reply = {
        .trouble = trouble,
        .kind = kind,
        .result = SPICE_POWER_RESULT_FAILED,
    };

    for_waiting(client, finish_op, &reply);
}

static char *session_path(const RedfishReply *reply)
{
    return g_strdup(reply->location
                    ?: redfish_json_text(reply->body, "@odata.id"));
}

static void logged_in(const RedfishReply *reply, gpointer opaque)
{
    RedfishClient *client = opaque;

    client->opening = NULL;
    if (redfish_json_has_message(reply->body, "SessionLimitExceeded")) {
        fail_opening(client, BACKEND_TROUBLE_AWAY, "has no free session: end"
                     " some of those that it has, or wait until they end");
    } else if (reply->trouble) {
        for_waiting(client, finish_op, reply);
    } else if (!reply->token) {
        fail_opening(client, BACKEND_TROUBLE_PASSING, "has begun a session and"
                     " given no X-Auth-Token for it");
    } else {
        client->token = g_strdup(reply->token);
        client->is_doubted = FALSE;
        g_free(client->session);
        client->session = session_path(reply);
        for_waiting(client, resume_op, NULL);
    }
}

/* A service of Redfish 1.0 may tell it only here */
static void got_session_service(const RedfishReply *reply, gpointer opaque)
{
    RedfishClient *client = opaque;

    client->opening = NULL;
    if (reply->trouble) {
        for_waiting(client, finish_op, reply);
    } else {
        client->sessions = g_strdup(redfish_json_link(reply->body,
                                                      "Sessions"));
        log_in(client);
    }
}

static void got_root(const RedfishReply *reply, gpointer opaque)
{
    RedfishClient *client = opaque;
    JsonObject *links = redfish_json_object(reply->body, "Links");
    RedfishAsk ask = {
        .method = "GET",
        .path = redfish_json_link(reply->body, "SessionService"),
        .deadline = client->opening_deadline,
    };

    client->opening = NULL;
    if (reply->trouble) {
        for_waiting(client, finish_op, reply);
        return;
    }
    client->systems = g_strdup(redfish_json_link(reply->body, "Systems"));
    client->sessions = g_strdup(redfish_json_link(links, "Sessions"));
    client->events = g_strdup(redfish_json_link(reply->body, "EventService"));
    client->is_known = client->systems != NULL;
    if (!client->is_known) {
        fail_opening(client, BACKEND_TROUBLE_PASSING, "names no Systems at "
                     ROOT);
    } else if (redfish_client_is_open(client)) {
        for_waiting(client, resume_op, NULL);
    } else if (client->sessions || !ask.path) {
        log_in(client);
    } else {
        client->opening = redfish_http_send(client->http, &ask,
                                            got_session_service, client);
    }
}

static void log_in(RedfishClient *client)
{
    g_autofree char *body = NULL;
    RedfishAsk ask = {
        .method = "POST",
        .path = client->sessions,
        .deadline = client->opening_deadline,
    };

    if (!client->sessions) {
        /* The next one asks once more: it is never answered at once */
        client->is_known = FALSE;
        fail_opening(client, BACKEND_TROUBLE_REFUSED, "has no sessions: set"
                     " [redfish] authentication to basic");
        return;
    }
    body = redfish_json_write("UserName", client->config->redfish_user,
                              "Password", client->config->redfish_password,
                              NULL);
    ask.body = body;
    client->is_log_in = TRUE;
    client->opening = redfish_http_send(client->http, &ask, logged_in, client);
}

static void open_client(RedfishClient *client)
{
    RedfishAsk ask = { .method = "GET", .path = ROOT };

    client->opening_deadline = g_get_monotonic_time() +
                               client->config->query_timeout_ms *
                               G_TIME_SPAN_MILLISECOND;
    if (client->is_known) {
        log_in(client);
        return;
    }
    g_clear_pointer(&client->systems, g_free);
    g_clear_pointer(&client->sessions, g_free);
    g_clear_pointer(&client->events, g_free);
    ask.deadline = client->opening_deadline;
    client->is_log_in = FALSE;
    client->opening = redfish_http_send(client->http, &ask, got_root, client);
}

/* --- sending ------------------------------------------------------------- */

static gboolean waited_too_long(gpointer opaque)
{
    RedfishOp *op = opaque;

    op->timer = 0;
    fail_op(op, BACKEND_TROUBLE_AWAY, "has not answered in time");
    return G_SOURCE_REMOVE;
}

static void wait_for_client(RedfishOp *op)
{
    RedfishClient *client = op->client;

    op->waiting = client->round;
    op->timer = g_timeout_add(redfish_ms_left(op->deadline), waited_too_long,
                              op);
    if (!client->opening) {
        open_client(client);
    }
}

static void op_done(const RedfishReply *reply, gpointer opaque)
{
    RedfishOp *op = opaque;
    RedfishClient *client = op->client;

    op->request = NULL;
    if (reply->status && reply->status != 401 &&
        !g_strcmp0(client->token, op->token)) {
        client->is_doubted = FALSE;
    }
    if (reply->status != 401 || !has_sessions(client)) {
        finish_op(op, reply);
    } else if (op->is_renewed) {
        fail_op(op, BACKEND_TROUBLE_REFUSED, "does not accept the session that"
                " it has just given");
    } else {
        op->is_renewed = TRUE;
        /* another one may have renewed it meanwhile */
        if (!g_strcmp0(client->token, op->token)) {
            g_clear_pointer(&client->token, g_free);
            g_clear_pointer(&client->session, g_free);
        }
        if (redfish_client_is_open(client)) {
            send_op(op);
        } else {
            wait_for_client(op);
        }
    }
}

static gboolean opened(gpointer opaque)
{
    RedfishOp *op = opaque;
    RedfishReply reply = { .status = 200 };

    op->idle = 0;
    finish_op(op, &reply);
    return G_SOURCE_REMOVE;
}

static void send_op(RedfishOp *op)
{
    RedfishClient *client = op->client;
    RedfishAsk ask = {
        .method = op->method,
        .path = op->path,
        .body = op->body,
        .etag = op->etag,
        .token = client->token,
        .is_basic = client->config->redfish_is_basic,
        .is_stream = op->is_stream,
        .deadline = op->deadline,
    };

    if (!op->path) {
        op->idle = g_idle_add(opened, op);
        return;
    }
    g_free(op->token);
    op->token = g_strdup(client->token);
    op->request = redfish_http_send(client->http, &ask, op_done, op);
}

static RedfishOp *begin(RedfishClient *client, const char *method,
                        const char *path, gint64 deadline, RedfishDone done,
                        gpointer opaque)
{
    RedfishOp *op = g_new0(RedfishOp, 1);

    op->client = client;
    op->method = method;
    op->path = g_strdup(path);
    op->deadline = deadline;
    op->done = done;
    op->opaque = opaque;
    g_queue_push_tail(&client->ops, op);
    return op;
}

static RedfishOp *send_or_wait(RedfishOp *op)
{
    if (redfish_client_is_open(op->client)) {
        send_op(op);
    } else {
        wait_for_client(op);
    }
    return op;
}

RedfishOp *redfish_client_get(RedfishClient *client, const char *path,
                              const char *etag, gint64 deadline,
                              RedfishDone done, gpointer opaque)
{
    RedfishOp *op = begin(client, "GET", path, deadline, done, opaque);

    op->etag = g_strdup(etag);
    return send_or_wait(op);
}

RedfishOp *redfish_client_post(RedfishClient *client, const char *path,
                               const char *body, gint64 deadline,
                               RedfishDone done, gpointer opaque)
{
    RedfishOp *op = begin(client, "POST", path, deadline, done, opaque);

    op->body = g_strdup(body);
    return send_or_wait(op);
}

RedfishOp *redfish_client_stream(RedfishClient *client, const char *path,
                                 gint64 deadline, RedfishDone done,
                                 gpointer opaque)
{
    RedfishOp *op = begin(client, "GET", path, deadline, done, opaque);

    op->is_stream = TRUE;
    return send_or_wait(op);
}

/* --- good-bye ------------------------------------------------------------ */

static void left(const RedfishReply *unused, gpointer http)
{
    leaving--;
    redfish_http_unref(http);
}

/* It has the reference to @http */
static void end_session(RedfishHttp *http, const char *path, const char *token)
{
    RedfishAsk ask = {
        .method = "DELETE",
        .path = path,
        .token = token,
        .deadline = g_get_monotonic_time() +
                    LEAVE_MS * G_TIME_SPAN_MILLISECOND,
    };

    redfish_http_send(http, &ask, left, http);
}

/* One was being begun */
static void logged_in_too_late(const RedfishReply *reply, gpointer http)
{
    g_autofree char *path = session_path(reply);

    if (!reply->trouble && reply->token && path) {
        end_session(http, path, reply->token);
    } else {
        left(NULL, http);
    }
}

void redfish_client_free(RedfishClient *client)
{
    if (!client) {
        return;
    }
    while (client->ops.head) {
        redfish_op_cancel(client->ops.head->data);
    }
    if (client->opening && client->is_log_in) {
        leaving++;
        redfish_request_pass(client->opening, logged_in_too_late,
                             redfish_http_ref(client->http));
    } else if (client->opening) {
        redfish_request_cancel(client->opening);
    } else if (client->token && client->session) {
        leaving++;
        end_session(redfish_http_ref(client->http), client->session,
                    client->token);
    }
    client->opening = NULL;
    unref(client);
}

gboolean redfish_client_is_leaving(void)
{
    return leaving > 0;
}
