/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <sys/socket.h>

#include "power-fixture.h"

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

void wait_event(Fixture *f, SpiceChannelEvent event)
{
    while (f->last_event != event)
        g_main_context_iteration(NULL, TRUE);
}

void wait_notified(Fixture *f, const gchar *notified)
{
    while (f->notified->len < strlen(notified))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(f->notified->str, ==, notified);
    g_string_truncate(f->notified, 0);
}

SpicePowerState get_state(Fixture *f)
{
    SpicePowerState state;

    g_object_get(f->main, "power-state", &state, NULL);
    return state;
}

SpicePowerAction get_actions(Fixture *f)
{
    SpicePowerAction actions;

    g_object_get(f->main, "power-actions", &actions, NULL);
    return actions;
}

SpicePowerAction get_allowed(Fixture *f)
{
    SpicePowerAction actions;

    g_object_get(f->main, "power-allowed", &actions, NULL);
    return actions;
}

void f_link(Fixture *f, guint32 caps)
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

static void setup_session(Fixture *f, gboolean control_only)
{
    f->notified = g_string_new(NULL);
    f->last_event = SPICE_CHANNEL_NONE;
    f->session = spice_session_new();
    g_object_set(f->session, "control-only", control_only, NULL);
    g_signal_connect(f->session, "channel-new", G_CALLBACK(channel_new), f);
    spice_channel_new(f->session, SPICE_CHANNEL_MAIN, 0);
    g_assert_nonnull(f->main);
    g_object_ref(f->main);
    g_signal_connect(f->main, "channel-event", G_CALLBACK(channel_event), f);
    g_signal_connect(f->main, "notify", G_CALLBACK(power_notified), f);
}

void f_setup_unlinked(Fixture *f, gconstpointer data)
{
    setup_session(f, FALSE);
}

void f_setup_control(Fixture *f, gconstpointer data)
{
    setup_session(f, TRUE);
}

void f_setup(Fixture *f, gconstpointer data)
{
    f_setup_unlinked(f, data);
    f_link(f, POWER_PEER_ALL_CAPS);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON,
                          SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
                          SPICE_POWER_ACTION_PAUSE);
    wait_notified(f, "allowed actions state ");
}

void f_teardown(Fixture *f, gconstpointer data)
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

void call_done(GObject *source, GAsyncResult *result, gpointer data)
{
    Call *call = data;

    g_assert_false(call->done);
    g_assert_true(source == G_OBJECT(call->f->main));
    call->ok = spice_main_channel_power_finish(call->f->main, result, &call->error);
    g_assert_true(call->ok == (call->error == NULL));
    call->state = get_state(call->f);
    call->done = TRUE;
}

void call_start(Call *call, Fixture *f, SpicePowerAction action, GCancellable *cancellable)
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

void call_assert_ok(Call *call)
{
    call_wait(call);
    g_assert_no_error(call->error);
}

void call_assert_error(Call *call, GQuark domain, gint code)
{
    call_wait(call);
    g_assert_error(call->error, domain, code);
    g_clear_error(&call->error);
}

void call_assert_message(Call *call, SpicePowerError code, const gchar *message)
{
    call_wait(call);
    g_assert_error(call->error, SPICE_POWER_ERROR, code);
    g_assert_cmpstr(call->error->message, ==, message);
    g_clear_error(&call->error);
}
