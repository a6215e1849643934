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
 * Test the request that a WebSocket begins with: how it arrives, what it has to say,
 * and what follows it.
 */
#include <config.h>

#include <string.h>
#include <sys/socket.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "net-utils.h"
#include "sys-socket.h"
#include "test-client.h"

/* how long somebody may take to be let in, in ms */
#define LINK_TIMEOUT 30000

#define REQUEST_LINE "GET /spice HTTP/1.1\r\n"
#define HOST "Host: localhost:5900\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define WS_VERSION "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: binary\r\n"
/* all that has to be there */
#define HEADERS HOST UPGRADE CONNECTION KEY WS_VERSION

#define ACCEPTED "HTTP/1.1 101 *Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n*"
#define ACCEPTED_PROTOCOL "HTTP/1.1 101 *\r\nSec-WebSocket-Protocol: binary\r\n*"
#define BAD_REQUEST "HTTP/1.1 400 *\r\nSec-WebSocket-Version: 13\r\n*"
#define TOO_LARGE "HTTP/1.1 431 *"

/* a frame that has four bytes, which no link message begins with */
static const uint8_t wrong_magic[] = { 0x82, 0x84, 0, 0, 0, 0, 'N', 'O', 'N', 'E' };

static SpiceTimer *link_timer;
static void (*loop_timer_start)(SpiceTimer *timer, uint32_t ms);

static void start_timer(SpiceTimer *timer, uint32_t ms)
{
    if (ms == LINK_TIMEOUT) {
        link_timer = timer;
    } else {
        loop_timer_start(timer, ms);
    }
}

static void setup()
{
    static SpiceCoreInterface core;

    core = *basic_event_loop_init();
    loop_timer_start = core.timer_start;
    core.timer_start = start_timer;
    server_start(SERVER_NEEDS_TICKET, &core);
}

static Client *start_connection()
{
    int sv[2];
    auto client = g_new0(Client, 1);

    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    red_socket_set_non_blocking(sv[1], true);
    client->fd = sv[1];
    client->input = g_byte_array_new();
    g_assert_cmpint(spice_server_add_client(server, sv[0], 0), ==, 0);
    return client;
}

static void client_send_text(Client *client, const char *text)
{
    client_write(client, text, strlen(text));
    pump();
}

/* Expect an HTTP answer of this pattern, and take it out of the client's input. */
static void expect_answer(Client *client, const char *pattern)
{
    client_receive(client);

    char *text = g_strndup(reinterpret_cast<char *>(client->input->data), client->input->len);
    char *end = strstr(text, "\r\n\r\n");
    g_assert_nonnull(end);
    end[4] = 0;
    if (!g_pattern_match_simple(pattern, text)) {
        g_error("got %s", text);
    }
    g_byte_array_remove_range(client->input, 0, strlen(text));
    g_free(text);
}

/* That is the end of the connection, with nothing else sent. */
static void expect_end(Client *client)
{
    client_receive(client);
    g_assert_cmpuint(client->input->len, ==, 0);
    g_assert_true(client->eof);
    client_free(client);
}

/* The reply to wrong_magic, which means that it has arrived. */
static void expect_link_error(Client *client, bool websocket)
{
    struct {
        SpiceLinkHeader header;
        SpiceLinkReply reply;
    } msg;

    if (websocket) {
        uint8_t frame[4];

        client_read(client, frame, sizeof(frame));
        g_assert_cmpuint(frame[0], ==, 0x82);
        g_assert_cmpuint(frame[1], ==, 126);
        g_assert_cmpuint(frame[2] << 8 | frame[3], ==, sizeof(msg));
    }
    client_read(client, &msg, sizeof(msg));
    g_assert_cmpuint(msg.header.magic, ==, SPICE_MAGIC);
    g_assert_cmpuint(GUINT32_FROM_LE(msg.reply.error), ==, SPICE_LINK_ERR_INVALID_MAGIC);
    expect_end(client);
}

/* the request comes in two pieces, divided anywhere, or in many */
static void test_pieces()
{
    static const char request[] = REQUEST_LINE HEADERS PROTOCOL "\r\n";

    setup();
    for (size_t i = 1; i < strlen(request); i++) {
        Client *client = start_connection();
        client_write(client, request, i);
        client_receive(client);
        g_assert_false(client->eof);
        g_assert_cmpuint(client->input->len, ==, 0);
        client_send_text(client, request + i);
        expect_answer(client, ACCEPTED);
        client_write(client, wrong_magic, sizeof(wrong_magic));
        expect_link_error(client, true);
    }

    Client *client = start_connection();
    client->flags = CLIENT_BYTEWISE;
    client_write(client, request, strlen(request));
    expect_answer(client, ACCEPTED);
    client_write(client, wrong_magic, sizeof(wrong_magic));
    expect_link_error(client, true);
    server_stop();
}

/* what comes with the request, behind it, is not lost */
static void test_followed()
{
    static const char request[] = REQUEST_LINE HEADERS PROTOCOL "\r\n";

    setup();
    for (size_t i = 1; i <= sizeof(wrong_magic); i++) {
        GByteArray *data = g_byte_array_new();
        g_byte_array_append(data, reinterpret_cast<const uint8_t *>(request), strlen(request));
        g_byte_array_append(data, wrong_magic, i);

        Client *client = start_connection();
        client_write(client, data->data, data->len);
        expect_answer(client, ACCEPTED);
        if (i < sizeof(wrong_magic)) {
            client_write(client, wrong_magic + i, sizeof(wrong_magic) - i);
        }
        expect_link_error(client, true);
        g_byte_array_free(data, TRUE);
    }
    server_stop();
}

static char *sized_request(size_t size)
{
    static const char start[] = REQUEST_LINE HEADERS PROTOCOL "Cookie: ";
    static const char end[] = "\r\n\r\n";
    char *cookie = g_strnfill(size - strlen(start) - strlen(end), 'x');
    char *request = g_strconcat(start, cookie, end, nullptr);

    g_free(cookie);
    g_assert_cmpuint(strlen(request), ==, size);
    return request;
}

/* a page can have many cookies, but there is an end */
static void test_sizes()
{
    static const size_t sizes[] = { 4095, 4096, 8192, 10000, 16384 };

    setup();
    for (size_t size: sizes) {
        Client *client = start_connection();
        char *request = sized_request(size);
        client_send_text(client, request);
        g_free(request);
        expect_answer(client, ACCEPTED);
        client_write(client, wrong_magic, sizeof(wrong_magic));
        expect_link_error(client, true);
    }

    Client *client = start_connection();
    char *request = sized_request(16385);
    client_send_text(client, request);
    g_free(request);
    expect_answer(client, TOO_LARGE);
    expect_end(client);

    // one that has no end
    client = start_connection();
    client_send_text(client, REQUEST_LINE);
    char *text = g_strnfill(100000, '\r');
    client_send_text(client, text);
    g_free(text);
    expect_answer(client, TOO_LARGE);
    expect_end(client);
    server_stop();
}

/* what a request has to say, as RFC 6455 has it */
static void test_headers()
{
    static const struct {
        const char *request;
        const char *answer;
    } tests[] = {
        { REQUEST_LINE HEADERS, ACCEPTED },
        // no Host is needed, as before
        { REQUEST_LINE UPGRADE CONNECTION KEY WS_VERSION, ACCEPTED },
        { REQUEST_LINE HOST CONNECTION KEY WS_VERSION, BAD_REQUEST },
        { REQUEST_LINE HOST UPGRADE KEY WS_VERSION, BAD_REQUEST },
        { REQUEST_LINE HOST UPGRADE CONNECTION WS_VERSION, BAD_REQUEST },
        { REQUEST_LINE HOST UPGRADE CONNECTION KEY, BAD_REQUEST },
        { REQUEST_LINE HOST, BAD_REQUEST },
        { REQUEST_LINE, BAD_REQUEST },
        // names, and what is no more than a name, have no case; spaces are optional
        { REQUEST_LINE "UPGRADE:WebSocket\r\nconnection:\tkeep-alive ,upgrade \r\n"
          "sec-websocket-KEY:dGhlIHNhbXBsZSBub25jZQ==   \r\nsec-websocket-version:13\r\n",
          ACCEPTED },
        // lists can be divided
        { REQUEST_LINE UPGRADE "Connection: keep-alive\r\n" CONNECTION KEY WS_VERSION,
          ACCEPTED },
        { REQUEST_LINE UPGRADE "Connection: close\r\n" KEY WS_VERSION, BAD_REQUEST },
        { REQUEST_LINE UPGRADE "Connection: Upgraded\r\n" KEY WS_VERSION, BAD_REQUEST },
        { REQUEST_LINE "Upgrade: h2c, websocket\r\n" CONNECTION KEY WS_VERSION, ACCEPTED },
        { REQUEST_LINE "Upgrade: h2c\r\n" CONNECTION KEY WS_VERSION, BAD_REQUEST },
        { REQUEST_LINE UPGRADE CONNECTION KEY "Sec-WebSocket-Version: 8\r\n", BAD_REQUEST },
        { REQUEST_LINE UPGRADE CONNECTION KEY "Sec-WebSocket-Version: 13, 8\r\n", BAD_REQUEST },
        { REQUEST_LINE HEADERS WS_VERSION, BAD_REQUEST },
        // protocols
        { REQUEST_LINE HEADERS PROTOCOL, ACCEPTED_PROTOCOL },
        { REQUEST_LINE HEADERS "Sec-WebSocket-Protocol: binary, base64\r\n",
          ACCEPTED_PROTOCOL },
        { REQUEST_LINE HEADERS "Sec-WebSocket-Protocol: base64,binary\r\n",
          ACCEPTED_PROTOCOL },
        { REQUEST_LINE HEADERS "Sec-WebSocket-Protocol: base64\r\n" PROTOCOL,
          ACCEPTED_PROTOCOL },
        { REQUEST_LINE HEADERS "Sec-WebSocket-Protocol: base64\r\n", BAD_REQUEST },
        { REQUEST_LINE HEADERS "Sec-WebSocket-Protocol: binary2\r\n", BAD_REQUEST },
        { REQUEST_LINE HEADERS "Sec-WebSocket-Protocol:\r\n", BAD_REQUEST },
        // who could mean something else
        { REQUEST_LINE HEADERS "X-Other: a\r\n Origin: b\r\n", BAD_REQUEST },
        { REQUEST_LINE HEADERS "Origin : b\r\n", BAD_REQUEST },
        { REQUEST_LINE HEADERS "Origin\r\n", BAD_REQUEST },
        { REQUEST_LINE HEADERS ": b\r\n", BAD_REQUEST },
        { REQUEST_LINE HEADERS "\nX-Other: b\r\n", BAD_REQUEST },
        // not in the request line
        { "GET /\tUpgrade: websocket HTTP/1.1\r\n" HOST CONNECTION KEY WS_VERSION, BAD_REQUEST },
    };

    setup();
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        Client *client = start_connection();
        client_send_text(client, tests[i].request);
        client_send_text(client, "\r\n");
        expect_answer(client, tests[i].answer);
        if (strcmp(tests[i].answer, BAD_REQUEST) != 0) {
            client_write(client, wrong_magic, sizeof(wrong_magic));
            expect_link_error(client, true);
        } else {
            expect_end(client);
        }
    }

    Client *client = start_connection();
    static const char nul[] = REQUEST_LINE HEADERS "X-Other: \0\r\nOrigin: b\r\n\r\n";
    client_write(client, nul, sizeof(nul) - 1);
    expect_answer(client, BAD_REQUEST);
    expect_end(client);
    server_stop();
}

/* who does not complete a request is not waited for longer than others */
static void test_timeout()
{
    static const char *const starts[] = { "GET ", REQUEST_LINE, REQUEST_LINE HEADERS "\r" };

    setup();
    for (auto start: starts) {
        Client *client = start_connection();
        client_send_text(client, start);
        client_receive(client);
        g_assert_false(client->eof);
        loop_timer_start(link_timer, 0);
        expect_end(client);

        // who has gone
        client = start_connection();
        client_send_text(client, start);
        shutdown(client->fd, SHUT_WR);
        expect_end(client);

        // the server goes
        client = start_connection();
        client_send_text(client, start);
        server_stop();
        socket_close(client->fd);
        g_byte_array_free(client->input, TRUE);
        g_free(client);
        setup();
    }
    server_stop();
}

/* who does not want a WebSocket gets what it always got */
static void test_others()
{
    static const char *const starts[] = { "NONE", "GETX", "POST / HTTP/1.1\r\n\r\n", "get " };

    setup();
    for (auto start: starts) {
        Client *client = start_connection();
        client_send_text(client, start);
        expect_link_error(client, false);
    }

    // a WebSocket in a WebSocket
    Client *client = start_connection();
    client_send_text(client, REQUEST_LINE HEADERS "\r\n");
    expect_answer(client, ACCEPTED);
    static const uint8_t get[] = { 0x82, 0x84, 0, 0, 0, 0, 'G', 'E', 'T', ' ' };
    client_write(client, get, sizeof(get));
    expect_link_error(client, true);
    server_stop();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/websocket-request/pieces", test_pieces);
    g_test_add_func("/server/websocket-request/followed", test_followed);
    g_test_add_func("/server/websocket-request/sizes", test_sizes);
    g_test_add_func("/server/websocket-request/headers", test_headers);
    g_test_add_func("/server/websocket-request/timeout", test_timeout);
    g_test_add_func("/server/websocket-request/others", test_others);

    return g_test_run();
}
