/*
 * A picture in memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"
#include "picture.h"

static gsize size_of(int width, int height)
{
    return (gsize)width * height * sizeof(guint32);
}

gboolean picture_may_be(int width, int height)
{
    return width >= 1 && height >= 1 && width <= PICTURE_MAX_SIDE &&
           height <= PICTURE_MAX_SIDE && width * height <= PICTURE_MAX_AREA;
}

/* Takes @fd, or none if that is -1 */
static Picture *picture_of(int width, int height, guint32 *pixels, int fd)
{
    Picture *picture = g_rc_box_new0(Picture);

    picture->width = width;
    picture->height = height;
    picture->pixels = pixels;
    picture->fd = fd;
    return picture;
}

/* Takes @fd. Returns: NULL and errno if it can't be mapped */
static Picture *picture_map(int width, int height, int fd, int protection)
{
    void *pixels = mmap(NULL, size_of(width, height), protection, MAP_SHARED,
                        fd, 0);

    if (pixels == MAP_FAILED) {
        close(fd);
        return NULL;
    }
    return picture_of(width, height, pixels, fd);
}

Picture *picture_new(int width, int height)
{
    return picture_of(width, height, g_malloc0(size_of(width, height)), -1);
}

Picture *picture_new_shared(int width, int height)
{
    int fd = memory_new(size_of(width, height));

    return fd < 0 ? NULL : picture_map(width, height, fd,
                                       PROT_READ | PROT_WRITE);
}

Picture *picture_new_from(int fd, int width, int height)
{
    if (!picture_may_be(width, height) ||
        !memory_is_good(fd, size_of(width, height))) {
        close(fd);
        return NULL;
    }
    return picture_map(width, height, fd, PROT_READ);
}

Picture *picture_ref(Picture *picture)
{
    return g_rc_box_acquire(picture);
}

static void picture_clear(gpointer opaque)
{
    Picture *picture = opaque;

    if (picture->fd < 0) {
        g_free(picture->pixels);
    } else {
        munmap(picture->pixels, size_of(picture->width, picture->height));
        close(picture->fd);
    }
}

void picture_unref(Picture *picture)
{
    g_rc_box_release_full(picture, picture_clear);
}
