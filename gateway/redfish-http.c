/*
 * One Redfish service by HTTP: a request and what comes of it
 *
 * A request may be given up while libsoup is still busy with it; so it's freed
 * where libsoup's last call ends, and nowhere else.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <libsoup/soup.h>
#include <string.h>

#include "redfish-failures.h"
#include "redfish-http.h"
#include "redfish-json.h"
#include "redfish-trust.h"

/* No resource that is of interest is a tenth as large */
#define MAX_BODY (1024 * 1024)
#define CHUNK    (16 * 1024)
#define MAX_REDIRECTS 5
/* Events, the state, an action, and what says good-bye */
#define MAX_CONNECTIONS 4

struct RedfishHttp {
    guint references;
    SoupSession *session;
    GUri *base;
    char *name;
    char *basic;                /* the header's value; NULL: no user */
    char *password;             /* what must be in no message; or NULL */
    char *ca_file;
    char *fingerprint;          /* of the only certificate; or NULL */
    char *problem;              /* whom to trust is not known; or NULL */
};

struct RedfishRequest {
    RedfishHttp *http;
    char *method, *path, *body, *token, *etag;
    gboolean is_basic, is_stream;
    gint64 deadline;
    guint timer;
    guint redirects;
    RedfishDone done;           /* NULL: it has been called, or given up */
    gpointer opaque;

    GCancellable *cancellable;
    SoupMessage *message;
    GInputStream *stream;
    GByteArray *data;
    char *tls_problem;          /* why a certificate was refused; or NULL */
};

/* --- whom to trust ------------------------------------------------------- */

/*
 * With a fingerprint no authority is trusted, so that each certificate comes
 * here
 */
static gboolean accept_certificate(SoupMessage *message,
                                   GTlsCertificate *certificate,
                                   GTlsCertificateFlags errors,
                                   gpointer opaque)
{
    RedfishRequest *request = opaque;

    g_free(request->tls_problem);
    request->tls_problem = redfish_trust_problem(certificate, errors,
                                                 request->http->fingerprint);
    return !request->tls_problem;
}

/* ------------------------------------------------------------------------- */

/* Once more, if the file was wrong */
static void trust(RedfishHttp *http)
{
    g_free(http->problem);
    http->problem = redfish_trust(http->session, http->ca_file,
                                  http->fingerprint);
}

/* The port only if it's not the usual one */
static char *name_of(GUri *base)
{
    const char *host = g_uri_get_host(base);
    gboolean is_tls = !strcmp(g_uri_get_scheme(base), "https");
    int port = g_uri_get_port(base);

    return port > 0 && port != (is_tls ? 443 : 80)
           ? g_strdup_printf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host,
                             port)
           : g_strdup(host);
}

RedfishHttp *redfish_http_new(const MachineConfig *config)
{
    RedfishHttp *http = g_new0(RedfishHttp, 1);

    http->references = 1;
    http->base = g_uri_parse(config->redfish_url, SOUP_HTTP_URI_FLAGS, NULL);
    http->name = name_of(http->base);
    if (config->redfish_user) {
        g_autofree char *both = g_strdup_printf("%s:%s", config->redfish_user,
                                                config->redfish_password);
        g_autofree char *encoded = g_base64_encode((guchar *)both,
                                                   strlen(both));

        http->basic = g_strconcat("Basic ", encoded, NULL);
        http->password = g_strdup(config->redfish_password);
    }
    http->fingerprint = config->redfish_fingerprint
                        ? redfish_fingerprint(config->redfish_fingerprint)
                        : NULL;
    http->session = soup_session_new_with_options(
        "max-conns", MAX_CONNECTIONS, "max-conns-per-host", MAX_CONNECTIONS,
        "user-agent", "spice-gateway/" VERSION, "timeout", 0, NULL);
    /* Who is let in, and how often it's tried, is decided here */
    soup_session_remove_feature_by_type(http->session, SOUP_TYPE_AUTH_MANAGER);
    /* A BMC is where this computer is, whatever the desktop has for the web */
    soup_session_set_proxy_resolver(http->session, NULL);
    http->ca_file = g_strdup(config->redfish_ca_file);
    trust(http);
    return http;
}

RedfishHttp *redfish_http_ref(RedfishHttp *http)
{
    http->references++;
    return http;
}

void redfish_http_unref(RedfishHttp *http)
{
    if (!http || --http->references) {
        return;
    }
    g_object_unref(http->session);
    g_uri_unref(http->base);
    g_free(http->name);
    g_free(http->basic);
    g_free(http->password);
    g_free(http->ca_file);
    g_free(http->fingerprint);
    g_free(http->problem);
    g_free(http);
}

const char *redfish_http_name(const RedfishHttp *http)
{
    return http->name;
}

guint redfish_ms_left(gint64 deadline)
{
    return MAX((deadline - g_get_monotonic_time()) / 1000, 1);
}

/* --- the end of a request ------------------------------------------------ */

/* libsoup has nothing more to do with it */
static void request_free(RedfishRequest *request)
{
    g_clear_handle_id(&request->timer, g_source_remove);
    if (request->message) {
        g_signal_handlers_disconnect_by_data(request->message, request);
        g_object_unref(request->message);
    }
    g_clear_object(&request->stream);
    g_clear_object(&request->cancellable);
    if (request->data) {
        g_byte_array_unref(request->data);
    }
    g_free(request->tls_problem);
    g_free(request->method);
    g_free(request->path);
    g_free(request->body);
    g_free(request->token);
    g_free(request->etag);
    redfish_http_unref(request->http);
    g_free(request);
}

static void tell(RedfishRequest *request, const RedfishReply *reply)
{
    RedfishDone done = request->done;

    g_clear_handle_id(&request->timer, g_source_remove);
    request->done = NULL;
    if (done) {
        done(reply, request->opaque);
    }
}

/* A service may repeat what it was sent */
static char *without_secrets(RedfishRequest *request, const char *text)
{
    const char *const secrets[] = { request->http->password, request->token };
    char *clean = g_strdup(text);
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(secrets); i++) {
        if (secrets[i] && *secrets[i] && strstr(clean, secrets[i])) {
            g_auto(GStrv) parts = g_strsplit(clean, secrets[i], -1);

            g_free(clean);
            clean = g_strjoinv("...", parts);
        }
    }
    return clean;
}

static void tell_trouble(RedfishRequest *request, RedfishReply *reply,
                         BackendTrouble kind, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/* What the service is or does wrong, as a sentence about it */
static void tell_trouble(RedfishRequest *request, RedfishReply *reply,
                         BackendTrouble kind, const char *format, ...)
{
    g_autofree char *text = NULL, *clean = NULL, *trouble = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    clean = without_secrets(request, text);
    trouble = g_strdup_printf("The Redfish service %s %s", request->http->name,
                              clean);
    reply->trouble = trouble;
    reply->kind = kind;
    if (reply->result == SPICE_POWER_RESULT_OK) {
        reply->result = SPICE_POWER_RESULT_FAILED;
    }
    tell(request, reply);
}

static void tell_failure(RedfishRequest *request, RedfishReply *reply,
                         RedfishFailure failure)
{
    g_autofree char *text = failure.text;

    reply->result = failure.result;
    tell_trouble(request, reply, failure.kind, "%s", text);
}

static void tell_error(RedfishRequest *request, const GError *error)
{
    RedfishReply reply = { 0 };

    if (request->tls_problem) {
        tell_trouble(request, &reply, BACKEND_TROUBLE_REFUSED, "%s",
                     request->tls_problem);
    } else {
        tell_failure(request, &reply,
                     redfish_failure_of_error(error, request->stream != NULL));
    }
}

static gboolean timed_out(gpointer opaque)
{
    RedfishRequest *request = opaque;
    RedfishReply reply = { 0 };

    request->timer = 0;
    /* libsoup frees it, if it's not freed from here */
    g_cancellable_cancel(request->cancellable);
    tell_trouble(request, &reply, BACKEND_TROUBLE_AWAY, request->data
                 ? "has not ended its answer in time, [power] query-timeout"
                 : "has not answered in time, [power] query-timeout");
    return G_SOURCE_REMOVE;
}

/* --- what a status means ------------------------------------------------- */

static const char *header(RedfishRequest *request, const char *name)
{
    return soup_message_headers_get_one(
        soup_message_get_response_headers(request->message), name);
}

/* Only the path: it goes to the service that was asked, whatever its name */
static char *path_of(RedfishRequest *request, const char *reference)
{
    g_autoptr(GUri) uri = reference
        ? g_uri_parse_relative(soup_message_get_uri(request->message),
                               reference, SOUP_HTTP_URI_FLAGS, NULL) : NULL;

    if (!uri || *g_uri_get_path(uri) != '/') {
        return NULL;
    }
    return g_uri_get_query(uri)
           ? g_strdup_printf("%s?%s", g_uri_get_path(uri),
                             g_uri_get_query(uri))
           : g_strdup(g_uri_get_path(uri));
}

static void tell_refused(RedfishRequest *request, RedfishReply *reply)
{
    g_autofree char *said = redfish_json_words(reply->body);

    tell_failure(request, reply, redfish_failure_of_status(
        reply->status, request->path, request->http->basic != NULL,
        reply->retry_s, said));
}

static void send_message(RedfishRequest *request);

/* Returns: whether it goes on; else @reply is told */
static gboolean follow(RedfishRequest *request, RedfishReply *reply)
{
    GUri *from = soup_message_get_uri(request->message);
    const char *where = header(request, "Location");
    g_autoptr(GUri) to = where ? g_uri_parse_relative(from, where,
                                                      SOUP_HTTP_URI_FLAGS,
                                                      NULL) : NULL;
    gboolean is_get = !strcmp(request->method, "GET");

    if (!to || (!is_get && reply->status != 307 && reply->status != 308)) {
        tell_trouble(request, reply, BACKEND_TROUBLE_PASSING, "leads %s"
                     " elsewhere with HTTP status %u, which can't be followed",
                     request->path, reply->status);
    } else if (g_strcmp0(g_uri_get_scheme(to), g_uri_get_scheme(from)) ||
               g_strcmp0(g_uri_get_host(to), g_uri_get_host(from)) ||
               g_uri_get_port(to) != g_uri_get_port(from)) {
        g_autofree char *text = g_uri_to_string(to);

        /* What is secret is for whom it was given to */
        tell_trouble(request, reply, BACKEND_TROUBLE_REFUSED, "leads to"
                     " another one, %s: if that is right, set [redfish] url"
                     " to it", text);
    } else if (++request->redirects > MAX_REDIRECTS) {
        tell_trouble(request, reply, BACKEND_TROUBLE_PASSING, "leads %s round"
                     " and round", request->path);
    } else {
        char *path = path_of(request, where);

        g_free(request->path);
        request->path = path;
        return TRUE;
    }
    return FALSE;
}

/* Returns: FALSE if there is another request now */
static gboolean understand(RedfishRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) body = NULL;
    g_autofree char *location = path_of(request, header(request, "Location"));
    const char *retry = header(request, "Retry-After");
    guint status = soup_message_get_status(request->message);
    gboolean is_fine = (status >= 200 && status < 300) || status == 304;
    RedfishReply reply = {
        .status = status,
        .location = location,
        .etag = header(request, "ETag"),
        .token = header(request, "X-Auth-Token"),
        .retry_s = retry ? CLAMP(g_ascii_strtoll(retry, NULL, 10), 0, 3600) : 0,
    };

    if (status >= 300 && status < 400 && status != 304) {
        return !follow(request, &reply);
    }
    if (request->data->len) {
        body = redfish_json_parse((char *)request->data->data,
                                  request->data->len, &error);
    }
    reply.body = body;
    if (!is_fine) {
        tell_refused(request, &reply);
    } else if (!body && status == 200 && !strcmp(request->method, "GET")) {
        tell_trouble(request, &reply, BACKEND_TROUBLE_PASSING, "answers %s"
                     " with what is no JSON: %s", request->path,
                     error ? error->message : "it is empty");
    } else {
        tell(request, &reply);
    }
    return TRUE;
}

/* --- on its way ---------------------------------------------------------- */

static void read_more(RedfishRequest *request);

static void got_more(GObject *stream, GAsyncResult *result, gpointer opaque)
{
    RedfishRequest *request = opaque;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = g_input_stream_read_bytes_finish(
        G_INPUT_STREAM(stream), result, &error);
    gsize size = bytes ? g_bytes_get_size(bytes) : 0;
    RedfishReply reply = { 0 };

    if (!request->done) {
        /* it has been given up */
    } else if (!bytes) {
        tell_error(request, error);
    } else if (request->data->len + size > MAX_BODY) {
        tell_trouble(request, &reply, BACKEND_TROUBLE_PASSING, "answers %s"
                     " with more than %d kB", request->path, MAX_BODY / 1024);
        g_cancellable_cancel(request->cancellable);
    } else if (size) {
        g_byte_array_append(request->data, g_bytes_get_data(bytes, NULL),
                            size);
        read_more(request);
        return;
    } else if (!understand(request)) {
        send_message(request);
        return;
    }
    request_free(request);
}

static void read_more(RedfishRequest *request)
{
    g_input_stream_read_bytes_async(request->stream, CHUNK, G_PRIORITY_DEFAULT,
                                    request->cancellable, got_more, request);
}

static void sent(GObject *session, GAsyncResult *result, gpointer opaque)
{
    RedfishRequest *request = opaque;
    g_autoptr(GError) error = NULL;
    GInputStream *stream = soup_session_send_finish(SOUP_SESSION(session),
                                                    result, &error);

    if (!request->done) {
        g_clear_object(&stream);
    } else if (!stream) {
        tell_error(request, error);
    } else if (request->is_stream &&
               soup_message_get_status(request->message) == 200) {
        RedfishReply reply = { .status = 200, .stream = stream };

        request->stream = stream;
        if (!g_str_has_prefix(header(request, "Content-Type") ?: "",
                              "text/event-stream")) {
            reply.stream = NULL;
            tell_trouble(request, &reply, BACKEND_TROUBLE_PASSING, "has no"
                         " events at %s", request->path);
            g_cancellable_cancel(request->cancellable);
        } else {
            tell(request, &reply);
        }
    } else {
        request->stream = stream;
        request->data = g_byte_array_new();
        read_more(request);
        return;
    }
    request_free(request);
}

static void set_headers(RedfishRequest *request)
{
    SoupMessageHeaders *headers =
        soup_message_get_request_headers(request->message);

    soup_message_headers_append(headers, "OData-Version", "4.0");
    soup_message_headers_append(headers, "Accept", request->is_stream
                                ? "text/event-stream" : "application/json");
    if (request->token) {
        soup_message_headers_append(headers, "X-Auth-Token", request->token);
    }
    if (request->is_basic && request->http->basic) {
        soup_message_headers_append(headers, "Authorization",
                                    request->http->basic);
    }
    if (request->etag) {
        soup_message_headers_append(headers, "If-None-Match", request->etag);
    }
    if (request->body) {
        g_autoptr(GBytes) bytes = g_bytes_new(request->body,
                                              strlen(request->body));

        soup_message_set_request_body_from_bytes(request->message,
                                                 "application/json", bytes);
    }
}

static gboolean tell_bad_path(gpointer opaque)
{
    RedfishRequest *request = opaque;
    RedfishReply reply = { 0 };

    if (request->done && request->http->problem) {
        reply.trouble = request->http->problem;
        reply.kind = BACKEND_TROUBLE_REFUSED;
        reply.result = SPICE_POWER_RESULT_FAILED;
        tell(request, &reply);
    } else if (request->done) {
        tell_trouble(request, &reply, BACKEND_TROUBLE_PASSING, "refers to"
                     " '%s', which is no path", request->path);
    }
    request_free(request);
    return G_SOURCE_REMOVE;
}

/* A path of the service, which may be led elsewhere by nothing in it */
static GUri *find_uri(RedfishRequest *request)
{
    g_autoptr(GUri) uri = NULL;

    if (*request->path != '/' || request->path[1] == '/') {
        return NULL;
    }
    uri = g_uri_parse_relative(request->http->base, request->path,
                               SOUP_HTTP_URI_FLAGS, NULL);
    return uri && !g_strcmp0(g_uri_get_host(uri),
                             g_uri_get_host(request->http->base))
           ? g_steal_pointer(&uri) : NULL;
}

/* The first one, or where that leads to */
static void send_message(RedfishRequest *request)
{
    g_autoptr(GUri) uri = find_uri(request);

    if (request->message) {
        g_signal_handlers_disconnect_by_data(request->message, request);
    }
    g_clear_object(&request->message);
    g_clear_object(&request->stream);
    g_clear_pointer(&request->data, g_byte_array_unref);
    if (request->http->problem) {
        trust(request->http);
    }
    if (!uri || request->http->problem) {
        g_idle_add(tell_bad_path, request);
        return;
    }
    request->message = soup_message_new_from_uri(request->method, uri);
    soup_message_add_flags(request->message, SOUP_MESSAGE_NO_REDIRECT);
#if SOUP_CHECK_VERSION(3, 4, 0)
    /* Events by HTTP/2 are more than some BMCs can do */
    soup_message_set_force_http1(request->message, TRUE);
#endif
    set_headers(request);
    g_signal_connect(request->message, "accept-certificate",
                     G_CALLBACK(accept_certificate), request);
    soup_session_send_async(request->http->session, request->message,
                            G_PRIORITY_DEFAULT, request->cancellable, sent,
                            request);
}

RedfishRequest *redfish_http_send(RedfishHttp *http, const RedfishAsk *ask,
                                  RedfishDone done, gpointer opaque)
{
    RedfishRequest *request = g_new0(RedfishRequest, 1);

    request->http = redfish_http_ref(http);
    request->method = g_strdup(ask->method);
    request->path = g_strdup(ask->path);
    request->body = g_strdup(ask->body);
    request->token = g_strdup(ask->token);
    request->etag = g_strdup(ask->etag);
    request->is_basic = ask->is_basic;
    request->is_stream = ask->is_stream;
    request->done = done;
    request->opaque = opaque;
    request->cancellable = g_cancellable_new();
    request->timer = g_timeout_add(redfish_ms_left(ask->deadline), timed_out,
                                   request);
    send_message(request);
    return request;
}

void redfish_request_pass(RedfishRequest *request, RedfishDone done,
                          gpointer opaque)
{
    request->done = done;
    request->opaque = opaque;
}

void redfish_request_cancel(RedfishRequest *request)
{
    request->done = NULL;
    g_clear_handle_id(&request->timer, g_source_remove);
    g_cancellable_cancel(request->cancellable);
}
