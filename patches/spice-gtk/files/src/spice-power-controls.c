/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a window of GTK 3 has of SpicePowerActions: dialogs and two widgets */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-client.h"
#include "spice-common.h"
#include "spice-power-controls.h"
#include "spice-power-view.h"

/**
 * SECTION:spice-power-controls
 * @short_description: controls of the machine's power, for a window
 * @title: SpicePowerControls
 * @section_id:
 * @see_also: #SpiceMainChannel:power-state, spice_main_channel_power_async()
 * @stability: Stable
 * @include: spice-client-gtk.h
 *
 * A #SpicePowerControls object is what a window needs of #SpicePowerActions to
 * let its user reset, power off, power on, pause and continue the machine: it
 * asks, tells what has failed, and makes a label with the machine's state, and a
 * view that says so and offers to power the machine on while it is powered off.
 *
 * It is an action group, which it adds to its window by the name "power". It
 * has the actions of the session's #SpicePowerActions, which all windows share.
 * For those that were activated here, questions and errors are shown here.
 *
 * With a server that has no power control, and before there is a connection,
 * nothing of this is to be seen: see #SpicePowerControls:available and
 * #SpicePowerControls:offers-actions.
 *
 * If the connection ends before there is a result, nobody can say whether the
 * action was carried out, and that is what the user is told. A program that
 * ends with the connection waits for that to be read: see
 * #SpicePowerControls:busy.
 *
 * |[<!-- language="C" -->
 * controls = spice_power_controls_new(session, window);
 * menu = gtk_menu_new_from_model(spice_power_controls_get_menu(controls));
 * gtk_menu_item_set_submenu(item, menu);
 * g_object_bind_property(controls, "offers-actions", item, "visible", G_BINDING_SYNC_CREATE);
 * gtk_container_add(status_bar, spice_power_controls_new_status(controls));
 * gtk_container_add(window, spice_power_controls_new_view(controls, display));
 * g_object_unref(controls); // the window has it
 * ]|
 *
 * To be used from the thread of the main context only, as all of GTK.
 *
 * Since: 0.43
 */

struct _SpicePowerControls {
    GObject parent_instance;

    SpiceSession *session;
    SpicePowerActions *actions;
    GtkWindow *window; /* weak */

    GtkWidget *question; /* the dialog, while there is one */
    gboolean activating; /* what happens now was asked for here */
    gboolean requested; /* the request that is under way was made here */
    int messages; /* that the user has not closed yet */
    gboolean busy;
};

static void action_group_init(GActionGroupInterface *iface);

G_DEFINE_TYPE_WITH_CODE(SpicePowerControls, spice_power_controls, G_TYPE_OBJECT,
                        G_IMPLEMENT_INTERFACE(G_TYPE_ACTION_GROUP, action_group_init))

enum {
    PROP_0,
    PROP_SESSION,
    PROP_WINDOW,
    PROP_AVAILABLE,
    PROP_OFFERS_ACTIONS,
    PROP_STATUS,
    PROP_BUSY,
    N_PROPERTIES
};

static GParamSpec *properties[N_PROPERTIES];

static void update_busy(SpicePowerControls *self)
{
    gboolean busy = self->requested || self->messages > 0;

    if (busy == self->busy)
        return;
    self->busy = busy;
    g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_BUSY]);
}

static void message_closed(SpicePowerControls *self)
{
    self->messages--;
    update_busy(self);
}

static void failed(SpicePowerActions *actions, const char *name, const char *text,
                   const GError *error, SpicePowerControls *self)
{
    GtkWidget *dialog;

    if (!self->requested || !self->window)
        return;

    dialog = gtk_message_dialog_new(self->window,
                                    GTK_DIALOG_MODAL | GTK_DIALOG_DESTROY_WITH_PARENT,
                                    GTK_MESSAGE_ERROR, GTK_BUTTONS_CLOSE,
                                    "%s", text);
    gtk_message_dialog_format_secondary_text(GTK_MESSAGE_DIALOG(dialog), "%s", error->message);
    g_signal_connect(dialog, "response", G_CALLBACK(gtk_widget_destroy), NULL);
    self->messages++;
    spice_g_signal_connect_object(dialog, "destroy", G_CALLBACK(message_closed),
                                  self, G_CONNECT_SWAPPED);
    gtk_window_present(GTK_WINDOW(dialog));
}

static void confirmed(GtkDialog *dialog, gint response, gpointer user_data)
{
    SpicePowerControls *self = user_data;
    gchar *name = g_strdup(g_object_get_data(G_OBJECT(dialog), "spice-power-action"));

    gtk_widget_destroy(GTK_WIDGET(dialog));
    if (response == GTK_RESPONSE_ACCEPT) {
        self->activating = TRUE;
        spice_power_actions_request(self->actions, name);
        self->activating = FALSE;
    }
    g_free(name);
}

static gboolean confirm(SpicePowerActions *actions, const char *name, const char *question,
                        const char *details, SpicePowerControls *self)
{
    GtkWidget *dialog, *button;

    if (!self->activating || !self->window)
        return FALSE;

    /* one at a time, which is to be answered first */
    if (self->question) {
        gtk_window_present(GTK_WINDOW(self->question));
        return TRUE;
    }

    dialog = gtk_message_dialog_new(self->window,
                                    GTK_DIALOG_MODAL | GTK_DIALOG_DESTROY_WITH_PARENT,
                                    GTK_MESSAGE_WARNING, GTK_BUTTONS_NONE,
                                    "%s", question);
    gtk_message_dialog_format_secondary_text(GTK_MESSAGE_DIALOG(dialog), "%s", details);
    gtk_dialog_add_button(GTK_DIALOG(dialog), _("_Cancel"), GTK_RESPONSE_CANCEL);
    button = gtk_dialog_add_button(GTK_DIALOG(dialog),
                                   spice_power_actions_get_label(actions, name),
                                   GTK_RESPONSE_ACCEPT);
    gtk_style_context_add_class(gtk_widget_get_style_context(button),
                                GTK_STYLE_CLASS_DESTRUCTIVE_ACTION);
    gtk_dialog_set_default_response(GTK_DIALOG(dialog), GTK_RESPONSE_CANCEL);

    /* another client, or another window, may change what is possible meanwhile */
    g_object_bind_property(g_action_map_lookup_action(G_ACTION_MAP(actions), name), "enabled",
                           button, "sensitive", G_BINDING_SYNC_CREATE);

    self->question = dialog;
    g_signal_connect(dialog, "destroy", G_CALLBACK(gtk_widget_destroyed), &self->question);
    g_object_set_data_full(G_OBJECT(dialog), "spice-power-action", g_strdup(name), g_free);
    spice_g_signal_connect_object(dialog, "response", G_CALLBACK(confirmed), self, 0);
    gtk_window_present(GTK_WINDOW(dialog));
    return TRUE;
}

static void available_changed(SpicePowerControls *self)
{
    gboolean available;

    g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_AVAILABLE]);

    /* the server that the question is about has gone */
    g_object_get(self->actions, "available", &available, NULL);
    if (!available && self->question)
        gtk_widget_destroy(self->question);
}

static void allowed_changed(SpicePowerControls *self)
{
    g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_OFFERS_ACTIONS]);
}

static void status_changed(SpicePowerControls *self)
{
    g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_STATUS]);
}

static void busy_changed(SpicePowerControls *self)
{
    gboolean busy;

    g_object_get(self->actions, "busy", &busy, NULL);
    self->requested = busy && self->activating;
    update_busy(self);
}

static gchar **list_actions(GActionGroup *group)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(group);

    return self->actions ? g_action_group_list_actions(G_ACTION_GROUP(self->actions)) :
                           g_new0(gchar *, 1);
}

static gboolean query_action(GActionGroup *group, const gchar *name, gboolean *enabled,
                             const GVariantType **parameter_type, const GVariantType **state_type,
                             GVariant **state_hint, GVariant **state)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(group);

    return self->actions &&
           g_action_group_query_action(G_ACTION_GROUP(self->actions), name, enabled,
                                       parameter_type, state_type, state_hint, state);
}

static void activate_action(GActionGroup *group, const gchar *name, GVariant *parameter)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(group);

    if (!self->actions)
        return;
    self->activating = TRUE;
    g_action_group_activate_action(G_ACTION_GROUP(self->actions), name, parameter);
    self->activating = FALSE;
}

static void change_action_state(GActionGroup *group, const gchar *name, GVariant *value)
{
    /* the actions have none */
}

static void action_group_init(GActionGroupInterface *iface)
{
    iface->list_actions = list_actions;
    iface->query_action = query_action;
    iface->activate_action = activate_action;
    iface->change_action_state = change_action_state;
}

static void status_update_accessible(GtkWidget *label, GParamSpec *pspec,
                                     SpicePowerActions *actions)
{
    const gchar *text = gtk_label_get_text(GTK_LABEL(label));
    SpicePowerState state;
    gchar *name;

    g_object_get(actions, "state", &state, NULL);
    if (state == SPICE_POWER_STATE_UNKNOWN)
        name = g_strdup(text); /* which says what it is about */
    else
        /* Translators: %s is the state of the machine */
        name = g_strdup_printf(_("Power state: %s"), text);

    atk_object_set_name(gtk_widget_get_accessible(label), name);
    gtk_widget_set_tooltip_text(label, name);
    g_free(name);
}

/**
 * spice_power_controls_new_status:
 * @controls: a #SpicePowerControls
 *
 * Creates a label with the state of the machine in words, that can be seen
 * while #SpicePowerControls:available is set.
 *
 * Returns: (transfer none): a new widget, with a floating reference
 *
 * Since: 0.43
 **/
GtkWidget *spice_power_controls_new_status(SpicePowerControls *controls)
{
    GtkWidget *label;

    g_return_val_if_fail(SPICE_IS_POWER_CONTROLS(controls) && controls->actions, NULL);

    label = gtk_label_new(NULL);
    atk_object_set_role(gtk_widget_get_accessible(label), ATK_ROLE_STATUSBAR);
    gtk_widget_set_no_show_all(label, TRUE);
    g_signal_connect(label, "notify::label",
                     G_CALLBACK(status_update_accessible), controls->actions);
    g_object_bind_property(controls->actions, "status", label, "label", G_BINDING_SYNC_CREATE);
    g_object_bind_property(controls->actions, "available", label, "visible", G_BINDING_SYNC_CREATE);

    return label;
}

/**
 * spice_power_controls_new_view:
 * @controls: a #SpicePowerControls
 * @display: a widget that shows the machine's display, a
 *   #SpiceDisplay usually
 *
 * Creates a widget that shows @display while the machine has power, and else
 * says that it is powered off and has a button that powers it on, where this
 * is possible. While #SpiceSession:waiting is set it says so, with any server,
 * and has a button that closes the window as its frame does.
 *
 * Returns: (transfer none): a new widget, with a floating reference. It has
 * @display, shows it, and has room for it also while it can't be seen.
 *
 * Since: 0.43
 **/
GtkWidget *spice_power_controls_new_view(SpicePowerControls *controls, GtkWidget *display)
{
    g_return_val_if_fail(SPICE_IS_POWER_CONTROLS(controls) && controls->actions, NULL);
    g_return_val_if_fail(GTK_IS_WIDGET(display), NULL);

    return spice_power_view_new(controls->session, display);
}

/**
 * spice_power_controls_get_menu:
 * @controls: a #SpicePowerControls
 *
 * Gets the menu of the session's #SpicePowerActions, see
 * spice_power_actions_get_menu(). It works in the window of @controls.
 *
 * Returns: (transfer none): the menu
 *
 * Since: 0.43
 **/
GMenuModel *spice_power_controls_get_menu(SpicePowerControls *controls)
{
    g_return_val_if_fail(SPICE_IS_POWER_CONTROLS(controls) && controls->actions, NULL);

    return spice_power_actions_get_menu(controls->actions);
}

static void spice_power_controls_init(SpicePowerControls *self)
{
}

static void connect_actions(SpicePowerControls *self)
{
    static const struct {
        const char *signal;
        GCallback callback;
        GConnectFlags flags;
    } handlers[] = {
        { "confirm", G_CALLBACK(confirm), 0 },
        { "failed", G_CALLBACK(failed), 0 },
        { "notify::available", G_CALLBACK(available_changed), G_CONNECT_SWAPPED },
        { "notify::allowed", G_CALLBACK(allowed_changed), G_CONNECT_SWAPPED },
        { "notify::status", G_CALLBACK(status_changed), G_CONNECT_SWAPPED },
        { "notify::busy", G_CALLBACK(busy_changed), G_CONNECT_SWAPPED },
        { "action-enabled-changed", G_CALLBACK(g_action_group_action_enabled_changed),
          G_CONNECT_SWAPPED },
    };
    int i;

    for (i = 0; i < G_N_ELEMENTS(handlers); i++)
        spice_g_signal_connect_object(self->actions, handlers[i].signal, handlers[i].callback,
                                      self, handlers[i].flags);
}

static void spice_power_controls_constructed(GObject *object)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(object);

    G_OBJECT_CLASS(spice_power_controls_parent_class)->constructed(object);

    if (self->session) {
        self->actions = g_object_ref(spice_power_actions_get(self->session));
        connect_actions(self);
    }
    if (self->window)
        gtk_widget_insert_action_group(GTK_WIDGET(self->window), "power", G_ACTION_GROUP(self));
}

static void spice_power_controls_dispose(GObject *object)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(object);

    if (self->question)
        gtk_widget_destroy(self->question);
    g_clear_object(&self->actions);
    g_clear_object(&self->session);
    if (self->window)
        g_object_remove_weak_pointer(G_OBJECT(self->window), (gpointer *)&self->window);
    self->window = NULL;

    G_OBJECT_CLASS(spice_power_controls_parent_class)->dispose(object);
}

static void spice_power_controls_get_property(GObject *object, guint prop_id,
                                              GValue *value, GParamSpec *pspec)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(object);
    SpicePowerAction allowed;

    switch (prop_id) {
    case PROP_SESSION:
        g_value_set_object(value, self->session);
        break;
    case PROP_WINDOW:
        g_value_set_object(value, self->window);
        break;
    case PROP_AVAILABLE:
    case PROP_STATUS:
        if (self->actions)
            g_object_get_property(G_OBJECT(self->actions), pspec->name, value);
        break;
    case PROP_OFFERS_ACTIONS:
        if (self->actions) {
            g_object_get(self->actions, "allowed", &allowed, NULL);
            g_value_set_boolean(value, allowed != 0);
        }
        break;
    case PROP_BUSY:
        g_value_set_boolean(value, self->busy);
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, prop_id, pspec);
    }
}

static void spice_power_controls_set_property(GObject *object, guint prop_id,
                                              const GValue *value, GParamSpec *pspec)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(object);

    switch (prop_id) {
    case PROP_SESSION:
        self->session = g_value_dup_object(value);
        break;
    case PROP_WINDOW:
        self->window = g_value_get_object(value);
        if (self->window)
            g_object_add_weak_pointer(G_OBJECT(self->window), (gpointer *)&self->window);
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, prop_id, pspec);
    }
}

static void spice_power_controls_class_init(SpicePowerControlsClass *klass)
{
    GObjectClass *object_class = G_OBJECT_CLASS(klass);

    object_class->constructed = spice_power_controls_constructed;
    object_class->dispose = spice_power_controls_dispose;
    object_class->get_property = spice_power_controls_get_property;
    object_class->set_property = spice_power_controls_set_property;

    /**
     * SpicePowerControls:session:
     *
     * The session whose machine is controlled.
     *
     * Since: 0.43
     **/
    properties[PROP_SESSION] =
        g_param_spec_object("session",
                            "Session",
                            "The session whose machine is controlled",
                            SPICE_TYPE_SESSION,
                            G_PARAM_READWRITE |
                            G_PARAM_CONSTRUCT_ONLY |
                            G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerControls:window:
     *
     * The window that the controls are for, and that questions and errors are
     * shown above. %NULL once it has been destroyed.
     *
     * Since: 0.43
     **/
    properties[PROP_WINDOW] =
        g_param_spec_object("window",
                            "Window",
                            "The window that the controls are for",
                            GTK_TYPE_WINDOW,
                            G_PARAM_READWRITE |
                            G_PARAM_CONSTRUCT_ONLY |
                            G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerControls:available:
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
     * SpicePowerControls:offers-actions:
     *
     * Whether there are actions to offer: the server is configured for at least
     * one, and the session is not read-only. Not whether one is possible now.
     *
     * Since: 0.43
     **/
    properties[PROP_OFFERS_ACTIONS] =
        g_param_spec_boolean("offers-actions",
                             "Offers actions",
                             "Whether there are actions to offer",
                             FALSE,
                             G_PARAM_READABLE |
                             G_PARAM_STATIC_STRINGS);

    /**
     * SpicePowerControls:status:
     *
     * The state of the machine in words, see #SpicePowerActions:status.
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
     * SpicePowerControls:busy:
     *
     * Whether a request that was made here has no result yet, or the user has not
     * closed the message that tells what became of one. A program that ends when
     * the session has been disconnected, and not by its user, ends when this is
     * not set, or is no longer:
     *
     * |[<!-- language="C" -->
     * static void end_if_idle(SpicePowerControls *controls, GParamSpec *pspec, GMainLoop *loop)
     * {
     *     gboolean busy;
     *
     *     g_object_get(controls, "busy", &busy, NULL);
     *     if (!busy)
     *         g_main_loop_quit(loop);
     * }
     *
     * static void disconnected(SpiceSession *session, GMainLoop *loop)
     * {
     *     g_signal_connect(controls, "notify::busy", G_CALLBACK(end_if_idle), loop);
     *     end_if_idle(controls, NULL, loop);
     * }
     * ]|
     *
     * Since: 0.43
     **/
    properties[PROP_BUSY] =
        g_param_spec_boolean("busy",
                             "Busy",
                             "Whether a request has no result yet, or one that is being read",
                             FALSE,
                             G_PARAM_READABLE |
                             G_PARAM_STATIC_STRINGS);

    g_object_class_install_properties(object_class, N_PROPERTIES, properties);
}

/**
 * spice_power_controls_new:
 * @session: a #SpiceSession
 * @window: the window that the controls are for
 *
 * Creates the controls of the power of @session's machine, and adds them to
 * @window as its action group "power", so that they live as long as @window.
 *
 * Returns: (transfer full): a new #SpicePowerControls object
 *
 * Since: 0.43
 **/
SpicePowerControls *spice_power_controls_new(SpiceSession *session, GtkWindow *window)
{
    g_return_val_if_fail(SPICE_IS_SESSION(session), NULL);
    g_return_val_if_fail(GTK_IS_WINDOW(window), NULL);

    return g_object_new(SPICE_TYPE_POWER_CONTROLS,
                        "session", session,
                        "window", window,
                        NULL);
}
