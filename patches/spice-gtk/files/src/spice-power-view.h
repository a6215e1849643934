/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gtk/gtk.h>
#include "spice-client.h"

G_BEGIN_DECLS

/* What spice_power_controls_new_view() returns */
GtkWidget *spice_power_view_new(SpiceSession *session, GtkWidget *display);

G_END_DECLS
