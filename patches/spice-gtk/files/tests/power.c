/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Power control of the main channel: all cases have one fixture, a session with a
 * hand-written server. */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "spice-client.h"

#include "power-peer.h"

#define ALL_ACTIONS ((SpicePowerAction)SPICE_POWER_ACTION_MASK)

typedef struct {
    SpiceSession *session;
    SpiceMainChannel *main;
    PowerPeer *peer;
    GString *notified; /* the properties, in order */
    SpiceChannelEvent last_event;
} Fixture;

/* What came of a spice_main_channel_power_async() */
typedef struct {
    Fixture *f;
    gboolean done;
    gboolean ok;
    GError *error;
    SpicePowerState state; /* when it was done */
} Call;

static void channel_new(SpiceSession *session, SpiceChannel *channel, gpointer data)
{
    Fixture *f = data;

    if (SPICE_IS_MAIN_CHANNEL(channel))
        f->main = SPICE_MAIN_CHANNEL(channel);
}

static void channel_event(SpiceChannel *channel, SpiceChannelEvent event, gpointer data)
{
    Fixture *f = data;

    f->last_event = event;
}

static void power_notified(GObject *object, GParamSpec *pspec, gpointer data)
{
    Fixture *f = data;

    if (strncmp(pspec->name, "power-", 6) == 0)
        g_string_append_printf(f->notified, "%s ", pspec->name + 6);
}

static void wait_event(Fixture *f, SpiceChannelEvent event)
{
    while (f->last_event != event)
        g_main_context_iteration(NULL, TRUE);
}

static void wait_notified(Fixture *f, const gchar *notified)
{
    while (f->notified->len < strlen(notified))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(f->notified->str, ==, notified);
    g_string_truncate(f->notified, 0);
}

static SpicePowerState get_state(Fixture *f)
{
    SpicePowerState state;

    g_object_get(f->main, "power-state", &state, NULL);
    return state;
}

static SpicePowerAction get_actions(Fixture *f)
{
    SpicePowerAction actions;

    g_object_get(f->main, "power-actions", &actions, NULL);
    return actions;
}

static SpicePowerAction get_allowed(Fixture *f)
{
    SpicePowerAction actions;

    g_object_get(f->main, "power-allowed", &actions, NULL);
    return actions;
}

/* A session whose main channel is linked to a server with these capabilities */
static void f_link(Fixture *f, guint32 caps)
{
    guint32 client_caps;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_true(spice_session_open_fd(f->session, fds[0]));
    f->peer = power_peer_new(fds[1]);
    client_caps = power_peer_link(f->peer, caps, SPICE_LINK_ERR_OK);
    g_assert_cmphex(client_caps & POWER_PEER_ALL_CAPS, ==,
                    POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL));
    wait_event(f, SPICE_CHANNEL_OPENED);

    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
}

static void f_setup_unlinked(Fixture *f, gconstpointer data)
{
    f->notified = g_string_new(NULL);
    f->last_event = SPICE_CHANNEL_NONE;
    f->session = spice_session_new();
    g_signal_connect(f->session, "channel-new", G_CALLBACK(channel_new), f);
    spice_channel_new(f->session, SPICE_CHANNEL_MAIN, 0);
    g_assert_nonnull(f->main);
    g_object_ref(f->main);
    g_signal_connect(f->main, "channel-event", G_CALLBACK(channel_event), f);
    g_signal_connect(f->main, "notify", G_CALLBACK(power_notified), f);
}

static void f_setup(Fixture *f, gconstpointer data)
{
    f_setup_unlinked(f, data);
    f_link(f, POWER_PEER_ALL_CAPS);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON,
                          SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
                          SPICE_POWER_ACTION_PAUSE);
    wait_notified(f, "allowed actions state ");
}

static void f_teardown(Fixture *f, gconstpointer data)
{
    g_object_add_weak_pointer(G_OBJECT(f->main), (gpointer *)&f->main);
    g_object_add_weak_pointer(G_OBJECT(f->session), (gpointer *)&f->session);
    spice_session_disconnect(f->session);
    g_object_unref(f->main);
    g_object_unref(f->session);
    while (f->main != NULL || f->session != NULL)
        g_main_context_iteration(NULL, TRUE);

    g_clear_pointer(&f->peer, power_peer_free);
    g_string_free(f->notified, TRUE);
}

static void call_done(GObject *source, GAsyncResult *result, gpointer data)
{
    Call *call = data;

    g_assert_false(call->done);
    g_assert_true(source == G_OBJECT(call->f->main));
    call->ok = spice_main_channel_power_finish(call->f->main, result, &call->error);
    g_assert_true(call->ok == (call->error == NULL));
    call->state = get_state(call->f);
    call->done = TRUE;
}

static void call_start(Call *call, Fixture *f, SpicePowerAction action, GCancellable *cancellable)
{
    *call = (Call) { .f = f };
    spice_main_channel_power_async(f->main, action, cancellable, call_done, call);
    /* never from within the function */
    g_assert_false(call->done);
}

static void call_wait(Call *call)
{
    while (!call->done)
        g_main_context_iteration(NULL, TRUE);
}

static void call_assert_ok(Call *call)
{
    call_wait(call);
    g_assert_no_error(call->error);
}

static void call_assert_error(Call *call, GQuark domain, gint code)
{
    call_wait(call);
    g_assert_error(call->error, domain, code);
    g_clear_error(&call->error);
}

static void call_assert_message(Call *call, SpicePowerError code, const gchar *message)
{
    call_wait(call);
    g_assert_error(call->error, SPICE_POWER_ERROR, code);
    g_assert_cmpstr(call->error->message, ==, message);
    g_clear_error(&call->error);
}

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
          "The server doesn't allow this action" },
        { SPICE_POWER_RESULT_WRONG_STATE, SPICE_POWER_ERROR_WRONG_STATE,
          "The action is not possible in the current state" },
        { SPICE_POWER_RESULT_BUSY, SPICE_POWER_ERROR_BUSY,
          "Another request is being carried out" },
        { SPICE_POWER_RESULT_UNSUPPORTED, SPICE_POWER_ERROR_UNSUPPORTED,
          "The machine doesn't support this action" },
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

/* The server goes away with requests pending */
static void test_disconnect(Fixture *f, gconstpointer data)
{
    GCancellable *cancellable = g_cancellable_new();
    Call first, second, third;

    call_start(&first, f, SPICE_POWER_ACTION_OFF, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_ON, cancellable);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    g_clear_pointer(&f->peer, power_peer_free);

    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    g_assert_cmpuint(first.state, ==, SPICE_POWER_STATE_UNKNOWN);
    wait_notified(f, "allowed actions state ");
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_UNKNOWN);
    g_assert_cmphex(get_actions(f), ==, 0);
    g_assert_cmphex(get_allowed(f), ==, 0);

    /* neither before nor after the end is known to the application */
    call_start(&third, f, SPICE_POWER_ACTION_OFF, NULL);
    call_assert_error(&third, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    wait_event(f, SPICE_CHANNEL_CLOSED);
    call_start(&third, f, SPICE_POWER_ACTION_OFF, NULL);
    call_assert_error(&third, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);

    g_cancellable_cancel(cancellable);
    g_object_unref(cancellable);
}

/* The result is on the wire before the connection closes */
static void test_result_then_disconnect(Fixture *f, gconstpointer data)
{
    Call call;
    guint32 id;

    call_start(&call, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, 0);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    g_clear_pointer(&f->peer, power_peer_free);
    call_assert_ok(&call);
    wait_event(f, SPICE_CHANNEL_CLOSED);
}

/* The application closes the channel with requests pending */
/* What the client has to answer on the way doesn't keep it from the result,
 * although there is nobody any more whom it could answer. */
static void test_ping_then_disconnect(Fixture *f, gconstpointer data)
{
    static const guint8 ping[12];
    Call call;
    guint32 id;

    call_start(&call, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    power_peer_send(f->peer, SPICE_MSG_PING, ping, sizeof(ping));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, 0);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    g_clear_pointer(&f->peer, power_peer_free);
    call_assert_ok(&call);
    wait_event(f, SPICE_CHANNEL_CLOSED);
}

static void test_client_disconnect(Fixture *f, gconstpointer data)
{
    Call first, second, third;

    call_start(&first, f, SPICE_POWER_ACTION_OFF, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_ON, NULL);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    spice_channel_disconnect(SPICE_CHANNEL(f->main), SPICE_CHANNEL_NONE);
    call_start(&third, f, SPICE_POWER_ACTION_OFF, NULL);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    call_assert_error(&third, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    power_peer_assert_closed(f->peer);
}

/* The session is destroyed with requests pending */
static void test_session_disconnect(Fixture *f, gconstpointer data)
{
    Call first, second;

    call_start(&first, f, SPICE_POWER_ACTION_OFF, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_ON, NULL);
    spice_session_disconnect(f->session);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
}

/* The same channel, connected again: what came before doesn't matter */
static void test_reconnect(Fixture *f, gconstpointer data)
{
    Call first, second;
    guint32 id, next;

    call_start(&first, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    g_clear_pointer(&f->peer, power_peer_free);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    wait_notified(f, "allowed actions state ");
    wait_event(f, SPICE_CHANNEL_CLOSED);

    f_link(f, POWER_PEER_ALL_CAPS);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_ON);
    wait_notified(f, "allowed actions state ");
    call_start(&second, f, SPICE_POWER_ACTION_ON, NULL);
    next = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    g_assert_cmpuint(next, !=, id);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_FAILED, "");
    power_peer_send_result(f->peer, next, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&second);
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

static int listen_tcp(guint16 *port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &size), ==, 0);
    *port = ntohs(addr.sin_port);

    return fd;
}

static PowerPeer *accept_tcp(int listen_fd, guint32 caps)
{
    PowerPeer *peer;
    int fd;

    power_peer_wait_fd(listen_fd);
    fd = accept(listen_fd, NULL, NULL);
    g_assert_cmpint(fd, >=, 0);
    peer = power_peer_new(fd);
    power_peer_link(peer, caps | POWER_PEER_CAP(SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE) |
                          POWER_PEER_CAP(SPICE_MAIN_CAP_SEAMLESS_MIGRATE),
                    SPICE_LINK_ERR_OK);
    return peer;
}

/* How the connection moves to another server */
typedef struct {
    gboolean seamless;
    gboolean unconnected; /* there is a channel that the application doesn't connect */
} Migration;

static void send_migrate_begin(PowerPeer *peer, guint16 port, gboolean seamless)
{
    static const gchar host[] = "127.0.0.1";
    struct SPICE_ATTR_PACKED {
        guint16 port, sport;
        guint32 host_size, host_data, cert_subject_size, cert_subject_data;
    } info = {
        .port = GUINT16_TO_LE(port),
        .host_size = GUINT32_TO_LE(sizeof(host)),
    };
    guint32 src_mig_version = 0;
    gsize size = sizeof(info) + (seamless ? sizeof(src_mig_version) : 0);
    GByteArray *msg = g_byte_array_new();

    info.host_data = GUINT32_TO_LE(size);
    g_byte_array_append(msg, (const guint8 *)&info, sizeof(info));
    if (seamless)
        g_byte_array_append(msg, (const guint8 *)&src_mig_version, sizeof(src_mig_version));
    g_byte_array_append(msg, (const guint8 *)host, sizeof(host));
    power_peer_send(peer, seamless ? SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS : SPICE_MSG_MAIN_MIGRATE_BEGIN,
                    msg->data, msg->len);
    g_byte_array_unref(msg);
}

/* The connection moves to another server, which has these capabilities */
static void migrate(Fixture *f, guint32 caps, gboolean seamless)
{
    guint32 flags = GUINT32_TO_LE(SPICE_MIGRATE_NEED_FLUSH | SPICE_MIGRATE_NEED_DATA_TRANSFER);
    Call call;
    PowerPeer *target;
    guint16 port;
    int fd;

    fd = listen_tcp(&port);
    send_migrate_begin(f->peer, port, seamless);
    target = accept_tcp(fd, caps);
    close(fd);

    if (seamless) {
        g_bytes_unref(power_peer_recv(target, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS));
        power_peer_send(target, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, NULL, 0);
        g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS));
        power_peer_send(f->peer, SPICE_MSG_MIGRATE, &flags, sizeof(flags));
        g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MIGRATE_FLUSH_MARK));
        /* the source isn't told about this any more, nor is the other server */
        call_start(&call, f, SPICE_POWER_ACTION_PAUSE, NULL);
        power_peer_send(f->peer, SPICE_MSG_MIGRATE_DATA, "data", 4);
        g_bytes_unref(power_peer_recv(target, SPICE_MSGC_MIGRATE_DATA));
        call_assert_error(&call, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    } else {
        g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_MIGRATE_CONNECTED));
        power_peer_send(f->peer, SPICE_MSG_MAIN_MIGRATE_END, NULL, 0);
        g_bytes_unref(power_peer_recv(target, SPICE_MSGC_MAIN_MIGRATE_END));
        power_peer_send_init(target);
    }
    power_peer_assert_nothing_sent(target);
    /* it has left the source */
    power_peer_assert_closed(f->peer);
    power_peer_free(f->peer);
    f->peer = target;
}

static void test_migration(Fixture *f, gconstpointer data)
{
    const Migration *m = data;
    Call first, second;
    gchar *uri;
    guint16 port;
    guint32 id, next;
    int fd;

    fd = listen_tcp(&port);
    uri = g_strdup_printf("spice://127.0.0.1:%u", port);
    g_object_set(f->session, "uri", uri, NULL);
    g_assert_true(spice_session_connect(f->session));
    f->peer = accept_tcp(fd, POWER_PEER_ALL_CAPS);
    close(fd);
    g_free(uri);
    if (m->unconnected)
        spice_channel_new(f->session, SPICE_CHANNEL_INPUTS, 0);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_OFF);
    wait_notified(f, "allowed actions state ");

    /* no result comes any more, not even for what wasn't sent */
    call_start(&first, f, SPICE_POWER_ACTION_RESET, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    migrate(f, POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL) |
               POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_ON), m->seamless);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);

    /* the other server's capabilities, and the same machine's state, unless
     * everything starts anew */
    wait_notified(f, "allowed actions state ");
    g_assert_cmphex(get_allowed(f), ==, m->seamless ? SPICE_POWER_ACTION_ON : 0);
    g_assert_cmphex(get_actions(f), ==, 0);
    g_assert_cmpuint(get_state(f), ==,
                     m->seamless ? SPICE_POWER_STATE_ON : SPICE_POWER_STATE_UNKNOWN);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_ON);
    wait_notified(f, m->seamless ? "actions state " : "allowed actions state ");

    call_start(&first, f, SPICE_POWER_ACTION_ON, NULL);
    next = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    g_assert_cmpuint(next, !=, id);
    power_peer_send_result(f->peer, next, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&first);

    /* to a server without power control */
    migrate(f, 0, m->seamless);
    wait_notified(f, "allowed actions state ");
    g_assert_cmphex(get_allowed(f), ==, 0);
    g_assert_cmphex(get_actions(f), ==, 0);
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_UNKNOWN);
    call_start(&first, f, SPICE_POWER_ACTION_ON, NULL);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_UNSUPPORTED);
    power_peer_assert_nothing_sent(f->peer);
}

/* a session for power control only, with a server that has these capabilities */
static void f_setup_control(Fixture *f, gconstpointer data)
{
    f->notified = g_string_new(NULL);
    f->last_event = SPICE_CHANNEL_NONE;
    f->session = spice_session_new();
    g_object_set(f->session, "control-only", TRUE, NULL);
    g_signal_connect(f->session, "channel-new", G_CALLBACK(channel_new), f);
    spice_channel_new(f->session, SPICE_CHANNEL_MAIN, 0);
    g_assert_nonnull(f->main);
    g_object_ref(f->main);
    g_signal_connect(f->main, "channel-event", G_CALLBACK(channel_event), f);
    g_signal_connect(f->main, "notify", G_CALLBACK(power_notified), f);
}

static void control_open(Fixture *f)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_true(spice_session_open_fd(f->session, fds[0]));
    f->peer = power_peer_new(fds[1]);
}

static void test_control_only(Fixture *f, gconstpointer data)
{
    gboolean control_only;
    Call call;

    g_object_get(f->session, "control-only", &control_only, NULL);
    g_assert_true(control_only);
    control_open(f);
    g_assert_cmphex(power_peer_link(f->peer, POWER_PEER_ALL_CAPS |
                                    POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY),
                                    SPICE_LINK_ERR_OK) &
                    POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY), !=, 0);
    wait_event(f, SPICE_CHANNEL_OPENED);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    wait_notified(f, "allowed actions state ");
    call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
    power_peer_send_result(f->peer,
                           power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET),
                           SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&call);
}

/* the error that comes with the end of the channel */
static void wait_error(SpiceChannel *channel, SpiceChannelEvent event, gpointer data)
{
    GError **error = data;

    if (spice_channel_get_error(channel) && *error == NULL)
        *error = g_error_copy(spice_channel_get_error(channel));
}

/* It leaves before it could take anybody's place */
static void test_control_only_refused(Fixture *f, gconstpointer data)
{
    GError *error = NULL;

    g_signal_connect(f->main, "channel-event", G_CALLBACK(wait_error), &error);
    control_open(f);
    power_peer_link_refused(f->peer, POWER_PEER_ALL_CAPS);
    wait_event(f, SPICE_CHANNEL_ERROR_LINK);
    g_assert_error(error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_CONTROL_ONLY);
    g_clear_error(&error);
    g_clear_pointer(&f->peer, power_peer_free);

    f->last_event = SPICE_CHANNEL_NONE;
    control_open(f);
    power_peer_link_refused(f->peer, 0);
    wait_event(f, SPICE_CHANNEL_ERROR_LINK);
    g_assert_error(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    g_clear_pointer(&f->peer, power_peer_free);

    /* no room */
    f->last_event = SPICE_CHANNEL_NONE;
    control_open(f);
    power_peer_link(f->peer, POWER_PEER_ALL_CAPS | POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY),
                    SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
    wait_event(f, SPICE_CHANNEL_ERROR_LINK);
    g_assert_error(error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_CONTROL_ONLY);
    g_clear_error(&error);

    /* an ordinary one does not care */
    g_clear_pointer(&f->peer, power_peer_free);
    g_object_set(f->session, "control-only", FALSE, NULL);
    control_open(f);
    power_peer_link(f->peer, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    wait_event(f, SPICE_CHANNEL_OPENED);
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

/* The server says why it is going to disconnect this client, or not */
static void test_disconnect_reason(Fixture *f, gconstpointer data)
{
    static const struct {
        guint32 reason;
        gint code; /* -1: no error */
    } reasons[] = {
        { SPICE_LINK_ERR_REPLACED, SPICE_CLIENT_ERROR_REPLACED },
        { SPICE_LINK_ERR_PERMISSION_DENIED, SPICE_CLIENT_ERROR_FAILED },
        { SPICE_LINK_ERR_OK, -1 },
        { SPICE_LINK_ERR_ENUM_END, -1 },
        { 0xffffffff, -1 },
    };
    GError *error = NULL;
    int i;

    g_signal_connect(f->main, "channel-event", G_CALLBACK(wait_error), &error);
    for (i = 0; i < G_N_ELEMENTS(reasons); i++) {
        const guint32 body[] = { 0, 0, GUINT32_TO_LE(reasons[i].reason) };

        f_link(f, POWER_PEER_ALL_CAPS);
        power_peer_send(f->peer, SPICE_MSG_DISCONNECTING, body, sizeof(body));
        /* the first one counts */
        power_peer_send(f->peer, SPICE_MSG_DISCONNECTING, body, sizeof(body));
        g_clear_pointer(&f->peer, power_peer_free);
        wait_event(f, SPICE_CHANNEL_CLOSED);
        if (reasons[i].code == -1)
            g_assert_no_error(error);
        else
            g_assert_error(error, SPICE_CLIENT_ERROR, reasons[i].code);
        g_clear_error(&error);
        /* not told again with the next connection */
        g_assert_null(spice_channel_get_error(SPICE_CHANNEL(f->main)));
        f->last_event = SPICE_CHANNEL_NONE;
    }
}

#define TEST(path, setup, func) \
    g_test_add("/power/" path, Fixture, NULL, setup, func, f_teardown)

int main(int argc, char *argv[])
{
    static const Migration migrations[] = {
        { TRUE, FALSE }, { TRUE, TRUE }, { FALSE, FALSE }, { FALSE, TRUE },
    };
    int i;

    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/power/types", test_types);
    TEST("state", f_setup, test_state);
    TEST("state/invalid", f_setup, test_state_invalid);
    TEST("state/first", f_setup_unlinked, test_state_first);
    TEST("allowed", f_setup_unlinked, test_allowed);
    TEST("actions", f_setup, test_actions);
    TEST("state-before-result", f_setup, test_state_before_result);
    TEST("results", f_setup, test_results);
    TEST("bad-messages", f_setup, test_bad_messages);
    TEST("bad-bodies", f_setup, test_bad_bodies);
    TEST("bad-switch-host", f_setup, test_bad_switch_host);
    TEST("bad-size", f_setup, test_bad_size);
    TEST("unknown-id", f_setup, test_unknown_id);
    TEST("queue", f_setup, test_queue);
    TEST("cancel/before", f_setup, test_cancel_before);
    TEST("cancel/queued", f_setup, test_cancel_queued);
    TEST("cancel/sent", f_setup, test_cancel_sent);
    TEST("cancel/late", f_setup, test_cancel_late);
    TEST("disconnect/server", f_setup, test_disconnect);
    TEST("disconnect/after-result", f_setup, test_result_then_disconnect);
    TEST("disconnect/after-ping", f_setup, test_ping_then_disconnect);
    TEST("disconnect/client", f_setup, test_client_disconnect);
    TEST("disconnect/session", f_setup, test_session_disconnect);
    TEST("reconnect", f_setup, test_reconnect);
    TEST("unsupported", f_setup_unlinked, test_unsupported);
    TEST("not-configured", f_setup_unlinked, test_not_configured);
    TEST("read-only", f_setup, test_read_only);
    TEST("not-connected", f_setup_unlinked, test_not_connected);
    TEST("callback", f_setup, test_callback);
    TEST("control-only", f_setup_control, test_control_only);
    TEST("control-only/refused", f_setup_control, test_control_only_refused);
    TEST("disconnect/reason", f_setup_unlinked, test_disconnect_reason);
    TEST("switch-host/without", f_setup, test_switch_host_without);
    for (i = 0; i < G_N_ELEMENTS(migrations); i++) {
        gchar *path = g_strdup_printf("/power/migration/%s%s",
                                      migrations[i].seamless ? "seamless" : "semi-seamless",
                                      migrations[i].unconnected ? "-unconnected" : "");

        g_test_add(path, Fixture, &migrations[i], f_setup_unlinked, test_migration, f_teardown);
        g_free(path);
    }

    return g_test_run();
}
