/*
 * The configuration: a file for one machine, or a directory for many
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "layer.h"

#define SUFFIX ".conf"
/* What stands for a machine's name in files that are not its own */
#define NAME_MARK "{name}"

struct HypervisorConfig {
    char *path;
    char *uri;
    GPtrArray *layers;
};

/* Of a file; caller frees */
static char *name_of(const char *path)
{
    char *name = g_path_get_basename(path);

    if (g_str_has_suffix(name, SUFFIX)) {
        name[strlen(name) - strlen(SUFFIX)] = '\0';
    }
    return name;
}

static GPtrArray *layers_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)layer_unref);
}

static MachineConfig *load_file(const char *path, GError **error)
{
    g_autoptr(GPtrArray) layers = layers_new();
    g_autofree char *name = name_of(path);
    Layer *layer = layer_load(path, TRUE, FALSE, error);

    if (!layer) {
        return NULL;
    }
    g_ptr_array_add(layers, layer);
    if (g_key_file_has_group(layer->file, "machine")) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: [machine] is for files in a"
                    " directory with templates", path);
        return NULL;
    }
    return layers_read(layers, path, name, g_get_host_name(), FALSE, NULL,
                       error);
}

/* --- a directory --------------------------------------------------------- */

/* What the machines of a directory share */
typedef struct Shared {
    gboolean has_port;
    Layer *defaults;            /* or NULL */
    GHashTable *templates;      /* by name; NULL for one that is wrong */
} Shared;

static void add_problem(GPtrArray *problems, const GError *error)
{
    /* That of a shared file is not told for each machine */
    if (!g_ptr_array_find_with_equal_func(problems, error->message,
                                          g_str_equal, NULL)) {
        g_ptr_array_add(problems, g_strdup(error->message));
    }
}

/* It becomes part of paths, of lines in the log, and of what clients ask for */
static gboolean is_name(const char *name)
{
    return g_ascii_isalnum(*name) &&
           !name[strspn(name, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "-._")];
}

static int compare_paths(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * The paths of all the files of the configuration in there, sorted; what is
 * hidden, or an editor's copy, is none. Returns: NULL and @error if that can't
 * be told
 */
static GPtrArray *list_files(const char *directory, GError **error)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, error);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    const char *entry;

    if (!dir) {
        return NULL;
    }
    while ((entry = g_dir_read_name(dir))) {
        if (*entry != '.' && g_str_has_suffix(entry, SUFFIX)) {
            g_ptr_array_add(paths, g_build_filename(directory, entry, NULL));
        }
    }
    g_ptr_array_sort(paths, compare_paths);
    return g_steal_pointer(&paths);
}

static void load_templates(const char *directory, Shared *shared,
                           GPtrArray *problems)
{
    g_autoptr(GError) unreadable = NULL;
    g_autoptr(GPtrArray) paths = list_files(directory, &unreadable);
    guint i;

    if (!paths) {
        if (!g_error_matches(unreadable, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
            add_problem(problems, unreadable);
        }
        return;
    }
    for (i = 0; i < paths->len; i++) {
        g_autoptr(GError) error = NULL;
        Layer *layer = layer_load(paths->pdata[i], TRUE, TRUE, &error);

        if (!layer) {
            add_problem(problems, error);
        }
        g_hash_table_insert(shared->templates, name_of(paths->pdata[i]), layer);
    }
}

/*
 * Returns: NULL and @error, or NULL alone if what is wrong with it is in a file
 * that it shares
 */
static gpointer load_machine(const char *path, const Shared *shared,
                             GError **error)
{
    Layer *own = layer_load(path, TRUE, FALSE, error);
    g_autoptr(GPtrArray) layers = layers_new();
    g_autofree char *name = name_of(path), *template_name = NULL;
    gpointer template = NULL;

    if (!own) {
        return NULL;
    }
    g_ptr_array_add(layers, own);
    if (!is_name(name)) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: a machine's name has letters,"
                    " digits, '-', '.' and '_', and begins with one of the"
                    " first two", path);
        return NULL;
    }
    template_name = g_key_file_get_string(own->file, "machine", "template",
                                          NULL);
    if (template_name) {
        if (!g_hash_table_lookup_extended(shared->templates, template_name,
                                          NULL, &template)) {
            g_set_error(error, CONFIG_ERROR, 0, "%s: [machine] template: there"
                        " is no templates/%s" SUFFIX, path, template_name);
            return NULL;
        }
        if (!template) {
            return NULL;
        }
        g_ptr_array_add(layers, layer_ref(template));
    }
    if (shared->defaults) {
        g_ptr_array_add(layers, layer_ref(shared->defaults));
    }
    return layers_read(layers, path, name, NULL, shared->has_port, NULL,
                       error);
}

/* Two can't listen at one place; that is told before anything is started */
static void check_places(GPtrArray *configs, GPtrArray *problems)
{
    g_autoptr(GHashTable) places = g_hash_table_new_full(
        g_str_hash, g_str_equal, g_free, NULL);
    guint i, j;

    for (i = 0; i < configs->len; i++) {
        const MachineConfig *c = configs->pdata[i], *other;
        const int ports[] = { c->port, c->tls_port };
        const char *const names[] = { "port", "tls-port" };

        for (j = 0; j < G_N_ELEMENTS(ports); j++) {
            char *place;

            if (!ports[j]) {
                continue;
            }
            place = g_strdup_printf("%s %d", c->address ?: "", ports[j]);
            other = g_hash_table_lookup(places, place);
            if (other) {
                g_ptr_array_add(problems, g_strdup_printf(
                    "%s: [server] %s: %d is in %s, too", c->path, names[j],
                    ports[j], other->path));
            }
            g_hash_table_insert(places, place, (gpointer)c);
        }
        if (c->unix_socket) {
            other = g_hash_table_lookup(places, c->unix_socket);
            if (other) {
                g_ptr_array_add(problems, g_strdup_printf(
                    "%s: [server] unix-socket: %s is in %s, too", c->path,
                    c->unix_socket, other->path));
            }
            g_hash_table_insert(places, g_strdup(c->unix_socket), (gpointer)c);
        }
    }
}

/*
 * Each of the files in there, if there are any, to be read by @load, which
 * returns NULL if it's wrong, and an error unless that has been told
 */
static void load_all(const char *path, const char *folder, const Shared *shared,
                     gpointer (*load)(const char *, const Shared *, GError **),
                     GPtrArray *configs, GPtrArray *problems)
{
    g_autofree char *directory = g_build_filename(path, folder, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) paths = list_files(directory, &error);
    guint i;

    if (!paths && !g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        add_problem(problems, error);
    }
    for (i = 0; paths && i < paths->len; i++) {
        g_autoptr(GError) failure = NULL;
        gpointer config = load(paths->pdata[i], shared, &failure);

        if (config) {
            g_ptr_array_add(configs, config);
        } else if (failure) {
            add_problem(problems, failure);
        }
    }
}

/* --- a hypervisor -------------------------------------------------------- */

static void hypervisor_config_free(gpointer opaque)
{
    HypervisorConfig *config = opaque;

    g_ptr_array_unref(config->layers);
    g_free(config->path);
    g_free(config->uri);
    g_free(config);
}

/* What can be told before there is a domain */
static gboolean check_hypervisor(HypervisorConfig *config, const Layer *own,
                                 GError **error)
{
    static const char *const of_one[] = { "port", "tls-port", "unix-socket" };
    g_autofree char *text = g_key_file_to_data(own->file, NULL, NULL);
    g_autoptr(MachineConfig) domain = NULL;
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(of_one); i++) {
        if (g_key_file_has_key(own->file, "server", of_one[i], NULL)) {
            g_set_error(error, CONFIG_ERROR, 0, "%s: [server] %s: it would be"
                        " that of all of its domains; they are reached by the"
                        " port in gateway.conf", config->path, of_one[i]);
            return FALSE;
        }
    }
    /* what depends on the name may not be right for one that we make up */
    if (strstr(text, NAME_MARK)) {
        return TRUE;
    }
    domain = hypervisor_config_domain(config, "domain",
                                      "00000000-0000-0000-0000-000000000000",
                                      error);
    return domain != NULL;
}

static gpointer load_hypervisor(const char *path, const Shared *shared,
                                GError **error)
{
    HypervisorConfig *config;
    Layer *own = layer_load(path, TRUE, TRUE, error);

    if (!own) {
        return NULL;
    }
    config = g_new0(HypervisorConfig, 1);
    config->path = g_strdup(path);
    config->uri = g_key_file_get_string(own->file, "libvirt", "uri", NULL) ?:
                  g_strdup("qemu:///system");
    config->layers = layers_new();
    g_ptr_array_add(config->layers, own);
    if (shared->defaults) {
        g_ptr_array_add(config->layers, layer_ref(shared->defaults));
    }
    if (!shared->has_port) {
        g_set_error(error, CONFIG_ERROR, 0, "%s: its domains have no ports of"
                    " their own: the one for all is to be in gateway.conf",
                    path);
    } else if (check_hypervisor(config, own, error)) {
        return config;
    }
    hypervisor_config_free(config);
    return NULL;
}

const char *hypervisor_config_uri(const HypervisorConfig *hypervisor)
{
    return hypervisor->uri;
}

MachineConfig *hypervisor_config_domain(const HypervisorConfig *hypervisor,
                                        const char *name, const char *uuid,
                                        GError **error)
{
    return layers_read(hypervisor->layers, hypervisor->path,
                       is_name(name) ? name : uuid, name, TRUE, uuid, error);
}

/* ------------------------------------------------------------------------- */

static void load_directory(const char *path, Config *config,
                           GPtrArray *problems)
{
    g_autofree char *templates = g_build_filename(path, "templates", NULL);
    g_autofree char *defaults = g_build_filename(path, "defaults" SUFFIX,
                                                 NULL);
    g_autofree char *port = g_build_filename(path, "gateway" SUFFIX, NULL);
    Shared shared = {
        .templates = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                           (GDestroyNotify)layer_unref),
    };
    g_autoptr(GError) error = NULL, port_error = NULL;

    if (g_file_test(port, G_FILE_TEST_EXISTS)) {
        config->port = shared_port_config_load(port, &config->metrics_socket,
                                               &port_error);
        if (port_error) {
            add_problem(problems, port_error);
        }
        shared.has_port = config->port || port_error;
    }
    if (g_file_test(defaults, G_FILE_TEST_EXISTS)) {
        shared.defaults = layer_load(defaults, FALSE, TRUE, &error);
    }
    load_templates(templates, &shared, problems);
    if (error) {
        add_problem(problems, error);   /* all machines have that */
    } else {
        load_all(path, "machines", &shared, load_machine, config->machines,
                 problems);
        load_all(path, "hypervisors", &shared, load_hypervisor,
                 config->hypervisors, problems);
        if (!config->machines->len && !config->hypervisors->len &&
            !problems->len) {
            g_ptr_array_add(problems, g_strdup_printf(
                "%s/machines: there is no machine, that is a file with a name"
                " in " SUFFIX ", nor a hypervisor's in hypervisors", path));
        }
        check_places(config->machines, problems);
    }
    layer_unref(shared.defaults);
    g_hash_table_unref(shared.templates);
}

/* ------------------------------------------------------------------------- */

Config *config_load(const char *path, GPtrArray *problems)
{
    Config *config = g_new0(Config, 1);
    g_autoptr(GError) error = NULL;
    MachineConfig *machine;

    config->machines = g_ptr_array_new_with_free_func(
        (GDestroyNotify)machine_config_free);
    config->hypervisors = g_ptr_array_new_with_free_func(
        hypervisor_config_free);
    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        load_directory(path, config, problems);
        return config;
    }
    machine = load_file(path, &error);
    if (machine) {
        g_ptr_array_add(config->machines, machine);
    } else {
        add_problem(problems, error);
    }
    return config;
}

void config_free(Config *config)
{
    if (config) {
        shared_port_config_free(config->port);
        g_ptr_array_unref(config->machines);
        g_ptr_array_unref(config->hypervisors);
        g_free(config->metrics_socket);
        g_free(config);
    }
}
