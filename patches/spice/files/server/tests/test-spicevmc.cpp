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
 * Test that a client of a USB channel can't have messages of any size.
 */
#include <config.h>

#include <string.h>

#include "test-glib-compat.h"
#include "test-client.h"
#include "vmc-emu.h"

/* the largest message of a client */
#define MAX_MESSAGE_SIZE (128u * 1024 * 1024 + 1024)

static VmcEmu *vmc;
static Client *client, *usb;

static void setup()
{
    server_start();
    vmc = vmc_emu_new("usbredir", nullptr);
    g_assert_cmpint(spice_server_add_interface(server, &vmc->instance.base), ==, 0);
    spice_server_vm_start(server);

    client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_authenticate(client);
    expect_init(client);
}

static void teardown()
{
    client_free(client);
    g_assert_cmpint(spice_server_remove_interface(&vmc->instance.base), ==, 0);
    vmc_emu_destroy(vmc);
    server_stop();
}

static void usb_connect()
{
    usb = client_start_link(server, client->session_id, SPICE_CHANNEL_USBREDIR, 0, 0, 0);
    client_authenticate(usb);
    expect_nothing(usb);
}

/* what was sent makes the server end this connection, and this one only */
static void usb_expect_disconnect()
{
    expect_disconnect(usb);
    client_free(usb);
    g_test_assert_expected_messages();
    expect_nothing(client);
}

/* of data, and of messages that there are not */
static void test_size(gconstpointer type)
{
    /* the first of them are also too large for an int, or for one and a header */
    static const uint32_t sizes[] = {
        0x80000000, 0xffffffff, 0xfffffff8, 0x7fffffff, 0x7ffffff8, MAX_MESSAGE_SIZE + 1,
    };
    static const uint8_t body[100] = { 0 };

    setup();
    for (uint32_t size: sizes) {
        usb_connect();
        client_send_header(usb, GPOINTER_TO_UINT(type), size, 0);
        expect_warning("*channel refused to allocate buffer.");
        client_write(usb, body, sizeof(body));
        usb_expect_disconnect();
    }

    usb_connect();
    expect_warning("*failed to parse*");
    client_send_body(usb, SPICE_MSGC_SPICEVMC_DATA, nullptr, 0);
    usb_expect_disconnect();

    /* as much as there may be */
    usb_connect();
    client_send_header(usb, GPOINTER_TO_UINT(type), MAX_MESSAGE_SIZE, 0);
    client_write(usb, body, sizeof(body));
    expect_nothing(usb);
    client_free(usb);
    teardown();
}

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED CompressedData {
    uint8_t type;
    uint32_t uncompressed_size;
    uint8_t data[6];
} CompressedData;
#include <spice/end-packed.h>

static void send_compressed(uint8_t type, uint32_t uncompressed_size, const char *warning)
{
    /* five bytes that are not compressed */
    const CompressedData data = {
        type, GUINT32_TO_LE(uncompressed_size), { 0x50, 'h', 'e', 'l', 'l', 'o' }
    };

    usb_connect();
    vmc_emu_reset(vmc);
    if (warning) {
        expect_warning(warning);
    }
    client_send_body(usb, SPICE_MSGC_SPICEVMC_COMPRESSED_DATA, &data, sizeof(data));
    if (warning) {
        usb_expect_disconnect();
        g_assert_cmpuint(vmc->write_pos, ==, 0);
    } else {
        expect_nothing(usb);
        g_assert_cmpmem(vmc->write_buf, vmc->write_pos, "hello", 5);
        client_free(usb);
    }
}

/* data that is said to have any size when it is not compressed any more */
static void test_uncompressed_size()
{
    setup();
#ifdef USE_LZ4
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, 5, nullptr);
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, 0x80000000, "*invalid uncompressed size*");
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, 0xffffffff, "*invalid uncompressed size*");
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, 0xfffffff8, "*invalid uncompressed size*");
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, 0x7fffffff, "*invalid uncompressed size*");
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, MAX_MESSAGE_SIZE + 1,
                    "*invalid uncompressed size*");
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, 0, "*invalid uncompressed size*");
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, MAX_MESSAGE_SIZE, "*Decompression Error");
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_LZ4, 4, "*Decompression Error");
#endif
    /* of these nobody knows what the size means */
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_NONE, 5, "*Invalid Compression Type");
    send_compressed(SPICE_DATA_COMPRESSION_TYPE_NONE, 0x80000000, "*Invalid Compression Type");
    send_compressed(0xff, 0x80000000, "*Invalid Compression Type");
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_data_func("/server/spicevmc/size/data",
                         GUINT_TO_POINTER(SPICE_MSGC_SPICEVMC_DATA), test_size);
    g_test_add_data_func("/server/spicevmc/size/compressed-data",
                         GUINT_TO_POINTER(SPICE_MSGC_SPICEVMC_COMPRESSED_DATA), test_size);
    g_test_add_data_func("/server/spicevmc/size/unknown", GUINT_TO_POINTER(999), test_size);
    g_test_add_func("/server/spicevmc/uncompressed-size", test_uncompressed_size);

    return g_test_run();
}
