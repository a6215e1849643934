/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz spice-gtk's main channel, alive: a session whose servers, the one that
 * it is opened with and the one that it migrates to, send what the input says,
 * and which asks for actions and cancels them when the input says so.
 *
 * No connection leaves the process: what would connect to a host gets a socket
 * pair.
 */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gio/gio.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <spice-client.h>
#include <spice/protocol.h>

#include "input.h"

#define N_PEERS 2
#define N_CALLS 64

/* A server. */
typedef struct Peer {
    int fd;
    gboolean full_header;
    /* of what the client has sent, what is not a whole message yet */
    GByteArray *in;
    /* of what it was sent, the same */
    GByteArray *out;
    gboolean linked;
    gboolean link_sent;
} Peer;

/* A spice_main_channel_power_async() */
typedef struct Call {
    GCancellable *cancellable;
    gboolean done;
} Call;

static const int messages_of_actions[] = {
    SPICE_MSGC_MAIN_POWER_RESET, SPICE_MSGC_MAIN_POWER_OFF, SPICE_MSGC_MAIN_POWER_ON,
    SPICE_MSGC_MAIN_POWER_PAUSE, SPICE_MSGC_MAIN_POWER_CONTINUE,
};

static SpiceSession *session;
static SpiceMainChannel *channel;
static Peer peers[N_PEERS];
static Call calls[N_CALLS];
static unsigned int n_calls, n_done;
static gboolean refuse_connections;
/* the request that was seen last */
static guint32 last_id;
static gboolean in_call;
/* the session is for control only; and the server knows of such */
static gboolean control_only, knows_control_only;

static void pump(void)
{
    unsigned int n = 0;

    while (g_main_context_iteration(NULL, FALSE)) {
        CHECK(n++ < 100000);
    }
}

/* --- servers -------------------------------------------------------------- */

static int peer_open(Peer *peer)
{
    int sv[2];

    if (peer->fd >= 0) {
        close(peer->fd);
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
    peer->fd = sv[1];
    peer->linked = FALSE;
    peer->link_sent = FALSE;
    g_byte_array_set_size(peer->in, 0);
    g_byte_array_set_size(peer->out, 0);
    return sv[0];
}

static void peer_close(Peer *peer)
{
    if (peer->fd >= 0) {
        close(peer->fd);
        peer->fd = -1;
    }
}

/* What spice-gtk has trouble with although it has nothing to do with power
 * control, and what would keep the fuzzer from finding anything else: sizes
 * that can't be allocated, lists of messages (their offsets are not checked),
 * the guest agent's data (its lengths are not), and channels to wait for (for
 * ever, even when the session ends). */
static gboolean known_trouble(guint16 type, guint32 size, guint32 sub_list)
{
    return size > 0x1000000 || sub_list != 0 || type == SPICE_MSG_LIST ||
           type == SPICE_MSG_WAIT_FOR_CHANNELS || type == SPICE_MSG_MAIN_AGENT_DATA;
}

/* Follow the messages in what is sent; returns whether it may be. */
static gboolean follow_sent(Peer *peer, const void *data, size_t size)
{
    const size_t header_size =
        peer->full_header ? sizeof(SpiceDataHeader) : sizeof(SpiceMiniDataHeader);
    const size_t type_pos = peer->full_header ? 8 : 0;

    g_byte_array_append(peer->out, data, size);
    while (peer->out->len >= header_size) {
        guint16 type;
        guint32 body_size, sub_list = 0;

        memcpy(&type, peer->out->data + type_pos, sizeof(type));
        memcpy(&body_size, peer->out->data + type_pos + 2, sizeof(body_size));
        body_size = GUINT32_FROM_LE(body_size);
        if (peer->full_header) {
            memcpy(&sub_list, peer->out->data + type_pos + 6, sizeof(sub_list));
        }
        if (known_trouble(GUINT16_FROM_LE(type), body_size, sub_list)) {
            return FALSE;
        }
        if (peer->out->len - header_size < body_size) {
            break;
        }
        g_byte_array_remove_range(peer->out, 0, header_size + body_size);
    }
    return TRUE;
}

static void peer_send_bytes(Peer *peer, const void *data, size_t size)
{
    if (peer->fd < 0) {
        return;
    }
    if (peer->link_sent && !follow_sent(peer, data, size)) {
        peer_close(peer);
        return;
    }
    send(peer->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void peer_send_sized(Peer *peer, guint16 type, const void *data, size_t size,
                            guint32 said_size)
{
    SpiceDataHeader full = {
        GUINT64_TO_LE(1), GUINT16_TO_LE(type), GUINT32_TO_LE(said_size), 0
    };
    SpiceMiniDataHeader mini = { GUINT16_TO_LE(type), GUINT32_TO_LE(said_size) };
    GByteArray *out = g_byte_array_new();

    if (peer->full_header) {
        g_byte_array_append(out, (guint8 *)&full, sizeof(full));
    } else {
        g_byte_array_append(out, (guint8 *)&mini, sizeof(mini));
    }
    g_byte_array_append(out, data, size);
    peer_send_bytes(peer, out->data, out->len);
    g_byte_array_unref(out);
}

static void peer_send(Peer *peer, guint16 type, const void *data, size_t size)
{
    peer_send_sized(peer, type, data, size, size);
}

static void append_u32(GByteArray *out, guint32 value)
{
    value = GUINT32_TO_LE(value);
    g_byte_array_append(out, (guint8 *)&value, sizeof(value));
}

static void peer_send_array(Peer *peer, guint16 type, GByteArray *body)
{
    peer_send(peer, type, body->data, body->len);
    g_byte_array_unref(body);
}

/* All that a server says until the link is there: it need not look at what the
 * client says meanwhile. */
static void peer_link(Peer *peer, guint32 common_caps, guint32 caps)
{
    static EVP_PKEY *key;
    guint8 *pub_key;
    SpiceLinkHeader header;
    SpiceLinkReply reply = {
        .error = GUINT32_TO_LE(SPICE_LINK_ERR_OK),
        .num_common_caps = GUINT32_TO_LE(1),
        .num_channel_caps = GUINT32_TO_LE(1),
        .caps_offset = GUINT32_TO_LE(sizeof(reply)),
    };
    guint32 rest[3] = {
        GUINT32_TO_LE(common_caps), GUINT32_TO_LE(caps), GUINT32_TO_LE(SPICE_LINK_ERR_OK)
    };

    if (peer->link_sent) {
        return;
    }
    if (key == NULL) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);

        CHECK(EVP_PKEY_keygen_init(ctx) > 0);
        CHECK(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, SPICE_TICKET_KEY_PAIR_LENGTH) > 0);
        CHECK(EVP_PKEY_keygen(ctx, &key) > 0);
        EVP_PKEY_CTX_free(ctx);
    }
    header = (SpiceLinkHeader) {
        .magic = SPICE_MAGIC,
        .major_version = GUINT32_TO_LE(SPICE_VERSION_MAJOR),
        .minor_version = GUINT32_TO_LE(SPICE_VERSION_MINOR),
        .size = GUINT32_TO_LE(sizeof(reply) + 8),
    };
    pub_key = reply.pub_key;
    CHECK(i2d_PUBKEY(key, NULL) == SPICE_TICKET_PUBKEY_BYTES);
    i2d_PUBKEY(key, &pub_key);
    peer->full_header = !(common_caps & 1 << SPICE_COMMON_CAP_MINI_HEADER);
    peer_send_bytes(peer, &header, sizeof(header));
    peer_send_bytes(peer, &reply, sizeof(reply));
    peer_send_bytes(peer, rest, sizeof(rest));
    peer->link_sent = TRUE;
}

static void peer_send_init(Peer *peer)
{
    static const guint32 values[] = {
        1, 1, SPICE_MOUSE_MODE_CLIENT, SPICE_MOUSE_MODE_CLIENT, 0, 0, 0, 0
    };
    GByteArray *body = g_byte_array_new();
    int i;

    for (i = 0; i < G_N_ELEMENTS(values); i++) {
        append_u32(body, values[i]);
    }
    peer_send_array(peer, SPICE_MSG_MAIN_INIT, body);
}

/* Where to go, or nearly: texts are where the message says that they are. */
static void peer_send_migrate(Peer *peer, guint16 type, unsigned int flags)
{
    static const char host[] = "localhost";
    static const char subject[] = "CN=x";
    GByteArray *body = g_byte_array_new();
    guint16 port = GUINT16_TO_LE(5900);
    guint16 secure_port = 0;
    guint32 at = type == SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS ? 24 : 20;

    g_byte_array_append(body, (guint8 *)&port, sizeof(port));
    g_byte_array_append(body, (guint8 *)&secure_port, sizeof(secure_port));
    append_u32(body, sizeof(host));
    append_u32(body, flags & 2 ? 0 : at);
    append_u32(body, flags & 4 ? sizeof(subject) : 0);
    append_u32(body, flags & 8 ? at + sizeof(host) : 0);
    if (type == SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS) {
        append_u32(body, flags & 1);
    }
    g_byte_array_append(body, (guint8 *)host, sizeof(host));
    g_byte_array_append(body, (guint8 *)subject, sizeof(subject));
    peer_send_array(peer, type, body);
}

/* Read what the client sent. After the link, its messages. */
static void peer_receive(Peer *peer)
{
    guint8 buf[4096];
    gssize len;

    if (peer->fd < 0) {
        return;
    }
    while ((len = recv(peer->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        g_byte_array_append(peer->in, buf, len);
    }
    if (!peer->linked) {
        SpiceLinkHeader header;
        size_t size;

        if (peer->in->len < sizeof(header)) {
            return;
        }
        memcpy(&header, peer->in->data, sizeof(header));
        size = sizeof(header) + GUINT32_FROM_LE(header.size) + sizeof(SpiceLinkAuthMechanism) +
               sizeof(SpiceLinkEncryptedTicket);
        CHECK(header.magic == SPICE_MAGIC && size < 4096);
        if (peer->in->len < size) {
            return;
        }
        g_byte_array_remove_range(peer->in, 0, size);
        peer->linked = TRUE;
    }
    for (;;) {
        const size_t header_size =
            peer->full_header ? sizeof(SpiceDataHeader) : sizeof(SpiceMiniDataHeader);
        const size_t type_pos = peer->full_header ? 8 : 0;
        guint16 type;
        guint32 size;
        int i;

        if (peer->in->len < header_size) {
            return;
        }
        memcpy(&type, peer->in->data + type_pos, sizeof(type));
        memcpy(&size, peer->in->data + type_pos + 2, sizeof(size));
        type = GUINT16_FROM_LE(type);
        size = GUINT32_FROM_LE(size);
        if (peer->in->len - header_size < size) {
            return;
        }
        for (i = 0; i < G_N_ELEMENTS(messages_of_actions); i++) {
            if (type == messages_of_actions[i]) {
                CHECK(size == sizeof(last_id));
                memcpy(&last_id, peer->in->data + header_size, sizeof(last_id));
                last_id = GUINT32_FROM_LE(last_id);
            }
        }
        g_byte_array_remove_range(peer->in, 0, header_size + size);
    }
}

/* --- in place of the network ---------------------------------------------- */

void g_socket_client_connect_async(GSocketClient *client, GSocketConnectable *connectable,
                                   GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer data)
{
    GTask *task = g_task_new(client, cancellable, callback, data);

    if (refuse_connections) {
        g_task_return_new_error(task, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED, "refused");
    } else {
        GSocket *socket = g_socket_new_from_fd(peer_open(&peers[1]), NULL);

        CHECK(socket != NULL);
        g_task_return_pointer(task, g_socket_connection_factory_create_connection(socket),
                              g_object_unref);
        g_object_unref(socket);
    }
    g_object_unref(task);
}

GSocketConnection *g_socket_client_connect_finish(GSocketClient *client, GAsyncResult *result,
                                                  GError **error)
{
    return g_task_propagate_pointer(G_TASK(result), error);
}

void g_resolver_lookup_by_name_async(GResolver *resolver, const gchar *hostname,
                                     GCancellable *cancellable, GAsyncReadyCallback callback,
                                     gpointer data)
{
    CHECK(!"nothing is looked up");
}

/* --- the client ----------------------------------------------------------- */

static void check_properties(void)
{
    SpicePowerState state;
    SpicePowerAction actions, allowed;

    g_object_get(channel, "power-state", &state, "power-actions", &actions,
                 "power-allowed", &allowed, NULL);
    CHECK(state < SPICE_POWER_STATE_ENUM_END);
    CHECK((actions & ~allowed) == 0);
    CHECK((allowed & ~SPICE_POWER_ACTION_MASK) == 0);
}

static void call_done(GObject *source, GAsyncResult *result, gpointer data)
{
    Call *call = data;
    GError *error = NULL;
    gboolean ok;

    CHECK(!in_call);
    CHECK(!call->done);
    call->done = TRUE;
    n_done++;
    ok = spice_main_channel_power_finish(SPICE_MAIN_CHANNEL(source), result, &error);
    CHECK(ok == (error == NULL));
    if (error) {
        CHECK(error->domain == SPICE_POWER_ERROR || error->domain == G_IO_ERROR ||
              error->domain == SPICE_CLIENT_ERROR);
        CHECK(error->message && *error->message);
        CHECK(strlen(error->message) <= 1024);
        CHECK(g_utf8_validate(error->message, -1, NULL));
        if (error->domain == SPICE_POWER_ERROR) {
            CHECK(error->code >= SPICE_POWER_ERROR_DENIED &&
                  error->code <= SPICE_POWER_ERROR_OUTCOME_UNKNOWN);
        }
        g_clear_error(&error);
    }
    g_clear_object(&call->cancellable);
    if (channel) {
        check_properties();
    }
}

static void start_call(unsigned int flags)
{
    Call *call = &calls[n_calls];

    if (n_calls == N_CALLS) {
        return;
    }
    n_calls++;
    *call = (Call) { 0 };
    if (flags & 0x80) {
        call->cancellable = g_cancellable_new();
        if (flags & 0x40) {
            g_cancellable_cancel(call->cancellable);
        }
    }
    in_call = TRUE;
    spice_main_channel_power_async(channel, 1 << flags % 8 % 5, call->cancellable, call_done,
                                   call);
    in_call = FALSE;
}

static void notified(GObject *object, GParamSpec *pspec, gpointer data)
{
    if (g_str_has_prefix(pspec->name, "power-")) {
        check_properties();
    }
}

/* What it says of an end is said once, and is a text for a person. */
static void channel_event(SpiceChannel *from, SpiceChannelEvent event, gpointer data)
{
    const GError *error = spice_channel_get_error(from);

    CHECK(error == NULL || (error->message && *error->message));
    if (event == SPICE_CHANNEL_OPENED) {
        CHECK(error == NULL);
    }
}

static void channel_new(SpiceSession *from, SpiceChannel *new_channel, gpointer data)
{
    if (SPICE_IS_MAIN_CHANNEL(new_channel) && channel == NULL) {
        channel = g_object_ref(SPICE_MAIN_CHANNEL(new_channel));
        g_signal_connect(channel, "notify", G_CALLBACK(notified), NULL);
        g_signal_connect(channel, "channel-event", G_CALLBACK(channel_event), NULL);
    }
}

static guint32 get_caps(unsigned int choice)
{
    const guint32 all = 1 << SPICE_MAIN_CAP_POWER_CONTROL | 1 << SPICE_MAIN_CAP_POWER_RESET |
                        1 << SPICE_MAIN_CAP_POWER_OFF | 1 << SPICE_MAIN_CAP_POWER_ON |
                        1 << SPICE_MAIN_CAP_POWER_PAUSE | 1 << SPICE_MAIN_CAP_POWER_CONTINUE |
                        (knows_control_only ? 1 << SPICE_MAIN_CAP_CONTROL_ONLY : 0);

    /* most have all */
    return choice & 1 ? choice >> 1 : all | 1 << SPICE_MAIN_CAP_SEMI_SEAMLESS_MIGRATE |
                                      1 << SPICE_MAIN_CAP_SEAMLESS_MIGRATE;
}

static void link_and_init(Peer *peer, unsigned int flags, guint32 caps)
{
    peer_link(peer,
              1 << SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION | 1 << SPICE_COMMON_CAP_AUTH_SPICE |
              (flags & 0x80 ? 0 : 1 << SPICE_COMMON_CAP_MINI_HEADER), caps);
    pump();
    peer_receive(peer);
    if (!(flags & 0x40)) {
        peer_send_init(peer);
    }
}

/* a step does not run the main loop afterwards if it has this */
#define STEP_NO_PUMP 0x80

static void step(unsigned int what, Input *in)
{
    guint8 n = input_u8(in);
    Peer *peer = &peers[n & 1];
    const guint8 *bytes;
    size_t size;
    GByteArray *body;

    switch (what % 16) {
    case 0:
        body = g_byte_array_new();
        n = input_u8(in);
        g_byte_array_append(body, &n, 1);
        append_u32(body, input_u32(in));
        append_u32(body, input_u32(in));
        peer_send_array(peer, SPICE_MSG_MAIN_POWER_STATE, body);
        break;
    case 1: /* a result: of what was asked, or nearly; with a length that fits, or nearly */
    case 2:
        peer_receive(peer);
        body = g_byte_array_new();
        append_u32(body, last_id + (gint8)(what % 16 == 1 ? 0 : input_u8(in)));
        n = input_u8(in);
        g_byte_array_append(body, &n, 1);
        size = input_bytes(in, &bytes);
        append_u32(body, size + (what % 16 == 1 ? 0 : (gint32)input_u32(in)));
        g_byte_array_append(body, bytes, size);
        peer_send_array(peer, SPICE_MSG_MAIN_POWER_RESULT, body);
        break;
    case 3: /* any message */
        size = input_bytes(in, &bytes);
        peer_send(peer, input_u8(in) | (n & 0x80) << 1, bytes, size);
        break;
    case 4: /* one of a size that it does not have */
        size = input_bytes(in, &bytes);
        peer_send_sized(peer, input_u8(in), bytes, size, input_u32(in));
        break;
    case 5: /* anything */
        size = input_bytes(in, &bytes);
        peer_send_bytes(peer, bytes, size);
        break;
    case 6:
        start_call(n);
        break;
    case 7: /* the server is going to close the connection, for a reason */
        body = g_byte_array_new();
        append_u32(body, 0);
        append_u32(body, 0);
        append_u32(body, n >> 1);
        peer_send_array(peer, SPICE_MSG_DISCONNECTING, body);
        break;
    case 8:
        n %= N_CALLS;
        if (n < n_calls && calls[n].cancellable) {
            g_cancellable_cancel(calls[n].cancellable);
        }
        break;
    case 9:
        peer_close(peer);
        break;
    case 10: /* the server's side of a link */
        link_and_init(peer, n, get_caps(input_u16(in)));
        break;
    case 11: /* the client connects, again */
        spice_session_disconnect(session);
        pump();
        CHECK(spice_session_open_fd(session, peer_open(&peers[0])));
        pump();
        break;
    case 12:
        refuse_connections = n & 2;
        peer_send_migrate(peer, n & 4 ? SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS :
                                n & 8 ? SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST :
                                        SPICE_MSG_MAIN_MIGRATE_BEGIN, n >> 4);
        break;
    case 13:
        peer_send(peer, n & 2 ? SPICE_MSG_MAIN_MIGRATE_END : SPICE_MSG_MAIN_MIGRATE_CANCEL,
                  NULL, 0);
        break;
    case 14:
        g_object_set(session, "read-only", n & 2, NULL);
        break;
    case 15: /* byte by byte */
        body = g_byte_array_new();
        append_u32(body, last_id);
        append_u32(body, input_u32(in));
        append_u32(body, input_u32(in));
        for (size = 0; size < body->len; size++) {
            peer_send_bytes(peer, body->data + size, 1);
            pump();
        }
        g_byte_array_unref(body);
        break;
    }
}

static void log_message(const gchar *domain, GLogLevelFlags level, const gchar *text,
                        gpointer data)
{
    /* an error that is still there when there is another one */
    CHECK(!strstr(text, "set over the top"));
    /* warnings are what bad input is answered with, and in older code of
     * spice-gtk criticals are, too */
    if (g_strcmp0(domain, "GSpice") == 0 && !strstr(text, "power")) {
        return;
    }
    if (level & (G_LOG_FLAG_FATAL | G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) {
        fprintf(stderr, "%s: %s\n", domain, text);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* the lowest file descriptor that is free, when libraries have theirs */
static int free_fd = -1;

static int get_free_fd(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t nothing[1];
    int i;

    signal(SIGPIPE, SIG_IGN);
    unsetenv("SPICE_PROXY");
    g_log_set_default_handler(log_message, NULL);
    for (i = 0; i < N_PEERS; i++) {
        peers[i].fd = -1;
        peers[i].in = g_byte_array_new();
        peers[i].out = g_byte_array_new();
    }
    LLVMFuzzerTestOneInput(nothing, sizeof(nothing));
    free_fd = get_free_fd();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };
    unsigned int flags = input_u8(&in);
    unsigned int i;

    n_calls = n_done = 0;
    last_id = 0;
    refuse_connections = FALSE;
    control_only = !!(flags & 2);
    knows_control_only = !(flags & 4);
    session = spice_session_new();
    g_object_set(session, "control-only", control_only, NULL);
    g_signal_connect(session, "channel-new", G_CALLBACK(channel_new), NULL);
    spice_channel_new(session, SPICE_CHANNEL_MAIN, 0);
    CHECK(channel != NULL);
    CHECK(spice_session_open_fd(session, peer_open(&peers[0])));
    pump();
    if (!(flags & 1)) {
        link_and_init(&peers[0], flags, get_caps(0));
        pump();
        peer_receive(&peers[0]);
    }

    while (in.size) {
        unsigned int what = input_u8(&in);

        step(what & ~STEP_NO_PUMP, &in);
        if (!(what & STEP_NO_PUMP)) {
            pump();
            for (i = 0; i < N_PEERS; i++) {
                peer_receive(&peers[i]);
            }
            check_properties();
        }
    }

    spice_session_disconnect(session);
    g_object_add_weak_pointer(G_OBJECT(session), (gpointer *)&session);
    g_object_add_weak_pointer(G_OBJECT(channel), (gpointer *)&channel);
    g_object_unref(channel);
    g_object_unref(session);
    pump();
    /* every request has ended, and nothing is left of the session */
    CHECK(n_done == n_calls);
    CHECK(channel == NULL);
    CHECK(session == NULL);
    for (i = 0; i < N_PEERS; i++) {
        peer_close(&peers[i]);
        g_byte_array_set_size(peers[i].in, 0);
    }
    /* libraries may open some more when they are first needed */
    CHECK(free_fd == -1 || get_free_fd() <= free_fd + 8);
    return 0;
}
