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
 * The interface is removed, replaced, or used in a wrong way.
 */
#include <config.h>

#include <spice.h>
#include <spice/protocol.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-power-base.h"

/* as if power control were not known */
static void test_no_interface()
{
    setup_no_power();

    for (size_t i = 0; i < N_ACTIONS; i++) {
        Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);

        g_assert_cmphex(client->caps & POWER_CAPS, ==, 0);
        expect_nothing(client);
        expect_warning("*invalid message type*");
        client_send(client, power_action_infos[i].type, 1);
        expect_disconnect(client);
        client_free(client);
    }

    /* nor does a client know that connected before the interface was added */
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);
    add_power(ALL_ACTIONS);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    expect_nothing(client);
    expect_warning("*invalid message type*");
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_disconnect(client);
    client_free(client);
    g_assert_cmpuint(n_requests, ==, 0);

    teardown();
}

static void test_remove_interface()
{
    setup(SPICE_POWER_ACTION_RESET);
    set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *client = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_nonnull(request);
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    g_assert_null(power.st);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(client, 1, SPICE_POWER_RESULT_FAILED);

    expect_critical("*st != nullptr*");
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, -1);
    expect_critical("*st != nullptr*");
    set_state(SPICE_POWER_STATE_ON, 0);

    /* this client was promised answers */
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 2);
    expect_refusal(client, 2, SPICE_POWER_RESULT_DENIED);
    g_assert_cmpuint(n_refused, ==, 0);
    expect_nothing(client);

    /* the old request has to be completed before there is a new one */
    add_power(SPICE_POWER_ACTION_RESET);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 3);
    expect_refusal(client, 3, SPICE_POWER_RESULT_BUSY);
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_BUSY);
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    add_power(SPICE_POWER_ACTION_RESET);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 4);
    expect_refusal(client, 4, SPICE_POWER_RESULT_BUSY);
    complete_ok();
    expect_nothing(client);
    g_assert_cmpuint(n_requests, ==, 1);
    reset_round(client, 5);

    client_free(client);
    teardown();
}

/* requests that wait for their turn when the interface is removed are refused */
static void test_remove_waiting()
{
    setup_multiple_clients();
    Client *first = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    Client *second = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    on_request = []() {
        g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    };
    client_send(first, SPICE_MSGC_MAIN_POWER_RESET, 1);
    client_send(second, SPICE_MSGC_MAIN_POWER_RESET, 2);
    while (n_requests == 0) {
        g_main_context_iteration(basic_event_loop_get_context(), TRUE);
    }
    uint32_t passed = request->request_id;
    pump();
    // the other one was received, too, so the interface is told
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_id, ==, 3 - passed);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_FAILED);
    expect_state(first, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(first, 1, SPICE_POWER_RESULT_FAILED);
    expect_state(second, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(second, 2, SPICE_POWER_RESULT_FAILED);
    complete_ok();
    expect_nothing(first);
    expect_nothing(second);

    client_free(first);
    client_free(second);
    teardown();
}

/* who links without an interface is served as if power control were not known,
 * also when there is one later */
static void expect_no_power(Client *client)
{
    g_assert_cmphex(client->caps & POWER_CAPS, ==, 0);
    expect_nothing(client);
    expect_warning("*invalid message type*");
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_disconnect(client);
    client_free(client);
}

/* capabilities are withdrawn, nothing else of the channel's is */
static void test_remove_caps()
{
    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);
    const uint32_t other_caps = client->caps;
    expect_no_power(client);

    for (unsigned int round = 0; round < 3; round++) {
        add_power(ALL_ACTIONS);
        client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
        g_assert_cmphex(client->caps & ~CAP(CONTROL_ONLY), ==, other_caps | POWER_CAPS);
        client_free(client);

        remove_power();
        client = client_connect_flags(CAP(POWER_CONTROL), 0);
        g_assert_cmphex(client->caps, ==, other_caps);
        expect_no_power(client);

        /* the next interface is not for this one */
        client = client_connect_flags(CAP(POWER_CONTROL), 0);
        add_power(SPICE_POWER_ACTION_PAUSE);
        set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_PAUSE);
        expect_no_power(client);

        client = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_PAUSE);
        g_assert_cmphex(client->caps & ~CAP(CONTROL_ONLY), ==,
                        other_caps | CAP(POWER_CONTROL) | CAP(POWER_PAUSE));
        client_free(client);
        remove_power();
    }
    g_assert_cmpuint(n_requests, ==, 0);

    teardown();
}

/* Another interface, with other actions, while clients are connected: each of
 * them can use what was offered to it and is configured now. */
static void test_replace_interface()
{
    const uint32_t more = SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF;

    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    add_power(SPICE_POWER_ACTION_RESET);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    Client *reset = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    remove_power();
    expect_state(reset, SPICE_POWER_STATE_UNKNOWN, 0);

    add_power(SPICE_POWER_ACTION_OFF);
    expect_nothing(reset);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    expect_state(reset, SPICE_POWER_STATE_ON, 0);
    Client *off = client_connect(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_OFF);
    client_send(reset, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_refusal(reset, 1, SPICE_POWER_RESULT_DENIED);
    client_send(reset, SPICE_MSGC_MAIN_POWER_OFF, 2);
    expect_refusal(reset, 2, SPICE_POWER_RESULT_DENIED);
    g_assert_cmpuint(n_refused, ==, 2);
    g_assert_cmpuint(n_requests, ==, 0);
    client_send(off, SPICE_MSGC_MAIN_POWER_OFF, 3);
    pump();
    complete_ok();
    expect_result(off, 3, SPICE_POWER_RESULT_OK, "");
    remove_power();
    expect_state(reset, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_state(off, SPICE_POWER_STATE_UNKNOWN, 0);

    add_power(more);
    set_state(SPICE_POWER_STATE_PAUSED, ALL_ACTIONS);
    Client *both = client_connect(SPICE_POWER_STATE_PAUSED, more);
    expect_state(reset, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_RESET);
    expect_state(off, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_OFF);
    /* a change that only some of them see */
    set_state(SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_OFF);
    expect_state(reset, SPICE_POWER_STATE_PAUSED, 0);
    expect_state(both, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_OFF);
    expect_nothing(off);
    client_send(reset, SPICE_MSGC_MAIN_POWER_OFF, 4);
    expect_refusal(reset, 4, SPICE_POWER_RESULT_DENIED);
    reset_round(reset, 5);
    reset_round(both, 6);

    client_free(reset);
    client_free(off);
    client_free(both);
    teardown();
}

/* what counts is what the server said in its reply to the link message, the
 * client can take its time until it authenticates */
static void test_replace_while_linking()
{
    setup_no_power(SERVER_MULTIPLE_CLIENTS);
    Client *without = client_start_link(0, CAP(POWER_CONTROL), 0);
    g_assert_cmphex(without->caps & POWER_CAPS, ==, 0);
    add_power(SPICE_POWER_ACTION_RESET);
    set_state(SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    Client *reset = client_start_link(0, CAP(POWER_CONTROL), 0);
    g_assert_cmphex(reset->caps & POWER_CAPS, ==, CAP(POWER_CONTROL) | CAP(POWER_RESET));
    Client *target = client_start_link(1234, CAP(POWER_CONTROL) | CAP(SEMI_SEAMLESS_MIGRATE), 0);

    remove_power();
    client_authenticate(without);
    expect_init(without);
    expect_no_power(without);
    client_authenticate(reset);
    expect_init(reset);
    expect_state(reset, SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(reset, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_refusal(reset, 1, SPICE_POWER_RESULT_DENIED);

    add_power(ALL_ACTIONS);
    set_state(SPICE_POWER_STATE_ON, ALL_ACTIONS);
    expect_state(reset, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    client_authenticate(target);
    expect_nothing(target);
    client_send_body(target, SPICE_MSGC_MAIN_MIGRATE_END, nullptr, 0);
    expect_init(target);
    expect_state(target, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    client_send(target, SPICE_MSGC_MAIN_POWER_OFF, 2);
    expect_refusal(target, 2, SPICE_POWER_RESULT_DENIED);
    reset_round(target, 3);
    reset_round(reset, 4);

    client_free(reset);
    client_free(target);
    teardown();
}

/* the interface is removed by its own callback */
static void test_remove_in_callback()
{
    setup(SPICE_POWER_ACTION_RESET);
    on_request = remove_power;
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);

    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    expect_state(client, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(client, 1, SPICE_POWER_RESULT_FAILED);
    expect_nothing(client);
    complete_ok();
    expect_nothing(client);

    client_free(client);
    teardown();
}

/* the server is destroyed while a request is carried out, while one waits to be
 * and without any */
static void test_destroy()
{
    setup_multiple_clients();
    set_state(SPICE_POWER_STATE_ON, 0);
    Client *first = client_connect(SPICE_POWER_STATE_ON, 0);
    Client *second = client_connect(SPICE_POWER_STATE_ON, 0);

    client_send(first, SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_nonnull(request);
    /* read the message but don't run the timer that it starts */
    client_send(second, SPICE_MSGC_MAIN_POWER_OFF, 2);
    g_assert_true(g_main_context_iteration(basic_event_loop_get_context(), FALSE));
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(n_refused, ==, 0);

    spice_server_destroy(server);
    server = nullptr;
    g_assert_null(power.st);
    expect_state(first, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(first, 1, SPICE_POWER_RESULT_FAILED);
    expect_disconnect(first);
    expect_state(second, SPICE_POWER_STATE_UNKNOWN, 0);
    expect_refusal(second, 2, SPICE_POWER_RESULT_FAILED);
    expect_disconnect(second);
    g_assert_cmpuint(n_requests, ==, 1);
    g_assert_cmpuint(n_refused, ==, 1);
    g_assert_cmpuint(last_refused_id, ==, 2);
    g_assert_cmpuint(last_refused_result, ==, SPICE_POWER_RESULT_FAILED);

    /* is freed, and nothing else */
    g_assert_cmpuint(request->request_id, ==, 1);
    complete_ok();

    client_free(first);
    client_free(second);
    g_test_assert_expected_messages();
    basic_event_loop_destroy();
    alarm(0);

    setup(ALL_ACTIONS);
    teardown();
}

static void assert_not_added(const SpicePowerInterface *sif, uint32_t mask,
                             const char *pattern)
{
    SpicePowerInstance instance = {
        .base = { .sif = &sif->base },
        .actions = mask,
    };

    expect_warning(pattern);
    g_assert_cmpint(spice_server_add_interface(server, &instance.base), ==, -1);
    g_assert_null(instance.st);
    g_test_assert_expected_messages();
}

/* the library is used in a wrong way */
static void test_misuse()
{
    SpicePowerInterface sif = power_interface;

    setup_no_power();
    sif.base.major_version++;
    assert_not_added(&sif, ALL_ACTIONS, "*unsupported power interface");
    sif = power_interface;
    sif.base.minor_version++;
    assert_not_added(&sif, ALL_ACTIONS, "*unsupported power interface");
    sif = power_interface;
    sif.request = nullptr;
    assert_not_added(&sif, ALL_ACTIONS, "*without request*");
    assert_not_added(&power_interface, ALL_ACTIONS + 1, "*unknown power actions 0x20");

    /* nothing was offered to clients */
    Client *client = client_connect_flags(CAP(POWER_CONTROL), 0);
    g_assert_cmphex(client->caps & POWER_CAPS, ==, 0);
    expect_nothing(client);
    client_free(client);

    add_power(ALL_ACTIONS);
    assert_not_added(&power_interface, ALL_ACTIONS, "*already have power");

    expect_critical("*sin != nullptr*");
    spice_server_power_set_state(nullptr, SPICE_POWER_STATE_ON, 0);
    expect_critical("*base != nullptr*");
    spice_server_power_complete(nullptr, SPICE_POWER_RESULT_OK, nullptr);

    /* the first interface still works */
    client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    reset_round(client, 1);

    client_free(client);
    teardown();
}

/* an interface without refused() */
static void test_no_refused()
{
    SpicePowerInterface sif = power_interface;

    sif.refused = nullptr;
    setup_no_power();
    power.base.sif = &sif.base;
    power.actions = 0;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    Client *client = client_connect(SPICE_POWER_STATE_UNKNOWN, 0);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_refusal(client, 1, SPICE_POWER_RESULT_DENIED);

    client_free(client);
    teardown();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/power/no-interface", test_no_interface);
    g_test_add_func("/server/power/remove-interface", test_remove_interface);
    g_test_add_func("/server/power/remove-waiting", test_remove_waiting);
    g_test_add_func("/server/power/remove-caps", test_remove_caps);
    g_test_add_func("/server/power/replace-interface", test_replace_interface);
    g_test_add_func("/server/power/replace-while-linking", test_replace_while_linking);
    g_test_add_func("/server/power/remove-in-callback", test_remove_in_callback);
    g_test_add_func("/server/power/destroy", test_destroy);
    g_test_add_func("/server/power/misuse", test_misuse);
    g_test_add_func("/server/power/no-refused", test_no_refused);

    return g_test_run();
}
