/*
 * Virt Viewer: A virtual machine console viewer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <config.h>

#include <glib/gi18n.h>

#include "virt-viewer-power.h"

#ifdef HAVE_SPICE_POWER_CONTROLS

#include <spice-client-gtk.h>

#include "virt-viewer-display-vte.h"
#include "virt-viewer-session-spice.h"

/*
 * What a window has for the power of the machine while there is a SPICE
 * session: the items of the Machine menu, the state in both header bars, and a
 * page in place of the display while the machine is powered off. All of it is
 * spice-gtk's, and none can be seen if the server has no power control. The
 * Machine menu is the usual one then. A kiosk has the page only.
 */
struct _VirtViewerPower {
    GtkWindow *window;
    SpicePowerControls *controls;
    GtkMenuButton *button[2]; /* NULL in a kiosk, as all up to the menu */
    GtkWidget *status[2];
    GMenuModel *usual_menu;
    GMenuModel *menu;
    GtkWidget *view; /* around the notebook, or NULL */
    GtkWidget *notebook;
};

static GMenuModel *
create_menu(VirtViewerPower *self)
{
    GMenu *menu = g_menu_new();
    GMenu *section = g_menu_new();
    GMenuItem *item;
    GMenuModel *displays;

    /* The app fills this section, in whichever menu it is */
    displays = g_menu_model_get_item_link(self->usual_menu, 0, G_MENU_LINK_SECTION);
    g_menu_append_section(menu, NULL, displays);
    g_menu_append_section(menu, NULL, spice_power_controls_get_menu(self->controls));

    /* This asks the guest, which a SPICE server can't; it takes a QMP port.
     *
     * Translators: "Power Off", which cuts the power, is in the same menu, in
     * the words of spice-gtk. Take others here: the guest is asked to shut
     * down. No other item has the key D there in English, German, French and
     * Italian. */
    item = g_menu_item_new(_("Shut _Down Guest"), "app.machine-powerdown");
    g_menu_item_set_attribute(item, "hidden-when", "s", "action-disabled");
    g_menu_append_item(section, item);
    g_menu_append_section(menu, NULL, G_MENU_MODEL(section));

    g_object_unref(displays);
    g_object_unref(item);
    g_object_unref(section);
    return G_MENU_MODEL(menu);
}

static void
available_changed(SpicePowerControls *controls,
                  GParamSpec *pspec G_GNUC_UNUSED,
                  VirtViewerPower *self)
{
    gboolean available;
    int i;

    g_object_get(controls, "available", &available, NULL);
    for (i = 0; i < G_N_ELEMENTS(self->button); i++) {
        gtk_menu_button_set_menu_model(self->button[i],
                                       available ? self->menu : self->usual_menu);
    }
}

static void
add_to_bars(VirtViewerPower *self, GtkBuilder *builder)
{
    static const char *const bars[] = { "header", "toolbar" };
    int i;

    for (i = 0; i < G_N_ELEMENTS(bars); i++) {
        gchar *name = g_strconcat(bars[i], "-machine", NULL);

        self->button[i] = GTK_MENU_BUTTON(gtk_builder_get_object(builder, name));
        self->status[i] = spice_power_controls_new_status(self->controls);
        gtk_header_bar_pack_start(GTK_HEADER_BAR(gtk_builder_get_object(builder, bars[i])),
                                  self->status[i]);
        g_free(name);
    }

    self->usual_menu = g_object_ref(gtk_menu_button_get_menu_model(self->button[0]));
    self->menu = create_menu(self);
    g_signal_connect(self->controls, "notify::available",
                     G_CALLBACK(available_changed), self);
    available_changed(self->controls, NULL, self);
}

static void
remove_from_bars(VirtViewerPower *self)
{
    int i;

    g_signal_handlers_disconnect_by_func(self->controls, available_changed, self);
    for (i = 0; i < G_N_ELEMENTS(self->button); i++) {
        gtk_menu_button_set_menu_model(self->button[i], self->usual_menu);
        gtk_widget_destroy(self->status[i]);
    }
    g_object_unref(self->usual_menu);
    g_object_unref(self->menu);
}

static void
add_view(VirtViewerPower *self)
{
    GtkWidget *parent = gtk_widget_get_parent(self->notebook);

    g_object_ref(self->notebook);
    gtk_container_remove(GTK_CONTAINER(parent), self->notebook);
    self->view = spice_power_controls_new_view(self->controls, self->notebook);
    gtk_container_add(GTK_CONTAINER(parent), self->view);
    g_object_unref(self->notebook);
}

static void
remove_view(VirtViewerPower *self)
{
    GtkWidget *parent = gtk_widget_get_parent(self->view);

    g_object_ref(self->notebook);
    gtk_container_remove(GTK_CONTAINER(self->view), self->notebook);
    gtk_container_remove(GTK_CONTAINER(parent), self->view);
    gtk_container_add(GTK_CONTAINER(parent), self->notebook);
    g_object_unref(self->notebook);
    self->view = NULL;
}

/**
 * virt_viewer_power_new:
 * @window: a #VirtViewerWindow
 * @session: a session that is connected
 * @kiosk: whether @window is that of a kiosk
 *
 * Returns: what controls the power in @window, or %NULL if there is nothing
 * for that in the protocol. The other functions take %NULL, too.
 */
VirtViewerPower *
virt_viewer_power_new(VirtViewerWindow *window, VirtViewerSession *session, gboolean kiosk)
{
    VirtViewerPower *self;
    SpiceSession *spice_session;

    if (!VIRT_VIEWER_IS_SESSION_SPICE(session))
        return NULL;

    self = g_new0(VirtViewerPower, 1);
    self->window = virt_viewer_window_get_window(window);
    self->notebook = GTK_WIDGET(virt_viewer_window_get_notebook(window));
    g_object_get(session, "spice-session", &spice_session, NULL);
    self->controls = spice_power_controls_new(spice_session, self->window);
    g_object_unref(spice_session);

    if (!kiosk)
        add_to_bars(self, virt_viewer_window_get_builder(window));
    virt_viewer_power_set_display(self, virt_viewer_window_get_display(window));

    return self;
}

void
virt_viewer_power_free(VirtViewerPower *self)
{
    if (!self)
        return;

    if (self->view)
        remove_view(self);
    if (self->menu)
        remove_from_bars(self);
    gtk_widget_insert_action_group(GTK_WIDGET(self->window), "power", NULL);

    g_object_unref(self->controls);
    g_free(self);
}

/**
 * virt_viewer_power_set_display:
 * @self: a #VirtViewerPower, or %NULL
 * @display: the display that the window is going to have, or %NULL
 *
 * While the machine is powered off a display may be gone, so it's what the
 * window says about that that is replaced, too. A text console stays: one may
 * want to read there what was the matter, and QEMU's monitor is of use then.
 */
void
virt_viewer_power_set_display(VirtViewerPower *self, VirtViewerDisplay *display)
{
    gboolean view = !VIRT_VIEWER_IS_DISPLAY_VTE(display);

    if (!self || view == (self->view != NULL))
        return;

    if (view)
        add_view(self);
    else
        remove_view(self);
}

/**
 * virt_viewer_power_hides_display:
 * @self: a #VirtViewerPower, or %NULL
 *
 * Returns: whether the window shows that the machine is powered off. What is
 * typed is not for the display then.
 */
gboolean
virt_viewer_power_hides_display(VirtViewerPower *self)
{
    return self && self->view && !gtk_widget_get_child_visible(self->notebook);
}

/**
 * virt_viewer_power_wait:
 * @self: a #VirtViewerPower, or %NULL
 *
 * If the connection has ended before there was a result, let the user read
 * that: wait until the message has been closed.
 */
void
virt_viewer_power_wait(VirtViewerPower *self)
{
    SpicePowerControls *controls;
    gboolean busy;

    if (!self)
        return;

    /* the window may go meanwhile, and @self with it */
    controls = g_object_ref(self->controls);
    while (g_object_get(controls, "busy", &busy, NULL), busy)
        g_main_context_iteration(NULL, TRUE);
    g_object_unref(controls);
}

#else /* !HAVE_SPICE_POWER_CONTROLS */

VirtViewerPower *
virt_viewer_power_new(VirtViewerWindow *window G_GNUC_UNUSED,
                      VirtViewerSession *session G_GNUC_UNUSED,
                      gboolean kiosk G_GNUC_UNUSED)
{
    return NULL;
}

void
virt_viewer_power_free(VirtViewerPower *self G_GNUC_UNUSED)
{
}

void
virt_viewer_power_set_display(VirtViewerPower *self G_GNUC_UNUSED,
                              VirtViewerDisplay *display G_GNUC_UNUSED)
{
}

gboolean
virt_viewer_power_hides_display(VirtViewerPower *self G_GNUC_UNUSED)
{
    return FALSE;
}

void
virt_viewer_power_wait(VirtViewerPower *self G_GNUC_UNUSED)
{
}

#endif
