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
 * Test what is made of a header of the PROXY protocol.
 */
#include <config.h>

#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <spice.h>

#include "test-glib-compat.h"
#include "test-proxy-header.h"

/* Parse the first bytes of it, of which no more are there to be read. */
static int parse(const GByteArray *header, size_t len, SpiceProxyHeader *result)
{
    auto data = static_cast<uint8_t *>(g_malloc(len));

    if (len > 0) {
        memcpy(data, header->data, len);
    }
    memset(result, 0xaa, sizeof(*result));
    int ret = spice_proxy_header_parse(data, len, result);
    g_free(data);
    return ret;
}

/* It is wrong, which can be told from so many bytes on. */
static void expect_wrong(GByteArray *header, size_t from)
{
    SpiceProxyHeader result;

    for (size_t len = 0; len <= header->len; len++) {
        g_assert_cmpint(parse(header, len, &result), ==, len < from ? 0 : -1);
    }
    g_byte_array_free(header, TRUE);
}

static void expect_address(const SpiceProxyHeader *result, const char *expected)
{
    char host[INET6_ADDRSTRLEN];

    if (!expected) {
        g_assert_cmpuint(result->peer_len, ==, 0);
        return;
    }
    auto in = reinterpret_cast<const struct sockaddr_in *>(&result->peer);
    auto in6 = reinterpret_cast<const struct sockaddr_in6 *>(&result->peer);
    if (result->peer.ss_family == AF_INET) {
        g_assert_cmpuint(result->peer_len, ==, sizeof(*in));
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        g_assert_cmpuint(ntohs(in->sin_port), ==, 4711);
    } else {
        g_assert_cmpint(result->peer.ss_family, ==, AF_INET6);
        g_assert_cmpuint(result->peer_len, ==, sizeof(*in6));
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        g_assert_cmpuint(ntohs(in6->sin6_port), ==, 4711);
        g_assert_cmpuint(in6->sin6_scope_id, ==, 0);
    }
    g_assert_cmpstr(host, ==, expected);
}

/* It is right, and is so whatever comes behind it. */
static void expect_right(GByteArray *header, const char *peer, const char *authority)
{
    const size_t size = header->len;
    SpiceProxyHeader result;

    for (size_t len = 0; len < size; len++) {
        g_assert_cmpint(parse(header, len, &result), ==, 0);
        g_assert_cmpuint(result.size, ==, len < FIXED_SIZE ? FIXED_SIZE : size);
    }
    g_byte_array_append(header, reinterpret_cast<const uint8_t *>("\2\0\xffREDQ"), 7);
    for (size_t len = size; len <= header->len; len++) {
        memset(&result, 0xaa, sizeof(result));
        g_assert_cmpint(spice_proxy_header_parse(header->data, len, &result), ==, 1);
        g_assert_cmpuint(result.size, ==, size);
        expect_address(&result, peer);
        if (authority) {
            g_assert_cmpmem(result.authority, result.authority_len, authority, strlen(authority));
            g_assert_true(result.authority > reinterpret_cast<const char *>(header->data));
        } else {
            g_assert_null(result.authority);
            g_assert_cmpuint(result.authority_len, ==, 0);
        }
    }
    g_byte_array_free(header, TRUE);
}

static void test_addresses()
{
    expect_right(new_header4(), "192.0.2.1", nullptr);
    expect_right(new_header6(), "2001:db8::1", nullptr);
    // UDP
    GByteArray *header = new_header4();
    header->data[13] = 0x12;
    expect_right(header, "192.0.2.1", nullptr);
    header = new_header6();
    header->data[13] = 0x22;
    expect_right(header, "2001:db8::1", nullptr);

    // these have no address
    for (uint8_t protocol : { 0x31, 0x32 }) {
        header = new_header(PROXY, protocol);
        add_zeros(header, 216);
        add_tlv(header, AUTHORITY, "vm1", 3);
        expect_right(header, nullptr, "vm1");
    }
    // nothing of the rest counts for these
    for (uint8_t command : { LOCAL, PROXY }) {
        expect_right(new_header(command, UNSPEC), nullptr, nullptr);
        header = new_header(command, UNSPEC);
        add(header, "??", 2);
        expect_right(header, nullptr, nullptr);
    }
    header = new_header4();
    header->data[12] = LOCAL;
    expect_right(header, nullptr, nullptr);
}

static void test_signature()
{
    for (size_t i = 0; i < 12; i++) {
        for (uint8_t bit = 1; bit; bit <<= 1) {
            GByteArray *header = new_header4();
            header->data[i] ^= bit;
            expect_wrong(header, i + 1);
        }
    }
    SpiceProxyHeader result;
    g_assert_cmpint(spice_proxy_header_parse(nullptr, 0, &result), ==, 0);
    g_assert_cmpuint(result.size, ==, FIXED_SIZE);
}

/* which versions and commands there are, and families and protocols */
static void test_kinds()
{
    static const uint8_t protocols[] = { 0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32 };
    SpiceProxyHeader result;

    for (unsigned int i = 0; i <= 0xff; i++) {
        GByteArray *header = new_header4();
        header->data[12] = i;
        if (i == LOCAL || i == PROXY) {
            expect_right(header, i == PROXY ? "192.0.2.1" : nullptr, nullptr);
        } else {
            expect_wrong(header, 13);
        }

        header = new_header(PROXY, i);
        // that's empty TLVs as well
        add_zeros(header, 216);
        if (memchr(protocols, i, sizeof(protocols))) {
            g_assert_cmpint(parse(header, header->len, &result), ==, 1);
            g_byte_array_free(header, TRUE);
        } else {
            expect_wrong(header, 14);
        }
        // with this one it does not matter
        header = new_header(LOCAL, i);
        add_zeros(header, 3);
        expect_right(header, nullptr, nullptr);
    }
}

static void test_lengths()
{
    static const struct {
        uint8_t protocol;
        size_t size;
    } kinds[] = {
        { TCP4, 12 }, { 0x12, 12 }, { TCP6, 36 }, { 0x22, 36 }, { UNIX_STREAM, 216 }, { 0x32, 216 }
    };
    SpiceProxyHeader result;
    GByteArray *header;

    for (const auto &kind : kinds) {
        for (size_t len = 0; len < kind.size; len++) {
            header = new_header(PROXY, kind.protocol);
            add_zeros(header, len);
            expect_wrong(header, FIXED_SIZE);
        }
        header = new_header(PROXY, kind.protocol);
        add_zeros(header, kind.size);
        g_assert_cmpint(parse(header, header->len, &result), ==, 1);
        g_byte_array_free(header, TRUE);
    }

    // the longest one, and one that is longer, which need not come
    header = new_header(LOCAL, UNSPEC);
    add_zeros(header, SPICE_PROXY_HEADER_MAX_SIZE + 1 - FIXED_SIZE);
    expect_wrong(header, FIXED_SIZE);
    header = new_header4();
    while (header->len < SPICE_PROXY_HEADER_MAX_SIZE) {
        add_tlv(header, 0x04, "", 1);
    }
    g_assert_cmpuint(header->len, ==, SPICE_PROXY_HEADER_MAX_SIZE);
    expect_right(header, "192.0.2.1", nullptr);
    header = new_header(LOCAL, UNSPEC);
    header->data[14] = header->data[15] = 0xff;
    expect_wrong(header, FIXED_SIZE);
}

static void test_tlvs()
{
    static const char name[] = "vm1.example.org";
    GByteArray *header = new_header4();

    add_tlv(header, AUTHORITY, name, strlen(name));
    expect_right(header, "192.0.2.1", name);
    header = new_header6();
    add_tlv(header, 0x01, "spice", 5);
    add_tlv(header, 0x04, nullptr, 0);
    add_tlv(header, AUTHORITY, name, strlen(name));
    // one within another one
    add_tlv(header, 0x20, "\1\0\0\0\0\2\0\3oho", 11);
    expect_right(header, "2001:db8::1", name);
    header = new_header4();
    add_tlv(header, AUTHORITY, nullptr, 0);
    expect_right(header, "192.0.2.1", "");

    // whose is it?
    header = new_header4();
    add_tlv(header, AUTHORITY, name, strlen(name));
    add_tlv(header, AUTHORITY, name, strlen(name));
    expect_wrong(header, header->len);
    header = new_header4();
    add_tlv(header, AUTHORITY, nullptr, 0);
    add_tlv(header, AUTHORITY, name, strlen(name));
    expect_wrong(header, header->len);

    // cut off anywhere, and with a length that leads beyond it
    for (size_t cut = 1; cut < 3 + strlen(name); cut++) {
        header = new_header4();
        add_tlv(header, AUTHORITY, name, strlen(name));
        g_byte_array_set_size(header, header->len - cut);
        add(header, nullptr, 0);
        expect_wrong(header, header->len);
    }
    header = new_header4();
    add(header, "\4\0\1", 3);
    expect_wrong(header, header->len);
    header = new_header4();
    add(header, "\4\xff\xff", 3);
    expect_wrong(header, header->len);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/proxy-header/addresses", test_addresses);
    g_test_add_func("/server/proxy-header/signature", test_signature);
    g_test_add_func("/server/proxy-header/kinds", test_kinds);
    g_test_add_func("/server/proxy-header/lengths", test_lengths);
    g_test_add_func("/server/proxy-header/tlvs", test_tlvs);

    return g_test_run();
}
