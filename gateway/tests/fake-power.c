/*
 * A Power with a backend and a server, both of which tests are themselves
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fake-power.h"
#include "loop.h"

static guint32 fake_supported(Backend *backend)
{
    return ((Fake *)backend)->supported;
}

static void fake_watch(Backend *backend, BackendStatusFunc changed,
                       gpointer opaque)
{
    Fake *fake = (Fake *)backend;

    g_assert_null(fake->changed);
    fake->changed = changed;
    fake->changed_opaque = opaque;
}

static gboolean fake_can_ask(Backend *backend)
{
    return ((Fake *)backend)->can_ask;
}

static void fake_status(Backend *backend, BackendStatusFunc done,
                        gpointer opaque)
{
    Fake *fake = (Fake *)backend;

    g_assert_true(fake->can_ask);
    g_assert_null(fake->asked);
    fake->asked = done;
    fake->asked_opaque = opaque;
    fake->questions++;
}

static void fake_action(Backend *backend, guint32 action, guint timeout_ms,
                        BackendResultFunc done, gpointer opaque)
{
    Fake *fake = (Fake *)backend;

    g_assert_null(fake->acted);
    fake->acted = done;
    fake->acted_opaque = opaque;
    fake->action = action;
    fake->timeout_ms = timeout_ms;
}

static const BackendMethods fake_methods = {
    .supported = fake_supported,
    .watch = fake_watch,
    .can_ask = fake_can_ask,
    .status = fake_status,
    .action = fake_action,
};

void push(Fake *fake, guint32 state, guint32 possible,
                 const char *trouble)
{
    const BackendStatus status = {
        .state = state,
        .possible = possible,
        .trouble = trouble,
    };

    fake->changed(&status, fake->changed_opaque);
}

static void answer_status(Fake *fake, const BackendStatus *status)
{
    BackendStatusFunc asked = fake->asked;

    g_assert_nonnull(asked);
    fake->asked = NULL;
    asked(status, fake->asked_opaque);
}

void answer(Fake *fake, guint32 state, const char *trouble)
{
    const BackendStatus status = {
        .state = state,
        .possible = backend_possible(state),
        .trouble = trouble,
    };

    answer_status(fake, &status);
}

void answer_trouble(Fake *fake, BackendTrouble kind, const char *trouble)
{
    const BackendStatus status = {
        .state = SPICE_POWER_STATE_UNKNOWN,
        .possible = backend_possible(SPICE_POWER_STATE_UNKNOWN),
        .trouble = trouble,
        .trouble_kind = kind,
    };

    answer_status(fake, &status);
}

void answer_changing(Fake *fake, guint32 state)
{
    const BackendStatus status = { .state = state, .is_changing = TRUE };

    answer_status(fake, &status);
}

void end_action(Fake *fake, guint32 result, const char *message)
{
    BackendResultFunc acted = fake->acted;

    g_assert_nonnull(acted);
    fake->acted = NULL;
    acted(result, message, fake->acted_opaque);
}

static void power_changed(guint32 state, gpointer opaque)
{
    Fixture *fixture = opaque;

    fixture->changes++;
    fixture->changed_to = state;
}

void attach(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    fixture->server = spice_server_new();
    spice_server_init(fixture->server, NULL);
    power_attach(fixture->power, fixture->server, &error);
    g_assert_no_error(error);
}

void detach(Fixture *fixture)
{
    power_refuse(fixture->power, "the end");
    power_detach(fixture->power);
    g_clear_pointer(&fixture->server, spice_server_destroy);
}

void set_up(Fixture *fixture, gconstpointer can_ask)
{
    fixture->config = (MachineConfig) {
        .name = (char *)"a",
        .actions = SPICE_POWER_ACTION_MASK,
        .poll_ms = HANG_S * 1000,
        .idle_poll_ms = HANG_S * 1000,
        .action_timeout_ms = HANG_S * 1000,
    };
    fixture->fake.base.methods = &fake_methods;
    fixture->fake.supported = SPICE_POWER_ACTION_MASK;
    fixture->fake.can_ask = can_ask != NULL;
    fixture->power = power_new(&fixture->config, &fixture->fake.base,
                               power_changed, fixture);
    attach(fixture);
    power_watch(fixture->power);
}

void tear_down(Fixture *fixture, gconstpointer unused)
{
    if (fixture->server) {
        detach(fixture);
    }
    power_free(fixture->power);
}

void check_request(FakeRequest *request, guint32 result,
                          const char *message)
{
    g_assert_true(request->done);
    g_assert_cmpuint(request->result, ==, result);
    g_assert_cmpstr(request->message, ==, message);
    fake_request_free(request);
}
