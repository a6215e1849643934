/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How spicy-power finds its server, and what it shows there to be let in
 */
#define _GNU_SOURCE /* posix_openpt() */
#include "config.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gio/gio.h>
#include <glib/gstdio.h>

#include <spice/enums.h>
#include <spice/protocol.h>

#include "spicy-power-fixture.h"

static void test_connect(Fixture *f, gconstpointer data)
{
    start(f, "--uri=spice+unix:///nonexistent/spice.sock", "status", NULL);
    assert_exit(f, 2, "", "*cannot connect*");

    /* wrong password */
    start(f, f->uri, "--password=secret", "reset", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_PERMISSION_DENIED);
    assert_exit(f, 2, "", "*cannot connect: Authentication failed*");

    /* no answer */
    start(f, f->uri, "--timeout=1", "reset", NULL);
    assert_exit(f, 2, "", "*cannot connect: no answer in 1 seconds*");
    start(f, f->uri, "--timeout=60", "--connect-timeout=1", "reset", NULL);
    assert_exit(f, 2, "", "*cannot connect: no answer in 1 seconds*");
}

static void test_no_power_control(Fixture *f, gconstpointer data)
{
    static const gchar *const options[] = { "--json", "--replace" };
    int i;

    /* there is nothing that it could replace somebody for */
    for (i = 0; i < G_N_ELEMENTS(options); i++) {
        start(f, f->uri, options[i], "reset", NULL);
        accept_old_peer(f, 0);
        assert_exit(f, 3, "", "*no power control*");
    }

    /* a server that is lying */
    start(f, f->uri, "reset", NULL);
    accept_peer(f, 0, SPICE_LINK_ERR_OK);
    assert_exit(f, 3, "", "*no power control*");
    power_peer_assert_closed(f->peer);
}

/* A server that has one client at a time */
static void test_replace(Fixture *f, gconstpointer data)
{
    start(f, f->uri, "status", "reset", NULL);
    accept_old_peer(f, POWER_PEER_ALL_CAPS);
    assert_exit(f, 11, "", "*take the place of whoever uses the machine; nothing was done, "
                           "--replace connects all the same\n");
    /* one that has no room */
    start(f, f->uri, "status", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
    assert_exit(f, 11, "", "*no room*--replace*");

    start(f, f->uri, "--replace", "reset", NULL);
    accept_old_peer(f, POWER_PEER_ALL_CAPS);
    accept_fd(f);
    g_assert_cmphex(power_peer_link(f->peer, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK) & CONTROL_ONLY,
                    ==, 0);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0, "reset: ok\n", "");

    /* where there is room nobody is replaced */
    start(f, f->uri, "--replace", "reset", NULL);
    accept_ready(f);
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0, "reset: ok\n", "");

    /* and a server that has gone meanwhile */
    start(f, f->uri, "--replace", "reset", NULL);
    accept_old_peer(f, POWER_PEER_ALL_CAPS);
    accept_fd(f);
    g_clear_pointer(&f->peer, power_peer_free);
    assert_exit(f, 2, "", "*cannot connect*");
}

/* Listen on a port of this computer's in place of the Unix socket; returns it */
static guint listen_on_port(Fixture *f)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof(addr);

    close(f->listen_fd);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(f->listen_fd, >=, 0);
    g_assert_cmpint(bind(f->listen_fd, (struct sockaddr *)&addr, len), ==, 0);
    g_assert_cmpint(listen(f->listen_fd, 5), ==, 0);
    g_assert_cmpint(getsockname(f->listen_fd, (struct sockaddr *)&addr, &len), ==, 0);

    return ntohs(addr.sin_port);
}

static gchar *write_file(Fixture *f, const gchar *name, const gchar *text)
{
    gchar *path = g_build_filename(f->dir, name, NULL);
    GError *error = NULL;

    g_file_set_contents(path, text, -1, &error);
    g_assert_no_error(error);
    return path;
}

static void assert_password(Fixture *f, const gchar *expected)
{
    gchar *password = power_peer_get_password(f->peer);

    g_assert_cmpstr(password, ==, expected);
    g_free(password);
}

/* What is read first on the next connection */
static void assert_begins(Fixture *f, const gchar *expected)
{
    gchar begin[32] = "";
    int fd;

    power_peer_wait_fd(f->listen_fd);
    fd = accept(f->listen_fd, NULL, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(recv(fd, begin, strlen(expected), MSG_WAITALL), ==, strlen(expected));
    g_assert_cmpstr(begin, ==, expected);
    close(fd);
}

/* A file as it is handed out for viewers */
static void test_file(Fixture *f, gconstpointer data)
{
    guint port = listen_on_port(f);
    gchar *text = g_strdup_printf("[virt-viewer]\ntype=spice\nhost=127.0.0.1\nport=%u\n"
                                  "tls-port=-1\npassword=secret\ndelete-this-file=1\n"
                                  "title=A machine\n", port);
    gchar *path = write_file(f, "console.vv", text);

    start(f, path, "reset", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    assert_password(f, "secret");
    send_ready(f);
    answer(f, SPICE_MSGC_MAIN_POWER_RESET, SPICE_POWER_RESULT_OK, "");
    assert_exit(f, 0, "reset: ok\n", "");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_free(path);
    g_free(text);

    /* options come after it; and without that line it stays */
    text = g_strdup_printf("[virt-viewer]\ntype=spice\nhost=127.0.0.1\nport=%u\n"
                           "password=secret\ndelete-this-file=0\n", port);
    path = write_file(f, "console.vv", text);
    start(f, "--password=other", path, "state", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    assert_password(f, "other");
    send_ready(f);
    assert_exit(f, 0, "on\n", "");
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
    g_free(text);

    /* TLS, if that is all that there is */
    text = g_strdup_printf("[virt-viewer]\ntype=spice\nhost=127.0.0.1\ntls-port=%u\n"
                           "ca=-----BEGIN CERTIFICATE-----\\n\nhost-subject=CN=a\n", port);
    g_free(write_file(f, "console.vv", text));
    start(f, path, "state", NULL);
    assert_begins(f, "\x16\x03");
    assert_exit(f, 2, "", "*cannot connect*");
    g_free(text);

    /* the proxy knows the host, and nobody else may */
    text = g_strdup_printf("[virt-viewer]\ntype=spice\nhost=machine.invalid\nport=5900\n"
                           "proxy=http://127.0.0.1:%u\n", port);
    g_free(write_file(f, "console.vv", text));
    start(f, path, "state", NULL);
    assert_begins(f, "CONNECT machine.invalid:5900 ");
    assert_exit(f, 2, "", "*cannot connect*");
    g_free(text);

    g_unlink(path);
    g_free(path);
}

static void test_bad_file(Fixture *f, gconstpointer data)
{
    static const struct {
        const gchar *text, *err;
    } bad[] = {
        { "", "*console.vv: *" },
        { "[virt-viewer]\nhost=a\nport=1\ndelete-this-file=1\n", "*console.vv: *type*" },
        { "[virt-viewer]\ntype=vnc\nhost=a\nport=1\ndelete-this-file=1\n", "*'vnc', not*'spice'*" },
        { "[virt-viewer]\ntype=spice\nhost=a\n", "*no server given*" },
        { "nonsense\n", "*console.vv: *" },
    };
    gchar *path = NULL;
    int i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_free(path);
        path = write_file(f, "console.vv", bad[i].text);
        start(f, path, "state", NULL);
        assert_exit(f, 1, "", bad[i].err);
        g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
    }
    g_unlink(path);
    start(f, path, "state", NULL);
    assert_exit(f, 1, "", "*console.vv: No such file*");
    /* it comes first */
    start(f, f->uri, "state", path, NULL);
    assert_exit(f, 1, "", "*unknown action*console.vv'*");
    g_free(path);
}

static void test_password_file(Fixture *f, gconstpointer data)
{
    gchar *path = write_file(f, "password", "secret words\r\nof somebody else\n");
    gchar *option = g_strdup_printf("--password-file=%s", path);

    start(f, f->uri, option, "state", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    assert_password(f, "secret words");
    send_ready(f);
    assert_exit(f, 0, "on\n", "");

    /* what comes after the password is for the action - */
    start(f, f->uri, "--password-file=-", "-", NULL);
    write_input(f, "secret\nstate\n");
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    assert_password(f, "secret");
    send_ready(f);
    assert_exit(f, 0, "on\n", "");

    g_free(write_file(f, "password", ""));
    start(f, f->uri, option, "state", NULL);
    assert_exit(f, 1, "", "*no password in *password: it is empty\n");
    g_unlink(path);
    start(f, f->uri, option, "state", NULL);
    assert_exit(f, 1, "", "*no password in *password: No such file*");

    g_free(option);
    g_free(path);
}

/* ------------------------------------------------------------------ */
/* a terminal, from which it can ask                                  */

static void own_terminal(gpointer data)
{
    /* the first terminal that the leader of a session opens is that of the session */
    if (setsid() < 0 || open(data, O_RDWR) < 0)
        _exit(127);
}

static void read_terminal(int fd, const gchar *expected)
{
    GString *text = g_string_new(NULL);
    gchar c;

    while (strstr(text->str, expected) == NULL) {
        power_peer_wait_fd(fd);
        g_assert_cmpint(read(fd, &c, 1), ==, 1);
        g_string_append_c(text, c);
    }
    g_assert_null(strstr(text->str, "secret"));
    g_string_free(text, TRUE);
}

static void write_terminal(int fd, const gchar *text)
{
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
}

static void test_ask(Fixture *f, gconstpointer data)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    gchar *path;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(grantpt(fd), ==, 0);
    g_assert_cmpint(unlockpt(fd), ==, 0);
    path = g_strdup(ptsname(fd));
    f->launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_PIPE |
                                            G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                                            G_SUBPROCESS_FLAGS_STDERR_PIPE);
    g_subprocess_launcher_set_child_setup(f->launcher, own_terminal, path, NULL);

    start(f, f->uri, "state", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_PERMISSION_DENIED);
    assert_password(f, "");
    read_terminal(fd, "Password: ");
    write_terminal(fd, "secret\n");
    read_terminal(fd, "\n");
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    assert_password(f, "secret");
    send_ready(f);
    assert_exit(f, 0, "on\n", "");

    /* once; and not by whoever has given one */
    start(f, f->uri, "state", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_PERMISSION_DENIED);
    read_terminal(fd, "Password: ");
    write_terminal(fd, "secret\n");
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_PERMISSION_DENIED);
    assert_exit(f, 2, "", "*Authentication failed*");
    start(f, f->uri, "--password=wrong", "state", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_PERMISSION_DENIED);
    assert_exit(f, 2, "", "*Authentication failed*");

    /* Ctrl-C */
    start(f, f->uri, "state", NULL);
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_PERMISSION_DENIED);
    read_terminal(fd, "Password: ");
    write_terminal(fd, "sec\003\n");
    assert_exit(f, 2, "", "*Authentication failed*");

    g_free(path);
    close(fd);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    TEST("connect", test_connect);
    TEST("no-power-control", test_no_power_control);
    TEST("replace", test_replace);
    TEST("file", test_file);
    TEST("file/bad", test_bad_file);
    TEST("password-file", test_password_file);
    TEST("ask", test_ask);

    return g_test_run();
}
