/*
 * qemu_spice_power.h: power control by clients of the SPICE server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

#pragma once

#include "domain_conf.h"
#include "qemu_monitor.h"

/* How many domains can be dealt with at the same time. They don't wait for
 * jobs, but QEMU may take its time to pause or to exit. */
#define QEMU_SPICE_POWER_MAX_WORKERS 20

void
qemuSpicePowerRequestSubmit(virDomainObj *vm,
                            qemuMonitorSpicePowerRequest *request);

void
qemuSpicePowerRequestHandler(void *data,
                             void *opaque);

int
qemuSpicePowerStart(virDomainObj *vm,
                    virDomainAsyncJob asyncJob);

void
qemuSpicePowerReconnect(virDomainObj *vm);

int
qemuSpicePowerSetAllowed(virDomainObj *vm,
                         const virDomainGraphicsDef *graphics,
                         virDomainAsyncJob asyncJob);

bool
qemuSpicePowerPossibleChanged(virDomainObj *vm);

void
qemuSpicePowerUpdatePossible(virDomainObj *vm,
                             virDomainAsyncJob asyncJob);
