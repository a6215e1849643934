/*
 * QTest testcase for a QXL device whose guest has changed what QEMU looks at
 * when the machine is stopped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/pci-pc.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"
#include "qemu/units.h"

#include <spice/enums.h>
#include <spice/qxl_dev.h>

#define SLOT_SIZE           (64 * KiB)
#define SLOT_PRIMARY        1
#define SLOT_SURFACE        2
/* In slots of their own, at the start of the device's memory */
#define PRIMARY             0
#define SURFACE_CMD         SLOT_SIZE
#define SURFACE_DATA        (SLOT_SIZE + 4 * KiB)
/* How the guest tells the device about an address */
#define IN_SLOT(slot, addr) ((uint64_t)(slot) << 56 | (addr) % SLOT_SIZE)

#define SURFACE             1
#define WIDTH               16
#define HEIGHT              16
#define STRIDE              (WIDTH * 4)

typedef struct Guest {
    QTestState *qts;
    QPCIBus *bus;
    QPCIDevice *dev;
    QPCIBar io;
    uint64_t ram;           /* the memory of the device */
    uint64_t header;        /* QXLRam therein */
} Guest;

static void add_slot(Guest *g, uint8_t slot, uint64_t start)
{
    uint64_t mem_slot = g->header + offsetof(QXLRam, mem_slot);

    qtest_writeq(g->qts, mem_slot + offsetof(QXLMemSlot, mem_start),
                 g->ram + start);
    qtest_writeq(g->qts, mem_slot + offsetof(QXLMemSlot, mem_end),
                 g->ram + start + SLOT_SIZE);
    qpci_io_writeb(g->dev, g->io, QXL_IO_MEMSLOT_ADD, slot);
}

static void delete_slot(Guest *g, uint8_t slot)
{
    qpci_io_writeb(g->dev, g->io, QXL_IO_MEMSLOT_DEL, slot);
}

static void create_primary(Guest *g)
{
    uint64_t create = g->header + offsetof(QXLRam, create_surface);

    add_slot(g, SLOT_PRIMARY, PRIMARY);
    qtest_writel(g->qts, create + offsetof(QXLSurfaceCreate, width), WIDTH);
    qtest_writel(g->qts, create + offsetof(QXLSurfaceCreate, height), HEIGHT);
    qtest_writel(g->qts, create + offsetof(QXLSurfaceCreate, stride), STRIDE);
    qtest_writel(g->qts, create + offsetof(QXLSurfaceCreate, format),
                 SPICE_SURFACE_FMT_32_xRGB);
    qtest_writel(g->qts, create + offsetof(QXLSurfaceCreate, type),
                 QXL_SURF_TYPE_PRIMARY);
    qtest_writeq(g->qts, create + offsetof(QXLSurfaceCreate, mem),
                 IN_SLOT(SLOT_PRIMARY, PRIMARY));
    qpci_io_writeb(g->dev, g->io, QXL_IO_CREATE_PRIMARY, 0);
}

static void create_surface(Guest *g)
{
    uint64_t cmd = g->ram + SURFACE_CMD;
    uint64_t create = cmd + offsetof(QXLSurfaceCmd, u.surface_create);
    uint64_t ring = g->header + offsetof(QXLRam, cmd_ring);
    uint64_t item = ring + offsetof(QXLCommandRing, items);

    add_slot(g, SLOT_SURFACE, SURFACE_CMD);
    qtest_writel(g->qts, cmd + offsetof(QXLSurfaceCmd, surface_id), SURFACE);
    qtest_writeb(g->qts, cmd + offsetof(QXLSurfaceCmd, type),
                 QXL_SURFACE_CMD_CREATE);
    qtest_writel(g->qts, create + offsetof(QXLSurface, format),
                 SPICE_SURFACE_FMT_32_xRGB);
    qtest_writel(g->qts, create + offsetof(QXLSurface, width), WIDTH);
    qtest_writel(g->qts, create + offsetof(QXLSurface, height), HEIGHT);
    qtest_writel(g->qts, create + offsetof(QXLSurface, stride), STRIDE);
    qtest_writeq(g->qts, create + offsetof(QXLSurface, data),
                 IN_SLOT(SLOT_SURFACE, SURFACE_DATA));

    g_assert_cmpint(qtest_readl(g->qts, ring + offsetof(QXLCommandRing, prod)),
                    ==, 0);
    qtest_writeq(g->qts, item + offsetof(QXLCommand, data),
                 IN_SLOT(SLOT_SURFACE, SURFACE_CMD));
    qtest_writel(g->qts, item + offsetof(QXLCommand, type), QXL_CMD_SURFACE);
    qtest_writel(g->qts, ring + offsetof(QXLCommandRing, prod), 1);
    qpci_io_writeb(g->dev, g->io, QXL_IO_NOTIFY_CMD, 0);
    while (!qtest_readl(g->qts, ring + offsetof(QXLCommandRing, cons))) {
        g_usleep(1000);
    }
    /* It keeps track of the surface only after that; this waits for it */
    qpci_io_writeb(g->dev, g->io, QXL_IO_UPDATE_AREA, 0);
}

static void nothing(Guest *g)
{
}

static void delete_primary_slot(Guest *g)
{
    delete_slot(g, SLOT_PRIMARY);
}

static void delete_surface_slot(Guest *g)
{
    delete_slot(g, SLOT_SURFACE);
}

static void change_surface_type(Guest *g)
{
    qtest_writeb(g->qts, g->ram + SURFACE_CMD + offsetof(QXLSurfaceCmd, type),
                 QXL_SURFACE_CMD_DESTROY);
}

static void change_surface_size(Guest *g)
{
    qtest_writel(g->qts, g->ram + SURFACE_CMD +
                 offsetof(QXLSurfaceCmd, u.surface_create) +
                 offsetof(QXLSurface, height), INT32_MAX);
}

static void assert_status(QTestState *qts, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(rsp, "status"), ==, status);
    qobject_unref(rsp);
}

static void test_stop(const void *data)
{
    void (*const change)(Guest *g) = data;
    g_autofree char *dir = g_dir_make_tmp("qtest-qxl-stop.XXXXXX", NULL);
    g_autofree char *path = g_strdup_printf("%s/spice", dir);
    Guest g = { };
    QPCIBar rom;

    g_assert_nonnull(dir);
    g.qts = qtest_initf("-machine pc -nodefaults -spice unix=on,addr=%s,"
                        "disable-ticketing=on -device qxl,addr=4", path);
    g.bus = qpci_new_pc(g.qts, NULL);
    g.dev = qpci_device_find(g.bus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(g.dev);
    qpci_device_enable(g.dev);
    qpci_iomap(g.dev, 0, NULL);
    rom = qpci_iomap(g.dev, 2, NULL);
    g.io = qpci_iomap(g.dev, 3, NULL);
    g.ram = qpci_config_readl(g.dev, PCI_BASE_ADDRESS_0) &
            PCI_BASE_ADDRESS_MEM_MASK;
    g.header = g.ram + qpci_io_readl(g.dev, rom,
                                     offsetof(QXLRom, ram_header_offset));
    g_assert_cmphex(qtest_readl(g.qts, g.header + offsetof(QXLRam, magic)), ==,
                    QXL_RAM_MAGIC);

    create_primary(&g);
    create_surface(&g);
    change(&g);
    qtest_qmp_assert_success(g.qts, "{ 'execute': 'stop' }");
    assert_status(g.qts, "paused");
    qtest_qmp_assert_success(g.qts, "{ 'execute': 'cont' }");
    assert_status(g.qts, "running");

    g_free(g.dev);
    qpci_free_pc(g.bus);
    qtest_quit(g.qts);
    unlink(path);
    rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_data_func("qxl-stop/unchanged", nothing, test_stop);
    qtest_add_data_func("qxl-stop/primary-slot", delete_primary_slot,
                        test_stop);
    qtest_add_data_func("qxl-stop/surface-slot", delete_surface_slot,
                        test_stop);
    qtest_add_data_func("qxl-stop/surface-type", change_surface_type,
                        test_stop);
    qtest_add_data_func("qxl-stop/surface-size", change_surface_size,
                        test_stop);

    return g_test_run();
}
