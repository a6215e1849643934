/*
 * A source in a process of its own: with a VNC server of the test's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "decoder-fixture.h"
#include "memory.h"
#include "sandbox.h"

/* Encodings */
enum {
    RFB_TIGHT = 7,
    RFB_RICH_CURSOR = -239,
    RFB_LEDS = -261,
};

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

/* ------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], DECODER_OPTION)) {
        decoder_main();
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
    return g_test_run();
}
