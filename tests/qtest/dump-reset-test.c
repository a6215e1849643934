/*
 * QTest testcase for a reset while the memory of the machine is dumped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include <glib-unix.h>

static void assert_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "return"), "status"),
                    ==, status);
    qobject_unref(rsp);
}

static void test_dump_reset(void)
{
    QTestState *qts = qtest_init("-nodefaults");
    int fds[2];

    /* This takes as long as nobody reads it */
    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    qtest_qmp_fds_assert_success(qts, &fds[1], 1,
                                 "{ 'execute': 'getfd',"
                                 "  'arguments': { 'fdname': 'dump' } }");
    close(fds[1]);
    qtest_qmp_assert_success(qts, "{ 'execute': 'dump-guest-memory',"
                                  "  'arguments': { 'paging': false,"
                                  "                 'protocol': 'fd:dump',"
                                  "                 'detach': true } }");
    qtest_qmp_eventwait(qts, "STOP");
    assert_status(qts, "save-vm");

    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "RESET");
    /* The dump goes on; the machine runs again when it has ended */
    assert_status(qts, "save-vm");

    close(fds[0]);
    qtest_qmp_eventwait(qts, "RESUME");
    assert_status(qts, "running");

    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("dump-reset", test_dump_reset);

    return g_test_run();
}
