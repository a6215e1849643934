/*
 * The SPICE server that a domain's XML describes
 *
 * GLib's parser is for a part of XML only, of which libvirt needs no more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <string.h>

#include "graphics.h"

typedef struct Parser {
    Graphics *graphics;         /* NULL until there is one */
    gboolean inside;            /* that one */
} Parser;

/* The path of an element; those of other namespaces may have any name */
static gboolean is_at(GMarkupParseContext *context, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, "/", 0);
    const GSList *element = g_markup_parse_context_get_element_stack(context);
    int i;

    for (i = g_strv_length(names) - 1; i >= 0 && element; i--) {
        if (strcmp(element->data, names[i])) {
            return FALSE;
        }
        element = element->next;
    }
    return i < 0 && !element;
}

static const char *find(const char *const *names, const char *const *values,
                        const char *name)
{
    for (; *names; names++, values++) {
        if (!strcmp(*names, name)) {
            return *values;
        }
    }
    return NULL;
}

static int port_of(const char *text)
{
    int port = text ? atoi(text) : 0;

    return port > 0 && port <= G_MAXUINT16 ? port : 0;
}

static gint64 time_of(const char *text)
{
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) when = text ? g_date_time_new_from_iso8601(text, utc)
                                     : NULL;

    if (!text) {
        return 0;
    }
    /* what is no time is over */
    return when ? MAX(g_date_time_to_unix(when), 1) : 1;
}

static void start_element(GMarkupParseContext *context, const char *element,
                          const char **names, const char **values,
                          gpointer opaque, GError **error)
{
    Parser *parser = opaque;
    const char *address;

    if (!parser->graphics && is_at(context, "domain/devices/graphics") &&
        !g_strcmp0(find(names, values, "type"), "spice")) {
        parser->graphics = g_new0(Graphics, 1);
        parser->inside = TRUE;
        parser->graphics->port = port_of(find(names, values, "port"));
        parser->graphics->tls_port = port_of(find(names, values, "tlsPort"));
        parser->graphics->password = g_strdup(find(names, values, "passwd"));
        parser->graphics->password_end = time_of(find(names, values,
                                                      "passwdValidTo"));
    } else if (parser->inside && is_at(context,
                                       "domain/devices/graphics/power")) {
        g_free(parser->graphics->power_password);
        parser->graphics->power_password = g_strdup(find(names, values,
                                                         "passwd"));
        parser->graphics->power_password_end = time_of(find(names, values,
                                                            "passwdValidTo"));
    } else if (parser->inside && !parser->graphics->address &&
               is_at(context, "domain/devices/graphics/listen")) {
        /* of a network, too, while the domain runs */
        address = find(names, values, "address");
        parser->graphics->address = g_strdup(address);
    }
}

static void end_element(GMarkupParseContext *context, const char *element,
                        gpointer opaque, GError **error)
{
    Parser *parser = opaque;

    if (parser->inside && is_at(context, "domain/devices/graphics")) {
        parser->inside = FALSE;
    }
}

Graphics *graphics_parse(const char *xml, GError **error)
{
    static const GMarkupParser methods = {
        .start_element = start_element,
        .end_element = end_element,
    };
    Parser parser = { 0 };
    g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(
        &methods, 0, &parser, NULL);

    if (!g_markup_parse_context_parse(context, xml, -1, error) ||
        !g_markup_parse_context_end_parse(context, error)) {
        graphics_free(parser.graphics);
        return NULL;
    }
    return parser.graphics;
}

void graphics_free(Graphics *graphics)
{
    if (graphics) {
        g_free(graphics->address);
        g_free(graphics->password);
        g_free(graphics->power_password);
        g_free(graphics);
    }
}
