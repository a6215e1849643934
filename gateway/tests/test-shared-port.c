/*
 * The port that all machines share: whom clients want, and where they are
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "closed.h"
#include "guard.h"
#include "hello-client.h"
#include "loop.h"
#include "peer.h"
#include "shared-port.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

typedef struct Fixture {
    char *directory;
    SharedPortConfig *config;
    SharedPort *port;
    guint arrivals;
    /* of the last one */
    char *name, *from;
    struct sockaddr_in peer;    /* all zero if it was not told */
    gboolean is_tls;
    GBytes *read;               /* what its server gets */
} Fixture;

static void arrived(const Arrival *arrival, int fd, gpointer opaque)
{
    Fixture *fixture = opaque;
    char data[4096];
    ssize_t size = read(fd, data, sizeof(data));

    g_assert_cmpint(size, >, 0);
    close(fd);
    g_free(fixture->name);
    fixture->name = g_strdup(arrival->name);
    g_free(fixture->from);
    fixture->from = g_strdup(arrival->from);
    memset(&fixture->peer, 0, sizeof(fixture->peer));
    if (arrival->peer) {
        g_assert_cmpuint(arrival->peer_size, ==, sizeof(fixture->peer));
        memcpy(&fixture->peer, arrival->peer, arrival->peer_size);
    }
    fixture->is_tls = arrival->is_tls;
    g_clear_pointer(&fixture->read, g_bytes_unref);
    fixture->read = g_bytes_new(data, size);
    fixture->arrivals++;
}

static void start(Fixture *fixture, const char *settings)
{
    g_autofree char *text = g_strconcat("[gateway]\n", settings, NULL);
    g_autofree char *path = put_file(fixture->directory, "gateway.conf", text);
    g_autoptr(GError) error = NULL;

    fixture->config = shared_port_config_load(path, NULL, &error);
    g_assert_no_error(error);
    fixture->port = shared_port_new(fixture->config, arrived, fixture, &error);
    g_assert_no_error(error);
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    guard_forget_all();
    shared_port_patience_ms = HANG_S * 1000;
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    shared_port_free(fixture->port);
    shared_port_config_free(fixture->config);
    g_clear_pointer(&fixture->read, g_bytes_unref);
    g_free(fixture->name);
    g_free(fixture->from);
    remove_all(fixture->directory);
    g_free(fixture->directory);
}

static GSocket *connect_to(GSocketAddress *address)
{
    g_autoptr(GError) error = NULL;
    GSocket *socket = g_socket_new(g_socket_address_get_family(address),
                                   G_SOCKET_TYPE_STREAM,
                                   G_SOCKET_PROTOCOL_DEFAULT, &error);

    g_assert_no_error(error);
    g_socket_connect(socket, address, NULL, &error);
    g_assert_no_error(error);
    return socket;
}

static GSocket *connect_to_socket(Fixture *fixture)
{
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(
        fixture->config->unix_socket);

    return connect_to(address);
}

static GSocket *connect_to_port(int port)
{
    g_autoptr(GSocketAddress) address =
        g_inet_socket_address_new_from_string("127.0.0.1", port);

    return connect_to(address);
}

static void send_bytes(GSocket *socket, const void *data, gsize size)
{
    g_assert_cmpint(g_socket_send(socket, data, size, NULL, NULL), ==, size);
}

/* A port that nobody has; somebody could take it, in the moment until we do */
static int free_port(void)
{
    g_autoptr(GSocketListener) listener = g_socket_listener_new();

    return g_socket_listener_add_any_inet_port(listener, NULL, NULL);
}

/* A proxy's header: @command is 1, or 0 for itself; @authority may be NULL */
static GByteArray *header(guint8 command, const char *authority)
{
    GByteArray *bytes = g_byte_array_new();
    struct { guint8 version, family; guint16 size; } start = {
        0x20 | command, 0x11, htons(12 + (authority ? 3 + strlen(authority)
                                                    : 0)),
    };
    struct { guint32 from, to; guint16 from_port, to_port; } place = {
        inet_addr("192.0.2.7"), inet_addr("192.0.2.1"), htons(51312),
        htons(5900),
    };

    g_byte_array_append(bytes, (const guint8 *)SIGNATURE, 12);
    g_byte_array_append(bytes, (const guint8 *)&start, sizeof(start));
    g_byte_array_append(bytes, (const guint8 *)&place, sizeof(place));
    if (authority) {
        guint8 tlv[] = { 2, 0, strlen(authority) };

        g_byte_array_append(bytes, tlv, sizeof(tlv));
        g_byte_array_append(bytes, (const guint8 *)authority,
                            strlen(authority));
    }
    return bytes;
}

static void check_arrival(Fixture *fixture, const char *name, gboolean is_tls,
                          const void *data, gsize size)
{
    g_autoptr(GBytes) expected = g_bytes_new(data, size);

    g_assert_cmpuint(fixture->arrivals, ==, 1);
    g_assert_cmpstr(fixture->name, ==, name);
    g_assert_cmpint(fixture->is_tls, ==, is_tls);
    g_assert_true(g_bytes_equal(fixture->read, expected));
}

static void check_peer(Fixture *fixture)
{
    g_assert_cmpstr(fixture->from, ==, "192.0.2.7:51312");
    g_assert_cmpint(fixture->peer.sin_family, ==, AF_INET);
    g_assert_cmpuint(fixture->peer.sin_addr.s_addr, ==,
                     inet_addr("192.0.2.7"));
    g_assert_cmpuint(ntohs(fixture->peer.sin_port), ==, 51312);
}

/* The proxy says whom, and has ended TLS */
static void test_authority(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(1, "vm1.example.org");
    g_autoptr(GSocket) socket = NULL;

    start(fixture, "unix-socket=socket\n");
    socket = connect_to_socket(fixture);
    send_bytes(socket, proxy->data, proxy->len);
    run_what_is_due();
    g_assert_cmpuint(fixture->arrivals, ==, 0);
    send_bytes(socket, "REDQ", 4);
    RUN_UNTIL(fixture->arrivals);
    check_arrival(fixture, "vm1.example.org", FALSE, "REDQ", 4);
    check_peer(fixture);
}

/* The proxy says where the client is, and that says whom it wants */
static void test_server_name(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(1, NULL);
    g_autoptr(GBytes) hello = client_says("vm1.example.org");
    g_autoptr(GSocket) socket = NULL;
    gsize size;
    const void *data = g_bytes_get_data(hello, &size);

    g_byte_array_append(proxy, data, size);
    start(fixture, "unix-socket=socket\n");
    socket = connect_to_socket(fixture);
    send_bytes(socket, proxy->data, proxy->len);
    RUN_UNTIL(fixture->arrivals);
    check_arrival(fixture, "vm1.example.org", TRUE, data, size);
    check_peer(fixture);
}

/* It may have looked at the name itself, and have another one for it */
static void test_both_names(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(1, "vm2");
    g_autoptr(GBytes) hello = client_says("vm1.example.org");
    g_autoptr(GSocket) socket = NULL;
    gsize size;
    const void *data = g_bytes_get_data(hello, &size);

    start(fixture, "unix-socket=socket\n");
    socket = connect_to_socket(fixture);
    send_bytes(socket, proxy->data, proxy->len);
    send_bytes(socket, data, size);
    RUN_UNTIL(fixture->arrivals);
    check_arrival(fixture, "vm2", TRUE, data, size);
}

static void test_byte_by_byte(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(1, NULL);
    g_autoptr(GBytes) hello = client_says("vm1.example.org");
    g_autoptr(GSocket) socket = NULL;
    gsize size, i, step;
    const void *data = g_bytes_get_data(hello, &size);

    g_byte_array_append(proxy, data, size);
    start(fixture, "unix-socket=socket\n");
    socket = connect_to_socket(fixture);
    for (i = 0; i < proxy->len; i += step) {
        g_assert_cmpuint(fixture->arrivals, ==, 0);
        /* what is only looked at fills the socket the sooner the smaller */
        step = i < proxy->len - size + 40 ? 1 : MIN(8, proxy->len - i);
        send_bytes(socket, proxy->data + i, step);
        run_what_is_due();
    }
    RUN_UNTIL(fixture->arrivals);
    check_arrival(fixture, "vm1.example.org", TRUE, data, size);
    check_peer(fixture);
}

/* What a proxy wants for itself is not for anybody, from anywhere */
static void test_local(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(0, "vm1");
    g_autoptr(GSocket) socket = NULL;

    start(fixture, "unix-socket=socket\n");
    socket = connect_to_socket(fixture);
    send_bytes(socket, proxy->data, proxy->len);
    send_bytes(socket, "REDQ", 4);
    RUN_UNTIL(fixture->arrivals);
    check_arrival(fixture, NULL, FALSE, "REDQ", 4);
    g_assert_cmpint(fixture->peer.sin_family, ==, 0);
    g_assert_cmpstr(fixture->from, ==, "a UNIX socket");
}

static void check_refused(Fixture *fixture, const void *data, gsize size)
{
    g_autoptr(GSocket) socket = connect_to_socket(fixture);

    send_bytes(socket, data, size);
    wait_closed(socket);
    g_assert_cmpuint(fixture->arrivals, ==, 0);
}

/* Who comes by the socket is a proxy, or nobody */
static void test_no_header(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GBytes) hello = client_says("vm1.example.org");
    g_autoptr(GByteArray) proxy = header(1, NULL);
    gsize size;
    const void *data = g_bytes_get_data(hello, &size);

    start(fixture, "unix-socket=socket\n");
    check_refused(fixture, data, size);
    check_refused(fixture, "PROXY TCP4 192.0.2.7 192.0.2.1 51312 5900\r\n",
                  43);
    proxy->data[14] = 0x20;     /* 8 kB of it */
    check_refused(fixture, proxy->data, proxy->len);
    proxy->data[14] = 0;
    proxy->data[15] = 3;        /* too short for the addresses */
    check_refused(fixture, proxy->data, proxy->len);
}

/* "vm1\0.example.org" is not vm1 */
static void test_zero(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(1, "vm1.example.org");

    proxy->data[proxy->len - strlen(".example.org")] = '\0';
    g_byte_array_append(proxy, (const guint8 *)"REDQ", 4);
    start(fixture, "unix-socket=socket\n");
    check_refused(fixture, proxy->data, proxy->len);
}

static void test_no_tls(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(1, NULL);

    g_byte_array_append(proxy, (const guint8 *)"\x16garbage", 8);
    start(fixture, "unix-socket=socket\n");
    check_refused(fixture, proxy->data, proxy->len);
}

/* Clients come to the port by themselves, but those of a proxy's network */
static void test_port(Fixture *fixture, gconstpointer unused)
{
    int port = free_port();
    g_autofree char *settings = g_strdup_printf("port=%d\n", port);
    g_autoptr(GBytes) hello = client_says("vm1.example.org");
    g_autoptr(GSocket) socket = NULL;
    gsize size;
    const void *data = g_bytes_get_data(hello, &size);

    start(fixture, settings);
    socket = connect_to_port(port);
    send_bytes(socket, data, size);
    RUN_UNTIL(fixture->arrivals);
    check_arrival(fixture, "vm1.example.org", TRUE, data, size);
    g_assert_cmpint(fixture->peer.sin_family, ==, 0);
    g_assert_true(g_str_has_prefix(fixture->from, "127.0.0.1:"));
}

static void test_proxies(Fixture *fixture, gconstpointer unused)
{
    int port = free_port();
    g_autofree char *settings = g_strdup_printf(
        "port=%d\nproxies=192.0.2.0/24, 127.0.0.0/8\n", port);
    g_autoptr(GBytes) hello = client_says("vm1.example.org");
    g_autoptr(GByteArray) proxy = header(1, NULL);
    g_autoptr(GSocket) without = NULL, with = NULL;
    gsize size;
    const void *data = g_bytes_get_data(hello, &size);

    start(fixture, settings);
    without = connect_to_port(port);
    send_bytes(without, data, size);
    wait_closed(without);
    g_assert_cmpuint(fixture->arrivals, ==, 0);
    with = connect_to_port(port);
    send_bytes(with, proxy->data, proxy->len);
    send_bytes(with, data, size);
    RUN_UNTIL(fixture->arrivals);
    check_arrival(fixture, "vm1.example.org", TRUE, data, size);
    check_peer(fixture);
}

/* Those who say nothing are in nobody's way */
static void test_crowd(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GPtrArray) crowd = g_ptr_array_new_with_free_func(g_object_unref);
    g_autoptr(GByteArray) proxy = header(1, "vm1");
    g_autoptr(GSocket) socket = NULL;
    guint i;

    start(fixture, "unix-socket=socket\n");
    for (i = 0; i < 300; i++) {
        g_ptr_array_add(crowd, connect_to_socket(fixture));
        send_bytes(crowd->pdata[i], proxy->data, i % (proxy->len + 1));
        run_what_is_due();
    }
    wait_closed(crowd->pdata[0]);
    socket = connect_to_socket(fixture);
    send_bytes(socket, proxy->data, proxy->len);
    send_bytes(socket, "REDQ", 4);
    RUN_UNTIL(fixture->arrivals);
    check_arrival(fixture, "vm1", FALSE, "REDQ", 4);
}

static void test_patience(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(1, NULL);
    gsize sent[] = { 0, 3, proxy->len };
    gsize i;

    shared_port_patience_ms = 100;
    start(fixture, "unix-socket=socket\n");
    for (i = 0; i < G_N_ELEMENTS(sent); i++) {
        g_autoptr(GSocket) socket = connect_to_socket(fixture);

        send_bytes(socket, proxy->data, sent[i]);
        wait_closed(socket);
    }
    g_assert_cmpuint(fixture->arrivals, ==, 0);
}

/* Who goes before it has said anything leaves nothing behind */
static void test_gone(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GByteArray) proxy = header(1, NULL);
    g_autoptr(GSocket) last = NULL;
    gsize i;

    start(fixture, "unix-socket=socket\n");
    for (i = 0; i <= proxy->len; i++) {
        g_autoptr(GSocket) socket = connect_to_socket(fixture);

        send_bytes(socket, proxy->data, i);
        run_what_is_due();
        g_socket_close(socket, NULL);
        run_what_is_due();
    }
    last = connect_to_socket(fixture);
    send_bytes(last, proxy->data, 5);
    run_what_is_due();
    /* and the port may go while one is there */
    g_clear_pointer(&fixture->port, shared_port_free);
    run_what_is_due();
    wait_closed(last);
}

/* What is in the way that is no socket stays */
static void test_file(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *path = put_file(fixture->directory, "gateway.conf",
                                     "[gateway]\nunix-socket=gateway.conf\n");
    g_autoptr(GError) error = NULL;

    fixture->config = shared_port_config_load(path, NULL, &error);
    g_assert_no_error(error);
    g_assert_null(shared_port_new(fixture->config, arrived, fixture, &error));
    g_assert_nonnull(strstr(error->message, "gateway.conf: [gateway] "));
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_REGULAR));
}

/* It may be systemd that listens */
static void test_nowhere(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *path = put_file(fixture->directory, "gateway.conf",
                                     "[gateway]\n");
    g_autoptr(GError) error = NULL;

    fixture->config = shared_port_config_load(path, NULL, &error);
    g_assert_no_error(error);
    g_assert_null(shared_port_new(fixture->config, arrived, fixture, &error));
    g_assert_nonnull(strstr(error->message, "nowhere to listen"));
}

static void test_wrong(Fixture *fixture, gconstpointer unused)
{
    static const struct { const char *text, *problem; } rows[] = {
        { "port=0\n", "'0' is not a port" },
        { "port=5900x\n", "'5900x' is not a port" },
        { "address=127.0.0.1\nunix-socket=x\n", "address is for a port" },
        { "port=1\nproxies=everybody\n", "proxies: use addresses" },
        { "port=1\nproxies=127.0.0.1/33\n", "proxies: use addresses" },
        { "port=1\nprot=2\n", "unknown key 'prot'" },
        { "port=1\n[server]\nport=2\n", "unknown group [server]" },
        { "port=1\ndomain=\n", "domain: it is empty" },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strconcat("[gateway]\n", rows[i].text, NULL);
        g_autofree char *path = put_file(fixture->directory, "gateway.conf",
                                         text);
        g_autoptr(GError) error = NULL;

        g_assert_null(shared_port_config_load(path, NULL, &error));
        g_assert_true(g_str_has_prefix(error->message, path));
        if (!strstr(error->message, rows[i].problem)) {
            g_error("%s, not %s", error->message, rows[i].problem);
        }
    }
}

/* By the address that its proxy says; for whom, and what it says, is kept */
static void test_guarded(Fixture *fixture, gconstpointer unused)
{
    const struct sockaddr_storage peer = peer_of("192.0.2.7", 1);
    g_autoptr(GByteArray) proxy = header(1, NULL);
    g_autoptr(GBytes) hello = client_says("vm1.example.org");
    g_autoptr(GSocket) socket = NULL, other = NULL;
    gint64 begin = g_get_monotonic_time();
    gsize size;
    const void *data = g_bytes_get_data(hello, &size);
    int i;

    for (i = 0; i < 10; i++) {
        guard_failed(&peer);
    }
    /* who has come is not one who does not say whom it wants */
    shared_port_patience_ms = 100;
    g_byte_array_append(proxy, data, size);
    start(fixture, "unix-socket=socket\n");
    socket = connect_to_socket(fixture);
    send_bytes(socket, proxy->data, proxy->len);
    RUN_UNTIL(fixture->arrivals);
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 250 * 1000);
    check_arrival(fixture, "vm1.example.org", TRUE, data, size);
    check_peer(fixture);
    g_assert_cmpuint(guard_held(), ==, 1);
    /* one that waits need not have come when the port goes */
    other = connect_to_socket(fixture);
    send_bytes(other, proxy->data, proxy->len);
    RUN_UNTIL(guard_held() == 2);
}

/* There is a limit to how many wait */
static void test_guarded_too_many(Fixture *fixture, gconstpointer unused)
{
    const struct sockaddr_storage peer = peer_of("192.0.2.7", 1);
    g_autoptr(GByteArray) proxy = header(1, "vm1.example.org");
    g_autoptr(GSocket) socket = NULL;
    int i;

    for (i = 0; i < 100; i++) {
        guard_failed(&peer);
    }
    while (guard_arrived(&peer) > 0) {
    }
    start(fixture, "unix-socket=socket\n");
    socket = connect_to_socket(fixture);
    g_byte_array_append(proxy, (const guint8 *)"REDQ", 4);
    send_bytes(socket, proxy->data, proxy->len);
    wait_closed(socket);
    g_assert_cmpuint(fixture->arrivals, ==, 0);
    g_assert_cmpuint(guard_ended(), ==, 2);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/shared-port/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("authority", test_authority);
    ADD("server-name", test_server_name);
    ADD("both-names", test_both_names);
    ADD("byte-by-byte", test_byte_by_byte);
    ADD("local", test_local);
    ADD("no-header", test_no_header);
    ADD("zero", test_zero);
    ADD("no-tls", test_no_tls);
    ADD("port", test_port);
    ADD("proxies", test_proxies);
    ADD("crowd", test_crowd);
    ADD("patience", test_patience);
    ADD("gone", test_gone);
    ADD("file", test_file);
    ADD("nowhere", test_nowhere);
    ADD("wrong", test_wrong);
    ADD("guarded", test_guarded);
    ADD("guarded-too-many", test_guarded_too_many);
    return g_test_run();
}
