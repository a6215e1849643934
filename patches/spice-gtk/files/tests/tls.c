/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which server a client asks for by name, which one it trusts, and what it has
 * to say about the others
 */
#include "config.h"

#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include <gio/gio.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <spice/protocol.h>

#include <spice-client.h>

/* Any name below it is this host (RFC 6761) */
#define HOST "vm1.localhost"

typedef enum {
    SERVER_TLS,
    SERVER_CLOSES,
    SERVER_SPEAKS_OTHERWISE,
} ServerKind;

typedef struct {
    /* the server */
    ServerKind kind;
    int listen_fd;
    EVP_PKEY *key;
    X509 *cert;
    gboolean trusted;
    gchar *name_asked_for;
    /* the client */
    SpiceSession *session;
    SpiceChannel *channel;
    SpiceChannelEvent event;
    GError *error;
} Fixture;

/* A certificate of @name, signed by itself */
static void make_certificate(Fixture *f, const gchar *name)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    gchar *san = g_strdup_printf("DNS:%s", name);
    X509_EXTENSION *ext;

    g_assert_cmpint(EVP_PKEY_keygen_init(ctx), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, NID_X9_62_prime256v1), ==, 1);
    g_assert_cmpint(EVP_PKEY_keygen(ctx, &f->key), ==, 1);
    EVP_PKEY_CTX_free(ctx);

    f->cert = X509_new();
    X509_set_version(f->cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(f->cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(f->cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(f->cert), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(f->cert), "O", MBSTRING_ASC,
                               (const unsigned char *)"spice-gtk", -1, -1, 0);
    X509_set_issuer_name(f->cert, X509_get_subject_name(f->cert));
    X509_set_pubkey(f->cert, f->key);
    ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    g_assert_nonnull(ext);
    X509_add_ext(f->cert, ext, -1);
    X509_EXTENSION_free(ext);
    g_assert_cmpint(X509_sign(f->cert, f->key, EVP_sha256()), >, 0);
    g_free(san);
}

static GByteArray *certificate_pem(Fixture *f)
{
    GByteArray *pem = g_byte_array_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    long size;

    PEM_write_bio_X509(bio, f->cert);
    size = BIO_get_mem_data(bio, &data);
    g_byte_array_append(pem, (guint8 *)data, size);
    BIO_free(bio);
    return pem;
}

static void read_all(SSL *ssl, void *data, int size)
{
    size_t got;

    /* records may be of any size */
    for (; size > 0; size -= got, data = (guint8 *)data + got)
        g_assert_cmpint(SSL_read_ex(ssl, data, size, &got), ==, 1);
}

static void serve_tls(Fixture *f, int fd)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL *ssl;
    SpiceLinkHeader header;
    guint8 link[512];

    SSL_CTX_use_certificate(ctx, f->cert);
    SSL_CTX_use_PrivateKey(ctx, f->key);
    ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    /* a client that does not trust us may let us find out when we read */
    if (SSL_accept(ssl) == 1 && f->trusted) {
        f->name_asked_for = g_strdup(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
        read_all(ssl, &header, sizeof(header));
        g_assert_cmpuint(GUINT32_FROM_LE(header.magic), ==, SPICE_MAGIC);
        g_assert_cmpuint(GUINT32_FROM_LE(header.size), <=, sizeof(link));
        read_all(ssl, link, GUINT32_FROM_LE(header.size));
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

/* Serves one client */
static gpointer serve(gpointer data)
{
    static const char other[] = "220 mail.example.org ESMTP\r\n";
    Fixture *f = data;
    int fd = accept(f->listen_fd, NULL, NULL);

    g_assert_cmpint(fd, >=, 0);
    switch (f->kind) {
    case SERVER_TLS:
        serve_tls(f, fd);
        break;
    case SERVER_CLOSES:
        break;
    case SERVER_SPEAKS_OTHERWISE:
        g_assert_cmpint(send(fd, other, strlen(other), MSG_NOSIGNAL), ==, strlen(other));
        break;
    }
    /* who closes without having read all has the connection reset */
    shutdown(fd, SHUT_WR);
    while (recv(fd, &(char[256]){ 0 }, 256, 0) > 0)
        continue;
    close(fd);
    return NULL;
}

static void channel_event(SpiceChannel *channel, SpiceChannelEvent event, Fixture *f)
{
    const GError *error = spice_channel_get_error(channel);

    g_assert_cmpint(f->event, ==, SPICE_CHANNEL_NONE);
    f->event = event;
    f->error = error ? g_error_copy(error) : NULL;
}

static void f_setup(Fixture *f, gconstpointer data)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(addr);
    gchar *port;

    f->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(bind(f->listen_fd, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(f->listen_fd, 1), ==, 0);
    g_assert_cmpint(getsockname(f->listen_fd, (struct sockaddr *)&addr, &size), ==, 0);

    port = g_strdup_printf("%d", ntohs(addr.sin_port));
    f->session = spice_session_new();
    g_object_set(f->session, "host", HOST, "tls-port", port, NULL);
    g_free(port);
    f->channel = spice_channel_new(f->session, SPICE_CHANNEL_MAIN, 0);
    g_signal_connect(f->channel, "channel-event", G_CALLBACK(channel_event), f);
}

static void f_teardown(Fixture *f, gconstpointer data)
{
    close(f->listen_fd);
    g_clear_error(&f->error);
    spice_session_disconnect(f->session);
    g_clear_object(&f->session);
    g_clear_pointer(&f->cert, X509_free);
    g_clear_pointer(&f->key, EVP_PKEY_free);
    g_free(f->name_asked_for);
}

/* Connect, and wait for what becomes of it */
static void connect_to(Fixture *f, ServerKind kind)
{
    GThread *server;

    f->kind = kind;
    server = g_thread_new("server", serve, f);
    g_assert_true(spice_channel_connect(f->channel));
    while (f->event == SPICE_CHANNEL_NONE)
        g_main_context_iteration(NULL, TRUE);
    g_thread_join(server);
}

static void expect_warnings(const gchar *first, const gchar *second)
{
    g_test_expect_message("Spice", G_LOG_LEVEL_WARNING, first);
    if (second)
        g_test_expect_message("Spice", G_LOG_LEVEL_WARNING, second);
    g_test_expect_message("GSpice", G_LOG_LEVEL_WARNING, "*SSL_connect*" HOST "*");
}

static void test_right_name(Fixture *f, gconstpointer data)
{
    GByteArray *pem;

    make_certificate(f, data);
    pem = certificate_pem(f);
    g_object_set(f->session, "ca", pem, NULL);
    f->trusted = TRUE;
    /* what the server ends with, once there is TLS */
    g_test_expect_message("GSpice", G_LOG_LEVEL_WARNING, "incomplete link header*");
    connect_to(f, SERVER_TLS);
    g_byte_array_unref(pem);
    g_test_assert_expected_messages();
    g_assert_cmpint(f->event, ==, SPICE_CHANNEL_ERROR_LINK);
    g_assert_cmpstr(f->name_asked_for, ==, HOST);
}

static void test_wrong_name(Fixture *f, gconstpointer data)
{
    GByteArray *pem;

    make_certificate(f, data);
    pem = certificate_pem(f);
    g_object_set(f->session, "ca", pem, NULL);
    expect_warnings("*hostname '" HOST "' verification failed*", "*verification failed*");
    connect_to(f, SERVER_TLS);
    g_byte_array_unref(pem);
    g_test_assert_expected_messages();
    g_assert_cmpint(f->event, ==, SPICE_CHANNEL_ERROR_TLS);
    g_assert_error(f->error, G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE);
    g_assert_cmpstr(f->error->message, ==, "The certificate of the server is not that of " HOST);
}

static void test_untrusted(Fixture *f, gconstpointer data)
{
    make_certificate(f, HOST);
    expect_warnings("*certificate verification: self*signed*", NULL);
    connect_to(f, SERVER_TLS);
    g_test_assert_expected_messages();
    g_assert_cmpint(f->event, ==, SPICE_CHANNEL_ERROR_TLS);
    g_assert_error(f->error, G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE);
    g_assert_true(g_str_has_prefix(f->error->message,
                                   "The certificate of " HOST " is not trusted: self"));
}

/* As a proxy does that knows no such host */
static void test_closed(Fixture *f, gconstpointer data)
{
    g_test_expect_message("GSpice", G_LOG_LEVEL_WARNING, "*SSL_connect*" HOST "*");
    connect_to(f, SERVER_CLOSES);
    g_test_assert_expected_messages();
    g_assert_cmpint(f->event, ==, SPICE_CHANNEL_ERROR_TLS);
    g_assert_error(f->error, G_TLS_ERROR, G_TLS_ERROR_EOF);
    g_assert_cmpstr(f->error->message, ==,
                    "The connection to " HOST " ended before TLS was set up");
}

static void test_no_tls(Fixture *f, gconstpointer data)
{
    g_test_expect_message("GSpice", G_LOG_LEVEL_WARNING, "*SSL_connect*" HOST "*");
    connect_to(f, SERVER_SPEAKS_OTHERWISE);
    g_test_assert_expected_messages();
    g_assert_cmpint(f->event, ==, SPICE_CHANNEL_ERROR_TLS);
    g_assert_error(f->error, G_TLS_ERROR, G_TLS_ERROR_MISC);
    g_assert_true(g_str_has_prefix(f->error->message, "Cannot set up TLS with " HOST ": "));
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    /* nobody else's certificates, whatever is installed here */
    g_setenv("SSL_CERT_FILE", "/dev/null", TRUE);
    g_setenv("SSL_CERT_DIR", "/nonexistent", TRUE);

#define ADD(path, data, test) \
    g_test_add("/tls/" path, Fixture, data, f_setup, test, f_teardown)
    ADD("right-name/same", HOST, test_right_name);
    ADD("right-name/wildcard", "*.localhost", test_right_name);
    ADD("right-name/case", "VM1.LocalHost", test_right_name);
    ADD("wrong-name/other", "vm2.localhost", test_wrong_name);
    ADD("wrong-name/above", "localhost", test_wrong_name);
    ADD("wrong-name/below", "*.vm1.localhost", test_wrong_name);
    ADD("untrusted", NULL, test_untrusted);
    ADD("closed", NULL, test_closed);
    ADD("no-tls", NULL, test_no_tls);

    return g_test_run();
}
