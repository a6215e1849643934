/*
 * The process that decodes one machine's video: what is in it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_DECODER_H
#define GATEWAY_DECODER_H

/*
 * All that it does; its socket is standard input. Whoever has found
 * DECODER_OPTION on its command line calls this before all else.
 */
_Noreturn void decoder_main(void);

#endif
