/*
 * A machine's display, as spice-server wants it
 *
 * spice-server has a thread for a display, its worker, which asks for what is
 * to be drawn (get_command) and gives back what it does not need any more
 * (release_resource). Between these and the main loop is a queue, under a lock.
 * What has been queued and not been given back is limited; the rest stays out
 * of the queue, in a region: a machine that draws faster than the clients read
 * costs no memory.
 *
 * The worker draws in a surface, which has the size of the picture. To take one
 * away takes as long as it waits for a slow client, and all machines would wait
 * as well if the main loop did: so it is only begun here, and what is to be
 * seen then is looked at when the worker has done it (async_complete).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <pixman.h>
#include <spice/macros.h>
#include <string.h>

#include "display.h"

/* Nothing is queued while as much as the display, so many times, is there */
#define MAX_HELD 2
/* One drawing has this many rows at most, for a steady flow */
#define MAX_ROWS 128
/* With more rectangles what is to be drawn is one, around them all */
#define MAX_DIRTY 1000
/* Nobody points with a bigger one */
#define MAX_CURSOR 256

/* What the worker gets; freed when it is released */
typedef struct Command {
    QXLCommandExt ext;
    union {
        struct {
            QXLDrawable drawable;
            QXLImage image;
        };
        QXLCursorCmd cursor_cmd;
    };
    gsize size;
    /* then pixels, or a QXLCursor with its own */
    guint64 data[];
} Command;

struct Display {
    QXLInstance qxl;
    SpiceServer *server;
    gboolean is_there;          /* the server has it */
    Picture *picture;           /* that is to be seen; NULL if none is */
    guint32 *surface;           /* what the worker draws in; NULL if nowhere */
    Picture *drawn;             /* that the surface is for */
    gboolean is_changing;       /* the surface, by the worker */
    pixman_region32_t dirty;    /* what of picture is not in the queue yet */
    Command *next_cursor;       /* for picture, not queued yet; or NULL */
    guint64 last_id;

    GMutex lock;                /* for what follows */
    GCond changed;
    gboolean is_changed;        /* the worker has done it */
    GQueue drawings;
    gsize held;                 /* bytes: in the queue, or not given back */
    Command *cursor;            /* the newest, if the worker has not got it */
    gboolean behind;            /* the main loop waits for room */
};

static void queue_dirty(Display *display);
static void finish_change(Display *display);
static void follow_picture(Display *display);

static Display *display_of(QXLInstance *qxl)
{
    return SPICE_CONTAINEROF(qxl, Display, qxl);
}

static Command *command_new(guint32 type, gsize size)
{
    Command *command = g_malloc0(sizeof(*command) + size);

    command->size = sizeof(*command) + size;
    command->ext.cmd.type = type;
    command->ext.cmd.data = (uintptr_t)&command->drawable;
    command->drawable.release_info.id = (uintptr_t)command;
    G_STATIC_ASSERT(offsetof(QXLDrawable, release_info) == 0);
    G_STATIC_ASSERT(offsetof(QXLCursorCmd, release_info) == 0);
    return command;
}

static Command *drawing_new(Display *display, const pixman_box32_t *box)
{
    int width = box->x2 - box->x1, height = box->y2 - box->y1, y;
    Command *command = command_new(QXL_CMD_DRAW, (gsize)width * height * 4);
    QXLDrawable *drawable = &command->drawable;
    QXLImage *image = &command->image;

    for (y = 0; y < height; y++) {
        memcpy((guint32 *)command->data + y * width,
               display->picture->pixels +
               (gsize)(box->y1 + y) * display->picture->width + box->x1,
               width * 4);
    }

    drawable->surface_id = 0;
    drawable->type = QXL_DRAW_COPY;
    drawable->effect = QXL_EFFECT_OPAQUE;
    drawable->clip.type = SPICE_CLIP_TYPE_NONE;
    drawable->bbox.left = box->x1;
    drawable->bbox.top = box->y1;
    drawable->bbox.right = box->x2;
    drawable->bbox.bottom = box->y2;
    drawable->surfaces_dest[0] = -1;
    drawable->surfaces_dest[1] = -1;
    drawable->surfaces_dest[2] = -1;
    drawable->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    drawable->u.copy.src_bitmap = (uintptr_t)image;
    drawable->u.copy.src_area.right = width;
    drawable->u.copy.src_area.bottom = height;

    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DEVICE, ++display->last_id);
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->descriptor.width = image->bitmap.x = width;
    image->descriptor.height = image->bitmap.y = height;
    image->bitmap.format = SPICE_BITMAP_FMT_32BIT;
    image->bitmap.flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN;
    image->bitmap.stride = width * 4;
    image->bitmap.data = (uintptr_t)command->data;
    return command;
}

/* --- what spice-server's worker calls, in its thread --------------------- */

static void attached_worker(QXLInstance *qxl)
{
    static QXLDevMemSlot slot = {
        .virt_end = ~(uintptr_t)0,
        .qxl_ram_size = ~0,
    };

    spice_qxl_add_memslot(qxl, &slot);
}

static void set_compression_level(QXLInstance *qxl, int level)
{
}

static void get_init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    memset(info, 0, sizeof(*info));
    info->num_memslots = 1;
    info->num_memslots_groups = 1;
    info->memslot_id_bits = 1;
    info->memslot_gen_bits = 1;
    info->n_surfaces = 1;
}

/* Before what is idle: a machine's source may never let it come to that */
static void call_main_loop(Display *display, GSourceFunc func)
{
    g_idle_add_full(G_PRIORITY_DEFAULT, func, display, NULL);
}

static gboolean room_is_there(gpointer opaque)
{
    queue_dirty(opaque);
    return G_SOURCE_REMOVE;
}

static gboolean surface_is_changed(gpointer opaque)
{
    Display *display = opaque;

    /* display_free() may have waited for it */
    if (display->is_changing) {
        finish_change(display);
        follow_picture(display);
    }
    return G_SOURCE_REMOVE;
}

static int get_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    Display *display = display_of(qxl);
    Command *command;

    g_mutex_lock(&display->lock);
    command = g_queue_pop_head(&display->drawings);
    g_mutex_unlock(&display->lock);
    if (!command) {
        return FALSE;
    }
    *ext = command->ext;
    return TRUE;
}

static int req_cmd_notification(QXLInstance *qxl)
{
    Display *display = display_of(qxl);
    gboolean empty;

    g_mutex_lock(&display->lock);
    empty = !display->drawings.length;
    g_mutex_unlock(&display->lock);
    return empty;
}

static int get_cursor_command(QXLInstance *qxl, struct QXLCommandExt *ext)
{
    Display *display = display_of(qxl);
    Command *command;

    g_mutex_lock(&display->lock);
    command = g_steal_pointer(&display->cursor);
    g_mutex_unlock(&display->lock);
    if (!command) {
        return FALSE;
    }
    *ext = command->ext;
    return TRUE;
}

static int req_cursor_notification(QXLInstance *qxl)
{
    Display *display = display_of(qxl);
    gboolean empty;

    g_mutex_lock(&display->lock);
    empty = !display->cursor;
    g_mutex_unlock(&display->lock);
    return empty;
}

static void release_resource(QXLInstance *qxl, struct QXLReleaseInfoExt info)
{
    Display *display = display_of(qxl);
    Command *command = (Command *)(uintptr_t)info.info->id;
    gboolean wake = FALSE;

    if (command->ext.cmd.type == QXL_CMD_DRAW) {
        g_mutex_lock(&display->lock);
        display->held -= command->size;
        wake = display->behind;
        display->behind = FALSE;
        g_mutex_unlock(&display->lock);
    }
    g_free(command);
    if (wake) {
        call_main_loop(display, room_is_there);
    }
}

static void notify_update(QXLInstance *qxl, uint32_t update_id)
{
}

static int flush_resources(QXLInstance *qxl)
{
    return 0;
}

static void async_complete(QXLInstance *qxl, uint64_t cookie)
{
    Display *display = display_of(qxl);

    call_main_loop(display, surface_is_changed);
    g_mutex_lock(&display->lock);
    display->is_changed = TRUE;
    g_cond_signal(&display->changed);
    g_mutex_unlock(&display->lock);
}

static void update_area_complete(QXLInstance *qxl, uint32_t surface_id,
                                 struct QXLRect *rects, uint32_t count)
{
}

static void set_client_capabilities(QXLInstance *qxl, uint8_t client_present,
                                    uint8_t caps[SPICE_CAPABILITIES_SIZE])
{
}

static const QXLInterface qxl_interface = {
    .base.type = SPICE_INTERFACE_QXL,
    .base.description = "spice-gateway display",
    .base.major_version = SPICE_INTERFACE_QXL_MAJOR,
    .base.minor_version = SPICE_INTERFACE_QXL_MINOR,
    .attached_worker = attached_worker,
    .set_compression_level = set_compression_level,
    .get_init_info = get_init_info,
    .get_command = get_command,
    .req_cmd_notification = req_cmd_notification,
    .release_resource = release_resource,
    .get_cursor_command = get_cursor_command,
    .req_cursor_notification = req_cursor_notification,
    .notify_update = notify_update,
    .flush_resources = flush_resources,
    .async_complete = async_complete,
    .update_area_complete = update_area_complete,
    .set_client_capabilities = set_client_capabilities,
};

/* --- what the main loop calls -------------------------------------------- */

static void drop_queue(Display *display)
{
    Command *command;

    g_mutex_lock(&display->lock);
    while ((command = g_queue_pop_head(&display->drawings))) {
        display->held -= command->size;
        g_free(command);
    }
    g_mutex_unlock(&display->lock);
}

static void queue_box(Display *display, pixman_box32_t box)
{
    int bottom = box.y2;

    for (; box.y1 < bottom; box.y1 = box.y2) {
        Command *command;

        box.y2 = MIN(box.y1 + MAX_ROWS, bottom);
        command = drawing_new(display, &box);
        g_mutex_lock(&display->lock);
        g_queue_push_tail(&display->drawings, command);
        display->held += command->size;
        g_mutex_unlock(&display->lock);
    }
}

static gboolean has_room(Display *display)
{
    gsize enough = (gsize)display->picture->width * display->picture->height *
                   4 * MAX_HELD;
    gboolean room;

    g_mutex_lock(&display->lock);
    room = display->held < enough;
    display->behind = display->behind || !room;
    g_mutex_unlock(&display->lock);
    return room;
}

/* Whether there is what the picture can be drawn in; its cursor is that's */
static gboolean can_draw(Display *display)
{
    return display->surface && !display->is_changing &&
           display->drawn == display->picture;
}

static void queue_cursor(Display *display)
{
    if (!can_draw(display) || !display->next_cursor) {
        return;
    }
    g_mutex_lock(&display->lock);
    g_free(display->cursor);
    display->cursor = g_steal_pointer(&display->next_cursor);
    g_mutex_unlock(&display->lock);
    spice_qxl_wakeup(&display->qxl);
}

static void queue_dirty(Display *display)
{
    pixman_region32_t rest;
    pixman_box32_t *boxes;
    int count, i;

    if (!can_draw(display)) {
        return;
    }
    pixman_region32_init(&rest);
    boxes = pixman_region32_rectangles(&display->dirty, &count);
    for (i = 0; i < count; i++) {
        if (has_room(display)) {
            queue_box(display, boxes[i]);
        } else {
            pixman_region32_union_rect(&rest, &rest, boxes[i].x1, boxes[i].y1,
                                       boxes[i].x2 - boxes[i].x1,
                                       boxes[i].y2 - boxes[i].y1);
        }
    }
    pixman_region32_copy(&display->dirty, &rest);
    if (pixman_region32_not_empty(&rest)) {
        /* The library keeps what is not covered by newer, until it has to */
        spice_qxl_oom(&display->qxl);
    }
    pixman_region32_fini(&rest);
    spice_qxl_wakeup(&display->qxl);
}

/* --- the surface --------------------------------------------------------- */

static void create_surface(Display *display)
{
    Picture *picture = display->picture;
    QXLDevSurfaceCreate create = {
        .format = SPICE_SURFACE_FMT_32_xRGB,
        .width = picture->width,
        .height = picture->height,
        .stride = -picture->width * 4,
        .mouse_mode = TRUE,
    };

    display->drawn = picture_ref(picture);
    display->surface = g_malloc0((gsize)picture->width * picture->height * 4);
    create.mem = (uintptr_t)display->surface;
    display->is_changing = TRUE;
    spice_qxl_create_primary_surface_async(&display->qxl, 0, &create, 0);
}

static void destroy_surface(Display *display)
{
    drop_queue(display);
    g_clear_pointer(&display->drawn, picture_unref);
    display->is_changing = TRUE;
    spice_qxl_destroy_primary_surface_async(&display->qxl, 0, 0);
}

/* The worker has created it, or has no drawing of it in its hands any more */
static void finish_change(Display *display)
{
    display->is_changing = FALSE;
    g_mutex_lock(&display->lock);
    display->is_changed = FALSE;
    g_mutex_unlock(&display->lock);
    if (!display->drawn) {
        g_clear_pointer(&display->surface, g_free);
    }
}

static void add_display(Display *display)
{
    memset(&display->qxl, 0, sizeof(display->qxl));
    display->qxl.base.sif = &qxl_interface.base;
    spice_server_add_interface(display->server, &display->qxl.base);
    display->is_there = TRUE;
    /* QXL instances are told to start when the machine does: it has */
    spice_server_vm_start(display->server);
}

static void remove_display(Display *display)
{
    display->is_there = FALSE;
    spice_server_remove_interface(&display->qxl.base);
    g_clear_pointer(&display->cursor, g_free);
}

/* The next step from what clients see to what they are to see, if there is */
static void follow_picture(Display *display)
{
    if (display->is_changing) {
        return;                 /* one at a time */
    }
    if (display->surface && display->drawn != display->picture) {
        destroy_surface(display);
    } else if (display->surface) {
        queue_dirty(display);
        queue_cursor(display);
    } else if (display->picture) {
        if (!display->is_there) {
            add_display(display);
        }
        create_surface(display);
    } else if (display->is_there) {
        remove_display(display);
    }
}

/* ------------------------------------------------------------------------- */

Display *display_new(SpiceServer *server)
{
    Display *display = g_new0(Display, 1);

    display->server = server;
    pixman_region32_init(&display->dirty);
    g_mutex_init(&display->lock);
    g_cond_init(&display->changed);
    g_queue_init(&display->drawings);
    return display;
}

static void drop_picture(Display *display)
{
    g_clear_pointer(&display->picture, picture_unref);
    pixman_region32_clear(&display->dirty);
    g_clear_pointer(&display->next_cursor, g_free);
}

void display_show(Display *display, Picture *picture)
{
    picture_ref(picture);
    drop_picture(display);
    display->picture = picture;
    follow_picture(display);
}

void display_hide(Display *display)
{
    drop_picture(display);
    follow_picture(display);
}

void display_update(Display *display, int x, int y, int width, int height)
{
    if (!display->picture) {
        return;
    }
    pixman_region32_union_rect(&display->dirty, &display->dirty, x, y, width,
                               height);
    if (pixman_region32_n_rects(&display->dirty) > MAX_DIRTY) {
        pixman_box32_t box = *pixman_region32_extents(&display->dirty);

        pixman_region32_reset(&display->dirty, &box);
    }
    pixman_region32_intersect_rect(&display->dirty, &display->dirty, 0, 0,
                                   display->picture->width,
                                   display->picture->height);
    queue_dirty(display);
}

void display_cursor(Display *display, const guint8 *rgba, int width,
                    int height, int hot_x, int hot_y)
{
    gsize size = rgba ? (gsize)width * height * 4 : 0, i;
    Command *command;
    QXLCursor *cursor;
    guint8 *bgra;

    if (!display->picture || width > MAX_CURSOR || height > MAX_CURSOR) {
        return;
    }
    command = command_new(QXL_CMD_CURSOR, sizeof(*cursor) + size);
    if (rgba) {
        command->cursor_cmd.type = QXL_CURSOR_SET;
        command->cursor_cmd.u.set.visible = TRUE;
        cursor = (QXLCursor *)command->data;
        command->cursor_cmd.u.set.shape = (uintptr_t)cursor;
        cursor->header.type = SPICE_CURSOR_TYPE_ALPHA;
        cursor->header.width = width;
        cursor->header.height = height;
        cursor->header.hot_spot_x = hot_x;
        cursor->header.hot_spot_y = hot_y;
        cursor->data_size = size;
        cursor->chunk.data_size = size;
        bgra = cursor->chunk.data;
        for (i = 0; i < size; i += 4) {
            guint8 alpha = rgba[i + 3];

            bgra[i] = rgba[i + 2] * alpha / 255;
            bgra[i + 1] = rgba[i + 1] * alpha / 255;
            bgra[i + 2] = rgba[i] * alpha / 255;
            bgra[i + 3] = alpha;
        }
    } else {
        command->cursor_cmd.type = QXL_CURSOR_HIDE;
    }

    g_free(display->next_cursor);
    display->next_cursor = command;
    queue_cursor(display);
}

void display_free(Display *display)
{
    display_hide(display);
    while (display->is_changing) {
        g_mutex_lock(&display->lock);
        while (!display->is_changed) {
            g_cond_wait(&display->changed, &display->lock);
        }
        g_mutex_unlock(&display->lock);
        finish_change(display);
        follow_picture(display);
    }
    /* The worker has ended, but may have asked for a turn before */
    while (g_idle_remove_by_data(display)) {
    }
    pixman_region32_fini(&display->dirty);
    g_mutex_clear(&display->lock);
    g_cond_clear(&display->changed);
    g_free(display);
}
