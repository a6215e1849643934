/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <glib/gi18n-lib.h>

#include "spice-client.h"
#include "spice-common.h"
#include "channel-main-power-priv.h"
#include "gio-coroutine.h"
#include "spice-channel-priv.h"
#include "spice-reconnect.h"
#include "spice-session-priv.h"

/* A server that is started anew is there in a moment; the longer it takes, the longer it is
 * going to take. In ms */
#define FIRST_INTERVAL 100
#define LAST_INTERVAL 5000
/* Who sends a client to another server may be a little early. In µs */
#define SWITCH_TIMEOUT (5 * G_USEC_PER_SEC)
/* A server that ends session after session does not want this client, whatever the reason */
#define SHORT_SESSION (5 * G_USEC_PER_SEC)
#define MAX_SHORT_SESSIONS 3

typedef struct {
    char *host;
    char *port;
    char *tls_port;
    char *unix_path;
    char *cert_subject;
    gboolean tls; /* whether to begin with that, as what was there has led to it */
} Address;

struct SpiceReconnect {
    SpiceSession *session; /* which owns this */
    gboolean enabled;

    /* If a server has sent the session to another one: where the application has connected
     * to, and that other one. Either may be the one that comes back. */
    Address *home;
    Address *away;
    gboolean at_home; /* the session has the address of home now */
    gint64 switch_until; /* the server that it was sent to may not be there yet */

    gboolean waiting;
    char *reason; /* of the last attempt, or NULL if there was none */
    SpiceChannel *channel; /* the main channel, while there is a timer */
    guint timer;
    guint interval;

    gboolean again; /* this is not the first connection to this server */
    guint8 uuid[16]; /* its machine's */
    gint64 opened; /* when the main channel was */
    guint short_sessions;
};

static Address *address_of(SpiceSession *session, gboolean tls)
{
    Address *address = g_new0(Address, 1);

    g_object_get(session,
                 "host", &address->host,
                 "port", &address->port,
                 "tls-port", &address->tls_port,
                 "unix-path", &address->unix_path,
                 "cert-subject", &address->cert_subject,
                 NULL);
    address->tls = tls;
    return address;
}

static void address_free(Address *address)
{
    g_free(address->host);
    g_free(address->port);
    g_free(address->tls_port);
    g_free(address->unix_path);
    g_free(address->cert_subject);
    g_free(address);
}

static void forget_addresses(SpiceReconnect *self)
{
    g_clear_pointer(&self->home, address_free);
    g_clear_pointer(&self->away, address_free);
    self->at_home = FALSE;
}

/* Let the session have @address. To set these properties makes us forget what we have, as it is
 * the application that usually does */
static void use_address(SpiceReconnect *self, const Address *address)
{
    Address *home = g_steal_pointer(&self->home);
    Address *away = g_steal_pointer(&self->away);

    g_object_set(self->session,
                 "host", address->host,
                 "port", address->port,
                 "tls-port", address->tls_port,
                 "unix-path", address->unix_path,
                 "cert-subject", address->cert_subject,
                 NULL);
    self->home = home;
    self->away = away;
    self->at_home = address == home;
}

SpiceReconnect *spice_reconnect_new(SpiceSession *session)
{
    SpiceReconnect *self = g_new0(SpiceReconnect, 1);

    self->session = session;
    self->interval = FIRST_INTERVAL;
    return self;
}

void spice_reconnect_free(SpiceReconnect *self)
{
    if (self->timer)
        g_source_remove(self->timer);
    forget_addresses(self);
    g_free(self->reason);
    g_free(self);
}

static void set_waiting(SpiceReconnect *self, gboolean waiting, const char *reason)
{
    gboolean tried = reason != NULL;

    if (waiting == self->waiting && !tried && !self->reason)
        return;

    g_free(self->reason);
    self->reason = g_strdup(reason);
    if (waiting != self->waiting) {
        self->waiting = waiting;
        g_coroutine_object_notify(G_OBJECT(self->session), "waiting");
    }
    g_coroutine_object_notify(G_OBJECT(self->session), "waiting-reason");
}

void spice_reconnect_set_enabled(SpiceReconnect *self, gboolean enabled)
{
    self->enabled = enabled;
}

gboolean spice_reconnect_get_enabled(SpiceReconnect *self)
{
    return self->enabled;
}

gboolean spice_reconnect_get_waiting(SpiceReconnect *self)
{
    return self->waiting;
}

const char *spice_reconnect_get_reason(SpiceReconnect *self)
{
    return self->reason;
}

static void give_up(SpiceChannel *channel)
{
    spice_main_power_give_up(spice_main_channel_get_power(SPICE_MAIN_CHANNEL(channel)));
}

void spice_reconnect_cancel(SpiceReconnect *self)
{
    if (self->channel)
        give_up(self->channel);
    if (self->timer) {
        g_source_remove(self->timer);
        self->timer = 0;
    }
    self->channel = NULL;
    self->switch_until = 0;
    self->again = FALSE;
    set_waiting(self, FALSE, NULL);
}

void spice_reconnect_address_set(SpiceReconnect *self)
{
    forget_addresses(self);
}

void spice_reconnect_switch_host(SpiceReconnect *self, SpiceChannel *channel, const char *host,
                                 int port, int tls_port, const char *cert_subject)
{
    Address *away = g_new0(Address, 1);

    /* who is sent on and on has come from where the application has connected to */
    if (self->home == NULL)
        self->home = address_of(self->session, channel->priv->tls);
    g_clear_pointer(&self->away, address_free);
    self->away = away;

    away->host = g_strdup(host);
    /* old spicec client doesn't accept port == 0, see Migrate::start */
    away->port = port > 0 ? g_strdup_printf("%d", port) : NULL;
    away->tls_port = tls_port > 0 ? g_strdup_printf("%d", tls_port) : NULL;
    away->cert_subject = g_strdup(cert_subject);
    away->tls = channel->priv->tls;
    use_address(self, away);

    self->interval = FIRST_INTERVAL;
    self->again = FALSE;
    self->switch_until = g_get_monotonic_time() + SWITCH_TIMEOUT;
}

void spice_reconnect_opened(SpiceReconnect *self)
{
    if (self->at_home)
        forget_addresses(self);
    self->switch_until = 0;
    self->opened = g_get_monotonic_time();
    set_waiting(self, FALSE, NULL);
}

gboolean spice_reconnect_check_uuid(SpiceReconnect *self, SpiceChannel *channel,
                                    const guint8 uuid[16])
{
    static const guint8 none[sizeof(self->uuid)];
    SpiceChannelPrivate *c = channel->priv;
    gboolean told = memcmp(uuid, none, sizeof(none)) != 0;
    gboolean known = memcmp(self->uuid, none, sizeof(none)) != 0;

    /* what is typed must not go to a machine that has come to have the same port; that at
     * home may be another one, as far as we know */
    if (self->again && self->home == NULL && told && known &&
        memcmp(uuid, self->uuid, sizeof(self->uuid)) != 0) {
        g_set_error_literal(&c->error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_FAILED,
                            _("The server that has come back is that of another machine"));
        c->has_error = TRUE;
        return FALSE;
    }
    if (told || !self->again)
        memcpy(self->uuid, uuid, sizeof(self->uuid));
    return TRUE;
}

static gboolean connect_again(gpointer data)
{
    SpiceReconnect *self = data;
    SpiceChannel *channel = g_steal_pointer(&self->channel);
    gboolean tls = channel->priv->tls;

    self->timer = 0;
    /* by turns; who was just sent away is to be there soon */
    if (self->enabled && self->home && g_get_monotonic_time() >= self->switch_until) {
        Address *address = self->at_home ? self->away : self->home;

        use_address(self, address);
        tls = address->tls;
    }
    spice_channel_connect_again(channel, tls);

    return G_SOURCE_REMOVE;
}

/* A server that ends, is not there, or begins, as opposed to one that does not want this client
 * or is not to be trusted */
static gboolean is_away(SpiceChannelEvent event, const GError *error)
{
    switch (event) {
    case SPICE_CHANNEL_ERROR_CONNECT:
        /* without an error there is nothing to connect to */
        return error && !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PROXY_NEED_AUTH) &&
               !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PROXY_AUTH_FAILED) &&
               !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PROXY_NOT_ALLOWED);
    case SPICE_CHANNEL_ERROR_LINK:
        return !error;
    case SPICE_CHANNEL_ERROR_TLS:
        return g_error_matches(error, G_TLS_ERROR, G_TLS_ERROR_EOF);
    default:
        return FALSE;
    }
}

/* Whether the session that has just ended is to be continued */
static gboolean is_gone(SpiceReconnect *self, SpiceChannel *channel, gint64 now)
{
    SpiceChannelPrivate *c = channel->priv;

    /* it has said why, or was not asked */
    if (!self->enabled || c->error || c->disconnected ||
        spice_session_get_client_provided_socket(self->session))
        return FALSE;

    if (now - self->opened >= SHORT_SESSION) {
        self->short_sessions = 0;
        self->interval = FIRST_INTERVAL;
    } else if (++self->short_sessions >= MAX_SHORT_SESSIONS) {
        self->short_sessions = 0;
        g_set_error(&c->error, SPICE_CLIENT_ERROR, SPICE_CLIENT_ERROR_FAILED,
                    _("The server has ended the session %d times soon after it had begun"),
                    MAX_SHORT_SESSIONS);
        return FALSE;
    }
    return TRUE;
}

gboolean spice_reconnect_lost(SpiceReconnect *self, SpiceChannel *channel, gboolean was_ready)
{
    SpiceChannelPrivate *c = channel->priv;
    gint64 now = g_get_monotonic_time();
    gboolean again;

    if (was_ready)
        again = is_gone(self, channel, now);
    else
        again = is_away(c->event, c->error) &&
                (now < self->switch_until ||
                 (self->enabled && (self->waiting || self->switch_until != 0)));
    if (!again) {
        spice_reconnect_cancel(self);
        give_up(channel);
        return FALSE;
    }

    if (was_ready) {
        if (self->away)
            self->away->tls = c->tls;
        spice_session_abort_migration(self->session);
        spice_session_switching_disconnect(self->session);
        self->again = TRUE;
        set_waiting(self, TRUE, NULL);
    } else {
        set_waiting(self, TRUE, c->error ? c->error->message :
                                           _("The server has ended the connection"));
    }
    /* the application, which has just been told, may have connected by itself */
    if (!self->waiting)
        return TRUE;
    CHANNEL_DEBUG(channel, "connecting again in %u ms", self->interval);
    self->channel = channel;
    /* who waits for the same server does not come at the same time */
    self->timer = g_timeout_add(self->interval * g_random_double_range(0.8, 1), connect_again,
                                self);
    self->interval = MIN(self->interval * 3 / 2, LAST_INTERVAL);
    return TRUE;
}
