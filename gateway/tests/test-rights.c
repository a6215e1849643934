/*
 * Who may ask for which actions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "loop.h"
#include "rights.h"

enum {
    RESET = SPICE_POWER_ACTION_RESET, OFF = SPICE_POWER_ACTION_OFF,
    ON = SPICE_POWER_ACTION_ON, PAUSE = SPICE_POWER_ACTION_PAUSE,
    CONTINUE = SPICE_POWER_ACTION_CONTINUE, ALL = SPICE_POWER_ACTION_MASK,
};

static void check(const MachineConfig *config, const char *user,
                  guint32 expected, const char *why)
{
    const SpicePowerClient client = { .sasl_username = user };
    const char *reason = NULL;

    g_assert_cmphex(rights_actions(config, FALSE, &client, &reason), ==,
                    expected);
    g_assert_cmpstr(reason, ==, why);
}

#define WATCH "You may only watch: you are not one of those who may control" \
              " the power"
#define OTHERS "You may not do this, but other actions"

/* Without any rule all who are let in may do all */
static void test_no_rules(void)
{
    const MachineConfig config = { 0 };

    check(&config, NULL, ALL, NULL);
    check(&config, "ann", ALL, NULL);
}

static void test_users(void)
{
    char *users[] = { (char *)"ann", (char *)"ops-*", (char *)"b?b@*", NULL };
    char *nobody[] = { NULL };
    const MachineConfig config = { .rights_users = users };
    const MachineConfig closed = { .rights_users = nobody };

    check(&config, "ann", ALL, NULL);
    check(&config, "ops-", ALL, NULL);
    check(&config, "ops-night", ALL, NULL);
    check(&config, "bob@EXAMPLE.ORG", ALL, NULL);
    check(&config, "Ann", 0, WATCH);
    check(&config, "anna", 0, WATCH);
    check(&config, "xops-1", 0, WATCH);
    check(&config, "bb@EXAMPLE.ORG", 0, WATCH);
    check(&config, "", 0, WATCH);
    check(&config, NULL, 0, WATCH);
    check(&closed, "ann", 0, WATCH);
    check(&closed, "", 0, WATCH);
}

/* One for some actions goes with those for others, and with that for all */
static void test_actions(void)
{
    char *ann[] = { (char *)"ann", NULL }, *anybody[] = { (char *)"*", NULL };
    char *desk[] = { (char *)"desk-*", NULL }, *bob[] = { (char *)"bob", NULL };
    const MachineConfig config = {
        .rights_users = ann, .rights_reset = desk, .rights_power_on = anybody,
        .rights_pause = bob, .rights_continue = bob,
    };
    const MachineConfig one = { .rights_power_off = bob };

    check(&config, "ann", ALL, NULL);
    check(&config, "desk-1", RESET | ON, OTHERS);
    check(&config, "bob", ON | PAUSE | CONTINUE, OTHERS);
    check(&config, "carl", ON, OTHERS);
    check(&config, NULL, 0, WATCH);
    check(&one, "bob", OFF, OTHERS);
    check(&one, "ann", 0, WATCH);
}

static void test_ticket(void)
{
    const MachineConfig config = { 0 };
    const struct {
        guint32 ticket, with, without;
    } known[] = {
        { SPICE_TICKET_NONE, 0, ALL },
        { SPICE_TICKET_ORDINARY, 0, ALL },
        { SPICE_TICKET_POWER, ALL, ALL },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        const SpicePowerClient client = { .ticket = known[i].ticket };
        const char *reason = NULL;

        g_assert_cmphex(rights_actions(&config, FALSE, &client, &reason), ==,
                        known[i].without);
        g_assert_null(reason);
        g_assert_cmphex(rights_actions(&config, TRUE, &client, &reason), ==,
                        known[i].with);
        g_assert_cmpstr(reason, ==, known[i].with ? NULL : "You may only watch:"
                        " the password that you have connected with is not for"
                        " power control");
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/rights/no-rules", test_no_rules);
    g_test_add_func("/rights/users", test_users);
    g_test_add_func("/rights/actions", test_actions);
    g_test_add_func("/rights/ticket", test_ticket);
    return g_test_run();
}
