/*
 * A Redfish service in the process, after DMTF's DSP0266
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <json-glib/json-glib.h>
#include <string.h>

#include "fake-redfish.h"

#define DRIP_MS 5

typedef struct Answer {
    FakeManner manner;
    guint status;
    char *headers;
    char *body;
} Answer;

/* One that is answered slowly */
typedef struct Drip {
    FakeRedfish *fake;
    SoupServerMessage *message;
    guint timer;
} Drip;

static void answer_free(gpointer data)
{
    Answer *answer = data;

    g_free(answer->headers);
    g_free(answer->body);
    g_free(answer);
}

static void respond(SoupServerMessage *message, guint status, const char *body)
{
    soup_server_message_set_status(message, status, NULL);
    if (body) {
        soup_server_message_set_response(message, "application/json",
                                         SOUP_MEMORY_COPY, body,
                                         strlen(body));
    }
}

static void refuse(SoupServerMessage *message, guint status, const char *id,
                   const char *words)
{
    g_autofree char *body = g_strdup_printf(
        "{\"error\": {\"code\": \"Base.1.8.GeneralError\", \"message\": \"See"
        " @Message.ExtendedInfo\", \"@Message.ExtendedInfo\": [{\"MessageId\":"
        " \"Base.1.8.%s\", \"Message\": \"%s\", \"Severity\": \"Critical\","
        " \"Resolution\": \"None.\"}]}}", id, words);

    respond(message, status, body);
}

/* --- what a test has said ------------------------------------------------ */

static void drip_free(gpointer data)
{
    Drip *drip = data;

    g_clear_handle_id(&drip->timer, g_source_remove);
    g_free(drip);
}

static gboolean drip_one(gpointer opaque)
{
    Drip *drip = opaque;

    soup_message_body_append(
        soup_server_message_get_response_body(drip->message),
        SOUP_MEMORY_STATIC, " ", 1);
    soup_server_message_unpause(drip->message);
    return G_SOURCE_CONTINUE;
}

static void drip_over(SoupServerMessage *message, gpointer opaque)
{
    Drip *drip = opaque;

    g_ptr_array_remove(drip->fake->drips, drip);
}

static void begin_drip(FakeRedfish *fake, SoupServerMessage *message)
{
    Drip *drip = g_new0(Drip, 1);

    drip->fake = fake;
    drip->message = message;
    soup_server_message_set_status(message, 200, NULL);
    soup_message_headers_set_encoding(
        soup_server_message_get_response_headers(message),
        SOUP_ENCODING_CHUNKED);
    g_signal_connect(message, "finished", G_CALLBACK(drip_over), drip);
    drip->timer = g_timeout_add(DRIP_MS, drip_one, drip);
    g_ptr_array_add(fake->drips, drip);
}

static void send_raw(SoupServerMessage *message, const char *text)
{
    g_autoptr(GIOStream) stream = soup_server_message_steal_connection(message);
    GOutputStream *output = g_io_stream_get_output_stream(stream);

    g_assert_true(g_output_stream_write_all(output, text, strlen(text), NULL,
                                            NULL, NULL));
    g_io_stream_close(stream, NULL, NULL);
}

static void answer_as_told(FakeRedfish *fake, SoupServerMessage *message,
                           const Answer *answer)
{
    SoupMessageHeaders *headers =
        soup_server_message_get_response_headers(message);
    g_auto(GStrv) lines = g_strsplit(answer->headers ?: "", "\n", 0);
    char **line;

    switch (answer->manner) {
    case FAKE_SILENT:
        soup_server_message_pause(message);
        g_set_weak_pointer(&fake->silent, message);
        return;
    case FAKE_SLOW:
        begin_drip(fake, message);
        return;
    case FAKE_RAW:
        send_raw(message, answer->body);
        return;
    case FAKE_WELL:
        break;
    }
    for (line = lines; *line && **line; line++) {
        g_auto(GStrv) parts = g_strsplit(*line, ": ", 2);

        soup_message_headers_append(headers, parts[0], parts[1]);
    }
    respond(message, answer->status, answer->body);
}

/* --- what it is ---------------------------------------------------------- */

static JsonObject *read_body(SoupServerMessage *message)
{
    SoupMessageBody *body = soup_server_message_get_request_body(message);
    g_autoptr(JsonParser) parser = json_parser_new();

    g_assert_true(json_parser_load_from_data(parser, body->data, body->length,
                                             NULL));
    return json_node_dup_object(json_parser_get_root(parser));
}

static void root(FakeRedfish *fake, SoupServerMessage *message)
{
    g_autofree char *body = g_strdup_printf(
        "{\"@odata.id\": \"/redfish/v1/\", \"Systems\": {\"@odata.id\":"
        " \"/redfish/v1/Systems\"}%s%s}", fake->has_sessions
        ? ", \"Links\": {\"Sessions\": {\"@odata.id\": \"" FAKE_SESSIONS "\"}}"
        : "", fake->has_events
        ? ", \"EventService\": {\"@odata.id\": \"/redfish/v1/EventService\"}"
        : "");

    fake->roots++;
    respond(message, 200, body);
}

static void log_in(FakeRedfish *fake, SoupServerMessage *message)
{
    g_autoptr(JsonObject) asked = read_body(message);
    g_autofree char *location = NULL;
    SoupMessageHeaders *headers =
        soup_server_message_get_response_headers(message);

    fake->log_ins++;
    if (strcmp(json_object_get_string_member(asked, "UserName"), FAKE_USER) ||
        strcmp(json_object_get_string_member(asked, "Password"),
               FAKE_PASSWORD)) {
        /* some repeat what was wrong */
        g_autofree char *words = g_strdup_printf(
            "Not %s", json_object_get_string_member(asked, "Password"));

        refuse(message, 401, "InsufficientPrivilege", words);
        return;
    }
    g_free(fake->token);
    fake->token = g_strdup_printf("token-%u", ++fake->tokens);
    /* with the host that it has for itself */
    location = g_strdup_printf("https://bmc.invalid" FAKE_SESSIONS "/%u",
                               fake->tokens);
    soup_message_headers_append(headers, "X-Auth-Token", fake->token);
    soup_message_headers_append(headers, "Location", location);
    respond(message, 201, "{\"Id\": \"1\"}");
}

static void system_1(FakeRedfish *fake, SoupServerMessage *message)
{
    const char *known = soup_message_headers_get_one(
        soup_server_message_get_request_headers(message), "If-None-Match");
    g_autofree char *body = NULL;

    fake->looks++;
    if (fake->etag) {
        soup_message_headers_append(
            soup_server_message_get_response_headers(message), "ETag",
            fake->etag);
        if (!g_strcmp0(known, fake->etag)) {
            fake->unchanged++;
            respond(message, 304, NULL);
            return;
        }
    }
    body = g_strdup_printf(
        "{\"@odata.id\": \"" FAKE_SYSTEM "\", \"Id\": \"1\", \"Name\": \"web\","
        " \"UUID\": \"38947555-7742-3448-3784-823347823834\"%s%s,"
        " \"Actions\": {\"#ComputerSystem.Reset\": {\"target\": \"" FAKE_RESET
        "\"%s%s}}}", fake->power ? ", \"PowerState\": " : "",
        fake->power ?: "", fake->reset ? ", " : "", fake->reset ?: "");
    respond(message, 200, body);
}

static void reset(FakeRedfish *fake, SoupServerMessage *message)
{
    g_autoptr(JsonObject) asked = read_body(message);

    fake->resets++;
    g_free(fake->reset_type);
    fake->reset_type = g_strdup(json_object_get_string_member(asked,
                                                              "ResetType"));
    fake->power = strcmp(fake->reset_type, "ForceOff") ? "\"On\"" : "\"Off\"";
    respond(message, 204, NULL);
}

static void stop_looking(FakeRedfish *fake)
{
    if (fake->hang_up) {
        g_source_destroy(fake->hang_up);
        g_clear_pointer(&fake->hang_up, g_source_unref);
    }
}

static void listener_gone(SoupServerMessage *message, gpointer opaque)
{
    FakeRedfish *fake = opaque;

    if (fake->listener == message) {
        stop_looking(fake);
        fake->listener = NULL;
    }
}

/* libsoup does not look whether the other side is there while it's paused */
static gboolean listener_left(GSocket *socket, GIOCondition condition,
                              gpointer opaque)
{
    FakeRedfish *fake = opaque;
    char byte;

    g_assert_cmpint(g_socket_receive(socket, &byte, 1, NULL, NULL), <=, 0);
    fake_redfish_hang_up(fake);
    return G_SOURCE_REMOVE;
}

static void listen_for(FakeRedfish *fake, SoupServerMessage *message)
{
    SoupMessageHeaders *headers =
        soup_server_message_get_response_headers(message);

    stop_looking(fake);
    fake->hang_up = g_socket_create_source(
        soup_server_message_get_socket(message), G_IO_IN | G_IO_HUP, NULL);
    g_source_set_callback(fake->hang_up, G_SOURCE_FUNC(listener_left), fake,
                          NULL);
    g_source_attach(fake->hang_up, NULL);
    fake->listener = message;
    fake->listeners++;
    soup_server_message_set_status(message, 200, NULL);
    soup_message_headers_set_content_type(headers, "text/event-stream", NULL);
    soup_message_headers_set_encoding(headers, SOUP_ENCODING_CHUNKED);
    g_signal_connect(message, "finished", G_CALLBACK(listener_gone), fake);
    fake_redfish_send(fake, ": welcome\n\n");
}

/* --- requests ------------------------------------------------------------ */

static gboolean is_let_in(FakeRedfish *fake, SoupServerMessage *message)
{
    SoupMessageHeaders *headers =
        soup_server_message_get_request_headers(message);
    const char *token = soup_message_headers_get_one(headers, "X-Auth-Token");
    g_autofree char *basic = g_base64_encode(
        (guchar *)FAKE_USER ":" FAKE_PASSWORD,
        strlen(FAKE_USER ":" FAKE_PASSWORD));
    const char *given = soup_message_headers_get_one(headers, "Authorization");

    g_free(fake->origin);
    fake->origin = g_strdup(given);
    if (!fake->has_user) {
        return TRUE;
    }
    return fake->has_sessions
           ? token && !g_strcmp0(token, fake->token)
           : given && g_str_has_suffix(given, basic);
}

static void requested(SoupServer *server, SoupServerMessage *message,
                      const char *path, GHashTable *query, gpointer opaque)
{
    FakeRedfish *fake = opaque;
    g_autofree char *what = g_strdup_printf(
        "%s %s", soup_server_message_get_method(message), path);
    const Answer *answer = g_hash_table_lookup(fake->answers, what);

    fake->requests++;
    if (answer) {
        answer_as_told(fake, message, answer);
    } else if (!strcmp(what, "GET /redfish/v1/")) {
        root(fake, message);
    } else if (!strcmp(what, "POST " FAKE_SESSIONS) && fake->has_sessions) {
        log_in(fake, message);
    } else if (!is_let_in(fake, message)) {
        refuse(message, 401, "NoValidSession", "There is no valid session");
    } else if (g_str_has_prefix(what, "DELETE " FAKE_SESSIONS "/")) {
        fake->log_outs++;
        respond(message, 204, NULL);
    } else if (!strcmp(what, "GET /redfish/v1/Systems")) {
        g_autofree char *body = g_strdup_printf("{\"Members\": %s}",
                                                fake->systems);

        respond(message, 200, body);
    } else if (!strcmp(what, "GET " FAKE_SYSTEM)) {
        system_1(fake, message);
    } else if (!strcmp(what, "POST " FAKE_RESET)) {
        reset(fake, message);
    } else if (!strcmp(what, "GET /redfish/v1/EventService")) {
        respond(message, 200, "{\"ServerSentEventUri\": \"" FAKE_EVENTS "\"}");
    } else if (!strcmp(what, "GET " FAKE_EVENTS)) {
        listen_for(fake, message);
    } else {
        refuse(message, 404, "ResourceMissingAtURI", "It is not there");
    }
}

/* ------------------------------------------------------------------------- */

static void listen_in_plain(FakeRedfish *fake)
{
    g_autoptr(GError) error = NULL;
    GSList *uris;

    soup_server_listen_local(fake->server, 0, SOUP_SERVER_LISTEN_IPV4_ONLY,
                             &error);
    g_assert_no_error(error);
    uris = soup_server_get_uris(fake->server);
    fake->url = g_uri_to_string(uris->data);
    g_slist_free_full(uris, (GDestroyNotify)g_uri_unref);
}

/* Who does not believe us leaves in the midst of it, or just after */
static void shaken(GObject *tls, GAsyncResult *result, gpointer opaque)
{
    g_autoptr(SoupServer) server = opaque;
    g_autoptr(GIOStream) socket = NULL;
    g_autoptr(GSocketAddress) local = NULL, remote = NULL;

    if (g_tls_connection_handshake_finish(G_TLS_CONNECTION(tls), result,
                                          NULL)) {
        g_object_get(tls, "base-io-stream", &socket, NULL);
        local = g_socket_connection_get_local_address(
            G_SOCKET_CONNECTION(socket), NULL);
        remote = g_socket_connection_get_remote_address(
            G_SOCKET_CONNECTION(socket), NULL);
        g_assert_true(soup_server_accept_iostream(server, G_IO_STREAM(tls),
                                                  local, remote, NULL));
    }
}

static gboolean came(GSocketService *service, GSocketConnection *connection,
                     GObject *source, gpointer opaque)
{
    FakeRedfish *fake = opaque;
    g_autoptr(GError) error = NULL;
    g_autoptr(GIOStream) tls = g_tls_server_connection_new(
        G_IO_STREAM(connection), fake->certificate, &error);

    g_assert_no_error(error);
    g_tls_connection_handshake_async(G_TLS_CONNECTION(tls), G_PRIORITY_DEFAULT,
                                     NULL, shaken, g_object_ref(fake->server));
    return TRUE;
}

/*
 * libsoup's server does without its own TLS: from 3.6 on that often ends with a
 * critical message, about a connection that is gone, or in a crash, when a client
 * leaves in the midst of the handshake
 */
static void listen_by_tls(FakeRedfish *fake)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketAddress) address =
        g_inet_socket_address_new_from_string("127.0.0.1", 0);
    g_autoptr(GSocketAddress) found = NULL;

    fake->tls = g_socket_service_new();
    g_signal_connect(fake->tls, "incoming", G_CALLBACK(came), fake);
    g_socket_listener_add_address(G_SOCKET_LISTENER(fake->tls), address,
                                  G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP,
                                  NULL, &found, &error);
    g_assert_no_error(error);
    fake->url = g_strdup_printf("https://127.0.0.1:%u/",
                                g_inet_socket_address_get_port(
                                    G_INET_SOCKET_ADDRESS(found)));
}

FakeRedfish *fake_redfish_new(GTlsCertificate *certificate)
{
    FakeRedfish *fake = g_new0(FakeRedfish, 1);

    fake->server = soup_server_new("server-header", "fake", NULL);
    fake->has_user = fake->has_sessions = TRUE;
    fake->power = "\"On\"";
    fake->systems = "[{\"@odata.id\": \"" FAKE_SYSTEM "\"}]";
    fake->answers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                          answer_free);
    fake->drips = g_ptr_array_new_with_free_func(drip_free);
    soup_server_add_handler(fake->server, NULL, requested, fake, NULL);
    if (certificate) {
        fake->certificate = g_object_ref(certificate);
        listen_by_tls(fake);
    } else {
        listen_in_plain(fake);
    }
    return fake;
}

void fake_redfish_free(FakeRedfish *fake)
{
    g_ptr_array_set_size(fake->drips, 0);
    stop_looking(fake);
    if (fake->tls) {
        g_socket_service_stop(fake->tls);
        g_socket_listener_close(G_SOCKET_LISTENER(fake->tls));
        g_object_unref(fake->tls);
        g_object_unref(fake->certificate);
    }
    soup_server_disconnect(fake->server);
    g_object_unref(fake->server);
    g_clear_weak_pointer(&fake->silent);
    g_ptr_array_unref(fake->drips);
    g_hash_table_unref(fake->answers);
    g_free(fake->reset_type);
    g_free(fake->origin);
    g_free(fake->token);
    g_free(fake->url);
    g_free(fake);
}

static Answer *put_answer(FakeRedfish *fake, const char *what)
{
    Answer *answer = g_new0(Answer, 1);

    g_hash_table_replace(fake->answers, g_strdup(what), answer);
    return answer;
}

void fake_redfish_answer(FakeRedfish *fake, const char *what, guint status,
                         const char *headers, const char *body)
{
    if (status) {
        Answer *answer = put_answer(fake, what);

        answer->status = status;
        answer->headers = g_strdup(headers);
        answer->body = g_strdup(body);
    } else {
        g_hash_table_remove(fake->answers, what);
    }
}

void fake_redfish_behave(FakeRedfish *fake, const char *what,
                         FakeManner manner, const char *body)
{
    Answer *answer = put_answer(fake, what);

    answer->manner = manner;
    answer->body = g_strdup(body);
}

void fake_redfish_wake(FakeRedfish *fake)
{
    SoupServerMessage *message = fake->silent;

    if (message) {
        g_clear_weak_pointer(&fake->silent);
        respond(message, 503, NULL);
        soup_server_message_unpause(message);
    }
}

void fake_redfish_forget(FakeRedfish *fake)
{
    g_clear_pointer(&fake->token, g_free);
}

void fake_redfish_send(FakeRedfish *fake, const char *lines)
{
    g_assert_nonnull(fake->listener);
    soup_message_body_append(
        soup_server_message_get_response_body(fake->listener),
        SOUP_MEMORY_COPY, lines, strlen(lines));
    soup_server_message_unpause(fake->listener);
}

void fake_redfish_hang_up(FakeRedfish *fake)
{
    SoupServerMessage *listener = fake->listener;

    stop_looking(fake);
    fake->listener = NULL;
    soup_message_body_complete(soup_server_message_get_response_body(listener));
    soup_server_message_unpause(listener);
}
