/*
 * A source in a process of its own: with a VNC server of the test's
 *
 * This program is the process, too, as spice-gateway is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decoder.h"
#include "decoder-process.h"
#include "loop.h"
#include "memory.h"
#include "rfb-server.h"
#include "sandbox.h"
#include "source.h"

/* This program in the place of the decoder, with the name of what it does */
#define HOSTILE_OPTION "--hostile"

/* Encodings */
enum {
    RFB_TIGHT = 7,
    RFB_RICH_CURSOR = -239,
    RFB_LEDS = -261,
};

#define NEVER_MS (HANG_S * 10000)

typedef struct Fixture {
    RfbServer *server;
    MachineConfig config;
    Source *source;

    /* what the source has told */
    Picture *picture;           /* NULL if there is none */
    guint pictures, updates, cursors;
    int x, y, width, height;    /* of the last update */
    guint8 *cursor;             /* NULL if there is none */
    int cursor_width, cursor_height, hot_x, hot_y;
    int leds;                   /* -1 until there are some */
    guint goings;
    SourceGone kind;            /* of the last one */
    char *reason;
} Fixture;

static void picture_shown(Picture *picture, gpointer opaque)
{
    Fixture *f = opaque;

    g_clear_pointer(&f->picture, picture_unref);
    f->picture = picture_ref(picture);
    f->pictures++;
}

static void picture_updated(int x, int y, int width, int height,
                            gpointer opaque)
{
    Fixture *f = opaque;

    f->x = x;
    f->y = y;
    f->width = width;
    f->height = height;
    f->updates++;
}

static void cursor_changed(const guint8 *rgba, int width, int height,
                           int hot_x, int hot_y, gpointer opaque)
{
    Fixture *f = opaque;

    g_clear_pointer(&f->cursor, g_free);
    f->cursor = rgba ? g_memdup2(rgba, (gsize)width * height * 4) : NULL;
    f->cursor_width = width;
    f->cursor_height = height;
    f->hot_x = hot_x;
    f->hot_y = hot_y;
    f->cursors++;
}

static void leds_changed(guint8 leds, gpointer opaque)
{
    ((Fixture *)opaque)->leds = leds;
}

static void source_gone(SourceGone kind, const char *reason, gpointer opaque)
{
    Fixture *f = opaque;

    f->kind = kind;
    g_free(f->reason);
    f->reason = g_strdup(reason);
    f->goings++;
}

static const SourceEvents events = {
    .picture = picture_shown,
    .update = picture_updated,
    .cursor = cursor_changed,
    .leds = leds_changed,
    .gone = source_gone,
};

static void start(Fixture *f)
{
    f->source->methods->start(f->source, &events, f);
}

static const char *const program[] = {
    "/proc/self/exe", DECODER_OPTION, NULL
};

static void set_up(Fixture *f, gconstpointer unused)
{
    g_autoptr(GError) error = NULL;

    decoder_program = program;
    decoder_times = (DecoderTimes) { .ask_ms = NEVER_MS, .end_ms = 1000 };
    f->config = (MachineConfig) {
        .name = "a",
        .source = SOURCE_VNC,
        .vnc_host = "127.0.0.1",
        .keyboard_layout = "us",
    };
    f->server = rfb_server_new(&f->config.vnc_port);
    f->leds = -1;
    f->source = source_new(&f->config, &error);
    g_assert_no_error(error);
    start(f);
}

static guint count_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    guint count = 0;

    while (readdir(directory)) {
        count++;
    }
    closedir(directory);
    return count;
}

/* Nothing is left of it, no zombie either */
static void tear_down(Fixture *f, gconstpointer unused)
{
    f->source->methods->free(f->source);
    RUN_UNTIL(!decoder_processes);
    g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1);
    g_clear_pointer(&f->picture, picture_unref);
    g_free(f->cursor);
    g_free(f->reason);
    rfb_server_free(f->server);
}

/* The one process that there is */
static GPid find_process(void)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children",
                                            getpid());
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpint(atoi(text), >, 0);
    return atoi(text);
}

static void check_all(Fixture *f, int width, int height, guint32 colour)
{
    int i;

    g_assert_cmpint(f->picture->width, ==, width);
    g_assert_cmpint(f->picture->height, ==, height);
    for (i = 0; i < width * height; i++) {
        g_assert_cmphex(f->picture->pixels[i] & 0xffffff, ==, colour);
    }
}

/* A rectangle of one colour, pixel by pixel */
static void fill(Fixture *f, int x, int y, int width, int height,
                 guint32 colour)
{
    g_autofree guint32 *pixels = g_new(guint32, (gsize)width * height);
    int i;

    for (i = 0; i < width * height; i++) {
        pixels[i] = GUINT32_TO_LE(colour);
    }
    rfb_update(f->server, 1);
    rfb_rectangle(f->server, x, y, width, height, RFB_RAW);
    rfb_say(f->server, pixels, (gsize)width * height * 4);
}

/* Who has come and not been answered is of no interest any more */
static void forget(Fixture *f)
{
    while (rfb_has_client(f->server)) {
        rfb_accept(f->server);
    }
    rfb_hang_up(f->server);
}

/* With a picture of one colour */
static void show(Fixture *f, int width, int height, guint32 colour)
{
    rfb_be_friendly(f->server, width, height);
    fill(f, 0, 0, width, height, colour);
    RUN_UNTIL(f->updates == 1);
}

static void wait_gone(Fixture *f, const char *reason)
{
    RUN_UNTIL(f->goings);
    if (!strstr(f->reason, reason)) {
        g_error("'%s' is not '%s'", f->reason, reason);
    }
    RUN_UNTIL(!decoder_processes);
    run_what_is_due();
    g_assert_cmpuint(f->goings, ==, 1);
    f->goings = 0;
}

/* As far as the server has let it in, whatever the password */
static void log_in_with_password(Fixture *f)
{
    rfb_accept(f->server);
    rfb_say_text(f->server, "RFB 003.008\n");
    rfb_expect_text(f->server, "RFB 003.008\n");
    rfb_say(f->server, "\1\2", 2);
    rfb_expect(f->server, "\2", 1);
    rfb_say_text(f->server, "0123456789abcdef");
    rfb_hear(f->server, 16);
    rfb_say_u32(f->server, 0);
}

/* --- what is right ------------------------------------------------------- */

/* Pixel by pixel; and what comes later is in the same memory */
static void test_picture(Fixture *f, gconstpointer unused)
{
    guint32 *pixels = g_new(guint32, 64 * 48);
    int i;

    for (i = 0; i < 64 * 48; i++) {
        pixels[i] = GUINT32_TO_LE(i * 2654435761u & 0xffffff);
    }
    rfb_be_friendly(f->server, 64, 48);
    g_assert_cmpuint(f->pictures, ==, 0);
    rfb_update(f->server, 1);
    rfb_rectangle(f->server, 0, 0, 64, 48, RFB_RAW);
    rfb_say(f->server, pixels, 64 * 48 * 4);
    RUN_UNTIL(f->updates == 1);
    g_assert_cmpuint(f->pictures, ==, 1);
    g_assert_cmpint(f->width, ==, 64);
    g_assert_cmpint(f->height, ==, 48);
    for (i = 0; i < 64 * 48; i++) {
        g_assert_cmphex(f->picture->pixels[i] & 0xffffff, ==,
                        GUINT32_FROM_LE(pixels[i]));
    }
    fill(f, 10, 20, 3, 2, 0x123456);
    RUN_UNTIL(f->updates == 2);
    g_assert_cmpuint(f->pictures, ==, 1);
    g_assert_true(f->x == 10 && f->y == 20 && f->width == 3 && f->height == 2);
    g_assert_cmphex(f->picture->pixels[21 * 64 + 12] & 0xffffff, ==, 0x123456);
    g_assert_cmpuint(f->goings, ==, 0);
    g_free(pixels);
}

/* As JPEG, for which libraries read files when they need it first */
static void test_jpeg(Fixture *f, gconstpointer unused)
{
    g_autoptr(GdkPixbuf) pixbuf = gdk_pixbuf_new(GDK_COLORSPACE_RGB, FALSE, 8,
                                                 64, 48);
    g_autofree char *jpeg = NULL;
    guint8 head[3];             /* JPEG, and the size in groups of 7 bits */
    gsize size;

    gdk_pixbuf_fill(pixbuf, 0x808080ff);
    g_assert_true(gdk_pixbuf_save_to_buffer(pixbuf, &jpeg, &size, "jpeg", NULL,
                                            NULL));
    g_assert_cmpuint(size, <, 1 << 14);
    head[0] = 0x90;
    head[1] = (size & 0x7f) | 0x80;
    head[2] = size >> 7;
    show(f, 64, 48, 0);
    rfb_update(f->server, 1);
    rfb_rectangle(f->server, 0, 0, 64, 48, RFB_TIGHT);
    rfb_say(f->server, head, sizeof(head));
    rfb_say(f->server, jpeg, size);
    RUN_UNTIL(f->updates == 2 || f->goings);
    g_assert_cmpstr(f->reason, ==, NULL);
    check_all(f, 64, 48, 0x808080);
}

/* Another size is another picture; the largest that there may be, too */
static void test_sizes(Fixture *f, gconstpointer unused)
{
    static const int sizes[][2] = { { 80, 60 }, { 4096, 2400 }, { 8192, 1 } };
    gsize i;

    show(f, 64, 48, 0x336699);
    check_all(f, 64, 48, 0x336699);
    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        guint pictures = f->pictures, updates;
        int width = sizes[i][0], height = sizes[i][1];

        rfb_resize(f->server, width, height);
        fill(f, 0, 0, width, height, 0x112200 + i);
        RUN_UNTIL(f->pictures == pictures + 1);
        updates = f->updates;
        RUN_UNTIL(f->updates > updates || f->width == width);
        check_all(f, width, height, 0x112200 + i);
    }
    g_assert_cmpuint(f->goings, ==, 0);
    rfb_resize(f->server, 8000, 8000);
    RUN_UNTIL(f->goings);
    g_assert_nonnull(strstr(f->reason, "8000 x 8000 pixels"));
}

static void test_cursor(Fixture *f, gconstpointer unused)
{
    guint8 pixels[8 * 2 * 4], mask[2] = { 0xff, 0x80 };
    int i;

    show(f, 64, 48, 0);
    for (i = 0; i < (int)sizeof(pixels); i += 4) {
        pixels[i] = pixels[i + 2] = 1;  /* red and blue */
        pixels[i + 1] = 2;
        pixels[i + 3] = 0;
    }
    rfb_update(f->server, 1);
    rfb_rectangle(f->server, 5, 1, 8, 2, RFB_RICH_CURSOR);
    rfb_say(f->server, pixels, sizeof(pixels));
    rfb_say(f->server, mask, sizeof(mask));
    RUN_UNTIL(f->cursors == 1);
    g_assert_true(f->cursor_width == 8 && f->cursor_height == 2);
    g_assert_true(f->hot_x == 5 && f->hot_y == 1);
    g_assert_cmpmem(f->cursor, 4, "\1\2\1\377", 4);
    g_assert_cmpint(f->cursor[(8 + 1) * 4 + 3], ==, 0);
}

static void test_leds(Fixture *f, gconstpointer unused)
{
    show(f, 64, 48, 0);
    rfb_update(f->server, 1);
    rfb_rectangle(f->server, 0, 0, 1, 1, RFB_LEDS);
    rfb_say(f->server, "\6", 1);
    RUN_UNTIL(f->leds == 6);
}

/* Keys and the pointer get to the server; also those that are last */
static void test_input(Fixture *f, gconstpointer unused)
{
    f->source->methods->key(f->source, 0x1e, TRUE);     /* it is lost */
    show(f, 64, 48, 0);
    f->source->methods->key(f->source, 0x1e, TRUE);
    g_assert_cmpmem(rfb_wait(f->server, RFB_KEY), 7, "\1\0\0\0\0\0a", 7);
    f->source->methods->pointer(f->source, 33, 44, SOURCE_BUTTON_LEFT);
    g_assert_cmpmem(rfb_wait(f->server, RFB_POINTER), 5, "\1\0\41\0\54", 5);
    f->source->methods->key(f->source, 0x1e, FALSE);
    f->source->methods->stop(f->source);
    g_assert_cmpmem(rfb_wait(f->server, RFB_KEY), 7, "\0\0\0\0\0\0a", 7);
    rfb_wait_closed(f->server);
    g_assert_cmpuint(f->goings, ==, 0);
}

/* So much is typed for one that is stopped: what is down is let go */
static void test_flood_of_input(Fixture *f, gconstpointer unused)
{
    const SourceMethods *methods = f->source->methods;
    gboolean down = FALSE, other = FALSE;
    guint updates, downs = 0;
    const guint8 *body;
    GPid pid;
    int i;

    show(f, 64, 48, 0);
    pid = find_process();
    kill(pid, SIGSTOP);
    for (i = 0; i < 5000; i++) {
        methods->pointer(f->source, i % 64, 0, i & 1);
        methods->key(f->source, 0x1e, TRUE);
        methods->key(f->source, 0x1e, FALSE);
    }
    kill(pid, SIGCONT);
    /* another key gets through when all that was before has */
    for (updates = f->updates; !other; updates++) {
        methods->key(f->source, 0x30, TRUE);
        methods->key(f->source, 0x30, FALSE);
        fill(f, 0, 0, 1, 1, 0x123456);
        RUN_UNTIL(f->updates > updates);
        while (rfb_has_more(f->server)) {
            if (rfb_message(f->server, &body) == RFB_KEY) {
                other = other || body[6] == 'b';
                down = body[6] == 'a' ? body[0] : down;
                downs += body[6] == 'a' && body[0];
            }
        }
    }
    g_assert_cmpuint(downs, >, 0);
    g_assert_false(down);
}

static void test_password(Fixture *f, gconstpointer unused)
{
    f->source->methods->stop(f->source);
    forget(f);
    f->config.vnc_password = "secret99";
    start(f);
    log_in_with_password(f);
    rfb_init(f->server, 64, 48, &rfb_xrgb);
    rfb_wait(f->server, RFB_UPDATE_REQUEST);
    fill(f, 0, 0, 64, 48, 0x336699);
    RUN_UNTIL(f->updates == 1);
    check_all(f, 64, 48, 0x336699);
}

/* What is wrong with a server is told as it is within the process */
static void test_refused(Fixture *f, gconstpointer unused)
{
    rfb_accept(f->server);
    rfb_say_text(f->server, "RFB 003.008\n");
    rfb_say(f->server, "\1\2", 2);
    wait_gone(f, "wants a password");
    g_assert_cmpint(f->kind, ==, SOURCE_REFUSED);
}

/* What one process has learnt of its server, the next one knows */
static void test_learns(Fixture *f, gconstpointer unused)
{
    rfb_be_friendly(f->server, 64, 48);
    rfb_hang_up(f->server);
    wait_gone(f, "");
    start(f);
    rfb_accept(f->server);
    rfb_log_in(f->server);
    rfb_init(f->server, 64, 48, &rfb_xrgb);
    /* it does not ask for another kind of pixels this time */
    g_assert_cmpint(rfb_message(f->server, &(const guint8 *) { NULL }), ==,
                    RFB_SET_ENCODINGS);
}

/* --- what it can't do ---------------------------------------------------- */

static char *read_of(GPid pid, const char *what)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, what);
    char *text = NULL;
    gsize size, i;

    g_assert_true(g_file_get_contents(path, &text, &size, NULL));
    for (i = 0; i < size; i++) {
        if (!text[i]) {
            text[i] = '\n';
        }
    }
    return text;
}

/* A filter, no new rights, few descriptors, and no secret to be looked at */
static void test_confined(Fixture *f, gconstpointer unused)
{
    g_autofree char *status = NULL, *limits = NULL, *command = NULL;
    GPid pid;

    g_setenv("SPICE_GATEWAY_TEST", "a secret", TRUE);
    show(f, 64, 48, 0);
    pid = find_process();
    status = read_of(pid, "status");
    g_assert_nonnull(strstr(status, "\nSeccomp:\t2\n"));
    g_assert_nonnull(strstr(status, "\nNoNewPrivs:\t1\n"));
    g_assert_nonnull(strstr(status, "Name:\tvnc-decoder\n"));
    limits = read_of(pid, "limits");
    g_assert_true(g_regex_match_simple("Max core file size +0 +0",
                                       limits, 0, 0));
    g_assert_true(g_regex_match_simple("Max processes +0 +0", limits, 0, 0));
    command = read_of(pid, "cmdline");
    g_assert_cmpstr(command, ==, "spice-gateway\n--vnc-decoder\na\n");
}

/* Returns: NULL, or what it could do in the sandbox, or could not */
static const char *try_all(void)
{
    g_autoptr(GError) error = NULL;
    int memory, pair[2];

    sandbox_prepare(STDERR_FILENO);
    if (!sandbox_enter(&error)) {
        return "it is no sandbox";
    }
#define MUST_FAIL(call) if ((call) != -1 || errno != EACCES) return #call
    MUST_FAIL(open("/etc/passwd", O_RDONLY));
    MUST_FAIL(openat(AT_FDCWD, ".", O_RDONLY));
    MUST_FAIL(unlink("/no/such"));
    MUST_FAIL(socket(AF_INET, SOCK_STREAM, 0));
    MUST_FAIL(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST_FAIL(connect(0, NULL, 0));
    MUST_FAIL(bind(0, NULL, 0));
    MUST_FAIL(socketpair(AF_INET, SOCK_STREAM, 0, pair));
    MUST_FAIL(execl("/bin/true", "true", NULL));
    MUST_FAIL(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    MUST_FAIL(syscall(SYS_clone3, NULL, 0));
    MUST_FAIL(kill(getpid(), 0));
    MUST_FAIL(syscall(SYS_tgkill, 1, 1, 0));
    MUST_FAIL(ptrace(PTRACE_ATTACH, 1, 0, 0));
    MUST_FAIL(syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0));
    MUST_FAIL(syscall(SYS_io_uring_setup, 1, NULL));
    MUST_FAIL(prctl(PR_SET_DUMPABLE, 1));
    MUST_FAIL(setrlimit(RLIMIT_CORE, &(struct rlimit) { 0 }));
    MUST_FAIL((long)mmap(NULL, 4096, PROT_READ | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
#define MUST_WORK(call) if ((call) == -1) return #call
    MUST_WORK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    MUST_WORK(memory = memory_new(4096));
    MUST_WORK((long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
                         memory, 0));
    MUST_FAIL(mprotect(NULL, 4096, PROT_EXEC));
    return NULL;
}

static void test_sandbox(void)
{
    if (g_test_subprocess()) {
        const char *problem = try_all();

        if (problem && write(STDERR_FILENO, problem, strlen(problem)) < 0) {
            _exit(2);
        }
        _exit(problem != NULL);
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_test_trap_assert_passed();
}

/* --- what becomes of it -------------------------------------------------- */

/* The reason is told once, and nothing stays open; it can be started again */
static void test_killed(Fixture *f, gconstpointer unused)
{
    static const struct {
        int number;
        const char *reason;
    } signals[] = {
        { SIGKILL, "has ended: signal 9" },
        { SIGTERM, "has ended: signal 15" },
        { SIGSEGV, "has ended: " },     /* a sanitizer ends it itself */
    };
    guint files = 0;
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(signals); i++) {
        f->updates = 0;
        show(f, 64, 48, 0x336699);
        kill(find_process(), signals[i].number);
        wait_gone(f, signals[i].reason);
        /* the picture is still there */
        check_all(f, 64, 48, 0x336699);
        g_clear_pointer(&f->picture, picture_unref);
        rfb_hang_up(f->server);
        if (!i) {
            files = count_files();
        }
        g_assert_cmpuint(count_files(), ==, files);
        start(f);
    }
    f->updates = 0;
    show(f, 64, 48, 0x112233);
    check_all(f, 64, 48, 0x112233);
}

static void test_server_goes(Fixture *f, gconstpointer unused)
{
    show(f, 64, 48, 0);
    rfb_hang_up(f->server);
    wait_gone(f, "");          /* libgvnc has several words for it */
}

static void test_no_server(Fixture *f, gconstpointer unused)
{
    f->source->methods->stop(f->source);
    f->config.vnc_socket = "/no/such";
    start(f);
    wait_gone(f, "/no/such: ");
}

static void test_no_program(Fixture *f, gconstpointer unused)
{
    static const char *const none[] = { "/no/such", NULL };

    f->source->methods->stop(f->source);
    decoder_program = none;
    start(f);
    wait_gone(f, "can't be started");
}

/* One that is stopped is given up */
static void test_hangs(Fixture *f, gconstpointer unused)
{
    f->source->methods->stop(f->source);
    RUN_UNTIL(!decoder_processes);
    decoder_times.ask_ms = 50;
    start(f);
    RUN_UNTIL(decoder_processes);
    kill(find_process(), SIGSTOP);
    wait_gone(f, "hangs");
}

/* And if it is to end, it does all the same */
static void test_stopped_while_it_hangs(Fixture *f, gconstpointer unused)
{
    decoder_times.end_ms = 1;
    show(f, 64, 48, 0);
    kill(find_process(), SIGSTOP);
    f->source->methods->stop(f->source);
    RUN_UNTIL(!decoder_processes);
    g_assert_cmpuint(f->goings, ==, 0);
}

/* In every moment: nothing comes after that */
static void test_stop(Fixture *f, gconstpointer unused)
{
    int turns, turn;

    for (turns = 0; turns < 40; turns++) {
        for (turn = 0; turn < turns; turn++) {
            g_main_context_iteration(NULL, FALSE);
        }
        f->source->methods->stop(f->source);
        forget(f);
        start(f);
    }
    f->source->methods->stop(f->source);
    RUN_UNTIL(!decoder_processes);
    forget(f);
    start(f);
    show(f, 64, 48, 0);
    g_assert_cmpuint(f->goings, ==, 0);
}

/* --- one that is hostile ------------------------------------------------- */

/* These are in the other process */

static void tell(const DecoderHead *head, const void *data, gsize size, int fd)
{
    if (!decoder_send(STDIN_FILENO, head, data, size, fd, TRUE)) {
        _exit(0);
    }
}

static void tell_picture(int width, int height, int fd)
{
    tell(&(DecoderHead) { .type = DECODER_PICTURE, .width = width,
                          .height = height }, NULL, 0, fd);
}

static void tell_good_picture(void)
{
    tell_picture(64, 48, memory_new(64 * 48 * 4));
}

static void tell_update(int x, int y, int width, int height)
{
    tell(&(DecoderHead) { .type = DECODER_UPDATE, .x = x, .y = y,
                          .width = width, .height = height }, NULL, 0, -1);
}

static void tell_cursor(int x, int y, int width, int height, int fd)
{
    tell(&(DecoderHead) { .type = DECODER_CURSOR, .x = x, .y = y,
                          .width = width, .height = height }, NULL, 0, fd);
}

static void tell_text(guint32 type, const char *text)
{
    tell(&(DecoderHead) { .type = type }, text, strlen(text), -1);
}

static int unsealed(gsize size, int seals)
{
    int fd = memfd_create("x", MFD_ALLOW_SEALING);

    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, seals), ==, 0);
    return fd;
}

static int pipe_end(void)
{
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    return fds[0];
}

static void tell_two_descriptors(void)
{
    DecoderHead head = { .type = DECODER_PICTURE, .width = 64, .height = 48 };
    struct iovec part = { &head, sizeof(head) };
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = { 0 };
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    int fds[2] = { memory_new(64 * 48 * 4), memory_new(64 * 48 * 4) };

    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(&control.head), fds, sizeof(fds));
    g_assert_cmpint(sendmsg(STDIN_FILENO, &message, 0), >, 0);
}

static void tell_bytes(gsize size)
{
    g_autofree char *bytes = g_malloc0(size);

    g_assert_cmpint(send(STDIN_FILENO, bytes, size, 0), ==, size);
}

/* More than there is anywhere is read by nobody */
static void tell_much_text(guint32 type)
{
    g_autofree char *text = g_strnfill(DECODER_MAX_CONFIG - 1, 'x');

    tell_text(type, text);
}

typedef struct Hostile {
    const char *name;
    const char *reason;
} Hostile;

#define SIZE (64 * 48 * 4)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define HOSTILE(name, reason, ...) \
    if (!list && !strcmp(which, name)) { \
        __VA_ARGS__; \
    } else if (list) { \
        g_array_append_val(list, ((Hostile) { name, reason })); \
    }

/* Do what is called @which; or, if @list is not NULL, put all into that */
static void be_hostile(const char *which, GArray *list)
{
#define NO_SIZE "a picture of a size that it can't have"
    HOSTILE("no memory", "a picture without memory", tell_picture(64, 48, -1))
    HOSTILE("memory too small", NO_SIZE,
            tell_picture(64, 48, memory_new(SIZE - 4)))
    HOSTILE("memory too large", NO_SIZE,
            tell_picture(64, 48, memory_new(SIZE + 4)))
    HOSTILE("memory that may shrink", NO_SIZE,
            tell_picture(64, 48, unsealed(SIZE, F_SEAL_GROW)))
    HOSTILE("memory that may grow", NO_SIZE,
            tell_picture(64, 48, unsealed(SIZE, F_SEAL_SHRINK)))
    HOSTILE("memory without seals", NO_SIZE,
            tell_picture(64, 48, unsealed(SIZE, 0)))
    HOSTILE("a device", NO_SIZE,
            tell_picture(64, 48, open("/dev/zero", O_RDWR)))
    HOSTILE("a directory", NO_SIZE,
            tell_picture(64, 48, open("/", O_RDONLY)))
    HOSTILE("a pipe", NO_SIZE, tell_picture(64, 48, pipe_end()))
    HOSTILE("its socket", NO_SIZE, tell_picture(64, 48, STDIN_FILENO))
    HOSTILE("size 0", NO_SIZE, tell_picture(0, 48, memory_new(0)))
    HOSTILE("size -1", NO_SIZE, tell_picture(-1, -1, memory_new(4)))
    HOSTILE("size overflows 32 bits", NO_SIZE,
            tell_picture(65536, 65536, memory_new(0)))
    HOSTILE("size overflows by 1", NO_SIZE,
            tell_picture(32769, 32768, memory_new(131072)))
    HOSTILE("largest numbers", NO_SIZE,
            tell_picture(G_MAXINT, G_MAXINT, memory_new(4)))
    HOSTILE("smallest numbers", NO_SIZE,
            tell_picture(G_MININT, G_MININT, memory_new(4)))
    HOSTILE("too large", NO_SIZE,
            tell_picture(8192, 8192, memory_new(8192 * 8192 * 4)))
    HOSTILE("two descriptors", "what it says is no message",
            tell_two_descriptors())

#define OUTSIDE "a change outside of the picture"
    HOSTILE("change without a picture", OUTSIDE, tell_update(0, 0, 1, 1))
    HOSTILE("change too wide", OUTSIDE,
            tell_good_picture(); tell_update(0, 0, 65, 1))
    HOSTILE("change too high", OUTSIDE,
            tell_good_picture(); tell_update(0, 0, 1, 49))
    HOSTILE("change to the right", OUTSIDE,
            tell_good_picture(); tell_update(64, 0, 1, 1))
    HOSTILE("change to the left", OUTSIDE,
            tell_good_picture(); tell_update(-1, 0, 2, 1))
    HOSTILE("change above", OUTSIDE,
            tell_good_picture(); tell_update(0, -1, 1, 2))
    HOSTILE("change overflows", OUTSIDE,
            tell_good_picture(); tell_update(1, 1, G_MAXINT, G_MAXINT))
    HOSTILE("change underflows", OUTSIDE,
            tell_good_picture(); tell_update(G_MININT, G_MININT, 64, 48))
    HOSTILE("change of nothing", OUTSIDE,
            tell_good_picture(); tell_update(0, 0, 0, 0))
    HOSTILE("change of less", OUTSIDE,
            tell_good_picture(); tell_update(5, 5, -1, -1))

#define NO_CURSOR "a cursor of a size that it can't have"
    HOSTILE("cursor without a picture", "a cursor without a picture",
            tell_cursor(0, 0, 8, 8, memory_new(256)))
    HOSTILE("cursor without memory", "a cursor without memory",
            tell_good_picture(); tell_cursor(0, 0, 8, 8, -1))
    HOSTILE("cursor too large", NO_CURSOR, tell_good_picture();
            tell_cursor(0, 0, 257, 1, memory_new(257 * 4)))
    HOSTILE("cursor of nothing", NO_CURSOR, tell_good_picture();
            tell_cursor(0, 0, 0, 0, memory_new(0)))
    HOSTILE("cursor overflows", NO_CURSOR, tell_good_picture();
            tell_cursor(0, 0, G_MAXINT, G_MAXINT, memory_new(4)))
    HOSTILE("cursor of less", NO_CURSOR, tell_good_picture();
            tell_cursor(0, 0, -8, -8, memory_new(256)))
    HOSTILE("hot spot outside", NO_CURSOR, tell_good_picture();
            tell_cursor(8, 0, 8, 8, memory_new(256)))
    HOSTILE("hot spot before", NO_CURSOR, tell_good_picture();
            tell_cursor(0, -1, 8, 8, memory_new(256)))
    HOSTILE("cursor's memory", "a cursor of another size than it says",
            tell_good_picture(); tell_cursor(0, 0, 8, 8, memory_new(255)))
    HOSTILE("cursor of a pipe", "a cursor of another size than it says",
            tell_good_picture(); tell_cursor(0, 0, 8, 8, pipe_end()))

#define NO_DESCRIPTOR "a descriptor where there is none"
    HOSTILE("change with a descriptor", NO_DESCRIPTOR,
            tell(&(DecoderHead) { .type = DECODER_UPDATE }, NULL, 0, 0))
    HOSTILE("end with a descriptor", NO_DESCRIPTOR,
            tell(&(DecoderHead) { .type = DECODER_GONE }, NULL, 0, 0))
    HOSTILE("alive with a descriptor", "a message that there is not",
            tell(&(DecoderHead) { .type = DECODER_ALIVE }, NULL, 0, 0))
    HOSTILE("type 0", "a message that there is not", tell_text(0, ""))
    HOSTILE("largest type", "a message that there is not",
            tell_text(G_MAXUINT, ""))
    HOSTILE("key", "a message that there is not", tell_text(DECODER_KEY, ""))
    HOSTILE("start", "a message that there is not",
            tell_text(DECODER_START, ""))
    HOSTILE("a byte", "what it says is no message", tell_bytes(1))
    HOSTILE("nearly a message", "what it says is no message",
            tell_bytes(sizeof(DecoderHead) - 1))
    HOSTILE("long", "what it says is no message",
            tell_bytes(sizeof(DecoderHead) + DECODER_MAX_CONFIG + 1))
    HOSTILE("nothing", "ended: signal 9", tell_bytes(0); pause())

    /* text is for a person, and in one line */
    HOSTILE("no text", "", tell_text(DECODER_GONE, ""))
    HOSTILE("lines", "a b: client 7: power-off   [31m",
            tell_text(DECODER_GONE, "a\nb: client 7: power-off\r \033[31m"))
    HOSTILE("no UTF-8", "\357\277\275x", tell_text(DECODER_GONE, "\377x"))
    HOSTILE("long text", "xxx", tell_much_text(DECODER_GONE))
    HOSTILE("long line", "exit status 0", tell_much_text(DECODER_LOG))

    HOSTILE("hangs up", "ended: signal 9", close(STDIN_FILENO); pause())
    HOSTILE("ends", "ended: exit status 3", _exit(3))
    HOSTILE("crashes", "ended: signal 11", signal(SIGSEGV, SIG_DFL);
            raise(SIGSEGV))
    HOSTILE("aborts", "ended: signal 6", signal(SIGABRT, SIG_DFL); abort())
}

/* --- */

static gboolean count_turn(gpointer opaque)
{
    (*(guint *)opaque)++;
    return G_SOURCE_CONTINUE;
}

/* It never ends to talk; others have their turn, and it can be stopped */
static void run_endless(const char *which)
{
    g_autoptr(GRand) rand = NULL;
    guint i;

    tell_good_picture();
    if (!strcmp(which, "endless changes")) {
        for (;;) {
            tell_update(0, 0, 64, 48);
        }
    } else if (!strcmp(which, "endless pictures")) {
        for (;;) {
            int fd = memory_new(SIZE);

            tell_picture(64, 48, fd);
            close(fd);
        }
    } else if (!strcmp(which, "endless lines")) {
        for (;;) {
            tell_text(DECODER_LOG, "b: client 7: power-off: asked for");
        }
    } else if (!strcmp(which, "endless cursors")) {
        int fd = memory_new(256 * 256 * 4);

        for (;;) {
            tell_cursor(0, 0, 256, 256, fd);
        }
    }
    /* "random" and a seed: mostly what is nearly right */
    rand = g_rand_new_with_seed(atoi(which + strlen("random")));
    for (i = 0; i < 2000; i++) {
        static const gint32 numbers[] = {
            0, 1, 2, 8, 47, 48, 49, 63, 64, 65, 255, 256, 257, -1, 8192,
            G_MAXINT, G_MININT
        };
#define NUMBER numbers[g_rand_int_range(rand, 0, g_rand_int_range(rand, 1, \
                           G_N_ELEMENTS(numbers)) + 1)]
        DecoderHead head = {
            .type = g_rand_int_range(rand, DECODER_ALIVE, DECODER_LOG + 1),
            .x = NUMBER, .y = NUMBER, .width = NUMBER, .height = NUMBER,
            .value = g_rand_int(rand),
        };
        int fd = -1;

        if (head.type == DECODER_PICTURE || head.type == DECODER_CURSOR) {
            fd = memory_new(MIN((guint64)MAX(head.width, 0) *
                                MAX(head.height, 0) * 4, 1 << 20));
        }
        tell(&head, "text", g_rand_int_range(rand, 0, 5), fd);
        if (fd >= 0) {
            close(fd);
        }
    }
}

static _Noreturn void hostile_main(const char *which)
{
    DecoderMessage message;

    /* a crash is a crash, whatever looks for them */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    g_assert_cmpint(decoder_receive(STDIN_FILENO, &message, TRUE), ==,
                    DECODER_RECEIVED);
    if (g_str_has_prefix(which, "endless") ||
        g_str_has_prefix(which, "random")) {
        run_endless(which);
    } else {
        be_hostile(which, NULL);
    }
    /* What has been said is heard, and then it is known that this ends */
    _exit(0);
}

static void run_hostile(Fixture *f, const char *which)
{
    const char *const hostile[] = {
        "/proc/self/exe", HOSTILE_OPTION, which, NULL
    };

    decoder_program = hostile;
    f->source->methods->stop(f->source);
    RUN_UNTIL(!decoder_processes);
    start(f);
    RUN_UNTIL(decoder_processes || f->goings);
    decoder_program = program;
}

/* One after the other: nothing of any is believed, and nothing stays behind */
static void test_hostile(Fixture *f, gconstpointer unused)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(Hostile));
    guint files = 0, i;

    be_hostile(NULL, all);
    for (i = 0; i < all->len; i++) {
        const Hostile *hostile = &g_array_index(all, Hostile, i);

        g_test_message("%s", hostile->name);
        run_hostile(f, hostile->name);
        wait_gone(f, hostile->reason);
        g_assert_cmpuint(strlen(f->reason), <, 3 * DECODER_MAX_TEXT + 200);
        g_clear_pointer(&f->picture, picture_unref);
        forget(f);
        if (i == 1) {
            files = count_files();
        }
        g_assert_true(i < 2 || count_files() == files);
    }
    g_assert_cmpuint(i, >, 50);
}

static void test_endless(Fixture *f, gconstpointer which)
{
    guint turns = 0, timer = g_timeout_add(1, count_turn, &turns);
    guint pictures = f->pictures, updates = f->updates, cursors = f->cursors;

    run_hostile(f, which);
    RUN_UNTIL(turns > 50);
    RUN_UNTIL(f->pictures > pictures);
    if (!strcmp(which, "endless changes")) {
        RUN_UNTIL(f->updates > updates + 1000);
    } else if (!strcmp(which, "endless pictures")) {
        RUN_UNTIL(f->pictures > pictures + 1000);
    } else if (!strcmp(which, "endless cursors")) {
        RUN_UNTIL(f->cursors > cursors + 1000);
    }
    turns = 0;
    RUN_UNTIL(turns > 50);
    g_source_remove(timer);
    g_assert_cmpuint(f->goings, ==, 0);
    f->source->methods->stop(f->source);
    pictures = f->pictures;
    RUN_UNTIL(!decoder_processes);
    g_assert_cmpuint(f->goings, ==, 0);
    g_assert_cmpuint(f->pictures, ==, pictures);
}

/* Two seconds of what is nearly right: it ends, and once */
static void test_random(Fixture *f, gconstpointer unused)
{
    gint64 end = g_get_monotonic_time() + 2 * G_TIME_SPAN_SECOND;
    guint seed;

    for (seed = 0; seed < 20 || g_get_monotonic_time() < end; seed++) {
        g_autofree char *which = g_strdup_printf("random%u", seed);

        g_test_message("%s", which);
        run_hostile(f, which);
        wait_gone(f, "the process that decodes it ");
        forget(f);
    }
    g_test_message("%u seeds", seed);
}

/* ------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static const char *const endless[] = {
        "endless changes", "endless pictures", "endless cursors",
        "endless lines"
    };
    gsize i;

    if (argc > 1 && !strcmp(argv[1], DECODER_OPTION)) {
        decoder_main();
    }
    if (argc > 2 && !strcmp(argv[1], HOSTILE_OPTION)) {
        hostile_main(argv[2]);
    }
    test_init(&argc, &argv);
#define ADD(name, function) \
    g_test_add("/decoder/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("picture", test_picture);
    ADD("jpeg", test_jpeg);
    ADD("sizes", test_sizes);
    ADD("cursor", test_cursor);
    ADD("leds", test_leds);
    ADD("input", test_input);
    ADD("flood-of-input", test_flood_of_input);
    ADD("password", test_password);
    ADD("refused", test_refused);
    ADD("learns", test_learns);
    ADD("confined", test_confined);
    g_test_add_func("/decoder/sandbox", test_sandbox);
    ADD("killed", test_killed);
    ADD("server-goes", test_server_goes);
    ADD("no-server", test_no_server);
    ADD("no-program", test_no_program);
    ADD("hangs", test_hangs);
    ADD("stopped-while-it-hangs", test_stopped_while_it_hangs);
    ADD("stop", test_stop);
    ADD("hostile", test_hostile);
    for (i = 0; i < G_N_ELEMENTS(endless); i++) {
        g_autofree char *path = g_strdelimit(
            g_strdup_printf("/decoder/%s", endless[i]), " ", '-');

        g_test_add(path, Fixture, endless[i], set_up, test_endless, tear_down);
    }
    ADD("random", test_random);
    return g_test_run();
}
