/*
 * Power control by SPICE clients
 *
 * spice-server hands over what its clients ask for; the machine's power switch
 * (hw/core/machine-power.c) says whether that is possible, and does it.  In
 * between, this file translates, and keeps the record on QMP.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include <spice.h>
#include <spice/enums.h>

#include "hw/core/machine-power.h"
#include "hw/qdev-core.h"
#include "qapi/error.h"
#include "qapi/qapi-events-spice-power.h"
#include "qapi/util.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "qemu/timer.h"
#include "trace.h"
#include "ui/qemu-spice.h"

static SpicePowerMode parse_mode(QemuOpts *opts)
{
    const char *mode = qemu_opt_get(opts, "power") ?: "off";
    int value = qapi_enum_parse(&SpicePowerMode_lookup, mode, -1, NULL);

    if (value < 0) {
        error_report("spice: invalid power: '%s', use 'off' or 'on'", mode);
        exit(1);
    }
    if (value == SPICE_POWER_MODE_OFF && qemu_opt_get(opts, "actions")) {
        error_report("spice: actions= without power=on has no effect;"
                     " add power=on or leave it out");
        exit(1);
    }
    return value;
}

#ifdef HAVE_SPICE_POWER

#define ALL_ACTIONS MAKE_64BIT_MASK(0, MACHINE_POWER_ACTION__MAX)

/* How long QEMU's exit may wait for a client that does not read */
#define FLUSH_TIMEOUT_MS 5000

/* So many events in a second tell of requests that change nothing */
#define IDLE_EVENTS_PER_SECOND 50

static const uint32_t spice_action[MACHINE_POWER_ACTION__MAX] = {
    [MACHINE_POWER_ACTION_RESET]     = SPICE_POWER_ACTION_RESET,
    [MACHINE_POWER_ACTION_POWER_OFF] = SPICE_POWER_ACTION_OFF,
    [MACHINE_POWER_ACTION_POWER_ON]  = SPICE_POWER_ACTION_ON,
    [MACHINE_POWER_ACTION_PAUSE]     = SPICE_POWER_ACTION_PAUSE,
    [MACHINE_POWER_ACTION_CONTINUE]  = SPICE_POWER_ACTION_CONTINUE,
};

static const uint32_t spice_state[MACHINE_POWER_STATE__MAX] = {
    [MACHINE_POWER_STATE_UNKNOWN]   = SPICE_POWER_STATE_UNKNOWN,
    [MACHINE_POWER_STATE_OFF]       = SPICE_POWER_STATE_OFF,
    [MACHINE_POWER_STATE_ON]        = SPICE_POWER_STATE_ON,
    [MACHINE_POWER_STATE_PAUSED]    = SPICE_POWER_STATE_PAUSED,
    [MACHINE_POWER_STATE_SUSPENDED] = SPICE_POWER_STATE_SUSPENDED,
    [MACHINE_POWER_STATE_CRASHED]   = SPICE_POWER_STATE_CRASHED,
};

static const uint32_t spice_result[MACHINE_POWER_RESULT__MAX] = {
    [MACHINE_POWER_RESULT_OK]          = SPICE_POWER_RESULT_OK,
    [MACHINE_POWER_RESULT_DENIED]      = SPICE_POWER_RESULT_DENIED,
    [MACHINE_POWER_RESULT_WRONG_STATE] = SPICE_POWER_RESULT_WRONG_STATE,
    [MACHINE_POWER_RESULT_BUSY]        = SPICE_POWER_RESULT_BUSY,
    [MACHINE_POWER_RESULT_UNSUPPORTED] = SPICE_POWER_RESULT_UNSUPPORTED,
    [MACHINE_POWER_RESULT_FAILED]      = SPICE_POWER_RESULT_FAILED,
};

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request);
static void power_refused(SpicePowerInstance *sin,
                          const SpicePowerRequest *request, uint32_t result,
                          const char *message);

static const SpicePowerInterface power_interface = {
    .base.type          = SPICE_INTERFACE_POWER,
    .base.description   = "qemu power control",
    .base.major_version = SPICE_INTERFACE_POWER_MAJOR,
    .base.minor_version = SPICE_INTERFACE_POWER_MINOR,
    .request            = power_request,
    .refused            = power_refused,
};

static SpicePowerInstance power_instance = {
    .base.sif = &power_interface.base,
};

static SpicePowerMode power_mode;
static uint32_t configured_actions;     /* BIT(MachinePowerAction) */

/* The request that is being carried out (spice-server sees to it: only one) */
static bool request_is_pending;
static bool request_is_recorded;

static uint32_t to_spice_actions(uint32_t actions)
{
    MachinePowerAction action;
    uint32_t mask = 0;

    for (action = 0; action < MACHINE_POWER_ACTION__MAX; action++) {
        if (actions & BIT(action)) {
            mask |= spice_action[action];
        }
    }
    return mask;
}

/* Returns -1 for a value that only a newer spice-server knows */
static int from_spice(const uint32_t *table, int entries, uint32_t value)
{
    int i;

    for (i = 0; i < entries; i++) {
        if (table[i] == value) {
            return i;
        }
    }
    return -1;
}

static int request_action(const SpicePowerRequest *request)
{
    return from_spice(spice_action, ARRAY_SIZE(spice_action), request->action);
}

static SpicePowerClient *request_client(const SpicePowerRequest *request)
{
    const SpiceChannelEventInfo *info = request->client;
    g_autofree SpiceBasicInfo *addr = g_new0(SpiceBasicInfo, 1);
    SpicePowerClient *client = g_new0(SpicePowerClient, 1);

    qemu_spice_add_addr_info(addr, (struct sockaddr *)&info->paddr_ext,
                             info->plen_ext);
    client->host = addr->host;
    client->port = addr->port;
    client->family = addr->family;
    client->tls = info->flags & SPICE_CHANNEL_EVENT_FLAG_TLS;
    client->sasl_username = g_strdup(request->sasl_username);
    return client;
}

static void record_request(const SpicePowerRequest *request,
                           uint64_t suppressed)
{
    SpicePowerClient *client = request_client(request);

    qapi_event_send_spice_power_request(request_action(request), client,
                                        request->client->connection_id,
                                        request->request_id,
                                        suppressed > 0, suppressed);
    qapi_free_SpicePowerClient(client);
}

static void record_result(const SpicePowerRequest *request,
                          MachinePowerResult result, const char *message)
{
    SpicePowerClient *client = request_client(request);

    qapi_event_send_spice_power_result(request_action(request), client,
                                       request->client->connection_id,
                                       request->request_id, result,
                                       *message ? message : NULL);
    qapi_free_SpicePowerClient(client);
}

/*
 * Record a request, unless it is @idle (cannot change anything) and there have
 * been too many of that kind: no client shall flood the monitor.
 *
 * Returns: whether it was recorded, so that its result will be, too
 */
static bool record_request_limited(const SpicePowerRequest *request, bool idle)
{
    static int64_t second;
    static unsigned int idle_events;
    static uint64_t suppressed;
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) / 1000;

    if (now != second) {
        second = now;
        idle_events = 0;
    }
    if (idle && ++idle_events > IDLE_EVENTS_PER_SECOND) {
        suppressed++;
        return false;
    }
    record_request(request, suppressed);
    suppressed = 0;
    return true;
}

/*
 * QEMU exits: the client may have much to read before it gets to its result,
 * be it that of the power-off, or of the action before, if the end has another
 * cause.  There is time for that once.
 */
static void flush_at_end(void)
{
    static int64_t deadline;
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);

    if (!machine_power_ending() || request_is_pending) {
        return;
    }
    if (!deadline) {
        deadline = now + FLUSH_TIMEOUT_MS;
    }
    spice_server_power_flush(&power_instance, MAX(deadline - now, 0));
}

static void power_done(void *opaque, MachinePowerResult result,
                       const char *reason)
{
    SpicePowerRequest *request = opaque;

    trace_qemu_spice_power_result(request->client->connection_id,
                                  request->request_id,
                                  MachinePowerResult_str(result), reason);
    if (request_is_recorded) {
        record_result(request, result, reason);
    }
    spice_server_power_complete(request, spice_result[result], reason);
    request_is_pending = false;
    flush_at_end();
}

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    /* One of those that are configured, so it is known */
    MachinePowerAction action = request_action(request);
    bool idle = !(machine_power_possible() & BIT(action));

    trace_qemu_spice_power_request(request->client->connection_id,
                                   request->request_id,
                                   MachinePowerAction_str(action));
    request_is_pending = true;
    request_is_recorded = record_request_limited(request, idle);
    machine_power_request(action, power_done, request);
}

/* spice-server has refused a request by itself: it belongs to the record */
static void power_refused(SpicePowerInstance *sin,
                          const SpicePowerRequest *request, uint32_t result,
                          const char *message)
{
    int reason = from_spice(spice_result, ARRAY_SIZE(spice_result), result);

    if (request_action(request) < 0 || reason < 0) {
        /* Clients may ask for anything, but QMP has no name for this */
        return;
    }
    trace_qemu_spice_power_result(request->client->connection_id,
                                  request->request_id,
                                  MachinePowerResult_str(reason), message);
    if (record_request_limited(request, true)) {
        record_result(request, reason, message);
    }
}

/*
 * SPICE listens before there is a machine: take back what this one can never
 * do.  Clients that have connected already are refused.
 */
static void withdraw_unsupported(void)
{
    uint32_t supported = configured_actions & machine_power_supported();

    if (supported == configured_actions) {
        return;
    }
    spice_server_remove_interface(&power_instance.base);
    configured_actions = supported;
    power_instance.actions = to_spice_actions(supported);
    if (qemu_spice.add_interface(&power_instance.base) != 0) {
        error_report("spice: failed to enable power control");
        exit(1);
    }
}

static void power_changed(Notifier *notifier, void *data)
{
    static bool machine_is_ready;
    MachinePowerState state = machine_power_state();
    uint32_t possible;

    if (!machine_is_ready && phase_check(PHASE_MACHINE_READY)) {
        machine_is_ready = true;
        withdraw_unsupported();
    }

    possible = machine_power_possible() & configured_actions;
    trace_qemu_spice_power_state(MachinePowerState_str(state), possible);
    spice_server_power_set_state(&power_instance, spice_state[state],
                                 to_spice_actions(possible));
    flush_at_end();
}

static uint32_t parse_actions(const char *actions)
{
    g_auto(GStrv) names = NULL;
    uint32_t mask = 0;
    char **name;

    if (!actions) {
        return ALL_ACTIONS;
    }

    names = g_strsplit(actions, ":", 0);
    for (name = names; *name; name++) {
        int action = qapi_enum_parse(&MachinePowerAction_lookup, *name, -1,
                                     NULL);

        if (action < 0) {
            error_report("spice: invalid action '%s' in actions=%s, use reset,"
                         " power-off, power-on, pause and continue, separated"
                         " by colons", *name, actions);
            exit(1);
        }
        mask |= BIT(action);
    }
    if (!mask) {
        error_report("spice: actions= names no action");
        exit(1);
    }
    return mask;
}

void qemu_spice_power_init(QemuOpts *opts)
{
    static Notifier change_notifier = { .notify = power_changed };

    power_mode = parse_mode(opts);
    if (power_mode == SPICE_POWER_MODE_OFF) {
        return;
    }

    configured_actions = parse_actions(qemu_opt_get(opts, "actions"));
    power_instance.actions = to_spice_actions(configured_actions);
    if (qemu_spice.add_interface(&power_instance.base) != 0) {
        error_report("spice: failed to enable power control");
        exit(1);
    }
    machine_power_add_change_notifier(&change_notifier);
    power_changed(&change_notifier, NULL);
}

static MachinePowerActionList *action_list(uint32_t actions)
{
    MachinePowerActionList *head = NULL, **tail = &head;
    MachinePowerAction action;

    for (action = 0; action < MACHINE_POWER_ACTION__MAX; action++) {
        if (actions & BIT(action)) {
            QAPI_LIST_APPEND(tail, action);
        }
    }
    return head;
}

SpicePowerInfo *qemu_spice_power_query(void)
{
    SpicePowerInfo *info;

    if (power_mode == SPICE_POWER_MODE_OFF) {
        return NULL;
    }

    info = g_new0(SpicePowerInfo, 1);
    info->mode = power_mode;
    info->state = machine_power_state();
    info->actions = action_list(configured_actions);
    info->possible = action_list(configured_actions & machine_power_possible());
    return info;
}

#else /* HAVE_SPICE_POWER */

void qemu_spice_power_init(QemuOpts *opts)
{
    if (parse_mode(opts) != SPICE_POWER_MODE_OFF) {
        error_report("spice: power=on needs a spice-server library with power"
                     " control; the one QEMU was built with has none");
        exit(1);
    }
}

SpicePowerInfo *qemu_spice_power_query(void)
{
    return NULL;
}

#endif /* HAVE_SPICE_POWER */
