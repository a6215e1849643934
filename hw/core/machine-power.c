/*
 * The power switch of a machine
 *
 * The run state tells what QEMU is doing with a machine.  For the person at a
 * remote display that is too much and too little: an I/O error and a pause
 * look the same from there, while whether "continue" may be pressed depends on
 * who has stopped the machine.  This file maps run states to power states and
 * to the actions that are possible, carries the actions out, and tells when
 * their effect is there.  It is one file since these share what is known of the
 * request that is being carried out, of which there is one at a time.
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
#include "system/runstate.h"
#include "system/runstate-action.h"
#include "system/system.h"
#include "system/xen.h"
#include "trace.h"

/* An action whose effect is not there after so long has failed */
#define MACHINE_POWER_TIMEOUT_MS (10 * 1000)

/*
 * A pause waits for the disks, and everything else waits for the pause.  After
 * one that took longer than this, the next is refused for so many times as
 * long, so that nobody can keep QEMU waiting.
 */
#define SLOW_PAUSE_MS 100
#define SLOW_PAUSE_FACTOR 10

/* What becomes of an action: one of the first two, or why it is refused */
typedef enum Verdict {
    POSSIBLE,
    ALREADY,
    NOT_READY,
    QEMU_EXITS,
    REPLAYING,
    NOT_OFF,
    USE_CONTINUE,
    IS_OFF,
    IS_SUSPENDED,
    NO_WAKEUP,
    NEEDS_RESET,
    NOT_STARTED,
    OTHERS_PAUSE,
    DEBUGGED,
    MIGRATING,
    MIGRATED,
    SNAPSHOT,
    COLO,
    DUMPING,
    NOT_RESETTABLE,
    UNDER_XEN,
    RESET_IS_SHUTDOWN,
    SLOW_PAUSE,
    BUSY,
} Verdict;

static const struct {
    MachinePowerResult result;
    const char *reason;
} verdicts[] = {
    [POSSIBLE] = { MACHINE_POWER_RESULT_OK, "" },
    [ALREADY] = { MACHINE_POWER_RESULT_OK, "" },
    [NOT_READY] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine is not ready yet" },
    [QEMU_EXITS] = { MACHINE_POWER_RESULT_WRONG_STATE, "QEMU is exiting" },
    [REPLAYING] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "A recorded execution is being replayed" },
    [NOT_OFF] = { MACHINE_POWER_RESULT_WRONG_STATE, "The machine is not off" },
    [USE_CONTINUE] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine is not off but stopped: use continue" },
    [IS_OFF] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine is off: use power-on" },
    [IS_SUSPENDED] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine is suspended: use power-on to wake it up" },
    [NO_WAKEUP] = { MACHINE_POWER_RESULT_UNSUPPORTED,
        "The machine is suspended, and cannot be woken up from here" },
    [NEEDS_RESET] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine has failed and must be reset first" },
    [NOT_STARTED] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine has not been started yet: who started QEMU with -S"
        " decides" },
    [OTHERS_PAUSE] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine was not paused from here: who paused it must continue"
        " it" },
    [DEBUGGED] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine is under control of a debugger" },
    [MIGRATING] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine is being migrated" },
    [MIGRATED] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine has been migrated away" },
    [SNAPSHOT] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "A snapshot or dump of the machine is being made or loaded" },
    [COLO] = { MACHINE_POWER_RESULT_WRONG_STATE,
        "The machine is under control of COLO" },
    [DUMPING] = { MACHINE_POWER_RESULT_BUSY,
        "The memory of the machine is being dumped" },
    [NOT_RESETTABLE] = { MACHINE_POWER_RESULT_UNSUPPORTED,
        "The CPUs of this machine cannot be reset" },
    [UNDER_XEN] = { MACHINE_POWER_RESULT_UNSUPPORTED,
        "The machine is run by Xen, not by QEMU" },
    [RESET_IS_SHUTDOWN] = { MACHINE_POWER_RESULT_DENIED,
        "A reset would shut the machine down: QEMU has the setting"
        " -action reboot=shutdown" },
    [SLOW_PAUSE] = { MACHINE_POWER_RESULT_BUSY,
        "The disks were slow to follow when the machine was paused last:"
        " try again later" },
    [BUSY] = { MACHINE_POWER_RESULT_BUSY,
        "Another reset, power-off or power-on is under way" },
};

typedef struct RunStatePower {
    MachinePowerState state;
    Verdict verdict[MACHINE_POWER_ACTION__MAX];
} RunStatePower;

/* In the order of MachinePowerAction: reset, off, on, pause, continue */
static const RunStatePower run_state_power[RUN_STATE__MAX] = {
    [RUN_STATE_RUNNING] = {
        MACHINE_POWER_STATE_ON,
        { POSSIBLE, POSSIBLE, ALREADY, POSSIBLE, ALREADY },
    },
    [RUN_STATE_SUSPENDED] = {
        MACHINE_POWER_STATE_SUSPENDED,
        { POSSIBLE, POSSIBLE, POSSIBLE, POSSIBLE, IS_SUSPENDED },
    },
    [RUN_STATE_PAUSED] = {
        MACHINE_POWER_STATE_PAUSED,
        { POSSIBLE, POSSIBLE, USE_CONTINUE, ALREADY, POSSIBLE },
    },
    /* After a reset, or before the first start */
    [RUN_STATE_PRELAUNCH] = {
        MACHINE_POWER_STATE_PAUSED,
        { POSSIBLE, POSSIBLE, USE_CONTINUE, ALREADY, POSSIBLE },
    },
    [RUN_STATE_SHUTDOWN] = {
        MACHINE_POWER_STATE_OFF,
        { IS_OFF, ALREADY, POSSIBLE, IS_OFF, IS_OFF },
    },
    [RUN_STATE_IO_ERROR] = {
        MACHINE_POWER_STATE_PAUSED,
        { POSSIBLE, POSSIBLE, USE_CONTINUE, ALREADY, POSSIBLE },
    },
    [RUN_STATE_WATCHDOG] = {
        MACHINE_POWER_STATE_PAUSED,
        { POSSIBLE, POSSIBLE, USE_CONTINUE, ALREADY, POSSIBLE },
    },
    [RUN_STATE_GUEST_PANICKED] = {
        MACHINE_POWER_STATE_CRASHED,
        { POSSIBLE, POSSIBLE, NOT_OFF, ALREADY, POSSIBLE },
    },
    [RUN_STATE_INTERNAL_ERROR] = {
        MACHINE_POWER_STATE_CRASHED,
        { POSSIBLE, POSSIBLE, NOT_OFF, ALREADY, NEEDS_RESET },
    },
    [RUN_STATE_DEBUG] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = DEBUGGED },
    },
    [RUN_STATE_INMIGRATE] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = MIGRATING },
    },
    [RUN_STATE_FINISH_MIGRATE] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = MIGRATING },
    },
    /* As paused: whether it runs elsewhere is its owner's to know */
    [RUN_STATE_POSTMIGRATE] = {
        MACHINE_POWER_STATE_PAUSED,
        { POSSIBLE, POSSIBLE, USE_CONTINUE, ALREADY, POSSIBLE },
    },
    [RUN_STATE_SAVE_VM] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = SNAPSHOT },
    },
    [RUN_STATE_RESTORE_VM] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = SNAPSHOT },
    },
    [RUN_STATE_COLO] = {
        MACHINE_POWER_STATE_PAUSED,
        { [0 ... MACHINE_POWER_ACTION__MAX - 1] = COLO },
    },
};

static NotifierList change_notifiers =
    NOTIFIER_LIST_INITIALIZER(change_notifiers);
static QEMUBH *power_bh;

static bool started;        /* it has run, or was loaded from where it ran */
static bool may_continue;   /* nobody else has a reason to keep it stopped */
static bool migrated_away;  /* and has not run here since then */
static bool ending;         /* QEMU exits, and the machine with it */
static int64_t pause_again; /* no pause before this time (realtime clock, ms) */

/* The action that is being carried out; none if @done is NULL */
static struct {
    MachinePowerAction action;
    MachinePowerDone *done;
    void *opaque;
    QEMUTimer *timer;
    bool was_live;          /* the machine ran, or was suspended, before */
    bool must_run;          /* it has to be started after the reset */
    const char *kept;       /* but it must not: why, if there is a reason */
    bool acted;             /* the main loop has done what it was asked for */
} pending;

/* Any thread, with or without the BQL */
static void machine_power_changed(void)
{
    qemu_bh_schedule(power_bh);
}

/* What is in the way of every action */
static Verdict any_action_verdict(void)
{
    if (!phase_check(PHASE_MACHINE_READY)) {
        return NOT_READY;
    }
    if (ending) {
        return QEMU_EXITS;
    }
    if (replay_mode == REPLAY_MODE_PLAY) {
        return REPLAYING;
    }
    if (xen_enabled()) {
        return UNDER_XEN;
    }
    return POSSIBLE;
}

/* What the run state and the settings make of an action */
static Verdict machine_verdict(MachinePowerAction action)
{
    RunState state = runstate_get();
    Verdict verdict = run_state_power[state].verdict[action];
    bool wakes_up = action == MACHINE_POWER_ACTION_POWER_ON &&
                    state == RUN_STATE_SUSPENDED;
    bool resets = action == MACHINE_POWER_ACTION_RESET ||
                  (action == MACHINE_POWER_ACTION_POWER_ON && !wakes_up);
    /* A suspended machine is started again after its reset */
    bool stops_or_starts = action == MACHINE_POWER_ACTION_PAUSE ||
                           action == MACHINE_POWER_ACTION_CONTINUE ||
                           action == MACHINE_POWER_ACTION_POWER_ON ||
                           (action == MACHINE_POWER_ACTION_RESET &&
                            state == RUN_STATE_SUSPENDED);

    if (any_action_verdict() != POSSIBLE) {
        return any_action_verdict();
    }
    if (verdict != POSSIBLE) {
        return verdict;
    }
    if (wakes_up && !qemu_wakeup_suspend_enabled()) {
        return NO_WAKEUP;
    }
    if (stops_or_starts && qemu_system_dump_in_progress()) {
        return DUMPING;
    }
    if (resets && !cpus_are_resettable()) {
        return NOT_RESETTABLE;
    }
    if (resets && reboot_action == REBOOT_ACTION_SHUTDOWN) {
        return RESET_IS_SHUTDOWN;
    }
    return POSSIBLE;
}

/*
 * What somebody who knows no more than this of who else uses the machine, and
 * what for, has to leave alone
 */
static Verdict owner_verdict(MachinePowerAction action)
{
    Verdict verdict = machine_verdict(action);

    if (any_action_verdict() != POSSIBLE) {
        return verdict;
    }
    if (migrated_away) {
        return MIGRATED;
    }
    if (runstate_check(RUN_STATE_PRELAUNCH) && !started &&
        (action == MACHINE_POWER_ACTION_RESET ||
         action == MACHINE_POWER_ACTION_CONTINUE)) {
        return NOT_STARTED;
    }
    if (!may_continue && verdict == USE_CONTINUE) {
        return NOT_OFF;
    }
    if (!may_continue && action == MACHINE_POWER_ACTION_CONTINUE &&
        run_state_power[runstate_get()].verdict[action] == POSSIBLE) {
        return OTHERS_PAUSE;
    }
    return verdict;
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

static uint32_t possible_actions(Verdict (*get_verdict)(MachinePowerAction))
{
    MachinePowerAction action;
    uint32_t mask = 0;

    for (action = 0; action < MACHINE_POWER_ACTION__MAX; action++) {
        if (get_verdict(action) == POSSIBLE) {
            mask |= BIT(action);
        }
    }
    return mask;
}

uint32_t machine_power_possible(void)
{
    return possible_actions(owner_verdict);
}

uint32_t machine_power_possible_managed(void)
{
    return possible_actions(machine_verdict);
}

uint32_t machine_power_supported(void)
{
    uint32_t mask = MAKE_64BIT_MASK(0, MACHINE_POWER_ACTION__MAX);

    if (!phase_check(PHASE_MACHINE_READY)) {
        return mask;
    }
    if (xen_enabled()) {
        return 0;
    }
    if (!cpus_are_resettable()) {
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

static void machine_power_see_it_run(void)
{
    if (runstate_is_live(runstate_get())) {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    } else {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED,
                             "The machine was stopped again at once");
    }
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
    } else {
        machine_power_see_it_run();
    }
}

static void machine_power_pause(void)
{
    g_autofree char *reason = NULL;
    int64_t begin = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    int64_t took;
    int ret;

    ret = vm_stop(RUN_STATE_PAUSED);
    /* Unless the machine was migrated while that gave the lock away */
    may_continue = runstate_check(RUN_STATE_PAUSED);

    took = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) - begin;
    if (took > SLOW_PAUSE_MS) {
        pause_again = begin + took * (1 + SLOW_PAUSE_FACTOR);
    }
    if (ret < 0) {
        reason = g_strdup_printf("The machine is paused, but its disks could"
                                 " not be flushed: %s", strerror(-ret));
        machine_power_finish(MACHINE_POWER_RESULT_FAILED, reason);
    } else {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    }
}

static void machine_power_wake_up(void)
{
    Error *err = NULL;

    qemu_system_wakeup_request(QEMU_WAKEUP_REASON_OTHER, &err);
    if (err) {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED,
                             error_get_pretty(err));
        error_free(err);
    } else if (runstate_check(RUN_STATE_SUSPENDED)) {
        machine_power_finish(MACHINE_POWER_RESULT_UNSUPPORTED,
                             verdicts[NO_WAKEUP].reason);
    }
}

static bool reset_is_pending(void)
{
    return pending.done && (pending.action == MACHINE_POWER_ACTION_RESET ||
                            pending.action == MACHINE_POWER_ACTION_POWER_ON);
}

/* The machine has been reset, and its run state is what comes of that */
static void machine_power_reset_done(void)
{
    bool is_live = runstate_is_live(runstate_get());

    if (pending.must_run && !pending.kept) {
        /* If that fails, it is the client's to try again */
        may_continue = true;
        machine_power_continue();
    } else if (!is_live && (pending.action == MACHINE_POWER_ACTION_POWER_ON ||
                            (pending.was_live && pending.kept))) {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED, pending.kept ?:
                             "Something else keeps the machine from running");
    } else {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    }
}

static void machine_power_off_done(void)
{
    if (runstate_check(RUN_STATE_SHUTDOWN)) {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    } else if (runstate_check(RUN_STATE_PRELAUNCH) ||
               runstate_is_live(runstate_get())) {
        /* It was reset at the same time, which comes after the shutdown */
        pending.acted = false;
        qemu_system_shutdown_request(SHUTDOWN_CAUSE_HOST_UI);
    } else {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED,
                             "Something else has stopped the machine at the"
                             " same time, and keeps it");
    }
}

/* Runs when all is done that the main loop does in one go */
static void machine_power_bh(void *opaque)
{
    if (!pending.done || !pending.acted) {
        notifier_list_notify(&change_notifiers, NULL);
    } else if (pending.action == MACHINE_POWER_ACTION_POWER_OFF) {
        machine_power_off_done();
    } else {
        machine_power_see_it_run();
    }
}

static void machine_power_exit(void)
{
    /* Nothing stops QEMU from exiting now, and nothing runs later to say so */
    ending = true;
    if (!pending.done) {
        notifier_list_notify(&change_notifiers, NULL);
    } else if (pending.action == MACHINE_POWER_ACTION_POWER_OFF) {
        machine_power_finish(MACHINE_POWER_RESULT_OK, "");
    } else {
        machine_power_finish(MACHINE_POWER_RESULT_FAILED, "QEMU is exiting");
    }
}

static void machine_power_request_done(Notifier *notifier, void *data)
{
    RunStateRequest *request = data;

    switch (*request) {
    case RUN_STATE_REQUEST_RESET:
        if (reset_is_pending()) {
            machine_power_reset_done();
        }
        break;
    case RUN_STATE_REQUEST_SHUTDOWN:
        pending.acted |= pending.action == MACHINE_POWER_ACTION_POWER_OFF;
        machine_power_changed();
        break;
    case RUN_STATE_REQUEST_WAKEUP:
        pending.acted |= pending.action == MACHINE_POWER_ACTION_POWER_ON;
        machine_power_changed();
        break;
    case RUN_STATE_REQUEST_EXIT:
        machine_power_exit();
        break;
    }
}

static bool machine_power_ask(MachinePowerAction action, Verdict verdict,
                              MachinePowerResult *result, const char **reason)
{
    if (verdict == POSSIBLE) {
        /*
         * A reset that others have asked for is no reason to refuse: a guest
         * may do that over and over, and whoever sees it wants to switch it
         * off.
         */
        if (pending.done ||
            qemu_shutdown_requested_get() != SHUTDOWN_CAUSE_NONE) {
            verdict = BUSY;
        } else if (action == MACHINE_POWER_ACTION_PAUSE &&
                   qemu_clock_get_ms(QEMU_CLOCK_REALTIME) < pause_again) {
            verdict = SLOW_PAUSE;
        }
    }
    *result = verdicts[verdict].result;
    *reason = verdicts[verdict].reason;
    trace_machine_power_check(MachinePowerAction_str(action),
                              RunState_str(runstate_get()),
                              verdict == POSSIBLE ? "possible" : *reason);
    return verdict == POSSIBLE;
}

bool machine_power_check(MachinePowerAction action,
                         MachinePowerResult *result, const char **reason)
{
    return machine_power_ask(action, owner_verdict(action), result, reason);
}

bool machine_power_check_managed(MachinePowerAction action,
                                 MachinePowerResult *result,
                                 const char **reason)
{
    return machine_power_ask(action, machine_verdict(action), result, reason);
}

void machine_power_request(MachinePowerAction action, MachinePowerDone *done,
                           void *opaque)
{
    MachinePowerResult result;
    const char *reason;

    if (!machine_power_check(action, &result, &reason)) {
        done(opaque, result, reason);
        return;
    }

    pending.action = action;
    pending.done = done;
    pending.opaque = opaque;
    pending.was_live = runstate_is_live(runstate_get());
    pending.must_run = false;
    pending.kept = NULL;
    pending.acted = false;
    timer_mod(pending.timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                             MACHINE_POWER_TIMEOUT_MS);

    switch (action) {
    case MACHINE_POWER_ACTION_POWER_ON:
        if (runstate_check(RUN_STATE_SUSPENDED)) {
            machine_power_wake_up();
            break;
        }
        /* fall through */
    case MACHINE_POWER_ACTION_RESET:
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

/*
 * Somebody has stopped a machine that was stopped already.  Only a pause has an
 * owner who relies on it: the monitor's "stop", or a debugger.  Other reasons
 * are errors of the machine, or pass with the snapshot or dump that is made.
 */
static void machine_power_stopped_again(RunState reason)
{
    if (reason == RUN_STATE_PAUSED || reason == RUN_STATE_DEBUG) {
        may_continue = false;
        pending.kept = "The machine was reset, but somebody else has stopped"
                       " it at the same time";
    }
}

/* Who has stopped the machine, and what does that mean for who continues it? */
static void machine_power_who_stopped(const RunStateChange *change)
{
    switch (change->to) {
    case RUN_STATE_FINISH_MIGRATE:
    case RUN_STATE_PRELAUNCH:
        /*
         * Neither a migration, which may fail, nor a reset changes who has
         * stopped the machine.
         */
        break;
    case RUN_STATE_GUEST_PANICKED:
    case RUN_STATE_INTERNAL_ERROR:
    case RUN_STATE_IO_ERROR:
    case RUN_STATE_WATCHDOG:
        /* It has stopped by itself, unless a migration has failed */
        may_continue |= change->from != RUN_STATE_FINISH_MIGRATE;
        break;
    case RUN_STATE_PAUSED:
        may_continue &= change->from == RUN_STATE_FINISH_MIGRATE;
        break;
    default:
        may_continue = false;
        break;
    }
}

static void machine_power_run_state_changed(Notifier *notifier, void *data)
{
    const RunStateChange *change = data;

    if (change->from == change->to) {
        machine_power_stopped_again(change->reason);
        machine_power_changed();
        return;
    }

    switch (change->to) {
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
    case RUN_STATE_PRELAUNCH:
        /*
         * It is being reset: a machine that was off or suspended has to be
         * started then, one that runs goes on by itself.
         */
        pending.must_run = reset_is_pending() &&
                           (change->from == RUN_STATE_SHUTDOWN ||
                            change->from == RUN_STATE_SUSPENDED);
        break;
    default:
        break;
    }

    /*
     * A reset leads out of postmigrate, but what runs elsewhere does so still.
     * Only the monitor's "cont" takes it back.
     */
    if (change->to == RUN_STATE_POSTMIGRATE) {
        migrated_away = true;
    } else if (runstate_is_live(change->to)) {
        migrated_away = false;
    }

    machine_power_who_stopped(change);
    if (change->to != RUN_STATE_PRELAUNCH &&
        change->to != RUN_STATE_INMIGRATE &&
        change->to != RUN_STATE_FINISH_MIGRATE) {
        started = true;
    }
    machine_power_changed();
}

static void machine_power_setting_changed(Notifier *notifier, void *data)
{
    machine_power_changed();
}

void machine_power_add_change_notifier(Notifier *notifier)
{
    notifier_list_add(&change_notifiers, notifier);
}

void machine_power_init(void)
{
    static Notifier run_state = { .notify = machine_power_run_state_changed };
    static Notifier request_done = { .notify = machine_power_request_done };
    static Notifier init_done = { .notify = machine_power_setting_changed };
    static Notifier action_set = { .notify = machine_power_setting_changed };
    static Notifier dump = { .notify = machine_power_setting_changed };

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
    qemu_add_run_state_notifier(&run_state);
    qemu_add_request_done_notifier(&request_done);
    qemu_add_machine_init_done_notifier(&init_done);
    qemu_add_set_action_notifier(&action_set);
    qemu_add_dump_notifier(&dump);
}
