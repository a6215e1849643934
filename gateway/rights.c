/*
 * Which actions a client may ask for, by who it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "rights.h"

/* As libvirt's: * is anything, ? is one character */
static gboolean is_among(const char *user, char **patterns)
{
    char **pattern;

    for (pattern = patterns; user && pattern && *pattern; pattern++) {
        if (g_pattern_match_simple(*pattern, user)) {
            return TRUE;
        }
    }
    return FALSE;
}

static guint32 actions_of_user(const MachineConfig *config, const char *user)
{
    const struct {
        guint32 actions;
        char **users;
    } rules[] = {
        { SPICE_POWER_ACTION_MASK, config->rights_users },
        { SPICE_POWER_ACTION_RESET, config->rights_reset },
        { SPICE_POWER_ACTION_OFF, config->rights_power_off },
        { SPICE_POWER_ACTION_ON, config->rights_power_on },
        { SPICE_POWER_ACTION_PAUSE, config->rights_pause },
        { SPICE_POWER_ACTION_CONTINUE, config->rights_continue },
    };
    gboolean is_restricted = FALSE;
    guint32 actions = 0;
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(rules); i++) {
        is_restricted = is_restricted || rules[i].users;
        if (is_among(user, rules[i].users)) {
            actions |= rules[i].actions;
        }
    }
    return is_restricted ? actions : SPICE_POWER_ACTION_MASK;
}

guint32 rights_actions(const MachineConfig *config, gboolean is_ticketed,
                       const SpicePowerClient *client, const char **reason)
{
    guint32 actions;

    if (is_ticketed && client->ticket != SPICE_TICKET_POWER) {
        *reason = "You may only watch: the password that you have connected"
                  " with is not for power control";
        return 0;
    }
    actions = actions_of_user(config, client->sasl_username);
    if (!actions) {
        *reason = "You may only watch: you are not one of those who may control"
                  " the power";
    } else if (actions != SPICE_POWER_ACTION_MASK) {
        *reason = "You may not do this, but other actions";
    }
    return actions;
}
