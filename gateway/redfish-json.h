/*
 * JSON of a Redfish service, which may be anything
 *
 * What is not there, and what is there and is something else, is NULL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_REDFISH_JSON_H
#define GATEWAY_REDFISH_JSON_H

#include <json-glib/json-glib.h>

/*
 * Returns: NULL and @error if it is no object, or one that is nested too
 * deeply; caller calls json_object_unref()
 */
JsonObject *redfish_json_parse(const char *text, gsize length, GError **error);

const char *redfish_json_text(JsonObject *object, const char *name);
JsonObject *redfish_json_object(JsonObject *object, const char *name);
JsonArray *redfish_json_array(JsonObject *object, const char *name);
/* One of its elements */
JsonObject *redfish_json_element(JsonArray *array, guint i);
/* The reference in a member: its "@odata.id" */
const char *redfish_json_link(JsonObject *object, const char *name);

/* Whether one of @array, which may be NULL, is @text */
gboolean redfish_json_has(JsonArray *array, const char *text);

/*
 * What a service says in its own words: the messages of an error, of an answer
 * or of a task, with what can be done about it. Not more than a few lines long.
 * Caller frees.
 */
char *redfish_json_words(JsonObject *object);
/* Whether one of these messages is @id of the registry Base, in any version */
gboolean redfish_json_has_message(JsonObject *object, const char *id);

/* {"@name1": "@value1", ...}, up to NULL; caller frees */
char *redfish_json_write(const char *name1, const char *value1, ...)
    G_GNUC_NULL_TERMINATED;

#endif
