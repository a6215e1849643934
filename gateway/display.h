/*
 * The host's display, as spice-server wants it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_DISPLAY_H
#define GATEWAY_DISPLAY_H

#include <glib.h>
#include <spice.h>

/*
 * All of these are for the thread of the main loop. Pixels are 32 bits, xRGB;
 * what they are taken from may be freed when the function returns.
 */

/* There is a display now, or it has another size. */
void display_show(SpiceServer *server, int width, int height);

/* There is none any more. */
void display_hide(void);

/*
 * @pixels, the whole picture and of the size that display_show() was told, has
 * changed in a rectangle. What spice-server has no time for now is taken from
 * @pixels later: they must be there until the next call of display_show() or
 * display_hide().
 */
void display_update(const guint32 *pixels, int x, int y, int width,
                    int height);

/* @rgba are bytes, not premultiplied; NULL is no cursor */
void display_cursor(const guint8 *rgba, int width, int height, int hot_x,
                    int hot_y);

#endif
