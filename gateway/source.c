/*
 * Where a machine's picture comes from, and its keyboard's and mouse's input
 * goes to
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "source.h"

Source *source_new(const MachineConfig *config, const SourceSession *session,
                   gpointer opaque, GError **error)
{
    switch (config->source) {
    case SOURCE_VNC:
        return source_process_new(config, session, opaque, error);
    case SOURCE_NONE:
        break;
    }
    g_return_val_if_reached(NULL);
}
