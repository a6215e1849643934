/*
 * Where a VNC server is, who we are there, and who it has to be
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CONFIG_VNC_H
#define GATEWAY_CONFIG_VNC_H

#include "config.h"

/* Whether the group [vnc] makes sense, before anything is sent */
gboolean config_vnc_check(const MachineConfig *config, GError **error);

/*
 * With a URL: host and port are that's. Who connects need not know what for.
 * With a session whom to trust is what [redfish] says, unless [vnc] says it.
 */
void config_vnc_complete(MachineConfig *config);

#endif
