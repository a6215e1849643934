/*
 * A picture in memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_PICTURE_H
#define GATEWAY_PICTURE_H

#include <glib.h>

/*
 * Pixels are 32 bits, xRGB. Counted, for the thread of the main loop: whoever
 * keeps one has a reference of its own.
 */
typedef struct Picture {
    int width, height;
    guint32 pixels[];
} Picture;

/* Returns: a black one */
static inline Picture *picture_new(int width, int height)
{
    Picture *picture = g_rc_box_alloc0(sizeof(Picture) + (gsize)width *
                                       height * sizeof(guint32));

    picture->width = width;
    picture->height = height;
    return picture;
}

static inline Picture *picture_ref(Picture *picture)
{
    return g_rc_box_acquire(picture);
}

static inline void picture_unref(Picture *picture)
{
    g_rc_box_release(picture);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Picture, picture_unref)

#endif
