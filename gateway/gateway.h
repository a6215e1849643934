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

/* For tests, which have less time */
extern guint gateway_replace_ms;

/*
 * A machine for each that has a file; @config is the gateway's then. Nothing
 * outside is touched yet. What is wrong with some of them is added to
 * @problems, as lines that begin with the file's name.
 */
Gateway *gateway_new(Config *config, GPtrArray *problems);

/*
 * Watch and start them all, and those of the hypervisors as they are found. Of
 * several, those that can't be started now are tried again and again.
 *
 * Returns: FALSE and @error if clients could come to none; then the gateway is
 * of no use but for gateway_free()
 */
gboolean gateway_start(Gateway *gateway, GError **error);

/*
 * Returns: the one of that name, or whose domain has that name or UUID, in
 * capitals or not; or NULL. It is the gateway's.
 */
Machine *gateway_machine(const Gateway *gateway, const char *name);

/* Call @func for each, in the order of their names as far as they have files */
void gateway_each(const Gateway *gateway,
                  void (*func)(Machine *machine, gpointer opaque),
                  gpointer opaque);

/* Returns: how it is, in a line; caller frees */
char *gateway_status(const Gateway *gateway);

/*
 * Go over to another configuration, which is the gateway's then. Certificates
 * and passwords are new for who comes from now on. Of the machines, those that
 * have another configuration are made anew, as soon as nobody is connected; who
 * is connected to one that is not there any more is disconnected.
 */
void gateway_reload(Gateway *gateway, Config *config);

/*
 * Answer what clients have asked of any of them, and wait a moment for that to
 * reach them; this is the only function that blocks. Afterwards there is
 * nothing but gateway_free() for it.
 */
void gateway_end(Gateway *gateway);

void gateway_free(Gateway *gateway);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Gateway, gateway_free)

#endif
