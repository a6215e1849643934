/*
 * How a WebSocket begins, which is HTTP
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <string.h>

#include "vnc-websocket.h"

/* RFC 6455's */
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

gboolean vnc_websocket_parse(const char *url, gboolean *is_secure, char **host,
                             int *port, char **path)
{
    g_autoptr(GUri) uri = g_uri_parse(url, G_URI_FLAGS_ENCODED, NULL);
    const char *query;

    /* A password has a file of its own */
    if (!uri || !g_uri_get_host(uri) || !*g_uri_get_host(uri) ||
        g_uri_get_userinfo(uri) ||
        (strcmp(g_uri_get_scheme(uri), "ws") &&
         strcmp(g_uri_get_scheme(uri), "wss"))) {
        return FALSE;
    }
    query = g_uri_get_query(uri);
    *is_secure = !strcmp(g_uri_get_scheme(uri), "wss");
    *host = g_strdup(g_uri_get_host(uri));
    *port = g_uri_get_port(uri) > 0 ? g_uri_get_port(uri) :
            *is_secure ? 443 : 80;
    *path = g_strconcat(*g_uri_get_path(uri) ? g_uri_get_path(uri) : "/",
                        query ? "?" : "", query, NULL);
    return TRUE;
}

char *vnc_websocket_key(void)
{
    guint32 random[4];
    guint i;

    for (i = 0; i < G_N_ELEMENTS(random); i++) {
        random[i] = g_random_int();
    }
    return g_base64_encode((guint8 *)random, sizeof(random));
}

/* Returns: a header with its end, or nothing; caller frees */
static char *authorization(const char *token, const char *user,
                           const char *password)
{
    g_autofree char *both = NULL, *encoded = NULL;

    if (token) {
        return g_strconcat("X-Auth-Token: ", token, "\r\n", NULL);
    }
    if (!user) {
        return g_strdup("");
    }
    both = g_strconcat(user, ":", password, NULL);
    encoded = g_base64_encode((guint8 *)both, strlen(both));
    return g_strconcat("Authorization: Basic ", encoded, "\r\n", NULL);
}

char *vnc_websocket_request(const char *url, const char *key,
                            const char *token, const char *user,
                            const char *password)
{
    g_autofree char *host = NULL, *path = NULL;
    g_autofree char *header = authorization(token, user, password);
    gboolean is_secure, is_address;
    int port;

    if (!vnc_websocket_parse(url, &is_secure, &host, &port, &path)) {
        g_return_val_if_reached(NULL);
    }
    is_address = strchr(host, ':') != NULL;
    return g_strdup_printf("GET %s HTTP/1.1\r\n"
                           "Host: %s%s%s:%d\r\n"
                           "Upgrade: websocket\r\n"
                           "Connection: Upgrade\r\n"
                           "Sec-WebSocket-Key: %s\r\n"
                           "Sec-WebSocket-Version: 13\r\n"
                           "Sec-WebSocket-Protocol: binary\r\n"
                           "%s\r\n", path, is_address ? "[" : "", host,
                           is_address ? "]" : "", port, key, header);
}

/* Returns: what that header has, or NULL; caller frees */
static char *header_of(char **lines, const char *name)
{
    gsize length = strlen(name);

    for (; *lines; lines++) {
        if (!g_ascii_strncasecmp(*lines, name, length) &&
            (*lines)[length] == ':') {
            return g_strstrip(g_strdup(*lines + length + 1));
        }
    }
    return NULL;
}

static gboolean is_answer_to(const char *accept, const char *key)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    g_autofree char *expected = NULL;
    guint8 digest[20];
    gsize size = sizeof(digest);

    g_checksum_update(sum, (const guchar *)key, -1);
    g_checksum_update(sum, (const guchar *)GUID, -1);
    g_checksum_get_digest(sum, digest, &size);
    expected = g_base64_encode(digest, size);
    return !g_strcmp0(accept, expected);
}

char *vnc_websocket_problem(const char *answer, const char *key,
                            gboolean has_token, SourceGone *kind)
{
    g_auto(GStrv) lines = g_strsplit(answer, "\r\n", -1);
    g_autofree char *accept = header_of(lines, "Sec-WebSocket-Accept");
    const char *status = strchr(lines[0], ' ');
    g_autofree char *location = NULL;

    *kind = SOURCE_REFUSED;
    if (!g_str_has_prefix(lines[0], "HTTP/1.") || !status) {
        *kind = SOURCE_LOST;
        return g_strdup("what is at [vnc] url is no web server");
    }
    status++;
    if (g_str_has_prefix(status, "101")) {
        return is_answer_to(accept, key) ? NULL :
               g_strdup("the web server at [vnc] url does not know what a"
                        " WebSocket is");
    }
    if (g_str_has_prefix(status, "401") && has_token) {
        *kind = SOURCE_TOKEN;
        return g_strdup_printf("the web server at [vnc] url does not take the"
                               " session that [redfish] has: if it goes on so,"
                               " use [vnc] authentication=basic; it says: %s",
                               status);
    }
    if (has_token && g_str_has_prefix(status, "403")) {
        return g_strdup_printf("the web server at [vnc] url does not let us in:"
                               " check whether [redfish] user may use the"
                               " console; it says: %s", status);
    }
    if (g_str_has_prefix(status, "401") || g_str_has_prefix(status, "403")) {
        return g_strdup_printf("the web server at [vnc] url does not let us in:"
                               " check [vnc] user and password-file, and"
                               " whether the user may use the console; it says:"
                               " %s", status);
    }
    if (status[0] == '3') {
        location = header_of(lines, "Location");
        return g_strdup_printf("the web server at [vnc] url says that it is at"
                               " %s", location ?: "another one");
    }
    if (status[0] != '4') {
        *kind = SOURCE_LOST;
    }
    return g_strdup_printf("there is no WebSocket at [vnc] url, the web server"
                           " says: %s", status);
}
