/*
 * Which of a Redfish service's systems is meant
 *
 * The id is the end of the path in most services, so that is tried first;
 * otherwise each system has to be looked at.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "redfish-find.h"
#include "redfish-json.h"

/* Of a chassis with many; more are not looked at */
#define MAX_SYSTEMS 256
/* How many names fit into a sentence */
#define MAX_NAMED   16

struct RedfishFind {
    RedfishClient *client;
    char *wanted;
    gint64 deadline;
    RedfishOp *op;
    GPtrArray *paths;           /* of all systems */
    guint next;                 /* the one to be looked at */
    GString *names;             /* of those that it is not */
    char *match;                /* the path of the one that it is */
    RedfishFound found;
    gpointer opaque;
};

void redfish_find_cancel(RedfishFind *find)
{
    g_clear_pointer(&find->op, redfish_op_cancel);
    g_ptr_array_unref(find->paths);
    g_string_free(find->names, TRUE);
    g_free(find->match);
    g_free(find->wanted);
    g_free(find);
}

static void finish(RedfishFind *find, const char *path, const char *trouble,
                   BackendTrouble kind)
{
    RedfishFound found = find->found;
    gpointer opaque = find->opaque;
    g_autofree char *kept = g_strdup(path);

    redfish_find_cancel(find);
    found(kept, trouble, kind, opaque);
}

static void refuse(RedfishFind *find, BackendTrouble kind, const char *format,
                   ...) G_GNUC_PRINTF(3, 4);

static void refuse(RedfishFind *find, BackendTrouble kind, const char *format,
                   ...)
{
    g_autofree char *text = NULL, *trouble = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    trouble = g_strdup_printf("The Redfish service %s %s",
                              redfish_client_name(find->client), text);
    finish(find, NULL, trouble, kind);
}

static const char *id_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void add_name(RedfishFind *find, const char *path, const char *name)
{
    if (find->next < MAX_NAMED) {
        g_string_append_printf(find->names, "%s%s", find->names->len ? ", "
                               : "", id_of(path));
        if (name && strcmp(name, id_of(path))) {
            g_string_append_printf(find->names, " (%s)", name);
        }
    } else if (find->next == MAX_NAMED) {
        g_string_append(find->names, ", ...");
    }
}

/* --- each of them -------------------------------------------------------- */

static void look_at_next(RedfishFind *find);

static void got_member(const RedfishReply *reply, gpointer opaque)
{
    RedfishFind *find = opaque;
    const char *path = find->paths->pdata[find->next];
    const char *id = redfish_json_text(reply->body, "Id");
    const char *name = redfish_json_text(reply->body, "Name");
    const char *uuid = redfish_json_text(reply->body, "UUID");

    find->op = NULL;
    if (reply->trouble && reply->status != 404) {
        finish(find, NULL, reply->trouble, reply->kind);
        return;
    }
    if (!g_strcmp0(find->wanted, id) ||
        (uuid && !g_ascii_strcasecmp(find->wanted, uuid))) {
        finish(find, path, NULL, 0);
        return;
    }
    if (!g_strcmp0(find->wanted, name)) {
        if (find->match) {
            refuse(find, BACKEND_TROUBLE_REFUSED, "has several systems with"
                   " the name %s: set [redfish] system to the id of one, %s or"
                   " %s", name, id_of(find->match), id_of(path));
            return;
        }
        find->match = g_strdup(path);
    }
    add_name(find, path, name);
    find->next++;
    look_at_next(find);
}

static void look_at_next(RedfishFind *find)
{
    if (find->next < find->paths->len) {
        find->op = redfish_client_get(find->client,
                                      find->paths->pdata[find->next], NULL,
                                      find->deadline, got_member, find);
    } else if (find->match) {
        finish(find, find->match, NULL, 0);
    } else {
        /* It may be one that has been plugged in a moment ago */
        refuse(find, BACKEND_TROUBLE_AWAY, "has no system %s: check [redfish]"
               " system; there are: %s", find->wanted, find->names->str);
    }
}

static void choose(RedfishFind *find)
{
    guint i;

    if (!find->paths->len) {
        refuse(find, BACKEND_TROUBLE_AWAY, "has no system (yet)");
        return;
    }
    if (find->wanted) {
        for (i = 0; i < find->paths->len; i++) {
            const char *path = find->paths->pdata[i];

            if (!strcmp(find->wanted, path) ||
                !strcmp(find->wanted, id_of(path))) {
                finish(find, path, NULL, 0);
                return;
            }
        }
        look_at_next(find);
        return;
    }
    if (find->paths->len == 1) {
        finish(find, find->paths->pdata[0], NULL, 0);
        return;
    }
    for (find->next = 0; find->next < find->paths->len; find->next++) {
        add_name(find, find->paths->pdata[find->next], NULL);
    }
    refuse(find, BACKEND_TROUBLE_REFUSED, "has several systems: set [redfish]"
           " system to one of %s", find->names->str);
}

/* --- the collection ------------------------------------------------------ */

static void got_collection(const RedfishReply *reply, gpointer opaque)
{
    RedfishFind *find = opaque;
    JsonArray *members = redfish_json_array(reply->body, "Members");
    const char *more = redfish_json_text(reply->body, "Members@odata.nextLink");
    guint i, count = members ? json_array_get_length(members) : 0;

    find->op = NULL;
    if (reply->trouble) {
        finish(find, NULL, reply->trouble, reply->kind);
        return;
    }
    if (!members) {
        refuse(find, BACKEND_TROUBLE_PASSING, "has no Members in %s",
               redfish_client_systems(find->client));
        return;
    }
    for (i = 0; i < count && find->paths->len < MAX_SYSTEMS; i++) {
        const char *path = redfish_json_text(redfish_json_element(members, i),
                                             "@odata.id");

        if (path && strlen(path) > 1) {
            char *kept = g_strdup(path);

            if (g_str_has_suffix(kept, "/")) {
                kept[strlen(kept) - 1] = '\0';
            }
            g_ptr_array_add(find->paths, kept);
        }
    }
    /* an empty page with a link to itself is none */
    if (more && count && find->paths->len < MAX_SYSTEMS) {
        find->op = redfish_client_get(find->client, more, NULL, find->deadline,
                                      got_collection, find);
    } else {
        choose(find);
    }
}

static void opened(const RedfishReply *reply, gpointer opaque)
{
    RedfishFind *find = opaque;

    find->op = NULL;
    if (reply->trouble) {
        finish(find, NULL, reply->trouble, reply->kind);
    } else {
        find->op = redfish_client_get(find->client,
                                      redfish_client_systems(find->client),
                                      NULL, find->deadline, got_collection,
                                      find);
    }
}

RedfishFind *redfish_find(RedfishClient *client, const char *wanted,
                          gint64 deadline, RedfishFound found,
                          gpointer opaque)
{
    RedfishFind *find = g_new0(RedfishFind, 1);

    find->client = client;
    find->wanted = g_strdup(wanted);
    find->deadline = deadline;
    find->paths = g_ptr_array_new_with_free_func(g_free);
    find->names = g_string_new(NULL);
    find->found = found;
    find->opaque = opaque;
    find->op = redfish_client_get(client, NULL, NULL, deadline, opened, find);
    return find;
}
