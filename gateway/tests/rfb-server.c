/*
 * A VNC server that says and hears what a test wants, right or wrong
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <openssl/ssl.h>
#include <string.h>

#include "loop.h"
#include "rfb-server.h"

const RfbFormat rfb_xrgb = {
    .bits = 32, .depth = 24, .is_true_colour = 1,
    .red_max = 255, .green_max = 255, .blue_max = 255,
    .red_shift = 16, .green_shift = 8, .blue_shift = 0,
};

struct RfbServer {
    GSocket *listener;
    GSocket *peer;
    SSL *ssl;
    gsize frame_size;           /* 0: there are none */
    guint pongs;
    GByteArray *payload;        /* that has come, and nobody has heard yet */
    guint8 *heard;
    guint8 body[0x10000];
};

RfbServer *rfb_server_new(int *port)
{
    RfbServer *server = g_new0(RfbServer, 1);
    g_autoptr(GSocketAddress) address =
        g_inet_socket_address_new_from_string("127.0.0.1", 0);
    g_autoptr(GSocketAddress) bound = NULL;

    server->payload = g_byte_array_new();
    server->listener = g_socket_new(G_SOCKET_FAMILY_IPV4, G_SOCKET_TYPE_STREAM,
                                    G_SOCKET_PROTOCOL_TCP, NULL);
    g_assert_true(g_socket_bind(server->listener, address, TRUE, NULL));
    g_assert_true(g_socket_listen(server->listener, NULL));
    g_socket_set_blocking(server->listener, FALSE);
    bound = g_socket_get_local_address(server->listener, NULL);
    *port = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound));
    return server;
}

void rfb_hang_up(RfbServer *server)
{
    g_clear_pointer(&server->ssl, SSL_free);
    server->frame_size = 0;
    g_byte_array_set_size(server->payload, 0);
    if (server->peer) {
        g_socket_close(server->peer, NULL);
        g_clear_object(&server->peer);
    }
}

void rfb_server_free(RfbServer *server)
{
    rfb_hang_up(server);
    g_object_unref(server->listener);
    g_free(server->heard);
    g_byte_array_unref(server->payload);
    g_free(server);
}

static gboolean ready(GSocket *socket, GIOCondition condition, gpointer opaque)
{
    gboolean *is_ready = opaque;

    *is_ready = TRUE;
    return G_SOURCE_REMOVE;
}

static void wait_for(GSocket *socket, GIOCondition condition)
{
    g_autoptr(GSource) source = g_socket_create_source(socket, condition, NULL);
    gboolean is_ready = FALSE;

    g_source_set_callback(source, G_SOURCE_FUNC(ready), &is_ready, NULL);
    g_source_attach(source, NULL);
    RUN_UNTIL(is_ready);
}

gboolean rfb_has_client(RfbServer *server)
{
    return g_socket_condition_check(server->listener, G_IO_IN) & G_IO_IN;
}

gboolean rfb_has_more(RfbServer *server)
{
    return g_socket_condition_check(server->peer, G_IO_IN) & G_IO_IN;
}

void rfb_accept(RfbServer *server)
{
    rfb_hang_up(server);
    wait_for(server->listener, G_IO_IN);
    server->peer = g_socket_accept(server->listener, NULL, NULL);
    g_assert_nonnull(server->peer);
    g_socket_set_blocking(server->peer, FALSE);
}

/* Returns: whether to try again, when it is possible */
static gboolean tls_wait(RfbServer *server, int result)
{
    switch (SSL_get_error(server->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        wait_for(server->peer, G_IO_IN);
        return TRUE;
    case SSL_ERROR_WANT_WRITE:
        wait_for(server->peer, G_IO_OUT);
        return TRUE;
    default:
        return FALSE;
    }
}

/* Returns: how many bytes; 0 if it has left */
static gssize read_raw(RfbServer *server, void *data, gsize size)
{
    g_autoptr(GError) error = NULL;
    gssize result;

    if (server->ssl) {
        do {
            result = SSL_read(server->ssl, data, size);
        } while (result <= 0 && tls_wait(server, result));
        return MAX(result, 0);
    }
    wait_for(server->peer, G_IO_IN);
    result = g_socket_receive(server->peer, data, size, NULL, &error);
    return MAX(result, 0);
}

/* --- frames -------------------------------------------------------------- */

/* Returns: whether there were so many */
static gboolean read_exactly(RfbServer *server, guint8 *data, gsize size)
{
    gsize have = 0;

    while (have < size) {
        gssize more = read_raw(server, data + have, size - have);

        if (more <= 0) {
            return FALSE;
        }
        have += more;
    }
    return TRUE;
}

/* Returns: whether there is another one */
static gboolean read_frame(RfbServer *server)
{
    guint8 head[8], payload[512];
    gsize size, i;

    if (!read_exactly(server, head, 2)) {
        return FALSE;
    }
    /* as clients have to: all of a message, and a mask */
    g_assert_cmphex(head[0] & 0xf0, ==, 0x80);
    g_assert_cmphex(head[1] & 0x80, ==, 0x80);
    size = head[1] & 0x7f;
    g_assert_cmpuint(size, !=, 127);
    if (size == 126) {
        g_assert_true(read_exactly(server, head + 2, 2));
        size = head[2] << 8 | head[3];
    }
    g_assert_cmpuint(size, <=, sizeof(payload));
    g_assert_true(read_exactly(server, head + 4, 4));
    g_assert_true(read_exactly(server, payload, size));
    for (i = 0; i < size; i++) {
        payload[i] ^= head[4 + i % 4];
    }
    if ((head[0] & 0xf) == 10) {
        g_assert_cmpmem(payload, size, "ping", 4);
        server->pongs++;
    } else {
        g_assert_cmpuint(head[0] & 0xf, ==, 2);
        g_byte_array_append(server->payload, payload, size);
    }
    return TRUE;
}

static gssize read_some(RfbServer *server, void *data, gsize size)
{
    if (!server->frame_size) {
        return read_raw(server, data, size);
    }
    while (!server->payload->len) {
        if (!read_frame(server)) {
            return 0;
        }
    }
    size = MIN(size, server->payload->len);
    memcpy(data, server->payload->data, size);
    g_byte_array_remove_range(server->payload, 0, size);
    return size;
}

static void say_frame(RfbServer *server, const void *data, gsize size)
{
    static const guint8 ping[] = { 0x89, 4, 'p', 'i', 'n', 'g' };
    guint8 head[10] = { 0x82, size < 126 ? size : size < 0x10000 ? 126 : 127 };
    gsize head_size = size < 126 ? 2 : size < 0x10000 ? 4 : 10, i;

    for (i = 2; i < head_size; i++) {
        head[i] = size >> 8 * (head_size - 1 - i);
    }
    rfb_say_raw(server, ping, sizeof(ping));
    rfb_say_raw(server, head, head_size);
    rfb_say_raw(server, data, size);
}

guint rfb_pongs(RfbServer *server)
{
    return server->pongs;
}

void rfb_wait_closed(RfbServer *server)
{
    guint8 byte;

    while (read_some(server, &byte, 1) > 0) {
    }
}

void rfb_say_raw(RfbServer *server, const void *data, gsize size)
{
    const char *at = data;
    gssize result;

    while (size > 0) {
        if (server->ssl) {
            do {
                result = SSL_write(server->ssl, at, size);
            } while (result <= 0 && tls_wait(server, result));
        } else {
            wait_for(server->peer, G_IO_OUT);
            result = g_socket_send(server->peer, at, size, NULL, NULL);
        }
        g_assert_cmpint(result, >, 0);
        at += result;
        size -= result;
    }
}

void rfb_say(RfbServer *server, const void *data, gsize size)
{
    const char *at = data;

    while (server->frame_size && size) {
        gsize part = MIN(size, server->frame_size);

        say_frame(server, at, part);
        at += part;
        size -= part;
    }
    rfb_say_raw(server, at, size);
}

void rfb_say_text(RfbServer *server, const char *text)
{
    rfb_say(server, text, strlen(text));
}

void rfb_say_u8(RfbServer *server, guint8 value)
{
    rfb_say(server, &value, 1);
}

void rfb_say_u16(RfbServer *server, guint16 value)
{
    guint16 data = GUINT16_TO_BE(value);

    rfb_say(server, &data, sizeof(data));
}

void rfb_say_u32(RfbServer *server, guint32 value)
{
    guint32 data = GUINT32_TO_BE(value);

    rfb_say(server, &data, sizeof(data));
}

const guint8 *rfb_hear(RfbServer *server, gsize size)
{
    gsize have = 0;

    g_free(server->heard);
    server->heard = g_malloc(size + 1);
    while (have < size) {
        gssize more = read_some(server, server->heard + have, size - have);

        g_assert_cmpint(more, >, 0);
        have += more;
    }
    return server->heard;
}

guint32 rfb_hear_u32(RfbServer *server)
{
    const guint8 *data = rfb_hear(server, 4);

    return (guint32)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
}

void rfb_expect(RfbServer *server, const void *data, gsize size)
{
    g_assert_cmpmem(rfb_hear(server, size), size, data, size);
}

void rfb_expect_text(RfbServer *server, const char *text)
{
    rfb_expect(server, text, strlen(text));
}

/* --- what clients say ---------------------------------------------------- */

int rfb_message(RfbServer *server, const guint8 **body)
{
    int type = rfb_hear(server, 1)[0];
    gsize size = 0;

    switch (type) {
    case RFB_SET_PIXEL_FORMAT:
        size = 19;
        break;
    case RFB_SET_ENCODINGS:
        memcpy(server->body, rfb_hear(server, 3), 3);
        size = 4 * (server->body[1] << 8 | server->body[2]);
        memcpy(server->body + 3, rfb_hear(server, size), size);
        *body = server->body;
        return type;
    case RFB_UPDATE_REQUEST:
        size = 9;
        break;
    case RFB_KEY:
        size = 7;
        break;
    case RFB_POINTER:
        size = 5;
        break;
    default:
        g_error("a client sends a message of type %d", type);
    }
    memcpy(server->body, rfb_hear(server, size), size);
    *body = server->body;
    return type;
}

const guint8 *rfb_wait(RfbServer *server, int type)
{
    const guint8 *body;

    while (rfb_message(server, &body) != type) {
    }
    return body;
}

/* --- what a server says -------------------------------------------------- */

void rfb_log_in(RfbServer *server)
{
    rfb_say_text(server, "RFB 003.008\n");
    rfb_expect_text(server, "RFB 003.008\n");
    rfb_say(server, "\1\1", 2);
    rfb_expect(server, "\1", 1);
    rfb_say_u32(server, 0);
}

void rfb_say_format(RfbServer *server, const RfbFormat *format)
{
    const guint8 pixels[16] = {
        format->bits, format->depth, format->is_big_endian,
        format->is_true_colour, format->red_max >> 8, format->red_max,
        format->green_max >> 8, format->green_max, format->blue_max >> 8,
        format->blue_max, format->red_shift, format->green_shift,
        format->blue_shift,
    };

    rfb_say(server, pixels, sizeof(pixels));
}

void rfb_init(RfbServer *server, int width, int height,
              const RfbFormat *format)
{
    /* nobody is to be thrown out for us */
    rfb_expect(server, "\1", 1);
    rfb_say_u16(server, width);
    rfb_say_u16(server, height);
    rfb_say_format(server, format);
    rfb_say_u32(server, 4);
    rfb_say_text(server, "test");
}

void rfb_be_friendly(RfbServer *server, int width, int height)
{
    rfb_accept(server);
    rfb_log_in(server);
    rfb_init(server, width, height, &rfb_xrgb);
    rfb_wait(server, RFB_UPDATE_REQUEST);
}

void rfb_update(RfbServer *server, int count)
{
    rfb_say_u16(server, 0);
    rfb_say_u16(server, count);
}

void rfb_rectangle(RfbServer *server, int x, int y, int width, int height,
                   gint32 encoding)
{
    rfb_say_u16(server, x);
    rfb_say_u16(server, y);
    rfb_say_u16(server, width);
    rfb_say_u16(server, height);
    rfb_say_u32(server, encoding);
}

void rfb_fill(RfbServer *server, int width, int height, const void *pixel,
              int size)
{
    rfb_update(server, 1);
    rfb_rectangle(server, 0, 0, width, height, RFB_RRE);
    rfb_say_u32(server, 0);
    rfb_say(server, pixel, size);
}

void rfb_resize(RfbServer *server, int width, int height)
{
    rfb_update(server, 1);
    rfb_rectangle(server, 0, 0, width, height, RFB_DESKTOP_SIZE);
}

/* --- TLS ----------------------------------------------------------------- */

gboolean rfb_start_tls(RfbServer *server, const char *cert, const char *key)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    int result;

    if (cert) {
        g_assert_true(SSL_CTX_use_certificate_file(context, cert,
                                                   SSL_FILETYPE_PEM) == 1);
        g_assert_true(SSL_CTX_use_PrivateKey_file(context, key,
                                                  SSL_FILETYPE_PEM) == 1);
    } else {
        SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
        SSL_CTX_set_cipher_list(context, "ADH:@SECLEVEL=0");
        SSL_CTX_set_dh_auto(context, 1);
    }
    server->ssl = SSL_new(context);
    SSL_CTX_free(context);
    SSL_set_fd(server->ssl, g_socket_get_fd(server->peer));
    do {
        result = SSL_accept(server->ssl);
    } while (result <= 0 && tls_wait(server, result));
    return result == 1;
}

/* --- HTTP ---------------------------------------------------------------- */

char *rfb_hear_http(RfbServer *server)
{
    GString *request = g_string_new(NULL);

    while (!g_str_has_suffix(request->str, "\r\n\r\n")) {
        g_string_append_c(request, rfb_hear(server, 1)[0]);
    }
    return g_string_free(request, FALSE);
}

char *rfb_start_websocket(RfbServer *server, gsize frame_size)
{
    static const char name[] = "\r\nSec-WebSocket-Key: ";
    char *request = rfb_hear_http(server);
    const char *key = strstr(request, name);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    g_autofree char *accept = NULL, *answer = NULL;
    guint8 digest[20];
    gsize size = sizeof(digest);

    g_assert_nonnull(key);
    key += strlen(name);
    g_checksum_update(sum, (guchar *)key, strcspn(key, "\r"));
    g_checksum_update(sum, (guchar *)"258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
                      -1);
    g_checksum_get_digest(sum, digest, &size);
    accept = g_base64_encode(digest, size);
    answer = g_strdup_printf("HTTP/1.1 101 Switching Protocols\r\n"
                             "Upgrade: websocket\r\n"
                             "Connection: Upgrade\r\n"
                             "sec-websocket-accept: %s\r\n"
                             "Sec-WebSocket-Protocol: binary\r\n\r\n",
                             accept);
    rfb_say_text(server, answer);
    server->frame_size = frame_size;
    return request;
}
