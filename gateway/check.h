/*
 * What a configuration names, looked at before it is needed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CHECK_H
#define GATEWAY_CHECK_H

#include "config.h"

/*
 * Certificates and their keys, as the machines' servers will use them. What
 * can't be used is added to @problems, and what will be of no use to clients to
 * @warnings: lines that name the file, the group and the key. They own them.
 */
void check_certificates(const Config *config, GPtrArray *problems,
                        GPtrArray *warnings);

/* Programs, and files that these read: what is not there, or may not be used */
void check_programs(const Config *config, GPtrArray *problems);

/*
 * Ask each machine for its power state, once, and print what it says; those of
 * hypervisors are not asked. Runs the main loop until all have answered, or had
 * their time. Returns: whether all have said what it is
 */
gboolean check_machines(const Config *config);

#endif
