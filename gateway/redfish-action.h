/*
 * An action of a system of a Redfish service, up to its end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_ACTION_H
#define GATEWAY_REDFISH_ACTION_H

#include "redfish-system.h"

typedef struct RedfishAction RedfishAction;

/*
 * Have one of SPICE_POWER_ACTION_ done. It is under way until @done is called,
 * later and once, before @timeout_ms have passed. Nothing is taken.
 */
RedfishAction *redfish_action_begin(RedfishClient *client,
                                    RedfishSystem *system,
                                    const MachineConfig *config,
                                    guint32 action, guint timeout_ms,
                                    BackendResultFunc done, gpointer opaque);

/* Give it up: nothing is called any more. What has been asked for, is. */
void redfish_action_cancel(RedfishAction *action);

#endif
