/*
 * The lines of the log, each with its fields, as tests see them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_RECORD_LOG_H
#define GATEWAY_TESTS_RECORD_LOG_H

#include <glib.h>

/* Since record_log_begin(); each a table of its fields */
static GPtrArray *lines;

static inline GLogWriterOutput record_log_keep(GLogLevelFlags level,
                                               const GLogField *fields,
                                               gsize count, gpointer unused)
{
    GHashTable *line = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                             g_free);
    gsize i;

    for (i = 0; i < count; i++) {
        char *value = fields[i].length < 0
                      ? g_strdup(fields[i].value)
                      : g_strndup(fields[i].value, fields[i].length);

        g_hash_table_replace(line, g_strdup(fields[i].key), value);
    }
    if (lines) {
        g_ptr_array_add(lines, line);
    } else {
        g_hash_table_unref(line);
    }
    return G_LOG_WRITER_HANDLED;
}

/* Once in a program */
static inline void record_log_init(void)
{
    g_log_set_writer_func(record_log_keep, NULL, NULL);
}

static inline void record_log_begin(void)
{
    lines = g_ptr_array_new_with_free_func((GDestroyNotify)g_hash_table_unref);
}

static inline void record_log_end(void)
{
    g_clear_pointer(&lines, g_ptr_array_unref);
}

static inline const char *record_log_field(guint index, const char *name)
{
    g_assert_cmpuint(index, <, lines->len);
    return g_hash_table_lookup(lines->pdata[index], name);
}

/* How many there are with this in that field */
static inline guint record_log_count(const char *name, const char *value)
{
    guint i, count = 0;

    for (i = 0; i < lines->len; i++) {
        count += !g_strcmp0(record_log_field(i, name), value);
    }
    return count;
}

#endif
