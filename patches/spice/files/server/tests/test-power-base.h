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
 * @file test-power-base.h
 * A server with power control, whose machine the test plays, and clients of its main channel.
 */
#ifndef TEST_POWER_BASE_H_
#define TEST_POWER_BASE_H_

#include <spice.h>
#include <spice/protocol.h>

#include "test-client.h"

#define ALL_ACTIONS ((uint32_t) SPICE_POWER_ACTION_MASK)
#define CAP(name) (1u << SPICE_MAIN_CAP_ ## name)

#define POWER_CAPS (CAP(POWER_CONTROL) | CAP(POWER_RESET) | CAP(POWER_OFF) | CAP(POWER_ON) | \
                    CAP(POWER_PAUSE) | CAP(POWER_CONTINUE))

/* The interface, which notes what it is asked for. */
extern SpicePowerInstance power;
extern const SpicePowerInterface power_interface;
extern SpicePowerRequest *request; // that is not completed yet
extern unsigned int n_requests;
extern unsigned int n_refused;
extern uint32_t last_refused_id;
extern uint32_t last_refused_result;
extern unsigned int n_cancelled;
/* what to do in the callback */
extern void (*on_request)();

/* complete the request that there is */
void complete(uint32_t result, const char *message);
void complete_ok();
void set_state(uint32_t state, uint32_t possible);
void add_power(uint32_t actions);
void remove_power();

/* Start the server, see server_start(); with the interface, for these actions. */
void setup_no_power(unsigned int flags = 0);
void setup(uint32_t actions);
/* a server that takes several clients */
void setup_multiple_clients();
void teardown();

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED StateBody {
    uint8_t state;
    uint32_t allowed;
    uint32_t possible;
} StateBody;

typedef struct SPICE_ATTR_PACKED ResultBody {
    uint32_t request_id;
    uint8_t result;
    uint32_t message_len;
    char message[];
} ResultBody;
#include <spice/end-packed.h>

typedef struct PowerActionInfo {
    uint32_t action;
    uint32_t cap;
    uint16_t type;
} PowerActionInfo;

#define N_ACTIONS 5
extern const PowerActionInfo power_action_infos[N_ACTIONS];

/* link a new client of the main channel: up to the server's reply, or wholly */
Client *client_start_link(uint32_t connection_id, uint32_t caps, unsigned int flags);
Client *client_link(uint32_t connection_id, uint32_t caps, unsigned int flags);
/* and wait for INIT */
Client *client_connect_flags(uint32_t caps, unsigned int flags);
/* connect a client that knows about power control, and expect that it's told the state */
Client *client_connect(uint32_t state, uint32_t possible);

/* what was offered to the client, and is still configured */
uint32_t get_allowed(const Client *client);
void expect_state_allowed(Client *client, uint32_t state, uint32_t allowed, uint32_t possible);
void expect_state(Client *client, uint32_t state, uint32_t possible);
/* returns the message */
GString *expect_any_result(Client *client, uint32_t request_id, uint32_t result);
void expect_result(Client *client, uint32_t request_id, uint32_t result,
                   const char *expected_message);
/* returns false if there is none yet */
bool client_read_any_result(Client *client);
/* the library's own results tell why */
void expect_refusal(Client *client, uint32_t request_id, uint32_t result);
/* the server has disconnected it, whatever it may have told before */
void expect_thrown_out(Client *client);
/* A round of a well-behaved client. */
void reset_round(Client *client, uint32_t request_id);
/* how many descriptors this process has */
unsigned int count_fds();

#endif /* TEST_POWER_BASE_H_ */
