/*
 * Files with a password or a key in them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_SECRET_H
#define GATEWAY_SECRET_H

#include <glib.h>

/*
 * The first line of a file; also warns as secret_warn() does.
 *
 * Returns: NULL and @error if there is none that could be a secret; caller frees
 */
char *secret_read(const char *path, GError **error);

/* Say so in the log, once, if everybody on this computer can read it */
void secret_warn(const char *path);

#endif
