/*
 * Where SPICE clients go when this QEMU ends: to the server that is there
 * while the machine is off
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/option.h"
#include "qemu/timer.h"
#include "system/runstate.h"
#include "system/system.h"
#include "ui/qemu-spice.h"

#ifdef HAVE_SPICE_HAND_OVER

/* How long clients that do not go may hold up QEMU's end */
#define LEAVE_TIMEOUT_MS 3000
#define LEAVE_POLL_US 1000

typedef struct QemuSpiceHome {
    SpiceServer *server;
    char *host;
    int port;                   /* 0 is none, as for the next one */
    int tls_port;
    int thread;                 /* that of the main loop, and of the server */
    Notifier exit_notifier;
} QemuSpiceHome;

static QemuSpiceHome *spice_home;   /* NULL if clients are disconnected */
static bool clients_left;           /* with the machine */

static void go_home(Notifier *notifier, void *data)
{
    QemuSpiceHome *home = container_of(notifier, QemuSpiceHome, exit_notifier);
    int64_t deadline = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                       LEAVE_TIMEOUT_MS;

    /*
     * They have gone where the machine has. One that has been saved to a file
     * has gone nowhere, nor has one whose clients nobody told where to go.
     */
    if (clients_left && runstate_check(RUN_STATE_POSTMIGRATE)) {
        return;
    }
    /* An error of another thread: the server may be amid something */
    if (qemu_get_thread_id() != home->thread) {
        return;
    }
    /*
     * Who asks whether the machine is still here, so that clients could be
     * sent back, must not be told that it is.
     */
    spice_server_stop_listening(home->server);
    if (spice_server_hand_over(home->server, home->host, home->port,
                               home->tls_port, NULL) != 0) {
        return;
    }
    /*
     * Who finds the connection closed before it has gone takes that for the
     * end of the session.
     */
    while (spice_server_hand_over_is_pending(home->server) &&
           qemu_clock_get_ms(QEMU_CLOCK_REALTIME) < deadline) {
        g_usleep(LEAVE_POLL_US);
    }
}

void qemu_spice_home_clients_left(void)
{
    clients_left = true;
}

static int get_port(QemuOpts *opts, const char *name)
{
    uint64_t port = qemu_opt_get_number(opts, name, 0);

    if (port > 65535) {
        error_report("spice: %s=%" PRIu64 " is no port, use 1 to 65535", name,
                     port);
        exit(1);
    }
    return port;
}

void qemu_spice_home_init(SpiceServer *server, QemuOpts *opts)
{
    const char *host = qemu_opt_get(opts, "home");
    int port = get_port(opts, "home-port");
    int tls_port = get_port(opts, "home-tls-port");
    QemuSpiceHome *home;

    if (!host && !port && !tls_port) {
        return;
    }
    if (!host || !*host || (!port && !tls_port)) {
        error_report("spice: home=, the host's name, and home-port= or"
                     " home-tls-port= go together, but %s given",
                     host && *host ? "no port is" : "no home is");
        exit(1);
    }
    home = spice_home = g_new0(QemuSpiceHome, 1);
    home->server = server;
    home->host = g_strdup(host);
    home->port = port;
    home->tls_port = tls_port;
    home->thread = qemu_get_thread_id();
    home->exit_notifier.notify = go_home;
    qemu_add_exit_notifier(&home->exit_notifier);
}

SpiceHome *qemu_spice_home_query(void)
{
    SpiceHome *info;

    if (!spice_home) {
        return NULL;
    }
    info = g_new0(SpiceHome, 1);
    info->host = g_strdup(spice_home->host);
    info->has_port = spice_home->port != 0;
    info->port = spice_home->port;
    info->has_tls_port = spice_home->tls_port != 0;
    info->tls_port = spice_home->tls_port;
    return info;
}

#else

void qemu_spice_home_clients_left(void)
{
}

void qemu_spice_home_init(SpiceServer *server, QemuOpts *opts)
{
    const char *host = qemu_opt_get(opts, "home");

    if (host) {
        error_report("spice: home=%s needs a spice-server library that can hand"
                     " clients over; the one QEMU was built with cannot", host);
        exit(1);
    }
}

#endif
