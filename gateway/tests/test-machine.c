/*
 * Two machines in one process
 *
 * Their programs are shell scripts, and their servers have no socket; all that
 * is between is real.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <fcntl.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decoder.h"
#include "decoder-process.h"
#include "fake-spice.h"
#include "gateway.h"
#include "loop.h"
#include "screen.h"

#define NEVER_MS (HANG_S * 10000)

/*
 * NAME.state is what a machine's status is. Powering on waits for a line in the
 * pipe NAME.go.
 */
#define TEMPLATE \
    "[server]\n" \
    "unix-socket=%1$s/{name}.spice\n" \
    "name=The {name}\n" \
    "[power]\n" \
    "backend=exec\n" \
    "poll-interval=0.01\n" \
    "idle-poll-interval=0.01\n" \
    "[exec]\n" \
    "status=cat %1$s/{name}.state\n" \
    "power-off=cp %1$s/off %1$s/{name}.state\n" \
    "power-on=sh -c \"read line <%1$s/{name}.go &&" \
    " cp %1$s/on %1$s/{name}.state\"\n" \
    "reset=sh -c \"echo '{name} has no reset' >&2; exit 1\"\n"

typedef struct Fixture {
    char *directory;
    Gateway *gateway;
    Machine *a, *b;
    int go;                     /* the pipe with a line in it; 0: none */
} Fixture;

static void put(Fixture *fixture, const char *name, const char *text)
{
    g_free(put_file(fixture->directory, name, text));
}

/* What is in the directory now */
static void load(Fixture *fixture)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);

    g_clear_pointer(&fixture->gateway, gateway_free);
    fixture->gateway = gateway_new(config_load(fixture->directory, problems),
                                   problems);
    if (problems->len) {
        g_error("%s", (char *)problems->pdata[0]);
    }
    fixture->a = gateway_machine(fixture->gateway, "a");
    fixture->b = gateway_machine(fixture->gateway, "b");
    g_assert_nonnull(fixture->a);
    g_assert_nonnull(fixture->b);
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *template = NULL, *go = NULL;
    const char *const names[] = { "a", "b" };
    gsize i;

    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    template = g_strdup_printf(TEMPLATE, fixture->directory);
    put(fixture, "templates/t.conf", template);
    put(fixture, "on", "on\n");
    put(fixture, "off", "off\n");
    for (i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *config = g_strdup_printf("machines/%s.conf",
                                                  names[i]);
        g_autofree char *state = g_strdup_printf("%s.state", names[i]);
        g_autofree char *pipe = g_strdup_printf("%s/%s.go", fixture->directory,
                                                names[i]);

        put(fixture, config, "[machine]\ntemplate=t\n");
        put(fixture, state, i ? "on" : "off");
        g_assert_cmpint(mkfifo(pipe, 0600), ==, 0);
    }
    load(fixture);
    g_assert_null(gateway_machine(fixture->gateway, "c"));
    g_assert_cmpuint(fake_servers, ==, 0);
}

static void start(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    gateway_start(fixture->gateway, &error);
    g_assert_no_error(error);
    RUN_UNTIL(machine_state(fixture->a) == SPICE_POWER_STATE_OFF &&
              machine_state(fixture->b) == SPICE_POWER_STATE_ON);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    g_clear_pointer(&fixture->gateway, gateway_free);
    if (fixture->go) {
        close(fixture->go);
    }
    g_assert_cmpuint(fake_servers, ==, 0);
    remove_all(fixture->directory);
    g_free(fixture->directory);
}

static FakeRequest *ask(Machine *machine, guint32 action)
{
    return fake_ask(machine_server(machine), action, 1);
}

/* Let the program for power-on of one machine go on, or not even wait */
static void go(Fixture *fixture, const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/%s.go", fixture->directory,
                                            name);

    /* That there is nobody to read it yet is no reason to wait */
    fixture->go = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fixture->go, >, 0);
    g_assert_cmpint(write(fixture->go, "\n", 1), ==, 1);
}

static void check_request(FakeRequest *request, guint32 result,
                          const char *message)
{
    RUN_UNTIL(request->done);
    g_assert_cmpuint(request->result, ==, result);
    g_assert_cmpstr(request->message, ==, message);
    fake_request_free(request);
}

/* Each has what its configuration says */
static void test_two_configurations(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *a, *b;

    start(fixture);
    a = machine_server(fixture->a);
    b = machine_server(fixture->b);
    g_assert_true(a != b);
    g_assert_cmpstr(a->name, ==, "The a");
    g_assert_cmpstr(b->name, ==, "The b");
    g_assert_true(g_str_has_suffix(a->address, "/a.spice"));
    g_assert_true(g_str_has_suffix(b->address, "/b.spice"));
}

/* A state is that of its own machine */
static void test_two_states(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *a, *b;

    start(fixture);
    a = machine_server(fixture->a);
    b = machine_server(fixture->b);
    g_assert_cmpuint(a->state, ==, SPICE_POWER_STATE_OFF);
    g_assert_cmphex(a->possible, ==, SPICE_POWER_ACTION_ON);
    g_assert_cmpuint(b->state, ==, SPICE_POWER_STATE_ON);
    g_assert_cmphex(b->possible, ==,
                    SPICE_POWER_ACTION_OFF | SPICE_POWER_ACTION_RESET);
    put(fixture, "a.state", "crashed");
    RUN_UNTIL(a->state == SPICE_POWER_STATE_CRASHED);
    g_assert_cmpuint(b->state, ==, SPICE_POWER_STATE_ON);
}

/* One's request is carried out while the other one's waits */
static void test_two_requests(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *of_a, *of_b;

    start(fixture);
    of_a = ask(fixture->a, SPICE_POWER_ACTION_ON);
    of_b = ask(fixture->b, SPICE_POWER_ACTION_RESET);
    check_request(of_b, SPICE_POWER_RESULT_FAILED, "b has no reset");
    of_b = ask(fixture->b, SPICE_POWER_ACTION_OFF);
    check_request(of_b, SPICE_POWER_RESULT_OK, NULL);
    g_assert_cmpuint(machine_state(fixture->b), ==, SPICE_POWER_STATE_OFF);
    g_assert_cmpuint(machine_state(fixture->a), ==, SPICE_POWER_STATE_OFF);
    g_assert_false(of_a->done);
    go(fixture, "a");
    RUN_UNTIL(of_a->done);
    g_assert_cmpuint(of_a->state, ==, SPICE_POWER_STATE_ON);
    check_request(of_a, SPICE_POWER_RESULT_OK, NULL);
    g_assert_cmpuint(machine_state(fixture->b), ==, SPICE_POWER_STATE_OFF);
}

/* One's server ends in the midst of a request, the other one's goes on */
static void test_one_ends(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *of_a, *of_b;

    start(fixture);
    put(fixture, "b.state", "off");
    RUN_UNTIL(machine_state(fixture->b) == SPICE_POWER_STATE_OFF);
    of_a = ask(fixture->a, SPICE_POWER_ACTION_ON);
    of_b = ask(fixture->b, SPICE_POWER_ACTION_ON);
    machine_refuse(fixture->a, "it ends");
    check_request(of_a, SPICE_POWER_RESULT_FAILED, "it ends");
    machine_stop(fixture->a);
    g_assert_null(machine_server(fixture->a));
    g_assert_cmpuint(fake_servers, ==, 1);
    g_assert_false(of_b->done);
    go(fixture, "b");
    check_request(of_b, SPICE_POWER_RESULT_OK, NULL);
}

/* The state is known without a server, which may come and go */
static void test_no_server(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    FakeRequest *request;

    machine_watch(fixture->b);
    RUN_UNTIL(machine_state(fixture->b) == SPICE_POWER_STATE_ON);
    g_assert_cmpuint(fake_servers, ==, 0);
    machine_start(fixture->b, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(machine_server(fixture->b)->state, ==,
                     SPICE_POWER_STATE_ON);
    machine_stop(fixture->b);
    machine_stop(fixture->b);           /* no error */
    g_assert_cmpuint(fake_servers, ==, 0);
    put(fixture, "b.state", "off");
    RUN_UNTIL(machine_state(fixture->b) == SPICE_POWER_STATE_OFF);
    machine_start(fixture->b, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(machine_server(fixture->b)->state, ==,
                     SPICE_POWER_STATE_OFF);
    request = ask(fixture->b, SPICE_POWER_ACTION_ON);
    go(fixture, "b");
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
    /* nobody has asked for the state of the other one */
    g_assert_cmpuint(machine_state(fixture->a), ==, SPICE_POWER_STATE_UNKNOWN);
}

/* While somebody is there the state is asked for more often */
static void test_attended(Fixture *fixture, gconstpointer unused)
{
    put(fixture, "machines/a.conf",
        "[machine]\ntemplate=t\n[power]\nidle-poll-interval=3600\n");
    load(fixture);
    start(fixture);
    put(fixture, "a.state", "on");
    fake_connect(machine_server(fixture->a));
    RUN_UNTIL(machine_state(fixture->a) == SPICE_POWER_STATE_ON);
    put(fixture, "a.state", "off");
    RUN_UNTIL(machine_state(fixture->a) == SPICE_POWER_STATE_OFF);
    fake_disconnect(machine_server(fixture->a));
    put(fixture, "a.state", "on");
    fake_connect(machine_server(fixture->a));
    RUN_UNTIL(machine_state(fixture->a) == SPICE_POWER_STATE_ON);
}

/* --- video --------------------------------------------------------------- */

/* A VNC server that says nothing */
typedef struct Silent {
    GSocketService *service;
    guint count;                /* who has come */
    GSocketConnection *peer;    /* the last one; NULL if it has gone again */
    GSource *source;
} Silent;

static gboolean peer_gone(GObject *stream, gpointer opaque)
{
    Silent *silent = opaque;

    g_clear_pointer(&silent->source, g_source_unref);
    g_clear_object(&silent->peer);
    return G_SOURCE_REMOVE;
}

static gboolean connected(GSocketService *service, GSocketConnection *peer,
                          GObject *unused, gpointer opaque)
{
    Silent *silent = opaque;
    GInputStream *stream = g_io_stream_get_input_stream(G_IO_STREAM(peer));

    g_assert_null(silent->peer);
    silent->count++;
    silent->peer = g_object_ref(peer);
    silent->source = g_pollable_input_stream_create_source(
        G_POLLABLE_INPUT_STREAM(stream), NULL);
    g_source_set_callback(silent->source, G_SOURCE_FUNC(peer_gone), silent,
                          NULL);
    g_source_attach(silent->source, NULL);
    return TRUE;
}

/* The machine b, with that, is on and started; look_ms is short */
static void start_with_video(Fixture *fixture, Silent *silent)
{
    g_autofree char *path = g_build_filename(fixture->directory, "vnc", NULL);
    g_autofree char *config = g_strdup_printf(
        "[machine]\ntemplate=t\n[vnc]\nunix-socket=%s\n", path);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GPtrArray) problems = g_ptr_array_new();
    g_autoptr(GError) error = NULL;

    *silent = (Silent) { .service = g_socket_service_new() };
    g_socket_listener_add_address(G_SOCKET_LISTENER(silent->service), address,
                                  G_SOCKET_TYPE_STREAM, 0, NULL, NULL, &error);
    g_assert_no_error(error);
    g_signal_connect(silent->service, "incoming", G_CALLBACK(connected),
                     silent);
    put(fixture, "machines/b.conf", config);
    gateway_free(fixture->gateway);
    fixture->gateway = gateway_new(config_load(fixture->directory, problems),
                                   problems);
    g_assert_cmpuint(problems->len, ==, 0);
    fixture->a = gateway_machine(fixture->gateway, "a");
    fixture->b = gateway_machine(fixture->gateway, "b");
    machine_times.look_ms = 1;
    /* nor does it say that there is no picture: here is no display for that */
    screen_times.message_ms = NEVER_MS;
    start(fixture);
}

/* The one who looks at a VNC server that has a picture to come */
typedef struct Viewer {
    GSocketConnection *peer;
    GSource *source;
    gsize said;                 /* in bytes */
    gboolean has_gone;
} Viewer;

static gboolean viewer_says(GObject *stream, gpointer opaque)
{
    Viewer *viewer = opaque;
    char buffer[100];
    gssize size = g_pollable_input_stream_read_nonblocking(
        G_POLLABLE_INPUT_STREAM(stream), buffer, sizeof(buffer), NULL, NULL);

    viewer->said += MAX(size, 0);
    viewer->has_gone = size <= 0;
    return !viewer->has_gone;
}

static gboolean viewer_comes(GSocketService *service, GSocketConnection *peer,
                             GObject *unused, gpointer opaque)
{
    /* version, no authentication, 64 x 48 pixels of 32 bits */
    static const char greeting[] =
        "RFB 003.008\n" "\1\1" "\0\0\0\0" "\0\100\0\60"
        "\40\30\0\1\0\377\0\377\0\377\20\10\0\0\0\0" "\0\0\0\4" "test";
    Viewer *viewer = opaque;

    if (viewer->peer) {
        return TRUE;            /* it has come back */
    }
    viewer->peer = g_object_ref(peer);
    g_output_stream_write(g_io_stream_get_output_stream(G_IO_STREAM(peer)),
                          greeting, sizeof(greeting) - 1, NULL, NULL);
    viewer->source = g_pollable_input_stream_create_source(
        G_POLLABLE_INPUT_STREAM(g_io_stream_get_input_stream(
            G_IO_STREAM(peer))), NULL);
    g_source_set_callback(viewer->source, G_SOURCE_FUNC(viewer_says), viewer,
                          NULL);
    g_source_attach(viewer->source, NULL);
    return TRUE;
}

/* One that takes no action while somebody looks: that is left before */
static void test_without_video(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GSocketService) service = g_socket_service_new();
    g_autofree char *path = g_build_filename(fixture->directory, "vnc", NULL);
    g_autofree char *config = g_strdup_printf(
        "[machine]\ntemplate=t\n[power]\nwithout-video=true\n"
        "[exec]\npower-off=sh -c \"read line <%1$s/b.go &&"
        " cp %1$s/off %1$s/b.state\"\n"
        "[vnc]\nunix-socket=%2$s\n", fixture->directory, path);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GError) error = NULL;
    Viewer viewer = { 0 };
    FakeRequest *request;

    g_socket_listener_add_address(G_SOCKET_LISTENER(service), address,
                                  G_SOCKET_TYPE_STREAM, 0, NULL, NULL, &error);
    g_assert_no_error(error);
    g_signal_connect(service, "incoming", G_CALLBACK(viewer_comes), &viewer);
    put(fixture, "machines/b.conf", config);
    load(fixture);
    start(fixture);
    fake_connect(machine_server(fixture->b));
    RUN_UNTIL(viewer.said > 30);        /* it asks for the picture */
    request = ask(fixture->b, SPICE_POWER_ACTION_OFF);
    RUN_UNTIL(viewer.has_gone);
    g_assert_false(request->done);
    g_assert_cmpuint(machine_state(fixture->b), ==, SPICE_POWER_STATE_ON);
    go(fixture, "b");
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
    g_source_unref(viewer.source);
    g_object_unref(viewer.peer);
}

static void end_video(Fixture *fixture, Silent *silent)
{
    g_clear_pointer(&fixture->gateway, gateway_free);
    RUN_UNTIL(!silent->peer && !decoder_processes);
    g_socket_service_stop(silent->service);
    g_socket_listener_close(G_SOCKET_LISTENER(silent->service));
    g_clear_object(&silent->service);
}

/* Whatever was to come of what is so now has come, when the state is known */
static void see_state_twice(Fixture *fixture)
{
    put(fixture, "a.state", "on");
    RUN_UNTIL(machine_state(fixture->a) == SPICE_POWER_STATE_ON);
    put(fixture, "a.state", "off");
    RUN_UNTIL(machine_state(fixture->a) == SPICE_POWER_STATE_OFF);
    run_what_is_due();
}

/* The source is connected to as long as somebody looks, and it is on */
static void test_viewer(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *server;
    Silent silent;

    start_with_video(fixture, &silent);
    see_state_twice(fixture);
    g_assert_cmpuint(silent.count, ==, 0);
    server = machine_server(fixture->b);
    fake_connect(server);
    RUN_UNTIL(silent.count == 1);
    put(fixture, "b.state", "off");
    RUN_UNTIL(!silent.peer);
    put(fixture, "b.state", "on");
    RUN_UNTIL(silent.count == 2);
    fake_disconnect(server);
    RUN_UNTIL(!silent.peer);

    /* it is switched on again, and nobody is there */
    put(fixture, "b.state", "off");
    RUN_UNTIL(machine_state(fixture->b) == SPICE_POWER_STATE_OFF);
    put(fixture, "b.state", "on");
    RUN_UNTIL(machine_state(fixture->b) == SPICE_POWER_STATE_ON);
    see_state_twice(fixture);
    g_assert_cmpuint(silent.count, ==, 2);

    /* one who comes while it is off */
    put(fixture, "b.state", "off");
    RUN_UNTIL(machine_state(fixture->b) == SPICE_POWER_STATE_OFF);
    fake_connect(server);
    see_state_twice(fixture);
    g_assert_cmpuint(silent.count, ==, 2);
    put(fixture, "b.state", "on");
    RUN_UNTIL(silent.count == 3);
    end_video(fixture, &silent);
}

/* Who leaves and comes back finds the connection that there was */
static void test_viewer_comes_back(Fixture *fixture, gconstpointer unused)
{
    Silent silent;
    int turn;

    start_with_video(fixture, &silent);
    machine_times.look_ms = NEVER_MS;
    for (turn = 0; turn < 3; turn++) {
        fake_connect(machine_server(fixture->b));
        RUN_UNTIL(silent.count);
        fake_disconnect(machine_server(fixture->b));
        run_what_is_due();
    }
    see_state_twice(fixture);
    g_assert_cmpuint(silent.count, ==, 1);
    g_assert_nonnull(silent.peer);
    /* the time does not outlive its server */
    machine_stop(fixture->b);
    RUN_UNTIL(!silent.peer);
    end_video(fixture, &silent);
}

/* One who only asks for actions does not look */
static void test_control_client(Fixture *fixture, gconstpointer unused)
{
    SpiceServer *server;
    Silent silent;

    start_with_video(fixture, &silent);
    server = machine_server(fixture->b);
    server->flags = SPICE_CHANNEL_EVENT_FLAG_CONTROL_ONLY;
    fake_connect(server);
    RUN_UNTIL(machine_has_clients(fixture->b));
    see_state_twice(fixture);
    g_assert_cmpuint(silent.count, ==, 0);
    fake_disconnect(server);
    server->flags = 0;
    fake_connect(server);
    RUN_UNTIL(silent.count == 1);
    end_video(fixture, &silent);
}

/* The next server begins without anybody */
static void test_source(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;
    Silent silent;

    start_with_video(fixture, &silent);
    fake_connect(machine_server(fixture->b));
    RUN_UNTIL(silent.count == 1);
    machine_stop(fixture->b);
    RUN_UNTIL(!silent.peer);
    machine_start(fixture->b, &error);
    g_assert_no_error(error);
    see_state_twice(fixture);
    g_assert_cmpuint(silent.count, ==, 1);
    fake_connect(machine_server(fixture->b));
    RUN_UNTIL(silent.count == 2);
    end_video(fixture, &silent);
}

/* ------------------------------------------------------------------------- */

/* All who wait are answered when the process ends */
static void test_end(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *of_a, *of_b;

    start(fixture);
    put(fixture, "b.state", "off");
    RUN_UNTIL(machine_state(fixture->b) == SPICE_POWER_STATE_OFF);
    of_a = ask(fixture->a, SPICE_POWER_ACTION_ON);
    of_b = ask(fixture->b, SPICE_POWER_ACTION_ON);
    gateway_end(fixture->gateway);
    g_assert_true(of_a->done);
    g_assert_true(of_b->done);
    check_request(of_a, SPICE_POWER_RESULT_FAILED, "spice-gateway is ending");
    check_request(of_b, SPICE_POWER_RESULT_FAILED, "spice-gateway is ending");
    of_a = ask(fixture->a, SPICE_POWER_ACTION_ON);
    check_request(of_a, SPICE_POWER_RESULT_FAILED, "spice-gateway is ending");
}

/* What a machine can't have is told with its file, and of all machines */
static void test_problems(Fixture *fixture, gconstpointer unused)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(Gateway) gateway = NULL;
    Config *config;

    put(fixture, "machines/a.conf",
        "[machine]\ntemplate=t\n[power]\nactions=pause\n");
    put(fixture, "machines/b.conf",
        "[machine]\ntemplate=t\n[vnc]\nhost=x\nkeyboard-layout=xx\n");
    config = config_load(fixture->directory, problems);
    g_assert_cmpuint(problems->len, ==, 0);
    gateway = gateway_new(config, problems);
    g_assert_cmpuint(problems->len, ==, 2);
    g_assert_nonnull(strstr(problems->pdata[0], "/machines/a.conf: [power]"
                            " actions: the backend has nothing for pause"));
    g_assert_nonnull(strstr(problems->pdata[1], "/machines/b.conf: [vnc]"
                            " keyboard-layout: there is no 'xx'"));
    g_assert_null(gateway_machine(gateway, "a"));
}

int main(int argc, char **argv)
{
    /* It is the process that decodes, too, as spice-gateway is */
    static const char *const decoder[] = {
        "/proc/self/exe", DECODER_OPTION, NULL
    };

    if (argc > 1 && !strcmp(argv[1], DECODER_OPTION)) {
        decoder_main();
    }
    decoder_program = decoder;
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/machine/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("two-configurations", test_two_configurations);
    ADD("two-states", test_two_states);
    ADD("two-requests", test_two_requests);
    ADD("one-ends", test_one_ends);
    ADD("no-server", test_no_server);
    ADD("attended", test_attended);
    ADD("viewer", test_viewer);
    ADD("viewer-comes-back", test_viewer_comes_back);
    ADD("control-client", test_control_client);
    ADD("source", test_source);
    ADD("without-video", test_without_video);
    ADD("end", test_end);
    ADD("problems", test_problems);
    return g_test_run();
}
