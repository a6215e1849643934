/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef __SPICE_CLIENT_MAIN_CHANNEL_POWER_H__
#define __SPICE_CLIENT_MAIN_CHANNEL_POWER_H__

#if !defined(__SPICE_CLIENT_H_INSIDE__) && !defined(SPICE_COMPILATION)
#warning "Only <spice-client.h> can be included directly"
#endif

#include "spice-client.h"

G_BEGIN_DECLS

#define SPICE_TYPE_POWER_STATE (spice_power_state_get_type())
#define SPICE_TYPE_POWER_ACTION (spice_power_action_get_type())

GType spice_power_state_get_type(void);
GType spice_power_action_get_type(void);

/**
 * SPICE_POWER_ERROR:
 *
 * Error domain for power actions that were not carried out, or may not have been.
 *
 * Since: 0.43
 */
#define SPICE_POWER_ERROR spice_power_error_quark()

/**
 * SpicePowerError:
 * @SPICE_POWER_ERROR_DENIED: the action is not configured or not allowed, or the session is read-only
 * @SPICE_POWER_ERROR_WRONG_STATE: the action is not possible in the state the machine is in
 * @SPICE_POWER_ERROR_BUSY: another request is being carried out
 * @SPICE_POWER_ERROR_UNSUPPORTED: the server or the machine can't carry out the action
 * @SPICE_POWER_ERROR_FAILED: the action was tried and failed
 * @SPICE_POWER_ERROR_NOT_SENT: there is no connection, or it ended before the request
 *   was sent: nothing was done
 * @SPICE_POWER_ERROR_OUTCOME_UNKNOWN: the connection ended after the request was sent and
 *   before the result: nobody can know whether the action was carried out
 *
 * Error codes of the %SPICE_POWER_ERROR domain. The message that comes with
 * a code is the server's if it gave one, and meant for people to read.
 *
 * Since: 0.43
 */
typedef enum
{
    SPICE_POWER_ERROR_DENIED,
    SPICE_POWER_ERROR_WRONG_STATE,
    SPICE_POWER_ERROR_BUSY,
    SPICE_POWER_ERROR_UNSUPPORTED,
    SPICE_POWER_ERROR_FAILED,
    SPICE_POWER_ERROR_NOT_SENT,
    SPICE_POWER_ERROR_OUTCOME_UNKNOWN,
} SpicePowerError;

GQuark spice_power_error_quark(void);

void spice_main_channel_power_async(SpiceMainChannel *channel,
                                    SpicePowerAction action,
                                    GCancellable *cancellable,
                                    GAsyncReadyCallback callback,
                                    gpointer user_data);
gboolean spice_main_channel_power_finish(SpiceMainChannel *channel,
                                         GAsyncResult *result,
                                         GError **error);

G_END_DECLS

#endif /* __SPICE_CLIENT_MAIN_CHANNEL_POWER_H__ */
