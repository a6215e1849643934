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
 * machine_power_add_change_notifier:
 * @notifier: called in the main thread, with no data, when the result of
 *            machine_power_state() or machine_power_possible() may have
 *            changed
 *
 * Must be called before the machine is created, by everybody who uses the
 * functions below.
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
 * @managed: see machine_power_check()
 *
 * Returns: the actions that would be carried out now, as a mask with the bit
 *          %BIT(action) set for each.  An action whose end state holds already
 *          (continue of a running machine, say) is not among them, even though
 *          asking for it is no error.
 */
uint32_t machine_power_possible(bool managed);

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
 * @managed: whether a management layer is going to carry it out.  Then it is
 *           not decided here who may continue a machine that somebody else has
 *           stopped, whether a machine that has not been started yet (-S) may
 *           be reset or started, and whether one that has been migrated to
 *           somewhere is still of use here.
 * @result: set to what the answer is unless it is to be carried out
 * @reason: set to why, for a person to read; static, and empty if there is
 *          nothing to say
 *
 * Returns: whether the action is to be carried out.  If not, it is refused, or
 *          there is nothing to do because its end state holds already.
 */
bool machine_power_check(MachinePowerAction action, bool managed,
                         MachinePowerResult *result, const char **reason);

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

/**
 * machine_power_run_state_changes:
 * @from: the old run state
 * @to: the new run state, which is set right afterwards
 *
 * For runstate_set() only.  Any thread that holds the BQL.
 */
void machine_power_run_state_changes(RunState from, RunState to);

/**
 * machine_power_stopped_again:
 * @reason: the run state that the machine would have got if it had been running
 *
 * For vm_stop() only: somebody has stopped a machine that was stopped already,
 * which does not change its run state.  Any thread that holds the BQL.
 */
void machine_power_stopped_again(RunState reason);

/**
 * machine_power_changed:
 *
 * Something else that decides which actions are possible has changed: a
 * setting, or whether the memory of the machine is being dumped.  Any thread,
 * with or without the BQL.
 */
void machine_power_changed(void);

#endif
