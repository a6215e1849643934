/*
 * What IPMI has room for, and needs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_CONFIG_IPMI_H
#define GATEWAY_CONFIG_IPMI_H

#include "config.h"

/* Whether the group [ipmi] makes sense, before anything is sent */
gboolean config_ipmi_check(const MachineConfig *config, GError **error);

/*
 * The key K_g of a file's first line: text, or 0x and hexadecimal digits.
 *
 * Returns: its bytes, as a string; NULL and @error if it's none. Caller frees
 */
char *config_ipmi_key(const char *path, const char *line, GError **error);

#endif
