/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SpicePowerActions: what a user interface shows, asks and says
 */
#include "config.h"

#include "power-fixture.h"

/* A user interface: it logs what it is told */
typedef struct {
    SpicePowerActions *actions;
    GString *log;
    gboolean asks;
} Ui;

static gboolean confirm(SpicePowerActions *actions, const char *name, const char *question,
                        const char *details, Ui *ui)
{
    g_assert_cmpstr(details, !=, "");
    g_string_append_printf(ui->log, "[%s: %s]", name, question);
    return ui->asks;
}

static void done(SpicePowerActions *actions, const char *name, Ui *ui)
{
    g_string_append_printf(ui->log, "[%s done]", name);
}

static void failed(SpicePowerActions *actions, const char *name, const char *text,
                   const GError *error, Ui *ui)
{
    g_assert_cmpint(error->domain, ==, SPICE_POWER_ERROR);
    g_string_append_printf(ui->log, "[%s failed: %s: %s]", name, text, error->message);
}

static void busy_changed(SpicePowerActions *actions, GParamSpec *pspec, Ui *ui)
{
    gboolean busy;

    g_object_get(actions, "busy", &busy, NULL);
    g_string_append(ui->log, busy ? "[busy]" : "[idle]");
}

static void ui_begin(Ui *ui, SpiceSession *session)
{
    ui->actions = spice_power_actions_get(session);
    ui->log = g_string_new(NULL);
    ui->asks = TRUE;
    g_signal_connect(ui->actions, "confirm", G_CALLBACK(confirm), ui);
    g_signal_connect(ui->actions, "done", G_CALLBACK(done), ui);
    g_signal_connect(ui->actions, "failed", G_CALLBACK(failed), ui);
    g_signal_connect(ui->actions, "notify::busy", G_CALLBACK(busy_changed), ui);
}

static void ui_end(Ui *ui)
{
    g_assert_cmpstr(ui->log->str, ==, "");
    g_signal_handlers_disconnect_by_data(ui->actions, ui);
    g_string_free(ui->log, TRUE);
}

/* What it is told next, if not at once */
static void ui_assert_told(Ui *ui, const char *expected)
{
    while (ui->log->len < strlen(expected) && g_str_has_prefix(expected, ui->log->str))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(ui->log->str, ==, expected);
    g_string_truncate(ui->log, 0);
}

static void ui_activate(Ui *ui, const char *name)
{
    g_action_group_activate_action(G_ACTION_GROUP(ui->actions), name, NULL);
}

static void assert_status(SpicePowerActions *actions, const char *pattern)
{
    gchar *status;

    g_object_get(actions, "status", &status, NULL);
    if (!g_pattern_match_simple(pattern, status))
        g_assert_cmpstr(status, ==, pattern);
    g_free(status);
}

/* the labels in the menu, those that can be chosen in upper case; "|" is a line */
static void assert_menu(SpicePowerActions *actions, const char *expected)
{
    GMenuModel *menu = spice_power_actions_get_menu(actions);
    GString *found = g_string_new(NULL);
    int i, j;

    for (i = 0; i < g_menu_model_get_n_items(menu); i++) {
        GMenuModel *section = g_menu_model_get_item_link(menu, i, G_MENU_LINK_SECTION);

        if (i > 0)
            g_string_append(found, "|");
        for (j = 0; j < g_menu_model_get_n_items(section); j++) {
            gchar *label, *action;

            g_menu_model_get_item_attribute(section, j, G_MENU_ATTRIBUTE_LABEL, "s", &label);
            g_menu_model_get_item_attribute(section, j, G_MENU_ATTRIBUTE_ACTION, "s", &action);
            g_assert_true(g_str_has_prefix(action, "power."));
            g_assert_cmpstr(label, ==, spice_power_actions_get_label(actions, action + 6));
            if (g_action_group_get_action_enabled(G_ACTION_GROUP(actions), action + 6)) {
                gchar *upper = g_ascii_strup(label, -1);

                g_free(label);
                label = upper;
            }
            g_string_append_printf(found, "(%s)", label);
            g_free(label);
            g_free(action);
        }
        g_object_unref(section);
    }
    g_assert_cmpstr(found->str, ==, expected);
    g_string_free(found, TRUE);
}

static void assert_properties(SpicePowerActions *actions, gboolean available,
                              SpicePowerState state, guint allowed, guint possible)
{
    SpicePowerAction found_allowed, found_possible;
    SpicePowerState found_state;
    gboolean found_available;

    g_object_get(actions,
                 "available", &found_available,
                 "state", &found_state,
                 "allowed", &found_allowed,
                 "possible", &found_possible,
                 NULL);
    g_assert_cmpint(found_available, ==, available);
    g_assert_cmpint(found_state, ==, state);
    g_assert_cmphex(found_allowed, ==, allowed);
    g_assert_cmphex(found_possible, ==, possible);
}

#define ON_MENU "(_PAUSE)(_Resume)|(FORCE R_ESET)(FORCE _OFF)(Power O_n)"

/* One for all windows; what there is to see, and when */
static void test_follows(Fixture *f, gconstpointer data)
{
    SpicePowerActions *actions = spice_power_actions_get(f->session);

    g_assert_true(actions == spice_power_actions_get(f->session));
    assert_properties(actions, FALSE, SPICE_POWER_STATE_UNKNOWN, 0, 0);
    assert_menu(actions, "");
    assert_status(actions, "Power state unknown");

    f_link(f, POWER_PEER_ALL_CAPS);
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON,
                          SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
                          SPICE_POWER_ACTION_PAUSE);
    wait_notified(f, "allowed actions state ");
    assert_properties(actions, TRUE, SPICE_POWER_STATE_ON, ALL_ACTIONS,
                      SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF |
                      SPICE_POWER_ACTION_PAUSE);
    assert_menu(actions, ON_MENU);
    assert_status(actions, "Running");

    power_peer_send_state(f->peer, SPICE_POWER_STATE_SUSPENDED, SPICE_POWER_ACTION_ON);
    wait_notified(f, "actions state ");
    assert_menu(actions, "(_Pause)(_Resume)|(Force R_eset)(Force _Off)(_WAKE UP)");
    power_peer_send_allowed(f->peer, SPICE_POWER_STATE_SUSPENDED,
                            SPICE_POWER_ACTION_ON | SPICE_POWER_ACTION_CONTINUE,
                            SPICE_POWER_ACTION_ON);
    wait_notified(f, "allowed ");
    assert_menu(actions, "(_Resume)|(_WAKE UP)");
    assert_status(actions, "Suspended");

    power_peer_send_allowed(f->peer, SPICE_POWER_STATE_OFF, 0, 0);
    wait_notified(f, "allowed actions state ");
    assert_properties(actions, TRUE, SPICE_POWER_STATE_OFF, 0, 0);
    assert_menu(actions, "");
    assert_status(actions, "Powered off, you may only watch");

    g_clear_pointer(&f->peer, power_peer_free);
    wait_event(f, SPICE_CHANNEL_CLOSED);
    spice_session_disconnect(f->session);
    assert_properties(actions, FALSE, SPICE_POWER_STATE_UNKNOWN, 0, 0);
}

/* It may come when the session has long begun */
static void test_late(Fixture *f, gconstpointer data)
{
    SpicePowerActions *actions = spice_power_actions_get(f->session);

    assert_menu(actions, ON_MENU);
    g_object_set(f->session, "read-only", TRUE, NULL);
    assert_properties(actions, TRUE, SPICE_POWER_STATE_ON, 0, 0);
    assert_menu(actions, "");
    assert_status(actions, "Running, you may only watch");
    g_object_set(f->session, "read-only", FALSE, NULL);
    assert_menu(actions, ON_MENU);
}

static void test_no_power_control(Fixture *f, gconstpointer data)
{
    SpicePowerActions *actions = spice_power_actions_get(f->session);

    f_link(f, 0);
    assert_properties(actions, FALSE, SPICE_POWER_STATE_UNKNOWN, 0, 0);
    assert_menu(actions, "");
    g_action_group_activate_action(G_ACTION_GROUP(actions), "pause", NULL);
    g_assert_false(spice_power_actions_request(actions, "pause"));
    power_peer_assert_nothing_sent(f->peer);
}

/* An action that loses nothing */
static void test_request(Fixture *f, gconstpointer data)
{
    guint32 id;
    Ui ui;

    ui_begin(&ui, f->session);
    ui_activate(&ui, "pause");
    ui_assert_told(&ui, "[busy]");
    assert_status(ui.actions, "Pausing the machine…");
    assert_menu(ui.actions, "(_Pause)(_Resume)|(Force R_eset)(Force _Off)(Power O_n)");
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_PAUSE);

    /* one at a time, from whichever window */
    ui_activate(&ui, "reset");
    g_assert_false(spice_power_actions_request(ui.actions, "reset"));
    power_peer_assert_nothing_sent(f->peer);

    power_peer_send_state(f->peer, SPICE_POWER_STATE_PAUSED, SPICE_POWER_ACTION_CONTINUE);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    ui_assert_told(&ui, "[pause done][idle]");
    assert_status(ui.actions, "Paused");
    assert_menu(ui.actions, "(_Pause)(_RESUME)|(Force R_eset)(Force _Off)(Power O_n)");
    ui_end(&ui);
}

/* What loses data is asked for when the answer is yes */
static void test_confirm(Fixture *f, gconstpointer data)
{
    static const gchar name[] = { 5, 0, 0, 0, 'd', 'b', '-', '1', '\0' };
    guint32 id;
    Ui ui;

    ui_begin(&ui, f->session);
    ui_activate(&ui, "power-off");
    ui_assert_told(&ui, "[power-off: Power off the machine?]");
    /* without an answer, or with no, nothing happens, and one may ask again */
    power_peer_send(f->peer, SPICE_MSG_MAIN_NAME, name, sizeof(name));
    power_peer_send_state(f->peer, SPICE_POWER_STATE_ON, SPICE_POWER_ACTION_RESET);
    wait_notified(f, "actions ");
    ui_activate(&ui, "reset");
    ui_assert_told(&ui, "[reset: Reset “db-1”?]");
    power_peer_assert_nothing_sent(f->peer);

    /* the first question is moot */
    g_assert_false(spice_power_actions_request(ui.actions, "power-off"));
    power_peer_assert_nothing_sent(f->peer);

    g_assert_true(spice_power_actions_request(ui.actions, "reset"));
    ui_assert_told(&ui, "[busy]");
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_OK, "");
    ui_assert_told(&ui, "[reset done][idle]");
    assert_status(ui.actions, "Running, reset at *:*:*");
    power_peer_send_state(f->peer, SPICE_POWER_STATE_CRASHED, SPICE_POWER_ACTION_RESET);
    wait_notified(f, "state ");
    assert_status(ui.actions, "Crashed");
    ui_end(&ui);
}

/* The first handler that asks is the only one; if none does it isn't done */
static void test_nobody_asks(Fixture *f, gconstpointer data)
{
    Ui first, second;

    ui_begin(&first, f->session);
    ui_begin(&second, f->session);
    ui_activate(&first, "reset");
    ui_assert_told(&first, "[reset: Reset the machine?]");
    first.asks = second.asks = FALSE;
    ui_activate(&first, "reset");
    ui_assert_told(&first, "[reset: Reset the machine?]");
    ui_assert_told(&second, "[reset: Reset the machine?]");
    power_peer_assert_nothing_sent(f->peer);
    ui_end(&first);
    ui_end(&second);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    guint32 id;
    Ui ui;

    ui_begin(&ui, f->session);
    g_assert_true(spice_power_actions_request(ui.actions, "power-off"));
    id = power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_OFF);
    power_peer_send_result(f->peer, id, SPICE_POWER_RESULT_DENIED, "Ask <root>");
    ui_assert_told(&ui, "[busy][power-off failed: The machine was not powered off: Ask <root>]"
                        "[idle]");
    assert_status(ui.actions, "Running");
    assert_menu(ui.actions, ON_MENU);
    ui_end(&ui);
}

/* The server goes: what nobody can know is not said to have failed */
static void test_connection_lost(Fixture *f, gconstpointer data)
{
    Ui ui;

    ui_begin(&ui, f->session);
    g_assert_true(spice_power_actions_request(ui.actions, "reset"));
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    g_clear_pointer(&f->peer, power_peer_free);
    ui_assert_told(&ui, "[busy][reset failed: The machine may have been reset: "
                        "The connection ended before the result][idle]");
    ui_end(&ui);
}

/* The session ends with a request under way, and the outcome is told all the same */
static void test_session_ends(Fixture *f, gconstpointer data)
{
    Ui ui;

    ui_begin(&ui, f->session);
    g_assert_true(spice_power_actions_request(ui.actions, "reset"));
    power_peer_recv_request(f->peer, SPICE_MSGC_MAIN_POWER_RESET);
    spice_session_disconnect(f->session);
    ui_assert_told(&ui, "[busy][reset failed: The machine may have been reset: "
                        "The connection ended before the result][idle]");
    assert_properties(ui.actions, FALSE, SPICE_POWER_STATE_UNKNOWN, 0, 0);
    assert_menu(ui.actions, "");
    g_assert_false(spice_power_actions_request(ui.actions, "reset"));
    ui_end(&ui);
}

/* A program that ends with its session stays until it has told its user */
typedef struct {
    Fixture *f;
    GApplication *app;
    Ui ui;
} Program;

static gboolean message_read(gpointer data)
{
    Program *program = data;

    g_string_append(program->ui.log, "[read]");
    g_application_release(program->app);
    return G_SOURCE_REMOVE;
}

static void show_message(SpicePowerActions *actions, const char *name, const char *text,
                         const GError *error, Program *program)
{
    g_application_hold(program->app);
    g_idle_add_full(G_PRIORITY_LOW, message_read, program, NULL);
}

static void hold_while_busy(SpicePowerActions *actions, GParamSpec *pspec, GApplication *app)
{
    gboolean busy;

    g_object_get(actions, "busy", &busy, NULL);
    if (busy)
        g_application_hold(app);
    else
        g_application_release(app);
}

static gboolean server_goes(gpointer data)
{
    Program *program = data;

    g_clear_pointer(&program->f->peer, power_peer_free);
    return G_SOURCE_REMOVE;
}

static void program_activated(GApplication *app, Program *program)
{
    ui_activate(&program->ui, "pause");
    g_idle_add_full(G_PRIORITY_LOW, server_goes, program, NULL);
    /* its windows are closed now: nothing but the request keeps it */
}

static void test_application(Fixture *f, gconstpointer data)
{
    Program program = {
        .f = f,
        .app = g_application_new("org.spice-space.PowerActions", G_APPLICATION_NON_UNIQUE),
    };

    ui_begin(&program.ui, f->session);
    g_signal_connect(program.app, "activate", G_CALLBACK(program_activated), &program);
    g_signal_connect(program.ui.actions, "failed", G_CALLBACK(show_message), &program);
    g_signal_connect(program.ui.actions, "notify::busy",
                     G_CALLBACK(hold_while_busy), program.app);
    g_assert_cmpint(g_application_run(program.app, 0, NULL), ==, 0);
    ui_assert_told(&program.ui,
                   "[busy][pause failed: The machine may have been paused: "
                   "The connection ended before the result][idle][read]");
    g_signal_handlers_disconnect_by_data(program.ui.actions, &program);
    g_signal_handlers_disconnect_by_data(program.ui.actions, program.app);
    ui_end(&program.ui);
    g_object_unref(program.app);
}

/* Whoever has a reference keeps it; a language binding may make one of its own */
static void test_no_session(void)
{
    SpiceSession *session = spice_session_new(), *found;
    SpicePowerActions *actions[] = {
        g_object_ref(spice_power_actions_get(session)),
        g_object_new(SPICE_TYPE_POWER_ACTIONS, NULL),
    };
    int i;

    g_object_unref(session);
    for (i = 0; i < G_N_ELEMENTS(actions); i++) {
        g_object_get(actions[i], "session", &found, NULL);
        g_assert_null(found);
        assert_properties(actions[i], FALSE, SPICE_POWER_STATE_UNKNOWN, 0, 0);
        assert_menu(actions[i], "");
        g_action_group_activate_action(G_ACTION_GROUP(actions[i]), "reset", NULL);
        g_object_unref(actions[i]);
    }
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    TEST("actions/follows", f_setup_unlinked, test_follows);
    TEST("actions/late", f_setup, test_late);
    TEST("actions/no-power-control", f_setup_unlinked, test_no_power_control);
    TEST("actions/request", f_setup, test_request);
    TEST("actions/confirm", f_setup, test_confirm);
    TEST("actions/nobody-asks", f_setup, test_nobody_asks);
    TEST("actions/refused", f_setup, test_refused);
    TEST("actions/connection-lost", f_setup, test_connection_lost);
    TEST("actions/session-ends", f_setup, test_session_ends);
    TEST("actions/application", f_setup, test_application);
    g_test_add_func("/power/actions/no-session", test_no_session);

    return g_test_run();
}
