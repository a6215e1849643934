/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include <spice/enums.h>
#include <spice/protocol.h>

#include "spicy-power-fixture.h"

void f_setup(Fixture *f, gconstpointer data)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    GError *error = NULL;

    f->dir = g_dir_make_tmp("spicy-power-XXXXXX", &error);
    g_assert_no_error(error);
    f->path = g_build_filename(f->dir, "spice.sock", NULL);
    f->uri = g_strdup_printf("--uri=spice+unix://%s", f->path);
    g_assert_cmpuint(strlen(f->path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, f->path);

    f->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(f->listen_fd, >=, 0);
    g_assert_cmpint(bind(f->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(f->listen_fd, 5), ==, 0);
}

void f_teardown(Fixture *f, gconstpointer data)
{
    g_clear_pointer(&f->peer, power_peer_free);
    g_clear_object(&f->output);
    g_clear_object(&f->proc);
    g_clear_object(&f->launcher);
    close(f->listen_fd);
    g_unlink(f->path);
    g_rmdir(f->dir);
    g_free(f->uri);
    g_free(f->path);
    g_free(f->dir);
}

void start(Fixture *f, const gchar *arg, ...)
{
    GPtrArray *argv = g_ptr_array_new();
    GError *error = NULL;
    va_list args;

    g_ptr_array_add(argv, (gpointer)SPICY_POWER);
    va_start(args, arg);
    for (; arg != NULL; arg = va_arg(args, const gchar *))
        g_ptr_array_add(argv, (gpointer)arg);
    va_end(args);
    g_ptr_array_add(argv, NULL);

    g_clear_pointer(&f->peer, power_peer_free);
    g_clear_object(&f->output);
    g_clear_object(&f->proc);
    if (f->launcher == NULL)
        f->launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_PIPE |
                                                G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                                                G_SUBPROCESS_FLAGS_STDERR_PIPE);
    /* what it says is told in this character set */
    g_subprocess_launcher_setenv(f->launcher, "LC_ALL", "C.UTF-8", TRUE);
    f->proc = g_subprocess_launcher_spawnv(f->launcher, (const gchar *const *)argv->pdata,
                                           &error);
    g_assert_no_error(error);
    f->input = g_subprocess_get_stdin_pipe(f->proc);
    f->output = g_data_input_stream_new(g_subprocess_get_stdout_pipe(f->proc));
    g_filter_input_stream_set_close_base_stream(G_FILTER_INPUT_STREAM(f->output), FALSE);
    g_ptr_array_unref(argv);
}

void accept_fd(Fixture *f)
{
    int fd;

    g_clear_pointer(&f->peer, power_peer_free);
    power_peer_wait_fd(f->listen_fd);
    fd = accept(f->listen_fd, NULL, NULL);
    g_assert_cmpint(fd, >=, 0);
    f->peer = power_peer_new(fd);
}

void accept_peer(Fixture *f, guint32 caps, guint32 link_result)
{
    accept_fd(f);
    g_assert_cmphex(power_peer_link(f->peer, caps | CONTROL_ONLY, link_result) & CONTROL_ONLY,
                    ==, CONTROL_ONLY);
}

void accept_old_peer(Fixture *f, guint32 caps)
{
    accept_fd(f);
    power_peer_link_refused(f->peer, caps);
}

void send_ready(Fixture *f)
{
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON,
                          SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
                          SPICE_POWER_ACTION_PAUSE);
}

void accept_ready(Fixture *f)
{
    accept_peer(f, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    send_ready(f);
}

void answer(Fixture *f, guint16 type, guint8 result, const gchar *message)
{
    power_peer_send_result(f->peer, power_peer_recv_request(f->peer, type), result, message);
}

void assert_exit(Fixture *f, int code, const gchar *out, const gchar *err)
{
    gchar *real_out, *real_err;
    GError *error = NULL;

    g_subprocess_communicate_utf8(f->proc, NULL, NULL, &real_out, &real_err, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(real_out, ==, out);
    if (!g_pattern_match_simple(err, real_err))
        g_error("'%s' doesn't match '%s'", real_err, err);
    g_assert_true(g_subprocess_get_if_exited(f->proc));
    g_assert_cmpint(g_subprocess_get_exit_status(f->proc), ==, code);
    g_free(real_out);
    g_free(real_err);
}

void assert_line(Fixture *f, const gchar *expected)
{
    GError *error = NULL;
    gchar *line = g_data_input_stream_read_line_utf8(f->output, NULL, NULL, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(line, ==, expected);
    g_free(line);
}

void write_input(Fixture *f, const gchar *text)
{
    GError *error = NULL;

    g_output_stream_write_all(f->input, text, strlen(text), NULL, NULL, &error);
    g_assert_no_error(error);
}
