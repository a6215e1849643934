/*
 * What all tests need: the main loop until something is so, and a directory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_LOOP_H
#define GATEWAY_TESTS_LOOP_H

#include <glib.h>
#include <glib/gstdio.h>

/* What has not come by then hangs; no test is measured by this */
#define HANG_S 120

static inline gboolean hangs(gpointer what)
{
    g_error("this does not come: %s", (const char *)what);
    return G_SOURCE_REMOVE;
}

/* Run the main loop until @condition holds, which an event brings about */
#define RUN_UNTIL(condition) \
    do { \
        guint hang_ = g_timeout_add_seconds(HANG_S, hangs, \
                                            (gpointer)#condition); \
        while (!(condition)) { \
            g_main_context_iteration(NULL, TRUE); \
        } \
        g_source_remove(hang_); \
    } while (0)

/* Whatever is due now, and nothing more */
static inline void run_what_is_due(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

/* A file in a directory, that may not be there yet; caller frees the path */
static inline char *put_file(const char *directory, const char *name,
                             const char *text)
{
    char *path = g_build_filename(directory, name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(parent, 0700), ==, 0);
    /* replaces it: who reads it sees the old text or the new one */
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static inline void remove_all(const char *directory)
{
    const char *const argv[] = { "rm", "-r", directory, NULL };

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH,
                               NULL, NULL, NULL, NULL, NULL, NULL));
}

/* A warning is no failure here: some tests are about what warns */
static inline void test_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
}

#endif
