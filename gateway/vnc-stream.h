/*
 * Bytes from and to a VNC server, with TLS or without, in frames or not
 *
 * Nothing blocks. Everything here is for the thread of the main loop. SIGPIPE
 * is to be ignored.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_VNC_STREAM_H
#define GATEWAY_VNC_STREAM_H

#include <glib.h>

typedef struct VncStream VncStream;

/* How to find out who the server is */
typedef struct VncTrust {
    gboolean anonymous;         /* not at all */
    const char *ca_file;        /* NULL: whom this computer trusts */
    const char *fingerprint;    /* of its certificate, instead; or NULL */
    const char *host;           /* the name or address in its certificate */
} VncTrust;

/* What reading, writing and the handshake return when it is not done */
enum {
    VNC_STREAM_WAIT = -1,       /* for vnc_stream_wants() */
    VNC_STREAM_BROKEN = -2,     /* and @error says why */
};

/*
 * In a process that soon can't open files: whom to trust is read now, for all
 * streams. @ca_file is as in VncTrust.
 */
void vnc_stream_keep_trust(const char *ca_file);

/* Takes @fd, which is connected. Returns: caller calls vnc_stream_free() */
VncStream *vnc_stream_new(int fd);

int vnc_stream_fd(VncStream *stream);

/* Returns: how many bytes, 0 at the end; or one of the above */
gssize vnc_stream_read(VncStream *stream, void *data, gsize size,
                       GError **error);
/*
 * After VNC_STREAM_WAIT it is to be called with the same bytes again.
 *
 * Returns: how many bytes; or one of the above
 */
gssize vnc_stream_write(VncStream *stream, const void *data, gsize size,
                        GError **error);

/* From now on all of it is in a WebSocket's frames */
void vnc_stream_start_frames(VncStream *stream);
/* What is beneath them, for vnc-frames.c alone */
gssize vnc_stream_raw_read(VncStream *stream, void *data, gsize size,
                           GError **error);
gssize vnc_stream_raw_write(VncStream *stream, const void *data, gsize size,
                            GError **error);

/* What the last read, write or handshake waits for */
GIOCondition vnc_stream_wants(VncStream *stream);

/*
 * Begin TLS; all files are read now. Until vnc_stream_handshake() is done there
 * is no reading and writing.
 */
gboolean vnc_stream_start_tls(VncStream *stream, const VncTrust *trust,
                              GError **error);
/* Returns: 0 when it is done; or one of the above */
int vnc_stream_handshake(VncStream *stream, GError **error);

/* How many bytes have been read so far */
guint64 vnc_stream_received(VncStream *stream);

/* @stream may be NULL */
void vnc_stream_free(VncStream *stream);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VncStream, vnc_stream_free)

/* Whether that is the SHA-256 of a certificate: 64 digits, colons between */
gboolean vnc_is_fingerprint(const char *text);

#endif
