/*
 * What it means when a Redfish service does not do what it is asked for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_FAILURES_H
#define GATEWAY_REDFISH_FAILURES_H

#include "backend.h"

typedef struct RedfishFailure {
    BackendTrouble kind;
    guint32 result;             /* SPICE_POWER_RESULT_ of an action */
    char *text;                 /* what comes after its name; caller frees */
} RedfishFailure;

/* @is_answering: it has begun to answer */
RedfishFailure redfish_failure_of_error(const GError *error,
                                        gboolean is_answering);

/*
 * Of an HTTP @status, for @path; @said is in the service's words, or NULL, and
 * @retry_s what it says when to try again, or 0
 */
RedfishFailure redfish_failure_of_status(guint status, const char *path,
                                         gboolean has_user, guint retry_s,
                                         const char *said);

#endif
