/*
 * QTest testcase for a guest that suspends its machine at the moment in which
 * that is stopped, or before that
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

typedef struct Test {
    const char *name;
    void (*stop)(QTestState *qts);
    const char *status;
} Test;

static bool has_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-status' }");
    bool same = !strcmp(qdict_get_str(rsp, "status"), status);

    qobject_unref(rsp);
    return same;
}

static QTestState *start(void)
{
    QTestState *qts = qtest_init("-machine pc -nodefaults -device pvpanic"
                                 " -device ib700 -action shutdown=pause"
                                 " -action panic=pause -action watchdog=pause");

    qtest_outl(qts, 0xcf8, PIIX4_PM_CONFIG(PIIX4_PM_BASE));
    qtest_outl(qts, 0xcfc, PM_BASE | 1);
    qtest_outl(qts, 0xcf8, PIIX4_PM_CONFIG(PIIX4_PM_MISC));
    qtest_outb(qts, 0xcfc, 1);
    return qts;
}

static void stop(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    qtest_qmp_eventwait(qts, "STOP");
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

static void migrate(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': 'exec:cat > /dev/null' } }");
    while (!has_status(qts, "postmigrate")) {
        /* There is no event for this */
        g_usleep(1000);
    }
}

static const Test tests[] = {
    { "paused", stop, "paused" },
    { "guest-panicked", panic, "guest-panicked" },
    { "watchdog", watchdog, "watchdog" },
    { "postmigrate", migrate, "postmigrate" },
};

/*
 * A vCPU may ask for it until it is stopped; here that comes right after, which
 * is the same for the main loop.
 */
static void test_suspend(const void *data)
{
    const Test *test = data;
    QTestState *qts = start();

    test->stop(qts);
    qtest_outw(qts, PM1_CNT, PM1_CNT_SUSPEND);
    qtest_qmp_eventwait(qts, "SUSPEND");
    g_assert_true(has_status(qts, test->status));

    /* It sleeps as soon as it may, and can be woken up */
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    qtest_qmp_eventwait(qts, "RESUME");
    g_assert_true(has_status(qts, "suspended"));
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_wakeup' }");
    qtest_qmp_eventwait(qts, "WAKEUP");
    g_assert_true(has_status(qts, "running"));
    qtest_quit(qts);
}

/* It is suspended first, and then stopped */
static void test_stop(const void *data)
{
    const Test *test = data;
    QTestState *qts = start();

    qtest_outw(qts, PM1_CNT, PM1_CNT_SUSPEND);
    qtest_qmp_eventwait(qts, "SUSPEND");
    g_assert_true(has_status(qts, "suspended"));
    test->stop(qts);
    g_assert_true(has_status(qts, test->status));

    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    qtest_qmp_eventwait(qts, "RESUME");
    g_assert_true(has_status(qts, "suspended"));
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_wakeup' }");
    qtest_qmp_eventwait(qts, "WAKEUP");
    g_assert_true(has_status(qts, "running"));
    qtest_quit(qts);
}

/* What is off is not suspended, and starts anew */
static void test_shutdown(void)
{
    QTestState *qts = start();

    qtest_outw(qts, PM1_CNT, PM1_CNT_OFF);
    qtest_qmp_eventwait(qts, "STOP");
    qtest_outw(qts, PM1_CNT, PM1_CNT_SUSPEND);
    /* A command is handled after what the main loop has been asked for */
    g_assert_true(has_status(qts, "shutdown"));
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "RESET");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    qtest_qmp_eventwait(qts, "RESUME");
    g_assert_true(has_status(qts, "running"));
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    size_t i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("suspend-stopped/", tests[i].name,
                                            NULL);
        g_autofree char *reverse = g_strconcat(path, "/reverse", NULL);

        qtest_add_data_func(path, &tests[i], test_suspend);
        if (tests[i].stop != watchdog) {
            /* While the machine sleeps its clock stands still */
            qtest_add_data_func(reverse, &tests[i], test_stop);
        }
    }
    qtest_add_func("suspend-stopped/shutdown", test_shutdown);

    return g_test_run();
}
