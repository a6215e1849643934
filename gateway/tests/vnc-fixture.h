/*
 * Who looks at a VNC server of a test's: whether it shows what it is to show,
 * and why there is none
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_VNC_FIXTURE_H
#define GATEWAY_TESTS_VNC_FIXTURE_H

#include <signal.h>

#include "decoder-fixture.h"

static const guint8 orange[4] = { 0x33, 0x99, 0xff, 0 };
#define ORANGE 0xff9933

/* It's over, of that kind, and the reason says so */
static inline void check_gone(Fixture *f, SourceGone kind, const char *reason)
{
    wait_gone(f, reason);
    g_assert_cmpint(f->kind, ==, kind);
}

static inline gboolean shows(Fixture *f, int width, int height, guint32 colour)
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

/* What main() does first: it is the process that decodes, too */
static inline void vnc_test_init(int *argc, char ***argv)
{
    if (*argc > 1 && !strcmp((*argv)[1], DECODER_OPTION)) {
        decoder_main();
    }
    test_init(argc, argv);
    signal(SIGPIPE, SIG_IGN);
}

#endif
