/*
 * A system of a Redfish service: what it says of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_SYSTEM_H
#define GATEWAY_REDFISH_SYSTEM_H

#include "redfish-client.h"

typedef struct RedfishSystem RedfishSystem;
typedef struct RedfishLook RedfishLook;

/* Neither of them is taken; both must outlive it */
RedfishSystem *redfish_system_new(RedfishClient *client,
                                  const MachineConfig *config);
/* Its looks are cancelled before */
void redfish_system_free(RedfishSystem *system);

/* Its path; NULL if it has not been found yet */
const char *redfish_system_path(const RedfishSystem *system);
/* Where a reset is asked for; NULL if that is not known */
const char *redfish_system_reset(const RedfishSystem *system);

/*
 * The actions that it can do: SPICE_POWER_ACTION_; 0 as long as that is not
 * known
 */
guint32 redfish_system_actions(const RedfishSystem *system);
/*
 * The ResetType for an action. NULL for a reset that is ForceOff and On, one
 * after the other, and for what it can't do.
 */
const char *redfish_system_type(const RedfishSystem *system, guint32 action);

/*
 * Something is being done to it: what it has said before is not to be relied
 * upon for a while
 */
void redfish_system_touch(RedfishSystem *system);

/* The same, until it has been looked at once more */
void redfish_system_doubt(RedfishSystem *system);

/*
 * Look at it, and find it if need be. It is under way until @done is called,
 * later and once, before @deadline.
 */
RedfishLook *redfish_system_look(RedfishSystem *system, gint64 deadline,
                                 BackendStatusFunc done, gpointer opaque);
/* Give it up: nothing is called any more */
void redfish_look_cancel(RedfishLook *look);

#endif
