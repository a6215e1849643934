/*
 * An action of a system of a Redfish service, up to its end
 *
 * A service may do it before it answers, or answer with a task (202) that is
 * looked at until it has ended. Whether the machine follows is not looked at
 * here, but for a reset that is ForceOff and On.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "names.h"
#include "redfish-action.h"
#include "redfish-json.h"

/* How often a task is looked at, or a machine that is to go off */
#define LOOK_MS 500
/* A service may say that it takes longer */
#define MAX_LOOK_MS 5000

typedef enum Step {
    STEP_ONLY,                  /* one request does it */
    STEP_OFF,                   /* a reset's first half */
    STEP_ON,                    /* and its second one */
} Step;

struct RedfishAction {
    RedfishClient *client;
    RedfishSystem *system;
    const MachineConfig *config;
    guint32 action;
    Step step;
    gint64 deadline;
    char *monitor;              /* the task's path, or NULL */
    char *last_words;           /* what the task has said, or NULL */

    RedfishLook *look;
    RedfishOp *op;
    guint timer;
    BackendResultFunc done;
    gpointer opaque;
};

static void ask(RedfishAction *self, guint32 action);
static void look(RedfishAction *self, BackendStatusFunc done);

void redfish_action_cancel(RedfishAction *self)
{
    g_clear_pointer(&self->look, redfish_look_cancel);
    g_clear_pointer(&self->op, redfish_op_cancel);
    g_clear_handle_id(&self->timer, g_source_remove);
    g_free(self->monitor);
    g_free(self->last_words);
    g_free(self);
}

static void finish(RedfishAction *self, guint32 result, const char *message)
{
    BackendResultFunc done = self->done;
    gpointer opaque = self->opaque;
    g_autofree char *text = self->step == STEP_ON &&
                            result != SPICE_POWER_RESULT_OK
        ? g_strdup_printf("It has been powered off, but not on again: %s",
                          message) : g_strdup(message);

    redfish_action_cancel(self);
    done(result, text, opaque);
}

static void fail(RedfishAction *self, guint32 result, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* As a sentence about the service */
static void fail(RedfishAction *self, guint32 result, const char *format, ...)
{
    g_autofree char *text = NULL, *message = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    message = g_strdup_printf("The Redfish service %s %s",
                              redfish_client_name(self->client), text);
    finish(self, result, message);
}

static gboolean is_over(const RedfishAction *self)
{
    return g_get_monotonic_time() >= self->deadline;
}

/* For one request of it */
static gint64 request_deadline(const RedfishAction *self)
{
    return MIN(self->deadline, g_get_monotonic_time() +
               self->config->query_timeout_ms * G_TIME_SPAN_MILLISECOND);
}

static void later(RedfishAction *self, guint ms, GSourceFunc call)
{
    self->timer = g_timeout_add(MIN(ms, redfish_ms_left(self->deadline)), call,
                                self);
}

/* --- a reset that is two ------------------------------------------------- */

static void looked_whether_off(const BackendStatus *status, gpointer opaque);

static gboolean look_whether_off(gpointer opaque)
{
    RedfishAction *self = opaque;

    self->timer = 0;
    look(self, looked_whether_off);
    return G_SOURCE_REMOVE;
}

static void looked_whether_off(const BackendStatus *status, gpointer opaque)
{
    RedfishAction *self = opaque;

    self->look = NULL;
    if (status->state == SPICE_POWER_STATE_OFF && !status->is_changing) {
        self->step = STEP_ON;
        ask(self, SPICE_POWER_ACTION_ON);
    } else if (is_over(self)) {
        g_autofree char *message = g_strdup_printf(
            "The machine did not power off in time, and was not powered on"
            " again%s%s", status->trouble ? ": " : "", status->trouble ?: "");

        finish(self, SPICE_POWER_RESULT_FAILED, message);
    } else {
        later(self, LOOK_MS, look_whether_off);
    }
}

/* What has been asked for is done */
static void succeed(RedfishAction *self)
{
    g_clear_pointer(&self->monitor, g_free);
    redfish_system_touch(self->system);
    if (self->step == STEP_OFF) {
        look(self, looked_whether_off);
    } else {
        finish(self, SPICE_POWER_RESULT_OK, "");
    }
}

/* --- a task -------------------------------------------------------------- */

static void got_task(const RedfishReply *reply, gpointer opaque);

static gboolean look_at_task(gpointer opaque)
{
    RedfishAction *self = opaque;

    self->timer = 0;
    self->op = redfish_client_get(self->client, self->monitor, NULL,
                                  request_deadline(self), got_task, self);
    return G_SOURCE_REMOVE;
}

static void look_later(RedfishAction *self, const RedfishReply *reply)
{
    char *words = redfish_json_words(reply->body);

    if (words) {
        g_free(self->last_words);
        self->last_words = words;
    }
    if (is_over(self)) {
        fail(self, SPICE_POWER_RESULT_FAILED, "has not ended %s in time; it may"
             " yet be done%s%s", action_name(self->action),
             self->last_words ? ": " : "", self->last_words ?: "");
    } else {
        later(self, CLAMP(reply->retry_s * 1000, LOOK_MS, MAX_LOOK_MS),
              look_at_task);
    }
}

/* Returns: whether that is a task, of which more is said in @state */
static gboolean is_task(const RedfishReply *reply, const char **state)
{
    const char *type = redfish_json_text(reply->body, "@odata.type");

    *state = redfish_json_text(reply->body, "TaskState");
    return type && g_str_has_prefix(type, "#Task.") && *state;
}

static gboolean has_failed(const RedfishReply *reply, const char *state)
{
    const char *status = redfish_json_text(reply->body, "TaskStatus");

    return !strcmp(state, "Exception") || !strcmp(state, "Killed") ||
           !strcmp(state, "Cancelled") ||
           (!strcmp(state, "Completed") && !g_strcmp0(status, "Critical"));
}

static void got_task(const RedfishReply *reply, gpointer opaque)
{
    RedfishAction *self = opaque;
    const char *state;

    self->op = NULL;
    if (reply->status == 404 || reply->status == 410) {
        /* It has ended, and is forgotten. The machine shows how. */
        succeed(self);
    } else if (reply->trouble && (!reply->status || reply->status >= 500)) {
        /* This one has failed, and not what it was about */
        look_later(self, reply);
    } else if (reply->trouble) {
        finish(self, reply->result, reply->trouble);
    } else if (is_task(reply, &state) && has_failed(reply, state)) {
        g_autofree char *words = redfish_json_words(reply->body);

        fail(self, SPICE_POWER_RESULT_FAILED, "has not done it: the task is"
             " %s%s%s", state, words ? ": " : "", words ?: "");
    } else if (reply->status == 202 ||
               (is_task(reply, &state) && strcmp(state, "Completed"))) {
        look_later(self, reply);
    } else {
        succeed(self);
    }
}

/* --- asking for it ------------------------------------------------------- */

static void asked(const RedfishReply *reply, gpointer opaque)
{
    RedfishAction *self = opaque;

    self->op = NULL;
    /* it may have been done all the same */
    redfish_system_touch(self->system);
    if (reply->trouble) {
        finish(self, reply->result, reply->trouble);
        return;
    }
    if (reply->status == 202) {
        self->monitor = g_strdup(reply->location
                                 ?: redfish_json_text(reply->body,
                                                      "@odata.id"));
    }
    if (self->monitor) {
        look_later(self, reply);
    } else {
        succeed(self);
    }
}

static void ask(RedfishAction *self, guint32 action)
{
    g_autofree char *body = redfish_json_write(
        "ResetType", redfish_system_type(self->system, action), NULL);

    self->op = redfish_client_post(self->client,
                                   redfish_system_reset(self->system), body,
                                   request_deadline(self), asked, self);
}

static void begin(RedfishAction *self)
{
    guint32 first = self->action;

    if (!(redfish_system_actions(self->system) & self->action)) {
        fail(self, SPICE_POWER_RESULT_UNSUPPORTED, "has nothing for %s",
             action_name(self->action));
        return;
    }
    if (!redfish_system_type(self->system, first)) {
        self->step = STEP_OFF;
        first = SPICE_POWER_ACTION_OFF;
    }
    ask(self, first);
}

/* What can be done is known now, or why it's not */
static void looked(const BackendStatus *status, gpointer opaque)
{
    RedfishAction *self = opaque;

    self->look = NULL;
    if (status->trouble && !redfish_system_actions(self->system)) {
        finish(self, SPICE_POWER_RESULT_FAILED, status->trouble);
    } else {
        begin(self);
    }
}

static void look(RedfishAction *self, BackendStatusFunc done)
{
    self->look = redfish_system_look(self->system, request_deadline(self),
                                     done, self);
}

RedfishAction *redfish_action_begin(RedfishClient *client,
                                    RedfishSystem *system,
                                    const MachineConfig *config,
                                    guint32 action, guint timeout_ms,
                                    BackendResultFunc done, gpointer opaque)
{
    RedfishAction *self = g_new0(RedfishAction, 1);

    self->client = client;
    self->system = system;
    self->config = config;
    self->action = action;
    self->deadline = g_get_monotonic_time() +
                     timeout_ms * G_TIME_SPAN_MILLISECOND;
    self->done = done;
    self->opaque = opaque;
    if (redfish_system_actions(system) && redfish_system_type(system, action)) {
        ask(self, action);
    } else {
        look(self, looked);
    }
    return self;
}
