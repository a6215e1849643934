/*
 * Which domains a hypervisor has
 *
 * Everything here is for the thread of the main loop, and nothing blocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_DOMAINS_H
#define GATEWAY_DOMAINS_H

#include <glib.h>

typedef struct Domains Domains;

/* What it tells, from the main loop */
typedef struct DomainsEvents {
    /* There is one, whether it runs or not; or it has another name now */
    void (*appeared)(const char *uuid, const char *name, gpointer opaque);
    /* One is not there any more */
    void (*gone)(const char *uuid, gpointer opaque);
} DomainsEvents;

/*
 * Those of @uri. While there is no connection to that nothing is told. Caller
 * calls domains_free(), after which nothing is told.
 */
Domains *domains_new(const char *uri, const DomainsEvents *events,
                     gpointer opaque);
void domains_free(Domains *domains);

#endif
