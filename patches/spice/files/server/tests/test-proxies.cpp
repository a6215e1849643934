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
 * Test a server that has proxies, which tell where its clients are. That's long for one
 * file, but all of it has the server, and the clients by TCP, of the first part.
 */
#include <config.h>

#include <errno.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "sys-socket.h"
#include "test-client.h"
#include "test-proxy-header.h"

#define PKI_DIR SPICE_TOP_SRCDIR "/server/tests/pki/"

/* how long the server waits for a header, in ms, and for how many */
#define HEADER_TIMEOUT 10000
#define MAX_CONNECTIONS 64

static GPtrArray *header_timers;
static void (*loop_timer_start)(SpiceTimer *timer, uint32_t ms);
static void (*loop_timer_remove)(SpiceTimer *timer);
static SpiceChannelEventInfo last_info;
static unsigned int n_connected;
static unsigned int n_disconnected;
static int listener = -1;
static struct sockaddr_storage server_addr;
static socklen_t server_addr_len;

static void start_timer(SpiceTimer *timer, uint32_t ms)
{
    if (ms == HEADER_TIMEOUT) {
        g_ptr_array_add(header_timers, timer);
    } else {
        loop_timer_start(timer, ms);
    }
}

static void remove_timer(SpiceTimer *timer)
{
    g_ptr_array_remove(header_timers, timer);
    loop_timer_remove(timer);
}

/* What comes by TCP takes its time. */
#define wait_until(condition) do { \
    pump();                        \
    if (!(condition)) {            \
        g_usleep(1000);            \
    }                              \
} while (!(condition))

/* as if it had passed */
static void header_timeout()
{
    wait_until(header_timers->len > 0);
    for (guint i = 0; i < header_timers->len; i++) {
        loop_timer_start(static_cast<SpiceTimer *>(header_timers->pdata[i]), 0);
    }
    pump();
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    n_connected += event == SPICE_CHANNEL_EVENT_CONNECTED;
    n_disconnected += event == SPICE_CHANNEL_EVENT_DISCONNECTED;
    last_info = *info;
}

static SpiceCoreInterface *get_core()
{
    static SpiceCoreInterface core;

    core = *basic_event_loop_init();
    loop_timer_start = core.timer_start;
    loop_timer_remove = core.timer_remove;
    core.timer_start = start_timer;
    core.timer_remove = remove_timer;
    core.channel_event = channel_event;
    header_timers = g_ptr_array_new();
    n_connected = n_disconnected = 0;
    return &core;
}

/* A socket of this family, bound to a port of its own; returns false if there is no such
 * family here. */
static bool setup_listener(int family)
{
    static const int off = 0;
    struct sockaddr_in in = {};
    struct sockaddr_in6 in6 = {};

    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in6.sin6_family = AF_INET6;
    auto addr = family == AF_INET ? reinterpret_cast<struct sockaddr *>(&in)
                                  : reinterpret_cast<struct sockaddr *>(&in6);
    listener = socket(family, SOCK_STREAM, 0);
    if (listener == -1 ||
        (family == AF_INET6 &&
         setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0) ||
        bind(listener, addr, family == AF_INET ? sizeof(in) : sizeof(in6)) != 0) {
        g_assert_cmpint(family, ==, AF_INET6);
        if (listener != -1) {
            socket_close(listener);
        }
        return false;
    }
    g_assert_cmpint(listen(listener, SOMAXCONN), ==, 0);
    server_addr_len = sizeof(server_addr);
    g_assert_cmpint(getsockname(listener, reinterpret_cast<struct sockaddr *>(&server_addr),
                                &server_addr_len), ==, 0);
    return true;
}

/* one that listens on TCP */
static void setup(const char *proxies)
{
    g_assert_true(setup_listener(AF_INET));
    server_start(0, get_core(), listener);
    g_assert_cmpint(spice_server_set_proxies(server, proxies), ==, 0);
}

static void teardown()
{
    server_stop();
    g_assert_cmpuint(header_timers->len, ==, 0);
    g_ptr_array_free(header_timers, TRUE);
    g_assert_cmpuint(n_disconnected, ==, n_connected);
    if (listener != -1) {
        socket_close(listener);
        listener = -1;
    }
}

/* A connection to the server, from 127.0.0.@host if it's not by a UNIX socket. */
static Client *connect_from(uint8_t host, unsigned int flags = 0)
{
    struct sockaddr_storage to = server_addr;
    socklen_t to_len = server_addr_len;

    if (to.ss_family == AF_INET6) {
        // such a socket takes this, too
        struct sockaddr_in in = {};
        in.sin_family = AF_INET;
        in.sin_port = reinterpret_cast<struct sockaddr_in6 *>(&to)->sin6_port;
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        memset(&to, 0, sizeof(to));
        memcpy(&to, &in, sizeof(in));
        to_len = sizeof(in);
    }

    int fd = socket(to.ss_family, SOCK_STREAM, 0);
    g_assert_cmpint(fd, !=, -1);
    if (to.ss_family == AF_INET) {
        struct sockaddr_in from = {};
        from.sin_family = AF_INET;
        from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xff) | host);
        g_assert_cmpint(bind(fd, reinterpret_cast<struct sockaddr *>(&from), sizeof(from)), ==, 0);
    }
    g_assert_cmpint(connect(fd, reinterpret_cast<struct sockaddr *>(&to), to_len), ==, 0);
    if (to.ss_family != AF_UNIX) {
        flags |= CLIENT_TCP;
    }
    return client_new(fd, flags);
}

static void send_header(Client *client, GByteArray *header)
{
    client_write(client, header->data, header->len);
    g_byte_array_free(header, TRUE);
}

/* the last event is of a client there */
static void expect_peer(const char *expected)
{
    char host[INET6_ADDRSTRLEN] = "unix";

    if (last_info.paddr_ext.ss_family == AF_INET) {
        inet_ntop(AF_INET, &reinterpret_cast<struct sockaddr_in *>(&last_info.paddr_ext)->sin_addr,
                  host, sizeof(host));
    } else if (last_info.paddr_ext.ss_family == AF_INET6) {
        inet_ntop(AF_INET6,
                  &reinterpret_cast<struct sockaddr_in6 *>(&last_info.paddr_ext)->sin6_addr,
                  host, sizeof(host));
    }
    g_assert_cmpstr(host, ==, expected);
}

/* read what there is: the end is not what the server sent and nobody read */
static void client_leave(Client *client)
{
    const unsigned int n = n_disconnected;

    shutdown(client->fd, SHUT_WR);
    while (!client->eof) {
        client_wait(client, client->input->len + 1);
    }
    client_free(client);
    wait_until(n_disconnected > n);
}

/* A client is served, and has this address. */
static void expect_served(Client *client, const char *peer)
{
    client_link(client, 0, SPICE_CHANNEL_MAIN, 0, 0);
    client_authenticate(client);
    expect_init(client);
    expect_peer(peer);
    client_leave(client);
    expect_peer(peer);
}

/* The connection ends, and nobody is told that it was there. */
static void expect_closed(Client *client)
{
    g_assert_false(client_wait(client, 1));
    g_assert_cmpuint(n_connected, ==, 0);
    g_assert_cmpuint(header_timers->len, ==, 0);
    client_free(client);
    g_test_assert_expected_messages();
}

static void test_trusted()
{
    setup("127.0.0.2");
    Client *client = connect_from(2);
    // it waits for the header, and is nobody's up to then
    wait_until(header_timers->len == 1);
    g_assert_cmpuint(n_connected, ==, 0);
    send_header(client, new_header4());
    wait_until(header_timers->len == 0);
    expect_served(client, "192.0.2.1");

    client = connect_from(2);
    send_header(client, new_header6());
    expect_served(client, "2001:db8::1");

    // what else it tells is nothing to the server, up to the longest one
    client = connect_from(2);
    GByteArray *header = new_header4();
    while (header->len < SPICE_PROXY_HEADER_MAX_SIZE) {
        add_tlv(header, header->len == 28 ? AUTHORITY : 0x04, "", 1);
    }
    send_header(client, header);
    expect_served(client, "192.0.2.1");
    teardown();
}

static void test_bytewise()
{
    setup("127.0.0.2");
    for (int family : { AF_INET, AF_INET6 }) {
        Client *client = connect_from(2, CLIENT_BYTEWISE);
        send_header(client, family == AF_INET ? new_header4() : new_header6());
        expect_served(client, family == AF_INET ? "192.0.2.1" : "2001:db8::1");
    }
    teardown();
}

/* the header and what follows it come at once */
static void test_at_once()
{
    GByteArray *header = new_header4();
    const SpiceLinkHeader wrong_version = {
        SPICE_MAGIC, GUINT32_TO_LE(SPICE_VERSION_MAJOR + 1), 0, 0
    };

    setup("127.0.0.2");
    Client *client = connect_from(2);
    g_byte_array_append(header, reinterpret_cast<const uint8_t *>(&wrong_version),
                        sizeof(wrong_version));
    // it is read by who is to read it, up to the last byte: nothing is answered before
    client_write(client, header->data, header->len - 1);
    wait_until(n_connected == 1);
    client_receive(client);
    g_assert_cmpuint(client->input->len, ==, 0);
    g_assert_false(client->eof);
    expect_peer("192.0.2.1");
    expect_warning("*version mismatch");
    client_write(client, &header->data[header->len - 1], 1);
    g_assert_true(client_wait(client, sizeof(SpiceLinkHeader) + sizeof(SpiceLinkReply)));
    client_free(client);
    g_byte_array_free(header, TRUE);
    teardown();
}

/* channels of a client have their own addresses */
static void test_channels()
{
    setup("127.0.0.2");
    Client *client = connect_from(2);
    send_header(client, new_header4());
    client_link(client, 0, SPICE_CHANNEL_MAIN, 0, 0);
    client_authenticate(client);
    expect_init(client);
    expect_peer("192.0.2.1");

    Client *inputs = connect_from(2);
    GByteArray *header = new_header4();
    header->data[FIXED_SIZE + 3] = 9;
    send_header(inputs, header);
    client_link(inputs, client->session_id, SPICE_CHANNEL_INPUTS, 0, 0);
    client_authenticate(inputs);
    client_wait(inputs, 1);
    expect_peer("192.0.2.9");
    g_assert_cmpint(last_info.type, ==, SPICE_CHANNEL_INPUTS);
    client_leave(inputs);
    client_leave(client);
    expect_peer("192.0.2.1");
    teardown();
}

/* Who is no proxy is served as before, and can't say where he is. */
static void test_not_trusted()
{
    setup("127.0.0.2");
    Client *client = connect_from(3);
    wait_until(n_connected == 1);
    g_assert_cmpuint(header_timers->len, ==, 0);
    expect_served(client, "127.0.0.3");

    client = connect_from(3);
    send_header(client, new_header4());
    // that's not how a client of SPICE begins
    g_assert_true(client_wait(client, sizeof(SpiceLinkHeader) + sizeof(SpiceLinkReply)));
    expect_peer("127.0.0.3");
    auto reply = reinterpret_cast<const SpiceLinkReply *>(client->input->data +
                                                          sizeof(SpiceLinkHeader));
    g_assert_cmpuint(GUINT32_FROM_LE(reply->error), ==, SPICE_LINK_ERR_INVALID_MAGIC);
    client_free(client);
    teardown();
}

/* the connection is the proxy's, or that of somebody who has no address */
static void test_no_address()
{
    setup("127.0.0.2");
    for (uint8_t command : { LOCAL, PROXY }) {
        Client *client = connect_from(2);
        send_header(client, new_header(command, UNSPEC));
        expect_served(client, "127.0.0.2");
    }
    Client *client = connect_from(2);
    GByteArray *header = new_header4();
    header->data[12] = LOCAL;
    send_header(client, header);
    expect_served(client, "127.0.0.2");

    client = connect_from(2);
    header = new_header(PROXY, UNIX_STREAM);
    add_zeros(header, 216);
    send_header(client, header);
    expect_served(client, "127.0.0.2");
    teardown();
}

/* The proxy looks whether there is a server: that's no client of anybody. */
static void test_checks()
{
    setup("127.0.0.2");
    Client *client = connect_from(2);
    shutdown(client->fd, SHUT_WR);
    expect_closed(client);

    client = connect_from(2);
    send_header(client, new_header(LOCAL, UNSPEC));
    shutdown(client->fd, SHUT_WR);
    expect_closed(client);

    // it does not want to know more
    const struct linger linger = { 1, 0 };
    client = connect_from(2);
    wait_until(header_timers->len == 1);
    send_header(client, new_header(LOCAL, UNSPEC));
    g_assert_cmpint(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), ==, 0);
    client_free(client);
    wait_until(header_timers->len == 0);

    // the same at once, so that nobody is there any more when the server comes to it
    client = connect_from(2);
    g_assert_cmpint(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), ==, 0);
    client_free(client);
    g_assert_cmpuint(n_connected, ==, 0);

    // but it has to say something in time
    client = connect_from(2);
    send_header(client, new_header(LOCAL, UNSPEC));
    expect_warning("*did not come in time");
    header_timeout();
    expect_closed(client);
    teardown();
}

static void test_refused()
{
    static const struct {
        const char *data;
        size_t len;
        const char *message;
    } starts[] = {
        { "REDQ", 4, "*(127.0.0.2) refused: it does not begin with a header of*version 2" },
        { "\x16\3\1\2\0\1\0\1\xfc\3\3", 11, "*it does not begin with*" },
        { "GET / HTTP/1.1\r\n\r\n", 18, "*it does not begin with*" },
        { "PROXY TCP4 192.0.2.1 198.51.100.1 4711 5900\r\n", 45, "*it begins with version 1*" },
        { SIGNATURE "\x11\x11\0\x0c", 16, "*is wrong, or too long" },
        { SIGNATURE "\x21\x13\0\x0c", 16, "*is wrong, or too long" },
        { SIGNATURE "\x21\x11\0\x0b", 16, "*is wrong, or too long" },
        { SIGNATURE "\x20\x00\x0f\xf1", 16, "*is wrong, or too long" },
    };

    setup("127.0.0.2");
    for (const auto &start : starts) {
        Client *client = connect_from(2);
        expect_warning(start.message);
        client_write(client, start.data, start.len);
        expect_closed(client);
    }
    // a wrong TLV, and half a header
    Client *client = connect_from(2);
    GByteArray *header = new_header4();
    add(header, "\4\0", 2);
    expect_warning("*is wrong, or too long");
    send_header(client, header);
    expect_closed(client);
    client = connect_from(2);
    header = new_header4();
    client_write(client, header->data, header->len - 1);
    g_byte_array_free(header, TRUE);
    expect_warning("*it ended within its header*");
    shutdown(client->fd, SHUT_WR);
    expect_closed(client);
    teardown();
}

static void test_timeout()
{
    GByteArray *header = new_header4();

    setup("127.0.0.2");
    for (size_t len : { size_t(0), size_t(1), size_t(FIXED_SIZE), size_t(header->len - 1) }) {
        Client *client = connect_from(2);
        client_write(client, header->data, len);
        client_receive(client);
        g_assert_false(client->eof);
        expect_warning("*did not come in time");
        header_timeout();
        expect_closed(client);
    }
    g_byte_array_free(header, TRUE);
    teardown();
}

/* the ones that are there for the longest time end */
static void test_many()
{
    Client *clients[MAX_CONNECTIONS + 2];

    setup("127.0.0.2");
    for (size_t i = 0; i < G_N_ELEMENTS(clients); i++) {
        if (i >= MAX_CONNECTIONS) {
            expect_warning("*there are too many whose header has not come");
        }
        clients[i] = connect_from(2);
        wait_until(header_timers->len == MIN(i + 1, MAX_CONNECTIONS));
        if (i >= MAX_CONNECTIONS) {
            g_assert_false(client_wait(clients[i - MAX_CONNECTIONS], 1));
        }
        g_test_assert_expected_messages();
    }
    for (size_t i = 2; i < G_N_ELEMENTS(clients); i++) {
        client_receive(clients[i]);
        g_assert_false(clients[i]->eof);
    }
    // who is no proxy does not depend on that
    expect_served(connect_from(3), "127.0.0.3");
    send_header(clients[2], new_header4());
    expect_served(clients[2], "192.0.2.1");
    clients[2] = nullptr;
    // and the rest of them goes with the server
    teardown();
    for (Client *client : clients) {
        if (client) {
            socket_close(client->fd);
            g_byte_array_free(client->input, TRUE);
            g_free(client);
        }
    }
}

static bool is_proxy(uint8_t host)
{
    const unsigned int n = n_connected;
    Client *client = connect_from(host);

    wait_until(header_timers->len == 1 || n_connected > n);
    const bool waits = header_timers->len == 1;
    client_free(client);
    wait_until(header_timers->len == 0 && n_disconnected == n_connected);
    return waits;
}

/* who is a proxy */
static void test_lists()
{
    static const char *const wrong[] = {
        "localhost", "127.0.0", "127.0.0.1/33", "127.0.0.1/24", "::/129", "127.0.0.2;127.0.0.3",
        "::ffff:127.0.0.2", "127.0.0.2/+8", "127.0.0.2/ 8", "/8", "UNIX", "::1/",
        "127.0.0.3 proxy.example.org", "127.0.0.2:5900",
    };
    static const struct {
        const char *list;
        bool contains[4]; // 127.0.0.2 and those that follow
    } lists[] = {
        { nullptr, { false, false, false, false } },
        { "", { false, false, false, false } },
        { " , ", { false, false, false, false } },
        { "unix", { false, false, false, false } },
        { "::/0", { false, false, false, false } },
        { "127.0.0.2", { true, false, false, false } },
        { "127.0.0.2,127.0.0.4", { true, false, true, false } },
        { " ::1, 127.0.0.2  127.0.0.5 ", { true, false, false, true } },
        { "127.0.0.2/31", { true, true, false, false } },
        { "127.0.0.4/30", { false, false, true, true } },
        { "127.0.0.0/29 127.0.0.3/32", { true, true, true, true } },
        { "127.0.0.0/8 unix", { true, true, true, true } },
        { "0.0.0.0/0", { true, true, true, true } },
    };

    setup(nullptr);
    for (const auto &list : lists) {
        g_assert_cmpint(spice_server_set_proxies(server, list.list), ==, 0);
        for (int i = 0; i < 4; i++) {
            g_assert_true(is_proxy(2 + i) == list.contains[i]);
        }
    }
    g_assert_cmpint(spice_server_set_proxies(server, "127.0.0.2"), ==, 0);
    for (auto list : wrong) {
        expect_warning("*is not where proxies can be*");
        g_assert_cmpint(spice_server_set_proxies(server, list), ==, -1);
        g_test_assert_expected_messages();
        g_assert_true(is_proxy(2));
        g_assert_false(is_proxy(3));
    }
    teardown();
}

/* IPv4 by a socket for IPv6 is IPv4 */
static void test_mapped()
{
    if (!setup_listener(AF_INET6)) {
        g_test_skip("no IPv6 here");
        return;
    }
    server_start(0, get_core(), listener);
    g_assert_cmpint(spice_server_set_proxies(server, "127.0.0.2"), ==, 0);
    Client *client = connect_from(2);
    send_header(client, new_header4());
    expect_served(client, "192.0.2.1");
    expect_served(connect_from(3), "::ffff:127.0.0.3");
    teardown();
}

static void test_unix()
{
    char *dir = g_dir_make_tmp("test-proxy-XXXXXX", nullptr);
    char *path = g_build_filename(dir, "socket", nullptr);
    auto addr = reinterpret_cast<struct sockaddr_un *>(&server_addr);

    memset(&server_addr, 0, sizeof(server_addr));
    addr->sun_family = AF_UNIX;
    g_strlcpy(addr->sun_path, path, sizeof(addr->sun_path));
    server_addr_len = sizeof(*addr);

    alarm(300);
    SpiceCoreInterface *core = get_core();
    server = spice_server_new();
    spice_server_set_noauth(server);
    spice_server_set_addr(server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    g_assert_cmpint(spice_server_set_proxies(server, "unix"), ==, 0);
    g_assert_cmpint(spice_server_init(server, core), ==, 0);

    Client *client = connect_from(0);
    send_header(client, new_header4());
    expect_served(client, "192.0.2.1");
    client = connect_from(0);
    send_header(client, new_header(LOCAL, UNSPEC));
    expect_served(client, "unix");
    n_connected = n_disconnected = 0;
    client = connect_from(0);
    send_header(client, new_header(LOCAL, UNSPEC));
    shutdown(client->fd, SHUT_WR);
    expect_closed(client);
    client = connect_from(0);
    expect_warning("*(the UNIX socket) refused: it does not begin with*");
    client_write(client, "REDQ", 4);
    expect_closed(client);

    g_assert_cmpint(spice_server_set_proxies(server, "127.0.0.0/8"), ==, 0);
    expect_served(connect_from(0), "unix");
    teardown();
    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
}

/* TLS begins behind the header */
static void test_tls()
{
    // a port that is free
    g_assert_true(setup_listener(AF_INET));
    socket_close(listener);
    listener = -1;

    alarm(300);
    SpiceCoreInterface *core = get_core();
    server = spice_server_new();
    spice_server_set_noauth(server);
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    auto in = reinterpret_cast<struct sockaddr_in *>(&server_addr);
    g_assert_cmpint(spice_server_set_tls(server, ntohs(in->sin_port), PKI_DIR "ca-cert.pem",
                                         PKI_DIR "server-cert.pem", PKI_DIR "server-key.pem",
                                         nullptr, nullptr, nullptr), ==, 0);
    g_assert_cmpint(spice_server_set_proxies(server, "127.0.0.2"), ==, 0);
    g_assert_cmpint(spice_server_init(server, core), ==, 0);

    for (unsigned int flags : { 0, CLIENT_BYTEWISE }) {
        Client *client = connect_from(2, flags);
        send_header(client, new_header4());
        client_start_tls(client);
        expect_served(client, "192.0.2.1");
        g_assert_cmpint(last_info.flags & SPICE_CHANNEL_EVENT_FLAG_TLS, !=, 0);
    }
    Client *client = connect_from(3);
    client_start_tls(client);
    expect_served(client, "127.0.0.3");
    g_assert_cmpint(last_info.flags & SPICE_CHANNEL_EVENT_FLAG_TLS, !=, 0);
    teardown();
}

/* and so does a WebSocket */
static void test_websocket()
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Version: 13\r\n\r\n";
    static const char answer[] = "HTTP/1.1 101 ";

    setup("127.0.0.2");
    Client *client = connect_from(2);
    send_header(client, new_header4());
    client_write(client, request, strlen(request));
    g_assert_true(client_wait(client, strlen(answer)));
    g_assert_cmpmem(client->input->data, strlen(answer), answer, strlen(answer));
    expect_peer("192.0.2.1");
    client_free(client);
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/proxies/trusted", test_trusted);
    g_test_add_func("/server/proxies/bytewise", test_bytewise);
    g_test_add_func("/server/proxies/at-once", test_at_once);
    g_test_add_func("/server/proxies/channels", test_channels);
    g_test_add_func("/server/proxies/not-trusted", test_not_trusted);
    g_test_add_func("/server/proxies/no-address", test_no_address);
    g_test_add_func("/server/proxies/checks", test_checks);
    g_test_add_func("/server/proxies/refused", test_refused);
    g_test_add_func("/server/proxies/timeout", test_timeout);
    g_test_add_func("/server/proxies/many", test_many);
    g_test_add_func("/server/proxies/lists", test_lists);
    g_test_add_func("/server/proxies/mapped", test_mapped);
    g_test_add_func("/server/proxies/unix", test_unix);
    g_test_add_func("/server/proxies/tls", test_tls);
    g_test_add_func("/server/proxies/websocket", test_websocket);

    return g_test_run();
}
