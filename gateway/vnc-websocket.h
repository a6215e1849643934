/*
 * How a WebSocket begins, which is HTTP
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_VNC_WEBSOCKET_H
#define GATEWAY_VNC_WEBSOCKET_H

#include "source.h"

/* Returns: whether @url is one; its parts are the caller's, @host and @path */
gboolean vnc_websocket_parse(const char *url, gboolean *is_secure, char **host,
                             int *port, char **path);

/* Returns: what makes the server's answer its own; caller frees */
char *vnc_websocket_key(void);

/*
 * Returns: what to send first; caller frees. @token is a session's, @user whose
 * password it is; NULL if there is none
 */
char *vnc_websocket_request(const char *url, const char *key,
                            const char *token, const char *user,
                            const char *password);

/*
 * @answer is all of the server's head, up to the empty line, to a request with
 * a token or without.
 *
 * Returns: NULL if frames come next; else @kind, and why not, for a person;
 * caller frees
 */
char *vnc_websocket_problem(const char *answer, const char *key,
                            gboolean has_token, SourceGone *kind);

#endif
