/*
 * Files with a password or a key in them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "secret.h"

/* One that is longer than this is a wrong file */
#define MAX_SECRET 1024

void secret_warn(const char *path)
{
    /* Many machines may have the same one */
    static GHashTable *warned;
    GStatBuf status;

    if (g_stat(path, &status) != 0 || !(status.st_mode & S_IROTH)) {
        return;
    }
    if (!warned) {
        warned = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
    if (g_hash_table_add(warned, g_strdup(path))) {
        g_warning("%s has a secret in it, and everybody on this computer can"
                  " read it: chmod o-r", path);
    }
}

char *secret_read(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize length;

    if (!g_file_get_contents(path, &text, &length, error)) {
        return NULL;
    }
    secret_warn(path);
    text[strcspn(text, "\r\n")] = '\0';
    if (!*text) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: the first line is empty",
                    path);
    } else if (strlen(text) > MAX_SECRET) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: the first line is longer than"
                    " %d bytes", path, MAX_SECRET);
    } else {
        return g_steal_pointer(&text);
    }
    return NULL;
}
