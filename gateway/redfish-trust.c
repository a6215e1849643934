/*
 * Which certificates are a Redfish service's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "redfish-trust.h"

char *redfish_fingerprint(const char *text)
{
    g_autoptr(GString) print = g_string_new(NULL);
    guint digits = 0;

    for (; *text; text++) {
        if (g_ascii_isxdigit(*text)) {
            if (digits && digits % 2 == 0) {
                g_string_append_c(print, ':');
            }
            g_string_append_c(print, g_ascii_toupper(*text));
            digits++;
        } else if (*text != ':') {
            return NULL;
        }
    }
    return digits == 64 ? g_string_free(g_steal_pointer(&print), FALSE) : NULL;
}

static char *fingerprint_of(GTlsCertificate *certificate)
{
    g_autoptr(GByteArray) der = NULL;
    g_autofree char *sum = NULL;

    g_object_get(certificate, "certificate", &der, NULL);
    sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, der->data, der->len);
    return redfish_fingerprint(sum);
}

/* Otherwise it is that of an authority which the service's is of */
static gboolean is_too_old(GTlsCertificate *certificate)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autoptr(GDateTime) end =
        g_tls_certificate_get_not_valid_after(certificate);

    return end && g_date_time_compare(end, now) < 0;
}

/* What is wrong with it, and what to do */
static const char *certificate_problem(GTlsCertificate *certificate,
                                       GTlsCertificateFlags errors)
{
    return errors & G_TLS_CERTIFICATE_UNKNOWN_CA
           ? "is of no authority that is trusted: check [redfish] url and"
             " ca-file, or set" :
           errors & G_TLS_CERTIFICATE_BAD_IDENTITY
           ? "is for another name: check [redfish] url, or set" :
           (errors & G_TLS_CERTIFICATE_EXPIRED) && is_too_old(certificate)
           ? "has expired: renew it there, or set [redfish]" :
           errors & G_TLS_CERTIFICATE_EXPIRED
           ? "is of an authority whose own has expired: renew that, there and"
             " in [redfish] ca-file, or set" :
           errors & G_TLS_CERTIFICATE_NOT_ACTIVATED
           ? "is not valid yet: check the clocks, here and there, or set"
             " [redfish]" :
           errors & G_TLS_CERTIFICATE_REVOKED
           ? "has been revoked: renew it there, or set [redfish]" :
           errors & G_TLS_CERTIFICATE_INSECURE
           ? "is too weak: renew it there, or set [redfish]"
           : "is wrong: renew it there, or set [redfish]";
}

char *redfish_trust_problem(GTlsCertificate *certificate,
                            GTlsCertificateFlags errors,
                            const char *fingerprint)
{
    g_autofree char *found = fingerprint_of(certificate);

    if (fingerprint) {
        return strcmp(found, fingerprint)
            ? g_strdup_printf("has a certificate other than that of [redfish]"
                              " fingerprint: if it has got a new one, that is"
                              " %s", found)
            : NULL;
    }
    return g_strdup_printf("has a certificate that %s fingerprint, if this is"
                           " its own: %s",
                           certificate_problem(certificate, errors), found);
}

char *redfish_trust(SoupSession *session, const char *ca_file,
                    const char *fingerprint)
{
    g_autoptr(GTlsDatabase) database = NULL;
    g_autoptr(GError) error = NULL;

    if (fingerprint) {
        soup_session_set_tls_database(session, NULL);
    } else if (ca_file) {
        database = g_tls_file_database_new(ca_file, &error);
        if (!database) {
            return g_strdup_printf("[redfish] ca-file: %s", error->message);
        }
        soup_session_set_tls_database(session, database);
    }
    return NULL;
}
