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

typedef struct Run {
    const Config *config;
    BackendDone done;
    gpointer opaque;
} Run;

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

static char *reason(const Run *run, const ChildResult *child, guint32 *result)
{
    const char *host = run->config->ipmi_host;
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
    return g_strdup_printf("%s failed: %s", run->config->ipmi_program,
                           child->failure);
}

static void status_done(const ChildResult *child, gpointer opaque)
{
    g_autofree Run *run = opaque;
    g_autofree char *message = NULL;
    guint32 state = SPICE_POWER_STATE_UNKNOWN;
    guint32 result = SPICE_POWER_RESULT_OK;

    if (!child->ok) {
        message = reason(run, child, &result);
    } else if (strstr(child->output, "Power is on")) {
        state = SPICE_POWER_STATE_ON;
    } else if (strstr(child->output, "Power is off")) {
        state = SPICE_POWER_STATE_OFF;
    } else {
        result = SPICE_POWER_RESULT_FAILED;
        message = g_strdup_printf("%s printed no power state",
                                  run->config->ipmi_program);
    }
    run->done(result, message ?: "", state, run->opaque);
}

static void action_done(const ChildResult *child, gpointer opaque)
{
    g_autofree Run *run = opaque;
    g_autofree char *message = NULL;
    guint32 result = SPICE_POWER_RESULT_OK;

    if (!child->ok) {
        message = reason(run, child, &result);
    }
    run->done(result, message ?: "", SPICE_POWER_STATE_UNKNOWN, run->opaque);
}

static void run_ipmitool(const Config *config, const char *word,
                         guint timeout_ms, ChildDone child_done,
                         BackendDone done, gpointer opaque)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *port = g_strdup_printf("%d", config->ipmi_port);
    Run *run = g_new0(Run, 1);

    run->config = config;
    run->done = done;
    run->opaque = opaque;
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
    child_run((char **)argv->pdata, timeout_ms, NULL, child_done, run);
}

static guint32 ipmi_supported(const Config *config)
{
    return SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
           SPICE_POWER_ACTION_ON;
}

static gboolean ipmi_can_ask(const Config *config)
{
    return TRUE;
}

static void ipmi_status(const Config *config, BackendDone done,
                        gpointer opaque)
{
    run_ipmitool(config, "status", config->query_timeout_ms, status_done, done,
                 opaque);
}

static void ipmi_action(const Config *config, guint32 action, guint timeout_ms,
                        BackendDone done, gpointer opaque)
{
    run_ipmitool(config, action == SPICE_POWER_ACTION_RESET ? "reset" :
                         action == SPICE_POWER_ACTION_OFF ? "off" : "on",
                 MIN(config->query_timeout_ms, timeout_ms), action_done, done, opaque);
}

const Backend backend_ipmi = {
    .supported = ipmi_supported,
    .can_ask = ipmi_can_ask,
    .status = ipmi_status,
    .action = ipmi_action,
};
