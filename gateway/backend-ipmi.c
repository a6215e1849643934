/*
 * Power by a BMC that speaks IPMI, through ipmitool
 *
 * ipmitool gets the name of the file with the password, not the password: it
 * would be on its command line for everybody to see.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "backend.h"
#include "child.h"

typedef struct BackendIpmi {
    Backend base;
    const MachineConfig *config;

    Child *asking;              /* NULL if the state is not asked for */
    BackendStatusFunc answered;
    gpointer answered_opaque;

    Child *acting;              /* NULL if there is no action */
    BackendResultFunc acted;
    gpointer acted_opaque;
} BackendIpmi;

/*
 * What ipmitool says on standard error, and what that means to the one who
 * reads it; %s is the BMC's name. The first that is found is it.
 */
static const struct {
    const char *said;
    guint32 result;
    const char *meaning;
} failures[] = {
    { "unauthorized name", SPICE_POWER_RESULT_FAILED,
      "The BMC %s does not know the user: check [ipmi] user" },
    { "HMAC is invalid", SPICE_POWER_RESULT_FAILED,
      "The BMC %s does not accept the password: check [ipmi] password-file" },
    { "password invalid", SPICE_POWER_RESULT_FAILED,
      "The BMC %s does not accept the password: check [ipmi] password-file" },
    { "unauthorized role", SPICE_POWER_RESULT_DENIED,
      "The BMC %s does not allow the user this privilege: check [ipmi]"
      " privilege and the user's rights" },
    { "invalid authentication algorithm", SPICE_POWER_RESULT_FAILED,
      "The BMC %s does not take the cipher suite: check [ipmi] cipher-suite" },
    { "invalid integrity algorithm", SPICE_POWER_RESULT_FAILED,
      "The BMC %s does not take the cipher suite: check [ipmi] cipher-suite" },
    { "invalid confidentiality algorithm", SPICE_POWER_RESULT_FAILED,
      "The BMC %s does not take the cipher suite: check [ipmi] cipher-suite" },
    { "failed: Insufficient privilege", SPICE_POWER_RESULT_DENIED,
      "The BMC %s does not allow the user to do this: check [ipmi] privilege"
      " and the user's rights" },
    { "Unable to read password", SPICE_POWER_RESULT_FAILED,
      "The password for the BMC %s can't be read: check [ipmi]"
      " password-file" },
    { "Address lookup", SPICE_POWER_RESULT_FAILED,
      "The BMC's name %s can't be resolved: check [ipmi] host" },
    { "Could not open socket", SPICE_POWER_RESULT_FAILED,
      "The BMC's name %s can't be resolved: check [ipmi] host" },
    { "failed: Invalid command", SPICE_POWER_RESULT_UNSUPPORTED,
      "The BMC %s can't do this" },
    { "Unable to establish", SPICE_POWER_RESULT_FAILED,
      "The BMC %s does not answer: check that it is on the network, and [ipmi]"
      " host and port" },
};

static char *reason(BackendIpmi *self, const ChildResult *child,
                    guint32 *result)
{
    const char *host = self->config->ipmi_host;
    g_auto(GStrv) lines = NULL;
    gsize i;

    *result = SPICE_POWER_RESULT_FAILED;
    if (child->timed_out) {
        return g_strdup_printf("The BMC %s does not answer: %s", host,
                               child->failure);
    }
    for (i = 0; i < G_N_ELEMENTS(failures); i++) {
        if (strstr(child->errors, failures[i].said)) {
            *result = failures[i].result;
            return g_strdup_printf(failures[i].meaning, host);
        }
    }
    /* What was wrong in the end is in the last line that is not empty */
    lines = g_strsplit(child->errors, "\n", 0);
    for (i = g_strv_length(lines); i > 0; i--) {
        if (*g_strstrip(lines[i - 1])) {
            g_autofree char *said = g_utf8_make_valid(lines[i - 1], -1);

            return g_strdup_printf("The BMC %s refuses: %s", host, said);
        }
    }
    return g_strdup_printf("%s failed: %s", self->config->ipmi_program,
                           child->failure);
}

static void status_done(const ChildResult *child, gpointer opaque)
{
    BackendIpmi *self = opaque;
    g_autofree char *trouble = NULL;
    BackendStatus status = { .state = SPICE_POWER_STATE_UNKNOWN };
    guint32 unused;

    self->asking = NULL;
    if (!child->ok) {
        trouble = reason(self, child, &unused);
    } else if (strstr(child->output, "Power is on")) {
        status.state = SPICE_POWER_STATE_ON;
    } else if (strstr(child->output, "Power is off")) {
        status.state = SPICE_POWER_STATE_OFF;
    } else {
        trouble = g_strdup_printf("%s printed no power state",
                                  self->config->ipmi_program);
    }
    status.possible = backend_possible(status.state);
    status.trouble = trouble;
    self->answered(&status, self->answered_opaque);
}

static void action_done(const ChildResult *child, gpointer opaque)
{
    BackendIpmi *self = opaque;
    g_autofree char *message = NULL;
    guint32 result = SPICE_POWER_RESULT_OK;

    self->acting = NULL;
    if (!child->ok) {
        message = reason(self, child, &result);
    }
    self->acted(result, message ?: "", self->acted_opaque);
}

static Child *run_ipmitool(BackendIpmi *self, const char *word,
                           guint timeout_ms, ChildDone done)
{
    const MachineConfig *config = self->config;
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *port = g_strdup_printf("%d", config->ipmi_port);

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
    if (config->ipmi_user) {
        ADD("-U", config->ipmi_user);
    }
    if (config->ipmi_password_file) {
        ADD("-f", config->ipmi_password_file);
    }
    if (config->ipmi_cipher_suite) {
        ADD("-C", config->ipmi_cipher_suite);
    }
    ADD("chassis", "power");
    ADD(word, NULL);
#undef ADD
    return child_run((char **)argv->pdata, timeout_ms, NULL, done, self);
}

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
    self->asking = run_ipmitool(self, "status", self->config->query_timeout_ms,
                                status_done);
}

static void ipmi_action(Backend *backend, guint32 action, guint timeout_ms,
                        BackendResultFunc done, gpointer opaque)
{
    BackendIpmi *self = (BackendIpmi *)backend;

    self->acted = done;
    self->acted_opaque = opaque;
    self->acting = run_ipmitool(
        self, action == SPICE_POWER_ACTION_RESET ? "reset" :
              action == SPICE_POWER_ACTION_OFF ? "off" : "on",
        MIN(self->config->query_timeout_ms, timeout_ms), action_done);
}

static void ipmi_free(Backend *backend)
{
    BackendIpmi *self = (BackendIpmi *)backend;

    g_clear_pointer(&self->asking, child_cancel);
    g_clear_pointer(&self->acting, child_cancel);
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
