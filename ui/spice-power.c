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
#include <spice/protocol.h>

#include "authz/base.h"
#include "crypto/secret.h"
#include "hw/core/machine-power.h"
#include "hw/qdev-core.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-events-ui.h"
#include "qapi/qapi-visit-ui.h"
#include "qapi/util.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/option.h"
#include "qemu/timer.h"
#include "trace.h"
#include "ui/qemu-spice.h"

#define ALL_ACTIONS MAKE_64BIT_MASK(0, MACHINE_POWER_ACTION__MAX)

/*
 * How long QEMU's exit may wait for a client to get its result, and how old
 * that result may be: an older one has arrived, or never will
 */
#define FLUSH_TIMEOUT_MS 5000
#define FLUSH_RECENT_MS 1000
#define FLUSH_POLL_US 10000

/* How long the management layer may take for an action, in seconds */
#define DEFAULT_TIMEOUT 30
#define MAX_TIMEOUT 3600

/* What spice-server and its clients take */
#define MAX_PASSWORD_LEN (SPICE_MAX_PASSWORD_LENGTH - 1)

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

typedef struct QemuSpicePower {
    SpiceServer *server;
    SpicePowerInstance sin;
    SpicePowerControlMode mode;
    uint32_t configured;        /* BIT(MachinePowerAction) */
    bool checked_support;
    Notifier change_notifier;

    /* Who may do what */
    uint32_t allowed;           /* see spice-power-set-allowed */
    char *restriction;          /* why not others, NULL if it was not said */
    char *authz_id;             /* NULL without power-authz */
    QAuthZ *authz;              /* what tells of changes, NULL if it's gone */
    Notifier authz_notifier;
    char *authz_error;          /* what the log has said last */
    bool needs_ticket;          /* the one for power */
    char *password;
    time_t expires;

    /* What is being carried out; spice-server sees to it that it is one */
    SpicePowerRequest *request;
    SpicePowerControlClient *client;    /* who asked, for the record */
    bool is_recorded;
    int64_t completed_ms;       /* when the last one was */

    /* The record of requests that change nothing */
    int64_t idle_second;
    unsigned int idle_events;
    uint64_t suppressed;

    /* power=managed */
    uint64_t last_reply_id;
    bool waits_for_reply;       /* the request does, to last_reply_id */
    unsigned int timeout;
    QEMUTimer *timer;
    uint32_t manager_can;       /* see spice-power-set-possible */
} QemuSpicePower;

static QemuSpicePower *spice_power;     /* NULL with power=off */

static QemuSpicePower *get_power(SpicePowerInstance *sin)
{
    return container_of(sin, QemuSpicePower, sin);
}

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

static int request_connection(const SpicePowerRequest *request)
{
    return request->client->channel->connection_id;
}

static SpicePowerControlClient *request_client(const SpicePowerRequest *request)
{
    const SpiceChannelEventInfo *info = request->client->channel;
    SpicePowerControlClient *client = g_new0(SpicePowerControlClient, 1);

    qemu_spice_add_addr_info(qapi_SpicePowerControlClient_base(client),
                             (struct sockaddr *)&info->paddr_ext,
                             info->plen_ext);
    client->tls = info->flags & SPICE_CHANNEL_EVENT_FLAG_TLS;
    client->sasl_username = g_strdup(request->client->sasl_username);
    client->has_ticket = request->client->ticket != SPICE_TICKET_NONE;
    client->ticket = request->client->ticket == SPICE_TICKET_POWER ?
                     SPICE_TICKET_TYPE_POWER : SPICE_TICKET_TYPE_ORDINARY;
    return client;
}

static void authz_changed(Notifier *notifier, void *data)
{
    QemuSpicePower *p = container_of(notifier, QemuSpicePower, authz_notifier);

    if (p->sin.st) {
        spice_server_power_update_allowed(&p->sin);
    }
}

/* Users can remove the object, and create another one with the same id */
static void follow_authz(QemuSpicePower *p)
{
    Object *obj = object_resolve_path_component(object_get_objects_root(),
                                                p->authz_id);
    QAuthZ *authz = (QAuthZ *)object_dynamic_cast(obj, TYPE_QAUTHZ);

    if (authz == p->authz) {
        return;
    }
    if (p->authz) {
        notifier_remove(&p->authz_notifier);
        object_unref(OBJECT(p->authz));
    }
    p->authz = authz;
    if (authz) {
        object_ref(OBJECT(authz));
        qauthz_add_change_notifier(authz, &p->authz_notifier);
    }
}

/* Returns NULL if the client may act, or for its user why not */
static const char *why_not(QemuSpicePower *p, const SpicePowerClient *client)
{
    Error *err = NULL;

    if (p->needs_ticket && client->ticket != SPICE_TICKET_POWER) {
        return "The password that you have connected with is not for power"
               " control";
    }
    if (!p->authz_id) {
        return NULL;
    }
    follow_authz(p);
    if (client->sasl_username &&
        qauthz_is_allowed_by_id(p->authz_id, client->sasl_username, &err)) {
        return NULL;
    }
    if (err && g_strcmp0(error_get_pretty(err), p->authz_error)) {
        /* For the administrator, not for who is not allowed, and once */
        g_free(p->authz_error);
        p->authz_error = g_strdup(error_get_pretty(err));
        error_reportf_err(err, "spice: power-authz=%s: ", p->authz_id);
    } else {
        error_free(err);
    }
    return "You are not one of those who may control the power";
}

static uint32_t power_allowed(SpicePowerInstance *sin,
                              const SpicePowerClient *client,
                              const char **reason)
{
    QemuSpicePower *p = get_power(sin);
    uint32_t allowed = p->allowed;

    *reason = why_not(p, client);
    if (*reason) {
        allowed = 0;
    } else {
        *reason = p->restriction ?: "Power control has been restricted";
    }
    trace_qemu_spice_power_allowed(client->channel->connection_id, allowed,
                                   *reason);
    return to_spice_actions(allowed);
}

/*
 * Record a request, unless it is @idle (cannot change anything) and there have
 * been too many of that kind: no client shall flood the monitor.  How many of
 * the others there can be is limited by spice-server.
 *
 * Returns: whether it was recorded, so that its result will be, too
 */
static bool record_request(QemuSpicePower *p, const SpicePowerRequest *request,
                           SpicePowerControlClient *client, bool idle,
                           uint64_t reply_id)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) / 1000;

    if (now != p->idle_second) {
        p->idle_second = now;
        p->idle_events = 0;
    }
    if (idle && ++p->idle_events > IDLE_EVENTS_PER_SECOND) {
        p->suppressed++;
        return false;
    }
    qapi_event_send_spice_power_request(request_action(request), client,
                                        request_connection(request),
                                        request->request_id,
                                        reply_id > 0, reply_id,
                                        p->suppressed > 0, p->suppressed);
    p->suppressed = 0;
    return true;
}

/*
 * QEMU exits: the client may have much to read before it gets to its result,
 * that of the power-off or of an action shortly before.
 */
static void wait_for_last_result(QemuSpicePower *p)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    int64_t deadline = now + FLUSH_TIMEOUT_MS;

    if (!machine_power_ending() || p->request ||
        now - p->completed_ms > FLUSH_RECENT_MS) {
        return;
    }
    while (spice_server_power_is_unsent(&p->sin) &&
           qemu_clock_get_ms(QEMU_CLOCK_REALTIME) < deadline) {
        g_usleep(FLUSH_POLL_US);
    }
}

/* The client first: it is a person who waits */
static void power_done(void *opaque, MachinePowerResult result,
                       const char *reason)
{
    QemuSpicePower *p = opaque;
    g_autofree char *message = *reason ? g_strdup(reason) : NULL;
    MachinePowerAction action = request_action(p->request);
    int connection_id = request_connection(p->request);
    uint32_t request_id = p->request->request_id;
    uint64_t reply_id = p->waits_for_reply ? p->last_reply_id : 0;

    trace_qemu_spice_power_result(connection_id, request_id,
                                  MachinePowerResult_str(result), reason);
    spice_server_power_complete(g_steal_pointer(&p->request),
                                spice_result[result], reason);
    p->completed_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    p->waits_for_reply = false;
    if (p->is_recorded) {
        qapi_event_send_spice_power_result(action, p->client, connection_id,
                                           request_id, reply_id > 0, reply_id,
                                           result, message);
    }
    qapi_free_SpicePowerControlClient(g_steal_pointer(&p->client));
    wait_for_last_result(p);
}

/* Configured actions that the machine's state allows, whoever carries out */
static uint32_t possible_actions(QemuSpicePower *p)
{
    return p->configured & p->allowed &
           (p->mode == SPICE_POWER_CONTROL_MODE_MANAGED ?
            machine_power_possible_managed() & p->manager_can :
            machine_power_possible());
}

static void show_state(QemuSpicePower *p)
{
    MachinePowerState state = machine_power_state();
    uint32_t possible = possible_actions(p);

    if (!p->sin.st) {
        return;
    }
    trace_qemu_spice_power_state(MachinePowerState_str(state), possible);
    spice_server_power_set_state(&p->sin, spice_state[state],
                                 to_spice_actions(possible));
}

static void managed_finish(QemuSpicePower *p, MachinePowerResult result,
                           const char *message)
{
    timer_del(p->timer);
    /* The client must see the effect of the action before its result */
    show_state(p);
    power_done(p, result, message);
}

static void managed_timed_out(void *opaque)
{
    QemuSpicePower *p = opaque;
    g_autofree char *message = NULL;

    message = g_strdup_printf("The management layer has not answered within %u"
                              " seconds", p->timeout);
    managed_finish(p, MACHINE_POWER_RESULT_FAILED, message);
}

/* Called before the clients are told to go where the machine has gone */
void qemu_spice_power_migrated(void)
{
    if (spice_power && spice_power->waits_for_reply) {
        managed_finish(spice_power, MACHINE_POWER_RESULT_FAILED,
                       "The machine has been migrated");
    }
}

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    QemuSpicePower *p = get_power(sin);
    /* One of those that are configured, so it is known */
    MachinePowerAction action = request_action(request);
    bool managed = p->mode == SPICE_POWER_CONTROL_MODE_MANAGED;
    /* Asked again: not everybody tells when the answer has changed */
    MachinePowerResult result = MACHINE_POWER_RESULT_DENIED;
    const char *reason = why_not(p, request->client);
    bool possible = !reason &&
                    (managed ?
                     machine_power_check_managed(action, &result, &reason) :
                     machine_power_check(action, &result, &reason));

    trace_qemu_spice_power_request(request_connection(request),
                                   request->request_id,
                                   MachinePowerAction_str(action));
    p->request = request;
    p->client = request_client(request);
    p->waits_for_reply = possible && managed;
    if (p->waits_for_reply) {
        p->last_reply_id++;
        timer_mod(p->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                            p->timeout * 1000LL);
        trace_qemu_spice_power_managed(request_connection(request),
                                       request->request_id, p->last_reply_id);
    }
    p->is_recorded = record_request(p, request, p->client, !possible,
                                    p->waits_for_reply ? p->last_reply_id : 0);
    if (!possible) {
        power_done(p, result, reason);
    } else if (!managed) {
        machine_power_request(action, power_done, p);
    }
}

/* spice-server has refused a request by itself: it belongs to the record */
static void power_refused(SpicePowerInstance *sin,
                          const SpicePowerRequest *request, uint32_t result,
                          const char *message)
{
    QemuSpicePower *p = get_power(sin);
    int action = request_action(request);
    int reason = from_spice(spice_result, ARRAY_SIZE(spice_result), result);
    SpicePowerControlClient *client;

    if (action < 0 || reason < 0) {
        /* Clients may ask for anything, but QMP has no name for this */
        return;
    }
    trace_qemu_spice_power_result(request_connection(request),
                                  request->request_id,
                                  MachinePowerResult_str(reason), message);
    client = request_client(request);
    if (record_request(p, request, client, true, 0)) {
        qapi_event_send_spice_power_result(action, client,
                                           request_connection(request),
                                           request->request_id, false, 0,
                                           reason, message);
    }
    qapi_free_SpicePowerControlClient(client);
}

/* What QEMU has begun goes on; a management layer need not answer any more */
static void power_cancelled(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    QemuSpicePower *p = get_power(sin);

    if (p->waits_for_reply) {
        managed_finish(p, MACHINE_POWER_RESULT_FAILED,
                       "The client has disconnected");
    }
}

static const SpicePowerInterface power_interface = {
    .base.type          = SPICE_INTERFACE_POWER,
    .base.description   = "qemu power control",
    .base.major_version = SPICE_INTERFACE_POWER_MAJOR,
    .base.minor_version = SPICE_INTERFACE_POWER_MINOR,
    .request            = power_request,
    .refused            = power_refused,
    .cancelled          = power_cancelled,
    .allowed            = power_allowed,
};

/*
 * SPICE listens before there is a machine: take back what this one can never
 * do.  Clients that have connected already are refused.
 */
static void withdraw_unsupported(QemuSpicePower *p)
{
    uint32_t supported = p->configured & machine_power_supported();

    if (supported == p->configured) {
        return;
    }
    spice_server_remove_interface(&p->sin.base);
    p->configured = supported;
    p->sin.actions = to_spice_actions(supported);
    if (qemu_spice.add_interface(&p->sin.base) != 0) {
        error_report("spice: failed to enable power control again after what"
                     " this machine does not support; clients have none");
    }
}

static void power_changed(Notifier *notifier, void *data)
{
    QemuSpicePower *p = container_of(notifier, QemuSpicePower, change_notifier);

    if (!p->checked_support && phase_check(PHASE_MACHINE_READY)) {
        p->checked_support = true;
        withdraw_unsupported(p);
    }

    show_state(p);
    if (p->waits_for_reply && machine_power_ending()) {
        if (request_action(p->request) == MACHINE_POWER_ACTION_POWER_OFF) {
            managed_finish(p, MACHINE_POWER_RESULT_OK, "");
        } else {
            managed_finish(p, MACHINE_POWER_RESULT_FAILED, "QEMU is exiting");
        }
    }
    wait_for_last_result(p);
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

static SpicePowerControlMode parse_mode(QemuOpts *opts)
{
    static const char *const need_power[] = {
        "actions", "power-authz", "power-password-secret"
    };
    const char *mode = qemu_opt_get(opts, "power") ?: "off";
    int value = qapi_enum_parse(&SpicePowerControlMode_lookup, mode, -1, NULL);
    int i;

    if (value < 0) {
        error_report("spice: invalid power: '%s', use 'off', 'on' or"
                     " 'managed'", mode);
        exit(1);
    }
    for (i = 0; value == SPICE_POWER_CONTROL_MODE_OFF &&
                i < ARRAY_SIZE(need_power); i++) {
        if (qemu_opt_get(opts, need_power[i])) {
            error_report("spice: %s= without power=on or power=managed has no"
                         " effect; add one of these or leave it out",
                         need_power[i]);
            exit(1);
        }
    }
    if (value != SPICE_POWER_CONTROL_MODE_MANAGED &&
        qemu_opt_get(opts, "power-timeout")) {
        error_report("spice: power-timeout= without power=managed has no"
                     " effect; add power=managed or leave it out");
        exit(1);
    }
    return value;
}

static unsigned int parse_timeout(QemuOpts *opts)
{
    uint64_t timeout = qemu_opt_get_number(opts, "power-timeout",
                                           DEFAULT_TIMEOUT);

    if (timeout < 1 || timeout > MAX_TIMEOUT) {
        error_report("spice: invalid power-timeout: %" PRIu64 ", use 1 to %d"
                     " seconds", timeout, MAX_TIMEOUT);
        exit(1);
    }
    return timeout;
}

static char *parse_authz(QemuOpts *opts)
{
    const char *id = qemu_opt_get(opts, "power-authz");
    Object *obj;

    if (!id) {
        return NULL;
    }
    if (!qemu_opt_get_bool(opts, "sasl", false)) {
        error_report("spice: power-authz=%s needs the names that clients"
                     " authenticate with; add sasl=on", id);
        exit(1);
    }
    obj = object_resolve_path_component(object_get_objects_root(), id);
    if (!object_dynamic_cast(obj, TYPE_QAUTHZ)) {
        error_report("spice: power-authz=%s: there is no authorization object"
                     " with this id; create one with -object authz-list,id=%s"
                     " or another type", id, id);
        exit(1);
    }
    return g_strdup(id);
}

static int set_ticket(QemuSpicePower *p, bool fail_if_connected,
                      bool disconnect_if_connected)
{
    time_t now = time(NULL);
    bool expired = now >= p->expires;

    return spice_server_set_power_ticket(p->server,
                                         expired ? NULL : p->password,
                                         expired ? 1 :
                                         MIN(p->expires - now, INT_MAX),
                                         fail_if_connected,
                                         disconnect_if_connected);
}

static void parse_password(QemuSpicePower *p, QemuOpts *opts)
{
    const char *secret = qemu_opt_get(opts, "power-password-secret");
    Error *err = NULL;

    p->expires = TIME_MAX;
    if (!secret) {
        return;
    }
    if (qemu_opt_get_bool(opts, "sasl", false)) {
        error_report("spice: power-password-secret=%s has no effect with"
                     " sasl=on, where clients have no password; use"
                     " power-authz or leave it out", secret);
        exit(1);
    }
    p->needs_ticket = true;
    p->password = qcrypto_secret_lookup_as_utf8(secret, &err);
    if (!p->password) {
        error_reportf_err(err, "spice: power-password-secret=%s: ", secret);
        exit(1);
    }
    if (strlen(p->password) > MAX_PASSWORD_LEN) {
        error_report("spice: power-password-secret=%s: the password has %zu"
                     " bytes, use %d at most", secret, strlen(p->password),
                     MAX_PASSWORD_LEN);
        exit(1);
    }
    set_ticket(p, false, false);
}

void qemu_spice_power_init(SpiceServer *server, QemuOpts *opts)
{
    SpicePowerControlMode mode = parse_mode(opts);
    QemuSpicePower *p;

    if (mode == SPICE_POWER_CONTROL_MODE_OFF) {
        return;
    }

    p = g_new0(QemuSpicePower, 1);
    p->server = server;
    p->mode = mode;
    p->configured = parse_actions(qemu_opt_get(opts, "actions"));
    p->timeout = parse_timeout(opts);
    p->timer = timer_new_ms(QEMU_CLOCK_REALTIME, managed_timed_out, p);
    p->manager_can = ALL_ACTIONS;
    p->allowed = ALL_ACTIONS;
    p->authz_id = parse_authz(opts);
    p->authz_notifier.notify = authz_changed;
    parse_password(p, opts);
    p->completed_ms = -FLUSH_RECENT_MS;
    p->sin.base.sif = &power_interface.base;
    p->sin.actions = to_spice_actions(p->configured);
    if (qemu_spice.add_interface(&p->sin.base) != 0) {
        error_report("spice: failed to enable power control");
        exit(1);
    }
    spice_power = p;

    machine_power_init();
    p->change_notifier.notify = power_changed;
    machine_power_add_change_notifier(&p->change_notifier);
    power_changed(&p->change_notifier, NULL);
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

static SpicePowerControlPending *managed_pending(QemuSpicePower *p)
{
    SpicePowerControlPending *pending = g_new0(SpicePowerControlPending, 1);

    pending->id = p->last_reply_id;
    pending->action = request_action(p->request);
    pending->client = QAPI_CLONE(SpicePowerControlClient, p->client);
    pending->connection_id = request_connection(p->request);
    pending->request_id = p->request->request_id;
    return pending;
}

SpicePowerControlInfo *qemu_spice_power_query(void)
{
    QemuSpicePower *p = spice_power;
    SpicePowerControlInfo *info;

    if (!p) {
        return NULL;
    }

    info = g_new0(SpicePowerControlInfo, 1);
    info->mode = p->mode;
    info->state = machine_power_state();
    info->actions = action_list(p->configured);
    info->possible = action_list(possible_actions(p));
    info->allowed = action_list(p->configured & p->allowed);
    info->authz = g_strdup(p->authz_id);
    info->ticket = p->needs_ticket;
    if (p->waits_for_reply) {
        info->pending = managed_pending(p);
    }
    return info;
}

static bool check_managed(Error **errp)
{
    SpicePowerControlMode mode = spice_power ? spice_power->mode :
                                 SPICE_POWER_CONTROL_MODE_OFF;

    if (mode != SPICE_POWER_CONTROL_MODE_MANAGED) {
        error_setg(errp, "Power control by SPICE clients is not managed: QEMU"
                   " has been started with power=%s",
                   SpicePowerControlMode_str(mode));
        return false;
    }
    return true;
}

void qemu_spice_power_reply(uint64_t id, MachinePowerResult result,
                            const char *message, Error **errp)
{
    QemuSpicePower *p = spice_power;

    if (!check_managed(errp)) {
        return;
    }
    if (id == 0 || id > p->last_reply_id) {
        error_setg(errp, "There has been no request with the id %" PRIu64, id);
        return;
    }
    if (!p->waits_for_reply || id != p->last_reply_id) {
        error_setg(errp, "The request with the id %" PRIu64 " is no longer"
                   " pending", id);
        return;
    }
    managed_finish(p, result, message ?: "");
}

static uint32_t action_mask(MachinePowerActionList *actions)
{
    uint32_t mask = 0;

    for (; actions; actions = actions->next) {
        mask |= BIT(actions->value);
    }
    return mask;
}

void qemu_spice_power_set_possible(MachinePowerActionList *actions,
                                   Error **errp)
{
    if (check_managed(errp)) {
        spice_power->manager_can = action_mask(actions);
        show_state(spice_power);
    }
}

static bool check_on(Error **errp)
{
    if (!spice_power) {
        error_setg(errp, "There is no power control by SPICE clients: QEMU has"
                   " been started with power=off");
        return false;
    }
    return true;
}

void qemu_spice_power_set_allowed(MachinePowerActionList *actions,
                                  const char *reason, Error **errp)
{
    QemuSpicePower *p = spice_power;

    if (!check_on(errp)) {
        return;
    }
    p->allowed = action_mask(actions);
    g_free(p->restriction);
    p->restriction = g_strdup(reason);
    if (p->sin.st) {
        spice_server_power_update_allowed(&p->sin);
    }
    show_state(p);
}

/* Whoever sets one wants it to be needed from then on */
bool qemu_spice_power_set_password(const char *password, bool fail_if_connected,
                                   bool disconnect_if_connected, Error **errp)
{
    QemuSpicePower *p = spice_power;
    g_autofree char *old = NULL;

    if (!check_on(errp)) {
        return false;
    }
    if (p->authz_id) {
        error_setg(errp, "Clients have no password: QEMU has been started with"
                   " sasl=on");
        return false;
    }
    if (strlen(password) > MAX_PASSWORD_LEN) {
        error_setg(errp, "The password has %zu bytes, use %d at most",
                   strlen(password), MAX_PASSWORD_LEN);
        return false;
    }
    old = p->password;
    p->password = g_strdup(password);
    if (set_ticket(p, fail_if_connected, disconnect_if_connected) != 0) {
        g_free(p->password);
        p->password = g_steal_pointer(&old);
        error_setg(errp, "Could not set password: a client is connected");
        return false;
    }
    p->needs_ticket = true;
    if (p->sin.st) {
        spice_server_power_update_allowed(&p->sin);
    }
    return true;
}

bool qemu_spice_power_expire_password(time_t expires, Error **errp)
{
    QemuSpicePower *p = spice_power;

    if (!check_on(errp)) {
        return false;
    }
    if (!p->needs_ticket) {
        error_setg(errp, "There is no password for power control");
        return false;
    }
    p->expires = expires;
    set_ticket(p, false, false);
    return true;
}
