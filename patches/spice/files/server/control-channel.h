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
 * @file control-channel.h
 * Control clients: those that set SPICE_MAIN_CAP_CONTROL_ONLY when the server offers it.
 *
 * To such a client this is the main channel. The rest of the server does not see it: the
 * channel is not registered and its clients are not in reds->clients, so they have no
 * part in the agent, in migrations, in the list of channels, and in who is the last one.
 */
#ifndef CONTROL_CHANNEL_H_
#define CONTROL_CHANNEL_H_

#include "red-channel.h"

#include "push-visibility.h"

struct RedsMigSpice;

class ControlChannel final: public RedChannel
{
public:
    explicit ControlChannel(RedsState *reds);

    // Let a client in, the first thing that it is sent is INIT.
    // caps: those of the client; server_caps: what it was told are the server's
    // ticket: SPICE_TICKET_, the one that it came with
    // name, uuid: of the machine, NULL if they are not known
    void link(RedStream *stream, uint32_t connection_id, RedChannelCapabilities *caps,
              uint32_t server_caps, uint32_t ticket, const char *name, const uint8_t *uuid);
    // Whether there is a place for a client that wants to be let in. If there are max
    // clients, one that may ask for something takes that of one that may not, of which the
    // one that has been there for longest is disconnected.
    // stream, server_caps, ticket: of the client; knows_power: whether it has told that
    bool find_place(unsigned int max, RedStream *stream, bool knows_power,
                    uint32_t server_caps, uint32_t ticket);
    bool has_client_with_id(uint32_t connection_id);
    // Disconnect the client that tries to open another channel.
    // returns false if there is none with this id
    bool disconnect_client_with_id(uint32_t connection_id);
    // Disconnect all clients: what they have asked for and was not begun is dropped. They
    // are told the reason, SPICE_LINK_ERR_, unless that is SPICE_LINK_ERR_OK.
    void disconnect_clients(uint32_t reason);
    // Tell all clients to go where the machine has gone.
    void switch_host(const RedsMigSpice *target);
    // Warn of a client, unless there were too many of late.
    void warn(const char *format, ...) SPICE_GNUC_PRINTF(2, 3);

private:
    void on_connect(RedClient *client, RedStream *stream, int migration,
                    RedChannelCapabilities *caps) override;

    unsigned int n_warnings = 0;
    uint64_t first_warning = 0;
};

#include "pop-visibility.h"

#endif /* CONTROL_CHANNEL_H_ */
