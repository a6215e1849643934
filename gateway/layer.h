/*
 * Files that have keys of a machine, of which the first that has one decides
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_LAYER_H
#define GATEWAY_LAYER_H

#include "config.h"

typedef struct Layer {
    guint references;
    char *path;
    char *directory;            /* which files are relative to */
    GKeyFile *file;
    /* Whether the machine has what it has groups for; else it need not */
    gboolean is_specific;
    gboolean is_shared;         /* by several machines */
} Layer;

/* Returns: NULL and @error, which names the file, if that is wrong */
Layer *layer_load(const char *path, gboolean is_specific, gboolean is_shared,
                  GError **error);
Layer *layer_ref(Layer *layer);
/* @layer may be NULL */
void layer_unref(Layer *layer);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Layer, layer_unref)

/*
 * A machine of that @name, which @path is about, by an array of Layer. @title
 * is what clients show if nothing is set. With @has_shared_port it need not
 * have one of its own. If there is a @domain it is that, of libvirt.
 *
 * Returns: NULL and @error, which names the file, if that is wrong
 */
MachineConfig *layers_read(GPtrArray *layers, const char *path,
                           const char *name, const char *title,
                           gboolean has_shared_port, const char *domain,
                           GError **error);

/* Returns: FALSE and @error if [redfish] is not as it must be */
gboolean config_check_redfish(const MachineConfig *config, GError **error);

/*
 * Whether this is set for the machine, and not only for all, of which some need
 * it; @name is NULL for any key of the group
 */
gboolean is_its_own(GPtrArray *layers, const char *group, const char *name);

/*
 * Who is let in, and with which rights: what counts of what is set, and whether
 * it can be. The first one never fails.
 */
void login_choose(GPtrArray *layers, MachineConfig *config);
gboolean login_check(GPtrArray *layers, MachineConfig *config, GError **error);

#endif
