/*
 * A system of a Redfish service: what it says of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "redfish-find.h"
#include "redfish-json.h"
#include "redfish-system.h"

/*
 * There are services whose ETag does not change with the state: so long what
 * has not changed by that is taken for the same.
 */
#define TRUST_ETAG_S 30

/* Which ResetTypes do what, the best one first */
static const struct {
    guint32 action;
    const char *types[3];
    gboolean is_common;         /* there even if nothing is said */
} known_types[] = {
    { SPICE_POWER_ACTION_ON, { "On", "ForceOn" }, TRUE },
    { SPICE_POWER_ACTION_OFF, { "ForceOff" }, TRUE },
    { SPICE_POWER_ACTION_RESET, { "ForceRestart", "PowerCycle" }, TRUE },
    { SPICE_POWER_ACTION_PAUSE, { "Pause" }, FALSE },
    { SPICE_POWER_ACTION_CONTINUE, { "Resume" }, FALSE },
};

struct RedfishSystem {
    RedfishClient *client;
    const MachineConfig *config;
    char *path;

    /* What it can do */
    char *reset;                /* the action's target */
    gboolean is_known;          /* which types it has */
    guint32 actions;
    const char *types[G_N_ELEMENTS(known_types)];

    /* What it has said last */
    char *etag;
    gint64 etag_time;
    guint32 state;
    gboolean is_changing;
};

struct RedfishLook {
    RedfishSystem *system;
    gint64 deadline;
    RedfishFind *find;
    RedfishOp *op;
    char *etag;                 /* that it was asked with, or NULL */
    /* What has been found, while the types are asked for */
    BackendStatus status;
    char *trouble;
    BackendStatusFunc done;
    gpointer opaque;
};

RedfishSystem *redfish_system_new(RedfishClient *client,
                                  const MachineConfig *config)
{
    RedfishSystem *system = g_new0(RedfishSystem, 1);

    system->client = client;
    system->config = config;
    return system;
}

/* It is to be found again */
static void forget(RedfishSystem *system)
{
    g_clear_pointer(&system->path, g_free);
    g_clear_pointer(&system->reset, g_free);
    g_clear_pointer(&system->etag, g_free);
    system->is_known = FALSE;
}

void redfish_system_free(RedfishSystem *system)
{
    forget(system);
    g_free(system);
}

const char *redfish_system_path(const RedfishSystem *system)
{
    return system->path;
}

const char *redfish_system_reset(const RedfishSystem *system)
{
    return system->reset;
}

guint32 redfish_system_actions(const RedfishSystem *system)
{
    return system->is_known ? system->actions : 0;
}

const char *redfish_system_type(const RedfishSystem *system, guint32 action)
{
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known_types); i++) {
        if (known_types[i].action == action) {
            return system->types[i];
        }
    }
    return NULL;
}

void redfish_system_touch(RedfishSystem *system)
{
    g_clear_pointer(&system->etag, g_free);
    system->etag_time = g_get_monotonic_time() +
                        system->config->action_timeout_ms *
                        G_TIME_SPAN_MILLISECOND;
}

void redfish_system_doubt(RedfishSystem *system)
{
    g_clear_pointer(&system->etag, g_free);
}

/* --- what it can do ------------------------------------------------------ */

/* @allowed is NULL if that is not said */
static void learn_types(RedfishSystem *system, JsonArray *allowed)
{
    const guint32 both = SPICE_POWER_ACTION_ON | SPICE_POWER_ACTION_OFF;
    gsize i, j;

    system->actions = 0;
    for (i = 0; i < G_N_ELEMENTS(known_types); i++) {
        const char *const *types = known_types[i].types;

        system->types[i] = allowed || !known_types[i].is_common ? NULL
                                                                : types[0];
        for (j = 0; types[j] && !system->types[i]; j++) {
            if (redfish_json_has(allowed, types[j])) {
                system->types[i] = types[j];
            }
        }
        if (system->types[i]) {
            system->actions |= known_types[i].action;
        }
    }
    if ((system->actions & both) == both) {
        system->actions |= SPICE_POWER_ACTION_RESET;
    }
    system->is_known = TRUE;
}

static JsonArray *find_parameter(JsonObject *info)
{
    JsonArray *parameters = redfish_json_array(info, "Parameters");
    guint i;

    for (i = 0; parameters && i < json_array_get_length(parameters); i++) {
        JsonObject *parameter = redfish_json_element(parameters, i);

        if (!g_strcmp0(redfish_json_text(parameter, "Name"), "ResetType")) {
            return redfish_json_array(parameter, "AllowableValues");
        }
    }
    return NULL;
}

/* --- what it says -------------------------------------------------------- */

static void finish(RedfishLook *look)
{
    BackendStatusFunc done = look->done;
    gpointer opaque = look->opaque;
    BackendStatus status = look->status;
    g_autofree char *trouble = g_steal_pointer(&look->trouble);

    status.trouble = trouble;
    status.possible = backend_possible(status.state);
    if (look->system->is_known) {
        status.possible &= look->system->actions;
    }
    redfish_look_cancel(look);
    done(&status, opaque);
}

static void fail(RedfishLook *look, const char *trouble, BackendTrouble kind)
{
    look->status = (BackendStatus) {
        .state = SPICE_POWER_STATE_UNKNOWN,
        .trouble_kind = kind,
    };
    g_free(look->trouble);
    look->trouble = g_strdup(trouble);
    finish(look);
}

/* PoweringOn is off, until it is on */
static gboolean understand_state(RedfishSystem *system, const char *text)
{
    static const struct {
        const char *text;
        guint32 state;
        gboolean is_changing;
    } states[] = {
        { "On", SPICE_POWER_STATE_ON, FALSE },
        { "Off", SPICE_POWER_STATE_OFF, FALSE },
        { "PoweringOn", SPICE_POWER_STATE_OFF, TRUE },
        { "PoweringOff", SPICE_POWER_STATE_ON, TRUE },
        { "Paused", SPICE_POWER_STATE_PAUSED, FALSE },
    };
    gsize i;

    for (i = 0; text && i < G_N_ELEMENTS(states); i++) {
        if (!strcmp(text, states[i].text)) {
            system->state = states[i].state;
            system->is_changing = states[i].is_changing;
            return TRUE;
        }
    }
    return FALSE;
}

static void got_action_info(const RedfishReply *reply, gpointer opaque)
{
    RedfishLook *look = opaque;

    look->op = NULL;
    /* without it there is still the action itself */
    if (!reply->trouble || reply->status == 404) {
        learn_types(look->system, find_parameter(reply->body));
    }
    finish(look);
}

/* Returns: whether there is something to wait for */
static gboolean learn_reset(RedfishLook *look, JsonObject *body)
{
    RedfishSystem *system = look->system;
    JsonObject *reset = redfish_json_object(
        redfish_json_object(body, "Actions"), "#ComputerSystem.Reset");
    JsonArray *allowed = redfish_json_array(
        reset, "ResetType@Redfish.AllowableValues");
    const char *info = redfish_json_text(reset, "@Redfish.ActionInfo");

    g_free(system->reset);
    system->reset = g_strdup(redfish_json_text(reset, "target"));
    if (!system->reset) {
        system->actions = 0;
        system->is_known = TRUE;
    } else if (allowed || !info) {
        learn_types(system, allowed);
    } else if (!system->is_known) {
        look->op = redfish_client_get(system->client, info, NULL,
                                      look->deadline, got_action_info, look);
    }
    return look->op != NULL;
}

static char *describe_state(RedfishSystem *system, JsonObject *body)
{
    const char *text = redfish_json_text(body, "PowerState");
    g_autofree char *shown = text ? g_strndup(text, 40) : NULL;

    return shown
        ? g_strdup_printf("The Redfish service %s says that %s has the"
                          " PowerState '%s', which is not known here",
                          redfish_client_name(system->client), system->path,
                          shown)
        : g_strdup_printf("The Redfish service %s tells no PowerState of %s",
                          redfish_client_name(system->client), system->path);
}

static void get_system(RedfishLook *look);

static void got_system(const RedfishReply *reply, gpointer opaque)
{
    RedfishLook *look = opaque;
    RedfishSystem *system = look->system;

    look->op = NULL;
    if (reply->trouble) {
        if (reply->status == 404) {
            forget(system);
        }
        fail(look, reply->trouble, reply->kind);
        return;
    }
    if (reply->status == 304 && look->etag &&
        g_strcmp0(look->etag, system->etag)) {
        get_system(look);       /* another look has seen something newer */
        return;
    }
    if (reply->status == 304 && look->etag) {
        look->status = (BackendStatus) {
            .state = system->state,
            .is_changing = system->is_changing,
        };
        finish(look);
        return;
    }
    g_clear_pointer(&system->etag, g_free);
    if (understand_state(system, redfish_json_text(reply->body,
                                                   "PowerState"))) {
        look->status.state = system->state;
        look->status.is_changing = system->is_changing;
        if (g_get_monotonic_time() >= system->etag_time) {
            system->etag = g_strdup(reply->etag);
            system->etag_time = g_get_monotonic_time();
        }
    } else {
        look->status.state = SPICE_POWER_STATE_UNKNOWN;
        look->status.trouble_kind = BACKEND_TROUBLE_PASSING;
        look->trouble = describe_state(system, reply->body);
    }
    if (!learn_reset(look, reply->body)) {
        finish(look);
    }
}

/* ------------------------------------------------------------------------- */

static void get_system(RedfishLook *look)
{
    RedfishSystem *system = look->system;
    gint64 age = g_get_monotonic_time() - system->etag_time;

    g_free(look->etag);
    look->etag = age < TRUST_ETAG_S * G_TIME_SPAN_SECOND
                 ? g_strdup(system->etag) : NULL;
    look->op = redfish_client_get(system->client, system->path, look->etag,
                                  look->deadline, got_system, look);
}

static void found(const char *path, const char *trouble, BackendTrouble kind,
                  gpointer opaque)
{
    RedfishLook *look = opaque;

    look->find = NULL;
    if (path) {
        g_free(look->system->path);
        look->system->path = g_strdup(path);
        get_system(look);
    } else {
        fail(look, trouble, kind);
    }
}

RedfishLook *redfish_system_look(RedfishSystem *system, gint64 deadline,
                                 BackendStatusFunc done, gpointer opaque)
{
    RedfishLook *look = g_new0(RedfishLook, 1);

    look->system = system;
    look->deadline = deadline;
    look->done = done;
    look->opaque = opaque;
    if (system->path) {
        get_system(look);
    } else {
        look->find = redfish_find(system->client,
                                  system->config->redfish_system, deadline,
                                  found, look);
    }
    return look;
}

void redfish_look_cancel(RedfishLook *look)
{
    g_clear_pointer(&look->find, redfish_find_cancel);
    g_clear_pointer(&look->op, redfish_op_cancel);
    g_free(look->etag);
    g_free(look->trouble);
    g_free(look);
}
