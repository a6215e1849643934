/*
 * spice-server's timers and watches, on GLib's main loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CORE_H
#define GATEWAY_CORE_H

#include <glib.h>
#include <spice.h>

/* Whose server something is */
typedef struct CoreOwner {
    const char *name;           /* for the log */
    /* A client is there, or gone; from within spice-server: not for its calls */
    void (*connected)(gpointer opaque);
    void (*disconnected)(gpointer opaque);
    /* One was not let in, for @why: what it has come with is wrong */
    void (*not_let_in)(const SpiceChannelEventInfo *client, const char *why,
                       gpointer opaque);
    /* Beside these, if it is one who may look at the display; may be NULL */
    void (*viewer_came)(gpointer opaque);
    void (*viewer_left)(gpointer opaque);
    gpointer opaque;
} CoreOwner;

/*
 * The same for all servers. For servers of the thread of the main loop.
 *
 * spice-server does not say whose clients come and go. But what it waits for
 * with a watch or a timer is for the server that has added that, so all that is
 * added while one has been entered belongs to it, and what that adds later.
 */
SpiceCoreInterface *core_interface(void);

/* The server is there no more, so no client of it is either */
void core_forget(const CoreOwner *owner);

/* @owner must outlive the server; core_leave() goes with each. */
void core_enter(const CoreOwner *owner);
/* Who comes until then has been held already; see guard.h */
void core_enter_with_client(const CoreOwner *owner);
void core_leave(void);

#endif
