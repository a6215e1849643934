/*
 * Scan codes, and what is on the keys
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <xkbcommon/xkbcommon-keysyms.h>

#include "config.h"
#include "keymap.h"
#include "loop.h"
#include "scancodes.h"

/* Scan codes without a prefix, and with 0xe0 before */
enum {
    SCAN_1 = 0x02, SCAN_Q = 0x10, SCAN_Y = 0x15, SCAN_LEFT_CTRL = 0x1d,
    SCAN_A = 0x1e, SCAN_LEFT_SHIFT = 0x2a, SCAN_F12 = 0x58,
    SCAN_YEN = 0x7d,
    SCAN_RIGHT_CTRL = 0x9d, SCAN_ALT_GR = 0xb8, SCAN_DELETE = 0xd3,
    SCAN_SUPER = 0xdb,
};

/* As many as there are bytes, and what comes of them */
static void check_decoded(const guint8 *bytes, gsize size, guint8 scancode,
                          gboolean down)
{
    ScanDecoder decoder = { 0 };
    guint8 found = 0;
    gboolean found_down = !down;
    gsize i;

    for (i = 0; i + 1 < size; i++) {
        g_assert_false(scan_decode(&decoder, bytes[i], &found, &found_down));
    }
    g_assert_true(scan_decode(&decoder, bytes[i], &found, &found_down));
    g_assert_cmphex(found, ==, scancode);
    g_assert_cmpint(found_down, ==, down);
    /* nothing of it stays: the next one is a plain key */
    g_assert_true(scan_decode(&decoder, SCAN_A, &found, &found_down));
    g_assert_cmphex(found, ==, SCAN_A);
    g_assert_true(found_down);
}

#define CHECK_DECODED(scancode, down, ...) \
    do { \
        const guint8 bytes_[] = { __VA_ARGS__ }; \
        check_decoded(bytes_, sizeof(bytes_), scancode, down); \
    } while (0)

static void test_decode(void)
{
    CHECK_DECODED(SCAN_A, TRUE, 0x1e);
    CHECK_DECODED(SCAN_A, FALSE, 0x9e);
    CHECK_DECODED(SCAN_DELETE, TRUE, 0xe0, 0x53);
    CHECK_DECODED(SCAN_DELETE, FALSE, 0xe0, 0xd3);
    CHECK_DECODED(SCANCODE_PAUSE, TRUE, 0xe1, 0x1d, 0x45);
    CHECK_DECODED(SCANCODE_PAUSE, FALSE, 0xe1, 0x9d, 0xc5);
}

/* The bytes of two keyboards come mixed */
static void test_decode_two(void)
{
    ScanDecoder a = { 0 }, b = { 0 };
    guint8 scancode;
    gboolean down;

    g_assert_false(scan_decode(&a, 0xe0, &scancode, &down));
    g_assert_true(scan_decode(&b, 0x53, &scancode, &down));
    g_assert_cmphex(scancode, ==, 0x53);
    g_assert_false(scan_decode(&b, 0xe1, &scancode, &down));
    g_assert_true(scan_decode(&a, 0x53, &scancode, &down));
    g_assert_cmphex(scancode, ==, SCAN_DELETE);
}

static void test_evdev(void)
{
    /* linux/input-event-codes.h has these */
    static const struct {
        guint8 scancode;
        guint key;
    } known[] = {
        { SCAN_1, 2 }, { SCAN_A, 30 }, { SCAN_F12, 88 },
        { SCAN_LEFT_CTRL, 29 }, { SCAN_RIGHT_CTRL, 97 },
        { SCAN_ALT_GR, 100 }, { SCAN_DELETE, 111 }, { SCAN_SUPER, 125 },
        { SCAN_YEN, 124 }, { SCANCODE_PAUSE, 119 },
        { 0x00, 0 }, { 0x59, 0 }, { 0x7f, 0 }, { 0x80, 0 }, { 0xff, 0 },
    };
    guint counts[0x100] = { 0 }, i, key;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        g_assert_cmpuint(scancode_to_evdev(known[i].scancode), ==,
                         known[i].key);
    }
    /* No two are one key */
    for (i = 0; i < 0x100; i++) {
        key = scancode_to_evdev(i);
        g_assert_cmpuint(key, <, G_N_ELEMENTS(counts));
        g_assert_cmpuint(key ? ++counts[key] : 0, <=, 1);
    }
}

static void test_keysyms(void)
{
    Keymap *keymap = keymap_new("us", NULL);

    g_assert_cmphex(keymap_key(keymap, SCAN_A, TRUE), ==, XKB_KEY_a);
    g_assert_cmphex(keymap_key(keymap, SCAN_A, FALSE), ==, XKB_KEY_a);
    g_assert_cmphex(keymap_key(keymap, SCAN_DELETE, TRUE), ==, XKB_KEY_Delete);
    g_assert_cmphex(keymap_key(keymap, SCANCODE_PAUSE, TRUE), ==,
                    XKB_KEY_Pause);
    g_assert_cmphex(keymap_key(keymap, 0x7f, TRUE), ==, 0);
    g_assert_cmphex(keymap_key(keymap, 0xff, FALSE), ==, 0);
    keymap_free(keymap);
}

/* A key is let go as what it was pressed, whatever other keys are then */
static void test_released_as_pressed(void)
{
    Keymap *keymap = keymap_new("us", NULL);

    keymap_key(keymap, SCAN_LEFT_SHIFT, TRUE);
    g_assert_cmphex(keymap_key(keymap, SCAN_A, TRUE), ==, XKB_KEY_A);
    keymap_key(keymap, SCAN_LEFT_SHIFT, FALSE);
    g_assert_cmphex(keymap_key(keymap, SCAN_A, FALSE), ==, XKB_KEY_A);
    g_assert_cmphex(keymap_key(keymap, SCAN_A, TRUE), ==, XKB_KEY_a);
    keymap_free(keymap);
}

/* A modifier that repeats is let go once */
static void test_repeated_modifier(void)
{
    Keymap *keymap = keymap_new("us", NULL);

    keymap_key(keymap, SCAN_LEFT_SHIFT, TRUE);
    keymap_key(keymap, SCAN_LEFT_SHIFT, TRUE);
    keymap_key(keymap, SCAN_LEFT_SHIFT, TRUE);
    keymap_key(keymap, SCAN_LEFT_SHIFT, FALSE);
    g_assert_cmphex(keymap_key(keymap, SCAN_A, TRUE), ==, XKB_KEY_a);
    keymap_free(keymap);
}

/* Two machines' keyboards: other layouts, other modifiers */
static void test_two_layouts(void)
{
    Keymap *us = keymap_new("us", NULL);
    Keymap *de = keymap_new("de/nodeadkeys", NULL);

    keymap_key(us, SCAN_LEFT_SHIFT, TRUE);
    g_assert_cmphex(keymap_key(us, SCAN_Y, TRUE), ==, XKB_KEY_Y);
    g_assert_cmphex(keymap_key(de, SCAN_Y, TRUE), ==, XKB_KEY_z);
    keymap_key(de, SCAN_ALT_GR, TRUE);
    g_assert_cmphex(keymap_key(de, SCAN_Q, TRUE), ==, XKB_KEY_at);
    g_assert_cmphex(keymap_key(us, SCAN_Q, TRUE), ==, XKB_KEY_Q);
    keymap_free(us);
    g_assert_cmphex(keymap_key(de, SCAN_Q, FALSE), ==, XKB_KEY_at);
    keymap_free(de);
}

static void test_no_layout(void)
{
    static const char *const layouts[] = { "xx", "de/xx" };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(layouts); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *quoted = g_strdup_printf("'%s'", layouts[i]);

        g_assert_null(keymap_new(layouts[i], &error));
        g_assert_error(error, CONFIG_ERROR, 0);
        g_assert_nonnull(strstr(error->message, quoted));
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/keys/decode", test_decode);
    g_test_add_func("/keys/decode-two", test_decode_two);
    g_test_add_func("/keys/evdev", test_evdev);
    g_test_add_func("/keys/keysyms", test_keysyms);
    g_test_add_func("/keys/released-as-pressed", test_released_as_pressed);
    g_test_add_func("/keys/repeated-modifier", test_repeated_modifier);
    g_test_add_func("/keys/two-layouts", test_two_layouts);
    g_test_add_func("/keys/no-layout", test_no_layout);
    return g_test_run();
}
