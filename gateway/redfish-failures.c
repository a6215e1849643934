/*
 * What it means when a Redfish service does not do what it is asked for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <libsoup/soup.h>

#include "redfish-failures.h"

static RedfishFailure failure(BackendTrouble kind, guint32 result,
                              const char *format, ...) G_GNUC_PRINTF(3, 4);

static RedfishFailure failure(BackendTrouble kind, guint32 result,
                              const char *format, ...)
{
    RedfishFailure made = { .kind = kind, .result = result };
    va_list arguments;

    va_start(arguments, format);
    made.text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return made;
}

RedfishFailure redfish_failure_of_error(const GError *error,
                                        gboolean is_answering)
{
    const guint32 result = SPICE_POWER_RESULT_FAILED;

    if (error->domain == G_RESOLVER_ERROR) {
        return failure(BACKEND_TROUBLE_AWAY, result, "is not found: check"
                       " [redfish] url: %s", error->message);
    }
    if (error->domain == G_TLS_ERROR) {
        return failure(BACKEND_TROUBLE_AWAY, result, "can't be spoken to by"
                       " TLS: %s", error->message);
    }
    if (is_answering ||
        g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PARTIAL_INPUT)) {
        return failure(BACKEND_TROUBLE_PASSING, result, "has broken off its"
                       " answer: %s", error->message);
    }
    if (error->domain == SOUP_SESSION_ERROR) {
        return failure(BACKEND_TROUBLE_PASSING, result, "answers with what is"
                       " no HTTP: %s", error->message);
    }
    return failure(BACKEND_TROUBLE_AWAY, result, "does not answer: check that"
                   " it is on the network, and [redfish] url: %s",
                   error->message);
}

RedfishFailure redfish_failure_of_status(guint status, const char *path,
                                         gboolean has_user, guint retry_s,
                                         const char *said)
{
    const char *colon = said ? ": " : "";
    g_autofree char *when = NULL;

    said = said ?: "";
    switch (status) {
    case 401:
        return failure(BACKEND_TROUBLE_REFUSED, SPICE_POWER_RESULT_FAILED,
                       "%s%s%s", has_user
                       ? "does not accept the user or the password: check"
                         " [redfish] user and password-file"
                       : "wants a user: set [redfish] user and password-file",
                       colon, said);
    case 403:
        /* PiKVM says that of a wrong password as well */
        return failure(BACKEND_TROUBLE_REFUSED, SPICE_POWER_RESULT_DENIED,
                       "does not allow the user this: check [redfish] user, its"
                       " role, and password-file%s%s", colon, said);
    case 404:
        return failure(BACKEND_TROUBLE_PASSING, SPICE_POWER_RESULT_FAILED,
                       "has no %s%s%s", path, colon, said);
    case 429:
    case 503:
        when = retry_s ? g_strdup_printf(", it says to try again in %u"
                                         " seconds", retry_s) : g_strdup("");
        return failure(BACKEND_TROUBLE_AWAY, SPICE_POWER_RESULT_BUSY,
                       "is busy%s%s%s", when, colon, said);
    case 405:
    case 501:
        return failure(BACKEND_TROUBLE_REFUSED, SPICE_POWER_RESULT_UNSUPPORTED,
                       "can't do this%s%s", colon, said);
    default:
        return failure(BACKEND_TROUBLE_PASSING, SPICE_POWER_RESULT_FAILED,
                       "refuses %s with HTTP status %u%s%s", path, status,
                       colon, said);
    }
}
