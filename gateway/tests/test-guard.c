/*
 * Who tries passwords has to wait, and nobody else
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "guard.h"
#include "loop.h"
#include "peer.h"

/* There is nothing in it */
typedef struct Fixture {
    char unused;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer unused)
{
    guard_forget_all();
}

static void fail(const char *host, guint times)
{
    const struct sockaddr_storage peer = peer_of(host, 1);

    while (times--) {
        guard_failed(&peer);
    }
}

static int arrive(const char *host)
{
    const struct sockaddr_storage peer = peer_of(host, 2);

    return guard_arrived(&peer);
}

/* Longer and longer, up to a limit, and one after the other */
static void test_waits(Fixture *fixture, gconstpointer unused)
{
    fail("192.0.2.7", 9);
    g_assert_cmpint(arrive("192.0.2.7"), ==, 0);
    fail("192.0.2.7", 1);
    g_assert_cmpint(arrive("192.0.2.7"), ==, 250);
    g_assert_cmpint(arrive("192.0.2.7"), >=, 250);
    fail("192.0.2.7", 2);
    g_assert_cmpint(arrive("192.0.2.7"), >=, 1000);
    fail("192.0.2.7", 100);
    g_assert_cmpint(arrive("192.0.2.7"), >=, 4000);
    g_assert_cmpint(arrive("192.0.2.7"), <=, 9500);
    g_assert_cmpuint(guard_held(), ==, 5);
    g_assert_cmpuint(guard_ended(), ==, 0);
    /* others don't */
    g_assert_cmpint(arrive("192.0.2.8"), ==, 0);
}

/* spice-server has no more patience than that */
static void test_too_many(Fixture *fixture, gconstpointer unused)
{
    int i, ms, last = 0;

    fail("192.0.2.7", 100);
    for (i = 0; (ms = arrive("192.0.2.7")) >= 0; i++) {
        g_assert_cmpint(ms, >, last);
        g_assert_cmpint(ms, <=, 20000);
        last = ms;
    }
    g_assert_cmpint(i, ==, 5);
    g_assert_cmpuint(guard_ended(), ==, 1);
    g_assert_cmpint(arrive("192.0.2.7"), ==, -1);
}

static void test_forgotten(Fixture *fixture, gconstpointer unused)
{
    const GuardTimes before = guard_times;

    guard_times.forget_ms = 20;
    fail("192.0.2.7", 10);
    g_usleep(40000);
    g_assert_cmpint(arrive("192.0.2.7"), ==, 0);
    fail("192.0.2.7", 9);
    g_assert_cmpint(arrive("192.0.2.7"), ==, 0);
    guard_times = before;
}

/* That is for all who are behind a proxy that does not tell who they are */
static void test_local(Fixture *fixture, gconstpointer unused)
{
    struct sockaddr_storage local = { .ss_family = AF_UNIX };
    const char *const hosts[] = { "127.0.0.1", "127.1.2.3", "::1",
                                  "::ffff:127.0.0.1" };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(hosts); i++) {
        fail(hosts[i], 100);
        g_assert_cmpint(arrive(hosts[i]), ==, 0);
    }
    for (i = 0; i < 100; i++) {
        guard_failed(&local);
    }
    g_assert_cmpint(guard_arrived(&local), ==, 0);
}

/* One network has as many addresses as one likes */
static void test_networks(Fixture *fixture, gconstpointer unused)
{
    fail("2001:db8::1", 5);
    fail("2001:db8::ffff:2", 5);
    g_assert_cmpint(arrive("2001:db8::3"), >, 0);
    g_assert_cmpint(arrive("2001:db8:0:1::1"), ==, 0);
    /* but for this one, which is everybody's */
    fail("fe80::1", 10);
    g_assert_cmpint(arrive("fe80::1"), >, 0);
    g_assert_cmpint(arrive("fe80::2"), ==, 0);
    /* the same in either way of writing */
    fail("192.0.2.7", 10);
    g_assert_cmpint(arrive("::ffff:192.0.2.7"), >, 0);
    g_assert_cmpint(arrive("::ffff:192.0.2.8"), ==, 0);
}

/* However many there are; those who have just failed are not forgotten */
static void test_many(Fixture *fixture, gconstpointer unused)
{
    guint i;

    for (i = 0; i < 10000; i++) {
        g_autofree char *host = g_strdup_printf("10.0.%u.%u", i / 250, i % 250);

        fail(host, 10);
    }
    g_assert_cmpint(arrive("10.0.39.249"), >, 0);
    g_assert_cmpint(arrive("10.0.0.0"), ==, 0);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/guard/" name, Fixture, NULL, set_up, function, NULL)
    ADD("waits", test_waits);
    ADD("too-many", test_too_many);
    ADD("forgotten", test_forgotten);
    ADD("local", test_local);
    ADD("networks", test_networks);
    ADD("many", test_many);
    return g_test_run();
}
