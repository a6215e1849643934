/*
 * The name that a client asks for, in the beginning of TLS
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "hello.h"
#include "hello-client.h"
#include "loop.h"

static void check_done(const guint8 *data, gsize size, const char *expected)
{
    g_autofree char *name = NULL;

    g_assert_cmpint(hello_read(data, size, &name), ==, HELLO_DONE);
    g_assert_cmpstr(name, ==, expected);
}

static void check_not(const guint8 *data, gsize size, Hello expected)
{
    char *name;

    g_assert_cmpint(hello_read(data, size, &name), ==, expected);
    g_assert_null(name);
}

static void test_name(void)
{
    g_autoptr(GBytes) with = client_says("vm1.example.org");
    g_autoptr(GBytes) without = client_says(NULL);
    gsize size;
    const guint8 *data = g_bytes_get_data(with, &size);

    check_done(data, size, "vm1.example.org");
    data = g_bytes_get_data(without, &size);
    check_done(data, size, NULL);
}

/* It may come byte by byte */
static void test_unfinished(void)
{
    g_autoptr(GBytes) bytes = client_says("vm1.example.org");
    gsize size, i;
    const guint8 *data = g_bytes_get_data(bytes, &size);

    for (i = 1; i < size; i++) {
        check_not(data, i, HELLO_UNFINISHED);
    }
}

/* And in several records, which proxies take for something else */
static void test_two_records(void)
{
    g_autoptr(GBytes) bytes = client_says("vm1.example.org");
    g_autoptr(GByteArray) cut = g_byte_array_new();
    gsize size, first = 40;
    const guint8 *data = g_bytes_get_data(bytes, &size);
    guint8 head[5];

    memcpy(head, data, sizeof(head));
    head[3] = 0;
    head[4] = first;
    g_byte_array_append(cut, head, sizeof(head));
    g_byte_array_append(cut, data + 5, first);
    head[3] = (size - 5 - first) >> 8;
    head[4] = size - 5 - first;
    g_byte_array_append(cut, head, sizeof(head));
    check_not(cut->data, cut->len, HELLO_UNFINISHED);
    g_byte_array_append(cut, data + 5 + first, size - 5 - first);
    check_done(cut->data, cut->len, "vm1.example.org");
}

static void test_none(void)
{
    g_autofree guint8 *zeros = g_malloc0(HELLO_MAX);
    guint8 long_one[HELLO_MAX] = { 0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb };

    check_not((const guint8 *)"REDQ\2\0\0\0\2\0\0\0", 12, HELLO_NONE);
    check_not((const guint8 *)"\x16garbage, and no record at all", 30,
              HELLO_NONE);
    check_not(zeros, HELLO_MAX, HELLO_NONE);
    /* one that does not end is not waited for any longer */
    check_not(long_one, HELLO_MAX, HELLO_NONE);
}

/* Whatever is in it: nothing is read behind the end, which ASan would tell */
static void test_broken(void)
{
    g_autoptr(GBytes) bytes = client_says("vm1.example.org");
    gsize size, i;
    const guint8 *data = g_bytes_get_data(bytes, &size);

    for (i = 0; i < size; i++) {
        guint8 values[] = { 0, 1, 0x7f, 0xff };
        gsize j;

        for (j = 0; j < G_N_ELEMENTS(values); j++) {
            g_autofree guint8 *copy = g_memdup2(data, size);
            g_autofree char *name = NULL;

            copy[i] = values[j];
            hello_read(copy, size, &name);
            g_assert_true(!name || strlen(name) <= 255);
        }
    }
}

/* A zero in a name must not make another name of it */
static void test_zero(void)
{
    g_autoptr(GBytes) bytes = client_says("vm1.example.org");
    gsize size;
    const guint8 *data = g_bytes_get_data(bytes, &size);
    g_autofree guint8 *copy = g_memdup2(data, size);
    gsize i = 0;

    while (memcmp(copy + i, "vm1.", 4)) {
        i++;
    }
    copy[i + 3] = '\0';
    check_done(copy, size, NULL);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/hello/name", test_name);
    g_test_add_func("/hello/unfinished", test_unfinished);
    g_test_add_func("/hello/two-records", test_two_records);
    g_test_add_func("/hello/none", test_none);
    g_test_add_func("/hello/broken", test_broken);
    g_test_add_func("/hello/zero", test_zero);
    return g_test_run();
}
