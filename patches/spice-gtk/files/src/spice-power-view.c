/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-client.h"
#include "spice-common.h"
#include "spice-power-view.h"
#include "spice-waiting-page.h"

static void view_update(GtkStack *view, GParamSpec *pspec, SpicePowerActions *actions)
{
    GtkWidget *display = gtk_stack_get_child_by_name(view, "display");
    GtkWidget *window = gtk_widget_get_toplevel(GTK_WIDGET(view));
    GtkWidget *page, *focus;
    SpiceSession *session;
    SpicePowerState state;
    gboolean waiting = FALSE;

    g_object_get(actions, "session", &session, "state", &state, NULL);
    if (session) {
        g_object_get(session, "waiting", &waiting, NULL);
        g_object_unref(session);
    }
    if (waiting)
        page = gtk_stack_get_child_by_name(view, "waiting");
    else if (state == SPICE_POWER_STATE_OFF)
        page = gtk_stack_get_child_by_name(view, "powered-off");
    else
        page = display;
    if (page == gtk_stack_get_visible_child(view))
        return;

    focus = GTK_IS_WINDOW(window) ? gtk_window_get_focus(GTK_WINDOW(window)) : NULL;
    if (page != display && focus &&
        (focus == display || gtk_widget_is_ancestor(focus, display))) {
        /* The stack would move it to the button: what is being typed for the
         * machine when it powers off must not power it on again, nor close the
         * window when it goes. */
        gtk_window_set_focus(GTK_WINDOW(window), NULL);
    }
    gtk_stack_set_visible_child(view, page);
    if (page == display && !focus)
        gtk_widget_grab_focus(display);
}

static void view_update_waiting(GtkStack *view, GParamSpec *pspec, SpiceSession *session)
{
    view_update(view, NULL, spice_power_actions_get(session));
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
    g_value_set_boolean(to, (g_value_get_flags(from) & SPICE_POWER_ACTION_ON) != 0);
    return TRUE;
}

GtkWidget *spice_power_view_new(SpiceSession *session, GtkWidget *display)
{
    SpicePowerActions *actions = spice_power_actions_get(session);
    GtkWidget *view, *page, *image, *heading, *label, *button;

    image = gtk_image_new_from_icon_name("system-shutdown-symbolic", GTK_ICON_SIZE_DIALOG);
    gtk_style_context_add_class(gtk_widget_get_style_context(image), GTK_STYLE_CLASS_DIM_LABEL);

    heading = gtk_label_new(NULL);
    /* the machine's name may be long: the display's size is what counts */
    gtk_label_set_line_wrap(GTK_LABEL(heading), TRUE);
    gtk_label_set_line_wrap_mode(GTK_LABEL(heading), PANGO_WRAP_WORD_CHAR);
    gtk_label_set_justify(GTK_LABEL(heading), GTK_JUSTIFY_CENTER);
    gtk_label_set_width_chars(GTK_LABEL(heading), 20);
    gtk_label_set_max_width_chars(GTK_LABEL(heading), 40);
    spice_g_signal_connect_object(session, "notify::name",
                                  G_CALLBACK(view_update_heading), heading, G_CONNECT_SWAPPED);
    view_update_heading(GTK_LABEL(heading), NULL, session);

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
    g_object_bind_property_full(actions, "allowed", button, "visible",
                                G_BINDING_SYNC_CREATE, power_on_offered, NULL, NULL, NULL);

    view = gtk_stack_new();
    /* It stays homogeneous: if the minimum grew when the display comes back, a window
     * that is just being resized would be laid out once too small for it. */
    /* a stack shows none of its children that is not visible */
    gtk_widget_show(display);
    gtk_stack_add_named(GTK_STACK(view), display, "display");
    gtk_stack_add_named(GTK_STACK(view), page, "powered-off");
    gtk_stack_add_named(GTK_STACK(view), spice_waiting_page_new(session), "waiting");
    gtk_widget_show(view);
    spice_g_signal_connect_object(actions, "notify::state",
                                  G_CALLBACK(view_update), view, G_CONNECT_SWAPPED);
    spice_g_signal_connect_object(session, "notify::waiting",
                                  G_CALLBACK(view_update_waiting), view, G_CONNECT_SWAPPED);
    view_update(GTK_STACK(view), NULL, actions);

    return view;
}
