/*
 * Unit test for power control by SPICE clients: what is told to spice-server
 * and to the monitor
 *
 * There is neither a machine nor a spice-server here, so that the machine can
 * be one whose CPUs cannot be reset, and the library can know more than QEMU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <spice.h>
#include <spice/enums.h>
#include "authz/list.h"
#include "hw/core/machine-power.h"
#include "hw/qdev-core.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-emit-events.h"
#include "qapi/qapi-types-ui.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qobject/qdict.h"
#include "qemu/option.h"
#include "qom/object_interfaces.h"
#include "ui/qemu-spice.h"

#define ALL_ACTIONS MAKE_64BIT_MASK(0, MACHINE_POWER_ACTION__MAX)
#define NEEDS_RESET (BIT(MACHINE_POWER_ACTION_RESET) | \
                     BIT(MACHINE_POWER_ACTION_POWER_ON))

/* The machine */

static bool managed;
static bool ready;
static uint32_t supported = ALL_ACTIONS;
static uint32_t possible;
static bool ending;
static MachinePowerResult machine_result;
static int machine_requests;
static bool keeps_request;
static MachinePowerDone *kept_done;
static void *kept_opaque;
static Notifier *change_notifier;

bool phase_check(MachineInitPhase phase)
{
    return ready;
}

void machine_power_init(void)
{
}

void machine_power_add_change_notifier(Notifier *notifier)
{
    change_notifier = notifier;
}

MachinePowerState machine_power_state(void)
{
    return MACHINE_POWER_STATE_ON;
}

uint32_t machine_power_possible(void)
{
    g_assert_false(managed);
    return possible;
}

uint32_t machine_power_possible_managed(void)
{
    g_assert_true(managed);
    return possible;
}

static bool check(MachinePowerAction action, MachinePowerResult *result,
                  const char **reason)
{
    *result = machine_result;
    *reason = machine_result == MACHINE_POWER_RESULT_OK ? "" : "why not";
    return possible & BIT(action);
}

bool machine_power_check(MachinePowerAction action, MachinePowerResult *result,
                         const char **reason)
{
    g_assert_false(managed);
    return check(action, result, reason);
}

bool machine_power_check_managed(MachinePowerAction action,
                                 MachinePowerResult *result,
                                 const char **reason)
{
    g_assert_true(managed);
    return check(action, result, reason);
}

uint32_t machine_power_supported(void)
{
    return ready ? supported : ALL_ACTIONS;
}

bool machine_power_ending(void)
{
    return ending;
}

void machine_power_request(MachinePowerAction action, MachinePowerDone *done,
                           void *opaque)
{
    machine_requests++;
    if (keeps_request) {
        kept_done = done;
        kept_opaque = opaque;
        return;
    }
    done(opaque, machine_result,
         machine_result == MACHINE_POWER_RESULT_OK ? "" : "why not");
}

/* spice-server */

static GQueue events = G_QUEUE_INIT;
static SpicePowerInstance *added;
static int removals, completions, looks, unsent, allowed_updates;
static char *ticket;
static bool is_connected;
static SpiceServer *const server = (SpiceServer *)&ticket;
static uint32_t shown_state, shown_actions, completed_result;
static char *completed_message;
static int events_at_completion;

static int add_interface(SpiceBaseInstance *sin)
{
    g_assert_null(added);
    added = container_of(sin, SpicePowerInstance, base);
    added->st = (SpicePowerInstanceState *)added;
    return 0;
}

struct QemuSpiceOps qemu_spice = {
    .add_interface = add_interface,
};

int spice_server_remove_interface(SpiceBaseInstance *sin)
{
    g_assert_true(sin == &added->base);
    added->st = NULL;
    added = NULL;
    removals++;
    return 0;
}

void spice_server_power_set_state(SpicePowerInstance *sin,
                                  uint32_t state, uint32_t possible_)
{
    g_assert_true(sin == added);
    shown_state = state;
    shown_actions = possible_;
}

void spice_server_power_complete(SpicePowerRequest *request,
                                 uint32_t result, const char *message)
{
    completions++;
    completed_result = result;
    g_free(completed_message);
    completed_message = g_strdup(message);
    events_at_completion = g_queue_get_length(&events);
}

void spice_server_power_update_allowed(SpicePowerInstance *sin)
{
    g_assert_true(sin == added);
    allowed_updates++;
}

int spice_server_set_power_ticket(SpiceServer *s, const char *password,
                                  int lifetime, int fail_if_connected,
                                  int disconnect_if_connected)
{
    g_assert_true(s == server);
    if (is_connected && fail_if_connected) {
        return -1;
    }
    g_free(ticket);
    ticket = g_strdup(password);
    g_assert_cmpint(lifetime, >, 0);
    return 0;
}

int spice_server_power_is_unsent(SpicePowerInstance *sin)
{
    g_assert_true(ending);
    looks++;
    return unsent > 0 && unsent-- > 0;
}

void qemu_spice_add_addr_info(SpiceBasicInfo *info, struct sockaddr *addr,
                              int len)
{
    info->host = g_strdup("host");
    info->port = g_strdup("port");
    info->family = NETWORK_ADDRESS_FAMILY_UNIX;
}

/* The monitor */

void qapi_event_emit(QAPIEvent event, QDict *qdict)
{
    g_queue_push_tail(&events, qobject_ref(qdict));
}

Monitor *monitor_cur(void)
{
    return NULL;
}

Monitor *monitor_set_cur(Coroutine *co, Monitor *mon)
{
    return NULL;
}

int monitor_vprintf(Monitor *mon, const char *fmt, va_list ap)
{
    abort();
}

static QDict *take_event(const char *name)
{
    QDict *event = g_queue_pop_head(&events);

    g_assert_nonnull(event);
    g_assert_cmpstr(qdict_get_str(event, "event"), ==, name);
    return event;
}

static const SpicePowerInterface *interface(void)
{
    return container_of(added->base.sif, SpicePowerInterface, base);
}

static SpiceChannelEventInfo channel = { .connection_id = 7 };
static SpicePowerClient client = {
    .channel = &channel, .sasl_username = "fred",
};

static SpicePowerRequest *new_request(uint32_t action)
{
    static SpicePowerRequest request;

    request = (SpicePowerRequest) {
        .action = action, .request_id = 42, .client = &client,
    };
    return &request;
}

/* Must be the first: there is one interface, added once */
static void test_withdraw(void)
{
    g_assert_cmphex(added->actions, ==, SPICE_POWER_ACTION_MASK);

    /* Nobody knows what it can do before the machine is ready */
    supported = ALL_ACTIONS & ~NEEDS_RESET;
    possible = BIT(MACHINE_POWER_ACTION_PAUSE);
    change_notifier->notify(change_notifier, NULL);
    g_assert_cmpint(removals, ==, 0);
    g_assert_cmphex(added->actions, ==, SPICE_POWER_ACTION_MASK);

    ready = true;
    change_notifier->notify(change_notifier, NULL);
    g_assert_cmpint(removals, ==, 1);
    g_assert_cmphex(added->actions, ==, SPICE_POWER_ACTION_OFF |
                                        SPICE_POWER_ACTION_PAUSE |
                                        SPICE_POWER_ACTION_CONTINUE);
    g_assert_cmpint(shown_state, ==, SPICE_POWER_STATE_ON);
    g_assert_cmphex(shown_actions, ==, SPICE_POWER_ACTION_PAUSE);

    /* Later on, requests are refused, but nothing is taken away */
    supported = 0;
    change_notifier->notify(change_notifier, NULL);
    g_assert_cmpint(removals, ==, 1);
    g_assert_nonnull(added);
}

static void assert_event(const char *name, const char *result, uint64_t id)
{
    QDict *event = take_event(name);
    QDict *data = qdict_get_qdict(event, "data");

    if (result) {
        g_assert_cmpstr(qdict_get_str(data, "result"), ==, result);
    }
    g_assert_true(qdict_haskey(data, "id") == (id != 0));
    g_assert_cmpint(qdict_get_try_int(data, "id", 0), ==, id);
    qobject_unref(event);
}

static void assert_pair(const char *result, bool message)
{
    static const char *const names[] = {
        "SPICE_POWER_REQUEST", "SPICE_POWER_RESULT",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        QDict *event = take_event(names[i]);
        QDict *data = qdict_get_qdict(event, "data");
        QDict *client = qdict_get_qdict(data, "client");

        g_assert_cmpstr(qdict_get_str(data, "action"), ==, "pause");
        g_assert_cmpint(qdict_get_int(data, "connection-id"), ==, 7);
        g_assert_cmpint(qdict_get_int(data, "request-id"), ==, 42);
        g_assert_false(qdict_haskey(data, "id"));
        g_assert_cmpstr(qdict_get_str(client, "sasl-username"), ==, "fred");
        g_assert_cmpstr(qdict_get_str(client, "host"), ==, "host");
        if (i == 1) {
            g_assert_cmpstr(qdict_get_str(data, "result"), ==, result);
            g_assert_true(qdict_haskey(data, "message") == message);
        }
        qobject_unref(event);
    }
    g_assert_true(g_queue_is_empty(&events));
}

static void test_record(void)
{
    possible = BIT(MACHINE_POWER_ACTION_PAUSE);
    machine_result = MACHINE_POWER_RESULT_OK;
    machine_requests = completions = 0;
    interface()->request(added, new_request(SPICE_POWER_ACTION_PAUSE));
    /*
     * The request is recorded before it is carried out, the client is told
     * before its result is recorded
     */
    g_assert_cmpint(events_at_completion, ==, 1);
    assert_pair("ok", false);
    machine_result = MACHINE_POWER_RESULT_WRONG_STATE;
    interface()->request(added, new_request(SPICE_POWER_ACTION_PAUSE));
    assert_pair("wrong-state", true);
    g_assert_cmpint(machine_requests, ==, 2);
    g_assert_cmpint(completions, ==, 2);

    interface()->refused(added, new_request(SPICE_POWER_ACTION_PAUSE),
                         SPICE_POWER_RESULT_BUSY, "busy");
    assert_pair("busy", true);
    g_assert_cmpint(machine_requests, ==, 2);
}

/* What only a newer library knows has no name on QMP */
static void test_unknown(void)
{
    interface()->refused(added, new_request(1 << 30),
                         SPICE_POWER_RESULT_DENIED, "what?");
    interface()->refused(added, new_request(0),
                         SPICE_POWER_RESULT_DENIED, "what?");
    interface()->refused(added, new_request(SPICE_POWER_ACTION_RESET),
                         99, "what?");
    g_assert_true(g_queue_is_empty(&events));
}

/* At most 50 in a second of what changes nothing; the others are counted */
static void test_flood(void)
{
    const int n = 1000;
    int64_t start = g_get_monotonic_time();
    int64_t seconds;
    int i, pairs, counted = 0;
    QDict *event;

    possible = 0;
    for (i = 0; i < n / 2; i++) {
        interface()->refused(added, new_request(SPICE_POWER_ACTION_PAUSE),
                             SPICE_POWER_RESULT_BUSY, "busy");
        interface()->request(added, new_request(SPICE_POWER_ACTION_PAUSE));
    }
    /* As many seconds as the clock may have begun */
    seconds = (g_get_monotonic_time() - start) / G_TIME_SPAN_SECOND + 2;
    pairs = g_queue_get_length(&events) / 2;
    g_assert_cmpint(pairs * 2, ==, g_queue_get_length(&events));
    g_assert_cmpint(pairs, <=, 50 * seconds);

    /* What can change something is always reported, and tells of the rest */
    possible = BIT(MACHINE_POWER_ACTION_PAUSE);
    interface()->request(added, new_request(SPICE_POWER_ACTION_PAUSE));
    g_assert_cmpint(g_queue_get_length(&events), ==, (pairs + 1) * 2);
    while ((event = g_queue_pop_head(&events))) {
        counted += qdict_get_try_int(qdict_get_qdict(event, "data"),
                                     "suppressed", 0);
        qobject_unref(event);
    }
    g_assert_cmpint(pairs + counted, ==, n);
}

/* From here on, power=managed */

static void reply_error(uint64_t id, const char *words)
{
    Error *err = NULL;
    int before = completions;

    qemu_spice_power_reply(id, MACHINE_POWER_RESULT_OK, NULL, &err);
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(error_get_pretty(err), words));
    error_free(err);
    g_assert_cmpint(completions, ==, before);
}

static void begin(uint32_t action, uint64_t id)
{
    completions = 0;
    interface()->request(added, new_request(action));
    assert_event("SPICE_POWER_REQUEST", NULL, id);
    g_assert_true(g_queue_is_empty(&events));
    g_assert_cmpint(completions, ==, 0);
}

static void assert_end(const char *result, uint32_t spice, uint64_t id)
{
    assert_event("SPICE_POWER_RESULT", result, id);
    g_assert_true(g_queue_is_empty(&events));
    g_assert_cmpint(completions, ==, 1);
    g_assert_cmpint(completed_result, ==, spice);
    reply_error(id, "no longer pending");
}

static void test_not_managed(void)
{
    Error *err = NULL;

    reply_error(1, "power=on");
    qemu_spice_power_set_possible(NULL, &err);
    g_assert_nonnull(strstr(error_get_pretty(err), "power=on"));
    error_free(err);
}

static void assert_allowed(uint32_t expected, const char *words)
{
    const char *reason = NULL;

    g_assert_cmphex(interface()->allowed(added, &client, &reason), ==,
                    expected);
    g_assert_nonnull(strstr(reason, words));
}

/* One command for all, and pushed to all */
static void test_allowed(void)
{
    MachinePowerActionList *list = NULL;

    assert_allowed(SPICE_POWER_ACTION_MASK, "");
    possible = ALL_ACTIONS;
    QAPI_LIST_PREPEND(list, MACHINE_POWER_ACTION_PAUSE);
    QAPI_LIST_PREPEND(list, MACHINE_POWER_ACTION_POWER_ON);
    allowed_updates = 0;
    qemu_spice_power_set_allowed(list, NULL, &error_abort);
    g_assert_cmpint(allowed_updates, ==, 1);
    assert_allowed(SPICE_POWER_ACTION_PAUSE | SPICE_POWER_ACTION_ON,
                   "restricted");
    /* this machine cannot be powered on */
    g_assert_cmphex(shown_actions, ==, SPICE_POWER_ACTION_PAUSE);
    qapi_free_MachinePowerActionList(list);

    qemu_spice_power_set_allowed(NULL, "Disks are being replaced",
                                 &error_abort);
    assert_allowed(0, "Disks are being replaced");
    g_assert_cmphex(shown_actions, ==, 0);

    list = NULL;
    for (int i = 0; i < MACHINE_POWER_ACTION__MAX; i++) {
        QAPI_LIST_PREPEND(list, i);
    }
    qemu_spice_power_set_allowed(list, NULL, &error_abort);
    qapi_free_MachinePowerActionList(list);
    assert_allowed(SPICE_POWER_ACTION_MASK, "");
}

static void assert_denied(const char *words)
{
    completions = 0;
    machine_requests = 0;
    possible = ALL_ACTIONS;
    interface()->request(added, new_request(SPICE_POWER_ACTION_PAUSE));
    g_assert_cmpint(completions, ==, 1);
    g_assert_cmpint(machine_requests, ==, 0);
    g_assert_cmpint(completed_result, ==, SPICE_POWER_RESULT_DENIED);
    g_assert_nonnull(strstr(completed_message, words));
    assert_pair("denied", true);
}

static void set_password_fails(const char *password, bool fail_if_connected,
                               const char *words)
{
    Error *err = NULL;

    g_assert_false(qemu_spice_power_set_password(password, fail_if_connected,
                                                 false, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), words));
    error_free(err);
}

/* A password of its own, as soon as there is one */
static void test_ticket(void)
{
    g_autofree char *long_one = g_strnfill(60, 'x');
    Error *err = NULL;

    client.ticket = SPICE_TICKET_ORDINARY;
    assert_allowed(SPICE_POWER_ACTION_MASK, "");
    g_assert_false(qemu_spice_power_expire_password(0, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "no password"));
    error_free(err);
    set_password_fails(long_one, false, "60 bytes");

    /* One that cannot be set leaves all as it was */
    is_connected = true;
    set_password_fails("press", true, "a client is connected");
    assert_allowed(SPICE_POWER_ACTION_MASK, "");
    g_assert_null(ticket);

    allowed_updates = 0;
    qemu_spice_power_set_password("press", false, false, &error_abort);
    g_assert_cmpint(allowed_updates, ==, 1);
    g_assert_cmpstr(ticket, ==, "press");
    assert_allowed(0, "not for power control");
    assert_denied("not for power control");
    client.ticket = SPICE_TICKET_NONE;
    assert_allowed(0, "not for power control");
    client.ticket = SPICE_TICKET_POWER;
    assert_allowed(SPICE_POWER_ACTION_MASK, "");

    set_password_fails("other", true, "a client is connected");
    g_assert_cmpstr(ticket, ==, "press");
    is_connected = false;
    qemu_spice_power_expire_password(time(NULL), &error_abort);
    g_assert_null(ticket);
    /* it lets nobody in any more; who is in stays what he is */
    assert_allowed(SPICE_POWER_ACTION_MASK, "");
    qemu_spice_power_expire_password(time(NULL) + 3600, &error_abort);
    g_assert_cmpstr(ticket, ==, "press");
    qemu_spice_power_expire_password(TIME_MAX, &error_abort);
    g_assert_cmpstr(ticket, ==, "press");
    qemu_spice_power_set_password("", false, false, &error_abort);
    g_assert_cmpstr(ticket, ==, "");
}

/* Must be the first of these */
static void test_managed_reply(void)
{
    machine_requests = 0;
    possible = BIT(MACHINE_POWER_ACTION_PAUSE);
    reply_error(0, "no request");
    reply_error(1, "no request");

    begin(SPICE_POWER_ACTION_PAUSE, 1);
    reply_error(0, "no request");
    reply_error(2, "no request");
    possible = BIT(MACHINE_POWER_ACTION_CONTINUE);
    qemu_spice_power_reply(1, MACHINE_POWER_RESULT_OK, NULL, &error_abort);
    assert_end("ok", SPICE_POWER_RESULT_OK, 1);
    g_assert_cmpstr(completed_message, ==, "");
    /* Nobody has said that it has changed: the reply did */
    g_assert_cmphex(shown_actions, ==, SPICE_POWER_ACTION_CONTINUE);

    begin(SPICE_POWER_ACTION_CONTINUE, 2);
    reply_error(1, "no longer pending");
    qemu_spice_power_reply(2, MACHINE_POWER_RESULT_DENIED, "no", &error_abort);
    assert_end("denied", SPICE_POWER_RESULT_DENIED, 2);
    g_assert_cmpstr(completed_message, ==, "no");
    g_assert_cmpint(machine_requests, ==, 0);
}

/* What the state does not allow is none of the management layer's business */
static void test_managed_refused(void)
{
    possible = 0;
    machine_result = MACHINE_POWER_RESULT_OK;
    interface()->request(added, new_request(SPICE_POWER_ACTION_PAUSE));
    assert_pair("ok", false);
    machine_result = MACHINE_POWER_RESULT_WRONG_STATE;
    interface()->request(added, new_request(SPICE_POWER_ACTION_PAUSE));
    assert_pair("wrong-state", true);
    reply_error(3, "no request");
}

static void test_managed_client_gone(void)
{
    SpicePowerRequest *request;

    possible = BIT(MACHINE_POWER_ACTION_PAUSE);
    begin(SPICE_POWER_ACTION_PAUSE, 3);
    request = new_request(SPICE_POWER_ACTION_PAUSE);
    interface()->cancelled(added, request);
    assert_end("failed", SPICE_POWER_RESULT_FAILED, 3);
}

/* What QEMU does by itself goes on without its client */
static void test_client_gone(void)
{
    possible = BIT(MACHINE_POWER_ACTION_RESET);
    completions = 0;
    keeps_request = true;
    interface()->request(added, new_request(SPICE_POWER_ACTION_RESET));
    assert_event("SPICE_POWER_REQUEST", NULL, 0);
    interface()->cancelled(added, new_request(SPICE_POWER_ACTION_RESET));
    g_assert_cmpint(completions, ==, 0);
    keeps_request = false;
    kept_done(kept_opaque, MACHINE_POWER_RESULT_OK, "");
    g_assert_cmpint(completions, ==, 1);
    assert_event("SPICE_POWER_RESULT", "ok", 0);
    g_assert_true(g_queue_is_empty(&events));
}

/* However many there are, the one to reply to is never kept from the record */
static void test_managed_flood(void)
{
    uint64_t id;
    int i;

    for (id = 4; id < 206; id++) {
        for (i = 0; i < 10; i++) {
            interface()->refused(added, new_request(SPICE_POWER_ACTION_PAUSE),
                                 SPICE_POWER_RESULT_BUSY, "busy");
        }
        while (!g_queue_is_empty(&events)) {
            qobject_unref((QDict *)g_queue_pop_head(&events));
        }
        possible = BIT(MACHINE_POWER_ACTION_RESET);
        begin(SPICE_POWER_ACTION_RESET, id);
        qemu_spice_power_reply(id, MACHINE_POWER_RESULT_BUSY, "", &error_abort);
        assert_end("busy", SPICE_POWER_RESULT_BUSY, id);
    }
}

/* The management layer's clients, by name: fred may, bob may not */
static void test_authz(void)
{
    QAuthZList *authz = QAUTHZ_LIST(
        object_resolve_path_component(object_get_objects_root(), "power"));

    client.ticket = SPICE_TICKET_NONE;
    assert_allowed(0, "not one of those");
    qauthz_list_append_rule(authz, "fred", QAUTHZ_LIST_POLICY_ALLOW,
                            QAUTHZ_LIST_FORMAT_EXACT, &error_abort);
    assert_allowed(SPICE_POWER_ACTION_MASK, "");
    client.sasl_username = "bob";
    assert_allowed(0, "not one of those");
    interface()->request(added, new_request(SPICE_POWER_ACTION_PAUSE));
    g_assert_cmpint(completed_result, ==, SPICE_POWER_RESULT_DENIED);
    assert_event("SPICE_POWER_REQUEST", NULL, 0);
    assert_event("SPICE_POWER_RESULT", "denied", 0);
    client.sasl_username = NULL;
    assert_allowed(0, "not one of those");

    /* Whoever is connected is told of changes */
    allowed_updates = 0;
    client.sasl_username = "bob";
    qauthz_list_append_rule(authz, "bob", QAUTHZ_LIST_POLICY_ALLOW,
                            QAUTHZ_LIST_FORMAT_EXACT, &error_abort);
    g_assert_cmpint(allowed_updates, ==, 1);
    assert_allowed(SPICE_POWER_ACTION_MASK, "");
    set_password_fails("press", false, "sasl=on");

    /* The object goes: nobody may.  Another one comes in its place. */
    object_unparent(OBJECT(authz));
    assert_allowed(0, "not one of those");
    authz = qauthz_list_new("power", QAUTHZ_LIST_POLICY_ALLOW, &error_abort);
    assert_allowed(SPICE_POWER_ACTION_MASK, "");
    allowed_updates = 0;
    qauthz_list_append_rule(authz, "bob", QAUTHZ_LIST_POLICY_DENY,
                            QAUTHZ_LIST_FORMAT_EXACT, &error_abort);
    g_assert_cmpint(allowed_updates, ==, 1);
    assert_allowed(0, "not one of those");
    client.sasl_username = "fred";
    assert_allowed(SPICE_POWER_ACTION_MASK, "");
}

static void test_managed_possible(void)
{
    MachinePowerActionList *list = NULL;

    possible = ALL_ACTIONS & ~BIT(MACHINE_POWER_ACTION_POWER_ON);
    QAPI_LIST_PREPEND(list, MACHINE_POWER_ACTION_PAUSE);
    QAPI_LIST_PREPEND(list, MACHINE_POWER_ACTION_POWER_ON);
    qemu_spice_power_set_possible(list, &error_abort);
    qapi_free_MachinePowerActionList(list);
    g_assert_cmphex(shown_actions, ==, SPICE_POWER_ACTION_PAUSE);

    /* It is the management layer that has to refuse the others */
    begin(SPICE_POWER_ACTION_RESET, 206);
    qemu_spice_power_reply(206, MACHINE_POWER_RESULT_DENIED, "", &error_abort);
    assert_end("denied", SPICE_POWER_RESULT_DENIED, 206);
    g_assert_cmphex(shown_actions, ==, SPICE_POWER_ACTION_PAUSE);

    qemu_spice_power_set_possible(NULL, &error_abort);
    g_assert_cmphex(shown_actions, ==, 0);
}

static void test_managed_query(void)
{
    SpicePowerControlInfo *info = qemu_spice_power_query();

    g_assert_cmpint(info->mode, ==, SPICE_POWER_CONTROL_MODE_MANAGED);
    g_assert_nonnull(info->allowed);
    g_assert_null(info->possible);
    g_assert_cmpstr(info->authz, ==, "power");
    g_assert_false(info->ticket);
    g_assert_null(info->pending);
    qapi_free_SpicePowerControlInfo(info);

    begin(SPICE_POWER_ACTION_RESET, 207);
    info = qemu_spice_power_query();
    g_assert_cmpint(info->pending->id, ==, 207);
    g_assert_cmpint(info->pending->action, ==, MACHINE_POWER_ACTION_RESET);
    g_assert_cmpint(info->pending->connection_id, ==, 7);
    g_assert_cmpint(info->pending->request_id, ==, 42);
    g_assert_cmpstr(info->pending->client->sasl_username, ==, "fred");
    qapi_free_SpicePowerControlInfo(info);
    qemu_spice_power_reply(207, MACHINE_POWER_RESULT_FAILED, "", &error_abort);
    assert_end("failed", SPICE_POWER_RESULT_FAILED, 207);
}

/* The client goes where the machine is, and its request ends here */
static void test_managed_migrated(void)
{
    qemu_spice_power_migrated();
    begin(SPICE_POWER_ACTION_RESET, 208);
    qemu_spice_power_migrated();
    assert_end("failed", SPICE_POWER_RESULT_FAILED, 208);
    g_assert_cmpstr(completed_message, ==, "The machine has been migrated");
    qemu_spice_power_migrated();
    g_assert_cmpint(completions, ==, 1);
}

static void test_managed_end(void)
{
    static const struct {
        uint32_t action;
        const char *result;
        uint32_t spice;
    } ends[] = {
        { SPICE_POWER_ACTION_RESET, "failed", SPICE_POWER_RESULT_FAILED },
        { SPICE_POWER_ACTION_PAUSE, "failed", SPICE_POWER_RESULT_FAILED },
        { SPICE_POWER_ACTION_CONTINUE, "failed", SPICE_POWER_RESULT_FAILED },
        { SPICE_POWER_ACTION_OFF, "ok", SPICE_POWER_RESULT_OK },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        begin(ends[i].action, 209 + i);
        looks = 0;
        unsent = 3;
        ending = true;
        change_notifier->notify(change_notifier, NULL);
        g_assert_cmpint(looks, >=, 4);
        g_assert_cmpint(unsent, ==, 0);
        assert_end(ends[i].result, ends[i].spice, 209 + i);
        ending = false;
    }
}

/* A result of long ago keeps nobody waiting, wherever it is */
static void test_old_result(void)
{
    g_usleep(1100 * 1000);
    looks = 0;
    unsent = 1000;
    ending = true;
    change_notifier->notify(change_notifier, NULL);
    ending = false;
    g_assert_cmpint(looks, ==, 0);
}

static void test_managed_begin(void)
{
    static QemuOptsList list = {
        .name = "spice-managed",
        .head = QTAILQ_HEAD_INITIALIZER(list.head),
        .desc = {
            { .name = "power", .type = QEMU_OPT_STRING },
            { .name = "power-authz", .type = QEMU_OPT_STRING },
            { .name = "sasl", .type = QEMU_OPT_BOOL },
            { /* end of list */ }
        },
    };
    QemuOpts *opts = qemu_opts_create(&list, NULL, 0, &error_abort);
    int64_t second = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) / 1000;

    /* In this one, no more is recorded of what changes nothing */
    while (qemu_clock_get_ms(QEMU_CLOCK_REALTIME) / 1000 == second) {
        g_usleep(1000);
    }

    /* A QEMU does this once, but it is the same code */
    spice_server_remove_interface(&added->base);
    supported = ALL_ACTIONS;
    managed = true;
    client.ticket = SPICE_TICKET_NONE;
    qauthz_list_new("power", QAUTHZ_LIST_POLICY_DENY, &error_abort);
    qemu_opt_set(opts, "power", "managed", &error_abort);
    qemu_opt_set(opts, "sasl", "on", &error_abort);
    qemu_opt_set(opts, "power-authz", "power", &error_abort);
    qemu_spice_power_init(server, opts);
    g_assert_nonnull(added);
}

int main(int argc, char **argv)
{
    static QemuOptsList list = {
        .name = "spice",
        .head = QTAILQ_HEAD_INITIALIZER(list.head),
        .desc = { { /* any option */ } },
    };
    QemuOpts *opts = qemu_opts_create(&list, NULL, 0, &error_abort);

    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);
    qemu_init_main_loop(&error_abort);

    qemu_opt_set(opts, "power", "on", &error_abort);
    qemu_spice_power_init(server, opts);
    g_assert_nonnull(change_notifier);

    g_test_add_func("/spice-power/withdraw", test_withdraw);
    g_test_add_func("/spice-power/record", test_record);
    g_test_add_func("/spice-power/unknown", test_unknown);
    g_test_add_func("/spice-power/allowed", test_allowed);
    g_test_add_func("/spice-power/ticket", test_ticket);
    g_test_add_func("/spice-power/flood", test_flood);
    g_test_add_func("/spice-power/client-gone", test_client_gone);
    g_test_add_func("/spice-power/not-managed", test_not_managed);
    g_test_add_func("/spice-power/managed/begin", test_managed_begin);
    g_test_add_func("/spice-power/managed/authz", test_authz);
    g_test_add_func("/spice-power/managed/reply", test_managed_reply);
    g_test_add_func("/spice-power/managed/refused", test_managed_refused);
    g_test_add_func("/spice-power/managed/client-gone",
                    test_managed_client_gone);
    g_test_add_func("/spice-power/managed/flood", test_managed_flood);
    g_test_add_func("/spice-power/managed/possible", test_managed_possible);
    g_test_add_func("/spice-power/managed/query", test_managed_query);
    g_test_add_func("/spice-power/managed/migrated", test_managed_migrated);
    g_test_add_func("/spice-power/managed/end", test_managed_end);
    g_test_add_func("/spice-power/old-result", test_old_result);

    return g_test_run();
}
