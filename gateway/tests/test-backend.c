/*
 * Backends whose programs are the tests' own, two at a time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "backend.h"
#include "loop.h"

/* What a backend has told last */
typedef struct Told {
    guint times;
    guint32 state, possible;
    gboolean is_changing;
    char *trouble;
    BackendTrouble kind;
    guint32 result;
    char *message;
} Told;

static void status_told(const BackendStatus *status, gpointer opaque)
{
    Told *told = opaque;

    told->times++;
    told->state = status->state;
    told->possible = status->possible;
    told->is_changing = status->is_changing;
    told->kind = status->trouble_kind;
    g_free(told->trouble);
    told->trouble = g_strdup(status->trouble);
}

static void result_told(guint32 result, const char *message, gpointer opaque)
{
    Told *told = opaque;

    told->times++;
    told->result = result;
    g_free(told->message);
    told->message = g_strdup(message);
}

static void told_clear(Told *told)
{
    g_free(told->trouble);
    g_free(told->message);
    *told = (Told) { 0 };
}

/* One of which all programs are /bin/sh with a script */
typedef struct Exec {
    MachineConfig config;
    Backend *backend;
    Told told;
} Exec;

static char **script(const char *text)
{
    const char *const argv[] = { "sh", "-c", text, NULL };

    return g_strdupv((char **)argv);
}

static Exec *exec_new(const char *name)
{
    Exec *exec = g_new0(Exec, 1);

    exec->config.name = (char *)name;
    exec->config.backend = BACKEND_EXEC;
    exec->config.query_timeout_ms = HANG_S * 1000;
    return exec;
}

static void exec_begin(Exec *exec)
{
    g_autoptr(GError) error = NULL;

    exec->backend = backend_new(&exec->config, &error);
    g_assert_no_error(error);
}

static void exec_free(Exec *exec)
{
    if (exec->backend) {
        exec->backend->methods->free(exec->backend);
    }
    g_strfreev(exec->config.exec_status);
    g_strfreev(exec->config.exec_reset);
    g_strfreev(exec->config.exec_power_on);
    g_strfreev(exec->config.exec_watch);
    told_clear(&exec->told);
    g_free(exec);
}

static void ask(Exec *exec)
{
    exec->backend->methods->status(exec->backend, status_told, &exec->told);
}

static void act(Exec *exec, guint32 action)
{
    exec->backend->methods->action(exec->backend, action, HANG_S * 1000,
                                   result_told, &exec->told);
}

#define ZEROS "00000000000000000000000000000000000000000000000000000000000"

/* What a status program prints, and what that is */
static void test_status(void)
{
    static const struct {
        const char *script;
        guint32 state;
        const char *trouble;
    } known[] = {
        { "echo on", SPICE_POWER_STATE_ON, NULL },
        { "echo ' Off since noon'", SPICE_POWER_STATE_OFF, NULL },
        { "echo paused", SPICE_POWER_STATE_PAUSED, NULL },
        { "echo suspended", SPICE_POWER_STATE_SUSPENDED, NULL },
        { "echo crashed", SPICE_POWER_STATE_CRASHED, NULL },
        { "echo unknown", SPICE_POWER_STATE_UNKNOWN, NULL },
        { "echo no answer >&2; exit 1", SPICE_POWER_STATE_UNKNOWN,
          "no answer" },
        { "echo on; exit 3", SPICE_POWER_STATE_UNKNOWN,
          "The program for the status failed: exit status 3" },
        { "echo only", SPICE_POWER_STATE_UNKNOWN,
          "The program for the status printed 'only', not on, off, paused,"
          " suspended, crashed or unknown" },
        { "echo; echo ' no such  state '; echo on", SPICE_POWER_STATE_UNKNOWN,
          "The program for the status printed 'no such  state', not on, off,"
          " paused, suspended, crashed or unknown" },
        { "echo null", SPICE_POWER_STATE_UNKNOWN,
          "The program for the status printed 'null', not on, off, paused,"
          " suspended, crashed or unknown" },
        { "printf '\\377%070d' 0", SPICE_POWER_STATE_UNKNOWN,
          "The program for the status printed '\357\277\275" ZEROS "...', not"
          " on, off, paused, suspended, crashed or unknown" },
        { "echo", SPICE_POWER_STATE_UNKNOWN,
          "The program for the status printed nothing, not on, off, paused,"
          " suspended, crashed or unknown" },
        /* as virsh domstate and Redfish have them */
        { "echo running; echo", SPICE_POWER_STATE_ON, NULL },
        { "echo idle", SPICE_POWER_STATE_ON, NULL },
        { "echo shut off", SPICE_POWER_STATE_OFF, NULL },
        { "echo pmsuspended", SPICE_POWER_STATE_SUSPENDED, NULL },
        { "echo no state", SPICE_POWER_STATE_UNKNOWN, NULL },
        { "echo On", SPICE_POWER_STATE_ON, NULL },
        { "echo runningly", SPICE_POWER_STATE_UNKNOWN,
          "The program for the status printed 'runningly', not on, off, paused,"
          " suspended, crashed or unknown" },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        Exec *exec = exec_new("a");

        exec->config.exec_status = script(known[i].script);
        exec_begin(exec);
        ask(exec);
        g_assert_cmpuint(exec->told.times, ==, 0);      /* not at once */
        RUN_UNTIL(exec->told.times);
        g_assert_cmpuint(exec->told.state, ==, known[i].state);
        g_assert_cmphex(exec->told.possible, ==,
                        backend_possible(known[i].state));
        g_assert_cmpstr(exec->told.trouble, ==, known[i].trouble);
        exec_free(exec);
    }
}

/* A state that is not one yet */
static void test_changing(void)
{
    static const char *const scripts[] = {
        "echo PoweringOn", "echo poweringoff", "echo in shutdown",
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(scripts); i++) {
        Exec *exec = exec_new("a");

        exec->config.exec_status = script(scripts[i]);
        exec_begin(exec);
        ask(exec);
        RUN_UNTIL(exec->told.times);
        g_assert_true(exec->told.is_changing);
        g_assert_cmpuint(exec->told.state, ==, SPICE_POWER_STATE_UNKNOWN);
        g_assert_null(exec->told.trouble);
        exec_free(exec);
    }
}

/* How it ends says when to try again */
static void test_trouble_kinds(void)
{
    static const struct {
        const char *script;
        BackendTrouble kind;
    } known[] = {
        { "echo only", BACKEND_TROUBLE_PASSING },
        { "exit 1", BACKEND_TROUBLE_PASSING },
        { "kill $$", BACKEND_TROUBLE_PASSING },
        { "exit 75", BACKEND_TROUBLE_AWAY },
        { "exit 77", BACKEND_TROUBLE_REFUSED },
        { "exec sleep 1000", BACKEND_TROUBLE_AWAY },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        Exec *exec = exec_new("a");

        exec->config.exec_status = script(known[i].script);
        if (strstr(known[i].script, "sleep")) {
            exec->config.query_timeout_ms = 10;
        }
        exec_begin(exec);
        ask(exec);
        RUN_UNTIL(exec->told.times);
        g_assert_nonnull(exec->told.trouble);
        g_assert_cmpint(exec->told.kind, ==, known[i].kind);
        exec_free(exec);
    }
}

static void test_possible(void)
{
    const guint32 any = SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF;

    g_assert_cmphex(backend_possible(SPICE_POWER_STATE_OFF), ==,
                    SPICE_POWER_ACTION_ON);
    g_assert_cmphex(backend_possible(SPICE_POWER_STATE_ON), ==,
                    any | SPICE_POWER_ACTION_PAUSE);
    g_assert_cmphex(backend_possible(SPICE_POWER_STATE_PAUSED), ==,
                    any | SPICE_POWER_ACTION_CONTINUE);
    g_assert_cmphex(backend_possible(SPICE_POWER_STATE_CRASHED), ==, any);
    g_assert_cmphex(backend_possible(SPICE_POWER_STATE_UNKNOWN), ==,
                    SPICE_POWER_ACTION_MASK);
}

/* Only what there is a program for, and an error if more is asked for */
static void test_supported(void)
{
    Exec *exec = exec_new("a");
    g_autoptr(GError) error = NULL;

    exec->config.exec_reset = script("true");
    exec->config.exec_power_on = script("true");
    exec->config.actions = SPICE_POWER_ACTION_MASK;
    exec_begin(exec);
    g_assert_cmphex(exec->backend->methods->supported(exec->backend), ==,
                    SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_ON);
    g_assert_false(exec->backend->methods->can_ask(exec->backend));

    exec->config.actions_set = TRUE;
    exec->config.actions = SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_PAUSE;
    g_assert_null(backend_new(&exec->config, &error));
    g_assert_cmpstr(error->message, ==, "[power] actions: the backend has"
                    " nothing for pause");
    exec_free(exec);
}

/* The answers of two backends are their own, in whatever order they come */
static void test_two(void)
{
    g_autofree char *directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    g_autofree char *pipe = g_build_filename(directory, "pipe", NULL);
    g_autofree char *read = g_strdup_printf("cat %s; echo one >&2; exit 1",
                                            pipe);
    g_autofree char *write = g_strdup_printf("echo x > %s", pipe);
    Exec *a = exec_new("a"), *b = exec_new("b");

    g_assert_cmpint(mkfifo(pipe, 0600), ==, 0);
    a->config.exec_status = script("echo on");
    a->config.exec_reset = script(read);
    b->config.exec_status = script("echo off");
    b->config.exec_reset = script("echo other >&2; exit 1");
    exec_begin(a);
    exec_begin(b);
    /* that of a waits until the other one has ended */
    act(a, SPICE_POWER_ACTION_RESET);
    act(b, SPICE_POWER_ACTION_RESET);
    RUN_UNTIL(b->told.times);
    g_assert_cmpstr(b->told.message, ==, "other");
    g_assert_cmpuint(a->told.times, ==, 0);
    ask(b);
    RUN_UNTIL(b->told.times == 2);
    g_assert_cmpuint(b->told.state, ==, SPICE_POWER_STATE_OFF);
    g_assert_cmpint(system(write), ==, 0);
    RUN_UNTIL(a->told.times);
    g_assert_cmpuint(a->told.result, ==, SPICE_POWER_RESULT_FAILED);
    g_assert_cmpstr(a->told.message, ==, "one");
    ask(a);
    RUN_UNTIL(a->told.times == 2);
    g_assert_cmpuint(a->told.state, ==, SPICE_POWER_STATE_ON);
    exec_free(a);
    exec_free(b);
    remove_all(directory);
}

static gboolean is_there(const char *path)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return kill(atoi(text), 0) == 0 || errno != ESRCH;
}

/* One that ends takes its own programs with it, and says nothing any more */
static void test_free_one(void)
{
    g_autofree char *directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    Exec *execs[2];
    char *pids[2];
    int i;

    for (i = 0; i < 2; i++) {
        g_autofree char *run = NULL;

        pids[i] = g_strdup_printf("%s/%d", directory, i);
        run = g_strdup_printf("echo $$ > %s; echo on; exec sleep 1000",
                              pids[i]);
        execs[i] = exec_new(i ? "b" : "a");
        execs[i]->config.exec_watch = script(run);
        exec_begin(execs[i]);
        execs[i]->backend->methods->watch(execs[i]->backend, status_told,
                                          &execs[i]->told);
    }
    RUN_UNTIL(execs[0]->told.times && execs[1]->told.times);
    exec_free(execs[0]);
    RUN_UNTIL(!is_there(pids[0]));
    g_assert_true(is_there(pids[1]));
    g_assert_cmpuint(execs[1]->told.times, ==, 1);
    exec_free(execs[1]);
    RUN_UNTIL(!is_there(pids[1]));
    for (i = 0; i < 2; i++) {
        g_free(pids[i]);
    }
    remove_all(directory);
}

/* That a program can't be run is told later; or not at all, if nobody asks */
static void test_no_program(void)
{
    Exec *a = exec_new("a"), *b = exec_new("b");

    a->config.exec_status = g_strsplit("/no/such/program", " ", 0);
    b->config.exec_status = g_strsplit("/no/such/program", " ", 0);
    exec_begin(a);
    exec_begin(b);
    ask(a);
    ask(b);
    g_assert_cmpuint(a->told.times, ==, 0);
    exec_free(b);
    RUN_UNTIL(a->told.times);
    g_assert_nonnull(strstr(a->told.trouble, "/no/such/program"));
    exec_free(a);
}

/* What runs too long is ended, and there is one answer */
static void test_time_limit(void)
{
    Exec *exec = exec_new("a");

    exec->config.exec_status = script("exec sleep 1000");
    exec->config.query_timeout_ms = 10;
    exec_begin(exec);
    ask(exec);
    RUN_UNTIL(exec->told.times);
    g_assert_cmpstr(exec->told.trouble, ==, "The program for the status failed:"
                    " no answer within 0.1 seconds");
    /* the same one again, while the first one is about to end */
    ask(exec);
    RUN_UNTIL(exec->told.times == 2);
    exec_free(exec);
}

/* Lines that are no state are told once; and one that ends is none that stays */
static void test_watch(void)
{
    Exec *exec = exec_new("a");

    exec->config.exec_watch = script("echo on; echo; echo so what; echo what;"
                                     " echo paused;"
                                     " echo the bus is gone >&2; exit 1");
    exec_begin(exec);
    g_test_expect_message("spice-gateway", G_LOG_LEVEL_WARNING, "a: the"
                          " program for watch printed 'so what', not on, off,"
                          " paused, suspended, crashed or unknown; such lines"
                          " are passed over");
    g_test_expect_message("spice-gateway", G_LOG_LEVEL_WARNING, "a: The"
                          " program for watch has ended: *");
    exec->backend->methods->watch(exec->backend, status_told, &exec->told);
    RUN_UNTIL(exec->told.trouble);
    g_test_assert_expected_messages();
    g_assert_cmpuint(exec->told.times, ==, 3);
    g_assert_cmpuint(exec->told.state, ==, SPICE_POWER_STATE_UNKNOWN);
    g_assert_cmpstr(exec->told.trouble, ==,
                    "The program for watch has ended: the bus is gone");
    /* it is about to be started again */
    exec_free(exec);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/backend/status", test_status);
    g_test_add_func("/backend/changing", test_changing);
    g_test_add_func("/backend/trouble-kinds", test_trouble_kinds);
    g_test_add_func("/backend/possible", test_possible);
    g_test_add_func("/backend/supported", test_supported);
    g_test_add_func("/backend/two", test_two);
    g_test_add_func("/backend/free-one", test_free_one);
    g_test_add_func("/backend/no-program", test_no_program);
    g_test_add_func("/backend/time-limit", test_time_limit);
    g_test_add_func("/backend/watch", test_watch);
    return g_test_run();
}
