/*
 * QTest testcase for -action shutdown=pause: the machine is kept when it is
 * shut down, whether it was running or not
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
    const char *status;             /* before the shutdown */
    bool kept;                      /* and after it: somebody else's */
} Test;

static bool has_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-status' }");
    bool same = !strcmp(qdict_get_str(rsp, "status"), status);

    qobject_unref(rsp);
    return same;
}

static void assert_status(QTestState *qts, const char *status)
{
    if (!has_status(qts, status)) {
        g_error("the run state is not %s", status);
    }
}

static void wait_status(QTestState *qts, const char *status)
{
    while (!has_status(qts, status)) {
        /* There is no event for this */
        g_usleep(1000);
    }
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

static void io_error(QTestState *qts)
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
    /* Only a disk that has been written to is flushed */
    qtest_outb(qts, IDE_COMMAND, IDE_FLUSH);
    qtest_qmp_eventwait(qts, "STOP");
}

static void suspend(QTestState *qts)
{
    qtest_outl(qts, 0xcf8, PIIX4_PM_CONFIG(PIIX4_PM_BASE));
    qtest_outl(qts, 0xcfc, PM_BASE | 1);
    qtest_outl(qts, 0xcf8, PIIX4_PM_CONFIG(PIIX4_PM_MISC));
    qtest_outb(qts, 0xcfc, 1);
    qtest_outw(qts, PM1_CNT, PM1_CNT_SUSPEND);
    qtest_qmp_eventwait(qts, "SUSPEND");
}

static void suspend_stop(QTestState *qts)
{
    suspend(qts);
    stop(qts);
}

static void migrate(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': 'exec:cat > /dev/null' } }");
    wait_status(qts, "postmigrate");
}

static void migrate_halfway(QTestState *qts)
{
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        "  'capabilities': [ { 'capability': 'pause-before-switchover',"
        "                      'state': true } ] } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': 'exec:cat > /dev/null' } }");
    wait_status(qts, "finish-migrate");
}

/* QMP cannot shut a machine down, but turn its reset into a shutdown */
static void shut_down(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'set-action',"
                                  "  'arguments': { 'reboot': 'shutdown' } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "SHUTDOWN");
}

static void test_shutdown(const void *data)
{
    const Test *test = data;
    QTestState *qts;

    qts = qtest_initf("-nodefaults -action shutdown=pause %s", test->args);
    if (test->stop) {
        test->stop(qts);
    }
    assert_status(qts, test->status);
    shut_down(qts);
    if (test->kept) {
        assert_status(qts, test->status);
        qtest_quit(qts);
        return;
    }
    assert_status(qts, "shutdown");

    /* It can be used again, but only after a reset */
    qobject_unref(qtest_qmp_assert_failure_ref(qts, "{ 'execute': 'cont' }"));
    qtest_qmp_assert_success(qts, "{ 'execute': 'set-action',"
                                  "  'arguments': { 'reboot': 'reset' } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "RESET");
    assert_status(qts, "prelaunch");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    qtest_qmp_eventwait(qts, "RESUME");
    assert_status(qts, "running");

    qtest_quit(qts);
}

/* Without shutdown=pause, QEMU exits */
static void test_poweroff(const void *data)
{
    const Test *test = data;
    QTestState *qts = qtest_initf("-nodefaults -action shutdown=poweroff %s",
                                  test->args);

    if (test->stop) {
        test->stop(qts);
    }
    assert_status(qts, test->status);
    shut_down(qts);
    qtest_wait_qemu(qts);
    qtest_quit(qts);
}

/* A shutdown that is nothing but the end of a panic does not hide the panic */
static void test_panic_stays(void)
{
    QTestState *qts;

    qts = qtest_init("-nodefaults -device pvpanic"
                     " -action panic=exit-failure,shutdown=pause");
    qtest_outb(qts, PVPANIC_PORT, PVPANIC_PANICKED);
    qtest_qmp_eventwait(qts, "SHUTDOWN");
    assert_status(qts, "guest-panicked");
    qtest_quit(qts);
}

static const Test tests[] = {
    { "running", "", NULL, "running" },
    { "suspended", "", suspend, "suspended" },
    { "paused", "", stop, "paused" },
    { "paused/suspended", "", suspend_stop, "paused" },
    { "prelaunch", "-S", NULL, "prelaunch" },
    { "prelaunch/reset", "", stop_reset, "prelaunch" },
    { "guest-panicked", "-device pvpanic -action panic=pause", panic,
      "guest-panicked" },
    { "watchdog", "-device ib700 -action watchdog=pause", watchdog,
      "watchdog" },
    { "io-error", FAILING_DISK, io_error, "io-error" },
    { "inmigrate", "-incoming defer", NULL, "inmigrate", true },
    { "finish-migrate", "", migrate_halfway, "finish-migrate", true },
    { "postmigrate", "", migrate, "postmigrate", true },
};

int main(int argc, char **argv)
{
    size_t i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *pause = g_strdup_printf("shutdown-pause/pause/%s",
                                                 tests[i].name);
        g_autofree char *poweroff = g_strdup_printf(
                                                "shutdown-pause/poweroff/%s",
                                                tests[i].name);

        qtest_add_data_func(pause, &tests[i], test_shutdown);
        qtest_add_data_func(poweroff, &tests[i], test_poweroff);
    }
    qtest_add_func("shutdown-pause/panic-stays", test_panic_stays);

    return g_test_run();
}
