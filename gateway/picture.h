/*
 * A picture in memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_PICTURE_H
#define GATEWAY_PICTURE_H

#include <glib.h>

/* What a source may have: more than any BMC's display has */
#define PICTURE_MAX_SIDE 8192
#define PICTURE_MAX_AREA (4096 * 2400)

/*
 * Pixels are 32 bits, xRGB. Counted, for the thread of the main loop: whoever
 * keeps one has a reference of its own.
 */
typedef struct Picture {
    int width, height;
    guint32 *pixels;
    int fd;                     /* of the memory, if it is shared; or -1 */
} Picture;

/* Returns: whether a source may have one of that size */
gboolean picture_may_be(int width, int height);

/* Returns: a black one */
Picture *picture_new(int width, int height);

/*
 * Returns: a black one in memory that another process can have, too, by its
 * @fd; NULL and errno if there is not enough
 */
Picture *picture_new_shared(int width, int height);

/*
 * That of another process, which may be hostile: it can draw in it at any time,
 * and not take memory away from it. Takes @fd.
 *
 * Returns: NULL if it is not what picture_new_shared() makes, of that size
 */
Picture *picture_new_from(int fd, int width, int height);

Picture *picture_ref(Picture *picture);
void picture_unref(Picture *picture);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Picture, picture_unref)

#endif
