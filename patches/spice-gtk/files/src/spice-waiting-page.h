/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gtk/gtk.h>
#include "spice-client.h"

G_BEGIN_DECLS

/* What a window shows while SpiceSession:waiting is set: that the server is away and what
 * became of the last attempt to connect to it, and a button that closes the window. A new
 * widget, with a floating reference */
GtkWidget *spice_waiting_page_new(SpiceSession *session);

G_END_DECLS
