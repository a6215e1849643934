/*
 * The record of who has asked for what
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "audit.h"
#include "loop.h"
#include "peer.h"
#include "record-log.h"

#define field record_log_field

static gboolean no_journal(void)
{
    return FALSE;
}

static gboolean journal(void)
{
    return TRUE;
}

typedef struct Fixture {
    Audit *audit;
    SpiceChannelEventInfo channel;
    SpicePowerClient client;
    SpicePowerRequest request;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer unused)
{
    record_log_begin();
    audit_is_journal = no_journal;
    fixture->audit = audit_new("vm1");
    fixture->channel.connection_id = 42;
    fixture->channel.flags = SPICE_CHANNEL_EVENT_FLAG_TLS;
    fixture->channel.paddr_ext = peer_of("192.0.2.7", 50123);
    fixture->client.channel = &fixture->channel;
    fixture->client.sasl_username = "ann";
    fixture->client.ticket = SPICE_TICKET_NONE;
    fixture->request.action = SPICE_POWER_ACTION_OFF;
    fixture->request.client = &fixture->client;
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    audit_free(fixture->audit);
    record_log_end();
}

/* All that there is to say, in the order that is documented */
static void test_line(Fixture *fixture, gconstpointer unused)
{
    audit_request(fixture->audit, &fixture->request, SPICE_POWER_RESULT_OK, "",
                  812, FALSE);
    g_assert_cmpstr(field(0, "MESSAGE"), ==, "power request: machine=vm1"
                    " client=192.0.2.7 client-port=50123 tls=true"
                    " connection=42 user=ann ticket=none action=power-off"
                    " result=ok ms=812");
    g_assert_cmpstr(field(0, "MESSAGE_ID"), ==, AUDIT_REQUEST_ID);
    g_assert_cmpstr(field(0, "PRIORITY"), ==, "5");
    g_assert_cmpstr(field(0, "SPICE_MACHINE"), ==, "vm1");
    g_assert_cmpstr(field(0, "SPICE_CLIENT"), ==, "192.0.2.7");
    g_assert_cmpstr(field(0, "SPICE_CLIENT_PORT"), ==, "50123");
    g_assert_cmpstr(field(0, "SPICE_CONNECTION"), ==, "42");
    g_assert_cmpstr(field(0, "SPICE_TLS"), ==, "true");
    g_assert_cmpstr(field(0, "SPICE_USER"), ==, "ann");
    g_assert_cmpstr(field(0, "SPICE_TICKET"), ==, "none");
    g_assert_cmpstr(field(0, "SPICE_ACTION"), ==, "power-off");
    g_assert_cmpstr(field(0, "SPICE_RESULT"), ==, "ok");
    g_assert_cmpstr(field(0, "SPICE_MS"), ==, "812");
    g_assert_null(field(0, "SPICE_REASON"));
}

/* IPv6, a UNIX socket, no user, the other tickets */
static void test_clients(Fixture *fixture, gconstpointer unused)
{
    fixture->channel.paddr_ext = peer_of("2001:db8::7", 7);
    fixture->channel.flags = 0;
    fixture->client.sasl_username = NULL;
    fixture->client.ticket = SPICE_TICKET_POWER;
    audit_request(fixture->audit, &fixture->request, SPICE_POWER_RESULT_FAILED,
                  "no answer", 1, FALSE);
    g_assert_cmpstr(field(0, "MESSAGE"), ==, "power request: machine=vm1"
                    " client=2001:db8::7 client-port=7 tls=false"
                    " connection=42 ticket=power action=power-off"
                    " result=failed ms=1 reason=\"no answer\"");
    g_assert_null(field(0, "SPICE_USER"));
    fixture->channel.paddr_ext.ss_family = AF_UNIX;
    fixture->client.ticket = SPICE_TICKET_ORDINARY;
    audit_request(fixture->audit, &fixture->request, SPICE_POWER_RESULT_BUSY,
                  NULL, 0, TRUE);
    g_assert_cmpstr(field(1, "MESSAGE"), ==, "power request: machine=vm1"
                    " client=local tls=false connection=42 ticket=ordinary"
                    " action=power-off result=busy ms=0");
    g_assert_null(field(1, "SPICE_CLIENT_PORT"));
}

/* With fields beside, it is a sentence */
static void test_journal(Fixture *fixture, gconstpointer unused)
{
    audit_is_journal = journal;
    audit_request(fixture->audit, &fixture->request, SPICE_POWER_RESULT_OK, "",
                  812, FALSE);
    g_assert_cmpstr(field(0, "MESSAGE"), ==, "vm1: power-off for ann at"
                    " 192.0.2.7 port 50123: done after 812 ms");
    audit_request(fixture->audit, &fixture->request, SPICE_POWER_RESULT_OK, "",
                  3, TRUE);
    g_assert_cmpstr(field(1, "MESSAGE"), ==, "vm1: power-off for ann at"
                    " 192.0.2.7 port 50123: was so already after 3 ms");
    fixture->client.sasl_username = "a b";
    audit_request(fixture->audit, &fixture->request, SPICE_POWER_RESULT_DENIED,
                  "You may only watch", 0, TRUE);
    g_assert_cmpstr(field(2, "MESSAGE"), ==, "vm1: power-off for \"a b\" at"
                    " 192.0.2.7 port 50123: denied after 0 ms:"
                    " \"You may only watch\"");
    audit_not_let_in(fixture->audit, &fixture->channel, "a wrong password");
    g_assert_cmpstr(field(3, "MESSAGE"), ==, "vm1: not let in: 192.0.2.7 port"
                    " 50123: a wrong password");
}

/* No name, and no reason, looks like another field or another line */
static void test_forged(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        const char *name, *quoted;
    } known[] = {
        { "ann@EXAMPLE.ORG", "ann@EXAMPLE.ORG" },
        { "", "\"\"" },
        { "ann result=ok", "\"ann result=ok\"" },
        { "a=b", "\"a=b\"" },
        { "ann\" result=ok \"", "\"ann\\\" result=ok \\\"\"" },
        { "a\\\"b", "\"a\\\\\\\"b\"" },
        { "ann\npower request: x", "\"ann\\u000apower request: x\"" },
        { "a\r\033[2K\177", "\"a\\u000d\\u001b[2K\\u007f\"" },
        /* a line's end, and what turns the direction of writing round */
        { "a\u2028b\u2029\u202e\xc2\x85",
          "\"a\\u2028b\\u2029\\u202e\\u0085\"" },
        { "zo\u00eb", "\"zo\u00eb\"" },
        { "\xff\xfe", "\"\ufffd\ufffd\"" },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree char *quoted = audit_quote(known[i].name);
        g_autofree char *expected =
            g_strdup_printf(" user=%s ticket=none ", known[i].quoted);

        g_assert_cmpstr(quoted, ==, known[i].quoted);
        fixture->client.sasl_username = known[i].name;
        audit_request(fixture->audit, &fixture->request,
                      SPICE_POWER_RESULT_OK, NULL, 0, FALSE);
        g_assert_nonnull(strstr(field(i, "MESSAGE"), expected));
        g_assert_null(strchr(field(i, "MESSAGE"), '\n'));
        /* a field is what it is */
        g_assert_cmpstr(field(i, "SPICE_USER"), ==, known[i].name);
    }
}

/* What changes nothing is told ten times, of each kind, and then counted */
static void test_limit(Fixture *fixture, gconstpointer unused)
{
    int i;

    audit_limit_ms = 20;
    for (i = 0; i < 13; i++) {
        audit_request(fixture->audit, &fixture->request,
                      SPICE_POWER_RESULT_DENIED, "no", 0, TRUE);
    }
    g_assert_cmpuint(lines->len, ==, 10);
    for (i = 0; i < 11; i++) {
        audit_not_let_in(fixture->audit, &fixture->channel, "wrong");
    }
    g_assert_cmpuint(lines->len, ==, 20);
    g_assert_cmpstr(field(19, "MESSAGE"), ==, "not let in: machine=vm1"
                    " client=192.0.2.7 client-port=50123 tls=true"
                    " reason=wrong");
    g_assert_cmpstr(field(19, "MESSAGE_ID"), ==, AUDIT_LOGIN_ID);
    /* what has been done is never left out */
    for (i = 0; i < 20; i++) {
        audit_request(fixture->audit, &fixture->request, SPICE_POWER_RESULT_OK,
                      "", 1, FALSE);
    }
    g_assert_cmpuint(lines->len, ==, 40);
    RUN_UNTIL(lines->len == 41);
    g_assert_cmpstr(field(40, "MESSAGE"), ==, "left out of the log:"
                    " machine=vm1 denied=3 not-let-in=1");
    g_assert_cmpstr(field(40, "MESSAGE_ID"), ==, AUDIT_LEFT_OUT_ID);
    g_assert_cmpstr(field(40, "SPICE_LEFT_OUT_DENIED"), ==, "3");
    g_assert_cmpstr(field(40, "SPICE_LEFT_OUT_NOT_LET_IN"), ==, "1");
    /* and then from the beginning */
    for (i = 0; i < 11; i++) {
        audit_request(fixture->audit, &fixture->request,
                      SPICE_POWER_RESULT_DENIED, "no", 0, TRUE);
    }
    g_assert_cmpuint(lines->len, ==, 51);
    audit_free(g_steal_pointer(&fixture->audit));
    g_assert_cmpuint(lines->len, ==, 52);
    g_assert_cmpstr(field(51, "SPICE_LEFT_OUT_DENIED"), ==, "1");
}

/* All are counted, told or not */
static void test_counts(Fixture *fixture, gconstpointer unused)
{
    Audit *audit = fixture->audit;
    int i;

    for (i = 0; i < 12; i++) {
        audit_request(audit, &fixture->request, SPICE_POWER_RESULT_BUSY, "no",
                      0, TRUE);
    }
    audit_not_let_in(audit, &fixture->channel, "wrong");
    g_assert_cmpuint(audit_requests(audit, SPICE_POWER_ACTION_OFF,
                                    SPICE_POWER_RESULT_BUSY), ==, 12);
    g_assert_cmpuint(audit_requests(audit, SPICE_POWER_ACTION_ON,
                                    SPICE_POWER_RESULT_BUSY), ==, 0);
    g_assert_cmpuint(audit_logins_refused(audit), ==, 1);
    /* those of a newer library have no name, and no place */
    fixture->request.action = 1 << 5;
    audit_request(audit, &fixture->request, SPICE_POWER_RESULT_OK, "", 0,
                  FALSE);
    fixture->request.action = 0;
    audit_request(audit, &fixture->request, SPICE_POWER_RESULT_OK, "", 0,
                  FALSE);
    fixture->request.action = SPICE_POWER_ACTION_OFF;
    audit_request(audit, &fixture->request, SPICE_POWER_RESULT_FAILED + 1, "",
                  0, FALSE);
    g_assert_cmpuint(lines->len, ==, 11);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    record_log_init();
#define ADD(name, function) \
    g_test_add("/audit/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("line", test_line);
    ADD("clients", test_clients);
    ADD("journal", test_journal);
    ADD("forged", test_forged);
    ADD("limit", test_limit);
    ADD("counts", test_counts);
    return g_test_run();
}
