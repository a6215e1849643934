/*
 * A machine whose power is that of the Redfish service in the process
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_REDFISH_HOST_H
#define GATEWAY_TESTS_REDFISH_HOST_H

#include <string.h>

#include "backend.h"
#include "fake-redfish.h"
#include "loop.h"

enum {
    RESET = SPICE_POWER_ACTION_RESET, OFF = SPICE_POWER_ACTION_OFF,
    ON = SPICE_POWER_ACTION_ON, PAUSE = SPICE_POWER_ACTION_PAUSE,
    CONTINUE = SPICE_POWER_ACTION_CONTINUE,
};
enum {
    IS_UNKNOWN = SPICE_POWER_STATE_UNKNOWN, IS_OFF = SPICE_POWER_STATE_OFF,
    IS_ON = SPICE_POWER_STATE_ON, IS_PAUSED = SPICE_POWER_STATE_PAUSED,
};

typedef struct Host {
    FakeRedfish *fake;
    MachineConfig config;
    Backend *backend;
    /* What it has told last */
    guint answers, changes, results;
    guint32 state, possible;
    gboolean is_changing;
    char *trouble;
    BackendTrouble kind;
    guint32 result;
    char *message;
} Host;

static inline void keep_status(Host *host, const BackendStatus *status)
{
    host->state = status->state;
    host->possible = status->possible;
    host->is_changing = status->is_changing;
    host->kind = status->trouble_kind;
    g_free(host->trouble);
    host->trouble = g_strdup(status->trouble);
    /* nothing is worse than a password in the log */
    g_assert_true(!host->trouble || !strstr(host->trouble, FAKE_PASSWORD));
}

static inline void host_answered(const BackendStatus *status, gpointer opaque)
{
    Host *host = opaque;

    host->answers++;
    keep_status(host, status);
}

static inline void host_changed(const BackendStatus *status, gpointer opaque)
{
    Host *host = opaque;

    host->changes++;
    keep_status(host, status);
}

static inline void host_acted(guint32 result, const char *message,
                              gpointer opaque)
{
    Host *host = opaque;

    host->results++;
    host->result = result;
    g_free(host->message);
    host->message = g_strdup(message);
}

/* Before host_begin() a test changes what it likes, in both of its parts */
static inline void host_set_up(Host *host, GTlsCertificate *certificate)
{
    host->fake = fake_redfish_new(certificate);
    host->config.name = (char *)"machine";
    host->config.backend = BACKEND_REDFISH;
    host->config.query_timeout_ms = HANG_S * 1000;
    host->config.action_timeout_ms = HANG_S * 1000;
    host->config.redfish_url = host->fake->url;
    host->config.redfish_user = (char *)FAKE_USER;
    host->config.redfish_password = (char *)FAKE_PASSWORD;
    host->config.redfish_events = TRUE;
}

static inline void host_begin(Host *host)
{
    g_autoptr(GError) error = NULL;

    host->backend = backend_new(&host->config, &error);
    g_assert_no_error(error);
}

/* As at the end of the program: it says good-bye */
static inline void host_end(Host *host)
{
    if (host->backend) {
        host->backend->methods->free(host->backend);
        host->backend = NULL;
    }
    RUN_UNTIL(!backend_is_leaving());
}

static inline void host_clear(Host *host)
{
    host_end(host);
    run_what_is_due();
    fake_redfish_free(host->fake);
    g_free(host->trouble);
    g_free(host->message);
    *host = (Host) { 0 };
}

static inline void host_ask(Host *host)
{
    guint answers = host->answers;

    host->backend->methods->status(host->backend, host_answered, host);
    g_assert_cmpuint(host->answers, ==, answers);       /* later */
}

static inline guint32 host_state(Host *host)
{
    guint answers = host->answers;

    host_ask(host);
    RUN_UNTIL(host->answers > answers);
    g_assert_cmpuint(host->answers, ==, answers + 1);
    return host->state;
}

static inline void host_act(Host *host, guint32 action, guint timeout_ms)
{
    guint results = host->results;

    host->backend->methods->action(host->backend, action, timeout_ms,
                                   host_acted, host);
    g_assert_cmpuint(host->results, ==, results);       /* later */
}

static inline guint32 host_result(Host *host, guint32 action)
{
    guint results = host->results;

    host_act(host, action, HANG_S * 1000);
    RUN_UNTIL(host->results > results);
    g_assert_cmpuint(host->results, ==, results + 1);
    return host->result;
}

/* It says so, and of what kind that is */
#define CHECK_TROUBLE(host, text, its_kind) \
    do { \
        g_assert_cmpuint(host_state(host), ==, IS_UNKNOWN); \
        g_assert_nonnull((host)->trouble); \
        if (!strstr((host)->trouble, text)) { \
            g_error("'%s' is not in '%s'", text, (host)->trouble); \
        } \
        g_assert_cmpint((host)->kind, ==, BACKEND_TROUBLE_ ## its_kind); \
    } while (0)

#endif
