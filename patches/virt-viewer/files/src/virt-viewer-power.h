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
                                       VirtViewerSession *session,
                                       gboolean kiosk);
void virt_viewer_power_free(VirtViewerPower *self);
void virt_viewer_power_set_display(VirtViewerPower *self,
                                   VirtViewerDisplay *display);
gboolean virt_viewer_power_hides_display(VirtViewerPower *self);
void virt_viewer_power_wait(VirtViewerPower *self);
