/*
 * The configuration: a file for one machine, or a directory for many
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <spice/enums.h>
#include <string.h>

#include "config.h"
#include "loop.h"

typedef struct Fixture {
    char *directory;
    Config *config;
    GPtrArray *problems;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    g_assert_nonnull(fixture->directory);
}

static void forget(Fixture *fixture)
{
    g_clear_pointer(&fixture->config, config_free);
    g_clear_pointer(&fixture->problems, g_ptr_array_unref);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    forget(fixture);
    remove_all(fixture->directory);
    g_free(fixture->directory);
}

static void put(Fixture *fixture, const char *name, const char *text)
{
    g_free(put_file(fixture->directory, name, text));
}

/* @name is NULL for the directory */
static void load(Fixture *fixture, const char *name)
{
    g_autofree char *path = g_build_filename(fixture->directory, name, NULL);

    forget(fixture);
    fixture->problems = g_ptr_array_new_with_free_func(g_free);
    fixture->config = config_load(path, fixture->problems);
}

static const MachineConfig *machine(Fixture *fixture, guint number)
{
    if (fixture->problems->len) {
        g_error("%s", (char *)fixture->problems->pdata[0]);
    }
    g_assert_cmpuint(number, <, fixture->config->machines->len);
    return fixture->config->machines->pdata[number];
}

/* The only problem begins with the path of @file, and has @text in it */
static void check_problem(Fixture *fixture, const char *file, const char *text)
{
    g_autofree char *start = g_strdup_printf("%s/%s: ", fixture->directory,
                                             file);
    const char *found;

    g_assert_cmpuint(fixture->problems->len, ==, 1);
    found = fixture->problems->pdata[0];
    if (!g_str_has_prefix(found, start) || !strstr(found, text)) {
        g_error("not '%s' of %s: %s", text, file, found);
    }
}

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
/* A machine that has no more than it must */
#define EXEC \
    "[power]\n" \
    "backend=exec\n" \
    "[exec]\n" \
    "status=true\n"

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

#define SHA256 \
    "00112233445566778899AABBCCDDEEFF:00:11:22:33:44:55:66:77:88:99" \
    ":aa:bb:cc:dd:ee:ff"

/* Where a VNC server is, and who it has to be */
static void test_vnc(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        const char *vnc, *problem;
    } wrong[] = {
        { "url=https://bmc/kvm/0\n", "[vnc] url: it is to be wss://" },
        { "url=wss://me:secret@bmc/kvm/0\n", "[vnc] url: it is to be" },
        { "url=wss:///kvm/0\n", "[vnc] url: it is to be" },
        { "url=wss://bmc\nhost=bmc\n", "one of them is enough" },
        { "host=bmc\nunix-socket=x\n", "one of them is enough" },
        { "host=bmc\nuser=me\n", "[vnc] password-file: there is none" },
        { "host=bmc\nfingerprint=0011\n", "[vnc] fingerprint: it is to be" },
        { "host=bmc\nanonymous-tls=true\nca-file=x\n",
          "[vnc] anonymous-tls: it goes with neither" },
        { "user=me\npassword-file=secret\n", "nor is there unix-socket or url" },
    };
    static const struct {
        const char *url, *host;
        int port;
    } urls[] = {
        { "wss://bmc.example.test/kvm/0", "bmc.example.test", 443 },
        { "ws://192.0.2.1:8080/a?b=c", "192.0.2.1", 8080 },
        { "ws://[2001:db8::1]", "2001:db8::1", 80 },
    };
    guint i;

    put(fixture, "secret", "x\n");
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *text = g_strconcat("[server]\nport=1\n" EXEC "[vnc]\n",
                                            wrong[i].vnc, NULL);

        put(fixture, "a.conf", text);
        load(fixture, "a.conf");
        check_problem(fixture, "a.conf", wrong[i].problem);
    }
    for (i = 0; i < G_N_ELEMENTS(urls); i++) {
        g_autofree char *text = g_strconcat("[server]\nport=1\n" EXEC
                                            "[vnc]\nurl=", urls[i].url,
                                            "\nuser=me\npassword-file=secret\n"
                                            "fingerprint=" SHA256 "\n", NULL);

        put(fixture, "a.conf", text);
        load(fixture, "a.conf");
        g_assert_cmpuint(fixture->problems->len, ==, 0);
        g_assert_cmpint(machine(fixture, 0)->source, ==, SOURCE_VNC);
        g_assert_cmpstr(machine(fixture, 0)->vnc_host, ==, urls[i].host);
        g_assert_cmpint(machine(fixture, 0)->vnc_port, ==, urls[i].port);
    }
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

static void test_actions(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        const char *value;
        guint32 actions;
    } known[] = {
        { "reset", SPICE_POWER_ACTION_RESET },
        { "power-off; power-on;", SPICE_POWER_ACTION_OFF |
                                  SPICE_POWER_ACTION_ON },
        { "pause;continue", SPICE_POWER_ACTION_PAUSE |
                            SPICE_POWER_ACTION_CONTINUE },
        { "", 0 },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree char *text = g_strdup_printf(
            "[server]\nport=1\n" EXEC "[power]\nactions=%s\n",
            known[i].value);

        put(fixture, "a.conf", text);
        load(fixture, "a.conf");
        g_assert_true(machine(fixture, 0)->actions_set);
        g_assert_cmphex(machine(fixture, 0)->actions, ==, known[i].actions);
    }
    put(fixture, "a.conf", "[power]\nactions=reset;sleep\n");
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "[power] actions: unknown action 'sleep'");
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

#define REDFISH "[server]\nport=1\n[power]\nbackend=redfish\n[redfish]\n"

static void test_redfish(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        const char *keys, *problem;         /* NULL: it's right */
    } known[] = {
        { "url=https://bmc.example.test", NULL },
        { "url=https://[::1]:8443/redfish/v1/\nsystem=1", NULL },
        { "url=http://127.0.0.1:8000\nuser=a\npassword-file=secret", NULL },
        { "url=http://bmc.example.test", NULL },
        { "url=https://a\nauthentication=basic\nevents=false", NULL },
        { "system=1", "[redfish] url: there is none" },
        { "url=bmc.example.test", "[redfish] url: 'bmc.example.test': it is"
          " none" },
        { "url=ftp://a", "it is none" },
        { "url=https://u:p@a", "the user belongs into [redfish] user" },
        { "url=https://a/rest", "only the host, and a port" },
        { "url=https://a?b", "only the host, and a port" },
        { "url=http://bmc.example.test\nuser=a\npassword-file=secret",
          "could read the password, use https" },
        { "url=http://127.0.0.1\nfingerprint=AB", "go with https" },
        { "url=https://a\nuser=a", "password-file: there is none for the user"
        },
        { "url=https://a\npassword-file=secret", "user: there is none" },
        { "url=https://a\nauthentication=none", "authentication: 'none' is"
          " none, use session or basic" },
        { "url=https://a\nca-file=none", "none is no file" },
        { "url=https://a\nca-file=secret\nfingerprint=AB", "one of them is"
          " enough" },
        { "url=https://a\nfingerprint=AB:CD", "fingerprint: 'AB:CD' is no"
          " SHA-256" },
        { "url=https://a\ninsecure=true", "unknown key 'insecure'" },
    };
    gsize i;

    put(fixture, "secret", "a-password\n");
    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree char *text = g_strconcat(REDFISH, known[i].keys, "\n",
                                            NULL);

        put(fixture, "a.conf", text);
        load(fixture, "a.conf");
        if (known[i].problem) {
            check_problem(fixture, "a.conf", known[i].problem);
        } else {
            g_assert_cmpint(machine(fixture, 0)->backend, ==, BACKEND_REDFISH);
            g_assert_cmpint(machine(fixture, 0)->redfish_is_basic, ==, i == 4);
        }
    }
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

#define DOMAIN "[server]\nport=1\n[power]\nbackend=libvirt\n"

static void test_libvirt(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "a.conf", DOMAIN);
    load(fixture, "a.conf");
    g_assert_cmpint(machine(fixture, 0)->backend, ==, BACKEND_LIBVIRT);
    g_assert_cmpstr(machine(fixture, 0)->libvirt_uri, ==, "qemu:///system");
    g_assert_null(machine(fixture, 0)->libvirt_domain);
    g_assert_cmpint(machine(fixture, 0)->ticket_from, ==, TICKET_NONE);

    put(fixture, "a.conf", DOMAIN "[vnc]\nhost=x\n");
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "[vnc] is not for backend=libvirt");

    put(fixture, "a.conf", DOMAIN "[exec]\nstatus=true\n");
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "[exec] is not for backend=libvirt");
}

static void test_ticket_of_domain(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "ticket", "secret\n");
    put(fixture, "a.conf", DOMAIN "[server]\nticket=domian\n");
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "[server] ticket: unknown ticket");
    put(fixture, "a.conf", DOMAIN "[server]\nticket=domain\n"
        "ticket-file=ticket\n");
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "one of them is enough");
    put(fixture, "a.conf", "[server]\nport=1\nticket=domain\n" EXEC);
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "ticket=domain is for backend=libvirt");

    /* all have both: domains have theirs, the others that of the file */
    put(fixture, "defaults.conf", "[server]\nticket-file=ticket\n"
        "ticket=domain\n[libvirt]\nuri=test:///default\n");
    put(fixture, "machines/a.conf", DOMAIN);
    put(fixture, "machines/b.conf", "[server]\nport=2\n" EXEC);
    put(fixture, "machines/c.conf", "[server]\nport=3\n"
        "ticket-file=../ticket\n[power]\nbackend=libvirt\n");
    load(fixture, NULL);
    g_assert_cmpint(machine(fixture, 0)->ticket_from, ==, TICKET_DOMAIN);
    g_assert_null(machine(fixture, 0)->ticket);
    g_assert_cmpint(machine(fixture, 1)->ticket_from, ==, TICKET_NONE);
    g_assert_cmpstr(machine(fixture, 1)->ticket, ==, "secret");
    g_assert_cmpint(machine(fixture, 2)->ticket_from, ==, TICKET_NONE);
    g_assert_cmpstr(machine(fixture, 2)->ticket, ==, "secret");
    /* nobody is let in by mistake */
    put(fixture, "defaults.conf", "[server]\nticket=domain\n");
    load(fixture, NULL);
    check_problem(fixture, "machines/b.conf",
                  "ticket=domain is for backend=libvirt");
}

/* One machine's file, and what is wrong with it */
static void check_one(Fixture *fixture, const char *text, const char *problem)
{
    put(fixture, "a.conf", text);
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", problem);
}

static void test_two_tickets(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *longer = g_strnfill(60, 'x');

    put(fixture, "see", "see\n");
    put(fixture, "press", "press\n");
    put(fixture, "long", longer);
    put(fixture, "a.conf", "[server]\nport=1\nticket-file=see\n"
        "power-ticket-file=press\n" EXEC);
    load(fixture, "a.conf");
    g_assert_cmpstr(machine(fixture, 0)->ticket, ==, "see");
    g_assert_cmpstr(machine(fixture, 0)->power_ticket, ==, "press");
    /* all may watch */
    put(fixture, "a.conf", "[server]\nport=1\npower-ticket-file=press\n" EXEC);
    load(fixture, "a.conf");
    g_assert_null(machine(fixture, 0)->ticket);
    g_assert_cmpstr(machine(fixture, 0)->power_ticket, ==, "press");

    check_one(fixture, "[server]\nport=1\nticket-file=see\n"
              "power-ticket-file=see\n" EXEC, "everybody could act");
    check_one(fixture, "[server]\nport=1\npower-ticket-file=long\n" EXEC,
              "power-ticket-file: its first line is longer than 59");
    check_one(fixture, DOMAIN "[server]\nticket=domain\n"
              "power-ticket-file=press\n", "that of the domain's <power>");
    /* those who have the domain's take both of them from there */
    put(fixture, "defaults.conf", "[server]\nticket=domain\nticket-file=see\n"
        "power-ticket-file=press\n");
    put(fixture, "machines/a.conf", DOMAIN);
    put(fixture, "machines/b.conf", "[server]\nport=2\n" EXEC);
    load(fixture, NULL);
    g_assert_null(machine(fixture, 0)->power_ticket);
    g_assert_cmpstr(machine(fixture, 1)->power_ticket, ==, "press");
}

#define SASL "[server]\nport=1\nsasl=true\n"

static void test_rights(Fixture *fixture, gconstpointer unused)
{
    const MachineConfig *config;

    put(fixture, "a.conf", SASL EXEC "[rights]\nusers= ann ; ops-*;\nreset=\n");
    load(fixture, "a.conf");
    config = machine(fixture, 0);
    g_assert_true(config->sasl);
    g_assert_cmpstr(config->rights_users[0], ==, "ann");
    g_assert_cmpstr(config->rights_users[1], ==, "ops-*");
    g_assert_null(config->rights_users[2]);
    /* nobody, which is not that there is no rule */
    g_assert_nonnull(config->rights_reset);
    g_assert_null(config->rights_reset[0]);
    g_assert_null(config->rights_power_off);

    check_one(fixture, "[server]\nport=1\n" EXEC "[rights]\npower-on=ann\n",
              "[rights] power-on: it needs the names that clients give");
    check_one(fixture, SASL EXEC "[rights]\nann=reset\n",
              "[rights] unknown key 'ann'");
}

/* With a name there is no ticket, and the other way round */
static void test_sasl_and_ticket(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "see", "see\n");
    check_one(fixture, SASL "ticket-file=see\n" EXEC, "sasl and ticket");
    check_one(fixture, SASL "power-ticket-file=see\n" EXEC, "sasl and ticket");

    /* its own counts more than what all have */
    put(fixture, "defaults.conf", "[server]\nticket-file=see\n");
    put(fixture, "machines/a.conf", SASL EXEC);
    put(fixture, "machines/b.conf", "[server]\nport=2\n" EXEC);
    load(fixture, NULL);
    g_assert_true(machine(fixture, 0)->sasl);
    g_assert_null(machine(fixture, 0)->ticket);
    g_assert_cmpstr(machine(fixture, 1)->ticket, ==, "see");

    put(fixture, "defaults.conf", "[server]\nsasl=true\n[rights]\nusers=ann\n");
    put(fixture, "machines/a.conf", "[server]\nport=1\nsasl=false\n"
        "ticket-file=../see\n" EXEC);
    load(fixture, NULL);
    g_assert_false(machine(fixture, 0)->sasl);
    g_assert_cmpstr(machine(fixture, 0)->ticket, ==, "see");
    g_assert_null(machine(fixture, 0)->rights_users);
    g_assert_true(machine(fixture, 1)->sasl);
    g_assert_nonnull(machine(fixture, 1)->rights_users);
    /* rights are never lost by mistake */
    put(fixture, "machines/a.conf", "[server]\nport=1\n"
        "ticket-file=../see\n" EXEC);
    load(fixture, NULL);
    check_problem(fixture, "machines/a.conf", "[rights] users: it needs");
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/config/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("old-file", test_old_file);
    ADD("vnc", test_vnc);
    ADD("no-template-for-a-file", test_no_template_for_a_file);
    ADD("no-file", test_no_file);
    ADD("actions", test_actions);
    ADD("redfish", test_redfish);
    ADD("layers", test_layers);
    ADD("name", test_name);
    ADD("relative", test_relative);
    ADD("groups", test_groups);
    ADD("unix-socket", test_unix_socket);
    ADD("problems", test_problems);
    ADD("names", test_names);
    ADD("empty", test_empty);
    ADD("same-place", test_same_place);
    ADD("libvirt", test_libvirt);
    ADD("ticket-of-domain", test_ticket_of_domain);
    ADD("two-tickets", test_two_tickets);
    ADD("rights", test_rights);
    ADD("sasl-and-ticket", test_sasl_and_ticket);
    return g_test_run();
}
