/*
 * A machine's power: what clients ask for, done by a backend, and the state
 *
 * A request is carried out in three steps. First the state is asked for: it
 * may be that of a second ago that we know, and who presses Power On while
 * somebody at the machine does the same must not switch it off again. Then the
 * backend acts; and then the state is asked for until the machine is there,
 * because OK means done, and a BMC says OK when it has understood. If it says
 * that it has failed it may have done it nevertheless: then a last look
 * decides. All together have the time that is configured for an action: clients
 * don't wait for ever.
 *
 * When the state is asked for depends on the request that is under way, and what
 * becomes of that on the answer: the two stay in one file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <spice/macros.h>
#include <string.h>

#include "names.h"
#include "polls.h"
#include "power.h"
#include "rights.h"

typedef enum Step {
    STEP_CHECK,                 /* the state, before */
    STEP_ACT,
    STEP_EFFECT,                /* the state, after */
    STEP_LOOK,                  /* the state, after a failure */
} Step;

struct Power {
    SpicePowerInstance instance;
    const MachineConfig *config;
    Backend *backend;
    PowerChanged changed;
    gpointer opaque;
    Audit *audit;

    guint32 state;
    guint32 possible;           /* as the backend says, configured or not */
    gint64 changing_since;      /* in microseconds; 0: it stays as it is */
    gboolean answered;          /* somebody has said what the state is */
    char *trouble;              /* why the state is not known; or NULL */
    Polls *polls;
    gboolean asking;            /* the backend, for the state */
    gboolean told;              /* by the backend, since it was asked */
    gboolean outdated;          /* the question is: its answer is too old */
    gboolean awaiting;          /* the request: what is told next */

    gboolean attached;          /* to a server */
    gboolean ticketed;          /* the power ticket is needed */
    char *refusing;             /* why no request is taken any more; or NULL */
    SpicePowerRequest *request; /* NULL if there is none */
    gint64 asked_at;            /* when it came, in microseconds */
    gboolean held;              /* that is not begun */
    gboolean begun;             /* this one has been */
    gboolean waited;            /* for the machine, that it is there */
    Step step;
    gboolean acting;            /* the backend; maybe what was refused since */
    guint32 failed_result;      /* of the backend, for STEP_LOOK */
    char *failed_message;
    gint64 deadline;            /* for the request, in microseconds */
    guint deadline_timer;
};

static void ask_anew(Power *power);

static void report(Power *power)
{
    if (power->attached) {
        spice_server_power_set_state(&power->instance, power->state,
                                     power->possible &
                                     power->instance.actions);
    }
}

/*
 * One that does not get there must not be locked for ever: it may be stuck, and
 * a hard action is just what helps
 */
static gboolean is_changing(const Power *power)
{
    return power->changing_since &&
           g_get_monotonic_time() - power->changing_since <
           power->config->action_timeout_ms * G_TIME_SPAN_MILLISECOND;
}

static void set_changing(Power *power, gboolean changing)
{
    if (!changing) {
        power->changing_since = 0;
    } else if (!power->changing_since) {
        power->changing_since = g_get_monotonic_time();
    }
}

static void set_status(Power *power, const BackendStatus *status)
{
    guint32 state = status->state, possible = status->possible;
    gboolean is_new;

    set_changing(power, status->is_changing);
    if (status->is_changing) {
        if (state == SPICE_POWER_STATE_UNKNOWN) {
            state = power->state;
        }
        possible = is_changing(power) ? 0 : SPICE_POWER_ACTION_MASK;
    }
    is_new = state != power->state || !power->answered;
    if (!is_new && possible == power->possible) {
        return;
    }
    power->answered = TRUE;     /* even if it's still unknown */
    power->state = state;
    power->possible = possible;
    if (is_new) {
        g_message("%s: power state: %s", power->config->name,
                  state_name(power->state));
    }
    report(power);
    if (is_new) {
        power->changed(power->state, power->opaque);
    }
}

/* In the log once, and not again with every poll */
static void set_trouble(Power *power, const char *trouble)
{
    if (!g_strcmp0(trouble, power->trouble)) {
        return;
    }
    if (trouble) {
        g_warning("%s: the power state is not known: %s", power->config->name,
                  trouble);
    } else {
        g_message("%s: the power state is known again", power->config->name);
    }
    g_free(power->trouble);
    power->trouble = g_strdup(trouble);
}

/* --- a request ----------------------------------------------------------- */

/* @is_tried is whether the backend has been told to do something for it */
static void complete(Power *power, SpicePowerRequest *request, gint64 asked_at,
                     gboolean is_tried, guint32 result, const char *message)
{
    gint64 ms = (g_get_monotonic_time() - asked_at) / G_TIME_SPAN_MILLISECOND;

    audit_request(power->audit, request, result, message, ms, !is_tried);
    spice_server_power_complete(request, result, message);
}

static void finish(Power *power, guint32 result, const char *message)
{
    gboolean is_tried = power->begun && power->step != STEP_CHECK;

    g_clear_handle_id(&power->deadline_timer, g_source_remove);
    complete(power, g_steal_pointer(&power->request), power->asked_at, is_tried,
             result, message);
    power->changed(power->state, power->opaque);
}

/* With what the backend has said */
static void finish_failed(Power *power)
{
    g_autofree char *message = g_steal_pointer(&power->failed_message);

    finish(power, power->failed_result, message);
}

static void finish_changing(Power *power)
{
    g_autofree char *message = g_strdup_printf(
        "The machine is about to change its power state, which is %s still: try"
        " again when it has", state_name(power->state));

    finish(power, SPICE_POWER_RESULT_BUSY, message);
}

static gboolean timed_out(gpointer opaque)
{
    Power *power = opaque;
    double seconds = power->config->action_timeout_ms / 1000.0;
    g_autofree char *message = NULL;

    power->deadline_timer = 0;
    if (power->step == STEP_LOOK) {
        finish_failed(power);
        return G_SOURCE_REMOVE;
    }
    if (power->step == STEP_CHECK && is_changing(power)) {
        finish_changing(power);
        return G_SOURCE_REMOVE;
    }
    if (power->step == STEP_CHECK) {
        message = g_strdup_printf("Nothing was done: the power state was not"
                                  " to be had within %g seconds", seconds);
    } else {
        message = g_strdup_printf("The machine did not follow within %g"
                                  " seconds: %s%s", seconds,
                                  power->trouble ?: "its power state is ",
                                  power->trouble ? ""
                                                 : state_name(power->state));
    }
    finish(power, SPICE_POWER_RESULT_FAILED, message);
    return G_SOURCE_REMOVE;
}

static guint ms_left(Power *power)
{
    return MAX((power->deadline - g_get_monotonic_time()) / 1000, 1);
}

static void action_done(guint32 result, const char *message, gpointer opaque)
{
    Power *power = opaque;
    guint ms = ms_left(power);

    power->acting = FALSE;
    if (!power->request) {
        return;                 /* it was refused meanwhile */
    }
    if (result == SPICE_POWER_RESULT_OK) {
        power->step = STEP_EFFECT;
    } else if (power->request->action == SPICE_POWER_ACTION_RESET) {
        finish(power, result, message);         /* one can't see it */
        return;
    } else {
        power->step = STEP_LOOK;
        power->failed_result = result;
        g_free(power->failed_message);
        power->failed_message = g_strdup(message);
        ms = MAX(ms, power_times.look);
    }
    power->deadline_timer = g_timeout_add(ms, timed_out, power);
    ask_anew(power);
}

static gboolean end_state_holds(Power *power)
{
    switch (power->request->action) {
    case SPICE_POWER_ACTION_OFF:
        return power->state == SPICE_POWER_STATE_OFF;
    case SPICE_POWER_ACTION_ON:
    case SPICE_POWER_ACTION_CONTINUE:
        return power->state == SPICE_POWER_STATE_ON;
    case SPICE_POWER_ACTION_PAUSE:
        return power->state == SPICE_POWER_STATE_PAUSED;
    default:
        /* One can't see a reset, and it is what it was asked for */
        return power->step == STEP_EFFECT &&
               power->state != SPICE_POWER_STATE_OFF;
    }
}

/* It is on its way: mostly it is there in a moment */
static void wait_for_change(Power *power)
{
    power->awaiting = TRUE;
    if (!power->waited) {
        power->waited = TRUE;
        g_clear_handle_id(&power->deadline_timer, g_source_remove);
        power->deadline_timer = g_timeout_add(
            MIN(ms_left(power), power_times.changing), timed_out, power);
    }
}

static void check_request(Power *power)
{
    SpicePowerRequest *request = power->request;
    gboolean holds = !power->changing_since && end_state_holds(power);
    gboolean is_tried = power->backend->methods->tried & request->action;
    g_autofree char *message = NULL;

    if (power->trouble) {
        finish(power, SPICE_POWER_RESULT_FAILED, power->trouble);
    } else if (is_changing(power)) {
        wait_for_change(power);
    } else if (holds && !is_tried) {
        finish(power, SPICE_POWER_RESULT_OK, NULL);
    } else if (!holds && !power->changing_since &&
               !(power->possible & request->action)) {
        message = g_strdup_printf("The machine's power state is %s",
                                  state_name(power->state));
        finish(power, SPICE_POWER_RESULT_WRONG_STATE, message);
    } else {
        /* It ends in time by itself, and has not ended before */
        g_clear_handle_id(&power->deadline_timer, g_source_remove);
        power->step = STEP_ACT;
        power->acting = TRUE;
        power->backend->methods->action(power->backend, request->action,
                                        ms_left(power), action_done, power);
    }
}

static void check_effect(Power *power)
{
    if (!power->trouble && !power->changing_since && end_state_holds(power)) {
        finish(power, SPICE_POWER_RESULT_OK, NULL);
    } else if (power->trouble && !polls_may_ask(power->polls)) {
        g_autofree char *message = g_strdup_printf(
            "It was begun, and what became of it can't be seen: %s",
            power->trouble);

        finish(power, SPICE_POWER_RESULT_FAILED, message);
    }
}

static void look_once_more(Power *power)
{
    if (power->trouble) {
        finish_failed(power);
    } else if (!power->changing_since && end_state_holds(power)) {
        g_autofree char *message = g_strdup_printf(
            "The machine's power state is %s, though it was said: %s",
            state_name(power->state), power->failed_message);

        g_clear_pointer(&power->failed_message, g_free);
        finish(power, SPICE_POWER_RESULT_OK, message);
    } else if (!is_changing(power)) {
        finish_failed(power);
    }
}

/* The state has been asked for, or told */
static void continue_request(Power *power)
{
    power->awaiting = FALSE;
    if (!power_is_acting(power)) {
        return;
    }
    switch (power->step) {
    case STEP_CHECK:
        check_request(power);
        break;
    case STEP_ACT:
        break;
    case STEP_EFFECT:
        check_effect(power);
        break;
    case STEP_LOOK:
        look_once_more(power);
        break;
    }
}

static void begin(Power *power)
{
    power->begun = TRUE;
    power->waited = FALSE;
    power->step = STEP_CHECK;
    power->deadline = g_get_monotonic_time() +
                      power->config->action_timeout_ms *
                      G_TIME_SPAN_MILLISECOND;
    power->deadline_timer = g_timeout_add(ms_left(power), timed_out, power);
    power->changed(power->state, power->opaque);
    ask_anew(power);
}

static void power_request(SpicePowerInstance *instance,
                          SpicePowerRequest *request)
{
    Power *power = SPICE_CONTAINEROF(instance, Power, instance);
    gint64 now = g_get_monotonic_time();

    if (power->refusing) {
        complete(power, request, now, FALSE, SPICE_POWER_RESULT_FAILED,
                 power->refusing);
        return;
    }
    if (power->acting) {
        complete(power, request, now, FALSE, SPICE_POWER_RESULT_BUSY,
                 "An earlier action has not ended");
        return;
    }
    power->request = request;
    power->asked_at = now;
    power->begun = FALSE;
    if (!power->held) {
        begin(power);
    }
}

/* By spice-server itself: for the record */
static void power_refused(SpicePowerInstance *instance,
                          const SpicePowerRequest *request, uint32_t result,
                          const char *message)
{
    Power *power = SPICE_CONTAINEROF(instance, Power, instance);

    audit_request(power->audit, request, result, message, 0, TRUE);
}

static uint32_t power_allowed(SpicePowerInstance *instance,
                              const SpicePowerClient *client,
                              const char **reason)
{
    Power *power = SPICE_CONTAINEROF(instance, Power, instance);

    return rights_actions(power->config, power->ticketed, client, reason);
}

/* --- the state ----------------------------------------------------------- */

static void status_done(const BackendStatus *status, gpointer opaque);

/* If it is being asked for already, that answer will do */
static void ask(gpointer opaque)
{
    Power *power = opaque;

    if (power->asking ||
        !power->backend->methods->can_ask(power->backend)) {
        return;
    }
    polls_begin(power->polls);
    power->asking = TRUE;
    power->told = power->outdated = FALSE;
    power->backend->methods->status(power->backend, status_done, power);
}

/*
 * For a request, which continues with what there is to know: an answer to a
 * question that was asked before is too old. One that has refused is left
 * alone, and whoever asks for something is told why.
 */
static void ask_anew(Power *power)
{
    const BackendMethods *methods = power->backend->methods;

    if (!methods->can_ask(power->backend)) {
        if (methods->refresh && !power->trouble) {
            power->awaiting = TRUE;
            methods->refresh(power->backend);
        } else {
            continue_request(power);
        }
    } else if (power->asking) {
        power->outdated = TRUE;
    } else if (polls_may_ask(power->polls)) {
        ask(power);
    } else {
        continue_request(power);
    }
}

static PollHurry hurry(Power *power)
{
    if (power_is_acting(power) && (power->step == STEP_EFFECT ||
                                   power->step == STEP_LOOK)) {
        return POLL_EFFECT;
    }
    if (is_changing(power)) {
        return POLL_CHANGING;
    }
    return power->backend->methods->is_told &&
           power->backend->methods->is_told(power->backend)
           ? POLL_TOLD : POLL_NOW_AND_THEN;
}

/* What happens may be told from now on, or no more */
static void wait_anew(Power *power)
{
    if (power->backend->methods->is_told && polls_is_waiting(power->polls)) {
        polls_wait(power->polls, hurry(power));
    }
}

static void status_done(const BackendStatus *status, gpointer opaque)
{
    Power *power = opaque;

    power->asking = FALSE;
    if (power->told && !status->trouble && status->state != power->state) {
        ask(power);             /* it may be the older one of the two */
        return;
    }
    if (polls_end(power->polls, status)) {
        ask(power);
        return;
    }
    set_trouble(power, status->trouble);
    set_status(power, status);
    if (power->outdated && power_is_acting(power) &&
        polls_may_ask(power->polls)) {
        ask(power);
        return;
    }
    continue_request(power);
    if (!power->asking) {
        polls_wait(power->polls, hurry(power));
    }
}

static void status_changed(const BackendStatus *status, gpointer opaque)
{
    Power *power = opaque;

    if (!power->backend->methods->can_ask(power->backend)) {
        set_trouble(power, status->trouble);
    } else if (status->trouble) {
        /* it's asked for, if it was not before */
        if (!polls_is_waiting(power->polls)) {
            ask(power);
        }
        wait_anew(power);
        return;
    }
    power->told = TRUE;
    set_status(power, status);
    if (power_is_acting(power) && (power->step == STEP_EFFECT ||
                                   power->awaiting)) {
        continue_request(power);
    }
    wait_anew(power);
}

/* ------------------------------------------------------------------------- */

Power *power_new(const MachineConfig *config, Backend *backend,
                 PowerChanged changed, gpointer opaque)
{
    static const SpicePowerInterface interface = {
        .base.type = SPICE_INTERFACE_POWER,
        .base.description = "spice-gateway power control",
        .base.major_version = SPICE_INTERFACE_POWER_MAJOR,
        .base.minor_version = SPICE_INTERFACE_POWER_MINOR,
        .request = power_request,
        .refused = power_refused,
        .allowed = power_allowed,
    };
    Power *power = g_new0(Power, 1);

    power->instance.base.sif = &interface.base;
    power->config = config;
    power->backend = backend;
    power->changed = changed;
    power->opaque = opaque;
    power->polls = polls_new(config, ask, power);
    power->audit = audit_new(config->name);
    power->state = SPICE_POWER_STATE_UNKNOWN;
    power->possible = backend_possible(power->state);
    return power;
}

void power_watch(Power *power)
{
    const BackendMethods *methods = power->backend->methods;

    if (methods->watch) {
        methods->watch(power->backend, status_changed, power);
    }
    ask(power);
}

void power_set_attended(Power *power, gboolean is_attended)
{
    const BackendMethods *methods = power->backend->methods;

    polls_set_attended(power->polls, is_attended);
    /* with a console there is more to it than clients */
    if (methods->attend && !methods->watch_console) {
        methods->attend(power->backend, is_attended);
    }
}

Audit *power_audit(const Power *power)
{
    return power->audit;
}

guint32 power_state(const Power *power)
{
    return power->state;
}

const char *power_trouble(const Power *power)
{
    return power->trouble;
}

gboolean power_is_acting(const Power *power)
{
    return power->request && power->begun;
}

void power_set_held(Power *power, gboolean held)
{
    power->held = held;
    if (!held && power->request && !power->begun) {
        begin(power);
    }
}

void power_drop_held(Power *power)
{
    if (power->request && !power->begun) {
        finish(power, SPICE_POWER_RESULT_FAILED,
               "It goes to the machine's own server");
    }
}

gboolean power_is_answered(const Power *power)
{
    return power->answered;
}

gboolean power_attach(Power *power, SpiceServer *server, GError **error)
{
    power->instance.actions =
        power->config->actions &
        power->backend->methods->supported(power->backend);
    if (spice_server_add_interface(server, &power->instance.base) != 0) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "spice-server does not"
                            " take the power interface");
        return FALSE;
    }
    power->attached = TRUE;
    report(power);
    return TRUE;
}

void power_set_ticketed(Power *power, gboolean ticketed)
{
    if (ticketed != power->ticketed) {
        power->ticketed = ticketed;
        power_update_rights(power);
    }
}

void power_update_rights(Power *power)
{
    if (power->attached) {
        spice_server_power_update_allowed(&power->instance);
    }
}

void power_refuse(Power *power, const char *reason)
{
    if (!power->attached) {
        return;
    }
    g_free(power->refusing);
    power->refusing = g_strdup(reason);
    if (power->request) {
        finish(power, SPICE_POWER_RESULT_FAILED, reason);
    }
}

gboolean power_is_unsent(Power *power)
{
    return power->attached && spice_server_power_is_unsent(&power->instance);
}

void power_detach(Power *power)
{
    if (!power->attached) {
        return;
    }
    g_assert(!power->request);  /* power_refuse() has answered it */
    power->attached = FALSE;
    spice_server_remove_interface(&power->instance.base);
    g_clear_pointer(&power->refusing, g_free);
}

void power_free(Power *power)
{
    g_assert(!power->attached);
    polls_free(power->polls);
    audit_free(power->audit);
    g_free(power->trouble);
    g_free(power->failed_message);
    g_free(power);
}
