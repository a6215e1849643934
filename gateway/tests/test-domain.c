/*
 * Machines that are domains of libvirt's test driver: when clients are handed
 * over to the domain's own SPICE server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "display.h"
#include "fake-spice.h"
#include "listening.h"
#include "loop.h"
#include "test-driver.h"
#include "machine.h"
#include "server.h"

#define CONFIG \
    "[server]\nport=5900\n" \
    "[power]\nbackend=libvirt\n" \
    "[libvirt]\nuri=" TEST_URI "\n"
#define GRAPHICS \
    "<graphics type='spice' port='5901' tlsPort='5902' passwd='pass'>" \
    "<listen type='address' address='192.0.2.7'/></graphics>"

typedef struct Fixture {
    char *directory;
    virConnectPtr connection;
    virDomainPtr domain;
    MachineConfig *config;
    Machine *machine;
    SpiceServer *server;
} Fixture;

/* --- instead of the program's display ------------------------------------ */

static gboolean is_shown;

struct Display {
    int unused;
};

Display *display_new(SpiceServer *server)
{
    return g_new0(Display, 1);
}

void display_show(Display *display, Picture *picture)
{
    is_shown = TRUE;
}

void display_hide(Display *display)
{
    is_shown = FALSE;
}

void display_update(Display *display, int x, int y, int width, int height)
{
    g_assert_true(is_shown);
}

void display_cursor(Display *display, const guint8 *rgba, int width,
                    int height, int hot_x, int hot_y)
{
}

void display_free(Display *display)
{
    g_free(display);
}

/* --- instead of the domain's SPICE server -------------------------------- */

static gboolean is_listening;
static guint checks;

typedef struct Check {
    GCancellable *cancellable;
    ListeningFunc done;
    gpointer opaque;
} Check;

static gboolean answer(gpointer opaque)
{
    Check *check = opaque;

    if (!g_cancellable_is_cancelled(check->cancellable)) {
        checks++;
        check->done(is_listening, check->opaque);
    }
    g_object_unref(check->cancellable);
    g_free(check);
    return G_SOURCE_REMOVE;
}

void listening_check(const char *host, int port, GCancellable *cancellable,
                     ListeningFunc done, gpointer opaque)
{
    Check *check = g_new0(Check, 1);

    g_assert_cmpstr(host, ==, "192.0.2.7");
    g_assert_cmpint(port, ==, 5901);
    check->cancellable = g_object_ref(cancellable);
    check->done = done;
    check->opaque = opaque;
    g_idle_add(answer, check);
}

/* ------------------------------------------------------------------------- */

static void define(Fixture *fixture, const char *devices)
{
    g_autofree char *xml = g_strdup_printf(
        "<domain type='test'><name>a</name><memory>8192</memory>"
        "<os><type>hvm</type></os><devices>%s</devices></domain>", devices);

    fixture->domain = virDomainDefineXML(fixture->connection, xml);
    g_assert_nonnull(fixture->domain);
}

/* @settings is what the configuration has beside */
static void start(Fixture *fixture, const char *settings, const char *devices)
{
    g_autofree char *text = g_strconcat(CONFIG, settings, NULL);
    g_autofree char *path = put_file(fixture->directory, "a.conf", text);
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(Config) config = config_load(path, problems);
    g_autoptr(GError) error = NULL;

    if (problems->len) {
        g_error("%s", (char *)problems->pdata[0]);
    }
    fixture->config = g_ptr_array_steal_index(config->machines, 0);
    define(fixture, devices);
    fixture->machine = machine_new(fixture->config, &error);
    g_assert_no_error(error);
    machine_start(fixture->machine, &error);
    g_assert_no_error(error);
    machine_watch(fixture->machine);
    if (fixture->config->ticket_from == TICKET_DOMAIN) {
        /* who comes before that is known would be told that it is wrong */
        g_assert_null(machine_server(fixture->machine));
        RUN_UNTIL(machine_server(fixture->machine));
    }
    fixture->server = machine_server(fixture->machine);
}

static void wait_state(Fixture *fixture, guint32 state)
{
    RUN_UNTIL(fixture->server->state == state);
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    is_listening = TRUE;
    checks = 0;
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    fixture->connection = virConnectOpen(TEST_URI);
    g_assert_nonnull(fixture->connection);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    machine_free(fixture->machine);
    g_assert_cmpuint(fake_servers, ==, 0);
    g_assert_false(is_shown);
    machine_config_free(fixture->config);
    virDomainDestroy(fixture->domain);
    virDomainUndefine(fixture->domain);
    virDomainFree(fixture->domain);
    virConnectClose(fixture->connection);
    remove_all(fixture->directory);
    g_free(fixture->directory);
}

static void ask(Fixture *fixture, guint32 action)
{
    FakeRequest *request = fake_ask(fixture->server, action, 1);

    RUN_UNTIL(request->done);
    if (request->result != SPICE_POWER_RESULT_OK) {
        g_error("result %u: %s", request->result, request->message);
    }
    fake_request_free(request);
}

/* First the state, then the result, then the hand-over, once */
static void test_power_on(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *late;

    start(fixture, "", GRAPHICS);
    wait_state(fixture, SPICE_POWER_STATE_OFF);
    g_assert_null(fixture->server->host);
    ask(fixture, SPICE_POWER_ACTION_ON);
    g_assert_cmpuint(fixture->server->state, ==, SPICE_POWER_STATE_ON);
    RUN_UNTIL(fixture->server->host);
    g_assert_cmpstr(fixture->server->host, ==, "192.0.2.7");
    g_assert_cmpint(fixture->server->host_port, ==, 5901);
    g_assert_cmpint(fixture->server->host_tls_port, ==, 5902);
    /* who is slow to go is not told again, and nothing is begun for it */
    late = fake_ask(fixture->server, SPICE_POWER_ACTION_RESET, 2);
    g_assert_cmpint(virDomainSuspend(fixture->domain), ==, 0);
    wait_state(fixture, SPICE_POWER_STATE_PAUSED);
    g_assert_cmpint(virDomainResume(fixture->domain), ==, 0);
    wait_state(fixture, SPICE_POWER_STATE_ON);
    run_what_is_due();
    g_assert_cmpuint(fixture->server->hand_overs, ==, 1);
    g_assert_false(late->done);
    /* but the next time it runs */
    g_assert_cmpint(virDomainDestroy(fixture->domain), ==, 0);
    wait_state(fixture, SPICE_POWER_STATE_OFF);
    RUN_UNTIL(late->done);
    g_assert_cmpuint(late->result, ==, SPICE_POWER_RESULT_WRONG_STATE);
    fake_request_free(late);
    ask(fixture, SPICE_POWER_ACTION_ON);
    RUN_UNTIL(fixture->server->hand_overs == 2);
}

/* What is asked for while it runs is for its own server, if that is there */
static void test_request_moves(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;

    start(fixture, "", GRAPHICS);
    is_listening = FALSE;
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    RUN_UNTIL(checks == 1);
    /* it is not, so it is done here */
    ask(fixture, SPICE_POWER_ACTION_PAUSE);
    ask(fixture, SPICE_POWER_ACTION_CONTINUE);
    is_listening = TRUE;
    RUN_UNTIL(fixture->server->hand_overs == 1);
    machine_times.again_ms = 0; /* nobody comes back too early */
    fake_connect(fixture->server);
    RUN_UNTIL(fixture->server->hand_overs == 2);
    request = fake_ask(fixture->server, SPICE_POWER_ACTION_PAUSE, 3);
    fake_connect(fixture->server);
    RUN_UNTIL(fixture->server->hand_overs == 3);
    g_assert_true(request->done);
    g_assert_cmpuint(request->result, ==, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(request->message, "own server"));
    fake_request_free(request);
    run_what_is_due();
    g_assert_cmpuint(fixture->server->state, ==, SPICE_POWER_STATE_ON);
    machine_times.again_ms = 500;
}

/* Somebody else starts it */
static void test_started(Fixture *fixture, gconstpointer unused)
{
    start(fixture, "[server]\nhand-over-host=host.example.test\n", GRAPHICS);
    wait_state(fixture, SPICE_POWER_STATE_OFF);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    RUN_UNTIL(fixture->server->host);
    g_assert_cmpstr(fixture->server->host, ==, "host.example.test");
}

/* A client comes while it runs, and another one */
static void test_client_later(Fixture *fixture, gconstpointer unused)
{
    start(fixture, "", GRAPHICS);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    RUN_UNTIL(fixture->server->hand_overs == 1);
    fake_connect(fixture->server);
    RUN_UNTIL(fixture->server->hand_overs == 2);
    fake_connect(fixture->server);
    RUN_UNTIL(fixture->server->hand_overs == 3);
}

/* One that comes because it has been powered off must not be sent back */
static void test_client_handed_back(Fixture *fixture, gconstpointer unused)
{
    guint before;

    start(fixture, "", GRAPHICS);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    RUN_UNTIL(fixture->server->hand_overs == 1);
    /* it is ending, and libvirt does not say so yet */
    is_listening = FALSE;
    fake_connect(fixture->server);
    before = checks;
    RUN_UNTIL(checks == before + 2);
    g_assert_cmpuint(fixture->server->state, ==, SPICE_POWER_STATE_ON);
    g_assert_cmpint(virDomainDestroy(fixture->domain), ==, 0);
    wait_state(fixture, SPICE_POWER_STATE_OFF);
    run_what_is_due();
    g_assert_cmpuint(fixture->server->hand_overs, ==, 1);
    /* it takes them again the next time */
    is_listening = TRUE;
    ask(fixture, SPICE_POWER_ACTION_ON);
    RUN_UNTIL(fixture->server->hand_overs == 2);
}

/* It runs, and takes clients only some time later */
static void test_listens_later(Fixture *fixture, gconstpointer unused)
{
    is_listening = FALSE;
    start(fixture, "", GRAPHICS);
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    RUN_UNTIL(checks == 2);
    g_assert_cmpuint(fixture->server->hand_overs, ==, 0);
    is_listening = TRUE;
    RUN_UNTIL(fixture->server->hand_overs == 1);
    /* it is stopped while it is looked whether it takes them */
    is_listening = FALSE;
    fake_connect(fixture->server);
    RUN_UNTIL(checks == 4);
    machine_stop(fixture->machine);
    run_what_is_due();
    g_assert_cmpuint(checks, ==, 4);
}

/* There is nowhere to go, and that is what clients see */
static void test_no_graphics(Fixture *fixture, gconstpointer unused)
{
    start(fixture, "", "");
    wait_state(fixture, SPICE_POWER_STATE_OFF);
    g_assert_false(is_shown);
    ask(fixture, SPICE_POWER_ACTION_ON);
    RUN_UNTIL(is_shown);
    fake_connect(fixture->server);
    ask(fixture, SPICE_POWER_ACTION_OFF);
    RUN_UNTIL(!is_shown);
    g_assert_cmpuint(fixture->server->hand_overs, ==, 0);
}

static void test_ticket(Fixture *fixture, gconstpointer unused)
{
    start(fixture, "[server]\nticket=domain\n", GRAPHICS);
    g_assert_cmpstr(fixture->server->ticket, ==, "pass");
    g_assert_cmpint(fixture->server->lifetime, ==, 0);
    g_assert_cmpint(virDomainUndefine(fixture->domain), ==, 0);
    RUN_UNTIL(fixture->server->is_locked);
    virDomainFree(fixture->domain);
    define(fixture, "<graphics type='spice' passwd='other'"
                    " passwdValidTo='2100-01-01T00:00:00'/>");
    RUN_UNTIL(fixture->server->ticket);
    g_assert_cmpstr(fixture->server->ticket, ==, "other");
    g_assert_cmpint(fixture->server->lifetime, >, 0);
}

/* The domain may have another password for power control */
static void test_power_ticket(Fixture *fixture, gconstpointer unused)
{
    start(fixture, "[server]\nticket=domain\n", GRAPHICS);
    g_assert_cmpstr(fixture->server->ticket, ==, "pass");
    g_assert_null(fixture->server->power_ticket);
    g_assert_cmphex(fake_allowed(fixture->server, SPICE_TICKET_ORDINARY), ==,
                    SPICE_POWER_ACTION_MASK);
    server_set_power_ticket(fixture->server, "press", 0);
    g_assert_cmpstr(fixture->server->power_ticket, ==, "press");
    server_set_power_ticket(fixture->server, "press", 1);
    g_assert_null(fixture->server->power_ticket);
}

static void test_ticket_over(Fixture *fixture, gconstpointer unused)
{
    start(fixture, "[server]\nticket=domain\n",
          "<graphics type='spice' passwd='pass'"
          " passwdValidTo='2001-01-01T00:00:00'/>");
    wait_state(fixture, SPICE_POWER_STATE_OFF);
    run_what_is_due();
    g_assert_true(fixture->server->is_locked);
}

int main(int argc, char **argv)
{
    if (!has_test_driver()) {
        return SKIPPED;
    }
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/domain/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("power-on", test_power_on);
    ADD("request-moves", test_request_moves);
    ADD("started", test_started);
    ADD("client-later", test_client_later);
    ADD("client-handed-back", test_client_handed_back);
    ADD("listens-later", test_listens_later);
    ADD("no-graphics", test_no_graphics);
    ADD("ticket", test_ticket);
    ADD("power-ticket", test_power_ticket);
    ADD("ticket-over", test_ticket_over);
    return g_test_run();
}
