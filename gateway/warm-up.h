/*
 * What libraries read once, for a process that soon can't open files
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_WARM_UP_H
#define GATEWAY_WARM_UP_H

/* Have libgvnc, and what it uses, read what they read when first used */
void warm_up(void);

#endif
