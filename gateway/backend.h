/*
 * What knows how to ask for, and change, the power of one kind of host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_BACKEND_H
#define GATEWAY_BACKEND_H

#include <glib.h>
#include <spice/enums.h>

#include "config.h"

/*
 * @result is one of SPICE_POWER_RESULT_; with others than OK, @message is a
 * reason that a person can do something about, in words. @state is one of
 * SPICE_POWER_STATE_, and UNKNOWN after an action.
 */
typedef void (*BackendDone)(guint32 result, const char *message, guint32 state,
                            gpointer opaque);
/*
 * The backend has seen a state by itself; or it sees none any more, that's
 * UNKNOWN and a @message why. Without, @message is NULL.
 */
typedef void (*BackendPushed)(guint32 state, const char *message,
                              gpointer opaque);

typedef struct Backend {
    /* the actions that it can do with this configuration */
    guint32 (*supported)(const Config *config);
    /* NULL, or whether states are pushed: begin to, and for ever */
    void (*watch)(const Config *config, BackendPushed pushed, gpointer opaque);
    /*
     * Whether this configuration can ask for the state. If not, status() is
     * never called.
     */
    gboolean (*can_ask)(const Config *config);
    /*
     * Each of these calls @done exactly once, from the main loop and later,
     * within the configured time, an action within @timeout_ms as well. No two
     * actions run at a time, nor two status(); the state may be asked for while
     * an action runs.
     */
    void (*status)(const Config *config, BackendDone done, gpointer opaque);
    void (*action)(const Config *config, guint32 action, guint timeout_ms,
                   BackendDone done, gpointer opaque);
} Backend;

extern const Backend backend_exec;
extern const Backend backend_ipmi;

#endif
