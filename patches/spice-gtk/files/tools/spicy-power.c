/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See and control the power of a machine, from the command line: what is asked for, in
 * which order, over which connection, and what the exit status is. It is one state
 * machine, whose steps are callbacks, and so one file; what is printed is in
 * spicy-power-output.c, and what it is told of the server beside its options in
 * spicy-power-server.c.
 */
#include "config.h"

#include <locale.h>

#include <gio/gio.h>
#ifdef G_OS_UNIX
#include <unistd.h>
#include <gio/gunixinputstream.h>
#else
#include <windows.h>
#include <gio/gwin32inputstream.h>
#endif

#include "spice-client.h"
#include "spice-common.h"
#include "spice-cmdline.h"
#include "spicy-power-output.h"
#include "spicy-power-server.h"

enum {
    EXIT_OK = 0,
    EXIT_USAGE,
    EXIT_CONNECT,
    EXIT_NO_POWER_CONTROL,
    EXIT_DENIED,
    EXIT_WRONG_STATE,
    EXIT_BUSY,
    EXIT_UNSUPPORTED,
    EXIT_FAILED,
    EXIT_NO_RESULT,
    EXIT_NOT_SENT,
    EXIT_WOULD_REPLACE,
    EXIT_REPLACED,
};

static const struct {
    const char *name;
    int exit_code;
} power_errors[] = {
    [ SPICE_POWER_ERROR_DENIED ] = { "denied", EXIT_DENIED },
    [ SPICE_POWER_ERROR_WRONG_STATE ] = { "wrong-state", EXIT_WRONG_STATE },
    [ SPICE_POWER_ERROR_BUSY ] = { "busy", EXIT_BUSY },
    [ SPICE_POWER_ERROR_UNSUPPORTED ] = { "unsupported", EXIT_UNSUPPORTED },
    [ SPICE_POWER_ERROR_FAILED ] = { "failed", EXIT_FAILED },
    [ SPICE_POWER_ERROR_NOT_SENT ] = { "not-sent", EXIT_NOT_SENT },
    [ SPICE_POWER_ERROR_OUTCOME_UNKNOWN ] = { "none", EXIT_NO_RESULT },
};

/* Default time-outs, in seconds. Whoever carries an action out for the server,
 * libvirt for one, may have to wait for something else to end for a minute. */
#define CONNECT_TIMEOUT 30
#define RESULT_TIMEOUT  90

/* config */
static gboolean version = FALSE;
static gboolean replace = FALSE;
static int timeout = G_MININT; /* seconds, G_MININT is the default */
static int connect_timeout = G_MININT; /* the same, or that of the above if it is given */
static char *user;
static char *password_file;
static char **words;

/* state */
static SpiceSession     *session;
static SpiceMainChannel *main_channel;
static GMainLoop        *mainloop;
static GDataInputStream *input; /* what "-" reads from, while it does */
static GCancellable     *timed_out; /* of the action in progress */
static guint            timer; /* of what the word waits for */
static guint            connect_timer;
static int              exit_code = EXIT_OK;
static gboolean         opened;
static gboolean         started; /* with the words */
static gboolean         ready; /* the state is known */
static char             *held_word; /* for when it is */
static char             *held_argument;
static gboolean         closed;
static gboolean         monitoring;
static gboolean         cycling; /* the machine is powered off, to be powered on */
static int              awaited = -1; /* SpicePowerState, or -1 */

static void next_word(void);
static void do_word(const char *word, const char *argument);

G_GNUC_PRINTF(2, 3)
static void fail(int code, const char *format, ...)
{
    va_list args;
    char *message;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    g_printerr("%s: %s\n", g_get_prgname(), message);
    g_free(message);

    /* the first one counts */
    if (exit_code == EXIT_OK)
        exit_code = code;
}

/* ------------------------------------------------------------------ */
/* what there is to do, word by word                                  */

static void stop_timer(guint *id)
{
    if (*id)
        g_source_remove(*id);
    *id = 0;
}

static int result_seconds(void)
{
    return timeout != G_MININT ? timeout : RESULT_TIMEOUT;
}

static int connect_seconds(void)
{
    return connect_timeout != G_MININT ? connect_timeout :
           timeout != G_MININT ? timeout : CONNECT_TIMEOUT;
}

static void start_timer(guint *id, int seconds, GSourceFunc func)
{
    stop_timer(id);
    if (seconds)
        *id = g_timeout_add_seconds(seconds, func, NULL);
}

static gboolean action_timed_out(gpointer data)
{
    timer = 0;
    g_cancellable_cancel(timed_out);

    return G_SOURCE_REMOVE;
}

static gboolean connect_timed_out(gpointer data)
{
    connect_timer = 0;
    if (opened)
        fail(EXIT_NO_RESULT, "the server didn't tell the power state in %d seconds",
             connect_seconds());
    else
        fail(EXIT_CONNECT, "cannot connect: no answer in %d seconds", connect_seconds());
    g_main_loop_quit(mainloop);

    return G_SOURCE_REMOVE;
}

static gboolean next_word_idle(gpointer data)
{
    next_word();

    return G_SOURCE_REMOVE;
}

/* After a word: go on, or not if it failed and was on the command line */
static void word_done(int code)
{
    if (exit_code == EXIT_OK)
        exit_code = code;
    if (code != EXIT_OK && input == NULL)
        g_main_loop_quit(mainloop);
    else
        g_idle_add(next_word_idle, NULL);
}

static void action_done(GObject *object, GAsyncResult *res, gpointer data)
{
    const char *name = data;
    GError *error = NULL;
    int code;

    stop_timer(&timer);
    if (spice_main_channel_power_finish(main_channel, res, &error)) {
        print_result(name, "ok", "");
        code = EXIT_OK;
    } else if (error->domain == SPICE_POWER_ERROR) {
        g_assert(error->code < G_N_ELEMENTS(power_errors));
        print_result(name, power_errors[error->code].name, error->message);
        code = power_errors[error->code].exit_code;
    } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        char *message = g_strdup_printf("none came in %d seconds", result_seconds());

        print_result(name, "none", message);
        g_free(message);
        code = EXIT_NO_RESULT;
    } else {
        print_result(name, "none", error->message);
        code = EXIT_NO_RESULT;
    }
    g_clear_error(&error);
    g_clear_object(&timed_out);
    if (cycling && code == EXIT_OK) {
        cycling = FALSE;
        do_word("on", NULL);
        return;
    }
    cycling = FALSE;
    word_done(code);
}

static int current_state(void)
{
    SpicePowerState state;

    g_object_get(main_channel, "power-state", &state, NULL);
    return state;
}

static void wait_done(const char *message)
{
    stop_timer(&timer);
    awaited = -1;
    print_result("wait", message ? "none" : "ok", message ? message : "");
    word_done(message ? EXIT_NO_RESULT : EXIT_OK);
}

static gboolean wait_timed_out(gpointer data)
{
    char *message = g_strdup_printf("after %d seconds the state is '%s', not '%s'",
                                    result_seconds(), power_state_name(current_state()),
                                    power_state_name(awaited));

    timer = 0;
    wait_done(message);
    g_free(message);

    return G_SOURCE_REMOVE;
}

static void do_action(const PowerAction *action)
{
    timed_out = g_cancellable_new();
    start_timer(&timer, result_seconds(), action_timed_out);
    spice_main_channel_power_async(main_channel, action->action, timed_out,
                                   action_done, (gpointer)action->name);
}

/* The server's result comes when the machine is off */
static void do_cycle(void)
{
    cycling = closed || current_state() != SPICE_POWER_STATE_OFF;
    do_action(power_action_find(cycling ? "off" : "on"));
}

static void do_wait(const char *argument)
{
    awaited = power_state_find(argument);
    if (current_state() == awaited)
        wait_done(NULL);
    else
        start_timer(&timer, result_seconds(), wait_timed_out);
}

/* @argument is that of "wait"; both have been looked at already */
static void do_word(const char *word, const char *argument)
{
    const PowerAction *action = power_action_find(word);

    if (!ready && !closed) {
        /* it connects to where the machine has gone */
        held_word = g_strdup(word);
        held_argument = g_strdup(argument);
    } else if (action) {
        do_action(action);
    } else if (strcmp(word, "cycle") == 0) {
        do_cycle();
    } else if (closed) {
        print_result(word, "none", "the connection has ended");
        word_done(EXIT_NO_RESULT);
    } else if (strcmp(word, "wait") == 0) {
        do_wait(argument);
    } else if (strcmp(word, "state") == 0) {
        print_state_only(main_channel);
        word_done(EXIT_OK);
    } else {
        print_state(main_channel, FALSE);
        if (strcmp(word, "monitor") == 0)
            monitoring = TRUE;
        else
            word_done(EXIT_OK);
    }
}

static void do_held_word(void)
{
    char *word = g_steal_pointer(&held_word);
    char *argument = g_steal_pointer(&held_argument);

    do_word(word, argument);
    g_free(word);
    g_free(argument);
}

/* Whether @word, followed by @argument, which may be NULL, is something that can be done;
 * otherwise @why is set */
static gboolean check_word(const char *word, const char *argument, char **why)
{
    static const char *const others[] = { "status", "state", "monitor", "cycle" };
    /* ipmitool's and virsh's, of what asks the guest */
    static const char *const soft[] = { "soft", "acpi", "shutdown", "reboot" };
    int i;

    if (power_action_find(word))
        return TRUE;
    for (i = 0; i < G_N_ELEMENTS(others); i++) {
        if (strcmp(word, others[i]) == 0)
            return TRUE;
    }
    if (strcmp(word, "wait") == 0) {
        if (argument && power_state_find(argument) >= 0)
            return TRUE;
        *why = g_strdup_printf("'wait' needs a state: off, on, paused, suspended or crashed%s%s%s",
                               argument ? ", not '" : "", argument ? argument : "",
                               argument ? "'" : "");
        return FALSE;
    }
    for (i = 0; i < G_N_ELEMENTS(soft); i++) {
        if (strcmp(word, soft[i]) == 0) {
            *why = g_strdup_printf("'%s' is not done here, since the guest is not asked: shut it "
                                   "down from within, or with what manages the machine "
                                   "(virsh shutdown, ipmitool power soft)", word);
            return FALSE;
        }
    }
    *why = g_strdup_printf("unknown action '%s'", word);
    return FALSE;
}

/* A line of standard input: a word, and maybe its argument */
static void do_line(const char *line)
{
    char **parts = g_strsplit_set(line, " \t", 2);
    char *argument = parts[1] ? g_strstrip(parts[1]) : NULL;
    char *why = NULL;

    if (strcmp(parts[0], "wait") != 0 && argument)
        why = g_strdup_printf("nothing can come after '%s'", parts[0]);
    else
        check_word(parts[0], argument, &why);
    if (why) {
        print_result(parts[0], "none", why);
        word_done(EXIT_USAGE);
    } else {
        do_word(parts[0], argument);
    }
    g_free(why);
    g_strfreev(parts);
}

static void line_read(GObject *object, GAsyncResult *res, gpointer data)
{
    GError *error = NULL;
    char *line = g_data_input_stream_read_line_finish_utf8(input, res, NULL, &error);

    if (error) {
        fail(EXIT_USAGE, "standard input: %s", error->message);
        g_clear_error(&error);
    }
    if (line == NULL) {
        g_clear_object(&input);
        next_word();
        return;
    }

    g_strstrip(line);
    if (*line)
        do_line(line);
    else
        next_word();
    g_free(line);
}

static GInputStream *open_stdin(void)
{
#ifdef G_OS_UNIX
    return g_unix_input_stream_new(STDIN_FILENO, FALSE);
#else
    return g_win32_input_stream_new(GetStdHandle(STD_INPUT_HANDLE), FALSE);
#endif
}

static void next_word(void)
{
    const char *word;

    if (input) {
        g_data_input_stream_read_line_async(input, G_PRIORITY_DEFAULT, NULL, line_read, NULL);
        return;
    }

    word = *words;
    if (word == NULL) {
        g_main_loop_quit(mainloop);
        return;
    }
    words++;

    if (strcmp(word, "-") == 0) {
        GInputStream *stream = open_stdin();

        input = g_data_input_stream_new(stream);
        g_data_input_stream_set_newline_type(input, G_DATA_STREAM_NEWLINE_TYPE_ANY);
        g_object_unref(stream);
        next_word();
        return;
    }
    if (strcmp(word, "wait") == 0)
        do_word(word, *words++);
    else
        do_word(word, NULL);
}

static gboolean check_words(void)
{
    int i;

    if (words == NULL || words[0] == NULL) {
        fail(EXIT_USAGE, "no action given; try --help");
        return FALSE;
    }
    for (i = 0; words[i] != NULL; i++) {
        char *why = NULL;

        if (strcmp(words[i], "monitor") == 0 && words[i + 1] != NULL) {
            fail(EXIT_USAGE, "nothing can come after 'monitor'");
            return FALSE;
        }
        if (strcmp(words[i], "-") != 0 && !check_word(words[i], words[i + 1], &why)) {
            fail(EXIT_USAGE, "%s; try --help", why);
            g_free(why);
            return FALSE;
        }
        if (strcmp(words[i], "wait") == 0)
            i++;
    }
    return TRUE;
}

/* ------------------------------------------------------------------ */
/* the connection                                                     */

static void power_notified(GObject *object, GParamSpec *pspec, gpointer data)
{
    GSocket *sock;

    /* the end of the connection, see main_channel_event(); otherwise the
     * machine has been migrated, maybe to where there is no power control */
    g_object_get(object, "socket", &sock, NULL);
    if (sock == NULL)
        return;
    g_object_unref(sock);

    if (!ready && opened && strcmp(pspec->name, "power-state") == 0) {
        ready = TRUE;
        stop_timer(&connect_timer);
        if (held_word) {
            do_held_word();
        } else if (!started) {
            started = TRUE;
            next_word();
        }
    }
    if (monitoring)
        print_state(main_channel, TRUE);
    if (awaited >= 0 && current_state() == awaited)
        wait_done(NULL);
}

static void main_channel_event(SpiceChannel *channel, SpiceChannelEvent event,
                               gpointer data);

static gboolean connect_session(gpointer data)
{
    start_timer(&connect_timer, connect_seconds(), connect_timed_out);
    if (!spice_session_connect(session)) {
        fail(EXIT_CONNECT, "cannot connect");
        g_main_loop_quit(mainloop);
    }
    return G_SOURCE_REMOVE;
}

/* Once more, and otherwise than the last time */
static void connect_again(SpiceChannel *channel)
{
    g_signal_handlers_disconnect_by_func(channel, main_channel_event, NULL);
    spice_session_disconnect(session);
    g_idle_add(connect_session, NULL);
}

/* The server did not take a client that leaves everybody else where they are */
static void control_only_refused(SpiceChannel *channel, const GError *error)
{
    if (error->domain == SPICE_POWER_ERROR) {
        fail(EXIT_NO_POWER_CONTROL, "the server has no power control");
    } else if (replace) {
        g_object_set(session, "control-only", FALSE, NULL);
        connect_again(channel);
        return;
    } else {
        fail(EXIT_WOULD_REPLACE, "%s; nothing was done, --replace connects all the same",
             error->message);
    }
    g_main_loop_quit(mainloop);
}

/* the connection ended, and an action in progress does not tell so by itself */
static void fail_ended(const GError *error, const char *message)
{
    if (g_error_matches(error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_REPLACED))
        fail(EXIT_REPLACED, "%s", error->message);
    else
        fail(EXIT_NO_RESULT, "%s", error ? error->message : message);
    g_main_loop_quit(mainloop);
}

static void main_channel_event(SpiceChannel *channel, SpiceChannelEvent event,
                               gpointer data)
{
    const GError *error = spice_channel_get_error(channel);

    switch (event) {
    case SPICE_CHANNEL_OPENED:
        opened = TRUE;
        if (!spice_channel_test_capability(channel, SPICE_MAIN_CAP_POWER_CONTROL)) {
            fail(EXIT_NO_POWER_CONTROL, "the server has no power control");
            g_main_loop_quit(mainloop);
        }
        return;
    case SPICE_CHANNEL_SWITCHING:
        opened = ready = FALSE;
        start_timer(&connect_timer, connect_seconds(), connect_timed_out);
        return;
    default:
        break;
    }

    if (error && (g_error_matches(error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_CONTROL_ONLY) ||
                  g_error_matches(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_UNSUPPORTED))) {
        control_only_refused(channel, error);
        return;
    }
    if (event == SPICE_CHANNEL_ERROR_AUTH && error && server_ask(session, error)) {
        connect_again(channel);
        return;
    }

    /* an error may be followed by SPICE_CHANNEL_CLOSED */
    if (closed)
        return;
    closed = TRUE;

    if (!opened) {
        if (error)
            fail(EXIT_CONNECT, "cannot connect: %s", error->message);
        else if (event == SPICE_CHANNEL_ERROR_TLS)
            fail(EXIT_CONNECT, "cannot connect: no trust in the server's certificate");
        else
            fail(EXIT_CONNECT, "cannot connect");
        g_main_loop_quit(mainloop);
    } else if (!ready) {
        fail_ended(error, "the connection ended before the server told the power state");
    } else if (monitoring && (error || event != SPICE_CHANNEL_CLOSED)) {
        fail_ended(error, "the connection was lost");
    } else if (monitoring) {
        g_main_loop_quit(mainloop);
    } else if (awaited >= 0) {
        wait_done(error ? error->message : "the connection has ended");
    }
    /* an action in progress ends with an error, and "-" goes on to the end of
     * the input: it may well be the end of that, too */
}

static void channel_new(SpiceSession *s, SpiceChannel *channel, gpointer data)
{
    /* the session connects it, and no other channel is needed */
    if (!SPICE_IS_MAIN_CHANNEL(channel))
        return;

    main_channel = SPICE_MAIN_CHANNEL(channel);
    g_signal_connect(channel, "channel-event", G_CALLBACK(main_channel_event), NULL);
    g_signal_connect(channel, "notify::power-allowed", G_CALLBACK(power_notified), NULL);
    g_signal_connect(channel, "notify::power-actions", G_CALLBACK(power_notified), NULL);
    g_signal_connect(channel, "notify::power-state", G_CALLBACK(power_notified), NULL);
}

static gboolean check_server(void)
{
    char *port, *tls_port, *unix_path;
    gboolean given;

    g_object_get(session, "port", &port, "tls-port", &tls_port, "unix-path", &unix_path, NULL);
    given = port != NULL || tls_port != NULL || unix_path != NULL;
    g_free(port);
    g_free(tls_port);
    g_free(unix_path);
    if (!given)
        fail(EXIT_USAGE, "no server given; try --help");

    return given;
}

/* ------------------------------------------------------------------ */

static GOptionEntry app_entries[] = {
    {
        .long_name        = "json",
        .arg              = G_OPTION_ARG_NONE,
        .arg_data         = &print_as_json,
        .description      = "Print one JSON object per line",
    },
    {
        .long_name        = "user",
        .arg              = G_OPTION_ARG_STRING,
        .arg_data         = &user,
        .description      = "The name for a server that asks for one (SASL)",
        .arg_description  = "<name>",
    },
    {
        .long_name        = "password-file",
        .arg              = G_OPTION_ARG_FILENAME,
        .arg_data         = &password_file,
        .description      = "Take the server's password from the first line of a file, or of "
                            "standard input if that is -",
        .arg_description  = "<file>",
    },
    {
        .long_name        = "replace",
        .arg              = G_OPTION_ARG_NONE,
        .arg_data         = &replace,
        .description      = "Connect even if that disconnects whoever uses the machine",
    },
    {
        .long_name        = "timeout",
        .arg              = G_OPTION_ARG_INT,
        .arg_data         = &timeout,
        .description      = "How long to wait for each result (default 90, 0 is for ever), and "
                            "for the connection without the next option",
        .arg_description  = "<seconds>",
    },
    {
        .long_name        = "connect-timeout",
        .arg              = G_OPTION_ARG_INT,
        .arg_data         = &connect_timeout,
        .description      = "How long to wait for the connection (default 30, 0 is for ever)",
        .arg_description  = "<seconds>",
    },
    {
        .long_name        = "version",
        .arg              = G_OPTION_ARG_NONE,
        .arg_data         = &version,
        .description      = "Display version and quit",
    },
    {
        .long_name        = G_OPTION_REMAINING,
        .arg              = G_OPTION_ARG_STRING_ARRAY,
        .arg_data         = &words,
        .arg_description  = "[FILE.vv] ACTION...",
    },
    {
        /* end of list */
    }
};

static const char summary[] =
    "See and control the power of a machine, through its Spice server.\n"
    "\n"
    "The server is given by options, or by a file for viewers, whose name ends with .vv.\n"
    "A password that is not given is asked for, if there is a terminal.\n"
    "\n"
    "Actions, which are done in this order over one connection, up to the first\n"
    "that fails:\n"
    "  status      Print the state, and what is configured and possible now\n"
    "  state       Print the state, in one word\n"
    "  reset       Reset the machine, without asking the guest\n"
    "  off         Power off, without asking the guest\n"
    "  on          Power on, or wake a guest that is suspended\n"
    "  cycle       Power off if it's not off, then on\n"
    "  pause       Stop the machine\n"
    "  continue    Let it run on; also: resume\n"
    "  wait STATE  Wait until it's off, on, paused, suspended or crashed\n"
    "  monitor     Print the state now and whenever it changes, until the\n"
    "              connection ends\n"
    "  -           Read actions from standard input, one per line; here a failure\n"
    "              doesn't keep the next one from being done";

static const char description[] =
    "Exit status:\n"
    "  0   all was done\n"
    "  1   bad usage\n"
    "  2   cannot connect or authenticate\n"
    "  3   the server has no power control\n"
    "  4   denied: not configured or not allowed\n"
    "  5   not possible in the state the machine is in\n"
    "  6   busy: another request is being carried out\n"
    "  7   not supported by the machine\n"
    "  8   failed\n"
    "  9   no result: the connection was lost, or it took too long\n"
    "  10  not sent: there was no connection any more\n"
    "  11  nothing done: to connect would disconnect whoever uses the machine\n"
    "  12  another client has taken the place of this one\n"
    "If several actions fail, it is that of the first.\n"
    "\n"
    "Report bugs to " PACKAGE_BUGREPORT ".";

int main(int argc, char *argv[])
{
    GError *error = NULL;
    GOptionContext *context;
    const char *file = NULL;

    setlocale(LC_ALL, "");

    /* parse opts */
    context = g_option_context_new(NULL);
    g_option_context_set_summary(context, summary);
    g_option_context_set_description(context, description);
    g_option_context_add_group(context, spice_get_option_group());
    g_option_context_set_main_group(context, spice_cmdline_get_option_group());
    g_option_context_add_main_entries(context, app_entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fail(EXIT_USAGE, "%s; try --help", error->message);
        return exit_code;
    }
    g_option_context_free(context);

    if (version) {
        printf("spicy-power " PACKAGE_VERSION "\n");
        return EXIT_OK;
    }
    if ((timeout < 0 && timeout != G_MININT) ||
        (connect_timeout < 0 && connect_timeout != G_MININT)) {
        fail(EXIT_USAGE, "a time-out must not be negative");
        return exit_code;
    }
    if (words && words[0] && server_is_file(words[0]))
        file = *words++;
    if (!check_words())
        return exit_code;

    mainloop = g_main_loop_new(NULL, FALSE);

    session = spice_session_new();
    g_object_set(session, "control-only", TRUE, NULL);
    g_signal_connect(session, "channel-new", G_CALLBACK(channel_new), NULL);
    if (file && !server_set_file(session, file, &error)) {
        fail(EXIT_USAGE, "%s", error->message);
        return exit_code;
    }
    spice_set_session_option(session);
    spice_cmdline_session_setup(session);
    if (user)
        g_object_set(session, "username", user, NULL);
    if (password_file && !server_set_password_file(session, password_file, &error)) {
        fail(EXIT_USAGE, "%s", error->message);
        return exit_code;
    }
    if (!check_server())
        return exit_code;

    g_idle_add(connect_session, NULL);
    g_main_loop_run(mainloop);

    return exit_code;
}
