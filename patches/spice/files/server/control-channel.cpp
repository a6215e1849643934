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
#include <config.h>

#include <common/generated_server_marshallers.h>

#include "control-channel.h"
#include "main-channel-client.h"
#include "main-dispatcher.h"
#include "power.h"
#include "red-client.h"
#include "reds.h"

// a request is 4 bytes, and what may be added to it
#define RECEIVE_BUF_SIZE 1024

/* A client that goes on with sending while so many messages wait until it reads is
 * disconnected. */
#define MAX_UNREAD_MESSAGES 100

/* how long the network may be silent, in ms */
#define CONNECTIVITY_TIMEOUT (MSEC_PER_SEC * 30)

/* how long a client may take to leave that has been told where to go, in ms */
#define SWITCH_HOST_TIMEOUT (MSEC_PER_SEC * 30)

/* Clients can do any number of things to be warned of: so many are told in a minute. */
#define MAX_WARNINGS 10

enum {
    // behind those of the main channel, two of which power control uses
    RED_PIPE_ITEM_TYPE_CONTROL_MESSAGE = RED_PIPE_ITEM_TYPE_MAIN_POWER_RESULT + 1,
};

/* a message as it is on the wire, without the header */
struct RedControlMessagePipeItem: public RedPipeItemNum<RED_PIPE_ITEM_TYPE_CONTROL_MESSAGE>
{
    RedControlMessagePipeItem(uint16_t init_type, SpiceMarshaller *m):
        type(init_type)
    {
        int allocated;

        spice_marshaller_flush(m); // there can be pointers
        uint8_t *data = spice_marshaller_linearize(m, 0, &size, &allocated);

        body = allocated ? data : static_cast<uint8_t *>(spice_memdup(data, size));
    }

    ~RedControlMessagePipeItem() override
    {
        free(body);
    }

    const uint16_t type;
    uint8_t *body;
    size_t size;
};

class ControlChannelClient final: public RedChannelClient
{
public:
    ControlChannelClient(ControlChannel *channel, RedClient *client, RedStream *stream,
                         RedChannelCapabilities *caps, uint32_t init_connection_id):
        RedChannelClient(channel, client, stream, caps),
        connection_id(init_connection_id)
    {
    }

    void start(uint32_t server_caps, uint32_t ticket, const char *name, const uint8_t *uuid);
    void switch_host(const RedsMigSpice *target);
    // Disconnect the client, and tell it the reason unless that is SPICE_LINK_ERR_OK.
    void disconnect_because(uint32_t reason);
    bool may_act() const { return power && power->may_act(); }
    ControlChannel *get_channel();

    const uint32_t connection_id;

protected:
    uint8_t *alloc_recv_buf(uint16_t type, uint32_t size) override;
    void release_recv_buf(uint16_t type, uint32_t size, uint8_t *msg) override;
    bool handle_message(uint16_t type, uint32_t size, void *message) override;
    void send_item(RedPipeItem *item) override;
    void on_disconnect() override;

private:
    void push_init();
    void push_name(const char *name);
    void push_uuid(const uint8_t *uuid);
    void push_no_channels();
    // takes the marshaller
    void push_message(uint16_t type, SpiceMarshaller *m);
    static void switch_host_timeout(ControlChannelClient *client);

    // runs if it has been told where to go
    SpiceTimer *switch_host_timer = nullptr;
    // set as soon as INIT was sent to it
    red::shared_ptr<RedPowerClient> power;
    uint8_t recv_buf[RECEIVE_BUF_SIZE];
};

void ControlChannelClient::start(uint32_t server_caps, uint32_t ticket, const char *name,
                                 const uint8_t *uuid)
{
    push_init();
    if (!is_connected()) {
        return;
    }
    power = red::make_shared<RedPowerClient>(reds_get_power(get_channel()->get_server()), this,
                                             server_caps, ticket);
    power->push_state();
    if (test_remote_cap(SPICE_MAIN_CAP_NAME_AND_UUID)) {
        if (name) {
            push_name(name);
        }
        if (uuid) {
            push_uuid(uuid);
        }
    }
    if (red_stream_get_family(get_stream()) != AF_UNIX) {
        start_connectivity_monitoring(CONNECTIVITY_TIMEOUT);
    }
}

void ControlChannelClient::push_message(uint16_t type, SpiceMarshaller *m)
{
    pipe_add_push(red::make_shared<RedControlMessagePipeItem>(type, m));
    spice_marshaller_destroy(m);
}

/* what a control client has no part in is not there */
void ControlChannelClient::push_init()
{
    SpiceMarshaller *m = spice_marshaller_new();
    SpiceMsgMainInit init = {
        .session_id = connection_id,
        .display_channels_hint = 0,
        .supported_mouse_modes = SPICE_MOUSE_MODE_SERVER,
        .current_mouse_mode = SPICE_MOUSE_MODE_SERVER,
        .agent_connected = 0,
        .agent_tokens = 0,
        .multi_media_time = reds_get_mm_time(),
        .ram_hint = 0,
    };

    spice_marshall_msg_main_init(m, &init);
    push_message(SPICE_MSG_MAIN_INIT, m);
}

void ControlChannelClient::push_name(const char *name)
{
    const uint32_t len = strlen(name) + 1;
    SpiceMarshaller *m = spice_marshaller_new();
    auto msg = static_cast<SpiceMsgMainName *>(g_malloc(sizeof(SpiceMsgMainName) + len));

    msg->name_len = len;
    memcpy(msg->name, name, len);
    spice_marshall_msg_main_name(m, msg);
    push_message(SPICE_MSG_MAIN_NAME, m);
    g_free(msg);
}

void ControlChannelClient::push_uuid(const uint8_t *uuid)
{
    SpiceMarshaller *m = spice_marshaller_new();
    SpiceMsgMainUuid msg;

    memcpy(msg.uuid, uuid, sizeof(msg.uuid));
    spice_marshall_msg_main_uuid(m, &msg);
    push_message(SPICE_MSG_MAIN_UUID, m);
}

void ControlChannelClient::push_no_channels()
{
    SpiceMarshaller *m = spice_marshaller_new();
    SpiceMsgChannels msg = { .num_of_channels = 0 };

    spice_marshall_msg_main_channels_list(m, &msg);
    push_message(SPICE_MSG_MAIN_CHANNELS_LIST, m);
}

void ControlChannelClient::switch_host(const RedsMigSpice *target)
{
    SpiceMarshaller *m = spice_marshaller_new();
    SpiceMsgMainMigrationSwitchHost msg = {
        .port = static_cast<uint16_t>(target->port),
        .sport = static_cast<uint16_t>(target->sport),
        .host_size = static_cast<uint32_t>(strlen(target->host)) + 1,
        .host_data = reinterpret_cast<uint8_t *>(target->host),
    };

    if (target->cert_subject) {
        msg.cert_subject_size = strlen(target->cert_subject) + 1;
        msg.cert_subject_data = reinterpret_cast<uint8_t *>(target->cert_subject);
    }
    spice_marshall_msg_main_migrate_switch_host(m, &msg);
    push_message(SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, m);
    power->migrate();
    if (is_connected() && !switch_host_timer) {
        switch_host_timer = reds_core_timer_add(get_channel()->get_server(), switch_host_timeout,
                                                this);
        red_timer_start(switch_host_timer, SWITCH_HOST_TIMEOUT);
    }
}

/* It does not go, and would keep its place for ever. */
void ControlChannelClient::switch_host_timeout(ControlChannelClient *client)
{
    client->disconnect_because(SPICE_LINK_ERR_OK);
}

void ControlChannelClient::disconnect_because(uint32_t reason)
{
    // it's disconnected already if it can't be told the reason
    red::shared_ptr<RedChannelClient> hold(this);

    if (reason != SPICE_LINK_ERR_OK && !power->is_migrated()) {
        SpiceMarshaller *m = spice_marshaller_new();
        SpiceMsgDisconnect msg = {
            .time_stamp = spice_get_monotonic_time_ns(),
            .reason = reason,
        };

        spice_marshall_msg_disconnecting(m, &msg);
        push_message(SPICE_MSG_DISCONNECTING, m);
    }
    power->revoke();
    disconnect();
}

ControlChannel *ControlChannelClient::get_channel()
{
    return static_cast<ControlChannel *>(RedChannelClient::get_channel());
}

uint8_t *ControlChannelClient::alloc_recv_buf(uint16_t type, uint32_t size)
{
    // if it's too large the caller logs that and closes the connection
    return size > sizeof(recv_buf) ? nullptr : recv_buf;
}

void ControlChannelClient::release_recv_buf(uint16_t type, uint32_t size, uint8_t *msg)
{
}

bool ControlChannelClient::handle_message(uint16_t type, uint32_t size, void *message)
{
    if (get_pipe_size() > MAX_UNREAD_MESSAGES) {
        get_channel()->warn("control client does not read what it is sent");
        return false;
    }

    switch (type) {
    case SPICE_MSGC_MAIN_POWER_RESET:
    case SPICE_MSGC_MAIN_POWER_OFF:
    case SPICE_MSGC_MAIN_POWER_ON:
    case SPICE_MSGC_MAIN_POWER_PAUSE:
    case SPICE_MSGC_MAIN_POWER_CONTINUE:
        power->handle_request(type, static_cast<SpiceMsgcMainPowerRequest *>(message));
        return true;
    case SPICE_MSGC_MAIN_ATTACH_CHANNELS:
        push_no_channels();
        return true;
    case SPICE_MSGC_PONG:
    case SPICE_MSGC_DISCONNECTING:
        return RedChannelClient::handle_message(type, size, message);
    default:
        break;
    }
    get_channel()->warn("message type %u from a control client", type);
    return false;
}

void ControlChannelClient::send_item(RedPipeItem *base)
{
    SpiceMarshaller *m = get_marshaller();

    switch (base->type) {
    case RED_PIPE_ITEM_TYPE_CONTROL_MESSAGE: {
        auto item = static_cast<RedControlMessagePipeItem *>(base);

        init_send_data(item->type);
        item->add_to_marshaller(m, item->body, item->size);
        break;
    }
    case RED_PIPE_ITEM_TYPE_MAIN_POWER_STATE:
        if (!power->marshall_state(m)) {
            return;
        }
        break;
    case RED_PIPE_ITEM_TYPE_MAIN_POWER_RESULT:
        power->marshall_result(m, base);
        break;
    default:
        spice_warn_if_reached();
        return;
    }
    begin_send_message();
}

void ControlChannelClient::on_disconnect()
{
    RedsState *reds = get_channel()->get_server();

    red_timer_remove(switch_host_timer);
    switch_host_timer = nullptr;
    if (power) {
        power->disconnected();
    }
    reds_get_main_dispatcher(reds)->client_disconnect(get_client());
}

ControlChannel::ControlChannel(RedsState *reds):
    RedChannel(reds, SPICE_CHANNEL_MAIN, 0)
{
}

void ControlChannel::on_connect(RedClient *client, RedStream *stream, int migration,
                                RedChannelCapabilities *caps)
{
    spice_warn_if_reached(); // link() is called in its place
}

void ControlChannel::link(RedStream *stream, uint32_t connection_id, RedChannelCapabilities *caps,
                          uint32_t server_caps, uint32_t ticket,
                          const char *name, const uint8_t *uuid)
{
    RedClient *client = red_client_new(get_server(), false);
    auto rcc = red::make_shared<ControlChannelClient>(this, client, stream, caps, connection_id);

    if (!rcc->init()) {
        client->destroy();
        return;
    }
    rcc->start(server_caps, ticket, name, uuid);
}

static ControlChannelClient *find_client(ControlChannel *channel, uint32_t connection_id)
{
    RedChannelClient *rcc;

    FOREACH_CLIENT(channel, rcc) {
        auto client = static_cast<ControlChannelClient *>(rcc);

        if (client->connection_id == connection_id) {
            return client;
        }
    }
    return nullptr;
}

bool ControlChannel::has_client_with_id(uint32_t connection_id)
{
    return find_client(this, connection_id) != nullptr;
}

bool ControlChannel::disconnect_client_with_id(uint32_t connection_id)
{
    red::shared_ptr<RedChannelClient> client(find_client(this, connection_id));

    if (!client) {
        return false;
    }
    warn("a control client opens another channel");
    client->disconnect();
    return true;
}

/* Those who may only look don't keep out somebody who may act. */
bool ControlChannel::find_place(unsigned int max, RedStream *stream, bool knows_power,
                                uint32_t server_caps, uint32_t ticket)
{
    RedChannelClient *rcc;
    ControlChannelClient *oldest = nullptr;

    if (get_n_clients() < max) {
        return true;
    }
    if (knows_power && reds_get_power(get_server())->would_allow(stream, server_caps, ticket)) {
        // the newest one is the first
        FOREACH_CLIENT(this, rcc) {
            auto client = static_cast<ControlChannelClient *>(rcc);

            if (!client->may_act()) {
                oldest = client;
            }
        }
    }
    if (!oldest) {
        warn("there are %u control clients already", max);
        return false;
    }
    oldest->disconnect_because(SPICE_LINK_ERR_REPLACED);
    return true;
}

void ControlChannel::disconnect_clients(uint32_t reason)
{
    RedChannelClient *rcc;

    FOREACH_CLIENT(this, rcc) {
        static_cast<ControlChannelClient *>(rcc)->disconnect_because(reason);
    }
}

void ControlChannel::warn(const char *format, ...)
{
    const uint64_t now = spice_get_monotonic_time_ns();
    va_list args;

    if (n_warnings > 0 && now - first_warning >= 60 * NSEC_PER_SEC) {
        n_warnings = 0;
    }
    if (n_warnings == MAX_WARNINGS) {
        return;
    }
    if (n_warnings++ == 0) {
        first_warning = now;
    }

    va_start(args, format);
    red::glib_unique_ptr<char> text(g_strdup_vprintf(format, args));
    va_end(args);
    red_channel_warning(this, "%s%s", text.get(),
                        n_warnings < MAX_WARNINGS ? "" : "; no more of this for a minute");
}

void ControlChannel::switch_host(const RedsMigSpice *target)
{
    RedChannelClient *rcc;

    FOREACH_CLIENT(this, rcc) {
        red::shared_ptr<RedChannelClient> hold_rcc(rcc);
        static_cast<ControlChannelClient *>(rcc)->switch_host(target);
    }
}
