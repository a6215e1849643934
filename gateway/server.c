/*
 * A machine's SPICE server, as the configuration says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <unistd.h>

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

static void set_place(SpiceServer *server, const MachineConfig *config)
{
    spice_server_set_addr(server,
                          config->unix_socket ?: config->address ?: "",
                          config->unix_socket ? SPICE_ADDR_FLAG_UNIX_ONLY : 0);
    if (config->port) {
        spice_server_set_port(server, config->port);
    }
}

/* Without a port it is for who comes by that for all machines */
static gboolean set_tls(SpiceServer *server, const MachineConfig *config,
                        GError **error)
{
    if (!config_takes_tls(config) ||
        spice_server_set_tls(server, config->tls_port, config->ca_file,
                             config->cert_file, config->key_file, NULL, NULL,
                             NULL) == 0) {
        return TRUE;
    }
    g_set_error_literal(error, CONFIG_ERROR, 0, "[server] TLS can't be set up:"
                        " check tls-ca-file, tls-cert-file and tls-key-file");
    return FALSE;
}

/* Whom it lets in */
static gboolean set_login(SpiceServer *server, const MachineConfig *config,
                          GError **error)
{
    /* The first server decides where the process has its SASL settings */
    spice_server_set_sasl_appname(server, "spice-gateway");
    if (config->sasl && spice_server_set_sasl(server, TRUE) != 0) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[server] sasl: this"
                            " spice-server has been built without SASL; use"
                            " ticket-file");
        return FALSE;
    }
    if (config->ticket_from == TICKET_DOMAIN) {
        server_set_ticket(server, NULL, 0);     /* until it's known */
    } else if (!config->ticket && !config->sasl) {
        spice_server_set_noauth(server);
    } else if (config->ticket &&
               spice_server_set_ticket(server, config->ticket, 0, 0, 0) != 0) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[server] spice-server does"
                            " not take the password in ticket-file");
        return FALSE;
    }
    if (config->power_ticket) {
        server_set_power_ticket(server, config->power_ticket, 0);
    }
    return TRUE;
}

static void warn_of_everybody(const MachineConfig *config, const char *address)
{
    if (!config->ticket && !config->sasl &&
        config->ticket_from == TICKET_NONE &&
        (config->has_shared_port || !is_local(config))) {
        g_warning("%s: everybody who gets to %s can %s: set [server]"
                  " ticket-file, and tls-port", config->name,
                  *address ? address : "this computer",
                  config->power_ticket ? "see and use the host's console"
                                       : "power the host off");
    } else if (config->port && !is_local(config)) {
        g_warning("%s: on its way to port %d nothing is encrypted that is shown"
                  " and typed: use [server] tls-port", config->name,
                  config->port);
    }
}

static gboolean set_up(SpiceServer *server, const MachineConfig *config,
                       GError **error)
{
    gboolean listens = config_listens(config);
    const char *address = config->unix_socket ?: config->address ?: "";

    spice_server_set_name(server, config->title);
    /* there is neither an agent nor sound here, which are made for one */
    spice_server_set_multiple_clients(server, config->many_clients);
    if (listens) {
        set_place(server, config);
    }
    if (!set_tls(server, config, error) || !set_login(server, config, error)) {
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
    warn_of_everybody(config, address);
    return TRUE;
}

SpiceServer *server_new(const MachineConfig *config, const CoreOwner *owner,
                        GError **error)
{
    SpiceServer *server = spice_server_new();
    gboolean is_up;

    core_enter(owner);
    is_up = set_up(server, config, error);
    core_leave();
    if (!is_up) {
        spice_server_destroy(server);
        return NULL;
    }
    return server;
}

gboolean server_add_client(SpiceServer *server, const MachineConfig *config,
                           const CoreOwner *owner, const Arrival *arrival,
                           int fd)
{
    gboolean is_added = FALSE;

    if (arrival->is_tls == config_takes_tls(config)) {
        core_enter_with_client(owner);
        is_added = spice_server_add_client_from(server, fd, FALSE,
                                                arrival->is_tls, arrival->peer,
                                                arrival->peer_size) == 0;
        core_leave();
    }
    if (!is_added) {
        close(fd);
    }
    return is_added;
}

/* One that is too long is refused, and then it can't be the old one */
static void set_ticket(int (*set)(SpiceServer *, const char *, int, int, int),
                       SpiceServer *server, const char *ticket, gint64 end)
{
    gint64 left = end ? end - g_get_real_time() / G_USEC_PER_SEC : 0;

    if ((end && left <= 0) ||
        set(server, ticket, MIN(left, G_MAXINT), 0, 0) != 0) {
        set(server, NULL, 0, 0, 0);
    }
}

void server_set_ticket(SpiceServer *server, const char *ticket, gint64 end)
{
    set_ticket(spice_server_set_ticket, server, ticket, end);
}

void server_set_power_ticket(SpiceServer *server, const char *ticket,
                             gint64 end)
{
    set_ticket(spice_server_set_power_ticket, server, ticket, end);
}
