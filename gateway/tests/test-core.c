/*
 * What spice-server tells of clients that it does not let in, and how long it
 * waits for those who come again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sys/socket.h>
#include <unistd.h>

#include "core.h"
#include "guard.h"
#include "loop.h"
#include "peer.h"
#include "record-log.h"

typedef struct Fixture {
    CoreOwner owner;
    SpiceCoreInterface *core;
    SpiceTimer *timer;          /* by which the library is called */
    SpiceChannelEventInfo info;
    int fds[2];
    SpiceWatch *watch;

    const char *say;            /* what the library warns of; or NULL */
    gboolean was_called, was_read;
    guint refused;
    const char *why;
} Fixture;

static void not_let_in(const SpiceChannelEventInfo *client, const char *why,
                       gpointer opaque)
{
    Fixture *fixture = opaque;

    g_assert_true(client == &fixture->info);
    fixture->refused++;
    fixture->why = why;
}

/* A client comes and goes, as the library does it */
static void library_hangs_up(void *opaque)
{
    Fixture *fixture = opaque;

    if (fixture->say) {
        g_log("Spice", G_LOG_LEVEL_WARNING, "%s", fixture->say);
    }
    fixture->core->channel_event(SPICE_CHANNEL_EVENT_DISCONNECTED,
                                 &fixture->info);
    fixture->was_called = TRUE;
}

static void library_reads(int fd, int events, void *opaque)
{
    Fixture *fixture = opaque;

    fixture->was_read = TRUE;
    fixture->core->watch_update_mask(fixture->watch, 0);
}

static void library_accepts(void *opaque)
{
    Fixture *fixture = opaque;

    fixture->core->channel_event(SPICE_CHANNEL_EVENT_CONNECTED, &fixture->info);
    fixture->watch = fixture->core->watch_add(fixture->fds[0],
                                              SPICE_WATCH_EVENT_READ,
                                              library_reads, fixture);
    fixture->was_called = TRUE;
}

static void call(Fixture *fixture, SpiceTimerFunc func)
{
    core_enter(&fixture->owner);
    fixture->timer = fixture->core->timer_add(func, fixture);
    core_leave();
    fixture->was_called = FALSE;
    fixture->core->timer_start(fixture->timer, 0);
    RUN_UNTIL(fixture->was_called);
    fixture->core->timer_remove(fixture->timer);
}

static void not_let_in_for(Fixture *fixture, SpiceAuthFailure failure)
{
    fixture->info.flags = SPICE_CHANNEL_EVENT_FLAG_AUTH_FAILED;
    fixture->info.auth_failure = failure;
    call(fixture, library_hangs_up);
    fixture->info.flags = 0;
}

static void set_up(Fixture *fixture, gconstpointer unused)
{
    guard_forget_all();
    record_log_begin();
    fixture->owner = (CoreOwner) {
        .name = "a", .not_let_in = not_let_in, .opaque = fixture,
    };
    fixture->core = core_interface();
    fixture->info.paddr_ext = peer_of("192.0.2.7", 50123);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fixture->fds), ==, 0);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    if (fixture->watch) {
        fixture->core->watch_remove(fixture->watch);
    }
    close(fixture->fds[0]);
    close(fixture->fds[1]);
    record_log_end();
}

static void test_refused(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        SpiceAuthFailure failure;
        const char *why;
    } known[] = {
        { SPICE_AUTH_FAILURE_TICKET_WRONG, "a wrong password" },
        { SPICE_AUTH_FAILURE_TICKET_EXPIRED, "a password that has expired" },
        { SPICE_AUTH_FAILURE_TICKET_NOT_SET, "there is no password" },
        { SPICE_AUTH_FAILURE_SASL, "a wrong name or password, says SASL" },
        { SPICE_AUTH_FAILURE_SASL_WEAK, "SASL without encryption: use TLS" },
        { 99, "for a reason that only a newer spice-gateway knows" },
    };
    gsize i;

    fixture->say = "whatever it is";
    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        not_let_in_for(fixture, known[i].failure);
        g_assert_cmpuint(fixture->refused, ==, i + 1);
        g_assert_cmpstr(fixture->why, ==, known[i].why);
    }
    /* the library's own lines would be as many as anybody likes */
    g_assert_cmpuint(lines->len, ==, 0);
}

/* Who leaves before he is let in, or for another reason, has tried nothing */
static void test_left(Fixture *fixture, gconstpointer unused)
{
    call(fixture, library_hangs_up);
    fixture->say = "SSL_accept failed, error=1";
    call(fixture, library_hangs_up);
    g_assert_cmpuint(lines->len, ==, 1);
    g_assert_cmpstr(record_log_field(0, "MESSAGE"), ==, fixture->say);
    g_assert_cmpuint(fixture->refused, ==, 0);
    g_assert_cmpint(guard_arrived(&fixture->info.paddr_ext), ==, 0);
}

static void library_dies(void *opaque)
{
    g_log("Spice", G_LOG_LEVEL_WARNING, "this is wrong");
    g_log("Spice", G_LOG_LEVEL_CRITICAL, "so this ends");
    /* the library aborts now, at the latest */
    g_assert_cmpuint(lines->len, ==, 2);
    ((Fixture *)opaque)->was_called = TRUE;
}

/* What has been kept is not lost with the program */
static void test_dies(Fixture *fixture, gconstpointer unused)
{
    GLogLevelFlags fatal = g_log_set_always_fatal(G_LOG_FATAL_MASK);

    call(fixture, library_dies);
    g_assert_cmpstr(record_log_field(0, "MESSAGE"), ==, "this is wrong");
    g_assert_cmpstr(record_log_field(1, "MESSAGE"), ==, "so this ends");
    g_assert_cmpuint(lines->len, ==, 2);
    g_log_set_always_fatal(fatal);
}

static void fail(Fixture *fixture, guint times)
{
    while (times--) {
        not_let_in_for(fixture, SPICE_AUTH_FAILURE_TICKET_WRONG);
    }
}

/* How long it takes until what a client says is read */
static gint64 read_after_ms(Fixture *fixture)
{
    gint64 begin = g_get_monotonic_time();

    call(fixture, library_accepts);
    g_assert_cmpint(write(fixture->fds[1], "", 1), ==, 1);
    RUN_UNTIL(fixture->was_read);
    return (g_get_monotonic_time() - begin) / G_TIME_SPAN_MILLISECOND;
}

static void test_held(Fixture *fixture, gconstpointer unused)
{
    fail(fixture, 10);
    g_assert_cmpint(read_after_ms(fixture), >=, 250);
    g_assert_cmpuint(guard_held(), ==, 1);
}

/* It has been done where the client has come */
static void test_was_held(Fixture *fixture, gconstpointer unused)
{
    fail(fixture, 10);
    core_enter_with_client(&fixture->owner);
    library_accepts(fixture);
    core_leave();
    g_assert_cmpuint(guard_held(), ==, 0);
    g_assert_cmpint(write(fixture->fds[1], "", 1), ==, 1);
    RUN_UNTIL(fixture->was_read);
}

/* Another one is not, nor is the one that failed a few times */
static void test_not_held(Fixture *fixture, gconstpointer unused)
{
    fail(fixture, 9);
    read_after_ms(fixture);
    fixture->core->watch_remove(fixture->watch);
    fixture->was_read = FALSE;
    fail(fixture, 1);
    fixture->info.paddr_ext = peer_of("192.0.2.8", 1);
    read_after_ms(fixture);
    g_assert_cmpuint(guard_held(), ==, 0);
}

/* What is watched for other reasons, at that time or later, is not held */
static void test_other_watch(Fixture *fixture, gconstpointer unused)
{
    fail(fixture, 10);
    core_enter(&fixture->owner);
    fixture->core->channel_event(SPICE_CHANNEL_EVENT_CONNECTED, &fixture->info);
    core_leave();
    g_assert_cmpuint(guard_held(), ==, 1);
    fixture->info.paddr_ext = peer_of("192.0.2.8", 1);
    read_after_ms(fixture);
    g_assert_cmpuint(guard_held(), ==, 1);
}

/* It may be given up while it is held, and then it is not watched any more */
static void test_given_up(Fixture *fixture, gconstpointer unused)
{
    fail(fixture, 10);
    call(fixture, library_accepts);
    fixture->core->watch_update_mask(fixture->watch, 0);
    fixture->core->watch_remove(g_steal_pointer(&fixture->watch));
    g_assert_cmpint(write(fixture->fds[1], "", 1), ==, 1);
    call(fixture, library_hangs_up);
    g_assert_false(fixture->was_read);
}

/* Too many of them: the library finds that the client has left */
static void test_ended(Fixture *fixture, gconstpointer unused)
{
    char data;

    fail(fixture, 100);
    while (guard_arrived(&fixture->info.paddr_ext) > 0) {
    }
    call(fixture, library_accepts);
    RUN_UNTIL(fixture->was_read);
    g_assert_cmpint(read(fixture->fds[0], &data, 1), ==, 0);
    g_assert_cmpint(read(fixture->fds[1], &data, 1), ==, 0);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    record_log_init();
#define ADD(name, function) \
    g_test_add("/core/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("refused", test_refused);
    ADD("left", test_left);
    ADD("dies", test_dies);
    ADD("held", test_held);
    ADD("was-held", test_was_held);
    ADD("not-held", test_not_held);
    ADD("other-watch", test_other_watch);
    ADD("given-up", test_given_up);
    ADD("ended", test_ended);
    return g_test_run();
}
