/*
 * QTest testcase for where SPICE clients go when QEMU ends
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"

#define START "-nodefaults -spice disable-ticketing=on,port=0,unix=on,addr="

static QTestState *start(const char *directory, const char *options)
{
    return qtest_initf(START "%s/spice%s", directory, options);
}

/* What query-spice says, @port and @tls_port being 0 if it's to say nothing */
static void assert_home(QTestState *qts, const char *host, int port,
                        int tls_port)
{
    QDict *response = qtest_qmp_assert_success_ref(
        qts, "{ 'execute': 'query-spice' }");
    QDict *home = qdict_get_qdict(response, "home");

    if (host) {
        g_assert_nonnull(home);
        g_assert_cmpstr(qdict_get_str(home, "host"), ==, host);
        g_assert_cmpint(qdict_get_try_int(home, "port", 0), ==, port);
        g_assert_cmpint(qdict_get_try_int(home, "tls-port", 0), ==, tls_port);
        g_assert_cmpint(qdict_haskey(home, "port"), ==, port != 0);
        g_assert_cmpint(qdict_haskey(home, "tls-port"), ==, tls_port != 0);
    } else {
        g_assert_null(home);
    }
    qobject_unref(response);
}

static void test_query(void)
{
    static const struct {
        const char *options, *host;
        int port, tls_port;
    } cases[] = {
        { "" },
        { ",home=vm1.example.org,home-port=5900", "vm1.example.org", 5900, 0 },
        { ",home=2001:db8::1,home-tls-port=65535", "2001:db8::1", 0, 65535 },
        { ",home=a,home-port=1,home-tls-port=2", "a", 1, 2 },
    };
    g_autofree char *directory = g_dir_make_tmp("spice-home-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(directory, "spice", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        QTestState *qts = start(directory, cases[i].options);

        assert_home(qts, cases[i].host, cases[i].port, cases[i].tls_port);
        /* with nobody to hand over it ends as ever */
        qtest_qmp_assert_success(qts, "{ 'execute': 'quit' }");
        qtest_wait_qemu(qts);
        qtest_quit(qts);
    }
    unlink(path);
    rmdir(directory);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/spice-home/query", test_query);
    return g_test_run();
}
