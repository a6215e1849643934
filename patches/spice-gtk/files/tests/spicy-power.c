/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run spicy-power, against a hand-written peer on a Unix socket
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gio/gio.h>
#include <glib-unix.h>
#include <glib/gstdio.h>

#include <spice/enums.h>
#include <spice/protocol.h>

#include "power-peer.h"

/* For what is to time out, but only after it has connected, which takes its
 * time on a busy machine */
#define TIMEOUT "--timeout=5"

typedef struct {
    gchar *dir;
    gchar *path;
    gchar *uri;
    int listen_fd;
    PowerPeer *peer;
    GSubprocess *proc;
    GOutputStream *input;
    GDataInputStream *output; /* when it's read by line */
} Fixture;

static void f_setup(Fixture *f, gconstpointer data)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    GError *error = NULL;

    f->dir = g_dir_make_tmp("spicy-power-XXXXXX", &error);
    g_assert_no_error(error);
    f->path = g_build_filename(f->dir, "spice.sock", NULL);
    f->uri = g_strdup_printf("--uri=spice+unix://%s", f->path);
    g_assert_cmpuint(strlen(f->path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, f->path);

    f->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(f->listen_fd, >=, 0);
    g_assert_cmpint(bind(f->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(f->listen_fd, 5), ==, 0);
}

static void f_teardown(Fixture *f, gconstpointer data)
{
    g_clear_pointer(&f->peer, power_peer_free);
    g_clear_object(&f->output);
    g_clear_object(&f->proc);
    close(f->listen_fd);
    g_unlink(f->path);
    g_rmdir(f->dir);
    g_free(f->uri);
    g_free(f->path);
    g_free(f->dir);
}

/* Start it, with these arguments up to NULL */
static void start(Fixture *f, const gchar *arg, ...) G_GNUC_NULL_TERMINATED;
static void start(Fixture *f, const gchar *arg, ...)
{
    GPtrArray *argv = g_ptr_array_new();
    GError *error = NULL;
    va_list args;

    g_ptr_array_add(argv, (gpointer)SPICY_POWER);
    va_start(args, arg);
    for (; arg != NULL; arg = va_arg(args, const gchar *))
        g_ptr_array_add(argv, (gpointer)arg);
    va_end(args);
    g_ptr_array_add(argv, NULL);

    g_clear_pointer(&f->peer, power_peer_free);
    g_clear_object(&f->output);
    g_clear_object(&f->proc);
    f->proc = g_subprocess_newv((const gchar *const *)argv->pdata,
                                G_SUBPROCESS_FLAGS_STDIN_PIPE |
                                G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                                G_SUBPROCESS_FLAGS_STDERR_PIPE,
                                &error);
    g_assert_no_error(error);
    f->input = g_subprocess_get_stdin_pipe(f->proc);
    f->output = g_data_input_stream_new(g_subprocess_get_stdout_pipe(f->proc));
    g_filter_input_stream_set_close_base_stream(G_FILTER_INPUT_STREAM(f->output), FALSE);
    g_ptr_array_unref(argv);
}

#define CONTROL_ONLY POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY)

static void accept_fd(Fixture *f)
{
    int fd;

    g_clear_pointer(&f->peer, power_peer_free);
    power_peer_wait_fd(f->listen_fd);
    fd = accept(f->listen_fd, NULL, NULL);
    g_assert_cmpint(fd, >=, 0);
    f->peer = power_peer_new(fd);
}

/* A server that knows control clients */
static void accept_peer(Fixture *f, guint32 caps, guint32 link_result)
{
    accept_fd(f);
    g_assert_cmphex(power_peer_link(f->peer, caps | CONTROL_ONLY, link_result) & CONTROL_ONLY,
                    ==, CONTROL_ONLY);
}

/* and one that does not: to authenticate there would disconnect others */
static void accept_old_peer(Fixture *f, guint32 caps)
{
    accept_fd(f);
    power_peer_link_refused(f->peer, caps);
}

/* A server that is up, and has told a state */
static void accept_ready(Fixture *f)
{
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON,
                          SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
                          SPICE_POWER_ACTION_PAUSE);
}

static void answer(Fixture *f, guint16 type, guint8 result, const gchar *message)
{
    power_peer_send_result(f->peer, power_peer_recv_request(f->peer, type), result, message);
}

/* At the end of its input it must end like this, and this is all of its output
 * that is still unread. @err is a pattern. */
static void assert_exit(Fixture *f, int code, const gchar *out, const gchar *err)
{
    gchar *real_out, *real_err;
    GError *error = NULL;

    g_subprocess_communicate_utf8(f->proc, NULL, NULL, &real_out, &real_err, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(real_out, ==, out);
    if (!g_pattern_match_simple(err, real_err))
        g_error("'%s' doesn't match '%s'", real_err, err);
    g_assert_true(g_subprocess_get_if_exited(f->proc));
    g_assert_cmpint(g_subprocess_get_exit_status(f->proc), ==, code);
    g_free(real_out);
    g_free(real_err);
}

static void assert_line(Fixture *f, const gchar *expected)
{
    GError *error = NULL;
    gchar *line = g_data_input_stream_read_line_utf8(f->output, NULL, NULL, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(line, ==, expected);
    g_free(line);
}

static void write_input(Fixture *f, const gchar *text)
{
    GError *error = NULL;

    g_output_stream_write_all(f->input, text, strlen(text), NULL, NULL, &error);
    g_assert_no_error(error);
}

/* ------------------------------------------------------------------ */

static void test_usage(Fixture *f, gconstpointer data)
{
    start(f, f->uri, NULL);
    assert_exit(f, 1, "", "*no action given*");
    start(f, f->uri, "explode", NULL);
    assert_exit(f, 1, "", "*unknown action 'explode'*");
    start(f, f->uri, "status", "explode", NULL);
    assert_exit(f, 1, "", "*unknown action 'explode'*");
    start(f, f->uri, "monitor", "status", NULL);
    assert_exit(f, 1, "", "*after 'monitor'*");
    start(f, f->uri, "--explode", "status", NULL);
    assert_exit(f, 1, "", "*--explode*");
    start(f, f->uri, "--timeout=soon", "status", NULL);
    assert_exit(f, 1, "", "*soon*");
    start(f, f->uri, "--timeout=-1", "status", NULL);
    assert_exit(f, 1, "", "*negative*");
    start(f, "status", NULL);
    assert_exit(f, 1, "", "*no server*");
}

static void test_help(Fixture *f, gconstpointer data)
{
    static const gchar *const words[] = {
        "status", "reset", "off", "on", "pause", "continue", "monitor",
    };
    gchar *out;
    GError *error = NULL;
    int i;

    start(f, "--help", NULL);
    g_subprocess_communicate_utf8(f->proc, NULL, NULL, &out, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_subprocess_get_exit_status(f->proc), ==, 0);
    for (i = 0; i < G_N_ELEMENTS(words); i++) {
        gchar *line = g_strdup_printf("\n  %s ", words[i]);

        g_assert_nonnull(strstr(out, line));
        g_free(line);
    }
    for (i = 0; i <= 12; i++) {
        gchar *line = g_strdup_printf("\n  %-2d  ", i);

        g_assert_nonnull(strstr(out, line));
        g_free(line);
    }
    g_free(out);

    start(f, "--version", NULL);
    assert_exit(f, 0, "spicy-power " PACKAGE_VERSION "\n", "");
}

static void test_connect(Fixture *f, gconstpointer data)
{
    start(f, "--uri=spice+unix:///nonexistent/spice.sock", "status", NULL);
    assert_exit(f, 2, "", "*cannot connect*");

    /* wrong password */
    start(f, f->uri, "--password=secret", "reset", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_PERMISSION_DENIED);
    assert_exit(f, 2, "", "*cannot connect: Authentication failed*");

    /* no answer */
    start(f, f->uri, "--timeout=1", "reset", NULL);
    assert_exit(f, 2, "", "*cannot connect: no answer in 1 seconds*");
}

static void test_no_power_control(Fixture *f, gconstpointer data)
{
    static const gchar *const options[] = { "--json", "--replace" };
    int i;

    /* there is nothing that it could replace somebody for */
    for (i = 0; i < G_N_ELEMENTS(options); i++) {
        start(f, f->uri, options[i], "reset", NULL);
        accept_old_peer(f, 0);
        assert_exit(f, 3, "", "*no power control*");
    }

    /* a server that is lying */
    start(f, f->uri, "reset", NULL);
    accept_peer(f, 0, SPICE_LINK_ERR_OK);
    assert_exit(f, 3, "", "*no power control*");
    power_peer_assert_closed(f->peer);
}

/* A server that has one client at a time */
static void test_replace(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "status", "reset", NULL);
    accept_old_peer(f, POWER_PEER_ALL_CAPS);
    assert_exit(f, 11, "", "*take the place of whoever uses the machine; nothing was done, "
                           "--replace connects all the same\n");
    /* one that has no room */
    start(f, f->uri, "status", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
    assert_exit(f, 11, "", "*no room*--replace*");

    start(f, f->uri, "--replace", "reset", NULL);
    accept_old_peer(f, POWER_PEER_ALL_CAPS);
    accept_fd(f);
    g_assert_cmphex(power_peer_link(f->peer, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK) & CONTROL_ONLY,
                    ==, 0);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0, "reset: ok\n", "");

    /* where there is room nobody is replaced */
    start(f, f->uri, "--replace", "reset", NULL);
    accept_ready(f);
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0, "reset: ok\n", "");

    /* and a server that has gone meanwhile */
    start(f, f->uri, "--replace", "reset", NULL);
    accept_old_peer(f, POWER_PEER_ALL_CAPS);
    accept_fd(f);
    g_clear_pointer(&f->peer, power_peer_free);
    assert_exit(f, 2, "", "*cannot connect*");
}

static void send_disconnecting(Fixture *f, guint32 reason)
{
    const guint32 body[] = { 0, 0, GUINT32_TO_LE(reason) };

    power_peer_send(f->peer, SPICE_MSG_DISCONNECTING, body, sizeof(body));
    g_clear_pointer(&f->peer, power_peer_free);
}

/* Somebody takes its place, or the ticket it came with is no longer valid */
static void test_disconnecting(Fixture *f, gconstpointer data)
{
    static const struct {
        guint32 reason;
        int code;
        const gchar *err;
    } reasons[] = {
        { SPICE_LINK_ERR_REPLACED, 12, "*Another client*taken the place of this one\n" },
        { SPICE_LINK_ERR_PERMISSION_DENIED, 9, "*no longer valid\n" },
    };
    int i;

    for (i = 0; i < G_N_ELEMENTS(reasons); i++) {
        start(f, f->uri, "monitor", NULL);
        accept_ready(f);
        assert_line(f, "state: on");
        assert_line(f, "allowed: reset power-off power-on pause continue");
        assert_line(f, "possible: reset power-off pause");
        send_disconnecting(f, reasons[i].reason);
        assert_exit(f, reasons[i].code, "", reasons[i].err);

        start(f, f->uri, "status", NULL);
        accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
        power_peer_send_init(f->peer);
        g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
        send_disconnecting(f, reasons[i].reason);
        assert_exit(f, reasons[i].code, "", reasons[i].err);

        /* nobody knows what became of this one */
        start(f, f->uri, "off", NULL);
        accept_ready(f);
        power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
        send_disconnecting(f, reasons[i].reason);
        assert_exit(f, 9, "", "power-off: no result: *");
    }
}

static void test_no_state(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "reset", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    g_clear_pointer(&f->peer, power_peer_free);
    assert_exit(f, 9, "", "*ended before*");

    start(f, f->uri, TIMEOUT, "reset", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    assert_exit(f, 9, "", "*didn't tell the power state in 5 seconds*");
}

static void test_status(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "status", NULL);
    accept_ready(f);
    assert_exit(f, 0,
                "state: on\n"
                "allowed: reset power-off power-on pause continue\n"
                "possible: reset power-off pause\n", "");

    start(f, f->uri, "--json", "status", NULL);
    accept_ready(f);
    assert_exit(f, 0,
                "{\"type\":\"state\",\"state\":\"on\",\"allowed\":[\"reset\",\"power-off\","
                "\"power-on\",\"pause\",\"continue\"],\"possible\":[\"reset\",\"power-off\","
                "\"pause\"]}\n", "");

    /* a server that knows nothing, and allows nothing */
    start(f, f->uri, "status", "--json", "status", NULL);
    accept_peer(f, POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL), SPICE_LINK_ERR_OK);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_UNKNOWN, 0);
    assert_exit(f, 0,
                "{\"type\":\"state\",\"state\":\"unknown\",\"allowed\":[],\"possible\":[]}\n"
                "{\"type\":\"state\",\"state\":\"unknown\",\"allowed\":[],\"possible\":[]}\n",
                "");

    start(f, f->uri, "status", NULL);
    accept_peer(f, POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL), SPICE_LINK_ERR_OK);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_CRASHED, 0);
    assert_exit(f, 0, "state: crashed\nallowed: none\npossible: none\n", "");
}

static void test_actions(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "reset", "off", "on", "pause", "continue", NULL);
    accept_ready(f);
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    answer(f, SPICE_MSGC_MAIN_POWER_OFF, SPICE_POWER_RESULT_OK, "");
    answer(f, SPICE_MSGC_MAIN_POWER_ON, SPICE_POWER_RESULT_OK, "");
    answer(f, SPICE_MSGC_MAIN_POWER_PAUSE, SPICE_POWER_RESULT_OK, "");
    answer(f, SPICE_MSGC_MAIN_POWER_CONTINUE, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0, "reset: ok\npower-off: ok\npower-on: ok\npause: ok\ncontinue: ok\n", "");

    /* the names of the output do as well */
    start(f, f->uri, "--json", "power-off", "power-on", NULL);
    accept_ready(f);
    answer(f, SPICE_MSGC_MAIN_POWER_OFF, SPICE_POWER_RESULT_OK, "");
    answer(f, SPICE_MSGC_MAIN_POWER_ON, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0,
                "{\"type\":\"result\",\"action\":\"power-off\",\"result\":\"ok\",\"message\":\"\"}\n"
                "{\"type\":\"result\",\"action\":\"power-on\",\"result\":\"ok\",\"message\":\"\"}\n",
                "");
}

static void test_results(Fixture *f, gconstpointer data)
{
    static const struct {
        guint8 result;
        int code;
        const gchar *name;
    } results[] = {
        { SPICE_POWER_RESULT_DENIED, 4, "denied" },
        { SPICE_POWER_RESULT_WRONG_STATE, 5, "wrong-state" },
        { SPICE_POWER_RESULT_BUSY, 6, "busy" },
        { SPICE_POWER_RESULT_UNSUPPORTED, 7, "unsupported" },
        { SPICE_POWER_RESULT_FAILED, 8, "failed" },
    };
    int i;

    for (i = 0; i < G_N_ELEMENTS(results); i++) {
        gchar *text = g_strdup_printf("power-off: %s: not today\n", results[i].name);
        gchar *json = g_strdup_printf("{\"type\":\"result\",\"action\":\"power-off\","
                                      "\"result\":\"%s\",\"message\":\"not today\"}\n",
                                      results[i].name);

        /* what comes after it isn't done */
        start(f, f->uri, "off", "reset", NULL);
        accept_ready(f);
        answer(f, SPICE_MSGC_MAIN_POWER_OFF, results[i].result, "not today");
        assert_exit(f, results[i].code, "", text);
        power_peer_assert_closed(f->peer);

        start(f, f->uri, "--json", "off", "reset", NULL);
        accept_ready(f);
        answer(f, SPICE_MSGC_MAIN_POWER_OFF, results[i].result, "not today");
        assert_exit(f, results[i].code, json, "");
        power_peer_assert_closed(f->peer);

        g_free(json);
        g_free(text);
    }
}

/* A server can't write to the terminal as it likes */
static void test_message(Fixture *f, gconstpointer data)
{
    static const gchar message[] = "a\nb\x1b[2Jc\xc2\x9b" "d\xe2\x80\x93\"";

    start(f, f->uri, "off", NULL);
    accept_ready(f);
    answer(f, SPICE_MSGC_MAIN_POWER_OFF, SPICE_POWER_RESULT_FAILED, message);
    assert_exit(f, 8, "", "power-off: failed: a b [2Jc d\xe2\x80\x93\"\n");

    start(f, f->uri, "--json", "off", NULL);
    accept_ready(f);
    answer(f, SPICE_MSGC_MAIN_POWER_OFF, SPICE_POWER_RESULT_FAILED, "a\nb\x1b\xe2\x80\x93\"");
    assert_exit(f, 8,
                "{\"type\":\"result\",\"action\":\"power-off\",\"result\":\"failed\","
                "\"message\":\"a\\nb\\u001b\xe2\x80\x93\\\"\"}\n", "");
}

static void test_no_result(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "off", "on", NULL);
    accept_ready(f);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    g_clear_pointer(&f->peer, power_peer_free);
    assert_exit(f, 9, "", "power-off: no result: *\n");

    start(f, f->uri, "--json", TIMEOUT, "off", "on", NULL);
    accept_ready(f);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    assert_exit(f, 9,
                "{\"type\":\"result\",\"action\":\"power-off\",\"result\":\"none\","
                "\"message\":\"none came in 5 seconds\"}\n", "");
}

/* Lines of standard input, one result for each, whatever it is */
static void test_input(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "--json", "-", NULL);
    accept_ready(f);

    write_input(f, "pause\n");
    answer(f, SPICE_MSGC_MAIN_POWER_PAUSE, SPICE_POWER_RESULT_OK, "");
    assert_line(f, "{\"type\":\"result\",\"action\":\"pause\",\"result\":\"ok\",\"message\":\"\"}");
    write_input(f, "on\n");
    answer(f, SPICE_MSGC_MAIN_POWER_ON, SPICE_POWER_RESULT_WRONG_STATE, "no");
    assert_line(f, "{\"type\":\"result\",\"action\":\"power-on\",\"result\":\"wrong-state\","
                   "\"message\":\"no\"}");
    /* more than one at once */
    write_input(f, "\n  continue  \r\nexplode\nreset");
    answer(f, SPICE_MSGC_MAIN_POWER_CONTINUE, SPICE_POWER_RESULT_BUSY, "");
    assert_line(f, "{\"type\":\"result\",\"action\":\"continue\",\"result\":\"busy\","
                   "\"message\":\"Another request is being carried out\"}");
    assert_line(f, "{\"type\":\"result\",\"action\":\"explode\",\"result\":\"none\","
                   "\"message\":\"unknown action\"}");
    write_input(f, "\nstatus");
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    assert_line(f, "{\"type\":\"result\",\"action\":\"reset\",\"result\":\"ok\",\"message\":\"\"}");
    /* of the first failure */
    assert_exit(f, 5,
                "{\"type\":\"state\",\"state\":\"on\",\"allowed\":[\"reset\",\"power-off\","
                "\"power-on\",\"pause\",\"continue\"],\"possible\":[\"reset\",\"power-off\","
                "\"pause\"]}\n", "");
}

/* The end of the connection isn't an error unless there is more to do */
static void test_input_closed(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "-", NULL);
    accept_ready(f);
    write_input(f, "off\n");
    answer(f, SPICE_MSGC_MAIN_POWER_OFF, SPICE_POWER_RESULT_OK, "");
    g_clear_pointer(&f->peer, power_peer_free);
    assert_line(f, "power-off: ok");
    assert_exit(f, 0, "", "");

    start(f, f->uri, "-", NULL);
    accept_ready(f);
    write_input(f, "off\n");
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    g_clear_pointer(&f->peer, power_peer_free);
    write_input(f, "on\n");
    assert_exit(f, 9, "", "power-off: no result: *\npower-on: not-sent: *\n");
}

static void test_monitor(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "--json", "monitor", NULL);
    accept_peer(f, POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL) |
                   POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_RESET) |
                   POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_ON), SPICE_LINK_ERR_OK);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    assert_line(f, "{\"type\":\"state\",\"state\":\"on\",\"allowed\":[\"reset\",\"power-on\"],"
                   "\"possible\":[\"reset\"]}");
    /* one line for one change */
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_ON);
    assert_line(f, "{\"type\":\"state\",\"state\":\"off\",\"allowed\":[\"reset\",\"power-on\"],"
                   "\"possible\":[\"power-on\"]}");
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, 0);
    assert_line(f, "{\"type\":\"state\",\"state\":\"off\",\"allowed\":[\"reset\",\"power-on\"],"
                   "\"possible\":[]}");
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, 0);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_SUSPENDED, 0);
    assert_line(f, "{\"type\":\"state\",\"state\":\"suspended\",\"allowed\":[\"reset\",\"power-on\"],"
                   "\"possible\":[]}");
    g_clear_pointer(&f->peer, power_peer_free);
    assert_exit(f, 0, "", "");
}

/* It opens the main channel, and no other */
static void test_channels(Fixture *f, gconstpointer data)
{
    static const guint8 channels[] = {
        5, 0, 0, 0,
        SPICE_CHANNEL_DISPLAY, 0,
        SPICE_CHANNEL_INPUTS, 0,
        SPICE_CHANNEL_CURSOR, 0,
        SPICE_CHANNEL_PLAYBACK, 0,
        SPICE_CHANNEL_RECORD, 0,
    };

    int i;

    start(f, f->uri, "-", "status", NULL);
    accept_ready(f);
    power_peer_send(f->peer, SPICE_MSG_MAIN_CHANNELS_LIST, channels, sizeof(channels));
    /* it has time enough to connect them */
    for (i = 0; i < 200; i++)
        power_peer_assert_nothing_sent(f->peer);
    write_input(f, "status\n");
    assert_line(f, "state: on");
    assert_line(f, "allowed: reset power-off power-on pause continue");
    assert_line(f, "possible: reset power-off pause");
    assert_exit(f, 0,
                "state: on\n"
                "allowed: reset power-off power-on pause continue\n"
                "possible: reset power-off pause\n", "");

    /* nobody is there to be accepted */
    g_assert_cmpint(g_unix_set_fd_nonblocking(f->listen_fd, TRUE, NULL), ==, TRUE);
    g_assert_cmpint(accept(f->listen_fd, NULL, NULL), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
}

#define TEST(path, func) g_test_add("/spicy-power/" path, Fixture, NULL, f_setup, func, f_teardown)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    TEST("usage", test_usage);
    TEST("help", test_help);
    TEST("connect", test_connect);
    TEST("no-power-control", test_no_power_control);
    TEST("replace", test_replace);
    TEST("disconnecting", test_disconnecting);
    TEST("no-state", test_no_state);
    TEST("status", test_status);
    TEST("actions", test_actions);
    TEST("results", test_results);
    TEST("message", test_message);
    TEST("no-result", test_no_result);
    TEST("input", test_input);
    TEST("input/closed", test_input_closed);
    TEST("monitor", test_monitor);
    TEST("channels", test_channels);

    return g_test_run();
}
