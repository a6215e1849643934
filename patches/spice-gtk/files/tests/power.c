/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Power control of the main channel: its state, and requests
 */
#include "config.h"

#include "power-fixture.h"

static void test_types(void)
{
    GEnumClass *states = g_type_class_ref(SPICE_TYPE_POWER_STATE);
    GFlagsClass *actions = g_type_class_ref(SPICE_TYPE_POWER_ACTION);

    /* none of the protocol's values is missing */
    g_assert_cmpuint(states->n_values, ==, SPICE_POWER_STATE_ENUM_END);
    g_assert_cmphex(actions->mask, ==, SPICE_POWER_ACTION_MASK);

    g_type_class_unref(actions);
    g_type_class_unref(states);
}

static void test_state(Fixture *f, gconstpointer data)
{
    static const SpicePowerState states[] = {
        SPICE_POWER_STATE_OFF,
        SPICE_POWER_STATE_ON,
        SPICE_POWER_STATE_PAUSED,
        SPICE_POWER_STATE_SUSPENDED,
        SPICE_POWER_STATE_CRASHED,
        SPICE_POWER_STATE_UNKNOWN,
    };
    int i;

    g_assert_cmpuint(get_allowed(f), ==, ALL_ACTIONS);
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_ON);
    g_assert_cmphex(get_actions(f), ==,
                    SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF | SPICE_POWER_ACTION_PAUSE);

    /* what didn't change is not notified */
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_OFF);
    wait_notified(f, "actions ");
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_ON);
    g_assert_cmphex(get_actions(f), ==, SPICE_POWER_ACTION_OFF);

    for (i = 0; i < G_N_ELEMENTS(states); i++) {
        power_peer_send_state(f->peer, states[i], SPICE_POWER_ACTION_OFF);
        wait_notified(f, "state ");
        g_assert_cmpuint(get_state(f), ==, states[i]);
        g_assert_cmphex(get_actions(f), ==, SPICE_POWER_ACTION_OFF);
    }
}

/* The first state is notified even if it is the initial value, so that a
 * client can wait for it */
static void test_state_first(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(get_allowed(f), ==, 0);
    f_link(f, POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_UNKNOWN, 0);
    wait_notified(f, "allowed actions state ");
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_UNKNOWN);
}

/* What is allowed is told with the state, and a bad server says that more is than it has */
static void test_allowed(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(get_allowed(f), ==, 0);
    f_link(f, POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL) |
              POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_ON) |
              POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTINUE));
    g_assert_cmphex(get_allowed(f), ==, 0);
    g_assert_cmphex(get_actions(f), ==, 0);

    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF,
                          SPICE_POWER_ACTION_ON | SPICE_POWER_ACTION_RESET);
    wait_notified(f, "allowed actions state ");
    g_assert_cmphex(get_allowed(f), ==, SPICE_POWER_ACTION_ON | SPICE_POWER_ACTION_CONTINUE);
    g_assert_cmphex(get_actions(f), ==, SPICE_POWER_ACTION_ON);

    /* it changes, with and without what is possible */
    power_peer_send_allowed(f->peer, SPICE_POWER_STATE_OFF,
                            SPICE_POWER_ACTION_ON | SPICE_POWER_ACTION_OFF,
                            SPICE_POWER_ACTION_ON);
    wait_notified(f, "allowed ");
    g_assert_cmphex(get_allowed(f), ==, SPICE_POWER_ACTION_ON);
    power_peer_send_allowed(f->peer, SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_CONTINUE,
                            SPICE_POWER_ACTION_ON);
    wait_notified(f, "allowed actions ");
    g_assert_cmphex(get_allowed(f), ==, SPICE_POWER_ACTION_CONTINUE);
    g_assert_cmphex(get_actions(f), ==, 0);
    power_peer_send_allowed(f->peer, SPICE_POWER_STATE_ON, 0, 0);
    wait_notified(f, "allowed state ");
    g_assert_cmphex(get_allowed(f), ==, 0);
}

static void test_actions(Fixture *f, gconstpointer data)
{
    static const struct {
        SpicePowerAction action;
        guint16 msg;
    } actions[] = {
        { SPICE_POWER_ACTION_RESET, 113 },
        { SPICE_POWER_ACTION_OFF, 114 },
        { SPICE_POWER_ACTION_ON, 115 },
        { SPICE_POWER_ACTION_PAUSE, 116 },
        { SPICE_POWER_ACTION_CONTINUE, 117 },
    };
    guint32 last_id = 0;
    int i;

    for (i = 0; i < G_N_ELEMENTS(actions); i++) {
        Call call;
        guint32 id;

        call_start(&call, f, actions[i].action, NULL);
        id = power_peer_recv_request(f->peer, actions[i].msg);
        g_assert_cmpuint(id, !=, last_id);
        last_id = id;

        power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, i % 2 ? "done" : "");
        call_assert_ok(&call);
    }
    power_peer_assert_nothing_sent(f->peer);
}

/* The state that an action leads to is there when its result is */
static void test_state_before_result(Fixture *f, gconstpointer data)
{
    Call call;
    guint32 id;

    call_start(&call, f, SPICE_POWER_ACTION_PAUSE, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_PAUSE);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_CONTINUE);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&call);
    g_assert_cmpuint(call.state, ==, SPICE_POWER_STATE_PAUSED);
    wait_notified(f, "actions state ");
}

static void test_results(Fixture *f, gconstpointer data)
{
    static const struct {
        guint8 result;
        SpicePowerError code;
        const gchar *fallback;
    } results[] = {
        { SPICE_POWER_RESULT_DENIED, SPICE_POWER_ERROR_DENIED,
          "The server does not allow this action" },
        { SPICE_POWER_RESULT_WRONG_STATE, SPICE_POWER_ERROR_WRONG_STATE,
          "The action is not possible in the current state" },
        { SPICE_POWER_RESULT_BUSY, SPICE_POWER_ERROR_BUSY,
          "Another request is being carried out" },
        { SPICE_POWER_RESULT_UNSUPPORTED, SPICE_POWER_ERROR_UNSUPPORTED,
          "The machine does not support this action" },
        { SPICE_POWER_RESULT_FAILED, SPICE_POWER_ERROR_FAILED,
          "The action failed" },
        /* values that this version doesn't know */
        { SPICE_POWER_RESULT_ENUM_END, SPICE_POWER_ERROR_FAILED,
          "The server sent an unknown result" },
        { 255, SPICE_POWER_ERROR_FAILED,
          "The server sent an unknown result" },
    };
    int i;

    for (i = 0; i < G_N_ELEMENTS(results); i++) {
        Call call;
        guint32 id;

        call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
        id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
        power_peer_send_result(f->peer, id, results[i].result, "no \xe2\x80\x93 100 %s");
        call_assert_message(&call, results[i].code, "no \xe2\x80\x93 100 %s");

        call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
        id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
        power_peer_send_result(f->peer, id, results[i].result, "");
        call_assert_message(&call, results[i].code, results[i].fallback);
    }
}

/* A client waits for a result before it asks again */
static void test_queue(Fixture *f, gconstpointer data)
{
    Call first, second, third;
    guint32 id, next;

    call_start(&first, f, SPICE_POWER_ACTION_PAUSE, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_CONTINUE, NULL);
    call_start(&third, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_PAUSE);
    power_peer_assert_nothing_sent(f->peer);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");

    next = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_CONTINUE);
    g_assert_cmpuint(next, !=, id);
    power_peer_assert_nothing_sent(f->peer);
    call_assert_ok(&first);
    g_assert_false(second.done);
    power_peer_send_result(f->peer, next, SPICE_POWER_RESULT_WRONG_STATE, "");

    /* that one failed doesn't keep the next one from being tried */
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_WRONG_STATE);
    g_assert_false(third.done);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&third);
}

static void test_cancel_before(Fixture *f, gconstpointer data)
{
    GCancellable *cancellable = g_cancellable_new();
    Call call;

    g_cancellable_cancel(cancellable);
    call_start(&call, f, SPICE_POWER_ACTION_OFF, cancellable);
    call_assert_error(&call, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    power_peer_assert_nothing_sent(f->peer);
    g_object_unref(cancellable);
}

static void test_cancel_queued(Fixture *f, gconstpointer data)
{
    GCancellable *cancellable = g_cancellable_new();
    Call first, second, third;
    guint32 id;

    call_start(&first, f, SPICE_POWER_ACTION_PAUSE, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_OFF, cancellable);
    call_start(&third, f, SPICE_POWER_ACTION_CONTINUE, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_PAUSE);
    g_cancellable_cancel(cancellable);
    call_assert_error(&second, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_assert_false(first.done);

    /* it was never sent */
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_CONTINUE);
    call_assert_ok(&first);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&third);
    g_object_unref(cancellable);
}

/* The result of a cancelled request isn't that of the next one, and the next
 * one isn't sent before it */
static void test_cancel_sent(Fixture *f, gconstpointer data)
{
    GCancellable *cancellable = g_cancellable_new();
    Call first, second;
    guint32 id, next;

    call_start(&first, f, SPICE_POWER_ACTION_RESET, cancellable);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    g_cancellable_cancel(cancellable);
    call_assert_error(&first, G_IO_ERROR, G_IO_ERROR_CANCELLED);

    call_start(&second, f, SPICE_POWER_ACTION_RESET, NULL);
    power_peer_assert_nothing_sent(f->peer);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    next = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    g_assert_cmpuint(next, !=, id);
    g_assert_false(second.done);
    power_peer_send_result(f->peer, next, SPICE_POWER_RESULT_DENIED, "");
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    g_object_unref(cancellable);
}

static void cancel_then_done(GObject *source, GAsyncResult *result, gpointer data)
{
    g_cancellable_cancel(g_task_get_cancellable(G_TASK(result)));
    call_done(source, result, data);
}

/* A cancellation after the result changes nothing */
static void test_cancel_late(Fixture *f, gconstpointer data)
{
    GCancellable *cancellable = g_cancellable_new();
    Call call = { .f = f };
    guint32 id;

    spice_main_channel_power_async(f->main, SPICE_POWER_ACTION_RESET, cancellable,
                                   cancel_then_done, &call);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&call);
    power_peer_assert_nothing_sent(f->peer);
    g_object_unref(cancellable);
}

/* A server without power control */
static void test_unsupported(Fixture *f, gconstpointer data)
{
    Call call;

    f_link(f, 0);
    call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
    call_assert_error(&call, SPICE_POWER_ERROR, SPICE_POWER_ERROR_UNSUPPORTED);
    power_peer_assert_nothing_sent(f->peer);
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_UNKNOWN);
    g_assert_cmphex(get_allowed(f), ==, 0);
    g_assert_cmpstr(f->notified->str, ==, "");
}

/* An action that isn't configured is the server's to refuse */
static void test_not_configured(Fixture *f, gconstpointer data)
{
    Call call;
    guint32 id;

    f_link(f, POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL));
    call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_DENIED, "not configured");
    call_assert_message(&call, SPICE_POWER_ERROR_DENIED, "not configured");
}

static void test_read_only(Fixture *f, gconstpointer data)
{
    Call first, second;
    guint32 id;

    g_object_set(f->session, "read-only", TRUE, NULL);
    call_start(&first, f, SPICE_POWER_ACTION_RESET, NULL);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    power_peer_assert_nothing_sent(f->peer);
    /* the state is for everyone to see */
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_ON);

    /* a request that is in the queue when it becomes read-only isn't sent */
    g_object_set(f->session, "read-only", FALSE, NULL);
    call_start(&first, f, SPICE_POWER_ACTION_RESET, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    g_object_set(f->session, "read-only", TRUE, NULL);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&first);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    power_peer_assert_nothing_sent(f->peer);
}

static void test_not_connected(Fixture *f, gconstpointer data)
{
    Call call;

    call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
    call_assert_error(&call, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
}

static void then_request(GObject *source, GAsyncResult *result, gpointer data)
{
    Call *call = data;

    call_done(source, result, data);
    call_start(call + 1, call->f, SPICE_POWER_ACTION_ON, NULL);
}

static void then_disconnect(GObject *source, GAsyncResult *result, gpointer data)
{
    call_done(source, result, data);
    spice_channel_disconnect(SPICE_CHANNEL(source), SPICE_CHANNEL_NONE);
}

/* A callback may do whatever the main context may */
static void test_callback(Fixture *f, gconstpointer data)
{
    Call calls[3] = { { .f = f }, { .f = f }, { .f = f } };
    guint32 id;

    spice_main_channel_power_async(f->main, SPICE_POWER_ACTION_OFF, NULL, then_request, &calls[0]);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    g_assert_true(calls[0].ok);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&calls[1]);

    spice_main_channel_power_async(f->main, SPICE_POWER_ACTION_OFF, NULL, then_disconnect, &calls[2]);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&calls[2]);
    power_peer_assert_closed(f->peer);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/power/types", test_types);
    TEST("state", f_setup, test_state);
    TEST("state/first", f_setup_unlinked, test_state_first);
    TEST("allowed", f_setup_unlinked, test_allowed);
    TEST("actions", f_setup, test_actions);
    TEST("state-before-result", f_setup, test_state_before_result);
    TEST("results", f_setup, test_results);
    TEST("queue", f_setup, test_queue);
    TEST("cancel/before", f_setup, test_cancel_before);
    TEST("cancel/queued", f_setup, test_cancel_queued);
    TEST("cancel/sent", f_setup, test_cancel_sent);
    TEST("cancel/late", f_setup, test_cancel_late);
    TEST("unsupported", f_setup_unlinked, test_unsupported);
    TEST("not-configured", f_setup_unlinked, test_not_configured);
    TEST("read-only", f_setup, test_read_only);
    TEST("not-connected", f_setup_unlinked, test_not_connected);
    TEST("callback", f_setup, test_callback);

    return g_test_run();
}
