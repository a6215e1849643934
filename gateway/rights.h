/*
 * Which actions a client may ask for, by who it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_RIGHTS_H
#define GATEWAY_RIGHTS_H

#include <spice.h>

#include "config.h"

/*
 * @is_ticketed is whether that takes the ticket for power control.
 *
 * Returns: some of SPICE_POWER_ACTION_, configured or not; unless it's all,
 * @reason tells a person why, and is not to be freed
 */
guint32 rights_actions(const MachineConfig *config, gboolean is_ticketed,
                       const SpicePowerClient *client, const char **reason);

#endif
