/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-power-words.h"

const SpicePowerWords spice_power_words[SPICE_POWER_N_WORDS] = {
    {
        .action  = SPICE_POWER_ACTION_PAUSE,
        .name    = "pause",
        .label   = N_("_Pause"),
        .doing   = N_("Pausing the machine…"),
        .failed  = N_("The machine was not paused"),
        .unknown = N_("The machine may have been paused"),
    },{
        .action  = SPICE_POWER_ACTION_CONTINUE,
        .name    = "continue",
        .label   = N_("_Resume"),
        .doing   = N_("Resuming the machine…"),
        .failed  = N_("The machine was not resumed"),
        .unknown = N_("The machine may have been resumed"),
    },{
        .action  = SPICE_POWER_ACTION_RESET,
        .name    = "reset",
        .label   = N_("Force R_eset"),
        .doing   = N_("Resetting the machine…"),
        .failed  = N_("The machine was not reset"),
        .unknown = N_("The machine may have been reset"),
        .question = N_("Reset the machine?"),
        .named_question = N_("Reset “%s”?"),
        .details = N_("The machine starts again at once, without shutting down first. "
                      "Unsaved work in it will be lost."),
    },{
        .action  = SPICE_POWER_ACTION_OFF,
        .name    = "power-off",
        .label   = N_("Force _Off"),
        .doing   = N_("Powering the machine off…"),
        .failed  = N_("The machine was not powered off"),
        .unknown = N_("The machine may have been powered off"),
        .question = N_("Power off the machine?"),
        .named_question = N_("Power off “%s”?"),
        .details = N_("The power of the machine is cut at once, without shutting down first. "
                      "Unsaved work in it will be lost."),
    },{
        .action  = SPICE_POWER_ACTION_ON,
        .name    = "power-on",
        .label   = N_("Power O_n"),
        .doing   = N_("Powering the machine on…"),
        .failed  = N_("The machine was not powered on"),
        .unknown = N_("The machine may have been powered on"),
    },
};

static const struct {
    const char *text;
    const char *watching; /* nothing is allowed */
    const char *reset; /* by this client, at a time of day */
} states[] = {
    [SPICE_POWER_STATE_OFF] = {
        .text = N_("Powered off"),
        .watching = N_("Powered off, you may only watch"),
    },
    [SPICE_POWER_STATE_ON] = {
        .text = N_("Running"),
        .watching = N_("Running, you may only watch"),
        /* Translators: a time of day */
        .reset = N_("Running, reset at %s"),
    },
    [SPICE_POWER_STATE_PAUSED] = {
        .text = N_("Paused"),
        .watching = N_("Paused, you may only watch"),
        .reset = N_("Paused, reset at %s"),
    },
    [SPICE_POWER_STATE_SUSPENDED] = {
        .text = N_("Suspended"),
        .watching = N_("Suspended, you may only watch"),
    },
    [SPICE_POWER_STATE_CRASHED] = {
        .text = N_("Crashed"),
        .watching = N_("Crashed, you may only watch"),
    },
};

gchar *spice_power_state_to_words(SpicePowerState state, gboolean watching,
                                  const gchar *reset_time)
{
    if (state == SPICE_POWER_STATE_UNKNOWN || state >= G_N_ELEMENTS(states))
        return g_strdup(_("Power state unknown"));
    if (watching)
        return g_strdup(_(states[state].watching));
    if (reset_time && states[state].reset)
        return g_strdup_printf(_(states[state].reset), reset_time);
    return g_strdup(_(states[state].text));
}
