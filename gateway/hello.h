/*
 * Which machine a client asks for, as it begins TLS
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_HELLO_H
#define GATEWAY_HELLO_H

#include <glib.h>

/* More than this is no beginning of TLS */
#define HELLO_MAX (16 * 1024)

typedef enum Hello {
    HELLO_UNFINISHED,           /* more has to come */
    HELLO_NONE,                 /* that is not how TLS begins */
    HELLO_DONE,
} Hello;

/*
 * What the first @size bytes of a client are. With HELLO_DONE, @name is the
 * name that it asks for, or NULL if it does not; caller frees it. For the
 * thread of the main loop.
 */
Hello hello_read(const guint8 *data, gsize size, char **name);

#endif
