/*
 * One machine: its power, and what clients see of it and type for it
 *
 * This is where its parts meet, none of which knows of another: what one tells
 * is passed to those whom it concerns. Whether there is a SPICE server, who may
 * come and who has to wait depends on all of them, so that is decided here, and
 * stays together.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "display.h"
#include "input.h"
#include "listening.h"
#include "machine.h"
#include "power.h"
#include "screen.h"
#include "server.h"
#include "source.h"

/* How many clients wait to be let in */
#define MAX_WAITING 64

MachineTimes machine_times = {
    .unused_ms = 60000,
    .wait_ms = 5000,
    .again_ms = 500,
    .look_ms = 10000,
};

/* A client that can't be let in yet, as its password is not known */
typedef struct Waiting {
    Arrival arrival;
    struct sockaddr_storage peer;
    int fd;
} Waiting;

struct Machine {
    const MachineConfig *config;
    CoreOwner owner;
    Backend *backend;
    Power *power;
    Source *source;             /* NULL if it has no picture */

    /* The machine's own SPICE server, where its clients are to be */
    char *console_host;         /* NULL: here */
    int console_port, console_tls_port;
    char *check_host;           /* where it can be seen whether it is there */
    int check_port;
    char *console_problem;      /* why they stay here though it runs; or NULL */
    char *ticket, *power_ticket;
    gint64 ticket_end, power_ticket_end;
    gboolean is_console_known;
    gboolean handed_over;       /* clients that are here are told to go */
    gint64 hand_over_time;      /* when they were, in microseconds */
    GCancellable *check;        /* before they are told; or NULL */
    guint check_timer;

    gboolean is_started;        /* for who comes by its own port */
    GQueue waiting;             /* of Waiting */
    guint wait_timer;

    /* What there is while clients can be there, else NULL */
    SpiceServer *server;
    guint clients;
    guint viewers;              /* of these */
    guint look_timer;           /* until is_looked_at ends */
    gboolean is_looked_at;      /* video is for somebody */
    guint unused_timer;         /* for one without a port */
    gboolean was_used;          /* since that has been looked at */
    Display *display;
    Input *input;
    Screen *screen;
};

/*
 * Not known is not off: it may be the way to it that is broken. Without
 * somebody who looks a BMC need not encode video, and has a session for others;
 * and some take no action as long as somebody does.
 */
static void follow_state(Machine *machine)
{
    gboolean is_in_the_way = machine->config->without_video &&
                             power_is_acting(machine->power);

    if (machine->screen && machine->source) {
        screen_set_wanted(machine->screen, machine->is_looked_at &&
                          !is_in_the_way &&
                          power_state(machine->power) !=
                          SPICE_POWER_STATE_OFF);
    }
}

static void viewer_came(gpointer opaque)
{
    Machine *machine = opaque;

    machine->viewers++;
    g_clear_handle_id(&machine->look_timer, g_source_remove);
    machine->is_looked_at = TRUE;
    if (power_is_answered(machine->power)) {
        follow_state(machine);
    }
}

static gboolean looked_long_enough(gpointer opaque)
{
    Machine *machine = opaque;

    machine->look_timer = 0;
    machine->is_looked_at = FALSE;
    follow_state(machine);
    return G_SOURCE_REMOVE;
}

/* Who loses a connection comes back at once, as who opens another window */
static void viewer_left(gpointer opaque)
{
    Machine *machine = opaque;

    machine->viewers--;
    if (!machine->viewers) {
        machine->look_timer = g_timeout_add(machine_times.look_ms,
                                            looked_long_enough, machine);
    }
}

/* --- the machine's own SPICE server -------------------------------------- */

static void follow_console(Machine *machine);

static gboolean check_again(gpointer opaque)
{
    Machine *machine = opaque;

    machine->check_timer = 0;
    machine->handed_over = FALSE;
    follow_console(machine);
    return G_SOURCE_REMOVE;
}

static void checked(gboolean is_listening, gpointer opaque)
{
    Machine *machine = opaque;

    g_clear_object(&machine->check);
    if (!is_listening) {
        power_set_held(machine->power, FALSE);
        /* It is ending, of which we have not heard yet, or just begins */
        machine->backend->methods->refresh(machine->backend);
        machine->check_timer = g_timeout_add(machine_times.again_ms,
                                             check_again, machine);
    } else if (power_is_acting(machine->power)) {
        /* somebody has asked for something meanwhile: when that is done */
        machine->handed_over = FALSE;
    } else if (spice_server_hand_over(machine->server, machine->console_host,
                                      machine->console_port,
                                      machine->console_tls_port, NULL) == 0) {
        machine->hand_over_time = g_get_monotonic_time();
        power_drop_held(machine->power);
    } else {
        power_set_held(machine->power, FALSE);
        g_warning("%s: clients can't be handed over to %s, port %d, TLS port"
                  " %d", machine->config->name, machine->console_host,
                  machine->console_port, machine->console_tls_port);
    }
}

/* Whoever has asked for something is told first what has become of it */
static void follow_console(Machine *machine)
{
    gboolean is_there = machine->server && machine->console_host;

    if (!is_there) {
        power_set_held(machine->power, FALSE);
        machine->handed_over = FALSE;
        g_cancellable_cancel(machine->check);
        g_clear_object(&machine->check);
        g_clear_handle_id(&machine->check_timer, g_source_remove);
    } else if (!machine->handed_over && !power_is_acting(machine->power)) {
        machine->handed_over = TRUE;
        /* what they ask for is for that server, if it takes them */
        power_set_held(machine->power, TRUE);
        /*
         * They give up if they are refused there. A server that has handed
         * them back because the machine is powered off does not listen any
         * more, even if it has not ended yet.
         */
        machine->check = g_cancellable_new();
        listening_check(machine->check_host, machine->check_port,
                        machine->check, checked, machine);
    }
    if (machine->screen && !machine->source) {
        screen_set_notice(machine->screen, "The machine's display is not here",
                          machine->console_problem);
    }
}

static void follow_ticket(Machine *machine)
{
    if (machine->server && machine->config->ticket_from == TICKET_DOMAIN) {
        server_set_ticket(machine->server, machine->ticket,
                          machine->ticket_end);
        server_set_power_ticket(machine->server, machine->power_ticket,
                                machine->power_ticket_end);
        power_set_ticketed(machine->power, machine->power_ticket != NULL);
    }
}

static void let_in(Machine *machine);

static void console_changed(const BackendConsole *console, gpointer opaque)
{
    Machine *machine = opaque;

    if (g_strcmp0(console->host, machine->console_host) ||
        console->port != machine->console_port ||
        console->tls_port != machine->console_tls_port) {
        g_message("%s: clients %s%s", machine->config->name,
                  console->host ? "go to " : "stay here",
                  console->host ?: "");
        machine->handed_over = FALSE;
        g_cancellable_cancel(machine->check);
        g_clear_object(&machine->check);
        g_clear_handle_id(&machine->check_timer, g_source_remove);
        g_free(machine->console_host);
        machine->console_host = g_strdup(console->host);
        machine->console_port = console->port;
        machine->console_tls_port = console->tls_port;
    }
    g_free(machine->check_host);
    machine->check_host = g_strdup(console->check_host);
    machine->check_port = console->check_port;
    if (g_strcmp0(console->problem, machine->console_problem)) {
        if (console->problem) {
            g_warning("%s: clients stay here: %s", machine->config->name,
                      console->problem);
        }
        g_free(machine->console_problem);
        machine->console_problem = g_strdup(console->problem);
    }
    if (g_strcmp0(console->ticket, machine->ticket) ||
        console->ticket_end != machine->ticket_end ||
        g_strcmp0(console->power_ticket, machine->power_ticket) ||
        console->power_ticket_end != machine->power_ticket_end) {
        g_free(machine->power_ticket);
        machine->power_ticket = g_strdup(console->power_ticket);
        machine->power_ticket_end = console->power_ticket_end;
        g_free(machine->ticket);
        machine->ticket = g_strdup(console->ticket);
        machine->ticket_end = console->ticket_end;
        follow_ticket(machine);
    }
    machine->is_console_known = TRUE;
    let_in(machine);
    follow_console(machine);
}

/* It may have come here because that server is ending */
static void client_connected(gpointer opaque)
{
    Machine *machine = opaque;

    machine->clients++;
    power_set_attended(machine->power, TRUE);
    if (machine->console_host) {
        /* of a new password there is no event */
        machine->backend->methods->refresh(machine->backend);
    }
    if (machine->check || machine->check_timer) {
        return;
    }
    if (machine->handed_over && g_get_monotonic_time() -
        machine->hand_over_time <
        machine_times.again_ms * G_TIME_SPAN_MILLISECOND) {
        /* A proxy may not have heard yet that they are not to be here */
        machine->check_timer = g_timeout_add(machine_times.again_ms,
                                             check_again, machine);
    } else {
        machine->handed_over = FALSE;
        follow_console(machine);
    }
}

static void client_disconnected(gpointer opaque)
{
    Machine *machine = opaque;

    machine->clients--;
    power_set_attended(machine->power, machine->clients > 0);
    machine->was_used = TRUE;
}

static void client_not_let_in(const SpiceChannelEventInfo *client,
                              const char *why, gpointer opaque)
{
    Machine *machine = opaque;

    audit_not_let_in(power_audit(machine->power), client, why);
}

/* ------------------------------------------------------------------------- */

/* --- the session that both have ------------------------------------------ */

static const char *session_token(gpointer opaque)
{
    Machine *machine = opaque;

    return machine->backend->methods->token(machine->backend);
}

static void session_doubt(gpointer opaque)
{
    Machine *machine = opaque;

    machine->backend->methods->doubt_token(machine->backend);
}

static Source *make_source(Machine *machine, GError **error)
{
    static const SourceSession session = {
        .token = session_token,
        .doubt = session_doubt,
    };

    return source_new(machine->config, machine->backend->methods->token
                      ? &session : NULL, machine, error);
}

/* ------------------------------------------------------------------------- */

static void power_changed(guint32 state, gpointer opaque)
{
    follow_state(opaque);
    follow_console(opaque);
}

Machine *machine_new(const MachineConfig *config, GError **error)
{
    g_autoptr(Machine) machine = g_new0(Machine, 1);

    machine->config = config;
    machine->backend = backend_new(config, error);
    if (!machine->backend) {
        return NULL;
    }
    if (machine->backend->methods->watch_console) {
        machine->backend->methods->watch_console(machine->backend,
                                                 console_changed, machine);
    }
    g_queue_init(&machine->waiting);
    machine->owner = (CoreOwner) {
        .name = config->name,
        .connected = client_connected,
        .disconnected = client_disconnected,
        .not_let_in = client_not_let_in,
        .viewer_came = viewer_came,
        .viewer_left = viewer_left,
        .opaque = machine,
    };
    machine->power = power_new(config, machine->backend, power_changed,
                               machine);
    power_set_ticketed(machine->power, config->power_ticket != NULL);
    if (config->source != SOURCE_NONE) {
        machine->source = make_source(machine, error);
        if (!machine->source) {
            return NULL;
        }
    }
    return g_steal_pointer(&machine);
}

const MachineConfig *machine_config(const Machine *machine)
{
    return machine->config;
}

void machine_watch(Machine *machine)
{
    power_watch(machine->power);
}

guint32 machine_state(const Machine *machine)
{
    return power_state(machine->power);
}

const char *machine_trouble(const Machine *machine)
{
    return power_trouble(machine->power);
}

Audit *machine_audit(const Machine *machine)
{
    return power_audit(machine->power);
}

guint machine_clients(const Machine *machine)
{
    return machine->clients;
}

/* --- its clients --------------------------------------------------------- */

static void attend(Machine *machine, gboolean is_attended)
{
    if (machine->backend->methods->watch_console) {
        machine->is_console_known = machine->is_console_known && is_attended;
        machine->backend->methods->attend(machine->backend, is_attended);
    }
}

/* Who comes before it is known would be told that the password is wrong */
static gboolean awaits_ticket(const Machine *machine)
{
    return machine->config->ticket_from == TICKET_DOMAIN &&
           !machine->is_console_known;
}

static gboolean look_whether_used(gpointer opaque)
{
    Machine *machine = opaque;

    if (!machine->clients && !machine->was_used) {
        machine->unused_timer = 0;
        machine_stop(machine);
        return G_SOURCE_REMOVE;
    }
    machine->was_used = FALSE;
    return G_SOURCE_CONTINUE;
}

static gboolean make_server(Machine *machine, GError **error)
{
    machine->server = server_new(machine->config, &machine->owner, error);
    if (!machine->server) {
        return FALSE;
    }
    if (!power_attach(machine->power, machine->server, error)) {
        g_clear_pointer(&machine->server, spice_server_destroy);
        return FALSE;
    }
    machine->display = display_new(machine->server);
    machine->input = input_new(machine->server, machine->source);
    machine->screen = screen_new(machine->config->name, machine->display,
                                 machine->input, machine->source,
                                 &screen_times);
    spice_server_vm_start(machine->server);
    /* Before the first answer nobody knows anything, nor tries anything */
    if (power_is_answered(machine->power)) {
        follow_state(machine);
        follow_ticket(machine);
        follow_console(machine);
    }
    if (!config_listens(machine->config)) {
        machine->unused_timer = g_timeout_add(machine_times.unused_ms,
                                              look_whether_used, machine);
    }
    return TRUE;
}

gboolean machine_start(Machine *machine, GError **error)
{
    g_return_val_if_fail(!machine->is_started, FALSE);

    if (config_listens(machine->config)) {
        attend(machine, TRUE);
        if (!awaits_ticket(machine) && !machine->server &&
            !make_server(machine, error)) {
            attend(machine, FALSE);
            return FALSE;
        }
    }
    machine->is_started = TRUE;
    return TRUE;
}

gboolean machine_is_started(const Machine *machine)
{
    return machine->is_started;
}

static void add(Machine *machine, const Arrival *arrival, int fd)
{
    machine->was_used = TRUE;
    if (!server_add_client(machine->server, machine->config, &machine->owner,
                           arrival, fd)) {
        g_message("%s: the client at %s is refused: it has come %s TLS",
                  machine->config->name, arrival->from,
                  arrival->is_tls ? "with" : "without");
    }
}

static void stop_waiting(Machine *machine, gboolean is_let_in)
{
    Waiting *waiting;

    g_clear_handle_id(&machine->wait_timer, g_source_remove);
    while ((waiting = g_queue_pop_head(&machine->waiting))) {
        if (is_let_in) {
            add(machine, &waiting->arrival, waiting->fd);
        } else {
            close(waiting->fd);
        }
        g_free((char *)waiting->arrival.from);
        g_free(waiting);
    }
}

/* Those who wait, and those who come by the machine's own port from now on */
static void let_in(Machine *machine)
{
    g_autoptr(GError) error = NULL;
    gboolean is_wanted = machine->is_started &&
                         config_listens(machine->config);

    if (!machine->server && (is_wanted || machine->waiting.length) &&
        !make_server(machine, &error)) {
        g_warning("%s: %s", machine->config->name, error->message);
    }
    stop_waiting(machine, machine->server != NULL);
}

static gboolean waited_long_enough(gpointer opaque)
{
    Machine *machine = opaque;

    machine->wait_timer = 0;
    g_warning("%s: %u clients are refused: their password is not known",
              machine->config->name, machine->waiting.length);
    stop_waiting(machine, FALSE);
    if (!machine->server && !config_listens(machine->config)) {
        attend(machine, FALSE);
    }
    return G_SOURCE_REMOVE;
}

static void wait_for_ticket(Machine *machine, const Arrival *arrival, int fd)
{
    Waiting *waiting;

    if (machine->waiting.length == MAX_WAITING) {
        close(fd);
        return;
    }
    waiting = g_new0(Waiting, 1);
    waiting->arrival = (Arrival) {
        .from = g_strdup(arrival->from),
        .is_tls = arrival->is_tls,
    };
    if (arrival->peer) {
        waiting->arrival.peer = (struct sockaddr *)&waiting->peer;
        waiting->arrival.peer_size = arrival->peer_size;
        memcpy(&waiting->peer, arrival->peer, arrival->peer_size);
    }
    waiting->fd = fd;
    g_queue_push_tail(&machine->waiting, waiting);
    if (!machine->wait_timer) {
        machine->wait_timer = g_timeout_add(machine_times.wait_ms,
                                            waited_long_enough, machine);
    }
}

void machine_add_client(Machine *machine, const Arrival *arrival, int fd)
{
    g_autoptr(GError) error = NULL;

    if (!machine->server && !machine->waiting.length) {
        attend(machine, TRUE);
    }
    if (awaits_ticket(machine)) {
        wait_for_ticket(machine, arrival, fd);
    } else if (machine->server || make_server(machine, &error)) {
        add(machine, arrival, fd);
    } else {
        g_warning("%s: %s", machine->config->name, error->message);
        attend(machine, FALSE);
        close(fd);
    }
}

/* ------------------------------------------------------------------------- */

gboolean machine_has_clients(const Machine *machine)
{
    return machine->clients || machine->waiting.length;
}

void machine_reload_rights(Machine *machine)
{
    const MachineConfig *config = machine->config;

    if (machine->server && config->ticket) {
        server_set_ticket(machine->server, config->ticket, 0);
    }
    if (machine->server && config->power_ticket) {
        server_set_power_ticket(machine->server, config->power_ticket, 0);
    }
    power_update_rights(machine->power);
}

void machine_reload_tls(Machine *machine)
{
    if (machine->server && config_takes_tls(machine->config) &&
        spice_server_reload_tls(machine->server) != 0) {
        g_warning("%s: [server] the TLS files are wrong; it goes on with those"
                  " that it has", machine->config->name);
    }
}

SpiceServer *machine_server(const Machine *machine)
{
    return machine->server;
}

void machine_refuse(Machine *machine, const char *reason)
{
    power_refuse(machine->power, reason);
}

gboolean machine_is_pending(Machine *machine)
{
    return power_is_unsent(machine->power) ||
           (machine->server && machine->handed_over &&
            spice_server_hand_over_is_pending(machine->server));
}

void machine_stop(Machine *machine)
{
    machine->is_started = FALSE;
    stop_waiting(machine, FALSE);
    attend(machine, FALSE);
    if (!machine->server) {
        return;
    }
    g_clear_handle_id(&machine->unused_timer, g_source_remove);
    power_refuse(machine->power, "The machine's server is ending");
    /* It may take some time to remove the display */
    g_clear_pointer(&machine->screen, screen_free);
    g_clear_pointer(&machine->input, input_free);
    g_clear_pointer(&machine->display, display_free);
    power_detach(machine->power);
    g_clear_pointer(&machine->server, spice_server_destroy);
    core_forget(&machine->owner);
    machine->clients = machine->viewers = 0;
    power_set_attended(machine->power, FALSE);
    g_clear_handle_id(&machine->look_timer, g_source_remove);
    machine->is_looked_at = FALSE;
    follow_console(machine);
}

void machine_free(Machine *machine)
{
    if (!machine) {
        return;
    }
    if (machine->power) {
        machine_stop(machine);
    }
    if (machine->source) {
        machine->source->methods->free(machine->source);
    }
    if (machine->backend) {
        machine->backend->methods->free(machine->backend);
    }
    g_clear_pointer(&machine->power, power_free);
    g_free(machine->console_host);
    g_free(machine->check_host);
    g_free(machine->console_problem);
    g_free(machine->ticket);
    g_free(machine->power_ticket);
    g_free(machine);
}
