/*
 * What clients see of a machine: its picture, or a message why there is none
 *
 * While the machine may be on it's tried to connect to its source, again and
 * again, less and less often. There is a SPICE display from the first picture
 * until the machine is known to be off. When there has been no connection for a
 * moment the display has a message that says why, and appears for that if need
 * be. The moment is for what ends by itself: a machine that has just been
 * powered on, a server that is started again, and the time until it's known
 * that the machine has been powered off.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "message.h"
#include "screen.h"

ScreenTimes screen_times = {
    .message_ms = 2500,
    .retry_ms = 250,
    .retry_max_ms = 5000,
    .refused_ms = 60000,
    .short_ms = 5000,
};

struct Screen {
    const char *name;
    Display *display;
    Input *input;
    Source *source;
    ScreenTimes times;

    gboolean wanted;
    guint message_timer, retry_timer;
    guint retry_ms;
    gint64 shown_at;            /* since it is started; 0: there is no picture */
    gint64 refused_until;       /* 0: it has not said no */
    char *problem;              /* that is in the log; or NULL */

    Picture *message;           /* if that is what clients see; or NULL */
    int width, height;          /* of what they have seen last */
};

static void draw_message(Screen *screen)
{
    g_autofree char *text = g_strdup_printf(
        "%s\n\nTrying again%s.",
        screen->problem ?: "nothing has come from the VNC server yet",
        screen->refused_until ? " within a minute" : "");

    message_draw(screen->message, "No video from the host", text);
    display_update(screen->display, 0, 0, screen->width, screen->height);
}

static gboolean show_message(gpointer opaque)
{
    Screen *screen = opaque;

    screen->message_timer = 0;
    screen->message = picture_new(screen->width, screen->height);
    display_show(screen->display, screen->message);
    draw_message(screen);
    return G_SOURCE_REMOVE;
}

/* --- what the source tells ----------------------------------------------- */

static void picture_shown(Picture *picture, gpointer opaque)
{
    Screen *screen = opaque;

    g_clear_handle_id(&screen->message_timer, g_source_remove);
    g_clear_pointer(&screen->message, picture_unref);
    g_clear_pointer(&screen->problem, g_free);
    screen->refused_until = 0;
    if (!screen->shown_at) {
        screen->shown_at = g_get_monotonic_time();
    }
    screen->width = picture->width;
    screen->height = picture->height;
    display_show(screen->display, picture);
    input_show(screen->input);
}

static void picture_updated(int x, int y, int width, int height,
                            gpointer opaque)
{
    Screen *screen = opaque;

    display_update(screen->display, x, y, width, height);
}

static void cursor_changed(const guint8 *rgba, int width, int height,
                           int hot_x, int hot_y, gpointer opaque)
{
    Screen *screen = opaque;

    display_cursor(screen->display, rgba, width, height, hot_x, hot_y);
}

static void pointing_changed(gboolean is_relative, gpointer opaque)
{
    Screen *screen = opaque;

    input_set_relative(screen->input, is_relative);
}

static void leds_changed(guint8 leds, gpointer opaque)
{
    Screen *screen = opaque;

    input_set_leds(screen->input, leds);
}

static void source_start(Screen *screen);

static gboolean retry(gpointer opaque)
{
    Screen *screen = opaque;

    screen->retry_timer = 0;
    source_start(screen);
    return G_SOURCE_REMOVE;
}

/*
 * A server for one viewer throws out who is there for who comes, and some other
 * viewer may come back as we do: then we give way. One that has said no is not
 * asked again soon, so that it does not lock us out.
 *
 * Returns: when to try again, in milliseconds
 */
static guint next_delay(Screen *screen, SourceGone kind)
{
    gint64 now = g_get_monotonic_time(), shown_at = screen->shown_at;
    guint most = shown_at ? MAX(screen->times.refused_ms,
                                screen->times.retry_max_ms)
                          : screen->times.retry_max_ms;
    guint delay;

    screen->shown_at = screen->refused_until = 0;
    if (shown_at && now - shown_at >= screen->times.short_ms * (gint64)1000) {
        screen->retry_ms = screen->times.retry_ms;
    }
    delay = screen->retry_ms;
    screen->retry_ms = MIN(2 * screen->retry_ms, most);
    if (kind == SOURCE_REFUSED) {
        delay = MAX(delay, screen->times.refused_ms);
        screen->refused_until = now + delay * (gint64)1000;
    }
    return delay;
}

static void source_gone(SourceGone kind, const char *reason, gpointer opaque)
{
    Screen *screen = opaque;
    guint delay_ms = next_delay(screen, kind);

    input_hide(screen->input);
    if (g_strcmp0(reason, screen->problem)) {
        g_warning("%s: no video from the host: %s; it is tried again",
                  screen->name, reason);
        g_free(screen->problem);
        screen->problem = g_strdup(reason);
        if (screen->message) {
            draw_message(screen);
        }
    }
    if (!screen->message && !screen->message_timer) {
        screen->message_timer = g_timeout_add(screen->times.message_ms,
                                              show_message, screen);
    }
    screen->retry_timer = g_timeout_add(delay_ms, retry, screen);
}

static void source_start(Screen *screen)
{
    static const SourceEvents events = {
        .picture = picture_shown,
        .update = picture_updated,
        .cursor = cursor_changed,
        .pointing = pointing_changed,
        .leds = leds_changed,
        .gone = source_gone,
    };

    screen->source->methods->start(screen->source, &events, screen);
}

/* It may have been wanted before, and have said no */
static void source_start_when_due(Screen *screen)
{
    gint64 early_us = screen->refused_until - g_get_monotonic_time();

    if (screen->refused_until && early_us > 0) {
        screen->retry_timer = g_timeout_add(early_us / 1000 + 1, retry, screen);
    } else {
        source_start(screen);
    }
}

/* ------------------------------------------------------------------------- */

Screen *screen_new(const char *name, Display *display, Input *input,
                   Source *source, const ScreenTimes *times)
{
    Screen *screen = g_new0(Screen, 1);

    screen->name = name;
    screen->display = display;
    screen->input = input;
    screen->source = source;
    screen->times = *times;
    /* For a message before there has been a picture */
    screen->width = 640;
    screen->height = 480;
    return screen;
}

void screen_set_wanted(Screen *screen, gboolean wanted)
{
    if (!screen->source || wanted == screen->wanted) {
        return;
    }
    screen->wanted = wanted;
    if (wanted) {
        screen->message_timer = g_timeout_add(screen->times.message_ms,
                                              show_message, screen);
        screen->retry_ms = screen->times.retry_ms;
        source_start_when_due(screen);
    } else {
        g_clear_handle_id(&screen->message_timer, g_source_remove);
        g_clear_handle_id(&screen->retry_timer, g_source_remove);
        /* First, so that what is pressed is let go */
        input_hide(screen->input);
        screen->source->methods->stop(screen->source);
        screen->shown_at = 0;
        display_hide(screen->display);
        g_clear_pointer(&screen->message, picture_unref);
        if (!screen->refused_until) {
            g_clear_pointer(&screen->problem, g_free);
        }
    }
}

void screen_set_notice(Screen *screen, const char *title, const char *text)
{
    g_return_if_fail(!screen->source);

    if (text) {
        if (!screen->message) {
            screen->message = picture_new(screen->width, screen->height);
            display_show(screen->display, screen->message);
        }
        message_draw(screen->message, title, text);
        display_update(screen->display, 0, 0, screen->width, screen->height);
    } else if (screen->message) {
        display_hide(screen->display);
        g_clear_pointer(&screen->message, picture_unref);
    }
}

void screen_free(Screen *screen)
{
    if (screen->source) {
        screen_set_wanted(screen, FALSE);
    } else {
        screen_set_notice(screen, NULL, NULL);
    }
    g_free(screen->problem);
    g_free(screen);
}
