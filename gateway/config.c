/*
 * The configuration of a machine
 *
 * One table has all of its keys; what is not in it is refused, so that a key
 * with a typing error is not a setting that silently does nothing. The table,
 * the types of its values and the checks that go beyond one key stay together:
 * a new key is to be added here, and nowhere else.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <math.h>
#include <spice/enums.h>
#include <string.h>

#include "config-ipmi.h"
#include "config-vnc.h"
#include "layer.h"
#include "names.h"
#include "secret.h"

/* What stands for the machine's name in files that are not its own */
#define NAME_MARK "{name}"
/* Beside the keys of [vnc], none of which is called so */
#define TOKEN     " token"
/* Clients give up after 90 seconds */
#define MAX_ACTION_TIMEOUT_MS 80000

G_DEFINE_QUARK(spice-gateway-config-error, config_error)

typedef enum Kind {
    TEXT,
    PRIVILEGE,                  /* IPMI's, as text */
    CIPHER_SUITE,               /* the same */
    IPMI_RESET,                 /* the same */
    BYTE,                       /* as text */
    IPMI_KEY,                   /* K_g, of a file */
    PORT,
    SECONDS,                    /* kept in milliseconds */
    BOOLEAN,
    PROGRAM,                    /* an argument vector */
    PATTERNS,                   /* of names: any number of them */
    PATH,
    SECRET,                     /* a file's first line */
    BACKEND,
    TICKET,
    ACTIONS,                    /* any number of them */
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

/* Each has a group of that name */
static const char *const backend_names[] = {
    [BACKEND_NONE] = "",
    [BACKEND_EXEC] = "exec",
    [BACKEND_IPMI] = "ipmi",
    [BACKEND_LIBVIRT] = "libvirt",
    [BACKEND_REDFISH] = "redfish",
};

static const Key keys[] = {
    KEY("machine", "template", TEXT, template_name, NULL),

    KEY("server", "name", TEXT, title, NULL),
    KEY("server", "address", TEXT, address, NULL),
    KEY("server", "port", PORT, port, NULL),
    KEY("server", "tls-port", PORT, tls_port, NULL),
    KEY("server", "unix-socket", PATH, unix_socket, NULL),
    KEY("server", "tls-ca-file", PATH, ca_file, NULL),
    KEY("server", "tls-cert-file", PATH, cert_file, NULL),
    KEY("server", "tls-key-file", PATH, key_file, NULL),
    KEY("server", "ticket-file", SECRET, ticket, NULL),
    KEY("server", "power-ticket-file", SECRET, power_ticket, NULL),
    KEY("server", "ticket", TICKET, ticket_from, NULL),
    KEY("server", "sasl", BOOLEAN, sasl, "false"),
    KEY("server", "hand-over-host", TEXT, hand_over_host, NULL),
    KEY("server", "hand-over-port", PORT, hand_over_port, NULL),
    KEY("server", "hand-over-tls-port", PORT, hand_over_tls_port, NULL),
    KEY("server", "websocket-origins", TEXT, websocket_origins, NULL),
    KEY("server", "many-clients", BOOLEAN, many_clients, "true"),

    KEY("power", "backend", BACKEND, backend, NULL),
    KEY("power", "actions", ACTIONS, actions, NULL),
    KEY("power", "poll-interval", SECONDS, poll_ms, "5"),
    KEY("power", "idle-poll-interval", SECONDS, idle_poll_ms, "30"),
    KEY("power", "query-timeout", SECONDS, query_timeout_ms, "10"),
    KEY("power", "action-timeout", SECONDS, action_timeout_ms, "60"),
    KEY("power", "without-video", BOOLEAN, without_video, "false"),

    KEY("rights", "users", PATTERNS, rights_users, NULL),
    KEY("rights", "reset", PATTERNS, rights_reset, NULL),
    KEY("rights", "power-off", PATTERNS, rights_power_off, NULL),
    KEY("rights", "power-on", PATTERNS, rights_power_on, NULL),
    KEY("rights", "pause", PATTERNS, rights_pause, NULL),
    KEY("rights", "continue", PATTERNS, rights_continue, NULL),

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
    KEY("ipmi", "kg-file", IPMI_KEY, ipmi_kg, NULL),
    KEY("ipmi", "oem", TEXT, ipmi_oem, NULL),
    KEY("ipmi", "target-address", BYTE, ipmi_target_address, NULL),
    KEY("ipmi", "target-channel", BYTE, ipmi_target_channel, NULL),
    KEY("ipmi", "transit-address", BYTE, ipmi_transit_address, NULL),
    KEY("ipmi", "transit-channel", BYTE, ipmi_transit_channel, NULL),
    KEY("ipmi", "reset", IPMI_RESET, ipmi_reset, "reset"),
    KEY("ipmi", "ipmitool", TEXT, ipmi_program, "ipmitool"),

    KEY("libvirt", "uri", TEXT, libvirt_uri, "qemu:///system"),
    KEY("libvirt", "domain", TEXT, libvirt_domain, NULL),

    KEY("redfish", "url", TEXT, redfish_url, NULL),
    KEY("redfish", "system", TEXT, redfish_system, NULL),
    KEY("redfish", "user", TEXT, redfish_user, NULL),
    KEY("redfish", "password-file", SECRET, redfish_password, NULL),
    KEY("redfish", "authentication", TEXT, redfish_authentication, "session"),
    KEY("redfish", "ca-file", PATH, redfish_ca_file, NULL),
    KEY("redfish", "fingerprint", TEXT, redfish_fingerprint, NULL),
    KEY("redfish", "events", BOOLEAN, redfish_events, "true"),

    KEY("vnc", "host", TEXT, vnc_host, NULL),
    KEY("vnc", "port", PORT, vnc_port, "5900"),
    KEY("vnc", "unix-socket", PATH, vnc_socket, NULL),
    KEY("vnc", "url", TEXT, vnc_url, NULL),
    KEY("vnc", "user", TEXT, vnc_user, NULL),
    KEY("vnc", "password-file", SECRET, vnc_password, NULL),
    KEY("vnc", "authentication", TEXT, vnc_authentication, "basic"),
    KEY("vnc", "ca-file", PATH, vnc_ca_file, NULL),
    KEY("vnc", "fingerprint", TEXT, vnc_fingerprint, NULL),
    KEY("vnc", "anonymous-tls", BOOLEAN, vnc_anonymous_tls, "false"),
    KEY("vnc", "keyboard-layout", TEXT, keyboard_layout, "us"),
};

void layer_unref(Layer *layer)
{
    if (layer && !--layer->references) {
        g_free(layer->path);
        g_free(layer->directory);
        g_key_file_unref(layer->file);
        g_free(layer);
    }
}

Layer *layer_ref(Layer *layer)
{
    layer->references++;
    return layer;
}

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
                        " [machine], [server], [power], [rights], [exec],"
                        " [ipmi], [libvirt], [redfish] and [vnc]", *group);
            return FALSE;
        }
        for (name = names; *name; name++) {
            if (!find_key(*group, *name)) {
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

static gboolean read_backend(const char *value, BackendType *backend,
                             GError **error)
{
    BackendType type;

    for (type = BACKEND_EXEC; type <= BACKEND_REDFISH; type++) {
        if (!strcmp(value, backend_names[type])) {
            *backend = type;
            return TRUE;
        }
    }
    g_set_error(error, CONFIG_ERROR, 0, "unknown backend '%s', use ipmi,"
                " libvirt, redfish or exec", value);
    return FALSE;
}

static gboolean read_actions(const char *value, guint32 *actions,
                             GError **error)
{
    g_auto(GStrv) names = g_strsplit(value, ";", 0);
    char **name;

    *actions = 0;
    for (name = names; *name; name++) {
        guint32 action;

        if (!*g_strstrip(*name)) {
            continue;           /* behind the last semicolon */
        }
        action = action_from_name(*name);
        if (!action) {
            g_set_error(error, CONFIG_ERROR, 0, "unknown action '%s', use"
                        " reset, power-off, power-on, pause and continue,"
                        " separated by semicolons", *name);
            return FALSE;
        }
        *actions |= action;
    }
    return TRUE;
}

static char **read_patterns(const char *value)
{
    g_auto(GStrv) words = g_strsplit(value, ";", 0);
    g_autoptr(GStrvBuilder) patterns = g_strv_builder_new();
    char **word;

    for (word = words; *word; word++) {
        if (*g_strstrip(*word)) {
            g_strv_builder_add(patterns, *word);
        }
    }
    return g_strv_builder_end(patterns);
}

static gboolean read_key(const Key *key, const char *value,
                         const char *directory, MachineConfig *config,
                         GError **error)
{
    void *member = G_STRUCT_MEMBER_P(config, key->offset);
    char *end;

    /* No action at all is a choice, too, and nobody */
    if (!*value && key->kind != ACTIONS && key->kind != PATTERNS) {
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
    case IPMI_RESET:
        if (strcmp(value, "reset") && strcmp(value, "cycle")) {
            g_set_error(error, CONFIG_ERROR, 0, "'%s' is no way to reset, use"
                        " reset or cycle", value);
            return FALSE;
        }
        *(char **)member = g_strdup(value);
        return TRUE;
    case BYTE:
        if (g_ascii_strtoull(value, &end, 0) > 255 || *end ||
            !g_ascii_isdigit(*value)) {
            g_set_error(error, CONFIG_ERROR, 0, "'%s' is no number from 0 to"
                        " 255, or 0x00 to 0xff", value);
            return FALSE;
        }
        *(char **)member = g_strdup(value);
        return TRUE;
    case IPMI_KEY: {
        g_autofree char *path = find_file(directory, value);
        g_autofree char *text = secret_read(path, error);

        *(char **)member = text ? config_ipmi_key(path, text, error) : NULL;
        return *(char **)member != NULL;
    }
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
    case PATTERNS:
        *(char ***)member = read_patterns(value);
        return TRUE;
    case PATH:
        *(char **)member = find_file(directory, value);
        return TRUE;
    case SECRET: {
        g_autofree char *path = find_file(directory, value);

        *(char **)member = secret_read(path, error);
        return *(char **)member != NULL;
    }
    case BACKEND:
        return read_backend(value, member, error);
    case TICKET:
        if (strcmp(value, "domain")) {
            g_set_error(error, CONFIG_ERROR, 0, "unknown ticket '%s', use"
                        " domain; a password of its own is in ticket-file",
                        value);
            return FALSE;
        }
        *(TicketType *)member = TICKET_DOMAIN;
        return TRUE;
    case ACTIONS:
        config->actions_set = TRUE;
        return read_actions(value, member, error);
    }
    g_assert_not_reached();
}

static char *put_name(const char *value, const char *name)
{
    g_auto(GStrv) parts = g_strsplit(value, NAME_MARK, -1);

    return g_strjoinv(name, parts);
}

/*
 * A value that is there and can't be read is an error. That is not as if there
 * were none: without a ticket-file everybody would be let in.
 */
static gboolean read_from(const Layer *layer, const Key *key,
                          MachineConfig *config, GError **error)
{
    g_autoptr(GError) failure = NULL;
    /* With a wrong escape there is a value, up to that, and an error */
    g_autofree char *value = g_key_file_get_string(layer->file, key->group,
                                                   key->name, &failure);

    if (!failure && layer->is_shared) {
        char *put = put_name(value, config->name);

        g_free(value);
        value = put;
    }
    if (!failure) {
        read_key(key, value, layer->directory, config, &failure);
    }
    if (failure) {
        g_propagate_prefixed_error(error, g_steal_pointer(&failure),
                                   "%s: [%s] %s: ", layer->path, key->group,
                                   key->name);
        return FALSE;
    }
    return TRUE;
}

/* The first layer that has it; else what is set without */
static gboolean read_first(GPtrArray *layers, const Key *key,
                           MachineConfig *config, GError **error)
{
    guint i;

    for (i = 0; i < layers->len; i++) {
        const Layer *layer = layers->pdata[i];

        if (g_key_file_has_key(layer->file, key->group, key->name, NULL)) {
            return read_from(layer, key, config, error);
        }
    }
    return !key->preset || read_key(key, key->preset, NULL, config, error);
}

gboolean is_its_own(GPtrArray *layers, const char *group, const char *name)
{
    guint i;

    for (i = 0; i < layers->len; i++) {
        const Layer *layer = layers->pdata[i];

        if (layer->is_specific &&
            (name ? g_key_file_has_key(layer->file, group, name, NULL)
                  : g_key_file_has_group(layer->file, group))) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean check_server(GPtrArray *layers, const MachineConfig *c,
                             GError **error)
{
    const char *problem = NULL;
    gboolean has_address = c->port || c->tls_port ||
                           is_its_own(layers, "server", "address");
    /* What all have is not for those with a UNIX socket, but for all ports */
    gboolean has_tls_file = c->unix_socket ?
                            is_its_own(layers, "server", "tls-ca-file") ||
                            is_its_own(layers, "server", "tls-cert-file") ||
                            is_its_own(layers, "server", "tls-key-file") :
                            c->ca_file || c->cert_file || c->key_file;

    if (!c->port && !c->tls_port && !c->unix_socket && !c->has_shared_port) {
        problem = "nowhere to listen: set port, tls-port or unix-socket";
    } else if (c->unix_socket && has_address) {
        problem = "unix-socket goes with none of address, port and tls-port";
    } else if ((c->tls_port || (c->has_shared_port && has_tls_file)) &&
               !(c->ca_file && c->cert_file && c->key_file)) {
        problem = "tls-port needs tls-ca-file, tls-cert-file and tls-key-file";
    } else if (!c->tls_port && has_tls_file && !c->has_shared_port) {
        problem = "tls-ca-file, tls-cert-file and tls-key-file need a tls-port";
    } else {
        return TRUE;
    }
    g_set_error(error, CONFIG_ERROR, 0, "[server] %s", problem);
    return FALSE;
}

static gboolean check_power(const MachineConfig *c, GError **error)
{
    if (c->backend == BACKEND_NONE) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[power] backend: there is"
                            " none, use ipmi, libvirt, redfish or exec");
        return FALSE;
    }
    if (c->action_timeout_ms > MAX_ACTION_TIMEOUT_MS) {
        g_set_error(error, CONFIG_ERROR, 0, "[power] action-timeout: %g seconds"
                    " are too long, use at most %d: clients give up after 90",
                    c->action_timeout_ms / 1000.0,
                    MAX_ACTION_TIMEOUT_MS / 1000);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_backend(GPtrArray *layers, const MachineConfig *c,
                              GError **error)
{
    BackendType other;

    for (other = BACKEND_EXEC; other <= BACKEND_REDFISH; other++) {
        if (other != c->backend &&
            is_its_own(layers, backend_names[other], NULL)) {
            g_set_error(error, CONFIG_ERROR, 0, "[%s] is not for backend=%s",
                        backend_names[other], backend_names[c->backend]);
            return FALSE;
        }
    }
    if (c->backend == BACKEND_EXEC && !c->exec_status && !c->exec_watch) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[exec] status: there is"
                            " none, nor is there watch");
        return FALSE;
    }
    if (c->backend == BACKEND_REDFISH) {
        return config_check_redfish(c, error);
    }
    return c->backend != BACKEND_IPMI || config_ipmi_check(c, error);
}

static gboolean check_source(GPtrArray *layers, const MachineConfig *c,
                             GError **error)
{
    if (!config_vnc_check(c, error)) {
        return FALSE;
    }
    if (is_its_own(layers, "vnc", NULL) && c->source == SOURCE_NONE) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[vnc] host: there is"
                            " none, nor is there unix-socket or url");
        return FALSE;
    }
    if (c->source != SOURCE_NONE && c->backend == BACKEND_LIBVIRT) {
        g_set_error_literal(error, CONFIG_ERROR, 0, "[vnc] is not for"
                            " backend=libvirt: clients go to the domain's own"
                            " SPICE server");
        return FALSE;
    }
    return TRUE;
}

static gboolean check_all(GPtrArray *layers, MachineConfig *config,
                          GError **error)
{
    if (check_server(layers, config, error) && check_power(config, error) &&
        login_check(layers, config, error) &&
        check_backend(layers, config, error) &&
        check_source(layers, config, error)) {
        return TRUE;
    }
    g_prefix_error(error, "%s: ", config->path);
    return FALSE;
}

/* --- one machine --------------------------------------------------------- */

Layer *layer_load(const char *path, gboolean is_specific, gboolean is_shared,
                  GError **error)
{
    g_autoptr(Layer) layer = g_new0(Layer, 1);
    g_autofree char *whole_path = g_canonicalize_filename(path, NULL);

    layer->references = 1;
    layer->path = g_strdup(path);
    layer->directory = g_path_get_dirname(whole_path);
    layer->file = g_key_file_new();
    layer->is_specific = is_specific;
    layer->is_shared = is_shared;
    if (!g_key_file_load_from_file(layer->file, path, G_KEY_FILE_NONE,
                                   error) ||
        !check_names(layer->file, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    /* Templates of templates would make it hard to say where a key is from */
    if (is_shared && g_key_file_has_group(layer->file, "machine")) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: [machine] is for the file of"
                    " one machine only", path);
        return NULL;
    }
    return g_steal_pointer(&layer);
}

MachineConfig *layers_read(GPtrArray *layers, const char *path,
                           const char *name, const char *title,
                           gboolean has_shared_port, const char *domain,
                           GError **error)
{
    g_autoptr(MachineConfig) config = g_new0(MachineConfig, 1);
    gsize i;

    config->path = g_strdup(path);
    config->name = g_strdup(name);
    config->has_shared_port = has_shared_port;
    config->actions = SPICE_POWER_ACTION_MASK;
    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!read_first(layers, &keys[i], config, error)) {
            return NULL;
        }
    }
    if (!config->title) {
        config->title = g_strdup(title ?: name);
    }
    if (domain) {
        config->backend = BACKEND_LIBVIRT;
        g_free(config->libvirt_domain);
        config->libvirt_domain = g_strdup(domain);
    }
    config->source = config->vnc_host || config->vnc_socket || config->vnc_url
                     ? SOURCE_VNC : SOURCE_NONE;
    config->redfish_is_basic = !strcmp(config->redfish_authentication, "basic");
    config->vnc_has_session = !strcmp(config->vnc_authentication, "redfish");
    login_choose(layers, config);
    if (!check_all(layers, config, error)) {
        return NULL;
    }
    config_vnc_complete(config);
    return g_steal_pointer(&config);
}

/* Whether what is kept is a string, or NULL; all others but PROGRAM are numbers */
static gboolean is_text(Kind kind)
{
    return kind == TEXT || kind == PRIVILEGE || kind == CIPHER_SUITE ||
           kind == PATH || kind == SECRET;
}

static gboolean is_equal(const Key *key, const MachineConfig *a,
                         const MachineConfig *b)
{
    void *of_a = G_STRUCT_MEMBER_P(a, key->offset);
    void *of_b = G_STRUCT_MEMBER_P(b, key->offset);
    char **words_of_a, **words_of_b;

    switch (key->kind) {
    case TEXT:
    case PRIVILEGE:
    case CIPHER_SUITE:
    case IPMI_RESET:
    case BYTE:
    case IPMI_KEY:
    case PATH:
        return !g_strcmp0(*(char **)of_a, *(char **)of_b);
    case SECRET:
        return !g_strcmp0(*(char **)of_a, *(char **)of_b);
    case PATTERNS:
    case PROGRAM:
        words_of_a = *(char ***)of_a;
        words_of_b = *(char ***)of_b;
        return words_of_a && words_of_b
               ? g_strv_equal((const char *const *)words_of_a,
                              (const char *const *)words_of_b)
               : words_of_a == words_of_b;
    case PORT:
    case SECONDS:
    case BOOLEAN:
    case BACKEND:
    case TICKET:
    case ACTIONS:
        return *(guint *)of_a == *(guint *)of_b;
    }
    g_assert_not_reached();
}

/* What can change while clients are there */
static gboolean is_live(const Key *key)
{
    return key->kind == PATTERNS ||
           key->offset == G_STRUCT_OFFSET(MachineConfig, ticket) ||
           key->offset == G_STRUCT_OFFSET(MachineConfig, power_ticket);
}

gboolean machine_config_equal(const MachineConfig *a, const MachineConfig *b)
{
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!is_live(&keys[i]) && !is_equal(&keys[i], a, b)) {
            return FALSE;
        }
    }
    /* tickets may change, but not whether there are any */
    return !a->ticket == !b->ticket && !a->power_ticket == !b->power_ticket &&
           a->has_shared_port == b->has_shared_port;
}

gboolean machine_config_update(MachineConfig *config, MachineConfig *other)
{
    gboolean is_changed = FALSE;
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        gpointer *member = G_STRUCT_MEMBER_P(config, keys[i].offset);
        gpointer *of_other = G_STRUCT_MEMBER_P(other, keys[i].offset);

        if (is_live(&keys[i]) && !is_equal(&keys[i], config, other)) {
            gpointer old = *member;

            *member = *of_other;
            *of_other = old;
            is_changed = TRUE;
        }
    }
    return is_changed;
}

/* What its decoder is told: nothing of tickets, keys or the BMC */
static gboolean is_for_decoder(const Key *key)
{
    return !strcmp(key->group, "vnc");
}

GVariant *config_pack_vnc(const MachineConfig *config, const char *token)
{
    GVariantBuilder builder;
    gsize i;

    g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&builder, "{sv}", "",
                          g_variant_new_string(config->name));
    if (token) {
        g_variant_builder_add(&builder, "{sv}", TOKEN,
                              g_variant_new_bytestring(token));
    }
    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        void *member = G_STRUCT_MEMBER_P(config, keys[i].offset);
        GVariant *value = NULL;

        if (!is_for_decoder(&keys[i])) {
            continue;
        }
        if (is_text(keys[i].kind)) {
            const char *text = *(char **)member;

            /* not a string: nobody says that it is UTF-8 */
            value = text ? g_variant_new_bytestring(text) : NULL;
        } else {
            value = g_variant_new_uint32(*(guint *)member);
        }
        if (value) {
            g_variant_builder_add(&builder, "{sv}", keys[i].name, value);
        }
    }
    return g_variant_ref_sink(g_variant_builder_end(&builder));
}

MachineConfig *config_unpack_vnc(GVariant *packed)
{
    MachineConfig *config = g_new0(MachineConfig, 1);
    gsize i;

    g_variant_lookup(packed, "", "s", &config->name);
    g_variant_lookup(packed, TOKEN, "^ay", &config->vnc_token);
    config->source = SOURCE_VNC;
    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        void *member = G_STRUCT_MEMBER_P(config, keys[i].offset);

        if (is_for_decoder(&keys[i])) {
            g_variant_lookup(packed, keys[i].name,
                             is_text(keys[i].kind) ? "^ay" : "u", member);
        }
    }
    return config;
}

gboolean config_listens(const MachineConfig *config)
{
    return config->port || config->tls_port || config->unix_socket;
}

/* With a UNIX socket alone it does not, whatever all others have */
gboolean config_takes_tls(const MachineConfig *config)
{
    return config->tls_port || (config->has_shared_port && config->cert_file);
}

void machine_config_free(MachineConfig *config)
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
        case IPMI_RESET:
        case BYTE:
        case IPMI_KEY:
        case PATH:
        case SECRET:
            g_free(*(char **)member);
            break;
        case PROGRAM:
        case PATTERNS:
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
