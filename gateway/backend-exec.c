/*
 * Power by programs of the administrator's: one for each action, one for the
 * state, or one that tells the state whenever it changes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "backend.h"
#include "child.h"
#include "names.h"

/* The first second after a watch has ended, and the longest wait after many */
#define WATCH_BACKOFF_MS     1000
#define WATCH_BACKOFF_MAX_MS 60000
/* How much is quoted of what is not understood */
#define MAX_QUOTED 60

/*
 * With these it says what kind of trouble it is; they are those of sysexits.h:
 * EX_TEMPFAIL and EX_NOPERM
 */
#define STATUS_AWAY    75
#define STATUS_REFUSED 77

/*
 * What is said beside our own names of states: by Redfish, and by virsh
 * domstate. A machine that is on its way has the state that it had.
 */
static const struct {
    const char *said;
    guint32 state;
    gboolean is_changing;
} more_words[] = {
    { "PoweringOn", SPICE_POWER_STATE_UNKNOWN, TRUE },
    { "PoweringOff", SPICE_POWER_STATE_UNKNOWN, TRUE },
    { "in shutdown", SPICE_POWER_STATE_UNKNOWN, TRUE },
    { "running", SPICE_POWER_STATE_ON, FALSE },
    { "idle", SPICE_POWER_STATE_ON, FALSE },
    { "shut off", SPICE_POWER_STATE_OFF, FALSE },
    { "pmsuspended", SPICE_POWER_STATE_SUSPENDED, FALSE },
    { "no state", SPICE_POWER_STATE_UNKNOWN, FALSE },
};

typedef struct BackendExec {
    Backend base;
    const MachineConfig *config;

    Child *asking;              /* NULL if the state is not asked for */
    BackendStatusFunc answered;
    gpointer answered_opaque;

    Child *acting;              /* NULL if there is no action */
    guint32 action;
    BackendResultFunc acted;
    gpointer acted_opaque;

    Child *watching;            /* NULL if it has ended, or there is none */
    guint watch_timer;          /* then it is started again */
    guint backoff_ms;
    gboolean has_complained;    /* about a line that is no state */
    BackendStatusFunc changed;
    gpointer changed_opaque;
} BackendExec;

static gboolean begins_with(const char *text, const char *words)
{
    gsize size = strlen(words);

    return !g_ascii_strncasecmp(text, words, size) &&
           (!text[size] || g_ascii_isspace(text[size]));
}

/* Returns: FALSE if it does not begin with the words for one */
static gboolean parse_state(const char *text, BackendStatus *status)
{
    g_autofree char *word = NULL;
    gsize i;

    text += strspn(text, " \t\r\n");
    for (i = 0; i < G_N_ELEMENTS(more_words); i++) {
        if (begins_with(text, more_words[i].said)) {
            status->state = more_words[i].state;
            status->is_changing = more_words[i].is_changing;
            return TRUE;
        }
    }
    word = g_strndup(text, MIN(strcspn(text, " \t\r\n"), 32));
    return state_from_name(word, &status->state);
}

/* Returns: its first line, in quotes, or that there is none; caller frees */
static char *quote(const char *text)
{
    g_autofree char *line = NULL, *valid = NULL;
    gsize length;

    text += strspn(text, " \t\r\n");
    length = strcspn(text, "\r\n");
    if (!length) {
        return g_strdup("nothing");
    }
    line = g_strndup(text, MIN(length, MAX_QUOTED));
    valid = g_utf8_make_valid(g_strchomp(line), -1);
    return g_strdup_printf("'%s%s'", valid, length > MAX_QUOTED ? "..." : "");
}

/* Returns: the first line of what a program says on standard error, or NULL */
static char *first_error(const ChildResult *result)
{
    g_autofree char *said = g_strndup(result->errors,
                                      strcspn(result->errors, "\r\n"));

    return *g_strstrip(said) ? g_utf8_make_valid(said, -1) : NULL;
}

/* The reason: what the program says on standard error, else how it ended */
static char *reason(const char *what, const ChildResult *result)
{
    char *said = result->timed_out ? NULL : first_error(result);

    return said ?: g_strdup_printf("The program for %s failed: %s", what,
                                   result->failure);
}

static BackendTrouble trouble_kind(const ChildResult *result)
{
    return result->exit_status == STATUS_REFUSED ? BACKEND_TROUBLE_REFUSED :
           result->exit_status == STATUS_AWAY || result->timed_out
           ? BACKEND_TROUBLE_AWAY : BACKEND_TROUBLE_PASSING;
}

/* --- the state ----------------------------------------------------------- */

static gboolean exec_can_ask(Backend *backend)
{
    BackendExec *self = (BackendExec *)backend;

    return self->config->exec_status != NULL;
}

static void status_done(const ChildResult *result, gpointer opaque)
{
    BackendExec *self = opaque;
    g_autofree char *trouble = NULL;
    BackendStatus status = { .state = SPICE_POWER_STATE_UNKNOWN };

    self->asking = NULL;
    if (!result->ok) {
        trouble = reason("the status", result);
        status.trouble_kind = trouble_kind(result);
    } else if (!parse_state(result->output, &status)) {
        g_autofree char *printed = quote(result->output);

        /* In a pipeline it's not the first program that decides on ok */
        trouble = first_error(result) ?:
                  g_strdup_printf("The program for the status printed %s, not"
                                  " on, off, paused, suspended, crashed or"
                                  " unknown", printed);
        status.trouble_kind = BACKEND_TROUBLE_PASSING;
    }
    status.trouble = trouble;
    status.possible = backend_possible(status.state);
    self->answered(&status, self->answered_opaque);
}

static void exec_status(Backend *backend, BackendStatusFunc done,
                        gpointer opaque)
{
    BackendExec *self = (BackendExec *)backend;

    self->answered = done;
    self->answered_opaque = opaque;
    self->asking = child_run(self->config->exec_status,
                             self->config->query_timeout_ms, NULL, status_done,
                             self);
}

static gboolean watch_start(gpointer opaque);

static void watch_line(const char *line, gpointer opaque)
{
    BackendExec *self = opaque;
    BackendStatus status = { .state = SPICE_POWER_STATE_UNKNOWN };

    if (parse_state(line, &status)) {
        self->backoff_ms = WATCH_BACKOFF_MS;
        status.possible = backend_possible(status.state);
        self->changed(&status, self->changed_opaque);
    } else if (*line && !self->has_complained) {
        g_autofree char *printed = quote(line);

        self->has_complained = TRUE;
        g_warning("%s: the program for watch printed %s, not on, off, paused,"
                  " suspended, crashed or unknown; such lines are passed over",
                  self->config->name, printed);
    }
}

static void watch_done(const ChildResult *result, gpointer opaque)
{
    BackendExec *self = opaque;
    g_autofree char *said = first_error(result);
    g_autofree char *trouble = g_strdup_printf(
        "The program for watch has ended: %s",
        said ?: result->failure ?: "exit status 0");
    const BackendStatus status = {
        .state = SPICE_POWER_STATE_UNKNOWN,
        .possible = backend_possible(SPICE_POWER_STATE_UNKNOWN),
        .trouble = trouble,
    };

    g_warning("%s: %s; next try in %g s", self->config->name, trouble,
              self->backoff_ms / 1000.0);
    self->watching = NULL;
    self->watch_timer = g_timeout_add(self->backoff_ms, watch_start, self);
    self->backoff_ms = MIN(2 * self->backoff_ms, WATCH_BACKOFF_MAX_MS);
    self->changed(&status, self->changed_opaque);
}

static gboolean watch_start(gpointer opaque)
{
    BackendExec *self = opaque;

    self->watch_timer = 0;
    self->watching = child_run(self->config->exec_watch, 0, watch_line,
                               watch_done, self);
    return G_SOURCE_REMOVE;
}

static void exec_watch(Backend *backend, BackendStatusFunc changed,
                       gpointer opaque)
{
    BackendExec *self = (BackendExec *)backend;

    if (self->config->exec_watch) {
        self->changed = changed;
        self->changed_opaque = opaque;
        self->backoff_ms = WATCH_BACKOFF_MS;
        watch_start(self);
    }
}

/* --- actions ------------------------------------------------------------- */

static char **program(BackendExec *self, guint32 action)
{
    switch (action) {
    case SPICE_POWER_ACTION_RESET:
        return self->config->exec_reset;
    case SPICE_POWER_ACTION_OFF:
        return self->config->exec_power_off;
    case SPICE_POWER_ACTION_ON:
        return self->config->exec_power_on;
    case SPICE_POWER_ACTION_PAUSE:
        return self->config->exec_pause;
    case SPICE_POWER_ACTION_CONTINUE:
        return self->config->exec_continue;
    default:
        return NULL;
    }
}

static guint32 exec_supported(Backend *backend)
{
    guint32 action, actions = 0;

    for (action = SPICE_POWER_ACTION_RESET;
         action <= SPICE_POWER_ACTION_CONTINUE; action <<= 1) {
        if (program((BackendExec *)backend, action)) {
            actions |= action;
        }
    }
    return actions;
}

static void action_done(const ChildResult *result, gpointer opaque)
{
    BackendExec *self = opaque;
    g_autofree char *message = NULL;

    self->acting = NULL;
    if (!result->ok) {
        message = reason(action_name(self->action), result);
    }
    self->acted(message ? SPICE_POWER_RESULT_FAILED : SPICE_POWER_RESULT_OK,
                message ?: "", self->acted_opaque);
}

static void exec_action(Backend *backend, guint32 action, guint timeout_ms,
                        BackendResultFunc done, gpointer opaque)
{
    BackendExec *self = (BackendExec *)backend;

    self->action = action;
    self->acted = done;
    self->acted_opaque = opaque;
    self->acting = child_run(program(self, action), timeout_ms, NULL,
                             action_done, self);
}

/* ------------------------------------------------------------------------- */

static void exec_free(Backend *backend)
{
    BackendExec *self = (BackendExec *)backend;

    g_clear_pointer(&self->asking, child_cancel);
    g_clear_pointer(&self->acting, child_cancel);
    g_clear_pointer(&self->watching, child_cancel);
    g_clear_handle_id(&self->watch_timer, g_source_remove);
    g_free(self);
}

Backend *backend_exec_new(const MachineConfig *config)
{
    static const BackendMethods methods = {
        .supported = exec_supported,
        .watch = exec_watch,
        .can_ask = exec_can_ask,
        .status = exec_status,
        .action = exec_action,
        .free = exec_free,
    };
    BackendExec *self = g_new0(BackendExec, 1);

    self->base.methods = &methods;
    self->config = config;
    return &self->base;
}
