/*
   SPDX-License-Identifier: LGPL-2.1-or-later

   This library is free software; you can redistribute it and/or
   modify it under the terms of the GNU Lesser General Public
   License as published by the Free Software Foundation; either
   version 2.1 of the License, or (at your option) any later version.

   This library is distributed in the hope that it will be useful,
   but WITHOUT ANY WARRANTY; without even the implied warranty of
   MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
   Lesser General Public License for more details.

   You should have received a copy of the GNU Lesser General Public
   License along with this library; if not, see <http://www.gnu.org/licenses/>.
*/
/*
 * A certificate is renewed while the server runs: spice_server_reload_tls()
 */
#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <glib/gstdio.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"

static char *directory, *cert_file, *key_file;

/* what the client sees of the server */
struct TlsClient {
    SSL_CTX *ctx;
    SSL *ssl;
};

/* a new certificate, with that name, in the files */
static void write_certificate(const char *name)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, nullptr);
    EVP_PKEY *key = nullptr;
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);
    FILE *file;

    g_assert_cmpint(EVP_PKEY_keygen_init(ctx), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048), ==, 1);
    g_assert_cmpint(EVP_PKEY_keygen(ctx, &key), ==, 1);
    X509_gmtime_adj(X509_get_notBefore(cert), 0);
    X509_gmtime_adj(X509_get_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char *>(name), -1, -1, 0);
    X509_set_issuer_name(cert, subject);
    g_assert_cmpint(X509_sign(cert, key, EVP_sha256()), >, 0);

    file = fopen(cert_file, "w");
    g_assert_cmpint(PEM_write_X509(file, cert), ==, 1);
    fclose(file);
    file = fopen(key_file, "w");
    g_assert_cmpint(PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr), ==, 1);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(ctx);
}

static TlsClient *tls_connect()
{
    auto client = g_new0(TlsClient, 1);
    int fds[2], ret;

    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_cmpint(fcntl(fds[0], F_SETFL, O_NONBLOCK), ==, 0);
    g_assert_cmpint(spice_server_add_ssl_client(server, fds[1], 0), ==, 0);
    client->ctx = SSL_CTX_new(TLS_client_method());
    client->ssl = SSL_new(client->ctx);
    SSL_set_fd(client->ssl, fds[0]);
    while ((ret = SSL_connect(client->ssl)) != 1) {
        g_assert_cmpint(SSL_get_error(client->ssl, ret), ==, SSL_ERROR_WANT_READ);
        pump();
    }
    return client;
}

/* the server still answers, if only that this is no link message */
static void tls_client_free(TlsClient *client)
{
    char data[4] = { 0 };

    g_assert_cmpint(SSL_write(client->ssl, "\xa5\xa5\xa5\xa5", 4), ==, 4);
    pump();
    g_assert_cmpint(SSL_read(client->ssl, data, sizeof(data)), ==, 4);
    g_assert_cmpint(memcmp(data, "REDQ", 4), ==, 0);
    close(SSL_get_fd(client->ssl));
    SSL_free(client->ssl);
    SSL_CTX_free(client->ctx);
    g_free(client);
    pump();
}

static void assert_name(TlsClient *client, const char *expected)
{
    X509 *cert = SSL_get_peer_certificate(client->ssl);
    char name[64];

    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof(name));
    g_assert_cmpstr(name, ==, expected);
    X509_free(cert);
}

static void tls_server_start()
{
    directory = g_dir_make_tmp("test-reload-tls-XXXXXX", nullptr);
    cert_file = g_build_filename(directory, "server-cert.pem", nullptr);
    key_file = g_build_filename(directory, "server-key.pem", nullptr);
    write_certificate("first");
    alarm(300);
    server = spice_server_new();
    g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    g_assert_cmpint(spice_server_set_tls(server, 0, cert_file, cert_file, key_file, nullptr,
                                         nullptr, nullptr), ==, 0);
    g_assert_cmpint(spice_server_init(server, basic_event_loop_init()), ==, 0);
}

static void tls_server_stop()
{
    server_stop();
    g_remove(cert_file);
    g_remove(key_file);
    g_rmdir(directory);
    g_free(cert_file);
    g_free(key_file);
    g_free(directory);
}

static void renewed()
{
    TlsClient *first, *later;

    tls_server_start();
    first = tls_connect();
    assert_name(first, "first");
    write_certificate("second");
    later = tls_connect();
    assert_name(later, "first");
    tls_client_free(later);

    g_assert_cmpint(spice_server_reload_tls(server), ==, 0);
    later = tls_connect();
    assert_name(later, "second");
    tls_client_free(later);
    /* nobody who was there has noticed */
    tls_client_free(first);
    tls_server_stop();
}

/* files that can't be used change nothing */
static void broken(const char *path, const char *warning)
{
    TlsClient *client;

    const GLogLevelFlags fatal = g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL);

    g_assert_true(g_file_set_contents(path, "nothing", -1, nullptr));
    /* all that OpenSSL says of it follows; what it says later must be of something else */
    expect_warning(warning);
    g_assert_cmpint(spice_server_reload_tls(server), ==, -1);
    g_assert_cmpuint(ERR_peek_error(), ==, 0);
    g_test_assert_expected_messages();
    g_log_set_always_fatal(fatal);
    client = tls_connect();
    assert_name(client, "first");
    tls_client_free(client);
}

static void unusable()
{
    tls_server_start();
    broken(key_file, "*not use private key*");
    broken(cert_file, "*not load certificates*");
    /* and later they can be */
    write_certificate("second");
    g_assert_cmpint(spice_server_reload_tls(server), ==, 0);
    auto client = tls_connect();
    assert_name(client, "second");
    tls_client_free(client);
    tls_server_stop();
}

static void no_tls()
{
    server_start();
    expect_warning("*No TLS to reload*");
    g_assert_cmpint(spice_server_reload_tls(server), ==, -1);
    server_stop();
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, nullptr);

    g_test_add_func("/server/reload-tls/renewed", renewed);
    g_test_add_func("/server/reload-tls/unusable", unusable);
    g_test_add_func("/server/reload-tls/no-tls", no_tls);

    return g_test_run();
}
