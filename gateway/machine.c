/*
 * One machine: its power, and what clients see of it and type for it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "backend.h"
#include "display.h"
#include "input.h"
#include "listening.h"
#include "machine.h"
#include "power.h"
#include "screen.h"
#include "server.h"
#include "source.h"

/* When to look again whether a server takes clients that did not */
#define CHECK_AGAIN_MS 500

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
    char *console_problem;      /* why they stay here though it runs; or NULL */
    char *ticket, *power_ticket;
    gint64 ticket_end, power_ticket_end;
    gboolean handed_over;       /* clients that are here are told to go */
    GCancellable *check;        /* before they are told; or NULL */
    guint check_timer;

    /* What there is while it's started, else NULL */
    SpiceServer *server;
    Display *display;
    Input *input;
    Screen *screen;
};

/* Not known is not off: it may be the way to the machine that is broken */
static void follow_state(Machine *machine)
{
    if (machine->screen && machine->source) {
        screen_set_wanted(machine->screen, power_state(machine->power) !=
                                           SPICE_POWER_STATE_OFF);
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
        /* It is ending, of which we have not heard yet, or just begins */
        machine->backend->methods->refresh(machine->backend);
        machine->check_timer = g_timeout_add(CHECK_AGAIN_MS, check_again,
                                             machine);
    } else if (power_is_acting(machine->power)) {
        /* somebody has asked for something meanwhile: when that is done */
        machine->handed_over = FALSE;
    } else if (spice_server_hand_over(machine->server, machine->console_host,
                                      machine->console_port,
                                      machine->console_tls_port, NULL) != 0) {
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
        machine->handed_over = FALSE;
        g_cancellable_cancel(machine->check);
        g_clear_object(&machine->check);
        g_clear_handle_id(&machine->check_timer, g_source_remove);
    } else if (!machine->handed_over && !power_is_acting(machine->power)) {
        machine->handed_over = TRUE;
        /*
         * They give up if they are refused there. A server that has handed
         * them back because the machine is powered off does not listen any
         * more, even if it has not ended yet.
         */
        machine->check = g_cancellable_new();
        listening_check(machine->check_host, machine->console_port ?:
                        machine->console_tls_port, machine->check, checked,
                        machine);
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
    follow_console(machine);
}

/* It may have come here because that server is ending */
static void client_connected(gpointer opaque)
{
    Machine *machine = opaque;

    if (machine->console_host) {
        /* of a new password there is no event */
        machine->backend->methods->refresh(machine->backend);
    }
    if (!machine->check && !machine->check_timer) {
        machine->handed_over = FALSE;
        follow_console(machine);
    }
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
    machine->owner = (CoreOwner) {
        .name = config->name,
        .connected = client_connected,
        .opaque = machine,
    };
    machine->power = power_new(config, machine->backend, power_changed,
                               machine);
    if (config->source != SOURCE_NONE) {
        machine->source = source_new(config, error);
        if (!machine->source) {
            return NULL;
        }
    }
    return g_steal_pointer(&machine);
}

const char *machine_name(const Machine *machine)
{
    return machine->config->name;
}

void machine_watch(Machine *machine)
{
    power_watch(machine->power);
}

guint32 machine_state(const Machine *machine)
{
    return power_state(machine->power);
}

gboolean machine_start(Machine *machine, GError **error)
{
    g_return_val_if_fail(!machine->server, FALSE);

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
    return TRUE;
}

SpiceServer *machine_server(const Machine *machine)
{
    return machine->server;
}

void machine_refuse(Machine *machine, const char *reason)
{
    power_refuse(machine->power, reason);
}

gboolean machine_is_unsent(Machine *machine)
{
    return power_is_unsent(machine->power) ||
           (machine->server &&
            spice_server_hand_over_is_unsent(machine->server));
}

void machine_stop(Machine *machine)
{
    if (!machine->server) {
        return;
    }
    power_refuse(machine->power, "The machine's server is ending");
    /* It may take some time to remove the display */
    g_clear_pointer(&machine->screen, screen_free);
    g_clear_pointer(&machine->input, input_free);
    g_clear_pointer(&machine->display, display_free);
    power_detach(machine->power);
    g_clear_pointer(&machine->server, spice_server_destroy);
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
