/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the server's parser of the PROXY protocol. What it says must not depend on how
 * much of the header was there at a time, nor on what comes behind it.
 */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include <spice.h>

/* nothing but what was received may be read: an allocation of just that size */
static int parse(const uint8_t *data, size_t len, SpiceProxyHeader *header,
                 uint8_t **copy)
{
    *copy = malloc(len ? len : 1);
    memcpy(*copy, data, len);
    return spice_proxy_header_parse(len ? *copy : NULL, len, header);
}

static void check(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SpiceProxyHeader whole, header;
    uint8_t *whole_data, *copy;
    int result = parse(data, size, &whole, &whole_data);
    size_t len, wanted = 0;

    if (result == 1) {
        check(whole.size >= 16 && whole.size <= size);
        check(whole.size <= SPICE_PROXY_HEADER_MAX_SIZE);
        check(whole.peer_len <= sizeof(whole.peer));
        if (whole.authority) {
            const uint8_t *authority = (const uint8_t *)whole.authority;

            check(authority >= whole_data + 16);
            check(whole.authority_len <=
                  whole.size - (size_t)(authority - whole_data));
        } else {
            check(whole.authority_len == 0);
        }
    }

    /* as one reads that reads no more than the header */
    for (len = 0; ; len = wanted) {
        int partly = parse(data, len, &header, &copy);

        free(copy);
        if (partly != 0) {
            check(partly == result);
            check(partly == -1 || header.size == whole.size);
            check(header.peer_len == whole.peer_len || partly == -1);
            break;
        }
        wanted = header.size;
        check(wanted > len);
        if (wanted > size) {
            check(result != 1);
            break;
        }
    }

    free(whole_data);
    return 0;
}
