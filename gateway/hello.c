/*
 * Which machine a client asks for, as it begins TLS
 *
 * OpenSSL reads it, and is stopped before it would answer: TLS itself is for the
 * machine's SPICE server, which gets the same bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "hello.h"

typedef struct Reading {
    gboolean done;
    char *name;
} Reading;

/* The extension is a list, with a length, of which only one type exists */
static char *name_of(const guint8 *data, gsize size)
{
    gsize length;

    if (size < 5 || data[2] != TLSEXT_NAMETYPE_host_name) {
        return NULL;
    }
    length = data[3] << 8 | data[4];
    if (length > size - 5 || length > TLSEXT_MAXLEN_host_name) {
        return NULL;
    }
    /* The rest would be another name for who stops at a zero */
    return memchr(data + 5, '\0', length)
           ? NULL : g_strndup((const char *)data + 5, length);
}

static int hello_came(SSL *ssl, int *alert, void *unused)
{
    Reading *reading = SSL_get_app_data(ssl);
    const unsigned char *data;
    size_t size;

    reading->done = TRUE;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data,
                                  &size)) {
        reading->name = name_of(data, size);
    }
    return SSL_CLIENT_HELLO_ERROR;
}

static SSL_CTX *get_context(void)
{
    static SSL_CTX *context;

    if (!context) {
        context = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_client_hello_cb(context, hello_came, NULL);
    }
    return context;
}

Hello hello_read(const guint8 *data, gsize size, char **name)
{
    Reading reading = { 0 };
    SSL *ssl = SSL_new(get_context());
    BIO *in = BIO_new_mem_buf(data, size), *out = BIO_new(BIO_s_null());
    int error;

    /* that there is no more is not the end */
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl, in, out);
    SSL_set_app_data(ssl, &reading);
    error = SSL_get_error(ssl, SSL_accept(ssl));
    SSL_free(ssl);
    ERR_clear_error();
    *name = reading.name;
    if (reading.done) {
        return HELLO_DONE;
    }
    return error == SSL_ERROR_WANT_READ && size < HELLO_MAX ? HELLO_UNFINISHED
                                                            : HELLO_NONE;
}
