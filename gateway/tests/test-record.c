/*
 * What of clients' requests is in the log, whatever becomes of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fake-spice.h"
#include "loop.h"
#include "power.h"
#include "record-log.h"

/* A backend that only tells */
typedef struct Fake {
    Backend base;
    BackendStatusFunc changed;
    gpointer changed_opaque;
    BackendResultFunc acted;    /* NULL: there is no action */
    gpointer acted_opaque;
} Fake;

static guint32 fake_supported(Backend *backend)
{
    return SPICE_POWER_ACTION_MASK;
}

static void fake_watch(Backend *backend, BackendStatusFunc changed,
                       gpointer opaque)
{
    Fake *fake = (Fake *)backend;

    fake->changed = changed;
    fake->changed_opaque = opaque;
}

static gboolean fake_can_ask(Backend *backend)
{
    return FALSE;
}

static void fake_action(Backend *backend, guint32 action, guint timeout_ms,
                        BackendResultFunc done, gpointer opaque)
{
    Fake *fake = (Fake *)backend;

    fake->acted = done;
    fake->acted_opaque = opaque;
}

static const BackendMethods fake_methods = {
    .supported = fake_supported,
    .watch = fake_watch,
    .can_ask = fake_can_ask,
    .action = fake_action,
};

static void power_changed(guint32 state, gpointer opaque)
{
}

typedef struct Fixture {
    MachineConfig config;
    Fake fake;
    SpiceServer *server;
    Power *power;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;

    record_log_begin();
    fixture->config = (MachineConfig) {
        .name = (char *)"a",
        .actions = SPICE_POWER_ACTION_MASK,
        .poll_ms = HANG_S * 1000,
        .action_timeout_ms = 60 * 1000,
    };
    fixture->fake.base.methods = &fake_methods;
    fixture->power = power_new(&fixture->config, &fixture->fake.base,
                               power_changed, fixture);
    fixture->server = spice_server_new();
    spice_server_init(fixture->server, NULL);
    power_attach(fixture->power, fixture->server, &error);
    g_assert_no_error(error);
    power_watch(fixture->power);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    power_refuse(fixture->power, "the end");
    power_detach(fixture->power);
    spice_server_destroy(fixture->server);
    power_free(fixture->power);
    record_log_end();
}

static void push(Fixture *fixture, guint32 state)
{
    const BackendStatus status = {
        .state = state,
        .possible = backend_possible(state),
    };

    fixture->fake.changed(&status, fixture->fake.changed_opaque);
}

static void end_action(Fixture *fixture, guint32 result, const char *message)
{
    BackendResultFunc acted = g_steal_pointer(&fixture->fake.acted);

    g_assert_nonnull(acted);
    acted(result, message, fixture->fake.acted_opaque);
}

/* The only request that has been recorded since the last time is this */
static void check_record(const char *action, const char *result,
                         const char *reason)
{
    guint i, last = 0, count = 0;

    for (i = 0; i < lines->len; i++) {
        if (record_log_field(i, "SPICE_ACTION")) {
            last = i;
            count++;
        }
    }
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmpstr(record_log_field(last, "SPICE_MACHINE"), ==, "a");
    g_assert_cmpstr(record_log_field(last, "SPICE_ACTION"), ==, action);
    g_assert_cmpstr(record_log_field(last, "SPICE_RESULT"), ==, result);
    g_assert_cmpstr(record_log_field(last, "SPICE_REASON"), ==, reason);
    g_ptr_array_set_size(lines, 0);
}

static gboolean set_true(gpointer flag)
{
    *(gboolean *)flag = TRUE;
    return G_SOURCE_REMOVE;
}

/* When it is done, and not when it begins; with the time that it took */
static void test_done(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;
    gboolean waited = FALSE;

    push(fixture, SPICE_POWER_STATE_ON);
    request = fake_ask(fixture->server, SPICE_POWER_ACTION_OFF, 7);
    g_timeout_add(20, set_true, &waited);
    RUN_UNTIL(waited);
    g_assert_cmpuint(record_log_count("SPICE_ACTION", "power-off"), ==, 0);
    end_action(fixture, SPICE_POWER_RESULT_OK, "");
    push(fixture, SPICE_POWER_STATE_OFF);
    g_assert_cmpstr(record_log_field(lines->len - 1, "SPICE_CONNECTION"), ==,
                    "7");
    g_assert_cmpint(g_ascii_strtoll(
        record_log_field(lines->len - 1, "SPICE_MS"), NULL, 10), >=, 20);
    check_record("power-off", "ok", NULL);
    fake_request_free(request);
}

/* By the backend, by the state, and because the server ends */
static void test_not_done(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;

    push(fixture, SPICE_POWER_STATE_ON);
    request = fake_ask(fixture->server, SPICE_POWER_ACTION_RESET, 1);
    end_action(fixture, SPICE_POWER_RESULT_FAILED, "it is stuck");
    fake_request_free(request);
    check_record("reset", "failed", "it is stuck");

    push(fixture, SPICE_POWER_STATE_OFF);
    fake_request_free(fake_ask(fixture->server, SPICE_POWER_ACTION_RESET, 1));
    check_record("reset", "wrong-state", "The machine's power state is off");

    request = fake_ask(fixture->server, SPICE_POWER_ACTION_ON, 1);
    power_refuse(fixture->power, "we end");
    fake_request_free(request);
    check_record("power-on", "failed", "we end");
    fake_request_free(fake_ask(fixture->server, SPICE_POWER_ACTION_ON, 1));
    check_record("power-on", "failed", "we end");
}

/* What spice-server refuses by itself does not get to the machine */
static void test_refused(Fixture *fixture, gconstpointer unused)
{
    push(fixture, SPICE_POWER_STATE_ON);
    fake_refuse(fixture->server, SPICE_POWER_ACTION_OFF,
                SPICE_POWER_RESULT_DENIED, "You may only watch");
    check_record("power-off", "denied", "You may only watch");
    fake_refuse(fixture->server, SPICE_POWER_ACTION_OFF,
                SPICE_POWER_RESULT_BUSY, "Another one");
    check_record("power-off", "busy", "Another one");
    g_assert_cmpuint(audit_requests(power_audit(fixture->power),
                                    SPICE_POWER_ACTION_OFF,
                                    SPICE_POWER_RESULT_BUSY), ==, 1);
}

/* What is so already can be asked for as often as one likes */
static void test_idle(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;
    int i;

    push(fixture, SPICE_POWER_STATE_ON);
    for (i = 0; i < 12; i++) {
        fake_request_free(fake_ask(fixture->server, SPICE_POWER_ACTION_ON, i));
    }
    g_assert_cmpuint(record_log_count("SPICE_ACTION", "power-on"), ==, 10);
    /* what is done is told all the same */
    for (i = 0; i < 12; i++) {
        request = fake_ask(fixture->server, SPICE_POWER_ACTION_RESET, i);
        end_action(fixture, SPICE_POWER_RESULT_OK, "");
        fake_request_free(request);
    }
    g_assert_cmpuint(record_log_count("SPICE_ACTION", "reset"), ==, 12);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    record_log_init();
#define ADD(name, function) \
    g_test_add("/record/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("done", test_done);
    ADD("not-done", test_not_done);
    ADD("refused", test_refused);
    ADD("idle", test_idle);
    return g_test_run();
}
