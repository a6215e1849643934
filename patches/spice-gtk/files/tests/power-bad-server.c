/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Power control with a server that sends what it should not: it must do no harm
 */
#include "config.h"

#include "power-fixture.h"

/* Messages that are not what they should be: they must do no harm */
static void test_bad_messages(Fixture *f, gconstpointer data)
{
    static const gchar fallback[] = "The action failed";
    gchar *longest = g_strnfill(1024, 'x');
    gchar *too_long = g_strnfill(1025, 'x');
    Call call;
    guint32 id;

    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_FAILED, longest);
    call_assert_message(&call, SPICE_POWER_ERROR_FAILED, longest);

    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_FAILED, too_long);
    call_assert_message(&call, SPICE_POWER_ERROR_FAILED, fallback);

    /* not UTF-8 */
    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_FAILED, "caf\xe9");
    call_assert_message(&call, SPICE_POWER_ERROR_FAILED, fallback);

    /* ends in the middle of a character */
    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    power_peer_send_result_raw(f->peer, id, SPICE_POWER_RESULT_FAILED, 4, "caf\xc3\xa9", 5);
    call_assert_message(&call, SPICE_POWER_ERROR_FAILED, fallback);

    /* a zero byte */
    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    power_peer_send_result_raw(f->peer, id, SPICE_POWER_RESULT_FAILED, 7, "one\0two", 7);
    call_assert_message(&call, SPICE_POWER_ERROR_FAILED, fallback);

    /* more bytes than it says: they are not part of it */
    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    power_peer_send_result_raw(f->peer, id, SPICE_POWER_RESULT_FAILED, 3, "onetwo", 6);
    call_assert_message(&call, SPICE_POWER_ERROR_FAILED, "one");

    g_free(too_long);
    g_free(longest);
}

/* A message that says that it is longer than the body, or a body that is too
 * short, is dropped. The connection goes on. */
static void test_bad_bodies(Fixture *f, gconstpointer data)
{
    static const guint32 lengths[] = { 4, 1024, 0x7fffffff, 0xfffffff0, 0xffffffff };
    Call call;
    guint32 id;
    int i;

    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);

    for (i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_test_expect_message("GSpice", G_LOG_LEVEL_CRITICAL, "failed to parse message*");
        power_peer_send_result_raw(f->peer, id, SPICE_POWER_RESULT_OK, lengths[i], "abc", 3);
        power_peer_assert_nothing_sent(f->peer);
        g_test_assert_expected_messages();
        g_assert_false(call.done);
    }
    for (i = 0; i < 9; i++) {
        g_test_expect_message("GSpice", G_LOG_LEVEL_CRITICAL, "failed to parse message*");
        power_peer_send(f->peer, SPICE_MSG_MAIN_POWER_RESULT, "\1\0\0\0\0\0\0\0\0", i);
        power_peer_assert_nothing_sent(f->peer);
        g_test_assert_expected_messages();
        g_assert_false(call.done);
    }
    for (i = 0; i < 5; i++) {
        g_test_expect_message("GSpice", G_LOG_LEVEL_CRITICAL, "failed to parse message*");
        power_peer_send(f->peer, SPICE_MSG_MAIN_POWER_STATE, "\1\0\0\0\0", i);
        power_peer_assert_nothing_sent(f->peer);
        g_test_assert_expected_messages();
    }
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_ON);

    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&call);
}

/* A server to go to whose name, or certificate's subject, is nowhere in the message: the
 * client stays. */
static void test_bad_switch_host(Fixture *f, gconstpointer data)
{
    const guint32 at = 20;
    struct SPICE_ATTR_PACKED {
        guint16 port, sport;
        guint32 host_size, host_data, cert_subject_size, cert_subject_data;
        gchar host[10];
    } msg = {
        .port = GUINT16_TO_LE(5900),
        .host_size = GUINT32_TO_LE(sizeof(msg.host)),
        .host = "localhost",
    };
    Call call;
    int i;

    for (i = 0; i < 2; i++) {
        g_test_expect_message("GSpice", G_LOG_LEVEL_CRITICAL, "*migrate_switch_host*");
        power_peer_send(f->peer, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &msg, sizeof(msg));
        power_peer_assert_nothing_sent(f->peer);
        g_test_assert_expected_messages();
        msg.host_data = GUINT32_TO_LE(at);
        msg.cert_subject_size = GUINT32_TO_LE(5);
    }
    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    power_peer_send_result(f->peer, power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON),
                           SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&call);
}

/* What is said to be there, and isn't */
static void test_switch_host_without(Fixture *f, gconstpointer data)
{
    static const struct {
        guint16 ports[2];
        guint32 host_size, host_offset, subject_size, subject_offset;
        gchar host[8];
    } messages[] = {
        { { 0, 0 }, GUINT32_TO_LE(8), 0, 0, 0, "" },
        { { 0, 0 }, 0, 0, 0, 0, "" },
        { { 0, 0 }, GUINT32_TO_LE(5), GUINT32_TO_LE(20), GUINT32_TO_LE(5), 0, "host" },
    };
    int i;

    for (i = 0; i < G_N_ELEMENTS(messages); i++) {
        g_test_expect_message("GSpice", G_LOG_LEVEL_CRITICAL, "*assertion*failed*");
        power_peer_send(f->peer, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &messages[i],
                        sizeof(messages[i]));
        power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, 1 << i);
        wait_notified(f, "actions ");
        g_test_assert_expected_messages();
    }
}

/* More than can be: the connection ends, and nothing else */
static void test_bad_size(Fixture *f, gconstpointer data)
{
    Call call;

    call_start(&call, f, SPICE_POWER_ACTION_ON, NULL);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    g_test_expect_message("GSpice", G_LOG_LEVEL_WARNING, "*too large");
    power_peer_send_header(f->peer, SPICE_MSG_MAIN_POWER_RESULT, 0x80000000);
    call_assert_error(&call, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    g_test_assert_expected_messages();
    power_peer_assert_closed(f->peer);
}

static void test_unknown_id(Fixture *f, gconstpointer data)
{
    Call call;
    guint32 id;

    /* nothing was requested yet */
    power_peer_send_result(f->peer, 0, SPICE_POWER_RESULT_OK, "");
    power_peer_send_result(f->peer, 1, SPICE_POWER_RESULT_OK, "");
    power_peer_assert_nothing_sent(f->peer);

    call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    power_peer_send_result(f->peer, id + 1, SPICE_POWER_RESULT_OK, "");
    power_peer_send_result(f->peer, id - 1, SPICE_POWER_RESULT_OK, "");
    power_peer_assert_nothing_sent(f->peer);
    g_assert_false(call.done);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_BUSY, "");
    /* the second result of a request isn't that of the next one */
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_error(&call, SPICE_POWER_ERROR, SPICE_POWER_ERROR_BUSY);
    call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_DENIED, "");
    call_assert_error(&call, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
}

/* A state that this version doesn't know */
static void test_state_invalid(Fixture *f, gconstpointer data)
{
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ENUM_END, 0xffffffff);
    wait_notified(f, "actions state ");
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_UNKNOWN);
    g_assert_cmphex(get_actions(f), ==, ALL_ACTIONS);
    power_peer_send_state(f->peer, 255, 0);
    wait_notified(f, "actions ");
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_UNKNOWN);
    g_assert_cmphex(get_actions(f), ==, 0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    TEST("state/invalid", f_setup, test_state_invalid);
    TEST("bad-messages", f_setup, test_bad_messages);
    TEST("bad-bodies", f_setup, test_bad_bodies);
    TEST("bad-switch-host", f_setup, test_bad_switch_host);
    TEST("bad-size", f_setup, test_bad_size);
    TEST("unknown-id", f_setup, test_unknown_id);
    TEST("switch-host/without", f_setup, test_switch_host_without);

    return g_test_run();
}
