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

#include <cstdlib>
#include <unistd.h>
#ifdef HAVE_LINUX_SOCKIOS_H
#include <sys/ioctl.h>
#include <linux/sockios.h> /* SIOCOUTQ */
#endif

#include <common/generated_server_marshallers.h>

#include "power.h"
#include "reds.h"

/* A client that does not wait for the result of its request is answered BUSY so
 * many times in a row, then it's disconnected. */
#define MAX_BUSY_RESULTS 17

// the protocol's limit, in bytes
#define MAX_MESSAGE_LEN 1024

static const struct {
    uint32_t action;
    uint32_t cap;
    uint16_t msg;
} power_actions[] = {
    { SPICE_POWER_ACTION_RESET, SPICE_MAIN_CAP_POWER_RESET, SPICE_MSGC_MAIN_POWER_RESET },
    { SPICE_POWER_ACTION_OFF, SPICE_MAIN_CAP_POWER_OFF, SPICE_MSGC_MAIN_POWER_OFF },
    { SPICE_POWER_ACTION_ON, SPICE_MAIN_CAP_POWER_ON, SPICE_MSGC_MAIN_POWER_ON },
    { SPICE_POWER_ACTION_PAUSE, SPICE_MAIN_CAP_POWER_PAUSE, SPICE_MSGC_MAIN_POWER_PAUSE },
    { SPICE_POWER_ACTION_CONTINUE, SPICE_MAIN_CAP_POWER_CONTINUE, SPICE_MSGC_MAIN_POWER_CONTINUE },
};

struct RedPowerRequest: public SpicePowerRequest
{
    SPICE_CXX_GLIB_ALLOCATOR

    RedPowerRequest(const red::shared_ptr<RedPower> &power, RedPowerClient *client,
                    RedStream *stream, uint32_t action, uint32_t request_id);

    // nullptr if the result was sent already
    red::shared_ptr<RedPowerClient> power_client;
    const red::shared_ptr<RedPower> power;
    // the interface has to complete this
    bool passed = false;

private:
    SpiceChannelEventInfo info;
    red::glib_unique_ptr<char> username;
};

RedPowerRequest::RedPowerRequest(const red::shared_ptr<RedPower> &init_power,
                                 RedPowerClient *init_client, RedStream *stream,
                                 uint32_t init_action, uint32_t init_request_id):
    power_client(init_client),
    power(init_power),
    info(*red_stream_get_channel_event_info(stream)),
    username(red_stream_get_sasl_username(stream))
{
    action = init_action;
    request_id = init_request_id;
    client = &info;
    sasl_username = username.get();
}

/* The marshaller has a reference to this until the last byte is written, so the
 * destruction tells that the result was sent, or that the client is gone. */
struct RedPowerResultPipeItem: public RedPipeItemNum<RED_PIPE_ITEM_TYPE_MAIN_POWER_RESULT>
{
    ~RedPowerResultPipeItem() override
    {
        if (client) {
            client->result_sent(result);
        }
        free(body);
    }

    // set if the client has to wait for this result before its next request
    red::shared_ptr<RedPowerClient> client;
    uint32_t result;
    uint8_t *body;
    size_t size;
};

/* Make a text that the protocol allows out of any string. */
static GString *get_valid_message(const char *message)
{
    GString *text = g_string_new(nullptr);
    const char *end;

    while (message && *message && text->len <= MAX_MESSAGE_LEN) {
        bool valid = g_utf8_validate(message, -1, &end);

        g_string_append_len(text, message, end - message);
        if (!valid) {
            g_string_append_unichar(text, 0xfffd); // REPLACEMENT CHARACTER
            end++;
        }
        message = end;
    }

    if (text->len > MAX_MESSAGE_LEN) {
        // cut before the character which includes the first byte that is too much
        end = g_utf8_find_prev_char(text->str, text->str + MAX_MESSAGE_LEN + 1);
        g_string_truncate(text, end - text->str);
    }
    return text;
}

/* Which actions the capabilities of a server offer. */
static uint32_t get_actions(uint32_t caps)
{
    uint32_t actions = 0;

    for (const auto &power_action: power_actions) {
        if ((caps & (1u << power_action.cap)) != 0) {
            actions |= power_action.action;
        }
    }
    return actions;
}

RedPowerClient::RedPowerClient(RedPower *init_power, MainChannelClient *init_mcc,
                               uint32_t server_caps):
    power(init_power),
    mcc(init_mcc),
    announced(init_mcc->test_remote_cap(SPICE_MAIN_CAP_POWER_CONTROL)),
    advertised(get_actions(server_caps))
{
    power->clients.push_front(red::shared_ptr<RedPowerClient>(this));
}

/* Who presses a button and leaves has pressed it: the request goes on, but
 * nobody will get the result. */
void RedPowerClient::disconnected()
{
    leave();
    mcc = nullptr;
}

/* After SPICE_MSG_MIGRATE the client expects the data of the channel and nothing
 * else, so results are dropped, as if it had left. */
void RedPowerClient::migrate()
{
    leave();
    migrated = true;
}

void RedPowerClient::leave()
{
    power->clients.remove(red::shared_ptr<RedPowerClient>(this));
    if (power->last_client == this) {
        power->last_client = nullptr;
    }
}

bool RedPowerClient::handle_request(uint16_t type, const SpiceMsgcMainPowerRequest *msg)
{
    uint32_t action = 0;

    for (const auto &power_action: power_actions) {
        if (power_action.msg == type) {
            action = power_action.action;
        }
    }

    auto request = new RedPowerRequest(power, this, mcc->get_stream(), action,
                                       msg->request_id);

    if (!pending) {
        pending = true;
        power->queue(request);
        return true;
    }

    bool too_many = ++n_busy >= MAX_BUSY_RESULTS;
    if (too_many) {
        red_channel_warning(mcc->get_channel(),
                            "client does not wait for the results of its power requests");
    }
    power->refuse(request, SPICE_POWER_RESULT_BUSY,
                  "The last request was not answered yet", false);
    return !too_many;
}

/* There is at most one state in the pipe, which is marshalled from what the
 * state is when it's sent. So a client that does not read does not make the
 * pipe grow with each change. Nothing is sent if the client knows that state. */
void RedPowerClient::push_state()
{
    if (state_queued || !announced || !mcc || migrated) {
        return;
    }
    state_queued = true;
    mcc->pipe_add_push(red::make_shared<RedPipeItem>(RED_PIPE_ITEM_TYPE_MAIN_POWER_STATE));
}

bool RedPowerClient::marshall_state(SpiceMarshaller *m)
{
    SpiceMsgMainPowerState state = power->current_state;

    // other ones might have been configured since the client linked
    state.actions &= advertised;
    state_queued = false;
    if (state_sent && last_state.state == state.state && last_state.actions == state.actions) {
        return false;
    }
    state_sent = true;
    last_state = state;
    mcc->init_send_data(SPICE_MSG_MAIN_POWER_STATE);
    spice_marshall_msg_main_power_state(m, &state);
    return true;
}

void RedPowerClient::push_result(const SpicePowerRequest *request, uint32_t result,
                                 const char *message, bool in_turn)
{
    if (!mcc || migrated) {
        return;
    }

    GString *text = get_valid_message(message);
    SpiceMsgMainPowerResult msg = {
        .request_id = request->request_id,
        .result = static_cast<uint8_t>(result),
        .message_len = static_cast<uint32_t>(text->len),
    };
    SpiceMarshaller *m = spice_marshaller_new();
    spice_marshall_msg_main_power_result(m, &msg);
    spice_marshaller_add_by_ref(m, reinterpret_cast<uint8_t *>(text->str), text->len);

    auto item = red::make_shared<RedPowerResultPipeItem>();
    int allocated;
    uint8_t *body = spice_marshaller_linearize(m, 0, &item->size, &allocated);
    item->body = allocated ? body : static_cast<uint8_t *>(spice_memdup(body, item->size));
    item->result = result;
    if (in_turn) {
        item->client.reset(this);
        result_queued = true;
        result_written = false;
    }
    spice_marshaller_destroy(m);
    g_string_free(text, TRUE);

    mcc->pipe_add_push(item);
}

void RedPowerClient::marshall_result(SpiceMarshaller *m, RedPipeItem *base)
{
    auto item = static_cast<RedPowerResultPipeItem *>(base);

    mcc->init_send_data(SPICE_MSG_MAIN_POWER_RESULT);
    item->add_to_marshaller(m, item->body, item->size);
}

void RedPowerClient::result_sent(uint32_t result)
{
    pending = false;
    result_written = true;
    if (result != SPICE_POWER_RESULT_BUSY) {
        n_busy = 0;
    }
}

/* Whether the other host might still ask for what was written. If the process
 * ends before, and something was received that nobody will read, the kernel
 * resets the connection and drops it. */
static bool has_unacked_data(RedStream *stream)
{
#ifdef HAVE_LINUX_SOCKIOS_H
    int size = 0;

    return red_stream_get_family(stream) != AF_UNIX &&
        ioctl(stream->socket, SIOCOUTQ, &size) == 0 && size > 0;
#else
    return false;
#endif
}

/* Send what can be sent without waiting.
 * returns true if there is a result that did not reach the client */
bool RedPowerClient::flush()
{
    if (result_queued && mcc) {
        mcc->receive(); // the pipe might wait for an ack
    }
    if (result_queued && mcc) {
        mcc->push();
    }
    if (!mcc || (result_written && !has_unacked_data(mcc->get_stream()))) {
        result_queued = false;
    }
    return result_queued;
}

void RedPowerClient::complete(RedPowerRequest *request, uint32_t result, const char *message)
{
    power->last_client = mcc && !migrated ? this : nullptr;
    push_result(request, result, message, true);
}

RedPower::RedPower(RedsState *reds, RedChannel *main_channel):
    channel(main_channel),
    timer(reds_core_timer_add(reds, timer_func, this))
{
}

RedPower::~RedPower()
{
    red_timer_remove(timer);
}

bool RedPower::attach(SpicePowerInstance *new_sin)
{
    auto sif = SPICE_UPCAST(const SpicePowerInterface, new_sin->base.sif);

    if (sin) {
        spice_warning("already have power");
        return false;
    }
    if (!sif->request) {
        spice_warning("power interface without request function");
        return false;
    }
    if ((new_sin->actions & ~SPICE_POWER_ACTION_MASK) != 0) {
        spice_warning("unknown power actions 0x%x", new_sin->actions);
        return false;
    }

    sin = new_sin;
    sin->st = this;
    configured = sin->actions;

    channel->set_cap(SPICE_MAIN_CAP_POWER_CONTROL);
    for (const auto &power_action: power_actions) {
        if ((configured & power_action.action) != 0) {
            channel->set_cap(power_action.cap);
        }
    }
    return true;
}

void RedPower::detach()
{
    static const char message[] = "Power control was removed";

    if (!sin) {
        return;
    }
    sin->st = nullptr;
    configured = 0;
    channel->clear_cap(SPICE_MAIN_CAP_POWER_CONTROL);
    for (const auto &power_action: power_actions) {
        channel->clear_cap(power_action.cap);
    }

    set_state(SPICE_POWER_STATE_UNKNOWN, 0);
    if (current_request && current_request->power_client) {
        // still owned by the interface
        auto client = std::move(current_request->power_client);
        client->complete(current_request, SPICE_POWER_RESULT_FAILED, message);
    }
    while (!waiting.empty()) {
        RedPowerRequest *request = waiting.front();

        waiting.pop_front();
        refuse(request, SPICE_POWER_RESULT_FAILED, message, true);
    }
    sin = nullptr;
}

void RedPower::destroy()
{
    detach();
    red_timer_remove(timer);
    timer = nullptr;
}

void RedPower::set_state(uint32_t state, uint32_t actions)
{
    current_state.state = state;
    current_state.actions = actions & configured;
    // a copy: who can't be written to is disconnected, and others may be with it
    for (const auto &client: ClientList(clients)) {
        client->push_state();
    }
}

bool RedPower::flush(uint32_t timeout_ms)
{
    red::shared_ptr<RedPower> self(this);
    uint64_t end_time = spice_get_monotonic_time_ns() + uint64_t{timeout_ms} * NSEC_PER_MILLISEC;

    // what can be sent to the other ones is sent, but nobody waits for them
    for (const auto &client: ClientList(clients)) {
        client->flush();
    }

    for (;;) {
        red::shared_ptr<RedPowerClient> hold(last_client);

        if (!hold || !hold->flush()) {
            return true;
        }
        if (spice_get_monotonic_time_ns() >= end_time) {
            return false;
        }
        usleep(CHANNEL_BLOCKED_SLEEP_DURATION);
    }
}

/* Messages are handled in a loop for as long as there are any: nothing is
 * carried out from there. */
void RedPower::queue(RedPowerRequest *request)
{
    waiting.push_back(request);
    red_timer_start(timer, 0);
}

void RedPower::timer_func(RedPower *power)
{
    if (power->waiting.empty()) {
        return;
    }

    RedPowerRequest *request = power->waiting.front();
    const RedPowerClient *client = request->power_client.get();

    power->waiting.pop_front();
    if (!power->waiting.empty()) {
        red_timer_start(power->timer, 0);
    }

    if (client->migrated) {
        // nobody gets this result; the client takes the request for failed
        power->refuse(request, SPICE_POWER_RESULT_FAILED,
                      "The client has been told to go on with another server", true);
    } else if (!client->announced) {
        power->refuse(request, SPICE_POWER_RESULT_DENIED,
                      "The client did not announce power control", true);
    } else if ((request->action & power->configured & client->advertised) == 0) {
        power->refuse(request, SPICE_POWER_RESULT_DENIED,
                      "This action is not configured", true);
    } else if (power->current_request) {
        power->refuse(request, SPICE_POWER_RESULT_BUSY,
                      "Another request is being carried out", true);
    } else {
        SpicePowerInstance *sin = power->sin;
        auto sif = SPICE_UPCAST(const SpicePowerInterface, sin->base.sif);

        power->current_request = request;
        request->passed = true;
        sif->request(sin, request);
        // request might be gone
    }
}

/* The interface does not own this request any more. */
void RedPower::completed(RedPowerRequest *request)
{
    spice_assert(request == current_request);
    current_request = nullptr;
}

/* Answer a request that is not passed to the interface. */
void RedPower::refuse(RedPowerRequest *request, uint32_t result, const char *message,
                      bool in_turn)
{
    request->power_client->push_result(request, result, message, in_turn);
    if (sin) {
        auto sif = SPICE_UPCAST(const SpicePowerInterface, sin->base.sif);

        if (sif->refused) {
            sif->refused(sin, request, result, message);
        }
    }
    delete request;
}

SPICE_GNUC_VISIBLE void spice_server_power_set_state(SpicePowerInstance *sin,
                                                     uint32_t state, uint32_t actions)
{
    g_return_if_fail(sin != nullptr);
    g_return_if_fail(sin->st != nullptr);
    g_return_if_fail(state < SPICE_POWER_STATE_ENUM_END);

    sin->st->set_state(state, actions);
}

SPICE_GNUC_VISIBLE void spice_server_power_complete(SpicePowerRequest *base,
                                                    uint32_t result, const char *message)
{
    g_return_if_fail(base != nullptr);

    auto request = static_cast<RedPowerRequest *>(base);
    g_return_if_fail(request->passed);

    if (result >= SPICE_POWER_RESULT_ENUM_END) {
        spice_warning("unknown power result %u", result);
        result = SPICE_POWER_RESULT_FAILED;
    }

    request->power->completed(request);
    auto client = std::move(request->power_client);
    if (client) {
        client->complete(request, result, message);
    }
    delete request;
}

SPICE_GNUC_VISIBLE int spice_server_power_flush(SpicePowerInstance *sin, uint32_t timeout_ms)
{
    g_return_val_if_fail(sin != nullptr, -1);
    g_return_val_if_fail(sin->st != nullptr, -1);

    return sin->st->flush(timeout_ms) ? 0 : -1;
}
