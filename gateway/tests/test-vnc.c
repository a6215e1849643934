/*
 * VNC servers as they really are: the picture that comes of what they say, or
 * the reason why there is none
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <signal.h>
#include <string.h>

#include "decoder.h"
#include "decoder-process.h"
#include "loop.h"
#include "rfb-server.h"
#include "source.h"
#include "vnc-security.h"

/* --- who looks at it ----------------------------------------------------- */

typedef struct Fixture {
    RfbServer *server;
    MachineConfig config;
    Source *source;

    Picture *picture;           /* the last one; or NULL */
    guint pictures, updates;
    gboolean is_gone;
    SourceGone kind;
    char *reason;               /* of the last gone() */
} Fixture;

static void picture_told(Picture *picture, gpointer opaque)
{
    Fixture *f = opaque;

    g_clear_pointer(&f->picture, picture_unref);
    f->picture = picture_ref(picture);
    f->pictures++;
}

static void update_told(int x, int y, int width, int height, gpointer opaque)
{
    Fixture *f = opaque;

    g_assert_nonnull(f->picture);
    g_assert_cmpint(x + width, <=, f->picture->width);
    g_assert_cmpint(y + height, <=, f->picture->height);
    f->updates++;
}

static void cursor_told(const guint8 *rgba, int width, int height, int hot_x,
                        int hot_y, gpointer opaque)
{
}

static void leds_told(guint8 leds, gpointer opaque)
{
}

static void gone_told(SourceGone kind, const char *reason, gpointer opaque)
{
    Fixture *f = opaque;

    g_test_message("gone: %s", reason);
    g_assert_false(f->is_gone);
    g_free(f->reason);
    f->reason = g_strdup(reason);
    f->kind = kind;
    f->is_gone = TRUE;
}

static void start(Fixture *f)
{
    static const SourceEvents events = {
        .picture = picture_told,
        .update = update_told,
        .cursor = cursor_told,
        .leds = leds_told,
        .gone = gone_told,
    };

    f->is_gone = FALSE;
    f->source->methods->start(f->source, &events, f);
}

static void set_up(Fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->config.name = (char *)"a";
    f->config.source = SOURCE_VNC;
    f->config.vnc_host = (char *)"127.0.0.1";
    f->config.keyboard_layout = (char *)"us";
    f->server = rfb_server_new(&f->config.vnc_port);
    f->source = source_vnc_new(&f->config, NULL);
    g_assert_nonnull(f->source);
}

static void tear_down(Fixture *f)
{
    f->source->methods->free(f->source);
    rfb_server_free(f->server);
    g_clear_pointer(&f->picture, picture_unref);
    g_free(f->reason);
    /* what libgvnc has put off */
    run_what_is_due();
}

/* It's over, of that kind, and the reason says so */
static void check_gone(Fixture *f, SourceGone kind, const char *reason)
{
    RUN_UNTIL(f->is_gone);
    if (!strstr(f->reason, reason)) {
        g_error("it says \"%s\", and not \"%s\"", f->reason, reason);
    }
    g_assert_cmpint(f->kind, ==, kind);
}

static gboolean shows(Fixture *f, int width, int height, guint32 colour)
{
    gsize i;

    if (!f->picture || f->picture->width != width ||
        f->picture->height != height) {
        return FALSE;
    }
    for (i = 0; i < (gsize)width * height; i++) {
        if ((f->picture->pixels[i] & 0xffffff) != colour) {
            return FALSE;
        }
    }
    return TRUE;
}

static const guint8 orange[4] = { 0x33, 0x99, 0xff, 0 };
#define ORANGE 0xff9933

/* --- sizes --------------------------------------------------------------- */

/* It has no display yet when it is asked */
static void test_no_size_yet(void)
{
    Fixture f;

    set_up(&f);
    start(&f);
    rfb_be_friendly(f.server, 0, 0);
    run_what_is_due();
    g_assert_false(f.is_gone);
    rfb_resize(f.server, 64, 48);
    rfb_wait(f.server, RFB_UPDATE_REQUEST);
    g_assert_cmpuint(f.pictures, ==, 0);
    rfb_fill(f.server, 64, 48, orange, 4);
    RUN_UNTIL(shows(&f, 64, 48, ORANGE));
    g_assert_cmpuint(f.pictures, ==, 1);
    tear_down(&f);
}

/* The monitor is pulled out, and put in again: the last picture stays */
static void test_no_size_any_more(void)
{
    static const int sizes[][2] = { { 0, 0 }, { 0, 48 }, { 64, 0 } };
    Fixture f;
    guint i;

    set_up(&f);
    start(&f);
    rfb_be_friendly(f.server, 64, 48);
    rfb_fill(f.server, 64, 48, orange, 4);
    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        RUN_UNTIL(shows(&f, 64, 48, ORANGE));
        rfb_wait(f.server, RFB_UPDATE_REQUEST);
        rfb_resize(f.server, sizes[i][0], sizes[i][1]);
        rfb_wait(f.server, RFB_UPDATE_REQUEST);
        /* what it draws meanwhile is nothing */
        rfb_update(f.server, 1);
        rfb_rectangle(f.server, 0, 0, 0, 0, RFB_RAW);
        rfb_wait(f.server, RFB_UPDATE_REQUEST);
        g_assert_true(shows(&f, 64, 48, ORANGE));
        rfb_resize(f.server, 32, 32);
        rfb_wait(f.server, RFB_UPDATE_REQUEST);
        rfb_fill(f.server, 32, 32, orange, 4);
        RUN_UNTIL(shows(&f, 32, 32, ORANGE));
        rfb_resize(f.server, 64, 48);
        rfb_fill(f.server, 64, 48, orange, 4);
    }
    RUN_UNTIL(shows(&f, 64, 48, ORANGE));
    g_assert_false(f.is_gone);
    tear_down(&f);
}

/* What is drawn where there is no display does no harm */
static void test_drawn_without_size(void)
{
    Fixture f;

    set_up(&f);
    start(&f);
    rfb_be_friendly(f.server, 0, 0);
    rfb_fill(f.server, 640, 480, orange, 4);
    check_gone(&f, SOURCE_PIXELS, "");
    g_assert_cmpuint(f.pictures, ==, 0);
    tear_down(&f);
}

/* Two modes by turns, as fast as it can, with updates in between */
static void test_many_sizes(void)
{
    Fixture f;
    int turn;

    set_up(&f);
    start(&f);
    rfb_be_friendly(f.server, 64, 48);
    for (turn = 0; turn < 500; turn++) {
        int width = turn % 2 ? 64 : 80, height = turn % 3 ? 60 : 48;

        rfb_resize(f.server, width, height);
        if (turn % 5) {
            rfb_fill(f.server, width, height, orange, 4);
        }
        if (turn % 7 == 0) {
            run_what_is_due();
        }
    }
    rfb_resize(f.server, 100, 10);
    rfb_fill(f.server, 100, 10, orange, 4);
    RUN_UNTIL(shows(&f, 100, 10, ORANGE));
    g_assert_false(f.is_gone);
    tear_down(&f);
}

/* What is pressed when nobody looks any more is let go */
static void test_let_go(void)
{
    static const guint8 down[] = { 1, 0, 0, 0, 0, 0, 'a' };
    static const guint8 up[] = { 0, 0, 0, 0, 0, 0, 'a' };
    Fixture f;

    set_up(&f);
    start(&f);
    rfb_be_friendly(f.server, 64, 48);
    f.source->methods->key(f.source, 0x1e, TRUE);
    g_assert_cmpmem(rfb_wait(f.server, RFB_KEY), 7, down, 7);
    f.source->methods->key(f.source, 0x1e, FALSE);
    f.source->methods->stop(f.source);
    g_assert_cmpmem(rfb_wait(f.server, RFB_KEY), 7, up, 7);
    rfb_wait_closed(f.server);
    tear_down(&f);
}

/* --- pixels -------------------------------------------------------------- */

static const RfbFormat rgb565 = {
    .bits = 16, .depth = 16, .is_true_colour = 1,
    .red_max = 31, .green_max = 63, .blue_max = 31,
    .red_shift = 11, .green_shift = 5, .blue_shift = 0,
};
static const RfbFormat rgb565_big = {
    .bits = 16, .depth = 16, .is_big_endian = 1, .is_true_colour = 1,
    .red_max = 31, .green_max = 63, .blue_max = 31,
    .red_shift = 11, .green_shift = 5, .blue_shift = 0,
};
static const RfbFormat rgb555 = {
    .bits = 16, .depth = 15, .is_true_colour = 1,
    .red_max = 31, .green_max = 31, .blue_max = 31,
    .red_shift = 10, .green_shift = 5, .blue_shift = 0,
};
static const RfbFormat bgr233 = {
    .bits = 8, .depth = 8, .is_true_colour = 1,
    .red_max = 7, .green_max = 7, .blue_max = 3,
    .red_shift = 0, .green_shift = 3, .blue_shift = 6,
};
static const RfbFormat xrgb_big = {
    .bits = 32, .depth = 24, .is_big_endian = 1, .is_true_colour = 1,
    .red_max = 255, .green_max = 255, .blue_max = 255,
    .red_shift = 16, .green_shift = 8, .blue_shift = 0,
};
static const RfbFormat bgrx = {
    .bits = 32, .depth = 24, .is_true_colour = 1,
    .red_max = 255, .green_max = 255, .blue_max = 255,
    .red_shift = 8, .green_shift = 16, .blue_shift = 24,
};

typedef struct Sample {
    const char *name;
    const RfbFormat *format;
    guint8 pixel[4];
    guint32 colour;
} Sample;

/* All colours as bright as can be, as dark, and something in between */
static const Sample samples[] = {
    { "565-white", &rgb565, { 0xff, 0xff }, 0xffffff },
    { "565-black", &rgb565, { 0, 0 }, 0 },
    { "565-red", &rgb565, { 0x00, 0xf8 }, 0xff0000 },
    { "565-green", &rgb565, { 0xe0, 0x07 }, 0x00ff00 },
    { "565-blue", &rgb565, { 0x1f, 0x00 }, 0x0000ff },
    { "565-between", &rgb565, { 0x51, 0x0a }, 0x08498c },
    { "565-big-red", &rgb565_big, { 0xf8, 0x00 }, 0xff0000 },
    { "565-big-green", &rgb565_big, { 0x07, 0xe0 }, 0x00ff00 },
    { "565-big-between", &rgb565_big, { 0x0a, 0x51 }, 0x08498c },
    { "555-white", &rgb555, { 0xff, 0x7f }, 0xffffff },
    { "555-green", &rgb555, { 0xe0, 0x03 }, 0x00ff00 },
    { "233-white", &bgr233, { 0xff }, 0xffffff },
    { "233-red", &bgr233, { 0x07 }, 0xff0000 },
    { "233-blue", &bgr233, { 0xc0 }, 0x0000ff },
    { "233-between", &bgr233, { 0x69 }, 0x24b655 },
    { "32-big", &xrgb_big, { 0, 0x12, 0x34, 0x56 }, 0x123456 },
    { "32-bgrx", &bgrx, { 0, 0x12, 0x34, 0x56 }, 0x123456 },
};

/* A server as Intel's AMT: who asks for other pixels is left without a word */
static void refuse_pixels(Fixture *f, const RfbFormat *format)
{
    start(f);
    rfb_accept(f->server);
    rfb_log_in(f->server);
    rfb_init(f->server, 32, 16, format);
    rfb_wait(f->server, RFB_SET_PIXEL_FORMAT);
    rfb_hang_up(f->server);
    check_gone(f, SOURCE_PIXELS, "closed");
}

/* The client takes what there is; on return it waits for a picture */
static void keep_pixels(Fixture *f, const RfbFormat *format)
{
    const guint8 *body;
    int type;

    start(f);
    rfb_accept(f->server);
    rfb_log_in(f->server);
    rfb_init(f->server, 32, 16, format);
    do {
        type = rfb_message(f->server, &body);
        g_assert_cmpint(type, !=, RFB_SET_PIXEL_FORMAT);
    } while (type != RFB_UPDATE_REQUEST);
}

static void test_own_format(gconstpointer data)
{
    const Sample *sample = data;
    int size = sample->format->bits / 8, i;
    guint8 half[32 * 8 * 4];
    Fixture f;

    for (i = 0; i < 32 * 8; i++) {
        memcpy(half + i * size, sample->pixel, size);
    }
    set_up(&f);
    refuse_pixels(&f, sample->format);
    keep_pixels(&f, sample->format);
    rfb_fill(f.server, 32, 16, sample->pixel, size);
    RUN_UNTIL(shows(&f, 32, 16, sample->colour));

    /* and byte by byte, over what is there; then copied */
    rfb_fill(f.server, 32, 16, "\0\0\0", size);
    RUN_UNTIL(shows(&f, 32, 16, 0));
    rfb_update(f.server, 2);
    rfb_rectangle(f.server, 0, 0, 32, 8, RFB_RAW);
    rfb_say(f.server, half, 32 * 8 * size);
    rfb_rectangle(f.server, 0, 8, 32, 8, RFB_COPY_RECT);
    rfb_say_u32(f.server, 0);
    RUN_UNTIL(shows(&f, 32, 16, sample->colour));

    /* once it has worked it's not tried in another way */
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_LOST, "closed");
    keep_pixels(&f, sample->format);

    /* nor by another source, which is told */
    f.source->methods->free(f.source);
    f.source = source_vnc_new(&f.config, NULL);
    source_vnc_set_own_format(f.source, TRUE);
    keep_pixels(&f, sample->format);
    tear_down(&f);
}

/* One that is just being started is not taken for one that refuses */
static void test_not_refused(void)
{
    Fixture f;

    set_up(&f);
    start(&f);
    rfb_be_friendly(f.server, 32, 16);
    rfb_fill(f.server, 32, 16, orange, 4);
    RUN_UNTIL(shows(&f, 32, 16, ORANGE));
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_LOST, "closed");
    start(&f);
    rfb_accept(f.server);
    rfb_log_in(f.server);
    rfb_init(f.server, 32, 16, &rgb565);
    rfb_wait(f.server, RFB_SET_PIXEL_FORMAT);
    /* both ways fail: it is tried by turns */
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_PIXELS, "closed");
    keep_pixels(&f, &rgb565);
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_PIXELS, "closed");
    refuse_pixels(&f, &rgb565);
    tear_down(&f);
}

static void test_palette(void)
{
    static const RfbFormat palette = { .bits = 8, .depth = 8 };
    Fixture f;

    set_up(&f);
    refuse_pixels(&f, &palette);
    start(&f);
    rfb_accept(f.server);
    rfb_log_in(f.server);
    rfb_init(f.server, 32, 16, &palette);
    check_gone(&f, SOURCE_LOST, "8 bits, colours of a palette, in a way that"
               " spice-gateway does not take");
    tear_down(&f);
}

/* Such as libgvnc would not survive, in the midst of it */
static void test_bad_pixels(void)
{
    static const RfbFormat formats[] = {
        { 0, 24, 0, 1, 255, 255, 255, 16, 8, 0 },
        { 24, 24, 0, 1, 255, 255, 255, 16, 8, 0 },
        { 255, 24, 0, 1, 255, 255, 255, 16, 8, 0 },
        { 32, 24, 0, 0, 255, 255, 255, 16, 8, 0 },
        { 8, 8, 0, 1, 7, 7, 3, 200, 3, 6 },
        { 16, 16, 0, 1, 31, 0, 31, 11, 5, 0 },
        { 32, 24, 0, 1, 254, 255, 255, 16, 8, 0 },
    };
    Fixture f;
    guint i;

    set_up(&f);
    for (i = 0; i < G_N_ELEMENTS(formats); i++) {
        start(&f);
        rfb_be_friendly(f.server, 32, 16);
        rfb_fill(f.server, 32, 16, orange, 4);
        rfb_update(f.server, 1);
        rfb_rectangle(f.server, 0, 0, 32, 16, RFB_WMVI);
        rfb_say_format(f.server, &formats[i]);
        check_gone(&f, SOURCE_LOST, "in a way that spice-gateway does not"
                   " take");
    }
    tear_down(&f);
}

/* --- versions and ways to log in ----------------------------------------- */

/* To 0123456789abcdef, with the password "secret"; by openssl enc -des-ecb */
static const guint8 secret_response[16] = {
    0x75, 0x24, 0x40, 0xee, 0x2b, 0xfc, 0xc2, 0xa0,
    0xd9, 0x01, 0x3f, 0xd2, 0x03, 0x71, 0xe2, 0x3b,
};

typedef struct Version {
    const char *says, *answer;
} Version;

static const Version versions[] = {
    { "RFB 003.003\n", "RFB 003.003\n" },
    { "RFB 003.005\n", "RFB 003.003\n" },
    { "RFB 003.006\n", "RFB 003.003\n" },
    { "RFB 003.007\n", "RFB 003.007\n" },
    { "RFB 003.008\n", "RFB 003.008\n" },
    { "RFB 003.014\n", "RFB 003.008\n" },
    { "RFB 003.889\n", "RFB 003.008\n" },
    { "RFB 004.000\n", "RFB 003.008\n" },
    { "RFB 004.001\n", "RFB 003.008\n" },
    { "RFB 005.000\n", "RFB 003.008\n" },
};

/* None, and a password, in each of them */
static void test_version(gconstpointer data)
{
    const Version *version = data;
    int minor = version->answer[10] - '0', type;

    for (type = VNC_SECURITY_NONE; type <= VNC_SECURITY_PASSWORD; type++) {
        guint8 offer[2] = { 1, type };
        Fixture f;

        set_up(&f);
        f.config.vnc_password = (char *)"secret";
        start(&f);
        rfb_accept(f.server);
        rfb_say_text(f.server, version->says);
        rfb_expect_text(f.server, version->answer);
        if (minor == 3) {
            rfb_say_u32(f.server, type);
        } else {
            rfb_say(f.server, offer, sizeof(offer));
            rfb_expect(f.server, offer + 1, 1);
        }
        if (type == VNC_SECURITY_PASSWORD) {
            rfb_say_text(f.server, "0123456789abcdef");
            rfb_hear(f.server, 16);
        }
        if (type == VNC_SECURITY_PASSWORD || minor == 8) {
            rfb_say_u32(f.server, 0);
        }
        rfb_init(f.server, 32, 16, &rfb_xrgb);
        rfb_wait(f.server, RFB_UPDATE_REQUEST);
        rfb_fill(f.server, 32, 16, orange, 4);
        RUN_UNTIL(shows(&f, 32, 16, ORANGE));
        tear_down(&f);
    }
}

static void test_no_vnc_server(void)
{
    Fixture f;

    set_up(&f);
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "SSH-2.0-OpenSSH_9.2\r\n");
    check_gone(&f, SOURCE_LOST, "no VNC server, it begins with"
               " \"SSH-2.0-Open\"");
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 000.000\n");
    check_gone(&f, SOURCE_LOST, "before 003.003");
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 0");
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_LOST, "closed the connection while logging in");
    tear_down(&f);
}

/* Of the password only eight bytes count */
static void test_challenge(void)
{
    static const guint8 challenge[17] = "0123456789abcdef";
    guint8 a[16], b[16];

    vnc_answer_challenge("password", challenge, a);
    vnc_answer_challenge("password that is longer", challenge, b);
    g_assert_cmpmem(a, 16, b, 16);
    vnc_answer_challenge("pass", challenge, b);
    g_assert_true(memcmp(a, b, 16));
    vnc_answer_challenge("secret", challenge, a);
    g_assert_cmpmem(a, 16, secret_response, 16);
}

/* What is offered is named, and what could be */
static void test_offers(void)
{
    static const struct {
        const char *types, *reason;
    } offers[] = {
        { "\1\20", "no way to log in but Tight (16); spice-gateway can do None"
                   " (1), VNC password (2) and VeNCrypt (19)" },
        { "\2\5\15", "but RA2 (5), RA2-256 of RealVNC (13);" },
        { "\3\6\36\373", "but RA2ne (6), Apple's (30), unknown (251);" },
        { "\2\2\20", "wants a password: set [vnc] password-file" },
    };
    Fixture f;
    guint i;

    set_up(&f);
    for (i = 0; i < G_N_ELEMENTS(offers); i++) {
        start(&f);
        rfb_accept(f.server);
        rfb_say_text(f.server, "RFB 003.008\n");
        rfb_expect_text(f.server, "RFB 003.008\n");
        rfb_say(f.server, offers[i].types, offers[i].types[0] + 1);
        check_gone(&f, SOURCE_REFUSED, offers[i].reason);
        rfb_wait_closed(f.server);
    }
    tear_down(&f);
}

/* More ways than libgvnc has room for */
static void test_many_offers(void)
{
    guint8 offer[256];
    Fixture f;
    int i;

    offer[0] = 255;
    for (i = 1; i < 256; i++) {
        offer[i] = i;
    }
    set_up(&f);
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.008\n");
    rfb_expect_text(f.server, "RFB 003.008\n");
    rfb_say(f.server, offer, sizeof(offer));
    rfb_expect(f.server, "\1", 1);
    rfb_say_u32(f.server, 0);
    rfb_init(f.server, 32, 16, &rfb_xrgb);
    rfb_wait(f.server, RFB_UPDATE_REQUEST);
    tear_down(&f);
}

static void say_reason(RfbServer *server, const char *reason)
{
    rfb_say_u32(server, strlen(reason));
    rfb_say_text(server, reason);
}

/* It offers nothing, and says why, to new clients and to old ones */
static void test_refused(void)
{
    g_autofree char *endless = g_strnfill(100000, 'x');
    Fixture f;

    set_up(&f);
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.008\n");
    rfb_expect_text(f.server, "RFB 003.008\n");
    rfb_say_u8(f.server, 0);
    say_reason(f.server, "Too many security failures\n");
    check_gone(&f, SOURCE_REFUSED, "refuses the connection; it says: Too many"
               " security failures");
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.003\n");
    rfb_expect_text(f.server, "RFB 003.003\n");
    rfb_say_u32(f.server, 0);
    say_reason(f.server, "busy\1\377");
    check_gone(&f, SOURCE_REFUSED, "it says: busy");
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.008\n");
    rfb_expect_text(f.server, "RFB 003.008\n");
    rfb_say_u8(f.server, 0);
    rfb_say_u32(f.server, strlen(endless));
    rfb_say(f.server, endless, 512);
    check_gone(&f, SOURCE_REFUSED, "xxx");
    g_assert_cmpuint(strlen(f.reason), <, 600);
    tear_down(&f);
}

static void offer_password(Fixture *f, const char *version)
{
    start(f);
    rfb_accept(f->server);
    rfb_say_text(f->server, version);
    rfb_expect_text(f->server, version);
    rfb_say(f->server, "\1\2", 2);
    rfb_expect(f->server, "\2", 1);
    rfb_say_text(f->server, "0123456789abcdef");
    rfb_hear(f->server, 16);
}

/* In all the ways that it is said, or not */
static void test_wrong_password(void)
{
    static const char problem[] = "does not accept the password: check [vnc]"
                                  " password-file";
    Fixture f;

    set_up(&f);
    f.config.vnc_password = (char *)"wrong";
    offer_password(&f, "RFB 003.008\n");
    rfb_say_u32(f.server, 1);
    say_reason(f.server, "Authentication failure");
    check_gone(&f, SOURCE_REFUSED, problem);
    g_assert_nonnull(strstr(f.reason, "it says: Authentication failure"));

    offer_password(&f, "RFB 003.007\n");
    rfb_say_u32(f.server, 1);
    check_gone(&f, SOURCE_REFUSED, problem);

    offer_password(&f, "RFB 003.008\n");
    rfb_say_u32(f.server, 2);
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_REFUSED, problem);

    offer_password(&f, "RFB 003.008\n");
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_REFUSED, problem);
    tear_down(&f);
}

/* --- VeNCrypt ------------------------------------------------------------ */

typedef struct Certificate {
    char *directory, *cert, *key;
    char *fingerprint;
} Certificate;

/* One that signs itself, for an address and a name */
static void make_certificate(Certificate *made, const char *names)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *extension = g_strdup_printf("subjectAltName=%s", names);
    g_autofree char *line = NULL;
    const char *argv[] = {
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test",
        "-addext", extension, "-keyout", NULL, "-out", NULL, NULL,
    };
    const char *print[] = { "openssl", "x509", "-noout", "-sha256",
                            "-fingerprint", "-in", NULL, NULL };

    made->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    made->cert = g_build_filename(made->directory, "cert.pem", NULL);
    made->key = g_build_filename(made->directory, "key.pem", NULL);
    argv[15] = made->key;
    argv[17] = made->cert;
    print[6] = made->cert;
    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH |
                 G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, NULL,
                 &error);
    g_assert_no_error(error);
    g_spawn_sync(NULL, (char **)print, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                 &line, NULL, NULL, &error);
    g_assert_no_error(error);
    /* "sha256 Fingerprint=AB:CD:..." */
    made->fingerprint = g_strdup(g_strstrip(strchr(line, '=') + 1));
}

static void free_certificate(Certificate *made)
{
    remove_all(made->directory);
    g_free(made->directory);
    g_free(made->cert);
    g_free(made->key);
    g_free(made->fingerprint);
}

/* Up to when the client has to choose one of @types, which end with 0 */
static void offer_vencrypt(Fixture *f, const guint32 *types)
{
    int count, i;

    start(f);
    rfb_accept(f->server);
    rfb_say_text(f->server, "RFB 003.008\n");
    rfb_expect_text(f->server, "RFB 003.008\n");
    rfb_say(f->server, "\1\23", 2);
    rfb_expect(f->server, "\23", 1);
    rfb_say(f->server, "\0\2", 2);
    rfb_expect(f->server, "\0\2", 2);
    rfb_say_u8(f->server, 0);
    for (count = 0; types[count]; count++) {
    }
    rfb_say_u8(f->server, count);
    for (i = 0; i < count; i++) {
        rfb_say_u32(f->server, types[i]);
    }
}

/* The client chooses that, and TLS begins. Returns: whether it comes to be */
static gboolean take_vencrypt(Fixture *f, guint32 type, const Certificate *made)
{
    g_assert_cmpuint(rfb_hear_u32(f->server), ==, type);
    rfb_say_u8(f->server, 1);
    return rfb_start_tls(f->server, made ? made->cert : NULL,
                         made ? made->key : NULL);
}

static void check_picture(Fixture *f)
{
    rfb_say_u32(f->server, 0);
    rfb_init(f->server, 300, 200, &rfb_xrgb);
    rfb_wait(f->server, RFB_UPDATE_REQUEST);
    rfb_fill(f->server, 300, 200, orange, 4);
    RUN_UNTIL(shows(f, 300, 200, ORANGE));
}

/* All of them that are offered; the best of it is taken */
static void test_vencrypt(void)
{
    static const guint32 all[] = { 256, 257, 258, 259, 260, 261, 262, 263, 0 };
    static const guint32 anonymous[] = { 257, 258, 259, 0 };
    Certificate made;
    Fixture f;

    make_certificate(&made, "IP:127.0.0.1,DNS:bmc.example.test");
    set_up(&f);
    f.config.vnc_ca_file = made.cert;
    offer_vencrypt(&f, all);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_NONE, &made));
    check_picture(&f);
    f.source->methods->stop(f.source);

    f.config.vnc_password = (char *)"secret";
    offer_vencrypt(&f, all);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_PASSWORD, &made));
    rfb_say_text(f.server, "0123456789abcdef");
    rfb_expect(f.server, secret_response, 16);
    check_picture(&f);
    f.source->methods->stop(f.source);

    f.config.vnc_user = (char *)"me";
    offer_vencrypt(&f, all);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_PLAIN, &made));
    rfb_expect(f.server, "\0\0\0\2\0\0\0\6mesecret", 16);
    check_picture(&f);
    f.source->methods->stop(f.source);

    offer_vencrypt(&f, anonymous);
    check_gone(&f, SOURCE_REFUSED, "nothing with a certificate, but TLSNone"
               " (257), TLSVnc (258), TLSPlain (259)");
    f.config.vnc_ca_file = NULL;
    offer_vencrypt(&f, anonymous);
    check_gone(&f, SOURCE_REFUSED, "with [vnc] anonymous-tls=true");
    f.config.vnc_anonymous_tls = TRUE;
    offer_vencrypt(&f, anonymous);
    g_assert_true(take_vencrypt(&f, VENCRYPT_TLS_PLAIN, NULL));
    rfb_expect(f.server, "\0\0\0\2\0\0\0\6mesecret", 16);
    check_picture(&f);
    tear_down(&f);
    free_certificate(&made);
}

static void refuse_certificate(Fixture *f, const Certificate *made,
                               const char *reason)
{
    static const guint32 types[] = { VENCRYPT_X509_NONE, 0 };

    offer_vencrypt(f, types);
    /* with TLS 1.3 the server may be done before it is told */
    take_vencrypt(f, VENCRYPT_X509_NONE, made);
    check_gone(f, SOURCE_REFUSED, reason);
    rfb_wait_closed(f->server);
}

static void test_certificates(void)
{
    static const guint32 types[] = { VENCRYPT_X509_NONE, 0 };
    Certificate made, other;
    Fixture f;

    make_certificate(&made, "IP:127.0.0.1");
    make_certificate(&other, "IP:127.0.0.2,DNS:localhost");
    set_up(&f);
    refuse_certificate(&f, &made, "check [vnc] ca-file and host");
    f.config.vnc_ca_file = other.cert;
    refuse_certificate(&f, &made, "check [vnc] ca-file and host");
    /* one that is trusted, for another host */
    refuse_certificate(&f, &other, "mismatch");
    f.config.vnc_ca_file = (char *)"/nonexistent/ca.pem";
    offer_vencrypt(&f, types);
    g_assert_cmpuint(rfb_hear_u32(f.server), ==, VENCRYPT_X509_NONE);
    rfb_say_u8(f.server, 1);
    check_gone(&f, SOURCE_REFUSED, "[vnc] ca-file: /nonexistent/ca.pem: ");

    /* whatever it is for, and whoever has signed it */
    f.config.vnc_ca_file = NULL;
    f.config.vnc_fingerprint = other.fingerprint;
    refuse_certificate(&f, &made, "another one than [vnc] fingerprint says");
    offer_vencrypt(&f, types);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_NONE, &other));
    check_picture(&f);
    tear_down(&f);
    free_certificate(&made);
    free_certificate(&other);
}

/* Who has said whom to trust is not content with less */
static void test_no_tls(void)
{
    Fixture f;

    set_up(&f);
    f.config.vnc_ca_file = (char *)"/nonexistent/ca.pem";
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.008\n");
    rfb_expect_text(f.server, "RFB 003.008\n");
    rfb_say(f.server, "\2\1\2", 3);
    check_gone(&f, SOURCE_REFUSED, "no TLS, which [vnc] ca-file is for, but"
               " None (1), VNC password (2)");
    tear_down(&f);
}

/* --- WebSockets ---------------------------------------------------------- */

/* What it looks like for who sends no more than this at once */
static void check_websocket(Fixture *f, gsize frame_size)
{
    g_autofree char *request = rfb_start_websocket(f->server, frame_size);
    guint pongs = rfb_pongs(f->server);

    g_assert_true(g_str_has_prefix(request, "GET /kvm/0?a=b HTTP/1.1\r\n"));
    g_assert_nonnull(strstr(request, "\r\nSec-WebSocket-Protocol: binary\r\n"));
    g_assert_nonnull(strstr(request, "\r\nSec-WebSocket-Version: 13\r\n"));
    g_assert_nonnull(strstr(request, "\r\nAuthorization: Basic"
                            " bWU6c2VjcmV0\r\n"));
    rfb_log_in(f->server);
    rfb_init(f->server, 200, 100, &rfb_xrgb);
    rfb_wait(f->server, RFB_UPDATE_REQUEST);
    rfb_fill(f->server, 200, 100, orange, 4);
    RUN_UNTIL(shows(f, 200, 100, ORANGE));
    rfb_wait(f->server, RFB_UPDATE_REQUEST);
    g_assert_cmpuint(rfb_pongs(f->server), >, pongs);
}

static void test_websocket(void)
{
    static const gsize frame_sizes[] = { 1, 7, 125, 126, 100000 };
    g_autofree guint8 *pixels = g_malloc0(200 * 100 * 4);
    Fixture f;
    guint i;

    set_up(&f);
    f.config.vnc_url = (char *)"ws://127.0.0.1/kvm/0?a=b";
    f.config.vnc_user = (char *)"me";
    f.config.vnc_password = (char *)"secret";
    for (i = 0; i < G_N_ELEMENTS(frame_sizes); i++) {
        start(&f);
        rfb_accept(f.server);
        check_websocket(&f, frame_sizes[i]);
        if (frame_sizes[i] > 100) {
            rfb_update(f.server, 1);
            rfb_rectangle(f.server, 0, 0, 200, 100, RFB_RAW);
            rfb_say(f.server, pixels, 200 * 100 * 4);
            RUN_UNTIL(shows(&f, 200, 100, 0));
        }
        f.source->methods->stop(f.source);
    }
    tear_down(&f);
}

static void test_secure_websocket(void)
{
    Certificate made;
    Fixture f;

    make_certificate(&made, "IP:127.0.0.1");
    set_up(&f);
    f.config.vnc_url = (char *)"wss://127.0.0.1/kvm/0?a=b";
    f.config.vnc_user = (char *)"me";
    f.config.vnc_password = (char *)"secret";
    f.config.vnc_ca_file = made.cert;
    start(&f);
    rfb_accept(f.server);
    g_assert_true(rfb_start_tls(f.server, made.cert, made.key));
    check_websocket(&f, 1000);
    f.source->methods->stop(f.source);

    f.config.vnc_ca_file = NULL;
    f.config.vnc_fingerprint = made.fingerprint;
    start(&f);
    rfb_accept(f.server);
    g_assert_true(rfb_start_tls(f.server, made.cert, made.key));
    check_websocket(&f, 1000);
    f.source->methods->stop(f.source);

    /* before user and password are told */
    f.config.vnc_fingerprint = NULL;
    start(&f);
    rfb_accept(f.server);
    rfb_start_tls(f.server, made.cert, made.key);
    check_gone(&f, SOURCE_REFUSED, "not to be trusted");
    rfb_wait_closed(f.server);
    tear_down(&f);
    free_certificate(&made);
}

static void test_no_websocket(void)
{
    static const struct {
        const char *answer;
        SourceGone kind;
        const char *reason;
    } answers[] = {
        { "HTTP/1.1 401 Unauthorized\r\n\r\n", SOURCE_REFUSED,
          "does not let us in: check [vnc] user and password-file" },
        { "HTTP/1.1 403 Forbidden\r\nA: b\r\n\r\n", SOURCE_REFUSED,
          "does not let us in" },
        { "HTTP/1.1 404 Not Found\r\n\r\n", SOURCE_REFUSED,
          "there is no WebSocket at [vnc] url, the web server says: 404" },
        { "HTTP/1.1 301 Moved\r\nLocation: /kvm/0/\r\n\r\n", SOURCE_REFUSED,
          "at /kvm/0/" },
        { "HTTP/1.1 503 Starting\r\n\r\n", SOURCE_LOST, "503 Starting" },
        { "HTTP/1.1 200 OK\r\n\r\n", SOURCE_LOST, "200 OK" },
        { "HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: no\r\n\r\n",
          SOURCE_REFUSED, "does not know what a WebSocket is" },
        { "RFB 003.008\n\r\n\r\n", SOURCE_LOST, "is no web server" },
        { "", SOURCE_LOST, "closed the connection while logging in" },
    };
    g_autofree char *endless = g_strnfill(16385, 'x');
    Fixture f;
    guint i;

    set_up(&f);
    f.config.vnc_url = (char *)"ws://127.0.0.1";
    for (i = 0; i < G_N_ELEMENTS(answers); i++) {
        g_autofree char *request = NULL;

        start(&f);
        rfb_accept(f.server);
        request = rfb_hear_http(f.server);
        g_assert_true(g_str_has_prefix(request, "GET / HTTP/1.1\r\n"));
        g_assert_null(strstr(request, "Authorization"));
        rfb_say_text(f.server, answers[i].answer);
        if (!*answers[i].answer) {
            rfb_hang_up(f.server);
        }
        check_gone(&f, answers[i].kind, answers[i].reason);
    }
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, endless);
    check_gone(&f, SOURCE_LOST, "does not stop talking");
    tear_down(&f);
}

/* Frames that no server may send, and one that ends it */
static void test_wrong_frames(void)
{
    static const struct {
        const char *frame;
        gsize size;
        const char *reason;
    } frames[] = {
        { "\x82\x81xxxx", 6, "what only a client may" },
        { "\xc2\1x", 3, "an extension" },
        { "\x89\x7e\0\xff", 4, "a control frame that is too long" },
        { "\x88\x24\x03\xe8Max sessions are already connected", 38,
          "ended the WebSocket: Max sessions are already connected" },
        { "\x88\0", 2, "closed the connection while logging in" },
        { "\x82\0\x8a\0\x88\2\x03\xe8", 8, "closed the connection" },
    };
    Fixture f;
    guint i;

    set_up(&f);
    f.config.vnc_url = (char *)"ws://127.0.0.1";
    for (i = 0; i < G_N_ELEMENTS(frames); i++) {
        g_autofree char *request = NULL;

        start(&f);
        rfb_accept(f.server);
        request = rfb_start_websocket(f.server, 1000);
        rfb_say_raw(f.server, frames[i].frame, frames[i].size);
        check_gone(&f, SOURCE_LOST, frames[i].reason);
    }
    tear_down(&f);
}

/* ------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    /* It is the process that decodes, too, as spice-gateway is */
    static const char *const decoder[] = {
        "/proc/self/exe", DECODER_OPTION, NULL
    };
    guint i;

    if (argc > 1 && !strcmp(argv[1], DECODER_OPTION)) {
        decoder_main();
    }
    decoder_program = decoder;
    test_init(&argc, &argv);
    signal(SIGPIPE, SIG_IGN);
    g_test_add_func("/vnc/no-size-yet", test_no_size_yet);
    g_test_add_func("/vnc/no-size-any-more", test_no_size_any_more);
    g_test_add_func("/vnc/drawn-without-size", test_drawn_without_size);
    g_test_add_func("/vnc/many-sizes", test_many_sizes);
    g_test_add_func("/vnc/let-go", test_let_go);
    for (i = 0; i < G_N_ELEMENTS(samples); i++) {
        g_autofree char *path = g_strdup_printf("/vnc/own-format/%s",
                                                samples[i].name);

        g_test_add_data_func(path, &samples[i], test_own_format);
    }
    g_test_add_func("/vnc/not-refused", test_not_refused);
    g_test_add_func("/vnc/palette", test_palette);
    g_test_add_func("/vnc/bad-pixels", test_bad_pixels);
    for (i = 0; i < G_N_ELEMENTS(versions); i++) {
        g_autofree char *path = g_strdup_printf("/vnc/version/%.7s",
                                                versions[i].says + 4);

        g_test_add_data_func(path, &versions[i], test_version);
    }
    g_test_add_func("/vnc/no-vnc-server", test_no_vnc_server);
    g_test_add_func("/vnc/challenge", test_challenge);
    g_test_add_func("/vnc/offers", test_offers);
    g_test_add_func("/vnc/many-offers", test_many_offers);
    g_test_add_func("/vnc/refused", test_refused);
    g_test_add_func("/vnc/wrong-password", test_wrong_password);
    g_test_add_func("/vnc/vencrypt", test_vencrypt);
    g_test_add_func("/vnc/certificates", test_certificates);
    g_test_add_func("/vnc/no-tls", test_no_tls);
    g_test_add_func("/vnc/websocket", test_websocket);
    g_test_add_func("/vnc/secure-websocket", test_secure_websocket);
    g_test_add_func("/vnc/no-websocket", test_no_websocket);
    g_test_add_func("/vnc/wrong-frames", test_wrong_frames);
    return g_test_run();
}
