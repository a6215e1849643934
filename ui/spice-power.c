/*
 * Power control by SPICE clients
 *
 * spice-server hands over what its clients ask for; the machine's power switch
 * (hw/core/machine-power.c) says whether that is possible, and does it, or with
 * power=managed the management layer does it.  In between, this file
 * translates, and keeps the record on QMP.
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
#include "qemu/main-loop.h"
#include "qemu/option.h"
#include "qemu/timer.h"
#include "trace.h"
#include "ui/qemu-spice.h"

static SpicePowerMode parse_mode(QemuOpts *opts)
{
    const char *mode = qemu_opt_get(opts, "power") ?: "off";
    int value = qapi_enum_parse(&SpicePowerMode_lookup, mode, -1, NULL);

    if (value < 0) {
        error_report("spice: invalid power: '%s', use 'off', 'on' or"
                     " 'managed'", mode);
        exit(1);
    }
    if (value == SPICE_POWER_MODE_OFF && qemu_opt_get(opts, "actions")) {
        error_report("spice: actions= without power=on or power=managed has no"
                     " effect; add one of these or leave it out");
        exit(1);
    }
    if (value != SPICE_POWER_MODE_MANAGED &&
        qemu_opt_get(opts, "power-timeout")) {
        error_report("spice: power-timeout= without power=managed has no"
                     " effect; add power=managed or leave it out");
        exit(1);
    }
    return value;
}

#ifdef HAVE_SPICE_POWER

#define ALL_ACTIONS MAKE_64BIT_MASK(0, MACHINE_POWER_ACTION__MAX)

/* How long QEMU's exit may wait for a client that does not read */
#define FLUSH_TIMEOUT_MS 5000

/* How long the management layer may take for an action, in seconds */
#define DEFAULT_TIMEOUT 30
#define MAX_TIMEOUT 3600

/* What the protocol has room for, in bytes */
#define MAX_MESSAGE 1024

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
static uint64_t request_id;     /* for spice-power-reply; 0 if it has none */

/* power=managed; the request that waits for its reply, if there is one */
static SpicePowerRequest *managed_request;
static uint64_t last_id;
static unsigned int managed_timeout;
static QEMUTimer *managed_timer;
static QEMUBH *client_gone_bh;
static uint32_t allowed_actions = ALL_ACTIONS;

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

static void record_request(const SpicePowerRequest *request, uint64_t id,
                           uint64_t suppressed)
{
    SpicePowerClient *client = request_client(request);

    qapi_event_send_spice_power_request(request_action(request), client,
                                        request->client->connection_id,
                                        request->request_id, id > 0, id,
                                        suppressed > 0, suppressed);
    qapi_free_SpicePowerClient(client);
}

static void record_result(const SpicePowerRequest *request, uint64_t id,
                          MachinePowerResult result, const char *message)
{
    SpicePowerClient *client = request_client(request);

    qapi_event_send_spice_power_result(request_action(request), client,
                                       request->client->connection_id,
                                       request->request_id, id > 0, id, result,
                                       *message ? message : NULL);
    qapi_free_SpicePowerClient(client);
}

/*
 * Record a request, unless it is @idle (cannot change anything) and there have
 * been too many of that kind: no client shall flood the monitor.
 *
 * Returns: whether it was recorded, so that its result will be, too
 */
static bool record_request_limited(const SpicePowerRequest *request,
                                   uint64_t id, bool idle)
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
    record_request(request, id, suppressed);
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
        record_result(request, request_id, result, reason);
    }
    spice_server_power_complete(request, spice_result[result], reason);
    request_is_pending = false;
    flush_at_end();
}

/* Configured actions that the machine's state allows, whoever carries out */
static uint32_t possible_actions(void)
{
    bool managed = power_mode == SPICE_POWER_MODE_MANAGED;

    return machine_power_possible(managed) & configured_actions;
}

static void show_state(void)
{
    MachinePowerState state = machine_power_state();
    uint32_t actions = possible_actions() & allowed_actions;

    trace_qemu_spice_power_state(MachinePowerState_str(state), actions);
    spice_server_power_set_state(&power_instance, spice_state[state],
                                 to_spice_actions(actions));
}

static void managed_finish(MachinePowerResult result, const char *message)
{
    SpicePowerRequest *request = managed_request;

    managed_request = NULL;
    timer_del(managed_timer);
    /* The client must see the effect of the action before its result */
    show_state();
    power_done(request, result, message);
}

static void managed_timed_out(void *opaque)
{
    g_autofree char *message = NULL;

    message = g_strdup_printf("The management layer has not answered within %u"
                              " seconds", managed_timeout);
    managed_finish(MACHINE_POWER_RESULT_FAILED, message);
}

static bool client_is_gone(const SpicePowerRequest *request)
{
    return !qemu_spice_client_connected(request->client->connection_id);
}

static void client_gone(void *opaque)
{
    if (managed_request && client_is_gone(managed_request)) {
        managed_finish(MACHINE_POWER_RESULT_FAILED,
                       "The client has disconnected");
    }
}

/* Called by spice-server in the midst of what it does about that */
void qemu_spice_power_client_gone(void)
{
    if (managed_request) {
        qemu_bh_schedule(client_gone_bh);
    }
}

/* Called before the clients are told to go where the machine has gone */
void qemu_spice_power_migrated(void)
{
    if (managed_request) {
        managed_finish(MACHINE_POWER_RESULT_FAILED,
                       "The machine has been migrated");
    }
}

static void managed_start(MachinePowerAction action, SpicePowerRequest *request)
{
    MachinePowerResult result;
    const char *reason;
    bool pass_on = machine_power_check(action, true, &result, &reason);

    if (pass_on && client_is_gone(request)) {
        /* It has left before its turn came */
        pass_on = false;
        result = MACHINE_POWER_RESULT_FAILED;
        reason = "The client has disconnected";
    }
    if (!pass_on) {
        request_id = 0;
        request_is_recorded = record_request_limited(request, 0, true);
        power_done(request, result, reason);
        return;
    }

    request_id = ++last_id;
    managed_request = request;
    timer_mod(managed_timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                             managed_timeout * 1000LL);
    trace_qemu_spice_power_managed(request->client->connection_id,
                                   request->request_id, request_id);
    request_is_recorded = record_request_limited(request, request_id, false);
}

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    /* One of those that are configured, so it is known */
    MachinePowerAction action = request_action(request);

    trace_qemu_spice_power_request(request->client->connection_id,
                                   request->request_id,
                                   MachinePowerAction_str(action));
    request_is_pending = true;
    if (power_mode == SPICE_POWER_MODE_MANAGED) {
        managed_start(action, request);
    } else {
        bool idle = !(possible_actions() & BIT(action));

        request_is_recorded = record_request_limited(request, 0, idle);
        machine_power_request(action, power_done, request);
    }
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
    if (record_request_limited(request, 0, true)) {
        record_result(request, 0, reason, message);
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

    if (!machine_is_ready && phase_check(PHASE_MACHINE_READY)) {
        machine_is_ready = true;
        withdraw_unsupported();
    }

    show_state();
    if (managed_request && machine_power_ending()) {
        if (request_action(managed_request) == MACHINE_POWER_ACTION_POWER_OFF) {
            managed_finish(MACHINE_POWER_RESULT_OK, "");
        } else {
            managed_finish(MACHINE_POWER_RESULT_FAILED, "QEMU is exiting");
        }
    }
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

static void managed_init(QemuOpts *opts)
{
    uint64_t timeout = qemu_opt_get_number(opts, "power-timeout",
                                           DEFAULT_TIMEOUT);

    if (timeout < 1 || timeout > MAX_TIMEOUT) {
        error_report("spice: invalid power-timeout: %" PRIu64 ", use 1 to %d"
                     " seconds", timeout, MAX_TIMEOUT);
        exit(1);
    }
    managed_timeout = timeout;
    managed_timer = timer_new_ms(QEMU_CLOCK_REALTIME, managed_timed_out, NULL);
    /* In the AioContext of the monitor's commands */
    client_gone_bh = aio_bh_new(iohandler_get_aio_context(), client_gone, NULL);
}

void qemu_spice_power_init(QemuOpts *opts)
{
    static Notifier change_notifier = { .notify = power_changed };

    power_mode = parse_mode(opts);
    if (power_mode == SPICE_POWER_MODE_OFF) {
        return;
    }

    if (power_mode == SPICE_POWER_MODE_MANAGED) {
        managed_init(opts);
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

static SpicePowerPending *managed_pending(void)
{
    SpicePowerPending *pending = g_new0(SpicePowerPending, 1);

    pending->id = request_id;
    pending->action = request_action(managed_request);
    pending->client = request_client(managed_request);
    pending->connection_id = managed_request->client->connection_id;
    pending->request_id = managed_request->request_id;
    return pending;
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
    info->possible = action_list(possible_actions() & allowed_actions);
    if (power_mode == SPICE_POWER_MODE_MANAGED) {
        info->has_allowed = true;
        info->allowed = action_list(configured_actions & allowed_actions);
    }
    if (managed_request) {
        info->pending = managed_pending();
    }
    return info;
}

static bool check_managed(Error **errp)
{
    if (power_mode != SPICE_POWER_MODE_MANAGED) {
        error_setg(errp, "Power control by SPICE clients is not managed: QEMU"
                   " has been started with power=%s",
                   SpicePowerMode_str(power_mode));
        return false;
    }
    return true;
}

void qemu_spice_power_reply(uint64_t id, MachinePowerResult result,
                            const char *message, Error **errp)
{
    g_autofree char *told = g_strdup(message ?: "");

    if (!check_managed(errp)) {
        return;
    }
    if (id == 0 || id > last_id) {
        error_setg(errp, "There has been no request with the id %" PRIu64, id);
        return;
    }
    if (!managed_request || id != request_id) {
        error_setg(errp, "The request with the id %" PRIu64 " is no longer"
                   " pending", id);
        return;
    }

    if (strlen(told) > MAX_MESSAGE) {
        /* Cut it where spice-server does: the record has what is told */
        *g_utf8_find_prev_char(told, told + MAX_MESSAGE + 1) = '\0';
    }
    managed_finish(result, told);
}

void qemu_spice_power_set_allowed(MachinePowerActionList *actions, Error **errp)
{
    if (!check_managed(errp)) {
        return;
    }
    allowed_actions = 0;
    for (; actions; actions = actions->next) {
        allowed_actions |= BIT(actions->value);
    }
    show_state();
}

#else /* HAVE_SPICE_POWER */

void qemu_spice_power_init(QemuOpts *opts)
{
    SpicePowerMode mode = parse_mode(opts);

    if (mode != SPICE_POWER_MODE_OFF) {
        error_report("spice: power=%s needs a spice-server library with power"
                     " control; the one QEMU was built with has none",
                     SpicePowerMode_str(mode));
        exit(1);
    }
}

SpicePowerInfo *qemu_spice_power_query(void)
{
    return NULL;
}

void qemu_spice_power_client_gone(void)
{
}

void qemu_spice_power_migrated(void)
{
}

#endif /* HAVE_SPICE_POWER */
