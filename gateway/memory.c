/*
 * Memory that is handed from one process to another, which need not trust it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "memory.h"

/* Who has it mapped would get SIGBUS if it shrank */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

int memory_new(gsize size)
{
    int fd = memfd_create("spice-gateway", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, size) != 0 ||
                    fcntl(fd, F_ADD_SEALS, SEALS) != 0)) {
        int problem = errno;

        close(fd);
        errno = problem;
        return -1;
    }
    return fd;
}

/* Of huge pages there may be too few, when one is looked at: SIGBUS again */
gboolean memory_is_good(int fd, gsize size)
{
    struct stat status;
    struct statfs system;
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & SEALS) == SEALS &&
           fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC &&
           fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
           status.st_size >= 0 && (gsize)status.st_size == size;
}
