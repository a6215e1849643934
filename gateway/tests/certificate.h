/*
 * Certificates for a test's servers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_CERTIFICATE_H
#define GATEWAY_TESTS_CERTIFICATE_H

#include <glib.h>

#define DAY_S (24 * 60 * 60)

typedef struct Certificate {
    char *cert, *key;           /* PEM files */
    char *fingerprint;          /* as openssl prints it */
} Certificate;

/*
 * Make @directory/@name.pem and @directory/@name.key: for @names, such as
 * "IP:127.0.0.1,DNS:localhost", and so many @seconds from now on; less than 0:
 * it is too old by these. Who signs it is @issuer; NULL: it does itself.
 *
 * Returns: caller calls certificate_free(), which leaves the files
 */
Certificate *certificate_new(const char *directory, const char *name,
                             const char *names, long seconds,
                             const Certificate *issuer);
void certificate_free(Certificate *certificate);

#endif
