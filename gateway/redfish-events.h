/*
 * The events of a Redfish service, as it sends them by SSE
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_EVENTS_H
#define GATEWAY_REDFISH_EVENTS_H

#include "redfish-system.h"

typedef struct RedfishEvents RedfishEvents;

typedef struct RedfishEventsTimes {
    guint first_ms;             /* before they are tried again */
    guint last_ms;              /* it's longer each time, up to that */
    guint gap_ms;               /* between looks, however many there are */
} RedfishEventsTimes;
/* For tests */
extern RedfishEventsTimes redfish_events_times;

/*
 * @changed is called whenever something may have happened to @system, and when
 * events begin or break off. Nothing is taken.
 */
RedfishEvents *redfish_events_new(RedfishClient *client,
                                  const RedfishSystem *system,
                                  const MachineConfig *config,
                                  void (*changed)(gpointer opaque),
                                  gpointer opaque);
void redfish_events_free(RedfishEvents *events);

/*
 * Whether they are wanted; they are not at first. Nobody logs in for their
 * sake: this is to be called again when the service has answered.
 */
void redfish_events_want(RedfishEvents *events, gboolean is_wanted);

/* Whether they come */
gboolean redfish_events_come(const RedfishEvents *events);

#endif
