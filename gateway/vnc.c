/*
 * The host's display, keyboard and mouse, by VNC
 *
 * While the host may be on it's tried to connect to its VNC server, again and
 * again, less and less often. There is a SPICE display from the first picture
 * until the host is known to be off. When there has been no connection for a
 * moment the display has a message that says why, and appears for that if need
 * be. The moment is for what ends by itself: a host that has just been powered
 * on, a server that is started again, and the time until it's known that the
 * host has been powered off.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <gvnc.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "display.h"
#include "input.h"
#include "message.h"
#include "vnc.h"

#define CONNECT_TIMEOUT_S 10
#define RETRY_MS          250
#define RETRY_MAX_MS      5000
/* A peer that is gone without a word is noticed after so many seconds */
#define KEEPALIVE_S       5
#define KEEPALIVE_PROBES  3
/* When nothing has come for so long it is asked, and given as long again */
#define SILENCE_S         10
/* So many events may be on their way to a peer from which nothing comes */
#define MAX_EVENTS        1000
/* More than any BMC's display has; each pixel of it is kept several times */
#define MAX_SIZE          8192
#define MAX_AREA          (4096 * 2400)
/* The moment without video, after which there is a message */
#define MESSAGE_MS        2500

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

static SpiceServer *server;
static const MachineConfig *config;
static gboolean wanted;
static GCancellable *connecting;        /* NULL if it is not */
static VncConnection *vnc;              /* NULL if there is none */
static guint init_timer, retry_timer, silence_timer;
static gboolean asked;                  /* whether it is there */
static int vnc_fd;                      /* that of vnc */
static guint64 received;                /* by it, when it was looked at */
static guint events;                    /* since something has come */
static guint retry_ms;
static char *last_problem;              /* that is in the log */

/* What clients see */
static struct {
    guint32 *pixels;            /* counted, as libgvnc draws into them; or NULL */
    int width, height;          /* the last ones, if there are no pixels */
    gboolean is_message;
} picture = { .width = 640, .height = 480 };
static guint32 *next_pixels;    /* and will, from libgvnc's first update on */
static guint message_timer;

static void connect_now(void);
static gboolean retry(gpointer opaque);

static guint32 *pixels_new(int width, int height)
{
    return g_rc_box_alloc0((gsize)width * height * 4);
}

/* Takes @pixels */
static void picture_show(guint32 *pixels, int width, int height,
                         gboolean is_message)
{
    g_clear_handle_id(&message_timer, g_source_remove);
    display_show(server, width, height);
    g_clear_pointer(&picture.pixels, g_rc_box_release);
    picture.pixels = pixels;
    picture.width = width;
    picture.height = height;
    picture.is_message = is_message;
}

static void picture_end(void)
{
    g_clear_handle_id(&message_timer, g_source_remove);
    display_hide();
    g_clear_pointer(&picture.pixels, g_rc_box_release);
    picture.is_message = FALSE;
}

static void draw_message(void)
{
    g_autofree char *text = g_strdup_printf(
        "%s\n\nTrying again.",
        last_problem ?: "nothing has come from the VNC server yet");

    message_draw(picture.pixels, picture.width, picture.height,
                 "No video from the host", text);
    display_update(picture.pixels, 0, 0, picture.width, picture.height);
}

static gboolean show_message(gpointer opaque)
{
    message_timer = 0;
    picture_show(pixels_new(picture.width, picture.height), picture.width,
                 picture.height, TRUE);
    draw_message();
    return G_SOURCE_REMOVE;
}

static void disconnect_now(void)
{
    if (connecting) {
        g_cancellable_cancel(connecting);
        g_clear_object(&connecting);
    }
    g_clear_handle_id(&init_timer, g_source_remove);
    g_clear_handle_id(&retry_timer, g_source_remove);
    g_clear_handle_id(&silence_timer, g_source_remove);
    if (vnc) {
        input_hide();
        g_signal_handlers_disconnect_matched(vnc, G_SIGNAL_MATCH_DATA, 0, 0,
                                             NULL, NULL, &vnc);
        vnc_connection_shutdown(vnc);
        g_clear_object(&vnc);
        g_clear_pointer(&next_pixels, g_rc_box_release);
    }
}

/* Whatever it is: it may be all right the next time */
static void lost(const char *problem)
{
    disconnect_now();
    if (g_strcmp0(problem, last_problem)) {
        g_warning("no video from the host: %s; it is tried again", problem);
        g_free(last_problem);
        last_problem = g_strdup(problem);
        if (picture.is_message) {
            draw_message();
        }
    }
    if (!picture.is_message && !message_timer) {
        message_timer = g_timeout_add(MESSAGE_MS, show_message, NULL);
    }
    retry_timer = g_timeout_add(retry_ms, retry, NULL);
    retry_ms = MIN(2 * retry_ms, RETRY_MAX_MS);
}

static gboolean retry(gpointer opaque)
{
    retry_timer = 0;
    connect_now();
    return G_SOURCE_REMOVE;
}

/*
 * Bytes: a picture may take minutes on a slow way, and libgvnc tells nothing
 * until it has all of a rectangle. With a UNIX socket it's 0, and not slow.
 */
static guint64 bytes_received(void)
{
    struct tcp_info info = { 0 };
    socklen_t size = sizeof(info);

    getsockopt(vnc_fd, IPPROTO_TCP, TCP_INFO, &info, &size);
    return info.tcpi_bytes_received;
}

static void ask_for_something(void)
{
    vnc_connection_framebuffer_update_request(vnc, FALSE, 0, 0, 1, 1);
}

static gboolean silent(gpointer opaque)
{
    guint64 now_received = bytes_received();

    silence_timer = 0;
    if (asked && now_received == received) {
        lost("the VNC server does not answer");
        return G_SOURCE_REMOVE;
    }
    asked = now_received == received;
    received = now_received;
    if (asked) {
        ask_for_something();
    }
    silence_timer = g_timeout_add_seconds(SILENCE_S, silent, NULL);
    return G_SOURCE_REMOVE;
}

/* Something has come from the VNC server: it is alive */
static void heard(void)
{
    asked = FALSE;
    events = 0;
    g_clear_handle_id(&silence_timer, g_source_remove);
    silence_timer = g_timeout_add_seconds(SILENCE_S, silent, NULL);
}

/* --- what libgvnc tells -------------------------------------------------- */

static void choose_type(VncConnection *conn, GValueArray *types,
                        gpointer opaque)
{
    gboolean none = FALSE, password = FALSE;
    guint i;

    for (i = 0; i < types->n_values; i++) {
        int type = g_value_get_enum(&types->values[i]);

        none = none || type == VNC_CONNECTION_AUTH_NONE;
        password = password || type == VNC_CONNECTION_AUTH_VNC;
    }
    if (password && config->vnc_password) {
        vnc_connection_set_auth_type(conn, VNC_CONNECTION_AUTH_VNC);
    } else if (none) {
        vnc_connection_set_auth_type(conn, VNC_CONNECTION_AUTH_NONE);
    } else if (password) {
        lost("the VNC server wants a password: set [vnc] password-file");
    } else {
        lost("the VNC server wants another authentication than none or a"
             " password");
    }
}

static void give_credential(VncConnection *conn, GValueArray *wanted,
                            gpointer opaque)
{
    guint i;

    for (i = 0; i < wanted->n_values; i++) {
        int type = g_value_get_enum(&wanted->values[i]);
        const char *value = type == VNC_CONNECTION_CREDENTIAL_PASSWORD ?
                            config->vnc_password : NULL;

        if (!value) {
            lost("the VNC server wants more than a password");
            return;
        }
        vnc_connection_set_credential(conn, type, value);
    }
}

static void auth_failed(VncConnection *conn, const char *reason,
                        gpointer opaque)
{
    lost("the VNC server does not accept the password: check [vnc]"
         " password-file");
}

static void auth_unsupported(VncConnection *conn, guint type, gpointer opaque)
{
    lost("the VNC server wants another authentication than none or a"
         " password");
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

/* What is shown now stays until the first update */
static void prepare(int width, int height)
{
    const VncPixelFormat *format = vnc_connection_get_pixel_format(vnc);
    g_autoptr(GObject) framebuffer = NULL;

    if (width < 1 || height < 1 || width > MAX_SIZE || height > MAX_SIZE ||
        width * height > MAX_AREA) {
        g_autofree char *problem = g_strdup_printf(
            "the VNC server's display has %d x %d pixels, spice-gateway takes"
            " 4096 x 2400", width, height);

        lost(problem);
        return;
    }
    if (!is_pixel_format(format)) {
        g_autofree char *problem = g_strdup_printf(
            "the VNC server's pixels have %d bits in a way that spice-gateway does"
            " not take, it takes 8, 16 and 32 with true colour",
            format->bits_per_pixel);

        lost(problem);
        return;
    }
    g_clear_pointer(&next_pixels, g_rc_box_release);
    next_pixels = pixels_new(width, height);
    framebuffer = G_OBJECT(
        vnc_base_framebuffer_new((guint8 *)next_pixels, width, height,
                                 width * 4, &pixel_format, format));
    /* libgvnc draws into it until it has let go of the framebuffer */
    g_object_set_data_full(framebuffer, "pixels", g_rc_box_acquire(next_pixels),
                           g_rc_box_release);
    vnc_connection_set_framebuffer(vnc, VNC_FRAMEBUFFER(framebuffer));
    vnc_connection_framebuffer_update_request(vnc, FALSE, 0, 0, width, height);
}

static void initialized(VncConnection *conn, gpointer opaque)
{
    static gint32 encodings[] = {
        VNC_CONNECTION_ENCODING_TIGHT_JPEG5,
        VNC_CONNECTION_ENCODING_TIGHT,
        VNC_CONNECTION_ENCODING_EXT_KEY_EVENT,
        VNC_CONNECTION_ENCODING_LED_STATE,
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

    g_clear_handle_id(&init_timer, g_source_remove);
    vnc_connection_set_pixel_format(conn, &pixel_format);
    vnc_connection_set_encodings(conn, G_N_ELEMENTS(encodings), encodings);
    heard();
    prepare(vnc_connection_get_width(conn), vnc_connection_get_height(conn));
}

static void resized(VncConnection *conn, int width, int height, gpointer opaque)
{
    prepare(width, height);
}

static void format_changed(VncConnection *conn, VncPixelFormat *format,
                           gpointer opaque)
{
    prepare(vnc_connection_get_width(conn), vnc_connection_get_height(conn));
}

static void cursor_changed(VncConnection *conn, VncCursor *cursor,
                           gpointer opaque)
{
    if (!cursor) {
        display_cursor(NULL, 0, 0, 0, 0);
        return;
    }
    display_cursor(vnc_cursor_get_data(cursor), vnc_cursor_get_width(cursor),
                   vnc_cursor_get_height(cursor), vnc_cursor_get_hotx(cursor),
                   vnc_cursor_get_hoty(cursor));
}

static void leds_changed(VncConnection *conn, gpointer opaque)
{
    heard();
    input_leds_changed();
}

static void updated(VncConnection *conn, int x, int y, int width, int height,
                    gpointer opaque)
{
    int full_width = vnc_connection_get_width(conn);
    int full_height = vnc_connection_get_height(conn);
    VncCursor *cursor = vnc_connection_get_cursor(conn);

    heard();
    if (next_pixels) {
        g_message("video from the host: %s, %d x %d",
                  vnc_connection_get_name(conn), full_width, full_height);
        picture_show(g_steal_pointer(&next_pixels), full_width, full_height,
                     FALSE);
        input_show(server);
        if (cursor) {
            cursor_changed(conn, cursor, NULL); /* it came before */
        }
        retry_ms = RETRY_MS;
        g_clear_pointer(&last_problem, g_free);
    }
    display_update(picture.pixels, x, y, width, height);
    /* And what comes next */
    vnc_connection_framebuffer_update_request(conn, TRUE, 0, 0, full_width,
                                              full_height);
}

static void failed(VncConnection *conn, const char *message, gpointer opaque)
{
    /* With some servers this is all that libgvnc tells about a password */
    if (config->vnc_password && strstr(message, "uthentication failed")) {
        auth_failed(conn, message, opaque);
        return;
    }
    lost(message);
}

static void disconnected(VncConnection *conn, gpointer opaque)
{
    lost("the VNC server has closed the connection");
}

static gboolean init_timed_out(gpointer opaque)
{
    init_timer = 0;
    lost("the VNC server does not answer");
    return G_SOURCE_REMOVE;
}

/* --- connecting ---------------------------------------------------------- */

static void set_keepalive(int fd)
{
    int on = 1, seconds = KEEPALIVE_S, probes = KEEPALIVE_PROBES;
    unsigned int unanswered_ms = KEEPALIVE_S * KEEPALIVE_PROBES * 1000;

    /* These fail with a UNIX socket, and are of no use there */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms,
               sizeof(unanswered_ms));
}

/*
 * libgvnc gives this signal a marshaller for an argument that it does not have:
 * what is connected needs one of its own.
 */
static void connect_leds(void)
{
    GClosure *closure = g_cclosure_new(G_CALLBACK(leds_changed), &vnc, NULL);

    g_closure_set_marshal(closure, g_cclosure_marshal_VOID__VOID);
    g_signal_connect_closure(vnc, "vnc-led-state", closure, FALSE);
}

static void connected(GObject *source, GAsyncResult *result, gpointer opaque)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketConnection) connection = NULL;

    connection = g_socket_client_connect_finish(G_SOCKET_CLIENT(source), result,
                                                &error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        return;                 /* this is not wanted any more */
    }
    g_clear_object(&connecting);
    if (!connection) {
        /* it names a host, but no socket */
        if (config->vnc_socket) {
            g_prefix_error(&error, "%s: ", config->vnc_socket);
        }
        lost(error->message);
        return;
    }

    vnc_fd = dup(g_socket_get_fd(g_socket_connection_get_socket(connection)));
    set_keepalive(vnc_fd);
    vnc = vnc_connection_new();
    vnc_connection_set_shared(vnc, TRUE);
    g_object_connect(vnc,
                     "signal::vnc-auth-choose-type", choose_type, &vnc,
                     "signal::vnc-auth-credential", give_credential, &vnc,
                     "signal::vnc-auth-failure", auth_failed, &vnc,
                     "signal::vnc-auth-unsupported", auth_unsupported, &vnc,
                     "signal::vnc-initialized", initialized, &vnc,
                     "signal::vnc-desktop-resize", resized, &vnc,
                     "signal::vnc-pixel-format-changed", format_changed, &vnc,
                     "signal::vnc-framebuffer-update", updated, &vnc,
                     "signal::vnc-cursor-changed", cursor_changed, &vnc,
                     "signal::vnc-error", failed, &vnc,
                     "signal::vnc-disconnected", disconnected, &vnc,
                     NULL);
    connect_leds();
    init_timer = g_timeout_add_seconds(CONNECT_TIMEOUT_S, init_timed_out, NULL);
    vnc_connection_open_fd(vnc, vnc_fd);
}

static void connect_now(void)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnectable) address = NULL;

    if (config->vnc_socket) {
        address = G_SOCKET_CONNECTABLE(
            g_unix_socket_address_new(config->vnc_socket));
    } else {
        address = g_network_address_new(config->vnc_host, config->vnc_port);
    }
    g_socket_client_set_timeout(client, CONNECT_TIMEOUT_S);
    g_socket_client_set_enable_proxy(client, FALSE);
    connecting = g_cancellable_new();
    g_socket_client_connect_async(client, address, connecting, connected, NULL);
}

void vnc_init(SpiceServer *new_server, const MachineConfig *new_config)
{
    server = new_server;
    config = new_config;
}

void vnc_set_wanted(gboolean now_wanted)
{
    if ((!config->vnc_host && !config->vnc_socket) || now_wanted == wanted) {
        return;
    }
    wanted = now_wanted;
    if (wanted) {
        message_timer = g_timeout_add(MESSAGE_MS, show_message, NULL);
        retry_ms = RETRY_MS;
        connect_now();
    } else {
        disconnect_now();
        picture_end();
        g_clear_pointer(&last_problem, g_free);
    }
}

void vnc_end(void)
{
    vnc_set_wanted(FALSE);
}

/* --- input --------------------------------------------------------------- */

/* libgvnc keeps what can't be sent, without a limit */
static gboolean can_send(void)
{
    return vnc && vnc_connection_is_initialized(vnc) && events < MAX_EVENTS;
}

static void count_event(void)
{
    /* A mouse may move for long, and nothing change on the display */
    if (++events == MAX_EVENTS / 2) {
        ask_for_something();
    }
}

gboolean vnc_key(guint32 keysym, guint16 scancode, gboolean down)
{
    /* What is pressed can be let go: there is one for each, at most */
    if (down ? !can_send() : !vnc || !vnc_connection_is_initialized(vnc)) {
        return FALSE;
    }
    if (down) {
        count_event();
    }
    vnc_connection_key_event(vnc, down, keysym, scancode);
    return TRUE;
}

void vnc_pointer(int x, int y, guint8 buttons)
{
    if (can_send()) {
        count_event();
        vnc_connection_pointer_event(vnc, buttons, x, y);
    }
}

int vnc_leds(void)
{
    return vnc ? vnc_connection_get_ledstate(vnc) : 0;
}
