/*
 * A machine's SPICE server, as the configuration says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_SERVER_H
#define GATEWAY_SERVER_H

#include <spice.h>

#include "config.h"
#include "core.h"
#include "shared-port.h"

/*
 * For the thread of the main loop, in which the server is then. @owner must
 * outlive it.
 *
 * Returns: NULL and @error if it can't be; caller calls spice_server_destroy()
 */
SpiceServer *server_new(const MachineConfig *config, const CoreOwner *owner,
                        GError **error);

/*
 * One more client, who has come by the port for all machines. @fd is closed if
 * it can't be, else it is the server's.
 *
 * Returns: FALSE if it has to come with TLS and has not, or the other way
 */
gboolean server_add_client(SpiceServer *server, const MachineConfig *config,
                           const CoreOwner *owner, const Arrival *arrival,
                           int fd);

/*
 * Clients have to give @ticket from now on, until @end in seconds since 1970,
 * or for ever if that is 0. NULL: nobody is let in with that
 */
void server_set_ticket(SpiceServer *server, const char *ticket, gint64 end);

/* The same for another one, that is for power control */
void server_set_power_ticket(SpiceServer *server, const char *ticket,
                             gint64 end);

#endif
