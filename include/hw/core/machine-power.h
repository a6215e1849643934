/*
 * The power switch of a machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_CORE_MACHINE_POWER_H
#define HW_CORE_MACHINE_POWER_H

#include "qapi/qapi-types-run-state.h"
#include "qapi/qapi-types-machine-power.h"
#include "qemu/notify.h"

/*
 * A remote display shows a machine to somebody who sits in front of it, so to
 * speak, and who wants its power switch: reset, power-off, power-on, pause and
 * continue.  This is the switch; it knows nothing of display protocols.
 *
 * All functions want the BQL and the main thread, but for those that say
 * otherwise.
 */

/**
 * MachinePowerDone:
 * @opaque: what was given to machine_power_request()
 * @result: whether the action has happened
 * @reason: why not, for a person to read; empty if there is nothing to say.
 *          Valid during the call only.
 *
 * Called exactly once for each machine_power_request(), after the change
 * notifiers have run: who listens to both sees the new state first.
 */
typedef void MachinePowerDone(void *opaque, MachinePowerResult result,
                              const char *reason);

/**
 * machine_power_init:
 *
 * Must be called before the machine runs, by everybody who uses the functions
 * below.  All calls but the first do nothing.
 */
void machine_power_init(void);

/**
 * machine_power_add_change_notifier:
 * @notifier: called in the main thread, with no data, when the result of
 *            machine_power_state() or machine_power_possible() may have
 *            changed
 */
void machine_power_add_change_notifier(Notifier *notifier);

/**
 * machine_power_state:
 *
 * Returns: the power state of the machine, as seen from outside
 */
MachinePowerState machine_power_state(void);

/**
 * machine_power_possible:
 *
 * Returns: the actions that machine_power_request() would carry out now, as a
 *          mask with the bit %BIT(action) set for each.  An action whose end
 *          state holds already (continue of a running machine, say) is not
 *          among them, even though asking for it is no error.
 */
uint32_t machine_power_possible(void);

/**
 * machine_power_possible_managed:
 *
 * Returns: the actions that the machine would let a management layer carry
 *          out, as a mask like that of machine_power_possible().  See
 *          machine_power_check_managed().
 */
uint32_t machine_power_possible_managed(void);

/**
 * machine_power_supported:
 *
 * Returns: the actions that the machine may be able to carry out at some time,
 *          as a mask like that of machine_power_possible().  Before the machine
 *          is ready that is not known, and all are returned; the change
 *          notifiers are called when it is.
 */
uint32_t machine_power_supported(void);

/**
 * machine_power_ending:
 *
 * Returns: whether QEMU is about to exit.  The main loop does not run again
 *          then: what must be told has to be sent before returning to it.
 */
bool machine_power_ending(void);

/**
 * machine_power_check:
 * @action: what somebody asks for
 * @result: set to what the answer is unless it is to be carried out
 * @reason: set to why, for a person to read; static, and empty if there is
 *          nothing to say
 *
 * Returns: whether machine_power_request() would carry it out.  If not, it is
 *          refused, or there is nothing to do because its end state holds
 *          already.
 */
bool machine_power_check(MachinePowerAction action,
                         MachinePowerResult *result, const char **reason);

/**
 * machine_power_check_managed:
 *
 * The same for a management layer that carries actions out by itself.  What
 * only that can know is not decided here: who may continue a machine that
 * somebody else has stopped, whether a machine that has not been started yet
 * (-S) may be reset or started, and whether one that has been migrated to
 * somewhere is still of use here.
 */
bool machine_power_check_managed(MachinePowerAction action,
                                 MachinePowerResult *result,
                                 const char **reason);

/**
 * machine_power_request:
 * @action: what to do
 * @done: called when it is done, or refused, or has failed, possibly before
 *        this function returns
 * @opaque: passed to @done
 *
 * Carry out an action.  One action is carried out at a time: during one, others
 * are refused as busy.
 */
void machine_power_request(MachinePowerAction action, MachinePowerDone *done,
                           void *opaque);

#endif
