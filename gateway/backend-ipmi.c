/*
 * Power by a BMC that speaks IPMI, through ipmitool
 *
 * ipmitool gets the name of the file with the password, not the password: it
 * would be on its command line for everybody to see. There is no such option for
 * the key K_g, so that is in its environment, which its own user sees.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "backend.h"
#include "child.h"
#include "ipmi-failures.h"
#include "names.h"

typedef struct BackendIpmi {
    Backend base;
    const MachineConfig *config;

    /* One of them runs at a time: a BMC may have one session, or lose count */
    Child *asking;
    Child *acting;

    BackendStatusFunc answered;         /* NULL if nobody waits for the state */
    gpointer answered_opaque;

    guint32 action;             /* 0: none */
    BackendResultFunc acted;
    gpointer acted_opaque;
    gint64 deadline;            /* for it, in microseconds */
    guint late_timer;           /* tells that it has passed */
} BackendIpmi;

static Child *run_ipmitool(BackendIpmi *self, const char *word,
                           guint timeout_ms, ChildDone done)
{
    const MachineConfig *config = self->config;
    const struct {
        const char *option;
        const char *value;      /* NULL: without */
    } options[] = {
        { "-U", config->ipmi_user },
        { "-f", config->ipmi_password_file },
        { "-C", config->ipmi_cipher_suite },
        { "-o", config->ipmi_oem },
        { "-t", config->ipmi_target_address },
        { "-b", config->ipmi_target_channel },
        { "-T", config->ipmi_transit_address },
        { "-B", config->ipmi_transit_channel },
    };
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *port = g_strdup_printf("%d", config->ipmi_port);
    gsize i;

#define ADD(option, value) \
    do { \
        g_ptr_array_add(argv, (char *)(option)); \
        g_ptr_array_add(argv, (char *)(value)); \
    } while (0)
    g_ptr_array_add(argv, config->ipmi_program);
    /* Only so it tells a wrong password from a BMC that is not there */
    g_ptr_array_add(argv, (char *)"-v");
    /* Seconds, times; it doubles neither */
    ADD("-N", "1");
    ADD("-R", "3");
    ADD("-I", config->ipmi_interface);
    ADD("-H", config->ipmi_host);
    ADD("-p", port);
    ADD("-L", config->ipmi_privilege);
    for (i = 0; i < G_N_ELEMENTS(options); i++) {
        if (options[i].value) {
            ADD(options[i].option, options[i].value);
        }
    }
    if (config->ipmi_kg) {
        g_ptr_array_add(argv, (char *)"-K");
    }
    ADD("chassis", "power");
    ADD(word, NULL);
#undef ADD
    return child_run_with((char **)argv->pdata, "IPMI_KGKEY", config->ipmi_kg,
                          timeout_ms, NULL, done, self);
}

/* Returns: why it failed; caller frees failure->message */
static IpmiFailure read_failure(BackendIpmi *self, const ChildResult *child,
                                const char *what)
{
    const MachineConfig *config = self->config;
    IpmiFailure failure = {
        .kind = BACKEND_TROUBLE_AWAY,
        .result = SPICE_POWER_RESULT_FAILED,
    };

    if (child->timed_out) {
        failure.message = g_strdup_printf("The BMC %s does not answer: %s",
                                          config->ipmi_host, child->failure);
    } else if (!ipmi_failure_read(&failure, child->errors, config->ipmi_host,
                                  what)) {
        failure.message = g_strdup_printf("%s failed: %s; check [ipmi]"
                                          " ipmitool", config->ipmi_program,
                                          child->failure);
    }
    return failure;
}

/* --- one after the other ------------------------------------------------- */

static void begin_action(BackendIpmi *self);

static void status_done(const ChildResult *child, gpointer opaque)
{
    BackendIpmi *self = opaque;
    BackendStatusFunc answered = self->answered;
    g_autofree char *trouble = NULL;
    BackendStatus status = { .state = SPICE_POWER_STATE_UNKNOWN };

    self->asking = NULL;
    self->answered = NULL;
    if (self->action) {
        begin_action(self);
    }
    if (!child->ok) {
        IpmiFailure failure = read_failure(self, child, "its power state");

        trouble = failure.message;
        status.trouble_kind = failure.kind;
    } else if (strstr(child->output, "Power is on")) {
        status.state = SPICE_POWER_STATE_ON;
    } else if (strstr(child->output, "Power is off")) {
        status.state = SPICE_POWER_STATE_OFF;
    } else {
        trouble = g_strdup_printf("%s printed no power state",
                                  self->config->ipmi_program);
        status.trouble_kind = BACKEND_TROUBLE_PASSING;
    }
    status.possible = backend_possible(status.state);
    status.trouble = trouble;
    answered(&status, self->answered_opaque);
}

static void begin_status(BackendIpmi *self)
{
    self->asking = run_ipmitool(self, "status", self->config->query_timeout_ms,
                                status_done);
}

static void action_done(const ChildResult *child, gpointer opaque)
{
    BackendIpmi *self = opaque;
    IpmiFailure failure = { .result = SPICE_POWER_RESULT_OK };
    g_autofree char *message = NULL;

    self->acting = NULL;
    if (!child->ok) {
        failure = read_failure(self, child, action_name(self->action));
        message = failure.message;
    }
    self->action = 0;
    if (self->answered) {
        begin_status(self);
    }
    self->acted(failure.result, message ?: "", self->acted_opaque);
}

static gboolean is_too_late(gpointer opaque)
{
    BackendIpmi *self = opaque;
    g_autofree char *message = g_strdup_printf(
        "Nothing was done: the BMC %s has not answered in time what it was"
        " asked before", self->config->ipmi_host);

    self->late_timer = 0;
    self->acted(SPICE_POWER_RESULT_FAILED, message, self->acted_opaque);
    return G_SOURCE_REMOVE;
}

static void begin_action(BackendIpmi *self)
{
    gint64 left = (self->deadline - g_get_monotonic_time()) / 1000;
    const char *word = self->action == SPICE_POWER_ACTION_OFF ? "off" :
                       self->action == SPICE_POWER_ACTION_ON ? "on" :
                       self->config->ipmi_reset;

    if (left <= 0) {
        self->action = 0;
        self->late_timer = g_idle_add(is_too_late, self);
        return;
    }
    self->acting = run_ipmitool(self, word,
                                MIN(self->config->query_timeout_ms, left),
                                action_done);
}

/* ------------------------------------------------------------------------- */

static guint32 ipmi_supported(Backend *backend)
{
    return SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
           SPICE_POWER_ACTION_ON;
}

static gboolean ipmi_can_ask(Backend *backend)
{
    return TRUE;
}

static void ipmi_status(Backend *backend, BackendStatusFunc done,
                        gpointer opaque)
{
    BackendIpmi *self = (BackendIpmi *)backend;

    self->answered = done;
    self->answered_opaque = opaque;
    if (!self->acting) {
        begin_status(self);
    }
}

static void ipmi_action(Backend *backend, guint32 action, guint timeout_ms,
                        BackendResultFunc done, gpointer opaque)
{
    BackendIpmi *self = (BackendIpmi *)backend;

    self->acted = done;
    self->acted_opaque = opaque;
    self->action = action;
    self->deadline = g_get_monotonic_time() +
                     timeout_ms * G_TIME_SPAN_MILLISECOND;
    if (!self->asking) {
        begin_action(self);
    }
}

static void ipmi_free(Backend *backend)
{
    BackendIpmi *self = (BackendIpmi *)backend;

    g_clear_pointer(&self->asking, child_cancel);
    g_clear_pointer(&self->acting, child_cancel);
    g_clear_handle_id(&self->late_timer, g_source_remove);
    g_free(self);
}

Backend *backend_ipmi_new(const MachineConfig *config)
{
    static const BackendMethods methods = {
        .supported = ipmi_supported,
        .can_ask = ipmi_can_ask,
        .status = ipmi_status,
        .action = ipmi_action,
        .free = ipmi_free,
    };
    BackendIpmi *self = g_new0(BackendIpmi, 1);

    self->base.methods = &methods;
    self->config = config;
    return &self->base;
}
