/*
 * The clients' keyboard and mouse, for a machine
 *
 * Everything here is for the thread of the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_INPUT_H
#define GATEWAY_INPUT_H

#include <glib.h>
#include <spice.h>

#include "source.h"

typedef struct Input Input;

/*
 * For clients of @server, which has been initialized; what they type goes to
 * @source. Neither is taken, both must outlive it. There is no inputs channel
 * until input_show().
 */
Input *input_new(SpiceServer *server, Source *source);

/* There is somebody for whom the input is; again is no error */
void input_show(Input *input);
/* There is nobody: what is pressed is let go. No error without one */
void input_hide(Input *input);

/*
 * Whether the machine's mouse can only be moved: then clients catch theirs. It
 * is not so at first, and again after input_hide().
 */
void input_set_relative(Input *input, gboolean is_relative);

/* The machine's keyboard has these SPICE_KEYBOARD_MODIFIER_FLAGS_ on */
void input_set_leds(Input *input, guint8 leds);

/* Hides it, too */
void input_free(Input *input);

#endif
