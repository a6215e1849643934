/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "spice-client.h"

typedef struct {
    const char *word; /* on the command line */
    const char *name;
    SpicePowerAction action;
} PowerAction;

extern gboolean print_as_json;

/* By its word or its name; NULL if there is no such action */
const PowerAction *power_action_find(const char *word);

/* A state's name, and back; -1 if there is no such state */
const char *power_state_name(SpicePowerState state);
int power_state_find(const char *name);

/* Print the state, or if @changed, only if it's not what was printed last */
void print_state(SpiceMainChannel *channel, gboolean changed);
/* Its name alone; as JSON it is the same */
void print_state_only(SpiceMainChannel *channel);
/* @result is "ok", the name of an error, or "none" */
void print_result(const char *name, const char *result, const char *message);
