/*
 * QTest testcase for a migration that fails when somebody else uses the disk
 * already
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/thread.h"
#include "qobject/qdict.h"
#include <glib-unix.h>

#define DISK_SIZE   (1024 * 1024)

/* These bytes of an image are locked by who uses it */
#define LOCK_START  100
#define LOCK_LENGTH 200

static bool stop_reading;

static bool has_status(QTestState *qts, const char *command, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts, "{ 'execute': %s }",
                                              command);
    bool same = !g_strcmp0(qdict_get_try_str(rsp, "status"), status);

    qobject_unref(rsp);
    return same;
}

static void wait_status(QTestState *qts, const char *command,
                        const char *status)
{
    while (!has_status(qts, command, status)) {
        /* There is no event for this */
        g_usleep(1000);
    }
}

static void *read_stream(void *opaque)
{
    GPollFD poll = { .fd = *(int *)opaque, .events = G_IO_IN };
    char buf[4096];
    bool stop;

    do {
        stop = qatomic_read(&stop_reading);
        while (g_poll(&poll, 1, 10) > 0) {
            g_assert_cmpint(read(poll.fd, buf, sizeof(buf)), >, 0);
        }
    } while (!stop);
    return NULL;
}

static void test_locked(void)
{
    g_autofree char *disk = NULL;
    int fd = g_file_open_tmp("qtest-migrate-locked.XXXXXX", &disk, NULL);
    int fds[2];
    QTestState *qts;
    QemuThread reader;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, DISK_SIZE), ==, 0);
    qts = qtest_initf("-machine pc -nodefaults -blockdev "
                      "driver=file,node-name=disk,filename=%s,locking=on "
                      "-device ide-hd,drive=disk,bus=ide.0", disk);
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        "  'capabilities': [ { 'capability': 'pause-before-switchover',"
        "                      'state': true } ] } }");

    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    qtest_qmp_fds_assert_success(qts, &fds[1], 1,
                                 "{ 'execute': 'getfd',"
                                 "  'arguments': { 'fdname': 'stream' } }");
    close(fds[1]);
    qemu_thread_create(&reader, "reader", read_stream, &fds[0],
                       QEMU_THREAD_JOINABLE);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate',"
                                  "  'arguments': { 'uri': 'fd:stream' } }");
    wait_status(qts, "query-migrate", "pre-switchover");
    qatomic_set(&stop_reading, true);
    qemu_thread_join(&reader);
    g_assert_cmpint(fcntl(fds[0], F_SETPIPE_SZ, 4096), ==, 4096);

    /* It releases the disk, and then does not get rid of the devices' state */
    qtest_qmp_send(qts, "{ 'execute': 'migrate-continue',"
                        "  'arguments': { 'state': 'pre-switchover' } }");
    while (qemu_lock_fd(fd, LOCK_START, LOCK_LENGTH, true)) {
        g_usleep(1000);
    }
    close(fds[0]);
    qobject_unref(qtest_qmp_receive(qts));
    wait_status(qts, "query-migrate", "failed");
    while (has_status(qts, "query-status", "finish-migrate")) {
        g_usleep(1000);
    }
    g_assert_true(has_status(qts, "query-status", "paused"));

    /* It runs when it can */
    qobject_unref(qtest_qmp_assert_failure_ref(qts, "{ 'execute': 'cont' }"));
    g_assert_true(has_status(qts, "query-status", "paused"));
    g_assert_cmpint(qemu_unlock_fd(fd, LOCK_START, LOCK_LENGTH), ==, 0);
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    g_assert_true(has_status(qts, "query-status", "running"));

    qtest_quit(qts);
    close(fd);
    unlink(disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("migrate-locked", test_locked);

    return g_test_run();
}
