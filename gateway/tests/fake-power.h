/*
 * A Power with a backend and a server, both of which tests are themselves
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_FAKE_POWER_H
#define GATEWAY_TESTS_FAKE_POWER_H

#include "fake-spice.h"
#include "power.h"

enum {
    RESET = SPICE_POWER_ACTION_RESET, OFF = SPICE_POWER_ACTION_OFF,
    ON = SPICE_POWER_ACTION_ON, PAUSE = SPICE_POWER_ACTION_PAUSE,
    CONTINUE = SPICE_POWER_ACTION_CONTINUE,
};
enum {
    IS_UNKNOWN = SPICE_POWER_STATE_UNKNOWN, IS_OFF = SPICE_POWER_STATE_OFF,
    IS_ON = SPICE_POWER_STATE_ON, IS_PAUSED = SPICE_POWER_STATE_PAUSED,
};

/* A backend that answers when it is told to */
typedef struct Fake {
    Backend base;
    guint32 supported;
    gboolean can_ask;

    BackendStatusFunc changed;          /* NULL: it is not watched */
    gpointer changed_opaque;
    BackendStatusFunc asked;            /* NULL: it is not asked */
    gpointer asked_opaque;
    guint questions;
    BackendResultFunc acted;            /* NULL: there is no action */
    gpointer acted_opaque;
    guint32 action;
    guint timeout_ms;
} Fake;

/* The backend tells by itself */
void push(Fake *fake, guint32 state, guint32 possible, const char *trouble);
/* The answer to the question for the state */
void answer(Fake *fake, guint32 state, const char *trouble);
/* One that is none, for a reason of that kind */
void answer_trouble(Fake *fake, BackendTrouble kind, const char *trouble);
/* That the machine is on its way from that state; UNKNOWN: as before */
void answer_changing(Fake *fake, guint32 state);
void end_action(Fake *fake, guint32 result, const char *message);

/* A Power, with the backend and a server */
typedef struct Fixture {
    MachineConfig config;
    Fake fake;
    SpiceServer *server;
    Power *power;
    guint changes;
    guint32 changed_to;
} Fixture;

void attach(Fixture *fixture);
void detach(Fixture *fixture);
/* @can_ask is whether it can be asked for the state, or only tells it */
void set_up(Fixture *fixture, gconstpointer can_ask);
void tear_down(Fixture *fixture, gconstpointer unused);

/* What became of it; frees it */
void check_request(FakeRequest *request, guint32 result, const char *message);

#endif
