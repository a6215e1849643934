/*
 * The configuration of a machine that a Redfish service has
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <string.h>

#include "layer.h"
#include "redfish-trust.h"

static gboolean is_this_computer(const char *host)
{
    g_autoptr(GInetAddress) address = g_inet_address_new_from_string(host);

    return !strcmp(host, "localhost") ||
           (address && g_inet_address_get_is_loopback(address));
}

static const char *url_problem(const MachineConfig *c)
{
    g_autoptr(GUri) uri = g_uri_parse(c->redfish_url, G_URI_FLAGS_NONE, NULL);
    const char *scheme = uri ? g_uri_get_scheme(uri) : NULL;
    const char *path = uri ? g_uri_get_path(uri) : NULL;

    if (!uri || !g_uri_get_host(uri) || !*g_uri_get_host(uri) ||
        (strcmp(scheme, "https") && strcmp(scheme, "http"))) {
        return "it is none, use https://bmc.example.org";
    }
    if (g_uri_get_userinfo(uri)) {
        return "the user belongs into [redfish] user and password-file";
    }
    if (g_uri_get_query(uri) || g_uri_get_fragment(uri) ||
        (*path && strcmp(path, "/") && !g_str_has_prefix(path, "/redfish"))) {
        return "only the host, and a port: the rest is /redfish/v1 anyway";
    }
    if (!strcmp(scheme, "http") && c->redfish_user &&
        !is_this_computer(g_uri_get_host(uri))) {
        return "without TLS everybody in the network could read the password,"
               " use https";
    }
    if (!strcmp(scheme, "http") && (c->redfish_ca_file ||
                                    c->redfish_fingerprint)) {
        return "ca-file and fingerprint go with https";
    }
    return NULL;
}

gboolean config_check_redfish(const MachineConfig *c, GError **error)
{
    g_autofree char *print = c->redfish_fingerprint
                             ? redfish_fingerprint(c->redfish_fingerprint)
                             : NULL;
    const char *problem;

    if (!c->redfish_url) {
        problem = "url: there is none";
    } else if ((problem = url_problem(c))) {
        g_set_error(error, CONFIG_ERROR, 0, "[redfish] url: '%s': %s",
                    c->redfish_url, problem);
        return FALSE;
    } else if (c->redfish_user && !c->redfish_password) {
        problem = "password-file: there is none for the user";
    } else if (c->redfish_password && !c->redfish_user) {
        problem = "user: there is none for password-file";
    } else if (!c->redfish_is_basic &&
               strcmp(c->redfish_authentication, "session")) {
        g_set_error(error, CONFIG_ERROR, 0, "[redfish] authentication: '%s' is"
                    " none, use session or basic", c->redfish_authentication);
        return FALSE;
    } else if (c->redfish_ca_file && c->redfish_fingerprint) {
        problem = "ca-file and fingerprint: one of them is enough";
    } else if (c->redfish_ca_file &&
               !g_file_test(c->redfish_ca_file, G_FILE_TEST_IS_REGULAR)) {
        g_set_error(error, CONFIG_ERROR, 0, "[redfish] ca-file: %s is no file",
                    c->redfish_ca_file);
        return FALSE;
    } else if (c->redfish_fingerprint && !print) {
        g_set_error(error, CONFIG_ERROR, 0, "[redfish] fingerprint: '%s' is no"
                    " SHA-256, use what openssl x509 -noout -fingerprint"
                    " -sha256 prints behind the equals sign",
                    c->redfish_fingerprint);
        return FALSE;
    } else {
        return TRUE;
    }
    g_set_error(error, CONFIG_ERROR, 0, "[redfish] %s", problem);
    return FALSE;
}
