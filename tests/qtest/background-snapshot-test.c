/*
 * QTest testcase for a background snapshot of a machine that is stopped, or
 * that cannot be taken
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

/* The power management function of the PIIX4 */
#define PIIX4_PM_CONFIG(reg) (0x80000000 | 1 << 11 | 3 << 8 | (reg))
#define PIIX4_PM_BASE       0x40
#define PIIX4_PM_MISC       0x80
#define PM_BASE             0x600
#define PM1_CNT             (PM_BASE + 4)
#define PM1_CNT_SUSPEND     (1 << 13 | 1 << 10)
#define PM1_CNT_OFF         (1 << 13)

/* A disk whose first flush fails */
#define FAILING_DISK                                                    \
    "-blockdev driver=raw,node-name=disk,file.driver=blkdebug,"         \
    "file.image.driver=null-co,file.image.read-zeroes=on,"              \
    "file.inject-error.0.event=flush_to_disk,"                          \
    "file.inject-error.0.immediately=off,file.inject-error.0.once=on "  \
    "-device ide-hd,drive=disk,bus=ide.0,unit=0,werror=stop"
#define IDE_DATA            0x1f0
#define IDE_SECTORS         0x1f2
#define IDE_DEVICE          0x1f6
#define IDE_COMMAND         0x1f7
#define IDE_BUSY            0x80
#define IDE_WRITE           0x30
#define IDE_FLUSH           0xe7

typedef struct Test {
    const char *name;
    const char *args;
    void (*stop)(QTestState *qts);
    const char *status;
    const char *result;
} Test;

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

static void write_sector(QTestState *qts)
{
    int i;

    qtest_outb(qts, IDE_DEVICE, 0xe0);
    qtest_outb(qts, IDE_SECTORS, 1);
    qtest_outb(qts, IDE_COMMAND, IDE_WRITE);
    for (i = 0; i < 256; i++) {
        qtest_outw(qts, IDE_DATA, i);
    }
    while (qtest_inb(qts, IDE_COMMAND) & IDE_BUSY) {
        g_usleep(1000);
    }
}

static void io_error(QTestState *qts)
{
    /* Only a disk that has been written to is flushed */
    write_sector(qts);
    qtest_outb(qts, IDE_COMMAND, IDE_FLUSH);
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

/* The result of the migration, or NULL if there is none as yet */
static const char *migration_result(QTestState *qts)
{
    static const char *const results[] = { "completed", "failed" };
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-migrate' }");
    const char *status = qdict_get_try_str(rsp, "status");
    const char *result = NULL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(results); i++) {
        if (!g_strcmp0(status, results[i])) {
            result = results[i];
        }
    }
    qobject_unref(rsp);
    return result;
}

static bool set_capability(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts,
        "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        "  'capabilities': [ { 'capability': 'background-snapshot',"
        "                      'state': true } ] } }");
    bool is_set = qdict_haskey(rsp, "return");

    if (!is_set) {
        g_test_skip(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"));
    }
    qobject_unref(rsp);
    return is_set;
}

static void test_snapshot(const void *data)
{
    const Test *test = data;
    const char *result;
    QTestState *qts;

    qts = qtest_initf("-machine pc -nodefaults -action shutdown=pause %s",
                      test->args);
    if (!set_capability(qts)) {
        qtest_quit(qts);
        return;
    }
    if (test->stop) {
        test->stop(qts);
    }
    assert_status(qts, test->status);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': 'exec:cat > /dev/null' } }");
    while (!(result = migration_result(qts))) {
        g_usleep(1000);
    }
    g_assert_cmpstr(result, ==, test->result);

    /* It is what it was before, and stays it */
    assert_status(qts, test->status);
    assert_status(qts, test->status);
    qtest_quit(qts);
}

static const Test tests[] = {
    { "running", "", NULL, "running", "completed" },
    { "suspended", "", suspend, "suspended", "completed" },
    { "paused", "", stop, "paused", "completed" },
    { "prelaunch", "-S", NULL, "prelaunch", "completed" },
    { "prelaunch/reset", "", stop_reset, "prelaunch", "completed" },
    { "guest-panicked", "-device pvpanic -action panic=pause", panic,
      "guest-panicked", "completed" },
    { "watchdog", "-device ib700 -action watchdog=pause", watchdog,
      "watchdog", "completed" },
    { "io-error", FAILING_DISK, io_error, "io-error", "completed" },
    { "shutdown", "", off, "shutdown", "completed" },
    /* Now it is the snapshot that cannot flush the disk */
    { "fails", FAILING_DISK, write_sector, "running", "failed" },
};

int main(int argc, char **argv)
{
    size_t i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("background-snapshot/",
                                            tests[i].name, NULL);

        qtest_add_data_func(path, &tests[i], test_snapshot);
    }

    return g_test_run();
}
