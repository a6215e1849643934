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

#include "main-channel-client.h"
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
    // the server is being destroyed
    void destroy();
    void set_state(uint32_t state, uint32_t actions);
    void completed(RedPowerRequest *request);
    // returns false if the last result did not reach its client in time
    bool flush(uint32_t timeout_ms);

private:
    friend class RedPowerClient;
    typedef std::list<red::shared_ptr<RedPowerClient>,
                      red::Mallocator<red::shared_ptr<RedPowerClient>>> ClientList;

    static void timer_func(RedPower *power);
    void queue(RedPowerRequest *request);
    // in_turn: see push_result()
    void refuse(RedPowerRequest *request, uint32_t result, const char *message, bool in_turn);

    RedChannel *const channel; // the main channel, not used after destroy()
    SpiceTimer *timer;
    SpicePowerInstance *sin = nullptr;
    // actions that are offered to clients that link, and carried out
    uint32_t configured = 0;
    SpiceMsgMainPowerState current_state = { SPICE_POWER_STATE_UNKNOWN, 0 };
    // those which are connected
    ClientList clients;
    // requests not passed to the interface yet, at most one for each client
    std::list<RedPowerRequest *, red::Mallocator<RedPowerRequest *>> waiting;
    // request passed to the interface, until that completes it, even if it was removed
    // meanwhile
    RedPowerRequest *current_request = nullptr;
    // who got the result of the last request that the interface completed,
    // nullptr if nobody did, or is gone
    RedPowerClient *last_client = nullptr;
};

/**
 * Power control of a client, belongs to its MainChannelClient.
 *
 * Requests and pipe items have references to this, so it can survive the
 * MainChannelClient.
 */
class RedPowerClient final: public red::simple_ptr_counted<RedPowerClient>
{
public:
    // server_caps: what was offered to the client when it linked
    RedPowerClient(RedPower *power, MainChannelClient *mcc, uint32_t server_caps);

    // returns false if the client has to be disconnected
    bool handle_request(uint16_t type, const SpiceMsgcMainPowerRequest *msg);
    void disconnected();
    // the client has been told to go on with another server
    void migrate();

    void push_state();
    // returns false if there is nothing to send
    bool marshall_state(SpiceMarshaller *m);
    void marshall_result(SpiceMarshaller *m, RedPipeItem *item);

    // in_turn if this is the result of the request that makes the client wait,
    // not of one that the client did not wait with
    void push_result(const SpicePowerRequest *request, uint32_t result, const char *message,
                     bool in_turn);
    void result_sent(uint32_t result);
    // answers the request that the interface completed
    void complete(RedPowerRequest *request, uint32_t result, const char *message);
    bool flush();

private:
    friend struct RedPower;

    // from now on nothing is sent to the client
    void leave();

    const red::shared_ptr<RedPower> power;
    // nullptr if disconnected
    MainChannelClient *mcc;
    // the client knows about power control
    const bool announced;
    // actions that were offered to the client
    const uint32_t advertised;
    // the client listens to another server now
    bool migrated = false;
    // a request was received and its result was not sent yet
    bool pending = false;
    // requests received while pending, since the last result that was not BUSY
    unsigned int n_busy = 0;
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
