/*
 * Who tries passwords has to wait
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <string.h>

#include "guard.h"

/* Clients begin with none at all if they have not asked for one yet */
#define FREE_FAILURES 10
/* spice-server gives them half a minute, in which they are to get ready */
#define MAX_HOLD_MS   20000
/* Then the address that has been quiet for the longest is forgotten */
#define MAX_ADDRESSES 4096

/* What anybody can cause is in the log so often, and no more */
#define LINES_A_MINUTE 10

GuardTimes guard_times = {
    .forget_ms = 60000, .first_ms = 250, .most_ms = 4000
};

typedef struct Suspect {
    guint64 key;
    GList link;                 /* in the queue */
    guint failures;
    gint64 failed_at;           /* the last time, in microseconds */
    gint64 next_at;             /* when the next connection goes on */
} Suspect;

static GHashTable *suspects;    /* of Suspect, by key */
static GQueue queue = G_QUEUE_INIT;     /* the first has failed first */
static guint64 held, ended;
static gint64 minute;           /* when it has begun, in microseconds */
static guint lines;             /* in it */

/*
 * Those of whom one can have as many as one likes are one: an IPv6 network.
 * Returns: FALSE if it never waits
 */
static gboolean get_key(const struct sockaddr_storage *peer, guint64 *key)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
    guint32 host = 0;

    if (peer->ss_family == AF_INET) {
        host = ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
    } else if (peer->ss_family != AF_INET6 ||
               IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr)) {
        return FALSE;
    } else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        memcpy(&host, &in6->sin6_addr.s6_addr[12], sizeof(host));
    } else {
        /* the network is the same for all where there is none but this */
        memcpy(key, &in6->sin6_addr.s6_addr[
            IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ? 8 : 0], sizeof(*key));
        return TRUE;
    }
    *key = ntohl(host);
    return ntohl(host) >> 24 != IN_LOOPBACKNET;
}

static void forget(Suspect *suspect)
{
    g_queue_unlink(&queue, &suspect->link);
    g_hash_table_remove(suspects, &suspect->key);
    g_free(suspect);
}

static void forget_old(gint64 now)
{
    gint64 since = now - guard_times.forget_ms * G_TIME_SPAN_MILLISECOND;

    while (queue.head && (((Suspect *)queue.head->data)->failed_at < since ||
                          queue.length > MAX_ADDRESSES)) {
        forget(queue.head->data);
    }
}

/* Once for each, as long as it goes on */
static void tell_slow(const struct sockaddr_storage *peer, gint64 now)
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (!lines || now - minute > G_TIME_SPAN_MINUTE) {
        minute = now;
        lines = 0;
    }
    if (lines++ < LINES_A_MINUTE) {
        inet_ntop(peer->ss_family, peer->ss_family == AF_INET
                  ? (void *)&((struct sockaddr_in *)peer)->sin_addr
                  : (void *)&((struct sockaddr_in6 *)peer)->sin6_addr,
                  host, sizeof(host));
        g_message("%s has given %d wrong passwords: its connections have to"
                  " wait%s", host, FREE_FAILURES, lines == LINES_A_MINUTE
                  ? " (for a minute no more of this is told)" : "");
    }
}

static Suspect *find(guint64 key)
{
    return suspects ? g_hash_table_lookup(suspects, &key) : NULL;
}

void guard_failed(const struct sockaddr_storage *peer)
{
    gint64 now = g_get_monotonic_time();
    Suspect *suspect;
    guint64 key;

    if (!get_key(peer, &key)) {
        return;
    }
    if (!suspects) {
        suspects = g_hash_table_new(g_int64_hash, g_int64_equal);
    }
    forget_old(now);
    suspect = find(key);
    if (suspect) {
        g_queue_unlink(&queue, &suspect->link);
    } else {
        suspect = g_new0(Suspect, 1);
        suspect->key = key;
        suspect->link.data = suspect;
        g_hash_table_insert(suspects, &suspect->key, suspect);
    }
    if (++suspect->failures == FREE_FAILURES) {
        tell_slow(peer, now);
    }
    suspect->failed_at = now;
    g_queue_push_tail_link(&queue, &suspect->link);
}

static guint pause_of(const Suspect *suspect)
{
    guint i, ms = guard_times.first_ms;

    for (i = FREE_FAILURES; i < suspect->failures &&
                            ms < guard_times.most_ms; i++) {
        ms *= 2;
    }
    return MIN(ms, guard_times.most_ms);
}

int guard_arrived(const struct sockaddr_storage *peer)
{
    gint64 now = g_get_monotonic_time(), at;
    Suspect *suspect;
    guint64 key;

    forget_old(now);
    suspect = get_key(peer, &key) ? find(key) : NULL;
    if (!suspect || suspect->failures < FREE_FAILURES) {
        return 0;
    }
    at = MAX(now, suspect->next_at) +
         pause_of(suspect) * G_TIME_SPAN_MILLISECOND;
    if (at - now > MAX_HOLD_MS * G_TIME_SPAN_MILLISECOND) {
        ended++;
        return -1;
    }
    suspect->next_at = at;
    held++;
    return (at - now) / G_TIME_SPAN_MILLISECOND;
}

guint64 guard_held(void)
{
    return held;
}

guint64 guard_ended(void)
{
    return ended;
}

void guard_forget_all(void)
{
    while (queue.head) {
        forget(queue.head->data);
    }
    g_clear_pointer(&suspects, g_hash_table_unref);
    held = ended = 0;
}
