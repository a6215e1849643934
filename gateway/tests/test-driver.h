/*
 * libvirt's test driver, whose domains are in the process
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_TEST_DRIVER_H
#define GATEWAY_TESTS_TEST_DRIVER_H

#include <glib.h>
#include <libvirt/libvirt.h>

/* The same domains for whoever opens it, as long as anybody has it open */
#define TEST_URI "test:///default"
/* What meson takes for that */
#define SKIPPED 77

/* A libvirt that has been built without is no reason to fail */
static inline gboolean has_test_driver(void)
{
    virConnectPtr connection = virConnectOpen(TEST_URI);

    if (connection) {
        virConnectClose(connection);
    } else {
        g_printerr("skipped: libvirt has no test driver: ./stack build"
                   " libvirt\n");
    }
    return connection != NULL;
}

#endif
