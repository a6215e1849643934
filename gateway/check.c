/*
 * What a configuration names, looked at before it is needed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "check.h"

/* When a certificate should have been renewed, in days before its end */
#define RENEWED_DAYS 14

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SSL_CTX, SSL_CTX_free)

G_GNUC_PRINTF(4, 5)
static void add(GPtrArray *lines, const MachineConfig *c, const char *key,
                const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_ptr_array_add(lines, g_strdup_printf("%s: %s: %s", c->path, key, text));
}

static gboolean is_readable(const MachineConfig *c, const char *key,
                            const char *path, GPtrArray *problems)
{
    if (access(path, R_OK) == 0) {
        return TRUE;
    }
    add(problems, c, key, "%s can't be read: %s", path, g_strerror(errno));
    return FALSE;
}

/* --- certificates -------------------------------------------------------- */

static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_get_error());

    ERR_clear_error();
    return reason ?: "it is no PEM file of that kind";
}

/* As spice-server reads them. Returns: NULL, and why in @problems */
static SSL_CTX *load_tls(const MachineConfig *c, GPtrArray *problems)
{
    g_autoptr(SSL_CTX) tls = SSL_CTX_new(TLS_server_method());

    ERR_clear_error();
    if (!is_readable(c, "[server] tls-ca-file", c->ca_file, problems) ||
        !is_readable(c, "[server] tls-cert-file", c->cert_file, problems) ||
        !is_readable(c, "[server] tls-key-file", c->key_file, problems)) {
        return NULL;
    }
    if (SSL_CTX_use_certificate_chain_file(tls, c->cert_file) != 1) {
        add(problems, c, "[server] tls-cert-file", "%s: %s", c->cert_file,
            openssl_reason());
    } else if (SSL_CTX_use_PrivateKey_file(tls, c->key_file,
                                           SSL_FILETYPE_PEM) != 1) {
        add(problems, c, "[server] tls-key-file", "%s: %s", c->key_file,
            openssl_reason());
    } else if (SSL_CTX_check_private_key(tls) != 1) {
        add(problems, c, "[server] tls-key-file", "%s is not the key of %s",
            c->key_file, c->cert_file);
    } else if (SSL_CTX_load_verify_locations(tls, c->ca_file, NULL) != 1) {
        add(problems, c, "[server] tls-ca-file", "%s: %s", c->ca_file,
            openssl_reason());
    } else {
        return g_steal_pointer(&tls);
    }
    return NULL;
}

static void check_end(const MachineConfig *c, const X509 *certificate,
                      GPtrArray *warnings)
{
    int days = 0, seconds = 0;

    ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate));
    if (days < 0 || seconds < 0) {
        add(warnings, c, "[server] tls-cert-file", "%s has expired",
            c->cert_file);
    } else if (days < RENEWED_DAYS) {
        add(warnings, c, "[server] tls-cert-file", "%s expires in %d days",
            c->cert_file, days);
    }
}

/* That by which clients ask for the machine, at the port for all */
static void check_name(const Config *config, const MachineConfig *c,
                       X509 *certificate, GPtrArray *warnings)
{
    const char *domain = config->port ? config->port->domain : NULL;
    g_autofree char *name = domain ? g_strdup_printf("%s.%s", c->name, domain)
                                   : NULL;

    if (c->has_shared_port && name &&
        X509_check_host(certificate, name, 0, 0, NULL) != 1) {
        add(warnings, c, "[server] tls-cert-file", "%s is not for %s: clients"
            " may refuse it", c->cert_file, name);
    }
}

static void tls_free(gpointer tls)
{
    SSL_CTX_free(tls);          /* NULL is none */
}

void check_certificates(const Config *config, GPtrArray *problems,
                        GPtrArray *warnings)
{
    /* most machines have those of all; they are told of once */
    g_autoptr(GHashTable) known = g_hash_table_new_full(
        g_str_hash, g_str_equal, g_free, tls_free);
    guint i;

    for (i = 0; i < config->machines->len; i++) {
        const MachineConfig *c = config->machines->pdata[i];
        g_autofree char *key = NULL;
        gpointer tls;

        if (!config_takes_tls(c)) {
            continue;
        }
        key = g_strjoin("\n", c->ca_file, c->cert_file, c->key_file, NULL);
        if (!g_hash_table_lookup_extended(known, key, NULL, &tls)) {
            tls = load_tls(c, problems);
            if (tls) {
                check_end(c, SSL_CTX_get0_certificate(tls), warnings);
            }
            g_hash_table_insert(known, g_steal_pointer(&key), tls);
        }
        if (tls) {
            check_name(config, c, SSL_CTX_get0_certificate(tls), warnings);
        }
    }
}

/* --- programs ------------------------------------------------------------ */

static void check_program(const MachineConfig *c, const char *key,
                          const char *name, GPtrArray *problems)
{
    g_autofree char *path = g_find_program_in_path(name);

    if (!path) {
        add(problems, c, key, "there is no program %s that can be run%s", name,
            strchr(name, '/') ? "" : " in $PATH");
    }
}

void check_programs(const Config *config, GPtrArray *problems)
{
    guint i;
    gsize j;

    for (i = 0; i < config->machines->len; i++) {
        const MachineConfig *c = config->machines->pdata[i];
        const struct {
            const char *key;
            char **argv;
        } programs[] = {
            { "[exec] status", c->exec_status },
            { "[exec] reset", c->exec_reset },
            { "[exec] power-off", c->exec_power_off },
            { "[exec] power-on", c->exec_power_on },
            { "[exec] pause", c->exec_pause },
            { "[exec] continue", c->exec_continue },
            { "[exec] watch", c->exec_watch },
        };

        for (j = 0; c->backend == BACKEND_EXEC && j < G_N_ELEMENTS(programs);
             j++) {
            if (programs[j].argv) {
                check_program(c, programs[j].key, programs[j].argv[0],
                              problems);
            }
        }
        if (c->backend == BACKEND_IPMI) {
            check_program(c, "[ipmi] ipmitool", c->ipmi_program, problems);
            if (c->ipmi_password_file) {
                is_readable(c, "[ipmi] password-file", c->ipmi_password_file,
                            problems);
            }
        }
    }
}
