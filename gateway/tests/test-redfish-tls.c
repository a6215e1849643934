/*
 * A Redfish service by TLS: who is believed, and who gets the password
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>

#include "redfish-host.h"

/* What meson takes for that */
#define SKIPPED 77

typedef struct Fixture {
    char *directory;
    char *ca, *other_ca;        /* files */
    char *mine, *of_another;    /* certificates with keys: for here, or not */
    Host host;
} Fixture;

static char *in(Fixture *fixture, const char *name, const char *end)
{
    return g_strdup_printf("%s/%s%s", fixture->directory, name, end);
}

static char *run(const char *format, ...) G_GNUC_PRINTF(1, 2);

static char *run(const char *format, ...)
{
    g_autofree char *line = NULL, *errors = NULL;
    char *output = NULL;
    va_list arguments;
    int status;

    va_start(arguments, format);
    line = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_assert_true(g_spawn_command_line_sync(line, &output, &errors, &status,
                                            NULL));
    if (status) {
        g_error("%s: %s", line, errors);
    }
    return output;
}

#define MAKE "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt" \
             " ec_paramgen_curve:P-256 -subj /CN=%s -keyout %s -out %s"

static char *make_ca(Fixture *fixture, const char *name)
{
    g_autofree char *key = in(fixture, name, ".key");
    char *path = in(fixture, name, ".pem");

    g_free(run(MAKE, name, key, path));
    return path;
}

/* With its key in the same file, of the first authority */
static char *make_certificate(Fixture *fixture, const char *name,
                              const char *alternative)
{
    g_autofree char *key = in(fixture, name, ".key");
    g_autofree char *ca_key = in(fixture, "ca", ".key");
    g_autofree char *certificate = in(fixture, name, ".crt");
    g_autofree char *both = in(fixture, name, ".pem");
    g_autofree char *first = NULL, *second = NULL, *text = NULL;

    g_free(run(MAKE " -CA %s -CAkey %s -addext subjectAltName=%s", name, key,
               certificate, fixture->ca, ca_key, alternative));
    g_assert_true(g_file_get_contents(certificate, &first, NULL, NULL));
    g_assert_true(g_file_get_contents(key, &second, NULL, NULL));
    text = g_strconcat(first, second, NULL);
    g_assert_true(g_file_set_contents(both, text, -1, NULL));
    return g_steal_pointer(&both);
}

/* As the documentation says how to get it */
static char *fingerprint(const char *path)
{
    g_autofree char *printed = run("openssl x509 -noout -fingerprint -sha256"
                                   " -in %s", path);

    return g_strstrip(g_strdup(strchr(printed, '=') + 1));
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    fixture->ca = make_ca(fixture, "ca");
    fixture->other_ca = make_ca(fixture, "other");
    fixture->mine = make_certificate(fixture, "mine", "IP:127.0.0.1");
    fixture->of_another = make_certificate(fixture, "another",
                                           "DNS:bmc.invalid");
}

static void serve(Fixture *fixture, const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GTlsCertificate) certificate =
        g_tls_certificate_new_from_file(path, &error);

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
    g_free(fixture->ca);
    g_free(fixture->other_ca);
    g_free(fixture->mine);
    g_free(fixture->of_another);
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
    g_autofree char *print = fingerprint(fixture->mine);

    serve(fixture, fixture->mine);
    check(&fixture->host, fixture->ca, NULL);
    check_refused(&fixture->host, fixture->other_ca, NULL, "has a certificate"
                  " that is of no authority that is trusted: check [redfish]"
                  " url and ca-file, or set fingerprint");
    /* what it has is said, to compare */
    g_assert_nonnull(strstr(fixture->host.trouble, print));
    /* and there is none that is in nobody's store */
    check_refused(&fixture->host, NULL, NULL, "of no authority that is"
                  " trusted");
}

static void test_name(Fixture *fixture, gconstpointer unused)
{
    serve(fixture, fixture->of_another);
    check_refused(&fixture->host, fixture->ca, NULL, "is for another name");
}

static void test_fingerprint(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *print = fingerprint(fixture->mine);
    g_autofree char *small = g_ascii_strdown(print, -1);
    g_autofree char *another = fingerprint(fixture->of_another);

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
    g_autofree char *key = in(fixture, "mine", ".key");

    serve(fixture, fixture->mine);
    check_refused(&fixture->host, "/no/such/file", NULL, "[redfish] ca-file:");
    check_refused(&fixture->host, key, NULL, "[redfish] ca-file:");

    /* it may be put right meanwhile */
    fixture->host.config.redfish_ca_file = key;
    host_begin(&fixture->host);
    CHECK_TROUBLE(&fixture->host, "[redfish] ca-file:", REFUSED);
    g_assert_cmpint(rename(fixture->ca, key), ==, 0);
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

/*
 * The fake service has libsoup's server. Since 3.6 that often ends with a
 * critical message, about a connection that is gone, or in a crash, when a client
 * ends in the midst of TLS, as one does that refuses the certificate.
 */
static gboolean server_survives(void)
{
    if (soup_check_version(3, 6, 0)) {
        g_printerr("skipped: libsoup's server, from 3.6 on, does not survive"
                   " clients that refuse its certificate\n");
        return FALSE;
    }
    return TRUE;
}

int main(int argc, char **argv)
{
    if (!server_survives()) {
        return SKIPPED;
    }
    test_init(&argc, &argv);
#define ADD(name, test) \
    g_test_add("/redfish-tls/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("authority", test_authority);
    ADD("name", test_name);
    ADD("fingerprint", test_fingerprint);
    ADD("wrong-file", test_wrong_file);
    ADD("no-tls", test_no_tls);
#undef ADD
    return g_test_run();
}
