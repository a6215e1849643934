/*
 * When a machine's backend is asked for the state: as seldom as will do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "polls.h"

/* A part of that much of an interval is added, so that they don't coincide */
#define SPREAD 4

PowerTimes power_times = {
    .effect = 200,
    .effect_longest = 1000,
    .away_longest = 60000,
    .refused = 60000,
    .refused_longest = 600000,
    .look = 3000,
    .changing = 10000,
};

struct Polls {
    const MachineConfig *config;
    void (*due)(gpointer opaque);
    gpointer opaque;

    gboolean is_attended;
    guint timer;
    gint64 last;                /* when it answered, in microseconds */
    guint failures;             /* in a row, of either kind */
    guint refusals;             /* in a row, 0: it's no refusal */
    gboolean asked_twice;       /* since the last good answer */
    gint64 refused_until;       /* 0: it has not */
    guint turns;                /* in a hurry */
};

Polls *polls_new(const MachineConfig *config, void (*due)(gpointer opaque),
                 gpointer opaque)
{
    Polls *polls = g_new0(Polls, 1);

    polls->config = config;
    polls->due = due;
    polls->opaque = opaque;
    return polls;
}

void polls_free(Polls *polls)
{
    g_clear_handle_id(&polls->timer, g_source_remove);
    g_free(polls);
}

static guint64 doubled(guint ms, guint times, guint longest)
{
    return MIN((guint64)ms << MIN(times, 20), longest);
}

static guint64 spread(guint64 ms)
{
    return ms + g_random_int_range(0, ms / SPREAD + 1);
}

static guint64 interval_ms(const Polls *polls, PollHurry hurry)
{
    guint often = polls->config->poll_ms;

    return polls->is_attended && hurry != POLL_TOLD
           ? often : MAX(often, polls->config->idle_poll_ms);
}

static guint64 wait_ms(const Polls *polls, PollHurry hurry)
{
    const PowerTimes *times = &power_times;
    guint64 ms = interval_ms(polls, hurry);

    if (polls->refusals) {
        return spread(doubled(times->refused, polls->refusals - 1,
                              times->refused_longest));
    }
    if (hurry == POLL_EFFECT) {
        return MIN(doubled(times->effect, polls->turns, times->effect_longest),
                   polls->config->poll_ms);
    }
    if (polls->failures) {
        return MAX(ms, MIN(spread(doubled(ms, polls->failures,
                                          times->away_longest)),
                           times->away_longest));
    }
    if (hurry == POLL_CHANGING) {
        return doubled(times->effect, polls->turns, ms);
    }
    return polls->is_attended ? ms : spread(ms);
}

static gboolean is_due(gpointer opaque)
{
    Polls *polls = opaque;

    polls->timer = 0;
    polls->due(polls->opaque);
    return G_SOURCE_REMOVE;
}

static void set_timer(Polls *polls, guint64 ms)
{
    g_clear_handle_id(&polls->timer, g_source_remove);
    polls->timer = g_timeout_add(ms, is_due, polls);
}

void polls_set_attended(Polls *polls, gboolean is_attended)
{
    gint64 age = (g_get_monotonic_time() - polls->last) / 1000;

    if (is_attended == polls->is_attended) {
        return;
    }
    polls->is_attended = is_attended;
    /* As if somebody had been there all the time: no sooner than that */
    if (is_attended && polls->timer && polls_may_ask(polls)) {
        set_timer(polls, MAX((gint64)polls->config->poll_ms - age, 0));
    }
}

gboolean polls_may_ask(const Polls *polls)
{
    return g_get_monotonic_time() >= polls->refused_until;
}

void polls_begin(Polls *polls)
{
    g_clear_handle_id(&polls->timer, g_source_remove);
}

gboolean polls_end(Polls *polls, const BackendStatus *status)
{
    polls->last = g_get_monotonic_time();
    if (!status->trouble) {
        polls->failures = polls->refusals = 0;
        polls->refused_until = 0;
        polls->asked_twice = FALSE;
        return FALSE;
    }
    if (status->trouble_kind == BACKEND_TROUBLE_PASSING &&
        !polls->asked_twice) {
        polls->asked_twice = TRUE;
        return TRUE;
    }
    /* not for the next odd answer, if this one stays */
    polls->asked_twice = TRUE;
    polls->failures++;
    if (status->trouble_kind == BACKEND_TROUBLE_REFUSED) {
        polls->refusals++;
        polls->refused_until = polls->last + power_times.refused *
                               G_TIME_SPAN_MILLISECOND;
    } else {
        polls->refusals = 0;
    }
    return FALSE;
}

guint64 polls_wait(Polls *polls, PollHurry hurry)
{
    guint64 ms = wait_ms(polls, hurry);

    set_timer(polls, ms);
    polls->turns = hurry <= POLL_NOW_AND_THEN ? 0 : polls->turns + 1;
    return ms;
}

gboolean polls_is_waiting(const Polls *polls)
{
    return polls->timer != 0;
}
