/*
 * What clients see of a machine: its picture, or a message why there is none
 *
 * This decides when the source is connected, when there is a display, and when
 * there is somebody to type for. Everything here is for the thread of the main
 * loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_SCREEN_H
#define GATEWAY_SCREEN_H

#include <glib.h>

#include "display.h"
#include "input.h"
#include "source.h"

typedef struct Screen Screen;

typedef struct ScreenTimes {
    guint message_ms;           /* the moment without a picture */
    guint retry_ms;             /* until it's tried again, at first */
    guint retry_max_ms;         /* after many attempts */
    guint refused_ms;           /* after it has said no; and at most, if others */
    guint short_ms;             /* end each picture before it's as old as that */
} ScreenTimes;

/* Those that people get; tests have others */
extern ScreenTimes screen_times;

/*
 * For the machine @name. It takes none of these, all must outlive it. @source
 * is NULL if the machine has no picture: then clients see nothing but notices.
 */
Screen *screen_new(const char *name, Display *display, Input *input,
                   Source *source, const ScreenTimes *times);

/*
 * Whether the machine may have a picture: while it may, its source is connected
 * to, and again when the connection is lost. At first it may not.
 */
void screen_set_wanted(Screen *screen, gboolean wanted);

/*
 * For a machine without a source: show a message, or nothing again if @text is
 * NULL
 */
void screen_set_notice(Screen *screen, const char *title, const char *text);

/* As if nothing were wanted, before */
void screen_free(Screen *screen);

#endif
