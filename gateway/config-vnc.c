/*
 * Where a VNC server is, who we are there, and who it has to be
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "config-vnc.h"
#include "vnc-stream.h"
#include "vnc-websocket.h"

/* The token is for whom it was given by, and for nobody else */
static gboolean is_redfish_service(const MachineConfig *c)
{
    g_autoptr(GUri) uri = c->redfish_url
        ? g_uri_parse(c->redfish_url, G_URI_FLAGS_NONE, NULL) : NULL;
    g_autofree char *host = NULL, *path = NULL;
    gboolean is_secure, is_tls;
    int port, own_port;

    if (!uri || !vnc_websocket_parse(c->vnc_url, &is_secure, &host, &port,
                                     &path)) {
        return FALSE;
    }
    is_tls = !g_strcmp0(g_uri_get_scheme(uri), "https");
    own_port = g_uri_get_port(uri) > 0 ? g_uri_get_port(uri) :
               is_tls ? 443 : 80;
    return is_tls == is_secure && own_port == port &&
           !g_ascii_strcasecmp(g_uri_get_host(uri), host);
}

static const char *session_problem(const MachineConfig *c)
{
    if (strcmp(c->vnc_authentication, "basic") && !c->vnc_has_session) {
        return "authentication: it is to be basic or redfish";
    }
    if (!c->vnc_has_session) {
        return NULL;
    }
    if (c->backend != BACKEND_REDFISH || !c->redfish_user ||
        c->redfish_is_basic) {
        return "authentication=redfish is for backend=redfish with a user and"
               " authentication=session, as that session is used";
    }
    if (!c->vnc_url || !is_redfish_service(c)) {
        return "authentication=redfish: url is to be at the host and port of"
               " [redfish] url, wss:// for https://";
    }
    return c->vnc_user ? "user: with authentication=redfish it is that of"
                         " [redfish]" : NULL;
}

gboolean config_vnc_check(const MachineConfig *c, GError **error)
{
    g_autofree char *host = NULL, *path = NULL;
    const char *problem = NULL;
    gboolean is_secure;
    int port;

    if (!!c->vnc_host + !!c->vnc_socket + !!c->vnc_url > 1) {
        problem = "host, unix-socket and url: one of them is enough";
    } else if (c->vnc_url && !vnc_websocket_parse(c->vnc_url, &is_secure,
                                                  &host, &port, &path)) {
        problem = "url: it is to be wss://HOST/PATH, or ws://; user and"
                  " password have keys of their own";
    } else if (c->vnc_user && !c->vnc_password) {
        problem = "password-file: there is none for the user";
    } else if (c->vnc_fingerprint && !vnc_is_fingerprint(c->vnc_fingerprint)) {
        problem = "fingerprint: it is to be the SHA-256 of a certificate, 64"
                  " hexadecimal digits";
    } else if (c->vnc_anonymous_tls && (c->vnc_ca_file ||
                                        c->vnc_fingerprint)) {
        problem = "anonymous-tls: it goes with neither ca-file nor"
                  " fingerprint, as nobody shows a certificate then";
    } else if (!(problem = session_problem(c))) {
        return TRUE;
    }
    g_set_error(error, CONFIG_ERROR, 0, "[vnc] %s", problem);
    return FALSE;
}

void config_vnc_complete(MachineConfig *c)
{
    g_autofree char *path = NULL;
    gboolean is_secure;

    if (c->vnc_url) {
        vnc_websocket_parse(c->vnc_url, &is_secure, &c->vnc_host, &c->vnc_port,
                            &path);
    }
    if (c->vnc_has_session && !c->vnc_ca_file && !c->vnc_fingerprint) {
        c->vnc_ca_file = g_strdup(c->redfish_ca_file);
        c->vnc_fingerprint = g_strdup(c->redfish_fingerprint);
    }
}
