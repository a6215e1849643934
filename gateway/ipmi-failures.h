/*
 * What ipmitool says when it fails, and what that means
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_IPMI_FAILURES_H
#define GATEWAY_IPMI_FAILURES_H

#include "backend.h"

typedef struct IpmiFailure {
    BackendTrouble kind;
    guint32 result;             /* of an action; one of SPICE_POWER_RESULT_ */
    char *message;              /* for a person who can do something about it */
} IpmiFailure;

/*
 * Of what it has said on standard error, run with -v, when it asked @host's BMC
 * for @what. What is not known is passed on as it is.
 *
 * Returns: FALSE if it has said nothing; else caller frees failure->message
 */
gboolean ipmi_failure_read(IpmiFailure *failure, const char *said,
                           const char *host, const char *what);

#endif
