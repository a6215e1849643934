/*
 * Certificates for a test's servers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certificate.h"

static FILE *open_file(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);

    g_assert_nonnull(file);
    return file;
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    g_assert_nonnull(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

/* With all but the name and the signature of the issuer */
static X509 *make(EVP_PKEY *key, const char *name, const char *names,
                  long seconds)
{
    static int serial;
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_get_subject_name(certificate);

    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -100 * DAY_S);
    X509_gmtime_adj(X509_getm_notAfter(certificate), seconds);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               (const guchar *)name, -1, -1, 0);
    X509_set_pubkey(certificate, key);
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(certificate, NID_subject_alt_name, names);
    return certificate;
}

static void sign(X509 *certificate, const Certificate *issuer)
{
    FILE *cert = open_file(issuer->cert, "r"), *key = open_file(issuer->key,
                                                                "r");
    X509 *signer = PEM_read_X509(cert, NULL, NULL, NULL);
    EVP_PKEY *signing_key = PEM_read_PrivateKey(key, NULL, NULL, NULL);

    X509_set_issuer_name(certificate, X509_get_subject_name(signer));
    g_assert_cmpint(X509_sign(certificate, signing_key, EVP_sha256()), >, 0);
    EVP_PKEY_free(signing_key);
    X509_free(signer);
    fclose(key);
    fclose(cert);
}

/* As the documentation says how to get it */
static char *fingerprint_of(const char *path)
{
    const char *const argv[] = { "openssl", "x509", "-noout", "-fingerprint",
                                 "-sha256", "-in", path, NULL };
    g_autoptr(GError) error = NULL;
    g_autofree char *line = NULL;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                 &line, NULL, NULL, &error);
    g_assert_no_error(error);
    /* "sha256 Fingerprint=AB:CD:..." */
    g_assert_nonnull(strchr(line, '='));
    return g_strdup(g_strstrip(strchr(line, '=') + 1));
}

Certificate *certificate_new(const char *directory, const char *name,
                             const char *names, long seconds,
                             const Certificate *issuer)
{
    Certificate *made = g_new0(Certificate, 1);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make(key, name, names, seconds);
    FILE *file;

    made->cert = g_strdup_printf("%s/%s.pem", directory, name);
    made->key = g_strdup_printf("%s/%s.key", directory, name);
    file = open_file(made->key, "w");
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    if (issuer) {
        sign(certificate, issuer);
    } else {
        X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
        g_assert_cmpint(X509_sign(certificate, key, EVP_sha256()), >, 0);
    }
    file = open_file(made->cert, "w");
    PEM_write_X509(file, certificate);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
    made->fingerprint = fingerprint_of(made->cert);
    return made;
}

void certificate_free(Certificate *certificate)
{
    if (certificate) {
        g_free(certificate->cert);
        g_free(certificate->key);
        g_free(certificate->fingerprint);
        g_free(certificate);
    }
}
