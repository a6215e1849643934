/*
 * Memory that is handed from one process to another, which need not trust it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_MEMORY_H
#define GATEWAY_MEMORY_H

#include <glib.h>

/* Returns: a descriptor of @size bytes, zero, whose size can't change any more;
 * -1 and errno if there can't be */
int memory_new(gsize size);

/* Returns: whether a stranger's @fd is as memory_new() makes it */
gboolean memory_is_good(int fd, gsize size);

#endif
