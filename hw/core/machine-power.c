/*
 * The power switch of a machine
 *
 * The run state tells what QEMU is doing with a machine.  For the person at a
 * remote display that is too much and too little: an I/O error and a pause
 * look the same from there, while whether "continue" may be pressed depends on
 * who has stopped the machine.  This file maps run states to power states and
 * to the actions that are possible, carries the actions out, and tells when
 * their effect is there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "hw/core/machine-power.h"
#include "hw/qdev-core.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-misc.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/cpus.h"
#include "system/replay.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "system/runstate-action.h"
#include "system/system.h"
#include "trace.h"

/* An action whose effect is not there after so long has failed */
#define MACHINE_POWER_TIMEOUT_MS (10 * 1000)

/* What a run state makes of an action: one of these two, or why not */
static const char possible[] = "possible";
static const char already[] = "already";

static const char not_off[] = "The machine is not off";
static const char use_continue[] =
    "The machine is not off but stopped: use continue";
static const char is_off[] = "The machine is off: use power-on";
static const char is_suspended[] =
    "The machine is suspended: only its guest's wake-up ends that";
static const char needs_reset[] =
    "The machine has failed and must be reset first";
static const char not_started[] =
    "The machine has not been started yet: who started QEMU with -S decides";
static const char others_pause[] =
    "The machine was not paused from here: who paused it must continue it";
static const char debugged[] = "The machine is under control of a debugger";
static const char migrating[] = "The machine is being migrated";
static const char migrated[] = "The machine has been migrated away";
static const char snapshot[] =
    "A snapshot or dump of the machine is being made or loaded";
static const char colo[] = "The machine is under control of COLO";

typedef struct RunStatePower {
    MachinePowerState state;
    const char *verdict[MACHINE_POWER_ACTION__MAX];
} RunStatePower;

/* In the order of MachinePowerAction: reset, off, on, pause, continue */
static const RunStatePower run_state_power[RUN_STATE__MAX] = {
    [RUN_STATE_RUNNING] = {
        MACHINE_POWER_STATE_ON,
        { possible, possible, already, possible, already },
    },
    [RUN_STATE_SUSPENDED] = {
        MACHINE_POWER_STATE_SUSPENDED,
        { possible, possible, is_suspended, possible, is_suspended },
    },
    [RUN_STATE_PAUSED] = {
        MACHINE_POWER_STATE_PAUSED,
        { possible, possible, use_continue, already, possible },
    },
    /* After a reset; what differs before the first start is in the code */
    [RUN_STATE_PRELAUNCH] = {
        MACHINE_POWER_STATE_PAUSED,
        { possible, possible, use_continue, already, possible },
    },
    [RUN_STATE_SHUTDOWN] = {
        MACHINE_POWER_STATE_OFF,
        { is_off, already, possible, is_off, is_off },
    },
    [RUN_STATE_IO_ERROR] = {
        MACHINE_POWER_STATE_PAUSED,
        { possible, possible, use_continue, already, possible },
    },
    [RUN_STATE_WATCHDOG] = {
        MACHINE_POWER_STATE_PAUSED,
        { possible, possible, use_continue, already, possible },
    },
    [RUN_STATE_GUEST_PANICKED] = {
        MACHINE_POWER_STATE_CRASHED,
        { possible, possible, not_off, already, possible },
    },
    [RUN_STATE_INTERNAL_ERROR] = {
        MACHINE_POWER_STATE_CRASHED,
        { possible, possible, not_off, already, needs_reset },
    },
    [RUN_STATE_DEBUG] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = debugged },
    },
    [RUN_STATE_INMIGRATE] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = migrating },
    },
    [RUN_STATE_FINISH_MIGRATE] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = migrating },
    },
    [RUN_STATE_POSTMIGRATE] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = migrated },
    },
    [RUN_STATE_SAVE_VM] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = snapshot },
    },
    [RUN_STATE_RESTORE_VM] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = snapshot },
    },
    [RUN_STATE_COLO] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = colo },
    },
};

static NotifierList change_notifiers =
    NOTIFIER_LIST_INITIALIZER(change_notifiers);
static QEMUBH *power_bh;

static bool started;        /* it has run, or was loaded from where it ran */
static bool pausing;        /* the pause that is being made is ours */
static bool may_continue;   /* nobody else has a reason to keep it stopped */
static bool ending;         /* QEMU exits, and the machine with it */

/* The action that is being carried out; none if @done is NULL */
static struct {
    MachinePowerAction action;
    MachinePowerDone *done;
    void *opaque;
    QEMUTimer *timer;
    bool must_run;          /* the machine must run when the action is done */
    const char *kept;       /* but it must not: why, if there is a reason */
    bool acted;             /* the main loop has done what it was asked for */
} pending;

/*
 * Returns @possible, @already, or why the action is refused, and then also the
 * result that says so.
 */
static const char *machine_power_verdict(MachinePowerAction action,
                                         bool managed,
                                         MachinePowerResult *result)
{
    bool resets = action == MACHINE_POWER_ACTION_RESET ||
                  action == MACHINE_POWER_ACTION_POWER_ON;
    /* A suspended machine is started again after its reset */
    bool stops_or_starts = action == MACHINE_POWER_ACTION_PAUSE ||
                           action == MACHINE_POWER_ACTION_CONTINUE ||
                           action == MACHINE_POWER_ACTION_POWER_ON ||
                           (action == MACHINE_POWER_ACTION_RESET &&
                            runstate_check(RUN_STATE_SUSPENDED));
    RunState state = runstate_get();
    const char *verdict;

    if (managed && state == RUN_STATE_POSTMIGRATE) {
        /*
         * It may just have been saved to a file.  Only the management layer
         * knows whether it runs elsewhere now.
         */
        state = RUN_STATE_PAUSED;
    }
    verdict = run_state_power[state].verdict[action];

    *result = MACHINE_POWER_RESULT_WRONG_STATE;

    if (!phase_check(PHASE_MACHINE_READY)) {
        return "The machine is not ready yet";
    }
    if (ending) {
        return "QEMU is exiting";
    }
    if (replay_mode == REPLAY_MODE_PLAY) {
        return "A recorded execution is being replayed";
    }

    if (!managed && runstate_check(RUN_STATE_PRELAUNCH) && !started &&
        (action == MACHINE_POWER_ACTION_RESET ||
         action == MACHINE_POWER_ACTION_CONTINUE)) {
        return not_started;
    }
    if (!managed && action == MACHINE_POWER_ACTION_CONTINUE &&
        verdict == possible && !may_continue) {
        return others_pause;
    }
    if (!managed && verdict == use_continue && !may_continue) {
        return not_off;
    }
    if (verdict != possible) {
        return verdict;
    }

    if (stops_or_starts && qemu_system_dump_in_progress()) {
        *result = MACHINE_POWER_RESULT_BUSY;
        return "The memory of the machine is being dumped";
    }
    if (resets && !cpus_are_resettable()) {
        *result = MACHINE_POWER_RESULT_UNSUPPORTED;
        return "The CPUs of this machine cannot be reset";
    }
    if (resets && reboot_action == REBOOT_ACTION_SHUTDOWN) {
        *result = MACHINE_POWER_RESULT_DENIED;
        return "A reset would shut the machine down: QEMU has the setting"
               " -action reboot=shutdown";
    }
    return possible;
}

MachinePowerState machine_power_state(void)
{
    if (ending) {
        return MACHINE_POWER_STATE_OFF;
    }
    return run_state_power[runstate_get()].state;
}

bool machine_power_ending(void)
{
    return ending;
}

uint32_t machine_power_possible(bool managed)
{
    MachinePowerAction action;
    MachinePowerResult unused;
    uint32_t mask = 0;

    for (action = 0; action < MACHINE_POWER_ACTION__MAX; action++) {
        if (machine_power_verdict(action, managed, &unused) == possible) {
            mask |= BIT(action);
        }
    }
    return mask;
}

uint32_t machine_power_supported(void)
{
    uint32_t mask = MAKE_64BIT_MASK(0, MACHINE_POWER_ACTION__MAX);

    if (phase_check(PHASE_MACHINE_READY) && !cpus_are_resettable()) {
        mask &= ~(BIT(MACHINE_POWER_ACTION_RESET) |
                  BIT(MACHINE_POWER_ACTION_POWER_ON));
    }
    return mask;
}

static void machine_power_finish(MachinePowerResult result, const char *reason)
{
    MachinePowerDone *done = pending.done;

    trace_machine_power_finish(MachinePowerAction_str(pending.action),
                               MachinePowerResult_str(result), reason);
    timer_del(pending.timer);
    pending.done = NULL;
    notifier_list_notify(&change_notifiers, NULL);
    done(pending.opaque, result, reason);
}

static void machine_power_timeout(void *opaque)
{
    machine_power_finish(MACHINE_POWER_RESULT_FAILED,
                         "It has had no effect within 10 seconds");
}

/* Unlike vm_start(), this checks all that the QMP command checks */
static void machine_power_continue(void)
{
    Error *err = NULL;

    qmp_cont(&err);
    if (err) {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED,
                             error_get_pretty(err));
        error_free(err);
    } else if (!runstate_is_live(runstate_get())) {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED,
                             "The machine was stopped again at once");
    } else {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    }
}

static void machine_power_pause(void)
{
    g_autofree char *reason = NULL;
    int ret;

    pausing = true;
    ret = vm_stop(RUN_STATE_PAUSED);
    pausing = false;

    if (ret < 0) {
        reason = g_strdup_printf("The machine is paused, but its disks could"
                                 " not be flushed: %s", strerror(-ret));
        machine_power_finish(MACHINE_POWER_RESULT_FAILED, reason);
    } else {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    }
}

/* The main loop has reset the machine, or shut it down; see what came of it */
static void machine_power_advance(void)
{
    if (pending.action == MACHINE_POWER_ACTION_POWER_OFF) {
        if (runstate_check(RUN_STATE_SHUTDOWN)) {
            machine_power_finish(MACHINE_POWER_RESULT_OK, "");
        } else if (runstate_check(RUN_STATE_PRELAUNCH) ||
                   runstate_is_live(runstate_get())) {
            /* It was reset at the same time, which comes after the shutdown */
            pending.acted = false;
            qemu_system_shutdown_request(SHUTDOWN_CAUSE_HOST_UI);
        } else {
            machine_power_finish(MACHINE_POWER_RESULT_FAILED,
                                 "Something else has stopped the machine at"
                                 " the same time, and keeps it");
        }
    } else if (pending.must_run && runstate_check(RUN_STATE_PRELAUNCH)) {
        if (pending.kept) {
            machine_power_finish(MACHINE_POWER_RESULT_FAILED, pending.kept);
        } else {
            /* If that fails, it is ours to try again */
            may_continue = true;
            machine_power_continue();
        }
    } else if (pending.action == MACHINE_POWER_ACTION_POWER_ON &&
               !runstate_is_live(runstate_get())) {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED, pending.kept ?:
                             "Something else keeps the machine from running");
    } else {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    }
}

/*
 * Runs when a change is complete: run states are set, and resets and shutdowns
 * noticed, in the midst of what the main loop does about them.
 */
static void machine_power_bh(void *opaque)
{
    if (pending.done && pending.acted) {
        machine_power_advance();
    } else {
        notifier_list_notify(&change_notifiers, NULL);
    }
}

static void machine_power_reset_handler(void *opaque)
{
    RunState state = runstate_get();

    if (pending.done && (pending.action == MACHINE_POWER_ACTION_RESET ||
                         pending.action == MACHINE_POWER_ACTION_POWER_ON)) {
        /*
         * Unless somebody has stopped it in the meantime, a machine that is
         * reset while it is suspended, or shuts down, must be made to run.
         * One that runs does so by itself.
         */
        pending.must_run = pending.action == MACHINE_POWER_ACTION_POWER_ON ||
                           state == RUN_STATE_SUSPENDED ||
                           state == RUN_STATE_SHUTDOWN;
        pending.acted = true;
        machine_power_changed();
    }
}

static void machine_power_shutdown(Notifier *notifier, void *data)
{
    bool ours = pending.done &&
                pending.action == MACHINE_POWER_ACTION_POWER_OFF;

    if (shutdown_action == SHUTDOWN_ACTION_PAUSE) {
        pending.acted |= ours;
        machine_power_changed();
        return;
    }

    /* Nothing stops QEMU from exiting now, and nothing runs later to say so */
    ending = true;
    if (ours) {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    } else if (pending.done) {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED, "QEMU is exiting");
    } else {
        notifier_list_notify(&change_notifiers, NULL);
    }
}

static void machine_power_init_done(Notifier *notifier, void *data)
{
    machine_power_changed();
}

bool machine_power_check(MachinePowerAction action, bool managed,
                         MachinePowerResult *result, const char **reason)
{
    const char *verdict = machine_power_verdict(action, managed, result);

    /*
     * A reset that others have asked for is no reason to refuse: a guest may do
     * that over and over, and whoever sees it wants to switch it off.
     */
    if (verdict == possible &&
        (pending.done ||
         qemu_shutdown_requested_get() != SHUTDOWN_CAUSE_NONE)) {
        *result = MACHINE_POWER_RESULT_BUSY;
        verdict = "Another reset, power-off or power-on is under way";
    }
    trace_machine_power_check(MachinePowerAction_str(action),
                              RunState_str(runstate_get()), verdict);

    if (verdict == already) {
        *result = MACHINE_POWER_RESULT_OK;
        *reason = "";
    } else {
        *reason = verdict;
    }
    return verdict == possible;
}

void machine_power_request(MachinePowerAction action, MachinePowerDone *done,
                           void *opaque)
{
    MachinePowerResult result;
    const char *reason;

    if (!machine_power_check(action, false, &result, &reason)) {
        done(opaque, result, reason);
        return;
    }

    pending.action = action;
    pending.done = done;
    pending.opaque = opaque;
    pending.must_run = false;
    pending.kept = NULL;
    pending.acted = false;
    timer_mod(pending.timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                             MACHINE_POWER_TIMEOUT_MS);

    switch (action) {
    case MACHINE_POWER_ACTION_RESET:
    case MACHINE_POWER_ACTION_POWER_ON:
        qemu_system_reset_request(SHUTDOWN_CAUSE_HOST_UI);
        break;
    case MACHINE_POWER_ACTION_POWER_OFF:
        qemu_system_shutdown_request(SHUTDOWN_CAUSE_HOST_UI);
        break;
    case MACHINE_POWER_ACTION_PAUSE:
        machine_power_pause();
        break;
    case MACHINE_POWER_ACTION_CONTINUE:
        machine_power_continue();
        break;
    default:
        g_assert_not_reached();
    }
}

void machine_power_run_state_changes(RunState from, RunState to)
{
    switch (to) {
    case RUN_STATE_COLO:
    case RUN_STATE_FINISH_MIGRATE:
    case RUN_STATE_POSTMIGRATE:
    case RUN_STATE_RESTORE_VM:
    case RUN_STATE_SAVE_VM:
        /*
         * This may happen in the midst of a reset, which gives the lock away.
         * The machine must not run here if it runs elsewhere.
         */
        pending.kept = "The machine was reset, but it was migrated or saved at"
                       " the same time";
        break;
    default:
        break;
    }

    switch (to) {
    case RUN_STATE_FINISH_MIGRATE:
    case RUN_STATE_PRELAUNCH:
        /*
         * Neither a migration, which may fail, nor a reset changes who has
         * stopped the machine.
         */
        break;
    case RUN_STATE_PAUSED:
    case RUN_STATE_GUEST_PANICKED:
    case RUN_STATE_INTERNAL_ERROR:
    case RUN_STATE_IO_ERROR:
    case RUN_STATE_WATCHDOG:
        if (from == RUN_STATE_FINISH_MIGRATE) {
            /* The migration has failed: all is as it was before */
        } else if (to == RUN_STATE_PAUSED) {
            may_continue = pausing;
        } else {
            /* It has stopped by itself */
            may_continue = true;
        }
        break;
    default:
        may_continue = false;
        break;
    }

    if (to != RUN_STATE_PRELAUNCH && to != RUN_STATE_INMIGRATE &&
        to != RUN_STATE_FINISH_MIGRATE) {
        started = true;
    }
    machine_power_changed();
}

void machine_power_stopped_again(RunState reason)
{
    /*
     * Only a pause has an owner who relies on it: the monitor's "stop", or a
     * debugger.  Other reasons are errors of the machine, or pass with the
     * snapshot or dump that is made.
     */
    if (reason == RUN_STATE_PAUSED || reason == RUN_STATE_DEBUG) {
        may_continue = false;
        pending.kept = "The machine was reset, but somebody else has stopped"
                       " it at the same time";
        machine_power_changed();
    }
}

void machine_power_changed(void)
{
    if (power_bh) {
        qemu_bh_schedule(power_bh);
    }
}

void machine_power_add_change_notifier(Notifier *notifier)
{
    static Notifier shutdown_notifier = { .notify = machine_power_shutdown };
    static Notifier init_done_notifier = { .notify = machine_power_init_done };

    notifier_list_add(&change_notifiers, notifier);
    if (power_bh) {
        return;
    }

    /*
     * The AioContext of the monitor's commands: unlike those of the main
     * context, its bottom halves do not run in the midst of draining disks.
     */
    power_bh = aio_bh_new(iohandler_get_aio_context(), machine_power_bh, NULL);
    pending.timer = timer_new_ms(QEMU_CLOCK_REALTIME, machine_power_timeout,
                                 NULL);
    qemu_register_reset_nosnapshotload(machine_power_reset_handler, NULL);
    qemu_register_shutdown_notifier(&shutdown_notifier);
    qemu_add_machine_init_done_notifier(&init_done_notifier);
}
