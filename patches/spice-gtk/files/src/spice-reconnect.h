/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a session does when its main channel has not been disconnected by the
 * application: connect again, see #SpiceSession:reconnect
 */
#pragma once

#include "spice-client.h"

G_BEGIN_DECLS

typedef struct SpiceReconnect SpiceReconnect;

/* belongs to @session */
SpiceReconnect *spice_reconnect_new(SpiceSession *session);
void spice_reconnect_free(SpiceReconnect *self);

void spice_reconnect_set_enabled(SpiceReconnect *self, gboolean enabled);
gboolean spice_reconnect_get_enabled(SpiceReconnect *self);
gboolean spice_reconnect_get_waiting(SpiceReconnect *self);
const char *spice_reconnect_get_reason(SpiceReconnect *self);

/* The application connects or disconnects: nothing is waited for any more */
void spice_reconnect_cancel(SpiceReconnect *self);
/* The application has said where the server is */
void spice_reconnect_address_set(SpiceReconnect *self);
/* The server sends the session, whose main channel is @channel, to another one. Any context */
void spice_reconnect_switch_host(SpiceReconnect *self, SpiceChannel *channel, const char *host,
                                 int port, int tls_port, const char *cert_subject);
/* The server has let the main channel in. Coroutine context */
void spice_reconnect_opened(SpiceReconnect *self);
/* The server has told which machine it has, or nothing but zeros: whether that's not another one
 * than before. Coroutine context */
gboolean spice_reconnect_check_uuid(SpiceReconnect *self, SpiceChannel *channel,
                                    const guint8 uuid[16]);
/* The main channel has ended, or could not be connected. Returns whether that is not to be
 * told, since it is going to be connected again. Main context */
gboolean spice_reconnect_lost(SpiceReconnect *self, SpiceChannel *channel, gboolean was_ready);

G_END_DECLS
