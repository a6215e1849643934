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
#ifdef HAVE_LINUX_SOCKIOS_H
#include <poll.h>
#include <sys/ioctl.h>
#include <linux/sockios.h> /* SIOCOUTQ */
#endif

#include <common/generated_server_marshallers.h>

#include "main-channel-client.h"
#include "power.h"
#include "reds.h"

/*
 * Power control: a request's way from a client to the interface and back, and the state
 * that all clients are told. One file, as who waits for whom is decided by both.
 */

/* A client that sends one request after the other would fill whatever records them:
 * in the long run they are passed on at this pace, and wait if they come faster. Who is
 * slower may catch up with so many at once; who connects, with as many as who has left
 * had left of them, or it would be enough to connect anew. Its first one never waits. */
#define REQUEST_INTERVAL_NS (10 * NSEC_PER_MILLISEC)
#define MAX_AHEAD_NS (200 * REQUEST_INTERVAL_NS)

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

    RedPowerRequest(RedPowerClient *client, uint32_t action, uint32_t request_id, bool in_turn);

    const red::shared_ptr<RedPowerClient> power_client;
    const red::shared_ptr<RedPower> power;
    // false if the client did not wait for the result of its last request
    const bool in_turn;
    // the interface has to complete this
    bool passed = false;
    // the client got a result already, the interface having been removed
    bool answered = false;
};

RedPowerRequest::RedPowerRequest(RedPowerClient *init_client, uint32_t init_action,
                                 uint32_t init_request_id, bool init_in_turn):
    power_client(init_client),
    power(init_client->power),
    in_turn(init_in_turn)
{
    action = init_action;
    request_id = init_request_id;
    client = &init_client->identity;
}

/* The marshaller has a reference to this until the last byte is written, so the
 * destruction tells that the result was sent, or that the client is gone. */
struct RedPowerResultPipeItem: public RedPipeItemNum<RED_PIPE_ITEM_TYPE_MAIN_POWER_RESULT>
{
    ~RedPowerResultPipeItem() override
    {
        if (client) {
            client->result_sent();
        }
        free(body);
    }

    // set if the client has to wait for this result before its next request
    red::shared_ptr<RedPowerClient> client;
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

static uint32_t get_action(uint16_t type)
{
    for (const auto &power_action: power_actions) {
        if (power_action.msg == type) {
            return power_action.action;
        }
    }
    return 0;
}

RedPowerClient::RedPowerClient(RedPower *init_power, RedChannelClient *init_rcc,
                               uint32_t server_caps, uint32_t ticket):
    power(init_power),
    rcc(init_rcc),
    channel_info(*red_stream_get_channel_event_info(init_rcc->get_stream())),
    username(red_stream_get_sasl_username(init_rcc->get_stream())),
    announced(init_rcc->test_remote_cap(SPICE_MAIN_CAP_POWER_CONTROL)),
    advertised(get_actions(server_caps))
{
    identity.channel = &channel_info;
    identity.sasl_username = username.get();
    identity.ticket = ticket;
    next_time = power->next_time;
    power->clients.push_front(red::shared_ptr<RedPowerClient>(this));
    update_allowed();
}

void RedPowerClient::update_allowed()
{
    const char *reason = nullptr;

    allowed = power->get_allowed(&identity, &reason);
    denied_reason.reset(reason && *reason ? g_strdup(reason) : nullptr);
}

/* Others might have been configured since the client linked. */
uint32_t RedPowerClient::get_allowed() const
{
    return power->configured & advertised & allowed;
}

bool RedPowerClient::may_act() const
{
    return announced && !revoked && !migrated && get_allowed() != 0;
}

/* A client that leaves has asked all the same: its request goes on, but nobody will
 * get the result. */
void RedPowerClient::disconnected()
{
    leave();
    rcc = nullptr;
}

/* The server is going to disconnect the client: it must not act any more. */
void RedPowerClient::revoke()
{
    revoked = true;
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
    if (migrated) {
        // it had left before it disconnects, or is told once more where to go
        return;
    }
    power->clients.remove(red::shared_ptr<RedPowerClient>(this));
    power->next_time = MIN(MAX(power->next_time, next_time),
                           spice_get_monotonic_time_ns() + MAX_AHEAD_NS);
    power->client_left(this);
}

void RedPowerClient::handle_request(uint16_t type, const SpiceMsgcMainPowerRequest *msg)
{
    power->queue(new RedPowerRequest(this, get_action(type), msg->request_id, !pending));
    pending = true;
}

/* returns how long its next request has to wait, in nanoseconds */
uint64_t RedPowerClient::get_delay(uint64_t now) const
{
    const uint64_t ahead = next_time > now ? next_time - now : 0;

    return ahead > MAX_AHEAD_NS ? ahead - MAX_AHEAD_NS : 0;
}

void RedPowerClient::request_passed(uint64_t now)
{
    next_time = MAX(next_time, now) + REQUEST_INTERVAL_NS;
}

/* There is at most one state in the pipe, which is marshalled from what the
 * state is when it's sent. So a client that does not read does not make the
 * pipe grow with each change. Nothing is sent if the client knows that state. */
void RedPowerClient::push_state()
{
    if (state_queued || !announced || !rcc || migrated) {
        return;
    }
    state_queued = true;
    rcc->pipe_add_push(red::make_shared<RedPipeItem>(RED_PIPE_ITEM_TYPE_MAIN_POWER_STATE));
}

bool RedPowerClient::marshall_state(SpiceMarshaller *m)
{
    SpiceMsgMainPowerState state = {
        .state = power->state,
        .allowed = get_allowed(),
        .possible = power->possible & get_allowed(),
    };

    state_queued = false;
    if (state_sent && last_state.state == state.state &&
        last_state.allowed == state.allowed && last_state.possible == state.possible) {
        return false;
    }
    state_sent = true;
    last_state = state;
    rcc->init_send_data(SPICE_MSG_MAIN_POWER_STATE);
    spice_marshall_msg_main_power_state(m, &state);
    return true;
}

void RedPowerClient::push_result(const RedPowerRequest *request, uint32_t result,
                                 const char *message)
{
    if (!rcc || migrated) {
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

    // one piece: add_to_marshaller() never gives back an item that has no bytes,
    // as those of an empty message would
    auto item = red::make_shared<RedPowerResultPipeItem>();
    int allocated;
    uint8_t *body = spice_marshaller_linearize(m, 0, &item->size, &allocated);
    item->body = allocated ? body : static_cast<uint8_t *>(spice_memdup(body, item->size));
    if (request->in_turn) {
        item->client.reset(this);
        result_queued = true;
        result_written = false;
    }
    spice_marshaller_destroy(m);
    g_string_free(text, TRUE);

    rcc->pipe_add_push(item);
}

void RedPowerClient::marshall_result(SpiceMarshaller *m, RedPipeItem *base)
{
    auto item = static_cast<RedPowerResultPipeItem *>(base);

    rcc->init_send_data(SPICE_MSG_MAIN_POWER_RESULT);
    item->add_to_marshaller(m, item->body, item->size);
}

void RedPowerClient::result_sent()
{
    pending = false;
    result_written = true;
}

/* Whether the other host might still ask for what was written. If the process
 * ends before, and something was received that nobody will read, the kernel
 * resets the connection and drops it. */
static bool has_unacked_data(RedStream *stream)
{
#ifdef HAVE_LINUX_SOCKIOS_H
    struct pollfd ended = { stream->socket, POLLRDHUP, 0 };
    int size = 0;

    return red_stream_get_family(stream) != AF_UNIX && poll(&ended, 1, 0) == 0 &&
        ioctl(stream->socket, SIOCOUTQ, &size) == 0 && size > 0;
#else
    return false;
#endif
}

/* Write what can be written without waiting.
 * returns true if there is a result that did not reach the client */
bool RedPowerClient::flush()
{
    if (result_queued && rcc) {
        rcc->push();
    }
    if (!rcc || (result_written && !has_unacked_data(rcc->get_stream()))) {
        result_queued = false;
    }
    return result_queued;
}

void RedPowerClient::complete(RedPowerRequest *request, uint32_t result, const char *message)
{
    request->answered = true;
    power->last_client = rcc && !migrated ? this : nullptr;
    push_result(request, result, message);
}

RedPower::RedPower(RedsState *reds, RedChannel *main_channel):
    channel(main_channel),
    timer(reds_core_timer_add(reds, dispatch_func, this))
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
    for (const auto &client: clients) {
        client->update_allowed();
    }

    channel->set_cap(SPICE_MAIN_CAP_POWER_CONTROL);
    for (const auto &power_action: power_actions) {
        if ((configured & power_action.action) != 0) {
            channel->set_cap(power_action.cap);
        }
    }
    return true;
}

uint32_t RedPower::get_allowed(const SpicePowerClient *client, const char **reason) const
{
    auto sif = sin ? SPICE_UPCAST(const SpicePowerInterface, sin->base.sif) : nullptr;

    if (sif && sif->allowed) {
        return sif->allowed(sin, client, reason);
    }
    return SPICE_POWER_ACTION_MASK;
}

bool RedPower::would_allow(RedStream *stream, uint32_t server_caps, uint32_t ticket) const
{
    const red::glib_unique_ptr<char> username(red_stream_get_sasl_username(stream));
    const SpicePowerClient identity = {
        .channel = red_stream_get_channel_event_info(stream),
        .sasl_username = username.get(),
        .ticket = ticket,
    };
    const uint32_t offered = configured & get_actions(server_caps);
    const char *reason = nullptr;

    return offered != 0 && (offered & get_allowed(&identity, &reason)) != 0;
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
    if (current_request && !current_request->answered) {
        // still owned by the interface
        current_request->power_client->complete(current_request, SPICE_POWER_RESULT_FAILED,
                                                message);
    }
    while (!waiting.empty()) {
        RedPowerRequest *request = waiting.front();

        waiting.pop_front();
        refuse(request, SPICE_POWER_RESULT_FAILED, message);
    }
    sin = nullptr;
}

void RedPower::destroy()
{
    detach();
    red_timer_remove(timer);
    timer = nullptr;
}

/* Clients that cannot be written to are disconnected, so this iterates over a copy. */
void RedPower::push_state()
{
    for (const auto &client: ClientList(clients)) {
        client->push_state();
    }
}

void RedPower::set_state(uint32_t new_state, uint32_t new_possible)
{
    state = new_state;
    possible = new_possible;
    push_state();
}

void RedPower::update_allowed()
{
    for (const auto &client: clients) {
        client->update_allowed();
    }
    push_state();
}

bool RedPower::is_unsent()
{
    red::shared_ptr<RedPower> self(this);
    red::shared_ptr<RedPowerClient> hold(last_client);

    for (const auto &client: ClientList(clients)) {
        client->flush();
    }
    return last_client && last_client->flush();
}

/* Messages are handled in a loop for as long as there are any: nothing is
 * carried out, and nobody is told anything, from there. */
void RedPower::queue(RedPowerRequest *request)
{
    waiting.push_back(request);
    red_timer_start(timer, 0);
}

void RedPower::client_left(const RedPowerClient *client)
{
    if (last_client == client) {
        last_client = nullptr;
    }
    if (current_request && current_request->power_client.get() == client && timer) {
        cancelled = true;
        red_timer_start(timer, 0);
    }
}

/* returns the result that a request gets, and why, unless it is to be passed on: then
 * it's SPICE_POWER_RESULT_OK */
uint32_t RedPower::check(const RedPowerRequest *request, const char **message) const
{
    const RedPowerClient *client = request->power_client.get();

    if (client->migrated) {
        // nobody gets this result; the client takes the request for failed
        *message = "The client has been told to go on with another server";
        return SPICE_POWER_RESULT_FAILED;
    }
    if (client->revoked) {
        *message = "The server has told the client to leave";
        return SPICE_POWER_RESULT_FAILED;
    }
    if (!request->in_turn) {
        *message = "The last request was not answered yet";
        return SPICE_POWER_RESULT_BUSY;
    }
    if (!client->announced) {
        *message = "The client did not announce power control";
        return SPICE_POWER_RESULT_DENIED;
    }
    if ((request->action & configured & client->advertised) == 0) {
        *message = "This action is not configured";
        return SPICE_POWER_RESULT_DENIED;
    }
    if ((request->action & client->allowed) == 0) {
        *message = client->denied_reason ? client->denied_reason.get()
                                         : "You are not allowed to do this";
        return SPICE_POWER_RESULT_DENIED;
    }
    if (current_request) {
        *message = "Another request is being carried out";
        return SPICE_POWER_RESULT_BUSY;
    }
    *message = nullptr;
    return SPICE_POWER_RESULT_OK;
}

void RedPower::dispatch_func(RedPower *power)
{
    power->dispatch();
}

/* Pass on one request, and refuse all that are to be refused. Each client has one
 * that stays at most. */
void RedPower::dispatch()
{
    red::shared_ptr<RedPower> self(this);
    const uint64_t now = spice_get_monotonic_time_ns();
    uint64_t delay = UINT64_MAX;
    RequestList requests;
    RedPowerRequest *next = nullptr;

    if (cancelled) {
        cancelled = false;
        tell_cancelled();
    }

    requests.swap(waiting);
    for (const auto request: requests) {
        const char *message;
        const uint32_t result = check(request, &message);

        if (result != SPICE_POWER_RESULT_OK) {
            refuse(request, result, message);
        } else if (!next && request->power_client->get_delay(now) == 0) {
            next = request;
        } else {
            delay = MIN(delay, request->power_client->get_delay(now));
            waiting.push_back(request);
        }
    }
    if (timer && !waiting.empty()) {
        red_timer_start(timer, (delay + NSEC_PER_MILLISEC - 1) / NSEC_PER_MILLISEC);
    }
    if (next) {
        pass_on(next, now);
    }
}

void RedPower::pass_on(RedPowerRequest *request, uint64_t now)
{
    const char *message;
    // the interface might have been removed when it was told of a refused one
    const uint32_t result = check(request, &message);

    if (result != SPICE_POWER_RESULT_OK) {
        refuse(request, result, message);
        return;
    }

    auto sif = SPICE_UPCAST(const SpicePowerInterface, sin->base.sif);

    current_request = request;
    request->passed = true;
    request->power_client->request_passed(now);
    if (!request->power_client->rcc) {
        client_left(request->power_client.get());
    }
    sif->request(sin, request);
    // request might be gone
}

/* The client of the request that is being carried out has gone. */
void RedPower::tell_cancelled()
{
    if (!sin || !current_request || current_request->answered) {
        return;
    }

    auto sif = SPICE_UPCAST(const SpicePowerInterface, sin->base.sif);

    if (sif->cancelled) {
        sif->cancelled(sin, current_request);
    }
}

/* The interface does not own this request any more. */
void RedPower::complete(RedPowerRequest *request, uint32_t result, const char *message)
{
    red::shared_ptr<RedPower> self(this);

    spice_assert(request == current_request);
    current_request = nullptr;
    cancelled = false;
    if (!request->answered) {
        request->power_client->complete(request, result, message);
    }
    delete request;
}

/* Answer a request that is not passed to the interface. */
void RedPower::refuse(RedPowerRequest *request, uint32_t result, const char *message)
{
    request->power_client->push_result(request, result, message);
    if (sin) {
        auto sif = SPICE_UPCAST(const SpicePowerInterface, sin->base.sif);

        if (sif->refused) {
            // it may be the client's denied_reason, which the interface can change from there
            red::glib_unique_ptr<char> text(g_strdup(message));
            sif->refused(sin, request, result, text.get());
        }
    }
    delete request;
}

SPICE_GNUC_VISIBLE void spice_server_power_set_state(SpicePowerInstance *sin,
                                                     uint32_t state, uint32_t possible)
{
    g_return_if_fail(sin != nullptr);
    g_return_if_fail(sin->st != nullptr);
    g_return_if_fail(state < SPICE_POWER_STATE_ENUM_END);

    sin->st->set_state(state, possible);
}

SPICE_GNUC_VISIBLE void spice_server_power_update_allowed(SpicePowerInstance *sin)
{
    g_return_if_fail(sin != nullptr);
    g_return_if_fail(sin->st != nullptr);

    sin->st->update_allowed();
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

    request->power->complete(request, result, message);
}

SPICE_GNUC_VISIBLE int spice_server_power_is_unsent(SpicePowerInstance *sin)
{
    g_return_val_if_fail(sin != nullptr, 0);
    g_return_val_if_fail(sin->st != nullptr, 0);

    return sin->st->is_unsent();
}
