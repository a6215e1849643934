/*
 * The keys of a configuration: what goes together, and what is refused
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <spice/enums.h>

#include "config-fixture.h"

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

#define DOMAIN "[server]\nport=1\n[power]\nbackend=libvirt\n"

/* The session of [redfish] for the console, and at nobody else's */
static void test_vnc_session(Fixture *fixture, gconstpointer unused)
{
    static const char session[] = "authentication=redfish\n";
    static const struct {
        const char *redfish, *vnc, *problem;    /* NULL: it's right */
    } known[] = {
        { "url=https://bmc", "url=wss://bmc/kvm/0\n", NULL },
        { "url=https://bmc", "url=wss://BMC:443/kvm/0\nca-file=secret\n",
          NULL },
        { "url=https://[::1]:8443", "url=wss://[::1]:8443/\n", NULL },
        { "url=https://bmc", "url=wss://other/kvm/0\n", "at the host and port"
          " of [redfish] url" },
        { "url=https://bmc", "url=wss://bmc:8443/kvm/0\n", "at the host and"
          " port" },
        { "url=https://bmc", "url=ws://bmc:443/kvm/0\n", "wss:// for https" },
        { "url=https://bmc", "host=bmc\n", "[vnc] authentication=redfish: url"
          " is to be" },
        { "url=https://bmc\nauthentication=basic", "url=wss://bmc/kvm/0\n",
          "is for backend=redfish with a user" },
        { "url=https://bmc", "url=wss://bmc/\nuser=a\npassword-file=secret\n",
          "[vnc] user: with authentication=redfish" },
    };
    gsize i;

    put(fixture, "secret", "a-password\n");
    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree char *text = g_strconcat(
            REDFISH "user=a\npassword-file=secret\nfingerprint=" SHA256 "\n",
            known[i].redfish, "\n[vnc]\n", known[i].vnc, session, NULL);

        put(fixture, "a.conf", text);
        load(fixture, "a.conf");
        if (known[i].problem) {
            check_problem(fixture, "a.conf", known[i].problem);
        } else {
            g_assert_cmpuint(fixture->problems->len, ==, 0);
            g_assert_true(machine(fixture, 0)->vnc_has_session);
            /* whom to trust need not be said twice */
            g_assert_cmpstr(machine(fixture, 0)->vnc_fingerprint, ==,
                            i == 1 ? NULL : SHA256);
        }
    }
    put(fixture, "a.conf", "[server]\nport=1\n" EXEC "[vnc]\nurl=wss://bmc/\n"
        "authentication=redfish\n");
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "is for backend=redfish with a user");
    put(fixture, "a.conf", "[server]\nport=1\n" EXEC "[vnc]\nurl=wss://bmc/\n"
        "authentication=token\n");
    load(fixture, "a.conf");
    check_problem(fixture, "a.conf", "it is to be basic or redfish");
}

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
    ADD_TO("config-keys", "vnc", test_vnc);
    ADD_TO("config-keys", "vnc-session", test_vnc_session);
    ADD_TO("config-keys", "actions", test_actions);
    ADD_TO("config-keys", "redfish", test_redfish);
    ADD_TO("config-keys", "libvirt", test_libvirt);
    ADD_TO("config-keys", "ticket-of-domain", test_ticket_of_domain);
    ADD_TO("config-keys", "two-tickets", test_two_tickets);
    ADD_TO("config-keys", "rights", test_rights);
    ADD_TO("config-keys", "sasl-and-ticket", test_sasl_and_ticket);
    return g_test_run();
}
