/*
 * Actions by Redfish: what there is for them, and what becomes of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "redfish-host.h"

#define ALLOWED(values) "\"ResetType@Redfish.AllowableValues\": [" values "]"
#define INFO "/redfish/v1/Systems/1/ResetActionInfo"
#define TASK "/redfish/v1/TaskService/TaskMonitors/7"

static void set_up(Host *host, gconstpointer unused)
{
    host_set_up(host, NULL);
}

static void tear_down(Host *host, gconstpointer unused)
{
    host_clear(host);
}

static guint32 supported(Host *host)
{
    return host->backend->methods->supported(host->backend);
}

/* Each by the ResetType that is meant for it, and the best that there is */
static void test_types(Host *host, gconstpointer unused)
{
    static const struct {
        const char *reset;
        guint32 state;          /* in which it is */
        guint32 possible;
        const char *types[3];   /* for reset, off and on; NULL: not tried */
    } known[] = {
        { NULL, IS_ON, RESET | OFF, { "ForceRestart", "ForceOff", NULL } },
        { NULL, IS_OFF, ON, { NULL, NULL, "On" } },
        { ALLOWED("\"On\", \"ForceOff\", \"GracefulShutdown\", \"PowerCycle\","
                  " \"Nmi\""), IS_ON, RESET | OFF,
          { "PowerCycle", "ForceOff", NULL } },
        { ALLOWED("\"ForceRestart\", \"PowerCycle\", 7, null"), IS_ON, RESET,
          { "ForceRestart", NULL, NULL } },
        { ALLOWED("\"ForceOn\""), IS_OFF, ON, { NULL, NULL, "ForceOn" } },
        { ALLOWED("\"GracefulShutdown\""), IS_ON, 0, { NULL, NULL, NULL } },
        { ALLOWED(""), IS_ON, 0, { NULL, NULL, NULL } },
    };
    static const guint32 actions[] = { RESET, OFF, ON };
    gsize i, j;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        const char *power = known[i].state == IS_ON ? "\"On\"" : "\"Off\"";

        host->fake->reset = known[i].reset;
        host->fake->power = power;
        host_begin(host);
        g_assert_cmpuint(host_state(host), ==, known[i].state);
        g_assert_cmphex(host->possible, ==, known[i].possible);
        for (j = 0; j < G_N_ELEMENTS(actions); j++) {
            if (known[i].types[j]) {
                g_assert_cmpuint(host_result(host, actions[j]), ==,
                                 SPICE_POWER_RESULT_OK);
                g_assert_cmpstr(host->message, ==, "");
                g_assert_cmpstr(host->fake->reset_type, ==,
                                known[i].types[j]);
                host->fake->power = power;
            }
        }
        host_end(host);
    }
}

/* What is not there is not tried, whoever asks */
static void test_unsupported(Host *host, gconstpointer unused)
{
    host->fake->reset = ALLOWED("\"On\", \"ForceOff\"");
    host_begin(host);
    g_assert_cmpuint(host_result(host, PAUSE), ==,
                     SPICE_POWER_RESULT_UNSUPPORTED);
    g_assert_nonnull(strstr(host->message, "has nothing for pause"));
    g_assert_cmpuint(host->fake->resets, ==, 0);
}

/* Before it is known, the usual; pause and continue for who names them */
static void test_supported(Host *host, gconstpointer unused)
{
    host->fake->reset = ALLOWED("\"On\", \"Pause\", \"Resume\"");
    host_begin(host);
    g_assert_cmphex(supported(host), ==, RESET | OFF | ON);
    host_state(host);
    g_assert_cmphex(supported(host), ==, ON);
    host_end(host);

    host->config.actions_set = TRUE;
    host->config.actions = SPICE_POWER_ACTION_MASK;
    host_begin(host);
    g_assert_cmphex(supported(host), ==, SPICE_POWER_ACTION_MASK);
    host_state(host);
    g_assert_cmphex(supported(host), ==, ON | PAUSE | CONTINUE);
    g_assert_cmphex(host->possible, ==, PAUSE);
    g_assert_cmpuint(host_result(host, PAUSE), ==, SPICE_POWER_RESULT_OK);
    g_assert_cmpstr(host->fake->reset_type, ==, "Pause");
}

/* A service may say it elsewhere */
static void test_action_info(Host *host, gconstpointer unused)
{
    host->fake->reset = "\"@Redfish.ActionInfo\": \"" INFO "\"";
    fake_redfish_answer(host->fake, "GET " INFO, 200, NULL, "{\"Parameters\":"
                        " [7, {\"Name\": \"x\"}, {\"Name\": \"ResetType\","
                        " \"AllowableValues\": [\"PowerCycle\"]}]}");
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmphex(host->possible, ==, RESET);
    /* once is enough */
    fake_redfish_answer(host->fake, "GET " INFO, 500, NULL, NULL);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmphex(host->possible, ==, RESET);
    host_end(host);

    /* without it the state is still known, and with the next one it's tried */
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_null(host->trouble);
    g_assert_cmphex(host->possible, ==, backend_possible(IS_ON));
    fake_redfish_answer(host->fake, "GET " INFO, 404, NULL, NULL);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmphex(host->possible, ==, RESET | OFF);
}

/* Without a state it may still be possible */
static void test_unasked(Host *host, gconstpointer unused)
{
    host->fake->power = "null";
    host_begin(host);
    g_assert_cmpuint(host_result(host, ON), ==, SPICE_POWER_RESULT_OK);
    g_assert_cmpstr(host->fake->reset_type, ==, "On");
}

/* A reset is off, and on when it is off */
static void test_two_steps(Host *host, gconstpointer unused)
{
    host->fake->reset = ALLOWED("\"On\", \"ForceOff\"");
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmphex(host->possible, ==, RESET | OFF);
    g_assert_cmpuint(host_result(host, RESET), ==, SPICE_POWER_RESULT_OK);
    g_assert_cmpuint(host->fake->resets, ==, 2);
    g_assert_cmpstr(host->fake->reset_type, ==, "On");

    /* it does not go off, and is not powered on */
    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 204, NULL, NULL);
    host->fake->power = "\"PoweringOff\"";
    host_act(host, RESET, 1000);
    RUN_UNTIL(host->results == 2);
    g_assert_cmpuint(host->result, ==, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(host->message, "did not power off in time"));

    /* it is off, and can't be powered on: that must be said */
    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 0, NULL, NULL);
    host_act(host, RESET, HANG_S * 1000);
    RUN_UNTIL(host->fake->resets == 3);
    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 400, NULL,
                        "{\"error\": {\"message\": \"No power\"}}");
    RUN_UNTIL(host->results == 3);
    g_assert_true(g_str_has_prefix(host->message, "It has been powered off,"
                                   " but not on again: The Redfish service"));
    g_assert_true(g_str_has_suffix(host->message, "400: No power"));
}

/* --- what can go wrong --------------------------------------------------- */

static void test_refused(Host *host, gconstpointer unused)
{
    static const struct {
        guint status;
        const char *body;
        guint32 result;
        const char *message;
    } answers[] = {
        { 409, "{\"error\": {\"code\": \"x\", \"message\": \"See more\","
          " \"@Message.ExtendedInfo\": [{\"MessageId\": \"Base.1.8.x\","
          " \"Message\": \"The system is already powered on.\","
          " \"Resolution\": \"Wait.\"}, {\"Message\": \"So it is.\","
          " \"Resolution\": \"None.\"}]}}", SPICE_POWER_RESULT_FAILED,
          "HTTP status 409: The system is already powered on. Wait. So it is."
        },
        { 400, "{\"error\": {\"@Message.ExtendedInfo\": [{\"MessageId\":"
          " \"Base.1.8.ActionNotSupported\"}]}}", SPICE_POWER_RESULT_FAILED,
          "HTTP status 400: Base.1.8.ActionNotSupported" },
        { 403, NULL, SPICE_POWER_RESULT_DENIED, "does not allow the user this"
        },
        { 405, NULL, SPICE_POWER_RESULT_UNSUPPORTED, "can't do this" },
        { 503, NULL, SPICE_POWER_RESULT_BUSY, "is busy" },
        { 500, "<html>", SPICE_POWER_RESULT_FAILED, "HTTP status 500" },
    };
    gsize i;

    host_begin(host);
    for (i = 0; i < G_N_ELEMENTS(answers); i++) {
        fake_redfish_answer(host->fake, "POST " FAKE_RESET, answers[i].status,
                            NULL, answers[i].body);
        g_assert_cmpuint(host_result(host, ON), ==, answers[i].result);
        if (!strstr(host->message, answers[i].message)) {
            g_error("%s: %s", answers[i].message, host->message);
        }
    }
}

/* A long one is cut, and is one line */
static void test_long_words(Host *host, gconstpointer unused)
{
    g_autofree char *fill = g_strnfill(5000, 'x');
    g_autofree char *body = g_strdup_printf(
        "{\"error\": {\"message\": \"one\\r\\ntwo\\u0007 \xc3\xa4%s\"}}", fill);

    host_begin(host);
    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 400, NULL, body);
    g_assert_cmpuint(host_result(host, ON), ==, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(host->message, ": one  two  \xc3\xa4xxx"));
    g_assert_cmpuint(strlen(host->message), <, 1024);
}

/* It is given up in the time that there is for the action, or for a request */
static void test_silent(Host *host, gconstpointer unused)
{
    host_begin(host);
    host_state(host);
    fake_redfish_behave(host->fake, "POST " FAKE_RESET, FAKE_SILENT, NULL);
    host_act(host, OFF, 50);
    RUN_UNTIL(host->results == 1);
    g_assert_cmpuint(host->result, ==, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(host->message, "has not answered in time"));
    host->config.query_timeout_ms = 50;
    g_assert_cmpuint(host_result(host, OFF), ==, SPICE_POWER_RESULT_FAILED);
    /* what is asked meanwhile is answered */
    host->config.query_timeout_ms = HANG_S * 1000;
    host_act(host, OFF, HANG_S * 1000);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpuint(host->results, ==, 2);
}

/* --- tasks --------------------------------------------------------------- */

static void begin_task(Host *host)
{
    guint requests;

    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 202, "Location:"
                        " http://bmc.invalid" TASK, "{\"@odata.type\":"
                        " \"#Task.v1_4_0.Task\", \"TaskState\": \"New\"}");
    fake_redfish_answer(host->fake, "GET " TASK, 202, NULL, "{}");
    host_state(host);
    requests = host->fake->requests;
    host_act(host, OFF, HANG_S * 1000);
    RUN_UNTIL(host->fake->requests == requests + 2);
    g_assert_cmpuint(host->results, ==, 0);
}

static void test_task(Host *host, gconstpointer unused)
{
    host_begin(host);
    begin_task(host);
    /* some answer with the task itself, and it is not over then */
    fake_redfish_answer(host->fake, "GET " TASK, 200, NULL, "{\"@odata.type\":"
                        " \"#Task.v1_4_0.Task\", \"TaskState\": \"Running\"}");
    RUN_UNTIL(host->fake->requests >= 7);
    /* a hiccup is none of the task's */
    fake_redfish_answer(host->fake, "GET " TASK, 500, NULL, NULL);
    RUN_UNTIL(host->fake->requests >= 8);
    g_assert_cmpuint(host->results, ==, 0);
    fake_redfish_answer(host->fake, "GET " TASK, 204, NULL, NULL);
    RUN_UNTIL(host->results);
    g_assert_cmpuint(host->result, ==, SPICE_POWER_RESULT_OK);
}

/* How a task can end, which need not be as it was asked for */
static void test_task_ends(Host *host, gconstpointer unused)
{
    static const struct {
        guint status;
        const char *body;
        guint32 result;
        const char *message;
    } ends[] = {
        { 200, "{\"@odata.type\": \"#Task.v1_4_0.Task\", \"TaskState\":"
          " \"Completed\", \"TaskStatus\": \"OK\"}", SPICE_POWER_RESULT_OK,
          "" },
        { 200, "{\"@odata.type\": \"#Task.v1_4_0.Task\", \"TaskState\":"
          " \"Exception\", \"Messages\": [{\"Message\": \"The fuse is"
          " blown.\"}]}", SPICE_POWER_RESULT_FAILED, "has not done it: the"
          " task is Exception: The fuse is blown." },
        { 200, "{\"@odata.type\": \"#Task.v1_4_0.Task\", \"TaskState\":"
          " \"Completed\", \"TaskStatus\": \"Critical\"}",
          SPICE_POWER_RESULT_FAILED, "the task is Completed" },
        { 400, "{\"error\": {\"message\": \"It does not fit\"}}",
          SPICE_POWER_RESULT_FAILED, "HTTP status 400: It does not fit" },
        { 404, NULL, SPICE_POWER_RESULT_OK, "" },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(ends); i++) {
        host_begin(host);
        fake_redfish_answer(host->fake, "POST " FAKE_RESET, 202, NULL,
                            "{\"@odata.id\": \"" TASK "\"}");
        fake_redfish_answer(host->fake, "GET " TASK, ends[i].status, NULL,
                            ends[i].body);
        g_assert_cmpuint(host_result(host, OFF), ==, ends[i].result);
        if (!strstr(host->message, ends[i].message)) {
            g_error("%s: %s", ends[i].message, host->message);
        }
        host_end(host);
    }
    /* without one there is nothing to look at but the machine */
    host_begin(host);
    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 202, NULL, NULL);
    g_assert_cmpuint(host_result(host, OFF), ==, SPICE_POWER_RESULT_OK);
}

static void test_task_hangs(Host *host, gconstpointer unused)
{
    host_begin(host);
    host_state(host);
    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 202, "Location: " TASK,
                        NULL);
    fake_redfish_answer(host->fake, "GET " TASK, 202, NULL, "{\"Messages\":"
                        " [{\"Message\": \"Waiting for the host.\"}]}");
    host_act(host, OFF, 1000);
    RUN_UNTIL(host->results);
    g_assert_cmpuint(host->result, ==, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(host->message, "has not ended power-off in time;"
                            " it may yet be done: Waiting for the host."));
}

/* With each kind of request of an action under way */
static void test_free(Host *host, gconstpointer unused)
{
    guint looks;

    host_begin(host);
    begin_task(host);
    host_end(host);

    host_begin(host);
    host_state(host);
    fake_redfish_behave(host->fake, "GET " TASK, FAKE_SILENT, NULL);
    host_act(host, OFF, HANG_S * 1000);
    looks = host->fake->requests;
    RUN_UNTIL(host->fake->requests == looks + 2);
    host_end(host);

    host_begin(host);
    host_state(host);
    fake_redfish_behave(host->fake, "POST " FAKE_RESET, FAKE_SILENT, NULL);
    host_act(host, OFF, HANG_S * 1000);
    looks = host->fake->requests;
    RUN_UNTIL(host->fake->requests > looks);
    host_end(host);

    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 204, NULL, NULL);
    host->fake->reset = ALLOWED("\"On\", \"ForceOff\"");
    host_begin(host);
    host_state(host);
    looks = host->fake->looks;
    host_act(host, RESET, HANG_S * 1000);
    RUN_UNTIL(host->fake->looks >= looks + 2);
    host_end(host);
    run_what_is_due();
    g_assert_cmpuint(host->results, ==, 0);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, test) \
    g_test_add("/redfish-action/" name, Host, NULL, set_up, test, tear_down)
    ADD("types", test_types);
    ADD("unsupported", test_unsupported);
    ADD("supported", test_supported);
    ADD("action-info", test_action_info);
    ADD("unasked", test_unasked);
    ADD("two-steps", test_two_steps);
    ADD("refused", test_refused);
    ADD("long-words", test_long_words);
    ADD("silent", test_silent);
    ADD("task", test_task);
    ADD("task-ends", test_task_ends);
    ADD("task-hangs", test_task_hangs);
    ADD("free", test_free);
#undef ADD
    return g_test_run();
}
