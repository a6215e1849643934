/*
 * A WebSocket's frames, on a stream
 *
 * RFC 6455, a client's side of it, without extensions. Where a message begins
 * and ends means nothing here. Nothing is read that nobody takes: libsoup's
 * WebSocket would read on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <string.h>

#include "vnc-frames.h"

/* OpenBMC's web server has a buffer of 1024 for what we send */
#define MAX_PAYLOAD   512
#define MAX_CONTROL   125
/* The first two bytes, eight of length; and what we send has a mask */
#define MAX_HEAD      10
#define MASK_SIZE     4

enum {
    TEXT_FRAME = 1,
    BINARY_FRAME = 2,
    CLOSE_FRAME = 8,
    PING_FRAME = 9,
    PONG_FRAME = 10,
};

struct VncFrames {
    /* The frame that comes */
    guint8 head[MAX_HEAD];
    gsize have;                 /* of the head; all of it if there is more */
    gboolean in_payload;
    guint64 left;               /* of the payload */
    guint8 control[MAX_CONTROL + 1];
    gsize control_size;

    /* The frame that goes */
    guint8 out[4 + MASK_SIZE + MAX_PAYLOAD];
    gsize out_begin, out_end;
    gsize taken;                /* of what the caller has; in it */

    guint8 pong[MAX_CONTROL];
    gsize pong_size;
    gboolean has_pong;          /* to be sent */
};

VncFrames *vnc_frames_new(void)
{
    return g_new0(VncFrames, 1);
}

void vnc_frames_free(VncFrames *frames)
{
    g_free(frames);
}

/* --- what goes ----------------------------------------------------------- */

static void put_frame(VncFrames *frames, int type, const guint8 *data,
                      gsize size)
{
    guint8 *to = frames->out;
    guint32 mask = g_random_int();
    gsize i;

    *to++ = 0x80 | type;        /* all of a message */
    if (size <= MAX_CONTROL) {
        *to++ = 0x80 | size;
    } else {
        *to++ = 0x80 | 126;
        *to++ = size >> 8;
        *to++ = size;
    }
    memcpy(to, &mask, MASK_SIZE);
    for (i = 0; i < size; i++) {
        to[MASK_SIZE + i] = data[i] ^ to[i % MASK_SIZE];
    }
    frames->out_begin = 0;
    frames->out_end = to + MASK_SIZE + size - frames->out;
}

/* Returns: 0 when all is on its way */
static gssize flush(VncFrames *frames, VncStream *stream, GError **error)
{
    while (frames->out_begin < frames->out_end) {
        gssize size = vnc_stream_raw_write(stream,
                                           frames->out + frames->out_begin,
                                           frames->out_end - frames->out_begin,
                                           error);

        if (size < 0) {
            return size;
        }
        frames->out_begin += size;
    }
    return 0;
}

static gssize send_pong(VncFrames *frames, VncStream *stream, GError **error)
{
    if (frames->has_pong && frames->out_begin == frames->out_end) {
        put_frame(frames, PONG_FRAME, frames->pong, frames->pong_size);
        frames->has_pong = FALSE;
        return flush(frames, stream, error);
    }
    return 0;
}

gssize vnc_frames_write(VncFrames *frames, VncStream *stream, const void *data,
                        gsize size, GError **error)
{
    gssize result = flush(frames, stream, error);
    gsize taken;

    if (result == 0 && !frames->taken) {
        result = send_pong(frames, stream, error);
    }
    if (result < 0) {
        return result;
    }
    if (!frames->taken) {
        frames->taken = MIN(size, MAX_PAYLOAD);
        put_frame(frames, BINARY_FRAME, data, frames->taken);
        result = flush(frames, stream, error);
        if (result < 0) {
            return result;
        }
    }
    taken = frames->taken;
    frames->taken = 0;
    return taken;
}

/* --- what comes ---------------------------------------------------------- */

static gssize wrong(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "the WebSocket"
                " server sends %s", what);
    return VNC_STREAM_BROKEN;
}

static gsize head_size(const VncFrames *frames)
{
    int length = frames->have >= 2 ? frames->head[1] & 0x7f : 0;

    return length == 127 ? 10 : length == 126 ? 4 : 2;
}

static gboolean is_control(const VncFrames *frames)
{
    return frames->head[0] & 8;
}

/* Returns: more than 0 if there is a head */
static gssize read_head(VncFrames *frames, VncStream *stream, GError **error)
{
    gsize i, size;

    while (frames->have < (size = head_size(frames))) {
        gssize result = vnc_stream_raw_read(stream,
                                            frames->head + frames->have,
                                            size - frames->have, error);

        if (result <= 0) {
            return result;
        }
        frames->have += result;
    }
    frames->left = frames->head[1] & 0x7f;
    if (size > 2) {
        frames->left = 0;
        for (i = 2; i < size; i++) {
            frames->left = frames->left << 8 | frames->head[i];
        }
    }
    if (frames->head[0] & 0x70) {
        return wrong(error, "an extension that nobody has asked for");
    }
    if (frames->head[1] & 0x80) {
        return wrong(error, "what only a client may");
    }
    if (is_control(frames) && frames->left > MAX_CONTROL) {
        return wrong(error, "a control frame that is too long");
    }
    frames->in_payload = TRUE;
    frames->control_size = 0;
    return 1;
}

static void end_frame(VncFrames *frames)
{
    frames->have = 0;
    frames->in_payload = FALSE;
}

/* All of a frame that is not for us. Returns: 0 if it is the last one */
static gssize take_control(VncFrames *frames, VncStream *stream,
                           GError **error)
{
    int type = frames->head[0] & 0xf;

    end_frame(frames);
    if (type == CLOSE_FRAME) {
        frames->control[frames->control_size] = '\0';
        /* a number, and then the reason, if there is one */
        if (frames->control_size <= 2) {
            return 0;
        }
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_CLOSED, "the web server has"
                    " ended the WebSocket: %s", (char *)frames->control + 2);
        return VNC_STREAM_BROKEN;
    }
    if (type != PING_FRAME) {
        return 1;
    }
    /* if one has not got out yet the newer one is enough */
    memcpy(frames->pong, frames->control, frames->control_size);
    frames->pong_size = frames->control_size;
    frames->has_pong = TRUE;
    return frames->taken || send_pong(frames, stream, error) !=
           VNC_STREAM_BROKEN ? 1 : VNC_STREAM_BROKEN;
}

static gssize read_control(VncFrames *frames, VncStream *stream,
                           GError **error)
{
    while (frames->left) {
        gssize size = vnc_stream_raw_read(stream, frames->control +
                                          frames->control_size, frames->left,
                                          error);

        if (size <= 0) {
            return size;
        }
        frames->control_size += size;
        frames->left -= size;
    }
    return take_control(frames, stream, error);
}

static gssize read_payload(VncFrames *frames, VncStream *stream, void *data,
                           gsize size, GError **error)
{
    gssize result = vnc_stream_raw_read(stream, data, MIN(size, frames->left),
                                        error);

    if (result > 0) {
        frames->left -= result;
        if (!frames->left) {
            end_frame(frames);
        }
    }
    return result;
}

gssize vnc_frames_read(VncFrames *frames, VncStream *stream, void *data,
                       gsize size, GError **error)
{
    gssize result;

    do {
        result = frames->in_payload ? 1 : read_head(frames, stream, error);
        if (result <= 0) {
            return result;
        }
        if (!is_control(frames) && frames->left) {
            return read_payload(frames, stream, data, size, error);
        }
        if (is_control(frames)) {
            result = read_control(frames, stream, error);
        } else {
            end_frame(frames);  /* it is empty */
        }
    } while (result > 0);
    return result;
}
