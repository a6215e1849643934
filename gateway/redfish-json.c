/*
 * JSON of a Redfish service, which may be anything
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <string.h>

#include "redfish-json.h"

/* json-glib calls itself for each level, without a limit before 1.10 */
#define MAX_DEPTH 64
/* A person reads it */
#define MAX_WORDS 400
#define MAX_MESSAGES 4

static gboolean is_too_deep(const char *text, gsize length)
{
    gboolean in_string = FALSE;
    guint depth = 0;
    gsize i;

    for (i = 0; i < length; i++) {
        char c = text[i];

        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = TRUE;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH) {
                return TRUE;
            }
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return FALSE;
}

JsonObject *redfish_json_parse(const char *text, gsize length, GError **error)
{
    g_autoptr(JsonParser) parser = NULL;
    JsonNode *root;

    if (is_too_deep(text, length)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "more than %d levels", MAX_DEPTH);
        return NULL;
    }
    parser = json_parser_new();
    if (!json_parser_load_from_data(parser, text, length, error)) {
        return NULL;
    }
    root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "it is no object");
        return NULL;
    }
    return json_node_dup_object(root);
}

const char *redfish_json_text(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) &&
           json_node_get_value_type(node) == G_TYPE_STRING
           ? json_node_get_string(node) : NULL;
}

JsonObject *redfish_json_object(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node)
                                                : NULL;
}

JsonArray *redfish_json_array(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;

    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node)
                                               : NULL;
}

JsonObject *redfish_json_element(JsonArray *array, guint i)
{
    JsonNode *node = json_array_get_element(array, i);

    return JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

const char *redfish_json_link(JsonObject *object, const char *name)
{
    return redfish_json_text(redfish_json_object(object, name), "@odata.id");
}

gboolean redfish_json_has(JsonArray *array, const char *text)
{
    guint i;

    for (i = 0; array && i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);

        if (JSON_NODE_HOLDS_VALUE(node) &&
            json_node_get_value_type(node) == G_TYPE_STRING &&
            !strcmp(json_node_get_string(node), text)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* --- messages ------------------------------------------------------------ */

static JsonArray *find_messages(JsonObject *object)
{
    JsonObject *error = redfish_json_object(object, "error");

    return redfish_json_array(error, "@Message.ExtendedInfo")
           ?: redfish_json_array(object, "@Message.ExtendedInfo")
           ?: redfish_json_array(object, "Messages");
}

static void add_words(GString *words, const char *text)
{
    if (text && *text && !strstr(words->str, text)) {
        g_string_append_printf(words, "%s%s", words->len ? " " : "", text);
    }
}

/* In one line, and not for ever */
static char *tidy(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    char *c;

    if (strlen(valid) > MAX_WORDS) {
        *g_utf8_find_prev_char(valid, valid + MAX_WORDS) = '\0';
    }
    for (c = valid; *c; c++) {
        if (g_ascii_iscntrl(*c)) {
            *c = ' ';
        }
    }
    return g_strdup(g_strstrip(valid));
}

char *redfish_json_words(JsonObject *object)
{
    g_autoptr(GString) words = g_string_new(NULL);
    JsonArray *messages = find_messages(object);
    guint count = messages ? json_array_get_length(messages) : 0;
    guint i;

    for (i = 0; i < MIN(count, MAX_MESSAGES); i++) {
        JsonObject *message = redfish_json_element(messages, i);
        const char *resolution = redfish_json_text(message, "Resolution");

        add_words(words, redfish_json_text(message, "Message"));
        if (resolution && !g_str_has_prefix(resolution, "None")) {
            add_words(words, resolution);
        }
    }
    if (!words->len) {
        add_words(words, redfish_json_text(redfish_json_object(object, "error"),
                                           "message"));
    }
    for (i = 0; !words->len && i < count; i++) {
        add_words(words, redfish_json_text(redfish_json_element(messages, i),
                                           "MessageId"));
    }
    return words->len ? tidy(words->str) : NULL;
}

gboolean redfish_json_has_message(JsonObject *object, const char *id)
{
    JsonArray *messages = find_messages(object);
    g_autofree char *end = g_strconcat(".", id, NULL);
    guint i;

    for (i = 0; messages && i < json_array_get_length(messages); i++) {
        const char *found = redfish_json_text(
            redfish_json_element(messages, i), "MessageId");

        if (found && g_str_has_prefix(found, "Base.") &&
            g_str_has_suffix(found, end)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* ------------------------------------------------------------------------- */

char *redfish_json_write(const char *name1, const char *value1, ...)
{
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    g_autoptr(JsonObject) object = json_object_new();
    const char *name;
    va_list arguments;

    json_object_set_string_member(object, name1, value1);
    va_start(arguments, value1);
    while ((name = va_arg(arguments, const char *))) {
        json_object_set_string_member(object, name,
                                      va_arg(arguments, const char *));
    }
    va_end(arguments);
    json_node_set_object(root, object);
    return json_to_string(root, FALSE);
}
