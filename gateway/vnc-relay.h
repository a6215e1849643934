/*
 * What goes between a VNC server that has let us in and libgvnc
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_VNC_RELAY_H
#define GATEWAY_VNC_RELAY_H

#include "vnc-stream.h"

typedef struct VncRelay VncRelay;

/*
 * Takes @stream. @fd is set to where libgvnc finds a server that lets in
 * everybody, and then what comes from @stream; it is the caller's.
 *
 * Returns: NULL and @error if there is no descriptor left; caller calls
 * vnc_relay_free()
 */
VncRelay *vnc_relay_new(VncStream *stream, int *fd, GError **error);

/* How many bytes have come from the server */
guint64 vnc_relay_received(VncRelay *relay);

/*
 * What libgvnc has said goes out, if the server takes it; @fd then finds the
 * end. @relay may be NULL.
 */
void vnc_relay_free(VncRelay *relay);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VncRelay, vnc_relay_free)

#endif
