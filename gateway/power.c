/*
 * The host's power: what clients ask for, done by a backend, and the state
 *
 * A request is carried out in three steps. First the state is asked for: it
 * may be that of a second ago that we know, and who presses Power On while
 * somebody at the machine does the same must not switch it off again. Then the
 * backend acts; and then the state is asked for until the host is there,
 * because OK means done, and a BMC says OK when it has understood. All three
 * together have the time that is configured for an action: clients don't wait
 * for ever.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "backend.h"
#include "power.h"

/* How long an answer may take to get to a client when we end */
#define FLUSH_TIMEOUT_MS 1000
/* How often the state is asked for while an action takes effect, at least */
#define EFFECT_POLL_MS 200

typedef enum Step {
    STEP_CHECK,                 /* the state, before */
    STEP_ACT,
    STEP_EFFECT,                /* the state, after */
} Step;

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request);

static const SpicePowerInterface power_interface = {
    .base.type = SPICE_INTERFACE_POWER,
    .base.description = "spice-gateway power control",
    .base.major_version = SPICE_INTERFACE_POWER_MAJOR,
    .base.minor_version = SPICE_INTERFACE_POWER_MINOR,
    .request = power_request,
};

static SpicePowerInstance power_instance = {
    .base.sif = &power_interface.base,
};

static const Config *config;
static const Backend *backend;
static PowerChanged state_changed;

static guint32 state = SPICE_POWER_STATE_UNKNOWN;
static gboolean answered;       /* somebody has said what the state is */
static char *trouble;           /* why the state is not known; or NULL */
static gboolean asking;         /* the backend, for the state */
static gboolean told;           /* by the backend, since it was asked */
static guint poll_timer;

static SpicePowerRequest *request;      /* NULL if there is none */
static Step step;
static gint64 deadline;         /* for the request, in microseconds */
static guint deadline_timer;

static void ask(void);

static const Backend *backend_of(const Config *config)
{
    return config->backend == BACKEND_IPMI ? &backend_ipmi : &backend_exec;
}

const char *power_state_name(guint32 state)
{
    static const char *const names[] = {
        [SPICE_POWER_STATE_UNKNOWN] = "unknown",
        [SPICE_POWER_STATE_OFF] = "off",
        [SPICE_POWER_STATE_ON] = "on",
        [SPICE_POWER_STATE_PAUSED] = "paused",
        [SPICE_POWER_STATE_SUSPENDED] = "suspended",
        [SPICE_POWER_STATE_CRASHED] = "crashed",
    };

    return state < G_N_ELEMENTS(names) ? names[state] : "?";
}

static const char *action_name(guint32 action)
{
    switch (action) {
    case SPICE_POWER_ACTION_RESET:
        return "reset";
    case SPICE_POWER_ACTION_OFF:
        return "power-off";
    case SPICE_POWER_ACTION_ON:
        return "power-on";
    default:
        return "?";
    }
}

/* While the state is not known, who asks for an action gets to know why */
static guint32 possible_actions(void)
{
    switch (state) {
    case SPICE_POWER_STATE_UNKNOWN:
        return power_instance.actions;
    case SPICE_POWER_STATE_OFF:
        return power_instance.actions & SPICE_POWER_ACTION_ON;
    default:
        return power_instance.actions & ~SPICE_POWER_ACTION_ON;
    }
}

static void set_state(guint32 new_state)
{
    if (new_state == state && answered) {
        return;
    }
    answered = TRUE;            /* even if it's still unknown */
    g_message("the host's power state: %s", power_state_name(new_state));
    state = new_state;
    spice_server_power_set_state(&power_instance, state, possible_actions());
    state_changed(state);
}

/* In the log once, and not again with every poll */
static void set_trouble(const char *message)
{
    if (!g_strcmp0(message, trouble)) {
        return;
    }
    if (message) {
        g_warning("the power state is not known: %s", message);
    } else {
        g_message("the power state is known again");
    }
    g_free(trouble);
    trouble = g_strdup(message);
}

static void finish(guint32 result, const char *message)
{
    SpicePowerRequest *done = request;

    g_clear_handle_id(&deadline_timer, g_source_remove);
    if (result == SPICE_POWER_RESULT_OK) {
        g_message("client %u: %s: done", done->client->channel->connection_id,
                  action_name(done->action));
    } else {
        g_message("client %u: %s: not done: %s", done->client->channel->connection_id,
                  action_name(done->action), message);
    }
    request = NULL;
    spice_server_power_complete(done, result, message);
}

static gboolean timed_out(gpointer opaque)
{
    double seconds = config->action_timeout_ms / 1000.0;
    g_autofree char *message = NULL;

    deadline_timer = 0;
    if (step == STEP_CHECK) {
        message = g_strdup_printf("Nothing was done: the host's power state"
                                  " was not to be had within %g seconds",
                                  seconds);
    } else {
        message = g_strdup_printf("The host did not follow within %g seconds:"
                                  " %s%s", seconds,
                                  trouble ?: "its power state is ",
                                  trouble ? "" : power_state_name(state));
    }
    finish(SPICE_POWER_RESULT_FAILED, message);
    return G_SOURCE_REMOVE;
}

static guint ms_left(void)
{
    return MAX((deadline - g_get_monotonic_time()) / 1000, 1);
}

static void action_done(guint32 result, const char *message, guint32 unused,
                        gpointer opaque)
{
    if (request != opaque) {
        return;                 /* we end */
    }
    if (result != SPICE_POWER_RESULT_OK) {
        finish(result, message);
        return;
    }
    step = STEP_EFFECT;
    deadline_timer = g_timeout_add(ms_left(), timed_out, NULL);
    ask();
}

static gboolean end_state_holds(void)
{
    switch (request->action) {
    case SPICE_POWER_ACTION_OFF:
        return state == SPICE_POWER_STATE_OFF;
    case SPICE_POWER_ACTION_ON:
        return state == SPICE_POWER_STATE_ON;
    default:
        /* One can't see a reset, and it is what it was asked for */
        return step == STEP_EFFECT && state != SPICE_POWER_STATE_OFF;
    }
}

static void check_request(void)
{
    g_autofree char *message = NULL;

    if (trouble) {
        finish(SPICE_POWER_RESULT_FAILED, trouble);
    } else if (end_state_holds()) {
        finish(SPICE_POWER_RESULT_OK, NULL);
    } else if (!(possible_actions() & request->action)) {
        message = g_strdup_printf("The host's power state is %s",
                                  power_state_name(state));
        finish(SPICE_POWER_RESULT_WRONG_STATE, message);
    } else {
        /* It ends in time by itself, and has not ended before */
        g_clear_handle_id(&deadline_timer, g_source_remove);
        step = STEP_ACT;
        backend->action(config, request->action, ms_left(), action_done,
                        request);
    }
}

/* The state has been asked for, or told */
static void continue_request(void)
{
    if (!request) {
        return;
    }
    if (step == STEP_CHECK) {
        check_request();
    } else if (step == STEP_EFFECT && !trouble && end_state_holds()) {
        finish(SPICE_POWER_RESULT_OK, NULL);
    }
}

static gboolean poll(gpointer opaque)
{
    poll_timer = 0;
    ask();
    return G_SOURCE_REMOVE;
}

static void ask_later(void)
{
    gboolean hurry = request && step == STEP_EFFECT;

    g_clear_handle_id(&poll_timer, g_source_remove);
    poll_timer = g_timeout_add(hurry ? MIN(EFFECT_POLL_MS, config->poll_ms)
                                     : config->poll_ms, poll, NULL);
}

static void status_done(guint32 result, const char *message, guint32 new_state,
                        gpointer opaque)
{
    asking = FALSE;
    if (told && result == SPICE_POWER_RESULT_OK && new_state != state) {
        ask();                  /* it may be the older one of the two */
        return;
    }
    set_trouble(result == SPICE_POWER_RESULT_OK ? NULL : message);
    set_state(new_state);
    continue_request();
    ask_later();
}

/* If it is being asked for already, that answer will do */
static void ask(void)
{
    if (!backend->can_ask(config)) {
        continue_request();
        return;
    }
    g_clear_handle_id(&poll_timer, g_source_remove);
    if (!asking) {
        asking = TRUE;
        told = FALSE;
        backend->status(config, status_done, NULL);
    }
}

static void pushed(guint32 new_state, const char *message, gpointer opaque)
{
    if (!backend->can_ask(config)) {
        set_trouble(message);
    } else if (message) {
        return;                 /* it's asked for all the time */
    }
    told = TRUE;
    set_state(new_state);
    if (request && step == STEP_EFFECT) {
        continue_request();
    }
}

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *asked)
{
    g_message("client %u: %s: asked for", asked->client->channel->connection_id,
              action_name(asked->action));
    request = asked;
    step = STEP_CHECK;
    deadline = g_get_monotonic_time() +
               config->action_timeout_ms * G_TIME_SPAN_MILLISECOND;
    deadline_timer = g_timeout_add(ms_left(), timed_out, NULL);
    ask();
}

gboolean power_check_config(const Config *config, GError **error)
{
    guint32 supported = backend_of(config)->supported(config);

    if (config->actions_set && (config->actions & ~supported)) {
        guint32 missing = config->actions & ~supported;

        g_set_error(error, CONFIG_ERROR, 0, "[power] actions: the backend has"
                    " nothing for %s", action_name(missing & -missing));
        return FALSE;
    }
    return TRUE;
}

gboolean power_init(SpiceServer *server, const Config *new_config,
                    PowerChanged changed, GError **error)
{
    config = new_config;
    backend = backend_of(config);
    state_changed = changed;
    power_instance.actions = config->actions & backend->supported(config);
    if (spice_server_add_interface(server, &power_instance.base) != 0) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "spice-server does not"
                            " take the power interface");
        return FALSE;
    }
    spice_server_power_set_state(&power_instance, state, possible_actions());
    if (backend->watch) {
        backend->watch(config, pushed, NULL);
    }
    ask();
    return TRUE;
}

void power_end(void)
{
    g_clear_handle_id(&poll_timer, g_source_remove);
    if (request) {
        finish(SPICE_POWER_RESULT_FAILED, "spice-gateway is ending");
        for (int ms = 0; ms < FLUSH_TIMEOUT_MS &&
                         spice_server_power_is_unsent(&power_instance); ms += 10) {
            g_usleep(10 * 1000);
        }
    }
    g_clear_pointer(&trouble, g_free);
}
