/*
 * The configuration: a file for one machine, or a directory for many
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <spice/enums.h>

#include "config-fixture.h"

#define OLD \
    "[server]\n" \
    "name=Rack 1\n" \
    "port=5901\n" \
    "[power]\n" \
    "backend=ipmi\n" \
    "poll-interval=2.5\n" \
    "[ipmi]\n" \
    "host=bmc.example.test\n" \
    "[vnc]\n" \
    "host=vnc.example.test\n"

/* What was spice-bmc.conf */
static void test_old_file(Fixture *fixture, gconstpointer unused)
{
    const MachineConfig *config;

    put(fixture, "rack1-host3.conf", OLD);
    load(fixture, "rack1-host3.conf");
    g_assert_cmpuint(fixture->config->machines->len, ==, 1);
    config = machine(fixture, 0);
    g_assert_cmpstr(config->name, ==, "rack1-host3");
    g_assert_cmpstr(config->title, ==, "Rack 1");
    g_assert_cmpint(config->port, ==, 5901);
    g_assert_cmpint(config->backend, ==, BACKEND_IPMI);
    g_assert_cmpuint(config->poll_ms, ==, 2500);
    g_assert_cmpstr(config->ipmi_host, ==, "bmc.example.test");
    g_assert_cmpint(config->source, ==, SOURCE_VNC);
    g_assert_cmpstr(config->vnc_host, ==, "vnc.example.test");
    /* what is not in it */
    g_assert_cmpuint(config->query_timeout_ms, ==, 10000);
    g_assert_cmpint(config->ipmi_port, ==, 623);
    g_assert_cmpint(config->vnc_port, ==, 5900);
    g_assert_cmpstr(config->keyboard_layout, ==, "us");
    g_assert_true(config->many_clients);
    g_assert_false(config->actions_set);
    g_assert_cmphex(config->actions, ==, SPICE_POWER_ACTION_MASK);
    g_assert_null(config->ticket);

    put(fixture, "unnamed", "[server]\nport=1\n" EXEC);
    load(fixture, "unnamed");
    g_assert_cmpstr(machine(fixture, 0)->name, ==, "unnamed");
    g_assert_cmpstr(machine(fixture, 0)->title, ==, g_get_host_name());
    g_assert_cmpint(machine(fixture, 0)->source, ==, SOURCE_NONE);
}

static void test_no_template_for_a_file(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "a.conf", "[machine]\ntemplate=x\n[server]\nport=1\n" EXEC);
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "[machine]");
}

static void test_no_file(Fixture *fixture, gconstpointer unused)
{
    load(fixture, "none.conf");
    check_problem(fixture, "none.conf", "No such file");
    g_assert_cmpuint(fixture->config->machines->len, ==, 0);
}

/* The machine's own file, then its template, then what all have */
static void test_layers(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "defaults.conf",
        "[power]\npoll-interval=7\nquery-timeout=7\naction-timeout=7\n");
    put(fixture, "templates/rack1.conf",
        EXEC "[power]\nquery-timeout=8\naction-timeout=8\n");
    put(fixture, "machines/a.conf",
        "[machine]\ntemplate=rack1\n"
        "[server]\nport=1\n"
        "[power]\naction-timeout=9\n");
    put(fixture, "machines/b.conf", "[server]\nport=2\n" EXEC);
    load(fixture, NULL);
    g_assert_cmpuint(fixture->config->machines->len, ==, 2);
    g_assert_cmpstr(machine(fixture, 0)->name, ==, "a");
    g_assert_cmpint(machine(fixture, 0)->backend, ==, BACKEND_EXEC);
    g_assert_cmpuint(machine(fixture, 0)->poll_ms, ==, 7000);
    g_assert_cmpuint(machine(fixture, 0)->query_timeout_ms, ==, 8000);
    g_assert_cmpuint(machine(fixture, 0)->action_timeout_ms, ==, 9000);
    /* the other one has no template */
    g_assert_cmpstr(machine(fixture, 1)->name, ==, "b");
    g_assert_cmpstr(machine(fixture, 1)->title, ==, "b");
    g_assert_cmpuint(machine(fixture, 1)->query_timeout_ms, ==, 7000);
}

/* {name} is the machine's where machines share a file, and nothing elsewhere */
static void test_name(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "defaults.conf",
        "[server]\nname=machine {name}\n"
        "unix-socket=/run/{name}/spice\n");
    put(fixture, "templates/bmc.conf",
        "[power]\nbackend=ipmi\n"
        "[ipmi]\nhost={name}-bmc.{name}.test\n");
    put(fixture, "machines/a.conf", "[machine]\ntemplate=bmc\n");
    put(fixture, "machines/b.conf",
        "[machine]\ntemplate=bmc\n[server]\nname={name}\n");
    load(fixture, NULL);
    g_assert_cmpstr(machine(fixture, 0)->title, ==, "machine a");
    g_assert_cmpstr(machine(fixture, 0)->unix_socket, ==, "/run/a/spice");
    g_assert_cmpstr(machine(fixture, 0)->ipmi_host, ==, "a-bmc.a.test");
    g_assert_cmpstr(machine(fixture, 1)->title, ==, "{name}");
    g_assert_cmpstr(machine(fixture, 1)->ipmi_host, ==, "b-bmc.b.test");
}

/* Files are relative to the file that names them */
static void test_relative(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *shared = NULL;

    g_unsetenv("CREDENTIALS_DIRECTORY");
    put(fixture, "ticket", "everybody's\n");
    put(fixture, "machines/ticket", "the machine's\nand more\n");
    put(fixture, "templates/ticket", "the template's\n");
    put(fixture, "defaults.conf", "[server]\nticket-file=ticket\n"
        "tls-ca-file=ca.pem\ntls-cert-file=/c.pem\ntls-key-file=k.pem\n");
    put(fixture, "templates/t.conf", "[server]\nticket-file=ticket\n");
    put(fixture, "machines/a.conf", "[server]\ntls-port=1\n" EXEC);
    put(fixture, "machines/b.conf",
        "[machine]\ntemplate=t\n[server]\ntls-port=2\n" EXEC);
    put(fixture, "machines/c.conf",
        "[server]\ntls-port=3\nticket-file=ticket\n" EXEC);
    load(fixture, NULL);
    g_assert_cmpstr(machine(fixture, 0)->ticket, ==, "everybody's");
    g_assert_cmpstr(machine(fixture, 1)->ticket, ==, "the template's");
    g_assert_cmpstr(machine(fixture, 2)->ticket, ==, "the machine's");
    shared = g_build_filename(fixture->directory, "ca.pem", NULL);
    g_assert_cmpstr(machine(fixture, 2)->ca_file, ==, shared);
    g_assert_cmpstr(machine(fixture, 2)->cert_file, ==, "/c.pem");
}

/* What all have need not be for all; what is a machine's own must be */
static void test_groups(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "defaults.conf",
        "[ipmi]\nuser=spice\nprivilege=OPERATOR\n"
        "[vnc]\nkeyboard-layout=de\n");
    put(fixture, "machines/a.conf", "[server]\nport=1\n" EXEC);
    load(fixture, NULL);
    g_assert_cmpint(machine(fixture, 0)->source, ==, SOURCE_NONE);

    put(fixture, "machines/a.conf", "[server]\nport=1\n" EXEC
        "[vnc]\nhost=x\n");
    load(fixture, NULL);
    g_assert_cmpint(machine(fixture, 0)->source, ==, SOURCE_VNC);
    g_assert_cmpstr(machine(fixture, 0)->keyboard_layout, ==, "de");

    put(fixture, "machines/a.conf",
        "[server]\nport=1\n" EXEC "[vnc]\nport=1\n");
    load(fixture, NULL);
    check_problem(fixture, "machines/a.conf", "[vnc] host: there is none");

    put(fixture, "machines/a.conf",
        "[server]\nport=1\n" EXEC "[ipmi]\nport=1\n");
    load(fixture, NULL);
    check_problem(fixture, "machines/a.conf",
                  "[ipmi] is not for backend=exec");

    put(fixture, "templates/t.conf", "[ipmi]\nport=1\n");
    put(fixture, "machines/a.conf",
        "[machine]\ntemplate=t\n[server]\nport=1\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "machines/a.conf",
                  "[ipmi] is not for backend=exec");
}

/* Those with a UNIX socket need not have what is for ports; ports need it */
static void test_unix_socket(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "defaults.conf", "[server]\naddress=127.0.0.1\n"
        "tls-ca-file=/a\ntls-cert-file=/b\ntls-key-file=/c\n");
    put(fixture, "machines/a.conf", "[server]\nunix-socket=/s\n" EXEC);
    load(fixture, NULL);
    g_assert_cmpstr(machine(fixture, 0)->unix_socket, ==, "/s");

    put(fixture, "machines/a.conf",
        "[server]\nunix-socket=/s\ntls-key-file=/c\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "machines/a.conf", "need a tls-port");
    put(fixture, "machines/a.conf",
        "[server]\nunix-socket=/s\naddress=::1\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "machines/a.conf", "unix-socket goes with none of");
    /* all should have TLS, and this one would not */
    put(fixture, "machines/a.conf", "[server]\nport=1\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "machines/a.conf", "need a tls-port");
}

/* Each file is looked at, and what others share is told once */
static void test_problems(Fixture *fixture, gconstpointer unused)
{
    guint i;

    put(fixture, "defaults.conf", "[power]\npoll-interval=often\n");
    put(fixture, "machines/a.conf", "[server]\nport=1\n" EXEC);
    put(fixture, "machines/b.conf", "[server]\nport=2\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "defaults.conf",
                  "[power] poll-interval: 'often' is not a time");

    put(fixture, "defaults.conf", "[pwoer]\npoll-interval=1\n");
    load(fixture, NULL);
    check_problem(fixture, "defaults.conf", "unknown group [pwoer]");

    put(fixture, "defaults.conf", "[machine]\ntemplate=x\n");
    load(fixture, NULL);
    check_problem(fixture, "defaults.conf", "[machine] is for");

    put(fixture, "defaults.conf", "");
    put(fixture, "templates/unused.conf", "[power]\npoll-intreval=1\n");
    load(fixture, NULL);
    check_problem(fixture, "templates/unused.conf",
                  "[power] unknown key 'poll-intreval'");

    put(fixture, "templates/unused.conf", "");
    put(fixture, "machines/a.conf", "[server]\nport=none\n" EXEC);
    put(fixture, "machines/b.conf", "[machine]\ntemplate=lost\n" EXEC);
    put(fixture, "machines/c.conf", "[server]\nport=3\n");
    put(fixture, "machines/d.conf", "[server]\nport=4\n" EXEC);
    load(fixture, NULL);
    g_assert_cmpuint(fixture->config->machines->len, ==, 1);
    g_assert_cmpuint(fixture->problems->len, ==, 3);
    for (i = 0; i < 3; i++) {
        static const char *const expected[] = {
            "machines/a.conf: [server] port: 'none' is not a port",
            "machines/b.conf: [machine] template: there is no"
            " templates/lost.conf",
            "machines/c.conf: [power] backend: there is none",
        };

        g_assert_nonnull(strstr(fixture->problems->pdata[i], expected[i]));
    }
}

static void test_names(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "machines/Rack_1-host.3.conf", "[server]\nport=1\n" EXEC);
    /* an editor's, and somebody's notes */
    put(fixture, "machines/.a.conf", "?");
    put(fixture, "machines/a.conf~", "?");
    put(fixture, "machines/README", "?");
    load(fixture, NULL);
    g_assert_cmpuint(fixture->config->machines->len, ==, 1);
    g_assert_cmpstr(machine(fixture, 0)->name, ==, "Rack_1-host.3");

    put(fixture, "machines/a b.conf", "[server]\nport=2\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "machines/a b.conf", "a machine's name has");
}

/* Who starts a directory without a machine has mistaken something */
static void test_empty(Fixture *fixture, gconstpointer unused)
{
    load(fixture, NULL);
    g_assert_cmpuint(fixture->problems->len, ==, 1);
    g_assert_nonnull(strstr(fixture->problems->pdata[0], "machines"));

    put(fixture, "machines/README", "");
    load(fixture, NULL);
    check_problem(fixture, "machines", "there is no machine");
}

static void test_same_place(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "machines/a.conf", "[server]\nport=5900\n" EXEC);
    put(fixture, "machines/b.conf",
        "[server]\naddress=127.0.0.1\nport=5900\n" EXEC);
    load(fixture, NULL);
    g_assert_cmpuint(fixture->problems->len, ==, 0);

    put(fixture, "machines/c.conf", "[server]\nport=5900\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "machines/c.conf", "[server] port: 5900 is in");

    put(fixture, "machines/c.conf", "[server]\nunix-socket=/s\n" EXEC);
    put(fixture, "machines/d.conf", "[server]\nunix-socket=/s\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "machines/d.conf",
                  "[server] unix-socket: /s is in");
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    ADD_TO("config", "old-file", test_old_file);
    ADD_TO("config", "no-template-for-a-file", test_no_template_for_a_file);
    ADD_TO("config", "no-file", test_no_file);
    ADD_TO("config", "layers", test_layers);
    ADD_TO("config", "name", test_name);
    ADD_TO("config", "relative", test_relative);
    ADD_TO("config", "groups", test_groups);
    ADD_TO("config", "unix-socket", test_unix_socket);
    ADD_TO("config", "problems", test_problems);
    ADD_TO("config", "names", test_names);
    ADD_TO("config", "empty", test_empty);
    ADD_TO("config", "same-place", test_same_place);
    return g_test_run();
}
