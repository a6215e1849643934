/*
 * QTest testcase for postcopy of a machine that is stopped: the target does not
 * start it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "libqtest.h"
#include "qobject/qdict.h"

#define PVPANIC_PORT        0x505
#define PVPANIC_PANICKED    0x01

#define IB700_PORT          0x443
#define IB700_30_SECONDS    0

#define MACHINE \
    "-machine pc -nodefaults -device pvpanic -device ib700 " \
    "-action panic=pause,watchdog=pause,shutdown=pause"

/* The power management function of the PIIX4 */
#define PIIX4_PM_CONFIG(reg) (0x80000000 | 1 << 11 | 3 << 8 | (reg))
#define PIIX4_PM_BASE       0x40
#define PIIX4_PM_MISC       0x80
#define PM_BASE             0x600
#define PM1_CNT             (PM_BASE + 4)
#define PM1_CNT_SUSPEND     (1 << 13 | 1 << 10)
#define PM1_CNT_OFF         (1 << 13)

typedef struct Test {
    const char *name;
    void (*stop)(QTestState *qts);
    const char *status;
} Test;

static char *dir, *uri;

static void assert_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(rsp, "status"), ==, status);
    qobject_unref(rsp);
}

static void stop(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    qtest_qmp_eventwait(qts, "STOP");
}

static void stop_reset(QTestState *qts)
{
    stop(qts);
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "RESET");
}

static void panic(QTestState *qts)
{
    qtest_outb(qts, PVPANIC_PORT, PVPANIC_PANICKED);
    qtest_qmp_eventwait(qts, "STOP");
}

static void watchdog(QTestState *qts)
{
    qtest_outb(qts, IB700_PORT, IB700_30_SECONDS);
    qtest_clock_step(qts, 31 * NANOSECONDS_PER_SECOND);
    qtest_qmp_eventwait(qts, "STOP");
}

static void enter_sleep_state(QTestState *qts, uint16_t value)
{
    qtest_outl(qts, 0xcf8, PIIX4_PM_CONFIG(PIIX4_PM_BASE));
    qtest_outl(qts, 0xcfc, PM_BASE | 1);
    qtest_outl(qts, 0xcf8, PIIX4_PM_CONFIG(PIIX4_PM_MISC));
    qtest_outb(qts, 0xcfc, 1);
    qtest_outw(qts, PM1_CNT, value);
}

static void suspend(QTestState *qts)
{
    enter_sleep_state(qts, PM1_CNT_SUSPEND);
    qtest_qmp_eventwait(qts, "SUSPEND");
}

static void off(QTestState *qts)
{
    enter_sleep_state(qts, PM1_CNT_OFF);
    qtest_qmp_eventwait(qts, "STOP");
}

static bool set_capability(QTestState *qts, const char *name)
{
    QDict *rsp = qtest_qmp(qts,
        "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        "  'capabilities': [ { 'capability': %s, 'state': true } ] } }", name);
    bool is_set = qdict_haskey(rsp, "return");

    if (!is_set) {
        g_test_skip(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"));
    }
    qobject_unref(rsp);
    return is_set;
}

static void wait_migration(QTestState *qts, const char *status)
{
    bool found = false;

    while (!found) {
        QDict *event = qtest_qmp_eventwait_ref(qts, "MIGRATION");
        QDict *data = qdict_get_qdict(event, "data");

        found = !strcmp(qdict_get_str(data, "status"), status);
        if (!found) {
            g_assert_cmpstr(qdict_get_str(data, "status"), !=, "failed");
            g_assert_cmpstr(qdict_get_str(data, "status"), !=, "completed");
        }
        qobject_unref(event);
    }
}

static void test_postcopy(const void *data)
{
    const Test *test = data;
    QTestState *source, *target;

    target = qtest_init(MACHINE " -incoming defer");
    if (!set_capability(target, "postcopy-ram")) {
        qtest_quit(target);
        return;
    }
    set_capability(target, "events");
    qtest_qmp_assert_success(target, "{ 'execute': 'migrate-incoming',"
                                     "  'arguments': { 'uri': %s } }", uri);

    source = qtest_init(MACHINE);
    set_capability(source, "postcopy-ram");
    set_capability(source, "events");
    if (test->stop) {
        test->stop(source);
    }
    assert_status(source, test->status);
    /* Precopy does not come to an end */
    qtest_qmp_assert_success(source, "{ 'execute': 'migrate-set-parameters',"
                                     "  'arguments': {"
                                     "    'max-bandwidth': 1000 } }");
    qtest_qmp_assert_success(source, "{ 'execute': 'migrate',"
                                     "  'arguments': { 'uri': %s } }", uri);
    qtest_qmp_assert_success(source, "{ 'execute': 'migrate-start-postcopy' }");
    wait_migration(source, "postcopy-active");
    wait_migration(source, "completed");
    wait_migration(target, "completed");
    assert_status(target, test->status);

    qtest_quit(source);
    qtest_quit(target);
}

static const Test tests[] = {
    { "running", NULL, "running" },
    { "suspended", suspend, "suspended" },
    { "paused", stop, "paused" },
    { "prelaunch", stop_reset, "prelaunch" },
    { "guest-panicked", panic, "guest-panicked" },
    { "watchdog", watchdog, "watchdog" },
    { "shutdown", off, "shutdown" },
};

int main(int argc, char **argv)
{
    size_t i;
    int ret;

    g_test_init(&argc, &argv, NULL);

    dir = g_dir_make_tmp("qtest-postcopy-stopped.XXXXXX", NULL);
    g_assert_nonnull(dir);
    uri = g_strdup_printf("unix:%s/migration", dir);

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("postcopy-stopped/", tests[i].name,
                                            NULL);

        qtest_add_data_func(path, &tests[i], test_postcopy);
    }
    ret = g_test_run();

    unlink(uri + strlen("unix:"));
    rmdir(dir);
    g_free(dir);
    g_free(uri);
    return ret;
}
