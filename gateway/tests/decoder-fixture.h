/*
 * Who looks at a source in a process of its own, and a VNC server for it
 *
 * The test's program is the process, too: its main() calls decoder_main().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_DECODER_FIXTURE_H
#define GATEWAY_TESTS_DECODER_FIXTURE_H

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decoder.h"
#include "decoder-process.h"
#include "loop.h"
#include "rfb-server.h"
#include "source.h"

#define NEVER_MS (HANG_S * 10000)

typedef struct Fixture {
    RfbServer *server;
    MachineConfig config;
    const SourceSession *session;       /* or NULL */
    Source *source;

    /* what the source has told */
    Picture *picture;           /* NULL if there is none */
    guint pictures, updates, cursors;
    int x, y, width, height;    /* of the last update */
    guint8 *cursor;             /* NULL if there is none */
    int cursor_width, cursor_height, hot_x, hot_y;
    int leds;                   /* -1 until there are some */
    gboolean is_relative;
    guint goings;
    SourceGone kind;            /* of the last one */
    char *reason;
} Fixture;

static inline void picture_shown(Picture *picture, gpointer opaque)
{
    Fixture *f = opaque;

    g_clear_pointer(&f->picture, picture_unref);
    f->picture = picture_ref(picture);
    f->pictures++;
}

static inline void picture_updated(int x, int y, int width, int height,
                                   gpointer opaque)
{
    Fixture *f = opaque;

    f->x = x;
    f->y = y;
    f->width = width;
    f->height = height;
    f->updates++;
}

static inline void cursor_changed(const guint8 *rgba, int width, int height,
                                  int hot_x, int hot_y, gpointer opaque)
{
    Fixture *f = opaque;

    g_clear_pointer(&f->cursor, g_free);
    f->cursor = rgba ? g_memdup2(rgba, (gsize)width * height * 4) : NULL;
    f->cursor_width = width;
    f->cursor_height = height;
    f->hot_x = hot_x;
    f->hot_y = hot_y;
    f->cursors++;
}

static inline void leds_changed(guint8 leds, gpointer opaque)
{
    ((Fixture *)opaque)->leds = leds;
}

static inline void pointing_changed(gboolean is_relative, gpointer opaque)
{
    ((Fixture *)opaque)->is_relative = is_relative;
}

static inline void source_gone(SourceGone kind, const char *reason, gpointer opaque)
{
    Fixture *f = opaque;

    f->kind = kind;
    g_free(f->reason);
    f->reason = g_strdup(reason);
    f->goings++;
}

static const SourceEvents events = {
    .picture = picture_shown,
    .update = picture_updated,
    .cursor = cursor_changed,
    .pointing = pointing_changed,
    .leds = leds_changed,
    .gone = source_gone,
};

static inline void start(Fixture *f)
{
    f->source->methods->start(f->source, &events, f);
}

static const char *const program[] = {
    "/proc/self/exe", DECODER_OPTION, NULL
};

/* All but start() */
static inline void prepare(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    decoder_program = program;
    decoder_times = (DecoderTimes) { .ask_ms = NEVER_MS, .end_ms = 1000 };
    f->config = (MachineConfig) {
        .name = "a",
        .source = SOURCE_VNC,
        .vnc_host = "127.0.0.1",
        .keyboard_layout = "us",
    };
    f->server = rfb_server_new(&f->config.vnc_port);
    f->leds = -1;
    f->source = source_new(&f->config, f->session, f, &error);
    g_assert_no_error(error);
}

static inline void set_up(Fixture *f, gconstpointer unused)
{
    prepare(f);
    start(f);
}

static inline guint count_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    guint count = 0;

    while (readdir(directory)) {
        count++;
    }
    closedir(directory);
    return count;
}

/* Nothing is left of it, no zombie either */
static inline void tear_down(Fixture *f, gconstpointer unused)
{
    f->source->methods->free(f->source);
    RUN_UNTIL(!decoder_processes);
    g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1);
    g_clear_pointer(&f->picture, picture_unref);
    g_free(f->cursor);
    g_free(f->reason);
    rfb_server_free(f->server);
}

/* The one process that there is */
static inline GPid find_process(void)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children",
                                            getpid());
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpint(atoi(text), >, 0);
    return atoi(text);
}

static inline void check_all(Fixture *f, int width, int height, guint32 colour)
{
    int i;

    g_assert_cmpint(f->picture->width, ==, width);
    g_assert_cmpint(f->picture->height, ==, height);
    for (i = 0; i < width * height; i++) {
        g_assert_cmphex(f->picture->pixels[i] & 0xffffff, ==, colour);
    }
}

/* A rectangle of one colour, pixel by pixel */
static inline void fill(Fixture *f, int x, int y, int width, int height,
                        guint32 colour)
{
    g_autofree guint32 *pixels = g_new(guint32, (gsize)width * height);
    int i;

    for (i = 0; i < width * height; i++) {
        pixels[i] = GUINT32_TO_LE(colour);
    }
    rfb_update(f->server, 1);
    rfb_rectangle(f->server, x, y, width, height, RFB_RAW);
    rfb_say(f->server, pixels, (gsize)width * height * 4);
}

/* Who has come and not been answered is of no interest any more */
static inline void forget(Fixture *f)
{
    while (rfb_has_client(f->server)) {
        rfb_accept(f->server);
    }
    rfb_hang_up(f->server);
}

/* With a picture of one colour */
static inline void show(Fixture *f, int width, int height, guint32 colour)
{
    rfb_be_friendly(f->server, width, height);
    fill(f, 0, 0, width, height, colour);
    RUN_UNTIL(f->updates == 1);
}

static inline void wait_gone(Fixture *f, const char *reason)
{
    RUN_UNTIL(f->goings);
    if (!strstr(f->reason, reason)) {
        g_error("'%s' is not '%s'", f->reason, reason);
    }
    RUN_UNTIL(!decoder_processes);
    run_what_is_due();
    g_assert_cmpuint(f->goings, ==, 1);
    f->goings = 0;
}

#endif
