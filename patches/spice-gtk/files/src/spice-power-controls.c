/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a window shows of the machine's power. It stays one file, as a class does here:
 * the actions, the menu, the state in words and the powered-off page all follow the one
 * state that update() takes from the main channel; a third of it is documentation. */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-client.h"
#include "spice-common.h"
#include "spice-power-controls.h"
#include "spice-waiting-page.h"

/**
 * SECTION:spice-power-controls
 * @short_description: controls of the machine's power, for a window
 * @title: SpicePowerControls
 * @section_id:
 * @see_also: #SpiceMainChannel:power-state, spice_main_channel_power_async()
 * @stability: Stable
 * @include: spice-client-gtk.h
 *
 * A #SpicePowerControls object is what a window needs to let its user reset,
 * power off, power on, pause and continue the machine: actions that are
 * enabled when they are possible, a menu for them, the machine's state in
 * words, and a view that says so and offers to power the machine on while it is
 * powered off.
 *
 * It is an action group, which it adds to its window by the name "power". The
 * actions are "reset", "power-off", "power-on", "pause" and "continue", without
 * parameter or state. The first two ask the user first. A result other than OK
 * is shown to the user, as the server worded it.
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

#define NO_ACTION -1

/* in the order of the menu */
static const struct {
    SpicePowerAction action;
    const char *name;
    const char *label;
    const char *doing;
    const char *failed;
    const char *unknown;
    /* of actions that ask first */
    const char *question;
    const char *named_question;
    const char *details;
} power_controls[] = {
    {
        .action  = SPICE_POWER_ACTION_PAUSE,
        .name    = "pause",
        .label   = N_("_Pause"),
        .doing   = N_("pausing…"),
        .failed  = N_("The machine was not paused"),
        .unknown = N_("The machine may or may not have been paused"),
    },{
        .action  = SPICE_POWER_ACTION_CONTINUE,
        .name    = "continue",
        .label   = N_("_Continue"),
        .doing   = N_("continuing…"),
        .failed  = N_("The machine was not continued"),
        .unknown = N_("The machine may or may not have been continued"),
    },{
        .action  = SPICE_POWER_ACTION_RESET,
        .name    = "reset",
        .label   = N_("_Reset"),
        .doing   = N_("resetting…"),
        .failed  = N_("The machine was not reset"),
        .unknown = N_("The machine may or may not have been reset"),
        .question = N_("Reset the machine?"),
        .named_question = N_("Reset “%s”?"),
        .details = N_("The machine starts again at once, without shutting down first. "
                      "Unsaved work in it will be lost."),
    },{
        .action  = SPICE_POWER_ACTION_OFF,
        .name    = "power-off",
        .label   = N_("Power _Off"),
        .doing   = N_("powering off…"),
        .failed  = N_("The machine was not powered off"),
        .unknown = N_("The machine may or may not have been powered off"),
        .question = N_("Power off the machine?"),
        .named_question = N_("Power off “%s”?"),
        .details = N_("The machine’s power is cut at once, without shutting down first. "
                      "Unsaved work in it will be lost."),
    },{
        .action  = SPICE_POWER_ACTION_ON,
        .name    = "power-on",
        .label   = N_("Power O_n"),
        .doing   = N_("powering on…"),
        .failed  = N_("The machine was not powered on"),
        .unknown = N_("The machine may or may not have been powered on"),
    },
};

/* where the menu has a line between its items */
#define MENU_SECTIONS 2
static const int menu_sections[MENU_SECTIONS + 1] = { 0, 2, G_N_ELEMENTS(power_controls) };

struct _SpicePowerControls {
    GSimpleActionGroup parent;

    SpiceSession *session;
    SpiceMainChannel *main; /* NULL while there is none */
    GtkWindow *window; /* weak */
    GMenu *menu;

    /* as the server tells, and what follows from it */
    gboolean available;
    SpicePowerState state;
    SpicePowerAction offered; /* allowed, unless the session is read-only */
    gchar *status;
    gboolean waiting; /* the server is away */

    GtkWidget *question; /* the dialog, while there is one */
    int pending; /* index of the action that we wait for, or NO_ACTION */
    gchar *reset_time; /* when we have reset the machine, in its current state */
    int messages; /* that the user has not closed yet */
    gboolean busy;
};

struct _SpicePowerControlsClass {
    GSimpleActionGroupClass parent_class;
};

G_DEFINE_TYPE(SpicePowerControls, spice_power_controls, G_TYPE_SIMPLE_ACTION_GROUP)

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

static const char *power_state_to_string(SpicePowerState state)
{
    switch (state) {
    case SPICE_POWER_STATE_OFF:
        return _("Powered off");
    case SPICE_POWER_STATE_ON:
        return _("Running");
    case SPICE_POWER_STATE_PAUSED:
        return _("Paused");
    case SPICE_POWER_STATE_SUSPENDED:
        return _("Suspended");
    case SPICE_POWER_STATE_CRASHED:
        return _("Crashed");
    default:
        return _("Unknown");
    }
}

/* what powering on is for a machine that sleeps */
static gboolean wakes_up(SpicePowerControls *self, int i)
{
    return self->state == SPICE_POWER_STATE_SUSPENDED &&
           power_controls[i].action == SPICE_POWER_ACTION_ON;
}

static gchar *power_status(SpicePowerControls *self)
{
    const char *state = power_state_to_string(self->state);

    if (self->pending != NO_ACTION) {
        /* Translators: the state of the machine, and what is being done, as
         * in "Running, resetting…" */
        return g_strdup_printf(C_("power status", "%s, %s"), state,
                               wakes_up(self, self->pending) ? _("waking up…") :
                               _(power_controls[self->pending].doing));
    }
    if (self->available && self->offered == 0 && self->state != SPICE_POWER_STATE_UNKNOWN) {
        /* Translators: the state of the machine; there are no actions for this
         * person, who may use keyboard and mouse all the same */
        return g_strdup_printf(_("%s, you may only watch"), state);
    }
    if (self->reset_time) {
        /* Translators: the state of the machine, and a time of day */
        return g_strdup_printf(_("%s, reset at %s"), state, self->reset_time);
    }
    return g_strdup(state);
}

static void fill_menu(SpicePowerControls *self)
{
    int i, j;

    g_menu_remove_all(self->menu);
    for (i = 0; i < MENU_SECTIONS; i++) {
        GMenu *section = g_menu_new();

        for (j = menu_sections[i]; j < menu_sections[i + 1]; j++) {
            if (self->offered & power_controls[j].action) {
                gchar *name = g_strconcat("power.", power_controls[j].name, NULL);

                g_menu_append(section, wakes_up(self, j) ? _("_Wake Up") :
                                       _(power_controls[j].label), name);
                g_free(name);
            }
        }
        g_menu_append_section(self->menu, NULL, G_MENU_MODEL(section));
        g_object_unref(section);
    }
}

/* Follow the main channel, the session and our own request */
static void update(SpicePowerControls *self)
{
    SpicePowerState state = SPICE_POWER_STATE_UNKNOWN;
    SpicePowerAction allowed = 0, possible = 0, offered;
    gboolean available, read_only, waiting, relabel = FALSE;
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
    g_object_get(self->session, "read-only", &read_only, "waiting", &waiting, NULL);
    offered = read_only ? 0 : allowed;

    if (state != self->state) {
        relabel = state == SPICE_POWER_STATE_SUSPENDED ||
                  self->state == SPICE_POWER_STATE_SUSPENDED;
        g_clear_pointer(&self->reset_time, g_free);
        self->state = state;
    }

    g_object_freeze_notify(G_OBJECT(self));
    if (available != self->available) {
        self->available = available;
        g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_AVAILABLE]);
    }
    if (offered != self->offered) {
        self->offered = offered;
        relabel = TRUE;
        g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_OFFERS_ACTIONS]);
    }
    if (relabel)
        fill_menu(self);
    for (i = 0; i < G_N_ELEMENTS(power_controls); i++) {
        GAction *action = g_action_map_lookup_action(G_ACTION_MAP(self), power_controls[i].name);

        g_simple_action_set_enabled(G_SIMPLE_ACTION(action),
                                    self->pending == NO_ACTION &&
                                    (offered & possible & power_controls[i].action));
    }
    status = power_status(self);
    if (g_strcmp0(status, self->status) != 0) {
        g_free(self->status);
        self->status = g_steal_pointer(&status);
        g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_STATUS]);
    }
    if (waiting != self->waiting) {
        self->waiting = waiting;
        /* which is what the views follow */
        g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_STATUS]);
    }
    g_free(status);
    g_object_thaw_notify(G_OBJECT(self));

    /* the server that the question is about has gone */
    if (!available && self->question)
        gtk_widget_destroy(self->question);
}

static void set_main_channel(SpicePowerControls *self, SpiceMainChannel *channel)
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
    SpicePowerControls *self = user_data;

    if (channel == (SpiceChannel *)self->main)
        set_main_channel(self, NULL);
}

static void update_busy(SpicePowerControls *self)
{
    gboolean busy = self->pending != NO_ACTION || self->messages > 0;

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

static void show_error(SpicePowerControls *self, int index, const GError *error)
{
    GtkWidget *dialog;
    const char *text = power_controls[index].failed;

    if (g_error_matches(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN))
        text = power_controls[index].unknown;

    dialog = gtk_message_dialog_new(self->window,
                                    GTK_DIALOG_MODAL | GTK_DIALOG_DESTROY_WITH_PARENT,
                                    GTK_MESSAGE_ERROR, GTK_BUTTONS_CLOSE,
                                    "%s", _(text));
    gtk_message_dialog_format_secondary_text(GTK_MESSAGE_DIALOG(dialog), "%s", error->message);
    g_signal_connect(dialog, "response", G_CALLBACK(gtk_widget_destroy), NULL);
    self->messages++;
    spice_g_signal_connect_object(dialog, "destroy", G_CALLBACK(message_closed),
                                  self, G_CONNECT_SWAPPED);
    gtk_window_present(GTK_WINDOW(dialog));
}

static void request_done(GObject *channel, GAsyncResult *result, gpointer user_data)
{
    SpicePowerControls *self = user_data;
    GError *error = NULL;
    int index = self->pending;
    gboolean ok;

    self->pending = NO_ACTION;
    ok = spice_main_channel_power_finish(SPICE_MAIN_CHANNEL(channel), result, &error);

    if (ok && power_controls[index].action == SPICE_POWER_ACTION_RESET) {
        /* nothing else might show that it has happened */
        GDateTime *now = g_date_time_new_now_local();

        self->reset_time = g_date_time_format(now, "%X");
        g_date_time_unref(now);
    }
    update(self);
    if (error && self->window)
        show_error(self, index, error);
    update_busy(self);

    g_clear_error(&error);
    g_object_unref(self);
}

static void request(SpicePowerControls *self, int index)
{
    self->pending = index;
    g_clear_pointer(&self->reset_time, g_free);
    update(self);
    update_busy(self);
    spice_main_channel_power_async(self->main, power_controls[index].action, NULL,
                                   request_done, g_object_ref(self));
}

static void confirmed(GtkDialog *dialog, gint response, gpointer user_data)
{
    SpicePowerControls *self = user_data;
    int index = GPOINTER_TO_INT(g_object_get_data(G_OBJECT(dialog), "spice-power-action"));
    gboolean enabled = g_action_group_get_action_enabled(G_ACTION_GROUP(self),
                                                         power_controls[index].name);

    gtk_widget_destroy(GTK_WIDGET(dialog));
    if (response == GTK_RESPONSE_ACCEPT && enabled)
        request(self, index);
}

static void ask(SpicePowerControls *self, int index)
{
    GtkWidget *dialog, *button;
    gchar *name = NULL, *text;

    /* one at a time, which is to be answered first */
    if (self->question) {
        gtk_window_present(GTK_WINDOW(self->question));
        return;
    }

    g_object_get(self->session, "name", &name, NULL);
    if (name && *name)
        text = g_strdup_printf(_(power_controls[index].named_question), name);
    else
        text = g_strdup(_(power_controls[index].question));

    dialog = gtk_message_dialog_new(self->window,
                                    GTK_DIALOG_MODAL | GTK_DIALOG_DESTROY_WITH_PARENT,
                                    GTK_MESSAGE_WARNING, GTK_BUTTONS_NONE,
                                    "%s", text);
    gtk_message_dialog_format_secondary_text(GTK_MESSAGE_DIALOG(dialog), "%s",
                                             _(power_controls[index].details));
    gtk_dialog_add_button(GTK_DIALOG(dialog), _("_Cancel"), GTK_RESPONSE_CANCEL);
    button = gtk_dialog_add_button(GTK_DIALOG(dialog), _(power_controls[index].label),
                                   GTK_RESPONSE_ACCEPT);
    gtk_style_context_add_class(gtk_widget_get_style_context(button),
                                GTK_STYLE_CLASS_DESTRUCTIVE_ACTION);
    gtk_dialog_set_default_response(GTK_DIALOG(dialog), GTK_RESPONSE_CANCEL);

    /* another client may change the state meanwhile */
    g_object_bind_property(g_action_map_lookup_action(G_ACTION_MAP(self),
                                                      power_controls[index].name), "enabled",
                           button, "sensitive", G_BINDING_SYNC_CREATE);

    self->question = dialog;
    g_signal_connect(dialog, "destroy", G_CALLBACK(gtk_widget_destroyed), &self->question);
    g_object_set_data(G_OBJECT(dialog), "spice-power-action", GINT_TO_POINTER(index));
    spice_g_signal_connect_object(dialog, "response", G_CALLBACK(confirmed), self, 0);
    gtk_window_present(GTK_WINDOW(dialog));

    g_free(text);
    g_free(name);
}

static void action_activated(GSimpleAction *action, GVariant *parameter, gpointer user_data)
{
    SpicePowerControls *self = user_data;
    int i;

    for (i = 0; i < G_N_ELEMENTS(power_controls); i++) {
        if (g_str_equal(power_controls[i].name, g_action_get_name(G_ACTION(action))))
            break;
    }
    g_return_if_fail(i < G_N_ELEMENTS(power_controls));

    if (power_controls[i].question)
        ask(self, i);
    else
        request(self, i);
}

static void status_update_accessible(GtkWidget *label)
{
    /* Translators: %s is the state of the machine */
    gchar *name = g_strdup_printf(_("Power state: %s"), gtk_label_get_text(GTK_LABEL(label)));

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

    g_return_val_if_fail(SPICE_IS_POWER_CONTROLS(controls), NULL);

    label = gtk_label_new(NULL);
    atk_object_set_role(gtk_widget_get_accessible(label), ATK_ROLE_STATUSBAR);
    gtk_widget_set_no_show_all(label, TRUE);
    g_signal_connect(label, "notify::label", G_CALLBACK(status_update_accessible), NULL);
    g_object_bind_property(controls, "status", label, "label", G_BINDING_SYNC_CREATE);
    g_object_bind_property(controls, "available", label, "visible", G_BINDING_SYNC_CREATE);

    return label;
}

static void view_update(GtkStack *view, GParamSpec *pspec, SpicePowerControls *self)
{
    GtkWidget *display = gtk_stack_get_child_by_name(view, "display");
    GtkWidget *page, *focus;

    if (self->waiting)
        page = gtk_stack_get_child_by_name(view, "waiting");
    else if (self->state == SPICE_POWER_STATE_OFF)
        page = gtk_stack_get_child_by_name(view, "powered-off");
    else
        page = display;
    if (page == gtk_stack_get_visible_child(view))
        return;

    focus = self->window ? gtk_window_get_focus(self->window) : NULL;
    if (page != display && focus &&
        (focus == display || gtk_widget_is_ancestor(focus, display))) {
        /* The stack would move it to the button: what is being typed for the
         * machine when it powers off must not power it on again, nor close the
         * window when it goes. */
        gtk_window_set_focus(self->window, NULL);
    }
    gtk_stack_set_visible_child(view, page);
    if (page == display && !focus)
        gtk_widget_grab_focus(display);
}

static void view_update_heading(GtkLabel *heading, GParamSpec *pspec, SpiceSession *session)
{
    gchar *name = NULL, *text, *markup;

    g_object_get(session, "name", &name, NULL);
    if (name && *name)
        text = g_strdup_printf(_("“%s” is powered off"), name);
    else
        text = g_strdup(_("The machine is powered off"));
    markup = g_markup_printf_escaped("<big><b>%s</b></big>", text);
    gtk_label_set_markup(heading, markup);
    g_free(markup);
    g_free(text);
    g_free(name);
}

static gboolean power_on_offered(GBinding *binding, const GValue *from, GValue *to, gpointer data)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(g_binding_get_source(binding));

    g_value_set_boolean(to, (self->offered & SPICE_POWER_ACTION_ON) != 0);
    return TRUE;
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
    GtkWidget *view, *page, *image, *heading, *label, *button;

    g_return_val_if_fail(SPICE_IS_POWER_CONTROLS(controls), NULL);
    g_return_val_if_fail(GTK_IS_WIDGET(display), NULL);

    image = gtk_image_new_from_icon_name("system-shutdown-symbolic", GTK_ICON_SIZE_DIALOG);
    gtk_style_context_add_class(gtk_widget_get_style_context(image), GTK_STYLE_CLASS_DIM_LABEL);

    heading = gtk_label_new(NULL);
    /* the machine's name may be long: the display's size is what counts */
    gtk_label_set_line_wrap(GTK_LABEL(heading), TRUE);
    gtk_label_set_line_wrap_mode(GTK_LABEL(heading), PANGO_WRAP_WORD_CHAR);
    gtk_label_set_justify(GTK_LABEL(heading), GTK_JUSTIFY_CENTER);
    gtk_label_set_width_chars(GTK_LABEL(heading), 20);
    gtk_label_set_max_width_chars(GTK_LABEL(heading), 40);
    spice_g_signal_connect_object(controls->session, "notify::name",
                                  G_CALLBACK(view_update_heading), heading, G_CONNECT_SWAPPED);
    view_update_heading(GTK_LABEL(heading), NULL, controls->session);

    /* no mnemonic: who types Alt+N to the guest just when it goes off presses no button */
    label = g_object_ref_sink(gtk_label_new_with_mnemonic(_("Power O_n")));
    button = gtk_button_new_with_label(gtk_label_get_text(GTK_LABEL(label)));
    g_object_unref(label);
    gtk_widget_set_halign(button, GTK_ALIGN_CENTER);
    gtk_actionable_set_action_name(GTK_ACTIONABLE(button), "power.power-on");

    page = gtk_box_new(GTK_ORIENTATION_VERTICAL, 12);
    atk_object_set_role(gtk_widget_get_accessible(page), ATK_ROLE_NOTIFICATION);
    gtk_widget_set_valign(page, GTK_ALIGN_CENTER);
    gtk_container_set_border_width(GTK_CONTAINER(page), 12);
    gtk_container_add(GTK_CONTAINER(page), image);
    gtk_container_add(GTK_CONTAINER(page), heading);
    gtk_container_add(GTK_CONTAINER(page), button);
    gtk_widget_show_all(page);
    gtk_widget_set_no_show_all(button, TRUE);
    g_object_bind_property_full(controls, "offers-actions", button, "visible",
                                G_BINDING_SYNC_CREATE, power_on_offered, NULL, NULL, NULL);

    view = gtk_stack_new();
    /* It stays homogeneous: if the minimum grew when the display comes back, a window
     * that is just being resized would be laid out once too small for it. */
    /* a stack shows none of its children that is not visible */
    gtk_widget_show(display);
    gtk_stack_add_named(GTK_STACK(view), display, "display");
    gtk_stack_add_named(GTK_STACK(view), page, "powered-off");
    gtk_stack_add_named(GTK_STACK(view), spice_waiting_page_new(controls->session), "waiting");
    gtk_widget_show(view);
    spice_g_signal_connect_object(controls, "notify::status",
                                  G_CALLBACK(view_update), view, G_CONNECT_SWAPPED);
    view_update(GTK_STACK(view), NULL, controls);

    return view;
}

/**
 * spice_power_controls_get_menu:
 * @controls: a #SpicePowerControls
 *
 * Gets a menu of the actions that the server is configured for, those that are
 * not possible now being insensitive. It changes as that does, and is empty
 * while #SpicePowerControls:offers-actions is not set. It works in the window
 * of @controls.
 *
 * Returns: (transfer none): the menu
 *
 * Since: 0.43
 **/
GMenuModel *spice_power_controls_get_menu(SpicePowerControls *controls)
{
    g_return_val_if_fail(SPICE_IS_POWER_CONTROLS(controls), NULL);

    return G_MENU_MODEL(controls->menu);
}

static void spice_power_controls_init(SpicePowerControls *self)
{
    int i;

    self->state = SPICE_POWER_STATE_UNKNOWN;
    self->pending = NO_ACTION;
    self->menu = g_menu_new();

    for (i = 0; i < G_N_ELEMENTS(power_controls); i++) {
        GSimpleAction *action = g_simple_action_new(power_controls[i].name, NULL);

        g_simple_action_set_enabled(action, FALSE);
        g_signal_connect(action, "activate", G_CALLBACK(action_activated), self);
        g_action_map_add_action(G_ACTION_MAP(self), G_ACTION(action));
        g_object_unref(action);
    }
}

static void spice_power_controls_constructed(GObject *object)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(object);
    GList *channels, *l;

    G_OBJECT_CLASS(spice_power_controls_parent_class)->constructed(object);

    spice_g_signal_connect_object(self->session, "channel-new",
                                  G_CALLBACK(channel_new), self, 0);
    spice_g_signal_connect_object(self->session, "channel-destroy",
                                  G_CALLBACK(channel_destroy), self, 0);
    spice_g_signal_connect_object(self->session, "notify::read-only",
                                  G_CALLBACK(update), self, G_CONNECT_SWAPPED);
    spice_g_signal_connect_object(self->session, "notify::waiting",
                                  G_CALLBACK(update), self, G_CONNECT_SWAPPED);

    channels = spice_session_get_channels(self->session);
    for (l = channels; l != NULL; l = l->next)
        channel_new(self->session, l->data, self);
    g_list_free(channels);
    update(self);

    gtk_widget_insert_action_group(GTK_WIDGET(self->window), "power", G_ACTION_GROUP(self));
}

static void spice_power_controls_dispose(GObject *object)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(object);

    if (self->question)
        gtk_widget_destroy(self->question);
    g_clear_object(&self->main);
    g_clear_object(&self->session);
    g_clear_object(&self->menu);
    if (self->window)
        g_object_remove_weak_pointer(G_OBJECT(self->window), (gpointer *)&self->window);
    self->window = NULL;

    G_OBJECT_CLASS(spice_power_controls_parent_class)->dispose(object);
}

static void spice_power_controls_finalize(GObject *object)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(object);

    g_free(self->status);
    g_free(self->reset_time);

    G_OBJECT_CLASS(spice_power_controls_parent_class)->finalize(object);
}

static void spice_power_controls_get_property(GObject *object, guint prop_id,
                                              GValue *value, GParamSpec *pspec)
{
    SpicePowerControls *self = SPICE_POWER_CONTROLS(object);

    switch (prop_id) {
    case PROP_SESSION:
        g_value_set_object(value, self->session);
        break;
    case PROP_WINDOW:
        g_value_set_object(value, self->window);
        break;
    case PROP_AVAILABLE:
        g_value_set_boolean(value, self->available);
        break;
    case PROP_OFFERS_ACTIONS:
        g_value_set_boolean(value, self->offered != 0);
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
    object_class->finalize = spice_power_controls_finalize;
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
     * The state of the machine in the user's language, with what is being done,
     * or when it was reset by these controls.
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
     * Whether a request has no result yet, or the user has not closed the
     * message that tells what became of one. A program that ends when the
     * session has been disconnected, and not by its user, waits until this is
     * not set:
     *
     * |[<!-- language="C" -->
     * gboolean busy;
     *
     * while (g_object_get(controls, "busy", &busy, NULL), busy)
     *     g_main_context_iteration(NULL, TRUE);
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
