/*
 * A process that can do nothing but what it has been started for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/close_range.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "picture.h"
#include "sandbox.h"

/* The largest display takes 140 MB of these, with all libraries */
#define MAX_ADDRESSES (512 * 1024 * 1024)
#define MAX_FILES     64
/* The largest picture */
#define MAX_FILE_SIZE (PICTURE_MAX_AREA * 4)

/* gcc's and clang's sign of AddressSanitizer, which needs terabytes */
#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

/* These take nothing that is outside, or what the process has been given */
static const int harmless[] = {
    /* what has been opened */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev),
    SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(lseek), SCMP_SYS(close),
    SCMP_SYS(fstat), SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(ftruncate),
    /* how libraries see whether what they have read has changed */
    SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(statx),
    SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto),
    SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(shutdown),
    /* what nobody else has */
    SCMP_SYS(memfd_create), SCMP_SYS(eventfd2), SCMP_SYS(pipe2),
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack), SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(uname),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static void set_limit(int which, rlim_t value)
{
    struct rlimit limit;

    /* More than there is may be asked for by root only */
    if (getrlimit(which, &limit) == 0) {
        limit.rlim_max = MIN(value, limit.rlim_max);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(which, &limit);
    }
}

static void set_limits(void)
{
#ifndef IS_SANITIZED
    set_limit(RLIMIT_AS, MAX_ADDRESSES);
#endif
    set_limit(RLIMIT_NOFILE, MAX_FILES);
    set_limit(RLIMIT_NPROC, 0);
    set_limit(RLIMIT_FSIZE, MAX_FILE_SIZE);
    set_limit(RLIMIT_CORE, 0);
}

/* Where memory is short the gateway is to stay, and its decoders go first */
static void go_first(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (write(fd, "1000", 4) != 4) {
            /* a system that does not permit it has its reason */
        }
        close(fd);
    }
}

void sandbox_prepare(int last_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_close_range, last_fd + 1, ~0U, 0) != 0) {
        int fd, end = sysconf(_SC_OPEN_MAX);

        for (fd = last_fd + 1; fd < end; fd++) {
            close(fd);
        }
    }
    go_first();
    /* then its files in /proc are root's */
    prctl(PR_SET_DUMPABLE, 0);
    setsid();
    set_limit(RLIMIT_CORE, 0);
}

/* Those that need the right argument. Returns: 0, or a negative errno */
static int add_others(scmp_filter_ctx filter)
{
    const struct {
        int call;
        struct scmp_arg_cmp argument;
    } others[] = {
        /* memory is for data */
        { SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
        { SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
        { SCMP_SYS(socketpair), SCMP_A0(SCMP_CMP_EQ, AF_UNIX) },
        { SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FIONREAD) },
        { SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FIONBIO) },
        /* abort(): itself */
        { SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()) },
        /* limits are read */
        { SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0) },
    };
    int result = 0;
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(others) && result == 0; i++) {
        result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW,
                                        others[i].call, 1,
                                        &others[i].argument);
    }
    return result;
}

gboolean sandbox_enter(GError **error)
{
    /* What a library does beside, and not without, need not end the process */
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EACCES));
    int result = filter ? 0 : -ENOMEM;
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(harmless) && result == 0; i++) {
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, harmless[i], 0);
    }
    if (result == 0) {
        result = add_others(filter);
    }
    set_limits();
    if (result == 0) {
        result = seccomp_load(filter);
    }
    seccomp_release(filter);
    if (result != 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "a process for its"
                    " video can't be confined: seccomp: %s",
                    g_strerror(-result));
        return FALSE;
    }
    return TRUE;
}
