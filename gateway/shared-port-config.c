/*
 * The configuration of the port that all machines share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <string.h>

#include "config.h"
#include "shared-port.h"

#define GROUP "gateway"

static const char *const keys[] = {
    "address", "port", "unix-socket", "proxies", "domain", "metrics-socket",
    NULL
};

static gboolean check_names(GKeyFile *file, GError **error)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    g_auto(GStrv) names = g_key_file_get_keys(file, GROUP, NULL, NULL);
    g_autofree char *known = g_strjoinv(", ", (char **)keys);
    char **name;

    for (name = groups; *name; name++) {
        if (strcmp(*name, GROUP)) {
            g_set_error(error, CONFIG_ERROR, 0, "unknown group [%s]; there is"
                        " [" GROUP "]", *name);
            return FALSE;
        }
    }
    for (name = names; name && *name; name++) {
        if (!g_strv_contains(keys, *name)) {
            g_set_error(error, CONFIG_ERROR, 0, "[" GROUP "] unknown key '%s';"
                        " there are: %s", *name, known);
            return FALSE;
        }
    }
    return TRUE;
}

/* An error if it is there and can't be read, or is empty */
static gboolean read_text(GKeyFile *file, const char *name, char **value,
                          GError **error)
{
    g_autoptr(GError) failure = NULL;

    if (!g_key_file_has_key(file, GROUP, name, NULL)) {
        return TRUE;
    }
    *value = g_key_file_get_string(file, GROUP, name, &failure);
    if (!failure && !**value) {
        g_set_error_literal(&failure, CONFIG_ERROR, 0, "it is empty, leave it"
                            " out if there is none");
    }
    if (failure) {
        g_propagate_prefixed_error(error, g_steal_pointer(&failure),
                                   "[" GROUP "] %s: ", name);
        return FALSE;
    }
    return TRUE;
}

static gboolean read_port(const char *text, int *port, GError **error)
{
    guint64 value = 0;

    if (text && !g_ascii_string_to_unsigned(text, 10, 1, G_MAXUINT16, &value,
                                            NULL)) {
        g_set_error(error, CONFIG_ERROR, 0, "[" GROUP "] port: '%s' is not a"
                    " port, use 1 to 65535", text);
        return FALSE;
    }
    *port = value;
    return TRUE;
}

static gboolean read_proxies(const char *text, GPtrArray *proxies,
                             GError **error)
{
    g_auto(GStrv) words = g_strsplit_set(text ?: "", " ,", 0);
    char **word;

    for (word = words; *word; word++) {
        GInetAddressMask *mask;

        if (!**word) {
            continue;
        }
        mask = g_inet_address_mask_new_from_string(*word, error);
        if (!mask) {
            g_prefix_error(error, "[" GROUP "] proxies: use addresses, or"
                           " networks such as 192.0.2.0/24: ");
            return FALSE;
        }
        g_ptr_array_add(proxies, mask);
    }
    return TRUE;
}

/* What is there beside is about a port, which systemd may have opened */
static gboolean has_port(GKeyFile *file)
{
    g_auto(GStrv) names = g_key_file_get_keys(file, GROUP, NULL, NULL);

    return !names || g_strv_length(names) > 1 ||
           !g_key_file_has_key(file, GROUP, "metrics-socket", NULL) ||
           g_getenv("LISTEN_FDS");
}

/* Caller frees */
static char *find_socket(const char *path, const char *name)
{
    g_autofree char *directory = g_path_get_dirname(path);

    return g_canonicalize_filename(name, directory);
}

static gboolean check(const SharedPortConfig *c, GError **error)
{
    const char *problem = NULL;

    if (c->address && !c->port) {
        problem = "address is for a port, and there is none";
    } else {
        return TRUE;
    }
    g_set_error(error, CONFIG_ERROR, 0, "[" GROUP "] %s", problem);
    return FALSE;
}

SharedPortConfig *shared_port_config_load(const char *path,
                                          char **metrics_socket,
                                          GError **error)
{
    g_autoptr(SharedPortConfig) c = g_new0(SharedPortConfig, 1);
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *port = NULL, *proxies = NULL, *socket = NULL;
    g_autofree char *metrics = NULL;

    c->path = g_strdup(path);
    c->proxies = g_ptr_array_new_with_free_func(g_object_unref);
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, error) ||
        !check_names(file, error) ||
        !read_text(file, "address", &c->address, error) ||
        !read_text(file, "port", &port, error) ||
        !read_text(file, "unix-socket", &socket, error) ||
        !read_text(file, "proxies", &proxies, error) ||
        !read_text(file, "domain", &c->domain, error) ||
        !read_text(file, "metrics-socket", &metrics, error) ||
        !read_port(port, &c->port, error) ||
        !read_proxies(proxies, c->proxies, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    if (metrics && metrics_socket) {
        *metrics_socket = find_socket(path, metrics);
    }
    if (!has_port(file)) {
        return NULL;
    }
    if (socket) {
        c->unix_socket = find_socket(path, socket);
    }
    if (!check(c, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    return g_steal_pointer(&c);
}

void shared_port_config_free(SharedPortConfig *config)
{
    if (config) {
        g_free(config->path);
        g_free(config->address);
        g_free(config->unix_socket);
        g_ptr_array_unref(config->proxies);
        g_free(config->domain);
        g_free(config);
    }
}
