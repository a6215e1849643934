/*
 * A program that is run for an action or for the state: with a time limit,
 * and with a limit on what it may say
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

/* What a pipe holds, which is all there can be of a program that has ended */
#define MAX_READS 64

typedef struct Stream {
    Child *child;
    int fd;
    guint source;
    GString *text;
} Stream;

struct Child {
    GPid pid;                   /* 0 if it could not be started */
    char *problem;              /* and why */
    Stream streams[2];          /* standard output, standard error */
    guint timer;                /* the time limit, or tells of the problem */
    guint timeout_ms;
    ChildLine line;
    ChildDone done;             /* NULL when it has been called */
    gpointer opaque;
};

static void stream_close(Stream *stream)
{
    g_clear_handle_id(&stream->source, g_source_remove);
    if (stream->fd >= 0) {
        close(stream->fd);
        stream->fd = -1;
    }
}

static void child_free(Child *child)
{
    int i;

    for (i = 0; i < 2; i++) {
        stream_close(&child->streams[i]);
        g_string_free(child->streams[i].text, TRUE);
    }
    g_clear_handle_id(&child->timer, g_source_remove);
    g_free(child->problem);
    g_free(child);
}

/* Not only the program: what it has started must not stay behind either */
static void child_kill(Child *child)
{
    kill(-child->pid, SIGKILL);
}

static void child_finish(Child *child, int exit_status, gboolean timed_out,
                         const char *failure)
{
    ChildDone done = child->done;
    ChildResult result = {
        .ok = !exit_status,
        .timed_out = timed_out,
        .exit_status = exit_status,
        .output = child->streams[0].text->str,
        .errors = child->streams[1].text->str,
        .failure = failure,
    };

    child->done = NULL;
    child->line = NULL;
    g_clear_handle_id(&child->timer, g_source_remove);
    if (done) {
        done(&result, child->opaque);
    }
}

/* What there is of whole lines, to the one who wants them */
static void pass_lines(Child *child)
{
    GString *text = child->streams[0].text;
    char *end;

    while (child->line && (end = memchr(text->str, '\n', text->len))) {
        g_autofree char *line = g_strndup(text->str, end - text->str);

        g_string_erase(text, 0, end - text->str + 1);
        child->line(g_strchomp(line), child->opaque);
    }
    if (child->line && text->len == CHILD_MAX_OUTPUT) {
        g_string_truncate(text, 0);     /* that is no line */
    }
}

/*
 * A program that never stops talking must not keep the main loop from all
 * else: it gets its turn like everybody. Returns: FALSE if nothing more can
 * come
 */
static gboolean stream_read(Stream *stream)
{
    char buffer[1024];
    ssize_t size;
    int turn;

    for (turn = 0; turn < MAX_READS && stream->fd >= 0; turn++) {
        size = read(stream->fd, buffer, sizeof(buffer));
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0 && errno == EAGAIN) {
            return TRUE;
        }
        if (size <= 0) {
            return FALSE;
        }
        g_string_append_len(stream->text, buffer,
                            MIN((gsize)size,
                                CHILD_MAX_OUTPUT - stream->text->len));
        if (stream == &stream->child->streams[0]) {
            pass_lines(stream->child);
        }
    }
    return stream->fd >= 0;
}

static gboolean stream_ready(gint fd, GIOCondition condition, gpointer opaque)
{
    Stream *stream = opaque;

    if (!stream_read(stream)) {
        stream->source = 0;
        stream_close(stream);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

static void child_exited(GPid pid, gint status, gpointer opaque)
{
    Child *child = opaque;
    g_autofree char *failure = NULL;
    int i;

    /* Others may have its pipes still, and for as long as they like */
    for (i = 0; i < 2; i++) {
        stream_read(&child->streams[i]);
    }
    if (WIFSIGNALED(status)) {
        failure = g_strdup_printf("ended by signal %d", WTERMSIG(status));
    } else if (WEXITSTATUS(status)) {
        failure = g_strdup_printf("exit status %d", WEXITSTATUS(status));
    }
    g_spawn_close_pid(pid);
    child_finish(child, WIFEXITED(status) ? WEXITSTATUS(status) : -1, FALSE,
                 failure);
    child_free(child);
}

static gboolean child_timed_out(gpointer opaque)
{
    Child *child = opaque;
    g_autofree char *failure = NULL;

    /* child_exited() cleans up, should it be that it can't be killed now */
    child->timer = 0;
    child_kill(child);
    failure = g_strdup_printf("no answer within %g seconds",
                              (child->timeout_ms + 99) / 100 / 10.0);
    child_finish(child, -1, TRUE, failure);
    return G_SOURCE_REMOVE;
}

/* In the child, before it becomes another program */
static void child_setup(gpointer opaque)
{
    setsid();
}

static gboolean spawn_failed(gpointer opaque)
{
    Child *child = opaque;

    child->timer = 0;
    child_finish(child, -1, FALSE, child->problem);
    child_free(child);
    return G_SOURCE_REMOVE;
}

Child *child_run(char **argv, guint timeout_ms, ChildLine line, ChildDone done,
                 gpointer opaque)
{
    return child_run_with(argv, NULL, NULL, timeout_ms, line, done, opaque);
}

Child *child_run_with(char **argv, const char *name, const char *value,
                      guint timeout_ms, ChildLine line, ChildDone done,
                      gpointer opaque)
{
    g_auto(GStrv) environment = g_get_environ();
    g_autoptr(GError) error = NULL;
    Child *child = g_new0(Child, 1);
    int fds[2] = { -1, -1 }, i;

    child->line = line;
    child->done = done;
    child->opaque = opaque;
    child->timeout_ms = timeout_ms;
    for (i = 0; i < 2; i++) {
        child->streams[i].child = child;
        child->streams[i].fd = -1;
        child->streams[i].text = g_string_new(NULL);
    }
    if (value) {
        environment = g_environ_setenv(environment, name, value, TRUE);
    }
    if (!g_spawn_async_with_pipes(NULL, argv, environment,
                                  G_SPAWN_DO_NOT_REAP_CHILD |
                                  G_SPAWN_SEARCH_PATH,
                                  child_setup, NULL, &child->pid, NULL,
                                  &fds[0], &fds[1], &error)) {
        child->pid = 0;
        child->problem = g_strdup(error->message);
        child->timer = g_idle_add(spawn_failed, child);
        return child;
    }

    for (i = 0; i < 2; i++) {
        Stream *stream = &child->streams[i];

        stream->fd = fds[i];
        fcntl(stream->fd, F_SETFD, FD_CLOEXEC);
        g_unix_set_fd_nonblocking(stream->fd, TRUE, NULL);
        stream->source = g_unix_fd_add(stream->fd,
                                       G_IO_IN | G_IO_HUP | G_IO_ERR,
                                       stream_ready, stream);
    }
    if (timeout_ms) {
        child->timer = g_timeout_add(timeout_ms, child_timed_out, child);
    }
    g_child_watch_add(child->pid, child_exited, child);
    return child;
}

void child_cancel(Child *child)
{
    child->done = NULL;
    child->line = NULL;
    if (child->pid) {
        child_kill(child);      /* child_exited() cleans up */
    } else {
        child_free(child);
    }
}
