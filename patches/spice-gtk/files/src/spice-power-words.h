/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "spice-client.h"

G_BEGIN_DECLS

/* What people read about an action on the machine's power; to be translated */
typedef struct {
    SpicePowerAction action;
    const char *name;
    const char *label;
    const char *doing;
    const char *failed;
    const char *unknown;
    /* of actions that are to be confirmed */
    const char *question;
    const char *named_question;
    const char *details;
} SpicePowerWords;

#define SPICE_POWER_N_WORDS 5

/* in the order of the menu */
G_GNUC_INTERNAL
extern const SpicePowerWords spice_power_words[SPICE_POWER_N_WORDS];

/* translated; @reset_time: when this client has reset the machine, or NULL */
G_GNUC_INTERNAL
gchar *spice_power_state_to_words(SpicePowerState state, gboolean watching,
                                  const gchar *reset_time);

G_END_DECLS
