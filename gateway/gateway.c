/*
 * All the machines of one process
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "domains.h"
#include "gateway.h"
#include "metrics.h"
#include "shared-port.h"

/* How long answers may take to get to clients when we end, in all */
#define PENDING_TIMEOUT_MS 1000
#define PENDING_STEP_MS    10
/* And what is said to controllers that are being logged out of */
#define LEAVE_MS 1000
/* When to try again to start a machine, whose port may be taken, say */
#define START_AGAIN_S    10

/* When to look whether one that is to be replaced is free of clients */
guint gateway_replace_ms = 5000;

/* The domains of a hypervisor are machines, too */
typedef struct Host {
    Gateway *gateway;
    const HypervisorConfig *config;     /* in the gateway's */
    Domains *domains;           /* NULL until it is started */
} Host;

typedef struct Entry {
    Host *host;                 /* whose domain it is; NULL: it has a file */
    char *domain_name;          /* of that */
    MachineConfig *config;
    Machine *machine;
    MachineConfig *next;        /* what it is to become; NULL: stays as it is */
} Entry;

struct Gateway {
    Config *config;             /* its machines are taken out of it */
    GPtrArray *entries;         /* of Entry: those with a file first */
    GPtrArray *hosts;           /* of Host */
    SharedPort *port;           /* or NULL */
    guint start_timer;          /* for those that could not be started */
    guint replace_timer;        /* for those that could not be replaced */
    Metrics *metrics;           /* or NULL */
};

static void entry_free(gpointer opaque)
{
    Entry *entry = opaque;

    machine_free(entry->machine);
    machine_config_free(entry->config);
    machine_config_free(entry->next);
    g_free(entry->domain_name);
    g_free(entry);
}

static void host_free(gpointer opaque)
{
    Host *host = opaque;

    g_clear_pointer(&host->domains, domains_free);
    g_free(host);
}

/* Takes @config. Returns: NULL and @error if there can't be such a machine */
static Entry *entry_new(Host *host, MachineConfig *config, GError **error)
{
    Machine *machine = machine_new(config, error);
    Entry *entry;

    if (!machine) {
        machine_config_free(config);
        return NULL;
    }
    entry = g_new0(Entry, 1);
    entry->host = host;
    entry->config = config;
    entry->machine = machine;
    return entry;
}

static Host *add_host(Gateway *gateway, const HypervisorConfig *config)
{
    Host *host = g_new0(Host, 1);

    host->gateway = gateway;
    host->config = config;
    g_ptr_array_add(gateway->hosts, host);
    return host;
}

Gateway *gateway_new(Config *config, GPtrArray *problems)
{
    Gateway *gateway = g_new0(Gateway, 1);
    guint i;

    gateway->config = config;
    gateway->entries = g_ptr_array_new_with_free_func(entry_free);
    gateway->hosts = g_ptr_array_new_with_free_func(host_free);
    while (config->machines->len) {
        MachineConfig *of_machine = g_ptr_array_steal_index(config->machines,
                                                            0);
        g_autofree char *path = g_strdup(of_machine->path);
        g_autoptr(GError) error = NULL;
        Entry *entry = entry_new(NULL, of_machine, &error);

        if (entry) {
            g_ptr_array_add(gateway->entries, entry);
        } else {
            g_ptr_array_add(problems, g_strdup_printf("%s: %s", path,
                                                      error->message));
        }
    }
    for (i = 0; i < config->hypervisors->len; i++) {
        add_host(gateway, config->hypervisors->pdata[i]);
    }
    return gateway;
}

/* --- clients who come by the port for all -------------------------------- */

static gboolean is_called(const Entry *entry, const char *name)
{
    return !g_ascii_strcasecmp(entry->config->name, name) ||
           (entry->config->libvirt_domain &&
            !g_ascii_strcasecmp(entry->config->libvirt_domain, name));
}

Machine *gateway_machine(const Gateway *gateway, const char *name)
{
    guint i;

    for (i = 0; i < gateway->entries->len; i++) {
        const Entry *entry = gateway->entries->pdata[i];

        if (is_called(entry, name)) {
            return entry->machine;
        }
    }
    return NULL;
}

void gateway_each(const Gateway *gateway,
                  void (*func)(Machine *machine, gpointer opaque),
                  gpointer opaque)
{
    guint i;

    for (i = 0; i < gateway->entries->len; i++) {
        const Entry *entry = gateway->entries->pdata[i];

        func(entry->machine, opaque);
    }
}

char *gateway_status(const Gateway *gateway)
{
    const Machine *first = NULL;
    guint i, clients = 0, troubles = 0;
    g_autofree char *trouble = NULL;

    for (i = 0; i < gateway->entries->len; i++) {
        const Entry *entry = gateway->entries->pdata[i];

        clients += machine_clients(entry->machine);
        if (machine_trouble(entry->machine)) {
            first = first ?: entry->machine;
            troubles++;
        }
    }
    trouble = first ? g_strdup_printf(", in trouble: %u (%s: %s)", troubles,
                                      machine_config(first)->name,
                                      machine_trouble(first)) : NULL;
    return g_strdup_printf("machines: %u, clients: %u%s", gateway->entries->len,
                           clients, trouble ?: "");
}

/* A name may have the domain of all behind it, and a dot behind that */
static Machine *find_by_host_name(const Gateway *gateway, const char *name)
{
    const char *domain = gateway->config->port->domain;
    g_autofree char *host = g_strdup(name);
    gsize length = strlen(host);
    Machine *machine;

    if (length && host[length - 1] == '.') {
        host[--length] = '\0';
    }
    machine = gateway_machine(gateway, host);
    if (!machine && domain && length > strlen(domain) + 1) {
        char *dot = host + length - strlen(domain) - 1;

        if (*dot == '.' && !g_ascii_strcasecmp(dot + 1, domain)) {
            *dot = '\0';
            machine = gateway_machine(gateway, host);
        }
    }
    return machine;
}

static void client_arrived(const Arrival *arrival, int fd, gpointer opaque)
{
    Gateway *gateway = opaque;
    Machine *machine = arrival->name ? find_by_host_name(gateway, arrival->name)
                                     : NULL;

    if (machine) {
        machine_add_client(machine, arrival, fd);
        return;
    }
    shared_port_refused(gateway->port, arrival, arrival->name
                        ? "there is no such machine" : "it asks for none; its"
                        " TLS has to have a name (SNI)");
    close(fd);
}

/* --- machines that come and go ------------------------------------------- */

static Entry *find_domain(const Host *host, const char *uuid)
{
    guint i;

    for (i = 0; i < host->gateway->entries->len; i++) {
        Entry *entry = host->gateway->entries->pdata[i];

        if (entry->host == host &&
            !strcmp(entry->config->libvirt_domain, uuid)) {
            return entry;
        }
    }
    return NULL;
}

static void domain_gone(const char *uuid, gpointer opaque)
{
    Host *host = opaque;
    Entry *entry = find_domain(host, uuid);

    if (entry) {
        g_ptr_array_remove(host->gateway->entries, entry);
    }
}

static void domain_appeared(const char *uuid, const char *name,
                            gpointer opaque)
{
    Host *host = opaque;
    g_autoptr(GError) error = NULL;
    MachineConfig *config;
    Machine *other;
    Entry *entry;

    domain_gone(uuid, host);    /* if it has had another name */
    config = hypervisor_config_domain(host->config, name, uuid, &error);
    entry = config ? entry_new(host, config, &error) : NULL;
    if (!entry) {
        g_warning("domain %s: %s", name, error->message);
        return;
    }
    other = gateway_machine(host->gateway, config->name);
    if (other) {
        g_warning("domain %s: that is the name of a machine of %s, too, which"
                  " keeps it; this one can be reached as %s", name,
                  machine_config(other)->path, uuid);
    }
    entry->domain_name = g_strdup(name);
    g_ptr_array_add(host->gateway->entries, entry);
    machine_watch(entry->machine);
}

/* ------------------------------------------------------------------------- */

static void start_host(Host *host)
{
    static const DomainsEvents events = {
        .appeared = domain_appeared,
        .gone = domain_gone,
    };

    host->domains = domains_new(hypervisor_config_uri(host->config), &events,
                                host);
}

static gboolean start_again(gpointer opaque);

/*
 * Others need not wait for one whose port is taken. Returns: whether clients
 * may come to any, or @error
 */
static gboolean start_machines(Gateway *gateway, GError **error)
{
    gboolean others = gateway->port || gateway->entries->len > 1;
    guint i, started = 0;

    for (i = 0; i < gateway->entries->len; i++) {
        Entry *entry = gateway->entries->pdata[i];
        g_autoptr(GError) failure = NULL;

        if (entry->host || machine_is_started(entry->machine) ||
            machine_start(entry->machine, &failure)) {
            started++;
            continue;
        }
        g_prefix_error(&failure, "%s: ", entry->config->name);
        if (others && error) {
            g_warning("%s; it is tried again every %d seconds",
                      failure->message, START_AGAIN_S);
        }
        if (error) {
            g_clear_error(error);
            g_propagate_error(error, g_steal_pointer(&failure));
        }
        if (!gateway->start_timer) {
            gateway->start_timer = g_timeout_add_seconds(START_AGAIN_S,
                                                         start_again, gateway);
        }
    }
    if (started || gateway->port) {
        g_clear_error(error);
        return TRUE;
    }
    return FALSE;
}

static gboolean start_again(gpointer opaque)
{
    Gateway *gateway = opaque;

    gateway->start_timer = 0;
    start_machines(gateway, NULL);
    return G_SOURCE_REMOVE;
}

gboolean gateway_start(Gateway *gateway, GError **error)
{
    guint i;

    if (gateway->config->port) {
        gateway->port = shared_port_new(gateway->config->port, client_arrived,
                                        gateway, error);
        if (!gateway->port) {
            return FALSE;
        }
    }
    if (gateway->config->metrics_socket) {
        gateway->metrics = metrics_new(gateway->config->metrics_socket,
                                       gateway, error);
        if (!gateway->metrics) {
            return FALSE;
        }
    }
    if (!start_machines(gateway, error)) {
        return FALSE;
    }
    for (i = 0; i < gateway->entries->len; i++) {
        Entry *entry = gateway->entries->pdata[i];

        machine_watch(entry->machine);
    }
    for (i = 0; i < gateway->hosts->len; i++) {
        start_host(gateway->hosts->pdata[i]);
    }
    return TRUE;
}

/* --- another configuration ----------------------------------------------- */

/* Returns: FALSE if it has clients, whom that would disconnect */
static gboolean replace(Gateway *gateway, Entry *entry)
{
    g_autoptr(GError) error = NULL;
    Machine *machine;

    if (machine_has_clients(entry->machine)) {
        return FALSE;
    }
    machine = machine_new(entry->next, &error);
    if (!machine) {
        g_warning("%s: %s; it stays as it was", entry->next->path,
                  error->message);
        g_clear_pointer(&entry->next, machine_config_free);
        return TRUE;
    }
    g_message("%s: it has its new configuration", entry->next->name);
    machine_free(entry->machine);
    machine_config_free(entry->config);
    entry->machine = machine;
    entry->config = g_steal_pointer(&entry->next);
    machine_watch(machine);
    return TRUE;
}

static gboolean replace_again(gpointer opaque);

static void replace_all(Gateway *gateway)
{
    gboolean is_done = TRUE;
    guint i;

    for (i = 0; i < gateway->entries->len; i++) {
        Entry *entry = gateway->entries->pdata[i];

        if (entry->next) {
            is_done = replace(gateway, entry) && is_done;
        }
    }
    /* the port may have been that of one that is not there any more */
    g_clear_handle_id(&gateway->start_timer, g_source_remove);
    start_machines(gateway, NULL);
    if (!is_done && !gateway->replace_timer) {
        gateway->replace_timer = g_timeout_add(gateway_replace_ms,
                                               replace_again, gateway);
    }
}

static gboolean replace_again(gpointer opaque)
{
    Gateway *gateway = opaque;

    gateway->replace_timer = 0;
    replace_all(gateway);
    return G_SOURCE_REMOVE;
}

/* Takes @config: what is to become of that machine */
static void reload_entry(Entry *entry, MachineConfig *config)
{
    g_clear_pointer(&entry->next, machine_config_free);
    machine_reload_tls(entry->machine);
    if (machine_config_equal(entry->config, config)) {
        if (machine_config_update(entry->config, config)) {
            machine_reload_rights(entry->machine);
        }
        machine_config_free(config);
        return;
    }
    entry->next = config;
    if (machine_has_clients(entry->machine)) {
        g_message("%s: it has its new configuration as soon as nobody is"
                  " connected", config->name);
    }
}

static Entry *find_file(Gateway *gateway, const char *name)
{
    guint i;

    for (i = 0; i < gateway->entries->len; i++) {
        Entry *entry = gateway->entries->pdata[i];

        if (!entry->host && !strcmp(entry->config->name, name)) {
            return entry;
        }
    }
    return NULL;
}

static void reload_files(Gateway *gateway, GPtrArray *configs)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    guint i;

    for (i = 0; i < configs->len; i++) {
        MachineConfig *config = configs->pdata[i];

        g_hash_table_add(names, config->name);
    }
    for (i = gateway->entries->len; i-- > 0;) {
        Entry *entry = gateway->entries->pdata[i];

        if (!entry->host && !g_hash_table_contains(names,
                                                   entry->config->name)) {
            g_message("%s: it is not there any more", entry->config->name);
            g_ptr_array_remove_index(gateway->entries, i);
        }
    }
    while (configs->len) {
        MachineConfig *config = g_ptr_array_steal_index(configs, 0);
        Entry *entry = find_file(gateway, config->name);
        g_autofree char *path = g_strdup(config->path);
        g_autoptr(GError) error = NULL;

        if (entry) {
            reload_entry(entry, config);
            continue;
        }
        entry = entry_new(NULL, config, &error);
        if (entry) {
            /* before the domains: the name is its */
            g_ptr_array_insert(gateway->entries, 0, entry);
            machine_watch(entry->machine);
        } else {
            g_warning("%s: %s", path, error->message);
        }
    }
}

static void remove_domains(Gateway *gateway, const Host *host)
{
    guint i;

    for (i = gateway->entries->len; i-- > 0;) {
        const Entry *entry = gateway->entries->pdata[i];

        if (entry->host == host) {
            g_ptr_array_remove_index(gateway->entries, i);
        }
    }
}

static void reload_domains(Gateway *gateway, Host *host)
{
    guint i;

    for (i = 0; i < gateway->entries->len; i++) {
        Entry *entry = gateway->entries->pdata[i];
        g_autoptr(GError) error = NULL;
        MachineConfig *config;

        if (entry->host != host) {
            continue;
        }
        config = hypervisor_config_domain(host->config, entry->domain_name,
                                          entry->config->libvirt_domain,
                                          &error);
        if (config) {
            reload_entry(entry, config);
        } else {
            g_warning("%s: %s; it stays as it was", entry->config->name,
                      error->message);
        }
    }
}

static void reload_hosts(Gateway *gateway, GPtrArray *configs)
{
    g_autoptr(GHashTable) new = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer config;
    guint i;

    for (i = 0; i < configs->len; i++) {
        config = configs->pdata[i];
        g_hash_table_insert(new, (gpointer)hypervisor_config_uri(config),
                            config);
    }
    for (i = gateway->hosts->len; i-- > 0;) {
        Host *host = gateway->hosts->pdata[i];

        config = g_hash_table_lookup(new, hypervisor_config_uri(host->config));
        if (config) {
            g_hash_table_remove(new, hypervisor_config_uri(config));
            host->config = config;
            reload_domains(gateway, host);
        } else {
            remove_domains(gateway, host);
            g_ptr_array_remove_index(gateway->hosts, i);
        }
    }
    g_hash_table_iter_init(&iter, new);
    while (g_hash_table_iter_next(&iter, NULL, &config)) {
        start_host(add_host(gateway, config));
    }
}

/* Where clients come to stays: others are at that place */
static void reload_port(Gateway *gateway, Config *config)
{
    if (gateway->port && config->port &&
        shared_port_reload(gateway->port, config->port)) {
        return;
    }
    if (gateway->port || config->port) {
        g_warning("gateway.conf: where to listen changes when spice-gateway is"
                  " started again");
    }
    shared_port_config_free(config->port);
    config->port = g_steal_pointer(&gateway->config->port);
}

static void reload_metrics(Gateway *gateway, const Config *config)
{
    g_autoptr(GError) error = NULL;

    if (!g_strcmp0(gateway->config->metrics_socket, config->metrics_socket)) {
        return;
    }
    g_clear_pointer(&gateway->metrics, metrics_free);
    if (config->metrics_socket) {
        gateway->metrics = metrics_new(config->metrics_socket, gateway, &error);
        if (error) {
            g_warning("gateway.conf: %s", error->message);
        }
    }
}

void gateway_reload(Gateway *gateway, Config *config)
{
    reload_port(gateway, config);
    reload_metrics(gateway, config);
    reload_files(gateway, config->machines);
    reload_hosts(gateway, config->hypervisors);
    config_free(gateway->config);
    gateway->config = config;
    replace_all(gateway);
}

/* ------------------------------------------------------------------------- */

static gboolean is_pending(Gateway *gateway)
{
    gboolean pending = FALSE;
    guint i;

    /* Each is asked: that is what sends, too */
    for (i = 0; i < gateway->entries->len; i++) {
        Entry *entry = gateway->entries->pdata[i];

        pending = machine_is_pending(entry->machine) || pending;
    }
    return pending;
}

void gateway_end(Gateway *gateway)
{
    guint i, ms;

    for (i = 0; i < gateway->entries->len; i++) {
        Entry *entry = gateway->entries->pdata[i];

        machine_refuse(entry->machine, "spice-gateway is ending");
    }
    for (ms = 0; ms < PENDING_TIMEOUT_MS && is_pending(gateway);
         ms += PENDING_STEP_MS) {
        g_usleep(PENDING_STEP_MS * 1000);
    }
}

static gboolean leave_anyway(gpointer is_over)
{
    *(gboolean *)is_over = TRUE;
    return G_SOURCE_CONTINUE;
}

/* Of controllers that have few sessions, and keep those that nobody ends */
static void take_leave(void)
{
    gboolean is_over = FALSE;
    guint timer = g_timeout_add(LEAVE_MS, leave_anyway, &is_over);

    while (backend_is_leaving() && !is_over) {
        g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(timer);
}

void gateway_free(Gateway *gateway)
{
    g_clear_handle_id(&gateway->start_timer, g_source_remove);
    g_clear_handle_id(&gateway->replace_timer, g_source_remove);
    metrics_free(gateway->metrics);
    shared_port_free(gateway->port);
    g_ptr_array_unref(gateway->hosts);
    g_ptr_array_unref(gateway->entries);
    config_free(gateway->config);
    g_free(gateway);
    take_leave();
}
