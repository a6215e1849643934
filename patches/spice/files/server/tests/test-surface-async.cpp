/*
   SPDX-License-Identifier: LGPL-2.1-or-later

   This library is free software; you can redistribute it and/or
   modify it under the terms of the GNU Lesser General Public
   License as published by the Free Software Foundation; either
   version 2.1 of the License, or (at your option) any later version.

   This library is distributed in the hope that it will be useful,
   but WITHOUT ANY WARRANTY; without even the implied warranty of
   MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
   Lesser General Public License for more details.

   You should have received a copy of the GNU Lesser General Public
   License along with this library; if not, see <http://www.gnu.org/licenses/>.
*/
/*
 * Test the primary surface that is created and destroyed without waiting for the worker.
 */
#include <config.h>

#include "test-glib-compat.h"
#include "basic-event-loop.h"
#include "test-client.h"
#include "test-display-base.h"

static Test *test;
/* of the worker */
static gint n_completed;
/* what the tablet was told last */
static int tablet_width, tablet_height;
static GThread *main_thread;

static void async_complete(QXLInstance *qin, uint64_t cookie)
{
    g_atomic_int_inc(&n_completed);
}

static void set_logical_size(SpiceTabletInstance *sin, int width, int height)
{
    g_assert_true(g_thread_self() == main_thread);
    tablet_width = width;
    tablet_height = height;
}

static void tablet_position(SpiceTabletInstance *sin, int x, int y, uint32_t buttons)
{
}

static void tablet_buttons(SpiceTabletInstance *sin, uint32_t buttons)
{
}

static SpiceTabletInterface tablet_interface;
static SpiceTabletInstance tablet;

static void add_tablet()
{
    tablet_interface.base.type = SPICE_INTERFACE_TABLET;
    tablet_interface.base.major_version = SPICE_INTERFACE_TABLET_MAJOR;
    tablet_interface.base.minor_version = SPICE_INTERFACE_TABLET_MINOR;
    tablet_interface.set_logical_size = set_logical_size;
    tablet_interface.position = tablet_position;
    tablet_interface.buttons = tablet_buttons;
    tablet.base.sif = &tablet_interface.base;
    spice_server_add_interface(test->server, &tablet.base);
}

static void wait_completed(int n)
{
    while (g_atomic_int_get(&n_completed) < n) {
        g_usleep(1000);
    }
    pump();
}

static void create_surface(int width, int height)
{
    QXLDevSurfaceCreate surface = { 0, };

    surface.format = SPICE_SURFACE_FMT_32_xRGB;
    surface.width = width;
    surface.height = height;
    surface.stride = -width * 4;
    surface.mouse_mode = TRUE;
    surface.mem = (uintptr_t)&test->primary_surface;
    spice_qxl_create_primary_surface_async(&test->qxl_instance, 0, &surface, 0);
}

/* the tablet is told of a new size in the thread of the main loop */
static void test_tablet_size()
{
    /* a test that hangs fails; sanitizers take their time */
    alarm(300);
    main_thread = g_thread_self();
    test = test_new(basic_event_loop_init());
    QXLInterface display_interface =
        *reinterpret_cast<const QXLInterface *>(test->qxl_instance.base.sif);
    display_interface.async_complete = async_complete;
    test->qxl_instance.base.sif = &display_interface.base;
    add_tablet();
    test_add_display_interface(test);
    pump();

    for (int i = 0; i < 50; i++) {
        const int size = 100 + i;

        spice_qxl_destroy_primary_surface_async(&test->qxl_instance, 0, 0);
        wait_completed(2 * i + 1);
        g_assert_cmpint(tablet_width, ==, 0);
        create_surface(size, size / 2);
        wait_completed(2 * i + 2);
        g_assert_cmpint(tablet_width, ==, size);
        g_assert_cmpint(tablet_height, ==, size / 2);
    }

    spice_server_remove_interface(&tablet.base);
    test_destroy(test);
    basic_event_loop_destroy();
    alarm(0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/server/surface-async/tablet-size", test_tablet_size);

    return g_test_run();
}
