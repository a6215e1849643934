/*
 * spice-gateway: a SPICE server that outlives the machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>

#include "backend.h"
#include "config.h"
#include "core.h"
#include "input.h"
#include "power.h"
#include "vnc.h"

/* How long an answer may take to get to a client when we end */
#define FLUSH_TIMEOUT_MS 1000
#define EXIT_CONFIG 2           /* of no use to be started again */

static GMainLoop *main_loop;

static gboolean end(gpointer opaque)
{
    g_main_loop_quit(main_loop);
    return G_SOURCE_CONTINUE;
}

/* Not known is not off: it may be the way to the BMC that is broken */
static void power_changed(guint32 state, gpointer opaque)
{
    vnc_set_wanted(state != SPICE_POWER_STATE_OFF);
}

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

    spice_server_set_name(server, config->title ?: g_get_host_name());
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
        g_warning("everybody who gets to %s can power the host off: set"
                  " [server] ticket-file, and tls-port",
                  *address ? address : "this computer");
    }
    return TRUE;
}

/* First who waits for a result: removing the display may take longer */
static void answer(Power *power)
{
    int ms;

    power_refuse(power, "spice-gateway is ending");
    for (ms = 0; ms < FLUSH_TIMEOUT_MS && power_is_unsent(power); ms += 10) {
        g_usleep(10 * 1000);
    }
}

static int run(const MachineConfig *config, Backend *backend)
{
    g_autoptr(GError) error = NULL;
    SpiceServer *server;
    Power *power;

    signal(SIGPIPE, SIG_IGN);
    server = spice_server_new();
    /* there is neither an agent nor sound here, which are made for one */
    spice_server_set_multiple_clients(server, config->many_clients);
    vnc_init(server, config);
    power = power_new(config, backend, power_changed, NULL);
    if (!listen_on(server, config, &error) ||
        !power_attach(power, server, &error)) {
        g_printerr("spice-gateway: %s\n", error->message);
        spice_server_destroy(server);
        return EXIT_FAILURE;
    }
    power_watch(power);
    /* There is an inputs channel until there has been a keyboard, and it went */
    input_show(server);
    input_hide();
    spice_server_vm_start(server);

    main_loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, end, NULL);
    g_unix_signal_add(SIGINT, end, NULL);
    g_message("ready");
    g_main_loop_run(main_loop);
    g_main_loop_unref(main_loop);

    answer(power);
    vnc_end();
    power_detach(power);
    spice_server_destroy(server);
    backend->methods->free(backend);
    power_free(power);
    input_end();
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = NULL;
    g_autoptr(MachineConfig) config = NULL;
    g_autofree char *path = NULL;
    gboolean version = FALSE, check = FALSE;
    Backend *backend;
    const GOptionEntry options[] = {
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &path,
          "The configuration (default: " DEFAULT_CONFIG ")", "FILE" },
        { "check-config", 0, 0, G_OPTION_ARG_NONE, &check,
          "Check the configuration and exit", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &version,
          "Print the version and exit", NULL },
        { NULL }
    };

    setlocale(LC_ALL, "");
    context = g_option_context_new(NULL);
    g_option_context_set_summary(context, "A SPICE server for a physical host:"
                                 " its power by IPMI or programs of yours, its"
                                 " display, keyboard and mouse by VNC.");
    g_option_context_set_description(context, "Exit status: 0, after SIGTERM;"
                                     " 1, if it can't run; 2, if the command"
                                     " line or the configuration is wrong.\n"
                                     "See spice-gateway(1) for the"
                                     " configuration.\n");
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        g_printerr("spice-gateway: %s; spice-gateway --help tells the options\n",
                   error->message);
        return EXIT_CONFIG;
    }
    if (argc > 1) {
        g_printerr("spice-gateway: %s is no option; spice-gateway --help tells them\n",
                   argv[1]);
        return EXIT_CONFIG;
    }
    if (version) {
        g_print("spice-gateway " VERSION "\n");
        return EXIT_SUCCESS;
    }
    config = config_load(path ?: DEFAULT_CONFIG, &error);
    backend = config ? backend_new(config, &error) : NULL;
    if (config && !(backend && input_init(config, &error))) {
        g_prefix_error(&error, "%s: ", path ?: DEFAULT_CONFIG);
    }
    if (error) {
        g_printerr("spice-gateway: %s\n", error->message);
        return EXIT_CONFIG;
    }
    return check ? EXIT_SUCCESS : run(config, backend);
}
