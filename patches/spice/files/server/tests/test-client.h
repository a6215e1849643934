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
/**
 * @file test-client.h
 * Clients made by hand, which talk to the server over socket pairs.
 * Clients and server run in the same thread. pump() returns when there is
 * nothing left to do for the server, so there is no need to wait for anything.
 */
#ifndef TEST_CLIENT_H_
#define TEST_CLIENT_H_

#include <glib.h>
#include <openssl/ssl.h>
#include <spice.h>
#include <spice/protocol.h>

struct Client {
    int fd;
    SSL *ssl; // if it speaks TLS
    unsigned int flags;
    bool eof;
    uint64_t serial;
    GByteArray *input;
    /* of the server */
    uint32_t caps;
    uint8_t pub_key[SPICE_TICKET_PUBKEY_BYTES];
    /* from the INIT message */
    uint32_t session_id;
};

/* SpiceDataHeader in place of SpiceMiniDataHeader */
#define CLIENT_FULL_HEADER (1 << 0)
/* authenticate with SASL, see test-sasl-mock.h */
#define CLIENT_SASL (1 << 1)
/* what the client does not read soon blocks the server */
#define CLIENT_SMALL_BUFFER (1 << 2)
/* the server gets each byte apart */
#define CLIENT_BYTEWISE (1 << 3)
/* does not know SPICE_COMMON_CAP_PROTOCOL_AUTH_SELECTION */
#define CLIENT_NO_AUTH_SELECTION (1 << 4)
/* by TCP, where what is sent takes its time: pump() can't know what is on its way, and
 * whoever wants to read waits for something. */
#define CLIENT_TCP (1 << 5)

/* The server of a test, if it has one alone. */
extern SpiceServer *server;

/* its clients need a ticket, which is not set; if not, they need none unless it's set */
#define SERVER_NEEDS_TICKET (1 << 0)
/* it takes several clients, see SPICE_DEBUG_ALLOW_MC */
#define SERVER_MULTIPLE_CLIENTS (1 << 1)
/* see spice_server_set_seamless_migration() */
#define SERVER_SEAMLESS (1 << 2)

/* Start it, with the core interface of the basic event loop if there is no other. It
 * listens on a socket, if there is one. From now on a test that hangs fails. */
void server_start(unsigned int flags = 0, SpiceCoreInterface *core = nullptr,
                  int listen_socket = -1);
/* End it, all messages that were expected have been logged. */
void server_stop();

/* let the server do what it has to */
void pump();

void expect_warning(const char *pattern);
void expect_critical(const char *pattern);

/* A client at this end of a connection, which is the client's from now on. */
Client *client_new(int fd, unsigned int flags);
/* begin to speak TLS; whoever the server is */
void client_start_tls(Client *client);
/* link to a channel, up to the server's reply */
void client_link(Client *client, uint32_t connection_id, uint8_t channel_type,
                 uint8_t channel_id, uint32_t caps);
/* the same for a new client, which is given to the server */
Client *client_start_link(SpiceServer *server, uint32_t connection_id,
                          uint8_t channel_type, uint8_t channel_id,
                          uint32_t caps, unsigned int flags);
/* send a password, encrypted with the server's key */
void client_send_ticket(Client *client, const void *password, size_t len);
/* with an empty password or as the flags say, expect that it succeeds */
void client_authenticate(Client *client);
void client_free(Client *client);

void client_write(Client *client, const void *data, size_t len);
void client_write_u32(Client *client, uint32_t value);
/* add what the server sent meanwhile to input */
void client_receive(Client *client);
/* Wait until there is so much input; returns false if the connection ends before. */
bool client_wait(Client *client, size_t len);
void client_read(Client *client, void *data, size_t len);
uint32_t client_read_u32(Client *client);

void client_send_header(Client *client, uint16_t type, uint32_t size, uint32_t sub_list);
void client_send_body(Client *client, uint16_t type, const void *body, size_t size);
/* send a message whose body is a number */
void client_send(Client *client, uint16_t type, uint32_t value);
/* Get the next message out of input, returns nullptr if there is none. */
GBytes *client_take_message(Client *client, uint16_t *type);
/* Receive, and get the next message. There are no incomplete ones: that is for channels
 * that are in the thread of the main loop. */
GBytes *client_get_message(Client *client, uint16_t *type);

/* returns the body, to free with g_free() */
void *expect_message(Client *client, uint16_t expected_type, size_t *size);
void expect_init(Client *client);
void expect_nothing(Client *client);
void expect_disconnect(Client *client);

#endif /* TEST_CLIENT_H_ */
