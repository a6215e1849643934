/*
 * IPMI's backend and what is configured for it, with ipmitools that are shell
 * scripts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend.h"
#include "loop.h"

typedef struct Fixture {
    char *directory;
    char *log;                  /* what the scripts write */
    char *go;                   /* a pipe that some wait for */
    Config *config;
    GPtrArray *problems;
    Backend *backend;

    guint statuses, results;    /* how many there were, and the last */
    guint32 state, result;
    BackendTrouble kind;
    char *trouble, *message;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer unused)
{
    fixture->directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    fixture->log = put_file(fixture->directory, "log", "");
    fixture->go = g_build_filename(fixture->directory, "go", NULL);
    g_assert_cmpint(mkfifo(fixture->go, 0600), ==, 0);
    fixture->problems = g_ptr_array_new_with_free_func(g_free);
}

static void tear_down(Fixture *fixture, gconstpointer unused)
{
    if (fixture->backend) {
        fixture->backend->methods->free(fixture->backend);
    }
    config_free(fixture->config);
    g_ptr_array_unref(fixture->problems);
    remove_all(fixture->directory);
    g_free(fixture->directory);
    g_free(fixture->log);
    g_free(fixture->go);
    g_free(fixture->trouble);
    g_free(fixture->message);
}

/* The keys of [ipmi] beside host; what is wrong is in problems then */
static void load(Fixture *fixture, const char *keys)
{
    g_autofree char *text = g_strdup_printf(
        "[server]\nport=1\n[power]\nbackend=ipmi\n[ipmi]\nhost=bmc1\n%s", keys);
    g_autofree char *path = put_file(fixture->directory, "a.conf", text);

    g_ptr_array_set_size(fixture->problems, 0);
    g_clear_pointer(&fixture->config, config_free);
    fixture->config = config_load(path, fixture->problems);
}

/* The script is in ipmitool; $* are its arguments */
static void begin(Fixture *fixture, const char *keys, const char *script)
{
    g_autofree char *text = g_strdup_printf("#!/bin/sh\ncd %s\n%s\n",
                                            fixture->directory, script);
    g_autofree char *path = put_file(fixture->directory, "ipmitool", text);
    g_autofree char *all = g_strdup_printf("ipmitool=%s\n%s", path, keys);
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(chmod(path, 0700), ==, 0);
    load(fixture, all);
    g_assert_cmpuint(fixture->problems->len, ==, 0);
    fixture->backend = backend_new(fixture->config->machines->pdata[0],
                                   &error);
    g_assert_no_error(error);
}

static void status_told(const BackendStatus *status, gpointer opaque)
{
    Fixture *fixture = opaque;

    fixture->statuses++;
    fixture->state = status->state;
    fixture->kind = status->trouble_kind;
    g_free(fixture->trouble);
    fixture->trouble = g_strdup(status->trouble);
}

static void result_told(guint32 result, const char *message, gpointer opaque)
{
    Fixture *fixture = opaque;

    fixture->results++;
    fixture->result = result;
    g_free(fixture->message);
    fixture->message = g_strdup(message);
}

static void ask(Fixture *fixture)
{
    fixture->backend->methods->status(fixture->backend, status_told, fixture);
}

static void act(Fixture *fixture, guint32 action, guint timeout_ms)
{
    fixture->backend->methods->action(fixture->backend, action, timeout_ms,
                                      result_told, fixture);
}

/* The script that waits goes on */
static void go(Fixture *fixture)
{
    int fd = open(fixture->go, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(write(fd, "\n", 1), ==, 1);
    RUN_UNTIL(fixture->statuses + fixture->results);
    close(fd);
}

static char *logged(Fixture *fixture)
{
    char *text;

    g_assert_true(g_file_get_contents(fixture->log, &text, NULL, NULL));
    return text;
}

/* Whatever is configured, and a key that nobody sees on the command line */
static void test_arguments(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *text = NULL, *expected = NULL;

    g_free(put_file(fixture->directory, "key", "0x6b2067\n"));
    g_free(put_file(fixture->directory, "password", "secret\n"));
    begin(fixture, "user=me\npassword-file=password\nkg-file=key\n"
          "oem=intelplus\ntarget-address=0x82\ntarget-channel=7\n"
          "transit-address=0x20\ntransit-channel=0\nreset=cycle\n",
          "echo \"$*\" = \"$IPMI_KGKEY\" >log; echo Chassis Power is on");
    act(fixture, SPICE_POWER_ACTION_RESET, HANG_S * 1000);
    RUN_UNTIL(fixture->results);
    g_assert_cmpuint(fixture->result, ==, SPICE_POWER_RESULT_OK);
    text = logged(fixture);
    expected = g_strdup_printf(
        "-v -N 1 -R 3 -I lanplus -H bmc1 -p 623 -L OPERATOR -U me -f"
        " %s/password -o intelplus -t 0x82 -b 7 -T 0x20 -B 0 -K chassis power"
        " cycle = k g\n", fixture->directory);
    g_assert_cmpstr(text, ==, expected);
}

static void test_few_arguments(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *text = NULL;

    begin(fixture, "", "echo \"$*\" >log; echo Chassis Power is off");
    ask(fixture);
    RUN_UNTIL(fixture->statuses);
    g_assert_cmpuint(fixture->state, ==, SPICE_POWER_STATE_OFF);
    text = logged(fixture);
    g_assert_cmpstr(text, ==, "-v -N 1 -R 3 -I lanplus -H bmc1 -p 623 -L"
                    " OPERATOR chassis power status\n");
}

/* An action waits until a question has been answered, and the other way */
#define IN_TURN \
    "shift $(($# - 1))\n" \
    "echo begin $1 >>log\n" \
    "read line <go\n" \
    "echo end $1 >>log\n" \
    "echo Chassis Power is on"

static gboolean is_over(gpointer opaque)
{
    *(gboolean *)opaque = TRUE;
    return G_SOURCE_REMOVE;
}

/* To what must not begin; no time is too short for what is right */
static void give_time(void)
{
    gboolean over = FALSE;

    g_timeout_add(100, is_over, &over);
    RUN_UNTIL(over);
}

static void test_one_at_a_time(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *text = NULL;

    begin(fixture, "", IN_TURN);
    ask(fixture);
    act(fixture, SPICE_POWER_ACTION_OFF, HANG_S * 1000);
    go(fixture);
    g_assert_cmpuint(fixture->statuses, ==, 1);
    g_assert_cmpuint(fixture->results, ==, 0);
    ask(fixture);
    fixture->statuses = 0;
    give_time();
    go(fixture);
    g_assert_cmpuint(fixture->results, ==, 1);
    g_assert_cmpuint(fixture->result, ==, SPICE_POWER_RESULT_OK);
    g_assert_cmpuint(fixture->statuses, ==, 0);
    fixture->results = 0;
    go(fixture);
    g_assert_cmpuint(fixture->statuses, ==, 1);
    text = logged(fixture);
    g_assert_cmpstr(text, ==, "begin status\nend status\nbegin off\nend off\n"
                    "begin status\nend status\n");
}

/* The time of an action is over before its turn: it is not begun */
static void test_too_late(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *text = NULL;

    begin(fixture, "", IN_TURN);
    ask(fixture);
    act(fixture, SPICE_POWER_ACTION_OFF, 0);
    go(fixture);
    RUN_UNTIL(fixture->results);
    g_assert_cmpuint(fixture->statuses, ==, 1);
    g_assert_cmpuint(fixture->result, ==, SPICE_POWER_RESULT_FAILED);
    g_assert_cmpstr(fixture->message, ==, "Nothing was done: the BMC bmc1 has"
                    " not answered in time what it was asked before");
    text = logged(fixture);
    g_assert_cmpstr(text, ==, "begin status\nend status\n");
}

/* Who waits for a turn is given up with it */
static void test_free(Fixture *fixture, gconstpointer unused)
{
    begin(fixture, "", IN_TURN);
    ask(fixture);
    act(fixture, SPICE_POWER_ACTION_ON, HANG_S * 1000);
}

/* What is said, or not, is of a kind and has a result */
static void test_failures(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        const char *script;
        BackendTrouble kind;
        guint32 result;
        const char *part;
    } known[] = {
        { "echo '> RAKP 2 HMAC is invalid' >&2; exit 1",
          BACKEND_TROUBLE_REFUSED, SPICE_POWER_RESULT_FAILED,
          "check [ipmi] password-file" },
        { "echo Error: Unable to establish >&2; exit 1", BACKEND_TROUBLE_AWAY,
          SPICE_POWER_RESULT_FAILED, "does not answer" },
        { "echo 'Set Chassis Power Control to Up/On failed: Node busy' >&2;"
          " exit 1", BACKEND_TROUBLE_PASSING, SPICE_POWER_RESULT_BUSY,
          "is busy" },
        { "exit 3", BACKEND_TROUBLE_AWAY, SPICE_POWER_RESULT_FAILED,
          "exit status 3; check [ipmi] ipmitool" },
        { "echo what >&2; exit 3", BACKEND_TROUBLE_PASSING,
          SPICE_POWER_RESULT_FAILED, "has failed: what" },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        begin(fixture, "", known[i].script);
        ask(fixture);
        RUN_UNTIL(fixture->statuses == i + 1);
        g_assert_cmpuint(fixture->state, ==, SPICE_POWER_STATE_UNKNOWN);
        g_assert_cmpint(fixture->kind, ==, known[i].kind);
        g_assert_nonnull(strstr(fixture->trouble, known[i].part));
        act(fixture, SPICE_POWER_ACTION_ON, HANG_S * 1000);
        RUN_UNTIL(fixture->results == i + 1);
        g_assert_cmpuint(fixture->result, ==, known[i].result);
        g_assert_nonnull(strstr(fixture->message, known[i].part));
        fixture->backend->methods->free(fixture->backend);
    }
    begin(fixture, "", "echo hello");
    ask(fixture);
    RUN_UNTIL(fixture->statuses == i + 1);
    g_assert_cmpint(fixture->kind, ==, BACKEND_TROUBLE_PASSING);
    g_assert_nonnull(strstr(fixture->trouble, "printed no power state"));
}

/* A password that is not only the gateway's is told of, once */
static void test_public_password(Fixture *fixture, gconstpointer unused)
{
    g_autofree char *path = put_file(fixture->directory, "password", "x\n");
    int i;

    g_assert_cmpint(chmod(path, 0640), ==, 0);
    load(fixture, "user=me\npassword-file=password\n");
    g_assert_cmpint(chmod(path, 0644), ==, 0);
    g_test_expect_message("spice-gateway", G_LOG_LEVEL_WARNING,
                          "*/password has a secret in it, and everybody on this"
                          " computer can read it: chmod o-r");
    for (i = 0; i < 2; i++) {
        load(fixture, "user=me\npassword-file=password\nkg-file=password\n");
        g_assert_cmpuint(fixture->problems->len, ==, 0);
    }
    g_test_assert_expected_messages();
}

/* What there is no room for is told before anything is sent */
static void test_configuration(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        const char *file;       /* the text of x */
        const char *keys;
        const char *problem;    /* NULL: it's right */
    } known[] = {
        { "12345678901234567890\n", "user=me\npassword-file=x\n", NULL },
        { "123456789012345678901\n", "user=me\npassword-file=x\n",
          "is longer than 20 bytes" },
        { "1234567890123456\r\n", "user=me\npassword-file=x\ninterface=lan\n",
          NULL },
        { "12345678901234567\n", "user=me\npassword-file=x\ninterface=lan\n",
          "is longer than 16 bytes" },
        { "x", "user=1234567890123456\npassword-file=x\n", NULL },
        { "x", "user=12345678901234567\npassword-file=x\n",
          "[ipmi] user: a name has at most 16 bytes" },
        { "x", "user=me\n", "[ipmi] password-file: there is none" },
        { "a key of 20 bytes...\n", "kg-file=x\n", NULL },
        { "a key of 21 bytes....\n", "kg-file=x\n", "longer than 20 bytes" },
        { "0x0aFF\n", "kg-file=x\n", NULL },
        { "0x0aF\n", "kg-file=x\n", "even number of hexadecimal digits" },
        { "0xyz\n", "kg-file=x\n", "even number of hexadecimal digits" },
        { "0x\n", "kg-file=x\n", "even number of hexadecimal digits" },
        { "0x0a00ff\n", "kg-file=x\n", "has a byte 00 in it" },
        { "\n", "kg-file=x\n", "the first line is empty" },
        { "x", "kg-file=x\ninterface=lan\n", "interface=lan has no such key" },
        { "", "target-channel=0\n", "[ipmi] target-address: there is none" },
        { "", "target-address=0x100\n", "'0x100' is no number from 0 to 255" },
        { "", "target-address=-1\n", "'-1' is no number" },
        { "", "target-address=8f\n", "'8f' is no number" },
        { "", "reset=off\n", "[ipmi] reset: 'off' is no way to reset" },
        { "", "[power]\npoll-interval=0.1\n", NULL },
        { "", "[power]\npoll-interval=0.05\n", "[power] poll-interval: 0.05"
          " seconds are too short for a BMC, use at least 0.1" },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        g_free(put_file(fixture->directory, "x", known[i].file));
        load(fixture, known[i].keys);
        g_test_message("%s", known[i].keys);
        g_assert_cmpuint(fixture->problems->len, ==, known[i].problem != NULL);
        if (known[i].problem) {
            g_assert_nonnull(strstr(fixture->problems->pdata[0],
                                    known[i].problem));
        }
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/ipmi/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("arguments", test_arguments);
    ADD("few-arguments", test_few_arguments);
    ADD("one-at-a-time", test_one_at_a_time);
    ADD("too-late", test_too_late);
    ADD("free", test_free);
    ADD("failures", test_failures);
    ADD("public-password", test_public_password);
    ADD("configuration", test_configuration);
    return g_test_run();
}
