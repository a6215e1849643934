/*
 * One machine: its power, and what clients see of it and type for it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "backend.h"
#include "display.h"
#include "input.h"
#include "machine.h"
#include "power.h"
#include "screen.h"
#include "server.h"
#include "source.h"

struct Machine {
    const MachineConfig *config;
    Backend *backend;
    Power *power;
    Source *source;             /* NULL if it has no picture */

    /* What there is while it's started, else NULL */
    SpiceServer *server;
    Display *display;
    Input *input;
    Screen *screen;
};

/* Not known is not off: it may be the way to the machine that is broken */
static void follow_state(Machine *machine)
{
    if (machine->screen) {
        screen_set_wanted(machine->screen, power_state(machine->power) !=
                                           SPICE_POWER_STATE_OFF);
    }
}

static void power_changed(guint32 state, gpointer opaque)
{
    follow_state(opaque);
}

Machine *machine_new(const MachineConfig *config, GError **error)
{
    g_autoptr(Machine) machine = g_new0(Machine, 1);

    machine->config = config;
    machine->backend = backend_new(config, error);
    if (!machine->backend) {
        return NULL;
    }
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

    machine->server = server_new(machine->config, error);
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
    return power_is_unsent(machine->power);
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
    g_free(machine);
}
