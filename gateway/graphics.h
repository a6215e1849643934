/*
 * The SPICE server that a domain's XML describes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_GRAPHICS_H
#define GATEWAY_GRAPHICS_H

#include <glib.h>

typedef struct Graphics {
    char *address;              /* where it listens; NULL: not by TCP */
    int port, tls_port;         /* 0: none, or not yet */
    char *password;             /* NULL if there is none in the XML */
    gint64 password_end;        /* in seconds since 1970; 0: never */
    char *power_password;       /* for power control; NULL: needs none */
    gint64 power_password_end;
} Graphics;

/*
 * Returns: that of the first <graphics type='spice'>; NULL if there is none, or
 * @error. Caller calls graphics_free().
 */
Graphics *graphics_parse(const char *xml, GError **error);

/* @graphics may be NULL */
void graphics_free(Graphics *graphics);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Graphics, graphics_free)

#endif
