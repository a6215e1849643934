/*
 * A program that is run for an action or for the state: with a time limit,
 * and with a limit on what it may say
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CHILD_H
#define GATEWAY_CHILD_H

#include <glib.h>

/* So much of what a child says is kept, in bytes */
#define CHILD_MAX_OUTPUT 4096

typedef struct Child Child;

typedef struct ChildResult {
    /* whether it ran to its end with exit status 0 */
    gboolean ok;
    gboolean timed_out;
    int exit_status;            /* -1 if it has none */
    /* standard output and standard error, never NULL */
    const char *output;
    const char *errors;
    /* if not ok: why, in words, without what it said */
    const char *failure;
} ChildResult;

typedef void (*ChildDone)(const ChildResult *result, gpointer opaque);
typedef void (*ChildLine)(const char *line, gpointer opaque);

/*
 * Run a program; @done is called exactly once, from the main loop and later.
 *
 * argv[0] is looked up in PATH; there is no shell. When @timeout_ms have
 * passed, its process group is killed; 0 is no limit. If @line is not NULL it
 * gets each line of standard output when it comes.
 *
 * Returns: what child_cancel() takes, until @done is called
 */
Child *child_run(char **argv, guint timeout_ms, ChildLine line, ChildDone done,
                 gpointer opaque);

/* The same, with one more variable in its environment, unless that is NULL */
Child *child_run_with(char **argv, const char *name, const char *value,
                      guint timeout_ms, ChildLine line, ChildDone done,
                      gpointer opaque);

/* Kill it, with all that it has started; no @done is called any more. */
void child_cancel(Child *child);

#endif
