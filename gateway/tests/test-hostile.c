/*
 * A decoder that has been taken over: nothing that it says does any harm
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "decoder-fixture.h"
#include "memory.h"

/* This program in the place of the decoder, with the name of what it does */
#define HOSTILE_OPTION "--hostile"

/* --- in the other process ------------------------------------------------ */

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

/* --- and here ------------------------------------------------------------ */

static gboolean count_turn(gpointer opaque)
{
    (*(guint *)opaque)++;
    return G_SOURCE_CONTINUE;
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
    g_test_add("/hostile/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("told", test_hostile);
    for (i = 0; i < G_N_ELEMENTS(endless); i++) {
        g_autofree char *path = g_strdelimit(
            g_strdup_printf("/hostile/%s", endless[i]), " ", '-');

        g_test_add(path, Fixture, endless[i], set_up, test_endless, tear_down);
    }
    ADD("random", test_random);
    return g_test_run();
}
