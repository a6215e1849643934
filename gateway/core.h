/*
 * spice-server's timers and watches, on GLib's main loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CORE_H
#define GATEWAY_CORE_H

#include <spice.h>

/*
 * The same for all servers: it holds nothing. For servers of the thread of the
 * main loop.
 */
SpiceCoreInterface *core_interface(void);

#endif
