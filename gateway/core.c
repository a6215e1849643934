/*
 * spice-server's timers and watches, on GLib's main loop
 *
 * The library calls all of this in the thread of the main loop; its workers
 * have loops of their own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core.h"
#include "guard.h"

/* That whose watch or timer is being served, or NULL; in other threads always */
static _Thread_local const CoreOwner *current;
/* Whose clients are there, by connection id */
static GHashTable *clients;
/* What the library has warned of, as long as one is being served */
static GPtrArray *warnings;
/* How long the connection that has just begun is held; see guard_arrived() */
static int hold_ms;
static gboolean was_held;       /* that has been done before */

struct SpiceTimer {
    const CoreOwner *owner;
    SpiceTimerFunc func;
    void *opaque;
    guint source;
};

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    SpiceTimer *timer = g_new0(SpiceTimer, 1);

    timer->owner = current;
    timer->func = func;
    timer->opaque = opaque;
    return timer;
}

static void timer_cancel(SpiceTimer *timer)
{
    g_clear_handle_id(&timer->source, g_source_remove);
}

static gboolean timer_expired(gpointer opaque)
{
    SpiceTimer *timer = opaque;

    /* It may start, or remove, the timer */
    timer->source = 0;
    core_enter(timer->owner);
    timer->func(timer->opaque);
    core_leave();
    return G_SOURCE_REMOVE;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer_cancel(timer);
    timer->source = g_timeout_add(ms, timer_expired, timer);
}

static void timer_remove(SpiceTimer *timer)
{
    timer_cancel(timer);
    g_free(timer);
}

struct SpiceWatch {
    const CoreOwner *owner;
    int fd;
    int events;
    SpiceWatchFunc func;
    void *opaque;
    guint source;
    guint hold_timer;           /* until then nothing is watched */
};

static gboolean watch_ready(gint fd, GIOCondition condition, gpointer opaque)
{
    SpiceWatch *watch = opaque;
    int events = 0;

    if (condition & (G_IO_IN | G_IO_HUP | G_IO_ERR)) {
        events |= SPICE_WATCH_EVENT_READ;
    }
    if (condition & G_IO_OUT) {
        events |= SPICE_WATCH_EVENT_WRITE;
    }
    /* It may remove the watch; what that frees is not touched any more */
    core_enter(watch->owner);
    watch->func(fd, events, watch->opaque);
    core_leave();
    return G_SOURCE_CONTINUE;
}

static void watch_update_mask(SpiceWatch *watch, int events)
{
    GIOCondition condition = 0;

    g_clear_handle_id(&watch->source, g_source_remove);
    watch->events = events;
    if (watch->hold_timer) {
        return;
    }
    if (events & SPICE_WATCH_EVENT_READ) {
        condition |= G_IO_IN | G_IO_HUP | G_IO_ERR;
    }
    if (events & SPICE_WATCH_EVENT_WRITE) {
        condition |= G_IO_OUT;
    }
    if (condition) {
        watch->source = g_unix_fd_add(watch->fd, condition, watch_ready, watch);
    }
}

static gboolean hold_over(gpointer opaque)
{
    SpiceWatch *watch = opaque;

    watch->hold_timer = 0;
    watch_update_mask(watch, watch->events);
    return G_SOURCE_REMOVE;
}

/*
 * The library begins with a connection by waiting for what the client says, and
 * does not know that it may be waited for longer. Now and then a client that is
 * very quick has said all before it is waited for; nobody can count on that.
 */
static void hold(SpiceWatch *watch)
{
    if (hold_ms < 0) {
        shutdown(watch->fd, SHUT_RDWR);
    } else if (hold_ms > 0) {
        watch->hold_timer = g_timeout_add(hold_ms, hold_over, watch);
    }
    hold_ms = 0;
}

static SpiceWatch *watch_add(int fd, int events, SpiceWatchFunc func,
                             void *opaque)
{
    SpiceWatch *watch = g_new0(SpiceWatch, 1);

    watch->owner = current;
    watch->fd = fd;
    watch->func = func;
    watch->opaque = opaque;
    hold(watch);
    watch_update_mask(watch, events);
    return watch;
}

static void watch_remove(SpiceWatch *watch)
{
    g_clear_handle_id(&watch->source, g_source_remove);
    g_clear_handle_id(&watch->hold_timer, g_source_remove);
    g_free(watch);
}

/* Returns: NULL for a client of this computer, which has no number; free it */
static char *address_name(const struct sockaddr_storage *address)
{
    char host[INET6_ADDRSTRLEN] = "";

    switch (address->ss_family) {
    case AF_INET: {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        return g_strdup_printf("%s:%u", host, ntohs(in->sin_port));
    }
    case AF_INET6: {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;

        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
        return g_strdup_printf("[%s]:%u", host, ntohs(in->sin6_port));
    }
    default:
        return NULL;
    }
}

/* A client may also leave when it is told something, and nobody is served */
static const CoreOwner *owner_of(int event, const SpiceChannelEventInfo *info)
{
    gpointer id = GUINT_TO_POINTER(info->connection_id);
    gpointer owner = NULL;

    if (event == SPICE_CHANNEL_EVENT_DISCONNECTED) {
        g_hash_table_steal_extended(clients, id, NULL, &owner);
    } else if (current) {
        owner = (gpointer)current;
        g_hash_table_insert(clients, id, owner);
    }
    return owner;
}

/* For the log, and whoever reads that */
static const char *in_words(SpiceAuthFailure failure)
{
    switch (failure) {
    case SPICE_AUTH_FAILURE_TICKET_WRONG:
        return "a wrong password";
    case SPICE_AUTH_FAILURE_TICKET_EXPIRED:
        return "a password that has expired";
    case SPICE_AUTH_FAILURE_TICKET_NOT_SET:
        return "there is no password";
    case SPICE_AUTH_FAILURE_SASL:
        return "a wrong name or password, says SASL";
    case SPICE_AUTH_FAILURE_SASL_WEAK:
        return "SASL without encryption: use TLS";
    case SPICE_AUTH_FAILURE_NONE:
        break;
    }
    return "for a reason that only a newer spice-gateway knows";
}

static void log_warnings(void)
{
    guint i;

    for (i = 0; i < warnings->len; i++) {
        g_log_default_handler("Spice", G_LOG_LEVEL_WARNING, warnings->pdata[i],
                              NULL);
    }
    g_ptr_array_set_size(warnings, 0);
}

/*
 * It warns of who is not let in, just before it tells us. Anybody can cause
 * that, so those lines have a limit, which is the audit's: they are kept until
 * it's known what they are about.
 */
static void library_warns(const char *domain, GLogLevelFlags level,
                          const char *message, gpointer unused)
{
    if (current && (level & G_LOG_LEVEL_MASK) == G_LOG_LEVEL_WARNING &&
        !(level & G_LOG_FLAG_FATAL)) {
        g_ptr_array_add(warnings, g_strdup(message));
        return;
    }
    if (current) {
        /* it is the end: what came before is told before */
        log_warnings();
    }
    g_log_default_handler(domain, level, message, NULL);
}

/* It is being served: the library tells at once */
static void not_let_in(const SpiceChannelEventInfo *info)
{
    g_ptr_array_set_size(warnings, 0);
    guard_failed(&info->paddr_ext);
    current->not_let_in(info, in_words(info->auth_failure), current->opaque);
}

static void tell_of_viewer(const CoreOwner *owner, int event)
{
    if (event == SPICE_CHANNEL_EVENT_INITIALIZED && owner->viewer_came) {
        owner->viewer_came(owner->opaque);
    } else if (event == SPICE_CHANNEL_EVENT_DISCONNECTED &&
               owner->viewer_left) {
        owner->viewer_left(owner->opaque);
    }
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    g_autofree char *peer = NULL, *own = NULL;
    const struct sockaddr_un *local;
    const CoreOwner *owner;

    if (event == SPICE_CHANNEL_EVENT_CONNECTED) {
        hold_ms = was_held ? 0 : guard_arrived(&info->paddr_ext);
        return;
    }
    if (info->flags & SPICE_CHANNEL_EVENT_FLAG_AUTH_FAILED) {
        not_let_in(info);
        return;
    }
    /* Called from the display's thread too, for the channels there */
    if (info->type != SPICE_CHANNEL_MAIN) {
        return;
    }
    peer = address_name(&info->paddr_ext);
    own = address_name(&info->laddr_ext);
    local = (const struct sockaddr_un *)&info->laddr_ext;
    owner = owner_of(event, info);
    g_message("%s%sclient %u (%s at %s%s) %s", owner ? owner->name : "",
              owner ? ": " : "", info->connection_id,
              peer ?: "a local client",
              own ?: local->sun_family == AF_UNIX ? local->sun_path : "?",
              info->flags & SPICE_CHANNEL_EVENT_FLAG_TLS ? ", TLS" : "",
              event == SPICE_CHANNEL_EVENT_INITIALIZED ? "connected"
                                                       : "disconnected");
    if (owner && event == SPICE_CHANNEL_EVENT_INITIALIZED) {
        owner->connected(owner->opaque);
    } else if (owner) {
        owner->disconnected(owner->opaque);
    }
    if (owner && !(info->flags & SPICE_CHANNEL_EVENT_FLAG_CONTROL_ONLY)) {
        tell_of_viewer(owner, event);
    }
}

/* One is served at a time: spice-server does not run the main loop */
void core_enter(const CoreOwner *owner)
{
    g_assert(!current);
    current = owner;
    if (!warnings) {
        warnings = g_ptr_array_new_with_free_func(g_free);
    }
}

void core_enter_with_client(const CoreOwner *owner)
{
    core_enter(owner);
    was_held = TRUE;
}

void core_leave(void)
{
    log_warnings();
    current = NULL;
    was_held = FALSE;
    hold_ms = 0;
}

SpiceCoreInterface *core_interface(void)
{
    static SpiceCoreInterface core = {
        .base.type = "core",
        .base.description = "spice-gateway",
        .base.major_version = SPICE_INTERFACE_CORE_MAJOR,
        .base.minor_version = SPICE_INTERFACE_CORE_MINOR,
        .timer_add = timer_add,
        .timer_start = timer_start,
        .timer_cancel = timer_cancel,
        .timer_remove = timer_remove,
        .watch_add = watch_add,
        .watch_update_mask = watch_update_mask,
        .watch_remove = watch_remove,
        .channel_event = channel_event,
    };

    if (!clients) {
        clients = g_hash_table_new(NULL, NULL);
        g_log_set_handler("Spice", G_LOG_LEVEL_WARNING | G_LOG_LEVEL_CRITICAL |
                          G_LOG_LEVEL_ERROR | G_LOG_FLAG_FATAL, library_warns,
                          NULL);
    }
    return &core;
}

static gboolean is_of(gpointer id, gpointer owner, gpointer which)
{
    return owner == which;
}

void core_forget(const CoreOwner *owner)
{
    if (clients) {
        g_hash_table_foreach_remove(clients, is_of, (gpointer)owner);
    }
}
