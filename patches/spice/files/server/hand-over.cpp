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
 * Hand clients over: send them to another server, of which they know nothing yet. That is
 * for servers of one machine that follow each other, one while it is off and one while it
 * runs. Nothing goes with the clients, unlike in a migration.
 */
#include <config.h>

#include <errno.h>

#include "control-channel.h"
#include "main-channel.h"
#include "power.h"
#include "red-client.h"
#include "reds.h"
#include "reds-private.h"

static bool is_good_port(int port)
{
    return port >= 0 && port <= 0xffff;
}

SPICE_GNUC_VISIBLE int spice_server_hand_over(SpiceServer *reds, const char *host, int port,
                                              int tls_port, const char *cert_subject)
{
    if (!host || host[0] == '\0' || !is_good_port(port) || !is_good_port(tls_port) ||
        (port == 0 && tls_port == 0)) {
        spice_warning("can't hand clients over to host \"%s\", port %d, TLS port %d",
                      host ? host : "", port, tls_port);
        return -1;
    }
    if (reds->mig_inprogress || reds->expect_migrate) {
        spice_warning("can't hand clients over during a migration");
        return -1;
    }

    // the channels copy it
    RedsMigSpice target = {
        .host = const_cast<char *>(host),
        .cert_subject = const_cast<char *>(cert_subject),
        .port = port,
        .sport = tls_port,
    };
    reds->main_channel->migrate_switch(&target);
    for (auto client: reds->clients) {
        MainChannelClient *mcc = client->get_main();

        // what it asks for from now on is for the other server
        if (mcc) {
            mcc->revoke_power();
        }
    }
    if (reds->control_channel) {
        reds->control_channel->switch_host(&target);
    }
    return 0;
}

/* A client that goes closes its connection; what it sends until then is for nobody. */
static bool is_here(RedChannelClient *rcc)
{
    red::shared_ptr<RedChannelClient> hold_rcc(rcc);
    uint8_t unwanted[4096];

    rcc->push();
    if (!rcc->is_connected()) {
        return false;
    }
    ssize_t n = red_stream_read(rcc->get_stream(), unwanted, sizeof(unwanted));

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

SPICE_GNUC_VISIBLE int spice_server_hand_over_is_pending(SpiceServer *reds)
{
    RedChannelClient *rcc;
    bool pending = false;

    // each is asked: that is what sends, too
    FOREACH_CLIENT(reds->main_channel, rcc) {
        pending |= is_here(rcc);
    }
    if (reds->control_channel) {
        FOREACH_CLIENT(reds->control_channel, rcc) {
            pending |= is_here(rcc);
        }
    }
    return pending;
}
