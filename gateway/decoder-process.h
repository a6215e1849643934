/*
 * The process that decodes one machine's video: as spice-gateway sees it
 *
 * Whatever it says takes a bounded time of the main loop, and what becomes of it
 * is told once. Everything here is for the thread of the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_DECODER_PROCESS_H
#define GATEWAY_DECODER_PROCESS_H

#include "config.h"
#include "decoder-protocol.h"

typedef struct DecoderProcess DecoderProcess;

typedef struct DecoderTimes {
    guint ask_ms;               /* it has as long to answer */
    guint end_ms;               /* for what is still to be sent, at its end */
} DecoderTimes;

/* For tests, which have less time */
extern DecoderTimes decoder_times;
/*
 * What is run, and its arguments. main() sets it, as only that knows that it is
 * one
 */
extern const char *const *decoder_program;

/* How many processes there are, with those that are ending */
extern guint decoder_processes;

typedef struct DecoderProcessEvents {
    /*
     * It has said something. Takes the descriptor. Returns: NULL, or what is
     * wrong with it; then it is ended
     */
    const char *(*said)(const DecoderMessage *message, gpointer opaque);
    /*
     * It is gone without a word, for a @reason that is valid during the call.
     * The process is none any more.
     */
    void (*lost)(const char *reason, gpointer opaque);
} DecoderProcessEvents;

/*
 * Start one for @config, which is connected by @fd; takes that. @token is a
 * session's, or NULL; @own_format is as for source_vnc_new(). @events and @opaque must live until it is lost, or
 * decoder_process_end().
 *
 * Returns: NULL and @error if it can't be started
 */
DecoderProcess *decoder_process_new(const MachineConfig *config,
                                    const char *token, int fd,
                                    gboolean own_format,
                                    const DecoderProcessEvents *events,
                                    gpointer opaque, GError **error);

/*
 * Tell it something, in order. What is not @needed is lost if too much is under
 * way; of what is there must be a limit.
 */
gboolean decoder_process_tell(DecoderProcess *process, const DecoderHead *head,
                              gboolean needed);

/* It is told no more, and ends; @process is none any more */
void decoder_process_end(DecoderProcess *process);

#endif
