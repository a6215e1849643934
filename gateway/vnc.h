/*
 * The host's display, keyboard and mouse, by VNC
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_VNC_H
#define GATEWAY_VNC_H

#include <glib.h>
#include <spice.h>

#include "config.h"

void vnc_init(SpiceServer *server, const MachineConfig *config);

/*
 * Whether the host may have a display: while it may, it's connected to, and
 * again when the connection is lost. Clients see the host's picture, or why
 * there is none.
 */
void vnc_set_wanted(gboolean wanted);

void vnc_end(void);

/*
 * Events for the host; lost if there is no connection, or if nothing has come
 * from it since the last thousand. vnc_key() tells whether it is sent.
 */
gboolean vnc_key(guint32 keysym, guint16 scancode, gboolean down);
void vnc_pointer(int x, int y, guint8 buttons);

/* VNC_LEDSTATE_ of the host's keyboard */
int vnc_leds(void);

#endif
