/*
 * A machine's power: what clients ask for, done by a backend, and the state
 *
 * The state is known, and kept up to date, whether there is a SPICE server or
 * not. Everything here is for the thread of the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_POWER_H
#define GATEWAY_POWER_H

#include <spice.h>

#include "audit.h"
#include "backend.h"
#include "config.h"

typedef struct Power Power;

/*
 * The state has changed, or a request has been answered, and clients have been
 * told; or a request is about to be carried out
 */
typedef void (*PowerChanged)(guint32 state, gpointer opaque);

/*
 * Neither @config nor @backend is taken; both must outlive it. Nothing is done
 * until power_watch().
 */
Power *power_new(const MachineConfig *config, Backend *backend,
                 PowerChanged changed, gpointer opaque);

/* Begin to ask for the state, or to be told it; once */
void power_watch(Power *power);

/*
 * Whether anybody is there to see the state, as is not so at first: else it is
 * asked for less often
 */
void power_set_attended(Power *power, gboolean is_attended);

/* Returns: the record of what clients have asked for; it is the power's */
Audit *power_audit(const Power *power);

/* Returns: one of SPICE_POWER_STATE_; UNKNOWN before the first answer */
guint32 power_state(const Power *power);
/* Returns: why that is not known; or NULL */
const char *power_trouble(const Power *power);
/* Whether there is a request that is being carried out */
gboolean power_is_acting(const Power *power);
/*
 * While it is held nothing is begun that is asked for: it waits until that is
 * over, or until clients have gone to another server, which they then ask; that
 * is power_drop_held()
 */
void power_set_held(Power *power, gboolean held);
void power_drop_held(Power *power);
/* Whether there has been a first answer, if only that nobody knows */
gboolean power_is_answered(const Power *power);

/*
 * Offer power control to the clients of @server, which has been initialized.
 * One server at a time. Returns: FALSE and @error if it does not take that
 */
gboolean power_attach(Power *power, SpiceServer *server, GError **error);

/*
 * Whether only those clients may ask for actions who have come with the ticket
 * for power control; at first all may
 */
void power_set_ticketed(Power *power, gboolean ticketed);

/* Clients may do what its config says now */
void power_update_rights(Power *power);

/*
 * Answer the request that is being carried out, if there is one, with FAILED
 * and @reason; and at once what is asked for later. What the backend does is
 * not undone. Does nothing without a server.
 */
void power_refuse(Power *power, const char *reason);

/* Whether the last answer has still not reached its client's computer */
gboolean power_is_unsent(Power *power);

/*
 * Take it away from the server, which is still there; after power_refuse().
 * Does nothing without a server.
 */
void power_detach(Power *power);

/* After power_detach(), and after the backend, which may call it, is freed */
void power_free(Power *power);

#endif
