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
 * Messages as no client should send them, and what a client is told as text.
 */
#include <config.h>

#include <string.h>
#include <spice.h>
#include <spice/protocol.h>

#include "test-glib-compat.h"
#include "sys-socket.h"
#include "test-power-base.h"

static void expect_bad_size(uint16_t type, size_t size, unsigned int flags)
{
    static const uint8_t body[] = { 1, 2, 3 };
    char *pattern = g_strdup_printf("*failed to parse message type %u", type);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), flags);

    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_warning(pattern);
    g_free(pattern);
    client_send_body(client, type, body, size);
    expect_disconnect(client);
    g_test_assert_expected_messages();
    client_free(client);
}

/* what follows the known fields is ignored */
static void expect_size(Client *client, size_t size)
{
    auto body = static_cast<uint8_t *>(g_malloc(size));

    memset(body, 0x11, size);
    client_send_body(client, SPICE_MSGC_MAIN_POWER_RESET, body, size);
    g_free(body);
    pump();
    complete_ok();
    expect_result(client, 0x11111111, SPICE_POWER_RESULT_OK, "");
}

static void test_size(gconstpointer data)
{
    static const uint32_t huge[] = { 0x100000, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff };
    const auto flags = GPOINTER_TO_UINT(data);

    setup(ALL_ACTIONS);
    for (size_t i = 0; i < N_ACTIONS; i++) {
        for (size_t size = 0; size < 4; size++) {
            expect_bad_size(power_action_infos[i].type, size, flags);
        }
    }
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 0);

    Client *client = client_connect_flags(CAP(POWER_CONTROL), flags);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    for (size_t size = 4; size <= 16; size++) {
        expect_size(client, size);
    }
    expect_size(client, 4096);
    expect_nothing(client);
    client_free(client);

    /* there is no buffer of such a size */
    n_requests = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(huge); i++) {
        client = client_connect_flags(CAP(POWER_CONTROL), flags);
        expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
        expect_warning("*channel refused to allocate buffer.");
        client_send_header(client, SPICE_MSGC_MAIN_POWER_RESET, huge[i], 0);
        client_write_u32(client, 1);
        expect_disconnect(client);
        g_test_assert_expected_messages();
        client_free(client);
    }
    g_assert_cmpuint(n_requests, ==, 0);

    teardown();
}

/* The list of sub-messages that a full header can tell about is nothing that clients
 * send: whatever it says, there is one request. */
static void test_sub_list()
{
    static const uint32_t offsets[] = { 0, 1, 4, 8, 20, 1000, 0x7fffffff, 0xffffffff };
    /* a request_id, a list of one sub-message, and its header and body */
    static const uint8_t body[] = {
        7, 0, 0, 0,  1, 0,  10, 0, 0, 0,  SPICE_MSGC_MAIN_POWER_OFF, 0,  4, 0, 0, 0,  8, 0, 0, 0,
    };

    setup(ALL_ACTIONS);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), CLIENT_FULL_HEADER);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        client_send_header(client, SPICE_MSGC_MAIN_POWER_RESET, sizeof(body), offsets[i]);
        client_write(client, body, sizeof(body));
        pump();
        g_assert_cmpuint(n_requests, ==, i + 1);
        g_assert_cmpuint(request->action, ==, SPICE_POWER_ACTION_RESET);
        complete_ok();
        expect_result(client, 7, SPICE_POWER_RESULT_OK, "");
        expect_nothing(client);
    }
    g_assert_cmpuint(n_refused, ==, 0);
    client_free(client);
    teardown();
}

/* a message that comes in pieces is nothing before its last byte */
static void test_partial()
{
    const SpiceMiniDataHeader header = {
        GUINT16_TO_LE(SPICE_MSGC_MAIN_POWER_RESET), GUINT32_TO_LE(6)
    };

    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_write(client, &header, sizeof(header));
    expect_nothing(client);
    client_write_u32(client, 5);
    expect_nothing(client);
    client_write(client, "x", 1);
    expect_nothing(client);
    g_assert_cmpuint(n_requests, ==, 0);
    client_write(client, "x", 1);
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    complete_ok();
    expect_result(client, 5, SPICE_POWER_RESULT_OK, "");

    /* the rest of it never comes */
    client_write(client, &header, sizeof(header));
    client_write_u32(client, 6);
    client_free(client);
    g_assert_cmpuint(n_requests, ==, 1);
    teardown();
}

/* a request in place of what a client has to send before it is let in */
static void test_not_linked()
{
    SpiceLinkHeader header;
    SpiceLinkReply reply;
    int sv[2];

    setup(ALL_ACTIONS);

    /* of the choice how to authenticate */
    Client *client = client_start_link(0, CAP(POWER_CONTROL), 0);
    expect_warning("*Unknown auth method*");
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    client_read(client, &header, sizeof(header));
    client_read(client, &reply, sizeof(reply));
    g_assert_cmpuint(GUINT32_FROM_LE(reply.error), ==, SPICE_LINK_ERR_INVALID_DATA);
    expect_disconnect(client);
    g_test_assert_expected_messages();
    client_free(client);

    /* of the ticket: it is not complete, then it is wrong */
    client = client_start_link(0, CAP(POWER_CONTROL), 0);
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_nothing(client);
    expect_warning("*failed to decrypt*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "error:*");
    for (unsigned int i = 0; i < 20; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    }
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_PERMISSION_DENIED);
    g_test_assert_expected_messages();
    if (!client->eof) {
        /* the end of what it sent was not read */
        client_receive(client);
    }
    g_assert_true(client->eof);
    client_free(client);

    /* of the link message */
    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    g_assert_cmpint(spice_server_add_client(server, sv[0], 0), ==, 0);
    const struct {
        uint16_t type;
        uint32_t size;
    } message = { GUINT16_TO_LE(SPICE_MSGC_MAIN_POWER_RESET), GUINT32_TO_LE(4) };
    g_assert_cmpint(socket_write(sv[1], &message, sizeof(message)), ==, sizeof(message));
    pump();
    g_assert_cmpint(socket_read(sv[1], &header, sizeof(header)), ==, sizeof(header));
    g_assert_cmpint(socket_read(sv[1], &reply, sizeof(reply)), ==, sizeof(reply));
    g_assert_cmpuint(GUINT32_FROM_LE(reply.error), ==, SPICE_LINK_ERR_INVALID_MAGIC);
    socket_close(sv[1]);
    pump();

    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 0);
    teardown();
}

/* returns what the client gets */
static GString *get_message(Client *client, const char *message)
{
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    complete(SPICE_POWER_RESULT_FAILED, message);
    return expect_any_result(client, 1, SPICE_POWER_RESULT_FAILED);
}

static void test_message()
{
    static const struct {
        const char *message, *expected;
    } tests[] = {
        { nullptr, "" },
        { "", "" },
        { "Gr\xc3\xbc\xc3\x9f\x65", "Gr\xc3\xbc\xc3\x9f\x65" },
        /* not UTF-8 */
        { "\xff", "\xef\xbf\xbd" },
        { "a\xffz", "a\xef\xbf\xbdz" },
        { "a\xff\xfez", "a\xef\xbf\xbd\xef\xbf\xbdz" },
        /* incomplete character */
        { "a\xc3", "a\xef\xbf\xbd" },
    };
    /* ends of messages that have more than 1024 bytes: how many of the ASCII
     * characters are sent */
    static const struct {
        size_t len;
        const char *end;
        size_t expected_len;
    } long_tests[] = {
        { 1024, "", 1024 },
        { 1025, "", 1024 },
        { 1023, "\xc3\xbc", 1023 },
        { 1021, "\xf0\x9f\x98\x80", 1021 },
        { 1022, "\xff", 1022 },
        { 100000, "", 1024 },
        { 100000, "\xff", 1024 },
    };

    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        GString *message = get_message(client, tests[i].message);
        g_assert_cmpstr(message->str, ==, tests[i].expected);
        g_string_free(message, TRUE);
    }

    for (size_t i = 0; i < G_N_ELEMENTS(long_tests); i++) {
        char *ascii = g_strnfill(long_tests[i].len, 'a');
        char *text = g_strconcat(ascii, long_tests[i].end, nullptr);
        GString *message = get_message(client, text);
        g_assert_cmpuint(message->len, ==, long_tests[i].expected_len);
        g_assert_cmpmem(message->str, message->len, ascii, message->len);
        g_string_free(message, TRUE);
        g_free(text);
        g_free(ascii);
    }

    /* these just fit */
    char *ascii = g_strnfill(1021, 'a');
    char *text = g_strconcat(ascii, "\xff", nullptr);
    GString *message = get_message(client, text);
    g_assert_cmpuint(message->len, ==, 1024);
    g_assert_cmpstr(message->str + 1021, ==, "\xef\xbf\xbd");
    g_string_free(message, TRUE);
    g_free(text);
    text = g_strconcat(ascii + 1, "\xf0\x9f\x98\x80", nullptr);
    message = get_message(client, text);
    g_assert_cmpstr(message->str, ==, text);
    g_string_free(message, TRUE);
    g_free(text);
    g_free(ascii);

    client_free(client);
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_data_func("/server/power/size/mini-header", nullptr, test_size);
    g_test_add_data_func("/server/power/size/full-header",
                         GUINT_TO_POINTER(CLIENT_FULL_HEADER), test_size);
    g_test_add_func("/server/power/sub-list", test_sub_list);
    g_test_add_func("/server/power/partial", test_partial);
    g_test_add_func("/server/power/not-linked", test_not_linked);
    g_test_add_func("/server/power/message", test_message);

    return g_test_run();
}
