/*
 * What spice-gateway and its decoders say to each other
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "decoder-protocol.h"

/* When to try again: descriptors on their way are counted for all of a user */
#define FULL_US 10000

/* Room for one descriptor, aligned */
typedef union Control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
} Control;

gboolean decoder_send(int socket, const DecoderHead *head, const void *data,
                      gsize size, int fd, gboolean wait)
{
    struct iovec parts[] = {
        { .iov_base = (void *)head, .iov_len = sizeof(*head) },
        { .iov_base = (void *)data, .iov_len = size },
    };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    Control control = { 0 };

    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    }
    while (sendmsg(socket, &message,
                   MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) < 0) {
        if (wait && errno == ETOOMANYREFS) {
            g_usleep(FULL_US);
        } else if (errno != EINTR) {
            return FALSE;
        }
    }
    return TRUE;
}

/*
 * There is room for two of them, as it is aligned. Returns: FALSE if there is
 * more than one; then none stays open
 */
static gboolean take_fd(struct msghdr *message, int *fd)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    int fds[sizeof(Control) / sizeof(int)];
    gsize count = 0, i;

    *fd = -1;
    if (control && control->cmsg_level == SOL_SOCKET &&
        control->cmsg_type == SCM_RIGHTS) {
        count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(control), count * sizeof(int));
    }
    if (count == 1) {
        *fd = fds[0];
        return TRUE;
    }
    for (i = 0; i < count; i++) {
        close(fds[i]);
    }
    return count == 0;
}

DecoderReceived decoder_receive(int socket, DecoderMessage *message,
                                gboolean wait)
{
    struct iovec parts[] = {
        { .iov_base = &message->head, .iov_len = sizeof(message->head) },
        { .iov_base = message->data, .iov_len = DECODER_MAX_CONFIG },
    };
    Control control;
    struct msghdr received = {
        .msg_iov = parts,
        .msg_iovlen = 2,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    gboolean is_right;
    ssize_t size;

    do {
        size = recvmsg(socket, &received,
                       MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    } while (size < 0 && errno == EINTR);
    if (size <= 0) {
        return size < 0 && errno == EAGAIN ? DECODER_NOTHING : DECODER_ENDED;
    }
    is_right = take_fd(&received, &message->fd);
    /* More descriptors than there is room for the kernel closes */
    if (!is_right || (gsize)size < sizeof(message->head) ||
        received.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        if (message->fd >= 0) {
            close(message->fd);
        }
        return DECODER_WRONG;
    }
    message->size = size - sizeof(message->head);
    message->data[message->size] = '\0';
    return DECODER_RECEIVED;
}
