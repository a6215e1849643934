/*
 * A machine's SPICE server, listening where the configuration says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>

#include "core.h"
#include "server.h"

/* Whether only those on this computer can connect */
static gboolean is_local(const MachineConfig *config)
{
    g_autoptr(GInetAddress) address = NULL;

    if (config->unix_socket || !g_strcmp0(config->address, "localhost")) {
        return TRUE;
    }
    if (config->address) {
        address = g_inet_address_new_from_string(config->address);
    }
    return address && g_inet_address_get_is_loopback(address);
}

static gboolean listen_on(SpiceServer *server, const MachineConfig *config,
                          GError **error)
{
    const char *address = config->unix_socket ?: config->address ?: "";

    spice_server_set_name(server, config->title);
    /* there is neither an agent nor sound here, which are made for one */
    spice_server_set_multiple_clients(server, config->many_clients);
    spice_server_set_addr(server, address,
                          config->unix_socket ? SPICE_ADDR_FLAG_UNIX_ONLY : 0);
    if (config->port) {
        spice_server_set_port(server, config->port);
    }
    if (config->tls_port &&
        spice_server_set_tls(server, config->tls_port, config->ca_file,
                             config->cert_file, config->key_file, NULL, NULL,
                             NULL) != 0) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[server] TLS can't be set"
                            " up: check tls-ca-file, tls-cert-file and"
                            " tls-key-file");
        return FALSE;
    }
    if (!config->ticket) {
        spice_server_set_noauth(server);
    } else if (spice_server_set_ticket(server, config->ticket, 0, 0, 0) != 0) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[server] spice-server does"
                            " not take the password in ticket-file");
        return FALSE;
    }
    if (config->websocket_origins &&
        spice_server_set_websocket_origins(server,
                                           config->websocket_origins) != 0) {
        g_set_error(error, CONFIG_ERROR, 0, "[server] websocket-origins: '%s'"
                    " has something that is no origin: use some like"
                    " https://example.org:8443, separated by spaces, or *",
                    config->websocket_origins);
        return FALSE;
    }
    if (spice_server_init(server, core_interface()) != 0) {
        g_set_error(error, CONFIG_ERROR, 0, "[server] can't listen on %s%s%s:"
                    " check address, port, tls-port and the TLS files, and"
                    " whether another program is there",
                    *address ? address : "any address",
                    config->port ? ", port" : "",
                    config->tls_port ? ", tls-port" : "");
        return FALSE;
    }
    if (!config->ticket && !is_local(config)) {
        g_warning("%s: everybody who gets to %s can power the host off: set"
                  " [server] ticket-file, and tls-port", config->name,
                  *address ? address : "this computer");
    }
    return TRUE;
}

SpiceServer *server_new(const MachineConfig *config, GError **error)
{
    SpiceServer *server = spice_server_new();

    if (!listen_on(server, config, error)) {
        spice_server_destroy(server);
        return NULL;
    }
    return server;
}
