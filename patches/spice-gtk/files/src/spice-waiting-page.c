/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-client.h"
#include "spice-common.h"
#include "spice-waiting-page.h"

static void update_heading(GtkLabel *heading, GParamSpec *pspec, SpiceSession *session)
{
    gchar *name = NULL, *text, *markup;

    g_object_get(session, "name", &name, NULL);
    if (name && *name)
        text = g_strdup_printf(_("Waiting for “%s” to come back"), name);
    else
        text = g_strdup(_("Waiting for the server to come back"));
    markup = g_markup_printf_escaped("<big><b>%s</b></big>", text);
    gtk_label_set_markup(heading, markup);
    g_free(markup);
    g_free(text);
    g_free(name);
}

static void update_reason(GtkLabel *label, GParamSpec *pspec, SpiceSession *session)
{
    gchar *reason, *text, *time;
    GDateTime *now;

    g_object_get(session, "waiting-reason", &reason, NULL);
    if (reason) {
        now = g_date_time_new_now_local();
        time = g_date_time_format(now, "%X");
        /* Translators: a time of day, and why it did not work, as in "Tried at 17:03:12:
         * Could not connect to db-1.example.org: Connection refused" */
        text = g_strdup_printf(_("Tried at %s: %s"), time, reason);
        g_free(time);
        g_date_time_unref(now);
    } else {
        text = g_strdup(_("The connection has ended."));
    }
    gtk_label_set_text(label, text);
    g_free(text);
    g_free(reason);
}

static void close_window(GtkWidget *button)
{
    GtkWidget *window = gtk_widget_get_toplevel(button);

    if (GTK_IS_WINDOW(window))
        gtk_window_close(GTK_WINDOW(window));
}

static void update_button(GtkWidget *button)
{
    GtkWidget *window = gtk_widget_get_toplevel(button);

    gtk_widget_set_visible(button, GTK_IS_WINDOW(window) &&
                                   gtk_window_get_deletable(GTK_WINDOW(window)));
}

static GtkWidget *new_label(void)
{
    GtkWidget *label = gtk_label_new(NULL);

    /* names and reasons may be long: the display's size is what counts */
    gtk_label_set_line_wrap(GTK_LABEL(label), TRUE);
    gtk_label_set_line_wrap_mode(GTK_LABEL(label), PANGO_WRAP_WORD_CHAR);
    gtk_label_set_justify(GTK_LABEL(label), GTK_JUSTIFY_CENTER);
    gtk_label_set_width_chars(GTK_LABEL(label), 20);
    gtk_label_set_max_width_chars(GTK_LABEL(label), 40);
    return label;
}

GtkWidget *spice_waiting_page_new(SpiceSession *session)
{
    GtkWidget *page, *image, *heading, *reason, *label, *button;

    image = gtk_image_new_from_icon_name("network-offline-symbolic", GTK_ICON_SIZE_DIALOG);
    gtk_style_context_add_class(gtk_widget_get_style_context(image), GTK_STYLE_CLASS_DIM_LABEL);

    heading = new_label();
    spice_g_signal_connect_object(session, "notify::name",
                                  G_CALLBACK(update_heading), heading, G_CONNECT_SWAPPED);
    update_heading(GTK_LABEL(heading), NULL, session);

    reason = new_label();
    spice_g_signal_connect_object(session, "notify::waiting-reason",
                                  G_CALLBACK(update_reason), reason, G_CONNECT_SWAPPED);
    update_reason(GTK_LABEL(reason), NULL, session);

    /* no mnemonic: who types Alt+C to the guest just when it goes presses no button */
    label = g_object_ref_sink(gtk_label_new_with_mnemonic(_("_Close")));
    button = gtk_button_new_with_label(gtk_label_get_text(GTK_LABEL(label)));
    g_object_unref(label);
    gtk_widget_set_halign(button, GTK_ALIGN_CENTER);
    g_signal_connect(button, "clicked", G_CALLBACK(close_window), NULL);

    page = gtk_box_new(GTK_ORIENTATION_VERTICAL, 12);
    atk_object_set_role(gtk_widget_get_accessible(page), ATK_ROLE_NOTIFICATION);
    gtk_widget_set_valign(page, GTK_ALIGN_CENTER);
    gtk_container_set_border_width(GTK_CONTAINER(page), 12);
    gtk_container_add(GTK_CONTAINER(page), image);
    gtk_container_add(GTK_CONTAINER(page), heading);
    gtk_container_add(GTK_CONTAINER(page), reason);
    gtk_container_add(GTK_CONTAINER(page), button);
    gtk_widget_show_all(page);
    /* a window that its user cannot close, as in a kiosk, has no button for that */
    gtk_widget_set_no_show_all(button, TRUE);
    spice_g_signal_connect_object(session, "notify::waiting",
                                  G_CALLBACK(update_button), button, G_CONNECT_SWAPPED);

    return page;
}
