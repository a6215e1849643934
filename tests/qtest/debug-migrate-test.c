/*
 * QTest testcase for the migration of a machine that a debugger has stopped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"

#include <sys/socket.h>
#include <sys/un.h>

#define MACHINE     "-accel tcg -machine pc -nodefaults"

static char *dir, *gdb_path, *file_path;

static bool has_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-status' }");
    bool same = !strcmp(qdict_get_str(rsp, "status"), status);

    qobject_unref(rsp);
    return same;
}

static void wait_status(QTestState *qts, const char *status)
{
    while (!has_status(qts, status)) {
        /* There is no event for this */
        g_usleep(1000);
    }
}

static int gdb_connect(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_assert_cmpint(strlen(gdb_path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, gdb_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    return fd;
}

/* The machine stops when the debugger connects, and again after the step */
static QTestState *start(int *gdb)
{
    QTestState *qts;

    qts = qtest_initf(MACHINE " -gdb unix:%s,server=on,wait=off", gdb_path);
    *gdb = gdb_connect();
    g_assert_cmpint(write(*gdb, "$s#73", 5), ==, 5);
    wait_status(qts, "debug");
    return qts;
}

static void stop(QTestState *qts, int gdb)
{
    qtest_quit(qts);
    close(gdb);
    unlink(gdb_path);
}

static void test_cancel(void)
{
    int gdb;
    QTestState *qts = start(&gdb);

    qtest_qmp_assert_success(qts,
        "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        "  'capabilities': [ { 'capability': 'pause-before-switchover',"
        "                      'state': true } ] } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': 'exec:cat > /dev/null' } }");
    wait_status(qts, "finish-migrate");
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate_cancel' }");
    wait_status(qts, "debug");
    stop(qts, gdb);
}

static void test_migrate(void)
{
    int gdb;
    QTestState *qts = start(&gdb);

    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': %s } }", file_path);
    wait_status(qts, "postmigrate");
    stop(qts, gdb);

    qts = qtest_initf(MACHINE " -incoming %s", file_path);
    wait_status(qts, "debug");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    wait_status(qts, "running");
    qtest_quit(qts);
    unlink(file_path + strlen("file:"));
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);

    if (!qtest_has_accel("tcg")) {
        g_test_skip("No TCG accelerator available");
        return 0;
    }

    dir = g_dir_make_tmp("qtest-debug-migrate.XXXXXX", NULL);
    g_assert_nonnull(dir);
    gdb_path = g_strdup_printf("%s/gdb", dir);
    file_path = g_strdup_printf("file:%s/state", dir);

    qtest_add_func("debug-migrate/cancel", test_cancel);
    qtest_add_func("debug-migrate/migrate", test_migrate);
    ret = g_test_run();

    rmdir(dir);
    g_free(dir);
    g_free(gdb_path);
    g_free(file_path);
    return ret;
}
