/*
 * The clients' keyboard and mouse, for the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_INPUT_H
#define GATEWAY_INPUT_H

#include <glib.h>
#include <spice.h>

#include "config.h"

/* Returns: FALSE and @error if there is no such keyboard layout */
gboolean input_init(const MachineConfig *config, GError **error);

/* There is somebody, or nobody, for whom the input is */
void input_show(SpiceServer *server);
void input_hide(void);

/* The host's keyboard has other LEDs on: tell the clients */
void input_leds_changed(void);

void input_end(void);

#endif
