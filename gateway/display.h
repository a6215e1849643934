/*
 * A machine's display, as spice-server wants it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_DISPLAY_H
#define GATEWAY_DISPLAY_H

#include <glib.h>
#include <spice.h>

#include "picture.h"

typedef struct Display Display;

/*
 * All of these are for the thread of the main loop.
 *
 * A display of @server, which has been initialized and must outlive it. Clients
 * see none until display_show().
 */
Display *display_new(SpiceServer *server);

/*
 * There is a display now, or it shows another picture from now on; of that,
 * nothing until display_update(). The display has a reference to it until the
 * next call of display_show() or display_hide().
 */
void display_show(Display *display, Picture *picture);

/* There is none any more. No error if there was none */
void display_hide(Display *display);

/*
 * The picture has changed in a rectangle. What spice-server has no time for now
 * is taken from it later.
 */
void display_update(Display *display, int x, int y, int width, int height);

/* @rgba are bytes, not premultiplied; NULL is no cursor */
void display_cursor(Display *display, const guint8 *rgba, int width,
                    int height, int hot_x, int hot_y);

/* Hides it, too */
void display_free(Display *display);

#endif
