/*
 * Where a VNC server is, who we are there, and who it has to be
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "config-vnc.h"
#include "vnc-stream.h"
#include "vnc-websocket.h"

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
    } else {
        return TRUE;
    }
    g_set_error(error, CONFIG_ERROR, 0, "[vnc] %s", problem);
    return FALSE;
}

void config_vnc_find_websocket(MachineConfig *c)
{
    g_autofree char *path = NULL;
    gboolean is_secure;

    if (c->vnc_url) {
        vnc_websocket_parse(c->vnc_url, &is_secure, &c->vnc_host, &c->vnc_port,
                            &path);
    }
}
