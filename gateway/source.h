/*
 * Where a machine's picture comes from, and its keyboard's and mouse's input
 * goes to
 *
 * A source is a connection that can be made and ended, again and again; when
 * that is to be, and what is seen meanwhile, is for others to decide. It
 * belongs to one machine. Everything here is for the thread of the main loop,
 * and nothing blocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_SOURCE_H
#define GATEWAY_SOURCE_H

#include <glib.h>

#include "config.h"
#include "picture.h"

typedef struct Source Source;

/* The buttons of a mouse; the wheel's are pressed and let go for each turn */
enum {
    SOURCE_BUTTON_LEFT = 1 << 0,
    SOURCE_BUTTON_MIDDLE = 1 << 1,
    SOURCE_BUTTON_RIGHT = 1 << 2,
    SOURCE_BUTTON_UP = 1 << 3,
    SOURCE_BUTTON_DOWN = 1 << 4,
};

/* What became of a connection */
typedef enum SourceGone {
    SOURCE_LOST,                /* it may be all right the next time */
    /*
     * It has said no, and so it will until somebody changes something: it is
     * not to be asked often, since that may lock an account
     */
    SOURCE_REFUSED,
    /*
     * As SOURCE_LOST, before there was a picture: the next time it is tried with
     * the other kind of pixels; see source_vnc_new()
     */
    SOURCE_PIXELS,
    /* Within the implementation: the session's token was not taken */
    SOURCE_TOKEN,
} SourceGone;

/* What a source tells while it is started, from the main loop */
typedef struct SourceEvents {
    /*
     * This is the picture now, of which all is there: the first one, or one of
     * another size. The source goes on drawing into @picture.
     */
    void (*picture)(Picture *picture, gpointer opaque);
    /* A part of it has changed */
    void (*update)(int x, int y, int width, int height, gpointer opaque);
    /*
     * @rgba are bytes, not premultiplied, valid during the call; NULL is no
     * cursor. Only after a picture.
     */
    void (*cursor)(const guint8 *rgba, int width, int height, int hot_x,
                   int hot_y, gpointer opaque);
    /*
     * Whether the machine's mouse can only be moved; before that, it can be put
     * anywhere. Also before there is a picture.
     */
    void (*pointing)(gboolean is_relative, gpointer opaque);
    /* SPICE_KEYBOARD_MODIFIER_FLAGS_ of the keyboard; none are on before */
    void (*leds)(guint8 leds, gpointer opaque);
    /*
     * There was no connection, or there is none any more; @reason is for a
     * person, and valid during the call. The source is not started any more: it
     * may be started again, but not from here.
     */
    void (*gone)(SourceGone kind, const char *reason, gpointer opaque);
} SourceEvents;

/* What the machine's backend has, for a source that needs it */
typedef struct SourceSession {
    /* The token of its session at the BMC; NULL: there is none at the moment */
    const char *(*token)(gpointer opaque);
    /* It was not taken: has the session ended? */
    void (*doubt)(gpointer opaque);
} SourceSession;

typedef struct SourceMethods {
    /*
     * Connect. Tells @events what happens, until gone() or stop(); both must
     * live that long.
     */
    void (*start)(Source *source, const SourceEvents *events,
                  gpointer opaque);
    /* Disconnect; no event comes any more, gone() neither */
    void (*stop)(Source *source);
    /*
     * A key goes down, or repeats, or goes up; a scan code as in scancodes.h.
     * Lost if there is no connection, or if too much is under way to one that
     * does not take it. What has got through is let go in any case.
     */
    void (*key)(Source *source, guint8 scancode, gboolean down);
    /* Where the pointer is, and SOURCE_BUTTON_; lost as keys are */
    void (*pointer)(Source *source, int x, int y, guint8 buttons);
    /* The same for a mouse that can only be moved: by how much */
    void (*motion)(Source *source, int dx, int dy, guint8 buttons);
    /* Stops it, too */
    void (*free)(Source *source);
} SourceMethods;

/* An implementation has this as its first member */
struct Source {
    const SourceMethods *methods;
};

/*
 * That of @config, which must outlive it and has a picture. @session is for
 * one that wants it, with @opaque.
 *
 * Returns: NULL and @error if what is configured can't be. Caller calls
 * methods->free().
 */
Source *source_new(const MachineConfig *config, const SourceSession *session,
                   gpointer opaque, GError **error);

/* The implementation: it has a process of its own */
Source *source_process_new(const MachineConfig *config,
                           const SourceSession *session, gpointer opaque,
                           GError **error);

/*
 * And what is within that. It is started once, and takes @fd, which is
 * connected. With @own_format the VNC server is left with its own kind of
 * pixels.
 */
Source *source_vnc_new(const MachineConfig *config, int fd,
                       gboolean own_format, GError **error);

#endif
