/*
 * Proxies in front of the SPICE server, which say where clients are
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/util.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "ui/qemu-spice.h"

#ifdef HAVE_SPICE_PROXIES

static char **spice_proxies;    /* NULL if there are none */

void qemu_spice_proxies_init(SpiceServer *server, QemuOpts *opts)
{
    const char *proxies = qemu_opt_get(opts, "proxies");

    if (!proxies) {
        return;
    }
    if (spice_server_set_proxies(server, proxies) != 0) {
        error_report("spice: invalid proxies: '%s', use addresses such as"
                     " 127.0.0.1, networks such as 2001:db8::/64, and unix for"
                     " the UNIX socket, separated by spaces", proxies);
        exit(1);
    }
    spice_proxies = g_strsplit_set(proxies, " ,", -1);
}

strList *qemu_spice_proxies_query(void)
{
    strList *list = NULL, **tail = &list;

    for (char **word = spice_proxies; word && *word; word++) {
        if (**word) {
            QAPI_LIST_APPEND(tail, g_strdup(*word));
        }
    }
    return list;
}

#else

void qemu_spice_proxies_init(SpiceServer *server, QemuOpts *opts)
{
    if (qemu_opt_get(opts, "proxies")) {
        error_report("spice: proxies= needs a spice-server library that reads"
                     " the PROXY protocol; the one QEMU was built with does"
                     " not");
        exit(1);
    }
}

#endif
