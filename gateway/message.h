/*
 * A message where a picture should be
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_MESSAGE_H
#define GATEWAY_MESSAGE_H

#include <glib.h>

#include "picture.h"

/*
 * Draw @title and @text below it into @picture, all of which is overwritten.
 * Lines are broken where they have to be; what there is no room for then is
 * left out.
 */
void message_draw(Picture *picture, const char *title, const char *text);

#endif
