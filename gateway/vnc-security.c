/*
 * Which of a VNC server's ways to log in is taken
 *
 * Who has said whom to trust gets TLS, or nothing: a server in the middle
 * could offer less. Else it is what needs no such thing, if there is that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <openssl/evp.h>
#include <string.h>

#include "vnc-security.h"

typedef struct Name {
    guint type;
    const char *name;
} Name;

static const Name security_names[] = {
    { VNC_SECURITY_NONE, "None" },
    { VNC_SECURITY_PASSWORD, "VNC password" },
    { 5, "RA2" },
    { 6, "RA2ne" },
    { 13, "RA2-256 of RealVNC" },
    { 16, "Tight" },
    { 17, "Ultra" },
    { 18, "TLS of vino" },
    { VNC_SECURITY_VENCRYPT, "VeNCrypt" },
    { 20, "SASL" },
    { 21, "MD5" },
    { 30, "Apple's" },
    { 113, "MS-Logon II" },
    { 129, "RA2-256" },
    { 0 }
};

static const Name vencrypt_names[] = {
    { VNC_SECURITY_NONE, "None without TLS" },
    { VNC_SECURITY_PASSWORD, "VNC password without TLS" },
    { 256, "Plain without TLS" },
    { VENCRYPT_TLS_NONE, "TLSNone" },
    { VENCRYPT_TLS_PASSWORD, "TLSVnc" },
    { VENCRYPT_TLS_PLAIN, "TLSPlain" },
    { VENCRYPT_X509_NONE, "X509None" },
    { VENCRYPT_X509_PASSWORD, "X509Vnc" },
    { VENCRYPT_X509_PLAIN, "X509Plain" },
    { 263, "TLSSASL" },
    { 264, "X509SASL" },
    { 0 }
};

/* Returns: "Tight (16), RA2 (5)"; caller frees */
static char *names_of(const Name *names, const guint32 *types, guint count)
{
    GString *text = g_string_new(NULL);
    const Name *found;
    guint i;

    for (i = 0; i < count; i++) {
        for (found = names; found->type && found->type != types[i]; found++) {
        }
        g_string_append_printf(text, "%s%s (%u)", i ? ", " : "",
                               found->name ?: "unknown", types[i]);
    }
    return g_string_free(text, FALSE);
}

static gboolean is_in(guint type, const guint32 *types, guint count)
{
    guint i;

    for (i = 0; i < count && types[i] != type; i++) {
    }
    return i < count;
}

/* With a URL that is about the way there, which has TLS itself */
static gboolean wants_certificate(const MachineConfig *config)
{
    return !config->vnc_url &&
           (config->vnc_ca_file || config->vnc_fingerprint);
}

guint vnc_choose_security(const MachineConfig *config, const guint32 *types,
                          guint count, char **problem)
{
    gboolean none = is_in(VNC_SECURITY_NONE, types, count);
    gboolean password = is_in(VNC_SECURITY_PASSWORD, types, count);
    gboolean vencrypt = !config->vnc_url &&
                        is_in(VNC_SECURITY_VENCRYPT, types, count);
    g_autofree char *names = names_of(security_names, types, count);

    if (vencrypt && (wants_certificate(config) || config->vnc_user ||
                     config->vnc_anonymous_tls)) {
        return VNC_SECURITY_VENCRYPT;
    }
    if (wants_certificate(config) ||
        (config->vnc_anonymous_tls && !config->vnc_url)) {
        *problem = g_strdup_printf("the VNC server offers no TLS, which [vnc]"
                                   " %s is for, but %s",
                                   config->vnc_ca_file ? "ca-file" :
                                   config->vnc_fingerprint ? "fingerprint" :
                                   "anonymous-tls", names);
        return 0;
    }
    if (password && config->vnc_password) {
        return VNC_SECURITY_PASSWORD;
    }
    if (none) {
        return VNC_SECURITY_NONE;
    }
    if (vencrypt) {
        return VNC_SECURITY_VENCRYPT;
    }
    *problem = password ? g_strdup("the VNC server wants a password: set [vnc]"
                                   " password-file")
                        : g_strdup_printf(
        "the VNC server offers no way to log in but %s; spice-gateway can do"
        " None (1), VNC password (2) and VeNCrypt (19)", names);
    return 0;
}

/* Why none of @types can be taken */
static char *vencrypt_problem(const MachineConfig *config,
                              const guint32 *types, guint count)
{
    g_autofree char *names = names_of(vencrypt_names, types, count);

    if (is_in(VENCRYPT_X509_PLAIN, types, count)) {
        return g_strdup("the VNC server wants a user and a password: set [vnc]"
                        " user and password-file");
    }
    if (is_in(VENCRYPT_X509_PASSWORD, types, count)) {
        return g_strdup("the VNC server wants a password: set [vnc]"
                        " password-file");
    }
    if (is_in(VENCRYPT_TLS_PLAIN, types, count) &&
        config->vnc_anonymous_tls) {
        return g_strdup("the VNC server wants a user and a password: set [vnc]"
                        " user and password-file");
    }
    if (is_in(VENCRYPT_TLS_PASSWORD, types, count) &&
        config->vnc_anonymous_tls) {
        return g_strdup("the VNC server wants a password: set [vnc]"
                        " password-file");
    }
    if (!wants_certificate(config) && !config->vnc_anonymous_tls &&
        (is_in(VENCRYPT_TLS_PLAIN, types, count) ||
         is_in(VENCRYPT_TLS_PASSWORD, types, count) ||
         is_in(VENCRYPT_TLS_NONE, types, count))) {
        return g_strdup_printf("the VNC server has no certificate, it offers"
                               " %s: with [vnc] anonymous-tls=true that is"
                               " taken, though nobody knows then who the server"
                               " is", names);
    }
    return g_strdup_printf("the VNC server offers nothing with a certificate,"
                           " but %s", names);
}

guint vnc_choose_vencrypt(const MachineConfig *config, const guint32 *types,
                          guint count, char **problem)
{
    static const struct {
        guint type;
        gboolean is_anonymous, wants_user, wants_password;
    } ways[] = {
        { VENCRYPT_X509_PLAIN, FALSE, TRUE, TRUE },
        { VENCRYPT_X509_PASSWORD, FALSE, FALSE, TRUE },
        { VENCRYPT_X509_NONE, FALSE, FALSE, FALSE },
        { VENCRYPT_TLS_PLAIN, TRUE, TRUE, TRUE },
        { VENCRYPT_TLS_PASSWORD, TRUE, FALSE, TRUE },
        { VENCRYPT_TLS_NONE, TRUE, FALSE, FALSE },
    };
    guint i;

    for (i = 0; i < G_N_ELEMENTS(ways); i++) {
        if (is_in(ways[i].type, types, count) &&
            (!ways[i].is_anonymous || config->vnc_anonymous_tls) &&
            (!ways[i].wants_user || config->vnc_user) &&
            (!ways[i].wants_password || config->vnc_password)) {
            return ways[i].type;
        }
    }
    *problem = vencrypt_problem(config, types, count);
    return 0;
}

gboolean vencrypt_is_x509(guint type)
{
    return type >= VENCRYPT_X509_NONE && type <= VENCRYPT_X509_PLAIN;
}

/* --- the password -------------------------------------------------------- */

static guint8 reversed(guint8 byte)
{
    guint8 result = 0;
    int bit;

    for (bit = 0; bit < 8; bit++) {
        result |= ((byte >> bit) & 1) << (7 - bit);
    }
    return result;
}

/*
 * DES, with each of the key's bytes the wrong way round, and eight of them at
 * most. It's triple DES with one key for all three, which OpenSSL still has.
 */
void vnc_answer_challenge(const char *password, const guint8 challenge[16],
                          guint8 response[16])
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    guint8 key[24] = { 0 };
    gsize i, length = strlen(password);
    int size;

    for (i = 0; i < sizeof(key); i++) {
        key[i] = i % 8 < length ? reversed(password[i % 8]) : 0;
    }
    if (!context ||
        !EVP_EncryptInit_ex(context, EVP_des_ede3_ecb(), NULL, key, NULL) ||
        !EVP_CIPHER_CTX_set_padding(context, 0) ||
        !EVP_EncryptUpdate(context, response, &size, challenge, 16)) {
        /* a computer that forbids it: then the server refuses it */
        memset(response, 0, 16);
    }
    EVP_CIPHER_CTX_free(context);
    memset(key, 0, sizeof(key));
}
