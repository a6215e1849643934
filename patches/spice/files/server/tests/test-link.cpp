/*
   SPDX-License-Identifier: LGPL-2.1-or-later

   This library is free software; you can redistribute it and/or
   modify it under the terms of the GNU Lesser General Public
   License as published by the Free Software Foundation; either
   version 2.1 of the License, or (at your option) any later version.

   This library is distributed in the hope that it will be useful,
   but WITHOUT ANY WARRANTY; without even the implied warranty of
   MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
   Lesser General Public License for more details.

   You should have received a copy of the GNU Lesser General Public
   License along with this library; if not, see <http://www.gnu.org/licenses/>.
*/
/*
 * Test connections that don't get as far as being let in: those that stop half-way,
 * those that are too many, and those that can't be accepted.
 */
#include <config.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "net-utils.h"
#include "sys-socket.h"
#include "test-client.h"
#if HAVE_SASL
#include "test-sasl-mock.h"
#endif

/* how long somebody may take to be let in, in ms, and how many may try */
#define LINK_TIMEOUT 30000
#define MAX_LINKS 64
/* how long a server that can't accept waits */
#define ACCEPT_PAUSE 1000

/* those that would run for LINK_TIMEOUT */
static GPtrArray *link_timers;
static unsigned int n_connected;
static unsigned int n_disconnected;
static void (*loop_timer_start)(SpiceTimer *timer, uint32_t ms);
static void (*loop_timer_remove)(SpiceTimer *timer);

static void start_timer(SpiceTimer *timer, uint32_t ms)
{
    if (ms == LINK_TIMEOUT) {
        g_ptr_array_add(link_timers, timer);
    } else {
        loop_timer_start(timer, ms);
    }
}

static void remove_timer(SpiceTimer *timer)
{
    g_ptr_array_remove(link_timers, timer);
    loop_timer_remove(timer);
}

/* as if LINK_TIMEOUT had passed */
static void link_timeout()
{
    for (guint i = 0; i < link_timers->len; i++) {
        loop_timer_start(static_cast<SpiceTimer *>(link_timers->pdata[i]), 0);
    }
    pump();
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    n_connected += event == SPICE_CHANNEL_EVENT_CONNECTED;
    n_disconnected += event == SPICE_CHANNEL_EVENT_DISCONNECTED;
}

static void setup(int listen_socket = -1)
{
    static SpiceCoreInterface core;

    core = *basic_event_loop_init();
    loop_timer_start = core.timer_start;
    loop_timer_remove = core.timer_remove;
    core.timer_start = start_timer;
    core.timer_remove = remove_timer;
    core.channel_event = channel_event;
    link_timers = g_ptr_array_new();
    n_connected = n_disconnected = 0;
    server_start(SERVER_NEEDS_TICKET, &core, listen_socket);
}

static void teardown()
{
    server_stop();
    // the timers have been removed, and each connection has ended once
    g_assert_cmpuint(link_timers->len, ==, 0);
    g_ptr_array_free(link_timers, TRUE);
    g_assert_cmpuint(n_disconnected, ==, n_connected);
}

static Client *start_link(unsigned int flags)
{
    return client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, flags);
}

/* A connection that has sent so much of what a client sends first. */
static Client *start_raw(size_t size, int skip_auth)
{
    SpiceLinkHeader header = {
        SPICE_MAGIC,
        GUINT32_TO_LE(SPICE_VERSION_MAJOR), GUINT32_TO_LE(SPICE_VERSION_MINOR),
        GUINT32_TO_LE(sizeof(SpiceLinkMess)),
    };
    uint8_t data[sizeof(header) + sizeof(SpiceLinkMess)] = {};
    int sv[2];
    auto client = g_new0(Client, 1);

    memcpy(data, &header, sizeof(header));
    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    red_socket_set_non_blocking(sv[1], true);
    client->fd = sv[1];
    client->input = g_byte_array_new();
    g_assert_cmpint(spice_server_add_client(server, sv[0], skip_auth), ==, 0);
    g_assert_cmpuint(size, <=, sizeof(data));
    client_write(client, data, size);
    pump();
    return client;
}

static void expect_waiting(Client *client)
{
    client_receive(client);
    g_assert_false(client->eof);
}

/* let time pass, for the server too */
static unsigned int run_for(unsigned int ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;
    unsigned int rounds = 0;

    while (g_get_monotonic_time() < end) {
        rounds += g_main_context_iteration(basic_event_loop_get_context(), FALSE);
        g_usleep(1000);
    }
    return rounds;
}

/* whatever a link waits for, it ends */
static void test_timeout()
{
    static const size_t sizes[] = {
        0, 1, sizeof(uint32_t), sizeof(SpiceLinkHeader), sizeof(SpiceLinkHeader) + 1,
    };
    GPtrArray *clients = g_ptr_array_new();

    setup();
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_ptr_array_add(clients, start_raw(sizes[i], FALSE));
    }
    Client *web = start_raw(0, FALSE);
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client_write(web, request, strlen(request));
    g_ptr_array_add(clients, web);
    g_ptr_array_add(clients, start_link(0));
    Client *client = start_link(0);
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    g_ptr_array_add(clients, client);
    client = start_link(0);
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_write(client, "half a ticket", 13);
    g_ptr_array_add(clients, client);
    // these two stay
    Client *trusted = start_raw(0, TRUE);
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    Client *let_in = start_link(0);
    client_authenticate(let_in);
    expect_init(let_in);
    for (guint i = 0; i < clients->len; i++) {
        expect_waiting(static_cast<Client *>(clients->pdata[i]));
    }

    link_timeout();
    for (guint i = 0; i < clients->len; i++) {
        client = static_cast<Client *>(clients->pdata[i]);
        client_receive(client);
        g_assert_true(client->eof);
        client_free(client);
    }
    g_assert_cmpuint(n_disconnected, ==, clients->len);
    expect_waiting(trusted);
    expect_nothing(let_in);
    client_free(trusted);
    client_free(let_in);
    g_ptr_array_free(clients, TRUE);
    teardown();
}

#if HAVE_SASL
/* the same with SASL, which reads by itself */
static void test_timeout_sasl()
{
    static const struct {
        const char *data;
        size_t size;
    } steps[] = {
        { "", 0 }, { "\3\0", 2 }, { "\3\0\0\0", 4 }, { "\3\0\0\0O", 5 },
        { "\3\0\0\0ONE", 7 }, { "\3\0\0\0ONE\5\0\0\0", 11 },
        { "\3\0\0\0ONE\5\0\0\0abc", 14 },
    };
    Client *clients[G_N_ELEMENTS(steps)];

    setup();
    g_assert_cmpint(spice_server_set_sasl(server, 1), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        expect_warning("*not initialising RSA key");
        clients[i] = start_link(CLIENT_SASL);
        client_write_u32(clients[i], SPICE_COMMON_CAP_AUTH_SASL);
        client_write(clients[i], steps[i].data, steps[i].size);
        expect_waiting(clients[i]);
    }
    link_timeout();
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        client_receive(clients[i]);
        g_assert_true(clients[i]->eof);
        client_free(clients[i]);
    }
    teardown();
}
#endif

/* a server that ends has no links left */
static void test_destroy()
{
    setup();
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    Client *client = start_raw(0, FALSE);
    Client *trusted = start_raw(1, TRUE);
    Client *linked = start_link(0);
    teardown();
    Client *clients[] = { client, trusted, linked };
    for (auto c: clients) {
        socket_close(c->fd);
        g_byte_array_free(c->input, TRUE);
        g_free(c);
    }
}

/* those who never complete a link don't keep anybody out */
static void test_max_links()
{
    Client *clients[MAX_LINKS + 1];

    setup();
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    Client *trusted = start_raw(0, TRUE);
    for (int i = 0; i < MAX_LINKS; i++) {
        clients[i] = start_raw(i % 5, FALSE);
    }
    for (int i = 0; i < MAX_LINKS; i++) {
        expect_waiting(clients[i]);
    }
    // those that are let in do not count
    Client *client = start_link(0);
    client_authenticate(client);
    expect_init(client);
    client_receive(clients[0]);
    g_assert_true(clients[0]->eof);
    clients[MAX_LINKS] = start_raw(0, FALSE);
    for (int i = 1; i <= MAX_LINKS; i++) {
        expect_waiting(clients[i]);
    }
    expect_waiting(trusted);
    expect_nothing(client);
    g_assert_cmpuint(n_disconnected, ==, 1);
    client_free(client);
    client_free(trusted);
    for (int i = 0; i <= MAX_LINKS; i++) {
        client_free(clients[i]);
    }
    teardown();
}

/* A connection over TCP, from 127.0.0.@host, to a socket that takes IPv4, or IPv6 too. */
static Client *start_tcp(int listener, uint16_t port, uint8_t host)
{
    struct sockaddr_in from = {}, to = {};
    auto client = g_new0(Client, 1);

    from.sin_family = to.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xff) | host);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = port;
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    client->input = g_byte_array_new();
    g_assert_cmpint(bind(client->fd, reinterpret_cast<struct sockaddr *>(&from), sizeof(from)),
                    ==, 0);
    g_assert_cmpint(connect(client->fd, reinterpret_cast<struct sockaddr *>(&to), sizeof(to)),
                    ==, 0);
    red_socket_set_non_blocking(client->fd, true);
    int accepted = accept(listener, nullptr, nullptr);
    g_assert_cmpint(accepted, !=, -1);
    g_assert_cmpint(spice_server_add_client(server, accepted, FALSE), ==, 0);
    pump();
    return client;
}

/* nor does one host keep out others, however many it begins */
static void test_max_links_of_host(gconstpointer data)
{
    const int family = GPOINTER_TO_INT(data);
    struct sockaddr_in6 addr = {};
    struct sockaddr_in addr4 = {};
    socklen_t len = sizeof(addr);
    static const int off = 0;
    Client *clients[MAX_LINKS - 2 + 100];
    int listener = socket(family, SOCK_STREAM, 0);

    addr4.sin_family = AF_INET;
    addr.sin6_family = AF_INET6;
    if (listener == -1 ||
        (family == AF_INET6 &&
         setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0) ||
        bind(listener, family == AF_INET6 ? reinterpret_cast<struct sockaddr *>(&addr)
                                          : reinterpret_cast<struct sockaddr *>(&addr4),
             family == AF_INET6 ? sizeof(addr) : sizeof(addr4)) != 0) {
        g_test_skip("no such address");
        return;
    }
    g_assert_cmpint(listen(listener, 5), ==, 0);
    g_assert_cmpint(getsockname(listener, reinterpret_cast<struct sockaddr *>(&addr), &len),
                    ==, 0);
    const uint16_t port = addr.sin6_port; // it's in the same place for both
    setup();

    Client *first = start_tcp(listener, port, 2);
    Client *second = start_tcp(listener, port, 3);
    for (guint i = 0; i < G_N_ELEMENTS(clients); i++) {
        clients[i] = start_tcp(listener, port, 4);
    }
    expect_waiting(first);
    expect_waiting(second);
    g_assert_cmpuint(n_disconnected, ==, 100);
    // it's the oldest of that host which ends for another one
    Client *third = start_tcp(listener, port, 5);
    expect_waiting(first);
    expect_waiting(second);
    expect_waiting(third);
    g_assert_cmpuint(n_disconnected, ==, 101);
    for (guint i = 0; i < G_N_ELEMENTS(clients); i++) {
        client_receive(clients[i]);
        g_assert_cmpint(clients[i]->eof, ==, i < 101);
        client_free(clients[i]);
    }
    client_free(first);
    client_free(second);
    client_free(third);
    teardown();
    close(listener);
}

static int connect_to(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    g_assert_cmpint(connect(fd, reinterpret_cast<const struct sockaddr *>(addr),
                            sizeof(*addr)), ==, 0);
    return fd;
}

/* with no file descriptors left, the server does not try again all the time */
static void test_no_descriptors()
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = {};
    socklen_t len = sizeof(addr);
    struct rlimit limit;

    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    g_assert_cmpint(bind(listener, reinterpret_cast<struct sockaddr *>(&addr), len), ==, 0);
    g_assert_cmpint(listen(listener, 5), ==, 0);
    g_assert_cmpint(getsockname(listener, reinterpret_cast<struct sockaddr *>(&addr), &len),
                    ==, 0);
    setup(listener);
    int first = connect_to(&addr), second = connect_to(&addr);

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    rlim_t before = limit.rlim_cur;
    int lowest = dup(first);
    close(lowest);
    limit.rlim_cur = lowest;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    // told once, tried again now and then
    expect_warning("*accept failed*");
    unsigned int rounds = run_for(ACCEPT_PAUSE * 5 / 2);
    g_test_assert_expected_messages();
    g_assert_cmpuint(rounds, <, 20);
    g_assert_cmpuint(n_connected, ==, 0);

    limit.rlim_cur = before;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    while (n_connected < 2) {
        g_main_context_iteration(basic_event_loop_get_context(), TRUE);
    }
    close(first);
    close(second);
    pump();
    teardown();
    close(listener);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/link/timeout", test_timeout);
#if HAVE_SASL
    g_test_add_func("/server/link/timeout-sasl", test_timeout_sasl);
#endif
    g_test_add_func("/server/link/destroy", test_destroy);
    g_test_add_func("/server/link/max-links", test_max_links);
    g_test_add_data_func("/server/link/max-links-of-host/ipv4", GINT_TO_POINTER(AF_INET),
                         test_max_links_of_host);
    g_test_add_data_func("/server/link/max-links-of-host/ipv6", GINT_TO_POINTER(AF_INET6),
                         test_max_links_of_host);
    g_test_add_func("/server/link/no-descriptors", test_no_descriptors);

    return g_test_run();
}
