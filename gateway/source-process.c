/*
 * A source in a process of its own: that is connected to, started, and what it
 * says is looked at
 *
 * The process may be its VNC server's, so every number is checked here before
 * anybody else gets it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "decoder-process.h"
#include "keymap.h"
#include "memory.h"
#include "source.h"
#include "vnc-connect.h"

/* Of one process; it has a few of them to say */
#define MAX_LINES  50
/* Where a cancelled attempt to connect finds out that it is */
#define SOURCE_KEY "source"

typedef struct SourceProcess {
    Source base;
    const MachineConfig *config;
    const SourceSession *session;       /* may be NULL if it needs none */
    gpointer session_opaque;
    const SourceEvents *events;
    gpointer opaque;

    guint idle;                 /* it can't be connected to; or 0 */
    GCancellable *connecting;   /* NULL if it is not */
    char *token;                /* that it is connected to with, or NULL */
    char *refused;              /* the last one that was not taken, or NULL */
    DecoderProcess *process;    /* NULL if there is none */
    int width, height;          /* of the picture; 0 if there is none */
    guint lines;                /* that it has logged */
    gboolean own_format;        /* for the next one */

    gboolean sent[0x100];       /* the scan codes that it knows to be down */
    guint8 buttons;             /* and the buttons */
} SourceProcess;

static void forget(SourceProcess *self)
{
    self->process = NULL;
    self->width = self->height = 0;
    self->lines = 0;
    memset(self->sent, 0, sizeof(self->sent));
    self->buttons = 0;
}

/* --- what the process says ----------------------------------------------- */

/* For a person, in one line; caller frees */
static char *readable(const DecoderMessage *message)
{
    char *text = g_utf8_make_valid(message->data, MIN(strlen(message->data),
                                                      DECODER_MAX_TEXT));
    char *at;

    for (at = text; *at; at = g_utf8_next_char(at)) {
        gunichar letter = g_utf8_get_char(at);

        /* of others than ASCII none is one byte */
        if (letter < 0x80 && g_ascii_iscntrl(letter)) {
            *at = ' ';
        } else if (!g_unichar_isprint(letter)) {
            memset(at, '?', g_utf8_next_char(at) - at);
        }
    }
    return text;
}

static const char *hear_picture(SourceProcess *self,
                                const DecoderMessage *message)
{
    int width = message->head.width, height = message->head.height;
    g_autoptr(Picture) picture = NULL;

    if (message->fd < 0) {
        return "a picture without memory";
    }
    picture = picture_new_from(message->fd, width, height);
    if (!picture) {
        return "a picture of a size that it can't have";
    }
    self->width = width;
    self->height = height;
    self->events->picture(picture, self->opaque);
    return NULL;
}

static const char *hear_update(SourceProcess *self, const DecoderHead *head)
{
    if (!self->width || head->x < 0 || head->y < 0 || head->width < 1 ||
        head->height < 1 || head->width > self->width - head->x ||
        head->height > self->height - head->y ||
        head->x >= self->width || head->y >= self->height) {
        return "a change outside of the picture";
    }
    self->events->update(head->x, head->y, head->width, head->height,
                         self->opaque);
    return NULL;
}

/* What it reads may change meanwhile; these are pixels */
static const char *hear_cursor(SourceProcess *self,
                               const DecoderMessage *message)
{
    const DecoderHead *head = &message->head;
    g_autofree guint8 *rgba = NULL;
    gsize size;

    if (!self->width) {
        return "a cursor without a picture";
    }
    if (message->fd < 0) {
        if (head->width || head->height) {
            return "a cursor without memory";
        }
        self->events->cursor(NULL, 0, 0, 0, 0, self->opaque);
        return NULL;
    }
    if (head->width < 1 || head->width > DECODER_MAX_CURSOR ||
        head->height < 1 || head->height > DECODER_MAX_CURSOR ||
        head->x < 0 || head->x >= head->width ||
        head->y < 0 || head->y >= head->height) {
        return "a cursor of a size that it can't have";
    }
    size = (gsize)head->width * head->height * 4;
    if (!memory_is_good(message->fd, size)) {
        return "a cursor of another size than it says";
    }
    rgba = g_malloc(size);
    if (pread(message->fd, rgba, size, 0) != (gssize)size) {
        return "a cursor that can't be read";
    }
    self->events->cursor(rgba, head->width, head->height, head->x, head->y,
                         self->opaque);
    return NULL;
}

static void hear_line(SourceProcess *self, const DecoderMessage *message)
{
    g_autofree char *text = readable(message);

    if (++self->lines > MAX_LINES) {
        return;
    }
    g_log(G_LOG_DOMAIN, message->head.value ? G_LOG_LEVEL_WARNING
                                            : G_LOG_LEVEL_MESSAGE,
          "%s: %s%s", self->config->name, text, self->lines == MAX_LINES
          ? "; what it says from now on is not in the log" : "");
}

/*
 * Sessions end. Whether this one has the backend finds out, and begins another;
 * if it has not, nothing has changed the next time.
 */
static SourceGone doubt_token(SourceProcess *self)
{
    if (!self->token || !g_strcmp0(self->token, self->refused)) {
        return SOURCE_REFUSED;
    }
    g_free(self->refused);
    self->refused = g_steal_pointer(&self->token);
    self->session->doubt(self->session_opaque);
    return SOURCE_LOST;
}

static void hear_gone(SourceProcess *self, const DecoderMessage *message)
{
    g_autofree char *reason = readable(message);
    SourceGone kind = MIN(message->head.value, SOURCE_TOKEN);

    if (kind == SOURCE_PIXELS) {
        self->own_format = !self->own_format;
    } else if (kind == SOURCE_TOKEN) {
        kind = doubt_token(self);
    }
    decoder_process_end(self->process);
    forget(self);
    self->events->gone(kind, reason, self->opaque);
}

/* Returns: what is wrong with it, or NULL. Takes nothing */
static const char *hear(SourceProcess *self, const DecoderMessage *message)
{
    switch (message->head.type) {
    case DECODER_CURSOR:
        return hear_cursor(self, message);
    case DECODER_UPDATE:
    case DECODER_POINTING:
    case DECODER_LEDS:
    case DECODER_LOG:
    case DECODER_GONE:
        if (message->fd >= 0) {
            return "a descriptor where there is none";
        }
        break;
    default:
        return "a message that there is not";
    }
    switch (message->head.type) {
    case DECODER_UPDATE:
        return hear_update(self, &message->head);
    case DECODER_POINTING:
        self->events->pointing(message->head.value != 0, self->opaque);
        break;
    case DECODER_LEDS:
        self->events->leds(message->head.value & 7, self->opaque);
        break;
    case DECODER_LOG:
        hear_line(self, message);
        break;
    case DECODER_GONE:
        hear_gone(self, message);
        break;
    }
    return NULL;
}

static const char *said(const DecoderMessage *message, gpointer opaque)
{
    const char *problem;

    if (message->head.type == DECODER_PICTURE) {
        return hear_picture(opaque, message);   /* takes the descriptor */
    }
    problem = hear(opaque, message);
    if (message->fd >= 0) {
        close(message->fd);
    }
    return problem;
}

static void lost(const char *reason, gpointer opaque)
{
    SourceProcess *self = opaque;

    forget(self);
    self->events->gone(SOURCE_LOST, reason, self->opaque);
}

/* --- connecting ---------------------------------------------------------- */

static void connected(GObject *unused, GAsyncResult *result, gpointer opaque)
{
    static const DecoderProcessEvents events = {
        .said = said,
        .lost = lost,
    };
    g_autoptr(GCancellable) connecting = opaque;
    SourceProcess *self = g_object_get_data(G_OBJECT(connecting), SOURCE_KEY);
    g_autoptr(GError) error = NULL;
    int fd = vnc_connect_finish(result, &error);

    if (!self) {
        /* this is not wanted any more */
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    g_clear_object(&self->connecting);
    if (fd >= 0) {
        self->process = decoder_process_new(self->config, self->token, fd,
                                            self->own_format, &events, self,
                                            &error);
    }
    if (!self->process) {
        self->events->gone(SOURCE_LOST, error->message, self->opaque);
    }
}

static gboolean no_session(gpointer opaque)
{
    SourceProcess *self = opaque;

    self->idle = 0;
    self->events->gone(SOURCE_LOST, "there is no session at the BMC at the"
                       " moment, which [vnc] authentication=redfish needs",
                       self->opaque);
    return G_SOURCE_REMOVE;
}

static void process_start(Source *source, const SourceEvents *events,
                          gpointer opaque)
{
    SourceProcess *self = (SourceProcess *)source;

    self->events = events;
    self->opaque = opaque;
    if (self->config->vnc_has_session) {
        g_free(self->token);
        self->token = g_strdup(self->session->token(self->session_opaque));
        if (!self->token) {
            self->idle = g_idle_add(no_session, self);
            return;
        }
    }
    self->connecting = g_cancellable_new();
    g_object_set_data(G_OBJECT(self->connecting), SOURCE_KEY, self);
    vnc_connect_async(self->config, self->connecting, connected,
                      g_object_ref(self->connecting));
}

static void process_stop(Source *source)
{
    SourceProcess *self = (SourceProcess *)source;

    g_clear_handle_id(&self->idle, g_source_remove);
    if (self->connecting) {
        g_object_set_data(G_OBJECT(self->connecting), SOURCE_KEY, NULL);
        g_cancellable_cancel(self->connecting);
        g_clear_object(&self->connecting);
    }
    if (self->process) {
        decoder_process_end(self->process);
    }
    forget(self);
}

/* --- input --------------------------------------------------------------- */

static void process_key(Source *source, guint8 scancode, gboolean down)
{
    SourceProcess *self = (SourceProcess *)source;
    const DecoderHead head = {
        .type = DECODER_KEY,
        .value = scancode,
        .is_down = down,
    };

    /* There is a limit to those that are let go: each has got through before */
    if (!self->process || (!down && !self->sent[scancode])) {
        return;
    }
    if (decoder_process_tell(self->process, &head, !down)) {
        self->sent[scancode] = down;
    }
}

static void tell_pointer(SourceProcess *self, DecoderType type, int x, int y,
                         guint8 buttons)
{
    const DecoderHead head = {
        .type = type,
        .x = x,
        .y = y,
        .value = buttons,
    };

    if (self->process &&
        decoder_process_tell(self->process, &head, self->buttons & ~buttons)) {
        self->buttons = buttons;
    }
}

static void process_pointer(Source *source, int x, int y, guint8 buttons)
{
    tell_pointer((SourceProcess *)source, DECODER_POINTER, x, y, buttons);
}

static void process_motion(Source *source, int dx, int dy, guint8 buttons)
{
    tell_pointer((SourceProcess *)source, DECODER_MOTION, dx, dy, buttons);
}

/* ------------------------------------------------------------------------- */

static void process_free(Source *source)
{
    SourceProcess *self = (SourceProcess *)source;

    process_stop(source);
    g_free(self->token);
    g_free(self->refused);
    g_free(self);
}

Source *source_process_new(const MachineConfig *config,
                           const SourceSession *session, gpointer opaque,
                           GError **error)
{
    static const SourceMethods methods = {
        .start = process_start,
        .stop = process_stop,
        .key = process_key,
        .pointer = process_pointer,
        .motion = process_motion,
        .free = process_free,
    };
    /* What can't be is to be known now, and not when it is started */
    Keymap *keymap = keymap_new(config->keyboard_layout, error);
    SourceProcess *self;

    if (!keymap) {
        return NULL;
    }
    keymap_free(keymap);
    self = g_new0(SourceProcess, 1);
    self->base.methods = &methods;
    self->config = config;
    self->session = session;
    self->session_opaque = opaque;
    return &self->base;
}
