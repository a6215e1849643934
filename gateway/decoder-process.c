/*
 * The process that decodes one machine's video: as spice-gateway sees it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decoder-process.h"

/* So much is read before others have their turn, in messages without memory */
#define MAX_MESSAGES 64
#define MEMORY_COSTS 16
/* So much is under way at most, but for what is needed */
#define MAX_QUEUED   1000

DecoderTimes decoder_times = { .ask_ms = 10000, .end_ms = 1000 };

static const char *const none[] = { "/no/such/program", NULL };
const char *const *decoder_program = none;
guint decoder_processes;

struct DecoderProcess {
    char *name;                 /* of the machine */
    GPid pid;
    int fd;                     /* -1: it says nothing any more */
    guint in_watch, out_watch;
    guint ask_timer;
    guint end_timer;
    gboolean asked;
    GQueue queue;               /* of DecoderHead, that it has not taken */
    /* NULL when it is nobody's: then it is on its way out */
    const DecoderProcessEvents *events;
    gpointer opaque;
};

/* --- its end ------------------------------------------------------------- */

static void shut(DecoderProcess *process)
{
    g_clear_handle_id(&process->in_watch, g_source_remove);
    g_clear_handle_id(&process->out_watch, g_source_remove);
    g_clear_handle_id(&process->ask_timer, g_source_remove);
    g_queue_clear_full(&process->queue, g_free);
    if (process->fd >= 0) {
        close(process->fd);
        process->fd = -1;
    }
}

static void lose(DecoderProcess *process, const char *reason)
{
    const DecoderProcessEvents *events = g_steal_pointer(&process->events);

    shut(process);
    kill(process->pid, SIGKILL);
    events->lost(reason, process->opaque);
}

static gboolean end_now(gpointer opaque)
{
    DecoderProcess *process = opaque;

    process->end_timer = 0;
    kill(process->pid, SIGKILL);
    return G_SOURCE_REMOVE;
}

static void read_some(DecoderProcess *process, int turns);

/* What it has said before is heard first: it may have said why */
static void exited(GPid pid, gint status, gpointer opaque)
{
    DecoderProcess *process = opaque;

    g_spawn_close_pid(pid);
    if (process->fd >= 0) {
        read_some(process, G_MAXINT);
    }
    if (process->events) {
        const DecoderProcessEvents *events = g_steal_pointer(&process->events);
        g_autofree char *reason = g_strdup_printf(
            "the process that decodes it has ended: %s %d; it is"
            " started again", WIFSIGNALED(status) ? "signal" : "exit status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));

        events->lost(reason, process->opaque);
    }
    shut(process);
    g_clear_handle_id(&process->end_timer, g_source_remove);
    g_free(process->name);
    g_free(process);
    decoder_processes--;
}

void decoder_process_end(DecoderProcess *process)
{
    process->events = NULL;
    shut(process);
    if (!process->end_timer) {
        process->end_timer = g_timeout_add(decoder_times.end_ms, end_now,
                                           process);
    }
}

/* --- what it says -------------------------------------------------------- */

/* Returns: what is wrong with it, or NULL */
static const char *hear(DecoderProcess *process, const DecoderMessage *message)
{
    if (message->head.type == DECODER_ALIVE && message->fd < 0) {
        process->asked = FALSE;
        return NULL;
    }
    return process->events->said(message, process->opaque);
}

/* Ends early when it is nobody's any more */
static void read_some(DecoderProcess *process, int turns)
{
    DecoderMessage message;
    const char *problem = NULL;

    for (; turns > 0 && process->events;
         turns -= message.fd < 0 ? 1 : MEMORY_COSTS) {
        switch (decoder_receive(process->fd, &message, FALSE)) {
        case DECODER_RECEIVED:
            problem = hear(process, &message);
            break;
        case DECODER_WRONG:
            problem = "what it says is no message";
            break;
        case DECODER_NOTHING:
            return;
        case DECODER_ENDED:
            /* exited() knows more; and if it goes on, it does not for long */
            shut(process);
            kill(process->pid, SIGKILL);
            return;
        }
        if (problem) {
            g_autofree char *reason = g_strdup_printf(
                "the process that decodes it is ended, as if it were hostile:"
                " %s", problem);

            lose(process, reason);
            return;
        }
    }
}

static gboolean said(gint fd, GIOCondition condition, gpointer opaque)
{
    read_some(opaque, MAX_MESSAGES);
    return G_SOURCE_CONTINUE;
}

static gboolean ask(gpointer opaque)
{
    DecoderProcess *process = opaque;

    if (process->asked) {
        process->ask_timer = 0;
        lose(process, "the process that decodes it hangs, or is flooded by the"
             " VNC server");
        return G_SOURCE_REMOVE;
    }
    process->asked = TRUE;
    /* however much is under way: of these there is one */
    decoder_process_tell(process, &(DecoderHead) { .type = DECODER_ASK }, TRUE);
    return G_SOURCE_CONTINUE;
}

/* --- what it is told ----------------------------------------------------- */

/* Returns: FALSE if it is full */
static gboolean send_some(DecoderProcess *process)
{
    DecoderHead *head;

    while ((head = g_queue_peek_head(&process->queue))) {
        if (!decoder_send(process->fd, head, NULL, 0, -1, FALSE) &&
            errno == EAGAIN) {
            return FALSE;
        }
        /* With another error it is ending, as the other direction will tell */
        g_free(g_queue_pop_head(&process->queue));
    }
    return TRUE;
}

static gboolean has_room(gint fd, GIOCondition condition, gpointer opaque)
{
    DecoderProcess *process = opaque;

    if (!send_some(process)) {
        return G_SOURCE_CONTINUE;
    }
    process->out_watch = 0;
    return G_SOURCE_REMOVE;
}

gboolean decoder_process_tell(DecoderProcess *process, const DecoderHead *head,
                              gboolean needed)
{
    if (process->fd < 0 ||
        (!needed && process->queue.length >= MAX_QUEUED)) {
        return FALSE;
    }
    g_queue_push_tail(&process->queue, g_memdup2(head, sizeof(*head)));
    if (!process->out_watch && !send_some(process)) {
        process->out_watch = g_unix_fd_add(process->fd, G_IO_OUT, has_room,
                                           process);
    }
    return TRUE;
}

/* --- its beginning ------------------------------------------------------- */

/* What programs need to find their libraries and words, and nothing else */
static char **environment(void)
{
    static const char *const names[] = {
        "PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES",
        "LD_LIBRARY_PATH", "XKB_CONFIG_ROOT", "ASAN_OPTIONS", "UBSAN_OPTIONS",
        NULL
    };
    char **environment = g_new0(char *, 1);
    const char *const *name;

    for (name = names; *name; name++) {
        const char *value = g_getenv(*name);

        if (value) {
            environment = g_environ_setenv(environment, *name, value, TRUE);
        }
    }
    return environment;
}

/* Returns: FALSE and @error; takes nothing */
static gboolean spawn(DecoderProcess *process, int socket, GError **error)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_auto(GStrv) envp = environment();
    const char *const *word;

    /* file, then argv[0], and the machine's name for who looks at processes */
    g_ptr_array_add(argv, (gpointer)decoder_program[0]);
    g_ptr_array_add(argv, "spice-gateway");
    for (word = decoder_program + 1; *word; word++) {
        g_ptr_array_add(argv, (gpointer)*word);
    }
    g_ptr_array_add(argv, process->name);
    g_ptr_array_add(argv, NULL);
    return g_spawn_async_with_fds(
        NULL, (char **)argv->pdata, envp,
        G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_FILE_AND_ARGV_ZERO |
        G_SPAWN_STDOUT_TO_DEV_NULL
#ifndef __SANITIZE_ADDRESS__
        /* there it could write into the log what it likes */
        | G_SPAWN_STDERR_TO_DEV_NULL
#endif
        , NULL, NULL, &process->pid, socket, -1, -1, error);
}

/* Returns: FALSE and @error; takes nothing */
static gboolean tell_config(DecoderProcess *process,
                            const MachineConfig *config, const char *token,
                            int fd, gboolean own_format, GError **error)
{
    g_autoptr(GVariant) packed = config_pack_vnc(config, token);
    const DecoderHead head = { .type = DECODER_START, .value = own_format };

    if (g_variant_get_size(packed) > DECODER_MAX_CONFIG) {
        g_set_error(error, CONFIG_ERROR, 0, "[vnc] has more than %d bytes in"
                    " it, use less", DECODER_MAX_CONFIG);
        return FALSE;
    }
    if (!decoder_send(process->fd, &head, g_variant_get_data(packed),
                      g_variant_get_size(packed), fd, FALSE)) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "the process that decodes it can't be told what to do: %s",
                    g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

/* Returns: FALSE and @error; then there is none, and nothing to be freed */
static gboolean start(DecoderProcess *process, GError **error)
{
    int sockets[2];
    gboolean is_started;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "no socket for the process that decodes it: %s",
                    g_strerror(errno));
        return FALSE;
    }
    is_started = spawn(process, sockets[1], error);
    close(sockets[1]);
    if (!is_started) {
        close(sockets[0]);
        g_prefix_error(error, "the process that decodes it can't be started:"
                       " ");
        return FALSE;
    }
    process->fd = sockets[0];
    decoder_processes++;
    g_child_watch_add(process->pid, exited, process);
    return TRUE;
}

DecoderProcess *decoder_process_new(const MachineConfig *config,
                                    const char *token, int fd,
                                    gboolean own_format,
                                    const DecoderProcessEvents *events,
                                    gpointer opaque, GError **error)
{
    DecoderProcess *process = g_new0(DecoderProcess, 1);

    process->name = g_strdup(config->name);
    g_queue_init(&process->queue);
    if (!start(process, error)) {
        close(fd);
        g_free(process->name);
        g_free(process);
        return NULL;
    }
    if (!tell_config(process, config, token, fd, own_format, error)) {
        close(fd);
        decoder_process_end(process);
        return NULL;
    }
    close(fd);
    process->events = events;
    process->opaque = opaque;
    process->in_watch = g_unix_fd_add(process->fd, G_IO_IN | G_IO_HUP |
                                      G_IO_ERR, said, process);
    process->ask_timer = g_timeout_add(decoder_times.ask_ms, ask, process);
    return process;
}
