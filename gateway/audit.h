/*
 * Who has asked a machine for what, and what has become of it: in the log
 *
 * One line for each request, refused ones too, with the same in fields if the
 * log is systemd's journal; and one for who has not been let in. What somebody
 * can cause without anything happening is limited, and the rest is counted.
 * Everything here is for the thread of the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_AUDIT_H
#define GATEWAY_AUDIT_H

#include <glib.h>
#include <spice.h>

/* By which journalctl finds these lines: MESSAGE_ID= */
#define AUDIT_REQUEST_ID  "c23b8251abcb41e2af47451026b7541e"
#define AUDIT_LOGIN_ID    "98056fb7e0d6444093faa1f25308684a"
#define AUDIT_LEFT_OUT_ID "73fbb66d555a48639dcaf717ec81d861"

/* For tests, which have less time, and no journal */
extern guint audit_limit_ms;    /* what is limited is so for each of these */
extern gboolean (*audit_is_journal)(void);

/* That of one machine */
typedef struct Audit Audit;

/* Caller calls audit_free() */
Audit *audit_new(const char *machine);

/*
 * A request has been answered with @result, one of SPICE_POWER_RESULT_, after
 * @ms. @reason may be NULL. @is_idle is whether nothing was tried for it.
 */
void audit_request(Audit *audit, const SpicePowerRequest *request,
                   guint32 result, const char *reason, gint64 ms,
                   gboolean is_idle);

/* Somebody has not been let in, for @reason */
void audit_not_let_in(Audit *audit, const SpiceChannelEventInfo *client,
                      const char *reason);

/* Returns: how many there have been, in the log or not */
guint64 audit_requests(const Audit *audit, guint32 action, guint32 result);
guint64 audit_logins_refused(const Audit *audit);

/* What has been left out is told first. @audit may be NULL */
void audit_free(Audit *audit);

/*
 * What cannot be mistaken for anything else in a line: as it is if it's a word,
 * else in quotes, without anything that is not printed. Caller frees.
 */
char *audit_quote(const char *text);

#endif
