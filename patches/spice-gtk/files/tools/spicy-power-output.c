/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What spicy-power prints, as text or as JSON, and its names for the actions
 */
#include "config.h"

#include <stdio.h>

#include <json-glib/json-glib.h>

#include "spicy-power-output.h"

gboolean print_as_json = FALSE;

static const PowerAction power_actions[] = {
    { "reset", "reset", SPICE_POWER_ACTION_RESET },
    { "off", "power-off", SPICE_POWER_ACTION_OFF },
    { "on", "power-on", SPICE_POWER_ACTION_ON },
    { "pause", "pause", SPICE_POWER_ACTION_PAUSE },
    { "continue", "continue", SPICE_POWER_ACTION_CONTINUE },
};

const PowerAction *power_action_find(const char *word)
{
    int i;

    /* virsh's and virt-manager's word */
    if (strcmp(word, "resume") == 0)
        word = "continue";
    for (i = 0; i < G_N_ELEMENTS(power_actions); i++) {
        if (strcmp(word, power_actions[i].word) == 0 || strcmp(word, power_actions[i].name) == 0)
            return &power_actions[i];
    }
    return NULL;
}

/* The class is never freed: there is one, until the end */
static GEnumClass *power_states(void)
{
    static GEnumClass *klass;

    if (klass == NULL)
        klass = g_type_class_ref(SPICE_TYPE_POWER_STATE);
    return klass;
}

const char *power_state_name(SpicePowerState state)
{
    return g_enum_get_value(power_states(), state)->value_nick;
}

int power_state_find(const char *name)
{
    GEnumValue *value = g_enum_get_value_by_nick(power_states(), name);

    return value ? value->value : -1;
}

static void print_line(const char *line)
{
    printf("%s\n", line);
    fflush(stdout);
}

static void print_json(JsonBuilder *builder)
{
    JsonGenerator *generator = json_generator_new();
    JsonNode *root = json_builder_get_root(builder);
    char *line;

    json_generator_set_root(generator, root);
    line = json_generator_to_data(generator, NULL);
    print_line(line);

    g_free(line);
    json_node_free(root);
    g_object_unref(generator);
    g_object_unref(builder);
}

static void add_json(JsonBuilder *builder, const char *name, const char *value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_string_value(builder, value);
}

static void add_json_actions(JsonBuilder *builder, const char *name, SpicePowerAction actions)
{
    int i;

    json_builder_set_member_name(builder, name);
    json_builder_begin_array(builder);
    for (i = 0; i < G_N_ELEMENTS(power_actions); i++) {
        if (actions & power_actions[i].action)
            json_builder_add_string_value(builder, power_actions[i].name);
    }
    json_builder_end_array(builder);
}

static void print_actions(const char *name, SpicePowerAction actions)
{
    GString *line = g_string_new(name);
    int i;

    g_string_append_c(line, ':');
    for (i = 0; i < G_N_ELEMENTS(power_actions); i++) {
        if (actions & power_actions[i].action)
            g_string_append_printf(line, " %s", power_actions[i].name);
    }
    if (actions == 0)
        g_string_append(line, " none");
    print_line(line->str);
    g_string_free(line, TRUE);
}

void print_state(SpiceMainChannel *channel, gboolean changed)
{
    static char *last_state; /* that was printed */
    SpicePowerState state;
    SpicePowerAction allowed, possible;
    const char *name;
    char *id;

    g_object_get(channel,
                 "power-state", &state,
                 "power-allowed", &allowed,
                 "power-actions", &possible,
                 NULL);
    name = power_state_name(state);

    id = g_strdup_printf("%s %x %x", name, allowed, possible);
    if (changed && g_strcmp0(id, last_state) == 0) {
        g_free(id);
        return;
    }
    g_free(last_state);
    last_state = id;

    if (print_as_json) {
        JsonBuilder *builder = json_builder_new();

        json_builder_begin_object(builder);
        add_json(builder, "type", "state");
        add_json(builder, "state", name);
        add_json_actions(builder, "allowed", allowed);
        add_json_actions(builder, "possible", possible);
        json_builder_end_object(builder);
        print_json(builder);
    } else {
        char *line = g_strdup_printf("state: %s", name);

        print_line(line);
        g_free(line);
        print_actions("allowed", allowed);
        print_actions("possible", possible);
    }
}

void print_state_only(SpiceMainChannel *channel)
{
    SpicePowerState state;

    if (print_as_json) {
        print_state(channel, FALSE);
        return;
    }
    g_object_get(channel, "power-state", &state, NULL);
    print_line(power_state_name(state));
}

/* A server's message goes to a terminal: let it be one line of plain text */
static char *plain_text(const char *message)
{
    GString *text = g_string_new(NULL);

    for (; *message; message = g_utf8_next_char(message)) {
        gunichar c = g_utf8_get_char(message);

        g_string_append_unichar(text, g_unichar_iscntrl(c) ? ' ' : c);
    }
    return g_string_free(text, FALSE);
}

void print_result(const char *name, const char *result, const char *message)
{
    if (print_as_json) {
        JsonBuilder *builder = json_builder_new();

        json_builder_begin_object(builder);
        add_json(builder, "type", "result");
        add_json(builder, "action", name);
        add_json(builder, "result", result);
        add_json(builder, "message", message);
        json_builder_end_object(builder);
        print_json(builder);
    } else if (strcmp(result, "ok") == 0) {
        char *line = g_strdup_printf("%s: ok", name);

        print_line(line);
        g_free(line);
    } else {
        char *text = plain_text(message);

        g_printerr("%s: %s: %s\n", name,
                   strcmp(result, "none") == 0 ? "no result" : result, text);
        g_free(text);
    }
}
