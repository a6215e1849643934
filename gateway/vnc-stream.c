/*
 * Bytes from and to a VNC server, with TLS or without, in frames or not
 *
 * OpenSSL, and not GIO's TLS: that has no TLS without certificates, which some
 * servers have and nothing else.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vnc-frames.h"
#include "vnc-stream.h"

/* All whom this computer trusts in one file, as Debian has it */
#define SYSTEM_CA_FILE     "ca-certificates.crt"
/* Of SHA-256, in hexadecimal digits */
#define FINGERPRINT_DIGITS 64
/* Nobody reads more of an authority's name */
#define MAX_SUBJECT        200
/* TLS without certificates; there is none of it in TLS 1.3 */
#define ANONYMOUS_CIPHERS  "ADH:AECDH:!eNULL:!LOW:@SECLEVEL=0"

struct VncStream {
    int fd;
    SSL *ssl;                   /* NULL: without TLS */
    VncFrames *frames;          /* NULL: it's no WebSocket */
    GIOCondition wants;
    guint64 received;
    char *fingerprint;          /* digits of the one it must have; or NULL */
    char *authority;            /* whose certificate is at fault; or NULL */
};

/* What vnc_stream_keep_trust() has found; or NULL */
static GMappedFile *kept_trust;

VncStream *vnc_stream_new(int fd)
{
    VncStream *stream = g_new0(VncStream, 1);

    stream->fd = fd;
    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    return stream;
}

int vnc_stream_fd(VncStream *stream)
{
    return stream->fd;
}

GIOCondition vnc_stream_wants(VncStream *stream)
{
    return stream->wants;
}

guint64 vnc_stream_received(VncStream *stream)
{
    return stream->received;
}

/* What a system call says, or the TLS library */
static int broken(GError **error, int number)
{
    unsigned long code = ERR_get_error();

    if (code) {
        const char *reason = ERR_reason_error_string(code);

        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "TLS: %s",
                    reason ?: "an unknown error");
    } else if (number) {
        g_set_error_literal(error, G_IO_ERROR,
                            g_io_error_from_errno(number),
                            g_strerror(number));
    } else {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_CLOSED, "the VNC"
                            " server has closed the connection");
    }
    ERR_clear_error();
    return VNC_STREAM_BROKEN;
}

/* After a call of OpenSSL's that returned @result, which is an error */
static int tls_result(VncStream *stream, int result, GError **error)
{
    int number = errno;

    switch (SSL_get_error(stream->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        stream->wants = G_IO_IN;
        return VNC_STREAM_WAIT;
    case SSL_ERROR_WANT_WRITE:
        stream->wants = G_IO_OUT;
        return VNC_STREAM_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return broken(error, number);
    default:
        return broken(error, 0);
    }
}

static gssize socket_result(VncStream *stream, gssize result,
                            GIOCondition wants, GError **error)
{
    if (result >= 0) {
        return result;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        stream->wants = wants;
        return VNC_STREAM_WAIT;
    }
    return broken(error, errno);
}

gssize vnc_stream_raw_read(VncStream *stream, void *data, gsize size,
                           GError **error)
{
    gssize result;

    if (stream->ssl) {
        ERR_clear_error();
        errno = 0;
        result = SSL_read(stream->ssl, data, MIN(size, G_MAXINT));
        if (result <= 0) {
            result = tls_result(stream, result, error);
        }
    } else {
        result = socket_result(stream, recv(stream->fd, data, size, 0),
                               G_IO_IN, error);
    }
    if (result > 0) {
        stream->received += result;
    }
    return result;
}

gssize vnc_stream_raw_write(VncStream *stream, const void *data, gsize size,
                            GError **error)
{
    int result;

    if (!stream->ssl) {
        return socket_result(stream, send(stream->fd, data, size,
                                          MSG_NOSIGNAL), G_IO_OUT, error);
    }
    ERR_clear_error();
    errno = 0;
    result = SSL_write(stream->ssl, data, MIN(size, G_MAXINT));
    if (result > 0) {
        return result;
    }
    result = tls_result(stream, result, error);
    return result ? result : broken(error, 0);
}

/* --- a WebSocket ---------------------------------------------------------- */

void vnc_stream_start_frames(VncStream *stream)
{
    stream->frames = vnc_frames_new();
}

gssize vnc_stream_read(VncStream *stream, void *data, gsize size,
                       GError **error)
{
    return stream->frames ? vnc_frames_read(stream->frames, stream, data, size,
                                            error)
                          : vnc_stream_raw_read(stream, data, size, error);
}

gssize vnc_stream_write(VncStream *stream, const void *data, gsize size,
                        GError **error)
{
    return stream->frames ? vnc_frames_write(stream->frames, stream, data,
                                             size, error)
                          : vnc_stream_raw_write(stream, data, size, error);
}

/* --- TLS ----------------------------------------------------------------- */

/* Returns: its digits alone, in small letters; NULL if it is none */
static char *digits_of(const char *text)
{
    g_autofree char *digits = g_ascii_strdown(text, -1);
    char *to = digits, *from;

    for (from = digits; *from; from++) {
        if (g_ascii_isxdigit(*from)) {
            *to++ = *from;
        } else if (*from != ':') {
            return NULL;
        }
    }
    *to = '\0';
    return strlen(digits) == FINGERPRINT_DIGITS ? g_steal_pointer(&digits)
                                                : NULL;
}

gboolean vnc_is_fingerprint(const char *text)
{
    g_autofree char *digits = digits_of(text);

    return digits != NULL;
}

static gboolean set_up_anonymous(SSL_CTX *context)
{
    return SSL_CTX_set_cipher_list(context, ANONYMOUS_CIPHERS) &&
           SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
}

void vnc_stream_keep_trust(const char *ca_file)
{
    g_autofree char *system = g_build_filename(X509_get_default_cert_dir(),
                                               SYSTEM_CA_FILE, NULL);

    /* what is not there is missed when it is needed */
    kept_trust = g_mapped_file_new(ca_file ?: system, FALSE, NULL);
    OPENSSL_init_ssl(0, NULL);
}

/* Returns: FALSE if there is no certificate in it */
static gboolean add_kept_trust(SSL_CTX *context)
{
    BIO *text = BIO_new_mem_buf(g_mapped_file_get_contents(kept_trust),
                                g_mapped_file_get_length(kept_trust));
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509 *certificate;
    gboolean found = FALSE;

    while ((certificate = PEM_read_bio_X509_AUX(text, NULL, NULL, NULL))) {
        found = X509_STORE_add_cert(store, certificate) || found;
        X509_free(certificate);
    }
    BIO_free(text);
    ERR_clear_error();          /* its end is one, too */
    return found;
}

/* Returns: whose certificate it is, for a person; caller frees */
static char *subject_of(X509 *certificate)
{
    BIO *text = BIO_new(BIO_s_mem());
    char *data, *name;
    long size;

    X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0,
                       XN_FLAG_RFC2253);
    size = BIO_get_mem_data(text, &data);
    name = g_strndup(data, MIN(size, MAX_SUBJECT));
    BIO_free(text);
    return name;
}

/* What is wrong need not be wrong with the server's own one */
static int look_at_certificate(int is_good, X509_STORE_CTX *chain)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(
        chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    VncStream *stream = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(chain);

    if (!is_good && certificate && X509_STORE_CTX_get_error_depth(chain) > 0) {
        g_free(stream->authority);
        stream->authority = subject_of(certificate);
    }
    return is_good;
}

static gboolean set_up_trust(SSL_CTX *context, const VncTrust *trust,
                             GError **error)
{
    if (trust->fingerprint) {
        return TRUE;            /* after the handshake */
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, look_at_certificate);
    if (kept_trust && add_kept_trust(context)) {
        return TRUE;
    }
    if (!trust->ca_file) {
        return SSL_CTX_set_default_verify_paths(context);
    }
    if (SSL_CTX_load_verify_locations(context, trust->ca_file, NULL)) {
        return TRUE;
    }
    broken(error, 0);
    g_prefix_error(error, "[vnc] ca-file: %s: ", trust->ca_file);
    return FALSE;
}

/* The name that has to be in its certificate */
static gboolean set_up_name(SSL *ssl, const VncTrust *trust)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (g_hostname_is_ip_address(trust->host)) {
        return X509_VERIFY_PARAM_set1_ip_asc(param, trust->host);
    }
    return X509_VERIFY_PARAM_set1_host(param, trust->host, 0) &&
           SSL_set_tlsext_host_name(ssl, trust->host);
}

gboolean vnc_stream_start_tls(VncStream *stream, const VncTrust *trust,
                              GError **error)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;
    gboolean good;

    ERR_clear_error();
    good = context &&
           SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) &&
           (trust->anonymous ? set_up_anonymous(context)
                             : set_up_trust(context, trust, error)) &&
           (ssl = SSL_new(context)) && SSL_set_fd(ssl, stream->fd) &&
           (trust->anonymous || set_up_name(ssl, trust));
    SSL_CTX_free(context);
    if (!good) {
        if (error && !*error) {
            broken(error, 0);
        }
        SSL_free(ssl);
        return FALSE;
    }
    /* What is given again after a wait is what it was, elsewhere perhaps */
    SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_connect_state(ssl);
    SSL_set_app_data(ssl, stream);
    stream->ssl = ssl;
    if (trust->fingerprint && !trust->anonymous) {
        stream->fingerprint = digits_of(trust->fingerprint);
    }
    return TRUE;
}

static int check_fingerprint(VncStream *stream, GError **error)
{
    g_autoptr(GString) digits = g_string_new(NULL);
    X509 *certificate = SSL_get_peer_certificate(stream->ssl);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0, i;

    if (certificate) {
        X509_digest(certificate, EVP_sha256(), digest, &size);
        X509_free(certificate);
    }
    for (i = 0; i < size; i++) {
        g_string_append_printf(digits, "%02x", digest[i]);
    }
    if (!strcmp(digits->str, stream->fingerprint)) {
        return 0;
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "the VNC server's"
                " certificate is another one than [vnc] fingerprint says: its"
                " SHA-256 is %s", digits->str);
    return VNC_STREAM_BROKEN;
}

/* Say what is to be done about a certificate */
static void distrust(VncStream *stream, long verdict, GError **error)
{
    if (verdict == X509_V_ERR_CERT_HAS_EXPIRED && stream->authority) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "the certificate of"
                    " the authority that the VNC server's is of has expired,"
                    " %s: renew it, there and in [vnc] ca-file, or set [vnc]"
                    " fingerprint", stream->authority);
    } else if (verdict == X509_V_ERR_CERT_HAS_EXPIRED) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "the VNC server's"
                    " certificate has expired: renew it there, or set [vnc]"
                    " fingerprint");
    } else {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "the VNC server's"
                    " certificate is not to be trusted, check [vnc] ca-file and"
                    " host: %s", X509_verify_cert_error_string(verdict));
    }
}

int vnc_stream_handshake(VncStream *stream, GError **error)
{
    long verdict;
    int result;

    ERR_clear_error();
    errno = 0;
    result = SSL_do_handshake(stream->ssl);
    if (result == 1) {
        return stream->fingerprint ? check_fingerprint(stream, error) : 0;
    }
    verdict = SSL_get_verify_result(stream->ssl);
    result = tls_result(stream, result, error);
    if (result == 0) {
        return broken(error, 0);
    }
    if (result == VNC_STREAM_BROKEN && verdict != X509_V_OK) {
        g_clear_error(error);
        distrust(stream, verdict, error);
    }
    return result;
}

/* ------------------------------------------------------------------------- */

void vnc_stream_free(VncStream *stream)
{
    if (!stream) {
        return;
    }
    SSL_free(stream->ssl);
    vnc_frames_free(stream->frames);
    close(stream->fd);
    g_free(stream->fingerprint);
    g_free(stream->authority);
    g_free(stream);
}
