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

#ifndef SPICE_POWER_H_
#define SPICE_POWER_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include <stdint.h>
#include <spice/enums.h>

#include "spice-core.h"

SPICE_BEGIN_DECLS

/* power interface
 *
 * Lets clients ask for a hard reset, power-off, power-on, pause or continue of
 * the machine, and tells them its power state.
 *
 * Add the interface with spice_server_add_interface() after
 * spice_server_init() and before the main loop runs: what a client may use is
 * settled when it connects, a client that is connected already does not see an
 * interface that is added later. A server has one power interface at most,
 * adding another one fails. spice_server_remove_interface() and
 * spice_server_destroy() answer the requests that are pending with
 * SPICE_POWER_RESULT_FAILED and report SPICE_POWER_STATE_UNKNOWN.
 *
 * Clients that connect after the interface was removed are not offered power
 * control. It can be added again, with other actions too: clients that connect
 * then are offered these. A client that was connected all the time can use what
 * was offered to it and is still configured.
 *
 * A library that does not know this interface ignores it without an error.
 * Programs should test at build time for spice_server_power_set_state(), not
 * for a version.
 *
 * Everything here must be called, and is called, in the thread of the main
 * loop, which is the one that called spice_server_init(). Except for allowed(),
 * nothing is called while the library handles a message of a client.
 */
#define SPICE_INTERFACE_POWER "power"
#define SPICE_INTERFACE_POWER_MAJOR 1
#define SPICE_INTERFACE_POWER_MINOR 1
typedef struct SpicePowerInterface SpicePowerInterface;
typedef struct SpicePowerInstance SpicePowerInstance;
typedef struct SpicePowerInstanceState SpicePowerInstanceState;

/* A client of power control.
 * Allocated and freed by the library, which owns everything in here too. More can
 * be added at the end.
 */
typedef struct SpicePowerClient {
    /* its main channel, as channel_event() of the core interface reported it:
     * connection id, addresses, whether it uses TLS */
    const SpiceChannelEventInfo *channel;
    /* its SASL user name, the one that it acts as, NULL if it did not use SASL */
    const char *sasl_username;
    /* the ticket that it came with, SPICE_TICKET_. That stays what it was for as long as
     * the client is connected, also when the ticket is replaced or expires */
    uint32_t ticket;
} SpicePowerClient;

/* An action that a client asks for.
 * Allocated and freed by the library, which owns everything in here too.
 */
typedef struct SpicePowerRequest {
    /* what is asked for, exactly one of SPICE_POWER_ACTION_ */
    uint32_t action;
    /* id that the client gave this request, any value, not unique */
    uint32_t request_id;
    /* who asks. Valid as long as the request is, even if the client has gone. */
    const SpicePowerClient *client;
} SpicePowerRequest;

struct SpicePowerInterface {
    SpiceBaseInterface base;

    /* Carry out an action.
     * Complete the request with spice_server_power_complete() exactly once,
     * from here or at any time later. This includes a request whose client is
     * gone and one that is still pending when the interface is removed or the
     * server is destroyed. Until then request is valid, and no other request
     * is passed to this function: clients that ask meanwhile get
     * SPICE_POWER_RESULT_BUSY, also if the interface was removed and added again.
     * Only actions that are configured, and allowed to this client, get here, and
     * in the long run not more than 100 in a second from each client. One that
     * connects anew does not get more by that than the first of its requests.
     */
    void (*request)(SpicePowerInstance *sin, SpicePowerRequest *request);

    /* The library refused a request on its own, with
     * - SPICE_POWER_RESULT_DENIED: the action is not configured or not allowed, or
     *   the client lacks SPICE_MAIN_CAP_POWER_CONTROL;
     * - SPICE_POWER_RESULT_BUSY: another request is being carried out, or the
     *   client did not wait for the result of its last one;
     * - SPICE_POWER_RESULT_FAILED: the interface is being removed, or the server
     *   destroyed, and the request was still to be passed on; or the client has
     *   been told to go on with another server, or was disconnected by this one,
     *   and gets no result.
     * For the record only, the request must not be completed. request and
     * message, which tells the reason in English, are valid during the call
     * only. A client can cause any number of calls: limit what is recorded.
     * This member can be NULL.
     */
    void (*refused)(SpicePowerInstance *sin, const SpicePowerRequest *request,
                    uint32_t result, const char *message);

    /* The client of a request that was passed on, and was not completed yet, is gone,
     * or has been told to go on with another server: nobody gets the result.
     * The request must be completed all the same, from here or later; whether the
     * action is given up is up to the interface.
     * This member can be NULL.
     */
    void (*cancelled)(SpicePowerInstance *sin, SpicePowerRequest *request);

    /* Which actions a client may ask for, a mask of SPICE_POWER_ACTION_. Those that
     * are not configured are ignored.
     * Called when a client has been let in, when the interface is added, and from
     * spice_server_power_update_allowed(); and when a control client comes for which
     * there is no place, before channel_event() has reported its channel. Possibly while
     * a message of the client is handled, so this must only look it up. client is valid
     * during the call only.
     * *reason is NULL. It can be set to a text in UTF-8 that tells a person why not all
     * actions are allowed: it is copied, and the message of the results that the client
     * gets when it asks for others. If it stays NULL, or is empty, the library says that
     * they are not allowed.
     * This member can be NULL: then all clients may ask for what is configured.
     */
    uint32_t (*allowed)(SpicePowerInstance *sin, const SpicePowerClient *client,
                        const char **reason);
};

struct SpicePowerInstance {
    SpiceBaseInstance base;
    /* Configured actions, a mask of SPICE_POWER_ACTION_. Clients learn these
     * when they link, before it is known who they are, and can ask for no other.
     * Set it before adding the interface, it's read only then: to change it,
     * remove the interface and add it again. */
    uint32_t actions;
    SpicePowerInstanceState *st;
};

/* Report the power state of the machine and the actions that are possible in it.
 *
 * Call it once after adding the interface, and whenever either of them changes.
 * Before the first call the state is SPICE_POWER_STATE_UNKNOWN and no action is
 * possible. Clients get the current state when they connect and when it
 * changes. A call that changes nothing is ignored. A client that reads slowly
 * misses states that did not last.
 *
 * state: one of SPICE_POWER_STATE_, any other value is an error and ignored
 * possible: mask of SPICE_POWER_ACTION_; each client is told those which it is
 *   allowed to ask for. This is a hint for clients: a request for an action that is
 *   allowed but not possible is passed to the interface like any other.
 */
void spice_server_power_set_state(SpicePowerInstance *sin,
                                  uint32_t state, uint32_t possible);

/* Ask SpicePowerInterface::allowed() again about each client that is connected, and
 * tell those about it for which it has changed.
 *
 * A request that was passed to the interface already goes on.
 */
void spice_server_power_update_allowed(SpicePowerInstance *sin);

/* Complete a request that was passed to SpicePowerInterface::request().
 * Frees the request.
 *
 * Clients rely on seeing the effect of an action before its result:
 * call spice_server_power_set_state() first.
 * If the client reads what it is sent, the result is written to its socket
 * before the function returns.
 * The result is dropped if the client is gone, or got one already because the
 * interface was removed.
 *
 * result: one of SPICE_POWER_RESULT_. SPICE_POWER_RESULT_OK means that the
 *   action is done, not that it was started. Any other value is an error, and
 *   SPICE_POWER_RESULT_FAILED is sent instead.
 * message: text in UTF-8 that tells a person the reason, copied. NULL or empty
 *   if there is nothing to say. The client gets the first 1024 bytes of it at
 *   most, with characters that are not valid replaced.
 */
void spice_server_power_complete(SpicePowerRequest *request,
                                 uint32_t result, const char *message);

/* Whether the result of the request that was completed last is still on its way to its
 * client's host.
 *
 * For programs that exit with the machine: a result can be behind other data
 * that its client has not read yet, and is lost if the program does not return
 * to its main loop, or ends before the network has delivered it. Such a program
 * can call this again and again, for as long as it is willing to wait. It never
 * blocks, but writes to all clients what they have room for.
 * Do not call it from SpicePowerInterface::allowed().
 *
 * Returns 0 if it has reached the host, if the client is gone, or if there is no such
 * request; 1 if it has not, as far as can be known.
 */
int spice_server_power_is_unsent(SpicePowerInstance *sin);

SPICE_END_DECLS

#endif /* SPICE_POWER_H_ */
