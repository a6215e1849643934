/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef __SPICE_POWER_ACTIONS_H__
#define __SPICE_POWER_ACTIONS_H__

#if !defined(__SPICE_CLIENT_H_INSIDE__) && !defined(SPICE_COMPILATION)
#warning "Only <spice-client.h> can be included directly"
#endif

#include <gio/gio.h>

#include "spice-types.h"

G_BEGIN_DECLS

/**
 * SpicePowerActions:
 *
 * The #SpicePowerActions struct is opaque and should not be accessed directly.
 *
 * Since: 0.43
 */
#define SPICE_TYPE_POWER_ACTIONS (spice_power_actions_get_type())
G_DECLARE_FINAL_TYPE(SpicePowerActions, spice_power_actions, SPICE, POWER_ACTIONS,
                     GSimpleActionGroup)

SpicePowerActions *spice_power_actions_get(SpiceSession *session);
GMenuModel *spice_power_actions_get_menu(SpicePowerActions *actions);
const gchar *spice_power_actions_get_label(SpicePowerActions *actions, const gchar *name);
gboolean spice_power_actions_request(SpicePowerActions *actions, const gchar *name);

G_END_DECLS

#endif /* __SPICE_POWER_ACTIONS_H__ */
