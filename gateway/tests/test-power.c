/*
 * Requests of clients, carried out by a backend that tests are themselves
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fake-power.h"
#include "loop.h"

/* --- a backend that only tells ------------------------------------------- */

/* State and possible actions are as the backend says */
static void test_told(Fixture *fixture, gconstpointer unused)
{
    g_assert_cmpuint(fixture->server->state, ==, IS_UNKNOWN);
    g_assert_false(power_is_answered(fixture->power));
    push(&fixture->fake, IS_PAUSED, OFF | RESET, NULL);
    g_assert_cmpuint(fixture->server->state, ==, IS_PAUSED);
    g_assert_cmphex(fixture->server->possible, ==, OFF | RESET);
    g_assert_cmpuint(fixture->changes, ==, 1);
    g_assert_cmpuint(fixture->changed_to, ==, IS_PAUSED);
    /* what is possible may change alone */
    push(&fixture->fake, IS_PAUSED, OFF | RESET | CONTINUE, NULL);
    g_assert_cmphex(fixture->server->possible, ==, OFF | RESET | CONTINUE);
    g_assert_cmpuint(fixture->changes, ==, 1);
    push(&fixture->fake, IS_PAUSED, OFF | RESET | CONTINUE, NULL);
    g_assert_cmpuint(fixture->server->states, ==, 3);
}

/* The first answer is one, even if nobody knows */
static void test_told_unknown(Fixture *fixture, gconstpointer unused)
{
    push(&fixture->fake, IS_UNKNOWN, 0, "no connection");
    g_assert_true(power_is_answered(fixture->power));
    g_assert_cmpuint(fixture->changes, ==, 1);
    check_request(fake_ask(fixture->server, ON, 1), SPICE_POWER_RESULT_FAILED,
                  "no connection");
    g_assert_null(fixture->fake.acted);
}

/* Each action, done when the state is there: before the result, or after */
static void test_five_actions(Fixture *fixture, gconstpointer unused)
{
    static const struct {
        guint32 action, before, after;
    } known[] = {
        { ON, IS_OFF, IS_ON },
        { PAUSE, IS_ON, IS_PAUSED },
        { CONTINUE, IS_PAUSED, IS_ON },
        { OFF, IS_ON, IS_OFF },
    };
    Fake *fake = &fixture->fake;
    FakeRequest *request;
    gsize i;
    int first;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        for (first = 0; first < 2; first++) {
            push(fake, known[i].before, known[i].action, NULL);
            request = fake_ask(fixture->server, known[i].action, i);
            g_assert_cmphex(fake->action, ==, known[i].action);
            g_assert_false(request->done);
            if (first) {
                push(fake, known[i].after, 0, NULL);
                g_assert_false(request->done);
                end_action(fake, SPICE_POWER_RESULT_OK, "");
            } else {
                end_action(fake, SPICE_POWER_RESULT_OK, "");
                g_assert_false(request->done);
                push(fake, known[i].after, 0, NULL);
            }
            g_assert_cmpuint(request->state, ==, known[i].after);
            check_request(request, SPICE_POWER_RESULT_OK, NULL);
        }
    }
    /* which can't be seen */
    push(fake, IS_ON, RESET, NULL);
    request = fake_ask(fixture->server, RESET, 1);
    g_assert_false(request->done);
    end_action(fake, SPICE_POWER_RESULT_OK, "");
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
}

/* A backend's reason, and its result, are the client's */
static void test_backend_refuses(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;

    push(&fixture->fake, IS_ON, RESET, NULL);
    request = fake_ask(fixture->server, RESET, 1);
    end_action(&fixture->fake, SPICE_POWER_RESULT_BUSY, "being migrated");
    check_request(request, SPICE_POWER_RESULT_BUSY, "being migrated");
}

/* Nothing is done that need not be, or makes no sense */
static void test_not_tried(Fixture *fixture, gconstpointer unused)
{
    push(&fixture->fake, IS_OFF, ON, NULL);
    check_request(fake_ask(fixture->server, OFF, 1), SPICE_POWER_RESULT_OK,
                  NULL);
    check_request(fake_ask(fixture->server, RESET, 2),
                  SPICE_POWER_RESULT_WRONG_STATE,
                  "The machine's power state is off");
    g_assert_null(fixture->fake.acted);
}

/* Only what is configured and can be done is offered */
static void test_configured(Fixture *fixture, gconstpointer unused)
{
    detach(fixture);
    fixture->config.actions = ON | OFF;
    fixture->fake.supported = RESET | OFF;
    push(&fixture->fake, IS_ON, RESET | OFF | PAUSE, NULL);
    attach(fixture);
    g_assert_cmphex(fixture->server->power->actions, ==, OFF);
    g_assert_cmphex(fixture->server->possible, ==, OFF);
}

/* --- without a server, and with another one ------------------------------ */

static void test_no_server(Fixture *fixture, gconstpointer unused)
{
    push(&fixture->fake, IS_ON, RESET | OFF, NULL);
    detach(fixture);
    push(&fixture->fake, IS_OFF, ON, NULL);
    g_assert_cmpuint(power_state(fixture->power), ==, IS_OFF);
    g_assert_cmpuint(fixture->changed_to, ==, IS_OFF);
    /* nothing to be refused, or to be sent */
    power_refuse(fixture->power, "nobody");
    g_assert_false(power_is_unsent(fixture->power));
    power_detach(fixture->power);

    attach(fixture);
    g_assert_cmpuint(fixture->server->state, ==, IS_OFF);
    g_assert_cmphex(fixture->server->possible, ==, ON);
    check_request(fake_ask(fixture->server, OFF, 1), SPICE_POWER_RESULT_OK,
                  NULL);
}

/* What is under way is answered, and what comes then; the action goes on */
static void test_refuse(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;

    push(&fixture->fake, IS_OFF, ON, NULL);
    request = fake_ask(fixture->server, ON, 1);
    power_refuse(fixture->power, "we end");
    check_request(request, SPICE_POWER_RESULT_FAILED, "we end");
    check_request(fake_ask(fixture->server, ON, 2), SPICE_POWER_RESULT_FAILED,
                  "we end");
    detach(fixture);
    attach(fixture);
    /* a backend has one action at a time */
    check_request(fake_ask(fixture->server, ON, 3), SPICE_POWER_RESULT_BUSY,
                  "An earlier action has not ended");
    end_action(&fixture->fake, SPICE_POWER_RESULT_FAILED, "late");
    request = fake_ask(fixture->server, ON, 4);
    g_assert_false(request->done);
    push(&fixture->fake, IS_ON, OFF, NULL);
    end_action(&fixture->fake, SPICE_POWER_RESULT_OK, "");
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
}

/* The time is for all that a request takes */
static void test_time_limit(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;

    fixture->config.action_timeout_ms = 20;
    push(&fixture->fake, IS_OFF, ON, NULL);
    request = fake_ask(fixture->server, ON, 1);
    g_assert_cmpuint(fixture->fake.timeout_ms, <=, 20);
    end_action(&fixture->fake, SPICE_POWER_RESULT_OK, "");
    RUN_UNTIL(request->done);
    check_request(request, SPICE_POWER_RESULT_FAILED, "The machine did not"
                  " follow within 0.02 seconds: its power state is off");
}

/* --- a backend that is asked --------------------------------------------- */

/* First, so that nothing is done that has been done meanwhile */
static void test_asked_before(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    g_assert_cmpuint(fake->questions, ==, 1);
    answer(fake, IS_OFF, NULL);
    request = fake_ask(fixture->server, ON, 1);
    g_assert_cmpuint(fake->questions, ==, 2);
    g_assert_null(fake->acted);
    answer(fake, IS_ON, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
    g_assert_null(fake->acted);
}

/* And again, until it is so; more often than otherwise */
static void test_asked_after(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    answer(fake, IS_ON, NULL);
    request = fake_ask(fixture->server, OFF, 1);
    answer(fake, IS_ON, NULL);
    end_action(fake, SPICE_POWER_RESULT_OK, "");
    g_assert_cmpuint(fake->questions, ==, 3);
    answer(fake, IS_ON, NULL);
    g_assert_false(request->done);
    RUN_UNTIL(fake->questions == 4);
    answer(fake, IS_UNKNOWN, "no answer");
    g_assert_false(request->done);
    RUN_UNTIL(fake->questions == 5);
    answer(fake, IS_OFF, NULL);
    g_assert_cmpuint(request->state, ==, IS_OFF);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
}

/* An answer that may be older than what was told is asked for again */
static void test_told_is_newer(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;

    push(fake, IS_ON, OFF, NULL);
    answer(fake, IS_OFF, NULL);
    g_assert_cmpuint(power_state(fixture->power), ==, IS_ON);
    g_assert_cmpuint(fake->questions, ==, 2);
    answer(fake, IS_OFF, NULL);
    g_assert_cmpuint(power_state(fixture->power), ==, IS_OFF);
    /* that nothing is told any more is no news if one can ask */
    push(fake, IS_UNKNOWN, 0, "the watch has ended");
    g_assert_cmpuint(power_state(fixture->power), ==, IS_OFF);
}

/* Nothing was done if it is not known what there is to do */
static void test_no_answer(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;

    answer(&fixture->fake, IS_OFF, NULL);
    fixture->config.action_timeout_ms = 20;
    request = fake_ask(fixture->server, ON, 1);
    RUN_UNTIL(request->done);
    check_request(request, SPICE_POWER_RESULT_FAILED, "Nothing was done: the"
                  " power state was not to be had within 0.02 seconds");
    /* it comes after all, and there is nobody to whom it matters */
    answer(&fixture->fake, IS_OFF, NULL);
    g_assert_null(fixture->fake.acted);
}

/* --- two of them --------------------------------------------------------- */

static guint refreshed;

static void refresh(Backend *backend)
{
    refreshed++;
}

/* A backend that is looked at for a request, and begins what seems to be done */
static void test_refresh(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    BackendMethods methods = *fake->base.methods;
    FakeRequest *request;

    methods.refresh = refresh;
    methods.tried = ON;
    fake->base.methods = &methods;
    push(fake, IS_ON, OFF | RESET, NULL);
    request = fake_ask(fixture->server, ON, 1);
    g_assert_cmpuint(refreshed, ==, 1);
    g_assert_null(fake->acted);
    push(fake, IS_ON, OFF | RESET, NULL);
    g_assert_cmphex(fake->action, ==, ON);
    end_action(fake, SPICE_POWER_RESULT_OK, "");
    g_assert_cmpuint(refreshed, ==, 2);
    push(fake, IS_ON, OFF | RESET, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);

    /* another one is done already, as the last look says */
    request = fake_ask(fixture->server, OFF, 2);
    push(fake, IS_ON, OFF | RESET, NULL);
    end_action(fake, SPICE_POWER_RESULT_WRONG_STATE, "it is off");
    g_assert_false(request->done);
    push(fake, IS_OFF, ON, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, "The machine's power state is"
                  " off, though it was said: it is off");
    request = fake_ask(fixture->server, OFF, 3);
    push(fake, IS_OFF, ON, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
    g_assert_null(fake->acted);

    /* what ends the connection is told, and that there is none as well */
    request = fake_ask(fixture->server, ON, 4);
    push(fake, IS_UNKNOWN, 0, "no connection");
    check_request(request, SPICE_POWER_RESULT_FAILED, "no connection");
    g_assert_cmpuint(refreshed, ==, 6);
    check_request(fake_ask(fixture->server, ON, 5), SPICE_POWER_RESULT_FAILED,
                  "no connection");
    g_assert_cmpuint(refreshed, ==, 6);
}

static void test_two(void)
{
    Fixture a = { 0 }, b = { 0 };
    FakeRequest *of_a, *of_b;

    set_up(&a, NULL);
    set_up(&b, NULL);
    push(&a.fake, IS_OFF, ON, NULL);
    push(&b.fake, IS_ON, OFF | PAUSE, NULL);
    g_assert_cmpuint(a.server->state, ==, IS_OFF);
    g_assert_cmpuint(b.server->state, ==, IS_ON);
    g_assert_cmphex(a.server->possible, ==, ON);
    g_assert_cmphex(b.server->possible, ==, OFF | PAUSE);

    of_a = fake_ask(a.server, ON, 7);
    of_b = fake_ask(b.server, PAUSE, 7);
    g_assert_cmphex(a.fake.action, ==, ON);
    g_assert_cmphex(b.fake.action, ==, PAUSE);
    end_action(&b.fake, SPICE_POWER_RESULT_FAILED, "that of b");
    g_assert_false(of_a->done);
    check_request(of_b, SPICE_POWER_RESULT_FAILED, "that of b");

    /* one ends while the other one's is under way */
    tear_down(&b, NULL);
    push(&a.fake, IS_ON, OFF, NULL);
    end_action(&a.fake, SPICE_POWER_RESULT_OK, "");
    check_request(of_a, SPICE_POWER_RESULT_OK, NULL);
    tear_down(&a, NULL);
    g_assert_cmpuint(fake_servers, ==, 0);
}

/* With a ticket for it, only who has come with that */
static void test_ticketed(Fixture *fixture, gconstpointer unused)
{
    g_assert_cmphex(fake_allowed(fixture->server, SPICE_TICKET_ORDINARY), ==,
                    SPICE_POWER_ACTION_MASK);
    power_set_ticketed(fixture->power, TRUE);
    power_set_ticketed(fixture->power, TRUE);
    g_assert_cmpuint(fixture->server->updates, ==, 1);
    g_assert_cmphex(fake_allowed(fixture->server, SPICE_TICKET_ORDINARY), ==,
                    0);
    g_assert_cmphex(fake_allowed(fixture->server, SPICE_TICKET_POWER), ==,
                    SPICE_POWER_ACTION_MASK);
    detach(fixture);
    power_set_ticketed(fixture->power, FALSE);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, can_ask, function) \
    g_test_add("/power/" name, Fixture, can_ask, set_up, function, tear_down)
    ADD("told", NULL, test_told);
    ADD("told-unknown", NULL, test_told_unknown);
    ADD("five-actions", NULL, test_five_actions);
    ADD("backend-refuses", NULL, test_backend_refuses);
    ADD("not-tried", NULL, test_not_tried);
    ADD("configured", NULL, test_configured);
    ADD("no-server", NULL, test_no_server);
    ADD("refuse", NULL, test_refuse);
    ADD("ticketed", NULL, test_ticketed);
    ADD("time-limit", NULL, test_time_limit);
    ADD("asked-before", "can", test_asked_before);
    ADD("asked-after", "can", test_asked_after);
    ADD("told-is-newer", "can", test_told_is_newer);
    ADD("no-answer", "can", test_no_answer);
    ADD("refresh", NULL, test_refresh);
    g_test_add_func("/power/two", test_two);
    return g_test_run();
}
