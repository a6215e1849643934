/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions whose server goes and comes back, or sends them to another one. It stays one file:
 * all of it is one fixture, which counts what the application is told.
 */
#include "config.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib/gstdio.h>
#include <spice/enums.h>
#include <spice/protocol.h>

#include "spice-client.h"

#include "power-peer.h"

#define MAX_EVENTS 16

typedef struct {
    int fd; /* listens, or is -1 */
    int port;
} Server;

typedef struct {
    Server server, other;
    SpiceSession *session;
    SpiceChannel *main;
    PowerPeer *peer;
    SpiceChannelEvent events[MAX_EVENTS];
    int n_events;
    GError *error; /* that of the last event */
    int waits; /* how often it has begun to wait */
    int attempts; /* that have failed since */
    int playback; /* channels that have come */
    gboolean disconnected;
} Fixture;

/* On the port that it has had, if it had one */
static void server_listen(Server *server)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(server->port),
    };
    socklen_t size = sizeof(addr);

    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)),
                    ==, 0);
    g_assert_cmpint(bind(server->fd, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(server->fd, 8), ==, 0);
    g_assert_cmpint(getsockname(server->fd, (struct sockaddr *)&addr, &size), ==, 0);
    server->port = ntohs(addr.sin_port);
}

static void server_close(Server *server)
{
    close(server->fd);
    server->fd = -1;
}

/* Wait for a client; what becomes of it is up to the caller */
static PowerPeer *server_accept(Server *server)
{
    int fd;

    power_peer_wait_fd(server->fd);
    fd = accept(server->fd, NULL, NULL);
    g_assert_cmpint(fd, >=, 0);
    return power_peer_new(fd);
}

static PowerPeer *server_let_in(Server *server)
{
    PowerPeer *peer = server_accept(server);

    power_peer_link(peer, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    power_peer_send_init(peer);
    g_bytes_unref(power_peer_recv(peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    return peer;
}

static gboolean waiting(Fixture *f)
{
    gboolean value;

    g_object_get(f->session, "waiting", &value, NULL);
    return value;
}

static void channel_event(SpiceChannel *channel, SpiceChannelEvent event, Fixture *f)
{
    const GError *error = spice_channel_get_error(channel);

    g_assert_cmpint(f->n_events, <, MAX_EVENTS);
    f->events[f->n_events++] = event;
    g_clear_error(&f->error);
    f->error = error ? g_error_copy(error) : NULL;
    if (event != SPICE_CHANNEL_SWITCHING)
        g_assert_false(waiting(f));
}

static void channel_new(SpiceSession *session, SpiceChannel *channel, Fixture *f)
{
    if (SPICE_IS_MAIN_CHANNEL(channel)) {
        f->main = channel;
        g_signal_connect(channel, "channel-event", G_CALLBACK(channel_event), f);
    } else if (SPICE_IS_PLAYBACK_CHANNEL(channel)) {
        f->playback++;
    }
}

static void waiting_changed(SpiceSession *session, GParamSpec *pspec, Fixture *f)
{
    if (waiting(f)) {
        f->waits++;
        f->attempts = 0;
    }
}

static void waiting_reason_changed(SpiceSession *session, GParamSpec *pspec, Fixture *f)
{
    gchar *reason;

    g_object_get(session, "waiting-reason", &reason, NULL);
    if (reason)
        f->attempts++;
    g_free(reason);
}

static void session_disconnected(SpiceSession *session, Fixture *f)
{
    f->disconnected = TRUE;
}

static void f_setup(Fixture *f, gconstpointer data)
{
    gchar *uri;

    server_listen(&f->server);
    server_listen(&f->other);
    uri = g_strdup_printf("spice://127.0.0.1:%d", f->server.port);
    f->session = spice_session_new();
    g_object_set(f->session, "uri", uri, "password", "secret", NULL);
    g_free(uri);
    g_signal_connect(f->session, "channel-new", G_CALLBACK(channel_new), f);
    g_signal_connect(f->session, "notify::waiting", G_CALLBACK(waiting_changed), f);
    g_signal_connect(f->session, "notify::waiting-reason", G_CALLBACK(waiting_reason_changed), f);
    g_signal_connect(f->session, "disconnected", G_CALLBACK(session_disconnected), f);
}

static void f_teardown(Fixture *f, gconstpointer data)
{
    g_object_add_weak_pointer(G_OBJECT(f->session), (gpointer *)&f->session);
    spice_session_disconnect(f->session);
    g_object_unref(f->session);
    while (f->session)
        g_main_context_iteration(NULL, TRUE);
    g_clear_pointer(&f->peer, power_peer_free);
    g_clear_error(&f->error);
    if (f->server.fd >= 0)
        server_close(&f->server);
    if (f->other.fd >= 0)
        server_close(&f->other);
}

static void begin(Fixture *f, gboolean reconnect)
{
    g_object_set(f->session, "reconnect", reconnect, NULL);
    g_assert_true(spice_session_connect(f->session));
    f->peer = server_let_in(&f->server);
    g_assert_cmpint(f->n_events, ==, 1);
    g_assert_cmpint(f->events[0], ==, SPICE_CHANNEL_OPENED);
}

static void server_ends(Fixture *f)
{
    g_clear_pointer(&f->peer, power_peer_free);
}

static void wait_events(Fixture *f, int number)
{
    while (f->n_events < number)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpint(f->n_events, ==, number);
}

static void wait_waiting(Fixture *f)
{
    while (!waiting(f))
        g_main_context_iteration(NULL, TRUE);
}

static void wait_attempts(Fixture *f, int number)
{
    while (f->attempts < number)
        g_main_context_iteration(NULL, TRUE);
}

/* All that there is to do now is done; for what must not happen */
static void settle(void)
{
    gint64 end = g_get_monotonic_time() + G_USEC_PER_SEC / 2;

    while (g_get_monotonic_time() < end) {
        g_main_context_iteration(NULL, FALSE);
        g_usleep(1000);
    }
}

static void assert_no_client(Server *server)
{
    GPollFD poll = { .fd = server->fd, .events = G_IO_IN };

    settle();
    g_assert_cmpint(g_poll(&poll, 1, 0), ==, 0);
}

static void send_switch_host(Fixture *f, const char *host, int port)
{
    struct {
        guint16 port, tls_port;
        guint32 host_size, host_offset, subject_size, subject_offset;
        char host[32];
    } message = {
        .port = GUINT16_TO_LE(port),
        .host_size = GUINT32_TO_LE(strlen(host) + 1),
        .host_offset = GUINT32_TO_LE(G_STRUCT_OFFSET(typeof(message), host)),
    };

    /* as it is on the wire: nothing has to be aligned */
    G_STATIC_ASSERT(G_STRUCT_OFFSET(typeof(message), host) == 20);
    g_strlcpy(message.host, host, sizeof(message.host));
    power_peer_send(f->peer, SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST, &message, 20 + strlen(host) + 1);
}

/* Without the option it is as it was */
static void test_off(Fixture *f, gconstpointer data)
{
    begin(f, FALSE);
    server_ends(f);
    wait_events(f, 2);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_CLOSED);
    assert_no_client(&f->server);
    g_assert_cmpint(f->waits, ==, 0);
}

/* A server that is there again at once */
static void test_at_once(Fixture *f, gconstpointer data)
{
    gint64 start;
    gchar *password;

    begin(f, TRUE);
    start = g_get_monotonic_time();
    server_ends(f);
    f->peer = server_let_in(&f->server);
    wait_events(f, 2);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_OPENED);
    g_assert_cmpint(f->waits, ==, 1);
    g_assert_cmpint(f->attempts, ==, 0);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 5 * G_USEC_PER_SEC);
    g_object_get(f->session, "password", &password, NULL);
    g_assert_cmpstr(password, ==, "secret");
    g_free(password);
}

/* One that takes longer */
static void test_later(Fixture *f, gconstpointer data)
{
    gchar *reason;

    begin(f, TRUE);
    server_close(&f->server);
    server_ends(f);
    wait_waiting(f);
    wait_attempts(f, 4);
    g_object_get(f->session, "waiting-reason", &reason, NULL);
    g_assert_nonnull(strstr(reason, "onnection refused"));
    g_free(reason);
    server_listen(&f->server);
    f->peer = server_let_in(&f->server);
    wait_events(f, 2);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_OPENED);
    g_object_get(f->session, "waiting-reason", &reason, NULL);
    g_assert_null(reason);
}

/* What a proxy does whose server is away; and a server that is about to end */
static void test_closes(Fixture *f, gconstpointer data)
{
    int i;

    begin(f, TRUE);
    server_ends(f);
    for (i = 0; i < 3; i++) {
        g_test_expect_message("GSpice", G_LOG_LEVEL_WARNING, "incomplete link header*");
        power_peer_free(server_accept(&f->server));
    }
    f->peer = server_let_in(&f->server);
    g_test_assert_expected_messages();
    wait_events(f, 2);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_OPENED);
}

/* Another password is another matter */
static void test_password(Fixture *f, gconstpointer data)
{
    begin(f, TRUE);
    server_ends(f);
    f->peer = server_accept(&f->server);
    power_peer_link(f->peer, 0, SPICE_LINK_ERR_PERMISSION_DENIED);
    wait_events(f, 2);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_ERROR_AUTH);
    g_assert_error(f->error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_AUTH_NEEDS_PASSWORD);
    assert_no_client(&f->server);

    /* the user has typed it */
    power_peer_free(f->peer);
    g_assert_true(spice_session_connect(f->session));
    f->peer = server_let_in(&f->server);
    wait_events(f, 3);
    g_assert_cmpint(f->events[2], ==, SPICE_CHANNEL_OPENED);
}

/* The server says why: two clients would throw each other out for ever */
static void test_replaced(Fixture *f, gconstpointer data)
{
    /* a time stamp, and the reason */
    static const guint8 message[8 + 4] = { [8] = SPICE_LINK_ERR_REPLACED };

    begin(f, TRUE);
    power_peer_send(f->peer, SPICE_MSG_DISCONNECTING, message, sizeof(message));
    server_ends(f);
    wait_events(f, 2);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_CLOSED);
    g_assert_error(f->error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_REPLACED);
    assert_no_client(&f->server);
    g_assert_cmpint(f->waits, ==, 0);
}

/* It does not say why, but does it over and over */
static void test_unwanted(Fixture *f, gconstpointer data)
{
    begin(f, TRUE);
    server_ends(f);
    f->peer = server_let_in(&f->server);
    server_ends(f);
    f->peer = server_let_in(&f->server);
    server_ends(f);
    wait_events(f, 4);
    g_assert_cmpint(f->events[3], ==, SPICE_CHANNEL_CLOSED);
    g_assert_error(f->error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_FAILED);
    assert_no_client(&f->server);
}

static void send_uuid(Fixture *f, guint8 first)
{
    guint8 uuid[16] = { first };

    power_peer_send(f->peer, SPICE_MSG_MAIN_UUID, uuid, sizeof(uuid));
}

/* The same address may be that of another machine */
static void test_other_machine(Fixture *f, gconstpointer data)
{
    begin(f, TRUE);
    send_uuid(f, 1);
    server_ends(f);
    /* one that does not say which machine it has, and then the one that has said it */
    f->peer = server_let_in(&f->server);
    send_uuid(f, GPOINTER_TO_INT(data));
    power_peer_assert_nothing_sent(f->peer);
    server_ends(f);
    f->peer = server_let_in(&f->server);
    wait_events(f, 3);
    send_uuid(f, 2);
    wait_events(f, 4);
    g_assert_cmpint(f->events[3], ==, SPICE_CHANNEL_CLOSED);
    g_assert_error(f->error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_FAILED);
    g_assert_nonnull(strstr(f->error->message, "another machine"));
    assert_no_client(&f->server);
}

/* The first connection is not one that was lost */
static void test_never_there(Fixture *f, gconstpointer data)
{
    server_close(&f->server);
    g_object_set(f->session, "reconnect", TRUE, NULL);
    g_assert_true(spice_session_connect(f->session));
    wait_events(f, 1);
    g_assert_cmpint(f->events[0], ==, SPICE_CHANNEL_ERROR_CONNECT);
    g_assert_error(f->error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED);
    g_assert_cmpint(f->waits, ==, 0);
}

/* The user does not want to wait */
static void test_user_disconnects(Fixture *f, gconstpointer data)
{
    begin(f, TRUE);
    if (data) {
        server_close(&f->server);
        server_ends(f);
        wait_attempts(f, 1);
        server_listen(&f->server);
    }
    spice_session_disconnect(f->session);
    while (!f->disconnected)
        g_main_context_iteration(NULL, TRUE);
    g_assert_false(waiting(f));
    assert_no_client(&f->server);
    /* that it is closed, if it was open */
    g_assert_cmpint(f->n_events, ==, data ? 1 : 2);
}

static void test_application_disconnects(Fixture *f, gconstpointer data)
{
    begin(f, TRUE);
    spice_channel_disconnect(f->main, SPICE_CHANNEL_NONE);
    wait_events(f, 2);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_CLOSED);
    assert_no_client(&f->server);
    g_assert_cmpint(f->waits, ==, 0);
}

/* Other channels go, and come again */
static void test_channels(Fixture *f, gconstpointer data)
{
    static const guint8 list[] = { 1, 0, 0, 0, SPICE_CHANNEL_PLAYBACK, 0 };

    begin(f, TRUE);
    power_peer_send(f->peer, SPICE_MSG_MAIN_CHANNELS_LIST, list, sizeof(list));
    while (f->playback < 1)
        g_main_context_iteration(NULL, TRUE);
    g_assert_true(spice_session_has_channel_type(f->session, SPICE_CHANNEL_PLAYBACK));
    server_ends(f);
    wait_waiting(f);
    g_assert_false(spice_session_has_channel_type(f->session, SPICE_CHANNEL_PLAYBACK));
    f->peer = server_let_in(&f->server);
    power_peer_send(f->peer, SPICE_MSG_MAIN_CHANNELS_LIST, list, sizeof(list));
    while (f->playback < 2)
        g_main_context_iteration(NULL, TRUE);
}

static void check_switch(Fixture *f)
{
    f->peer = server_let_in(&f->other);
    wait_events(f, 3);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_SWITCHING);
    g_assert_cmpint(f->events[2], ==, SPICE_CHANNEL_OPENED);
}

/* A server that ends as soon as it has sent its client to another one */
static void test_switch_and_end(Fixture *f, gconstpointer data)
{
    begin(f, GPOINTER_TO_INT(data));
    send_switch_host(f, "127.0.0.1", f->other.port);
    server_ends(f);
    check_switch(f);
    g_assert_cmpint(f->waits, ==, 0);
}

/* The other one is a little late */
static void test_switch_later(Fixture *f, gconstpointer data)
{
    PowerPeer *old;

    begin(f, FALSE);
    server_close(&f->other);
    send_switch_host(f, "127.0.0.1", f->other.port);
    old = g_steal_pointer(&f->peer);
    wait_waiting(f);
    wait_attempts(f, 3);
    server_listen(&f->other);
    check_switch(f);
    power_peer_free(old);
    g_assert_cmpint(f->waits, ==, 1);
    assert_no_client(&f->server);
}

/* It never comes */
static void test_switch_never(Fixture *f, gconstpointer data)
{
    begin(f, FALSE);
    server_close(&f->other);
    send_switch_host(f, "127.0.0.1", f->other.port);
    server_ends(f);
    wait_events(f, 3);
    g_assert_cmpint(f->events[1], ==, SPICE_CHANNEL_SWITCHING);
    g_assert_cmpint(f->events[2], ==, SPICE_CHANNEL_ERROR_CONNECT);
    g_assert_error(f->error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED);
    g_assert_cmpint(f->attempts, >, 4);
}

/* The other one goes, and the first one knows what has become of it */
static void test_switch_and_back(Fixture *f, gconstpointer data)
{
    begin(f, TRUE);
    send_switch_host(f, "127.0.0.1", f->other.port);
    server_ends(f);
    check_switch(f);
    server_close(&f->other);
    server_ends(f);
    f->peer = server_let_in(&f->server);
    wait_events(f, 4);
    g_assert_cmpint(f->events[3], ==, SPICE_CHANNEL_OPENED);
    g_assert_cmpint(f->waits, ==, 1);

    /* and again */
    server_listen(&f->other);
    send_switch_host(f, "127.0.0.1", f->other.port);
    server_ends(f);
    f->peer = server_let_in(&f->other);
    wait_events(f, 6);
    /* as after a migration: now the first one is no more */
    server_close(&f->server);
    server_ends(f);
    f->peer = server_let_in(&f->other);
    wait_events(f, 7);
    g_assert_cmpint(f->events[6], ==, SPICE_CHANNEL_OPENED);
}

typedef struct {
    gboolean done, ok;
    GError *error;
} Request;

static void request_done(GObject *source, GAsyncResult *result, gpointer data)
{
    Request *request = data;

    request->ok = spice_main_channel_power_finish(SPICE_MAIN_CHANNEL(source), result,
                                                  &request->error);
    request->done = TRUE;
}

/* What was asked for, and not answered, the other one is asked for, in order */
static void test_switch_requests(Fixture *f, gconstpointer data)
{
    Request pause = { 0 }, reset = { 0 };
    guint32 id;

    begin(f, FALSE);
    spice_main_channel_power_async(SPICE_MAIN_CHANNEL(f->main), SPICE_POWER_ACTION_PAUSE, NULL,
                                   request_done, &pause);
    spice_main_channel_power_async(SPICE_MAIN_CHANNEL(f->main), SPICE_POWER_ACTION_RESET, NULL,
                                   request_done, &reset);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_PAUSE);
    send_switch_host(f, "127.0.0.1", f->other.port);
    server_ends(f);
    check_switch(f);
    g_assert_false(pause.done);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_PAUSE);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    g_assert_true(pause.done && pause.ok);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_BUSY, "not now");
    while (!reset.done)
        g_main_context_iteration(NULL, TRUE);
    g_assert_error(reset.error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_BUSY);
    g_error_free(reset.error);
}

/* And if it never comes, they have not been sent */
static void test_switch_requests_never(Fixture *f, gconstpointer data)
{
    Request pause = { 0 };

    begin(f, FALSE);
    spice_main_channel_power_async(SPICE_MAIN_CHANNEL(f->main), SPICE_POWER_ACTION_PAUSE, NULL,
                                   request_done, &pause);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_PAUSE);
    server_close(&f->other);
    send_switch_host(f, "127.0.0.1", f->other.port);
    server_ends(f);
    if (GPOINTER_TO_INT(data)) {
        /* the user does not wait for that */
        wait_waiting(f);
        g_assert_false(pause.done);
        spice_session_disconnect(f->session);
    }
    while (!pause.done)
        g_main_context_iteration(NULL, TRUE);
    g_assert_error(pause.error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    g_error_free(pause.error);
}

/* A client of a UNIX socket is sent to a host, and does not come back */
static void test_switch_from_unix(Fixture *f, gconstpointer data)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    gchar *dir = g_dir_make_tmp("spice-gtk-XXXXXX", NULL);
    gchar *path = g_build_filename(dir, "socket", NULL);
    Server server = { .fd = socket(AF_UNIX, SOCK_STREAM, 0) };
    gchar *host, *unix_path;

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(server.fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(server.fd, 8), ==, 0);
    g_object_set(f->session, "host", NULL, "port", NULL, "unix-path", path, NULL);
    g_assert_true(spice_session_connect(f->session));
    f->peer = server_let_in(&server);
    send_switch_host(f, "127.0.0.1", f->other.port);
    server_ends(f);
    check_switch(f);
    g_object_get(f->session, "host", &host, "unix-path", &unix_path, NULL);
    g_assert_cmpstr(host, ==, "127.0.0.1");
    g_assert_null(unix_path);
    g_free(host);

    server_close(&server);
    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, data, function) \
    g_test_add("/reconnect/" name, Fixture, data, f_setup, function, f_teardown)
    ADD("off", NULL, test_off);
    ADD("at-once", NULL, test_at_once);
    ADD("later", NULL, test_later);
    ADD("closes", NULL, test_closes);
    ADD("password", NULL, test_password);
    ADD("replaced", NULL, test_replaced);
    ADD("unwanted", NULL, test_unwanted);
    ADD("other-machine/same-first", GINT_TO_POINTER(1), test_other_machine);
    ADD("other-machine/unknown-first", GINT_TO_POINTER(0), test_other_machine);
    ADD("never-there", NULL, test_never_there);
    ADD("user-disconnects/connected", NULL, test_user_disconnects);
    ADD("user-disconnects/waiting", GINT_TO_POINTER(TRUE), test_user_disconnects);
    ADD("application-disconnects", NULL, test_application_disconnects);
    ADD("channels", NULL, test_channels);
    ADD("switch/and-end", GINT_TO_POINTER(FALSE), test_switch_and_end);
    ADD("switch/and-end/reconnect", GINT_TO_POINTER(TRUE), test_switch_and_end);
    ADD("switch/later", NULL, test_switch_later);
    ADD("switch/never", NULL, test_switch_never);
    ADD("switch/and-back", NULL, test_switch_and_back);
    ADD("switch/requests", NULL, test_switch_requests);
    ADD("switch/requests/never", NULL, test_switch_requests_never);
    ADD("switch/requests/disconnected", GINT_TO_POINTER(TRUE), test_switch_requests_never);
    ADD("switch/from-unix", NULL, test_switch_from_unix);
    return g_test_run();
}
