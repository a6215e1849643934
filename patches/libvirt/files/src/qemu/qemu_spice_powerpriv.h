/*
 * qemu_spice_powerpriv.h: power control by clients of the SPICE server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

#ifndef LIBVIRT_QEMU_SPICE_POWERPRIV_H_ALLOW
# error "qemu_spice_powerpriv.h may only be included by qemu_spice_power.c or test suites"
#endif /* LIBVIRT_QEMU_SPICE_POWERPRIV_H_ALLOW */

#pragma once

#include "qemu_spice_power.h"

/* What clients are told if <power> says 'no' */
#define QEMU_SPICE_POWER_NOT_ALLOWED "not enabled for this domain"

typedef struct _qemuSpicePowerJob qemuSpicePowerJob;
struct _qemuSpicePowerJob {
    virDomainObj *vm;
    int domid;
    qemuMonitorSpicePowerRequest *request;
    unsigned long long received; /* when it came, in ms since the epoch */

    /* It was carried out or refused, and it remains to be replied to. */
    bool decided;
    qemuMonitorSpicePowerResult result;
    char *message;
};

void
qemuSpicePowerJobFree(qemuSpicePowerJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(qemuSpicePowerJob, qemuSpicePowerJobFree);

qemuMonitorSpicePowerResult
qemuSpicePowerCheck(virDomainObj *vm,
                    virDomainGraphicsSpicePower action,
                    char **message);

bool
qemuSpicePowerProcess(qemuSpicePowerJob *job);
