/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib-unix.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <spice/enums.h>
#include <spice/protocol.h>

#include "power-peer.h"

struct PowerPeer {
    int fd;
    SpiceLinkEncryptedTicket ticket;
};

static gboolean fd_ready(gint fd, GIOCondition condition, gpointer data)
{
    *(gboolean *)data = TRUE;

    return G_SOURCE_REMOVE;
}

void power_peer_wait_fd(int fd)
{
    gboolean ready = FALSE;

    g_unix_fd_add(fd, G_IO_IN | G_IO_HUP | G_IO_ERR, fd_ready, &ready);
    while (!ready)
        g_main_context_iteration(NULL, TRUE);
}

PowerPeer *power_peer_new(int fd)
{
    PowerPeer *peer = g_new0(PowerPeer, 1);

    peer->fd = fd;

    return peer;
}

void power_peer_free(PowerPeer *peer)
{
    close(peer->fd);
    g_free(peer);
}

static void peer_write(PowerPeer *peer, gconstpointer data, gsize size)
{
    const guint8 *p = data;

    while (size > 0) {
        gssize n = send(peer->fd, p, size, MSG_NOSIGNAL);

        g_assert_cmpint(n, >, 0);
        p += n;
        size -= n;
    }
}

static void peer_read(PowerPeer *peer, gpointer data, gsize size)
{
    guint8 *p = data;

    while (size > 0) {
        gssize n;

        power_peer_wait_fd(peer->fd);
        n = recv(peer->fd, p, size, 0);
        g_assert_cmpint(n, >, 0);
        p += n;
        size -= n;
    }
}

/* A real key, as the client encrypts the ticket with it */
static EVP_PKEY *peer_get_key(void)
{
    static EVP_PKEY *key;

    if (key == NULL) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);

        g_assert_nonnull(ctx);
        g_assert_cmpint(EVP_PKEY_keygen_init(ctx), >, 0);
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, SPICE_TICKET_KEY_PAIR_LENGTH), >, 0);
        g_assert_cmpint(EVP_PKEY_keygen(ctx, &key), >, 0);
        EVP_PKEY_CTX_free(ctx);
    }
    return key;
}

static void peer_get_pub_key(guint8 *pub_key)
{
    EVP_PKEY *key = peer_get_key();

    g_assert_cmpint(i2d_PUBKEY(key, NULL), ==, SPICE_TICKET_PUBKEY_BYTES);
    i2d_PUBKEY(key, &pub_key);
}

/* up to the server's reply; returns the client's channel capabilities */
static guint32 peer_start_link(PowerPeer *peer, guint32 channel_caps)
{
    const guint32 caps[] = {
        GUINT32_TO_LE((1 << SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION) |
                      (1 << SPICE_COMMON_CAP_AUTH_SPICE) |
                      (1 << SPICE_COMMON_CAP_MINI_HEADER)),
        GUINT32_TO_LE(channel_caps),
    };
    SpiceLinkHeader header;
    SpiceLinkReply reply = {
        .error = GUINT32_TO_LE(SPICE_LINK_ERR_OK),
        .num_common_caps = GUINT32_TO_LE(1),
        .num_channel_caps = GUINT32_TO_LE(1),
        .caps_offset = GUINT32_TO_LE(sizeof(reply)),
    };
    SpiceLinkMess *mess;
    guint32 client_caps = 0;
    guint8 *data;

    peer_read(peer, &header, sizeof(header));
    g_assert_cmphex(GUINT32_FROM_LE(header.magic), ==, SPICE_MAGIC);
    header.size = GUINT32_FROM_LE(header.size);
    g_assert_cmpuint(header.size, >=, sizeof(*mess));
    g_assert_cmpuint(header.size, <, 4096);
    data = g_malloc(header.size);
    peer_read(peer, data, header.size);
    mess = (SpiceLinkMess *)data;
    if (mess->num_channel_caps) {
        gsize offset = GUINT32_FROM_LE(mess->caps_offset) +
                       GUINT32_FROM_LE(mess->num_common_caps) * sizeof(guint32);

        g_assert_cmpuint(offset + sizeof(client_caps), <=, header.size);
        memcpy(&client_caps, data + offset, sizeof(client_caps));
    }
    g_free(data);

    header = (SpiceLinkHeader) {
        .magic = GUINT32_TO_LE(SPICE_MAGIC),
        .major_version = GUINT32_TO_LE(SPICE_VERSION_MAJOR),
        .minor_version = GUINT32_TO_LE(SPICE_VERSION_MINOR),
        .size = GUINT32_TO_LE(sizeof(reply) + sizeof(caps)),
    };
    peer_get_pub_key(reply.pub_key);
    peer_write(peer, &header, sizeof(header));
    peer_write(peer, &reply, sizeof(reply));
    peer_write(peer, caps, sizeof(caps));

    return GUINT32_FROM_LE(client_caps);
}

guint32 power_peer_link_refused(PowerPeer *peer, guint32 channel_caps)
{
    guint32 client_caps = peer_start_link(peer, channel_caps);

    power_peer_assert_closed(peer);
    return client_caps;
}

guint32 power_peer_link(PowerPeer *peer, guint32 channel_caps, guint32 link_result)
{
    guint32 client_caps = peer_start_link(peer, channel_caps);
    SpiceLinkAuthMechanism auth;

    peer_read(peer, &auth, sizeof(auth));
    g_assert_cmpuint(GUINT32_FROM_LE(auth.auth_mechanism), ==, SPICE_COMMON_CAP_AUTH_SPICE);
    peer_read(peer, &peer->ticket, sizeof(peer->ticket));

    link_result = GUINT32_TO_LE(link_result);
    peer_write(peer, &link_result, sizeof(link_result));

    return client_caps;
}

gchar *power_peer_get_password(PowerPeer *peer)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(peer_get_key(), NULL);
    gchar password[SPICE_TICKET_KEY_PAIR_LENGTH / 8 + 1] = "";
    size_t len = sizeof(password) - 1;

    g_assert_cmpint(EVP_PKEY_decrypt_init(ctx), >, 0);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), >, 0);
    g_assert_cmpint(EVP_PKEY_decrypt(ctx, (guint8 *)password, &len,
                                     peer->ticket.encrypted_data,
                                     sizeof(peer->ticket.encrypted_data)), >, 0);
    EVP_PKEY_CTX_free(ctx);

    return g_strdup(password);
}

void power_peer_send(PowerPeer *peer, guint16 type, gconstpointer data, gsize size)
{
    SpiceMiniDataHeader header = {
        .type = GUINT16_TO_LE(type),
        .size = GUINT32_TO_LE(size),
    };
    GByteArray *msg = g_byte_array_new();

    g_byte_array_append(msg, (const guint8 *)&header, sizeof(header));
    g_byte_array_append(msg, data, size);
    peer_write(peer, msg->data, msg->len);
    g_byte_array_unref(msg);
}

void power_peer_send_header(PowerPeer *peer, guint16 type, guint32 size)
{
    SpiceMiniDataHeader header = {
        .type = GUINT16_TO_LE(type),
        .size = GUINT32_TO_LE(size),
    };

    peer_write(peer, &header, sizeof(header));
}

static void append_uint32(GByteArray *msg, guint32 value)
{
    value = GUINT32_TO_LE(value);
    g_byte_array_append(msg, (const guint8 *)&value, sizeof(value));
}

void power_peer_send_init(PowerPeer *peer)
{
    GByteArray *msg = g_byte_array_new();

    append_uint32(msg, 1); /* session_id */
    append_uint32(msg, 1); /* display_channels_hint */
    append_uint32(msg, SPICE_MOUSE_MODE_CLIENT); /* supported_mouse_modes */
    append_uint32(msg, SPICE_MOUSE_MODE_CLIENT); /* current_mouse_mode */
    append_uint32(msg, 0); /* agent_connected */
    append_uint32(msg, 0); /* agent_tokens */
    append_uint32(msg, 0); /* multi_media_time */
    append_uint32(msg, 0); /* ram_hint */
    power_peer_send(peer, SPICE_MSG_MAIN_INIT, msg->data, msg->len);
    g_byte_array_unref(msg);
}

void power_peer_send_state(PowerPeer *peer, guint8 state, guint32 possible)
{
    power_peer_send_allowed(peer, state, 0xffffffff, possible);
}

void power_peer_send_allowed(PowerPeer *peer, guint8 state, guint32 allowed, guint32 possible)
{
    GByteArray *msg = g_byte_array_new();

    g_byte_array_append(msg, &state, sizeof(state));
    append_uint32(msg, allowed);
    append_uint32(msg, possible);
    power_peer_send(peer, SPICE_MSG_MAIN_POWER_STATE, msg->data, msg->len);
    g_byte_array_unref(msg);
}

void power_peer_send_result_raw(PowerPeer *peer, guint32 request_id, guint8 result,
                                guint32 message_len, gconstpointer message, gsize size)
{
    GByteArray *msg = g_byte_array_new();

    append_uint32(msg, request_id);
    g_byte_array_append(msg, &result, sizeof(result));
    append_uint32(msg, message_len);
    g_byte_array_append(msg, message, size);
    power_peer_send(peer, SPICE_MSG_MAIN_POWER_RESULT, msg->data, msg->len);
    g_byte_array_unref(msg);
}

void power_peer_send_result(PowerPeer *peer, guint32 request_id, guint8 result,
                            const gchar *message)
{
    power_peer_send_result_raw(peer, request_id, result, strlen(message),
                               message, strlen(message));
}

GBytes *power_peer_recv(PowerPeer *peer, guint16 type)
{
    SpiceMiniDataHeader header;
    guint8 *data;

    peer_read(peer, &header, sizeof(header));
    g_assert_cmpuint(GUINT16_FROM_LE(header.type), ==, type);
    header.size = GUINT32_FROM_LE(header.size);
    g_assert_cmpuint(header.size, <, 65536);
    data = g_malloc(header.size);
    peer_read(peer, data, header.size);

    return g_bytes_new_take(data, header.size);
}

guint32 power_peer_recv_request(PowerPeer *peer, guint16 type)
{
    GBytes *body = power_peer_recv(peer, type);
    guint32 request_id;

    g_assert_cmpuint(g_bytes_get_size(body), ==, sizeof(request_id));
    memcpy(&request_id, g_bytes_get_data(body, NULL), sizeof(request_id));
    g_bytes_unref(body);

    return GUINT32_FROM_LE(request_id);
}

void power_peer_assert_nothing_sent(PowerPeer *peer)
{
    guint8 ping[12] = { 0, };
    int i;

    /* A ping is answered at once, before what is in the queue. But then the
     * queue is sent, and a second one is answered after that. */
    for (i = 0; i < 2; i++) {
        power_peer_send(peer, SPICE_MSG_PING, ping, sizeof(ping));
        g_bytes_unref(power_peer_recv(peer, SPICE_MSGC_PONG));
    }
}

void power_peer_assert_closed(PowerPeer *peer)
{
    guint8 byte;

    power_peer_wait_fd(peer->fd);
    g_assert_cmpint(recv(peer->fd, &byte, 1, 0), ==, 0);
}
