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
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>
#else
#include <ws2tcpip.h>
#endif

#include "net-utils.h"
#include "proxies.h"
#include "reds.h"
#include "reds-private.h"
#include "sys-socket.h"

/* A proxy sends its header at once. */
#define HEADER_TIMEOUT (MSEC_PER_SEC * 10)
/* How many may be about to do so; others on this host might connect from such an address,
 * too. The oldest ones end. */
#define MAX_CONNECTIONS 64
/* what all headers begin with, see proxy-protocol.cpp */
#define SIGNATURE_SIZE 12

/* IPv4, for a socket that takes both */
static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* Returns the size of the address in IP, which tells the family as well, 0 if it is none. */
static size_t get_ip(const struct sockaddr_storage *addr, uint8_t *bytes)
{
    if (addr->ss_family == AF_INET) {
        memcpy(bytes, &reinterpret_cast<const struct sockaddr_in *>(addr)->sin_addr, 4);
        return 4;
    }
    if (addr->ss_family == AF_INET6) {
        memcpy(bytes, &reinterpret_cast<const struct sockaddr_in6 *>(addr)->sin6_addr, 16);
        if (memcmp(bytes, mapped, sizeof(mapped)) != 0) {
            return 16;
        }
        memmove(bytes, bytes + sizeof(mapped), 4);
        return 4;
    }
    return 0;
}

static char *to_text(const struct sockaddr_storage *addr)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    const size_t size = get_ip(addr, bytes);

    if (size == 0) {
        return g_strdup("the UNIX socket");
    }
    return g_strdup(inet_ntop(size == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text)));
}

/* whether there is a bit that is set from this one on */
static bool has_bits_from(const RedProxyNetwork *network, unsigned int bit)
{
    for (; bit < network->size * 8; bit++) {
        if (network->bytes[bit / 8] & (0x80 >> bit % 8)) {
            return true;
        }
    }
    return false;
}

static bool has_prefix(const uint8_t *bytes, const RedProxyNetwork *network)
{
    const unsigned int whole = network->prefix / 8, rest = network->prefix % 8;

    return memcmp(bytes, network->bytes, whole) == 0 &&
        (rest == 0 || (bytes[whole] ^ network->bytes[whole]) >> (8 - rest) == 0);
}

/* "192.0.2.7" or "192.0.2.0/24", and so in IPv6 */
static bool parse_network(const char *text, RedProxyNetwork *network)
{
    const char *slash = strchr(text, '/');
    char *address = slash ? g_strndup(text, slash - text) : g_strdup(text);

    network->size = 0;
    if (inet_pton(AF_INET, address, network->bytes) == 1) {
        network->size = 4;
    } else if (inet_pton(AF_INET6, address, network->bytes) == 1) {
        network->size = 16;
    }
    g_free(address);
    network->prefix = network->size * 8;
    if (slash) {
        const char *digits = slash + 1;
        const size_t len = strspn(digits, "0123456789");

        if (len < 1 || len > 3 || digits[len] != '\0' || atoi(digits) > network->prefix) {
            return false;
        }
        network->prefix = atoi(digits);
    }
    // nobody has such an address here
    if (network->size == 16 && memcmp(network->bytes, mapped, sizeof(mapped)) == 0) {
        return false;
    }
    return network->size != 0 && !has_bits_from(network, network->prefix);
}

/* A connection of a proxy whose header has not come. */
struct RedProxyConnection
{
    SPICE_CXX_GLIB_ALLOCATOR
    RedProxyConnection(RedProxies *proxies, int socket, bool tls,
                       const struct sockaddr_storage *addr);
    ~RedProxyConnection();

    void start();
    // close it, and delete this
    void refuse(const char *reason);

private:
    static void on_readable(int fd, int event, void *opaque);
    static void on_timeout(RedProxyConnection *connection);
    // these delete this as well, unless there is more to wait for
    void read_header();
    void end();
    bool is_asked_for_more();
    void add_client(const SpiceProxyHeader *header);

    RedProxies *const proxies;
    int socket;
    const bool tls;
    const struct sockaddr_storage addr; // where the proxy is
    char *from; // the same, as text
    SpiceWatch *watch = nullptr;
    SpiceTimer *timer = nullptr;
    size_t received = 0;
    uint8_t data[SPICE_PROXY_HEADER_MAX_SIZE];
};

RedProxyConnection::RedProxyConnection(RedProxies *init_proxies, int init_socket, bool init_tls,
                                       const struct sockaddr_storage *init_addr):
    proxies(init_proxies),
    socket(init_socket),
    tls(init_tls),
    addr(*init_addr),
    from(to_text(init_addr))
{
    proxies->connections.push_back(this);
}

RedProxyConnection::~RedProxyConnection()
{
    proxies->connections.remove(this);
    red_watch_remove(watch);
    red_timer_remove(timer);
    if (socket != -1) {
        socket_close(socket);
    }
    g_free(from);
}

void RedProxyConnection::start()
{
    if (!red_socket_set_non_blocking(socket, true)) {
        refuse("it can't be read without waiting");
        return;
    }
    watch = reds_core_watch_add(proxies->reds, socket, SPICE_WATCH_EVENT_READ, on_readable, this);
    timer = reds_core_timer_add(proxies->reds, on_timeout, this);
    red_timer_start(timer, HEADER_TIMEOUT);
    read_header();
}

void RedProxyConnection::on_readable(int fd, int event, void *opaque)
{
    static_cast<RedProxyConnection *>(opaque)->read_header();
}

void RedProxyConnection::on_timeout(RedProxyConnection *connection)
{
    connection->refuse("what it has to say did not come in time");
}

void RedProxyConnection::refuse(const char *reason)
{
    spice_warning("connection of a proxy (%s) refused: %s", from, reason);
    delete this;
}

void RedProxyConnection::end()
{
    spice_debug("connection of a proxy (%s) ended before anything was asked for", from);
    delete this;
}

/* A proxy that looks whether there is a server says so, and has nothing to ask for: that's no
 * client. Whoever is one speaks first. Returns false if that is still to come, or never will. */
bool RedProxyConnection::is_asked_for_more()
{
    char byte;
    const ssize_t len = recv(socket, &byte, 1, MSG_PEEK);

    if (len > 0) {
        return true;
    }
    if (len == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        end();
    }
    return false;
}

void RedProxyConnection::add_client(const SpiceProxyHeader *header)
{
    struct sockaddr_storage peer = header->peer;
    socklen_t peer_len = header->peer_len;
    RedsState *reds = proxies->reds;
    const int client_socket = socket;
    const bool client_tls = tls;

    if (peer_len == 0) {
        peer = addr;
        peer_len = red_sockaddr_size(reinterpret_cast<const struct sockaddr *>(&addr));
    }
    socket = -1;
    delete this;
    if (spice_server_add_client_from(
            reds, client_socket, FALSE, client_tls,
            peer_len ? reinterpret_cast<const struct sockaddr *>(&peer) : nullptr,
            peer_len) < 0) {
        socket_close(client_socket);
    }
}

/* Read the header, and nothing of what follows: that is for whoever reads TLS or the link. */
void RedProxyConnection::read_header()
{
    SpiceProxyHeader header;
    int ret;

    while ((ret = spice_proxy_header_parse(data, received, &header)) == 0) {
        ssize_t len = socket_read(socket, data + received, header.size - received);

        if (len > 0) {
            received += len;
        } else if (len == 0) {
            if (received > 0) {
                refuse("it ended within its header of the PROXY protocol");
            } else {
                end();
            }
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            refuse(strerror(errno));
            return;
        }
    }

    if (ret == 1) {
        if (header.peer_len > 0 || is_asked_for_more()) {
            add_client(&header);
        }
    } else if (received >= 5 && memcmp(data, "PROXY", 5) == 0) {
        refuse("it begins with version 1 of the PROXY protocol, version 2 is needed");
    } else if (spice_proxy_header_parse(data, MIN(received, SIGNATURE_SIZE), &header) == -1) {
        refuse("it does not begin with a header of the PROXY protocol's version 2");
    } else {
        refuse("its header of the PROXY protocol is wrong, or too long");
    }
}

RedProxies::RedProxies(RedsState *init_reds):
    reds(init_reds)
{
}

RedProxies::~RedProxies()
{
    while (!connections.empty()) {
        delete connections.front();
    }
}

bool RedProxies::set(const char *addresses)
{
    char **words = g_strsplit_set(addresses, " ,", -1);
    NetworkList new_networks;
    bool new_unix_socket = false, valid = true;

    for (char **word = words; *word && valid; word++) {
        RedProxyNetwork network;

        if (**word == '\0') {
            continue;
        }
        if (strcmp(*word, "unix") == 0) {
            new_unix_socket = true;
        } else if (parse_network(*word, &network)) {
            new_networks.push_back(network);
        } else {
            spice_warning("\"%s\" is not where proxies can be: an address such as "
                          "\"192.0.2.7\", a network such as \"2001:db8::/64\", with no bits "
                          "beyond that, or \"unix\"", *word);
            valid = false;
        }
    }
    if (valid) {
        networks.swap(new_networks);
        unix_socket = new_unix_socket;
    }
    g_strfreev(words);
    return valid;
}

bool RedProxies::contain(const struct sockaddr_storage *addr) const
{
    uint8_t bytes[16];

    if (addr->ss_family == AF_UNIX) {
        return unix_socket;
    }
    const size_t size = get_ip(addr, bytes);
    for (const auto &network : networks) {
        if (size == network.size && has_prefix(bytes, &network)) {
            return true;
        }
    }
    return false;
}

bool RedProxies::take(int socket, bool tls)
{
    struct sockaddr_storage addr = {};
    socklen_t len = sizeof(addr);

    if (getpeername(socket, reinterpret_cast<struct sockaddr *>(&addr), &len) != 0) {
        if (errno != ENOTCONN) {
            return false;
        }
        // it has gone again, and nobody knows who it was
        socket_close(socket);
        return true;
    }
    if (!contain(&addr)) {
        return false;
    }
    if (connections.size() >= MAX_CONNECTIONS) {
        connections.front()->refuse("there are too many whose header has not come");
    }
    (new RedProxyConnection(this, socket, tls, &addr))->start();
    return true;
}

SPICE_GNUC_VISIBLE int spice_server_set_proxies(SpiceServer *reds, const char *addresses)
{
    if (!reds->proxies) {
        reds->proxies = new RedProxies(reds);
    }
    return reds->proxies->set(addresses ? addresses : "") ? 0 : -1;
}
