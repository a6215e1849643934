/*
 * A WebSocket's frames, on a stream: what is in them is bytes from and to a VNC
 * server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_VNC_FRAMES_H
#define GATEWAY_VNC_FRAMES_H

#include "vnc-stream.h"

typedef struct VncFrames VncFrames;

/* Caller calls vnc_frames_free() */
VncFrames *vnc_frames_new(void);

/* As vnc_stream_read() and vnc_stream_write() are for who has no frames */
gssize vnc_frames_read(VncFrames *frames, VncStream *stream, void *data,
                       gsize size, GError **error);
/* After VNC_STREAM_WAIT it is to be called with the same bytes again */
gssize vnc_frames_write(VncFrames *frames, VncStream *stream, const void *data,
                        gsize size, GError **error);

/* @frames may be NULL */
void vnc_frames_free(VncFrames *frames);

#endif
