/*
 * Numbers about all machines, as OpenMetrics, on a UNIX socket
 *
 * Who asks there by HTTP, whatever for, is told them. For the thread of the
 * main loop, and nothing blocks: who does not ask, or read, is cut off.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include <glib.h>

#include "gateway.h"

typedef struct Metrics Metrics;

/* For tests, which have less of it */
extern guint metrics_patience_ms;

/*
 * Begin to listen. @gateway must outlive it.
 *
 * Returns: NULL and @error if that can't be. Caller calls metrics_free()
 */
Metrics *metrics_new(const char *path, const Gateway *gateway, GError **error);

/* NULL is none */
void metrics_free(Metrics *metrics);

/* Returns: what they are now; caller frees */
char *metrics_text(const Gateway *gateway);

#endif
