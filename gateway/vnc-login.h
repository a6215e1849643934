/*
 * To log in to a VNC server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_VNC_LOGIN_H
#define GATEWAY_VNC_LOGIN_H

#include "config.h"
#include "source.h"
#include "vnc-stream.h"

typedef struct VncLogin VncLogin;

/*
 * It's over. We are in if @stream is not NULL, and what comes next is what a
 * client says first, ClientInit; @stream is the receiver's. Otherwise @reason
 * is for a person, and valid during the call. The login may be freed from here.
 */
typedef void (*VncLoginDone)(VncStream *stream, SourceGone kind,
                             const char *reason, gpointer opaque);

/*
 * Takes @stream. @config has user, password and whom to trust, and must outlive
 * it. @done is called later, from the main loop, and once.
 *
 * Returns: caller calls vnc_login_free()
 */
VncLogin *vnc_login_new(VncStream *stream, const MachineConfig *config,
                        VncLoginDone done, gpointer opaque);

/* @login may be NULL; @done is not called any more */
void vnc_login_free(VncLogin *login);

#endif
