/*
 * The connection to a hypervisor, by libvirt, for all of its machines
 *
 * There is one for each URI. It is made as soon as somebody needs it, and again
 * and again when it can't be made or is lost. What libvirt does may take its
 * time, so all calls of it are made in threads; everything here is for the
 * thread of the main loop, and nothing blocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_HYPERVISOR_H
#define GATEWAY_HYPERVISOR_H

#include <glib.h>
#include <libvirt/libvirt.h>

typedef struct Hypervisor Hypervisor;
typedef struct HypervisorWatch HypervisorWatch;

/* What it tells, from the main loop */
typedef struct HypervisorEvents {
    /*
     * There is a connection, or there is none any more, or it has been tried
     * again in vain. What has been known before may have changed meanwhile.
     */
    void (*connection)(gpointer opaque);
    /*
     * Something has happened to a domain; @may_be_gone if it is of the kind
     * after which it may not be there any more
     */
    void (*domain)(const char *name, const char *uuid, gboolean may_be_gone,
                   gpointer opaque);
} HypervisorEvents;

/*
 * That of @uri, to which it's connected from now on. Caller calls
 * hypervisor_unref().
 */
Hypervisor *hypervisor_get(const char *uri);
void hypervisor_unref(Hypervisor *hypervisor);

/* Returns: why there is no connection, in words; NULL if there is one */
const char *hypervisor_trouble(const Hypervisor *hypervisor);

/*
 * Tell @events what happens until hypervisor_unwatch(), to the domain with that
 * @uuid only or, if it is NULL, to all
 */
HypervisorWatch *hypervisor_watch(Hypervisor *hypervisor, const char *uuid,
                                  const HypervisorEvents *events,
                                  gpointer opaque);
void hypervisor_unwatch(HypervisorWatch *watch);

/*
 * @run is called in a thread, with a connection that it need not close, or NULL
 * and libvirt's last error; not in the order of the calls. Then @done is called
 * from the main loop, after what has been told meanwhile; it frees @data. It is
 * called when everybody may have gone, too.
 *
 * @is_quick says that it does not wait for what is done to a domain. There are
 * never more than four calls under way: libvirt's daemons take five of one
 * connection, and then not even a quick one.
 *
 * Returns: FALSE if there is no connection; then nothing is called
 */
gboolean hypervisor_call(Hypervisor *hypervisor, gboolean is_quick,
                         void (*run)(virConnectPtr connection, gpointer data),
                         void (*done)(gpointer data), gpointer data);

#endif
