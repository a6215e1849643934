/*
 * A machine's SPICE server, listening where the configuration says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_SERVER_H
#define GATEWAY_SERVER_H

#include <spice.h>

#include "config.h"

/*
 * For the thread of the main loop, in which the server is then.
 *
 * Returns: NULL and @error if it can't be; caller calls spice_server_destroy()
 */
SpiceServer *server_new(const MachineConfig *config, GError **error);

#endif
