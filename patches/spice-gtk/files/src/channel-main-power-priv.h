/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "spice-client.h"
#include "spice-channel-priv.h"

G_BEGIN_DECLS

/* What a SpiceMainChannel knows about the machine's power and the requests it
 * has made */
typedef struct SpiceMainPower SpiceMainPower;

/* Install "power-state", "power-actions" and "power-allowed", in
 * this order, with the ids from @property_id on */
void spice_main_power_install_properties(GObjectClass *klass, guint property_id);

SpiceMainPower *spice_main_power_new(SpiceMainChannel *channel);
void spice_main_power_free(SpiceMainPower *power);

SpicePowerState spice_main_power_get_state(SpiceMainPower *power);
SpicePowerAction spice_main_power_get_actions(SpiceMainPower *power);
SpicePowerAction spice_main_power_get_allowed(SpiceMainPower *power);

/* coroutine context: handlers of SPICE_MSG_MAIN_POWER_STATE and _RESULT */
void spice_main_power_handle_state(SpiceChannel *channel, SpiceMsgIn *in);
void spice_main_power_handle_result(SpiceChannel *channel, SpiceMsgIn *in);

/* any context: the connection has gone, or is another server's now */
void spice_main_power_reset(SpiceMainPower *power);
void spice_main_power_swapped(SpiceMainPower *power);

/* coroutine context: the server sends the session to another one, and that has let it in */
void spice_main_power_switch(SpiceMainPower *power);
void spice_main_power_switched(SpiceMainPower *power);
/* main context: it has not, and is not tried any more */
void spice_main_power_give_up(SpiceMainPower *power);

/* channel-main.c */
SpiceMainPower *spice_main_channel_get_power(SpiceMainChannel *channel);

G_END_DECLS
