/*
 * Power of a system of a Redfish service
 *
 * What is asked of the service is in redfish-system.c and redfish-action.c;
 * here it is put together for one machine.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "backend.h"
#include "redfish-action.h"
#include "redfish-events.h"

typedef struct BackendRedfish {
    Backend base;
    const MachineConfig *config;
    RedfishClient *client;
    RedfishSystem *system;

    RedfishLook *asking;        /* NULL if the state is not asked for */
    BackendStatusFunc answered;
    gpointer answered_opaque;

    RedfishAction *acting;      /* NULL if there is no action */
    BackendResultFunc acted;
    gpointer acted_opaque;

    RedfishEvents *events;      /* NULL if they are not to be used */
    gboolean is_attended;
    RedfishLook *looking;       /* because of an event, or NULL */
    guint gap_timer;            /* for a while after that */
    gboolean look_again;        /* when both are over */
    BackendStatusFunc changed;  /* NULL until it is watched */
    gpointer changed_opaque;
} BackendRedfish;

static gint64 query_deadline(const BackendRedfish *self)
{
    return g_get_monotonic_time() + self->config->query_timeout_ms *
                                    G_TIME_SPAN_MILLISECOND;
}

/*
 * Pause and continue are nothing that a host has: they are there for who names
 * them
 */
static guint32 redfish_supported(Backend *backend)
{
    BackendRedfish *self = (BackendRedfish *)backend;
    guint32 known = redfish_system_actions(self->system);
    guint32 usual = SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
                    SPICE_POWER_ACTION_ON;
    guint32 wanted = self->config->actions_set ? SPICE_POWER_ACTION_MASK
                                               : usual;

    return known ? known & wanted : wanted;
}

static gboolean redfish_can_ask(Backend *backend)
{
    return TRUE;
}

/* --- the state ----------------------------------------------------------- */

static void status_done(const BackendStatus *status, gpointer opaque)
{
    BackendRedfish *self = opaque;

    self->asking = NULL;
    /* only a service that answers can have events */
    if (self->events && self->changed && self->is_attended &&
        !status->trouble) {
        redfish_events_want(self->events, TRUE);
    }
    self->answered(status, self->answered_opaque);
}

static void redfish_status(Backend *backend, BackendStatusFunc done,
                           gpointer opaque)
{
    BackendRedfish *self = (BackendRedfish *)backend;

    self->answered = done;
    self->answered_opaque = opaque;
    self->asking = redfish_system_look(self->system, query_deadline(self),
                                       status_done, self);
}

static void look_because_of_event(gpointer opaque);

static gboolean gap_over(gpointer opaque)
{
    BackendRedfish *self = opaque;

    self->gap_timer = 0;
    if (self->look_again) {
        look_because_of_event(self);
    }
    return G_SOURCE_REMOVE;
}

static void look_done(const BackendStatus *status, gpointer opaque)
{
    BackendRedfish *self = opaque;

    self->looking = NULL;
    self->gap_timer = g_timeout_add(redfish_events_times.gap_ms, gap_over,
                                    self);
    self->changed(status, self->changed_opaque);
}

/* The first one at once; of many that come together the last one is enough */
static void look_because_of_event(gpointer opaque)
{
    BackendRedfish *self = opaque;

    self->look_again = self->looking || self->gap_timer;
    if (!self->look_again) {
        redfish_system_doubt(self->system);
        self->looking = redfish_system_look(self->system, query_deadline(self),
                                            look_done, self);
    }
}

static void redfish_watch(Backend *backend, BackendStatusFunc changed,
                          gpointer opaque)
{
    BackendRedfish *self = (BackendRedfish *)backend;

    self->changed = changed;
    self->changed_opaque = opaque;
}

/* A BMC takes few who want events: it's those whom somebody waits for */
static void redfish_attend(Backend *backend, gboolean is_attended)
{
    BackendRedfish *self = (BackendRedfish *)backend;

    self->is_attended = is_attended;
    if (self->events && self->changed) {
        redfish_events_want(self->events, is_attended);
    }
}

static gboolean redfish_is_told(Backend *backend)
{
    BackendRedfish *self = (BackendRedfish *)backend;

    return self->events && redfish_events_come(self->events);
}

/* --- its session --------------------------------------------------------- */

static const char *redfish_token(Backend *backend)
{
    return redfish_client_token(((BackendRedfish *)backend)->client);
}

/* What asks for the state has the session renewed if that has ended */
static void redfish_doubt_token(Backend *backend)
{
    BackendRedfish *self = (BackendRedfish *)backend;

    redfish_client_doubt(self->client);
    if (self->changed) {
        look_because_of_event(self);
    }
}

/* --- actions ------------------------------------------------------------- */

static void action_done(guint32 result, const char *message, gpointer opaque)
{
    BackendRedfish *self = opaque;

    self->acting = NULL;
    self->acted(result, message, self->acted_opaque);
}

static void redfish_action(Backend *backend, guint32 action, guint timeout_ms,
                           BackendResultFunc done, gpointer opaque)
{
    BackendRedfish *self = (BackendRedfish *)backend;

    self->acted = done;
    self->acted_opaque = opaque;
    self->acting = redfish_action_begin(self->client, self->system,
                                        self->config, action, timeout_ms,
                                        action_done, self);
}

/* ------------------------------------------------------------------------- */

static void redfish_free(Backend *backend)
{
    BackendRedfish *self = (BackendRedfish *)backend;

    g_clear_handle_id(&self->gap_timer, g_source_remove);
    g_clear_pointer(&self->asking, redfish_look_cancel);
    g_clear_pointer(&self->looking, redfish_look_cancel);
    g_clear_pointer(&self->acting, redfish_action_cancel);
    g_clear_pointer(&self->events, redfish_events_free);
    redfish_system_free(self->system);
    redfish_client_free(self->client);
    g_free(self);
}

Backend *backend_redfish_new(const MachineConfig *config)
{
    static const BackendMethods methods = {
        .supported = redfish_supported,
        .watch = redfish_watch,
        .attend = redfish_attend,
        .is_told = redfish_is_told,
        .token = redfish_token,
        .doubt_token = redfish_doubt_token,
        .can_ask = redfish_can_ask,
        .status = redfish_status,
        .action = redfish_action,
        .free = redfish_free,
    };
    BackendRedfish *self = g_new0(BackendRedfish, 1);

    self->base.methods = &methods;
    self->config = config;
    self->client = redfish_client_new(config);
    self->system = redfish_system_new(self->client, config);
    if (config->redfish_events) {
        self->events = redfish_events_new(self->client, self->system, config,
                                          look_because_of_event, self);
    }
    return &self->base;
}
