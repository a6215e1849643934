/*
 * The configuration file
 *
 * One table has all of its keys; what is not in it is refused, so that a key
 * with a typing error is not a setting that silently does nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <math.h>
#include <spice/enums.h>
#include <string.h>

#include "config.h"
#include "names.h"

/* A password that is longer than this is a wrong file */
#define MAX_SECRET 1024
/* What SPICE has room for; that's SPICE_MAX_PASSWORD_LENGTH, with a zero */
#define MAX_TICKET 59
/* Clients give up after 90 seconds */
#define MAX_ACTION_TIMEOUT_MS 80000

G_DEFINE_QUARK(spice-gateway-config-error, config_error)

typedef enum Kind {
    TEXT,
    PRIVILEGE,                  /* IPMI's, as text */
    CIPHER_SUITE,               /* the same */
    PORT,
    SECONDS,                    /* kept in milliseconds */
    BOOLEAN,
    PROGRAM,                    /* an argument vector */
    PATH,
    SECRET,                     /* a file's first line */
} Kind;

typedef struct Key {
    const char *group;
    const char *name;
    Kind kind;
    size_t offset;
    const char *preset;
} Key;

#define KEY(group, name, kind, member, preset) \
    { group, name, kind, G_STRUCT_OFFSET(MachineConfig, member), preset }

static const Key keys[] = {
    KEY("server", "name", TEXT, title, NULL),
    KEY("server", "address", TEXT, address, NULL),
    KEY("server", "port", PORT, port, NULL),
    KEY("server", "tls-port", PORT, tls_port, NULL),
    KEY("server", "unix-socket", PATH, unix_socket, NULL),
    KEY("server", "tls-ca-file", PATH, ca_file, NULL),
    KEY("server", "tls-cert-file", PATH, cert_file, NULL),
    KEY("server", "tls-key-file", PATH, key_file, NULL),
    KEY("server", "ticket-file", SECRET, ticket, NULL),
    KEY("server", "websocket-origins", TEXT, websocket_origins, NULL),
    KEY("server", "many-clients", BOOLEAN, many_clients, "true"),

    KEY("power", "poll-interval", SECONDS, poll_ms, "1"),
    KEY("power", "query-timeout", SECONDS, query_timeout_ms, "10"),
    KEY("power", "action-timeout", SECONDS, action_timeout_ms, "60"),

    KEY("exec", "status", PROGRAM, exec_status, NULL),
    KEY("exec", "reset", PROGRAM, exec_reset, NULL),
    KEY("exec", "power-off", PROGRAM, exec_power_off, NULL),
    KEY("exec", "power-on", PROGRAM, exec_power_on, NULL),
    KEY("exec", "pause", PROGRAM, exec_pause, NULL),
    KEY("exec", "continue", PROGRAM, exec_continue, NULL),
    KEY("exec", "watch", PROGRAM, exec_watch, NULL),

    KEY("ipmi", "host", TEXT, ipmi_host, NULL),
    KEY("ipmi", "port", PORT, ipmi_port, "623"),
    KEY("ipmi", "user", TEXT, ipmi_user, NULL),
    KEY("ipmi", "password-file", PATH, ipmi_password_file, NULL),
    KEY("ipmi", "interface", TEXT, ipmi_interface, "lanplus"),
    KEY("ipmi", "privilege", PRIVILEGE, ipmi_privilege, "OPERATOR"),
    KEY("ipmi", "cipher-suite", CIPHER_SUITE, ipmi_cipher_suite, NULL),
    KEY("ipmi", "ipmitool", TEXT, ipmi_program, "ipmitool"),

    KEY("vnc", "host", TEXT, vnc_host, NULL),
    KEY("vnc", "port", PORT, vnc_port, "5900"),
    KEY("vnc", "unix-socket", PATH, vnc_socket, NULL),
    KEY("vnc", "password-file", SECRET, vnc_password, NULL),
    KEY("vnc", "keyboard-layout", TEXT, keyboard_layout, "us"),
};

/* These two are read by hand */
static const char *const more_keys[] = { "backend", "actions" };

static const Key *find_key(const char *group, const char *name)
{
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!strcmp(keys[i].group, group) &&
            (!name || !strcmp(keys[i].name, name))) {
            return &keys[i];
        }
    }
    return NULL;
}

/* What there is, for the one who has mistyped it; caller frees */
static char *names_of(const char *group)
{
    GString *names = g_string_new(NULL);
    gsize i;

    if (!strcmp(group, "power")) {
        g_string_append(names, "backend, actions");
    }
    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!strcmp(keys[i].group, group)) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                                   keys[i].name);
        }
    }
    return g_string_free(names, FALSE);
}

static gboolean check_names(GKeyFile *file, GError **error)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    char **group, **name;

    for (group = groups; *group; group++) {
        g_auto(GStrv) names = g_key_file_get_keys(file, *group, NULL, NULL);

        if (!find_key(*group, NULL)) {
            g_set_error(error, CONFIG_ERROR, 0, "unknown group [%s]; there are"
                        " [server], [power], [exec], [ipmi] and [vnc]", *group);
            return FALSE;
        }
        for (name = names; *name; name++) {
            if (find_key(*group, *name) ||
                (!strcmp(*group, "power") &&
                 g_strv_contains(more_keys, *name))) {
                continue;
            } else {
                g_autofree char *known = names_of(*group);

                g_set_error(error, CONFIG_ERROR, 0, "[%s] unknown key '%s';"
                            " there are: %s", *group, *name, known);
                return FALSE;
            }
        }
    }
    return TRUE;
}

/*
 * Where a file is that the configuration names: relative to systemd's
 * credentials, if it has given us some and it is one, else to the
 * configuration.
 */
static char *find_file(const char *directory, const char *name)
{
    const char *credentials = g_getenv("CREDENTIALS_DIRECTORY");

    if (!g_path_is_absolute(name) && credentials) {
        g_autofree char *path = g_build_filename(credentials, name, NULL);

        if (g_file_test(path, G_FILE_TEST_EXISTS)) {
            return g_steal_pointer(&path);
        }
    }
    return g_canonicalize_filename(name, directory);
}

static char *read_secret(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize length;

    if (!g_file_get_contents(path, &text, &length, error)) {
        return NULL;
    }
    text[strcspn(text, "\r\n")] = '\0';
    if (!*text) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: the first line is empty", path);
    } else if (strlen(text) > MAX_SECRET) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: the first line is longer than"
                    " %d bytes", path, MAX_SECRET);
    } else {
        return g_steal_pointer(&text);
    }
    return NULL;
}

static gboolean read_key(const Key *key, const char *value,
                         const char *directory, MachineConfig *config, GError **error)
{
    void *member = G_STRUCT_MEMBER_P(config, key->offset);
    char *end;

    if (!*value) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "it is empty, leave it out"
                            " if there is none");
        return FALSE;
    }
    switch (key->kind) {
    case TEXT:
        *(char **)member = g_strdup(value);
        return TRUE;
    case PRIVILEGE:
        if (strcmp(value, "USER") && strcmp(value, "OPERATOR") &&
            strcmp(value, "ADMINISTRATOR")) {
            g_set_error(error, CONFIG_ERROR, 0, "'%s' is no privilege, use"
                        " USER, OPERATOR or ADMINISTRATOR", value);
            return FALSE;
        }
        *(char **)member = g_strdup(value);
        return TRUE;
    case CIPHER_SUITE:
        if (!g_ascii_string_to_unsigned(value, 10, 0, 17, NULL, NULL)) {
            g_set_error(error, CONFIG_ERROR, 0, "'%s' is no cipher suite, use 0"
                        " to 17", value);
            return FALSE;
        }
        *(char **)member = g_strdup(value);
        return TRUE;
    case PORT: {
        guint64 port;

        if (!g_ascii_string_to_unsigned(value, 10, 1, 65535, &port, NULL)) {
            g_set_error(error, CONFIG_ERROR, 0, "'%s' is not a port, use 1 to"
                        " 65535", value);
            return FALSE;
        }
        *(int *)member = port;
        return TRUE;
    }
    case SECONDS: {
        double seconds = g_ascii_strtod(value, &end);

        if (*end || !isfinite(seconds) || seconds < 0.01 || seconds > 3600) {
            g_set_error(error, CONFIG_ERROR, 0, "'%s' is not a time, use 0.01"
                        " to 3600 seconds", value);
            return FALSE;
        }
        *(guint *)member = seconds * 1000;
        return TRUE;
    }
    case BOOLEAN:
        if (strcmp(value, "true") && strcmp(value, "false")) {
            g_set_error(error, CONFIG_ERROR, 0, "'%s' is neither true nor"
                        " false", value);
            return FALSE;
        }
        *(gboolean *)member = !strcmp(value, "true");
        return TRUE;
    case PROGRAM:
        return g_shell_parse_argv(value, NULL, (char ***)member, error);
    case PATH:
        *(char **)member = find_file(directory, value);
        return TRUE;
    case SECRET: {
        g_autofree char *path = find_file(directory, value);

        *(char **)member = read_secret(path, error);
        return *(char **)member != NULL;
    }
    }
    g_assert_not_reached();
}

/*
 * Returns: FALSE and @error if there is a value, and it can't be read. That is
 * not as if there were none: without a ticket-file everybody would be let in.
 */
static gboolean get_value(GKeyFile *file, const char *group, const char *name,
                          char **value, GError **error)
{
    g_autoptr(GError) failure = NULL;

    *value = NULL;
    if (!g_key_file_has_key(file, group, name, NULL)) {
        return TRUE;
    }
    /* With a wrong escape there is a value, up to that, and an error */
    *value = g_key_file_get_string(file, group, name, &failure);
    if (failure) {
        g_propagate_prefixed_error(error, g_steal_pointer(&failure),
                                   "[%s] %s: ", group, name);
        return FALSE;
    }
    return TRUE;
}

static gboolean read_actions(GKeyFile *file, MachineConfig *config, GError **error)
{
    g_autofree char *value = NULL;
    g_auto(GStrv) names = NULL;
    char **name;
    guint32 action;

    if (!get_value(file, "power", "actions", &value, error)) {
        return FALSE;
    }
    names = value ? g_strsplit(value, ";", 0) : NULL;
    for (name = names; name && *name; name++) {
        if (!*g_strstrip(*name)) {
            continue;           /* behind the last semicolon */
        }
        action = action_from_name(*name);
        if (!action) {
            g_set_error(error, CONFIG_ERROR, 0, "[power] actions: unknown"
                        " action '%s', use reset, power-off, power-on, pause"
                        " and continue, separated by semicolons", *name);
            return FALSE;
        }
        config->actions |= action;
    }
    config->actions_set = names != NULL;
    if (!names) {
        config->actions = SPICE_POWER_ACTION_MASK;
    }
    return TRUE;
}

static gboolean read_backend(GKeyFile *file, MachineConfig *config, GError **error)
{
    g_autofree char *name = NULL;

    if (!get_value(file, "power", "backend", &name, error)) {
        return FALSE;
    }
    if (!g_strcmp0(name, "exec")) {
        config->backend = BACKEND_EXEC;
    } else if (!g_strcmp0(name, "ipmi")) {
        config->backend = BACKEND_IPMI;
    } else {
        g_set_error(error, CONFIG_ERROR, 0, name ?
                    "[power] backend: unknown backend '%s', use ipmi or exec" :
                    "[power] backend: there is none, use ipmi or exec", name);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_server(const MachineConfig *c, GError **error)
{
    const char *problem = NULL;

    if (!c->port && !c->tls_port && !c->unix_socket) {
        problem = "nowhere to listen: set port, tls-port or unix-socket";
    } else if (c->unix_socket && (c->port || c->tls_port || c->address)) {
        problem = "unix-socket goes with none of address, port and tls-port";
    } else if (c->tls_port && !(c->ca_file && c->cert_file && c->key_file)) {
        problem = "tls-port needs tls-ca-file, tls-cert-file and tls-key-file";
    } else if (!c->tls_port && (c->ca_file || c->cert_file || c->key_file)) {
        problem = "tls-ca-file, tls-cert-file and tls-key-file need a tls-port";
    } else if (c->ticket && strlen(c->ticket) > MAX_TICKET) {
        problem = "ticket-file: its first line is longer than 59 bytes, which"
                  " SPICE has no room for";
    } else {
        return TRUE;
    }
    g_set_error(error, CONFIG_ERROR, 0, "[server] %s", problem);
    return FALSE;
}

static gboolean check_power(const MachineConfig *c, GError **error)
{
    if (c->action_timeout_ms > MAX_ACTION_TIMEOUT_MS) {
        g_set_error(error, CONFIG_ERROR, 0, "[power] action-timeout: %g seconds"
                    " are too long, use at most %d: clients give up after 90",
                    c->action_timeout_ms / 1000.0,
                    MAX_ACTION_TIMEOUT_MS / 1000);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_backend(GKeyFile *file, const MachineConfig *c, GError **error)
{
    const char *other = c->backend == BACKEND_EXEC ? "ipmi" : "exec";
    const char *problem = NULL;

    if (g_key_file_has_group(file, other)) {
        g_set_error(error, CONFIG_ERROR, 0, "[%s] is not for backend=%s",
                    other, c->backend == BACKEND_EXEC ? "exec" : "ipmi");
        return FALSE;
    }
    if (c->backend == BACKEND_IPMI && !c->ipmi_host) {
        problem = "[ipmi] host: there is none";
    } else if (c->backend == BACKEND_IPMI && c->ipmi_user &&
               !c->ipmi_password_file) {
        problem = "[ipmi] password-file: there is none for the user";
    } else if (c->backend == BACKEND_EXEC && !c->exec_status &&
               !c->exec_watch) {
        problem = "[exec] status: there is none, nor is there watch";
    }
    if (problem) {
        g_set_error_literal(error, CONFIG_ERROR, 0, problem);
        return FALSE;
    }
    if (c->ipmi_password_file &&
        !g_file_test(c->ipmi_password_file, G_FILE_TEST_IS_REGULAR)) {
        g_set_error(error, CONFIG_ERROR, 0, "[ipmi] password-file: %s is no"
                    " file", c->ipmi_password_file);
        return FALSE;
    }
    if (c->vnc_host && c->vnc_socket) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[vnc] host and"
                            " unix-socket: one of them is enough");
        return FALSE;
    }
    if (g_key_file_has_group(file, "vnc") && !c->vnc_host && !c->vnc_socket) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[vnc] host: there is"
                            " none, nor is there unix-socket");
        return FALSE;
    }
    return TRUE;
}

static gboolean read_all(GKeyFile *file, const char *directory, MachineConfig *config,
                         GError **error)
{
    gsize i;

    if (!check_names(file, error)) {
        return FALSE;
    }
    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autofree char *value = NULL;
        const Key *key = &keys[i];

        if (!get_value(file, key->group, key->name, &value, error)) {
            return FALSE;
        }
        if (!value && key->preset) {
            value = g_strdup(key->preset);
        }
        if (value && !read_key(key, value, directory, config, error)) {
            g_prefix_error(error, "[%s] %s: ", key->group, key->name);
            return FALSE;
        }
    }
    return read_backend(file, config, error) &&
           read_actions(file, config, error) &&
           check_server(config, error) && check_power(config, error) &&
           check_backend(file, config, error);
}

static MachineConfig *load_machine(const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(MachineConfig) config = g_new0(MachineConfig, 1);
    g_autofree char *whole_path = g_canonicalize_filename(path, NULL);
    g_autofree char *directory = g_path_get_dirname(whole_path);

    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, error) ||
        !read_all(file, directory, config, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    config->source = config->vnc_host || config->vnc_socket ? SOURCE_VNC
                                                            : SOURCE_NONE;
    if (!config->title) {
        config->title = g_strdup(g_get_host_name());
    }
    config->path = g_strdup(path);
    config->name = g_path_get_basename(path);
    if (g_str_has_suffix(config->name, ".conf")) {
        config->name[strlen(config->name) - strlen(".conf")] = '\0';
    }
    return g_steal_pointer(&config);
}

GPtrArray *config_load(const char *path, GPtrArray *problems)
{
    GPtrArray *configs = g_ptr_array_new_with_free_func(
        (GDestroyNotify)config_free);
    g_autoptr(GError) error = NULL;
    MachineConfig *config = load_machine(path, &error);

    if (config) {
        g_ptr_array_add(configs, config);
    } else {
        g_ptr_array_add(problems, g_strdup(error->message));
    }
    return configs;
}

void config_free(MachineConfig *config)
{
    gsize i;

    if (!config) {
        return;
    }
    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        void *member = G_STRUCT_MEMBER_P(config, keys[i].offset);

        switch (keys[i].kind) {
        case TEXT:
        case PRIVILEGE:
        case CIPHER_SUITE:
        case PATH:
        case SECRET:
            g_free(*(char **)member);
            break;
        case PROGRAM:
            g_strfreev(*(char ***)member);
            break;
        default:
            break;
        }
    }
    g_free(config->path);
    g_free(config->name);
    g_free(config);
}
