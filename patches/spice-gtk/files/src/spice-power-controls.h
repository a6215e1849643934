/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef __SPICE_POWER_CONTROLS_H__
#define __SPICE_POWER_CONTROLS_H__

#if !defined(__SPICE_CLIENT_GTK_H_INSIDE__) && !defined(SPICE_COMPILATION)
#warning "Only <spice-client-gtk.h> can be included directly"
#endif

#include <gtk/gtk.h>
#include "spice-client.h"

G_BEGIN_DECLS

/**
 * SpicePowerControls:
 *
 * The #SpicePowerControls struct is opaque and should not be accessed directly.
 *
 * Since: 0.43
 */
#define SPICE_TYPE_POWER_CONTROLS (spice_power_controls_get_type())
G_DECLARE_FINAL_TYPE(SpicePowerControls, spice_power_controls, SPICE, POWER_CONTROLS, GObject)

SpicePowerControls *spice_power_controls_new(SpiceSession *session, GtkWindow *window);
GMenuModel *spice_power_controls_get_menu(SpicePowerControls *controls);
GtkWidget *spice_power_controls_new_status(SpicePowerControls *controls);
GtkWidget *spice_power_controls_new_view(SpicePowerControls *controls, GtkWidget *display);

G_END_DECLS

#endif /* __SPICE_POWER_CONTROLS_H__ */
