/*
 * VNC's XVP extension: a client resets the machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "qobject/qdict.h"
#include "libqtest.h"

#define XVP_ENCODING (-309)
#define XVP_MESSAGE 250
#define XVP_FAIL 0
#define XVP_INIT 1
#define XVP_RESET 4

typedef struct Test {
    QTestState *qts;
    int fd;
} Test;

static void receive(Test *test, void *data, size_t len)
{
    g_assert_cmpint(RETRY_ON_EINTR(recv(test->fd, data, len, MSG_WAITALL)),
                    ==, len);
}

static void transmit(Test *test, const void *data, size_t len)
{
    g_assert_cmpint(RETRY_ON_EINTR(send(test->fd, data, len, 0)), ==, len);
}

static void expect(Test *test, const void *data, size_t len)
{
    g_autofree uint8_t *received = g_malloc(len);

    receive(test, received, len);
    g_assert_cmpmem(received, len, data, len);
}

static void xvp_expect(Test *test, uint8_t code)
{
    const uint8_t message[] = { XVP_MESSAGE, 0, 1, code };

    expect(test, message, sizeof(message));
}

static void xvp_reset(Test *test)
{
    static const uint8_t message[] = { XVP_MESSAGE, 0, 1, XVP_RESET };

    transmit(test, message, sizeof(message));
}

static void setup(Test *test, const char *args)
{
    static const char version[] = "RFB 003.008\n";
    static const uint8_t security_types[] = { 1, 1 };   /* one: None */
    static const uint8_t security_type = 1;
    static const uint8_t security_result[4];
    static const uint8_t client_init = 1;               /* shared */
    uint8_t server_init[20], name_len[4];
    uint8_t set_encodings[8] = { 2, 0, 0, 1 };
    g_autofree char *name = NULL;
    int pair[2];

    test->qts = qtest_initf("-M none -vnc none,power-control=on %s", args);
    g_assert_cmpint(qemu_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    qtest_qmp_add_client(test->qts, "vnc", pair[1]);
    test->fd = pair[0];

    expect(test, version, strlen(version));
    transmit(test, version, strlen(version));
    expect(test, security_types, sizeof(security_types));
    transmit(test, &security_type, sizeof(security_type));
    expect(test, security_result, sizeof(security_result));
    transmit(test, &client_init, sizeof(client_init));
    receive(test, server_init, sizeof(server_init));
    receive(test, name_len, sizeof(name_len));
    name = g_malloc(ldl_be_p(name_len));
    receive(test, name, ldl_be_p(name_len));

    stl_be_p(set_encodings + 4, XVP_ENCODING);
    transmit(test, set_encodings, sizeof(set_encodings));
    xvp_expect(test, XVP_INIT);
}

static void teardown(Test *test)
{
    close(test->fd);
    qtest_quit(test->qts);
}

static void expect_reset(Test *test)
{
    QDict *event = qtest_qmp_eventwait_ref(test->qts, "RESET");
    QDict *data = qdict_get_qdict(event, "data");

    g_assert_false(qdict_get_bool(data, "guest"));
    g_assert_cmpstr(qdict_get_str(data, "reason"), ==, "host-ui");
    qobject_unref(event);
}

static void test_reset(void)
{
    Test test;
    int i;

    setup(&test, "");
    for (i = 0; i < 3; i++) {
        xvp_reset(&test);
        expect_reset(&test);
    }
    /* Nothing is said about those that were done: this is the first answer */
    qtest_qmp_assert_success(test.qts, "{ 'execute': 'set-action',"
                             " 'arguments': { 'reboot': 'shutdown' } }");
    xvp_reset(&test);
    xvp_expect(&test, XVP_FAIL);
    teardown(&test);
}

/* Who has started QEMU with -S decides what happens to the machine */
static void test_refused(void)
{
    Test test;

    setup(&test, "-S");
    xvp_reset(&test);
    xvp_expect(&test, XVP_FAIL);
    qtest_qmp_assert_success(test.qts, "{ 'execute': 'cont' }");
    xvp_reset(&test);
    expect_reset(&test);
    teardown(&test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vnc-power/reset", test_reset);
    qtest_add_func("/vnc-power/refused", test_refused);

    return g_test_run();
}
