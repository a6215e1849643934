/*
 * spice-gateway: SPICE servers that outlive their machines
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "gateway.h"

#define EXIT_CONFIG 2           /* of no use to be started again */

typedef struct Program {
    const char *path;           /* of the configuration */
    Gateway *gateway;
    GMainLoop *main_loop;
} Program;

static gboolean end(gpointer opaque)
{
    Program *program = opaque;

    g_main_loop_quit(program->main_loop);
    return G_SOURCE_CONTINUE;
}

static void print_problems(GPtrArray *problems)
{
    guint i;

    for (i = 0; i < problems->len; i++) {
        g_printerr("spice-gateway: %s\n", (char *)problems->pdata[i]);
    }
}

/* With anything wrong all goes on as it was */
static gboolean reload(gpointer opaque)
{
    Program *program = opaque;
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(Config) config = NULL;

    sd_notifyf(FALSE, "RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT,
               g_get_monotonic_time());
    config = config_load(program->path, problems);
    if (problems->len) {
        print_problems(problems);
        g_warning("the configuration is not read again: it is wrong");
    } else {
        gateway_reload(program->gateway, g_steal_pointer(&config));
        g_message("the configuration is read again");
    }
    sd_notify(FALSE, "READY=1");
    return G_SOURCE_CONTINUE;
}

static gboolean tell_alive(gpointer unused)
{
    sd_notify(FALSE, "WATCHDOG=1");
    return G_SOURCE_CONTINUE;
}

static int run(Program *program)
{
    g_autoptr(GError) error = NULL;
    guint signals[3];
    uint64_t watchdog_us;
    gsize i;

    signal(SIGPIPE, SIG_IGN);
    if (!gateway_start(program->gateway, &error)) {
        g_printerr("spice-gateway: %s\n", error->message);
        return EXIT_FAILURE;
    }
    program->main_loop = g_main_loop_new(NULL, FALSE);
    signals[0] = g_unix_signal_add(SIGTERM, end, program);
    signals[1] = g_unix_signal_add(SIGINT, end, program);
    signals[2] = g_unix_signal_add(SIGHUP, reload, program);
    if (sd_watchdog_enabled(FALSE, &watchdog_us) > 0) {
        g_timeout_add(watchdog_us / 2000, tell_alive, NULL);
    }
    g_message("ready");
    sd_notify(FALSE, "READY=1");
    g_main_loop_run(program->main_loop);

    sd_notify(FALSE, "STOPPING=1");
    gateway_end(program->gateway);
    for (i = 0; i < G_N_ELEMENTS(signals); i++) {
        g_source_remove(signals[i]);
    }
    g_main_loop_unref(program->main_loop);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = NULL;
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(Gateway) gateway = NULL;
    g_autofree char *path = NULL;
    Program program = { 0 };
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
    g_option_context_set_description(context, "SIGHUP: it reads the"
                                     " configuration again.\n"
                                     "Exit status: 0, after SIGTERM; 1, if it"
                                     " can't run; 2, if the command line or"
                                     " the configuration is wrong.\n"
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
    program.path = path ?: DEFAULT_CONFIG;
    gateway = gateway_new(config_load(program.path, problems), problems);
    program.gateway = gateway;
    if (problems->len) {
        print_problems(problems);
        return EXIT_CONFIG;
    }
    return check ? EXIT_SUCCESS : run(&program);
}
