/*
 * Who tries passwords has to wait
 *
 * For each address, whatever machine it wants. Who has given too many wrong
 * ones within a minute waits with each connection, longer and longer, and one
 * after the other; right ones are let in then, so nobody is locked out by it.
 * This computer, and UNIX sockets, never wait: behind them is a proxy that does
 * not say whom it connects. For the thread of the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_GUARD_H
#define GATEWAY_GUARD_H

#include <glib.h>
#include <sys/socket.h>

/* For tests, which have less time */
typedef struct GuardTimes {
    guint forget_ms;            /* after which nothing is known of it */
    guint first_ms;             /* to wait, and then twice as long each time */
    guint most_ms;
} GuardTimes;

extern GuardTimes guard_times;

/* It has given a wrong password */
void guard_failed(const struct sockaddr_storage *peer);

/*
 * A connection from there begins. Returns: for how many ms it is to be held; -1
 * if so many are held that it is to end
 */
int guard_arrived(const struct sockaddr_storage *peer);

/* How many have been held, and how many were ended */
guint64 guard_held(void);
guint64 guard_ended(void);

/* As if nobody had given any */
void guard_forget_all(void);

#endif
