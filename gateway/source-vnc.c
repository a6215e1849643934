/*
 * A machine's display, keyboard and mouse, by VNC, within the process that
 * decodes it
 *
 * VNC has keysyms: what is on a key. An extension of it has scan codes as well,
 * but a server needs not know it. So both are sent.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <gvnc.h>
#include <spice/enums.h>
#include <unistd.h>

#include "keymap.h"
#include "scancodes.h"
#include "source.h"
#include "vnc-login.h"
#include "vnc-relay.h"

/* From when it's connected until it has told how large the display is */
#define INIT_TIMEOUT_S    10
/* When nothing has come for so long it is asked, and given as long again */
#define SILENCE_S         10
/* So many events may be on their way to a peer from which nothing comes */
#define MAX_EVENTS        1000
/* What a mouse that does not move says, if it can only be moved (QEMU's) */
#define NO_MOTION         0x7fff

/* spice-server's xRGB */
static const VncPixelFormat pixel_format = {
    .bits_per_pixel = 32,
    .depth = 24,
    .byte_order = G_BYTE_ORDER,
    .true_color_flag = 1,
    .red_max = 255,
    .green_max = 255,
    .blue_max = 255,
    .red_shift = 16,
    .green_shift = 8,
    .blue_shift = 0,
};

typedef struct SourceVnc {
    Source base;
    const MachineConfig *config;
    const SourceEvents *events;
    gpointer opaque;

    int fd;                     /* that it has been given; -1: in use */
    VncLogin *login;            /* NULL if it is not logging in */
    VncRelay *relay;            /* between the server and vnc */
    VncConnection *vnc;         /* NULL if there is none */
    gboolean own_format;        /* it's not asked for pixels as SPICE has them */
    guint init_timer, silence_timer;
    gboolean asked;             /* whether it is there */
    guint64 received;           /* by it, when it was looked at */
    Picture *next;              /* from libgvnc's first update on */
    Picture *drawn;             /* libgvnc's; NULL if the display has no size */
    gboolean is_initialized, has_drawn; /* since it is connected */

    Keymap *keymap;
    gboolean sent[0x100];       /* the scan codes that it knows to be down */
    guint typed;                /* events, since something has come */
} SourceVnc;

static void disconnect(SourceVnc *self)
{
    g_clear_handle_id(&self->init_timer, g_source_remove);
    g_clear_handle_id(&self->silence_timer, g_source_remove);
    if (self->vnc) {
        g_signal_handlers_disconnect_by_data(self->vnc, self);
        vnc_connection_shutdown(self->vnc);
        g_clear_object(&self->vnc);
    }
    g_clear_pointer(&self->login, vnc_login_free);
    g_clear_pointer(&self->relay, vnc_relay_free);
    g_clear_pointer(&self->next, picture_unref);
    self->drawn = NULL;
}

static void gone(SourceVnc *self, SourceGone kind, const char *reason)
{
    disconnect(self);
    self->events->gone(kind, reason, self->opaque);
}

/* Whatever it is: it may be all right the next time */
static void lost(SourceVnc *self, const char *reason)
{
    gone(self, SOURCE_LOST, reason);
}

/*
 * It has ended it. There are servers that do so, or fall silent, when they are
 * asked for other pixels than their own (Intel's AMT).
 */
static void ended(SourceVnc *self, const char *reason)
{
    gone(self, self->is_initialized && !self->has_drawn ? SOURCE_PIXELS
                                                        : SOURCE_LOST, reason);
}

static void ask_for_something(SourceVnc *self)
{
    vnc_connection_framebuffer_update_request(self->vnc, FALSE, 0, 0, 1, 1);
}

static gboolean silent(gpointer opaque)
{
    SourceVnc *self = opaque;
    /*
     * A picture may take minutes on a slow way, and libgvnc tells nothing until
     * it has all of a rectangle
     */
    guint64 received = vnc_relay_received(self->relay);

    self->silence_timer = 0;
    /* Without a display there is nothing to answer with */
    if (self->asked && received == self->received && self->drawn) {
        ended(self, "the VNC server does not answer");
        return G_SOURCE_REMOVE;
    }
    self->asked = received == self->received;
    self->received = received;
    if (self->asked) {
        ask_for_something(self);
    }
    self->silence_timer = g_timeout_add_seconds(SILENCE_S, silent, self);
    return G_SOURCE_REMOVE;
}

/* Something has come from the VNC server: it is alive */
static void heard(SourceVnc *self)
{
    self->asked = FALSE;
    self->typed = 0;
    g_clear_handle_id(&self->silence_timer, g_source_remove);
    self->silence_timer = g_timeout_add_seconds(SILENCE_S, silent, self);
}

/* --- what libgvnc tells -------------------------------------------------- */

/* It finds one way only; see vnc-relay.c */
static void choose_type(VncConnection *conn, GValueArray *types,
                        gpointer opaque)
{
    vnc_connection_set_auth_type(conn, VNC_CONNECTION_AUTH_NONE);
}

/* Returns: whether a colour is some bits of a pixel, side by side */
static gboolean is_colour(int max, int shift, int bits_per_pixel)
{
    return max > 0 && !(max & (max + 1)) &&
           shift + g_bit_storage(max) <= (guint)bits_per_pixel;
}

/* libgvnc takes for granted that it is one of these */
static gboolean is_pixel_format(const VncPixelFormat *format)
{
    int bits = format->bits_per_pixel;

    return (bits == 8 || bits == 16 || bits == 32) &&
           format->true_color_flag &&
           is_colour(format->red_max, format->red_shift, bits) &&
           is_colour(format->green_max, format->green_shift, bits) &&
           is_colour(format->blue_max, format->blue_shift, bits);
}

/* Where libgvnc draws from now on; what is shown now stays */
static void set_framebuffer(SourceVnc *self, Picture *picture,
                            const VncPixelFormat *format)
{
    g_autoptr(GObject) framebuffer = G_OBJECT(
        vnc_base_framebuffer_new((guint8 *)picture->pixels, picture->width,
                                 picture->height, picture->width * 4,
                                 &pixel_format, format));

    /* libgvnc draws into it until it has let go of the framebuffer */
    g_object_set_data_full(framebuffer, "picture", picture_ref(picture),
                           (GDestroyNotify)picture_unref);
    vnc_connection_set_framebuffer(self->vnc, VNC_FRAMEBUFFER(framebuffer));
}

/*
 * There is no display, as no monitor is plugged in, or the host is just being
 * switched on. libgvnc needs something to draw into all the same.
 */
static void wait_for_size(SourceVnc *self)
{
    g_autoptr(Picture) nothing = picture_new(1, 1);

    g_clear_pointer(&self->next, picture_unref);
    self->drawn = NULL;
    set_framebuffer(self, nothing, &pixel_format);
    ask_for_something(self);
}

/* What is shown now stays until the first update */
static void prepare(SourceVnc *self, int width, int height)
{
    const VncPixelFormat *format = vnc_connection_get_pixel_format(self->vnc);

    if (!is_pixel_format(format)) {
        g_autofree char *problem = g_strdup_printf(
            "the VNC server's pixels have %d bits%s in a way that spice-gateway"
            " does not take, it takes 8, 16 and 32 with true colour",
            format->bits_per_pixel,
            format->true_color_flag ? "" : ", colours of a palette,");

        lost(self, problem);
        return;
    }
    if (width == 0 || height == 0) {
        wait_for_size(self);
        return;
    }
    if (!picture_may_be(width, height)) {
        g_autofree char *problem = g_strdup_printf(
            "the VNC server's display has %d x %d pixels, spice-gateway"
            " takes 4096 x 2400", width, height);

        lost(self, problem);
        return;
    }
    g_clear_pointer(&self->next, picture_unref);
    self->next = picture_new_shared(width, height);
    if (!self->next) {
        lost(self, "there is not enough memory for the picture");
        return;
    }
    self->drawn = self->next;
    set_framebuffer(self, self->next, format);
    vnc_connection_framebuffer_update_request(self->vnc, FALSE, 0, 0, width,
                                              height);
}

static void initialized(VncConnection *conn, gpointer opaque)
{
    SourceVnc *self = opaque;
    static gint32 encodings[] = {
        VNC_CONNECTION_ENCODING_TIGHT_JPEG5,
        VNC_CONNECTION_ENCODING_TIGHT,
        VNC_CONNECTION_ENCODING_EXT_KEY_EVENT,
        VNC_CONNECTION_ENCODING_LED_STATE,
        VNC_CONNECTION_ENCODING_POINTER_CHANGE,
        VNC_CONNECTION_ENCODING_DESKTOP_RESIZE,
        VNC_CONNECTION_ENCODING_WMVi,
        VNC_CONNECTION_ENCODING_LAST_RECT,
        VNC_CONNECTION_ENCODING_ALPHA_CURSOR,
        VNC_CONNECTION_ENCODING_RICH_CURSOR,
        VNC_CONNECTION_ENCODING_XCURSOR,
        VNC_CONNECTION_ENCODING_ZRLE,
        VNC_CONNECTION_ENCODING_HEXTILE,
        VNC_CONNECTION_ENCODING_RRE,
        VNC_CONNECTION_ENCODING_COPY_RECT,
        VNC_CONNECTION_ENCODING_RAW,
    };

    g_clear_handle_id(&self->init_timer, g_source_remove);
    self->is_initialized = TRUE;
    if (!self->own_format) {
        vnc_connection_set_pixel_format(conn, &pixel_format);
    }
    vnc_connection_set_encodings(conn, G_N_ELEMENTS(encodings), encodings);
    heard(self);
    prepare(self, vnc_connection_get_width(conn),
            vnc_connection_get_height(conn));
}

static void resized(VncConnection *conn, int width, int height, gpointer opaque)
{
    prepare(opaque, width, height);
}

static void format_changed(VncConnection *conn, VncPixelFormat *format,
                           gpointer opaque)
{
    prepare(opaque, vnc_connection_get_width(conn),
            vnc_connection_get_height(conn));
}

static void tell_cursor(SourceVnc *self, VncCursor *cursor)
{
    if (!cursor) {
        self->events->cursor(NULL, 0, 0, 0, 0, self->opaque);
        return;
    }
    self->events->cursor(vnc_cursor_get_data(cursor),
                         vnc_cursor_get_width(cursor),
                         vnc_cursor_get_height(cursor),
                         vnc_cursor_get_hotx(cursor),
                         vnc_cursor_get_hoty(cursor), self->opaque);
}

static void cursor_changed(VncConnection *conn, VncCursor *cursor,
                           gpointer opaque)
{
    SourceVnc *self = opaque;

    /* Without a picture it is told with that */
    if (!self->next) {
        tell_cursor(self, cursor);
    }
}

static void pointing_changed(VncConnection *conn, gboolean is_absolute,
                             gpointer opaque)
{
    SourceVnc *self = opaque;

    heard(self);
    self->events->pointing(!is_absolute, self->opaque);
}

static void leds_changed(VncConnection *conn, gpointer opaque)
{
    SourceVnc *self = opaque;
    int leds = vnc_connection_get_ledstate(conn);

    heard(self);
    self->events->leds((leds & VNC_LEDSTATE_SCROLL_LOCK ?
                        SPICE_KEYBOARD_MODIFIER_FLAGS_SCROLL_LOCK : 0) |
                       (leds & VNC_LEDSTATE_NUM_LOCK ?
                        SPICE_KEYBOARD_MODIFIER_FLAGS_NUM_LOCK : 0) |
                       (leds & VNC_LEDSTATE_CAPS_LOCK ?
                        SPICE_KEYBOARD_MODIFIER_FLAGS_CAPS_LOCK : 0),
                       self->opaque);
}

/* Returns: @max's bits, at most 8, from the first of a byte on, repeated */
static guint32 fill_byte(guint32 byte, int max)
{
    guint bits = g_bit_storage(max);

    for (; bits < 8; bits *= 2) {
        byte |= byte >> bits;
    }
    return byte;
}

/*
 * libgvnc leaves bits at 0 that a colour does not have: white would be grey.
 * It does no harm to what has been filled before.
 */
static void fill_colours(Picture *picture, const VncPixelFormat *format,
                         int x, int y, int width, int height)
{
    guint32 *row = picture->pixels + (gsize)y * picture->width + x;
    int column;

    if (format->red_max >= 255 && format->green_max >= 255 &&
        format->blue_max >= 255) {
        return;
    }
    for (; height > 0; height--, row += picture->width) {
        for (column = 0; column < width; column++) {
            guint32 pixel = row[column];

            row[column] =
                fill_byte(pixel >> 16 & 0xff, format->red_max) << 16 |
                fill_byte(pixel >> 8 & 0xff, format->green_max) << 8 |
                fill_byte(pixel & 0xff, format->blue_max);
        }
    }
}

static void updated(VncConnection *conn, int x, int y, int width, int height,
                    gpointer opaque)
{
    SourceVnc *self = opaque;

    heard(self);
    if (!self->drawn) {
        /* its size comes as an update does */
        vnc_connection_framebuffer_update_request(conn, TRUE, 0, 0, 1, 1);
        return;
    }
    self->has_drawn = TRUE;
    fill_colours(self->drawn, vnc_connection_get_pixel_format(conn), x, y,
                 width, height);
    if (self->next) {
        g_autoptr(Picture) picture = g_steal_pointer(&self->next);
        VncCursor *cursor = vnc_connection_get_cursor(conn);

        g_message("%s: video from the host: %s, %d x %d", self->config->name,
                  vnc_connection_get_name(conn), picture->width,
                  picture->height);
        self->events->picture(picture, self->opaque);
        if (cursor) {
            tell_cursor(self, cursor);
        }
    }
    self->events->update(x, y, width, height, self->opaque);
    /* And what comes next */
    vnc_connection_framebuffer_update_request(conn, TRUE, 0, 0,
                                              vnc_connection_get_width(conn),
                                              vnc_connection_get_height(conn));
}

static void failed(VncConnection *conn, const char *message, gpointer opaque)
{
    ended(opaque, message);
}

static void disconnected(VncConnection *conn, gpointer opaque)
{
    ended(opaque, "the VNC server has closed the connection");
}

static gboolean init_timed_out(gpointer opaque)
{
    SourceVnc *self = opaque;

    self->init_timer = 0;
    lost(self, "the VNC server does not answer");
    return G_SOURCE_REMOVE;
}

/* --- beginning ----------------------------------------------------------- */

/*
 * libgvnc gives this signal a marshaller for an argument that it does not have:
 * what is connected needs one of its own.
 */
static void connect_leds(SourceVnc *self)
{
    GClosure *closure = g_cclosure_new(G_CALLBACK(leds_changed), self, NULL);

    g_closure_set_marshal(closure, g_cclosure_marshal_VOID__VOID);
    g_signal_connect_closure(self->vnc, "vnc-led-state", closure, FALSE);
}

/* We have logged in: libgvnc goes on */
static void open_vnc(SourceVnc *self, VncStream *stream)
{
    g_autoptr(GError) error = NULL;
    int fd;

    self->relay = vnc_relay_new(stream, &fd, &error);
    if (!self->relay) {
        lost(self, error->message);
        return;
    }
    self->vnc = vnc_connection_new();
    vnc_connection_set_shared(self->vnc, TRUE);
    g_object_connect(self->vnc,
                     "signal::vnc-auth-choose-type", choose_type, self,
                     "signal::vnc-initialized", initialized, self,
                     "signal::vnc-desktop-resize", resized, self,
                     "signal::vnc-pixel-format-changed", format_changed, self,
                     "signal::vnc-framebuffer-update", updated, self,
                     "signal::vnc-cursor-changed", cursor_changed, self,
                     "signal::vnc-pointer-mode-changed", pointing_changed, self,
                     "signal::vnc-error", failed, self,
                     "signal::vnc-disconnected", disconnected, self,
                     NULL);
    connect_leds(self);
    vnc_connection_open_fd(self->vnc, fd);
}

static void logged_in(VncStream *stream, SourceGone kind, const char *reason,
                      gpointer opaque)
{
    SourceVnc *self = opaque;

    g_clear_pointer(&self->login, vnc_login_free);
    if (stream) {
        open_vnc(self, stream);
    } else {
        gone(self, kind, reason);
    }
}

static void vnc_start(Source *source, const SourceEvents *events,
                      gpointer opaque)
{
    SourceVnc *self = (SourceVnc *)source;

    self->events = events;
    self->opaque = opaque;
    self->init_timer = g_timeout_add_seconds(INIT_TIMEOUT_S, init_timed_out,
                                             self);
    self->login = vnc_login_new(vnc_stream_new(self->fd), self->config,
                                logged_in, self);
    self->fd = -1;
}

static void vnc_stop(Source *source)
{
    disconnect((SourceVnc *)source);
}

/* --- input --------------------------------------------------------------- */

static gboolean is_connected(SourceVnc *self)
{
    return self->vnc && vnc_connection_is_initialized(self->vnc);
}

/* libgvnc keeps what can't be sent, without a limit */
static gboolean has_room(SourceVnc *self)
{
    return is_connected(self) && self->typed < MAX_EVENTS;
}

static void count_event(SourceVnc *self)
{
    /* A mouse may move for long, and nothing change on the display */
    if (++self->typed == MAX_EVENTS / 2) {
        ask_for_something(self);
    }
}

static void vnc_key(Source *source, guint8 scancode, gboolean down)
{
    SourceVnc *self = (SourceVnc *)source;
    guint32 keysym;

    if (!scancode_to_evdev(scancode)) {
        return;
    }
    keysym = keymap_key(self->keymap, scancode, down);
    if (down && has_room(self)) {
        count_event(self);
        self->sent[scancode] = TRUE;
        vnc_connection_key_event(self->vnc, TRUE, keysym, scancode);
    } else if (!down && self->sent[scancode] && is_connected(self)) {
        /* without a limit: there is one for each key, at most */
        self->sent[scancode] = FALSE;
        vnc_connection_key_event(self->vnc, FALSE, keysym, scancode);
    }
}

static void vnc_pointer(Source *source, int x, int y, guint8 buttons)
{
    SourceVnc *self = (SourceVnc *)source;

    /* The buttons have the same numbers */
    if (has_room(self)) {
        count_event(self);
        vnc_connection_pointer_event(self->vnc, buttons, x, y);
    }
}

static void vnc_motion(Source *source, int dx, int dy, guint8 buttons)
{
    vnc_pointer(source, NO_MOTION + CLAMP(dx, -NO_MOTION, NO_MOTION),
                NO_MOTION + CLAMP(dy, -NO_MOTION, NO_MOTION), buttons);
}

/* ------------------------------------------------------------------------- */

static void vnc_free(Source *source)
{
    SourceVnc *self = (SourceVnc *)source;

    disconnect(self);
    if (self->fd >= 0) {
        close(self->fd);
    }
    keymap_free(self->keymap);
    g_free(self);
}

Source *source_vnc_new(const MachineConfig *config, int fd,
                       gboolean own_format, GError **error)
{
    static const SourceMethods methods = {
        .start = vnc_start,
        .stop = vnc_stop,
        .key = vnc_key,
        .pointer = vnc_pointer,
        .motion = vnc_motion,
        .free = vnc_free,
    };
    Keymap *keymap = keymap_new(config->keyboard_layout, error);
    SourceVnc *self;

    if (!keymap) {
        close(fd);
        return NULL;
    }
    self = g_new0(SourceVnc, 1);
    self->base.methods = &methods;
    self->config = config;
    self->fd = fd;
    self->own_format = own_format;
    self->keymap = keymap;
    return &self->base;
}
