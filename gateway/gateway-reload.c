/*
 * All the machines of one process: another configuration for them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "gateway-private.h"

/* When to look whether one that is to be replaced is free of clients */
guint gateway_replace_ms = 5000;

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
    gateway_start_machines(gateway, NULL);
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
        entry = gateway_entry_new(NULL, config, &error);
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
        gateway_start_host(gateway_add_host(gateway, config));
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
