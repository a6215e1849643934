/*
 * Numbers about all machines, as OpenMetrics, on a UNIX socket
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <string.h>

#include "guard.h"
#include "listening.h"
#include "metrics.h"
#include "names.h"

/* So many may ask at a time; then the first of them has had its time */
#define MAX_READERS 8
/* A request is shorter than that, and of no interest */
#define MAX_REQUEST 4096

#define HTTP_HEADER \
    "HTTP/1.0 200 OK\r\n" \
    "Content-Type: application/openmetrics-text; version=1.0.0;" \
    " charset=utf-8\r\n" \
    "Connection: close\r\n" \
    "\r\n"

/* For whoever asks, to do so and to read it */
guint metrics_patience_ms = 5000;

struct Metrics {
    const Gateway *gateway;
    char *path;
    GSocketService *service;
    GQueue readers;             /* the first has been there the longest */
};

typedef struct Reader {
    Metrics *metrics;
    GList link;                 /* in the readers */
    GSocketConnection *connection;
    GCancellable *cancellable;
    char request[MAX_REQUEST + 1];
    gsize size;
    char *answer;
    guint timer;
} Reader;

/* --- the text ------------------------------------------------------------ */

static void begin_family(GString *text, const char *name, const char *type,
                         const char *help)
{
    g_string_append_printf(text, "# TYPE spice_gateway_%s %s\n"
                                 "# HELP spice_gateway_%s %s\n",
                           name, type, name, help);
}

/* As a label's value; caller frees */
static char *machine_label(Machine *machine)
{
    GString *label = g_string_new(machine_config(machine)->name);

    g_string_replace(label, "\\", "\\\\", 0);
    g_string_replace(label, "\"", "\\\"", 0);
    g_string_replace(label, "\n", "\\n", 0);
    return g_string_free(label, FALSE);
}

static void add_state(Machine *machine, gpointer text)
{
    g_autofree char *label = machine_label(machine);

    g_string_append_printf(text, "spice_gateway_machine_state{machine=\"%s\","
                                 "state=\"%s\"} 1\n",
                           label, state_name(machine_state(machine)));
}

static void add_clients(Machine *machine, gpointer text)
{
    g_autofree char *label = machine_label(machine);

    g_string_append_printf(text, "spice_gateway_machine_clients{machine=\"%s\"}"
                                 " %u\n",
                           label, machine_clients(machine));
}

static void add_trouble(Machine *machine, gpointer text)
{
    g_autofree char *label = machine_label(machine);

    g_string_append_printf(text, "spice_gateway_machine_trouble{machine=\"%s\"}"
                                 " %d\n",
                           label, machine_trouble(machine) != NULL);
}

static void add_requests(Machine *machine, gpointer text)
{
    g_autofree char *label = machine_label(machine);
    guint32 action, result;

    for (action = 1; action & SPICE_POWER_ACTION_MASK; action <<= 1) {
        for (result = 0; result <= SPICE_POWER_RESULT_FAILED; result++) {
            guint64 count = audit_requests(machine_audit(machine), action,
                                           result);

            if (count) {
                g_string_append_printf(
                    text, "spice_gateway_power_requests_total{machine=\"%s\","
                    "action=\"%s\",result=\"%s\"} %" G_GUINT64_FORMAT "\n",
                    label, action_name(action), result_name(result), count);
            }
        }
    }
}

static void add_logins(Machine *machine, gpointer text)
{
    g_autofree char *label = machine_label(machine);
    guint64 count = audit_logins_refused(machine_audit(machine));

    if (count) {
        g_string_append_printf(text, "spice_gateway_logins_refused_total"
                               "{machine=\"%s\"} %" G_GUINT64_FORMAT "\n",
                               label, count);
    }
}

char *metrics_text(const Gateway *gateway)
{
    GString *text = g_string_new(NULL);

    begin_family(text, "build", "info", "Which program it is.");
    g_string_append(text, "spice_gateway_build_info{version=\"" VERSION "\"}"
                          " 1\n");
    begin_family(text, "machine_state", "gauge", "The machine's power state.");
    gateway_each(gateway, add_state, text);
    begin_family(text, "machine_clients", "gauge", "Clients that are there.");
    gateway_each(gateway, add_clients, text);
    begin_family(text, "machine_trouble", "gauge", "Whether the power state"
                 " can't be had.");
    gateway_each(gateway, add_trouble, text);
    begin_family(text, "power_requests", "counter", "What clients have asked"
                 " for, and what has become of it.");
    gateway_each(gateway, add_requests, text);
    begin_family(text, "logins_refused", "counter", "Connections that were not"
                 " let in, as their password was wrong.");
    gateway_each(gateway, add_logins, text);
    begin_family(text, "connections_held", "counter", "Connections that had to"
                 " wait, of addresses with wrong passwords.");
    g_string_append_printf(text, "spice_gateway_connections_held_total"
                           " %" G_GUINT64_FORMAT "\n", guard_held());
    begin_family(text, "connections_ended", "counter", "The same, that were"
                 " disconnected at once.");
    g_string_append_printf(text, "spice_gateway_connections_ended_total"
                           " %" G_GUINT64_FORMAT "\n", guard_ended());
    g_string_append(text, "# EOF\n");
    return g_string_free(text, FALSE);
}

/* --- who reads it -------------------------------------------------------- */

/* What is under way only finds that it is cancelled; then it is gone */
static void reader_free(Reader *reader)
{
    g_queue_unlink(&reader->metrics->readers, &reader->link);
    g_cancellable_cancel(reader->cancellable);
    g_object_unref(reader->cancellable);
    g_clear_handle_id(&reader->timer, g_source_remove);
    g_io_stream_close(G_IO_STREAM(reader->connection), NULL, NULL);
    g_object_unref(reader->connection);
    g_free(reader->answer);
    g_free(reader);
}

static gboolean out_of_patience(gpointer opaque)
{
    Reader *reader = opaque;

    reader->timer = 0;
    reader_free(reader);
    return G_SOURCE_REMOVE;
}

static void answered(GObject *stream, GAsyncResult *result, gpointer opaque)
{
    g_autoptr(GError) error = NULL;

    g_output_stream_write_all_finish(G_OUTPUT_STREAM(stream), result, NULL,
                                     &error);
    if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        reader_free(opaque);
    }
}

static void answer(Reader *reader)
{
    g_autofree char *text = metrics_text(reader->metrics->gateway);
    GOutputStream *stream = g_io_stream_get_output_stream(
        G_IO_STREAM(reader->connection));

    reader->answer = g_strconcat(HTTP_HEADER, text, NULL);
    g_output_stream_write_all_async(stream, reader->answer,
                                    strlen(reader->answer), G_PRIORITY_DEFAULT,
                                    reader->cancellable, answered, reader);
}

static void read_more(Reader *reader);

static void more_came(GObject *stream, GAsyncResult *result, gpointer opaque)
{
    Reader *reader = opaque;
    g_autoptr(GError) error = NULL;
    gssize size = g_input_stream_read_finish(G_INPUT_STREAM(stream), result,
                                             &error);

    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        return;
    }
    if (size <= 0) {
        reader_free(reader);
        return;
    }
    reader->size += size;
    reader->request[reader->size] = '\0';
    if (strstr(reader->request, "\r\n\r\n")) {
        answer(reader);
    } else {
        read_more(reader);
    }
}

static void read_more(Reader *reader)
{
    GInputStream *stream = g_io_stream_get_input_stream(
        G_IO_STREAM(reader->connection));

    if (reader->size == MAX_REQUEST) {
        reader_free(reader);
        return;
    }
    g_input_stream_read_async(stream, reader->request + reader->size,
                              MAX_REQUEST - reader->size, G_PRIORITY_DEFAULT,
                              reader->cancellable, more_came, reader);
}

static gboolean reader_came(GSocketService *service,
                            GSocketConnection *connection, GObject *source,
                            gpointer opaque)
{
    Metrics *metrics = opaque;
    Reader *reader = g_new0(Reader, 1);

    if (metrics->readers.length == MAX_READERS) {
        reader_free(metrics->readers.head->data);
    }
    reader->metrics = metrics;
    reader->link.data = reader;
    g_queue_push_tail_link(&metrics->readers, &reader->link);
    reader->connection = g_object_ref(connection);
    reader->cancellable = g_cancellable_new();
    reader->timer = g_timeout_add(metrics_patience_ms, out_of_patience, reader);
    read_more(reader);
    return TRUE;
}

/* ------------------------------------------------------------------------- */

Metrics *metrics_new(const char *path, const Gateway *gateway, GError **error)
{
    g_autoptr(GSocketService) service = g_socket_service_new();
    Metrics *metrics;

    if (!listening_on_path(G_SOCKET_LISTENER(service), path, error)) {
        g_prefix_error(error, "[gateway] metrics-socket: %s: ", path);
        return NULL;
    }
    metrics = g_new0(Metrics, 1);
    metrics->gateway = gateway;
    metrics->path = g_strdup(path);
    metrics->service = g_steal_pointer(&service);
    g_queue_init(&metrics->readers);
    g_signal_connect(metrics->service, "incoming", G_CALLBACK(reader_came),
                     metrics);
    return metrics;
}

void metrics_free(Metrics *metrics)
{
    if (!metrics) {
        return;
    }
    g_signal_handlers_disconnect_by_data(metrics->service, metrics);
    g_socket_service_stop(metrics->service);
    g_socket_listener_close(G_SOCKET_LISTENER(metrics->service));
    g_object_unref(metrics->service);
    g_unlink(metrics->path);
    while (metrics->readers.head) {
        reader_free(metrics->readers.head->data);
    }
    g_free(metrics->path);
    g_free(metrics);
}
