/*
 * All the machines of one process
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "gateway-private.h"

/* How long answers may take to get to clients when we end, in all */
#define PENDING_TIMEOUT_MS 1000
#define PENDING_STEP_MS    10
/* And what is said to controllers that are being logged out of */
#define LEAVE_MS 1000
/* When to try again to start a machine, whose port may be taken, say */
#define START_AGAIN_S    10

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

Entry *gateway_entry_new(Host *host, MachineConfig *config, GError **error)
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

Host *gateway_add_host(Gateway *gateway, const HypervisorConfig *config)
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
        Entry *entry = gateway_entry_new(NULL, of_machine, &error);

        if (entry) {
            g_ptr_array_add(gateway->entries, entry);
        } else {
            g_ptr_array_add(problems, g_strdup_printf("%s: %s", path,
                                                      error->message));
        }
    }
    for (i = 0; i < config->hypervisors->len; i++) {
        gateway_add_host(gateway, config->hypervisors->pdata[i]);
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
    entry = config ? gateway_entry_new(host, config, &error) : NULL;
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

void gateway_start_host(Host *host)
{
    static const DomainsEvents events = {
        .appeared = domain_appeared,
        .gone = domain_gone,
    };

    host->domains = domains_new(hypervisor_config_uri(host->config), &events,
                                host);
}

static gboolean start_again(gpointer opaque);

gboolean gateway_start_machines(Gateway *gateway, GError **error)
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
    gateway_start_machines(gateway, NULL);
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
    if (!gateway_start_machines(gateway, error)) {
        return FALSE;
    }
    for (i = 0; i < gateway->entries->len; i++) {
        Entry *entry = gateway->entries->pdata[i];

        machine_watch(entry->machine);
    }
    for (i = 0; i < gateway->hosts->len; i++) {
        gateway_start_host(gateway->hosts->pdata[i]);
    }
    return TRUE;
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
