/*
 * The domains of a hypervisor are machines, as they come and go
 *
 * They are those of libvirt's test driver, which has one of its own, "test".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <unistd.h>

#include "fake-spice.h"
#include "gateway.h"
#include "loop.h"
#include "test-driver.h"

typedef struct Fixture {
    char *directory;
    Gateway *gateway;
    virConnectPtr connection;
    virDomainPtr domain;        /* or NULL */
} Fixture;

static void put(Fixture *fixture, const char *name, const char *text)
{
    g_free(put_file(fixture->directory, name, text));
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    fixture->connection = virConnectOpen(TEST_URI);
    g_assert_nonnull(fixture->connection);
    put(fixture, "gateway.conf", "[gateway]\nunix-socket=socket\n");
    put(fixture, "hypervisors/here.conf", "[libvirt]\nuri=" TEST_URI "\n");
}

static void start(Fixture *fixture)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;

    fixture->gateway = gateway_new(config_load(fixture->directory, problems),
                                   problems);
    if (problems->len) {
        g_error("%s", (char *)problems->pdata[0]);
    }
    gateway_start(fixture->gateway, &error);
    g_assert_no_error(error);
}

static Machine *machine(Fixture *fixture, const char *name)
{
    return gateway_machine(fixture->gateway, name);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    gateway_free(fixture->gateway);
    g_assert_cmpuint(fake_servers, ==, 0);
    if (fixture->domain) {
        virDomainDestroy(fixture->domain);
        virDomainUndefine(fixture->domain);
        virDomainFree(fixture->domain);
    }
    virConnectClose(fixture->connection);
    remove_all(fixture->directory);
    g_free(fixture->directory);
}

static char *xml_of(const char *name, const char *more)
{
    return g_strdup_printf(
        "<domain type='test'><name>%s</name>%s<memory>8192</memory>"
        "<os><type>hvm</type></os></domain>", name, more);
}

static void define(Fixture *fixture, const char *name)
{
    g_autofree char *xml = xml_of(name, "");

    g_assert_null(fixture->domain);
    fixture->domain = virDomainDefineXML(fixture->connection, xml);
    g_assert_nonnull(fixture->domain);
}

static void wait_state(Fixture *fixture, const char *name, guint32 state)
{
    RUN_UNTIL(machine(fixture, name) &&
              machine_state(machine(fixture, name)) == state);
}

/* What is there already, and what is defined and removed later */
static void test_come_and_go(Fixture *fixture, gconstpointer unused)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    start(fixture);
    wait_state(fixture, "test", SPICE_POWER_STATE_ON);
    g_assert_null(machine(fixture, "vm1"));
    define(fixture, "vm1");
    virDomainGetUUIDString(fixture->domain, uuid);
    wait_state(fixture, "vm1", SPICE_POWER_STATE_OFF);
    g_assert_true(machine(fixture, uuid) == machine(fixture, "vm1"));
    g_assert_cmpint(virDomainCreate(fixture->domain), ==, 0);
    wait_state(fixture, "vm1", SPICE_POWER_STATE_ON);
    g_assert_cmpint(virDomainDestroy(fixture->domain), ==, 0);
    wait_state(fixture, "vm1", SPICE_POWER_STATE_OFF);
    g_assert_cmpint(virDomainUndefine(fixture->domain), ==, 0);
    RUN_UNTIL(!machine(fixture, "vm1"));
    g_assert_null(machine(fixture, uuid));
    g_assert_nonnull(machine(fixture, "test"));
    /* nobody has looked at any of them */
    g_assert_cmpuint(fake_servers, ==, 0);
}

/* One that is there only while it runs */
static void test_transient(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *xml = xml_of("vm2", "");

    start(fixture);
    fixture->domain = virDomainCreateXML(fixture->connection, xml, 0);
    g_assert_nonnull(fixture->domain);
    wait_state(fixture, "vm2", SPICE_POWER_STATE_ON);
    g_assert_cmpint(virDomainDestroy(fixture->domain), ==, 0);
    RUN_UNTIL(!machine(fixture, "vm2"));
}

static void test_rename(Fixture *fixture, gconstpointer unused)
{
    start(fixture);
    define(fixture, "vm1");
    wait_state(fixture, "vm1", SPICE_POWER_STATE_OFF);
    g_assert_cmpint(virDomainRename(fixture->domain, "vm3", 0), ==, 0);
    wait_state(fixture, "vm3", SPICE_POWER_STATE_OFF);
    g_assert_null(machine(fixture, "vm1"));
}

/* A name that can't be one, in a path or in the DNS: it has its UUID */
static void test_odd_name(Fixture *fixture, gconstpointer unused)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    start(fixture);
    define(fixture, "odd name ${x}");
    virDomainGetUUIDString(fixture->domain, uuid);
    wait_state(fixture, uuid, SPICE_POWER_STATE_OFF);
    g_assert_cmpstr(machine_config(machine(fixture, uuid))->name, ==, uuid);
    g_assert_cmpstr(machine_config(machine(fixture, uuid))->title, ==,
                    "odd name ${x}");
}

/* Who makes a domain of a machine's name does not get that one's clients */
static void test_same_name(Fixture *fixture, gconstpointer unused)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    Machine *first;

    put(fixture, "machines/vm1.conf",
        "[power]\nbackend=exec\n[exec]\nstatus=echo off\n");
    start(fixture);
    first = machine(fixture, "vm1");
    g_assert_nonnull(first);
    define(fixture, "VM1");
    virDomainGetUUIDString(fixture->domain, uuid);
    wait_state(fixture, uuid, SPICE_POWER_STATE_OFF);
    g_assert_true(machine(fixture, "vm1") == first);
    g_assert_true(machine(fixture, "VM1") == first);
    g_assert_false(machine(fixture, uuid) == first);
}

/* One may end, and be removed, while clients are at it */
static void test_removed_with_clients(Fixture *fixture, gconstpointer unused)
{
    const Arrival arrival = { .name = "vm1", .from = "somewhere" };

    start(fixture);
    define(fixture, "vm1");
    wait_state(fixture, "vm1", SPICE_POWER_STATE_OFF);
    machine_add_client(machine(fixture, "vm1"), &arrival, dup(0));
    g_assert_cmpuint(fake_servers, ==, 1);
    fake_connect(machine_server(machine(fixture, "vm1")));
    run_what_is_due();
    g_assert_cmpint(virDomainUndefine(fixture->domain), ==, 0);
    RUN_UNTIL(!machine(fixture, "vm1"));
    g_assert_cmpuint(fake_servers, ==, 0);
}

/* Their configuration is that of the hypervisor's file, and of the defaults */
static void test_settings(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "defaults.conf",
        "[server]\nhand-over-host={name}.example.org\n");
    put(fixture, "hypervisors/here.conf",
        "[libvirt]\nuri=" TEST_URI "\n[server]\nticket=domain\n"
        "hand-over-tls-port=5900\n[power]\nactions=power-on;power-off\n");
    start(fixture);
    define(fixture, "vm1");
    wait_state(fixture, "vm1", SPICE_POWER_STATE_OFF);
    g_assert_cmpstr(machine_config(machine(fixture, "vm1"))->hand_over_host,
                    ==, "vm1.example.org");
    g_assert_cmpint(machine_config(machine(fixture, "vm1"))->hand_over_tls_port,
                    ==, 5900);
    g_assert_cmpint(machine_config(machine(fixture, "vm1"))->ticket_from, ==,
                    TICKET_DOMAIN);
}

int main(int argc, char **argv)
{
    if (!has_test_driver()) {
        return SKIPPED;
    }
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/domains/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("come-and-go", test_come_and_go);
    ADD("transient", test_transient);
    ADD("rename", test_rename);
    ADD("odd-name", test_odd_name);
    ADD("same-name", test_same_name);
    ADD("removed-with-clients", test_removed_with_clients);
    ADD("settings", test_settings);
    return g_test_run();
}
