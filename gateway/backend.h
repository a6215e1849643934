/*
 * What knows how to ask for, and change, the power of one machine
 *
 * A backend is made from a machine's configuration, and belongs to one machine.
 * It does nothing until it is watched or asked. Everything here is for the
 * thread of the main loop, and nothing blocks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_BACKEND_H
#define GATEWAY_BACKEND_H

#include <glib.h>
#include <spice/enums.h>

#include "config.h"

typedef struct Backend Backend;

/* What kind of trouble it is: when it is worth trying again */
typedef enum BackendTrouble {
    BACKEND_TROUBLE_AWAY,       /* no answer: less and less often */
    BACKEND_TROUBLE_PASSING,    /* an odd answer: once more at once */
    /*
     * What is configured is refused, a password say. After many such attempts a
     * controller may lock the account: no sooner than in a minute.
     */
    BACKEND_TROUBLE_REFUSED,
} BackendTrouble;

/* What a backend knows of its machine; valid during a call */
typedef struct BackendStatus {
    guint32 state;              /* one of SPICE_POWER_STATE_ */
    guint32 possible;           /* SPICE_POWER_ACTION_ that make sense now */
    /*
     * It is on its way from this state to another one, and takes no action
     * until it is there. UNKNOWN then is: as before.
     */
    gboolean is_changing;
    /* why the state is UNKNOWN, if something is wrong; else NULL */
    const char *trouble;
    BackendTrouble trouble_kind;        /* if there is one */
} BackendStatus;

/*
 * The SPICE server that a machine has of its own while it runs; valid during a
 * call
 */
typedef struct BackendConsole {
    /* Where clients are to be now; NULL: here */
    const char *host;
    int port, tls_port;         /* 0: none */
    /*
     * Where one can see from here whether it is there, without a proxy that
     * has something to say to everybody; NULL if host is NULL
     */
    const char *check_host;
    int check_port;
    /* why they can't be there though the machine runs; else NULL */
    const char *problem;
    /* What it lets them in with, running or not; NULL: nobody comes in */
    const char *ticket;
    gint64 ticket_end;          /* in seconds since 1970; 0: never */
    /* What one has to come with to ask for actions; NULL: with either */
    const char *power_ticket;
    gint64 power_ticket_end;
} BackendConsole;

typedef void (*BackendConsoleFunc)(const BackendConsole *console,
                                   gpointer opaque);
typedef void (*BackendStatusFunc)(const BackendStatus *status,
                                  gpointer opaque);
/*
 * @result is one of SPICE_POWER_RESULT_; with others than OK, @message is a
 * reason that a person can do something about, in words.
 */
typedef void (*BackendResultFunc)(guint32 result, const char *message,
                                  gpointer opaque);

typedef struct BackendMethods {
    /* The actions that it can do with its configuration */
    guint32 (*supported)(Backend *backend);
    /*
     * Begin to tell the status whenever it changes, until the backend is freed;
     * called once. NULL if it can only be asked. While what tells it is broken
     * the state is UNKNOWN, with the trouble.
     */
    void (*watch)(Backend *backend, BackendStatusFunc changed,
                  gpointer opaque);
    /*
     * Begin to tell of the machine's own SPICE server, when that may have
     * changed, and after the status that has to do with it; once, before
     * watch(). NULL: its machines have none.
     */
    void (*watch_console)(Backend *backend, BackendConsoleFunc changed,
                          gpointer opaque);
    /*
     * Whether anybody is there whom that concerns, as is not so at first. Only
     * then it need be known, and told. Without watch_console() it's whether
     * there are clients: what watch() tells need come at once only then. May be
     * NULL.
     */
    void (*attend)(Backend *backend, gboolean is_attended);
    /*
     * Look once more whether what has been told of both is so, and tell the
     * status, even if it is the same; or that there is trouble. NULL if there is
     * no watch_console().
     */
    void (*refresh)(Backend *backend);
    /*
     * Whether what happens now is told, so that it need be asked only now and
     * then. When that ends it is told once more. NULL: that is not known.
     */
    gboolean (*is_told)(Backend *backend);
    /*
     * The actions that are tried although what they lead to is so: the machine
     * may be about to end, which shows when the action has its turn
     */
    guint32 tried;
    /*
     * The token of its session at the BMC, for what else that has; NULL if
     * there is none at the moment, as it is not logged in to for this.
     */
    const char *(*token)(Backend *backend);
    /*
     * That was not taken elsewhere. There is none until it is known whether the
     * session has ended, and if it has, until there is another one; it's looked
     * at once. NULL, both, for one that has no sessions.
     */
    void (*doubt_token)(Backend *backend);
    /* Whether it can be asked. If not, status() is never called. */
    gboolean (*can_ask)(Backend *backend);
    /*
     * Each of these calls @done exactly once, later, within the configured
     * time, an action within @timeout_ms as well; or never, if the backend is
     * freed before. No two actions run at a time, nor two status(); the state
     * may be asked for while an action runs.
     */
    void (*status)(Backend *backend, BackendStatusFunc done, gpointer opaque);
    void (*action)(Backend *backend, guint32 action, guint timeout_ms,
                   BackendResultFunc done, gpointer opaque);
    /* Gives up what is under way: nothing is called any more */
    void (*free)(Backend *backend);
} BackendMethods;

/* An implementation has this as its first member */
struct Backend {
    const BackendMethods *methods;
};

/*
 * That of @config, which must outlive it.
 *
 * Returns: NULL and @error if it can't do what is configured. Caller calls
 * methods->free().
 */
Backend *backend_new(const MachineConfig *config, GError **error);

/*
 * Whether some that have been freed are still taking their leave of what they
 * were connected to, in the main loop. That ends within seconds.
 */
gboolean backend_is_leaving(void);

/* For those that know no more than the state: what is possible in it */
guint32 backend_possible(guint32 state);

/* The implementations */
Backend *backend_exec_new(const MachineConfig *config);
Backend *backend_ipmi_new(const MachineConfig *config);
Backend *backend_libvirt_new(const MachineConfig *config);
Backend *backend_redfish_new(const MachineConfig *config);

#endif
