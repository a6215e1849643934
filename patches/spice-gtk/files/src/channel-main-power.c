/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the main channel does for power control; half of it is the documentation of
 * the public functions and properties. */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-client.h"
#include "spice-common.h"
#include "gio-coroutine.h"

#include "channel-main-power-priv.h"

/**
 * SECTION:channel-main-power
 * @short_description: power control of the machine
 * @title: Power Control
 * @section_id:
 * @see_also: #SpiceMainChannel
 * @stability: Stable
 * @include: spice-client.h
 *
 * A server may let its clients reset, power off, power on, pause and continue
 * the machine. Such a server has the main channel capability
 * SPICE_MAIN_CAP_POWER_CONTROL (see spice_channel_test_capability()).
 *
 * #SpiceMainChannel:power-state is the state the machine is in,
 * #SpiceMainChannel:power-allowed is what this client may ask for, and
 * #SpiceMainChannel:power-actions is what is possible in this state. A user
 * interface shows buttons for the former and enables the latter. They are
 * known shortly after the channel has been opened, and notified then and at
 * each change. spice_main_channel_power_async() requests an action.
 *
 * Since: 0.43
 */

/**
 * SpicePowerState:
 * @SPICE_POWER_STATE_UNKNOWN: not known, also if the server has no power control
 * @SPICE_POWER_STATE_OFF: the machine is off
 * @SPICE_POWER_STATE_ON: the machine is running
 * @SPICE_POWER_STATE_PAUSED: the machine is stopped, and may be continued
 * @SPICE_POWER_STATE_SUSPENDED: the guest has suspended the machine
 * @SPICE_POWER_STATE_CRASHED: the machine can't go on
 *
 * The power state of a machine.
 *
 * Since: 0.43
 */

/**
 * SpicePowerAction:
 * @SPICE_POWER_ACTION_RESET: reset the machine, without the guest's help
 * @SPICE_POWER_ACTION_OFF: power the machine off, without the guest's help
 * @SPICE_POWER_ACTION_ON: power the machine on
 * @SPICE_POWER_ACTION_PAUSE: stop the machine
 * @SPICE_POWER_ACTION_CONTINUE: let the stopped machine run on
 *
 * Actions on the power of a machine.
 *
 * Since: 0.43
 */

/* The most that a result's message may have, in bytes */
#define POWER_MESSAGE_MAX 1024

struct SpiceMainPower {
    SpiceMainChannel *channel; /* the owner */

    gboolean state_received;
    SpicePowerState state;
    guint32 allowed, possible; /* as received */
    gboolean notify_later; /* all properties, from the main context */

    /* The server answers one request at a time: the others wait in the queue.
     * Once sent, a cancelled request's task is gone, but its result is still
     * waited for. */
    SpiceMsgOut *waiting; /* the message that has no result yet */
    guint32 request_id; /* of the last request that was sent */
    GTask *sent;
    GQueue queued;
    gboolean switching; /* to another server, which is to be asked then */
};

/* task data */
typedef struct {
    SpicePowerAction action;
    GSource *cancelled;
    GError *error;
} PowerRequest;

static const struct {
    SpicePowerAction action;
    guint32 capability;
    int msg;
} power_actions[] = {
    { SPICE_POWER_ACTION_RESET, SPICE_MAIN_CAP_POWER_RESET, SPICE_MSGC_MAIN_POWER_RESET },
    { SPICE_POWER_ACTION_OFF, SPICE_MAIN_CAP_POWER_OFF, SPICE_MSGC_MAIN_POWER_OFF },
    { SPICE_POWER_ACTION_ON, SPICE_MAIN_CAP_POWER_ON, SPICE_MSGC_MAIN_POWER_ON },
    { SPICE_POWER_ACTION_PAUSE, SPICE_MAIN_CAP_POWER_PAUSE, SPICE_MSGC_MAIN_POWER_PAUSE },
    { SPICE_POWER_ACTION_CONTINUE, SPICE_MAIN_CAP_POWER_CONTINUE, SPICE_MSGC_MAIN_POWER_CONTINUE },
};

G_DEFINE_QUARK(spice-power-error-quark, spice_power_error)

/* The protocol has the C types. These make them usable for properties and
 * for language bindings. */
GType spice_power_state_get_type(void)
{
    static gsize type;
    static const GEnumValue values[] = {
        { SPICE_POWER_STATE_UNKNOWN, "SPICE_POWER_STATE_UNKNOWN", "unknown" },
        { SPICE_POWER_STATE_OFF, "SPICE_POWER_STATE_OFF", "off" },
        { SPICE_POWER_STATE_ON, "SPICE_POWER_STATE_ON", "on" },
        { SPICE_POWER_STATE_PAUSED, "SPICE_POWER_STATE_PAUSED", "paused" },
        { SPICE_POWER_STATE_SUSPENDED, "SPICE_POWER_STATE_SUSPENDED", "suspended" },
        { SPICE_POWER_STATE_CRASHED, "SPICE_POWER_STATE_CRASHED", "crashed" },
        { 0, NULL, NULL }
    };

    if (g_once_init_enter(&type)) {
        g_once_init_leave(&type, g_enum_register_static("SpicePowerState", values));
    }
    return type;
}

GType spice_power_action_get_type(void)
{
    static gsize type;
    static const GFlagsValue values[] = {
        { SPICE_POWER_ACTION_RESET, "SPICE_POWER_ACTION_RESET", "reset" },
        { SPICE_POWER_ACTION_OFF, "SPICE_POWER_ACTION_OFF", "off" },
        { SPICE_POWER_ACTION_ON, "SPICE_POWER_ACTION_ON", "on" },
        { SPICE_POWER_ACTION_PAUSE, "SPICE_POWER_ACTION_PAUSE", "pause" },
        { SPICE_POWER_ACTION_CONTINUE, "SPICE_POWER_ACTION_CONTINUE", "continue" },
        { 0, NULL, NULL }
    };

    if (g_once_init_enter(&type)) {
        g_once_init_leave(&type, g_flags_register_static("SpicePowerAction", values));
    }
    return type;
}

G_GNUC_INTERNAL
void spice_main_power_install_properties(GObjectClass *klass, guint property_id)
{
    /**
     * SpiceMainChannel:power-state:
     *
     * The power state of the machine, %SPICE_POWER_STATE_UNKNOWN while the
     * server has not told it or if it has no power control. It is notified
     * when the server tells it for the first time, and when it changes.
     *
     * Since: 0.43
     **/
    g_object_class_install_property
        (klass, property_id,
         g_param_spec_enum("power-state",
                           "Power state",
                           "The power state of the machine",
                           SPICE_TYPE_POWER_STATE,
                           SPICE_POWER_STATE_UNKNOWN,
                           G_PARAM_READABLE |
                           G_PARAM_STATIC_STRINGS));

    /**
     * SpiceMainChannel:power-actions:
     *
     * The actions that are possible in the current
     * #SpiceMainChannel:power-state, out of #SpiceMainChannel:power-allowed.
     * It is notified as the state is.
     *
     * Since: 0.43
     **/
    g_object_class_install_property
        (klass, property_id + 1,
         g_param_spec_flags("power-actions",
                            "Power actions",
                            "The power actions that are possible now",
                            SPICE_TYPE_POWER_ACTION,
                            0,
                            G_PARAM_READABLE |
                            G_PARAM_STATIC_STRINGS));

    /**
     * SpiceMainChannel:power-allowed:
     *
     * The actions that the server lets this client ask for, whether they are
     * possible now or not. It is notified as #SpiceMainChannel:power-state is,
     * and can change while the channel is open.
     *
     * Since: 0.43
     **/
    g_object_class_install_property
        (klass, property_id + 2,
         g_param_spec_flags("power-allowed",
                            "Allowed power actions",
                            "The power actions that this client may ask for",
                            SPICE_TYPE_POWER_ACTION,
                            0,
                            G_PARAM_READABLE |
                            G_PARAM_STATIC_STRINGS));
}

static void power_request_free(gpointer data)
{
    PowerRequest *request = data;

    g_assert(request->cancelled == NULL);
    g_clear_error(&request->error);
    g_free(request);
}

/* main context */
static gboolean power_request_return(gpointer data)
{
    GTask *task = data;
    PowerRequest *request = g_task_get_task_data(task);

    if (request->error)
        g_task_return_error(task, g_steal_pointer(&request->error));
    else
        g_task_return_boolean(task, TRUE);

    return G_SOURCE_REMOVE;
}

/* any context: take the task and the error, and let the caller know, from the
 * main context */
static void power_request_complete(GTask *task, GError *error)
{
    PowerRequest *request = g_task_get_task_data(task);

    if (request->cancelled) {
        g_source_destroy(request->cancelled);
        g_clear_pointer(&request->cancelled, g_source_unref);
    }
    request->error = error;
    /* not behind all the redrawing of a busy display: somebody waits for it */
    g_idle_add_full(G_PRIORITY_DEFAULT, power_request_return, task, g_object_unref);
}

/* main context */
static gboolean power_request_cancelled(GCancellable *cancellable, gpointer data)
{
    GTask *task = data;
    SpiceMainPower *power = spice_main_channel_get_power(g_task_get_source_object(task));
    GError *error = NULL;

    if (power->sent == task)
        power->sent = NULL;
    else
        g_queue_remove(&power->queued, task);

    g_cancellable_set_error_if_cancelled(cancellable, &error);
    power_request_complete(task, error);

    return G_SOURCE_REMOVE;
}

static GError *power_not_sent_error(void)
{
    return g_error_new_literal(SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT,
                               _("The connection ended before the request"));
}

/* any context: the results of all requests will never come */
static void power_requests_fail(SpiceMainPower *power)
{
    GTask *task;

    g_clear_pointer(&power->waiting, spice_msg_out_unref);
    if (power->sent)
        power_request_complete(g_steal_pointer(&power->sent),
                               g_error_new_literal(SPICE_POWER_ERROR,
                                                   SPICE_POWER_ERROR_OUTCOME_UNKNOWN,
                                                   _("The connection ended before the result")));

    while ((task = g_queue_pop_head(&power->queued)) != NULL)
        power_request_complete(task, power_not_sent_error());
}

/* any context */
static gboolean power_check(SpiceMainPower *power, GError **error)
{
    SpiceChannel *channel = SPICE_CHANNEL(power->channel);

    if (spice_channel_get_state(channel) == SPICE_CHANNEL_STATE_MIGRATING) {
        g_set_error_literal(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT,
                            _("The machine is moving to another server"));
        return FALSE;
    }
    if (spice_channel_get_state(channel) != SPICE_CHANNEL_STATE_READY ||
        channel->priv->has_error) {
        g_set_error_literal(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT,
                            _("There is no connection to the server"));
        return FALSE;
    }
    if (spice_channel_get_read_only(channel)) {
        g_set_error_literal(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED,
                            _("The session is read-only"));
        return FALSE;
    }
    if (!spice_channel_test_capability(channel, SPICE_MAIN_CAP_POWER_CONTROL)) {
        g_set_error_literal(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_UNSUPPORTED,
                            _("The server has no power control"));
        return FALSE;
    }
    return TRUE;
}

static int power_action_to_msg(SpicePowerAction action)
{
    int i;

    for (i = 0; i < G_N_ELEMENTS(power_actions); i++) {
        if (power_actions[i].action == action)
            return power_actions[i].msg;
    }
    return -1;
}

/* any context */
static void power_send_next(SpiceMainPower *power)
{
    GTask *task;

    while (!power->waiting && !power->switching &&
           (task = g_queue_pop_head(&power->queued)) != NULL) {
        PowerRequest *request = g_task_get_task_data(task);
        SpiceMsgcMainPowerRequest msg;
        SpiceMsgOut *out;
        GError *error = NULL;

        if (!power_check(power, &error)) {
            power_request_complete(task, error);
            continue;
        }

        power->sent = task;
        msg.request_id = ++power->request_id;
        CHANNEL_DEBUG(power->channel, "power request %u: action 0x%x",
                      msg.request_id, request->action);

        out = spice_msg_out_new(SPICE_CHANNEL(power->channel),
                                power_action_to_msg(request->action));
        out->marshallers->msg_SpiceMsgPowerRequest(out->marshaller, &msg);
        spice_msg_out_ref(out);
        power->waiting = out;
        spice_msg_out_send(out);
    }
}

/* any context: take back what was not written yet */
static void power_unsend(SpiceMainPower *power)
{
    SpiceChannelPrivate *c = SPICE_CHANNEL(power->channel)->priv;
    gboolean removed;

    g_mutex_lock(&c->xmit_queue_lock);
    removed = g_queue_remove(&c->xmit_queue, power->waiting);
    g_mutex_unlock(&c->xmit_queue_lock);
    if (!removed)
        return;
    spice_msg_out_unref(power->waiting);
    if (power->sent)
        power_request_complete(g_steal_pointer(&power->sent), power_not_sent_error());
}

/* main context */
static gboolean power_notify_main_context(gpointer data)
{
    GObject *channel = data;

    spice_main_channel_get_power(SPICE_MAIN_CHANNEL(channel))->notify_later = FALSE;
    g_object_notify(channel, "power-allowed");
    g_object_notify(channel, "power-actions");
    g_object_notify(channel, "power-state");

    return G_SOURCE_REMOVE;
}

/* any context: unlike g_coroutine_object_notify() it doesn't switch to the
 * main context, as it's called in the middle of a reset or a migration */
static void power_notify_later(SpiceMainPower *power)
{
    if (power->notify_later)
        return;
    power->notify_later = TRUE;
    g_idle_add_full(G_PRIORITY_DEFAULT_IDLE, power_notify_main_context,
                    g_object_ref(power->channel), g_object_unref);
}

G_GNUC_INTERNAL
SpiceMainPower *spice_main_power_new(SpiceMainChannel *channel)
{
    SpiceMainPower *power = g_new0(SpiceMainPower, 1);

    power->channel = channel;
    power->state = SPICE_POWER_STATE_UNKNOWN;
    g_queue_init(&power->queued);

    return power;
}

G_GNUC_INTERNAL
void spice_main_power_free(SpiceMainPower *power)
{
    /* each task has a reference on the channel */
    g_assert(power->sent == NULL);
    g_assert(g_queue_is_empty(&power->queued));

    g_clear_pointer(&power->waiting, spice_msg_out_unref);
    g_free(power);
}

static gboolean power_has_control(SpiceMainPower *power)
{
    return spice_channel_test_capability(SPICE_CHANNEL(power->channel),
                                         SPICE_MAIN_CAP_POWER_CONTROL);
}

G_GNUC_INTERNAL
SpicePowerState spice_main_power_get_state(SpiceMainPower *power)
{
    return power_has_control(power) ? power->state : SPICE_POWER_STATE_UNKNOWN;
}

/* whatever it says, a server carries out no other ones */
static guint32 power_get_configured(SpiceMainPower *power)
{
    guint32 actions = 0;
    int i;

    if (!power_has_control(power))
        return 0;

    for (i = 0; i < G_N_ELEMENTS(power_actions); i++) {
        if (spice_channel_test_capability(SPICE_CHANNEL(power->channel),
                                          power_actions[i].capability))
            actions |= power_actions[i].action;
    }
    return actions;
}

G_GNUC_INTERNAL
SpicePowerAction spice_main_power_get_allowed(SpiceMainPower *power)
{
    return power->allowed & power_get_configured(power);
}

G_GNUC_INTERNAL
SpicePowerAction spice_main_power_get_actions(SpiceMainPower *power)
{
    return power->possible & spice_main_power_get_allowed(power);
}

/* coroutine context */
G_GNUC_INTERNAL
void spice_main_power_handle_state(SpiceChannel *channel, SpiceMsgIn *in)
{
    SpiceMainPower *power = spice_main_channel_get_power(SPICE_MAIN_CHANNEL(channel));
    SpiceMsgMainPowerState *msg = spice_msg_in_parsed(in);
    SpicePowerState old_state = power->state;
    SpicePowerAction old_allowed = spice_main_power_get_allowed(power);
    SpicePowerAction old_actions = spice_main_power_get_actions(power);
    gboolean first = !power->state_received;

    CHANNEL_DEBUG(channel, "power state %u, allowed 0x%x, possible 0x%x",
                  msg->state, msg->allowed, msg->possible);

    /* set all before the first notification */
    power->state_received = TRUE;
    power->state = msg->state < SPICE_POWER_STATE_ENUM_END ? msg->state : SPICE_POWER_STATE_UNKNOWN;
    power->allowed = msg->allowed;
    power->possible = msg->possible;

    if (first || old_allowed != spice_main_power_get_allowed(power))
        g_coroutine_object_notify(G_OBJECT(channel), "power-allowed");
    if (first || old_actions != spice_main_power_get_actions(power))
        g_coroutine_object_notify(G_OBJECT(channel), "power-actions");
    if (first || old_state != power->state)
        g_coroutine_object_notify(G_OBJECT(channel), "power-state");
}

static GError *power_result_to_error(const SpiceMsgMainPowerResult *msg)
{
    const gchar *text = (const gchar *)msg->message;
    const gchar *fallback;
    SpicePowerError code;

    switch (msg->result) {
    case SPICE_POWER_RESULT_OK:
        return NULL;
    case SPICE_POWER_RESULT_DENIED:
        code = SPICE_POWER_ERROR_DENIED;
        fallback = _("The server does not allow this action");
        break;
    case SPICE_POWER_RESULT_WRONG_STATE:
        code = SPICE_POWER_ERROR_WRONG_STATE;
        fallback = _("The action is not possible in the current state");
        break;
    case SPICE_POWER_RESULT_BUSY:
        code = SPICE_POWER_ERROR_BUSY;
        fallback = _("Another request is being carried out");
        break;
    case SPICE_POWER_RESULT_UNSUPPORTED:
        code = SPICE_POWER_ERROR_UNSUPPORTED;
        fallback = _("The machine does not support this action");
        break;
    case SPICE_POWER_RESULT_FAILED:
        code = SPICE_POWER_ERROR_FAILED;
        fallback = _("The action failed");
        break;
    default:
        code = SPICE_POWER_ERROR_FAILED;
        fallback = _("The server sent an unknown result");
        break;
    }

    /* a zero byte in the message isn't valid either */
    if (msg->message_len == 0 || msg->message_len > POWER_MESSAGE_MAX ||
        !g_utf8_validate(text, msg->message_len, NULL))
        return g_error_new_literal(SPICE_POWER_ERROR, code, fallback);

    return g_error_new(SPICE_POWER_ERROR, code, "%.*s", (int)msg->message_len, text);
}

/* coroutine context */
G_GNUC_INTERNAL
void spice_main_power_handle_result(SpiceChannel *channel, SpiceMsgIn *in)
{
    SpiceMainPower *power = spice_main_channel_get_power(SPICE_MAIN_CHANNEL(channel));
    SpiceMsgMainPowerResult *msg = spice_msg_in_parsed(in);

    CHANNEL_DEBUG(channel, "power request %u: result %u", msg->request_id, msg->result);

    if (!power->waiting || msg->request_id != power->request_id) {
        CHANNEL_DEBUG(channel, "ignoring the result of an unknown power request");
        return;
    }

    g_clear_pointer(&power->waiting, spice_msg_out_unref);
    if (power->sent)
        power_request_complete(g_steal_pointer(&power->sent), power_result_to_error(msg));

    power_send_next(power);
}

/* any context */
G_GNUC_INTERNAL
void spice_main_power_reset(SpiceMainPower *power)
{
    if (power->switching)
        g_clear_pointer(&power->waiting, spice_msg_out_unref);
    else
        power_requests_fail(power);

    if (power->state_received) {
        power->state_received = FALSE;
        power->state = SPICE_POWER_STATE_UNKNOWN;
        power->allowed = 0;
        power->possible = 0;
        power_notify_later(power);
    }
}

/* coroutine context: what the server has not answered by now, it has not begun */
G_GNUC_INTERNAL
void spice_main_power_switch(SpiceMainPower *power)
{
    power->switching = TRUE;
    if (power->sent)
        g_queue_push_head(&power->queued, g_steal_pointer(&power->sent));
}

/* coroutine context */
G_GNUC_INTERNAL
void spice_main_power_switched(SpiceMainPower *power)
{
    power->switching = FALSE;
    power_send_next(power);
}

/* main context */
G_GNUC_INTERNAL
void spice_main_power_give_up(SpiceMainPower *power)
{
    power->switching = FALSE;
    power_requests_fail(power);
}

/* any context */
G_GNUC_INTERNAL
void spice_main_power_swapped(SpiceMainPower *power)
{
    /* the other server doesn't know about them, and must not be asked either:
     * what was not written yet would go there now */
    if (power->waiting)
        power_unsend(power);
    power_requests_fail(power);

    /* the capabilities are the other server's now */
    power_notify_later(power);
}

/**
 * spice_main_channel_power_async:
 * @channel: a #SpiceMainChannel
 * @action: the action to request, exactly one
 * @cancellable: (allow-none): optional #GCancellable object, %NULL to ignore
 * @callback: (scope async): a #GAsyncReadyCallback to call when the result is known
 * @user_data: (closure): the data to pass to callback function
 *
 * Requests a power action from the server. When @callback is called, the
 * server has carried the action out or refused it; get the result with
 * spice_main_channel_power_finish(). #SpiceMainChannel:power-state shows the
 * effect of the action by then.
 *
 * A server takes one request at a time. If there are several, each is sent
 * when the result of the one before has come.
 *
 * When @cancellable is cancelled, the request ends with %G_IO_ERROR_CANCELLED.
 * If it was already sent, this does not keep the server from carrying it out.
 *
 * Since: 0.43
 **/
void spice_main_channel_power_async(SpiceMainChannel *channel,
                                    SpicePowerAction action,
                                    GCancellable *cancellable,
                                    GAsyncReadyCallback callback,
                                    gpointer user_data)
{
    SpiceMainPower *power;
    PowerRequest *request;
    GError *error = NULL;
    GTask *task;

    g_return_if_fail(SPICE_IS_MAIN_CHANNEL(channel));
    g_return_if_fail(power_action_to_msg(action) != -1);
    g_return_if_fail(cancellable == NULL || G_IS_CANCELLABLE(cancellable));

    power = spice_main_channel_get_power(channel);

    task = g_task_new(channel, cancellable, callback, user_data);
    g_task_set_source_tag(task, spice_main_channel_power_async);
    /* a result that came before the cancellation is more useful than that */
    g_task_set_check_cancellable(task, FALSE);

    if (g_cancellable_set_error_if_cancelled(cancellable, &error) ||
        !power_check(power, &error)) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }

    request = g_new0(PowerRequest, 1);
    request->action = action;
    g_task_set_task_data(task, request, power_request_free);
    if (cancellable) {
        request->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(request->cancelled, (GSourceFunc)power_request_cancelled, task, NULL);
        g_source_attach(request->cancelled, NULL);
    }

    g_queue_push_tail(&power->queued, task);
    power_send_next(power);
}

/**
 * spice_main_channel_power_finish:
 * @channel: a #SpiceMainChannel
 * @result: a #GAsyncResult
 * @error: a #GError, or %NULL
 *
 * Gets the result of a request made with spice_main_channel_power_async().
 *
 * @error is in the domain %SPICE_POWER_ERROR, unless the request was cancelled.
 * Its message tells why the server refused the action or failed to carry it out,
 * for people to read. If the connection ended, %SPICE_POWER_ERROR_NOT_SENT and
 * %SPICE_POWER_ERROR_OUTCOME_UNKNOWN tell whether something may have been done.
 *
 * Returns: %TRUE if the action was carried out, or if the machine already was
 * in the state it leads to, %FALSE on error.
 *
 * Since: 0.43
 **/
gboolean spice_main_channel_power_finish(SpiceMainChannel *channel,
                                         GAsyncResult *result,
                                         GError **error)
{
    g_return_val_if_fail(SPICE_IS_MAIN_CHANNEL(channel), FALSE);
    g_return_val_if_fail(g_task_is_valid(result, channel), FALSE);
    g_return_val_if_fail(g_async_result_is_tagged(result, spice_main_channel_power_async), FALSE);

    return g_task_propagate_boolean(G_TASK(result), error);
}
