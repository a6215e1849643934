/*
 * A display whose worker takes its time: what is to be seen is seen in the end,
 * and nobody waits
 *
 * spice-server, and its worker, are the test's own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "display.h"
#include "loop.h"

/* --- instead of spice-server --------------------------------------------- */

struct RedsState {
    QXLInstance *qxl;           /* NULL: clients see no display */
    guint added;                /* how often it came */
    gboolean is_creating, is_destroying;
    gboolean is_quick;          /* a thread completes what is asked for */
    GThread *thread;
    int width, height;          /* of the surface; 0: there is none */
    guint creations;
    guint wakeups;
};

static SpiceServer server;

static const QXLInterface *interface(void)
{
    return SPICE_CONTAINEROF(server.qxl->base.sif, QXLInterface, base);
}

int spice_server_add_interface(SpiceServer *s, SpiceBaseInstance *instance)
{
    g_assert_null(server.qxl);
    server.qxl = SPICE_CONTAINEROF(instance, QXLInstance, base);
    server.added++;
    interface()->attached_worker(server.qxl);
    return 0;
}

static void join_thread(void)
{
    if (server.thread) {
        g_thread_join(g_steal_pointer(&server.thread));
    }
}

int spice_server_remove_interface(SpiceBaseInstance *instance)
{
    join_thread();
    g_assert_true(&server.qxl->base == instance);
    g_assert_false(server.is_creating || server.is_destroying);
    /* The library does not free what it draws in, and warns of it */
    g_assert_cmpint(server.width, ==, 0);
    server.qxl = NULL;
    return 0;
}

void spice_server_vm_start(SpiceServer *s)
{
}

void spice_qxl_add_memslot(QXLInstance *qxl, QXLDevMemSlot *slot)
{
}

void spice_qxl_wakeup(QXLInstance *qxl)
{
    g_assert_true(qxl == server.qxl);
    server.wakeups++;
}

void spice_qxl_oom(QXLInstance *qxl)
{
}

static void complete(void)
{
    g_assert_true(server.is_creating != server.is_destroying);
    if (server.is_destroying) {
        server.width = server.height = 0;
    }
    server.is_creating = server.is_destroying = FALSE;
    interface()->async_complete(server.qxl, 0);
}

static gpointer complete_in_thread(gpointer unused)
{
    complete();
    return NULL;
}

static void change_begins(void)
{
    if (server.is_quick) {
        join_thread();
        server.thread = g_thread_new("worker", complete_in_thread, NULL);
    }
}

void spice_qxl_create_primary_surface_async(QXLInstance *qxl, uint32_t id,
                                            QXLDevSurfaceCreate *surface,
                                            uint64_t cookie)
{
    g_assert_false(server.is_creating || server.is_destroying);
    g_assert_cmpint(server.width, ==, 0);
    server.is_creating = TRUE;
    server.creations++;
    server.width = surface->width;
    server.height = surface->height;
    /* All of it can be written to */
    memset((void *)(uintptr_t)surface->mem, 0x55,
           (gsize)surface->width * surface->height * 4);
    change_begins();
}

void spice_qxl_destroy_primary_surface_async(QXLInstance *qxl, uint32_t id,
                                             uint64_t cookie)
{
    g_assert_false(server.is_creating || server.is_destroying);
    g_assert_cmpint(server.width, >, 0);
    server.is_destroying = TRUE;
    change_begins();
}

/* As the worker's thread, and then what the main loop makes of it */
static void worker_completes(void)
{
    complete();
    run_what_is_due();
}

/* Returns: how many pixels there are to be drawn, all of which are @pixel */
static guint draw_all(guint32 pixel)
{
    QXLCommandExt ext;
    guint pixels = 0;

    while (interface()->get_command(server.qxl, &ext)) {
        QXLDrawable *drawable = (QXLDrawable *)(uintptr_t)ext.cmd.data;
        QXLImage *image = (QXLImage *)(uintptr_t)drawable->u.copy.src_bitmap;
        const guint32 *data = (guint32 *)(uintptr_t)image->bitmap.data;
        guint i, count = image->bitmap.x * image->bitmap.y;
        struct QXLReleaseInfoExt info = { .info = &drawable->release_info };

        g_assert_cmpint(drawable->bbox.right, <=, server.width);
        g_assert_cmpint(drawable->bbox.bottom, <=, server.height);
        for (i = 0; i < count; i++) {
            g_assert_cmphex(data[i], ==, pixel);
        }
        pixels += count;
        interface()->release_resource(server.qxl, info);
        run_what_is_due();
    }
    return pixels;
}

static gboolean has_cursor(void)
{
    QXLCommandExt ext;
    struct QXLReleaseInfoExt info = { NULL };

    if (!interface()->get_cursor_command(server.qxl, &ext)) {
        return FALSE;
    }
    info.info = &((QXLCursorCmd *)(uintptr_t)ext.cmd.data)->release_info;
    interface()->release_resource(server.qxl, info);
    return TRUE;
}

/* ------------------------------------------------------------------------- */

static Picture *picture_of(int width, int height, guint32 pixel)
{
    Picture *picture = picture_new(width, height);
    int i;

    for (i = 0; i < width * height; i++) {
        picture->pixels[i] = pixel;
    }
    return picture;
}

static void show(Display *display, int width, int height, guint32 pixel)
{
    g_autoptr(Picture) picture = picture_of(width, height, pixel);

    display_show(display, picture);
    display_update(display, 0, 0, width, height);
}

static Display *start(void)
{
    memset(&server, 0, sizeof(server));
    return display_new(&server);
}

static void stop(Display *display)
{
    server.is_quick = TRUE;
    if (server.is_creating || server.is_destroying) {
        complete();
    }
    display_free(display);
    g_assert_null(server.qxl);
}

static void test_shown(void)
{
    Display *display = start();

    show(display, 64, 48, 1);
    g_assert_true(server.is_creating);
    /* nothing is drawn where nothing is */
    g_assert_cmpint(draw_all(1), ==, 0);
    worker_completes();
    g_assert_cmpint(draw_all(1), ==, 64 * 48);
    display_update(display, 60, 40, 100, 100);
    g_assert_cmpint(draw_all(1), ==, 4 * 8);
    stop(display);
}

/* Of what comes while the worker is busy the last one counts */
static void test_size_changes(void)
{
    Display *display = start();
    int i;

    show(display, 64, 48, 1);
    worker_completes();
    for (i = 1; i <= 100; i++) {
        show(display, 64 + i, 48, i);
    }
    /* what was drawn for the first one is no more */
    g_assert_cmpint(draw_all(0), ==, 0);
    g_assert_true(server.is_destroying);
    worker_completes();
    g_assert_cmpint(server.width, ==, 164);
    worker_completes();
    g_assert_cmpint(draw_all(100), ==, 164 * 48);
    g_assert_cmpint(server.creations, ==, 2);
    g_assert_cmpint(server.added, ==, 1);
    stop(display);
}

static void test_size_changes_while_created(void)
{
    Display *display = start();

    show(display, 64, 48, 1);
    show(display, 10, 10, 2);
    worker_completes();
    g_assert_true(server.is_destroying);
    worker_completes();
    worker_completes();
    g_assert_cmpint(draw_all(2), ==, 100);
    stop(display);
}

static void test_hidden(void)
{
    Display *display = start();

    display_hide(display);      /* there is nothing */
    show(display, 64, 48, 1);
    display_hide(display);
    worker_completes();
    g_assert_true(server.is_destroying);
    g_assert_nonnull(server.qxl);
    worker_completes();
    g_assert_null(server.qxl);

    /* and it may come again */
    show(display, 64, 48, 2);
    worker_completes();
    g_assert_cmpint(draw_all(2), ==, 64 * 48);
    g_assert_cmpint(server.added, ==, 2);
    stop(display);
}

/* Clients keep their display if it is wanted again in time */
static void test_shown_while_it_leaves(void)
{
    Display *display = start();

    show(display, 64, 48, 1);
    worker_completes();
    display_hide(display);
    display_update(display, 0, 0, 64, 48);
    show(display, 64, 48, 2);
    worker_completes();
    worker_completes();
    g_assert_cmpint(draw_all(2), ==, 64 * 48);
    g_assert_cmpint(server.added, ==, 1);
    stop(display);
}

/* A worker that gives nothing back does not get more and more */
static void test_slow_worker(void)
{
    g_autoptr(GArray) held = g_array_new(FALSE, FALSE,
                                         sizeof(struct QXLReleaseInfoExt));
    Display *display = start();
    QXLCommandExt ext;
    guint i;

    show(display, 100, 100, 1);
    worker_completes();
    for (i = 0; i < 1000; i++) {
        display_update(display, 0, 0, 100, 100);
        while (interface()->get_command(server.qxl, &ext)) {
            QXLDrawable *drawable = (QXLDrawable *)(uintptr_t)ext.cmd.data;
            struct QXLReleaseInfoExt info = { &drawable->release_info };

            g_array_append_val(held, info);
        }
    }
    g_assert_cmpint(held->len, <=, 3);
    for (i = 0; i < held->len; i++) {
        interface()->release_resource(
            server.qxl, g_array_index(held, struct QXLReleaseInfoExt, i));
    }
    /* and then what it has missed, once */
    run_what_is_due();
    g_assert_cmpint(draw_all(1), ==, 100 * 100);
    stop(display);
}

static void test_cursor(void)
{
    static const guint8 rgba[4 * 4 * 4];
    Display *display = start();

    display_cursor(display, rgba, 4, 4, 0, 0);  /* nobody sees it */
    show(display, 64, 48, 1);
    display_cursor(display, rgba, 4, 4, 0, 0);
    g_assert_false(has_cursor());
    worker_completes();
    g_assert_true(has_cursor());
    g_assert_false(has_cursor());

    /* the worker forgets it with the surface */
    show(display, 32, 32, 1);
    display_cursor(display, rgba, 4, 4, 0, 0);
    g_assert_false(has_cursor());
    worker_completes();
    worker_completes();
    g_assert_true(has_cursor());

    /* that of a picture that has gone is not for the next one */
    show(display, 16, 16, 1);
    display_cursor(display, NULL, 0, 0, 0, 0);
    show(display, 8, 8, 1);
    worker_completes();
    worker_completes();
    g_assert_false(has_cursor());
    display_cursor(display, NULL, 0, 0, 0, 0);
    g_assert_true(has_cursor());
    stop(display);
}

/* It ends in any state, after what the worker has to do */
static void test_free(void)
{
    Display *display;
    int i;

    for (i = 0; i < 100; i++) {
        display = start();
        server.is_quick = TRUE;
        show(display, 64, 48, 1);
        if (i & 1) {
            run_what_is_due();
        }
        if (i & 2) {
            show(display, 32, 32, 1);
        }
        if (i & 4) {
            display_hide(display);
        }
        display_free(display);
        join_thread();
        g_assert_null(server.qxl);
        run_what_is_due();      /* nothing is called any more */
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/display/shown", test_shown);
    g_test_add_func("/display/size-changes", test_size_changes);
    g_test_add_func("/display/size-changes-while-created",
                    test_size_changes_while_created);
    g_test_add_func("/display/hidden", test_hidden);
    g_test_add_func("/display/shown-while-it-leaves",
                    test_shown_while_it_leaves);
    g_test_add_func("/display/slow-worker", test_slow_worker);
    g_test_add_func("/display/cursor", test_cursor);
    g_test_add_func("/display/free", test_free);
    return g_test_run();
}
