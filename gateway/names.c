/*
 * The words for states, actions and results, in the configuration and the log
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "names.h"

static const char *const states[] = {
    [SPICE_POWER_STATE_UNKNOWN] = "unknown",
    [SPICE_POWER_STATE_OFF] = "off",
    [SPICE_POWER_STATE_ON] = "on",
    [SPICE_POWER_STATE_PAUSED] = "paused",
    [SPICE_POWER_STATE_SUSPENDED] = "suspended",
    [SPICE_POWER_STATE_CRASHED] = "crashed",
};

static const struct {
    const char *name;
    guint32 action;
} actions[] = {
    { "reset", SPICE_POWER_ACTION_RESET },
    { "power-off", SPICE_POWER_ACTION_OFF },
    { "power-on", SPICE_POWER_ACTION_ON },
    { "pause", SPICE_POWER_ACTION_PAUSE },
    { "continue", SPICE_POWER_ACTION_CONTINUE },
};

static const char *const results[] = {
    [SPICE_POWER_RESULT_OK] = "ok",
    [SPICE_POWER_RESULT_DENIED] = "denied",
    [SPICE_POWER_RESULT_WRONG_STATE] = "wrong-state",
    [SPICE_POWER_RESULT_BUSY] = "busy",
    [SPICE_POWER_RESULT_UNSUPPORTED] = "unsupported",
    [SPICE_POWER_RESULT_FAILED] = "failed",
};

const char *state_name(guint32 state)
{
    return state < G_N_ELEMENTS(states) ? states[state] : "?";
}

gboolean state_from_name(const char *word, guint32 *state)
{
    guint32 i;

    for (i = 0; i < G_N_ELEMENTS(states); i++) {
        if (!g_ascii_strcasecmp(word, states[i])) {
            *state = i;
            return TRUE;
        }
    }
    return FALSE;
}

const char *action_name(guint32 action)
{
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (actions[i].action == action) {
            return actions[i].name;
        }
    }
    return "?";
}

guint32 action_from_name(const char *word)
{
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (!strcmp(actions[i].name, word)) {
            return actions[i].action;
        }
    }
    return 0;
}

const char *result_name(guint32 result)
{
    return result < G_N_ELEMENTS(results) ? results[result] : "?";
}
