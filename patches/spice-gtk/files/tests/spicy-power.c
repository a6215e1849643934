/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What spicy-power does and says, over a connection to a hand-written server
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <gio/gio.h>
#include <glib-unix.h>

#include <spice/enums.h>
#include <spice/protocol.h>

#include "spicy-power-fixture.h"

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
    start(f, f->uri, "--connect-timeout=-1", "status", NULL);
    assert_exit(f, 1, "", "*negative*");
    start(f, f->uri, "wait", NULL);
    assert_exit(f, 1, "", "*'wait' needs a state*");
    start(f, f->uri, "wait", "soon", NULL);
    assert_exit(f, 1, "", "*'wait' needs a state*, not 'soon'*");
    start(f, f->uri, "soft", NULL);
    assert_exit(f, 1, "", "*'soft' is not done here*virsh shutdown*");
    start(f, "status", NULL);
    assert_exit(f, 1, "", "*no server*");
}

static void test_help(Fixture *f, gconstpointer data)
{
    static const gchar *const words[] = {
        "status", "state", "reset", "off", "on", "cycle", "pause", "continue", "wait", "monitor",
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

/* What bash offers after these words, in one line */
static gchar *complete(const gchar *words)
{
    gchar *script = g_strdup_printf("source '%s'; COMP_WORDS=(spicy-power %s); "
                                    "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _spicy_power; "
                                    "echo \"${COMPREPLY[@]}\"", SPICY_POWER_BASH, words);
    const gchar *const argv[] = { "bash", "-c", script, NULL };
    GError *error = NULL;
    gchar *out, *err;

    g_spawn_sync(NULL, (gchar **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, NULL,
                 &error);
    g_assert_no_error(error);
    g_assert_cmpstr(err, ==, "");
    g_free(err);
    g_free(script);
    return g_strchomp(out);
}

static void test_completion(Fixture *f, gconstpointer data)
{
    static const gchar *const expected[][2] = {
        { "''", "status state reset off on cycle pause continue resume wait monitor" },
        { "reset o", "off on" },
        { "wait o", "off on" },
        { "--connect", "--connect-timeout=" },
        { "--j", "--json" },
        { "--timeout = ''", "" },
    };
    gchar *bash = g_find_program_in_path("bash");
    int i;

    if (bash == NULL) {
        g_test_skip("there is no bash");
        return;
    }
    g_free(bash);
    for (i = 0; i < G_N_ELEMENTS(expected); i++) {
        gchar *offered = complete(expected[i][0]);

        g_assert_cmpstr(offered, ==, expected[i][1]);
        g_free(offered);
    }
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

/* The words that others have for it, and what is two actions */
static void test_words(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "resume", "cycle", NULL);
    accept_ready(f);
    answer(f, SPICE_MSGC_MAIN_POWER_CONTINUE, SPICE_POWER_RESULT_OK, "");
    answer(f, SPICE_MSGC_MAIN_POWER_OFF, SPICE_POWER_RESULT_OK, "");
    answer(f, SPICE_MSGC_MAIN_POWER_ON, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0, "continue: ok\npower-off: ok\npower-on: ok\n", "");

    /* what is off is powered on */
    start(f, f->uri, "cycle", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_ON);
    answer(f, SPICE_MSGC_MAIN_POWER_ON, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0, "power-on: ok\n", "");

    /* what stays on is not */
    start(f, f->uri, "-", NULL);
    accept_ready(f);
    write_input(f, "cycle\nreset\n");
    answer(f, SPICE_MSGC_MAIN_POWER_OFF, SPICE_POWER_RESULT_DENIED, "no");
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 4, "reset: ok\n", "power-off: denied: no\n");
}

static void test_wait(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "wait", "on", "wait", "off", "state", NULL);
    accept_ready(f);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_PAUSED, 0);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, 0);
    assert_exit(f, 0, "wait: ok\nwait: ok\noff\n", "");

    start(f, f->uri, TIMEOUT, "wait", "off", "state", NULL);
    accept_ready(f);
    assert_exit(f, 9, "", "wait: no result: after 5 seconds the state is 'on', not 'off'\n");

    /* the connection ends while it waits: it has asked, as the other line tells */
    start(f, f->uri, "-", NULL);
    accept_ready(f);
    write_input(f, "reset\nwait off\nwait\nstate now\nstate\n");
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    g_clear_pointer(&f->peer, power_peer_free);
    assert_exit(f, 9, "reset: ok\n", "wait: no result: *\nwait: no result: 'wait' needs a state*\n"
                "state: no result: nothing can come after 'state'\n"
                "state: no result: the connection has ended\n");
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
                   "\"message\":\"unknown action 'explode'\"}");
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

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    TEST("usage", test_usage);
    TEST("help", test_help);
    TEST("completion", test_completion);
    TEST("disconnecting", test_disconnecting);
    TEST("no-state", test_no_state);
    TEST("status", test_status);
    TEST("actions", test_actions);
    TEST("words", test_words);
    TEST("wait", test_wait);
    TEST("results", test_results);
    TEST("message", test_message);
    TEST("no-result", test_no_result);
    TEST("input", test_input);
    TEST("input/closed", test_input_closed);
    TEST("monitor", test_monitor);
    TEST("channels", test_channels);

    return g_test_run();
}
