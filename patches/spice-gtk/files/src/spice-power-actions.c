/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a user interface needs for the machine's power, whatever it is made with. A third
 * of it is documentation. */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-client.h"
#include "spice-common.h"
#include "spice-power-actions.h"
#include "spice-power-words.h"

/**
 * SECTION:spice-power-actions
 * @short_description: actions on the machine's power, for a user interface
 * @title: SpicePowerActions
 * @section_id:
 * @see_also: #SpiceMainChannel:power-state, spice_main_channel_power_async()
 * @stability: Stable
 * @include: spice-client.h
 *
 * A #SpicePowerActions object is what a user interface needs to let its user
 * reset, power off, power on, pause and continue the machine, whatever it is
 * made with: actions that are enabled when they are possible, a menu of them,
 * the machine's state in words, what to ask before data may be lost, and what
 * to say when something was not done. A session has one, for all windows.
 *
 * It is an action group. The actions are "reset", "power-off", "power-on",
 * "pause" and "continue", without parameter or state. They are enabled while
 * the server lets this client ask for them, they are possible, and no request
 * is under way. To activate one requests it from the server, except for "reset" and
 * "power-off": with these #SpicePowerActions::confirm is emitted, and
 * the program calls spice_power_actions_request() when its user has said yes.
 * What becomes of a request is told by #SpicePowerActions::done or
 * #SpicePowerActions::failed.
 *
 * With a server that has no power control, and before there is a connection,
 * #SpicePowerActions:available is not set, and the menu is empty.
 *
 * This is all that a window of GTK 4 needs; with GTK 3 there is
 * #SpicePowerControls.
 *
 * |[<!-- language="C" -->
 * static void answered(GObject *dialog, GAsyncResult *result, gpointer actions)
 * {
 *     if (gtk_alert_dialog_choose_finish(GTK_ALERT_DIALOG(dialog), result, NULL) == 1)
 *         spice_power_actions_request(actions, g_object_get_data(dialog, "name"));
 * }
 *
 * static gboolean confirm(SpicePowerActions *actions, const char *name,
 *                         const char *question, const char *details, GtkApplication *app)
 * {
 *     const char *buttons[] = { _("_Cancel"), spice_power_actions_get_label(actions, name), NULL };
 *     GtkAlertDialog *dialog = gtk_alert_dialog_new("%s", question);
 *
 *     g_object_set_data_full(G_OBJECT(dialog), "name", g_strdup(name), g_free);
 *     gtk_alert_dialog_set_detail(dialog, details);
 *     gtk_alert_dialog_set_buttons(dialog, buttons);
 *     gtk_alert_dialog_set_cancel_button(dialog, 0);
 *     gtk_alert_dialog_set_default_button(dialog, 0);
 *     gtk_alert_dialog_choose(dialog, gtk_application_get_active_window(app),
 *                             NULL, answered, actions);
 *     g_object_unref(dialog);
 *     return TRUE;
 * }
 *
 * actions = spice_power_actions_get(session);
 * g_signal_connect(actions, "confirm", G_CALLBACK(confirm), app);
 * gtk_widget_insert_action_group(window, "power", G_ACTION_GROUP(actions));
 * gtk_menu_button_set_menu_model(button, spice_power_actions_get_menu(actions));
 * g_object_bind_property(actions, "status", label, "label", G_BINDING_SYNC_CREATE);
 * ]|
 *
 * A program whose last window is closed while a request is under way, or that
 * ends with its session, may want to stay until its outcome is known. It holds
 * its application meanwhile:
 *
 * |[<!-- language="C" -->
 * static void busy_changed(SpicePowerActions *actions, GParamSpec *pspec, GApplication *app)
 * {
 *     gboolean busy;
 *
 *     g_object_get(actions, "busy", &busy, NULL);
 *     if (busy)
 *         g_application_hold(app);
 *     else
 *         g_application_release(app);
 * }
 * ]|
 *
 * #SpicePowerActions::failed comes before #SpicePowerActions:busy is unset, so
 * that its handler can hold the application for as long as its message is read.
 *
 * To be used from the thread of the main context only.
 *
 * Since: 0.43
 */

#define NO_ACTION -1

/* where the menu has a line between its items */
#define MENU_SECTIONS 2
static const int menu_sections[MENU_SECTIONS + 1] = { 0, 2, SPICE_POWER_N_WORDS };

struct _SpicePowerActions {
    GSimpleActionGroup parent_instance;

    SpiceSession *session; /* weak: it owns us */
    SpiceMainChannel *main; /* NULL while there is none */
    GMenu *menu;

    /* as the server tells, and what follows from it */
    gboolean available;
    SpicePowerState state;
    SpicePowerAction allowed; /* none if the session is read-only */
    SpicePowerAction possible;
    gchar *status;

    int pending; /* index of the action that we wait for, or NO_ACTION */
    gboolean busy;
    gchar *reset_time; /* when we have reset the machine, in its current state */
};

G_DEFINE_TYPE(SpicePowerActions, spice_power_actions, G_TYPE_SIMPLE_ACTION_GROUP)

enum {
    PROP_0,
    PROP_SESSION,
    PROP_AVAILABLE,
    PROP_STATE,
    PROP_ALLOWED,
    PROP_POSSIBLE,
    PROP_STATUS,
    PROP_BUSY,
    N_PROPERTIES
};

static GParamSpec *properties[N_PROPERTIES];

enum {
    SIGNAL_CONFIRM,
    SIGNAL_DONE,
    SIGNAL_FAILED,
    N_SIGNALS
};

static guint signals[N_SIGNALS];

static int find_action(const char *name)
{
    int i;

    for (i = 0; i < SPICE_POWER_N_WORDS; i++) {
        if (g_str_equal(spice_power_words[i].name, name))
            return i;
    }
    return NO_ACTION;
}

/* what powering on is for a machine that sleeps */
static gboolean wakes_up(SpicePowerActions *self, int i)
{
    return self->state == SPICE_POWER_STATE_SUSPENDED &&
           spice_power_words[i].action == SPICE_POWER_ACTION_ON;
}

static const char *action_label(SpicePowerActions *self, int i)
{
    return wakes_up(self, i) ? _("_Wake Up") : _(spice_power_words[i].label);
}

static gchar *power_status(SpicePowerActions *self)
{
    if (self->pending == NO_ACTION)
        return spice_power_state_to_words(self->state, self->allowed == 0, self->reset_time);
    if (wakes_up(self, self->pending))
        return g_strdup(_("Waking the machine up…"));
    return g_strdup(_(spice_power_words[self->pending].doing));
}

static void fill_menu(SpicePowerActions *self)
{
    int i, j;

    g_menu_remove_all(self->menu);
    for (i = 0; i < MENU_SECTIONS; i++) {
        GMenu *section = g_menu_new();

        for (j = menu_sections[i]; j < menu_sections[i + 1]; j++) {
            if (self->allowed & spice_power_words[j].action) {
                gchar *name = g_strconcat("power.", spice_power_words[j].name, NULL);

                g_menu_append(section, action_label(self, j), name);
                g_free(name);
            }
        }
        if (g_menu_model_get_n_items(G_MENU_MODEL(section)) > 0)
            g_menu_append_section(self->menu, NULL, G_MENU_MODEL(section));
        g_object_unref(section);
    }
}

static void notify_if(SpicePowerActions *self, gboolean changed, int property)
{
    if (changed)
        g_object_notify_by_pspec(G_OBJECT(self), properties[property]);
}

/* Follow the main channel, the session and our own request */
static void update(SpicePowerActions *self)
{
    SpicePowerState state = SPICE_POWER_STATE_UNKNOWN, old_state = self->state;
    SpicePowerAction allowed = 0, old_allowed = self->allowed;
    SpicePowerAction possible = 0, old_possible = self->possible;
    gboolean available, old_available = self->available, read_only = FALSE;
    gchar *status;
    int i;

    available = self->main && spice_channel_test_capability(SPICE_CHANNEL(self->main),
                                                            SPICE_MAIN_CAP_POWER_CONTROL);
    if (available) {
        g_object_get(self->main,
                     "power-state", &state,
                     "power-actions", &possible,
                     "power-allowed", &allowed,
                     NULL);
    }
    if (self->session)
        g_object_get(self->session, "read-only", &read_only, NULL);
    if (read_only)
        allowed = possible = 0;

    /* set all before the first notification */
    self->available = available;
    self->state = state;
    self->allowed = allowed;
    self->possible = possible;
    if (state != old_state)
        g_clear_pointer(&self->reset_time, g_free);
    status = power_status(self);

    g_object_freeze_notify(G_OBJECT(self));
    notify_if(self, available != old_available, PROP_AVAILABLE);
    notify_if(self, state != old_state, PROP_STATE);
    notify_if(self, allowed != old_allowed, PROP_ALLOWED);
    notify_if(self, possible != old_possible, PROP_POSSIBLE);
    notify_if(self, g_strcmp0(status, self->status) != 0, PROP_STATUS);
    g_free(self->status);
    self->status = status;

    if (allowed != old_allowed ||
        (state == SPICE_POWER_STATE_SUSPENDED) != (old_state == SPICE_POWER_STATE_SUSPENDED))
        fill_menu(self);
    for (i = 0; i < SPICE_POWER_N_WORDS; i++) {
        GAction *action = g_action_map_lookup_action(G_ACTION_MAP(self), spice_power_words[i].name);

        g_simple_action_set_enabled(G_SIMPLE_ACTION(action),
                                    self->pending == NO_ACTION &&
                                    (possible & spice_power_words[i].action));
    }
    g_object_thaw_notify(G_OBJECT(self));
}

static void set_main_channel(SpicePowerActions *self, SpiceMainChannel *channel)
{
    if (self->main)
        g_signal_handlers_disconnect_by_func(self->main, update, self);
    g_set_object(&self->main, channel);
    if (channel) {
        spice_g_signal_connect_object(channel, "notify::power-state",
                                      G_CALLBACK(update), self, G_CONNECT_SWAPPED);
        spice_g_signal_connect_object(channel, "notify::power-actions",
                                      G_CALLBACK(update), self, G_CONNECT_SWAPPED);
        spice_g_signal_connect_object(channel, "notify::power-allowed",
                                      G_CALLBACK(update), self, G_CONNECT_SWAPPED);
    }
    update(self);
}

static void channel_new(SpiceSession *session, SpiceChannel *channel, gpointer user_data)
{
    if (SPICE_IS_MAIN_CHANNEL(channel))
        set_main_channel(user_data, SPICE_MAIN_CHANNEL(channel));
}

static void channel_destroy(SpiceSession *session, SpiceChannel *channel, gpointer user_data)
{
    SpicePowerActions *self = user_data;

    if (channel == (SpiceChannel *)self->main)
        set_main_channel(self, NULL);
}

static void update_busy(SpicePowerActions *self)
{
    gboolean old_busy = self->busy;

    self->busy = self->pending != NO_ACTION;
    notify_if(self, self->busy != old_busy, PROP_BUSY);
}

static void request_done(GObject *channel, GAsyncResult *result, gpointer user_data)
{
    SpicePowerActions *self = user_data;
    GError *error = NULL;
    int i = self->pending;
    gboolean ok;

    self->pending = NO_ACTION;
    ok = spice_main_channel_power_finish(SPICE_MAIN_CHANNEL(channel), result, &error);

    if (ok && spice_power_words[i].action == SPICE_POWER_ACTION_RESET) {
        /* nothing else might show that it has happened */
        GDateTime *now = g_date_time_new_now_local();

        self->reset_time = g_date_time_format(now, "%X");
        g_date_time_unref(now);
    }
    update(self);
    if (ok) {
        g_signal_emit(self, signals[SIGNAL_DONE], 0, spice_power_words[i].name);
    } else {
        const char *text = spice_power_words[i].failed;

        if (g_error_matches(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN))
            text = spice_power_words[i].unknown;
        g_signal_emit(self, signals[SIGNAL_FAILED], 0, spice_power_words[i].name, _(text), error);
        g_error_free(error);
    }
    update_busy(self);

    g_object_unref(self);
}

static void confirm(SpicePowerActions *self, int i)
{
    gchar *name = NULL, *question;
    gboolean asked = FALSE;

    if (self->session)
        g_object_get(self->session, "name", &name, NULL);
    if (name && *name)
        question = g_strdup_printf(_(spice_power_words[i].named_question), name);
    else
        question = g_strdup(_(spice_power_words[i].question));

    g_signal_emit(self, signals[SIGNAL_CONFIRM], 0, spice_power_words[i].name, question,
                  _(spice_power_words[i].details), &asked);
    if (!asked)
        SPICE_DEBUG("%s is not carried out: nobody confirms it", spice_power_words[i].name);

    g_free(question);
    g_free(name);
}

static void action_activated(GSimpleAction *action, GVariant *parameter, gpointer user_data)
{
    SpicePowerActions *self = user_data;
    const char *name = g_action_get_name(G_ACTION(action));
    int i = find_action(name);

    if (spice_power_words[i].question)
        confirm(self, i);
    else
        spice_power_actions_request(self, name);
}

/**
 * spice_power_actions_request:
 * @actions: a #SpicePowerActions
 * @name: the name of an action
 *
 * Requests an action from the server, without asking. It is what a program
 * calls when its user has answered #SpicePowerActions::confirm with yes. If
 * the action is not enabled any more, nothing is done.
 *
 * Returns: %TRUE if it was requested; #SpicePowerActions::done or
 * #SpicePowerActions::failed follows then
 *
 * Since: 0.43
 **/
gboolean spice_power_actions_request(SpicePowerActions *actions, const gchar *name)
{
    int i;

    g_return_val_if_fail(SPICE_IS_POWER_ACTIONS(actions), FALSE);
    g_return_val_if_fail(name != NULL, FALSE);
    i = find_action(name);
    g_return_val_if_fail(i != NO_ACTION, FALSE);

    if (!g_action_group_get_action_enabled(G_ACTION_GROUP(actions), name))
        return FALSE;

    actions->pending = i;
    g_clear_pointer(&actions->reset_time, g_free);
    spice_main_channel_power_async(actions->main, spice_power_words[i].action, NULL,
                                   request_done, g_object_ref(actions));
    update(actions);
    update_busy(actions);
    return TRUE;
}

/**
 * spice_power_actions_get_menu:
 * @actions: a #SpicePowerActions
 *
 * Gets a menu of the actions that the server lets this client ask for. It
 * changes as that does. It is for windows that have @actions, or a
 * group that stands for it, by the name "power".
 *
 * Returns: (transfer none): the menu
 *
 * Since: 0.43
 **/
GMenuModel *spice_power_actions_get_menu(SpicePowerActions *actions)
{
    g_return_val_if_fail(SPICE_IS_POWER_ACTIONS(actions), NULL);

    return G_MENU_MODEL(actions->menu);
}

/**
 * spice_power_actions_get_label:
 * @actions: a #SpicePowerActions
 * @name: the name of an action
 *
 * Gets what the menu calls an action, in the user's language and with a
 * mnemonic, for a button that does the same.
 *
 * Returns: (transfer none): the label
 *
 * Since: 0.43
 **/
const gchar *spice_power_actions_get_label(SpicePowerActions *actions, const gchar *name)
{
    int i;

    g_return_val_if_fail(SPICE_IS_POWER_ACTIONS(actions), NULL);
    g_return_val_if_fail(name != NULL, NULL);
    i = find_action(name);
    g_return_val_if_fail(i != NO_ACTION, NULL);

    return action_label(actions, i);
}

static void spice_power_actions_init(SpicePowerActions *self)
{
    int i;

    self->state = SPICE_POWER_STATE_UNKNOWN;
    self->pending = NO_ACTION;
    self->menu = g_menu_new();

    for (i = 0; i < SPICE_POWER_N_WORDS; i++) {
        GSimpleAction *action = g_simple_action_new(spice_power_words[i].name, NULL);

        g_simple_action_set_enabled(action, FALSE);
        g_signal_connect(action, "activate", G_CALLBACK(action_activated), self);
        g_action_map_add_action(G_ACTION_MAP(self), G_ACTION(action));
        g_object_unref(action);
    }
}

static void spice_power_actions_constructed(GObject *object)
{
    SpicePowerActions *self = SPICE_POWER_ACTIONS(object);
    GList *channels, *l;

    G_OBJECT_CLASS(spice_power_actions_parent_class)->constructed(object);

    if (self->session) {
        spice_g_signal_connect_object(self->session, "channel-new",
                                      G_CALLBACK(channel_new), self, 0);
        spice_g_signal_connect_object(self->session, "channel-destroy",
                                      G_CALLBACK(channel_destroy), self, 0);
        spice_g_signal_connect_object(self->session, "notify::read-only",
                                      G_CALLBACK(update), self, G_CONNECT_SWAPPED);

        channels = spice_session_get_channels(self->session);
        for (l = channels; l != NULL; l = l->next)
            channel_new(self->session, l->data, self);
        g_list_free(channels);
    }
    update(self);
}

static void spice_power_actions_dispose(GObject *object)
{
    SpicePowerActions *self = SPICE_POWER_ACTIONS(object);

    g_clear_object(&self->main);
    g_clear_object(&self->menu);
    if (self->session)
        g_object_remove_weak_pointer(G_OBJECT(self->session), (gpointer *)&self->session);
    self->session = NULL;

    G_OBJECT_CLASS(spice_power_actions_parent_class)->dispose(object);
}

static void spice_power_actions_finalize(GObject *object)
{
    SpicePowerActions *self = SPICE_POWER_ACTIONS(object);

    g_free(self->status);
    g_free(self->reset_time);

    G_OBJECT_CLASS(spice_power_actions_parent_class)->finalize(object);
}

static void spice_power_actions_get_property(GObject *object, guint prop_id,
                                             GValue *value, GParamSpec *pspec)
{
    SpicePowerActions *self = SPICE_POWER_ACTIONS(object);

    switch (prop_id) {
    case PROP_SESSION:
        g_value_set_object(value, self->session);
        break;
    case PROP_AVAILABLE:
        g_value_set_boolean(value, self->available);
        break;
    case PROP_STATE:
        g_value_set_enum(value, self->state);
        break;
    case PROP_ALLOWED:
        g_value_set_flags(value, self->allowed);
        break;
    case PROP_POSSIBLE:
        g_value_set_flags(value, self->possible);
        break;
    case PROP_STATUS:
        g_value_set_string(value, self->status);
        break;
    case PROP_BUSY:
        g_value_set_boolean(value, self->busy);
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, prop_id, pspec);
    }
}

static void spice_power_actions_set_property(GObject *object, guint prop_id,
                                             const GValue *value, GParamSpec *pspec)
{
    SpicePowerActions *self = SPICE_POWER_ACTIONS(object);

    switch (prop_id) {
    case PROP_SESSION:
        self->session = g_value_get_object(value);
        if (self->session)
            g_object_add_weak_pointer(G_OBJECT(self->session), (gpointer *)&self->session);
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, prop_id, pspec);
    }
}

static void install_properties(GObjectClass *object_class)
{
    /**
     * SpicePowerActions:session:
     *
     * The session whose machine this is about. %NULL once it has gone.
     *
     * Since: 0.43
     **/
    properties[PROP_SESSION] =
        g_param_spec_object("session",
                            "Session",
                            "The session whose machine this is about",
                            SPICE_TYPE_SESSION,
                            G_PARAM_READWRITE |
                            G_PARAM_CONSTRUCT_ONLY |
                            G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerActions:available:
     *
     * Whether the server has power control, and so a state to show.
     *
     * Since: 0.43
     **/
    properties[PROP_AVAILABLE] =
        g_param_spec_boolean("available",
                             "Available",
                             "Whether the server has power control",
                             FALSE,
                             G_PARAM_READABLE |
                             G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerActions:state:
     *
     * The power state of the machine, see #SpiceMainChannel:power-state.
     *
     * Since: 0.43
     **/
    properties[PROP_STATE] =
        g_param_spec_enum("state",
                          "State",
                          "The power state of the machine",
                          SPICE_TYPE_POWER_STATE,
                          SPICE_POWER_STATE_UNKNOWN,
                          G_PARAM_READABLE |
                          G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerActions:allowed:
     *
     * What this client may ask for, whether it is possible now or not: see
     * #SpiceMainChannel:power-allowed. Nothing if the session is read-only.
     *
     * Since: 0.43
     **/
    properties[PROP_ALLOWED] =
        g_param_spec_flags("allowed",
                           "Allowed",
                           "What this client may ask for",
                           SPICE_TYPE_POWER_ACTION,
                           0,
                           G_PARAM_READABLE |
                           G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerActions:possible:
     *
     * What is possible now, out of #SpicePowerActions:allowed.
     *
     * Since: 0.43
     **/
    properties[PROP_POSSIBLE] =
        g_param_spec_flags("possible",
                           "Possible",
                           "What is possible now",
                           SPICE_TYPE_POWER_ACTION,
                           0,
                           G_PARAM_READABLE |
                           G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerActions:status:
     *
     * The state of the machine in the user's language, and when it was reset by
     * this client; or what is being done.
     *
     * Since: 0.43
     **/
    properties[PROP_STATUS] =
        g_param_spec_string("status",
                            "Status",
                            "The state of the machine in words",
                            NULL,
                            G_PARAM_READABLE |
                            G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerActions:busy:
     *
     * Whether a request is under way.
     *
     * Since: 0.43
     **/
    properties[PROP_BUSY] =
        g_param_spec_boolean("busy",
                             "Busy",
                             "Whether a request is under way",
                             FALSE,
                             G_PARAM_READABLE |
                             G_PARAM_STATIC_STRINGS);

    g_object_class_install_properties(object_class, N_PROPERTIES, properties);
}

static void spice_power_actions_class_init(SpicePowerActionsClass *klass)
{
    GObjectClass *object_class = G_OBJECT_CLASS(klass);

    object_class->constructed = spice_power_actions_constructed;
    object_class->dispose = spice_power_actions_dispose;
    object_class->finalize = spice_power_actions_finalize;
    object_class->get_property = spice_power_actions_get_property;
    object_class->set_property = spice_power_actions_set_property;
    install_properties(object_class);

    /**
     * SpicePowerActions::confirm:
     * @actions: the #SpicePowerActions that emitted the signal
     * @name: the name of the action
     * @question: what to ask, in the user's language
     * @details: what that means
     *
     * An action was activated that may lose data. The handler shows a question
     * and returns at once; if the answer is yes, the program calls
     * spice_power_actions_request(). Until then, and if no handler returns
     * %TRUE, nothing is done. The question is moot when the action isn't enabled any
     * more.
     *
     * Returns: %TRUE if the user is asked; no other handler is called then
     *
     * Since: 0.43
     **/
    signals[SIGNAL_CONFIRM] =
        g_signal_new("confirm",
                     SPICE_TYPE_POWER_ACTIONS,
                     G_SIGNAL_RUN_LAST,
                     0,
                     g_signal_accumulator_true_handled, NULL,
                     NULL,
                     G_TYPE_BOOLEAN,
                     3,
                     G_TYPE_STRING, G_TYPE_STRING, G_TYPE_STRING);

    /**
     * SpicePowerActions::done:
     * @actions: the #SpicePowerActions that emitted the signal
     * @name: the name of the action
     *
     * A request was carried out.
     *
     * Since: 0.43
     **/
    signals[SIGNAL_DONE] =
        g_signal_new("done",
                     SPICE_TYPE_POWER_ACTIONS,
                     G_SIGNAL_RUN_LAST,
                     0,
                     NULL, NULL,
                     NULL,
                     G_TYPE_NONE,
                     1,
                     G_TYPE_STRING);

    /**
     * SpicePowerActions::failed:
     * @actions: the #SpicePowerActions that emitted the signal
     * @name: the name of the action
     * @text: what to say, in the user's language
     * @error: why, see spice_main_channel_power_finish(). Its message may be the
     *   server's, and is to be shown below @text.
     *
     * A request was not carried out, or nobody can know whether it was: @text
     * tells which.
     *
     * Since: 0.43
     **/
    signals[SIGNAL_FAILED] =
        g_signal_new("failed",
                     SPICE_TYPE_POWER_ACTIONS,
                     G_SIGNAL_RUN_LAST,
                     0,
                     NULL, NULL,
                     NULL,
                     G_TYPE_NONE,
                     3,
                     G_TYPE_STRING, G_TYPE_STRING, G_TYPE_ERROR);
}

/**
 * spice_power_actions_get:
 * @session: a #SpiceSession
 *
 * Gets the actions on the power of @session's machine, which all windows share.
 * They are created the first time, and live as long as @session or whoever
 * has a reference to them.
 *
 * Returns: (transfer none): the #SpicePowerActions of @session
 *
 * Since: 0.43
 **/
SpicePowerActions *spice_power_actions_get(SpiceSession *session)
{
    static const char key[] = "spice-power-actions";
    SpicePowerActions *self;

    g_return_val_if_fail(SPICE_IS_SESSION(session), NULL);

    self = g_object_get_data(G_OBJECT(session), key);
    if (self == NULL) {
        self = g_object_new(SPICE_TYPE_POWER_ACTIONS, "session", session, NULL);
        g_object_set_data_full(G_OBJECT(session), key, self, g_object_unref);
    }
    return self;
}
