/*
 * spice-gateway: SPICE servers that outlive their machines
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "check.h"
#include "config.h"
#include "decoder.h"
#include "decoder-process.h"
#include "gateway.h"

#define EXIT_CONFIG 2           /* of no use to be started again */
/* How often systemd is told how it is, unless it wants to hear more of us */
#define STATUS_S    30

typedef struct Program {
    const char *path;           /* of the configuration */
    Gateway *gateway;
    GMainLoop *main_loop;
    char *status;               /* as systemd knows it */
} Program;

static gboolean end(gpointer opaque)
{
    Program *program = opaque;

    g_main_loop_quit(program->main_loop);
    return G_SOURCE_CONTINUE;
}

static void print_lines(const char *start, GPtrArray *lines)
{
    guint i;

    for (i = 0; i < lines->len; i++) {
        g_printerr("%s%s\n", start, (char *)lines->pdata[i]);
    }
}

static void print_problems(GPtrArray *problems)
{
    print_lines("spice-gateway: ", problems);
}

static void warn(GPtrArray *warnings)
{
    guint i;

    for (i = 0; i < warnings->len; i++) {
        g_warning("%s", (char *)warnings->pdata[i]);
    }
}

/* News only: systemd has room for few, and then we would wait for it */
static void tell_status(Program *program, const char *beside)
{
    char *status = gateway_status(program->gateway);

    g_strdelimit(status, "\n", ' ');   /* that would begin something else */
    if (g_strcmp0(status, program->status)) {
        sd_notifyf(FALSE, "%sSTATUS=%s", beside, status);
    } else if (*beside) {
        sd_notify(FALSE, beside);
    }
    g_free(program->status);
    program->status = status;
}

/* With anything wrong all goes on as it was */
static gboolean reload(gpointer opaque)
{
    Program *program = opaque;
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(Config) config = NULL;

    sd_notifyf(FALSE, "RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT,
               g_get_monotonic_time());
    config = config_load(program->path, problems);
    /* with these, machines go on with those that they have */
    check_certificates(config, warnings, warnings);
    if (problems->len) {
        print_problems(problems);
        g_warning("the configuration is not read again: it is wrong");
    } else {
        gateway_reload(program->gateway, g_steal_pointer(&config));
        warn(warnings);
        g_message("the configuration is read again");
    }
    sd_notify(FALSE, "READY=1");
    tell_status(program, "");
    return G_SOURCE_CONTINUE;
}

static gboolean tell_alive(gpointer opaque)
{
    tell_status(opaque, "WATCHDOG=1\n");
    return G_SOURCE_CONTINUE;
}

static int run(Program *program)
{
    g_autoptr(GError) error = NULL;
    guint signals[3];
    uint64_t watchdog_us;
    gsize i;
    guint ms = STATUS_S * 1000;

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
        ms = MIN(ms, watchdog_us / 2000);
    }
    if (g_getenv("NOTIFY_SOCKET")) {
        g_timeout_add(ms, tell_alive, program);
    }
    g_message("ready");
    sd_notify(FALSE, "READY=1");
    tell_status(program, "");
    g_main_loop_run(program->main_loop);

    sd_notify(FALSE, "STOPPING=1");
    gateway_end(program->gateway);
    for (i = 0; i < G_N_ELEMENTS(signals); i++) {
        g_source_remove(signals[i]);
    }
    g_main_loop_unref(program->main_loop);
    g_free(program->status);
    return EXIT_SUCCESS;
}

/* Returns: the exit status */
static int begin(const char *path, gboolean is_check)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    Config *config = config_load(path, problems);
    g_autoptr(Gateway) gateway = NULL;
    Program program = { .path = path };

    check_certificates(config, problems, warnings);
    if (is_check) {
        check_programs(config, problems);
    }
    gateway = gateway_new(config, problems);
    program.gateway = gateway;
    if (problems->len) {
        print_problems(problems);
        return EXIT_CONFIG;
    }
    if (is_check) {
        print_lines("spice-gateway: warning: ", warnings);
        return EXIT_SUCCESS;
    }
    warn(warnings);
    return run(&program);
}

static int ask_machines(const char *path)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(Config) config = config_load(path, problems);

    check_certificates(config, problems, warnings);
    check_programs(config, problems);
    if (problems->len) {
        print_problems(problems);
        return EXIT_CONFIG;
    }
    print_lines("spice-gateway: warning: ", warnings);
    return check_machines(config) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = NULL;
    g_autofree char *path = NULL;
    /* Whatever an upgrade makes of the file, this is the same program */
    static const char *const decoder[] = {
        "/proc/self/exe", DECODER_OPTION, NULL
    };
    gboolean version = FALSE, check = FALSE, ask = FALSE;
    const GOptionEntry options[] = {
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &path,
          "The configuration (default: " DEFAULT_CONFIG ")", "PATH" },
        { "check-config", 0, 0, G_OPTION_ARG_NONE, &check,
          "Check the configuration and exit", NULL },
        { "check-machines", 0, 0, G_OPTION_ARG_NONE, &ask,
          "The same, and ask each machine for its power state", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &version,
          "Print the version and exit", NULL },
        { NULL }
    };

    setlocale(LC_ALL, "");
    if (argc > 1 && !strcmp(argv[1], DECODER_OPTION)) {
        decoder_main();
    }
    decoder_program = decoder;
    context = g_option_context_new(NULL);
    g_option_context_set_summary(context, "SPICE servers for physical machines:"
                                 " their power by IPMI, Redfish or programs of"
                                 " yours, their display, keyboard and mouse by VNC."
                                 " And for libvirt's domains while they are"
                                 " off.");
    g_option_context_set_description(context, "SIGHUP: it reads the"
                                     " configuration again.\n"
                                     "Exit status: 0, after SIGTERM; 1, if it"
                                     " can't run, or a machine that is checked"
                                     " does not answer; 2, if the command line"
                                     " or the configuration is wrong.\n"
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
    if (ask) {
        return ask_machines(path ?: DEFAULT_CONFIG);
    }
    return begin(path ?: DEFAULT_CONFIG, check);
}
