/*
 * QTest testcase for proxies that say where SPICE clients are
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"

#include <sys/un.h>

/* A header of the PROXY protocol, up to the addresses */
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define PROXY_TCP4 SIGNATURE "\x21\x11\0\x0c"
#define PROXY_TCP6 SIGNATURE "\x21\x21\0\x24"
#define LOCAL SIGNATURE "\x20\0\0\0"
#define HEADER_SIZE 16
/* Both ends: addresses, then ports, 4711 and 5900 */
#define PORTS "\x12\x67\x17\x0c"
#define ADDRESSES4 "\xc0\0\2\7\x7f\0\0\1" PORTS
#define ADDRESS6 "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"
#define ADDRESSES6 ADDRESS6 ADDRESS6 PORTS
#define SPICE_MAGIC "REDQ"

typedef struct Server {
    QTestState *qts;
    char *directory;
    char *path;
} Server;

/* A QEMU with a UNIX socket for clients */
static Server start(const char *options)
{
    Server server;

    server.directory = g_dir_make_tmp("spice-proxies-XXXXXX", NULL);
    server.path = g_build_filename(server.directory, "spice", NULL);
    server.qts = qtest_initf("-nodefaults -spice 'disable-ticketing=on,port=0,"
                             "unix=on,addr=%s%s'", server.path, options);
    return server;
}

static void stop(Server *server)
{
    qtest_quit(server->qts);
    unlink(server->path);
    rmdir(server->directory);
    g_free(server->path);
    g_free(server->directory);
}

static int connect_to(Server *server)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_assert_cmpint(fd, !=, -1);
    g_assert_cmpuint(strlen(server->path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, server->path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    return fd;
}

static void send_all(int fd, const char *data, size_t size)
{
    g_assert_cmpint(write(fd, data, size), ==, size);
}

/* The server closes the connection, and has nothing to say */
static void assert_closed(int fd)
{
    char byte;

    g_assert_cmpint(read(fd, &byte, 1), <=, 0);
    close(fd);
}

/* The next event of the server is about a client that is there */
static void assert_event(Server *server, const char *name, const char *host,
                         const char *port, const char *family)
{
    QDict *event = qtest_qmp_eventwait_ref(server->qts, name);
    QDict *client = qdict_get_qdict(qdict_get_qdict(event, "data"), "client");

    g_assert_cmpstr(qdict_get_str(client, "family"), ==, family);
    if (host) {
        g_assert_cmpstr(qdict_get_str(client, "host"), ==, host);
        g_assert_cmpstr(qdict_get_str(client, "port"), ==, port);
    }
    qobject_unref(event);
}

static void assert_client(Server *server, int fd, const char *host,
                          const char *port, const char *family)
{
    assert_event(server, "SPICE_CONNECTED", host, port, family);
    close(fd);
    assert_event(server, "SPICE_DISCONNECTED", host, port, family);
}

static void test_address(void)
{
    Server server = start(",proxies=unix");
    int fd = connect_to(&server);

    send_all(fd, PROXY_TCP4 ADDRESSES4, HEADER_SIZE + 12);
    assert_client(&server, fd, "192.0.2.7", "4711", "ipv4");

    fd = connect_to(&server);
    send_all(fd, PROXY_TCP6 ADDRESSES6, HEADER_SIZE + 36);
    assert_client(&server, fd, "2001:db8::7", "4711", "ipv6");

    /* The proxy's own connection, which is a client if it says something */
    fd = connect_to(&server);
    send_all(fd, LOCAL, HEADER_SIZE);
    close(fd);
    fd = connect_to(&server);
    send_all(fd, LOCAL SPICE_MAGIC, HEADER_SIZE + 4);
    assert_client(&server, fd, NULL, NULL, "unix");
    stop(&server);
}

static void test_refused(void)
{
    Server server = start(",proxies=unix");
    int fd = connect_to(&server);

    send_all(fd, SPICE_MAGIC, 4);
    assert_closed(fd);
    fd = connect_to(&server);
    send_all(fd, "PROXY TCP4 192.0.2.7 127.0.0.1 4711 5900\r\n", 42);
    assert_closed(fd);
    /* Nobody hears of these: the next one is the first */
    fd = connect_to(&server);
    send_all(fd, PROXY_TCP4 ADDRESSES4, HEADER_SIZE + 12);
    assert_client(&server, fd, "192.0.2.7", "4711", "ipv4");
    stop(&server);
}

/* Who is no proxy can't say where he is */
static void test_not_trusted(void)
{
    static const char *const options[] = { "", ",proxies=127.0.0.1" };

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        Server server = start(options[i]);
        int fd = connect_to(&server);

        send_all(fd, PROXY_TCP4 ADDRESSES4, HEADER_SIZE + 12);
        assert_event(&server, "SPICE_CONNECTED", NULL, NULL, "unix");
        assert_event(&server, "SPICE_DISCONNECTED", NULL, NULL, "unix");
        close(fd);
        stop(&server);
    }
}

static void test_query(void)
{
    static const struct {
        const char *options, *expected;
    } cases[] = {
        { "", NULL },
        { ",proxies=", NULL },
        { ",proxies=127.0.0.1", "127.0.0.1" },
        { ",proxies= ::1  192.0.2.0/24,,unix ", "::1 192.0.2.0/24 unix" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GString) found = g_string_new(NULL);
        Server server = start(cases[i].options);
        QDict *response = qtest_qmp_assert_success_ref(
            server.qts, "{ 'execute': 'query-spice' }");
        QList *proxies = qdict_get_qlist(response, "proxies");
        const QListEntry *entry;

        g_assert_true((proxies != NULL) == (cases[i].expected != NULL));
        for (entry = proxies ? qlist_first(proxies) : NULL; entry;
             entry = qlist_next(entry)) {
            g_string_append_printf(
                found, found->len ? " %s" : "%s",
                qstring_get_str(qobject_to(QString, qlist_entry_obj(entry))));
        }
        if (proxies) {
            g_assert_cmpstr(found->str, ==, cases[i].expected);
        }
        qobject_unref(response);
        stop(&server);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/spice-proxies/address", test_address);
    qtest_add_func("/spice-proxies/refused", test_refused);
    qtest_add_func("/spice-proxies/not-trusted", test_not_trusted);
    qtest_add_func("/spice-proxies/query", test_query);
    return g_test_run();
}
