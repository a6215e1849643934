/*
 * A Redfish service in the process, after DMTF's DSP0266
 *
 * It has one system, or several, a user, sessions, and events; what it's to
 * answer otherwise, right or wrong, a test says for each path.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_FAKE_REDFISH_H
#define GATEWAY_TESTS_FAKE_REDFISH_H

#include <libsoup/soup.h>

#define FAKE_USER     "operator"
#define FAKE_PASSWORD "redfish-secret"
#define FAKE_SYSTEM   "/redfish/v1/Systems/1"
#define FAKE_RESET    FAKE_SYSTEM "/Actions/ComputerSystem.Reset"
#define FAKE_SESSIONS "/redfish/v1/SessionService/Sessions"
#define FAKE_EVENTS   "/redfish/v1/EventService/SSE"

typedef enum FakeManner {
    FAKE_WELL,
    FAKE_SILENT,                /* it says nothing */
    FAKE_SLOW,                  /* a byte now and then */
    FAKE_RAW,                   /* the body is all that is sent, then it ends */
} FakeManner;

typedef struct FakeRedfish {
    SoupServer *server;
    GSocketService *tls;        /* NULL: it has none, and server listens */
    GTlsCertificate *certificate;       /* NULL: the same */
    char *url;

    /* What it is; a test may change it at any time */
    gboolean has_user;          /* nobody else is let in but for the root */
    gboolean has_sessions;      /* otherwise it's by Basic */
    gboolean has_events;
    const char *power;          /* JSON; NULL: there is no such member */
    const char *reset;          /* JSON of the action's members */
    const char *systems;        /* JSON of the collection's Members */
    const char *etag;           /* of the system; NULL: none */

    /* What has been asked of it */
    guint roots, log_ins, log_outs, looks, unchanged, resets;
    char *reset_type;           /* the last one */
    guint requests;             /* all of them */
    char *origin;               /* the Authorization of the last one, or NULL */

    GHashTable *answers;        /* by method and path */
    guint tokens;               /* how many there have been */
    char *token;                /* that is good now; NULL: none is */
    SoupServerMessage *listener;        /* who wants events, or NULL */
    GSource *hang_up;           /* when they leave */
    guint listeners;            /* how many there have been */
    GPtrArray *drips;           /* of those who are answered slowly */
    SoupServerMessage *silent;  /* the last that is not answered; or NULL */
} FakeRedfish;

/* @certificate is NULL if it's to be without TLS, and not taken */
FakeRedfish *fake_redfish_new(GTlsCertificate *certificate);
void fake_redfish_free(FakeRedfish *fake);

/*
 * Answer that for "METHOD /path" from now on, or with a status of 0 as it would
 * otherwise. @headers are lines. Nobody is asked for a user there.
 */
void fake_redfish_answer(FakeRedfish *fake, const char *what, guint status,
                         const char *headers, const char *body);
void fake_redfish_behave(FakeRedfish *fake, const char *what,
                         FakeManner manner, const char *body);

/* Who has been asked last, and is silent, says that it can't */
void fake_redfish_wake(FakeRedfish *fake);

/* Sessions have ended */
void fake_redfish_forget(FakeRedfish *fake);

/* Send these lines to the listener; or no more */
void fake_redfish_send(FakeRedfish *fake, const char *lines);
void fake_redfish_hang_up(FakeRedfish *fake);

#endif
