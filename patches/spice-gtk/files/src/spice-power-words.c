/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-power-words.h"

const SpicePowerWords spice_power_words[SPICE_POWER_N_WORDS] = {
    {
        .action  = SPICE_POWER_ACTION_PAUSE,
        .name    = "pause",
        .label   = N_("_Pause"),
        .doing   = N_("pausing…"),
        .failed  = N_("The machine was not paused"),
        .unknown = N_("The machine may or may not have been paused"),
    },{
        .action  = SPICE_POWER_ACTION_CONTINUE,
        .name    = "continue",
        .label   = N_("_Continue"),
        .doing   = N_("continuing…"),
        .failed  = N_("The machine was not continued"),
        .unknown = N_("The machine may or may not have been continued"),
    },{
        .action  = SPICE_POWER_ACTION_RESET,
        .name    = "reset",
        .label   = N_("_Reset"),
        .doing   = N_("resetting…"),
        .failed  = N_("The machine was not reset"),
        .unknown = N_("The machine may or may not have been reset"),
        .question = N_("Reset the machine?"),
        .named_question = N_("Reset “%s”?"),
        .details = N_("The machine starts again at once, without shutting down first. "
                      "Unsaved work in it will be lost."),
    },{
        .action  = SPICE_POWER_ACTION_OFF,
        .name    = "power-off",
        .label   = N_("Power _Off"),
        .doing   = N_("powering off…"),
        .failed  = N_("The machine was not powered off"),
        .unknown = N_("The machine may or may not have been powered off"),
        .question = N_("Power off the machine?"),
        .named_question = N_("Power off “%s”?"),
        .details = N_("The machine’s power is cut at once, without shutting down first. "
                      "Unsaved work in it will be lost."),
    },{
        .action  = SPICE_POWER_ACTION_ON,
        .name    = "power-on",
        .label   = N_("Power O_n"),
        .doing   = N_("powering on…"),
        .failed  = N_("The machine was not powered on"),
        .unknown = N_("The machine may or may not have been powered on"),
    },
};

const char *spice_power_state_to_string(SpicePowerState state)
{
    switch (state) {
    case SPICE_POWER_STATE_OFF:
        return _("Powered off");
    case SPICE_POWER_STATE_ON:
        return _("Running");
    case SPICE_POWER_STATE_PAUSED:
        return _("Paused");
    case SPICE_POWER_STATE_SUSPENDED:
        return _("Suspended");
    case SPICE_POWER_STATE_CRASHED:
        return _("Crashed");
    default:
        return _("Unknown");
    }
}
