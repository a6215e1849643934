/*
 * QTest testcase for the end of a dump in the background: the machine runs
 * before anybody learns of it, so that it can be stopped then
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include <glib-unix.h>

static void assert_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(rsp, "status"), ==, status);
    qobject_unref(rsp);
}

/* The machine must run by then */
static void wait_completed(QTestState *qts)
{
    bool resumed = false, completed = false;

    while (!completed) {
        QDict *event = qtest_qmp_receive_dict(qts);

        if (!strcmp(qdict_get_str(event, "event"), "RESUME")) {
            resumed = true;
        }
        completed = !strcmp(qdict_get_str(event, "event"), "DUMP_COMPLETED");
        qobject_unref(event);
    }
    g_assert_true(resumed);
}

static void test_dump_resume(const void *data)
{
    bool fails = data != NULL;
    QTestState *qts = qtest_init("-nodefaults");
    char buf[4096];
    int fds[2];

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

    while (!fails && read(fds[0], buf, sizeof(buf)) > 0) {
        continue;
    }
    close(fds[0]);
    wait_completed(qts);
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    assert_status(qts, "paused");
    assert_status(qts, "paused");

    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_data_func("dump-resume/completed", NULL, test_dump_resume);
    qtest_add_data_func("dump-resume/failed", "", test_dump_resume);

    return g_test_run();
}
