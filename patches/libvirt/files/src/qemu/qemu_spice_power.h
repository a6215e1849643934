/*
 * qemu_spice_power.h: power control by clients of the SPICE server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

#pragma once

#include "domain_conf.h"
#include "qemu_monitor.h"

void
qemuSpicePowerRequestSubmit(virDomainObj *vm,
                            qemuMonitorSpicePowerRequest **request);

void
qemuSpicePowerRequestHandler(void *data,
                             void *opaque);

void
qemuSpicePowerReconnect(virDomainObj *vm);

bool
qemuSpicePowerPossibleChanged(virDomainObj *vm);

void
qemuSpicePowerUpdatePossible(virDomainObj *vm,
                             virDomainAsyncJob asyncJob);
