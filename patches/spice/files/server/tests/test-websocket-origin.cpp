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
 * Test which web pages may open a WebSocket.
 */
#include <config.h>

#include <string.h>
#include <sys/socket.h>

#include "test-glib-compat.h"
#include "net-utils.h"
#include "sys-socket.h"
#include "test-client.h"
#include "websocket-origin.h"

#define HOST "Host: localhost:5900\r\n"

/* Connect with some headers; returns whether that was accepted. */
static bool connect_websocket(const char *headers, int skip_auth)
{
    static const char start[] = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    /* a frame that has four bytes, which no link message begins with */
    static const uint8_t wrong_magic[] = { 0x82, 0x84, 0, 0, 0, 0, 'N', 'O', 'N', 'E' };
    static const char accepted[] = "HTTP/1.1 101 ", refused[] = "HTTP/1.1 403 ";
    int sv[2];
    auto client = g_new0(Client, 1);
    char answer[sizeof(accepted)] = {};

    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    red_socket_set_non_blocking(sv[1], true);
    client->fd = sv[1];
    client->input = g_byte_array_new();
    g_assert_cmpint(spice_server_add_client(server, sv[0], skip_auth), ==, 0);
    client_write(client, start, strlen(start));
    client_write(client, headers, strlen(headers));
    client_write(client, "\r\n", 2);
    client_read(client, answer, strlen(accepted));
    g_assert_cmpuint(client->input->len, >, 0);

    bool is_accepted = strcmp(answer, accepted) == 0;
    if (is_accepted) {
        // the server goes on with it
        g_assert_false(client->eof);
        g_byte_array_set_size(client->input, 0);
        client_write(client, wrong_magic, sizeof(wrong_magic));
        client_receive(client);
        g_assert_cmpuint(client->input->len, >, 0);
    } else {
        g_assert_cmpstr(answer, ==, refused);
    }
    g_assert_true(client->eof);
    client_free(client);
    return is_accepted;
}

static void expect_accepted(const char *headers)
{
    g_assert_true(connect_websocket(headers, FALSE));
}

static void expect_refused(const char *headers)
{
    expect_warning("*WebSocket with origin * refused: * spice_server_set_websocket_origins() *");
    g_assert_false(connect_websocket(headers, FALSE));
    g_test_assert_expected_messages();
}

/* for the list of origins that is set */
static void expect_list(const char *origins, const char *headers, bool accepted)
{
    g_assert_cmpint(spice_server_set_websocket_origins(server, origins), ==, 0);
    if (accepted) {
        expect_accepted(headers);
    } else {
        expect_refused(headers);
    }
}

/* what there is if nothing is set: it depends on what else is asked for just then */
static void test_default()
{
    static const char same_host[] = HOST "Origin: http://localhost:5900\r\n";
    static const char other_host[] = HOST "Origin: https://evil.example\r\n";

    server_start(SERVER_NEEDS_TICKET);
    // a ticket is
    expect_accepted(same_host);
    expect_refused(other_host);
    expect_accepted(HOST);
    expect_accepted("");

    // nothing is
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    expect_refused(same_host);
    expect_refused(other_host);
    expect_accepted(HOST);
    expect_accepted("");
    // whoever runs the server has let it in
    g_assert_true(connect_websocket(other_host, TRUE));

#if HAVE_SASL
    g_assert_cmpint(spice_server_set_sasl(server, 1), ==, 0);
    expect_accepted(same_host);
    expect_refused(other_host);
    g_assert_cmpint(spice_server_set_sasl(server, 0), ==, 0);
    expect_refused(same_host);
#endif

    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, FALSE, FALSE), ==, 0);
    expect_accepted(same_host);
    expect_refused(other_host);

    // which host that is
    expect_refused("Origin: http://localhost:5900\r\n");
    expect_refused(HOST HOST "Origin: http://localhost:5900\r\n");
    expect_refused("Host:\r\nOrigin: http://localhost:5900\r\n");
    // who sends it
    expect_refused(HOST "Origin: null\r\n");
    expect_refused(HOST "Origin:\r\n");
    expect_refused(HOST "Origin: http://localhost:5900\r\nORIGIN: http://localhost:5900\r\n");
    expect_refused(HOST "Origin: http://localhost:5900 http://evil.example\r\n");
    server_stop();
}

static void test_list()
{
    server_start(SERVER_NEEDS_TICKET);
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    expect_list("https://a.example", "Origin: https://a.example\r\n", true);
    expect_list("https://a.example", HOST "Origin: https://b.example\r\n", false);
    expect_list("https://a.example  http://b.example:8080", "Origin: http://b.example:8080\r\n",
                true);
    expect_list("https://a.example http://b.example:8080", "Origin: https://a.example\r\n", true);
    expect_list("https://a.example http://b.example:8080", "Origin: http://a.example\r\n", false);
    expect_list("https://a.example", "", true);
    // it is for all, and replaces what is the default
    expect_warning("*refused*");
    g_assert_false(connect_websocket("Origin: https://b.example\r\n", TRUE));
    g_assert_cmpint(spice_server_set_ticket(server, "secret", 0, FALSE, FALSE), ==, 0);
    expect_list("https://a.example", HOST "Origin: http://localhost:5900\r\n", false);
    // none, any, and back to the default
    expect_list("", HOST "Origin: http://localhost:5900\r\n", false);
    expect_list("", HOST, true);
    expect_list("*", "Origin: https://b.example\r\n", true);
    expect_list("*", "Origin: null\r\n", true);
    expect_list("https://a.example *", "Origin: https://b.example\r\n", true);
    expect_list(nullptr, HOST "Origin: http://localhost:5900\r\n", true);
    expect_list(nullptr, HOST "Origin: https://b.example\r\n", false);
    server_stop();
}

/* what can't be set changes nothing */
static void test_list_wrong()
{
    static const char *const wrong[] = {
        "null", "a.example", "https://", "https:a.example", "https://a.example/",
        "https://a.example:", "https://a.example:0", "https://a.example:65536",
        "https://a.example:443x", "https://user@a.example", "https://a.example,https://b.example",
        "https://*.example", "https://[::1", "https://[::g]", "https://::1", "1://a.example",
        "https://a.example\thttps://b.example", "https://m\xc3\xbcller.example",
        "https://b.example null",
    };

    server_start(SERVER_NEEDS_TICKET);
    g_assert_cmpint(spice_server_set_websocket_origins(server, "https://a.example"), ==, 0);
    for (auto origins: wrong) {
        expect_warning("*is not an origin*");
        g_assert_cmpint(spice_server_set_websocket_origins(server, origins), ==, -1);
        g_test_assert_expected_messages();
    }
    expect_accepted("Origin: https://a.example\r\n");
    expect_refused("Origin: https://b.example\r\n");
    server_stop();
}

/* what is logged has one line, is not too long, and tells what it is about */
static void test_log()
{
    server_start(SERVER_NEEDS_TICKET);
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    expect_warning("*WebSocket with origin \"a\\033[2J\\\"\\377\" refused: *neither ticket*");
    g_assert_false(connect_websocket("Origin: a\033[2J\"\377\r\n", FALSE));
    g_test_assert_expected_messages();

    char *name = g_strnfill(10000, 'x');
    char *headers = g_strdup_printf("Origin: %s\r\n", name);
    char *pattern = g_strdup_printf("*WebSocket with origin \"%.256s\" refused: *", name);
    expect_warning(pattern);
    g_assert_false(connect_websocket(headers, FALSE));
    g_free(pattern);
    g_free(headers);
    g_free(name);
    server_stop();
}

/* as a browser compares them */
static void test_same_host()
{
    static const struct {
        const char *origin;
        const char *host;
        bool same;
    } tests[] = {
        { "http://a.example:5900", "a.example:5900", true },
        { "https://a.example:5900", "a.example:5900", true },
        { "http://a.example:5900", "a.example:5901", false },
        { "http://a.example:5900", "b.example:5900", false },
        { "http://a.example:5900", "a.example", false },
        { "http://a.example", "a.example:5900", false },
        { "http://a.example", "a.example.evil", false },
        { "http://a.example.evil", "a.example", false },
        // ports that are not written, or are
        { "http://a.example", "a.example", true },
        { "https://a.example", "a.example", true },
        { "http://a.example", "a.example:80", true },
        { "https://a.example", "a.example:443", true },
        { "https://a.example:443", "a.example", true },
        { "https://a.example", "a.example:80", false },
        { "http://a.example", "a.example:443", false },
        // case
        { "HTTP://A.Example:5900", "a.eXAMPLE:5900", true },
        // a dot at the end makes another one
        { "http://a.example.", "a.example.", true },
        { "http://a.example.", "a.example", false },
        { "http://a.example", "a.example.", false },
        // addresses
        { "http://127.0.0.1:5900", "127.0.0.1:5900", true },
        { "http://127.0.0.1:5900", "localhost:5900", false },
        { "http://[::1]:5900", "[::1]:5900", true },
        { "http://[::1]", "[0:0:0:0:0:0:0:1]:80", true },
        { "http://[FE80::1]:5900", "[fe80:0::1]:5900", true },
        { "http://[::1]:5900", "[::2]:5900", false },
        { "http://[::1]:5900", "::1:5900", false },
        { "http://[::1:5900", "[::1:5900", false },
        { "http://[::1", "[::1", false },
        // what is no host, or not the browser's
        { "null", "null", false },
        { "http://", "", false },
        { "http://:5900", ":5900", false },
        { "http://a.example:", "a.example:", false },
        { "http://a.example/", "a.example/", false },
        { "http://a.example, http://a.example", "a.example, a.example", false },
        { "a.example", "a.example", false },
        { "file://", "", false },
        { "app://localhost", "localhost", false },
        { "chrome-extension://a.example:5900", "a.example:5900", false },
        { "http://m\xc3\xbcller.example", "m\xc3\xbcller.example", false },
    };

    for (const auto &test: tests) {
        g_test_message("%s, %s", test.origin, test.host);
        g_assert_cmpint(websocket_origin_is_host(test.origin, test.host), ==, test.same);
    }

    // the same for a list, where apps can be
    g_assert_true(websocket_origins_contain("https://[0::1]", "https://[::1]:443"));
    g_assert_true(websocket_origins_contain("https://A.example:443", "https://a.example"));
    g_assert_false(websocket_origins_contain("https://a.example:443", "https://a.example."));
    g_assert_true(websocket_origins_contain("app://localhost", "app://localhost"));
    g_assert_false(websocket_origins_contain("app://localhost", "app://localhost:80"));
    g_assert_false(websocket_origins_contain("null", "null"));
    g_assert_false(websocket_origins_contain("https://a.example",
                                             "https://a.example, https://a.example"));
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/websocket-origin/default", test_default);
    g_test_add_func("/server/websocket-origin/list", test_list);
    g_test_add_func("/server/websocket-origin/list-wrong", test_list_wrong);
    g_test_add_func("/server/websocket-origin/log", test_log);
    g_test_add_func("/server/websocket-origin/same-host", test_same_host);

    return g_test_run();
}
