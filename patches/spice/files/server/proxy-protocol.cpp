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
 * The header of the PROXY protocol, version 2: what a proxy sends first of all on a
 * connection, to say whose it is. The protocol's description is that of HAProxy, in
 * proxy-protocol.txt.
 */
#include <config.h>

#include <string.h>
#ifndef _WIN32
#include <netinet/in.h>
#include <sys/socket.h>
#else
#include <ws2tcpip.h>
#endif

#include <glib.h>

#include "red-common.h"
#include "spice-wrapped.h"

/* up to and with the size of the rest */
#define FIXED_SIZE 16
#define TLV_HEADER_SIZE 3
#define TLV_AUTHORITY 0x02

/* not the client of anybody else but the proxy's own connection, to see whether we live */
#define VERSION_2_LOCAL 0x20
#define VERSION_2_PROXY 0x21

static const uint8_t signature[] = {
    '\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'
};

/* both ends, of either of which the port comes last */
static const struct AddressFamily {
    uint8_t protocol; // and family
    size_t size;
} address_families[] = {
    { 0x00, 0 }, // not known: what follows is of no use
    { 0x11, 2 * (4 + 2) }, // TCP, IPv4
    { 0x12, 2 * (4 + 2) }, // UDP, IPv4
    { 0x21, 2 * (16 + 2) }, // TCP, IPv6
    { 0x22, 2 * (16 + 2) }, // UDP, IPv6
    { 0x31, 2 * 108 }, // UNIX stream
    { 0x32, 2 * 108 }, // UNIX datagram
};

static size_t get_uint16(const uint8_t *data)
{
    return data[0] << 8 | data[1];
}

static const AddressFamily *get_family(uint8_t protocol)
{
    for (const auto &family : address_families) {
        if (family.protocol == protocol) {
            return &family;
        }
    }
    return nullptr;
}

/* what the proxy adds to the addresses */
static bool parse_tlvs(const uint8_t *data, size_t len, SpiceProxyHeader *header)
{
    while (len > 0) {
        if (len < TLV_HEADER_SIZE || get_uint16(data + 1) > len - TLV_HEADER_SIZE) {
            return false;
        }

        const size_t value_len = get_uint16(data + 1);
        if (data[0] == TLV_AUTHORITY) {
            // who is meant, if there are two?
            if (header->authority) {
                return false;
            }
            header->authority = reinterpret_cast<const char *>(data + TLV_HEADER_SIZE);
            header->authority_len = value_len;
        }
        data += TLV_HEADER_SIZE + value_len;
        len -= TLV_HEADER_SIZE + value_len;
    }
    return true;
}

static void parse_addresses(const uint8_t *data, uint8_t protocol, SpiceProxyHeader *header)
{
    switch (protocol >> 4) {
    case 1: {
        auto in = reinterpret_cast<struct sockaddr_in *>(&header->peer);
        in->sin_family = AF_INET;
        memcpy(&in->sin_addr, data, 4);
        memcpy(&in->sin_port, data + 2 * 4, 2);
        header->peer_len = sizeof(*in);
        break;
    }
    case 2: {
        auto in6 = reinterpret_cast<struct sockaddr_in6 *>(&header->peer);
        in6->sin6_family = AF_INET6;
        memcpy(&in6->sin6_addr, data, 16);
        memcpy(&in6->sin6_port, data + 2 * 16, 2);
        header->peer_len = sizeof(*in6);
        break;
    }
    default:
        break;
    }
}

SPICE_GNUC_VISIBLE int spice_proxy_header_parse(const uint8_t *data, size_t len,
                                                SpiceProxyHeader *header)
{
    const AddressFamily *family = nullptr;

    memset(header, 0, sizeof(*header));
    header->size = FIXED_SIZE;
    // what is wrong already is not waited for
    if (len > 0 && memcmp(data, signature, MIN(len, sizeof(signature))) != 0) {
        return -1;
    }
    if (len > 12 && data[12] != VERSION_2_LOCAL && data[12] != VERSION_2_PROXY) {
        return -1;
    }
    if (len > 13 && data[12] == VERSION_2_PROXY && !(family = get_family(data[13]))) {
        return -1;
    }
    if (len < FIXED_SIZE) {
        return 0;
    }

    const size_t rest = get_uint16(data + 14);
    if (rest > SPICE_PROXY_HEADER_MAX_SIZE - FIXED_SIZE || (family && rest < family->size)) {
        return -1;
    }
    header->size = FIXED_SIZE + rest;
    if (len < header->size) {
        return 0;
    }

    if (family && family->size > 0) {
        parse_addresses(data + FIXED_SIZE, family->protocol, header);
        if (!parse_tlvs(data + FIXED_SIZE + family->size, rest - family->size, header)) {
            return -1;
        }
    }
    return 1;
}
