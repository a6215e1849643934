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
 * Test control clients: what they get, what ends them, and that the others don't notice.
 */
#include <config.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "vmc-emu.h"

#if HAVE_SASL
#include "test-sasl-mock.h"
#endif

#define CAP(name) (1u << SPICE_MAIN_CAP_ ## name)
#define CONTROL_CAPS (CAP(CONTROL_ONLY) | CAP(POWER_CONTROL))
#define MAX_CLIENTS 16
#define ALL_ACTIONS ((uint32_t) SPICE_POWER_ACTION_MASK)

static SpicePowerInstance power;
static SpicePowerRequest *request;
static unsigned int n_requests;
static unsigned int n_refused;
static bool complete_at_once;
static int last_flags;
static unsigned int n_disconnected;
static bool only_power_ticket;
static const char *only_user;

/* Those that would run for so long, in ms: that is for who has been told to go. */
#define LONG_TIME 30000
static GPtrArray *long_timers;
static void (*loop_timer_start)(SpiceTimer *timer, uint32_t ms);
static void (*loop_timer_remove)(SpiceTimer *timer);

static void start_timer(SpiceTimer *timer, uint32_t ms)
{
    if (ms == LONG_TIME) {
        g_ptr_array_add(long_timers, timer);
    } else {
        loop_timer_start(timer, ms);
    }
}

static void remove_timer(SpiceTimer *timer)
{
    g_ptr_array_remove(long_timers, timer);
    loop_timer_remove(timer);
}

/* as if that time had passed */
static void long_time_passes()
{
    for (guint i = 0; i < long_timers->len; i++) {
        loop_timer_start(static_cast<SpiceTimer *>(long_timers->pdata[i]), 0);
    }
    pump();
}

static void complete(uint32_t result)
{
    SpicePowerRequest *req = request;

    g_assert_nonnull(req);
    request = nullptr;
    spice_server_power_complete(req, result, nullptr);
}

static void power_request(SpicePowerInstance *sin, SpicePowerRequest *req)
{
    g_assert_null(request);
    request = req;
    n_requests++;
    if (complete_at_once) {
        complete(SPICE_POWER_RESULT_OK);
    }
}

static void power_refused(SpicePowerInstance *sin, const SpicePowerRequest *req,
                          uint32_t result, const char *message)
{
    n_refused++;
}

static uint32_t power_allowed(SpicePowerInstance *sin, const SpicePowerClient *client,
                              const char **reason)
{
    g_assert_cmpint(client->channel->type, ==, SPICE_CHANNEL_MAIN);
    g_assert_cmpint(client->channel->connection_id, !=, 0);
    if (only_user) {
        return strcmp(client->sasl_username, only_user) == 0 ? ALL_ACTIONS : 0;
    }
    return !only_power_ticket || client->ticket == SPICE_TICKET_POWER ? ALL_ACTIONS : 0;
}

static const SpicePowerInterface power_interface = {
    .base = {
        .type          = SPICE_INTERFACE_POWER,
        .description   = "test power",
        .major_version = SPICE_INTERFACE_POWER_MAJOR,
        .minor_version = SPICE_INTERFACE_POWER_MINOR,
    },
    .request           = power_request,
    .refused           = power_refused,
    .cancelled         = nullptr,
    .allowed           = power_allowed,
};

static void add_power()
{
    power.base.sif = &power_interface.base;
    power.actions = ALL_ACTIONS;
    power.st = nullptr;
    g_assert_cmpint(spice_server_add_interface(server, &power.base), ==, 0);
    spice_server_power_set_state(&power, SPICE_POWER_STATE_ON, ALL_ACTIONS);
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    if (event == SPICE_CHANNEL_EVENT_INITIALIZED) {
        last_flags = info->flags;
    }
    n_disconnected += event == SPICE_CHANNEL_EVENT_DISCONNECTED;
}

static void migrate_complete(SpiceMigrateInstance *sin)
{
}

static const SpiceMigrateInterface migrate_interface = {
    {
        SPICE_INTERFACE_MIGRATION,
        "migration",
        SPICE_INTERFACE_MIGRATION_MAJOR,
        SPICE_INTERFACE_MIGRATION_MINOR
    },
    migrate_complete,
    migrate_complete,
};

static SpiceMigrateInstance migrate;

static void setup_no_power()
{
    static SpiceCoreInterface core;

    request = nullptr;
    n_requests = n_refused = n_disconnected = 0;
    complete_at_once = false;
    only_power_ticket = false;
    only_user = nullptr;
    long_timers = g_ptr_array_new();
    core = *basic_event_loop_init();
    core.channel_event = channel_event;
    loop_timer_start = core.timer_start;
    loop_timer_remove = core.timer_remove;
    core.timer_start = start_timer;
    core.timer_remove = remove_timer;
    server_start(SERVER_SEAMLESS, &core);
    migrate.base.sif = &migrate_interface.base;
    g_assert_cmpint(spice_server_add_interface(server, &migrate.base), ==, 0);
}

static void setup()
{
    setup_no_power();
    add_power();
}

static void teardown()
{
    g_assert_null(request);
    server_stop();
    g_assert_cmpuint(long_timers->len, ==, 0);
    g_ptr_array_free(long_timers, TRUE);
}

/* a client that leaves something unread resets the connection, of which the server warns */
static void client_leave(Client *client)
{
    client_receive(client);
    client_free(client);
}

static int num_clients()
{
    G_GNUC_BEGIN_IGNORE_DEPRECATIONS
    return spice_server_get_num_clients(server);
    G_GNUC_END_IGNORE_DEPRECATIONS
}

static Client *client_link(uint32_t caps, unsigned int flags)
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, caps, flags);

    client_authenticate(client);
    return client;
}

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED StateBody {
    uint8_t state;
    uint32_t allowed;
    uint32_t possible;
} StateBody;

typedef struct SPICE_ATTR_PACKED SwitchHostBody {
    uint16_t port;
    uint16_t sport;
    uint32_t host_size;
    uint32_t host_offset;
    uint32_t cert_subject_size;
    uint32_t cert_subject_offset;
} SwitchHostBody;
#include <spice/end-packed.h>

static void expect_state(Client *client, uint32_t state)
{
    size_t size;
    auto body = static_cast<StateBody *>(expect_message(client, SPICE_MSG_MAIN_POWER_STATE, &size));

    g_assert_cmpuint(size, ==, sizeof(*body));
    g_assert_cmpuint(body->state, ==, state);
    g_free(body);
}

static void expect_result(Client *client, uint32_t request_id, uint32_t result)
{
    size_t size;
    auto body = static_cast<uint8_t *>(expect_message(client, SPICE_MSG_MAIN_POWER_RESULT, &size));

    g_assert_cmpuint(size, >=, 9);
    g_assert_cmpmem(&request_id, 4, body, 4);
    g_assert_cmpuint(body[4], ==, result);
    g_free(body);
}

static Client *control_connect_flags(unsigned int flags)
{
    Client *client = client_link(CONTROL_CAPS, flags);

    expect_init(client);
    expect_state(client, SPICE_POWER_STATE_ON);
    return client;
}

static Client *control_connect()
{
    return control_connect_flags(0);
}

/* one who sees the machine, and has no power control */
static Client *viewer_connect()
{
    Client *client = client_link(0, 0);

    expect_init(client);
    return client;
}

static void expect_service(Client *viewer)
{
    size_t size;

    client_send_body(viewer, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
    g_free(expect_message(viewer, SPICE_MSG_MAIN_CHANNELS_LIST, &size));
    expect_nothing(viewer);
}

static void reset_round(Client *client, uint32_t request_id)
{
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, request_id);
    pump();
    complete(SPICE_POWER_RESULT_OK);
    expect_result(client, request_id, SPICE_POWER_RESULT_OK);
    expect_nothing(client);
}

/* tests */

/* it's offered as long as there is power control */
static void test_capability()
{
    setup_no_power();
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, CONTROL_CAPS, 0);
    g_assert_cmphex(client->caps & CONTROL_CAPS, ==, 0);
    client_leave(client);
    add_power();
    client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    g_assert_cmphex(client->caps & CONTROL_CAPS, ==, CONTROL_CAPS);
    client_leave(client);
    spice_server_set_max_control_clients(server, 0);
    client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    g_assert_cmphex(client->caps & CONTROL_CAPS, ==, CAP(POWER_CONTROL));
    client_leave(client);
    spice_server_set_max_control_clients(server, 1);
    client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    g_assert_cmphex(client->caps & CONTROL_CAPS, ==, CONTROL_CAPS);
    client_leave(client);
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, 0, 0);
    g_assert_cmphex(client->caps & CONTROL_CAPS, ==, 0);
    client_leave(client);
    teardown();

    // before the server listens
    server = spice_server_new();
    spice_server_set_max_control_clients(server, 0);
    spice_server_destroy(server);
}

/* a client that wants to be one where that is not offered is one like any other */
static void test_not_offered()
{
    setup_no_power();
    Client *viewer = viewer_connect();
    Client *client = client_link(CONTROL_CAPS, 0);
    expect_init(client);
    client_receive(viewer);
    g_assert_true(viewer->eof);
    g_assert_cmpint(num_clients(), ==, 1);
    expect_service(client);
    client_leave(viewer);
    client_leave(client);
    teardown();

    // what counts is what it was told, and it authenticates later
    setup();
    viewer = viewer_connect();
    client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, CONTROL_CAPS, 0);
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    client_authenticate(client);
    expect_init(client);
    expect_nothing(viewer);
    expect_service(viewer);
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    expect_state(client, SPICE_POWER_STATE_UNKNOWN);
    expect_result(client, 1, SPICE_POWER_RESULT_DENIED);
    client_leave(client);
    client_leave(viewer);
    teardown();
}

/* INIT promises nothing, and there are no channels */
static void test_greeting()
{
    static const uint8_t uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
    VmcEmu *agent = vmc_emu_new("vdagent", nullptr);
    size_t size;

    setup();
    spice_server_set_name(server, "machine");
    spice_server_set_uuid(server, uuid);
    g_assert_cmpint(spice_server_add_interface(server, &agent->instance.base), ==, 0);
    const unsigned int flags[] = { 0, CLIENT_FULL_HEADER, CLIENT_BYTEWISE };
    for (unsigned int flag: flags) {
        Client *client = client_link(CONTROL_CAPS | CAP(NAME_AND_UUID), flag);
        auto init = static_cast<uint32_t *>(expect_message(client, SPICE_MSG_MAIN_INIT, &size));
        g_assert_cmpuint(size, ==, 8 * sizeof(uint32_t));
        g_assert_cmpuint(init[0], !=, 0);
        g_assert_cmpuint(init[1], ==, 0); // displays
        g_assert_cmphex(GUINT32_FROM_LE(init[2]), ==, SPICE_MOUSE_MODE_SERVER);
        g_assert_cmphex(GUINT32_FROM_LE(init[3]), ==, SPICE_MOUSE_MODE_SERVER);
        g_assert_cmpuint(init[4], ==, 0); // agent
        g_assert_cmpuint(init[5], ==, 0);
        g_assert_cmpuint(init[7], ==, 0);
        g_free(init);
        expect_state(client, SPICE_POWER_STATE_ON);
        void *body = expect_message(client, SPICE_MSG_MAIN_NAME, &size);
        g_assert_cmpmem(body, size, "\x08\0\0\0machine", 12);
        g_free(body);
        body = expect_message(client, SPICE_MSG_MAIN_UUID, &size);
        g_assert_cmpmem(body, size, uuid, sizeof(uuid));
        g_free(body);
        client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
        body = expect_message(client, SPICE_MSG_MAIN_CHANNELS_LIST, &size);
        g_assert_cmpmem(body, size, "\0\0\0\0", 4);
        g_free(body);
        reset_round(client, 7);
        client_leave(client);
    }
    // one that does not know of names
    Client *client = control_connect();
    expect_nothing(client);
    client_leave(client);
    g_assert_cmpint(spice_server_remove_interface(&agent->instance.base), ==, 0);
    vmc_emu_destroy(agent);
    teardown();
}

/* whoever comes first, neither takes the other one's place */
static void test_places()
{
    setup();
    Client *viewer = viewer_connect();
    g_assert_cmphex(last_flags & SPICE_CHANNEL_EVENT_FLAG_CONTROL_ONLY, ==, 0);
    Client *before = control_connect();
    g_assert_cmphex(last_flags & SPICE_CHANNEL_EVENT_FLAG_CONTROL_ONLY, !=, 0);
    expect_nothing(viewer);
    g_assert_cmpint(num_clients(), ==, 1);
    Client *second = viewer_connect();
    client_receive(viewer);
    g_assert_true(viewer->eof);
    client_leave(viewer);
    Client *after = control_connect();
    expect_nothing(before);
    reset_round(before, 1);
    reset_round(after, 2);
    expect_service(second);
    g_assert_cmpint(num_clients(), ==, 1);

    // all see the same, and each gets its own results
    spice_server_power_set_state(&power, SPICE_POWER_STATE_PAUSED, 0);
    expect_state(before, SPICE_POWER_STATE_PAUSED);
    expect_state(after, SPICE_POWER_STATE_PAUSED);
    expect_nothing(second);
    client_send(before, SPICE_MSGC_MAIN_POWER_ON, 3);
    pump();
    client_send(after, SPICE_MSGC_MAIN_POWER_OFF, 4);
    expect_result(after, 4, SPICE_POWER_RESULT_BUSY);
    expect_nothing(before);
    complete(SPICE_POWER_RESULT_OK);
    expect_result(before, 3, SPICE_POWER_RESULT_OK);
    expect_nothing(after);

    client_leave(second);
    g_assert_cmpint(num_clients(), ==, 0);
    expect_nothing(before);
    client_leave(before);
    client_leave(after);
    teardown();
}

/* what is meant for viewers ends it, and nobody else */
static void test_other_messages()
{
    static const struct {
        uint16_t type;
        size_t size;
    } messages[] = {
        { SPICE_MSGC_ACK_SYNC, 4 },
        { SPICE_MSGC_ACK, 0 },
        { SPICE_MSGC_MIGRATE_FLUSH_MARK, 0 },
        { SPICE_MSGC_MIGRATE_DATA, 100 },
        { SPICE_MSGC_MAIN_CLIENT_INFO, 8 },
        { SPICE_MSGC_MAIN_MIGRATE_CONNECTED, 0 },
        { SPICE_MSGC_MAIN_MIGRATE_CONNECT_ERROR, 0 },
        { SPICE_MSGC_MAIN_MOUSE_MODE_REQUEST, 2 },
        { SPICE_MSGC_MAIN_AGENT_START, 4 },
        { SPICE_MSGC_MAIN_AGENT_DATA, 100 },
        { SPICE_MSGC_MAIN_AGENT_TOKEN, 4 },
        { SPICE_MSGC_MAIN_MIGRATE_END, 0 },
        { SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS, 4 },
        { SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS, 0 },
        { SPICE_MSGC_MAIN_QUALITY_INDICATOR, 1 },
        { SPICE_MSGC_END_MAIN, 4 },
        { 0xffff, 4 },
        // its own, but too short, or too long for what it has room for
        { SPICE_MSGC_MAIN_POWER_RESET, 3 },
        { SPICE_MSGC_MAIN_POWER_RESET, 1025 },
        { SPICE_MSGC_PONG, 1025 },
    };
    static const uint8_t body[1025] = { 0 };

    for (const auto &message: messages) {
        setup();
        Client *viewer = viewer_connect();
        Client *other = control_connect();
        Client *client = control_connect();

        g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*");
        client_send_body(client, message.type, body, message.size);
        expect_disconnect(client);
        client_leave(client);
        g_test_assert_expected_messages();
        expect_nothing(viewer);
        expect_nothing(other);
        g_assert_cmpuint(n_requests, ==, 0);
        expect_service(viewer);
        reset_round(other, 1);
        client_leave(viewer);
        client_leave(other);
        teardown();
    }

    // these are its own, too, and fields can be added to them
    setup();
    Client *client = control_connect();
    client_send_body(client, SPICE_MSGC_DISCONNECTING, body, 12);
    client_send_body(client, SPICE_MSGC_MAIN_POWER_PAUSE, body, 1024);
    pump();
    complete(SPICE_POWER_RESULT_OK);
    client_leave(client);
    teardown();
}

/* any other channel ends it */
static void test_other_channel()
{
    setup();
    Client *viewer = viewer_connect();
    Client *client = control_connect();
    Client *other = control_connect();
    SpiceKbdInstance keyboard = {};
    static const SpiceKbdInterface keyboard_interface = {
        .base = {
            .type          = SPICE_INTERFACE_KEYBOARD,
            .description   = "test keyboard",
            .major_version = SPICE_INTERFACE_KEYBOARD_MAJOR,
            .minor_version = SPICE_INTERFACE_KEYBOARD_MINOR,
        },
    };
    keyboard.base.sif = &keyboard_interface.base;
    g_assert_cmpint(spice_server_add_interface(server, &keyboard.base), ==, 0);

    Client *inputs = client_start_link(server, client->session_id, SPICE_CHANNEL_INPUTS, 0, 0, 0);
    client_write_u32(inputs, SPICE_COMMON_CAP_AUTH_SPICE);
    expect_warning("*a control client opens another channel*");
    client_send_ticket(inputs, "", 1);
    g_assert_cmpuint(client_read_u32(inputs), ==, SPICE_LINK_ERR_BAD_CONNECTION_ID);
    expect_disconnect(inputs);
    expect_disconnect(client);
    client_leave(inputs);
    client_leave(client);
    g_test_assert_expected_messages();

    // an id that nobody has
    inputs = client_start_link(server, 0, SPICE_CHANNEL_INPUTS, 0, 0, 0);
    client_write_u32(inputs, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(inputs, "", 1);
    g_assert_cmpuint(client_read_u32(inputs), ==, SPICE_LINK_ERR_BAD_CONNECTION_ID);
    client_leave(inputs);
    expect_nothing(viewer);
    reset_round(other, 1);

    // it has no part in a migration either
    client = client_start_link(server, viewer->session_id, SPICE_CHANNEL_MAIN, 0, CONTROL_CAPS, 0);
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(client, "", 1);
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_BAD_CONNECTION_ID);
    expect_disconnect(client);
    client_leave(client);
    expect_nothing(viewer);
    client_leave(viewer);
    client_leave(other);
    g_assert_cmpint(spice_server_remove_interface(&keyboard.base), ==, 0);
    teardown();
}

static void expect_no_place(const char *warning)
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, CONTROL_CAPS, 0);

    expect_warning(warning);
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(client, "", 1);
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
    expect_disconnect(client);
    client_leave(client);
    g_test_assert_expected_messages();
}

/* so many and no more; who leaves makes room; viewers have nothing to do with it */
static void test_limit()
{
    Client *clients[MAX_CLIENTS];

    setup();
    for (auto &client: clients) {
        client = control_connect();
    }
    Client *viewer = viewer_connect();
    expect_no_place("*there are 16 control clients already");
    client_leave(clients[3]);
    clients[3] = control_connect();
    expect_no_place("*there are 16 control clients already");
    for (unsigned int i = 0; i < MAX_CLIENTS; i++) {
        reset_round(clients[i], i);
    }
    // who is there stays
    spice_server_set_max_control_clients(server, 2);
    for (unsigned int i = 0; i < MAX_CLIENTS; i++) {
        expect_nothing(clients[i]);
    }
    client_leave(clients[0]);
    expect_no_place("*there are 2 control clients already");
    spice_server_set_max_control_clients(server, MAX_CLIENTS);
    clients[0] = control_connect();
    expect_service(viewer);
    client_leave(viewer);
    for (auto client: clients) {
        client_leave(client);
    }
    teardown();
}

static Client *authenticate_with(const char *password, uint32_t caps)
{
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, caps, 0);

    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(client, password, strlen(password) + 1);
    return client;
}

static Client *control_connect_with(const char *password)
{
    Client *client = authenticate_with(password, CONTROL_CAPS);

    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_OK);
    expect_init(client);
    expect_state(client, SPICE_POWER_STATE_ON);
    return client;
}

static void expect_no_place_with(const char *password, uint32_t caps)
{
    expect_warning("*control clients already*");
    Client *client = authenticate_with(password, caps);
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
    expect_disconnect(client);
    client_leave(client);
    g_test_assert_expected_messages();
}

static void expect_told(Client *client, uint32_t reason);

/* Two tickets, to look and to press. */
static void setup_two_tickets()
{
    setup();
    only_power_ticket = true;
    spice_server_power_update_allowed(&power);
    g_assert_cmpint(spice_server_set_ticket(server, "look", 0, 0, 0), ==, 0);
    g_assert_cmpint(spice_server_set_power_ticket(server, "press", 0, 0, 0), ==, 0);
}

/* those who may not act don't keep out one who may: the oldest of them makes room */
static void test_makes_room()
{
    Client *watchers[MAX_CLIENTS], *actors[MAX_CLIENTS];
    const char look[] = "look", press[] = "press";

    setup_two_tickets();
    for (auto &client: watchers) {
        client = control_connect_with(look);
    }
    Client *viewer = authenticate_with(look, 0);
    g_assert_cmpuint(client_read_u32(viewer), ==, SPICE_LINK_ERR_OK);
    expect_init(viewer);
    expect_no_place_with(look, CONTROL_CAPS);
    // nor do they for one who can't act: it does not know of power control
    expect_no_place_with(press, CAP(CONTROL_ONLY));
    for (unsigned int i = 0; i < MAX_CLIENTS; i++) {
        actors[i] = control_connect_with(press);
        expect_told(watchers[i], SPICE_LINK_ERR_REPLACED);
        for (unsigned int j = i + 1; j < MAX_CLIENTS; j++) {
            expect_nothing(watchers[j]);
        }
        reset_round(actors[i], i);
    }
    expect_no_place_with(look, CONTROL_CAPS);
    // those who may act stay
    expect_no_place_with(press, CONTROL_CAPS);
    for (unsigned int i = 0; i < MAX_CLIENTS; i++) {
        reset_round(actors[i], i);
    }
    expect_service(viewer);

    // what counts is what the interface says, now
    only_power_ticket = false;
    spice_server_power_update_allowed(&power);
    expect_no_place_with(look, CONTROL_CAPS);
    g_assert_cmpint(spice_server_set_power_ticket(server, "other", 0, 0, 0), ==, 0);
    only_power_ticket = true;
    spice_server_power_update_allowed(&power);
    expect_no_place_with("other", CONTROL_CAPS);
    client_leave(viewer);
    for (auto client: actors) {
        client_leave(client);
    }
    teardown();
}

/* who was told that it may not act any more, or never could, makes room as well */
static void test_makes_room_rights()
{
    Client *clients[3];

    setup();
    spice_server_set_max_control_clients(server, G_N_ELEMENTS(clients));
    g_assert_cmpint(spice_server_set_power_ticket(server, "press", 0, 0, 0), ==, 0);
    clients[0] = control_connect_with("press");
    clients[1] = control_connect();
    // it knows nothing of power control
    clients[2] = client_link(CAP(CONTROL_ONLY), 0);
    expect_init(clients[2]);
    Client *actor = control_connect();
    expect_told(clients[2], SPICE_LINK_ERR_REPLACED);
    expect_no_place_with("press", CONTROL_CAPS);

    // what is being carried out for it goes on
    client_send(clients[1], SPICE_MSGC_MAIN_POWER_RESET, 2);
    pump();
    g_assert_nonnull(request);
    only_power_ticket = true;
    spice_server_power_update_allowed(&power);
    expect_state(clients[1], SPICE_POWER_STATE_ON);
    expect_state(actor, SPICE_POWER_STATE_ON);
    clients[2] = control_connect_with("press");
    expect_told(clients[1], SPICE_LINK_ERR_REPLACED);
    complete(SPICE_POWER_RESULT_OK);

    // there are not more than before, nor fewer, if it's more than there may be
    spice_server_set_max_control_clients(server, 1);
    clients[1] = control_connect_with("press");
    expect_told(actor, SPICE_LINK_ERR_REPLACED);
    expect_no_place_with("press", CONTROL_CAPS);
    // power control has gone while one links
    actor = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, CONTROL_CAPS, 0);
    g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
    expect_warning("*control clients already*");
    client_write_u32(actor, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(actor, "press", sizeof("press"));
    g_assert_cmpuint(client_read_u32(actor), ==, SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
    client_leave(actor);
    for (auto client: clients) {
        expect_state(client, SPICE_POWER_STATE_UNKNOWN);
        expect_nothing(client);
        client_leave(client);
    }
    teardown();
}

/* however many clients do what they must not, they don't fill the log */
static void test_warnings()
{
    const unsigned int max_warnings = 10;

    setup();
    spice_server_set_max_control_clients(server, 1);
    for (unsigned int i = 0; i < 5 * max_warnings; i++) {
        Client *client = control_connect();
        Client *other = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0, CONTROL_CAPS, 0);

        if (i < max_warnings / 2) {
            expect_warning("*there are 1 control clients already*");
        }
        client_write_u32(other, SPICE_COMMON_CAP_AUTH_SPICE);
        client_send_ticket(other, "", 1);
        g_assert_cmpuint(client_read_u32(other), ==, SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
        client_leave(other);
        if (i < max_warnings / 2 - 1) {
            expect_warning("*message type 106 from a control client");
        } else if (i < max_warnings / 2) {
            expect_warning("*message type 106 from a control client; *for a minute*");
        }
        client_send(client, SPICE_MSGC_MAIN_AGENT_START, 1);
        expect_disconnect(client);
        client_leave(client);
        g_test_assert_expected_messages();
    }
    teardown();
}

/* returns how many there were */
static unsigned int take_results(Client *client)
{
    unsigned int n_results = 0;
    uint16_t type;

    client_receive(client);
    g_assert_false(client->eof);
    for (GBytes *body; (body = client_take_message(client, &type)) != nullptr; n_results++) {
        g_assert_cmpuint(type, ==, SPICE_MSG_MAIN_POWER_RESULT);
        g_bytes_unref(body);
    }
    return n_results;
}

/* one that sends without end, and one that reads nothing of what it gets */
static void test_flood()
{
    setup();
    complete_at_once = true;
    Client *viewer = viewer_connect();
    Client *other = control_connect();
    Client *client = control_connect();
    unsigned int n_results = 0;
    for (unsigned int i = 0; i < 1000; i++) {
        client_send(client, SPICE_MSGC_MAIN_POWER_RESET, i);
        n_results += take_results(client);
        if (i % 100 == 0) {
            expect_service(viewer);
            expect_nothing(other);
        }
    }
    // the last one might have to wait
    while (n_results < 1000) {
        n_results += take_results(client);
        g_usleep(1000);
    }
    g_assert_cmpuint(n_results, ==, 1000);
    expect_nothing(client);
    client_leave(client);

    const uint16_t types[] = { SPICE_MSGC_MAIN_POWER_RESET, SPICE_MSGC_MAIN_ATTACH_CHANNELS };
    for (uint16_t type: types) {
        const unsigned int before = n_disconnected;

        client = control_connect_flags(CLIENT_SMALL_BUFFER);
        expect_warning("*control client does not read what it is sent*");
        while (n_disconnected == before) {
            SpiceMiniDataHeader header = { GUINT16_TO_LE(type), GUINT32_TO_LE(4) };
            uint8_t message[sizeof(header) + 4] = { 0 };

            memcpy(message, &header, sizeof(header));
            if (write(client->fd, message, sizeof(message)) == -1) {
                break;
            }
            pump();
        }
        g_test_assert_expected_messages();
        client_leave(client);
        expect_service(viewer);
        expect_nothing(other);
    }
    complete_at_once = false;
    reset_round(other, 1);
    client_leave(viewer);
    client_leave(other);
    teardown();
}

/* it goes, and the server has not seen that yet */
static void client_vanish(Client *client)
{
    close(client->fd);
    g_byte_array_free(client->input, TRUE);
    g_free(client);
}

/* the server finds out that a client has gone when it has something to say */
static void test_vanished()
{
    Client *clients[3];

    setup();
    // as soon as it is let in
    Client *client = client_start_link(server, 0, SPICE_CHANNEL_MAIN, 0,
                                       CONTROL_CAPS | CAP(NAME_AND_UUID), 0);
    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
    client_send_ticket(client, "", 1);
    client_vanish(client);
    pump();

    for (unsigned int what = 0; what < 7; what++) {
        g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
        for (auto &one: clients) {
            one = control_connect();
        }
        Client *viewer = viewer_connect();
        client_send(clients[1], SPICE_MSGC_MAIN_POWER_RESET, what);
        pump();
        g_assert_nonnull(request);
        for (auto one: clients) {
            client_vanish(one);
        }
        switch (what) {
        case 0:
            spice_server_set_power_ticket(server, "secret", 0, 0, 1);
            break;
        case 1:
            expect_warning("*disconnecting");
            spice_server_set_ticket(server, "secret", 0, 0, 0);
            break;
        case 2:
            spice_server_migrate_connect(server, "target", 5901, -1, nullptr);
            spice_server_migrate_switch(server);
            break;
        case 3:
            client_free(viewer);
            viewer = nullptr;
            spice_server_migrate_connect(server, "target", 5901, -1, nullptr);
            spice_server_migrate_end(server, TRUE);
            break;
        case 4:
            spice_server_power_set_state(&power, SPICE_POWER_STATE_OFF, 0);
            spice_server_power_set_state(&power, SPICE_POWER_STATE_ON, ALL_ACTIONS);
            break;
        case 5:
            g_assert_cmpint(spice_server_remove_interface(&power.base), ==, 0);
            add_power();
            break;
        case 6:
            g_assert_cmpint(spice_server_power_is_unsent(&power), ==, 0);
            break;
        }
        complete(SPICE_POWER_RESULT_OK);
        g_test_assert_expected_messages();
        pump();
        if (viewer) {
            client_receive(viewer);
            client_free(viewer);
        }
    }
    teardown();

    // and when the server ends
    setup();
    for (auto &one: clients) {
        one = control_connect();
    }
    for (auto one: clients) {
        client_vanish(one);
    }
    teardown();
}

static void expect_told(Client *client, uint32_t reason)
{
    size_t size;
    auto body = static_cast<uint32_t *>(expect_message(client, SPICE_MSG_DISCONNECTING, &size));

    g_assert_cmpuint(size, ==, 12);
    g_assert_cmpuint(GUINT32_FROM_LE(body[2]), ==, reason);
    g_free(body);
    expect_disconnect(client);
    client_leave(client);
}

/* what a ticket does to those who are connected */
static void test_tickets()
{
    setup();
    // from now on one is needed
    Client *client = control_connect();
    g_assert_cmpint(spice_server_set_ticket(server, "", 0, 0, 0), ==, 0);
    expect_told(client, SPICE_LINK_ERR_PERMISSION_DENIED);

    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    client = control_connect();
    Client *viewer = viewer_connect();
    g_assert_cmpint(spice_server_set_ticket(server, "", 0, 0, 1), ==, 0);
    expect_told(client, SPICE_LINK_ERR_PERMISSION_DENIED);
    expect_told(viewer, SPICE_LINK_ERR_PERMISSION_DENIED);

    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    client = control_connect();
    g_assert_cmpint(spice_server_set_power_ticket(server, "secret", 0, 0, 1), ==, 0);
    expect_told(client, SPICE_LINK_ERR_PERMISSION_DENIED);

    // what was sent before it was thrown out is not begun
    client = control_connect();
    client_send(client, SPICE_MSGC_MAIN_POWER_RESET, 1);
    // it's received in this one, and passed on in a later one
    g_assert_true(g_main_context_iteration(basic_event_loop_get_context(), FALSE));
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpint(spice_server_set_power_ticket(server, "secret", 0, 0, 1), ==, 0);
    pump();
    g_assert_cmpuint(n_requests, ==, 0);
    g_assert_cmpuint(n_refused, ==, 1);
    expect_told(client, SPICE_LINK_ERR_PERMISSION_DENIED);

    // and nobody who only watches keeps a manager from setting one
    client = control_connect();
    g_assert_cmpint(spice_server_set_power_ticket(server, "", 0, 1, 0), ==, 0);
    expect_nothing(client);
    viewer = viewer_connect();
    g_assert_cmpint(spice_server_set_power_ticket(server, "", 0, 1, 0), ==, -1);
    client_leave(viewer);
    client_leave(client);
    teardown();
}

#if HAVE_SASL
/* who it is is known, and what it sends and gets goes through SASL */
static void test_sasl()
{
    setup();
    g_assert_cmpint(spice_server_set_sasl(server, 1), ==, 0);
    test_sasl_username = "tux@EXAMPLE";
    Client *clients[2];
    for (auto &client: clients) {
        expect_warning("*not initialising RSA key");
        client = control_connect_flags(CLIENT_SASL);
    }
    client_send(clients[0], SPICE_MSGC_MAIN_POWER_RESET, 1);
    pump();
    g_assert_nonnull(request);
    g_assert_cmpstr(request->client->sasl_username, ==, "tux@EXAMPLE");
    g_assert_cmpuint(request->client->ticket, ==, SPICE_TICKET_NONE);
    g_assert_cmphex(request->client->channel->flags & SPICE_CHANNEL_EVENT_FLAG_CONTROL_ONLY,
                    !=, 0);
    for (unsigned int i = 0; i < 500; i++) {
        client_send(clients[1], SPICE_MSGC_MAIN_POWER_OFF, i);
        expect_result(clients[1], i, SPICE_POWER_RESULT_BUSY);
    }
    complete(SPICE_POWER_RESULT_OK);
    expect_result(clients[0], 1, SPICE_POWER_RESULT_OK);
    expect_warning("*message type 106 from a control client");
    client_send(clients[1], SPICE_MSGC_MAIN_AGENT_START, 1);
    expect_disconnect(clients[1]);
    reset_round(clients[0], 2);
    for (auto client: clients) {
        client_free(client);
    }

    // if there is no place, who it is that comes counts
    only_user = "ann@EXAMPLE";
    spice_server_set_max_control_clients(server, G_N_ELEMENTS(clients));
    for (auto &client: clients) {
        expect_warning("*not initialising RSA key");
        client = control_connect_flags(CLIENT_SASL);
    }
    test_sasl_username = only_user;
    expect_warning("*not initialising RSA key");
    Client *ann = control_connect_flags(CLIENT_SASL);
    expect_told(clients[0], SPICE_LINK_ERR_REPLACED);
    expect_nothing(clients[1]);
    reset_round(ann, 3);
    client_free(ann);
    client_free(clients[1]);
    test_sasl_username = nullptr;
    teardown();
}
#endif

/* whose leaving ends the server */
static void test_exit_on_disconnect_subprocess()
{
    setup();
    spice_server_set_exit_on_disconnect(server, TRUE);
    Client *viewer = viewer_connect();
    Client *client = control_connect();
    client_leave(client);
    client = control_connect();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*");
    client_send(client, SPICE_MSGC_MAIN_AGENT_TOKEN, 0);
    expect_disconnect(client);
    client_leave(client);
    expect_service(viewer);
    printf("still here\n");
    fflush(stdout);
    client_leave(viewer);
    // the viewer's
    printf("not any more\n");
    _exit(1);
}

static void test_exit_on_disconnect()
{
    g_test_trap_subprocess("/server/control/exit-on-disconnect/subprocess", 0,
                           (GTestSubprocessFlags) 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout("*still here*");
    g_test_trap_assert_stdout_unmatched("*not any more*");
}

static void expect_string(const uint8_t *body, size_t body_size, uint32_t size, uint32_t offset,
                          const char *expected)
{
    size = GUINT32_FROM_LE(size);
    offset = GUINT32_FROM_LE(offset);
    if (!expected) {
        g_assert_cmpuint(size, ==, 0);
        return;
    }
    g_assert_cmpuint(offset, >=, sizeof(SwitchHostBody));
    g_assert_cmpuint(offset, <=, body_size);
    g_assert_cmpuint(size, <=, body_size - offset);
    g_assert_cmpmem(body + offset, size, expected, strlen(expected) + 1);
}

static void expect_switch(Client *client, const char *host, const char *subject)
{
    size_t size;
    auto body = static_cast<uint8_t *>(
        expect_message(client, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &size));
    auto header = reinterpret_cast<SwitchHostBody *>(body);

    g_assert_cmpuint(size, >=, sizeof(*header));
    g_assert_cmpuint(GUINT16_FROM_LE(header->port), ==, 5901);
    expect_string(body, size, header->host_size, header->host_offset, host);
    expect_string(body, size, header->cert_subject_size, header->cert_subject_offset, subject);
    g_free(body);
}

static void migrate_to(const char *host, const char *subject)
{
    g_assert_cmpint(spice_server_migrate_connect(server, host, 5901, -1, subject), ==, 0);
    g_assert_cmpint(spice_server_migrate_start(server), ==, 0);
}

/* When the machine has gone somewhere else they follow. */
static void test_migration()
{
    size_t size;

    // no viewer; one comes while it moves
    setup();
    Client *first = control_connect();
    migrate_to("target", "CN=x");
    expect_nothing(first);
    Client *second = control_connect();
    reset_round(second, 1);
    client_send(second, SPICE_MSGC_MAIN_POWER_OFF, 2);
    pump();
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    expect_switch(first, "target", "CN=x");
    expect_switch(second, "target", "CN=x");
    // nothing comes after that
    spice_server_power_set_state(&power, SPICE_POWER_STATE_OFF, 0);
    complete(SPICE_POWER_RESULT_OK);
    expect_nothing(first);
    expect_nothing(second);
    client_leave(first);
    client_leave(second);
    spice_server_power_set_state(&power, SPICE_POWER_STATE_ON, 0);

    // one that failed, and one to a file, of which nobody told where to
    first = control_connect();
    migrate_to("target", nullptr);
    g_assert_cmpint(spice_server_migrate_end(server, FALSE), ==, 0);
    expect_nothing(first);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    expect_nothing(first);
    reset_round(first, 3);

    // beside a viewer, which moves on its own
    Client *viewer = client_link(CAP(SEMI_SEAMLESS_MIGRATE), 0);
    expect_init(viewer);
    migrate_to("target", nullptr);
    g_free(expect_message(viewer, SPICE_MSG_MAIN_MIGRATE_BEGIN, &size));
    expect_nothing(first);
    client_send_body(viewer, SPICE_MSGC_MAIN_MIGRATE_CONNECTED, nullptr, 0);
    pump();
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    g_free(expect_message(viewer, SPICE_MSG_MAIN_MIGRATE_END, &size));
    expect_switch(first, "target", nullptr);
    client_leave(viewer);
    client_leave(first);
    teardown();
}

/* to a server that the embedder chooses */
static void test_switch_host()
{
    size_t size;

    setup();
    g_assert_cmpint(spice_server_migrate_switch(server), ==, 0);
    // with nobody to tell; who comes later is not sent there when the machine is saved
    g_assert_cmpint(spice_server_migrate_connect(server, "old", 5901, -1, nullptr), ==, 0);
    g_assert_cmpint(spice_server_migrate_switch(server), ==, 0);
    Client *client = control_connect();
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    expect_nothing(client);
    expect_warning("*without migrate_info*");
    g_assert_cmpint(spice_server_migrate_switch(server), ==, 0);
    expect_nothing(client);
    for (unsigned int with_viewer = 0; with_viewer < 2; with_viewer++) {
        Client *viewer = with_viewer ? viewer_connect() : nullptr;

        g_assert_cmpint(spice_server_migrate_connect(server, "target", 5901, -1, nullptr), ==, 0);
        g_assert_cmpint(spice_server_migrate_switch(server), ==, 0);
        expect_switch(client, "target", nullptr);
        client_leave(client);
        client = control_connect();
        if (viewer) {
            g_free(expect_message(viewer, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &size));
            client_leave(viewer);
        }
    }
    client_leave(client);
    teardown();
}

/* who has been told to go, and does not, is disconnected */
static void test_switched_stays()
{
    setup();
    Client *client = control_connect();
    Client *other = control_connect();
    migrate_to("target", nullptr);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    expect_switch(client, "target", nullptr);
    expect_switch(other, "target", nullptr);
    client_leave(other);
    expect_nothing(client);
    // told once more, it gets no more time
    g_assert_cmpuint(long_timers->len, ==, 1);
    g_assert_cmpint(spice_server_migrate_connect(server, "other", 5901, -1, nullptr), ==, 0);
    g_assert_cmpint(spice_server_migrate_switch(server), ==, 0);
    expect_switch(client, "other", nullptr);
    g_assert_cmpuint(long_timers->len, ==, 1);
    other = control_connect();
    long_time_passes();
    expect_disconnect(client);
    client_leave(client);
    reset_round(other, 1);

    // if somebody wants its place it is disconnected at once, and told nothing after that
    spice_server_set_max_control_clients(server, 1);
    migrate_to("target", nullptr);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    expect_switch(other, "target", nullptr);
    client = control_connect();
    expect_disconnect(other);
    client_leave(other);

    // likewise by a ticket, and when the server ends
    migrate_to("target", nullptr);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    expect_switch(client, "target", nullptr);
    g_assert_cmpint(spice_server_set_power_ticket(server, "press", 0, 0, 1), ==, 0);
    expect_disconnect(client);
    client_leave(client);
    client = control_connect();
    migrate_to("target", nullptr);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    expect_switch(client, "target", nullptr);
    teardown();
    client_vanish(client);
}

/* a server that ends with clients, one of which waits for a result */
static void test_destroy()
{
    Client *clients[3];

    setup();
    for (auto &client: clients) {
        client = control_connect();
    }
    client_send(clients[1], SPICE_MSGC_MAIN_POWER_RESET, 5);
    pump();
    SpicePowerRequest *outstanding = request;
    g_assert_nonnull(outstanding);
    request = nullptr;
    spice_server_destroy(server);
    expect_state(clients[0], SPICE_POWER_STATE_UNKNOWN);
    expect_state(clients[1], SPICE_POWER_STATE_UNKNOWN);
    expect_result(clients[1], 5, SPICE_POWER_RESULT_FAILED);
    for (auto client: clients) {
        client_receive(client);
        g_assert_true(client->eof);
        client_leave(client);
    }
    spice_server_power_complete(outstanding, SPICE_POWER_RESULT_OK, nullptr);
    g_ptr_array_free(long_timers, TRUE);
    basic_event_loop_destroy();
    alarm(0);
}

/* What a viewer is sent while others do as they like. */

static VmcEmu *agent;
static GPtrArray *others;

static void others_do_something(unsigned int step)
{
    if (!others) {
        return;
    }
    while (others->len < MAX_CLIENTS) {
        g_ptr_array_add(others, control_connect_flags(others->len % 2 ? CLIENT_FULL_HEADER : 0));
    }
    for (guint i = 0; i < others->len; i++) {
        auto client = static_cast<Client *>(others->pdata[i]);

        switch ((i + step) % 4) {
        case 0:
            // leaves while it waits for a result
            client_receive(client);
            client_send(client, SPICE_MSGC_MAIN_POWER_RESET, step);
            client_free(client);
            g_ptr_array_remove_index(others, i--);
            break;
        case 1:
            // has to wait
            for (unsigned int n = 0; n < 20; n++) {
                client_send(client, SPICE_MSGC_MAIN_POWER_PAUSE, n);
            }
            client_send_body(client, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
            break;
        case 2:
            // does not read
            break;
        case 3:
            client_receive(client);
            g_byte_array_set_size(client->input, 0);
            break;
        }
    }
    pump();
}

static void record(Client *viewer, GString *log, unsigned int step)
{
    uint16_t type;
    GBytes *body;

    others_do_something(step);
    while ((body = client_get_message(viewer, &type)) != nullptr) {
        gsize size;
        auto data = static_cast<const uint8_t *>(g_bytes_get_data(body, &size));

        g_string_append_printf(log, "%u: %u:", step, type);
        for (gsize i = 0; i < size; i++) {
            // session id and time are never the same
            const bool differs = (type == SPICE_MSG_MAIN_INIT && (i < 4 || (i >= 24 && i < 28))) ||
                type == SPICE_MSG_MAIN_MULTI_MEDIA_TIME;
            g_string_append_printf(log, differs ? " .." : " %02x", data[i]);
        }
        g_string_append_c(log, '\n');
        g_bytes_unref(body);
    }
    g_assert_false(viewer->eof);
    g_assert_cmpuint(viewer->input->len, ==, 0);
}

static void agent_says(uint8_t n)
{
    const VDIChunkHeader chunk = {
        GUINT32_TO_LE(VDP_CLIENT_PORT), GUINT32_TO_LE(sizeof(VDAgentMessage))
    };
    const VDAgentMessage message = { GUINT32_TO_LE(VD_AGENT_PROTOCOL), n, 0, 0 };

    vmc_emu_reset(agent);
    memcpy(agent->message, &chunk, sizeof(chunk));
    memcpy(agent->message + sizeof(chunk), &message, sizeof(message));
    vmc_emu_add_read_till(agent, agent->message + sizeof(chunk) + sizeof(message));
    spice_server_char_device_wakeup(&agent->instance);
}

/* returns what the viewer was sent, and the agent */
static GString *record_session(bool with_others)
{
    GString *log = g_string_new(nullptr);
    unsigned int step = 0;

    setup();
    complete_at_once = true;
    others = with_others ? g_ptr_array_new() : nullptr;
    agent = vmc_emu_new("vdagent", nullptr);
    g_assert_cmpint(spice_server_add_interface(server, &agent->instance.base), ==, 0);
    others_do_something(step);
    Client *viewer = client_link(CAP(SEMI_SEAMLESS_MIGRATE) | CAP(NAME_AND_UUID) |
                                 CAP(AGENT_CONNECTED_TOKENS) | CAP(SEAMLESS_MIGRATE) |
                                 CAP(POWER_CONTROL), 0);
    record(viewer, log, ++step);
    client_send_body(viewer, SPICE_MSGC_MAIN_ATTACH_CHANNELS, nullptr, 0);
    record(viewer, log, ++step);
    client_send(viewer, SPICE_MSGC_MAIN_AGENT_START, 10);
    record(viewer, log, ++step);
    for (uint8_t n = 0; n < 5; n++) {
        agent_says(n);
        record(viewer, log, ++step);
    }
    // a message for the agent in two pieces, and others in between
    const VDAgentMessage message = { GUINT32_TO_LE(VD_AGENT_PROTOCOL),
                                     GUINT32_TO_LE(VD_AGENT_CLIPBOARD), 0, GUINT32_TO_LE(4) };
    client_send_header(viewer, SPICE_MSGC_MAIN_AGENT_DATA, sizeof(message) + 4, 0);
    client_write(viewer, &message, sizeof(message));
    record(viewer, log, ++step);
    client_write(viewer, "abcd", 4);
    record(viewer, log, ++step);
    client_send(viewer, SPICE_MSGC_MAIN_POWER_OFF, 1);
    record(viewer, log, ++step);
    // a migration begins
    migrate_to("target", nullptr);
    record(viewer, log, ++step);
    client_send_body(viewer, SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS, nullptr, 0);
    record(viewer, log, ++step);
    g_assert_cmpint(spice_server_migrate_end(server, TRUE), ==, 0);
    if (others) {
        // they leave
        for (guint i = 0; i < others->len; i++) {
            client_leave(static_cast<Client *>(others->pdata[i]));
        }
        g_ptr_array_set_size(others, 0);
    }
    record(viewer, log, ++step);
    client_send_body(viewer, SPICE_MSGC_MIGRATE_FLUSH_MARK, nullptr, 0);
    record(viewer, log, ++step);
    client_leave(viewer);
    g_string_append(log, "agent:");
    for (unsigned int i = 0; i < agent->write_pos; i++) {
        g_string_append_printf(log, " %02x", agent->write_buf[i]);
    }

    if (others) {
        for (guint i = 0; i < others->len; i++) {
            client_leave(static_cast<Client *>(others->pdata[i]));
        }
        g_ptr_array_free(others, TRUE);
        others = nullptr;
        g_assert_cmpuint(n_requests, >, 10);
    }
    g_assert_cmpint(spice_server_remove_interface(&agent->instance.base), ==, 0);
    vmc_emu_destroy(agent);
    teardown();
    return log;
}

static void test_viewer_undisturbed()
{
    GString *alone = record_session(false);
    GString *beside_others = record_session(true);

    g_assert_cmpstr(beside_others->str, ==, alone->str);
    // there was something to compare
    g_assert_nonnull(strstr(alone->str, "15: "));
    g_string_free(alone, TRUE);
    g_string_free(beside_others, TRUE);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/control/capability", test_capability);
    g_test_add_func("/server/control/not-offered", test_not_offered);
    g_test_add_func("/server/control/greeting", test_greeting);
    g_test_add_func("/server/control/places", test_places);
    g_test_add_func("/server/control/other-messages", test_other_messages);
    g_test_add_func("/server/control/other-channel", test_other_channel);
    g_test_add_func("/server/control/limit", test_limit);
    g_test_add_func("/server/control/makes-room", test_makes_room);
    g_test_add_func("/server/control/makes-room-rights", test_makes_room_rights);
    g_test_add_func("/server/control/warnings", test_warnings);
    g_test_add_func("/server/control/flood", test_flood);
    g_test_add_func("/server/control/vanished", test_vanished);
    g_test_add_func("/server/control/tickets", test_tickets);
#if HAVE_SASL
    g_test_add_func("/server/control/sasl", test_sasl);
#endif
    g_test_add_func("/server/control/exit-on-disconnect", test_exit_on_disconnect);
    g_test_add_func("/server/control/exit-on-disconnect/subprocess",
                    test_exit_on_disconnect_subprocess);
    g_test_add_func("/server/control/migration", test_migration);
    g_test_add_func("/server/control/switch-host", test_switch_host);
    g_test_add_func("/server/control/switched-stays", test_switched_stays);
    g_test_add_func("/server/control/destroy", test_destroy);
    g_test_add_func("/server/control/viewer-undisturbed", test_viewer_undisturbed);

    return g_test_run();
}
