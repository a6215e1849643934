/*
 * Virt Viewer: A virtual machine console viewer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#pragma once

#include "virt-viewer-window.h"
#include "virt-viewer-display.h"

typedef struct _VirtViewerPower VirtViewerPower;

VirtViewerPower *virt_viewer_power_new(VirtViewerWindow *window,
                                       VirtViewerDisplay *display);
void virt_viewer_power_free(VirtViewerPower *self);
gboolean virt_viewer_power_hides_display(VirtViewerPower *self);
