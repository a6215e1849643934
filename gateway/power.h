/*
 * The host's power: what clients ask for, done by a backend, and the state
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_POWER_H
#define GATEWAY_POWER_H

#include <spice.h>

#include "config.h"

/* The state has changed; clients have been told */
typedef void (*PowerChanged)(guint32 state);

/* Returns: FALSE and @error if the backend can't do what is configured */
gboolean power_init(SpiceServer *server, const Config *config,
                    PowerChanged changed, GError **error);

/* Whether the backend can do all that is configured */
gboolean power_check_config(const Config *config, GError **error);

/* Answer the request that is being carried out, if there is one */
void power_end(void);

const char *power_state_name(guint32 state);

#endif
