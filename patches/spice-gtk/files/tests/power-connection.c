/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Power control when the connection ends, begins anew, moves to another server, or
 * is for power control only
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "power-fixture.h"

/* The server goes away with requests pending */
static void test_disconnect(Fixture *f, gconstpointer data)
{
    GCancellable *cancellable = g_cancellable_new();
    Call first, second, third;

    call_start(&first, f, SPICE_POWER_ACTION_OFF, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_ON, cancellable);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    g_clear_pointer(&f->peer, power_peer_free);

    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    g_assert_cmpuint(first.state, ==, SPICE_POWER_STATE_UNKNOWN);
    wait_notified(f, "allowed actions state ");
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_UNKNOWN);
    g_assert_cmphex(get_actions(f), ==, 0);
    g_assert_cmphex(get_allowed(f), ==, 0);

    /* neither before nor after the end is known to the application */
    call_start(&third, f, SPICE_POWER_ACTION_OFF, NULL);
    call_assert_error(&third, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    wait_event(f, SPICE_CHANNEL_CLOSED);
    call_start(&third, f, SPICE_POWER_ACTION_OFF, NULL);
    call_assert_error(&third, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);

    g_cancellable_cancel(cancellable);
    g_object_unref(cancellable);
}

/* The result is on the wire before the connection closes */
static void test_result_then_disconnect(Fixture *f, gconstpointer data)
{
    Call call;
    guint32 id;

    call_start(&call, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, 0);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    g_clear_pointer(&f->peer, power_peer_free);
    call_assert_ok(&call);
    wait_event(f, SPICE_CHANNEL_CLOSED);
}

/* What the client has to answer on the way doesn't keep it from the result,
 * although there is nobody any more whom it could answer. */
static void test_ping_then_disconnect(Fixture *f, gconstpointer data)
{
    static const guint8 ping[12];
    Call call;
    guint32 id;

    call_start(&call, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    power_peer_send(f->peer, SPICE_MSG_PING, ping, sizeof(ping));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, 0);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    g_clear_pointer(&f->peer, power_peer_free);
    call_assert_ok(&call);
    wait_event(f, SPICE_CHANNEL_CLOSED);
}

/* The application closes the channel with requests pending */
static void test_client_disconnect(Fixture *f, gconstpointer data)
{
    Call first, second, third;

    call_start(&first, f, SPICE_POWER_ACTION_OFF, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_ON, NULL);
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    spice_channel_disconnect(SPICE_CHANNEL(f->main), SPICE_CHANNEL_NONE);
    call_start(&third, f, SPICE_POWER_ACTION_OFF, NULL);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    call_assert_error(&third, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    power_peer_assert_closed(f->peer);
}

/* The session is destroyed with requests pending */
static void test_session_disconnect(Fixture *f, gconstpointer data)
{
    Call first, second;

    call_start(&first, f, SPICE_POWER_ACTION_OFF, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_ON, NULL);
    spice_session_disconnect(f->session);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
}

/* The same channel, connected again: what came before doesn't matter */
static void test_reconnect(Fixture *f, gconstpointer data)
{
    Call first, second;
    guint32 id, next;

    call_start(&first, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    g_clear_pointer(&f->peer, power_peer_free);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    wait_notified(f, "allowed actions state ");
    wait_event(f, SPICE_CHANNEL_CLOSED);

    f_link(f, POWER_PEER_ALL_CAPS);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_ON);
    wait_notified(f, "allowed actions state ");
    call_start(&second, f, SPICE_POWER_ACTION_ON, NULL);
    next = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    g_assert_cmpuint(next, !=, id);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_FAILED, "");
    power_peer_send_result(f->peer, next, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&second);
}

/* the error that comes with the end of the channel */
static void wait_error(SpiceChannel *channel, SpiceChannelEvent event, gpointer data)
{
    GError **error = data;

    if (spice_channel_get_error(channel) && *error == NULL)
        *error = g_error_copy(spice_channel_get_error(channel));
}

/* The server says why it is going to disconnect this client, or not */
static void test_disconnect_reason(Fixture *f, gconstpointer data)
{
    static const struct {
        guint32 reason;
        gint code; /* -1: no error */
    } reasons[] = {
        { SPICE_LINK_ERR_REPLACED, SPICE_CLIENT_ERROR_REPLACED },
        { SPICE_LINK_ERR_PERMISSION_DENIED, SPICE_CLIENT_ERROR_FAILED },
        { SPICE_LINK_ERR_OK, -1 },
        { SPICE_LINK_ERR_ENUM_END, -1 },
        { 0xffffffff, -1 },
    };
    GError *error = NULL;
    int i;

    g_signal_connect(f->main, "channel-event", G_CALLBACK(wait_error), &error);
    for (i = 0; i < G_N_ELEMENTS(reasons); i++) {
        const guint32 body[] = { 0, 0, GUINT32_TO_LE(reasons[i].reason) };

        f_link(f, POWER_PEER_ALL_CAPS);
        power_peer_send(f->peer, SPICE_MSG_DISCONNECTING, body, sizeof(body));
        /* the first one counts */
        power_peer_send(f->peer, SPICE_MSG_DISCONNECTING, body, sizeof(body));
        g_clear_pointer(&f->peer, power_peer_free);
        wait_event(f, SPICE_CHANNEL_CLOSED);
        if (reasons[i].code == -1)
            g_assert_no_error(error);
        else
            g_assert_error(error, SPICE_CLIENT_ERROR, reasons[i].code);
        g_clear_error(&error);
        /* not told again with the next connection */
        g_assert_null(spice_channel_get_error(SPICE_CHANNEL(f->main)));
        f->last_event = SPICE_CHANNEL_NONE;
    }
}

static void control_open(Fixture *f)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_true(spice_session_open_fd(f->session, fds[0]));
    f->peer = power_peer_new(fds[1]);
}

static void test_control_only(Fixture *f, gconstpointer data)
{
    gboolean control_only;
    Call call;

    g_object_get(f->session, "control-only", &control_only, NULL);
    g_assert_true(control_only);
    control_open(f);
    g_assert_cmphex(power_peer_link(f->peer, POWER_PEER_ALL_CAPS |
                                    POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY),
                                    SPICE_LINK_ERR_OK) &
                    POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY), !=, 0);
    wait_event(f, SPICE_CHANNEL_OPENED);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    wait_notified(f, "allowed actions state ");
    call_start(&call, f, SPICE_POWER_ACTION_RESET, NULL);
    power_peer_send_result(f->peer,
                           power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET),
                           SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&call);
}

/* A server that offers it other channels all the same */
static void test_control_only_channels(Fixture *f, gconstpointer data)
{
    static const guint8 list[] = { 2, 0, 0, 0, SPICE_CHANNEL_DISPLAY, 0, SPICE_CHANNEL_INPUTS, 0 };
    GList *channels;

    control_open(f);
    power_peer_link(f->peer, POWER_PEER_ALL_CAPS | POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY),
                    SPICE_LINK_ERR_OK);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send(f->peer, SPICE_MSG_MAIN_CHANNELS_LIST, list, sizeof(list));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, 0);
    /* idle sources run in order: this is notified after channels would have come */
    wait_notified(f, "allowed actions state ");

    channels = spice_session_get_channels(f->session);
    g_assert_cmpuint(g_list_length(channels), ==, 1);
    g_assert_true(channels->data == f->main);
    g_list_free(channels);
}

/* It leaves before it could take anybody's place */
static void test_control_only_refused(Fixture *f, gconstpointer data)
{
    GError *error = NULL;

    g_signal_connect(f->main, "channel-event", G_CALLBACK(wait_error), &error);
    control_open(f);
    power_peer_link_refused(f->peer, POWER_PEER_ALL_CAPS);
    wait_event(f, SPICE_CHANNEL_ERROR_LINK);
    g_assert_error(error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_CONTROL_ONLY);
    g_clear_error(&error);
    g_clear_pointer(&f->peer, power_peer_free);

    f->last_event = SPICE_CHANNEL_NONE;
    control_open(f);
    power_peer_link_refused(f->peer, 0);
    wait_event(f, SPICE_CHANNEL_ERROR_LINK);
    g_assert_error(error, SPICE_POWER_ERROR, SPICE_POWER_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    g_clear_pointer(&f->peer, power_peer_free);

    /* no room */
    f->last_event = SPICE_CHANNEL_NONE;
    control_open(f);
    power_peer_link(f->peer, POWER_PEER_ALL_CAPS | POWER_PEER_CAP(SPICE_MAIN_CAP_CONTROL_ONLY),
                    SPICE_LINK_ERR_CHANNEL_NOT_AVAILABLE);
    wait_event(f, SPICE_CHANNEL_ERROR_LINK);
    g_assert_error(error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_CONTROL_ONLY);
    g_clear_error(&error);

    /* an ordinary one does not care */
    g_clear_pointer(&f->peer, power_peer_free);
    g_object_set(f->session, "control-only", FALSE, NULL);
    control_open(f);
    power_peer_link(f->peer, POWER_PEER_ALL_CAPS, SPICE_LINK_ERR_OK);
    wait_event(f, SPICE_CHANNEL_OPENED);
}

static int listen_tcp(guint16 *port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &size), ==, 0);
    *port = ntohs(addr.sin_port);

    return fd;
}

static PowerPeer *accept_tcp(int listen_fd, guint32 caps)
{
    PowerPeer *peer;
    int fd;

    power_peer_wait_fd(listen_fd);
    fd = accept(listen_fd, NULL, NULL);
    g_assert_cmpint(fd, >=, 0);
    peer = power_peer_new(fd);
    power_peer_link(peer, caps | POWER_PEER_CAP(SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE) |
                          POWER_PEER_CAP(SPICE_MAIN_CAP_SEAMLESS_MIGRATE),
                    SPICE_LINK_ERR_OK);
    return peer;
}

/* How the connection moves to another server */
typedef struct {
    gboolean seamless;
    gboolean unconnected; /* there is a channel that the application doesn't connect */
} Migration;

static void send_migrate_begin(PowerPeer *peer, guint16 port, gboolean seamless)
{
    static const gchar host[] = "127.0.0.1";
    struct SPICE_ATTR_PACKED {
        guint16 port, sport;
        guint32 host_size, host_data, cert_subject_size, cert_subject_data;
    } info = {
        .port = GUINT16_TO_LE(port),
        .host_size = GUINT32_TO_LE(sizeof(host)),
    };
    guint32 src_mig_version = 0;
    gsize size = sizeof(info) + (seamless ? sizeof(src_mig_version) : 0);
    GByteArray *msg = g_byte_array_new();

    info.host_data = GUINT32_TO_LE(size);
    g_byte_array_append(msg, (const guint8 *)&info, sizeof(info));
    if (seamless)
        g_byte_array_append(msg, (const guint8 *)&src_mig_version, sizeof(src_mig_version));
    g_byte_array_append(msg, (const guint8 *)host, sizeof(host));
    power_peer_send(peer, seamless ? SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS : SPICE_MSG_MAIN_MIGRATE_BEGIN,
                    msg->data, msg->len);
    g_byte_array_unref(msg);
}

/* The connection moves to another server, which has these capabilities */
static void migrate(Fixture *f, guint32 caps, gboolean seamless)
{
    guint32 flags = GUINT32_TO_LE(SPICE_MIGRATE_NEED_FLUSH | SPICE_MIGRATE_NEED_DATA_TRANSFER);
    Call call;
    PowerPeer *target;
    guint16 port;
    int fd;

    fd = listen_tcp(&port);
    send_migrate_begin(f->peer, port, seamless);
    target = accept_tcp(fd, caps);
    close(fd);

    if (seamless) {
        g_bytes_unref(power_peer_recv(target, SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS));
        power_peer_send(target, SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK, NULL, 0);
        g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS));
        power_peer_send(f->peer, SPICE_MSG_MIGRATE, &flags, sizeof(flags));
        g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MIGRATE_FLUSH_MARK));
        /* the source isn't told about this any more, nor is the other server */
        call_start(&call, f, SPICE_POWER_ACTION_PAUSE, NULL);
        power_peer_send(f->peer, SPICE_MSG_MIGRATE_DATA, "data", 4);
        g_bytes_unref(power_peer_recv(target, SPICE_MSGC_MIGRATE_DATA));
        call_assert_error(&call, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);
    } else {
        g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_MIGRATE_CONNECTED));
        power_peer_send(f->peer, SPICE_MSG_MAIN_MIGRATE_END, NULL, 0);
        g_bytes_unref(power_peer_recv(target, SPICE_MSGC_MAIN_MIGRATE_END));
        power_peer_send_init(target);
    }
    power_peer_assert_nothing_sent(target);
    /* it has left the source */
    power_peer_assert_closed(f->peer);
    power_peer_free(f->peer);
    f->peer = target;
}

static void test_migration(Fixture *f, gconstpointer data)
{
    const Migration *m = data;
    Call first, second;
    gchar *uri;
    guint16 port;
    guint32 id, next;
    int fd;

    fd = listen_tcp(&port);
    uri = g_strdup_printf("spice://127.0.0.1:%u", port);
    g_object_set(f->session, "uri", uri, NULL);
    g_assert_true(spice_session_connect(f->session));
    f->peer = accept_tcp(fd, POWER_PEER_ALL_CAPS);
    close(fd);
    g_free(uri);
    if (m->unconnected)
        spice_channel_new(f->session, SPICE_CHANNEL_INPUTS, 0);
    power_peer_send_init(f->peer);
    g_bytes_unref(power_peer_recv(f->peer, SPICE_MSGC_MAIN_ATTACH_CHANNELS));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_OFF);
    wait_notified(f, "allowed actions state ");

    /* no result comes any more, not even for what wasn't sent */
    call_start(&first, f, SPICE_POWER_ACTION_RESET, NULL);
    call_start(&second, f, SPICE_POWER_ACTION_OFF, NULL);
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    migrate(f, POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL) |
               POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_ON), m->seamless);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
    call_assert_error(&second, SPICE_POWER_ERROR, SPICE_POWER_ERROR_NOT_SENT);

    /* the other server's capabilities, and the same machine's state, unless
     * everything starts anew */
    wait_notified(f, "allowed actions state ");
    g_assert_cmphex(get_allowed(f), ==, m->seamless ? SPICE_POWER_ACTION_ON : 0);
    g_assert_cmphex(get_actions(f), ==, 0);
    g_assert_cmpuint(get_state(f), ==,
                     m->seamless ? SPICE_POWER_STATE_ON : SPICE_POWER_STATE_UNKNOWN);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_OFF, SPICE_POWER_ACTION_ON);
    wait_notified(f, m->seamless ? "actions state " : "allowed actions state ");

    call_start(&first, f, SPICE_POWER_ACTION_ON, NULL);
    next = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_ON);
    g_assert_cmpuint(next, !=, id);
    power_peer_send_result(f->peer, next, SPICE_POWER_RESULT_OK, "");
    call_assert_ok(&first);

    /* to a server without power control */
    migrate(f, 0, m->seamless);
    wait_notified(f, "allowed actions state ");
    g_assert_cmphex(get_allowed(f), ==, 0);
    g_assert_cmphex(get_actions(f), ==, 0);
    g_assert_cmpuint(get_state(f), ==, SPICE_POWER_STATE_UNKNOWN);
    call_start(&first, f, SPICE_POWER_ACTION_ON, NULL);
    call_assert_error(&first, SPICE_POWER_ERROR, SPICE_POWER_ERROR_UNSUPPORTED);
    power_peer_assert_nothing_sent(f->peer);
}

int main(int argc, char *argv[])
{
    static const Migration migrations[] = {
        { TRUE, FALSE }, { TRUE, TRUE }, { FALSE, FALSE }, { FALSE, TRUE },
    };
    int i;

    g_test_init(&argc, &argv, NULL);

    TEST("disconnect/server", f_setup, test_disconnect);
    TEST("disconnect/after-result", f_setup, test_result_then_disconnect);
    TEST("disconnect/after-ping", f_setup, test_ping_then_disconnect);
    TEST("disconnect/client", f_setup, test_client_disconnect);
    TEST("disconnect/session", f_setup, test_session_disconnect);
    TEST("reconnect", f_setup, test_reconnect);
    TEST("control-only", f_setup_control, test_control_only);
    TEST("control-only/channels", f_setup_control, test_control_only_channels);
    TEST("control-only/refused", f_setup_control, test_control_only_refused);
    TEST("disconnect/reason", f_setup_unlinked, test_disconnect_reason);
    for (i = 0; i < G_N_ELEMENTS(migrations); i++) {
        gchar *path = g_strdup_printf("/power/migration/%s%s",
                                      migrations[i].seamless ? "seamless" : "semi-seamless",
                                      migrations[i].unconnected ? "-unconnected" : "");

        g_test_add(path, Fixture, &migrations[i], f_setup_unlinked, test_migration, f_teardown);
        g_free(path);
    }

    return g_test_run();
}
