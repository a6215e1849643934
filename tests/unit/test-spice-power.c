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
#include "hw/core/machine-power.h"
#include "hw/qdev-core.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-emit-events.h"
#include "qobject/qdict.h"
#include "qemu/option.h"
#include "ui/qemu-spice.h"

#define ALL_ACTIONS MAKE_64BIT_MASK(0, MACHINE_POWER_ACTION__MAX)
#define NEEDS_RESET (BIT(MACHINE_POWER_ACTION_RESET) | \
                     BIT(MACHINE_POWER_ACTION_POWER_ON))

/* The machine */

static bool ready;
static uint32_t supported = ALL_ACTIONS;
static uint32_t possible;
static MachinePowerResult machine_result;
static int machine_requests;
static Notifier *change_notifier;

bool phase_check(MachineInitPhase phase)
{
    return ready;
}

void machine_power_add_change_notifier(Notifier *notifier)
{
    change_notifier = notifier;
}

MachinePowerState machine_power_state(void)
{
    return MACHINE_POWER_STATE_ON;
}

uint32_t machine_power_possible(bool managed)
{
    return possible;
}

uint32_t machine_power_supported(void)
{
    return ready ? supported : ALL_ACTIONS;
}

bool machine_power_ending(void)
{
    return false;
}

void machine_power_request(MachinePowerAction action, MachinePowerDone *done,
                           void *opaque)
{
    machine_requests++;
    done(opaque, machine_result,
         machine_result == MACHINE_POWER_RESULT_OK ? "" : "why not");
}

/* spice-server */

static SpicePowerInstance *added;
static int removals, completions;
static uint32_t shown_state, shown_actions;

static int add_interface(SpiceBaseInstance *sin)
{
    g_assert_null(added);
    added = container_of(sin, SpicePowerInstance, base);
    return 0;
}

struct QemuSpiceOps qemu_spice = {
    .add_interface = add_interface,
};

int spice_server_remove_interface(SpiceBaseInstance *sin)
{
    g_assert_true(sin == &added->base);
    added = NULL;
    removals++;
    return 0;
}

void spice_server_power_set_state(SpicePowerInstance *sin,
                                  uint32_t state, uint32_t actions)
{
    g_assert_true(sin == added);
    shown_state = state;
    shown_actions = actions;
}

void spice_server_power_complete(SpicePowerRequest *request,
                                 uint32_t result, const char *message)
{
    completions++;
}

int spice_server_power_flush(SpicePowerInstance *sin, uint32_t timeout_ms)
{
    g_assert_not_reached();
}

void qemu_spice_add_addr_info(SpiceBasicInfo *info, struct sockaddr *addr,
                              int len)
{
    info->host = g_strdup("host");
    info->port = g_strdup("port");
    info->family = NETWORK_ADDRESS_FAMILY_UNIX;
}

/* The monitor */

static GQueue events = G_QUEUE_INIT;

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

static SpicePowerRequest *new_request(uint32_t action)
{
    static SpiceChannelEventInfo client = { .connection_id = 7 };
    static SpicePowerRequest request;

    request = (SpicePowerRequest) {
        .action = action, .request_id = 42, .client = &client,
        .sasl_username = "fred",
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

int main(int argc, char **argv)
{
    static QemuOptsList list = {
        .name = "spice",
        .head = QTAILQ_HEAD_INITIALIZER(list.head),
        .desc = { { /* any option */ } },
    };
    QemuOpts *opts = qemu_opts_create(&list, NULL, 0, &error_abort);

    g_test_init(&argc, &argv, NULL);

    qemu_opt_set(opts, "power", "on", &error_abort);
    qemu_spice_power_init(opts);
    g_assert_nonnull(change_notifier);

    g_test_add_func("/spice-power/withdraw", test_withdraw);
    g_test_add_func("/spice-power/record", test_record);
    g_test_add_func("/spice-power/unknown", test_unknown);
    g_test_add_func("/spice-power/flood", test_flood);

    return g_test_run();
}
