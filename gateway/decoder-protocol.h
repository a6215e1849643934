/*
 * What spice-gateway and its decoders say to each other
 *
 * A decoder is a process that is connected to one machine's VNC server. It may
 * have been taken over by that server, so nothing that it says is trusted:
 * decoder_receive() only sees to it that there is a whole message.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_DECODER_PROTOCOL_H
#define GATEWAY_DECODER_PROTOCOL_H

#include <glib.h>

/* How spice-gateway runs itself as one; its socket is standard input */
#define DECODER_OPTION "--vnc-decoder"
/* Nobody points with a bigger one */
#define DECODER_MAX_CURSOR 256
#define DECODER_MAX_TEXT   1024
#define DECODER_MAX_CONFIG 32768

typedef enum DecoderType {
    /*
     * To the decoder: with the connection as descriptor, and config_pack_vnc()
     * as data; value is not 0 if the server is left with its own kind of
     * pixels. The first one, and once
     */
    DECODER_START = 1,
    DECODER_KEY,                /* value is the scan code, is_down */
    DECODER_POINTER,            /* x, y; value is SOURCE_BUTTON_ */
    DECODER_MOTION,             /* the same, and x, y are by how much */
    DECODER_ASK,                /* whether it is alive */

    /* From it */
    DECODER_ALIVE,
    DECODER_PICTURE,            /* width, height; its memory as descriptor */
    DECODER_UPDATE,             /* x, y, width, height */
    DECODER_CURSOR,             /* the same, and x, y are the hot spot; no
                                   descriptor and all 0 is no cursor */
    DECODER_POINTING,           /* value is not 0 for DECODER_MOTION */
    DECODER_LEDS,               /* value */
    DECODER_LOG,                /* value is not 0 for a warning; text */
    DECODER_GONE,               /* value is a SourceGone; text. The last one */
} DecoderType;

/* What a message begins with; what it does not use is 0 */
typedef struct DecoderHead {
    guint32 type;
    gint32 x, y, width, height;
    guint32 value;
    guint32 is_down;
} DecoderHead;

typedef struct DecoderMessage {
    DecoderHead head;
    /* What follows, and a zero behind it */
    gsize size;
    char data[DECODER_MAX_CONFIG + 1];
    int fd;                     /* or -1 */
} DecoderMessage;

/*
 * @fd goes with it, unless it is -1.
 *
 * Returns: FALSE and errno, EAGAIN if it would take time and @wait is not set
 */
gboolean decoder_send(int socket, const DecoderHead *head, const void *data,
                      gsize size, int fd, gboolean wait);

typedef enum DecoderReceived {
    DECODER_RECEIVED,
    DECODER_NOTHING,            /* now */
    DECODER_ENDED,
    DECODER_WRONG,              /* it is no message */
} DecoderReceived;

/* With DECODER_RECEIVED the caller takes the message's fd */
DecoderReceived decoder_receive(int socket, DecoderMessage *message,
                                gboolean wait);

#endif
