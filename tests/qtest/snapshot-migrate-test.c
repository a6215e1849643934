/*
 * QTest testcase for snapshots of a machine that is being migrated, and for the
 * migration of a machine that could not be loaded
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"

#define DISK_SIZE   (1024 * 1024)

typedef struct Test {
    const char *name;
    void (*snapshot)(QTestState *qts);
} Test;

static char *disk;

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

/* Returns the error of the job, if any */
static char *job_wait(QTestState *qts, const char *id)
{
    char *error = NULL;
    bool concluded = false;

    while (!concluded) {
        QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-jobs' }");
        QListEntry *entry;

        QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
            QDict *job = qobject_to(QDict, qlist_entry_obj(entry));

            if (!strcmp(qdict_get_str(job, "id"), id) &&
                !strcmp(qdict_get_str(job, "status"), "concluded")) {
                concluded = true;
                error = g_strdup(qdict_get_try_str(job, "error"));
            }
        }
        qobject_unref(rsp);
        g_usleep(1000);
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'job-dismiss',"
                                  "  'arguments': { 'id': %s } }", id);
    return error;
}

/* With a disk that can hold snapshots */
static QTestState *start(void)
{
    QTestState *qts = qtest_initf("-machine pc -nodefaults -blockdev "
                                  "driver=file,node-name=file,filename=%s",
                                  disk);

    qtest_qmp_assert_success(qts,
        "{ 'execute': 'blockdev-create', 'arguments': {"
        "  'job-id': 'create', 'options': {"
        "    'driver': 'qcow2', 'file': 'file', 'size': %d } } }", DISK_SIZE);
    g_assert_null(job_wait(qts, "create"));
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'blockdev-add', 'arguments': {"
        "  'driver': 'qcow2', 'node-name': 'disk', 'file': 'file' } }");
    return qts;
}

static void set_bandwidth(QTestState *qts, int64_t bandwidth)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-set-parameters',"
                                  "  'arguments': { 'max-bandwidth': %"
                                  PRId64 " } }", bandwidth);
}

static void migrate(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': 'exec:cat > /dev/null' } }");
}

static void hmp(QTestState *qts, const char *command)
{
    g_autofree char *output = qtest_hmp(qts, "%s", command);

    g_assert_cmpstr(output, ==,
                    "Error: There's a migration process in progress\r\n");
}

static void hmp_savevm(QTestState *qts)
{
    hmp(qts, "savevm s");
}

static void hmp_loadvm(QTestState *qts)
{
    hmp(qts, "loadvm s");
}

static void snapshot_job(QTestState *qts, const char *command)
{
    g_autofree char *error = NULL;

    qtest_qmp_assert_success(qts,
        "{ 'execute': %s, 'arguments': {"
        "  'job-id': 'snapshot', 'tag': 's', 'vmstate': 'disk',"
        "  'devices': [ 'disk' ] } }", command);
    error = job_wait(qts, "snapshot");
    g_assert_cmpstr(error, ==, "There's a migration process in progress");
}

static void snapshot_save(QTestState *qts)
{
    snapshot_job(qts, "snapshot-save");
}

static void snapshot_load(QTestState *qts)
{
    snapshot_job(qts, "snapshot-load");
}

static bool count_stops(QTestState *qts, const char *name, QDict *event,
                        void *opaque)
{
    int *stops = opaque;

    *stops += !strcmp(name, "STOP");
    return false;
}

/* A migration neither stops for a snapshot nor is ended by it */
static void test_snapshot(const void *data)
{
    const Test *test = data;
    QTestState *qts = start();
    int stops = 0;

    qtest_qmp_set_event_callback(qts, count_stops, &stops);
    set_bandwidth(qts, 1000);
    migrate(qts);
    test->snapshot(qts);
    g_assert_true(has_status(qts, "running"));
    g_assert_cmpint(stops, ==, 0);

    set_bandwidth(qts, 1024 * 1024 * 1024);
    wait_status(qts, "postmigrate");
    qtest_quit(qts);
}

/* There is no telling what would arrive */
static void test_restore_failed(void)
{
    QTestState *qts = start();

    g_free(qtest_hmp(qts, "loadvm s"));
    g_assert_true(has_status(qts, "restore-vm"));
    qobject_unref(qtest_qmp_assert_failure_ref(qts,
        "{ 'execute': 'migrate', 'arguments': {"
        "  'uri': 'exec:cat > /dev/null' } }"));
    g_assert_true(has_status(qts, "restore-vm"));

    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "RESET");
    migrate(qts);
    wait_status(qts, "postmigrate");
    qtest_quit(qts);
}

static const Test tests[] = {
    { "savevm", hmp_savevm },
    { "loadvm", hmp_loadvm },
    { "snapshot-save", snapshot_save },
    { "snapshot-load", snapshot_load },
};

int main(int argc, char **argv)
{
    size_t i;
    int fd, ret;

    g_test_init(&argc, &argv, NULL);

    fd = g_file_open_tmp("qtest-snapshot-migrate.XXXXXX", &disk, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("snapshot-migrate/", tests[i].name,
                                            NULL);

        qtest_add_data_func(path, &tests[i], test_snapshot);
    }
    qtest_add_func("snapshot-migrate/restore-failed", test_restore_failed);
    ret = g_test_run();

    unlink(disk);
    g_free(disk);
    return ret;
}
