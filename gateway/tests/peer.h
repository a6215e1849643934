/*
 * Addresses of clients
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GATEWAY_TESTS_PEER_H
#define GATEWAY_TESTS_PEER_H

#include <arpa/inet.h>
#include <glib.h>

/* @host is IPv4 or IPv6 */
static inline struct sockaddr_storage peer_of(const char *host, guint16 port)
{
    struct sockaddr_storage peer = { 0 };
    struct sockaddr_in *in = (struct sockaddr_in *)&peer;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&peer;

    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
    } else {
        g_assert_cmpint(inet_pton(AF_INET6, host, &in6->sin6_addr), ==, 1);
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
    }
    return peer;
}

#endif
