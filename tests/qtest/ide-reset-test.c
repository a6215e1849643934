/*
 * QTest testcase for a request of an IDE drive that has failed and stopped the
 * machine: it is not retried when the drive has been reset
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/ahci.h"
#include "libqos/libqos-pc.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qobject/qdict.h"

#define IDE_DATA            0x1f0
#define IDE_FEATURE         0x1f1
#define IDE_SECTORS         0x1f2
#define IDE_LBA_LOW         0x1f3
#define IDE_DEVICE          0x1f6
#define IDE_COMMAND         0x1f7
#define IDE_CONTROL         0x3f6
#define IDE_BUSY            0x80
#define IDE_DRQ             0x08
#define IDE_WRITE           0x30
#define IDE_DEVICE_RESET    0x08
#define IDE_PACKET          0xa0
#define IDE_SOFT_RESET      0x04

/* The IDE function of the PIIX3 */
#define PIIX3_IDE_CONFIG(reg) (0x80000000 | 1 << 11 | 1 << 8 | (reg))
#define PIIX3_COMMAND       0x04
#define PIIX3_BMDMA_BASE    0x20
#define BMDMA_BASE          0xc000
#define BMDMA_PRDT          (BMDMA_BASE + 4)
#define BMDMA_START_READ    0x09

#define PRDT                0x100000
#define PRDT_EOT            0x80000000
#define BUFFER              0x110000

#define DISK_SIZE           (1 * MiB)
#define SECTOR              512
#define WRITTEN_SECTOR      5
#define CD_SECTOR           2048

/* The first request of this kind fails, as if there were no space left */
#define FAILING(event)                                                  \
    "-blockdev driver=raw,node-name=drive,file.driver=blkdebug,"        \
    "file.inject-error.0.event=" event ","                              \
    "file.inject-error.0.immediately=off,file.inject-error.0.once=on,"  \
    "file.inject-error.0.errno=28,"

typedef struct Test {
    const char *name;
    void (*reset)(QTestState *qts);
} Test;

static char *disk;

static void assert_runs(QTestState *qts)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(rsp, "status"), ==, "running");
    qobject_unref(rsp);
}

static void cont(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    qtest_qmp_eventwait(qts, "RESUME");
    /* What has failed is retried by a bottom half */
    assert_runs(qts);
    assert_runs(qts);
}

static void wait_ready(QTestState *qts)
{
    while (qtest_inb(qts, IDE_COMMAND) & IDE_BUSY) {
        g_usleep(1000);
    }
}

static void create_disk(void)
{
    int fd = g_file_open_tmp("qtest-ide-reset.XXXXXX", &disk, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, DISK_SIZE), ==, 0);
    close(fd);
}

static void remove_disk(void)
{
    g_assert_cmpint(unlink(disk), ==, 0);
    g_clear_pointer(&disk, g_free);
}

static void assert_disk(uint8_t value)
{
    g_autofree char *contents = NULL;
    gsize len, i;

    g_assert_true(g_file_get_contents(disk, &contents, &len, NULL));
    g_assert_cmpuint(len, ==, DISK_SIZE);
    for (i = 0; i < len; i++) {
        uint8_t expected = i / SECTOR == WRITTEN_SECTOR ? value : 0;

        g_assert_cmphex((uint8_t)contents[i], ==, expected);
    }
}

static void system_reset(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "RESET");
}

/*
 * The guest may still do these until its vCPUs are stopped; here they come
 * right after, which is the same for the drive.
 */
static void device_reset(QTestState *qts)
{
    qtest_outb(qts, IDE_COMMAND, IDE_DEVICE_RESET);
}

static void soft_reset(QTestState *qts)
{
    qtest_outb(qts, IDE_CONTROL, IDE_SOFT_RESET);
    wait_ready(qts);
    qtest_outb(qts, IDE_CONTROL, 0);
}

static void enable_dma(QTestState *qts)
{
    qtest_outl(qts, 0xcf8, PIIX3_IDE_CONFIG(PIIX3_BMDMA_BASE));
    qtest_outl(qts, 0xcfc, BMDMA_BASE | 1);
    qtest_outl(qts, 0xcf8, PIIX3_IDE_CONFIG(PIIX3_COMMAND));
    qtest_outw(qts, 0xcfc, 1 | 4);      /* I/O ports, bus master */
}

static void read_cd(QTestState *qts)
{
    const uint8_t read10[12] = { 0x28, [8] = 1 };
    int i;

    qtest_writel(qts, PRDT, BUFFER);
    qtest_writel(qts, PRDT + 4, CD_SECTOR | PRDT_EOT);
    qtest_outb(qts, BMDMA_BASE, 0);
    qtest_outl(qts, BMDMA_PRDT, PRDT);

    qtest_outb(qts, IDE_DEVICE, 0);
    qtest_outb(qts, IDE_FEATURE, 1);    /* DMA */
    qtest_outb(qts, IDE_COMMAND, IDE_PACKET);
    for (i = 0; i < sizeof(read10); i += 2) {
        qtest_outw(qts, IDE_DATA, lduw_le_p(&read10[i]));
    }
    qtest_outb(qts, BMDMA_BASE, BMDMA_START_READ);
}

static void test_cd(const void *data)
{
    const Test *test = data;
    QTestState *qts;

    qts = qtest_init("-machine pc -nodefaults "
                     FAILING("read_aio")
                     "file.image.driver=null-co,"
                     "file.image.read-zeroes=on,read-only=on "
                     "-device ide-cd,drive=drive,bus=ide.0,unit=0,"
                     "rerror=stop");
    enable_dma(qts);
    read_cd(qts);
    qtest_qmp_eventwait(qts, "STOP");
    if (test->reset) {
        test->reset(qts);
        cont(qts);
        enable_dma(qts);
        qtest_writeb(qts, BUFFER, 0xff);
        read_cd(qts);
    } else {
        qtest_writeb(qts, BUFFER, 0xff);
        cont(qts);
    }

    /* It can be read now */
    while (qtest_inb(qts, IDE_COMMAND) & (IDE_BUSY | IDE_DRQ)) {
        g_usleep(1000);
    }
    g_assert_cmphex(qtest_readb(qts, BUFFER), ==, 0);
    qtest_quit(qts);
}

static void test_disk(const void *data)
{
    const Test *test = data;
    QTestState *qts;
    int i;

    create_disk();
    qts = qtest_initf("-machine pc -nodefaults "
                      FAILING("write_aio")
                      "file.image.driver=file,file.image.filename=%s "
                      "-device ide-hd,drive=drive,bus=ide.0,unit=0", disk);
    qtest_outb(qts, IDE_DEVICE, 0xe0);
    qtest_outb(qts, IDE_SECTORS, 1);
    qtest_outb(qts, IDE_LBA_LOW, WRITTEN_SECTOR);
    qtest_outb(qts, IDE_COMMAND, IDE_WRITE);
    for (i = 0; i < SECTOR / 2; i++) {
        qtest_outw(qts, IDE_DATA, 0x5555);
    }
    qtest_qmp_eventwait(qts, "STOP");
    if (test->reset) {
        test->reset(qts);
    }
    cont(qts);
    wait_ready(qts);
    g_assert_cmphex(qtest_inb(qts, IDE_COMMAND) & IDE_DRQ, ==, 0);
    qtest_quit(qts);

    assert_disk(test->reset ? 0 : 0x55);
    remove_disk();
}

static void test_ahci(const void *data)
{
    AHCIQState ahci = { };
    AHCICommand *cmd;
    unsigned port;
    uint64_t buffer;

    create_disk();
    ahci.parent = qtest_pc_boot("-machine q35 -nodefaults "
                                FAILING("write_aio")
                                "file.image.driver=file,file.image.filename=%s "
                                "-device ide-hd,drive=drive,bus=ide.0", disk);
    ahci.dev = get_ahci_device(ahci.parent->qts, &ahci.fingerprint);
    ahci_pci_enable(&ahci);
    ahci_hba_enable(&ahci);
    port = ahci_port_select(&ahci);
    ahci_port_clear(&ahci, port);

    buffer = ahci_alloc(&ahci, SECTOR);
    qtest_memset(ahci.parent->qts, buffer, 0x55, SECTOR);
    cmd = ahci_guest_io_halt(&ahci, port, CMD_WRITE_DMA, buffer, SECTOR,
                             WRITTEN_SECTOR);
    system_reset(ahci.parent->qts);
    cont(ahci.parent->qts);

    ahci_command_free(cmd);
    ahci_free(&ahci, buffer);
    ahci_clean_mem(&ahci);
    free_ahci_device(ahci.dev);
    qtest_shutdown(ahci.parent);

    assert_disk(0);
    remove_disk();
}

static const Test tests[] = {
    { "no-reset", NULL },
    { "system-reset", system_reset },
    { "soft-reset", soft_reset },
    { "device-reset", device_reset },
};

int main(int argc, char **argv)
{
    size_t i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *cd = g_strconcat("ide-reset/cd/", tests[i].name, NULL);
        g_autofree char *hd = g_strconcat("ide-reset/disk/", tests[i].name,
                                          NULL);

        qtest_add_data_func(cd, &tests[i], test_cd);
        if (tests[i].reset != device_reset) {
            /* A disk does not have this command */
            qtest_add_data_func(hd, &tests[i], test_disk);
        }
    }
    if (qtest_has_machine("q35")) {
        qtest_add_data_func("ide-reset/ahci/system-reset", NULL, test_ahci);
    }

    return g_test_run();
}
