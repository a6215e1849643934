/*
 * Events of a Redfish service: each is a reason to look
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "redfish-events.h"
#include "redfish-host.h"

#define EVENT(record) "id: 1\ndata: {\"@odata.type\":" \
                      " \"#Event.v1_4_0.Event\", \"Events\": [" record "]}\n\n"
#define FROM(path) "\"OriginOfCondition\": {\"@odata.id\": \"" path "\"}"

static void set_up(Host *host, gconstpointer unused)
{
    redfish_events_times.first_ms = 20;
    redfish_events_times.last_ms = 40;
    redfish_events_times.gap_ms = 10;
    host_set_up(host, NULL);
    host->fake->has_events = TRUE;
}

static void tear_down(Host *host, gconstpointer unused)
{
    host_clear(host);
}

static gboolean is_told(Host *host)
{
    return host->backend->methods->is_told(host->backend);
}

/* Up to where events come, and what was so before has been told */
static void begin_events(Host *host)
{
    host_begin(host);
    host->backend->methods->watch(host->backend, host_changed, host);
    host->backend->methods->attend(host->backend, TRUE);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    RUN_UNTIL(host->changes);
    g_assert_true(is_told(host));
    g_assert_nonnull(host->fake->listener);
}

static void test_events(Host *host, gconstpointer unused)
{
    begin_events(host);
    host->fake->power = "\"Off\"";
    fake_redfish_send(host->fake, EVENT("{\"MessageId\":"
                      " \"ResourceEvent.1.0.ResourceChanged\", "
                      FROM(FAKE_SYSTEM) "}"));
    RUN_UNTIL(host->state == IS_OFF);
    g_assert_cmphex(host->possible, ==, ON);
    g_assert_cmpuint(host->changes, ==, 2);
    g_assert_cmpuint(host->answers, ==, 1);
}

/* What is about it, or may be, and what is not */
static void test_concerns(Host *host, gconstpointer unused)
{
    static const struct {
        const char *event;
        gboolean concerns;
    } events[] = {
        { EVENT("{" FROM(FAKE_SYSTEM "/Processors/1") "}"), TRUE },
        { EVENT("{" FROM("/redfish/v1/Systems/2")
                ", \"MessageId\": \"ResourceEvent.1.0.ResourceChanged\"}"),
          FALSE },
        { EVENT("{" FROM("/redfish/v1/Systems/10") "}"), FALSE },
        { EVENT("{" FROM("/redfish/v1/Chassis/1")
                ", \"MessageId\": \"Alert.1.0.HostPowerOff\"}"), TRUE },
        { EVENT("{" FROM("/redfish/v1/Chassis/1")
                ", \"MessageId\": \"Alert.1.0.FanFailed\"}"), FALSE },
        { EVENT("{" FROM("/redfish/v1/Chassis/1")
                ", \"MessageId\": \"ResourceEvent.1.0.StateChanged\"}"), TRUE },
        { EVENT("{\"MessageId\": \"OEM.1.0.Something\"}"), TRUE },
        { EVENT("{\"OriginOfCondition\": \"" FAKE_SYSTEM "\"}"), TRUE },
        { EVENT("7"), TRUE },
        { EVENT(""), FALSE },
        { "data: nonsense\n\n", FALSE },
        { "data: {\"MetricValues\": []}\n\n", FALSE },
        { ": a comment\n\n", FALSE },
        /* the other ends of lines, and an event in several of them */
        { "event: x\r\ndata:{\"Events\":\r\ndata:[{}]}\r\n\r\n", TRUE },
        { "data: {\"Events\": [{}]}\r\r", TRUE },
    };
    guint i;

    begin_events(host);
    for (i = 0; i < G_N_ELEMENTS(events); i++) {
        guint changes = host->changes;

        host->fake->power = i % 2 ? "\"Off\"" : "\"On\"";
        fake_redfish_send(host->fake, events[i].event);
        if (!events[i].concerns) {
            /* the next one is, and it's only that */
            fake_redfish_send(host->fake, EVENT("{" FROM(FAKE_SYSTEM) "}"));
        }
        RUN_UNTIL(host->changes > changes);
        g_assert_cmpuint(host->changes, ==, changes + 1);
        g_assert_cmpuint(host->state, ==, i % 2 ? IS_OFF : IS_ON);
    }
}

/* Many of them are few looks */
static void test_flood(Host *host, gconstpointer unused)
{
    guint looks, i;

    begin_events(host);
    redfish_events_times.gap_ms = 500;
    looks = host->fake->looks;
    for (i = 0; i < 1000; i++) {
        fake_redfish_send(host->fake, EVENT("{" FROM(FAKE_SYSTEM) "}"));
    }
    RUN_UNTIL(host->changes >= 3);
    host->fake->power = "\"Off\"";
    fake_redfish_send(host->fake, EVENT("{" FROM(FAKE_SYSTEM) "}"));
    RUN_UNTIL(host->state == IS_OFF);
    g_assert_cmpuint(host->fake->looks, <, looks + 100);
}

/* They break off: that is told at once, and they come again */
static void test_break(Host *host, gconstpointer unused)
{
    guint changes;

    begin_events(host);
    changes = host->changes;
    host->fake->power = "\"Off\"";
    fake_redfish_answer(host->fake, "GET " FAKE_EVENTS, 503, NULL, NULL);
    fake_redfish_hang_up(host->fake);
    RUN_UNTIL(host->changes > changes);
    g_assert_cmpuint(host->state, ==, IS_OFF);
    g_assert_false(is_told(host));
    /* it is asked, as ever */
    host->fake->power = "\"On\"";
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    fake_redfish_answer(host->fake, "GET " FAKE_EVENTS, 0, NULL, NULL);
    RUN_UNTIL(is_told(host));
    g_assert_cmpuint(host->fake->listeners, ==, 2);

    /* what is said while it is not listened to is not missed */
    changes = host->changes;
    host->fake->power = "\"Off\"";
    RUN_UNTIL(host->changes > changes);
    g_assert_cmpuint(host->state, ==, IS_OFF);
}

/* One that never ends is given up, and what is no stream is none */
static void test_wrong(Host *host, gconstpointer unused)
{
    g_autofree char *large = g_strnfill(300 * 1024, 'x');

    begin_events(host);
    fake_redfish_send(host->fake, "data: ");
    fake_redfish_send(host->fake, large);
    RUN_UNTIL(host->fake->listeners == 2);
    fake_redfish_answer(host->fake, "GET " FAKE_EVENTS, 200, NULL, "{}");
    fake_redfish_hang_up(host->fake);
    RUN_UNTIL(!is_told(host));
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    fake_redfish_answer(host->fake, "GET " FAKE_EVENTS, 0, NULL, NULL);
    RUN_UNTIL(is_told(host));
}

/* They are for those who are there */
static void test_attended(Host *host, gconstpointer unused)
{
    guint changes;

    host_begin(host);
    host->backend->methods->watch(host->backend, host_changed, host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    run_what_is_due();
    g_assert_cmpuint(host->fake->listeners, ==, 0);
    g_assert_false(is_told(host));
    host->backend->methods->attend(host->backend, TRUE);
    RUN_UNTIL(is_told(host));
    RUN_UNTIL(host->changes);
    /* the service gets to know that nobody listens any more */
    changes = host->changes;
    host->backend->methods->attend(host->backend, FALSE);
    g_assert_false(is_told(host));
    RUN_UNTIL(!host->fake->listener);
    /* and who is not told any more is told so */
    RUN_UNTIL(host->changes > changes);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    host->backend->methods->attend(host->backend, TRUE);
    RUN_UNTIL(is_told(host));
    g_assert_cmpuint(host->fake->log_ins, ==, 1);
}

/* Nobody logs in for their sake: a password that is wrong is tried once */
static void test_no_log_in(Host *host, gconstpointer unused)
{
    host->config.redfish_password = (char *)"wrong";
    host_begin(host);
    host->backend->methods->watch(host->backend, host_changed, host);
    host->backend->methods->attend(host->backend, TRUE);
    CHECK_TROUBLE(host, "does not accept the user", REFUSED);
    host->backend->methods->attend(host->backend, FALSE);
    host->backend->methods->attend(host->backend, TRUE);
    run_what_is_due();
    g_assert_cmpuint(host->fake->log_ins, ==, 1);
    g_assert_cmpuint(host->fake->listeners, ==, 0);
}

static void test_none(Host *host, gconstpointer unused)
{
    guint requests;

    fake_redfish_answer(host->fake, "GET /redfish/v1/EventService", 200, NULL,
                        "{\"ServiceEnabled\": true}");
    host_begin(host);
    host->backend->methods->watch(host->backend, host_changed, host);
    host->backend->methods->attend(host->backend, TRUE);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    RUN_UNTIL(host->fake->requests == 5);
    run_what_is_due();
    requests = host->fake->requests;
    /* that is not asked for again and again */
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpuint(host->fake->requests, ==, requests + 1);
    g_assert_false(is_told(host));
    g_assert_cmpuint(host->changes, ==, 0);
    host_end(host);

    /* nor if they are not to be used */
    host->config.redfish_events = FALSE;
    fake_redfish_answer(host->fake, "GET /redfish/v1/EventService", 0, NULL,
                        NULL);
    host_begin(host);
    host->backend->methods->watch(host->backend, host_changed, host);
    host->backend->methods->attend(host->backend, TRUE);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpuint(host->fake->listeners, ==, 0);
}

/* With each kind of request of events under way */
static void test_free(Host *host, gconstpointer unused)
{
    guint changes;

    begin_events(host);
    changes = host->changes;
    fake_redfish_send(host->fake, EVENT("{" FROM(FAKE_SYSTEM) "}"));
    fake_redfish_behave(host->fake, "GET " FAKE_SYSTEM, FAKE_SILENT, NULL);
    changes = host->fake->requests;
    RUN_UNTIL(host->fake->requests > changes);
    changes = host->changes;
    host_end(host);
    RUN_UNTIL(!host->fake->listener);
    g_assert_cmpuint(host->changes, ==, changes);
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 0, NULL, NULL);

    host->changes = host->answers = 0;
    begin_events(host);
    fake_redfish_send(host->fake, EVENT("{" FROM(FAKE_SYSTEM) "}"));
    host_end(host);
    RUN_UNTIL(!host->fake->listener);

    host->changes = host->answers = 0;
    fake_redfish_behave(host->fake, "GET " FAKE_EVENTS, FAKE_SILENT, NULL);
    host_begin(host);
    host->backend->methods->watch(host->backend, host_changed, host);
    host->backend->methods->attend(host->backend, TRUE);
    changes = host->fake->requests;
    host_state(host);
    RUN_UNTIL(host->fake->requests == changes + 6);
    host_end(host);
    g_assert_cmpuint(host->changes, ==, 0);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, test) \
    g_test_add("/redfish-events/" name, Host, NULL, set_up, test, tear_down)
    ADD("events", test_events);
    ADD("concerns", test_concerns);
    ADD("flood", test_flood);
    ADD("break", test_break);
    ADD("wrong", test_wrong);
    ADD("attended", test_attended);
    ADD("no-log-in", test_no_log_in);
    ADD("none", test_none);
    ADD("free", test_free);
#undef ADD
    return g_test_run();
}
