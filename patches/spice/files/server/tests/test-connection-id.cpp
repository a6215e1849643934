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
 * Test connection ids: whoever knows that of a client can link channels for it.
 */
#include <config.h>

#include <string.h>
#include <openssl/rand.h>

#include "test-glib-compat.h"
#include "test-client.h"

/* If set, these are the next numbers that the server draws. */
static const uint32_t *numbers;
static unsigned int n_numbers;
static unsigned int n_drawn;

/* The server's random numbers, in place of OpenSSL's; that does not use it itself. */
int RAND_bytes(unsigned char *buf, int num)
{
    n_drawn++;
    if (!numbers) {
        return RAND_priv_bytes(buf, num);
    }
    g_assert_cmpint(num, ==, sizeof(*numbers));
    if (n_numbers == 0) {
        return 0;
    }
    memcpy(buf, numbers, num);
    numbers++;
    n_numbers--;
    return 1;
}

static void set_numbers(const uint32_t *next, unsigned int n)
{
    numbers = next;
    n_numbers = n;
}

static Client *viewer_connect()
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);

    client_authenticate(client);
    expect_init(client);
    return client;
}

/* who knows all that GLib's generator has given does not know them */
static void test_unpredictable()
{
    uint32_t ids[20];

    server_start();
    for (auto &id: ids) {
        g_random_set_seed(42);
        Client *client = viewer_connect();
        id = client->session_id;
        client_free(client);
    }
    for (unsigned int i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_assert_cmpuint(ids[i], !=, 0);
        for (unsigned int j = 0; j < i; j++) {
            g_assert_cmphex(ids[i], !=, ids[j]);
        }
    }
    g_assert_cmpuint(n_drawn, >=, G_N_ELEMENTS(ids));
    server_stop();
}

/* never 0, nor one that another client has */
static void test_unique()
{
    static const uint32_t draws[] = { 0, 0, 77, 77, 0, 77, 78 };

    server_start(SERVER_MULTIPLE_CLIENTS);
    set_numbers(draws, G_N_ELEMENTS(draws));
    Client *first = viewer_connect();
    g_assert_cmpuint(first->session_id, ==, 77);
    Client *second = viewer_connect();
    g_assert_cmpuint(second->session_id, ==, 78);

    // with no random numbers nobody is let in, and nobody disturbed
    set_numbers(draws, 0);
    Client *third = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    client_write_u32(third, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(third, "", 1);
    expect_warning("*no random number*");
    g_assert_cmpuint(client_read_u32(third), ==, SPICE_LINK_ERR_ERROR);
    expect_disconnect(third);
    expect_nothing(first);
    expect_nothing(second);
    client_free(first);
    client_free(second);
    client_free(third);
    server_stop();
    set_numbers(nullptr, 0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/connection-id/unpredictable", test_unpredictable);
    g_test_add_func("/server/connection-id/unique", test_unique);

    return g_test_run();
}
