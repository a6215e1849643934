/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server's side of a main channel, written by hand, so that tests can see
 * the bytes that a client sends and answer with whatever they like.
 */
#pragma once

#include <glib.h>

/* Every function that reads runs the main context until there is something to
 * read, so that the client may be in the same thread. */
typedef struct PowerPeer PowerPeer;

#define POWER_PEER_CAP(cap) (1u << (cap))
#define POWER_PEER_ALL_CAPS (POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTROL) | \
                             POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_RESET) | \
                             POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_OFF) | \
                             POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_ON) | \
                             POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_PAUSE) | \
                             POWER_PEER_CAP(SPICE_MAIN_CAP_POWER_CONTINUE))

/* Wait until @fd is readable, or closed at the other end */
void power_peer_wait_fd(int fd);

/* Takes @fd */
PowerPeer *power_peer_new(int fd);
void power_peer_free(PowerPeer *peer);

/* The link phase up to where the client would authenticate, which it must not do; returns
 * its channel capabilities */
guint32 power_peer_link_refused(PowerPeer *peer, guint32 channel_caps);

/* The link phase, up to its result; returns the client's channel capabilities */
guint32 power_peer_link(PowerPeer *peer, guint32 channel_caps, guint32 link_result);
/* The password that the client has sent there; to be freed */
gchar *power_peer_get_password(PowerPeer *peer);

void power_peer_send(PowerPeer *peer, guint16 type, gconstpointer data, gsize size);
/* A header that says @size, and no body */
void power_peer_send_header(PowerPeer *peer, guint16 type, guint32 size);
/* INIT, which the client answers with ATTACH_CHANNELS */
void power_peer_send_init(PowerPeer *peer);
/* everything is allowed */
void power_peer_send_state(PowerPeer *peer, guint8 state, guint32 possible);
void power_peer_send_allowed(PowerPeer *peer, guint8 state, guint32 allowed, guint32 possible);
void power_peer_send_result(PowerPeer *peer, guint32 request_id, guint8 result,
                            const gchar *message);
/* @message needn't have @size bytes: it's what the message says */
void power_peer_send_result_raw(PowerPeer *peer, guint32 request_id, guint8 result,
                                guint32 message_len, gconstpointer message, gsize size);

/* The next message must be of @type; returns its body */
GBytes *power_peer_recv(PowerPeer *peer, guint16 type);
/* The next message must be this request; returns its id */
guint32 power_peer_recv_request(PowerPeer *peer, guint16 type);
/* Nothing that the client has sent so far is unread */
void power_peer_assert_nothing_sent(PowerPeer *peer);
/* The next thing to read must be the end of the connection */
void power_peer_assert_closed(PowerPeer *peer);
