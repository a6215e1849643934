/*
 * When a machine's backend is asked for the state: as seldom as will do
 *
 * A BMC is a small computer, and may lock out who fails to log in too often. So
 * it is asked now and then while nobody looks, less and less often while it
 * does not answer, and left alone for a while when it refuses.
 *
 * Everything here is for the thread of the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_POLLS_H
#define GATEWAY_POLLS_H

#include "backend.h"
#include "config.h"

/* In milliseconds. For tests, which have less time */
typedef struct PowerTimes {
    guint effect;               /* after an action; longer each time */
    guint effect_longest;
    guint away_longest;         /* while there is no answer */
    guint refused;              /* after a refusal; longer each time */
    guint refused_longest;
    guint look;                 /* for a last look after a failure, at least */
    guint changing;             /* a request waits for what is on its way */
} PowerTimes;

extern PowerTimes power_times;

typedef enum PollHurry {
    POLL_TOLD,                  /* what happens is told anyway */
    POLL_NOW_AND_THEN,
    POLL_CHANGING,              /* the machine is, by itself */
    POLL_EFFECT,                /* somebody waits until it is there */
} PollHurry;

typedef struct Polls Polls;

/* @due is called when it is time to ask */
Polls *polls_new(const MachineConfig *config, void (*due)(gpointer opaque),
                 gpointer opaque);
void polls_free(Polls *polls);

/* Whether anybody is there to see the state; at first nobody is */
void polls_set_attended(Polls *polls, gboolean is_attended);

/* FALSE: it has refused, and is to be left alone, whoever wants to know */
gboolean polls_may_ask(const Polls *polls);

/* It is being asked: nothing is due until polls_wait() */
void polls_begin(Polls *polls);

/*
 * It has answered. Returns: TRUE if it is to be asked once more at once, since
 * the answer is an odd one between good ones
 */
gboolean polls_end(Polls *polls, const BackendStatus *status);

/* Wait until it is time to ask again. Returns: how long, in milliseconds */
guint64 polls_wait(Polls *polls, PollHurry hurry);

gboolean polls_is_waiting(const Polls *polls);

#endif
