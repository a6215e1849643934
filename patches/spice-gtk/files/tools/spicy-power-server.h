/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "spice-client.h"

/* A file that tells a viewer where to connect, by its name */
gboolean server_is_file(const char *word);

/* Set the session up as such a file says, and delete it if it says that. FALSE, with an error,
 * if it can't be read or is for something else than SPICE. */
gboolean server_set_file(SpiceSession *session, const char *path, GError **error);

/* Set the password that is the first line of @path, or of standard input if that is "-", of
 * which no more is read */
gboolean server_set_password_file(SpiceSession *session, const char *path, GError **error);

/* After the server has refused the session with @refusal: ask on the terminal for what it wants
 * and was not given. FALSE if there is nothing to ask, or nobody answers. */
gboolean server_ask(SpiceSession *session, const GError *refusal);
