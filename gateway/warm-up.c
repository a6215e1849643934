/*
 * What libraries read once, for a process that soon can't open files
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <gvnc.h>

#include "warm-up.h"

/* By these bytes it is known to be one, and then its decoder is there */
static const guint8 jpeg[] = {
    0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10, 'J', 'F', 'I', 'F', 0x00, 0x01, 0x01,
};

void warm_up(void)
{
    g_autoptr(GObject) connection = G_OBJECT(vnc_connection_new());
    g_autoptr(GdkPixbufLoader) loader = gdk_pixbuf_loader_new();
    /*
     * The character set of what the system says; GLib calls it a function
     * without effects, so it is left out if nobody wants its result
     */
    const char *volatile text = g_strerror(EAGAIN);

    (void)text;
    gdk_pixbuf_loader_write(loader, jpeg, sizeof(jpeg), NULL);
    gdk_pixbuf_loader_close(loader, NULL);
}
