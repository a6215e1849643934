/*
 * What a configuration names: whether its machines answer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "backend.h"
#include "check.h"
#include "names.h"

/* So many are asked at a time */
#define MAX_PROBES 16
/* Backends give up by themselves before, but not those that only tell */
#define GRACE_MS   5000

typedef struct Round {
    const Config *config;
    guint next;                 /* of the machines */
    guint probes;               /* that are under way */
    gboolean is_good;           /* so far */
    GMainLoop *loop;
} Round;

typedef struct Probe {
    Round *round;
    const MachineConfig *machine;
    Backend *backend;
    guint timer;
    guint end;                  /* what ends it, from the main loop */
} Probe;

static void begin_more(Round *round);

static gboolean end(gpointer opaque)
{
    Probe *probe = opaque;
    Round *round = probe->round;

    probe->backend->methods->free(probe->backend);
    g_free(probe);
    round->probes--;
    begin_more(round);
    if (!round->probes) {
        g_main_loop_quit(round->loop);
    }
    return G_SOURCE_REMOVE;
}

/* Its backend may be what calls, which is not to be freed then */
static void conclude(Probe *probe, const char *state, const char *trouble)
{
    if (probe->end) {
        return;
    }
    g_print("%s: %s\n", probe->machine->name, trouble ?: state);
    probe->round->is_good = probe->round->is_good && !trouble;
    g_clear_handle_id(&probe->timer, g_source_remove);
    probe->end = g_idle_add(end, probe);
}

static void told(const BackendStatus *status, gpointer opaque)
{
    conclude(opaque, state_name(status->state), status->trouble);
}

static gboolean out_of_time(gpointer opaque)
{
    Probe *probe = opaque;

    probe->timer = 0;
    conclude(probe, NULL, "it has not told its power state in time");
    return G_SOURCE_REMOVE;
}

static void begin(Round *round, const MachineConfig *machine)
{
    g_autoptr(GError) error = NULL;
    Backend *backend = backend_new(machine, &error);
    Probe *probe;

    if (!backend) {
        g_print("%s: %s\n", machine->name, error->message);
        round->is_good = FALSE;
        return;
    }
    probe = g_new0(Probe, 1);
    probe->round = round;
    probe->machine = machine;
    probe->backend = backend;
    probe->timer = g_timeout_add(machine->query_timeout_ms + GRACE_MS,
                                 out_of_time, probe);
    round->probes++;
    if (backend->methods->can_ask(backend)) {
        backend->methods->status(backend, told, probe);
    } else {
        backend->methods->watch(backend, told, probe);
    }
}

static void begin_more(Round *round)
{
    const GPtrArray *machines = round->config->machines;

    while (round->probes < MAX_PROBES && round->next < machines->len) {
        begin(round, machines->pdata[round->next++]);
    }
}

gboolean check_machines(const Config *config)
{
    Round round = { .config = config, .is_good = TRUE };

    round.loop = g_main_loop_new(NULL, FALSE);
    begin_more(&round);
    if (round.probes) {
        g_main_loop_run(round.loop);
    }
    g_main_loop_unref(round.loop);
    return round.is_good;
}
