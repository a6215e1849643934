/*
 * The words for states, actions and results, in the configuration and the log
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_NAMES_H
#define GATEWAY_NAMES_H

#include <glib.h>
#include <spice/enums.h>

/* Returns: the word for one of SPICE_POWER_STATE_, or "?" */
const char *state_name(guint32 state);
/* Returns: FALSE if @word, in any case of letters, is no state */
gboolean state_from_name(const char *word, guint32 *state);

/* Returns: the word for one of SPICE_POWER_ACTION_, or "?" */
const char *action_name(guint32 action);
/* Returns: one of SPICE_POWER_ACTION_, or 0 if @word is none */
guint32 action_from_name(const char *word);

/* Returns: the word for one of SPICE_POWER_RESULT_, or "?" */
const char *result_name(guint32 result);

#endif
