/*
 * QTest testcase for power control through SPICE: a real SPICE client asks,
 * and what comes of it is looked at over QMP
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/sockets.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include <glib-unix.h>
#include <spice-client.h>

#define TIMEOUT_S           60

/* The name of a file in the test's own directory, in a command line */
#define FILES               "@/"

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

/* A disk whose first flush fails: that stops the machine */
#define FAILING_DISK                                                    \
    " -blockdev driver=raw,node-name=disk,file.driver=blkdebug,"        \
    "file.image.driver=null-co,file.image.read-zeroes=on,"              \
    "file.inject-error.0.event=flush_to_disk,"                          \
    "file.inject-error.0.immediately=off,file.inject-error.0.once=on"   \
    " -device ide-hd,drive=disk,bus=ide.0,unit=0,werror=stop"
#define IDE_DEVICE          0x1f6
#define IDE_COMMAND         0x1f7
#define IDE_SECTORS         0x1f2
#define IDE_DATA            0x1f0
#define IDE_BUSY            0x80
#define IDE_WRITE           0x30
#define IDE_FLUSH           0xe7

/* With TCG a guest runs: this one goes round and round */
#define GUEST               " -accel tcg -bios " FILES "bios"
#define BIOS_SIZE           (64 * KiB)
#define BIOS_START          (BIOS_SIZE - 16)

#define N_ACTIONS           5

/* In the order of the bits of SpicePowerAction */
static const char *const action_names[N_ACTIONS] = {
    "reset", "power-off", "power-on", "pause", "continue",
};

typedef struct Client {
    SpiceSession *session;
    SpiceMainChannel *main;
} Client;

typedef struct Reply {
    bool done;
    GError *err;
    SpicePowerState state;      /* what the client knew when the reply came */
} Reply;

static gboolean on_timeout(gpointer data)
{
    g_error("%s", (const char *)data);
    return G_SOURCE_REMOVE;
}

/* Run the client until @cond holds; an assertion fails if it never does */
#define wait_until(cond)                                                \
    do {                                                                \
        guint id_ = g_timeout_add_seconds(TIMEOUT_S, on_timeout,        \
                                          (gpointer)"never: " #cond);   \
        while (!(cond)) {                                               \
            g_main_context_iteration(NULL, TRUE);                       \
        }                                                               \
        g_source_remove(id_);                                           \
    } while (0)

/* The events that QEMU has sent and nobody has taken yet */
static GQueue events = G_QUEUE_INIT;

static bool on_event(QTestState *qts, const char *name, QDict *event,
                     void *opaque)
{
    g_queue_push_tail(&events, qobject_ref(event));
    return true;
}

/* This test carries out what clients ask for */
static bool managed;

static char *dir;

static char *file_name(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static char *expand(const char *args)
{
    g_auto(GStrv) parts = g_strsplit(args, FILES, 0);
    g_autofree char *prefix = g_strconcat(dir, "/", NULL);

    return g_strjoinv(prefix, parts);
}

static QTestState *start(const char *spice, const char *args)
{
    g_autofree char *expanded = expand(args);
    QTestState *qts;

    g_assert_true(g_queue_is_empty(&events));
    managed = g_str_has_prefix(spice, ",power=managed");
    qts = qtest_initf("-nodefaults -spice disable-ticketing=on%s %s",
                      spice, expanded);
    qtest_qmp_set_event_callback(qts, on_event, NULL);
    return qts;
}

static void stop(QTestState *qts)
{
    QDict *event;

    qtest_quit(qts);
    while ((event = g_queue_pop_head(&events))) {
        qobject_unref(event);
    }
}

static const char *event_name(QDict *event)
{
    return qdict_get_str(event, "event");
}

static GList *find_event(const char *name)
{
    GList *l;

    for (l = events.head; l; l = l->next) {
        if (!strcmp(event_name(l->data), name)) {
            return l;
        }
    }
    return NULL;
}

/* Wait for the event if it is not there */
static QDict *take_event(QTestState *qts, const char *name)
{
    GList *l;
    QDict *event;

    while (!(l = find_event(name))) {
        event = qtest_qmp_receive_dict(qts);
        g_assert_true(qdict_haskey(event, "event"));
        g_queue_push_tail(&events, event);
    }
    event = l->data;
    g_queue_delete_link(&events, l);
    return event;
}

static void wait_event(QTestState *qts, const char *name)
{
    qobject_unref(take_event(qts, name));
}

static void assert_no_event(QTestState *qts, const char *name)
{
    /* What was sent before the return of a QMP command has been read then */
    qtest_qmp_assert_success(qts, "{ 'execute': 'query-status' }");
    if (find_event(name)) {
        g_error("unexpected %s", name);
    }
}

/* Take the events that tell of the machine: their names, in order */
static char *take_machine_events(QTestState *qts)
{
    static const char *const names[] = {
        "RESET", "SHUTDOWN", "STOP", "RESUME", "WAKEUP", NULL,
    };
    GString *taken = g_string_new("");
    GList *l, *next;

    qtest_qmp_assert_success(qts, "{ 'execute': 'query-status' }");
    for (l = events.head; l; l = next) {
        next = l->next;
        if (g_strv_contains(names, event_name(l->data))) {
            g_string_append_printf(taken, "%s%s", taken->len ? " " : "",
                                   event_name(l->data));
            qobject_unref((QDict *)l->data);
            g_queue_delete_link(&events, l);
        }
    }
    return g_string_free(taken, false);
}

static void on_channel_new(SpiceSession *session, SpiceChannel *channel,
                           Client *client)
{
    if (SPICE_IS_MAIN_CHANNEL(channel)) {
        client->main = SPICE_MAIN_CHANNEL(channel);
    }
}

static void on_channel_event(SpiceChannel *channel, SpiceChannelEvent event,
                             SpiceChannelEvent *last)
{
    *last = event;
}

static void client_new(Client *client)
{
    client->main = NULL;
    client->session = spice_session_new();
    g_signal_connect(client->session, "channel-new",
                     G_CALLBACK(on_channel_new), client);
}

static void client_wait_open(Client *client)
{
    SpiceChannelEvent event = SPICE_CHANNEL_NONE;
    gulong id;

    wait_until(client->main);
    id = g_signal_connect(client->main, "channel-event",
                          G_CALLBACK(on_channel_event), &event);
    wait_until(event != SPICE_CHANNEL_NONE);
    g_assert_cmpint(event, ==, SPICE_CHANNEL_OPENED);
    g_signal_handler_disconnect(client->main, id);
}

static void client_open_as(Client *client, QTestState *qts, bool control_only,
                           const char *password)
{
    int pair[2];

    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    qtest_qmp_add_client(qts, "spice", pair[1]);
    close(pair[1]);

    client_new(client);
    g_object_set(client->session, "control-only", control_only,
                 "password", password, NULL);
    g_assert_true(spice_session_open_fd(client->session, pair[0]));
    client_wait_open(client);
}

static void client_open(Client *client, QTestState *qts)
{
    client_open_as(client, qts, false, NULL);
}

/* One that leaves the others where they are */
static void client_open_control(Client *client, QTestState *qts)
{
    client_open_as(client, qts, true, NULL);
}

static void client_close(Client *client)
{
    spice_session_disconnect(client->session);
    g_clear_object(&client->session);
}

static bool has_cap(Client *client, int cap)
{
    return spice_channel_test_capability(SPICE_CHANNEL(client->main), cap);
}

static SpicePowerState client_state(Client *client)
{
    SpicePowerState state;

    g_object_get(client->main, "power-state", &state, NULL);
    return state;
}

static guint client_possible(Client *client)
{
    guint actions;

    g_object_get(client->main, "power-actions", &actions, NULL);
    return actions;
}

static void on_reply(GObject *source, GAsyncResult *res, gpointer data)
{
    SpiceMainChannel *main = SPICE_MAIN_CHANNEL(source);
    Reply *reply = data;

    spice_main_channel_power_finish(main, res, &reply->err);
    g_object_get(main, "power-state", &reply->state, NULL);
    reply->done = true;
}

/* Let clients do what they can do now: write a request, or leave */
static void client_write(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
        /* that's it */
    }
}

static void client_begin(Client *client, SpicePowerAction action, Reply *reply)
{
    *reply = (Reply) {};
    spice_main_channel_power_async(client->main, action, NULL, on_reply,
                                   reply);
}

/* Free reply->err, if there is one */
static void client_request(Client *client, SpicePowerAction action,
                           Reply *reply)
{
    client_begin(client, action, reply);
    wait_until(reply->done);
}

/*
 * The result of a power-off with which QEMU ends: the client knows that the
 * machine is off, or has come to the end of the connection as well, where it
 * knows nothing any more.
 */
static void assert_off(const Reply *reply)
{
    g_assert_true(reply->state == SPICE_POWER_STATE_OFF ||
                  reply->state == SPICE_POWER_STATE_UNKNOWN);
}

static void client_request_ok(Client *client, SpicePowerAction action)
{
    Reply reply;

    client_request(client, action, &reply);
    g_assert_no_error(reply.err);
}

static bool has_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-status' }");
    bool same = !strcmp(qdict_get_str(rsp, "status"), status);

    if (!same) {
        g_test_message("run state %s", qdict_get_str(rsp, "status"));
    }
    qobject_unref(rsp);
    return same;
}

static void assert_status(QTestState *qts, const char *status)
{
    if (!has_status(qts, status)) {
        g_error("the run state is not %s", status);
    }
}

static void assert_record(QTestState *qts, SpicePowerAction action,
                          const char *result)
{
    static const char *const names[] = {
        "SPICE_POWER_REQUEST", "SPICE_POWER_RESULT",
    };
    int64_t connection_id = -1, request_id = -1;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        QDict *event = take_event(qts, names[i]);
        QDict *data = qdict_get_qdict(event, "data");
        QDict *client = qdict_get_qdict(data, "client");

        g_assert_cmpstr(qdict_get_str(data, "action"), ==,
                        action_names[ctz32(action)]);
        g_assert_cmpstr(qdict_get_str(client, "family"), ==, "unix");
        g_assert_false(qdict_get_bool(client, "tls"));
        g_assert_false(qdict_haskey(client, "sasl-username"));
        if (i == 0) {
            connection_id = qdict_get_int(data, "connection-id");
            request_id = qdict_get_int(data, "request-id");
        } else {
            g_assert_cmpint(qdict_get_int(data, "connection-id"), ==,
                            connection_id);
            g_assert_cmpint(qdict_get_int(data, "request-id"), ==, request_id);
            g_assert_cmpstr(qdict_get_str(data, "result"), ==, result);
            g_assert_true(qdict_haskey(data, "message") ==
                          (strcmp(result, "ok") != 0));
        }
        qobject_unref(event);
    }
}

/* power=managed: take the request that is passed on; returns its id */
static int64_t managed_take(QTestState *qts, SpicePowerAction action)
{
    QDict *event, *data;
    int64_t id;

    client_write();
    event = take_event(qts, "SPICE_POWER_REQUEST");
    data = qdict_get_qdict(event, "data");
    g_assert_cmpstr(qdict_get_str(data, "action"), ==,
                    action_names[ctz32(action)]);
    id = qdict_get_int(data, "id");
    g_assert_cmpint(id, >, 0);
    qobject_unref(event);
    return id;
}

static int64_t managed_begin(QTestState *qts, Client *client,
                             SpicePowerAction action, Reply *reply)
{
    client_begin(client, action, reply);
    return managed_take(qts, action);
}

/* The record of the request's end, whatever has brought it about */
static void managed_assert_result(QTestState *qts, int64_t id,
                                  const char *result, const char *message)
{
    QDict *event = take_event(qts, "SPICE_POWER_RESULT");
    QDict *data = qdict_get_qdict(event, "data");

    g_assert_cmpint(qdict_get_int(data, "id"), ==, id);
    g_assert_cmpstr(qdict_get_str(data, "result"), ==, result);
    g_assert_cmpstr(qdict_get_try_str(data, "message") ?: "", ==, message);
    qobject_unref(event);
}

static void managed_reply_ok(QTestState *qts, int64_t id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'spice-power-reply',"
                                  "  'arguments': { 'id': %" PRId64 ","
                                  "                 'result': 'ok' } }", id);
    managed_assert_result(qts, id, "ok", "");
}

static void assert_error(QTestState *qts, const char *words, const char *fmt,
                         ...) G_GNUC_PRINTF(3, 4);
static void assert_error(QTestState *qts, const char *words, const char *fmt,
                         ...)
{
    QDict *rsp, *error;
    va_list ap;

    va_start(ap, fmt);
    rsp = qtest_vqmp(qts, fmt, ap);
    va_end(ap);
    error = qdict_get_qdict(rsp, "error");
    g_assert_nonnull(error);
    g_assert_cmpstr(qdict_get_str(error, "class"), ==, "GenericError");
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), words));
    qobject_unref(rsp);
}

static void managed_assert_not_pending(QTestState *qts, int64_t id)
{
    g_autofree char *words = g_strdup_printf("%" PRId64 " is no longer pending",
                                             id);

    assert_error(qts, words, "{ 'execute': 'spice-power-reply',"
                             "  'arguments': { 'id': %" PRId64 ","
                             "                 'result': 'ok' } }", id);
}

/* Ways into a state */

static void qmp_stop(QTestState *qts, Client *client)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    wait_event(qts, "STOP");
}

static void spice_pause(QTestState *qts, Client *client)
{
    Reply reply;
    int64_t id;

    if (!managed) {
        client_request_ok(client, SPICE_POWER_ACTION_PAUSE);
        return;
    }
    id = managed_begin(qts, client, SPICE_POWER_ACTION_PAUSE, &reply);
    qmp_stop(qts, client);
    managed_reply_ok(qts, id);
    wait_until(reply.done);
    g_assert_no_error(reply.err);
}

static void qmp_reset(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    wait_event(qts, "RESET");
}

static void qmp_stop_reset(QTestState *qts, Client *client)
{
    qmp_stop(qts, client);
    qmp_reset(qts);
}

static void spice_pause_reset(QTestState *qts, Client *client)
{
    spice_pause(qts, client);
    qmp_reset(qts);
}

static void shut_down(QTestState *qts, Client *client)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'set-action',"
                                  "  'arguments': { 'reboot': 'shutdown' } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    wait_event(qts, "SHUTDOWN");
    wait_event(qts, "STOP");
    qtest_qmp_assert_success(qts, "{ 'execute': 'set-action',"
                                  "  'arguments': { 'reboot': 'reset' } }");
}

static void panic(QTestState *qts, Client *client)
{
    qtest_outb(qts, PVPANIC_PORT, PVPANIC_PANICKED);
    wait_event(qts, "STOP");
}

static void watchdog(QTestState *qts, Client *client)
{
    qtest_outb(qts, IB700_PORT, IB700_30_SECONDS);
    qtest_clock_step(qts, 31 * NANOSECONDS_PER_SECOND);
    wait_event(qts, "STOP");
}

static void set_action(QTestState *qts, const char *what, const char *action)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'set-action',"
                                  "  'arguments': { %s: %s } }", what, action);
}

static void suspend(QTestState *qts, Client *client)
{
    qtest_outl(qts, 0xcf8, PIIX4_PM_CONFIG(PIIX4_PM_BASE));
    qtest_outl(qts, 0xcfc, PM_BASE | 1);
    qtest_outl(qts, 0xcf8, PIIX4_PM_CONFIG(PIIX4_PM_MISC));
    qtest_outb(qts, 0xcfc, 1);
    qtest_outw(qts, PM1_CNT, PM1_CNT_SUSPEND);
    wait_event(qts, "SUSPEND");
}

static void io_error(QTestState *qts, Client *client)
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
    wait_event(qts, "BLOCK_IO_ERROR");
    wait_event(qts, "STOP");
}

static void wait_status(QTestState *qts, const char *status)
{
    while (!has_status(qts, status)) {
        /* There is no event for this */
        g_usleep(1000);
    }
}

static void migrate(QTestState *qts, Client *client)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': 'exec:cat > /dev/null' } }");
    wait_status(qts, "postmigrate");
}

static void migrate_reset(QTestState *qts, Client *client)
{
    migrate(qts, client);
    qmp_reset(qts);
}

static void wait_migration(QTestState *qts, const char *status)
{
    bool same = false;

    while (!same) {
        QDict *rsp = qtest_qmp_assert_success_ref(qts,
            "{ 'execute': 'query-migrate' }");

        same = !strcmp(qdict_get_try_str(rsp, "status") ?: "", status);
        qobject_unref(rsp);
    }
}

/* The migration waits when all but the last is done */
static void migrate_halfway(QTestState *qts, Client *client)
{
    bool stops = has_status(qts, "running") || has_status(qts, "suspended");

    qtest_qmp_assert_success(qts,
        "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        "  'capabilities': [ { 'capability': 'pause-before-switchover',"
        "                      'state': true } ] } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'uri': 'exec:cat > /dev/null' } }");
    wait_status(qts, "finish-migrate");
    if (stops) {
        /* The event comes after the change, and from another thread */
        wait_event(qts, "STOP");
    }
}

static void migrate_cancel(QTestState *qts, const char *status)
{
    migrate_halfway(qts, NULL);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate_cancel' }");
    wait_status(qts, status);
}

static void spice_pause_migrate_cancel(QTestState *qts, Client *client)
{
    spice_pause(qts, client);
    migrate_cancel(qts, "paused");
}

/* The monitor wants it stopped while it is migrated, but that fails */
static void spice_pause_migrate_stop_cancel(QTestState *qts, Client *client)
{
    spice_pause(qts, client);
    migrate_halfway(qts, client);
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate_cancel' }");
    wait_status(qts, "paused");
}

/* Who stops a machine that has stopped already wants it to stay so, too */
static void spice_pause_qmp_stop(QTestState *qts, Client *client)
{
    spice_pause(qts, client);
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
}

static void watchdog_qmp_stop(QTestState *qts, Client *client)
{
    watchdog(qts, client);
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
}

static void spice_pause_cont_stop(QTestState *qts, Client *client)
{
    spice_pause(qts, client);
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    qmp_stop(qts, client);
}

static void qmp_stop_cont_spice_pause(QTestState *qts, Client *client)
{
    qmp_stop(qts, client);
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    spice_pause(qts, client);
}

static void suspend_spice_pause(QTestState *qts, Client *client)
{
    suspend(qts, client);
    spice_pause(qts, client);
}

/* Shut down, reset, and never started again */
static void shut_down_reset(QTestState *qts, Client *client)
{
    shut_down(qts, client);
    qmp_reset(qts);
}

/* A snapshot that does not exist: the machine stays in the run state */
static void load_nothing(QTestState *qts, Client *client)
{
    g_free(qtest_hmp(qts, "loadvm nothing"));
}

/* The dump does not end, as nobody reads it */
static int dump_reader;

static void dump(QTestState *qts, Client *client)
{
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
    dump_reader = fds[0];
}

static void dump_end(QTestState *qts)
{
    close(dump_reader);
    wait_event(qts, "DUMP_COMPLETED");
}

static void spice_pause_dump(QTestState *qts, Client *client)
{
    spice_pause(qts, client);
    dump(qts, client);
}

/* A debugger.  It stops the machine when it connects. */
static int gdb_fd;

static void gdb_wait_packet(void)
{
    int last = 0, checksum = 0;
    char c;

    while (checksum < 3) {
        g_assert_cmpint(read(gdb_fd, &c, 1), ==, 1);
        last = c == '#' ? 1 : last;
        checksum += last;
    }
}

static void gdb_attach(QTestState *qts, Client *client)
{
    g_autofree char *path = file_name("gdb");
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_assert_cmpint(strlen(path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, path);
    gdb_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(connect(gdb_fd, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
    /* Any packet will do: when it is acknowledged, the machine is stopped */
    g_assert_cmpint(write(gdb_fd, "$?#3f", 5), ==, 5);
    gdb_wait_packet();
}

static void spice_pause_gdb_attach(QTestState *qts, Client *client)
{
    spice_pause(qts, client);
    gdb_attach(qts, client);
}

static void gdb_step(QTestState *qts, Client *client)
{
    gdb_attach(qts, client);
    g_assert_cmpint(write(gdb_fd, "+$s#73", 6), ==, 6);
    wait_status(qts, "debug");
}

static void reboot_is_shutdown(QTestState *qts, Client *client)
{
    set_action(qts, "reboot", "shutdown");
}

/* Started with reboot=shutdown, but that is no more */
static void reboot_is_reset(QTestState *qts, Client *client)
{
    set_action(qts, "reboot", "reset");
}

#define R   SPICE_POWER_ACTION_RESET
#define OFF SPICE_POWER_ACTION_OFF
#define ON  SPICE_POWER_ACTION_ON
#define P   SPICE_POWER_ACTION_PAUSE
#define C   SPICE_POWER_ACTION_CONTINUE

/* The run state of a machine, and what that means for power control */
typedef struct Row {
    const char *status;
    SpicePowerState state;
    guint possible;
    /* For each action: the result, and the run state it leads to */
    struct {
        const char *result;
        const char *status;
        const char *events;
    } expect[N_ACTIONS];
    /* With power=managed, these are passed on, too */
    guint managed;
    /* And these hold already */
    guint managed_already;
} Row;

typedef struct Case {
    const char *name;
    const char *args;
    void (*setup)(QTestState *qts, Client *client);
    Row row;
    /* The machine is migrated from another QEMU, which looks like this */
    struct {
        const char *args;
        void (*setup)(QTestState *qts, Client *client);
        const char *status;
        const char *forced;     /* what the stream is made to say instead */
    } source;
    bool once;                  /* one machine gets there once only */
    bool also_managed;          /* it is another thing with power=managed */
} Case;

#define OK(status_, events_) { "ok", status_, events_ }
#define ALREADY              { "ok", NULL, "" }
#define WRONG_STATE          { "wrong-state", NULL, "" }
#define DENIED               { "denied", NULL, "" }
#define BUSY                 { "busy", NULL, "" }

/* A machine that runs, and others that do not */
#define RUNNING {                                                       \
        "running", SPICE_POWER_STATE_ON, R | OFF | P, {                 \
            OK("running", "RESET"), OK("shutdown", "SHUTDOWN STOP"),    \
            ALREADY, OK("paused", "STOP"), ALREADY,                     \
        },                                                              \
    }
#define NEVER_STARTED {                                                 \
        "prelaunch", SPICE_POWER_STATE_PAUSED, OFF, {                   \
            WRONG_STATE, OK("shutdown", "SHUTDOWN"),                    \
            WRONG_STATE, ALREADY, WRONG_STATE,                          \
        },                                                              \
        .managed = R | C,                                               \
    }
#define IS_OFF {                                                        \
        "shutdown", SPICE_POWER_STATE_OFF, ON, {                        \
            WRONG_STATE, ALREADY, OK("running", "RESET RESUME"),        \
            WRONG_STATE, WRONG_STATE,                                   \
        },                                                              \
    }
#define IS_SUSPENDED {                                                  \
        "suspended", SPICE_POWER_STATE_SUSPENDED, R | OFF | ON | P, {   \
            OK("running", "RESET RESUME"),                              \
            OK("shutdown", "SHUTDOWN STOP"),                            \
            OK("running", "WAKEUP"), OK("paused", "STOP"), WRONG_STATE, \
        },                                                              \
    }

/* A machine that a client may let run on */
#define STOPPED_(status_, state_) {                                     \
        status_, state_, R | OFF | C, {                                 \
            OK("prelaunch", "RESET"), OK("shutdown", "SHUTDOWN"),       \
            WRONG_STATE, ALREADY, OK("running", "RESUME"),              \
        },                                                              \
    }
#define STOPPED(s)      STOPPED_(s, SPICE_POWER_STATE_PAUSED)
#define CRASHED(s)      STOPPED_(s, SPICE_POWER_STATE_CRASHED)

/* One that is stopped for somebody else */
#define HELD(status_) {                                                 \
        status_, SPICE_POWER_STATE_PAUSED, R | OFF, {                   \
            OK("prelaunch", "RESET"), OK("shutdown", "SHUTDOWN"),       \
            WRONG_STATE, ALREADY, WRONG_STATE,                          \
        },                                                              \
        .managed = C,                                                   \
    }

/* And one that somebody else is at work with */
#define TAKEN(status_) {                                                \
        status_, SPICE_POWER_STATE_PAUSED, 0, {                         \
            WRONG_STATE, WRONG_STATE, WRONG_STATE,                      \
            WRONG_STATE, WRONG_STATE,                                   \
        },                                                              \
    }

/* It may run elsewhere, or just have been saved: who manages it knows */
#define MIGRATED(status_) {                                             \
        status_, SPICE_POWER_STATE_PAUSED, 0, {                         \
            WRONG_STATE, WRONG_STATE, WRONG_STATE,                      \
            WRONG_STATE, WRONG_STATE,                                   \
        },                                                              \
        .managed = R | OFF | C, .managed_already = P,                   \
    }

#define PVPANIC         " -device pvpanic -action panic=pause"
#define IB700           " -device ib700 -action watchdog=pause"
#define GDB             " -gdb unix:" FILES "gdb,server=on,wait=off"

/*
 * test-machine-power has every action in every run state with every setting.
 * Here is what shows that a real machine gets into these states, and that the
 * power switch is told.
 */
static const Case cases[] = {
    /* One for each run state */
    { "running", "", NULL, RUNNING, .also_managed = true },
    { "paused", "", spice_pause, STOPPED("paused") },
    { "prelaunch", "", spice_pause_reset, STOPPED("prelaunch") },
    { "shutdown", "", shut_down, IS_OFF },
    { "suspended", "", suspend, IS_SUSPENDED },
    { "guest-panicked", PVPANIC, panic, CRASHED("guest-panicked") },
    { "watchdog", IB700, watchdog, STOPPED("watchdog") },
    { "io-error", FAILING_DISK, io_error, STOPPED("io-error"), .once = true },
    { "debug", GUEST GDB, gdb_step, TAKEN("debug") },
    { "inmigrate", "-incoming defer", NULL, TAKEN("inmigrate"),
      .also_managed = true },
    { "finish-migrate", "", migrate_halfway, TAKEN("finish-migrate") },
    { "postmigrate", "", migrate, MIGRATED("postmigrate"),
      .also_managed = true },
    { "save-vm", "", dump, TAKEN("save-vm") },
    { "restore-vm", "", load_nothing, TAKEN("restore-vm") },
    /*
     * These have no way in without KVM or a COLO setup.  The way out of
     * "inmigrate" is forced: the stream is made to say that the source has
     * been in that state.
     */
    { "internal-error", "", NULL,
        {
            "internal-error", SPICE_POWER_STATE_CRASHED, R | OFF, {
                OK("prelaunch", "RESET"), OK("shutdown", "SHUTDOWN"),
                WRONG_STATE, ALREADY, WRONG_STATE,
            },
        },
      .source = { "", NULL, "running", "internal-error" },
    },
    { "colo", "", NULL, TAKEN("colo"),
      .source = { "", NULL, "running", "colo" } },

    /* Who has paused it may continue it */
    { "held/by-monitor", "", qmp_stop, HELD("paused"), .also_managed = true },
    { "held/by-monitor/reset", "", qmp_stop_reset, HELD("prelaunch") },
    { "held/by-monitor-too", "", spice_pause_qmp_stop, HELD("paused") },
    { "held/by-monitor-again", "", spice_pause_cont_stop, HELD("paused") },
    { "held/watchdog", IB700, watchdog_qmp_stop, HELD("watchdog") },
    { "held/never-started", "-S", NULL, NEVER_STARTED, .once = true,
      .also_managed = true },
    { "held/by-gdb", GUEST GDB, spice_pause_gdb_attach, HELD("paused"),
      .once = true },
    { "held/reset-from-shutdown", "", shut_down_reset, HELD("prelaunch") },
    /* It runs elsewhere, whatever is done to what is left of it here */
    { "held/reset-from-postmigrate", "", migrate_reset, MIGRATED("prelaunch"),
      .once = true },
    { "may-continue/paused-again", "", qmp_stop_cont_spice_pause,
      STOPPED("paused") },
    { "may-continue/suspended", "", suspend_spice_pause,
        {
            "paused", SPICE_POWER_STATE_PAUSED, R | OFF | C, {
                OK("prelaunch", "RESET"), OK("shutdown", "SHUTDOWN"),
                WRONG_STATE, ALREADY, OK("suspended", "RESUME"),
            },
        },
    },

    /* A migration that has not happened changes nothing */
    { "cancelled/paused", "", spice_pause_migrate_cancel, STOPPED("paused"),
      .once = true },
    { "cancelled/held", "", spice_pause_migrate_stop_cancel, HELD("paused"),
      .once = true },

    /* What arrives: a pause belongs to those who migrate the machine */
    { "arrived/paused", "", NULL, HELD("paused"),
      .source = { "", spice_pause, "paused" } },
    { "arrived/suspended", "", NULL, IS_SUSPENDED,
      .source = { "", suspend, "suspended" } },
    { "arrived/never-started", "", NULL, NEVER_STARTED,
      .source = { "-S", NULL, "prelaunch" } },

    /* While its memory is dumped nothing starts or stops it */
    { "dump", "", spice_pause_dump,
        {
            "paused", SPICE_POWER_STATE_PAUSED, R | OFF, {
                OK("prelaunch", "RESET"), OK("shutdown", "SHUTDOWN"),
                WRONG_STATE, ALREADY, BUSY,
            },
        },
      .once = true, .also_managed = true,
    },

    /* A reset that would be a shutdown */
    { "reboot=shutdown", "", reboot_is_shutdown,
        {
            "running", SPICE_POWER_STATE_ON, OFF | P, {
                DENIED, OK("shutdown", "SHUTDOWN STOP"),
                ALREADY, OK("paused", "STOP"), ALREADY,
            },
        },
      .once = true,
    },
    { "reboot=reset", "-action reboot=shutdown", reboot_is_reset, RUNNING },
};

static const char *result_name(const GError *err)
{
    static const char *const names[] = {
        [SPICE_POWER_ERROR_DENIED] = "denied",
        [SPICE_POWER_ERROR_WRONG_STATE] = "wrong-state",
        [SPICE_POWER_ERROR_BUSY] = "busy",
        [SPICE_POWER_ERROR_UNSUPPORTED] = "unsupported",
        [SPICE_POWER_ERROR_FAILED] = "failed",
    };

    if (!err) {
        return "ok";
    }
    g_assert_true(err->domain == SPICE_POWER_ERROR);
    g_assert_cmpstr(err->message, !=, "");
    return names[err->code];
}

static SpicePowerState status_to_state(const char *status)
{
    if (!strcmp(status, "running")) {
        return SPICE_POWER_STATE_ON;
    } else if (!strcmp(status, "shutdown")) {
        return SPICE_POWER_STATE_OFF;
    } else if (!strcmp(status, "suspended")) {
        return SPICE_POWER_STATE_SUSPENDED;
    }
    return SPICE_POWER_STATE_PAUSED;
}

/* Let a migration stream say that the source has been in another run state */
static void force_status(const char *path, const char *from, const char *to)
{
    static const char section[] = "globalstate";
    g_autofree char *stream = NULL;
    gsize length;
    char *field = NULL;
    size_t i;

    g_assert_true(g_file_get_contents(path, &stream, &length, NULL));
    for (i = 0; !field && i < length - 100; i++) {
        if (!memcmp(stream + i, section, strlen(section))) {
            /* The name is followed by instance, version, and the name's size */
            field = stream + i + strlen(section) + 3 * sizeof(uint32_t);
        }
    }
    g_assert_nonnull(field);
    g_assert_cmpstr(field, ==, from);
    memset(field, 0, 32);
    strcpy(field, to);
    g_assert_true(g_file_set_contents(path, stream, length, NULL));
}

/* Make a file with the stream of a machine that is migrated */
static void make_stream(const Case *c, const char *path)
{
    g_autofree char *args = g_strdup_printf("-action shutdown=pause %s",
                                            c->source.args);
    QTestState *qts = start(",power=on", args);
    Client client;

    client_open(&client, qts);
    if (c->source.setup) {
        c->source.setup(qts, &client);
    }
    assert_status(qts, c->source.status);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                                  "  'channels': [ {"
                                  "    'channel-type': 'main', 'addr': {"
                                  "      'transport': 'file',"
                                  "      'filename': %s, 'offset': 0"
                                  "  } } ] } }", path);
    wait_status(qts, "postmigrate");
    client_close(&client);
    stop(qts);
    if (c->source.forced) {
        force_status(path, c->source.status, c->source.forced);
    }
}

static void load_stream(const Case *c, QTestState *qts, const char *path)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming',"
                                  "  'arguments': { 'channels': [ {"
                                  "    'channel-type': 'main', 'addr': {"
                                  "      'transport': 'file',"
                                  "      'filename': %s, 'offset': 0"
                                  "  } } ] } }", path);
    wait_status(qts, c->row.status);
}

static QTestState *test_case_start(const Case *c, Client *client,
                                   const char *spice, const char *stream)
{
    g_autofree char *args = g_strdup_printf("-action shutdown=pause %s%s",
                                            stream ? "-incoming defer " : "",
                                            c->args);
    QTestState *qts;

    gdb_fd = dump_reader = -1;
    qts = start(spice, args);
    client_open(client, qts);
    if (stream) {
        load_stream(c, qts, stream);
    }
    if (c->setup) {
        c->setup(qts, client);
    }
    return qts;
}

static void test_case_stop(QTestState *qts, Client *client)
{
    if (gdb_fd >= 0) {
        close(gdb_fd);
    }
    if (dump_reader >= 0) {
        dump_end(qts);
    }
    client_close(client);
    stop(qts);
}

static void test_case_action(const Case *c, QTestState *qts, Client *client,
                             int action)
{
    const char *status = c->row.expect[action].status ?: c->row.status;
    SpicePowerState state = c->row.expect[action].status ?
                            status_to_state(status) : c->row.state;
    g_autofree char *machine_events = NULL;
    Reply reply;

    assert_status(qts, c->row.status);
    wait_until(client_state(client) == c->row.state &&
               client_possible(client) == c->row.possible);

    g_free(take_machine_events(qts));
    client_request(client, 1 << action, &reply);
    g_assert_cmpstr(result_name(reply.err), ==, c->row.expect[action].result);
    g_clear_error(&reply.err);
    /* The state came before the result, and it is true */
    g_assert_cmpint(reply.state, ==, state);
    assert_status(qts, status);

    machine_events = take_machine_events(qts);
    g_assert_cmpstr(machine_events, ==, c->row.expect[action].events);
}

/* Reset the machine and let it run, as it did when it was started */
static void test_case_again(const Case *c, QTestState *qts, Client *client)
{
    qmp_reset(qts);
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    assert_status(qts, "running");
    if (c->setup) {
        c->setup(qts, client);
    }
}

/* Every action; a new machine only where the last one can't be used again */
static void test_case(const void *data)
{
    const Case *c = data;
    g_autofree char *stream = NULL;
    QTestState *qts = NULL;
    Client client;
    bool moved = false;
    int action;

    if (c->source.status) {
        stream = file_name("stream");
        make_stream(c, stream);
    }
    for (action = 0; action < N_ACTIONS; action++) {
        g_test_message("%s: %s", c->name, action_names[action]);
        if (moved && !c->once && !stream) {
            test_case_again(c, qts, &client);
        } else if (moved || !qts) {
            if (qts) {
                test_case_stop(qts, &client);
            }
            qts = test_case_start(c, &client, ",power=on", stream);
        }
        test_case_action(c, qts, &client, action);
        moved = c->row.expect[action].status;
    }
    test_case_stop(qts, &client);
    if (stream) {
        unlink(stream);
    }
}

static void test_managed_action(const Case *c, QTestState *qts, Client *client,
                                int action)
{
    bool passed_on = (c->row.possible | c->row.managed) & (1 << action);
    g_autofree char *machine_events = NULL;
    QDict *event;
    Reply reply;
    int64_t id;

    g_test_message("%s: %s", c->name, action_names[action]);
    g_free(take_machine_events(qts));
    if (passed_on) {
        id = managed_begin(qts, client, 1 << action, &reply);
        assert_no_event(qts, "SPICE_POWER_RESULT");
        qtest_qmp_assert_success(qts,
            "{ 'execute': 'spice-power-reply',"
            "  'arguments': { 'id': %" PRId64 ", 'result': 'denied',"
            "                 'message': 'Not now' } }", id);
        managed_assert_result(qts, id, "denied", "Not now");
        wait_until(reply.done);
        g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
        g_assert_nonnull(strstr(reply.err->message, "Not now"));
    } else {
        client_request(client, 1 << action, &reply);
        g_assert_cmpstr(result_name(reply.err), ==,
                        c->row.managed_already & (1 << action) ?
                        "ok" : c->row.expect[action].result);
        event = take_event(qts, "SPICE_POWER_REQUEST");
        g_assert_false(qdict_haskey(qdict_get_qdict(event, "data"), "id"));
        qobject_unref(event);
        event = take_event(qts, "SPICE_POWER_RESULT");
        g_assert_false(qdict_haskey(qdict_get_qdict(event, "data"), "id"));
        qobject_unref(event);
    }
    g_clear_error(&reply.err);

    /* Nothing has happened */
    assert_status(qts, c->row.status);
    machine_events = take_machine_events(qts);
    g_assert_cmpstr(machine_events, ==, "");
}

/* power=managed: what is refused by QEMU, and what it passes on */
static void test_managed_case(const void *data)
{
    const Case *c = data;
    g_autofree char *stream = NULL;
    QTestState *qts;
    Client client;
    int action;

    if (c->source.status) {
        stream = file_name("stream");
        make_stream(c, stream);
    }
    qts = test_case_start(c, &client, ",power=managed", stream);
    assert_status(qts, c->row.status);
    wait_until(client_state(&client) == c->row.state &&
               client_possible(&client) == (c->row.possible | c->row.managed));
    for (action = 0; action < N_ACTIONS; action++) {
        test_managed_action(c, qts, &client, action);
    }
    test_case_stop(qts, &client);
    if (stream) {
        unlink(stream);
    }
}

static void managed_finish(QTestState *qts, int64_t id, Reply *reply,
                           const char *status)
{
    managed_reply_ok(qts, id);
    wait_until(reply->done);
    g_assert_no_error(reply->err);
    /* The state came before the result */
    g_assert_cmpint(reply->state, ==, status_to_state(status));
    assert_status(qts, status);
}

/* What a management layer does for each action */
static void test_managed_actions(void)
{
    QTestState *qts = start(",power=managed", "-action shutdown=pause");
    Client client;
    Reply reply;
    int64_t id, last;

    client_open(&client, qts);
    id = managed_begin(qts, &client, SPICE_POWER_ACTION_RESET, &reply);
    g_assert_cmpint(id, ==, 1);
    last = id;
    assert_no_event(qts, "RESET");
    qmp_reset(qts);
    managed_finish(qts, id, &reply, "running");

    id = managed_begin(qts, &client, SPICE_POWER_ACTION_PAUSE, &reply);
    g_assert_cmpint(id, ==, ++last);
    assert_status(qts, "running");
    qmp_stop(qts, &client);
    /* The state is shown when it changes, the result with the reply */
    wait_until(client_state(&client) == SPICE_POWER_STATE_PAUSED);
    g_assert_false(reply.done);
    managed_finish(qts, id, &reply, "paused");

    /* State and result at once: "stop" and the reply are in one write */
    id = managed_begin(qts, &client, SPICE_POWER_ACTION_CONTINUE, &reply);
    g_assert_cmpint(id, ==, ++last);
    assert_status(qts, "paused");
    kill(qtest_pid(qts), SIGSTOP);
    qtest_qmp_send(qts, "{ 'execute': 'cont' }");
    qtest_qmp_send(qts, "{ 'execute': 'spice-power-reply',"
                        "  'arguments': { 'id': %" PRId64 ","
                        "                 'result': 'ok' } }", id);
    kill(qtest_pid(qts), SIGCONT);
    qobject_unref(qtest_qmp_receive(qts));
    qobject_unref(qtest_qmp_receive(qts));
    wait_until(reply.done);
    g_assert_no_error(reply.err);
    g_assert_cmpint(reply.state, ==, SPICE_POWER_STATE_ON);
    managed_assert_result(qts, id, "ok", "");

    /* The machine is reset before the reply is looked at, if not before */
    id = managed_begin(qts, &client, SPICE_POWER_ACTION_RESET, &reply);
    g_assert_cmpint(id, ==, ++last);
    kill(qtest_pid(qts), SIGSTOP);
    qtest_qmp_send(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_send(qts, "{ 'execute': 'spice-power-reply',"
                        "  'arguments': { 'id': %" PRId64 ","
                        "                 'result': 'ok' } }", id);
    kill(qtest_pid(qts), SIGCONT);
    qobject_unref(qtest_qmp_receive(qts));
    qobject_unref(qtest_qmp_receive(qts));
    g_assert_nonnull(find_event("RESET"));
    wait_event(qts, "RESET");
    managed_assert_result(qts, id, "ok", "");
    wait_until(reply.done);
    g_assert_no_error(reply.err);

    /* The monitor has no way to cut the power but this one, or "quit" */
    id = managed_begin(qts, &client, SPICE_POWER_ACTION_OFF, &reply);
    g_assert_cmpint(id, ==, ++last);
    shut_down(qts, &client);
    managed_finish(qts, id, &reply, "shutdown");

    id = managed_begin(qts, &client, SPICE_POWER_ACTION_ON, &reply);
    g_assert_cmpint(id, ==, ++last);
    qmp_reset(qts);
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    managed_finish(qts, id, &reply, "running");

    client_close(&client);
    stop(qts);
}

/* Every result, and messages of every size */
static void test_managed_reply(void)
{
    static const char *const results[] = {
        "denied", "wrong-state", "busy", "unsupported", "failed",
    };
    static const struct {
        const char *character;
        int n;              /* how many are sent */
        int expect;         /* and how many arrive */
    } messages[] = {
        { "x", 1, 1 }, { "x", 1024, 1024 }, { "x", 1025, 1024 },
        { "x", 1 << 20, 1024 },
        /* A character that does not fit as a whole is left out */
        { "\303\244", 512, 512 }, { "\303\244", 513, 512 },
        { "\342\202\254", 341, 341 }, { "\342\202\254", 342, 341 },
        { "\360\237\224\214", 256, 256 }, { "\360\237\224\214", 257, 256 },
        { "\n", 2000, 1024 },
    };
    QTestState *qts = start(",power=managed", "");
    Client client;
    Reply reply;
    int64_t id;
    size_t i;

    client_open(&client, qts);
    assert_error(qts, "no request with the id 1",
                 "{ 'execute': 'spice-power-reply',"
                 "  'arguments': { 'id': 1, 'result': 'ok' } }");
    for (i = 0; i < ARRAY_SIZE(results); i++) {
        id = managed_begin(qts, &client, SPICE_POWER_ACTION_RESET, &reply);
        /* Mistakes leave the request as it is */
        assert_error(qts, "no request with the id 0",
                     "{ 'execute': 'spice-power-reply',"
                     "  'arguments': { 'id': 0, 'result': 'ok' } }");
        assert_error(qts, "no request with the id 18446744073709551615",
                     "{ 'execute': 'spice-power-reply',"
                     "  'arguments': { 'id': %" PRIu64 ","
                     "                 'result': 'ok' } }", UINT64_MAX);
        if (id > 1) {
            managed_assert_not_pending(qts, id - 1);
        }
        assert_error(qts, "'perhaps'",
                     "{ 'execute': 'spice-power-reply',"
                     "  'arguments': { 'id': %" PRId64 ","
                     "                 'result': 'perhaps' } }", id);
        assert_no_event(qts, "SPICE_POWER_RESULT");
        g_assert_false(reply.done);

        qtest_qmp_assert_success(qts,
            "{ 'execute': 'spice-power-reply',"
            "  'arguments': { 'id': %" PRId64 ", 'result': %s } }",
            id, results[i]);
        managed_assert_result(qts, id, results[i], "");
        managed_assert_not_pending(qts, id);
        wait_until(reply.done);
        g_assert_cmpstr(result_name(reply.err), ==, results[i]);
        g_clear_error(&reply.err);
    }

    for (i = 0; i < ARRAY_SIZE(messages); i++) {
        g_autoptr(GString) sent = g_string_new("");
        g_autofree char *expect = NULL;
        int n;

        for (n = 0; n < messages[i].n; n++) {
            g_string_append(sent, messages[i].character);
        }
        expect = g_strndup(sent->str, strlen(messages[i].character) *
                                      messages[i].expect);

        id = managed_begin(qts, &client, SPICE_POWER_ACTION_RESET, &reply);
        qtest_qmp_assert_success(qts,
            "{ 'execute': 'spice-power-reply',"
            "  'arguments': { 'id': %" PRId64 ", 'result': 'failed',"
            "                 'message': %s } }", id, sent->str);
        /* The record has what was said, however much of it arrives */
        managed_assert_result(qts, id, "failed", sent->str);
        wait_until(reply.done);
        g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_FAILED);
        g_assert_true(g_str_has_suffix(reply.err->message, expect));
        g_clear_error(&reply.err);
    }
    assert_status(qts, "running");
    assert_no_event(qts, "RESET");

    client_close(&client);
    stop(qts);
}

static void test_managed_timeout(void)
{
    static const char message[] =
        "The management layer has not answered within 1 seconds";
    QTestState *qts = start(",power=managed,power-timeout=1", "");
    Client client;
    Reply reply;
    int64_t id, start_time;

    client_open(&client, qts);
    start_time = g_get_monotonic_time();
    id = managed_begin(qts, &client, SPICE_POWER_ACTION_RESET, &reply);
    wait_until(reply.done);
    /* It counts milliseconds, and the first one has begun already */
    g_assert_cmpint(g_get_monotonic_time() - start_time, >=,
                    G_TIME_SPAN_SECOND - G_TIME_SPAN_MILLISECOND);
    g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_FAILED);
    g_assert_nonnull(strstr(reply.err->message, message));
    g_clear_error(&reply.err);
    managed_assert_result(qts, id, "failed", message);
    managed_assert_not_pending(qts, id);

    /* The next one has its own time */
    id = managed_begin(qts, &client, SPICE_POWER_ACTION_PAUSE, &reply);
    managed_assert_not_pending(qts, id - 1);
    qmp_stop(qts, &client);
    managed_finish(qts, id, &reply, "paused");

    client_close(&client);
    stop(qts);
}

static QDict *query_power(QTestState *qts)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-spice' }");
    QDict *power = qobject_ref(qdict_get_qdict(rsp, "power"));

    qobject_unref(rsp);
    return power;
}

static void assert_pending(QTestState *qts, int64_t id)
{
    QDict *power = query_power(qts);
    QDict *pending = qdict_get_qdict(power, "pending");
    g_autofree char *words = g_strdup_printf("pending: id %" PRId64 ",", id);
    g_autofree char *info = qtest_hmp(qts, "info spice");

    g_assert_cmpstr(qdict_get_str(power, "mode"), ==, "managed");
    if (id) {
        g_assert_cmpint(qdict_get_int(pending, "id"), ==, id);
        g_assert_nonnull(strstr(info, words));
    } else {
        g_assert_null(pending);
        g_assert_null(strstr(info, "pending:"));
    }
    qobject_unref(power);
}

/* A management layer that has been started again finds what is pending */
static void test_managed_query(void)
{
    static const char *const same[] = { "connection-id", "request-id", "id" };
    QTestState *qts = start(",power=managed", "");
    QDict *power, *pending, *event, *data;
    Client client;
    Reply reply;
    int64_t id;
    size_t i;

    client_open(&client, qts);
    assert_pending(qts, 0);
    client_begin(&client, SPICE_POWER_ACTION_PAUSE, &reply);
    client_write();
    event = take_event(qts, "SPICE_POWER_REQUEST");
    data = qdict_get_qdict(event, "data");
    power = query_power(qts);
    pending = qdict_get_qdict(power, "pending");
    for (i = 0; i < ARRAY_SIZE(same); i++) {
        g_assert_cmpint(qdict_get_int(pending, same[i]), ==,
                        qdict_get_int(data, same[i]));
    }
    g_assert_cmpstr(qdict_get_str(pending, "action"), ==, "pause");
    g_assert_true(qobject_is_equal(qdict_get(pending, "client"),
                                   qdict_get(data, "client")));
    id = qdict_get_int(pending, "id");
    qobject_unref(event);
    qobject_unref(power);

    assert_pending(qts, id);
    qmp_stop(qts, &client);
    managed_finish(qts, id, &reply, "paused");
    assert_pending(qts, 0);

    client_close(&client);
    stop(qts);
}

static void test_managed_client_leaves(void)
{
    static const char message[] = "The client has disconnected";
    QTestState *qts = start(",power=managed", "");
    Client a, b;
    Reply a_reply, b_reply;
    int64_t id;

    client_open(&a, qts);
    id = managed_begin(qts, &a, SPICE_POWER_ACTION_RESET, &a_reply);
    client_close(&a);
    wait_until(a_reply.done);
    g_clear_error(&a_reply.err);
    managed_assert_result(qts, id, "failed", message);
    managed_assert_not_pending(qts, id);
    assert_pending(qts, 0);

    /* Its successor's request is another one, and only that is answered */
    client_open(&b, qts);
    id = managed_begin(qts, &b, SPICE_POWER_ACTION_PAUSE, &b_reply);
    managed_assert_not_pending(qts, id - 1);
    g_assert_false(b_reply.done);
    qmp_stop(qts, &b);
    managed_finish(qts, id, &b_reply, "paused");
    assert_no_event(qts, "RESET");

    /* It leaves at the time of the reply: one of them is first */
    id = managed_begin(qts, &b, SPICE_POWER_ACTION_CONTINUE, &b_reply);
    kill(qtest_pid(qts), SIGSTOP);
    client_close(&b);
    client_write();
    qtest_qmp_send(qts, "{ 'execute': 'spice-power-reply',"
                        "  'arguments': { 'id': %" PRId64 ","
                        "                 'result': 'ok' } }", id);
    kill(qtest_pid(qts), SIGCONT);
    qobject_unref(qtest_qmp_receive(qts));
    wait_event(qts, "SPICE_POWER_RESULT");
    managed_assert_not_pending(qts, id);
    assert_no_event(qts, "SPICE_POWER_RESULT");
    wait_until(b_reply.done);
    g_clear_error(&b_reply.err);

    stop(qts);
}

static void test_managed_two_clients(void)
{
    QTestState *qts;
    Client a, b;
    Reply a_reply, b_reply;
    QDict *event;
    int64_t id;

    qts = start(",power=managed", "");
    client_open(&a, qts);
    client_open_control(&b, qts);
    id = managed_begin(qts, &a, SPICE_POWER_ACTION_PAUSE, &a_reply);

    client_request(&b, SPICE_POWER_ACTION_RESET, &b_reply);
    g_assert_error(b_reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_BUSY);
    g_clear_error(&b_reply.err);
    event = take_event(qts, "SPICE_POWER_REQUEST");
    g_assert_false(qdict_haskey(qdict_get_qdict(event, "data"), "id"));
    qobject_unref(event);
    wait_event(qts, "SPICE_POWER_RESULT");

    /* Who is not waited for may leave */
    client_close(&b);
    client_write();
    wait_event(qts, "SPICE_DISCONNECTED");
    assert_pending(qts, id);
    g_assert_false(a_reply.done);
    client_open_control(&b, qts);

    qmp_stop(qts, &a);
    managed_finish(qts, id, &a_reply, "paused");
    wait_until(client_state(&b) == SPICE_POWER_STATE_PAUSED);
    id = managed_begin(qts, &b, SPICE_POWER_ACTION_CONTINUE, &b_reply);
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    managed_finish(qts, id, &b_reply, "running");

    client_close(&a);
    client_close(&b);
    stop(qts);
}

static void set_actions(QTestState *qts, const char *what, const char *actions)
{
    g_autofree char *fmt = g_strdup_printf(
        "{ 'execute': 'spice-power-set-%s',"
        "  'arguments': { 'actions': [ %s ] } }", what, actions);

    qtest_qmp_assert_success(qts, fmt, NULL);
}

static void assert_listed(QTestState *qts, const char *what, unsigned int n)
{
    QDict *power = query_power(qts);

    g_assert_cmpuint(qlist_size(qdict_get_qlist(power, what)), ==, n);
    qobject_unref(power);
}

/* What the management layer would refuse is shown as impossible */
static void test_managed_possible(void)
{
    QTestState *qts = start(",power=managed,actions=reset:pause:continue", "");
    Client client;
    Reply reply;
    int64_t id;

    client_open(&client, qts);
    wait_until(client_possible(&client) == (R | P));
    assert_listed(qts, "possible", 2);

    /* What is not configured has no effect */
    set_actions(qts, "possible", "'pause', 'power-off'");
    wait_until(client_possible(&client) == P);
    assert_listed(qts, "possible", 1);

    /* But one may ask: it is not QEMU that knows why not */
    id = managed_begin(qts, &client, SPICE_POWER_ACTION_RESET, &reply);
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'spice-power-reply',"
        "  'arguments': { 'id': %" PRId64 ", 'result': 'denied',"
        "                 'message': 'on_reboot says so' } }", id);
    managed_assert_result(qts, id, "denied", "on_reboot says so");
    wait_until(reply.done);
    g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    g_clear_error(&reply.err);

    id = managed_begin(qts, &client, SPICE_POWER_ACTION_PAUSE, &reply);
    qmp_stop(qts, &client);
    managed_finish(qts, id, &reply, "paused");
    wait_until(client_possible(&client) == 0);
    set_actions(qts, "possible", "'continue', 'pause'");
    wait_until(client_possible(&client) == C);
    set_actions(qts, "possible", "");
    wait_until(client_possible(&client) == 0);
    assert_listed(qts, "possible", 0);
    set_actions(qts, "possible",
                "'reset', 'power-off', 'power-on', 'pause', 'continue'");
    wait_until(client_possible(&client) == (R | C));
    assert_listed(qts, "possible", 2);
    assert_listed(qts, "allowed", 3);

    client_close(&client);
    stop(qts);
}

/* Nobody touches the power now: those who are connected are told at once */
static void test_allowed(const void *data)
{
    QTestState *qts = start(data, "");
    bool managed = strstr(data, "managed");
    Client client;
    Reply reply;
    int64_t id;

    client_open(&client, qts);
    wait_until(client_possible(&client) == (R | OFF | P));
    assert_listed(qts, "allowed", 5);
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'spice-power-set-allowed',"
        "  'arguments': { 'actions': [ 'pause' ],"
        "                 'reason': 'Disks are being replaced' } }");
    wait_until(client_possible(&client) == P);
    assert_listed(qts, "allowed", 1);
    assert_listed(qts, "possible", 1);
    client_request(&client, R, &reply);
    g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    g_assert_cmpstr(reply.err->message, ==, "Disks are being replaced");
    g_clear_error(&reply.err);
    wait_event(qts, "SPICE_POWER_REQUEST");
    wait_event(qts, "SPICE_POWER_RESULT");

    /* What is allowed goes its way */
    if (managed) {
        id = managed_begin(qts, &client, P, &reply);
        qmp_stop(qts, &client);
        managed_finish(qts, id, &reply, "paused");
    } else {
        client_request(&client, P, &reply);
        g_assert_no_error(reply.err);
        wait_event(qts, "SPICE_POWER_REQUEST");
        wait_event(qts, "SPICE_POWER_RESULT");
    }
    set_actions(qts, "allowed", "");
    wait_until(client_possible(&client) == 0);
    client_request(&client, C, &reply);
    g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    g_assert_nonnull(strstr(reply.err->message, "restricted"));
    g_clear_error(&reply.err);

    /* And as a person at the monitor does it */
    g_free(qtest_hmp(qts, "spice_power_allow all"));
    wait_until(client_possible(&client) == (R | OFF | C));
    g_free(qtest_hmp(qts, "spice_power_allow reset:continue not the plug"));
    wait_until(client_possible(&client) == (R | C));
    client_request(&client, OFF, &reply);
    g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    g_assert_cmpstr(reply.err->message, ==, "not the plug");
    g_clear_error(&reply.err);
    g_free(qtest_hmp(qts, "spice_power_allow none"));
    wait_until(client_possible(&client) == 0);

    client_close(&client);
    stop(qts);
}

static void assert_denied(QTestState *qts, Client *client, const char *words)
{
    Reply reply;

    wait_until(client_state(client) == SPICE_POWER_STATE_ON);
    g_assert_cmpint(client_possible(client), ==, 0);
    client_request(client, R, &reply);
    g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    g_assert_nonnull(strstr(reply.err->message, words));
    g_clear_error(&reply.err);
    wait_event(qts, "SPICE_POWER_REQUEST");
    wait_event(qts, "SPICE_POWER_RESULT");
}

static void assert_ticket(QTestState *qts, const char *ticket)
{
    QDict *event = take_event(qts, "SPICE_POWER_REQUEST");
    QDict *data = qdict_get_qdict(event, "data");

    g_assert_cmpstr(qdict_get_try_str(qdict_get_qdict(data, "client"),
                                      "ticket"), ==, ticket);
    qobject_unref(event);
    wait_event(qts, "SPICE_POWER_RESULT");
}

/* Who comes with the second password may act, who comes without it may look */
static void test_ticket(void)
{
    QTestState *qts = start(",power=on,power-password-secret=s",
                            "-object secret,id=s,data=press");
    Client look, press;

    client_open(&look, qts);
    assert_denied(qts, &look, "not for power control");
    client_open_as(&press, qts, true, "press");
    wait_until(client_possible(&press) == (R | OFF | P));
    client_request_ok(&press, R);
    assert_ticket(qts, "power");
    assert_denied(qts, &look, "not for power control");
    client_close(&press);

    /* One for one use: it lets in until it has expired */
    qtest_qmp_assert_success(qts, "{ 'execute': 'set_password', 'arguments': {"
                                  "  'protocol': 'spice', 'power': true,"
                                  "  'password': 'other' } }");
    client_open_as(&press, qts, true, "press");
    assert_denied(qts, &press, "not for power control");
    client_close(&press);
    client_open_as(&press, qts, true, "other");
    qtest_qmp_assert_success(qts, "{ 'execute': 'expire_password',"
                                  "  'arguments': { 'protocol': 'spice',"
                                  "  'power': true, 'time': 'now' } }");
    wait_until(client_possible(&press) == (R | OFF | P));
    client_request_ok(&press, R);
    assert_ticket(qts, "power");
    client_close(&press);
    client_open_as(&press, qts, true, "other");
    assert_denied(qts, &press, "not for power control");
    client_close(&press);

    /* As a person does it */
    g_free(qtest_hmp(qts, "expire_password spice never -p"));
    g_free(qtest_hmp(qts, "set_password spice third -p"));
    client_open_as(&press, qts, true, "third");
    wait_until(client_possible(&press) == (R | OFF | P));
    assert_error(qts, "a client is connected",
                 "{ 'execute': 'set_password', 'arguments': {"
                 "  'protocol': 'spice', 'power': true, 'password': 'x',"
                 "  'connected': 'fail' } }");

    client_close(&look);
    client_close(&press);
    stop(qts);
}

/* Whoever sets a password for power at run time wants it to be needed */
static void test_ticket_later(void)
{
    QTestState *qts = start(",power=managed", "");
    Client client;

    client_open(&client, qts);
    wait_until(client_possible(&client) == (R | OFF | P));
    assert_error(qts, "no password", "{ 'execute': 'expire_password',"
                                     "  'arguments': { 'protocol': 'spice',"
                                     "  'power': true, 'time': 'now' } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'set_password', 'arguments': {"
                                  "  'protocol': 'spice', 'power': true,"
                                  "  'password': 'press' } }");
    wait_until(client_possible(&client) == 0);
    assert_denied(qts, &client, "not for power control");
    client_close(&client);
    stop(qts);
}

/* QEMU ends while a request is pending: that may be how it is carried out */
typedef struct ManagedExit {
    const char *name;
    const char *args;
    SpicePowerAction action;
    bool by_signal;
} ManagedExit;

static const ManagedExit managed_exits[] = {
    { "power-off/quit", "", OFF, false },
    { "power-off/sigterm", "", OFF, true },
    { "power-off/no-shutdown/quit", "-no-shutdown", OFF, false },
    { "power-off/no-shutdown/sigterm", "-no-shutdown", OFF, true },
    { "power-off/never-started/sigterm", "-S -no-shutdown", OFF, true },
    { "reset/quit", "", R, false },
    { "reset/no-shutdown/sigterm", "-no-shutdown", R, true },
    { "pause/sigterm", "", P, true },
    { "continue/quit", "-S", C, false },
};

static void test_managed_exit(const void *data)
{
    const ManagedExit *test = data;
    QTestState *qts = start(",power=managed", test->args);
    SpiceChannelEvent event = SPICE_CHANNEL_NONE;
    Client client;
    Reply reply;
    int64_t id;

    client_open(&client, qts);
    g_signal_connect(client.main, "channel-event",
                     G_CALLBACK(on_channel_event), &event);
    id = managed_begin(qts, &client, test->action, &reply);
    /* If it has to answer something when QEMU is gone, it stops reading */
    client_write();
    if (test->by_signal) {
        kill(qtest_pid(qts), SIGTERM);
    } else {
        qtest_qmp_send(qts, "{ 'execute': 'quit' }");
    }
    wait_until(reply.done);
    assert_off(&reply);
    if (test->action == OFF) {
        g_assert_no_error(reply.err);
    } else {
        g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_FAILED);
        g_assert_nonnull(strstr(reply.err->message, "QEMU is exiting"));
        g_clear_error(&reply.err);
    }
    if (!test->by_signal) {
        /* The reply to "quit" is in between */
        qobject_unref(qtest_qmp_receive(qts));
    }
    wait_event(qts, "SHUTDOWN");
    managed_assert_result(qts, id, test->action == OFF ? "ok" : "failed",
                          test->action == OFF ? "" : "QEMU is exiting");

    qtest_wait_qemu(qts);
    wait_until(event != SPICE_CHANNEL_NONE);
    client_close(&client);
    stop(qts);
}

/* The state changes while a request is pending: it is the manager's to know */
static void test_managed_meanwhile(void)
{
    QTestState *qts = start(",power=managed", "-action shutdown=pause");
    Client client;
    Reply reply;
    int64_t id;

    client_open(&client, qts);
    id = managed_begin(qts, &client, SPICE_POWER_ACTION_PAUSE, &reply);
    migrate(qts, &client);
    /* Nothing is for a moment, which the client may be too slow to be told */
    wait_until(client_possible(&client) == (R | OFF | C));
    g_assert_false(reply.done);
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'spice-power-reply',"
        "  'arguments': { 'id': %" PRId64 ", 'result': 'wrong-state' } }", id);
    managed_assert_result(qts, id, "wrong-state", "");
    wait_until(reply.done);
    g_assert_error(reply.err, SPICE_POWER_ERROR,
                   SPICE_POWER_ERROR_WRONG_STATE);
    g_clear_error(&reply.err);

    client_close(&client);
    stop(qts);
}

/* Both commands, where there is nobody to reply to */
static void test_managed_not(const void *data)
{
    QTestState *qts = data ? start(data, "") : qtest_init("-nodefaults");
    const char *words = data && strstr(data, "=on") ? "power=on" : "power=off";

    assert_error(qts, words, "{ 'execute': 'spice-power-reply',"
                             "  'arguments': { 'id': 1, 'result': 'ok' } }");
    assert_error(qts, words, "{ 'execute': 'spice-power-set-possible',"
                             "  'arguments': { 'actions': [] } }");
    if (!data || !strstr(data, "=on")) {
        assert_error(qts, words, "{ 'execute': 'spice-power-set-allowed',"
                                 "  'arguments': { 'actions': [] } }");
    }
    if (data) {
        stop(qts);
    } else {
        qtest_quit(qts);
    }
}

/* SPICE listens before there is a machine; QMP cannot add clients then */
static void test_preconfig(void)
{
    g_autofree char *path = file_name("socket");
    g_autofree char *spice = g_strdup_printf(",power=on,unix=on,addr=%s", path);
    QTestState *qts = start(spice, "--preconfig");
    Client client;
    Reply reply;
    int action;

    client_new(&client);
    g_object_set(client.session, "unix-path", path, NULL);
    g_assert_true(spice_session_connect(client.session));
    client_wait_open(&client);

    for (action = 0; action < N_ACTIONS; action++) {
        client_request(&client, 1 << action, &reply);
        g_assert_error(reply.err, SPICE_POWER_ERROR,
                       SPICE_POWER_ERROR_WRONG_STATE);
        g_clear_error(&reply.err);
    }
    g_assert_cmpuint(client_possible(&client), ==, 0);

    qtest_qmp_assert_success(qts, "{ 'execute': 'x-exit-preconfig' }");
    wait_until(client_state(&client) == SPICE_POWER_STATE_ON &&
               client_possible(&client) == (R | OFF | P));

    client_close(&client);
    stop(qts);
    unlink(path);
}

/* A client that comes later is shown the state, and all see every change */
static void test_two_clients(void)
{
    QTestState *qts;
    Client a, b;

    qts = start(",power=on", "-action shutdown=pause");
    client_open(&a, qts);
    wait_until(client_state(&a) == SPICE_POWER_STATE_ON);
    client_request_ok(&a, SPICE_POWER_ACTION_PAUSE);

    client_open_control(&b, qts);
    wait_until(client_state(&b) == SPICE_POWER_STATE_PAUSED);
    /* It was a SPICE client that has paused it: any of them may continue */
    client_request_ok(&b, SPICE_POWER_ACTION_CONTINUE);
    wait_until(client_state(&a) == SPICE_POWER_STATE_ON);

    client_request_ok(&a, SPICE_POWER_ACTION_OFF);
    wait_until(client_state(&b) == SPICE_POWER_STATE_OFF);
    client_request_ok(&b, SPICE_POWER_ACTION_ON);
    wait_until(client_state(&a) == SPICE_POWER_STATE_ON);

    client_close(&a);
    client_close(&b);
    stop(qts);
}

/* A change that no client has asked for is shown as well */
static void test_pushed(void)
{
    QTestState *qts = start(",power=on", "");
    Client client;

    client_open(&client, qts);
    wait_until(client_possible(&client) == (R | OFF | P));

    qmp_stop(qts, &client);
    wait_until(client_state(&client) == SPICE_POWER_STATE_PAUSED);
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    wait_until(client_state(&client) == SPICE_POWER_STATE_ON);

    reboot_is_shutdown(qts, &client);
    wait_until(client_possible(&client) == (OFF | P));

    client_close(&client);
    stop(qts);
}

static void test_record(void)
{
    QTestState *qts = start(",power=on,actions=pause:continue", "");
    Client client;
    Reply reply;

    client_open(&client, qts);
    client_request_ok(&client, SPICE_POWER_ACTION_PAUSE);
    assert_record(qts, SPICE_POWER_ACTION_PAUSE, "ok");

    /* What the library refuses is in the record, too */
    client_request(&client, SPICE_POWER_ACTION_RESET, &reply);
    g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_DENIED);
    g_clear_error(&reply.err);
    assert_record(qts, SPICE_POWER_ACTION_RESET, "denied");
    assert_no_event(qts, "RESET");
    /* There was one pair of events for each request */
    assert_no_event(qts, "SPICE_POWER_REQUEST");
    assert_no_event(qts, "SPICE_POWER_RESULT");

    client_close(&client);
    stop(qts);
}

static void test_actions(void)
{
    static const int caps[N_ACTIONS] = {
        SPICE_MAIN_CAP_POWER_RESET, SPICE_MAIN_CAP_POWER_OFF,
        SPICE_MAIN_CAP_POWER_ON, SPICE_MAIN_CAP_POWER_PAUSE,
        SPICE_MAIN_CAP_POWER_CONTINUE,
    };
    static const struct {
        const char *spice;
        guint configured;
        guint possible;
    } tests[] = {
        { ",power=on", R | OFF | ON | P | C, R | OFF | P },
        { ",power=on,actions=reset", R, R },
        { ",power=on,actions=power-on:power-off", OFF | ON, OFF },
        { ",power=on,actions=continue:reset:continue", R | C, R },
    };
    size_t i, action;

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        QTestState *qts = start(tests[i].spice, "-action shutdown=pause");
        Client client;
        QDict *rsp, *power;

        client_open(&client, qts);
        g_assert_true(has_cap(&client, SPICE_MAIN_CAP_POWER_CONTROL));
        for (action = 0; action < N_ACTIONS; action++) {
            bool configured = tests[i].configured & (1 << action);
            Reply reply;

            g_assert_true(has_cap(&client, caps[action]) == configured);
            if (configured) {
                continue;
            }
            client_request(&client, 1 << action, &reply);
            g_assert_error(reply.err, SPICE_POWER_ERROR,
                           SPICE_POWER_ERROR_DENIED);
            g_clear_error(&reply.err);
        }
        wait_until(client_possible(&client) == tests[i].possible);
        assert_status(qts, "running");

        rsp = qtest_qmp_assert_success_ref(qts, "{ 'execute': 'query-spice' }");
        power = qdict_get_qdict(rsp, "power");
        g_assert_cmpstr(qdict_get_str(power, "mode"), ==, "on");
        g_assert_cmpstr(qdict_get_str(power, "state"), ==, "on");
        g_assert_cmpuint(qlist_size(qdict_get_qlist(power, "actions")), ==,
                         ctpop32(tests[i].configured));
        g_assert_cmpuint(qlist_size(qdict_get_qlist(power, "possible")), ==,
                         ctpop32(tests[i].possible));
        qobject_unref(rsp);

        client_close(&client);
        stop(qts);
    }
}

static void test_off(const void *data)
{
    QTestState *qts = start(data, "");
    Client client;
    Reply reply;
    QDict *rsp;
    int cap;

    client_open(&client, qts);
    for (cap = SPICE_MAIN_CAP_POWER_CONTROL;
         cap <= SPICE_MAIN_CAP_POWER_CONTINUE; cap++) {
        g_assert_false(has_cap(&client, cap));
    }
    client_request(&client, SPICE_POWER_ACTION_RESET, &reply);
    g_assert_error(reply.err, SPICE_POWER_ERROR, SPICE_POWER_ERROR_UNSUPPORTED);
    g_clear_error(&reply.err);
    assert_no_event(qts, "RESET");
    assert_no_event(qts, "SPICE_POWER_REQUEST");
    /* Nor was the client sent a state */
    g_assert_cmpint(client_state(&client), ==, SPICE_POWER_STATE_UNKNOWN);

    rsp = qtest_qmp_assert_success_ref(qts, "{ 'execute': 'query-spice' }");
    g_assert_false(qdict_haskey(rsp, "power"));
    qobject_unref(rsp);

    client_close(&client);
    stop(qts);
}

/* Without shutdown=pause, QEMU exits: the client knows before */
typedef struct Exit {
    const char *name;
    const char *args;
    void (*setup)(QTestState *qts, Client *client);
    const char *status;
} Exit;

static void shutdown_is_poweroff(QTestState *qts, Client *client)
{
    set_action(qts, "shutdown", "poweroff");
}

static const Exit exits[] = {
    { "running", "", NULL, "running" },
    { "set-action", "-no-shutdown", shutdown_is_poweroff, "running" },
    { "paused", "", spice_pause, "paused" },
    { "paused-by-monitor", "", qmp_stop, "paused" },
    { "never-started", "-S", NULL, "prelaunch" },
    { "suspended", "", suspend, "suspended" },
    { "guest-panicked", PVPANIC, panic, "guest-panicked" },
    { "watchdog", IB700, watchdog, "watchdog" },
    { "io-error", FAILING_DISK, io_error, "io-error" },
};

static void test_power_off_exits(const void *data)
{
    const Exit *test = data;
    QTestState *qts = start(",power=on", test->args);
    SpiceChannelEvent event = SPICE_CHANNEL_NONE;
    Client client;
    Reply reply;

    client_open(&client, qts);
    if (test->setup) {
        test->setup(qts, &client);
    }
    assert_status(qts, test->status);
    while (find_event("SPICE_POWER_RESULT")) {
        wait_event(qts, "SPICE_POWER_REQUEST");
        wait_event(qts, "SPICE_POWER_RESULT");
    }
    g_signal_connect(client.main, "channel-event",
                     G_CALLBACK(on_channel_event), &event);

    client_request(&client, SPICE_POWER_ACTION_OFF, &reply);
    g_assert_no_error(reply.err);
    assert_off(&reply);
    wait_event(qts, "SHUTDOWN");
    assert_record(qts, SPICE_POWER_ACTION_OFF, "ok");

    qtest_wait_qemu(qts);
    wait_until(event != SPICE_CHANNEL_NONE);
    client_close(&client);
    stop(qts);
}

/* -no-shutdown is the old way to say -action shutdown=pause */
static void test_no_shutdown(void)
{
    QTestState *qts = start(",power=on", "-no-shutdown");
    Client client;

    client_open(&client, qts);
    client_request_ok(&client, SPICE_POWER_ACTION_OFF);
    assert_status(qts, "shutdown");
    client_request_ok(&client, SPICE_POWER_ACTION_ON);
    assert_status(qts, "running");

    client_close(&client);
    stop(qts);
}

/* Clients are told when a dump begins and when it ends */
static void test_dump(void)
{
    QTestState *qts = start(",power=on", "");
    Client client;

    client_open(&client, qts);
    spice_pause(qts, &client);
    wait_until(client_possible(&client) == (R | OFF | C));
    dump(qts, &client);
    wait_until(client_possible(&client) == (R | OFF));
    dump_end(qts);
    wait_until(client_possible(&client) == (R | OFF | C));
    client_request_ok(&client, SPICE_POWER_ACTION_CONTINUE);

    client_close(&client);
    stop(qts);
}

/*
 * A migration between two QEMUs.  Requests on both sides are refused until
 * the source has handed over; then the target does what it is asked for.
 */
static void test_migration(void)
{
    g_autofree char *path = file_name("migration");
    g_autofree char *uri = g_strconcat("unix:", path, NULL);
    QTestState *source, *target;
    Client a, b;
    Reply reply;
    int action;

    source = start(",power=on", "");
    client_open(&a, source);
    qtest_qmp_assert_success(source,
        "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        "  'capabilities': [ { 'capability': 'pause-before-switchover',"
        "                      'state': true } ] } }");
    target = qtest_initf("-nodefaults -incoming %s"
                         " -spice disable-ticketing=on,power=on", uri);
    client_open(&b, target);

    qtest_qmp_assert_success(source, "{ 'execute': 'migrate', 'arguments': {"
                                     "  'uri': %s } }", uri);
    wait_status(source, "finish-migrate");
    assert_status(target, "inmigrate");
    for (action = 0; action < N_ACTIONS; action++) {
        client_request(&a, 1 << action, &reply);
        g_assert_cmpstr(result_name(reply.err), ==, "wrong-state");
        g_clear_error(&reply.err);
        client_request(&b, 1 << action, &reply);
        g_assert_cmpstr(result_name(reply.err), ==, "wrong-state");
        g_clear_error(&reply.err);
    }
    assert_status(source, "finish-migrate");
    assert_status(target, "inmigrate");

    wait_migration(source, "pre-switchover");
    qtest_qmp_assert_success(source,
        "{ 'execute': 'migrate-continue', 'arguments': {"
        "  'state': 'pre-switchover' } }");
    wait_status(source, "postmigrate");
    wait_status(target, "running");
    wait_until(client_possible(&a) == 0);
    wait_until(client_possible(&b) == (R | OFF | P));
    client_request_ok(&b, SPICE_POWER_ACTION_PAUSE);
    client_request_ok(&b, SPICE_POWER_ACTION_RESET);
    client_request_ok(&b, SPICE_POWER_ACTION_CONTINUE);
    assert_status(target, "running");

    client_close(&a);
    client_close(&b);
    qtest_quit(target);
    stop(source);
    unlink(path);
}

static QTestState *start_replay(const char *mode)
{
    /* The vapic's reset waits for the CPU, and that waits for the recording */
    g_autofree char *args = g_strdup_printf(
        GUEST " -global apic-common.vapic=off -action shutdown=pause"
        " -icount shift=3,rr=%s,rrfile=" FILES "rr", mode);

    return start(",power=on", args);
}

/* A recording can be changed, what is replayed can't */
static void test_replay(void)
{
    g_autofree char *path = file_name("rr");
    QTestState *qts;
    Client client;
    Reply reply;
    int action;

    qts = start_replay("record");
    client_open(&client, qts);
    wait_until(client_possible(&client) == (R | OFF | P));
    client_request_ok(&client, SPICE_POWER_ACTION_RESET);
    client_request_ok(&client, SPICE_POWER_ACTION_PAUSE);
    client_request_ok(&client, SPICE_POWER_ACTION_CONTINUE);
    client_request_ok(&client, SPICE_POWER_ACTION_OFF);
    client_request_ok(&client, SPICE_POWER_ACTION_ON);
    assert_status(qts, "running");
    client_close(&client);
    stop(qts);

    qts = start_replay("replay");
    client_open(&client, qts);
    for (action = 0; action < N_ACTIONS; action++) {
        client_request(&client, 1 << action, &reply);
        g_assert_cmpstr(result_name(reply.err), ==, "wrong-state");
        g_clear_error(&reply.err);
    }
    g_assert_cmpuint(client_possible(&client), ==, 0);
    client_close(&client);
    stop(qts);
    unlink(path);
}

/* Wait for the end of a job, and that it has done what it should */
static void wait_job(QTestState *qts, const char *id)
{
    for (;;) {
        QDict *event = take_event(qts, "JOB_STATUS_CHANGE");
        QDict *data = qdict_get_qdict(event, "data");
        bool end = !strcmp(qdict_get_str(data, "id"), id) &&
                   !strcmp(qdict_get_str(data, "status"), "concluded");
        QDict *rsp, *job;

        qobject_unref(event);
        if (!end) {
            continue;
        }
        rsp = qtest_qmp(qts, "{ 'execute': 'query-jobs' }");
        job = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
        if (qdict_haskey(job, "error")) {
            g_error("%s", qdict_get_str(job, "error"));
        }
        qobject_unref(rsp);
        qtest_qmp_assert_success(qts, "{ 'execute': 'job-dismiss',"
                                      "  'arguments': { 'id': %s } }", id);
        return;
    }
}

static void make_disk(QTestState *qts, const char *path)
{
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'blockdev-create', 'arguments': { 'job-id': 'create',"
        "  'options': { 'driver': 'file', 'filename': %s, 'size': 0 } } }",
        path);
    wait_job(qts, "create");
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'blockdev-add', 'arguments': { 'driver': 'file',"
        "  'node-name': 'file', 'filename': %s } }", path);
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'blockdev-create', 'arguments': { 'job-id': 'create',"
        "  'options': { 'driver': 'qcow2', 'file': 'file',"
        "               'size': 1048576 } } }");
    wait_job(qts, "create");
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'blockdev-add', 'arguments': { 'driver': 'qcow2',"
        "  'node-name': 'disk', 'file': 'file' } }");
}

/*
 * A snapshot is made within the main loop, so nothing is seen of "save-vm" and
 * "restore-vm" from outside.  But a request may come while that happens: send
 * both while QEMU is stopped.
 */
static void test_snapshot_action(QTestState *qts, Client *client,
                                 const char *job, int action)
{
    Reply reply;
    QDict *rsp;

    kill(qtest_pid(qts), SIGSTOP);
    qtest_qmp_send(qts, "{ 'execute': %s, 'arguments': { 'job-id': 'snapshot',"
                        "  'tag': 'tag', 'vmstate': 'disk',"
                        "  'devices': [ 'disk' ] } }", job);
    client_begin(client, 1 << action, &reply);
    client_write();
    g_assert_false(reply.done);
    kill(qtest_pid(qts), SIGCONT);

    rsp = qtest_qmp_receive(qts);
    g_assert_true(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
    wait_until(reply.done);
    wait_job(qts, "snapshot");

    g_assert_no_error(reply.err);
}

static void test_snapshot(void)
{
    static const char *const jobs[] = { "snapshot-save", "snapshot-load" };
    static const char *const after[N_ACTIONS] = {
        "running", "shutdown", "running", "paused", "running",
    };
    g_autofree char *path = file_name("disk");
    QTestState *qts = start(",power=on", "-action shutdown=pause");
    Client client;
    int action;
    size_t i;

    client_open(&client, qts);
    make_disk(qts, path);
    for (i = 0; i < ARRAY_SIZE(jobs); i++) {
        for (action = 0; action < N_ACTIONS; action++) {
            g_test_message("%s: %s", jobs[i], action_names[action]);
            assert_status(qts, "running");
            test_snapshot_action(qts, &client, jobs[i], action);
            assert_status(qts, after[action]);
            if (i == 0) {
                qtest_qmp_assert_success(qts,
                    "{ 'execute': 'snapshot-delete', 'arguments': {"
                    "  'job-id': 'delete', 'tag': 'tag',"
                    "  'devices': [ 'disk' ] } }");
                wait_job(qts, "delete");
            }
            if (action == 1) {
                client_request_ok(&client, SPICE_POWER_ACTION_ON);
            } else if (action == 3) {
                client_request_ok(&client, SPICE_POWER_ACTION_CONTINUE);
            }
        }
        if (i == 0) {
            qtest_qmp_assert_success(qts,
                "{ 'execute': 'snapshot-save', 'arguments': {"
                "  'job-id': 'save', 'tag': 'tag', 'vmstate': 'disk',"
                "  'devices': [ 'disk' ] } }");
            wait_job(qts, "save");
        }
    }

    /* A snapshot of a machine that is paused leaves the pause whose it is */
    spice_pause(qts, &client);
    g_free(qtest_hmp(qts, "savevm again"));
    g_free(qtest_hmp(qts, "loadvm again"));
    assert_status(qts, "paused");
    client_request_ok(&client, SPICE_POWER_ACTION_CONTINUE);
    qmp_stop(qts, &client);
    g_free(qtest_hmp(qts, "savevm again"));
    g_free(qtest_hmp(qts, "loadvm again"));
    assert_status(qts, "paused");
    wait_until(client_possible(&client) == (R | OFF));

    client_close(&client);
    stop(qts);
    unlink(path);
}

static void test_options(void)
{
    static const struct {
        const char *spice;
        const char *error;
    } tests[] = {
        { "power=maybe", "invalid power: 'maybe'" },
        { "power=", "invalid power: ''" },
        { "actions=reset", "without power=on" },
        { "power=off,actions=reset", "without power=on" },
        { "power=on,actions=", "names no action" },
        { "power=on,actions=reset:explode", "invalid action 'explode'" },
        { "power=on,actions=reset,,pause", "invalid action 'reset,pause'" },
        { "power=on,actions=off", "invalid action 'off'" },
        { "power=managed,actions=", "names no action" },
        { "power-authz=a", "power-authz= without power=on" },
        { "power=off,power-password-secret=s",
          "power-password-secret= without power=on" },
        { "power=on,power-authz=a", "add sasl=on" },
        { "power=on,power-authz=a,sasl=on", "no authorization object" },
        { "power=on,power-password-secret=s", "power-password-secret=s: No " },
        { "power=on,power-password-secret=s,sasl=on",
          "no effect with sasl=on" },
        { "power-timeout=10", "without power=managed" },
        { "power=off,power-timeout=10", "without power=managed" },
        { "power=on,power-timeout=10", "without power=managed" },
        { "power=managed,power-timeout=0", "invalid power-timeout" },
        { "power=managed,power-timeout=3601", "invalid power-timeout" },
        { "power=managed,power-timeout=18446744073709551615",
          "invalid power-timeout" },
        { "power=managed,power-timeout=-1", "power-timeout" },
        { "power=managed,power-timeout=soon", "power-timeout" },
        { "power=managed,power-timeout=", "power-timeout" },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        const char *argv[] = {
            getenv("QTEST_QEMU_BINARY"), "-M", "none", "-display", "none",
            "-spice", NULL, NULL,
        };
        g_autofree char *spice = g_strdup_printf("disable-ticketing=on,%s",
                                                 tests[i].spice);
        g_autofree char *output = NULL;
        g_autoptr(GError) err = NULL;
        int status;

        argv[6] = spice;
        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL,
                     NULL, NULL, NULL, &output, &status, &err);
        g_assert_no_error(err);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        g_assert_nonnull(strstr(output, tests[i].error));
    }
}

/* Firmware that is an endless loop */
static void make_bios(void)
{
    g_autofree char *bios = g_malloc0(BIOS_SIZE);
    g_autofree char *path = file_name("bios");

    memcpy(bios + BIOS_START, "\xeb\xfe", 2);
    g_assert_true(g_file_set_contents(path, bios, BIOS_SIZE, NULL));
}

static void remove_files(void)
{
    static const char *const names[] = { "bios", "gdb" };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = file_name(names[i]);

        unlink(path);
    }
    g_assert_cmpint(rmdir(dir), ==, 0);
    g_free(dir);
}

int main(int argc, char **argv)
{
    size_t i;
    int ret;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("spice-power-XXXXXX", NULL);
    make_bios();

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("spice-power/state/%s",
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i], test_case);
    }
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("spice-power/managed/state/%s",
                                                cases[i].name);

        if (cases[i].also_managed) {
            qtest_add_data_func(path, &cases[i], test_managed_case);
        }
    }
    for (i = 0; i < ARRAY_SIZE(managed_exits); i++) {
        g_autofree char *path = g_strdup_printf("spice-power/managed/exit/%s",
                                                managed_exits[i].name);

        qtest_add_data_func(path, &managed_exits[i], test_managed_exit);
    }
    qtest_add_func("spice-power/managed/actions", test_managed_actions);
    qtest_add_func("spice-power/managed/reply", test_managed_reply);
    qtest_add_func("spice-power/managed/timeout", test_managed_timeout);
    qtest_add_func("spice-power/managed/query", test_managed_query);
    qtest_add_func("spice-power/managed/client-leaves",
                   test_managed_client_leaves);
    qtest_add_func("spice-power/managed/two-clients",
                   test_managed_two_clients);
    qtest_add_func("spice-power/managed/possible", test_managed_possible);
    qtest_add_data_func("spice-power/allowed/on", ",power=on", test_allowed);
    qtest_add_data_func("spice-power/allowed/managed", ",power=managed",
                        test_allowed);
    qtest_add_func("spice-power/ticket", test_ticket);
    qtest_add_func("spice-power/ticket/later", test_ticket_later);
    qtest_add_func("spice-power/managed/meanwhile", test_managed_meanwhile);
    qtest_add_data_func("spice-power/managed/not/no-spice", NULL,
                        test_managed_not);
    qtest_add_data_func("spice-power/managed/not/off", "", test_managed_not);
    qtest_add_data_func("spice-power/managed/not/on", ",power=on",
                        test_managed_not);
    qtest_add_func("spice-power/preconfig", test_preconfig);
    qtest_add_func("spice-power/two-clients", test_two_clients);
    qtest_add_func("spice-power/pushed", test_pushed);
    qtest_add_func("spice-power/record", test_record);
    qtest_add_func("spice-power/actions", test_actions);
    qtest_add_data_func("spice-power/off/default", "", test_off);
    qtest_add_data_func("spice-power/off/explicit", ",power=off", test_off);
    for (i = 0; i < ARRAY_SIZE(exits); i++) {
        g_autofree char *path = g_strdup_printf("spice-power/exit/%s",
                                                exits[i].name);

        qtest_add_data_func(path, &exits[i], test_power_off_exits);
    }
    qtest_add_func("spice-power/no-shutdown", test_no_shutdown);
    qtest_add_func("spice-power/dump", test_dump);
    qtest_add_func("spice-power/migration", test_migration);
    qtest_add_func("spice-power/replay", test_replay);
    qtest_add_func("spice-power/snapshot", test_snapshot);
    qtest_add_func("spice-power/options", test_options);

    ret = g_test_run();
    remove_files();
    return ret;
}
