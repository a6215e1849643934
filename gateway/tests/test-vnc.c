/*
 * VNC servers as they really are: the picture that comes of what they send, or
 * the reason why there is none
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "vnc-fixture.h"

/* --- sizes --------------------------------------------------------------- */

/* It has no display yet when it is asked */
static void test_no_size_yet(void)
{
    Fixture f = { 0 };

    prepare(&f);
    start(&f);
    rfb_be_friendly(f.server, 0, 0);
    run_what_is_due();
    g_assert_cmpuint(f.goings, ==, 0);
    rfb_resize(f.server, 64, 48);
    rfb_wait(f.server, RFB_UPDATE_REQUEST);
    g_assert_cmpuint(f.pictures, ==, 0);
    rfb_fill(f.server, 64, 48, orange, 4);
    RUN_UNTIL(shows(&f, 64, 48, ORANGE));
    g_assert_cmpuint(f.pictures, ==, 1);
    tear_down(&f, NULL);
}

/* The monitor is pulled out, and put in again: the last picture stays */
static void test_no_size_any_more(void)
{
    static const int sizes[][2] = { { 0, 0 }, { 0, 48 }, { 64, 0 } };
    Fixture f = { 0 };
    guint i;

    prepare(&f);
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
    g_assert_cmpuint(f.goings, ==, 0);
    tear_down(&f, NULL);
}

/* What is drawn where there is no display does no harm */
static void test_drawn_without_size(void)
{
    Fixture f = { 0 };

    prepare(&f);
    start(&f);
    rfb_be_friendly(f.server, 0, 0);
    rfb_fill(f.server, 640, 480, orange, 4);
    check_gone(&f, SOURCE_PIXELS, "");
    g_assert_cmpuint(f.pictures, ==, 0);
    tear_down(&f, NULL);
}

/* Two modes by turns, as fast as it can, with updates in between */
static void test_many_sizes(void)
{
    Fixture f = { 0 };
    int turn;

    prepare(&f);
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
    g_assert_cmpuint(f.goings, ==, 0);
    tear_down(&f, NULL);
}

/* What is pressed when nobody looks any more is let go */
static void test_let_go(void)
{
    static const guint8 down[] = { 1, 0, 0, 0, 0, 0, 'a' };
    static const guint8 up[] = { 0, 0, 0, 0, 0, 0, 'a' };
    Fixture f = { 0 };

    prepare(&f);
    start(&f);
    rfb_be_friendly(f.server, 64, 48);
    f.source->methods->key(f.source, 0x1e, TRUE);
    g_assert_cmpmem(rfb_wait(f.server, RFB_KEY), 7, down, 7);
    f.source->methods->key(f.source, 0x1e, FALSE);
    f.source->methods->stop(f.source);
    g_assert_cmpmem(rfb_wait(f.server, RFB_KEY), 7, up, 7);
    rfb_wait_closed(f.server);
    tear_down(&f, NULL);
}

/* It says so, in the rectangle's x */
static void say_pointing(Fixture *f, gboolean is_absolute)
{
    rfb_update(f->server, 1);
    rfb_rectangle(f->server, is_absolute, 0, 64, 48, RFB_POINTING);
}

/* As QEMU's is without a tablet; and from when there is one again */
static void test_relative(void)
{
    static const guint8 right_and_up[] = { 1, 0x80, 0x04, 0x7f, 0xfc };
    static const guint8 far[] = { 0, 0xff, 0xfe, 0, 0 };
    static const guint8 at[] = { 4, 0, 40, 0, 30 };
    const SourceMethods *methods;
    Fixture f = { 0 };

    prepare(&f);
    methods = f.source->methods;
    start(&f);
    rfb_be_friendly(f.server, 64, 48);
    say_pointing(&f, FALSE);
    RUN_UNTIL(f.is_relative);
    methods->motion(f.source, 5, -3, SOURCE_BUTTON_LEFT);
    g_assert_cmpmem(rfb_wait(f.server, RFB_POINTER), 5, right_and_up, 5);
    methods->motion(f.source, 100000, -100000, 0);
    g_assert_cmpmem(rfb_wait(f.server, RFB_POINTER), 5, far, 5);
    say_pointing(&f, TRUE);
    RUN_UNTIL(!f.is_relative);
    methods->pointer(f.source, 40, 30, SOURCE_BUTTON_RIGHT);
    g_assert_cmpmem(rfb_wait(f.server, RFB_POINTER), 5, at, 5);
    g_assert_cmpuint(f.goings, ==, 0);
    tear_down(&f, NULL);
}

/* Who is not told that we can do it does not say it */
static void test_asks_for_pointing(void)
{
    const guint8 *body;
    gboolean found = FALSE;
    Fixture f = { 0 };
    guint count, i;

    prepare(&f);
    start(&f);
    rfb_accept(f.server);
    rfb_log_in(f.server);
    rfb_init(f.server, 64, 48, &rfb_xrgb);
    body = rfb_wait(f.server, RFB_SET_ENCODINGS);
    count = body[1] << 8 | body[2];
    for (i = 0; i < count; i++) {
        guint32 encoding;

        memcpy(&encoding, body + 3 + 4 * i, 4);
        found = found || (gint32)g_ntohl(encoding) == RFB_POINTING;
    }
    g_assert_true(found);
    tear_down(&f, NULL);
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
    Fixture f = { 0 };

    for (i = 0; i < 32 * 8; i++) {
        memcpy(half + i * size, sample->pixel, size);
    }
    prepare(&f);
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

    tear_down(&f, NULL);
}

/* One that is just being started is not taken for one that refuses */
static void test_not_refused(void)
{
    Fixture f = { 0 };

    prepare(&f);
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
    tear_down(&f, NULL);
}

static void test_palette(void)
{
    static const RfbFormat palette = { .bits = 8, .depth = 8 };
    Fixture f = { 0 };

    prepare(&f);
    refuse_pixels(&f, &palette);
    start(&f);
    rfb_accept(f.server);
    rfb_log_in(f.server);
    rfb_init(f.server, 32, 16, &palette);
    check_gone(&f, SOURCE_LOST, "8 bits, colours of a palette, in a way that"
               " spice-gateway does not take");
    tear_down(&f, NULL);
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
    Fixture f = { 0 };
    guint i;

    prepare(&f);
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
    tear_down(&f, NULL);
}

/* ------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    guint i;

    vnc_test_init(&argc, &argv);
    g_test_add_func("/vnc/no-size-yet", test_no_size_yet);
    g_test_add_func("/vnc/no-size-any-more", test_no_size_any_more);
    g_test_add_func("/vnc/drawn-without-size", test_drawn_without_size);
    g_test_add_func("/vnc/many-sizes", test_many_sizes);
    g_test_add_func("/vnc/let-go", test_let_go);
    g_test_add_func("/vnc/relative", test_relative);
    g_test_add_func("/vnc/asks-for-pointing", test_asks_for_pointing);
    for (i = 0; i < G_N_ELEMENTS(samples); i++) {
        g_autofree char *path = g_strdup_printf("/vnc/own-format/%s",
                                                samples[i].name);

        g_test_add_data_func(path, &samples[i], test_own_format);
    }
    g_test_add_func("/vnc/not-refused", test_not_refused);
    g_test_add_func("/vnc/palette", test_palette);
    g_test_add_func("/vnc/bad-pixels", test_bad_pixels);
    return g_test_run();
}
