/*
 * spice-server's timers and watches, on GLib's main loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CORE_H
#define GATEWAY_CORE_H

#include <spice.h>

SpiceCoreInterface *core_interface(void);

#endif
