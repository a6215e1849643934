/*
 * Which of a Redfish service's systems is meant
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_FIND_H
#define GATEWAY_REDFISH_FIND_H

#include "redfish-client.h"

typedef struct RedfishFind RedfishFind;

/* With @path; or with NULL and why, valid during the call */
typedef void (*RedfishFound)(const char *path, const char *trouble,
                             BackendTrouble kind, gpointer opaque);

/*
 * Look for the system with that id, name or UUID; with NULL for the only one.
 * It is under way until @found is called, later and once.
 */
RedfishFind *redfish_find(RedfishClient *client, const char *wanted,
                          gint64 deadline, RedfishFound found,
                          gpointer opaque);

/* Give it up: nothing is called any more */
void redfish_find_cancel(RedfishFind *find);

#endif
