/*
 * A Redfish service by TLS: who is believed, and who gets the password
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>

#include "certificate.h"
#include "redfish-host.h"

typedef struct Fixture {
    char *directory;
    Certificate *ca, *other_ca;
    Certificate *mine, *of_another, *old;       /* of the first one */
    Host host;
} Fixture;

static Certificate *make(Fixture *fixture, const char *name,
                         const char *names, const Certificate *issuer)
{
    return certificate_new(fixture->directory, name, names, DAY_S, issuer);
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    fixture->ca = make(fixture, "ca", "DNS:ca", NULL);
    fixture->other_ca = make(fixture, "other", "DNS:other", NULL);
    fixture->mine = make(fixture, "mine", "IP:127.0.0.1", fixture->ca);
    fixture->of_another = make(fixture, "another", "DNS:bmc.invalid",
                               fixture->ca);
    fixture->old = certificate_new(fixture->directory, "old", "IP:127.0.0.1",
                                   -1, fixture->ca);
}

static void serve(Fixture *fixture, const Certificate *made)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GTlsCertificate) certificate =
        g_tls_certificate_new_from_files(made->cert, made->key, &error);

    g_assert_no_error(error);
    host_set_up(&fixture->host, certificate);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    if (fixture->host.fake) {
        host_clear(&fixture->host);
    }
    remove_all(fixture->directory);
    g_free(fixture->directory);
    certificate_free(fixture->ca);
    certificate_free(fixture->other_ca);
    certificate_free(fixture->mine);
    certificate_free(fixture->of_another);
    certificate_free(fixture->old);
}

static void check(Host *host, const char *ca_file, const char *print)
{
    host->config.redfish_ca_file = (char *)ca_file;
    host->config.redfish_fingerprint = (char *)print;
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_null(host->trouble);
    g_assert_cmpuint(host_result(host, OFF), ==, SPICE_POWER_RESULT_OK);
    host->fake->power = "\"On\"";
    host_end(host);
}

/* Nobody who is not believed is told anything */
static void check_refused(Host *host, const char *ca_file, const char *print,
                          const char *why)
{
    host->fake->requests = 0;
    host->config.redfish_ca_file = (char *)ca_file;
    host->config.redfish_fingerprint = (char *)print;
    host_begin(host);
    CHECK_TROUBLE(host, why, REFUSED);
    CHECK_TROUBLE(host, why, REFUSED);
    g_assert_cmpuint(host->fake->requests, ==, 0);
    host_end(host);
}

static void test_authority(Fixture *fixture, gconstpointer unused)
{
    serve(fixture, fixture->mine);
    check(&fixture->host, fixture->ca->cert, NULL);
    check_refused(&fixture->host, fixture->other_ca->cert, NULL, "has a certificate"
                  " that is of no authority that is trusted: check [redfish]"
                  " url and ca-file, or set fingerprint");
    /* what it has is said, to compare */
    g_assert_nonnull(strstr(fixture->host.trouble,
                            fixture->mine->fingerprint));
    /* and there is none that is in nobody's store */
    check_refused(&fixture->host, NULL, NULL, "of no authority that is"
                  " trusted");
}

static void test_name(Fixture *fixture, gconstpointer unused)
{
    serve(fixture, fixture->of_another);
    check_refused(&fixture->host, fixture->ca->cert, NULL, "has a certificate"
                  " that is for another name");
}

static void test_expired(Fixture *fixture, gconstpointer unused)
{
    serve(fixture, fixture->old);
    check_refused(&fixture->host, fixture->ca->cert, NULL, "has a certificate"
                  " that has expired: renew it there, or set [redfish]"
                  " fingerprint");
    g_assert_nonnull(strstr(fixture->host.trouble,
                            fixture->old->fingerprint));
    check(&fixture->host, NULL, fixture->old->fingerprint);
}

/* The service's is good then, and it's not there that it is renewed */
static void test_authority_expired(Fixture *fixture, gconstpointer unused)
{
    Certificate *old_ca = certificate_new(fixture->directory, "old-ca",
                                          "DNS:ca", -1, NULL);
    Certificate *made = make(fixture, "made", "IP:127.0.0.1", old_ca);

    serve(fixture, made);
    check_refused(&fixture->host, old_ca->cert, NULL, "has a certificate that"
                  " is of an authority whose own has expired: renew that");
    certificate_free(made);
    certificate_free(old_ca);
}

static void test_fingerprint(Fixture *fixture, gconstpointer unused)
{
    const char *print = fixture->mine->fingerprint;
    const char *another = fixture->of_another->fingerprint;
    g_autofree char *small = g_ascii_strdown(print, -1);

    serve(fixture, fixture->mine);
    check(&fixture->host, NULL, print);
    check(&fixture->host, NULL, small);
    check_refused(&fixture->host, NULL, another, "has a certificate other than"
                  " that of [redfish] fingerprint");
    g_assert_nonnull(strstr(fixture->host.trouble, print));
    host_clear(&fixture->host);

    /* whatever else may be wrong with it */
    serve(fixture, fixture->of_another);
    check(&fixture->host, NULL, another);
}

static void test_wrong_file(Fixture *fixture, gconstpointer unused)
{
    char *key = fixture->mine->key;

    serve(fixture, fixture->mine);
    check_refused(&fixture->host, "/no/such/file", NULL, "[redfish] ca-file:");
    check_refused(&fixture->host, key, NULL, "[redfish] ca-file:");

    /* it may be put right meanwhile */
    fixture->host.config.redfish_ca_file = key;
    host_begin(&fixture->host);
    CHECK_TROUBLE(&fixture->host, "[redfish] ca-file:", REFUSED);
    g_assert_cmpint(rename(fixture->ca->cert, key), ==, 0);
    g_assert_cmpuint(host_state(&fixture->host), ==, IS_ON);
}

static gboolean answer_in_plain(GSocketService *service,
                                GSocketConnection *connection, GObject *source,
                                gpointer unused)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    GIOStream *stream = G_IO_STREAM(connection);

    g_assert_true(g_output_stream_write_all(
        g_io_stream_get_output_stream(stream), text, strlen(text), NULL, NULL,
        NULL));
    g_io_stream_close(stream, NULL, NULL);
    return TRUE;
}

static void test_no_tls(Fixture *fixture, gconstpointer unused)
{
    Host *host = &fixture->host;
    g_autoptr(GSocketService) service = g_socket_service_new();
    g_autofree char *url = NULL;
    guint16 port = g_socket_listener_add_any_inet_port(
        G_SOCKET_LISTENER(service), NULL, NULL);

    g_signal_connect(service, "incoming", G_CALLBACK(answer_in_plain), NULL);
    host_set_up(host, NULL);
    url = g_strdup_printf("https://127.0.0.1:%u", port);
    host->config.redfish_url = url;
    host_begin(host);
    CHECK_TROUBLE(host, "can't be spoken to by TLS", AWAY);
    host_end(host);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, test) \
    g_test_add("/redfish-tls/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("authority", test_authority);
    ADD("name", test_name);
    ADD("expired", test_expired);
    ADD("authority-expired", test_authority_expired);
    ADD("fingerprint", test_fingerprint);
    ADD("wrong-file", test_wrong_file);
    ADD("no-tls", test_no_tls);
#undef ADD
    return g_test_run();
}
