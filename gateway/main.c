/*
 * spice-gateway: SPICE servers that outlive their machines
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>

#include "config.h"
#include "gateway.h"

#define EXIT_CONFIG 2           /* of no use to be started again */

static gboolean end(gpointer main_loop)
{
    g_main_loop_quit(main_loop);
    return G_SOURCE_CONTINUE;
}

static int run(Gateway *gateway)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GMainLoop) main_loop = g_main_loop_new(NULL, FALSE);

    signal(SIGPIPE, SIG_IGN);
    if (!gateway_start(gateway, &error)) {
        g_printerr("spice-gateway: %s\n", error->message);
        return EXIT_FAILURE;
    }
    g_unix_signal_add(SIGTERM, end, main_loop);
    g_unix_signal_add(SIGINT, end, main_loop);
    g_message("ready");
    g_main_loop_run(main_loop);

    gateway_end(gateway);
    return EXIT_SUCCESS;
}

static void print_problems(GPtrArray *problems)
{
    guint i;

    for (i = 0; i < problems->len; i++) {
        g_printerr("spice-gateway: %s\n", (char *)problems->pdata[i]);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = NULL;
    g_autoptr(GPtrArray) configs = NULL;
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(Gateway) gateway = NULL;
    g_autofree char *path = NULL;
    gboolean version = FALSE, check = FALSE;
    const GOptionEntry options[] = {
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &path,
          "The configuration (default: " DEFAULT_CONFIG ")", "PATH" },
        { "check-config", 0, 0, G_OPTION_ARG_NONE, &check,
          "Check the configuration and exit", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &version,
          "Print the version and exit", NULL },
        { NULL }
    };

    setlocale(LC_ALL, "");
    context = g_option_context_new(NULL);
    g_option_context_set_summary(context, "SPICE servers for physical machines:"
                                 " their power by IPMI or programs of yours,"
                                 " their display, keyboard and mouse by VNC."
                                 " And for libvirt's domains while they are"
                                 " off.");
    g_option_context_set_description(context, "Exit status: 0, after SIGTERM;"
                                     " 1, if it can't run; 2, if the command"
                                     " line or the configuration is wrong.\n"
                                     "See spice-gateway(1) for the"
                                     " configuration.\n");
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        g_printerr("spice-gateway: %s; spice-gateway --help tells the"
                   " options\n", error->message);
        return EXIT_CONFIG;
    }
    if (argc > 1) {
        g_printerr("spice-gateway: %s is no option; spice-gateway --help tells"
                   " them\n", argv[1]);
        return EXIT_CONFIG;
    }
    if (version) {
        g_print("spice-gateway " VERSION "\n");
        return EXIT_SUCCESS;
    }
    configs = config_load(path ?: DEFAULT_CONFIG, problems);
    gateway = gateway_new(configs, problems);
    if (problems->len) {
        print_problems(problems);
        return EXIT_CONFIG;
    }
    return check ? EXIT_SUCCESS : run(gateway);
}
