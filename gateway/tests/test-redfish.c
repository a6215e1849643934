/*
 * The state of a machine by Redfish: what is found, and all that can be wrong
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "redfish-host.h"

static void set_up(Host *host, gconstpointer unused)
{
    host_set_up(host, NULL);
}

static void tear_down(Host *host, gconstpointer unused)
{
    host_clear(host);
}

/* From the root to the state, by one session that is ended in the end */
static void test_session(Host *host, gconstpointer unused)
{
    host_begin(host);
    g_assert_true(host->backend->methods->can_ask(host->backend));
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_null(host->trouble);
    g_assert_cmphex(host->possible, ==, RESET | OFF);
    host->fake->power = "\"Off\"";
    g_assert_cmpuint(host_state(host), ==, IS_OFF);
    g_assert_cmphex(host->possible, ==, ON);
    g_assert_cmpuint(host->fake->roots, ==, 1);
    g_assert_cmpuint(host->fake->log_ins, ==, 1);
    g_assert_cmpuint(host->fake->log_outs, ==, 0);
    host_end(host);
    g_assert_cmpuint(host->fake->log_outs, ==, 1);
}

static const char *token_of(Host *host)
{
    return host->backend->methods->token(host->backend);
}

/* What else the BMC has is used with the same session */
static void test_token(Host *host, gconstpointer unused)
{
    const BackendMethods *methods;

    host_begin(host);
    methods = host->backend->methods;
    g_assert_null(token_of(host));
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpstr(token_of(host), ==, host->fake->token);

    /* it has not ended: it was somebody's mistake */
    methods->doubt_token(host->backend);
    g_assert_null(token_of(host));
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpstr(token_of(host), ==, host->fake->token);
    g_assert_cmpuint(host->fake->log_ins, ==, 1);

    /* it has, which who watches need not ask for */
    methods->watch(host->backend, host_changed, host);
    fake_redfish_forget(host->fake);
    methods->doubt_token(host->backend);
    g_assert_null(token_of(host));
    RUN_UNTIL(host->changes == 1);
    g_assert_nonnull(host->fake->token);
    g_assert_cmpstr(token_of(host), ==, host->fake->token);
    g_assert_cmpuint(host->fake->log_ins, ==, 2);

    /* nobody knows while there is no answer */
    methods->doubt_token(host->backend);
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 401, NULL, "{}");
    g_assert_cmpuint(host_state(host), ==, IS_UNKNOWN);
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 0, NULL, NULL);
    host_end(host);
    g_assert_cmpuint(host->fake->log_outs, >=, 1);
}

static void test_states(Host *host, gconstpointer unused)
{
    static const struct {
        const char *power;
        guint32 state;
        gboolean is_changing;
    } known[] = {
        { "\"On\"", IS_ON, FALSE },
        { "\"PoweringOff\"", IS_ON, TRUE },
        { "\"Off\"", IS_OFF, FALSE },
        { "\"PoweringOn\"", IS_OFF, TRUE },
        { "\"Paused\"", IS_PAUSED, FALSE },
    };
    gsize i;

    host_begin(host);
    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        host->fake->power = known[i].power;
        g_assert_cmpuint(host_state(host), ==, known[i].state);
        g_assert_cmpint(host->is_changing, ==, known[i].is_changing);
        g_assert_null(host->trouble);
    }
    host->fake->power = NULL;
    CHECK_TROUBLE(host, "tells no PowerState of " FAKE_SYSTEM, PASSING);
    host->fake->power = "null";
    CHECK_TROUBLE(host, "tells no PowerState of " FAKE_SYSTEM, PASSING);
    host->fake->power = "[1]";
    CHECK_TROUBLE(host, "tells no PowerState of " FAKE_SYSTEM, PASSING);
    host->fake->power = "\"Sleepy\"";
    CHECK_TROUBLE(host, "the PowerState 'Sleepy', which is not known", PASSING);
    host->fake->power = "\"On\"";
    g_assert_cmpuint(host_state(host), ==, IS_ON);
}

/* It is tried once for each time that somebody asks */
static void test_wrong_password(Host *host, gconstpointer unused)
{
    host->config.redfish_password = (char *)"a-wrong-one";
    host_begin(host);
    CHECK_TROUBLE(host, "does not accept the user or the password: check"
                  " [redfish] user and password-file: Not ...", REFUSED);
    g_assert_null(strstr(host->trouble, "a-wrong-one"));
    run_what_is_due();
    g_assert_cmpuint(host->fake->log_ins, ==, 1);

    /* two who ask share one attempt */
    host_ask(host);
    host_act(host, ON, HANG_S * 1000);
    RUN_UNTIL(host->answers == 2 && host->results == 1);
    g_assert_cmpuint(host->result, ==, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(host->message, "check [redfish] user"));
    g_assert_cmpuint(host->fake->log_ins, ==, 2);
    g_assert_cmpuint(host->fake->looks, ==, 0);
    host_end(host);
    g_assert_cmpuint(host->fake->log_outs, ==, 0);
}

/* The session has ended: another one, once, and the same request again */
static void test_session_ends(Host *host, gconstpointer unused)
{
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    fake_redfish_forget(host->fake);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpuint(host->fake->log_ins, ==, 2);
    g_assert_cmpuint(host_result(host, OFF), ==, SPICE_POWER_RESULT_OK);

    /* for two at a time it's one, too */
    fake_redfish_forget(host->fake);
    host_ask(host);
    host_act(host, ON, HANG_S * 1000);
    RUN_UNTIL(host->answers == 3 && host->results == 2);
    g_assert_cmpuint(host->result, ==, SPICE_POWER_RESULT_OK);
    g_assert_null(host->trouble);
    g_assert_cmpuint(host->fake->log_ins, ==, 3);

    /* and it is no endless loop */
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 401, NULL, NULL);
    CHECK_TROUBLE(host, "does not accept the session that it has just given",
                  REFUSED);
    g_assert_cmpuint(host->fake->log_ins, ==, 4);
}

static void test_sessions_full(Host *host, gconstpointer unused)
{
    fake_redfish_answer(host->fake, "POST " FAKE_SESSIONS, 503, NULL,
                        "{\"error\": {\"@Message.ExtendedInfo\": [{"
                        "\"MessageId\": \"Base.1.8.SessionLimitExceeded\"}]}}");
    host_begin(host);
    CHECK_TROUBLE(host, "has no free session", AWAY);
    fake_redfish_answer(host->fake, "POST " FAKE_SESSIONS, 201, NULL, "{}");
    CHECK_TROUBLE(host, "given no X-Auth-Token", PASSING);
    fake_redfish_answer(host->fake, "POST " FAKE_SESSIONS, 0, NULL, NULL);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
}

/* Where sessions are it may say in another place */
static void test_session_service(Host *host, gconstpointer unused)
{
    fake_redfish_answer(host->fake, "GET /redfish/v1/", 200, NULL,
                        "{\"Systems\": {\"@odata.id\":"
                        " \"/redfish/v1/Systems\"}, \"SessionService\":"
                        " {\"@odata.id\": \"/sessions\"}}");
    fake_redfish_answer(host->fake, "GET /sessions", 200, NULL, "{}");
    host_begin(host);
    CHECK_TROUBLE(host, "has no sessions: set [redfish] authentication to"
                  " basic", REFUSED);
    host_end(host);
    fake_redfish_answer(host->fake, "GET /sessions", 200, NULL, "{\"Sessions\":"
                        " {\"@odata.id\": \"" FAKE_SESSIONS "\"}}");
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
}

static void test_basic(Host *host, gconstpointer unused)
{
    host->fake->has_sessions = FALSE;
    host_begin(host);
    CHECK_TROUBLE(host, "has no sessions: set [redfish] authentication to"
                  " basic", REFUSED);
    CHECK_TROUBLE(host, "has no sessions", REFUSED);
    host->config.redfish_is_basic = TRUE;
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpuint(host_result(host, OFF), ==, SPICE_POWER_RESULT_OK);
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 401, NULL, NULL);
    CHECK_TROUBLE(host, "does not accept the user or the password", REFUSED);
}

/* The root is for everybody: nobody is told the password who does not ask */
static void test_nobody(Host *host, gconstpointer unused)
{
    host->config.redfish_user = host->config.redfish_password = NULL;
    host_begin(host);
    CHECK_TROUBLE(host, "wants a user: set [redfish] user and password-file",
                  REFUSED);
    host->fake->has_user = FALSE;
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_null(host->fake->origin);
    g_assert_cmpuint(host->fake->log_ins, ==, 0);
}

/* --- which system -------------------------------------------------------- */

#define TWO "[{\"@odata.id\": \"" FAKE_SYSTEM "\"}, {\"@odata.id\":" \
            " \"/redfish/v1/Systems/2/\"}]"

static void test_several(Host *host, gconstpointer unused)
{
    static const char *const names[] = {
        "1", "web", FAKE_SYSTEM, "38947555-7742-3448-3784-823347823834",
        "38947555-7742-3448-3784-823347823834",
    };
    g_autofree char *upper = g_ascii_strup(names[4], -1);
    gsize i;

    host->fake->systems = TWO;
    fake_redfish_answer(host->fake, "GET /redfish/v1/Systems/2", 200, NULL,
                        "{\"Id\": \"2\", \"Name\": \"mail\"}");
    for (i = 0; i < G_N_ELEMENTS(names); i++) {
        host->config.redfish_system = (char *)(i == 4 ? upper : names[i]);
        host_begin(host);
        g_assert_cmpuint(host_state(host), ==, IS_ON);
        host_end(host);
    }
    host->config.redfish_system = NULL;
    host_begin(host);
    CHECK_TROUBLE(host, "has several systems: set [redfish] system to one of"
                  " 1, 2", REFUSED);
    host_end(host);
    host->config.redfish_system = (char *)"db";
    host_begin(host);
    CHECK_TROUBLE(host, "has no system db: check [redfish] system; there are:"
                  " 1 (web), 2 (mail)", AWAY);
    host_end(host);
    fake_redfish_answer(host->fake, "GET /redfish/v1/Systems/2", 200, NULL,
                        "{\"Id\": \"2\", \"Name\": \"web\"}");
    host->config.redfish_system = (char *)"web";
    host_begin(host);
    CHECK_TROUBLE(host, "several systems with the name web: set [redfish]"
                  " system to the id of one, 1 or 2", REFUSED);
}

/* There may be none yet, or a page full of them, and a page more */
static void test_collection(Host *host, gconstpointer unused)
{
    host->fake->systems = "[]";
    host_begin(host);
    CHECK_TROUBLE(host, "has no system (yet)", AWAY);
    fake_redfish_answer(host->fake, "GET /redfish/v1/Systems", 200, NULL,
                        "{\"Members\": [{\"@odata.id\": \"/a/b\"}],"
                        " \"Members@odata.nextLink\": \"/more\"}");
    fake_redfish_answer(host->fake, "GET /more", 200, NULL,
                        "{\"Members\": [{\"@odata.id\": \"" FAKE_SYSTEM
                        "\"}, 7, {}]}");
    CHECK_TROUBLE(host, "one of b, 1", REFUSED);
    host->config.redfish_system = (char *)"1";
    g_assert_cmpuint(host_state(host), ==, IS_ON);

    /* it has gone, and is looked for again */
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 404, NULL, NULL);
    CHECK_TROUBLE(host, "has no " FAKE_SYSTEM, PASSING);
    fake_redfish_answer(host->fake, "GET /a/c", 200, NULL,
                        "{\"Id\": \"1\", \"PowerState\": \"Off\"}");
    fake_redfish_answer(host->fake, "GET /redfish/v1/Systems", 200, NULL,
                        "{\"Members\": [{\"@odata.id\": \"/a/c\"}]}");
    g_assert_cmpuint(host_state(host), ==, IS_OFF);
    g_assert_cmphex(host->possible, ==, 0);     /* it has no action */
}

/* --- ETags --------------------------------------------------------------- */

static void test_etag(Host *host, gconstpointer unused)
{
    host->fake->etag = "\"1\"";
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_null(host->trouble);
    g_assert_cmphex(host->possible, ==, RESET | OFF);
    g_assert_cmpuint(host->fake->unchanged, ==, 1);
    host->fake->power = "\"Off\"";
    host->fake->etag = "\"2\"";
    g_assert_cmpuint(host_state(host), ==, IS_OFF);
    g_assert_cmpuint(host_state(host), ==, IS_OFF);
    g_assert_cmpuint(host->fake->unchanged, ==, 2);

    /* one that does not change is not believed after an action */
    g_assert_cmpuint(host_result(host, ON), ==, SPICE_POWER_RESULT_OK);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    g_assert_cmpuint(host->fake->unchanged, ==, 2);
    /* nor is one that has come with nothing */
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 304, NULL, NULL);
    CHECK_TROUBLE(host, "tells no PowerState", PASSING);
}

/* --- what can be wrong --------------------------------------------------- */

static char *deep_json(void)
{
    GString *text = g_string_new("{\"a\": ");
    guint i;

    for (i = 0; i < 400000; i++) {
        g_string_append_c(text, '[');
    }
    return g_string_free(text, FALSE);
}

static void test_wrong_answers(Host *host, gconstpointer unused)
{
    static const struct {
        guint status;
        const char *headers, *body, *trouble;
        BackendTrouble kind;
    } answers[] = {
        { 200, NULL, "nonsense", "answers " FAKE_SYSTEM " with what is no JSON",
          BACKEND_TROUBLE_PASSING },
        { 200, NULL, "{\"PowerState\": \"O", "with what is no JSON",
          BACKEND_TROUBLE_PASSING },
        { 200, NULL, "[]", "with what is no JSON: it is no object",
          BACKEND_TROUBLE_PASSING },
        { 200, NULL, NULL, "with what is no JSON: it is empty",
          BACKEND_TROUBLE_PASSING },
        { 403, NULL, "{\"error\": {\"@Message.ExtendedInfo\": [{\"Message\":"
          " \"Too low.\", \"Resolution\": \"Ask\\nthe boss.\"}]}}",
          "check [redfish] user, its role, and password-file: Too low. Ask the"
          " boss.",
          BACKEND_TROUBLE_REFUSED },
        { 404, NULL, "<html>", "has no " FAKE_SYSTEM, BACKEND_TROUBLE_PASSING },
        { 503, "Retry-After: 120", NULL, "is busy, it says to try again in 120"
          " seconds", BACKEND_TROUBLE_AWAY },
        { 500, NULL, "{\"error\": {\"message\": \"It is a bug\"}}", "refuses "
          FAKE_SYSTEM " with HTTP status 500: It is a bug",
          BACKEND_TROUBLE_PASSING },
        { 302, NULL, NULL, "which can't be followed", BACKEND_TROUBLE_PASSING },
        { 302, "Location: " FAKE_SYSTEM, NULL, "round and round",
          BACKEND_TROUBLE_PASSING },
        { 301, "Location: http://other.invalid/", NULL, "leads to another one,"
          " http://other.invalid/", BACKEND_TROUBLE_REFUSED },
        { 307, "Location: //other.invalid/", NULL, "leads to another one,"
          " http://other.invalid/", BACKEND_TROUBLE_REFUSED },
    };
    gsize i;

    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    for (i = 0; i < G_N_ELEMENTS(answers); i++) {
        fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, answers[i].status,
                            answers[i].headers, answers[i].body);
        g_assert_cmpuint(host_state(host), ==, IS_UNKNOWN);
        if (!strstr(host->trouble, answers[i].trouble)) {
            g_error("%s: %s", answers[i].trouble, host->trouble);
        }
        g_assert_cmpint(host->kind, ==, answers[i].kind);
        g_assert_true(g_str_has_prefix(host->trouble, "The Redfish service"
                                       " 127.0.0.1:"));
        /* and all is well again */
        fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 0, NULL, NULL);
        g_assert_cmpuint(host_state(host), ==, IS_ON);
        g_assert_null(host->trouble);
    }
    g_assert_cmpuint(host->fake->log_ins, ==, 1);
}

/* A path that leads to another place of the same service is followed */
static void test_redirect(Host *host, gconstpointer unused)
{
    fake_redfish_answer(host->fake, "GET /redfish/v1/", 308,
                        "Location: /redfish/v1/there?x=1", NULL);
    fake_redfish_answer(host->fake, "GET /redfish/v1/there", 200, NULL,
                        "{\"Systems\": {\"@odata.id\":"
                        " \"/redfish/v1/Systems\"}, \"Links\": {\"Sessions\":"
                        " {\"@odata.id\": \""
                        FAKE_SESSIONS "\"}}}");
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);

    /* but not with what is to be done, unless it's said that it may be */
    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 302,
                        "Location: /there", NULL);
    g_assert_cmpuint(host_result(host, OFF), ==, SPICE_POWER_RESULT_FAILED);
    g_assert_nonnull(strstr(host->message, "can't be followed"));
    fake_redfish_answer(host->fake, "POST " FAKE_RESET, 307,
                        "Location: /there", NULL);
    fake_redfish_answer(host->fake, "POST /there", 204, NULL, NULL);
    g_assert_cmpuint(host_result(host, OFF), ==, SPICE_POWER_RESULT_OK);
}

/* Names of other hosts where a path should be get neither token nor password */
static void test_led_away(Host *host, gconstpointer unused)
{
    static const char *const paths[] = {
        "http://other.invalid/x", "//other.invalid/x", "x", "",
    };
    gsize i;

    host_begin(host);
    for (i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autofree char *root = g_strdup_printf(
            "{\"Systems\": {\"@odata.id\": \"/redfish/v1/Systems\"}, \"Links\":"
            " {\"Sessions\": {\"@odata.id\": \"%s\"}}}", paths[i]);

        fake_redfish_answer(host->fake, "GET /redfish/v1/", 200, NULL, root);
        CHECK_TROUBLE(host, "which is no path", PASSING);
        host_end(host);
        host_begin(host);
    }
}

static void test_large(Host *host, gconstpointer unused)
{
    g_autofree char *large = g_strnfill(1024 * 1024 + 1, ' ');
    g_autofree char *deep = deep_json();

    host_begin(host);
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 200, NULL, large);
    CHECK_TROUBLE(host, "answers " FAKE_SYSTEM " with more than 1024 kB",
                  PASSING);
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 200, NULL, deep);
    CHECK_TROUBLE(host, "with what is no JSON: more than 64 levels", PASSING);
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 0, NULL, NULL);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
}

static void test_broken_off(Host *host, gconstpointer unused)
{
    host_begin(host);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
    fake_redfish_behave(host->fake, "GET " FAKE_SYSTEM, FAKE_RAW,
                        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
    CHECK_TROUBLE(host, "has broken off its answer", PASSING);
    fake_redfish_behave(host->fake, "GET " FAKE_SYSTEM, FAKE_RAW,
                        "SSH-2.0-OpenSSH\r\n\r\n");
    CHECK_TROUBLE(host, "The Redfish service", PASSING);
    fake_redfish_answer(host->fake, "GET " FAKE_SYSTEM, 0, NULL, NULL);
    g_assert_cmpuint(host_state(host), ==, IS_ON);
}

/* Whoever is silent, or never ends, is given up: with each request there is */
static void test_silence(Host *host, gconstpointer unused)
{
    static const char *const requests[] = {
        "GET /redfish/v1/", "POST " FAKE_SESSIONS, "GET /redfish/v1/Systems",
        "GET " FAKE_SYSTEM,
    };
    gsize i;

    host->config.query_timeout_ms = 100;
    for (i = 0; i < G_N_ELEMENTS(requests); i++) {
        host_begin(host);
        fake_redfish_behave(host->fake, requests[i], FAKE_SILENT, NULL);
        CHECK_TROUBLE(host, "has not answered in time", AWAY);
        host_end(host);
        fake_redfish_answer(host->fake, requests[i], 0, NULL, NULL);
    }
    host->config.query_timeout_ms = 1000;
    host_begin(host);
    fake_redfish_behave(host->fake, "GET " FAKE_SYSTEM, FAKE_SLOW, NULL);
    CHECK_TROUBLE(host, "has not ended its answer in time, [power]"
                  " query-timeout", AWAY);
}

static void test_away(Host *host, gconstpointer unused)
{
    g_autofree char *url = g_strdup("http://127.0.0.1:1");

    host->config.redfish_url = url;
    host_begin(host);
    CHECK_TROUBLE(host, "127.0.0.1:1 does not answer: check that it is on the"
                  " network, and [redfish] url", AWAY);
    host_end(host);
    host->config.redfish_url = (char *)"http://no-such-host.invalid";
    host_begin(host);
    CHECK_TROUBLE(host, "no-such-host.invalid is not found: check [redfish]"
                  " url", AWAY);
}

/* --- the end ------------------------------------------------------------- */

/* With anything under way: nothing is called any more */
static void test_free(Host *host, gconstpointer unused)
{
    static const char *const requests[] = {
        NULL, "GET /redfish/v1/", "POST " FAKE_SESSIONS,
        "GET /redfish/v1/Systems", "GET " FAKE_SYSTEM,
    };
    gsize i;

    host->config.redfish_system = (char *)"1";
    for (i = 0; i < G_N_ELEMENTS(requests); i++) {
        guint before = host->fake->requests;

        host_begin(host);
        if (requests[i]) {
            fake_redfish_behave(host->fake, requests[i], FAKE_SILENT, NULL);
        }
        host_ask(host);
        host_act(host, OFF, HANG_S * 1000);
        /* the one that is silent is the last that comes */
        RUN_UNTIL(host->fake->requests >= before + i);
        host->backend->methods->free(host->backend);
        host->backend = NULL;
        if (requests[i]) {
            fake_redfish_answer(host->fake, requests[i], 0, NULL, NULL);
            fake_redfish_wake(host->fake);
        }
    }
    run_what_is_due();
    host_end(host);
    g_assert_cmpuint(host->answers, ==, 0);
    g_assert_cmpuint(host->results, ==, 0);
    g_assert_cmpuint(host->fake->resets, ==, 0);
}

/* A session that has just been begun is ended as well */
static void test_free_early(Host *host, gconstpointer unused)
{
    host_begin(host);
    host_ask(host);
    RUN_UNTIL(host->fake->log_ins);
    host_end(host);
    g_assert_cmpuint(host->fake->log_outs, ==, 1);
    g_assert_cmpuint(host->answers, ==, 0);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, test) \
    g_test_add("/redfish/" name, Host, NULL, set_up, test, tear_down)
    ADD("session", test_session);
    ADD("token", test_token);
    ADD("states", test_states);
    ADD("wrong-password", test_wrong_password);
    ADD("session-ends", test_session_ends);
    ADD("sessions-full", test_sessions_full);
    ADD("session-service", test_session_service);
    ADD("basic", test_basic);
    ADD("nobody", test_nobody);
    ADD("several", test_several);
    ADD("collection", test_collection);
    ADD("etag", test_etag);
    ADD("wrong-answers", test_wrong_answers);
    ADD("redirect", test_redirect);
    ADD("led-away", test_led_away);
    ADD("large", test_large);
    ADD("broken-off", test_broken_off);
    ADD("silence", test_silence);
    ADD("away", test_away);
    ADD("free", test_free);
    ADD("free-early", test_free_early);
#undef ADD
    return g_test_run();
}
