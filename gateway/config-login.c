/*
 * The configuration of a machine: who is let in, and with which rights
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "layer.h"

/* What SPICE has room for; that's SPICE_MAX_PASSWORD_LENGTH, with a zero */
#define MAX_TICKET 59

/*
 * Its own one counts more than what all have, as everywhere; and with both for
 * all, domains have theirs
 */
static void choose_ticket(GPtrArray *layers, MachineConfig *c)
{
    gboolean own_domain = is_its_own(layers, "server", "ticket");
    gboolean own_file = is_its_own(layers, "server", "ticket-file");

    if (!c->ticket || c->ticket_from != TICKET_DOMAIN ||
        (own_domain && own_file)) {
        return;
    }
    if (own_domain || (!own_file && c->backend == BACKEND_LIBVIRT)) {
        g_clear_pointer(&c->ticket, g_free);
    } else {
        c->ticket_from = TICKET_NONE;
    }
}

static gboolean has_ticket(const MachineConfig *c)
{
    return c->ticket || c->power_ticket || c->ticket_from != TICKET_NONE;
}

/* The same for names and passwords, of which both are too much */
static void choose_sasl(GPtrArray *layers, MachineConfig *c)
{
    gboolean own_sasl = is_its_own(layers, "server", "sasl");
    gboolean own_ticket = is_its_own(layers, "server", "ticket") ||
                          is_its_own(layers, "server", "ticket-file") ||
                          is_its_own(layers, "server", "power-ticket-file");

    if (c->sasl && own_sasl && !own_ticket) {
        g_clear_pointer(&c->ticket, g_free);
        g_clear_pointer(&c->power_ticket, g_free);
        c->ticket_from = TICKET_NONE;
    } else if (own_ticket && !own_sasl) {
        c->sasl = FALSE;
    }
}

static gboolean check_tickets(const MachineConfig *c, GError **error)
{
    const char *problem = NULL;

    if (c->ticket && c->ticket_from == TICKET_DOMAIN) {
        problem = "ticket and ticket-file: one of them is enough";
    } else if (c->power_ticket && c->ticket_from == TICKET_DOMAIN) {
        problem = "power-ticket-file and ticket=domain: that of the domain's"
                  " <power> counts, so leave the first one out";
    } else if (c->sasl && has_ticket(c)) {
        problem = "sasl and ticket, ticket-file or power-ticket-file: with sasl"
                  " clients have a name and no ticket; [rights] says who may"
                  " do what";
    } else if (c->ticket_from == TICKET_DOMAIN &&
               c->backend != BACKEND_LIBVIRT) {
        problem = "ticket=domain is for backend=libvirt";
    } else if (c->ticket && strlen(c->ticket) > MAX_TICKET) {
        problem = "ticket-file: its first line is longer than 59 bytes, which"
                  " SPICE has no room for";
    } else if (c->power_ticket && strlen(c->power_ticket) > MAX_TICKET) {
        problem = "power-ticket-file: its first line is longer than 59 bytes,"
                  " which SPICE has no room for";
    } else if (c->power_ticket && !g_strcmp0(c->ticket, c->power_ticket)) {
        problem = "power-ticket-file has the password of ticket-file, so"
                  " everybody could act: write another one into it";
    } else {
        return TRUE;
    }
    g_set_error(error, CONFIG_ERROR, 0, "[server] %s", problem);
    return FALSE;
}

/* Those that all have are not for a machine that says that it has no names */
static gboolean check_rights(GPtrArray *layers, MachineConfig *c,
                             GError **error)
{
    const struct {
        const char *name;
        char ***users;
    } rules[] = {
        { "users", &c->rights_users },
        { "reset", &c->rights_reset },
        { "power-off", &c->rights_power_off },
        { "power-on", &c->rights_power_on },
        { "pause", &c->rights_pause },
        { "continue", &c->rights_continue },
    };
    gboolean is_needed = is_its_own(layers, "rights", NULL) ||
                         !is_its_own(layers, "server", "sasl");
    gsize i;

    for (i = 0; !c->sasl && i < G_N_ELEMENTS(rules); i++) {
        if (*rules[i].users && is_needed) {
            g_set_error(error, CONFIG_ERROR, 0, "[rights] %s: it needs the"
                        " names that clients give: set [server] sasl=true, or"
                        " leave it out", rules[i].name);
            return FALSE;
        }
        g_clear_pointer(rules[i].users, g_strfreev);
    }
    return TRUE;
}

/* ------------------------------------------------------------------------- */

void login_choose(GPtrArray *layers, MachineConfig *config)
{
    choose_ticket(layers, config);
    if (config->ticket_from == TICKET_DOMAIN &&
        !is_its_own(layers, "server", "power-ticket-file")) {
        g_clear_pointer(&config->power_ticket, g_free);
    }
    choose_sasl(layers, config);
}

gboolean login_check(GPtrArray *layers, MachineConfig *config, GError **error)
{
    return check_tickets(config, error) && check_rights(layers, config, error);
}
