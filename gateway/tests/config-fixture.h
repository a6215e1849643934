/*
 * Files of a configuration, and what is made of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_CONFIG_FIXTURE_H
#define GATEWAY_TESTS_CONFIG_FIXTURE_H

#include <string.h>

#include "config.h"
#include "loop.h"

typedef struct Fixture {
    char *directory;
    Config *config;
    GPtrArray *problems;
} Fixture;

static inline void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    g_assert_nonnull(fixture->directory);
}

static inline void forget(Fixture *fixture)
{
    g_clear_pointer(&fixture->config, config_free);
    g_clear_pointer(&fixture->problems, g_ptr_array_unref);
}

static inline void tear_down(Fixture *fixture, gconstpointer unused)
{
    forget(fixture);
    remove_all(fixture->directory);
    g_free(fixture->directory);
}

static inline void put(Fixture *fixture, const char *name, const char *text)
{
    g_free(put_file(fixture->directory, name, text));
}

/* @name is NULL for the directory */
static inline void load(Fixture *fixture, const char *name)
{
    g_autofree char *path = g_build_filename(fixture->directory, name, NULL);

    forget(fixture);
    fixture->problems = g_ptr_array_new_with_free_func(g_free);
    fixture->config = config_load(path, fixture->problems);
}

static inline const MachineConfig *machine(Fixture *fixture, guint number)
{
    if (fixture->problems->len) {
        g_error("%s", (char *)fixture->problems->pdata[0]);
    }
    g_assert_cmpuint(number, <, fixture->config->machines->len);
    return fixture->config->machines->pdata[number];
}

/* The only problem begins with the path of @file, and has @text in it */
static inline void check_problem(Fixture *fixture, const char *file,
                                 const char *text)
{
    g_autofree char *start = g_strdup_printf("%s/%s: ", fixture->directory,
                                             file);
    const char *found;

    g_assert_cmpuint(fixture->problems->len, ==, 1);
    found = fixture->problems->pdata[0];
    if (!g_str_has_prefix(found, start) || !strstr(found, text)) {
        g_error("not '%s' of %s: %s", text, file, found);
    }
}

/* A machine that has no more than it must */
#define EXEC \
    "[power]\n" \
    "backend=exec\n" \
    "[exec]\n" \
    "status=true\n"

/* In a test's main() */
#define ADD_TO(suite, name, function) \
    g_test_add("/" suite "/" name, Fixture, NULL, set_up, function, tear_down)

#endif
