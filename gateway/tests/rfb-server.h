/*
 * A VNC server that says and hears what a test wants, right or wrong
 *
 * It is for one connection at a time, and in the test's own thread: who waits
 * here has the main loop run, so that the other side goes on. Written from RFC
 * 6143, and VeNCrypt's description in the registry of RFB's protocols.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_RFB_SERVER_H
#define GATEWAY_TESTS_RFB_SERVER_H

#include <gio/gio.h>

typedef struct RfbServer RfbServer;

typedef struct RfbFormat {
    guint8 bits, depth, is_big_endian, is_true_colour;
    guint16 red_max, green_max, blue_max;
    guint8 red_shift, green_shift, blue_shift;
} RfbFormat;

/* spice-server's own */
extern const RfbFormat rfb_xrgb;

/* What clients send */
enum {
    RFB_SET_PIXEL_FORMAT = 0,
    RFB_SET_ENCODINGS = 2,
    RFB_UPDATE_REQUEST = 3,
    RFB_KEY = 4,
    RFB_POINTER = 5,
};

/* And encodings */
enum {
    RFB_RAW = 0,
    RFB_COPY_RECT = 1,
    RFB_RRE = 2,
    RFB_DESKTOP_SIZE = -223,
    RFB_POINTING = -257,
    RFB_WMVI = 0x574d5669,
};

/* With TCP, at this port of 127.0.0.1; caller calls rfb_server_free() */
RfbServer *rfb_server_new(int *port);
void rfb_server_free(RfbServer *server);

/* Wait for the next client; one that is still there is left */
void rfb_accept(RfbServer *server);
/* Whether there is one who waits */
gboolean rfb_has_client(RfbServer *server);
/* Leave it */
void rfb_hang_up(RfbServer *server);
/* Wait until it has left */
void rfb_wait_closed(RfbServer *server);

void rfb_say(RfbServer *server, const void *data, gsize size);
void rfb_say_text(RfbServer *server, const char *text);
void rfb_say_u8(RfbServer *server, guint8 value);
void rfb_say_u16(RfbServer *server, guint16 value);
void rfb_say_u32(RfbServer *server, guint32 value);

/* Wait for so many bytes; valid until the next call */
const guint8 *rfb_hear(RfbServer *server, gsize size);
guint32 rfb_hear_u32(RfbServer *server);
/* Whether there is more to hear, now */
gboolean rfb_has_more(RfbServer *server);
void rfb_expect(RfbServer *server, const void *data, gsize size);
void rfb_expect_text(RfbServer *server, const char *text);

/* Wait for the next message, without its first byte, the type */
int rfb_message(RfbServer *server, const guint8 **body);
/* The same, of this type; others are dropped */
const guint8 *rfb_wait(RfbServer *server, int type);

/* Version 3.8, and no password; up to ClientInit, and with it */
void rfb_log_in(RfbServer *server);
void rfb_init(RfbServer *server, int width, int height,
              const RfbFormat *format);
void rfb_say_format(RfbServer *server, const RfbFormat *format);
/* All of that, until the client has asked for a picture */
void rfb_be_friendly(RfbServer *server, int width, int height);

/* An update of so many rectangles begins; and each of them */
void rfb_update(RfbServer *server, int count);
void rfb_rectangle(RfbServer *server, int x, int y, int width, int height,
                   gint32 encoding);
/* A whole update: a rectangle of one pixel's value, or another size */
void rfb_fill(RfbServer *server, int width, int height, const void *pixel,
              int size);
void rfb_resize(RfbServer *server, int width, int height);

/* Go on with TLS; @cert and @key are PEM files, NULL for none at all */
gboolean rfb_start_tls(RfbServer *server, const char *cert, const char *key);

/*
 * Answer as a web server does that has a WebSocket there; from now on all is in
 * frames of @frame_size bytes, with a ping before each. The client's first line
 * and headers are the caller's.
 */
char *rfb_start_websocket(RfbServer *server, gsize frame_size);
/* The same without an answer, for a server that has another one */
char *rfb_hear_http(RfbServer *server);
/* As it is, whether there are frames or not */
void rfb_say_raw(RfbServer *server, const void *data, gsize size);
/* Pings that the client has answered */
guint rfb_pongs(RfbServer *server);

#endif
