/*
 * Clients who come by the port that all machines share
 *
 * Their way is real up to the SPICE servers, which have no clients of their own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "closed.h"
#include "fake-spice.h"
#include "gateway.h"
#include "loop.h"

#define DEFAULTS \
    "[power]\n" \
    "backend=exec\n" \
    "poll-interval=0.01\n" \
    "idle-poll-interval=0.01\n" \
    "[exec]\n" \
    "status=echo on\n" \
    "power-off=true\n"

typedef struct Fixture {
    char *directory, *socket;
    Gateway *gateway;
} Fixture;

static void put(Fixture *fixture, const char *name, const char *text)
{
    g_free(put_file(fixture->directory, name, text));
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    machine_times.unused_ms = HANG_S * 1000;
    machine_times.wait_ms = HANG_S * 1000;
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    fixture->socket = g_build_filename(fixture->directory, "socket", NULL);
    put(fixture, "gateway.conf",
        "[gateway]\nunix-socket=socket\ndomain=example.org\n");
    put(fixture, "defaults.conf", DEFAULTS);
    put(fixture, "machines/a.conf", "");
    put(fixture, "machines/b.conf", "");
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

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    gateway_free(fixture->gateway);
    g_assert_cmpuint(fake_servers, ==, 0);
    remove_all(fixture->directory);
    g_free(fixture->socket);
    g_free(fixture->directory);
}

/* Behind a proxy, which says that @host_name is wanted; it has ended TLS */
static GSocket *come(Fixture *fixture, const char *host_name)
{
    g_autoptr(GSocketAddress) address =
        g_unix_socket_address_new(fixture->socket);
    g_autoptr(GError) error = NULL;
    GSocket *socket = g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM,
                                   0, &error);
    guint8 header[64] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0";
    const struct { guint32 from, to; guint16 from_port, to_port; } place = {
        inet_addr("192.0.2.7"), inet_addr("192.0.2.1"), htons(51312), 0,
    };
    gsize length = strlen(host_name), size = 16 + sizeof(place) + 3 + length;

    header[15] = size - 16;
    memcpy(header + 16, &place, sizeof(place));
    header[28] = 2;
    header[30] = length;
    memcpy(header + 31, host_name, length);
    g_assert_no_error(error);
    g_socket_connect(socket, address, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_socket_send(socket, (char *)header, size, NULL, NULL), ==,
                    size);
    g_assert_cmpint(g_socket_send(socket, "REDQ", 4, NULL, NULL), ==, 4);
    return socket;
}

static Machine *machine(Fixture *fixture, const char *name)
{
    return gateway_machine(fixture->gateway, name);
}

/* There is a server for whoever comes, and it has what it needs to know */
static void test_first_client(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GSocket) socket = NULL, other = NULL;
    const struct sockaddr_in *peer;
    SpiceServer *server;
    char data[8];

    start(fixture);
    RUN_UNTIL(machine_state(machine(fixture, "a")) == SPICE_POWER_STATE_ON);
    g_assert_cmpuint(fake_servers, ==, 0);
    socket = come(fixture, "a.example.org");
    RUN_UNTIL(fake_servers == 1);
    server = machine_server(machine(fixture, "a"));
    g_assert_nonnull(server);
    g_assert_null(machine_server(machine(fixture, "b")));
    g_assert_false(server->is_tls);
    g_assert_cmpuint(server->state, ==, SPICE_POWER_STATE_ON);
    g_assert_null(server->address);     /* it has none */
    peer = (const struct sockaddr_in *)&server->peer;
    g_assert_cmpuint(peer->sin_addr.s_addr, ==, inet_addr("192.0.2.7"));
    g_assert_cmpuint(ntohs(peer->sin_port), ==, 51312);
    g_assert_cmpuint(server->fds->len, ==, 1);
    /* just what it has to say to a SPICE server */
    g_assert_cmpint(read(g_array_index(server->fds, int, 0), data,
                         sizeof(data)), ==, 4);
    g_assert_cmpint(memcmp(data, "REDQ", 4), ==, 0);
    other = come(fixture, "a.example.org");
    RUN_UNTIL(server->fds->len == 2);
    g_assert_cmpuint(fake_servers, ==, 1);
}

static void test_names(Fixture *fixture, gconstpointer unused)
{
    static const char *const right[] = {
        "a", "A", "a.", "a.example.org", "A.Example.Org", "a.example.org.",
    };
    static const char *const wrong[] = {
        "c", "a.example.com", "aexample.org", ".example.org", "example.org",
        "a.b.example.org", "x.a", "a..", "a\nb",
    };
    gsize i;

    start(fixture);
    for (i = 0; i < G_N_ELEMENTS(right); i++) {
        g_autoptr(GSocket) socket = come(fixture, right[i]);

        RUN_UNTIL(machine_server(machine(fixture, "a")));
        machine_stop(machine(fixture, "a"));
        machine_start(machine(fixture, "a"), NULL);
    }
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GSocket) socket = come(fixture, wrong[i]);

        wait_closed(socket);
        g_assert_cmpuint(fake_servers, ==, 0);
    }
}

/* It goes some time after the last of them, and comes again for the next one */
static void test_last_client(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GSocket) first = NULL, second = NULL;
    SpiceServer *server;
    guint i;

    machine_times.unused_ms = 50;
    start(fixture);
    first = come(fixture, "b");
    RUN_UNTIL(machine_server(machine(fixture, "b")));
    /* there comes nothing more of it */
    RUN_UNTIL(!machine_server(machine(fixture, "b")));
    wait_closed(first);
    RUN_UNTIL(machine_state(machine(fixture, "b")) == SPICE_POWER_STATE_ON);

    second = come(fixture, "b");
    RUN_UNTIL(machine_server(machine(fixture, "b")));
    server = machine_server(machine(fixture, "b"));
    fake_connect(server);
    for (i = 0; i < 20; i++) {
        g_usleep(10000);
        run_what_is_due();
        g_assert_true(machine_server(machine(fixture, "b")) == server);
    }
    fake_disconnect(server);
    RUN_UNTIL(!machine_server(machine(fixture, "b")));
}

/* One with a port of its own has a server at once, and keeps it */
static void test_own_port(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GSocket) socket = NULL;
    SpiceServer *server;

    machine_times.unused_ms = 20;
    put(fixture, "machines/a.conf", "[server]\nport=5900\n"
                                    "address=127.0.0.1\n");
    start(fixture);
    server = machine_server(machine(fixture, "a"));
    g_assert_nonnull(server);
    g_assert_cmpint(server->port, ==, 5900);
    socket = come(fixture, "a");
    RUN_UNTIL(server->fds);
    g_usleep(100000);
    run_what_is_due();
    g_assert_true(machine_server(machine(fixture, "a")) == server);
}

/* A machine with a certificate takes nobody in without TLS */
static void test_tls(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GSocket) socket = NULL;

    put(fixture, "machines/a.conf", "[server]\ntls-ca-file=ca\n"
                                    "tls-cert-file=cert\ntls-key-file=key\n");
    start(fixture);
    socket = come(fixture, "a");
    wait_closed(socket);
    g_assert_true(machine_server(machine(fixture, "a"))->has_tls);
    g_assert_cmpint(machine_server(machine(fixture, "a"))->tls_port, ==, 0);
}

/* Until its password is known a client waits, and is let in then or never */
static void test_no_password(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GSocket) socket = NULL;

    machine_times.wait_ms = 100;
    put(fixture, "machines/a.conf",
        "[server]\nticket=domain\n[power]\nbackend=libvirt\n"
        "[libvirt]\nuri=qemu+unix:///system?socket=/nonexistent\n");
    start(fixture);
    socket = come(fixture, "a");
    wait_closed(socket);
    g_assert_cmpuint(fake_servers, ==, 0);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/arrival/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("first-client", test_first_client);
    ADD("names", test_names);
    ADD("last-client", test_last_client);
    ADD("own-port", test_own_port);
    ADD("tls", test_tls);
    ADD("no-password", test_no_password);
    return g_test_run();
}
