/*
 * Unit test for the power switch of a machine: every action in every run state
 * with every setting, and what happens at the same time
 *
 * The run state core around it is made up here, so that CPUs that cannot be
 * reset and the order of things are under control.
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
#include "system/cpus.h"
#include "system/replay.h"
#include "system/runstate.h"
#include "system/runstate-action.h"
#include "system/system.h"
#include "system/xen.h"

#define N_ACTIONS MACHINE_POWER_ACTION__MAX

/* The machine */

static RunState run_state = RUN_STATE_PRELAUNCH;
static bool was_suspended;
static bool dumping, resettable = true, ready = true, can_wake_up = true;
static ShutdownCause reset_requested, shutdown_requested;
static bool wakeup_requested;
static bool quit;
static int flush_error, flush_ms;
static const char *cont_error;
static bool stops_at_once;
static bool migrates_in_reset, migrates_in_stop, resets_in_migration;
static int resets, shutdowns, stops, conts, wakeups;    /* how often */

RebootAction reboot_action;
ShutdownAction shutdown_action = SHUTDOWN_ACTION_PAUSE;
ReplayMode replay_mode;

#ifdef CONFIG_XEN_IS_POSSIBLE
bool xen_allowed;
#endif

static Notifier *run_state_notifier, *request_done_notifier;
static Notifier *set_action_notifier, *dump_notifier, *init_done_notifier;

void qemu_add_run_state_notifier(Notifier *notifier)
{
    run_state_notifier = notifier;
}

void qemu_add_request_done_notifier(Notifier *notifier)
{
    request_done_notifier = notifier;
}

void qemu_add_set_action_notifier(Notifier *notifier)
{
    set_action_notifier = notifier;
}

void qemu_add_dump_notifier(Notifier *notifier)
{
    dump_notifier = notifier;
}

void qemu_add_machine_init_done_notifier(Notifier *notifier)
{
    init_done_notifier = notifier;
}

bool phase_check(MachineInitPhase phase)
{
    return ready;
}

bool cpus_are_resettable(void)
{
    return resettable;
}

bool qemu_system_dump_in_progress(void)
{
    return dumping;
}

RunState runstate_get(void)
{
    return run_state;
}

bool runstate_check(RunState state)
{
    return run_state == state;
}

ShutdownCause qemu_shutdown_requested_get(void)
{
    return shutdown_requested;
}

bool qemu_wakeup_suspend_enabled(void)
{
    return can_wake_up;
}

static void set_state(RunState state)
{
    RunStateChange change = { .from = run_state, .to = state, .reason = state };

    if (run_state != state) {
        run_state = state;
        run_state_notifier->notify(run_state_notifier, &change);
    }
}

static void request_done(RunStateRequest request)
{
    request_done_notifier->notify(request_done_notifier, &request);
}

int vm_stop(RunState state)
{
    if (runstate_is_live(run_state)) {
        stops++;
        was_suspended = run_state == RUN_STATE_SUSPENDED;
        set_state(state);
        if (migrates_in_stop) {
            set_state(RUN_STATE_FINISH_MIGRATE);
            set_state(RUN_STATE_POSTMIGRATE);
        }
    } else {
        RunStateChange change = {
            .from = run_state, .to = run_state, .reason = state
        };

        run_state_notifier->notify(run_state_notifier, &change);
    }
    g_usleep(flush_ms * 1000);
    return flush_error;
}

void qmp_cont(Error **errp)
{
    conts++;
    if (cont_error) {
        error_setg(errp, "%s", cont_error);
        return;
    }
    set_state(was_suspended ? RUN_STATE_SUSPENDED : RUN_STATE_RUNNING);
    was_suspended = false;
    if (stops_at_once) {
        set_state(RUN_STATE_IO_ERROR);
    }
}

void qemu_system_reset_request(ShutdownCause reason)
{
    reset_requested = reason;
}

void qemu_system_shutdown_request(ShutdownCause reason)
{
    shutdown_requested = reason;
}

void qemu_system_wakeup_request(WakeupReason reason, Error **errp)
{
    if (run_state != RUN_STATE_SUSPENDED) {
        error_setg(errp, "not suspended");
        return;
    }
    set_state(RUN_STATE_RUNNING);
    wakeup_requested = true;
}

/* What main_loop_should_exit() does, and then the bottom halves */
static void main_loop(void)
{
    if (shutdown_requested) {
        ShutdownCause cause = shutdown_requested;

        shutdown_requested = SHUTDOWN_CAUSE_NONE;
        shutdowns++;
        if (shutdown_action == SHUTDOWN_ACTION_POWEROFF) {
            request_done(RUN_STATE_REQUEST_EXIT);
            quit = true;
            return;
        }
        if (run_state != RUN_STATE_FINISH_MIGRATE &&
            !(run_state == RUN_STATE_GUEST_PANICKED &&
              cause == SHUTDOWN_CAUSE_GUEST_PANIC)) {
            set_state(RUN_STATE_SHUTDOWN);
        }
        request_done(RUN_STATE_REQUEST_SHUTDOWN);
    }
    if (reset_requested) {
        reset_requested = SHUTDOWN_CAUSE_NONE;
        resets++;
        was_suspended = false;
        if (migrates_in_reset) {
            /* The rest of the reset gives the BQL to the migration thread */
            set_state(RUN_STATE_FINISH_MIGRATE);
            set_state(RUN_STATE_POSTMIGRATE);
        }
        if (run_state != RUN_STATE_RUNNING && !resets_in_migration) {
            set_state(RUN_STATE_PRELAUNCH);
        }
        request_done(RUN_STATE_REQUEST_RESET);
    }
    if (wakeup_requested) {
        wakeup_requested = false;
        wakeups++;
        request_done(RUN_STATE_REQUEST_WAKEUP);
    }
    while (aio_poll(iohandler_get_aio_context(), false)) {
        /* all of them */
    }
}

/* Who asks */

static bool changed;
static int done;
static bool changed_before_done;
static MachinePowerResult result;
static char *reason;

static void on_change(Notifier *notifier, void *data)
{
    changed = true;
}

static void on_done(void *opaque, MachinePowerResult result_,
                    const char *reason_)
{
    done++;
    changed_before_done = changed;
    result = result_;
    g_free(reason);
    reason = g_strdup(reason_);
}

static void request(MachinePowerAction action)
{
    resets = shutdowns = stops = conts = wakeups = done = 0;
    changed = false;
    machine_power_request(action, on_done, NULL);
}

static void assert_result(MachinePowerResult expected, RunState state)
{
    g_assert_cmpint(done, ==, 1);
    g_assert_cmpstr(MachinePowerResult_str(result), ==,
                    MachinePowerResult_str(expected));
    g_assert_true((*reason == '\0') == (expected == MACHINE_POWER_RESULT_OK));
    g_assert_cmpstr(RunState_str(run_state), ==, RunState_str(state));
}

/* Ways into a state */

static void run(void)
{
    was_suspended = false;
    set_state(RUN_STATE_RUNNING);
    main_loop();
}

static void enter(RunState state, bool held)
{
    run();
    if (state == RUN_STATE_PAUSED && !held) {
        request(MACHINE_POWER_ACTION_PAUSE);
        assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_PAUSED);
    } else if (state == RUN_STATE_PRELAUNCH) {
        enter(RUN_STATE_PAUSED, held);
        set_state(RUN_STATE_PRELAUNCH);
    } else if (state != RUN_STATE_RUNNING) {
        set_state(state);
        if (held) {
            vm_stop(RUN_STATE_PAUSED);
        }
    }
    main_loop();
}

/*
 * For each action, in their order: y possible, a already, w wrong state,
 * b busy, d denied, u unsupported
 */
typedef struct Row {
    RunState state;
    bool held;                  /* somebody else wants it stopped */
    MachinePowerState shown;
    const char *plain;
    const char *dumping;
    const char *reboot_is_shutdown;
    const char *not_resettable;
} Row;

static const Row rows[] = {
    { RUN_STATE_RUNNING, false, MACHINE_POWER_STATE_ON,
      "yyaya", "yyaba", "dyaya", "uyaya" },
    { RUN_STATE_SUSPENDED, false, MACHINE_POWER_STATE_SUSPENDED,
      "yyyyw", "bybbw", "dyyyw", "uyyyw" },
    { RUN_STATE_PAUSED, false, MACHINE_POWER_STATE_PAUSED,
      "yyway", "yywab", "dyway", "uyway" },
    { RUN_STATE_PAUSED, true, MACHINE_POWER_STATE_PAUSED,
      "yywaw", "yywaw", "dywaw", "uywaw" },
    { RUN_STATE_PRELAUNCH, false, MACHINE_POWER_STATE_PAUSED,
      "yyway", "yywab", "dyway", "uyway" },
    { RUN_STATE_PRELAUNCH, true, MACHINE_POWER_STATE_PAUSED,
      "yywaw", "yywaw", "dywaw", "uywaw" },
    { RUN_STATE_SHUTDOWN, false, MACHINE_POWER_STATE_OFF,
      "wayww", "wabww", "wadww", "wauww" },
    { RUN_STATE_INTERNAL_ERROR, false, MACHINE_POWER_STATE_CRASHED,
      "yywaw", "yywaw", "dywaw", "uywaw" },
    { RUN_STATE_IO_ERROR, false, MACHINE_POWER_STATE_PAUSED,
      "yyway", "yywab", "dyway", "uyway" },
    { RUN_STATE_IO_ERROR, true, MACHINE_POWER_STATE_PAUSED,
      "yywaw", "yywaw", "dywaw", "uywaw" },
    { RUN_STATE_WATCHDOG, false, MACHINE_POWER_STATE_PAUSED,
      "yyway", "yywab", "dyway", "uyway" },
    { RUN_STATE_WATCHDOG, true, MACHINE_POWER_STATE_PAUSED,
      "yywaw", "yywaw", "dywaw", "uywaw" },
    { RUN_STATE_GUEST_PANICKED, false, MACHINE_POWER_STATE_CRASHED,
      "yyway", "yywab", "dyway", "uyway" },
    { RUN_STATE_GUEST_PANICKED, true, MACHINE_POWER_STATE_CRASHED,
      "yywaw", "yywaw", "dywaw", "uywaw" },
    { RUN_STATE_DEBUG, false, MACHINE_POWER_STATE_PAUSED,
      "wwwww", "wwwww", "wwwww", "wwwww" },
    { RUN_STATE_INMIGRATE, false, MACHINE_POWER_STATE_PAUSED,
      "wwwww", "wwwww", "wwwww", "wwwww" },
    { RUN_STATE_FINISH_MIGRATE, false, MACHINE_POWER_STATE_PAUSED,
      "wwwww", "wwwww", "wwwww", "wwwww" },
    { RUN_STATE_POSTMIGRATE, false, MACHINE_POWER_STATE_PAUSED,
      "wwwww", "wwwww", "wwwww", "wwwww" },
    { RUN_STATE_SAVE_VM, false, MACHINE_POWER_STATE_PAUSED,
      "wwwww", "wwwww", "wwwww", "wwwww" },
    { RUN_STATE_RESTORE_VM, false, MACHINE_POWER_STATE_PAUSED,
      "wwwww", "wwwww", "wwwww", "wwwww" },
    { RUN_STATE_COLO, false, MACHINE_POWER_STATE_PAUSED,
      "wwwww", "wwwww", "wwwww", "wwwww" },
};

static void assert_refused(MachinePowerAction action, MachinePowerResult why)
{
    RunState state = run_state;

    request(action);
    main_loop();
    assert_result(why, state);
    g_assert_cmpint(resets + shutdowns + stops + conts + wakeups,
                    ==, 0);
}

static void assert_done(MachinePowerAction action)
{
    RunState before = run_state;
    RunState after = before;
    bool runs = false;
    bool wakes_up = action == MACHINE_POWER_ACTION_POWER_ON &&
                    before == RUN_STATE_SUSPENDED;

    switch (action) {
    case MACHINE_POWER_ACTION_RESET:
        runs = runstate_is_live(before);
        after = runs ? RUN_STATE_RUNNING : RUN_STATE_PRELAUNCH;
        break;
    case MACHINE_POWER_ACTION_POWER_OFF:
        after = RUN_STATE_SHUTDOWN;
        break;
    case MACHINE_POWER_ACTION_PAUSE:
        after = RUN_STATE_PAUSED;
        break;
    default:
        after = RUN_STATE_RUNNING;
        break;
    }

    request(action);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, after);
    g_assert_true(changed_before_done);
    g_assert_cmpint(resets, ==, action == MACHINE_POWER_ACTION_RESET ||
                                (action == MACHINE_POWER_ACTION_POWER_ON &&
                                 !wakes_up));
    g_assert_cmpint(wakeups, ==, wakes_up);
    g_assert_cmpint(shutdowns, ==, action == MACHINE_POWER_ACTION_POWER_OFF);
    g_assert_cmpint(stops, ==, action == MACHINE_POWER_ACTION_PAUSE);
    g_assert_cmpint(conts, ==, action == MACHINE_POWER_ACTION_CONTINUE ||
                               (action == MACHINE_POWER_ACTION_POWER_ON &&
                                !wakes_up) ||
                               (runs && before != RUN_STATE_RUNNING));
}

/* Regardless of the settings that are under test */
static void enter_again(const Row *row)
{
    bool saved_dumping = dumping, saved_resettable = resettable;
    RebootAction saved_reboot_action = reboot_action;

    dumping = false;
    resettable = true;
    reboot_action = REBOOT_ACTION_RESET;
    enter(row->state, row->held);
    dumping = saved_dumping;
    resettable = saved_resettable;
    reboot_action = saved_reboot_action;
}

static char expected_if_paused(int action)
{
    switch (action) {
    case MACHINE_POWER_ACTION_RESET:
        return !resettable ? 'u' :
               reboot_action == REBOOT_ACTION_SHUTDOWN ? 'd' : 'y';
    case MACHINE_POWER_ACTION_POWER_OFF:
        return 'y';
    case MACHINE_POWER_ACTION_PAUSE:
        return 'a';
    case MACHINE_POWER_ACTION_CONTINUE:
        return dumping ? 'b' : 'y';
    default:
        return 'w';
    }
}

/*
 * A management layer knows who wants it stopped, and where else it runs, and
 * may be asked
 */
static char expected_if_managed(const Row *row, const char *expected,
                                int action)
{
    if (row->state == RUN_STATE_POSTMIGRATE && ready &&
        replay_mode != REPLAY_MODE_PLAY) {
        return expected_if_paused(action);
    }
    if (!row->held || action != MACHINE_POWER_ACTION_CONTINUE ||
        !strcmp(expected, "wwwww")) {
        return expected[action];
    }
    return dumping ? 'b' : 'y';
}

static void check_verdict(int action, bool managed, char expected)
{
    static const struct {
        char name;
        MachinePowerResult result;
    } results[] = {
        { 'a', MACHINE_POWER_RESULT_OK },
        { 'w', MACHINE_POWER_RESULT_WRONG_STATE },
        { 'b', MACHINE_POWER_RESULT_BUSY },
        { 'd', MACHINE_POWER_RESULT_DENIED },
        { 'u', MACHINE_POWER_RESULT_UNSUPPORTED },
    };
    RunState state = run_state;
    MachinePowerResult verdict;
    const char *why;
    uint32_t mask;
    bool possible;
    size_t i;

    resets = shutdowns = stops = conts = wakeups = 0;
    if (managed) {
        mask = machine_power_possible_managed();
        possible = machine_power_check_managed(action, &verdict, &why);
    } else {
        mask = machine_power_possible();
        possible = machine_power_check(action, &verdict, &why);
    }
    g_assert_true(!(mask & BIT(action)) == (expected != 'y'));
    g_assert_true(possible == (expected == 'y'));
    for (i = 0; i < ARRAY_SIZE(results); i++) {
        if (expected == results[i].name) {
            g_assert_cmpint(verdict, ==, results[i].result);
            g_assert_true((*why == '\0') == (expected == 'a'));
        }
    }
    /* Nothing is touched */
    main_loop();
    g_assert_cmpint(run_state, ==, state);
    g_assert_cmpint(resets + shutdowns + stops + conts + wakeups,
                    ==, 0);
}

static void check_row(const Row *row, const char *expected)
{
    int action;

    for (action = 0; action < N_ACTIONS; action++) {
        g_test_message("%s%s: %s: %c", RunState_str(row->state),
                       row->held ? " (held)" : "",
                       MachinePowerAction_str(action), expected[action]);
        g_assert_cmpint(machine_power_state(), ==, row->shown);
        check_verdict(action, false, expected[action]);
        check_verdict(action, true,
                      expected_if_managed(row, expected, action));
        switch (expected[action]) {
        case 'y':
            assert_done(action);
            enter_again(row);
            break;
        case 'a':
            request(action);
            main_loop();
            assert_result(MACHINE_POWER_RESULT_OK, row->state);
            g_assert_cmpint(resets + shutdowns + stops + conts + wakeups,
                    ==, 0);
            break;
        case 'w':
            assert_refused(action, MACHINE_POWER_RESULT_WRONG_STATE);
            break;
        case 'b':
            assert_refused(action, MACHINE_POWER_RESULT_BUSY);
            break;
        case 'd':
            assert_refused(action, MACHINE_POWER_RESULT_DENIED);
            break;
        case 'u':
            assert_refused(action, MACHINE_POWER_RESULT_UNSUPPORTED);
            break;
        default:
            g_assert_not_reached();
        }
    }
}

static void test_table(void)
{
    bool seen[RUN_STATE__MAX] = {};
    size_t i;
    int state;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        const Row *row = &rows[i];

        seen[row->state] = true;
        enter(row->state, row->held);

        check_row(row, row->plain);
        replay_mode = REPLAY_MODE_RECORD;
        check_row(row, row->plain);
        replay_mode = REPLAY_MODE_PLAY;
        check_row(row, "wwwww");
        replay_mode = REPLAY_MODE_NONE;
        ready = false;
        check_row(row, "wwwww");
        ready = true;

        dumping = true;
        check_row(row, row->dumping);
        dumping = false;
        reboot_action = REBOOT_ACTION_SHUTDOWN;
        check_row(row, row->reboot_is_shutdown);
        reboot_action = REBOOT_ACTION_RESET;
        resettable = false;
        check_row(row, row->not_resettable);
        resettable = true;
    }
    for (state = 0; state < RUN_STATE__MAX; state++) {
        g_assert_true(seen[state]);
    }
}

/* Reset makes it run again, but it sleeps on if nothing can wake it up */
static void test_no_wakeup(void)
{
    enter(RUN_STATE_SUSPENDED, false);
    can_wake_up = false;
    check_verdict(MACHINE_POWER_ACTION_POWER_ON, false, 'u');
    check_verdict(MACHINE_POWER_ACTION_POWER_ON, true, 'u');
    assert_refused(MACHINE_POWER_ACTION_POWER_ON,
                   MACHINE_POWER_RESULT_UNSUPPORTED);
    assert_done(MACHINE_POWER_ACTION_RESET);
    can_wake_up = true;
}

/* Settings are somebody else's, but who listens is told */
static void assert_changed(Notifier *setting)
{
    changed = false;
    setting->notify(setting, NULL);
    g_assert_false(changed);
    main_loop();
    g_assert_true(changed);
}

static void test_settings(void)
{
    assert_changed(set_action_notifier);
    assert_changed(dump_notifier);
}

static void test_supported(void)
{
    const uint32_t all = MAKE_64BIT_MASK(0, N_ACTIONS);

    resettable = false;
    g_assert_cmphex(machine_power_supported(), ==,
                    all & ~(BIT(MACHINE_POWER_ACTION_RESET) |
                            BIT(MACHINE_POWER_ACTION_POWER_ON)));
    /* Before, nobody can know */
    ready = false;
    g_assert_cmphex(machine_power_supported(), ==, all);
    ready = true;
    resettable = true;
    g_assert_cmphex(machine_power_supported(), ==, all);
}

/* Must be the first */
static void test_never_started(void)
{
    g_assert_cmpint(machine_power_state(), ==, MACHINE_POWER_STATE_PAUSED);
    g_assert_cmphex(machine_power_possible(), ==,
                    BIT(MACHINE_POWER_ACTION_POWER_OFF));
    /* Who has started QEMU may be asked to start or to reset the machine */
    check_verdict(MACHINE_POWER_ACTION_RESET, true, 'y');
    check_verdict(MACHINE_POWER_ACTION_POWER_OFF, true, 'y');
    check_verdict(MACHINE_POWER_ACTION_POWER_ON, true, 'w');
    check_verdict(MACHINE_POWER_ACTION_PAUSE, true, 'a');
    check_verdict(MACHINE_POWER_ACTION_CONTINUE, true, 'y');
    assert_refused(MACHINE_POWER_ACTION_RESET,
                   MACHINE_POWER_RESULT_WRONG_STATE);
    assert_refused(MACHINE_POWER_ACTION_CONTINUE,
                   MACHINE_POWER_RESULT_WRONG_STATE);
    assert_refused(MACHINE_POWER_ACTION_POWER_ON,
                   MACHINE_POWER_RESULT_WRONG_STATE);

    /* Nor does a migration that fails change that */
    set_state(RUN_STATE_FINISH_MIGRATE);
    set_state(RUN_STATE_PRELAUNCH);
    g_assert_cmphex(machine_power_possible(), ==,
                    BIT(MACHINE_POWER_ACTION_POWER_OFF));

    /* What is loaded has not been started from here either */
    set_state(RUN_STATE_INMIGRATE);
    set_state(RUN_STATE_PRELAUNCH);
    g_assert_cmphex(machine_power_possible(), ==,
                    BIT(MACHINE_POWER_ACTION_POWER_OFF));

    request(MACHINE_POWER_ACTION_POWER_OFF);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_SHUTDOWN);
    request(MACHINE_POWER_ACTION_POWER_ON);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_RUNNING);
}

static bool can_continue(void)
{
    return machine_power_possible() & BIT(MACHINE_POWER_ACTION_CONTINUE);
}

static void assert_migrated_away(void)
{
    int action;

    for (action = 0; action < N_ACTIONS; action++) {
        assert_refused(action, MACHINE_POWER_RESULT_WRONG_STATE);
    }
}

static void test_who_has_stopped_it(void)
{
    static const RunState by_itself[] = {
        RUN_STATE_IO_ERROR, RUN_STATE_WATCHDOG, RUN_STATE_GUEST_PANICKED,
    };
    static const RunState others[] = {
        RUN_STATE_IO_ERROR, RUN_STATE_SAVE_VM, RUN_STATE_RESTORE_VM,
        RUN_STATE_SHUTDOWN, RUN_STATE_WATCHDOG,
    };
    size_t i;

    /* A migration that fails puts everything back */
    enter(RUN_STATE_PAUSED, false);
    set_state(RUN_STATE_FINISH_MIGRATE);
    g_assert_false(can_continue());
    set_state(RUN_STATE_PAUSED);
    g_assert_true(can_continue());
    enter(RUN_STATE_PAUSED, true);
    set_state(RUN_STATE_FINISH_MIGRATE);
    set_state(RUN_STATE_PAUSED);
    g_assert_false(can_continue());
    for (i = 0; i < ARRAY_SIZE(by_itself); i++) {
        enter(by_itself[i], true);
        set_state(RUN_STATE_FINISH_MIGRATE);
        set_state(by_itself[i]);
        g_assert_false(can_continue());
        enter(by_itself[i], false);
        set_state(RUN_STATE_FINISH_MIGRATE);
        set_state(by_itself[i]);
        g_assert_true(can_continue());
    }
    enter(RUN_STATE_PRELAUNCH, false);
    set_state(RUN_STATE_FINISH_MIGRATE);
    set_state(RUN_STATE_PRELAUNCH);
    g_assert_true(can_continue());

    /* One that succeeds makes the machine somebody else's */
    enter(RUN_STATE_PAUSED, false);
    set_state(RUN_STATE_FINISH_MIGRATE);
    set_state(RUN_STATE_POSTMIGRATE);
    set_state(RUN_STATE_PRELAUNCH);
    g_assert_false(can_continue());

    /* And it remains that, whatever is done to what is left of it here */
    assert_migrated_away();
    set_state(RUN_STATE_SHUTDOWN);
    assert_migrated_away();
    vm_stop(RUN_STATE_PAUSED);
    assert_migrated_away();

    /* A pause that gives the lock to the migration is not a pause */
    enter(RUN_STATE_RUNNING, false);
    migrates_in_stop = true;
    request(MACHINE_POWER_ACTION_PAUSE);
    migrates_in_stop = false;
    g_assert_cmpint(done, ==, 1);
    assert_migrated_away();
    set_state(RUN_STATE_PRELAUNCH);
    assert_migrated_away();
    set_state(RUN_STATE_RUNNING);
    g_assert_cmphex(machine_power_possible(), ==,
                    BIT(MACHINE_POWER_ACTION_RESET) |
                    BIT(MACHINE_POWER_ACTION_POWER_OFF) |
                    BIT(MACHINE_POWER_ACTION_PAUSE));

    /* A snapshot or a shutdown is no reason for more than its time */
    for (i = 0; i < ARRAY_SIZE(others); i++) {
        enter(RUN_STATE_PAUSED, false);
        vm_stop(others[i]);
        g_assert_true(can_continue());
    }
    vm_stop(RUN_STATE_DEBUG);
    g_assert_false(can_continue());

    /* And who is told? */
    enter(RUN_STATE_PAUSED, false);
    changed = false;
    vm_stop(RUN_STATE_PAUSED);
    main_loop();
    g_assert_true(changed);
}

static void test_at_the_same_time(void)
{
    static const struct {
        MachinePowerAction action;
        RunState before, after;
    } during_reset[] = {
        { MACHINE_POWER_ACTION_RESET, RUN_STATE_RUNNING, RUN_STATE_RUNNING },
        { MACHINE_POWER_ACTION_POWER_OFF, RUN_STATE_RUNNING,
          RUN_STATE_SHUTDOWN },
        { MACHINE_POWER_ACTION_POWER_ON, RUN_STATE_SHUTDOWN,
          RUN_STATE_RUNNING },
        { MACHINE_POWER_ACTION_PAUSE, RUN_STATE_RUNNING, RUN_STATE_PRELAUNCH },
        { MACHINE_POWER_ACTION_CONTINUE, RUN_STATE_PAUSED, RUN_STATE_RUNNING },
    };
    static const struct {
        MachinePowerAction action;
        RunState before;
        MachinePowerResult result;
    } during_migration[] = {
        { MACHINE_POWER_ACTION_RESET, RUN_STATE_RUNNING,
          MACHINE_POWER_RESULT_FAILED },
        { MACHINE_POWER_ACTION_RESET, RUN_STATE_SUSPENDED,
          MACHINE_POWER_RESULT_FAILED },
        { MACHINE_POWER_ACTION_POWER_ON, RUN_STATE_SHUTDOWN,
          MACHINE_POWER_RESULT_FAILED },
    };
    size_t i;

    /* Others are busy with it */
    enter(RUN_STATE_RUNNING, false);
    shutdown_requested = SHUTDOWN_CAUSE_GUEST_SHUTDOWN;
    request(MACHINE_POWER_ACTION_POWER_OFF);
    assert_result(MACHINE_POWER_RESULT_BUSY, RUN_STATE_RUNNING);
    main_loop();

    /* A guest that resets itself all the time keeps nobody from anything */
    for (i = 0; i < ARRAY_SIZE(during_reset); i++) {
        enter(during_reset[i].before, false);
        reset_requested = SHUTDOWN_CAUSE_GUEST_RESET;
        request(during_reset[i].action);
        main_loop();
        main_loop();
        assert_result(MACHINE_POWER_RESULT_OK, during_reset[i].after);
        g_assert_cmpint(resets, ==, 1);
    }

    /* Somebody stops it while it is powered on, before or after the reset */
    enter(RUN_STATE_SHUTDOWN, false);
    request(MACHINE_POWER_ACTION_POWER_ON);
    vm_stop(RUN_STATE_PAUSED);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_PRELAUNCH);
    g_assert_cmpint(conts, ==, 0);
    g_assert_false(can_continue());

    /* The same with a suspended machine that is reset */
    enter(RUN_STATE_SUSPENDED, false);
    request(MACHINE_POWER_ACTION_RESET);
    vm_stop(RUN_STATE_PAUSED);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_PRELAUNCH);
    g_assert_cmpint(conts, ==, 0);
    g_assert_false(can_continue());

    /* That was then; the next one is not concerned */
    enter(RUN_STATE_SHUTDOWN, false);
    assert_done(MACHINE_POWER_ACTION_POWER_ON);

    /* Shut down, while a client resets it: it comes up again */
    enter(RUN_STATE_RUNNING, false);
    request(MACHINE_POWER_ACTION_RESET);
    shutdown_requested = SHUTDOWN_CAUSE_GUEST_SHUTDOWN;
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_RUNNING);

    /* Reset, while a client powers it off */
    enter(RUN_STATE_RUNNING, false);
    request(MACHINE_POWER_ACTION_POWER_OFF);
    reset_requested = SHUTDOWN_CAUSE_GUEST_RESET;
    main_loop();
    g_assert_cmpint(done, ==, 0);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_SHUTDOWN);
    g_assert_cmpint(shutdowns, ==, 2);

    /* Migrated, or crashed */
    enter(RUN_STATE_RUNNING, false);
    request(MACHINE_POWER_ACTION_POWER_OFF);
    set_state(RUN_STATE_FINISH_MIGRATE);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_FINISH_MIGRATE);
    enter(RUN_STATE_RUNNING, false);
    request(MACHINE_POWER_ACTION_POWER_OFF);
    set_state(RUN_STATE_GUEST_PANICKED);
    shutdown_requested = SHUTDOWN_CAUSE_GUEST_PANIC;
    main_loop();
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_GUEST_PANICKED);

    /* Migrated away in the midst of the reset: it runs elsewhere */
    migrates_in_reset = true;
    for (i = 0; i < ARRAY_SIZE(during_migration); i++) {
        enter(during_migration[i].before, false);
        request(during_migration[i].action);
        main_loop();
        assert_result(during_migration[i].result, RUN_STATE_PRELAUNCH);
        g_assert_cmpint(conts, ==, 0);
    }
    migrates_in_reset = false;

    /* It is being migrated when it is to be powered on */
    enter(RUN_STATE_SHUTDOWN, false);
    request(MACHINE_POWER_ACTION_POWER_ON);
    set_state(RUN_STATE_FINISH_MIGRATE);
    resets_in_migration = true;
    main_loop();
    resets_in_migration = false;
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_FINISH_MIGRATE);
    g_assert_cmpint(conts, ==, 0);

    /* Stopped again before it has woken up */
    enter(RUN_STATE_SUSPENDED, false);
    request(MACHINE_POWER_ACTION_POWER_ON);
    vm_stop(RUN_STATE_PAUSED);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_PAUSED);

    /* The guest resets itself as soon as it is woken up, or before */
    enter(RUN_STATE_SUSPENDED, false);
    reset_requested = SHUTDOWN_CAUSE_GUEST_RESET;
    request(MACHINE_POWER_ACTION_POWER_ON);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_RUNNING);

    /* Two requests at once: the second is none */
    enter(RUN_STATE_RUNNING, false);
    request(MACHINE_POWER_ACTION_RESET);
    g_assert_cmpint(done, ==, 0);
    request(MACHINE_POWER_ACTION_POWER_OFF);
    assert_result(MACHINE_POWER_RESULT_BUSY, RUN_STATE_RUNNING);
    done = 0;
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_RUNNING);
    g_assert_cmpint(shutdowns, ==, 0);
}

static void test_failures(void)
{
    enter(RUN_STATE_RUNNING, false);
    flush_error = -EIO;
    request(MACHINE_POWER_ACTION_PAUSE);
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_PAUSED);
    g_assert_nonnull(strstr(reason, strerror(EIO)));
    flush_error = 0;

    cont_error = "no way";
    request(MACHINE_POWER_ACTION_CONTINUE);
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_PAUSED);
    g_assert_cmpstr(reason, ==, "no way");

    enter(RUN_STATE_SHUTDOWN, false);
    request(MACHINE_POWER_ACTION_POWER_ON);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_PRELAUNCH);
    g_assert_cmpstr(reason, ==, "no way");
    /* Nobody else has stopped it, so that may be tried again */
    g_assert_true(can_continue());
    cont_error = NULL;
    request(MACHINE_POWER_ACTION_CONTINUE);
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_RUNNING);

    enter(RUN_STATE_PAUSED, false);
    stops_at_once = true;
    request(MACHINE_POWER_ACTION_CONTINUE);
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_IO_ERROR);
    stops_at_once = false;
}

/* Disks that are slow keep QEMU waiting once, not over and over */
static void test_slow_pause(void)
{
    int64_t begin;

    enter(RUN_STATE_RUNNING, false);
    flush_ms = 150;
    begin = g_get_monotonic_time();
    request(MACHINE_POWER_ACTION_PAUSE);
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_PAUSED);
    flush_ms = 0;
    request(MACHINE_POWER_ACTION_CONTINUE);
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_RUNNING);

    do {
        request(MACHINE_POWER_ACTION_PAUSE);
        if (result == MACHINE_POWER_RESULT_OK) {
            break;
        }
        assert_result(MACHINE_POWER_RESULT_BUSY, RUN_STATE_RUNNING);
        g_assert_cmpint(stops, ==, 0);
        g_usleep(1000);
    } while (g_get_monotonic_time() - begin < 60 * G_TIME_SPAN_SECOND);
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_PAUSED);
    g_assert_cmpint(g_get_monotonic_time() - begin, >=,
                    (150 * 11 - 10) * G_TIME_SPAN_MILLISECOND);

    /* Nothing else has to wait for that, nor has a pause after a quick one */
    enter(RUN_STATE_RUNNING, false);
    assert_done(MACHINE_POWER_ACTION_PAUSE);
}

/* The main loop does not do what it is asked for */
static void test_timeout(void)
{
    int64_t start = g_get_monotonic_time();

    if (!g_test_slow()) {
        g_test_skip("takes ten seconds, run with -m slow");
        return;
    }
    enter(RUN_STATE_RUNNING, false);
    request(MACHINE_POWER_ACTION_RESET);
    while (!done) {
        main_loop_wait(false);
    }
    assert_result(MACHINE_POWER_RESULT_FAILED, RUN_STATE_RUNNING);
    g_assert_cmpint(g_get_monotonic_time() - start, >=,
                    9 * G_TIME_SPAN_SECOND);
    /* The late effect is that of the next one */
    request(MACHINE_POWER_ACTION_RESET);
    g_assert_cmpint(done, ==, 0);
    main_loop();
    assert_result(MACHINE_POWER_RESULT_OK, RUN_STATE_RUNNING);
    g_assert_cmpint(resets, ==, 1);
}

/* QEMU ends with something pending: "quit", SIGTERM, the guest's shutdown */
static void test_exit(const void *data)
{
    MachinePowerAction action = GPOINTER_TO_INT(data);
    bool off = action == MACHINE_POWER_ACTION_POWER_OFF;

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    enter(action == MACHINE_POWER_ACTION_POWER_ON ? RUN_STATE_SHUTDOWN
                                                  : RUN_STATE_RUNNING, false);
    request(action);
    shutdown_action = SHUTDOWN_ACTION_POWEROFF;
    shutdown_requested = SHUTDOWN_CAUSE_HOST_SIGNAL;
    main_loop();
    g_assert_true(quit);
    g_assert_cmpint(done, ==, 1);
    g_assert_cmpint(result, ==, off ? MACHINE_POWER_RESULT_OK
                                    : MACHINE_POWER_RESULT_FAILED);
    g_assert_true(machine_power_ending());
    g_assert_cmpint(machine_power_state(), ==, MACHINE_POWER_STATE_OFF);
    g_assert_cmphex(machine_power_possible(), ==, 0);
    request(MACHINE_POWER_ACTION_RESET);
    g_assert_cmpint(result, ==, MACHINE_POWER_RESULT_WRONG_STATE);

    /* The disks are closed then, and bottom halves run once more */
    done = 0;
    if (run_state != RUN_STATE_SHUTDOWN) {
        set_state(RUN_STATE_SHUTDOWN);
    }
    while (aio_poll(iohandler_get_aio_context(), false)) {
        /* all of them */
    }
    g_assert_cmpint(done, ==, 0);
}

int main(int argc, char **argv)
{
    Notifier notifier = { .notify = on_change };

    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    machine_power_init();
    machine_power_init();
    machine_power_add_change_notifier(&notifier);
    init_done_notifier->notify(init_done_notifier, NULL);
    main_loop();
    g_assert_true(changed);

    g_test_add_func("/machine-power/never-started", test_never_started);
    g_test_add_func("/machine-power/table", test_table);
    g_test_add_func("/machine-power/no-wakeup", test_no_wakeup);
    g_test_add_func("/machine-power/settings", test_settings);
    g_test_add_func("/machine-power/supported", test_supported);
    g_test_add_func("/machine-power/who", test_who_has_stopped_it);
    g_test_add_func("/machine-power/same-time", test_at_the_same_time);
    g_test_add_func("/machine-power/failures", test_failures);
    g_test_add_func("/machine-power/slow-pause", test_slow_pause);
    g_test_add_data_func("/machine-power/exit/reset",
                         GINT_TO_POINTER(MACHINE_POWER_ACTION_RESET),
                         test_exit);
    g_test_add_data_func("/machine-power/exit/power-off",
                         GINT_TO_POINTER(MACHINE_POWER_ACTION_POWER_OFF),
                         test_exit);
    g_test_add_data_func("/machine-power/exit/power-on",
                         GINT_TO_POINTER(MACHINE_POWER_ACTION_POWER_ON),
                         test_exit);
    g_test_add_func("/machine-power/timeout", test_timeout);

    return g_test_run();
}
