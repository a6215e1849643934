/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session with a hand-written server, whose main channel the power tests use
 */
#pragma once

#include "spice-client.h"

#include "power-peer.h"

#define ALL_ACTIONS ((SpicePowerAction)SPICE_POWER_ACTION_MASK)

typedef struct {
    SpiceSession *session;
    SpiceMainChannel *main;
    PowerPeer *peer;
    GString *notified; /* the properties, in order */
    SpiceChannelEvent last_event;
} Fixture;

/* What came of a spice_main_channel_power_async() */
typedef struct {
    Fixture *f;
    gboolean done;
    gboolean ok;
    GError *error;
    SpicePowerState state; /* when it was done */
} Call;

/* A session whose main channel is not connected; one for power control only; one that
 * is linked to a server with all actions, which has told that the machine is on */
void f_setup_unlinked(Fixture *f, gconstpointer data);
void f_setup_control(Fixture *f, gconstpointer data);
void f_setup(Fixture *f, gconstpointer data);
void f_teardown(Fixture *f, gconstpointer data);
/* Link the main channel to a server with these capabilities */
void f_link(Fixture *f, guint32 caps);

/* These, and those that wait for a result, run the main context meanwhile */
void wait_event(Fixture *f, SpiceChannelEvent event);
/* The next properties that are notified must be these */
void wait_notified(Fixture *f, const gchar *notified);
SpicePowerState get_state(Fixture *f);
SpicePowerAction get_actions(Fixture *f);
SpicePowerAction get_allowed(Fixture *f);

void call_start(Call *call, Fixture *f, SpicePowerAction action, GCancellable *cancellable);
/* For a spice_main_channel_power_async() of one's own */
void call_done(GObject *source, GAsyncResult *result, gpointer data);
void call_assert_ok(Call *call);
void call_assert_error(Call *call, GQuark domain, gint code);
void call_assert_message(Call *call, SpicePowerError code, const gchar *message);

#define TEST(path, setup, func) \
    g_test_add("/power/" path, Fixture, NULL, setup, func, f_teardown)
