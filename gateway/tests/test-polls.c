/*
 * How often a backend is asked, and when it is left alone
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fake-power.h"
#include "loop.h"
#include "polls.h"

/* --- how long it is waited ------------------------------------------------ */

typedef struct Pace {
    MachineConfig config;
    Polls *polls;
} Pace;

static void never(gpointer unused)
{
    g_assert_not_reached();
}

static void begin_pace(Pace *pace, gconstpointer unused)
{
    pace->config = (MachineConfig) { .poll_ms = 5000, .idle_poll_ms = 30000 };
    pace->polls = polls_new(&pace->config, never, NULL);
}

static void end_pace(Pace *pace, gconstpointer unused)
{
    polls_free(pace->polls);
}

static gboolean end(Pace *pace, const char *trouble, BackendTrouble kind)
{
    const BackendStatus status = { .trouble = trouble, .trouble_kind = kind };

    return polls_end(pace->polls, &status);
}

/* Of some that are made at the same time each has a time of its own */
static void check_wait(Pace *pace, PollHurry hurry, guint64 least,
                       guint64 most)
{
    guint64 ms = polls_wait(pace->polls, hurry);

    g_assert_cmpuint(ms, >=, least);
    g_assert_cmpuint(ms, <=, most);
    g_assert_true(polls_is_waiting(pace->polls));
}

static void test_attended(Pace *pace, gconstpointer unused)
{
    end(pace, NULL, 0);
    check_wait(pace, POLL_NOW_AND_THEN, 30000, 37500);
    polls_set_attended(pace->polls, TRUE);
    check_wait(pace, POLL_NOW_AND_THEN, 5000, 5000);
    polls_set_attended(pace->polls, FALSE);
    check_wait(pace, POLL_NOW_AND_THEN, 30000, 37500);
    /* not more often, only because nobody is there */
    pace->config.poll_ms = 60000;
    check_wait(pace, POLL_NOW_AND_THEN, 60000, 75000);
}

static void test_away(Pace *pace, gconstpointer unused)
{
    static const guint64 least[] = { 10000, 20000, 40000, 60000, 60000 };
    static const guint64 most[] = { 12500, 25000, 50000, 60000, 60000 };
    gsize i;

    polls_set_attended(pace->polls, TRUE);
    for (i = 0; i < G_N_ELEMENTS(least); i++) {
        g_assert_false(end(pace, "x", BACKEND_TROUBLE_AWAY));
        check_wait(pace, POLL_NOW_AND_THEN, least[i], most[i]);
        g_assert_true(polls_may_ask(pace->polls));
    }
    polls_set_attended(pace->polls, FALSE);
    check_wait(pace, POLL_NOW_AND_THEN, 60000, 60000);
    pace->config.idle_poll_ms = 100000;
    check_wait(pace, POLL_NOW_AND_THEN, 100000, 100000);
    polls_set_attended(pace->polls, TRUE);
    end(pace, NULL, 0);
    check_wait(pace, POLL_NOW_AND_THEN, 5000, 5000);
}

static void test_refused(Pace *pace, gconstpointer unused)
{
    static const guint64 least[] = { 60000, 120000, 240000, 480000, 600000 };
    gsize i;

    polls_set_attended(pace->polls, TRUE);
    for (i = 0; i < G_N_ELEMENTS(least); i++) {
        g_assert_false(end(pace, "x", BACKEND_TROUBLE_REFUSED));
        check_wait(pace, POLL_NOW_AND_THEN, least[i], least[i] * 5 / 4);
        /* also for somebody who waits for an effect */
        check_wait(pace, POLL_EFFECT, least[i], least[i] * 5 / 4);
        g_assert_false(polls_may_ask(pace->polls));
    }
    /* it does not answer now, but has refused not long ago */
    end(pace, "x", BACKEND_TROUBLE_AWAY);
    g_assert_false(polls_may_ask(pace->polls));
    end(pace, NULL, 0);
    g_assert_true(polls_may_ask(pace->polls));
    check_wait(pace, POLL_NOW_AND_THEN, 5000, 5000);
    /* when that time is over one may try again */
    power_times.refused = 0;
    end(pace, "x", BACKEND_TROUBLE_REFUSED);
    g_assert_true(polls_may_ask(pace->polls));
    power_times.refused = 60000;
}

/* Once, until there is a good answer; then as if there were none */
static void test_odd_answers(Pace *pace, gconstpointer unused)
{
    polls_set_attended(pace->polls, TRUE);
    g_assert_true(end(pace, "x", BACKEND_TROUBLE_PASSING));
    g_assert_false(end(pace, "x", BACKEND_TROUBLE_PASSING));
    check_wait(pace, POLL_NOW_AND_THEN, 10000, 12500);
    g_assert_false(end(pace, "x", BACKEND_TROUBLE_PASSING));
    check_wait(pace, POLL_NOW_AND_THEN, 20000, 25000);
    end(pace, NULL, 0);
    g_assert_true(end(pace, "x", BACKEND_TROUBLE_PASSING));
    end(pace, NULL, 0);
    check_wait(pace, POLL_NOW_AND_THEN, 5000, 5000);
}

static void test_hurry(Pace *pace, gconstpointer unused)
{
    static const guint64 effect[] = { 200, 400, 800, 1000, 1000 };
    static const guint64 changing[] = { 200, 400, 800, 1600, 3200, 5000 };
    gsize i;

    polls_set_attended(pace->polls, TRUE);
    for (i = 0; i < G_N_ELEMENTS(effect); i++) {
        end(pace, i % 2 ? "x" : NULL, BACKEND_TROUBLE_AWAY);
        check_wait(pace, POLL_EFFECT, effect[i], effect[i]);
    }
    check_wait(pace, POLL_NOW_AND_THEN, 5000, 5000);
    for (i = 0; i < G_N_ELEMENTS(changing); i++) {
        check_wait(pace, POLL_CHANGING, changing[i], changing[i]);
    }
    /* what is configured is often enough */
    check_wait(pace, POLL_NOW_AND_THEN, 5000, 5000);
    pace->config.poll_ms = 100;
    check_wait(pace, POLL_EFFECT, 100, 100);
    check_wait(pace, POLL_CHANGING, 100, 100);
}

/* --- a Power that waits so ------------------------------------------------ */

static void set_up_polls(Fixture *fixture, gconstpointer unused)
{
    set_up(fixture, "can");
    fixture->config.poll_ms = 1;
}

/* Nobody is there until somebody is, for whom it's asked at once */
static void test_somebody_comes(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;

    answer(fake, IS_OFF, NULL);
    g_assert_cmpuint(fake->questions, ==, 1);
    power_set_attended(fixture->power, TRUE);
    RUN_UNTIL(fake->questions == 2);
    answer(fake, IS_OFF, NULL);
    RUN_UNTIL(fake->questions == 3);
    /* who leaves while it's being asked */
    power_set_attended(fixture->power, FALSE);
    power_set_attended(fixture->power, TRUE);
    answer(fake, IS_OFF, NULL);
    RUN_UNTIL(fake->questions == 4);
}

/* Whatever one does: no log-in for a minute */
static void test_left_alone(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    int i;

    answer_trouble(fake, BACKEND_TROUBLE_REFUSED, "wrong password");
    fixture->config.poll_ms = 0;
    for (i = 0; i < 3; i++) {
        power_set_attended(fixture->power, TRUE);
        check_request(fake_ask(fixture->server, ON, i),
                      SPICE_POWER_RESULT_FAILED, "wrong password");
        run_what_is_due();
        power_set_attended(fixture->power, FALSE);
    }
    g_assert_cmpuint(fake->questions, ==, 1);
    g_assert_null(fake->acted);
    g_assert_cmpuint(fixture->server->state, ==, IS_UNKNOWN);
}

static void test_left_alone_for_a_time(Fixture *fixture, gconstpointer unused)
{
    PowerTimes times = power_times;

    power_times.refused = 1;
    answer_trouble(&fixture->fake, BACKEND_TROUBLE_REFUSED, "wrong password");
    RUN_UNTIL(fixture->fake.questions == 2);
    answer(&fixture->fake, IS_ON, NULL);
    g_assert_cmpuint(fixture->server->state, ==, IS_ON);
    power_times = times;
}

/* A password that is changed in the midst of it */
static void test_refuses_after_action(Fixture *fixture, gconstpointer unused)
{
    FakeRequest *request;

    answer(&fixture->fake, IS_ON, NULL);
    request = fake_ask(fixture->server, OFF, 1);
    answer(&fixture->fake, IS_ON, NULL);
    end_action(&fixture->fake, SPICE_POWER_RESULT_OK, "");
    answer_trouble(&fixture->fake, BACKEND_TROUBLE_REFUSED, "wrong password");
    check_request(request, SPICE_POWER_RESULT_FAILED, "It was begun, and what"
                  " became of it can't be seen: wrong password");
    run_what_is_due();
    g_assert_cmpuint(fixture->fake.questions, ==, 3);
}

/* One that is away is asked when somebody wants something of it */
static void test_away_is_asked(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    fixture->config.idle_poll_ms = HANG_S * 1000;
    answer_trouble(fake, BACKEND_TROUBLE_AWAY, "no answer");
    request = fake_ask(fixture->server, ON, 1);
    g_assert_cmpuint(fake->questions, ==, 2);
    answer_trouble(fake, BACKEND_TROUBLE_AWAY, "no answer at all");
    check_request(request, SPICE_POWER_RESULT_FAILED, "no answer at all");
    power_set_attended(fixture->power, TRUE);
    RUN_UNTIL(fake->questions == 3);
    answer(fake, IS_OFF, NULL);
    g_assert_cmpuint(fixture->server->state, ==, IS_OFF);
}

/* One odd answer between good ones is none */
static void test_odd_answer(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    answer(fake, IS_ON, NULL);
    request = fake_ask(fixture->server, ON, 1);
    answer_trouble(fake, BACKEND_TROUBLE_PASSING, "unspecified error");
    g_assert_cmpuint(fixture->server->state, ==, IS_ON);
    g_assert_cmpuint(fake->questions, ==, 3);
    g_assert_false(request->done);
    answer(fake, IS_ON, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
    /* the first state, and that a request has come and been answered */
    g_assert_cmpuint(fixture->changes, ==, 3);

    request = fake_ask(fixture->server, ON, 2);
    answer_trouble(fake, BACKEND_TROUBLE_PASSING, "unspecified error");
    answer_trouble(fake, BACKEND_TROUBLE_PASSING, "it again");
    check_request(request, SPICE_POWER_RESULT_FAILED, "it again");
    g_assert_cmpuint(fixture->server->state, ==, IS_UNKNOWN);
    g_assert_cmpuint(fake->questions, ==, 5);
}

/* --- what a question is worth --------------------------------------------- */

/* One that was asked before the request is not about now */
static void test_older_question(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request = fake_ask(fixture->server, ON, 1);

    g_assert_cmpuint(fake->questions, ==, 1);
    answer(fake, IS_OFF, NULL);
    g_assert_null(fake->acted);
    g_assert_cmpuint(fake->questions, ==, 2);
    answer(fake, IS_ON, NULL);
    g_assert_null(fake->acted);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
}

/* The same after an action: that the machine is on was before a reset, maybe */
static void test_older_than_effect(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    power_set_attended(fixture->power, TRUE);
    answer(fake, IS_ON, NULL);
    request = fake_ask(fixture->server, RESET, 1);
    answer(fake, IS_ON, NULL);
    RUN_UNTIL(fake->questions == 3);
    end_action(fake, SPICE_POWER_RESULT_OK, "");
    answer(fake, IS_ON, NULL);
    g_assert_false(request->done);
    g_assert_cmpuint(fake->questions, ==, 4);
    answer(fake, IS_ON, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
}

/* It says that it has failed, and the machine is off all the same */
static void test_failed_and_done(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    answer(fake, IS_ON, NULL);
    request = fake_ask(fixture->server, OFF, 1);
    answer(fake, IS_ON, NULL);
    end_action(fake, SPICE_POWER_RESULT_FAILED, "not in this state");
    g_assert_false(request->done);
    g_assert_cmpuint(fake->questions, ==, 3);
    answer(fake, IS_OFF, NULL);
    g_assert_cmpuint(request->state, ==, IS_OFF);
    check_request(request, SPICE_POWER_RESULT_OK, "The machine's power state is"
                  " off, though it was said: not in this state");
}

/* It has, and the result is the backend's; what is said then is not */
static void test_failed(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;
    int i;

    answer(fake, IS_ON, NULL);
    for (i = 0; i < 2; i++) {
        request = fake_ask(fixture->server, OFF, 1);
        answer(fake, IS_ON, NULL);
        end_action(fake, SPICE_POWER_RESULT_UNSUPPORTED, "it has no off");
        if (i) {
            answer_trouble(fake, BACKEND_TROUBLE_AWAY, "no answer");
        } else {
            answer(fake, IS_ON, NULL);
        }
        check_request(request, SPICE_POWER_RESULT_UNSUPPORTED,
                      "it has no off");
    }
    /* a reset can't be seen */
    request = fake_ask(fixture->server, RESET, 2);
    answer(fake, IS_ON, NULL);
    end_action(fake, SPICE_POWER_RESULT_FAILED, "it has no reset");
    check_request(request, SPICE_POWER_RESULT_FAILED, "it has no reset");
}

/* The last look has its time, even if the action had all of the request's */
static void test_time_of_look(Fixture *fixture, gconstpointer unused)
{
    PowerTimes times = power_times;
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    power_times.look = 20;
    fixture->config.action_timeout_ms = 200;
    answer(fake, IS_ON, NULL);
    request = fake_ask(fixture->server, OFF, 1);
    answer(fake, IS_ON, NULL);
    /* its deadline has passed */
    g_usleep(200 * 1000);
    end_action(fake, SPICE_POWER_RESULT_FAILED, "no answer");
    g_assert_false(request->done);
    RUN_UNTIL(request->done);
    check_request(request, SPICE_POWER_RESULT_FAILED, "no answer");
    power_times = times;
}

/* --- a machine that is on its way ----------------------------------------- */

static void test_changing(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    power_set_attended(fixture->power, TRUE);
    answer(fake, IS_OFF, NULL);
    request = fake_ask(fixture->server, ON, 1);
    answer_changing(fake, IS_UNKNOWN);
    g_assert_false(request->done);
    g_assert_cmpuint(fixture->server->state, ==, IS_OFF);
    g_assert_cmphex(fixture->server->possible, ==, 0);
    RUN_UNTIL(fake->questions == 3);
    answer(fake, IS_ON, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
    g_assert_cmpuint(fixture->server->state, ==, IS_ON);
    g_assert_cmphex(fixture->server->possible, ==, OFF | RESET | PAUSE);
    /* two states, and that a request has come and been answered */
    g_assert_cmpuint(fixture->changes, ==, 4);
}

/* What is asked for then is done when it is there; or is not, after some time */
static void test_changing_before(Fixture *fixture, gconstpointer unused)
{
    const PowerTimes times = power_times;
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    answer(fake, IS_ON, NULL);
    request = fake_ask(fixture->server, ON, 1);
    answer_changing(fake, IS_ON);
    RUN_UNTIL(fake->questions == 3);
    answer_changing(fake, IS_ON);
    g_assert_false(request->done);
    RUN_UNTIL(fake->questions == 4);
    answer(fake, IS_OFF, NULL);
    g_assert_cmphex(fake->action, ==, ON);
    end_action(fake, SPICE_POWER_RESULT_OK, "");
    answer(fake, IS_ON, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);

    power_times.changing = 1;
    request = fake_ask(fixture->server, OFF, 2);
    answer_changing(fake, IS_ON);
    RUN_UNTIL(request->done);
    power_times = times;
    check_request(request, SPICE_POWER_RESULT_BUSY, "The machine is about to"
                  " change its power state, which is on still: try again when"
                  " it has");
    g_assert_null(fake->acted);
}

/* An action is done when the machine is there, not on its way */
static void test_changing_after(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    answer(fake, IS_ON, NULL);
    request = fake_ask(fixture->server, RESET, 1);
    answer(fake, IS_ON, NULL);
    end_action(fake, SPICE_POWER_RESULT_OK, "");
    answer_changing(fake, IS_UNKNOWN);
    g_assert_false(request->done);
    RUN_UNTIL(fake->questions == 4);
    answer(fake, IS_ON, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);

    /* which has failed, for the machine was already on its way */
    request = fake_ask(fixture->server, OFF, 2);
    answer(fake, IS_ON, NULL);
    end_action(fake, SPICE_POWER_RESULT_FAILED, "it is about to");
    answer_changing(fake, IS_ON);
    g_assert_false(request->done);
    RUN_UNTIL(fake->questions == 7);
    answer(fake, IS_OFF, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, "The machine's power state is"
                  " off, though it was said: it is about to");
}

/* One that does not get there is not locked: hard actions are for that */
static void test_stuck(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;
    FakeRequest *request;

    power_set_attended(fixture->power, TRUE);
    answer(fake, IS_OFF, NULL);
    RUN_UNTIL(fake->questions == 2);
    answer_changing(fake, IS_OFF);
    g_assert_cmphex(fixture->server->possible, ==, 0);
    fixture->config.action_timeout_ms = 0;
    RUN_UNTIL(fake->questions == 3);
    answer_changing(fake, IS_OFF);
    g_assert_cmphex(fixture->server->possible, ==, SPICE_POWER_ACTION_MASK);
    fixture->config.action_timeout_ms = HANG_S * 1000;
    request = fake_ask(fixture->server, OFF, 1);
    fixture->config.action_timeout_ms = 0;
    answer_changing(fake, IS_OFF);
    g_assert_cmphex(fake->action, ==, OFF);
    end_action(fake, SPICE_POWER_RESULT_OK, "");
    answer_changing(fake, IS_OFF);
    g_assert_false(request->done);
    RUN_UNTIL(fake->questions == 6);
    answer(fake, IS_OFF, NULL);
    check_request(request, SPICE_POWER_RESULT_OK, NULL);
}

/* What only tells is not asked; if it can't tell any more it is */
static void test_told_then_asked(Fixture *fixture, gconstpointer unused)
{
    Fake *fake = &fixture->fake;

    answer(fake, IS_OFF, NULL);
    fake->can_ask = FALSE;
    push(fake, IS_ON, OFF, NULL);
    fixture->config.poll_ms = 0;        /* it's due at once, and in vain */
    power_set_attended(fixture->power, TRUE);
    run_what_is_due();
    g_assert_cmpuint(fake->questions, ==, 1);
    fake->can_ask = TRUE;
    push(fake, IS_UNKNOWN, 0, "the watch has ended");
    RUN_UNTIL(fake->questions == 2);
    answer(fake, IS_OFF, NULL);
    g_assert_cmpuint(fixture->server->state, ==, IS_OFF);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/pace/" name, Pace, NULL, begin_pace, function, end_pace)
    ADD("attended", test_attended);
    ADD("away", test_away);
    ADD("refused", test_refused);
    ADD("odd-answers", test_odd_answers);
    ADD("hurry", test_hurry);
#undef ADD
#define ADD(name, function) \
    g_test_add("/polls/" name, Fixture, NULL, set_up_polls, function, \
               tear_down)
    ADD("somebody-comes", test_somebody_comes);
    ADD("left-alone", test_left_alone);
    ADD("left-alone-for-a-time", test_left_alone_for_a_time);
    ADD("refuses-after-action", test_refuses_after_action);
    ADD("away-is-asked", test_away_is_asked);
    ADD("odd-answer", test_odd_answer);
    ADD("older-question", test_older_question);
    ADD("older-than-effect", test_older_than_effect);
    ADD("failed-and-done", test_failed_and_done);
    ADD("failed", test_failed);
    ADD("time-of-look", test_time_of_look);
    ADD("changing", test_changing);
    ADD("changing-before", test_changing_before);
    ADD("changing-after", test_changing_after);
    ADD("stuck", test_stuck);
    ADD("told-then-asked", test_told_then_asked);
#undef ADD
    return g_test_run();
}
