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
 * Test clients that have come by way of something else, which tells where they are.
 */
#include <config.h>

#include <errno.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "net-utils.h"
#include "test-client.h"
#if HAVE_SASL
#include "test-sasl-mock.h"
#endif

#define PKI_DIR SPICE_TOP_SRCDIR "/server/tests/pki/"
/* how many may be about to be let in */
#define MAX_LINKS 64

static SpiceChannelEventInfo last_info;
/* SPICE_CHANNEL_EVENT_ are numbers from 1 on */
static unsigned int n_events[4];
static char *asked_from;

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    g_assert_cmpint(event, >=, 0);
    g_assert_cmpint(event, <, static_cast<int>(G_N_ELEMENTS(n_events)));
    n_events[event]++;
    last_info = *info;
}

/* An address as text, with its port. */
static char *to_text(const struct sockaddr_storage *addr, socklen_t len)
{
    char host[INET6_ADDRSTRLEN];

    if (addr->ss_family == AF_INET) {
        auto in = reinterpret_cast<const struct sockaddr_in *>(addr);
        g_assert_cmpuint(len, ==, sizeof(*in));
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        return g_strdup_printf("%s %u", host, ntohs(in->sin_port));
    }
    if (addr->ss_family == AF_INET6) {
        auto in6 = reinterpret_cast<const struct sockaddr_in6 *>(addr);
        g_assert_cmpuint(len, ==, sizeof(*in6));
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        return g_strdup_printf("%s %u", host, ntohs(in6->sin6_port));
    }
    g_assert_cmpint(addr->ss_family, ==, AF_UNIX);
    return g_strdup("unix");
}

static struct sockaddr_storage from_text(const char *host, uint16_t port)
{
    struct sockaddr_storage addr = {};
    auto in = reinterpret_cast<struct sockaddr_in *>(&addr);
    auto in6 = reinterpret_cast<struct sockaddr_in6 *>(&addr);

    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        addr.ss_family = AF_INET;
        in->sin_port = htons(port);
    } else {
        g_assert_cmpint(inet_pton(AF_INET6, host, &in6->sin6_addr), ==, 1);
        addr.ss_family = AF_INET6;
        in6->sin6_port = htons(port);
    }
    return addr;
}

static void expect_event(int event, const char *peer)
{
    char *text = to_text(&last_info.paddr_ext, last_info.plen_ext);

    g_assert_cmpuint(n_events[event], ==, 1);
    n_events[event] = 0;
    g_assert_cmpstr(text, ==, peer);
    g_free(text);
    g_assert_cmpint(last_info.flags & SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT, !=, 0);
    // the deprecated fields too, as far as there is room
    g_assert_cmpuint(last_info.plen, ==, last_info.plen_ext);
    g_assert_cmpmem(&last_info.paddr, MIN(last_info.plen, sizeof(last_info.paddr)),
                    &last_info.paddr_ext, MIN(last_info.plen, sizeof(last_info.paddr)));
    // that is where the socket is
    text = to_text(&last_info.laddr_ext, last_info.llen_ext);
    g_assert_cmpstr(text, ==, "unix");
    g_free(text);
}

static SpiceCoreInterface *get_core()
{
    static SpiceCoreInterface core;

    core = *basic_event_loop_init();
    core.channel_event = channel_event;
    memset(n_events, 0, sizeof(n_events));
    return &core;
}

static Client *start_from(const char *host, uint16_t port, unsigned int flags, int tls)
{
    struct sockaddr_storage addr = from_text(host, port);
    int sv[2];

    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    g_assert_cmpint(
        spice_server_add_client_from(server, sv[0], FALSE, tls,
                                     reinterpret_cast<struct sockaddr *>(&addr), sizeof(addr)),
        ==, 0);

    Client *client = client_new(sv[1], flags);
    if (tls) {
        client_start_tls(client);
    }
    return client;
}

/* what is measured for a client that is elsewhere */
static void expect_net_test(Client *client)
{
    size_t size;

    g_free(expect_message(client, SPICE_MSG_PING, &size));
    client->input->len = 0;
}

static void expect_let_in(Client *client)
{
    client_authenticate(client);
    expect_init(client);
}

/* read what there is: the end is not what the server sent and nobody read */
static void client_leave(Client *client)
{
    client_receive(client);
    client_free(client);
}

/* each channel is a connection, and has its own address */
static void test_channels_of(const char *host, int tls)
{
    char *main_peer = g_strdup_printf("%s 1001", host);
    char *inputs_peer = g_strdup_printf("%s 1002", host);
    const int flags = SPICE_CHANNEL_EVENT_FLAG_TLS;

    Client *client = start_from(host, 1001, 0, tls);
    expect_event(SPICE_CHANNEL_EVENT_CONNECTED, main_peer);
    client_link(client, 0, SPICE_CHANNEL_MAIN, 0, 0);
    expect_let_in(client);
    expect_event(SPICE_CHANNEL_EVENT_INITIALIZED, main_peer);
    g_assert_cmpint(last_info.type, ==, SPICE_CHANNEL_MAIN);
    g_assert_cmpint(last_info.flags & flags, ==, tls ? flags : 0);
    expect_net_test(client);

    Client *inputs = start_from(host, 1002, 0, tls);
    expect_event(SPICE_CHANNEL_EVENT_CONNECTED, inputs_peer);
    client_link(inputs, client->session_id, SPICE_CHANNEL_INPUTS, 0, 0);
    client_authenticate(inputs);
    expect_event(SPICE_CHANNEL_EVENT_INITIALIZED, inputs_peer);
    g_assert_cmpint(last_info.type, ==, SPICE_CHANNEL_INPUTS);
    g_assert_cmpint(last_info.flags & flags, ==, tls ? flags : 0);

    client_leave(inputs);
    expect_event(SPICE_CHANNEL_EVENT_DISCONNECTED, inputs_peer);
    client_leave(client);
    expect_event(SPICE_CHANNEL_EVENT_DISCONNECTED, main_peer);
    g_free(main_peer);
    g_free(inputs_peer);
}

static void test_channels()
{
    server_start(0, get_core());
    test_channels_of("192.0.2.1", FALSE);
    test_channels_of("2001:db8::1", FALSE);
    server_stop();
}

/* How a client is measured that is elsewhere fits a UNIX socket, too. */
static void test_no_delay()
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    // and no warning
    g_assert_cmpint(red_socket_get_no_delay(sv[0]), ==, -1);
    close(sv[0]);
    close(sv[1]);
}

/* without one it is that of the socket */
static void test_none()
{
    uint16_t type;
    int sv[2];

    server_start(0, get_core());
    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    g_assert_cmpint(spice_server_add_client_from(server, sv[0], FALSE, FALSE, nullptr, 0), ==, 0);
    Client *client = client_new(sv[1], 0);
    expect_event(SPICE_CHANNEL_EVENT_CONNECTED, "unix");
    client_link(client, 0, SPICE_CHANNEL_MAIN, 0, 0);
    expect_let_in(client);
    g_assert_null(client_get_message(client, &type));
    client_leave(client);
    server_stop();
}

/* what is no address is refused, and the socket is left alone */
static void test_wrong()
{
    const struct sockaddr_storage in = from_text("192.0.2.1", 1), in6 = from_text("::1", 1);
    struct sockaddr_storage unix_addr = {}, unspec = {};
    const struct {
        const struct sockaddr_storage *addr;
        socklen_t len;
    } wrong[] = {
        { &in, 0 }, { &in, 1 }, { &in, sizeof(sa_family_t) }, { &in, sizeof(sockaddr_in) - 1 },
        { &in6, 0 }, { &in6, sizeof(sockaddr_in) }, { &in6, sizeof(sockaddr_in6) - 1 },
        { &unix_addr, sizeof(unix_addr) }, { &unspec, sizeof(unspec) },
    };
    int sv[2];

    unix_addr.ss_family = AF_UNIX;
    server_start(0, get_core());
    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    for (const auto &w : wrong) {
        auto addr = reinterpret_cast<const struct sockaddr *>(w.addr);
        expect_warning("*not the address of a client in IPv4 or IPv6");
        g_assert_cmpint(spice_server_add_client_from(server, sv[0], FALSE, FALSE, addr, w.len),
                        ==, -1);
    }
    // nor can this be
    expect_warning("*no client over TLS before spice_server_set_tls()*");
    g_assert_cmpint(
        spice_server_add_client_from(server, sv[0], FALSE, TRUE,
                                     reinterpret_cast<const struct sockaddr *>(&in), sizeof(in)),
        ==, -1);
    g_assert_cmpuint(n_events[SPICE_CHANNEL_EVENT_CONNECTED], ==, 0);

    // exactly so long is right
    g_assert_cmpint(
        spice_server_add_client_from(server, sv[0], FALSE, FALSE,
                                     reinterpret_cast<const struct sockaddr *>(&in),
                                     sizeof(sockaddr_in)),
        ==, 0);
    expect_event(SPICE_CHANNEL_EVENT_CONNECTED, "192.0.2.1 1");
    Client *client = client_new(sv[1], 0);
    client_link(client, 0, SPICE_CHANNEL_MAIN, 0, 0);
    expect_let_in(client);
    client_leave(client);
    server_stop();
}

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *request)
{
    const SpiceChannelEventInfo *channel = request->client->channel;

    g_free(asked_from);
    asked_from = to_text(&channel->paddr_ext, channel->plen_ext);
    spice_server_power_complete(request, SPICE_POWER_RESULT_OK, nullptr);
}

static const SpicePowerInterface power_interface = {
    .base = {
        .type          = SPICE_INTERFACE_POWER,
        .description   = "test power",
        .major_version = SPICE_INTERFACE_POWER_MAJOR,
        .minor_version = SPICE_INTERFACE_POWER_MINOR,
    },
    .request           = power_request,
};

/* who asks for a reset is named by it */
static void test_power()
{
    SpicePowerInstance power = {};

    server_start(0, get_core());
    power.base.sif = &power_interface.base;
    power.actions = SPICE_POWER_ACTION_RESET;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    Client *client = start_from("2001:db8::7", 4711, 0, FALSE);
    client_link(client, 0, SPICE_CHANNEL_MAIN, 0, 1u << SPICE_MAIN_CAP_POWER_CONTROL);
    expect_let_in(client);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_cmpstr(asked_from, ==, "2001:db8::7 4711");
    g_clear_pointer(&asked_from, g_free);
    client_leave(client);
    server_stop();
}

#if HAVE_SASL
static void test_sasl()
{
    server_start(0, get_core());
    g_assert_cmpint(spice_server_set_sasl(server, 1), ==, 0);
    expect_warning("*not initialising RSA key");
    Client *client = start_from("192.0.2.1", 4711, CLIENT_SASL, FALSE);
    client_link(client, 0, SPICE_CHANNEL_MAIN, 0, 0);
    expect_let_in(client);
    g_assert_cmpstr(test_sasl_remote, ==, "192.0.2.1;4711");
    client_leave(client);
    server_stop();
}
#endif

/* one that begins many connections does not keep out those who come the same way */
static void test_max_links()
{
    Client *many[MAX_LINKS + 10];

    server_start(0, get_core());
    Client *other = start_from("192.0.2.2", 1, 0, FALSE);
    for (size_t i = 0; i < G_N_ELEMENTS(many); i++) {
        many[i] = start_from("192.0.2.1", 1 + i, 0, FALSE);
        pump();
    }
    client_receive(many[0]);
    g_assert_true(many[0]->eof);
    client_receive(other);
    g_assert_false(other->eof);
    for (auto client : many) {
        client_leave(client);
    }
    client_leave(other);
    server_stop();
}

static bool something_listens()
{
    for (int fd = 0; fd < 256; fd++) {
        int listens = 0;
        socklen_t len = sizeof(listens);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens) {
            return true;
        }
    }
    return false;
}

static SpiceServer *new_tls_server(const char *key_file)
{
    SpiceServer *tls_server = spice_server_new();

    g_assert_cmpint(spice_server_set_noauth(tls_server), ==, 0);
    g_assert_cmpint(spice_server_set_tls(tls_server, 0, PKI_DIR "ca-cert.pem",
                                         PKI_DIR "server-cert.pem", key_file, nullptr, nullptr,
                                         nullptr),
                    ==, 0);
    return tls_server;
}

/* TLS without a port of its own */
static void test_tls()
{
    alarm(300);
    SpiceCoreInterface *core = get_core();
    server = new_tls_server(PKI_DIR "server-key.pem");
    g_assert_cmpint(spice_server_init(server, core), ==, 0);
    g_assert_false(something_listens());
    test_channels_of("192.0.2.1", TRUE);
    test_channels_of("2001:db8::1", TRUE);
    // what needs no TLS by default, needs none here
    test_channels_of("192.0.2.1", FALSE);
    spice_server_stop_listening(server);
    test_channels_of("192.0.2.1", TRUE);
    server_stop();
}

/* its files are looked at as with a port */
static void test_tls_wrong()
{
    alarm(300);
    SpiceCoreInterface *core = get_core();
    server = new_tls_server(PKI_DIR "no-such-key.pem");
    expect_warning("*Could not use private key file");
    g_assert_cmpint(spice_server_init(server, core), ==, -1);
    g_test_assert_expected_messages();
    g_assert_cmpint(spice_server_set_tls(server, 0, nullptr, "cert", "key", nullptr, nullptr,
                                         nullptr), ==, -1);
    g_assert_cmpint(spice_server_set_tls(server, -1, "ca", "cert", "key", nullptr, nullptr,
                                         nullptr), ==, -1);
    g_assert_cmpint(spice_server_set_tls(server, 65536, "ca", "cert", "key", nullptr, nullptr,
                                         nullptr), ==, -1);
    server_stop();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/client-address/channels", test_channels);
    g_test_add_func("/server/client-address/no-delay", test_no_delay);
    g_test_add_func("/server/client-address/none", test_none);
    g_test_add_func("/server/client-address/wrong", test_wrong);
    g_test_add_func("/server/client-address/power", test_power);
#if HAVE_SASL
    g_test_add_func("/server/client-address/sasl", test_sasl);
#endif
    g_test_add_func("/server/client-address/max-links", test_max_links);
    g_test_add_func("/server/client-address/tls", test_tls);
    g_test_add_func("/server/client-address/tls-wrong", test_tls_wrong);

    return g_test_run();
}
