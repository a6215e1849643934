/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SPICE client that opens a session, acts, and closes it, again and again.
 *
 *     rounds URI ROUNDS
 *
 * After each round it prints how many bytes it has allocated.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include <spice-client.h>

typedef struct Round {
    GMainLoop *loop;
    SpiceSession *session;
    SpicePowerAction action;
    gboolean asked, done;
} Round;

static void on_result(GObject *channel, GAsyncResult *result, gpointer data)
{
    Round *round = data;
    g_autoptr(GError) error = NULL;

    round->done = spice_main_channel_power_finish(SPICE_MAIN_CHANNEL(channel),
                                                  result, &error);
    if (error) {
        fprintf(stderr, "%s\n", error->message);
    }
    spice_session_disconnect(round->session);
}

static void on_state(SpiceMainChannel *channel, GParamSpec *spec,
                     gpointer data)
{
    Round *round = data;

    if (!round->asked) {
        round->asked = TRUE;
        spice_main_channel_power_async(channel, round->action, NULL, on_result,
                                       round);
    }
}

static void on_channel(SpiceSession *session, SpiceChannel *channel,
                       gpointer data)
{
    if (SPICE_IS_MAIN_CHANNEL(channel)) {
        g_signal_connect(channel, "notify::power-state", G_CALLBACK(on_state),
                         data);
    }
}

static void on_disconnected(SpiceSession *session, gpointer data)
{
    g_main_loop_quit(data);
}

static gboolean run(const char *uri, SpicePowerAction action)
{
    Round round = {
        .loop = g_main_loop_new(NULL, FALSE),
        .session = spice_session_new(),
        .action = action,
    };

    g_object_set(round.session, "uri", uri, NULL);
    g_signal_connect(round.session, "channel-new", G_CALLBACK(on_channel),
                     &round);
    g_signal_connect(round.session, "disconnected",
                     G_CALLBACK(on_disconnected), round.loop);
    if (spice_session_connect(round.session)) {
        g_main_loop_run(round.loop);
    }
    g_object_unref(round.session);
    g_main_loop_unref(round.loop);
    /* what is left to do later */
    while (g_main_context_iteration(NULL, FALSE)) {
        continue;
    }
    return round.done;
}

int main(int argc, char **argv)
{
    int i;

    for (i = 0; i < atoi(argv[2]); i++) {
        struct mallinfo2 heap;

        if (!run(argv[1], i % 2 ? SPICE_POWER_ACTION_CONTINUE
                                : SPICE_POWER_ACTION_PAUSE)) {
            fprintf(stderr, "round %d has failed\n", i);
            return 1;
        }
        heap = mallinfo2();
        printf("%zu\n", heap.uordblks + heap.hblkhd);
        fflush(stdout);
    }
    return 0;
}
