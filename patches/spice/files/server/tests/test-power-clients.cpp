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
 * Several clients, one after the other or at once, and those that go elsewhere.
 */
#include <config.h>

#include <spice.h>
#include <spice/protocol.h>

#include "test-glib-compat.h"
#include "main-channel-client.h"
#include "migration-protocol.h"
#include "red-client.h"
#include "sys-socket.h"
#include "test-power-base.h"
#include "push-visibility.h"
/* the library hides all types, not only the ones that say so */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wattributes"
#include "reds-private.h"
#pragma GCC diagnostic pop

/* one request at a time for the machine, everybody gets the state and nobody the
 * result of another */
static void test_two_clients()
{
    setup_multiple_clients();
    set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *first = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *second = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *old = client_connect_flags(0, 0);

    client_send(first, SPICE_MSGC_MAIN_POWER_PAUSE, 7);
    pump();
    g_assert_nonnull(request);
    g_assert_cmpuint((uint32_t) request->client->channel->connection_id, ==, first->session_id);
    for (uint32_t i = 0; i < 500; i++) {
        client_send(second, SPICE_MSGC_MAIN_POWER_OFF, i);
        expect_refusal(second, i, SPICE_POWER_RESULT_BUSY);
        g_assert_cmpuint(last_refused_id, ==, i);
    }
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(n_refused, ==, 500);

    set_state(SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_CONTINUE);
    complete_ok();
    expect_state(first, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_CONTINUE);
    expect_result(first, 7, SPICE_POWER_RESULT_OK, "");
    expect_state(second, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_CONTINUE);
    expect_nothing(first);
    expect_nothing(second);
    expect_nothing(old);

    /* both at the same time */
    client_send(first, SPICE_MSGC_MAIN_POWER_CONTINUE, 8);
    client_send(second, SPICE_MSGC_MAIN_POWER_RESET, 9);
    pump();
    g_assert_cmpuint(n_requests, ==, 2);
    g_assert_cmpuint(n_refused, ==, 501);
    Client *carried_out = request->request_id == 8 ? first : second;
    Client *refused = request->request_id == 8 ? second : first;
    expect_refusal(refused, last_refused_id, SPICE_POWER_RESULT_BUSY);
    /* the state and results don't get mixed up when one leaves */
    client_free(refused);
    const uint32_t id = request->request_id;
    complete(SPICE_POWER_RESULT_WRONG_STATE, "no");
    expect_result(carried_out, id, SPICE_POWER_RESULT_WRONG_STATE, "no");
    expect_nothing(carried_out);
    expect_nothing(old);

    client_free(carried_out);
    client_free(old);
    teardown();
}

/* the client leaves while its request is carried out, or before that */
static void test_disconnect()
{
    setup_multiple_clients();
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *other = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_nonnull(request);
    client_free(client);

    /* still the interface's, which is told, once */
    g_assert_cmpuint(n_cancelled, ==, 1);
    g_assert_cmpuint(request->request_id, ==, 1);
    g_assert_cmpuint(request->client->channel->type, ==, SPICE_CHANNEL_MAIN);
    client_send(other, SPICE_MSGC_MAIN_POWER_RESET, 2);
    expect_refusal(other, 2, SPICE_POWER_RESULT_BUSY);
    complete_ok();
    expect_nothing(other);
    reset_round(other, 3);

    /* the request and the end of the connection are seen at the same time */
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 4);
    client_free(client);
    g_assert_cmpuint(n_requests, ==, 3);
    g_assert_cmpuint(request->request_id, ==, 4);
    g_assert_cmpuint(n_cancelled, ==, 2);
    complete_ok();
    expect_nothing(other);
    reset_round(other, 5);

    client_free(other);
    teardown();
}

/* a request that its client did not leave, but was thrown out with, is not begun */
static void test_thrown_out()
{
    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    /* received, but the timer did not run yet */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    (*server->clients.begin())->get_main()->receive();
    spice_server_set_ticket(server, "secret", 0, 0, 1);
    pump();
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_id, ==, 1);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_FAILED);
    expect_thrown_out(client);
    client_free(client);

    /* one that is being carried out goes on, the interface may give it up */
    spice_server_set_noauth(server);
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 2);
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    spice_server_set_ticket(server, "secret", 0, 0, 1);
    pump();
    g_assert_cmpuint(n_cancelled, ==, 1);
    complete_ok();
    expect_thrown_out(client);
    client_free(client);
    teardown();
}

/* ids are the client's, nothing is made of them */
static void test_same_id()
{
    setup_multiple_clients();
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *other = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    for (unsigned int i = 0; i < 3; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
        pump();
        g_assert_cmpuint(n_requests, ==, i + 1);
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
        expect_refusal(client, 1, SPICE_POWER_RESULT_BUSY);
        client_send(other, SPICE_MSGC_MAIN_POWER_OFF, 1);
        expect_refusal(other, 1, SPICE_POWER_RESULT_BUSY);
        complete(SPICE_POWER_RESULT_FAILED, "no");
        expect_result(client, 1, SPICE_POWER_RESULT_FAILED, "no");
        expect_nothing(client);
        expect_nothing(other);
    }
    client_free(client);
    client_free(other);
    teardown();
}

/* each of many clients gets one result, and one of them what it wants */
static void test_many_clients()
{
    const unsigned int num = 50;
    Client *clients[num];

    setup_multiple_clients();
    for (auto &client: clients) {
        client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    }
    for (unsigned int i = 0; i < num; i++) {
        client_send(clients[i], SPICE_MSGC_MAIN_POWER_RESET, i);
    }
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(n_refused, ==, num - 1);
    const uint32_t winner = request->request_id;
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    complete_ok();
    for (unsigned int i = 0; i < num; i++) {
        if (i != winner) {
            expect_refusal(clients[i], i, SPICE_POWER_RESULT_BUSY);
        }
        expect_state(clients[i], SPICE_POWER_STATE_ON, ALL_ACTIONS);
        if (i == winner) {
            expect_result(clients[i], i, SPICE_POWER_RESULT_OK, "");
        }
        expect_nothing(clients[i]);
    }

    /* the server finds out that most of them are gone when it tells the state */
    for (unsigned int i = 0; i < num; i++) {
        if (i % 5) {
            socket_close(clients[i]->fd);
        }
    }
    set_state(SPICE_POWER_STATE_PAUSED, 0);
    for (unsigned int i = 0; i < num; i++) {
        if (i % 5) {
            g_byte_array_free(clients[i]->input, TRUE);
            g_free(clients[i]);
        } else {
            expect_state(clients[i], SPICE_POWER_STATE_PAUSED, 0);
            expect_nothing(clients[i]);
        }
    }
    reset_round(clients[0], 1);
    for (unsigned int i = 0; i < num; i += 5) {
        client_free(clients[i]);
    }
    teardown();
}

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED MigrateData {
    SpiceMigrateDataHeader header;
    SpiceMigrateDataMain main;
} MigrateData;
#include <spice/end-packed.h>

/* a client whose machine migrated to this server, or says so */
static void test_migration()
{
    const uint32_t caps = CAP(POWER_CONTROL) | CAP(SEMI_SEAMLESS_MIGRATE) | CAP(SEAMLESS_MIGRATE);
    size_t size;

    setup(ALL_ACTIONS);

    /* nothing before INIT */
    Client *client = client_link(1234, caps, 0);
    expect_nothing(client);
    set_state(SPICE_POWER_STATE_PAUSED, 0);
    set_state(SPICE_POWER_STATE_ON, 0);
    expect_nothing(client);
    client_send_body(client, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    expect_init(client);
    expect_state(client, SPICE_POWER_STATE_ON, 0);
    reset_round(client, 1);
    client_free(client);

    /* no INIT in a seamless migration */
    client = client_link(1234, caps, 0);
    client_send(client, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 1);
    g_free(expect_message(client, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, &size));
    set_state(SPICE_POWER_STATE_PAUSED, 0);
    set_state(SPICE_POWER_STATE_ON, 0);
    /* up to the channel's data the client listens to the source only */
    expect_nothing(client);
    const MigrateData data = {
        { SPICE_MIGRATE_DATA_MAIN_MAGIC, SPICE_MIGRATE_DATA_MAIN_VERSION }
    };
    client_send_body(client, SPICE_MSGC_MIGRATE_DATA, &data, sizeof(data));
    g_free(expect_message(client, SPICE_MSG_MAIN_MULTI_MEDIA_TIME, &size));
    expect_state(client, SPICE_POWER_STATE_ON, 0);
    reset_round(client, 2);
    client_free(client);

    /* no answer could be sent, so nothing is carried out */
    client = client_link(1234, caps, 0);
    expect_warning("*invalid message type*");
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 3);
    expect_disconnect(client);
    g_assert_cmpuint(n_requests, ==, 2);

    client_free(client);
    teardown();
}

/* a client that is told to go on elsewhere before its request is passed on */
static void test_migrated_away()
{
    setup(ALL_ACTIONS);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    RedChannelClient *mcc = (*server->clients.begin())->get_main();
    mcc->receive();
    mcc->migrate();
    pump();
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_FAILED);
    // and after that
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 2);
    pump();
    g_assert_cmpuint(n_requests, ==, 0);
    size_t size;
    g_free(expect_message(client, SPICE_MSG_MIGRATE, &size));
    expect_nothing(client);
    client_free(client);

    // one that is being carried out then: the interface is told, and not again when the
    // client has gone there
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 3);
    pump();
    g_assert_cmpuint(n_requests, ==, 1);
    mcc = (*server->clients.begin())->get_main();
    mcc->migrate();
    g_free(expect_message(client, SPICE_MSG_MIGRATE, &size));
    g_assert_cmpuint(n_cancelled, ==, 1);
    client_free(client);
    g_assert_cmpuint(n_cancelled, ==, 1);
    complete_ok();
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/power/two-clients", test_two_clients);
    g_test_add_func("/server/power/disconnect", test_disconnect);
    g_test_add_func("/server/power/thrown-out", test_thrown_out);
    g_test_add_func("/server/power/same-id", test_same_id);
    g_test_add_func("/server/power/many-clients", test_many_clients);
    g_test_add_func("/server/power/migration", test_migration);
    g_test_add_func("/server/power/migrated-away", test_migrated_away);

    return g_test_run();
}
