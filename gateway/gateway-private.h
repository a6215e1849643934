/*
 * All the machines of one process: what those files share that are about them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_GATEWAY_PRIVATE_H
#define GATEWAY_GATEWAY_PRIVATE_H

#include "domains.h"
#include "gateway.h"
#include "metrics.h"
#include "shared-port.h"

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

/* Takes @config. Returns: NULL and @error if there can't be such a machine */
Entry *gateway_entry_new(Host *host, MachineConfig *config, GError **error);

/* Returns: the gateway's */
Host *gateway_add_host(Gateway *gateway, const HypervisorConfig *config);
void gateway_start_host(Host *host);

/*
 * Start those with a file that are not started; what can't be is tried again.
 * Others need not wait for one whose port is taken. Returns: whether clients
 * may come to any, or @error
 */
gboolean gateway_start_machines(Gateway *gateway, GError **error);

#endif
