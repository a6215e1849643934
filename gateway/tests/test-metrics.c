/*
 * Numbers about all machines, and who reads them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/socket.h>

#include "closed.h"
#include "fake-spice.h"
#include "loop.h"
#include "metrics.h"

#define HEADER \
    "HTTP/1.0 200 OK\r\n" \
    "Content-Type: application/openmetrics-text; version=1.0.0;" \
    " charset=utf-8\r\n" \
    "Connection: close\r\n\r\n"

typedef struct Fixture {
    char *directory, *socket;
    Gateway *gateway;
} Fixture;

static void put(Fixture *fixture, const char *name, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "{directory}", -1);
    g_autofree char *whole = g_strjoinv(fixture->directory, parts);

    g_free(put_file(fixture->directory, name, whole));
}

static Config *load(Fixture *fixture)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    Config *config = config_load(fixture->directory, problems);

    if (problems->len) {
        g_error("%s", (char *)problems->pdata[0]);
    }
    return config;
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new();
    g_autoptr(GError) error = NULL;

    metrics_patience_ms = HANG_S * 1000;
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    fixture->socket = g_build_filename(fixture->directory, "metrics", NULL);
    put(fixture, "gateway.conf", "[gateway]\nmetrics-socket=metrics\n");
    put(fixture, "defaults.conf",
        "[server]\nunix-socket={directory}/{name}\n[power]\nbackend=exec\n"
        "poll-interval=0.01\n[exec]\npower-on=true\n");
    put(fixture, "machines/a.conf", "[exec]\nstatus=echo on\n");
    put(fixture, "machines/b.conf", "[exec]\nstatus=echo broken >&2\n");
    fixture->gateway = gateway_new(load(fixture), problems);
    g_assert_cmpuint(problems->len, ==, 0);
    gateway_start(fixture->gateway, &error);
    g_assert_no_error(error);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    gateway_free(fixture->gateway);
    g_assert_false(g_file_test(fixture->socket, G_FILE_TEST_EXISTS));
    remove_all(fixture->directory);
    g_free(fixture->socket);
    g_free(fixture->directory);
}

static Machine *machine(Fixture *fixture, const char *name)
{
    return gateway_machine(fixture->gateway, name);
}

static GSocket *come(Fixture *fixture)
{
    g_autoptr(GSocketAddress) address =
        g_unix_socket_address_new(fixture->socket);
    g_autoptr(GError) error = NULL;
    GSocket *socket = g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM,
                                   0, &error);

    g_assert_no_error(error);
    g_socket_connect(socket, address, NULL, &error);
    g_assert_no_error(error);
    g_socket_set_blocking(socket, FALSE);
    return socket;
}

static void say(GSocket *socket, const char *text)
{
    g_assert_cmpint(g_socket_send(socket, text, strlen(text), NULL, NULL), ==,
                    strlen(text));
}

/* Until it ends; caller frees */
static char *read_all(GSocket *socket)
{
    GString *text = g_string_new(NULL);
    gint64 hang = g_get_monotonic_time() + HANG_S * G_TIME_SPAN_SECOND;

    while (g_get_monotonic_time() < hang) {
        char data[4096];
        gssize size = g_socket_receive(socket, data, sizeof(data), NULL, NULL);

        if (size == 0) {
            return g_string_free(text, FALSE);
        } else if (size > 0) {
            g_string_append_len(text, data, size);
        } else {
            g_main_context_iteration(NULL, FALSE);
        }
    }
    g_error("it does not end");
}

static void check_line(const char *text, const char *line)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    if (!g_strv_contains((const char *const *)lines, line)) {
        g_error("no line '%s' in:\n%s", line, text);
    }
}

static void test_text(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *server = machine_server(machine(fixture, "a"));
    FakeRequest *request;
    g_autofree char *text = NULL;

    RUN_UNTIL(machine_state(machine(fixture, "a")) == SPICE_POWER_STATE_ON);
    RUN_UNTIL(machine_trouble(machine(fixture, "b")));
    fake_connect(server);
    RUN_UNTIL(machine_clients(machine(fixture, "a")));
    request = fake_ask(server, SPICE_POWER_ACTION_ON, 1);
    RUN_UNTIL(request->done);
    fake_request_free(request);
    fake_refuse(server, SPICE_POWER_ACTION_OFF, SPICE_POWER_RESULT_DENIED, "");
    text = metrics_text(fixture->gateway);
    check_line(text, "# TYPE spice_gateway_machine_state gauge");
    check_line(text, "# TYPE spice_gateway_power_requests counter");
    check_line(text, "spice_gateway_build_info{version=\"" VERSION "\"} 1");
    check_line(text, "spice_gateway_machine_state{machine=\"a\",state=\"on\"}"
               " 1");
    check_line(text, "spice_gateway_machine_state{machine=\"b\","
               "state=\"unknown\"} 1");
    check_line(text, "spice_gateway_machine_clients{machine=\"a\"} 1");
    check_line(text, "spice_gateway_machine_clients{machine=\"b\"} 0");
    check_line(text, "spice_gateway_machine_trouble{machine=\"a\"} 0");
    check_line(text, "spice_gateway_machine_trouble{machine=\"b\"} 1");
    check_line(text, "spice_gateway_power_requests_total{machine=\"a\","
               "action=\"power-on\",result=\"ok\"} 1");
    check_line(text, "spice_gateway_power_requests_total{machine=\"a\","
               "action=\"power-off\",result=\"denied\"} 1");
    check_line(text, "spice_gateway_connections_held_total 0");
    g_assert_true(g_str_has_suffix(text, "\n# EOF\n"));
}

/* In a line, for systemctl status */
static void test_status(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *status = NULL;

    RUN_UNTIL(machine_state(machine(fixture, "a")) == SPICE_POWER_STATE_ON);
    RUN_UNTIL(machine_trouble(machine(fixture, "b")));
    status = gateway_status(fixture->gateway);
    g_assert_true(g_str_has_prefix(status, "machines: 2, clients: 0, in"
                                   " trouble: 1 (b: "));
}

static void test_read(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GSocket) socket = come(fixture), slow = come(fixture);
    g_autofree char *text = NULL, *answer = NULL;

    say(slow, "GET /metrics HTTP/1.1\r\nHost: x\r");
    say(socket, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    answer = read_all(socket);
    text = metrics_text(fixture->gateway);
    g_assert_true(g_str_has_prefix(answer, HEADER));
    g_assert_true(g_str_has_suffix(answer, "\n# EOF\n"));
    g_free(answer);
    say(slow, "\n\r\n");
    answer = read_all(slow);
    g_assert_true(g_str_has_prefix(answer, HEADER));
}

/* Nobody who says nothing, too much, or does not read, is in the way */
static void test_cut_off(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GSocket) silent = NULL, talks = come(fixture);
    g_autofree char *much = g_strnfill(5000, 'x');

    say(talks, much);
    wait_closed(talks);
    metrics_patience_ms = 20;
    silent = come(fixture);
    wait_closed(silent);
}

static void test_does_not_read(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new();
    g_autofree char *answer = NULL, *padding = g_strnfill(200, 'm');
    g_autofree char *path = g_build_filename(fixture->directory, "2", NULL);
    g_autoptr(Gateway) gateway = NULL;
    g_autoptr(GSocket) socket = NULL;
    g_autoptr(GError) error = NULL;
    Metrics *metrics;
    int i;

    /* more than a socket keeps */
    for (i = 0; i < 400; i++) {
        g_autofree char *name = g_strdup_printf("machines/%s%d.conf", padding,
                                                i);

        put(fixture, name, "[exec]\nwatch=true\n");
    }
    gateway = gateway_new(load(fixture), problems);
    metrics = metrics_new(path, gateway, &error);
    g_assert_no_error(error);
    metrics_patience_ms = 1000;
    g_free(fixture->socket);
    fixture->socket = g_steal_pointer(&path);
    socket = come(fixture);
    say(socket, "GET / HTTP/1.0\r\n\r\n");
    RUN_UNTIL(g_socket_get_available_bytes(socket) > 0);
    RUN_UNTIL(g_socket_condition_check(socket, G_IO_HUP) & G_IO_HUP);
    answer = read_all(socket);
    g_assert_true(g_str_has_prefix(answer, HEADER));
    g_assert_false(g_str_has_suffix(answer, "\n# EOF\n"));
    metrics_free(metrics);
}

static void test_many(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GPtrArray) sockets = g_ptr_array_new_with_free_func(
        g_object_unref);
    g_autofree char *answer = NULL;
    int i;

    for (i = 0; i < 9; i++) {
        g_ptr_array_add(sockets, come(fixture));
    }
    /* the one that has been there the longest */
    wait_closed(sockets->pdata[0]);
    say(sockets->pdata[8], "GET / HTTP/1.0\r\n\r\n");
    answer = read_all(sockets->pdata[8]);
    g_assert_true(g_str_has_suffix(answer, "\n# EOF\n"));
}

static void test_reload(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *before = g_steal_pointer(&fixture->socket);

    fixture->socket = g_build_filename(fixture->directory, "other", NULL);
    put(fixture, "gateway.conf", "[gateway]\nmetrics-socket=other\n");
    gateway_reload(fixture->gateway, load(fixture));
    g_assert_false(g_file_test(before, G_FILE_TEST_EXISTS));
    g_object_unref(come(fixture));
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/metrics/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("text", test_text);
    ADD("status", test_status);
    ADD("read", test_read);
    ADD("cut-off", test_cut_off);
    ADD("does-not-read", test_does_not_read);
    ADD("many", test_many);
    ADD("reload", test_reload);
    return g_test_run();
}
