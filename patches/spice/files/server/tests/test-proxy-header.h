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
/**
 * @file test-proxy-header.h
 * Make headers of the PROXY protocol.
 */
#ifndef TEST_PROXY_HEADER_H_
#define TEST_PROXY_HEADER_H_

#include <initializer_list>
#include <glib.h>

#define FIXED_SIZE 16
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define LOCAL 0x20
#define PROXY 0x21
#define UNSPEC 0x00
#define TCP4 0x11
#define TCP6 0x21
#define UNIX_STREAM 0x31
#define AUTHORITY 0x02

/* from 192.0.2.1 port 4711 to 198.51.100.1 port 5900 */
static const uint8_t proxy_addresses4[] = { 192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0x17, 0x0c };
static const uint8_t proxy_addresses6[] = {
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    0x12, 0x67, 0x17, 0x0c
};

static inline GByteArray *new_header(uint8_t command, uint8_t protocol)
{
    GByteArray *header = g_byte_array_new();
    const uint8_t rest[] = { command, protocol, 0, 0 };

    g_byte_array_append(header, reinterpret_cast<const uint8_t *>(SIGNATURE), 12);
    g_byte_array_append(header, rest, sizeof(rest));
    return header;
}

static inline void add(GByteArray *header, const void *data, size_t len)
{
    const guint size = header->len + len - FIXED_SIZE;

    if (len > 0) {
        g_byte_array_append(header, static_cast<const uint8_t *>(data), len);
    }
    header->data[14] = size >> 8;
    header->data[15] = size;
}

static inline void add_zeros(GByteArray *header, size_t len)
{
    void *zeros = g_malloc0(len);

    add(header, zeros, len);
    g_free(zeros);
}

static inline void add_tlv(GByteArray *header, uint8_t type, const void *value, size_t len)
{
    const uint8_t start[] = { type, static_cast<uint8_t>(len >> 8), static_cast<uint8_t>(len) };

    add(header, start, sizeof(start));
    add(header, value, len);
}

static inline GByteArray *new_header4()
{
    GByteArray *header = new_header(PROXY, TCP4);

    add(header, proxy_addresses4, sizeof(proxy_addresses4));
    return header;
}

static inline GByteArray *new_header6()
{
    GByteArray *header = new_header(PROXY, TCP6);

    add(header, proxy_addresses6, sizeof(proxy_addresses6));
    return header;
}

#endif /* TEST_PROXY_HEADER_H_ */
