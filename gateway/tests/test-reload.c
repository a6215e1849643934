/*
 * The configuration is read again while clients are connected
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fake-spice.h"
#include "gateway.h"
#include "loop.h"

#define MACHINE(settings) \
    "[server]\n" \
    "unix-socket={directory}/a\n" settings \
    "[power]\n" \
    "backend=exec\n" \
    "poll-interval=0.01\n" \
    "idle-poll-interval=0.01\n" \
    "[exec]\n" \
    "status=echo on\n"

typedef struct Fixture {
    char *directory;
    Gateway *gateway;
} Fixture;

static void put(Fixture *fixture, const char *name, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "{directory}", -1);
    g_autofree char *whole = g_strjoinv(fixture->directory, parts);

    g_free(put_file(fixture->directory, name, whole));
}

static Config *load(Fixture *fixture)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    Config *config = config_load(fixture->directory, problems);

    if (problems->len) {
        g_error("%s", (char *)problems->pdata[0]);
    }
    return config;
}

static void reload(Fixture *fixture)
{
    gateway_reload(fixture->gateway, load(fixture));
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new();
    g_autoptr(GError) error = NULL;

    gateway_replace_ms = 20;
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    put(fixture, "ticket", "first");
    put(fixture, "machines/a.conf", MACHINE("ticket-file=../ticket\n"));
    fixture->gateway = gateway_new(load(fixture), problems);
    g_assert_cmpuint(problems->len, ==, 0);
    gateway_start(fixture->gateway, &error);
    g_assert_no_error(error);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    gateway_free(fixture->gateway);
    g_assert_cmpuint(fake_servers, ==, 0);
    remove_all(fixture->directory);
    g_free(fixture->directory);
}

static Machine *machine(Fixture *fixture, const char *name)
{
    return gateway_machine(fixture->gateway, name);
}

static SpiceServer *server(Fixture *fixture, const char *name)
{
    return machine_server(machine(fixture, name));
}

/* A client is there, and stays */
static SpiceServer *with_client(Fixture *fixture)
{
    SpiceServer *there = server(fixture, "a");

    fake_connect(there);
    RUN_UNTIL(machine_has_clients(machine(fixture, "a")));
    return there;
}

static void test_nothing_new(Fixture *fixture, gconstpointer unused)
{
    Machine *before = machine(fixture, "a");
    SpiceServer *there = server(fixture, "a");

    reload(fixture);
    run_what_is_due();
    g_assert_true(machine(fixture, "a") == before);
    g_assert_true(server(fixture, "a") == there);
}

/* Whoever comes from now on needs the new one, and nobody has to go */
static void test_ticket(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *there = with_client(fixture);

    g_assert_cmpstr(there->ticket, ==, "first");
    put(fixture, "ticket", "second");
    reload(fixture);
    g_assert_true(server(fixture, "a") == there);
    g_assert_cmpstr(there->ticket, ==, "second");
}

/* Both of them */
static void test_power_ticket(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *there;

    put(fixture, "power", "first of power");
    put(fixture, "machines/a.conf", MACHINE("ticket-file=../ticket\n"
                                            "power-ticket-file=../power\n"));
    reload(fixture);
    there = with_client(fixture);
    g_assert_cmpstr(there->ticket, ==, "first");
    g_assert_cmpstr(there->power_ticket, ==, "first of power");
    g_assert_cmphex(fake_allowed(there, SPICE_TICKET_ORDINARY), ==, 0);
    g_assert_cmphex(fake_allowed(there, SPICE_TICKET_POWER), ==,
                    SPICE_POWER_ACTION_MASK);
    put(fixture, "power", "second of power");
    reload(fixture);
    g_assert_true(server(fixture, "a") == there);
    g_assert_cmpstr(there->ticket, ==, "first");
    g_assert_cmpstr(there->power_ticket, ==, "second of power");
}

/* Buttons come and go for those who are there */
static void test_rights(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *there;
    guint updates;

    put(fixture, "machines/a.conf", MACHINE("sasl=true\n"));
    reload(fixture);
    there = with_client(fixture);
    g_assert_true(there->sasl);
    g_assert_cmpstr(there->sasl_appname, ==, "spice-gateway");
    g_assert_cmphex(fake_allowed_to(there, "bob"), ==, SPICE_POWER_ACTION_MASK);
    updates = there->updates;
    put(fixture, "machines/a.conf", MACHINE("sasl=true\n[rights]\nusers=ann\n"
                                            "reset=b*\n"));
    reload(fixture);
    g_assert_true(server(fixture, "a") == there);
    g_assert_cmpuint(there->updates, ==, updates + 1);
    g_assert_cmphex(fake_allowed_to(there, "ann"), ==, SPICE_POWER_ACTION_MASK);
    g_assert_cmphex(fake_allowed_to(there, "bob"), ==,
                    SPICE_POWER_ACTION_RESET);
    put(fixture, "machines/a.conf", MACHINE("sasl=true\n"
                                            "[rights]\nusers=ann\n"));
    reload(fixture);
    g_assert_cmphex(fake_allowed_to(there, "bob"), ==, 0);
    reload(fixture);
    g_assert_cmpuint(there->updates, ==, updates + 2);
}

static void test_certificate(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *there;

    put(fixture, "machines/b.conf",
        "[server]\ntls-port=5900\ntls-ca-file=ca\ntls-cert-file=cert\n"
        "tls-key-file=key\n[power]\nbackend=exec\n[exec]\nstatus=echo on\n");
    reload(fixture);
    there = server(fixture, "b");
    g_assert_true(there->has_tls);
    g_assert_cmpuint(there->reloads, ==, 0);
    reload(fixture);
    g_assert_true(server(fixture, "b") == there);
    g_assert_cmpuint(there->reloads, ==, 1);
}

static void test_come_and_go(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *there = with_client(fixture);
    g_autofree char *path = g_build_filename(fixture->directory,
                                             "machines/b.conf", NULL);

    put(fixture, "machines/b.conf",
        "[server]\nunix-socket={directory}/b\n[power]\nbackend=exec\n"
        "[exec]\nstatus=echo off\n");
    reload(fixture);
    g_assert_cmpuint(fake_servers, ==, 2);
    RUN_UNTIL(machine_state(machine(fixture, "b")) == SPICE_POWER_STATE_OFF);
    g_assert_cmpint(g_unlink(path), ==, 0);
    reload(fixture);
    g_assert_null(machine(fixture, "b"));
    g_assert_true(server(fixture, "a") == there);
    g_assert_cmpuint(fake_servers, ==, 1);
}

/* What else changes waits until nobody is there whom it would disconnect */
static void test_changed(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *there = server(fixture, "a");
    guint i;

    put(fixture, "machines/a.conf", MACHINE("name=second\n"));
    reload(fixture);
    there = server(fixture, "a");
    g_assert_cmpstr(there->name, ==, "second");
    there = with_client(fixture);
    put(fixture, "machines/a.conf", MACHINE("name=third\n"));
    reload(fixture);
    for (i = 0; i < 10; i++) {
        g_usleep(gateway_replace_ms * 1000);
        run_what_is_due();
        g_assert_true(server(fixture, "a") == there);
        g_assert_cmpstr(there->name, ==, "second");
    }
    fake_disconnect(there);
    RUN_UNTIL(!g_strcmp0(server(fixture, "a")->name, "third"));
    g_assert_cmpuint(fake_servers, ==, 1);
    RUN_UNTIL(machine_state(machine(fixture, "a")) == SPICE_POWER_STATE_ON);
}

/* It is changed back before that has been done */
static void test_changed_back(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *there = with_client(fixture);

    put(fixture, "machines/a.conf", MACHINE("name=second\n"));
    reload(fixture);
    put(fixture, "machines/a.conf", MACHINE("ticket-file=../ticket\n"));
    reload(fixture);
    fake_disconnect(there);
    g_usleep(3 * gateway_replace_ms * 1000);
    run_what_is_due();
    g_assert_true(server(fixture, "a") == there);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/reload/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("nothing-new", test_nothing_new);
    ADD("ticket", test_ticket);
    ADD("power-ticket", test_power_ticket);
    ADD("rights", test_rights);
    ADD("certificate", test_certificate);
    ADD("come-and-go", test_come_and_go);
    ADD("changed", test_changed);
    ADD("changed-back", test_changed_back);
    return g_test_run();
}
