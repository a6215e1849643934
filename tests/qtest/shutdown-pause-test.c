/*
 * QTest testcase for -action shutdown=pause: the machine is kept when it is
 * shut down, whether it was running or not
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"

#define PVPANIC_PORT        0x505
#define PVPANIC_PANICKED    0x01

typedef struct Test {
    const char *name;
    const char *args;
    void (*stop)(QTestState *qts);
    const char *status;             /* before the shutdown */
} Test;

static void assert_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "return"), "status"),
                    ==, status);
    qobject_unref(rsp);
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

static void test_shutdown(const void *data)
{
    const Test *test = data;
    QTestState *qts;

    qts = qtest_initf("-nodefaults -device pvpanic -action shutdown=pause %s",
                      test->args);
    if (test->stop) {
        test->stop(qts);
    }
    assert_status(qts, test->status);

    /* QMP cannot shut a machine down, but turn its reset into a shutdown */
    qtest_qmp_assert_success(qts, "{ 'execute': 'set-action',"
                                  "  'arguments': { 'reboot': 'shutdown' } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "SHUTDOWN");
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
    { "paused", "", stop, "paused" },
    { "prelaunch", "-S", NULL, "prelaunch" },
    { "guest-panicked", "-action panic=pause", panic, "guest-panicked" },
};

int main(int argc, char **argv)
{
    size_t i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strdup_printf("shutdown-pause/%s",
                                                tests[i].name);

        qtest_add_data_func(path, &tests[i], test_shutdown);
    }
    qtest_add_func("shutdown-pause/panic-stays", test_panic_stays);

    return g_test_run();
}
