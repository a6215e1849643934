/*
 * Instead of spice-server: servers without a socket, of which tests are the
 * clients
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <spice/enums.h>
#include <string.h>
#include <unistd.h>

#include "fake-spice.h"

guint fake_servers;

/* An interface that is there has this as its state */
static char there;

SpiceServer *spice_server_new(void)
{
    fake_servers++;
    return g_new0(SpiceServer, 1);
}

static void client_arrives(void *opaque)
{
    SpiceServer *server = opaque;
    SpiceChannelEventInfo info = { .connection_id = 1,
                                   .type = SPICE_CHANNEL_MAIN,
                                   .flags = server->flags };

    server->core->channel_event(SPICE_CHANNEL_EVENT_INITIALIZED, &info);
}

int spice_server_init(SpiceServer *server, SpiceCoreInterface *core)
{
    server->is_listening = TRUE;
    server->core = core;
    if (core) {
        server->arrival = core->timer_add(client_arrives, server);
    }
    return 0;
}

void fake_disconnect(SpiceServer *server)
{
    SpiceChannelEventInfo info = { .connection_id = 1,
                                   .type = SPICE_CHANNEL_MAIN,
                                   .flags = server->flags };

    server->core->channel_event(SPICE_CHANNEL_EVENT_DISCONNECTED, &info);
}

int spice_server_add_client_from(SpiceServer *server, int fd, int skip_auth,
                                 int is_tls, const struct sockaddr *peer,
                                 socklen_t peer_size)
{
    if (!server->fds) {
        server->fds = g_array_new(FALSE, FALSE, sizeof(fd));
    }
    g_array_append_val(server->fds, fd);
    g_assert_false(skip_auth);
    server->is_tls = is_tls;
    memset(&server->peer, 0, sizeof(server->peer));
    if (peer) {
        memcpy(&server->peer, peer, peer_size);
    }
    return 0;
}

void spice_server_destroy(SpiceServer *server)
{
    guint i;

    for (i = 0; server->fds && i < server->fds->len; i++) {
        close(g_array_index(server->fds, int, i));
    }
    g_clear_pointer(&server->fds, g_array_unref);
    g_assert_null(server->power);
    g_assert_null(server->pending);
    if (server->arrival) {
        server->core->timer_remove(server->arrival);
    }
    g_free(server->host);
    g_free(server->name);
    g_free(server->address);
    g_free(server->ticket);
    g_free(server->power_ticket);
    g_free(server->sasl_appname);
    g_free(server);
    fake_servers--;
}

void spice_server_set_name(SpiceServer *server, const char *name)
{
    server->name = g_strdup(name);
}

void spice_server_set_addr(SpiceServer *server, const char *address, int flags)
{
    server->address = g_strdup(address);
}

int spice_server_set_port(SpiceServer *server, int port)
{
    server->port = port;
    return 0;
}

int spice_server_set_tls(SpiceServer *server, int port, const char *ca_file,
                         const char *cert_file, const char *key_file,
                         const char *key_password, const char *dh_file,
                         const char *ciphers)
{
    server->has_tls = TRUE;
    server->tls_port = port;
    return 0;
}

int spice_server_reload_tls(SpiceServer *server)
{
    g_assert_true(server->has_tls);
    server->reloads++;
    return 0;
}

int spice_server_set_noauth(SpiceServer *server)
{
    return 0;
}

int spice_server_set_ticket(SpiceServer *server, const char *ticket,
                            int lifetime, int fail_if_connected,
                            int disconnect_if_connected)
{
    g_free(server->ticket);
    server->ticket = g_strdup(ticket);
    server->is_locked = !ticket;
    server->lifetime = lifetime;
    return 0;
}

int spice_server_set_power_ticket(SpiceServer *server, const char *ticket,
                                  int lifetime, int fail_if_connected,
                                  int disconnect_if_connected)
{
    g_free(server->power_ticket);
    server->power_ticket = g_strdup(ticket);
    return 0;
}

int spice_server_set_sasl(SpiceServer *server, int enabled)
{
    server->sasl = enabled;
    return 0;
}

int spice_server_set_sasl_appname(SpiceServer *server, const char *name)
{
    server->sasl_appname = g_strdup(name);
    return 0;
}

int spice_server_set_multiple_clients(SpiceServer *server, int enable)
{
    return 0;
}

void spice_server_vm_start(SpiceServer *server)
{
}

int spice_server_add_interface(SpiceServer *server, SpiceBaseInstance *base)
{
    const char *type = base->sif->type;

    g_assert_true(server->is_listening);
    if (!strcmp(type, SPICE_INTERFACE_KEYBOARD)) {
        ((SpiceKbdInstance *)base)->st = (SpiceKbdState *)&there;
    } else if (!strcmp(type, SPICE_INTERFACE_TABLET)) {
        ((SpiceTabletInstance *)base)->st = (SpiceTabletState *)&there;
    } else {
        g_assert_cmpstr(type, ==, SPICE_INTERFACE_POWER);
        g_assert_null(server->power);
        server->power = (SpicePowerInstance *)base;
        server->power->st = (SpicePowerInstanceState *)server;
    }
    return 0;
}

int spice_server_remove_interface(SpiceBaseInstance *base)
{
    const char *type = base->sif->type;

    if (!strcmp(type, SPICE_INTERFACE_KEYBOARD)) {
        ((SpiceKbdInstance *)base)->st = NULL;
    } else if (!strcmp(type, SPICE_INTERFACE_TABLET)) {
        ((SpiceTabletInstance *)base)->st = NULL;
    } else {
        SpicePowerInstance *power = (SpicePowerInstance *)base;
        SpiceServer *server = (SpiceServer *)power->st;

        g_assert_true(server->power == power);
        g_assert_null(server->pending);
        server->power = NULL;
        power->st = NULL;
    }
    return 0;
}

void spice_server_power_set_state(SpicePowerInstance *power, uint32_t state,
                                  uint32_t possible)
{
    SpiceServer *server = (SpiceServer *)power->st;

    g_assert_true(server->power == power);
    server->state = state;
    server->possible = possible;
    server->states++;
}

void spice_server_power_complete(SpicePowerRequest *request, uint32_t result,
                                 const char *message)
{
    FakeRequest *fake = (FakeRequest *)request;

    g_assert_false(fake->done);
    g_assert_true(fake->server->pending == fake);
    fake->server->pending = NULL;
    fake->done = TRUE;
    fake->result = result;
    fake->message = g_strdup(message);
    fake->state = fake->server->state;
}

int spice_server_power_is_unsent(SpicePowerInstance *power)
{
    return 0;
}

int spice_server_hand_over(SpiceServer *server, const char *host, int port,
                           int tls_port, const char *cert_subject)
{
    /* what is said to who has asked for something comes too late */
    g_assert_true(port || tls_port);
    g_free(server->host);
    server->host = g_strdup(host);
    server->host_port = port;
    server->host_tls_port = tls_port;
    server->hand_overs++;
    return 0;
}

int spice_server_hand_over_is_pending(SpiceServer *server)
{
    return 0;
}

void fake_connect(SpiceServer *server)
{
    server->core->timer_start(server->arrival, 0);
}

void spice_server_power_update_allowed(SpicePowerInstance *power)
{
    SpiceServer *server = (SpiceServer *)power->st;

    g_assert_true(server->power == power);
    server->updates++;
}

static guint32 allowed(SpiceServer *server, const SpicePowerClient *client)
{
    const SpicePowerInterface *interface =
        (const SpicePowerInterface *)server->power->base.sif;
    const char *reason = NULL;
    guint32 actions = interface->allowed(server->power, client, &reason);

    /* a person is told why */
    g_assert_true((actions == SPICE_POWER_ACTION_MASK) == !reason);
    return actions;
}

guint32 fake_allowed(SpiceServer *server, guint32 ticket)
{
    const SpicePowerClient client = { .ticket = ticket };

    return allowed(server, &client);
}

guint32 fake_allowed_to(SpiceServer *server, const char *user)
{
    const SpicePowerClient client = { .sasl_username = user };

    return allowed(server, &client);
}

FakeRequest *fake_ask(SpiceServer *server, guint32 action, guint32 id)
{
    FakeRequest *fake = g_new0(FakeRequest, 1);
    const SpicePowerInterface *interface;

    g_assert_nonnull(server->power);
    g_assert_null(server->pending);
    /* What is not configured, spice-server refuses */
    g_assert_cmphex(action & server->power->actions, ==, action);
    interface = (const SpicePowerInterface *)server->power->base.sif;
    fake->server = server;
    fake->channel.connection_id = id;
    fake->client.channel = &fake->channel;
    fake->request.action = action;
    fake->request.request_id = id;
    fake->request.client = &fake->client;
    server->pending = fake;
    interface->request(server->power, &fake->request);
    return fake;
}

void fake_refuse(SpiceServer *server, guint32 action, guint32 result,
                 const char *message)
{
    const SpicePowerInterface *interface =
        (const SpicePowerInterface *)server->power->base.sif;
    const SpiceChannelEventInfo channel = { .connection_id = 1 };
    const SpicePowerClient client = { .channel = &channel };
    const SpicePowerRequest request = { .action = action, .client = &client };

    interface->refused(server->power, &request, result, message);
}

void fake_request_free(FakeRequest *request)
{
    g_assert_true(request->done);
    g_free(request->message);
    g_free(request);
}
