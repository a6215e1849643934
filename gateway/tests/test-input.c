/*
 * Keyboard and mouse: what clients have of them, and what comes of it
 *
 * spice-server and the source are the test's own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "input.h"
#include "loop.h"

/* --- instead of spice-server --------------------------------------------- */

struct RedsState {
    SpiceKbdInstance *kbd;      /* NULL: there is none; and so on */
    SpiceTabletInstance *tablet;
    SpiceMouseInstance *mouse;
    gboolean is_never_without;  /* a keyboard, so that the channel stays */
};

static SpiceServer server;

/* What the library makes, and takes away: of no interest here but that it is */
#define ST ((void *)&server)

int spice_server_add_interface(SpiceServer *s, SpiceBaseInstance *instance)
{
    if (!strcmp(instance->sif->type, SPICE_INTERFACE_KEYBOARD)) {
        g_assert_null(server.kbd);
        server.kbd = SPICE_CONTAINEROF(instance, SpiceKbdInstance, base);
        server.kbd->st = ST;
    } else if (!strcmp(instance->sif->type, SPICE_INTERFACE_TABLET)) {
        g_assert_null(server.tablet);
        server.tablet = SPICE_CONTAINEROF(instance, SpiceTabletInstance, base);
        server.tablet->st = ST;
    } else {
        g_assert_cmpstr(instance->sif->type, ==, SPICE_INTERFACE_MOUSE);
        g_assert_null(server.mouse);
        server.mouse = SPICE_CONTAINEROF(instance, SpiceMouseInstance, base);
        server.mouse->st = ST;
    }
    return 0;
}

int spice_server_remove_interface(SpiceBaseInstance *instance)
{
    if (server.kbd && instance == &server.kbd->base) {
        g_assert_false(server.is_never_without);
        server.kbd->st = NULL;
        server.kbd = NULL;
    } else if (server.tablet && instance == &server.tablet->base) {
        server.tablet->st = NULL;
        server.tablet = NULL;
    } else {
        g_assert_true(server.mouse && instance == &server.mouse->base);
        server.mouse->st = NULL;
        server.mouse = NULL;
    }
    return 0;
}

int spice_server_kbd_leds(SpiceKbdInstance *sin, int leds)
{
    return 0;
}

/* --- a source ------------------------------------------------------------ */

static GString *said;           /* what it has been told */

static void pointer(Source *source, int x, int y, guint8 buttons)
{
    g_string_append_printf(said, "at %d,%d %x;", x, y, buttons);
}

static void motion(Source *source, int dx, int dy, guint8 buttons)
{
    g_string_append_printf(said, "by %d,%d %x;", dx, dy, buttons);
}

static void check_said(const char *what)
{
    g_assert_cmpstr(said->str, ==, what);
    g_string_truncate(said, 0);
}

static const SourceMethods methods = {
    .pointer = pointer,
    .motion = motion,
};
static Source source = { .methods = &methods };

/* ------------------------------------------------------------------------- */

/* spice-server's: left, right, middle */
enum { LEFT = 1, RIGHT = 2, MIDDLE = 4 };

static const SpiceTabletInterface *tablet(void)
{
    g_assert_nonnull(server.tablet);
    g_assert_null(server.mouse);
    return SPICE_CONTAINEROF(server.tablet->base.sif, SpiceTabletInterface,
                             base);
}

static const SpiceMouseInterface *mouse(void)
{
    g_assert_nonnull(server.mouse);
    g_assert_null(server.tablet);
    return SPICE_CONTAINEROF(server.mouse->base.sif, SpiceMouseInterface,
                             base);
}

static void check_nothing(void)
{
    g_assert_null(server.kbd);
    g_assert_null(server.tablet);
    g_assert_null(server.mouse);
}

static void test_absolute(void)
{
    Input *input = input_new(&server, &source);

    check_nothing();
    input_show(input);
    tablet()->position(server.tablet, 10, 20, LEFT);
    check_said("at 10,20 1;");
    tablet()->buttons(server.tablet, RIGHT | MIDDLE);
    check_said("at 10,20 6;");
    tablet()->wheel(server.tablet, -1, LEFT);
    check_said("at 10,20 9;at 10,20 1;");
    tablet()->wheel(server.tablet, 1, 0);
    check_said("at 10,20 10;at 10,20 0;");
    input_free(input);
    check_nothing();
}

static void test_relative(void)
{
    Input *input = input_new(&server, &source);

    /* it may be known before there is a picture */
    input_set_relative(input, TRUE);
    check_nothing();
    input_show(input);
    g_assert_nonnull(server.kbd);
    mouse()->motion(server.mouse, 3, -4, 0, MIDDLE);
    check_said("by 3,-4 2;");
    mouse()->motion(server.mouse, 0, 0, -1, 0);
    check_said("by 0,0 8;by 0,0 0;");
    mouse()->motion(server.mouse, 0, 0, 1, LEFT);
    check_said("by 0,0 11;by 0,0 1;");
    mouse()->buttons(server.mouse, 0);
    check_said("by 0,0 0;");
    input_free(input);
    check_nothing();
}

/* A tablet is plugged in, and pulled out; the keyboard stays */
static void test_change(void)
{
    Input *input = input_new(&server, &source);

    input_show(input);
    server.is_never_without = TRUE;
    tablet();
    input_set_relative(input, FALSE);
    tablet();
    input_set_relative(input, TRUE);
    mouse();
    /* another size */
    input_show(input);
    mouse();
    input_set_relative(input, FALSE);
    tablet();
    input_set_relative(input, TRUE);
    server.is_never_without = FALSE;
    input_hide(input);
    check_nothing();
    /* the next connection says it anew */
    input_show(input);
    tablet();
    input_free(input);
    check_nothing();
}

int main(int argc, char **argv)
{
    int status;

    test_init(&argc, &argv);
    said = g_string_new(NULL);
    g_test_add_func("/input/absolute", test_absolute);
    g_test_add_func("/input/relative", test_relative);
    g_test_add_func("/input/change", test_change);
    status = g_test_run();
    g_string_free(said, TRUE);
    return status;
}
