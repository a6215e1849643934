/*
 * One machine: its power, and what clients see of it and type for it
 *
 * What a machine is made of is made here, and knows nothing of it: its parts
 * call each other in one direction, and tell the other way by functions that
 * they are given. Everything here is for the thread of the main loop, and as
 * many machines as one likes may be there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_MACHINE_H
#define GATEWAY_MACHINE_H

#include <glib.h>
#include <spice.h>

#include "audit.h"
#include "config.h"
#include "shared-port.h"

typedef struct Machine Machine;

/* For tests, which have less time */
typedef struct MachineTimes {
    guint unused_ms;            /* that a server without clients is kept */
    guint wait_ms;              /* for a client until its password is known */
    /*
     * Until it is looked again whether the machine's own server takes clients,
     * and until those who have come back from it are sent there again
     */
    guint again_ms;
    guint look_ms;              /* that video goes on when nobody looks */
} MachineTimes;

extern MachineTimes machine_times;

/*
 * @config is not taken, and must outlive it. Nothing outside is touched yet.
 *
 * Returns: NULL and @error if the configuration can't be; that has no file name
 */
Machine *machine_new(const MachineConfig *config, GError **error);

/* Returns: what it was made of */
const MachineConfig *machine_config(const Machine *machine);

/*
 * From now on the state is known, with a SPICE server or without; once. What
 * this takes is the backend's.
 */
void machine_watch(Machine *machine);

/* Returns: one of SPICE_POWER_STATE_; UNKNOWN at first */
guint32 machine_state(const Machine *machine);
/* Returns: why that is not known; or NULL */
const char *machine_trouble(const Machine *machine);
/* Returns: the record of what its clients have asked for; the machine's */
Audit *machine_audit(const Machine *machine);
/* Returns: how many there are now */
guint machine_clients(const Machine *machine);

/*
 * Clients can connect from now on, to its own port if it has one. If they need
 * a password that is not known yet, it listens when it is.
 *
 * Returns: FALSE and @error if that can't be; then it has no server
 */
gboolean machine_start(Machine *machine, GError **error);

gboolean machine_is_started(const Machine *machine);

/*
 * One who has come by the port for all machines. Takes @fd, and makes its SPICE
 * server if there is none; that ends some time after the last client has left,
 * unless it has a port of its own.
 */
void machine_add_client(Machine *machine, const Arrival *arrival, int fd);

gboolean machine_has_clients(const Machine *machine);

/*
 * Clients that come from now on need the password that its config has now, and
 * all have the rights that are in there
 */
void machine_reload_rights(Machine *machine);
/* They see the certificate that is in its files now */
void machine_reload_tls(Machine *machine);

/* Returns: its SPICE server, which it owns; NULL if there is none now */
SpiceServer *machine_server(const Machine *machine);

/*
 * Answer the request that is being carried out, with FAILED and @reason, and at
 * once those that come later, until machine_stop(). Does nothing if it is not
 * started.
 */
void machine_refuse(Machine *machine, const char *reason);

/*
 * Whether the last answer has still not reached its client's computer, or a
 * client has not gone where it was sent. For the end: see
 * spice_server_hand_over_is_pending().
 */
gboolean machine_is_pending(Machine *machine);

/*
 * End its SPICE server; clients are disconnected, what they have asked for is
 * refused. The state goes on being known, and it can be started again. Does
 * nothing if it is not started.
 */
void machine_stop(Machine *machine);

/* Stops it, too; gives up what its backend does. @machine may be NULL */
void machine_free(Machine *machine);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Machine, machine_free)

#endif
