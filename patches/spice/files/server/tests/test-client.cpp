/*
   SPDX-License-Identifier: LGPL-2.1-or-later

   This library is free software; you can redistribute it and/or
   modify it under the terms of the GNU Lesser General Public
   License as published by the Free Software Foundation; either
   version 2.1 of the License, or (at your option) any later version.

   This library is distributed in the hope that it will be useful,
   but WITHOUT ANY WARRANTY; without even the implied warranty of
   MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
   Lesser General Public License for more details.

   You should have received a copy of the GNU Lesser General Public
   License along with this library; if not, see <http://www.gnu.org/licenses/>.
*/
#include <config.h>

#include <string.h>
#include <unistd.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "net-utils.h"
#include "sys-socket.h"
#include "test-client.h"

#include <spice/start-packed.h>
typedef struct SPICE_ATTR_PACKED LinkMessage {
    SpiceLinkHeader header;
    SpiceLinkMess mess;
    uint32_t common_caps;
    uint32_t caps;
} LinkMessage;

typedef struct SPICE_ATTR_PACKED LinkReply {
    SpiceLinkHeader header;
    SpiceLinkReply reply;
    uint32_t common_caps;
} LinkReply;
#include <spice/end-packed.h>

SpiceServer *server;

void server_start(unsigned int flags, SpiceCoreInterface *core, int listen_socket)
{
    /* sanitizers take their time */
    alarm(300);

    if (!core) {
        core = basic_event_loop_init();
    }
    g_assert_nonnull(core);
    server = spice_server_new();
    g_assert_nonnull(server);
    if ((flags & SERVER_NEEDS_TICKET) == 0) {
        g_assert_cmpint(spice_server_set_noauth(server), ==, 0);
    }
    if (flags & SERVER_SEAMLESS) {
        spice_server_set_seamless_migration(server, TRUE);
    }
    if (flags & SERVER_MULTIPLE_CLIENTS) {
        g_setenv("SPICE_DEBUG_ALLOW_MC", "1", TRUE);
        expect_warning("*allowing multiple client connections");
    }
    if (listen_socket != -1) {
        g_assert_cmpint(spice_server_set_listen_socket_fd(server, listen_socket), ==, 0);
    }
    g_assert_cmpint(spice_server_init(server, core), ==, 0);
    g_unsetenv("SPICE_DEBUG_ALLOW_MC");
    g_test_assert_expected_messages();
}

void server_stop()
{
    g_test_assert_expected_messages();
    spice_server_destroy(server);
    server = nullptr;
    basic_event_loop_destroy();
    alarm(0);
}

void pump()
{
    while (g_main_context_iteration(basic_event_loop_get_context(), FALSE)) {
        continue;
    }
}

void expect_warning(const char *pattern)
{
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, pattern);
}

void expect_critical(const char *pattern)
{
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_CRITICAL, pattern);
}

static ssize_t write_some(Client *client, const void *data, size_t len)
{
    if (client->ssl) {
        return SSL_write(client->ssl, data, len);
    }
    return socket_write(client->fd, data, len);
}

static ssize_t read_some(Client *client, void *data, size_t len)
{
    if (!client->ssl) {
        return socket_read(client->fd, data, len);
    }

    ssize_t ret = SSL_read(client->ssl, data, len);
    if (ret <= 0) {
        // as a socket tells it
        const bool again = SSL_get_error(client->ssl, ret) == SSL_ERROR_WANT_READ;
        errno = EAGAIN;
        return again ? -1 : 0;
    }
    return ret;
}

void client_write(Client *client, const void *data, size_t len)
{
    if ((client->flags & CLIENT_BYTEWISE) == 0) {
        g_assert_cmpint(write_some(client, data, len), ==, len);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        g_assert_cmpint(write_some(client, static_cast<const uint8_t *>(data) + i, 1), ==, 1);
        pump();
    }
}

void client_write_u32(Client *client, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    client_write(client, &value, sizeof(value));
}

void client_receive(Client *client)
{
    uint8_t buf[4096];
    ssize_t len;

    do {
        pump();
        while ((len = read_some(client, buf, sizeof(buf))) > 0) {
            g_byte_array_append(client->input, buf, len);
        }
        if (len == 0 || errno != EAGAIN) {
            client->eof = true;
        }
        /* try again if the server was waiting for the client to read */
    } while (g_main_context_pending(basic_event_loop_get_context()));
}

bool client_wait(Client *client, size_t len)
{
    client_receive(client);
    while (client->input->len < len && !client->eof) {
        g_usleep(1000);
        client_receive(client);
    }
    return client->input->len >= len;
}

void client_read(Client *client, void *data, size_t len)
{
    if (client->input->len < len) {
        client_receive(client);
    }
    if (client->flags & CLIENT_TCP) {
        client_wait(client, len);
    }
    g_assert_cmpuint(client->input->len, >=, len);
    memcpy(data, client->input->data, len);
    g_byte_array_remove_range(client->input, 0, len);
}

uint32_t client_read_u32(Client *client)
{
    uint32_t value;

    client_read(client, &value, sizeof(value));
    return GUINT32_FROM_LE(value);
}

void client_send_ticket(Client *client, const void *password, size_t len)
{
    const uint8_t *pub_key = client->pub_key;
    uint8_t ticket[SPICE_TICKET_KEY_PAIR_LENGTH / 8];
    size_t size = sizeof(ticket);
    EVP_PKEY *key = d2i_PUBKEY(nullptr, &pub_key, SPICE_TICKET_PUBKEY_BYTES);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, nullptr);

    g_assert_nonnull(ctx);
    g_assert_cmpint(EVP_PKEY_encrypt_init(ctx), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), ==, 1);
    g_assert_cmpint(EVP_PKEY_encrypt(ctx, ticket, &size,
                                     static_cast<const uint8_t *>(password), len), ==, 1);
    g_assert_cmpuint(size, ==, sizeof(ticket));
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);

    client_write(client, ticket, sizeof(ticket));
}

static void client_authenticate_sasl(Client *client)
{
    uint8_t list[5], complete;

    client_write_u32(client, SPICE_COMMON_CAP_AUTH_SASL);
    g_assert_cmpuint(client_read_u32(client), ==, sizeof(list));
    client_read(client, list, sizeof(list));
    g_assert_cmpmem(list, sizeof(list), ",ONE,", sizeof(list));
    client_write_u32(client, 3);
    client_write(client, "ONE", 3);
    client_write_u32(client, 0);
    g_assert_cmpuint(client_read_u32(client), ==, 0);
    client_read(client, &complete, 1);
    g_assert_cmpuint(complete, ==, 1);
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_OK);
}

Client *client_new(int fd, unsigned int flags)
{
    auto client = g_new0(Client, 1);

    red_socket_set_non_blocking(fd, true);
    red_socket_set_no_delay(fd, true);
    client->fd = fd;
    client->flags = flags;
    client->input = g_byte_array_new();
    return client;
}

void client_start_tls(Client *client)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int ret;

    g_assert_nonnull(ctx);
    client->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    SSL_set_fd(client->ssl, client->fd);
    while ((ret = SSL_connect(client->ssl)) != 1) {
        g_assert_cmpint(SSL_get_error(client->ssl, ret), ==, SSL_ERROR_WANT_READ);
        pump();
    }
}

void client_link(Client *client, uint32_t connection_id, uint8_t channel_type,
                 uint8_t channel_id, uint32_t caps)
{
    const unsigned int flags = client->flags;
    uint32_t common_caps = 0;
    if ((flags & CLIENT_NO_AUTH_SELECTION) == 0) {
        common_caps |= 1 << SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION;
    }
    common_caps |= 1 << ((flags & CLIENT_SASL) ? SPICE_COMMON_CAP_AUTH_SASL
                                               : SPICE_COMMON_CAP_AUTH_SPICE);
    if ((flags & CLIENT_FULL_HEADER) == 0) {
        common_caps |= 1 << SPICE_COMMON_CAP_MINI_HEADER;
    }
    const LinkMessage link = {
        {
            SPICE_MAGIC,
            GUINT32_TO_LE(SPICE_VERSION_MAJOR), GUINT32_TO_LE(SPICE_VERSION_MINOR),
            GUINT32_TO_LE(sizeof(link) - sizeof(link.header)),
        },
        {
            GUINT32_TO_LE(connection_id), channel_type, channel_id,
            GUINT32_TO_LE(1), GUINT32_TO_LE(1), GUINT32_TO_LE(sizeof(link.mess)),
        },
        GUINT32_TO_LE(common_caps),
        GUINT32_TO_LE(caps),
    };
    client_write(client, &link, sizeof(link));

    LinkReply reply;
    client_read(client, &reply, sizeof(reply));
    g_assert_cmpuint(GUINT32_FROM_LE(reply.reply.error), ==, SPICE_LINK_ERR_OK);
    g_assert_cmpuint(GUINT32_FROM_LE(reply.reply.num_common_caps), ==, 1);
    memcpy(client->pub_key, reply.reply.pub_key, sizeof(client->pub_key));

    uint32_t num_caps = GUINT32_FROM_LE(reply.reply.num_channel_caps);
    g_assert_cmpuint(num_caps, <=, 1);
    if (num_caps > 0) {
        client->caps = client_read_u32(client);
    }
}

Client *client_start_link(SpiceServer *to_server, uint32_t connection_id,
                          uint8_t channel_type, uint8_t channel_id,
                          uint32_t caps, unsigned int flags)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_LOCAL, SOCK_STREAM, 0, sv), ==, 0);
    auto client = client_new(sv[1], flags);
    if (flags & CLIENT_SMALL_BUFFER) {
        int size = 8192;
        g_assert_cmpint(setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)),
                        ==, 0);
    }
    g_assert_cmpint(spice_server_add_client(to_server, sv[0], 0), ==, 0);
    client_link(client, connection_id, channel_type, channel_id, caps);
    return client;
}

void client_authenticate(Client *client)
{
    if (client->flags & CLIENT_SASL) {
        client_authenticate_sasl(client);
    } else {
        client_write_u32(client, SPICE_COMMON_CAP_AUTH_SPICE);
        client_send_ticket(client, "", 1);
    }
    g_assert_cmpuint(client_read_u32(client), ==, SPICE_LINK_ERR_OK);
}

void client_free(Client *client)
{
    SSL_free(client->ssl);
    socket_close(client->fd);
    g_byte_array_free(client->input, TRUE);
    g_free(client);
    pump();
}

GBytes *client_take_message(Client *client, uint16_t *type)
{
    const bool full_header = client->flags & CLIENT_FULL_HEADER;
    const size_t header_size =
        full_header ? sizeof(SpiceDataHeader) : sizeof(SpiceMiniDataHeader);

    if (client->input->len < header_size) {
        return nullptr;
    }

    uint32_t size;
    if (full_header) {
        auto header = reinterpret_cast<SpiceDataHeader *>(client->input->data);
        *type = GUINT16_FROM_LE(header->type);
        size = GUINT32_FROM_LE(header->size);
    } else {
        auto header = reinterpret_cast<SpiceMiniDataHeader *>(client->input->data);
        *type = GUINT16_FROM_LE(header->type);
        size = GUINT32_FROM_LE(header->size);
    }
    if (client->input->len - header_size < size) {
        return nullptr;
    }
    GBytes *body = g_bytes_new(client->input->data + header_size, size);
    g_byte_array_remove_range(client->input, 0, header_size + size);
    return body;
}

GBytes *client_get_message(Client *client, uint16_t *type)
{
    client_receive(client);
    if (client->flags & CLIENT_TCP) {
        client_wait(client, 1);
    }

    GBytes *body = client_take_message(client, type);
    if (!body) {
        g_assert_cmpuint(client->input->len, ==, 0);
    }
    return body;
}

void *expect_message(Client *client, uint16_t expected_type, size_t *size)
{
    uint16_t type;
    GBytes *body = client_get_message(client, &type);

    g_assert_nonnull(body);
    g_assert_cmpuint(type, ==, expected_type);
    return g_bytes_unref_to_data(body, size);
}

void expect_init(Client *client)
{
    size_t size;
    auto body = static_cast<uint32_t *>(expect_message(client, SPICE_MSG_MAIN_INIT, &size));

    client->session_id = GUINT32_FROM_LE(body[0]);
    g_free(body);
}

void expect_nothing(Client *client)
{
    uint16_t type;

    g_assert_null(client_get_message(client, &type));
    g_assert_false(client->eof);
}

void expect_disconnect(Client *client)
{
    uint16_t type;

    g_assert_null(client_get_message(client, &type));
    g_assert_true(client->eof);
}

void client_send_header(Client *client, uint16_t type, uint32_t size, uint32_t sub_list)
{
    const SpiceDataHeader full_header = {
        GUINT64_TO_LE(++client->serial), GUINT16_TO_LE(type), GUINT32_TO_LE(size),
        GUINT32_TO_LE(sub_list)
    };
    const SpiceMiniDataHeader mini_header = {
        GUINT16_TO_LE(type), GUINT32_TO_LE(size)
    };

    if (client->flags & CLIENT_FULL_HEADER) {
        client_write(client, &full_header, sizeof(full_header));
    } else {
        client_write(client, &mini_header, sizeof(mini_header));
    }
}

void client_send_body(Client *client, uint16_t type, const void *body, size_t size)
{
    client_send_header(client, type, size, 0);
    client_write(client, body, size);
}

void client_send(Client *client, uint16_t type, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    client_send_body(client, type, &value, sizeof(value));
}
