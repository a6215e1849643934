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
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "sys-socket.h"
#ifndef _WIN32
#include <arpa/inet.h>
#include <netinet/in.h>
#else
#include <ws2tcpip.h>
#endif

#include <glib.h>

#include "websocket-origin.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

static const char any_origin[] = "*";

/* An address has several ways to be written. Returns NULL if it is none. */
static char *normalize_ipv6(const char *text, size_t len)
{
    struct in6_addr addr;
    char result[INET6_ADDRSTRLEN];
    char *address = g_strndup(text, len);
    bool valid = inet_pton(AF_INET6, address, &addr) == 1 &&
        inet_ntop(AF_INET6, &addr, result, sizeof(result)) != NULL;

    g_free(address);
    return valid ? g_strdup_printf("[%s]", result) : NULL;
}

/* An origin in the one way that it has to be written for a comparison: in lower case and
 * with its port. A dot at the end of the host stays: a browser takes such a host for
 * another one, and with a search list for names it can be.
 * Returns NULL if it's not the origin of a host, as "null", which each site can have. */
static char *normalize_origin(const char *text)
{
    char *origin = g_ascii_strdown(text, -1);
    char *host = NULL, *result = NULL;
    size_t scheme_len = strspn(origin, LETTERS DIGITS "+-.");
    const char *rest = origin + scheme_len;
    unsigned int port = 0;

    if (!g_ascii_isalpha(origin[0]) || !g_str_has_prefix(rest, "://")) {
        goto end;
    }
    rest += strlen("://");

    if (*rest == '[') {
        size_t len = strcspn(++rest, "]");

        host = rest[len] == ']' ? normalize_ipv6(rest, len) : NULL;
        rest += len + 1;
    } else {
        size_t len = strspn(rest, LETTERS DIGITS "-._");

        host = len ? g_strndup(rest, len) : NULL;
        rest += len;
    }
    if (host == NULL) {
        goto end;
    }

    if (*rest == ':') {
        size_t len = strspn(++rest, DIGITS);

        port = len <= strlen("65535") ? strtoul(rest, NULL, 10) : 0;
        if (port < 1 || port > 65535) {
            goto end;
        }
        rest += len;
    } else if (g_str_has_prefix(origin, "http://")) {
        port = 80;
    } else if (g_str_has_prefix(origin, "https://")) {
        port = 443;
    }
    // a path, for example
    if (*rest == 0) {
        result = g_strdup_printf("%.*s://%s:%u", (int) scheme_len, origin, host, port);
    }

end:
    g_free(host);
    g_free(origin);
    return result;
}

static bool origins_are_equal(const char *a, const char *b)
{
    char *origin_a = normalize_origin(a);
    char *origin_b = normalize_origin(b);
    bool equal = origin_a != NULL && g_strcmp0(origin_a, origin_b) == 0;

    g_free(origin_a);
    g_free(origin_b);
    return equal;
}

bool websocket_origins_are_valid(const char *origins, char **wrong)
{
    char **list = g_strsplit(origins, " ", -1);
    int i;

    *wrong = NULL;
    for (i = 0; list[i] != NULL && *wrong == NULL; i++) {
        char *origin = normalize_origin(list[i]);

        if (origin == NULL && list[i][0] != 0 && strcmp(list[i], any_origin) != 0) {
            *wrong = g_strdup(list[i]);
        }
        g_free(origin);
    }
    g_strfreev(list);
    return *wrong == NULL;
}

bool websocket_origins_contain(const char *origins, const char *origin)
{
    char **list = g_strsplit(origins, " ", -1);
    bool found = false;
    int i;

    for (i = 0; list[i] != NULL && !found; i++) {
        found = strcmp(list[i], any_origin) == 0 || origins_are_equal(list[i], origin);
    }
    g_strfreev(list);
    return found;
}

bool websocket_origin_is_host(const char *origin, const char *host)
{
    const char *scheme_end = strstr(origin, "://");

    // an app or an extension that has the same name is something else
    if (g_ascii_strncasecmp(origin, "http://", strlen("http://")) != 0 &&
        g_ascii_strncasecmp(origin, "https://", strlen("https://")) != 0) {
        return false;
    }

    /* With no port in it, the header means the default one. Which that is depends on
     * whether the browser uses TLS. It can end at a proxy, so take it that the browser
     * does if the page has been sent so. */
    char *other = g_strdup_printf("%.*s://%s", (int) (scheme_end - origin), origin, host);
    bool equal = origins_are_equal(origin, other);

    g_free(other);
    return equal;
}
