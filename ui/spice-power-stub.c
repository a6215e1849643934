/*
 * Power control by SPICE clients, with a spice-server that has none: built in
 * place of spice-power.c then, so that -spice power= has a clear error
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "ui/qemu-spice.h"

void qemu_spice_power_init(SpiceServer *server, QemuOpts *opts)
{
    const char *mode = qemu_opt_get(opts, "power") ?: "off";

    if (!g_str_equal(mode, "off")) {
        error_report("spice: power=%s needs a spice-server library with power"
                     " control; the one QEMU was built with has none", mode);
        exit(1);
    }
}

void qemu_spice_power_migrated(void)
{
}
