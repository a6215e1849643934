/*
 * All the machines of one process
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "gateway.h"

/* How long answers may take to get to clients when we end, in all */
#define FLUSH_TIMEOUT_MS 1000
#define FLUSH_STEP_MS    10

struct Gateway {
    GPtrArray *configs;
    GPtrArray *machines;
};

Gateway *gateway_new(GPtrArray *configs, GPtrArray *problems)
{
    Gateway *gateway = g_new0(Gateway, 1);
    guint i;

    gateway->configs = g_ptr_array_ref(configs);
    gateway->machines = g_ptr_array_new_with_free_func(
        (GDestroyNotify)machine_free);
    for (i = 0; i < configs->len; i++) {
        const MachineConfig *config = configs->pdata[i];
        g_autoptr(GError) error = NULL;
        Machine *machine = machine_new(config, &error);

        if (machine) {
            g_ptr_array_add(gateway->machines, machine);
        } else {
            g_ptr_array_add(problems, g_strdup_printf("%s: %s", config->path,
                                                      error->message));
        }
    }
    return gateway;
}

gboolean gateway_start(Gateway *gateway, GError **error)
{
    guint i;

    for (i = 0; i < gateway->machines->len; i++) {
        Machine *machine = gateway->machines->pdata[i];

        if (!machine_start(machine, error)) {
            g_prefix_error(error, "%s: ", machine_name(machine));
            return FALSE;
        }
    }
    for (i = 0; i < gateway->machines->len; i++) {
        machine_watch(gateway->machines->pdata[i]);
    }
    return TRUE;
}

Machine *gateway_machine(const Gateway *gateway, const char *name)
{
    guint i;

    for (i = 0; i < gateway->machines->len; i++) {
        Machine *machine = gateway->machines->pdata[i];

        if (!strcmp(machine_name(machine), name)) {
            return machine;
        }
    }
    return NULL;
}

static gboolean is_unsent(Gateway *gateway)
{
    gboolean unsent = FALSE;
    guint i;

    /* Each is asked: that is what sends, too */
    for (i = 0; i < gateway->machines->len; i++) {
        unsent = machine_is_unsent(gateway->machines->pdata[i]) || unsent;
    }
    return unsent;
}

void gateway_end(Gateway *gateway)
{
    guint i, ms;

    for (i = 0; i < gateway->machines->len; i++) {
        machine_refuse(gateway->machines->pdata[i],
                       "spice-gateway is ending");
    }
    for (ms = 0; ms < FLUSH_TIMEOUT_MS && is_unsent(gateway);
         ms += FLUSH_STEP_MS) {
        g_usleep(FLUSH_STEP_MS * 1000);
    }
}

void gateway_free(Gateway *gateway)
{
    g_ptr_array_unref(gateway->machines);
    g_ptr_array_unref(gateway->configs);
    g_free(gateway);
}
