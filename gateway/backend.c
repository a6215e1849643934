/*
 * What knows how to ask for, and change, the power of one machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "backend.h"
#include "names.h"
#include "redfish-client.h"

guint32 backend_possible(guint32 state)
{
    const guint32 always = SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF;

    switch (state) {
    case SPICE_POWER_STATE_OFF:
        return SPICE_POWER_ACTION_ON;
    case SPICE_POWER_STATE_ON:
        return always | SPICE_POWER_ACTION_PAUSE;
    case SPICE_POWER_STATE_PAUSED:
        return always | SPICE_POWER_ACTION_CONTINUE;
    case SPICE_POWER_STATE_SUSPENDED:
    case SPICE_POWER_STATE_CRASHED:
        return always;
    default:
        /* who asks for an action gets to know why it is not known */
        return always | SPICE_POWER_ACTION_ON | SPICE_POWER_ACTION_PAUSE |
               SPICE_POWER_ACTION_CONTINUE;
    }
}

gboolean backend_is_leaving(void)
{
    return redfish_client_is_leaving();
}

/* The actions that are asked for by name must be there */
static gboolean check_actions(Backend *backend, const MachineConfig *config,
                              GError **error)
{
    guint32 missing = config->actions & ~backend->methods->supported(backend);

    if (config->actions_set && missing) {
        g_set_error(error, CONFIG_ERROR, 0, "[power] actions: the backend has"
                    " nothing for %s", action_name(missing & -missing));
        return FALSE;
    }
    return TRUE;
}

Backend *backend_new(const MachineConfig *config, GError **error)
{
    Backend *backend = NULL;

    switch (config->backend) {
    case BACKEND_NONE:
        g_return_val_if_reached(NULL);
    case BACKEND_EXEC:
        backend = backend_exec_new(config);
        break;
    case BACKEND_IPMI:
        backend = backend_ipmi_new(config);
        break;
    case BACKEND_LIBVIRT:
        backend = backend_libvirt_new(config);
        break;
    case BACKEND_REDFISH:
        backend = backend_redfish_new(config);
        break;
    }
    if (!check_actions(backend, config, error)) {
        backend->methods->free(backend);
        return NULL;
    }
    return backend;
}
