/*
 * The process that decodes one machine's video: what is in it
 *
 * It has no secret but the password of the VNC server, which it is connected to
 * already. libgvnc decodes what that sends, into memory that spice-gateway has
 * as well. It ends when there is no connection any more, and when
 * spice-gateway closes its socket. Messages to spice-gateway may wait, for that
 * waits for nobody.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib-unix.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "decoder.h"
#include "decoder-protocol.h"
#include "memory.h"
#include "sandbox.h"
#include "source.h"
#include "vnc-stream.h"
#include "warm-up.h"

#define SOCKET       STDIN_FILENO
/* How often the main loop may go round for what is still to be sent */
#define LAST_TURNS   100
/* So much is obeyed before the VNC server has its turn */
#define MAX_MESSAGES 64

typedef struct Decoder {
    MachineConfig *config;
    Source *source;
    int width, height;          /* of the picture that spice-gateway has */
} Decoder;

/* Nothing is to be cleaned up, and its parent may have gone */
static _Noreturn void end(void)
{
    _exit(0);
}

static void tell(const DecoderHead *head, const char *text, int fd)
{
    gsize size = text ? MIN(strlen(text), DECODER_MAX_TEXT) : 0;

    if (!decoder_send(SOCKET, head, text, size, fd, TRUE)) {
        end();
    }
}

/* --- what the source tells ----------------------------------------------- */

static void picture_shown(Picture *picture, gpointer opaque)
{
    Decoder *decoder = opaque;
    const DecoderHead head = {
        .type = DECODER_PICTURE,
        .width = picture->width,
        .height = picture->height,
    };

    decoder->width = picture->width;
    decoder->height = picture->height;
    tell(&head, NULL, picture->fd);
}

static void picture_updated(int x, int y, int width, int height,
                            gpointer opaque)
{
    Decoder *decoder = opaque;
    DecoderHead head = {
        .type = DECODER_UPDATE,
        .x = CLAMP(x, 0, decoder->width),
        .y = CLAMP(y, 0, decoder->height),
    };

    head.width = CLAMP(width, 0, decoder->width - head.x);
    head.height = CLAMP(height, 0, decoder->height - head.y);
    if (head.width && head.height) {
        tell(&head, NULL, -1);
    }
}

static void cursor_changed(const guint8 *rgba, int width, int height,
                           int hot_x, int hot_y, gpointer opaque)
{
    DecoderHead head = { .type = DECODER_CURSOR };
    gsize size = (gsize)width * height * 4;
    int fd;

    if (!rgba) {
        tell(&head, NULL, -1);
        return;
    }
    if (width < 1 || height < 1 || width > DECODER_MAX_CURSOR ||
        height > DECODER_MAX_CURSOR) {
        return;
    }
    head.x = CLAMP(hot_x, 0, width - 1);
    head.y = CLAMP(hot_y, 0, height - 1);
    head.width = width;
    head.height = height;
    fd = memory_new(size);
    if (fd >= 0) {
        if (pwrite(fd, rgba, size, 0) == (gssize)size) {
            tell(&head, NULL, fd);
        }
        close(fd);
    }
}

static void pointing_changed(gboolean is_relative, gpointer opaque)
{
    const DecoderHead head = {
        .type = DECODER_POINTING,
        .value = is_relative,
    };

    tell(&head, NULL, -1);
}

static void leds_changed(guint8 leds, gpointer opaque)
{
    tell(&(DecoderHead) { .type = DECODER_LEDS, .value = leds }, NULL, -1);
}

static void source_gone(SourceGone kind, const char *reason, gpointer opaque)
{
    const DecoderHead head = {
        .type = DECODER_GONE,
        .value = kind,
    };

    tell(&head, reason, -1);
    end();
}

/* --- what spice-gateway tells -------------------------------------------- */

/* What has been let go before it is to get through */
static _Noreturn void finish(Decoder *decoder)
{
    int turn;

    for (turn = 0; turn < LAST_TURNS; turn++) {
        if (!g_main_context_iteration(NULL, FALSE)) {
            break;
        }
    }
    decoder->source->methods->stop(decoder->source);
    end();
}

static void obey(Decoder *decoder, const DecoderHead *head)
{
    const SourceMethods *methods = decoder->source->methods;

    switch (head->type) {
    case DECODER_KEY:
        methods->key(decoder->source, head->value, head->is_down);
        break;
    case DECODER_POINTER:
        methods->pointer(decoder->source, head->x, head->y, head->value);
        break;
    case DECODER_MOTION:
        methods->motion(decoder->source, head->x, head->y, head->value);
        break;
    case DECODER_ASK:
        tell(&(DecoderHead) { .type = DECODER_ALIVE }, NULL, -1);
        break;
    }
}

static gboolean told(gint fd, GIOCondition condition, gpointer opaque)
{
    Decoder *decoder = opaque;
    DecoderMessage message;
    int turn;

    for (turn = 0; turn < MAX_MESSAGES; turn++) {
        switch (decoder_receive(SOCKET, &message, FALSE)) {
        case DECODER_RECEIVED:
            obey(decoder, &message.head);
            break;
        case DECODER_NOTHING:
            return G_SOURCE_CONTINUE;
        default:
            finish(decoder);
        }
    }
    return G_SOURCE_CONTINUE;
}

/* ------------------------------------------------------------------------- */

/* The machine's name is spice-gateway's to put before it */
static GLogWriterOutput log_writer(GLogLevelFlags level,
                                   const GLogField *fields, gsize count,
                                   gpointer opaque)
{
    Decoder *decoder = opaque;
    g_autofree char *text = NULL, *prefix = NULL;
    const char *message = "", *domain = "";
    DecoderHead head = {
        .type = DECODER_LOG,
        .value = (level & G_LOG_LEVEL_MASK) < G_LOG_LEVEL_MESSAGE,
    };
    gsize i;

    if ((level & G_LOG_LEVEL_MASK) > G_LOG_LEVEL_MESSAGE) {
        return G_LOG_WRITER_HANDLED;
    }
    for (i = 0; i < count; i++) {
        if (!strcmp(fields[i].key, "MESSAGE")) {
            message = fields[i].value;
        } else if (!strcmp(fields[i].key, "GLIB_DOMAIN")) {
            domain = fields[i].value;
        }
    }
    prefix = g_strdup_printf("%s: ", decoder->config ? decoder->config->name
                                                     : "");
    if (g_str_has_prefix(message, prefix)) {
        message += strlen(prefix);
    }
    if (level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR)) {
        text = g_strdup_printf("%s-CRITICAL **: %s", domain, message);
    }
    tell(&head, text ?: message, -1);
    return G_LOG_WRITER_HANDLED;
}

/* Whoever starts this by hand has no socket, and gets nothing */
static void begin(Decoder *decoder)
{
    DecoderMessage message;
    g_autoptr(GVariant) packed = NULL;
    g_autoptr(GBytes) bytes = NULL;
    g_autoptr(GError) error = NULL;

    if (decoder_receive(SOCKET, &message, TRUE) != DECODER_RECEIVED ||
        message.head.type != DECODER_START || message.fd < 0) {
        end();
    }
    bytes = g_bytes_new(message.data, message.size);
    packed = g_variant_ref_sink(g_variant_new_from_bytes(
        G_VARIANT_TYPE_VARDICT, bytes, FALSE));
    explicit_bzero(message.data, message.size);
    decoder->config = config_unpack_vnc(packed);
    decoder->source = source_vnc_new(decoder->config, message.fd,
                                     message.head.value != 0, &error);
    if (!decoder->source) {
        source_gone(SOURCE_LOST, error->message, decoder);
    }
}

_Noreturn void decoder_main(void)
{
    static const SourceEvents events = {
        .picture = picture_shown,
        .update = picture_updated,
        .cursor = cursor_changed,
        .pointing = pointing_changed,
        .leds = leds_changed,
        .gone = source_gone,
    };
    g_autoptr(GError) error = NULL;
    Decoder decoder = { 0 };

    sandbox_prepare(STDERR_FILENO);
    prctl(PR_SET_NAME, "vnc-decoder");
    g_log_set_writer_func(log_writer, &decoder, NULL);
    begin(&decoder);
    warm_up();
    vnc_stream_keep_trust(decoder.config->vnc_ca_file);
    if (!sandbox_enter(&error)) {
        source_gone(SOURCE_LOST, error->message, &decoder);
    }
    g_unix_fd_add(SOCKET, G_IO_IN | G_IO_HUP | G_IO_ERR, told, &decoder);
    decoder.source->methods->start(decoder.source, &events, &decoder);
    g_main_loop_run(g_main_loop_new(NULL, FALSE));
    end();
}
