/*
 * All the machines of one process
 *
 * Everything here is for the thread of the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <glib.h>

#include "machine.h"

typedef struct Gateway Gateway;

/*
 * A machine for each MachineConfig of @configs, of which it has a reference
 * then. Nothing outside is touched yet. What is wrong with some of them is
 * added to @problems, as lines that begin with the file's name.
 */
Gateway *gateway_new(GPtrArray *configs, GPtrArray *problems);

/*
 * Watch and start them all.
 *
 * Returns: FALSE and @error if one can't be started; then the gateway is of no
 * use but for gateway_free()
 */
gboolean gateway_start(Gateway *gateway, GError **error);

/* Returns: the one of that name, or NULL; it is the gateway's */
Machine *gateway_machine(const Gateway *gateway, const char *name);

/*
 * Answer what clients have asked of any of them, and wait a moment for that to
 * reach them; this is the only function that blocks. Afterwards there is
 * nothing but gateway_free() for it.
 */
void gateway_end(Gateway *gateway);

void gateway_free(Gateway *gateway);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Gateway, gateway_free)

#endif
