/*
 * The way to a VNC server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_VNC_CONNECT_H
#define GATEWAY_VNC_CONNECT_H

#include <gio/gio.h>

#include "config.h"

/*
 * Look the name up, and connect. This is all that needs the network's names:
 * who has the descriptor needs nothing else to speak with the server.
 */
void vnc_connect_async(const MachineConfig *config, GCancellable *cancellable,
                       GAsyncReadyCallback callback, gpointer opaque);

/* Returns: a descriptor, which is the caller's; -1 and @error if there is none */
int vnc_connect_finish(GAsyncResult *result, GError **error);

#endif
