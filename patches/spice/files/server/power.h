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

/**
 * @file power.h
 * Power control: requests of the clients of the main channel, their results and
 * the state of the machine, see docs/spice_protocol.txt and spice-power.h.
 */
#ifndef POWER_H_
#define POWER_H_

#include <list>

#include "red-channel-client.h"
#include "safe-list.hpp"
#include "utils.hpp"

#include "push-visibility.h"

#ifndef SPICE_PROTOCOL_HAS_POWER_CONTROL
#error "spice-protocol headers with power control are required"
#endif

class RedPowerClient;
struct RedPowerRequest;

/**
 * Power control of a server.
 *
 * There since the first time an interface was added. Clients that linked while
 * there was one were promised answers, so this survives the removal of the
 * interface, and denies everything then.
 */
struct RedPower final: public red::simple_ptr_counted<RedPower>
{
public:
    RedPower(RedsState *reds, RedChannel *main_channel);
    ~RedPower();

    // returns false if the interface can't be used
    bool attach(SpicePowerInstance *sin);
    void detach();
    bool is_attached() const { return sin != nullptr; }
    // whether a client that was not let in yet may ask for anything
    // server_caps, ticket: as those of RedPowerClient
    bool would_allow(RedStream *stream, uint32_t server_caps, uint32_t ticket) const;
    RedsState *get_server() const { return channel->get_server(); }
    // the server is being destroyed
    void destroy();
    void set_state(uint32_t state, uint32_t possible);
    void update_allowed();
    void complete(RedPowerRequest *request, uint32_t result, const char *message);
    // returns true if the last result did not reach its client yet
    bool is_unsent();

private:
    friend class RedPowerClient;
    typedef std::list<red::shared_ptr<RedPowerClient>,
                      red::Mallocator<red::shared_ptr<RedPowerClient>>> ClientList;
    typedef std::list<RedPowerRequest *, red::Mallocator<RedPowerRequest *>> RequestList;

    void push_state();
    void queue(RedPowerRequest *request);
    void client_left(const RedPowerClient *client);
    static void dispatch_func(RedPower *power);
    void dispatch();
    uint32_t check(const RedPowerRequest *request, const char **message) const;
    uint32_t get_allowed(const SpicePowerClient *client, const char **reason) const;
    void pass_on(RedPowerRequest *request, uint64_t now);
    void refuse(RedPowerRequest *request, uint32_t result, const char *message);
    void tell_cancelled();

    RedChannel *const channel; // the main channel, not used after destroy()
    SpiceTimer *timer;
    SpicePowerInstance *sin = nullptr;
    // actions that are offered to clients that link, and carried out
    uint32_t configured = 0;
    uint8_t state = SPICE_POWER_STATE_UNKNOWN;
    uint32_t possible = 0;
    // those which are connected
    ClientList clients;
    // requests that were not dispatched yet
    RequestList waiting;
    // what the next_time of a client that connects is, from those that have left
    uint64_t next_time = 0;
    // request passed to the interface, until that completes it, even if it was removed
    // meanwhile
    RedPowerRequest *current_request = nullptr;
    // its client has gone, and the interface has to be told
    bool cancelled = false;
    // who got the result of the last request that the interface completed,
    // nullptr if nobody did, or is gone
    RedPowerClient *last_client = nullptr;
};

/**
 * Power control of a client, belongs to the client of its channel.
 *
 * Requests and pipe items have references to this, so it can survive that.
 */
class RedPowerClient final: public red::simple_ptr_counted<RedPowerClient>
{
public:
    // server_caps: what was offered to the client when it linked
    // ticket: SPICE_TICKET_, the one that it came with
    RedPowerClient(RedPower *power, RedChannelClient *rcc, uint32_t server_caps,
                   uint32_t ticket);

    void handle_request(uint16_t type, const SpiceMsgcMainPowerRequest *msg);
    // whether it may ask for anything
    bool may_act() const;
    void disconnected();
    // the server is going to disconnect the client
    void revoke();
    // the client has been told to go on with another server
    void migrate();
    bool is_migrated() const { return migrated; }

    void push_state();
    // returns false if there is nothing to send
    bool marshall_state(SpiceMarshaller *m);
    void marshall_result(SpiceMarshaller *m, RedPipeItem *item);
    void result_sent();

private:
    friend struct RedPower;
    friend struct RedPowerRequest;

    void update_allowed();
    uint32_t get_allowed() const;
    uint64_t get_delay(uint64_t now) const;
    void request_passed(uint64_t now);
    void push_result(const RedPowerRequest *request, uint32_t result, const char *message);
    // answers the request that the interface completed
    void complete(RedPowerRequest *request, uint32_t result, const char *message);
    bool flush();
    // from now on nothing is sent to the client
    void leave();

    const red::shared_ptr<RedPower> power;
    // nullptr if disconnected
    RedChannelClient *rcc;
    // who this is, and what that points to
    SpicePowerClient identity;
    SpiceChannelEventInfo channel_info;
    const red::glib_unique_ptr<char> username;
    // the client knows about power control
    const bool announced;
    // actions that were offered to the client
    const uint32_t advertised;
    // actions that the interface lets this client use
    uint32_t allowed;
    // why not others, nullptr if it does not say
    red::glib_unique_ptr<char> denied_reason;
    // see revoke() and migrate()
    bool revoked = false;
    bool migrated = false;
    // a request was received and its result was not sent yet
    bool pending = false;
    // when the next request would be passed on at the pace of them all, in nanoseconds
    uint64_t next_time = 0;
    // there is a result, which did not reach the client as far as we know
    bool result_queued = false;
    // but it was written to the socket
    bool result_written = false;
    bool state_queued = false;
    bool state_sent = false;
    SpiceMsgMainPowerState last_state;
};

#include "pop-visibility.h"

#endif /* POWER_H_ */
