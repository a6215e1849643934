/*
 * What clients see: the picture, or a message why there is none
 *
 * Display, input and source are the test's own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "loop.h"
#include "screen.h"

#define NEVER_MS (HANG_S * 10000)

/* --- instead of display.c ------------------------------------------------ */

struct Display {
    Picture *picture;           /* NULL: there is no display */
    guint shown;                /* how often there was another picture */
    guint updates;
    guint cursors;
};

void display_show(Display *display, Picture *picture)
{
    g_clear_pointer(&display->picture, picture_unref);
    display->picture = picture_ref(picture);
    display->shown++;
}

void display_hide(Display *display)
{
    g_clear_pointer(&display->picture, picture_unref);
}

void display_update(Display *display, int x, int y, int width, int height)
{
    g_assert_nonnull(display->picture);
    g_assert_cmpint(x + width, <=, display->picture->width);
    g_assert_cmpint(y + height, <=, display->picture->height);
    display->updates++;
}

void display_cursor(Display *display, const guint8 *rgba, int width,
                    int height, int hot_x, int hot_y)
{
    g_assert_nonnull(display->picture);
    display->cursors++;
}

/* --- instead of input.c -------------------------------------------------- */

struct Input {
    gboolean is_shown, is_relative;
    guint8 leds;
    gboolean *is_connected;     /* the source's */
};

void input_show(Input *input)
{
    input->is_shown = TRUE;
}

void input_hide(Input *input)
{
    /* What is pressed is let go: there must be somebody to tell */
    if (input->is_shown && input->is_connected) {
        g_assert_true(*input->is_connected);
    }
    input->is_shown = FALSE;
}

void input_set_relative(Input *input, gboolean is_relative)
{
    input->is_relative = is_relative;
}

void input_set_leds(Input *input, guint8 leds)
{
    input->leds = leds;
}

/* --- a source ------------------------------------------------------------ */

typedef struct Fake {
    Source base;
    const SourceEvents *events; /* NULL: it is not started */
    gpointer opaque;
    guint starts;
    gboolean is_connected;
} Fake;

static void fake_start(Source *source, const SourceEvents *events,
                       gpointer opaque)
{
    Fake *fake = (Fake *)source;

    g_assert_null(fake->events);
    fake->events = events;
    fake->opaque = opaque;
    fake->starts++;
    fake->is_connected = TRUE;
}

static void fake_stop(Source *source)
{
    Fake *fake = (Fake *)source;

    fake->events = NULL;
    fake->is_connected = FALSE;
}

static const SourceMethods fake_methods = {
    .start = fake_start,
    .stop = fake_stop,
};

static void fake_end(Fake *fake, SourceGone kind, const char *reason)
{
    const SourceEvents *events = fake->events;

    g_assert_nonnull(events);
    fake->events = NULL;
    events->gone(kind, reason, fake->opaque);
}

static void fake_gone(Fake *fake, const char *reason)
{
    fake_end(fake, SOURCE_LOST, reason);
}

/* A picture of one colour */
static void fake_picture(Fake *fake, int width, int height, guint32 colour)
{
    g_autoptr(Picture) picture = picture_new(width, height);
    int i;

    for (i = 0; i < width * height; i++) {
        picture->pixels[i] = colour;
    }
    fake->events->picture(picture, fake->opaque);
    fake->events->update(0, 0, width, height, fake->opaque);
}

/* ------------------------------------------------------------------------- */

typedef struct Fixture {
    Display display;
    Input input;
    Fake source;
    Screen *screen;
} Fixture;

/* The times are such that what a test is not about never comes */
static void set_up_times(Fixture *fixture, const ScreenTimes *times)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->source.base.methods = &fake_methods;
    fixture->screen = screen_new("a", &fixture->display, &fixture->input,
                                 &fixture->source.base, times);
}

static void set_up_with(Fixture *fixture, guint message_ms, guint retry_ms,
                        guint retry_max_ms)
{
    const ScreenTimes times = {
        .message_ms = message_ms,
        .retry_ms = retry_ms,
        .retry_max_ms = retry_max_ms,
    };

    set_up_times(fixture, &times);
}

static void set_up(Fixture *fixture, guint message_ms, guint retry_ms)
{
    set_up_with(fixture, message_ms, retry_ms, retry_ms);
}

static void tear_down(Fixture *fixture)
{
    screen_free(fixture->screen);
    g_assert_null(fixture->display.picture);
    g_assert_false(fixture->input.is_shown);
    g_assert_null(fixture->source.events);
}

static void check_picture(Fixture *fixture, int width, int height,
                          guint32 colour)
{
    Picture *picture = fixture->display.picture;

    g_assert_nonnull(picture);
    g_assert_cmpint(picture->width, ==, width);
    g_assert_cmpint(picture->height, ==, height);
    g_assert_cmphex(picture->pixels[0], ==, colour);
    g_assert_cmphex(picture->pixels[width * height - 1], ==, colour);
}

/* Text on a background; which text, others have to read */
static gboolean is_message(Fixture *fixture, int width, int height)
{
    Picture *picture = fixture->display.picture;
    gsize other = 0, i, count = (gsize)width * height;

    if (!picture || picture->width != width || picture->height != height) {
        return FALSE;
    }
    for (i = 0; i < count; i++) {
        if ((picture->pixels[i] & 0xffffff) !=
            (picture->pixels[0] & 0xffffff)) {
            other++;
        }
    }
    return other > 0 && other < count / 5;
}

static guint hash(Fixture *fixture)
{
    Picture *picture = fixture->display.picture;
    gsize i, count = (gsize)picture->width * picture->height;
    guint sum = 0;

    for (i = 0; i < count; i++) {
        sum = 31 * sum + (picture->pixels[i] & 0xffffff);
    }
    return sum;
}

/* Nothing is connected to before it is wanted, and all goes when it is not */
static void test_wanted(void)
{
    Fixture f;

    set_up(&f, NEVER_MS, NEVER_MS);
    run_what_is_due();
    g_assert_cmpuint(f.source.starts, ==, 0);
    screen_set_wanted(f.screen, TRUE);
    screen_set_wanted(f.screen, TRUE);
    g_assert_cmpuint(f.source.starts, ==, 1);
    g_assert_null(f.display.picture);
    g_assert_false(f.input.is_shown);

    fake_picture(&f.source, 64, 48, 0x336699);
    check_picture(&f, 64, 48, 0x336699);
    g_assert_cmpuint(f.display.updates, ==, 1);
    g_assert_true(f.input.is_shown);
    f.source.events->leds(5, f.source.opaque);
    g_assert_cmphex(f.input.leds, ==, 5);
    f.source.events->pointing(TRUE, f.source.opaque);
    g_assert_true(f.input.is_relative);
    f.source.events->cursor(NULL, 0, 0, 0, 0, f.source.opaque);
    g_assert_cmpuint(f.display.cursors, ==, 1);

    /* another size */
    fake_picture(&f.source, 80, 60, 0x112233);
    check_picture(&f, 80, 60, 0x112233);
    g_assert_cmpuint(f.source.starts, ==, 1);

    /* while the source is still there, what is pressed is let go */
    f.input.is_connected = &f.source.is_connected;
    screen_set_wanted(f.screen, FALSE);
    g_assert_null(f.display.picture);
    g_assert_false(f.input.is_shown);
    g_assert_null(f.source.events);
    tear_down(&f);
}

/* No picture for a moment, and it says so; then it's there after all */
static void test_message_first(void)
{
    Fixture f;

    set_up(&f, 1, NEVER_MS);
    screen_set_wanted(f.screen, TRUE);
    RUN_UNTIL(f.display.shown);
    g_assert_true(is_message(&f, 640, 480));
    g_assert_false(f.input.is_shown);
    fake_picture(&f.source, 64, 48, 0x336699);
    check_picture(&f, 64, 48, 0x336699);
    g_assert_true(f.input.is_shown);
    tear_down(&f);
}

/* It's lost: the last picture, then a message of its size, then a new one */
static void test_message_after(void)
{
    Fixture f;
    guint first;

    set_up(&f, 1, 1);
    screen_set_wanted(f.screen, TRUE);
    fake_picture(&f.source, 320, 240, 0x336699);
    fake_gone(&f.source, "somebody has pulled the plug");
    check_picture(&f, 320, 240, 0x336699);
    g_assert_false(f.input.is_shown);
    RUN_UNTIL(is_message(&f, 320, 240));
    first = hash(&f);

    /* the message is that of the last attempt */
    RUN_UNTIL(f.source.events);
    fake_gone(&f.source, "somebody has pulled the plug");
    g_assert_cmpuint(hash(&f), ==, first);
    RUN_UNTIL(f.source.events);
    fake_gone(&f.source, "wrong password");
    g_assert_true(is_message(&f, 320, 240));
    g_assert_cmpuint(hash(&f), !=, first);
    g_assert_cmpuint(f.display.shown, ==, 2);

    RUN_UNTIL(f.source.events);
    fake_picture(&f.source, 64, 48, 0x112233);
    check_picture(&f, 64, 48, 0x112233);
    g_assert_true(f.input.is_shown);
    tear_down(&f);
}

/* It is back within the moment: nobody has seen a message */
static void test_no_flash(void)
{
    Fixture f;

    set_up(&f, NEVER_MS, 1);
    screen_set_wanted(f.screen, TRUE);
    fake_picture(&f.source, 64, 48, 0x336699);
    fake_gone(&f.source, "a restart");
    RUN_UNTIL(f.source.starts == 2);
    fake_picture(&f.source, 64, 48, 0x112233);
    g_assert_cmpuint(f.display.shown, ==, 2);
    check_picture(&f, 64, 48, 0x112233);
    tear_down(&f);
}

/* And if the machine is found to be off meanwhile there is none either */
static void test_off_meanwhile(void)
{
    Fixture f;

    set_up(&f, 1, 1);
    screen_set_wanted(f.screen, TRUE);
    fake_picture(&f.source, 64, 48, 0x336699);
    fake_gone(&f.source, "it has been powered off");
    screen_set_wanted(f.screen, FALSE);
    g_assert_null(f.display.picture);
    /* what was to come within a millisecond would come now */
    g_usleep(5000);
    run_what_is_due();
    g_assert_cmpuint(f.display.shown, ==, 1);
    g_assert_cmpuint(f.source.starts, ==, 1);
    tear_down(&f);
}

/* Less and less often */
static void test_backing_off(void)
{
    static const int expected[] = { 10, 20, 40, 40 };
    Fixture f;
    gint64 begun;
    guint i;

    set_up_with(&f, NEVER_MS, 10, 40);
    screen_set_wanted(f.screen, TRUE);
    for (i = 0; i < G_N_ELEMENTS(expected); i++) {
        begun = g_get_monotonic_time();
        fake_gone(&f.source, "not yet");
        RUN_UNTIL(f.source.events);
        /* at least: a busy machine takes longer */
        g_assert_cmpint(g_get_monotonic_time() - begun, >=,
                        (expected[i] - 1) * 1000);
    }
    tear_down(&f);
}

/* At once again when there has been a picture, or it has been off */
static void test_not_backing_off(void)
{
    Fixture f;
    int i;

    /* otherwise the last of these would wait for days */
    set_up_with(&f, NEVER_MS, 1, G_MAXINT);
    for (i = 0; i < 30; i++) {
        screen_set_wanted(f.screen, TRUE);
        fake_gone(&f.source, "it goes");
        RUN_UNTIL(f.source.events);
        screen_set_wanted(f.screen, FALSE);
    }
    screen_set_wanted(f.screen, TRUE);
    for (i = 0; i < 30; i++) {
        fake_picture(&f.source, 64, 48, 0x336699);
        fake_gone(&f.source, "it comes and goes");
        RUN_UNTIL(f.source.events);
    }
    tear_down(&f);
}

/* It says no: it's not asked again soon, whoever comes and goes meanwhile */
static void test_refused(void)
{
    const ScreenTimes times = {
        .message_ms = NEVER_MS, .retry_ms = 1, .retry_max_ms = 1,
        .refused_ms = 200,
    };
    Fixture f;
    gint64 begun;

    set_up_times(&f, &times);
    screen_set_wanted(f.screen, TRUE);
    begun = g_get_monotonic_time();
    fake_end(&f.source, SOURCE_REFUSED, "wrong password");
    screen_set_wanted(f.screen, FALSE);
    screen_set_wanted(f.screen, TRUE);
    RUN_UNTIL(f.source.events);
    g_assert_cmpint(g_get_monotonic_time() - begun, >=, 199 * 1000);
    g_assert_cmpuint(f.source.starts, ==, 2);

    /* the right one: then it's as it was */
    fake_picture(&f.source, 64, 48, 0x336699);
    screen_set_wanted(f.screen, FALSE);
    screen_set_wanted(f.screen, TRUE);
    g_assert_cmpuint(f.source.starts, ==, 3);
    fake_end(&f.source, SOURCE_REFUSED, "wrong password");
    tear_down(&f);
}

/* Somebody else is served in our place, again and again: we give way */
static void test_thrown_out(void)
{
    static const int expected[] = { 5, 10, 20, 40, 40 };
    static const ScreenTimes times = {
        .message_ms = NEVER_MS, .retry_ms = 5, .retry_max_ms = 5,
        .refused_ms = 40, .short_ms = NEVER_MS,
    };
    Fixture f;
    gint64 begun;
    guint i;

    set_up_times(&f, &times);
    screen_set_wanted(f.screen, TRUE);
    for (i = 0; i < G_N_ELEMENTS(expected); i++) {
        fake_picture(&f.source, 64, 48, 0x336699);
        /* another size is no new connection */
        fake_picture(&f.source, 80, 48, 0x336699);
        begun = g_get_monotonic_time();
        fake_gone(&f.source, "somebody else has come");
        RUN_UNTIL(f.source.events);
        g_assert_cmpint(g_get_monotonic_time() - begun, >=,
                        (expected[i] - 1) * 1000);
    }
    tear_down(&f);
}

/* A machine without a picture: nobody sees anything, whatever it does */
static void test_no_source(void)
{
    Display display = { 0 };
    Input input = { 0 };
    Screen *screen = screen_new("a", &display, &input, NULL, &screen_times);

    screen_set_wanted(screen, TRUE);
    run_what_is_due();
    screen_set_wanted(screen, FALSE);
    screen_free(screen);
    g_assert_cmpuint(display.shown, ==, 0);
}

/* One has lost its picture, and the other one goes on */
static void test_two(void)
{
    Fixture a, b;

    set_up(&a, 1, NEVER_MS);
    set_up(&b, 1, NEVER_MS);
    screen_set_wanted(a.screen, TRUE);
    screen_set_wanted(b.screen, TRUE);
    fake_picture(&a.source, 64, 48, 0x336699);
    fake_picture(&b.source, 80, 60, 0x112233);
    fake_gone(&a.source, "that of a");
    RUN_UNTIL(is_message(&a, 64, 48));
    check_picture(&b, 80, 60, 0x112233);
    g_assert_true(b.input.is_shown);
    g_assert_false(a.input.is_shown);
    screen_set_wanted(a.screen, FALSE);
    check_picture(&b, 80, 60, 0x112233);
    b.source.events->update(0, 0, 1, 1, b.source.opaque);
    g_assert_cmpuint(b.display.updates, ==, 2);
    tear_down(&a);
    tear_down(&b);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/screen/wanted", test_wanted);
    g_test_add_func("/screen/message-first", test_message_first);
    g_test_add_func("/screen/message-after", test_message_after);
    g_test_add_func("/screen/no-flash", test_no_flash);
    g_test_add_func("/screen/off-meanwhile", test_off_meanwhile);
    g_test_add_func("/screen/backing-off", test_backing_off);
    g_test_add_func("/screen/not-backing-off", test_not_backing_off);
    g_test_add_func("/screen/refused", test_refused);
    g_test_add_func("/screen/thrown-out", test_thrown_out);
    g_test_add_func("/screen/no-source", test_no_source);
    g_test_add_func("/screen/two", test_two);
    return g_test_run();
}
