/*
 * What a configuration names, looked at before it is needed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "certificate.h"
#include "check.h"
#include "loop.h"

typedef struct Fixture {
    char *directory;
    Config *config;
    GPtrArray *problems, *warnings;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
}

static void forget(Fixture *fixture)
{
    g_clear_pointer(&fixture->config, config_free);
    g_clear_pointer(&fixture->problems, g_ptr_array_unref);
    g_clear_pointer(&fixture->warnings, g_ptr_array_unref);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    forget(fixture);
    remove_all(fixture->directory);
    g_free(fixture->directory);
}

static void put(Fixture *fixture, const char *name, const char *text)
{
    g_free(put_file(fixture->directory, name, text));
}

/* cert.pem, which is its own CA, and cert.key: for so many seconds */
static void put_certificate(Fixture *fixture, const char *host, long seconds)
{
    g_autofree char *names = g_strdup_printf("DNS:%s", host);

    certificate_free(certificate_new(fixture->directory, "cert", names,
                                     seconds, NULL));
}

static void load(Fixture *fixture)
{
    forget(fixture);
    fixture->problems = g_ptr_array_new_with_free_func(g_free);
    fixture->warnings = g_ptr_array_new_with_free_func(g_free);
    fixture->config = config_load(fixture->directory, fixture->problems);
    if (fixture->problems->len) {
        g_error("%s", (char *)fixture->problems->pdata[0]);
    }
}

static void check(Fixture *fixture)
{
    load(fixture);
    check_certificates(fixture->config, fixture->problems, fixture->warnings);
}

/* The only line is about @file, and has @text in it; NULL: there is none */
static void check_only(Fixture *fixture, const GPtrArray *lines,
                       const char *file, const char *text)
{
    g_autofree char *start = g_strdup_printf("%s/%s: ", fixture->directory,
                                             file);

    g_assert_cmpuint(lines->len, ==, text ? 1 : 0);
    if (text && (!g_str_has_prefix(lines->pdata[0], start) ||
                 !strstr(lines->pdata[0], text))) {
        g_error("not '%s' of %s: %s", text, file, (char *)lines->pdata[0]);
    }
}

static void check_problem(Fixture *fixture, const char *text)
{
    check(fixture);
    check_only(fixture, fixture->problems, "machines/a.conf", text);
}

static void check_warning(Fixture *fixture, const char *text)
{
    check(fixture);
    check_only(fixture, fixture->problems, NULL, NULL);
    check_only(fixture, fixture->warnings, "machines/a.conf", text);
}

#define EXEC "[power]\nbackend=exec\n[exec]\nstatus=true\n"

static void put_machines(Fixture *fixture)
{
    put(fixture, "gateway.conf", "[gateway]\nport=1\ndomain=example.test\n");
    put(fixture, "defaults.conf", "[server]\ntls-ca-file=cert.pem\n"
        "tls-cert-file=cert.pem\ntls-key-file=cert.key\n" EXEC);
    put(fixture, "machines/a.conf", "");
    /* what all have is told of once */
    put(fixture, "machines/b.conf", "[server]\ntls-port=2\n");
    put(fixture, "machines/c.conf", "[server]\nunix-socket=/s\n");
}

static void test_certificate(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *key = g_build_filename(fixture->directory, "cert.key",
                                            NULL);
    g_autofree char *old_key = NULL;

    put_machines(fixture);
    check_problem(fixture, "[server] tls-ca-file: ");
    put_certificate(fixture, "*.example.test", 365 * DAY_S);
    check_warning(fixture, NULL);

    g_assert_true(g_file_get_contents(key, &old_key, NULL, NULL));
    put_certificate(fixture, "*.example.test", 365 * DAY_S);
    put(fixture, "cert.key", old_key);
    check_problem(fixture, "[server] tls-key-file: ");
    put(fixture, "cert.key", "-----BEGIN\n");
    check_problem(fixture, "[server] tls-key-file: ");
    put(fixture, "cert.pem", "");
    check_problem(fixture, "[server] tls-cert-file: ");
    g_unlink(key);
    check_problem(fixture, "cert.key can't be read: No such file");
}

static void test_end(Fixture *fixture, gconstpointer unused)
{
    put_machines(fixture);
    put_certificate(fixture, "*.example.test", 15 * DAY_S);
    check_warning(fixture, NULL);
    put_certificate(fixture, "*.example.test", 13 * DAY_S + 100);
    check_warning(fixture, "cert.pem expires in 13 days");
    put_certificate(fixture, "*.example.test", -1);
    check_warning(fixture, "cert.pem has expired");
    put_certificate(fixture, "*.example.test", -10 * DAY_S);
    check_warning(fixture, "cert.pem has expired");
}

static void test_name(Fixture *fixture, gconstpointer unused)
{
    put_machines(fixture);
    put_certificate(fixture, "b.example.test", 365 * DAY_S);
    check(fixture);
    check_only(fixture, fixture->problems, NULL, NULL);
    /* c has a socket of its own, and is reached by the port for all, too */
    g_assert_cmpuint(fixture->warnings->len, ==, 2);
    g_assert_nonnull(strstr(fixture->warnings->pdata[0],
                            "cert.pem is not for a.example.test"));
    g_assert_nonnull(strstr(fixture->warnings->pdata[1],
                            "cert.pem is not for c.example.test"));
}

static void test_programs(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *script = g_build_filename(fixture->directory, "script",
                                               NULL);
    g_autofree char *text = g_strdup_printf(
        "[server]\nport=1\n[power]\nbackend=exec\n[exec]\nstatus=true\n"
        "reset=no-such-program -x\npower-off=%s\npower-on=/bin/sh -c x\n",
        script);

    put(fixture, "script", "#!/bin/sh\n");
    put(fixture, "machines/a.conf", text);
    put(fixture, "machines/b.conf", "[server]\nport=2\n[power]\nbackend=ipmi\n"
        "[ipmi]\nhost=x\nipmitool=/no/such\n");
    load(fixture);
    check_programs(fixture->config, fixture->problems);
    g_assert_cmpuint(fixture->problems->len, ==, 3);
    g_assert_nonnull(strstr(fixture->problems->pdata[0], "a.conf: [exec] reset:"
                            " there is no program no-such-program that can be"
                            " run in $PATH"));
    g_assert_nonnull(strstr(fixture->problems->pdata[1], "a.conf: [exec]"
                            " power-off: there is no program /"));
    g_assert_nonnull(strstr(fixture->problems->pdata[2], "b.conf: [ipmi]"
                            " ipmitool: there is no program /no/such"));
}

static GString *printed;

static void print(const char *text)
{
    g_string_append(printed, text);
}

static gboolean ask(Fixture *fixture)
{
    GPrintFunc before = g_set_print_handler(print);
    gboolean is_good;

    load(fixture);
    if (printed) {
        g_string_free(printed, TRUE);
    }
    printed = g_string_new(NULL);
    is_good = check_machines(fixture->config);
    g_set_print_handler(before);
    return is_good;
}

static void test_machines(Fixture *fixture, gconstpointer unused)
{
    int i;

    put(fixture, "defaults.conf", "[server]\nunix-socket=/{name}\n[power]\n"
        "backend=exec\npoll-interval=0.01\n");
    for (i = 0; i < 40; i++) {
        g_autofree char *name = g_strdup_printf("machines/m%02d.conf", i);

        put(fixture, name, i % 2 ? "[exec]\nstatus=echo on\n"
                                 : "[exec]\nwatch=echo off\n");
    }
    g_assert_true(ask(fixture));
    for (i = 0; i < 40; i++) {
        g_autofree char *line = g_strdup_printf("m%02d: %s\n", i,
                                                i % 2 ? "on" : "off");

        g_assert_nonnull(strstr(printed->str, line));
    }
    put(fixture, "machines/x.conf", "[exec]\nstatus=sh -c \"echo burnt >&2;"
        " exit 1\"\n");
    g_assert_false(ask(fixture));
    g_assert_nonnull(strstr(printed->str, "x: burnt\n"));
}

/* All have their time, and no more */
static void test_silent(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "machines/a.conf", "[server]\nport=1\n[power]\nbackend=exec\n"
        "query-timeout=0.05\n[exec]\nstatus=sleep 1000\n");
    g_assert_false(ask(fixture));
    g_assert_nonnull(strstr(printed->str, "a: "));
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/check/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("certificate", test_certificate);
    ADD("end", test_end);
    ADD("name", test_name);
    ADD("programs", test_programs);
    ADD("machines", test_machines);
    ADD("silent", test_silent);
    return g_test_run();
}
