/*
 * What a client says first when it begins TLS
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_HELLO_CLIENT_H
#define GATEWAY_TESTS_HELLO_CLIENT_H

#include <glib.h>
#include <openssl/ssl.h>

/* @name is NULL for one that has none to say; caller unrefs it */
static inline GBytes *client_says(const char *name)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    BIO *out = BIO_new(BIO_s_mem());
    GBytes *bytes;
    char *data;
    long size;

    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    if (name) {
        g_assert_cmpint(SSL_set_tlsext_host_name(ssl, name), ==, 1);
    }
    g_assert_cmpint(SSL_connect(ssl), ==, -1);
    size = BIO_get_mem_data(out, &data);
    bytes = g_bytes_new(data, size);
    SSL_free(ssl);
    SSL_CTX_free(context);
    return bytes;
}

#endif
