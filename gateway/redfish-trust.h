/*
 * Which certificates are a Redfish service's
 *
 * Those of the authorities in a file, or of the system's; or with a fingerprint
 * a single one, whatever else there is to be said about it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_TRUST_H
#define GATEWAY_REDFISH_TRUST_H

#include <libsoup/soup.h>

/*
 * The SHA-256 of a certificate, as openssl x509 -fingerprint prints it.
 * Returns: NULL if @text is none; caller frees
 */
char *redfish_fingerprint(const char *text);

/*
 * Tell @session whom to trust; @ca_file or @fingerprint is NULL, or both.
 *
 * Returns: NULL, or what is wrong with the file; caller frees
 */
char *redfish_trust(SoupSession *session, const char *ca_file,
                    const char *fingerprint);

/*
 * What is to be said to a certificate that those do not stand for: nothing if
 * it is that of @fingerprint, which may be NULL.
 *
 * Returns: NULL, or the rest of a sentence about the service; caller frees
 */
char *redfish_trust_problem(GTlsCertificate *certificate,
                            GTlsCertificateFlags errors,
                            const char *fingerprint);

#endif
