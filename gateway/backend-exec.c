/*
 * Power by programs of the administrator's: one for each action, one for the
 * state, or one that tells the state whenever it changes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "backend.h"
#include "child.h"

/* The first second after a watch has ended, and the longest wait after many */
#define WATCH_BACKOFF_MS     1000
#define WATCH_BACKOFF_MAX_MS 60000

static const struct {
    const char *word;
    guint32 state;
} states[] = {
    { "off", SPICE_POWER_STATE_OFF },
    { "on", SPICE_POWER_STATE_ON },
    { "paused", SPICE_POWER_STATE_PAUSED },
    { "suspended", SPICE_POWER_STATE_SUSPENDED },
    { "crashed", SPICE_POWER_STATE_CRASHED },
    { "unknown", SPICE_POWER_STATE_UNKNOWN },
};

/* The first word of a text; caller frees */
static char *first_word(const char *text)
{
    text += strspn(text, " \t\r\n");
    return g_strndup(text, MIN(strcspn(text, " \t\r\n"), 32));
}

static gboolean parse_state(const char *text, guint32 *state)
{
    g_autofree char *word = first_word(text);
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(states); i++) {
        if (!g_ascii_strcasecmp(word, states[i].word)) {
            *state = states[i].state;
            return TRUE;
        }
    }
    return FALSE;
}

typedef struct Run {
    const char *what;
    BackendDone done;
    gpointer opaque;
} Run;

/* Returns: the first line of what a program says on standard error, or NULL */
static char *first_error(const ChildResult *result)
{
    g_autofree char *said = g_strndup(result->errors,
                                      strcspn(result->errors, "\r\n"));

    return *g_strstrip(said) ? g_utf8_make_valid(said, -1) : NULL;
}

/* The reason: what the program says on standard error, else how it ended */
static char *reason(const Run *run, const ChildResult *result)
{
    char *said = result->timed_out ? NULL : first_error(result);

    return said ?: g_strdup_printf("The program for %s failed: %s", run->what,
                                   result->failure);
}

static void status_done(const ChildResult *result, gpointer opaque)
{
    g_autofree Run *run = opaque;
    g_autofree char *message = NULL;
    guint32 state = SPICE_POWER_STATE_UNKNOWN;

    if (!result->ok) {
        message = reason(run, result);
    } else if (!parse_state(result->output, &state)) {
        /* In a pipeline it's not the first program that decides on ok */
        message = first_error(result) ?:
                  g_strdup("The program for the status did not print on, off,"
                           " paused, suspended, crashed or unknown");
    }
    run->done(message ? SPICE_POWER_RESULT_FAILED : SPICE_POWER_RESULT_OK,
              message ?: "", state, run->opaque);
}

static void action_done(const ChildResult *result, gpointer opaque)
{
    g_autofree Run *run = opaque;
    g_autofree char *message = result->ok ? NULL : reason(run, result);

    run->done(message ? SPICE_POWER_RESULT_FAILED : SPICE_POWER_RESULT_OK,
              message ?: "", SPICE_POWER_STATE_UNKNOWN, run->opaque);
}

static char **program(const Config *config, guint32 action)
{
    switch (action) {
    case SPICE_POWER_ACTION_RESET:
        return config->exec_reset;
    case SPICE_POWER_ACTION_OFF:
        return config->exec_power_off;
    case SPICE_POWER_ACTION_ON:
        return config->exec_power_on;
    default:
        return NULL;
    }
}

static guint32 exec_supported(const Config *config)
{
    guint32 action, actions = 0;

    for (action = SPICE_POWER_ACTION_RESET;
         action <= SPICE_POWER_ACTION_CONTINUE; action <<= 1) {
        if (program(config, action)) {
            actions |= action;
        }
    }
    return actions;
}

static gboolean exec_can_ask(const Config *config)
{
    return config->exec_status != NULL;
}

static Run *run_new(const char *what, BackendDone done, gpointer opaque)
{
    Run *run = g_new0(Run, 1);

    run->what = what;
    run->done = done;
    run->opaque = opaque;
    return run;
}

static void exec_status(const Config *config, BackendDone done,
                        gpointer opaque)
{
    child_run(config->exec_status, config->query_timeout_ms, NULL, status_done,
              run_new("the status", done, opaque));
}

static void exec_action(const Config *config, guint32 action, guint timeout_ms,
                        BackendDone done, gpointer opaque)
{
    const char *what = action == SPICE_POWER_ACTION_RESET ? "reset" :
                       action == SPICE_POWER_ACTION_OFF ? "power-off" :
                       "power-on";

    child_run(program(config, action), timeout_ms, NULL, action_done,
              run_new(what, done, opaque));
}

typedef struct Watch {
    const Config *config;
    BackendPushed pushed;
    gpointer opaque;
    guint backoff_ms;
} Watch;

static gboolean watch_start(gpointer opaque);

static void watch_line(const char *line, gpointer opaque)
{
    Watch *watch = opaque;
    guint32 state;

    if (parse_state(line, &state)) {
        watch->backoff_ms = WATCH_BACKOFF_MS;
        watch->pushed(state, NULL, watch->opaque);
    }
}

static void watch_done(const ChildResult *result, gpointer opaque)
{
    Watch *watch = opaque;
    g_autofree char *said = first_error(result);
    g_autofree char *message = g_strdup_printf(
        "The program for watch has ended: %s",
        said ?: result->failure ?: "exit status 0");

    g_warning("%s; next try in %g s", message, watch->backoff_ms / 1000.0);
    watch->pushed(SPICE_POWER_STATE_UNKNOWN, message, watch->opaque);
    g_timeout_add(watch->backoff_ms, watch_start, watch);
    watch->backoff_ms = MIN(2 * watch->backoff_ms, WATCH_BACKOFF_MAX_MS);
}

static gboolean watch_start(gpointer opaque)
{
    Watch *watch = opaque;

    child_run(watch->config->exec_watch, 0, watch_line, watch_done, watch);
    return G_SOURCE_REMOVE;
}

static void exec_watch(const Config *config, BackendPushed pushed,
                       gpointer opaque)
{
    static Watch watch;

    if (config->exec_watch) {
        watch.config = config;
        watch.pushed = pushed;
        watch.opaque = opaque;
        watch.backoff_ms = WATCH_BACKOFF_MS;
        watch_start(&watch);
    }
}

const Backend backend_exec = {
    .supported = exec_supported,
    .can_ask = exec_can_ask,
    .watch = exec_watch,
    .status = exec_status,
    .action = exec_action,
};
