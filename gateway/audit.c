/*
 * Who has asked a machine for what, and what has become of it: in the log
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "names.h"

/* As many of a kind, and then it is counted */
#define LINES_A_MINUTE 10

#define ACTIONS  5
#define RESULTS  (SPICE_POWER_RESULT_FAILED + 1)
/* The kinds are the results, and those who were not let in */
#define LOGIN    RESULTS
#define KINDS    (RESULTS + 1)

static gboolean stderr_is_journal(void)
{
    return g_log_writer_is_journald(fileno(stderr));
}

guint audit_limit_ms = 60000;
gboolean (*audit_is_journal)(void) = stderr_is_journal;

struct Audit {
    char *machine;
    guint64 requests[ACTIONS][RESULTS];
    guint64 logins_refused;
    guint lines[KINDS];         /* since the timer has begun */
    guint left_out[KINDS];
    guint timer;                /* 0: nothing limited has been told */
};

/* --- a line -------------------------------------------------------------- */

/* What goes to the log, with its fields */
typedef struct Line {
    GString *plain;             /* all fields, for a log that has none */
    GString *text;              /* for people who read the journal */
    GArray *fields;             /* of GLogField */
    GPtrArray *values;          /* that belong to these */
} Line;

static gboolean is_word(const char *text)
{
    return *text && !text[strspn(text, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS
                                       "._:@/+%-")];
}

static gboolean is_shown(gunichar c)
{
    GUnicodeType type = g_unichar_type(c);

    return c != '"' && c != '\\' && g_unichar_isprint(c) &&
           type != G_UNICODE_LINE_SEPARATOR &&
           type != G_UNICODE_PARAGRAPH_SEPARATOR;
}

char *audit_quote(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *quoted;
    const char *c;

    if (is_word(text)) {
        return g_strdup(text);
    }
    quoted = g_string_new("\"");
    for (c = valid; *c; c = g_utf8_next_char(c)) {
        gunichar letter = g_utf8_get_char(c);

        if (is_shown(letter)) {
            g_string_append_unichar(quoted, letter);
        } else if (letter == '"' || letter == '\\') {
            g_string_append_printf(quoted, "\\%c", (char)letter);
        } else {
            g_string_append_printf(quoted, "\\u%04x", letter);
        }
    }
    g_string_append_c(quoted, '"');
    return g_string_free(quoted, FALSE);
}

/* For the log alone if @key is NULL. @value is copied. */
static void add_field(Line *line, const char *name, const char *key,
                      const char *value)
{
    char *copy = g_strdup(value);
    const GLogField field = { name, copy, strlen(copy) };

    g_ptr_array_add(line->values, copy);
    g_array_append_val(line->fields, field);
    if (key) {
        g_autofree char *quoted = audit_quote(value);

        g_string_append_printf(line->plain, " %s=%s", key, quoted);
    }
}

static void line_begin(Line *line, const Audit *audit, const char *what,
                       const char *id)
{
    line->plain = g_string_new(what);
    line->text = g_string_new(audit->machine);
    line->fields = g_array_new(FALSE, FALSE, sizeof(GLogField));
    line->values = g_ptr_array_new_with_free_func(g_free);
    g_string_append_c(line->plain, ':');
    add_field(line, "PRIORITY", NULL, "5");
    add_field(line, "GLIB_DOMAIN", NULL, G_LOG_DOMAIN);
    add_field(line, "MESSAGE_ID", NULL, id);
    add_field(line, "SPICE_MACHINE", "machine", audit->machine);
}

static void line_end(Line *line)
{
    add_field(line, "MESSAGE", NULL,
              audit_is_journal() ? line->text->str : line->plain->str);
    g_log_structured_array(G_LOG_LEVEL_MESSAGE,
                           (const GLogField *)line->fields->data,
                           line->fields->len);
    g_string_free(line->plain, TRUE);
    g_string_free(line->text, TRUE);
    g_array_unref(line->fields);
    g_ptr_array_unref(line->values);
}

/* --- who it was ---------------------------------------------------------- */

static void add_address(Line *line, const struct sockaddr_storage *address)
{
    char host[INET6_ADDRSTRLEN] = "", port[16];
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    guint number;

    switch (address->ss_family) {
    case AF_INET:
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        number = ntohs(in->sin_port);
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        number = ntohs(in6->sin6_port);
        break;
    default:
        /* a UNIX socket's clients have none */
        add_field(line, "SPICE_CLIENT", "client", "local");
        g_string_append(line->text, "a local client");
        return;
    }
    g_snprintf(port, sizeof(port), "%u", number);
    add_field(line, "SPICE_CLIENT", "client", host);
    add_field(line, "SPICE_CLIENT_PORT", "client-port", port);
    g_string_append_printf(line->text, "%s port %s", host, port);
}

static void add_channel(Line *line, const SpiceChannelEventInfo *channel)
{
    gboolean is_tls = channel->flags & SPICE_CHANNEL_EVENT_FLAG_TLS;

    add_address(line, &channel->paddr_ext);
    add_field(line, "SPICE_TLS", "tls", is_tls ? "true" : "false");
}

static const char *ticket_name(guint32 ticket)
{
    return ticket == SPICE_TICKET_POWER ? "power" :
           ticket == SPICE_TICKET_ORDINARY ? "ordinary" : "none";
}

static void add_client(Line *line, const SpicePowerClient *client)
{
    g_autofree char *connection =
        g_strdup_printf("%u", client->channel->connection_id);

    if (client->sasl_username) {
        g_autofree char *quoted = audit_quote(client->sasl_username);

        g_string_append_printf(line->text, "%s at ", quoted);
    }
    add_channel(line, client->channel);
    add_field(line, "SPICE_CONNECTION", "connection", connection);
    if (client->sasl_username) {
        add_field(line, "SPICE_USER", "user", client->sasl_username);
    }
    add_field(line, "SPICE_TICKET", "ticket", ticket_name(client->ticket));
}

/* --- not more than anybody should read ----------------------------------- */

static const char *kind_name(guint kind)
{
    return kind == LOGIN ? "not-let-in" : result_name(kind);
}

static void tell_left_out(Audit *audit)
{
    guint kind, all = 0;
    Line line;

    for (kind = 0; kind < KINDS; kind++) {
        all += audit->left_out[kind];
    }
    if (!all) {
        return;
    }
    line_begin(&line, audit, "left out of the log", AUDIT_LEFT_OUT_ID);
    g_string_append_printf(line.text, ": %u more of these were left out of the"
                           " log:", all);
    for (kind = 0; kind < KINDS; kind++) {
        if (audit->left_out[kind]) {
            g_autofree char *field = g_strdup_printf("SPICE_LEFT_OUT_%s",
                                                     kind_name(kind));
            g_autofree char *number = g_strdup_printf("%u",
                                                      audit->left_out[kind]);
            char *upper = g_ascii_strup(g_strdelimit(field, "-", '_'), -1);

            g_ptr_array_add(line.values, upper);
            add_field(&line, upper, kind_name(kind), number);
            g_string_append_printf(line.text, " %s %s", number,
                                   kind_name(kind));
        }
    }
    line_end(&line);
}

static gboolean limit_over(gpointer opaque)
{
    Audit *audit = opaque;

    audit->timer = 0;
    tell_left_out(audit);
    memset(audit->lines, 0, sizeof(audit->lines));
    memset(audit->left_out, 0, sizeof(audit->left_out));
    return G_SOURCE_REMOVE;
}

/* Returns: whether there is a line for one more of this kind */
static gboolean take_line(Audit *audit, guint kind)
{
    if (!audit->timer) {
        audit->timer = g_timeout_add(audit_limit_ms, limit_over, audit);
    }
    if (audit->lines[kind] == LINES_A_MINUTE) {
        audit->left_out[kind]++;
        return FALSE;
    }
    audit->lines[kind]++;
    return TRUE;
}

/* ------------------------------------------------------------------------- */

Audit *audit_new(const char *machine)
{
    Audit *audit = g_new0(Audit, 1);

    audit->machine = g_strdup(machine);
    return audit;
}

/* Returns: NULL for what this does not know */
static guint64 *count_of(const Audit *audit, guint32 action, guint32 result)
{
    guint index = action ? g_bit_nth_lsf(action, -1) : ACTIONS;

    return index < ACTIONS && result < RESULTS
           ? (guint64 *)&audit->requests[index][result] : NULL;
}

void audit_request(Audit *audit, const SpicePowerRequest *request,
                   guint32 result, const char *reason, gint64 ms,
                   gboolean is_idle)
{
    g_autofree char *time = g_strdup_printf("%" G_GINT64_FORMAT, ms);
    guint64 *count = count_of(audit, request->action, result);
    gboolean is_ok = result == SPICE_POWER_RESULT_OK;
    Line line;

    if (!count) {
        return;                 /* a newer library's; it has no name */
    }
    ++*count;
    if (is_idle && !take_line(audit, result)) {
        return;
    }
    line_begin(&line, audit, "power request", AUDIT_REQUEST_ID);
    g_string_append_printf(line.text, ": %s for ",
                           action_name(request->action));
    add_client(&line, request->client);
    add_field(&line, "SPICE_ACTION", "action", action_name(request->action));
    add_field(&line, "SPICE_RESULT", "result", result_name(result));
    add_field(&line, "SPICE_MS", "ms", time);
    g_string_append_printf(line.text, ": %s after %s ms",
                           is_ok ? is_idle ? "was so already" : "done"
                                 : result_name(result), time);
    if (reason && *reason) {
        g_autofree char *quoted = audit_quote(reason);

        add_field(&line, "SPICE_REASON", "reason", reason);
        g_string_append_printf(line.text, ": %s", quoted);
    }
    line_end(&line);
}

void audit_not_let_in(Audit *audit, const SpiceChannelEventInfo *client,
                      const char *reason)
{
    Line line;

    audit->logins_refused++;
    if (!take_line(audit, LOGIN)) {
        return;
    }
    line_begin(&line, audit, "not let in", AUDIT_LOGIN_ID);
    g_string_append(line.text, ": not let in: ");
    add_channel(&line, client);
    add_field(&line, "SPICE_REASON", "reason", reason);
    g_string_append_printf(line.text, ": %s", reason);
    line_end(&line);
}

guint64 audit_requests(const Audit *audit, guint32 action, guint32 result)
{
    const guint64 *count = count_of(audit, action, result);

    return count ? *count : 0;
}

guint64 audit_logins_refused(const Audit *audit)
{
    return audit->logins_refused;
}

void audit_free(Audit *audit)
{
    if (audit) {
        tell_left_out(audit);
        g_clear_handle_id(&audit->timer, g_source_remove);
        g_free(audit->machine);
        g_free(audit);
    }
}
