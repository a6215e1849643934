/*
 * The events of a Redfish service, as it sends them by SSE
 *
 * An event says what has happened, in words of many kinds; what it means to the
 * machine's power only the machine itself knows. So whatever may be about it is
 * a reason to look, and nothing else.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "redfish-events.h"
#include "redfish-json.h"

/* Of one event, which has some hundred bytes */
#define MAX_EVENT (256 * 1024)
#define CHUNK     4096

RedfishEventsTimes redfish_events_times = { .first_ms = 1000,
                                            .last_ms = 60000,
                                            .gap_ms = 200 };

struct RedfishEvents {
    RedfishClient *client;
    const RedfishSystem *system;
    const MachineConfig *config;
    void (*changed)(gpointer opaque);
    gpointer opaque;

    gboolean is_wanted;
    gboolean has_none;          /* the service has said so */
    gboolean said_none;         /* so have we, once */
    RedfishOp *op;              /* to find them, or to begin */
    GInputStream *stream;       /* while they come, or NULL */
    GCancellable *cancellable;  /* for that */
    GString *line, *data;       /* what has come of an event */
    gboolean after_cr;          /* a line feed is no line of its own */
    guint timer;                /* until they are tried again */
    guint wait_ms;              /* for how long that is, the next time */
};

RedfishEvents *redfish_events_new(RedfishClient *client,
                                  const RedfishSystem *system,
                                  const MachineConfig *config,
                                  void (*changed)(gpointer opaque),
                                  gpointer opaque)
{
    RedfishEvents *events = g_new0(RedfishEvents, 1);

    events->client = client;
    events->system = system;
    events->config = config;
    events->changed = changed;
    events->opaque = opaque;
    events->line = g_string_new(NULL);
    events->data = g_string_new(NULL);
    events->wait_ms = redfish_events_times.first_ms;
    return events;
}

static void stop(RedfishEvents *events)
{
    g_clear_handle_id(&events->timer, g_source_remove);
    g_clear_pointer(&events->op, redfish_op_cancel);
    if (events->cancellable) {
        g_cancellable_cancel(events->cancellable);
    }
    g_clear_object(&events->cancellable);
    g_clear_object(&events->stream);
    g_string_truncate(events->line, 0);
    g_string_truncate(events->data, 0);
}

void redfish_events_free(RedfishEvents *events)
{
    stop(events);
    g_string_free(events->line, TRUE);
    g_string_free(events->data, TRUE);
    g_free(events);
}

gboolean redfish_events_come(const RedfishEvents *events)
{
    return events->stream != NULL;
}

static void begin(RedfishEvents *events);

static gboolean try_again(gpointer opaque)
{
    RedfishEvents *events = opaque;

    events->timer = 0;
    begin(events);
    return G_SOURCE_REMOVE;
}

/* @why is for the log. They may have been there before, or not. */
static void broken(RedfishEvents *events, const char *why)
{
    gboolean came = events->stream != NULL;

    stop(events);
    if (came || events->wait_ms == redfish_events_times.first_ms) {
        g_message("%s: no events, the state is asked for: %s",
                  events->config->name, why);
    }
    events->timer = g_timeout_add(events->wait_ms, try_again, events);
    events->wait_ms = MIN(events->wait_ms * 2, redfish_events_times.last_ms);
    if (came) {
        events->changed(events->opaque);
    }
}

/* --- one of them --------------------------------------------------------- */

/* Whether @path is @of, or something in it */
static gboolean is_within(const char *path, const char *of)
{
    gsize length = strlen(of);

    return !strncmp(path, of, length) && strchr("/#", path[length]);
}

/*
 * Those of other systems, and of what is not the power of any, are passed over,
 * as there may be many; with any doubt it's looked
 */
static gboolean concerns(RedfishEvents *events, JsonObject *record)
{
    const char *origin = redfish_json_link(record, "OriginOfCondition")
                         ?: redfish_json_text(record, "OriginOfCondition");
    const char *id = redfish_json_text(record, "MessageId") ?: "";
    const char *path = redfish_system_path(events->system);
    const char *systems = redfish_client_systems(events->client);

    if (!origin || !path) {
        return TRUE;
    }
    if (is_within(origin, path)) {
        return TRUE;
    }
    if (systems && is_within(origin, systems) &&
        strlen(origin) > strlen(systems) + 1) {
        return FALSE;           /* another one */
    }
    /* of a chassis or a manager, which may be that of the system */
    return g_str_has_prefix(id, "ResourceEvent.") || strstr(id, "Power") ||
           strstr(id, "StateChanged") || strstr(id, "StatusChange");
}

static void take_event(RedfishEvents *events)
{
    g_autoptr(JsonObject) event = redfish_json_parse(events->data->str,
                                                     events->data->len, NULL);
    JsonArray *records = redfish_json_array(event, "Events");
    guint i;

    /* reports of metrics come by the same way */
    for (i = 0; records && i < json_array_get_length(records); i++) {
        if (concerns(events, redfish_json_element(records, i))) {
            events->changed(events->opaque);
            return;
        }
    }
}

/* Returns: whether there is an event */
static gboolean take_line(RedfishEvents *events)
{
    const char *line = events->line->str;

    if (!events->line->len) {
        return events->data->len > 0;
    }
    if (g_str_has_prefix(line, "data:")) {
        line += strlen("data:");
        g_string_append(events->data, line + (*line == ' '));
        g_string_append_c(events->data, '\n');
    }
    g_string_truncate(events->line, 0);
    return FALSE;
}

/* Returns: FALSE if that is too much, or nobody wants any more */
static gboolean take(RedfishEvents *events, const char *text, gsize size)
{
    GInputStream *stream = events->stream;
    gsize i;

    for (i = 0; i < size && events->stream == stream; i++) {
        gboolean is_end = text[i] == '\r' ||
                          (text[i] == '\n' && !events->after_cr);

        if (is_end && take_line(events)) {
            take_event(events);
            g_string_truncate(events->data, 0);
        } else if (text[i] != '\r' && text[i] != '\n') {
            g_string_append_c(events->line, text[i]);
        }
        events->after_cr = text[i] == '\r';
        if (events->line->len + events->data->len > MAX_EVENT) {
            return FALSE;
        }
    }
    return TRUE;
}

/* --- the stream ---------------------------------------------------------- */

static void read_more(RedfishEvents *events);

static void got_more(GObject *source, GAsyncResult *result, gpointer opaque)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = g_input_stream_read_bytes_finish(
        G_INPUT_STREAM(source), result, &error);
    RedfishEvents *events = opaque;

    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        return;                 /* there may be no events any more */
    }
    if (!bytes || !g_bytes_get_size(bytes)) {
        broken(events, error ? error->message : "the service has ended them");
    } else if (!take(events, g_bytes_get_data(bytes, NULL),
                     g_bytes_get_size(bytes))) {
        broken(events, "one is too large");
    } else {
        events->wait_ms = redfish_events_times.first_ms;
        read_more(events);
    }
}

static void read_more(RedfishEvents *events)
{
    g_input_stream_read_bytes_async(events->stream, CHUNK, G_PRIORITY_DEFAULT,
                                    events->cancellable, got_more, events);
}

static void began(const RedfishReply *reply, gpointer opaque)
{
    RedfishEvents *events = opaque;

    events->op = NULL;
    if (!reply->stream) {
        broken(events, reply->trouble ?: "there is no stream");
        return;
    }
    g_message("%s: the service tells of events", events->config->name);
    events->stream = g_object_ref(reply->stream);
    events->cancellable = g_cancellable_new();
    events->after_cr = FALSE;
    read_more(events);
    /* what has happened since the last look */
    events->changed(events->opaque);
}

/* --- where they are ------------------------------------------------------ */

static gint64 deadline(const RedfishEvents *events)
{
    return g_get_monotonic_time() + events->config->query_timeout_ms *
                                    G_TIME_SPAN_MILLISECOND;
}

static void none(RedfishEvents *events)
{
    events->has_none = TRUE;
    if (events->said_none) {
        return;
    }
    events->said_none = TRUE;
    g_message("%s: the service has no events by SSE, the state is asked for",
              events->config->name);
}

static void got_service(const RedfishReply *reply, gpointer opaque)
{
    RedfishEvents *events = opaque;
    const char *path = redfish_json_text(reply->body, "ServerSentEventUri");

    events->op = NULL;
    if (reply->trouble && reply->status != 404) {
        broken(events, reply->trouble);
    } else if (!path) {
        none(events);
    } else {
        events->op = redfish_client_stream(events->client, path,
                                           deadline(events), began, events);
    }
}

static void begin(RedfishEvents *events)
{
    const char *path = redfish_client_events(events->client);

    if (!events->is_wanted || events->has_none || events->op ||
        events->stream || events->timer ||
        !redfish_client_is_open(events->client)) {
        return;
    }
    if (!path) {
        none(events);
        return;
    }
    events->op = redfish_client_get(events->client, path, NULL,
                                    deadline(events), got_service, events);
}

void redfish_events_want(RedfishEvents *events, gboolean is_wanted)
{
    gboolean came = events->stream != NULL;

    if (is_wanted && !events->is_wanted) {
        events->has_none = FALSE;
        events->wait_ms = redfish_events_times.first_ms;
    }
    events->is_wanted = is_wanted;
    if (is_wanted) {
        begin(events);
    } else {
        stop(events);
        if (came) {
            events->changed(events->opaque);
        }
    }
}
