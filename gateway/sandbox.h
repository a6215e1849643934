/*
 * A process that can do nothing but what it has been started for
 *
 * What a decoder is, once it has all that it needs: whoever takes it over has
 * one connection and one machine's picture, and no way to open, connect to,
 * start or signal anything.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_SANDBOX_H
#define GATEWAY_SANDBOX_H

#include <glib.h>

/*
 * First of all: it ends with its parent, nobody looks into it, it gets no
 * rights by what it starts, and it has no descriptors but those up to @last_fd.
 * When memory is short it goes first.
 */
void sandbox_prepare(int last_fd);

/*
 * From now on there is a limit on memory, files and processes, and of the
 * system calls a few are left; all others fail with EACCES. Not to be undone.
 * Call it in a process with one thread.
 *
 * Returns: FALSE and @error if the system has no such thing
 */
gboolean sandbox_enter(GError **error);

#endif
