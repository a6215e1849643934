/*
 * Domains of libvirt's test driver: what happens to them is told, and what is
 * asked for is done
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "loop.h"
#include "test-driver.h"

enum {
    RESET = SPICE_POWER_ACTION_RESET, OFF = SPICE_POWER_ACTION_OFF,
    ON = SPICE_POWER_ACTION_ON, PAUSE = SPICE_POWER_ACTION_PAUSE,
    CONTINUE = SPICE_POWER_ACTION_CONTINUE,
};
enum {
    IS_UNKNOWN = SPICE_POWER_STATE_UNKNOWN, IS_OFF = SPICE_POWER_STATE_OFF,
    IS_ON = SPICE_POWER_STATE_ON, IS_PAUSED = SPICE_POWER_STATE_PAUSED,
    IS_CRASHED = SPICE_POWER_STATE_CRASHED,
};

typedef struct Watched {
    MachineConfig config;
    Backend *backend;
    guint statuses, consoles, results;
    guint32 state, possible;
    char *trouble;
    char *host, *problem, *ticket;
    int port, tls_port;
    gint64 ticket_end;
    guint32 result;
    char *message;
} Watched;

typedef struct Fixture {
    virConnectPtr connection;   /* what others do, they do by this one */
    virDomainPtr domain;
    Watched watched;
} Fixture;

static void status_changed(const BackendStatus *status, gpointer opaque)
{
    Watched *watched = opaque;

    watched->statuses++;
    watched->state = status->state;
    watched->possible = status->possible;
    g_free(watched->trouble);
    watched->trouble = g_strdup(status->trouble);
}

static void console_changed(const BackendConsole *console, gpointer opaque)
{
    Watched *watched = opaque;

    watched->consoles++;
    g_free(watched->host);
    watched->host = g_strdup(console->host);
    watched->port = console->port;
    watched->tls_port = console->tls_port;
    g_free(watched->problem);
    watched->problem = g_strdup(console->problem);
    g_free(watched->ticket);
    watched->ticket = g_strdup(console->ticket);
    watched->ticket_end = console->ticket_end;
}

static void action_done(guint32 result, const char *message, gpointer opaque)
{
    Watched *watched = opaque;

    watched->results++;
    watched->result = result;
    g_free(watched->message);
    watched->message = g_strdup(message);
}

static void watch(Watched *watched, const char *uri, const char *domain)
{
    g_autoptr(GError) error = NULL;
    const BackendMethods *methods;

    watched->config.name = (char *)"machine";
    watched->config.backend = BACKEND_LIBVIRT;
    watched->config.action_timeout_ms = HANG_S * 1000;
    watched->config.libvirt_uri = (char *)uri;
    watched->config.libvirt_domain = (char *)domain;
    watched->backend = backend_new(&watched->config, &error);
    g_assert_no_error(error);
    methods = watched->backend->methods;
    g_assert_cmphex(methods->supported(watched->backend), ==,
                    SPICE_POWER_ACTION_MASK);
    g_assert_false(methods->can_ask(watched->backend));
    methods->watch_console(watched->backend, console_changed, watched);
    methods->attend(watched->backend, TRUE);
    methods->watch(watched->backend, status_changed, watched);
    g_assert_cmpuint(watched->statuses, ==, 0);         /* not at once */
}

static void watched_clear(Watched *watched)
{
    if (watched->backend) {
        watched->backend->methods->free(watched->backend);
    }
    g_free(watched->trouble);
    g_free(watched->host);
    g_free(watched->problem);
    g_free(watched->ticket);
    g_free(watched->message);
    *watched = (Watched) { 0 };
}

/* Something makes it so: nobody is asked for it */
static void wait_state(Watched *watched, guint32 state, guint32 possible)
{
    RUN_UNTIL(watched->statuses && watched->state == state &&
              watched->possible == possible);
    g_assert_null(watched->trouble);
}

static void wait_trouble(Watched *watched, const char *text)
{
    RUN_UNTIL(watched->trouble && strstr(watched->trouble, text));
    g_assert_cmpuint(watched->state, ==, IS_UNKNOWN);
}

static void act(Watched *watched, guint32 action, guint32 result)
{
    guint results = watched->results;

    watched->backend->methods->action(watched->backend, action, HANG_S * 1000,
                                      action_done, watched);
    g_assert_cmpuint(watched->results, ==, results);    /* later */
    RUN_UNTIL(watched->results > results);
    g_assert_cmpuint(watched->results, ==, results + 1);
    if (watched->result != result) {
        g_error("result %u, not %u: %s", watched->result, result,
                watched->message);
    }
    if (result == SPICE_POWER_RESULT_OK) {
        g_assert_cmpstr(watched->message, ==, "");
    }
}

static virDomainPtr define(Fixture *fixture, const char *name,
                           const char *devices)
{
    g_autofree char *xml = g_strdup_printf(
        "<domain type='test'><name>%s</name><memory>8192</memory>"
        "<os><type>hvm</type></os><devices>%s</devices></domain>", name,
        devices);
    virDomainPtr domain = virDomainDefineXML(fixture->connection, xml);

    g_assert_nonnull(domain);
    return domain;
}

static void set_up(Fixture *fixture, gconstpointer devices)
{
    fixture->connection = virConnectOpen(TEST_URI);
    g_assert_nonnull(fixture->connection);
    fixture->domain = define(fixture, "a", devices ?: "");
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    watched_clear(&fixture->watched);
    run_what_is_due();
    if (fixture->domain) {
        virDomainDestroy(fixture->domain);
        virDomainUndefine(fixture->domain);
        virDomainFree(fixture->domain);
    }
    virConnectClose(fixture->connection);
}

/* What others do */
static void test_states(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;

    watch(watched, TEST_URI, "a");
    wait_state(watched, IS_OFF, ON);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    /* who has paused it may rely on that */
    g_assert_cmpint(virDomainSuspend(fixture->domain), ==, 0);
    wait_state(watched, IS_PAUSED, RESET | OFF);
    g_assert_cmpint(virDomainResume(fixture->domain), ==, 0);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    g_assert_cmpint(virDomainDestroy(fixture->domain), ==, 0);
    wait_state(watched, IS_OFF, ON);
}

/* What clients ask for; the state follows by itself */
static void test_actions(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;

    watch(watched, TEST_URI, "a");
    wait_state(watched, IS_OFF, ON);
    act(watched, ON, SPICE_POWER_RESULT_OK);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    g_assert_cmpint(virDomainIsActive(fixture->domain), ==, 1);
    act(watched, PAUSE, SPICE_POWER_RESULT_OK);
    /* that is theirs to end */
    wait_state(watched, IS_PAUSED, RESET | OFF | CONTINUE);
    act(watched, CONTINUE, SPICE_POWER_RESULT_OK);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    act(watched, RESET, SPICE_POWER_RESULT_OK);
    act(watched, OFF, SPICE_POWER_RESULT_OK);
    wait_state(watched, IS_OFF, ON);
    g_assert_cmpint(virDomainIsActive(fixture->domain), ==, 0);
    /* but not what others do then */
    act(watched, ON, SPICE_POWER_RESULT_OK);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    g_assert_cmpint(virDomainSuspend(fixture->domain), ==, 0);
    wait_state(watched, IS_PAUSED, RESET | OFF);
}

/* What libvirt says when it refuses is what the person is told */
static void test_refused(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;

    watch(watched, TEST_URI, "a");
    wait_state(watched, IS_OFF, ON);
    act(watched, RESET, SPICE_POWER_RESULT_WRONG_STATE);
    g_assert_nonnull(strstr(watched->message, "not running"));
    act(watched, PAUSE, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(watched->message, "not running"));
    g_assert_cmpint(virDomainUndefine(fixture->domain), ==, 0);
    act(watched, ON, SPICE_POWER_RESULT_FAILED);
    g_assert_cmpstr(watched->message, ==, "There is no domain a");
    g_clear_pointer(&fixture->domain, virDomainFree);
}

/* It comes, goes, and comes again as another one of that name */
static void test_come_and_go(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;
    virDomainPtr domain;
    int i;

    watch(watched, TEST_URI, "b");
    wait_trouble(watched, "There is no domain b");
    for (i = 0; i < 2; i++) {
        domain = define(fixture, "b", "");
        wait_state(watched, IS_OFF, ON);
        act(watched, ON, SPICE_POWER_RESULT_OK);
        wait_state(watched, IS_ON, RESET | OFF | PAUSE);
        act(watched, OFF, SPICE_POWER_RESULT_OK);
        g_assert_cmpint(virDomainUndefine(domain), ==, 0);
        wait_trouble(watched, "There is no domain b");
        virDomainFree(domain);
    }
}

/* It has another name now, and its old one may be another domain's */
static void test_rename(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;
    virDomainPtr other;

    watch(watched, TEST_URI, "a");
    wait_state(watched, IS_OFF, ON);
    g_assert_cmpint(virDomainRename(fixture->domain, "new", 0), ==, 0);
    other = define(fixture, "a", "");
    act(watched, ON, SPICE_POWER_RESULT_OK);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    g_assert_cmpint(virDomainIsActive(fixture->domain), ==, 1);
    g_assert_cmpint(virDomainIsActive(other), ==, 0);
    virDomainUndefine(other);
    virDomainFree(other);
}

static void test_uuid(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;
    char uuid[VIR_UUID_STRING_BUFLEN];

    virDomainGetUUIDString(fixture->domain, uuid);
    watch(watched, TEST_URI, uuid);
    wait_state(watched, IS_OFF, ON);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
}

/* Two domains, and one without a name in the configuration, side by side */
static void test_several(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched, other = { 0 };
    virDomainPtr machine = define(fixture, "machine", "");

    watch(watched, TEST_URI, "a");
    watch(&other, TEST_URI, NULL);
    wait_state(watched, IS_OFF, ON);
    wait_state(&other, IS_OFF, ON);
    g_assert_cmpint(virDomainCreate(machine), ==, 0);
    wait_state(&other, IS_ON, RESET | OFF | PAUSE);
    g_assert_cmpuint(watched->state, ==, IS_OFF);
    watched_clear(&other);
    act(watched, ON, SPICE_POWER_RESULT_OK);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    virDomainDestroy(machine);
    virDomainUndefine(machine);
    virDomainFree(machine);
}

/* One of two hypervisors is not there, then it is */
static void test_two_hypervisors(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    g_autofree char *uri = g_strdup_printf("test://%s/node.xml", directory);
    g_autofree char *path = NULL;
    Watched *watched = &fixture->watched, other = { 0 };

    watch(watched, TEST_URI, "a");
    watch(&other, uri, "b");
    wait_trouble(&other, uri);
    g_assert_nonnull(strstr(other.trouble, "No connection to"));
    act(&other, ON, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(other.message, "No connection to"));
    wait_state(watched, IS_OFF, ON);
    path = put_file(directory, "node.xml",
                    "<node><domain type='test'><name>b</name>"
                    "<memory>8192</memory><os><type>hvm</type></os>"
                    "</domain></node>");
    /* it's tried again; the test driver starts what is in that file */
    wait_state(&other, IS_ON, RESET | OFF | PAUSE);
    act(&other, OFF, SPICE_POWER_RESULT_OK);
    wait_state(&other, IS_OFF, ON);
    g_assert_cmpuint(watched->state, ==, IS_OFF);
    watched_clear(&other);
    remove_all(directory);
}

/* Nothing is told of what ends in the midst of anything */
static void test_free(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;
    Watched end = { 0 };

    watch(&end, TEST_URI, "a");         /* while it connects */
    watched_clear(&end);
    watch(watched, TEST_URI, "a");
    wait_state(watched, IS_OFF, ON);
    watch(&end, TEST_URI, "a");         /* while it looks */
    watched_clear(&end);
    watch(&end, TEST_URI, "a");         /* while it acts */
    wait_state(&end, IS_OFF, ON);
    end.backend->methods->action(end.backend, ON, HANG_S * 1000, action_done,
                                 &end);
    watched_clear(&end);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    g_assert_cmpuint(end.results, ==, 0);
    virDomainDestroy(fixture->domain);
    wait_state(watched, IS_OFF, ON);
    /* or what can't be begun is to be answered */
    watch(&end, "test:///no/such/file.xml", "a");
    end.backend->methods->action(end.backend, ON, HANG_S * 1000, action_done,
                                 &end);
    watched_clear(&end);
    run_what_is_due();
}

/* --- its own SPICE server ------------------------------------------------- */

#define SPICE(attributes, address) \
    "<graphics type='spice' " attributes ">" \
    "<listen type='address' address='" address "'/></graphics>"
#define PASSWORD "passwd='pass' passwdValidTo='2100-01-01T00:00:00'"

static void wait_console(Watched *watched, const char *host)
{
    RUN_UNTIL(!g_strcmp0(watched->host, host));
}

static void test_console(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;

    watch(watched, TEST_URI, "a");
    wait_state(watched, IS_OFF, ON);
    RUN_UNTIL(watched->consoles);
    g_assert_null(watched->host);
    g_assert_null(watched->problem);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    wait_console(watched, "192.0.2.7");
    g_assert_cmpuint(watched->state, ==, IS_ON);        /* that comes before */
    g_assert_cmpint(watched->port, ==, 5901);
    g_assert_cmpint(watched->tls_port, ==, 5902);
    g_assert_null(watched->problem);
    g_assert_null(watched->ticket);     /* it's not asked for */
    /* it is still there */
    g_assert_cmpint(virDomainSuspend(fixture->domain), ==, 0);
    wait_state(watched, IS_PAUSED, RESET | OFF);
    g_assert_cmpstr(watched->host, ==, "192.0.2.7");
    g_assert_cmpint(virDomainDestroy(fixture->domain), ==, 0);
    wait_state(watched, IS_OFF, ON);
    wait_console(watched, NULL);
}

static void test_console_everywhere(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched, other = { 0 };

    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    watch(watched, TEST_URI, "a");
    RUN_UNTIL(watched->problem);
    g_assert_nonnull(strstr(watched->problem, "hand-over-host"));
    g_assert_null(watched->host);
    other.config.hand_over_host = (char *)"host.example.test";
    watch(&other, TEST_URI, "a");
    wait_console(&other, "host.example.test");
    g_assert_cmpint(other.port, ==, 5901);
    watched_clear(&other);
}

/* Clients of a UNIX socket would come back to it */
static void test_console_of_socket(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched, other = { 0 };

    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    watched->config.unix_socket = (char *)"/s";
    watch(watched, TEST_URI, "a");
    RUN_UNTIL(watched->problem);
    g_assert_null(watched->host);
    other.config.unix_socket = (char *)"/s";
    other.config.hand_over_host = (char *)"host.example.test";
    watch(&other, TEST_URI, "a");
    wait_console(&other, "host.example.test");
    watched_clear(&other);
}

/* Who has come by TLS does not go on without */
static void test_console_tls(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;
    virDomainPtr plain = define(fixture, "plain",
        "<graphics type='spice' port='5903'>"
        "<listen type='address' address='192.0.2.7'/></graphics>");
    Watched other = { 0 };

    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    watched->config.tls_port = 1;
    watch(watched, TEST_URI, "a");
    wait_console(watched, "192.0.2.7");
    g_assert_cmpint(watched->port, ==, 0);
    g_assert_cmpint(watched->tls_port, ==, 5902);

    g_assert_cmpint(virDomainCreate(plain), ==, 0);
    other.config.tls_port = 1;
    watch(&other, TEST_URI, "plain");
    RUN_UNTIL(other.problem);
    g_assert_nonnull(strstr(other.problem, "no TLS port"));
    g_assert_null(other.host);
    watched_clear(&other);
    virDomainDestroy(plain);
    virDomainUndefine(plain);
    virDomainFree(plain);
}

static void test_no_console(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;

    watch(watched, TEST_URI, "a");
    wait_state(watched, IS_OFF, ON);
    g_assert_null(watched->problem);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    RUN_UNTIL(watched->problem);
    g_assert_cmpstr(watched->problem, ==, "The domain has no SPICE graphics");
    g_assert_null(watched->host);
    g_assert_cmpint(virDomainDestroy(fixture->domain), ==, 0);
    RUN_UNTIL(!watched->problem);
}

/* Where nobody is whom that concerns, nothing is read; or not any more */
static void test_unattended(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;
    const BackendMethods *methods;
    guint consoles;

    watch(watched, TEST_URI, "a");
    RUN_UNTIL(watched->consoles);
    methods = watched->backend->methods;
    methods->attend(watched->backend, FALSE);
    consoles = watched->consoles;
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    wait_state(watched, IS_ON, RESET | OFF | PAUSE);
    act(watched, PAUSE, SPICE_POWER_RESULT_OK);
    wait_state(watched, IS_PAUSED, RESET | OFF | CONTINUE);
    g_assert_cmpuint(watched->consoles, ==, consoles);
    methods->attend(watched->backend, TRUE);
    RUN_UNTIL(watched->consoles > consoles);
    g_assert_cmpstr(watched->host, ==, "192.0.2.7");
}

/* The domain's password, whether it runs or not, and when it's defined anew */
static void test_ticket(Fixture *fixture, gconstpointer unused)
{
    Watched *watched = &fixture->watched;
    g_auto(GStrv) parts = NULL;
    g_autofree char *other = NULL;
    char *xml;

    watched->config.ticket_from = TICKET_DOMAIN;
    watch(watched, TEST_URI, "a");
    RUN_UNTIL(watched->ticket);
    g_assert_cmpuint(watched->state, ==, IS_OFF);
    g_assert_cmpstr(watched->ticket, ==, "pass");
    g_assert_cmpint(watched->ticket_end, ==, 4102444800);
    g_assert_null(watched->host);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    wait_console(watched, "192.0.2.7");
    g_assert_cmpstr(watched->ticket, ==, "pass");
    g_assert_cmpint(virDomainDestroy(fixture->domain), ==, 0);
    wait_console(watched, NULL);
    RUN_UNTIL(!g_strcmp0(watched->ticket, "pass"));

    xml = virDomainGetXMLDesc(fixture->domain, VIR_DOMAIN_XML_SECURE);
    parts = g_strsplit(xml, "'pass'", 0);
    free(xml);
    other = g_strjoinv("'other'", parts);
    virDomainFree(virDomainDefineXML(fixture->connection, other));
    RUN_UNTIL(!g_strcmp0(watched->ticket, "other"));
}

int main(int argc, char **argv)
{
    if (!has_test_driver()) {
        return SKIPPED;
    }
    test_init(&argc, &argv);
#define ADD(name, devices, function) \
    g_test_add("/libvirt/" name, Fixture, devices, set_up, function, \
               tear_down)
    ADD("states", NULL, test_states);
    ADD("actions", NULL, test_actions);
    ADD("refused", NULL, test_refused);
    ADD("come-and-go", NULL, test_come_and_go);
    ADD("rename", NULL, test_rename);
    ADD("uuid", NULL, test_uuid);
    ADD("several", NULL, test_several);
    ADD("two-hypervisors", NULL, test_two_hypervisors);
    ADD("free", NULL, test_free);
    ADD("console", SPICE("port='5901' tlsPort='5902'", "192.0.2.7"),
        test_console);
    ADD("console-everywhere", SPICE("port='5901'", "0.0.0.0"),
        test_console_everywhere);
    ADD("console-tls", SPICE("port='5901' tlsPort='5902'", "192.0.2.7"),
        test_console_tls);
    ADD("console-of-socket", SPICE("port='5901'", "192.0.2.7"),
        test_console_of_socket);
    ADD("no-console", "<graphics type='vnc'/>", test_no_console);
    ADD("unattended", SPICE("port='5901'", "192.0.2.7"), test_unattended);
    ADD("ticket", SPICE("port='5901' " PASSWORD, "192.0.2.7"), test_ticket);
    return g_test_run();
}
